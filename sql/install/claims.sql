-- Outbox: what is sent, and when.
--
-- Plans are pinned to indexes where the outbox is read: it grows from nothing to
-- thousands of rows faster than it is analyzed, and plans are kept meanwhile.

-- How many messages may be sent now, by deploydb.webhook_max_per_minute; all of
-- them, too, where the clock was set back.
CREATE FUNCTION deploydb.rate_tokens(tokens double precision, tokens_at timestamptz, at timestamptz)
RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT CASE
			WHEN l.per_minute = 0 THEN 'Infinity'
			WHEN tokens IS NULL OR tokens_at IS NULL OR tokens = 'Infinity' OR tokens_at > at THEN l.per_minute
			ELSE LEAST(l.per_minute, tokens + extract(epoch FROM at - tokens_at) * l.per_minute / 60) END
		FROM (SELECT deploydb.setting('webhook_max_per_minute')::double precision AS per_minute) AS l);
END
$$;
COMMENT ON FUNCTION deploydb.rate_tokens(double precision, timestamptz, timestamptz) IS
	'Webhooks: how many messages a webhook''s rate allows now';
REVOKE ALL ON FUNCTION deploydb.rate_tokens(double precision, timestamptz, timestamptz) FROM PUBLIC;

-- All that waits for a webhook but the first few becomes one message; not what
-- comes after another one of its topic, which would be sent later than the digest.
CREATE FUNCTION deploydb.fold_messages(hook text, format text, keep bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	folded bigint[];
	worst text;
	summary text;
	number bigint;
BEGIN
	folded := ARRAY(
		SELECT n.id FROM deploydb.next_message n
		WHERE n.webhook = hook AND n.attempts = 0 AND n.kind <> 'digest'
		ORDER BY n.severity, n.id OFFSET keep);
	IF cardinality(folded) < 2 THEN
		RETURN NULL;
	END IF;
	SELECT min(g.severity), format(deploydb.word('%s messages (firing: %s, resolved: %s): '), sum(g.messages),
			COALESCE(sum(g.messages) FILTER (WHERE g.status = 'firing'), 0),
			COALESCE(sum(g.messages) FILTER (WHERE g.status = 'resolved'), 0))
		|| string_agg(format('[%s] %s %s: %s', g.severity, g.about, deploydb.word(g.status), g.messages), '; '
			ORDER BY g.severity, g.messages DESC, g.about) FILTER (WHERE g.place <= 20)
		|| CASE WHEN count(*) > 20 THEN '; ...' ELSE '' END
	INTO worst, summary
	FROM (
		SELECT o.severity, o.status, split_part(o.topic, '/', 1) AS about, count(*) AS messages,
			row_number() OVER (ORDER BY o.severity, count(*) DESC) AS place
		FROM deploydb.outbox o WHERE o.id = ANY (folded)
		GROUP BY 1, 2, 3) AS g;
	number := deploydb.queue_message(hook, format, deploydb.notice_message('digest', worst, summary), 'digest', NULL);
	UPDATE deploydb.outbox o SET state = 'folded', told_by = number, finished_at = clock_timestamp()
	WHERE o.id = ANY (folded);
	RETURN number;
END
$$;
COMMENT ON FUNCTION deploydb.fold_messages(text, text, bigint) IS
	'Webhooks: makes one digest of what waits for a webhook beyond its rate, and returns its id';
REVOKE ALL ON FUNCTION deploydb.fold_messages(text, text, bigint) FROM PUBLIC;

-- The messages of a webhook that are sent now: tests whatever its state is,
-- others as its rate, its pauses and its circuit allow.  One of a topic at a
-- time, the oldest, so that receivers see them in order.  A probe of an open
-- circuit is a message that was tried least.  Nothing waits longer than an hour;
-- what seems to was written before the clock was set back.  A webhook that
-- somebody is just changing waits for the next time.
CREATE FUNCTION deploydb.choose_messages(hook text, format text, room integer, at timestamptz)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 16
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_sort = off
AS $$
#variable_conflict use_variable
DECLARE
	state deploydb.webhook_state;
	chosen bigint[];
	more bigint[];
	tokens double precision;
	probing boolean;
	late timestamptz := at + interval '1 hour';
BEGIN
	chosen := ARRAY(
		SELECT o.id FROM deploydb.outbox o
		WHERE o.webhook = hook AND o.state = 'pending' AND o.kind = 'test'
		ORDER BY o.id LIMIT room FOR UPDATE SKIP LOCKED);
	RETURN QUERY SELECT unnest(chosen);
	SELECT s.* INTO state FROM deploydb.webhook_state s WHERE s.webhook = hook FOR NO KEY UPDATE SKIP LOCKED;
	room := room - cardinality(chosen);
	probing := state.opened_at IS NOT NULL;
	IF probing THEN
		PERFORM FROM deploydb.outbox o WHERE o.webhook = hook AND o.state = 'sending';
		room := LEAST(room, CASE WHEN FOUND THEN 0 ELSE 1 END);
	END IF;
	tokens := deploydb.rate_tokens(state.tokens, state.tokens_at, at);
	IF state.webhook IS NULL OR room <= 0 OR tokens < 1 OR (state.paused_until > at AND state.paused_until <= late)
		OR (probing AND state.probe_at > at AND state.probe_at <= late)
	THEN
		RETURN;
	END IF;

	IF format <> 'alertmanager' AND tokens < 'Infinity' AND NOT probing AND tokens < (
		SELECT count(*) FROM (
			SELECT FROM deploydb.outbox o
			WHERE o.webhook = hook AND o.state = 'pending' AND o.kind <> 'test'
				AND (o.next_attempt_at <= at OR o.next_attempt_at > late)
			LIMIT floor(tokens)::bigint + 1) AS due)
	THEN
		PERFORM deploydb.fold_messages(hook, format, floor(tokens)::bigint - 1);
	END IF;
	more := ARRAY(
		SELECT n.id FROM deploydb.next_message n
		WHERE n.webhook = hook AND (n.next_attempt_at <= at OR n.next_attempt_at > late)
		ORDER BY CASE WHEN probing THEN n.attempts END, n.severity, n.id LIMIT floor(LEAST(room, tokens))::bigint FOR UPDATE SKIP LOCKED);
	IF more <> '{}' THEN
		UPDATE deploydb.webhook_state s SET tokens = tokens - cardinality(more), tokens_at = at
		WHERE s.webhook = hook;
	END IF;
	IF format = 'alertmanager' AND NOT probing THEN
		PERFORM deploydb.join_messages(hook, more, at);
	END IF;
	RETURN QUERY SELECT unnest(more);
END
$$;
COMMENT ON FUNCTION deploydb.choose_messages(text, text, integer, timestamptz) IS
	'Webhooks: the messages of a webhook that are sent now, at most so many';
REVOKE ALL ON FUNCTION deploydb.choose_messages(text, text, integer, timestamptz) FROM PUBLIC;

-- How many messages of one webhook are under way at most: what is left for all,
-- in equal parts, so that those that hang leave room.
CREATE FUNCTION deploydb.webhook_share()
RETURNS integer
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT LEAST(16, GREATEST(1, 64 / GREATEST(count(*), 1)))::integer FROM deploydb.webhook w WHERE w.enabled);
END
$$;
COMMENT ON FUNCTION deploydb.webhook_share() IS
	'Webhooks: how many messages of one webhook are under way at most';
REVOKE ALL ON FUNCTION deploydb.webhook_share() FROM PUBLIC;

-- Address, headers and body as they are sent, with what goes along; signed for this
-- attempt.  The version is that of the address and the key: xmin, which tells nothing
-- of them.
CREATE FUNCTION deploydb.sendable_message(number bigint, at timestamptz)
RETURNS TABLE (id bigint, webhook text, attempt integer, version bigint, method text, url text, headers text[], body text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT o.id, o.webhook, o.attempts, x.xmin::text::bigint, 'POST',
		CASE WHEN w.format = 'dingtalk' AND k.secret IS NOT NULL
			THEN deploydb.dingtalk_url(x.url, k.secret, (t.seconds * 1000)) ELSE x.url END,
		ARRAY['Content-Type: application/json; charset=utf-8', 'webhook-id: ' || o.message_id,
			'webhook-timestamp: ' || t.seconds, 'deploydb-attempt: ' || o.attempts]
		|| CASE WHEN w.format NOT IN ('dingtalk', 'feishu') AND k.secret IS NOT NULL
			THEN ARRAY['webhook-signature: ' || deploydb.standard_signature(k.secret, o.message_id, t.seconds, b.body)
				|| COALESCE(' ' || deploydb.standard_signature(k.previous_secret, o.message_id, t.seconds, b.body), '')]
			ELSE '{}' END,
		CASE WHEN w.format = 'feishu' AND k.secret IS NOT NULL
			THEN deploydb.feishu_body(b.body, k.secret, t.seconds) ELSE b.body END
	FROM deploydb.outbox o
		JOIN deploydb.webhook w ON w.name = o.webhook
		JOIN deploydb.webhook_secret x ON x.webhook = o.webhook
		CROSS JOIN LATERAL (SELECT CASE WHEN x.previous_until > at THEN x.previous_secret END) AS p (secret)
		-- without another one, the previous key is all that there is
		CROSS JOIN LATERAL (
			SELECT COALESCE(x.secret, p.secret), CASE WHEN x.secret IS NOT NULL THEN p.secret END) AS k (secret, previous_secret)
		CROSS JOIN (SELECT floor(extract(epoch FROM at))::bigint AS seconds) AS t
		CROSS JOIN LATERAL (
			SELECT CASE WHEN w.format = 'alertmanager' THEN (
				SELECT '[' || string_agg(btrim(p.body, '[]'), ', ' ORDER BY p.id) || ']' FROM deploydb.outbox p
				WHERE p.id = o.id OR (p.webhook = o.webhook AND p.state = 'sending' AND p.sent_with = o.id))
				ELSE o.body END) AS b (body)
	WHERE o.id = number;
END
$$;
COMMENT ON FUNCTION deploydb.sendable_message(bigint, timestamptz) IS
	'Webhooks: a message as it is sent, address and signature with it';
REVOKE ALL ON FUNCTION deploydb.sendable_message(bigint, timestamptz) FROM PUBLIC;

-- The attempt is counted when the caller's transaction commits, and sent after
-- that: a message that kills its sender is not sent for ever.
CREATE FUNCTION deploydb.claim_messages(max_messages integer)
RETURNS TABLE (id bigint, webhook text, attempt integer, version bigint, method text, url text, headers text[], body text)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE ROWS 16
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
	hook record;
	share integer := deploydb.webhook_share();
	chosen bigint[] := '{}';
	number bigint;
BEGIN
	IF deploydb.suspended() IS NOT NULL THEN
		RETURN;
	END IF;
	FOR hook IN
		SELECT w.name, w.format, share - (SELECT count(*) FROM deploydb.outbox s
			WHERE s.webhook = w.name AND s.state = 'sending' AND s.sent_with IS NULL)::integer AS room
		FROM deploydb.webhook w
			JOIN deploydb.webhook_secret x ON x.webhook = w.name
		WHERE w.enabled
		ORDER BY random()
	LOOP
		hook.room := LEAST(hook.room, max_messages - cardinality(chosen));
		IF hook.room > 0 THEN
			-- a restored one has no state yet, nor has one that is just dropped
			INSERT INTO deploydb.webhook_state (webhook)
			SELECT w.name FROM deploydb.webhook w
			WHERE w.name = hook.name AND NOT EXISTS (SELECT FROM deploydb.webhook_state s WHERE s.webhook = hook.name)
			FOR KEY SHARE SKIP LOCKED
			ON CONFLICT ON CONSTRAINT webhook_state_pkey DO NOTHING;
			chosen := chosen || ARRAY(
				SELECT c FROM deploydb.choose_messages(hook.name, hook.format, hook.room, clock_timestamp()) c);
		END IF;
	END LOOP;
	UPDATE deploydb.outbox o
	SET state = 'sending', attempts = o.attempts + 1, sent_with = NULL,
		claimed_by = (SELECT m.restarts FROM deploydb.monitor_state m),
		prior_failures = (SELECT s.failures FROM deploydb.webhook_state s WHERE s.webhook = o.webhook)
	WHERE o.id = ANY (chosen);
	-- one that cannot be signed holds up no other
	FOREACH number IN ARRAY chosen LOOP
		BEGIN
			SELECT s.* INTO id, webhook, attempt, version, method, url, headers, body
			FROM deploydb.sendable_message(number, clock_timestamp()) s;
			IF array_position(headers, NULL) IS NOT NULL THEN
				RAISE EXCEPTION 'its secret does not fit its format';
			END IF;
			RETURN NEXT;
		EXCEPTION WHEN OTHERS THEN
			PERFORM deploydb.tell_dead_letter(o, format('not sent: %s', SQLERRM)) FROM deploydb.outbox o
			WHERE o.id = number OR (o.state = 'sending' AND o.sent_with = number);
			UPDATE deploydb.outbox o
			SET state = 'dead', finished_at = clock_timestamp(), last_error = format('not sent: %s', SQLERRM)
			WHERE o.id = number OR (o.state = 'sending' AND o.sent_with = number);
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION deploydb.claim_messages(integer) IS
	'Webhooks: takes messages that are due, at most so many, to be sent once this transaction has committed';
REVOKE ALL ON FUNCTION deploydb.claim_messages(integer) FROM PUBLIC;

CREATE FUNCTION deploydb.next_claim_at()
RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_sort = off
AS $$
DECLARE
	hook record;
	due_at timestamptz;
	earliest timestamptz;
	at CONSTANT timestamptz := statement_timestamp();
BEGIN
	IF deploydb.suspended() IS NOT NULL THEN
		RETURN NULL;
	END IF;
	FOR hook IN
		SELECT w.name, s.paused_until, CASE WHEN s.opened_at IS NOT NULL THEN s.probe_at END AS probe_at,
			deploydb.rate_tokens(s.tokens, s.tokens_at, at) AS tokens
		FROM deploydb.webhook w
			JOIN deploydb.webhook_secret x ON x.webhook = w.name
			LEFT JOIN deploydb.webhook_state s ON s.webhook = w.name
		WHERE w.enabled
			AND (SELECT count(*) FROM deploydb.outbox b WHERE b.webhook = w.name AND b.state = 'sending' AND b.sent_with IS NULL)
				< CASE WHEN s.opened_at IS NULL THEN deploydb.webhook_share() ELSE 1 END
	LOOP
		SELECT GREATEST(n.next_attempt_at, hook.paused_until, hook.probe_at, CASE WHEN hook.tokens < 1 THEN at
			+ (1 - hook.tokens) * interval '60 seconds' / deploydb.setting('webhook_max_per_minute')::double precision END)
		INTO due_at
		FROM deploydb.next_message n
		WHERE n.webhook = hook.name
		ORDER BY n.next_attempt_at LIMIT 1;
		IF due_at > at + interval '1 hour' THEN
			due_at := at;
		END IF;
		earliest := LEAST(earliest, due_at, (
			SELECT min(t.created_at) FROM deploydb.outbox t
			WHERE t.webhook = hook.name AND t.state = 'pending' AND t.kind = 'test'));
	END LOOP;
	RETURN earliest;
END
$$;
COMMENT ON FUNCTION deploydb.next_claim_at() IS
	'Webhooks: when claim_messages() will find something at the earliest; NULL where nothing waits';
REVOKE ALL ON FUNCTION deploydb.next_claim_at() FROM PUBLIC;

-- What somebody is just changing waits for the next time.
CREATE FUNCTION deploydb.release_claims()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
	released bigint;
BEGIN
	UPDATE deploydb.outbox o
	SET state = CASE WHEN l.spent THEN 'dead' ELSE 'pending' END,
		finished_at = CASE WHEN l.spent THEN clock_timestamp() END,
		next_attempt_at = clock_timestamp(), last_error = 'the monitor ended before the answer came'
	FROM (
		SELECT s.id, s.attempts >= deploydb.setting('webhook_max_attempts')::integer
		FROM deploydb.outbox s
		WHERE s.state = 'sending' AND s.claimed_by IS DISTINCT FROM (SELECT m.restarts FROM deploydb.monitor_state m)
		FOR UPDATE SKIP LOCKED) AS l (id, spent)
	WHERE o.id = l.id;
	GET DIAGNOSTICS released = ROW_COUNT;
	RETURN released;
END
$$;
COMMENT ON FUNCTION deploydb.release_claims() IS
	'Webhooks: what a monitor left behind that ended while sending is sent again, unless it was tried too often; the number of messages';
REVOKE ALL ON FUNCTION deploydb.release_claims() FROM PUBLIC;

CREATE FUNCTION deploydb.heartbeats()
RETURNS TABLE (webhook text, version bigint, url text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT w.name, x.xmin::text::bigint, x.url FROM deploydb.webhook w JOIN deploydb.webhook_secret x ON x.webhook = w.name
	WHERE w.enabled AND w.format = 'heartbeat' AND deploydb.suspended() IS NULL
		AND NOT EXISTS (SELECT FROM deploydb.monitor_state m WHERE m.last_error_at >= m.last_tick_at)
	ORDER BY w.name
$$;
COMMENT ON FUNCTION deploydb.heartbeats() IS
	'Webhooks: addresses that get a request after each tick that went well';
REVOKE ALL ON FUNCTION deploydb.heartbeats() FROM PUBLIC;
