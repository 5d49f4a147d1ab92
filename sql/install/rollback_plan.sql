--
-- Rollback: the plan
--

CREATE TABLE deploydb.rollback_plan (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	migration text COLLATE "C" NOT NULL,
	rewind_ledger boolean NOT NULL,
	schema text NOT NULL,
	hash text NOT NULL,
	plan jsonb NOT NULL,
	planned_by text NOT NULL,
	planned_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX rollback_plan_migration_idx ON deploydb.rollback_plan (migration, id);
COMMENT ON TABLE deploydb.rollback_plan IS
	'Rollback: plans as plan_rollback() gave them';
GRANT SELECT ON deploydb.rollback_plan TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.rollback_plan_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.rollback_plan', '');
SELECT pg_extension_config_dump('deploydb.rollback_plan_id_seq', '');

-- All that a hash is over; place is where the objects are, where that is known.
CREATE FUNCTION deploydb.rollback_basis(migration text, rewind_ledger boolean, place text DEFAULT NULL)
RETURNS TABLE (name text, script text, schema text, hash text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	fingerprint text;
BEGIN
	IF rollback_basis.rewind_ledger IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'rewind_ledger must not be NULL';
	END IF;
	SELECT s.name, s.script INTO name, script FROM deploydb.rollback_script(rollback_basis.migration) s;
	schema := COALESCE(place, deploydb.rollback_schema(name));
	-- also derives what the migration expects, where that is missing
	fingerprint := deploydb.migration_fingerprint(name, schema);
	PERFORM deploydb.check_rollback_script(name, script, schema);
	IF fingerprint IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'lock_not_available',
			MESSAGE = format('what is there of migration "%s" could not be looked at', name),
			HINT = format('SELECT * FROM deploydb.migration_report(%L) says why. Try again.', name);
	END IF;
	hash := encode(sha256(convert_to(jsonb_build_object(
		'format', 1, 'migration', name, 'schema', schema, 'fingerprint', fingerprint, 'rewind_ledger', rollback_basis.rewind_ledger,
		'statements', (SELECT jsonb_agg(t.source ORDER BY t.statement)
			FROM (SELECT DISTINCT g.statement, g.source FROM deploydb.rollback_targets(script, schema) g) AS t),
		'there', (SELECT jsonb_agg(DISTINCT concat_ws(' ', o.object_type, o.object)) FROM deploydb.rollback_objects(script, schema) o),
		'dependents', (SELECT jsonb_agg(to_jsonb(d) ORDER BY d.object, d.needs)
			FROM deploydb.rollback_dependents(name, script, schema) d))::text, 'UTF8')), 'hex');
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.rollback_basis(text, boolean, text) IS
	'Rollback: a migration''s rollback script, where its tables are, and the hash over what a plan rests on';
REVOKE ALL ON FUNCTION deploydb.rollback_basis(text, boolean, text) FROM PUBLIC;

-- Where it was verified last, as long as that schema is there; else where
-- verification looks.
CREATE FUNCTION deploydb.rollback_schema(migration text)
RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE(
		(SELECT n.nspname::text
		 FROM (SELECT v.schema FROM deploydb.verification v
			   WHERE v.migration = rollback_schema.migration AND v.outcome = 'verified'
			   ORDER BY v.id DESC LIMIT 1) AS last
			JOIN pg_namespace n ON n.nspname = last.schema),
		deploydb.migration_schema(migration), deploydb.application_schema(NULL))
$$;
COMMENT ON FUNCTION deploydb.rollback_schema(text) IS
	'Rollback: the schema of a migration''s objects';
REVOKE ALL ON FUNCTION deploydb.rollback_schema(text) FROM PUBLIC;

CREATE FUNCTION deploydb.rollback_hash_definer(migration text, rewind_ledger boolean)
RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT b.hash FROM deploydb.rollback_basis(migration, rewind_ledger) b $$;
COMMENT ON FUNCTION deploydb.rollback_hash_definer(text, boolean) IS
	'Rollback: a part of rollback_hash()';
REVOKE ALL ON FUNCTION deploydb.rollback_hash_definer(text, boolean) FROM PUBLIC;

CREATE FUNCTION deploydb.rollback_hash(migration text, rewind_ledger boolean DEFAULT true)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.rollback_hash(text, boolean) IS
	'Rollback: the hash that a plan would have now';
REVOKE ALL ON FUNCTION deploydb.rollback_hash(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.rollback_hash(text, boolean) TO pg_monitor, pg_database_owner;

-- Prisma's ledger as it is, and what its next deploy would make of it.
CREATE FUNCTION deploydb.rollback_ledger(name text, schema text, rewind_ledger boolean)
RETURNS TABLE (place text, state text, run text, effect text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.place, l.state,
		CASE WHEN rewind_ledger AND l.state IN ('applied', 'claimed', 'failed') THEN
			format('UPDATE %I._prisma_migrations SET rolled_back_at = clock_timestamp() WHERE migration_name = %L AND rolled_back_at IS NULL',
				l.place, name) END,
		CASE WHEN l.place IS NULL THEN 'There is no _prisma_migrations here.'
			WHEN l.state IS NULL THEN 'The ledger could not be read.'
			WHEN l.state = 'running' THEN 'Prisma is migrating at this moment.'
			WHEN l.state IN ('absent', 'rolled_back') THEN 'prisma migrate deploy would apply the migration.'
			WHEN rewind_ledger THEN 'prisma migrate deploy would apply the migration again: deploy without it, or not before it is mended.'
			WHEN l.state = 'failed' THEN 'prisma migrate deploy would refuse everything (P3009), as the migration stays failed.'
			ELSE 'prisma migrate deploy would not apply the migration again, as the ledger goes on saying that it is applied.' END
	FROM (SELECT s.place, CASE WHEN s.place IS NULL THEN NULL
				ELSE (SELECT g.state FROM deploydb.ledger(name, s.place) g WHERE g.migration = name) END AS state
		  FROM (SELECT deploydb.ledger_schema(schema) AS place) AS s) AS l
$$;
COMMENT ON FUNCTION deploydb.rollback_ledger(text, text, boolean) IS
	'Rollback: the state of Prisma''s ledger, how it is rewound, and what a deploy would do then';
REVOKE ALL ON FUNCTION deploydb.rollback_ledger(text, text, boolean) FROM PUBLIC;

-- Prisma runs a file whole or not at all, and a name that is taken is why most
-- files fail: what is there then is somebody else's.
CREATE FUNCTION deploydb.rollback_strangers(name text, script text, schema text)
RETURNS TABLE (object text, difference text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('%s %s', o.object_type, o.object),
		string_agg(format('%s %s: %s is %s, expected %s', r.object_type, r.object, r.property, r.actual, r.expected), E'\n'
			ORDER BY r.object COLLATE "C", r.property)
	FROM deploydb.rollback_ledger(name, schema, true) l
		CROSS JOIN deploydb.rollback_objects(script, schema) o
		JOIN deploydb.migration_report(name, schema) r ON r.object_type = o.object_type AND r.object = o.object
			OR o.sub_id = 0 AND r.object_type = 'column' AND starts_with(r.object, o.object || '.')
	WHERE l.state <> 'applied' AND l.state <> 'running'
		-- what is missing may be what the migration did not come to
		AND CASE WHEN r.property = 'exists' THEN r.expected = 'no' ELSE r.severity = 'error' END
	GROUP BY 1 ORDER BY 1
$$;
COMMENT ON FUNCTION deploydb.rollback_strangers(text, text, text) IS
	'Rollback: what a script would drop though the ledger does not say that the migration ran, and the migration would have made it otherwise';
REVOKE ALL ON FUNCTION deploydb.rollback_strangers(text, text, text) FROM PUBLIC;

-- For psql, whether or not the extension is there.
CREATE FUNCTION deploydb.rollback_psql(heading text, script text, tables text[], steps text[], ledger text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT concat(
		'-- ', regexp_replace(heading, E'[\r\n]+', ' ', 'g'), E'\n',
		E'-- Its script, of which nothing is dropped that could be kept:\n',
		'-- ', regexp_replace(btrim(script, E' \t\r\n'), E'[\r\n]+', E'\n-- ', 'g'), E'\n',
		E'\\set ON_ERROR_STOP on\n',
		E'BEGIN;\n',
		E'SET LOCAL lock_timeout = ''5s'';\n',
		E'SET LOCAL search_path = pg_catalog, pg_temp;\n',
		-- Prisma's own, so that no deploy comes between
		E'SELECT pg_advisory_xact_lock(72707369);\n',
		CASE WHEN cardinality(tables) > 0 THEN format(E'LOCK TABLE %s IN ACCESS EXCLUSIVE MODE;\n', array_to_string(tables, ', ')) END,
		CASE WHEN EXISTS (SELECT FROM unnest(steps) s WHERE strpos(s, 'deploydb_backup') > 0)
			-- IF NOT EXISTS asks for the right to make one even where it is there
			THEN E'SELECT ''CREATE SCHEMA deploydb_backup'' WHERE to_regnamespace(''deploydb_backup'') IS NULL \\gexec\n' END,
		(SELECT string_agg(s.step || E';\n', '' ORDER BY s.n) FROM unnest(steps) WITH ORDINALITY AS s (step, n)),
		ledger || E';\n',
		E'COMMIT;\n')
$$;
COMMENT ON FUNCTION deploydb.rollback_psql(text, text, text[], text[], text) IS
	'Rollback: statements as a complete script for psql';
REVOKE ALL ON FUNCTION deploydb.rollback_psql(text, text, text[], text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.rollback_psql(text, text, text[], text[], text) TO pg_monitor, pg_database_owner;

-- Where whoever asks may not read the table there is no number.
CREATE FUNCTION deploydb.rollback_rows(relation text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN deploydb.as_caller(format('SELECT c.count FROM deploydb.count_rows(%L) AS c', relation))::bigint;
EXCEPTION WHEN insufficient_privilege THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION deploydb.rollback_rows(text) IS
	'Rollback: rows of a table, as far as the caller may read it';
REVOKE ALL ON FUNCTION deploydb.rollback_rows(text) FROM PUBLIC;

CREATE FUNCTION deploydb.plan_rollback_definer(migration text, rewind_ledger boolean)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	basis record;
	ledger record;
	number bigint;
	dependents jsonb;
	strangers jsonb;
	tables text[];
	steps text[];
	undo text[];
	plan jsonb;
BEGIN
	PERFORM deploydb.primary_or_error();
	SELECT * INTO basis FROM deploydb.rollback_basis(migration, rewind_ledger);
	SELECT * INTO ledger FROM deploydb.rollback_ledger(basis.name, basis.schema, rewind_ledger);
	SELECT jsonb_agg(to_jsonb(d)) INTO dependents
	FROM deploydb.rollback_dependents(basis.name, basis.script, basis.schema) d;
	SELECT jsonb_agg(to_jsonb(s)) INTO strangers
	FROM deploydb.rollback_strangers(basis.name, basis.script, basis.schema) s;
	number := nextval('deploydb.rollback_plan_id_seq');
	tables := ARRAY(SELECT t.relation FROM deploydb.rollback_tables(basis.script, basis.schema) t);
	SELECT COALESCE(array_agg(s.run ORDER BY s.o), '{}'), COALESCE(array_agg(s.undo ORDER BY s.o DESC), '{}') INTO steps, undo
	FROM deploydb.rollback_steps(basis.script, basis.schema, number::text) WITH ORDINALITY AS s (n, m, run, undo, owned, o);

	plan := jsonb_build_object(
		'id', number, 'hash', basis.hash, 'migration', basis.name, 'schema', basis.schema,
		'planned_at', clock_timestamp(),
		'statements', (SELECT jsonb_agg(jsonb_build_object('statement', t.source, 'finds', t.finds) ORDER BY t.statement)
			FROM (SELECT g.statement, g.source, jsonb_agg(jsonb_build_object('object_type', g.object_type, 'object', g.object,
					'there', g.object_id IS NOT NULL) ORDER BY g.object) AS finds
				  FROM deploydb.rollback_targets(basis.script, basis.schema) g GROUP BY 1, 2) AS t),
		'steps', to_jsonb(steps), 'undo', to_jsonb(undo),
		'dependents', COALESCE(dependents, '[]'), 'strangers', COALESCE(strangers, '[]'),
		'tables', (SELECT COALESCE(jsonb_agg(jsonb_build_object('relation', t.relation,
				'moved_to', (SELECT format('deploydb_backup.%I', v.stored)
					FROM deploydb.rollback_moves(basis.script, basis.schema, number::text) v
					WHERE v.m = 0 AND format('%I.%I', v.schema_name, v.name) = t.relation),
				'rows', deploydb.rollback_rows(t.relation), 'bytes', pg_total_relation_size(t.oid::oid)) ORDER BY t.relation), '[]')
			FROM deploydb.rollback_tables(basis.script, basis.schema) t),
		'lost', (SELECT COALESCE(jsonb_agg(l.what ORDER BY l.what COLLATE "C"), '[]')
			FROM (SELECT unnest(format('values of column %s', o.object) || ARRAY(
						-- goes along with it
						SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d
						WHERE d.refclassid = o.class_id AND d.refobjid = o.object_id AND d.refobjsubid = o.sub_id
							AND d.deptype IN ('a', 'i') AND d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass)
							AND NOT EXISTS (SELECT FROM deploydb.rollback_objects(basis.script, basis.schema) t
								WHERE t.class_id = d.classid AND t.object_id = d.objid))) AS what
				FROM deploydb.rollback_objects(basis.script, basis.schema) o
				WHERE o.sub_id > 0 AND NOT o.with_table) AS l),
		'writers', (SELECT COALESCE(jsonb_agg(to_jsonb(w)), '[]') FROM deploydb.rollback_writers(basis.script, basis.schema) w),
		'writers_measured', deploydb.writers_are_measured(basis.script, basis.schema),
		'locks', (SELECT COALESCE(jsonb_agg('ACCESS EXCLUSIVE on ' || t ORDER BY t), '[]') FROM unnest(tables) t),
		'ledger', jsonb_build_object('schema', ledger.place, 'state', ledger.state, 'rewind', rewind_ledger, 'statement', ledger.run),
		'at_start', ledger.effect,
		'backup', deploydb.fit_backup(),
		'script', CASE WHEN dependents IS NULL AND strangers IS NULL AND ledger.state IS DISTINCT FROM 'running' THEN
			deploydb.rollback_psql(format('Rollback of migration %s, plan %s', basis.name, number), basis.script,
				ARRAY(SELECT t.relation FROM deploydb.rollback_tables(basis.script, basis.schema) t
					JOIN pg_class c ON c.oid = t.oid AND c.relkind <> 'f'), steps, ledger.run) END,
		'refused', CASE WHEN dependents IS NOT NULL THEN 'Other objects depend on what it would drop: see dependents.'
			WHEN ledger.state = 'running' THEN ledger.effect
			WHEN strangers IS NOT NULL THEN 'What is there may not be what the migration made: see strangers. Only force moves it.' END);
	INSERT INTO deploydb.rollback_plan (id, migration, rewind_ledger, schema, hash, plan, planned_by)
	OVERRIDING SYSTEM VALUE
	VALUES (number, basis.name, rewind_ledger, basis.schema, basis.hash, plan, session_user);
	RETURN plan;
END
$$;
COMMENT ON FUNCTION deploydb.plan_rollback_definer(text, boolean) IS
	'Rollback: a part of plan_rollback()';
REVOKE ALL ON FUNCTION deploydb.plan_rollback_definer(text, boolean) FROM PUBLIC;

CREATE FUNCTION deploydb.plan_rollback(migration text, rewind_ledger boolean DEFAULT true)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'deploydb_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.plan_rollback(text, boolean) IS
	'Rollback: what it would do, to what, and what is in its way; with id, hash and a complete script for psql';
REVOKE ALL ON FUNCTION deploydb.plan_rollback(text, boolean) FROM PUBLIC;
