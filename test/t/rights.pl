# Rights: who has none learns nothing, who may act gains nothing by it, and a
# hostile schema's functions are never called by those who verify.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
	CREATE ROLE app_owner LOGIN;
	CREATE ROLE outsider LOGIN;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	CREATE ROLE operator LOGIN;
	CREATE DATABASE app OWNER app_owner;
});
$node->safe_psql('app', q{
	CREATE EXTENSION deploydb;
	SELECT deploydb.grant_access('operator', 'operator');
	GRANT ALL ON SCHEMA public TO app_owner;
	SET ROLE app_owner;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
	CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
		finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
		rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
		applied_steps_count integer NOT NULL DEFAULT 0);
});

# As a role: what it prints, warnings included.
sub as
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $node->psql('app', $sql, extra_params => [ '-U', $role ]);
	return "$out\n$err";
}

# A role without any right
like(as('outsider', 'SELECT deploydb_verify_migration()'),
	qr/permission denied for function/, 'PUBLIC may not verify');
like(as('outsider', "SELECT * FROM deploydb.known_migration"),
	qr/permission denied for schema deploydb/, 'nor look around');

# A role that may call, and has no right on the table
my $all = join ';', map { "SELECT * FROM $_" }
	'deploydb_verify_migration()', 'deploydb.migration_report()', 'deploydb.migration_tap()',
	"deploydb.facts('{decision_insights,_prisma_migrations}')", 'deploydb_status()',
	"deploydb.migration_fingerprint('insights')", 'deploydb.ledger()';
my $seen = as('monitor', $all);
unlike($seen, qr/applied_steps_count|user_id|feature_vector|state_snapshot/,
	'without a right on the table no column is named');
like($seen, qr/has no right on it/, 'which is said');
like(as('monitor', 'SELECT coalesce(deploydb_verify_migration()::text, $$unknown$$)'),
	qr/^unknown/, 'and the answer is NULL');
like(as('monitor', 'SELECT deploydb.assert_migration()'), qr/could not be verified/, 'and an error');
is($node->safe_psql('app', 'SELECT count(*) FROM deploydb.verification_history'), '0',
	'what could not be found out is no history');
$node->safe_psql('app', 'GRANT SELECT (id) ON decision_insights TO monitor');
like(as('monitor', 'SELECT deploydb_verify_migration()'), qr/^t/, 'a right on one column will do');
like(as('app_owner', 'SELECT deploydb_verify_migration()'), qr/^t/, 'the database\'s owner may verify');
is($node->safe_psql('app', q{SELECT string_agg(DISTINCT verified_by, ',') FROM deploydb.verification_history}),
	'monitor', 'and history has who saw it first, though he may not write there');

# Two who see differently do not make history go to and fro
$node->safe_psql('app', q{
	SELECT deploydb.register_migration('two', 'CREATE TABLE seen (id int); CREATE TABLE hidden (id int)');
	CREATE TABLE seen (id bigint);
	CREATE TABLE hidden (id int);
	GRANT SELECT ON seen TO monitor;
	INSERT INTO _prisma_migrations (id, checksum, migration_name, logs)
		SELECT '1', checksum, migration, 'failed' FROM deploydb.builtin_migrations();
	UPDATE _prisma_migrations SET started_at = now() - interval '1 hour';
});
my $history = q{SELECT count(*) FROM deploydb.verification_history};
my $before = $node->safe_psql('app', $history);
for (1 .. 2)
{
	like(as('monitor', q{SELECT deploydb_verify_migration('two')}), qr/^f/, 'one sees half, and an error in it');
	$node->safe_psql('app', q{SET client_min_messages = error; SELECT deploydb_verify_migration('two')});
	like(as('monitor', q{SELECT deploydb_verify_migration('insights')}), qr/^t/, 'one sees no ledger');
	is($node->safe_psql('app', q{SET client_min_messages = error; SELECT deploydb_verify_migration('insights')}),
		'f', 'the other sees that it failed');
}
is($node->safe_psql('app', $history), $before + 3,
	'a row for the error, one for its fingerprint, one for the failed migration');
$node->safe_psql('app', q{ALTER TABLE decision_insights ADD COLUMN more text});
like(as('monitor', q{SELECT deploydb_verify_migration('insights')}), qr/^t/, 'what he can see has changed');
is($node->safe_psql('app', $history), $before + 4, 'which is news');
$node->safe_psql('app', q{
	ALTER TABLE decision_insights DROP COLUMN more;
	DROP TABLE seen, hidden;
	DELETE FROM _prisma_migrations;
	SELECT deploydb.forget_migration('two');
});

# Nobody but the owner writes
for my $role (qw(monitor app_owner operator))
{
	for my $sql (
		"INSERT INTO deploydb.acceptance VALUES ('m', 't', 'o', 'p', 'r', NULL, 'forged')",
		'DELETE FROM deploydb.verification', 'UPDATE deploydb.registered_migration SET checksum = NULL',
		"INSERT INTO deploydb.expectation VALUES ('m', 15, 1, '{}')",
		"SELECT nextval('deploydb.verification_id_seq')")
	{
		like(as($role, $sql), qr/permission denied/, "$role: $sql");
	}
}
like(as('app_owner', "SELECT deploydb.register_migration('x', 'SELECT 1')"),
	qr/permission denied/, 'reading is not acting');

# An operator reads what there is to read
unlike(as('operator', "$all; SELECT * FROM deploydb.check_environment(); SELECT * FROM deploydb.verification_history"),
	qr/permission denied/, 'an operator may read');
is($node->safe_psql('app', q{
		SELECT string_agg(d.objid::regprocedure::text, ', ')
		FROM pg_depend d
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'deploydb')
			AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			AND has_function_privilege('pg_monitor', d.objid, 'EXECUTE')
			AND NOT has_function_privilege('operator', d.objid, 'EXECUTE')}), '',
	'and call whatever only reads');
for my $public ('public', 'PUBLIC', 'nobody')
{
	like(as('postgres', "SELECT deploydb.grant_access('$public', 'operator')"),
		qr/role "$public" does not exist/, "nothing can be granted to $public");
}

# An operator acts with his own rights, under his own name
like(as('operator', "SELECT deploydb.register_migration('x', 'CREATE TABLE x (id int)')"),
	qr/^\d+/, 'an operator registers');
like(as('operator', "SELECT deploydb.accept_deviation('x', 'table', 'x', 'exists', 'later')"),
	qr/^t/, 'and accepts');
is($node->safe_psql('app', 'SELECT accepted_by FROM deploydb.acceptance'), 'operator', 'by name');
$node->safe_psql('app', 'ALTER TABLE decision_insights ADD COLUMN secret text NOT NULL');
my @told = map { s/decision_insights\.\w+/COLUMN/r } map {
	as('operator', "SELECT deploydb.accept_deviation('insights', 'column', 'decision_insights.$_', 'exists', 'why')")
} 'secret', 'nothing';
is($told[0], $told[1], 'on a table that he may not see he learns nothing by it');
like($told[0], qr/WARNING: .* Not everything could be looked at/s, 'which is said');
$node->safe_psql('app', q{
	ALTER TABLE decision_insights DROP COLUMN secret;
	DELETE FROM deploydb.acceptance WHERE migration <> 'x';
});
for my $ddl (
	q{COPY decision_insights TO PROGRAM 'true'},
	q{ALTER ROLE operator SUPERUSER},
	q{DO $do$ BEGIN EXECUTE 'ALTER ROLE operator SUPERUSER'; END $do$},
	q{SELECT pg_read_file('postgresql.conf')},
	q{CREATE FUNCTION evil() RETURNS int LANGUAGE c AS 'x', 'y'},
	q{SET ROLE postgres},
	q{DROP TABLE public.decision_insights})
{
	like(as('operator', "SELECT deploydb.register_migration('y', \$ddl\$$ddl\$ddl\$)"),
		qr/ERROR/, "a replay is refused: $ddl");
}
is($node->safe_psql('app', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'operator'}), 'f',
	'and gave no rights');

# A registrant who is gone holds up nobody; what only he registered is not known
$node->safe_psql('postgres', 'CREATE ROLE leaver LOGIN IN ROLE operator');
$node->safe_psql('app', q{SELECT deploydb.grant_access('leaver', 'operator')});
like(as('leaver', "SELECT deploydb.register_migration('left', 'CREATE TABLE left_behind (id int)')"),
	qr/^\d+/, 'one who will leave registers');
$node->safe_psql('app', 'DROP OWNED BY leaver');
$node->safe_psql('postgres', 'DROP ROLE leaver');
is($node->safe_psql('app', q{
		SET client_min_messages = error;
		SELECT deploydb.register_migration('x', 'CREATE TABLE x (id int)') > 0;
		SELECT deploydb_verify_migration('left');
		DELETE FROM deploydb.expectation WHERE migration = 'left';
		SELECT deploydb_verify_migration('left') IS NULL;
		SELECT advice ~ 'role "leaver", which registered it, does not exist any more'
		FROM deploydb.migration_report('left');
		SELECT deploydb.forget_migration('left')}), "t\nf\nt\nt\nt",
	'others register on, and what he registered is stale once its facts are gone');

# Hostile objects: each of them tells on whoever calls it
$node->safe_psql('app', q{
	SET ROLE app_owner;
	CREATE TABLE caught (who text, what text);
	GRANT ALL ON caught TO PUBLIC;
	CREATE FUNCTION tell(what text) RETURNS boolean LANGUAGE sql VOLATILE
		AS 'INSERT INTO public.caught VALUES (current_user, what); SELECT true';
	CREATE FUNCTION eq(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT public.tell('text =')$$;
	CREATE FUNCTION eq(oid, oid) RETURNS boolean LANGUAGE sql AS $$SELECT public.tell('oid =')$$;
	CREATE FUNCTION eq(name, name) RETURNS boolean LANGUAGE sql AS $$SELECT public.tell('name =')$$;
	CREATE FUNCTION eq(int, int) RETURNS boolean LANGUAGE sql AS $$SELECT public.tell('int =')$$;
	CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = eq);
	CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = eq);
	CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = eq);
	CREATE OPERATOR = (LEFTARG = int, RIGHTARG = int, FUNCTION = eq);
	CREATE FUNCTION join_them(text, text) RETURNS text LANGUAGE sql AS $$SELECT public.tell('||')::text$$;
	CREATE OPERATOR || (LEFTARG = text, RIGHTARG = text, FUNCTION = join_them);
	CREATE FUNCTION count(text) RETURNS bigint LANGUAGE sql AS $$SELECT public.tell('count')::int::bigint$$;
	CREATE FUNCTION now() RETURNS timestamptz LANGUAGE sql AS $$SELECT public.tell('now')::text::timestamptz$$;
	CREATE FUNCTION format(text, text) RETURNS text LANGUAGE sql AS $$SELECT public.tell('format')::text$$;
	CREATE VIEW pg_class AS SELECT public.tell('pg_class')::text AS relname;
	CREATE VIEW pg_locks AS SELECT public.tell('pg_locks')::text AS pid;
	DROP TABLE _prisma_migrations;
	CREATE VIEW _prisma_migrations AS SELECT 'a'::varchar(36) AS id, 'a'::varchar(64) AS checksum,
		CASE WHEN public.tell('ledger') THEN now() END AS finished_at,
		'20251203071615_add_decision_insights'::varchar(255) AS migration_name, ''::text AS logs,
		NULL::timestamptz AS rolled_back_at, now() AS started_at, 1 AS applied_steps_count;
	CREATE POLICY p ON decision_insights USING (public.tell('policy'));
	CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN PERFORM public.tell('trigger'); RETURN NEW; END$$;
});
$node->safe_psql('app', qq{
	SET client_min_messages = error;
	SET search_path = public, pg_catalog;
	$all;
	SELECT deploydb_verify_migration();
	SELECT deploydb.register_migration('z', 'CREATE TABLE z (id int)');
	SELECT deploydb.accept_deviation('z', 'table', 'z', 'exists', 'later');
	SELECT deploydb.revoke_acceptance('z', 'table', 'z', 'exists');
	SELECT deploydb.capture_migration('caught', '{caught}');
	SELECT deploydb.import_migration(deploydb.capture_migration('caught', '{caught}'));
	SELECT deploydb.forget_migration('z');
	SELECT * FROM deploydb.check_environment();
});
is($node->safe_psql('app', 'SELECT string_agg(DISTINCT what, $$, $$) FROM public.caught'), '',
	'a superuser who verifies, registers and accepts calls nothing of a user\'s');

# Event triggers of the application see the commands, and nothing of a replay
$node->safe_psql('app', q{
	DROP EXTENSION deploydb;
	CREATE TABLE commands (tag text, object text);
	CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
		INSERT INTO public.commands SELECT command_tag, object_identity
			FROM pg_catalog.pg_event_trigger_ddl_commands(); END$$;
	CREATE FUNCTION public.on_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
		INSERT INTO public.commands SELECT 'drop', object_identity
			FROM pg_catalog.pg_event_trigger_dropped_objects(); END$$;
	CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION public.on_ddl();
	CREATE EVENT TRIGGER on_drop ON sql_drop EXECUTE FUNCTION public.on_drop();
	CREATE EXTENSION deploydb;
	SELECT deploydb.register_migration('z', 'CREATE TABLE z (id int); ALTER TABLE z ADD y int; DROP TABLE z');
});
is($node->safe_psql('app', q{SELECT count(*) FROM public.commands WHERE object OPERATOR(pg_catalog.~) 'scratch'}),
	'0', 'nothing of the scratch schema reaches an event trigger');
$node->safe_psql('app', q{
	CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS
		$$BEGIN IF tg_tag OPERATOR(pg_catalog.<>) 'CREATE EXTENSION' THEN RAISE EXCEPTION 'no DDL today'; END IF; END$$;
	CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION public.refuse();
	SELECT deploydb.register_migration('z', 'CREATE TABLE z (id int)');
});
pass('nor is a replay stopped by one that refuses all DDL');

$node->stop;
done_testing();
