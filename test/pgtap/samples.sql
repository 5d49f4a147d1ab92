-- What becomes of samples: thinned, purged, and the rates stay what they were.
-- Also what the tick forgets of all that is kept.
-- Times are chosen, so the samples are written by the test.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE TABLE w (id int PRIMARY KEY);
SELECT deploydb.track('w') \g /dev/null
TRUNCATE deploydb.write_target CASCADE;

-- An epoch that ended at 12:00 on the third day: an attempt of 10 us every
-- 30 seconds, each second a failure of one of two kinds.
INSERT INTO deploydb.write_target (schema, name, others) VALUES ('public', 'w', false);
CREATE TEMPORARY TABLE attempt AS
	SELECT timestamptz '2026-11-01 09:00:10+00' + n * interval '30 seconds' AS at, n + 1 AS total,
		(n + 1) / 2 AS failed
	FROM generate_series(0, 6120) n;
INSERT INTO deploydb.write_sample
	SELECT target, at, '2026-11-01 09:00+00', total - failed, failed, 0, 0, 0, 0, 0, total - failed, 'AKB',
		CASE WHEN failed > 0 THEN jsonb_build_object('23514', (failed + 1) / 2, '23505', failed / 2) END
	FROM attempt, deploydb.write_target;
INSERT INTO deploydb.write_epoch
	SELECT target, since, at, succeeded, failed, rolled_back, rejected, swallowed, prepared, unaccounted,
		rows_written, deploydb.histogram_sum(ARRAY(SELECT latency FROM deploydb.write_sample)), failures, 1, since
	FROM deploydb.write_sample ORDER BY at DESC LIMIT 1;
INSERT INTO deploydb.write_failure
	SELECT target, since, jsonb_object_keys(failures), at
	FROM deploydb.write_epoch;

CREATE FUNCTION counted(bucket text) RETURNS TABLE (start timestamptz, attempts bigint, failed bigint, p99 double precision)
LANGUAGE sql AS $$ SELECT bucket_start, attempts, failed, p99_ms FROM deploydb.write_history('10 years', bucket, 'w') $$;
-- all of them, and those since a time right after a sample that stays
CREATE FUNCTION failures() RETURNS TABLE (start text, sqlstate text, attempts bigint)
LANGUAGE sql AS $$
	SELECT s, f.sqlstate, f.attempts
	FROM unnest('{2020-01-01,2026-11-02 11:59:45+00}'::text[]) s,
		deploydb.write_failures(extract(epoch FROM clock_timestamp() - s::timestamptz) || ' s', 'w') f
$$;
CREATE TEMPORARY TABLE hourly AS SELECT * FROM counted('1 hour');
CREATE TEMPORARY TABLE fine AS SELECT * FROM counted('5 minutes');
CREATE TEMPORARY TABLE failure AS SELECT * FROM failures();

SELECT plan(44);

SELECT is((SELECT count(*) FROM deploydb.write_sample), 6121::bigint, 'as many samples as attempts');
SELECT is((SELECT sum(attempts) FROM hourly), 6121::numeric, 'all of them in the history');
SELECT results_eq('SELECT * FROM failure ORDER BY 1, 2', $$ VALUES ('2020-01-01', '23505', 1530::bigint), ('2020-01-01', '23514', 1530),
	('2026-11-02 11:59:45+00', '23505', 720), ('2026-11-02 11:59:45+00', '23514', 720) $$, 'failures by SQLSTATE');

-- not before an hour has gone for an hour
SELECT is(deploydb.thin_write_samples('2026-11-01 11:00:10+00'), 0::bigint, 'nothing is old enough');
SELECT is(deploydb.thin_write_samples('2026-11-01 11:00:11+00'), 108::bigint, 'an hour: of ten samples one');
SELECT results_eq($$ SELECT at, succeeded + failed, latency FROM deploydb.write_sample ORDER BY at LIMIT 2 $$,
	$$ VALUES (timestamptz '2026-11-01 09:04:40+00', 10::bigint, 'AKK'), ('2026-11-01 09:09:40+00', 20, 'AKK') $$,
	'the last sample of each five minutes, with the latencies of all');
SELECT is(deploydb.thin_write_samples('2026-11-01 11:00:11+00'), 0::bigint, 'once');
SELECT is((SELECT thinned_until FROM deploydb.write_target), '2026-11-01 10:00+00', 'and how far is known');
SELECT is(deploydb.thin_write_samples('2026-11-02 00:00+00'), 108::bigint, 'the next hour, and no more in a call');
SELECT count(deploydb.thin_write_samples('2026-11-20 00:00+00')) FROM generate_series(1, 60) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.write_sample), 613::bigint, 'in the end a tenth of the samples');
SELECT bag_eq($$ SELECT * FROM counted('1 hour') $$, 'SELECT * FROM hourly', 'the same history');
SELECT bag_eq($$ SELECT * FROM counted('5 minutes') $$, 'SELECT * FROM fine', 'to five minutes');
SELECT bag_eq('SELECT * FROM failures()', 'SELECT * FROM failure', 'the same failures');
SELECT is(deploydb.thin_write_samples(NULL), NULL, 'no time, nothing to do');

-- two epochs of one five minutes are never mixed
INSERT INTO deploydb.write_sample
	SELECT target, timestamptz '2026-11-10 00:00+00' + n * interval '10 seconds',
		CASE WHEN n < 10 THEN '2026-11-09 00:00+00' ELSE '2026-11-10 00:01:40+00' END::timestamptz,
		n % 10 + 1, 0, 0, 0, 0, 0, 0, 0, 'AKB'
	FROM generate_series(0, 19) n, deploydb.write_target;
SELECT is(deploydb.thin_write_samples('2026-11-20 00:00+00'), 18::bigint, 'samples of two epochs');
SELECT results_eq($$ SELECT succeeded, latency FROM deploydb.write_sample WHERE at > '2026-11-05' ORDER BY at $$,
	$$ VALUES (10::bigint, 'AKK'), (10, 'AKK') $$, 'one of each');
UPDATE deploydb.write_sample SET latency = 'AK6CAJIAJC' WHERE at > '2026-11-05';
SELECT is((SELECT p99 FROM counted('1 hour') WHERE start = '2026-11-10 00:00+00'), 0.0305::double precision, 'of 90, 8 and 2 that differ the 99th of a hundred');
DELETE FROM deploydb.write_sample WHERE at > '2026-11-05';

-- what is too old goes; a period of what is kept begins where it did
CREATE TEMPORARY TABLE lately AS SELECT * FROM deploydb.write_sample WHERE at > '2026-11-03 00:00+00';
SELECT is(deploydb.purge_writes('2026-11-02 12:00+00', 100), 100::bigint, 'a batch of samples');
SELECT count(deploydb.purge_writes('2026-11-02 12:00+00', 100)) FROM generate_series(1, 10) \g /dev/null
SELECT is((SELECT min(at) FROM deploydb.write_sample), '2026-11-02 11:59:40+00', 'the last sample before stays');
SELECT is((SELECT count(*) FROM deploydb.write_sample WHERE at > '2026-11-03 00:00+00'), (SELECT count(*) FROM lately),
	'and all after it');
SELECT bag_eq('SELECT * FROM failures() WHERE start > ''2026''', 'SELECT * FROM failure WHERE start > ''2026''', 'its failures likewise');
SELECT is((SELECT sum(attempts) FROM counted('1 hour') WHERE start >= '2026-11-02 12:00+00'),
	(SELECT sum(attempts) FROM hourly WHERE start >= '2026-11-02 12:00+00'), 'the history of what is kept is the same');
SELECT is(deploydb.purge_writes('2026-11-02 12:00+00', 100), 0::bigint, 'nothing more to do');

-- the newest epoch is where counting goes on, however old its last change is
SELECT is((SELECT count(*) FROM deploydb.write_epoch WHERE deploydb.purge_writes('2026-11-20', 100000) IS NOT NULL), 1::bigint,
	'the newest epoch stays');
SELECT is((SELECT count(*) FROM deploydb.write_sample), 1::bigint, 'with its last sample');
INSERT INTO w VALUES (1);
SELECT is(deploydb.take_write_sample(), 1, 'a new epoch begins');
SELECT count(deploydb.purge_writes('2026-11-20', 100000)) FROM generate_series(1, 2) \g /dev/null
SELECT is((SELECT min(succeeded) || ' of ' || count(*) FROM deploydb.write_sample), '1 of 2', 'the one before may be another server''s, and go on');
INSERT INTO deploydb.write_epoch
	SELECT e.target, e.since + make_interval(days => n), e.at + make_interval(mins => n), 0, 0, 0, 0, 0, 0, 0, 0, '', NULL, 1, e.since
	FROM deploydb.write_epoch e, generate_series(1, 14) n WHERE e.succeeded > 1;
SELECT count(deploydb.purge_writes('2026-11-20', 100000)) FROM generate_series(1, 2) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.write_epoch JOIN deploydb.write_target USING (target) WHERE name = 'w'), 16::bigint,
	'the last 16 stay');
INSERT INTO deploydb.write_epoch
	SELECT e.target, clock_timestamp(), clock_timestamp(), 0, 0, 0, 0, 0, 0, 0, 0, '', NULL, 1, e.since
	FROM deploydb.write_epoch e WHERE e.succeeded > 1;
SELECT count(deploydb.purge_writes('2026-11-20', 100000)) FROM generate_series(1, 2) \g /dev/null
SELECT ok(NOT EXISTS (SELECT FROM deploydb.write_epoch e WHERE e.succeeded > 1), 'the one before them is gone');
SELECT is((SELECT min(succeeded) || ' of ' || count(*) FROM deploydb.write_sample), '1 of 1', 'with all of its samples');

-- a day of a table whose writes take every time there is and fail in every way
-- that is told apart, as many as can be
DELETE FROM deploydb.write_sample;
UPDATE deploydb.write_target SET thinned_until = '-infinity';
INSERT INTO deploydb.write_sample
	SELECT target, timestamptz '2026-11-01 00:00+00' + n * interval '30 seconds', '2026-10-01 00:00+00',
		1e9 + n * 1e6, n, n, 0, 0, 0, 0, 1e9 + n * 1e6, repeat('iD', 385),
		(SELECT jsonb_object_agg('2' || to_char(k, 'FM0000'), 1e8 + n * 1e4 + k) FROM generate_series(1, 24) k)
	FROM generate_series(0, 2879) n, deploydb.write_target WHERE name = 'w';
SELECT count(deploydb.thin_write_samples('2026-11-02 00:00+00')) FROM generate_series(1, 24) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.write_sample), (22 * 12 + 2 * 120)::bigint, 'the last two hours are whole');
VACUUM FULL deploydb.write_sample;
SELECT cmp_ok(pg_total_relation_size('deploydb.write_sample'), '<', 1000000::bigint, 'a day adds less than 1 MB, with its index');

-- the tick forgets what is older than deploydb.retention, and nothing else
SELECT deploydb.add_webhook('g', 'generic', 'https://example.org/') \g /dev/null
SELECT now() - interval '40 days' AS since \gset
TRUNCATE deploydb.write_sample, deploydb.write_failure, deploydb.write_epoch;
INSERT INTO deploydb.write_epoch
	SELECT target, :'since', now(), 9, 9, 0, 0, 0, 0, 0, 9, '', NULL, 1, :'since' FROM deploydb.write_target WHERE name = 'w';
CREATE TEMPORARY TABLE age AS SELECT a, now() - a::interval AS at
	FROM unnest('{32 days,30 days 1 hour,29 days 23 hours,1 day}'::text[]) a;
INSERT INTO deploydb.write_sample
	SELECT target, at, :'since', 1, 1, 0, 0, 0, 0, 0, 1, '' FROM age, deploydb.write_target WHERE name = 'w';
INSERT INTO deploydb.write_gap SELECT 'public', 'w', at, at, 'lost', 'test' FROM age;
INSERT INTO deploydb.metric_sample SELECT at, 1, 'n', '' FROM age;
INSERT INTO deploydb.definition_change (at, command, object_type, object) SELECT at, 'TRUNCATE TABLE', 'table', 'public.w' FROM age;
INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, message, started_at, occurred_at)
	SELECT 'r', 'n', 'P3', 'resolved', 'resolved', 'over', at, at FROM age ORDER BY at;
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body, state, created_at, finished_at)
	SELECT 'g', 'notice', s, 'P3', 'notice', '{}', s, at, CASE WHEN s <> 'pending' THEN at END
	FROM age, unnest('{pending,delivered,dead,superseded,folded}'::text[]) s;
CREATE FUNCTION kept(relation text, made text DEFAULT 'at', condition text DEFAULT 'true') RETURNS text LANGUAGE plpgsql AS $$
DECLARE ages text;
BEGIN
	EXECUTE format('SELECT string_agg(a.a, '', '' ORDER BY a.at) FROM age a JOIN deploydb.%I r ON r.%I = a.at WHERE %s', relation, made, condition) INTO ages;
	RETURN ages;
END $$;
SELECT deploydb.tick() \g /dev/null
SELECT is((SELECT last_error FROM deploydb.monitor_state), NULL, 'a tick');
SELECT is(kept(r, made), kept, r || ': what is past deploydb.retention is gone') FROM (VALUES
	('write_gap', 'at', '29 days 23 hours, 1 day'),
	-- a period begins with the last one before it
	('write_sample', 'at', '30 days 1 hour, 29 days 23 hours, 1 day'),
	('metric_sample', 'at', '29 days 23 hours, 1 day'), ('definition_change', 'at', '29 days 23 hours, 1 day'),
	('alert_event', 'occurred_at', '29 days 23 hours, 1 day')) v (r, made, kept);
SELECT is(kept('outbox', 'created_at', format('r.state = %L', s)), CASE s WHEN 'pending' THEN '32 days, 30 days 1 hour, ' ELSE '' END || '29 days 23 hours, 1 day',
	'messages: ' || s) FROM unnest('{pending,delivered,dead,superseded,folded}'::text[]) s;
SELECT is((SELECT count(*) FROM deploydb.notification WHERE state = 'dead'), 2::bigint, 'a dead letter is visible until then');

SELECT * FROM finish();
