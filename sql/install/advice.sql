--
-- Rollback: reasons for one, and the overview
--

-- Since when a metric has been beyond a bound, as far as it was sampled.
CREATE FUNCTION deploydb.beyond_since(metric text, series text, low double precision, high double precision)
RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT min(s.at)
	FROM deploydb.metric_sample s
	WHERE s.metric = beyond_since.metric AND s.series = beyond_since.series AND (s.value < low OR s.value > high)
		AND s.at > COALESCE((SELECT max(o.at) FROM deploydb.metric_sample o
			WHERE o.metric = beyond_since.metric AND o.series = beyond_since.series AND o.value BETWEEN low AND high), '-infinity')
$$;
COMMENT ON FUNCTION deploydb.beyond_since(text, text, double precision, double precision) IS
	'Rollback: since when a metric has been outside of its bounds; a part of rollback_advice()';
REVOKE ALL ON FUNCTION deploydb.beyond_since(text, text, double precision, double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.beyond_since(text, text, double precision, double precision) TO pg_monitor, pg_database_owner;

-- The checklist's reasons.  It advises, and never acts.
CREATE FUNCTION deploydb.rollback_advice()
RETURNS TABLE (trigger text, verdict text, value text, since timestamptz)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	measured record;
	cut record;
BEGIN
	trigger := 'error_rate';	-- over 5 %
	SELECT count(*) AS n, string_agg(format('%s: %s %%', m.series, round((m.value * 100)::numeric, 2)), ', ' ORDER BY m.series) AS value,
		bool_or(m.value > 0.05) AS met,
		min(COALESCE(deploydb.beyond_since('rollback.error_rate', m.series, 0, 0.05), m.at)) FILTER (WHERE m.value > 0.05) AS since
	INTO measured
	FROM deploydb.metric_value m WHERE m.metric = 'rollback.error_rate';
	verdict := CASE WHEN measured.n = 0 THEN 'not_measured' WHEN measured.met THEN 'met' ELSE 'not_met' END;
	value := COALESCE(measured.value, 'no error rate was pushed before the last tick, and fewer than 30 writes were counted in 5 minutes');
	since := measured.since;
	RETURN NEXT;

	trigger := 'api_down';		-- for over 5 minutes
	SELECT m.value < 1 AS down, COALESCE(deploydb.beyond_since('api.up', m.series, 1, 'infinity'), m.at) AS since INTO measured
	FROM deploydb.metric_value m WHERE m.metric = 'api.up' ORDER BY m.value LIMIT 1;
	since := CASE WHEN measured.down THEN measured.since END;
	verdict := CASE WHEN measured.down IS NULL THEN 'not_measured'
		WHEN measured.down AND since < clock_timestamp() - interval '5 minutes' THEN 'met' ELSE 'not_met' END;
	value := CASE WHEN measured.down IS NULL THEN 'api.up is not pushed'
		WHEN measured.down THEN format('down since %s', to_char(since, 'HH24:MI:SS')) ELSE 'up' END;
	RETURN NEXT;

	trigger := 'data_lost';		-- decisions without an insight, TRUNCATE
	SELECT count(*) AS n, min(m.value) AS value, bool_or(m.value < 0.99) AS met,
		min(COALESCE(deploydb.beyond_since('insight.coverage', m.series, 0.99, 'infinity'), m.at)) FILTER (WHERE m.value < 0.99) AS since
	INTO measured
	FROM deploydb.metric_value m WHERE m.metric = 'insight.coverage';
	SELECT count(*) AS n, min(c.at) AS since, string_agg(DISTINCT c.object, ', ') AS objects INTO cut
	FROM deploydb.definition_change c
	WHERE c.command = 'TRUNCATE TABLE' AND c.at >= COALESCE(
		(SELECT d.started_at FROM deploydb.deployment d WHERE d.id = deploydb.current_deployment()),
		clock_timestamp() - interval '1 day');
	verdict := CASE WHEN measured.met OR cut.n > 0 THEN 'met' WHEN measured.n = 0 THEN 'not_measured' ELSE 'not_met' END;
	value := concat_ws('; ', CASE WHEN measured.n = 0 THEN 'no decisions to look at'
			ELSE format('%s %% of the decisions have an insight', round((measured.value * 100)::numeric, 2)) END,
		'TRUNCATE of ' || cut.objects, CASE WHEN NOT deploydb.is_preloaded() THEN 'TRUNCATE is not measured, as deploydb is not preloaded' END);
	since := LEAST(measured.since, cut.since);
	RETURN NEXT;

	trigger := 'users';			-- attested: met is a reason, as with the others
	SELECT a.met, concat_ws(': ', a.who, a.note) AS value, a.at INTO measured
	FROM deploydb.attestation a
	WHERE a.item = 'rollback.users' AND a.deployment = deploydb.current_deployment()
	ORDER BY a.id DESC LIMIT 1;
	verdict := CASE WHEN measured.met IS NULL THEN 'not_measured' WHEN measured.met THEN 'met' ELSE 'not_met' END;
	value := COALESCE(NULLIF(measured.value, ''), 'nobody has said: SELECT deploydb.attest(''rollback.users'', true or false, ''...'');');
	since := CASE WHEN measured.met THEN measured.at END;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.rollback_advice() IS
	'Rollback: which of the checklist''s reasons to roll back are met, and since when; it advises, and never acts';
REVOKE ALL ON FUNCTION deploydb.rollback_advice() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.rollback_advice() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.status_of_rollback()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	newest text;
	short text;
	kept record;
BEGIN
	SELECT k.migration INTO newest FROM deploydb.known_migration k
	WHERE k.rollback_ddl ~ '[^[:space:]]' ORDER BY k.migration COLLATE "C" DESC LIMIT 1;
	short := regexp_replace(newest, '^[0-9]+_', '');
	IF newest IS NULL THEN
		RETURN QUERY SELECT 'ok', deploydb.word('no migration has a rollback script'), NULL::text;
	ELSIF deploydb.rollback_rehearsed(newest) THEN
		RETURN QUERY SELECT 'ok', format(deploydb.word('%s: rehearsed'), short), NULL::text;
	ELSE
		RETURN QUERY SELECT 'warning', format(deploydb.word('%s: not rehearsed'), short),
			format('SELECT * FROM deploydb.rehearse_rollback(%L);', short);
	END IF;
	SELECT count(*) AS n, min(r.at) AS at INTO kept
	FROM deploydb.rollback r WHERE r.state = 'rolled_back' AND r.moved <> '[]';
	IF kept.n > 0 THEN
		RETURN QUERY SELECT 'warning', format(deploydb.word('%s kept in deploydb_backup since %s'), kept.n, to_char(kept.at, 'YYYY-MM-DD')),
			'SELECT * FROM deploydb.rollback;';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.status_of_rollback() IS
	'Rollback: is it rehearsed, and what is kept; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_rollback() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_rollback() TO pg_monitor, pg_database_owner;
