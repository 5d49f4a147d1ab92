-- The evaluation of rules over what was measured: events, active alerts,
-- history, silences, acknowledgements.  Time is what evaluate_rules() is told.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_operator;
CREATE ROLE deploydb_test_monitor;
GRANT pg_monitor TO deploydb_test_monitor;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') \g /dev/null

\ir alert_course.psql
CREATE FUNCTION status_of(about text) RETURNS text LANGUAGE sql
	AS $$ SELECT string_agg(a.status, ',' ORDER BY a.series) FROM deploydb.alert_status a WHERE a.rule = about $$;

SELECT plan(190);

-- a fresh installation
SELECT is(deploydb.evaluate_rules(minute(-10)), 0::bigint, 'a fresh installation fires nothing');
SELECT is(deploydb.active_alerts(), '[]', 'nothing is active');
SELECT is(deploydb.alert_history(), '[]', 'there is no history');
SELECT is((SELECT array_agg(DISTINCT status) FROM deploydb.alert_status), '{warming}', 'every rule waits for data');
SELECT is((SELECT count(*) FROM deploydb.alert_state), 0::bigint, 'nothing is kept of metrics never seen');

-- the application's cases
SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{0.4,1.2,1.3,1.4,1.3}', 0),
	'- - new - -', 'it fires after two periods, once');
SELECT is(status_of('http_latency_p95_p0'), 'firing', 'and goes on firing');
SELECT is((SELECT jsonb_array_length(deploydb.active_alerts())), 1, 'one alert is active');
SELECT is((deploydb.active_alerts()->0) - 'labels', jsonb_build_object('id', 'http_latency_p95_p0:1893456120000:firing',
	'ruleId', 'http_latency_p95_p0', 'metric', 'http.request.duration.p95', 'severity', 'P0', 'status', 'firing',
	'message', 'Slow HTTP: one request in twenty takes 1.3 s or longer (limit 1 s)', 'value', 1.3, 'threshold', 1,
	'occurredAt', '2030-01-01T00:02:00.000Z', 'series', '', 'acknowledged', false,
	'runbook', 'docs/operations.md#http_latency_p95_p0'), 'in the application''s words');
SET extra_float_digits = -15;
SELECT is((SELECT a->>'value' FROM jsonb_array_elements(deploydb.active_alerts()) a), '1.3', 'with all digits');
RESET extra_float_digits;
SELECT is(deploydb.active_alerts()->0->'labels', jsonb_build_object('database', current_database(),
	'environment', '', 'cluster_name', current_setting('cluster_name')), 'with its labels');
SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{0.9}', 5), 'resolved', 'it resolves');
SELECT is(deploydb.active_alerts(), '[]', 'and is not active any more');
SELECT is((deploydb.alert_history(1)->0) - 'labels', jsonb_build_object('id', 'http_latency_p95_p0:1893456300000:resolved',
	'ruleId', 'http_latency_p95_p0', 'metric', 'http.request.duration.p95', 'severity', 'P0', 'status', 'resolved',
	'message', 'Resolved after 3 min: http_latency_p95_p0; http.request.duration.p95 is 0.9', 'value', 0.9,
	'threshold', 1, 'occurredAt', '2030-01-01T00:05:00.000Z', 'series', '', 'reason', 'resolved', 'silenced', false,
	'runbook', 'docs/operations.md#http_latency_p95_p0'), 'the history has the end first');
SET extra_float_digits = -15;
SELECT is((SELECT array_agg(e->>'value') FROM jsonb_array_elements(deploydb.alert_history()) e), '{0.9,1.3}', 'a reader''s digits are not those of the history');
RESET extra_float_digits;
SELECT is((SELECT array_agg(e->>'status') FROM jsonb_array_elements(deploydb.alert_history()) e), '{resolved,firing}',
	'and the beginning after it');

SELECT is(course('db_slow_queries_rate_p0', 'db.slow_queries.per_min', '{11,3,12,12,12,12,12,12,3}', 10),
	'new resolved - - - held - - resolved', 'the cooldown survives a resolve, and what it held back is told');
SELECT is(course('db_slow_queries_rate_p0', 'db.slow_queries.per_min', '{11,3,12,3,3,3,3,3,3}', 40),
	'new resolved - - - - - - -', 'unless it is over by then');
SELECT is(course('http_5xx_rate_trend_p1', 'http.error_rate.5xx', '{0.001,0.004,0.008,0.009,0.0095}', 60),
	'- - new - resolved', 'a trend fires with a full window');
SELECT is((SELECT trend_slope::numeric(10,6)::text || ' ' || COALESCE(threshold::text, '-') FROM deploydb.alert_event
	WHERE rule = 'http_5xx_rate_trend_p1' ORDER BY id LIMIT 1), '0.003500 -', 'by least squares');
SELECT ok(deploydb.alert_history(1)->0 ? 'trendSlope' AND NOT deploydb.alert_history(1)->0 ? 'threshold',
	'a trend has a slope, and no threshold');
SELECT is(course('decision_confidence_low_p1', 'decision.confidence.p50', '{0.4,0.4,0.6}', 70), '- new resolved',
	'too little is too bad, too');
SELECT is(course('http_5xx_rate_p1', 'http.error_rate.5xx', '{0.02,0.005,0.02,0.005,0.02,0.02,0.005}', 80),
	'- - - - - new resolved', 'what is over in between does not count');

-- several at once
CALL measure(100, 'http.request.duration.p95', 2);
CALL measure(100, 'db.slow_queries.per_min', 30);
CALL measure(100, 'decision.confidence.p50', 0.1);
SELECT is(deploydb.evaluate_rules(minute(100)), 1::bigint, 'rules fire each by itself');
CALL measure(101, 'http.request.duration.p95', 2);
CALL measure(101, 'decision.confidence.p50', 0.1);
SELECT is(deploydb.evaluate_rules(minute(101)), 2::bigint, 'and the others');
SELECT is((SELECT array_agg(a->>'ruleId') FROM jsonb_array_elements(deploydb.active_alerts()) a),
	'{db_slow_queries_rate_p0,http_latency_p95_p0,decision_confidence_low_p1}', 'the worst are first');
SELECT is((SELECT array_agg(rule ORDER BY rule) FROM deploydb.active_alert),
	'{db_slow_queries_rate_p0,decision_confidence_low_p1,http_latency_p95_p0}', 'the view has them, too');
SELECT is((SELECT array_agg(status ORDER BY rule) FROM deploydb.alert_state WHERE started_at IS NOT NULL),
	'{firing,firing,firing}', 'all of them fire');
CALL measure(102, 'http.request.duration.p95', 0.1);
CALL measure(102, 'db.slow_queries.per_min', 0);
CALL measure(102, 'decision.confidence.p50', 0.9);
SELECT is(deploydb.evaluate_rules(minute(102)), 3::bigint, 'and end each by itself');

-- drift: a changed set is news
CALL measure(110, 'migration.deviations', 0, 'm1');
SELECT is(deploydb.evaluate_rules(minute(110)), 0::bigint, 'a clean migration');
CALL measure(111, 'migration.deviations', 1, 'm1', 'a', 'index x is missing');
CALL measure(111, 'migration.deviations', 0, 'm2');
SELECT is(deploydb.evaluate_rules(minute(111)), 1::bigint, 'drift is told at once');
CALL measure(111.1, 'migration.deviations', 1, 'm1', 'b', 'index y is missing');
SELECT is(deploydb.evaluate_rules(minute(111.1)), 1::bigint, 'another deviation is told at once, too');
SELECT is((SELECT reason || ': ' || message FROM deploydb.alert_event ORDER BY id DESC LIMIT 1),
	'changed: Migration m1 deviates (1): index y is missing', 'as a change');
CALL measure(112, 'migration.deviations', 1, 'm1', 'b');
SELECT is(deploydb.evaluate_rules(minute(112)), 0::bigint, 'what stays as it is is not told again');
SELECT is((SELECT array_agg(series || ' ' || status ORDER BY series) FROM deploydb.alert_status WHERE rule = 'migration_drift'),
	'{m1 firing,m2 ok}', 'each migration by itself');
SELECT is(deploydb.active_alerts()->0->'labels'->>'series', 'm1', 'the series is a label');
SELECT is(deploydb.alert_history(1)->0->>'id', (SELECT deploydb.event_message(e, false)->>'id'
	FROM deploydb.alert_event e ORDER BY e.id DESC LIMIT 1), 'the history and the message call an event the same');
SELECT matches(deploydb.active_alerts()->0->>'id', '^migration_drift/m1:[0-9]+:firing$', 'with its series');
DELETE FROM deploydb.metric_latest WHERE metric = 'migration.deviations' AND series = 'm1';
SELECT is(deploydb.evaluate_rules(minute(113)), 1::bigint, 'a migration that is forgotten drifts no more');
SELECT is((SELECT status || ' ' || reason || ': ' || message FROM deploydb.alert_event ORDER BY id DESC LIMIT 1),
	'resolved no_data: Ended after 2 min: migration_drift; migration.deviations has no data any more [m1]',
	'and it is said why');
SELECT is(deploydb.evaluate_rules(minute(114)), 0::bigint, 'once');

-- severity by the sample
CALL measure(120, 'insight.write.burn', 2, '1 hour', NULL, 'burning', 'P0');
CALL measure(120, 'insight.write.burn', 2, '3 days', NULL, 'burning', 'P3');
SELECT is(deploydb.evaluate_rules(minute(120)), 2::bigint, 'a series fires by itself');
SELECT is((SELECT array_agg(severity ORDER BY series) FROM deploydb.active_alert), '{P0,P3}',
	'with the severity that its sample has');
CALL measure(120.5, 'insight.write.burn', 2, '3 days', NULL, 'burning', 'P1');
SELECT is(deploydb.evaluate_rules(minute(120.5)), 0::bigint, 'a worse one waits for the cooldown');
CALL measure(135, 'insight.write.burn', 2, '1 hour', NULL, 'burning', 'P0');
CALL measure(135, 'insight.write.burn', 2, '3 days', NULL, 'burning', 'P1');
SELECT is(deploydb.evaluate_rules(minute(135)), 1::bigint, 'and is told');
CALL measure(136, 'insight.write.burn', 2, '3 days', NULL, 'burning', 'P3');
SELECT is(deploydb.evaluate_rules(minute(136)), 0::bigint, 'a milder one is no news');
SELECT is((SELECT severity || ' ' || reason FROM deploydb.alert_event ORDER BY id DESC LIMIT 1), 'P1 changed', 'as a change');
DELETE FROM deploydb.metric_latest;
SELECT is(deploydb.evaluate_rules(minute(137)), 2::bigint, 'what is gone has ended');

-- again, within its cooldown
SELECT deploydb.set_rule('decision_confidence_low_p1', cooldown_seconds => 600) \g /dev/null
SELECT is(course('decision_confidence_low_p1', 'decision.confidence.p50', '{0.4,0.4,0.6,0.4,0.4}', 140), '- new resolved - -',
	'one that begins again within its cooldown is not told');
SELECT is((SELECT severity || ' ' || told FROM deploydb.active_alert), 'P1 false', 'and as severe as it is');
SELECT is((SELECT labels FROM deploydb.exported_metric() WHERE name = 'deploydb_alert_state' AND value = 1),
	format('database="%s",rule="decision_confidence_low_p1",severity="P1"', current_database()), 'to Prometheus, too');
SELECT is((SELECT concat_ws('|', verdict, regexp_replace(detail, '\s+', ' ', 'g'), next_step) FROM deploydb_status() WHERE area = 'alerts'),
	'warning|P1 decision_confidence_low_p1 fires|SELECT * FROM deploydb.active_alert;', 'the status has it');
SELECT is(course('decision_confidence_low_p1', 'decision.confidence.p50', '{0.6}', 145), '-', 'until it is over');
SELECT is((SELECT severity FROM deploydb.alert_state WHERE rule = 'decision_confidence_low_p1'), NULL, 'when nothing is severe');
SELECT is((SELECT count(*) FROM deploydb_status() WHERE area = 'alerts'), 0::bigint, 'nor in the status');
SELECT deploydb.reset_rule('decision_confidence_low_p1') \g /dev/null

-- that it got worse in the cooldown is told, whoever had acknowledged what it was
CALL measure(150, 'insight.write.burn', 2, '1 hour', NULL, 'burning', 'P1');
SELECT is(deploydb.evaluate_rules(minute(150)), 1::bigint, 'one that is told');
DO $$ BEGIN
	FOR i IN 1 .. 5 LOOP
		CALL measure(150 + i * 0.2, 'insight.write.burn', 0, '1 hour');
		PERFORM deploydb.evaluate_rules(minute(150 + i * 0.2));
	END LOOP;
END $$;
SELECT is((SELECT count(*) FROM deploydb.active_alert), 0::bigint, 'and is over');
CALL measure(152, 'insight.write.burn', 2, '1 hour', NULL, 'burning', 'P3');
SELECT is(deploydb.evaluate_rules(minute(152)), 0::bigint, 'begins again within its cooldown');
SELECT deploydb.acknowledge('insight_write_burn', 'mine') \g /dev/null
SELECT is((SELECT severity || ' ' || acknowledged FROM deploydb.active_alert), 'P3 true', 'and is acknowledged');
CALL measure(153, 'insight.write.burn', 2, '1 hour', NULL, 'burning', 'P0');
SELECT is(deploydb.evaluate_rules(minute(153)), 0::bigint, 'what gets worse then');
CALL measure(170, 'insight.write.burn', 2, '1 hour', NULL, 'burning', 'P0');
SELECT is(deploydb.evaluate_rules(minute(170)), 1::bigint, 'is told after it');
SELECT is((SELECT severity || ' ' || reason FROM deploydb.alert_event ORDER BY id DESC LIMIT 1), 'P0 held', 'as severe as it is');
DELETE FROM deploydb.metric_latest;
SELECT deploydb.evaluate_rules(minute(171)) \g /dev/null

-- no data
SELECT is(course('backup_too_old', 'backup.age_seconds', '{100000}', 200), 'new', 'a backup is too old');
SELECT is((SELECT message FROM deploydb.active_alert), 'No good backup for 27 h (limit 25 h)', 'in words');
SELECT is(deploydb.evaluate_rules(minute(206)), 0::bigint, 'no data: it is kept for a while');
SELECT is(status_of('backup_too_old'), 'firing', 'firing');
SELECT is(deploydb.evaluate_rules(minute(267)), 1::bigint, 'and not for ever');
SELECT is(status_of('backup_too_old'), 'no_data', 'it has no data');
SELECT is(course('api_down', 'api.up', '{1}', 300), '-', 'the API is up');
SELECT is(deploydb.evaluate_rules(minute(306)), 1::bigint, 'nobody says so any more');
SELECT is((SELECT severity || ' ' || reason || ' ' || status || ': ' || message FROM deploydb.alert_event ORDER BY id DESC LIMIT 1),
	'P0 no_data firing: api.up has no data any more', 'that is an alert');
SELECT is((SELECT rule || ' ' || status || ' ' || COALESCE(severity, '-') FROM deploydb.active_alert), 'api_down no_data P0',
	'which is active');
SELECT is((SELECT concat_ws(' ', a.value, a.threshold, d->'value', d->'threshold') FROM deploydb.active_alert a, jsonb_array_elements(deploydb.active_alerts()) d),
	'1 null 1', 'of no value');
SELECT is(course('api_down', 'api.up', '{1,0,0,0,0,0,0,0,1}', 307), 'resolved - - - - - new - resolved',
	'it is back; and down for five minutes is down');
SELECT is(course('insight_write_success_low', 'insight.write.success_rate', '{0.9,0.9,NULL,NULL,NULL,NULL,NULL,NULL,NULL}', 320),
	'- new - - - - - no_data -', 'no attempts are no failures');
SELECT is(course('insight_missing', 'insight.coverage', '{NaN,NaN,0.5,NaN,0.5,0.5,1,1}', 340), '- - - - - new - resolved', 'NaN is no value');
DELETE FROM deploydb.metric_latest;
SELECT deploydb.evaluate_rules(minute(1999)) \g /dev/null
UPDATE deploydb.metric SET stale_after_seconds = 3600 WHERE name = 'api.up';
SELECT is(course('api_down', 'api.up', '{1}', 2000) || deploydb.evaluate_rules(minute(2059)), '-0',
	'a value that its metric says is good for an hour is not missed before');
SELECT is((SELECT count(*) FROM deploydb.test_rule('api_down', jsonb_build_array(jsonb_build_object('at', minute(0), 'value', 1),
	jsonb_build_object('at', minute(1)), jsonb_build_object('at', minute(59)))) WHERE reason IS NOT NULL), 0::bigint,
	'nor in a test of the rule');
SELECT is(deploydb.evaluate_rules(minute(2061)), 1::bigint, 'but then');
UPDATE deploydb.metric SET stale_after_seconds = 1 WHERE name = 'api.up';
SELECT is(course('api_down', 'api.up', '{1}', 2070) || deploydb.evaluate_rules(minute(2072)), 'resolved1',
	'and after three intervals, where it is good for less');
DELETE FROM deploydb.metric WHERE name = 'api.up';
SELECT is(course('api_down', 'api.up', '{1}', 2080) || deploydb.evaluate_rules(minute(2086)), 'resolved1', 'who knows that nobody pushes');
SELECT deploydb.acknowledge('api_down', 'cron is off') \g /dev/null
SELECT is(course('api_down', 'api.up', '{0}', 2087), '-', 'does not know that it is down');
SELECT is((SELECT status || ' ' || message FROM deploydb.active_alert), 'no_data api.up has no data any more', 'nor is it known by one sample');
SELECT is(course('api_down', 'api.up', '{0,0,0,0,0,0}', 2088), '- - - - changed -', 'but told after five minutes');
SELECT is((SELECT status || ' ' || message FROM deploydb.active_alert), 'firing The API has been down for 5 minutes; if a deployment is the cause, roll back',
	'which the view shows');
SELECT is((SELECT acknowledged::text || told FROM deploydb.active_alert), 'falsetrue', 'whoever had acknowledged that there was no data');
SELECT is(deploydb.evaluate_rules(minute(2100)), 0::bigint, 'that what fires has no data any more');
SELECT is((SELECT status || ' ' || message FROM deploydb.active_alert), 'no_data api.up has no data any more', 'is shown');
SELECT is(course('api_down', 'api.up', '{0,1}', 2101), '- resolved', 'and not told, so that a sparse source is not noisy');

-- a trend whose window does not fill
SELECT is(course('http_5xx_rate_trend_p1', 'http.error_rate.5xx', '{0.01,0.02,0.03}', 2200), '- - new', 'a trend');
SELECT is(deploydb.evaluate_rules(minute(2209)), 0::bigint, 'and then a gap');
SELECT is(course('http_5xx_rate_trend_p1', 'http.error_rate.5xx', '{0}', 2210), 'resolved', 'a value below the floor ends it');
SELECT is(course('http_5xx_rate_trend_p1', 'http.error_rate.5xx', '{0.01,0.02,0.03}', 2220), '- - new', 'another one');
SELECT is((SELECT string_agg(deploydb.evaluate_rules(minute(n - 3)) || course('http_5xx_rate_trend_p1', 'http.error_rate.5xx', '{0.03}', n), ' ')
	FROM generate_series(2232, 2302, 10) n), '0- 0- 0- 0- 0- 0- 1- 0-', 'values that are too far apart end it as none would');
SELECT is((SELECT reason FROM deploydb.alert_event ORDER BY id DESC LIMIT 1), 'no_data', 'which is why');
DELETE FROM deploydb.metric_latest;
DELETE FROM deploydb.alert_state;
DELETE FROM deploydb.alert_event WHERE occurred_at >= minute(1999);

-- parents
SELECT is(course('insight_write_success_low', 'insight.write.success_rate', '{0.5,0.5}', 360), '- new', 'writes fail');
SELECT is(course('insight_missing', 'insight.coverage', '{0.5,0.5,0.5}', 362), '- - new silently', 'so insights are missing, which nobody needs to be told');
SELECT is((SELECT told FROM deploydb.active_alert WHERE rule = 'insight_missing'), false, 'it is active all the same');
SELECT is(course('insight_write_success_low', 'insight.write.success_rate', '{1,1}', 365), '- resolved', 'writes succeed again');
SELECT is((SELECT rule || ' ' || reason FROM deploydb.alert_event ORDER BY id DESC LIMIT 1), 'insight_missing held', 'and insights are still missing, which is told now');
SELECT is(course('insight_missing', 'insight.coverage', '{0.5,1,1}', 368), '- - resolved', 'as is its end');
DELETE FROM deploydb.metric_latest;

-- silences
SELECT throws_ok(format('SELECT deploydb.silence(''api_down'', %s, ''work'')', p), '22023', NULL, 'a silence of ' || p)
FROM unnest(ARRAY['NULL', '''''', '''0 s''', '''-1 hour''', '''infinity''', '''32 days''', '''5000000 years''', '''soon''']) p;
SELECT throws_ok('SELECT deploydb.silence(''nothing'', ''1 hour'', ''work'')', '42704', 'rule "nothing" does not exist', 'of an unknown rule');
SELECT throws_ok('SELECT deploydb.silence(''api_down'', ''1 hour'', '' '')', '22023', 'a reason is needed', 'without a reason');
SET SESSION AUTHORIZATION deploydb_test_operator;
SELECT cmp_ok(deploydb.silence('backup_too_old', '1 hour', 'tape is changed'), '>', now() + interval '59 minutes', 'an operator silences a rule');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT created_by FROM deploydb.silence), 'deploydb_test_operator', 'it is known who did');
UPDATE deploydb.silence SET starts_at = minute(400), until = minute(460);
SELECT is(course('backup_too_old', 'backup.age_seconds', '{99999,99999,1}', 440), 'new silently - resolved silently', 'what is silent is recorded');
SELECT is(course('backup_too_old', 'backup.age_seconds', '{99999,99999,99999}', 458), 'new silently - held', 'and told once the silence ends, if it still fires');
SELECT is(course('backup_too_old', 'backup.age_seconds', '{1}', 461), 'resolved', 'and its end');
SELECT is(deploydb.unsilence('backup_too_old'), 0 + (now() < minute(460))::integer, 'a silence can be ended');
SELECT isnt(deploydb.silence(NULL, '1 day', 'a move'), NULL, 'all rules can be silenced');
UPDATE deploydb.silence SET starts_at = minute(500), until = minute(600) WHERE rule IS NULL;
SELECT is(course('db_slow_queries_rate_p0', 'db.slow_queries.per_min', '{100,0}', 510), 'new silently resolved silently', 'which holds for each');
DELETE FROM deploydb.metric_latest;

-- what changes while nobody is told
CREATE FUNCTION drift(n double precision, print text, deviations double precision DEFAULT 1, worse text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	seen bigint := (SELECT max(id) FROM deploydb.alert_event);
BEGIN
	CALL measure(n, 'migration.deviations', deviations, 'm', print, 'a note', worse);
	PERFORM deploydb.evaluate_rules(minute(n));
	RETURN (SELECT string_agg(e.severity || ' ' || e.reason || CASE WHEN e.silenced THEN ' silently' ELSE '' END, '+' ORDER BY e.id)
		FROM deploydb.alert_event e WHERE e.id > seen AND e.rule = 'migration_drift');
END $$;
SELECT is(drift(610, 'A'), 'P0 new', 'a migration deviates');
SELECT deploydb.acknowledge('migration_drift', 'on it') \g /dev/null
SELECT deploydb.silence('migration_drift', '1 hour', 'a deployment') \g /dev/null
UPDATE deploydb.silence SET until = minute(613) WHERE rule = 'migration_drift';
SELECT is(drift(611, 'B'), 'P0 changed silently', 'it deviates in another way meanwhile');
SELECT is((SELECT told::text || acknowledged FROM deploydb.active_alert WHERE rule = 'migration_drift'), 'falsefalse', 'of which nobody knows');
SELECT is(drift(612, 'B'), NULL, 'which is recorded once');
SELECT is(drift(613, 'B'), 'P0 held', 'and told once the silence ends, though somebody knew of the first');
SELECT is(drift(614, 'B'), NULL, 'once, too');
UPDATE deploydb.silence SET until = minute(617) WHERE rule = 'migration_drift';
SELECT is(drift(615, 'C'), 'P0 changed silently', 'the same again');
SELECT deploydb.acknowledge('migration_drift', 'seen') \g /dev/null
SELECT is(drift(616, 'C') || drift(617, 'C'), NULL, 'what somebody acknowledged meanwhile is not told');
SELECT is(drift(618, '', 0), 'P0 resolved', 'it verifies again');
SELECT deploydb.set_rule('migration_drift', severity => 'P2', parent => 'insight_write_success_low') \g /dev/null
SELECT is(drift(619, 'A'), 'P2 new', 'a lesser one');
SELECT is(course('insight_write_success_low', 'insight.write.success_rate', '{0.5,0.5}', 620), '- new', 'its parent fires');
SELECT is(drift(622, 'A', 1, 'P0'), 'P0 changed silently', 'it grows worse');
SELECT is(course('insight_write_success_low', 'insight.write.success_rate', '{1,1}', 623), '- resolved', 'its parent ends');
SELECT is((SELECT reason || ' ' || severity FROM deploydb.alert_event WHERE rule = 'migration_drift' ORDER BY id DESC LIMIT 1), 'held P0', 'and the worse one is told');
SELECT is(drift(625, '', 0), 'P0 resolved', 'as is its end');
SELECT deploydb.reset_rule('migration_drift') \g /dev/null

-- a silence is heeded by an evaluation that began before it
SELECT deploydb.silence('migration_drift', '1 hour', 'work') \g /dev/null
UPDATE deploydb.silence SET starts_at = minute(631), until = minute(640) WHERE rule = 'migration_drift';
SELECT is(drift(630, 'A'), 'P0 new silently', 'what is silenced by now is silent');
SELECT is(drift(632, '', 0), 'P0 resolved silently', 'to its end');
UPDATE deploydb.silence SET until = minute(0) WHERE rule = 'migration_drift';
DELETE FROM deploydb.metric_latest;

-- acknowledgements and repeats
SELECT throws_ok('SELECT deploydb.acknowledge(''api_down'', ''on it'')', '55000', 'rule "api_down" does not fire', 'what does not fire is not acknowledged');
CALL measure(700, 'db.slow_queries.per_min', 100);
SELECT is(deploydb.evaluate_rules(minute(700)), 1::bigint, 'it fires');
CALL measure(760, 'db.slow_queries.per_min', 100);
SELECT is(deploydb.evaluate_rules(minute(760)), 1::bigint, 'and is repeated after an hour');
SELECT is((SELECT reason || ': ' || message FROM deploydb.alert_event ORDER BY id DESC LIMIT 1),
	'repeat: Still firing after 60 min: Slow statements: 100 a minute (limit 10)', 'which is said');
SET SESSION AUTHORIZATION deploydb_test_operator;
SELECT is(deploydb.acknowledge('db_slow_queries_rate_p0', 'on it'), 1, 'somebody knows of it');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT acknowledged_by || ': ' || acknowledgement FROM deploydb.active_alert WHERE acknowledged),
	'deploydb_test_operator: on it', 'and it is known who');
CALL measure(830, 'db.slow_queries.per_min', 100);
SELECT is(deploydb.evaluate_rules(minute(830)), 0::bigint, 'so it is repeated no more');
SELECT is(course('db_slow_queries_rate_p0', 'db.slow_queries.per_min', '{0,100}', 840), 'resolved new', 'it resolves, and the next one is told');
SELECT is((SELECT acknowledged_by FROM deploydb.active_alert), NULL, 'nobody has acknowledged that');

-- rules that change while they fire
SELECT isnt(deploydb.set_rule('db_slow_queries_rate_p0', enabled => false), NULL, 'a rule is disabled') ;
SELECT is(deploydb.evaluate_rules(minute(842)), 1::bigint, 'its alert ends');
SELECT is((SELECT status || ': ' || message FROM deploydb.alert_event ORDER BY id DESC LIMIT 1),
	'resolved: Ended after 60 s: db_slow_queries_rate_p0 was changed or disabled', 'and it is said why');
SELECT is(deploydb.evaluate_rules(minute(843)), 0::bigint, 'once');

-- the server's own
SELECT is(course('db_errors_rising', 'db.errors.per_min', '{8,11,14,17,20,23,23,23}', 850), '- - - - new - - resolved', 'errors in the log rise');
SELECT is((SELECT severity || ' ' || message FROM deploydb.alert_event WHERE rule = 'db_errors_rising' ORDER BY id LIMIT 1),
	'P2 Errors in the server''s log grow: 20 a minute, 3 more each minute', 'in words');
SELECT is(course('webhook_backlog', 'webhook.backlog', '{101,101,101,101,101,101,51,50}', 860), '- - - - - new - resolved', 'messages pile up');
SELECT is((SELECT severity || ' ' || message FROM deploydb.alert_event WHERE rule = 'webhook_backlog' ORDER BY id LIMIT 1),
	'P2 Messages pile up: 101 are not delivered yet (limit 100)', 'in words');

-- a rule's labels go with it, but for those that say where it comes from
SELECT deploydb.set_rule('http_5xx_rate_p1', labels => '{"team": "data", "database": "another"}'),
	deploydb.add_webhook('labels', 'generic', 'https://example.org/') \g /dev/null
SELECT is(course('http_5xx_rate_p1', 'http.error_rate.5xx', '{0.02,0.02}', 880), '- new', 'a rule with labels');
SELECT is(a->'labels', '{"team": "data"}' || deploydb.common_labels(), 'an active alert has them')
FROM jsonb_array_elements(deploydb.active_alerts()) a WHERE a->>'ruleId' = 'http_5xx_rate_p1';
SELECT is(course('http_5xx_rate_p1', 'http.error_rate.5xx', '{0}', 882), 'resolved', 'it resolves');
SELECT deploydb.enqueue_events() \g /dev/null
SELECT results_eq($$SELECT h->>'status', h->'labels' FROM jsonb_array_elements(deploydb.alert_history()) h
	WHERE h->>'ruleId' = 'http_5xx_rate_p1' LIMIT 2$$,
	$$SELECT s, '{"team": "data"}' || deploydb.common_labels() FROM unnest('{resolved,firing}'::text[]) s$$, 'its events have them, too');
SELECT is((SELECT array_agg(DISTINCT body::jsonb->'labels') FROM (SELECT o.body FROM deploydb.outbox o WHERE o.topic = 'http_5xx_rate_p1/' ORDER BY o.id DESC LIMIT 2) m),
	ARRAY['{"team": "data"}' || deploydb.common_labels()], 'and their messages');
SELECT deploydb.reset_rule('http_5xx_rate_p1'), deploydb.drop_webhook('labels') \g /dev/null

-- a receiver that comes late is told what others were
CREATE FUNCTION told_late(taken text DEFAULT 'P3') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	told text;
BEGIN
	PERFORM deploydb.add_webhook('late', 'generic', 'https://example.org/', min_severity => taken), deploydb.enqueue_events(), deploydb.enqueue_events();
	told := (SELECT string_agg(concat_ws(' ', o.topic, o.status, o.event = (SELECT max(e.id) FROM deploydb.alert_event e)), ',')
		FROM deploydb.outbox o WHERE o.webhook = 'late' AND o.state = 'pending');
	PERFORM deploydb.drop_webhook('late');
	RETURN told;
END $$;
DELETE FROM deploydb.silence;	-- of a time that is to come
SELECT is(course('db_errors_rising', 'db.errors.per_min', '{8,11,14,17,20}', 884), '- - - - new', 'a rule fires');
SELECT is(told_late(), 'db_errors_rising/ firing t', 'what is queued for all is not twice');
SELECT is(told_late(), 'db_errors_rising/ firing t', 'a new receiver is told what the others were');
SELECT is(told_late('P1'), NULL, 'of what it takes');
BEGIN;
SELECT deploydb.bind_installation() \g /dev/null
UPDATE deploydb.installation SET database_oid = 1;
SELECT is(told_late(), NULL, 'in a copy of a database nothing');
ROLLBACK;
SELECT deploydb.silence(NULL, '1 hour', 'quiet') \g /dev/null
SELECT is(told_late(), NULL, 'nor what is silenced');
SELECT deploydb.unsilence(NULL), deploydb.set_rule('db_errors_rising', parent => 'http_latency_p95_p0') \g /dev/null
SELECT is(told_late(), 'db_errors_rising/ firing t', 'a parent that does not fire silences nothing');
SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{1.2,1.2}', 889), '- new', 'it fires');
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is(told_late(), 'http_latency_p95_p0/ firing t', 'and is told alone');
SELECT deploydb.acknowledge('http_latency_p95_p0', 'on it') \g /dev/null
SELECT is(told_late(), NULL, 'until it is acknowledged');
SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{0.9}', 891), 'resolved', 'it ends');
SELECT deploydb.reset_rule('db_errors_rising') \g /dev/null
SELECT is(course('db_errors_rising', 'db.errors.per_min', '{20}', 892), 'resolved', 'as the other one does');

-- languages
SET deploydb.language = 'zh';
SELECT is(course('http_5xx_rate_p1', 'http.error_rate.5xx', '{0.02,0.02,0}', 900), '- new resolved', 'in Chinese');
SELECT is((SELECT string_agg(message, '|' ORDER BY id) FROM deploydb.alert_event WHERE occurred_at >= minute(900)),
	U&'HTTP \9519\8BEF\FF1A2% \7684\8BF7\6C42\8FD4\56DE 5xx\FF08\9608\503C 1%\FF09|\5DF2\6062\590D\FF08\6301\7EED 60 \79D2\FF09\FF1Ahttp_5xx_rate_p1\FF1Bhttp.error_rate.5xx \5F53\524D\4E3A 0',
	'the messages are Chinese');
SELECT is((SELECT array_agg(DISTINCT runbook) FROM deploydb.alert_event WHERE occurred_at >= minute(900)),
	'{docs/operations.zh-CN.md#http_5xx_rate_p1}', 'and so is the page they are about');
SELECT is(runbook, link, coalesce(link, 'no link')) FROM (VALUES
	(deploydb.runbook_link('https://example.org/docs/operations.md#x'), 'https://example.org/docs/operations.md#x'),
	(deploydb.runbook_link('docs/operations.md'), 'docs/operations.md'), (deploydb.runbook_link(NULL), NULL)) v (runbook, link);
RESET deploydb.language;

-- history, purge, rights
SELECT is(jsonb_array_length(deploydb.alert_history(7)), 7, 'the history has as many as are asked for');
SELECT throws_ok('SELECT deploydb.alert_history(-1)', '22023', NULL, 'and not fewer than none');
UPDATE deploydb.alert_event SET occurred_at = minute(100000)
	WHERE id IN (SELECT e.id FROM deploydb.alert_event e ORDER BY e.id LIMIT 6);
SELECT is(deploydb.purge_events(minute(500), 5), 5::bigint, 'old events are purged in small batches, and those of a clock that was ahead stepped over');
SELECT cmp_ok(deploydb.purge_events(minute(500), 1000), '>', 10::bigint, 'until none is left');
SELECT is((SELECT count(*) FROM deploydb.alert_event WHERE occurred_at < minute(500)), 0::bigint, 'which are old');
SET ROLE deploydb_test_monitor;
SELECT lives_ok('SELECT deploydb.active_alerts(), deploydb.alert_history(), (SELECT count(*) FROM deploydb.active_alert)', 'pg_monitor reads');
SELECT throws_ok('SELECT deploydb.evaluate_alerts()', '42501', NULL, 'and does not act');
RESET ROLE;
SET ROLE deploydb_test_operator;
SELECT lives_ok('SELECT deploydb.evaluate_alerts()', 'an operator evaluates');
RESET ROLE;

-- now, with what was measured last
DELETE FROM deploydb.metric_latest;
DELETE FROM deploydb.alert_state;
CREATE FUNCTION evaluate_with(value double precision, ago interval) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM deploydb.record_metric('db.errors.per_min', '', now() - ago, value);
	RETURN deploydb.evaluate_alerts();
END $$;
SELECT is((SELECT array_agg(evaluate_with(v, (5 - n) * interval '10 s') ORDER BY n) FROM unnest('{8,11,14,17,20}'::float8[]) WITH ORDINALITY AS u (v, n)),
	'{0,0,0,0,1}', 'evaluations, the last of which fires');
SELECT is((SELECT format('%s %s %s %s', rule, severity, status, message) FROM deploydb.active_alert),
	'db_errors_rising P2 firing Errors in the server''s log grow: 20 a minute, 18 more each minute', 'the rule that is violated');

-- a severity that is lowered while it fires
SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{1.5,1.5}', 10000), '- new', 'it fires');
SELECT deploydb.set_rule('http_latency_p95_p0', severity => 'P2') \g /dev/null
SELECT is(course('http_latency_p95_p0', 'http.request.duration.p95', '{1.5}', 10070) || ' '
	|| course('http_latency_p95_p0', 'http.request.duration.p95', '{0.1}', 10071) || ' '
	|| course('http_latency_p95_p0', 'http.request.duration.p95', '{1.5,1.5}', 10080), 'repeat resolved - new', 'it is repeated, and ends');
SELECT is((SELECT array_agg(severity ORDER BY id) FROM deploydb.alert_event
	WHERE rule = 'http_latency_p95_p0' AND occurred_at BETWEEN minute(10000) AND minute(20000)), '{P0,P0,P0,P2}',
	'for those who were told; only then is it lower');
SELECT deploydb.record_metric('http.request.duration.p95', '', minute(10081) + interval '0.4 s', 0.1) \g /dev/null
SELECT deploydb.evaluate_rules(minute(10081) + interval '0.4 s') \g /dev/null
SELECT matches(deploydb.alert_history(1)->0->>'message', '^Resolved after less than 1 s: http_latency_p95_p0;', 'what was short does not sound longer');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_operator;
DROP ROLE deploydb_test_operator, deploydb_test_monitor;
