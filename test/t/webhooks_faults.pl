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

# What takes no longer than this has not waited for an endpoint; soak asks for
# a second.
my $bound = $ENV{DEPLOYDB_BOUND} || 10;

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

# Runs it, and tells whether it took no longer than the bound, and what it takes
# by itself.
sub within_bound
{
	my ($what, $work, $itself) = @_;
	my $start = time;
	$work->();
	my $spent = time - $start;
	cmp_ok($spent, '<', $bound + ($itself // 0), $what);
	note(sprintf '%s: %.2f s', $what, $spent);
	return;
}

sub deliver_to_good
{
	my ($database) = @_;
	$node->safe_psql($database, q{SELECT deploydb.notify('good', 'P1', 'good')});
	$node->poll_query_until($database, q{SELECT bool_and(state = 'delivered') FROM deploydb.notification
		WHERE webhook = 'good' AND topic LIKE 'notice/%'})
	  or diag($node->safe_psql($database, q{SELECT * FROM deploydb.notification WHERE webhook = 'good'}));
	return;
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
sql('CREATE DATABASE crowded');
watch('crowded');
$node->safe_psql('crowded', q{SELECT deploydb.add_webhook('hang', 'generic', '} . $bad[0]->url('/hang') . q{');
	SELECT count(deploydb.notify('to one', 'P1', 'hang')) FROM generate_series(1, 200)});
my $crowd = q{SELECT count(*) >= 10 FROM deploydb.notification WHERE webhook = 'hang' AND state = 'sending'};
ok($node->poll_query_until('crowded', $crowd), 'many messages for one endpoint hang');
within_bound('another one is delivered to', sub { deliver_to_good('crowded') });
is($node->safe_psql('crowded', $crowd), 't', 'while they hang');
within_bound('DROP DATABASE of such a one', sub { sql('DROP DATABASE crowded') });

sql('CREATE DATABASE watched');
watch($_) foreach 'postgres', 'watched';

my @paths = qw(/hang /hang /hang /hang /drip /drip /drip /garbage /garbage /large /large /reset /reset
	/status/500 /status/503 /moved /seconds/60 /date/60);
my @urls = map { $bad[$_ % @bad]->url($paths[$_]) } 0 .. $#paths;
push @urls, $library ? map { "https://$_.never.example/" } 1 .. 3 : ($bad[0]->url('/hang')) x 3;
push @urls, map { $nginx->url($_, "/ok/$_") } qw(foreign other expired) if $nginx;
cmp_ok(scalar @urls, '>=', 20, 'there are twenty of them');
my @faulty = ('postgres', 'watched');
foreach my $database (@faulty)
{
	$node->safe_psql($database, "SELECT deploydb.add_webhook('bad$_', 'generic', '$urls[$_]')") foreach 0 .. $#urls;
	$node->safe_psql($database, q{SELECT count(deploydb.notify('to all', 'P1', name)) FROM deploydb.webhook, generate_series(1, 3)
		WHERE name <> 'good'});
}
my $hanging = q{SELECT count(DISTINCT webhook) >= 7 FROM deploydb.notification WHERE state = 'sending'};
ok($node->poll_query_until($_, $hanging), "the endpoints of $_ hang") foreach @faulty;

within_bound('a good endpoint is delivered to', sub { deliver_to_good('postgres') });
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM deploydb.webhook_state
	WHERE last_status = 429 AND paused_until > last_attempt_at + interval '50 s'}), 'a 429 is heeded, in seconds or with a date');
SKIP:
{
	skip 'nginx or openssl is missing', 2 unless $nginx;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM deploydb.webhook_state s JOIN deploydb.webhook_secret x USING (webhook)
		WHERE x.url LIKE 'https://127.0.0.1:%' AND s.last_stage = 'tls'}), 'a wrong certificate ends an attempt');
	is((grep { $_->{path} =~ m{^/ok/(foreign|other|expired)} } $receiver->requests), 0, 'nothing has come there');
}
my $ticks = sql(q{SELECT ticks FROM deploydb.worker_status WHERE database = 'postgres'});
within_bound('ticks go on', sub {
	$node->poll_query_until('postgres', "SELECT ticks > $ticks + 2 FROM deploydb.worker_status WHERE database = 'postgres'");
}, 3 * 1.1);
within_bound('CHECKPOINT', sub { sql('CHECKPOINT') });
sql('CREATE DATABASE other');
within_bound('DROP DATABASE of one that nobody watches', sub { sql('DROP DATABASE other') });
is($node->safe_psql('watched', $hanging), 't', 'they still hang');
within_bound('DROP DATABASE of one whose webhooks hang', sub { sql('DROP DATABASE watched') });
is(sql($hanging), 't', 'those of the other one still do');
within_bound('a fast stop', sub { $node->stop('fast') });
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'nothing has crashed');
done_testing();
