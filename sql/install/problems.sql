--
-- Deployment: problems, and whom to call
--

CREATE TABLE deploydb.problem (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	deployment bigint,
	title text NOT NULL CHECK (title ~ E'[^\\x01-\\x20]'),
	severity text NOT NULL CHECK (severity IN ('P0', 'P1', 'P2', 'P3')),
	impact text,
	solution text,
	opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	opened_by text NOT NULL,
	resolved_at timestamptz,
	resolved_by text,
	CHECK ((resolved_at IS NULL) = (solution IS NULL))
);
COMMENT ON TABLE deploydb.problem IS
	'Deployment: problems, open until their solution is there';
GRANT SELECT ON deploydb.problem TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.problem_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.problem', '');
SELECT pg_extension_config_dump('deploydb.problem_id_seq', '');

CREATE FUNCTION deploydb.log_issue(title text, severity text, impact text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	deployment bigint := deploydb.current_deployment();
	opened bigint;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF num_nulls(title, severity) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'title and severity must not be NULL';
	ELSIF title !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'title must not be empty';
	ELSIF severity NOT IN ('P0', 'P1', 'P2', 'P3') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid severity: "%s"', severity),
			HINT = 'Severities are P0, P1, P2 and P3.';
	END IF;
	INSERT INTO deploydb.problem AS p (deployment, title, severity, impact, opened_by)
	VALUES (deployment, title, severity, impact, session_user)
	RETURNING p.id INTO opened;
	PERFORM deploydb.add_log_line(deployment, 'problem', 'warning', format('%s: %s %s', opened, severity, title));
	RETURN opened;
END
$$;
COMMENT ON FUNCTION deploydb.log_issue(text, text, text) IS
	'Deployment: notes a problem of the current one, P0 to P3, and returns its id';
REVOKE ALL ON FUNCTION deploydb.log_issue(text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.resolve_issue(id bigint, solution text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	resolved deploydb.problem;
BEGIN
	PERFORM deploydb.primary_or_error();
	IF solution IS NULL OR solution !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN solution IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = 'a solution is needed',
			HINT = 'Say in a few words what was done.';
	END IF;
	SELECT p.* INTO resolved FROM deploydb.problem p WHERE p.id = id FOR UPDATE;
	IF resolved.id IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN id IS NULL THEN 'null_value_not_allowed' ELSE 'undefined_object' END,
			MESSAGE = CASE WHEN id IS NULL THEN 'id must not be NULL' ELSE format('problem %s does not exist', id) END,
			HINT = 'Table deploydb.problem has those that do.';
	ELSIF resolved.resolved_at IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('problem %s is resolved', id),
			DETAIL = format('%s resolved it at %s: %s', resolved.resolved_by,
				to_char(resolved.resolved_at, 'YYYY-MM-DD HH24:MI:SS TZ'), resolved.solution);
	END IF;
	UPDATE deploydb.problem p SET solution = solution, resolved_at = clock_timestamp(), resolved_by = session_user
	WHERE p.id = id;
	PERFORM deploydb.add_log_line(resolved.deployment, 'problem resolved', 'ok', format('%s: %s', id, solution));
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.resolve_issue(bigint, text) IS
	'Deployment: a problem is resolved, and how';
REVOKE ALL ON FUNCTION deploydb.resolve_issue(bigint, text) FROM PUBLIC;

CREATE TABLE deploydb.contact (
	role text PRIMARY KEY CHECK (role IN ('technical_lead', 'dba', 'devops', 'product_owner')),
	name text NOT NULL,
	how text NOT NULL,
	set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	set_by text NOT NULL
);
COMMENT ON TABLE deploydb.contact IS
	'Deployment: whom to call';
GRANT SELECT ON deploydb.contact TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.contact', '');

CREATE FUNCTION deploydb.set_contact(role text, name text, how text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM deploydb.primary_or_error();
	IF role IS NULL OR role NOT IN ('technical_lead', 'dba', 'devops', 'product_owner') THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN role IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = CASE WHEN role IS NULL THEN 'role must not be NULL' ELSE format('invalid role: "%s"', role) END,
			HINT = 'Roles are technical_lead, dba, devops and product_owner.';
	ELSIF concat(name, how) !~ '[^[:space:]]' THEN
		DELETE FROM deploydb.contact c WHERE c.role = role;
		RETURN FOUND;
	END IF;
	INSERT INTO deploydb.contact (role, name, how, set_by)
	VALUES (role, COALESCE(name, ''), COALESCE(how, ''), session_user)
	ON CONFLICT ON CONSTRAINT contact_pkey DO UPDATE
	SET name = EXCLUDED.name, how = EXCLUDED.how, set_at = clock_timestamp(), set_by = session_user;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.set_contact(text, text, text) IS
	'Deployment: whom to call: technical_lead, dba, devops or product_owner; nobody where name and how are empty';
REVOKE ALL ON FUNCTION deploydb.set_contact(text, text, text) FROM PUBLIC;
