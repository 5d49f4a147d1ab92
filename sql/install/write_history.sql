-- Writes: the past, in buckets of time.

-- From samples alone, and what came after the last of them where it is counted.
CREATE FUNCTION deploydb.write_history(
	period text DEFAULT '24 hours', bucket text DEFAULT '1 hour', target text DEFAULT NULL)
RETURNS TABLE (bucket_start timestamptz, relation text, attempts bigint,
	succeeded bigint, failed bigint, rolled_back bigint, rejected bigint,
	rows_written bigint, success_rate double precision,
	p99_ms double precision, marks text[])
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 24
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted text := deploydb.tracked_or_error(write_history.target);
	start timestamptz := deploydb.period_start(period);
	width interval := make_interval(secs => deploydb.bucket_seconds(bucket));
	origin timestamptz := '2000-01-03 00:00:00+00';
BEGIN
	RETURN QUERY
	WITH targets AS MATERIALIZED (
		SELECT t.* FROM deploydb.tracked_as(wanted) d
			JOIN deploydb.write_target t ON t.schema = d.schema AND t.name = d.name AND NOT t.others
	), live AS MATERIALIZED (
		SELECT d.schema, d.name, t.target, c.since, clock_timestamp() AS at, c.succeeded, c.failed, c.rolled_back,
			c.rejected, c.rows_written, deploydb.histogram_subtract(c.latency, COALESCE(e.latency, '')) AS latency
		FROM deploydb.tracked_as(wanted) d
			CROSS JOIN LATERAL (SELECT c.* FROM deploydb.write_counters_if_preloaded() c
				WHERE c.schema = d.schema AND c.name = d.name AND NOT c.others) AS c
			LEFT JOIN targets t ON t.schema = d.schema AND t.name = d.name
			LEFT JOIN deploydb.write_epoch e ON e.target = t.target AND e.since = c.since
	), points AS (
		SELECT t.schema, t.name, t.target, s.since, s.at, s.succeeded, s.failed, s.rolled_back,
			s.rejected, s.rows_written, s.latency
		FROM targets t
			CROSS JOIN LATERAL (
				SELECT n.* FROM deploydb.write_sample n WHERE n.target = t.target AND n.at > start
				UNION ALL
				SELECT b.* FROM deploydb.write_epoch e
					JOIN deploydb.write_sample b ON b.target = e.target AND b.at = deploydb.last_sample_at(e.target, e.since, start)
				WHERE e.target = t.target
					AND (e.at > start OR EXISTS (SELECT FROM live l WHERE l.target = e.target AND l.since = e.since))) AS s
		UNION ALL
		SELECT l.* FROM live l
	), deltas AS (
		SELECT p.schema, p.name, p.at, p.latency,
			p.succeeded - lag(p.succeeded, 1, 0::bigint) OVER epoch AS succeeded,
			p.failed - lag(p.failed, 1, 0::bigint) OVER epoch AS failed,
			p.rolled_back - lag(p.rolled_back, 1, 0::bigint) OVER epoch AS rolled_back,
			p.rejected - lag(p.rejected, 1, 0::bigint) OVER epoch AS rejected,
			p.rows_written - lag(p.rows_written, 1, 0::bigint) OVER epoch AS rows_written
		FROM points p
		WINDOW epoch AS (PARTITION BY p.schema, p.name, p.since ORDER BY p.at)
	), buckets AS (
		SELECT date_bin(width, d.at, origin) AS bucket_start, d.schema, d.name,
			sum(d.succeeded)::bigint AS succeeded, sum(d.failed)::bigint AS failed,
			sum(d.rolled_back)::bigint AS rolled_back, sum(d.rejected)::bigint AS rejected,
			sum(d.rows_written)::bigint AS rows_written, array_agg(d.latency) AS latency
		FROM deltas d
		WHERE d.at > start
		GROUP BY 1, 2, 3
		HAVING sum(d.succeeded + d.failed + d.rolled_back + d.rejected) > 0
	), marks AS (
		SELECT date_bin(width, g.until, origin) AS bucket_start, g.schema, g.name,
			array_agg(g.kind || ' at ' || to_char(g.until, 'YYYY-MM-DD HH24:MI:SSOF') ORDER BY g.until) AS marks
		FROM deploydb.write_gap g
			JOIN deploydb.tracked_as(wanted) d ON d.schema = g.schema AND d.name = g.name
		WHERE g.until > start
		GROUP BY 1, 2, 3
	)
	SELECT bucket_start, format('%I.%I', schema, name), COALESCE(a.attempts, 0),
		COALESCE(b.succeeded, 0), COALESCE(b.failed, 0), COALESCE(b.rolled_back, 0),
		COALESCE(b.rejected, 0), COALESCE(b.rows_written, 0),
		b.succeeded::double precision / NULLIF(a.attempts, 0),
		(deploydb.histogram_quantiles(b.latency)).p99_ms, m.marks
	FROM buckets b
		FULL JOIN marks m USING (bucket_start, schema, name)
		CROSS JOIN LATERAL (SELECT b.succeeded + b.failed + b.rolled_back + b.rejected AS attempts) AS a
	ORDER BY 1, 2;
END
$$;
COMMENT ON FUNCTION deploydb.write_history(text, text, text) IS
	'Writes: attempts and what became of them in buckets of time, with a mark where something was not counted';
REVOKE ALL ON FUNCTION deploydb.write_history(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_history(text, text, text) TO pg_monitor, pg_database_owner;
