-- Rehearsals of a rollback, and reasons for one.
\set QUIET on
SET client_min_messages = error;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SELECT * FROM no_plan();

SELECT ok(NOT deploydb.rollback_rehearsed('decision_insights'), 'nothing is rehearsed yet');
SELECT is((SELECT verdict FROM deploydb.status_of_rollback()), 'warning', 'which the overview says');
SELECT is((SELECT next_step FROM deploydb.status_of_rollback()), $$SELECT * FROM deploydb.rehearse_rollback('add_decision_insights');$$,
	'with the statement to run');
SELECT throws_ok('SELECT deploydb.rehearse_rollback(NULL)', '22004', NULL, 'a migration is named');
SELECT throws_ok('SELECT deploydb.rehearse_rollback(''no_such'')', '42704', NULL, 'one that is known');

SELECT results_eq('SELECT step, status, detail FROM deploydb.rehearse_rollback(''decision_insights'')', $$
	VALUES ('migrate', 'ok', '74 facts'), ('verify', 'ok', 'as expected'), ('sample', 'ok', 'no table is there yet'), ('roll back', 'ok', NULL),
		('nothing is left', 'ok', 'as before the migration'), ('migrate again', 'ok', '74 facts'), ('verify again', 'ok', 'as the first time')$$,
	'it can be rehearsed before it is deployed');
SELECT ok(deploydb.rollback_rehearsed('decision_insights'), 'and is, then');
SELECT is((SELECT verdict FROM deploydb.status_of_rollback()), 'ok', 'which the overview says, too');

-- With rows
SELECT ddl FROM deploydb.builtin_migrations() \gexec
INSERT INTO decision_insights SELECT g, g, 'u', '{}', '{}', '{}', 'h', now(), now() FROM generate_series(1, 1500) g;
CREATE TEMPORARY TABLE before AS SELECT relfilenode, reltuples FROM pg_class WHERE oid = 'decision_insights'::regclass;
SELECT is((SELECT detail FROM deploydb.rehearse_rollback('decision_insights') WHERE step = 'sample'), 'public.decision_insights: 1000 rows',
	'with a sample of the rows');
SELECT is((SELECT count(*) FROM decision_insights), 1500::bigint, 'the real table stays as it is');
SELECT is(c.relfilenode, b.relfilenode, 'even its file') FROM pg_class c, before b WHERE c.oid = 'decision_insights'::regclass;
SELECT is((SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'deploydb_scratch%'), 0::bigint, 'of the scratch schema nothing stays');
SELECT is((SELECT count(*) FROM deploydb.rehearsal WHERE passed), 2::bigint, 'each is recorded');
SELECT is((SELECT count(*) FROM deploydb.log_entry WHERE action = 'rollback rehearsed' AND status = 'ok'), 2::bigint, 'and logged');
INSERT INTO decision_insights SELECT 'more', 'more', 'u', '{}', '{}', '{}', 'h', now(), now();
SELECT ok(deploydb.rollback_rehearsed('decision_insights'), 'rows change nothing of it');

-- Scripts that are not good enough
CREATE FUNCTION rehearse(ddl text, script text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	PERFORM deploydb.register_migration('20260101000000_odd', ddl, NULL, script);
	SELECT string_agg(concat_ws(': ', step, detail), ', ') INTO said FROM deploydb.rehearse_rollback('odd') WHERE status <> 'ok';
	RETURN said;
END $$;
SELECT is(rehearse('CREATE TYPE "Mood ""x" AS ENUM (''a''); CREATE TABLE "T t" (id "Mood ""x")', 'DROP TABLE "T t"; DROP TYPE "Mood ""x"'), NULL,
	'a complete one passes, with names that need quotes');
CREATE TYPE "Mood ""x" AS ENUM ('a');
CREATE TABLE "T t" (id "Mood ""x");
INSERT INTO "T t" VALUES ('a');
SELECT is((SELECT string_agg(detail, '') FROM deploydb.rehearse_rollback('odd') WHERE step = 'sample'), 'public."T t": 1 rows', 'rows of its own types, too');
SELECT is(rehearse('CREATE TABLE a (id integer); CREATE TABLE b (id integer)', 'DROP TABLE a'), 'migrate again: relation "b" already exists',
	'one that forgets a table does not');
SELECT ok(NOT deploydb.rollback_rehearsed('odd'), 'so it is not rehearsed');
SELECT is(rehearse('CREATE TABLE a (id integer); CREATE TABLE IF NOT EXISTS b (id integer)', 'DROP TABLE a'), 'nothing is left: column b.id: left over; table b: left over',
	'even where the migration would run again');
SELECT is(rehearse('CREATE TABLE a (id integer); CREATE VIEW v AS SELECT * FROM a', 'DROP TABLE a; DROP VIEW v'),
	'roll back: cannot drop table a because other objects depend on it', 'nor does one in the wrong order');
SELECT is(rehearse('ALTER TABLE decision_insights ADD COLUMN more integer', 'ALTER TABLE decision_insights DROP COLUMN more'), NULL,
	'one that changes an earlier migration''s table passes');
SELECT is(rehearse('CREATE TABLE child (id text REFERENCES decision_insights (decision_id))', 'DROP TABLE child'), NULL, 'and one that refers to it');
CREATE TABLE child (id text REFERENCES decision_insights (decision_id));
INSERT INTO child VALUES ('more');
SELECT is((SELECT detail FROM deploydb.rehearse_rollback('odd') WHERE step = 'sample'), 'public.child: left out, as it refers to other tables',
	'whose rows would need others');
SELECT ok(deploydb.rollback_rehearsed('odd'), 'it is rehearsed');
SELECT isnt(deploydb.register_migration('20260101000000_odd', 'CREATE TABLE child (id text REFERENCES decision_insights (decision_id))', NULL,
	'DROP TABLE IF EXISTS child'), 0, 'another script');
SELECT ok(NOT deploydb.rollback_rehearsed('odd'), 'is not the one that was rehearsed');

-- Reasons
SELECT is((SELECT string_agg(trigger || ' ' || verdict, ', ') FROM deploydb.rollback_advice()),
	'error_rate not_measured, api_down not_measured, data_lost not_measured, users not_measured', 'without data there is no reason');
INSERT INTO deploydb.metric_latest (metric, series, at, value)
VALUES ('rollback.error_rate', 'http', now(), 0.07), ('api.up', '', now(), 0), ('insight.coverage', '', now(), 0.5);
INSERT INTO deploydb.metric_sample (metric, series, at, value)
VALUES ('rollback.error_rate', 'http', now() - interval '9 minutes', 0.06), ('rollback.error_rate', 'http', now() - interval '10 minutes', 0.04),
	('api.up', '', now() - interval '7 minutes', 1), ('api.up', '', now() - interval '6 minutes', 0);
SELECT deploydb.deployment_start('v1') \g /dev/null
SELECT deploydb.attest('rollback.users', true, 'they call') \g /dev/null
SELECT results_eq('SELECT trigger, verdict, date_trunc(''minute'', now() - since)::text FROM deploydb.rollback_advice()', $$
	VALUES ('error_rate', 'met', '00:09:00'), ('api_down', 'met', '00:06:00'), ('data_lost', 'met', '00:00:00'), ('users', 'met', '00:00:00')$$,
	'all four, and since when');
UPDATE deploydb.metric_latest SET value = 0.05 WHERE metric = 'rollback.error_rate';
UPDATE deploydb.metric_sample SET at = now() - interval '4 minutes' WHERE metric = 'api.up' AND value = 0;
UPDATE deploydb.metric_latest SET value = 0.99 WHERE metric = 'insight.coverage';
SELECT deploydb.attest('rollback.users', false, 'all is well') \g /dev/null
SELECT is((SELECT string_agg(verdict, ', ') FROM deploydb.rollback_advice()), 'not_met, not_met, not_met, not_met', 'none of them');

TRUNCATE decision_insights CASCADE;
SELECT is((SELECT string_agg(concat_ws(' ', command, object), ', ' ORDER BY object) FROM deploydb.definition_change WHERE command ~ 'TRUNCATE'),
	'TRUNCATE TABLE public.child, TRUNCATE TABLE public.decision_insights', 'what is truncated is noted, by CASCADE, too');
SELECT is((SELECT verdict FROM deploydb.rollback_advice() WHERE trigger = 'data_lost'), 'met', 'and is a reason');
CREATE TABLE unwatched (id integer);
TRUNCATE unwatched;
SELECT is((SELECT count(*) FROM deploydb.definition_change WHERE command ~ 'TRUNCATE'), 2::bigint, 'tables that are not watched are nobody''s business');
CREATE FUNCTION empties() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN TRUNCATE unwatched; RETURN NULL; END';
CREATE TRIGGER empties BEFORE TRUNCATE ON decision_insights EXECUTE FUNCTION empties();
TRUNCATE decision_insights CASCADE;
SELECT is((SELECT count(*) FROM deploydb.definition_change WHERE command ~ 'TRUNCATE'), 4::bigint, 'a trigger that truncates another one hides none');

SELECT * FROM finish();
