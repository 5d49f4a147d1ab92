-- The thirteen cases by which the application tests its alerts, in its order.
-- Where it and deploydb differ (the cooldown survives a resolve, nothing is
-- dropped past the rate), deploydb's way is what is tested.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
\ir alert_course.psql
SELECT plan(13);

SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{0.9,1.1,0.9,1.1,1.2,1.3}', 0), '- - - - new -',
	'fires after consecutive periods: two of them in a row, and once');

SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{0.9,0.8}', 6), 'resolved -', 'resolves: at the first good value, and once');

SELECT is(course('db_slow_queries_rate_p0', 'db.slow_queries.per_min', '{11,3,12,12,12,12,3}', 10), 'new resolved - - - held resolved',
	'cooldown: nothing is told for five minutes after the last message, and what still fires then is');

SELECT is(course('http_5xx_rate_trend_p1', 'http.error_rate.5xx', '{0.001,0.004,0.008,0.004,0.004,0.0001,0.0021}', 30), '- - new resolved - - -',
	'trend: over a full window, from the floor on, and over when it ceases to rise');

-- A counter that begins at zero again, in the middle of a minute
CREATE FUNCTION count_slow(n double precision, count bigint) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
	g record;
BEGIN
	SELECT * INTO g FROM deploydb.growth_per_min('db.slow_queries.per_min', minute(n), count);
	PERFORM deploydb.record_metric('db.slow_queries.per_min', '', minute(n), g.value, readings => g.readings);
	PERFORM deploydb.evaluate_rules(minute(n));
	RETURN g.value;
END $$;
SELECT deploydb.record_metric('db.slow_queries.per_min', '', minute(49), NULL) \g /dev/null
SELECT is((SELECT array_agg(count_slow(n, count) ORDER BY n)
		FROM (VALUES (50, 1000), (51, 1004), (52, 2), (53, 5)) v (n, count))::text
	|| (SELECT count(*) FROM deploydb.alert_event WHERE rule = 'db_slow_queries_rate_p0' AND occurred_at >= minute(50)), '{NULL,4,2,3}0',
	'counter reset gives no negative rate: it has counted since, and no alert');

-- Messages: claimed and recorded as the monitor does
SELECT deploydb.add_webhook('all', 'generic', 'https://example.org/all', min_severity => 'P3') \g /dev/null
CREATE FUNCTION fire(rules integer) RETURNS bigint LANGUAGE sql AS $$
	DELETE FROM deploydb.outbox;
	INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, value, threshold, message, started_at, occurred_at)
	SELECT 'rule' || n, 'a.metric', 'P1', 'firing', 'new', 2, 1, 'too much', minute(60), minute(60) FROM generate_series(1, rules) n;
	SELECT deploydb.enqueue_events();
$$;
CREATE FUNCTION states(hook text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_object_agg(s.state, s.messages)
	FROM (SELECT o.state, count(*) AS messages FROM deploydb.outbox o WHERE o.webhook = hook GROUP BY 1) s $$;

SELECT deploydb.enqueue_events(), fire(20) \g /dev/null
SELECT deploydb.claim_messages(64) \g /dev/null
SELECT is(states('all'), '{"sending": 12, "folded": 9}', 'rate limit: twelve a minute, the last of which tells all the others');

UPDATE deploydb.webhook_state SET tokens = 12;
SELECT fire(1) \g /dev/null
CREATE TABLE attempt AS SELECT id, version, attempt, headers[2] AS message_id FROM deploydb.claim_messages(64);
SELECT deploydb.record_attempt(a.id, a.version, 500, NULL, '', 'http', NULL, 1) FROM attempt a \g /dev/null
UPDATE deploydb.outbox SET next_attempt_at = clock_timestamp();
INSERT INTO attempt SELECT id, version, attempt, headers[2] FROM deploydb.claim_messages(64);
SELECT deploydb.record_attempt(a.id, a.version, 200, NULL, '', 'http', NULL, 1) FROM attempt a WHERE a.attempt = 2 \g /dev/null
SELECT is((SELECT format('%s attempts, %s message, ', count(*), count(DISTINCT message_id)) FROM attempt) || states('all'),
	'2 attempts, 1 message, {"delivered": 1}', 'retry: what was answered with 500 is sent again, as the same message');

SELECT deploydb.add_webhook('slack', 'slack', 'https://example.org/slack', min_severity => 'P3'), deploydb.drop_webhook('all') \g /dev/null
SELECT fire(1) \g /dev/null
SELECT results_eq($$SELECT regexp_replace(l, ' \(.*\)$', '') FROM deploydb.outbox o, regexp_split_to_table(o.body::jsonb->>'text', '\n') l$$,
	ARRAY[':rotating_light: [P1] rule1', 'Status: FIRING | Metric: a.metric | Value: 2.0000, Threshold: 1.0000', 'too much'],
	'Slack format: three lines');

SELECT fire(250) \g /dev/null
SELECT is(ARRAY[jsonb_array_length(deploydb.alert_history()), jsonb_array_length(deploydb.alert_history(10)),
		jsonb_array_length(deploydb.alert_history(1000))], ARRAY[100, 10, (SELECT count(*) FROM deploydb.alert_event)::integer],
	'history size: 100, or as many as are asked for, and none is forgotten');

SELECT course('decision_confidence_low_p1', 'decision.confidence.p50', '{0.4,0.4}', 70) \g /dev/null
SELECT string_agg(concat_ws(' ', a->>'ruleId', a->>'status', a->>'value'), ', ') AS active FROM jsonb_array_elements(deploydb.active_alerts()) a \gset
SELECT course('decision_confidence_low_p1', 'decision.confidence.p50', '{0.6}', 72) \g /dev/null
SELECT is(:'active' || ' ' || deploydb.active_alerts(), 'decision_confidence_low_p1 firing 0.4 []',
	'active list: what fires, and [] when nothing does');

CALL measure(80, 'http.error_rate.5xx', 0.5);
CALL measure(80, 'db.slow_queries.per_min', 50);
CALL measure(80, 'decision.confidence.p50', 0.1);
SELECT deploydb.evaluate_rules(minute(80)) AS events \gset
SELECT is(:events || ' ' || (SELECT string_agg(status, ' ' ORDER BY rule) FROM deploydb.alert_status
		WHERE rule IN ('http_5xx_rate_p1', 'db_slow_queries_rate_p0', 'decision_confidence_low_p1')), '1 firing pending pending',
	'several rules: each by itself, in one evaluation');
DELETE FROM deploydb.metric_latest;

CREATE FUNCTION statuses(name text, measured double precision[], first double precision) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	seen text[] := '{}';
BEGIN
	FOR i IN 1 .. cardinality(measured) LOOP
		PERFORM course('http_latency_p95_p0', name, measured[i : i], first + i - 1);
		seen := seen || (SELECT s.status FROM deploydb.alert_status s WHERE s.rule = 'http_latency_p95_p0');
	END LOOP;
	RETURN array_to_string(seen, ' ');
END $$;
DELETE FROM deploydb.alert_state;
SELECT is((SELECT status FROM deploydb.alert_status WHERE rule = 'http_latency_p95_p0') || ' '
	|| statuses('http.request.duration.p95', '{0.5,1.5,1.5,1.5,NULL,0.5}', 100), 'warming ok pending firing firing firing ok',
	'lifecycle: pending, firing, and ok again; a metric that is absent leaves the rule as it was');

SELECT deploydb.tick() \g /dev/null
SELECT deploydb.tick() \g /dev/null
DO $$
BEGIN
	PERFORM deploydb.evaluate_rules(now());
	COMMIT;
	PERFORM deploydb.evaluate_rules(now());
	PERFORM set_config('test.xid', COALESCE(pg_current_xact_id_if_assigned()::text, 'none'), false);
END $$;
SELECT is((SELECT row(w.last_evaluation_ms > 0, w.p95_evaluation_ms > 0, l.value > 0,
			(SELECT min(e::double precision) < 500 FROM deploydb.monitor_state m, unnest(m.recent_evaluations) e), current_setting('test.xid'))::text
		FROM deploydb.worker_status w, deploydb.metric_latest l WHERE l.metric = 'alert.evaluation_ms'), '(t,t,t,t,none)',
	'cost of an evaluation: it is measured at each, far below a second, and one that changes nothing writes nothing');

SELECT * FROM finish();
