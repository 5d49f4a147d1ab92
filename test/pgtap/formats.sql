-- What messages look like in each format, and how they are signed.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE FUNCTION message(change jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT '{"kind": "alert", "id": "r:1:firing", "rule": "r", "series": "s", "metric": "m", "severity": "P0", "status": "firing",
		"reason": "new", "message": "<b> & \"q\"", "value": 0.123456789, "threshold": 1, "labels": {"a b": "x", "9": "y", "e": ""}, "runbook": "docs/x",
		"occurred_at": "2026-11-23T10:00:00+00:00", "started_at": "2026-11-23T09:00:00+00:00", "cluster_name": "main",
		"database": "vocabulary", "environment": "production"}'::jsonb || change $$;

SELECT no_plan();

-- cut by bytes of UTF-8, never within a character
SELECT is(deploydb.cut_text('abc', 3), 'abc', 'short enough');
SELECT is(deploydb.cut_text('abcdefghij', 9), 'abcde ...', 'cut with a mark');
SELECT ok(octet_length(convert_to(deploydb.cut_text(repeat('偏差', 100), n), 'UTF8')) BETWEEN n - 2 AND n, format('%s bytes at most', n))
FROM generate_series(50, 56) n WHERE getdatabaseencoding() = 'UTF8';
SELECT is(deploydb.cut_text('偏差偏差', 3), ' ...', 'nothing but the mark') WHERE getdatabaseencoding() = 'UTF8';

SELECT is(deploydb.render_slack(message())::jsonb->>'text',
	E':rotating_light: [P0] r (production, vocabulary on main)\nStatus: FIRING | Metric: m | Value: 0.1235, Threshold: 1.0000\n&lt;b&gt; &amp; "q"\nRunbook: docs/x',
	'slack');
SELECT matches(deploydb.render_slack(message('{"value": 0.00002, "threshold": 0.00001}'))::jsonb->>'text',
	'Value: 2e-05, Threshold: 1e-05', 'slack, small numbers');
SELECT matches(deploydb.render_slack(message('{"status": "resolved", "threshold": null, "trend_slope": 0.00251}'))::jsonb->>'text',
	E'^:white_check_mark: .*\nStatus: RESOLVED \\| Metric: m \\| Value: 0.1235, Trend: 0.0025/min\n', 'slack, a trend, resolved');
SELECT is(deploydb.render_slack(message('{"kind": "notice", "rule": null, "status": "notice", "runbook": null}'))::jsonb->>'text',
	E':information_source: [P0] NOTICE (production, vocabulary on main)\n&lt;b&gt; &amp; "q"', 'slack, a notice');
SELECT is(deploydb.render_teams(message())::jsonb #>> '{attachments,0,content,type}', 'AdaptiveCard', 'teams: a card');
SELECT is(deploydb.render_teams(message())::jsonb #>> '{attachments,0,content,body,0,text}', '[P0] r (production, vocabulary on main)', 'teams: its title');
SELECT is(deploydb.render_dingtalk(message())::jsonb #>> '{markdown,text}',
	E'#### [P0] r (production, vocabulary on main)\n\nStatus: FIRING | Metric: m | Value: 0.1235, Threshold: 1.0000\n\n< b> & "q"\n\nRunbook: docs/x', 'dingtalk');
SELECT is(deploydb.render_feishu(message())::jsonb->>'msg_type', 'text', 'feishu');
SELECT is(deploydb.render_wecom(message())::jsonb->>'msgtype', 'markdown', 'wecom');
SELECT is(deploydb.render_alertmanager(message())::jsonb,
	'[{"labels": {"alertname": "r", "severity": "P0", "series": "s", "a_b": "x", "_9": "y", "cluster_name": "main", "database": "vocabulary",
	"environment": "production"}, "annotations": {"summary": "[P0] r (production, vocabulary on main)", "description": "<b> & \"q\"",
	"value": "0.123456789", "runbook_url": "docs/x"}, "startsAt": "2026-11-23T09:00:00.000Z", "endsAt": "2026-11-23T11:30:00.000Z"}]', 'alertmanager');
SELECT is(deploydb.render_alertmanager(message('{"status": "resolved"}'))::jsonb #>> '{0,endsAt}', '2026-11-23T10:00:00.000Z', 'alertmanager, resolved');
SELECT is(deploydb.render_alertmanager(message('{"severity": "P2"}'))::jsonb #>> '{0,endsAt}', '2026-11-23T11:30:00.000Z', 'alertmanager, less severe');
SELECT is((deploydb.render_generic(message('{"threshold": null, "trend_slope": 0.5}'))::jsonb - 'labels' - 'message')::text,
	'{"id": "r:1:firing", "kind": "alert", "value": 0.123456789, "metric": "m", "reason": "new", "ruleId": "r", "series": "s", "status": "firing", "runbook": "docs/x", "database": "vocabulary", "severity": "P0", "startedAt": "2026-11-23T09:00:00.000Z", "occurredAt": "2026-11-23T10:00:00.000Z", "trendSlope": 0.5, "clusterName": "main", "environment": "production"}',
	'generic: no threshold where there is none');
SET TimeZone = 'Asia/Shanghai';
SELECT is(deploydb.render_generic(message())::jsonb->>'occurredAt', '2026-11-23T10:00:00.000Z', 'times are in UTC');
RESET TimeZone;
SELECT is(deploydb.render_message(f, message()) IS NULL, f IN ('heartbeat', 'nothing'), f)
FROM unnest('{generic,slack,teams,dingtalk,feishu,wecom,alertmanager,heartbeat,nothing}'::text[]) f;

-- where it comes from
SELECT ok(body LIKE '%some cluster%' AND body LIKE '%some database%' AND body LIKE '%some environment%', format('%s: where a message comes from, %s', f, kind))
FROM unnest('{generic,slack,teams,dingtalk,feishu,wecom,alertmanager}'::text[]) f,
	(VALUES ('alert', '{}'::jsonb), ('notice', '{"kind": "notice", "rule": null, "status": "notice", "runbook": null}')) k (kind, change),
	deploydb.render_message(f, message(change || '{"cluster_name": "some cluster", "database": "some database", "environment": "some environment"}')) body;

-- the limits of the services, whatever the message is
SELECT cmp_ok(octet_length(convert_to(deploydb.render_message(f, message(jsonb_build_object('message', repeat(c, 100000)))), 'UTF8')), '<=', n,
	format('%s: %s bytes', f, n))
FROM (VALUES ('generic', 40000), ('slack', 20000), ('teams', 20000), ('dingtalk', 20000), ('feishu', 20000), ('wecom', 9000), ('alertmanager', 40000)) l (f, n),
	unnest(ARRAY['x', '"', '偏']) c WHERE getdatabaseencoding() = 'UTF8';
SELECT cmp_ok(octet_length(convert_to(deploydb.render_wecom(message(jsonb_build_object('message', repeat('偏', 5000))))::jsonb #>> '{markdown,content}', 'UTF8')),
	'<=', 4096, 'wecom counts the content''s bytes') WHERE getdatabaseencoding() = 'UTF8';

-- ... whatever it is made of, and whatever goes with it
SELECT cmp_ok(octet_length(convert_to(deploydb.render_message(f, message(change)), 'UTF8')), '<=', 20000, format('%s: cut, %s', f, left(change::text, 20)))
FROM unnest('{generic,slack,teams,dingtalk,feishu,wecom,alertmanager}'::text[]) f, (VALUES
	(jsonb_build_object('message', repeat(E'\x01', 20000))),
	(jsonb_build_object('labels', jsonb_build_object('huge', repeat('x', 30000)))),
	(jsonb_build_object('runbook', repeat('x', 30000)))) c (change);
SELECT is(deploydb.render_generic(message('{"message": "it"}'))::jsonb, deploydb.render_message('generic', message('{"message": "it"}'))::jsonb, 'what is short is not cut');
SELECT matches(deploydb.render_message('generic', message(jsonb_build_object('message', repeat('x', 13000))))::jsonb->>'message', '^x+ \.\.\.$', 'with a mark');
SELECT throws_ok($$SELECT deploydb.render_message('generic', message(jsonb_build_object('metric', repeat('x', 30000))))$$, '54000', NULL, 'what cannot be cut');

-- names that others chose make no links and mention nobody
SELECT is(deploydb.plain_markdown(c), p, c)
FROM (VALUES ('index [x](https://example.org)', 'index [x] (https://example.org)'), ('![](https://example.org/x)', '![] (https://example.org/x)'),
	('<@all> <font color="x">', '< @all> < font color="x">'), ('a < b <= 3, t[1] f(x)', 'a < b <= 3, t[1] f(x)')) v (c, p);
SELECT unalike(deploydb.render_message(f, message('{"rule": "[a](https://x)", "message": "[b](https://y) <@all>"}')), '%](%', f || ' makes no links')
FROM unnest('{teams,dingtalk,feishu,wecom}'::text[]) f;
SELECT is(split_part(deploydb.render_feishu(message('{"message": "index <at user_id=\"all\">all</at> <AT"}'))::jsonb #>> '{content,text}', E'\n', 3),
	'index < at user_id="all">all< /at> < AT', 'feishu mentions nobody');
SELECT unalike(deploydb.render_feishu(message(jsonb_build_object('message', repeat(E'\t<at', 2000)))), '%<at%', 'nor where it is cut');
SELECT unalike(deploydb.render_slack(message('{"rule": "<https://x|a>", "message": "<!channel>"}')), '%<%', 'nor does slack');

-- Alertmanager takes what has the same labels for the same alert
SELECT is(deploydb.render_alertmanager(message('{"kind": "notice", "rule": null, "id": "notice:1:notice"}'))::jsonb #>> '{0,labels,message_id}', 'notice:1:notice',
	'a notice is one of its own');
SELECT is(deploydb.render_alertmanager(message('{"runbook": "https://example.org/x"}'))::jsonb #>> '{0,generatorURL}', 'https://example.org/x', 'where it comes from');
SELECT is(deploydb.render_alertmanager(message(jsonb_build_object('runbook', runbook)))::jsonb #>> '{0,generatorURL}', CASE WHEN is_uri THEN runbook END, runbook)
FROM (VALUES ('HTTPS://example.org:8080/a b?c=%41#d', true), ('https://example.org/%e6%89', true), ('https://wiki/100%', false), ('https://wiki/%zz', false),
	('https://[bad', false), (E'https://wiki/x\ty', false), ('https://a<b@wiki/', false), ('https://', false), ('docs/x', false), ('ftp://example.org/', false)) v (runbook, is_uri);

-- in Chinese
SET deploydb.language = 'zh';
SELECT is(split_part(deploydb.render_slack(message())::jsonb->>'text', E'\n', 2), '状态: 告警中 | 指标: m | 值: 0.1235, 阈值: 1.0000', 'Chinese')
WHERE getdatabaseencoding() = 'UTF8';
SELECT is(deploydb.message_title(message()), '[P0] r (production, vocabulary，集群 main)', 'Chinese, the title') WHERE getdatabaseencoding() = 'UTF8';
SELECT is(deploydb.message_title(message('{"cluster_name": ""}')), '[P0] r (production, vocabulary)', 'without a cluster''s name');
SELECT is(deploydb.word('webhook %s works again'), 'webhook %s 已恢复正常', 'Chinese notices') WHERE getdatabaseencoding() = 'UTF8';
SELECT is(deploydb.word('anything else'), 'anything else', 'what has no Chinese');
RESET deploydb.language;

-- signatures
SELECT is(deploydb.hmac_sha256('Jefe', 'what do ya want for nothing?'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843', 'RFC 4231, case 2');
SELECT is(deploydb.hmac_sha256('', ''), 'b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad', 'of nothing');
SELECT is(deploydb.standard_signature('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}'),
	'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=', 'the vector of Standard Webhooks');
SELECT matches(deploydb.dingtalk_url('https://oapi.dingtalk.com/robot/send?access_token=x', 'SECabc', 1700000000000),
	'^https://oapi\.dingtalk\.com/robot/send\?access_token=x&timestamp=1700000000000&sign=[A-Za-z0-9%]+%3D$', 'dingtalk signs in the address');
SELECT is(deploydb.dingtalk_url('https://x/', 'SECabc', 1) ~ '^https://x/\?timestamp=1&sign=', true, 'with a question mark where there is none');
SELECT is(deploydb.feishu_body('{"msg_type" : "text"}', 'secret', 1700000000)::jsonb - 'sign', '{"msg_type": "text", "timestamp": "1700000000"}', 'feishu signs in the body');
SELECT is(decode(deploydb.feishu_body('{"a" : 1}', 'demo', 100)::jsonb->>'sign', 'base64'),
	decode(deploydb.hmac_sha256(E'100\ndemo', ''), 'hex'), 'with time and key as the key, of nothing');

SELECT * FROM finish();
