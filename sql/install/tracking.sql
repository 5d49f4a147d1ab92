
--
-- Writes: which tables are tracked, and their counters
--

-- A row of a user stands over one that is built in, so that a restore never
-- clashes with what CREATE EXTENSION makes.
CREATE TABLE deploydb.tracked (
	schema text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	built_in boolean NOT NULL,
	enabled boolean NOT NULL,
	tracked_at timestamptz NOT NULL,
	tracked_by text NOT NULL,
	PRIMARY KEY (schema, name, built_in)
);
COMMENT ON TABLE deploydb.tracked IS
	'Writes: tables whose writes are counted, by name';
GRANT SELECT ON deploydb.tracked TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.tracked', 'WHERE NOT built_in');

CREATE FUNCTION deploydb.tracked_changed()
RETURNS trigger
AS 'MODULE_PATHNAME', 'deploydb_tracked_changed'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.tracked_changed() IS
	'Writes: tells every session that other tables are tracked; a trigger of deploydb.tracked';
REVOKE ALL ON FUNCTION deploydb.tracked_changed() FROM PUBLIC;

CREATE TRIGGER tracked_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON deploydb.tracked
	FOR EACH STATEMENT EXECUTE FUNCTION deploydb.tracked_changed();
ALTER TABLE deploydb.tracked ENABLE ALWAYS TRIGGER tracked_changed;

CREATE VIEW deploydb.tracked_table AS
	SELECT t.schema, t.name, t.built_in, t.tracked_at, t.tracked_by
	FROM deploydb.tracked t
	WHERE t.enabled AND NOT (t.built_in AND EXISTS (
		SELECT FROM deploydb.tracked u
		WHERE u.schema = t.schema AND u.name = t.name AND NOT u.built_in));
COMMENT ON VIEW deploydb.tracked_table IS
	'Writes: tables whose writes are counted now, whether they exist yet or not';
GRANT SELECT ON deploydb.tracked_table TO pg_monitor, pg_database_owner;

INSERT INTO deploydb.tracked (schema, name, built_in, enabled, tracked_at, tracked_by)
VALUES ('public', 'decision_insights', true, true, clock_timestamp(), session_user);

-- Where the application has the table in another schema already, that is the
-- one, and stays it in a restored database: there it comes later.
INSERT INTO deploydb.tracked (schema, name, built_in, enabled, tracked_at, tracked_by)
SELECT t.schema, 'decision_insights', false, t.enabled, clock_timestamp(), session_user
FROM (SELECT n.nspname::text
	  FROM pg_class c
		  JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE c.relname = 'decision_insights' AND c.relkind IN ('r', 'p')
		  AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
	  ORDER BY n.nspname <> 'public', n.oid
	  LIMIT 1) AS own (schema)
	CROSS JOIN LATERAL (VALUES (own.schema, true), ('public', false)) AS t (schema, enabled)
WHERE own.schema <> 'public';

CREATE FUNCTION deploydb.track(relation text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_track'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.track(text) IS
	'Writes: counts the writes into a table from now on; false when they are counted already';
REVOKE ALL ON FUNCTION deploydb.track(text) FROM PUBLIC;

CREATE FUNCTION deploydb.untrack(relation text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_untrack'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.untrack(text) IS
	'Writes: does not count the writes into a table any more; false when they were not counted';
REVOKE ALL ON FUNCTION deploydb.untrack(text) FROM PUBLIC;

CREATE FUNCTION deploydb.is_preloaded()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_is_preloaded'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.is_preloaded() IS
	'Writes: whether the library was preloaded, so that writes are counted';
REVOKE ALL ON FUNCTION deploydb.is_preloaded() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.is_preloaded() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.write_counters()
RETURNS TABLE (schema text, name text, others boolean, since timestamptz,
	succeeded bigint, failed bigint, rolled_back bigint, rejected bigint,
	swallowed bigint, prepared bigint, unaccounted bigint, rows_written bigint,
	latency text, failures jsonb)
AS 'MODULE_PATHNAME', 'deploydb_write_counters'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 4;
COMMENT ON FUNCTION deploydb.write_counters() IS
	'Writes: the counters of each tracked table since they began to count; failures are by SQLSTATE';
REVOKE ALL ON FUNCTION deploydb.write_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_counters() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.write_counters_if_preloaded()
RETURNS TABLE (schema text, name text, others boolean, since timestamptz,
	succeeded bigint, failed bigint, rolled_back bigint, rejected bigint,
	swallowed bigint, prepared bigint, unaccounted bigint, rows_written bigint,
	latency text, failures jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF deploydb.is_preloaded() THEN
		RETURN QUERY SELECT c.* FROM deploydb.write_counters() c;
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.write_counters_if_preloaded() IS
	'Writes: the counters, or nothing where nothing is counted';
REVOKE ALL ON FUNCTION deploydb.write_counters_if_preloaded() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_counters_if_preloaded() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.write_failure_counters()
RETURNS TABLE (schema text, name text, others boolean, since timestamptz,
	sqlstate text, attempts bigint, last_at timestamptz, last_constraint text,
	last_application text, last_query_id bigint)
AS 'MODULE_PATHNAME', 'deploydb_write_failure_counters'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION deploydb.write_failure_counters() IS
	'Writes: failed and rejected attempts of each tracked table by SQLSTATE since they began to count';
REVOKE ALL ON FUNCTION deploydb.write_failure_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.write_failure_counters() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.recent_failures(max_rows integer DEFAULT 50)
RETURNS TABLE (sqlstate text, condition text, attempts bigint,
	last_at timestamptz, last_constraint text, last_application text,
	last_query_id bigint, role text, relation text)
AS 'MODULE_PATHNAME', 'deploydb_recent_failures'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 50;
COMMENT ON FUNCTION deploydb.recent_failures(integer) IS
	'Writes: the last failed and rejected attempts, newest first';
REVOKE ALL ON FUNCTION deploydb.recent_failures(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.recent_failures(integer) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.condition_name(sqlstate text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_condition_name'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.condition_name(text) IS
	'Writes: the name of an SQLSTATE';
REVOKE ALL ON FUNCTION deploydb.condition_name(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.condition_name(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.log_error_counters()
RETURNS TABLE (sqlstate_class text, in_database boolean, count bigint,
	last_at timestamptz, last_application text)
AS 'MODULE_PATHNAME', 'deploydb_log_error_counters'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION deploydb.log_error_counters() IS
	'Writes: lines of ERROR and above in the server''s log, of this database and of processes without one';
REVOKE ALL ON FUNCTION deploydb.log_error_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.log_error_counters() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.slow_queries()
RETURNS bigint
AS 'MODULE_PATHNAME', 'deploydb_slow_queries'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.slow_queries() IS
	'Writes: statements of clients in this database that took longer than deploydb.slow_query_threshold';
REVOKE ALL ON FUNCTION deploydb.slow_queries() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.slow_queries() TO pg_monitor, pg_database_owner;
