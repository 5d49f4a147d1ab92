-- Webhooks: what a message looks like in each format.
--
-- A message is an object: kind (alert, notice, test, digest), id, rule, series,
-- metric, severity, status (firing, resolved, notice), reason, message, value,
-- threshold, trend_slope, labels, runbook, occurred_at, started_at; and where it
-- comes from: cluster_name, database, environment.

-- At most so many bytes of UTF-8, whole characters, with a mark where it was cut.
CREATE FUNCTION deploydb.cut_text(content text, max_bytes integer)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	bytes bytea := convert_to(content, 'UTF8');
	size integer := GREATEST(max_bytes - 4, 0);
BEGIN
	IF octet_length(bytes) <= max_bytes THEN
		RETURN content;
	END IF;
	-- not between the bytes of a character
	WHILE size > 0 AND get_byte(bytes, size) & 192 = 128 LOOP
		size := size - 1;
	END LOOP;
	RETURN convert_from(substring(bytes FROM 1 FOR size), 'UTF8') || ' ...';
END
$$;
COMMENT ON FUNCTION deploydb.cut_text(text, integer) IS
	'Webhooks: a text cut to so many bytes of UTF-8, with a mark';
REVOKE ALL ON FUNCTION deploydb.cut_text(text, integer) FROM PUBLIC;

-- As in production, vocabulary on main.
CREATE FUNCTION deploydb.message_origin(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN concat_ws(', ', NULLIF(message->>'environment', ''),
		CASE WHEN message->>'cluster_name' <> ''
			THEN format(deploydb.word('%s on %s'), message->>'database', message->>'cluster_name')
			ELSE message->>'database' END);
END
$$;
COMMENT ON FUNCTION deploydb.message_origin(jsonb) IS
	'Webhooks: environment, database and cluster of a message in one line';
REVOKE ALL ON FUNCTION deploydb.message_origin(jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.iso_time(at timestamptz)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
END
$$;
COMMENT ON FUNCTION deploydb.iso_time(timestamptz) IS
	'Webhooks: a time by ISO 8601, in UTC, with milliseconds';
REVOKE ALL ON FUNCTION deploydb.iso_time(timestamptz) FROM PUBLIC;

-- Four decimals, or all where that would be zero and it is not.
CREATE FUNCTION deploydb.message_number(number double precision)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
AS $$
DECLARE
	rounded numeric := round(number::text::numeric, 4);
BEGIN
	RETURN CASE WHEN rounded = 0 AND number <> 0 THEN number::text ELSE rounded::text END;
END
$$;
COMMENT ON FUNCTION deploydb.message_number(double precision) IS
	'Webhooks: a number as messages show it';
REVOKE ALL ON FUNCTION deploydb.message_number(double precision) FROM PUBLIC;

-- NULL for what is no alert.
CREATE FUNCTION deploydb.message_facts(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN CASE WHEN message->>'kind' = 'alert' THEN
		format('%s: %s | %s: %s | %s: %s%s', deploydb.word('Status'), deploydb.word(upper(message->>'status')),
			deploydb.word('Metric'), message->>'metric', deploydb.word('Value'),
			COALESCE(deploydb.message_number((message->>'value')::double precision), '-'),
			CASE
				WHEN message->>'trend_slope' IS NOT NULL THEN format(', %s: %s/%s', deploydb.word('Trend'),
					deploydb.message_number((message->>'trend_slope')::double precision), deploydb.word('min'))
				WHEN message->>'threshold' IS NOT NULL THEN format(', %s: %s', deploydb.word('Threshold'),
					deploydb.message_number((message->>'threshold')::double precision))
				ELSE '' END) END;
END
$$;
COMMENT ON FUNCTION deploydb.message_facts(jsonb) IS
	'Webhooks: status, metric and values of an alert in one line; NULL for other messages';
REVOKE ALL ON FUNCTION deploydb.message_facts(jsonb) FROM PUBLIC;

-- As in [P0] migration_drift (production, vocabulary on main).
CREATE FUNCTION deploydb.message_title(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN format('[%s] %s (%s)', message->>'severity',
		COALESCE(message->>'rule', deploydb.word('NOTICE')), deploydb.message_origin(message));
END
$$;
COMMENT ON FUNCTION deploydb.message_title(jsonb) IS
	'Webhooks: severity, rule and origin of a message in one line';
REVOKE ALL ON FUNCTION deploydb.message_title(jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.message_lines(message jsonb, separator text)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN concat_ws(separator, deploydb.message_facts(message), message->>'message',
		deploydb.word('Runbook') || ': ' || (message->>'runbook'));
END
$$;
COMMENT ON FUNCTION deploydb.message_lines(jsonb, text) IS
	'Webhooks: what a message says below its title';
REVOKE ALL ON FUNCTION deploydb.message_lines(jsonb, text) FROM PUBLIC;

-- As above, for what shows Markdown, or tags as Feishu does: names that others
-- chose make no links, and mention nobody.
CREATE FUNCTION deploydb.plain_markdown(content text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN regexp_replace(replace(content, '](', '] ('), '<(?=[@A-Za-z/!])', '< ', 'g');
END
$$;
COMMENT ON FUNCTION deploydb.plain_markdown(text) IS
	'Webhooks: a text for Markdown, without links and mentions';
REVOKE ALL ON FUNCTION deploydb.plain_markdown(text) FROM PUBLIC;

-- The application's fields, and a few more.
CREATE FUNCTION deploydb.render_generic(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN json_strip_nulls(json_build_object(
		'id', message->>'id', 'ruleId', message->>'rule', 'series', NULLIF(message->>'series', ''), 'metric', message->>'metric',
		'severity', message->>'severity', 'status', message->>'status',
		'message', message->>'message', 'value', message->'value',
		'threshold', message->'threshold', 'trendSlope', message->'trend_slope',
		'labels', COALESCE(NULLIF(message->'labels', 'null'), '{}'),
		'occurredAt', deploydb.iso_time((message->>'occurred_at')::timestamptz),
		'startedAt', deploydb.iso_time((message->>'started_at')::timestamptz),
		'kind', message->>'kind', 'reason', message->>'reason', 'runbook', message->>'runbook',
		'clusterName', message->>'cluster_name', 'database', message->>'database',
		'environment', message->>'environment'))::text;
END
$$;
COMMENT ON FUNCTION deploydb.render_generic(jsonb) IS
	'Webhooks: a message as one JSON object with the application''s field names';
REVOKE ALL ON FUNCTION deploydb.render_generic(jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.render_slack(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN json_build_object('text', format('%s %s',
		CASE message->>'status' WHEN 'firing' THEN ':rotating_light:' WHEN 'resolved' THEN ':white_check_mark:'
			ELSE ':information_source:' END,
		replace(replace(replace(
			deploydb.cut_text(deploydb.message_title(message) || E'\n' || deploydb.message_lines(message, E'\n'), 3000),
			'&', '&amp;'), '<', '&lt;'), '>', '&gt;')))::text;
END
$$;
COMMENT ON FUNCTION deploydb.render_slack(jsonb) IS
	'Webhooks: a message for Slack''s incoming webhooks';
REVOKE ALL ON FUNCTION deploydb.render_slack(jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.render_teams(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN json_build_object('type', 'message', 'attachments', json_build_array(json_build_object(
		'contentType', 'application/vnd.microsoft.card.adaptive', 'contentUrl', NULL,
		'content', json_build_object(
			'$schema', 'http://adaptivecards.io/schemas/adaptive-card.json', 'type', 'AdaptiveCard', 'version', '1.4',
			'msteams', json_build_object('width', 'full'),
			'body', json_build_array(
				json_build_object('type', 'TextBlock', 'size', 'Medium', 'weight', 'Bolder', 'wrap', true,
					'color', CASE message->>'status' WHEN 'firing' THEN 'Attention' WHEN 'resolved' THEN 'Good'
						ELSE 'Default' END,
					'text', deploydb.plain_markdown(deploydb.cut_text(deploydb.message_title(message), 1000))),
				json_build_object('type', 'TextBlock', 'wrap', true,
					'text', deploydb.plain_markdown(deploydb.cut_text(deploydb.message_lines(message, E'\n\n'), 5000))))))))::text;
END
$$;
COMMENT ON FUNCTION deploydb.render_teams(jsonb) IS
	'Webhooks: a message for Microsoft Teams, an adaptive card';
REVOKE ALL ON FUNCTION deploydb.render_teams(jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.render_dingtalk(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN json_build_object('msgtype', 'markdown', 'markdown', json_build_object(
		'title', deploydb.plain_markdown(deploydb.cut_text(deploydb.message_title(message), 200)),
		'text', deploydb.cut_text(deploydb.plain_markdown(format('#### %s%s%s', deploydb.message_title(message),
			E'\n\n', deploydb.message_lines(message, E'\n\n'))), 4900)))::text;
END
$$;
COMMENT ON FUNCTION deploydb.render_dingtalk(jsonb) IS
	'Webhooks: a message for DingTalk''s robots';
REVOKE ALL ON FUNCTION deploydb.render_dingtalk(jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.render_feishu(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN json_build_object('msg_type', 'text', 'content', json_build_object('text',
		deploydb.cut_text(deploydb.plain_markdown(format('%s%s%s', deploydb.message_title(message), E'\n',
			deploydb.message_lines(message, E'\n'))), 8000)))::text;
END
$$;
COMMENT ON FUNCTION deploydb.render_feishu(jsonb) IS
	'Webhooks: a message for Feishu''s robots';
REVOKE ALL ON FUNCTION deploydb.render_feishu(jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.render_wecom(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN json_build_object('msgtype', 'markdown', 'markdown', json_build_object('content',
		deploydb.cut_text(deploydb.plain_markdown(format('**%s**%s%s', deploydb.message_title(message), E'\n',
			deploydb.message_lines(message, E'\n'))), 4096)))::text;
END
$$;
COMMENT ON FUNCTION deploydb.render_wecom(jsonb) IS
	'Webhooks: a message for WeCom''s robots';
REVOKE ALL ON FUNCTION deploydb.render_wecom(jsonb) FROM PUBLIC;

-- Until when Alertmanager keeps an alert of which it hears nothing more.
CREATE FUNCTION deploydb.alert_ends_at(told_at timestamptz)
RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT told_at + interval '1 hour 30 minutes'
$$;
COMMENT ON FUNCTION deploydb.alert_ends_at(timestamptz) IS
	'Webhooks: until when Alertmanager keeps an alert of which it hears nothing more';
REVOKE ALL ON FUNCTION deploydb.alert_ends_at(timestamptz) FROM PUBLIC;

-- What is no alert has a label of its own each, or the next one would be taken
-- for the same.
CREATE FUNCTION deploydb.render_alertmanager(message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN json_build_array(json_strip_nulls(json_build_object(
		'labels', (
			SELECT COALESCE(jsonb_object_agg(regexp_replace(regexp_replace(l.key, '[^A-Za-z0-9_]', '_', 'g'),
				'^(?=[0-9])', '_'), l.value), '{}')
			FROM jsonb_each_text(CASE WHEN jsonb_typeof(message->'labels') = 'object' THEN message->'labels'
				ELSE '{}' END) l WHERE l.value <> '' AND l.key <> '')
			|| jsonb_strip_nulls(jsonb_build_object(
				'alertname', COALESCE(message->>'rule', 'deploydb_' || (message->>'kind')),
				'severity', message->>'severity', 'series', NULLIF(message->>'series', ''),
				'message_id', CASE WHEN message->>'kind' <> 'alert' THEN message->>'id' END,
				'cluster_name', NULLIF(message->>'cluster_name', ''), 'database', message->>'database',
				'environment', NULLIF(message->>'environment', ''))),
		'annotations', json_strip_nulls(json_build_object(
			'summary', deploydb.message_title(message), 'description', message->>'message',
			'value', message->>'value', 'runbook_url', message->>'runbook')),
		-- Alertmanager refuses the alert with one that Go takes for no URI
		'generatorURL', CASE WHEN deploydb.url_origin(message->>'runbook') IS NOT NULL
			AND message->>'runbook' !~ E'^[^/]*//[^/?#]*@|[\\x01-\\x1f\\x7f]|%(?![0-9A-Fa-f]{2})' THEN message->>'runbook' END,
		'startsAt', deploydb.iso_time((message->>'started_at')::timestamptz),
		'endsAt', deploydb.iso_time(CASE message->>'status' WHEN 'resolved' THEN (message->>'occurred_at')::timestamptz
			WHEN 'firing' THEN deploydb.alert_ends_at((message->>'occurred_at')::timestamptz)
			ELSE (message->>'occurred_at')::timestamptz + interval '5 minutes' END))))::text;
END
$$;
COMMENT ON FUNCTION deploydb.render_alertmanager(jsonb) IS
	'Webhooks: a message for Alertmanager''s API, version 2';
REVOKE ALL ON FUNCTION deploydb.render_alertmanager(jsonb) FROM PUBLIC;

-- What is longer than any service takes is cut: the message, and at last what
-- goes with it.
CREATE FUNCTION deploydb.render_message(format text, message jsonb)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	max_bytes CONSTANT integer := 20000;
	size integer := 12000;
	body text;
BEGIN
	LOOP
		message := message || jsonb_build_object('message', deploydb.cut_text(message->>'message', size));
		body := CASE format
			WHEN 'generic' THEN deploydb.render_generic(message)
			WHEN 'slack' THEN deploydb.render_slack(message)
			WHEN 'teams' THEN deploydb.render_teams(message)
			WHEN 'dingtalk' THEN deploydb.render_dingtalk(message)
			WHEN 'feishu' THEN deploydb.render_feishu(message)
			WHEN 'wecom' THEN deploydb.render_wecom(message)
			WHEN 'alertmanager' THEN deploydb.render_alertmanager(message) END;
		EXIT WHEN body IS NULL OR octet_length(convert_to(body, 'UTF8')) <= max_bytes;
		size := size / 2;
		IF size < 100 THEN
			IF NOT message ? 'labels' THEN
				RAISE EXCEPTION USING
					ERRCODE = 'program_limit_exceeded',
					MESSAGE = pg_catalog.format('the message has more than %s bytes', max_bytes);
			END IF;
			message := message - '{labels,runbook}'::text[];
		END IF;
	END LOOP;
	RETURN body;
END
$$;
COMMENT ON FUNCTION deploydb.render_message(text, jsonb) IS
	'Webhooks: the body of a message in a format; NULL where the format has none';
REVOKE ALL ON FUNCTION deploydb.render_message(text, jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.hmac_sha256(key bytea, data bytea)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_hmac_sha256'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.hmac_sha256(bytea, bytea) IS
	'Webhooks: a keyed hash, in hexadecimal digits';
REVOKE ALL ON FUNCTION deploydb.hmac_sha256(bytea, bytea) FROM PUBLIC;

CREATE FUNCTION deploydb.base64_hmac(key bytea, data bytea)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN encode(decode(deploydb.hmac_sha256(key, data), 'hex'), 'base64');
END
$$;
COMMENT ON FUNCTION deploydb.base64_hmac(bytea, bytea) IS
	'Webhooks: a keyed hash, in base 64';
REVOKE ALL ON FUNCTION deploydb.base64_hmac(bytea, bytea) FROM PUBLIC;

-- By Standard Webhooks: of the id, the seconds and the bytes of the body.
CREATE FUNCTION deploydb.standard_signature(secret text, id text, seconds bigint, body text)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN 'v1,' || deploydb.base64_hmac(decode(substring(secret FROM '^whsec_(.*)$'), 'base64'),
		convert_to(format('%s.%s.%s', id, seconds, body), 'UTF8'));
END
$$;
COMMENT ON FUNCTION deploydb.standard_signature(text, text, bigint, text) IS
	'Webhooks: the signature of a message by Standard Webhooks 1.0.0';
REVOKE ALL ON FUNCTION deploydb.standard_signature(text, text, bigint, text) FROM PUBLIC;

-- DingTalk's robots want time and signature in the address.
CREATE FUNCTION deploydb.dingtalk_url(url text, secret text, milliseconds bigint)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN format('%s%stimestamp=%s&sign=%s', url, CASE WHEN strpos(url, '?') > 0 THEN '&' ELSE '?' END, milliseconds,
		replace(replace(replace(deploydb.base64_hmac(convert_to(secret, 'UTF8'),
			convert_to(milliseconds || E'\n' || secret, 'UTF8')), '+', '%2B'), '/', '%2F'), '=', '%3D'));
END
$$;
COMMENT ON FUNCTION deploydb.dingtalk_url(text, text, bigint) IS
	'Webhooks: the address of a DingTalk robot with the signature';
REVOKE ALL ON FUNCTION deploydb.dingtalk_url(text, text, bigint) FROM PUBLIC;

-- Feishu's robots want them in the body; the key is what others would sign.
CREATE FUNCTION deploydb.feishu_body(body text, secret text, seconds bigint)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN format('{"timestamp":"%s","sign":"%s",%s', seconds,
		deploydb.base64_hmac(convert_to(seconds || E'\n' || secret, 'UTF8'), ''), substring(body FROM 2));
END
$$;
COMMENT ON FUNCTION deploydb.feishu_body(text, text, bigint) IS
	'Webhooks: the body of a message to a Feishu robot with the signature';
REVOKE ALL ON FUNCTION deploydb.feishu_body(text, text, bigint) FROM PUBLIC;
