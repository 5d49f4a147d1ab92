-- As many migrations as the whole application has tables: 30 of 9 columns and
-- 4 indexes each, beside the built-in one.
\ir measure.psql

SELECT measure('SELECT deploydb_verify_migration()') AS one \gset

CREATE TEMP TABLE made AS
SELECT format('202601010000%s_make_bench_%s', to_char(n, 'FM00'), n) AS migration,
	format($ddl$
CREATE TABLE bench_%1$s (
	id text NOT NULL,
	owner_id text NOT NULL,
	kind integer NOT NULL DEFAULT 0,
	payload jsonb NOT NULL,
	words text[] DEFAULT ARRAY[]::text[],
	hash text,
	score double precision NOT NULL DEFAULT 0.5,
	created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
	updated_at timestamp(3) NOT NULL,
	CONSTRAINT bench_%1$s_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX bench_%1$s_hash_key ON bench_%1$s (hash);
CREATE INDEX bench_%1$s_owner_id_kind_idx ON bench_%1$s (owner_id, kind);
CREATE INDEX bench_%1$s_created_at_idx ON bench_%1$s (created_at);
$ddl$, n) AS ddl
FROM generate_series(1, 30) AS n;
SELECT ddl FROM made ORDER BY migration \gexec
SELECT count(deploydb.register_migration(migration, ddl)) FROM made \g /dev/null
INSERT INTO _prisma_migrations (migration_name, checksum, finished_at, applied_steps_count)
SELECT migration, encode(sha256(convert_to(ddl, 'UTF8')), 'hex'), now(), 1 FROM made;
SELECT must_be_clean() \g /dev/null

SELECT 'verify, 30 more migrations', measure('SELECT deploydb_verify_migration()'), 'ms', 'one migration', :one;
