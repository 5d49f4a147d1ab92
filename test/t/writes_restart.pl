# What the counters outlive, and which table they are of: clean restarts,
# crashes, renames, recreated tables, copies of the database, promotion, and
# other libraries' hooks.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Crash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('restart');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.monitor = off
deploydb.max_tracked = 6
deploydb.slow_query_threshold = '1h'
log_min_messages = warning
restart_after_crash = on
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	CREATE TABLE decision_insights (id int PRIMARY KEY);
});

sub sql { return $node->safe_psql('postgres', shift) }

# succeeded|failed|rows_written of a table
sub counted
{
	my ($on, $name) = @_;
	return $on->safe_psql('postgres',
		"SELECT succeeded, failed, rows_written FROM deploydb.write_counters() WHERE name = '$name' AND NOT others");
}

# A clean restart
sql('INSERT INTO decision_insights VALUES (1), (2)');
$node->psql('postgres', 'INSERT INTO decision_insights VALUES (1)');
sql(q{SET deploydb.slow_query_threshold = '500ms'; SELECT 1 FROM pg_sleep(0.6)});
is(counted($node, 'decision_insights'), '1|1|2', 'counted');
# another database, with attempts of others than the application's role
sub kept { return $node->safe_psql('kept', shift) }
sql('CREATE DATABASE kept; CREATE ROLE other LOGIN; CREATE ROLE app LOGIN; ALTER DATABASE kept SET deploydb.app_role = app');
kept('CREATE EXTENSION deploydb; CREATE TABLE decision_insights (id int PRIMARY KEY); GRANT INSERT ON decision_insights TO app, other');
foreach my $role (qw(app other))
{
	$node->psql('kept', "SET application_name = 'as $role'; INSERT INTO decision_insights SELECT n + length('$role') FROM generate_series(1, 3) n; "
		. 'INSERT INTO decision_insights VALUES (5); INSERT INTO decision_insights VALUES (6)', extra_params => [ '-U', $role ], on_error_stop => 0);
}
my $all = q{SELECT * FROM deploydb.write_counters() ORDER BY others; SELECT * FROM deploydb.write_failure_counters() ORDER BY others, sqlstate;
	SELECT * FROM deploydb.recent_failures(); SELECT * FROM deploydb.log_error WHERE in_database ORDER BY sqlstate_class};
my $all_before = kept($all);
like($all_before, qr/decision_insights\|f\|.*\ndecision_insights\|t\||decision_insights\|f\|.*decision_insights\|t\|/s, 'of the role, and of others');
my $since = sql('SELECT since FROM deploydb.write_counters()');
my $lines = sql(q{SELECT count FROM deploydb.log_error WHERE sqlstate_class = '23'});
my $slow = sql('SELECT deploydb.slow_queries()');
cmp_ok($slow, '>=', 1, 'a slow statement');
$node->restart;
is(counted($node, 'decision_insights'), '1|1|2', 'a clean restart keeps every count');
is(sql('SELECT since FROM deploydb.write_counters()'), $since, 'and the epoch');
is(kept($all), $all_before, 'and all else, in another database, too');
sql('DROP DATABASE kept; DROP ROLE other; DROP ROLE app');
is(sql(q{SELECT count FROM deploydb.log_error WHERE sqlstate_class = '23'}), $lines, 'and the log\'s lines');
cmp_ok(sql('SELECT deploydb.slow_queries()'), '>=', $slow, 'and the slow statements');
is(sql('SELECT sqlstate, last_constraint, relation FROM deploydb.recent_failures()'),
	'23505|decision_insights_pkey|public.decision_insights', 'and the ring');
is(sql('SELECT sum(attempts) FROM deploydb.write_failure_counters()'), '1', 'and the SQLSTATEs');
ok(!-e $node->data_dir . '/pg_stat/deploydb.stat', 'the file is gone once it is read');
is(sql('SELECT deploydb.write_success_rate()'), '0.5', 'the rate is of both');

# A crash
is(sql('SELECT deploydb.take_write_sample()'), '1', 'a sample');
sql('INSERT INTO decision_insights VALUES (3)');

# Neither an immediate stop nor time without the library are a clean restart
$node->stop('immediate');
$node->start;
is(counted($node, 'decision_insights'), '0|0|0', 'an immediate stop is a crash');
sql('INSERT INTO decision_insights VALUES (-1)');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
sql('INSERT INTO decision_insights VALUES (-2)');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'");
$node->start;
is(counted($node, 'decision_insights'), '0|0|0', 'what was saved before a time without counting is not taken up');
sql('DELETE FROM decision_insights WHERE id < 0');

# What the monitor measures of them, as of a minute: the values, and the counts they are of
sub measure
{
	my $minute = shift;
	my $at = "timestamptz '2030-01-01 00:00Z' + interval '$minute minutes'";
	sql("SELECT deploydb.collect_metrics($at), deploydb.evaluate_rules($at)");
	return split /\|/, sql(q{SELECT string_agg(concat_ws('|', value, readings -> -1 -> 1), '|' ORDER BY metric) FROM deploydb.metric_latest
		WHERE metric IN ('db.errors.per_min', 'db.slow_queries.per_min')});
}
$node->psql('postgres', "SET deploydb.slow_query_threshold = 1;\n" . 'SELECT 1/0;' x 30 . 'SELECT pg_sleep(0.003);' x 30, on_error_stop => 0);
measure(0);
my (undef, $errors_before, undef, $slow_before) = measure(1);
cmp_ok($errors_before, '>=', 30, 'many errors were counted');
cmp_ok($slow_before, '>=', 30, 'and many slow statements');
my $postmaster = slurp_file($node->data_dir . '/postmaster.pid');
$postmaster =~ s/\n.*//s;
$node->kill9;
for (1 .. 100)
{
	last if !kill 0, $postmaster;
	select undef, undef, undef, 0.1;
}
$node->start;
is(counted($node, 'decision_insights'), '0|0|0', 'a crash takes the counters');
sql('INSERT INTO decision_insights VALUES (4)');
is(sql('SELECT attempts, succeeded, failed, gaps FROM deploydb.write_stats()'), '3|2|1|0', 'what was sampled counts');
sql('SELECT deploydb.take_write_sample()');
is(sql('SELECT attempts, succeeded, failed, gaps FROM deploydb.write_stats()'), '3|2|1|1', 'and the gap is marked');
like(sql('SELECT kind, at < until, name FROM deploydb.write_gap'), qr/^lost\|t\|decision_insights$/, 'from the last sample on');
like(sql('SELECT marks FROM deploydb.write_history()'), qr/lost at/, 'in the history too');
foreach my $minute (2, 3)
{
	my ($errors, $errors_counted, $slow_per_min, $slow_counted) = measure($minute);
	cmp_ok($errors_counted, '<', $errors_before, 'errors are counted from zero');
	cmp_ok($slow_counted, '<', $slow_before, 'and slow statements');
	ok($errors >= 0 && $slow_per_min >= 0, 'neither became fewer');
}
is(sql('SELECT count(*) FROM deploydb.metric_sample WHERE value < 0'), '0', 'no rate is negative');
is(sql('SELECT bool_and(long_rate >= 0 AND short_rate >= 0) FROM deploydb.burn_rates()'), 't', 'nor is what the error budget burns at');
is(sql(q{SELECT count(*) FROM deploydb.alert_event WHERE metric ~ '^db'}), '0', 'and nobody is alarmed');

# A backend is killed: the postmaster goes on with new memory.  No sample need
# have been taken for what goes with the old one to be marked.
sub young { return $node->safe_psql('young', shift) }
my $young_stats = 'SELECT relation, attempts, succeeded, failed, gaps FROM deploydb.write_stats()';
sql('CREATE DATABASE young');
young(q{CREATE EXTENSION deploydb; CREATE TABLE decision_insights (id int PRIMARY KEY); CREATE TABLE fresh (id int PRIMARY KEY);
	SELECT deploydb.track('fresh'); INSERT INTO decision_insights VALUES (1); INSERT INTO fresh VALUES (1)});
$node->psql('young', "INSERT INTO $_ VALUES (1)") foreach qw(decision_insights fresh);
is(young($young_stats), "public.decision_insights|2|1|1|0\npublic.fresh|2|1|1|0", 'counted since a moment ago');
my (undef, $killed) = $node->psql('postgres', q{SELECT pg_backend_pid();
	DO $$ BEGIN EXECUTE format('COPY (SELECT) TO PROGRAM %L', 'kill -KILL ' || pg_backend_pid()); END $$});
Crash::wait_until_restarted($node, $killed);
is(counted($node, 'decision_insights'), '0|0|0', 'a killed backend takes the counters');
young('INSERT INTO decision_insights VALUES (2); INSERT INTO fresh VALUES (2); SELECT deploydb.take_write_sample()');
is(young($young_stats), "public.decision_insights|1|1|0|1\npublic.fresh|1|1|0|1", 'where there was no sample, too, the gap is marked');
is(young(q{SELECT bool_and(kind = 'lost' AND at < until) FROM deploydb.write_gap}), 't', 'as lost, from when counting began');
sql('INSERT INTO decision_insights VALUES (90); SELECT deploydb.take_write_sample()');
is(sql('SELECT attempts, succeeded, failed, gaps FROM deploydb.write_stats()'), '4|3|1|2', 'and where there was one');
sql('DROP DATABASE young');

# Names
sql('SELECT deploydb.reset_write_stats()');
is(sql('SELECT deploydb.write_success_rate() IS NULL'), 't', 'after a reset there was no attempt');
sql('CREATE TABLE fresh (LIKE decision_insights); ALTER TABLE decision_insights RENAME TO old; ALTER TABLE fresh RENAME TO decision_insights');
sql('INSERT INTO decision_insights VALUES (1); INSERT INTO old VALUES (5)');
is(counted($node, 'decision_insights'), '2|0|2', 'after a swap by renames the table of the name is counted');
sql(q{BEGIN; ALTER TABLE decision_insights RENAME TO fresh; ALTER TABLE old RENAME TO decision_insights; SAVEPOINT a;
	INSERT INTO decision_insights VALUES (6); ROLLBACK; INSERT INTO old VALUES (6)});
is(sql(q{SELECT succeeded, rolled_back FROM deploydb.write_counters()}), '2|1', 'a swap that is rolled back');
sql('CREATE SCHEMA elsewhere; ALTER TABLE decision_insights SET SCHEMA elsewhere; INSERT INTO elsewhere.decision_insights VALUES (6)');
is(counted($node, 'decision_insights'), '2|0|2', 'in another schema it is another table');
sql('ALTER TABLE elsewhere.decision_insights SET SCHEMA public; DROP SCHEMA elsewhere');
sql('TRUNCATE decision_insights; INSERT INTO decision_insights VALUES (1)');
sql('DROP TABLE decision_insights; CREATE TABLE decision_insights (id int PRIMARY KEY); INSERT INTO decision_insights VALUES (1)');
is(counted($node, 'decision_insights'), '4|0|4', 'truncated, and recreated');
sql('BEGIN; DROP TABLE decision_insights; ROLLBACK; INSERT INTO decision_insights VALUES (2)');
is(counted($node, 'decision_insights'), '5|0|5', 'a dropping that did not happen');
sql('ALTER SCHEMA public RENAME TO other; CREATE SCHEMA public; CREATE TABLE decision_insights (id int); '
	. 'INSERT INTO other.decision_insights VALUES (77); INSERT INTO public.decision_insights VALUES (77)');
is(counted($node, 'decision_insights'), '6|0|6', 'the schema of the name');
sql('DROP SCHEMA public CASCADE; ALTER SCHEMA other RENAME TO public');

# Another session's cache
my $session = $node->background_psql('postgres');
$session->query('SELECT count(*) FROM decision_insights');
{
	my (undef, $tracked, $notice) = $node->psql('postgres', q{SELECT deploydb.track('later')});
	is("$tracked $notice", "t psql:<stdin>:1: NOTICE:  table \"public.later\" does not exist yet\nDETAIL:  Its writes are counted once it does.", 'a table that is not there yet');
}
is(sql(q{SELECT deploydb.track('later')}), 'f', 'is tracked once');
$session->query('CREATE TABLE later (id int); INSERT INTO later VALUES (1)');
is(counted($node, 'later'), '1|0|1', 'a session that was there already counts it');
is(sql(q{SELECT deploydb.untrack('later')}), 't', 'not any more');
$session->query('INSERT INTO later VALUES (1)');
is(counted($node, 'later'), '', 'which the session knows');
is(sql(q{SELECT deploydb.track('later'); SELECT attempts FROM deploydb.write_stats('1 hour', 'later')}), "t\n1",
	'tracked again, what was counted before still counts');
$session->quit;
sql('DELETE FROM deploydb.tracked WHERE NOT built_in');
is(sql('SELECT string_agg(name, $$ $$) FROM deploydb.write_counters()'), 'decision_insights', 'the table is the truth');

# What is taken back
my $stats = "SELECT attempts, succeeded, failed, rolled_back, gaps FROM deploydb.write_stats('1 hour', 'decision_insights')";
my $as_it_was = sql($stats);
sql('BEGIN; SELECT deploydb.reset_write_stats(); SELECT deploydb.take_write_sample(); ROLLBACK');
is(sql($stats), $as_it_was, 'a reset that is rolled back');
sql(q{BEGIN; SELECT deploydb.untrack('decision_insights'); INSERT INTO decision_insights VALUES (50); ROLLBACK});
$session = $node->background_psql('postgres');
$session->query(q{BEGIN; SELECT deploydb.track('later')});
like(sql(q{SET lock_timeout = '10s'; SELECT deploydb.take_write_sample()}), qr/^\d+$/, 'no sample waits for who tracks a table');
$session->query('ROLLBACK');

# Sessions that do not see yet that a table is tracked leave its counters alone
$session->query(q{BEGIN; CREATE TABLE meanwhile (v int); SELECT deploydb.track('meanwhile')});
is(sql('SELECT count(*) FROM deploydb.write_counters()'), sql('SELECT count(*) FROM deploydb.tracked_table'), 'another session looks meanwhile');
$session->query('COMMIT');
is(sql(q{INSERT INTO meanwhile VALUES (1); SELECT deploydb.take_write_sample() > 0; SELECT attempts, gaps FROM deploydb.write_stats(target => 'meanwhile')}),
	"t\n1|0", 'what is tracked by a transaction has no gap');
sql(q{SELECT deploydb.untrack('meanwhile')});
$session->query(q{BEGIN; SELECT deploydb.track('never'); ROLLBACK});
$session->quit;

# nor where they see no extension yet
sub coming { return $node->safe_psql('coming', shift) }
sql('CREATE DATABASE coming');
coming('CREATE TABLE other (v int)');
$session = $node->background_psql('coming');
$session->query('BEGIN; CREATE EXTENSION deploydb; CREATE TABLE decision_insights (id int PRIMARY KEY)');
coming('INSERT INTO other VALUES (1)');
$session->query('COMMIT');
$session->quit;
is(coming(q{INSERT INTO decision_insights VALUES (1); SELECT deploydb.take_write_sample(); SELECT attempts, gaps FROM deploydb.write_stats()}),
	"1\n1|0", 'what CREATE EXTENSION tracks has no gap');

# What a restore tracks is sampled soon, so that a crash is seen
$node->append_conf('postgresql.conf', "deploydb.monitor = on\ndeploydb.databases = 'coming'\ndeploydb.metrics_collection_interval = '1h'\n");
$node->reload;
ok($node->poll_query_until('coming', 'SELECT last_tick_at IS NOT NULL FROM deploydb.worker_status'), 'a monitor has its first tick');
coming(q{INSERT INTO deploydb.tracked VALUES ('public', 'restored', false, true, '2020-01-01', 'somebody')});
ok($node->poll_query_until('coming', q{SELECT count(*) = 1 FROM deploydb.write_target t JOIN deploydb.write_epoch e USING (target) WHERE t.name = 'restored'}),
	'and another one once a table is tracked');
$node->append_conf('postgresql.conf', "deploydb.monitor = off\ndeploydb.databases = ''\n");
$node->reload;
sql('DROP DATABASE coming WITH (FORCE)');
is(sql($stats), $as_it_was, 'untracked for the time of a transaction');
is(sql('SELECT string_agg(name, $$ $$) FROM deploydb.write_counters()'), 'decision_insights', 'and tracked for that time');
sql('INSERT INTO decision_insights VALUES (51)');
foreach my $call (q{track('later')}, q{untrack('decision_insights')}, 'reset_write_stats()', 'take_write_sample()',
	q{report_client_failures('decision_insights', 1, 'x')})
{
	my ($ended, $got, $error) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nBEGIN READ ONLY; SELECT deploydb.write_success_rate() > 0; SELECT deploydb.$call");
	is("$got $error", 't psql:<stdin>:2: ERROR:  25006', "no $call in a read-only transaction, where rates are read");
}

# Room
for my $n (1 .. 5)
{
	sql("SELECT deploydb.track('t$n')");
}
my ($status, $out, $err) = $node->psql('postgres', "SELECT deploydb.track('t6')");
like($err, qr/too many tables are tracked.*can track 6.*max_tracked/s, 'more than max_tracked');
is(sql('SELECT count(*) FROM deploydb.tracked_table'), '6', 'which leaves nothing');
sql("SELECT deploydb.untrack('t5'); SELECT deploydb.track('t6')");
sql("SELECT deploydb.untrack('t$_')") for (1 .. 4, 6);

# A copy of the database is another database
sql('INSERT INTO decision_insights VALUES (100)');
my $before = counted($node, 'decision_insights');
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
is($node->safe_psql('copy', q{INSERT INTO decision_insights VALUES (101);
	SELECT succeeded FROM deploydb.write_counters() WHERE name = 'decision_insights'}), '1', 'a copy counts by itself');
is(counted($node, 'decision_insights'), $before, 'and not here');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# Promotion
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
sql('SELECT deploydb.take_write_sample()');
sql('SELECT deploydb.reset_write_stats()');
sql('INSERT INTO decision_insights VALUES (102); SELECT deploydb.take_write_sample()');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM deploydb.write_counters()'), '1', 'a standby counts itself');
sql(q{CREATE TABLE late (id int); SELECT deploydb.track('late'); INSERT INTO late VALUES (1)});
sql(q{CREATE FUNCTION try_to_write() RETURNS void LANGUAGE plpgsql AS
	'BEGIN INSERT INTO decision_insights VALUES (103); EXCEPTION WHEN OTHERS THEN END'});
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
is($standby->safe_psql('postgres', 'SELECT deploydb.write_success_rate()'), '1', 'a standby tells what was sampled');
$standby->psql('postgres', "BEGIN;\nSELECT try_to_write();\nPREPARE TRANSACTION 'x';\nCOMMIT;", on_error_stop => 0);
is($standby->safe_psql('postgres', q{SELECT failed, swallowed FROM deploydb.write_stats(target => 'decision_insights')}), '1|1',
	'there, COMMIT after what a standby refuses swallows a failure');
$node->stop;
$standby->promote;
$standby->psql('postgres', 'INSERT INTO decision_insights VALUES (102)');
is($standby->safe_psql('postgres', q{SELECT attempts, succeeded, failed FROM deploydb.write_stats(target => 'decision_insights')}), '3|1|2', 'promoted, it counts on');
is($standby->safe_psql('postgres', q{SELECT gaps FROM deploydb.write_stats(target => 'late'); SELECT deploydb.take_write_sample();
	SELECT attempts, gaps FROM deploydb.write_stats(target => 'late')}), "0\n1\n0|1", 'what the primary had not sampled yet is a gap');
$standby->stop;

# With others' hooks, before and behind ours, and all that the log can hold
$node->start;
sql(q{SELECT deploydb.untrack('late')});
my @others = grep { $node->config_data('--pkglibdir') && -e $node->config_data('--pkglibdir') . "/$_.so" }
  qw(pg_stat_statements auto_explain pgaudit pg_cron);
note "with @others";
cmp_ok(scalar @others, '>=', 2, 'the server\'s own are there at least');

# Jobs of pg_cron, by its workers and by connections: what it says that became of
# them is what is counted.  Those of @reboot run once, and at once.
sub run_jobs
{
	my $how = shift;
	$node->append_conf('postgresql.conf', 'cron.use_background_workers = ' . ($how eq 'workers' ? 'on' : 'off'));
	sql(q{INSERT INTO decision_insights VALUES (201); SELECT deploydb.reset_write_stats();
		CREATE EXTENSION pg_cron;
		SELECT cron.schedule('job' || n, '@reboot', command) FROM unnest('{
			INSERT INTO decision_insights VALUES (211), INSERT INTO decision_insights VALUES (212), INSERT INTO decision_insights VALUES (213),
			INSERT INTO decision_insights VALUES (201), UPDATE decision_insights SET id = 201 WHERE id < 201,
			INSERT INTO decision_insights VALUES (214); INSERT INTO decision_insights VALUES (201),
			INSERT INTO decision_insights (nope) VALUES (215),
			CREATE TABLE ran AS SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()}'::text[]) WITH ORDINALITY AS job (command, n)});
	$node->restart;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 8
		AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_cron' OR application_name = 'pg_cron')
		FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')}), "pg_cron's jobs end, run by $how")
	  or diag(sql('SELECT * FROM cron.job_run_details'));
	is(sql('SELECT backend_type FROM ran'), $how eq 'workers' ? 'pg_cron' : 'client backend', 'by that');
	my $account = sql(q{SELECT count(*) FILTER (WHERE status = 'succeeded' AND command ~ 'INSERT'),
		count(*) FILTER (WHERE status = 'failed' AND return_message ~ 'duplicate key'),
		count(*) FILTER (WHERE status = 'failed' AND command ~ ';'),
		count(*) FILTER (WHERE status = 'failed' AND return_message ~ '"nope"') FROM cron.job_run_details});
	is($account, '3|3|1|1', 'as they should');
	is(sql('SELECT succeeded, failed, rolled_back, rejected FROM deploydb.write_stats()'), $account, 'and are counted')
	  or diag(sql('SELECT command, status, return_message FROM cron.job_run_details'));
	sql('DROP EXTENSION pg_cron; DROP TABLE ran; DELETE FROM decision_insights WHERE id > 200');
	return;
}
foreach my $libraries (join(',', @others, 'deploydb'), join(',', 'deploydb', reverse @others))
{
	$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = '$libraries'
auto_explain.log_min_duration = 0
cron.host = '@{[ $node->host ]}'
max_worker_processes = 20
auto_explain.log_nested_statements = on
pgaudit.log = 'all'
log_min_messages = debug5
});
	$node->restart;
	sql('SELECT deploydb.reset_write_stats()');
	sql('INSERT INTO decision_insights VALUES (201)');
	$node->psql('postgres', 'INSERT INTO decision_insights VALUES (201)');
	$node->psql('postgres', 'INSERT INTO decision_insights VALUES (202)\; INSERT INTO decision_insights (nope) VALUES (1)');
	is(sql('SELECT attempts, succeeded, failed, rolled_back, rejected FROM deploydb.write_stats()'), '4|1|1|1|1', "loaded as $libraries");
	sql('DELETE FROM decision_insights WHERE id > 200');
	SKIP:
	{
		skip 'pg_cron is not installed', 8 unless grep { $_ eq 'pg_cron' } @others;
		run_jobs($_) foreach 'workers', 'connections';
	}
}

# A file that is not as it was written counts for nothing
foreach my $broken ('cut short', 'changed')
{
	sql('INSERT INTO decision_insights VALUES (203); DELETE FROM decision_insights WHERE id > 200');
	isnt(counted($node, 'decision_insights'), '0|0|0', 'there is something to lose');
	$node->stop;
	my $file = $node->data_dir . '/pg_stat/deploydb.stat';
	open my $handle, '+<:raw', $file or die $!;
	$broken eq 'changed' ? seek($handle, 2000, 0) && print {$handle} "\xff" x 8 : truncate($handle, 1000);
	close $handle;
	my $logged = -s $node->logfile;
	$node->start;
	is(counted($node, 'decision_insights'), '0|0|0', "$broken: it counts from zero");
	like(slurp_file($node->logfile, $logged), qr/LOG:  deploydb counts from now on/, 'and says so');
}

# Switched off, and not to be switched off by everybody
$node->append_conf('postgresql.conf', "log_min_messages = warning\ndeploydb.track_writes = off\n");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('deploydb.track_writes') = 'off'});
sql(q{SELECT deploydb.reset_write_stats(); INSERT INTO decision_insights VALUES (301); COPY decision_insights FROM PROGRAM 'echo 302'});
$node->psql('postgres', 'INSERT INTO decision_insights (nope) VALUES (303)');
is(sql('SELECT attempts FROM deploydb.write_stats()'), '0', 'switched off live');
sql('CREATE ROLE somebody LOGIN; GRANT INSERT ON decision_insights TO somebody');
foreach my $setting ('deploydb.track_writes = off', 'deploydb.write_success_target = 0', 'deploydb.slow_query_threshold = -1',
	"deploydb.app_role = 'x'")
{
	($status, $out, $err) = $node->psql('postgres', "SET $setting", extra_params => [ '-U', 'somebody' ]);
	like($err, qr/permission denied to set parameter/, "somebody may not SET $setting");
}

# Not preloaded
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
($status, $out, $err) = $node->psql('postgres', '\set VERBOSITY verbose' . "\nSELECT deploydb.write_success_rate()");
like($err, qr/55000.*not in shared_preload_libraries.*ALTER SYSTEM SET shared_preload_libraries = 'deploydb'.*restart/s,
	'what needs the hooks says how to get them');
foreach my $needs (qw(write_success_rate() write_stats() write_failures() recent_failures() burn_rates() reset_write_stats() log_error
	slow_queries() take_write_sample() write_counters() write_failure_counters()))
{
	($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM deploydb.$needs");
	like($err, qr/ERROR:  55000: writes are not counted.*HINT:  Run: ALTER SYSTEM SET shared_preload_libraries = 'deploydb'; -- then restart/s,
		"$needs needs it");
}
($status, $out, $err) = $node->psql('postgres', q{SELECT deploydb.track('later'), deploydb.untrack('later'), deploydb.report_client_failures('decision_insights', 1, 'x')});
is($out, 't|t|t', 'tables are tracked all the same');
like($err, qr/NOTICE.*not counted before deploydb is preloaded/, 'with a word about it');
like(sql(q{SELECT insights_total FROM deploydb.insight_coverage('1 day')}), qr/^\d+$/, 'coverage works');
is(sql('SELECT count(*) > 0 FROM deploydb.write_history()'), 't', 'the history works');
sql('CREATE DATABASE whole');
$node->safe_psql('whole', q{CREATE EXTENSION deploydb; SELECT ddl FROM deploydb.builtin_migrations() \gexec});
is($node->safe_psql('whole', q{SELECT deploydb.wait_insight('none', 0) -> 'problems'}), '["missing"]', 'waiting for an insight works');
like(sql('SELECT * FROM deploydb_status()'), qr/writes\|warning\|not counted/, 'and the overview says it');
$node->stop;
done_testing();
