-- track() and untrack(): what can be tracked and what cannot; names are data.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_nobody;
CREATE ROLE deploydb_test_operator;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') AS granted
\gset
CREATE SCHEMA odd;
CREATE SCHEMA "Sch.ema";

SELECT plan(59);

SELECT is((SELECT format('%s.%s %s', schema, name, built_in) FROM deploydb.tracked_table),
	'public.decision_insights t', 'the built-in table is tracked from the beginning');
SELECT is(deploydb.write_success_rate(), NULL, 'no attempt: NULL, never 1');

-- What a name means
CREATE TABLE odd.here (id int);
SELECT is(deploydb.track('here'), true, 'a table that is not on the search_path');
SELECT results_eq($$ SELECT schema COLLATE "default" FROM deploydb.tracked_table WHERE name = 'here' $$, ARRAY['public'],
	'is taken for one of public that is not there yet');
SET search_path = odd, public;
SELECT is(deploydb.track('here'), true, 'with odd on the search_path');
SELECT results_eq($$ SELECT schema COLLATE "default" FROM deploydb.tracked_table WHERE name = 'here' ORDER BY 1 $$, ARRAY['odd', 'public'],
	'it is that of odd');
INSERT INTO here VALUES (1);
SELECT results_eq($$ SELECT attempts FROM deploydb.write_stats(target => 'odd.here') $$, ARRAY[1::bigint], 'which is counted');
SELECT throws_ok($$ SELECT deploydb.write_success_rate(target => 'here') $$, '42P08', NULL, 'two of one name must be told apart');
SELECT is(deploydb.untrack('here'), true, 'untracked by the search_path too');
RESET search_path;
SELECT is(deploydb.untrack('here'), true, 'and the other');
SELECT is(deploydb.untrack('here'), false, 'which was not tracked any more');

-- Names are data
CREATE TABLE "Sch.ema"."Ta""ble; DROP TABLE x --" (id int);
CREATE TABLE "ü学" (id int);
CREATE TABLE aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (id int);
SELECT is(deploydb.track('"Sch.ema"."Ta""ble; DROP TABLE x --"'), true, 'quotes, dots and semicolons');
SELECT is(deploydb.track('"ü学"'), true, 'no ASCII');
SELECT is(deploydb.track(repeat('a', 63)), true, '63 bytes');
INSERT INTO "Sch.ema"."Ta""ble; DROP TABLE x --" VALUES (1);
INSERT INTO "ü学" VALUES (1);
INSERT INTO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa VALUES (1);
SELECT results_eq($$ SELECT succeeded FROM deploydb.write_stats() WHERE relation !~ 'insights' $$,
	ARRAY[1, 1, 1]::bigint[], 'all are counted');
SELECT is(deploydb.write_success_rate('1 hour', '"Sch.ema"."Ta""ble; DROP TABLE x --"'), 1::double precision, 'and found by their names');
SELECT is(deploydb.untrack(relation), true, 'untracked: ' || relation) FROM (VALUES ('"Sch.ema"."Ta""ble; DROP TABLE x --"'), ('"ü学"'),
	(repeat('a', 63))) AS t (relation);

-- What cannot be tracked
CREATE VIEW a_view AS SELECT 1 AS id;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS id;
CREATE SEQUENCE a_sequence;
CREATE TEMP TABLE a_temp (id int);
CREATE FOREIGN DATA WRAPPER deploydb_test_nothing;
CREATE SERVER deploydb_test_nowhere FOREIGN DATA WRAPPER deploydb_test_nothing;
CREATE FOREIGN TABLE a_foreign (id int) SERVER deploydb_test_nowhere;
CREATE TABLE an_indexed (id int PRIMARY KEY);
SELECT throws_ok(format('SELECT deploydb.track(%L)', relation), state, NULL, state || ': ' || COALESCE(relation, 'NULL'))
	FROM (VALUES ('a_view', '42809'), ('a_matview', '42809'), ('a_sequence', '42809'), ('a_temp', '42809'),
		('a_foreign', '42809'), ('an_indexed_pkey', '42809'), ('pg_class', '42939'), ('deploydb.tracked', '42939'),
		('pg_temp.nowhere', '42939'), ('pg_catalog.nowhere', '42939'), ('information_schema.nowhere', '42939'), ('deploydb.nowhere', '42939'),
		('', '22023'), ('a.b.c', '22023'), ('"open', '22023'), ('""', '22023'), ('public.""', '22023'), ('a-b', '22023'), ('1abc', '22023'),
		(NULL, '22004')) AS t (relation, state);
SELECT is((SELECT count(*) FROM deploydb.tracked_table), 1::bigint, 'and nothing is');
SELECT throws_ok(format('SELECT deploydb.untrack(%L)', relation), state, NULL, state || ', not tracked either: ' || COALESCE(relation, 'NULL'))
	FROM (VALUES ('', '22023'), ('a.b.c', '22023'), ('"open', '22023'), ('a-b', '22023'), (NULL, '22004')) AS t (relation, state);
SELECT is(deploydb.track('"a-b"'), true, 'what SQL would quote is quoted');
SELECT is(deploydb.write_success_rate('1 hour', '"a-b"'), NULL, 'here and there');
SELECT is(deploydb.untrack('"a-b"'), true, 'and everywhere');

-- Nor is what bears the name of a table that was
CREATE TABLE below (id int);
SELECT deploydb.track(t) AS tracked FROM unnest('{late,below}'::text[]) t \g /dev/null
CREATE VIEW late AS SELECT id FROM below;
CREATE FUNCTION put_below() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO below VALUES (NEW.id); RETURN NEW; END';
CREATE TRIGGER put_below INSTEAD OF INSERT ON late FOR EACH ROW EXECUTE FUNCTION put_below();
INSERT INTO late VALUES (1);
SELECT results_eq($$ SELECT relation, succeeded FROM deploydb.write_stats() WHERE relation !~ 'insights' $$,
	$$ VALUES ('public.below', 1::bigint), ('public.late', 0) $$, 'a view of a tracked name is not counted, but the table below it');
DROP VIEW late;
CREATE TABLE late (id int);
INSERT INTO late VALUES (1);
SELECT is((SELECT succeeded FROM deploydb.write_stats(target => 'late')), 1::bigint, 'until it is a table');
SELECT deploydb.untrack(t) AS untracked FROM unnest('{late,below}'::text[]) t \g /dev/null

-- What is allowed, it says
CREATE FUNCTION advice(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN format('%s: %s %s', SQLERRM, detail, hint);
END $$;
SELECT is(advice(statement), expected, statement) FROM (VALUES
	($$SELECT deploydb.track('a_view')$$, '"a_view" cannot be tracked: Tables and partitioned tables can be tracked; views, foreign tables, temporary tables and the like cannot. '),
	($$SELECT deploydb.track('pg_catalog.pg_class')$$, '"pg_class" cannot be tracked: It is a table of schema "pg_catalog". '),
	($$SELECT deploydb.write_success_rate('-1 day')$$,
		'invalid period: "-1 day": A period is longer than nothing, and begins when there were dates. Write it as an interval, such as ''24 hours'' or ''7 days''.'),
	($$SELECT deploydb.write_history('1 day', '0')$$,
		'invalid bucket: "0": A bucket is of one second to 36525 days, without months and years. Write it as an interval, such as ''1 hour'' or ''5 minutes''.')
	) AS v (statement, expected);

-- Who may
CREATE TABLE secret (id int);
SET ROLE deploydb_test_operator;
SELECT throws_ok($$ SELECT deploydb.track('secret') $$, '42501', NULL, 'an operator does not count what he has no right on');
SELECT throws_ok($$ INSERT INTO deploydb.tracked VALUES ('public', 'x', false, true, now(), 'me') $$, '42501', NULL, 'nor writes the table');
RESET ROLE;
GRANT SELECT ON secret TO deploydb_test_operator;
SET ROLE deploydb_test_operator;
SELECT is(deploydb.track('secret'), true, 'with a right he does');
SELECT is(deploydb.untrack('secret'), true, 'and not any more');
RESET ROLE;
SET ROLE deploydb_test_nobody;
SELECT throws_ok($$ SELECT deploydb.track('secret') $$, '42501', NULL, 'others may not at all');
RESET ROLE;

SELECT * FROM finish();
DROP OWNED BY deploydb_test_nobody, deploydb_test_operator;
DROP ROLE deploydb_test_nobody, deploydb_test_operator;
