-- What Alertmanager is told, without a monitor: all of it, in few requests, and
-- again while it goes on.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;

\ir messages.psql

SELECT no_plan();

-- Alertmanager is told of each alert itself, however many there are
SELECT deploydb.add_webhook('am', 'alertmanager', 'https://example.org/am', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') \g /dev/null
SELECT fire('am' || n, CASE WHEN n % 3 = 0 THEN 'resolved' ELSE 'firing' END, 'P2') FROM generate_series(1, 30) n \g /dev/null
SELECT fire('first', 'firing', 'P0') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
CREATE TABLE request AS SELECT * FROM deploydb.claim_messages(64);
SELECT is((SELECT count(*) FROM request), 12::bigint, 'as many requests as the rate allows');
SELECT bag_eq($$SELECT a #>> '{labels,alertname}' FROM request, jsonb_array_elements(body::jsonb) a$$,
	$$SELECT 'first' UNION ALL SELECT 'am' || n FROM generate_series(1, 30) n$$, 'with each of the alerts once');
SELECT results_eq('SELECT count(*), max(jsonb_array_length(body::jsonb)) FROM request WHERE jsonb_array_length(body::jsonb) > 1', 'VALUES (1::bigint, 20)',
	'the last one has the others');
SELECT is((SELECT body::jsonb #>> '{0,labels,alertname}' FROM request ORDER BY id DESC LIMIT 1), 'first', 'the most severe goes by itself');
SELECT is(headers[5], 'webhook-signature: ' || deploydb.standard_signature('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', split_part(headers[2], ': ', 2),
	split_part(headers[3], ': ', 2)::bigint, body), 'all is signed') FROM request WHERE jsonb_array_length(body::jsonb) > 1;
SELECT is((SELECT tokens < 1 FROM deploydb.webhook_state WHERE webhook = 'am'), true, 'a request counts once');
CREATE FUNCTION am_states() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(s, ', ' ORDER BY s) FROM (SELECT format('%s %s %s', state, attempts, count(*)) AS s FROM deploydb.outbox
		WHERE webhook = 'am' GROUP BY state, attempts) g $$;
SELECT id AS many FROM request WHERE jsonb_array_length(body::jsonb) > 1 \gset
SELECT record(id, 200) FROM request WHERE id <> :many \g /dev/null
SELECT is(am_states(), 'delivered 1 11, sending 1 20', 'what went along is still under way');
-- what comes meanwhile waits for it, and tells what it would have told
SELECT topic AS late FROM deploydb.outbox WHERE sent_with = :many ORDER BY id LIMIT 1 \gset
SELECT fire(split_part(:'late', '/', 1), 'resolved', 'P2') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
UPDATE deploydb.webhook_state SET tokens = 12 WHERE webhook = 'am';
SELECT is_empty('SELECT * FROM claim()', 'a newer one of a topic that is under way waits');
SELECT is(record(:many, 503), 'pending', 'it fails');
SELECT is(am_states(), 'delivered 1 11, pending 0 1, pending 1 19, superseded 1 1', 'so all wait, but for what a newer one tells');
CALL make_due();
UPDATE deploydb.webhook_state SET tokens = 1, tokens_at = clock_timestamp() WHERE webhook = 'am';
TRUNCATE request;
INSERT INTO request SELECT * FROM deploydb.claim_messages(64);
SELECT is((SELECT string_agg(jsonb_array_length(body::jsonb)::text, ' ') FROM request), '20', 'and go again in one request');
SELECT is(record(id, 429), 'pending', 'which is too much now') FROM request;
CALL make_due();
UPDATE deploydb.webhook_state SET tokens = 1, tokens_at = clock_timestamp(), paused_until = NULL WHERE webhook = 'am';
TRUNCATE request;
INSERT INTO request SELECT * FROM deploydb.claim_messages(64);
SELECT is((SELECT string_agg(jsonb_array_length(body::jsonb)::text, ' ') FROM request), '20', 'but not refused: still one request');
UPDATE deploydb.outbox SET attempts = 20 WHERE webhook = 'am' AND state = 'sending';
SELECT is(record(id, 400), 'pending', 'which is refused, the last time for each') FROM request;
SELECT is(am_states(), 'delivered 1 11, pending 20 20, superseded 1 1', 'but it may be another that is meant');
CALL make_due();
UPDATE deploydb.webhook_state SET tokens = 12 WHERE webhook = 'am';
TRUNCATE request;
INSERT INTO request SELECT * FROM deploydb.claim_messages(64);
SELECT is((SELECT string_agg(DISTINCT jsonb_array_length(body::jsonb)::text, ' ') FROM request), '1', 'so each goes by itself');
SELECT is(record(min(id), 400), 'dead', 'to find the one') FROM request;
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
-- what the monitor left behind
DELETE FROM deploydb.outbox;
UPDATE deploydb.webhook_state SET tokens = 1, tokens_at = clock_timestamp(), failures = 0 WHERE webhook = 'am';
SELECT fire('am' || n, 'firing', 'P2') FROM generate_series(1, 3) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is((SELECT count(*) FROM claim()), 1::bigint, 'three in one request');
UPDATE deploydb.outbox SET claimed_by = -1;
SELECT is(deploydb.release_claims(), 3::bigint, 'all three are released');
SELECT is((SELECT count(*) FROM deploydb.outbox WHERE state = 'pending'), 3::bigint, 'and wait for themselves');
-- what is too much for one request
DELETE FROM deploydb.outbox;
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body)
SELECT 'am', 'alert', 'big' || n || '/', 'P2', 'firing', format('[{"a": "%s"}]', repeat('x', 19000)) FROM generate_series(1, 25) n;
UPDATE deploydb.webhook_state SET tokens = 2, tokens_at = clock_timestamp() WHERE webhook = 'am';
TRUNCATE request;
INSERT INTO request SELECT * FROM deploydb.claim_messages(64);
SELECT cmp_ok(max(octet_length(body)), '<=', 220000, 'no request is too long') FROM request;
SELECT is(am_states(), 'pending 0 13, sending 1 12', 'the rest waits');
-- a key that cannot sign
UPDATE deploydb.webhook_secret SET secret = 'whsec_*' WHERE webhook = 'am';
UPDATE deploydb.webhook_state SET tokens = 1, tokens_at = clock_timestamp() WHERE webhook = 'am';
SELECT record(id, 200) FROM request \g /dev/null
SELECT is_empty('SELECT * FROM claim()', 'nothing goes unsigned to Alertmanager');
SELECT is(am_states(), 'dead 1 11, delivered 1 12, pending 0 2', 'nor along with another one');
SELECT deploydb.drop_webhook('am') \g /dev/null
DELETE FROM deploydb.outbox;
DROP TABLE request;


-- what goes on is told again, before it would end by itself
SELECT deploydb.add_webhook('am', 'alertmanager', 'https://example.org/am'), deploydb.add_webhook('g', 'generic', 'https://example.org/g'),
	deploydb.add_metric('queue', 'SELECT 1', 'jobs', 'Jobs that wait'),
	deploydb.set_rule('long_queue', 'queue', severity => 'P1', comparison => '>', threshold => 10, consecutive_periods => 1, cooldown_seconds => 0,
		labels => '{"team": "data"}') \g /dev/null
CREATE FUNCTION measure(value double precision, series text DEFAULT '', print text DEFAULT '') RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM deploydb.record_metric('queue', series, clock_timestamp(), value, print);
	PERFORM deploydb.evaluate_alerts();
	RETURN deploydb.enqueue_events();
END $$;
-- all that is due is sent, and what Alertmanager had to take
CREATE FUNCTION deliver(status integer DEFAULT 200) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	request record;
	told text[] := '{}';
BEGIN
	CALL refill();
	DELETE FROM deploydb.outbox WHERE kind = 'notice';	-- that the other one has dead letters
	CALL make_due();
	UPDATE deploydb.webhook_state SET failures = 0, opened_at = NULL, paused_until = NULL;
	FOR request IN SELECT * FROM deploydb.claim_messages(64) LOOP
		IF request.webhook <> 'g' THEN
			told := told || ARRAY(SELECT format('%s%s %s %s', COALESCE((a #>> '{labels,series}') || ' ', ''), a #>> '{labels,team}', a #>> '{labels,severity}',
					CASE WHEN (a->>'endsAt')::timestamptz > clock_timestamp() + interval '89 minutes' THEN 'goes on' ELSE 'ends' END)
				FROM jsonb_array_elements(request.body::jsonb) WITH ORDINALITY AS e (a, n) ORDER BY n, 1);
		END IF;
		PERFORM record(request.id, status);
	END LOOP;
	RETURN array_to_string(told, ', ');
END $$;
CREATE FUNCTION elapse(period interval) RETURNS void LANGUAGE sql AS $$ UPDATE deploydb.outbox SET ends_at = ends_at - period $$;
SELECT is(measure(20), 2::bigint, 'a rule fires');
SELECT is(deploydb.renew_alerts(), 0::bigint, 'which is just told');
SELECT is(deliver(), 'data P1 goes on', 'Alertmanager has it');
SELECT elapse('29 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts(), 0::bigint, 'for an hour and a half');
SELECT elapse('2 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts(), 1::bigint, 'after half an hour it is told again');
SELECT is(deploydb.renew_alerts(), 0::bigint, 'once');
SELECT results_eq($$SELECT webhook, status, severity, topic, event, state FROM deploydb.notification ORDER BY id DESC LIMIT 1$$,
	$$VALUES ('am', 'firing', 'P1', 'long_queue/', NULL::bigint, 'pending')$$, 'and nobody else');
SELECT is((SELECT (body::jsonb -> 0) - 'endsAt' FROM deploydb.outbox ORDER BY id DESC LIMIT 1),
	(SELECT (body::jsonb -> 0) - 'endsAt' FROM deploydb.outbox WHERE webhook = 'am' ORDER BY id LIMIT 1), 'in the same words');
SELECT is(deliver(), 'data P1 goes on', 'it has it still');
SELECT deploydb.acknowledge('long_queue', 'we are on it'), elapse('31 minutes') \g /dev/null
SELECT is(measure(20), 0::bigint, 'what is acknowledged');
SELECT is(deploydb.renew_alerts() || deliver(), '1data P1 goes on', 'goes on');
SELECT deploydb.silence('long_queue', '2 hours', 'we are on it'), elapse('31 minutes') \g /dev/null
SELECT is(measure(20), 0::bigint, 'what is silenced, once it was told');
SELECT is(deploydb.renew_alerts() || deliver(), '1data P1 goes on', 'likewise');
SELECT is(measure(20, 'b'), 0::bigint, 'what was never told');
SELECT is(deploydb.renew_alerts(), 0::bigint, 'is not');
SELECT deploydb.set_rule('long_queue', severity => 'P0'), deploydb.add_webhook('worst', 'alertmanager', 'https://example.org/worst', min_severity => 'P0') \g /dev/null
SELECT is(measure(20), 0::bigint, 'it becomes worse, in silence');
SELECT is((SELECT severity || silenced FROM deploydb.alert_event WHERE series = '' AND rule = 'long_queue' ORDER BY id DESC LIMIT 1), 'P0true', 'as is recorded');
SELECT elapse('31 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts() || deliver(), '1data P1 goes on', 'of which nobody hears');
SELECT deploydb.drop_webhook('worst'), deploydb.reset_rule('long_queue') \g /dev/null
SELECT is(measure(1, 'b'), 2::bigint, 'the rule is no more');
SELECT is(deliver(), 'data P1 ends,  P0 ends', 'so it ends, by the labels that it was told with') ;
SELECT elapse('31 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts() || deliver(), '0', 'and is over');
SELECT elapse('1 day'), deploydb.unsilence('long_queue'),
	deploydb.set_rule('long_queue', 'queue', severity => 'P1', comparison => '>', threshold => 10, consecutive_periods => 1, cooldown_seconds => 0,
		labels => '{"team": "data"}') \g /dev/null

-- Alertmanager is away for long
SELECT is(measure(20) || deliver(), '2data P1 goes on', 'another time');
SELECT elapse('31 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts() || deliver(503), '1data P1 goes on', 'one that does not arrive');
SELECT elapse('31 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts(), 1::bigint, 'is old when it is sent again');
CREATE FUNCTION states() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(state, ' ' ORDER BY id) FROM (SELECT * FROM deploydb.outbox WHERE webhook = 'am' ORDER BY id DESC LIMIT 2) o $$;
SELECT is(states(), 'superseded pending', 'so that a newer one goes instead');
SELECT is(deliver(404), 'data P1 goes on', 'which is refused');
SELECT elapse('31 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts(), 1::bigint, 'a newer one');
SELECT is(states(), 'superseded pending', 'stands for a dead letter');
SELECT is(deploydb.replay_since('-infinity'), 0::bigint, 'which is not replayed any more: it would end what goes on');
SELECT is(deliver(), 'data P1 goes on', 'and it has it still');
-- nor one that is refused once a newer one waits
SELECT elapse('31 minutes') \g /dev/null
SELECT deploydb.renew_alerts() \g /dev/null
CALL refill();
SELECT count(*) FROM claim() \g /dev/null
SELECT is(measure(20, '', 'news'), 2::bigint, 'something new meanwhile');
SELECT record(id, 400) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
SELECT is(states(), 'superseded pending', 'what is refused is told by it');
SELECT is(deliver(), 'data P1 goes on', 'which arrives');
SELECT elapse('31 minutes') \g /dev/null
SELECT deploydb.renew_alerts() \g /dev/null
CALL refill();
SELECT count(*) FROM claim() \g /dev/null
SELECT elapse('31 minutes') \g /dev/null
SELECT is(deploydb.renew_alerts(), 0::bigint, 'not while one is under way');
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
SELECT is(deploydb.renew_alerts() || deliver(), '1data P1 goes on', 'but after it');
UPDATE deploydb.outbox SET ends_at = ends_at + interval '1 day' WHERE id = (SELECT max(id) FROM deploydb.outbox);
SELECT is(deploydb.renew_alerts() || deliver(), '1data P1 goes on', 'whatever a clock said that was ahead');
UPDATE deploydb.outbox SET ends_at = ends_at - interval '1 day' WHERE ends_at > clock_timestamp() + interval '3 hours';

-- labels that change meanwhile
SELECT deploydb.set_rule('long_queue', severity => 'P0') \g /dev/null
SELECT is(measure(20) || deliver(503), '2data P1 ends, data P0 goes on', 'another severity: the former alert ends, but it does not arrive');
SELECT deploydb.set_rule('long_queue', labels => '{"team": "app"}') \g /dev/null
SELECT is(measure(20, '', 'x'), 2::bigint, 'other labels');
SELECT is(deliver(404), 'data P0 ends, data P1 ends, app P0 goes on', 'with all that it may have, and is refused');
SELECT deploydb.set_rule('long_queue', labels => '{"team": "web"}') \g /dev/null
SELECT is(measure(20, '', 'y'), 2::bigint, 'and others again');
SELECT is((SELECT string_agg(DISTINCT k, ' ' ORDER BY k) FROM deploydb.outbox o, jsonb_array_elements(o.body::jsonb) WITH ORDINALITY a (e, n), jsonb_object_keys(e) k
	WHERE o.webhook = 'am' AND o.state = 'pending' AND n < jsonb_array_length(o.body::jsonb)), 'endsAt labels',
	'ends have no start, which a clock may have set ahead');
SELECT is(deliver(), 'app P0 ends, data P0 ends, data P1 ends, web P0 goes on', 'likewise');
SELECT elapse('31 minutes') \g /dev/null
SELECT elapse('1 hour') FROM (SELECT deploydb.renew_alerts()) r \g /dev/null
SELECT is(deploydb.renew_alerts() || deliver(), '1web P0 goes on', 'until they have ended by themselves');
SELECT is(measure(1), 2::bigint, 'it resolves');
SELECT is(deploydb.renew_alerts() || deliver(), '0web P0 ends', 'and that is all');
SELECT deploydb.set_rule('long_queue', labels => '{"team": "ops"}'), elapse('2 hours') \g /dev/null
SELECT is(measure(20) || deliver(), '2ops P0 goes on', 'the next one has nothing to do with it');

-- another webhook by its name, and another database with its outbox
SELECT elapse('31 minutes') \g /dev/null
UPDATE deploydb.webhook SET enabled = false WHERE name = 'am';
SELECT is(deploydb.renew_alerts(), 0::bigint, 'one that is disabled is told nothing');
UPDATE deploydb.webhook SET enabled = true WHERE name = 'am';
SELECT deploydb.bind_installation() \g /dev/null
UPDATE deploydb.installation SET database_oid = 1;
SELECT is(deploydb.renew_alerts(), 0::bigint, 'nor is one by a copy');
BEGIN;
UPDATE deploydb.installation SET database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()), system_identifier = 1;
SELECT is(deploydb.renew_alerts() || deploydb.adopt()::text || deploydb.renew_alerts(), '0true1', 'but after pg_upgrade, once it is adopted');
UPDATE deploydb.installation SET system_identifier = 2;
SELECT is(deploydb.adopt()::text || deploydb.renew_alerts() || deploydb.renew_alerts(), 'true10', 'at once, where one that waited is a dead letter');
UPDATE deploydb.installation SET system_identifier = 3;
SELECT deploydb.adopt(), deploydb.set_rule('long_queue', labels => '{"team": "upgraded"}') \g /dev/null
SELECT is(measure(20, '', 'z') || deliver(), '2ops P0 ends, upgraded P0 goes on', 'which may have arrived, and ends where labels change');
ROLLBACK;
SELECT is(deploydb.adopt(), true, 'which is adopted');
SELECT is(deploydb.renew_alerts(), 0::bigint, 'and says nothing of the original''s alerts');
SELECT deploydb.set_rule('long_queue', labels => '{"team": "copy"}') \g /dev/null
SELECT is(measure(20, '', 'z') || deliver(), '2copy P0 goes on', 'nor ends them');
SELECT deploydb.drop_webhook('am'), deploydb.add_webhook('am', 'alertmanager', 'https://example.org/another') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is(deliver(), 'copy P0 goes on', 'another webhook is told what fires');
SELECT deploydb.set_rule('long_queue', labels => '{"team": "new"}') \g /dev/null
SELECT is(deploydb.renew_alerts() || ' ' || measure(20, '', 'zz') || deliver(), '0 2copy P0 ends, new P0 goes on', 'and has nothing of the former one');

-- What could not be written is a dead letter, with the reason
SELECT deploydb.queue_body('am', 'alertmanager', '{"kind": "alert", "severity": "P0", "status": "firing"}', 'none/', NULL, NULL, 'it was not text') AS id \gset
SELECT is((SELECT concat_ws('|', state, body, last_error, ends_at) FROM deploydb.outbox WHERE id = :id), 'dead||it was not text',
	'what cannot be written is a dead letter');

SELECT * FROM finish();
