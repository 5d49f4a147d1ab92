# Statements that the launcher and the monitors must hear of, or make way for.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1h'
max_prepared_transactions = 5
max_worker_processes = 30
});
$node->start;

sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql) }

sub wait_for
{
	my ($database, $query, $what) = @_;
	ok($node->poll_query_until($database, $query), $what) or diag(status($database));
	return;
}

my $runs = 'SELECT COALESCE(pid IS NOT NULL AND last_tick_at >= started_at, false) FROM deploydb.worker_status';
sub status { return sql(shift, q{SELECT verdict, detail, next_step FROM deploydb_status() WHERE area = 'monitor'}) }

# Two-phase commit

sql('postgres', "CREATE DATABASE $_") for qw(one two);
sql('two', "BEGIN; CREATE TABLE other (); PREPARE TRANSACTION 'other'");
sql('one', "BEGIN; CREATE EXTENSION deploydb; PREPARE TRANSACTION 'create'");
select undef, undef, undef, 2;
sql('one', "COMMIT PREPARED 'create'");
wait_for('one', $runs, 'the extension is created in a prepared transaction: a monitor runs');
my $mark = -s $node->logfile;
sql('two', "COMMIT PREPARED 'other'");
sql('one', 'CREATE TABLE decision_insights (id int); SELECT deploydb.wake_monitor()');
wait_for('one', 'SELECT count(*) > 0 FROM deploydb.watched_relation', 'a table is watched');
select undef, undef, undef, 1.5;	# it looks again after it was woken
my $ticks = sql('one', 'SELECT ticks FROM deploydb.worker_status');
sql('one', "BEGIN; ALTER TABLE decision_insights ADD a int; PREPARE TRANSACTION 'change'");
select undef, undef, undef, 2.5;
my $prepared = sql('one', 'SELECT ticks FROM deploydb.worker_status');
is($prepared, $ticks, 'not before it is committed');
sql('one', "COMMIT PREPARED 'change'");
wait_for('one', "SELECT ticks > $prepared FROM deploydb.worker_status", 'a definition changes in one: the monitor ticks');
my $ended = sql('one', 'SELECT pid FROM deploydb.worker_status');
sql('one', "BEGIN; ALTER TABLE decision_insights ADD b int; PREPARE TRANSACTION 'change'");
sql('one', "SELECT pg_terminate_backend($ended, 180000)");
wait_for('one', "SELECT COALESCE(pid <> $ended AND last_tick_at >= started_at, false) FROM deploydb.worker_status", 'the monitor ends meanwhile, and another one comes');
select undef, undef, undef, 1.5;
$prepared = sql('one', 'SELECT ticks FROM deploydb.worker_status');
sql('one', "COMMIT PREPARED 'change'");
wait_for('one', "SELECT ticks > $prepared FROM deploydb.worker_status", 'which knows that it has something to tell');
select undef, undef, undef, 1.5;
$ticks = sql('one', 'SELECT ticks FROM deploydb.worker_status');
sql('one', "BEGIN; CREATE TABLE another_$_ (); PREPARE TRANSACTION 'another'"), sql('one', "COMMIT PREPARED 'another'") for 1 .. 20;
select undef, undef, undef, 1.5;
is(sql('one', 'SELECT ticks FROM deploydb.worker_status'), $ticks, 'others have it do nothing');
my $pid = sql('one', 'SELECT pid FROM deploydb.worker_status');
sql('one', "BEGIN; DROP EXTENSION deploydb; PREPARE TRANSACTION 'drop'");
sql('one', "COMMIT PREPARED 'drop'");
wait_for('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'dropped in one, the monitor leaves');
sql('one', "CREATE EXTENSION deploydb");
wait_for('one', $runs, 'created again, it runs');

# A command that failed in a savepoint

$pid = sql('one', 'SELECT pid FROM deploydb.worker_status');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query('BEGIN; SAVEPOINT outer_one; SAVEPOINT a; DROP DATABASE one;');
$session->query('ROLLBACK TO a');
wait_for('one', "SELECT COALESCE(pid <> $pid AND last_tick_at >= started_at, false) FROM deploydb.worker_status", 'once it failed, the monitor is back');
$pid = sql('one', 'SELECT pid FROM deploydb.worker_status');
$session->query('SAVEPOINT b; ALTER DATABASE one RENAME TO uno; RELEASE b');
select undef, undef, undef, 1;
is($session->query(q{SELECT count(*) FROM pg_stat_activity WHERE datname IN ('one', 'uno')}), '0', 'one that went well in a savepoint holds it');
$session->query('ROLLBACK TO outer_one');
wait_for('one', "SELECT COALESCE(pid <> $pid AND last_tick_at >= started_at, false) FROM deploydb.worker_status", 'until the outer one fails');
$session->query('COMMIT');
$session->quit;

# Many in one transaction

my @many = map { "many$_" } 1 .. 12;
sql('postgres', "CREATE DATABASE $_ TEMPLATE one") for @many;
wait_for($_, $runs, "$_ has a monitor") for @many;
sql('postgres', 'BEGIN;' . join('', map { "ALTER DATABASE $_ RENAME TO ${_}x;" } @many) . 'COMMIT');
wait_for("${_}x", $runs, "renamed with others, $_ has one") for @many;
sql('postgres', "DROP DATABASE ${_}x") for @many;

# The template that no statement names

sql('postgres', 'ALTER DATABASE template1 IS_TEMPLATE false');
sql('template1', 'CREATE EXTENSION deploydb');
wait_for('template1', $runs, 'template1 has a monitor');
is(($node->psql('postgres', "SELECT pg_sleep(0); CREATE DATABASE copy"))[0], 0, 'it is copied, unnamed');
wait_for('copy', $runs, 'the copy has one');
wait_for('template1', $runs, 'and template1 again');
sql('postgres', 'DROP DATABASE copy');

# What the overview says of where none runs

sql('postgres', 'ALTER DATABASE template1 IS_TEMPLATE true');
wait_for('template1', q{SELECT state = 'stopped' FROM deploydb.worker_status}, 'in a template none runs');
is(status('template1'), 'warning|none runs in a template|ALTER DATABASE template1 IS_TEMPLATE false;', 'which the overview says');
sql('template1', 'UPDATE deploydb.monitor_state SET last_tick_at = NULL');
is(sql('template1', 'SELECT deploydb.health() -> $$reasons$$ ->> 0'), 'no monitor runs in a template database', 'and health()');
sql('one', q{CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('exit_on_error', 'on', true); RAISE 'broken'; END $$;
	CREATE TRIGGER breaks BEFORE UPDATE OF pid ON deploydb.monitor_state FOR EACH ROW EXECUTE FUNCTION breaks();
	SELECT pg_terminate_backend(pid, 10000) FROM deploydb.worker_status});
wait_for('one', q{SELECT verdict = 'error' AND detail ~ '^none runs after \d+ restarts:\sthe server''s log says why$' AND next_step = 'SELECT * FROM deploydb.worker_status;'
	FROM deploydb_status() WHERE area = 'monitor'}, 'one that cannot begin: the log says why');

$node->stop;
done_testing();
