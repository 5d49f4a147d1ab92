--
-- Rollback: undoing it, and letting go of what it kept
--

-- Locks the row of a rollback that still stands; or an error.
CREATE FUNCTION deploydb.standing_rollback(id bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	found deploydb.rollback;
BEGIN
	IF id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'id must not be NULL';
	END IF;
	SELECT r.* INTO found FROM deploydb.rollback r WHERE r.id = id FOR UPDATE;
	IF found.id IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('rollback %s does not exist', id),
			HINT = 'Table deploydb.rollback has those that do.';
	ELSIF found.state <> 'rolled_back' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('rollback %s was %s by %s', id, found.state, found.ended_by),
			DETAIL = format('That was at %s.', to_char(found.ended_at, 'YYYY-MM-DD HH24:MI:SS TZ'));
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION deploydb.standing_rollback(bigint) IS
	'Rollback: the row of one that was neither restored nor discarded, locked, or an error';
REVOKE ALL ON FUNCTION deploydb.standing_rollback(bigint) FROM PUBLIC;

-- What has taken the place of something that was moved, as a script that would
-- drop it.
CREATE FUNCTION deploydb.in_the_way(moved jsonb)
RETURNS TABLE (script text, relations text[])
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	WITH item AS (
		SELECT m.n, m.value ->> 'kind' AS kind, s.oid AS nsp, m.value ->> 'schema' AS schema, m.value ->> 'name' AS name,
			m.value ->> 'signature' AS signature
		FROM jsonb_array_elements(moved) WITH ORDINALITY AS m (value, n)
			JOIN pg_namespace s ON s.nspname = m.value ->> 'schema'
	), taken AS (
		SELECT i.n, format('DROP %s %I.%I;', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
				WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, i.schema, i.name) AS statement,
			CASE WHEN c.relkind IN ('r', 'p') THEN format('%I.%I', i.schema, i.name) END AS relation
		FROM item i
			JOIN pg_class c ON c.relnamespace = i.nsp AND c.relname = i.name AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c')
		WHERE i.kind <> 'ROUTINE'
		UNION ALL
		SELECT i.n, format('DROP TYPE %I.%I;', i.schema, i.name), NULL
		FROM item i
			JOIN pg_type y ON y.typnamespace = i.nsp AND y.typname = i.name AND y.typtype IN ('d', 'e')
		WHERE i.kind <> 'ROUTINE'
		UNION ALL
		SELECT i.n, format('DROP ROUTINE %I.%I%s;', i.schema, i.name, format('(%s)', pg_get_function_identity_arguments(p.oid))), NULL
		FROM item i
			JOIN pg_proc p ON p.pronamespace = i.nsp AND p.proname = i.name
				AND format('(%s)', pg_get_function_identity_arguments(p.oid)) = i.signature
		WHERE i.kind = 'ROUTINE'
	)
	SELECT string_agg(t.statement, E'\n' ORDER BY t.n), COALESCE(array_agg(t.relation ORDER BY t.n) FILTER (WHERE t.relation IS NOT NULL), '{}')
	FROM taken t
$$;
COMMENT ON FUNCTION deploydb.in_the_way(jsonb) IS
	'Rollback: what stands where something moved would go back to, as a script that would drop it';
REVOKE ALL ON FUNCTION deploydb.in_the_way(jsonb) FROM PUBLIC;

-- Moves what a deploy has made since to deploydb_backup, as a rollback of its
-- own; its number, and the rows of its tables.
CREATE FUNCTION deploydb.keep_apart(id bigint, OUT kept bigint, OUT rows jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	restored deploydb.rollback;
	obstacle record;
	place text;
	dependents text;
	away record;
BEGIN
	SELECT r.* INTO restored FROM deploydb.rollback r WHERE r.id = id;
	place := restored.moved #>> '{0,schema}';
	SELECT * INTO obstacle FROM deploydb.in_the_way(restored.moved);
	IF obstacle.script IS NULL THEN
		RETURN;
	END IF;
	SELECT string_agg(format('%s depends on %s', d.object, d.needs), E'\n') INTO dependents
	FROM deploydb.rollback_dependents(restored.migration, obstacle.script, place) d;
	IF dependents IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'dependent_objects_still_exist',
			MESSAGE = format('rollback %s cannot be restored, as other objects depend on what has taken its place', restored.id),
			DETAIL = dependents,
			HINT = 'Remove them first.';
	END IF;
	SELECT jsonb_object_agg(t, deploydb.rollback_rows(t)) INTO rows FROM unnest(obstacle.relations) t;
	kept := nextval('deploydb.rollback_id_seq');
	SELECT * INTO away FROM deploydb.move_away(obstacle.script, place, 'r' || kept);
	INSERT INTO deploydb.rollback (id, migration, plan_id, deployment, who, reason, forced, tables, moved, undo)
	OVERRIDING SYSTEM VALUE
	VALUES (kept, restored.migration, restored.plan_id, deploydb.open_deployment(), session_user,
		format('kept apart when rollback %s was restored', restored.id), false, obstacle.relations, away.moved, away.undo);
END
$$;
COMMENT ON FUNCTION deploydb.keep_apart(bigint) IS
	'Rollback: moves what has taken the place of what is restored; a part of restore_rolled_back()';
REVOKE ALL ON FUNCTION deploydb.keep_apart(bigint) FROM PUBLIC;

-- A later row of the migration that was applied says already what the old one
-- would; one that failed must not block the next deploy.
CREATE FUNCTION deploydb.undo_rewind(name text, ledger jsonb)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	place text;
	now_is text;
	ids text := (SELECT string_agg(quote_literal(i), ', ') FROM jsonb_array_elements_text(ledger -> 'ids') i);
BEGIN
	IF ids IS NULL THEN
		RETURN 'untouched';
	END IF;
	place := format('%I._prisma_migrations', ledger ->> 'schema');
	SELECT l.state INTO now_is FROM deploydb.ledger(name, ledger ->> 'schema') l WHERE l.migration = name;
	IF now_is IN ('applied', 'claimed') THEN
		RETURN 'applied again since';
	ELSIF now_is IS NULL THEN
		RETURN 'could not be read';
	END IF;
	PERFORM deploydb.as_caller(format('UPDATE %s SET rolled_back_at = clock_timestamp() WHERE migration_name = %L AND rolled_back_at IS NULL',
		place, name), place::regclass);
	IF deploydb.as_caller(format('UPDATE %s SET rolled_back_at = NULL WHERE id IN (%s)', place, ids), place::regclass)::bigint = 0 THEN
		RETURN 'the rows are gone';
	END IF;
	RETURN ledger ->> 'state';
END
$$;
COMMENT ON FUNCTION deploydb.undo_rewind(text, jsonb) IS
	'Rollback: undoes the rewinding of Prisma''s ledger, as the caller; a part of restore_rolled_back()';
REVOKE ALL ON FUNCTION deploydb.undo_rewind(text, jsonb) FROM PUBLIC;

CREATE FUNCTION deploydb.restore_rolled_back_definer(id bigint)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	waits text := current_setting('lock_timeout');
	old deploydb.rollback;
	apart record;
	step record;
	ledger text;
	lost text;
BEGIN
	PERFORM deploydb.check_rolling_back('restore');
	PERFORM deploydb.standing_rollback(id);
	SELECT r.* INTO old FROM deploydb.rollback r WHERE r.id = id;
	IF old.undo @> '[null]' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = format('rollback %s cannot be restored', id),
			DETAIL = 'It dropped a column, whose values are not kept.',
			HINT = 'Deploy the migration again.';
	END IF;
	SELECT string_agg(m ->> 'stored', ', ') INTO lost
	FROM jsonb_array_elements(old.moved) m
	WHERE m ->> 'kind' IN ('TABLE', 'FOREIGN TABLE') AND to_regclass(format('deploydb_backup.%I', m ->> 'stored')) IS NULL;
	IF lost IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_table',
			MESSAGE = format('what rollback %s kept is not there any more', id),
			DETAIL = format('Missing in schema deploydb_backup: %s.', lost),
			HINT = 'Somebody has dropped or renamed it. Go back to a backup, or deploy the migration again.';
	END IF;
	PERFORM deploydb.lock_for_rollback(ARRAY(
		SELECT format('deploydb_backup.%I', m ->> 'stored') FROM jsonb_array_elements(old.moved) m WHERE m ->> 'kind' = 'TABLE'
		UNION ALL
		SELECT unnest(w.relations) FROM deploydb.in_the_way(old.moved) w), false);
	SELECT * INTO apart FROM deploydb.keep_apart(id);
	FOR step IN SELECT s.u ->> 'run' AS run, s.u ->> 'owned' AS owned FROM jsonb_array_elements(old.undo) WITH ORDINALITY AS s (u, n) ORDER BY s.n
	LOOP
		PERFORM deploydb.as_caller(step.run, step.owned::regclass);
	END LOOP;
	ledger := deploydb.undo_rewind(old.migration, old.ledger);
	UPDATE deploydb.rollback r
	SET state = 'restored', ended_at = clock_timestamp(), ended_by = session_user,
		note = CASE WHEN apart.kept IS NOT NULL THEN format('what had taken its place is rollback %s', apart.kept) END
	WHERE r.id = id;
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'restored', 'warning', format('%s (rollback %s)', old.migration, id));
	PERFORM deploydb.tell_team(format(deploydb.word('Migration %s was restored by %s.'), old.migration, session_user), 'P2');
	PERFORM set_config('lock_timeout', waits, true);
	RETURN jsonb_build_object('migration', old.migration, 'tables', to_jsonb(old.tables), 'ledger', ledger,
		'kept_apart', CASE WHEN apart.kept IS NOT NULL THEN jsonb_build_object('id', apart.kept, 'rows', COALESCE(apart.rows, '{}')) END);
END
$$;
COMMENT ON FUNCTION deploydb.restore_rolled_back_definer(bigint) IS
	'Rollback: a part of restore_rolled_back()';
REVOKE ALL ON FUNCTION deploydb.restore_rolled_back_definer(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.restore_rolled_back(id bigint)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'deploydb_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.restore_rolled_back(bigint) IS
	'Rollback: moves back what was rolled back; what has taken its place since is kept apart, and said';
REVOKE ALL ON FUNCTION deploydb.restore_rolled_back(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.discard_rolled_back_definer(id bigint, reason text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	waits text := current_setting('lock_timeout');
	old deploydb.rollback;
	until timestamptz;
	step record;
BEGIN
	PERFORM deploydb.check_rolling_back(reason);
	PERFORM deploydb.standing_rollback(id);
	SELECT r.* INTO old FROM deploydb.rollback r WHERE r.id = id;
	until := old.at + deploydb.setting('rollback_retention')::interval;
	IF until > clock_timestamp() AND old.moved <> '[]' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('rollback %s is kept until %s', id, to_char(until, 'YYYY-MM-DD HH24:MI:SS TZ')),
			DETAIL = 'That is deploydb.rollback_retention.';
	END IF;
	PERFORM deploydb.lock_for_rollback(ARRAY(
		SELECT format('deploydb_backup.%I', m ->> 'stored') FROM jsonb_array_elements(old.moved) m WHERE m ->> 'kind' = 'TABLE'), true);
	-- what refers to one another goes in one statement; a partition goes with its table
	FOR step IN
		SELECT string_agg(g.name, ', ' ORDER BY g.n) AS names, g.kind
		FROM (SELECT i.*, i.n - row_number() OVER (PARTITION BY i.kind ORDER BY i.n) AS run
			  FROM (SELECT m.n, m.value ->> 'kind' AS kind,
						-- types of arguments are called otherwise by now
						CASE WHEN m.value ->> 'kind' = 'ROUTINE' THEN
							(SELECT p.oid::regprocedure::text FROM pg_proc p
							 WHERE p.pronamespace = to_regnamespace('deploydb_backup') AND p.proname = m.value ->> 'stored')
						ELSE format('deploydb_backup.%I', m.value ->> 'stored') END AS name
					FROM jsonb_array_elements(old.moved) WITH ORDINALITY AS m (value, n)) AS i) AS g
		GROUP BY g.kind, g.run
		HAVING string_agg(g.name, '') IS NOT NULL
		ORDER BY min(g.n)
	LOOP
		PERFORM deploydb.as_caller(format('DROP %s IF EXISTS %s', step.kind, step.names));
	END LOOP;
	UPDATE deploydb.rollback r
	SET state = 'discarded', ended_at = clock_timestamp(), ended_by = session_user, note = reason
	WHERE r.id = id;
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'discarded', 'info', format('%s: %s (rollback %s)', old.migration, reason, id));
	PERFORM set_config('lock_timeout', waits, true);
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.discard_rolled_back_definer(bigint, text) IS
	'Rollback: a part of discard_rolled_back()';
REVOKE ALL ON FUNCTION deploydb.discard_rolled_back_definer(bigint, text) FROM PUBLIC;

CREATE FUNCTION deploydb.discard_rolled_back(id bigint, reason text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.discard_rolled_back(bigint, text) IS
	'Rollback: drops what was kept of one, once deploydb.rollback_retention is over';
REVOKE ALL ON FUNCTION deploydb.discard_rolled_back(bigint, text) FROM PUBLIC;
