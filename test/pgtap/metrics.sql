-- Metrics: what is kept of values, what people push and add, and what the
-- collectors measure.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SET search_path = public, deploydb;
SELECT plan(186);

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

INSERT INTO deploydb.metric_sample
	SELECT timestamptz '2026-11-02 10:00+00' + n * interval '30 s', n, 'thin', series
	FROM generate_series(0, 240) n, unnest('{a,b}'::text[]) series;
DELETE FROM deploydb.metric_sample WHERE metric <> 'thin';
SELECT is(thin_samples('2026-11-02 13:00+00'), 0::bigint, 'an hour is not thinned before the next two have passed');
SELECT is(thin_samples('2026-11-02 13:01+00'), 216::bigint, 'then it is');
SELECT results_eq($$SELECT value FROM deploydb.metric_sample WHERE series = 'a' AND at < '2026-11-02 11:00+00' ORDER BY at$$,
	$$SELECT n::double precision FROM generate_series(9, 119, 10) n$$, 'to the last of each five minutes');
SELECT is((SELECT count(*) FROM deploydb.metric_sample WHERE at >= '2026-11-02 11:00+00'), 242::bigint, 'and that hour alone');
SELECT is(thin_samples('2026-11-02 13:01+00'), 0::bigint, 'once');
DELETE FROM deploydb.metric_sample;

-- Pushed

SELECT ok(push_metric('api.up', 1), 'a declared metric is pushed');
SELECT is(latest('api.up'), 1::double precision, 'and has the value');
SELECT throws_like($$SELECT push_metric('api.upp', 1)$$, 'metric "api.upp" does not exist', 'another is not known');
SELECT throws_ok($$SELECT push_metric('api.upp', 1)$$, '42704');
SELECT throws_ok($$SELECT push_metric('db.size_bytes', 1)$$, '55000', NULL, 'what the monitor measures is not pushed');
SELECT throws_ok(format('SELECT push_metric(''api.up'', %L)', v), '22003', NULL, v || ' is no value')
	FROM unnest('{NaN,Infinity,-Infinity}'::text[]) v;
SELECT throws_ok(format('SELECT push_metric(''http.error_rate.5xx'', %L)', v), '22003', NULL, v || ' is no share') FROM unnest('{7,1.0001,-0.01}'::text[]) v;
CREATE FUNCTION refusal(OUT text) LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM deploydb.push_metric('http.error_rate.5xx', 7);
EXCEPTION WHEN numeric_value_out_of_range THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	$1 := concat_ws(' | ', SQLERRM, detail, hint);
END $$;
SELECT is(refusal(), 'value of metric "http.error_rate.5xx" must be between 0 and 1 | It is a ratio, and the value is 7. | 7 % is 0.07.',
	'which is explained');
SELECT is(latest('http.error_rate.5xx'), NULL, 'and nothing of it is kept');
SELECT ok(push_metric('http.error_rate.5xx', v), 'the ends belong to it') FROM unnest('{0,1}'::float8[]) v;
SELECT throws_ok($$SELECT push_metric('api.up', NULL)$$, '22004');
SELECT throws_ok($$SELECT push_metric('api.up', 1, now() + interval '1 hour')$$, '22008', NULL, 'the future is refused');
SELECT throws_ok($$SELECT push_metric('api.up', 1, now() - interval '2 days')$$, '22008', NULL, 'and the distant past');
SELECT ok(push_metric('api.up', 0, now() - interval '1 hour'), 'a late value is taken');
SELECT is(latest('api.up'), 1::double precision, 'but is not the newest');
SELECT now() AS pushed_at \gset
SELECT push_metric('api.up', 0, :'pushed_at') FROM generate_series(1, 2) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.metric_sample WHERE metric = 'api.up' AND at = :'pushed_at'), 1::bigint, 'one that comes twice is one value');
SELECT push_metric('api.up', 1) \g /dev/null

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
SELECT add_metric('queue.wait.ms', NULL) \g /dev/null
SELECT throws_ok(format('SELECT add_metric(%L, NULL)', n), '42710', NULL, 'nor one that differs by its unit: ' || n)
	FROM unnest('{queue.wait_ms,queue.wait_seconds,alert.evaluation_seconds}'::text[]) n;
SELECT throws_ok(format('SELECT add_metric(%L, ''SELECT 1'')', n), '22023', NULL, 'no name: ' || n)
	FROM unnest('{"",Big,.a,a..b,a-b,1a,alert.state,worker.last_tick_timestamp_seconds,worker_last_tick.timestamp.ms}'::text[]) n;
SELECT throws_ok($$SELECT add_metric(NULL, 'SELECT 1')$$, '22004');
SELECT is((SELECT array_agg(name) FROM due_metric(clock_timestamp())), '{queue.length}', 'the monitor is to run it');
SELECT ok(record_own_metric('queue.length', 2, NULL, false), 'and keeps what it gives');
SELECT is((SELECT array_agg(name) FROM due_metric(clock_timestamp())), NULL, 'once an interval');
SELECT record_own_metric('queue.length', NULL, 'division by zero', false) FROM generate_series(1, 2) \g /dev/null
SELECT is((SELECT fault FROM deploydb.metric WHERE name = 'queue.length'), NULL, 'it may fail twice');
SET client_min_messages = error;
SELECT record_own_metric('queue.length', NULL, 'division by zero', false) \g /dev/null
RESET client_min_messages;
SELECT is((SELECT fault FROM deploydb.metric WHERE name = 'queue.length'), 'division by zero', 'the third time leaves it out, with the reason');
CREATE FUNCTION due_in(wait interval) RETURNS text LANGUAGE plpgsql AS $$
DECLARE due text;
BEGIN
	UPDATE deploydb.metric_latest SET at = at - wait,
		readings = jsonb_build_object('left_out_until', (readings ->> 'left_out_until')::timestamptz - wait)
	WHERE metric = 'queue.length';
	SELECT string_agg(d.name, ',') INTO due FROM due_metric(clock_timestamp()) d;
	RETURN due;
END $$;
SELECT results_eq($$SELECT verdict, regexp_replace(detail, '\s+', ' ', 'g') ~ '^metric queue.length could not be measured: division by zero; left out until \d\d:\d\d:\d\d ', next_step
	FROM deploydb_status() WHERE area = 'metrics'$$,
	$$VALUES ('warning', true, 'UPDATE deploydb.metric SET enabled = true WHERE name = ''queue.length''; -- once it is mended')$$, 'the status says it');
SELECT is(due_in('59 minutes'), NULL, 'for an hour');
SELECT is(due_in('1 minute'), 'queue.length', 'then it is tried again');
SET client_min_messages = error;
SELECT record_own_metric('queue.length', NULL, 'division by zero', false) \g /dev/null
RESET client_min_messages;
SELECT is(due_in('59 minutes'), NULL, 'once, where it fails again');
UPDATE deploydb.metric SET enabled = true WHERE name = 'queue.length';
SELECT is((SELECT fault FROM deploydb.metric WHERE name = 'queue.length'), NULL, 'an UPDATE has it tried again');
SELECT is(due_in('1 minute'), 'queue.length', 'at once');
SELECT record_own_metric('queue.length', NULL, 'division by zero', false) FROM generate_series(1, 2) \g /dev/null
SELECT ok(record_own_metric('queue.length', 2, NULL, false), 'it works again');
SELECT is((SELECT concat_ws('|', s.failures, s.last_error, l.error, l.readings) FROM deploydb.own_metric_state s JOIN deploydb.metric_latest l ON l.metric = s.name
	WHERE s.name = 'queue.length'), '0', 'and what it was is forgotten');
SET client_min_messages = error;
SELECT record_end('queue.length') FROM generate_series(1, 3) \g /dev/null
RESET client_min_messages;
SELECT is(due_in('1 year'), NULL, 'what ended the monitor three times is not tried again');
SELECT matches((SELECT detail FROM deploydb_status() WHERE area = 'metrics'), 'until\s+it\s+is\s+enabled\s+again', 'and the status says so');
UPDATE deploydb.metric SET enabled = true WHERE name = 'queue.length';
SELECT is(due_in('1 minute'), 'queue.length', 'before an UPDATE');
UPDATE deploydb.monitor_state SET last_error_at = NULL;
SELECT ok(drop_metric('queue.length'), 'a metric is dropped');
SELECT is(latest('queue.length'), NULL, 'with its value');
SELECT throws_ok($$SELECT drop_metric('queue.length')$$, '42704');
SELECT throws_ok($$SELECT drop_metric('api.up')$$, '55000');
SELECT add_metric('shop.orders', NULL, 'orders', 'Orders a minute') \g /dev/null
SELECT ok(push_metric('shop.orders', 12), 'without a query it is declared, and pushed');

-- Switched off

SELECT deploydb.set_rule('orders_many', 'shop.orders', comparison => '>', threshold => 10) \g /dev/null
UPDATE deploydb.metric SET enabled = false WHERE name = 'shop.orders';
SELECT is((SELECT count(*) FROM deploydb.metric_value WHERE metric = 'shop.orders'), 0::bigint, 'a metric that is switched off has no value');
SELECT ok(NOT push_metric('shop.orders', 12), 'and none is taken');
SELECT deploydb.evaluate_rules(now()) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.active_alert WHERE rule = 'orders_many'), 0::bigint, 'so its rules do not fire');
SELECT add_metric('shop.carts', 'SELECT 5') \g /dev/null
UPDATE deploydb.metric SET enabled = false WHERE name = 'shop.carts';
SELECT ok(NOT record_own_metric('shop.carts', 5, NULL, false), 'nor what a query gave that was under way');
UPDATE deploydb.metric SET enabled = true WHERE name = 'shop.orders';
SELECT ok(push_metric('shop.orders', 12), 'until it is switched on');
SELECT deploydb.reset_rule('orders_many'), deploydb.drop_metric('shop.carts') \g /dev/null

-- Whose a query is

CREATE FUNCTION owner_of_query() RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM deploydb.metric_latest l WHERE l.metric = 'shop.visits';
	RETURN (SELECT d.owner_oid::oid::regrole FROM deploydb.due_metric(now()) d WHERE d.name = 'shop.visits');
END
$$;
CREATE ROLE deploydb_test_before;
CREATE ROLE deploydb_test_stranger;
GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA deploydb TO deploydb_test_stranger;
GRANT USAGE ON SCHEMA deploydb TO deploydb_test_stranger;
GRANT EXECUTE ON FUNCTION deploydb.check_update TO deploydb_test_stranger;
SELECT deploydb.grant_access('deploydb_test_before', 'operator') \g /dev/null
SET ROLE deploydb_test_before;
SELECT deploydb.add_metric('shop.visits', 'SELECT 5') \g /dev/null
RESET ROLE;
ALTER ROLE deploydb_test_before RENAME TO deploydb_test_after;
CREATE ROLE deploydb_test_before;
SELECT is((SELECT owner FROM deploydb.metric WHERE name = 'shop.visits'), 'deploydb_test_after', 'the owner is called what the role is called now');
SELECT is(deploydb.refresh_owners(), 1::bigint, 'the tick keeps its name');
SELECT is((SELECT owner FROM deploydb.own_metric WHERE name = 'shop.visits'), 'deploydb_test_after', 'for a dump');
SELECT is(deploydb.refresh_owners(), 0::bigint, 'once');
ALTER ROLE deploydb_test_after RENAME TO deploydb_test_later;
SELECT record_own_metric('shop.visits', NULL, 'it broke', true) \g /dev/null
UPDATE deploydb.metric SET enabled = true WHERE name = 'shop.visits';
SELECT is(owner_of_query(), 'deploydb_test_later',
	'it is switched on again though the role was renamed, and is that role''s');
SELECT throws_ok(format('UPDATE deploydb.metric SET %s WHERE name = ''shop.visits''', s), '0A000', NULL, s || ' is not for people to say')
	FROM unnest(ARRAY['source = ''collected''', 'built_in = true']) s;
SELECT throws_ok($$SELECT add_metric('shop_visits', NULL)$$, '42710', 'metric "shop.visits" already exists', 'the same to Prometheus');
SELECT throws_ok($$UPDATE deploydb.metric SET owner = 'nobody_here' WHERE name = 'shop.visits'$$, '42704', NULL, 'it is not given to nobody');
SET ROLE deploydb_test_stranger;
SELECT throws_ok($$UPDATE deploydb.metric SET owner = 'deploydb_test_before' WHERE name = 'shop.visits'$$, '42501',
	'must be member of role "deploydb_test_before"', 'nor to a role that one is no member of');
RESET ROLE;
SELECT is((SELECT owner FROM deploydb.metric WHERE name = 'shop.visits'), 'deploydb_test_later', 'and stays whose it was');
UPDATE deploydb.metric SET owner = 'deploydb_test_before' WHERE name = 'shop.visits';
SELECT is(owner_of_query(), 'deploydb_test_before', 'it is given to another');
-- as restored
DELETE FROM deploydb.own_metric_state;
SELECT deploydb.refresh_owners() \g /dev/null
ALTER ROLE deploydb_test_before RENAME TO deploydb_test_after;
SELECT is(owner_of_query(), 'deploydb_test_after',
	'what a restore brought is the role''s from the first tick on');
SELECT drop_metric('shop.visits') \g /dev/null
DROP OWNED BY deploydb_test_after, deploydb_test_later, deploydb_test_stranger;
DROP ROLE deploydb_test_after, deploydb_test_later, deploydb_test_stranger;

-- The growth of a counter: of the last minute, and never negative

CREATE FUNCTION grow(seconds integer, count bigint) RETURNS double precision
LANGUAGE plpgsql AS $$
DECLARE
	now timestamptz := '2026-11-01 12:00+00'::timestamptz + make_interval(secs => seconds);
	g record;
BEGIN
	SELECT * INTO g FROM deploydb.growth_per_min('grown', now, count);
	PERFORM deploydb.record_metric('grown', '', now, g.value, readings => g.readings);
	RETURN g.value;
END $$;
SELECT is(grow(0, 100), NULL, 'one reading is no growth');
SELECT is(grow(1, 101), NULL, 'nor is what a second brought a minute''s');
SELECT is(grow(30, 110), NULL, 'or half a minute');
SELECT is(grow(60, 130), 30::double precision, 'all of a minute');
SELECT is(grow(90, 130), 20::double precision, 'what is older than a minute does not count');
SELECT is(grow(120, 7), 7::double precision, 'a counter that begins anew has counted since');
SELECT is(grow(240, 8), 0.5::double precision, 'over two minutes it is half of what came');
SELECT is(grow(840, 1008), NULL, 'what came while nobody measured is of no last minute');
SELECT is(grow(870, 1013), NULL, 'nor is there one before a minute was measured');
SELECT is(grow(900, 1018), 10::double precision, 'then there is');
SELECT is(grow(930, 1023), 10::double precision, 'without a jump');
SELECT is((SELECT jsonb_array_length(readings) FROM deploydb.metric_latest WHERE metric = 'grown'), 3,
	'of readings no more than a minute''s are kept');
UPDATE deploydb.metric_latest SET readings = replace(readings::text, '"00000001"', '"00000009"')::jsonb WHERE metric = 'grown';
SELECT is(grow(960, 1029), NULL, 'what was read on another timeline is of another server');
SELECT is(grow(1020, 1030), 1::double precision, 'from then on it grows again');
-- the same errors all the time, as many before a break, in it and after it
CREATE FUNCTION rising(seconds integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	now timestamptz := '2026-11-01 14:00+00'::timestamptz + make_interval(secs => seconds);
	g record;
BEGIN
	SELECT * INTO g FROM deploydb.growth_per_min('db.errors.per_min', now, seconds);
	PERFORM deploydb.record_metric('db.errors.per_min', '', now, g.value, readings => g.readings);
	PERFORM deploydb.evaluate_rules(now);
	RETURN (SELECT count(*) FROM deploydb.alert_event WHERE rule = 'db_errors_rising');
END $$;
SELECT is((SELECT max(rising(30 * n)) FROM generate_series(0, 20) n), 0::bigint, 'what never grows is no trend from the beginning on');
SELECT is((SELECT max(rising(1200 + 30 * n)) FROM generate_series(0, 20) n), 0::bigint, 'nor after a break');
SELECT is((SELECT max(rising(1800 + CASE WHEN n < 4 THEN 5 * n ELSE 900 + 30 * n END)) FROM generate_series(0, 20) n), 0::bigint, 'nor a second one');
SELECT is(latest('db.errors.per_min'), 60::double precision, 'of which there are as many as there are');
DELETE FROM deploydb.metric_latest WHERE metric = 'db.errors.per_min';
DELETE FROM deploydb.alert_state;

-- A database without anything: no value, and no failure

SELECT is(collect_metrics(now()), 0, 'no collector fails');
SELECT is((SELECT count(*) FROM deploydb.metric_latest WHERE error IS NOT NULL), 0::bigint, 'none has an error');
SELECT is((SELECT count(*) FROM deploydb.metric_latest WHERE metric = 'migration.deviations'), 0::bigint,
	'what was never there is not watched');
SELECT cmp_ok(latest('db.size_bytes'), '>', 1e6::double precision, 'the size');
SELECT cmp_ok(latest('db.connections.used_ratio'), '>', 0::double precision, 'the connections in use');
SELECT cmp_ok(latest('db.xid_age'), '>', 0::double precision, 'the age of the oldest transaction id');
SELECT is(latest('webhook.backlog'), 0::double precision, 'no message waits');
SELECT is((SELECT array_agg(metric) FROM deploydb.metric_latest WHERE metric IN ('decision.confidence.p50', 'insight.coverage',
	'db.replication_lag_seconds', 'archive.failed', 'backup.age_seconds')), NULL, 'what is not there has no row');
SELECT throws_ok('SELECT deploydb.collect_metrics(NULL)', '22004');

-- The migration

CREATE TABLE decision_insights (id text);
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.metric_latest WHERE metric = 'migration.deviations'), 0::bigint,
	'one that deviates from the beginning is not watched');
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
	migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations VALUES ('1', 'c', now(), '20251203071615_add_decision_insights', NULL, NULL, now(), 1);
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT cmp_ok(latest('migration.deviations', '20251203071615_add_decision_insights'), '>', 3::double precision,
	'unless the ledger says that it was applied');
UPDATE _prisma_migrations SET rolled_back_at = now(), finished_at = NULL;
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.metric_latest WHERE metric = 'migration.deviations'), 0::bigint,
	'nor is one that was rolled back');
DROP TABLE decision_insights, _prisma_migrations;
SELECT ddl FROM deploydb.builtin_migrations() \gexec
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(latest('migration.deviations', '20251203071615_add_decision_insights'), 0::double precision, 'one that verifies is watched');
ALTER TABLE decision_insights ALTER user_id TYPE varchar(10);
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(latest('migration.deviations', '20251203071615_add_decision_insights'), 1::double precision, 'and what deviates is counted');
SELECT is(note('migration.deviations', '20251203071615_add_decision_insights'),
	'column decision_insights.user_id: type is character varying(10), expected text', 'in words, too');
SET deploydb.language = 'zh';
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(note('migration.deviations', '20251203071615_add_decision_insights'),
	'列 decision_insights.user_id：type 为 character varying(10)，应为 text', 'likewise in Chinese');
RESET deploydb.language;
ALTER TABLE decision_insights ALTER user_id TYPE text;

-- A migration that deploydb rolled back, whatever a ledger says

CREATE FUNCTION deviations() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM deploydb.collect_metrics(clock_timestamp());
	RETURN COALESCE((SELECT value::text FROM deploydb.metric_latest WHERE metric = 'migration.deviations'), 'not watched');
END $$;
CREATE FUNCTION roll_back() RETURNS bigint LANGUAGE sql AS $$
	SELECT deploydb.rollback_migration((deploydb.plan_rollback('add_decision_insights', false) ->> 'id')::bigint, 'a test') $$;
SET client_min_messages = error;
SELECT roll_back() \g /dev/null
SELECT is(deviations(), 'not watched', 'what was rolled back is not watched, without a ledger, too');
SELECT deploydb_verify_migration('add_decision_insights') \g /dev/null
SELECT is(deviations(), 'not watched', 'though somebody looks');
SELECT ddl FROM deploydb.builtin_migrations() \gexec
SELECT is(deviations(), '0', 'until it verifies again');
ALTER TABLE decision_insights ALTER user_id TYPE varchar(10);
SELECT is(deviations(), '1', 'from when on it is');
ALTER TABLE decision_insights ALTER user_id TYPE text;
SELECT roll_back() AS second \gset
SELECT ddl FROM deploydb.builtin_migrations() \gexec
SELECT deviations() \g /dev/null
ALTER TABLE decision_insights ALTER user_id TYPE varchar(10);
SELECT is(deviations(), '1', 'also where nobody looked meanwhile');
SELECT deploydb.restore_rolled_back(:second) \g /dev/null
ALTER TABLE decision_insights ALTER user_id TYPE varchar(10);
SELECT is(deviations(), '1', 'as is one that was restored, with what had taken its place kept apart');
ALTER TABLE decision_insights ALTER user_id TYPE text;
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
	migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations VALUES ('1', 'c', now(), '20251203071615_add_decision_insights', NULL, NULL, now(), 1);
SELECT roll_back() AS third \gset
SELECT is(deviations(), 'not watched', 'nor is it where the ledger was not rewound');
UPDATE _prisma_migrations SET finished_at = clock_timestamp();
SELECT is(deviations(), '1', 'but one that the ledger says was applied after that');
DROP TABLE _prisma_migrations;
SELECT deploydb.restore_rolled_back(:third) \g /dev/null
SET client_min_messages = warning;

-- Decisions, in UTC whatever the session's time zone

SET timezone = 'Asia/Shanghai';
CREATE TYPE "DecisionIngestionStatus" AS ENUM ('PENDING', 'SUCCESS', 'FAILED');
CREATE TABLE decision_records (id text, "decisionId" text, "timestamp" timestamp(3), confidence double precision NOT NULL,
	"ingestionStatus" "DecisionIngestionStatus" NOT NULL, "isSimulation" boolean NOT NULL DEFAULT false);
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(note('insight.coverage'), 'no decision in an hour', 'no decision is no coverage');
INSERT INTO decision_records
	SELECT n, 'd' || n, now() AT TIME ZONE 'UTC' - interval '1 minute', n / 10.0, 'SUCCESS' FROM generate_series(1, 4) n;
INSERT INTO decision_records VALUES ('5', 'd5', now() AT TIME ZONE 'UTC' - interval '1 minute', 9, 'SUCCESS', true),
	('6', 'd6', now() AT TIME ZONE 'UTC' - interval '2 hours', 9, 'SUCCESS', false),
	('7', 'd1', now() AT TIME ZONE 'UTC' - interval '1 minute', 0.1, 'SUCCESS', false);
INSERT INTO decision_insights VALUES ('i', 'd1', 'u', '{}', '{}', NULL, 'h', now(), now());
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(latest('insight.coverage'), 0.25::double precision, 'a quarter of the decisions has an insight');
SELECT is(note('insight.coverage'), '3 of 4 decisions in an hour lack theirs', 'in words');
SET deploydb.language = 'zh';
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(note('insight.coverage'), '一小时内 3 个决策缺少洞察（共 4 个）', 'and in Chinese');
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body)
SELECT 'pager', 'notice', 'x', 'P3', 'notice', '' FROM generate_series(1, 2);
SELECT is((SELECT m.note FROM deploydb.measure_backlog(now()) m), '2 条待发往 pager', 'as is what waits for whom');
DELETE FROM deploydb.outbox;
RESET deploydb.language;
SELECT deploydb.add_webhook('pager', 'generic', 'https://example.org/') \g /dev/null
SELECT count(deploydb.notify('x', 'P3', 'pager')) FROM generate_series(1, 5) \g /dev/null
UPDATE deploydb.outbox o SET state = s.state, finished_at = CASE WHEN s.state <> 'sending' THEN now() END
FROM unnest('{delivered,dead,sending}'::text[]) WITH ORDINALITY AS s (state, n)
WHERE o.id = (SELECT min(id) FROM deploydb.outbox) + s.n - 1;
UPDATE deploydb.monitor_state SET last_tick_ms = 1500, last_evaluation_ms = 2.5;
SET extra_float_digits = -14;
SELECT deploydb.collect_metrics(now()) \g /dev/null
RESET extra_float_digits;
SELECT is(latest('webhook.backlog'), 3::double precision, 'messages that are not delivered yet');
SELECT is(latest('worker.tick_seconds'), 1.5::double precision, 'how long the last tick took');
SELECT is(latest('alert.evaluation_ms'), 2.5::double precision, 'and its evaluation, to the last digit');
SELECT deploydb.drop_webhook('pager') \g /dev/null
DELETE FROM deploydb.outbox;
SELECT is(latest('decision.confidence.p50'), 0.2::double precision, 'the median confidence');
CREATE TABLE other_layout AS SELECT id, "decisionId", "timestamp" AT TIME ZONE 'UTC' AS "timestamp", confidence,
	"ingestionStatus", "isSimulation" FROM decision_records;
DROP TABLE decision_records;
ALTER TABLE other_layout RENAME TO decision_records;
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(latest('insight.coverage'), 0.25::double precision, 'likewise where timestamps have a time zone');
ALTER TABLE decision_records RENAME confidence TO sureness;
SELECT is(deploydb.collect_metrics(now()), 1, 'a collector that fails');
SELECT ok((SELECT value IS NULL AND error LIKE '%confidence does not exist' FROM deploydb.metric_latest
	WHERE metric = 'decision.confidence.p50'), 'leaves no value, and why');
SELECT is(latest('insight.coverage'), 0.25::double precision, 'and the others alone');
UPDATE deploydb.metric SET enabled = false WHERE name = 'insight.coverage';
SELECT deploydb.collect_metrics(now()) \g /dev/null
SELECT is(latest('insight.coverage'), NULL, 'what is switched off is not measured');
DELETE FROM deploydb.metric WHERE name = 'insight.coverage';
SELECT ok((SELECT enabled AND built_in FROM deploydb.metric WHERE name = 'insight.coverage'), 'and comes back by DELETE');

-- What is pushed counts once, also as a reason to roll back

CREATE PROCEDURE look(times integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. times LOOP
		PERFORM deploydb.collect_metrics(clock_timestamp());
		PERFORM deploydb.evaluate_rules(clock_timestamp());
		COMMIT;
	END LOOP;
END $$;
CREATE FUNCTION error_rate() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s', s.status, l.value) FROM deploydb.alert_status s
		LEFT JOIN deploydb.metric_latest l ON l.metric = 'rollback.error_rate' AND l.series = s.series
	WHERE s.rule = 'rollback_error_rate' AND s.series = 'http.error_rate.5xx' $$;
SELECT push_metric('http.error_rate.5xx', 0.07) \g /dev/null
CALL look(3);
SELECT is(error_rate(), 'pending 0.07', 'a value that is looked at three times is one');
SELECT is((SELECT l.at FROM deploydb.metric_latest l WHERE l.series = 'http.error_rate.5xx'),
	(SELECT l.at FROM deploydb.metric_latest l WHERE l.metric = 'http.error_rate.5xx'), 'of the time at which it was pushed');
SELECT is((SELECT count(*) FROM deploydb.metric_sample WHERE series = 'http.error_rate.5xx' AND value = 0.07), 1::bigint, 'and one sample');
SELECT record_metric('rollback.error_rate', 'http.error_rate.5xx', clock_timestamp(), NULL, error => 'canceled') \g /dev/null
CALL look(1);
SELECT is(error_rate(), 'pending 0.07', 'it is there again after a collector that failed');
SELECT push_metric('http.error_rate.5xx', 0.07) \g /dev/null
CALL look(1);
SELECT is(error_rate(), 'firing 0.07', 'the second one makes it fire');
SELECT push_metric('http.error_rate.5xx', 0) \g /dev/null
CALL look(3);
SELECT is(error_rate(), 'firing 0', 'nor does a single good one end it');
SELECT push_metric('http.error_rate.5xx', 0) \g /dev/null
CALL look(1);
SELECT is(error_rate(), 'ok 0', 'but two do');
UPDATE deploydb.metric_latest SET at = at - interval '10 minutes' WHERE metric = 'http.error_rate.5xx';
CALL look(1);
SELECT is(error_rate(), 'no_data ', 'and what is too old is none');
DELETE FROM deploydb.alert_state;
DELETE FROM deploydb.alert_event;

-- What others read

SELECT is(deploydb.health() ->> 'status', 'failing', 'without a monitor health is failing');
SELECT is(deploydb.health() -> 'reasons' ->> 0, 'the monitor has never ticked', 'and says why');
SELECT deploydb.tick() \g /dev/null
SELECT is(deploydb.health() ->> 'status', 'degraded', 'what cannot be measured is a lesser reason');
SELECT matches(deploydb.health() ->> 'timestamp', '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$', 'the time is UTC');
SELECT is(ARRAY(SELECT jsonb_object_keys(deploydb.health()) COLLATE "C" ORDER BY 1), '{ages,database,firing,reasons,standby,status,timestamp,version}',
	'what it tells');
CREATE FUNCTION health_after(intervals double precision) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE deploydb.monitor_state SET interval_ms = 3600000, last_tick_at = clock_timestamp() - intervals * interval '1 hour';
	RETURN (deploydb.health() ->> 'status') || ': ' || (deploydb.health() -> 'reasons' ->> 0);
END $$;
SELECT matches(health_after(2.5), '^degraded: metric ', 'a tick two and a half intervals ago is late');
SELECT matches(health_after(3.5), '^failing: the last tick of the monitor is 126\d\d s ago$', 'one more than three ago is too late');
UPDATE deploydb.monitor_state SET started_at = clock_timestamp() - interval '5 hours';
INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, message, started_at, occurred_at)
	VALUES ('r', 'm', 'P3', 'resolved', 'resolved', 'over', now() - interval '4 hours', clock_timestamp() - interval '4 hours');
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body, created_at)
	SELECT 'pager', 'notice', 'x', 'P3', 'notice', '', clock_timestamp() - n * interval '1 hour' FROM generate_series(5, 6) n;
SELECT is((SELECT jsonb_object_agg(a.key, trunc(a.value::numeric / 3600)) FROM jsonb_each(deploydb.health() -> 'ages') a),
	'{"lastTickSeconds": 3, "monitorSeconds": 5, "lastEventSeconds": 4, "oldestMessageSeconds": 6}', 'ages, counted when it is read');
DELETE FROM deploydb.outbox;
DELETE FROM deploydb.alert_event;
SELECT matches(deploydb.prometheus_metrics(), E'# TYPE deploydb_api_up gauge\ndeploydb_api_up\\{database="[a-z0-9_]+"\\} 1\n',
	'a metric as Prometheus reads it');
SELECT push_metric('queue.wait.ms', 1500) \g /dev/null
UPDATE deploydb.metric SET help = E'A "help"\\\nof two lines' WHERE name = 'queue.wait.ms';
SELECT matches(deploydb.prometheus_metrics(), E'\ndeploydb_queue_wait_seconds\\{database="[a-z0-9_]+"\\} 1\\.5\n', 'milliseconds are seconds');
SELECT is(ARRAY(SELECT deploydb.exported_name(n) FROM unnest('{jobs.total,wait.milliseconds,wait_ms,terms}'::text[]) n),
	'{jobs_total,wait_seconds,wait_seconds,terms}', 'names, as Prometheus wants them');
SELECT add_metric('jobs.total', NULL), push_metric('jobs.total', 7) \g /dev/null
SELECT matches(deploydb.prometheus_metrics(), E'# TYPE deploydb_jobs_total untyped\ndeploydb_jobs_total\\{database="[a-z0-9_]+"\\} 7\n',
	'a metric of people''s may be a counter');
SELECT drop_metric('jobs.total') \g /dev/null
SELECT deploydb.prometheus_metrics() AS exported \gset

DO $$ BEGIN SET standard_conforming_strings = off; EXCEPTION WHEN OTHERS THEN NULL; END $$;
SELECT is(md5(deploydb.prometheus_metrics()), md5(:'exported'), 'whatever strings are to the session');
RESET standard_conforming_strings;

-- a restore goes past the view's checks
INSERT INTO deploydb.own_rule (id, metric, comparison, threshold, parent, changed_at, changed_by)
	VALUES ('a', 'api.up', '<', 1, 'b', now(), 'me'), ('b', 'api.up', '<', 1, 'a', now(), 'me');
SET client_min_messages = error;
SELECT deploydb.tick() \g /dev/null
RESET client_min_messages;
SELECT is((SELECT array_agg(r.rule) FROM deploydb.rule_fault r), '{a}', 'a rule that cannot be evaluated is disabled');
SELECT ok(deploydb.health() -> 'reasons' ? 'rule a cannot be evaluated: its parents form a circle', 'which health says, too');

SELECT * FROM finish();
