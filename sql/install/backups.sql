--
-- Backups: what there is to go back to
--

CREATE TABLE deploydb.backup (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	label text NOT NULL CHECK (label ~ E'[^\\x01-\\x20]'),
	tool text NOT NULL CHECK (tool ~ E'[^\\x01-\\x20]'),
	tool_version text,
	method text NOT NULL CHECK (method IN ('physical', 'snapshot', 'pg_dump', 'table_copy')),
	type text NOT NULL DEFAULT 'full' CHECK (type IN ('full', 'diff', 'incr')),
	parent_id bigint,
	system_identifier text NOT NULL,
	server_version integer NOT NULL,
	timeline integer,
	start_lsn text,
	stop_lsn text,
	start_wal text,
	stop_wal text,
	started_at timestamptz NOT NULL,
	finished_at timestamptz,
	database text NOT NULL,
	relations text[],
	rows jsonb,
	content_hash jsonb,
	snapshot text,
	size_raw bigint CHECK (size_raw > 0),
	size_stored bigint CHECK (size_stored > 0),
	compression text,
	encryption text,
	location text,
	checksum_alg text,
	checksum text,
	manifest_checksum text,
	page_errors bigint,
	status text NOT NULL CHECK (status IN ('running', 'done', 'verified', 'restore_tested', 'failed', 'corrupt', 'expired', 'interrupted')),
	error text,
	retention_policy text,
	expires_at timestamptz,
	pinned boolean NOT NULL DEFAULT false,
	annotation jsonb,
	unknown jsonb,
	deployment bigint,
	recorded_by text NOT NULL,
	recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	CHECK (finished_at >= started_at),
	CHECK (stop_lsn::pg_lsn >= start_lsn::pg_lsn),
	UNIQUE (tool, system_identifier, label)
);
CREATE INDEX backup_finished_at_idx ON deploydb.backup (finished_at);
COMMENT ON TABLE deploydb.backup IS
	'Backups: each one, and what became of it; relations NULL is everything, sizes are bytes, LSNs are text';
GRANT SELECT ON deploydb.backup TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.backup_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.backup', '');
SELECT pg_extension_config_dump('deploydb.backup_id_seq', '');

CREATE TABLE deploydb.backup_verification (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	backup bigint NOT NULL,
	ok boolean NOT NULL,
	method text,
	detail text,
	verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	verified_by text NOT NULL
);
CREATE TABLE deploydb.restore_test (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	backup bigint NOT NULL,
	ok boolean NOT NULL,
	rows jsonb,
	content_hash jsonb,
	seconds double precision,
	detail text,
	tested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	tested_by text NOT NULL
);
CREATE INDEX backup_verification_backup_idx ON deploydb.backup_verification (backup);
CREATE INDEX restore_test_backup_idx ON deploydb.restore_test (backup);
COMMENT ON TABLE deploydb.backup_verification IS 'Backups: each time that one''s bytes were verified';
COMMENT ON TABLE deploydb.restore_test IS 'Backups: each time that one was restored, and what was there then';
GRANT SELECT ON deploydb.backup_verification, deploydb.restore_test TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.backup_verification_id_seq, deploydb.restore_test_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.backup_verification', '');
SELECT pg_extension_config_dump('deploydb.backup_verification_id_seq', '');
SELECT pg_extension_config_dump('deploydb.restore_test', '');
SELECT pg_extension_config_dump('deploydb.restore_test_id_seq', '');

-- The moves that make sense, whoever makes them.
CREATE FUNCTION deploydb.backup_moves()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF OLD.status = NEW.status OR (CASE OLD.status
		WHEN 'running' THEN NEW.status IN ('done', 'failed', 'interrupted')
		WHEN 'done' THEN NEW.status IN ('verified', 'restore_tested', 'corrupt', 'expired')
		WHEN 'verified' THEN NEW.status IN ('restore_tested', 'corrupt', 'expired')
		WHEN 'restore_tested' THEN NEW.status IN ('corrupt', 'expired')
		WHEN 'corrupt' THEN NEW.status = 'expired'
		WHEN 'failed' THEN NEW.status = 'expired'
		WHEN 'interrupted' THEN NEW.status = 'expired'
		ELSE false END)
	THEN
		RETURN NEW;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'object_not_in_prerequisite_state',
		MESSAGE = format('backup %s cannot become %s', OLD.id, NEW.status),
		DETAIL = format('It is %s.', OLD.status);
END
$$;
COMMENT ON FUNCTION deploydb.backup_moves() IS
	'Backups: refuses a change of status that makes no sense';
REVOKE ALL ON FUNCTION deploydb.backup_moves() FROM PUBLIC;
CREATE TRIGGER backup_moves BEFORE UPDATE ON deploydb.backup
	FOR EACH ROW EXECUTE FUNCTION deploydb.backup_moves();

-- User and password of an address, and password parameters, as libpq has them, too.
CREATE FUNCTION deploydb.without_credentials(location text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT regexp_replace(regexp_replace(location, '://[^/[:space:]]*@', '://', 'g'),
		E'((password|passwd|pwd|secret|token|key|signature|sig)[a-z_-]*)[[:space:]]*=[[:space:]]*(''([^''\\\\]|\\\\.)*''|[^&[:space:]]*)',
		E'\\1=...', 'gi')
$$;
COMMENT ON FUNCTION deploydb.without_credentials(text) IS
	'Backups: where a backup is, without user, password or key';
REVOKE ALL ON FUNCTION deploydb.without_credentials(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.without_credentials(text) TO pg_monitor, pg_database_owner;

-- The id of a backup, locked: with NULL the only one that is running.
CREATE FUNCTION deploydb.backup_or_error(id bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	running bigint[];
BEGIN
	IF id IS NULL THEN
		SELECT array_agg(b.id ORDER BY b.id) INTO running FROM deploydb.backup b WHERE b.status = 'running';
		IF running IS NULL OR cardinality(running) > 1 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = CASE WHEN running IS NULL THEN 'no backup is running' ELSE 'several backups are running' END,
				DETAIL = CASE WHEN running IS NULL THEN 'Without an id the one that is running is meant.'
					ELSE format('Their ids are %s.', array_to_string(running, ', ')) END,
				HINT = 'Name it by its id: table deploydb.backup has them.';
		END IF;
		id := running[1];
	END IF;
	PERFORM FROM deploydb.backup b WHERE b.id = id FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('backup %s does not exist', id),
			HINT = 'Table deploydb.backup has those that do.';
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION deploydb.backup_or_error(bigint) IS
	'Backups: the id of one that is there, of the only running one for NULL, or an error; it is locked';
REVOKE ALL ON FUNCTION deploydb.backup_or_error(bigint) FROM PUBLIC;

-- Running ones from before the server's start, or for two days, are so no more.
CREATE FUNCTION deploydb.note_interrupted()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	noted bigint;
BEGIN
	UPDATE deploydb.backup b SET status = 'interrupted', error = CASE WHEN b.recorded_at < pg_postmaster_start_time()
		THEN 'the server was started anew meanwhile' ELSE 'not finished after two days' END
	WHERE b.status = 'running' AND (b.recorded_at < pg_postmaster_start_time() OR b.recorded_at < clock_timestamp() - interval '2 days');
	GET DIAGNOSTICS noted = ROW_COUNT;
	RETURN noted;
END
$$;
COMMENT ON FUNCTION deploydb.note_interrupted() IS
	'Backups: notes those as interrupted that can be running no more; a part of the tick and of backup_start()';
REVOKE ALL ON FUNCTION deploydb.note_interrupted() FROM PUBLIC;

CREATE FUNCTION deploydb.backup_start(label text DEFAULT NULL, tool text DEFAULT 'pg_dump', method text DEFAULT 'pg_dump',
	type text DEFAULT 'full', relations text[] DEFAULT NULL, location text DEFAULT NULL, tool_version text DEFAULT NULL,
	parent_id bigint DEFAULT NULL, retention_policy text DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	annotation jsonb DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	now timestamptz := clock_timestamp();
	name text := COALESCE(NULLIF(btrim(label), ''), to_char(now, '"backup_"YYYYMMDD_HH24MISS'));
	started bigint;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF tool IS NULL OR tool !~ '[^[:space:]]' OR method IS NULL OR type IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'a backup needs tool, method and type';
	ELSIF method NOT IN ('physical', 'snapshot', 'pg_dump', 'table_copy') OR type NOT IN ('full', 'diff', 'incr') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid method or type: "%s", "%s"', method, type),
			HINT = 'Methods are physical, snapshot, pg_dump and table_copy; types are full, diff and incr.';
	ELSIF type <> 'full' AND parent_id IS NULL OR parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM deploydb.backup b
			WHERE b.id = parent_id AND b.status IN ('done', 'verified', 'restore_tested')) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN parent_id IS NULL THEN format('a backup of type %s needs a parent', type)
				ELSE format('backup %s cannot be a parent', parent_id) END,
			DETAIL = 'A parent is a backup that is finished and good.';
	ELSIF octet_length(annotation::text) > 65536 THEN
		RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'annotation is longer than 64 kB';
	END IF;
	PERFORM deploydb.note_interrupted();
	INSERT INTO deploydb.backup AS b (label, tool, tool_version, method, type, parent_id, system_identifier, server_version, timeline,
		start_lsn, started_at, database, relations, location, status, retention_policy, expires_at, annotation, deployment, recorded_by)
	SELECT name, tool, tool_version, method, type, parent_id, s.system_identifier::text, current_setting('server_version_num')::integer,
		c.timeline_id, pg_current_wal_insert_lsn()::text, now, current_database(), relations, deploydb.without_credentials(location),
		'running', retention_policy, expires_at, annotation, deploydb.open_deployment(), session_user
	FROM pg_control_system() s, pg_control_checkpoint() c
	ON CONFLICT DO NOTHING
	RETURNING b.id INTO started;
	IF started IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_object',
			MESSAGE = format('backup "%s" by %s is recorded already', name, tool);
	END IF;
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'backup started', 'info', format('%s: %s, %s', started, name, tool));
	RETURN started;
END
$$;
COMMENT ON FUNCTION deploydb.backup_start(text, text, text, text, text[], text, text, bigint, text, timestamptz, jsonb) IS
	'Backups: one begins, now; what the server knows of itself it notes by itself; returns the id';
REVOKE ALL ON FUNCTION deploydb.backup_start(text, text, text, text, text[], text, text, bigint, text, timestamptz, jsonb) FROM PUBLIC;

-- Says what is wrong with what a backup is said to be, or NULL.
CREATE FUNCTION deploydb.backup_problem(b deploydb.backup)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	now_at pg_lsn := CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END;
	here text := (SELECT s.system_identifier::text FROM pg_control_system() s);
	here_timeline integer := (SELECT c.timeline_id FROM pg_control_checkpoint() c);
	digits integer := CASE b.checksum_alg WHEN 'md5' THEN 32 WHEN 'sha1' THEN 40 WHEN 'sha224' THEN 56 WHEN 'sha256' THEN 64
		WHEN 'sha384' THEN 96 WHEN 'sha512' THEN 128 WHEN 'crc32c' THEN 8 END;
BEGIN
	RETURN CASE
		WHEN b.system_identifier <> here THEN format('It is of system %s, and this one is %s.', b.system_identifier, here)
		WHEN b.size_stored <= 0 OR b.size_raw <= 0 THEN 'It is empty: zero bytes.'
		WHEN b.size_stored IS NULL AND b.method IN ('pg_dump', 'physical') THEN 'Its size is missing: size_stored, in bytes.'
		WHEN b.finished_at < b.started_at THEN format('It stops at %s, and starts at %s.', b.finished_at, b.started_at)
		WHEN b.stop_lsn::pg_lsn < b.start_lsn::pg_lsn THEN format('It stops at %s, and starts at %s.', b.stop_lsn, b.start_lsn)
		WHEN b.timeline > here_timeline THEN format('It is of timeline %s, and the server is on %s.', b.timeline, here_timeline)
		-- a timeline that was left can have gone further than the one after it
		WHEN b.stop_lsn::pg_lsn > now_at AND (b.timeline < here_timeline) IS NOT TRUE THEN
			format('It stops at %s, and the server is at %s.', b.stop_lsn, now_at)
		WHEN b.checksum IS NOT NULL AND digits IS NULL THEN
			format('Checksums are md5, sha1, sha224, sha256, sha384, sha512 or crc32c, not %s.', COALESCE(b.checksum_alg, 'NULL'))
		WHEN b.checksum !~ format('^[0-9a-f]{%s}$', digits) THEN
			format('A checksum by %s has %s hexadecimal digits, this one %s.', b.checksum_alg, digits, length(b.checksum))
		WHEN b.manifest_checksum !~ '^[0-9a-f]{64}$' THEN
			format('A manifest''s checksum has 64 hexadecimal digits, this one %s.', length(b.manifest_checksum))
		WHEN jsonb_typeof(b.rows) <> 'object' OR jsonb_typeof(b.content_hash) <> 'object' THEN
			'rows and content_hash are objects, of tables and what each has.'
		WHEN b.finished_at > clock_timestamp() + interval '1 minute' THEN format('It stops at %s, which is yet to come.', b.finished_at)
		END;
END
$$;
COMMENT ON FUNCTION deploydb.backup_problem(deploydb.backup) IS
	'Backups: why a finished backup cannot be as it is said to be, or NULL';
REVOKE ALL ON FUNCTION deploydb.backup_problem(deploydb.backup) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.backup_problem(deploydb.backup) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.running_or_error(backup bigint)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	b deploydb.backup;
BEGIN
	SELECT x.* INTO b FROM deploydb.backup x WHERE x.id = backup;
	IF b.status = 'running' THEN
		RETURN true;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'object_not_in_prerequisite_state',
		MESSAGE = format('backup %s is not running', backup),
		DETAIL = format('It is %s since %s.', b.status, COALESCE(b.finished_at, b.started_at));
END
$$;
COMMENT ON FUNCTION deploydb.running_or_error(bigint) IS
	'Backups: true, or an error where a backup is not running';
REVOKE ALL ON FUNCTION deploydb.running_or_error(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.backup_finish(id bigint DEFAULT NULL, size_stored bigint DEFAULT NULL, checksum text DEFAULT NULL,
	checksum_alg text DEFAULT 'sha256', size_raw bigint DEFAULT NULL, location text DEFAULT NULL, rows jsonb DEFAULT NULL,
	content_hash jsonb DEFAULT NULL, snapshot text DEFAULT NULL, start_lsn text DEFAULT NULL, stop_lsn text DEFAULT NULL,
	compression text DEFAULT NULL, encryption text DEFAULT NULL, manifest_checksum text DEFAULT NULL,
	system_identifier text DEFAULT NULL, finished_at timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	b deploydb.backup;
	problem text;
BEGIN
	PERFORM deploydb.primary_or_error();
	id := deploydb.backup_or_error(id);
	PERFORM deploydb.running_or_error(id);
	SELECT x.* INTO b FROM deploydb.backup x WHERE x.id = id;
	b.size_stored := size_stored;
	b.size_raw := size_raw;
	b.checksum := lower(checksum);
	b.checksum_alg := CASE WHEN checksum IS NOT NULL THEN lower(checksum_alg) END;
	b.location := COALESCE(deploydb.without_credentials(location), b.location);
	b.rows := rows;
	b.content_hash := content_hash;
	b.snapshot := snapshot;
	b.start_lsn := COALESCE(start_lsn, b.start_lsn)::pg_lsn::text;
	b.stop_lsn := COALESCE(stop_lsn::pg_lsn, pg_current_wal_insert_lsn())::text;
	b.compression := compression;
	b.encryption := encryption;
	b.manifest_checksum := lower(manifest_checksum);
	b.system_identifier := COALESCE(system_identifier, b.system_identifier);
	b.finished_at := COALESCE(finished_at, clock_timestamp());
	problem := deploydb.backup_problem(b);
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('backup %s cannot be as it is said to be', id),
			DETAIL = problem,
			HINT = 'It goes on running here: finish it with what is right, or SELECT deploydb.backup_fail().';
	END IF;
	UPDATE deploydb.backup x SET status = 'done', size_stored = b.size_stored, size_raw = b.size_raw, checksum = b.checksum,
		checksum_alg = b.checksum_alg, location = b.location, rows = b.rows, content_hash = b.content_hash, snapshot = b.snapshot,
		start_lsn = b.start_lsn, stop_lsn = b.stop_lsn, compression = b.compression, encryption = b.encryption,
		manifest_checksum = b.manifest_checksum, finished_at = b.finished_at
	WHERE x.id = id;
	PERFORM deploydb.add_log_line(b.deployment, 'backup finished', 'ok', format('%s: %s, %s', id, b.label, COALESCE(pg_size_pretty(b.size_stored), '?')));
	RETURN id;
END
$$;
COMMENT ON FUNCTION deploydb.backup_finish(bigint, bigint, text, text, bigint, text, jsonb, jsonb, text, text, text, text, text, text, text, timestamptz) IS
	'Backups: one is finished, with what is known of it; without an id the only one that is running; returns the id';
REVOKE ALL ON FUNCTION deploydb.backup_finish(bigint, bigint, text, text, bigint, text, jsonb, jsonb, text, text, text, text, text, text, text, timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.backup_fail(id bigint DEFAULT NULL, error text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM deploydb.primary_or_error();
	id := deploydb.backup_or_error(id);
	PERFORM deploydb.running_or_error(id);
	UPDATE deploydb.backup b SET status = 'failed', error = deploydb.without_credentials(error), finished_at = clock_timestamp()
	WHERE b.id = id;
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'backup failed', 'failed',
		concat_ws(': ', id, deploydb.without_credentials(error)));
	RETURN id;
END
$$;
COMMENT ON FUNCTION deploydb.backup_fail(bigint, text) IS
	'Backups: one has failed; without an id the only one that is running; returns the id';
REVOKE ALL ON FUNCTION deploydb.backup_fail(bigint, text) FROM PUBLIC;

CREATE FUNCTION deploydb.backup_verified(id bigint, ok boolean DEFAULT true, method text DEFAULT NULL, detail text DEFAULT NULL,
	page_errors bigint DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	good boolean := ok AND COALESCE(page_errors, 0) = 0;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF num_nulls(id, ok) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'id and ok must not be NULL';
	END IF;
	id := deploydb.backup_or_error(id);
	UPDATE deploydb.backup b SET page_errors = COALESCE(page_errors, b.page_errors),
		status = CASE WHEN NOT good THEN 'corrupt' WHEN b.status = 'restore_tested' THEN b.status ELSE 'verified' END
	WHERE b.id = id;
	INSERT INTO deploydb.backup_verification (backup, ok, method, detail, verified_by)
	VALUES (id, good, method, deploydb.without_credentials(detail), session_user);
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'backup verified', CASE WHEN good THEN 'ok' ELSE 'failed' END,
		concat_ws(': ', id, method, deploydb.without_credentials(detail)));
	RETURN good;
END
$$;
COMMENT ON FUNCTION deploydb.backup_verified(bigint, boolean, text, text, bigint) IS
	'Backups: the bytes of one were verified, and are good or not; returns whether they are';
REVOKE ALL ON FUNCTION deploydb.backup_verified(bigint, boolean, text, text, bigint) FROM PUBLIC;

-- Counts and hashes that were noted when it was taken must be there again.
CREATE FUNCTION deploydb.backup_restore_tested(id bigint, ok boolean DEFAULT true, rows jsonb DEFAULT NULL, content_hash jsonb DEFAULT NULL,
	seconds double precision DEFAULT NULL, detail text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	b deploydb.backup;
	differs text;
	good boolean;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF num_nulls(id, ok) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'id and ok must not be NULL';
	END IF;
	IF jsonb_typeof(rows) <> 'object' OR jsonb_typeof(content_hash) <> 'object' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'rows and content_hash must be objects';
	END IF;
	id := deploydb.backup_or_error(id);
	SELECT x.* INTO b FROM deploydb.backup x WHERE x.id = id;
	IF ok AND (b.rows IS NOT NULL AND rows IS NULL OR b.content_hash IS NOT NULL AND content_hash IS NULL) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'what was noted of the backup is not compared',
			DETAIL = format('Backup %s has %s.', id, concat_ws(' and ', CASE WHEN b.rows IS NOT NULL THEN 'rows' END,
				CASE WHEN b.content_hash IS NOT NULL THEN 'content_hash' END)),
			HINT = 'Say what the restored copy has: deploydb.table_content() there gives both.';
	END IF;
	SELECT string_agg(format('%s has %s, expected %s', e.key, COALESCE(h.there ->> e.key, 'nothing'), e.value), '; ' ORDER BY e.key)
	INTO differs
	FROM (VALUES (b.rows, rows), (b.content_hash, content_hash)) AS h (expected, there), jsonb_each_text(h.expected) e
	WHERE (ok OR h.there IS NOT NULL) AND h.there ->> e.key IS DISTINCT FROM e.value;
	good := ok AND differs IS NULL;
	UPDATE deploydb.backup x SET status = CASE WHEN good THEN 'restore_tested' ELSE 'corrupt' END WHERE x.id = id;
	INSERT INTO deploydb.restore_test (backup, ok, rows, content_hash, seconds, detail, tested_by)
	VALUES (id, good, rows, content_hash, seconds, concat_ws('; ', deploydb.without_credentials(detail), differs), session_user);
	PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'backup restored', CASE WHEN good THEN 'ok' ELSE 'failed' END,
		concat_ws(': ', id, deploydb.without_credentials(detail), differs));
	RETURN good;
END
$$;
COMMENT ON FUNCTION deploydb.backup_restore_tested(bigint, boolean, jsonb, jsonb, double precision, text) IS
	'Backups: one was restored; false, and corrupt, where counts or hashes are not those noted when it was taken';
REVOKE ALL ON FUNCTION deploydb.backup_restore_tested(bigint, boolean, jsonb, jsonb, double precision, text) FROM PUBLIC;

CREATE FUNCTION deploydb.backup_pin(id bigint, pinned boolean DEFAULT true)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM deploydb.primary_or_error();
	IF num_nulls(id, pinned) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'id and pinned must not be NULL';
	END IF;
	UPDATE deploydb.backup b SET pinned = pinned WHERE b.id = deploydb.backup_or_error(id);
	RETURN pinned;
END
$$;
COMMENT ON FUNCTION deploydb.backup_pin(bigint, boolean) IS
	'Backups: one must not, or may again, be expired';
REVOKE ALL ON FUNCTION deploydb.backup_pin(bigint, boolean) FROM PUBLIC;

CREATE FUNCTION deploydb.backup_expire(id bigint, reason text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	wanted bigint;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'id must not be NULL';
	END IF;
	wanted := deploydb.backup_or_error(id);
	IF (SELECT b.status FROM deploydb.backup b WHERE b.id = wanted) = 'expired' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('backup %s is expired already', wanted);
	ELSIF (SELECT b.pinned FROM deploydb.backup b WHERE b.id = wanted) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = format('backup %s is pinned', wanted),
			HINT = format('SELECT deploydb.backup_pin(%s, false);', wanted);
	ELSIF EXISTS (SELECT FROM deploydb.backup b WHERE b.parent_id = wanted AND b.status <> 'expired') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'dependent_objects_still_exist',
			MESSAGE = format('other backups need backup %s', wanted),
			DETAIL = (SELECT format('Their ids are %s.', string_agg(b.id::text, ', ' ORDER BY b.id)) FROM deploydb.backup b
				WHERE b.parent_id = wanted AND b.status <> 'expired');
	END IF;
	UPDATE deploydb.backup b SET status = 'expired', error = COALESCE(deploydb.without_credentials(reason), b.error) WHERE b.id = wanted;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.backup_expire(bigint, text) IS
	'Backups: one is not there any more';
REVOKE ALL ON FUNCTION deploydb.backup_expire(bigint, text) FROM PUBLIC;

-- One row of text is one number, whose sum does not depend on their order.
CREATE FUNCTION deploydb.table_content(relation text, hashed boolean DEFAULT true)
RETURNS TABLE (rows bigint, hash text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD'
SET intervalstyle = iso_8601
SET timezone = 'UTC'
SET bytea_output = hex
SET extra_float_digits = 1
AS $$
DECLARE
	-- the caller's search_path is not ours
	found regclass := COALESCE(to_regclass(relation), to_regclass('public.' || relation));
BEGIN
	IF found IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN relation IS NULL THEN 'null_value_not_allowed' ELSE 'undefined_table' END,
			MESSAGE = CASE WHEN relation IS NULL THEN 'relation must not be NULL'
				ELSE format('relation "%s" does not exist', relation) END,
			HINT = 'Name it with its schema, unless that is public.';
	END IF;
	IF NOT hashed THEN
		RETURN QUERY EXECUTE format('SELECT count(*), NULL::text FROM %s', found);
		RETURN;
	END IF;
	RETURN QUERY EXECUTE format('SELECT count(*), COALESCE(sum(hashtextextended(ROW(r.*)::text, 0)::numeric), 0) || '':'' '
		'|| COALESCE(sum(hashtextextended(ROW(r.*)::text, 1)::numeric), 0) FROM %s AS r', found);
END
$$;
COMMENT ON FUNCTION deploydb.table_content(text, boolean) IS
	'Backups: rows of a table, and a hash of them that does not depend on their order';
REVOKE ALL ON FUNCTION deploydb.table_content(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.table_content(text, boolean) TO pg_monitor, pg_database_owner;
