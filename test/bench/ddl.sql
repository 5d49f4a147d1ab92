-- ddl.sql
--		CREATE and DROP of a table that nobody watches, beside a migration of 200
--		tables, whose facts are looked through; and without the event triggers.
\ir measure.psql

SELECT deploydb.register_migration('20260101000000_make_many', string_agg(format(
	'CREATE TABLE many_%s (id text PRIMARY KEY, owner_id text NOT NULL, kind integer NOT NULL DEFAULT 0, payload jsonb, hash text UNIQUE, created_at timestamp(3) NOT NULL)',
	n), '; ')) FROM generate_series(1, 200) AS n \g /dev/null

SET session_replication_role = replica;
SELECT measure('CREATE TABLE another (id int); DROP TABLE another', 200) AS without \gset
RESET session_replication_role;
SELECT 'CREATE, DROP TABLE of another', measure('CREATE TABLE another (id int); DROP TABLE another', 200), 'ms', 'without noting changes', :without;
