-- Metrics: what is kept of values, what people push and add, and what the
-- collectors measure.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SET search_path = public, deploydb;
SELECT plan(60);

CREATE FUNCTION latest(name text, of_series text DEFAULT '') RETURNS double precision
LANGUAGE sql AS $$ SELECT value FROM deploydb.metric_latest WHERE metric = name AND series = of_series $$;
CREATE FUNCTION note(name text, of_series text DEFAULT '') RETURNS text
LANGUAGE sql AS $$ SELECT note FROM deploydb.metric_latest WHERE metric = name AND series = of_series $$;

-- What is kept

SELECT ok(deploydb.record_metric('m', 's', '2026-11-01 10:00+00', 1), 'a value is kept');
SELECT deploydb.record_metric('m', 's', '2026-11-01 10:00+00'::timestamptz + n * interval '30 s', 1)
	FROM generate_series(1, 20) n \g /dev/null
SELECT is((SELECT array_agg(to_char(at AT TIME ZONE 'UTC', 'HH24:MI:SS') ORDER BY at) FROM deploydb.metric_sample
	WHERE metric = 'm'), '{10:00:00,10:05:00,10:10:00}', 'the same value is a sample every five minutes');
SELECT deploydb.record_metric('m', 's', '2026-11-01 10:10:30+00', 2) \g /dev/null
SELECT deploydb.record_metric('m', 's', '2026-11-01 10:11:00+00', NULL, note => 'why') \g /dev/null
SELECT deploydb.record_metric('m', 's', '2026-11-01 10:40:00+00', NULL, note => 'why') \g /dev/null
SELECT results_eq($$SELECT value FROM deploydb.metric_sample WHERE metric = 'm' AND at > '2026-11-01 10:10+00' ORDER BY at$$,
	$$VALUES (2::double precision), (NULL)$$, 'another value at once, and that there is none once');
SELECT deploydb.record_metric('m', 's', '2026-11-01 10:20+00', 9) \g /dev/null
SELECT is(latest('m', 's'), NULL, 'an older value does not become the newest');
SELECT is((SELECT count(*) FROM deploydb.metric_sample WHERE value = 9), 1::bigint, 'it is a sample');
UPDATE deploydb.metric_latest SET at = '2999-01-01';
SELECT deploydb.record_metric('m', 's', now(), 3) \g /dev/null
SELECT is(latest('m', 's'), 3::double precision, 'after the clock was set back, what is measured now is the newest');
SELECT throws_ok($$SELECT deploydb.record_metric('m', 's', NULL, 1)$$, '22004');
SELECT throws_ok($$SELECT deploydb.record_metric('m', 's', now(), 1, severity => 'P9')$$, '22023');

SELECT is(deploydb.purge_samples('2026-11-01 10:10:15+00', 2), 2::bigint, 'samples are purged, so many at a time');
SELECT is((SELECT min(at) FROM deploydb.metric_sample), '2026-11-01 10:10+00', 'the oldest first');
SELECT is(deploydb.purge_samples('2026-11-01 10:10:15+00', 2), 1::bigint, 'the rest the next time');
SELECT throws_ok($$SELECT deploydb.purge_samples(now(), -1)$$, '22023');

-- Pushed

SELECT ok(push_metric('api.up', 1), 'a declared metric is pushed');
SELECT is(latest('api.up'), 1::double precision, 'and has the value');
SELECT throws_like($$SELECT push_metric('api.upp', 1)$$, 'metric "api.upp" does not exist', 'another is not known');
SELECT throws_ok($$SELECT push_metric('api.upp', 1)$$, '42704');
SELECT throws_ok($$SELECT push_metric('db.size_bytes', 1)$$, '55000', NULL, 'what the monitor measures is not pushed');
SELECT throws_ok(format('SELECT push_metric(''api.up'', %L)', v), '22003', NULL, v || ' is no value')
	FROM unnest('{NaN,Infinity,-Infinity}'::text[]) v;
SELECT throws_ok($$SELECT push_metric('api.up', NULL)$$, '22004');
SELECT throws_ok($$SELECT push_metric('api.up', 1, now() + interval '1 hour')$$, '22008', NULL, 'the future is refused');
SELECT throws_ok($$SELECT push_metric('api.up', 1, now() - interval '2 days')$$, '22008', NULL, 'and the distant past');
SELECT ok(push_metric('api.up', 0, now() - interval '1 hour'), 'a late value is taken');
SELECT is(latest('api.up'), 1::double precision, 'but is not the newest');

-- Added

CREATE TABLE job (done boolean);
INSERT INTO job VALUES (false), (false);
SELECT ok(add_metric('queue.length', 'SELECT count(*) FROM job', 'jobs', 'Jobs that wait'), 'a query is a metric');
SELECT is((SELECT concat_ws('|', source, unit, query, owner = current_user, search_path)
	FROM deploydb.metric WHERE name = 'queue.length'), 'query|jobs|SELECT count(*) FROM job|t|public, deploydb',
	'of whom added it, with the search_path');
SELECT throws_ok(format('SELECT add_metric(''x.y'', %L)', q), state, NULL, q || ' is refused')
FROM (VALUES ('SELECT 1, 2', '42804'), ('SELECT ''a''', '42804'), ('SELECT 1 WHERE false', '21000'),
	('SELECT generate_series(1, 2)', '21000'), ('SELECT 1; SELECT 2', '42601'), ('INSERT INTO job VALUES (true) RETURNING 1', '42601'),
	('WITH i AS (INSERT INTO job VALUES (true) RETURNING 1) SELECT count(*) FROM i', '25006'),
	('SELECT count(*) FROM nowhere', '42P01'), ('SELECT ''NaN''::float8', '22003'), ('SELECT 1/0', '22012'),
	('SELEC', '42601'), ('', '42601')) AS v (q, state);
SELECT throws_ok($$SELECT add_metric('queue_length', 'SELECT 1')$$, '42710', NULL, 'a name that Prometheus cannot tell from another');
SELECT throws_ok($$SELECT add_metric('db.size_bytes', 'SELECT 1')$$, '42710', NULL, 'nor a built-in one''s');
SELECT throws_ok(format('SELECT add_metric(%L, ''SELECT 1'')', n), '22023', NULL, 'no name: ' || n)
	FROM unnest('{"",Big,.a,a..b,a-b,1a,alert.state}'::text[]) n;
SELECT throws_ok($$SELECT add_metric(NULL, 'SELECT 1')$$, '22004');
SELECT is((SELECT array_agg(name) FROM due_metric()), '{queue.length}', 'the monitor is to run it');
SELECT ok(record_own_metric('queue.length', 2, NULL, false), 'and keeps what it gives');
SELECT is((SELECT array_agg(name) FROM due_metric()), NULL, 'once an interval');
SELECT record_own_metric('queue.length', NULL, 'division by zero', false) FROM generate_series(1, 2) \g /dev/null
SELECT is((SELECT fault FROM deploydb.metric WHERE name = 'queue.length'), NULL, 'it may fail twice');
SET client_min_messages = error;
SELECT record_own_metric('queue.length', NULL, 'division by zero', false) \g /dev/null
RESET client_min_messages;
SELECT is((SELECT fault FROM deploydb.metric WHERE name = 'queue.length'), 'division by zero', 'the third time disables it, with the reason');
UPDATE deploydb.metric SET enabled = true WHERE name = 'queue.length';
SELECT is((SELECT fault FROM deploydb.metric WHERE name = 'queue.length'), NULL, 'an UPDATE has it tried again');
SELECT ok(drop_metric('queue.length'), 'a metric is dropped');
SELECT is(latest('queue.length'), NULL, 'with its value');
SELECT throws_ok($$SELECT drop_metric('queue.length')$$, '42704');
SELECT throws_ok($$SELECT drop_metric('api.up')$$, '55000');
SELECT add_metric('shop.orders', NULL, 'orders', 'Orders a minute') \g /dev/null
SELECT ok(push_metric('shop.orders', 12), 'without a query it is declared, and pushed');

SELECT * FROM finish();
