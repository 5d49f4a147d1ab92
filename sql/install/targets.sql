--
-- Deployment: the targets of its first 24 hours
--

CREATE TABLE deploydb.deployment_target (
	deployment bigint NOT NULL,
	metric text NOT NULL,
	target text NOT NULL,
	actual text,
	samples bigint NOT NULL,
	since timestamptz,
	verdict text NOT NULL CHECK (verdict IN ('met', 'unmet', 'not_measured')),
	noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (deployment, metric)
);
COMMENT ON TABLE deploydb.deployment_target IS
	'Deployment: how each target was after 24 hours';
GRANT SELECT ON deploydb.deployment_target TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.deployment_target', '');

-- Targets about a metric's samples: all of the value that 95 of 100 keep below,
-- but the share of errors, which is their mean.
CREATE FUNCTION deploydb.measured_targets(since timestamptz, until timestamptz)
RETURNS TABLE (metric text, target text, actual text, samples bigint, verdict text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.key, t.target, CASE WHEN m.samples > 0 THEN round((m.value * t.scale)::numeric, 2) || t.unit END, m.samples,
		CASE WHEN m.samples = 0 THEN 'not_measured' WHEN m.value < t.bound THEN 'met' ELSE 'unmet' END
	FROM (VALUES ('api_p95', 'http.request.duration.p95', '< 200 ms', 0.2, 1000, ' ms'),
		('api_p99', 'http.request.duration.p99', '< 500 ms', 0.5, 1000, ' ms'),
		('error_rate', 'http.error_rate.5xx', '< 1 %', 0.01, 100, ' %'),
		('alert_evaluation', 'alert.evaluation_ms', '< 10 ms', 10, 1, ' ms')) AS t (key, metric, target, bound, scale, unit),
		LATERAL (SELECT count(s.value) AS samples, CASE WHEN t.key = 'error_rate' THEN avg(s.value)
				ELSE percentile_disc(0.95) WITHIN GROUP (ORDER BY s.value) END AS value
			FROM deploydb.metric_sample s
			WHERE s.metric = t.metric AND s.at >= measured_targets.since AND s.at <= until
				AND s.value NOT IN ('NaN', 'Infinity', '-Infinity')) AS m
$$;
COMMENT ON FUNCTION deploydb.measured_targets(timestamptz, timestamptz) IS
	'Deployment: targets about metrics, from their samples of a time; a part of targets()';
REVOKE ALL ON FUNCTION deploydb.measured_targets(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.measured_targets(timestamptz, timestamptz) TO pg_monitor, pg_database_owner;

-- Counting is in this server's memory, so not known where it is not preloaded,
-- nor on a standby.
CREATE FUNCTION deploydb.write_target(since timestamptz)
RETURNS TABLE (metric text, target text, actual text, samples bigint, verdict text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	seconds double precision := GREATEST(1, ceil(extract(epoch FROM clock_timestamp() - write_target.since)));
BEGIN
	metric := 'insight_write';
	target := '> 99 %';
	samples := 0;
	verdict := 'not_measured';
	IF deploydb.is_preloaded() AND NOT pg_is_in_recovery() THEN
		SELECT round(s.share * 100, 2) || ' %', COALESCE(s.attempts, 0),
			CASE WHEN s.share IS NULL THEN 'not_measured' WHEN s.share > 0.99 THEN 'met' ELSE 'unmet' END
		INTO actual, samples, verdict
		FROM (SELECT sum(w.attempts)::bigint AS attempts, sum(w.succeeded) / NULLIF(sum(w.attempts), 0) AS share
			FROM deploydb.write_stats(seconds || ' seconds') w WHERE w.relation ~ '(^|[.])decision_insights$') s;
	END IF;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.write_target(timestamptz) IS
	'Deployment: the target about writes into decision_insights; a part of targets()';
REVOKE ALL ON FUNCTION deploydb.write_target(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_target(timestamptz) TO pg_monitor, pg_database_owner;

-- Alerts that fire now, as a monitor that ticks knows.
CREATE FUNCTION deploydb.alert_target()
RETURNS TABLE (metric text, target text, actual text, samples bigint, verdict text)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT 'active_alerts', '0', CASE WHEN m.ticks THEN a.firing::text END, CASE WHEN m.ticks THEN m.n ELSE 0 END,
		CASE WHEN NOT m.ticks THEN 'not_measured' WHEN a.firing = 0 THEN 'met' ELSE 'unmet' END
	FROM (SELECT count(*) AS firing FROM deploydb.active_alert) a,
		(SELECT s.ticks AS n, deploydb.monitor_silent() IS NULL AS ticks FROM deploydb.monitor_state s) m;
END
$$;
COMMENT ON FUNCTION deploydb.alert_target() IS
	'Deployment: the target that nothing fires; a part of targets()';
REVOKE ALL ON FUNCTION deploydb.alert_target() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.alert_target() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.targets(deployment bigint DEFAULT NULL)
RETURNS TABLE (metric text, target text, actual text, samples bigint, since timestamptz, verdict text, due timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 6
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted bigint := deploydb.deployment_or_error(targets.deployment);
	start timestamptz;
BEGIN
	SELECT d.started_at INTO start FROM deploydb.deployment d WHERE d.id = wanted;
	RETURN QUERY
	SELECT t.metric, t.target, t.actual, t.samples, t.since, t.verdict, start + interval '24 hours'
	FROM deploydb.deployment_target t WHERE t.deployment = wanted
	ORDER BY array_position(ARRAY['api_p95', 'api_p99', 'error_rate', 'insight_write', 'alert_evaluation', 'active_alerts'], t.metric);
	IF FOUND THEN
		RETURN;
	END IF;
	RETURN QUERY
	SELECT t.metric, t.target, t.actual, t.samples, start, t.verdict, start + interval '24 hours'
	FROM (SELECT * FROM deploydb.measured_targets(start, start + interval '24 hours')
		UNION ALL SELECT * FROM deploydb.write_target(start)
		UNION ALL SELECT * FROM deploydb.alert_target()) t
	ORDER BY array_position(ARRAY['api_p95', 'api_p99', 'error_rate', 'insight_write', 'alert_evaluation', 'active_alerts'], t.metric);
END
$$;
COMMENT ON FUNCTION deploydb.targets(bigint) IS
	'Deployment: the six targets of its first 24 hours, as they are now, or as they were after that time';
REVOKE ALL ON FUNCTION deploydb.targets(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.targets(bigint) TO pg_monitor, pg_database_owner;

-- A part of the tick: after 24 hours, also where the deployment is finished, the
-- outcome is kept, logged and told.  What is older than a week has no samples
-- of its own time any more that would be worth it.  A monitor that has begun
-- and not ticked yet leaves it to its next tick, as only then it knows what fires.
CREATE FUNCTION deploydb.note_targets(at timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	due record;
	unmet text;
	told text;
	noted bigint := 0;
BEGIN
	FOR due IN
		SELECT d.id FROM deploydb.deployment d
		WHERE d.started_at <= note_targets.at - interval '24 hours' AND d.started_at > note_targets.at - interval '8 days'
			AND NOT EXISTS (SELECT FROM deploydb.monitor_state m WHERE m.started_at > COALESCE(m.last_tick_at, '-infinity'))
			AND NOT EXISTS (SELECT FROM deploydb.deployment_target t WHERE t.deployment = d.id)
		ORDER BY d.id
	LOOP
		INSERT INTO deploydb.deployment_target (deployment, metric, target, actual, samples, since, verdict)
		SELECT due.id, t.metric, t.target, t.actual, t.samples, t.since, t.verdict FROM deploydb.targets(due.id) t;
		SELECT string_agg(concat_ws(' ', t.metric, t.actual, t.verdict), ', ' ORDER BY i.place),
			string_agg(concat_ws(' ', CASE deploydb.setting('language') WHEN 'zh' THEN i.title_zh ELSE t.metric END, t.actual,
				deploydb.label(t.verdict)), ', ' ORDER BY i.place)
		INTO unmet, told
		FROM deploydb.deployment_target t JOIN deploydb.builtin_checklist_item i ON i.key = 'target.' || t.metric
		WHERE t.deployment = due.id AND t.verdict <> 'met';
		PERFORM deploydb.add_log_line(due.id, 'targets after 24 hours', CASE WHEN unmet IS NULL THEN 'ok'
			WHEN EXISTS (SELECT FROM deploydb.deployment_target t WHERE t.deployment = due.id AND t.verdict = 'unmet')
			THEN 'failed' ELSE 'warning' END, COALESCE(unmet, 'met'));
		PERFORM deploydb.tell_team(format(deploydb.word('Deployment %s after 24 hours: %s.'),
			deploydb.deployment_name(due.id), COALESCE(told, deploydb.word('all targets are met'))), 'P3');
		noted := noted + 1;
	END LOOP;
	RETURN noted;
END
$$;
COMMENT ON FUNCTION deploydb.note_targets(timestamptz) IS
	'Deployment: keeps, logs and tells how the targets were after 24 hours; a part of the tick';
REVOKE ALL ON FUNCTION deploydb.note_targets(timestamptz) FROM PUBLIC;
