--
-- Metrics: what others read
--

-- A value that is too old is none.
CREATE VIEW deploydb.metric_value AS
	SELECT l.metric, l.series, l.value, l.at, m.unit, m.type, m.help
	FROM deploydb.metric_latest l
		JOIN deploydb.metric m ON m.name = l.metric
	WHERE l.value IS NOT NULL AND m.enabled
		AND l.at > now() - GREATEST(make_interval(secs => m.stale_after_seconds),
			3 * COALESCE(deploydb.setting('metrics_collection_interval')::interval, '30 s'));
COMMENT ON VIEW deploydb.metric_value IS
	'Monitoring: the newest value of each metric and series, where it is not too old';
GRANT SELECT ON deploydb.metric_value TO pg_monitor, pg_database_owner;

-- As Prometheus wants it: base units, and in a help or a label no line's end.
CREATE FUNCTION deploydb.exported_metric()
RETURNS TABLE (name text, type text, help text, labels text, value double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
	WITH exported AS (
		SELECT deploydb.exported_name(v.metric) AS name, v.type, v.help,
			ARRAY['series', NULLIF(v.series, '')] AS labels,
			CASE WHEN v.metric ~ '[._](ms|milliseconds)$' THEN v.value / 1000 ELSE v.value END AS value
		FROM deploydb.metric_value v
		UNION ALL
		SELECT 'alert_state', 'gauge', '1 while the rule fires, and 0 while it does not',
			ARRAY['rule', s.rule, 'series', NULLIF(s.series, ''), 'severity', COALESCE(a.severity, r.severity)],
			CASE WHEN a.rule IS NOT NULL THEN 1 ELSE 0 END
		FROM deploydb.alert_status s
			JOIN deploydb.alert_rule r ON r.id = s.rule
			LEFT JOIN deploydb.active_alert a ON a.rule = s.rule AND a.series = s.series
		UNION ALL
		SELECT 'worker_last_tick_timestamp_seconds', 'gauge', 'When the monitor ticked last', '{}', extract(epoch FROM m.last_tick_at)
		FROM deploydb.monitor_state m
		WHERE m.last_tick_at IS NOT NULL
	)
	SELECT 'deploydb_' || e.name, e.type, replace(replace(COALESCE(NULLIF(e.help, ''), e.name), E'\\', E'\\\\'), E'\n', E'\\n'),
		(SELECT string_agg(format('%s="%s"', l.labels[i],
				replace(replace(replace(l.labels[i + 1], E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n')), ',' ORDER BY i)
			FROM (SELECT ARRAY['database', current_database()::text] || e.labels AS labels) l,
				generate_series(1, cardinality(l.labels), 2) i
			WHERE l.labels[i + 1] IS NOT NULL),
		e.value
	FROM exported e
$$;
COMMENT ON FUNCTION deploydb.exported_metric() IS
	'Monitoring: lines of prometheus_metrics(), escaped';
REVOKE ALL ON FUNCTION deploydb.exported_metric() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.exported_metric() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.prometheus_metrics()
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
AS $$
	SELECT COALESCE(string_agg(f.family, '' ORDER BY f.name COLLATE "C"), '')
	FROM (SELECT e.name, format(E'# HELP %s %s\n# TYPE %1$s %3$s\n', e.name, min(e.help), min(e.type))
			|| string_agg(format(E'%s{%s} %s\n', e.name, e.labels,
				replace(e.value::text, 'Infinity', 'Inf')), '' ORDER BY e.labels COLLATE "C") AS family
		FROM deploydb.exported_metric() e
		GROUP BY e.name) f
$$;
COMMENT ON FUNCTION deploydb.prometheus_metrics() IS
	'Monitoring: every metric and rule in Prometheus'' text format 0.0.4';
REVOKE ALL ON FUNCTION deploydb.prometheus_metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.prometheus_metrics() TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.metric_problem AS
	SELECT m.name, m.source, l.error,
		CASE WHEN s.disabled_at IS NULL THEN 'metric %s could not be measured: %s'
			ELSE 'metric %s is not measured until it is enabled again: %s' END AS problem
	FROM deploydb.metric_latest l
		JOIN deploydb.metric m ON m.name = l.metric AND m.enabled
		LEFT JOIN deploydb.own_metric_state s ON s.name = m.name
	WHERE l.error IS NOT NULL;
COMMENT ON VIEW deploydb.metric_problem IS
	'Monitoring: metrics that could not be measured; problem is a format of name and error';
GRANT SELECT ON deploydb.metric_problem TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.status_of_metrics()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'warning', format(deploydb.word(m.problem), m.name, left(m.error, 200)),
		CASE WHEN m.source = 'query' THEN format('UPDATE deploydb.metric SET enabled = true WHERE name = %L; -- once it is mended', m.name) END
	FROM deploydb.metric_problem m
	ORDER BY m.name
$$;
COMMENT ON FUNCTION deploydb.status_of_metrics() IS
	'Monitoring: each metric that could not be measured; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_metrics() TO pg_monitor, pg_database_owner;

-- Why all is not well, the worst first.
CREATE FUNCTION deploydb.health_problem()
RETURNS TABLE (status text, reason text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.status, p.reason FROM (
		SELECT 'failing' AS status, 1 AS rank, CASE WHEN d.datistemplate THEN 'no monitor runs in a template database'
			WHEN m.last_tick_at IS NULL THEN 'the monitor has never ticked'
			ELSE format('the last tick of the monitor is %s s ago',
				round(extract(epoch FROM clock_timestamp() - m.last_tick_at))) END AS reason
		FROM deploydb.monitor_state m JOIN pg_database d ON d.datname = current_database()
		WHERE (clock_timestamp() - m.last_tick_at <= 3 * make_interval(secs => m.interval_ms / 1000.0)) IS NOT TRUE
		UNION ALL
		SELECT 'failing', 1, 'the monitor has no state' WHERE NOT EXISTS (SELECT FROM deploydb.monitor_state)
		UNION ALL
		SELECT CASE a.severity WHEN 'P0' THEN 'failing' ELSE 'degraded' END,
			CASE a.severity WHEN 'P0' THEN 2 ELSE 3 END, concat_ws(' ', a.severity, a.rule, NULLIF(a.series, '')) || ' fires'
		FROM deploydb.active_alert a
		UNION ALL
		SELECT 'degraded', 4, format('the monitor failed at %s: %s', to_char(m.last_error_at, 'HH24:MI:SS TZ'), m.last_error)
		FROM deploydb.monitor_state m
		WHERE m.last_error_at > clock_timestamp() - 3 * make_interval(secs => m.interval_ms / 1000.0)
		UNION ALL
		SELECT 'degraded', 4, format('the last tick took %s s, longer than the interval of %s s',
			round((m.last_tick_ms / 1000)::numeric, 1), round(m.interval_ms / 1000.0, 1))
		FROM deploydb.monitor_state m
		WHERE m.last_tick_ms > m.interval_ms
		UNION ALL
		SELECT 'degraded', 5, format(m.problem, m.name, m.error) FROM deploydb.metric_problem m
		UNION ALL
		SELECT 'degraded', 6, format('rule %s cannot be evaluated: %s', r.rule,
			COALESCE(r.fault, format('metric %s does not exist', r.metric)))
		FROM deploydb.idle_rule r
		UNION ALL
		SELECT 'degraded', 7, format(w.problem, w.name, w.last_error) FROM deploydb.webhook_problem w
		UNION ALL
		SELECT 'degraded', 8, deploydb.suspended() WHERE deploydb.suspended() IS NOT NULL
	) AS p
	ORDER BY p.rank, p.reason
$$;
COMMENT ON FUNCTION deploydb.health_problem() IS
	'Monitoring: why all is not well; a part of health()';
REVOKE ALL ON FUNCTION deploydb.health_problem() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.health_problem() TO pg_monitor, pg_database_owner;

-- Ages are counted when it is read, so that a monitor that is gone shows.
CREATE FUNCTION deploydb.health()
RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object(
		'status', COALESCE((SELECT p.status FROM deploydb.health_problem() p ORDER BY p.status <> 'failing' LIMIT 1), 'ok'),
		'timestamp', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
		'reasons', COALESCE((SELECT jsonb_agg(p.reason) FROM deploydb.health_problem() p), '[]'),
		'database', current_database(),
		'standby', pg_is_in_recovery(),
		'version', (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'deploydb'),
		'firing', (SELECT count(*) FROM deploydb.active_alert),
		'ages', jsonb_build_object(
			'lastTickSeconds', (SELECT round(extract(epoch FROM clock_timestamp() - m.last_tick_at), 3)
				FROM deploydb.monitor_state m),
			'monitorSeconds', (SELECT round(extract(epoch FROM clock_timestamp() - m.started_at), 3)
				FROM deploydb.monitor_state m),
			'lastEventSeconds', (SELECT round(extract(epoch FROM clock_timestamp() - e.occurred_at), 3)
				FROM deploydb.alert_event e ORDER BY e.id DESC LIMIT 1),
			'oldestMessageSeconds', (SELECT round(extract(epoch FROM clock_timestamp() - min(o.created_at)), 3)
				FROM deploydb.outbox o WHERE o.state IN ('pending', 'sending'))))
$$;
COMMENT ON FUNCTION deploydb.health() IS
	'Monitoring: ok, degraded or failing, with the reasons; failing, too, where the last tick is more than three intervals ago';
REVOKE ALL ON FUNCTION deploydb.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.health() TO pg_monitor, pg_database_owner;
