--
-- Backups: what pgBackRest and pg_basebackup say of theirs
--
-- Of each tool a function says what a document has as rows of table backup,
-- in jsonb; import_backups() checks them as backup_finish() checks what it is
-- told, and keeps them.
--

-- As pg_walfile_name(), of any timeline.
CREATE FUNCTION deploydb.wal_file(timeline integer, lsn text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT upper(lpad(to_hex(timeline), 8, '0') || lpad(to_hex(div(w.at, 4294967296)::bigint), 8, '0')
		|| lpad(to_hex(div(w.at % 4294967296, w.size)::bigint), 8, '0'))
	FROM (SELECT lsn::pg_lsn - '0/0'::pg_lsn AS at, pg_size_bytes(current_setting('wal_segment_size'))::numeric AS size) w
$$;
COMMENT ON FUNCTION deploydb.wal_file(integer, text) IS
	'Backups: name of the WAL file that has a position, of any timeline';
REVOKE ALL ON FUNCTION deploydb.wal_file(integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.wal_file(integer, text) TO pg_monitor, pg_database_owner;

-- Each stanza that the document has of this cluster, and the repositories that
-- it could read to their end; or an error.
CREATE FUNCTION deploydb.pgbackrest_stanzas(document jsonb)
RETURNS TABLE (stanza jsonb, backups jsonb, repositories text[])
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	here text := (SELECT s.system_identifier::text FROM pg_control_system() s);
BEGIN
	IF (jsonb_typeof(document) = 'array' AND NOT EXISTS (SELECT
			FROM jsonb_array_elements(CASE WHEN jsonb_typeof(document) = 'array' THEN document END) s
			WHERE (jsonb_typeof(s -> 'name') = 'string' AND jsonb_typeof(s -> 'db') = 'array' AND jsonb_typeof(s -> 'backup') = 'array'
				AND jsonb_typeof(s -> 'status' -> 'code') = 'number') IS NOT TRUE
			OR EXISTS (SELECT FROM jsonb_array_elements(CASE WHEN jsonb_typeof(s -> 'backup') = 'array' THEN s -> 'backup' END) b
				WHERE (jsonb_typeof(b -> 'label') = 'string') IS NOT TRUE
				-- nothing can be taken out of an array by its name
				OR 'array' IN (jsonb_typeof(b -> 'archive'), jsonb_typeof(b -> 'lsn'), jsonb_typeof(b -> 'timestamp'),
					jsonb_typeof(b -> 'backrest'), jsonb_typeof(b -> 'info'), jsonb_typeof(b #> '{info,repository}'))))) IS NOT TRUE
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is not what pgBackRest says of its backups',
			HINT = 'It is by pgbackrest info --output=json.';
	ELSIF (SELECT sum(jsonb_array_length(s -> 'backup')) FROM jsonb_array_elements(document) s) > 10000 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'program_limit_exceeded',
			MESSAGE = 'the document has more than 10000 backups',
			HINT = 'Take one stanza at a time: pgbackrest info --stanza.';
	END IF;
	RETURN QUERY
	SELECT s - 'backup', s -> 'backup', ARRAY(SELECT COALESCE(r ->> 'key', '1')
		FROM jsonb_array_elements(CASE WHEN jsonb_typeof(s -> 'repo') = 'array' THEN s -> 'repo'
			ELSE jsonb_build_array(jsonb_build_object('status', s -> 'status')) END) r
		-- ok, or without valid backups; and of all backups, not of one (info --set)
		WHERE r #>> '{status,code}' IN ('0', '2') AND NOT s @? '$.backup[*] ? (exists(@."database-ref"))')
	FROM jsonb_array_elements(document) WITH ORDINALITY AS d (s, n)
	WHERE EXISTS (SELECT FROM jsonb_array_elements(s -> 'db') i WHERE i ->> 'system-id' = here)
	ORDER BY d.n;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the document has no stanza of this cluster',
			DETAIL = format('This is system %s; the document has %s.', here, COALESCE((
				SELECT string_agg(format('stanza "%s" (%s)', left(s ->> 'name', 100), COALESCE((
						SELECT 'system ' || string_agg(DISTINCT left(i ->> 'system-id', 20), ', ') FROM jsonb_array_elements(s -> 'db') i),
						left(s #>> '{status,message}', 100), 'of no system')), ', ')
				FROM (SELECT x FROM jsonb_array_elements(document) x LIMIT 10) AS f (s)), 'none')),
			HINT = 'Run pgbackrest info where the backups of this cluster are configured.';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.pgbackrest_stanzas(jsonb) IS
	'Backups: the stanzas of this cluster in what pgBackRest says, and which repositories of each it has read';
REVOKE ALL ON FUNCTION deploydb.pgbackrest_stanzas(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.pgbackrest_stanzas(jsonb) TO pg_monitor, pg_database_owner;

-- Repository size is that of all that a restore needs, an increment's, too.
CREATE FUNCTION deploydb.pgbackrest_backup(stanza jsonb, backup jsonb)
RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('tool', 'pgbackrest', 'tool_version', backup #> '{backrest,version}', 'label', backup -> 'label',
		'method', 'physical', 'type', backup -> 'type',
		'system_identifier', db.of ->> 'system-id',
		'server_version', CASE WHEN db.of ->> 'version' ~ '^[1-9][0-9]?([.][0-9])?$' THEN
			split_part(db.of ->> 'version', '.', 1)::integer * 10000 + ('0' || split_part(db.of ->> 'version', '.', 2))::integer * 100 END,
		'timeline', CASE WHEN backup #>> '{archive,stop}' ~ '^[0-7][0-9A-F]{23}$'
			THEN ('x' || left(backup #>> '{archive,stop}', 8))::bit(32)::integer END,
		'start_lsn', backup #> '{lsn,start}', 'stop_lsn', backup #> '{lsn,stop}',
		'start_wal', backup #> '{archive,start}', 'stop_wal', backup #> '{archive,stop}',
		'started_at', CASE WHEN backup #>> '{timestamp,start}' ~ '^[0-9]{1,11}$' THEN to_timestamp((backup #>> '{timestamp,start}')::double precision) END,
		'finished_at', CASE WHEN backup #>> '{timestamp,stop}' ~ '^[0-9]{1,11}$' THEN to_timestamp((backup #>> '{timestamp,stop}')::double precision) END,
		'database', current_database(),
		'size_raw', backup #> '{info,size}',
		'size_stored', COALESCE(backup #> '{info,repository,size}', backup #> '{info,repository,delta}'),
		'encryption', NULLIF(COALESCE((SELECT r ->> 'cipher' FROM jsonb_array_elements(
				CASE WHEN jsonb_typeof(stanza -> 'repo') = 'array' THEN stanza -> 'repo' ELSE '[]' END) r
			WHERE r ->> 'key' = db.repository LIMIT 1), stanza ->> 'cipher'), 'none'),
		'location', format('stanza %s, repo %s', stanza ->> 'name', db.repository),
		'status', CASE WHEN backup -> 'error' = 'true' THEN 'corrupt' ELSE 'done' END,
		'error', CASE WHEN backup -> 'error' = 'true' THEN concat_ws(': ', 'pages with wrong checksums',
			(SELECT string_agg(f, ', ') FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(backup -> 'error-list') = 'array'
				THEN backup -> 'error-list' ELSE '[]' END) WITH ORDINALITY AS e (f, n) WHERE e.n <= 10)) END,
		'annotation', NULLIF(backup -> 'annotation', 'null'),
		'unknown', NULLIF((SELECT COALESCE(jsonb_object_agg(e.key, e.value), '{}')
			FROM jsonb_each(backup - '{label,type,error,annotation}'::text[] #- '{archive,start}' #- '{archive,stop}' #- '{lsn,start}'
				#- '{lsn,stop}' #- '{timestamp,start}' #- '{timestamp,stop}' #- '{backrest,version}' #- '{info,size}'
				#- '{info,repository,size}') e
			WHERE e.value NOT IN ('{}', 'null')), '{}'))
	FROM (SELECT COALESCE(backup #>> '{database,repo-key}', '1') AS repository,
		(SELECT i FROM jsonb_array_elements(stanza -> 'db') i
			WHERE i ->> 'id' = backup #>> '{database,id}'
				AND COALESCE(i ->> 'repo-key', '1') = COALESCE(backup #>> '{database,repo-key}', '1') LIMIT 1) AS of) db
$$;
COMMENT ON FUNCTION deploydb.pgbackrest_backup(jsonb, jsonb) IS
	'Backups: a backup of a stanza, as pgBackRest says it, as a row of table backup';
REVOKE ALL ON FUNCTION deploydb.pgbackrest_backup(jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.pgbackrest_backup(jsonb, jsonb) TO pg_monitor, pg_database_owner;

-- The files of a manifest all in all, or what is wrong with one of them.
CREATE FUNCTION deploydb.manifest_files(files jsonb)
RETURNS TABLE (bytes bigint, begun_at timestamptz, changed_at timestamptz, incremental boolean, problem text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT sum(CASE WHEN f.problem IS NULL THEN (f.file ->> 'Size')::numeric END)::bigint,
		max(CASE WHEN f.problem IS NULL AND f.path = 'backup_label' THEN (f.file ->> 'Last-Modified')::timestamptz END),
		max(CASE WHEN f.problem IS NULL THEN (f.file ->> 'Last-Modified')::timestamptz END),
		COALESCE(bool_or(f.path ~ '(^|/)INCREMENTAL[.][^/]+$'), false),
		min(format('File "%s": %s', left(f.path, 200), f.problem))
			FILTER (WHERE f.problem IS NOT NULL)
	FROM (SELECT s.file, s.path, CASE
			WHEN s.path IS NULL THEN 'it has no name'
			WHEN (jsonb_typeof(s.file -> 'Size') = 'number' AND s.file ->> 'Size' ~ '^[0-9]{1,18}$') IS NOT TRUE THEN 'Size is no number of bytes'
			WHEN (s.file ->> 'Last-Modified' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$') IS NOT TRUE THEN 'Last-Modified is no time'
			WHEN s.checksum IS NOT NULL AND s.digits IS NULL THEN 'Checksum-Algorithm is unknown'
			WHEN s.checksum !~ '^[0-9a-f]*$' OR length(s.checksum) <> s.digits THEN
				format('a checksum by %s has %s hexadecimal digits, this one %s', s.file ->> 'Checksum-Algorithm', s.digits, length(s.checksum))
			END AS problem
		FROM (SELECT e.file, COALESCE(e.file ->> 'Path', e.file ->> 'Encoded-Path') AS path, e.file ->> 'Checksum' AS checksum,
				CASE e.file ->> 'Checksum-Algorithm' WHEN 'CRC32C' THEN 8 WHEN 'SHA224' THEN 56 WHEN 'SHA256' THEN 64
					WHEN 'SHA384' THEN 96 WHEN 'SHA512' THEN 128 END AS digits
			FROM jsonb_array_elements(files) AS e (file)) s) f
$$;
COMMENT ON FUNCTION deploydb.manifest_files(jsonb) IS
	'Backups: the files of a manifest all in all: bytes, when the first was made and the last changed, or what is wrong with one';
REVOKE ALL ON FUNCTION deploydb.manifest_files(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.manifest_files(jsonb) TO pg_monitor, pg_database_owner;

-- Without a label it has the name of its backup history file, which PostgreSQL
-- gives to each base backup.
CREATE FUNCTION deploydb.manifest_backup(document jsonb, label text, location text, finished_at timestamptz)
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	version text := document ->> 'PostgreSQL-Backup-Manifest-Version';
	files record;
	first jsonb;
	last jsonb;
BEGIN
	IF (jsonb_typeof(document) = 'object' AND version IN ('1', '2') AND jsonb_typeof(document -> 'Files') = 'array'
		AND jsonb_typeof(document -> 'Manifest-Checksum') = 'string' AND (version = '1' OR document ->> 'System-Identifier' ~ '^[0-9]{1,20}$')
		AND jsonb_typeof(document -> 'WAL-Ranges') = 'array' AND jsonb_array_length(document -> 'WAL-Ranges') > 0) IS NOT TRUE
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is no backup manifest',
			DETAIL = CASE WHEN version NOT IN ('1', '2') THEN format('Its version is %s; known are 1 and 2.', left(version, 100))
				ELSE 'What each has is missing, or is something else.' END,
			HINT = 'It is file backup_manifest of a backup by pg_basebackup, as it is.';
	END IF;
	SELECT * INTO files FROM deploydb.manifest_files(document -> 'Files');
	IF files.problem IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is no backup manifest',
			DETAIL = files.problem || '.';
	END IF;
	SELECT (array_agg(r ORDER BY (r ->> 'Timeline')::integer, (r ->> 'Start-LSN')::pg_lsn))[1],
		(array_agg(r ORDER BY (r ->> 'Timeline')::integer DESC, (r ->> 'Start-LSN')::pg_lsn DESC))[1]
	INTO first, last
	FROM jsonb_array_elements(document -> 'WAL-Ranges') r;
	RETURN jsonb_build_object('tool', 'pg_basebackup', 'method', 'physical', 'type', CASE WHEN files.incremental THEN 'incr' ELSE 'full' END,
		'label', COALESCE(label, deploydb.wal_file((first ->> 'Timeline')::integer, first ->> 'Start-LSN') || '.'
			|| upper(lpad(to_hex((((first ->> 'Start-LSN')::pg_lsn - '0/0'::pg_lsn)
				% pg_size_bytes(current_setting('wal_segment_size')))::bigint), 8, '0'))),
		'system_identifier', COALESCE(document ->> 'System-Identifier', (SELECT s.system_identifier::text FROM pg_control_system() s)),
		'server_version', current_setting('server_version_num')::integer,
		'timeline', last -> 'Timeline', 'start_lsn', first -> 'Start-LSN', 'stop_lsn', last -> 'End-LSN',
		'start_wal', deploydb.wal_file((first ->> 'Timeline')::integer, first ->> 'Start-LSN'),
		'stop_wal', deploydb.wal_file((last ->> 'Timeline')::integer, GREATEST((last ->> 'End-LSN')::pg_lsn, '0/1') - 1 || ''),
		'started_at', COALESCE(files.begun_at, LEAST(files.changed_at, finished_at)),
		'finished_at', COALESCE(finished_at, files.changed_at),
		'database', current_database(), 'size_raw', files.bytes, 'size_stored', files.bytes,
		'location', deploydb.without_credentials(location), 'manifest_checksum', lower(document ->> 'Manifest-Checksum'), 'status', 'done',
		'unknown', NULLIF(document - '{PostgreSQL-Backup-Manifest-Version,System-Identifier,Files,WAL-Ranges,Manifest-Checksum}'::text[], '{}'));
END
$$;
COMMENT ON FUNCTION deploydb.manifest_backup(jsonb, text, text, timestamptz) IS
	'Backups: what a backup manifest says, as a row of table backup';
REVOKE ALL ON FUNCTION deploydb.manifest_backup(jsonb, text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.manifest_backup(jsonb, text, text, timestamptz) TO pg_monitor, pg_database_owner;

-- A manifest that is recorded keeps its label.
CREATE FUNCTION deploydb.manifest_to_keep(document jsonb, label text, location text, finished_at timestamptz, parent_id bigint)
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	said jsonb;
	recorded text;
BEGIN
	label := NULLIF(btrim(label), '');
	BEGIN
		said := deploydb.manifest_backup(document, label, location, finished_at);
	EXCEPTION WHEN invalid_parameter_value THEN
		RAISE;
	WHEN data_exception THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is no backup manifest',
			DETAIL = SQLERRM;
	END;
	SELECT b.label INTO recorded FROM deploydb.backup b
	WHERE b.tool = 'pg_basebackup' AND b.system_identifier = said ->> 'system_identifier' AND b.manifest_checksum = said ->> 'manifest_checksum';
	IF recorded <> label THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_object',
			MESSAGE = format('the manifest is recorded already, as backup "%s"', recorded);
	ELSIF parent_id IS NOT NULL AND (said ->> 'type' = 'full' OR NOT EXISTS (SELECT FROM deploydb.backup b
			WHERE b.id = parent_id AND b.status IN ('done', 'verified', 'restore_tested') AND b.label IS DISTINCT FROM recorded)) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN said ->> 'type' = 'full' THEN 'a full backup has no parent' ELSE format('backup %s cannot be a parent', parent_id) END,
			DETAIL = 'A parent is a backup that is finished and good.';
	END IF;
	RETURN said || jsonb_strip_nulls(jsonb_build_object('label', recorded, 'parent_id', parent_id,
		'assumed_end', CASE WHEN finished_at IS NULL THEN true END));
END
$$;
COMMENT ON FUNCTION deploydb.manifest_to_keep(jsonb, text, text, timestamptz, bigint) IS
	'Backups: a manifest as a row of table backup, under the label that it has there; a part of import_backups()';
REVOKE ALL ON FUNCTION deploydb.manifest_to_keep(jsonb, text, text, timestamptz, bigint) FROM PUBLIC;

-- Says what is wrong with a backup that a document has, or NULL.
CREATE FUNCTION deploydb.imported_problem(b deploydb.backup)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN CASE
		WHEN (b.label ~ '[^[:space:]]' AND length(b.label) <= 255) IS NOT TRUE THEN 'Its label is blank, or longer than 255 characters.'
		WHEN (b.type IN ('full', 'diff', 'incr')) IS NOT TRUE THEN format('Its type is %s, not full, diff or incr.', COALESCE(left(b.type, 100), 'missing'))
		WHEN num_nulls(b.system_identifier, b.server_version) > 0 THEN 'System identifier or version of its database are missing.'
		WHEN num_nulls(b.started_at, b.finished_at) > 0 THEN 'When it started or stopped is missing, or no time.'
		WHEN (b.start_wal || b.stop_wal) !~ '^([0-7][0-9A-F]{23}){2}$' THEN 'The names of its WAL files are none.'
		WHEN b.annotation IS NOT NULL AND jsonb_typeof(b.annotation) <> 'object' THEN 'Its annotation is no object.'
		WHEN octet_length(concat(b.annotation, b.unknown)) > 65536 THEN 'Its annotation and what is unknown of it are longer than 64 kB.'
		ELSE deploydb.backup_problem(b) END;
END
$$;
COMMENT ON FUNCTION deploydb.imported_problem(deploydb.backup) IS
	'Backups: why a backup cannot be as a document has it, or NULL';
REVOKE ALL ON FUNCTION deploydb.imported_problem(deploydb.backup) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.imported_problem(deploydb.backup) TO pg_monitor, pg_database_owner;

-- A new row, or what is new in one that is there.
CREATE FUNCTION deploydb.keep_imported(said jsonb, OUT id bigint, OUT status text, OUT outcome text, OUT detail text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	name text := left(said ->> 'label', 255);
	b deploydb.backup;
	old deploydb.backup;
	changed deploydb.backup;
	problem text;
BEGIN
	BEGIN
		b := jsonb_populate_record(NULL::deploydb.backup, said);
		b.start_lsn := b.start_lsn::pg_lsn;
		b.stop_lsn := b.stop_lsn::pg_lsn;
		problem := deploydb.imported_problem(b);
	EXCEPTION WHEN data_exception THEN
		problem := SQLERRM;
	END;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('backup "%s" cannot be as the document has it', name),
			DETAIL = problem,
			HINT = 'Nothing was imported.';
	END IF;
	b.parent_id := COALESCE(b.parent_id, (SELECT p.id FROM deploydb.backup p
		WHERE p.tool = b.tool AND p.system_identifier = b.system_identifier AND p.label = b.unknown ->> 'prior'));
	SELECT x.* INTO old FROM deploydb.backup x
	WHERE x.tool = b.tool AND x.system_identifier = b.system_identifier AND x.label = b.label FOR UPDATE;
	IF NOT FOUND THEN
		outcome := 'added';
		status := b.status;
		INSERT INTO deploydb.backup AS x (label, tool, tool_version, method, type, parent_id, system_identifier, server_version, timeline,
			start_lsn, stop_lsn, start_wal, stop_wal, started_at, finished_at, database, size_raw, size_stored, encryption, location,
			manifest_checksum, status, error, annotation, unknown, deployment, recorded_by)
		VALUES (b.label, b.tool, b.tool_version, b.method, b.type, b.parent_id, b.system_identifier, b.server_version, b.timeline,
			b.start_lsn, b.stop_lsn, b.start_wal, b.stop_wal, b.started_at, b.finished_at, b.database, b.size_raw, b.size_stored, b.encryption,
			b.location, b.manifest_checksum, b.status, b.error, b.annotation, b.unknown, (SELECT d.id FROM deploydb.deployment d
				WHERE d.started_at <= b.started_at AND COALESCE(d.finished_at > b.started_at, true) ORDER BY d.id DESC LIMIT 1), session_user)
		RETURNING x.id INTO id;
	ELSE
		IF old.status <> 'running' THEN
			SELECT string_agg(format('%s is %s, and %s in the document', f.name, f.recorded, f.said), '; ') INTO problem
			FROM (VALUES ('type', old.type, b.type), ('timeline', old.timeline::text, b.timeline::text), ('start_lsn', old.start_lsn, b.start_lsn),
				('stop_lsn', old.stop_lsn, b.stop_lsn), ('manifest_checksum', old.manifest_checksum, b.manifest_checksum)) AS f (name, recorded, said)
			WHERE f.recorded <> f.said;
		END IF;
		IF problem IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'duplicate_object',
				MESSAGE = format('another backup "%s" by %s is recorded already', name, b.tool),
				DETAIL = format('Of backup %s %s.', old.id, problem),
				HINT = 'Nothing was imported.';
		END IF;
		id := old.id;
		-- what has ended otherwise here stays as it is
		status := CASE WHEN old.status = 'running' OR b.status = 'corrupt' AND old.status IN ('done', 'verified', 'restore_tested')
			THEN b.status ELSE old.status END;
		changed := jsonb_populate_record(old, to_jsonb(b) - '{id,label,tool,status,database,server_version,started_at,finished_at,recorded_by,
			recorded_at,pinned,deployment}'::text[] - ARRAY(SELECT e.key FROM jsonb_each(to_jsonb(b)) e WHERE e.value = 'null' AND e.key NOT IN ('annotation', 'unknown')));
		IF old.status = 'running' OR NOT said ? 'assumed_end' THEN
			changed.started_at := b.started_at;
			changed.finished_at := b.finished_at;
		END IF;
		outcome := CASE WHEN status <> old.status OR changed IS DISTINCT FROM old THEN 'updated' ELSE 'unchanged' END;
		UPDATE deploydb.backup x SET tool_version = changed.tool_version, method = changed.method, type = changed.type, parent_id = changed.parent_id,
			timeline = changed.timeline, start_lsn = changed.start_lsn, stop_lsn = changed.stop_lsn,
			start_wal = changed.start_wal, stop_wal = changed.stop_wal, started_at = changed.started_at, finished_at = changed.finished_at,
			size_raw = changed.size_raw, size_stored = changed.size_stored, encryption = changed.encryption, location = changed.location,
			manifest_checksum = changed.manifest_checksum, error = changed.error, annotation = changed.annotation, unknown = changed.unknown,
			status = CASE WHEN old.status = 'running' THEN 'done' ELSE old.status END
		WHERE x.id = old.id AND outcome = 'updated';
		UPDATE deploydb.backup x SET status = status WHERE x.id = old.id AND x.status <> status;
	END IF;
	detail := NULLIF(concat_ws('; ',
		CASE WHEN status IN ('failed', 'interrupted', 'expired') THEN format(deploydb.word('it is %s here'), status) END,
		CASE WHEN b.type <> 'full' AND (SELECT x.parent_id FROM deploydb.backup x WHERE x.id = id) IS NULL
			THEN deploydb.word('what it is based on is not recorded') END,
		b.error), '');
END
$$;
COMMENT ON FUNCTION deploydb.keep_imported(jsonb) IS
	'Backups: keeps one that a document has; a part of import_backups()';
REVOKE ALL ON FUNCTION deploydb.keep_imported(jsonb) FROM PUBLIC;

-- What pgBackRest has had, and has no more, of the repositories it has read.
CREATE FUNCTION deploydb.expire_imported(repositories text[], listed text[])
RETURNS TABLE (id bigint, backup text, pinned boolean)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	UPDATE deploydb.backup b SET status = 'expired', error = COALESCE(b.error, 'pgBackRest has it no more')
	FROM pg_control_system() s
	WHERE b.tool = 'pgbackrest' AND b.system_identifier = s.system_identifier::text AND b.location = ANY (repositories)
		AND b.label <> ALL (listed) AND b.status IN ('done', 'verified', 'restore_tested', 'corrupt')
	RETURNING b.id, b.label, b.pinned
$$;
COMMENT ON FUNCTION deploydb.expire_imported(text[], text[]) IS
	'Backups: notes those as expired that are not listed any more; a part of import_backups()';
REVOKE ALL ON FUNCTION deploydb.expire_imported(text[], text[]) FROM PUBLIC;

CREATE FUNCTION deploydb.import_backups(tool text, document jsonb, as_label text DEFAULT NULL, location text DEFAULT NULL,
	finished_at timestamptz DEFAULT NULL, parent_id bigint DEFAULT NULL, expire boolean DEFAULT true)
RETURNS TABLE (id bigint, backup text, status text, outcome text, detail text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	here text := (SELECT s.system_identifier::text FROM pg_control_system() s);
	listed text[] := '{}';
	readable text[];
	outcomes text[] := '{}';
	wrong boolean := false;
	item record;
	said jsonb;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF num_nulls(tool, document, expire) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'tool, document and expire must not be NULL';
	ELSIF tool NOT IN ('pgbackrest', 'pg_basebackup') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('unrecognized tool: "%s"', tool),
			HINT = 'Known are pgbackrest and pg_basebackup; others by deploydb.backup_start() and backup_finish().';
	ELSIF tool = 'pgbackrest' AND num_nonnulls(as_label, location, finished_at, parent_id) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'as_label, location, finished_at and parent_id are for manifests',
			DETAIL = 'pgBackRest says these itself.';
	END IF;
	-- one import at a time, and nothing else meanwhile
	LOCK TABLE deploydb.backup IN SHARE ROW EXCLUSIVE MODE;
	IF tool = 'pg_basebackup' THEN
		said := deploydb.manifest_to_keep(document, as_label, location, finished_at, parent_id);
		backup := said ->> 'label';
		SELECT k.* INTO id, status, outcome, detail FROM deploydb.keep_imported(said) k;
		outcomes := ARRAY[outcome];
		RETURN NEXT;
	ELSE
		readable := ARRAY(SELECT format('stanza %s, repo %s', s.stanza ->> 'name', r)
			FROM deploydb.pgbackrest_stanzas(document) s, unnest(s.repositories) r);
		FOR item IN SELECT s.stanza, b.backup FROM deploydb.pgbackrest_stanzas(document) s, jsonb_array_elements(s.backups) AS b (backup)
		LOOP
			said := deploydb.pgbackrest_backup(item.stanza, item.backup);
			backup := said ->> 'label';
			IF said ->> 'system_identifier' <> here OR backup = ANY (listed) THEN
				SELECT NULL, NULL, 'skipped', CASE WHEN said ->> 'system_identifier' = here THEN deploydb.word('it is listed more than once')
					ELSE format(deploydb.word('it is of system %s, before the stanza was upgraded'), said ->> 'system_identifier') END
				INTO id, status, outcome, detail;
			ELSE
				SELECT k.* INTO id, status, outcome, detail FROM deploydb.keep_imported(said) k;
				listed := listed || backup;
				outcomes := outcomes || outcome;
				wrong := wrong OR outcome <> 'unchanged' AND status = 'corrupt';
			END IF;
			RETURN NEXT;
		END LOOP;
		FOR item IN SELECT e.* FROM deploydb.expire_imported(CASE WHEN expire THEN readable ELSE '{}' END, listed) e ORDER BY e.id
		LOOP
			SELECT item.id, item.backup, 'expired', 'expired', concat_ws('; ', deploydb.word('the document has it no more'),
				CASE WHEN item.pinned THEN deploydb.word('it was pinned') END)
			INTO id, backup, status, outcome, detail;
			outcomes := outcomes || outcome;
			wrong := wrong OR item.pinned;
			RETURN NEXT;
		END LOOP;
	END IF;
	IF outcomes && '{added,updated,expired}' THEN
		PERFORM deploydb.add_log_line(deploydb.open_deployment(), 'backups imported', CASE WHEN wrong THEN 'warning' ELSE 'ok' END,
			(SELECT format('%s: %s', tool, string_agg(format('%s %s', c.n, c.o), ', ' ORDER BY c.o))
				FROM (SELECT o, count(*) AS n FROM unnest(outcomes) o GROUP BY o) c));
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.import_backups(text, jsonb, text, text, timestamptz, bigint, boolean) IS
	'Backups: keeps those that pgBackRest''s info or a backup manifest has, checked; again, what has become of them; a row for each';
REVOKE ALL ON FUNCTION deploydb.import_backups(text, jsonb, text, text, timestamptz, bigint, boolean) FROM PUBLIC;
