-- Webhooks: messages of people's own, dead letters, tests.

CREATE FUNCTION deploydb.notify(message text, severity text DEFAULT 'P3', webhook text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	hook record;
	queued bigint := 0;
BEGIN
	IF num_nulls(message, severity) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'message and severity must not be NULL';
	ELSIF message !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'message must not be empty';
	ELSIF severity NOT IN ('P0', 'P1', 'P2', 'P3') THEN
		IF deploydb.looks_secret(severity) THEN
			PERFORM deploydb.hide_statement();
		END IF;
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN deploydb.looks_secret(severity) THEN 'invalid severity'
				ELSE format('invalid severity: "%s"', severity) END,
			HINT = 'Severities are P0, P1, P2 and P3.';
	END IF;
	IF webhook IS NOT NULL AND deploydb.webhook_or_error(webhook) = 'heartbeat' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('webhook "%s" takes no messages', webhook),
			DETAIL = 'Its format is heartbeat.';
	END IF;
	FOR hook IN
		SELECT w.name, w.format FROM deploydb.webhooks_for(severity, NULL) w WHERE webhook IS NULL
		UNION ALL
		SELECT w.name, w.format FROM deploydb.webhook w WHERE w.name = webhook AND w.enabled
	LOOP
		PERFORM deploydb.queue_message(hook.name, hook.format,
			deploydb.notice_message('notice', severity, message), 'notice/' || gen_random_uuid(), NULL);
		queued := queued + 1;
	END LOOP;
	IF queued = 0 THEN
		RAISE WARNING USING
			MESSAGE = 'nobody is told',
			DETAIL = CASE WHEN webhook IS NULL THEN format('There is no webhook that takes severity %s.', severity)
				ELSE format('Webhook "%s" is disabled.', webhook) END,
			HINT = CASE WHEN webhook IS NULL AND EXISTS (SELECT FROM deploydb.webhook w WHERE w.format <> 'heartbeat')
					THEN 'See columns "enabled" and "min_severity" of table deploydb.webhook.'
				WHEN webhook IS NULL THEN 'deploydb.add_webhook() adds one.'
				ELSE 'Set column "enabled" of table deploydb.webhook.' END;
	ELSIF deploydb.suspended() IS NOT NULL THEN
		RAISE WARNING USING
			MESSAGE = 'nobody is told',
			DETAIL = deploydb.suspended();
	ELSE
		PERFORM deploydb.wake_monitor();
	END IF;
	RETURN queued;
END
$$;
COMMENT ON FUNCTION deploydb.notify(text, text, text) IS
	'Webhooks: sends a message of one''s own, once the transaction commits; the number of receivers';
REVOKE ALL ON FUNCTION deploydb.notify(text, text, text) FROM PUBLIC;

-- Sent once more, they would come after a newer message of their alert, and be
-- taken for how it is now.
CREATE VIEW deploydb.outdated_letter AS
	SELECT d.id, n.told_by
	FROM deploydb.outbox d
		JOIN (SELECT o.webhook, o.topic, max(o.id) AS told_by FROM deploydb.outbox o
			WHERE o.state IN ('pending', 'sending', 'delivered', 'folded') GROUP BY o.webhook, o.topic) AS n
			ON n.webhook = d.webhook AND n.topic = d.topic AND n.told_by > d.id
	WHERE d.state = 'dead' AND d.kind = 'alert';
COMMENT ON VIEW deploydb.outdated_letter IS
	'Webhooks: dead letters of alerts of which a newer message has arrived, or is about to';
GRANT SELECT ON deploydb.outdated_letter TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.replay(id bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	message deploydb.outbox;
	added_at timestamptz;
	newer bigint;
BEGIN
	SELECT o.* INTO message FROM deploydb.outbox o WHERE o.id = id FOR UPDATE;
	added_at := (SELECT w.created_at FROM deploydb.webhook w WHERE w.name = message.webhook);
	newer := (SELECT l.told_by FROM deploydb.outdated_letter l WHERE l.id = id);
	IF message.id IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN id IS NULL THEN 'null_value_not_allowed' ELSE 'undefined_object' END,
			MESSAGE = CASE WHEN id IS NULL THEN 'id must not be NULL' ELSE format('message %s does not exist', id) END,
			HINT = 'View deploydb.notification has those that do.';
	ELSIF message.state <> 'dead' OR message.body = '' OR newer IS NOT NULL OR message.created_at < added_at THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('message %s is no dead letter that could be sent', id),
			DETAIL = CASE WHEN message.body = '' THEN 'It could not be written.'
				WHEN message.state <> 'dead' THEN format('Its state is %s.', message.state)
				WHEN newer IS NOT NULL THEN format('Message %s is newer, and of the same alert.', newer)
				ELSE format('It is for another webhook "%s", which was dropped.', message.webhook) END;
	ELSIF added_at IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('webhook "%s" does not exist', message.webhook),
			DETAIL = 'It was dropped, and another one of that name is not told what this one was.';
	END IF;
	UPDATE deploydb.outbox o
	SET state = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), finished_at = NULL
	WHERE o.id = id;
	PERFORM deploydb.wake_monitor();
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.replay(bigint) IS
	'Webhooks: sends a dead letter once more, under its id';
REVOKE ALL ON FUNCTION deploydb.replay(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.replay_since(since timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
	letters bigint[];
	replayed bigint;
BEGIN
	IF since IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'since must not be NULL';
	END IF;
	-- but those that somebody else is just replaying
	letters := ARRAY(
		SELECT d.id FROM deploydb.outbox d
		WHERE d.state = 'dead' AND d.body <> '' AND d.kind <> 'test' AND d.finished_at >= since
			AND EXISTS (SELECT FROM deploydb.webhook w WHERE w.name = d.webhook AND w.created_at <= d.created_at)
		FOR UPDATE SKIP LOCKED);
	UPDATE deploydb.outbox o SET state = 'superseded', told_by = l.told_by
	FROM deploydb.outdated_letter l
	WHERE l.id = o.id AND o.id = ANY (letters);
	UPDATE deploydb.outbox o
	SET state = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), finished_at = NULL
	WHERE o.id = ANY (letters) AND o.state = 'dead';
	GET DIAGNOSTICS replayed = ROW_COUNT;
	IF replayed > 0 THEN
		PERFORM deploydb.wake_monitor();
	END IF;
	RETURN replayed;
END
$$;
COMMENT ON FUNCTION deploydb.replay_since(timestamptz) IS
	'Webhooks: sends dead letters since then once more, but those that a newer message tells better, and returns their number';
REVOKE ALL ON FUNCTION deploydb.replay_since(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.queue_test(hook text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	format text := deploydb.webhook_or_error(hook);
	number bigint;
BEGIN
	IF format = 'heartbeat' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = pg_catalog.format('webhook "%s" takes no messages', hook),
			DETAIL = 'Its format is heartbeat.';
	ELSIF NOT EXISTS (SELECT FROM deploydb.webhook w WHERE w.name = hook AND w.enabled) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = pg_catalog.format('webhook "%s" is disabled', hook),
			HINT = pg_catalog.format('UPDATE deploydb.webhook SET enabled = true WHERE name = %L;', hook);
	ELSIF NOT EXISTS (SELECT FROM deploydb.webhook_secret x WHERE x.webhook = hook) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = pg_catalog.format('webhook "%s" has no address', hook),
			HINT = 'Give it one by deploydb.set_webhook_url().';
	ELSIF deploydb.suspended() IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'nothing is sent from here',
			DETAIL = deploydb.suspended();
	ELSIF NOT EXISTS (SELECT FROM deploydb.monitor_state m JOIN pg_stat_activity a ON a.pid = m.pid
			WHERE a.backend_type = 'deploydb monitor')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'no monitor of this database is running',
			HINT = 'SELECT * FROM deploydb_status(); says why, and what to do.';
	END IF;
	number := deploydb.queue_message(hook, format,
		deploydb.notice_message('test', 'P3', deploydb.word('This is a test of deploydb.')), 'test/' || gen_random_uuid(), NULL);
	PERFORM deploydb.wake_monitor();
	RETURN number;
END
$$;
COMMENT ON FUNCTION deploydb.queue_test(text) IS
	'Webhooks: queues a test message; a part of test_webhook()';
REVOKE ALL ON FUNCTION deploydb.queue_test(text) FROM PUBLIC;

-- What a test message has become by now.
CREATE FUNCTION deploydb.test_result(message bigint, OUT state text, OUT status integer, OUT stage text,
	OUT ms double precision, OUT error text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT o.state, o.last_status, o.last_stage, o.last_ms, o.last_error
	FROM deploydb.outbox o WHERE o.id = message AND o.kind = 'test'
$$;
COMMENT ON FUNCTION deploydb.test_result(bigint) IS
	'Webhooks: what became of a test message; a part of test_webhook()';
REVOKE ALL ON FUNCTION deploydb.test_result(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.can_commit()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_can_commit'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.can_commit() IS
	'Webhooks: whether the procedure that calls it can commit; a part of test_webhook()';
REVOKE ALL ON FUNCTION deploydb.can_commit() FROM PUBLIC;

-- Commits, so it can have no settings of its own, and names all it uses in full.
CREATE PROCEDURE deploydb.test_webhook(name text, INOUT state text DEFAULT NULL, INOUT status integer DEFAULT NULL,
	INOUT stage text DEFAULT NULL, INOUT ms double precision DEFAULT NULL, INOUT error text DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
	message bigint;
	until pg_catalog.timestamptz;
BEGIN
	IF NOT deploydb.can_commit() THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_transaction_termination',
			MESSAGE = 'test_webhook() cannot run within a transaction',
			DETAIL = 'It commits its message, for the monitor to send it.',
			HINT = 'End the transaction first, and CALL it by itself, from no function.';
	END IF;
	message := deploydb.queue_test(name);
	COMMIT;
	-- the time that sending may take, and some for the monitor to come round
	until := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) (
		deploydb.setting('webhook_timeout')::pg_catalog.interval
		OPERATOR(pg_catalog.+) '10 seconds'::pg_catalog.interval);
	LOOP
		SELECT t.state, t.status, t.stage, t.ms, t.error INTO state, status, stage, ms, error
		FROM deploydb.test_result(message) t;
		EXIT WHEN state OPERATOR(pg_catalog.<>) ALL (ARRAY['pending', 'sending'])
			OR pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>) until;
		COMMIT;
		PERFORM pg_catalog.pg_sleep(0.05);
	END LOOP;
END
$$;
COMMENT ON PROCEDURE deploydb.test_webhook(text, text, integer, text, double precision, text) IS
	'Webhooks: sends a test message and waits for what becomes of it';
REVOKE ALL ON PROCEDURE deploydb.test_webhook(text, text, integer, text, double precision, text) FROM PUBLIC;
