/* The install script: its parts are in sql/install/. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION deploydb" to load this file. \quit

-- Everything but two entry points lives here.  A schema of that name that is
-- already there, whoever made it, must make this fail.
CREATE SCHEMA deploydb;
COMMENT ON SCHEMA deploydb IS 'Deployment checks: migrations, backups, rollbacks, write success, alerts';
GRANT USAGE ON SCHEMA deploydb TO pg_monitor, pg_database_owner;

-- current_setting() knows a setting of ours only where the library is loaded,
-- which calling this does.
CREATE FUNCTION deploydb.setting(name text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_setting'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.setting(text) IS
	'Environment: the value of a setting of deploydb, named without its prefix';
REVOKE ALL ON FUNCTION deploydb.setting(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.setting(text) TO pg_monitor, pg_database_owner;

--
-- Known migrations, and what they expect
--

CREATE TABLE deploydb.registered_migration (
	migration text COLLATE "C" PRIMARY KEY CHECK (migration <> ''),
	ddl text,
	capture jsonb,
	forgotten boolean NOT NULL DEFAULT false,
	checksum text CHECK (checksum ~ '^[0-9a-f]{64}$'),
	rollback_ddl text,
	registered_by text NOT NULL,
	registered_at timestamptz NOT NULL DEFAULT now(),
	CHECK (num_nonnulls(ddl, capture) = CASE WHEN forgotten THEN 0 ELSE 1 END)
);
COMMENT ON TABLE deploydb.registered_migration IS
	'Database migration: migrations that were registered or imported here; a forgotten one hides the built-in migration of its name';
GRANT SELECT ON deploydb.registered_migration TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.registered_migration', '');

CREATE FUNCTION deploydb.builtin_migrations(
	OUT migration text, OUT ddl text, OUT checksum text, OUT rollback_ddl text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'deploydb_builtin_migrations'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION deploydb.builtin_migrations() IS
	'Database migration: the migrations that come with deploydb';
REVOKE ALL ON FUNCTION deploydb.builtin_migrations() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.builtin_migrations() TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.known_migration AS
	SELECT r.migration, r.ddl, r.checksum, r.rollback_ddl,
		r.registered_by, r.registered_at,
		'captured on ' || (r.capture ->> 'server_name') || ' at '
			|| (r.capture ->> 'captured_at') || ', verified there: '
			|| COALESCE(r.capture ->> 'verdict', 'not known') AS capture_note,
		r.capture ->> 'schema' AS capture_schema,
		false AS built_in
	FROM deploydb.registered_migration r
	WHERE NOT r.forgotten
	UNION ALL
	SELECT b.migration, b.ddl, b.checksum, b.rollback_ddl,
		NULL, NULL, NULL, NULL, true
	FROM deploydb.builtin_migrations() b
	WHERE NOT EXISTS (SELECT FROM deploydb.registered_migration r
					  WHERE r.migration = b.migration);
COMMENT ON VIEW deploydb.known_migration IS
	'Database migration: every migration that deploydb verifies, built in or registered';
GRANT SELECT ON deploydb.known_migration TO pg_monitor, pg_database_owner;

-- A cache: what is missing or of another major version is derived again.
CREATE TABLE deploydb.expectation (
	migration text COLLATE "C" PRIMARY KEY,
	server_major integer NOT NULL,
	fact_format integer NOT NULL,
	facts text[] NOT NULL CHECK (cardinality(facts) % 4 = 0),
	derived_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE deploydb.expectation IS
	'Database migration: facts about the objects that each migration touches, four array elements a fact';
GRANT SELECT ON deploydb.expectation TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.expected_fact AS
	SELECT e.migration, e.facts[i] AS object_type, e.facts[i + 1] AS object,
		e.facts[i + 2] AS property, e.facts[i + 3] AS value
	FROM deploydb.expectation e,
		generate_series(1, cardinality(e.facts), 4) AS i;
COMMENT ON VIEW deploydb.expected_fact IS
	'Database migration: what each known migration expects, one fact a row';
GRANT SELECT ON deploydb.expected_fact TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.derive_expectations()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_derive_expectations'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.derive_expectations() IS
	'Database migration: replays every known migration and stores what it expects';
REVOKE ALL ON FUNCTION deploydb.derive_expectations() FROM PUBLIC;

CREATE FUNCTION deploydb.register_migration(
	migration text, ddl text, checksum text DEFAULT NULL,
	rollback_ddl text DEFAULT NULL)
RETURNS integer
AS 'MODULE_PATHNAME', 'deploydb_register_migration'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.register_migration(text, text, text, text) IS
	'Database migration: makes a migration known by its SQL, and returns the number of facts that it expects';
REVOKE ALL ON FUNCTION deploydb.register_migration(text, text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.forget_migration(migration text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_forget_migration'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.forget_migration(text) IS
	'Database migration: the migration is not verified any more';
REVOKE ALL ON FUNCTION deploydb.forget_migration(text) FROM PUBLIC;

--
-- Verification
--

CREATE TABLE deploydb.acceptance (
	migration text COLLATE "C" NOT NULL,
	object_type text COLLATE "C" NOT NULL,
	object text COLLATE "C" NOT NULL,
	property text COLLATE "C" NOT NULL,
	reason text NOT NULL CHECK (btrim(reason) <> ''),
	until timestamptz,
	accepted_by text NOT NULL,
	accepted_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (migration, object_type, object, property)
);
COMMENT ON TABLE deploydb.acceptance IS
	'Database migration: deviations that somebody accepted, with the reason';
GRANT SELECT ON deploydb.acceptance TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.acceptance', '');

CREATE VIEW deploydb.acceptance_in_force AS
	SELECT a.migration, a.object_type, a.object, a.property,
		'Accepted by ' || a.accepted_by || ' on '
			|| to_char(a.accepted_at, 'YYYY-MM-DD')
			|| CASE WHEN a.until IS NULL OR NOT isfinite(a.until) THEN ''
				ELSE ' until ' || to_char(a.until, 'YYYY-MM-DD HH24:MI TZ') END
			|| ': ' || a.reason AS note
	FROM deploydb.acceptance a
	WHERE a.until IS NULL OR a.until > now();
COMMENT ON VIEW deploydb.acceptance_in_force IS
	'Database migration: acceptances that have not expired';
GRANT SELECT ON deploydb.acceptance_in_force TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.verification (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	migration text COLLATE "C" NOT NULL,
	schema text COLLATE "C" NOT NULL,
	outcome text NOT NULL CHECK (outcome IN ('verified', 'deviates')),
	fingerprint text,
	errors integer NOT NULL,
	warnings integer NOT NULL,
	verified_by text NOT NULL,
	verified_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX verification_migration_idx
	ON deploydb.verification (migration, schema, id);
COMMENT ON TABLE deploydb.verification IS
	'Database migration: a row whenever a verification gave another outcome or fingerprint than the one before';
GRANT SELECT ON deploydb.verification TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.verification_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.verification', '');
SELECT pg_extension_config_dump('deploydb.verification_id_seq', '');

CREATE VIEW deploydb.verification_history AS
	SELECT v.id, v.verified_at, v.migration, NULLIF(v.schema, '') AS schema,
		v.outcome, v.errors, v.warnings, v.fingerprint, v.verified_by
	FROM deploydb.verification v
	ORDER BY v.id DESC;
COMMENT ON VIEW deploydb.verification_history IS
	'Database migration: outcome and fingerprint of verifications whenever either changed, newest first';
GRANT SELECT ON deploydb.verification_history TO pg_monitor, pg_database_owner;

CREATE FUNCTION pg_catalog.deploydb_verify_migration(
	migration text DEFAULT NULL, schema text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_verify_migration'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pg_catalog.deploydb_verify_migration(text, text) IS
	'Database migration: is it really there, exactly and valid?  One warning for each deviation; NULL where it could not be found out';
REVOKE ALL ON FUNCTION pg_catalog.deploydb_verify_migration(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.deploydb_verify_migration(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.assert_migration(
	migration text DEFAULT NULL, schema text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_assert_migration'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.assert_migration(text, text) IS
	'Database migration: true, or an error with the deviations as its detail, for scripts and CI';
REVOKE ALL ON FUNCTION deploydb.assert_migration(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.assert_migration(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.migration_report(
	migration text DEFAULT NULL, schema text DEFAULT NULL,
	everything boolean DEFAULT false)
RETURNS TABLE (migration text, status text, severity text, object_type text,
	object text, property text, expected text, actual text, fix text, advice text)
AS 'MODULE_PATHNAME', 'deploydb_migration_report'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 20;
COMMENT ON FUNCTION deploydb.migration_report(text, text, boolean) IS
	'Database migration: every deviation, with the SQL that mends it, in the order in which that must run';
REVOKE ALL ON FUNCTION deploydb.migration_report(text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.migration_report(text, text, boolean) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.migration_fingerprint(
	migration text, schema text DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_migration_fingerprint'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.migration_fingerprint(text, text) IS
	'Database migration: hash of what is there, to compare two databases of one major version';
REVOKE ALL ON FUNCTION deploydb.migration_fingerprint(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.migration_fingerprint(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.facts(relations text[], schema text DEFAULT NULL)
RETURNS TABLE (object_type text, object text, property text, value text)
AS 'MODULE_PATHNAME', 'deploydb_facts'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION deploydb.facts(text[], text) IS
	'Database migration: what deploydb sees of relations';
REVOKE ALL ON FUNCTION deploydb.facts(text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.facts(text[], text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.migration_tap(
	migration text DEFAULT NULL, schema text DEFAULT NULL)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'deploydb_migration_tap'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION deploydb.migration_tap(text, text) IS
	'Database migration: the report as TAP, for pg_prove; what is no error is a TODO';
REVOKE ALL ON FUNCTION deploydb.migration_tap(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.migration_tap(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION pg_catalog.deploydb_status()
RETURNS TABLE (area text, verdict text, detail text, next_step text)
AS 'MODULE_PATHNAME', 'deploydb_status'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION pg_catalog.deploydb_status() IS
	'Overview: every area in a row or two, and the statement to run next';
REVOKE ALL ON FUNCTION pg_catalog.deploydb_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.deploydb_status() TO pg_monitor, pg_database_owner;

--
-- Acceptances
--

CREATE FUNCTION deploydb.accept_deviation(
	migration text, object_type text, object text, property text,
	reason text, until timestamptz DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_accept_deviation'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.accept_deviation(text, text, text, text, text, timestamptz) IS
	'Database migration: the deviation of that key is accepted, for a reason, and where given until a time';
REVOKE ALL ON FUNCTION deploydb.accept_deviation(text, text, text, text, text, timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.revoke_acceptance(
	migration text, object_type text, object text, property text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted text := deploydb.resolve_migration(revoke_acceptance.migration);
BEGIN
	DELETE FROM deploydb.acceptance a
	WHERE a.migration = wanted
		AND a.object_type = revoke_acceptance.object_type
		AND a.object = revoke_acceptance.object
		AND a.property = revoke_acceptance.property;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.revoke_acceptance(text, text, text, text) IS
	'Database migration: the deviation counts again; false where it was not accepted';
REVOKE ALL ON FUNCTION deploydb.revoke_acceptance(text, text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.resolve_migration(migration text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_resolve_migration'
LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.resolve_migration(text) IS
	'Database migration: the full name that a unique suffix of it means';
REVOKE ALL ON FUNCTION deploydb.resolve_migration(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.resolve_migration(text) TO pg_monitor, pg_database_owner;

--
-- Expectations by capture
--

CREATE FUNCTION deploydb.fact_format()
RETURNS integer
AS 'MODULE_PATHNAME', 'deploydb_fact_format'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.fact_format() IS
	'Database migration: version of the meaning of stored facts';
REVOKE ALL ON FUNCTION deploydb.fact_format() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.fact_format() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.capture_migration(
	migration text, relations text[], schema text DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'deploydb_capture_migration'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.capture_migration(text, text[], text) IS
	'Database migration: what is here as an expectation for another database, with this one''s verdict';
REVOKE ALL ON FUNCTION deploydb.capture_migration(text, text[], text) FROM PUBLIC;

CREATE FUNCTION deploydb.captured_expectation(document jsonb)
RETURNS TABLE (server_major integer, fact_format integer, facts text[])
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (document ->> 'server_version_num')::integer / 10000,
		(document ->> 'fact_format')::integer,
		-- bytewise in this encoding, which may not be that of the other database
		array_agg(e.value ORDER BY (f.fact ->> 0) COLLATE "C",
				  (f.fact ->> 1) COLLATE "C", (f.fact ->> 2) COLLATE "C", e.n)
	FROM jsonb_array_elements(document -> 'facts') AS f (fact),
		jsonb_array_elements_text(f.fact) WITH ORDINALITY AS e (value, n)
$$;
COMMENT ON FUNCTION deploydb.captured_expectation(jsonb) IS
	'Database migration: the facts of a captured migration, and the version that they are of';
REVOKE ALL ON FUNCTION deploydb.captured_expectation(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.captured_expectation(jsonb) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.import_migration(document jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name text := document ->> 'migration';
	captured record;
	twice record;
BEGIN
	IF jsonb_typeof(document) IS DISTINCT FROM 'object'
		OR document ->> 'format' IS DISTINCT FROM 'deploydb capture'
		OR COALESCE(name, '') = ''
		OR EXISTS (SELECT FROM jsonb_each(document) AS m
				   WHERE m.key IN ('migration', 'schema', 'checksum', 'verdict',
								   'server_name', 'captured_at')
				   AND jsonb_typeof(m.value) NOT IN ('string', 'null'))
		OR jsonb_typeof(document -> 'facts') IS DISTINCT FROM 'array'
		OR (document ->> 'fact_format' ~ '^[1-9][0-9]{0,8}$') IS NOT TRUE
		OR (document ->> 'server_version_num' ~ '^[1-9][0-9]{5}$') IS NOT TRUE
		OR EXISTS (SELECT FROM jsonb_array_elements(document -> 'facts') AS f
				   WHERE jsonb_typeof(f) <> 'array'
				   OR jsonb_array_length(f) <> 4
				   OR jsonb_path_exists(f, 'strict $[*] ? (@.type() != "string")')
				   OR f ->> 0 NOT IN ('table', 'column', 'constraint', 'index',
									  'trigger', 'rule', 'policy', 'view',
									  'sequence', 'enum', 'domain',
									  'composite type', 'function')
				   OR f ->> 1 = '' OR f ->> 2 = '')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is not what deploydb.capture_migration() gives',
			HINT = 'Pass its result as it is.';
	END IF;
	IF document ->> 'checksum' !~ '^[0-9a-f]{64}$' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid checksum: "%s"', document ->> 'checksum'),
			HINT = 'A checksum is the SHA-256 of migration.sql, 64 hexadecimal digits.';
	END IF;
	-- the length that Prisma's ledger holds; an index on text has a limit too
	IF length(name) > 255 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'name_too_long',
			MESSAGE = 'the name of the captured migration is too long',
			DETAIL = format('It has %s characters, and 255 are the most.', length(name));
	END IF;
	IF (document ->> 'fact_format')::integer <> deploydb.fact_format() THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = format('the captured facts have format %s, and this version of deploydb reads %s',
				document ->> 'fact_format', deploydb.fact_format()),
			HINT = 'Capture the migration again, with the same version of deploydb as here.';
	END IF;
	SELECT f ->> 0 AS object_type, f ->> 1 AS object, f ->> 2 AS property INTO twice
	FROM jsonb_array_elements(document -> 'facts') AS f
	GROUP BY 1, 2, 3 HAVING count(*) > 1 ORDER BY 1, 2, 3 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a fact is captured twice: %s of %s %s',
				twice.property, twice.object_type, twice.object),
			HINT = 'Pass the result of deploydb.capture_migration() as it is.';
	END IF;

	SELECT c.* INTO captured FROM deploydb.captured_expectation(document) c;
	IF captured.facts IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the captured migration has no facts';
	END IF;

	INSERT INTO deploydb.registered_migration AS r
		(migration, capture, checksum, registered_by)
	VALUES (name, document, document ->> 'checksum', session_user)
	ON CONFLICT ON CONSTRAINT registered_migration_pkey DO UPDATE
		SET ddl = NULL, capture = EXCLUDED.capture, forgotten = false,
			checksum = EXCLUDED.checksum, rollback_ddl = NULL,
			registered_by = EXCLUDED.registered_by,
			registered_at = EXCLUDED.registered_at;
	INSERT INTO deploydb.expectation AS e
		(migration, server_major, fact_format, facts)
	VALUES (name, captured.server_major, captured.fact_format, captured.facts)
	ON CONFLICT ON CONSTRAINT expectation_pkey DO UPDATE
		SET server_major = EXCLUDED.server_major,
			fact_format = EXCLUDED.fact_format, facts = EXCLUDED.facts,
			derived_at = EXCLUDED.derived_at;
	RETURN cardinality(captured.facts) / 4;
END
$$;
COMMENT ON FUNCTION deploydb.import_migration(jsonb) IS
	'Database migration: takes what capture_migration() gave in another database as the expectation, and returns the number of facts';
REVOKE ALL ON FUNCTION deploydb.import_migration(jsonb) FROM PUBLIC;

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
		  FROM regexp_matches(libraries, '"((?:[^"]|"")*)"|([^,"\s]+)', 'g')
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
			WHEN s.setting ~ '(^|[,"\s/])deploydb($|[,"\s])' THEN 'ok'
			ELSE 'warning' END,
		s.setting, 'deploydb among them',
		CASE WHEN s.setting IS NULL THEN 'Members of pg_read_all_settings see it.'
			WHEN s.setting ~ '(^|[,"\s/])deploydb($|[,"\s])' THEN NULL
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

--
-- Rights
--

-- Whatever acts calls this first, so that its error says where to go.
CREATE FUNCTION deploydb.primary_or_error()
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	primary_server text;
BEGIN
	IF NOT pg_is_in_recovery() THEN
		RETURN true;
	END IF;
	SELECT format('%s, port %s', r.sender_host, r.sender_port) INTO primary_server
	FROM pg_stat_wal_receiver r WHERE r.sender_host IS NOT NULL;
	RAISE EXCEPTION USING
		ERRCODE = 'read_only_sql_transaction',
		MESSAGE = 'this server is a standby',
		DETAIL = 'Everything can be read here, and nothing written.',
		HINT = CASE WHEN primary_server IS NULL THEN 'Call it on the primary.'
			ELSE format('Call it on the primary: %s.', primary_server) END;
END
$$;
COMMENT ON FUNCTION deploydb.primary_or_error() IS
	'Deployment: true, or on a standby an error that names the primary';
REVOKE ALL ON FUNCTION deploydb.primary_or_error() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.primary_or_error() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.grant_access(role text, access text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	object text;
	acting text[];
BEGIN
	acting := CASE WHEN access = 'operator' THEN ARRAY[
		'deploydb.register_migration(text, text, text, text)',
		'deploydb.forget_migration(text)',
		'deploydb.derive_expectations()',
		'deploydb.capture_migration(text, text[], text)',
		'deploydb.import_migration(jsonb)',
		'deploydb.accept_deviation(text, text, text, text, text, timestamptz)',
		'deploydb.revoke_acceptance(text, text, text, text)',
		'deploydb.smoke_test(text)',
		'deploydb.track(text)',
		'deploydb.untrack(text)',
		'deploydb.report_client_failures(text, integer, text)',
		'deploydb.reset_write_stats(text)',
		'deploydb.notify(text, text, text)',
		'deploydb.replay(bigint)',
		'deploydb.replay_since(timestamptz)',
		'deploydb.test_webhook(text, text, integer, text, double precision, text)',
		'deploydb.queue_test(text)',
		'deploydb.test_result(bigint)',
		'deploydb.set_rule(text, text, text, text, text, double precision, text, double precision, integer, '
			'double precision, integer, integer, integer, double precision, integer, text, text, jsonb, text, text, '
			'text, boolean, text[])',
		'deploydb.reset_rule(text)',
		'deploydb.evaluate_alerts()',
		'deploydb.silence(text, text, text)',
		'deploydb.unsilence(text)',
		'deploydb.acknowledge(text, text)',
		'deploydb.push_metric(text, double precision, timestamptz)',
		'deploydb.add_metric(text, text, text, text)',
		'deploydb.drop_metric(text)',
		'deploydb.plan_rollback(text, boolean)',
		'deploydb.rollback_migration(bigint, text, boolean)',
		'deploydb.restore_rolled_back(bigint)',
		'deploydb.discard_rolled_back(bigint, text)',
		'deploydb.rehearse_rollback(text)',
		'deploydb.log_line(text, text, text)',
		'deploydb.deployment_start(text, text, text, text, text[], text, jsonb)',
		'deploydb.deployment_finish(text, text)',
		'deploydb.phase_start(text, text)',
		'deploydb.phase_finish(text, text, text)',
		'deploydb.log_issue(text, text, text)',
		'deploydb.resolve_issue(bigint, text)',
		'deploydb.set_contact(text, text, text)',
		'deploydb.backup_start(text, text, text, text, text[], text, text, bigint, text, timestamptz, jsonb)',
		'deploydb.backup_finish(bigint, bigint, text, text, bigint, text, jsonb, jsonb, text, text, text, text, text, text, text, timestamptz)',
		'deploydb.backup_fail(bigint, text)',
		'deploydb.backup_verified(bigint, boolean, text, text, bigint)',
		'deploydb.backup_restore_tested(bigint, boolean, jsonb, jsonb, double precision, text)',
		'deploydb.backup_pin(bigint, boolean)',
		'deploydb.backup_expire(bigint, text)',
		'deploydb.import_backups(text, jsonb, text, text, timestamptz, bigint, boolean)',
		'deploydb.attest(text, boolean, text)',
		'deploydb.add_checklist_item(text, text, text, text, text, text, text, text, text)',
		'deploydb.drop_checklist_item(text)',
		'deploydb.import_staging(jsonb)']
	WHEN access = 'signer' THEN ARRAY[
		'deploydb.sign_off(bigint, text, text, text)',
		'deploydb.revoke_sign_off(bigint, text, text)']
	WHEN access = 'app' THEN ARRAY[
		'deploydb.report_client_failures(text, integer, text)',
		'deploydb.push_metric(text, double precision, timestamptz)'] END;
	IF acting IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('unrecognized access: "%s"', access),
			HINT = 'Known are "operator", "signer" and "app". To read, be a member of pg_monitor.';
	END IF;
	-- GRANT takes even a quoted "public" for everybody
	IF role = 'public' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = 'role "public" does not exist',
			HINT = 'Name a role: nothing of deploydb is granted to PUBLIC.';
	END IF;
	EXECUTE format('GRANT USAGE ON SCHEMA deploydb TO %I', role);

	-- whatever reads, which pg_monitor may
	FOR object IN
		SELECT CASE WHEN d.classid = 'pg_proc'::regclass
				THEN 'EXECUTE ON FUNCTION ' || d.objid::regprocedure::text
			ELSE 'SELECT ON ' || d.objid::regclass::text END
		FROM pg_depend d
			JOIN pg_extension x ON x.oid = d.refobjid
		WHERE access IN ('operator', 'signer')
			AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND x.extname = 'deploydb'
			AND CASE WHEN d.classid = 'pg_proc'::regclass
					THEN has_function_privilege('pg_monitor', d.objid, 'EXECUTE')
				WHEN d.classid = 'pg_class'::regclass
					THEN (SELECT c.relkind IN ('r', 'v') FROM pg_class c WHERE c.oid = d.objid)
						AND has_table_privilege('pg_monitor', d.objid, 'SELECT') END
	LOOP
		EXECUTE 'GRANT ' || object || ' TO ' || quote_ident(role);
	END LOOP;

	FOREACH object IN ARRAY acting
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', object, role);
	END LOOP;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.grant_access(text, text) IS
	'Rights: lets a role act; access "operator" reads and acts, "signer" reads and signs off, "app" reports what the server cannot see';
REVOKE ALL ON FUNCTION deploydb.grant_access(text, text) FROM PUBLIC;

--
-- What is built in is expected from now on
--

SELECT deploydb.derive_expectations();
