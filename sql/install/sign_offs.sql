--
-- Deployment: sign-offs, and whether to go on
--

CREATE TABLE deploydb.sign_off (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	deployment bigint NOT NULL,
	role text NOT NULL CHECK (role IN ('technical_lead', 'dba', 'devops')),
	person text,
	note text,
	signed_by text NOT NULL,
	signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	distinct_signers boolean NOT NULL,
	bound_to text NOT NULL,
	revoked_at timestamptz,
	revoked_by text,
	revoke_reason text
);
CREATE INDEX sign_off_deployment_idx ON deploydb.sign_off (deployment, role, id);
COMMENT ON TABLE deploydb.sign_off IS
	'Deployment: who signed, and a hash of what; the newest of each role counts';
GRANT SELECT ON deploydb.sign_off TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.sign_off_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.sign_off', '');
SELECT pg_extension_config_dump('deploydb.sign_off_id_seq', '');

-- What a signature is about: the migrations as they are, their rows in the
-- ledger, the items of the checklist and what was attested.  NULL where a lock
-- keeps that from being known.
CREATE FUNCTION deploydb.signed_state(deployment bigint)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
#variable_conflict use_variable
DECLARE
	names text[] := (SELECT d.migrations FROM deploydb.deployment d WHERE d.id = deployment);
	there jsonb;
	ledger jsonb;
	known boolean;
BEGIN
	SELECT jsonb_agg(jsonb_build_array(m.name, m.fingerprint, deploydb.known_checksum(m.name)) ORDER BY m.n),
		bool_and(m.fingerprint IS NOT NULL OR m.migration IS NULL)
	INTO there, known
	FROM (SELECT n.name, n.n, k.migration,
			deploydb.migration_fingerprint(k.migration, deploydb.watched_schema(k.migration)) AS fingerprint
		FROM unnest(names) WITH ORDINALITY AS n (name, n)
			LEFT JOIN deploydb.known_migration k ON k.migration = n.name) m;
	SELECT jsonb_agg(jsonb_build_array(l.migration, l.state, l.checksum, l.started_at, l.finished_at) ORDER BY l.migration),
		COALESCE(bool_and(l.state IS NOT NULL) AND known, known, true)
	INTO ledger, known
	FROM deploydb.ledger() l WHERE l.migration = ANY (names);
	RETURN (SELECT deploydb.text_hash(jsonb_build_object('version', d.version, 'checklist', deploydb.checklist_hash(d.id),
			'migrations', there, 'ledger', ledger)::text)
		FROM deploydb.deployment d WHERE d.id = deployment AND known);
END
$$;
COMMENT ON FUNCTION deploydb.signed_state(bigint) IS
	'Deployment: SHA-256 of what a sign-off is bound to: the migrations, their rows in the ledger, the checklist and its attestations; NULL while that cannot be read';
REVOKE ALL ON FUNCTION deploydb.signed_state(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.signed_state(bigint) TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.sign_off_status AS
	SELECT s.id, s.deployment, s.role, s.person, s.note, s.signed_by, s.signed_at AS at, s.distinct_signers,
		CASE WHEN s.revoked_at IS NOT NULL THEN 'revoked'
			WHEN s.id <> max(s.id) OVER (PARTITION BY s.deployment, s.role) THEN 'superseded'
			WHEN s.bound_to = n.state THEN 'signed'
			WHEN n.state IS NULL THEN 'unknown' ELSE 'void' END AS state,
		s.revoked_at IS NULL AND s.id = max(s.id) OVER (PARTITION BY s.deployment, s.role)
			AND s.bound_to = n.state AS valid,
		s.revoked_at, s.revoked_by, s.revoke_reason
	FROM (SELECT d.id, CASE WHEN d.id = c.id THEN deploydb.signed_state(d.id) ELSE d.final_state END AS state
		FROM deploydb.deployment d, (SELECT deploydb.current_deployment()) c (id)) n
		JOIN deploydb.sign_off s ON s.deployment = n.id;
COMMENT ON VIEW deploydb.sign_off_status IS
	'Deployment: sign-offs, and whether each is good: void once what it was about has changed, before another deployment began; unknown while that cannot be read';
GRANT SELECT ON deploydb.sign_off_status TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.signing_role(role text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF role IS NULL OR role NOT IN ('technical_lead', 'dba', 'devops') THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN role IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = CASE WHEN role IS NULL THEN 'role must not be NULL' ELSE format('invalid role: "%s"', role) END,
			HINT = 'Roles that sign are technical_lead, dba and devops.';
	END IF;
	RETURN role;
END
$$;
COMMENT ON FUNCTION deploydb.signing_role(text) IS
	'Deployment: a role that signs, or an error';
REVOKE ALL ON FUNCTION deploydb.signing_role(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.signing_role(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.sign_off(deployment bigint, role text, note text DEFAULT NULL, person text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	signing text := deploydb.signing_role(role);
	wanted bigint;
	other record;
	state text;
	signed bigint;
BEGIN
	PERFORM deploydb.primary_or_error();
	wanted := deploydb.deployment_or_error(deployment);
	-- one at a time, so that two sessions cannot both be the only ones; a row of
	-- its own, so that neither can one with an older snapshot
	UPDATE deploydb.deployment d SET version = d.version WHERE d.id = wanted;
	IF wanted <> deploydb.current_deployment() THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('deployment %s is not the current one', wanted),
			DETAIL = format('What it was about went on with deployment %s.', deploydb.current_deployment());
	END IF;
	state := deploydb.signed_state(wanted);
	IF state IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'lock_not_available',
			MESSAGE = 'what is to be signed cannot be read',
			DETAIL = 'A table of its migrations, or Prisma''s ledger, is locked, or is none.',
			HINT = 'SELECT * FROM deploydb.migration_report(); and deploydb.ledger() tell more.';
	END IF;
	SELECT s.role, s.signed_by, s.at INTO other FROM deploydb.sign_off_status s
	WHERE s.deployment = wanted AND s.valid AND (s.role = signing
		OR s.signed_by = session_user AND deploydb.setting('distinct_signers')::boolean)
	ORDER BY s.role = signing DESC LIMIT 1;
	IF other.role = signing THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('%s has signed', signing),
			DETAIL = format('%s did at %s.', other.signed_by, to_char(other.at, 'YYYY-MM-DD HH24:MI:SS TZ')),
			HINT = format('It can be taken back: SELECT deploydb.revoke_sign_off(%s, %L, ''why'');', wanted, signing);
	ELSIF other.role IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('%s signs for one role', session_user),
			DETAIL = format('As %s, at %s.', other.role, to_char(other.at, 'YYYY-MM-DD HH24:MI:SS TZ')),
			HINT = 'Three people sign, each in a session of their own role; deploydb.distinct_signers = off allows one to sign for several, and the report says so.';
	END IF;
	INSERT INTO deploydb.sign_off AS s (deployment, role, person, note, signed_by, distinct_signers, bound_to)
	VALUES (wanted, signing, COALESCE(NULLIF(btrim(person), ''), session_user), note, session_user,
		deploydb.setting('distinct_signers')::boolean, state)
	RETURNING s.id INTO signed;
	PERFORM deploydb.add_log_line(wanted, 'signed off', 'ok', concat_ws(': ', signing, NULLIF(btrim(person), ''), note));
	RETURN signed;
END
$$;
COMMENT ON FUNCTION deploydb.sign_off(bigint, text, text, text) IS
	'Deployment: signs for technical_lead, dba or devops, and for what is there now; returns the id';
REVOKE ALL ON FUNCTION deploydb.sign_off(bigint, text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.revoke_sign_off(deployment bigint, role text, reason text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	signing text := deploydb.signing_role(role);
	wanted bigint;
BEGIN
	PERFORM deploydb.primary_or_error();
	wanted := deploydb.deployment_or_error(deployment);
	IF reason IS NULL OR reason !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN reason IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = 'a reason is needed',
			HINT = 'Say in a few words what others will want to know.';
	END IF;
	UPDATE deploydb.sign_off s SET revoked_at = clock_timestamp(), revoked_by = session_user, revoke_reason = reason
	WHERE s.deployment = wanted AND s.role = signing AND s.revoked_at IS NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('%s has not signed', signing);
	END IF;
	PERFORM deploydb.add_log_line(wanted, 'sign-off revoked', 'warning', format('%s: %s', signing, reason));
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.revoke_sign_off(bigint, text, text) IS
	'Deployment: takes a sign-off back, with a reason; it stays to be seen';
REVOKE ALL ON FUNCTION deploydb.revoke_sign_off(bigint, text, text) FROM PUBLIC;

-- before the migration begins, after that, and once the 24 hours are over
CREATE FUNCTION deploydb.current_stage(deployment bigint)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN d.started_at <= clock_timestamp() - interval '24 hours' THEN '24h'
		WHEN EXISTS (SELECT FROM deploydb.deployment_phase p
			WHERE p.deployment = d.id AND p.phase NOT IN ('pre_checks') AND p.started_at IS NOT NULL) THEN 'after'
		ELSE 'before' END
	FROM deploydb.deployment d WHERE d.id = current_stage.deployment
$$;
COMMENT ON FUNCTION deploydb.current_stage(bigint) IS
	'Deployment: before, after (code or migration have begun), or 24h';
REVOKE ALL ON FUNCTION deploydb.current_stage(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.current_stage(bigint) TO pg_monitor, pg_database_owner;

-- What is missing at a stage.  That something was not measured is no reason to go.
CREATE FUNCTION deploydb.missing_to_go(deployment bigint, stage text)
RETURNS TABLE (item text, state text, detail text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.item, c.state, c.evidence FROM deploydb.checklist(missing_to_go.deployment) c
	WHERE c.state NOT IN ('met', 'not_applicable') AND c.section !~ '^rollback'
		AND (c.section ~ '^pre[.]' OR stage <> 'before') AND (c.section <> 'post.performance' OR stage = '24h');
	RETURN QUERY
	SELECT 'problem.' || p.id, 'open', concat_ws(' ', p.severity, p.title) FROM deploydb.problem p
	WHERE p.resolved_at IS NULL AND p.severity IN ('P0', 'P1')
	ORDER BY p.severity, p.id;
	IF stage <> 'before' THEN
		RETURN QUERY
		SELECT 'sign_off.' || r.role, COALESCE(s.state, 'missing'), concat_ws(' ', s.person, s.revoke_reason)
		FROM unnest(ARRAY['technical_lead', 'dba', 'devops']) WITH ORDINALITY AS r (role, n)
			LEFT JOIN LATERAL (SELECT o.* FROM deploydb.sign_off_status o
				WHERE o.deployment = missing_to_go.deployment AND o.role = r.role ORDER BY o.id DESC LIMIT 1) s ON true
		WHERE s.valid IS NOT TRUE ORDER BY r.n;
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.missing_to_go(bigint, text) IS
	'Deployment: items of the checklist that are not met, open problems of P0 and P1, and sign-offs that are missing at a stage; a part of go_no_go()';
REVOKE ALL ON FUNCTION deploydb.missing_to_go(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.missing_to_go(bigint, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.go_no_go(deployment bigint DEFAULT NULL, stage text DEFAULT 'current')
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	wanted bigint := deploydb.deployment_or_error(deployment);
	about text := CASE stage WHEN 'current' THEN deploydb.current_stage(wanted) ELSE stage END;
	missing jsonb;
BEGIN
	IF about IS NULL OR about NOT IN ('before', 'after', '24h') THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN stage IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END,
			MESSAGE = CASE WHEN stage IS NULL THEN 'stage must not be NULL' ELSE format('invalid stage: "%s"', stage) END,
			HINT = 'Stages are before, after, 24h and current.';
	END IF;
	SELECT COALESCE(jsonb_agg(jsonb_build_object('item', m.item, 'state', m.state, 'detail', m.detail)), '[]') INTO missing
	FROM deploydb.missing_to_go(wanted, about) m;
	RETURN jsonb_build_object('deployment', wanted, 'version', (SELECT d.version FROM deploydb.deployment d WHERE d.id = wanted),
		'stage', about, 'verdict', CASE WHEN missing = '[]' THEN 'go' ELSE 'no_go' END, 'missing', missing);
END
$$;
COMMENT ON FUNCTION deploydb.go_no_go(bigint, text) IS
	'Deployment: go or no_go, and what is missing, before the migration, after it, or after 24 hours';
REVOKE ALL ON FUNCTION deploydb.go_no_go(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.go_no_go(bigint, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.status_of_deployment()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	d deploydb.deployment;
	broken record;
	missing bigint;
BEGIN
	SELECT v.* INTO broken FROM deploydb.verify_log() v;
	IF NOT broken.intact THEN
		RETURN QUERY SELECT 'error', CASE WHEN broken.entry IS NULL THEN format(deploydb.word('the log: %s'), deploydb.word(broken.problem))
			ELSE format(deploydb.word('the log: entry %s was %s'), broken.entry, deploydb.word(broken.problem)) END, 'SELECT * FROM deploydb.verify_log();';
		RETURN;
	END IF;
	SELECT x.* INTO d FROM deploydb.deployment x WHERE x.id = deploydb.current_deployment();
	IF d.id IS NULL THEN
		RETURN QUERY SELECT 'ok', deploydb.word('none yet'), NULL::text;
	ELSIF d.finished_at IS NOT NULL THEN
		RETURN QUERY SELECT 'ok', format('%s: %s', deploydb.deployment_name(d.id), deploydb.word(d.outcome)), NULL::text;
	ELSE
		SELECT count(*) INTO missing FROM deploydb.missing_to_go(d.id, deploydb.current_stage(d.id));
		RETURN QUERY SELECT CASE WHEN missing > 0 OR d.started_at < clock_timestamp() - interval '24 hours' THEN 'warning' ELSE 'ok' END,
			format(deploydb.word('%s: open since %s, %s missing'), deploydb.deployment_name(d.id), to_char(d.started_at, 'YYYY-MM-DD HH24:MI'), missing),
			'SELECT deploydb.go_no_go();';
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.status_of_deployment() IS
	'Deployment: how far it is; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_deployment() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_deployment() TO pg_monitor, pg_database_owner;
