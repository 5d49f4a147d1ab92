--
-- Backups: is there one to go back to
--

-- An increment is as good as all that it is based on, down to a full one.
CREATE FUNCTION deploydb.backup_is_fit(backup bigint)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE chain AS (
		SELECT b.id, b.type, b.parent_id FROM deploydb.backup b WHERE b.id = backup_is_fit.backup
		UNION
		SELECT p.id, p.type, p.parent_id FROM chain c JOIN deploydb.backup p ON p.id = c.parent_id WHERE c.type <> 'full'
	)
	SELECT COALESCE(bool_or(b.type = 'full') AND bool_and(b.status IN ('done', 'verified', 'restore_tested')
		AND b.system_identifier = s.system_identifier::text AND b.method <> 'table_copy' AND b.relations IS NULL
		AND (b.method <> 'pg_dump' OR b.database = current_database())
		AND (b.expires_at > clock_timestamp()) IS NOT FALSE), false)
	FROM chain c JOIN deploydb.backup b USING (id), pg_control_system() s
$$;
COMMENT ON FUNCTION deploydb.backup_is_fit(bigint) IS
	'Backups: could one go back to this one, whatever its age: all of this database, finished, good and kept, with all that it is based on?';
REVOKE ALL ON FUNCTION deploydb.backup_is_fit(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.backup_is_fit(bigint) TO pg_monitor, pg_database_owner;

-- A day has 24 hours, also where clocks are changed.
CREATE FUNCTION deploydb.fit_backup(before timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	SELECT b.id FROM deploydb.backup b
	WHERE b.status IN ('done', 'verified', 'restore_tested') AND (before IS NULL OR b.finished_at < before)
		AND b.finished_at > COALESCE(before, clock_timestamp()) - deploydb.setting('backup_max_age')::interval
		AND deploydb.backup_is_fit(b.id)
	ORDER BY b.finished_at DESC, b.id DESC LIMIT 1
$$;
COMMENT ON FUNCTION deploydb.fit_backup(timestamptz) IS
	'Backups: the newest one that is fit, and not older than deploydb.backup_max_age at that time (NULL: now), or NULL';
REVOKE ALL ON FUNCTION deploydb.fit_backup(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.fit_backup(timestamptz) TO pg_monitor, pg_database_owner;

-- Rows written into each tracked table since a time; NULL where nobody counts.
CREATE FUNCTION deploydb.writes_since(at timestamptz)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF isfinite(at) IS NOT TRUE OR NOT deploydb.is_preloaded() OR pg_is_in_recovery() THEN
		RETURN NULL;
	END IF;
	RETURN (SELECT jsonb_object_agg(w.relation, w.rows_written) FROM deploydb.write_stats(
		GREATEST(1, ceil(extract(epoch FROM clock_timestamp() - at))) || ' seconds') w);
END
$$;
COMMENT ON FUNCTION deploydb.writes_since(timestamptz) IS
	'Backups: rows written into each tracked table since a time; NULL where that is not counted';
REVOKE ALL ON FUNCTION deploydb.writes_since(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.writes_since(timestamptz) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.backup_status()
RETURNS TABLE (tool text, newest_done bigint, done_at timestamptz, newest_verified bigint, verified_at timestamptz,
	newest_restore_tested bigint, restore_tested_at timestamptz, running bigint, age_seconds double precision,
	writes_since jsonb, verdict text, reasons text[])
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 3
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
	max_age interval := deploydb.setting('backup_max_age')::interval;
BEGIN
	FOR tool IN SELECT DISTINCT b.tool FROM deploydb.backup b ORDER BY 1
	LOOP
		-- OFFSET: the newest first, so that few chains are looked at
		SELECT d.id, d.finished_at INTO newest_done, done_at
		FROM (SELECT b.id, b.finished_at FROM deploydb.backup b
			WHERE b.tool = backup_status.tool AND b.status IN ('done', 'verified', 'restore_tested')
			ORDER BY b.finished_at DESC, b.id DESC OFFSET 0) d
		WHERE deploydb.backup_is_fit(d.id) LIMIT 1;
		SELECT d.backup, d.verified_at INTO newest_verified, verified_at
		FROM (SELECT v.backup, v.verified_at
			FROM deploydb.backup_verification v JOIN deploydb.backup b ON b.id = v.backup AND b.status IN ('verified', 'restore_tested')
			WHERE v.ok AND b.tool = backup_status.tool ORDER BY b.finished_at DESC, b.id DESC, v.id DESC OFFSET 0) d
		WHERE deploydb.backup_is_fit(d.backup) LIMIT 1;
		SELECT d.backup, d.tested_at INTO newest_restore_tested, restore_tested_at
		FROM (SELECT r.backup, r.tested_at
			FROM deploydb.restore_test r JOIN deploydb.backup b ON b.id = r.backup AND b.status = 'restore_tested'
			WHERE r.ok AND b.tool = backup_status.tool ORDER BY b.finished_at DESC, b.id DESC, r.id DESC OFFSET 0) d
		WHERE deploydb.backup_is_fit(d.backup) LIMIT 1;
		SELECT count(*) INTO running FROM deploydb.backup b WHERE b.tool = backup_status.tool AND b.status = 'running';
		age_seconds := extract(epoch FROM clock_timestamp() - done_at);
		writes_since := deploydb.writes_since(done_at);
		SELECT COALESCE(array_agg(r.reason ORDER BY r.n), '{}'), COALESCE(min(r.severity), 'ok') INTO reasons, verdict
		FROM (VALUES
			(1, newest_done IS NULL, 'error', deploydb.word('none is finished and good')),
			(2, done_at < clock_timestamp() - max_age, 'error',
				format(deploydb.word('the newest is %s old'), date_trunc('second', clock_timestamp() - done_at))),
			(3, EXISTS (SELECT FROM deploydb.backup b WHERE b.tool = backup_status.tool AND b.status IN ('failed', 'interrupted', 'corrupt')
				AND b.started_at > COALESCE(done_at, '-infinity')), 'warning', deploydb.word('the last one went wrong')),
			(4, newest_verified IS DISTINCT FROM newest_done, 'warning', deploydb.word('the newest is not verified')),
			(5, newest_done IS NOT NULL AND NOT EXISTS (SELECT FROM deploydb.restore_test r JOIN deploydb.backup b ON b.id = r.backup
				WHERE r.ok AND b.tool = backup_status.tool), 'warning', deploydb.word('none was ever restored')),
			(6, (SELECT b.size_stored < 0.5 * (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY o.size_stored)
					FROM (SELECT x.size_stored FROM deploydb.backup x WHERE x.tool = b.tool AND x.type = b.type AND x.method = b.method
						AND x.database = b.database AND x.id < b.id AND x.status IN ('done', 'verified', 'restore_tested', 'expired')
						ORDER BY x.id DESC LIMIT 5) o)
				FROM deploydb.backup b WHERE b.id = newest_done), 'warning', deploydb.word('the newest is less than half as big as those before'))
			) AS r (n, applies, severity, reason)
		WHERE r.applies;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION deploydb.backup_status() IS
	'Backups: of each tool the newest that is done, verified and restored, its age, what was written since, and a verdict';
REVOKE ALL ON FUNCTION deploydb.backup_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.backup_status() TO pg_monitor, pg_database_owner;

-- Where none is good, the age is that of the first one's start here: a first one
-- that is running is not missed yet, a good one that was lost is.
CREATE FUNCTION deploydb.measure_backup(at timestamptz)
RETURNS TABLE (metric text, series text, value double precision, fingerprint text, note text, severity text,
	readings jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF deploydb.suspended() IS NULL THEN
		PERFORM deploydb.note_interrupted();
	END IF;
	RETURN QUERY
	SELECT 'backup.age_seconds', '', extract(epoch FROM measure_backup.at - COALESCE(g.finished_at, f.started_at))::double precision, NULL::text,
		COALESCE(g.label || ' by ' || g.tool, deploydb.word('none is finished and good')), NULL::text, NULL::jsonb
	FROM (SELECT min(x.started_at) AS started_at FROM deploydb.backup x, pg_control_system() s
			WHERE x.system_identifier = s.system_identifier::text AND x.method <> 'table_copy' AND x.relations IS NULL) f
		LEFT JOIN LATERAL (SELECT b.*
			FROM (SELECT x.* FROM deploydb.backup x WHERE x.status IN ('done', 'verified', 'restore_tested')
				ORDER BY x.finished_at DESC OFFSET 0) b
			WHERE deploydb.backup_is_fit(b.id)
			LIMIT 1) g ON true
	WHERE f.started_at IS NOT NULL;
END
$$;
COMMENT ON FUNCTION deploydb.measure_backup(timestamptz) IS
	'Monitoring: a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.measure_backup(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.status_of_backup()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT s.verdict, concat_ws(': ', s.tool, COALESCE(NULLIF(array_to_string(s.reasons, ', '), ''),
			format(deploydb.word('finished %s'), to_char(s.done_at, 'YYYY-MM-DD HH24:MI')))),
		CASE WHEN s.verdict <> 'ok' THEN 'SELECT * FROM deploydb.backup_status();' END
	FROM deploydb.backup_status() s;
	IF NOT FOUND THEN
		RETURN QUERY SELECT 'warning', deploydb.word('none is recorded'), 'deploydb-dump, or deploydb.import_backups()';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.status_of_backup() IS
	'Backups: how they are; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_backup() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_backup() TO pg_monitor, pg_database_owner;
