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
	'Monitoring: the number of changes that definition_change could not note';
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

-- As facts call them; an event calls an enum or a domain a type.
CREATE FUNCTION deploydb.watched_types()
RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT '{table,view,materialized view,index,sequence,enum,domain,composite type,type}'::text[] $$;
COMMENT ON FUNCTION deploydb.watched_types() IS
	'Monitoring: types of the objects that are watched if a known migration made them';
REVOKE ALL ON FUNCTION deploydb.watched_types() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.watched_types() TO pg_monitor, pg_database_owner;

-- By name, in whatever schema: a table that is swapped in is the table, too.
-- An index that is gone cannot say whose it was; so it is its own name, too.
CREATE VIEW deploydb.watched_object AS
	SELECT 'table' AS object_type, quote_ident(t.name) AS name FROM deploydb.tracked_table t
	UNION
	SELECT DISTINCT f.object_type, f.object FROM deploydb.expected_fact f
	WHERE f.object_type = ANY (deploydb.watched_types());
COMMENT ON VIEW deploydb.watched_object IS
	'Monitoring: tables that are tracked, and what the known migrations made; changes of these are noted';
GRANT SELECT ON deploydb.watched_object TO pg_monitor, pg_database_owner;

-- As watched_object has them; but each DDL command asks, and for each element
-- that an index takes from an array, all of it is read.  Facts are quoted where
-- they must be.
CREATE FUNCTION deploydb.is_watched(name text, relation text)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
AS $$
DECLARE
	names text[] := array_remove(ARRAY[quote_ident(relation),
		NULLIF(quote_ident(name), quote_ident(relation))], NULL);
BEGIN
	RETURN names <> '{}' AND (
		EXISTS (SELECT FROM deploydb.tracked_table t WHERE quote_ident(t.name) = ANY (names))
		OR EXISTS (SELECT FROM deploydb.expectation e, unnest(names) n, unnest(array_positions(e.facts, n)) i
			WHERE i % 4 = 2
				AND e.facts[i - 1] = ANY (deploydb.watched_types())));
END
$$;
COMMENT ON FUNCTION deploydb.is_watched(text, text) IS
	'Monitoring: whether an object of that name, or of that relation, is watched';
REVOKE ALL ON FUNCTION deploydb.is_watched(text, text) FROM PUBLIC;

-- The relations that bear these names, their partitions, and the indexes of
-- both, and the types, so that one which is renamed or gone is known by what it
-- was.  Kept by the monitor, and by each change.
CREATE TABLE deploydb.watched_relation (
	relation bigint PRIMARY KEY
);
COMMENT ON TABLE deploydb.watched_relation IS
	'Monitoring: oids of the relations and types that are watched now';
GRANT SELECT ON deploydb.watched_relation TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.refresh_watched()
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	now_watched bigint[];
BEGIN
	WITH RECURSIVE watched AS (
		SELECT c.oid
		FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname IN (SELECT (parse_ident(w.name))[1] FROM deploydb.watched_object w
				WHERE w.object_type IN ('table', 'view', 'materialized view', 'sequence'))
			AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND c.relpersistence <> 't'
			AND n.nspname NOT IN ('deploydb', 'pg_catalog', 'information_schema')
		UNION
		SELECT i.inhrelid FROM watched w JOIN pg_inherits i ON i.inhparent = w.oid)
	SELECT COALESCE(array_agg(w.oid::bigint), '{}') INTO now_watched
	FROM (SELECT t.oid FROM watched t
		  UNION ALL
		  SELECT i.indexrelid FROM watched t JOIN pg_index i ON i.indrelid = t.oid
		  UNION ALL
		  SELECT t.oid
		  FROM pg_type t
			JOIN pg_namespace n ON n.oid = t.typnamespace
		  WHERE t.typname IN (SELECT (parse_ident(w.name))[1] FROM deploydb.watched_object w
				WHERE w.object_type IN ('enum', 'domain', 'composite type'))
			AND n.nspname NOT IN ('deploydb', 'pg_catalog', 'information_schema')) AS w;
	DELETE FROM deploydb.watched_relation r WHERE r.relation <> ALL (now_watched);
	INSERT INTO deploydb.watched_relation
	SELECT n FROM unnest(now_watched) n
	WHERE NOT EXISTS (SELECT FROM deploydb.watched_relation r WHERE r.relation = n)
	ON CONFLICT DO NOTHING;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.refresh_watched() IS
	'Monitoring: looks which relations and types are watched; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.refresh_watched() FROM PUBLIC;
SELECT deploydb.refresh_watched();

CREATE FUNCTION deploydb.note_change(command text, object_type text, object text)
RETURNS boolean
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	-- first what loads the library, and so the setting
	SELECT deploydb.wake_monitor();
	INSERT INTO deploydb.definition_change (command, object_type, object, statement)
	VALUES (command, object_type, object,
		CASE WHEN deploydb.setting('capture_statements')::boolean THEN current_query() END)
	RETURNING true
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

-- How long a lock is waited for, in ms: a part of what is left to the statement,
-- which is not to fail for it.
CREATE FUNCTION deploydb.wait_to_note()
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN t.until > interval '0'
		THEN GREATEST(1, LEAST(1000, 250 * extract(epoch FROM t.until - (clock_timestamp() - statement_timestamp()))))
		ELSE 1000 END::bigint
	FROM (SELECT current_setting('statement_timeout')::interval AS until) t
$$;
COMMENT ON FUNCTION deploydb.wait_to_note() IS
	'Monitoring: how long the event triggers wait for a lock, in ms';
REVOKE ALL ON FUNCTION deploydb.wait_to_note() FROM PUBLIC;

-- Called by the library for each relation that a TRUNCATE emptied.
CREATE FUNCTION deploydb.note_truncation(relation bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '1s'
SET jit = off
AS $$
DECLARE
	object text;
BEGIN
	PERFORM set_config('lock_timeout', deploydb.wait_to_note()::text, true);
	SELECT format('%I.%I', n.nspname, c.relname) INTO object
	FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.oid = relation::oid AND n.nspname NOT IN ('deploydb', 'deploydb_backup')
		AND (EXISTS (SELECT FROM deploydb.watched_relation w WHERE w.relation = note_truncation.relation)
			OR deploydb.is_watched(c.relname, c.relname));
	IF object IS NOT NULL THEN
		PERFORM deploydb.note_change('TRUNCATE TABLE', 'table', object);
	END IF;
	RETURN object IS NOT NULL;
EXCEPTION WHEN OTHERS THEN
	PERFORM deploydb.change_lost(SQLERRM);
	RETURN false;
END
$$;
COMMENT ON FUNCTION deploydb.note_truncation(bigint) IS
	'Monitoring: notes that a watched table was truncated';
REVOKE ALL ON FUNCTION deploydb.note_truncation(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.own_statement()
RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('%s %s', pg_current_xact_id(), extract(epoch FROM statement_timestamp()))
$$;
COMMENT ON FUNCTION deploydb.own_statement() IS
	'Monitoring: a name for the client''s statement that runs';
REVOKE ALL ON FUNCTION deploydb.own_statement() FROM PUBLIC;

-- Both run for any role, whatever its rights are.  Where a statement drops
-- something, definition_dropped() comes first, and has waited, warned and counted
-- for both: it leaves a setting of the transaction's behind, which names the
-- statement, as anybody can set it.
CREATE FUNCTION deploydb.definition_changed()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '1s'
SET jit = off
AS $$
DECLARE
	command record;
	lost boolean := COALESCE(current_setting('definition_change.lost', true) = deploydb.own_statement(), false);
BEGIN
	PERFORM set_config('definition_change.lost', 'no', true)
	WHERE lost;
	PERFORM set_config('lock_timeout', CASE WHEN lost THEN 1 ELSE deploydb.wait_to_note() END::text, true);
	FOR command IN
		-- By the indexes, whatever the plan that is kept was made for
		SELECT c.command_tag, c.object_type, c.object_identity,
			CASE WHEN c.is_type THEN (SELECT t.typname FROM pg_type t WHERE t.oid = c.itself)
				ELSE (SELECT k.relname FROM pg_class k WHERE k.oid = c.itself) END AS name,
			(SELECT k.relname FROM pg_class k WHERE k.oid = COALESCE(c.on_table, c.itself)) AS relation,
			COALESCE(c.on_table, c.itself)::bigint AS oid, c.itself::bigint AS itself, c.schema
		FROM (SELECT d.command_tag, d.object_type, d.object_identity,
				d.classid = 'pg_type'::regclass AS is_type,
				CASE WHEN d.classid IN ('pg_class'::regclass, 'pg_type'::regclass) THEN d.objid END AS itself,
				CASE WHEN d.classid = 'pg_namespace'::regclass THEN d.objid END AS schema,
				CASE d.classid
					WHEN 'pg_class'::regclass THEN COALESCE((SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = d.objid),
						(SELECT h.inhparent FROM pg_inherits h WHERE h.inhrelid = d.objid ORDER BY h.inhseqno LIMIT 1))
					WHEN 'pg_trigger'::regclass THEN (SELECT g.tgrelid FROM pg_trigger g WHERE g.oid = d.objid)
					WHEN 'pg_policy'::regclass THEN (SELECT p.polrelid FROM pg_policy p WHERE p.oid = d.objid)
					WHEN 'pg_rewrite'::regclass THEN (SELECT r.ev_class FROM pg_rewrite r WHERE r.oid = d.objid)
					WHEN 'pg_statistic_ext'::regclass THEN (SELECT s.stxrelid FROM pg_statistic_ext s WHERE s.oid = d.objid)
					WHEN 'pg_publication_rel'::regclass THEN (SELECT p.prrelid FROM pg_publication_rel p WHERE p.oid = d.objid)
					WHEN 'pg_constraint'::regclass THEN (SELECT NULLIF(n.conrelid, 0) FROM pg_constraint n WHERE n.oid = d.objid)
				END AS on_table
			FROM pg_event_trigger_ddl_commands() d
			WHERE NOT d.in_extension AND d.schema_name IS DISTINCT FROM 'pg_temp') c
	LOOP
		IF EXISTS (SELECT FROM deploydb.watched_relation w WHERE w.relation IN (command.oid, command.itself))
			OR deploydb.is_watched(command.name, command.relation)
			OR (command.schema IS NOT NULL
				AND EXISTS (SELECT FROM deploydb.watched_relation w JOIN pg_class k ON k.oid = w.relation
					WHERE k.relnamespace = command.schema))
		THEN
			PERFORM deploydb.note_change(command.command_tag, command.object_type, command.object_identity);
			-- Elsewhere it could keep one of two such transactions from being
			-- serialized; the monitor does it then.
			INSERT INTO deploydb.watched_relation
			SELECT DISTINCT o FROM unnest(ARRAY[command.oid, command.itself]) o
			WHERE o IS NOT NULL AND current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')
			ON CONFLICT DO NOTHING;
		END IF;
	END LOOP;
EXCEPTION WHEN OTHERS THEN
	IF lost THEN
		PERFORM set_config('definition_change.lost', 'no', true);
	ELSE
		PERFORM deploydb.change_lost(SQLERRM);
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.definition_changed() IS
	'Monitoring: notes commands that changed the definition of a watched table; an event trigger''s';
REVOKE ALL ON FUNCTION deploydb.definition_changed() FROM PUBLIC;

-- Only what was dropped by itself, or as a part of something that stays.
CREATE FUNCTION deploydb.definition_dropped()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '1s'
SET jit = off
AS $$
DECLARE
	dropped record;
BEGIN
	PERFORM set_config('lock_timeout', deploydb.wait_to_note()::text, true);
	FOR dropped IN
		-- Looked up in what is read once, as thousands may go with a schema
		WITH gone AS MATERIALIZED (
			SELECT d.object_type, d.object_identity, d.object_name, d.address_names,
				CASE WHEN d.classid IN ('pg_class'::regclass, 'pg_type'::regclass) THEN d.objid::bigint END AS oid,
				d.object_type IN ('table column', 'table constraint', 'default value', 'trigger', 'policy', 'rule',
					'publication relation') AS is_part
			FROM pg_event_trigger_dropped_objects() d
			WHERE NOT d.is_temporary),
		whole AS (
			SELECT g.object_identity, g.address_names FROM gone g
			WHERE g.object_type IN ('table', 'view', 'materialized view', 'composite type'))
		SELECT g.object_type, g.object_identity, g.object_name, g.oid,
			CASE WHEN g.is_part THEN g.address_names[2] END AS relation
		FROM gone g
		WHERE (g.is_part OR g.object_type = ANY (deploydb.watched_types()))
			-- what goes with its table: row type, columns, constraints, which differ by major
			AND CASE
				WHEN g.is_part THEN g.address_names[1:2] IN (SELECT w.address_names FROM whole w)
				WHEN g.object_type = 'type' THEN g.object_identity IN (SELECT w.object_identity FROM whole w)
				END IS NOT TRUE
	LOOP
		IF EXISTS (SELECT FROM deploydb.watched_relation w WHERE w.relation = dropped.oid)
			OR deploydb.is_watched(dropped.object_name, dropped.relation)
		THEN
			PERFORM deploydb.note_change(tg_tag, dropped.object_type, dropped.object_identity);
		END IF;
	END LOOP;
EXCEPTION WHEN OTHERS THEN
	PERFORM deploydb.change_lost(SQLERRM);
	PERFORM set_config('definition_change.lost', deploydb.own_statement(), true);
END
$$;
COMMENT ON FUNCTION deploydb.definition_dropped() IS
	'Monitoring: notes what was dropped of a watched table; an event trigger''s';
REVOKE ALL ON FUNCTION deploydb.definition_dropped() FROM PUBLIC;

CREATE EVENT TRIGGER deploydb_definition_changed ON ddl_command_end
	EXECUTE FUNCTION deploydb.definition_changed();
ALTER EVENT TRIGGER deploydb_definition_changed ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER deploydb_definition_changed IS
	'Monitoring: notes who changes the definition of a watched table';
CREATE EVENT TRIGGER deploydb_definition_dropped ON sql_drop
	EXECUTE FUNCTION deploydb.definition_dropped();
ALTER EVENT TRIGGER deploydb_definition_dropped ENABLE ALWAYS;
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
