--
-- Rollback: doing it
--

-- What was moved is an array of objects {kind, schema, name, stored, signature};
-- undo one of {run, owned}, null where nothing undoes it, see rollback_steps();
-- ledger has the schema and the ids of the rows that were rewound.
CREATE TABLE deploydb.rollback (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	migration text COLLATE "C" NOT NULL,
	plan_id bigint NOT NULL,
	deployment bigint,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	who text NOT NULL,
	reason text NOT NULL,
	forced boolean NOT NULL,
	state text NOT NULL DEFAULT 'rolled_back' CHECK (state IN ('rolled_back', 'restored', 'discarded')),
	tables text[] NOT NULL,
	moved jsonb NOT NULL,
	undo jsonb NOT NULL,
	ledger jsonb,
	ended_at timestamptz,
	ended_by text,
	note text,
	CHECK ((state = 'rolled_back') = (ended_at IS NULL))
);
COMMENT ON TABLE deploydb.rollback IS
	'Rollback: what was rolled back, where it is kept, and what became of it';
GRANT SELECT ON deploydb.rollback TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.rollback_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.rollback', '');
SELECT pg_extension_config_dump('deploydb.rollback_id_seq', '');

-- What must hold before anything is locked or read.
CREATE FUNCTION deploydb.check_rolling_back(reason text)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM deploydb.primary_or_error();
	IF reason IS NULL OR reason !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN reason IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = 'a reason is needed',
			HINT = 'Say in a few words what others will want to know.';
	ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_transaction_state',
			MESSAGE = 'this is done at isolation level READ COMMITTED only',
			DETAIL = 'A snapshot from before the lock would hide what was written while it was waited for.',
			HINT = 'Call it outside of a transaction block, or after BEGIN ISOLATION LEVEL READ COMMITTED.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_rolling_back(text) IS
	'Rollback: true where it may begin, or an error';
REVOKE ALL ON FUNCTION deploydb.check_rolling_back(text) FROM PUBLIC;

-- Prisma's lock, so that no deploy and no other rollback comes between; then
-- the tables'.  Each is waited for no longer than deploydb.lock_timeout, some
-- times, so that those who write are never held up for longer.
CREATE FUNCTION deploydb.lock_for_rollback(relations text[], force boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tries CONSTANT integer := 10;
	holders text;
BEGIN
	PERFORM set_config('lock_timeout',
		GREATEST(extract(epoch FROM deploydb.setting('lock_timeout')::interval) * 1000, 1)::integer::text, true);
	FOR try IN 1 .. tries LOOP
		BEGIN
			IF force THEN
				PERFORM pg_try_advisory_xact_lock(72707369);
			ELSE
				PERFORM pg_advisory_xact_lock(72707369);
			END IF;
			IF cardinality(relations) > 0 THEN
				PERFORM deploydb.as_caller(format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', array_to_string(relations, ', ')));
			END IF;
			RETURN true;
		EXCEPTION
			WHEN undefined_table OR invalid_schema_name THEN
				RETURN true;	-- the hash will tell
			WHEN lock_not_available OR deadlock_detected THEN
				SELECT string_agg(DISTINCT COALESCE('prepared transaction ' || quote_literal(x.gid),
					format('process %s (%s%s)', a.pid, a.usename, NULLIF(', ' || a.application_name, ', '))), '; ')
				INTO holders
				FROM pg_locks l
					LEFT JOIN pg_stat_activity a ON a.pid = l.pid
					LEFT JOIN pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.granted
						AND t.virtualtransaction = l.virtualtransaction
					LEFT JOIN pg_prepared_xacts x ON x.transaction = t.transactionid
				WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND (a.pid IS NOT NULL OR x.gid IS NOT NULL)
					AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
					AND (l.relation = ANY (ARRAY(SELECT to_regclass(r)::oid FROM unnest(relations) r))
						OR (l.locktype = 'advisory' AND l.classid = 0 AND l.objid = 72707369));
				IF try = tries THEN
					RAISE EXCEPTION USING
						ERRCODE = 'lock_not_available',
						MESSAGE = format('the lock could not be had in %s tries', tries),
						DETAIL = COALESCE('Held by ' || holders || '.', 'Those who held it have gone by now.'),
						HINT = 'Nothing has been changed. Try again, or end who holds it.';
				END IF;
		END;
		PERFORM pg_sleep(0.1 + random() * 0.2);
	END LOOP;
	RETURN false;
END
$$;
COMMENT ON FUNCTION deploydb.lock_for_rollback(text[], boolean) IS
	'Rollback: locks tables, and Prisma out, or raises an error that names the holders';
REVOKE ALL ON FUNCTION deploydb.lock_for_rollback(text[], boolean) FROM PUBLIC;

-- No member of the extension, so that it outlives it.  Owners of what is moved
-- may come in: they dump it, restore it, drop it.
CREATE FUNCTION deploydb.open_backup_schema(owners text[])
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	role text;
	holder record;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'deploydb_backup') THEN
		CREATE SCHEMA deploydb_backup;
		COMMENT ON SCHEMA deploydb_backup IS 'What deploydb rolled back; table deploydb.rollback says what it is';
		GRANT USAGE ON SCHEMA deploydb_backup TO pg_database_owner;
	END IF;
	SELECT n.nspowner, pg_get_userbyid(n.nspowner) AS name, r.rolsuper INTO holder
	FROM pg_namespace n LEFT JOIN pg_roles r ON r.oid = n.nspowner
	WHERE n.nspname = 'deploydb_backup';
	FOREACH role IN ARRAY owners LOOP
		-- whoever owns a schema may drop what is in it
		IF NOT (COALESCE(holder.rolsuper, false) OR pg_has_role(holder.nspowner, role, 'USAGE')
			OR holder.nspowner = (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'deploydb'))
		THEN
			RAISE EXCEPTION USING
				ERRCODE = 'insufficient_privilege',
				MESSAGE = format('schema deploydb_backup belongs to role "%s"', holder.name),
				DETAIL = format('It could drop there what belongs to role "%s".', role),
				HINT = format('ALTER SCHEMA deploydb_backup OWNER TO %I;',
					(SELECT pg_get_userbyid(n.nspowner) FROM pg_namespace n WHERE n.nspname = 'deploydb'));
		END IF;
		EXECUTE format('GRANT USAGE, CREATE ON SCHEMA deploydb_backup TO %I', role);
	END LOOP;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.open_backup_schema(text[]) IS
	'Rollback: makes schema deploydb_backup where it is not there, and lets owners of tables in';
REVOKE ALL ON FUNCTION deploydb.open_backup_schema(text[]) FROM PUBLIC;

-- Refuses while the application writes, as far as that is known.
CREATE FUNCTION deploydb.check_writers(script text, schema text, force boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	app text := NULLIF(deploydb.setting('app_role'), '');
	whom text;
	seen boolean;
BEGIN
	SELECT string_agg(concat_ws(' ', COALESCE(w.role, 'somebody') || CASE WHEN w.pid IS NOT NULL THEN ', process ' || w.pid ELSE '' END || ':',
		w.evidence, 'into', w.relation), '; '), bool_or(w.role = app)
	INTO whom, seen
	FROM deploydb.rollback_writers(script, schema) w
	WHERE app IS NULL OR w.role IS NULL OR w.role = app;
	IF app IS NULL THEN
		RAISE WARNING USING
			MESSAGE = 'deploydb.app_role is not set, so nobody was looked for who may still be writing',
			DETAIL = COALESCE('There is: ' || whom || '.', 'Nobody is seen to write at the moment.'),
			HINT = format('ALTER DATABASE %I SET deploydb.app_role = ...', current_database());
	ELSIF whom IS NOT NULL AND NOT force THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = format(CASE WHEN seen THEN 'role "%s" has written in the last minute'
				ELSE 'somebody has written in the last minute, perhaps role "%s"' END, app),
			DETAIL = whom || '.',
			HINT = 'Roll the application back first, or say force => true: what it writes from then on fails.';
	ELSIF NOT deploydb.writers_are_measured(script, schema) THEN
		RAISE WARNING USING
			MESSAGE = 'who wrote in the last minute is not measured',
			DETAIL = CASE WHEN NOT deploydb.is_preloaded() THEN 'deploydb is not preloaded'
				WHEN NOT deploydb.last_minute_is_counted() THEN 'No monitor is ticking here'
				ELSE 'Not all of the tables are tracked' END || '; only what sessions do at this moment is known.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_writers(text, text, boolean) IS
	'Rollback: an error while deploydb.app_role writes into the tables, a warning where that is not known';
REVOKE ALL ON FUNCTION deploydb.check_writers(text, text, boolean) FROM PUBLIC;

-- Once everything is locked: is it still what was planned, and may it be done?
CREATE FUNCTION deploydb.check_plan(wanted deploydb.rollback_plan, force boolean)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	basis record;
	earlier deploydb.rollback;
	list text;
BEGIN
	SELECT * INTO basis FROM deploydb.rollback_basis(wanted.migration, wanted.rewind_ledger, wanted.schema);
	IF basis.hash <> wanted.hash THEN
		SELECT r.* INTO earlier FROM deploydb.rollback r
		WHERE r.migration = wanted.migration AND r.at > wanted.planned_at ORDER BY r.id DESC LIMIT 1;
		RAISE EXCEPTION USING
			ERRCODE = 'ZD005',
			MESSAGE = format('plan %s does not hold any more', wanted.id),
			DETAIL = CASE WHEN earlier.id IS NOT NULL THEN format('%s rolled the migration back at %s: rollback %s.',
					earlier.who, to_char(earlier.at, 'YYYY-MM-DD HH24:MI:SS TZ'), earlier.id)
				ELSE 'What is there, what depends on it, or the script has changed since.' END,
			HINT = format('SELECT deploydb.plan_rollback(%L); and look again.', wanted.migration);
	END IF;
	SELECT string_agg(format('%s depends on %s', d.object, d.needs), E'\n') INTO list
	FROM deploydb.rollback_dependents(basis.name, basis.script, basis.schema) d;
	IF list IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'dependent_objects_still_exist',
			MESSAGE = format('migration "%s" cannot be rolled back, as other objects depend on what it made', wanted.migration),
			DETAIL = list,
			HINT = 'Nothing is dropped with CASCADE. Remove them first, or roll the later migration back first.';
	END IF;
	IF (SELECT l.state FROM deploydb.rollback_ledger(basis.name, basis.schema, true) l) = 'running' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = 'Prisma is migrating at this moment',
			HINT = 'Wait for it to end.';
	END IF;
	SELECT string_agg(s.difference, E'\n') INTO list
	FROM deploydb.rollback_strangers(basis.name, basis.script, basis.schema) s;
	IF list IS NOT NULL AND NOT force THEN
		RAISE EXCEPTION USING
			ERRCODE = 'ZD008',
			MESSAGE = format('what is there may not be what migration "%s" made', wanted.migration),
			DETAIL = list,
			HINT = 'The ledger does not say that it ran. Where something was there before, rename it, or settle the ledger alone: '
				|| format('npx prisma migrate resolve --rolled-back %s. To move it all the same, say force => true.', wanted.migration);
	END IF;
	SELECT string_agg(o.object, ', ' ORDER BY o.n) INTO list
	FROM deploydb.rollback_objects(basis.script, basis.schema) o
	WHERE o.sub_id > 0 AND NOT o.with_table;
	IF list IS NOT NULL AND NOT force THEN
		RAISE EXCEPTION USING
			ERRCODE = 'ZD006',
			MESSAGE = 'values would be lost',
			DETAIL = format('A column cannot be kept: %s.', list),
			HINT = 'Take a backup, and say force => true.';
	END IF;
	PERFORM deploydb.check_writers(basis.script, basis.schema, force);
	RETURN basis.script;
END
$$;
COMMENT ON FUNCTION deploydb.check_plan(deploydb.rollback_plan, boolean) IS
	'Rollback: the script of a plan that holds and may be carried out, or an error';
REVOKE ALL ON FUNCTION deploydb.check_plan(deploydb.rollback_plan, boolean) FROM PUBLIC;

-- Runs the steps as the caller; what was moved, and how it is undone.
CREATE FUNCTION deploydb.move_away(script text, schema text, suffix text, OUT moved jsonb, OUT undo jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	steps text[];
	step text;
	owners text[];
	left_over text;
BEGIN
	SELECT COALESCE(jsonb_agg(jsonb_build_object('kind', v.kind, 'schema', v.schema_name, 'name', v.name, 'stored', v.stored,
			'signature', v.signature) ORDER BY v.n, v.m) FILTER (WHERE v.m = 0), '[]'),
		COALESCE(array_agg(DISTINCT v.owner), '{}')
	INTO moved, owners
	FROM deploydb.rollback_moves(script, schema, suffix) v;
	SELECT COALESCE(array_agg(s.run ORDER BY s.o), '{}'),
		COALESCE(jsonb_agg(CASE WHEN s.undo IS NOT NULL THEN jsonb_build_object('run', s.undo, 'owned', s.owned) END ORDER BY s.o DESC), '[]')
	INTO steps, undo
	FROM deploydb.rollback_steps(script, schema, suffix) WITH ORDINALITY AS s (n, m, run, undo, owned, o);
	IF moved <> '[]' THEN
		PERFORM deploydb.open_backup_schema(owners);
	END IF;
	FOREACH step IN ARRAY steps LOOP
		PERFORM deploydb.as_caller(step);
	END LOOP;

	SELECT string_agg(concat_ws(' ', o.object_type, o.object), ', ') INTO left_over
	FROM deploydb.rollback_objects(script, schema) o;
	IF left_over IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'ZD007',
			MESSAGE = format('still there: %s', left_over),
			DETAIL = 'So nothing has been changed.';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.move_away(text, text, text) IS
	'Rollback: carries a script out, moving what it would drop, and proves that it is gone';
REVOKE ALL ON FUNCTION deploydb.move_away(text, text, text) FROM PUBLIC;

-- The ids of the rows that were rewound; an error where the ledger still has it.
CREATE FUNCTION deploydb.rewind_ledger(name text, schema text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	ledger record;
	ids jsonb;
BEGIN
	SELECT * INTO ledger FROM deploydb.rollback_ledger(name, schema, true);
	IF ledger.run IS NULL THEN
		RETURN NULL;
	END IF;
	ids := deploydb.as_caller(format('WITH rewound AS (%s RETURNING id) SELECT jsonb_agg(r.id ORDER BY r.id) FROM rewound r', ledger.run),
		format('%I._prisma_migrations', ledger.place)::regclass);
	IF ids IS NULL OR (SELECT l.state FROM deploydb.rollback_ledger(name, schema, true) l) IS DISTINCT FROM 'rolled_back' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'ZD007',
			MESSAGE = format('Prisma''s ledger still says that migration "%s" is %s', name, ledger.state),
			DETAIL = 'So nothing has been changed.';
	END IF;
	RETURN jsonb_build_object('schema', ledger.place, 'ids', ids, 'state', ledger.state);
END
$$;
COMMENT ON FUNCTION deploydb.rewind_ledger(text, text) IS
	'Rollback: marks a migration as rolled back in Prisma''s ledger, as the caller';
REVOKE ALL ON FUNCTION deploydb.rewind_ledger(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.rollback_migration_definer(plan_id bigint, reason text, force boolean)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	wanted deploydb.rollback_plan;
	waits text := current_setting('lock_timeout');
	script text;
	away record;
	ledger jsonb;
	tables text[];
	done bigint;
BEGIN
	PERFORM deploydb.check_rolling_back(reason);
	IF num_nulls(plan_id, force) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'plan_id and force must not be NULL';
	END IF;
	SELECT p.* INTO wanted FROM deploydb.rollback_plan p WHERE p.id = plan_id;
	IF wanted.id IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('plan %s does not exist', plan_id),
			HINT = 'deploydb.plan_rollback() makes one.';
	END IF;
	tables := ARRAY(SELECT t ->> 'relation' FROM jsonb_array_elements(wanted.plan -> 'tables') t);
	PERFORM deploydb.lock_for_rollback(tables, force);
	script := deploydb.check_plan(wanted, force);
	SELECT * INTO away FROM deploydb.move_away(script, wanted.schema, wanted.id::text);
	IF wanted.rewind_ledger THEN
		ledger := deploydb.rewind_ledger(wanted.migration, wanted.schema);
	END IF;
	IF away.undo = '[]' AND ledger IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('there is nothing to roll back of migration "%s"', wanted.migration),
			DETAIL = 'Nothing of it is there, and Prisma''s ledger has it not as applied or failed.';
	END IF;
	INSERT INTO deploydb.rollback AS r (migration, plan_id, deployment, who, reason, forced, tables, moved, undo, ledger)
	VALUES (wanted.migration, wanted.id, deploydb.open_deployment(), session_user, reason, force,
		ARRAY(SELECT format('%I.%I', m ->> 'schema', m ->> 'name') FROM jsonb_array_elements(away.moved) m
			WHERE m ->> 'kind' IN ('TABLE', 'FOREIGN TABLE')),
		away.moved, away.undo, ledger)
	RETURNING r.id INTO done;
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'rolled back', 'warning',
		format('%s: %s (rollback %s, plan %s)', wanted.migration, reason, done, wanted.id));
	PERFORM deploydb.tell_team(format(deploydb.word('Migration %s was rolled back by %s: %s'), wanted.migration, session_user, reason), 'P1');
	PERFORM set_config('lock_timeout', waits, true);
	RETURN done;
END
$$;
COMMENT ON FUNCTION deploydb.rollback_migration_definer(bigint, text, boolean) IS
	'Rollback: a part of rollback_migration()';
REVOKE ALL ON FUNCTION deploydb.rollback_migration_definer(bigint, text, boolean) FROM PUBLIC;

CREATE FUNCTION deploydb.rollback_migration(plan_id bigint, reason text, force boolean DEFAULT false)
RETURNS bigint
AS 'MODULE_PATHNAME', 'deploydb_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.rollback_migration(bigint, text, boolean) IS
	'Rollback: carries a plan out in one transaction; tables are moved to deploydb_backup, not dropped; returns the id of its row in table rollback';
REVOKE ALL ON FUNCTION deploydb.rollback_migration(bigint, text, boolean) FROM PUBLIC;

-- Loads the library, which knows of what stays.  Where it cannot be loaded, the
-- extension is dropped all the same.
CREATE FUNCTION deploydb.extension_goes()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM deploydb.library_version();
EXCEPTION WHEN OTHERS THEN
	NULL;
END
$$;
COMMENT ON FUNCTION deploydb.extension_goes() IS
	'Rollback: before DROP EXTENSION, so that it says what stays; an event trigger''s';
REVOKE ALL ON FUNCTION deploydb.extension_goes() FROM PUBLIC;
CREATE EVENT TRIGGER deploydb_extension_goes ON ddl_command_start
	WHEN TAG IN ('DROP EXTENSION')
	EXECUTE FUNCTION deploydb.extension_goes();
COMMENT ON EVENT TRIGGER deploydb_extension_goes IS
	'Rollback: lets DROP EXTENSION say what stays';
