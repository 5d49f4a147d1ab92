-- Samples of the counters, and what is made of them over a period: rates,
-- failures, burn rates, history, gaps, resets.  Time passes by making what was
-- sampled older.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_monitor;
CREATE ROLE deploydb_test_nobody;
CREATE ROLE deploydb_test_writer;
GRANT pg_monitor TO deploydb_test_monitor;
GRANT USAGE ON SCHEMA deploydb TO deploydb_test_nobody;

CREATE TABLE w (id integer PRIMARY KEY);
CREATE SCHEMA "Odd.Schema";
CREATE TABLE "Odd.Schema"."it's ""w""" (id integer);
CREATE SCHEMA other;
CREATE TABLE other.twin (id integer);
CREATE TABLE twin (id integer);

-- The tests move epochs in time, with their failures.
ALTER TABLE deploydb.write_failure DROP CONSTRAINT write_failure_target_since_fkey,
	ADD FOREIGN KEY (target, since) REFERENCES deploydb.write_epoch ON UPDATE CASCADE ON DELETE CASCADE;

-- One attempt each, and no error of the caller's.
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
CREATE FUNCTION detail_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;
CREATE PROCEDURE write_w(good integer, bad integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. good LOOP
		EXECUTE 'INSERT INTO w SELECT COALESCE(max(id), 0) + 1 FROM w';
	END LOOP;
	FOR i IN 1 .. bad LOOP
		PERFORM try('INSERT INTO w VALUES (1)');
	END LOOP;
END $$;
CREATE PROCEDURE wait_for(time_passed interval) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM deploydb.take_write_sample();
	-- two steps, as no two samples may be of the same time in between
	UPDATE deploydb.write_sample SET at = at - interval '1000 years';
	UPDATE deploydb.write_sample SET at = at + interval '1000 years' - time_passed;
	UPDATE deploydb.write_epoch SET at = at - time_passed;
	UPDATE deploydb.write_gap SET at = at - time_passed, until = until - time_passed;
	UPDATE deploydb.write_target SET reset_at = reset_at - time_passed;
	UPDATE deploydb.client_failure SET reported_at = reported_at - time_passed;
END $$;
-- What is sampled becomes an epoch of its own, as after a crash.
CREATE PROCEDURE crash() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM deploydb.take_write_sample();
	UPDATE deploydb.write_epoch SET since = since - interval '1 year', at = clock_timestamp();
	UPDATE deploydb.write_sample SET since = since - interval '1 year';
END $$;

CREATE FUNCTION burning() RETURNS text LANGUAGE sql
	AS $$ SELECT string_agg(b.burning::text, ' ' ORDER BY b.severity) FROM deploydb.burn_rates('w') b $$;

SELECT plan(196);

SELECT throws_ok(format('SELECT deploydb.%s', format(f, p)), '22023', NULL, format('%s: period %s', f, p))
FROM unnest('{write_success_rate(%s),write_stats(%s),write_failures(%s),write_history(%s)}'::text[]) f,
	unnest(ARRAY['NULL', '''''', '''-1 hour''', '''0 s''', '''infinity''', '''5000000 years''', '''soon''']) p;
SELECT throws_ok(format('SELECT deploydb.write_history(''1 day'', %s)', b), '22023', NULL, 'bucket ' || b)
FROM unnest(ARRAY['NULL', '''''', '''-1 hour''', '''0 s''', '''infinity''', '''1 month''', '''soon''', '''1000000000 days''']) b;

-- targets
SELECT throws_ok(format('SELECT deploydb.%s', f), '42P01', 'table nowhere is not tracked', f)
FROM unnest(ARRAY['write_success_rate(''1 day'', ''nowhere'')', 'write_stats(''1 day'', ''nowhere'')',
	'write_failures(''1 day'', ''nowhere'')', 'burn_rates(''nowhere'')', 'reset_write_stats(''nowhere'')',
	'write_history(''1 day'', ''1 hour'', ''nowhere'')', 'report_client_failures(''nowhere'', 1, ''pool'')']) f;
SELECT throws_ok('SELECT deploydb.write_success_rate(''1 day'', ''w'')', '42P01',
	'table w is not tracked', 'a table that is there, but not tracked');
SELECT throws_ok('SELECT deploydb.write_success_rate(''1 day'', ''a.b.c'')', '22023', NULL, 'too many parts');
SELECT throws_ok('SELECT deploydb.write_success_rate(''1 day'', '''')', '22023', NULL, 'no name at all');
SELECT throws_ok(format('SELECT deploydb.%s', f), '22023', NULL, 'nor here: ' || f)
FROM unnest(ARRAY['write_stats(''1 day'', '''')', 'write_failures(''1 day'', '''')', 'burn_rates('''')', 'reset_write_stats('''')',
	'write_history(''1 day'', ''1 hour'', '''')', 'report_client_failures('''', 1, ''pool'')']) f;
SELECT throws_ok('SELECT deploydb.write_success_rate(''1 day'', ''"w'')', '22023', NULL, 'a quote left open');
SELECT deploydb.track(t) AS tracked
FROM unnest('{public.twin,other.twin,w,"\"Odd.Schema\".\"it''s \"\"w\"\"\""}'::text[]) t \g /dev/null
SELECT throws_ok('SELECT deploydb.write_success_rate(''1 day'', ''twin'')', '42P08',
	'more than one table twin is tracked', 'a name of two tables');
SELECT lives_ok('SELECT deploydb.write_success_rate(''1 day'', ''OTHER.twin'')', 'folded as SQL folds it');
SELECT results_eq($$SELECT relation FROM deploydb.write_stats('1 day', '"it''s ""w"""')$$,
	$$VALUES ('"Odd.Schema"."it''s ""w"""')$$, 'quotes and dots are data');

-- no traffic is not success
SELECT is(deploydb.write_success_rate(), NULL, 'no attempt, no rate');
SELECT results_eq(
	$$SELECT attempts, success_rate, rate_low, rate_high, verdict, error_budget_left, p50_ms, gaps
	FROM deploydb.write_stats('1 day', 'w')$$,
	$$VALUES (0::bigint, NULL::float8, NULL::float8, NULL::float8, 'no_traffic', NULL::float8, NULL::float8, 0::bigint)$$,
	'no traffic');
SELECT is_empty('SELECT * FROM deploydb.write_failures()', 'no failures');
SELECT is_empty('SELECT * FROM deploydb.write_history()', 'no history');
SELECT results_eq('SELECT * FROM deploydb.burn_rates(''w'')',
	$$VALUES ('P0', '1 hour', '5 minutes', 14.4::float8, NULL::float8, NULL::float8, false),
		('P1', '6 hours', '30 minutes', 6, NULL, NULL, false), ('P2', '1 day', '2 hours', 3, NULL, NULL, false),
		('P3', '3 days', '6 hours', 1, NULL, NULL, false)$$, 'nothing burns');

-- bounds and verdicts
SELECT results_eq(format('SELECT round(low::numeric, 4), round(high::numeric, 4) FROM deploydb.wilson_bounds(%s, %s)', k, n),
	format('VALUES (%s, %s)', low, high), format('%s of %s', k, n))
FROM (VALUES (498, 500, 0.9855, 0.9989), (990, 1000, 0.9817, 0.9946), (4970, 5000, 0.9914, 0.9958),
	(0, 10, 0.0000, 0.2775), (10, 10, 0.7225, 1.0000)) AS v (k, n, low, high);
SELECT is(deploydb.write_verdict(k, n, (deploydb.wilson_bounds(k, n)).high), verdict, format('%s of %s: %s', k, n, verdict))
FROM (VALUES (0, 0, 'no_traffic'), (298, 298, 'insufficient_data'), (299, 299, 'ok'), (297, 300, 'ok'),
	(296, 300, 'breached'), (100, 101, 'insufficient_data'), (90, 100, 'breached'), (0, 1, 'insufficient_data'), (0, 2, 'insufficient_data'), (0, 3, 'breached'),
	(99, 100, 'insufficient_data'), (990, 1000, 'ok'), (989, 1000, 'breached')) AS v (k, n, verdict);
SET deploydb.write_success_target = 1;
SELECT is(deploydb.write_verdict(98, 100, (deploydb.wilson_bounds(98, 100)).high), 'insufficient_data', 'a target of 1 may be missed by two');
SELECT is(deploydb.write_verdict(97, 100, (deploydb.wilson_bounds(97, 100)).high), 'breached', 'and not by three');
SET deploydb.write_success_target = 0.9999999;
SELECT is(deploydb.setting('write_success_target'), '0.9999999', 'a target is as exact as it was set');
SELECT is(deploydb.write_verdict(99999995, 100000000, 0.99999998), 'ok', 'and is met so');
SET deploydb.write_success_target = 0;
SELECT is(deploydb.write_verdict(0, 5, (deploydb.wilson_bounds(0, 5)).high), 'ok', 'a target of 0 is always met');
SELECT is(deploydb.write_verdict(0, 5, (deploydb.wilson_bounds(0, 5)).high, 0.99), 'breached', 'unlike another');
RESET deploydb.write_success_target;

-- the live counters, before the first sample and after it
CALL write_w(3, 1);
SELECT is(deploydb.write_success_rate('1 minute', 'w'), 0.75::float8, 'counted before any sample');
SELECT is(deploydb.take_write_sample(), 1, 'a sample');
SELECT is(deploydb.write_success_rate('1 minute', 'public.w'), 0.75::float8, 'the same after it');
SELECT deploydb.take_write_sample() AS taken, pg_current_xact_id_if_assigned() IS NOT NULL AS assigned
\gset
SELECT is(:taken, 0, 'nothing changed: no row');
SELECT is(:'assigned'::text, 'f', 'and no transaction id');
SELECT results_eq(
	$$SELECT attempts, succeeded, failed, rolled_back, rejected, rows_written, success_rate, verdict,
		p50_ms > 0 AND p50_ms <= p95_ms AND p95_ms <= p99_ms, gaps, others_attempts, client_failures
	FROM deploydb.write_stats('1 day', 'w')$$,
	$$VALUES (4::bigint, 3::bigint, 1::bigint, 0::bigint, 0::bigint, 3::bigint, 0.75::float8, 'insufficient_data',
		true, 0::bigint, 0::bigint, 0::bigint)$$, 'all of it');
SELECT is((SELECT round(error_budget_left::numeric, 6) FROM deploydb.write_stats('1 day', 'w')), -24.000000,
	'25 times the budget is spent');
SELECT results_eq($$SELECT sqlstate, condition, attempts, last_constraint, relation FROM deploydb.write_failures()$$,
	$$VALUES ('23505', 'unique_violation', 1::bigint, 'w_pkey', 'public.w')$$, 'the failure');

-- windows
CALL wait_for('25 hours');
SELECT is(deploydb.write_success_rate('24 hours', 'w'), NULL, 'out of the window');
SELECT is(deploydb.write_success_rate('26 hours', 'w'), 0.75::float8, 'in a longer one');
SELECT results_eq($$SELECT attempts, verdict, round(error_budget_left::numeric, 6) FROM deploydb.write_stats('24 hours', 'w')$$,
	$$VALUES (0::bigint, 'no_traffic', -24.000000)$$, 'but the budget is of 30 days whatever the period');
SELECT is_empty($$SELECT * FROM deploydb.write_failures('24 hours', 'w')$$, 'its failure likewise');
SELECT is((SELECT p99_ms FROM deploydb.write_stats('24 hours', 'w')), NULL, 'its latency likewise');
SELECT isnt((SELECT p99_ms FROM deploydb.write_stats('26 hours', 'w')), NULL, 'which the longer one has');
CALL write_w(1, 1);
SELECT is(deploydb.write_success_rate('24 hours', 'w'), 0.5::float8, 'only what came since');
SELECT is(deploydb.write_success_rate('26 hours', 'w'), 4 / 6::float8, 'both together');
CALL wait_for('2 hours');
SELECT is(deploydb.write_success_rate('24 hours', 'w'), 0.5::float8, 'sampled, not live');
SELECT results_eq($$SELECT attempts FROM deploydb.write_failures('24 hours', 'w')
	UNION ALL SELECT attempts FROM deploydb.write_failures('30 hours', 'w')$$,
	'VALUES (1::bigint), (2::bigint)', 'failures by window');

-- epochs add up, and what lies between them is shown
CALL crash();
SELECT is((SELECT gaps FROM deploydb.write_stats('7 days', 'w')), 0::bigint, 'no gap is noted yet');
SELECT deploydb.take_write_sample() AS taken \g /dev/null
SELECT results_eq($$SELECT attempts, succeeded, gaps FROM deploydb.write_stats('7 days', 'w')$$,
	'VALUES (12::bigint, 8::bigint, 1::bigint)', 'two epochs and a gap');
SELECT is((SELECT sum(attempts) FROM deploydb.write_failures('7 days', 'w')), 4::numeric, 'failures of both');
SELECT results_eq($$SELECT kind, at <= until FROM deploydb.write_gap WHERE name = 'w'$$,
	$$VALUES ('lost', true)$$, 'lost by a crash');
SELECT is(deploydb.take_write_sample(), 0, 'noted once');
-- counters that began before the last epoch did, as a promoted standby's
UPDATE deploydb.write_epoch SET since = since + interval '10 years' WHERE at < (SELECT max(at) FROM deploydb.write_epoch);
SELECT is(deploydb.take_write_sample(), 0, 'the epoch that was sampled last goes on, not the one that began last');
SELECT is((SELECT count(*) FROM deploydb.write_gap WHERE name = 'w'), 1::bigint, 'without another gap');
UPDATE deploydb.write_epoch SET since = since - interval '10 years' WHERE since > now();

-- tracked anew
SELECT deploydb.untrack('w') AS untracked \g /dev/null
SELECT throws_ok('SELECT deploydb.write_success_rate(''1 day'', ''w'')', '42P01', NULL, 'not tracked any more');
SELECT deploydb.track('w') AS tracked \g /dev/null
CALL write_w(1, 0);
SELECT deploydb.take_write_sample() AS taken \g /dev/null
SELECT results_eq($$SELECT attempts, succeeded, gaps FROM deploydb.write_stats('7 days', 'w')$$,
	'VALUES (13::bigint, 9::bigint, 2::bigint)', 'three epochs and another gap');
SELECT is((SELECT kind FROM deploydb.write_gap WHERE name = 'w' ORDER BY until DESC LIMIT 1), 'untracked', 'of another kind');

-- a table without a write for days before it and since
DELETE FROM deploydb.write_gap WHERE schema = 'other';
UPDATE deploydb.write_epoch e SET at = e.at - interval '3 days', since = e.since - interval '2 months'
FROM deploydb.write_target t WHERE t.target = e.target AND t.schema = 'other';
SELECT deploydb.take_write_sample() AS taken \g /dev/null
SELECT is((SELECT gaps FROM deploydb.write_stats('1 hour', 'other.twin')), 1::bigint, 'a gap that began before the window');

-- history
SELECT results_eq(
	$$SELECT sum(attempts), sum(succeeded), sum(failed), sum(rolled_back), sum(rejected), sum(rows_written),
		round((sum(success_rate * attempts) / sum(attempts))::numeric, 9)
	FROM deploydb.write_history('7 days', '1 hour', 'w')$$,
	$$SELECT attempts::numeric, succeeded::numeric, failed::numeric, rolled_back::numeric, rejected::numeric,
		rows_written::numeric, round(success_rate::numeric, 9)
	FROM deploydb.write_stats('7 days', 'w')$$,
	'buckets add up to the statistics');
SELECT results_eq(
	$$SELECT sum(attempts) FROM deploydb.write_history('7 days', '1 second')$$,
	$$SELECT sum(attempts) FROM deploydb.write_stats('7 days')$$, 'however small they are');
SELECT ok((SELECT bool_and(bucket_start = date_bin('1 hour', bucket_start, '2000-01-01')) AND count(*) >= 3
	FROM deploydb.write_history('7 days', '1 hour', 'w')), 'hours are whole');
SELECT ok((SELECT string_agg(m, ' ' ORDER BY m) ~ 'lost at .* untracked at'
	FROM deploydb.write_history('7 days', '1 hour', 'w') h, unnest(h.marks) m), 'gaps are marked');

-- failures that the server never saw
SELECT ok(deploydb.report_client_failures('w', 7, 'pool exhausted'), 'reported');
SELECT results_eq($$SELECT client_failures, attempts FROM deploydb.write_stats('1 day', 'w')$$,
	$$SELECT 7::bigint, w.attempts FROM deploydb.write_stats('1 day', 'public.w') w$$, 'shown apart');
SELECT is(deploydb.write_success_rate('7 days', 'w'), 9 / 13::float8, 'in no rate');
SELECT throws_ok(format('SELECT deploydb.report_client_failures(%s)', a), state, NULL, 'not reported: ' || a)
FROM (VALUES ('''w'', 0, ''x''', '22023'), ('''w'', -1, ''x''', '22023'), ('''w'', 1, '' ''', '22023'),
	('''w'', 1, E''\t\n''', '22023'),
	('NULL, 1, ''x''', '22004'), ('''w'', NULL, ''x''', '22004'), ('''w'', 1, NULL', '22004')) AS v (a, state);

-- reset
SELECT ok(deploydb.reset_write_stats('w'), 'reset');
SELECT is(deploydb.write_success_rate('7 days', 'w'), NULL, 'nothing since');
SELECT is_empty($$SELECT * FROM deploydb.write_failures('7 days', 'w')$$, 'no failure since');
SELECT results_eq($$SELECT attempts, verdict, gaps, p99_ms, error_budget_left, client_failures FROM deploydb.write_stats('7 days', 'w')$$,
	$$VALUES (0::bigint, 'no_traffic', 0::bigint, NULL::float8, NULL::float8, 0::bigint)$$, 'nor anything else');
SELECT ok(deploydb.report_client_failures('w', 2, 'network'), 'reported after it');
SELECT is((SELECT client_failures FROM deploydb.write_stats('7 days', 'w')), 2::bigint, 'which is shown');
CALL write_w(1, 1);
SELECT is(deploydb.write_success_rate('7 days', 'w'), 0.5::float8, 'it counts on');
SELECT is((SELECT attempts FROM deploydb.write_failures('7 days', 'w')), 1::bigint, 'its failures too');
SELECT results_eq(
	$$SELECT sum(attempts), bool_or(marks::text ~ 'reset at') FROM deploydb.write_history('7 days', '1 hour', 'w')$$,
	'VALUES (15::numeric, true)', 'the history keeps all, and a mark');
SELECT lives_ok('SELECT deploydb.reset_write_stats()', 'all at once');

-- the application and others
SET deploydb.app_role = 'deploydb_test_nobody';
CALL write_w(2, 1);
RESET deploydb.app_role;
CALL write_w(4, 0);
SELECT results_eq($$SELECT attempts, succeeded, others_attempts, others_succeeded FROM deploydb.write_stats('1 day', 'w')$$,
	'VALUES (4::bigint, 4::bigint, 3::bigint, 2::bigint)', 'others are shown apart');
SELECT is(deploydb.write_success_rate('1 day', 'w'), 1::float8, 'and are in no rate');

-- burn rates: a floor, and both windows
SELECT deploydb.reset_write_stats('w') AS reset \g /dev/null
CALL write_w(0, 5);
SELECT is(burning(), 'false false false false', 'five attempts are too few');
SELECT deploydb.reset_write_stats('w') AS reset \g /dev/null
CALL write_w(26, 3);
SELECT is(burning(), 'false false false false', 'so are 29, with three failures');
CALL write_w(1, 0);
SELECT is(burning(), 'false true true true', '30 are enough');
SELECT deploydb.reset_write_stats('w') AS reset \g /dev/null
CALL write_w(28, 2);
SELECT is(burning(), 'false false false false', 'two failures of 30 are too few');
CALL write_w(0, 1);
SELECT is(burning(), 'false true true true', 'three are enough');
SELECT deploydb.reset_write_stats('w') AS reset \g /dev/null
CALL write_w(38, 2);
SELECT is(burning(), 'false false false false', 'two failures are too few');
CALL write_w(0, 8);
SELECT results_eq('SELECT severity, round(long_rate::numeric, 3), burning FROM deploydb.burn_rates(''w'')',
	$$VALUES ('P0', 20.833, true), ('P1', 20.833, true), ('P2', 20.833, true), ('P3', 20.833, true)$$, 'all burn');
SET deploydb.write_success_target = 0.9;
SELECT results_eq('SELECT severity, round(long_rate::numeric, 3), round(short_rate::numeric, 3), burning FROM deploydb.burn_rates(''w'')',
	$$VALUES ('P0', 2.083, 2.083, false), ('P1', 2.083, 2.083, false), ('P2', 2.083, 2.083, false), ('P3', 2.083, 2.083, true)$$,
	'where ten times as many may fail, a tenth of that');
SELECT is((SELECT round(error_budget_left::numeric, 3) FROM deploydb.write_stats('1 day', 'w')), -1.083, 'and that budget is spent twice');
RESET deploydb.write_success_target;
CALL wait_for('20 minutes');
SELECT is(burning(), 'false true true true', 'not in the last five minutes');
CALL wait_for('3 hours');
SELECT is(burning(), 'false false false true', 'nor in the last two hours');

-- what is kept of a failure; each kind's newest counts
CREATE TABLE evidence (id integer CONSTRAINT positive CHECK (id > 0) CONSTRAINT once UNIQUE);
GRANT INSERT ON evidence TO deploydb_test_writer;
CREATE FUNCTION query_id_of(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (VERBOSE, FORMAT JSON) ' || statement INTO plan;
	RETURN plan -> 0 ->> 'Query Identifier';
END $$;
SELECT deploydb.track('evidence') AS tracked \g /dev/null
INSERT INTO evidence VALUES (1);
SET compute_query_id = on;
SELECT clock_timestamp() AS before
\gset
SET application_name = 'appx';
SET ROLE deploydb_test_writer;
SELECT is(try('INSERT INTO evidence VALUES (0)'), '23514', 'a check is violated');
SELECT is(try('INSERT INTO evidence SELECT 1'), '23505', 'and then a key');
RESET ROLE;
SET application_name = 'appy';
SELECT results_eq($$SELECT sqlstate, last_constraint, last_application, last_query_id, relation FROM deploydb.write_failures('1 hour', 'evidence')$$,
	$$VALUES ('23505', 'once', 'appx', query_id_of('INSERT INTO evidence SELECT 1'), 'public.evidence'),
		('23514', 'positive', 'appx', query_id_of('INSERT INTO evidence VALUES (0)'), 'public.evidence')$$, 'the newest first, and whose');
SELECT results_eq($$SELECT sqlstate, condition, attempts, last_constraint, last_application, last_query_id, role, relation
	FROM deploydb.recent_failures(2)$$,
	$$VALUES ('23505', 'unique_violation', 1::bigint, 'once', 'appx', query_id_of('INSERT INTO evidence SELECT 1'),
			'deploydb_test_writer', 'public.evidence'),
		('23514', 'check_violation', 1, 'positive', 'appx', query_id_of('INSERT INTO evidence VALUES (0)'),
			'deploydb_test_writer', 'public.evidence')$$, 'each with the role');
SELECT is((SELECT count(DISTINCT last_query_id) FROM deploydb.recent_failures(2) WHERE last_query_id <> 0), 2::bigint,
	'query ids there are');
SELECT ok((SELECT bool_and(last_at BETWEEN :'before' AND clock_timestamp()) AND
	max(last_at) FILTER (WHERE sqlstate = '23514') < max(last_at) FILTER (WHERE sqlstate = '23505')
	FROM deploydb.write_failures('1 hour', 'evidence')), 'and when');
SELECT results_eq($$SELECT sqlstate, last_at FROM deploydb.recent_failures(2)$$,
	$$SELECT sqlstate, last_at FROM deploydb.write_failures('1 hour', 'evidence')$$, 'at the same times');
SELECT is(try('INSERT INTO evidence VALUES (-1)'), '23514', 'the check again');
SELECT results_eq($$SELECT sqlstate, attempts, last_application FROM deploydb.write_failures('1 hour', 'evidence')$$,
	$$VALUES ('23514', 2::bigint, 'appy'), ('23505', 1, 'appx')$$, 'now that is the newest');
SELECT is((SELECT role FROM deploydb.recent_failures(1)), current_user::text, 'of another role');
RESET compute_query_id;
RESET application_name;

-- the ring of failures
SELECT throws_ok(format('SELECT deploydb.recent_failures(%s)', n), '22023', 'max_rows must be 0 or more', n || ' rows')
FROM unnest(ARRAY['NULL', '-1']) n;
SELECT is(detail_of(format('SELECT deploydb.recent_failures(%s)', n)), format('It is %s.', n), n || ', it says')
FROM unnest(ARRAY['NULL', '-1']) n;
SELECT is_empty('SELECT * FROM deploydb.recent_failures(0)', '0 rows');
CALL write_w(0, 70);
SELECT is((SELECT count(*) FROM deploydb.recent_failures(100)), 64::bigint, 'the last 64 are kept');
SELECT is((SELECT count(*) FROM deploydb.recent_failures()), 50::bigint, '50 of them unless told otherwise');
SELECT ok((SELECT bool_and(last_at <= before) AND bool_and(relation = 'public.w') FROM (
	SELECT *, lag(last_at, 1, 'infinity') OVER (ROWS UNBOUNDED PRECEDING) AS before FROM deploydb.recent_failures(100)) AS r),
	'the newest first, without those before');

-- each count is its own
CREATE TABLE apart (id integer);
SELECT deploydb.track('apart') AS tracked \g /dev/null
INSERT INTO apart VALUES (1), (2);
BEGIN;
INSERT INTO apart VALUES (3);
ROLLBACK;
BEGIN;
INSERT INTO apart VALUES (4);
PREPARE TRANSACTION 'deploydb_test_apart';
ROLLBACK PREPARED 'deploydb_test_apart';
SELECT results_eq($$SELECT attempts, succeeded, rolled_back, prepared, unaccounted, rows_written FROM deploydb.write_stats('1 day', 'apart')$$,
	'VALUES (2::bigint, 1::bigint, 1::bigint, 1::bigint, 0::bigint, 2::bigint)', 'what was prepared is no attempt');
SELECT deploydb.take_write_sample() AS taken \g /dev/null
INSERT INTO deploydb.write_epoch
SELECT e.target, e.since - interval '1 year', e.at - interval '1 minute', 100, 20, 3, 5, 6, 7, 9, 800, '', NULL, e.database_oid, e.tracked_at
FROM deploydb.write_epoch e JOIN deploydb.write_target t USING (target) WHERE t.name = 'apart' AND NOT t.others;
INSERT INTO deploydb.write_sample
SELECT e.target, e.at, e.since, e.succeeded, e.failed, e.rolled_back, e.rejected, e.swallowed, e.prepared, e.unaccounted,
	e.rows_written, e.latency
FROM deploydb.write_epoch e JOIN deploydb.write_target t USING (target) WHERE t.name = 'apart' AND e.succeeded = 100;
SELECT results_eq(
	$$SELECT attempts, succeeded, failed, rolled_back, rejected, swallowed, prepared, unaccounted, rows_written, success_rate
	FROM deploydb.write_stats('1 day', 'apart')$$,
	$$VALUES (130::bigint, 101::bigint, 20::bigint, 4::bigint, 5::bigint, 6::bigint, 8::bigint, 9::bigint, 802::bigint,
		101 / 130::float8)$$, 'in the statistics');
SELECT results_eq(
	$$SELECT relation, attempts, succeeded, failed, rolled_back, rejected, rows_written, success_rate
	FROM deploydb.write_history('1 day', '36525 days', 'apart')$$,
	$$VALUES ('public.apart', 130::bigint, 101::bigint, 20::bigint, 4::bigint, 5::bigint, 802::bigint, 101 / 130::float8)$$,
	'and in the history');
-- a server that was the primary, and is again: another one's samples lie between
CREATE TABLE turns (id integer CHECK (id > 0));
SELECT deploydb.track('turns') AS tracked \g /dev/null
INSERT INTO turns SELECT 1 FROM generate_series(1, 100);
SELECT try('INSERT INTO turns VALUES (-1)') FROM generate_series(1, 4) \g /dev/null
SELECT deploydb.take_write_sample() AS taken, clock_timestamp() AS own_sample \gset
INSERT INTO deploydb.write_epoch
SELECT t.target, clock_timestamp(), clock_timestamp(), 7, 1, 0, 0, 0, 0, 0, 7, '', '{"22012": 1}', 1, now()
FROM deploydb.write_target t WHERE t.name = 'turns' AND NOT t.others;
INSERT INTO deploydb.write_sample
SELECT e.target, e.at, e.since, e.succeeded, e.failed, 0, 0, 0, 0, 0, e.rows_written, e.latency, e.failures FROM deploydb.write_epoch e
WHERE e.succeeded = 7;
SELECT clock_timestamp() AS other_sample \gset
INSERT INTO turns VALUES (1);
CREATE FUNCTION turns(since timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE deploydb.write_target SET reset_at = since WHERE name = 'turns';
	RETURN (SELECT concat_ws(' ', s.attempts, s.rows_written, (SELECT sum(f.attempts) FROM deploydb.write_failures('1 day', 'turns') f))
		FROM deploydb.write_stats('1 day', 'turns') s);
END $$;
SELECT is(turns(:'other_sample'), '1 1', 'since the other one''s last sample');
SELECT is((SELECT sum(attempts) FROM deploydb.write_history(format('%s microseconds', floor(extract(epoch FROM clock_timestamp() - :'other_sample') * 1000000)),
	'36525 days', 'turns')), 1::numeric, 'in the history, too');
SELECT is(turns(:'own_sample'), '9 8', 'since its own');
SELECT is(turns('-infinity'), '14 108 4', 'all of it');
SELECT deploydb.take_write_sample() AS taken \g /dev/null
SELECT is(turns(:'other_sample'), '1 1', 'sampled, the same');
SELECT is((SELECT deploydb.histogram_sum(array_agg(s.latency)) FROM deploydb.write_sample s JOIN deploydb.write_target t USING (target) WHERE t.name = 'turns'),
	(SELECT c.latency FROM deploydb.write_counters() c WHERE c.name = 'turns' AND NOT c.others), 'durations, too, are those since its own last one');
SELECT is((SELECT string_agg(kind, ' ') FROM deploydb.write_gap WHERE name = 'turns'), 'lost', 'what the other one counted after that is a gap');
-- and where it began to count before
UPDATE deploydb.write_epoch SET since = '2026-01-01' WHERE succeeded = 7;
UPDATE deploydb.write_sample SET since = '2026-01-01' WHERE succeeded = 7;
SELECT is(turns(:'other_sample'), '1 1', 'since the last sample of one that began to count before');
SELECT is(turns(:'own_sample'), '9 8', 'since its own');
SELECT is(turns('-infinity'), '14 108 4', 'all of it');
SELECT deploydb.untrack('turns') AS untracked \g /dev/null

-- each time without tracking is a gap, also where nothing was written between
CREATE TABLE on_and_off (id integer);
SELECT deploydb.track('on_and_off') AS tracked \g /dev/null
INSERT INTO on_and_off VALUES (1);
SELECT deploydb.take_write_sample() AS taken \g /dev/null
SELECT deploydb.untrack('on_and_off') AS untracked \g /dev/null
SELECT deploydb.track('on_and_off') AS tracked \g /dev/null
SELECT deploydb.take_write_sample() AS taken \g /dev/null
SELECT deploydb.untrack('on_and_off') AS untracked \g /dev/null
SELECT deploydb.track('on_and_off') AS tracked \g /dev/null
SELECT deploydb.take_write_sample() AS taken \g /dev/null
SELECT is((SELECT string_agg(kind, ' ') FROM deploydb.write_gap WHERE name = 'on_and_off'), 'untracked untracked', 'untracked twice');
SELECT deploydb.untrack('on_and_off') AS untracked \g /dev/null

SELECT clock_timestamp() AS before
\gset
SELECT deploydb.reset_write_stats('apart') AS reset \g /dev/null
SELECT results_eq(format($$SELECT prepared, unaccounted, since, since BETWEEN %L AND clock_timestamp()
	FROM deploydb.write_stats('1 day', 'apart')$$, :'before'),
	$$SELECT 0::bigint, 0::bigint, until, true FROM deploydb.write_gap WHERE name = 'apart' AND kind = 'reset'$$,
	'since the reset');

-- a month of samples: points are looked up
INSERT INTO deploydb.write_sample
SELECT e.target, e.at - interval '30 days' + n * interval '30 s', e.since, 0, 0, 0, 0, 0, 0, 0, 0, ''
FROM deploydb.write_epoch e JOIN deploydb.write_target t USING (target), generate_series(1, 86000) n
WHERE t.name = 'w' AND NOT t.others AND e.at = (SELECT max(at) FROM deploydb.write_epoch WHERE target = e.target)
ON CONFLICT DO NOTHING;
ANALYZE deploydb.write_sample;
CREATE VIEW reads AS
	SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_all_tables
	WHERE relid = 'deploydb.write_sample'::regclass;
BEGIN;
SELECT seq_scan AS scans, idx_tup_fetch AS fetches FROM reads
\gset
SELECT deploydb.write_success_rate(p, 'w') AS rate FROM unnest('{1 minute,24 hours,30 days,2 years}'::text[]) p \g /dev/null
SELECT is((SELECT seq_scan - :scans FROM reads), 0::bigint, 'no sample is scanned');
SELECT cmp_ok((SELECT idx_tup_fetch - :fetches FROM reads), '<=', 20::bigint, 'few are fetched');
COMMIT;

-- what the rules are given: enough to tell for the built-in one, whatever the target
CREATE TABLE decision_insights (id integer PRIMARY KEY);
SELECT deploydb.track('decision_insights') \g /dev/null
CREATE FUNCTION published() RETURNS double precision LANGUAGE sql
	AS $$ SELECT m.value FROM deploydb.measure_writes(now()) m WHERE m.metric = 'insight.write.success_rate' $$;
DO $$ BEGIN
	FOR i IN 1 .. 28 LOOP
		INSERT INTO decision_insights VALUES (i);
	END LOOP;
END $$;
SET deploydb.write_success_target = 0.9;
SELECT is(string_agg(try(format('INSERT INTO decision_insights VALUES (%s)', n)), ' '), '23505 23505', 'two of 30 fail') FROM generate_series(1, 2) n;
SELECT is((SELECT verdict FROM deploydb.write_stats('15 minutes', 'decision_insights')), 'ok', 'which a target of 0.9 allows');
SELECT is(published(), NULL, 'and is too few for a threshold of 0.99');
SELECT deploydb.set_rule('insight_write_success_low', threshold => 0.9) \g /dev/null
SELECT is(published(), 28 / 30::float8, 'with this one it is told');
SELECT deploydb.set_rule('strict', 'insight.write.success_rate', comparison => '<', threshold => 0.999) \g /dev/null
SELECT is(published(), 28 / 30::float8, 'also where another rule is stricter');
SELECT deploydb.reset_rule(r) FROM unnest('{strict,insight_write_success_low}'::text[]) r \g /dev/null
SELECT is(try('INSERT INTO decision_insights VALUES (1)'), '23505', 'a third one');
SELECT is(published(), 28 / 31::float8, 'is enough');
RESET deploydb.write_success_target;

-- rights
SELECT is((SELECT string_agg(DISTINCT try(format('SET LOCAL ROLE deploydb_test_monitor; SELECT * FROM deploydb.%s', f)), ' ')
	FROM unnest('{write_success_rate(),write_stats(),write_failures(),burn_rates(),write_history(),log_error}'::text[]) f),
	'ok', 'pg_monitor reads all of it');
SELECT is((SELECT string_agg(DISTINCT try(format('SET LOCAL ROLE deploydb_test_nobody; SELECT * FROM deploydb.%s', f)), ' ')
	FROM unnest('{write_success_rate(),write_stats(),write_failures(),burn_rates(),write_history(),log_error}'::text[]) f),
	'42501', 'others do not');
SELECT is((SELECT string_agg(DISTINCT try(format('SET LOCAL ROLE deploydb_test_monitor; SELECT deploydb.%s', f)), ' ')
	FROM unnest(ARRAY['reset_write_stats()', 'take_write_sample()', 'report_client_failures(''w'', 1, ''x'')']) f),
	'42501', 'to act takes more than pg_monitor');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_nobody, deploydb_test_monitor, deploydb_test_writer;
DROP ROLE deploydb_test_nobody, deploydb_test_monitor, deploydb_test_writer;
