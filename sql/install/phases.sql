--
-- Deployment: phases and their timetable
--

CREATE FUNCTION deploydb.timetable()
RETURNS TABLE (phase text, "position" integer, minutes integer)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 6
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('pre_checks', 1, 30), ('code', 2, 10), ('migration', 3, 5), ('health', 4, 5), ('smoke', 5, 10), ('post', 6, 30)
$$;
COMMENT ON FUNCTION deploydb.timetable() IS
	'Deployment: its phases, and how many minutes each is given';
REVOKE ALL ON FUNCTION deploydb.timetable() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.timetable() TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.deployment_phase (
	deployment bigint NOT NULL,
	phase text NOT NULL,
	"position" integer NOT NULL,
	minutes integer NOT NULL CHECK (minutes > 0),
	range text,
	owner text NOT NULL,
	started_at timestamptz,
	started_by text,
	finished_at timestamptz,
	finished_by text,
	status text CHECK (status IN ('ok', 'failed')),
	note text,
	PRIMARY KEY (deployment, phase),
	CHECK (finished_at IS NULL OR started_at IS NOT NULL),
	CHECK ((finished_at IS NULL) = (status IS NULL))
);
COMMENT ON TABLE deploydb.deployment_phase IS
	'Deployment: the phases of each, the minutes that they were given, the range that these usually are in, and what they took';
GRANT SELECT ON deploydb.deployment_phase TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.deployment_phase', '');

-- Locks the deployment until the transaction ends.
CREATE FUNCTION deploydb.phase_or_error(phase text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	open bigint := deploydb.lock_open_deployment();
BEGIN
	IF phase IS NULL OR NOT EXISTS (SELECT FROM deploydb.deployment_phase p WHERE p.deployment = open AND p.phase = phase) THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN phase IS NULL THEN 'null_value_not_allowed' ELSE 'undefined_object' END,
			MESSAGE = CASE WHEN phase IS NULL THEN 'phase must not be NULL' ELSE format('phase "%s" does not exist', phase) END,
			HINT = format('Phases are %s.', (SELECT string_agg(t.phase, ', ' ORDER BY t.position) FROM deploydb.timetable() t));
	END IF;
	RETURN open;
END
$$;
COMMENT ON FUNCTION deploydb.phase_or_error(text) IS
	'Deployment: the open one, locked, or an error where it has no such phase';
REVOKE ALL ON FUNCTION deploydb.phase_or_error(text) FROM PUBLIC;

-- What is not verified of a deployment goes to the log, and to whoever looks.
CREATE FUNCTION deploydb.warn_unless_verified(deployment bigint, action text, message text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	missing text := array_to_string(deploydb.missing_migrations(deployment), ', ');
BEGIN
	IF missing = '' THEN
		RETURN true;
	END IF;
	PERFORM deploydb.add_log_line(deployment, action, 'warning', missing);
	RAISE WARNING USING
		MESSAGE = message,
		DETAIL = format('Not verified: %s.', missing),
		HINT = 'Without its table the application loses whole decisions: migrate first, then SELECT deploydb_verify_migration();';
	RETURN false;
END
$$;
COMMENT ON FUNCTION deploydb.warn_unless_verified(bigint, text, text) IS
	'Deployment: warns where its migrations are not as expected; a part of phase_start() and phase_finish()';
REVOKE ALL ON FUNCTION deploydb.warn_unless_verified(bigint, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.phase_start(phase text, owner text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	now timestamptz := clock_timestamp();
	open bigint;
	started deploydb.deployment_phase;
BEGIN
	PERFORM deploydb.primary_or_error();
	open := deploydb.phase_or_error(phase);
	SELECT p.* INTO started FROM deploydb.deployment_phase p WHERE p.deployment = open AND p.phase = phase;
	IF started.started_at IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('phase "%s" has started', phase),
			DETAIL = format('%s started it at %s.', started.started_by, to_char(started.started_at, 'YYYY-MM-DD HH24:MI:SS TZ')),
			HINT = 'A phase has one start; what is done in it again, deploydb.log_line() says.';
	END IF;
	UPDATE deploydb.deployment_phase p
	SET started_at = now, started_by = session_user, owner = COALESCE(NULLIF(btrim(owner), ''), p.owner)
	WHERE p.deployment = open AND p.phase = phase;
	IF phase = 'code' THEN
		PERFORM deploydb.warn_unless_verified(open, 'code before migration', 'the code comes before its migration');
	END IF;
	RETURN now;
END
$$;
COMMENT ON FUNCTION deploydb.phase_start(text, text) IS
	'Deployment: a phase of the open one begins, now; warns of code that comes before its migration';
REVOKE ALL ON FUNCTION deploydb.phase_start(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.phase_finish(phase text, status text DEFAULT 'ok', note text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	now timestamptz := clock_timestamp();
	open bigint;
	finished deploydb.deployment_phase;
BEGIN
	PERFORM deploydb.primary_or_error();
	open := deploydb.phase_or_error(phase);
	SELECT p.* INTO finished FROM deploydb.deployment_phase p WHERE p.deployment = open AND p.phase = phase;
	IF status IS NULL OR status NOT IN ('ok', 'failed') THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN status IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = CASE WHEN status IS NULL THEN 'status must not be NULL' ELSE format('invalid status: "%s"', status) END,
			HINT = 'It is ok or failed.';
	ELSIF finished.started_at IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('phase "%s" has not started', phase),
			HINT = format('SELECT deploydb.phase_start(%L);', phase);
	ELSIF finished.finished_at IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('phase "%s" is finished', phase),
			DETAIL = format('%s finished it at %s.', finished.finished_by,
				to_char(finished.finished_at, 'YYYY-MM-DD HH24:MI:SS TZ')),
			HINT = 'Add what there is to say by deploydb.log_line().';
	END IF;
	UPDATE deploydb.deployment_phase p
	SET finished_at = now, finished_by = session_user, status = status, note = note
	WHERE p.deployment = open AND p.phase = phase;
	PERFORM deploydb.add_log_line(open, CASE WHEN status = 'failed' THEN 'phase failed: ' || phase
		WHEN phase = 'code' THEN 'code deployed' WHEN phase = 'migration' THEN 'migration done'
		WHEN phase = 'health' THEN 'health check passed' ELSE 'phase finished: ' || phase END, status, note);
	IF phase = 'migration' THEN
		PERFORM deploydb.watch_deployment(now);
		IF status = 'ok' THEN
			PERFORM deploydb.warn_unless_verified(open, 'migration not verified', 'the migration is done, but not verified');
		END IF;
	END IF;
	RETURN now;
END
$$;
COMMENT ON FUNCTION deploydb.phase_finish(text, text, text) IS
	'Deployment: a phase of the open one is over, now, and went well (ok) or not (failed); warns of a migration that is not verified';
REVOKE ALL ON FUNCTION deploydb.phase_finish(text, text, text) FROM PUBLIC;
