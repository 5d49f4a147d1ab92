-- Outbox: what became of an attempt to send.

-- Retry-After in seconds: a number, or a time by HTTP; at most an hour.
CREATE FUNCTION deploydb.retry_seconds(header text, at timestamptz)
RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part text[];
	month integer;
BEGIN
	IF header ~ '^[[:space:]]*[0-9]{1,9}[[:space:]]*$' THEN
		RETURN LEAST(header::double precision, 3600);
	END IF;
	part := regexp_match(header,
		'^[[:space:]]*[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT[[:space:]]*$');
	month := array_position('{Jan,Feb,Mar,Apr,May,Jun,Jul,Aug,Sep,Oct,Nov,Dec}'::text[], part[2]);
	IF month IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN LEAST(GREATEST(extract(epoch FROM make_timestamptz(part[3]::integer, month, part[1]::integer,
		part[4]::integer, part[5]::integer, part[6]::double precision, 'UTC') - at), 0), 3600);
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION deploydb.retry_seconds(text, timestamptz) IS
	'Webhooks: how long a Retry-After asks to wait, at most an hour; NULL where it cannot be understood';
REVOKE ALL ON FUNCTION deploydb.retry_seconds(text, timestamptz) FROM PUBLIC;

-- The code that robots' services put into the body: 0 is good, some say "later".
CREATE FUNCTION deploydb.answer_code(answer text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	document jsonb;
BEGIN
	document := answer::jsonb;
	RETURN COALESCE(document->>'errcode', document->>'code', document->>'StatusCode');
EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION deploydb.answer_code(text) IS
	'Webhooks: errcode, code or StatusCode of an answer; NULL where it has none';
REVOKE ALL ON FUNCTION deploydb.answer_code(text) FROM PUBLIC;

CREATE FUNCTION deploydb.percent_decoded(content text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	FOR code IN 32 .. 126 LOOP
		EXIT WHEN strpos(content, '%') = 0;
		CONTINUE WHEN code = ascii('%');
		content := replace(replace(content, '%' || to_hex(code), chr(code)), '%' || upper(to_hex(code)), chr(code));
	END LOOP;
	RETURN replace(content, '%25', '%');
END
$$;
COMMENT ON FUNCTION deploydb.percent_decoded(text) IS
	'Webhooks: a part of an address with the characters that its escapes stand for, where they are of ASCII';
REVOKE ALL ON FUNCTION deploydb.percent_decoded(text) FROM PUBLIC;

-- Some servers answer "cannot POST", and repeat where to, whole or in parts, as it
-- came or decoded, or the headers; escapes may be of other case than they were.  What
-- is too short for a secret stays.
CREATE FUNCTION deploydb.hide_address(content text, url text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- no query, which pgaudit would log with the address in it
	person CONSTANT text := COALESCE(substring(url FROM '^[^:]+://([^/?#]*)@'), '');
	path CONSTANT text := COALESCE(substring(url FROM '^[^:]+://[^/?#]*(.*)$'), '');
	part text;
	form text;
	forms text[] := '{}';	-- longer ones first: others may lie in them
	place integer;
BEGIN
	FOREACH part IN ARRAY ARRAY[path, split_part(path, '?', 1), person,
		replace(encode(convert_to(deploydb.percent_decoded(person) || CASE WHEN strpos(person, ':') = 0 THEN ':' ELSE '' END, 'UTF8'),
			'base64'), E'\n', '')]
		|| regexp_split_to_array(path || '/' || person, '[/?&:](?:[^/?&:=]+=(?=[^/?&:=]))?')
	LOOP
		FOREACH form IN ARRAY ARRAY[part, deploydb.percent_decoded(part), deploydb.percent_decoded(replace(part, '+', ' '))] LOOP
			CONTINUE WHEN length(form) < 6 OR form = ANY (forms);
			place := 1;
			WHILE length(forms[place]) >= length(form) LOOP
				place := place + 1;
			END LOOP;
			forms := forms[:place - 1] || form || forms[place:];
		END LOOP;
	END LOOP;
	FOREACH form IN ARRAY forms LOOP
		-- after ***= it is no pattern
		content := regexp_replace(content, '***=' || form, '***', 'gi');
	END LOOP;
	RETURN content;
END
$$;
COMMENT ON FUNCTION deploydb.hide_address(text, text) IS
	'Webhooks: a text without the parts of an address that may be secret';
REVOKE ALL ON FUNCTION deploydb.hide_address(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.shown_answer(answer text, url text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN regexp_replace(left(deploydb.hide_address(answer, url), 200), '[[:cntrl:]]+', ' ', 'g');
END
$$;
COMMENT ON FUNCTION deploydb.shown_answer(text, text) IS
	'Webhooks: the beginning of an answer on one line, without the parts of the address';
REVOKE ALL ON FUNCTION deploydb.shown_answer(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.classify_answer(format text, status integer, answer text, url text,
	OUT verdict text, OUT reason text)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	robot CONSTANT boolean := format IN ('dingtalk', 'feishu', 'wecom');
	code CONSTANT text := CASE WHEN robot THEN deploydb.answer_code(answer) END;
	-- sent too fast, or the service is busy, whatever the status is
	busy CONSTANT boolean := code IN ('-1', '90030', '130101', '130102', '410100', '45009', '45033', '2200', '11232',
		'230020') OR (code = '9499' AND answer ~* 'too many');
BEGIN
	IF status BETWEEN 200 AND 299 THEN
		verdict := 'delivered';
		IF format = 'slack' AND btrim(answer, E' \t\r\n') <> 'ok' THEN
			verdict := CASE WHEN answer ~ 'rate_limited|rollup_error' THEN 'retry' ELSE 'dead' END;
		ELSIF robot THEN
			-- without a code it is no answer of the service's
			verdict := CASE WHEN code = '0' THEN 'delivered' WHEN code IS NULL OR busy THEN 'retry' ELSE 'dead' END;
		END IF;
		reason := CASE WHEN verdict <> 'delivered'
			THEN format('status %s, but the answer is: %s', status, deploydb.shown_answer(answer, url)) END;
	ELSIF status IN (408, 425, 429) OR status >= 500 THEN
		verdict := 'retry';
		reason := format('status %s', status);
	ELSIF status > 0 THEN
		verdict := CASE WHEN busy THEN 'retry' ELSE 'dead' END;
		reason := format('status %s: %s', status, deploydb.shown_answer(answer, url));
	ELSE
		verdict := 'retry';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.classify_answer(text, integer, text, text) IS
	'Webhooks: delivered, retry or dead, and why, by the status and, where the service puts it there, the body';
REVOKE ALL ON FUNCTION deploydb.classify_answer(text, integer, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.tell_others(hook text, message text)
RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(deploydb.queue_message(w.name, w.format, deploydb.notice_message('notice', 'P1', message),
		'webhook/' || hook, NULL))
	FROM deploydb.webhooks_for(CASE WHEN EXISTS (SELECT FROM deploydb.webhooks_for('P1', hook)) THEN 'P1' ELSE 'P0' END, hook) w
$$;
COMMENT ON FUNCTION deploydb.tell_others(text, text) IS
	'Webhooks: tells all receivers of P1 but one, or those of P0 where there is none';
REVOKE ALL ON FUNCTION deploydb.tell_others(text, text) FROM PUBLIC;

-- Once, until something arrives, unless they know already that it keeps failing.
CREATE FUNCTION deploydb.tell_dead_letter(message deploydb.outbox, reason text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	told bigint;
BEGIN
	IF NOT deploydb.is_of_alert(message)
		OR EXISTS (SELECT FROM deploydb.webhook_state s WHERE s.webhook = message.webhook AND (s.dead_told OR s.opened_at IS NOT NULL))
	THEN
		RETURN false;
	END IF;
	told := deploydb.tell_others(message.webhook,
		format(deploydb.word('webhook %s has dead letters of alerts (%s)'), message.webhook, reason));
	UPDATE deploydb.webhook_state s SET dead_told = true
	WHERE told > 0 AND s.webhook = (SELECT l.webhook FROM deploydb.webhook_state l
		WHERE l.webhook = message.webhook FOR NO KEY UPDATE SKIP LOCKED);
	RETURN told > 0;
END
$$;
COMMENT ON FUNCTION deploydb.tell_dead_letter(deploydb.outbox, text) IS
	'Webhooks: tells the others of an alert''s message that is a dead letter, where they do not know yet; true if so';
REVOKE ALL ON FUNCTION deploydb.tell_dead_letter(deploydb.outbox, text) FROM PUBLIC;

-- How the webhook does.  After five failures in a row it is left alone, but for
-- a probe after half a minute, then after twice as long each time.  In a row are
-- attempts that were claimed knowing of the last failure: what was under way with
-- it tells nothing new, nor does a test.  Nothing is noted of a webhook that
-- somebody is just changing or has dropped.
CREATE FUNCTION deploydb.record_webhook(message deploydb.outbox, delivered boolean, wait double precision, at timestamptz,
	status integer, stage text, error text, ms double precision)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	limit_of_failures integer := 5;
	state deploydb.webhook_state;
	hook text := message.webhook;
	another boolean;
BEGIN
	SELECT s.* INTO state FROM deploydb.webhook_state s WHERE s.webhook = hook FOR NO KEY UPDATE SKIP LOCKED;
	IF state.webhook IS NULL THEN
		RETURN NULL;
	END IF;
	another := NOT delivered AND message.kind <> 'test' AND message.prior_failures IS NOT DISTINCT FROM state.failures;
	state.failures := CASE WHEN delivered THEN 0 WHEN another THEN state.failures + 1 ELSE state.failures END;
	UPDATE deploydb.webhook_state s
	SET failures = state.failures, last_attempt_at = at, last_status = status, last_stage = stage, last_error = error, last_ms = ms,
		last_success_at = CASE WHEN delivered THEN at ELSE s.last_success_at END, dead_told = s.dead_told AND NOT delivered,
		paused_until = CASE WHEN delivered THEN NULL WHEN wait IS NULL THEN s.paused_until
			ELSE GREATEST(s.paused_until, at + wait * interval '1 second') END,
		opened_at = CASE WHEN delivered THEN NULL WHEN state.failures >= limit_of_failures THEN COALESCE(s.opened_at, at)
			ELSE s.opened_at END,
		probe_at = CASE WHEN delivered THEN NULL WHEN another AND state.failures >= limit_of_failures
			THEN at + LEAST(3600, 30 * 2 ^ LEAST(state.failures - limit_of_failures, 10)) * interval '1 second'
			ELSE s.probe_at END
	WHERE s.webhook = hook;
	IF another AND state.opened_at IS NULL AND state.failures = limit_of_failures THEN
		PERFORM deploydb.tell_others(hook, format(deploydb.word('webhook %s keeps failing (%s); its messages wait'), hook, error));
	ELSIF state.opened_at IS NOT NULL AND delivered THEN
		PERFORM deploydb.tell_others(hook, format(deploydb.word('webhook %s works again'), hook));
	END IF;
	RETURN state.opened_at IS NULL;
END
$$;
COMMENT ON FUNCTION deploydb.record_webhook(deploydb.outbox, boolean, double precision, timestamptz, integer, text, text,
	double precision) IS
	'Webhooks: notes how an attempt to reach a webhook went, and tells the others when it keeps failing';
REVOKE ALL ON FUNCTION deploydb.record_webhook(deploydb.outbox, boolean, double precision, timestamptz, integer, text, text,
	double precision) FROM PUBLIC;

-- What a message becomes by an answer: of retry, dead or, where there is more to it, a
-- state; "pending" is tried again at once, as if this had been no attempt.
CREATE FUNCTION deploydb.settle_message(message deploydb.outbox, verdict text, reason text, wait double precision,
	at timestamptz, status integer, stage text, ms double precision)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	newer bigint;
	result text;
BEGIN
	-- a dead letter, too, where the last message counts: nobody is to replay it any more
	IF message.kind = 'alert' AND (verdict IN ('retry', 'pending') OR (verdict = 'dead' AND message.ends_at IS NOT NULL)) THEN
		SELECT max(o.id) INTO newer FROM deploydb.outbox o
		WHERE o.webhook = message.webhook AND o.topic = message.topic AND o.state = 'pending' AND o.id > message.id;
	END IF;
	result := CASE
		WHEN newer IS NOT NULL THEN 'superseded'
		WHEN verdict = 'retry' AND (message.kind = 'test'
			OR message.attempts >= deploydb.setting('webhook_max_attempts')::integer) THEN 'dead'
		WHEN verdict = 'retry' THEN 'pending'
		ELSE verdict END;
	IF result = 'dead' AND verdict = 'retry' AND message.kind <> 'test' THEN
		reason := format('%s, after %s attempts', reason, message.attempts);
	END IF;
	UPDATE deploydb.outbox o
	SET state = result, last_status = NULLIF(status, 0), last_stage = stage, last_error = reason, last_ms = ms,
		finished_at = CASE WHEN result <> 'pending' THEN at END,
		told_by = newer,
		-- with its jitter an hour at most
		next_attempt_at = CASE WHEN verdict = 'pending' THEN at ELSE at + LEAST(3600, GREATEST(COALESCE(wait, 0),
			LEAST(2880, 2 ^ LEAST(message.attempts - 1, 12)) * (1 + random() / 4))) * interval '1 second' END
	WHERE o.id = message.id;
	IF result = 'dead' THEN
		PERFORM deploydb.tell_dead_letter(message, reason);
	END IF;
	RETURN result;
END
$$;
COMMENT ON FUNCTION deploydb.settle_message(deploydb.outbox, text, text, double precision, timestamptz, integer, text,
	double precision) IS
	'Webhooks: notes what an answer makes of a message, and returns the state that it has now';
REVOKE ALL ON FUNCTION deploydb.settle_message(deploydb.outbox, text, text, double precision, timestamptz, integer, text,
	double precision) FROM PUBLIC;

-- An answer is of the message and all that went along.  If it is no, they are
-- sent again, each by itself, to find which one it is for.  Where address or key were
-- changed meanwhile, it tells nothing of the webhook as it is now, and may repeat an
-- address that is not known any more: it is not shown.
CREATE FUNCTION deploydb.record_attempt(id bigint, version bigint, status integer, retry_after text, answer text, stage text,
	error text, ms double precision)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
	message deploydb.outbox;
	format text;
	url text;	-- that was sent to
	verdict text;
	reason text;
	at timestamptz := clock_timestamp();
	pause double precision;
	along deploydb.outbox[];
	spared integer := 0;	-- attempts that do not count, as it may be another that is refused
	result text;
BEGIN
	-- the caller comes again, rather than wait
	SELECT o.* INTO message FROM deploydb.outbox o WHERE o.id = id FOR NO KEY UPDATE NOWAIT;
	IF message.state IS DISTINCT FROM 'sending' THEN
		RETURN message.state;
	END IF;
	along := ARRAY(
		SELECT o FROM deploydb.outbox o
		WHERE o.webhook = message.webhook AND o.state = 'sending' AND o.sent_with = id FOR NO KEY UPDATE NOWAIT);
	SELECT w.format, x.url INTO format, url
	FROM deploydb.webhook w LEFT JOIN deploydb.webhook_secret x ON x.webhook = w.name AND x.xmin::text::bigint = version
	WHERE w.name = message.webhook;
	SELECT c.* INTO verdict, reason
	FROM deploydb.classify_answer(format, status, answer, url) c;
	reason := COALESCE(reason, CASE WHEN verdict <> 'delivered'
		THEN pg_catalog.format('%s: %s', stage, COALESCE(deploydb.hide_address(error, url), 'no answer')) END);
	IF url IS NULL THEN
		IF verdict <> 'delivered' THEN
			verdict := 'pending';
			status := 0;
			reason := 'address or key were changed before the answer came';
		END IF;
	ELSIF verdict = 'dead' AND along <> '{}' THEN
		verdict := 'retry';
		spared := 1;
	END IF;
	IF verdict = 'retry' THEN
		pause := deploydb.retry_seconds(retry_after, at);
	END IF;
	IF url IS NOT NULL THEN
		PERFORM deploydb.record_webhook(message, verdict = 'delivered', pause, at, NULLIF(status, 0), stage, reason, ms);
	END IF;
	message.attempts := message.attempts - spared;
	result := deploydb.settle_message(message, verdict, reason, pause, at, status, stage, ms);
	FOREACH message IN ARRAY along LOOP
		message.attempts := message.attempts - spared;
		PERFORM deploydb.settle_message(message, verdict, reason, pause, at, status, stage, ms);
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION deploydb.record_attempt(bigint, bigint, integer, text, text, text, text, double precision) IS
	'Webhooks: notes what became of an attempt to send a message, and returns the state that it has now';
REVOKE ALL ON FUNCTION deploydb.record_attempt(bigint, bigint, integer, text, text, text, text, double precision) FROM PUBLIC;

-- What became of a heartbeat is noted where that changed, or is not known yet: not
-- each time, as a write takes a transaction id; nor of an address that was changed
-- meanwhile.  Nobody but who waits for it is told.
CREATE FUNCTION deploydb.record_heartbeat(hook text, version bigint, status integer, stage text, error text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	arrived CONSTANT boolean := status BETWEEN 200 AND 299;
	at CONSTANT timestamptz := clock_timestamp();
	url CONSTANT text := (SELECT x.url FROM deploydb.webhook_secret x WHERE x.webhook = hook AND x.xmin::text::bigint = version);
BEGIN
	IF url IS NULL OR EXISTS (SELECT FROM deploydb.webhook_state s
		WHERE s.webhook = hook AND s.last_attempt_at IS NOT NULL AND (s.failures = 0) = arrived AND (s.last_error IS NULL) = arrived)
	THEN
		RETURN false;
	END IF;
	UPDATE deploydb.webhook_state s
	SET failures = CASE WHEN arrived THEN 0 ELSE 1 END, last_attempt_at = at, last_status = NULLIF(status, 0), last_stage = stage,
		last_success_at = CASE WHEN arrived THEN at ELSE s.last_success_at END,
		last_error = CASE WHEN arrived THEN NULL WHEN status > 0 THEN format('status %s', status)
			ELSE format('%s: %s', stage, COALESCE(deploydb.hide_address(error, url), 'no answer')) END
	WHERE s.webhook = (SELECT l.webhook FROM deploydb.webhook_state l WHERE l.webhook = hook FOR NO KEY UPDATE SKIP LOCKED);
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.record_heartbeat(text, bigint, integer, text, text) IS
	'Webhooks: notes what became of a heartbeat, where that is not what is known of the one before; true if so';
REVOKE ALL ON FUNCTION deploydb.record_heartbeat(text, bigint, integer, text, text) FROM PUBLIC;

-- What waits is never removed.
CREATE FUNCTION deploydb.purge_messages(before timestamptz, max_rows integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
	purged bigint;
BEGIN
	DELETE FROM deploydb.outbox o
	WHERE o.id = ANY (ARRAY(
		SELECT f.id FROM deploydb.outbox f
		WHERE f.finished_at < before AND f.state NOT IN ('pending', 'sending')
		ORDER BY f.finished_at LIMIT max_rows FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END
$$;
COMMENT ON FUNCTION deploydb.purge_messages(timestamptz, integer) IS
	'Webhooks: removes messages that were finished before, at most so many, and returns their number';
REVOKE ALL ON FUNCTION deploydb.purge_messages(timestamptz, integer) FROM PUBLIC;
