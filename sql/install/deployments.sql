--
-- Deployment: its beginning and its end
--

CREATE TABLE deploydb.deployment (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	version text NOT NULL CHECK (version ~ E'[^\\x01-\\x20]'),
	title text,
	target_date text,
	owner text NOT NULL,
	migrations text[] NOT NULL,
	commit_hash text,
	links jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(links) = 'object'),
	started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	started_by text NOT NULL,
	mute_until timestamptz NOT NULL CHECK (isfinite(mute_until)),
	silence bigint,
	verified_at timestamptz,
	finished_at timestamptz,
	finished_by text,
	outcome text CHECK (outcome IN ('succeeded', 'rolled_back', 'aborted')),
	final_state text,
	CHECK ((finished_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX deployment_open_idx ON deploydb.deployment ((finished_at IS NULL)) WHERE finished_at IS NULL;
COMMENT ON TABLE deploydb.deployment IS
	'Deployment: each one, with the migrations that belong to it; at most one is open; drift is not told before mute_until; final_state is what sign-offs were about when the next one began';
GRANT SELECT ON deploydb.deployment TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.deployment_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.deployment', '');
SELECT pg_extension_config_dump('deploydb.deployment_id_seq', '');

CREATE FUNCTION deploydb.open_deployment()
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.id FROM deploydb.deployment d WHERE d.finished_at IS NULL
$$;
COMMENT ON FUNCTION deploydb.open_deployment() IS
	'Deployment: the one that is open, or NULL';
REVOKE ALL ON FUNCTION deploydb.open_deployment() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.open_deployment() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.current_deployment()
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.id FROM deploydb.deployment d
	ORDER BY d.finished_at IS NULL DESC, d.started_at DESC, d.id DESC LIMIT 1
$$;
COMMENT ON FUNCTION deploydb.current_deployment() IS
	'Deployment: the one that is open, or else the newest, or NULL';
REVOKE ALL ON FUNCTION deploydb.current_deployment() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.current_deployment() TO pg_monitor, pg_database_owner;

-- NULL means the current one; the id of one that is there, or an error.
CREATE FUNCTION deploydb.deployment_or_error(deployment bigint)
RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	wanted bigint := COALESCE(deployment, deploydb.current_deployment());
BEGIN
	IF wanted IS NULL OR NOT EXISTS (SELECT FROM deploydb.deployment d WHERE d.id = wanted) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = CASE WHEN wanted IS NULL THEN 'there is no deployment yet'
				ELSE format('deployment %s does not exist', wanted) END,
			HINT = CASE WHEN wanted IS NULL THEN 'deploydb.deployment_start() opens one.'
				ELSE 'Table deploydb.deployment has those that do.' END;
	END IF;
	RETURN wanted;
END
$$;
COMMENT ON FUNCTION deploydb.deployment_or_error(bigint) IS
	'Deployment: the id of a deployment that is there, of the current one for NULL, or an error';
REVOKE ALL ON FUNCTION deploydb.deployment_or_error(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.deployment_or_error(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.open_deployment_or_error()
RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted bigint := deploydb.open_deployment();
BEGIN
	IF wanted IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'no deployment is open',
			HINT = 'deploydb.deployment_start() opens one.';
	END IF;
	RETURN wanted;
END
$$;
COMMENT ON FUNCTION deploydb.open_deployment_or_error() IS
	'Deployment: the id of the one that is open, or an error';
REVOKE ALL ON FUNCTION deploydb.open_deployment_or_error() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.open_deployment_or_error() TO pg_monitor, pg_database_owner;

-- The same, and locked until the transaction ends: one session acts at a time.
CREATE FUNCTION deploydb.lock_open_deployment()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	open bigint := deploydb.open_deployment_or_error();
	locked deploydb.deployment;
BEGIN
	SELECT d.* INTO locked FROM deploydb.deployment d WHERE d.id = open FOR UPDATE;
	IF locked.finished_at IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('deployment %s is finished', locked.id),
			DETAIL = format('%s finished it at %s: %s.', locked.finished_by,
				to_char(locked.finished_at, 'YYYY-MM-DD HH24:MI:SS TZ'), locked.outcome);
	END IF;
	RETURN locked.id;
END
$$;
COMMENT ON FUNCTION deploydb.lock_open_deployment() IS
	'Deployment: the id of the one that is open, locked, or an error';
REVOKE ALL ON FUNCTION deploydb.lock_open_deployment() FROM PUBLIC;

-- Is it there, exactly?  NULL where that cannot be found out.
CREATE FUNCTION deploydb.migration_is_there(migration text)
RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN sum(d.errors) > 0 THEN false WHEN sum(d.unknown) > 0 THEN NULL ELSE true END
	FROM deploydb.deviations_in(deploydb.watched_schema(migration), ARRAY[migration]) d
$$;
COMMENT ON FUNCTION deploydb.migration_is_there(text) IS
	'Deployment: whether a migration is as expected, without a word; NULL where that could not be found out';
REVOKE ALL ON FUNCTION deploydb.migration_is_there(text) FROM PUBLIC;

-- The migrations of a deployment that are not there, or of which that is unknown.
CREATE FUNCTION deploydb.missing_migrations(deployment bigint)
RETURNS text[]
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE(array_agg(m ORDER BY n), '{}')
	FROM deploydb.deployment d, unnest(d.migrations) WITH ORDINALITY AS l (m, n)
	WHERE d.id = deployment AND deploydb.migration_is_there(m) IS NOT TRUE
$$;
COMMENT ON FUNCTION deploydb.missing_migrations(bigint) IS
	'Deployment: its migrations that are not as expected, or could not be looked at';
REVOKE ALL ON FUNCTION deploydb.missing_migrations(bigint) FROM PUBLIC;

-- Tells the team; that nobody is there to be told stops nothing.
CREATE FUNCTION deploydb.tell_team(message text, severity text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM deploydb.webhooks_for(severity, NULL)) THEN
		RETURN 0;
	END IF;
	RETURN deploydb.notify(message, severity);
END
$$;
COMMENT ON FUNCTION deploydb.tell_team(text, text) IS
	'Deployment: sends a message to the webhooks there are; returns their number';
REVOKE ALL ON FUNCTION deploydb.tell_team(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.deployment_name(deployment bigint)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT concat_ws(' - ', d.version, NULLIF(d.title, '')) FROM deploydb.deployment d WHERE d.id = deployment
$$;
COMMENT ON FUNCTION deploydb.deployment_name(bigint) IS
	'Deployment: its version and title';
REVOKE ALL ON FUNCTION deploydb.deployment_name(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.deployment_name(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.check_deployment(version text, target_date text, links jsonb)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD'
AS $$
BEGIN
	IF version IS NULL OR version !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN version IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = 'a deployment needs a version',
			HINT = 'Such as ''Week 3'' or ''v1.4.0''.';
	ELSIF links IS NOT NULL AND jsonb_typeof(links) <> 'object' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'links must be a JSON object',
			HINT = 'Such as {"dashboard": "https://..."}.';
	END IF;
	IF NOT isfinite(target_date::date) THEN
		RAISE invalid_datetime_format;
	END IF;
	RETURN target_date::date;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
	RAISE EXCEPTION USING
		ERRCODE = 'invalid_parameter_value',
		MESSAGE = format('invalid target date: "%s"', target_date),
		HINT = 'Write it as YYYY-MM-DD.';
END
$$;
COMMENT ON FUNCTION deploydb.check_deployment(text, text, jsonb) IS
	'Deployment: the target date as YYYY-MM-DD, or an error about what deployment_start() was given';
REVOKE ALL ON FUNCTION deploydb.check_deployment(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.check_deployment(text, text, jsonb) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.deployment_start(version text, title text DEFAULT NULL, target_date text DEFAULT NULL,
	owner text DEFAULT NULL, migrations text[] DEFAULT NULL, commit_hash text DEFAULT NULL, links jsonb DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	day text := deploydb.check_deployment(version, target_date, links);
	names text[];
	now timestamptz := clock_timestamp();
	opened bigint;
	other deploydb.deployment;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF migrations IS NULL THEN
		names := ARRAY(SELECT max(k.migration) FROM deploydb.known_migration k HAVING count(*) > 0);
	ELSIF array_position(migrations, NULL) IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'a migration''s name must not be NULL';
	ELSE
		names := ARRAY(SELECT DISTINCT deploydb.resolve_migration(m) COLLATE "C" FROM unnest(migrations) m ORDER BY 1);
	END IF;
	BEGIN
		INSERT INTO deploydb.deployment AS d (version, title, target_date, owner, migrations, commit_hash, links,
			started_at, started_by, mute_until)
		VALUES (version, title, day, COALESCE(NULLIF(btrim(owner), ''), session_user), names, commit_hash,
			COALESCE(links, '{}'), now, session_user, now + (SELECT sum(p.minutes) FROM deploydb.timetable() p) * interval '1 minute')
		RETURNING d.id INTO opened;
	EXCEPTION WHEN unique_violation THEN
		SELECT d.* INTO other FROM deploydb.deployment d WHERE d.finished_at IS NULL;
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = CASE WHEN other.id IS NULL THEN 'another deployment is open' ELSE format('deployment %s is open', other.id) END,
			DETAIL = CASE WHEN other.id IS NULL THEN 'It is newer than what this transaction sees.'
				ELSE format('%s: opened by %s at %s.', deploydb.deployment_name(other.id), other.started_by,
					to_char(other.started_at, 'YYYY-MM-DD HH24:MI:SS TZ')) END,
			HINT = 'Close it first: SELECT deploydb.deployment_finish(''aborted'');, or with outcome succeeded or rolled_back.';
	END;
	-- from now on what is there says nothing of what was signed for the one before
	UPDATE deploydb.deployment d SET final_state = deploydb.signed_state(d.id)
	WHERE d.id = (SELECT b.id FROM deploydb.deployment b WHERE b.id <> opened ORDER BY b.started_at DESC, b.id DESC LIMIT 1);
	WITH quiet AS (
		INSERT INTO deploydb.silence AS s (rule, starts_at, until, reason, created_by)
		SELECT 'migration_drift', now, d.mute_until, format('deployment %s', d.id), session_user
		FROM deploydb.deployment d WHERE d.id = opened
		RETURNING s.id)
	UPDATE deploydb.deployment d SET silence = quiet.id FROM quiet WHERE d.id = opened;
	INSERT INTO deploydb.deployment_phase (deployment, phase, position, minutes, range, owner)
	SELECT opened, p.phase, p.position, p.minutes, s.minutes, COALESCE(NULLIF(btrim(owner), ''), session_user)
	FROM deploydb.timetable() p LEFT JOIN deploydb.checklist_section s ON s.phase = p.phase AND s.minutes IS NOT NULL;
	PERFORM deploydb.note_baseline(opened);
	PERFORM deploydb.add_log_line(opened, 'deployment started', 'ok', deploydb.deployment_name(opened));
	PERFORM deploydb.tell_team(format(deploydb.word('Deployment %s has started.'), deploydb.deployment_name(opened)), 'P3');
	RETURN opened;
END
$$;
COMMENT ON FUNCTION deploydb.deployment_start(text, text, text, text, text[], text, jsonb) IS
	'Deployment: opens one and returns its id; without migrations it is about the newest known one';
REVOKE ALL ON FUNCTION deploydb.deployment_start(text, text, text, text, text[], text, jsonb) FROM PUBLIC;

-- The checklist looks into the application's tables, so with the caller's
-- rights; a deployment ends though this cannot be found out.
CREATE FUNCTION deploydb.missing_at_end(deployment bigint)
RETURNS text[]
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN ARRAY(SELECT m ->> 'item' FROM jsonb_array_elements(
		deploydb.as_caller(format('SELECT deploydb.go_no_go(%s, ''after'') -> ''missing''', deployment))::jsonb) m);
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION deploydb.missing_at_end(bigint) IS
	'Deployment: the items that go_no_go() misses after it, NULL where that cannot be known; a part of deployment_finish()';
REVOKE ALL ON FUNCTION deploydb.missing_at_end(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.deployment_finish_definer(outcome text, note text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	open bigint;
	finished deploydb.deployment;
	missing text[] := '{}';
BEGIN
	PERFORM deploydb.primary_or_error();
	IF outcome IS NULL OR outcome NOT IN ('succeeded', 'rolled_back', 'aborted') THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN outcome IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = CASE WHEN outcome IS NULL THEN 'outcome must not be NULL'
				ELSE format('invalid outcome: "%s"', outcome) END,
			HINT = 'It is succeeded, rolled_back or aborted.';
	END IF;
	open := deploydb.lock_open_deployment();
	UPDATE deploydb.deployment d
	SET finished_at = clock_timestamp(), finished_by = session_user, outcome = outcome
	WHERE d.id = open
	RETURNING d.* INTO finished;
	UPDATE deploydb.silence s SET until = clock_timestamp(), ended_by = session_user
	WHERE s.id = finished.silence AND s.until > clock_timestamp();
	PERFORM deploydb.keep_checklist(finished.id);
	IF outcome = 'succeeded' THEN
		missing := deploydb.missing_at_end(finished.id);
	END IF;
	PERFORM deploydb.add_log_line(finished.id, 'deployment finished',
		CASE outcome WHEN 'succeeded' THEN 'ok' ELSE 'failed' END,
		concat_ws(': ', CASE WHEN missing <> '{}' THEN format('%s, though no_go: %s %s missing', outcome, cardinality(missing),
			CASE cardinality(missing) WHEN 1 THEN 'item' ELSE 'items' END) ELSE outcome END, note));
	IF missing <> '{}' THEN
		RAISE WARNING USING
			MESSAGE = format('deployment %s is finished as succeeded, though it is no_go', finished.id),
			DETAIL = format('Missing: %s.', array_to_string(missing, ', ')),
			HINT = 'SELECT jsonb_pretty(deploydb.go_no_go(stage => ''after''));';
	END IF;
	PERFORM deploydb.tell_team(format(deploydb.word('Deployment %s is finished: %s.'), deploydb.deployment_name(finished.id),
		deploydb.word(outcome)), CASE outcome WHEN 'succeeded' THEN 'P3' ELSE 'P2' END);
	RETURN finished.id;
END
$$;
COMMENT ON FUNCTION deploydb.deployment_finish_definer(text, text) IS
	'Deployment: a part of deployment_finish()';
REVOKE ALL ON FUNCTION deploydb.deployment_finish_definer(text, text) FROM PUBLIC;

-- The checklist looks into the application's tables: with the caller's rights.
CREATE FUNCTION deploydb.deployment_finish(outcome text DEFAULT 'succeeded', note text DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'deploydb_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.deployment_finish(text, text) IS
	'Deployment: closes the one that is open, with its outcome: succeeded, rolled_back or aborted; returns its id';
REVOKE ALL ON FUNCTION deploydb.deployment_finish(text, text) FROM PUBLIC;

-- A part of the tick: once all its migrations are there, the team hears of it;
-- again, where one of them was rolled back since.
CREATE FUNCTION deploydb.watch_deployment(at timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	open bigint;
	told timestamptz;
	-- later than a rollback while this tick was under way, after which they may be there again
	looked CONSTANT timestamptz := GREATEST(at, clock_timestamp());
BEGIN
	SELECT d.id, d.verified_at INTO open, told FROM deploydb.deployment d
	WHERE d.finished_at IS NULL AND d.migrations <> '{}' AND (d.verified_at IS NULL OR EXISTS (SELECT FROM deploydb.rollback r
		WHERE r.at > d.verified_at AND r.migration = ANY (d.migrations)));
	IF open IS NULL OR deploydb.missing_migrations(open) <> '{}' THEN
		RETURN 0;
	END IF;
	-- the monitor waits for nobody who is about to finish it: there is a next tick
	UPDATE deploydb.deployment d SET verified_at = looked
	WHERE d.id = (SELECT l.id FROM deploydb.deployment l
		WHERE l.id = open AND l.verified_at IS NOT DISTINCT FROM told AND l.finished_at IS NULL FOR UPDATE SKIP LOCKED);
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	PERFORM deploydb.add_log_line(open, 'migration verified', 'ok',
		(SELECT array_to_string(d.migrations, ', ') FROM deploydb.deployment d WHERE d.id = open));
	PERFORM deploydb.tell_team(format(deploydb.word('Deployment %s: its migrations are verified.'), deploydb.deployment_name(open)), 'P3');
	RETURN 1;
END
$$;
COMMENT ON FUNCTION deploydb.watch_deployment(timestamptz) IS
	'Deployment: tells once that the migrations of the open one are there, and again after a rollback; a part of the tick';
REVOKE ALL ON FUNCTION deploydb.watch_deployment(timestamptz) FROM PUBLIC;
