
--
-- Writes: rates over a period
--

-- A table by itself or with its schema, quoted where SQL would quote it, among
-- those that are tracked; NULL means all of them.  track() reads it likewise.
CREATE FUNCTION deploydb.tracked_as(target text)
RETURNS TABLE (schema text, name text)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	parts text[] := CASE WHEN target IS NOT NULL THEN parse_ident(target) END;
BEGIN
	IF cardinality(parts) > 2 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'a table is named by itself or with its schema';
	END IF;
	RETURN QUERY SELECT d.schema, d.name FROM deploydb.tracked_table d
		WHERE parts IS NULL OR d.name = parts[cardinality(parts)]::name::text
			AND (cardinality(parts) = 1 OR d.schema = parts[1]::name::text);
END
$$;
COMMENT ON FUNCTION deploydb.tracked_as(text) IS
	'Writes: the tracked tables that a name means';
REVOKE ALL ON FUNCTION deploydb.tracked_as(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.tracked_as(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.tracked_or_error(target text)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	meant bigint;
BEGIN
	IF target IS NULL THEN
		RETURN NULL;
	END IF;
	SELECT count(*) INTO meant FROM deploydb.tracked_as(target);
	IF meant = 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_table',
			MESSAGE = format('table %s is not tracked', target),
			DETAIL = (SELECT COALESCE('Tracked: ' || string_agg(format('%I.%I', d.schema, d.name), ', '
					ORDER BY d.schema, d.name) || '.', 'No table is tracked.')
				FROM deploydb.tracked_table d),
			HINT = format('SELECT deploydb.track(%L); counts its writes from then on.', target);
	ELSIF meant > 1 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'ambiguous_parameter',
			MESSAGE = format('more than one table %s is tracked', target),
			HINT = 'Write its schema before it.';
	END IF;
	RETURN target;
END
$$;
COMMENT ON FUNCTION deploydb.tracked_or_error(text) IS
	'Writes: a name that means one tracked table, or NULL';
REVOKE ALL ON FUNCTION deploydb.tracked_or_error(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.tracked_or_error(text) TO pg_monitor, pg_database_owner;

-- Settings are there once the library is loaded, which this does too.
CREATE FUNCTION deploydb.counted_or_error()
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT deploydb.is_preloaded() THEN
		PERFORM FROM deploydb.write_counters();
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.counted_or_error() IS
	'Writes: true where writes are counted; else an error with the statement to run';
REVOKE ALL ON FUNCTION deploydb.counted_or_error() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.counted_or_error() TO pg_monitor, pg_database_owner;

-- Where a period begins to count in an epoch.  The epoch's last sample until then
-- is the target's, or there is none; but a server that was the primary before, and
-- is again, goes on with its epoch: samples of another one's lie between.
CREATE FUNCTION deploydb.last_sample_at(target integer, since timestamptz, until timestamptz)
RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last record;
BEGIN
	SELECT s.at, s.since INTO last FROM deploydb.write_sample s
	WHERE s.target = target AND s.at <= until
	ORDER BY s.at DESC LIMIT 1;
	IF last.since <> since THEN
		SELECT s.at, s.since INTO last FROM deploydb.write_sample s
		WHERE s.target = target AND s.at <= until AND s.since = since AND s.at >= since
		ORDER BY s.at DESC LIMIT 1;
	END IF;
	RETURN CASE WHEN last.since = since THEN last.at END;
END
$$;
COMMENT ON FUNCTION deploydb.last_sample_at(integer, timestamptz, timestamptz) IS
	'Writes: the time of an epoch''s last sample until then, from which a period counts; NULL where there is none';
REVOKE ALL ON FUNCTION deploydb.last_sample_at(integer, timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.last_sample_at(integer, timestamptz, timestamptz) TO pg_monitor, pg_database_owner;

-- The difference of two points in each epoch: what is counted by now, or was
-- at the epoch's end, and the last sample at or before the start.
CREATE FUNCTION deploydb.write_window(start timestamptz, target text)
RETURNS TABLE (schema text, name text, others boolean, since timestamptz,
	succeeded bigint, failed bigint, rolled_back bigint, rejected bigint,
	swallowed bigint, prepared bigint, unaccounted bigint, rows_written bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM deploydb.counted_or_error();
	RETURN QUERY
	WITH live AS MATERIALIZED (
		SELECT c.*, t.target, t.reset_at
		FROM deploydb.tracked_as(target) d
			JOIN deploydb.write_counters() c ON c.schema = d.schema AND c.name = d.name
			LEFT JOIN deploydb.write_target t
				ON t.schema = c.schema AND t.name = c.name AND t.others = c.others
	), newest AS (
		SELECT l.schema, l.name, l.others, l.target, l.reset_at, l.since, l.succeeded, l.failed,
			l.rolled_back, l.rejected, l.swallowed, l.prepared, l.unaccounted, l.rows_written
		FROM live l
		UNION ALL
		SELECT t.schema, t.name, t.others, t.target, t.reset_at, e.since, e.succeeded, e.failed,
			e.rolled_back, e.rejected, e.swallowed, e.prepared, e.unaccounted, e.rows_written
		FROM deploydb.tracked_as(target) d
			JOIN deploydb.write_target t ON t.schema = d.schema AND t.name = d.name
			JOIN deploydb.write_epoch e ON e.target = t.target
		WHERE e.at > GREATEST(start, t.reset_at)
			AND NOT EXISTS (SELECT FROM live l WHERE l.target = e.target AND l.since = e.since)
	)
	SELECT n.schema, n.name, n.others, GREATEST(min(COALESCE(b.at, n.since)), max(n.reset_at)),
		sum(n.succeeded - COALESCE(b.succeeded, 0))::bigint,
		sum(n.failed - COALESCE(b.failed, 0))::bigint,
		sum(n.rolled_back - COALESCE(b.rolled_back, 0))::bigint,
		sum(n.rejected - COALESCE(b.rejected, 0))::bigint,
		sum(n.swallowed - COALESCE(b.swallowed, 0))::bigint,
		sum(n.prepared - COALESCE(b.prepared, 0))::bigint,
		sum(n.unaccounted - COALESCE(b.unaccounted, 0))::bigint,
		sum(n.rows_written - COALESCE(b.rows_written, 0))::bigint
	FROM newest n
		LEFT JOIN deploydb.write_sample b
			ON b.target = n.target AND b.at = deploydb.last_sample_at(n.target, n.since, GREATEST(start, n.reset_at))
	GROUP BY n.schema, n.name, n.others;
END
$$;
COMMENT ON FUNCTION deploydb.write_window(timestamptz, text) IS
	'Writes: what was counted of each tracked table since then';
REVOKE ALL ON FUNCTION deploydb.write_window(timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_window(timestamptz, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.write_success_rate(
	period text DEFAULT '24 hours', target text DEFAULT NULL)
RETURNS double precision
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	start timestamptz := deploydb.period_start(period);
	wanted text := deploydb.tracked_or_error(target);
BEGIN
	RETURN (SELECT sum(w.succeeded)::double precision
				/ NULLIF(sum(w.succeeded + w.failed + w.rolled_back + w.rejected), 0)
			FROM deploydb.write_window(start, wanted) w
			WHERE NOT w.others);
END
$$;
COMMENT ON FUNCTION deploydb.write_success_rate(text, text) IS
	'Writes: share of the attempts to write that were committed, 0 to 1; NULL where there was no attempt';
REVOKE ALL ON FUNCTION deploydb.write_success_rate(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_success_rate(text, text) TO pg_monitor, pg_database_owner;

-- The interval in which the true share lies, by Wilson's score, 95 %.
CREATE FUNCTION deploydb.wilson_bounds(succeeded bigint, attempts bigint,
	OUT low double precision, OUT high double precision)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN n > 0 THEN GREATEST(0, (p + z * z / (2 * n) - margin) / (1 + z * z / n)) END,
		CASE WHEN n > 0 THEN LEAST(1, (p + z * z / (2 * n) + margin) / (1 + z * z / n)) END
	FROM (SELECT n, z, p, z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) AS margin
		  FROM (SELECT NULLIF(attempts, 0)::double precision AS n, 1.959963984540054::double precision AS z,
					succeeded::double precision / NULLIF(attempts, 0) AS p) AS sample) AS spread
$$;
COMMENT ON FUNCTION deploydb.wilson_bounds(bigint, bigint) IS
	'Writes: the interval in which a share lies with a confidence of 95 %';
REVOKE ALL ON FUNCTION deploydb.wilson_bounds(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.wilson_bounds(bigint, bigint) TO pg_monitor, pg_database_owner;

-- Below so many attempts not even a clean record shows that a target is met,
-- one-sided, 95 %: 299 for 99 %.
CREATE FUNCTION deploydb.write_verdict(succeeded bigint, attempts bigint, rate_high double precision,
	target double precision DEFAULT NULL)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN attempts = 0 THEN 'no_traffic'
		WHEN succeeded < t.target * attempts AND attempts - succeeded < 3 THEN 'insufficient_data'
		WHEN rate_high < t.target THEN 'breached'
		WHEN t.target < 1 AND t.target > 0 AND attempts < ceil(ln(0.05) / ln(t.target)) THEN 'insufficient_data'
		WHEN succeeded < t.target * attempts THEN 'breached'
		ELSE 'ok' END
	FROM (SELECT COALESCE(target, deploydb.setting('write_success_target')::double precision) AS target) AS t
$$;
COMMENT ON FUNCTION deploydb.write_verdict(bigint, bigint, double precision, double precision) IS
	'Writes: whether a target, or with NULL deploydb.write_success_target, is met, as far as the number of attempts can tell';
REVOKE ALL ON FUNCTION deploydb.write_verdict(bigint, bigint, double precision, double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_verdict(bigint, bigint, double precision, double precision) TO pg_monitor, pg_database_owner;

-- Percentiles of what came since then, by samples, and what came after the last.
CREATE FUNCTION deploydb.write_latency(start timestamptz, schema text, name text,
	OUT p50_ms double precision, OUT p95_ms double precision, OUT p99_ms double precision)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	SELECT q.* INTO p50_ms, p95_ms, p99_ms
	FROM deploydb.histogram_quantiles(ARRAY(
		SELECT s.latency
		FROM deploydb.write_target t
			JOIN deploydb.write_sample s ON s.target = t.target
		WHERE t.schema = schema AND t.name = name AND NOT t.others
			AND s.at > GREATEST(start, t.reset_at)
		UNION ALL
		SELECT deploydb.histogram_subtract(c.latency, COALESCE(e.latency, ''))
		FROM deploydb.write_counters() c
			LEFT JOIN deploydb.write_target t
				ON t.schema = c.schema AND t.name = c.name AND t.others = c.others
			LEFT JOIN deploydb.write_epoch e ON e.target = t.target AND e.since = c.since
		WHERE c.schema = schema AND c.name = name AND NOT c.others)) AS q;
END
$$;
COMMENT ON FUNCTION deploydb.write_latency(timestamptz, text, text) IS
	'Writes: percentiles of the time that attempts to write a table took since then';
REVOKE ALL ON FUNCTION deploydb.write_latency(timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_latency(timestamptz, text, text) TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.client_failure (
	reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	schema text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	failures integer NOT NULL,
	reason text NOT NULL,
	reported_by text NOT NULL
);
CREATE INDEX client_failure_reported_at_idx ON deploydb.client_failure (reported_at);
COMMENT ON TABLE deploydb.client_failure IS
	'Writes: failures that never reached the server, as clients report them';
GRANT SELECT ON deploydb.client_failure TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_client_failures(target text, failures integer, reason text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM deploydb.primary_or_error();
	IF num_nulls(target, failures, reason) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'target, failures and reason must not be NULL';
	END IF;
	IF failures <= 0 OR reason !~ '[^[:space:]]' OR length(reason) > 200 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'client failures are at least one, with a reason of at most 200 characters';
	END IF;
	PERFORM deploydb.tracked_or_error(target);
	INSERT INTO deploydb.client_failure (schema, name, failures, reason, reported_by)
	SELECT d.schema, d.name, report_client_failures.failures, report_client_failures.reason, session_user
	FROM deploydb.tracked_as(target) d;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.report_client_failures(text, integer, text) IS
	'Writes: keeps failures that the server never saw; they are shown apart';
REVOKE ALL ON FUNCTION deploydb.report_client_failures(text, integer, text) FROM PUBLIC;

CREATE FUNCTION deploydb.write_stats(
	period text DEFAULT '24 hours', target text DEFAULT NULL)
RETURNS TABLE (relation text, attempts bigint, succeeded bigint, failed bigint,
	rolled_back bigint, rejected bigint, swallowed bigint, prepared bigint,
	unaccounted bigint, rows_written bigint, success_rate double precision,
	rate_low double precision, rate_high double precision, verdict text,
	error_budget_left double precision, p50_ms double precision,
	p95_ms double precision, p99_ms double precision, since timestamptz,
	gaps bigint, others_attempts bigint, others_succeeded bigint,
	client_failures bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted text := deploydb.tracked_or_error(write_stats.target);
	start timestamptz := deploydb.period_start(period);
	objective double precision;
BEGIN
	PERFORM deploydb.counted_or_error();
	objective := deploydb.setting('write_success_target');
	RETURN QUERY
	WITH counted AS MATERIALIZED (
		SELECT w.*, w.succeeded + w.failed + w.rolled_back + w.rejected AS attempts
		FROM deploydb.write_window(start, wanted) w
	), month AS MATERIALIZED (
		SELECT w.schema, w.name, w.succeeded,
			w.succeeded + w.failed + w.rolled_back + w.rejected AS attempts
		FROM deploydb.write_window(deploydb.period_start('30 days'), wanted) w
		WHERE NOT w.others
	)
	SELECT format('%I.%I', c.schema, c.name), c.attempts, c.succeeded, c.failed,
		c.rolled_back, c.rejected, c.swallowed, c.prepared, c.unaccounted, c.rows_written,
		c.succeeded::double precision / NULLIF(c.attempts, 0), b.low, b.high,
		deploydb.write_verdict(c.succeeded, c.attempts, b.high),
		1 - (1 - m.succeeded::double precision / NULLIF(m.attempts, 0)) / NULLIF(1 - objective, 0),
		l.p50_ms, l.p95_ms, l.p99_ms, c.since,
		(SELECT count(*) FROM deploydb.write_gap g
		 WHERE g.schema = c.schema AND g.name = c.name AND g.kind <> 'reset' AND g.until >= c.since),
		COALESCE(o.attempts, 0), COALESCE(o.succeeded, 0),
		(SELECT COALESCE(sum(f.failures), 0)::bigint FROM deploydb.client_failure f
		 WHERE f.schema = c.schema AND f.name = c.name AND f.reported_at > GREATEST(start, (
			SELECT t.reset_at FROM deploydb.write_target t
			WHERE t.schema = c.schema AND t.name = c.name AND NOT t.others)))
	FROM counted c
		CROSS JOIN LATERAL deploydb.wilson_bounds(c.succeeded, c.attempts) b
		CROSS JOIN LATERAL deploydb.write_latency(start, c.schema, c.name) l
		LEFT JOIN month m ON m.schema = c.schema AND m.name = c.name
		LEFT JOIN counted o ON o.schema = c.schema AND o.name = c.name AND o.others
	WHERE NOT c.others
	ORDER BY c.schema, c.name;
END
$$;
COMMENT ON FUNCTION deploydb.write_stats(text, text) IS
	'Writes: what became of the attempts to write each tracked table, and whether the target is met';
REVOKE ALL ON FUNCTION deploydb.write_stats(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_stats(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.write_failures(
	period text DEFAULT '24 hours', target text DEFAULT NULL)
RETURNS TABLE (sqlstate text, condition text, attempts bigint,
	last_at timestamptz, last_constraint text, last_application text,
	last_query_id bigint, relation text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted text := deploydb.tracked_or_error(write_failures.target);
	start timestamptz := deploydb.period_start(period);
BEGIN
	PERFORM deploydb.counted_or_error();
	RETURN QUERY
	WITH targets AS MATERIALIZED (
		SELECT d.schema, d.name, t.target, GREATEST(start, t.reset_at) AS start
		FROM deploydb.tracked_as(wanted) d
			LEFT JOIN deploydb.write_target t ON t.schema = d.schema AND t.name = d.name AND NOT t.others
	), live AS MATERIALIZED (
		SELECT t.schema, t.name, t.target, t.start, c.since, COALESCE(c.sqlstate, '') AS sqlstate,
			c.attempts, c.last_at, c.last_constraint, c.last_application, c.last_query_id
		FROM targets t
			JOIN deploydb.write_failure_counters() c ON c.schema = t.schema AND c.name = t.name AND NOT c.others
	), newest AS (
		SELECT l.* FROM live l
		UNION ALL
		SELECT t.schema, t.name, t.target, t.start, f.since, f.sqlstate, (e.failures ->> f.sqlstate)::bigint, f.last_at,
			f.last_constraint, f.last_application, f.last_query_id
		FROM targets t
			JOIN deploydb.write_epoch e ON e.target = t.target
			JOIN deploydb.write_failure f ON f.target = e.target AND f.since = e.since
		WHERE e.at > t.start
			AND NOT EXISTS (SELECT FROM live l WHERE l.target = e.target AND l.since = e.since)
	), counted AS (
		SELECT n.*, n.attempts - COALESCE((b.failures ->> n.sqlstate)::bigint, 0) AS failures
		FROM newest n
			LEFT JOIN deploydb.write_sample b
				ON b.target = n.target AND b.at = deploydb.last_sample_at(n.target, n.since, n.start)
	)
	SELECT NULLIF(c.sqlstate, ''), deploydb.condition_name(c.sqlstate), sum(c.failures)::bigint,
		max(c.last_at), (array_agg(c.last_constraint ORDER BY c.last_at DESC))[1],
		(array_agg(c.last_application ORDER BY c.last_at DESC))[1],
		(array_agg(c.last_query_id ORDER BY c.last_at DESC))[1], format('%I.%I', c.schema, c.name)
	FROM counted c
	WHERE c.failures > 0
	GROUP BY c.schema, c.name, c.sqlstate
	ORDER BY 4 DESC, 1, 8;
END
$$;
COMMENT ON FUNCTION deploydb.write_failures(text, text) IS
	'Writes: failed and rejected attempts by SQLSTATE, the newest first';
REVOKE ALL ON FUNCTION deploydb.write_failures(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_failures(text, text) TO pg_monitor, pg_database_owner;

-- How many times as fast as the budget of 30 days allows.
CREATE FUNCTION deploydb.burn_rate(period text, target text,
	OUT attempts bigint, OUT failures bigint, OUT rate double precision)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT COALESCE(sum(w.succeeded + w.failed + w.rolled_back + w.rejected), 0),
		COALESCE(sum(w.failed + w.rolled_back + w.rejected), 0)
	INTO attempts, failures
	FROM deploydb.write_window(deploydb.period_start(period), target) w
	WHERE NOT w.others;
	rate := round((failures::double precision / NULLIF(attempts, 0)
		/ NULLIF(1 - deploydb.setting('write_success_target')::double precision, 0))::numeric, 6);
END
$$;
COMMENT ON FUNCTION deploydb.burn_rate(text, text) IS
	'Writes: how many times as fast as allowed the error budget is spent; a part of burn_rates()';
REVOKE ALL ON FUNCTION deploydb.burn_rate(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.burn_rate(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.burn_rates(target text DEFAULT NULL)
RETURNS TABLE (severity text, long_window text, short_window text,
	factor double precision, long_rate double precision,
	short_rate double precision, burning boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted text := deploydb.tracked_or_error(target);
BEGIN
	PERFORM deploydb.counted_or_error();
	RETURN QUERY
	SELECT w.severity, w.long_window, w.short_window, w.factor, l.rate, s.rate,
		COALESCE(l.rate > w.factor AND s.rate > w.factor AND l.failures >= 3 AND l.attempts >= 30, false)
	FROM (VALUES
			('P0', '1 hour', '5 minutes', 14.4::double precision),
			('P1', '6 hours', '30 minutes', 6),
			('P2', '1 day', '2 hours', 3),
			('P3', '3 days', '6 hours', 1)) AS w (severity, long_window, short_window, factor)
		CROSS JOIN LATERAL deploydb.burn_rate(w.long_window, wanted) l
		CROSS JOIN LATERAL deploydb.burn_rate(w.short_window, wanted) s
	ORDER BY 1;
END
$$;
COMMENT ON FUNCTION deploydb.burn_rates(text) IS
	'Writes: how fast the error budget is spent, over a long and a short window for each severity';
REVOKE ALL ON FUNCTION deploydb.burn_rates(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.burn_rates(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.reset_write_stats(target text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted text := deploydb.tracked_or_error(target);
	moment timestamptz;
BEGIN
	PERFORM deploydb.primary_or_error();
	PERFORM deploydb.take_write_sample();
	moment := GREATEST(clock_timestamp(), (SELECT max(e.at) FROM deploydb.write_epoch e));
	UPDATE deploydb.write_target t SET reset_at = moment
	FROM deploydb.tracked_as(wanted) d
	WHERE t.schema = d.schema AND t.name = d.name;
	INSERT INTO deploydb.write_gap (schema, name, at, until, kind, marked_by)
	SELECT d.schema, d.name, moment, moment, 'reset', session_user
	FROM deploydb.tracked_as(wanted) d;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.reset_write_stats(text) IS
	'Writes: rates count from now on; the history keeps what was, with a mark';
REVOKE ALL ON FUNCTION deploydb.reset_write_stats(text) FROM PUBLIC;

CREATE VIEW deploydb.log_error AS
	SELECT c.sqlstate_class, c.count, c.last_at, c.last_application, c.in_database
	FROM deploydb.log_error_counters() c
	ORDER BY c.last_at DESC;
COMMENT ON VIEW deploydb.log_error IS
	'Writes: lines of ERROR and above in the server''s log by class of SQLSTATE, the newest first';
GRANT SELECT ON deploydb.log_error TO pg_monitor, pg_database_owner;

-- The table that needs it most, and a word about the others.
CREATE FUNCTION deploydb.status_of_writes()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	worst record;
	tables integer := 0;
	stats record;
BEGIN
	IF NOT deploydb.is_preloaded() THEN
		RETURN QUERY SELECT 'warning', deploydb.word('not counted: deploydb is not preloaded'),
			'SELECT * FROM deploydb.check_environment();';
		RETURN;
	END IF;
	IF deploydb.setting('track_writes') = 'off' THEN
		RETURN QUERY SELECT 'warning', deploydb.word('not counted: switched off'), 'ALTER SYSTEM SET deploydb.track_writes = on; SELECT pg_reload_conf();';
		RETURN;
	END IF;
	FOR stats IN SELECT * FROM deploydb.write_stats() s
		ORDER BY CASE WHEN s.verdict = 'breached' THEN 1 WHEN s.verdict = 'insufficient_data' THEN 2
			WHEN s.verdict = 'ok' THEN 3 ELSE 4 END DESC, s.success_rate DESC NULLS FIRST
	LOOP
		worst := stats;
		tables := tables + 1;
	END LOOP;
	IF NOT EXISTS (SELECT FROM deploydb.tracked_table) THEN
		RETURN QUERY SELECT 'warning', deploydb.word('no table is tracked'), $q$SELECT deploydb.track('decision_insights');$q$;
		RETURN;
	END IF;
	IF tables > 0 THEN
		RETURN QUERY SELECT CASE WHEN worst.verdict = 'breached' THEN 'error' ELSE 'ok' END,
			format(deploydb.word(CASE WHEN worst.attempts = 0 THEN '%s: no write in 24 hours'
					ELSE '%s: %s %% of %s writes in 24 hours succeeded' END),
				regexp_replace(worst.relation, '^public[.]', ''), trunc((100 * worst.success_rate)::numeric, 2), worst.attempts),
			CASE WHEN worst.verdict = 'breached' OR worst.success_rate < 1
				THEN 'SELECT * FROM deploydb.write_failures();' END;
	END IF;
	IF EXISTS (SELECT FROM deploydb.tracked_table t WHERE NOT EXISTS (
			SELECT FROM deploydb.write_counters() c WHERE c.schema = t.schema AND c.name = t.name)) THEN
		RETURN QUERY SELECT 'warning', deploydb.word('no room to count every tracked table'), 'SHOW deploydb.max_tracked;';
	END IF;
	IF tables > 1 THEN
		RETURN QUERY SELECT 'ok', format(deploydb.word('%s more tables, none worse'), tables - 1),
			'SELECT * FROM deploydb.write_stats();';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.status_of_writes() IS
	'Writes: how they are; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_writes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_writes() TO pg_monitor, pg_database_owner;
