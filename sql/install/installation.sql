--
-- Monitoring: which database this installation belongs to
--

-- No primary key: a restore adds its row to that of the new installation.
CREATE TABLE deploydb.installation (
	system_identifier bigint NOT NULL,
	database_oid bigint NOT NULL,
	installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE deploydb.installation IS
	'Monitoring: the databases that this installation was made in; one in another than these sends nothing';
GRANT SELECT ON deploydb.installation TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.installation', '');

CREATE FUNCTION deploydb.suspended()
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('This is a copy of database %s of system %s: it sends nothing before deploydb.adopt().',
		i.database_oid, i.system_identifier)
	FROM deploydb.installation i, pg_control_system() s
	WHERE (i.system_identifier, i.database_oid) <> (s.system_identifier, deploydb.own_database_oid())
	ORDER BY i.installed_at
	LIMIT 1
$$;
COMMENT ON FUNCTION deploydb.suspended() IS
	'Monitoring: why nothing is sent from here, or NULL: a copy of a database sends nothing until it is adopted';
REVOKE ALL ON FUNCTION deploydb.suspended() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.suspended() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.adopt()
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF deploydb.suspended() IS NULL THEN
		RETURN false;
	END IF;
	PERFORM deploydb.bury_messages();
	DELETE FROM deploydb.installation;
	PERFORM deploydb.bind_installation();
	PERFORM deploydb.wake_monitor();
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.adopt() IS
	'Monitoring: makes a copy of a database an installation of its own, which sends; false when it is one already';
REVOKE ALL ON FUNCTION deploydb.adopt() FROM PUBLIC;

CREATE FUNCTION deploydb.bind_installation()
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO deploydb.installation (system_identifier, database_oid)
	SELECT s.system_identifier, deploydb.own_database_oid()
	FROM pg_control_system() s
	WHERE NOT EXISTS (SELECT FROM deploydb.installation);
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.bind_installation() IS
	'Monitoring: says that this installation is of this database, where it is of none yet';
REVOKE ALL ON FUNCTION deploydb.bind_installation() FROM PUBLIC;
