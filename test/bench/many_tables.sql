-- One migration beside 10,000 tables that it has nothing to do with.
\ir measure.psql

SELECT measure('SELECT deploydb_verify_migration()') AS alone \gset

CREATE SCHEMA other;
CREATE PROCEDURE make_tables(n integer) LANGUAGE plpgsql
AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		EXECUTE format('CREATE TABLE %s.t%s (id integer PRIMARY KEY, v text)',
			CASE WHEN i % 2 = 0 THEN 'other' ELSE 'public' END, i);
		IF i % 500 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
CALL make_tables(10000);
VACUUM ANALYZE;
\connect
SET client_min_messages = warning;

SELECT 'verify, 10,000 other tables', measure('SELECT deploydb_verify_migration()'), 'ms', 'without them', :alone;
