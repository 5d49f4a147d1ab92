
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
