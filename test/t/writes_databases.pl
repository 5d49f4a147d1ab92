# Counting in several databases of a cluster: each by itself, restored from a
# dump, replicated, without the extension, dropped; and who takes the room.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('databases');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.monitor = off
deploydb.max_tracked = 8
max_prepared_transactions = 1
});
$node->start;

# A session of its own, each statement in a transaction of its own
sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql) }

# attempts|succeeded|failed|rows_written of a table
sub counted
{
	my ($database, $name) = @_;
	return sql($database, 'SELECT succeeded + failed + rolled_back + rejected, succeeded, failed, rows_written '
		. "FROM deploydb.write_counters() WHERE schema || '.' || name = '$name' AND NOT others");
}

# The application's schema is not public; one name is odd; one table is to be
# counted no more; and there is a history.
sql('postgres', 'CREATE DATABASE source');
sql('source', q{
	CREATE SCHEMA app;
	CREATE TABLE app.decision_insights (id int PRIMARY KEY);
	CREATE TABLE app."it's ""odd""." (id int) PARTITION BY LIST (id);
	CREATE TABLE app.odd_one PARTITION OF app."it's ""odd""." FOR VALUES IN (1);
	CREATE TABLE public.given_up (id int);
	CREATE EXTENSION deploydb;
	SELECT deploydb.track('app."it''s ""odd""."');
	SELECT deploydb.track('given_up');
	INSERT INTO app.decision_insights VALUES (1), (2);
	INSERT INTO app."it's ""odd""." VALUES (1);
	INSERT INTO given_up VALUES (1);
	SELECT deploydb.take_write_sample();
	SELECT deploydb.untrack('given_up');
	SELECT deploydb.reset_write_stats('app.decision_insights');
	SELECT deploydb.report_client_failures('decision_insights', 3, 'no connection');
	INSERT INTO app.decision_insights VALUES (3);
	SELECT deploydb.take_write_sample();
});
my $tracked = "SELECT string_agg(format('%I.%I', schema, name), ' ' ORDER BY name) FROM deploydb.tracked_table";
is(sql('source', $tracked), q{app.decision_insights app."it's ""odd""."}, 'the application\'s own schema is found');
is(sql('source', q{SELECT attempts, client_failures FROM deploydb.write_stats('1 day', 'decision_insights')}), '1|3', 'counted since the reset');

# Restored, in text and in parallel
my $dump = $node->basedir . '/source';
$node->command_ok([ 'pg_dump', '-f', "$dump.sql", 'source' ], 'dumped');
$node->command_ok([ 'pg_dump', '-Fd', '-f', "$dump.dir", 'source' ], 'and into a directory');
foreach my $restore ([ 'as_text', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql" ],
	[ 'in_parallel', 'pg_restore', '-j2', '-e', "$dump.dir" ])
{
	my ($database, @command) = @$restore;
	sql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ @command, '-d', $database ], "restored $database");
	is(sql($database, $tracked), sql('source', $tracked), 'the same tables are tracked');
	is(sql($database, 'SELECT count(*) FROM deploydb.write_sample'), '0', 'samples stay where they were taken');

	# What the restore itself copied may be counted or not, as its order is.
	my ($rate) = sql($database, 'SELECT deploydb.reset_write_stats(); SELECT deploydb.write_success_rate() IS NULL') =~ /(\w)$/;
	is($rate, 't', 'it counts from here on');
	$node->psql($database, 'INSERT INTO app.decision_insights VALUES (1)');
	sql($database, q{INSERT INTO app.decision_insights VALUES (4), (5); INSERT INTO app."it's ""odd""." VALUES (1); INSERT INTO given_up VALUES (1)});
	is(sql($database, 'SELECT relation, attempts, succeeded, failed, rows_written, gaps, client_failures FROM deploydb.write_stats()'),
		qq{app.decision_insights|2|1|1|2|0|0\napp."it's ""odd""."|1|1|0|1|0|0}, 'the right tables');
	is(sql($database, q{SELECT deploydb.write_success_rate('1 hour', 'decision_insights')}), '0.5', 'a name without its schema is still one');
	is(sql($database, 'SELECT deploydb.take_write_sample(); SELECT sum(attempts) FROM deploydb.write_history()') =~ s/.*\n//r,
		sql($database, 'SELECT sum(succeeded + failed) FROM deploydb.write_counters()'), 'with a history of its own');
	is(sql($database, 'SELECT count(*) FROM deploydb.recent_failures()'), '1', 'and its own failures');
}
is(counted('source', 'app.decision_insights'), '2|2|0|3', 'and nothing of it in the source');

# Logical replication passes no executor, neither the first copy nor what follows.
sql('source', 'CREATE PUBLICATION insights FOR TABLE app.decision_insights');
sql('source', q{SELECT pg_create_logical_replication_slot('insights', 'pgoutput')});
sql('as_text', 'TRUNCATE app.decision_insights');
my $before = counted('as_text', 'app.decision_insights');
sql('as_text', sprintf q{CREATE SUBSCRIPTION insights CONNECTION '%s' PUBLICATION insights WITH (create_slot = false)},
	$node->connstr('source') =~ s/'/''/gr);
$node->poll_query_until('as_text', q{SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel});
sql('source', 'INSERT INTO app.decision_insights VALUES (6); UPDATE app.decision_insights SET id = 7 WHERE id = 6');
ok($node->poll_query_until('as_text', 'SELECT array_agg(id ORDER BY id) = \'{1,2,3,7}\' FROM app.decision_insights'), 'replicated');
is(counted('as_text', 'app.decision_insights'), $before, 'which is not counted');
is(counted('source', 'app.decision_insights'), '4|4|0|5', 'where it was written, it is');
sql('as_text', 'DROP SUBSCRIPTION insights');

# The room: six of eight are taken.  What a database gives up is free once it
# is dropped, or once somebody writes in it who sees it.
sql('source', q{SELECT deploydb.track('seventh')});
my $session = $node->background_psql('source');
$session->query(q{SELECT deploydb.track('eighth')});
my ($status, $out, $err) = $node->psql('source', q{SELECT deploydb.track('ninth')});
like($err, qr/too many tables are tracked/, 'no room');
sql('postgres', 'CREATE DATABASE late');
sql('late', 'CREATE EXTENSION deploydb; CREATE TABLE decision_insights (id int); CREATE TABLE other (id int)');
is(sql('late', 'INSERT INTO decision_insights VALUES (1); SELECT count(*) FROM deploydb.write_stats()'), '0', 'a database that comes too late is not counted');
like(sql('late', 'SELECT * FROM deploydb_status()'), qr/^writes\|warning\|no room to count/m, 'which its overview says');
unlike(sql('late', 'SELECT * FROM deploydb_status()'), qr/no table\s+is tracked/, 'and nothing else');
my $late = $node->background_psql('late');
$late->query('INSERT INTO decision_insights VALUES (2)');

sql('postgres', 'DROP DATABASE as_text');
is($session->query(q{SELECT deploydb.track('ninth')}), 't', 'a dropped database\'s room is there at once, for a session too that was there before');
is($session->query(q{SELECT deploydb.track('tenth')}), 't', 'all of it');
($status, $out, $err) = $node->psql('source', q{SELECT deploydb.track('eleventh')});
like($err, qr/too many tables are tracked/, 'and no more');

# Dropped while it is counted, under a session that writes
my $writer = $node->background_psql('in_parallel');
$writer->query('INSERT INTO app.decision_insights VALUES (10)');
is(counted('in_parallel', 'app.decision_insights') =~ s/\|.*//r > 1, 1, 'counted to the end');
$writer->query('BEGIN; INSERT INTO app.decision_insights VALUES (11)');
sql('in_parallel', 'DROP EXTENSION deploydb');
$writer->query('INSERT INTO app.decision_insights VALUES (12); COMMIT');
$writer->query('INSERT INTO app.decision_insights VALUES (13)');
is($writer->query('SELECT count(*) FROM app.decision_insights WHERE id >= 10'), '4', 'without the extension it writes on');
$writer->quit;
is($session->query(q{SELECT deploydb.track('eleventh')}), 't', 'and the room is free');
$session->quit;
sql('in_parallel', 'CREATE EXTENSION deploydb');
sql('in_parallel', 'INSERT INTO app.decision_insights VALUES (14)');
is(counted('in_parallel', 'app.decision_insights'), '1|1|0|1', 'created again, it counts anew');

# A session that found no room finds it once there is some
sql('source', q{SELECT deploydb.untrack(name) FROM deploydb.tracked_table WHERE schema = 'public'});
sql('source', 'SELECT count(*) FROM deploydb.write_counters()');
sql('late', 'INSERT INTO decision_insights VALUES (3)');
$late->query('INSERT INTO decision_insights VALUES (4)');
is(counted('late', 'public.decision_insights'), '2|2|0|2', 'a session that was there before counts again');
is($late->query('SELECT succeeded FROM deploydb.write_counters()'), '2', 'and shows it');
$late->quit;

# What a session had taken that has ended within its transaction is free
my $ended = $node->background_psql('source');
my $other = $node->background_psql('source');
$other->query('INSERT INTO app.decision_insights VALUES (20)');
$ended->query(q{BEGIN; DO $$ BEGIN FOR i IN 1 .. 9 LOOP BEGIN PERFORM deploydb.track('taken' || i); EXCEPTION WHEN OTHERS THEN EXIT; END; END LOOP; END $$});
my $pid = $ended->query('SELECT pg_backend_pid()');
like(($node->psql('source', q{SELECT deploydb.track('full')}))[2], qr/too many tables are tracked/, 'full, for the time of a transaction');
sql('postgres', "SELECT pg_terminate_backend($pid, 60000)");
is($other->query(q{SELECT deploydb.track('now')}), 't', 'and then not');
$other->query(q{SELECT deploydb.untrack('now')});
sql('source', q{BEGIN; DO $$ BEGIN FOR i IN 1 .. 9 LOOP BEGIN PERFORM deploydb.track('taken' || i); EXCEPTION WHEN OTHERS THEN EXIT; END; END LOOP; END $$;
	PREPARE TRANSACTION 'taken'});
like(($node->psql('source', q{SELECT deploydb.track('full')}))[2], qr/too many tables are tracked/, 'full, for the time of one that is prepared');
sql('source', q{ROLLBACK PREPARED 'taken'});
is($other->query(q{SELECT deploydb.track('now')}), 't', 'and then not, either');
$other->quit;

# No gap where nothing was counted: a restore that has the table tracked by a
# row of its own, and a copy of a database in which the extension was created.
sql('postgres', 'CREATE DATABASE again');
sql('again', q{CREATE TABLE decision_insights (id int); CREATE EXTENSION deploydb;
	SELECT deploydb.untrack('decision_insights'); SELECT deploydb.track('decision_insights')});
$node->command_ok([ 'pg_dump', '-f', "$dump.again.sql", 'again' ], 'dumped, tracked again');
sql('postgres', 'DROP DATABASE again; CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.again.sql", '-d', 'restored' ], 'restored');
sql('postgres', 'CREATE DATABASE template');
sql('template', 'CREATE EXTENSION deploydb; CREATE TABLE decision_insights (id int)');
sql('postgres', 'CREATE DATABASE copied TEMPLATE template');
foreach my $database (qw(restored copied))
{
	is(sql($database, q{INSERT INTO decision_insights VALUES (1); SELECT deploydb.take_write_sample() > 0;
		SELECT attempts > 0, gaps FROM deploydb.write_stats()}), "t\nt|0", "no gap in a database that is $database");
}

# What bears the names of ours where we are not
sql('postgres', 'CREATE ROLE somebody LOGIN; CREATE DATABASE foreign_one OWNER somebody');
foreach my $relation ('TABLE deploydb.tracked (a int, b int, c int, d int, e int)', 'VIEW deploydb.tracked AS SELECT 1 AS a',
	'TABLE deploydb.tracked (schema text, name text, built_in boolean, enabled boolean, tracked_at timestamptz) PARTITION BY LIST (name)',
	'MATERIALIZED VIEW deploydb.tracked AS SELECT NULL::text AS schema, NULL::text AS name, false AS built_in, true AS enabled, now()')
{
	my ($status, $out, $err) = $node->psql('foreign_one', "BEGIN; CREATE SCHEMA deploydb; CREATE $relation; CREATE TABLE x (i int);"
		. ($relation =~ /int\)/ ? ' INSERT INTO deploydb.tracked VALUES (7, 7, 7, 7, 7);' : '')
		. ' COMMIT; INSERT INTO x VALUES (1); SELECT count(*) FROM x; DROP TABLE x; DROP SCHEMA deploydb CASCADE',
		extra_params => [ '-U', 'somebody' ]);
	is("$status $out", '0 1', "a $relation of somebody's") or diag($err);
}

# Whoever raises errors of every class, in a database of his own or in ours, takes
# nobody's room in what is counted of the log.
sub raise_errors { my $database = shift; $node->psql($database, join('', map { "DO \$\$ BEGIN RAISE 'x' USING ERRCODE = '$_'; END \$\$;" . "\n" } @_),
	on_error_stop => 0, extra_params => [ '-U', 'somebody' ]); return }
sub lines { my $class = shift; return sql('late', "SELECT COALESCE(sum(count), 0) FROM deploydb.log_error WHERE in_database AND sqlstate_class = '$class'") }
my @odd = map { my $first = $_; map { "$first${_}001" } 0 .. 9, 'A' .. 'Z' } qw(Q R S T U V W Y);
chomp(my $share = qx(pg_config --sharedir));
my @usual = slurp_file("$share/errcodes.txt") =~ /^Section: Class (\w\w) /mg;
my $zero_division = lines('22');
my $others = lines('other');
raise_errors($_, @odd) foreach qw(foreign_one late);
is(lines('other'), $others + @odd, 'errors of nobody\'s classes are one class');
is(lines('22'), $zero_division, 'and no other one');
raise_errors('late', map { "${_}QQQ" } @usual);
is(sql('late', 'SELECT count(*) FROM deploydb.log_error WHERE in_database'), @usual + 1, 'the server\'s own are told apart, each');
is(lines('22'), $zero_division + 1, 'as if nothing had been');
is(lines('other'), $others + @odd, 'none of them is another');
$node->restart;
is(lines('22'), $zero_division + 1, 'and so they are after a restart');

# More databases than are counted at a time come and go.
my $slow = q{SELECT deploydb.slow_queries(); SET deploydb.slow_query_threshold = 0; SELECT pg_sleep(0.002); SET deploydb.slow_query_threshold = -1; SELECT deploydb.slow_queries()};
my $missed = 0;
foreach my $i (1 .. 66)
{
	sql('postgres', "CREATE DATABASE passing TEMPLATE template STRATEGY file_copy");
	$missed++ if sql('passing', $slow) !~ /^0\n+2\z/;    # the first SET is slow, too
	$node->psql('passing', 'SELECT 1 / 0');
	$missed++ if sql('passing', q{SELECT count FROM deploydb.log_error WHERE in_database AND sqlstate_class = '22'}) ne '1';
	sql('postgres', 'DROP DATABASE passing');
}
is($missed, 0, 'slow statements and errors of each are counted, from zero on');

$node->stop;
done_testing();
