-- Checklist: its items, a team's own ones, and what people say of them.

-- Chinese stands in these scripts as bytes of UTF-8, so that they are read in
-- any encoding.
CREATE FUNCTION deploydb.from_utf8(bytes bytea)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN CASE WHEN getdatabaseencoding() <> 'SQL_ASCII' THEN convert_from(bytes, 'UTF8') END;
EXCEPTION WHEN untranslatable_character OR undefined_function THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION deploydb.from_utf8(bytea) IS
	'Checklist: a text from its bytes of UTF-8; NULL where the encoding of this database does not have it';
REVOKE ALL ON FUNCTION deploydb.from_utf8(bytea) FROM PUBLIC;

CREATE TABLE deploydb.builtin_phrase (
	english text COLLATE "C" PRIMARY KEY,
	chinese text
);
COMMENT ON TABLE deploydb.builtin_phrase IS
	'Checklist: what the checklist and the report say, in both languages; %s stands for what is put in';
GRANT SELECT ON deploydb.builtin_phrase TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.phrase(english text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE((SELECT p.chinese FROM deploydb.builtin_phrase p
		WHERE p.english = phrase.english AND deploydb.setting('language') = 'zh'), english)
$$;
COMMENT ON FUNCTION deploydb.phrase(text) IS
	'Checklist: a phrase in deploydb.language, as it is where there is no translation';
REVOKE ALL ON FUNCTION deploydb.phrase(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.phrase(text) TO pg_monitor, pg_database_owner;

--
-- Items
--

CREATE TABLE deploydb.checklist_section (
	section text COLLATE "C" PRIMARY KEY,
	place integer NOT NULL UNIQUE,
	chapter text NOT NULL,
	title_en text NOT NULL,
	title_zh text,
	phase text,
	minutes text
);
COMMENT ON TABLE deploydb.checklist_section IS
	'Checklist: its sections in their order; phase says when its items are due, minutes how long it takes';
GRANT SELECT ON deploydb.checklist_section TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.builtin_checklist_item (
	key text COLLATE "C" PRIMARY KEY,
	place integer NOT NULL UNIQUE,
	section text COLLATE "C" NOT NULL REFERENCES deploydb.checklist_section,
	kind text NOT NULL CHECK (kind IN ('evaluated', 'pushed', 'attested')),
	evaluator text,
	title_en text NOT NULL,
	title_zh text,
	command text,
	expected text
);
COMMENT ON TABLE deploydb.builtin_checklist_item IS
	'Checklist: the items that deploydb ships; view checklist_item has them with a team''s own';
GRANT SELECT ON deploydb.builtin_checklist_item TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.own_checklist_item (
	key text COLLATE "C" PRIMARY KEY,
	section text COLLATE "C" NOT NULL,
	kind text NOT NULL,
	title_en text NOT NULL,
	title_zh text,
	predicate text,
	search_path text NOT NULL,
	owner text NOT NULL,
	command text,
	expected text,
	phase text,
	added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	added_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE deploydb.own_checklist_item IS
	'Checklist: items that a team added; a predicate is run as its owner';
GRANT SELECT ON deploydb.own_checklist_item TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.own_checklist_item', '');

-- By oid, which a rename does not change and a dump cannot hold.
CREATE TABLE deploydb.checklist_item_owner (
	key text COLLATE "C" PRIMARY KEY,
	owner_oid bigint NOT NULL
);
COMMENT ON TABLE deploydb.checklist_item_owner IS
	'Checklist: the roles that own predicates';
GRANT SELECT ON deploydb.checklist_item_owner TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.checklist_item AS
	SELECT b.key, b.section, b.kind, b.title_en, b.title_zh, b.command, b.expected, s.phase, b.evaluator,
		NULL::text AS predicate, NULL::text AS owner, true AS built_in, s.place AS section_place, b.place,
		NULL::timestamptz AS added_at, NULL::text AS added_by
	FROM deploydb.builtin_checklist_item b
		JOIN deploydb.checklist_section s ON s.section = b.section
	WHERE NOT EXISTS (SELECT FROM deploydb.own_checklist_item o WHERE o.key = b.key)
	UNION ALL
	SELECT o.key, o.section, o.kind, o.title_en, o.title_zh, o.command, o.expected, o.phase, NULL,
		o.predicate, o.owner, false, COALESCE(s.place, 1000), 1000, o.added_at, o.added_by
	FROM deploydb.own_checklist_item o
		LEFT JOIN deploydb.checklist_section s ON s.section = o.section;
COMMENT ON VIEW deploydb.checklist_item IS
	'Checklist: every item, built in or a team''s own';
GRANT SELECT ON deploydb.checklist_item TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.checklist_predicate AS
	SELECT o.key, o.predicate, o.search_path, r.oid::bigint AS owner_oid
	FROM deploydb.own_checklist_item o
		LEFT JOIN deploydb.checklist_item_owner w ON w.key = o.key
		LEFT JOIN pg_roles r ON CASE WHEN w.owner_oid IS NULL THEN r.rolname = o.owner ELSE r.oid::bigint = w.owner_oid END
	WHERE o.predicate IS NOT NULL;
COMMENT ON VIEW deploydb.checklist_predicate IS
	'Checklist: the predicates of a team''s items, and who runs them; owner_oid is NULL where the role was dropped';
GRANT SELECT ON deploydb.checklist_predicate TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.add_checklist_item(key text, section text, title_en text, title_zh text DEFAULT NULL,
	kind text DEFAULT 'attested', predicate text DEFAULT NULL, command text DEFAULT NULL, expected text DEFAULT NULL,
	phase text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_add_checklist_item'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.add_checklist_item(text, text, text, text, text, text, text, text, text) IS
	'Checklist: adds an item of one''s own; a predicate is a SELECT of one boolean, run as the current role';
REVOKE ALL ON FUNCTION deploydb.add_checklist_item(text, text, text, text, text, text, text, text, text) FROM PUBLIC;

-- Why an item cannot be added; NULL where it can.
CREATE FUNCTION deploydb.checklist_item_problem(key text, section text, title_en text, title_zh text, kind text,
	predicate text, command text, expected text, phase text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN length(key) > 100 OR key !~ '^[a-z][a-z0-9_]*([.][a-z0-9_]+)*$'
			THEN 'A key is of at most 100 small letters, digits, _ and dots, each part not empty, and begins with a letter.'
		WHEN section !~ '[^[:space:]]' OR length(section) > 100
			THEN 'A section has 1 to 100 characters.'
		WHEN title_en !~ '[^[:space:]]' OR title_zh !~ '[^[:space:]]' OR GREATEST(length(title_en), length(title_zh)) > 500
			THEN 'A title has 1 to 500 characters.'
		WHEN kind NOT IN ('evaluated', 'pushed', 'attested')
			THEN 'Kinds are evaluated, pushed and attested.'
		WHEN kind = 'evaluated' AND predicate IS NULL
			THEN 'An evaluated item needs a predicate.'
		WHEN kind <> 'evaluated' AND predicate IS NOT NULL
			THEN 'An item with a predicate is of kind evaluated.'
		WHEN GREATEST(length(predicate), length(command), length(expected)) > 10000
			THEN 'A predicate, a command and what is expected of it have at most 10000 characters each.'
		WHEN phase NOT IN ('pre_checks', 'code', 'migration', 'health', 'smoke', 'post')
			THEN 'Phases are pre_checks, code, migration, health, smoke and post.'
		END
$$;
COMMENT ON FUNCTION deploydb.checklist_item_problem(text, text, text, text, text, text, text, text, text) IS
	'Checklist: why an item cannot be added; a part of add_checklist_item()';
REVOKE ALL ON FUNCTION deploydb.checklist_item_problem(text, text, text, text, text, text, text, text, text) FROM PUBLIC;

-- The part of add_checklist_item() that writes, once the predicate has been
-- tried as whoever adds it.
CREATE FUNCTION deploydb.keep_checklist_item(key text, section text, title_en text, title_zh text, kind text,
	predicate text, command text, expected text, phase text, search_path text, owner text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	problem text := deploydb.checklist_item_problem(key, section, title_en, title_zh, kind, predicate, command,
		expected, phase);
BEGIN
	PERFORM deploydb.primary_or_error();
	IF num_nulls(key, section, title_en, kind) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'key, section, title_en and kind must not be NULL';
	ELSIF problem IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'this can be no item of the checklist',
			DETAIL = problem;
	END IF;
	INSERT INTO deploydb.own_checklist_item AS o (key, section, kind, title_en, title_zh, predicate, search_path,
		owner, command, expected, phase)
	SELECT key, section, kind, title_en, title_zh, predicate, search_path, owner, command, expected,
		COALESCE(phase, (SELECT s.phase FROM deploydb.checklist_section s WHERE s.section = section))
	WHERE NOT EXISTS (SELECT FROM deploydb.builtin_checklist_item b WHERE b.key = key)
	ON CONFLICT ON CONSTRAINT own_checklist_item_pkey DO NOTHING;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_object',
			MESSAGE = format('checklist item "%s" already exists', key),
			HINT = 'One''s own goes by deploydb.drop_checklist_item().';
	END IF;
	INSERT INTO deploydb.checklist_item_owner AS w (key, owner_oid)
	SELECT key, r.oid::bigint FROM pg_roles r WHERE r.rolname = owner AND predicate IS NOT NULL
	ON CONFLICT ON CONSTRAINT checklist_item_owner_pkey DO UPDATE SET owner_oid = EXCLUDED.owner_oid;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.keep_checklist_item(text, text, text, text, text, text, text, text, text, text, text) IS
	'Checklist: keeps an item of a team''s own; a part of add_checklist_item()';
REVOKE ALL ON FUNCTION deploydb.keep_checklist_item(text, text, text, text, text, text, text, text, text, text, text)
	FROM PUBLIC;

CREATE FUNCTION deploydb.drop_checklist_item(key text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM deploydb.primary_or_error();
	PERFORM deploydb.checklist_item_or_error(key);
	DELETE FROM deploydb.own_checklist_item o WHERE o.key = key;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('checklist item "%s" is built in', key),
			HINT = format('Where it does not apply: SELECT deploydb.attest(%L, NULL, ''why'');', key);
	END IF;
	DELETE FROM deploydb.checklist_item_owner w WHERE w.key = key;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.drop_checklist_item(text) IS
	'Checklist: an item of one''s own is asked no more; what was said of it is kept';
REVOKE ALL ON FUNCTION deploydb.drop_checklist_item(text) FROM PUBLIC;

CREATE FUNCTION deploydb.checklist_item_or_error(key text)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	kind text := (SELECT i.kind FROM deploydb.checklist_item i WHERE i.key = key);
BEGIN
	IF key IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'item must not be NULL';
	ELSIF kind IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('checklist item "%s" does not exist', key),
			DETAIL = (SELECT format('There are: %s.', string_agg(i.key, ', ' ORDER BY i.section_place, i.place, i.key))
				FROM deploydb.checklist_item i
				WHERE split_part(i.key, '.', 1) = split_part(key, '.', 1)),
			HINT = 'View deploydb.checklist_item has all of them.';
	END IF;
	RETURN kind;
END
$$;
COMMENT ON FUNCTION deploydb.checklist_item_or_error(text) IS
	'Checklist: the kind of an item that there is';
REVOKE ALL ON FUNCTION deploydb.checklist_item_or_error(text) FROM PUBLIC;

CREATE FUNCTION deploydb.run_predicate(key text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_run_predicate'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.run_predicate(text) IS
	'Checklist: what the predicate of an item gives, run as its owner; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.run_predicate(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.run_predicate(text) TO pg_monitor, pg_database_owner;

--
-- What people and CI say
--

CREATE TABLE deploydb.attestation (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	deployment bigint NOT NULL,
	item text COLLATE "C" NOT NULL,
	met boolean,
	note text,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	who text NOT NULL DEFAULT session_user,
	application text NOT NULL DEFAULT current_setting('application_name')
);
CREATE INDEX attestation_item_idx ON deploydb.attestation (deployment, item, id);
COMMENT ON TABLE deploydb.attestation IS
	'Checklist: what was said of items, by whom and when; the newest counts, and met is NULL where an item does not apply';
GRANT SELECT ON deploydb.attestation TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.attestation_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.attestation', '');
SELECT pg_extension_config_dump('deploydb.attestation_id_seq', '');
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON deploydb.attestation
	FOR EACH STATEMENT EXECUTE FUNCTION deploydb.only_added();

CREATE FUNCTION deploydb.attest(item text, met boolean, note text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	kind text;
	open bigint;
	number bigint;
BEGIN
	PERFORM deploydb.primary_or_error();
	kind := deploydb.checklist_item_or_error(item);
	IF note !~ '[^[:space:]]' THEN
		note := NULL;
	END IF;
	IF met IS NULL AND note IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('a reason is needed why checklist item "%s" does not apply', item),
			HINT = format('As in: SELECT deploydb.attest(%L, NULL, ''why'');', item);
	ELSIF length(note) > 10000 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'a note has at most 10000 characters';
	END IF;
	-- nor is it finished before this commits
	SELECT d.id INTO open FROM deploydb.deployment d
	WHERE d.id = deploydb.open_deployment() AND d.finished_at IS NULL FOR SHARE;
	IF open IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'no deployment is open',
			HINT = 'deploydb.deployment_start() opens one.';
	END IF;
	INSERT INTO deploydb.attestation AS a (deployment, item, met, note) VALUES (open, item, met, note)
	RETURNING a.id INTO number;
	IF kind = 'evaluated' AND met IS NOT NULL THEN
		RAISE WARNING USING
			MESSAGE = format('checklist item "%s" is evaluated', item),
			DETAIL = 'What you say is kept, and counts where the server cannot find it out.';
	END IF;
	RETURN number;
END
$$;
COMMENT ON FUNCTION deploydb.attest(text, boolean, text) IS
	'Checklist: says that an item is met or not, or with NULL and a reason that it does not apply, for the open deployment';
REVOKE ALL ON FUNCTION deploydb.attest(text, boolean, text) FROM PUBLIC;
