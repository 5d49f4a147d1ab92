-- Checklist: what the server can know of an item by itself.
--
-- Each of these gives a state, met, unmet, waiting (it can still come),
-- not_applicable or not_measured, the evidence in words, and the time that it
-- is of; or no state where only people can know.  What is missing, or not the
-- caller's to read, raises an error, and the item is not measured.

--
-- Of one migration
--

CREATE FUNCTION deploydb.evidence_of_file(migration text, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v.state, format(deploydb.phrase(v.said), evidence_of_file.migration, v.detail), v.at
	FROM (SELECT) AS one
		LEFT JOIN deploydb.known_migration k ON k.migration = evidence_of_file.migration
		LEFT JOIN deploydb.ledger() l ON l.migration = evidence_of_file.migration
		CROSS JOIN LATERAL (VALUES
			(k.migration IS NULL, 'waiting', '%s: not registered here', NULL::text, NULL::timestamptz),
			(l.state = 'absent', 'met', '%s: its SHA-256 is %s, and it is not deployed yet',
				deploydb.known_checksum(k.migration), k.registered_at),
			(l.state IS NULL, 'not_measured', '%s: %s', deploydb.phrase(l.note), NULL),
			(l.checksum IN ('exact', 'crlf', 'lf'), 'met', '%s: the ledger has its checksum', NULL, l.started_at),
			(l.checksum = 'unknown', 'not_measured', '%s: there is no text to compare the ledger''s checksum with', NULL, NULL),
			(true, 'unmet', '%s: the ledger''s checksum is that of another file', NULL, l.started_at)
		) AS v (applies, state, said, detail, at)
	WHERE v.applies LIMIT 1
$$;
COMMENT ON FUNCTION deploydb.evidence_of_file(text) IS
	'Checklist: whether the file of a migration is that of the ledger; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_file(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_file(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_staging(migration text, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	s deploydb.staging;
	applied boolean := EXISTS (SELECT FROM deploydb.ledger() l
		WHERE l.migration = migration AND l.state IN ('applied', 'claimed'));
	comparable boolean;
	here text;
BEGIN
	SELECT g.* INTO s FROM deploydb.staging g WHERE g.migration = migration ORDER BY g.id DESC LIMIT 1;
	comparable := s.server_major = current_setting('server_version_num')::integer / 10000
		AND s.fact_format = deploydb.fact_format();
	IF applied AND comparable THEN
		here := deploydb.migration_fingerprint(migration, deploydb.watched_schema(migration));
	END IF;
	SELECT v.state, format(deploydb.phrase(v.said), migration, s.source, s.server_major), s.measured_at
	INTO state, evidence, at
	FROM (VALUES
		(s.id IS NULL, 'waiting', '%s: nothing is imported from staging'),
		(s.verdict = false, 'unmet', '%s: it deviates on %s'),
		(s.ledger_state IN ('failed', 'running', 'rolled_back'), 'unmet', '%s: the ledger of %s does not have it as applied'),
		(s.verdict IS NULL, 'not_measured', '%s: it could not be verified on %s'),
		(s.checksum <> deploydb.known_checksum(migration), 'unmet', '%s: %s has another file'),
		(NOT comparable, 'not_measured', '%s: %s has PostgreSQL %s or another version of deploydb, and is not comparable'),
		(NOT applied, 'met', '%s: verified on %s; its fingerprint will be compared'),
		(here = s.fingerprint, 'met', '%s: verified on %s, with the same fingerprint as here'),
		(num_nulls(here, s.fingerprint) > 0, 'not_measured', '%s: verified on %s, and there is no fingerprint to compare'),
		(true, 'unmet', '%s: its fingerprint is not that of %s')
	) AS v (applies, state, said)
	WHERE v.applies LIMIT 1;
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_staging(text) IS
	'Checklist: whether a migration was verified on staging, and is the same there; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_staging(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_staging(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_ledger(migration text, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v.state, format(deploydb.phrase(v.said), evidence_of_ledger.migration, deploydb.phrase(l.note)), v.at
	FROM (SELECT) AS one
		LEFT JOIN deploydb.ledger() l ON l.migration = evidence_of_ledger.migration
		CROSS JOIN LATERAL (VALUES
			(l.state = 'applied', 'met', '%s: applied', l.finished_at),
			(l.state = 'claimed', 'met', '%s: marked as applied by hand', l.finished_at),
			(l.state = 'running', 'waiting', '%s: it is being applied', l.started_at),
			(l.state = 'failed', 'unmet', '%s: it failed: %s', l.started_at),
			(l.state = 'rolled_back', 'unmet', '%s: it was rolled back', l.rolled_back_at),
			(l.note IS NOT NULL, 'not_measured', '%s: %s', NULL::timestamptz),
			(true, 'waiting', '%s: not deployed yet', NULL)
		) AS v (applies, state, said, at)
	WHERE v.applies LIMIT 1
$$;
COMMENT ON FUNCTION deploydb.evidence_of_ledger(text) IS
	'Checklist: what the ledger says of a migration; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_ledger(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_ledger(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_verification(migration text, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	known boolean := EXISTS (SELECT FROM deploydb.known_migration k WHERE k.migration = migration);
	absent boolean := EXISTS (SELECT FROM deploydb.ledger() l
		WHERE l.migration = migration AND l.state IN ('absent', 'running'));
	verdict boolean;
	said text;
BEGIN
	IF known THEN
		verdict := deploydb.migration_verdict(migration);
		at := clock_timestamp();
	END IF;
	SELECT v.state, v.said INTO state, said
	FROM (VALUES
		(NOT known, 'not_measured', '%s: not registered here'),
		(verdict, 'met', '%s: exactly as expected'),
		(verdict IS NULL, 'not_measured', '%s: it could not be found out'),
		(absent, 'waiting', '%s: not deployed yet'),
		(true, 'unmet', '%s: it deviates, see deploydb.migration_report()')
	) AS v (applies, state, said)
	WHERE v.applies LIMIT 1;
	evidence := format(deploydb.phrase(said), migration);
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_verification(text) IS
	'Checklist: whether a migration is as expected; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_verification(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_verification(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_rehearsal(migration text, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	rehearsed boolean := deploydb.rollback_rehearsed(migration);
	passed boolean;
BEGIN
	SELECT r.passed, r.at INTO passed, at FROM deploydb.rehearsal r
	WHERE r.migration = migration ORDER BY r.id DESC LIMIT 1;
	state := CASE WHEN rehearsed THEN 'met' WHEN passed = false THEN 'unmet' ELSE 'waiting' END;
	evidence := format(deploydb.phrase(CASE WHEN rehearsed THEN '%s: its rollback was rehearsed'
		WHEN passed = false THEN '%s: the rehearsal of its rollback failed'
		WHEN passed THEN '%s: what was rehearsed is not what would be rolled back now'
		ELSE '%s: its rollback was not rehearsed' END), migration);
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_rehearsal(text) IS
	'Checklist: whether the rollback of a migration was rehearsed as it is now; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_rehearsal(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_rehearsal(text) TO pg_monitor, pg_database_owner;

-- All migrations of a deployment: the worst counts.
CREATE FUNCTION deploydb.evidence_of_migrations(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	evaluator text := CASE item WHEN 'db.migration_file' THEN 'evidence_of_file'
		WHEN 'db.staging' THEN 'evidence_of_staging'
		WHEN 'db.rollback_script' THEN 'evidence_of_rehearsal'
		WHEN 'step2.migrate' THEN 'evidence_of_ledger'
		WHEN 'step2.verify' THEN 'evidence_of_verification' END;
BEGIN
	IF evaluator IS NULL THEN
		RETURN;
	ELSIF COALESCE(cardinality(migrations), 0) = 0 THEN
		state := 'not_measured';
		evidence := deploydb.phrase('the deployment names no migration');
		RETURN;
	END IF;
	EXECUTE format(
		'SELECT (array_agg(e.state ORDER BY array_position(ARRAY[''unmet'', ''not_measured'', ''waiting'', ''met''], e.state)))[1],'
		' string_agg(e.evidence, ''; '' ORDER BY m.n), max(e.at)'
		' FROM unnest($1) WITH ORDINALITY AS m (name, n) CROSS JOIN LATERAL deploydb.%I(m.name) e', evaluator)
	INTO state, evidence, at USING migrations;
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_migrations(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: an item about the migrations of a deployment; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_migrations(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_migrations(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

--
-- Of the database
--

CREATE FUNCTION deploydb.evidence_of_backups(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	fit deploydb.backup;
BEGIN
	SELECT b.* INTO fit FROM deploydb.backup b WHERE b.id = deploydb.fit_backup(began);
	at := fit.finished_at;
	IF fit.id IS NULL THEN
		state := 'waiting';
		evidence := deploydb.phrase(CASE WHEN began IS NULL THEN 'there is no backup that one could go back to'
			ELSE 'there is no backup that finished before the migration began, and is young enough' END);
	ELSIF item = 'step2.backup' AND fit.finished_at < since THEN
		state := 'waiting';
		evidence := format(deploydb.phrase('backup %s is from before the deployment'), fit.id);
	ELSE
		state := 'met';
		evidence := format(deploydb.phrase('backup %s by %s, finished at %s'), fit.id, fit.tool,
			to_char(at, 'YYYY-MM-DD HH24:MI:SS TZ'));
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_backups(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: an item about backups; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_backups(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_backups(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_problems(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT 'unmet', string_agg(concat_ws(' ', p.severity, p.title), '; ' ORDER BY p.severity, p.id), max(p.opened_at)
	INTO state, evidence, at
	FROM deploydb.problem p
	WHERE p.resolved_at IS NULL AND p.severity IN ('P0', 'P1')
	HAVING count(*) > 0;
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_problems(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: open problems of severity P0 and P1; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_problems(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_problems(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_server(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT CASE WHEN bool_or(e.item = 'postgresql' AND e.status = 'ok') THEN 'met' ELSE 'unmet' END,
		string_agg(concat_ws(' ', CASE e.item WHEN 'postgresql' THEN 'PostgreSQL' ELSE 'TimescaleDB' END,
			deploydb.phrase(e.actual)), ', ' ORDER BY e.item), clock_timestamp()
	INTO state, evidence, at
	FROM deploydb.check_environment() e
	WHERE e.item IN ('postgresql', 'timescaledb');
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_server(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: versions of the server; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_server(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_server(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;
