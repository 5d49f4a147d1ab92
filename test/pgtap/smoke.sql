-- deploydb.smoke_test(): what it writes, as whom, what it notices, and that
-- nothing stays.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION dblink;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_owner;
CREATE ROLE deploydb_test_app LOGIN;
CREATE ROLE deploydb_test_operator;
GRANT CREATE ON SCHEMA public TO deploydb_test_owner, deploydb_test_operator;

SELECT dblink_connect('other', format('host=%s port=%s dbname=%s user=%s',
	split_part(current_setting('unix_socket_directories'), ',', 1),
	current_setting('port'), current_database(), current_user)) AS connected
\gset

-- The steps' statuses in one text, such as "ok ok ok ok ok".
CREATE FUNCTION statuses(target text DEFAULT 'decision_insights') RETURNS text LANGUAGE sql
AS $$ SELECT string_agg(s.status, ' ') FROM deploydb.smoke_test(target) s $$;
CREATE FUNCTION detail(target text, step text) RETURNS text LANGUAGE sql
AS $$ SELECT s.detail FROM deploydb.smoke_test(target) s WHERE s.step = detail.step $$;

SELECT plan(63);

SELECT is(statuses(), 'failed skipped skipped skipped skipped', 'no table: the write fails');
SELECT is(detail('decision_insights', 'write'), '42P01: table decision_insights does not exist', 'and says why');

SELECT k.ddl FROM deploydb.known_migration k WHERE k.built_in \gexec
ALTER TABLE decision_insights OWNER TO deploydb_test_owner;

--
-- The migrated table
--
SELECT results_eq(
	$$ SELECT step, status, detail FROM deploydb.smoke_test() $$,
	$$ VALUES ('write', 'ok', 'as role deploydb_test_owner, rolled back at the end'),
		('read back', 'ok', 'by decision_insights_decision_id_key (decision_id)'),
		('duplicate refused', 'ok', 'by decision_insights_decision_id_key'),
		('NULL refused', 'ok', 'in 7 of 9 columns'),
		('JSON round trip', 'ok', 'state_snapshot, difficulty_factors') $$,
	'every step succeeds on the migrated table');
SELECT is(count(*), 0::bigint, 'nothing stays') FROM decision_insights;
SELECT ok(bool_and(s.elapsed_ms >= 0), 'every step has its time') FROM deploydb.smoke_test() s;
SELECT is(statuses(NULL), 'ok ok ok ok ok', 'NULL is the default');
SELECT is(statuses('public.decision_insights'), 'ok ok ok ok ok', 'with its schema');
SELECT is(statuses('PUBLIC."decision_insights"'), 'ok ok ok ok ok', 'by the rules of identifiers');
SET search_path = pg_catalog;
SELECT public.statuses() AS statuses \gset
SET search_path = public;
SELECT is(:'statuses'::text, 'ok ok ok ok ok', 'public is looked at where the search_path has no such table');
RESET search_path;
SELECT throws_ok($$ SELECT * FROM deploydb.smoke_test('a.b.c') $$, '42602', NULL, 'a name of three parts is an error');
SELECT throws_ok($$ SELECT * FROM deploydb.smoke_test('a b') $$, '42602', NULL, 'so is what is no name');
SELECT throws_ok($$ SELECT * FROM deploydb.smoke_test('') $$, '42602', NULL, 'and the empty name');
SELECT throws_ok($$ SELECT * FROM deploydb.smoke_test('x; SELECT 1') $$, '42602', NULL, 'and a statement');
SELECT is(statuses('"x""; SELECT 1 --"'), 'failed skipped skipped skipped skipped', 'a quoted name is but a name');
SELECT is(current_user::text || current_setting('search_path') || current_setting('lock_timeout'),
	session_user::text || '"$user", public' || '0', 'role and settings are the caller''s again');

--
-- The row that is written
--
CREATE SEQUENCE seen_count;
GRANT USAGE ON seen_count TO PUBLIC;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_catalog.nextval('public.seen_count');
	IF (current_user = 'deploydb_test_owner' AND current_setting('search_path') = 'pg_catalog, pg_temp'
		AND NEW.id ~ '^deploydb-smoke-[0-9a-f]{32}$' AND NEW.id <> NEW.decision_id
		AND NEW.triggers = '{}' AND NEW.created_at = CURRENT_TIMESTAMP::timestamp(3)
		AND NEW.updated_at <= CURRENT_TIMESTAMP + interval '1 day'
		AND NEW.state_snapshot #>> '{nested,list,1}' = '2.5'
		AND NEW.state_snapshot ->> 'text' = U&'\6ce8') IS NOT TRUE
	THEN
		RAISE 'unlike what is expected: % by %', NEW, current_user;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER look AFTER INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION look();
SELECT statuses() AS statuses \gset
SELECT is(:'statuses'::text, 'ok ok ok ok ok', 'the row is as expected, and triggers run as for the application');
SELECT is(last_value, 1::bigint, 'one row gets as far as an AFTER trigger, and a sequence remembers it') FROM seen_count;
DROP TRIGGER look ON decision_insights;

--
-- What is wrong with the table
--
CREATE SCHEMA story;
SET search_path = story, public;
CREATE TABLE story.decision_insights (
	id text PRIMARY KEY, decision_id text UNIQUE, user_id text, state_snapshot jsonb,
	difficulty_factors jsonb, triggers text[], feature_vector_hash text, created_at timestamp);
SELECT is(statuses(), 'ok ok ok ok ok', 'the search_path decides: a hand-made table takes the same row');
SELECT is(detail('decision_insights', 'NULL refused'), 'in 1 of 8 columns', 'but refuses fewer NULLs');
SET search_path = public;

CREATE FUNCTION after_change(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	EXECUTE change;
	SELECT string_agg(s.step || ': ' || s.detail, '; ') INTO found
	FROM deploydb.smoke_test() s WHERE s.status <> 'ok';
	RAISE EXCEPTION SQLSTATE 'UNDO0' USING MESSAGE = COALESCE(found, 'ok');
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
	RETURN SQLERRM;
END $$;
SELECT is(after_change('DROP INDEX decision_insights_decision_id_key'), 'ok', 'without the unique index the primary key is gone by');
SELECT is(after_change('DROP INDEX decision_insights_decision_id_key; ALTER TABLE decision_insights DROP CONSTRAINT decision_insights_pkey'),
	'read back: the table has no unique key to go by; duplicate refused: the table has no unique key to go by; JSON round trip: the table has no unique key to go by',
	'without a key what needs one is skipped');
SELECT is(after_change('ALTER TABLE decision_insights ADD needed point NOT NULL'),
	'write: column needed needs a value of a type that deploydb cannot make; read back: nothing was written; duplicate refused: nothing was written; NULL refused: nothing was written; JSON round trip: nothing was written',
	'a value that cannot be made');
SELECT matches(after_change('ALTER TABLE decision_insights ADD CHECK (user_id = ''me'')'),
	'^write: 23514: new row for relation "decision_insights" violates check constraint', 'a CHECK that refuses the made-up row');
SELECT matches(after_change('ALTER TABLE decision_insights ADD FOREIGN KEY (user_id) REFERENCES variant_parent'),
	'^write: 23503: insert or update on table "decision_insights" violates foreign key', 'a reference without a row')
FROM (SELECT dblink_exec('other', 'CREATE TABLE variant_parent (id text PRIMARY KEY)')) made;
SELECT matches(after_change('CREATE RULE nothing AS ON INSERT TO decision_insights DO INSTEAD NOTHING'),
	'read back: 0 rows were found by decision_id, expected 1', 'a rule that swallows the write');
SELECT matches(after_change($$ CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.user_id := ''x''; RETURN NEW; END';
	CREATE TRIGGER fill BEFORE INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION fill() $$),
	'^NULL refused: NULL in column user_id was taken$', 'a trigger that lets NULL through');
SELECT matches(after_change($$ CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.state_snapshot := ''{}''; RETURN NEW; END';
	CREATE TRIGGER fill BEFORE INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION fill() $$),
	'JSON round trip: column state_snapshot came back different$', 'a trigger that changes the JSON');
SELECT is(after_change($$ CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE E''no\x07 more\nsecond line''; END';
	CREATE TRIGGER fill BEFORE INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION fill() $$),
	'write: P0001: no more; read back: nothing was written; duplicate refused: nothing was written; NULL refused: nothing was written; JSON round trip: nothing was written',
	'a message is one line without control characters');
SELECT is(after_change($$ CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN CREATE TEMP TABLE x (); RETURN NEW; END';
	CREATE TRIGGER fill BEFORE INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION fill() $$) LIKE 'write: 42501: cannot create temporary table%',
	true, 'it is security-restricted');
SELECT is(statuses('deploydb.known_migration'), 'failed skipped skipped skipped skipped', 'a view is no table');

--
-- Types
--
CREATE TYPE mood AS ENUM ('calm', 'tense');
ALTER TYPE mood ADD VALUE 'asleep' BEFORE 'calm';
CREATE DOMAIN short AS varchar(3);
CREATE DOMAIN doc AS jsonb CHECK (VALUE ? 'deploydb');
CREATE DOMAIN positive AS integer CHECK (VALUE >= 0);
CREATE TABLE "Many ""Types""" (
	"select" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	a uuid NOT NULL, b boolean NOT NULL, c smallint NOT NULL UNIQUE, d numeric(5, 2) NOT NULL UNIQUE,
	e real NOT NULL, f timestamptz(0) NOT NULL, g date NOT NULL, h time NOT NULL, i interval NOT NULL,
	j bytea NOT NULL, k mood NOT NULL, l short NOT NULL, m doc NOT NULL, n positive NOT NULL,
	o char(2) NOT NULL, p text[] NOT NULL, q int4range NOT NULL, r int4multirange NOT NULL,
	s inet NOT NULL, t bit(4) NOT NULL, u varbit NOT NULL, v name NOT NULL, w json NOT NULL,
	x timetz NOT NULL, y mood[] NOT NULL, z tsvector NOT NULL, aa money NOT NULL, ab "char" NOT NULL,
	ac numeric NOT NULL, ad double precision NOT NULL, dropped text NOT NULL, ae point,
	af text GENERATED ALWAYS AS (l::text || 'x') STORED, ag serial, ah numeric(2, 2) NOT NULL,
	UNIQUE (a, "select"));
ALTER TABLE "Many ""Types""" DROP dropped;
SELECT is(string_agg(s.step || ' ' || s.status, ', ') || ' ' || max(s.detail) FILTER (WHERE s.step = 'read back'),
	'write ok, read back ok, duplicate refused ok, NULL refused ok, JSON round trip ok by "Many ""Types""_c_key" (c)',
	'a value for every usual type')
FROM deploydb.smoke_test('"Many ""Types"""') s;
SELECT is(detail('"Many ""Types"""', 'JSON round trip'), 'm, w', 'json, and a domain over jsonb');
ALTER TABLE "Many ""Types""" DROP CONSTRAINT "Many ""Types""_c_key", DROP CONSTRAINT "Many ""Types""_d_key";
SELECT is(detail('"Many ""Types"""', 'read back'), 'by "Many ""Types""_a_select_key" ("select", a)', 'a key with a column that the table fills');
SELECT is(statuses('"Many ""Types"""'), 'ok ok ok ok ok', 'works, too');
SELECT is(count(*), 0::bigint, 'nothing stays') FROM "Many ""Types""";

CREATE TABLE only_defaults (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now());
SELECT is(statuses('only_defaults'), 'ok ok ok skipped skipped', 'a table that fills every column itself');
CREATE TABLE parted (id text, at timestamp NOT NULL, doc jsonb NOT NULL DEFAULT '{}', PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
SELECT is(statuses('parted'), 'skipped skipped skipped skipped skipped', 'a partitioned table without a partition for now');
CREATE TABLE parted_all PARTITION OF parted DEFAULT;
SELECT is(statuses('parted'), 'ok ok ok ok ok', 'a partitioned table');
CREATE TABLE deferred (id text UNIQUE DEFERRABLE INITIALLY DEFERRED, other text NOT NULL);
SELECT is(statuses('deferred'), 'ok skipped skipped ok skipped', 'a deferrable key does not refuse at once, so it is none to go by');
CREATE TABLE deferred_check (id text PRIMARY KEY, parent text NOT NULL REFERENCES variant_parent DEFERRABLE INITIALLY DEFERRED);
SELECT matches(detail('deferred_check', 'write'), '^23503: ', 'a deferred constraint is checked at once');
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TABLE child_late (id text PRIMARY KEY);
CREATE CONSTRAINT TRIGGER "Later" AFTER INSERT ON child_late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later();
SELECT is(statuses('child_late'), 'ok ok ok ok skipped', 'so is a constraint trigger');
CREATE TABLE child (id text PRIMARY KEY, parent text REFERENCES variant_parent);
SELECT is(statuses('child'), 'ok ok ok ok skipped', 'a nullable reference stays NULL');

--
-- Roles
--
SET deploydb.app_role = 'deploydb_test_app';
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
SELECT is(detail('decision_insights', 'write'),
	'42501: permission denied for schema public; run: GRANT USAGE ON SCHEMA public TO deploydb_test_app;', 'the application''s role lacks the schema');
GRANT USAGE ON SCHEMA public TO deploydb_test_app, deploydb_test_owner, deploydb_test_operator;
SELECT is(detail('decision_insights', 'write'),
	'42501: permission denied for table decision_insights; run: GRANT SELECT, INSERT, UPDATE ON TABLE public.decision_insights TO deploydb_test_app;',
	'it lacks the table');
SELECT is(statuses(), 'failed skipped skipped skipped skipped', 'and nothing else is tried');
GRANT INSERT ON decision_insights TO deploydb_test_app;
SELECT is(statuses(), 'ok failed ok ok failed', 'INSERT alone writes, and does not read');
GRANT SELECT, UPDATE ON decision_insights TO deploydb_test_app;
SELECT is(statuses(), 'ok ok ok ok ok', 'with its rights it writes');
SELECT is(detail('decision_insights', 'write'), 'as role deploydb_test_app, rolled back at the end', 'and the detail says as whom');
ALTER TABLE decision_insights ENABLE ROW LEVEL SECURITY;
SELECT matches(detail('decision_insights', 'write'), '^42501: new row violates row-level security policy', 'row security without a policy');
ALTER TABLE decision_insights DISABLE ROW LEVEL SECURITY;
SET deploydb.app_role = 'no such role';
SELECT is(detail('decision_insights', 'write'), 'role "no such role", named by deploydb.app_role, does not exist', 'a role that is not there');
SET deploydb.app_role = 'deploydb_test_app';

SET ROLE deploydb_test_operator;
SELECT throws_ok($$ SELECT * FROM deploydb.smoke_test() $$, '42501', NULL, 'not everybody may call it');
RESET ROLE;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') AS granted \gset
SET ROLE deploydb_test_operator;
SELECT is(statuses(), 'ok ok ok ok ok', 'an operator may');
CREATE TABLE trap (id text PRIMARY KEY);
GRANT INSERT ON trap TO PUBLIC;
SELECT throws_ok($$ SELECT * FROM deploydb.smoke_test('trap') $$, '42501', NULL, 'but not make the application''s role run his own triggers');
SELECT is(current_user::text, 'deploydb_test_operator', 'and is himself again');
RESET ROLE;
RESET deploydb.app_role;
SET ROLE deploydb_test_operator;
SELECT is(detail('trap', 'write'), 'as role deploydb_test_operator, rolled back at the end', 'as himself he may');
RESET ROLE;

--
-- When nothing can be written
--
SELECT dblink_exec('other', 'BEGIN; LOCK TABLE public.decision_insights IN SHARE MODE') AS locked \gset
SET deploydb.lock_timeout = '20ms';
SELECT is(statuses(), 'skipped skipped skipped skipped skipped', 'a locked table is skipped');
SELECT is(detail('decision_insights', 'write'), 'table decision_insights is locked by another session', 'and says so');
SELECT dblink_exec('other', 'ROLLBACK') AS unlocked \gset
RESET deploydb.lock_timeout;
BEGIN;
SELECT statuses() AS statuses \gset
SELECT is(count(*), 0::bigint, 'no lock stays until the end of the transaction') FROM pg_locks
WHERE relation = 'decision_insights'::regclass AND mode = 'RowExclusiveLock';
COMMIT;
BEGIN READ ONLY;
SELECT string_agg(DISTINCT s.status || ': ' || s.detail, '') AS detail FROM deploydb.smoke_test() s \gset
COMMIT;
SELECT is(:'detail'::text, 'skipped: this transaction is read-only', 'in a read-only transaction every step is skipped');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT statuses() AS statuses \gset
COMMIT;
SELECT is(:'statuses'::text, 'ok ok ok ok ok', 'in a serializable one it works');

-- A cancelled test leaves role and settings as they were, also where the error is caught.
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_sleep(600); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION slow();
SET statement_timeout = '200ms';
DO $$
BEGIN
	PERFORM * FROM deploydb.smoke_test();
	RAISE EXCEPTION 'not cancelled';
EXCEPTION WHEN query_canceled THEN
	PERFORM set_config('test.after_cancel', current_user || ' ' || current_setting('search_path'), false);
END $$;
RESET statement_timeout;
SELECT is(current_setting('test.after_cancel'), session_user || ' public', 'a cancel request ends all of it, cleanly');
DROP TRIGGER slow ON decision_insights;
SELECT is(statuses(), 'ok ok ok ok ok', 'and the next test works');
SELECT is(count(*), 0::bigint, 'nothing has stayed') FROM decision_insights;

SELECT dblink_disconnect('other') AS disconnected \gset
DROP OWNED BY deploydb_test_owner, deploydb_test_app, deploydb_test_operator CASCADE;
DROP ROLE deploydb_test_owner, deploydb_test_app, deploydb_test_operator;
SELECT * FROM finish();
