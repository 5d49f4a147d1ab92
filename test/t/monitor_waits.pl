# What messages do not wait for: metrics that take their time, and somebody who
# holds the lock that NOTIFY takes.
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

my $node = PostgreSQL::Test::Cluster->new('monitor_waits');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql('CREATE EXTENSION deploydb');
sql(q{SELECT deploydb.add_webhook('all', 'generic', '} . $receiver->url('/ok') . q{')});

# Metrics that people measure wait for messages: of each tick one is under way
# when the metric looks.

sql(q{SELECT deploydb.add_metric('flip', 'SELECT 1 - COALESCE((SELECT value FROM deploydb.metric_latest WHERE metric = $m$flip$m$), 0)', 'a number', 'one more each time'),
	deploydb.add_metric('under_way', 'SELECT count(*) FROM deploydb.outbox WHERE state IN ($s$pending$s$, $s$sending$s$)', 'messages', 'that are not delivered');
	SELECT deploydb.set_rule('flips', 'flip', severity => 'P0', comparison => '>', threshold => 0.5, cooldown_seconds => 0)});
wait_until($node, 'postgres', q{SELECT count(*) > 5 FROM deploydb.notification WHERE topic = 'flips/' AND state = 'delivered'}, 'each tick sends a message');
is(sql(q{SELECT DISTINCT value FROM deploydb.metric_sample WHERE metric = 'under_way'}), '0', 'which has gone before metrics are measured');
sql(q{SELECT deploydb.set_rule('flips', enabled => false)});

# Each of them is measured once an interval, however long the others take.

sql(join ';', map { "SELECT deploydb.add_metric('slow.$_', 'SELECT extract(epoch FROM clock_timestamp()) FROM pg_sleep(0.3)')" } 1 .. 3);
my ($ticks, $samples) = split /\|/, sql(q{SELECT ticks, (SELECT count(*) FROM deploydb.metric_sample WHERE metric = 'slow.1') FROM deploydb.worker_status});
wait_until($node, 'postgres', "SELECT ticks >= $ticks + 12 FROM deploydb.worker_status", 'some ticks');
cmp_ok(sql("SELECT count(*) - $samples - (SELECT ticks - $ticks FROM deploydb.worker_status) FROM deploydb.metric_sample WHERE metric = 'slow.1'"),
	'<=', 1, 'slow metrics are measured once each');

# One that cannot be kept, as somebody is just dropping it, holds up no other.

sub measured
{
	my ($what, @metrics) = @_;
	my $now = sql('SELECT clock_timestamp()');
	wait_until($node, 'postgres', "SELECT bool_and(at > timestamptz '$now' + interval '1.1 seconds') FROM deploydb.metric_latest WHERE metric IN ('"
		  . join("', '", @metrics) . "')", $what);
	return;
}
my $dropper = $node->background_psql('postgres');
$dropper->query(q{BEGIN; DELETE FROM deploydb.metric WHERE name = 'slow.2'});
measured('others are measured', 'slow.1', 'slow.3');
$dropper->query('COMMIT');
$dropper->quit;

# Nor do receivers that hang at all times.

sql(q{ALTER SYSTEM SET deploydb.webhook_timeout = '3s'; SELECT pg_reload_conf()});
foreach my $n (1 .. 4)
{
	sql("SELECT deploydb.add_webhook('beat $n', 'heartbeat', '" . $receiver->url('/hang') . "')");
	my $tick = sql('SELECT ticks FROM deploydb.worker_status');
	wait_until($node, 'postgres', "SELECT ticks > $tick FROM deploydb.worker_status", 'a tick');
}
measured('while receivers hang', 'slow.1', 'slow.3');
sql(q{SELECT deploydb.drop_webhook('beat ' || n) FROM generate_series(1, 4) n});

# Somebody's commit has NOTIFY's lock, and waits for a standby that is gone.

sql(q{CREATE TABLE written (n integer); SELECT deploydb.add_metric('ready', NULL, 'a number', 'whether it is')});
sql(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()});
my $operator = $node->background_psql('postgres');
# the setting takes effect a little later
$operator->query_until(qr/begun/, "\\echo begun\n" . "BEGIN; INSERT INTO written VALUES (1); NOTIFY somebody; COMMIT; SELECT pg_sleep(0.1);\n" x 50);
wait_until($node, 'postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')}, 'a commit waits for a standby');
my @told_after;
foreach my $n (1 .. 3)
{
	my $down = $n % 2;
	my $event = sql(q{SET synchronous_commit = local; SELECT COALESCE(max(id), 0) FROM deploydb.alert_event});
	sql(qq{SET synchronous_commit = local; SELECT deploydb.set_rule('held_up', 'ready', comparison => '<', threshold => 1, cooldown_seconds => 0, severity => 'P0');
		SELECT deploydb.push_metric('ready', 1 - $down); SELECT deploydb.evaluate_alerts()});
	wait_until($node, 'postgres', qq{SELECT EXISTS (SELECT FROM deploydb.notification WHERE event > $event AND topic = 'held_up/' AND state = 'delivered')}, 'messages go on');
	push @told_after, sql(qq{SELECT extract(epoch FROM n.finished_at - e.occurred_at) FROM deploydb.notification n JOIN deploydb.alert_event e ON e.id = n.event
		WHERE e.id > $event AND topic = 'held_up/' ORDER BY e.id LIMIT 1});
}
cmp_ok((sort { $a <=> $b } @told_after)[0], '<', 1, 'and do not wait for it');
note("told after @told_after s");
sql(q{ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
$operator->quit;

done_testing();
