# Metrics as the monitor measures them: drift, queries of people's, what others
# read, and what stands in the way.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.metric_timeout = '300ms'
deploydb.lock_timeout = '200ms'
log_min_messages = warning
archive_mode = on
archive_command = 'true'
});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE app OWNER app');

sub sql
{
	return $node->safe_psql('app', shift);
}

sub wait_for
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('app', $query), $what)
		or diag($node->safe_psql('app', 'SELECT * FROM deploydb.metric_latest; SELECT * FROM deploydb.worker_status'));
	return;
}

sub deviations
{
	my $condition = shift;
	return "SELECT count(*) > 0 FROM deploydb.metric_latest WHERE metric = 'migration.deviations' AND $condition";
}

# A fresh installation is quiet.

sql('CREATE EXTENSION deploydb');
wait_for('SELECT ticks >= 3 FROM deploydb.worker_status', 'the monitor ticks');
is(sql('SELECT count(*) FROM deploydb.metric_latest WHERE error IS NOT NULL'), '0', 'nothing fails in a database without anything');
is(sql('SELECT count(*) FROM deploydb.alert_event'), '0', 'and nothing fires');
is(sql("SELECT count(*) FROM deploydb.metric_latest WHERE metric = 'migration.deviations'"), '0',
	'a migration that was never there is not watched');
is(sql("SELECT deploydb.health() ->> 'status'"), 'ok', 'health is ok');
wait_for(q{SELECT value > 0 AND value < 60 FROM deploydb.metric_value WHERE metric = 'worker.tick_seconds'}, 'how long a tick takes is measured, too');

# Whoever leaves a rule without a metric is told, and health says so.

sub told
{
	my (undef, undef, $stderr) = $node->psql('app', $_[0], extra_params => [ '-v', 'ON_ERROR_STOP=1' ]);
	$stderr =~ s/^psql:\S+ //mg;
	return $stderr;
}
my $idle_rules = q{SELECT status || ': ' || reason FROM deploydb.health_problem() WHERE reason LIKE 'rule %'};

is(told(q{SELECT deploydb.set_rule('orders_fail', 'orders.eror_rate', comparison => '>', threshold => 0.05)}),
	qq{WARNING:  metric "orders.eror_rate" does not exist\n}
	. qq{DETAIL:  Rule "orders_fail" has no values until there is one.\n}
	. qq{HINT:  deploydb.add_metric() declares one; view deploydb.metric has all of them.}, 'a rule over a metric that there is not');
is(sql($idle_rules), 'degraded: rule orders_fail cannot be evaluated: metric orders.eror_rate does not exist', 'which health says, too');
is(told(q{SELECT deploydb.add_metric('orders.error_rate', NULL, 'ratio'), deploydb.set_rule('orders_fail', metric => 'orders.error_rate')}), '',
	'with a metric it is well');
is(sql($idle_rules), '', 'for health, too');
is(told(q{SELECT deploydb.drop_metric('orders.error_rate')}),
	qq{WARNING:  rules name metric "orders.error_rate", which is dropped\n}
	. qq{DETAIL:  Without values from now on: orders_fail.\n}
	. qq{HINT:  deploydb.set_rule() gives a rule another metric or disables it, deploydb.reset_rule() forgets it.}, 'a metric that a rule names is dropped');
is(sql($idle_rules), 'degraded: rule orders_fail cannot be evaluated: metric orders.error_rate does not exist', 'which health says, too');
is(told(q{SELECT deploydb.set_rule('orders_fail', enabled => false)}), '', 'one that is disabled needs none');
is(sql($idle_rules), '', 'for health, too');
is(told(q{SELECT deploydb.add_metric('orders.error_rate', NULL, 'ratio'), deploydb.drop_metric('orders.error_rate');
	UPDATE deploydb.metric SET stale_after_seconds = 60 WHERE name = 'api.up'; SELECT deploydb.drop_metric('api.up')}), '',
	'nor is it a loss when only such a one names a metric, or a metric is again what it was');
sql(q{SELECT deploydb.reset_rule('orders_fail')});

# So is one where decisions without insights were made before.

{
	my $in_use = sub { $node->safe_psql('in_use', shift) };
	my $decide = q{INSERT INTO decision_records SELECT concat('%1$s', n), now() AT TIME ZONE 'UTC', 0.1, 'SUCCESS', false FROM generate_series(1, 50) n};
	$node->safe_psql('postgres', 'CREATE DATABASE in_use');
	$in_use->(q{CREATE TABLE decision_insights (decision_id text);
		CREATE TABLE decision_records ("decisionId" text, "timestamp" timestamp(3), confidence double precision, "ingestionStatus" text, "isSimulation" boolean)});
	$in_use->(sprintf $decide, 'before');
	$in_use->('CREATE EXTENSION deploydb');
	# more than the three seconds that an insight has, and the three values that a rule asks for
	ok($node->poll_query_until('in_use', q{SELECT count(*) = 1 FROM deploydb.monitor_state m, deploydb.installation i
		WHERE m.ticks >= 8 AND m.last_tick_at > i.installed_at + interval '8 seconds'}), 'a database in use: the monitor ticks');
	is($in_use->('SELECT count(*) FROM deploydb.alert_event'), '0', 'what was there before fires nothing');
	is($in_use->('SELECT missing FROM deploydb.insight_coverage()'), '50', 'who asks for it is told of it');
	$in_use->(sprintf $decide, 'after');
	ok($node->poll_query_until('in_use', q{SELECT count(DISTINCT rule) = 2 FROM deploydb.alert_event
		WHERE rule IN ('insight_missing', 'decision_confidence_low_p1') AND status = 'firing'}), 'what comes later does')
	  or diag($in_use->('SELECT * FROM deploydb.metric_latest; SELECT * FROM deploydb.alert_event'));
	is($in_use->(q{SELECT note FROM deploydb.metric_latest WHERE metric = 'insight.coverage'}), '50 of 50 decisions in an hour lack theirs', 'and counts alone');
	$node->safe_psql('postgres', 'DROP DATABASE in_use');
}

# Drift, by a role that has no right on deploydb

my $ddl = sql('SELECT ddl FROM deploydb.builtin_migrations()');
$node->safe_psql('app', $ddl, extra_params => [ '-U', 'app' ]);
wait_for(deviations('value = 0'), 'a migration that verifies is watched');
$node->safe_psql('app', 'DROP INDEX decision_insights_decision_id_key', extra_params => [ '-U', 'app' ]);
wait_for(deviations("value = 1 AND note LIKE 'index decision\\_insights\\_decision\\_id\\_key is missing%'"),
	'an index is dropped: one deviation, and the note says which');
wait_for("SELECT count(*) = 1 FROM deploydb.alert_event WHERE rule = 'migration_drift' AND status = 'firing'",
	'the rule fires');
is(sql("SELECT session_role FROM deploydb.definition_change WHERE command = 'DROP INDEX'"), 'app',
	'and it is known who did it');
# ... not even that of a database's owner
sql('CREATE ROLE stranger; GRANT CREATE ON SCHEMA public TO stranger; GRANT TRUNCATE ON decision_insights TO stranger');
sql('SET ROLE stranger; CREATE TABLE strange (); TRUNCATE strange; TRUNCATE decision_insights; DROP TABLE strange');
is(sql("SELECT object FROM deploydb.definition_change WHERE command = 'TRUNCATE TABLE'"), 'public.decision_insights', 'also that one empties it');
my $fingerprint = sql("SELECT fingerprint FROM deploydb.metric_latest WHERE metric = 'migration.deviations'");
sql('ALTER TABLE decision_insights DROP COLUMN triggers');
wait_for(deviations("fingerprint <> '$fingerprint'"), 'another set of deviations has another fingerprint');
wait_for("SELECT count(*) = 1 FROM deploydb.alert_event WHERE rule = 'migration_drift' AND reason = 'changed'", 'and is told');
is(sql("SELECT deploydb.health() ->> 'status'"), 'failing', 'health is failing');

# While Prisma migrates, and a pooler that keeps its lock for ever

sub hold
{
	my $statement = shift;
	my $session = $node->background_psql('app');
	$session->query_safe($statement);
	return $session;
}
my $prisma = hold('SELECT pg_advisory_lock(72707369)');
my $tick = sql('SELECT ticks FROM deploydb.worker_status');
wait_for("SELECT ticks > $tick + 1 FROM deploydb.worker_status", 'a lock alone');
is(sql(deviations('value > 0')), 't', 'is no migration');
sql(q{CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
	finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
	INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('1', 'c', '20990101_next')});
wait_for(deviations("value IS NULL AND note = 'Prisma migrates'"), 'drift waits while Prisma migrates');
sql(q{UPDATE deploydb.metric_latest SET readings = jsonb_build_object('migrates_since', now() - interval '6 minutes')
	WHERE metric = 'migration.deviations'});
wait_for(deviations('value > 0'), 'but not for ever');
sql('DROP TABLE _prisma_migrations');
$prisma->quit;

# A lock on the application's table

my $locker = hold('BEGIN; LOCK TABLE decision_insights');
wait_for(deviations("value IS NULL AND note = 'could not be looked at'"), 'a table that is locked cannot be looked at');
cmp_ok(sql('SELECT last_tick_ms FROM deploydb.worker_status'), '<', 900, 'and the tick goes on');
$locker->quit;
wait_for(deviations('value > 0'), 'then it can');

# Queries of people's

sql('CREATE ROLE clerk; GRANT CREATE ON SCHEMA public TO clerk');
sql(q{SELECT deploydb.grant_access('clerk', 'operator')});
sql(q{SET ROLE clerk; CREATE TABLE job AS SELECT false AS done;
	SELECT deploydb.add_metric('job.count', 'SELECT count(*) FROM job'),
		deploydb.add_metric('job.gone', 'SELECT count(*) FROM job'),
		deploydb.add_metric('job.slow', 'SELECT 1 FROM pg_sleep(0)')});
sql(q{UPDATE deploydb.metric SET query = 'SELECT 1 FROM pg_sleep(60)' WHERE name = 'job.slow';
	UPDATE deploydb.metric SET query = 'SELECT count(*) FROM nowhere' WHERE name = 'job.gone'});
is(sql(q{SELECT DISTINCT owner FROM deploydb.metric WHERE query IS NOT NULL}), 'clerk', 'an UPDATE leaves the owner');
wait_for(q{SELECT value = 1 FROM deploydb.metric_value WHERE metric = 'job.count'}, 'the monitor runs a query');
wait_for(q{SELECT fault LIKE '%took longer than 300 ms' FROM deploydb.metric WHERE name = 'job.slow'},
	'a slow one is disabled, with the reason');
# One that catches it ends, too: at once, or never by itself
foreach my $then ('RETURN 1', 'NULL')
{
	sql(qq{SET ROLE clerk; CREATE OR REPLACE FUNCTION stubborn() RETURNS integer LANGUAGE plpgsql AS \$\$ BEGIN
			LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN $then; END; END LOOP; END \$\$;
		SELECT deploydb.add_metric('job.stubborn', 'SELECT 1')});
	sql(q{UPDATE deploydb.metric SET query = 'SELECT stubborn()' WHERE name = 'job.stubborn'});
	wait_for(q{SELECT fault LIKE '%took longer than 300 ms' FROM deploydb.metric WHERE name = 'job.stubborn'}, "one that catches the timeout: $then");
	sql(q{SELECT deploydb.drop_metric('job.stubborn')});
}
wait_for(q{SELECT fault LIKE '%"nowhere" does not exist' FROM deploydb.metric WHERE name = 'job.gone'},
	'and one that fails');
$tick = sql('SELECT ticks FROM deploydb.worker_status');
wait_for("SELECT ticks > $tick + 1 FROM deploydb.worker_status", 'the monitor goes on');
sql('ALTER ROLE clerk RENAME TO secretary; INSERT INTO job VALUES (true)');
wait_for(q{SELECT value = 2 FROM deploydb.metric_value WHERE metric = 'job.count'}, 'its owner is renamed');
wait_for(q{SELECT owner = 'secretary' FROM deploydb.own_metric WHERE name = 'job.count'}, 'which a dump will know');
sql('REASSIGN OWNED BY secretary TO postgres; DROP OWNED BY secretary; DROP ROLE secretary');
wait_for(q{SELECT fault LIKE '%was dropped' FROM deploydb.metric WHERE name = 'job.count'}, 'its owner is dropped');

# No way to more rights, nor to what is not the query's

sql('CREATE ROLE thief LOGIN; GRANT CREATE ON SCHEMA public TO thief');
sql(q{SELECT deploydb.grant_access('thief', 'operator')});
sql(q{SET ROLE thief;
	CREATE FUNCTION steal() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
		SET ROLE postgres; RETURN 1; END $$;
	CREATE FUNCTION harmless() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
	SELECT deploydb.add_metric('thief.steals', 'SELECT harmless()'), deploydb.add_metric('thief.sets', 'SELECT harmless()')});
sql(q{UPDATE deploydb.metric SET query = 'SELECT steal()' WHERE name = 'thief.steals';
	UPDATE deploydb.metric SET query = $q$SELECT length(set_config('search_path', 'public', false))$q$ WHERE name = 'thief.sets'});
wait_for(q{SELECT fault LIKE 'cannot set parameter "role" within security-restricted operation%'
	FROM deploydb.metric WHERE name = 'thief.steals'}, 'a query cannot become another role');
wait_for(q{SELECT value = 6 FROM deploydb.metric_value WHERE metric = 'thief.sets'}, 'what it sets');
wait_for(q{SELECT count(*) = 0 FROM deploydb.metric_latest WHERE metric <> 'thief.steals' AND error IS NOT NULL AND metric !~ '^job'},
	'is set for it alone');

# Nor can what the application stores hold up a tick

is(sql(q{SET ROLE thief; CREATE TYPE trap AS (v float8);
	CREATE FUNCTION spring(trap) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN
		LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
	CREATE CAST (trap AS float8) WITH FUNCTION spring(trap);
	CREATE TABLE decision_records ("decisionId" text, "timestamp" timestamp(3), confidence trap, "ingestionStatus" text, "isSimulation" boolean);
	INSERT INTO decision_records VALUES ('d', now() AT TIME ZONE 'UTC', ROW(1), 'SUCCESS', false) RETURNING true}), 't', 'a column with a cast that never ends');
wait_for(q{SELECT error LIKE '%took longer than 300 ms' FROM deploydb.metric_latest WHERE metric = 'decision.confidence.p50'}, 'has no median');
$tick = sql('SELECT ticks FROM deploydb.worker_status');
wait_for("SELECT ticks > $tick + 1 FROM deploydb.worker_status", 'and ticks go on');
sql('DROP TABLE decision_records; DROP TYPE trap CASCADE');

# Locks of the session are given back, but for the monitor's own.

sql(q{SET ROLE thief; SELECT deploydb.add_metric('thief.unlocks', 'SELECT harmless()'), deploydb.add_metric('thief.locks', 'SELECT harmless()')});
sql(q{UPDATE deploydb.metric SET query = 'SELECT count(pg_advisory_unlock_all()::text)' WHERE name = 'thief.unlocks';
	UPDATE deploydb.metric SET query = 'SELECT 1 + count(pg_advisory_lock(4711)::text)' WHERE name = 'thief.locks'});
wait_for(q{SELECT count(*) = 2 FROM deploydb.metric_latest WHERE value = 1 + (metric = 'thief.locks')::integer
	AND metric IN ('thief.unlocks', 'thief.locks')}, 'queries that lock and unlock');
$tick = sql('SELECT ticks FROM deploydb.worker_status');
wait_for("SELECT ticks > $tick + 1 FROM deploydb.worker_status", 'the monitor goes on');
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), '0', 'they keep no lock');
is(sql('SELECT state FROM deploydb.worker_status'), 'running', 'nor lose the monitor\'s');
sql(q{SELECT deploydb.drop_metric('thief.unlocks'), deploydb.drop_metric('thief.locks')});

# Woken all the time, it has time for them, too.

my $seen = sql(q{SELECT at FROM deploydb.metric_latest WHERE metric = 'thief.sets'});
wait_for(qq{SELECT count(*) = 1 FROM deploydb.metric_latest, deploydb.wake_monitor() woken
	WHERE metric = 'thief.sets' AND at > timestamptz '$seen' + interval '4 seconds'}, 'queries run while the monitor is woken all the time');

# Writes that fail, and values from elsewhere

sql(q{ALTER TABLE decision_insights ADD COLUMN triggers text[] NOT NULL DEFAULT '{}';
	CREATE UNIQUE INDEX decision_insights_decision_id_key ON decision_insights (decision_id)});
sql(q{DO $$
	BEGIN
		FOR n IN 1 .. 90 LOOP
			BEGIN
				INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
				VALUES (n, n % 60, 'u', '{}', '{}', 'h', now());
			EXCEPTION WHEN unique_violation THEN NULL;
			END;
		END LOOP;
	END $$});
wait_for(q{SELECT round(value::numeric, 2) = 0.67 AND note ~ '^30 of 90 .*unique_violation \(23505, 30 times\)'
	FROM deploydb.metric_latest WHERE metric = 'insight.write.success_rate'}, 'the share of writes that succeed, and why not all');
wait_for(q{SELECT round(value::numeric, 2) = 0.33 FROM deploydb.metric_latest
	WHERE metric = 'rollback.error_rate' AND series = 'insight.write.failure_rate'}, 'likewise for a rollback');
wait_for(q{SELECT value = 1 AND severity = 'P0' FROM deploydb.metric_latest
	WHERE metric = 'insight.write.burn' AND series = '1 hour and 5 minutes'}, 'and the error budget burns');
wait_for(q{SELECT value > 0 FROM deploydb.metric_latest WHERE metric = 'insight.write.p99_seconds'}, 'the time that writes take');
sql(q{SELECT deploydb.grant_access('app', 'app')});
$node->safe_psql('app', q{SELECT deploydb.push_metric('http.error_rate.5xx', 0.25)}, extra_params => [ '-U', 'app' ]);
wait_for(q{SELECT value = 0.25 FROM deploydb.metric_latest WHERE metric = 'rollback.error_rate' AND series = 'http.error_rate.5xx'},
	'what the application pushes counts, too');
isnt($node->psql('app', 'SELECT deploydb.drop_metric($$api.up$$)', extra_params => [ '-U', 'app' ]), 0, 'it can do nothing else');

# An archive that fails, and then works

sub set_archive
{
	my $command = shift;
	sql("ALTER SYSTEM SET archive_command = '$command'");
	$node->reload;
	return;
}

# What is written fills a WAL file, which is then to be archived.
sub finish_wal
{
	return sql(q{INSERT INTO archived VALUES (1); SELECT pg_walfile_name(pg_switch_wal())});
}

sub archive
{
	my $condition = shift;
	return qq{SELECT count(*) = 1 FROM deploydb.metric_value f JOIN deploydb.metric_value a USING (at)
		JOIN deploydb.metric_latest l ON l.metric = f.metric
		WHERE f.metric = 'archive.failed' AND a.metric = 'archive.age_seconds' AND $condition};
}

sql('CREATE TABLE archived (id integer)');
finish_wal();
wait_for(archive('f.value = 0 AND a.value = 0'), 'an archive that works: nothing failed, and nothing waits');
set_archive('false');
my $first = sql('SELECT extract(epoch FROM now())');
my $wal = finish_wal();
wait_for(archive("f.value = 1 AND l.note LIKE '$wal, %'"), 'an attempt to archive fails, and it is known which file');
wait_for(archive('f.value = 1 AND a.value > 3'), 'a file waits');
# the times of files are of whole seconds
my $second = sql('SELECT extract(epoch FROM now())');
finish_wal();
$tick = sql('SELECT ticks FROM deploydb.worker_status');
wait_for("SELECT ticks > $tick + 1 FROM deploydb.worker_status", 'and another one');
is(sql(archive("f.value = 1 AND extract(epoch FROM a.at) - a.value BETWEEN $first - 2 AND $second - 2")), 't', 'the oldest counts');
set_archive('true');
wait_for(archive('f.value = 0 AND a.value = 0'), 'the archive works again: nothing failed since, and nothing waits');

# A restore brings them, and the role is known by its name.

my $dump = $node->basedir . '/app.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, 'app' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'copy' ], 'restored');
ok($node->poll_query_until('copy', q{SELECT value = 6 FROM deploydb.metric_value WHERE metric = 'thief.sets'}),
	'the copy\'s monitor runs the query');
is($node->safe_psql('copy', q{SELECT owner_oid FROM deploydb.due_metric(clock_timestamp()) UNION
	SELECT r.oid FROM pg_roles r WHERE r.rolname = 'thief'}), $node->safe_psql('copy', q{SELECT oid FROM pg_roles WHERE rolname = 'thief'}),
	'as the same role');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# What others read

SKIP:
{
	skip 'promtool is not installed', 4 if !IPC::Run::run([ 'sh', '-c', 'command -v promtool' ], '>', \my $found);
	sql(q{SELECT deploydb.add_metric('odd.text', 'SELECT 1e300::float8 / 3', '', E'a \\ and "b"\nand c')});
	wait_for(q{SELECT count(*) = 1 FROM deploydb.metric_value WHERE metric = 'odd.text'}, 'a help of two lines');
	sql(qq{SELECT deploydb.add_metric('$_', NULL), deploydb.push_metric('$_', 1)}) foreach qw(jobs.total jobs.count wait.milliseconds jobs__waiting);
	my $text = sql('SELECT deploydb.prometheus_metrics()') . "\n";
	$text =~ s/\n+\z/\n/;
	IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$text, '>&', \my $findings);
	is($findings, '', 'promtool finds nothing');
	like($text, qr/^deploydb_migration_deviations\{database="app",series="\d+_add_decision_insights"\} \d$/m, 'a series is a label');
	like($text, qr/^deploydb_alert_state\{database="app",rule="migration_drift",series="\d+_add_decision_insights",severity="P0"\} 1$/m,
		'a rule that fires is 1');
}

# Health on a standby, and without a monitor

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('app', "SELECT deploydb.health() ->> 'standby'"), 'true', 'a standby tells its health');
like($standby->safe_psql('app', 'SELECT deploydb.prometheus_metrics()'), qr/^deploydb_worker_last_tick_timestamp_seconds/m,
	'and the metrics of its primary');
wait_for(q{SELECT count(*) = 1 FROM deploydb.metric_value WHERE metric = 'db.replication_lag_seconds'}, 'the primary knows how far it is behind');
$standby->stop;

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
wait_for(q{SELECT (deploydb.health() -> 'reasons' ->> 0) LIKE 'the last tick of the monitor is % s ago'},
	'without a monitor health is failing after three intervals, and says why');
is(sql(q{SELECT deploydb.health() ->> 'status'}), 'failing', 'which is the status');

$node->stop;
done_testing();
