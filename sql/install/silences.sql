
--
-- Alerts: silences and acknowledgements
--

CREATE TABLE deploydb.silence (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	rule text COLLATE "C",
	starts_at timestamptz NOT NULL,
	until timestamptz NOT NULL CHECK (isfinite(until)),
	reason text NOT NULL,
	created_by text NOT NULL,
	ended_by text
);
CREATE INDEX silence_until_idx ON deploydb.silence (until);
COMMENT ON TABLE deploydb.silence IS
	'Alerts: rules (NULL for all) whose events are recorded, and told to nobody, until a time; ended_by who ended it early';
GRANT SELECT ON deploydb.silence TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.silence_id_seq TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.silence_end(period text)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET intervalstyle = postgres
AS $$
DECLARE
	now timestamptz := clock_timestamp();
	until timestamptz;
BEGIN
	BEGIN
		until := now + period::interval;
	EXCEPTION WHEN data_exception THEN
		until := NULL;
	END;
	IF until IS NULL OR until <= now OR until > now + interval '31 days' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN period IS NULL THEN 'period must not be NULL'
				ELSE format('invalid period: "%s"', period) END,
			DETAIL = 'A silence ends: it is longer than nothing, and at most 31 days.',
			HINT = 'Write it as an interval, such as ''2 hours''.';
	END IF;
	RETURN until;
END
$$;
COMMENT ON FUNCTION deploydb.silence_end(text) IS
	'Alerts: when a silence of a period that begins now ends';
REVOKE ALL ON FUNCTION deploydb.silence_end(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.silence_end(text) TO pg_monitor, pg_database_owner;

-- Raises where there is no such rule, or nothing is said.
CREATE FUNCTION deploydb.check_silencing(rule text, words text)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF words IS NULL OR words !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN words IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = 'a reason is needed',
			HINT = 'Say in a few words what others will want to know.';
	END IF;
	IF rule IS NOT NULL AND NOT EXISTS (SELECT FROM deploydb.alert_rule r WHERE r.id = rule) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('rule "%s" does not exist', rule),
			HINT = 'View deploydb.alert_rule has the rules.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_silencing(text, text) IS
	'Alerts: raises an error unless there is such a rule, and a reason';
REVOKE ALL ON FUNCTION deploydb.check_silencing(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.check_silencing(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.silence(rule text, period text, reason text)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	ends timestamptz := deploydb.silence_end(period);
BEGIN
	PERFORM deploydb.check_silencing(rule, reason);
	INSERT INTO deploydb.silence (rule, starts_at, until, reason, created_by)
	VALUES (rule, clock_timestamp(), ends, reason, session_user);
	RETURN ends;
END
$$;
COMMENT ON FUNCTION deploydb.silence(text, text, text) IS
	'Alerts: for a period of at most 31 days a rule''s events, or with NULL those of all rules, are recorded and told to nobody; returns its end';
REVOKE ALL ON FUNCTION deploydb.silence(text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.unsilence(rule text)
RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	ended integer;
BEGIN
	UPDATE deploydb.silence s SET until = clock_timestamp(), ended_by = session_user
	WHERE s.rule IS NOT DISTINCT FROM rule AND s.until > clock_timestamp();
	GET DIAGNOSTICS ended = ROW_COUNT;
	RETURN ended;
END
$$;
COMMENT ON FUNCTION deploydb.unsilence(text) IS
	'Alerts: ends the silences of a rule, or with NULL those of all rules at once, now; returns how many there were';
REVOKE ALL ON FUNCTION deploydb.unsilence(text) FROM PUBLIC;

CREATE FUNCTION deploydb.acknowledge(rule text, note text)
RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	acknowledged integer;
BEGIN
	IF rule IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'rule must not be NULL';
	END IF;
	PERFORM deploydb.check_silencing(rule, note);
	-- or an evaluation that is under way would undo it
	PERFORM deploydb.take_evaluation_turn();
	UPDATE deploydb.alert_state s
	SET acknowledged = true, acknowledged_at = clock_timestamp(), acknowledged_by = session_user, acknowledgement = note
	WHERE s.rule = rule AND s.started_at IS NOT NULL;
	GET DIAGNOSTICS acknowledged = ROW_COUNT;
	IF acknowledged = 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('rule "%s" does not fire', rule),
			HINT = 'View deploydb.active_alert has those that do.';
	END IF;
	RETURN acknowledged;
END
$$;
COMMENT ON FUNCTION deploydb.acknowledge(text, text) IS
	'Alerts: somebody knows of what fires, so that it is not repeated; it is not resolved by that, and what changes is told; returns the number of series';
REVOKE ALL ON FUNCTION deploydb.acknowledge(text, text) FROM PUBLIC;
