--
-- Monitoring: who changed the definition of a watched table
--

CREATE TABLE deploydb.definition_change (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	session_role text NOT NULL DEFAULT session_user,
	application text NOT NULL DEFAULT pg_catalog.current_setting('application_name'),
	command text NOT NULL,
	object_type text NOT NULL,
	object text NOT NULL,
	statement text
);
CREATE INDEX definition_change_at_idx ON deploydb.definition_change (at);
COMMENT ON TABLE deploydb.definition_change IS
	'Monitoring: commands that changed the definition of a watched table, and whose they were';
GRANT SELECT ON deploydb.definition_change TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.definition_change_id_seq TO pg_monitor, pg_database_owner;

-- How many could not be noted; no sequence is rolled back.
CREATE SEQUENCE deploydb.definition_change_lost;
COMMENT ON SEQUENCE deploydb.definition_change_lost IS
	'Monitoring: the number of commands that definition_change could not note';
GRANT SELECT ON SEQUENCE deploydb.definition_change_lost TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.lost_changes()
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM deploydb.definition_change_lost s $$;
COMMENT ON FUNCTION deploydb.lost_changes() IS
	'Monitoring: how many changes of definitions could not be noted';
REVOKE ALL ON FUNCTION deploydb.lost_changes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.lost_changes() TO pg_monitor, pg_database_owner;

-- By name, in whatever schema: a table that is swapped in is the table, too.
-- An index that is gone cannot say whose it was; so it is its own name, too.
CREATE VIEW deploydb.watched_object AS
	SELECT 'table' AS object_type, quote_ident(t.name) AS name FROM deploydb.tracked_table t
	UNION
	SELECT DISTINCT f.object_type, f.object FROM deploydb.expected_fact f
	WHERE f.object_type IN ('table', 'view', 'materialized view', 'index', 'sequence', 'type');
COMMENT ON VIEW deploydb.watched_object IS
	'Monitoring: tables that are tracked, and what the known migrations made; changes of these are noted';
GRANT SELECT ON deploydb.watched_object TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.is_watched(name text, relation text)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM deploydb.watched_object w
		WHERE w.name = quote_ident(relation) OR w.name = quote_ident(is_watched.name))
$$;
COMMENT ON FUNCTION deploydb.is_watched(text, text) IS
	'Monitoring: whether an object of that name, or of that relation, is watched';
REVOKE ALL ON FUNCTION deploydb.is_watched(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.note_change(command text, object_type text, object text)
RETURNS boolean
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO deploydb.definition_change (command, object_type, object, statement)
	VALUES (command, object_type, object,
		CASE WHEN current_setting('deploydb.capture_statements')::boolean THEN current_query() END);
	SELECT deploydb.wake_monitor()
$$;
COMMENT ON FUNCTION deploydb.note_change(text, text, text) IS
	'Monitoring: a row of definition_change; the monitor looks once this transaction has committed';
REVOKE ALL ON FUNCTION deploydb.note_change(text, text, text) FROM PUBLIC;

-- What was not noted fails no statement.
CREATE FUNCTION deploydb.change_lost(problem text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE WARNING USING
		MESSAGE = 'deploydb could not note this change of a definition',
		DETAIL = problem,
		HINT = 'The change itself is not affected.';
	PERFORM nextval('deploydb.definition_change_lost');
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	RETURN false;
END
$$;
COMMENT ON FUNCTION deploydb.change_lost(text) IS
	'Monitoring: warns and counts when a change could not be noted';
REVOKE ALL ON FUNCTION deploydb.change_lost(text) FROM PUBLIC;

-- Both run for any role, whatever its rights are.
CREATE FUNCTION deploydb.definition_changed()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	command record;
BEGIN
	FOR command IN
		SELECT c.command_tag, c.object_type, c.object_identity, k.relname AS name,
			COALESCE(t.relname, k.relname) AS relation
		FROM pg_event_trigger_ddl_commands() c
			LEFT JOIN pg_index i ON c.classid = 'pg_class'::regclass AND i.indexrelid = c.objid
			LEFT JOIN pg_trigger g ON c.classid = 'pg_trigger'::regclass AND g.oid = c.objid
			LEFT JOIN pg_policy p ON c.classid = 'pg_policy'::regclass AND p.oid = c.objid
			LEFT JOIN pg_rewrite r ON c.classid = 'pg_rewrite'::regclass AND r.oid = c.objid
			LEFT JOIN pg_constraint n ON c.classid = 'pg_constraint'::regclass AND n.oid = c.objid
			LEFT JOIN pg_class k ON k.oid = CASE WHEN c.classid = 'pg_class'::regclass THEN c.objid END
			LEFT JOIN pg_class t ON t.oid = COALESCE(i.indrelid, g.tgrelid, p.polrelid, r.ev_class, n.conrelid)
		WHERE NOT c.in_extension AND c.schema_name IS DISTINCT FROM 'pg_temp'
	LOOP
		IF deploydb.is_watched(command.name, command.relation) THEN
			PERFORM deploydb.note_change(command.command_tag, command.object_type, command.object_identity);
		END IF;
	END LOOP;
EXCEPTION WHEN OTHERS THEN
	PERFORM deploydb.change_lost(SQLERRM);
END
$$;
COMMENT ON FUNCTION deploydb.definition_changed() IS
	'Monitoring: notes commands that changed the definition of a watched table; an event trigger''s';
REVOKE ALL ON FUNCTION deploydb.definition_changed() FROM PUBLIC;

-- Only what was dropped by itself, or as a part of something that is watched.
CREATE FUNCTION deploydb.definition_dropped()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	dropped record;
BEGIN
	FOR dropped IN
		SELECT d.object_type, d.object_identity, d.object_name, d.original,
			CASE WHEN cardinality(d.address_names) >= 2 AND d.object_type IN ('table column', 'table constraint',
				'default value', 'trigger', 'policy', 'rule') THEN d.address_names[2] END AS relation
		FROM pg_event_trigger_dropped_objects() d
		WHERE NOT d.is_temporary
			AND d.object_type IN ('table', 'view', 'materialized view', 'index', 'sequence', 'type', 'table column',
				'table constraint', 'default value', 'trigger', 'policy', 'rule')
			-- a table's row type goes with it
			AND NOT (d.object_type = 'type' AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() t
				WHERE t.object_type IN ('table', 'view', 'materialized view') AND t.object_identity = d.object_identity))
	LOOP
		IF deploydb.is_watched(dropped.object_name, dropped.relation) THEN
			PERFORM deploydb.note_change(tg_tag, dropped.object_type, dropped.object_identity);
		END IF;
	END LOOP;
EXCEPTION WHEN OTHERS THEN
	PERFORM deploydb.change_lost(SQLERRM);
END
$$;
COMMENT ON FUNCTION deploydb.definition_dropped() IS
	'Monitoring: notes what was dropped of a watched table; an event trigger''s';
REVOKE ALL ON FUNCTION deploydb.definition_dropped() FROM PUBLIC;

CREATE EVENT TRIGGER deploydb_definition_changed ON ddl_command_end
	EXECUTE FUNCTION deploydb.definition_changed();
COMMENT ON EVENT TRIGGER deploydb_definition_changed IS
	'Monitoring: notes who changes the definition of a watched table';
CREATE EVENT TRIGGER deploydb_definition_dropped ON sql_drop
	EXECUTE FUNCTION deploydb.definition_dropped();
COMMENT ON EVENT TRIGGER deploydb_definition_dropped IS
	'Monitoring: notes who drops something of a watched table';

CREATE FUNCTION deploydb.purge_changes(before timestamptz, max_rows integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	purged bigint;
BEGIN
	DELETE FROM deploydb.definition_change c
	WHERE c.id = ANY (ARRAY(
		SELECT o.id FROM deploydb.definition_change o WHERE o.at < before ORDER BY o.at LIMIT max_rows));
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END
$$;
COMMENT ON FUNCTION deploydb.purge_changes(timestamptz, integer) IS
	'Monitoring: removes rows of definition_change that are older, at most so many, and returns their number';
REVOKE ALL ON FUNCTION deploydb.purge_changes(timestamptz, integer) FROM PUBLIC;
