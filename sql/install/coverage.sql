
--
-- Writes: do the decisions have their insights?
--

-- Everything here runs with the caller's rights, and over all rows or not at
-- all: row security, which could leave some out, raises an error instead.

-- What the caller's search_path says, else where decision_insights is tracked.
CREATE FUNCTION deploydb.application_schema(on_search_path text)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE(on_search_path, (
		SELECT t.schema FROM deploydb.tracked t
		WHERE t.name = 'decision_insights'
		ORDER BY t.enabled DESC, t.built_in, t.schema
		LIMIT 1), 'public')
$$;
COMMENT ON FUNCTION deploydb.application_schema(text) IS
	'Functional verification: the schema of the application''s tables; a part of insight_coverage() and wait_insight()';
REVOKE ALL ON FUNCTION deploydb.application_schema(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.application_schema(text) TO pg_monitor, pg_database_owner;

-- As SQL names it; NULL where it is not there.
CREATE FUNCTION deploydb.application_table(on_search_path text, name text)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('%I.%I', n.nspname, c.relname)
	FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = (SELECT deploydb.application_schema(on_search_path)) AND c.relname = name
		AND c.relkind IN ('r', 'p')
$$;
COMMENT ON FUNCTION deploydb.application_table(text, text) IS
	'Functional verification: the qualified name of one of the application''s tables; a part of insight_coverage() and wait_insight()';
REVOKE ALL ON FUNCTION deploydb.application_table(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.application_table(text, text) TO pg_monitor, pg_database_owner;

-- Exact to a million, then what the planner believes, partitions and chunks
-- too.  A partitioned table's own figure is that of its partitions again.
CREATE FUNCTION deploydb.count_rows(relation text,
	OUT count bigint, OUT estimated boolean)
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET row_security = off
AS $$
BEGIN
	EXECUTE format('SELECT count(*) FROM (SELECT FROM %s LIMIT 1000001) AS counted', relation::regclass) INTO count;
	estimated := count > 1000000;
	IF estimated THEN
		WITH RECURSIVE parts (oid) AS (
			SELECT relation::regclass::oid
			UNION
			SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON p.oid = i.inhparent)
		SELECT GREATEST(count, sum(GREATEST(c.reltuples, 0))::bigint) INTO count
		FROM parts p JOIN pg_class c ON c.oid = p.oid
		WHERE c.relkind <> 'p';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.count_rows(text) IS
	'Functional verification: rows of a table, exactly to a million; a part of insight_coverage()';
REVOKE ALL ON FUNCTION deploydb.count_rows(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.count_rows(text) TO pg_monitor, pg_database_owner;

-- The client writes UTC into its timestamps without time zone, whatever the
-- session's TimeZone; columns with time zone need no such reading.  In the
-- layout of hypertables a decision can have more than one row.
CREATE FUNCTION deploydb.insight_coverage_in(on_search_path text, period text, grace text)
RETURNS TABLE (since timestamptz, decisions bigint, with_insight bigint,
	missing bigint, coverage double precision, oldest_missing timestamptz,
	insights_total bigint, insights_total_is_estimate boolean)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET row_security = off
AS $$
DECLARE
	start timestamptz := deploydb.period_start(period);
	finish timestamptz := deploydb.grace_start(grace);
	records text := deploydb.application_table(on_search_path, 'decision_records');
	insights text := deploydb.application_table(on_search_path, 'decision_insights');
BEGIN
	since := start;
	IF records IS NOT NULL THEN
		EXECUTE format(
			'SELECT count(*), count(*) FILTER (WHERE found), min(at) FILTER (WHERE NOT found)'
			' FROM (SELECT d."decisionId", min(d."timestamp")::timestamptz AS at,'
			'  %s AS found'
			' FROM %s d WHERE d."timestamp" > $1 AND d."timestamp" <= $2'
			'  AND d."ingestionStatus" = ''SUCCESS'' AND NOT d."isSimulation"'
			' GROUP BY d."decisionId") AS decision',
			CASE WHEN insights IS NULL THEN 'false'
				ELSE format('EXISTS (SELECT FROM %s i WHERE i.decision_id = d."decisionId")', insights) END,
			records)
		INTO decisions, with_insight, oldest_missing
		USING start::timestamp, finish::timestamp;
		missing := decisions - with_insight;
		coverage := with_insight::double precision / NULLIF(decisions, 0);
	END IF;
	IF insights IS NOT NULL THEN
		SELECT c.count, c.estimated INTO insights_total, insights_total_is_estimate
		FROM deploydb.count_rows(insights) c;
	END IF;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.insight_coverage_in(text, text, text) IS
	'Functional verification: a part of insight_coverage()';
REVOKE ALL ON FUNCTION deploydb.insight_coverage_in(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.insight_coverage_in(text, text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.insight_coverage(
	period text DEFAULT '24 hours', grace text DEFAULT '3 seconds')
RETURNS TABLE (since timestamptz, decisions bigint, with_insight bigint,
	missing bigint, coverage double precision, oldest_missing timestamptz,
	insights_total bigint, insights_total_is_estimate boolean)
AS 'MODULE_PATHNAME', 'deploydb_insight_coverage'
LANGUAGE C STABLE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION deploydb.insight_coverage(text, text) IS
	'Functional verification: decisions that were ingested, and how many of them have an insight';
REVOKE ALL ON FUNCTION deploydb.insight_coverage(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.insight_coverage(text, text) TO pg_monitor, pg_database_owner;

-- What the checklist looks for by eye.
CREATE FUNCTION deploydb.insight_problems(
	state_snapshot jsonb, difficulty_factors jsonb, feature_vector_hash text)
RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ARRAY(
		SELECT p.problem FROM (
			SELECT 1 AS n, v.name || CASE WHEN v.value IS NULL THEN ' is NULL'
				WHEN jsonb_typeof(v.value) = 'null' THEN ' is JSON null'
				WHEN jsonb_typeof(v.value) <> 'object' THEN ' is not an object'
				WHEN v.value = '{}' THEN ' is empty' END AS problem
			FROM (VALUES ('stateSnapshot', state_snapshot), ('difficultyFactors', difficulty_factors)) AS v (name, value)
			UNION ALL
			SELECT 2, 'difficultyFactors has no ' || k.name
			FROM unnest(ARRAY['length', 'accuracy', 'frequency', 'forgetting']) AS k (name)
			WHERE jsonb_typeof(difficulty_factors) = 'object' AND difficulty_factors <> '{}'
				AND difficulty_factors ->> k.name IS NULL
			UNION ALL
			SELECT 3, 'featureVectorHash is not 16 hexadecimal digits'
			WHERE feature_vector_hash COLLATE "C" ~ '^[0-9A-Fa-f]{16}$' IS NOT TRUE) AS p
		WHERE p.problem IS NOT NULL
		ORDER BY p.n, p.problem COLLATE "C")
$$;
COMMENT ON FUNCTION deploydb.insight_problems(jsonb, jsonb, text) IS
	'Functional verification: what is wrong with an insight; a part of wait_insight()';
REVOKE ALL ON FUNCTION deploydb.insight_problems(jsonb, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.insight_problems(jsonb, jsonb, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.newest_decision(on_search_path text)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET row_security = off
AS $$
DECLARE
	records text := deploydb.application_table(on_search_path, 'decision_records');
	insights text := deploydb.application_table(on_search_path, 'decision_insights');
	newest text;
BEGIN
	IF records IS NOT NULL THEN
		EXECUTE format('SELECT d."decisionId" FROM %s d'
			' WHERE d."timestamp" IS NOT NULL AND NOT d."isSimulation"'
			' ORDER BY d."timestamp" DESC LIMIT 1', records) INTO newest;
	ELSIF insights IS NOT NULL THEN
		EXECUTE format('SELECT i.decision_id FROM %s i WHERE i.created_at IS NOT NULL'
			' ORDER BY i.created_at DESC LIMIT 1', insights) INTO newest;
	END IF;
	RETURN newest;
END
$$;
COMMENT ON FUNCTION deploydb.newest_decision(text) IS
	'Functional verification: the newest decision; a part of wait_insight()';
REVOKE ALL ON FUNCTION deploydb.newest_decision(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.newest_decision(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.look_for_insight(on_search_path text, decision_id text, waited_ms bigint)
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET row_security = off
AS $$
DECLARE
	insights text := deploydb.application_table(on_search_path, 'decision_insights');
	found jsonb;
BEGIN
	IF insights IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_table',
			MESSAGE = format('table %I.decision_insights does not exist', deploydb.application_schema(on_search_path)),
			HINT = 'SELECT * FROM deploydb_status(); says what is there.';
	END IF;
	EXECUTE format('SELECT jsonb_build_object(''decisionId'', i.decision_id,'
		' ''stateSnapshot'', i.state_snapshot, ''difficultyFactors'', i.difficulty_factors, ''triggers'', i.triggers,'
		' ''waitedMs'', $2,'
		' ''problems'', deploydb.insight_problems(i.state_snapshot, i.difficulty_factors, i.feature_vector_hash))'
		' FROM %s i WHERE i.decision_id = $1', insights) INTO found USING decision_id, waited_ms;
	RETURN found;
END
$$;
COMMENT ON FUNCTION deploydb.look_for_insight(text, text, bigint) IS
	'Functional verification: one look for the insight of a decision; a part of wait_insight()';
REVOKE ALL ON FUNCTION deploydb.look_for_insight(text, text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.look_for_insight(text, text, bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.no_insight(decision_id text, waited_ms bigint)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('decisionId', decision_id,
		'stateSnapshot', NULL, 'difficultyFactors', NULL, 'triggers', NULL, 'waitedMs', waited_ms,
		'problems', jsonb_build_array(CASE WHEN decision_id IS NULL THEN 'there is no decision' ELSE 'missing' END))
$$;
COMMENT ON FUNCTION deploydb.no_insight(text, bigint) IS
	'Functional verification: what is said of a decision without insight; a part of wait_insight()';
REVOKE ALL ON FUNCTION deploydb.no_insight(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.no_insight(text, bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.wait_insight(
	decision_id text DEFAULT NULL, timeout_ms integer DEFAULT 3000)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'deploydb_wait_insight'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.wait_insight(text, integer) IS
	'Functional verification: waits until a decision has its insight, and says what is wrong with it';
REVOKE ALL ON FUNCTION deploydb.wait_insight(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.wait_insight(text, integer) TO pg_monitor, pg_database_owner;
