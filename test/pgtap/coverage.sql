-- insight_coverage() and wait_insight(): which decisions count, over which
-- time, in both layouts of decision_records and wherever the tables are; and
-- what is wrong with an insight.  How wait_insight() waits: test/t/wait_insight.pl.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_monitor;
GRANT pg_monitor TO deploydb_test_monitor;

SELECT plan(90);

-- Bad input
SELECT throws_ok(format('SELECT * FROM deploydb.insight_coverage(%s)', p), '22023', NULL, 'period ' || p)
FROM unnest(ARRAY['NULL', '''''', '''-1 hour''', '''0 s''', '''1 day -24 hours''', '''infinity''', '''-infinity''',
	'''999999 years''', '''5000000000 years''', '''soon''']) p;
SELECT throws_ok(format('SELECT * FROM deploydb.insight_coverage(''1 day'', %s)', g), '22023', NULL, 'grace ' || g)
FROM unnest(ARRAY['NULL', '''''', '''-1 ms''', '''infinity''', '''999999 years''', '''soon''']) g;
SELECT throws_ok(format('SELECT deploydb.wait_insight(''x'', %s)', t), '22023', 'timeout_ms must be 0 or more', 'timeout ' || t)
FROM unnest(ARRAY['NULL', '-1', '-2147483648']) t;
SET intervalstyle = sql_standard;
SELECT ok(clock_timestamp() - deploydb.period_start('-1 day 26:00:00') BETWEEN '1:59:00' AND '2:01:00',
	'a period does not depend on IntervalStyle');
RESET intervalstyle;

-- No table at all
SELECT results_eq($$ SELECT since < now(), decisions, with_insight, missing, coverage, oldest_missing, insights_total,
		insights_total_is_estimate FROM deploydb.insight_coverage() $$,
	$$ VALUES (true, NULL::bigint, NULL::bigint, NULL::bigint, NULL::float8, NULL::timestamptz, NULL::bigint, NULL::boolean) $$,
	'without the tables: one row of NULLs');
SELECT throws_ok($$ SELECT deploydb.wait_insight('x') $$, '42P01', 'table public.decision_insights does not exist',
	'without the table there is nothing to wait for');

-- The tables, in the layout with a primary key (id)
SELECT ddl FROM deploydb.builtin_migrations() \gexec
SELECT results_eq('SELECT decisions, insights_total, insights_total_is_estimate FROM deploydb.insight_coverage()',
	'VALUES (NULL::bigint, 0::bigint, false)', 'without decision_records: only the insights in all');
SELECT is(deploydb.wait_insight() - 'waitedMs',
	'{"decisionId": null, "stateSnapshot": null, "difficultyFactors": null, "triggers": null, "problems": ["there is no decision"]}',
	'no decision to wait for');
CREATE TYPE "DecisionIngestionStatus" AS ENUM ('PENDING', 'SUCCESS', 'FAILED');
CREATE TABLE decision_records (
	id text NOT NULL PRIMARY KEY, "decisionId" text NOT NULL, "answerRecordId" text, "sessionId" text,
	"timestamp" timestamp(3) DEFAULT CURRENT_TIMESTAMP, "decisionSource" text, "coldstartPhase" text,
	"weightsSnapshot" jsonb, "memberVotes" jsonb, "selectedAction" jsonb NOT NULL,
	confidence double precision NOT NULL DEFAULT 0, reward double precision, "traceVersion" integer DEFAULT 1,
	"ingestionStatus" "DecisionIngestionStatus" DEFAULT 'PENDING', "totalDurationMs" integer,
	"createdAt" timestamp(3) DEFAULT CURRENT_TIMESTAMP, "updatedAt" timestamp(3) NOT NULL,
	"isSimulation" boolean NOT NULL DEFAULT false);
CREATE UNIQUE INDEX ON decision_records ("decisionId");
CREATE INDEX ON decision_records ("timestamp");

-- As the client writes: in UTC, whatever the session's TimeZone.
CREATE FUNCTION utc(ago interval) RETURNS timestamp LANGUAGE sql AS $$ SELECT clock_timestamp() AT TIME ZONE 'UTC' - ago $$;
CREATE FUNCTION decide(decision text, ago interval, status "DecisionIngestionStatus" DEFAULT 'SUCCESS',
	simulation boolean DEFAULT false) RETURNS void LANGUAGE sql AS $$
	INSERT INTO decision_records (id, "decisionId", "timestamp", "ingestionStatus", "isSimulation", "selectedAction", "updatedAt")
	VALUES (decision || ago, decision, utc(ago), status, simulation, '{}', utc('0')) $$;
CREATE FUNCTION explain_it(decision text, state jsonb DEFAULT '{"attention": 0.5}',
	factors jsonb DEFAULT '{"length": 1, "accuracy": 0, "frequency": 2, "forgetting": 0.1}',
	hash text DEFAULT '0123456789abcdef') RETURNS void LANGUAGE sql AS $$
	INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, triggers, feature_vector_hash, updated_at)
	VALUES (decision, decision, 'u', state, factors, '{slow}', hash, utc('0')) $$;
CREATE FUNCTION coverage(period text DEFAULT '24 hours', grace text DEFAULT '3 seconds') RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', decisions, with_insight, missing, round(coverage::numeric, 3),
		'oldest ' || round(extract(epoch FROM clock_timestamp() - oldest_missing) / 60) || ' min')
	FROM deploydb.insight_coverage(period, grace) $$;

SELECT is(coverage(), '0 0 0', 'without a decision the coverage is NULL, not 1');
SELECT decide('a', '1 min'), decide('b', '10 min'), decide('c', '20 min'), decide('d', '25 hours'),
	explain_it('a'), explain_it('b'), explain_it('d'), explain_it('of no decision')
\g /dev/null
SELECT is(coverage(), '3 2 1 0.667 oldest 20 min', 'decisions of the period, with an insight or not');
SELECT is(coverage('15 minutes'), '2 2 0 1.000', 'a shorter period');
SELECT is(coverage('2 days'), '4 3 1 0.750 oldest 20 min', 'a longer one');
SELECT is(coverage('PT15M'), '2 2 0 1.000', 'as interval takes it');
SELECT results_eq('SELECT clock_timestamp() - since BETWEEN ''14:59:59'' AND ''15:01:00'', insights_total, insights_total_is_estimate
	FROM deploydb.insight_coverage(''15 hours'')', 'VALUES (true, 4::bigint, false)', 'since when, and insights of all times');
SELECT decide('late', '1 s') \g /dev/null
SELECT is(coverage(), '3 2 1 0.667 oldest 20 min', 'what is younger than grace is not missing yet');
SELECT is(coverage('24 hours', '0'), '4 2 2 0.500 oldest 20 min', 'without grace it is');
SELECT is(coverage('24 hours', '5 minutes'), '2 1 1 0.500 oldest 20 min', 'grace can be longer');
SELECT is(coverage('1 minute', '5 minutes'), '0 0 0', 'longer than the period: nothing is left');
DELETE FROM decision_records WHERE "decisionId" = 'late';
SELECT decide('pending', '1 min', 'PENDING'), decide('failed', '1 min', 'FAILED'), decide('unknown', '1 min', NULL),
	decide('simulated', '1 min', 'SUCCESS', true)
\g /dev/null
SELECT is(coverage(), '3 2 1 0.667 oldest 20 min', 'neither what is not ingested nor what is simulated counts');
INSERT INTO decision_records (id, "decisionId", "timestamp", "ingestionStatus", "selectedAction", "updatedAt")
VALUES ('n', 'n', NULL, 'SUCCESS', '{}', utc('0'));
SELECT is(coverage(), '3 2 1 0.667 oldest 20 min', 'nor what has no time');

-- The session's TimeZone decides nothing
CREATE TABLE in_zone AS SELECT name, NULL::text AS seen FROM unnest('{UTC,Asia/Shanghai,America/Los_Angeles,Pacific/Kiritimati}'::text[]) name;
UPDATE in_zone SET seen = (SELECT set_config('TimeZone', name, true) || ': ' || coverage('15 minutes'));
SELECT is(seen, name || ': 2 2 0 1.000', 'TimeZone ' || name) FROM in_zone;
SET TimeZone = 'Asia/Shanghai';
SELECT ok(clock_timestamp() - oldest_missing BETWEEN '20 min' AND '21 min', 'the oldest missing is a point in time')
FROM deploydb.insight_coverage();
SELECT is(current_setting('TimeZone'), 'Asia/Shanghai', 'the session keeps its TimeZone');
RESET TimeZone;

-- It reads by the indexes
CREATE FUNCTION plan_uses(index text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	scans bigint := pg_stat_get_xact_numscans(index::regclass);
BEGIN
	PERFORM deploydb.insight_coverage('1 day');
	RETURN pg_stat_get_xact_numscans(index::regclass) > scans;
END $$;
BEGIN;
SELECT decide('old ' || n, '10 days'), explain_it('old ' || n) FROM generate_series(1, 20000) n \g /dev/null
ANALYZE decision_records, decision_insights;
SELECT ok(plan_uses(i), 'an index is used: ' || i)
FROM unnest('{decision_records_timestamp_idx,decision_insights_decision_id_key}'::text[]) i;
ROLLBACK;

-- The layout of hypertables: more than one row of a decision; and partitions
BEGIN;
ALTER TABLE decision_records DROP CONSTRAINT decision_records_pkey;
DELETE FROM decision_records WHERE "timestamp" IS NULL;
ALTER TABLE decision_records ADD PRIMARY KEY (id, "timestamp");
DROP INDEX "decision_records_decisionId_idx";
CREATE UNIQUE INDEX ON decision_records ("decisionId", "timestamp");
SELECT decide('b', '12 min'), decide('c', '30 min') \g /dev/null
SELECT is(coverage(), '3 2 1 0.667 oldest 30 min', 'a decision counts once, from its first row on');
ALTER TABLE decision_records RENAME TO of_one_table;
CREATE TABLE decision_records (LIKE of_one_table INCLUDING DEFAULTS, PRIMARY KEY (id, "timestamp")) PARTITION BY RANGE ("timestamp");
CREATE TABLE all_times PARTITION OF decision_records DEFAULT;
INSERT INTO decision_records SELECT * FROM of_one_table;
SELECT is(coverage(), '3 2 1 0.667 oldest 30 min', 'the same of a partitioned table');
ALTER TABLE decision_records ALTER "timestamp" DROP DEFAULT;
DROP TABLE decision_records;
CREATE TABLE decision_records AS SELECT id, "decisionId", "timestamp" AT TIME ZONE 'UTC' AS "timestamp",
	"ingestionStatus"::text, "isSimulation" FROM of_one_table;
SET TimeZone = 'Asia/Shanghai';
SELECT is(coverage(), '3 2 1 0.667 oldest 30 min', 'a time with time zone, and a status as text, are understood');
ROLLBACK;

-- Insights in all: an estimate beyond a million, of partitions too
BEGIN;
CREATE TABLE few (n integer);
INSERT INTO few SELECT n FROM generate_series(1, 10) n;
SELECT results_eq($$ SELECT count, estimated FROM deploydb.count_rows('public.few') $$, 'VALUES (10::bigint, false)', 'few rows are counted');
CREATE TABLE many (n integer) PARTITION BY RANGE (n);
CREATE TABLE many_1 PARTITION OF many FOR VALUES FROM (1) TO (600001);
CREATE TABLE many_2 PARTITION OF many FOR VALUES FROM (600001) TO (2000000);
INSERT INTO many SELECT n FROM generate_series(1, 1000000) n;
SELECT results_eq($$ SELECT count, estimated FROM deploydb.count_rows('public.many') $$, 'VALUES (1000000::bigint, false)', 'a million exactly');
INSERT INTO many SELECT n FROM generate_series(1000001, 1100000) n;
SELECT results_eq($$ SELECT count, estimated FROM deploydb.count_rows('public.many') $$, 'VALUES (1000001::bigint, true)',
	'more than a million, before the planner knows any better');
ANALYZE many, many_1, many_2;
SELECT results_eq($$ SELECT count BETWEEN 1050000 AND 1150000, estimated FROM deploydb.count_rows('public.many') $$, 'VALUES (true, true)',
	'the planner''s estimate, of each partition once');
ROLLBACK;

-- Without decision_insights everything is missing
BEGIN;
DROP TABLE decision_insights;
SELECT is(coverage(), '3 0 3 0.000 oldest 20 min', 'without decision_insights everything is missing');
SELECT is((SELECT insights_total FROM deploydb.insight_coverage()), NULL, 'and there are none to count');
CREATE VIEW decision_insights AS SELECT 1 / 0 AS decision_id;
SELECT is(coverage(), '3 0 3 0.000 oldest 20 min', 'a view is not the table, and is not read');
ROLLBACK;

-- Which schema
BEGIN;
CREATE SCHEMA "Other.Schema";
ALTER TABLE decision_records SET SCHEMA "Other.Schema";
ALTER TABLE decision_insights SET SCHEMA "Other.Schema";
SELECT is(decisions, NULL, 'not on the search_path, not tracked there') FROM deploydb.insight_coverage();
SET search_path = "Other.Schema", public;
SELECT is(decisions, 3::bigint, 'on the search_path') FROM deploydb.insight_coverage();
SELECT is(deploydb.wait_insight('a', 0) -> 'problems', '[]', 'the same of wait_insight()');
SELECT is(deploydb.track('decision_insights'), true, 'tracked there');
SET search_path = public;
SELECT is(decisions, 3::bigint, 'where it is tracked, when it is not on the search_path') FROM deploydb.insight_coverage();
CREATE TABLE decision_insights (LIKE "Other.Schema".decision_insights);
SELECT is(insights_total, 0::bigint, 'but the search_path comes first') FROM deploydb.insight_coverage();
ROLLBACK;

-- With the caller's rights, and none of a user's functions
SET ROLE deploydb_test_monitor;
SELECT throws_ok('SELECT * FROM deploydb.insight_coverage()', '42501', 'permission denied for table decision_records',
	'no right to read the decisions');
SELECT throws_ok('SELECT deploydb.wait_insight(''a'')', '42501', 'permission denied for table decision_insights',
	'no right to read the insights');
RESET ROLE;
GRANT SELECT ON decision_records, decision_insights TO deploydb_test_monitor;
SET ROLE deploydb_test_monitor;
SELECT is(decisions, 3::bigint, 'SELECT will do') FROM deploydb.insight_coverage();
SELECT is(deploydb.wait_insight('a') ->> 'decisionId', 'a', 'and for wait_insight()');
RESET ROLE;
BEGIN;
CREATE FUNCTION nothing(text) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE POLICY nothing ON decision_insights USING (nothing(decision_id));
ALTER TABLE decision_insights ENABLE ROW LEVEL SECURITY;
SET ROLE deploydb_test_monitor;
SELECT throws_ok(f, '42501', 'query would be affected by row-level security policy for table "decision_insights"',
	'what row security would leave out is no figure: ' || f)
FROM unnest(ARRAY['SELECT * FROM deploydb.insight_coverage()', 'SELECT deploydb.wait_insight(''a'')']) f;
ROLLBACK;
BEGIN;
CREATE FUNCTION never(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = never);
CREATE FUNCTION public.count("any") RETURNS bigint LANGUAGE internal AS 'pg_column_size';
SET search_path = public, pg_catalog;
CREATE TABLE seen AS SELECT coverage() AS coverage, deploydb.wait_insight('a', 0) ->> 'decisionId' AS decision;
RESET search_path;
SELECT is(coverage, '3 2 1 0.667 oldest 20 min', 'no operator or function of the search_path is used') FROM seen;
SELECT is(decision, 'a', 'nor by wait_insight()') FROM seen;
ROLLBACK;

-- wait_insight()
SELECT is(deploydb.wait_insight('a') - 'waitedMs',
	'{"decisionId": "a", "stateSnapshot": {"attention": 0.5}, "difficultyFactors": {"length": 1, "accuracy": 0, "frequency": 2,
	"forgetting": 0.1}, "triggers": ["slow"], "problems": []}', 'an insight without problems');
SELECT is(jsonb_typeof(deploydb.wait_insight('a') -> 'waitedMs'), 'number', 'and how long it took');
SELECT is(deploydb.wait_insight('c', 0) - 'waitedMs',
	'{"decisionId": "c", "stateSnapshot": null, "difficultyFactors": null, "triggers": null, "problems": ["missing"]}', 'no insight');
SELECT ok((deploydb.wait_insight('c', 150) ->> 'waitedMs')::integer >= 150, 'it waits for as long as it is told');
SELECT is(deploydb.wait_insight('''; DROP TABLE decision_insights --', 0) ->> 'decisionId', '''; DROP TABLE decision_insights --',
	'a decision''s id is data');

-- The newest decision
SELECT decide('newest', '30 s'), explain_it('newest') \g /dev/null
SELECT is(deploydb.wait_insight() ->> 'decisionId', 'newest', 'NULL is the newest decision that is not simulated');
SELECT decide('newer', '20 s') \g /dev/null
SELECT is(deploydb.wait_insight(NULL, 0) #>> '{problems,0}', 'missing', 'with an insight or not');
BEGIN;
DROP TABLE decision_records;
UPDATE decision_insights SET created_at = utc('1 year') WHERE decision_id <> 'b';
SELECT is(deploydb.wait_insight() ->> 'decisionId', 'b', 'without decision_records, of the newest insight');
ROLLBACK;

-- What is wrong with an insight
CREATE TABLE wrong (name text, state jsonb, factors jsonb, hash text, problems text[]);
INSERT INTO wrong VALUES
	('JSON null', 'null', 'null', '0123456789abcdef', '{difficultyFactors is JSON null,stateSnapshot is JSON null}'),
	('arrays', '[1]', '["length", "accuracy", "frequency", "forgetting"]', '0123456789abcdef',
		'{difficultyFactors is not an object,stateSnapshot is not an object}'),
	('scalars', '1', '"length"', '0123456789abcdef', '{difficultyFactors is not an object,stateSnapshot is not an object}'),
	('empty', '{}', '{}', '0123456789abcdef', '{difficultyFactors is empty,stateSnapshot is empty}'),
	('a factor less', '{"a": 1}', '{"length": 1, "accuracy": 1, "forgetting": 1}', '0123456789abcdef',
		'{difficultyFactors has no frequency}'),
	('a factor of JSON null', '{"a": 1}', '{"length": null, "accuracy": 1, "frequency": 1, "forgetting": 1}', '0123456789abcdef',
		'{difficultyFactors has no length}'),
	('no factor', '{"a": 1}', '{"other": 1}', '0123456789abcdef',
		'{difficultyFactors has no accuracy,difficultyFactors has no forgetting,difficultyFactors has no frequency,difficultyFactors has no length}'),
	('a short hash', '{"a": 1}', NULL, '0123456789abcde', '{featureVectorHash is not 16 hexadecimal digits}'),
	('a long hash', '{"a": 1}', NULL, '0123456789abcdef0', '{featureVectorHash is not 16 hexadecimal digits}'),
	('no hash', '{"a": 1}', NULL, '', '{featureVectorHash is not 16 hexadecimal digits}'),
	('other digits', '{"a": 1}', NULL, '0123456789abcdeg', '{featureVectorHash is not 16 hexadecimal digits}'),
	('a line more', '{"a": 1}', NULL, E'0123456789abcdef\n', '{featureVectorHash is not 16 hexadecimal digits}'),
	('upper case', '{"a": 1}', NULL, '0123456789ABCDEF', '{}');
SELECT explain_it(name, state, COALESCE(factors, '{"length": 1, "accuracy": 1, "frequency": 1, "forgetting": 1}'), hash) FROM wrong
\g /dev/null
SELECT is(deploydb.wait_insight(name) -> 'problems', to_jsonb(problems), name) FROM wrong;

-- The table as it was made by hand, without NOT NULL
ALTER TABLE decision_insights ALTER state_snapshot DROP NOT NULL, ALTER difficulty_factors DROP NOT NULL,
	ALTER feature_vector_hash DROP NOT NULL, ALTER created_at DROP NOT NULL, DROP updated_at;
UPDATE decision_insights SET state_snapshot = NULL, difficulty_factors = NULL, triggers = NULL, feature_vector_hash = NULL, created_at = NULL
WHERE decision_id = 'a';
SELECT is(deploydb.wait_insight('a') - 'waitedMs',
	'{"decisionId": "a", "stateSnapshot": null, "difficultyFactors": null, "triggers": null,
	"problems": ["difficultyFactors is NULL", "stateSnapshot is NULL", "featureVectorHash is not 16 hexadecimal digits"]}', 'NULLs');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_monitor;
DROP ROLE deploydb_test_monitor;
