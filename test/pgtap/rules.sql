-- Rules: what can be stored, how they are changed, what test_rule() says of
-- them, and what becomes of those that evade their constraints.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_operator;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') \g /dev/null

-- The values of a rule that differ from a plain one's.
CREATE FUNCTION rule_as_text(about text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', r.severity, r.metric, r.comparison, r.threshold, r.direction, r.min_slope, r.window_samples,
		r.floor, r.consecutive_periods, r.for_seconds, r.cooldown_seconds, r.no_data, r.parent)
	FROM deploydb.alert_rule r WHERE r.id = about $$;
-- What becomes of values a minute: the transitions.
CREATE FUNCTION transitions(about text, measured text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', to_char(t.at, 'MI'), t.status, t.reason), ', ' ORDER BY t.at)
	FROM deploydb.test_rule(about, (
		SELECT jsonb_agg(jsonb_build_object('at', timestamptz '2030-01-01 00:00Z' + n * interval '1 minute', 'value', v))
		FROM unnest(string_to_array(measured, ' ', '-')) WITH ORDINALITY AS u (v, n))) t $$;

SELECT plan(152);

-- what is built in
SELECT is(rule_as_text(id), expected, id) FROM (VALUES
	('http_latency_p95_p0', 'P0 http.request.duration.p95 > 1 2 0 300 keep'),
	('db_slow_queries_rate_p0', 'P0 db.slow_queries.per_min > 10 1 0 300 keep'),
	('http_5xx_rate_p1', 'P1 http.error_rate.5xx > 0.01 2 0 180 keep'),
	('http_5xx_rate_trend_p1', 'P1 http.error_rate.5xx increasing 0.002 3 0.0025 1 0 300 keep'),
	('decision_confidence_low_p1', 'P1 decision.confidence.p50 < 0.5 2 0 180 keep'),
	('migration_drift', 'P0 migration.deviations > 0 1 0 0 keep'),
	('insight_write_success_low', 'P0 insight.write.success_rate < 0.99 2 0 300 ok'),
	('insight_write_burn', 'P1 insight.write.burn >= 1 1 0 900 ok'),
	('insight_missing', 'P1 insight.coverage < 0.99 3 0 900 ok insight_write_success_low'),
	('rollback_error_rate', 'P0 rollback.error_rate > 0.05 2 0 300 ok'),
	('api_down', 'P0 api.up < 1 1 300 300 alert'),
	('db_errors_rising', 'P2 db.errors.per_min increasing 2 5 20 1 0 600 keep'),
	('webhook_backlog', 'P2 webhook.backlog > 100 1 300 900 ok'),
	('backup_too_old', 'P1 backup.age_seconds > 90000 1 0 3600 keep')) AS r (id, expected);
SELECT is((SELECT count(*) FROM deploydb.alert_rule), 14::bigint, 'and no other');
SELECT is((SELECT count(*) FROM deploydb.alert_rule WHERE message_en IS NULL OR message_zh IS NULL
	OR runbook <> 'docs/operations.md#' || id OR NOT built_in OR NOT enabled), 0::bigint,
	'each has messages in both languages and a runbook');
SELECT is((SELECT string_agg(r.id, ',') FROM deploydb.alert_rule r,
		LATERAL (SELECT array_agg(m[1] ORDER BY m[1]) AS p FROM regexp_matches(r.message_en, '\{[^}]*\}', 'g') m) e,
		LATERAL (SELECT array_agg(m[1] ORDER BY m[1]) AS p FROM regexp_matches(r.message_zh, '\{[^}]*\}', 'g') m) z
	WHERE e.p IS DISTINCT FROM z.p), NULL, 'which say the same things');

-- changes
SELECT is(deploydb.set_rule('http_5xx_rate_p1', threshold => 0.02, cooldown_seconds => 60), false, 'a built-in rule is changed');
SELECT is(rule_as_text('http_5xx_rate_p1'), 'P1 http.error_rate.5xx > 0.02 2 0 60 keep', 'what is given, and nothing else');
SELECT is((SELECT built_in::text || changed_by FROM deploydb.alert_rule WHERE id = 'http_5xx_rate_p1'), 'false' || session_user,
	'it is known who did');
SELECT is(deploydb.reset_rule('http_5xx_rate_p1'), true, 'it is reset');
SELECT is(rule_as_text('http_5xx_rate_p1'), 'P1 http.error_rate.5xx > 0.01 2 0 180 keep', 'and is what it was');
SELECT is(deploydb.reset_rule('http_5xx_rate_p1'), false, 'which is enough');
SELECT is(deploydb.set_rule('queue', 'app.queue', comparison => '>', threshold => 5, labels => '{"team": "app"}',
	message_en => 'The queue has {value}'), true, 'a rule is made');
SELECT is(rule_as_text('queue'), 'P2 app.queue > 5 1 0 300 keep', 'the rest is as it comes');
SELECT is(deploydb.set_rule('queue', kind => 'trend', direction => 'decreasing', min_slope => 2, window_samples => 4,
	clear => '{comparison,threshold}'), false, 'it becomes a trend');
SELECT is(rule_as_text('queue'), 'P2 app.queue decreasing 2 4 1 0 300 keep', 'entirely');
SELECT is(deploydb.reset_rule('queue'), true, 'and is dropped');
SELECT is(rule_as_text('queue'), NULL, 'for good');
SET SESSION AUTHORIZATION deploydb_test_operator;
SELECT is(deploydb.set_rule('api_down', enabled => false), false, 'an operator disables a rule');
SELECT throws_ok('INSERT INTO deploydb.own_rule (id) VALUES (''x'')', '42501', NULL, 'and has no rights on the table');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT changed_by FROM deploydb.alert_rule WHERE id = 'api_down'), 'deploydb_test_operator', 'his name is kept');
SELECT is(deploydb.reset_rule('api_down'), true, 'it is enabled again');

SET extra_float_digits = -14;
SELECT deploydb.set_rule('rollback_error_rate', threshold => 0.1 + 0.2::double precision) \g /dev/null
RESET extra_float_digits;
SELECT is((SELECT threshold FROM deploydb.alert_rule WHERE id = 'rollback_error_rate'), 0.1 + 0.2::double precision, 'a number is kept to its last digit');
SELECT deploydb.reset_rule('rollback_error_rate') \g /dev/null

-- the view
SELECT lives_ok('INSERT INTO deploydb.alert_rule (id, metric, comparison, threshold) VALUES (''v'', ''m'', ''>'', 1)', 'a row is inserted');
SELECT is(rule_as_text('v'), 'P2 m > 1 1 0 300 keep', 'with what is left out as it comes');
SELECT lives_ok('UPDATE deploydb.alert_rule SET threshold = threshold + 1 WHERE id IN (''v'', ''migration_drift'')', 'rows are updated');
SELECT is(rule_as_text('v') || ', ' || rule_as_text('migration_drift'), 'P2 m > 2 1 0 300 keep, P0 migration.deviations > 1 1 0 0 keep',
	'people''s and built-in ones');
SELECT lives_ok('DELETE FROM deploydb.alert_rule WHERE id IN (''v'', ''migration_drift'')', 'rows are deleted');
SELECT is(rule_as_text('migration_drift'), 'P0 migration.deviations > 0 1 0 0 keep', 'and what is built in comes back');
SELECT throws_ok('DELETE FROM deploydb.alert_rule WHERE id = ''api_down''', '55000', 'rule "api_down" is built in', 'but cannot be deleted');
SELECT throws_ok('INSERT INTO deploydb.alert_rule (id, metric, comparison, threshold) VALUES (''api_down'', ''m'', ''>'', 1)', '42710',
	NULL, 'nor made again');
SELECT throws_ok(format('UPDATE deploydb.alert_rule SET %s WHERE id = ''api_down''', s), '0A000', NULL, s || ' is not for people to say')
	FROM unnest(ARRAY['changed_by = ''x''', 'built_in = false']) s;
SELECT lives_ok('UPDATE deploydb.alert_rule SET changed_at = date_trunc(''milliseconds'', changed_at), fault = NULL WHERE id = ''v''', 'a row is written back as it was read');
SELECT throws_ok('SELECT deploydb.test_rule(''api_down'', ''[1]'')', '22023', 'samples must be a JSON array of objects', 'samples are objects');
SELECT throws_ok('UPDATE deploydb.alert_rule SET id = ''x'' WHERE id = ''api_down''', '0A000', NULL, 'nor renamed');

-- what cannot be evaluated cannot be stored
SELECT throws_ok('SELECT deploydb.set_rule(''x'', ' || call || ')', code, NULL, call) FROM (VALUES
	('threshold => 1', '42704'),
	('''m''', '22023'),
	('''m'', comparison => ''>''', '22023'),
	('''m'', comparison => ''~'', threshold => 1', '22023'),
	('''m'', comparison => ''>'', threshold => ''NaN''', '22023'),
	('''m'', comparison => ''>'', threshold => ''infinity''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, resolve_threshold => 2', '22023'),
	('''m'', comparison => ''>'', threshold => 1, resolve_threshold => ''NaN''', '22023'),
	('''m'', comparison => ''<'', threshold => 1, resolve_threshold => 0', '22023'),
	('''m'', comparison => ''=='', threshold => 1, resolve_threshold => 1', '22023'),
	('''m'', comparison => ''>'', threshold => 1, consecutive_periods => 0', '22023'),
	('''m'', comparison => ''>'', threshold => 1, resolve_periods => 0', '22023'),
	('''m'', comparison => ''>'', threshold => 1, cooldown_seconds => -1', '22023'),
	('''m'', comparison => ''>'', threshold => 1, for_seconds => -1', '22023'),
	('''m'', comparison => ''>'', threshold => 1, severity => ''P4''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, kind => ''rate''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, no_data => ''maybe''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, parent => ''x''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, parent => ''nothing''', '42704'),
	('''m'', comparison => ''>'', threshold => 1, labels => ''[]''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, labels => ''{"a": 1}''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, labels => ''{"a": ["b"]}''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, labels => ''{"a": []}''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, labels => ''{"a": {}}''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, labels => ''"a"''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, labels => ''null''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, min_slope => 1', '22023'),
	('''m'', comparison => ''>'', threshold => 1, message_en => repeat(''x'', 2001)', '22023'),
	('''m'', comparison => ''>'', threshold => 1, message_en => ''''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, message_zh => '' ''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, runbook => ''''', '22023'),
	(''' '', comparison => ''>'', threshold => 1', '22023'),
	('''m'', kind => ''trend'', direction => ''up'', min_slope => 1, window_samples => 3', '22023'),
	('''m'', kind => ''trend'', direction => ''increasing'', min_slope => 0, window_samples => 3', '22023'),
	('''m'', kind => ''trend'', direction => ''increasing'', min_slope => 1, window_samples => 1', '22023'),
	('''m'', kind => ''trend'', direction => ''increasing'', min_slope => 1, window_samples => 101', '22023'),
	('''m'', kind => ''trend'', direction => ''increasing'', min_slope => 1, window_samples => 3, floor => ''NaN''', '22023'),
	('''m'', comparison => ''>'', threshold => 1, clear => ''{severity}''', '22023')) AS r (call, code);
SELECT throws_ok('SELECT deploydb.set_rule(''api_down'', labels => ''null'')', '22023', NULL, 'nor of one that is there: labels are an object');
SELECT throws_ok('SELECT deploydb.set_rule(''a rule'', ''m'', comparison => ''>'', threshold => 1)', '22023', NULL, 'an id with a blank');
SELECT throws_ok('UPDATE deploydb.alert_rule SET threshold = ''NaN'' WHERE id = ''api_down''', '22023', 'rule "api_down" could not be evaluated', 'nor by the view');
SELECT throws_ok('UPDATE deploydb.alert_rule SET metric = NULL WHERE id = ''api_down''', '22023', 'rule "api_down" could not be evaluated', 'nor without a metric');
SELECT throws_ok('SELECT deploydb.set_rule(''insight_write_success_low'', parent => ''insight_missing'')', '22023', NULL,
	'parents form no circle');
SELECT deploydb.set_rule('insight_missing', clear => '{parent}') \g /dev/null
SELECT is(deploydb.set_rule('insight_write_success_low', parent => 'insight_missing'), false, 'another parent than what is built in');
SELECT throws_ok(c, '22023', 'rule "insight_missing" cannot have the parent "insight_write_success_low"', c)
FROM unnest(ARRAY['SELECT deploydb.reset_rule(''insight_missing'')', 'DELETE FROM deploydb.alert_rule WHERE id = ''insight_missing''']) c;
SELECT is(rule_as_text('insight_missing'), 'P1 insight.coverage < 0.99 3 0 900 ok', 'nothing was changed');
SELECT is(deploydb.reset_rule(r), true, 'the other one first: ' || r)
FROM unnest('{insight_write_success_low,insight_missing}'::text[]) WITH ORDINALITY AS u (r, n) ORDER BY n;
SELECT deploydb.set_rule('v', 'm', comparison => '>', threshold => 1) \g /dev/null
SELECT deploydb.set_rule('w', 'm', comparison => '>', threshold => 1, parent => 'v') \g /dev/null
SELECT throws_ok(c, '2BP01', 'rule "v" is a parent', c)
FROM unnest(ARRAY['SELECT deploydb.reset_rule(''v'')', 'DELETE FROM deploydb.alert_rule WHERE id = ''v''']) c;
SELECT is(deploydb.set_rule('w', threshold => 2), false, 'its child can be changed');
SELECT is(deploydb.reset_rule(r), true, 'the child first: ' || r)
FROM unnest('{w,v}'::text[]) WITH ORDINALITY AS u (r, n) ORDER BY n;
SELECT is(deploydb.set_rule('insight_write_success_low', threshold => 0.9), false, 'a built-in parent is changed');
SELECT is(deploydb.reset_rule('insight_write_success_low'), true, 'and reset');

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(deploydb.set_rule('v', 'm', comparison => '>', threshold => 1), true, 'with a snapshot of its own a transaction changes rules');
SELECT throws_ok(c, '25000', 'this is done at isolation level READ COMMITTED only', c)
FROM unnest(ARRAY['SELECT deploydb.set_rule(''v'', parent => ''api_down'')', 'SELECT deploydb.reset_rule(''v'')']) c;
ROLLBACK;

-- what would become of samples
SELECT is(transitions('http_latency_p95_p0', '0.5 1.5 1.5 1.5 0.5'), '01 ok, 02 pending, 03 firing new, 05 ok resolved', 'transitions');
SELECT is(transitions('http_latency_p95_p0', '0.5 1.5 - NaN 1.5'), '01 ok, 02 pending, 05 firing new', 'no value counts for nothing');
SELECT is(transitions('http_5xx_rate_trend_p1', '0.001 0.004 0.008 0.008 0.008'), '01 ok, 03 firing new, 05 ok resolved', 'of a trend');
SELECT is(transitions('db_errors_rising', measured), expected, 'errors rise: ' || measured) FROM (VALUES
	('8 11 14 17 20 23 23 23 23', '01 ok, 05 firing new, 08 ok resolved'), ('20 21.9 23.8 25.7 27.6 29.5 31.4', '05 ok'),
	('1 4 7 10 13 16 19', '01 ok'), ('40 37 34 31 28 25', '05 ok')) AS v (measured, expected);
SELECT is(transitions('webhook_backlog', measured), expected, 'messages pile up: ' || measured) FROM (VALUES
	('101 101 101 101 101 101 51 50', '01 pending, 06 firing new, 08 ok resolved'), ('100 100 100 100 100 100 100', '01 ok'),
	('101 101 101 101 101 100 101', '01 pending, 06 ok, 07 pending')) AS v (measured, expected);
SELECT is((SELECT array_agg(reason ORDER BY at) FROM deploydb.test_rule('migration_drift', '[
	{"at": "2030-01-01 00:00Z", "value": 1, "fingerprint": "a"}, {"at": "2030-01-01 00:01Z", "value": 1, "fingerprint": "b"},
	{"at": "2030-01-01 00:02Z", "value": 1, "fingerprint": "b"}]')), '{new,changed}', 'with fingerprints');
SELECT is((SELECT count(*) FROM deploydb.alert_event) + (SELECT count(*) FROM deploydb.alert_state), 0::bigint, 'without effect');
SELECT is_empty('SELECT * FROM deploydb.test_rule(''api_down'', ''[]'')', 'no samples, no transitions');
SELECT throws_ok(format('SELECT deploydb.test_rule(%L, %L)', r, s), code, NULL, r || ' ' || s) FROM (VALUES
	('nothing', '[]', '42704'), ('api_down', '{}', '22023'), ('api_down', '1', '22023'),
	('api_down', '[{"value": 1}]', '22023'), ('api_down', '[{"at": "infinity", "value": 1}]', '22023'),
	('api_down', '[{"at": "2030-01-01 00:00Z", "value": 1, "severity": "P9"}]', '22023'),
	('api_down', '[{"at": "soon", "value": 1}]', '22007'), ('api_down', '[1]', '22023')) AS c (r, s, code);

SELECT results_eq(format('SELECT to_char(at, ''MI:SS'') || '' '' || concat_ws('' '', status, reason) FROM deploydb.test_rule(''api_down'', %L) ORDER BY at',
		'[{"at": "2026-11-01 00:00Z", "value": 1}, {"at": "2026-11-01 00:07Z", "value": null}, {"at": "2026-11-01 00:13Z", "value": null},
		{"at": "2026-11-01 00:31Z", "value": 0}, {"at": "2026-11-01 00:31:30Z", "value": 1}]'),
	$$VALUES ('00:00 ok'), ('13:00 no_data no_data'), ('31:30 ok resolved')$$, 'after a lack of data one sample is no outage');
SELECT results_eq(format('SELECT to_char(at, ''MI'') || '' '' || concat_ws('' '', status, reason) FROM deploydb.test_rule(''api_down'', %L) ORDER BY at',
	replace('[{"at": "Y 00:01Z", "value": 1}, {"at": "Y 00:02Z", "value": 0}, {"at": "Y 00:03Z", "value": 0}, {"at": "Y 00:09Z", "value": 0}]', 'Y', day)),
	$$VALUES ('01 ok'), ('02 pending'), ('09 firing new')$$, 'in ' || day) FROM unnest('{1970-01-01,1999-12-31,2030-01-01}'::text[]) AS day;
SELECT deploydb.set_rule('long', 'm', severity => 'P0', comparison => '>', threshold => 10, no_data => 'keep') \g /dev/null
SELECT is((SELECT array_agg(reason || ': ' || message ORDER BY at) FROM deploydb.test_rule('long', (
	SELECT jsonb_agg(jsonb_build_object('at', timestamptz '2030-01-01 00:00Z' + n * interval '1 minute', 'value', CASE WHEN n < 60 THEN 11 END))
	FROM generate_series(0, 60) n))), '{"new: m is 11 (rule: > 10)","repeat: Still firing after 60 min: m has no data any more"}',
	'what is not measured is not told');
SELECT deploydb.reset_rule('long') \g /dev/null
SELECT is((SELECT message FROM deploydb.test_rule('http_5xx_rate_p1', '[{"at": "2030-01-01 00:00Z", "value": 0.010001}, {"at": "2030-01-01 00:01Z", "value": 0.010001}]')
	WHERE reason = 'new'), 'HTTP errors: 1.0001% of the requests fail with 5xx (limit 1%)', 'a value is told from its limit');

-- a row that evaded its constraints
ALTER TABLE deploydb.own_rule DROP CONSTRAINT rule_threshold;
INSERT INTO deploydb.own_rule (id, metric, comparison, threshold, parent, changed_at, changed_by) VALUES
	('bad', 'm', '>', 'NaN', NULL, now(), 'test'), ('worse', 'm', NULL, NULL, NULL, now(), 'test'),
	('circle_a', 'm', '>', 1, 'circle_b', now(), 'test'), ('circle_b', 'm', '>', 1, 'circle_a', now(), 'test'),
	('good', 'm', '>', 1, NULL, now(), 'test');
INSERT INTO deploydb.metric_latest (metric, at, value) VALUES ('m', '2030-01-01 00:00Z', 2);
SELECT is(deploydb.evaluate_rules('2030-01-01 00:00Z'), 2::bigint, 'the others are evaluated');
SELECT is((SELECT array_agg(rule ORDER BY rule) FROM deploydb.alert_event), '{circle_b,good}', 'each of them');
SELECT results_eq('SELECT id, fault FROM deploydb.alert_rule WHERE fault IS NOT NULL ORDER BY id', $$ VALUES
	('bad' COLLATE "C", 'the threshold is not a finite number'), ('circle_a', 'its parents form a circle'),
	('worse', 'a threshold rule needs a comparison and a threshold') $$, 'and the bad ones disable themselves, with a reason');
SELECT is(deploydb.evaluate_rules('2030-01-01 00:01Z'), 0::bigint, 'once');
SELECT is(deploydb.set_rule('bad', threshold => 1), false, 'a bad one is mended');
SELECT is((SELECT count(*) FROM deploydb.alert_rule WHERE fault IS NOT NULL), 0::bigint, 'so that all are tried again');
SELECT is(deploydb.evaluate_rules('2030-01-01 00:02Z'), 1::bigint, 'and it fires');
SELECT deploydb.set_rule('circle_b', clear => '{parent}') \g /dev/null
SELECT is(deploydb.reset_rule(r), true, 'without ' || r) FROM unnest('{bad,worse,circle_a,circle_b,good}'::text[]) r;
SELECT is(deploydb.evaluate_rules('2030-01-01 00:03Z'), 3::bigint, 'what fired ends with its rule');
SELECT is((SELECT count(*) FROM deploydb.alert_state), 0::bigint, 'and nothing is left of it');

-- a chain of parents
SELECT bool_and(deploydb.set_rule('chain' || n, 'm', comparison => '>', threshold => 1, parent => 'chain' || NULLIF(n - 1, -1)))
FROM generate_series(0, 100) n \g /dev/null
SELECT throws_ok('SELECT deploydb.set_rule(''chain101'', ''m'', comparison => ''>'', threshold => 1, parent => ''chain100'')', '22023', 'rule "chain101" cannot have the parent "chain100"', 'parents are 100 at most');
INSERT INTO deploydb.own_rule (id, metric, comparison, threshold, parent, changed_at, changed_by)
SELECT 'chain' || n, 'm', '>', 1, 'chain' || n - 1, now(), 'test' FROM generate_series(101, 3000) n;
SELECT is(deploydb.evaluate_rules('2030-01-01 00:04Z'), 101::bigint, 'a chain that evaded that is evaluated so far');
SELECT is((SELECT count(*)::text || string_agg(DISTINCT fault, ',') FROM deploydb.alert_rule WHERE fault IS NOT NULL),
	'2900it has more than 100 parents above it', 'and the rest disables itself');
UPDATE deploydb.own_rule SET parent = 'chain' || NULLIF(substr(id, 6)::integer + 1, 3001) WHERE id ~ '^chain';
DELETE FROM deploydb.rule_fault;
SELECT is(deploydb.evaluate_rules('2030-01-01 00:05Z'), 101::bigint, 'whatever their names are');
SELECT is((SELECT count(*) FROM deploydb.alert_rule WHERE fault IS NOT NULL), 2900::bigint, 'again');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_operator;
DROP ROLE deploydb_test_operator;
