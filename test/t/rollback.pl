# Rollbacks: whose rights they have, who stops them, crashes at points of one,
# the script without the extension, dumps, a standby, DROP EXTENSION.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";

use Crash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rollback');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.monitor = off
restart_after_crash = on
max_prepared_transactions = 2
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE ROLE app_owner LOGIN;
	CREATE ROLE app LOGIN;
	CREATE ROLE ops LOGIN;
	CREATE ROLE reader LOGIN IN ROLE pg_monitor});

my $ledger = q{
	CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
		finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
		rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
		applied_steps_count integer NOT NULL DEFAULT 0);
	INSERT INTO _prisma_migrations VALUES ('1', 'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203', now(),
		'20251203071615_add_decision_insights', NULL, NULL, now(), 1);
};

# Each chapter has a database of its own, whose tables are app_owner's.
my $database;

sub chapter
{
	$database = shift;
	$node->safe_psql('postgres', "CREATE DATABASE $database OWNER app_owner");
	$node->safe_psql($database, qq{
		CREATE EXTENSION deploydb;
		GRANT ALL ON SCHEMA public TO app_owner;
		SELECT deploydb.grant_access(r, 'operator') FROM unnest('{ops,app_owner}'::text[]) r;
		GRANT SELECT ON deploydb.known_migration TO PUBLIC;
		ALTER DATABASE $database SET deploydb.app_role = 'app';
		SET ROLE app_owner;
		SELECT ddl FROM deploydb.builtin_migrations() \\gexec
		GRANT SELECT, INSERT ON decision_insights TO app;
		$ledger});
	sql('SET deploydb.track_writes = off;' . insert(1, 50));
	return;
}

sub insert
{
	return "INSERT INTO decision_insights SELECT g, g, 'u', '{}', '{}', '{}', 'h', now(), now() FROM generate_series($_[0], $_[1]) g;";
}

sub sql { return $node->safe_psql($database, "SET client_min_messages = error; $_[0]") }

# What a role is told
sub told
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($database, $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ], on_error_stop => 0);
	return "$out\n$err";
}

sub plan_id { return sql("SELECT deploydb.plan_rollback('insights') ->> 'id'") }

# Where the table is, its rows, the ledger's state, what is recorded
sub state
{
	return sql(q{
		SELECT concat_ws(' ', CASE WHEN to_regclass('public.decision_insights') IS NOT NULL THEN 'there' ELSE 'gone' END,
			(SELECT state FROM deploydb.ledger('insights')), (SELECT string_agg(state, ',' ORDER BY id) FROM deploydb.rollback))});
}

sub rows { return sql("SELECT count(*) FROM $_[0]") }

# A session that has sent a statement which waits for a lock
sub waiting
{
	my ($sql, $role) = @_;
	my $session = $node->background_psql($database, on_error_stop => 0, extra_params => [ '-U', $role // 'app_owner' ]);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->query('SET client_min_messages = error');
	$session->query_until(qr/sent/, "\\echo sent\n$sql\n");
	$node->poll_query_until($database, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid")
	  or diag('it does not wait');
	return ($session, $pid);
}

# Rights: of the caller, not of the extension's owner
chapter('rights');
my $plan = plan_id();
like(told('reader', "SELECT deploydb.plan_rollback('insights')"), qr/42501/, 'who reads does not plan');
like(told('reader', 'SELECT verdict FROM deploydb.rollback_advice()'), qr/not_measured/, 'but is advised');
like(told('ops', q{SELECT p #>> '{tables,0,rows}' IS NULL FROM deploydb.plan_rollback('insights') p}), qr/^t$/m,
	'an operator without rights on the table plans, and is not told its rows');
like(told('ops', "SELECT deploydb.rollback_migration($plan, 'mine')"), qr/42501/, 'and does not roll it back');
is(state(), 'there applied', 'so nothing has changed');
like(told('app', "SELECT deploydb.rollback_migration($plan, 'mine')"), qr/42501/, 'neither does the application');
sql('GRANT INSERT, UPDATE, DELETE, TRUNCATE ON decision_insights TO ops');
like(told('ops', "SELECT deploydb.rollback_migration($plan, 'mine')"), qr/42501:.*must be owner/, 'nor who may write and does not own');
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'mine')"), qr/^1$/m, 'its owner does, though no superuser');
is(state(), 'gone rolled_back rolled_back', 'and it is done');
is(sql("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'deploydb_backup'::regnamespace AND relkind = 'r'"),
	'app_owner', 'the table stays his');
is(sql(q{SELECT who FROM deploydb.rollback}), 'app_owner', 'and his name stands there');
like(told('app', "SELECT * FROM deploydb_backup.decision_insights_$plan"), qr/42501/, 'others do not come in');
like(told('ops', 'SELECT deploydb.restore_rolled_back(1)'), qr/42501/, 'an operator does not restore what is not his');
like(told('app_owner', 'UPDATE deploydb.rollback SET reason = NULL'), qr/42501/, 'nor does the owner forge the record');
like(told('app_owner', 'SELECT deploydb.restore_rolled_back(1)'), qr/"ledger": "applied"/, 'he restores it');
is(rows('decision_insights'), 50, 'with all rows');
like(told('app', 'SELECT count(*) FROM decision_insights'), qr/^50$/m, 'and all rights');

# A schema that belongs to somebody else is not trusted
sql('ALTER SCHEMA deploydb_backup OWNER TO ops');
$plan = plan_id();
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'mine')"), qr/42501:.*belongs to role "ops"/, 'nothing is moved to where another could drop it');

# Nobody's rights are borrowed: neither by a table's owner from the extension's
# owner, whose functions call him, nor from a superuser who rolls his table back
chapter('hostile');
sql(q{SELECT deploydb.register_migration('20260101000000_checked', 'CREATE TABLE checked (id integer); ALTER TABLE checked ADD CONSTRAINT looks CHECK (id > 0)',
	NULL, 'ALTER TABLE checked DROP CONSTRAINT looks'), set_config('deploydb.app_role', '', false)});
$node->safe_psql($database, q{
	SET ROLE app_owner;
	CREATE SCHEMA trap;
	GRANT USAGE ON SCHEMA trap TO PUBLIC;
	CREATE TABLE trap.run_by (role text, what text);
	GRANT ALL ON trap.run_by TO PUBLIC;
	CREATE FUNCTION trap.equal(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO trap.run_by VALUES (current_user, 'operator'); RETURN a OPERATOR(pg_catalog.=) b; END $$;
	CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal);
	CREATE FUNCTION trap.jsonb_build_object(text, text, text, jsonb, text, text) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO trap.run_by VALUES (current_user, 'function'); RETURN '{}'; END $$;
	CREATE FUNCTION trap.spring() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO trap.run_by VALUES (current_user, 'trigger');
		SET search_path = trap, pg_catalog;
		RETURN NEW;
	END $$;
	CREATE TRIGGER spring BEFORE UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION trap.spring();
	CREATE FUNCTION trap.positive(n integer) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO trap.run_by VALUES (current_user, 'constraint'); RETURN n > 0; END $$;
	CREATE TABLE checked (id integer CONSTRAINT looks CHECK (trap.positive(id)))});

sub run_by
{
	return sql(q{WITH gone AS (DELETE FROM trap.run_by RETURNING *)
		SELECT string_agg(DISTINCT concat_ws(' as ', what, role), ', ') FROM gone});
}

told('app_owner', "INSERT INTO checked VALUES (1)");
run_by();
$plan = plan_id();
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'trap')"), qr/^1$/m, 'a table with a trap in its ledger is rolled back');
is(run_by(), 'trigger as app_owner', 'and the trap has its owner\'s rights');
like(told('app_owner', 'SELECT deploydb.restore_rolled_back(1)'), qr/applied/, 'and restored');
is(run_by(), 'trigger as app_owner', 'with the same');
$plan = plan_id();
sql("SELECT deploydb.rollback_migration($plan, 'trap')");
sql('SELECT deploydb.restore_rolled_back(2)');
is(run_by(), 'trigger as app_owner', 'a superuser who does it lends nobody his rights');
sql(q{SELECT deploydb.rollback_migration((deploydb.plan_rollback('checked') ->> 'id')::bigint, 'trap', true)});
sql('SELECT deploydb.restore_rolled_back(3)');
is(run_by(), 'constraint as app_owner', 'nor where a constraint is put back');

# The application writes
chapter('writers');
$plan = plan_id();
my $app = $node->background_psql($database, on_error_stop => 0, extra_params => [ '-U', 'app' ]);
# a semicolon too many would be its last statement
$app->query(insert(51, 51) =~ s/;$//r);
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'stop')"), qr/55006:.*"app" has written in the last minute/,
	'while the application writes it is refused');
is(state(), 'there applied', 'and nothing is changed');
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'stop', true)"), qr/^1$/m, 'but for force');
is(rows("deploydb_backup.decision_insights_$plan"), 51, 'what it wrote is kept');
$app->quit;

# It has, and does something else by now: that is counted, where the monitor ticks
chapter('counted');
$plan = plan_id();
$app = $node->background_psql($database, on_error_stop => 0, extra_params => [ '-U', 'app' ]);
sql('SELECT deploydb.tick()');
$app->query(insert(51, 51));
$app->query('SELECT 1');
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'stop')"),
	qr/55006:.*somebody has written in the last minute, perhaps role "app".*1 counted/s, 'what was counted in the last minute stops it');
is(sql("SELECT deploydb.plan_rollback('insights') -> 'writers_measured'"), 'true', 'and the plan says that it is measured');
sql("UPDATE deploydb.monitor_state SET last_tick_at = now() - interval '1 hour'");
is(sql("SELECT deploydb.plan_rollback('insights') -> 'writers_measured'"), 'false', 'but not where no monitor ticks');
$app->quit;
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'stop')"), qr/^1\n.*WARNING:.*not measured.*No monitor is ticking/s,
	'which a warning says, then');

# Somebody holds the table
chapter('locked');
$plan = plan_id();
my $holder = $node->background_psql($database, on_error_stop => 0);
$holder->query('BEGIN; LOCK TABLE decision_insights IN ACCESS SHARE MODE');
my $pid = $holder->query('SELECT pg_backend_pid()');
like(told('app_owner', "SET deploydb.lock_timeout = '10ms'; SELECT deploydb.rollback_migration($plan, 'now')"),
	qr/55P03:.*in 10 tries.*process $pid/s, 'its tries are bounded, and it says who holds the lock');
my ($session, $waits) = waiting("SET deploydb.lock_timeout = '300s'; SELECT deploydb.rollback_migration($plan, 'now');");
is(sql("SELECT pg_cancel_backend($waits)"), 't', 'while it waits it can be cancelled');
ok($node->poll_query_until($database, "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $waits"), 'and goes');
$session->quit;
$holder->query('ROLLBACK');
$holder->query("BEGIN; LOCK TABLE decision_insights IN ACCESS SHARE MODE; PREPARE TRANSACTION 'left over'");
like(told('app_owner', "SET deploydb.lock_timeout = '10ms'; SELECT deploydb.rollback_migration($plan, 'now')"),
	qr/55P03:.*prepared transaction 'left over'/s, 'who has prepared a transaction is named, too');
$holder->query("ROLLBACK PREPARED 'left over'");
is(state(), 'there applied', 'nothing was changed');
is(rows('decision_insights'), 50, 'and no row is lost');
$holder->quit;

# Crashes: of a rollback and of a restore, before the first change, in the
# middle, and before the commit
chapter('crash');
my %lock = ('before the first change' => 'LOCK TABLE decision_insights IN ACCESS SHARE MODE',
	'with tables moved' => 'SELECT FROM _prisma_migrations FOR UPDATE');

sub crash
{
	my ($what, $call, $locks, $before) = @_;
	for my $point (sort(keys %$locks), 'before the commit')
	{
		my $other = $node->background_psql($database, on_error_stop => 0);
		my ($victim, $victim_pid);
		if (exists $locks->{$point})
		{
			$other->query("BEGIN; $locks->{$point}");
			($victim, $victim_pid) = waiting("SET deploydb.lock_timeout = '300s'; $call;");
		}
		else
		{
			$victim = $node->background_psql($database, on_error_stop => 0, extra_params => [ '-U', 'app_owner' ]);
			$victim_pid = $victim->query('SELECT pg_backend_pid()');
			$victim->query("SET client_min_messages = error; BEGIN; $call");
		}
		kill 'KILL', $victim_pid;
		$_->{run}->finish for ($victim, $other);
		Crash::wait_until_restarted($node, $victim_pid);
		is(state(), $before, "$what, $point: the old state");
	}
	return;
}

$plan = plan_id();
crash('a rollback', "SELECT deploydb.rollback_migration($plan, 'crash')", \%lock, 'there applied');
is(rows('decision_insights'), 50, 'with all rows');
# a crash can skip numbers of a sequence
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'at last')"), qr/^\d+$/m, 'then it is rolled back');
my $number = sql('SELECT max(id) FROM deploydb.rollback');
crash('a restore', "SELECT deploydb.restore_rolled_back($number)",
	{ 'before the first change' => "LOCK TABLE deploydb_backup.decision_insights_$plan IN ACCESS SHARE MODE",
		'with tables moved' => 'SELECT FROM _prisma_migrations FOR UPDATE' }, 'gone rolled_back rolled_back');
like(told('app_owner', "SELECT deploydb.restore_rolled_back($number)"), qr/applied/, 'and restored');
my $backend = $node->background_psql($database, on_error_stop => 0, extra_params => [ '-U', 'app_owner' ]);
$pid = $backend->query('SELECT pg_backend_pid()');
$plan = plan_id();
$backend->query("SET client_min_messages = error; SELECT deploydb.rollback_migration($plan, 'once more')");
kill 'KILL', $pid;
$backend->{run}->finish;
Crash::wait_until_restarted($node, $pid);
is(state(), 'gone rolled_back restored,rolled_back', 'after the commit: the new state');
is(rows("deploydb_backup.decision_insights_$plan"), 50, 'with all rows');
is(sql("SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
	WHERE c.oid = 'deploydb_backup.decision_insights_$plan'::regclass AND i.indisvalid"), 5, 'and all indexes');

# After each statement of one, in turn
$node->safe_psql($database, q{
	CREATE SCHEMA crash;
	CREATE TABLE crash.after (statement integer);
	CREATE SEQUENCE crash.statement;
	CREATE FUNCTION crash.crash() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN
		IF nextval('crash.statement') = (SELECT statement FROM crash.after) THEN
			EXECUTE format('COPY (SELECT) TO PROGRAM %L', 'kill -KILL ' || pg_backend_pid());
		END IF;
	END $$;
	GRANT USAGE ON SCHEMA crash TO PUBLIC;
	CREATE EVENT TRIGGER crash ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER INDEX') EXECUTE FUNCTION crash.crash()});

sub crash_after_each
{
	my ($what, $call, $before, $after) = @_;
	my $statements = 0;
	while (state() eq $before && $statements < 50)
	{
		$statements++;
		sql("DELETE FROM crash.after; INSERT INTO crash.after VALUES ($statements); SELECT setval('crash.statement', 1, false)");
		my $victim = '';
		$node->psql($database, "SELECT pg_backend_pid(); SET client_min_messages = error; SELECT $call",
			stdout => \$victim, extra_params => [ '-U', 'app_owner' ]);
		Crash::wait_until_restarted($node, $victim =~ /^(\d+)/);
	}
	is(state(), $after, "$what: the old state after each of its statements, and the new one at its end");
	cmp_ok($statements, '>', 6, 'which were many');
	return;
}

$number = sql('SELECT max(id) FROM deploydb.rollback');
crash_after_each('a restore', "deploydb.restore_rolled_back($number)", 'gone rolled_back restored,rolled_back', 'there applied restored,restored');
is(rows('decision_insights'), 50, 'with all rows');
$plan = plan_id();
crash_after_each('a rollback', "deploydb.rollback_migration($plan, 'crash')", 'there applied restored,restored',
	'gone rolled_back restored,restored,rolled_back');
is(rows("deploydb_backup.decision_insights_$plan"), 50, 'with all rows');
sql('DROP EVENT TRIGGER crash; DROP SCHEMA crash CASCADE');

# Dumped by the owner, and restored
my $dump = $node->basedir . '/rolled_back.sql';
$node->command_ok([ 'pg_dump', '-U', 'app_owner', '-f', $dump, $database ], 'the owner dumps what is kept');
my $kept = sql('SELECT r FROM deploydb.rollback r ORDER BY id; SELECT p FROM deploydb.rollback_plan p ORDER BY id');
$node->safe_psql('postgres', 'CREATE DATABASE copy OWNER app_owner');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'copy' ], 'it is restored');
$database = 'copy';
is(sql('SELECT r FROM deploydb.rollback r ORDER BY id; SELECT p FROM deploydb.rollback_plan p ORDER BY id'), $kept, 'plans and rollbacks are there');
like(sql('SELECT deploydb.restore_rolled_back(max(id)) FROM deploydb.rollback'), qr/"ledger": "applied"/, 'what was rolled back can be restored there');
is(rows('decision_insights'), 50, 'with all rows');
is(sql("SELECT (deploydb.plan_rollback('insights') ->> 'id')::bigint > $plan"), 't', 'and plans are numbered on');

# The script, and no extension
chapter('script');
my $script = $node->basedir . '/rollback.sql';
append_to_file($script, sql("SELECT deploydb.plan_rollback('insights') ->> 'script'"));
sql("CREATE SCHEMA deploydb_backup AUTHORIZATION app_owner");
my ($rc, $out, $err) = $node->psql($database, 'DROP EXTENSION deploydb');
like($err, qr/NOTICE:  schema deploydb_backup stays/, 'DROP EXTENSION says that deploydb_backup stays');
$node->safe_psql('postgres', "ALTER DATABASE $database OWNER TO CURRENT_USER");
$node->command_ok([ 'psql', '-X', '-q', '-U', 'app_owner', '-f', $script, $database ],
	'the script runs without the extension, and needs no right to make a schema that is there');
is(sql(q{SELECT to_regclass('public.decision_insights') IS NULL, (SELECT rolled_back_at IS NOT NULL FROM _prisma_migrations)}), 't|t',
	'it has rolled back');
is(rows('deploydb_backup.decision_insights_1'), 50, 'and kept the rows');
$node->command_fails([ 'psql', '-X', '-q', '-U', 'app_owner', '-f', $script, $database ], 'a second time it fails');

# On a standby all is read, and what acts names the primary
chapter('read');
$plan = plan_id();
told('app_owner', "SELECT deploydb.rollback_migration($plan, 'seen elsewhere')");
sql("SELECT * FROM deploydb.rehearse_rollback('insights')");
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->poll_query_until($database, q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'});
is($standby->safe_psql($database, q{
		SELECT deploydb.rollback_rehearsed('insights'), (SELECT state FROM deploydb.rollback), (SELECT count(*) FROM deploydb.rollback_advice()),
			length(deploydb.rollback_hash('insights')), (SELECT count(*) FROM deploydb.status_of_rollback())}), 't|rolled_back|4|64|2',
	'a standby shows what was rolled back');
for my $call ("plan_rollback('insights')", "rollback_migration($plan, 'why')", 'restore_rolled_back(1)', "discard_rolled_back(1, 'why')",
	"rehearse_rollback('insights')")
{
	my ($result, $shown, $error) = $standby->psql($database, "SELECT deploydb.$call", extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($error, qr/25006.*on the primary/s, "$call names the primary");
}
$standby->stop;

# Not preloaded
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
($rc, $out, $err) = $node->psql($database, 'SELECT deploydb.restore_rolled_back(1)');
like($out, qr/applied/, 'it works where deploydb is not preloaded');
$plan = plan_id();
like(told('app_owner', "SELECT deploydb.rollback_migration($plan, 'why')"), qr/not measured/, 'and says that writers are not measured');
($rc, $out, $err) = $node->psql($database, 'DROP EXTENSION deploydb');
like($err, qr/NOTICE:  schema deploydb_backup stays/, 'DROP EXTENSION says what stays there, too');
is(rows("deploydb_backup.decision_insights_$plan"), 50, 'and it does');

$node->stop;
done_testing();
