--
-- deploydb_verify_migration() and its kin: what they answer, and in which words
--
CREATE EXTENSION deploydb;

-- what is missing
SELECT deploydb_verify_migration();

-- the migration applied by hand; nothing more to say
SET client_min_messages = warning;
SELECT ddl FROM deploydb.builtin_migrations() \gexec
RESET client_min_messages;
SELECT deploydb_verify_migration();
SELECT deploydb_verify_migration('add_decision_insights', 'public');
SELECT deploydb.assert_migration('insights');
SELECT migration, status, severity, object_type, expected, advice
	FROM deploydb.migration_report();

-- the old table that somebody made by hand, and declared applied
BEGIN;
DROP TABLE decision_insights;
CREATE TABLE decision_insights (
	id text PRIMARY KEY,
	decision_id text UNIQUE,
	user_id text,
	state_snapshot jsonb,
	difficulty_factors jsonb,
	triggers text,
	feature_vector_hash text,
	created_at timestamp
);
SELECT deploydb_verify_migration();
SELECT status, severity, object_type, object, property
	FROM deploydb.migration_report();
ROLLBACK;

-- names
SELECT deploydb_verify_migration('no_such_migration');
SELECT deploydb_verify_migration('');
SELECT deploydb_verify_migration('add_decision_insights', 'no_such_schema');
SELECT deploydb.register_migration('20260101_add_decision_insights', 'CREATE TABLE another (id int)');
SELECT deploydb_verify_migration('add_decision_insights');
SELECT deploydb.forget_migration('20260101_add_decision_insights');

-- an error for scripts
BEGIN;
ALTER TABLE decision_insights ALTER user_id DROP NOT NULL;
DO $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	PERFORM deploydb.assert_migration();
EXCEPTION WHEN SQLSTATE 'ZD001' THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE NOTICE '% | % | % | %', state, message, detail, hint;
END $$;
ROLLBACK;

-- in another schema than expected
BEGIN;
CREATE SCHEMA other;
ALTER TABLE decision_insights SET SCHEMA other;
SELECT status, object, advice FROM deploydb.migration_report();
SELECT deploydb_verify_migration(NULL, 'other');
SET LOCAL search_path = other;
SELECT deploydb_verify_migration();
ROLLBACK;

-- more than twenty
BEGIN;
DO $$ BEGIN
	FOR i IN 1..25 LOOP
		EXECUTE format('ALTER TABLE decision_insights ADD COLUMN more%s text NOT NULL', i);
	END LOOP;
END $$;
SELECT deploydb_verify_migration();
ROLLBACK;

-- NULL where it could not be found out
BEGIN;
CREATE ROLE regress_deploydb_outsider;
GRANT EXECUTE ON FUNCTION deploydb_verify_migration(text, text) TO regress_deploydb_outsider;
REVOKE ALL ON decision_insights FROM PUBLIC;
SET LOCAL ROLE regress_deploydb_outsider;
SELECT deploydb_verify_migration();
ROLLBACK;

-- settings of the session make no difference
CREATE TABLE fingerprint AS
	SELECT deploydb.migration_fingerprint('add_decision_insights') AS here;
SET search_path = pg_catalog;
SET DateStyle = 'German';
SET IntervalStyle = 'iso_8601';
SET TimeZone = 'Asia/Shanghai';
SET bytea_output = 'escape';
SET extra_float_digits = 3;
SET quote_all_identifiers = on;
SELECT deploydb.migration_fingerprint('add_decision_insights', 'public')
	= (SELECT here FROM public.fingerprint) AS same;
SELECT deploydb_verify_migration(NULL, 'public');
SHOW DateStyle;
SHOW search_path;
RESET ALL;
SELECT here ~ '^deploydb:1:\d+:sha256:[0-9a-f]{64}$' FROM fingerprint;

-- every transaction that can be had
BEGIN READ ONLY; SELECT deploydb_verify_migration(); COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT deploydb_verify_migration(); COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT deploydb_verify_migration(); COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SELECT deploydb_verify_migration(); COMMIT;

-- a row of history whenever something changes, and only then
SELECT outcome, errors, warnings FROM deploydb.verification_history ORDER BY id;
SELECT deploydb_verify_migration();
ALTER TABLE decision_insights ADD COLUMN more text;
SELECT deploydb_verify_migration();
SELECT deploydb_verify_migration();
ALTER TABLE decision_insights DROP COLUMN more;
SELECT deploydb_verify_migration();
SELECT outcome, errors, warnings FROM deploydb.verification_history ORDER BY id;

-- accepted, until a time
ALTER TABLE decision_insights ALTER user_id DROP NOT NULL;
SELECT deploydb.accept_deviation('add_decision_insights', 'column', 'decision_insights.user_id', 'not_null', 'imported users have none');
SELECT deploydb_verify_migration();
SELECT status, severity, object, regexp_replace(advice, '\d{4}-\d\d-\d\d', 'DATE') AS advice
	FROM deploydb.migration_report();
UPDATE deploydb.acceptance SET until = now() - interval '1 second';
SELECT deploydb_verify_migration();
\set VERBOSITY terse
SELECT deploydb.accept_deviation('add_decision_insights', 'column', 'decision_insights.user_id', 'not_null', 'again', now() - interval '1 day');
\set VERBOSITY default
SELECT deploydb.accept_deviation('add_decision_insights', 'column', 'decision_insights.user_id', 'not_null', 'once more', 'infinity');
SELECT deploydb_verify_migration();
SELECT deploydb.revoke_acceptance('add_decision_insights', 'column', 'decision_insights.user_id', 'not_null');
SELECT deploydb.revoke_acceptance('add_decision_insights', 'column', 'decision_insights.user_id', 'not_null');
ALTER TABLE decision_insights ALTER user_id SET NOT NULL;
SELECT deploydb.accept_deviation('add_decision_insights', 'column', 'decision_insights.user_id', 'not_null', E' \t\n');

-- accepted ahead, or misspelt: kept, but not silently
SELECT deploydb.accept_deviation('insights', 'column', 'decision_insight.user_id', 'not_null', 'misspelt');
SELECT deploydb.accept_deviation('insights', 'column', 'decision_insights.more', 'exists', 'ahead');
ALTER TABLE decision_insights ADD COLUMN more text NOT NULL;
SELECT deploydb_verify_migration();
SELECT deploydb.accept_deviation('insights', 'column', 'decision_insights.more', 'exists', 'now it is there');
ALTER TABLE decision_insights DROP COLUMN more;
SELECT object, reason FROM deploydb.acceptance ORDER BY object;
SELECT deploydb.revoke_acceptance('insights', object_type, object, property) FROM deploydb.acceptance;

-- captured here, expected there
CREATE TABLE "Odd.Name" ("select" int PRIMARY KEY, "it's ""this""" text NOT NULL DEFAULT 'x''y');
CREATE TABLE captured AS SELECT deploydb.capture_migration('20270101_odd', '{Odd.Name}') AS document;
SELECT document ->> 'format', document ->> 'verdict', jsonb_array_length(document -> 'facts') FROM captured;
SELECT deploydb.import_migration(document) FROM captured;
SELECT deploydb_verify_migration('odd');
ALTER TABLE "Odd.Name" ALTER "it's ""this""" DROP DEFAULT;
SELECT deploydb_verify_migration('odd');
SELECT fix FROM deploydb.migration_report('odd') \gexec
SELECT deploydb_verify_migration('odd');
SELECT deploydb.import_migration(jsonb_set(document, '{server_version_num}', '130001')) FROM captured;
SET client_min_messages = error;
SELECT deploydb_verify_migration('odd') IS NULL AS stale;
RESET client_min_messages;
SELECT status, severity, object_type, advice ~ 'made on PostgreSQL 13.*capture it again' AS says_so
	FROM deploydb.migration_report('odd');
\set VERBOSITY terse
SELECT deploydb.import_migration('{}');
SELECT deploydb.import_migration('[]');
SELECT deploydb.import_migration('{"format": "deploydb capture", "migration": "x", "facts": [["a", "b", "c"]], "fact_format": 1, "server_version_num": 150000}');
SELECT deploydb.import_migration(jsonb_set(document, '{checksum}', '"none"')) FROM captured;
\set VERBOSITY default

-- any other value for any member: refused in words, or taken for what it is
CREATE FUNCTION import_state(document jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN deploydb.import_migration(document) || ' facts';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT import_state(value), string_agg(COALESCE(value::text, 'NULL'), ' ')
	FROM unnest(ARRAY[NULL, 'null', '5', 'true', '"x"']::jsonb[]) AS value GROUP BY 1;
SELECT import_state(jsonb_set(document, path, value))
	FROM captured, LATERAL (VALUES ('{fact_format}'::text[], '99'::jsonb),
		('{migration}', to_jsonb(repeat('x', 256))),
		('{facts,0}', document #> '{facts,1}'),
		('{facts,0}', jsonb_set(document #> '{facts,1}', '{3}', '"other"'))) AS v (path, value);
SELECT member, import_state(jsonb_set(document, ARRAY[member], value)) COLLATE "C" AS outcome,
		string_agg(value::text, ' ' ORDER BY value) AS "values"
	FROM captured, unnest('{format,migration,schema,checksum,verdict,server_name,captured_at,fact_format,server_version_num,facts}'::text[]) AS member,
		unnest(ARRAY['null', '-1', '1.5', '1e9', '1e30', '""', '[]', '[[]]', '{"a": 1}', 'true']::jsonb[]) AS value
	GROUP BY 1, 2 ORDER BY 1, 2;
SELECT DISTINCT import_state(jsonb_set(document, '{facts,0}', fact)) FROM captured,
	unnest(ARRAY['["table", "t", "kind"]', '["table", "t", "kind", 5]', '["table", "t", "kind", ["a"]]', '["table", "", "kind", "table"]',
		'["table", "t", "", "table"]', '["banana", "t", "kind", "table"]', '["ledger", "t", "state", "applied"]']::jsonb[]) AS fact;
DROP FUNCTION import_state;

-- the order in which facts come is not that of every encoding
SELECT deploydb.import_migration(jsonb_set(document, '{facts}', (SELECT jsonb_agg(fact ORDER BY n DESC)
		FROM jsonb_array_elements(document -> 'facts') WITH ORDINALITY AS f (fact, n)))) FROM captured;
SELECT deploydb_verify_migration('odd');

-- what is imported is not always sound, and answers all the same
SELECT deploydb.import_migration(jsonb_set(document, '{facts}', '[["column", ".", "type", "text"], ["function", ")(", "kind", "function"],
	["function", "\"", "kind", "function"], ["index", "\"", "columns", "(("], ["index", "no_such", "table", "\""],
	["table", "\"", "kind", "table"], ["constraint", "a.b.c", "type", "banana"], ["table", "no_such", "comment", "\\uZZ \\"]]')) FROM captured;
SELECT status, object_type, object FROM deploydb.migration_report('odd') ORDER BY object_type COLLATE "C", object COLLATE "C";
SELECT deploydb.import_migration(document) FROM captured;
SELECT deploydb.capture_migration('x', '{no_such_table}');
SELECT deploydb.capture_migration('', '{Odd.Name}');
SELECT count(*) = count(DISTINCT f) AS once FROM jsonb_array_elements(deploydb.capture_migration('x', '{Odd.Name,Odd.Name}') -> 'facts') f;
SELECT deploydb.capture_migration('odd', '{Odd.Name}') ->> 'migration' AS by_suffix;
CREATE TYPE grade AS ENUM ('a', 'b');
CREATE DOMAIN pass AS grade CHECK (value < 'b');
CREATE TYPE exam AS (passes pass[], at date);
CREATE TYPE "exam[]" AS ENUM ('not an array');
CREATE TABLE pupil (exams exam[], odd "exam[]");
SELECT f ->> 0 AS object_type, f ->> 1 AS object, f ->> 2 AS property, f ->> 3 AS value
	FROM jsonb_array_elements(deploydb.capture_migration('pupils', '{pupil,pupil}') -> 'facts') f
	WHERE f ->> 0 NOT IN ('table', 'column') ORDER BY 1, 2, 3;
DROP TABLE pupil;
DROP TYPE exam, "exam[]";
DROP DOMAIN pass;
DROP TYPE grade;
SELECT deploydb.forget_migration('odd');

-- captured in a schema that nobody names: found there, unless the ledger's has it
CREATE SCHEMA audit;
CREATE TABLE audit.log (a int);
SELECT deploydb.import_migration(deploydb.capture_migration('20270102_log', '{log}', 'audit'));
SELECT deploydb_verify_migration();
CREATE SCHEMA ledger;
CREATE TABLE ledger._prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
	migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count int NOT NULL DEFAULT 0);
INSERT INTO ledger._prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
	VALUES ('1', '', '20270102_log', now(), 1);
SELECT status, object_type, fix FROM deploydb.migration_report('log');
DROP TABLE audit.log;
SELECT status, object_type, object, fix FROM deploydb.migration_report('log');
CREATE TABLE ledger.log (a text);
SELECT status, object_type, object, fix FROM deploydb.migration_report('log');
DROP TABLE ledger.log;
DROP SCHEMA audit;
SELECT status, object_type, object, fix FROM deploydb.migration_report('log');
SELECT deploydb.forget_migration('log');
CREATE TEMPORARY TABLE fleeting (a int);
SET search_path = pg_temp, public;
SELECT deploydb.capture_migration('x', '{fleeting}') -> 'schema' AS schema;
RESET search_path;
DROP TABLE ledger._prisma_migrations, fleeting;
DROP SCHEMA ledger;

-- types of the same name in another schema, and names that are hard to write
SELECT deploydb.register_migration('3_types', $$
	CREATE TYPE mood AS ENUM ('good', 'bad');
	CREATE DOMAIN word AS text CHECK (value <> '');
	CREATE TABLE "a.b ""c"" 学习 and more, up to the sixty-three bytes that are" (
		"x.y" mood, "Z" word, "select" mood[] DEFAULT '{good}')$$);
CREATE SCHEMA elsewhere;
CREATE TYPE elsewhere.mood AS ENUM ('good', 'bad');
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN word AS text CHECK (value <> '');
CREATE TABLE "a.b ""c"" 学习 and more, up to the sixty-three bytes that are" (
	"x.y" elsewhere.mood, "Z" word, "select" mood[] DEFAULT '{good}');
SELECT status, object_type, object, property, expected, actual, fix FROM deploydb.migration_report('types');
SELECT fix FROM deploydb.migration_report('types') WHERE fix IS NOT NULL \gexec
SELECT deploydb_verify_migration('types');
SELECT f ->> 0 AS object_type, f ->> 1 AS object, f ->> 2 AS property, f ->> 3 AS value
	FROM jsonb_array_elements(deploydb.capture_migration('captured',
		ARRAY['a.b "c" 学习 and more, up to the sixty-three bytes that are']) -> 'facts') f
	WHERE f ->> 0 IN ('enum', 'domain') ORDER BY 1, 2, 3;
ALTER TYPE mood ADD VALUE 'neither' BEFORE 'bad';
SELECT status, object_type, object, property, expected, actual, fix FROM deploydb.migration_report('types');
DROP TABLE "a.b ""c"" 学习 and more, up to the sixty-three bytes that are";
DROP TYPE mood;
DROP DOMAIN word;
SELECT fix FROM deploydb.migration_report('types') WHERE fix IS NOT NULL \gexec
SELECT deploydb_verify_migration('types');
DROP TABLE "a.b ""c"" 学习 and more, up to the sixty-three bytes that are";
DROP TYPE mood, elsewhere.mood;
DROP DOMAIN word;
DROP SCHEMA elsewhere;
SELECT deploydb.forget_migration('types');

-- a later migration supersedes an earlier one, and drops
SELECT deploydb.register_migration('1_first', 'CREATE TABLE first (a int, b int); CREATE TABLE second (a int); CREATE INDEX first_b_idx ON first (b)');
SELECT deploydb.register_migration('2_later', 'ALTER TABLE first ALTER a TYPE bigint; ALTER TABLE first ADD c int; DROP TABLE second; DROP INDEX first_b_idx');
CREATE TABLE first (a bigint, b int, c int);
SELECT deploydb_verify_migration('first');
SELECT deploydb_verify_migration('later');
CREATE TABLE second (a int);
CREATE INDEX first_b_idx ON first (b);
SELECT deploydb_verify_migration('first');
SELECT deploydb_verify_migration('later');
DROP TABLE first, second;
SELECT object_type, object, status FROM deploydb.migration_report('later');
SELECT deploydb.forget_migration('later');
SELECT deploydb.forget_migration('first');

-- TAP
SELECT count(*), min(line) FILTER (WHERE line LIKE '1..%') = '1..' || count(*) FILTER (WHERE line LIKE 'ok %') AS plan_holds
	FROM deploydb.migration_tap('insights') AS line;
DROP INDEX decision_insights_created_at_idx;
COMMENT ON COLUMN decision_insights.id IS 'cuid2 # of sorts';
SELECT regexp_replace(line, 'ok \d+', 'ok N') FROM deploydb.migration_tap('insights') AS line
	WHERE line !~ '^(ok|1\.\.)';
CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at);
COMMENT ON COLUMN decision_insights.id IS NULL;

-- the built-in one can be forgotten, and learned again
SELECT deploydb.forget_migration('insights');
SELECT deploydb_verify_migration();
SELECT deploydb.register_migration(migration, ddl, checksum) > 0 FROM deploydb.builtin_migrations();
SELECT deploydb_verify_migration();

-- the application's schema takes nothing of ours with it
SET client_min_messages = error;
DROP SCHEMA public CASCADE;
RESET client_min_messages;
SELECT count(*) FROM deploydb.known_migration;
SELECT deploydb_verify_migration();
CREATE SCHEMA public;
GRANT USAGE ON SCHEMA public TO PUBLIC;
DROP EXTENSION deploydb;
CREATE EXTENSION deploydb;
SELECT count(*) FROM deploydb.known_migration;
DROP EXTENSION deploydb;
