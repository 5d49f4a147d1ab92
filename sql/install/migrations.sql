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

-- Each array is read once: an index into one that is stored reads all of it.
CREATE VIEW deploydb.expected_fact AS
	SELECT e.migration, f.object_type, f.object, f.property, f.value
	FROM deploydb.expectation e,
		LATERAL (SELECT max(u.element) FILTER (WHERE u.i % 4 = 1) AS object_type,
				max(u.element) FILTER (WHERE u.i % 4 = 2) AS object,
				max(u.element) FILTER (WHERE u.i % 4 = 3) AS property,
				max(u.element) FILTER (WHERE u.i % 4 = 0) AS value
			FROM unnest(e.facts) WITH ORDINALITY AS u (element, i)
			GROUP BY (u.i - 1) / 4) AS f;
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
