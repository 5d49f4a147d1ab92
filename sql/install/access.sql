
--
-- Rights
--

-- Whatever acts calls this first, so that its error says where to go.
CREATE FUNCTION deploydb.primary_or_error()
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	primary_server text;
BEGIN
	IF NOT pg_is_in_recovery() THEN
		RETURN true;
	END IF;
	SELECT format('%s, port %s', r.sender_host, r.sender_port) INTO primary_server
	FROM pg_stat_wal_receiver r WHERE r.sender_host IS NOT NULL;
	RAISE EXCEPTION USING
		ERRCODE = 'read_only_sql_transaction',
		MESSAGE = 'this server is a standby',
		DETAIL = 'Everything can be read here, and nothing written.',
		HINT = CASE WHEN primary_server IS NULL THEN 'Call it on the primary.'
			ELSE format('Call it on the primary: %s.', primary_server) END;
END
$$;
COMMENT ON FUNCTION deploydb.primary_or_error() IS
	'Deployment: true, or on a standby an error that names the primary';
REVOKE ALL ON FUNCTION deploydb.primary_or_error() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.primary_or_error() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.own_database_oid()
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.oid::bigint FROM pg_database d WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION deploydb.own_database_oid() IS
	'Monitoring: the OID of this database, which a copy of it does not have';
REVOKE ALL ON FUNCTION deploydb.own_database_oid() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.own_database_oid() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.grant_access(role text, access text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	object text;
	acting text[];
BEGIN
	IF num_nulls(role, access) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'role and access must not be NULL';
	END IF;
	acting := CASE WHEN access = 'operator' THEN ARRAY[
		'deploydb.register_migration(text, text, text, text)',
		'deploydb.forget_migration(text)',
		'deploydb.derive_expectations()',
		'deploydb.capture_migration(text, text[], text)',
		'deploydb.import_migration(jsonb)',
		'deploydb.accept_deviation(text, text, text, text, text, timestamptz)',
		'deploydb.revoke_acceptance(text, text, text, text)',
		'deploydb.smoke_test(text)',
		'deploydb.track(text)',
		'deploydb.untrack(text)',
		'deploydb.report_client_failures(text, integer, text)',
		'deploydb.reset_write_stats(text)',
		'deploydb.notify(text, text, text)',
		'deploydb.replay(bigint)',
		'deploydb.replay_since(timestamptz)',
		'deploydb.test_webhook(text, text, integer, text, double precision, text)',
		'deploydb.can_commit()',
		'deploydb.queue_test(text)',
		'deploydb.test_result(bigint)',
		'deploydb.set_rule(text, text, text, text, text, double precision, text, double precision, integer, '
			'double precision, integer, integer, integer, double precision, integer, text, text, jsonb, text, text, '
			'text, boolean, text[])',
		'deploydb.reset_rule(text)',
		'deploydb.evaluate_alerts()',
		'deploydb.silence(text, text, text)',
		'deploydb.unsilence(text)',
		'deploydb.acknowledge(text, text)',
		'deploydb.push_metric(text, double precision, timestamptz)',
		'deploydb.add_metric(text, text, text, text)',
		'deploydb.drop_metric(text)',
		'deploydb.plan_rollback(text, boolean)',
		'deploydb.rollback_migration(bigint, text, boolean)',
		'deploydb.restore_rolled_back(bigint)',
		'deploydb.discard_rolled_back(bigint, text)',
		'deploydb.rehearse_rollback(text)',
		'deploydb.log_line(text, text, text)',
		'deploydb.deployment_start(text, text, text, text, text[], text, jsonb)',
		'deploydb.deployment_finish(text, text)',
		'deploydb.phase_start(text, text)',
		'deploydb.phase_finish(text, text, text)',
		'deploydb.log_issue(text, text, text)',
		'deploydb.resolve_issue(bigint, text)',
		'deploydb.set_contact(text, text, text)',
		'deploydb.backup_start(text, text, text, text, text[], text, text, bigint, text, timestamptz, jsonb)',
		'deploydb.backup_finish(bigint, bigint, text, text, bigint, text, jsonb, jsonb, text, text, text, text, text, text, text, timestamptz)',
		'deploydb.backup_fail(bigint, text)',
		'deploydb.backup_verified(bigint, boolean, text, text, bigint)',
		'deploydb.backup_restore_tested(bigint, boolean, jsonb, jsonb, double precision, text)',
		'deploydb.backup_pin(bigint, boolean)',
		'deploydb.backup_expire(bigint, text)',
		'deploydb.import_backups(text, jsonb, text, text, timestamptz, bigint, boolean)',
		'deploydb.attest(text, boolean, text)',
		'deploydb.add_checklist_item(text, text, text, text, text, text, text, text, text)',
		'deploydb.drop_checklist_item(text)',
		'deploydb.import_staging(jsonb)']
	WHEN access = 'signer' THEN ARRAY[
		'deploydb.sign_off(bigint, text, text, text)',
		'deploydb.revoke_sign_off(bigint, text, text)']
	WHEN access = 'app' THEN ARRAY[
		'deploydb.report_client_failures(text, integer, text)',
		'deploydb.push_metric(text, double precision, timestamptz)'] END;
	IF acting IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('unrecognized access: "%s"', access),
			HINT = 'Known are "operator", "signer" and "app". To read, be a member of pg_monitor.';
	END IF;
	-- GRANT takes even a quoted "public" for everybody
	IF role IN ('public', '') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('role "%s" does not exist', role),
			HINT = 'Name a role: nothing of deploydb is granted to PUBLIC.';
	END IF;
	EXECUTE format('GRANT USAGE ON SCHEMA deploydb TO %I', role);

	-- whatever reads, which pg_monitor may
	FOR object IN
		SELECT CASE WHEN d.classid = 'pg_proc'::regclass
				THEN 'EXECUTE ON FUNCTION ' || d.objid::regprocedure::text
			ELSE 'SELECT ON ' || d.objid::regclass::text END
		FROM pg_depend d
			JOIN pg_extension x ON x.oid = d.refobjid
		WHERE access IN ('operator', 'signer')
			AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND x.extname = 'deploydb'
			AND CASE WHEN d.classid = 'pg_proc'::regclass
					THEN has_function_privilege('pg_monitor', d.objid, 'EXECUTE')
				WHEN d.classid = 'pg_class'::regclass
					THEN (SELECT c.relkind IN ('r', 'v') FROM pg_class c WHERE c.oid = d.objid)
						AND has_table_privilege('pg_monitor', d.objid, 'SELECT') END
	LOOP
		EXECUTE 'GRANT ' || object || ' TO ' || quote_ident(role);
	END LOOP;

	FOREACH object IN ARRAY acting
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', object, role);
	END LOOP;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.grant_access(text, text) IS
	'Rights: lets a role act; access "operator" reads and acts, "signer" reads and signs off, "app" reports what the server cannot see';
REVOKE ALL ON FUNCTION deploydb.grant_access(text, text) FROM PUBLIC;
