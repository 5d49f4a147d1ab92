-- Rollback: plans, what they refuse, and carrying them out.
\set QUIET on
SET client_min_messages = error;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;

CREATE FUNCTION plan(OUT id bigint, OUT plan jsonb) LANGUAGE sql AS $$
	SELECT (p ->> 'id')::bigint, p FROM deploydb.plan_rollback('decision_insights') p $$;
CREATE PROCEDURE deploy() LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE (SELECT ddl FROM deploydb.builtin_migrations());
	INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
	VALUES (gen_random_uuid(), repeat('0', 64), '20251203071615_add_decision_insights', now(), 1);
END $$;
CREATE PROCEDURE add_rows(prefix text, n integer) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO decision_insights
	SELECT prefix || g, prefix || g, 'u', '{}', '{}', '{}', 'h', now(), now() FROM generate_series(1, n) g;
END $$;
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
	finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
	rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0);

SELECT * FROM no_plan();

-- Of what is not there
SELECT throws_ok('SELECT deploydb.plan_rollback(NULL)', '22004', NULL, 'a rollback has a migration');
SELECT throws_ok('SELECT deploydb.plan_rollback(''insights'', NULL)', '22004', NULL, 'and says what becomes of the ledger');
SELECT throws_ok('SELECT deploydb.plan_rollback(''no_such'')', '42704', NULL, 'of a migration that is known');
SELECT is((SELECT plan -> 'steps' FROM plan()), '[]', 'where nothing is there, nothing would be done');
SELECT throws_ok(format('SELECT deploydb.rollback_migration(%s, ''why'')', (SELECT max(id) FROM deploydb.rollback_plan)), '55000',
	'there is nothing to roll back of migration "20251203071615_add_decision_insights"', 'and rolling that back says so');
SELECT throws_ok('SELECT deploydb.as_caller(''SELECT 1'')', '55000', 'nobody is acted for', 'nobody acts for another by himself');

-- Of what is
CALL deploy();
CALL add_rows('a', 5);
SELECT unnest(ARRAY[is(plan #>> '{tables,0,rows}', '5', 'the plan counts rows'),
	is(plan -> 'ledger' ->> 'state', 'applied', 'and has the ledger''s state'),
	is(plan -> 'dependents', '[]', 'nothing depends on the table'),
	is(plan ->> 'hash', deploydb.rollback_hash('decision_insights'), 'the hash is that of rollback_hash()')])
FROM plan();
SELECT is((SELECT p.plan ->> 'id' FROM deploydb.rollback_plan p ORDER BY p.id DESC LIMIT 1), '2', 'and the plan is kept');
SELECT isnt(deploydb.rollback_hash('decision_insights', false), deploydb.rollback_hash('decision_insights'),
	'the ledger''s choice is a part of the hash');
CREATE TEMPORARY TABLE hash AS SELECT deploydb.rollback_hash('decision_insights') AS before;
CALL add_rows('b', 5);
SELECT is(deploydb.rollback_hash('decision_insights'), before, 'rows are not') FROM hash;
BEGIN;
CREATE INDEX later ON decision_insights (updated_at);
SELECT isnt(deploydb.rollback_hash('decision_insights'), before, 'definitions are') FROM hash;
ROLLBACK;

BEGIN;
CREATE VIEW looks AS SELECT id FROM decision_insights;
CREATE TABLE refers (d text REFERENCES decision_insights (decision_id));
CREATE FUNCTION takes(decision_insights) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TABLE child () INHERITS (decision_insights);
SELECT isnt(deploydb.rollback_hash('decision_insights'), before, 'what depends on them is') FROM hash;
SELECT unnest(ARRAY[is((SELECT string_agg(DISTINCT d ->> 'object', ', ' ORDER BY d ->> 'object') FROM jsonb_array_elements(plan -> 'dependents') d),
		'constraint refers_d_fkey on table public.refers, function public.takes(public.decision_insights), table public.child, view public.looks',
		'views, foreign keys, functions and children are named'),
	ok(plan ->> 'script' IS NULL AND plan ->> 'refused' IS NOT NULL, 'and there is no script'),
	throws_ok(format('SELECT deploydb.rollback_migration(%s, ''why'', true)', id), '2BP01', NULL, 'nor is it carried out, even by force')])
FROM plan();
ROLLBACK;

-- Carried out
SELECT throws_ok(format('SELECT deploydb.rollback_migration(%s, %L)', p.id, reason), state, NULL, format('not for %L', reason))
FROM plan() p, (VALUES (NULL, '22004'), (' ', '22023')) AS r (reason, state);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok(format('SELECT deploydb.rollback_migration(%s, ''why'')', id), '25000', NULL, 'not in a repeatable read transaction') FROM plan();
ROLLBACK;
CREATE TEMPORARY TABLE first_plan AS SELECT id, plan FROM plan();
SELECT is(deploydb.rollback_migration(id, 'too slow'), 1::bigint, 'the table is rolled back') FROM first_plan;
SELECT hasnt_table('public', 'decision_insights', 'it is gone');
SELECT is((SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname LIKE 'decision_insights%'), 0::bigint,
	'with its indexes');
SELECT is((SELECT format('deploydb_backup.%I', moved #>> '{0,stored}') FROM deploydb.rollback), plan #>> '{tables,0,moved_to}',
	'it is where the plan said') FROM first_plan;
SELECT results_eq(format('SELECT count(*) FROM %s', plan #>> '{tables,0,moved_to}'), 'SELECT 10::bigint', 'with its rows') FROM first_plan;
SELECT is((SELECT state FROM deploydb.ledger('decision_insights')), 'rolled_back', 'the ledger is rewound');
SELECT is((SELECT format('%s %s %s', state, reason, forced) FROM deploydb.rollback), 'rolled_back too slow f', 'it is recorded');
SELECT is((SELECT status FROM deploydb.log_entry WHERE action = 'rolled back'), 'warning', 'and in the log');
SELECT throws_ok(format('SELECT deploydb.rollback_migration(%s, ''again'')', id), 'ZD005', NULL, 'the plan does not hold twice') FROM first_plan;

-- A second time, beside the first
CALL deploy();
CALL add_rows('c', 3);
SELECT is(deploydb.rollback_migration(id, 'still'), 2::bigint, 'it is rolled back again, after another deploy') FROM plan();
SELECT is((SELECT count(*) FROM pg_class WHERE relnamespace = 'deploydb_backup'::regnamespace AND relkind = 'r'), 2::bigint,
	'and both are kept');

-- A failed migration has to be out of the way, whatever is there of it
INSERT INTO _prisma_migrations (id, checksum, migration_name, logs)
VALUES ('failed', repeat('0', 64), '20251203071615_add_decision_insights', 'ERROR: it failed');
SELECT unnest(ARRAY[is(plan -> 'steps', '[]', 'of a failed migration nothing may be there'),
	is(deploydb.rollback_migration(id, 'failed'), 3::bigint, 'and it is rolled back all the same')])
FROM plan();
SELECT ok(rolled_back_at IS NOT NULL, 'the failed row does not block a deploy') FROM _prisma_migrations WHERE id = 'failed';
CREATE TABLE decision_insights (id text PRIMARY KEY, decision_id text UNIQUE);
SELECT is(deploydb.rollback_migration(id, 'half of it', true), 4::bigint, 'a table that is another than expected is moved by force') FROM plan();

-- A migration of all kinds, with names that need quotes
SELECT isnt(deploydb.register_migration('20260101000000_odd', $ddl$
	CREATE TYPE "Mood ""x" AS ENUM ('a', 'b');
	CREATE SEQUENCE "Se q";
	CREATE FUNCTION "F n"(a "Mood ""x") RETURNS integer LANGUAGE sql AS 'SELECT 1';
	CREATE TABLE "Odd.T""able" (id serial PRIMARY KEY, "C ol" "Mood ""x", n integer DEFAULT nextval('"Se q"') UNIQUE,
		g integer GENERATED ALWAYS AS IDENTITY, CHECK ("F n"("C ol") = 1));
	CREATE INDEX "I.x" ON "Odd.T""able" (n);
	CREATE STATISTICS "st.x" ON id, n FROM "Odd.T""able";
	CREATE VIEW "V w" AS SELECT * FROM "Odd.T""able";
	CREATE TABLE "a23456789012345678901234567890123456789012345678901234567890ä" (id integer);
	CREATE TABLE "a23456789012345678901234567890123456789012345678901234567890x" (id integer);
	CREATE TABLE parted (id integer) PARTITION BY RANGE (id);
	CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10);
$ddl$, NULL, $ddl$
	BEGIN;
	SET lock_timeout = '5s';
	DROP VIEW "V w";
	DROP INDEX "I.x";
	DROP TABLE "Odd.T""able", "a23456789012345678901234567890123456789012345678901234567890ä",
		"a23456789012345678901234567890123456789012345678901234567890x", parted;
	DROP FUNCTION "F n"("Mood ""x");
	DROP TYPE "Mood ""x";
	DROP SEQUENCE "Se q";
	COMMIT;
$ddl$), 0, 'a migration of all kinds is registered');
SELECT ddl FROM deploydb.known_migration WHERE migration ~ 'odd' \gexec
INSERT INTO "Odd.T""able" ("C ol") VALUES ('a');
INSERT INTO parted VALUES (1);
SELECT is(deploydb.rollback_migration((deploydb.plan_rollback('odd') ->> 'id')::bigint, 'odd'), 5::bigint, 'and rolled back');
SELECT is((SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
		AND c.relkind <> 'i' AND c.relname NOT LIKE '\_%' AND c.relname NOT IN ('pg_all_foreign_keys', 'tap_funky')), NULL,
	'nothing of it is left');
SELECT is((SELECT count(*) FROM pg_type WHERE typname LIKE 'Mood%' AND typnamespace = 'deploydb_backup'::regnamespace), 1::bigint,
	'its type is kept, too');
SELECT is((SELECT jsonb_array_length(moved) FROM deploydb.rollback WHERE id = 5), 9, 'all that has a name is recorded');

-- Parts of tables
SELECT isnt(deploydb.register_migration('20260102000000_parts', $ddl$
	CREATE TABLE kept (id integer PRIMARY KEY);
$ddl$), 0, 'a table to change');
SELECT isnt(deploydb.register_migration('20260103000000_change', $ddl$
	ALTER TABLE kept ADD COLUMN more integer, ADD CONSTRAINT positive CHECK (more > 0);
	CREATE INDEX kept_more ON kept (more);
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER looks BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION nothing();
$ddl$, NULL, $ddl$
	DROP TRIGGER looks ON kept; DROP FUNCTION nothing(); DROP INDEX kept_more;
	ALTER TABLE kept DROP CONSTRAINT positive, DROP COLUMN more;
$ddl$), 0, 'and a migration that changes it');
SELECT ddl FROM deploydb.known_migration WHERE migration ~ 'parts|change' ORDER BY migration \gexec
SELECT throws_ok('SELECT deploydb.plan_rollback(''parts'')', '42704', NULL, 'without a script there is no rollback');
INSERT INTO kept VALUES (1, 1);
SELECT throws_ok(format('SELECT deploydb.rollback_migration(%s, ''why'')', deploydb.plan_rollback('change') ->> 'id'), 'ZD006', NULL,
	'values are not lost');
SELECT is(deploydb.rollback_migration((deploydb.plan_rollback('change') ->> 'id')::bigint, 'why', true), 6::bigint, 'but by force');
SELECT columns_are('public', 'kept', ARRAY['id'], 'the column is gone, and no other');
SELECT hasnt_trigger('public', 'kept', 'looks', 'so is the trigger');

-- A later migration's work goes before
CALL deploy();
SELECT isnt(deploydb.register_migration('20260104000000_later', 'CREATE INDEX of_later ON decision_insights (updated_at)'), 0, 'a later migration');
CREATE INDEX of_later ON decision_insights (updated_at);
SELECT is(plan #>> '{dependents,0,object}', 'index of_later of migration 20260104000000_later', 'is in the way') FROM plan();

-- Restored, with what a deploy has made since kept apart
CREATE FUNCTION rows_of(relation text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	ids text;
BEGIN
	EXECUTE format('SELECT string_agg(id, '','' ORDER BY id) FROM %s', relation) INTO ids;
	RETURN ids;
END $$;
DROP INDEX of_later;
SELECT deploydb.forget_migration('later') \g /dev/null
CALL add_rows('d', 2);
SELECT throws_ok('SELECT deploydb.restore_rolled_back(NULL)', '22004', NULL, 'one is restored by its id');
SELECT throws_ok('SELECT deploydb.restore_rolled_back(99)', '42704', NULL, 'which must be there');
SELECT throws_ok('SELECT deploydb.restore_rolled_back(6)', '0A000', NULL, 'a dropped column cannot be restored');
BEGIN;
CREATE VIEW looks AS SELECT id FROM decision_insights;
SELECT throws_ok('SELECT deploydb.restore_rolled_back(2)', '2BP01', NULL, 'nor over what something depends on');
ROLLBACK;
SELECT is(deploydb.restore_rolled_back(2), '{"migration": "20251203071615_add_decision_insights", "tables": ["public.decision_insights"],
	"ledger": "applied again since", "kept_apart": {"id": 7, "rows": {"public.decision_insights": 2}}}', 'the second is restored');
SELECT is(rows_of('decision_insights'), 'c1,c2,c3', 'its rows are back');
SELECT is(rows_of('deploydb_backup.' || (moved #>> '{0,stored}')), 'd1,d2', 'and what was there is kept apart') FROM deploydb.rollback WHERE id = 7;
SELECT is((SELECT count(*) FROM deploydb.migration_report('decision_insights') WHERE severity = 'error' AND object_type <> 'ledger'), 0::bigint,
	'it verifies, its indexes and all');
SELECT throws_ok('SELECT deploydb.restore_rolled_back(2)', '55000', NULL, 'it is restored once');
SELECT is(deploydb.restore_rolled_back(7) #>> '{kept_apart,rows,public.decision_insights}', '3', 'and the other in its place again');
SELECT is(rows_of('decision_insights'), 'd1,d2', 'with its rows');
SELECT is((SELECT string_agg(format('%s %s', id, state), ', ' ORDER BY id) FROM deploydb.rollback),
	'1 rolled_back, 2 restored, 3 rolled_back, 4 rolled_back, 5 rolled_back, 6 rolled_back, 7 restored, 8 rolled_back', 'each is recorded');
SELECT is((SELECT count(*) FROM deploydb.log_entry WHERE action = 'restored'), 2::bigint, 'and logged');

-- All kinds, moved back
SELECT is(deploydb.restore_rolled_back(5) -> 'kept_apart', 'null', 'the odd one is restored, nothing being in its way');
INSERT INTO "Odd.T""able" ("C ol") VALUES ('b');
SELECT is((SELECT string_agg(concat_ws(' ', id, "C ol", n, g), ', ' ORDER BY id) FROM "V w"), '1 a 1 1, 2 b 2 2', 'with view, type and sequences');
SELECT is((SELECT status FROM deploydb.migration_report('odd') WHERE object_type <> 'ledger' LIMIT 1), NULL, 'it is as it was');
SELECT is((SELECT count(*) FROM parted), 1::bigint, 'partitions are where they were');

-- The ledger, undone
CREATE TEMPORARY TABLE last AS SELECT deploydb.rollback_migration(id, 'once more') AS id FROM plan();
SELECT is((SELECT state FROM deploydb.ledger('decision_insights')), 'rolled_back', 'rolled back');
SELECT is(deploydb.restore_rolled_back(id) ->> 'ledger', 'applied', 'and restored, without a deploy in between') FROM last;
SELECT is((SELECT state FROM deploydb.ledger('decision_insights')), 'applied', 'the ledger says applied again');
INSERT INTO _prisma_migrations (id, checksum, migration_name, logs)
VALUES ('failed again', repeat('0', 64), '20251203071615_add_decision_insights', 'ERROR: it failed');

-- Let go of
SELECT throws_ok('SELECT deploydb.discard_rolled_back(8, NULL)', '22004', NULL, 'a reason is needed to discard');
SELECT throws_ok('SELECT deploydb.discard_rolled_back(8, ''not needed'')', '55000', NULL, 'it is kept for a time');
SET deploydb.rollback_retention = 0;
SELECT ok(deploydb.discard_rolled_back(8, 'not needed'), 'then it goes');
SELECT is((SELECT count(*) FROM deploydb.rollback r, jsonb_array_elements(r.moved) m
		WHERE r.id = 8 AND to_regclass(format('deploydb_backup.%I', m ->> 'stored')) IS NOT NULL), 0::bigint, 'table and all');
SELECT throws_ok('SELECT deploydb.restore_rolled_back(8)', '55000', NULL, 'and does not come back');
SELECT is(deploydb.rollback_migration((deploydb.plan_rollback('odd') ->> 'id')::bigint, 'odd'), 10::bigint, 'all kinds');
SELECT ok(deploydb.discard_rolled_back(10, 'not needed'), 'can be discarded');
SELECT is((SELECT string_agg(relname, ', ') FROM pg_class WHERE relname ~ '^(Odd|a2345|part)'), NULL, 'and nothing is left');

-- What takes part in a table's life is put back as it was
SELECT isnt(deploydb.register_migration('20260105000000_parts', $ddl$
	CREATE INDEX kept_twice ON kept ((id * 2)); COMMENT ON INDEX kept_twice IS 'it''s twice';
	ALTER TABLE kept ADD CONSTRAINT "Not 0" CHECK (id <> 0); COMMENT ON CONSTRAINT "Not 0" ON kept IS 'one';
	CREATE TRIGGER off BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
	ALTER TABLE kept DISABLE TRIGGER off; COMMENT ON TRIGGER off ON kept IS 'off';
$ddl$, NULL, 'DROP INDEX kept_twice; DROP TRIGGER off ON kept; ALTER TABLE kept DROP CONSTRAINT "Not 0"'), 0, 'index, trigger and constraint');
SELECT ddl FROM deploydb.known_migration WHERE migration = '20260105000000_parts' \gexec
SELECT is(deploydb.rollback_migration((deploydb.plan_rollback('20260105000000_parts') ->> 'id')::bigint, 'parts'), 11::bigint, 'are rolled back');
SELECT is((SELECT count(*) FROM pg_constraint WHERE conname = 'Not 0'), 0::bigint, 'are gone');
SELECT is(deploydb.restore_rolled_back(11) ->> 'kept_apart', NULL, 'and restored');
SELECT is(concat_ws(', ', obj_description('kept_twice'::regclass), (SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'Not 0'),
		(SELECT concat_ws(' ', tgenabled, obj_description(oid, 'pg_trigger')) FROM pg_trigger WHERE tgname = 'off')),
	'it''s twice, one, D off', 'with their comments, and as they were disabled');

-- What goes along with a column is said, and is in the way where a later migration made it
SELECT isnt(deploydb.register_migration('20260105003000_column', 'ALTER TABLE kept ADD COLUMN "a b" integer', NULL, 'ALTER TABLE kept DROP COLUMN "a b"'), 0, 'a column');
SELECT ddl FROM deploydb.known_migration WHERE migration ~ 'column' \gexec
CREATE INDEX "Along" ON kept ("a b");
ALTER TABLE kept ADD CONSTRAINT along CHECK ("a b" > id);
SELECT is(deploydb.plan_rollback('column') -> 'lost', '["constraint along on table public.kept", "index public.\"Along\"", "values of column kept.\"a b\""]', 'goes with what is on it');
SELECT isnt(deploydb.register_migration('20260105004000_along', 'CREATE INDEX "Along" ON kept ("a b")'), 0, 'of which a later migration');
SELECT is(deploydb.plan_rollback('column') -> 'dependents', '[{"object": "index \"Along\" of migration 20260105004000_along", "needs": "column kept.\"a b\""}]',
	'made some, so it is in the way');

-- An index with those of partitions
SELECT isnt(deploydb.register_migration('20260105010000_split', 'CREATE TABLE split (id integer) PARTITION BY RANGE (id);
	CREATE TABLE half PARTITION OF split FOR VALUES FROM (0) TO (10)'), 0, 'a table with a partition');
SELECT isnt(deploydb.register_migration('20260105020000_indexed', 'CREATE UNIQUE INDEX "of ON ONLY" ON split (id)', NULL, 'DROP INDEX "of ON ONLY"'), 0, 'and an index');
SELECT ddl FROM deploydb.known_migration WHERE migration ~ 'split|indexed' ORDER BY migration \gexec
CREATE TEMPORARY TABLE indexed AS SELECT deploydb.rollback_migration((deploydb.plan_rollback('indexed') ->> 'id')::bigint, 'index') AS id;
SELECT is((SELECT count(*) FROM pg_index WHERE indrelid IN ('split'::regclass, 'half'::regclass)), 0::bigint, 'is rolled back from both');
SELECT deploydb.restore_rolled_back(id) FROM indexed \g /dev/null
SELECT is((SELECT string_agg(format('%s %s', indrelid::regclass, indisvalid), ', ' ORDER BY indrelid::regclass::text) FROM pg_index
	WHERE indrelid IN ('split'::regclass, 'half'::regclass)), 'half t, split t', 'and restored to both');

-- What refers to one another goes together
SELECT isnt(deploydb.register_migration('20260106000000_pair', $ddl$
	CREATE TABLE one (id integer PRIMARY KEY); CREATE TABLE other (id integer REFERENCES one);
$ddl$, NULL, 'DROP TABLE one, other'), 0, 'two tables in one statement');
SELECT ddl FROM deploydb.known_migration WHERE migration = '20260106000000_pair' \gexec
SELECT is(deploydb.rollback_migration((deploydb.plan_rollback('pair') ->> 'id')::bigint, 'pair'), 13::bigint, 'are rolled back');
SELECT ok(deploydb.discard_rolled_back(13, 'not needed'), 'and discarded');

-- The team hears of it, in its language
SELECT is((SELECT count(*) FROM deploydb.outbox), 0::bigint, 'where there is no webhook, no message waits for one');
SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/hook') \g /dev/null
CREATE TABLE one (id integer PRIMARY KEY);
SELECT is(deploydb.rollback_migration((deploydb.plan_rollback('pair') ->> 'id')::bigint, 'it''s 100 %s'), 14::bigint, 'a half of it is rolled back');
SELECT is(body::jsonb ->> 'message', format('Migration 20260106000000_pair was rolled back by %s: it''s 100 %%s', session_user), 'a message waits')
FROM deploydb.outbox;
SET deploydb.language = zh;
SELECT deploydb.restore_rolled_back(14) \g /dev/null
SELECT is(body::jsonb ->> 'message', format('迁移 20260106000000_pair 已由 %s 恢复。', session_user), 'so does one of the restore')
FROM deploydb.outbox ORDER BY id DESC LIMIT 1;
SELECT deploydb.rollback_migration((deploydb.plan_rollback('pair') ->> 'id')::bigint, '太慢') \g /dev/null
SELECT is(body::jsonb ->> 'message', format('迁移 20260106000000_pair 已由 %s 回滚：太慢', session_user), 'or in Chinese')
FROM deploydb.outbox ORDER BY id DESC LIMIT 1;
BEGIN;
SELECT deploydb.restore_rolled_back(15) \g /dev/null
ROLLBACK;
SELECT is((SELECT count(*) FROM deploydb.outbox), 3::bigint, 'what is undone is not told');
RESET deploydb.language;

-- What is not there any more, or has its name taken
SELECT format('DROP TABLE deploydb_backup.%I', moved #>> '{0,stored}') FROM deploydb.rollback WHERE id = 15 \gexec
SELECT throws_ok('SELECT deploydb.restore_rolled_back(15)', '42P01', 'what rollback 15 kept is not there any more', 'what somebody has dropped is not restored');
SELECT deploydb.discard_rolled_back(15, 'dropped') \g /dev/null
CREATE TABLE one (id integer PRIMARY KEY);
CREATE TABLE deploydb_backup.one (id integer PRIMARY KEY);
SELECT is(deploydb.rollback_migration((deploydb.plan_rollback('pair') ->> 'id')::bigint, 'again'), 16::bigint, 'a name that is taken there is in nobody''s way');

-- What a script must not do
SELECT throws_matching(format('SELECT deploydb.plan_rollback(%L)', name), 'cannot be used', format('not let through: %s', script))
FROM (VALUES ('20260201_a', 'DROP TABLE own CASCADE'), ('20260201_b', 'DROP TABLE kept'), ('20260201_c', 'DELETE FROM own'),
		('20260201_d', 'DO ''BEGIN DROP TABLE own; END'''), ('20260201_e', 'DROP TABLE own; SELECT 1'), ('20260201_f', 'DROP SCHEMA public'),
		('20260201_g', 'ALTER TABLE own DROP COLUMN id CASCADE'), ('20260201_h', 'DROP TABLE deploydb.rollback'), ('20260201_i', 'COMMIT'),
		('20260201_j', 'DROP TABLE own, kept'), ('20260201_k', 'ALTER TABLE own RENAME TO other'), ('20260201_l', 'DROP TABLE pg_class'),
		('20260201_m', 'DROP OWNED BY CURRENT_USER'), ('20260201_n', 'DROP EXTENSION deploydb'), ('20260201_o', 'DROP VIEW own'),
		('20260201_p', 'SET search_path = other; DROP TABLE own'), ('20260201_q', 'DROP FUNCTION lower(text)'), ('20260201_r', 'ROLLBACK; DROP TABLE own')) AS s (name, script),
	LATERAL deploydb.register_migration(name, 'DROP TABLE IF EXISTS own; CREATE TABLE own (id integer)', NULL, script);
SELECT throws_ok('SELECT deploydb.plan_rollback(''20260202'')', '42601', NULL, 'nor what nobody can parse')
FROM deploydb.register_migration('20260202', 'CREATE TABLE parsed (id integer)', NULL, 'DROP TABLLE x');

-- What may have been there before a migration that failed
DROP TABLE IF EXISTS decision_insights CASCADE;
TRUNCATE _prisma_migrations;
CALL deploy();
UPDATE _prisma_migrations SET finished_at = NULL, applied_steps_count = 0;
SELECT is(plan -> 'strangers', '[]', 'half of a migration is the migration''s') FROM plan();
ALTER TABLE decision_insights ALTER COLUMN user_id TYPE varchar(10), ADD COLUMN other integer;
SELECT unnest(ARRAY[is(plan -> 'ledger' ->> 'state', 'failed', 'where the ledger does not say that it ran'),
	is(plan #>> '{strangers,0,object}', 'table decision_insights', 'what is otherwise is a stranger'),
	is(plan #>> '{strangers,0,difference}', E'column decision_insights.other: exists is yes, expected no\n'
		|| 'column decision_insights.user_id: type is character varying(10), expected text', 'and why'),
	is(plan ->> 'script', NULL, 'nothing is offered to move it'),
	isnt(plan ->> 'refused', NULL, 'and it is said')])
FROM plan();
SELECT throws_ok(format('SELECT deploydb.rollback_migration(%s, ''why'')', (SELECT max(id) FROM deploydb.rollback_plan)), 'ZD008',
	'what is there may not be what migration "20251203071615_add_decision_insights" made', 'it is not moved');
SELECT isnt(to_regclass('decision_insights'), NULL, 'but stays');
SELECT lives_ok(format('SELECT deploydb.rollback_migration(%s, ''why'', true)', (SELECT max(id) FROM deploydb.rollback_plan)), 'unless that is forced');

SELECT * FROM finish();
