# Every way in which a write can end, each alone: the client's own account and
# the server's counters must be equal.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Account;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Writes;

my $node = PostgreSQL::Test::Cluster->new('writes');
$node->init(extra => [ '--encoding', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.monitor = off
max_prepared_transactions = 10
log_min_messages = warning
});
$node->start;
$node->safe_psql('postgres', Writes::setup_sql());

my $number = Writes::try_each_way($node);

# One that finds no memory to be remembered in: the list of 8,192 that have ended
# in savepoints of their own is full, and the next one would double it.
SKIP:
{
	skip 'memory cannot be limited', 1 if $Writes::slowness > 1 || !IPC::Run::run([ 'prlimit', '--pid', $$ ], '>', \my $limits);
	my $short = Writes::connect_client($node, ++$number);
	my $teller = Writes::connect_client($node, 0);
	my $counted = counters($teller->{dbh});
	my $pid = $short->{dbh}{pg_pid};
	my $write = sub { Writes::good($short->{dbh}, join '; ', map { ("SAVEPOINT s$_", 'INSERT INTO w VALUES (' . Writes::fresh($short) . ', 1)') } @_) };
	Writes::good($short->{dbh}, 'BEGIN');
	$write->(1 .. 8192);
	my ($size) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+) kB/m;
	system_or_bail('prlimit', '--pid', $pid, '--as=' . ($size + 256) * 1024 . ':');
	$write->($_) foreach 8193 .. 8195;
	system_or_bail('prlimit', '--pid', $pid, '--as=unlimited:');
	$write->(8196);
	Writes::good($short->{dbh}, 'COMMIT');
	is_deeply(difference(counters($teller->{dbh}), $counted), { w => { succeeded => 8193, rows_written => 8193, unaccounted => 3 } },
		'without memory it is unaccounted');
	$_->{dbh}->disconnect foreach $short, $teller;
}

# A user cannot keep the server from seeing: where the log takes no errors, only
# what was rejected before it was executed goes unseen.
my $client = Writes::connect_client($node, ++$number);
my $watcher = Writes::connect_client($node, 0);
my $before = counters($watcher->{dbh});
$client->{dbh}->do('SET log_min_messages = fatal');
$Writes::ways{$_}->($client) foreach qw(duplicate_key foreign_key caught_in_plpgsql deferred_constraint savepoints);
$client->{dbh}->do('INSERT INTO w (nope) VALUES (1)');
is_deeply(difference(counters($watcher->{dbh}), $before), $client->{account},
	'without errors in the log');

# The evidence is that of the error that ended it, whatever passed before it
sub last_failure { return join ' ', map { $_ // '-' } $watcher->{dbh}->selectrow_array('SELECT sqlstate, last_constraint FROM deploydb.recent_failures(1)') }
$client->{dbh}->do('INSERT INTO w VALUES (-1, 1)');
is(last_failure(), '23505 w_pkey', 'a constraint\'s name, without errors in the log');
$client->{dbh}->do($_) foreach 'RESET log_min_messages', 'CREATE TABLE told (id int)', q{SELECT deploydb.track('told')}, q{CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE WARNING 'careful' USING ERRCODE = 'unique_violation';
		RETURN NULL;
	EXCEPTION WHEN OTHERS THEN
		RETURN NULL;
	END $$}, q{CREATE FUNCTION throws_on() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE NOTICE '%', 1 / 0;
		RETURN NULL;
	EXCEPTION WHEN division_by_zero THEN
		BEGIN
			RAISE unique_violation USING CONSTRAINT = 'another';
		EXCEPTION WHEN unique_violation THEN
			RAISE NOTICE 'caught';
		END;
		RAISE;
	END $$}, 'CREATE TRIGGER a AFTER INSERT ON told FOR EACH STATEMENT EXECUTE FUNCTION tells()',
	'CREATE TRIGGER b AFTER INSERT ON told FOR EACH STATEMENT EXECUTE FUNCTION throws_on()';
Writes::bad($client->{dbh}, 'INSERT INTO told VALUES (1)', '22012');
is(last_failure(), '22012 -', 'one that is thrown on after another');
$client->{dbh}->do('DROP TRIGGER b ON told');
Writes::bad($client->{dbh}, 'INSERT INTO told SELECT 1 / (n - 2) FROM generate_series(1, 2) n', '22012');
is(last_failure(), '22012 -', 'one of its own');
Writes::good($client->{dbh}, 'INSERT INTO told VALUES (1)');
is_deeply($watcher->{dbh}->selectrow_arrayref(q{SELECT succeeded, failed FROM deploydb.write_stats(target => 'told')}), [ 1, 2 ],
	'no failure without an error');

# Caught by whoever called, so that it never reaches the log
sub told_of
{
	my ($body, $what, $expected) = @_;
	Writes::good($client->{dbh}, "CREATE OR REPLACE FUNCTION throws_on() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $body RETURN NULL; END \$\$");
	Writes::good($client->{dbh}, 'DO $$ BEGIN INSERT INTO told VALUES (1); EXCEPTION WHEN OTHERS THEN END $$');
	return is(last_failure(), $expected, "caught: $what");
}
Writes::good($client->{dbh}, 'CREATE TRIGGER b AFTER INSERT ON told FOR EACH STATEMENT EXECUTE FUNCTION throws_on()');
told_of("PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN INSERT INTO w VALUES (${\ Writes::fresh($client)}, 1); RAISE;", 'thrown on after another write', '22012 -');
told_of(q{PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN BEGIN PERFORM 'x'::int; EXCEPTION WHEN OTHERS THEN END; RAISE;}, 'after another error', '22012 -');
told_of(q{PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN RAISE WARNING 'careful' USING ERRCODE = '55000'; RAISE;}, 'after a warning', '22012 -');
told_of(q{RAISE 'none' USING ERRCODE = '02000';}, 'an error of a class that is none', '02000 -');
told_of(q{RAISE unique_violation USING CONSTRAINT = repeat('x', 62) || 'é';}, 'whole characters of a name', '23505 ' . 'x' x 62);
$client->{dbh}->do('DROP TRIGGER b ON told');
Writes::good($client->{dbh}, $_) foreach 'BEGIN', 'DO $$ BEGIN FOR n IN 1 .. 2000 LOOP PERFORM try_w(-1); END LOOP; END $$';
cmp_ok($client->{dbh}->selectrow_array(q{SELECT used_bytes FROM pg_backend_memory_contexts WHERE name = 'TopTransactionContext'}), '<', 100_000,
	'thousands that are caught leave no memory behind in their transaction');
Writes::good($client->{dbh}, 'ROLLBACK');

# What a parallel worker may not, and in a session that knows no tracked table yet
my $misled = Writes::connect_client($node, ++$number);
Writes::good($misled->{dbh}, $_) foreach q{CREATE FUNCTION lies() RETURNS int PARALLEL SAFE LANGUAGE plpgsql AS 'BEGIN INSERT INTO w VALUES (1, 1); RETURN 1; END'},
	$node->pg_version < 16 ? 'SET force_parallel_mode = on' : 'SET debug_parallel_query = on';
Writes::bad($misled->{dbh}, 'SELECT lies()', '25000');
$misled->{dbh}->disconnect;

# Slow statements are their database's
$watcher->{dbh}->do('CREATE DATABASE another');
my $another = Writes::connect_client($node, 0, 'another');
Writes::good($another->{dbh}, 'CREATE EXTENSION deploydb');
my @before = map { ($_->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] } $watcher, $another;
Writes::good($another->{dbh}, $_) foreach 'SET deploydb.slow_query_threshold = ' . 50 * $Writes::slowness, 'SELECT pg_sleep(' . 0.1 * $Writes::slowness . ')',
	'SET deploydb.slow_query_threshold = -1';
is_deeply([ map { ($_->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] } $watcher, $another ], [ $before[0], $before[1] + 1 ],
	'a slow statement is counted for its database');
Writes::bad($another->{dbh}, "SET application_name = 'teller'; SELECT 1 / 0", '22012');
is(join(' ', $another->{dbh}->selectrow_array(q{SELECT sqlstate_class, count, last_at > now() - interval '1 hour', last_application
	FROM deploydb.log_error WHERE in_database})), '22 1 1 teller', 'and so is a line of the log');
eval { Writes::connect_client($node, 0, 'nowhere') };
is($another->{dbh}->selectrow_array(q{SELECT count(*) FROM deploydb.log_error WHERE NOT in_database AND sqlstate_class = '3D' AND count > 0}), 1,
	'one of no database is seen in each');

# What rehearses a rollback, does it and takes it back writes for nobody
Writes::good($another->{dbh}, $_->[0]) foreach @{ $another->{dbh}->selectall_arrayref('SELECT ddl FROM deploydb.builtin_migrations()') };
Writes::good($another->{dbh}, q{INSERT INTO decision_insights VALUES ('1', '1', 'u', '{}', '{}', '{}', '0123456789abcdef', now(), now())});
$before = counters($another->{dbh});
is($another->{dbh}->selectrow_array(q{SELECT string_agg(DISTINCT status, ' ') FROM deploydb.rehearse_rollback('add_decision_insights')}), 'ok', 'a rehearsal');
is_deeply(difference(counters($another->{dbh}), $before), {}, 'is not counted');
Writes::good($another->{dbh}, $_) foreach q{CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
	finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0)}, q{INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
	SELECT 'first', repeat('0', 64), migration, now(), 1 FROM deploydb.known_migration}, q{SELECT deploydb.track('_prisma_migrations')};
$before = counters($another->{dbh});
Writes::good($another->{dbh}, q{SELECT deploydb.rollback_migration((deploydb.plan_rollback('add_decision_insights') ->> 'id')::bigint, 'a test', true)});
is($another->{dbh}->selectrow_array(q{SELECT to_regclass('decision_insights')}), undef, 'rolled back');
Writes::good($another->{dbh}, 'SELECT deploydb.restore_rolled_back(1)');
is($another->{dbh}->selectrow_array('SELECT count(*) FROM decision_insights'), 1, 'and restored');
is_deeply(difference(counters($another->{dbh}), $before), {}, 'which is not counted either, nor what Prisma\'s ledger is told');
$another->{dbh}->disconnect;

# What is measured is what it took: planned, executed, failed
sub took_its_time
{
	my ($quantile, $what) = @_;
	my $ms = $watcher->{dbh}->selectrow_array("SELECT $quantile FROM deploydb.write_stats(target => 'told')");
	Writes::good($client->{dbh}, q{SELECT deploydb.reset_write_stats('told')});
	return ok($ms >= 285 && $ms < 60_000, "measured: $what") || diag("$ms ms");
}
Writes::good($client->{dbh}, $_) foreach q{SELECT deploydb.reset_write_stats('told')}, 'INSERT INTO told SELECT 1 FROM pg_sleep(0.3)';
took_its_time('p50_ms', 'one that takes long');
Writes::good($client->{dbh}, 'INSERT INTO told VALUES (1)');
Writes::bad($client->{dbh}, 'INSERT INTO told SELECT 1 / (SELECT 0) FROM pg_sleep(0.3)', '22012');
took_its_time('p99_ms', 'one that takes long to fail, and a quick one');
Writes::good($client->{dbh}, $_) foreach q{CREATE FUNCTION takes_long() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN 1; END'},
	'INSERT INTO told VALUES (takes_long())';
took_its_time('p50_ms', 'one that takes long to plan');

# A client that takes its time between two statements
Writes::good($client->{dbh}, $_) foreach q{SELECT deploydb.reset_write_stats('told')}, 'BEGIN', 'INSERT INTO told VALUES (1)', 'SELECT pg_sleep(0.5)',
	'INSERT INTO told VALUES (1)', 'COMMIT';
is($watcher->{dbh}->selectrow_array(q{SELECT attempts || CASE WHEN p99_ms < 500 THEN ' at once' ELSE ' after ' || p99_ms END FROM deploydb.write_stats(target => 'told')}),
	'2 at once', 'what a client waits before is not the write\'s');

# A deferred trigger's write is measured from its own start on
Writes::good($client->{dbh}, $_) foreach q{SELECT deploydb.reset_write_stats('told')}, 'CREATE TABLE later (id int)',
	'CREATE FUNCTION writes_later() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE waited text := pg_sleep(0.5); r record; BEGIN INSERT INTO told VALUES (1); FOR r IN INSERT INTO told VALUES (2) RETURNING id LOOP END LOOP; RETURN NULL; END $$',
	'CREATE CONSTRAINT TRIGGER later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION writes_later()',
	'INSERT INTO later VALUES (1)', 'BEGIN', 'INSERT INTO later VALUES (2)', 'COMMIT';
is($watcher->{dbh}->selectrow_array(q{SELECT attempts || CASE WHEN p99_ms < 500 THEN ' at once' ELSE ' after ' || p99_ms END FROM deploydb.write_stats(target => 'told')}),
	'4 at once', 'a deferred trigger\'s write begins where its execution does');

# Rejected: whose a name without schema is, is not guessed
sub rejected { return $watcher->{dbh}->selectrow_array(q{SELECT string_agg(relation || ' ' || rejected, ', ' ORDER BY relation) FROM deploydb.write_stats() WHERE relation ~ 'told'}) }
Writes::good($client->{dbh}, $_) foreach 'CREATE SCHEMA elsewhere', 'CREATE TABLE elsewhere.told (id int)', q{SELECT deploydb.track('elsewhere.told'), deploydb.reset_write_stats()};
Writes::bad($client->{dbh}, 'INSERT INTO told (nope) VALUES (1)', '42703');
is(rejected(), 'elsewhere.told 0, public.told 0', 'of two schemas a table is not known by its name alone');
Writes::bad($client->{dbh}, 'INSERT INTO elsewhere.told (nope) VALUES (1)', '42703');
is(rejected(), 'elsewhere.told 1, public.told 0', 'by both it is');
$client->{dbh}->do(qq{SELECT deploydb.untrack('$_')}) foreach 'told', 'elsewhere.told';

# Whoever is rejected in many ways, without any right, does not take the names of what fails by itself
Writes::good($client->{dbh}, $_) foreach 'CREATE TABLE crowded (id int PRIMARY KEY)', q{SELECT deploydb.track('crowded')}, 'INSERT INTO crowded VALUES (1)',
	q{CREATE FUNCTION raises(state text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE ''x'' USING ERRCODE = state; END'}, 'SET ROLE nobody_writes';
Writes::bad($client->{dbh}, "INSERT INTO crowded VALUES (raises('QA0$_'))", "QA0$_") foreach 10 .. 49;
Writes::bad($client->{dbh}, 'INSERT INTO crowded VALUES (1)', '42501');
Writes::good($client->{dbh}, 'RESET ROLE');
Writes::bad($client->{dbh}, 'INSERT INTO crowded VALUES (1)', '23505');
is(join(' ', map { $_ // 'none' } @{ $watcher->{dbh}->selectcol_arrayref(
	q{SELECT sqlstate FROM deploydb.write_failures('1 hour', 'crowded') WHERE sqlstate !~ '^QA' OR sqlstate IS NULL ORDER BY sqlstate}) }),
	'23505 42501 none', 'the usual SQLSTATEs are told apart, whatever comes before them');
Writes::good($client->{dbh}, q{SELECT deploydb.untrack('crowded')});

# What was executed, on a table of the same name that is not tracked
Writes::good($client->{dbh}, $_) foreach 'CREATE TABLE namesake (id int PRIMARY KEY)', q{SELECT deploydb.track('namesake')}, 'CREATE SCHEMA before_it',
	'CREATE TABLE before_it.namesake (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)', 'GRANT USAGE ON SCHEMA before_it TO nobody_writes',
	'SET search_path = before_it, public', 'INSERT INTO namesake VALUES (1)';
$before = counters($watcher->{dbh});
Writes::bad($client->{dbh}, 'INSERT INTO namesake VALUES (1)', '23505');
is_deeply(difference(counters($watcher->{dbh}), $before), {}, 'a deferred constraint of a namesake is not the tracked table\'s');
Writes::good($client->{dbh}, 'SET ROLE nobody_writes');
Writes::bad($client->{dbh}, 'INSERT INTO namesake VALUES (2)', '42501');
Writes::good($client->{dbh}, 'BEGIN');
Writes::bad($client->{dbh}, 'INSERT INTO namesake VALUES (2)', '42501');
is_deeply(difference(counters($watcher->{dbh}), $before), {}, 'nor is a right that lacks on it');
Writes::bad($client->{dbh}, 'INSERT INTO public.namesake VALUES (1)', '25P02');
Writes::good($client->{dbh}, $_) foreach 'ROLLBACK', 'RESET ROLE';
Writes::bad($client->{dbh}, 'INSERT INTO public.namesake VALUES (1 / 0)', '22012');
is_deeply(difference(counters($watcher->{dbh}), $before), { namesake => { rejected => 2 } }, 'what was not executed is, as before');
Writes::good($client->{dbh}, $_) foreach 'RESET search_path', q{SELECT deploydb.untrack('namesake')};

# A function's statement that cannot be planned; its own text names the table
$client->{account} = {};
$before = counters($watcher->{dbh});
$client->{dbh}->do('DO $$ BEGIN INSERT INTO w (nope) VALUES (1); END $$');
is_deeply(difference(counters($watcher->{dbh}), $before), { w => { rejected => 1 } }, 'rejected within a function');
Writes::good($client->{dbh}, $_) foreach q{CREATE FUNCTION writes_wrong() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO w (nope) VALUES (1); RETURN NULL; END'},
	'CREATE TRIGGER wrong AFTER INSERT ON held FOR EACH ROW EXECUTE FUNCTION writes_wrong()';
$before = counters($watcher->{dbh});
Writes::bad($client->{dbh}, 'INSERT INTO held VALUES (1)', '42703');
is_deeply(difference(counters($watcher->{dbh}), $before), { held => { failed => 1 }, w => { rejected => 1 } }, 'and within a trigger of a write that fails by it');

# What the extension does itself is nobody's attempt
$before = counters($watcher->{dbh});
is($watcher->{dbh}->selectrow_array(q{SELECT count(*) FROM deploydb.smoke_test('w') WHERE status = 'ok'}) > 2, 1, 'the smoke test writes');
is_deeply(difference(counters($watcher->{dbh}), $before), {}, 'and is not counted');

# The application's attempts, and others' apart
$watcher->{dbh}->do($_) foreach 'CREATE ROLE app LOGIN', 'GRANT ALL ON w TO app', "ALTER DATABASE postgres SET deploydb.app_role = 'app'",
	'CREATE FUNCTION as_owner(bigint) RETURNS void SECURITY DEFINER LANGUAGE sql AS $$ INSERT INTO w VALUES ($1, 1) $$';
my $other = Writes::connect_client($node, ++$number);
$other->{dbh}->do('INSERT INTO w (nope) VALUES (1)');
$other->{dbh}->do('INSERT INTO w VALUES (1000001, 1)');
$other->{dbh}->do('INSERT INTO w VALUES (1000001, 1)');
$other->{dbh}->do('SET ROLE app; INSERT INTO w VALUES (1000002, 1)');
$other->{dbh}->do('SELECT as_owner(1000003)');
$other->{dbh}->do('INSERT INTO w (nope) VALUES (1)');
is_deeply(difference(counters($watcher->{dbh}), $before), { w => { succeeded => 2, rows_written => 2, rejected => 1 } },
	'the application\'s, a function of its owner\'s included');
is_deeply($watcher->{dbh}->selectrow_arrayref(q{SELECT others_attempts, others_succeeded FROM deploydb.write_stats(target => 'w')}),
	[ 3, 1 ], 'others\' apart');
$watcher->{dbh}->do('GRANT nobody_writes TO app');
$before = counters($watcher->{dbh});
my $app = DBI->connect('dbi:Pg:dbname=postgres;host=' . $node->host . ';port=' . $node->port, 'app', '', { PrintError => 0, RaiseError => 0 });
$app->do('SET ROLE nobody_writes');
$app->do('INSERT INTO w (nope) VALUES (1)');
$app->do('INSERT INTO w VALUES (1000004, 1)');
$app->disconnect;
is_deeply(difference(counters($watcher->{dbh}), $before), { w => { rejected => 1, failed => 1 } },
	'the application\'s failures stay its own, whatever it does SET ROLE to');
$watcher->{dbh}->do('ALTER DATABASE postgres RESET deploydb.app_role');

# Statements at top level that take long
my $slow = ($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0];
my $long = 0.1 * $Writes::slowness;
$client->{dbh}->do('SET deploydb.slow_query_threshold = ' . 50 * $Writes::slowness);
$client->{dbh}->do($_) foreach "SELECT pg_sleep($long)", 'SELECT pg_sleep(0.01)', "DO \$\$ BEGIN PERFORM pg_sleep($long), pg_sleep(0.01); PERFORM pg_sleep($long); END \$\$",
	'SET statement_timeout = ' . 100 * $Writes::slowness, 'SELECT pg_sleep(600)', 'RESET statement_timeout', 'BEGIN', 'SELECT 1', 'COMMIT';
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 3, 'slow statements, a function\'s own not again');
$client->{dbh}->do($_) foreach 'SET deploydb.slow_query_threshold = -1', 'CREATE TABLE watched_by (i int)', q{CREATE FUNCTION looks() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1; RETURN NULL; END'},
	'CREATE TRIGGER looks AFTER INSERT ON watched_by FOR EACH ROW EXECUTE FUNCTION looks()',
	'SET deploydb.slow_query_threshold = ' . 50 * $Writes::slowness,
	"WITH written AS (INSERT INTO watched_by VALUES (1) RETURNING i) SELECT pg_sleep($long) FROM written";
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 4, 'one that writes and reads, whatever its triggers do');
$client->{dbh}->do($_) foreach 'BEGIN', 'SAVEPOINT s', 'SET LOCAL statement_timeout = ' . 100 * $Writes::slowness, 'SELECT pg_sleep(600)', 'ROLLBACK TO s',
	q{DO 'BEGIN RAISE division_by_zero; END'}, 'ROLLBACK TO s', "SELECT pg_sleep($long)", 'COMMIT';
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 6, 'those that raise, and the next one');
$client->{dbh}->do($_) foreach qq{CREATE FUNCTION catches() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM i / 0 FROM watched_by;
	EXCEPTION WHEN division_by_zero THEN PERFORM pg_sleep($long); RETURN NULL; END'},
	'CREATE CONSTRAINT TRIGGER catches AFTER INSERT ON watched_by DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION catches()',
	'INSERT INTO watched_by VALUES (2)';
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 7, 'one whose trigger catches an error');
$client->{dbh}->do($_) foreach 'BEGIN', 'SET CONSTRAINTS ALL DEFERRED', 'INSERT INTO watched_by VALUES (3)', 'SELECT 1', 'COMMIT', "SELECT pg_sleep($long)",
	'DROP TRIGGER catches ON watched_by';
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 8, 'none of a trigger at the end of the transaction, but the next one');
my $ended = Writes::connect_client($node, ++$number);
$ended->{dbh}->do("SET deploydb.slow_query_threshold = " . 50 * $Writes::slowness);
$ended->{dbh}->do('SELECT pg_sleep(0.001), pg_terminate_backend(pg_backend_pid()) FROM pg_sleep(' . $long . ')');
{
	# to ask is not to be slow
	local $ENV{PGOPTIONS} = '-c deploydb.slow_query_threshold=-1';
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $ended->{dbh}{pg_pid}") or die 'it does not end';
}
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 8, 'none that ends with its session');
my $parallel = $client->{dbh}{pg_server_version} >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
$client->{dbh}->do($_) foreach "SET $parallel = on",
	"DO \$\$ BEGIN PERFORM pg_sleep($long); FOR i IN 1 .. 5 LOOP PERFORM count(*) FROM pg_class; END LOOP; END \$\$", "RESET $parallel";
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 9, 'parallel workers are no clients');

# one that a client reads slowly, or within which much happens
$client->{dbh}->do("COPY (SELECT pg_sleep($long)) TO STDOUT");
{
	my $line;
	1 while $client->{dbh}->pg_getcopydata(\$line) >= 0;
}
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 9, 'COPY TO is not slow by itself');
Writes::good($client->{dbh}, $_) foreach "CREATE FUNCTION takes_its_time(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep($long); RETURN i; END'",
	'CREATE INDEX timely ON watched_by (takes_its_time(i))', 'REINDEX INDEX timely', 'ANALYZE watched_by', 'CLUSTER watched_by USING timely', 'VACUUM FULL watched_by';
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 9, 'nor is maintenance');
$client->{dbh}->do("SELECT pg_sleep($long)");
is(($watcher->{dbh}->selectrow_array('SELECT deploydb.slow_queries()'))[0] - $slow, 10, 'what follows it may be');

cmp_ok($watcher->{dbh}->selectrow_array(q{SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name LIKE 'deploydb%' HAVING count(*) > 1}), '<', 1024 * 1024,
	'shared memory at the defaults is under 1 MB');
$_->{dbh}->disconnect foreach $client, $watcher, $other;

# What is tracked by a transaction that is prepared is so from COMMIT PREPARED on,
# whoever sends it, also for sessions that were there before.
my ($preparer, $bystander) = map { Writes::connect_client($node, ++$number) } 1, 2;
sub each_writes { my $table = shift; Writes::good($_->{dbh}, "INSERT INTO $table VALUES (1)") foreach $preparer, $bystander; return }

sub prepare_transaction
{
	my ($name, @statements) = @_;
	Writes::good($preparer->{dbh}, $_) foreach 'BEGIN', @statements, "PREPARE TRANSACTION '$name'";
	return;
}

# succeeded and prepared
sub each_counts
{
	my ($table, $expected, $what) = @_;
	my $query = "SELECT succeeded, prepared FROM deploydb.write_counters() WHERE name = '$table'";
	return is_deeply([ map { join ' ', $_->{dbh}->selectrow_array($query) } $preparer, $bystander ], [ ($expected) x 2 ], $what);
}

sub gaps_of
{
	my ($table) = @_;
	Writes::good($bystander->{dbh}, 'SELECT deploydb.take_write_sample()');
	return $bystander->{dbh}->selectrow_array("SELECT count(*) FROM deploydb.write_gap WHERE name = '$table'");
}
Writes::good($preparer->{dbh}, $_) foreach 'CREATE TABLE two_phases (id int)', 'CREATE TABLE restarted (id int)';
each_writes('two_phases');
prepare_transaction('track', q{SELECT deploydb.track('two_phases')}, 'INSERT INTO two_phases VALUES (1)');
each_writes('two_phases');
each_counts('two_phases', '', 'nothing is tracked before COMMIT PREPARED');
Writes::good($bystander->{dbh}, q{COMMIT PREPARED 'track'});
each_writes('two_phases');
each_counts('two_phases', '2 1', 'and then it is, by what was made for it');
prepare_transaction('untrack', q{SELECT deploydb.untrack('two_phases')});
each_writes('two_phases');
each_counts('two_phases', '4 1', 'what is to be untracked is counted on');
Writes::good($bystander->{dbh}, q{SET lock_timeout = '100ms'});
Writes::bad($bystander->{dbh}, 'SELECT deploydb.take_write_sample()', '55P03');
Writes::good($bystander->{dbh}, $_) foreach 'RESET lock_timeout', q{ROLLBACK PREPARED 'untrack'};
each_writes('two_phases');
each_counts('two_phases', '6 1', 'also when it is not, after all');
is(gaps_of('two_phases'), 0, 'without a gap');
prepare_transaction('reset', q{SELECT deploydb.reset_write_stats('two_phases')});
each_writes('two_phases');
Writes::good($bystander->{dbh}, q{COMMIT PREPARED 'reset'});
is(join(' ', $bystander->{dbh}->selectrow_array(q{SELECT attempts, prepared FROM deploydb.write_stats(target => 'two_phases')})), '2 0',
	'a reset holds from when it was called');

# The server is restarted before it is decided
prepare_transaction('untrack', q{SELECT deploydb.untrack('two_phases')});
prepare_transaction('track', q{SELECT deploydb.track('restarted')}, 'INSERT INTO restarted VALUES (1)');
$_->{dbh}->disconnect foreach $preparer, $bystander;
$node->restart;
$_->{dbh} = $_->{connect}->() foreach $preparer, $bystander;
each_writes($_) foreach qw(two_phases restarted);
each_counts('two_phases', '10 1', 'after a restart: still tracked');
each_counts('restarted', '', 'and not tracked yet');
Writes::good($bystander->{dbh}, "COMMIT PREPARED '$_'") foreach qw(untrack track);
each_writes($_) foreach qw(two_phases restarted);
each_counts('two_phases', '', 'not tracked any more');
each_counts('restarted', '2 1', 'tracked, by what was made before');
is(gaps_of('restarted'), 0, 'without a gap');
$_->{dbh}->disconnect foreach $preparer, $bystander;

# The same with the extension
$node->safe_psql('postgres', 'CREATE DATABASE prepared');
($preparer, $bystander) = map { Writes::connect_client($node, 0, 'prepared') } 1, 2;
Writes::good($preparer->{dbh}, 'CREATE TABLE decision_insights (id int)');
each_writes('decision_insights');
prepare_transaction('create', 'CREATE EXTENSION deploydb', 'INSERT INTO decision_insights VALUES (1)');
each_writes('decision_insights');
Writes::good($bystander->{dbh}, q{COMMIT PREPARED 'create'});
each_writes('decision_insights');
each_counts('decision_insights', '2 1', 'created by COMMIT PREPARED, it counts from then on');
is(gaps_of('decision_insights'), 0, 'without a gap');
prepare_transaction('drop', 'DROP EXTENSION deploydb');
each_writes('decision_insights');
Writes::good($bystander->{dbh}, q{ROLLBACK PREPARED 'drop'});
each_writes('decision_insights');
each_counts('decision_insights', '6 1', 'nobody waits for it to be dropped, and it counts on');
$_->{dbh}->disconnect foreach $preparer, $bystander;
done_testing();
