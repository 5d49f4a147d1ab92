-- One change at a time to what a migration makes beside plain tables and
-- their indexes, and to the row of Prisma's ledger: what is reported is exactly
-- that change, and the fixes of the report, in their order, mend it.
\set ON_ERROR_STOP 1
\set QUIET 1
\pset format unaligned
\pset tuples_only on
\pset pager off
SET client_min_messages = error;

CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;

\ir check_change.psql

SELECT no_plan();

-- Prisma's ledger, over a table that is there
SELECT ddl FROM deploydb.builtin_migrations() \gexec
CREATE TABLE _prisma_migrations (
	id varchar(36) PRIMARY KEY,
	checksum varchar(64) NOT NULL,
	finished_at timestamptz,
	migration_name varchar(255) NOT NULL,
	logs text,
	rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations
	SELECT '1', checksum, now(), migration, NULL, NULL, now(), 1
	FROM deploydb.builtin_migrations();
SELECT is_empty($$SELECT * FROM deploydb.migration_report() WHERE status <> 'ok'$$, 'applied by Prisma: no deviation');
SELECT check_change('failed', false, 'UPDATE _prisma_migrations SET finished_at = NULL, applied_steps_count = 0',
	'different error ledger 20251203071615_add_decision_insights state');
SELECT check_change('rolled back', false, 'UPDATE _prisma_migrations SET finished_at = NULL, rolled_back_at = now()',
	'different error ledger 20251203071615_add_decision_insights state');
SELECT check_change('failed, without a table', false, 'UPDATE _prisma_migrations SET finished_at = NULL, applied_steps_count = 0; DROP TABLE decision_insights',
	'different warning ledger 20251203071615_add_decision_insights state',
	'missing error table decision_insights exists');
SELECT check_harmless('claimed', 'UPDATE _prisma_migrations SET applied_steps_count = 0',
	'different warning ledger 20251203071615_add_decision_insights state');
SELECT check_harmless('absent', 'DELETE FROM _prisma_migrations',
	'different warning ledger 20251203071615_add_decision_insights state');
SELECT check_harmless('another checksum', 'UPDATE _prisma_migrations SET checksum = repeat(''0'', 64)',
	'different warning ledger 20251203071615_add_decision_insights checksum');
SELECT check_harmless('claimed with another checksum', 'UPDATE _prisma_migrations SET checksum = repeat(''0'', 64), applied_steps_count = 0',
	'different warning ledger 20251203071615_add_decision_insights checksum',
	'different warning ledger 20251203071615_add_decision_insights state');
DROP TABLE _prisma_migrations, decision_insights;

-- Every other kind of object
SELECT deploydb.forget_migration('add_decision_insights') AS forgotten \gset
CREATE TABLE source AS SELECT $ddl$
CREATE TYPE mood AS ENUM ('good', 'middling', 'bad');
CREATE DOMAIN short AS text DEFAULT 'x' NOT NULL CONSTRAINT is_short CHECK (length(VALUE) < 9);
CREATE TYPE pair AS (a integer, b text);
CREATE SEQUENCE ticket AS integer START 5 INCREMENT 2 CACHE 3 MAXVALUE 1000;
CREATE TABLE visitor (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	n serial,
	mood mood NOT NULL DEFAULT 'good',
	name short,
	size integer,
	twice integer GENERATED ALWAYS AS (size * 2) STORED,
	at pair,
	CONSTRAINT sized CHECK (size > 0),
	CONSTRAINT named UNIQUE (name, mood));
CREATE TABLE visit (
	visitor integer,
	during int4range,
	CONSTRAINT visit_visitor_fkey FOREIGN KEY (visitor) REFERENCES visitor (id) ON DELETE CASCADE,
	CONSTRAINT no_two EXCLUDE USING gist (during WITH &&));
CREATE TABLE log (id integer, day date) PARTITION BY RANGE (day);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX log_id_idx ON log (id);
CREATE VIEW happy WITH (security_barrier = true) AS SELECT id, name FROM visitor WHERE mood = 'good';
CREATE MATERIALIZED VIEW sizes AS SELECT size, count(*) AS many FROM visitor GROUP BY size;
CREATE UNIQUE INDEX sizes_size_idx ON sizes (size);
CREATE FUNCTION twice(n integer, times integer DEFAULT 2) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT n * times';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION "it's ""(hard"" (" (n integer) RETURNS integer LANGUAGE sql AS 'SELECT n';
CREATE PROCEDURE tidy() LANGUAGE sql AS 'SELECT 1';
CREATE TRIGGER touched BEFORE UPDATE OF size ON visitor FOR EACH ROW WHEN (NEW.size > 1) EXECUTE FUNCTION touch();
CREATE RULE kept AS ON DELETE TO visit DO INSTEAD NOTHING;
ALTER TABLE visitor ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON visitor FOR SELECT USING (size > 0);
COMMENT ON TYPE mood IS 'how they feel';
COMMENT ON CONSTRAINT sized ON visitor IS 'positive';
$ddl$ AS ddl;
SELECT deploydb.register_migration('other', ddl) AS facts FROM source \gset
SELECT ddl FROM source \gexec
SELECT is(deploydb_verify_migration(), true, 'clean, all kinds of objects verify');

-- Enums
SELECT check_change('label added', false, $$ALTER TYPE mood ADD VALUE 'worse'$$,
	'different error enum mood labels');
SELECT check_change('label renamed', false, $$ALTER TYPE mood RENAME VALUE 'bad' TO 'worst'$$,
	'different error enum mood labels');
SELECT check_change('labels in another order', false, $$UPDATE pg_enum SET enumsortorder = -1 WHERE enumlabel = 'bad'$$,
	'different error enum mood labels');
SELECT check_change('last label missing', true, $$DELETE FROM pg_enum WHERE enumlabel = 'bad'$$,
	'different error enum mood labels');
SELECT check_change('middle label missing', true, $$DELETE FROM pg_enum WHERE enumlabel = 'middling'$$,
	'different error enum mood labels');
SELECT check_harmless('enum comment', 'COMMENT ON TYPE mood IS NULL',
	'different warning enum mood comment');
SELECT check_change('enum and what is of it dropped', true, 'DROP TYPE mood CASCADE',
	'missing error column visitor.mood exists',
	'missing error constraint visitor.named exists',
	'missing error enum mood exists',
	'missing error view happy exists');

-- Domains and composite types
SELECT check_change('domain default dropped', true, 'ALTER DOMAIN short DROP DEFAULT',
	'different error domain short default');
SELECT check_change('domain default changed', true, $$ALTER DOMAIN short SET DEFAULT 'y'$$,
	'different error domain short default');
SELECT check_change('domain NOT NULL dropped', true, 'ALTER DOMAIN short DROP NOT NULL',
	'different error domain short not_null');
SELECT check_change('domain check dropped', true, 'ALTER DOMAIN short DROP CONSTRAINT is_short',
	'different error domain short checks');
SELECT check_change('domain check changed', true, 'ALTER DOMAIN short DROP CONSTRAINT is_short; ALTER DOMAIN short ADD CONSTRAINT is_short CHECK (length(VALUE) < 10)',
	'different error domain short checks');
SELECT check_change('domain check added', true, $$ALTER DOMAIN short ADD CONSTRAINT more CHECK (VALUE <> '')$$,
	'different error domain short checks');
SELECT check_harmless('domain comment', $$COMMENT ON DOMAIN short IS 'x'$$,
	'different warning domain short comment');
SELECT check_change('attribute added', false, 'ALTER TYPE pair ADD ATTRIBUTE c integer',
	'different error composite type pair columns');
SELECT check_change('attribute dropped', true, 'ALTER TYPE pair DROP ATTRIBUTE b',
	'different error composite type pair columns');
SELECT check_change('attribute renamed', false, 'ALTER TYPE pair RENAME ATTRIBUTE b TO c',
	'different error composite type pair columns');

-- Sequences, serial and identity columns
SELECT check_change('sequence dropped', true, 'DROP SEQUENCE ticket',
	'missing error sequence ticket exists');
SELECT check_change('increment', true, 'ALTER SEQUENCE ticket INCREMENT 1',
	'different error sequence ticket increment');
SELECT check_change('start', true, 'ALTER SEQUENCE ticket START 1',
	'different error sequence ticket start');
SELECT check_change('maximum', true, 'ALTER SEQUENCE ticket MAXVALUE 2000',
	'different error sequence ticket max');
SELECT check_change('minimum', true, 'ALTER SEQUENCE ticket MINVALUE 3',
	'different error sequence ticket min');
SELECT check_change('cycle', true, 'ALTER SEQUENCE ticket CYCLE',
	'different error sequence ticket cycle');
SELECT check_harmless('cache', 'ALTER SEQUENCE ticket CACHE 1',
	'different info sequence ticket cache');
SELECT check_change('type of a sequence', true, 'ALTER SEQUENCE ticket AS bigint',
	'different error sequence ticket type');
SELECT check_harmless('sequence owned', 'ALTER SEQUENCE ticket OWNED BY visit.visitor',
	'different info sequence ticket owned_by');
SELECT check_harmless('sequence of a serial column owned by none', 'ALTER SEQUENCE visitor_n_seq OWNED BY NONE',
	'different info sequence visitor_n_seq owned_by');
SELECT check_change('sequence of a serial column dropped', true, 'DROP SEQUENCE visitor_n_seq CASCADE',
	'different error column visitor.n default',
	'missing error sequence visitor_n_seq exists');
SELECT check_change('identity dropped', true, 'ALTER TABLE visitor ALTER id DROP IDENTITY',
	'different error column visitor.id identity');
SELECT check_change('identity by default', true, 'ALTER TABLE visitor ALTER id SET GENERATED BY DEFAULT',
	'different error column visitor.id identity');
SELECT check_change('generation dropped', false, 'ALTER TABLE visitor ALTER twice DROP EXPRESSION',
	'different error column visitor.twice generated');

-- Constraints
SELECT check_change('check dropped', true, 'ALTER TABLE visitor DROP CONSTRAINT sized',
	'missing error constraint visitor.sized exists');
SELECT check_change('check changed', true, $$ALTER TABLE visitor DROP CONSTRAINT sized, ADD CONSTRAINT sized CHECK (size > 1); COMMENT ON CONSTRAINT sized ON visitor IS 'positive'$$,
	'different error constraint visitor.sized definition');
SELECT check_change('check not valid', true, $$ALTER TABLE visitor DROP CONSTRAINT sized, ADD CONSTRAINT sized CHECK (size > 0) NOT VALID; COMMENT ON CONSTRAINT sized ON visitor IS 'positive'$$,
	'different error constraint visitor.sized validated');
SELECT check_harmless('constraint comment', $$COMMENT ON CONSTRAINT sized ON visitor IS 'x'$$,
	'different warning constraint visitor.sized comment');
SELECT check_change('unique constraint dropped', true, 'ALTER TABLE visitor DROP CONSTRAINT named',
	'missing error constraint visitor.named exists');
SELECT check_change('unique constraint over other columns', true, 'ALTER TABLE visitor DROP CONSTRAINT named, ADD CONSTRAINT named UNIQUE (mood, name)',
	'different error constraint visitor.named columns',
	'different error constraint visitor.named definition',
	'different error index named columns');
SELECT check_change('unique constraint deferrable', true, 'ALTER TABLE visitor DROP CONSTRAINT named, ADD CONSTRAINT named UNIQUE (name, mood) DEFERRABLE',
	'different error constraint visitor.named deferrable');
SELECT check_change('unique index in place of the constraint', true, 'ALTER TABLE visitor DROP CONSTRAINT named; CREATE UNIQUE INDEX named ON visitor (name, mood)',
	'different warning index named constraint',
	'missing error constraint visitor.named exists');
SELECT check_change('foreign key dropped', true, 'ALTER TABLE visit DROP CONSTRAINT visit_visitor_fkey',
	'missing error constraint visit.visit_visitor_fkey exists');
SELECT check_change('foreign key without its action', true, 'ALTER TABLE visit DROP CONSTRAINT visit_visitor_fkey, ADD CONSTRAINT visit_visitor_fkey FOREIGN KEY (visitor) REFERENCES visitor (id)',
	'different error constraint visit.visit_visitor_fkey definition');
SELECT check_change('foreign key not valid', true, 'ALTER TABLE visit DROP CONSTRAINT visit_visitor_fkey, ADD CONSTRAINT visit_visitor_fkey FOREIGN KEY (visitor) REFERENCES visitor (id) ON DELETE CASCADE NOT VALID',
	'different error constraint visit.visit_visitor_fkey validated');
SELECT check_change('foreign key deferred', true, 'ALTER TABLE visit ALTER CONSTRAINT visit_visitor_fkey DEFERRABLE INITIALLY DEFERRED',
	'different error constraint visit.visit_visitor_fkey deferrable');
SELECT check_change('exclusion constraint dropped', true, 'ALTER TABLE visit DROP CONSTRAINT no_two',
	'missing error constraint visit.no_two exists');
SELECT check_change('exclusion by another operator', true, 'ALTER TABLE visit DROP CONSTRAINT no_two, ADD CONSTRAINT no_two EXCLUDE USING gist (during WITH =)',
	'different error constraint visit.no_two definition');

-- Partitions
SELECT check_change('partition dropped', true, 'DROP TABLE log_1',
	'missing error table log_1 exists');
SELECT check_change('partition detached', true, 'ALTER TABLE log DETACH PARTITION log_1',
	'different error table log_1 partition_of');
SELECT check_change('partition of other bounds', false, $$ALTER TABLE log DETACH PARTITION log_1; ALTER TABLE log ATTACH PARTITION log_1 FOR VALUES FROM ('2026-01-01') TO ('2028-01-01')$$,
	'different error table log_1 partition_of');
SELECT check_change('index of a partitioned table dropped', true, 'DROP INDEX log_id_idx',
	'missing error index log_1_id_idx exists',
	'missing error index log_id_idx exists');
SELECT check_harmless('another partition', 'CREATE TABLE log_2 PARTITION OF log DEFAULT',
	VARIADIC '{}');

-- Views
SELECT check_change('view dropped', true, 'DROP VIEW happy',
	'missing error view happy exists');
SELECT check_change('view changed', true, $$CREATE OR REPLACE VIEW happy WITH (security_barrier = true) AS SELECT id, name FROM visitor WHERE mood = 'bad'$$,
	'different error view happy definition');
SELECT check_change('view without its option', true, 'ALTER VIEW happy RESET (security_barrier)',
	'different error view happy options');
SELECT check_change('view with another option', true, 'ALTER VIEW happy SET (check_option = local)',
	'different error view happy options');
SELECT check_change('table in place of the view', false, 'DROP VIEW happy; CREATE TABLE happy (id integer, name text)',
	'different error view happy kind');
SELECT check_harmless('view comment', $$COMMENT ON VIEW happy IS 'x'$$,
	'different warning view happy comment');
SELECT check_change('materialized view dropped', true, 'DROP MATERIALIZED VIEW sizes',
	'missing error view sizes exists');
SELECT check_change('index of a materialized view dropped', true, 'DROP INDEX sizes_size_idx',
	'missing error index sizes_size_idx exists');
SELECT check_change('view in place of the materialized view', false, 'DROP MATERIALIZED VIEW sizes; CREATE VIEW sizes AS SELECT size, count(*) AS many FROM visitor GROUP BY size',
	'different error view sizes kind');

-- Functions
SELECT check_change('function dropped', true, 'DROP FUNCTION twice',
	'missing error function twice(integer, integer) exists');
SELECT check_change('body', true, $$CREATE OR REPLACE FUNCTION twice(n integer, times integer DEFAULT 2) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT times * n'$$,
	'different error function twice(integer, integer) body');
SELECT check_change('volatility', true, 'ALTER FUNCTION twice VOLATILE',
	'different error function twice(integer, integer) volatility');
SELECT check_change('strict', true, 'ALTER FUNCTION twice CALLED ON NULL INPUT',
	'different error function twice(integer, integer) strict');
SELECT check_change('security definer', true, 'ALTER FUNCTION twice SECURITY DEFINER',
	'different error function twice(integer, integer) security');
SELECT check_harmless('parallel', 'ALTER FUNCTION twice PARALLEL UNSAFE',
	'different info function twice(integer, integer) parallel');
SELECT check_harmless('default of an argument', $$CREATE OR REPLACE FUNCTION twice(n integer, times integer DEFAULT 3) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT n * times'$$,
	'different info function twice(integer, integer) arguments');
SELECT check_change('language', true, $$CREATE OR REPLACE FUNCTION twice(n integer, times integer DEFAULT 2) RETURNS integer LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS 'BEGIN RETURN n * times; END'$$,
	'different error function twice(integer, integer) body',
	'different error function twice(integer, integer) language');
SELECT check_change('result', false, $$DROP FUNCTION twice; CREATE FUNCTION twice(n integer, times integer DEFAULT 2) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT n * times'$$,
	'different error function twice(integer, integer) result');
SELECT check_change('arguments', true, $$DROP FUNCTION twice; CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT n * 2'$$,
	'missing error function twice(integer, integer) exists');
SELECT check_change('function of a hard name dropped', true, 'DROP FUNCTION "it''s ""(hard"" ("',
	'missing error function "it''s ""(hard"" ("(integer) exists');
SELECT check_change('function of a hard name changed', true, 'ALTER FUNCTION "it''s ""(hard"" (" STRICT',
	'different error function "it''s ""(hard"" ("(integer) strict');
SELECT check_change('settings of a function', true, 'ALTER FUNCTION touch RESET ALL',
	'different error function touch() config');
SELECT check_change('a function in place of the procedure', false, $$DROP PROCEDURE tidy; CREATE FUNCTION tidy() RETURNS integer LANGUAGE sql AS 'SELECT 1'$$,
	'different error function tidy() kind',
	'different error function tidy() result');

-- Triggers, rules, policies
SELECT check_change('trigger dropped', true, 'DROP TRIGGER touched ON visitor',
	'missing error trigger visitor.touched exists');
SELECT check_change('trigger disabled', true, 'ALTER TABLE visitor DISABLE TRIGGER touched',
	'different error trigger visitor.touched enabled');
SELECT check_change('trigger on replicas only', true, 'ALTER TABLE visitor ENABLE REPLICA TRIGGER touched',
	'different error trigger visitor.touched enabled');
SELECT check_change('trigger for another event', true, 'DROP TRIGGER touched ON visitor; CREATE TRIGGER touched BEFORE INSERT ON visitor FOR EACH ROW WHEN (NEW.size > 1) EXECUTE FUNCTION touch()',
	'different error trigger visitor.touched definition');
SELECT check_change('rule dropped', true, 'DROP RULE kept ON visit',
	'missing error rule visit.kept exists');
SELECT check_change('rule disabled', true, 'ALTER TABLE visit DISABLE RULE kept',
	'different error rule visit.kept enabled');
SELECT check_change('rule changed', true, 'CREATE OR REPLACE RULE kept AS ON DELETE TO visit DO ALSO NOTHING',
	'different error rule visit.kept definition');
SELECT check_change('row security off', true, 'ALTER TABLE visitor DISABLE ROW LEVEL SECURITY',
	'different error table visitor row_security');
SELECT check_change('policy dropped', true, 'DROP POLICY seen ON visitor',
	'missing error policy visitor.seen exists');
SELECT check_change('policy for other roles', true, 'ALTER POLICY seen ON visitor TO pg_monitor',
	'different error policy visitor.seen roles');
SELECT check_change('policy of another condition', true, 'ALTER POLICY seen ON visitor USING (true)',
	'different error policy visitor.seen using');
SELECT check_change('policy for another command', false, 'DROP POLICY seen ON visitor; CREATE POLICY seen ON visitor FOR ALL USING (size > 0)',
	'different error policy visitor.seen command');
SELECT check_change('policy restrictive', false, 'DROP POLICY seen ON visitor; CREATE POLICY seen ON visitor AS RESTRICTIVE FOR SELECT USING (size > 0)',
	'different error policy visitor.seen permissive');

SELECT is(deploydb_verify_migration(), true, 'after all of it everything is as it was');
SELECT * FROM finish();
