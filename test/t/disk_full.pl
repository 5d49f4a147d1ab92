# A file system without any room, below the tables that the monitor writes: who
# writes is told, nothing ends or is lost, and all goes on once there is room.
use strict;
use warnings;

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Waiting;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $disk = "$directory/disk";
mkdir $disk or die $!;

# In namespaces of his own anybody may mount, as their root; in one more within
# them the server is who it was, as it refuses to be root.
my @within = ('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c',
	"mount -t tmpfs -o size=64m tmpfs '$disk' && exec unshare --user --map-user=$> --map-group=" . ($) + 0) . ' "$@"', 'sh');
my $refusal = '';
eval { IPC::Run::run([ @within, 'true' ], '>&', \$refusal) }
  or plan skip_all => 'no file system can be mounted here: ' . (($refusal || $@ || 'unshare failed') =~ s/\s+/ /gr);

my $receiver = Receiver->new("$directory/received");
my $down = Receiver->new("$directory/received_later");
$down->stop;

my $node = PostgreSQL::Test::Cluster->new('disk_full');
$node->init;
# A vacuum could find room.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
autovacuum = off
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
{
	no warnings 'redefine';
	my $system_log = \&PostgreSQL::Test::Utils::system_log;
	local *PostgreSQL::Test::Utils::system_log = sub { return $system_log->(@within, @_) };
	$node->start;
}
$node->safe_psql('postgres', $_) foreach "CREATE TABLESPACE small LOCATION '$disk'", 'CREATE DATABASE small TABLESPACE small';
my $server = slurp_file($node->data_dir . '/postmaster.pid');

sub sql { return $node->safe_psql('small', $_[0]) }

sub status { return sql("SELECT $_[0] FROM deploydb.worker_status") }

# What health() says, by its status and the first of its reasons.
sub wait_for_health
{
	my ($status, $reason, $what) = @_;
	return wait_until($node, 'small', "SELECT h ->> 'status' = '$status' AND COALESCE(h -> 'reasons' ->> 0, '') ~ '^$reason\$' FROM deploydb.health() h", "health() $what");
}

# Writes a table until it cannot grow; that an index cannot would leave room in it.
sub fill
{
	my ($table, $statement) = @_;
	my (undef, undef, $error) = $node->psql('small', qq{
		DO \$\$
		DECLARE
			file text := pg_relation_filepath('$table');
		BEGIN
			FOR i IN 1 .. 1000 LOOP
				BEGIN
					$statement;
				EXCEPTION WHEN disk_full THEN
					IF position(file IN SQLERRM) > 0 THEN
						RAISE;
					END IF;
				END;
				COMMIT;
			END LOOP;
		END \$\$});
	like($error, qr/ERROR:  could not extend file .*\nHINT:  Check free disk space/, "$table cannot grow");
	return;
}

sub requests
{
	my ($to, $what) = @_;
	return scalar grep { $_->{body} =~ $what } $to->requests;
}

# All is well: a message is under way, and another one waits for a receiver that
# is down.

sql('CREATE EXTENSION deploydb');
sql(qq{SELECT deploydb.add_webhook('all', 'generic', '} . $receiver->url('/ok') . q{'),
		deploydb.add_webhook('shut', 'generic', '} . $receiver->url('/shut') . q{', min_severity => 'P0'),
		deploydb.add_webhook('down', 'generic', '} . $down->url('/ok') . q{', min_severity => 'P0');
	CREATE TABLE app (v text); SELECT deploydb.track('app');
	SELECT deploydb.add_metric('app.pushed', NULL), deploydb.add_metric('app.unwritten',
		$$SELECT COALESCE(sum(attempts), 0) FROM deploydb.write_failures('1 hour', 'app') WHERE condition = 'disk_full'$$),
		deploydb.set_rule('unwritten', 'app.unwritten', 'threshold', 'P1', '>', 0, consecutive_periods => 1)});
wait_until($node, 'small', q{SELECT value = 0 FROM deploydb.metric_value WHERE metric = 'app.unwritten'}, 'it ticks, and measures');
wait_for_health('ok', '', 'is well');
my $pid = status('pid');
append_to_file("$directory/received.shut", '');

# As long as somebody may read old versions of rows, they give no room.
my $snapshot = $node->background_psql('small');
$snapshot->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
sql(q{SELECT deploydb.notify('under way', 'P3', 'shut'), deploydb.notify('waits', 'P3', 'down')});
wait_until($node, 'small', q{SELECT (SELECT state = 'sending' FROM deploydb.notification WHERE webhook = 'shut')
	AND (SELECT last_error IS NOT NULL FROM deploydb.notification WHERE webhook = 'down')}, 'one is under way, one waits');

# Full, and not even the monitor's own account can be kept

my (undef, undef, $error) = $node->psql('small', "COPY (SELECT generate_series(1, 100000), repeat('x', 8000)) TO '$disk/filler'");
like($error, qr/No space left on device/, 'the file system is full');
fill('deploydb.outbox', q{INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body, state, finished_at)
	VALUES ('none', 'notice', '', 'P3', 'notice', '', 'delivered', clock_timestamp())});
fill('deploydb.metric_sample', q{INSERT INTO deploydb.metric_sample (metric, series, at, value) VALUES ('none', '', clock_timestamp(), 1)});
fill('deploydb.monitor_state', 'UPDATE deploydb.monitor_state SET one = one');
fill('app', q{INSERT INTO app VALUES ('')});
foreach my $call (q{deploydb.notify('refused')}, q{deploydb.push_metric('app.pushed', n)})
{
	(undef, undef, $error) = $node->psql('small', "SELECT $call FROM generate_series(1, 1000) n");
	like($error, qr/could not extend file/, "$call is refused");
}
unlink "$directory/received.shut";
$down = Receiver->new("$directory/received_later", $down->port);
wait_for_health('failing', 'the last tick of the monitor is [0-9]+ s ago', 'tells of a monitor that cannot');
like(slurp_file($node->logfile), qr/\[$pid\] .*ERROR:  could not extend file .*: No space left on device/, 'the log has it, too');
# one that fails may fail by another file the next time, while others find the last room
my $log = slurp_file($node->logfile);
my (%failed_with, @repeated);
while ($log =~ /\[$pid\] .*ERROR:  (could not extend file .*)\n.*HINT: .*\n.*CONTEXT: (?:.*\n\t)*(.*)\n/g)
{
	push @repeated, "$2: $1" if ($failed_with{$2} // '') eq $1;
	$failed_with{$2} = $1;
}
ok(%failed_with, 'the log has what failed');
is_deeply(\@repeated, [], 'what goes on failing with the same has one line of the log');
note("$_: $failed_with{$_}") foreach sort keys %failed_with;
is(requests($receiver, qr/under way/), 1, 'a message has arrived');
is(sql(q{SELECT count(*) FROM deploydb.notification WHERE webhook IN ('shut', 'down') AND state IN ('sending', 'pending')}), '2',
	'which cannot be recorded, nor the other one sent');

# Full, and old versions of rows give room to new ones

$snapshot->quit;
my $ticks = status('ticks');
wait_until($node, 'small', "SELECT ticks > $ticks + 2 AND last_error ~ 'No space left on device' AND last_error_at >= last_tick_at FROM deploydb.worker_status",
	'ticks go on, and tell');
wait_for_health('degraded', 'the monitor failed at .*: No space left on device', 'tells, too');
is(sql('SELECT count(*) FROM deploydb.alert_event'), '0', 'what cannot be kept is not evaluated');

# Room again

sql("COPY (SELECT) TO '$disk/filler'");
wait_until($node, 'small', 'SELECT last_error_at < last_tick_at FROM deploydb.worker_status', 'once there is room, ticks have no error');
wait_until($node, 'small', q{SELECT bool_and(state = 'delivered') FROM deploydb.notification WHERE webhook IN ('shut', 'down')}, 'both messages are delivered');
wait_until($node, 'small', q{SELECT count(*) = 1 FROM deploydb.notification WHERE topic = 'unwritten/' AND state = 'delivered'},
	'the alert is, for what happened meanwhile');
is(join(' ', map { requests(@$_) } [ $receiver, qr/under way/ ], [ $down, qr/waits/ ], [ $receiver, qr/unwritten/ ], [ $receiver, qr/refused/ ]),
	'1 1 1 0', 'each was sent once, and nothing that was refused');
is(sql(q{SELECT failed, succeeded = (SELECT count(*) FROM app) FROM deploydb.write_stats('1 hour', 'app')}), '1|t', 'all writes are counted');
is(sql(q{SELECT deploydb.push_metric('app.pushed', -1); SELECT value FROM deploydb.metric_value WHERE metric = 'app.pushed'}), "t\n-1",
	'values are taken again');
cmp_ok(status('missed_ticks'), '>', 0, 'ticks that could not be kept are missed');
wait_until($node, 'small', q{SELECT bool_and(reason ~ ' fires$') FROM deploydb.health_problem()}, 'health() has nothing but alerts');

is(status('pid, restarts'), "$pid|0", 'the monitor is the same');
is(slurp_file($node->data_dir . '/postmaster.pid'), $server, 'so is the server');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
