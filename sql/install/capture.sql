
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
-- What is built in is expected from now on
--

SELECT deploydb.derive_expectations();
