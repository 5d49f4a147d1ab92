/*
 * Expectations from DDL: what a replay gives, and what it refuses.
 */
\set VERBOSITY terse
\pset format unaligned
SET client_min_messages = warning;
CREATE EXTENSION deploydb;

/* an extension's schema is on the replay's search_path */
CREATE EXTENSION citext SCHEMA public;
CREATE SCHEMA replay_other;
CREATE TABLE public.replay_users (id serial PRIMARY KEY, name text);
CREATE TABLE replay_other.parent (a integer) PARTITION BY RANGE (a);

/* One statement or several after a first migration: how it ends. */
CREATE FUNCTION public.try(ddl text, OUT outcome text)
LANGUAGE plpgsql
AS $$
DECLARE
	context text;
	detail text;
	hint text;
BEGIN
	PERFORM deploydb.register_migration('r1_try', ddl);
	PERFORM deploydb.forget_migration('r1_try');
	outcome := 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	outcome := format('%s %s%s, %s%s', SQLSTATE, SQLERRM,
					  CASE WHEN SQLSTATE = 'ZD003' THEN format(' (%s)', detail) END,
					  substring(context FROM '(?n)^replaying migration "r1_try", (.*)$'),
					  CASE WHEN hint LIKE '%capture_migration()%import_migration()%'
					  THEN ' (capture)'
					  WHEN hint <> '' THEN ' (' || hint || ')' END);
END
$$;

SELECT deploydb.register_migration('r0_own', $$
	CREATE TABLE own (id integer PRIMARY KEY, n text);
	CREATE SEQUENCE own_seq;
$$) > 0 AS registered;

/* What migrations do, and what no fact shows. */
SELECT ddl, try(ddl) FROM unnest(ARRAY[
	'',
	'-- nothing',
	'BEGIN; CREATE TABLE a (i integer); COMMIT',
	'START TRANSACTION; CREATE TABLE a (i integer); END',
	'CREATE INDEX CONCURRENTLY i ON own (n); DROP INDEX CONCURRENTLY i',
	'CREATE MATERIALIZED VIEW mv AS SELECT id FROM own; CREATE UNIQUE INDEX ON mv (id); REFRESH MATERIALIZED VIEW CONCURRENTLY mv',
	'CREATE TABLE p (a integer) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (2); ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY',
	'CREATE TABLE a (i integer REFERENCES own (id)); ALTER TABLE a DROP CONSTRAINT a_i_fkey; DROP TABLE own CASCADE',
	'CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN new; END''; CREATE TRIGGER g BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION f(); DROP FUNCTION f() CASCADE',
	'CREATE RULE r AS ON INSERT TO own DO NOTHING; CREATE POLICY p ON own USING (true); ALTER TABLE own ENABLE ROW LEVEL SECURITY; ALTER POLICY p ON own USING (false)',
	'CREATE DOMAIN d AS integer CHECK (value > 0); CREATE TYPE r AS RANGE (subtype = integer); CREATE TYPE c AS (a d, b r)',
	'ALTER TABLE own RENAME TO mine; ALTER TABLE mine RENAME COLUMN n TO m; COMMENT ON COLUMN mine.m IS ''m''',
	'CREATE TABLE a AS SELECT 1 AS i; TRUNCATE a; ANALYZE a; REINDEX TABLE a; LOCK TABLE a',
	'CREATE TABLE s (id serial, c citext); INSERT INTO s (c) VALUES (''x''); ALTER TABLE s ADD COLUMN other serial; SELECT setval(pg_get_serial_sequence(''s'', ''id''), 7)',
	'DO $b$ BEGIN EXECUTE ''CREATE TABLE a (i integer)''; INSERT INTO own VALUES (1); END $b$',
	'DROP TABLE IF EXISTS replay_users; DROP TYPE IF EXISTS citext; DROP TRIGGER IF EXISTS t ON replay_users; ALTER TABLE IF EXISTS replay_users ADD x integer',
	'CREATE TABLE IF NOT EXISTS replay_users (id integer)',
	'CREATE EXTENSION IF NOT EXISTS citext; CREATE SCHEMA IF NOT EXISTS "public"; COMMENT ON EXTENSION citext IS ''x''',
	'GRANT ALL ON own TO replay_nobody; ALTER TABLE own OWNER TO replay_nobody; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO replay_nobody',
	'SET lock_timeout = 0; SET LOCAL DateStyle = ''German''; SET default_tablespace = ''replay_nowhere''; RESET ALL; SET TRANSACTION READ ONLY; CREATE TABLE a (i integer)'
]) AS ddl;

/* Objects outside of the migration's schema. */
SELECT ddl, try(ddl) FROM unnest(ARRAY[
	'CREATE TABLE public.a (i integer)',
	'CREATE VIEW replay_other.v AS SELECT 1',
	'CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS ''SELECT 1''',
	'CREATE OR REPLACE FUNCTION public.try(ddl text, OUT outcome text) LANGUAGE sql AS ''SELECT ddl''',
	'DO $b$ BEGIN CREATE TABLE public.a (i integer); DROP TABLE public.a; END $b$',
	'ALTER TABLE replay_users ADD x integer',
	'ALTER TABLE replay_users RENAME TO x',
	'ALTER TYPE citext RENAME TO x',
	'DROP TABLE replay_users',
	'DROP FUNCTION try(text)',
	'CREATE INDEX ON replay_users (name)',
	'CREATE TABLE a (i integer REFERENCES replay_users (id))',
	'ALTER TABLE own ADD FOREIGN KEY (id) REFERENCES public.replay_users (id)',
	'CREATE TABLE a () INHERITS (replay_users)',
	'CREATE TABLE a PARTITION OF replay_other.parent DEFAULT',
	'CREATE TABLE a (a integer); ALTER TABLE replay_other.parent ATTACH PARTITION a DEFAULT',
	'CREATE TRIGGER t BEFORE INSERT ON replay_users FOR EACH ROW EXECUTE FUNCTION f()',
	'CREATE RULE r AS ON INSERT TO replay_users DO NOTHING',
	'CREATE POLICY p ON replay_users USING (true)',
	'COMMENT ON TABLE replay_users IS ''x''',
	'COMMENT ON ROLE pg_monitor IS ''x''',
	'TRUNCATE own, replay_users',
	'REFRESH MATERIALIZED VIEW replay_users',
	'INSERT INTO replay_users (name) VALUES (''x'')',
	'UPDATE replay_users SET name = ''x''',
	'WITH d AS (DELETE FROM replay_users RETURNING 1) SELECT * FROM d',
	'EXPLAIN ANALYZE DELETE FROM replay_users',
	'INSERT INTO pg_class SELECT * FROM pg_class',
	'SELECT nextval(''replay_users_id_seq'')',
	'DO $b$ BEGIN PERFORM setval(''replay_users_id_seq'', 99); END $b$',
	'SELECT setval(pg_get_serial_sequence(''replay_users'', ''id''), 99)',
	'SELECT setval(oid::regclass, 99) FROM pg_class WHERE relname = ''replay_users_id_seq''',
	'CREATE TABLE a (i integer DEFAULT nextval(''replay_users_id_seq''), j integer); INSERT INTO a (j) VALUES (1)',
	'INSERT INTO own VALUES (1); ALTER TABLE own ADD COLUMN i integer DEFAULT nextval(''replay_users_id_seq'')'
]) AS ddl;

/* Statements that reach further. */
SELECT ddl, try(ddl) FROM unnest(ARRAY[
	'ROLLBACK', 'SAVEPOINT s', 'COMMIT; ROLLBACK TO s',
	'SET search_path = public', 'SET LOCAL search_path = public', 'RESET search_path',
	'SELECT pg_catalog.set_config(''search_path'', '''', false)',
	'DO $b$ BEGIN PERFORM set_config(''search_path'', ''public'', true); CREATE TABLE a (i integer); END $b$',
	'SET ROLE pg_monitor', 'SET SESSION AUTHORIZATION pg_monitor',
	'CREATE EXTENSION replay_nosuch', 'DROP EXTENSION citext', 'ALTER EXTENSION citext UPDATE',
	'CREATE SCHEMA s', 'CREATE SCHEMA IF NOT EXISTS s', 'DROP SCHEMA replay_other CASCADE',
	'ALTER SCHEMA replay_other RENAME TO x', 'ALTER TABLE own SET SCHEMA public',
	'COPY own FROM STDIN', 'COPY own TO ''/nowhere''', 'COPY own FROM PROGRAM ''true''',
	'CREATE ROLE replay_role', 'ALTER ROLE pg_monitor SUPERUSER', 'DROP ROLE pg_monitor',
	'ALTER ROLE pg_monitor RENAME TO x', 'REASSIGN OWNED BY pg_monitor TO pg_monitor', 'DROP OWNED BY pg_monitor',
	'CREATE DATABASE d', 'ALTER DATABASE template1 SET work_mem = 64', 'DROP DATABASE template1',
	'CREATE TABLESPACE t LOCATION ''/nowhere''', 'ALTER SYSTEM SET work_mem = 64', 'LOAD ''citext''',
	'LISTEN a', 'NOTIFY a', 'VACUUM own', 'CLUSTER own USING own_pkey', 'CHECKPOINT',
	'CREATE PUBLICATION p', 'CREATE SUBSCRIPTION s CONNECTION '''' PUBLICATION p',
	'CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f()',
	'CREATE FOREIGN DATA WRAPPER f', 'CREATE SERVER s FOREIGN DATA WRAPPER f', 'CREATE FOREIGN TABLE f (a integer) SERVER s',
	'CREATE CAST (text AS integer) WITH INOUT', 'PREPARE p AS SELECT 1', 'DISCARD ALL',
	'SELECT pg_advisory_lock(1)', 'SELECT pg_reload_conf()',
	'SELECT deploydb.register_migration(''r2'', ''SELECT 1'')'
]) AS ddl;

/* DDL that fails keeps its error, and says where. */
SELECT ddl, try(ddl) FROM unnest(ARRAY[
	'CREATE TABLE a (', E'SELECT 1;\n\n-- comment\nSELECT nosuch', E'SELECT 1;\nSELECT 1 +\n  nosuch',
	'CREATE TABLE own (i integer)', 'SELECT 1/0', 'CREATE TEMPORARY TABLE t (i integer)',
	E'DO $b$\nBEGIN\nRAISE EXCEPTION ''raised'';\nEND $b$',
	'CREATE TYPE e AS ENUM (''a''); ALTER TABLE own ALTER n TYPE e USING n::e; ALTER TABLE own ALTER n TYPE integer'
]) AS ddl;

/* Nothing is left, neither there nor here. */
SELECT migration FROM deploydb.expected_fact WHERE migration LIKE 'r1%' LIMIT 1;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname LIKE 'deploydb_scratch%';
SELECT last_value, is_called FROM replay_users_id_seq;
SELECT count(*) AS advisory_locks FROM pg_locks WHERE locktype = 'advisory';
SELECT current_user = session_user AS same_user, current_setting('search_path') AS path,
	current_setting('client_min_messages') AS messages;

/* Chains over several migrations. */
SELECT deploydb.register_migration('r2_enum', $$CREATE TYPE state AS ENUM ('NEW')$$);
SELECT deploydb.register_migration('r3_value', $$ALTER TYPE state ADD VALUE 'DONE'$$);
SELECT deploydb.register_migration('r4_use', $$CREATE TABLE job (id text, state state NOT NULL DEFAULT 'DONE')$$) > 0 AS registered;
SELECT deploydb.register_migration('r5_alter', $$ALTER TABLE job ALTER id TYPE integer USING id::integer, ADD CONSTRAINT job_id_key UNIQUE (id)$$) > 0 AS registered;
SELECT deploydb.register_migration('r6_drop', $$ALTER TABLE job DROP state; DROP TYPE state; DROP TABLE own$$) > 0 AS registered;
SELECT migration, object_type, object, property, value
FROM deploydb.expected_fact
WHERE migration > 'r1'
ORDER BY migration, object_type COLLATE "C", object COLLATE "C", property COLLATE "C";

/* A value used in the migration that adds it fails as it does in real life. */
SELECT deploydb.forget_migration(m) FROM unnest(ARRAY['r6_drop', 'r5_alter', 'r4_use', 'r3_value', 'r2_enum']) AS m;
SELECT deploydb.register_migration('r0_state', $$CREATE TYPE state AS ENUM ('NEW')$$);
SELECT try($$ALTER TYPE state ADD VALUE 'DONE'; CREATE TABLE a (s state DEFAULT 'DONE')$$);

/* What another migration builds upon cannot be forgotten. */
SELECT deploydb.register_migration('r2_job', 'CREATE TABLE job (state state)') > 0 AS registered;
SELECT deploydb.forget_migration('r0_state');
SELECT deploydb.forget_migration('r2_job');

/*
 * Registrants with different rights: all is replayed as the one with the
 * least, who needs no right on the database.
 */
CREATE ROLE regress_deploydb_alice;
CREATE ROLE regress_deploydb_bob;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_deploydb_alice REVOKE ALL ON SCHEMAS FROM regress_deploydb_alice;
SELECT deploydb.grant_access('regress_deploydb_alice', 'operator');
SELECT deploydb.grant_access('regress_deploydb_bob', 'operator');
SET ROLE regress_deploydb_alice;
SELECT deploydb.register_migration('r2_alice', 'ALTER TABLE own ADD COLUMN x integer');
RESET ROLE;
SELECT try('DO $b$ BEGIN RAISE EXCEPTION ''%'', current_user; END $b$');
SELECT try('SELECT pg_read_file(''PG_VERSION'')');
SET ROLE regress_deploydb_bob;
SELECT try('SELECT 1');
RESET ROLE;
SELECT deploydb.forget_migration('r2_alice');
ALTER DEFAULT PRIVILEGES FOR ROLE regress_deploydb_alice GRANT ALL ON SCHEMAS TO regress_deploydb_alice;
DROP OWNED BY regress_deploydb_alice, regress_deploydb_bob;
DROP ROLE regress_deploydb_alice, regress_deploydb_bob;

/* In a serializable transaction; the caller catches the error. */
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT try('CREATE TABLE a (i integer); SELECT 1/0');
SELECT try('CREATE TABLE a (i integer)');
COMMIT;

/* Event triggers neither fire nor see anything of a replay. */
CREATE TABLE public.replay_seen (seen text);
CREATE FUNCTION public.replay_commands() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.replay_seen
		SELECT tg_tag || ': ' || object_identity FROM pg_event_trigger_ddl_commands();
END
$$;
CREATE FUNCTION public.replay_drops() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.replay_seen
		SELECT tg_tag || ': ' || object_identity FROM pg_event_trigger_dropped_objects();
END
$$;
CREATE FUNCTION public.replay_raise() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'event trigger fired for %', tg_tag;
END
$$;
CREATE EVENT TRIGGER replay_start ON ddl_command_start
	WHEN tag IN ('CREATE TABLE', 'ALTER TABLE', 'DROP TABLE')
	EXECUTE FUNCTION public.replay_raise();
CREATE EVENT TRIGGER replay_rewrite ON table_rewrite EXECUTE FUNCTION public.replay_raise();
CREATE EVENT TRIGGER replay_commands ON ddl_command_end EXECUTE FUNCTION public.replay_commands();
CREATE EVENT TRIGGER replay_drops ON sql_drop EXECUTE FUNCTION public.replay_drops();
ALTER EVENT TRIGGER replay_start ENABLE ALWAYS;
ALTER EVENT TRIGGER replay_commands ENABLE ALWAYS;
ALTER EVENT TRIGGER replay_drops ENABLE ALWAYS;
CREATE TABLE public.replay_outer AS
	SELECT try($$
		CREATE TABLE a (i integer);
		INSERT INTO a VALUES (1);
		ALTER TABLE a ALTER i TYPE bigint;
		DO $b$ BEGIN CREATE TABLE b (i integer); DROP TABLE b; END $b$;
		DROP TABLE a;
	$$);
SELECT * FROM public.replay_outer;
SELECT seen FROM public.replay_seen;

/* The same for the built-in migration, inside CREATE EXTENSION. */
DROP EVENT TRIGGER replay_start;
DROP EXTENSION deploydb;
CREATE EXTENSION deploydb;
SELECT count(*) > 0 AS seen,
	count(*) FILTER (WHERE seen ~ 'scratch|decision_insights') AS of_the_replay
FROM public.replay_seen;
SELECT count(*) > 0 AS derived
FROM deploydb.expected_fact
WHERE migration = '20251203071615_add_decision_insights' AND object_type = 'table';

DROP EVENT TRIGGER replay_rewrite;
DROP EVENT TRIGGER replay_commands;
DROP EVENT TRIGGER replay_drops;
DROP FUNCTION public.replay_raise(), public.replay_commands(), public.replay_drops(), public.try(text);
DROP TABLE public.replay_seen, public.replay_outer, public.replay_users, replay_other.parent;
DROP SCHEMA replay_other;
DROP EXTENSION deploydb;
DROP EXTENSION citext;
