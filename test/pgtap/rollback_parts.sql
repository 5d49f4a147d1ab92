-- The parts that rollbacks, their plans and rehearsals are made of, each by
-- itself: every function of this area that no other test calls.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SELECT no_plan();
SELECT migration AS name, rollback_ddl AS script FROM deploydb.known_migration \gset
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
	finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
	rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0);

-- Parts that act do so within a function that acts for its caller: this is one.
CREATE FUNCTION deploydb.acts(statement text) RETURNS text AS '$libdir/deploydb', 'deploydb_as_owner' LANGUAGE C;
CREATE FUNCTION deploydb.acts_definer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement INTO result;
	RETURN result;
END $$;

-- What is there, before the migration and after

SELECT is(s.name || ': ' || s.script, :'name' || ': ' || :'script', 'a script') FROM deploydb.rollback_script('insights') s;
SELECT is(deploydb.migration_schema(:'name'), 'public', 'where verification looks');
SELECT throws_ok('SELECT deploydb.migration_schema(''no_such'')', '42704', 'migration "no_such" is not known');
SELECT is(deploydb.rollback_schema(:'name'), 'public', 'where the objects are');
SELECT is(deploydb.ledger_schema('public'), 'public', 'where the ledger is');
SELECT is((SELECT concat_ws('|', object_type, object, object_id IS NULL, refused) FROM deploydb.rollback_targets(:'script', 'public')),
	'table|decision_insights|t', 'a script is about a table that is not there');
SELECT is_empty(format('SELECT * FROM deploydb.rollback_objects(%L, ''public'')', :'script'), 'so there is nothing to drop');
SELECT is(l::text, '(public,absent,,"prisma migrate deploy would apply the migration.")', 'nor anything in the ledger')
FROM deploydb.rollback_ledger(:'name', 'public', true) l;

SELECT ddl FROM deploydb.known_migration \gexec
INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count) VALUES ('first', repeat('0', 64), :'name', now(), 1);
INSERT INTO decision_insights SELECT g, g, 'u', '{}', '{}', '{}', 'h', now(), now() FROM generate_series(1, 3) g;
SELECT results_eq($$SELECT statement, object_type, object, object_id, refused FROM deploydb.rollback_targets(
		'DROP TABLE decision_insights; DROP INDEX no_such; DROP TABLE a CASCADE; SELECT 1', 'public')$$,
	$$VALUES (1, 'table', 'decision_insights', 'decision_insights'::regclass::oid::bigint, NULL), (2, 'index', 'no_such', NULL, NULL),
		(3, NULL, NULL, NULL, 'With CASCADE it would drop what is not the migration''s, too.'),
		(4, NULL, NULL, NULL, 'What it does cannot be checked beforehand.')$$, 'what a script drops, and why some may not');
SELECT is(deploydb.check_rollback_script(:'name', :'script', 'public'), true, 'a script that may be used');
SELECT throws_ok(format('SELECT deploydb.check_rollback_script(%L, %L, ''public'')', :'name', s.script), 'ZD004',
	format('the rollback script of migration "%s" cannot be used', :'name'), s.script)
FROM (VALUES ('DROP TABLE _prisma_migrations'), ('DROP TABLE decision_insights CASCADE'), ('-- nothing')) AS s (script);
SELECT results_eq($$SELECT n, object_type, object, class_id::oid::regclass::text, object_id::oid::regclass::text, sub_id, with_table
		FROM deploydb.rollback_objects('ALTER TABLE decision_insights DROP COLUMN user_id; DROP INDEX decision_insights_created_at_idx; DROP TABLE decision_insights', 'public') ORDER BY n$$,
	$$VALUES (1::bigint, 'column', 'decision_insights.user_id', 'pg_class', 'decision_insights', 3, true),
		(2, 'index', 'decision_insights_created_at_idx', 'pg_class', 'decision_insights_created_at_idx', 0, true),
		(3, 'table', 'decision_insights', 'pg_class', 'decision_insights', 0, false)$$, 'what there is to drop, some with its table');
SELECT is((SELECT string_agg(concat_ws(' ', relation, oid::oid::regclass, goes), ', ') FROM deploydb.rollback_tables(v.script, 'public')), v.wanted, v.script)
FROM (VALUES ('DROP TABLE decision_insights', 'public.decision_insights decision_insights t'),
	('DROP INDEX decision_insights_created_at_idx', 'public.decision_insights decision_insights f'), ('DROP TABLE no_such', NULL)) AS v (script, wanted);

-- In whose way it is

SELECT is_empty(format('SELECT * FROM deploydb.rollback_dependents(%L, %L, ''public'')', :'name', :'script'), 'nothing depends on it');
CREATE VIEW looks AS SELECT id FROM decision_insights;
SELECT is(d::text, '("view public.looks","table public.decision_insights")', 'this does')
FROM deploydb.rollback_dependents(:'name', :'script', 'public') d;
DROP VIEW looks;
SELECT is_empty(format('SELECT * FROM deploydb.rollback_strangers(%L, %L, ''public'')', :'name', :'script'), 'what Prisma made is no stranger');
BEGIN;
DELETE FROM _prisma_migrations;
SELECT is_empty(format('SELECT * FROM deploydb.rollback_strangers(%L, %L, ''public'')', :'name', :'script'), 'nor what is as the migration makes it');
ALTER TABLE decision_insights ALTER user_id TYPE varchar(10);
SELECT is(s::text, '("table decision_insights","column decision_insights.user_id: type is character varying(10), expected text")', 'anything else is')
FROM deploydb.rollback_strangers(:'name', :'script', 'public') s;
ROLLBACK;

-- Who writes

SELECT is(deploydb.is_preloaded(), true, 'writes are counted');
SELECT is(deploydb.last_minute_is_counted(), false, 'without a monitor it is not known when they were');
SELECT is(deploydb.writers_are_measured(:'script', 'public'), false, 'so writers are not measured');
SELECT is_empty(format('SELECT * FROM deploydb.rollback_writers(%L, ''public'')', :'script'), 'and nobody is seen to write');
SET deploydb.app_role = 'nobody_here';
SELECT is(deploydb.check_writers(:'script', 'public', false), true, 'so there is only a warning');
UPDATE deploydb.monitor_state SET interval_ms = 600000, last_tick_at = now();
SELECT is(deploydb.last_minute_is_counted(), true, 'with one it is');
SELECT is(deploydb.writers_are_measured(:'script', 'public'), true, 'of a table that is tracked');
SELECT is(deploydb.writers_are_measured('DROP TABLE _prisma_migrations', 'public'), false, 'not of others');
SELECT is(w::text, '(public.decision_insights,,,,"1 counted in the last minute")', 'somebody has written')
FROM deploydb.rollback_writers(:'script', 'public') w;
SELECT throws_ok(format('SELECT deploydb.check_writers(%L, ''public'', false)', :'script'), '55006',
	'somebody has written in the last minute, perhaps role "nobody_here"');
SELECT is(deploydb.check_writers(:'script', 'public', true), true, 'which force does not mind');
UPDATE deploydb.monitor_state SET last_tick_at = now() - interval '1 day';
SELECT is(deploydb.last_minute_is_counted(), false, 'once it has stopped it is not known any more');
RESET deploydb.app_role;

-- What is done instead

SELECT is(deploydb.stored_name(v.name, v.suffix, v.same), v.wanted, v.wanted) FROM (VALUES ('table', '7', 1, 'table_7'), ('table', 'r7', 2, 'table_r7_2'),
	(repeat('x', 63), '7', 1, repeat('x', 61) || '_7'), (repeat('x', 60) || 'ä', '7', 1, repeat('x', 60) || '_7')) AS v (name, suffix, same, wanted);
SELECT is((SELECT string_agg(concat_ws(' ', n, m, kind, schema_name, name, stored, moved, owner = current_user), ', ' ORDER BY n, m, name)
	FROM deploydb.rollback_moves(:'script', 'public', '7') WHERE m = 0 OR name ~ 'pkey'),
	'1 0 TABLE public decision_insights decision_insights_7 t t, 1 1 INDEX public decision_insights_pkey decision_insights_pkey_7 f t',
	'a table is moved, its indexes have another name');
SELECT results_eq($$SELECT run, undo, owned FROM deploydb.rollback_steps('DROP TABLE decision_insights', 'public', '7') WHERE run !~ 'INDEX'$$,
	$$VALUES ('ALTER TABLE public.decision_insights RENAME TO decision_insights_7', 'ALTER TABLE public.decision_insights_7 RENAME TO decision_insights', NULL),
		('ALTER TABLE public.decision_insights_7 SET SCHEMA deploydb_backup', 'ALTER TABLE deploydb_backup.decision_insights_7 SET SCHEMA public', NULL)$$,
	'by these steps, which are undone');
SELECT results_eq($$SELECT run, undo FROM deploydb.rollback_steps('DROP INDEX decision_insights_created_at_idx; ALTER TABLE decision_insights DROP COLUMN user_id', 'public', '7')$$,
	$$VALUES ('DROP INDEX public.decision_insights_created_at_idx',
			(SELECT indexdef FROM pg_indexes WHERE indexname = 'decision_insights_created_at_idx')),
		('ALTER TABLE public.decision_insights DROP COLUMN user_id', NULL)$$, 'an index can be made again, a column cannot');
SELECT is(concat_ws('|', l.place, l.state, l.run, l.effect),
	format('public|applied|UPDATE public._prisma_migrations SET rolled_back_at = clock_timestamp() WHERE migration_name = %L AND rolled_back_at IS NULL|', :'name')
	|| 'prisma migrate deploy would apply the migration again: deploy without it, or not before it is mended.', 'the ledger would be rewound')
FROM deploydb.rollback_ledger(:'name', 'public', true) l;
SELECT is(l.run, NULL, 'or not') FROM deploydb.rollback_ledger(:'name', 'public', false) l;
SELECT is(deploydb.rollback_psql(E'a\nb', E'\nDROP TABLE t;\nDROP VIEW v;\n', '{public.t}', '{ALTER TABLE public.t SET SCHEMA deploydb_backup}', 'UPDATE l'),
	$$-- a b
-- Its script, of which nothing is dropped that could be kept:
-- DROP TABLE t;
-- DROP VIEW v;
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT pg_advisory_xact_lock(72707369);
LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE;
SELECT 'CREATE SCHEMA deploydb_backup' WHERE to_regnamespace('deploydb_backup') IS NULL \gexec
ALTER TABLE public.t SET SCHEMA deploydb_backup;
UPDATE l;
COMMIT;
$$, 'a script for psql');
SELECT is(deploydb.rollback_psql('a', 'b', '{}', '{}', NULL) ~ 'LOCK TABLE|deploydb_backup|UPDATE', false, 'without what there is not');

-- The plan

SELECT is(b.name || ' ' || b.schema, :'name' || ' public', 'a basis') FROM deploydb.rollback_basis('insights', true) b;
SELECT is(b.hash, deploydb.rollback_hash_definer('insights', true), 'with its hash') FROM deploydb.rollback_basis('insights', true) b;
SELECT isnt(b.hash, deploydb.rollback_hash_definer('insights', false), 'which depends on what becomes of the ledger') FROM deploydb.rollback_basis('insights', true) b;
SELECT throws_ok('SELECT deploydb.rollback_basis(''insights'', NULL)', '22004', 'rewind_ledger must not be NULL');
SELECT is(deploydb.acts('SELECT deploydb.rollback_rows(''public.decision_insights'')'), '3', 'rows are counted');
SELECT throws_ok(format('SELECT deploydb.%s', f.call), '55000', 'nobody is acted for', 'for somebody: ' || f.call)
FROM (VALUES ('rollback_rows(''public.decision_insights'')'), ('plan_rollback_definer(''insights'', true)'),
	('lock_for_rollback(''{public.decision_insights}'', true)'), ('rehearse_rollback_definer(''insights'')')) AS f (call);
SELECT deploydb.plan_rollback('insights') ->> 'id' AS plan \gset
SELECT is(deploydb.check_plan(p, false), :'script', 'it may be carried out') FROM deploydb.rollback_plan p WHERE id = :plan;
BEGIN;
CREATE INDEX later ON decision_insights (updated_at);
SELECT throws_ok(format('SELECT deploydb.check_plan(p, true) FROM deploydb.rollback_plan p WHERE id = %s', :plan), 'ZD005',
	format('plan %s does not hold any more', :plan), 'not once something has changed');
ROLLBACK;

-- A rehearsal

SELECT is(deploydb.rehearsal_hash('insights'), encode(sha256(convert_to(jsonb_build_array(migration, ddl, rollback_ddl)::text, 'UTF8')), 'hex'),
	'a rehearsal is of these texts') FROM deploydb.known_migration;
SELECT is(deploydb.acts(format('SELECT concat_ws(''|'', s.detail, s.statements ~ ''^INSERT INTO decision_insights .* FROM public.decision_insights LIMIT 1000;\n$'')
	FROM deploydb.rehearsal_sample(%L, %L, ''public'') s', :'name', :'script')), 'public.decision_insights: 3 rows|t', 'with a sample');
SELECT is(s::text, '("","no table is there yet")', 'of what is there') FROM deploydb.rehearsal_sample(:'name', 'DROP TABLE no_such', 'public') s;
SELECT is((SELECT string_agg(r.step || ' ' || r.status, ', ' ORDER BY r.n) FROM deploydb.replay_rollback(:'name', :'script', '')
	WITH ORDINALITY AS r (step, status, detail, n)),
	'migrate ok, verify ok, roll back ok, nothing is left ok, migrate again ok, verify again ok', 'there and back');
SELECT throws_ok(format('SELECT deploydb.replay_rollback(%L, ''DROP INDEX decision_insights_created_at_idx'', '''')', :'name'), '42P07',
	'relation "decision_insights" already exists', 'or not');
SELECT is_empty('SELECT nspname FROM pg_namespace WHERE nspname ~ ''^deploydb_scratch''', 'of which nothing stays');

-- Carried out

SELECT is(deploydb.check_rolling_back('why'), true, 'with a reason');
SELECT throws_ok('SELECT deploydb.check_rolling_back('' '')', '22023', 'a reason is needed');
SELECT throws_ok('SELECT deploydb.rollback_migration_definer(NULL, ''why'', false)', '22004', 'plan_id and force must not be NULL');
SELECT throws_ok(format('SELECT deploydb.rollback_migration_definer(%s, ''why'', false)', :plan), '55000', 'nobody is acted for');
BEGIN;
SELECT is(deploydb.acts('SELECT deploydb.lock_for_rollback(''{public.decision_insights}'', false)'), 'true', 'the table is locked');
SELECT results_eq($$SELECT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND granted AND (locktype = 'advisory' AND objid = 72707369
		OR relation = 'decision_insights'::regclass AND mode = 'AccessExclusiveLock') ORDER BY 1$$,
	$$VALUES ('advisory', 'ExclusiveLock'), ('relation', 'AccessExclusiveLock')$$, 'and Prisma out');
ROLLBACK;
BEGIN;
SELECT is(deploydb.open_backup_schema('{pg_monitor}'), true, 'the schema of what is kept');
SELECT ok(has_schema_privilege('pg_monitor', 'deploydb_backup', 'USAGE, CREATE'), 'is open to owners of it');
ALTER SCHEMA deploydb_backup OWNER TO pg_read_all_stats;
SELECT throws_ok('SELECT deploydb.open_backup_schema(''{pg_database_owner}'')', '42501', 'schema deploydb_backup belongs to role "pg_read_all_stats"');
ROLLBACK;
BEGIN;
SELECT is((m.moved::jsonb #>> '{0,stored}') || ' ' || jsonb_array_length(m.undo), 'decision_insights_7 7', 'what was moved, and how it is undone')
FROM jsonb_to_record(deploydb.acts(format('SELECT to_jsonb(a) FROM deploydb.move_away(%L, ''public'', ''7'') a', :'script'))::jsonb) AS m (moved jsonb, undo jsonb);
SELECT results_eq('SELECT count(*) FROM deploydb_backup.decision_insights_7', 'SELECT 3::bigint', 'it is there');
ROLLBACK;
SELECT throws_ok(format('SELECT deploydb.move_away(%L, ''public'', ''7'')', :'script'), '55000', 'nobody is acted for');
SELECT throws_ok(format('SELECT deploydb.rewind_ledger(%L, ''public'')', :'name'), '55000', 'nobody is acted for');
BEGIN;
SELECT is(deploydb.acts(format('SELECT deploydb.rewind_ledger(%L, ''public'')', :'name'))::jsonb,
	'{"schema": "public", "ids": ["first"], "state": "applied"}', 'the ledger is rewound');
SELECT is(state, 'rolled_back', 'as it says') FROM deploydb.ledger('insights');
SELECT is(deploydb.acts(format('SELECT deploydb.undo_rewind(%L, ''{"schema": "public", "ids": ["first"], "state": "applied"}'')', :'name')), 'applied', 'and wound on again');
SELECT is(state, 'applied', 'as it says, too') FROM deploydb.ledger('insights');
ROLLBACK;
SELECT is(deploydb.undo_rewind(:'name', NULL), 'untouched', 'there is nothing to undo');
SELECT is(deploydb.undo_rewind(:'name', '{"schema": "public", "ids": ["first"], "state": "applied"}'), 'applied again since', 'nor here');
SELECT throws_ok('SELECT deploydb.extension_goes()', '0A000', NULL, 'a trigger is called by nobody');
SELECT is(evtfoid::regproc::text || ' ' || evttags::text, 'deploydb.extension_goes {"DROP EXTENSION"}', 'but by the server') FROM pg_event_trigger
WHERE evtname = 'deploydb_extension_goes';

-- Undone

SELECT deploydb.rollback_migration(:plan, 'too slow') AS done \gset
SELECT is(deploydb.standing_rollback(:done), :done::bigint, 'it stands');
SELECT throws_ok('SELECT deploydb.standing_rollback(99)', '42704', 'rollback 99 does not exist');
SELECT is(w::text, '(,{})', 'nothing is in its way') FROM deploydb.rollback r, deploydb.in_the_way(r.moved) w;
SELECT is(deploydb.acts(format('SELECT to_jsonb(k) FROM deploydb.keep_apart(%s) k', :done))::jsonb, '{"kept": null, "rows": null}', 'so nothing is kept apart');
SELECT throws_ok(format('SELECT deploydb.restore_rolled_back_definer(%s)', :done), '55000', 'nobody is acted for');
SELECT throws_ok(format('SELECT deploydb.discard_rolled_back_definer(%s, ''why'')', :done), '55000', NULL, 'it is kept for a while');
CREATE TABLE decision_insights AS SELECT 1 AS id;
SELECT is(w::text, '("DROP TABLE public.decision_insights;",{public.decision_insights})', 'now something is') FROM deploydb.rollback r, deploydb.in_the_way(r.moved) w;
SELECT throws_ok(format('SELECT deploydb.keep_apart(%s)', :done), '55000', 'nobody is acted for');
BEGIN;
SELECT is(deploydb.acts(format('SELECT to_jsonb(k) FROM deploydb.keep_apart(%s) k', :done))::jsonb -> 'rows', '{"public.decision_insights": 1}', 'it is kept apart');
SELECT hasnt_table('public', 'decision_insights', 'and away');
SELECT is(reason, format('kept apart when rollback %s was restored', :done), 'as a rollback of its own') FROM deploydb.rollback ORDER BY id DESC LIMIT 1;
ROLLBACK;
DROP TABLE decision_insights;
SELECT is(deploydb.restore_rolled_back(:done) ->> 'ledger', 'applied', 'restored');
SELECT throws_ok(format('SELECT deploydb.standing_rollback(%s)', :done), '55000', format('rollback %s was restored by %s', :done, session_user), 'it does not stand any more');

-- Reasons for one

SELECT is(deploydb.beyond_since('api.up', '', 1, 'infinity'), NULL, 'nothing was sampled');
INSERT INTO deploydb.metric_sample (metric, series, at, value)
SELECT 'api.up', '', '2026-01-01'::timestamptz + make_interval(mins => m), v FROM (VALUES (0, 0), (1, 1), (2, 0), (3, 0)) AS s (m, v);
SELECT is(deploydb.beyond_since('api.up', '', 1, 'infinity'), '2026-01-01 00:02:00+00', 'down since');
SELECT is(deploydb.beyond_since('api.up', '', 0, 1), NULL, 'within these bounds');
SELECT is(deploydb.beyond_since('api.up', 'other', 1, 'infinity'), NULL, 'each series by itself');
SELECT is(string_agg(trigger || ' ' || verdict, ', '), 'error_rate not_measured, api_down not_measured, data_lost not_measured, users not_measured', 'no reasons are measured')
FROM deploydb.rollback_advice();

SELECT * FROM finish();
