# Twenty endpoints that misbehave, each in its way, and what they must not
# delay: other endpoints, ticks, DROP DATABASE, CHECKPOINT, a fast stop.
use strict;
use warnings;

use lib 'test/lib';
use Nginx;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Resolver;
use Test::More;
use Time::HiRes qw(time);

# What takes a second has not waited for an endpoint.  Where the machine is busy
# it may take longer, but not mostly; soak asks it of the only try.
my $tries = $ENV{DEPLOYDB_TRIES} || 9;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");
my @bad = map { Receiver->new("$directory/bad$_") } 1 .. 4;

my $library = Resolver::library($directory);
my $nginx;
if (Nginx::is_here())
{
	mkdir "$directory/nginx";
	$nginx = Nginx->new("$directory/nginx", $receiver->port);
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
$node->append_conf('postgresql.conf', "deploydb.ca_file = '$directory/nginx/ca.pem'") if $nginx;
{
	local $ENV{LD_PRELOAD} = $library if $library;
	$node->start;
}

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Does it until it took less than a second more often than not.  The work returns
# how long it took; after the first time it is prepared again.
sub within_a_second
{
	my ($what, $work, $prepare) = @_;
	my $balance = 0;
	my @spent;
	do
	{
		$prepare->() if @spent && $prepare;
		push @spent, $work->();
		$balance += $spent[-1] < 1 ? 1 : -1;
	} until ($balance > 0 || @spent >= $tries);
	cmp_ok($balance, '>', 0, $what);
	note("$what: ", join(', ', map { sprintf '%.2f s', $_ } @spent));
	return;
}

# Seconds that a statement takes, as its session sees it
sub seconds_of
{
	my ($statement) = @_;
	return sql("SELECT clock_timestamp() AS begun \\gset\n$statement;\nSELECT extract(epoch FROM clock_timestamp() - :'begun')");
}

# Seconds until a message to the good one is delivered
sub deliver_to_good
{
	my ($database) = @_;
	my $id = $node->safe_psql($database, q{SELECT deploydb.notify('good', 'P1', 'good') \g /dev/null
		SELECT max(id) FROM deploydb.notification WHERE webhook = 'good'});
	$node->poll_query_until($database, "SELECT state = 'delivered' FROM deploydb.notification WHERE id = $id")
	  or diag($node->safe_psql($database, q{SELECT * FROM deploydb.notification WHERE webhook = 'good'}));
	return $node->safe_psql($database, "SELECT COALESCE(extract(epoch FROM finished_at - created_at), 'infinity') FROM deploydb.notification WHERE id = $id");
}

# Seconds that a tick is late, of one each second
sub lateness_of_tick
{
	my $state = q{SELECT ticks, extract(epoch FROM last_tick_at) FROM deploydb.worker_status};
	my ($ticks, $at) = split /\|/, sql($state);
	$node->poll_query_until('postgres', "SELECT ticks > $ticks FROM deploydb.worker_status");
	my ($later_ticks, $later_at) = split /\|/, sql($state);
	return $later_ticks > $ticks ? ($later_at - $at) / ($later_ticks - $ticks) - 1 : 'inf';
}

sub watch
{
	my ($database) = @_;
	$node->safe_psql($database, 'CREATE EXTENSION deploydb');
	$node->poll_query_until($database, 'SELECT ticks > 0 FROM deploydb.worker_status WHERE database = current_database()');
	$node->safe_psql($database, q{SELECT deploydb.add_webhook('good', 'generic', '} . $receiver->url("/ok/$database") . q{')});
	return;
}

# More messages than can be under way at once, all of them for one that hangs
my $crowd = q{SELECT count(*) >= 10 FROM deploydb.notification WHERE webhook = 'hang' AND state = 'sending'};
sub crowd
{
	sql('CREATE DATABASE crowded');
	watch('crowded');
	$node->safe_psql('crowded', q{SELECT deploydb.add_webhook('hang', 'generic', '} . $bad[0]->url('/hang') . q{');
		SELECT count(deploydb.notify('to one', 'P1', 'hang')) FROM generate_series(1, 200)});
	ok($node->poll_query_until('crowded', $crowd), 'many messages for one endpoint hang');
	return;
}
crowd();
within_a_second('another one is delivered to', sub { deliver_to_good('crowded') });
is($node->safe_psql('crowded', $crowd), 't', 'while they hang');
within_a_second('DROP DATABASE of such a one', sub { seconds_of('DROP DATABASE crowded') }, \&crowd);

my @paths = qw(/hang /hang /hang /hang /drip /drip /drip /garbage /garbage /large /large /reset /reset
	/status/500 /status/503 /moved /seconds/60 /date/60);
my @urls = map { $bad[$_ % @bad]->url($paths[$_]) } 0 .. $#paths;
push @urls, $library ? map { "https://$_.never.example/" } 1 .. 3 : ($bad[0]->url('/hang')) x 3;
push @urls, map { $nginx->url($_, "/ok/$_") } qw(foreign other expired) if $nginx;
cmp_ok(scalar @urls, '>=', 20, 'there are twenty of them');
my $hanging = q{SELECT count(DISTINCT webhook) >= 7 FROM deploydb.notification WHERE state = 'sending'};
sub beset
{
	my ($database) = @_;
	watch($database);
	$node->safe_psql($database, "SELECT deploydb.add_webhook('bad$_', 'generic', '$urls[$_]')") foreach 0 .. $#urls;
	$node->safe_psql($database, q{SELECT count(deploydb.notify('to all', 'P1', name)) FROM deploydb.webhook, generate_series(1, 3)
		WHERE name <> 'good'});
	ok($node->poll_query_until($database, $hanging), "the endpoints of $database hang");
	return;
}
beset('postgres');

within_a_second('a good endpoint is delivered to', sub { deliver_to_good('postgres') });
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM deploydb.webhook_state
	WHERE last_status = 429 AND paused_until > last_attempt_at + interval '50 s'}), 'a 429 is heeded, in seconds or with a date');
SKIP:
{
	skip 'nginx or openssl is missing', 2 unless $nginx;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM deploydb.webhook_state s JOIN deploydb.webhook_secret x USING (webhook)
		WHERE x.url LIKE 'https://127.0.0.1:%' AND s.last_stage = 'tls'}), 'a wrong certificate ends an attempt');
	is((grep { $_->{path} =~ m{^/ok/(foreign|other|expired)} } $receiver->requests), 0, 'nothing has come there');
}
within_a_second('ticks go on', \&lateness_of_tick);
within_a_second('CHECKPOINT', sub { seconds_of('CHECKPOINT') });
my $make_other = sub { sql('CREATE DATABASE other') };
$make_other->();
within_a_second('DROP DATABASE of one that nobody watches', sub { seconds_of('DROP DATABASE other') }, $make_other);
my $make_watched = sub {
	sql('CREATE DATABASE watched');
	beset('watched');
};
$make_watched->();
within_a_second('DROP DATABASE of one whose webhooks hang', sub { seconds_of('DROP DATABASE watched') }, $make_watched);
ok($node->poll_query_until('postgres', $hanging), 'those of the other one still do');
within_a_second('a fast stop', sub {
	my $begun = time;
	$node->stop('fast');
	return time - $begun;
}, sub {
	local $ENV{LD_PRELOAD} = $library if $library;
	$node->start;
	ok($node->poll_query_until('postgres', $hanging), 'they hang again');
});
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'nothing has crashed');
done_testing();
