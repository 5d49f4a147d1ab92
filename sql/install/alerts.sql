-- Alerts: what became of the rules.

CREATE TABLE deploydb.alert_event (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	rule text NOT NULL,
	series text NOT NULL DEFAULT '',
	metric text NOT NULL,
	severity text NOT NULL CHECK (severity IN ('P0', 'P1', 'P2', 'P3')),
	status text NOT NULL CHECK (status IN ('firing', 'resolved')),
	reason text NOT NULL CHECK (reason IN ('new', 'changed', 'repeat', 'held', 'no_data', 'resolved')),
	value double precision,
	threshold double precision,
	trend_slope double precision,
	message text NOT NULL,
	labels jsonb NOT NULL DEFAULT '{}',
	runbook text,
	started_at timestamptz NOT NULL,
	occurred_at timestamptz NOT NULL,
	silenced boolean NOT NULL DEFAULT false
);

COMMENT ON TABLE deploydb.alert_event IS
'Alerts: each change of a rule''s state that is worth a message; started_at is when it began to fire, silenced that nobody is told';

REVOKE ALL ON deploydb.alert_event FROM PUBLIC;
GRANT SELECT ON deploydb.alert_event TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.alert_event_id_seq TO pg_monitor, pg_database_owner;

-- What the evaluation knows of each rule and series; times are NULL where they
-- do not apply.  Not dumped: a copy begins anew.
CREATE TABLE deploydb.alert_state (
	rule text COLLATE "C" NOT NULL,
	series text COLLATE "C" NOT NULL,
	metric text COLLATE "C" NOT NULL,
	status text NOT NULL CHECK (status IN ('warming', 'ok', 'pending', 'firing', 'no_data')),
	since timestamptz,
	violations integer NOT NULL,
	recoveries integer NOT NULL,
	counted_at timestamptz,
	violating_since timestamptz,
	missing_since timestamptz,
	started_at timestamptz,
	recorded boolean NOT NULL,
	told boolean NOT NULL,
	silenced boolean NOT NULL,
	without_data boolean NOT NULL,
	told_at timestamptz,
	acknowledged boolean NOT NULL,
	severity text CHECK ((severity IS NULL) = (started_at IS NULL) AND severity IN ('P0', 'P1', 'P2', 'P3')),
	fingerprint text NOT NULL,
	value double precision,
	slope double precision,
	window_points text NOT NULL,
	message text,
	acknowledged_at timestamptz,
	acknowledged_by text,
	acknowledgement text,
	PRIMARY KEY (rule, series)
) WITH (fillfactor = 50);
COMMENT ON TABLE deploydb.alert_state IS
	'Alerts: what is known of each rule and series since its last change; violations and recoveries are samples in a row, told_at is the time of the last firing message, recorded and told say whether an event of this alert was, silenced whether the last one was not told, without_data whether it was of a lack of data';
GRANT SELECT ON deploydb.alert_state TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.alert_status AS
	SELECT r.id AS rule, COALESCE(s.series, '') AS series, COALESCE(s.status, 'warming') AS status, s.since
	FROM deploydb.alert_rule r
		LEFT JOIN deploydb.alert_state s ON s.rule = r.id AND s.metric = r.metric
	WHERE r.enabled AND r.fault IS NULL;
COMMENT ON VIEW deploydb.alert_status IS
	'Alerts: the status of each enabled rule and series: warming, ok, pending, firing or no_data';
GRANT SELECT ON deploydb.alert_status TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.common_labels()
RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object('cluster_name', current_setting('cluster_name'), 'database', current_database(),
		'environment', deploydb.setting('environment'));
END;
COMMENT ON FUNCTION deploydb.common_labels() IS
	'Alerts: the labels that every message carries';
REVOKE ALL ON FUNCTION deploydb.common_labels() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.common_labels() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.take_evaluation_turn()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_take_evaluation_turn'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.take_evaluation_turn() IS
	'Alerts: waits for its turn, as the rules are evaluated by one transaction at a time';
REVOKE ALL ON FUNCTION deploydb.take_evaluation_turn() FROM PUBLIC;

CREATE FUNCTION deploydb.evaluate_rules(at timestamptz)
RETURNS bigint
AS 'MODULE_PATHNAME', 'deploydb_evaluate_rules'
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION deploydb.evaluate_rules(timestamptz) IS
	'Alerts: evaluates every rule as of a time, and returns the number of events; a part of the tick';
REVOKE ALL ON FUNCTION deploydb.evaluate_rules(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.evaluate_alerts()
RETURNS bigint
AS 'MODULE_PATHNAME', 'deploydb_evaluate_alerts'
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION deploydb.evaluate_alerts() IS
	'Alerts: evaluates every rule now, with the values that were measured last, and returns the number of events';
REVOKE ALL ON FUNCTION deploydb.evaluate_alerts() FROM PUBLIC;

CREATE FUNCTION deploydb.test_rule(rule text, samples jsonb)
RETURNS TABLE (at timestamptz, value double precision, status text, reason text, message text)
AS 'MODULE_PATHNAME', 'deploydb_test_rule'
LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION deploydb.test_rule(text, jsonb) IS
	'Alerts: what a rule would make of samples, each evaluated at its own time, with no effect';
REVOKE ALL ON FUNCTION deploydb.test_rule(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.test_rule(text, jsonb) TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.active_alert AS
	SELECT s.rule, s.series, s.severity, s.metric,
		CASE WHEN s.status <> 'no_data' THEN COALESCE(l.value, s.value) END AS value, r.threshold,
		s.slope AS trend_slope, s.started_at AS since, s.message, s.status, s.told AND NOT s.silenced AS told,
		s.acknowledged, CASE WHEN s.acknowledged THEN s.acknowledged_at END AS acknowledged_at,
		CASE WHEN s.acknowledged THEN s.acknowledged_by END AS acknowledged_by,
		CASE WHEN s.acknowledged THEN s.acknowledgement END AS acknowledgement,
		COALESCE(r.labels, '{}') || CASE WHEN s.series = '' THEN '{}' ELSE jsonb_build_object('series', s.series) END
			|| deploydb.common_labels() AS labels,
		deploydb.runbook_link(r.runbook) AS runbook
	FROM deploydb.alert_state s
		LEFT JOIN deploydb.alert_rule r ON r.id = s.rule
		LEFT JOIN deploydb.metric_latest l ON l.metric = s.metric AND l.series = s.series
	WHERE s.started_at IS NOT NULL;
COMMENT ON VIEW deploydb.active_alert IS
	'Alerts: what fires now; told is false where a silence, a parent or the cooldown keeps the message back, and status is no_data where the lack of data is the alert';
GRANT SELECT ON deploydb.active_alert TO pg_monitor, pg_database_owner;

-- The id that an event has in the application's form of an alert.
CREATE FUNCTION deploydb.alert_id(rule text, series text, at timestamptz, status text)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('%s:%s:%s', concat_ws('/', rule, NULLIF(series, '')), floor(extract(epoch FROM at) * 1000), status);
END;
COMMENT ON FUNCTION deploydb.alert_id(text, text, timestamptz, text) IS
	'Alerts: what an event is called in messages and in JSON: rule/series:milliseconds:status';
REVOKE ALL ON FUNCTION deploydb.alert_id(text, text, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.alert_id(text, text, timestamptz, text) TO pg_monitor, pg_database_owner;

-- The application's form of an alert
CREATE FUNCTION deploydb.alert_document(rule text, series text, metric text, severity text, status text, message text,
	value double precision, threshold double precision, trend_slope double precision, labels jsonb, at timestamptz)
RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object(
			'id', deploydb.alert_id(rule, series, at, status), 'ruleId', rule, 'series', series, 'metric', metric, 'severity', severity, 'status', status, 'message', message,
			'value', value, 'labels', labels,
			'occurredAt', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
		|| CASE WHEN threshold IS NULL THEN '{}' ELSE jsonb_build_object('threshold', threshold) END
		|| CASE WHEN trend_slope IS NULL THEN '{}' ELSE jsonb_build_object('trendSlope', trend_slope) END;
END;
COMMENT ON FUNCTION deploydb.alert_document(text, text, text, text, text, text, double precision, double precision,
	double precision, jsonb, timestamptz) IS
	'Alerts: an alert with the field names that the application gives it';
REVOKE ALL ON FUNCTION deploydb.alert_document(text, text, text, text, text, text, double precision, double precision,
	double precision, jsonb, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.alert_document(text, text, text, text, text, text, double precision, double precision,
	double precision, jsonb, timestamptz) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.active_alerts()
RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
BEGIN ATOMIC
	SELECT COALESCE(jsonb_agg(
		deploydb.alert_document(a.rule, a.series, a.metric, a.severity, 'firing', a.message, a.value, a.threshold,
			a.trend_slope, a.labels, a.since)
		|| jsonb_build_object('acknowledged', a.acknowledged, 'runbook', a.runbook)
		ORDER BY a.severity, a.since, a.rule, a.series), '[]')
	FROM deploydb.active_alert a;
END;
COMMENT ON FUNCTION deploydb.active_alerts() IS
	'Alerts: what fires now, as a JSON array, the worst first; [] when all is well';
REVOKE ALL ON FUNCTION deploydb.active_alerts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.active_alerts() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.alert_history(max_rows integer DEFAULT 100)
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
AS $$
BEGIN
	IF max_rows IS NULL OR max_rows < 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'max_rows must be 0 or more';
	END IF;
	RETURN (
		SELECT COALESCE(jsonb_agg(
			deploydb.alert_document(e.rule, e.series, e.metric, e.severity, e.status, e.message, e.value, e.threshold,
				e.trend_slope, e.labels, e.occurred_at)
			|| jsonb_build_object('reason', e.reason, 'silenced', e.silenced, 'runbook', e.runbook)
			ORDER BY e.id DESC), '[]')
		FROM (SELECT n.* FROM deploydb.alert_event n ORDER BY n.id DESC LIMIT max_rows) e);
END
$$;
COMMENT ON FUNCTION deploydb.alert_history(integer) IS
	'Alerts: the last events, as a JSON array, newest first';
REVOKE ALL ON FUNCTION deploydb.alert_history(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.alert_history(integer) TO pg_monitor, pg_database_owner;

-- The worst of what fires, or what could not.
CREATE FUNCTION deploydb.status_of_alerts()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT CASE WHEN a.severity = 'P0' AND NOT a.acknowledged THEN 'error' ELSE 'warning' END,
		format(deploydb.word(CASE WHEN count(*) OVER () = 1 THEN '%s %s fires' ELSE '%s %s fires, and %s more' END),
			a.severity, a.rule, count(*) OVER () - 1), 'SELECT * FROM deploydb.active_alert;'
	INTO verdict, detail, next_step
	FROM deploydb.active_alert a
	ORDER BY a.severity = 'P0' AND NOT a.acknowledged DESC, a.severity, a.since, a.rule
	LIMIT 1;
	IF NOT FOUND THEN
		SELECT 'warning', format(deploydb.word('rule %s cannot be evaluated'), i.rule), 'SELECT * FROM deploydb.idle_rule;'
		INTO verdict, detail, next_step
		FROM deploydb.idle_rule i
		ORDER BY i.rule
		LIMIT 1;
	END IF;
	IF verdict IS NOT NULL THEN
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.status_of_alerts() IS
	'Alerts: the worst that fires, or a rule that cannot be evaluated; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_alerts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_alerts() TO pg_monitor, pg_database_owner;

-- The oldest events have the lowest ids: no index on the time, for which each
-- event would pay.  Those of a clock that was ahead are stepped over.
CREATE FUNCTION deploydb.purge_events(before timestamptz, max_rows integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	purged bigint;
	more bigint;
BEGIN
	DELETE FROM deploydb.alert_event e
	WHERE e.id IN (SELECT o.id
				   FROM (SELECT f.id, f.occurred_at FROM deploydb.alert_event f
						 WHERE f.occurred_at <= (SELECT n.occurred_at FROM deploydb.alert_event n ORDER BY n.id DESC LIMIT 1)
						 ORDER BY f.id LIMIT max_rows) o
				   WHERE o.occurred_at < before);
	GET DIAGNOSTICS purged = ROW_COUNT;
	-- series that are gone
	DELETE FROM deploydb.alert_state s
	WHERE (s.rule, s.series) IN (
		SELECT o.rule, o.series FROM deploydb.alert_state o
		WHERE o.status = 'no_data' AND o.since < before AND o.started_at IS NULL
			AND NOT EXISTS (SELECT FROM deploydb.metric_latest l WHERE l.metric = o.metric AND l.series = o.series)
		LIMIT max_rows - purged);
	GET DIAGNOSTICS more = ROW_COUNT;
	RETURN purged + more;
END
$$;
COMMENT ON FUNCTION deploydb.purge_events(timestamptz, integer) IS
	'Alerts: forgets events from before a time, the oldest first, and series that are gone since, up to a number of rows; returns how many';
REVOKE ALL ON FUNCTION deploydb.purge_events(timestamptz, integer) FROM PUBLIC;
