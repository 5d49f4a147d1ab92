--
-- Deployment: the log
--

-- deployment is no foreign key: a line stays whatever becomes of the rest.
CREATE TABLE deploydb.log_entry (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	deployment bigint,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	who text NOT NULL,
	application text NOT NULL,
	action text NOT NULL CHECK (action ~ E'[^\\x01-\\x20]'),
	status text NOT NULL CHECK (status IN ('ok', 'failed', 'warning', 'info')),
	note text
);
CREATE INDEX log_entry_deployment_idx ON deploydb.log_entry (deployment, id);
COMMENT ON TABLE deploydb.log_entry IS
	'Deployment: who did what, when, and how it went; rows are only ever added';
GRANT SELECT ON deploydb.log_entry TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.log_entry_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.log_entry', '');
SELECT pg_extension_config_dump('deploydb.log_entry_id_seq', '');

CREATE FUNCTION deploydb.only_added()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'object_not_in_prerequisite_state',
		MESSAGE = format('cannot %s table "%s.%s"', lower(TG_OP), TG_TABLE_SCHEMA, TG_TABLE_NAME),
		DETAIL = 'Its rows are only ever added.',
		HINT = 'Add a line that puts it right: deploydb.log_line().';
END
$$;
COMMENT ON FUNCTION deploydb.only_added() IS
	'Deployment: refuses to change or remove rows';
REVOKE ALL ON FUNCTION deploydb.only_added() FROM PUBLIC;
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON deploydb.log_entry
	FOR EACH STATEMENT EXECUTE FUNCTION deploydb.only_added();

-- Of its UTF-8, so that a dump restored in another encoding gives the same; of
-- its bytes as they are where these are no text in UTF-8.
CREATE FUNCTION deploydb.text_hash(content text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN encode(sha256(convert_to(content, 'UTF8')), 'hex');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character OR undefined_function THEN
	RETURN encode(sha256(convert_to(content, getdatabaseencoding())), 'hex');
END
$$;
COMMENT ON FUNCTION deploydb.text_hash(text) IS
	'Deployment: SHA-256 of a text, in any encoding';
REVOKE ALL ON FUNCTION deploydb.text_hash(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.text_hash(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.add_log_line(deployment bigint, action text, status text, note text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	added bigint;
BEGIN
	IF num_nulls(action, status) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'action and status must not be NULL';
	ELSIF action !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'action must not be empty';
	ELSIF status NOT IN ('ok', 'failed', 'warning', 'info') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid status: "%s"', status),
			HINT = 'It is ok, failed, warning or info.';
	END IF;
	-- the transaction has its id before the line has one: seal_log() relies on that
	PERFORM pg_current_xact_id();
	INSERT INTO deploydb.log_entry AS l (deployment, who, application, action, status, note)
	VALUES (deployment, session_user, current_setting('application_name'), action, status, note)
	RETURNING l.id INTO added;
	RETURN added;
END
$$;
COMMENT ON FUNCTION deploydb.add_log_line(bigint, text, text, text) IS
	'Deployment: adds a line to the log of a deployment, or of none';
REVOKE ALL ON FUNCTION deploydb.add_log_line(bigint, text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.log_line(action text, status text DEFAULT 'info', note text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM deploydb.primary_or_error();
	RETURN deploydb.add_log_line(deploydb.open_deployment(), action, status, note);
END
$$;
COMMENT ON FUNCTION deploydb.log_line(text, text, text) IS
	'Deployment: adds a line to the log, of the deployment that is open, if one is; returns its id';
REVOKE ALL ON FUNCTION deploydb.log_line(text, text, text) FROM PUBLIC;
