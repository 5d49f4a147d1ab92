--
-- Rollback: what a migration's rollback script is about
--

-- Whoever acts calls a function in C, which calls its twin ..._definer with
-- the owner's rights.  What changes the application's objects is run by
-- as_caller(), with the rights of whoever called.  What runs what a table's owner
-- put there (triggers, constraints) names the table: a superuser who calls lends
-- nobody his rights.

CREATE FUNCTION deploydb.as_caller(statement text, owned regclass DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_as_caller'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.as_caller(text, regclass) IS
	'Rollback: runs a statement with the rights of whoever called a function that acts for him, or of a table''s owner where the caller has those; its first value, or the number of its rows';
REVOKE ALL ON FUNCTION deploydb.as_caller(text, regclass) FROM PUBLIC;

CREATE FUNCTION deploydb.migration_schema(migration text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_migration_schema'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.migration_schema(text) IS
	'Rollback: the schema in which verification looks for a migration';
REVOKE ALL ON FUNCTION deploydb.migration_schema(text) FROM PUBLIC;

CREATE FUNCTION deploydb.ledger_schema(schema text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_ledger_schema'
LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.ledger_schema(text) IS
	'Rollback: where Prisma''s ledger is, that of a schema first; NULL where there is none';
REVOKE ALL ON FUNCTION deploydb.ledger_schema(text) FROM PUBLIC;

CREATE FUNCTION deploydb.rollback_targets(script text, schema text)
RETURNS TABLE (statement integer, source text, object_type text, object text,
	class_id bigint, object_id bigint, sub_id integer, refused text)
AS 'MODULE_PATHNAME', 'deploydb_rollback_targets'
LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 5;
COMMENT ON FUNCTION deploydb.rollback_targets(text, text) IS
	'Rollback: what a script drops, or why a statement cannot be let through; ids are NULL of what is not there';
REVOKE ALL ON FUNCTION deploydb.rollback_targets(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.rollback_targets(text, text) TO pg_monitor, pg_database_owner;

-- The known migration with its script, or an error.
CREATE FUNCTION deploydb.rollback_script(migration text)
RETURNS TABLE (name text, script text)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF rollback_script.migration IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'migration must not be NULL',
			HINT = 'A rollback is always that of one migration.';
	END IF;
	SELECT k.migration, k.rollback_ddl INTO name, script
	FROM deploydb.known_migration k
	WHERE k.migration = deploydb.resolve_migration(rollback_script.migration);
	IF script IS NULL OR script !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('migration "%s" has no rollback script', name),
			HINT = 'Register it with one: deploydb.register_migration(..., rollback_ddl => ...), or deploydb-register with a rollback.sql beside its migration.sql.';
	END IF;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.rollback_script(text) IS
	'Rollback: a migration''s full name and its rollback script, or an error';
REVOKE ALL ON FUNCTION deploydb.rollback_script(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.rollback_script(text) TO pg_monitor, pg_database_owner;

-- Raises unless each statement drops something that the migration made.
CREATE FUNCTION deploydb.check_rollback_script(name text, script text, schema text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wrong text;
BEGIN
	SELECT string_agg(format('Statement %s (%s): %s', t.statement, left(t.source, 100), t.why), E'\n' ORDER BY t.statement)
	INTO wrong
	FROM (SELECT g.statement, g.source, COALESCE(g.refused,
			CASE WHEN NOT EXISTS (SELECT FROM deploydb.expected_fact e
					WHERE e.migration = name AND (e.object_type = g.object_type OR g.object_id IS NULL)
						AND (e.object = g.object OR (g.object_id IS NULL AND e.object LIKE g.object || '(%')))
				THEN format('%s %s is nothing that the migration made.', g.object_type, g.object) END) AS why
		  FROM deploydb.rollback_targets(script, schema) g) AS t
	WHERE t.why IS NOT NULL;
	IF wrong IS NOT NULL OR NOT EXISTS (SELECT FROM deploydb.rollback_targets(script, schema)) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'ZD004',
			MESSAGE = format('the rollback script of migration "%s" cannot be used', name),
			DETAIL = COALESCE(wrong, 'It drops nothing.'),
			HINT = 'It may drop what the migration made, without CASCADE: tables, columns, constraints, indexes, triggers, views, sequences, types and functions.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_rollback_script(text, text, text) IS
	'Rollback: true where each statement drops something of the migration''s own, or an error';
REVOKE ALL ON FUNCTION deploydb.check_rollback_script(text, text, text) FROM PUBLIC;

-- What there is to drop, each thing once, and whether it goes with a table that
-- goes as a whole.  A partition is one of the tables.
CREATE FUNCTION deploydb.rollback_objects(script text, schema text)
RETURNS TABLE (n bigint, object_type text, object text, class_id bigint, object_id bigint, sub_id integer, with_table boolean)
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE named AS MATERIALIZED (
		SELECT min(t.n) AS n, t.object_type, t.object, t.class_id::oid AS class_id, t.object_id::oid AS object_id, t.sub_id
		FROM deploydb.rollback_targets(script, schema) WITH ORDINALITY
			AS t (statement, source, object_type, object, class_id, object_id, sub_id, refused, n)
		WHERE t.object_id IS NOT NULL
		GROUP BY 2, 3, 4, 5, 6
	), part (n, oid) AS (
		SELECT m.n, m.object_id FROM named m WHERE m.object_type = 'table'
		UNION
		SELECT p.n, i.inhrelid
		FROM part p
			JOIN pg_inherits i ON i.inhparent = p.oid
			JOIN pg_class c ON c.oid = i.inhrelid
		WHERE c.relispartition
	), everything AS (
		SELECT m.* FROM named m
		UNION ALL
		SELECT min(p.n), 'table', quote_ident(c.relname), 'pg_class'::regclass, p.oid, 0
		FROM part p
			JOIN pg_class c ON c.oid = p.oid
		WHERE p.oid NOT IN (SELECT m.object_id FROM named m)
		GROUP BY c.relname, p.oid
	)
	SELECT e.n, e.object_type, e.object, e.class_id::bigint, e.object_id::bigint, e.sub_id,
		e.object_type <> 'table' AND CASE e.class_id
			WHEN 'pg_trigger'::regclass THEN (SELECT g.tgrelid FROM pg_trigger g WHERE g.oid = e.object_id)
			WHEN 'pg_constraint'::regclass THEN (SELECT c.conrelid FROM pg_constraint c WHERE c.oid = e.object_id)
			WHEN 'pg_class'::regclass THEN CASE WHEN e.sub_id > 0 THEN e.object_id
				ELSE COALESCE((SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = e.object_id),
					(SELECT d.refobjid FROM pg_depend d
					 WHERE d.classid = 'pg_class'::regclass AND d.objid = e.object_id AND d.deptype IN ('a', 'i')
						AND d.refclassid = 'pg_class'::regclass AND e.object_type = 'sequence'), 0) END
			ELSE 0 END IN (SELECT p.oid FROM part p)
	FROM everything e
$$;
COMMENT ON FUNCTION deploydb.rollback_objects(text, text) IS
	'Rollback: what a script finds to drop, each once, partitions too';
REVOKE ALL ON FUNCTION deploydb.rollback_objects(text, text) FROM PUBLIC;

-- What is there and would break, or belongs to somebody else.
CREATE FUNCTION deploydb.rollback_dependents(name text, script text, schema text)
RETURNS TABLE (object text, needs text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE target AS MATERIALIZED (
		SELECT o.* FROM deploydb.rollback_objects(script, schema) o
	), gone (classid, objid, objsubid) AS (
		SELECT t.class_id::oid, t.object_id::oid, t.sub_id FROM target t
		UNION
		SELECT d.classid, d.objid, d.objsubid
		FROM gone g
			JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid
				AND (g.objsubid = 0 OR d.refobjsubid = g.objsubid)
		WHERE d.deptype IN ('a', 'i', 'P', 'S')
	), blocking AS (
		SELECT DISTINCT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid, d.refobjsubid
		FROM gone g
			JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid
				AND (g.objsubid = 0 OR d.refobjsubid = g.objsubid)
		WHERE d.deptype = 'n'
			AND NOT EXISTS (SELECT FROM gone o WHERE o.classid = d.classid AND o.objid = d.objid
				AND o.objsubid IN (0, d.objsubid))
	)
	SELECT DISTINCT COALESCE(pg_describe_object('pg_class'::regclass, r.ev_class, 0),
			pg_describe_object(b.classid, b.objid, b.objsubid)),
		pg_describe_object(b.refclassid, b.refobjid, CASE WHEN b.refclassid = 'pg_class'::regclass THEN 0 ELSE b.refobjsubid END)
	FROM blocking b
		LEFT JOIN pg_rewrite r ON b.classid = 'pg_rewrite'::regclass AND r.oid = b.objid
	UNION
	SELECT DISTINCT format('%s %s of migration %s', e.object_type, e.object, e.migration), 'table ' || t.object
	FROM target t
		CROSS JOIN LATERAL deploydb.facts(ARRAY[(SELECT c.relname::text FROM pg_class c WHERE c.oid = t.object_id)], schema) f
		JOIN deploydb.expected_fact e ON e.object_type = f.object_type AND e.object = f.object
	WHERE t.object_type = 'table' AND t.sub_id = 0
		AND e.migration COLLATE "C" > name AND e.property <> 'exists' AND e.object_type NOT IN ('table', 'view')
		AND NOT EXISTS (SELECT FROM deploydb.expected_fact o
			WHERE o.migration = name AND o.object_type = e.object_type AND o.object = e.object)
	UNION
	-- what would go along with a column, and nobody would be told
	SELECT DISTINCT format('%s %s of migration %s', e.object_type, e.object, e.migration), 'column ' || t.object
	FROM target t
		JOIN pg_depend d ON d.refclassid = t.class_id AND d.refobjid = t.object_id AND d.refobjsubid = t.sub_id AND d.deptype IN ('a', 'i')
		LEFT JOIN pg_class i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid
		LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
		JOIN deploydb.expected_fact e ON (e.object_type = 'index' AND e.object = quote_ident(i.relname))
			OR (e.object_type = 'constraint' AND e.object = (SELECT quote_ident(r.relname) FROM pg_class r WHERE r.oid = t.object_id)
				|| '.' || quote_ident(c.conname))
	WHERE t.sub_id > 0 AND NOT t.with_table AND e.migration COLLATE "C" > name AND e.property <> 'exists'
	ORDER BY 1, 2
$$;
COMMENT ON FUNCTION deploydb.rollback_dependents(text, text, text) IS
	'Rollback: what depends on the objects that a script drops, or was made on them by a later migration';
REVOKE ALL ON FUNCTION deploydb.rollback_dependents(text, text, text) FROM PUBLIC;

-- A name in deploydb_backup: that of the object, and the plan's number.
CREATE FUNCTION deploydb.stored_name(name text, suffix text, same bigint)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ending text := '_' || suffix || CASE WHEN same > 1 THEN '_' || same ELSE '' END;
	stem text := name;
BEGIN
	WHILE octet_length(stem || ending) > 63 AND stem <> '' LOOP
		stem := left(stem, -1);
	END LOOP;
	RETURN stem || ending;
END
$$;
COMMENT ON FUNCTION deploydb.stored_name(text, text, bigint) IS
	'Rollback: the name under which something is kept in deploydb_backup';
REVOKE ALL ON FUNCTION deploydb.stored_name(text, text, bigint) FROM PUBLIC;

-- What has a name of its own in a schema and is moved: tables with all that
-- has a name beside theirs, views, sequences, types, functions.
CREATE FUNCTION deploydb.rollback_moves(script text, schema text, suffix text)
RETURNS TABLE (n bigint, m bigint, kind text, schema_name text, name text, stored text, signature text, moved boolean, owner text)
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	WITH target AS MATERIALIZED (
		SELECT o.* FROM deploydb.rollback_objects(script, schema) o
		WHERE NOT o.with_table AND o.sub_id = 0
			AND o.object_type IN ('table', 'view', 'sequence', 'enum', 'domain', 'composite type', 'function')
	), item AS (
		SELECT t.n, 0 AS m, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
				WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind,
			c.relnamespace AS nsp, c.relname AS name, '' AS signature, true AS moved, c.relowner AS owner, c.oid
		FROM target t JOIN pg_class c ON t.class_id = 'pg_class'::regclass AND c.oid = t.object_id
		UNION ALL
		SELECT t.n, 1, 'INDEX', x.relnamespace, x.relname, '', false, x.relowner, x.oid
		FROM target t
			JOIN pg_index i ON t.class_id = 'pg_class'::regclass AND i.indrelid = t.object_id
			JOIN pg_class x ON x.oid = i.indexrelid
		UNION ALL
		SELECT t.n, 2, 'SEQUENCE', s.relnamespace, s.relname, '', false, s.relowner, s.oid
		FROM target t
			JOIN pg_depend d ON t.class_id = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
				AND d.refobjid = t.object_id AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
			JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
		UNION ALL
		SELECT t.n, 3, 'STATISTICS', s.stxnamespace, s.stxname, '', true, s.stxowner, s.oid
		FROM target t JOIN pg_statistic_ext s ON t.class_id = 'pg_class'::regclass AND s.stxrelid = t.object_id
		UNION ALL
		SELECT t.n, 0, CASE y.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, y.typnamespace, y.typname, '', true, y.typowner, y.oid
		FROM target t JOIN pg_type y ON t.class_id = 'pg_type'::regclass AND y.oid = t.object_id
		UNION ALL
		SELECT t.n, 0, 'ROUTINE', p.pronamespace, p.proname, format('(%s)', pg_get_function_identity_arguments(p.oid)), true, p.proowner, p.oid
		FROM target t JOIN pg_proc p ON t.class_id = 'pg_proc'::regclass AND p.oid = t.object_id
	)
	SELECT i.n, i.m, i.kind, s.nspname::text, i.name::text,
		deploydb.stored_name(i.name, suffix, row_number() OVER (
			PARTITION BY i.kind = 'ROUTINE', deploydb.stored_name(i.name, suffix, 1) ORDER BY i.n, i.m, i.oid)),
		i.signature, i.moved, pg_get_userbyid(i.owner)::text
	FROM item i JOIN pg_namespace s ON s.oid = i.nsp
	ORDER BY i.n, i.m, i.oid
$$;
COMMENT ON FUNCTION deploydb.rollback_moves(text, text, text) IS
	'Rollback: what is moved to deploydb_backup instead of being dropped, and under which name';
REVOKE ALL ON FUNCTION deploydb.rollback_moves(text, text, text) FROM PUBLIC;

-- The statements that take the script's place, in their order; undone by the
-- others in the order reversed.  What cannot be undone has none.  Where undoing
-- runs expressions of a table's owner, that is the table.
CREATE FUNCTION deploydb.rollback_steps(script text, schema text, suffix text)
RETURNS TABLE (n bigint, m bigint, run text, undo text, owned text)
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	WITH target AS MATERIALIZED (
		SELECT o.n, o.object_type, o.class_id::oid AS class_id, o.object_id::oid AS object_id, o.sub_id
		FROM deploydb.rollback_objects(script, schema) o
		WHERE NOT o.with_table
	)
	SELECT v.n, v.m + s.k, s.run, s.undo, NULL
	FROM deploydb.rollback_moves(script, schema, suffix) v
		CROSS JOIN LATERAL (VALUES
			(0, format('ALTER %s %I.%I%s RENAME TO %I', v.kind, v.schema_name, v.name, v.signature, v.stored),
				format('ALTER %s %I.%I%s RENAME TO %I', v.kind, v.schema_name, v.stored, v.signature, v.name)),
			-- once all have names that nothing else has there
			(10, format('ALTER %s %I.%I%s SET SCHEMA deploydb_backup', v.kind, v.schema_name, v.stored, v.signature),
				format('ALTER %s deploydb_backup.%I%s SET SCHEMA %I', v.kind, v.stored, v.signature, v.schema_name))
		) AS s (k, run, undo)
	WHERE v.moved OR s.k = 0
	UNION ALL
	SELECT o.n, 0, format('DROP INDEX %I.%I', s.nspname, c.relname),
		-- without the ONLY of one whose partitions have theirs
		concat_ws('; ', CASE WHEN c.relkind = 'I' THEN regexp_replace(pg_get_indexdef(c.oid), '^(.{' || length(d.head) || '})ONLY ', E'\\1')
				ELSE pg_get_indexdef(c.oid) END,
			format('COMMENT ON INDEX %I.%I IS ', s.nspname, c.relname) || quote_literal(obj_description(c.oid, 'pg_class'))), NULL
	FROM target o
		JOIN pg_class c ON o.object_type = 'index' AND c.oid = o.object_id
		JOIN pg_index i ON i.indexrelid = c.oid
		CROSS JOIN LATERAL format('CREATE %sINDEX %I ON ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, c.relname) AS d (head)
		JOIN pg_namespace s ON s.oid = c.relnamespace
	UNION ALL
	SELECT o.n, 0, format('DROP TRIGGER %I ON %I.%I', g.tgname, s.nspname, c.relname),
		concat_ws('; ', pg_get_triggerdef(g.oid),
			format('ALTER TABLE %I.%I ', s.nspname, c.relname)
				|| CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' END
				|| format(' TRIGGER %I', g.tgname),
			format('COMMENT ON TRIGGER %I ON %I.%I IS ', g.tgname, s.nspname, c.relname)
				|| quote_literal(obj_description(g.oid, 'pg_trigger'))), NULL
	FROM target o
		JOIN pg_trigger g ON o.class_id = 'pg_trigger'::regclass AND g.oid = o.object_id
		JOIN pg_class c ON c.oid = g.tgrelid
		JOIN pg_namespace s ON s.oid = c.relnamespace
	UNION ALL
	SELECT o.n, 0, format('ALTER TABLE %I.%I DROP CONSTRAINT %I', s.nspname, c.relname, t.conname),
		concat_ws('; ', format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', s.nspname, c.relname, t.conname, pg_get_constraintdef(t.oid)),
			format('COMMENT ON CONSTRAINT %I ON %I.%I IS ', t.conname, s.nspname, c.relname)
				|| quote_literal(obj_description(t.oid, 'pg_constraint'))),
		CASE WHEN t.contype IN ('c', 'f') THEN format('%I.%I', s.nspname, c.relname) END
	FROM target o
		JOIN pg_constraint t ON o.class_id = 'pg_constraint'::regclass AND t.oid = o.object_id
		JOIN pg_class c ON c.oid = t.conrelid
		JOIN pg_namespace s ON s.oid = c.relnamespace
	UNION ALL
	SELECT o.n, 0, format('ALTER TABLE %I.%I DROP COLUMN %I', s.nspname, c.relname, a.attname), NULL, NULL
	FROM target o
		JOIN pg_attribute a ON o.class_id = 'pg_class'::regclass AND o.sub_id > 0 AND a.attrelid = o.object_id AND a.attnum = o.sub_id
		JOIN pg_class c ON c.oid = a.attrelid
		JOIN pg_namespace s ON s.oid = c.relnamespace
	ORDER BY 1, 2
$$;
COMMENT ON FUNCTION deploydb.rollback_steps(text, text, text) IS
	'Rollback: the statements that take a script''s place, and those that undo them';
REVOKE ALL ON FUNCTION deploydb.rollback_steps(text, text, text) FROM PUBLIC;

-- Tables that are moved or changed, as SQL names them.
CREATE FUNCTION deploydb.rollback_tables(script text, schema text)
RETURNS TABLE (relation text, oid bigint, goes boolean)
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 3
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('%I.%I', s.nspname, c.relname), c.oid::bigint, bool_or(o.object_type = 'table' AND o.sub_id = 0)
	FROM deploydb.rollback_objects(script, schema) o
		LEFT JOIN pg_trigger g ON o.class_id = 'pg_trigger'::regclass AND g.oid = o.object_id
		LEFT JOIN pg_constraint t ON o.class_id = 'pg_constraint'::regclass AND t.oid = o.object_id
		LEFT JOIN pg_index i ON o.class_id = 'pg_class'::regclass AND i.indexrelid = o.object_id
		JOIN pg_class c ON c.oid = COALESCE(g.tgrelid, t.conrelid, i.indrelid, o.object_id) AND c.relkind IN ('r', 'p', 'f')
		JOIN pg_namespace s ON s.oid = c.relnamespace
	GROUP BY s.nspname, c.relname, c.oid
	ORDER BY s.nspname, c.relname
$$;
COMMENT ON FUNCTION deploydb.rollback_tables(text, text) IS
	'Rollback: the tables that a script drops or changes';
REVOKE ALL ON FUNCTION deploydb.rollback_tables(text, text) FROM PUBLIC;

-- Are the counters' values of a minute ago known?  The monitor samples them.
CREATE FUNCTION deploydb.last_minute_is_counted()
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN deploydb.is_preloaded() AND EXISTS (SELECT FROM deploydb.monitor_state m
		WHERE m.last_tick_at >= clock_timestamp() - 3 * make_interval(secs => m.interval_ms / 1000.0));
END
$$;
COMMENT ON FUNCTION deploydb.last_minute_is_counted() IS
	'Rollback: is deploydb preloaded, and the monitor ticking?';
REVOKE ALL ON FUNCTION deploydb.last_minute_is_counted() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.last_minute_is_counted() TO pg_monitor, pg_database_owner;

-- Of each of the tables?
CREATE FUNCTION deploydb.writers_are_measured(script text, schema text)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT deploydb.last_minute_is_counted() AND NOT EXISTS (
		SELECT FROM deploydb.rollback_tables(script, schema) t
		WHERE NOT EXISTS (SELECT FROM deploydb.tracked k WHERE format('%I.%I', k.schema, k.name) = t.relation AND k.enabled))
$$;
COMMENT ON FUNCTION deploydb.writers_are_measured(text, text) IS
	'Rollback: is it known whether anybody wrote into the tables that a script drops or changes in the last minute?';
REVOKE ALL ON FUNCTION deploydb.writers_are_measured(text, text) FROM PUBLIC;

-- Who writes, or wrote in the last minute, as far as a server can know.
CREATE FUNCTION deploydb.rollback_writers(script text, schema text)
RETURNS TABLE (relation text, role text, pid integer, application text, evidence text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
	WITH changed AS MATERIALIZED (
		SELECT t.relation, t.oid, c.relname::text AS name
		FROM deploydb.rollback_tables(script, schema) t JOIN pg_class c ON c.oid = t.oid
	)
	SELECT t.relation, a.usename::text, a.pid, a.application_name,
		CASE WHEN l.granted THEN 'writes now' ELSE 'waits to write' END
	FROM changed t
		JOIN pg_locks l ON l.locktype = 'relation' AND l.relation = t.oid
			AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
		JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.pid <> pg_backend_pid() AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
	UNION
	SELECT t.relation, a.usename::text, a.pid, a.application_name, 'its last statement wrote'
	FROM changed t
		JOIN pg_stat_activity a ON a.datname = current_database() AND a.backend_type = 'client backend'
			AND a.pid <> pg_backend_pid() AND a.query_start > clock_timestamp() - interval '1 minute'
	WHERE a.query ~* E'\\m(insert|update|delete|merge|copy|truncate)\\M' AND strpos(a.query, t.name) > 0
	UNION
	-- of whom is not counted
	SELECT t.relation, NULL, NULL, NULL,
		format('%s counted in the last minute', w.succeeded + w.prepared)
	FROM changed t
		JOIN deploydb.tracked k ON format('%I.%I', k.schema, k.name) = t.relation AND k.enabled
		CROSS JOIN LATERAL deploydb.write_window(clock_timestamp() - interval '1 minute', t.relation) w
	WHERE deploydb.last_minute_is_counted() AND NOT w.others AND w.succeeded + w.prepared > 0
	ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION deploydb.rollback_writers(text, text) IS
	'Rollback: who writes into the tables that a script drops or changes, or did in the last minute';
REVOKE ALL ON FUNCTION deploydb.rollback_writers(text, text) FROM PUBLIC;
