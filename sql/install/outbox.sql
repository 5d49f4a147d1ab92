-- Outbox: messages on their way.
--
-- pending -> sending -> delivered, or pending again, or dead.  A pending message
-- that a newer one of its topic says better is superseded; what exceeds the
-- rate is folded into a digest: told_by names the message that tells it.  To
-- Alertmanager it goes along with another one in the last attempt, sent_with.
-- Receivers know it by message_id at each attempt, and know no other by that: id
-- comes again after a restore to an earlier time, and in another installation.
-- claimed_by is what monitor_state.restarts is of the monitor that sends it,
-- prior_failures what webhook_state.failures was when it was claimed.

CREATE TABLE deploydb.outbox (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	webhook text NOT NULL,
	kind text NOT NULL CHECK (kind IN ('alert', 'notice', 'test', 'digest')),
	topic text NOT NULL,
	severity text NOT NULL,
	status text NOT NULL,
	event bigint,
	body text NOT NULL,
	state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending',
		'delivered', 'dead', 'superseded', 'folded')),
	attempts integer NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	next_attempt_at timestamptz NOT NULL DEFAULT '-infinity',
	finished_at timestamptz,
	last_status integer,
	last_stage text,
	last_error text,
	last_ms double precision,
	told_by bigint,
	sent_with bigint,
	ends_at timestamptz,
	claimed_by bigint,
	prior_failures integer,
	message_id text NOT NULL DEFAULT gen_random_uuid()
);
CREATE INDEX outbox_pending_idx ON deploydb.outbox (webhook, severity, id) WHERE state = 'pending';
CREATE INDEX outbox_next_attempt_at_idx ON deploydb.outbox (webhook, next_attempt_at) WHERE state = 'pending';
CREATE INDEX outbox_test_idx ON deploydb.outbox (webhook, id) WHERE state = 'pending' AND kind = 'test';
CREATE INDEX outbox_topic_idx ON deploydb.outbox (webhook, topic, id) WHERE state = 'pending';
CREATE INDEX outbox_sending_idx ON deploydb.outbox (webhook, topic) WHERE state = 'sending';
CREATE INDEX outbox_folded_idx ON deploydb.outbox (webhook, topic, told_by) WHERE state = 'folded';
CREATE INDEX outbox_ends_at_idx ON deploydb.outbox (webhook, topic, id) WHERE ends_at IS NOT NULL;
CREATE INDEX outbox_finished_at_idx ON deploydb.outbox (finished_at);
COMMENT ON TABLE deploydb.outbox IS
	'Webhooks: every message to every webhook, until deploydb.retention has passed since it was finished';
GRANT SELECT ON deploydb.outbox TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.outbox_id_seq TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.notification AS
	SELECT o.id, o.webhook, o.kind, o.topic, o.severity, o.status, o.event, o.state, o.attempts, o.created_at,
		CASE WHEN o.state = 'pending' THEN GREATEST(o.next_attempt_at, o.created_at) END AS next_attempt_at, o.finished_at,
		o.last_status, o.last_stage, o.last_error, o.last_ms, o.told_by, o.sent_with, o.message_id
	FROM deploydb.outbox o;
COMMENT ON VIEW deploydb.notification IS
	'Webhooks: messages and what became of them';
GRANT SELECT ON deploydb.notification TO pg_monitor, pg_database_owner;

-- Few, unlike what they tell, and unlike what else waits: the order says by which
-- index.
CREATE VIEW deploydb.open_digest AS
	(SELECT d.webhook, d.id, d.state FROM deploydb.outbox d WHERE d.topic = 'digest' AND d.state = 'pending'
	 ORDER BY d.topic, d.id)
	UNION ALL
	SELECT d.webhook, d.id, d.state FROM deploydb.outbox d WHERE d.topic = 'digest' AND d.state = 'sending';
COMMENT ON VIEW deploydb.open_digest IS
	'Webhooks: digests that have not arrived yet';
GRANT SELECT ON deploydb.open_digest TO pg_monitor, pg_database_owner;

-- Receivers see the messages of a topic in order: the oldest that waits comes
-- next, once none is under way, by itself or in a digest.  With LIMIT 1, where a
-- join would go through all that was ever folded.
CREATE VIEW deploydb.next_message AS
	SELECT o.* FROM deploydb.outbox o
	WHERE o.state = 'pending' AND o.kind <> 'test'
		AND NOT EXISTS (SELECT FROM deploydb.outbox s
			WHERE s.webhook = o.webhook AND s.topic = o.topic AND s.state = 'sending')
		AND (SELECT f.id FROM deploydb.outbox f
			WHERE f.webhook = o.webhook AND f.topic = o.topic AND f.state = 'folded'
				AND f.told_by = ANY (ARRAY(SELECT d.id FROM deploydb.open_digest d WHERE d.webhook = o.webhook)) LIMIT 1) IS NULL
		AND o.id = (SELECT b.id FROM deploydb.outbox b
			WHERE b.webhook = o.webhook AND b.topic = o.topic AND b.state = 'pending' ORDER BY b.topic, b.id LIMIT 1);
COMMENT ON VIEW deploydb.next_message IS
	'Webhooks: of each topic the message that is sent next, when it is due';
GRANT SELECT ON deploydb.next_message TO pg_monitor, pg_database_owner;

-- How far the events have been taken; one row.
CREATE TABLE deploydb.outbox_position (
	last_event bigint NOT NULL
);
COMMENT ON TABLE deploydb.outbox_position IS
	'Webhooks: the last of the events that messages were made of';
GRANT SELECT ON deploydb.outbox_position TO pg_monitor, pg_database_owner;
INSERT INTO deploydb.outbox_position VALUES (0);

CREATE VIEW deploydb.webhook_health WITH (security_barrier) AS
	SELECT w.name, w.format, w.min_severity, deploydb.url_origin(x.url) AS origin,
		CASE WHEN NOT w.enabled THEN 'disabled'
			WHEN x.url IS NULL THEN 'no address'
			WHEN s.opened_at IS NOT NULL THEN 'open'
			WHEN s.paused_until > statement_timestamp() THEN 'paused'
			WHEN s.failures > 0 THEN 'failing'
			ELSE 'ok' END AS state,
		COALESCE(c.pending, 0) AS pending, COALESCE(c.dead, 0) AS dead, COALESCE(s.failures, 0) AS failures,
		s.last_attempt_at, s.last_success_at, s.last_status, s.last_stage, s.last_error, s.last_ms,
		CASE WHEN s.opened_at IS NOT NULL THEN s.probe_at ELSE s.paused_until END AS waits_until
	FROM deploydb.webhook w
		LEFT JOIN deploydb.webhook_secret x ON x.webhook = w.name
		LEFT JOIN deploydb.webhook_state s ON s.webhook = w.name
		LEFT JOIN (
			SELECT o.webhook, count(*) FILTER (WHERE o.state <> 'dead') AS pending,
				count(*) FILTER (WHERE o.state = 'dead') AS dead
			FROM deploydb.outbox o WHERE o.state IN ('pending', 'sending', 'dead')
			GROUP BY o.webhook) AS c ON c.webhook = w.name;
COMMENT ON VIEW deploydb.webhook_health IS
	'Webhooks: each receiver and how the last attempts to reach it went; open: it keeps failing, and is only probed';
GRANT SELECT ON deploydb.webhook_health TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.is_of_alert(message deploydb.outbox)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT message.kind = 'alert' OR (message.kind = 'digest' AND EXISTS (SELECT FROM deploydb.outbox f
		WHERE f.webhook = message.webhook AND f.state = 'folded' AND f.told_by = message.id AND f.kind = 'alert'))
$$;
COMMENT ON FUNCTION deploydb.is_of_alert(deploydb.outbox) IS
	'Webhooks: whether a message tells of an alert, by itself or as a digest';
REVOKE ALL ON FUNCTION deploydb.is_of_alert(deploydb.outbox) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.is_of_alert(deploydb.outbox) TO pg_monitor, pg_database_owner;

-- Whoever was to be told has heard nothing since.  What adopt() buried is no failure.
CREATE VIEW deploydb.unheard_alert AS
	SELECT o.id, o.webhook, o.severity, o.topic, o.last_error
	FROM deploydb.outbox o
		JOIN deploydb.webhook w ON w.name = o.webhook
		LEFT JOIN deploydb.webhook_state s ON s.webhook = w.name
	WHERE o.state = 'dead' AND w.enabled AND o.finished_at > COALESCE(s.last_success_at, w.created_at)
		AND o.created_at > COALESCE((SELECT max(i.installed_at) FROM deploydb.installation i), '-infinity')
		AND deploydb.is_of_alert(o);
COMMENT ON VIEW deploydb.unheard_alert IS
	'Webhooks: dead letters of alerts after which nothing has arrived at their webhook';
GRANT SELECT ON deploydb.unheard_alert TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.webhook_problem AS
	SELECT h.name, h.pending, COALESCE(u.last_error, h.last_error) AS last_error,
		CASE WHEN h.state = 'no address' AND h.pending = 0 THEN 'webhook %s has no address'
			WHEN h.state = 'no address' THEN 'webhook %s has no address; its messages wait'
			WHEN h.pending > 0 AND h.state = 'disabled' THEN 'webhook %s is disabled; its messages wait'
			WHEN h.pending > 0 AND h.state = 'open' THEN 'webhook %s keeps failing (%s); its messages wait'
			ELSE 'webhook %s has dead letters of alerts (%s)' END AS problem
	FROM deploydb.webhook_health h
		LEFT JOIN (SELECT DISTINCT ON (a.webhook) a.webhook, a.last_error FROM deploydb.unheard_alert a
			ORDER BY a.webhook, a.id DESC) AS u ON u.webhook = h.name
	WHERE h.state = 'no address' OR (h.state IN ('open', 'disabled') AND h.pending > 0) OR u.webhook IS NOT NULL;
COMMENT ON VIEW deploydb.webhook_problem IS
	'Webhooks: those whose messages wait, or were in vain, until somebody does something; problem is a format of name and last_error';
GRANT SELECT ON deploydb.webhook_problem TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.status_of_webhooks()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'warning', format(deploydb.word('nobody is told: no webhook takes %s'), min(a.severity)),
		'SELECT * FROM deploydb.webhook; -- deploydb.add_webhook() adds one'
	FROM deploydb.active_alert a
	WHERE NOT EXISTS (SELECT FROM deploydb.webhooks_for(a.severity, NULL))
	HAVING count(*) > 0
	UNION ALL
	(SELECT 'warning', format(deploydb.word(p.problem), p.name, p.last_error), 'SELECT * FROM deploydb.webhook_health;'
	FROM deploydb.webhook_problem p
	ORDER BY p.pending DESC, p.name)
$$;
COMMENT ON FUNCTION deploydb.status_of_webhooks() IS
	'Webhooks: an alert that nobody is told of, and each webhook that somebody must do something about; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_webhooks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_webhooks() TO pg_monitor, pg_database_owner;

-- Queues a message as it is written for a webhook; what Alertmanager is told comes
-- with the ends of what it was told before, and with its own end.  Without a body
-- it is a dead letter.
CREATE FUNCTION deploydb.queue_body(hook text, format text, message jsonb, topic text, event bigint, body text,
	problem text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	ends_at timestamptz;
	number bigint;
BEGIN
	IF num_nulls(hook, topic, message->>'kind', message->>'severity', message->>'status') > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'a message needs a webhook, a topic, kind, severity and status';
	END IF;
	IF body IS NOT NULL AND format = 'alertmanager' AND message->>'kind' = 'alert' THEN
		ends_at := (body::jsonb->-1->>'endsAt')::timestamptz;
		body := deploydb.end_former_alerts(hook, topic, body);
	END IF;
	INSERT INTO deploydb.outbox AS o (webhook, kind, topic, severity, status, event, body, state, finished_at, last_error,
		ends_at)
	VALUES (hook, message->>'kind', topic, message->>'severity', message->>'status', event, COALESCE(body, ''),
		CASE WHEN body IS NULL THEN 'dead' ELSE 'pending' END,
		CASE WHEN body IS NULL THEN clock_timestamp() END,
		CASE WHEN body IS NULL THEN COALESCE(problem, 'the message could not be written') END, ends_at)
	RETURNING o.id INTO number;
	RETURN number;
END
$$;
COMMENT ON FUNCTION deploydb.queue_body(text, text, jsonb, text, bigint, text, text) IS
	'Webhooks: queues a message that is written already, and returns its id; a part of queue_message()';
REVOKE ALL ON FUNCTION deploydb.queue_body(text, text, jsonb, text, bigint, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.ascii_text(content text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_ascii_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.ascii_text(text) IS
	'Webhooks: a text with ? for each byte that is not ASCII';
REVOKE ALL ON FUNCTION deploydb.ascii_text(text) FROM PUBLIC;

-- Queues one message for one webhook.  One that cannot be written, as it holds
-- bytes that are no text, is written in ASCII.  If that fails, too, it is a dead
-- letter, and fails nothing else.
CREATE FUNCTION deploydb.queue_message(hook text, format text, message jsonb, topic text, event bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	document jsonb := deploydb.common_labels() || message;
	body text;
	problem text;
BEGIN
	-- what takes a transaction id comes after, outside of this scope
	FOR attempt IN 1 .. 2 LOOP
		BEGIN
			body := deploydb.render_message(format, CASE attempt WHEN 1 THEN document
				ELSE deploydb.ascii_text(document::text)::jsonb END);
			EXIT;
		EXCEPTION WHEN OTHERS THEN
			problem := format('the message could not be written: %s', SQLERRM);
		END;
	END LOOP;
	RETURN deploydb.queue_body(hook, format, message, topic, event, body, problem);
END
$$;
COMMENT ON FUNCTION deploydb.queue_message(text, text, jsonb, text, bigint) IS
	'Webhooks: queues a message for a webhook, and returns its id';
REVOKE ALL ON FUNCTION deploydb.queue_message(text, text, jsonb, text, bigint) FROM PUBLIC;

-- Those who are told of a severity, but for one.
CREATE FUNCTION deploydb.webhooks_for(severity text, but text)
RETURNS TABLE (name text, format text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT w.name, w.format FROM deploydb.webhook w
	WHERE w.enabled AND w.format <> 'heartbeat' AND w.min_severity >= $1 AND w.name IS DISTINCT FROM but
	ORDER BY w.name;
END
$$;
COMMENT ON FUNCTION deploydb.webhooks_for(text, text) IS
	'Webhooks: the receivers that are told of a severity';
REVOKE ALL ON FUNCTION deploydb.webhooks_for(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.webhooks_for(text, text) TO pg_monitor, pg_database_owner;

-- An event as a message.  One that resolves what was never told of says so.
CREATE FUNCTION deploydb.event_message(event deploydb.alert_event, untold boolean)
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN jsonb_build_object('kind', 'alert',
		'id', deploydb.alert_id(event.rule, event.series, event.occurred_at, event.status),
		'rule', event.rule, 'series', event.series, 'metric', event.metric, 'severity', event.severity,
		'status', event.status, 'reason', event.reason, 'value', event.value, 'threshold', event.threshold,
		'trend_slope', event.trend_slope, 'labels', event.labels, 'runbook', event.runbook,
		'occurred_at', event.occurred_at, 'started_at', event.started_at,
		'message', event.message || CASE WHEN untold THEN format(' [%s - %s]', deploydb.iso_time(event.started_at),
			deploydb.iso_time(event.occurred_at)) ELSE '' END);
END
$$;
COMMENT ON FUNCTION deploydb.event_message(deploydb.alert_event, boolean) IS
	'Webhooks: an event as a message; untold: with the time from which on nobody was told';
REVOKE ALL ON FUNCTION deploydb.event_message(deploydb.alert_event, boolean) FROM PUBLIC;

CREATE FUNCTION deploydb.alert_topic(rule text, series text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT rule || '/' || series
$$;
COMMENT ON FUNCTION deploydb.alert_topic(text, text) IS
	'Webhooks: what messages about one alert have in common';
REVOKE ALL ON FUNCTION deploydb.alert_topic(text, text) FROM PUBLIC;

-- The newest message of a topic tells what older ones would have told that are
-- still waiting; and to Alertmanager, for which the last one counts, dead letters,
-- which nobody is to replay any more.  But not one that somebody is just replaying.
CREATE FUNCTION deploydb.supersede_messages(hook text, topic text, newest bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
	superseded bigint;
BEGIN
	UPDATE deploydb.outbox o
	SET state = 'superseded', told_by = newest, finished_at = clock_timestamp()
	WHERE o.id = ANY (ARRAY(
		SELECT p.id FROM deploydb.outbox p
		WHERE p.webhook = hook AND p.topic = topic AND p.state = 'pending' AND p.id < newest
		FOR UPDATE SKIP LOCKED) || ARRAY(
		SELECT d.id FROM deploydb.outbox d
		WHERE d.webhook = hook AND d.topic = topic AND d.ends_at IS NOT NULL AND d.state = 'dead' AND d.id < newest
		FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS superseded = ROW_COUNT;
	RETURN superseded;
END
$$;
COMMENT ON FUNCTION deploydb.supersede_messages(text, text, bigint) IS
	'Webhooks: has a message stand for the older ones of its topic that were not sent; their number';
REVOKE ALL ON FUNCTION deploydb.supersede_messages(text, text, bigint) FROM PUBLIC;

-- In place of older messages about the alert that wait.
CREATE FUNCTION deploydb.queue_event(hook text, format text, event deploydb.alert_event)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
	about CONSTANT text := deploydb.alert_topic(event.rule, event.series);
	untold CONSTANT boolean := event.status = 'resolved' AND (
		EXISTS (SELECT FROM deploydb.outbox o WHERE o.webhook = hook AND o.topic = about AND o.state = 'pending')
		OR EXISTS (SELECT FROM deploydb.outbox o WHERE o.webhook = hook AND o.topic = about AND o.state = 'folded'
			AND o.told_by = ANY (ARRAY(SELECT d.id FROM deploydb.open_digest d WHERE d.webhook = hook AND d.state = 'pending'))));
	number bigint;
BEGIN
	number := deploydb.queue_message(hook, format, deploydb.event_message(event, untold), about, event.id);
	PERFORM deploydb.supersede_messages(hook, about, number);
	RETURN number;
END
$$;
COMMENT ON FUNCTION deploydb.queue_event(text, text, deploydb.alert_event) IS
	'Webhooks: queues the message of an event for a webhook, in place of older ones about its alert, and returns its id';
REVOKE ALL ON FUNCTION deploydb.queue_event(text, text, deploydb.alert_event) FROM PUBLIC;

-- A receiver that comes late is told what the others were, but for what nobody
-- would hear again: what is acknowledged, silenced or under a parent that fires.
-- What the others are told of later it is, too.
CREATE FUNCTION deploydb.queue_firing(hook text)
RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(deploydb.queue_event(w.name, w.format, e.event))
	FROM (SELECT a.rule, a.series FROM deploydb.active_alert a
				LEFT JOIN deploydb.alert_rule r ON r.id = a.rule
			WHERE a.told AND NOT a.acknowledged
				AND NOT EXISTS (SELECT FROM deploydb.silence s
					WHERE (s.rule IS NULL OR s.rule = a.rule) AND s.until > clock_timestamp())
				AND NOT EXISTS (SELECT FROM deploydb.active_alert p WHERE p.rule = r.parent)) AS a
		CROSS JOIN LATERAL (SELECT n AS event, n.id, n.severity FROM deploydb.alert_event n
			WHERE n.rule = a.rule AND n.series = a.series ORDER BY n.id DESC LIMIT 1) AS e
		CROSS JOIN LATERAL deploydb.webhooks_for(e.severity, NULL) AS w
	WHERE w.name = hook AND e.id <= (SELECT p.last_event FROM deploydb.outbox_position p)
		-- but for what one of that name was told that is dropped
		AND NOT EXISTS (SELECT FROM deploydb.outbox o JOIN deploydb.webhook n ON n.name = o.webhook AND o.created_at >= n.created_at
			WHERE o.webhook = hook AND o.event = e.id)
$$;
COMMENT ON FUNCTION deploydb.queue_firing(text) IS
	'Webhooks: queues for a webhook what fires and others were told of; their number; a part of enqueue_events()';
REVOKE ALL ON FUNCTION deploydb.queue_firing(text) FROM PUBLIC;

-- Events come in the order of their ids, as whoever makes them has the turn to
-- evaluate.  Those of a copy of a database wait until it is adopted.  A webhook
-- that is new is greeted after that, as it may have come to sight while messages
-- were made: queue_firing() leaves out what it has.
CREATE FUNCTION deploydb.enqueue_events()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
	event deploydb.alert_event;
	hook record;
	last bigint;
	queued bigint := 0;
BEGIN
	IF deploydb.suspended() IS NOT NULL THEN
		RETURN 0;
	END IF;
	FOR event IN
		SELECT e.* FROM deploydb.alert_event e
		WHERE e.id > (SELECT p.last_event FROM deploydb.outbox_position p)
		ORDER BY e.id
	LOOP
		last := event.id;
		CONTINUE WHEN event.silenced;
		FOR hook IN SELECT * FROM deploydb.webhooks_for(event.severity, NULL) LOOP
			PERFORM deploydb.queue_event(hook.name, hook.format, event);
			queued := queued + 1;
		END LOOP;
	END LOOP;
	IF last IS NOT NULL THEN
		UPDATE deploydb.outbox_position SET last_event = last;
	END IF;
	FOR hook IN
		SELECT s.webhook AS name FROM deploydb.webhook_state s JOIN deploydb.webhook w ON w.name = s.webhook
		WHERE NOT s.greeted AND w.enabled AND w.format <> 'heartbeat'
		FOR NO KEY UPDATE OF s SKIP LOCKED
	LOOP
		queued := queued + deploydb.queue_firing(hook.name);
		UPDATE deploydb.webhook_state s SET greeted = true WHERE s.webhook = hook.name;
	END LOOP;
	RETURN queued;
END
$$;
COMMENT ON FUNCTION deploydb.enqueue_events() IS
	'Webhooks: makes messages of the events that are new, and for new webhooks of what fires, and returns their number';
REVOKE ALL ON FUNCTION deploydb.enqueue_events() FROM PUBLIC;

-- What waited where this is a copy of is for that one to send.
CREATE FUNCTION deploydb.bury_messages()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	soon CONSTANT timestamptz := clock_timestamp() + interval '30 minutes';
	buried bigint;
BEGIN
	-- which Alertmanager may have or not: soon enough for renew_alerts() to tell it at once
	UPDATE deploydb.outbox o
	SET state = 'dead', finished_at = clock_timestamp(), last_error = 'of before deploydb.adopt(), and perhaps another database''s',
		ends_at = CASE WHEN o.ends_at > soon THEN soon ELSE o.ends_at END
	WHERE o.state IN ('pending', 'sending');
	GET DIAGNOSTICS buried = ROW_COUNT;
	-- what Alertmanager has is of that one's alerts, but after pg_upgrade, which keeps the OID
	UPDATE deploydb.outbox SET ends_at = NULL
	WHERE ends_at IS NOT NULL AND NOT EXISTS (
		SELECT FROM deploydb.installation i WHERE i.database_oid = deploydb.own_database_oid());
	RETURN buried;
END
$$;
COMMENT ON FUNCTION deploydb.bury_messages() IS
	'Webhooks: makes dead letters of all that waits in a copy of a database; their number';
REVOKE ALL ON FUNCTION deploydb.bury_messages() FROM PUBLIC;

-- What was committed after its webhook was dropped, which did not see it.
CREATE FUNCTION deploydb.bury_orphans()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
	buried bigint;
BEGIN
	UPDATE deploydb.outbox o
	SET state = 'dead', finished_at = clock_timestamp(), last_error = 'the webhook was dropped', ends_at = NULL
	WHERE o.id = ANY (ARRAY(
		SELECT p.id FROM deploydb.outbox p
		WHERE p.state = 'pending' AND NOT EXISTS (SELECT FROM deploydb.webhook w WHERE w.name = p.webhook)
		FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS buried = ROW_COUNT;
	RETURN buried;
END
$$;
COMMENT ON FUNCTION deploydb.bury_orphans() IS
	'Webhooks: makes dead letters of what waits for a webhook that was dropped meanwhile; their number';
REVOKE ALL ON FUNCTION deploydb.bury_orphans() FROM PUBLIC;

CREATE FUNCTION deploydb.notice_message(kind text, severity text, message text)
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN jsonb_build_object('kind', kind, 'severity', severity, 'status', 'notice', 'message', message,
		'id', format('%s:%s:notice', kind, gen_random_uuid()),
		'occurred_at', clock_timestamp(), 'started_at', clock_timestamp());
END
$$;
COMMENT ON FUNCTION deploydb.notice_message(text, text, text) IS
	'Webhooks: a message that is about no rule';
REVOKE ALL ON FUNCTION deploydb.notice_message(text, text, text) FROM PUBLIC;
