-- Who changes what: commands that change the definition of a watched table.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SELECT no_plan();

CREATE ROLE changes_developer;
GRANT CREATE ON SCHEMA public TO changes_developer;
SELECT format('GRANT CREATE ON DATABASE %I TO changes_developer', current_database()) \gexec
CREATE SCHEMA other AUTHORIZATION changes_developer;
SET application_name = 'by hand';

-- what a statement is noted as
CREATE FUNCTION noted(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE last bigint := (SELECT COALESCE(max(id), 0) FROM deploydb.definition_change);
BEGIN
	SET LOCAL ROLE changes_developer;
	EXECUTE statement;
	RESET ROLE;
	RETURN ARRAY(SELECT format('%s: %s %s', command, object_type, object) FROM deploydb.definition_change c
		WHERE id > last AND session_role = session_user AND application = 'by hand' AND c.statement IS NULL ORDER BY 1);
END $$;
GRANT ALL ON FUNCTION noted(text) TO PUBLIC;
SELECT is(noted(s), w, s)
FROM (VALUES
	('CREATE TABLE decision_insights (id text, n int, created_at timestamp)', '{CREATE TABLE: table public.decision_insights}'::text[]),
	('CREATE TABLE unwatched (id text)', '{}'),
	('CREATE INDEX ON unwatched (id)', '{}'),
	('ALTER TABLE decision_insights ADD COLUMN more int', '{ALTER TABLE: table public.decision_insights}'),
	('ALTER TABLE decision_insights ALTER more SET DEFAULT 1', '{ALTER TABLE: table public.decision_insights}'),
	('ALTER TABLE decision_insights ADD PRIMARY KEY (id)', '{ALTER TABLE: table public.decision_insights}'),
	('ALTER TABLE decision_insights DROP COLUMN more', '{ALTER TABLE: default value for public.decision_insights.more,ALTER TABLE: table column public.decision_insights.more,ALTER TABLE: table public.decision_insights}'),
	('COMMENT ON COLUMN decision_insights.n IS ''x''', '{COMMENT: table column public.decision_insights.n}'),
	('CREATE INDEX odd ON decision_insights (n)', '{CREATE INDEX: index public.odd}'),
	('CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at)', '{CREATE INDEX: index public.decision_insights_created_at_idx}'),
	('DROP INDEX decision_insights_created_at_idx', '{DROP INDEX: index public.decision_insights_created_at_idx}'),
	('CREATE POLICY p ON decision_insights', '{CREATE POLICY: policy p on public.decision_insights}'),
	('DROP POLICY p ON decision_insights', '{DROP POLICY: policy p on public.decision_insights}'),
	('CREATE TRIGGER t BEFORE UPDATE ON decision_insights FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
		'{CREATE TRIGGER: trigger t on public.decision_insights}'),
	('DROP TRIGGER t ON decision_insights', '{DROP TRIGGER: trigger t on public.decision_insights}'),
	('CREATE RULE r AS ON DELETE TO decision_insights DO INSTEAD NOTHING', '{CREATE RULE: rule r on public.decision_insights}'),
	('DROP RULE r ON decision_insights', '{DROP RULE: rule r on public.decision_insights}'),
	('CREATE STATISTICS counted ON id, n FROM decision_insights', '{CREATE STATISTICS: statistics object public.counted}'),
	('ALTER STATISTICS counted SET STATISTICS 10', '{ALTER STATISTICS: statistics object public.counted}'),
	('CREATE TABLE heir () INHERITS (decision_insights)', '{CREATE TABLE: table public.heir}'),
	('ALTER TABLE heir ADD CHECK (n > 0)', '{ALTER TABLE: table public.heir}'),
	('DROP TABLE heir', '{DROP TABLE: table public.heir}'),
	('CREATE TABLE heir () INHERITS (unwatched)', '{}'),
	('CREATE PUBLICATION shop FOR TABLE unwatched', '{}'),
	('ALTER PUBLICATION shop ADD TABLE decision_insights', '{ALTER PUBLICATION: publication relation public.decision_insights in publication shop}'),
	('ALTER PUBLICATION shop DROP TABLE decision_insights', '{ALTER PUBLICATION: publication relation public.decision_insights in publication shop}'),
	('ALTER TABLE decision_insights RENAME TO old', '{ALTER TABLE: table public.old}'),
	('ALTER TABLE old RENAME TO decision_insights', '{ALTER TABLE: table public.decision_insights}'),
	('ALTER TABLE decision_insights SET SCHEMA other', '{ALTER TABLE: table other.decision_insights}'),
	('CREATE TEMPORARY TABLE decision_insights (id text)', '{}'),
	('TRUNCATE pg_temp.decision_insights', '{}'),
	('DROP TABLE pg_temp.decision_insights', '{}'),
	('TRUNCATE other.decision_insights', '{TRUNCATE TABLE: table other.decision_insights}'),
	('INSERT INTO other.decision_insights VALUES (1)', '{}'),
	('GRANT SELECT ON other.decision_insights TO PUBLIC', '{}'),
	('DROP TABLE other.decision_insights', '{DROP TABLE: index other.decision_insights_pkey,DROP TABLE: index other.odd,DROP TABLE: table other.decision_insights}'),
	('CREATE TABLE other.decision_insights (id text)', '{CREATE TABLE: table other.decision_insights}'),
	('DROP SCHEMA other CASCADE', '{DROP SCHEMA: table other.decision_insights}')) v (s, w);

-- as those who change things for triggers not to see it
SET session_replication_role = replica;
SELECT is(noted(s), w, s || ', as a replica')
FROM (VALUES ('CREATE TABLE decision_insights (id text)', '{CREATE TABLE: table public.decision_insights}'::text[]),
	('DROP TABLE decision_insights', '{DROP TABLE: table public.decision_insights}')) v (s, w);
RESET session_replication_role;

-- tables that somebody tracks
SELECT deploydb.track('"odd ""name"""') \g /dev/null
SELECT is(noted('CREATE TABLE "odd ""name""" (id int)'), '{"CREATE TABLE: table public.\"odd \"\"name\"\"\""}', 'a tracked table');

-- a change that is rolled back is none
BEGIN;
CREATE TABLE decision_insights (id int);
ROLLBACK;
SELECT is((SELECT count(*) FROM deploydb.definition_change WHERE object = 'public.decision_insights' AND at > now() - interval '1 ms'), 0::bigint, 'rolled back');

-- the statement, only where a superuser asks for it
SET deploydb.capture_statements = on;
CREATE TABLE decision_insights (id int);
SELECT is((SELECT statement FROM deploydb.definition_change ORDER BY id DESC LIMIT 1), 'CREATE TABLE decision_insights (id int);', 'the statement');
SET ROLE changes_developer;
SELECT throws_ok('SET deploydb.capture_statements = off', '42501', NULL, 'nobody else sets it');
RESET ROLE;
RESET deploydb.capture_statements;

-- one that cannot be noted is not failed
ALTER TABLE deploydb.definition_change ADD CONSTRAINT refuses CHECK (command <> 'ALTER TABLE') NOT VALID;
SET client_min_messages = error;
SELECT lives_ok('ALTER TABLE decision_insights ADD COLUMN n int', 'the change itself is made');
SELECT lives_ok('ALTER TABLE decision_insights DROP COLUMN n', 'and this one');
RESET client_min_messages;
SELECT is(deploydb.lost_changes(), 2::bigint, 'they are counted: two commands, whatever one dropped');
ALTER TABLE deploydb.definition_change DROP CONSTRAINT refuses;

-- our own replays are nobody's changes
SELECT is(noted('SELECT 1'), '{}', 'nothing');
SELECT max(id) AS last FROM deploydb.definition_change \gset
SELECT deploydb.register_migration('20990101_more', 'ALTER TABLE decision_insights ADD COLUMN n int') \g /dev/null
SELECT deploydb.derive_expectations() \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.definition_change WHERE id > :last), 0::bigint, 'a replay');

SELECT is(deploydb.purge_changes(now() + interval '1 day', 2), 2::bigint, 'purged in batches');
SELECT cmp_ok(deploydb.purge_changes(now() + interval '1 day', 1000), '>', 2::bigint, 'and whole');

DROP OWNED BY changes_developer;
DROP ROLE changes_developer;
SELECT * FROM finish();
