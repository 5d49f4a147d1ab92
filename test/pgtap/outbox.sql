-- Webhooks and the outbox, without a monitor: the test claims, and says what
-- became of it.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;

\ir messages.psql

SELECT no_plan();

SELECT is_empty($$SELECT p.proname FROM pg_proc p WHERE p.proconfig @> '{enable_seqscan=off}' AND NOT p.proconfig @> '{jit=off}'$$,
	'a plan that costs much only since it is pinned is not compiled');

-- adding
SELECT ok(deploydb.add_webhook('g', 'generic', 'https://example.org/hook?token=s3cret'), 'a webhook');
SELECT throws_ok($$SELECT deploydb.add_webhook('g', 'generic', 'https://example.org/')$$, '42710', NULL, 'twice');
SELECT throws_ok(format('SELECT deploydb.add_webhook(%L, %L, %L)', n, f, u), s, NULL, format('%s %s %s', replace(n, E'\n', ' '), f, replace(u, E'\r\n', ' ')))
FROM (VALUES ('x', 'pager', 'https://example.org/', '22023'), ('', 'slack', 'https://example.org/', '22023'),
	(' x', 'slack', 'https://example.org/', '22023'), (E'x\ny', 'slack', 'https://example.org/', '22023'),
	('x', 'slack', NULL, '22004'), (NULL, 'slack', 'https://example.org/', '22004'), ('x', NULL, 'https://example.org/', '22004'),
	('x', 'slack', '', '22023'), ('x', 'slack', 'example.org', '22023'), ('x', 'slack', 'ftp://example.org/', '22023'),
	('x', 'slack', 'file:///etc/passwd', '22023'), ('x', 'slack', 'https://', '22023'), ('x', 'slack', 'https:///x', '22023'),
	('x', 'slack', E'https://example.org/\r\nHost: y', '22023'), ('x', 'slack', 'https://exa mple.org/', '22023'),
	('x', 'slack', 'https://例子.cn/', '22023'), ('x', 'slack', 'https://example.org:123456/', '22023'),
	('x', 'slack', 'https://example.org:65536/', '22023'), ('x', 'slack', 'https://[::1]:0/', '22023'), ('x', 'slack', 'https://./', '22023'),
	('x', 'slack', 'https://-/', '22023'), ('x', 'slack', 'https://a..b/', '22023'), ('x', 'slack', 'https://-a.b/', '22023'),
	('x', 'slack', 'https://a-.b:80/', '22023')) v (n, f, u, s);
SELECT throws_ok($$SELECT deploydb.add_webhook('x', 'slack', 'https://example.org/', min_severity => 'P4')$$, '22023',
	'invalid severity of a webhook', 'severity');
SELECT throws_ok(format('SELECT deploydb.add_webhook(''x'', %L, ''https://example.org/'', %L)', f, s), '22023', NULL,
	format('secret of %s: %s', f, s))
FROM (VALUES ('generic', 'short'), ('generic', 'whsec_c2hvcnQ='), ('generic', 'whsec_!'), ('wecom', 'SEC1'), ('dingtalk', 'a b'),
	('heartbeat', 'x')) v (f, s);
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text; c text;
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, c = PG_EXCEPTION_CONTEXT;
	RETURN concat_ws('|', m, d, h, split_part(c, 'SQL statement "SELECT deploydb.', 1));
END $$;
SELECT unalike(error_of(s), '%s3cret%', 'no error shows an address or a key')
FROM (VALUES ($$SELECT deploydb.add_webhook('x', 'slack', 'gopher://s3cret')$$),
	($$SELECT deploydb.add_webhook('g', 'slack', 'https://s3cret.example.org/')$$),
	($$SELECT deploydb.add_webhook('x', 'nothing', 'https://example.org/s3cret')$$),
	($$SELECT deploydb.add_webhook('x', 'slack', 'https://example.org/', 's3cret')$$),
	($$SELECT deploydb.set_webhook_url('nobody', 'https://example.org/s3cret')$$),
	($$SELECT deploydb.set_webhook_secret('nobody', 's3cret')$$),
	-- mixed up
	($$SELECT deploydb.add_webhook('x', 'https://s3cret.example.org/', 'slack')$$),
	($$SELECT deploydb.add_webhook('x', 'slack', 'https://example.org/', 'P1', 'whsec_s3cret')$$),
	($$SELECT deploydb.set_webhook_url('https://example.org/s3cret', 'x')$$),
	($$SELECT deploydb.set_webhook_secret('whsec_s3cret', 'x')$$)) v (s);
-- where its owner may not read what is allowed
CREATE ROLE plain_owner;
GRANT USAGE ON SCHEMA deploydb TO plain_owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA deploydb TO plain_owner;
SET ROLE plain_owner;
SELECT deploydb.check_url('http://example.org/') AS checked \gset
RESET ROLE;
DROP OWNED BY plain_owner;
DROP ROLE plain_owner;
SELECT ok(:'checked', 'one by http is taken');
SELECT is(deploydb.url_origin(u), o, u)
FROM (VALUES ('https://User:pw@Hooks.Example.org:8443/a?b#c', 'https://hooks.example.org:8443'), ('http://[::1]:80/', 'http://[::1]:80'),
	('HTTPS://x', 'https://x'), ('https://a-b.example.:65535', 'https://a-b.example.:65535'), ('https://127.0.0.1:1', 'https://127.0.0.1:1'), ('https://x?y', 'https://x'),
	('http://web_hook.a_b:80/x', 'http://web_hook.a_b:80'), ('https://a@b@c/', NULL), ('no', NULL)) v (u, o);
SELECT is(deploydb.hide_address(c, u), h, c)
FROM (VALUES ('Cannot POST /services/T00000000/B1/s3cr3tpart', 'https://example.org/services/T00000000/B1/s3cr3tpart', 'Cannot POST ***'),
	('no /T00000000/B1/s3cr3tpart', 'https://example.org/services/T00000000/B1/s3cr3tpart', 'no /***/B1/***'),
	('Cannot POST /echo/T0/B0/s3cr3t7', 'https://example.org/echo/T0/B0/s3cr3t7', 'Cannot POST ***'),
	('no dGhpc2lzYXNlY3JldA== here', 'https://example.org/echo/dGhpc2lzYXNlY3JldA==', 'no *** here'),
	('no dGhpc2lzYXNlY3JldA= here', 'https://example.org/?dGhpc2lzYXNlY3JldA=&a=b', 'no *** here'),
	('no tok/en/verysecret+1', 'https://example.org/dec/tok%2Fen%2fverysecret%2B1', 'no ***'),
	('no abc+defghij=secret', 'https://example.org/dec?sig=abc%2Bdefghij%3Dsecret', 'no ***'),
	('no a%2Bcdefg', 'https://example.org/a%252Bcdefg', 'no ***'),
	('Authorization: Basic dXNlcjpzZWNyZXRwdw==', 'https://user:secretpw@example.org/', 'Authorization: Basic ***'),
	('Authorization: Basic c2tfbGl2ZV9hYmM6', 'https://sk_live_abc@example.org/', 'Authorization: Basic ***'),
	('token 0123456789abcdef is unknown', 'https://example.org/send?access_token=0123456789abcdef&x=y', 'token *** is unknown'),
	('user:password1 is wrong', 'https://user:password1@example.org/', '*** is wrong'),
	-- one is the beginning of another, or lies in it
	('no such robot: abcdefghSECRETPART', 'https://example.org/robot/send?key=abcdefgh&access_token=abcdefghSECRETPART', 'no such robot: ***'),
	('unknown token webhook-8fa7s6d8f7', 'https://example.org/webhook/webhook-8fa7s6d8f7', 'unknown token ***'),
	('no user: eve%3As3cr3t%40home', 'https://example.org/s3cr3t/eve%3As3cr3t%40home', 'no user: ***'),
	-- escapes otherwise than they came
	('no /a%2fb%3asecret', 'https://example.org/a%2Fb%3Asecret', 'no ***'), ('no /A%2FB%3ASECRET', 'https://example.org/a%2fb%3asecret', 'no ***'),
	('no my big secret', 'https://example.org/my%20big%20secret', 'no ***'), ('no my big secret', 'https://example.org/?q=my+big+secret', 'no ***'),
	('no a\bc[d.e*f', 'https://example.org/a\bc[d.e*f', 'no ***'), ('no abcddee', 'https://example.org/a.cd*ee', 'no abcddee'),
	('example.org says no', 'https://example.org', 'example.org says no'), ('x says no', 'no address', 'x says no')) v (c, u, h);
SELECT results_eq('SELECT name, format, origin, state, pending FROM deploydb.webhook_health',
	$$VALUES ('g', 'generic', 'https://example.org', 'ok', 0::bigint)$$, 'how it does, with the host alone');
CREATE FUNCTION shown_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE shown text; code text; detail text;
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, shown = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws('|', code, shown, detail);
END $$;
SELECT is(shown_of(s), '23502|webhook and url must not be NULL|', s) FROM (VALUES ('UPDATE deploydb.webhook_secret SET url = NULL'),
	('INSERT INTO deploydb.webhook_secret (url, secret) VALUES (''https://example.org'', ''whsec_x'')')) v (s);

-- an event becomes a message for each webhook that takes its severity
SELECT deploydb.add_webhook('urgent', 'slack', 'https://example.org/slack', min_severity => 'P0') \g /dev/null
SELECT deploydb.add_webhook('beat', 'heartbeat', 'https://example.org/beat') \g /dev/null
SELECT fire('r1', 'firing', 'P0'), fire('r2', 'firing', 'P2'), fire('r3', 'firing', 'P0', true) \g /dev/null
SELECT is(deploydb.enqueue_events(), 3::bigint, 'three messages');
SELECT is(deploydb.enqueue_events(), 0::bigint, 'once');
SELECT results_eq('SELECT webhook, topic, severity, status, state, attempts FROM deploydb.notification ORDER BY webhook, id',
	$$VALUES ('g', 'r1/', 'P0', 'firing', 'pending', 0), ('g', 'r2/', 'P2', 'firing', 'pending', 0),
		('urgent', 'r1/', 'P0', 'firing', 'pending', 0)$$, 'to whom what');
SELECT is((SELECT body::jsonb - 'clusterName' - 'database' FROM deploydb.outbox WHERE webhook = 'g' AND topic = 'r1/'),
	$${"id": "r1:1793527201500:firing", "kind": "alert", "value": 0.5, "labels": {"a": "b"}, "metric": "a.metric", "reason": "new",
	"ruleId": "r1", "status": "firing", "message": "it is <so> & so", "runbook": "docs/x", "severity": "P0", "threshold": 0.25,
	"environment": "", "startedAt": "2026-11-01T10:00:00.000Z", "occurredAt": "2026-11-01T10:00:01.500Z"}$$::jsonb, 'generic');
SELECT results_eq($$SELECT n, line FROM regexp_split_to_table((SELECT body::jsonb->>'text' FROM deploydb.outbox WHERE webhook = 'urgent'), '\n')
		WITH ORDINALITY AS l (line, n)$$,
	$$VALUES (1::bigint, format(':rotating_light: [P0] r1 (%s)', concat_ws(' on ', current_database()::text COLLATE "default", NULLIF(current_setting('cluster_name'), '')))),
		(2, 'Status: FIRING | Metric: a.metric | Value: 0.5000, Threshold: 0.2500'), (3, 'it is &lt;so&gt; &amp; so'),
		(4, 'Runbook: docs/x')$$, 'slack');

-- claiming counts the attempt; a second one finds nothing
SELECT is(deploydb.next_claim_at() <= clock_timestamp(), true, 'something can be claimed');
SELECT results_eq('SELECT webhook, attempt, topic FROM claim()',
	$$VALUES ('g', 1, 'r1/'), ('urgent', 1, 'r1/'), ('g', 1, 'r2/')$$, 'all of them, by their ids');
SELECT is_empty('SELECT * FROM claim()', 'which are under way now');
SELECT is(deploydb.next_claim_at(), NULL, 'nothing more to claim');
SELECT is(record((SELECT id FROM deploydb.outbox WHERE webhook = 'urgent'), 200, 'ok'), 'delivered', 'delivered');
SELECT is(record((SELECT id FROM deploydb.outbox WHERE webhook = 'urgent'), 500), 'delivered', 'recorded once');
SELECT clock_timestamp() AS before \gset
SELECT is(record((SELECT id FROM deploydb.outbox WHERE topic = 'r1/' AND webhook = 'g'), 503), 'pending', 'tried again');
SELECT is(record((SELECT id FROM deploydb.outbox WHERE topic = 'r2/'), 404, 'gone'), 'dead', 'a dead letter');
DELETE FROM deploydb.outbox WHERE kind = 'notice';	-- of which the other webhook is told
SELECT results_eq('SELECT topic, state, last_status, last_error, finished_at IS NULL, next_attempt_at IS NOT NULL FROM deploydb.notification WHERE webhook = ''g'' ORDER BY id',
	$$VALUES ('r1/', 'pending', 503, 'status 503', true, true), ('r2/', 'dead', 404, 'status 404: gone', false, false)$$, 'what is known of them');
SELECT ok(o.next_attempt_at BETWEEN :'before'::timestamptz + interval '1 second' AND clock_timestamp() + interval '1.25 seconds', 'in about a second')
FROM deploydb.outbox o WHERE o.topic = 'r1/' AND o.webhook = 'g';
UPDATE deploydb.outbox SET next_attempt_at = clock_timestamp() + interval '1 minute' WHERE state = 'pending';
SELECT is_empty('SELECT * FROM claim()', 'not before its time');
SELECT is(deploydb.next_claim_at(), (SELECT next_attempt_at FROM deploydb.outbox WHERE state = 'pending'), 'which is known');

-- the newest of a topic tells what is waiting
SELECT fire('r1', 'resolved', 'P0') \g /dev/null
SELECT is(deploydb.enqueue_events(), 2::bigint, 'resolved');
SELECT results_eq($$SELECT state, status, told_by > id FROM deploydb.notification WHERE webhook = 'g' AND topic = 'r1/' ORDER BY id$$,
	$$VALUES ('superseded', 'firing', true), ('pending', 'resolved', NULL)$$, 'goes out as one');
SELECT matches((SELECT body::jsonb->>'message' FROM deploydb.outbox WHERE webhook = 'g' AND status = 'resolved'),
	'\[2026-11-01T10:00:00.000Z - 2026-11-01T10:00:01.500Z\]$', 'which says since when');
SELECT is((SELECT body::jsonb->>'text' LIKE '%[2026%' FROM deploydb.outbox WHERE webhook = 'urgent' AND status = 'resolved'), false,
	'but not to whom it was told');

-- order: one of a topic at a time
CALL make_due();
SELECT is((SELECT count(*) FROM claim()), 2::bigint, 'the resolved ones');
SELECT fire('r1', 'firing', 'P0') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is_empty('SELECT * FROM claim()', 'the next waits for the one under way');
SELECT is(deploydb.next_claim_at(), NULL, 'and nobody looks again for it');
SELECT record(id, 200, 'ok') FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
SELECT is((SELECT count(*) FROM claim()), 2::bigint, 'then it goes');

-- one that is tried again is told by the newer one that waits for it
SELECT fire('r1', 'resolved', 'P0') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is(record(id, 503), 'superseded', 'the newer one tells it') FROM deploydb.outbox WHERE state = 'sending' AND webhook = 'urgent';
SELECT results_eq($$SELECT o.status, n.status, n.state FROM deploydb.outbox o JOIN deploydb.outbox n ON n.id = o.told_by
		WHERE o.last_status = 503 AND o.webhook = 'urgent'$$,
	$$VALUES ('firing', 'resolved', 'pending')$$, 'which says so');
SELECT record(id, 200, 'ok') FROM claim() WHERE webhook = 'urgent' \g /dev/null
SELECT record(id, 200, 'ok') FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
SELECT fire('r1', 'firing', 'P0') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT claim() \g /dev/null

-- a dead monitor's messages are sent again, under the same id
SELECT headers[2] AS header FROM deploydb.sendable_message((SELECT id FROM deploydb.outbox WHERE state = 'sending' AND webhook = 'g'), now()) \gset
SELECT is(deploydb.release_claims(), 0::bigint, 'what is under way stays so');
UPDATE deploydb.monitor_state SET restarts = restarts + 1;
SELECT is(deploydb.release_claims(), 2::bigint, 'what was left behind');
SELECT is((SELECT headers[2] || attempt FROM deploydb.claim_messages(64) WHERE webhook = 'g'), :'header' || 2, 'the same id, the second attempt');
SELECT record(id, 200, 'ok') FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body, state, attempts)
VALUES ('g', 'notice', 'x', 'P3', 'notice', '{}', 'sending', 20);
SELECT deploydb.release_claims() \g /dev/null
SELECT is((SELECT state FROM deploydb.outbox WHERE topic = 'x'), 'dead', 'but not for ever, as it may be what ends them');

-- classes of answers
SELECT is((deploydb.classify_answer(f, s, a, NULL)).verdict, v, format('%s: %s %s', f, s, a))
FROM (VALUES ('generic', 200, '', 'delivered'), ('generic', 204, '', 'delivered'), ('teams', 202, '', 'delivered'), ('generic', 301, '', 'dead'),
	('generic', 400, '', 'dead'), ('generic', 408, '', 'retry'), ('generic', 410, '', 'dead'), ('generic', 425, '', 'retry'),
	('generic', 429, '', 'retry'), ('generic', 500, '', 'retry'), ('generic', 599, '', 'retry'), ('generic', 0, '', 'retry'),
	('generic', 100, '', 'dead'), ('slack', 200, E'ok\n', 'delivered'), ('slack', 200, 'invalid_payload', 'dead'),
	('slack', 200, 'rollup_error', 'retry'), ('dingtalk', 200, '{"errcode":0,"errmsg":"ok"}', 'delivered'),
	('dingtalk', 200, '{"errcode":310000,"errmsg":"sign not match"}', 'dead'), ('dingtalk', 200, '{"errcode":130101}', 'retry'),
	('feishu', 200, '{"StatusCode":0,"StatusMessage":"success"}', 'delivered'), ('feishu', 200, '{"code":19021,"msg":"sign"}', 'dead'),
	('feishu', 200, '{"code":11232}', 'retry'), ('feishu', 400, '{"code":11232}', 'retry'), ('feishu', 400, '{"code":19001}', 'dead'),
	('feishu', 200, '{"code":9499,"msg":"too many request"}', 'retry'), ('feishu', 200, '{"code":9499,"msg":"Bad Request"}', 'dead'),
	('generic', 400, '{"code":11232}', 'dead'), ('dingtalk', 500, '{"errcode":310000}', 'retry'), ('wecom', 200, '{"errcode":0}', 'delivered'), ('wecom', 200, '{"errcode":45009}', 'retry'),
	('wecom', 200, '{"errcode":93000}', 'dead'), ('wecom', 200, '<html>', 'retry'), ('feishu', 200, '[1]', 'retry'), ('feishu', 200, NULL, 'retry'),
	('slack', 200, NULL, NULL)) v (f, s, a, v)
WHERE a IS NOT NULL OR f <> 'slack';
SELECT is(deploydb.retry_seconds(h, '2026-11-23 08:00+00'), s::float8, COALESCE(h, 'none'))
FROM (VALUES ('120', 120), (' 7 ', 7), ('99999', 3600), ('Mon, 23 Nov 2026 08:00:30 GMT', 30), ('Mon, 23 Nov 2026 07:00:00 GMT', 0),
	('Tue, 24 Nov 2026 08:00:00 GMT', 3600), ('Mon, 23 Foo 2026 08:00:30 GMT', NULL), ('Mon, 99 Nov 2026 08:00:30 GMT', NULL),
	('-1', NULL), ('soon', NULL), ('', NULL), (NULL, NULL)) v (h, s);

-- Retry-After is of the whole webhook
DELETE FROM deploydb.outbox;
SELECT fire('r5', 'firing', 'P3'), fire('r6', 'firing', 'P3') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
CALL refill();
SELECT id AS first FROM claim(1) \gset
SELECT is(record(:first, 429, '', '600'), 'pending', '429');
SELECT is_empty('SELECT * FROM claim()', 'nothing is sent meanwhile');
SELECT is(deploydb.next_claim_at(), (SELECT last_attempt_at + interval '600 seconds' FROM deploydb.webhook_state WHERE webhook = 'g'),
	'before its time');
SELECT is((SELECT state FROM deploydb.webhook_health WHERE name = 'g'), 'paused', 'which people see');

-- backoff doubles up to an hour, and ends in a dead letter
UPDATE deploydb.webhook_state SET paused_until = NULL;
CREATE FUNCTION backoff(n integer) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE result double precision;
BEGIN
	UPDATE deploydb.outbox o SET state = 'sending', attempts = n,
		prior_failures = (SELECT s.failures FROM deploydb.webhook_state s WHERE s.webhook = o.webhook)
	WHERE id = (SELECT min(id) FROM deploydb.outbox);
	PERFORM record((SELECT min(id) FROM deploydb.outbox), 500);
	SELECT extract(epoch FROM o.next_attempt_at - s.last_attempt_at) INTO result
	FROM deploydb.outbox o JOIN deploydb.webhook_state s USING (webhook) ORDER BY o.id LIMIT 1;
	RETURN result;
END $$;
SELECT ok(backoff(n) BETWEEN s AND LEAST(s * 1.25, 3600), format('after attempt %s about %s s', n, s))
FROM (VALUES (1, 1), (2, 2), (5, 16), (12, 2048), (13, 2880), (19, 2880)) v (n, s);
SELECT ok(min(b) >= 16 AND max(b) <= 20 AND max(b) - min(b) > 0.4, 'with jitter: they differ')
FROM (SELECT backoff(5) AS b FROM generate_series(1, 20)) v;
SELECT cmp_ok(max(b) - min(b), '>', 60::double precision, 'the longest, too') FROM (SELECT backoff(19) AS b FROM generate_series(1, 20)) v;
SELECT backoff(20) \g /dev/null
SELECT is((SELECT state || ': ' || last_error FROM deploydb.notification ORDER BY id LIMIT 1), 'dead: status 500, after 20 attempts', 'the last attempt');
SELECT throws_ok('SELECT deploydb.replay(NULL)', '22004', NULL, 'replay of nothing');
SELECT throws_ok('SELECT deploydb.replay(-1)', '42704', NULL, 'replay of what is not there');
SELECT throws_ok((SELECT format('SELECT deploydb.replay(%s)', max(id)) FROM deploydb.outbox), '55000', NULL, 'replay of what is pending');

-- the circuit: left alone, probed, told about
SELECT is((SELECT state FROM deploydb.webhook_health WHERE name = 'g'), 'open', 'it keeps failing');
SELECT results_eq($$SELECT webhook, body LIKE '%webhook g keeps failing (status 500)%' FROM deploydb.outbox WHERE kind = 'notice'$$,
	$$VALUES ('urgent', true)$$, 'nobody else takes P1, so one of P0 is told');
DELETE FROM deploydb.outbox WHERE kind = 'notice';
UPDATE deploydb.webhook SET min_severity = 'P3' WHERE name = 'urgent';
UPDATE deploydb.webhook_state SET failures = 4, opened_at = NULL, probe_at = NULL WHERE webhook = 'g';
SELECT backoff(3) \g /dev/null
SELECT results_eq($$SELECT webhook, body LIKE '%webhook g keeps failing (status 500)%' FROM deploydb.outbox WHERE kind = 'notice'$$,
	$$VALUES ('urgent', true)$$, 'the others are told');
CALL make_due();
SELECT is((SELECT count(*) FROM claim() WHERE webhook = 'g'), 0::bigint, 'nothing is sent to it');
UPDATE deploydb.webhook_state SET probe_at = clock_timestamp() WHERE webhook = 'g';
SELECT is((SELECT attempt FROM claim() WHERE webhook = 'g'),
	(SELECT min(attempts) + 1 FROM deploydb.notification WHERE webhook = 'g' AND state = 'pending'), 'but for a probe, with what was tried least');
SELECT is((SELECT count(*) FROM claim() WHERE webhook = 'g'), 0::bigint, 'one at a time');
SELECT record(id, 500) FROM deploydb.outbox WHERE webhook = 'g' AND state = 'sending' \g /dev/null
SELECT ok((SELECT probe_at = last_attempt_at + interval '60 s' FROM deploydb.webhook_state WHERE webhook = 'g'),
	'which failed, so the next one is later');
UPDATE deploydb.webhook_state SET probe_at = clock_timestamp() WHERE webhook = 'g';
CALL make_due();
SELECT record(id, 200) FROM claim() WHERE webhook = 'g' \g /dev/null
SELECT is((SELECT state FROM deploydb.webhook_health WHERE name = 'g'), 'ok', 'one that arrives closes it');
SELECT is((SELECT count(*) FROM deploydb.outbox WHERE kind = 'notice' AND body LIKE '%webhook g works again%'), 1::bigint, 'and is told');
SELECT is(deploydb.replay_since('2026-01-01'), 0::bigint, 'no dead letters');

-- what is under way together fails once
CREATE PROCEDURE fail_burst() LANGUAGE plpgsql AS $$
BEGIN
	CALL make_due();
	CALL refill();
	PERFORM record(c.id, 503) FROM claim() c WHERE c.webhook = 'g';
END $$;
DELETE FROM deploydb.outbox;
SELECT deploydb.notify('burst ' || n, 'P0', 'g') FROM generate_series(1, 12) n \g /dev/null
CALL fail_burst();
SELECT results_eq('SELECT state, failures, pending FROM deploydb.webhook_health WHERE name = ''g''', $$VALUES ('failing', 1, 12::bigint)$$, 'twelve fail at once');
SELECT is_empty($$SELECT * FROM deploydb.health_problem() WHERE reason ~ 'webhook'$$, 'which is no problem of health yet');
CALL fail_burst();
CALL fail_burst();
CALL fail_burst();
CALL fail_burst();
SELECT results_eq('SELECT state, failures FROM deploydb.webhook_health WHERE name = ''g''', $$VALUES ('open', 5)$$, 'five times in a row');
SELECT is((SELECT probe_at - opened_at FROM deploydb.webhook_state WHERE webhook = 'g'), interval '30 s', 'the first probe is in half a minute');
SELECT results_eq($$SELECT * FROM deploydb.health_problem() WHERE reason ~ 'webhook'$$,
	$$VALUES ('degraded', 'webhook g keeps failing (status 503); its messages wait')$$, 'which health says');
SELECT results_eq($$SELECT verdict, regexp_replace(detail, '\s', ' ', 'g'), next_step FROM deploydb_status() WHERE area = 'webhooks'$$,
	$$VALUES ('warning', 'webhook g keeps failing (status 503); its messages wait', 'SELECT * FROM deploydb.webhook_health;')$$, 'and the status');
-- nor does a test that fails count
SELECT deploydb.queue_message('g', 'generic', deploydb.notice_message('test', 'P3', 'test'), 'test/1', NULL) \g /dev/null
SELECT is(record(id, 503), 'dead', 'a test') FROM claim() WHERE webhook = 'g';
SELECT is((SELECT concat_ws(' ', failures, probe_at - opened_at) FROM deploydb.webhook_state WHERE webhook = 'g'), '5 00:00:30', 'delays no probe');

-- nor is one without an address forgotten, as after a restore
CREATE TEMP TABLE kept AS SELECT * FROM deploydb.webhook_secret WHERE webhook = 'g';
DELETE FROM deploydb.webhook_secret WHERE webhook = 'g';
SELECT results_eq($$SELECT status, reason FROM deploydb.health_problem() WHERE reason ~ 'webhook'
	UNION ALL SELECT verdict, regexp_replace(detail, '\s', ' ', 'g') FROM deploydb_status() WHERE area = 'webhooks'$$,
	$$VALUES ('degraded', 'webhook g has no address; its messages wait'), ('warning', 'webhook g has no address; its messages wait')$$, 'nor without an address');
INSERT INTO deploydb.webhook_secret TABLE kept;

-- another address is probed at once, and closes the circuit once something arrives
SELECT deploydb.set_webhook_url('g', 'https://example.org/hook?token=s3cret') \g /dev/null
CALL refill();
SELECT ok(deploydb.next_claim_at() <= clock_timestamp(), 'at once');
SELECT record(id, 503) FROM claim() WHERE webhook = 'g' \g /dev/null
SELECT is((SELECT concat_ws(' ', state, failures, waits_until) FROM deploydb.webhook_health WHERE name = 'g'), 'open 1', 'one that fails is the first');
SELECT deploydb.set_webhook_url('g', 'https://example.org/hook?token=s3cret') \g /dev/null
SELECT is(array_agg(record(id, 200)), '{delivered}', 'one probe') FROM claim() WHERE webhook = 'g';
SELECT is((SELECT state FROM deploydb.webhook_health WHERE name = 'g'), 'ok', 'arrives');
SELECT is(array_agg(webhook ORDER BY body LIKE '%keeps failing%' DESC), '{urgent,urgent}', 'the others are told of both')
FROM deploydb.outbox WHERE kind = 'notice' AND body ~ 'webhook g (keeps failing|works again)';

-- past the rate: one digest with counts, and nothing is dropped
DELETE FROM deploydb.outbox;
SELECT deploydb.drop_webhook('urgent') \g /dev/null
CALL refill();
SELECT fire('storm' || n, CASE WHEN n % 3 = 0 THEN 'resolved' ELSE 'firing' END, 'P2') FROM generate_series(1, 30) n \g /dev/null
SELECT fire('fire', 'firing', 'P0') \g /dev/null
SELECT is(deploydb.enqueue_events(), 31::bigint, 'a storm');
SELECT is((SELECT count(*) FROM claim()), 12::bigint, 'as many as the rate allows');
SELECT is((SELECT count(*) FROM deploydb.outbox WHERE state = 'folded'), 20::bigint, 'the others are folded');
SELECT is((SELECT count(*) FROM deploydb.outbox f JOIN deploydb.outbox d ON d.id = f.told_by AND d.kind = 'digest' AND d.state = 'sending'
	WHERE f.state = 'folded'), 20::bigint, 'into a digest that goes, too');
SELECT matches((SELECT body::jsonb->>'message' FROM deploydb.outbox WHERE kind = 'digest'),
	'^20 messages \(firing: 13, resolved: 7\): \[P2\] storm', 'which counts them');
SELECT is((SELECT state FROM deploydb.outbox WHERE topic = 'fire/'), 'sending', 'the most severe goes by itself');
SELECT is_empty('SELECT * FROM claim()', 'then nothing');
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
SELECT fire('later' || n, 'firing', 'P2') FROM generate_series(1, 3) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is_empty('SELECT * FROM claim()', 'until there is room');
SELECT ok(deploydb.next_claim_at() BETWEEN clock_timestamp() AND clock_timestamp() + interval '5 seconds', 'in five seconds');
UPDATE deploydb.webhook_state SET tokens_at = tokens_at - interval '5 seconds';
SELECT results_eq('SELECT attempt FROM claim()', 'VALUES (1)', 'for a digest of the three');
-- what a digest tells that has not arrived is not resolved before it
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
CALL refill();
SELECT fire('wave' || n, 'firing', 'P2') FROM generate_series(1, 30) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT claim() \g /dev/null
SELECT record(id, CASE kind WHEN 'digest' THEN 503 ELSE 200 END) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
SELECT fire('wave' || n, 'resolved', 'P2') FROM generate_series(29, 30) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.outbox WHERE topic ~ 'wave' AND status = 'resolved' AND body::jsonb->>'message' ~ '\[2026.* - 2026.*\]$'), 2::bigint,
	'it says since when');
CALL refill();
SELECT is_empty('SELECT * FROM claim()', 'and waits for it');
SELECT cmp_ok(deploydb.next_claim_at(), '>', clock_timestamp(), 'as long as that waits');
CALL make_due();
SELECT results_eq('SELECT topic FROM claim()', $$VALUES ('digest')$$, 'the digest goes first');
SELECT is_empty('SELECT * FROM claim()', 'and arrives');
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
SELECT set_eq('SELECT topic FROM claim()', $$VALUES ('wave29/'), ('wave30/')$$, 'then what is resolved since');
-- nor is a digest folded into another one
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
CALL refill();
SELECT fire('wave' || n, 'firing', 'P3') FROM generate_series(1, 30) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
UPDATE deploydb.webhook_state SET tokens = 0.5;
SELECT deploydb.fold_messages('g', 'generic', 0) \g /dev/null
SELECT fire('more' || n, 'firing', 'P0') FROM generate_series(1, 30) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT deploydb.fold_messages('g', 'generic', 0) \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.outbox WHERE kind = 'digest' AND state = 'pending'), 2::bigint, 'two digests');
-- what was folded long ago is not gone through, whether it has been analyzed or not
TRUNCATE deploydb.outbox;
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, state, body, told_by)
SELECT 'g', 'alert', 'topic' || n % 100 || '/', 'P2', 'firing', 'folded', '{}', -1 FROM generate_series(1, 3000) n;
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body)
SELECT 'g', 'alert', 'topic' || n || '/', 'P2', 'firing', '{}' FROM generate_series(0, 99) n;
CALL refill();
BEGIN;
SELECT count(*) FROM claim() \g /dev/null
SELECT cmp_ok(seq_tup_read + idx_tup_fetch, '<', 20000::bigint, 'few rows are read') FROM pg_stat_xact_all_tables WHERE relid = 'deploydb.outbox'::regclass;
COMMIT;
DELETE FROM deploydb.outbox;
-- what comes after one that is under way is not told by a digest before it
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
CALL refill();
SELECT fire('slow', 'firing', 'P2') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT id AS slow FROM claim() WHERE topic = 'slow/' \gset
SELECT fire('slow', 'resolved', 'P2') \g /dev/null
SELECT fire('fast' || n, 'firing', 'P2') FROM generate_series(1, 20) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT claim() \g /dev/null
SELECT results_eq($$SELECT state, count(*) FROM deploydb.outbox WHERE topic ~ 'slow|fast' GROUP BY 1 ORDER BY 1$$,
	$$VALUES ('folded', 10::bigint), ('pending', 1), ('sending', 11)$$, 'it waits, the others are folded');
SELECT is(record(:slow, 503), 'superseded', 'and tells it, if need be');
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
DELETE FROM deploydb.outbox;
CALL refill();
SELECT fire('more' || n, 'firing', 'P2') FROM generate_series(1, 4) n \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT is((SELECT count(*) FROM claim(3)), 3::bigint, 'as many as the caller takes');
SELECT record(id, 200) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
DELETE FROM deploydb.outbox;

-- older ones of a topic go first, also while they wait to be tried again
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body) VALUES ('g', 'digest', 'digest', 'P3', 'notice', '{"n": 1}'),
	('g', 'digest', 'digest', 'P0', 'notice', '{"n": 2}');
CALL refill();
SELECT results_eq($$SELECT body FROM deploydb.outbox o JOIN claim() c ON c.id = o.id$$, $$VALUES ('{"n": 1}')$$, 'the older one');
SELECT record(id, 503) FROM deploydb.outbox WHERE state = 'sending' \g /dev/null
UPDATE deploydb.outbox SET next_attempt_at = clock_timestamp() + interval '1 minute' WHERE body = '{"n": 1}';
SELECT is_empty('SELECT * FROM claim()', 'no digest tells another');
SELECT is(deploydb.next_claim_at(), (SELECT next_attempt_at FROM deploydb.outbox WHERE body = '{"n": 1}'), 'before the older one is due');

-- the clock was set back
UPDATE deploydb.outbox SET next_attempt_at = clock_timestamp() + interval '1 day' WHERE body = '{"n": 1}';
UPDATE deploydb.webhook_state SET tokens = 0, tokens_at = clock_timestamp() + interval '1 day', paused_until = clock_timestamp() + interval '1 day' WHERE webhook = 'g';
SELECT ok(deploydb.next_claim_at() <= clock_timestamp(), 'nothing waits for it to come round again');
SELECT is((SELECT count(*) FROM claim()), 1::bigint, 'but is sent');
SELECT ok(tokens BETWEEN 10.99 AND 11 AND tokens_at <= clock_timestamp(), 'and counted') FROM deploydb.webhook_state WHERE webhook = 'g';
DELETE FROM deploydb.outbox;

-- no row is read for each other row, however many wait, and though nothing was
-- analyzed
BEGIN;
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body)
SELECT 'g', 'alert', 'r/' || n, 'P2', 'firing', '{}' FROM generate_series(1, 10000) n;
CALL refill();
UPDATE deploydb.outbox SET attempts = 1;	-- retries are not folded
SELECT coalesce(sum(pg_stat_get_xact_tuples_fetched(x) + pg_stat_get_xact_tuples_returned(x)), 0) AS before
FROM (SELECT 'deploydb.outbox'::regclass UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = 'deploydb.outbox'::regclass) v (x) \gset
SELECT deploydb.next_claim_at() \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.claim_messages(64)), 12::bigint, 'of ten thousand');
SELECT cmp_ok(sum(pg_stat_get_xact_tuples_fetched(x) + pg_stat_get_xact_tuples_returned(x)) - :before, '<', 200000::numeric, 'few rows are read')
FROM (SELECT 'deploydb.outbox'::regclass UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = 'deploydb.outbox'::regclass) v (x);
ROLLBACK;

-- a webhook whose key cannot sign: dead letters with the reason, for it alone
SELECT deploydb.add_webhook('fine', 'generic', 'https://example.org/') \g /dev/null
UPDATE deploydb.webhook_secret SET secret = 'whsec_*' WHERE webhook = 'g';
SELECT deploydb.notify('hello') \g /dev/null
SELECT results_eq('SELECT webhook FROM claim()', $$VALUES ('fine')$$, 'the others are sent to');
SELECT matches((SELECT state || ' ' || last_error FROM deploydb.notification WHERE webhook = 'g'), '^dead not sent: ', 'which people see');
UPDATE deploydb.webhook_secret SET secret = 'SECx' WHERE webhook = 'g';
SELECT deploydb.notify('hello', 'P3', 'g') \g /dev/null
SELECT is_empty('SELECT * FROM claim()', 'nothing goes unsigned');
SELECT is((SELECT last_error FROM deploydb.notification ORDER BY id DESC LIMIT 1), 'not sent: its secret does not fit its format', 'and why');
UPDATE deploydb.webhook_secret SET secret = NULL WHERE webhook = 'g';
SELECT deploydb.drop_webhook('fine') \g /dev/null
DELETE FROM deploydb.outbox;

-- a message that cannot be written is a dead letter, and fails nothing
ALTER FUNCTION deploydb.render_generic(jsonb) RENAME TO render_generic_away;
SELECT fire('bad', 'firing') \g /dev/null
SELECT is(deploydb.enqueue_events(), 1::bigint, 'one that cannot be written');
SELECT matches((SELECT state || ' ' || last_error FROM deploydb.notification), '^dead the message could not be written: function', 'a dead letter');
ALTER FUNCTION deploydb.render_generic_away(jsonb) RENAME TO render_generic;
DELETE FROM deploydb.outbox;

-- a dead letter is sent once more, under its id, as if it had not been tried
SELECT count(deploydb.notify('again ' || n, 'P1', 'g')) FROM generate_series(1, 2) n \g /dev/null
CALL refill();
UPDATE deploydb.webhook_state SET failures = 0;
SELECT record(id, 503) FROM claim() \g /dev/null
CALL make_due();
SELECT record(id, 404, 'gone') FROM claim() \g /dev/null
SELECT results_eq('SELECT state, attempts FROM deploydb.notification', $$VALUES ('dead', 2), ('dead', 2)$$, 'two dead letters');
SELECT o.id AS letter, m.headers[2] AS header FROM deploydb.outbox o CROSS JOIN deploydb.sendable_message(o.id, now()) m ORDER BY o.id DESC LIMIT 1 \gset
SELECT is(deploydb.replay(:letter), true, 'one is replayed');
SELECT results_eq('SELECT state, attempts, finished_at IS NULL, next_attempt_at <= clock_timestamp() FROM deploydb.notification ORDER BY id',
	$$VALUES ('dead', 2, false, NULL), ('pending', 0, true, true)$$, 'it waits, and the other one does not');
SELECT is((SELECT array_agg(concat_ws(' ', c.id, c.attempt, c.headers[2])) FROM deploydb.claim_messages(64) c),
	ARRAY[concat_ws(' ', :letter, 1, :'header')], 'and goes, with the same id');
SELECT is(record(:letter, 200), 'delivered', 'and arrives');
DELETE FROM deploydb.outbox;

-- but not one of an alert whose receiver knows better since
SELECT fire('old', 'firing'), fire('both', 'firing') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
CALL refill();
SELECT record(id, 404) FROM claim() \g /dev/null
SELECT fire('old', 'resolved'), fire('both', 'resolved') \g /dev/null
SELECT deploydb.enqueue_events() \g /dev/null
SELECT throws_ok((SELECT format('SELECT deploydb.replay(%s)', id) FROM deploydb.outbox WHERE topic = 'old/' AND state = 'dead'), '55000', NULL, 'a newer one waits');
SELECT record(id, CASE topic WHEN 'old/' THEN 200 ELSE 404 END) FROM claim() \g /dev/null
SELECT is(split_part(error_of((SELECT format('SELECT deploydb.replay(%s)', id) FROM deploydb.outbox WHERE topic = 'old/' AND state = 'dead')), '|', 2),
	(SELECT format('Message %s is newer, and of the same alert.', id) FROM deploydb.outbox WHERE topic = 'old/' AND state = 'delivered'), 'or has arrived');
SELECT is(deploydb.replay_since('2026-01-01'), 2::bigint, 'those of which nothing newer has');
SELECT results_eq($$SELECT topic, status, state, told_by IS NOT NULL FROM deploydb.notification ORDER BY id$$,
	$$VALUES ('old/', 'firing', 'superseded', true), ('both/', 'firing', 'pending', false), ('old/', 'resolved', 'delivered', false),
		('both/', 'resolved', 'pending', false)$$, 'the other one is told by the newer one');
DELETE FROM deploydb.outbox;

-- a dead letter of an alert is told to the others, once until something arrives
SELECT deploydb.add_webhook('revoked', 'generic', 'https://example.org/revoked'), deploydb.add_webhook('lost', 'generic', 'https://example.org/lost') \g /dev/null
DELETE FROM deploydb.webhook_secret WHERE webhook = 'lost';
CREATE FUNCTION said() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format(p.problem, p.name, p.last_error), ', ' ORDER BY p.name) FROM deploydb.webhook_problem p $$;
CREATE FUNCTION told() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(o.webhook || ': ' || (o.body::jsonb->>'message'), ', ' ORDER BY o.webhook, o.id) FROM deploydb.outbox o
	WHERE o.kind = 'notice' AND o.webhook <> 'lost' $$;
CREATE PROCEDURE fail(rule text, status text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM fire(rule, status), deploydb.enqueue_events();
	CALL refill();
	PERFORM record(c.id, CASE c.webhook WHEN 'revoked' THEN 404 ELSE 200 END, 'gone') FROM claim() c;
END $$;
SELECT is(said(), 'webhook lost has no address', 'one without an address is a problem, though nothing waits');
DELETE FROM deploydb.outbox;
CALL fail('dead1', 'firing');
SELECT is(told(), 'g: webhook revoked has dead letters of alerts (status 404: gone)', 'the others are told at once');
SELECT is(said(), 'webhook lost has no address; its messages wait, webhook revoked has dead letters of alerts (status 404: gone)', 'as the status and health() say');
SELECT ok(deploydb.health()->'reasons' ? 'webhook revoked has dead letters of alerts (status 404: gone)', 'health');
SELECT results_eq($$SELECT verdict, replace(detail, E'\n', ' ') FROM deploydb_status() WHERE area = 'webhooks'$$,
	$$VALUES ('warning', 'webhook lost has no address; its messages wait'),
		('warning', 'webhook revoked has dead letters of alerts (status 404: gone)')$$, 'each in a row');
CALL fail('dead2', 'firing');
SELECT is(told(), 'g: webhook revoked has dead letters of alerts (status 404: gone)', 'once');
SELECT deploydb.notify('hello', 'P1', 'revoked') \g /dev/null
SELECT record(c.id, 200) FROM claim() c \g /dev/null
SELECT is(said(), 'webhook lost has no address; its messages wait', 'until something arrives');
DELETE FROM deploydb.outbox WHERE kind = 'notice';
CALL fail('dead1', 'resolved');
SELECT is(told(), 'g: webhook revoked has dead letters of alerts (status 404: gone)', 'the next one is told again');
SELECT alike(said(), '%revoked has dead letters%', 'and there to see');
SELECT deploydb.set_webhook_url('revoked', 'https://example.org/') \g /dev/null
DELETE FROM deploydb.outbox;
CALL fail('dead3', 'firing');
SELECT is(told(), 'g: webhook revoked has dead letters of alerts (status 404: gone)', 'also after another address');
BEGIN;
SELECT deploydb.bind_installation() \g /dev/null
SELECT is(said(), 'webhook lost has no address; its messages wait', 'those of before adopt() are none');
ROLLBACK;
UPDATE deploydb.webhook SET enabled = false WHERE name = 'revoked';
SELECT is(said(), 'webhook lost has no address; its messages wait', 'of one that was disabled nothing is said');
SELECT deploydb.drop_webhook('revoked'), deploydb.drop_webhook('lost') \g /dev/null
SELECT deploydb.add_webhook('revoked', 'generic', 'https://example.org/') \g /dev/null
SELECT is(said(), NULL, 'nor of another one by its name');
SELECT deploydb.drop_webhook('revoked'), deploydb.add_webhook('unsigned', 'generic', 'https://example.org/') \g /dev/null
DELETE FROM deploydb.outbox;
UPDATE deploydb.webhook_secret SET secret = 'whsec_*' WHERE webhook = 'unsigned';
CALL fail('dead4', 'firing');
SELECT alike(told(), 'g: webhook unsigned has dead letters of alerts (not sent: %', 'one that cannot be signed is another');
SELECT deploydb.drop_webhook('unsigned') \g /dev/null
DELETE FROM deploydb.outbox;

-- an alert that there is nobody to tell
SELECT is_empty($$SELECT FROM deploydb_status() WHERE area = 'webhooks'$$, 'where nothing fires nobody need be told');
INSERT INTO deploydb.alert_state (rule, series, metric, status, since, violations, recoveries, started_at, recorded, told, silenced, without_data,
	acknowledged, severity, fingerprint, window_points)
SELECT 'p' || n, '', 'a.metric', 'firing', now(), 1, 0, now(), true, true, false, false, false, 'P' || n, '', '{}' FROM generate_series(1, 3) n;
SELECT is_empty($$SELECT FROM deploydb_status() WHERE area = 'webhooks'$$, 'they are told');
UPDATE deploydb.webhook SET min_severity = 'P1' WHERE name = 'g';
SELECT results_eq($$SELECT verdict, replace(detail, E'\n', ' ') FROM deploydb_status() WHERE area = 'webhooks'$$, $$VALUES ('warning', 'nobody is told: no webhook takes P2')$$,
	'nobody takes them');
UPDATE deploydb.webhook SET min_severity = 'P3' WHERE name = 'g';
DELETE FROM deploydb.alert_state;

-- messages of one's own
SELECT is(deploydb.notify('hello'), 1::bigint, 'notify');
SELECT is((SELECT body::jsonb->>'message' || (body::jsonb->>'status') FROM deploydb.outbox), 'hellonotice', 'what it says');
SELECT is(deploydb.notify('hello', 'P1', 'g'), 1::bigint, 'to one');
SELECT throws_ok(format('SELECT deploydb.notify(%L, %L, %L)', m, s, w), c, NULL, format('notify %s %s %s', m, s, w))
FROM (VALUES (NULL, 'P1', NULL, '22004'), ('x', NULL, NULL, '22004'), (' ', 'P1', NULL, '22023'), ('x', 'P5', NULL, '22023'),
	('x', 'P1', 'nobody', '42704'), ('x', 'P1', 'beat', '22023')) v (m, s, w, c);
SELECT results_eq('SELECT webhook, url FROM deploydb.heartbeats()', $$VALUES ('beat', 'https://example.org/beat')$$, 'heartbeats');
BEGIN;
UPDATE deploydb.monitor_state SET last_tick_at = now(), last_error_at = now();
SELECT is_empty('SELECT * FROM deploydb.heartbeats()', 'none after a tick a part of which failed');
UPDATE deploydb.monitor_state SET last_tick_at = now() + interval '1 second';
SELECT isnt_empty('SELECT * FROM deploydb.heartbeats()', 'again after one that went well');
ROLLBACK;

-- an answer from an address that was changed meanwhile
SELECT deploydb.add_webhook('keyed', 'generic', 'https://example.org/keyed') \g /dev/null
BEGIN;
DELETE FROM deploydb.outbox;
UPDATE deploydb.webhook_state SET last_error = NULL WHERE webhook = 'g';
SELECT deploydb.notify('changed', 'P1', w) FROM unnest('{g,g,g,keyed}'::text[]) w \g /dev/null
SELECT deploydb.queue_message('g', 'generic', deploydb.notice_message('test', 'P3', 'test'), 'test/1', NULL) \g /dev/null
CALL refill();
CREATE TABLE sent AS SELECT * FROM deploydb.claim_messages(64);
UPDATE deploydb.outbox SET attempts = 100;
SELECT deploydb.set_webhook_url('g', 'https://example.net/changed'), deploydb.set_webhook_secret('keyed', NULL) \g /dev/null
SELECT set_eq(format($$SELECT deploydb.record_attempt(id, version, %s, '3000', 'no /old/s3cr3tpath', %L, %L, 1)
	FROM sent WHERE webhook = 'g' ORDER BY id OFFSET %s LIMIT %s$$, status, stage, error, skipped, n), ARRAY[state], 'changed meanwhile, '||status)
FROM (VALUES (200, 'http', NULL, 0, 1, 'delivered'), (404, 'http', NULL, 1, 1, 'pending'), (0, 'dns', 'no host s3cr3tpath', 2, 2, 'pending'))
	v (status, stage, error, skipped, n, state);
SELECT is(deploydb.record_attempt(id, version, 503, NULL, '', 'http', NULL, 1), 'pending', 'another key') FROM sent WHERE webhook = 'keyed';
SELECT results_eq($$SELECT webhook, kind, state, last_status, last_error, state <> 'pending' OR next_attempt_at <= clock_timestamp() FROM deploydb.outbox ORDER BY id$$,
	$$VALUES ('g', 'notice', 'delivered', 200, NULL, true), ('g', 'notice', 'pending', NULL, 'address or key were changed before the answer came', true),
		('g', 'notice', 'pending', NULL, 'address or key were changed before the answer came', true),
		('keyed', 'notice', 'pending', NULL, 'address or key were changed before the answer came', true),
		('g', 'test', 'pending', NULL, 'address or key were changed before the answer came', true)$$,
	'is not shown, and tried again at once');
SELECT results_eq($$SELECT failures, last_error, paused_until FROM deploydb.webhook_state WHERE webhook = 'g'$$,
	'VALUES (0, NULL::text, NULL::timestamptz)', 'nor does the webhook fail');
SELECT is((SELECT count(*) FROM claim()), 4::bigint, 'all but the one that has arrived');
SELECT is(array_agg(DISTINCT record(id, 503)), '{dead}', 'there they are tried once') FROM deploydb.outbox WHERE state = 'sending';
SELECT version AS beat FROM deploydb.heartbeats() \gset
SELECT deploydb.set_webhook_url('beat', 'https://example.org/beat') \g /dev/null
SELECT is(deploydb.record_heartbeat('beat', :'beat', 0, 'dns', 'no s3cr3tpath'), false, 'nor of a heartbeat');
SELECT is(deploydb.record_heartbeat('beat', version, 0, 'dns', 'no host'), true, 'that of the new one is noted') FROM deploydb.heartbeats();
SELECT deploydb.set_webhook_url('beat', 'https://example.org/beat') \g /dev/null
SELECT is(deploydb.record_heartbeat('beat', version, 200, 'http', ''), arrives, 'and that it arrives at another one, once')
FROM deploydb.heartbeats(), (VALUES (true), (false)) v (arrives);
ROLLBACK;
SELECT deploydb.drop_webhook('keyed') \g /dev/null

-- another address, keys
SELECT is(deploydb.set_webhook_url('g', 'https://example.net/other'), true, 'another address');
SELECT is((SELECT origin FROM deploydb.webhook_health WHERE name = 'g'), 'https://example.net', 'is taken');
SELECT throws_ok($$SELECT deploydb.set_webhook_secret('nobody', NULL)$$, '42704', NULL, 'a key for nobody');
SELECT deploydb.set_webhook_secret('g', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.outbox o CROSS JOIN LATERAL deploydb.sendable_message(o.id, clock_timestamp()) m, unnest(m.headers) h
	WHERE h ~ '^webhook-signature: v1,[A-Za-z0-9+/]{43}=$'), 2::bigint, 'one signature');
SELECT deploydb.set_webhook_secret('g', 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', '1 hour') \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.outbox o CROSS JOIN LATERAL deploydb.sendable_message(o.id, clock_timestamp()) m, unnest(m.headers) h
	WHERE h ~ '^webhook-signature: v1,[A-Za-z0-9+/]{43}= v1,[A-Za-z0-9+/]{43}=$'), 2::bigint, 'two while rotating');
SELECT is((SELECT count(*) FROM deploydb.outbox o CROSS JOIN LATERAL deploydb.sendable_message(o.id, clock_timestamp() + interval '61 minutes') m, unnest(m.headers) h
	WHERE h ~ '^webhook-signature: v1,[A-Za-z0-9+/]{43}=$'), 2::bigint, 'one after the overlap');
SELECT deploydb.set_webhook_secret('g', NULL, '1 hour') \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.outbox o CROSS JOIN LATERAL deploydb.sendable_message(o.id, to_timestamp(1)) m, unnest(m.headers) h
	WHERE h = 'webhook-signature: ' || deploydb.standard_signature('whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', o.message_id, 1, m.body)),
	2::bigint, 'without a new key the previous one signs');
SELECT is((SELECT count(*) FROM deploydb.outbox o CROSS JOIN LATERAL deploydb.sendable_message(o.id, clock_timestamp() + interval '61 minutes') m, unnest(m.headers) h
	WHERE h ~ '^webhook-signature'), 0::bigint, 'until the overlap has passed');
SELECT deploydb.set_webhook_secret('g', NULL, '1 hour') \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.outbox o CROSS JOIN LATERAL deploydb.sendable_message(o.id, to_timestamp(1)) m, unnest(m.headers) h
	WHERE h = 'webhook-signature: ' || deploydb.standard_signature('whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', o.message_id, 1, m.body)),
	2::bigint, 'and another time without one, too');
SELECT deploydb.set_webhook_secret('g', NULL, '0 seconds'), deploydb.set_webhook_secret('g', NULL, '1 hour') \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.outbox o CROSS JOIN LATERAL deploydb.sendable_message(o.id, clock_timestamp()) m, unnest(m.headers) h
	WHERE h ~ '^webhook-signature'), 0::bigint, 'but not once it has ended');

-- test messages need a monitor
SELECT throws_ok($$SELECT deploydb.queue_test('g')$$, '55000', 'no monitor of this database is running', 'no monitor, no test');
SELECT is(split_part(error_of($$SELECT deploydb.queue_test('g')$$), '|', 3),
	'SELECT * FROM deploydb_status(); says why, and what to do.', 'with a hint');
SELECT isnt((SELECT s.next_step FROM deploydb_status() s WHERE s.area = 'monitor'), NULL, 'which it does');
SELECT alike(error_of($$SELECT deploydb.set_webhook_secret('g', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=')$$), '%echo "whsec_$(openssl rand -base64 32)"%', 'how a key is made');
SELECT throws_ok($$SELECT deploydb.queue_test('nobody')$$, '42704', NULL, 'no webhook, no test');
UPDATE deploydb.webhook SET enabled = false WHERE name = 'g';
SELECT throws_ok($$SELECT deploydb.queue_test('g')$$, '55000', 'webhook "g" is disabled', 'disabled, no test');
SET client_min_messages = error;
SELECT is(deploydb.notify('hello', 'P1', 'g'), 0::bigint, 'nor anything else');
SET client_min_messages = warning;
SELECT is((SELECT format(p.problem, p.name) FROM deploydb.webhook_problem p WHERE p.name = 'g'), 'webhook g is disabled; its messages wait', 'what waits for it is said');
UPDATE deploydb.webhook SET enabled = true WHERE name = 'g';

-- and must be able to commit, which nothing is that a function executes
SELECT throws_ok($$CALL deploydb.test_webhook('nobody')$$, '2D000', 'test_webhook() cannot run within a transaction', 'within a transaction, no test');
SELECT is(split_part(error_of($$CALL deploydb.test_webhook('nobody')$$), '|', 3), 'End the transaction first, and CALL it by itself, from no function.', 'with a hint');
DO $$ BEGIN PERFORM set_config('test.commits', deploydb.can_commit()::text, false); END $$;
SELECT is(current_setting('test.commits') || deploydb.can_commit(), 'truefalse', 'a block of its own can commit, a function cannot');

-- what a server says of the address is not shown
SELECT deploydb.set_webhook_url('g', 'https://example.org/hooks/s3cretpart') \g /dev/null
SELECT record(id, 404, 'Cannot POST /hooks/s3cretpart') FROM deploydb.outbox WHERE webhook = 'g' AND id IN (SELECT c.id FROM claim(1) c) \g /dev/null
SELECT is((SELECT last_error FROM deploydb.notification WHERE last_status = 404 AND webhook = 'g'), 'status 404: Cannot POST ***', 'but that it said it');

-- a copy of a database makes no messages, and those of the original are its own
SELECT fire('copied', 'firing') \g /dev/null
SELECT deploydb.bind_installation() \g /dev/null
UPDATE deploydb.installation SET database_oid = 1;
SELECT is(deploydb.enqueue_events(), 0::bigint, 'a copy');
SET client_min_messages = error;
SELECT deploydb.notify('waits', 'P3', 'g') \g /dev/null
SET client_min_messages = warning;
SELECT is_empty('SELECT * FROM claim()', 'sends nothing');
SELECT is(deploydb.next_claim_at(), NULL, 'and waits for nothing');
SELECT is(deploydb.adopt(), true, 'until it is adopted');
SELECT is_empty($$SELECT * FROM deploydb.outbox WHERE state IN ('pending', 'sending')$$, 'what waited is not sent');
SELECT is((SELECT last_error FROM deploydb.notification ORDER BY id DESC LIMIT 1), 'of before deploydb.adopt(), and perhaps another database''s', 'for a reason');
SELECT is(deploydb.enqueue_events(), 1::bigint, 'but what happened here is');
DELETE FROM deploydb.outbox WHERE state = 'dead';
SELECT deploydb.notify('more', 'P3', 'g') \g /dev/null

-- a name stays, as what waits goes by it
SELECT throws_ok($$UPDATE deploydb.webhook SET name = 'g2' WHERE name = 'g'$$, '0A000', 'webhook "g" cannot be renamed', 'no other name');
SELECT is(split_part(error_of($$UPDATE deploydb.webhook SET name = 'g2' WHERE name = 'g'$$), '|', 3),
	'Add another one by deploydb.add_webhook(), and drop this one once nothing waits for it: deploydb.drop_webhook().', 'with a hint');
SELECT lives_ok($$UPDATE deploydb.webhook SET name = name, min_severity = 'P3' WHERE name = 'g'$$, 'the same one is no other');

-- dropping
SELECT is(deploydb.drop_webhook('nobody'), false, 'there is none');
SELECT is(deploydb.drop_webhook('g'), true, 'dropped');
SELECT results_eq('SELECT DISTINCT state, last_error FROM deploydb.notification', $$VALUES ('dead', 'the webhook was dropped')$$, 'its messages are dead letters');
SELECT is_empty('SELECT * FROM deploydb.webhook_secret WHERE webhook = ''g''', 'its address is gone');
SELECT throws_ok((SELECT format('SELECT deploydb.replay(%s)', max(id)) FROM deploydb.outbox), '42704', NULL, 'nobody to replay to');
SELECT deploydb.add_webhook('g', 'slack', 'https://example.org/') \g /dev/null
SELECT throws_ok((SELECT format('SELECT deploydb.replay(%s)', max(id)) FROM deploydb.outbox), '55000', NULL, 'one of that name is another');
SELECT is(deploydb.replay_since('-infinity'), 0::bigint, 'to which nothing is replayed');
SELECT deploydb.drop_webhook('g') \g /dev/null

-- what waits stays, what is finished goes in time
INSERT INTO deploydb.outbox (webhook, kind, topic, severity, status, body, created_at) VALUES ('x', 'notice', 'x', 'P3', 'notice', '{}', '2000-01-01');
SELECT is(deploydb.purge_messages(clock_timestamp(), 1), 1::bigint, 'in batches');
SELECT is(deploydb.purge_messages(clock_timestamp(), 100), 1::bigint, 'all that is finished');
SELECT is((SELECT count(*) FROM deploydb.outbox), 1::bigint, 'but not what is pending');

-- who may what
SELECT ok(NOT has_table_privilege(r, 'deploydb.webhook_secret', 'SELECT'), r || ' reads no addresses')
FROM unnest('{pg_monitor,pg_database_owner,public}'::text[]) r;

-- an id that a receiver has seen does not come again, though the numbers begin again
DELETE FROM deploydb.webhook;
CREATE FUNCTION first_message() RETURNS TABLE (id bigint, header text) LANGUAGE plpgsql AS $$
BEGIN
	DROP EXTENSION deploydb;
	CREATE EXTENSION deploydb;
	PERFORM deploydb.add_webhook('g', 'generic', 'https://example.org/'), deploydb.notify('hello');
	RETURN QUERY SELECT m.id, m.headers[2] FROM deploydb.claim_messages(1) m;
END $$;
SELECT id, header FROM first_message() \gset
SELECT results_eq(format('SELECT id, header <> %L FROM first_message()', :'header'), format('VALUES (%s::bigint, true)', :'id'), 'another id in another installation');
SELECT alike(:'header'::text, 'webhook-id: %', 'which is in the header');

SELECT * FROM finish();
