# What messages do not wait for: metrics that take their time, and somebody who
# holds the lock that NOTIFY takes.
use strict;
use warnings;

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;

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

sub wait_until
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what);
	return;
}

sql('CREATE EXTENSION deploydb');
sql(q{SELECT deploydb.add_webhook('all', 'generic', '} . $receiver->url('/ok') . q{')});

# Metrics that people measure wait for messages: of each tick one is under way
# when the metric looks.

sql(q{SELECT deploydb.add_metric('flip', 'SELECT 1 - COALESCE((SELECT value FROM deploydb.metric_latest WHERE metric = $m$flip$m$), 0)', 'a number', 'one more each time'),
	deploydb.add_metric('under_way', 'SELECT count(*) FROM deploydb.outbox WHERE state IN ($s$pending$s$, $s$sending$s$)', 'messages', 'that are not delivered');
	SELECT deploydb.set_rule('flips', 'flip', severity => 'P0', comparison => '>', threshold => 0.5, cooldown_seconds => 0)});
wait_until(q{SELECT count(*) > 5 FROM deploydb.notification WHERE topic = 'flips/' AND state = 'delivered'}, 'each tick sends a message');
is(sql(q{SELECT DISTINCT value FROM deploydb.metric_sample WHERE metric = 'under_way'}), '0', 'which has gone before metrics are measured');
sql(q{SELECT deploydb.set_rule('flips', enabled => false)});

# Somebody's commit has NOTIFY's lock, and waits for a standby that is gone.

sql(q{CREATE TABLE written (n integer); SELECT deploydb.add_metric('ready', NULL, 'a number', 'whether it is')});
sql(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()});
my $operator = $node->background_psql('postgres');
# the setting takes effect a little later
$operator->query_until(qr/begun/, "\\echo begun\n" . "BEGIN; INSERT INTO written VALUES (1); NOTIFY somebody; COMMIT; SELECT pg_sleep(0.1);\n" x 50);
wait_until(q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')}, 'a commit waits for a standby');
my @told_after;
foreach my $n (1 .. 3)
{
	my $down = $n % 2;
	my $event = sql(q{SET synchronous_commit = local; SELECT COALESCE(max(id), 0) FROM deploydb.alert_event});
	sql(qq{SET synchronous_commit = local; SELECT deploydb.set_rule('held_up', 'ready', comparison => '<', threshold => 1, cooldown_seconds => 0, severity => 'P0');
		SELECT deploydb.push_metric('ready', 1 - $down); SELECT deploydb.evaluate_alerts()});
	wait_until(qq{SELECT EXISTS (SELECT FROM deploydb.notification WHERE event > $event AND topic = 'held_up/' AND state = 'delivered')}, 'messages go on');
	push @told_after, sql(qq{SELECT extract(epoch FROM n.finished_at - e.occurred_at) FROM deploydb.notification n JOIN deploydb.alert_event e ON e.id = n.event
		WHERE e.id > $event AND topic = 'held_up/' ORDER BY e.id LIMIT 1});
}
cmp_ok((sort { $a <=> $b } @told_after)[0], '<', 1, 'and do not wait for it');
note("told after @told_after s");
sql(q{ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
$operator->quit;

done_testing();
