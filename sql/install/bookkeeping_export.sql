--
-- Bookkeeping: all of it as one document, which can outlive the database
--
-- Which tables and columns that are, the catalogs say, so nothing new is left
-- out.  What acts by itself once it is there (webhooks, rules, queries, items
-- and migrations with their SQL, what is tracked) and what says whose database
-- this is are settings, and no bookkeeping.
--

CREATE FUNCTION deploydb.bookkeeping_tables()
RETURNS TABLE (name text, columns text[], key text[], sequence text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.relname::text, c.columns,
		ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
			WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.n),
		(SELECT pg_get_serial_sequence(format('deploydb.%I', c.relname), a.attname) FROM pg_attribute a
			WHERE a.attrelid = c.oid AND a.attidentity <> '')
	FROM (SELECT r.oid, r.relname, ARRAY(SELECT a.attname::text FROM pg_attribute a
				WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns
		FROM pg_extension e, unnest(e.extconfig) AS t (oid) JOIN pg_class r ON r.oid = t.oid
		WHERE e.extname = 'deploydb' AND r.relkind = 'r' AND r.relname <> ALL ('{acceptance,installation,own_checklist_item,own_metric,own_rule,
			registered_migration,tracked,webhook}')) c
	ORDER BY c.relname
$$;
COMMENT ON FUNCTION deploydb.bookkeeping_tables() IS
	'Bookkeeping: the tables that export_bookkeeping() has, their columns, keys and sequences';
REVOKE ALL ON FUNCTION deploydb.bookkeeping_tables() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.bookkeeping_tables() TO pg_monitor, pg_database_owner;

-- STABLE: all tables by one snapshot.
CREATE FUNCTION deploydb.export_bookkeeping()
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET extra_float_digits = 1
AS $$
DECLARE
	t record;
	content jsonb;
	document jsonb;
BEGIN
	document := jsonb_build_object('format', 'deploydb bookkeeping', 'version', 1,
		'deploydb', (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'deploydb'),
		'server_version_num', current_setting('server_version_num')::integer,
		'system_identifier', (SELECT s.system_identifier::text FROM pg_control_system() s),
		'database', current_database(),
		'exported_at', to_jsonb(clock_timestamp()),
		'log', (SELECT to_jsonb(v) FROM deploydb.verify_log() v),
		'tables', '{}'::jsonb);
	FOR t IN SELECT * FROM deploydb.bookkeeping_tables()
	LOOP
		EXECUTE format('SELECT COALESCE(jsonb_agg(to_jsonb(r) ORDER BY %s), ''[]'') FROM deploydb.%I r',
			(SELECT string_agg(format('r.%I', k), ', ' ORDER BY n) FROM unnest(t.key) WITH ORDINALITY AS c (k, n)), t.name)
		INTO content;
		document := jsonb_set(document, ARRAY['tables', t.name], content);
	END LOOP;
	RETURN document || jsonb_build_object('hash', deploydb.text_hash(document::text));
END
$$;
COMMENT ON FUNCTION deploydb.export_bookkeeping() IS
	'Bookkeeping: backups, deployments, rollbacks, the log and all that belongs to them as one document, with its SHA-256';
REVOKE ALL ON FUNCTION deploydb.export_bookkeeping() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.export_bookkeeping() TO pg_monitor, pg_database_owner;

-- Rows of a table that are not there yet; those that are must be the same.
CREATE FUNCTION deploydb.merge_rows(name text, rows jsonb)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET extra_float_digits = 1
AS $$
#variable_conflict use_variable
DECLARE
	t record;
	given text[];
	same_key text;
	clash jsonb;
	added bigint;
BEGIN
	SELECT b.* INTO t FROM deploydb.bookkeeping_tables() b WHERE b.name = name;
	IF jsonb_typeof(rows) IS DISTINCT FROM 'array' OR EXISTS (SELECT FROM jsonb_array_elements(rows) r WHERE jsonb_typeof(r) <> 'object') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('table "%s" of the document is no array of rows', left(name, 100));
	ELSIF rows = '[]' THEN
		RETURN 0;
	END IF;
	given := ARRAY(SELECT jsonb_object_keys(rows -> 0));
	IF t.name IS NULL OR NOT t.columns @> given THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = 'the document has what there is no place for here',
			DETAIL = CASE WHEN t.name IS NULL THEN format('It is table "%s".', left(name, 100))
				ELSE format('It is column "%s" of table "%s".', (SELECT min(left(g, 100)) FROM unnest(given) g WHERE g <> ALL (t.columns)), name) END,
			HINT = 'It is of a later version of deploydb: update the one here.';
	ELSIF NOT given @> t.key OR EXISTS (SELECT FROM jsonb_array_elements(rows) r WHERE NOT r ?& given OR r - given <> '{}') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('rows of table "%s" in the document lack columns', name);
	END IF;
	same_key := (SELECT string_agg(format('there.%1$I = said.%1$I', k), ' AND ') FROM unnest(t.key) k);
	EXECUTE format('SELECT to_jsonb(there) FROM jsonb_populate_recordset(NULL::deploydb.%1$I, $1) said JOIN deploydb.%1$I there ON %2$s '
		'WHERE to_jsonb(there) - $2 <> to_jsonb(said) - $2 LIMIT 1', name, same_key)
	INTO clash USING rows, ARRAY(SELECT c FROM unnest(t.columns) c WHERE c <> ALL (given));
	IF clash IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_object',
			MESSAGE = format('table "%s" has another row with the same key', name),
			DETAIL = format('Its %s.', (SELECT string_agg(format('%s is %s', k, left(clash ->> k, 100)), ', ') FROM unnest(t.key) k)),
			HINT = 'Nothing was imported: import into a database without bookkeeping of its own.';
	END IF;
	EXECUTE format('INSERT INTO deploydb.%1$I (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM jsonb_populate_recordset(NULL::deploydb.%1$I, $1) said '
		'WHERE NOT EXISTS (SELECT FROM deploydb.%1$I there WHERE %3$s)', name, (SELECT string_agg(quote_ident(g), ', ') FROM unnest(given) g), same_key)
	USING rows;
	GET DIAGNOSTICS added = ROW_COUNT;
	-- what is given away next must be new
	IF t.sequence IS NOT NULL THEN
		EXECUTE format('SELECT setval($1, m.id) FROM (SELECT max(id) AS id FROM deploydb.%I) m WHERE m.id > COALESCE(pg_sequence_last_value($1), 0)', name)
		USING t.sequence::regclass;
	END IF;
	RETURN added;
EXCEPTION WHEN integrity_constraint_violation OR data_exception THEN
	IF SQLSTATE = '22023' THEN
		RAISE;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'invalid_parameter_value',
		MESSAGE = format('rows of table "%s" in the document cannot be kept', left(name, 100)),
		DETAIL = SQLERRM,
		HINT = 'Nothing was imported.';
END
$$;
COMMENT ON FUNCTION deploydb.merge_rows(text, jsonb) IS
	'Bookkeeping: adds the rows of a table that are not there, and refuses those that are there and differ; a part of import_bookkeeping()';
REVOKE ALL ON FUNCTION deploydb.merge_rows(text, jsonb) FROM PUBLIC;

-- Whose rows these are, the document says, so nobody is granted this: it is
-- for those who could write the tables themselves.
CREATE FUNCTION deploydb.import_bookkeeping(document jsonb)
RETURNS TABLE (name text, rows bigint, added bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	hash text;
	total bigint := 0;
	broken record;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF (jsonb_typeof(document) = 'object' AND document ->> 'format' = 'deploydb bookkeeping' AND document ->> 'version' = '1'
		AND jsonb_typeof(document -> 'tables') = 'object' AND jsonb_typeof(document #> '{log,intact}') = 'boolean'
		AND jsonb_typeof(document -> 'hash') = 'string') IS NOT TRUE
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this is not what deploydb.export_bookkeeping() gives',
			HINT = 'Pass its result as it is.';
	END IF;
	hash := deploydb.text_hash((document - 'hash')::text);
	IF hash <> document ->> 'hash' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the document was changed after its export',
			DETAIL = format('Its hash is %s, and that of what it holds %s.', left(document ->> 'hash', 64), hash);
	END IF;
	-- nothing is added between two tables, nor does the monitor tick, which seals
	PERFORM FROM deploydb.monitor_state FOR UPDATE;
	FOR name IN SELECT b.name FROM deploydb.bookkeeping_tables() b
	LOOP
		EXECUTE format('LOCK TABLE deploydb.%I IN SHARE ROW EXCLUSIVE MODE', name);
	END LOOP;
	FOR name IN SELECT k FROM jsonb_object_keys(document -> 'tables') k ORDER BY k COLLATE "C"
	LOOP
		added := deploydb.merge_rows(name, document -> 'tables' -> name);
		rows := jsonb_array_length(document -> 'tables' -> name);
		total := total + added;
		RETURN NEXT;
	END LOOP;
	SELECT * INTO broken FROM deploydb.verify_log();
	IF document #> '{log,intact}' = 'true' AND NOT broken.intact THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_object',
			MESSAGE = 'the log of the document and the one that is here do not fit together',
			DETAIL = concat_ws(' ', 'Entry', broken.entry, 'would be', broken.problem) || '.',
			HINT = 'Nothing was imported: import into a database without bookkeeping of its own.';
	END IF;
	IF total > 0 THEN
		PERFORM deploydb.add_log_line(NULL, 'bookkeeping imported', CASE WHEN broken.intact THEN 'ok' ELSE 'warning' END,
			format('%s rows of database %s of system %s', total, left(document ->> 'database', 63), left(document ->> 'system_identifier', 20)));
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.import_bookkeeping(jsonb) IS
	'Bookkeeping: brings back what export_bookkeeping() gave, with its ids; twice changes nothing; a row for each table';
REVOKE ALL ON FUNCTION deploydb.import_bookkeeping(jsonb) FROM PUBLIC;
