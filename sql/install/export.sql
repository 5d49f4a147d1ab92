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
			3 * COALESCE(current_setting('deploydb.metrics_collection_interval', true)::interval, '30 s'));
COMMENT ON VIEW deploydb.metric_value IS
	'Monitoring: the newest value of each metric and series, where it is not too old';
GRANT SELECT ON deploydb.metric_value TO pg_monitor, pg_database_owner;
