-- Outbox: what Alertmanager needs.
--
-- It knows an alert by its labels, and keeps it until it is told of its end, or
-- until the time that the last message gave (ends_at) has come.  So nothing of
-- it is folded, what no message will name any more is ended, and what goes on is
-- told again in time, whether people are told or not.

-- By an answer that is about the message, not about the rate or the time.
CREATE FUNCTION deploydb.was_refused(attempts integer, last_status integer)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT attempts > 0 AND last_status BETWEEN 300 AND 499 AND last_status NOT IN (408, 425, 429)
$$;
COMMENT ON FUNCTION deploydb.was_refused(integer, integer) IS
	'Webhooks: whether the last answer to a message was a no; a part of join_messages()';
REVOKE ALL ON FUNCTION deploydb.was_refused(integer, integer) FROM PUBLIC;

-- Alertmanager knows alerts by their labels, and keeps what it is not told the end
-- of: whatever else is due goes in one array with the last message that is chosen,
-- as far as there is room.  What was refused before goes by itself.
CREATE FUNCTION deploydb.join_messages(hook text, chosen bigint[], at timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	max_bytes CONSTANT integer := 200000;
	late CONSTANT timestamptz := at + interval '1 hour';
	head bigint;
	joined bigint;
BEGIN
	head := (
		SELECT o.id FROM deploydb.outbox o
		WHERE o.id = ANY (chosen) AND deploydb.was_refused(o.attempts, o.last_status) IS NOT TRUE
		ORDER BY o.severity DESC, o.id DESC LIMIT 1);
	IF head IS NULL THEN
		RETURN 0;
	END IF;
	UPDATE deploydb.outbox o
	SET state = 'sending', sent_with = head, attempts = o.attempts + 1,
		claimed_by = (SELECT m.restarts FROM deploydb.monitor_state m)
	WHERE o.id = ANY (ARRAY(
		SELECT f.id FROM (
			SELECT d.id, sum(octet_length(d.body)) OVER (ORDER BY d.severity, d.id) AS bytes
			FROM (
				SELECT n.id, n.severity, n.body FROM deploydb.next_message n
				WHERE n.webhook = hook AND n.id <> ALL (chosen) AND (n.next_attempt_at <= at OR n.next_attempt_at > late)
					AND deploydb.was_refused(n.attempts, n.last_status) IS NOT TRUE
				ORDER BY n.severity, n.id LIMIT 500 FOR UPDATE SKIP LOCKED) AS d) AS f
		WHERE f.bytes <= max_bytes));
	GET DIAGNOSTICS joined = ROW_COUNT;
	RETURN joined;
END
$$;
COMMENT ON FUNCTION deploydb.join_messages(text, bigint[], timestamptz) IS
	'Webhooks: has all that is due go along with a message that is chosen, and returns the number of those that do';
REVOKE ALL ON FUNCTION deploydb.join_messages(text, bigint[], timestamptz) FROM PUBLIC;

-- A message with the ends of those alerts that Alertmanager may still have of its
-- topic under other labels: a severity that rose, labels of a rule that was changed
-- or dropped.  Without a start, which may be ahead where the clock was set back.
CREATE FUNCTION deploydb.end_former_alerts(hook text, topic text, body text)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
	at CONSTANT timestamptz := clock_timestamp();
	alert CONSTANT jsonb := body::jsonb->-1;
BEGIN
	RETURN (
		SELECT format('[%s]', string_agg(a.element::text, ', ' ORDER BY a.is_last))
		FROM (
			SELECT DISTINCT jsonb_build_object('labels', o.body::jsonb->-1->'labels', 'endsAt', deploydb.iso_time(at)), false
			FROM deploydb.outbox o
			WHERE o.webhook = hook AND o.topic = topic AND o.ends_at > at
				AND o.body::jsonb->-1->'labels' <> alert->'labels'
			UNION ALL SELECT alert, true) AS a (element, is_last));
END
$$;
COMMENT ON FUNCTION deploydb.end_former_alerts(text, text, text) IS
	'Webhooks: a message to Alertmanager that also ends what it may still have of the topic under other labels';
REVOKE ALL ON FUNCTION deploydb.end_former_alerts(text, text, text) FROM PUBLIC;

-- Whatever Alertmanager was told of and still fires, also what is acknowledged or
-- silenced since: half an hour after the last message, which is good for an hour
-- and a half, so that one that was started again soon knows it.
CREATE FUNCTION deploydb.renew_alerts()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
	ends CONSTANT timestamptz := deploydb.alert_ends_at(clock_timestamp());
	hook text;
	about text;
	last deploydb.outbox;
	renewed bigint := 0;
BEGIN
	IF deploydb.suspended() IS NOT NULL THEN
		RETURN 0;
	END IF;
	FOR hook, about IN
		SELECT w.name, deploydb.alert_topic(s.rule, s.series)
		FROM deploydb.webhook w, deploydb.alert_state s
		WHERE w.enabled AND w.format = 'alertmanager' AND s.started_at IS NOT NULL AND s.told
		ORDER BY w.name, s.severity, s.started_at
	LOOP
		SELECT o.* INTO last FROM deploydb.outbox o
		WHERE o.webhook = hook AND o.topic = about AND o.ends_at IS NOT NULL
		ORDER BY o.topic DESC, o.id DESC LIMIT 1;
		-- what is later was written before the clock was set back
		CONTINUE WHEN last.id IS NULL OR last.status <> 'firing' OR last.state = 'sending'
			OR last.ends_at BETWEEN ends - interval '30 minutes' AND ends;
		PERFORM deploydb.supersede_messages(hook, about, deploydb.queue_body(hook, 'alertmanager',
			jsonb_build_object('kind', 'alert', 'severity', last.severity, 'status', 'firing'), about, NULL,
			jsonb_build_array(last.body::jsonb->-1 || jsonb_build_object('endsAt', deploydb.iso_time(ends)))::text));
		renewed := renewed + 1;
	END LOOP;
	RETURN renewed;
END
$$;
COMMENT ON FUNCTION deploydb.renew_alerts() IS
	'Webhooks: tells Alertmanager again of what goes on, before it would end by itself; a part of the tick';
REVOKE ALL ON FUNCTION deploydb.renew_alerts() FROM PUBLIC;
