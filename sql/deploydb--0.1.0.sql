/* sql/deploydb--0.1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION deploydb" to load this file. \quit

-- Everything but two entry points lives here.  A schema of that name that is
-- already there, whoever made it, must make this fail.
CREATE SCHEMA deploydb;
COMMENT ON SCHEMA deploydb IS 'Deployment checks: migrations, backups, rollbacks, write success, alerts';
GRANT USAGE ON SCHEMA deploydb TO pg_monitor, pg_database_owner;

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
		false AS built_in
	FROM deploydb.registered_migration r
	WHERE NOT r.forgotten
	UNION ALL
	SELECT b.migration, b.ddl, b.checksum, b.rollback_ddl,
		NULL, NULL, NULL, true
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
			|| CASE WHEN a.until IS NULL THEN ''
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
	outcome text NOT NULL CHECK (outcome IN ('verified', 'deviates', 'unknown')),
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
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF num_nulls(migration, object_type, object, property, reason) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'migration, object_type, object, property and reason must not be NULL';
	END IF;
	IF until <= now() THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'an acceptance must end in the future',
			DETAIL = format('It would have ended at %s.', until);
	END IF;
	INSERT INTO deploydb.acceptance AS a
		(migration, object_type, object, property, reason, until, accepted_by)
	VALUES (deploydb.resolve_migration(migration), object_type, object,
			property, reason, until, session_user)
	ON CONFLICT ON CONSTRAINT acceptance_pkey DO UPDATE
		SET reason = EXCLUDED.reason, until = EXCLUDED.until,
			accepted_by = EXCLUDED.accepted_by, accepted_at = EXCLUDED.accepted_at;
	RETURN true;
END
$$;
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

CREATE FUNCTION deploydb.import_migration(document jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name text := document ->> 'migration';
	captured_major integer;
	captured_facts text[];
BEGIN
	IF jsonb_typeof(document) IS DISTINCT FROM 'object'
		OR document ->> 'format' IS DISTINCT FROM 'deploydb capture'
		OR COALESCE(name, '') = ''
		OR jsonb_typeof(document -> 'facts') IS DISTINCT FROM 'array'
		OR jsonb_typeof(document -> 'fact_format') IS DISTINCT FROM 'number'
		OR jsonb_typeof(document -> 'server_version_num') IS DISTINCT FROM 'number'
		OR EXISTS (SELECT FROM jsonb_array_elements(document -> 'facts') AS f
				   WHERE jsonb_typeof(f) <> 'array'
				   OR jsonb_array_length(f) <> 4
				   OR jsonb_path_exists(f, '$[*] ? (@.type() != "string")'))
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is not what deploydb.capture_migration() gives',
			HINT = 'Pass its result as it is.';
	END IF;

	captured_major := (document ->> 'server_version_num')::numeric::integer / 10000;
	SELECT array_agg(e.value ORDER BY f.n, e.n) INTO captured_facts
	FROM jsonb_array_elements(document -> 'facts') WITH ORDINALITY AS f (fact, n),
		jsonb_array_elements_text(f.fact) WITH ORDINALITY AS e (value, n);
	IF captured_facts IS NULL THEN
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
	VALUES (name, captured_major, (document ->> 'fact_format')::numeric::integer,
			captured_facts)
	ON CONFLICT ON CONSTRAINT expectation_pkey DO UPDATE
		SET server_major = EXCLUDED.server_major,
			fact_format = EXCLUDED.fact_format, facts = EXCLUDED.facts,
			derived_at = EXCLUDED.derived_at;
	RETURN cardinality(captured_facts) / 4;
END
$$;
COMMENT ON FUNCTION deploydb.import_migration(jsonb) IS
	'Database migration: takes what capture_migration() gave in another database as the expectation, and returns the number of facts';
REVOKE ALL ON FUNCTION deploydb.import_migration(jsonb) FROM PUBLIC;

--
-- Rights
--

CREATE FUNCTION deploydb.grant_access(role text, access text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	acting text;
BEGIN
	IF access IS DISTINCT FROM 'operator' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('unrecognized access: "%s"', access),
			HINT = 'Known is "operator". To read, be a member of pg_monitor.';
	END IF;
	EXECUTE format('GRANT USAGE ON SCHEMA deploydb TO %I', role);
	FOREACH acting IN ARRAY ARRAY[
		'pg_catalog.deploydb_verify_migration(text, text)',
		'pg_catalog.deploydb_status()',
		'deploydb.assert_migration(text, text)',
		'deploydb.migration_report(text, text, boolean)',
		'deploydb.register_migration(text, text, text, text)',
		'deploydb.forget_migration(text)',
		'deploydb.derive_expectations()',
		'deploydb.capture_migration(text, text[], text)',
		'deploydb.import_migration(jsonb)',
		'deploydb.accept_deviation(text, text, text, text, text, timestamptz)',
		'deploydb.revoke_acceptance(text, text, text, text)']
	LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', acting, role);
	END LOOP;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.grant_access(text, text) IS
	'Rights: lets a role act; access "operator" registers, accepts and tests';
REVOKE ALL ON FUNCTION deploydb.grant_access(text, text) FROM PUBLIC;

--
-- What is built in is expected from now on
--

SELECT deploydb.derive_expectations();
