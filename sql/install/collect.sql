--
-- Metrics: how each of the built-in ones is measured
--

-- Each of these is a collector: it reads, and collect_metrics() writes what it
-- gives.  Readings are what it wants to know the next time.

-- Where a migration was verified last; NULL leaves it to the verification.
CREATE FUNCTION deploydb.watched_schema(migration text)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT n.nspname::text
	FROM (SELECT v.schema FROM deploydb.verification v
		  WHERE v.migration = watched_schema.migration AND v.outcome = 'verified'
		  ORDER BY v.id DESC LIMIT 1) AS last
		JOIN pg_namespace n ON n.nspname = last.schema
	UNION ALL
	SELECT n.nspname FROM pg_namespace n
	WHERE n.nspname = deploydb.application_schema(NULL)
	LIMIT 1
$$;
COMMENT ON FUNCTION deploydb.watched_schema(text) IS
	'Monitoring: the schema in which a migration is watched; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.watched_schema(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.watched_schema(text) TO pg_monitor, pg_database_owner;

-- What a report says of each migration in a schema.
CREATE FUNCTION deploydb.deviations_in(schema text, migrations text[])
RETURNS TABLE (migration text, errors bigint, unknown bigint, fingerprint text, note text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.migration, count(*) FILTER (WHERE r.is_error),
		count(*) FILTER (WHERE r.severity = 'error' AND r.status IN ('unknown', 'stale')),
		hashtextextended(string_agg(concat_ws(E'\t', r.status, r.object_type, r.object, r.property, r.actual), E'\n'
			ORDER BY r.object_type, r.object, r.property) FILTER (WHERE r.is_error), 0)::text,
		string_agg(CASE WHEN r.n > 4 OR NOT r.is_error THEN NULL WHEN r.n = 4 THEN deploydb.word('and more')
			ELSE format(deploydb.word(CASE r.status WHEN 'missing' THEN '%s is missing' WHEN 'unexpected' THEN '%s is unexpected'
					ELSE '%s: %s is %s, expected %s' END),
				concat(deploydb.word(r.object_type), ' ', r.object), r.property, COALESCE(left(r.actual, 60), deploydb.word('none')),
				COALESCE(left(r.expected, 60), deploydb.word('none'))) END, '; ' ORDER BY r.n)
	FROM (SELECT m.*, m.severity = 'error' AND m.status IN ('missing', 'different', 'unexpected') AS is_error,
				count(*) FILTER (WHERE m.severity = 'error' AND m.status IN ('missing', 'different', 'unexpected'))
					OVER (PARTITION BY m.migration ROWS UNBOUNDED PRECEDING) AS n
			FROM deploydb.migration_report(NULL, schema) m
			WHERE m.migration = ANY (migrations)) r
	GROUP BY r.migration
$$;
COMMENT ON FUNCTION deploydb.deviations_in(text, text[]) IS
	'Monitoring: what deviates of each migration in a schema; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.deviations_in(text, text[]) FROM PUBLIC;

-- A migration is watched once it has verified, whoever asked, or the ledger
-- says that it was applied; and no more once it was rolled back, by deploydb or
-- Prisma, until it is restored, verifies or is applied again.  Drift waits while
-- Prisma migrates, for five minutes in all.
CREATE FUNCTION deploydb.measure_migrations(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	now timestamptz := measure_migrations.at;
	migrates_since timestamptz;
	place record;
	found record;
	ledger jsonb;
	rollbacks jsonb;
BEGIN
	-- those that no restore came after, also of an earlier one
	SELECT COALESCE(jsonb_object_agg(r.migration, r.at), '{}') INTO rollbacks
	FROM (SELECT b.migration, max(b.at) AS at FROM deploydb.rollback b GROUP BY b.migration
		HAVING max(b.at) > COALESCE(max(b.ended_at) FILTER (WHERE b.state = 'restored'), '-infinity')) r;
	SELECT COALESCE(jsonb_object_agg(l.migration, CASE
			WHEN GREATEST(l.started_at, l.finished_at) <= (rollbacks ->> l.migration)::timestamptz AND l.state <> 'rolled_back'
			THEN 'outdated' ELSE l.state END), '{}'),
		CASE WHEN bool_or(l.state = 'running' AND l.started_at > now - interval '10 minutes') THEN
			COALESCE((SELECT min((m.readings ->> 'migrates_since')::timestamptz) FROM deploydb.metric_latest m
				WHERE m.metric = 'migration.deviations'), now) END
	INTO ledger, migrates_since
	FROM deploydb.ledger() l
	WHERE l.migration IS NOT NULL;	-- as of a lock that was left behind

	FOR place IN
		SELECT deploydb.watched_schema(k.migration) AS schema, array_agg(k.migration) AS migrations
		FROM deploydb.known_migration k
		WHERE ledger ->> k.migration IS DISTINCT FROM 'rolled_back'
		GROUP BY 1
	LOOP
		FOR found IN SELECT * FROM deploydb.deviations_in(place.schema, place.migrations)
		LOOP
			IF NOT EXISTS (SELECT FROM deploydb.verification v
					WHERE v.migration = found.migration AND v.outcome = 'verified'
						AND v.verified_at > COALESCE((rollbacks ->> found.migration)::timestamptz, '-infinity'))
				AND COALESCE(ledger ->> found.migration NOT IN ('applied', 'claimed'), true)
			THEN
				CONTINUE WHEN found.errors + found.unknown > 0
					OR NOT COALESCE(pg_catalog.deploydb_verify_migration(found.migration, place.schema), false);
			END IF;
			metric := 'migration.deviations';
			series := found.migration;
			readings := CASE WHEN migrates_since IS NOT NULL
				THEN jsonb_build_object('migrates_since', migrates_since) END;
			IF found.unknown > 0 THEN
				value := NULL;
				fingerprint := NULL;
				note := deploydb.word('could not be looked at');
			ELSIF found.errors > 0 AND migrates_since > now - interval '5 minutes' THEN
				value := NULL;
				fingerprint := NULL;
				note := deploydb.word('Prisma migrates');
			ELSE
				value := found.errors;
				fingerprint := found.fingerprint;
				note := found.note;
			END IF;
			RETURN NEXT;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION deploydb.measure_migrations(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_migrations(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.watched_table()
RETURNS TABLE (schema text, name text, target text, series text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.schema, t.name, format('%I.%I', t.schema, t.name),
		CASE WHEN count(*) OVER () = 1 THEN '' ELSE t.schema END
	FROM deploydb.tracked_table t
	WHERE t.name = 'decision_insights'
$$;
COMMENT ON FUNCTION deploydb.watched_table() IS
	'Monitoring: the tracked decision_insights, and its series; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.watched_table() FROM PUBLIC;

CREATE FUNCTION deploydb.failures_in_words(period text, target text)
RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(deploydb.word('most often %s'), string_agg(format(deploydb.word('%s (%s, %s times)'),
		COALESCE(f.condition, deploydb.word('an error')), f.sqlstate, f.attempts), ', ' ORDER BY f.attempts DESC))
	FROM (SELECT w.* FROM deploydb.write_failures(period, target) w ORDER BY w.attempts DESC LIMIT 2) AS f
	HAVING count(*) > 0
$$;
COMMENT ON FUNCTION deploydb.failures_in_words(text, text) IS
	'Monitoring: why writes fail; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.failures_in_words(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_writes(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	watched record;
	counted record;
	rate double precision;
	verdict text;
	-- of the rule that pages people, which one or two failures shall not violate
	target double precision := (
		SELECT r.threshold FROM deploydb.alert_rule r
		WHERE r.id = 'insight_write_success_low' AND r.metric = 'insight.write.success_rate' AND r.enabled);
BEGIN
	FOR watched IN SELECT * FROM deploydb.watched_table()
	LOOP
		series := watched.series;
		SELECT COALESCE(sum(w.succeeded), 0)::bigint AS succeeded,
			COALESCE(sum(w.succeeded + w.failed + w.rolled_back + w.rejected), 0)::bigint AS attempts
		INTO counted
		FROM deploydb.write_window(deploydb.period_start('15 minutes'), watched.target) w
		WHERE NOT w.others;
		verdict := deploydb.write_verdict(counted.succeeded, counted.attempts,
			(deploydb.wilson_bounds(counted.succeeded, counted.attempts)).high, target);
		rate := counted.succeeded::double precision / NULLIF(counted.attempts, 0);

		metric := 'insight.write.success_rate';
		value := CASE WHEN verdict IN ('ok', 'breached') THEN rate END;
		note := CASE WHEN value IS NULL THEN format(deploydb.word('too few to tell: %s writes in 15 minutes'), counted.attempts)
			WHEN rate < 1 THEN concat_ws('; ', format(deploydb.word('%s of %s in 15 minutes failed'),
				counted.attempts - counted.succeeded, counted.attempts),
				deploydb.failures_in_words('15 minutes', watched.target)) END;
		RETURN NEXT;

		metric := 'insight.write.p99_seconds';
		note := NULL;
		SELECT l.p99_ms / 1000 INTO value
		FROM deploydb.write_latency(deploydb.period_start('15 minutes'), watched.schema, watched.name) l;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION deploydb.measure_writes(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_writes(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_burn(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'insight.write.burn', concat_ws(' ', NULLIF(w.series, ''), b.long_window || ' and ' || b.short_window),
		b.burning::integer::double precision, NULL::text,
		CASE WHEN b.burning THEN format(deploydb.word('%s and %s times as fast as allowed, limit %s'),
			round(b.long_rate::numeric, 1), round(b.short_rate::numeric, 1), b.factor) END,
		b.severity, NULL::jsonb
	FROM deploydb.watched_table() w
		CROSS JOIN LATERAL deploydb.burn_rate('3 days', w.target) a
		CROSS JOIN LATERAL (SELECT r.* FROM deploydb.burn_rates(w.target) r WHERE a.attempts > 0) AS b
	WHERE b.long_rate IS NOT NULL
$$;
COMMENT ON FUNCTION deploydb.measure_burn(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_burn(timestamptz) FROM PUBLIC;

-- A condition of the checklist to roll back: from either side.  What was pushed
-- keeps its time, so that it counts once.
CREATE FUNCTION deploydb.measure_rollback(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb, measured_at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	metric := 'rollback.error_rate';
	SELECT l.metric, l.value, format(deploydb.word('pushed at %s'), to_char(l.at, 'HH24:MI:SS')), l.at
	INTO series, value, note, measured_at
	FROM deploydb.metric_latest l JOIN deploydb.metric m ON m.name = l.metric
	WHERE l.metric = 'http.error_rate.5xx' AND l.series = ''
		AND l.at > measure_rollback.at - make_interval(secs => m.stale_after_seconds);
	IF FOUND THEN
		RETURN NEXT;
	END IF;
	IF deploydb.is_preloaded() THEN
		RETURN QUERY
		SELECT 'rollback.error_rate', concat_ws(' ', NULLIF(w.series, ''), 'insight.write.failure_rate'),
			b.failures::double precision / b.attempts, NULL::text,
			concat_ws('; ', format(deploydb.word('%s of %s in 5 minutes failed'), b.failures, b.attempts),
				CASE WHEN b.failures > 0 THEN deploydb.failures_in_words('5 minutes', w.target) END),
			NULL::text, NULL::jsonb, NULL::timestamptz
		FROM deploydb.watched_table() w
			CROSS JOIN LATERAL deploydb.burn_rate('5 minutes', w.target) b
		WHERE b.attempts >= 30;
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.measure_rollback(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_rollback(timestamptz) FROM PUBLIC;

-- What happened before the installation is nobody's alert.  Before its first tick
-- nothing says when that was.
CREATE FUNCTION deploydb.since_installed(since timestamptz)
RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT GREATEST(since, min(i.installed_at)) FROM deploydb.installation i
$$;
COMMENT ON FUNCTION deploydb.since_installed(timestamptz) IS
	'Monitoring: a time, but none before the installation; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.since_installed(timestamptz) FROM PUBLIC;

-- What the application's tables hold is read as their owner, whose types and
-- operators these may be.  The client writes UTC into timestamps without time
-- zone.
CREATE FUNCTION deploydb.measure_coverage(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
	records text := deploydb.application_table(NULL, 'decision_records');
	insights text := deploydb.application_table(NULL, 'decision_insights');
	counts text[];
BEGIN
	IF records IS NULL OR insights IS NULL THEN
		RETURN;
	END IF;
	metric := 'insight.coverage';
	series := '';
	counts := string_to_array(deploydb.query_as_owner(metric, records::regclass::oid::bigint, format(
		'SELECT count(*) FILTER (WHERE EXISTS (SELECT FROM %s i WHERE i.decision_id = d."decisionId"))'
		'  || ''/'' || count(*)'
		' FROM (SELECT DISTINCT r."decisionId" FROM ('
		'   SELECT n."decisionId", n."ingestionStatus"::text AS state, n."isSimulation" FROM %s n'
		'   WHERE n."timestamp" > %L AND n."timestamp" <= %L ORDER BY n."timestamp" DESC LIMIT 10000) r'
		'  WHERE r.state = ''SUCCESS'' AND NOT r."isSimulation") d',
		insights, records, deploydb.since_installed(measure_coverage.at - interval '1 hour'), measure_coverage.at - interval '3 seconds')), '/');
	value := counts[1]::double precision / NULLIF(counts[2]::double precision, 0);
	note := CASE WHEN value IS NULL THEN deploydb.word('no decision in an hour')
		WHEN value < 1 THEN format(deploydb.word('%s of %s decisions in an hour lack theirs'), counts[2]::bigint - counts[1]::bigint, counts[2]) END;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.measure_coverage(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_coverage(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_confidence(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
	records text := deploydb.application_table(NULL, 'decision_records');
BEGIN
	IF records IS NULL THEN
		RETURN;
	END IF;
	metric := 'decision.confidence.p50';
	series := '';
	value := deploydb.query_as_owner(metric, records::regclass::oid::bigint, format(
		'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY r.confidence::double precision)'
		' FROM (SELECT n.confidence, n."isSimulation" FROM %s n'
		'  WHERE n."timestamp" > %L AND n."timestamp" <= %L ORDER BY n."timestamp" DESC LIMIT 10000) r'
		' WHERE NOT r."isSimulation"',
		records, deploydb.since_installed(measure_confidence.at - interval '5 minutes'), measure_confidence.at))::double precision;
	note := CASE WHEN value IS NULL THEN deploydb.word('no decision in 5 minutes') END;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.measure_confidence(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_confidence(timestamptz) FROM PUBLIC;

-- A counter's growth in the last minute, by the readings before this one, an
-- array of [epoch, count, timeline], oldest first.  A counter that began anew has
-- counted since then; that of another server, before a promotion, tells nothing of
-- this one's.  Readings go on from the last that is a minute old, or little older:
-- what came while nobody read is of no minute.  There is no value before a whole
-- minute was read, as a part of one would seem to grow.
CREATE FUNCTION deploydb.growth_per_min(metric text, at timestamptz, count bigint,
	OUT value double precision, OUT readings jsonb)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH this AS (
		SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS timeline
	), reading AS (
		SELECT (r ->> 0)::double precision AS epoch, (r ->> 1)::bigint AS count
		FROM deploydb.metric_latest l, jsonb_array_elements(l.readings) r
		WHERE l.metric = growth_per_min.metric AND l.series = ''
			AND r ->> 2 = (SELECT t.timeline FROM this t)
			AND (r ->> 0)::double precision < extract(epoch FROM growth_per_min.at)
		UNION ALL
		SELECT extract(epoch FROM growth_per_min.at)::double precision, growth_per_min.count
	), recent AS (
		SELECT r.* FROM reading r
		WHERE r.epoch >= GREATEST((SELECT max(o.epoch) FROM reading o WHERE o.epoch <= extract(epoch FROM growth_per_min.at) - 60),
			extract(epoch FROM growth_per_min.at - interval '1 minute' - 2 * deploydb.setting('metrics_collection_interval')::interval))
	), growth AS (
		SELECT r.epoch, r.count, r.count - CASE WHEN lag(r.count) OVER w <= r.count THEN lag(r.count) OVER w
			WHEN lag(r.count) OVER w > r.count THEN 0 END AS more
		FROM recent r
		WINDOW w AS (ORDER BY r.epoch)
	)
	SELECT CASE WHEN max(g.epoch) - min(g.epoch) >= 60 THEN sum(g.more) * 60 / (max(g.epoch) - min(g.epoch)) END,
		jsonb_agg(jsonb_build_array(g.epoch, g.count, (SELECT t.timeline FROM this t)) ORDER BY g.epoch)
	FROM growth g
$$;
COMMENT ON FUNCTION deploydb.growth_per_min(text, timestamptz, bigint) IS
	'Monitoring: how much a counter grew in the last minute; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.growth_per_min(text, timestamptz, bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_slow_queries(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'db.slow_queries.per_min', '', g.value, NULL::text, NULL::text, NULL::text, g.readings
	FROM deploydb.growth_per_min('db.slow_queries.per_min', at, deploydb.slow_queries()) g
$$;
COMMENT ON FUNCTION deploydb.measure_slow_queries(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_slow_queries(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_errors(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'db.errors.per_min', '', g.value, NULL::text, NULL::text, NULL::text, g.readings
	FROM deploydb.growth_per_min('db.errors.per_min', at,
		(SELECT COALESCE(sum(c.count), 0)::bigint FROM deploydb.log_error_counters() c)) g
$$;
COMMENT ON FUNCTION deploydb.measure_errors(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_errors(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_server(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 3
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'db.connections.used_ratio', '', (SELECT count(*) FROM pg_stat_activity a WHERE a.backend_type = 'client backend')
			/ GREATEST(current_setting('max_connections')::double precision
				- current_setting('superuser_reserved_connections')::integer
				- COALESCE(current_setting('reserved_connections', true)::integer, 0), 1),
		NULL::text, NULL::text, NULL::text, NULL::jsonb
	UNION ALL
	SELECT 'db.xid_age', '', age(d.datfrozenxid), NULL, NULL, NULL, NULL
	FROM pg_database d WHERE d.datname = current_database()
	UNION ALL
	SELECT 'db.replication_lag_seconds', '', COALESCE(max(extract(epoch FROM r.replay_lag)), 0), NULL, NULL, NULL, NULL
	FROM pg_stat_replication r
	WHERE r.state = 'streaming'
	HAVING count(*) > 0
$$;
COMMENT ON FUNCTION deploydb.measure_server(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_server(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_size(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'db.size_bytes', '', pg_database_size(current_database()), NULL::text, NULL::text, NULL::text, NULL::jsonb
$$;
COMMENT ON FUNCTION deploydb.measure_size(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_size(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_archive(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'archive.failed', '', COALESCE(a.last_failed_time > COALESCE(a.last_archived_time, '-infinity'), false)
			::integer::double precision,
		NULL::text, CASE WHEN a.last_failed_time IS NOT NULL THEN format('%s, %s', a.last_failed_wal,
			to_char(a.last_failed_time, 'YYYY-MM-DD HH24:MI:SS')) END, NULL::text, NULL::jsonb
	FROM pg_stat_archiver a
	WHERE current_setting('archive_mode') <> 'off'
	UNION ALL
	SELECT 'archive.age_seconds', '', GREATEST(COALESCE(extract(epoch FROM at - min(f.modification)), 0), 0),
		NULL, NULL, NULL, NULL
	FROM pg_ls_archive_statusdir() f
	WHERE f.name LIKE '%.ready'
	HAVING current_setting('archive_mode') <> 'off'
$$;
COMMENT ON FUNCTION deploydb.measure_archive(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_archive(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_monitor(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT v.metric, '', v.value, NULL::text, NULL::text, NULL::text, NULL::jsonb
	FROM deploydb.monitor_state m
		CROSS JOIN LATERAL (VALUES ('worker.tick_seconds', m.last_tick_ms / 1000),
			('alert.evaluation_ms', m.last_evaluation_ms)) AS v (metric, value)
	WHERE v.value IS NOT NULL;
END
$$;
COMMENT ON FUNCTION deploydb.measure_monitor(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_monitor(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.measure_backlog(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regclass('deploydb.outbox') IS NOT NULL THEN
		RETURN QUERY
		SELECT 'webhook.backlog', '', COALESCE(sum(b.pending), 0)::double precision, NULL::text,
			string_agg(format(deploydb.word('%s for %s'), b.pending, b.webhook), ', ' ORDER BY b.pending DESC, b.webhook), NULL::text, NULL::jsonb
		FROM (SELECT o.webhook, count(*) AS pending FROM deploydb.outbox o
			  WHERE o.state IN ('pending', 'sending') GROUP BY o.webhook) AS b;
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.measure_backlog(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_backlog(timestamptz) FROM PUBLIC;

-- Each collector in a scope of its own; first all read, then what they gave is
-- written, so that a scope that fails has taken no transaction id.
CREATE FUNCTION deploydb.collect_metrics(at timestamptz)
RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
AS $$
#variable_conflict use_column
DECLARE
	now timestamptz := collect_metrics.at;
	due record;
	given jsonb;
	measured jsonb := '{}';
	errors jsonb := '{}';
	failed integer := 0;
BEGIN
	IF now IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'at must not be NULL';
	END IF;
	FOR due IN
		SELECT b.collector, array_agg(b.name) AS metrics
		FROM deploydb.builtin_metric b
			JOIN deploydb.metric m ON m.name = b.name
		WHERE b.collector IS NOT NULL AND m.enabled AND (NOT b.needs_preload OR deploydb.is_preloaded())
			AND NOT EXISTS (SELECT FROM deploydb.metric_latest l
				WHERE l.metric = b.name AND (l.at <= now AND l.at > now - make_interval(secs => b.every_seconds)
					-- longer than that is by a clock that was set back
					OR (l.readings ->> 'left_out_until')::timestamptz BETWEEN now AND now + interval '61 minutes'))
		GROUP BY b.collector
	LOOP
		BEGIN
			EXECUTE format('SELECT COALESCE(jsonb_agg(to_jsonb(c)), ''[]'') FROM deploydb.%I($1) c', due.collector)
			INTO given USING now;
			measured := measured || jsonb_build_object(due.collector, given);
		EXCEPTION WHEN OTHERS THEN
			errors := errors || jsonb_build_object(due.collector, SQLERRM);
			failed := failed + 1;
		END;
	END LOOP;

	PERFORM deploydb.record_metric(g.metric, g.series, COALESCE(g.measured_at, now), g.value, g.fingerprint, g.note, g.severity, NULL,
		g.readings)
	FROM jsonb_each(measured) c
		CROSS JOIN LATERAL jsonb_to_recordset(c.value) AS g (metric text, series text, value double precision,
			fingerprint text, note text, severity text, readings jsonb, measured_at timestamptz)
		JOIN deploydb.metric m ON m.name = g.metric AND m.enabled;

	PERFORM deploydb.refresh_watched();
	PERFORM deploydb.thin_samples(now);

	-- what failed has no value: each series that there was, or the only one
	PERFORM deploydb.record_metric(b.name, COALESCE(l.series, ''), now, NULL, error => e.value)
	FROM jsonb_each_text(errors) e
		JOIN deploydb.builtin_metric b ON b.collector = e.key
		JOIN deploydb.metric m ON m.name = b.name AND m.enabled
		LEFT JOIN deploydb.metric_latest l ON l.metric = b.name;

	-- series that are no more
	DELETE FROM deploydb.metric_latest l
	USING deploydb.builtin_metric b
	WHERE b.name = l.metric AND l.at <> now
		AND (NOT measured -> b.collector @> jsonb_build_array(jsonb_build_object('metric', l.metric, 'series', l.series))
			OR b.collector IS NOT NULL AND (b.needs_preload AND NOT deploydb.is_preloaded()
				OR NOT (SELECT m.enabled FROM deploydb.metric m WHERE m.name = b.name)));
	RETURN failed;
END
$$;
COMMENT ON FUNCTION deploydb.collect_metrics(timestamptz) IS
	'Monitoring: measures the built-in metrics, and returns how many collectors failed; a part of the tick';
REVOKE ALL ON FUNCTION deploydb.collect_metrics(timestamptz) FROM PUBLIC;
