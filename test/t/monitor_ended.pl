# What could end the monitor for good and does not: settings that a query of
# people's makes, or a database's owner, and what becomes of a metric that ended it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN; CREATE DATABASE app OWNER owner; CREATE ROLE clerk');

sub sql { return $node->safe_psql('app', shift) }

sub wait_for
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('app', $query), $what)
		or diag($node->safe_psql('app', 'SELECT * FROM deploydb.metric_latest; SELECT * FROM deploydb.worker_status'));
	return;
}

sub ticks_go_on
{
	my $what = shift;
	my ($ticks, $pid) = split /\|/, sql('SELECT ticks, pid FROM deploydb.worker_status');
	return wait_for("SELECT ticks > $ticks + 3 AND pid = $pid FROM deploydb.worker_status", "$what: the monitor goes on");
}

sub restarts { return sql('SELECT restarts FROM deploydb.worker_status') }

sql('CREATE EXTENSION deploydb; GRANT CREATE ON SCHEMA public TO clerk');
sql(q{SELECT deploydb.grant_access('clerk', 'operator')});
wait_for('SELECT ticks > 0 FROM deploydb.worker_status', 'it ticks');

# A metric whose error is FATAL

my $restarts = restarts();
sql(q{SET ROLE clerk; CREATE TABLE switch AS SELECT 1 AS a;
	SELECT deploydb.add_metric('clerk.good', 'SELECT 123456.789'),
		deploydb.add_metric('clerk.bad', $$SELECT length(set_config('exit_on_error', 'on', true)) + 1 / a FROM public.switch$$)});
wait_for(q{SELECT count(*) = 2 FROM deploydb.metric_value WHERE metric ~ '^clerk'}, 'two metrics');
sql('UPDATE switch SET a = 0');
wait_for(q{SELECT failures > 0 FROM deploydb.own_metric_state WHERE name = 'clerk.bad'}, 'one that ends the monitor has failed');
like(sql('SELECT last_error FROM deploydb.worker_status'), qr/^metric clerk\.bad: the monitor ended while it was measured$/, 'which the status says');
wait_for(q{SELECT fault = 'the monitor ended while it was measured' FROM deploydb.metric WHERE name = 'clerk.bad'}, 'the third time it is disabled');
is(restarts() - $restarts, 3, 'as many restarts');
ticks_go_on('a bad metric');
is(sql(q{SELECT failures, disabled_at IS NULL FROM deploydb.own_metric_state WHERE name = 'clerk.good'}), '0|t', 'no other metric is blamed');

# Likewise what is read as the owner of the application's tables

$restarts = restarts();
sql(q{SET ROLE clerk; CREATE TYPE trap AS (v float8);
	CREATE FUNCTION spring(trap) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN
		PERFORM set_config('exit_on_error', 'on', true); RETURN 1 / 0; END $$;
	CREATE CAST (trap AS float8) WITH FUNCTION spring(trap);
	CREATE TABLE decision_records ("decisionId" text, "timestamp" timestamp(3), confidence trap, "ingestionStatus" text, "isSimulation" boolean)});
sql(q{INSERT INTO decision_records SELECT 'd', clock_timestamp() AT TIME ZONE 'UTC', ROW(1)::trap, 'SUCCESS', false FROM pg_sleep(0.1)});
wait_for(q{SELECT error ~ '^the monitor ended while it was measured; left out until ' FROM deploydb.metric_latest
	WHERE metric = 'decision.confidence.p50'}, 'a column with a cast that ends the monitor');
ticks_go_on('a bad table');
is(restarts() - $restarts, 1, 'which ended it once');
like(sql('SELECT last_error FROM deploydb.worker_status'), qr/^metric decision\.confidence\.p50: the monitor ended while it was measured$/, 'which the status says');
is(sql(q{SELECT status FROM deploydb.health_problem() WHERE reason ~ '^metric decision.confidence.p50 could not be measured: the monitor ended'}),
	'degraded', 'and health()');
sql('DROP TABLE decision_records');
sql(q{UPDATE deploydb.metric_latest SET readings = '{"left_out_until": "2000-01-01"}' WHERE metric = 'decision.confidence.p50'});
wait_for(q{SELECT count(*) = 0 FROM deploydb.metric_latest WHERE metric = 'decision.confidence.p50' AND error IS NOT NULL}, 'then it is tried again');

SKIP:
{
	skip 'transactions have a timeout from 17 on', 1 if $node->pg_version < 17;
	sql(q{SET ROLE clerk; SELECT deploydb.add_metric('clerk.late', 'SELECT 1')});
	sql(q{UPDATE deploydb.metric SET query = $$SELECT length(set_config('transaction_timeout', '50ms', true)) + length(pg_sleep(0.2)::text)$$
		WHERE name = 'clerk.late'});
	wait_for(q{SELECT failures > 0 AND last_error = 'the monitor ended while it was measured' FROM deploydb.own_metric_state WHERE name = 'clerk.late'},
		'a timeout that ends the session');
	sql(q{SELECT deploydb.drop_metric('clerk.late')});
}

# What a database's owner sets for it

my @settings = ("role = 'owner'", 'exit_on_error = on', 'extra_float_digits = -15', "session_authorization = 'owner'");
push @settings, "transaction_timeout = '5ms'" if $node->pg_version >= 17;
# these are for sessions of our own, too
my $pid = sql('SELECT pid FROM deploydb.worker_status');
foreach my $setting (@settings)
{
	$node->psql('app', "ALTER DATABASE app SET $setting", extra_params => [ '-U', 'owner' ], on_error_stop => 0);
}
note($node->safe_psql('postgres', 'SELECT setconfig FROM pg_db_role_setting'));
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'deploydb monitor' AND pid <> $pid"),
	'with settings of its database, another monitor');
$node->safe_psql('postgres', 'ALTER DATABASE app RESET ALL');
ticks_go_on('those settings');
wait_for(q{SELECT value = 123456.789 AND at > (SELECT started_at FROM deploydb.worker_status) FROM deploydb.metric_latest WHERE metric = 'clerk.good'},
	'a number is what it is');

$node->stop;
done_testing();
