-- One change to the migrated table at a time: what is reported is exactly
-- that change, and the fixes of the report, in their order, mend it.
\set ON_ERROR_STOP 1
\set QUIET 1
\pset format unaligned
\pset tuples_only on
\pset pager off
SET client_min_messages = error;

CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SELECT ddl FROM deploydb.builtin_migrations() \gexec

-- What the changes below need beside the table.
CREATE TABLE other (id text PRIMARY KEY);
CREATE TABLE parent (id text);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FOREIGN DATA WRAPPER dummy;
CREATE SERVER nowhere FOREIGN DATA WRAPPER dummy;

\ir check_change.psql

SELECT no_plan();

SELECT is(deploydb_verify_migration(), true, 'a clean migration verifies');
SELECT is_empty($$SELECT * FROM deploydb.migration_report() WHERE status <> 'ok'$$, 'and has no deviation');

-- The table
SELECT check_change('table dropped', true, 'DROP TABLE decision_insights',
	'missing error table decision_insights exists');
SELECT check_change('table renamed', true, 'ALTER TABLE decision_insights RENAME TO gone; ALTER INDEX decision_insights_pkey RENAME TO a; ALTER INDEX decision_insights_decision_id_key RENAME TO b; ALTER INDEX decision_insights_created_at_idx RENAME TO c; ALTER INDEX decision_insights_feature_vector_hash_idx RENAME TO d; ALTER INDEX decision_insights_user_id_decision_id_idx RENAME TO e',
	'missing error table decision_insights exists');
SELECT check_change('table in another schema', false, 'CREATE SCHEMA elsewhere; ALTER TABLE decision_insights SET SCHEMA elsewhere',
	'missing error table decision_insights exists');
SELECT check_change('a view in its place', false, 'DROP TABLE decision_insights; CREATE VIEW decision_insights AS SELECT 1 AS id',
	'different error table decision_insights kind');
SELECT check_change('a materialized view in its place', false, 'DROP TABLE decision_insights; CREATE MATERIALIZED VIEW decision_insights AS SELECT 1 AS id',
	'different error table decision_insights kind');
SELECT check_change('a sequence in its place', false, 'DROP TABLE decision_insights; CREATE SEQUENCE decision_insights',
	'different error table decision_insights kind');
SELECT check_change('an index in its place', false, 'DROP TABLE decision_insights; CREATE INDEX decision_insights ON other (id)',
	'different error table decision_insights kind');
SELECT check_change('a type in its place', false, 'DROP TABLE decision_insights; CREATE TYPE decision_insights AS (id text)',
	'different error table decision_insights kind');
SELECT check_change('unlogged', true, 'ALTER TABLE decision_insights SET UNLOGGED',
	'different error table decision_insights persistence');
SELECT check_change('row security on', true, 'ALTER TABLE decision_insights ENABLE ROW LEVEL SECURITY',
	'different error table decision_insights row_security');
SELECT check_change('row security forced', true, 'ALTER TABLE decision_insights ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
	'different error table decision_insights row_security');
SELECT check_harmless('a policy, row security off', 'CREATE POLICY p ON decision_insights USING (true)',
	'unexpected warning policy decision_insights.p exists');
SELECT check_change('a policy, row security on', true, 'CREATE POLICY p ON decision_insights FOR SELECT TO PUBLIC USING (user_id = current_user); ALTER TABLE decision_insights ENABLE ROW LEVEL SECURITY',
	'different error table decision_insights row_security', 'unexpected warning policy decision_insights.p exists');
SELECT check_harmless('replica identity full', 'ALTER TABLE decision_insights REPLICA IDENTITY FULL',
	'different info table decision_insights replica_identity');
SELECT check_harmless('replica identity nothing', 'ALTER TABLE decision_insights REPLICA IDENTITY NOTHING',
	'different info table decision_insights replica_identity');
SELECT check_harmless('replica identity by index', 'ALTER TABLE decision_insights REPLICA IDENTITY USING INDEX decision_insights_decision_id_key',
	'different info table decision_insights replica_identity');
SELECT check_harmless('inherits', 'ALTER TABLE decision_insights INHERIT parent',
	'different info table decision_insights inherits');
SELECT check_harmless('table comment gone', 'COMMENT ON TABLE decision_insights IS NULL',
	'different warning table decision_insights comment');
SELECT check_harmless('table comment changed', $$COMMENT ON TABLE decision_insights IS 'AMAS决策洞察表'$$,
	'different warning table decision_insights comment');
SELECT check_harmless('access method', $$CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler; ALTER TABLE decision_insights SET ACCESS METHOD heap2$$,
	'different info table decision_insights access_method');

-- Columns
SELECT check_change('column dropped', true, 'ALTER TABLE decision_insights DROP COLUMN updated_at',
	'missing error column decision_insights.updated_at exists');
SELECT check_change('column with indexes dropped', true, 'ALTER TABLE decision_insights DROP COLUMN user_id',
	'missing error column decision_insights.user_id exists',
	'missing error index decision_insights_user_id_decision_id_idx exists');
SELECT check_change('column renamed', true, 'ALTER TABLE decision_insights RENAME COLUMN updated_at TO changed_at',
	'missing error column decision_insights.updated_at exists',
	'unexpected error column decision_insights.changed_at exists');
SELECT check_harmless('column added', 'ALTER TABLE decision_insights ADD COLUMN more text',
	'unexpected info column decision_insights.more exists');
SELECT check_change('column added that must be filled in', true, 'ALTER TABLE decision_insights ADD COLUMN more text NOT NULL',
	'unexpected error column decision_insights.more exists');
SELECT check_harmless('column added, NOT NULL with default', $$ALTER TABLE decision_insights ADD COLUMN more text NOT NULL DEFAULT ''$$,
	'unexpected info column decision_insights.more exists');
SELECT check_harmless('identity column added', 'ALTER TABLE decision_insights ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY',
	'unexpected info column decision_insights.n exists');
SELECT check_change('text[] became text', true, $$ALTER TABLE decision_insights ALTER triggers DROP DEFAULT, ALTER triggers TYPE text USING triggers::text$$,
	'different error column decision_insights.triggers default',
	'different error column decision_insights.triggers type');
SELECT check_change('jsonb became json', true, 'ALTER TABLE decision_insights ALTER state_snapshot TYPE json USING state_snapshot::json',
	'different error column decision_insights.state_snapshot type');
SELECT check_change('text became varchar', true, 'ALTER TABLE decision_insights ALTER user_id TYPE varchar(36)',
	'different error column decision_insights.user_id type');
SELECT check_change('timestamp lost its precision', true, 'ALTER TABLE decision_insights ALTER created_at TYPE timestamp',
	'different error column decision_insights.created_at type');
SELECT check_change('timestamp got a time zone', true, 'ALTER TABLE decision_insights ALTER updated_at TYPE timestamptz(3)',
	'different error column decision_insights.updated_at type');
SELECT check_change('another precision', true, 'ALTER TABLE decision_insights ALTER updated_at TYPE timestamp(6)',
	'different error column decision_insights.updated_at type');
SELECT check_change('NOT NULL dropped', true, 'ALTER TABLE decision_insights ALTER user_id DROP NOT NULL',
	'different error column decision_insights.user_id not_null');
SELECT check_change('NOT NULL added', true, 'ALTER TABLE decision_insights ALTER triggers SET NOT NULL',
	'different error column decision_insights.triggers not_null');
SELECT check_change('default dropped', true, 'ALTER TABLE decision_insights ALTER created_at DROP DEFAULT',
	'different error column decision_insights.created_at default');
SELECT check_change('default changed', true, 'ALTER TABLE decision_insights ALTER created_at SET DEFAULT clock_timestamp()',
	'different error column decision_insights.created_at default');
SELECT check_change('default of the array changed', true, $$ALTER TABLE decision_insights ALTER triggers SET DEFAULT ARRAY['x']::text[]$$,
	'different error column decision_insights.triggers default');
SELECT check_change('default added', true, 'ALTER TABLE decision_insights ALTER updated_at SET DEFAULT CURRENT_TIMESTAMP',
	'different error column decision_insights.updated_at default');
SELECT check_change('generated column', false, $$ALTER TABLE decision_insights DROP COLUMN feature_vector_hash; ALTER TABLE decision_insights ADD COLUMN feature_vector_hash text NOT NULL GENERATED ALWAYS AS (md5(user_id)) STORED; CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (feature_vector_hash); COMMENT ON COLUMN decision_insights.feature_vector_hash IS 'SHA-256哈希（前16字符），用于状态去重'; ALTER TABLE decision_insights ALTER created_at SET NOT NULL$$,
	'different error column decision_insights.feature_vector_hash generated',
	'different info column decision_insights.created_at position',
	'different info column decision_insights.feature_vector_hash position',
	'different info column decision_insights.updated_at position');
SELECT check_change('collation', true, 'ALTER TABLE decision_insights ALTER feature_vector_hash TYPE text COLLATE "C"',
	'different error column decision_insights.feature_vector_hash collation');
SELECT check_harmless('column comment gone', 'COMMENT ON COLUMN decision_insights.state_snapshot IS NULL',
	'different warning column decision_insights.state_snapshot comment');
SELECT check_harmless('column comment added', $$COMMENT ON COLUMN decision_insights.id IS 'cuid2'$$,
	'different warning column decision_insights.id comment');
SELECT check_harmless('last column moved before another', 'ALTER TABLE decision_insights DROP COLUMN created_at; ALTER TABLE decision_insights ADD COLUMN created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP; CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at)',
	'different info column decision_insights.created_at position',
	'different info column decision_insights.updated_at position');

-- Constraints
SELECT check_change('primary key dropped', true, 'ALTER TABLE decision_insights DROP CONSTRAINT decision_insights_pkey',
	'missing error constraint decision_insights.decision_insights_pkey exists');
SELECT check_change('primary key over another column', true, 'ALTER TABLE decision_insights DROP CONSTRAINT decision_insights_pkey, ADD CONSTRAINT decision_insights_pkey PRIMARY KEY (decision_id)',
	'different error constraint decision_insights.decision_insights_pkey columns',
	'different error constraint decision_insights.decision_insights_pkey definition',
	'different error index decision_insights_pkey columns');
SELECT check_change('primary key deferrable', true, 'ALTER TABLE decision_insights DROP CONSTRAINT decision_insights_pkey, ADD CONSTRAINT decision_insights_pkey PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED',
	'different error constraint decision_insights.decision_insights_pkey deferrable');
SELECT check_change('primary key renamed', true, 'ALTER TABLE decision_insights RENAME CONSTRAINT decision_insights_pkey TO pk',
	'missing error constraint decision_insights.decision_insights_pkey exists',
	'unexpected error constraint decision_insights.pk exists');
SELECT check_change('check added', true, $$ALTER TABLE decision_insights ADD CONSTRAINT c CHECK (user_id <> '')$$,
	'unexpected error constraint decision_insights.c exists');
SELECT check_change('check added, not valid', true, $$ALTER TABLE decision_insights ADD CONSTRAINT c CHECK (user_id <> '') NOT VALID$$,
	'unexpected error constraint decision_insights.c exists');
SELECT check_change('foreign key added', true, 'ALTER TABLE decision_insights ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES other (id)',
	'unexpected error constraint decision_insights.fk exists');
SELECT check_change('unique constraint added', true, 'ALTER TABLE decision_insights ADD CONSTRAINT u UNIQUE (user_id)',
	'unexpected error constraint decision_insights.u exists');
SELECT check_change('exclusion constraint added', true, 'ALTER TABLE decision_insights ADD CONSTRAINT x EXCLUDE USING btree (user_id WITH =)',
	'unexpected error constraint decision_insights.x exists');
SELECT check_harmless('a unique constraint in place of the unique index', 'DROP INDEX decision_insights_decision_id_key; ALTER TABLE decision_insights ADD CONSTRAINT decision_insights_decision_id_key UNIQUE (decision_id)',
	'different warning index decision_insights_decision_id_key constraint');
SELECT check_harmless('the unique index made a constraint', 'ALTER TABLE decision_insights ADD CONSTRAINT decision_insights_decision_id_key UNIQUE USING INDEX decision_insights_decision_id_key',
	'different warning index decision_insights_decision_id_key constraint');
SELECT check_change('a deferrable unique constraint in its place', true, 'DROP INDEX decision_insights_decision_id_key; ALTER TABLE decision_insights ADD CONSTRAINT decision_insights_decision_id_key UNIQUE (decision_id) DEFERRABLE',
	'different warning index decision_insights_decision_id_key constraint',
	'unexpected error constraint decision_insights.decision_insights_decision_id_key exists');

-- Indexes
SELECT check_change('unique index dropped', true, 'DROP INDEX decision_insights_decision_id_key',
	'missing error index decision_insights_decision_id_key exists');
SELECT check_change('index dropped', true, 'DROP INDEX decision_insights_created_at_idx',
	'missing error index decision_insights_created_at_idx exists');
SELECT check_harmless('index renamed', 'ALTER INDEX decision_insights_created_at_idx RENAME TO by_time',
	'different warning index decision_insights_created_at_idx name');
SELECT check_harmless('an equivalent constraint of another name', 'DROP INDEX decision_insights_decision_id_key; ALTER TABLE decision_insights ADD CONSTRAINT one_each UNIQUE (decision_id)',
	'different warning index decision_insights_decision_id_key name');
SELECT check_change('index not unique', true, 'DROP INDEX decision_insights_decision_id_key; CREATE INDEX decision_insights_decision_id_key ON decision_insights (decision_id)',
	'different error index decision_insights_decision_id_key unique');
SELECT check_change('index over another column', true, 'DROP INDEX decision_insights_created_at_idx; CREATE INDEX decision_insights_created_at_idx ON decision_insights (updated_at)',
	'different error index decision_insights_created_at_idx columns');
SELECT check_change('columns in another order', true, 'DROP INDEX decision_insights_user_id_decision_id_idx; CREATE INDEX decision_insights_user_id_decision_id_idx ON decision_insights (decision_id, user_id)',
	'different error index decision_insights_user_id_decision_id_idx columns');
SELECT check_change('a column fewer', true, 'DROP INDEX decision_insights_user_id_decision_id_idx; CREATE INDEX decision_insights_user_id_decision_id_idx ON decision_insights (user_id)',
	'different error index decision_insights_user_id_decision_id_idx columns');
SELECT check_change('descending', true, 'DROP INDEX decision_insights_created_at_idx; CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at DESC)',
	'different error index decision_insights_created_at_idx columns');
SELECT check_change('nulls first', true, 'DROP INDEX decision_insights_created_at_idx; CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at NULLS FIRST)',
	'different error index decision_insights_created_at_idx columns');
SELECT check_change('another opclass', true, 'DROP INDEX decision_insights_feature_vector_hash_idx; CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (feature_vector_hash text_pattern_ops)',
	'different error index decision_insights_feature_vector_hash_idx columns');
SELECT check_change('another collation', true, 'DROP INDEX decision_insights_feature_vector_hash_idx; CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (feature_vector_hash COLLATE "C")',
	'different error index decision_insights_feature_vector_hash_idx columns');
SELECT check_change('an expression', true, 'DROP INDEX decision_insights_feature_vector_hash_idx; CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (lower(feature_vector_hash))',
	'different error index decision_insights_feature_vector_hash_idx columns');
SELECT check_change('another method', true, 'DROP INDEX decision_insights_feature_vector_hash_idx; CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights USING hash (feature_vector_hash)',
	'different error index decision_insights_feature_vector_hash_idx method');
SELECT check_change('partial', true, $$DROP INDEX decision_insights_created_at_idx; CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at) WHERE user_id <> ''$$,
	'different error index decision_insights_created_at_idx predicate');
SELECT check_change('with included columns', true, 'DROP INDEX decision_insights_created_at_idx; CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at) INCLUDE (user_id)',
	'different error index decision_insights_created_at_idx include');
SELECT check_change('nulls not distinct', true, 'DROP INDEX decision_insights_decision_id_key; CREATE UNIQUE INDEX decision_insights_decision_id_key ON decision_insights (decision_id) NULLS NOT DISTINCT',
	'different error index decision_insights_decision_id_key nulls_not_distinct');
SELECT check_change('index of that name on another table', false, 'DROP INDEX decision_insights_created_at_idx; CREATE INDEX decision_insights_created_at_idx ON other (id)',
	'missing error index decision_insights_created_at_idx exists');
SELECT check_change('INVALID', true, $$UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'decision_insights_created_at_idx'::regclass$$,
	'different error index decision_insights_created_at_idx valid');
SELECT check_change('INVALID and not ready', true, $$UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = 'decision_insights_created_at_idx'::regclass$$,
	'different error index decision_insights_created_at_idx ready',
	'different error index decision_insights_created_at_idx valid');
SELECT check_harmless('index added', 'CREATE INDEX more ON decision_insights (updated_at)',
	'unexpected warning index more exists');
SELECT check_change('unique index added', true, 'CREATE UNIQUE INDEX more ON decision_insights (user_id)',
	'unexpected error index more exists');
SELECT check_harmless('index comment', $$COMMENT ON INDEX decision_insights_created_at_idx IS 'by time'$$,
	'different warning index decision_insights_created_at_idx comment');

-- What acts on writes
SELECT check_change('trigger before insert', true, 'CREATE TRIGGER tr BEFORE INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION nothing()',
	'unexpected error trigger decision_insights.tr exists');
SELECT check_change('trigger, always', true, 'CREATE TRIGGER tr AFTER UPDATE ON decision_insights FOR EACH STATEMENT EXECUTE FUNCTION nothing(); ALTER TABLE decision_insights ENABLE ALWAYS TRIGGER tr',
	'unexpected error trigger decision_insights.tr exists');
SELECT check_harmless('trigger, disabled', 'CREATE TRIGGER tr BEFORE INSERT ON decision_insights FOR EACH ROW EXECUTE FUNCTION nothing(); ALTER TABLE decision_insights DISABLE TRIGGER tr',
	'unexpected info trigger decision_insights.tr exists');
SELECT check_change('rule', true, 'CREATE RULE r AS ON INSERT TO decision_insights DO INSTEAD NOTHING',
	'unexpected error rule decision_insights.r exists');
SELECT check_change('rule with a condition', true, $$CREATE RULE r AS ON DELETE TO decision_insights WHERE old.user_id = '' DO INSTEAD NOTHING$$,
	'unexpected error rule decision_insights.r exists');

-- Partitioned and foreign tables of that name
SELECT check_change('partitioned', false, $$DROP TABLE decision_insights; CREATE TABLE decision_insights (id text NOT NULL, decision_id text NOT NULL, user_id text NOT NULL, state_snapshot jsonb NOT NULL, difficulty_factors jsonb NOT NULL, triggers text[] DEFAULT ARRAY[]::text[], feature_vector_hash text NOT NULL, created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at timestamp(3) NOT NULL) PARTITION BY RANGE (created_at)$$,
	'different error table decision_insights kind',
	'different error table decision_insights partition_by',
	'different info table decision_insights access_method',
	'different warning column decision_insights.difficulty_factors comment',
	'different warning column decision_insights.feature_vector_hash comment',
	'different warning column decision_insights.state_snapshot comment',
	'different warning table decision_insights comment',
	'missing error constraint decision_insights.decision_insights_pkey exists',
	'missing error index decision_insights_created_at_idx exists',
	'missing error index decision_insights_decision_id_key exists',
	'missing error index decision_insights_feature_vector_hash_idx exists',
	'missing error index decision_insights_user_id_decision_id_idx exists');
SELECT check_change('a partition', false, $$ALTER TABLE decision_insights RENAME TO saved; CREATE TABLE whole (LIKE saved INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY LIST (user_id); DROP TABLE saved; CREATE TABLE decision_insights PARTITION OF whole DEFAULT; ALTER TABLE decision_insights ADD PRIMARY KEY (id); CREATE UNIQUE INDEX decision_insights_decision_id_key ON decision_insights (decision_id); CREATE INDEX decision_insights_user_id_decision_id_idx ON decision_insights (user_id, decision_id); CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (feature_vector_hash); CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at)$$,
	'different error table decision_insights partition_of',
	'different warning column decision_insights.difficulty_factors comment',
	'different warning column decision_insights.feature_vector_hash comment',
	'different warning column decision_insights.state_snapshot comment',
	'different warning table decision_insights comment');
SELECT check_change('foreign table', false, $$DROP TABLE decision_insights; CREATE FOREIGN TABLE decision_insights (id text NOT NULL, decision_id text NOT NULL, user_id text NOT NULL, state_snapshot jsonb NOT NULL, difficulty_factors jsonb NOT NULL, triggers text[] DEFAULT ARRAY[]::text[], feature_vector_hash text NOT NULL, created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at timestamp(3) NOT NULL) SERVER nowhere$$,
	'different error table decision_insights kind',
	'different error table decision_insights server',
	'different info table decision_insights access_method',
	'different info table decision_insights replica_identity',
	'different warning column decision_insights.difficulty_factors comment',
	'different warning column decision_insights.feature_vector_hash comment',
	'different warning column decision_insights.state_snapshot comment',
	'different warning table decision_insights comment',
	'missing error constraint decision_insights.decision_insights_pkey exists',
	'missing error index decision_insights_created_at_idx exists',
	'missing error index decision_insights_decision_id_key exists',
	'missing error index decision_insights_feature_vector_hash_idx exists',
	'missing error index decision_insights_user_id_decision_id_idx exists');

SELECT is(deploydb_verify_migration(), true, 'after all of it the table is as it was');
SELECT * FROM finish();
