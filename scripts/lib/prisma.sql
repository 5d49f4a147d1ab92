-- prisma.sql
--		What "npx prisma migrate deploy" does to a database, as far as the server
--		sees it, for stories that are told where there is no npm:
--		CALL prisma.migrate_deploy();
CREATE EXTENSION deploydb;

CREATE TABLE _prisma_migrations (
	id varchar(36) PRIMARY KEY,
	checksum varchar(64) NOT NULL,
	finished_at timestamptz,
	migration_name varchar(255) NOT NULL,
	logs text,
	rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	applied_steps_count integer NOT NULL DEFAULT 0
);

CREATE SCHEMA prisma;

-- The row first, committed; then the file, whole or not at all; then the row again.
CREATE PROCEDURE prisma.migrate_deploy()
LANGUAGE plpgsql AS $$
DECLARE
	m record;
	run text := gen_random_uuid();
	failure text;
BEGIN
	SELECT * INTO m FROM deploydb.builtin_migrations();
	IF EXISTS (SELECT FROM _prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL) THEN
		RAISE EXCEPTION 'P3009: a migration has failed in this database, so none is applied';
	ELSIF EXISTS (SELECT FROM _prisma_migrations WHERE rolled_back_at IS NULL) THEN
		RETURN;
	END IF;
	INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES (run, m.checksum, m.migration);
	COMMIT;
	BEGIN
		EXECUTE m.ddl;
		UPDATE _prisma_migrations SET finished_at = clock_timestamp(), applied_steps_count = 1 WHERE id = run;
	EXCEPTION WHEN OTHERS THEN
		failure := SQLERRM;
		UPDATE _prisma_migrations SET logs = failure WHERE id = run;
	END;
	COMMIT;
	IF failure IS NOT NULL THEN
		RAISE EXCEPTION 'P3018: a migration failed to apply: %', failure;
	END IF;
END $$;
