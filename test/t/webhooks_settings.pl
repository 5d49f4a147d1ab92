# Settings of webhooks that are changed by a reload while a receiver hangs: what
# is sent from then on goes by the new ones, and what is under way by the old.
use strict;
use warnings;

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Waiting;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub next_tick
{
	my $ticks = sql('SELECT COALESCE(max(ticks), 0) FROM deploydb.worker_status WHERE database = current_database()');
	$node->poll_query_until('postgres', "SELECT ticks > $ticks + 1 FROM deploydb.worker_status WHERE database = current_database()");
	return;
}

# Set, and known to the monitor.
sub settings
{
	my (%settings) = @_;
	sql("ALTER SYSTEM SET deploydb.$_ = '$settings{$_}'") foreach sort keys %settings;
	$node->reload;
	next_tick();
	return;
}

# To a webhook of its own.
sub notify
{
	my ($name, $path) = @_;
	sql("SELECT deploydb.add_webhook('$name', 'generic', '" . $receiver->url($path) . "');
		SELECT deploydb.notify('to $name', 'P1', '$name')");
	return;
}

sub message { return "SELECT $_[1] FROM deploydb.notification WHERE webhook = '$_[0]' AND topic LIKE 'notice/%'" }

sub wait_for_message
{
	my ($name, $condition, $what) = @_;
	return wait_until($node, 'postgres', message($name, $condition), $what);
}

sub still_hangs
{
	my ($name, $what) = @_;
	is(sql(message($name, q{state = 'sending' AND attempts = 1})), 't', $what);
	return;
}

sql('CREATE EXTENSION deploydb');
next_tick();
append_to_file("$directory/received.shut", '');
notify('kept', '/ok/kept');
wait_for_message('kept', q{state = 'delivered'}, 'a connection is made, and kept');
notify('first', '/shut/first');
foreach (1 .. 600) { last if grep { $_->{path} eq '/shut/first' } $receiver->requests; select undef, undef, undef, 0.1 }
still_hangs('first', 'a receiver hangs');

settings(webhook_allow => '127.0.0.2');
notify('forbidden', '/ok/forbidden');
wait_for_message('forbidden', q{last_stage = 'policy'}, 'what is not allowed any more is refused');
is((grep { $_->{path} eq '/ok/forbidden' } $receiver->requests), 0, 'and not sent by a connection that was kept');
still_hangs('first', 'meanwhile the first one hangs');

settings(webhook_allow => '127.0.0.1', webhook_timeout => '1s');
notify('second', '/shut/second');
wait_for_message('second', q{last_stage = 'http' AND last_status IS NULL}, 'a second one hangs for no longer than the new timeout');
notify('good', '/ok/good');
wait_for_message('good', q{state = 'delivered'}, 'another one is delivered to');
still_hangs('first', 'meanwhile the first one hangs by the old timeout');

unlink "$directory/received.shut";
wait_for_message('first', q{state = 'delivered' AND attempts = 1}, 'and is delivered to in the end');
settings(webhook_timeout => '2s');
wait_for_message('second', q{state = 'delivered'}, 'as is the second one');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'nothing has crashed');
$node->stop('fast');
done_testing();
