-- Checklist: what staging says of the migrations, brought here as a document.

CREATE TABLE deploydb.staging (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	migration text COLLATE "C" NOT NULL,
	verdict boolean,
	fingerprint text,
	checksum text,
	ledger_state text,
	server_major integer NOT NULL,
	fact_format integer NOT NULL,
	source text NOT NULL,
	measured_at timestamptz NOT NULL,
	imported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	imported_by text NOT NULL DEFAULT session_user
);
CREATE INDEX staging_migration_idx ON deploydb.staging (migration, id);
COMMENT ON TABLE deploydb.staging IS
	'Checklist: how migrations were on staging; of each the newest row counts';
GRANT SELECT ON deploydb.staging TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.staging_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.staging', '');
SELECT pg_extension_config_dump('deploydb.staging_id_seq', '');

-- SHA-256 of a migration's file as far as it is known here.
CREATE FUNCTION deploydb.known_checksum(migration text)
RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE(k.checksum, encode(sha256(convert_to(k.ddl, 'UTF8')), 'hex'))
	FROM deploydb.known_migration k WHERE k.migration = known_checksum.migration
$$;
COMMENT ON FUNCTION deploydb.known_checksum(text) IS
	'Checklist: SHA-256 of the text of a known migration';
REVOKE ALL ON FUNCTION deploydb.known_checksum(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.known_checksum(text) TO pg_monitor, pg_database_owner;

-- t, f, or NULL where it could not be found out; no warnings, as a report has
-- the same.
CREATE FUNCTION deploydb.migration_verdict(migration text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN (
		SELECT CASE WHEN bool_or(r.severity = 'error' AND r.status IN ('missing', 'different', 'unexpected')) THEN false
			WHEN bool_or(r.status = 'stale' OR r.severity = 'error' AND r.status = 'unknown') THEN NULL
			ELSE true END
		FROM deploydb.migration_report(migration, deploydb.watched_schema(migration)) r);
END
$$;
COMMENT ON FUNCTION deploydb.migration_verdict(text) IS
	'Checklist: whether a migration is as expected, from its report';
REVOKE ALL ON FUNCTION deploydb.migration_verdict(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.migration_verdict(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.staging_evidence(migrations text[] DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
#variable_conflict use_variable
DECLARE
	names text[];
BEGIN
	SELECT array_agg(k.name ORDER BY k.name) INTO names
	FROM (SELECT DISTINCT deploydb.resolve_migration(m) FROM unnest(migrations) m
		UNION ALL
		SELECT k.migration FROM deploydb.known_migration k WHERE migrations IS NULL) AS k (name)
	WHERE k.name IS NOT NULL;
	RETURN jsonb_build_object(
		'format', 'deploydb staging evidence',
		'version', 1,
		'server_version_num', current_setting('server_version_num')::integer,
		'fact_format', deploydb.fact_format(),
		'system_identifier', (SELECT s.system_identifier::text FROM pg_control_system() s),
		'database', current_database(),
		'source', concat_ws(', ', NULLIF(deploydb.setting('environment'), ''),
			concat_ws(' on ', current_database(), NULLIF(current_setting('cluster_name'), ''))),
		'measured_at', to_jsonb(clock_timestamp()),
		'migrations', COALESCE((
			SELECT jsonb_agg(jsonb_build_object('migration', n.name, 'verdict', deploydb.migration_verdict(n.name),
				'fingerprint', deploydb.migration_fingerprint(n.name, deploydb.watched_schema(n.name)),
				'checksum', deploydb.known_checksum(n.name),
				'ledger', (SELECT l.state FROM deploydb.ledger() l WHERE l.migration = n.name)) ORDER BY n.name)
			FROM unnest(names) AS n (name)), '[]'));
END
$$;
COMMENT ON FUNCTION deploydb.staging_evidence(text[]) IS
	'Checklist: how migrations, or all known ones, are here, as a document that import_staging() takes in production';
REVOKE ALL ON FUNCTION deploydb.staging_evidence(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.staging_evidence(text[]) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.import_staging(document jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	imported integer;
	measured timestamptz;
BEGIN
	PERFORM deploydb.primary_or_error();
	BEGIN
		measured := document ->> 'measured_at';
	EXCEPTION WHEN data_exception THEN
		measured := NULL;
	END;
	IF jsonb_typeof(document) IS DISTINCT FROM 'object' OR document ->> 'format' IS DISTINCT FROM 'deploydb staging evidence'
		OR document ->> 'version' IS DISTINCT FROM '1'
		OR (document ->> 'server_version_num' ~ '^[1-9][0-9]{5}$') IS NOT TRUE
		OR (document ->> 'fact_format' ~ '^[1-9][0-9]{0,8}$') IS NOT TRUE
		OR (document ->> 'source' ~ '[^[:space:]]') IS NOT TRUE
		OR measured IS NULL OR NOT isfinite(measured)
		OR jsonb_typeof(document -> 'migrations') IS DISTINCT FROM 'array'
		OR EXISTS (SELECT FROM jsonb_array_elements(document -> 'migrations') m
			WHERE jsonb_typeof(m) <> 'object' OR COALESCE(m ->> 'migration', '') = '' OR length(m ->> 'migration') > 255
				OR jsonb_typeof(m -> 'verdict') NOT IN ('boolean', 'null'))
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is not what deploydb.staging_evidence() gives',
			HINT = 'Pass its result as it is, with the same version of deploydb on both sides.';
	ELSIF measured > clock_timestamp() + interval '5 minutes' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datetime_field_overflow',
			MESSAGE = 'the evidence is of the future',
			DETAIL = format('It is of %s, and now is %s.', measured, clock_timestamp());
	ELSIF document ->> 'system_identifier' = (SELECT s.system_identifier::text FROM pg_control_system() s)
		AND document ->> 'database' = current_database()
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the evidence is of this very database',
			HINT = 'Take it on staging, and import it in production.';
	END IF;
	INSERT INTO deploydb.staging (migration, verdict, fingerprint, checksum, ledger_state, server_major, fact_format,
		source, measured_at)
	SELECT m ->> 'migration', (m ->> 'verdict')::boolean, left(m ->> 'fingerprint', 1000), left(m ->> 'checksum', 1000),
		left(m ->> 'ledger', 100), (document ->> 'server_version_num')::integer / 10000,
		(document ->> 'fact_format')::integer, left(document ->> 'source', 1000), measured
	FROM jsonb_array_elements(document -> 'migrations') m;
	GET DIAGNOSTICS imported = ROW_COUNT;
	RETURN imported;
END
$$;
COMMENT ON FUNCTION deploydb.import_staging(jsonb) IS
	'Checklist: keeps what staging_evidence() gave on staging; returns the number of migrations';
REVOKE ALL ON FUNCTION deploydb.import_staging(jsonb) FROM PUBLIC;
