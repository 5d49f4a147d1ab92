
--
-- Prisma's ledger, the environment, the smoke test
--

CREATE FUNCTION deploydb.ledger(
	migration text DEFAULT NULL, schema text DEFAULT NULL)
RETURNS TABLE (migration text, state text, checksum text, started_at timestamptz,
	finished_at timestamptz, rolled_back_at timestamptz, steps integer, note text)
AS 'MODULE_PATHNAME', 'deploydb_ledger'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 30;
COMMENT ON FUNCTION deploydb.ledger(text, text) IS
	'Database migration: what Prisma''s ledger says of each migration, and whether its checksum is that of the known text';
REVOKE ALL ON FUNCTION deploydb.ledger(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.ledger(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.smoke_test(target text DEFAULT 'decision_insights')
RETURNS TABLE (step text, status text, detail text, elapsed_ms double precision)
AS 'MODULE_PATHNAME', 'deploydb_smoke_test'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 5;
COMMENT ON FUNCTION deploydb.smoke_test(text) IS
	'Database writes: writes a row as the application would, reads it back, and rolls it back';
REVOKE ALL ON FUNCTION deploydb.smoke_test(text) FROM PUBLIC;

CREATE FUNCTION deploydb.library_version()
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_library_version'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.library_version() IS
	'Environment: version of the loaded library, which can be newer than that of the SQL objects';
REVOKE ALL ON FUNCTION deploydb.library_version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.library_version() TO pg_monitor, pg_database_owner;

-- Libraries in the form of the setting: comma-separated, each maybe in double quotes.
CREATE FUNCTION deploydb.preload_statement(libraries text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'ALTER SYSTEM SET shared_preload_libraries = '
		|| string_agg(quote_literal(l.name), ', ' ORDER BY l.n) || ';'
	FROM (SELECT m.n, COALESCE(replace(m.parts[1], '""', '"'), m.parts[2]) AS name
		  FROM regexp_matches(libraries, '"((?:[^"]|"")*)"|([^,"[:space:]]+)', 'g')
			  WITH ORDINALITY AS m (parts, n)
		  UNION ALL
		  SELECT NULL, 'deploydb') AS l
	WHERE l.name <> '' AND (l.n IS NULL OR l.name <> 'deploydb')
$$;
COMMENT ON FUNCTION deploydb.preload_statement(text) IS
	'Environment: the statement that adds deploydb to the libraries of shared_preload_libraries';
REVOKE ALL ON FUNCTION deploydb.preload_statement(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.preload_statement(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.environment_of_software()
RETURNS TABLE (item text, status text, actual text, required text, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'postgresql', CASE WHEN current_setting('server_version_num')::integer >= 150000
			THEN 'ok' ELSE 'error' END,
		current_setting('server_version'), '15 or later', NULL
	UNION ALL
	SELECT 'timescaledb', 'ok', COALESCE(x.extversion, 'not installed'), 'recommended',
		CASE WHEN x.extversion IS NULL AND a.name IS NOT NULL
			THEN 'CREATE EXTENSION timescaledb;' END
	FROM (SELECT) AS one
		LEFT JOIN pg_extension x ON x.extname = 'timescaledb'
		LEFT JOIN pg_available_extensions a ON a.name = 'timescaledb'
	UNION ALL
	SELECT 'encoding', CASE current_setting('server_encoding') WHEN 'UTF8' THEN 'ok' ELSE 'warning' END,
		current_setting('server_encoding'), 'UTF8',
		CASE WHEN current_setting('server_encoding') <> 'UTF8'
			THEN 'Comments and text of the application are UTF-8, and this encoding cannot hold or check them all.' END
	UNION ALL
	SELECT 'shared_preload_libraries',
		CASE WHEN s.setting IS NULL THEN 'unknown'
			WHEN s.setting ~ '(^|[,"/[:space:]])deploydb($|[,"[:space:]])' THEN 'ok'
			ELSE 'warning' END,
		s.setting, 'deploydb among them',
		CASE WHEN s.setting IS NULL THEN 'Members of pg_read_all_settings see it.'
			WHEN s.setting ~ '(^|[,"/[:space:]])deploydb($|[,"[:space:]])' THEN NULL
			WHEN s.pending_restart THEN 'It has been changed already: restart the server, and look again.'
			WHEN s.source = 'command line' THEN 'Add deploydb on the server''s command line, where it is set, and restart the server.'
			ELSE deploydb.preload_statement(s.setting) || ' -- then restart the server' END
	FROM (SELECT) AS one
		LEFT JOIN pg_settings s ON s.name = 'shared_preload_libraries'
	UNION ALL
	SELECT 'deploydb', CASE WHEN x.extversion = deploydb.library_version() THEN 'ok' ELSE 'warning' END,
		'library ' || deploydb.library_version() || ', SQL objects ' || x.extversion,
		'the same version',
		CASE WHEN x.extversion <> deploydb.library_version()
			THEN 'ALTER EXTENSION deploydb UPDATE; -- and, where the library is the older one, start new sessions' END
	FROM pg_extension x
	WHERE x.extname = 'deploydb'
$$;
COMMENT ON FUNCTION deploydb.environment_of_software() IS
	'Environment: versions, encoding, preloading; a part of check_environment()';
REVOKE ALL ON FUNCTION deploydb.environment_of_software() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.environment_of_software() TO pg_monitor, pg_database_owner;

-- created_at is a timestamp without time zone with DEFAULT CURRENT_TIMESTAMP,
-- so that the session's TimeZone decides what is stored, while Prisma itself
-- always writes UTC.  What counts is the setting that the application gets.
CREATE FUNCTION deploydb.environment_of_timezone()
RETURNS TABLE (item text, status text, actual text, required text, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH level (rank, role, origin, zone) AS (
		SELECT CASE WHEN s.setrole <> 0 AND s.setdatabase <> 0 THEN 1 WHEN s.setrole <> 0 THEN 2
				WHEN s.setdatabase <> 0 THEN 3 ELSE 4 END,
			r.rolname,
			CASE WHEN s.setrole <> 0 THEN 'role ' || quote_ident(r.rolname)
				WHEN s.setdatabase <> 0 THEN 'database' ELSE 'all roles' END,
			substr(c.option, strpos(c.option, '=') + 1)
		FROM pg_db_role_setting s
			CROSS JOIN unnest(s.setconfig) AS c (option)
			LEFT JOIN pg_roles r ON r.oid = s.setrole
		WHERE lower(split_part(c.option, '=', 1)) = 'timezone'
			AND (s.setdatabase = 0 OR s.setdatabase = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
			AND (s.setrole = 0 OR r.rolname = deploydb.setting('app_role'))
		UNION ALL
		SELECT 5, NULL, 'server', s.setting
		FROM pg_settings s
		WHERE s.name = 'TimeZone'
			AND s.source IN ('default', 'environment variable', 'configuration file', 'command line')
	), effective AS (
		SELECT l.role, l.origin, l.zone,
			l.zone ~* '^(etc/)?(utc|uct|gmt|gmt0|gmt[+-]0|zulu|universal|greenwich)$' AS is_utc
		FROM level l
		ORDER BY l.rank
		LIMIT 1
	)
	SELECT 'TimeZone',
		CASE WHEN e.zone IS NULL THEN 'unknown' WHEN e.is_utc THEN 'ok' ELSE 'warning' END,
		e.zone || ' (' || e.origin || ')', 'UTC',
		CASE WHEN e.zone IS NULL THEN 'This session has a TimeZone of its own, which hides the server''s.'
			WHEN e.is_utc THEN NULL
			WHEN e.role IS NOT NULL THEN format('ALTER ROLE %I IN DATABASE %I SET TimeZone = ''UTC''; -- CURRENT_TIMESTAMP in created_at is local time, Prisma writes UTC',
				e.role, current_database())
			ELSE format('ALTER DATABASE %I SET TimeZone = ''UTC''; -- CURRENT_TIMESTAMP in created_at is local time, Prisma writes UTC',
				current_database()) END
	FROM (SELECT) AS one
		LEFT JOIN effective e ON true
$$;
COMMENT ON FUNCTION deploydb.environment_of_timezone() IS
	'Environment: the time zone in which the application''s CURRENT_TIMESTAMP is stored; a part of check_environment()';
REVOKE ALL ON FUNCTION deploydb.environment_of_timezone() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.environment_of_timezone() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.environment_of_settings()
RETURNS TABLE (item text, status text, actual text, required text, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'worker slots', CASE WHEN w.free IS NULL THEN 'unknown' WHEN w.free >= 2 THEN 'ok' ELSE 'warning' END,
		w.free || ' of ' || w.slots || ' free', '2 free',
		CASE WHEN w.free < 2 THEN format('ALTER SYSTEM SET max_worker_processes = %s; -- on standbys first, restart each', w.slots + 2 - w.free)
			WHEN w.free IS NULL THEN 'Members of pg_read_all_stats see it.' END
	FROM (SELECT current_setting('max_worker_processes')::integer AS slots,
			  CASE WHEN count(*) FILTER (WHERE a.backend_type IS NULL) = 0 THEN
				  current_setting('max_worker_processes')::integer
				  - count(*) FILTER (WHERE a.backend_type NOT IN (
						'archiver', 'autovacuum launcher', 'autovacuum worker',
						'background writer', 'checkpointer', 'client backend',
						'io worker', 'logger', 'slotsync worker', 'standalone backend',
						'startup', 'walreceiver', 'walsender', 'walsummarizer', 'walwriter'))
			  END AS free
		  FROM pg_stat_activity a) AS w
	UNION ALL
	SELECT s.name, CASE WHEN s.setting = 'on' THEN 'ok' WHEN s.name = 'data_checksums' THEN 'warning' ELSE 'error' END,
		s.setting, 'on',
		CASE WHEN s.setting = 'on' THEN NULL
			WHEN s.name = 'data_checksums' THEN 'Stop the server and run pg_checksums --enable: without, damaged pages are read as good ones.'
			ELSE format('ALTER SYSTEM SET %I = on; SELECT pg_reload_conf(); -- without, a crash can damage the database', s.name) END
	FROM pg_settings s
	WHERE s.name IN ('data_checksums', 'fsync', 'full_page_writes')
	UNION ALL
	SELECT 'archiving',
		CASE WHEN a.archive_mode = 'off' OR a.archiver = '' THEN 'warning'
			WHEN a.failing THEN 'error' ELSE 'ok' END,
		CASE WHEN a.archive_mode = 'off' THEN 'off'
			WHEN a.archiver = '' THEN 'nothing to archive by'
			WHEN a.failing THEN 'failing since ' || a.failed_at
			ELSE a.archive_mode END,
		'on',
		CASE WHEN a.archive_mode = 'off' OR a.archiver = ''
				THEN 'Without archived WAL a backup can only go back to the moment it was taken.'
			WHEN a.failing THEN 'See the server''s log for the archiver''s errors.' END
	FROM (SELECT current_setting('archive_mode') AS archive_mode,
			  COALESCE(current_setting('archive_library', true), '')
				  || current_setting('archive_command') AS archiver,
			  p.last_failed_time > COALESCE(p.last_archived_time, '-infinity') AS failing,
			  p.last_failed_time AS failed_at
		  FROM pg_stat_archiver p) AS a
$$;
COMMENT ON FUNCTION deploydb.environment_of_settings() IS
	'Environment: settings that a deployment relies on; a part of check_environment()';
REVOKE ALL ON FUNCTION deploydb.environment_of_settings() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.environment_of_settings() TO pg_monitor, pg_database_owner;

-- Roles that the application could be connecting as.
CREATE FUNCTION deploydb.app_role_candidates()
RETURNS text[]
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH writer AS MATERIALIZED (
		SELECT c.relowner AS role
		FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$|deploydb$)'
		UNION
		SELECT a.grantee
		FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace
			CROSS JOIN aclexplode(c.relacl) AS a
		WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$|deploydb$)'
			AND a.privilege_type = 'INSERT' AND a.grantee <> 0
	)
	SELECT COALESCE(array_agg(r.rolname::text ORDER BY r.rolname), '{}')
	FROM pg_roles r
	WHERE r.rolcanlogin AND NOT r.rolsuper
		AND (EXISTS (SELECT FROM pg_stat_activity a
					 WHERE a.usesysid = r.oid AND a.datname = current_database())
			OR EXISTS (SELECT FROM writer w WHERE pg_has_role(r.oid, w.role, 'USAGE')))
$$;
COMMENT ON FUNCTION deploydb.app_role_candidates() IS
	'Environment: roles that can log in and are connected here, own tables or can write into them';
REVOKE ALL ON FUNCTION deploydb.app_role_candidates() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.app_role_candidates() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.environment_of_app_role()
RETURNS TABLE (item text, status text, actual text, required text, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH setting AS (
		SELECT NULLIF(deploydb.setting('app_role'), '') AS role
	), app AS (
		SELECT r.*, (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid) AS connections
		FROM setting s
			JOIN pg_roles r ON r.rolname = s.role
	)
	SELECT 'app_role', 'not_measured', 'not set', 'the role that the application connects as',
		format('ALTER DATABASE %I SET deploydb.app_role = %L;', current_database(),
			   COALESCE(c.candidates[1], 'name of the role'))
		|| CASE WHEN cardinality(c.candidates) > 1
			THEN ' -- or ' || array_to_string(c.candidates[2:6], ', ') ELSE '' END
	FROM setting s
		CROSS JOIN deploydb.app_role_candidates() AS c (candidates)
	WHERE s.role IS NULL
	UNION ALL
	SELECT 'app_role', 'error', s.role || ' does not exist', 'an existing role',
		format('CREATE ROLE %I LOGIN;', s.role)
	FROM setting s
	WHERE s.role IS NOT NULL AND NOT EXISTS (SELECT FROM app)
	UNION ALL
	SELECT 'app_role login', CASE WHEN a.rolcanlogin AND NOT a.expired THEN 'ok' ELSE 'error' END,
		CASE WHEN NOT a.rolcanlogin THEN 'NOLOGIN' WHEN a.expired THEN 'password expired' ELSE 'LOGIN' END,
		'LOGIN',
		CASE WHEN NOT a.rolcanlogin THEN format('ALTER ROLE %I LOGIN;', a.rolname)
			WHEN a.expired THEN format('ALTER ROLE %I VALID UNTIL ''infinity'';', a.rolname) END
	FROM (SELECT app.*, COALESCE(app.rolvaliduntil <= now(), false) AS expired FROM app) AS a
	UNION ALL
	SELECT 'app_role CONNECT', CASE WHEN c.granted THEN 'ok' ELSE 'error' END,
		CASE WHEN c.granted THEN 'granted' ELSE 'not granted' END, 'granted',
		CASE WHEN NOT c.granted THEN format('GRANT CONNECT ON DATABASE %I TO %I;', current_database(), c.rolname) END
	FROM (SELECT a.rolname, has_database_privilege(a.oid, current_database(), 'CONNECT') AS granted FROM app a) AS c
	UNION ALL
	SELECT 'app_role connection limit',
		CASE WHEN a.rolconnlimit < 0 OR a.rolsuper OR a.connections < a.rolconnlimit * 0.8 THEN 'ok'
			WHEN a.connections < a.rolconnlimit THEN 'warning' ELSE 'error' END,
		CASE WHEN a.rolconnlimit < 0 THEN a.connections || ', no limit'
			ELSE a.connections || ' of ' || a.rolconnlimit END,
		'below four fifths of the limit',
		CASE WHEN a.rolconnlimit >= 0 AND NOT a.rolsuper AND a.connections >= a.rolconnlimit * 0.8
			THEN format('ALTER ROLE %I CONNECTION LIMIT -1;', a.rolname) END
	FROM app a
$$;
COMMENT ON FUNCTION deploydb.environment_of_app_role() IS
	'Environment: the application''s role; a part of check_environment()';
REVOKE ALL ON FUNCTION deploydb.environment_of_app_role() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.environment_of_app_role() TO pg_monitor, pg_database_owner;

-- What the application's role must be able to do with the migrated tables.
CREATE FUNCTION deploydb.environment_of_app_rights()
RETURNS TABLE (item text, status text, actual text, required text, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
AS $$
	WITH app AS (
		SELECT r.oid, r.rolname FROM pg_roles r
		WHERE r.rolname = deploydb.setting('app_role')
	), migrated AS MATERIALIZED (
		SELECT c.oid, n.oid AS schema_oid, n.nspname, c.relname
		FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$|deploydb$)'
			AND quote_ident(c.relname) IN (SELECT e.object FROM deploydb.expected_fact e
										   WHERE e.object_type = 'table' AND e.property = 'kind')
	), wanted (item, granted, required, statement) AS (
		SELECT DISTINCT format('app_role on schema %I', m.nspname),
			has_schema_privilege(a.oid, m.schema_oid, 'USAGE'), 'USAGE',
			format('GRANT USAGE ON SCHEMA %I TO %I;', m.nspname, a.rolname)
		FROM app a CROSS JOIN migrated m
		UNION ALL
		SELECT format('app_role on %I.%I', m.nspname, m.relname),
			has_table_privilege(a.oid, m.oid, 'SELECT') AND has_table_privilege(a.oid, m.oid, 'INSERT')
				AND has_table_privilege(a.oid, m.oid, 'UPDATE'),
			'SELECT, INSERT, UPDATE',
			format('GRANT SELECT, INSERT, UPDATE ON TABLE %I.%I TO %I;', m.nspname, m.relname, a.rolname)
		FROM app a CROSS JOIN migrated m
		UNION ALL
		SELECT format('app_role on sequence %I.%I', n.nspname, s.relname),
			has_sequence_privilege(a.oid, s.oid, 'USAGE'), 'USAGE',
			format('GRANT USAGE ON SEQUENCE %I.%I TO %I;', n.nspname, s.relname, a.rolname)
		FROM app a CROSS JOIN migrated m
			JOIN pg_depend d ON d.refobjid = m.oid AND d.refclassid = 'pg_class'::regclass
				AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
			JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
			JOIN pg_namespace n ON n.oid = s.relnamespace
	)
	SELECT w.item, CASE WHEN w.granted THEN 'ok' ELSE 'error' END,
		CASE WHEN w.granted THEN 'granted' ELSE 'not granted' END, w.required,
		CASE WHEN NOT w.granted THEN w.statement END
	FROM wanted w
	UNION ALL
	SELECT 'app_role on tables', 'not_measured', 'no migrated table is here', NULL, NULL
	FROM app
	WHERE NOT EXISTS (SELECT FROM migrated)
$$;
COMMENT ON FUNCTION deploydb.environment_of_app_rights() IS
	'Environment: rights of the application''s role on the migrated tables; a part of check_environment()';
REVOKE ALL ON FUNCTION deploydb.environment_of_app_rights() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.environment_of_app_rights() TO pg_monitor, pg_database_owner;

-- pg_dump locks and reads every table and sequence but those of extensions,
-- unless these are marked as configuration, and stops at the first that it
-- may not, or whose rows a policy would hide.
CREATE FUNCTION deploydb.environment_of_dumps()
RETURNS TABLE (item text, status text, actual text, required text, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH dumped AS MATERIALIZED (
		SELECT c.oid, c.relkind, c.relowner, c.relnamespace,
			format('%I.%I', n.nspname, c.relname) AS name,
			c.relrowsecurity, c.relforcerowsecurity
		FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
			AND c.relpersistence <> 't'
			AND (NOT EXISTS (SELECT FROM pg_depend d
							 WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
				OR EXISTS (SELECT FROM pg_extension x WHERE c.oid = ANY (x.extconfig)))
	), owner AS (
		SELECT r.oid, r.rolname, r.rolbypassrls
		FROM pg_roles r
		WHERE NOT r.rolsuper AND r.oid IN (SELECT d.relowner FROM dumped d WHERE d.relkind IN ('r', 'p'))
	), refused AS (
		SELECT o.rolname, d.name, NOT p.readable AS unreadable
		FROM owner o
			CROSS JOIN dumped d
			CROSS JOIN LATERAL (SELECT has_schema_privilege(o.oid, d.relnamespace, 'USAGE')
				AND CASE WHEN d.relkind = 'S' THEN has_sequence_privilege(o.oid, d.oid, 'SELECT')
					ELSE has_table_privilege(o.oid, d.oid, 'SELECT') END AS readable) AS p
		WHERE NOT p.readable
			OR (d.relrowsecurity AND NOT o.rolbypassrls
				AND (d.relforcerowsecurity OR NOT pg_has_role(o.oid, d.relowner, 'USAGE')))
	)
	SELECT format('pg_dump by %I', r.rolname), 'warning',
		'refused: ' || array_to_string((array_agg(r.name ORDER BY r.name))[1:3], ', ')
			|| CASE WHEN count(*) > 3 THEN format(' and %s more', count(*) - 3) ELSE '' END,
		'SELECT on every table and sequence',
		CASE WHEN bool_or(r.unreadable) THEN format('GRANT pg_read_all_data TO %I;', r.rolname)
			ELSE format('ALTER ROLE %I BYPASSRLS; -- or dump as a superuser', r.rolname) END
	FROM refused r
	GROUP BY r.rolname
	UNION ALL
	SELECT 'pg_dump by owners of tables', 'ok', count(*) || ' roles, and superusers', 'able to dump all', NULL
	FROM owner o
	WHERE o.rolname NOT IN (SELECT r.rolname FROM refused r)
$$;
COMMENT ON FUNCTION deploydb.environment_of_dumps() IS
	'Environment: roles that own tables and could not dump the database; a part of check_environment()';
REVOKE ALL ON FUNCTION deploydb.environment_of_dumps() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.environment_of_dumps() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.check_environment()
RETURNS TABLE (item text, status text, actual text, required text, hint text)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part text;
BEGIN
	FOREACH part IN ARRAY ARRAY['software', 'timezone', 'settings', 'app_role', 'app_rights', 'dumps']
	LOOP
		BEGIN
			RETURN QUERY EXECUTE format('SELECT e.* FROM deploydb.%I() AS e', 'environment_of_' || part);
		EXCEPTION WHEN insufficient_privilege OR undefined_object OR undefined_table THEN
			RETURN QUERY SELECT part, 'unknown', NULL::text, NULL::text, SQLERRM;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION deploydb.check_environment() IS
	'Environment: what server, settings and roles must be like for a deployment, with the statement where they are not';
REVOKE ALL ON FUNCTION deploydb.check_environment() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.check_environment() TO pg_monitor, pg_database_owner;
