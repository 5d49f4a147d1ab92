--
-- Rollback: its rehearsal
--

-- The hash is over the texts of the migration and of its rollback.
CREATE TABLE deploydb.rehearsal (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	migration text COLLATE "C" NOT NULL,
	plan_hash text NOT NULL,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	passed boolean NOT NULL,
	steps jsonb NOT NULL,
	who text NOT NULL
);
CREATE INDEX rehearsal_migration_idx ON deploydb.rehearsal (migration, id);
COMMENT ON TABLE deploydb.rehearsal IS
	'Rollback: rehearsals, and how each step went';
GRANT SELECT ON deploydb.rehearsal TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.rehearsal_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.rehearsal', '');
SELECT pg_extension_config_dump('deploydb.rehearsal_id_seq', '');

CREATE FUNCTION deploydb.replay_rollback(name text, script text, sample text)
RETURNS TABLE (step text, status text, detail text)
AS 'MODULE_PATHNAME', 'deploydb_replay_rollback'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 6;
COMMENT ON FUNCTION deploydb.replay_rollback(text, text, text) IS
	'Rollback: a migration, its rollback and the migration again in a scratch schema; a part of rehearse_rollback()';
REVOKE ALL ON FUNCTION deploydb.replay_rollback(text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.rehearsal_hash(migration text)
RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT encode(sha256(convert_to(jsonb_build_array(k.migration, k.ddl, k.rollback_ddl)::text, 'UTF8')), 'hex')
	FROM deploydb.known_migration k
	WHERE k.migration = deploydb.resolve_migration(rehearsal_hash.migration)
$$;
COMMENT ON FUNCTION deploydb.rehearsal_hash(text) IS
	'Rollback: the hash over what a rehearsal would be of';
REVOKE ALL ON FUNCTION deploydb.rehearsal_hash(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.rehearsal_hash(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.rollback_rehearsed(migration text)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE((SELECT r.passed AND r.plan_hash = deploydb.rehearsal_hash(rollback_rehearsed.migration)
		FROM deploydb.rehearsal r
		WHERE r.migration = deploydb.resolve_migration(rollback_rehearsed.migration)
		ORDER BY r.id DESC LIMIT 1), false)
$$;
COMMENT ON FUNCTION deploydb.rollback_rehearsed(text) IS
	'Rollback: did the newest rehearsal pass, and was it of the migration and the script as they are now?';
REVOKE ALL ON FUNCTION deploydb.rollback_rehearsed(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.rollback_rehearsed(text) TO pg_monitor, pg_database_owner;

-- Statements that bring a sample of the rows into the scratch schema.  A replay
-- runs as the least privileged of those who registered, so all must be able to
-- read.
CREATE FUNCTION deploydb.rehearsal_sample(name text, script text, schema text, OUT statements text, OUT detail text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	real record;
	number bigint;
	reader text;
BEGIN
	statements := '';
	FOR real IN
		SELECT t.relation, t.oid::oid AS oid, c.relname::text AS relname,
			EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = t.oid AND f.contype = 'f') AS refers,
			(SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
			 JOIN deploydb.expected_fact e ON e.migration = name AND e.object_type = 'column' AND e.property = 'type'
				AND e.object = quote_ident(c.relname) || '.' || quote_ident(a.attname)
			 WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
			(SELECT string_agg(CASE WHEN y.typnamespace = 'pg_catalog'::regnamespace THEN quote_ident(a.attname)
					ELSE format('%I::text::%s', a.attname, e.value) END, ', ' ORDER BY a.attnum) FROM pg_attribute a
			 JOIN pg_type y ON y.oid = a.atttypid
			 JOIN deploydb.expected_fact e ON e.migration = name AND e.object_type = 'column' AND e.property = 'type'
				AND e.object = quote_ident(c.relname) || '.' || quote_ident(a.attname)
			 WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS expressions
		FROM deploydb.rollback_tables(script, schema) t
			JOIN pg_class c ON c.oid = t.oid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		WHERE t.goes
	LOOP
		SELECT k.registered_by INTO reader FROM deploydb.known_migration k
		WHERE k.migration COLLATE "C" <= name AND k.registered_by IS NOT NULL
			AND NOT has_table_privilege(k.registered_by, real.oid, 'SELECT') LIMIT 1;
		number := LEAST(deploydb.rollback_rows(real.relation), 1000);
		IF number IS NULL OR reader IS NOT NULL THEN
			detail := concat_ws('; ', detail, format('%s: no right to read it', real.relation));
		ELSIF real.refers THEN
			detail := concat_ws('; ', detail, format('%s: left out, as it refers to other tables', real.relation));
		ELSIF real.columns IS NOT NULL AND number > 0 THEN
			statements := statements || format(E'INSERT INTO %I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s LIMIT 1000;\n',
				real.relname, real.columns, real.expressions, real.relation);
			detail := concat_ws('; ', detail, format('%s: %s rows', real.relation, number));
		ELSE
			detail := concat_ws('; ', detail, format('%s: no rows', real.relation));
		END IF;
	END LOOP;
	detail := COALESCE(detail, 'no table is there yet');
END
$$;
COMMENT ON FUNCTION deploydb.rehearsal_sample(text, text, text) IS
	'Rollback: statements that copy rows into a rehearsal; a part of rehearse_rollback()';
REVOKE ALL ON FUNCTION deploydb.rehearsal_sample(text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.rehearse_rollback_definer(migration text)
RETURNS TABLE (step text, status text, detail text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 7
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	subject record;
	place text;
	sample record;
	steps jsonb;
	context text;
BEGIN
	PERFORM deploydb.primary_or_error();
	SELECT * INTO subject FROM deploydb.rollback_script(rehearse_rollback_definer.migration);
	place := deploydb.rollback_schema(subject.name);
	PERFORM deploydb.check_rollback_script(subject.name, subject.script, place);
	SELECT * INTO sample FROM deploydb.rehearsal_sample(subject.name, subject.script, place);
	BEGIN
		SELECT jsonb_agg(to_jsonb(r) ORDER BY r.n) INTO steps
		FROM deploydb.replay_rollback(subject.name, subject.script, sample.statements)
			WITH ORDINALITY AS r (step, status, detail, n);
		steps := jsonb_insert(steps, '{2}', jsonb_build_object('step', 'sample', 'status', 'ok', 'detail', sample.detail));
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
		steps := jsonb_build_array(jsonb_build_object('status', 'failed', 'detail', SQLERRM, 'step',
			CASE WHEN strpos(context, 'replaying migration "rollback of ') > 0 THEN 'roll back'
				WHEN strpos(context, 'replaying migration "sample of ') > 0 THEN 'sample'
				WHEN strpos(context, 'replaying migration "repetition of ') > 0 THEN 'migrate again'
				ELSE 'migrate' END));
	END;
	INSERT INTO deploydb.rehearsal (migration, plan_hash, passed, steps, who)
	VALUES (subject.name, deploydb.rehearsal_hash(subject.name),
		NOT steps @> '[{"status": "failed"}]', steps, session_user);
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'rollback rehearsed',
		CASE WHEN steps @> '[{"status": "failed"}]' THEN 'failed' ELSE 'ok' END, subject.name);
	RETURN QUERY SELECT s ->> 'step', s ->> 'status', s ->> 'detail'
		FROM jsonb_array_elements(steps) WITH ORDINALITY AS e (s, n) ORDER BY e.n;
END
$$;
COMMENT ON FUNCTION deploydb.rehearse_rollback_definer(text) IS
	'Rollback: a part of rehearse_rollback()';
REVOKE ALL ON FUNCTION deploydb.rehearse_rollback_definer(text) FROM PUBLIC;

CREATE FUNCTION deploydb.rehearse_rollback(migration text)
RETURNS TABLE (step text, status text, detail text)
AS 'MODULE_PATHNAME', 'deploydb_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 7;
COMMENT ON FUNCTION deploydb.rehearse_rollback(text) IS
	'Rollback: migrates, verifies, rolls back, looks whether anything is left, and migrates again, in a scratch schema with a sample of the rows';
REVOKE ALL ON FUNCTION deploydb.rehearse_rollback(text) FROM PUBLIC;
