-- own_rows.sql
--		What the views have in common that show built-in rows and one's own, and
--		take changes of both: alert_rule and metric.

-- Clients write back all that they read.
CREATE FUNCTION deploydb.check_update(kind text, before jsonb, after jsonb, fixed text[], changed_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	changed text := (SELECT f FROM unnest(fixed) WITH ORDINALITY AS u (f, n)
		WHERE before->f IS DISTINCT FROM after->f ORDER BY n LIMIT 1);
BEGIN
	-- before was read earlier, and after is written whole
	IF before->'changed_at' IS DISTINCT FROM COALESCE(to_jsonb(changed_at), 'null') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'serialization_failure',
			MESSAGE = format('%s "%s" was changed meanwhile', kind, before->>fixed[1]),
			HINT = 'Try again.';
	END IF;
	IF changed IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = format('%s of a %s cannot be changed', changed, kind),
			HINT = CASE changed WHEN fixed[1] THEN format('Make another %s, and disable this one.', kind)
				ELSE format('It was %s.', before->changed) END;
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_update(text, jsonb, jsonb, text[], timestamptz) IS
	'Alerts: raises an error where an UPDATE is of a row as it is no longer, or is of a fixed column, of which the first names the row';
REVOKE ALL ON FUNCTION deploydb.check_update(text, jsonb, jsonb, text[], timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.constraint_comment(relation regclass, name text)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT obj_description(c.oid, 'pg_constraint') FROM pg_constraint c WHERE c.conrelid = relation AND c.conname = name
$$;
COMMENT ON FUNCTION deploydb.constraint_comment(regclass, text) IS
	'Alerts: what a constraint says that is broken';
REVOKE ALL ON FUNCTION deploydb.constraint_comment(regclass, text) FROM PUBLIC;
