-- A deployment from its start to its end: phases, log, messages, and the quiet
-- that drift keeps meanwhile.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_operator;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') \g /dev/null
SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/hook') \g /dev/null

-- The newest lines of the log, oldest first.
CREATE FUNCTION lines(wanted integer) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws('|', action, status, note), E'\n' ORDER BY id)
	FROM (SELECT * FROM deploydb.log_entry ORDER BY id DESC LIMIT wanted) l $$;
CREATE FUNCTION newest_message() RETURNS text LANGUAGE sql AS $$
	SELECT body::jsonb ->> 'message' FROM deploydb.outbox ORDER BY id DESC LIMIT 1 $$;

SELECT plan(68);

-- before there is any
SELECT is(deploydb.current_deployment(), NULL, 'no deployment is the current one');
SELECT throws_ok($$SELECT deploydb.deployment_finish()$$, '55000', 'no deployment is open', 'nothing to finish');
SELECT throws_ok($$SELECT deploydb.phase_start('code')$$, '55000', 'no deployment is open', 'no phase to start');
SELECT throws_ok($$SELECT deploydb.deployment_or_error(NULL)$$, '42704', 'there is no deployment yet');
SELECT cmp_ok(deploydb.log_line('looked around', 'info', 'a | b'), '>', 0::bigint, 'a line of no deployment');
SELECT is((SELECT deployment FROM deploydb.log_entry), NULL, 'belongs to none');

-- bad input
SELECT throws_ok($$SELECT deploydb.deployment_start(NULL)$$, '22004', 'a deployment needs a version');
SELECT throws_ok($$SELECT deploydb.deployment_start(' ')$$, '22023', 'a deployment needs a version');
SELECT throws_ok($$SELECT deploydb.deployment_start('v1', target_date => 'soon')$$, '22023', 'invalid target date: "soon"');
SELECT throws_ok($$SELECT deploydb.deployment_start('v1', target_date => '2025-13-03')$$, '22023', 'invalid target date: "2025-13-03"');
SELECT throws_ok($$SELECT deploydb.deployment_start('v1', links => '[1]')$$, '22023', 'links must be a JSON object');
SELECT throws_ok($$SELECT deploydb.deployment_start('v1', migrations => '{no_such}')$$, '42704');
SELECT throws_ok($$SELECT deploydb.deployment_start('v1', migrations => '{NULL}')$$, '22004', 'a migration''s name must not be NULL');
SELECT throws_ok($$SELECT deploydb.log_line(NULL)$$, '22004', 'action and status must not be NULL');
SELECT throws_ok($$SELECT deploydb.log_line(' ')$$, '22023', 'action must not be empty');
SELECT throws_ok($$SELECT deploydb.log_line('a', 'good')$$, '22023', 'invalid status: "good"');
SELECT is(deploydb.open_deployment(), NULL, 'nothing was opened by any of these');

-- by an operator
SET ROLE deploydb_test_operator;
SELECT isnt(deploydb.deployment_start('Week 3', '词汇 "quoted"', '2025-12-03', 'ops', '{add_decision_insights,insights}', 'abc123',
	'{"dashboard": "https://grafana.invalid/d/1"}'), NULL, 'an operator opens one');
RESET ROLE;
SELECT is((SELECT concat_ws('|', version, title, target_date, owner, migrations, commit_hash, links, started_by = session_user,
		mute_until - started_at, finished_at) FROM deploydb.deployment),
	'Week 3|词汇 "quoted"|2025-12-03|ops|{20251203071615_add_decision_insights}|abc123|{"dashboard": "https://grafana.invalid/d/1"}|t|01:30:00',
	'all that was given is kept, and each migration once');
SELECT is(deploydb.open_deployment(), deploydb.current_deployment(), 'it is open, and the current one');
SELECT is((SELECT string_agg(concat_ws(' ', phase, minutes, range, owner), ', ' ORDER BY position) FROM deploydb.deployment_phase),
	'pre_checks 30 ops, code 10 5-10 ops, migration 5 2-5 ops, health 5 2 ops, smoke 10 5 ops, post 30 ops', 'the timetable');
SELECT is(lines(1), 'deployment started|ok|Week 3 - 词汇 "quoted"', 'the log begins by itself');
SELECT is(newest_message(), 'Deployment Week 3 - 词汇 "quoted" has started.', 'the team hears of it');
SELECT is((SELECT format('%s %s %s', s.rule, s.until = d.mute_until, s.reason)
	FROM deploydb.silence s, deploydb.deployment d WHERE d.silence = s.id), 'migration_drift t deployment 1',
	'drift is not told, until a time');
SELECT throws_ok($$SELECT deploydb.deployment_start('v2')$$, '55006', 'deployment 1 is open', 'one is open at a time');
SELECT is((SELECT count(*) FROM deploydb.deployment), 1::bigint, 'and nothing is left of the other');

-- phases
SELECT throws_ok($$SELECT deploydb.phase_start('cod')$$, '42704', 'phase "cod" does not exist');
SELECT throws_ok($$SELECT deploydb.phase_start(NULL)$$, '22004', 'phase must not be NULL');
SELECT throws_ok($$SELECT deploydb.phase_finish('pre_checks')$$, '55000', 'phase "pre_checks" has not started');
SELECT isnt(deploydb.phase_start('pre_checks', 'qa'), NULL, 'a phase starts');
SELECT throws_ok($$SELECT deploydb.phase_start('pre_checks')$$, '55000', 'phase "pre_checks" has started');
SELECT throws_ok($$SELECT deploydb.phase_finish('pre_checks', 'good')$$, '22023', 'invalid status: "good"');
SELECT throws_ok($$SELECT deploydb.phase_finish('pre_checks', NULL)$$, '22004', 'status must not be NULL');
SELECT isnt(deploydb.phase_finish('pre_checks', note => '13/13'), NULL, 'and is finished');
SELECT throws_ok($$SELECT deploydb.phase_finish('pre_checks')$$, '55000', 'phase "pre_checks" is finished');
SELECT is((SELECT concat_ws('|', owner, status, note, finished_at >= started_at) FROM deploydb.deployment_phase WHERE phase = 'pre_checks'),
	'qa|ok|13/13|t', 'with who is responsible, its status and a note');
SELECT is(lines(1), 'phase finished: pre_checks|ok|13/13', 'which the log has, too');

-- code before its migration
SELECT is(deploydb.migration_is_there('20251203071615_add_decision_insights'), false, 'the table is not there yet');
SELECT isnt(deploydb.phase_start('code'), NULL, 'the code comes all the same');
SELECT is(lines(1), 'code before migration|warning|20251203071615_add_decision_insights', 'and the log says what was wrong with that');
SELECT isnt(deploydb.phase_finish('code'), NULL, 'it is deployed');
SELECT is(lines(1), 'code deployed|ok', 'a standard line');

-- the migration
SELECT isnt(deploydb.phase_start('migration'), NULL, 'migration');
SELECT is(deploydb.watch_deployment(now()), 0::bigint, 'not verified while there is nothing');
SELECT ddl AS migration FROM deploydb.builtin_migrations() \gset
:migration
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
	migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations (id, migration_name, checksum, started_at, finished_at, applied_steps_count)
SELECT '5a0a3c1e-90f5-4a35-9d5e-0d2f8f1c7a52', migration, checksum, now() - interval '1 second', now(), 1 FROM deploydb.builtin_migrations();
SELECT isnt(deploydb.phase_finish('migration'), NULL, 'it is done');
SELECT is(lines(2), E'migration done|ok\nmigration verified|ok|20251203071615_add_decision_insights', 'and verified, as the log says');
SELECT is(newest_message(), 'Deployment Week 3 - 词汇 "quoted": its migrations are verified.', 'which the team hears');
SELECT is(deploydb.watch_deployment(now()), 0::bigint, 'once');
SELECT isnt((SELECT verified_at FROM deploydb.deployment), NULL, 'the time is kept');
SET client_min_messages = error;
SELECT deploydb.rollback_migration((p ->> 'id')::bigint, 'why') AS rolled_back FROM deploydb.plan_rollback('insights') p \gset
SELECT is(deploydb.watch_deployment(clock_timestamp()), 0::bigint, 'not while it is rolled back');
SELECT deploydb.restore_rolled_back(:rolled_back) \g /dev/null
RESET client_min_messages;
SELECT is(deploydb.watch_deployment(clock_timestamp()), 1::bigint, 'once more when it is back');
SELECT is(newest_message(), 'Deployment Week 3 - 词汇 "quoted": its migrations are verified.', 'which the team hears, too');
SELECT is(deploydb.watch_deployment(clock_timestamp()), 0::bigint, 'once');
SELECT ok(deploydb.phase_start('health') IS NOT NULL AND deploydb.phase_finish('health', 'failed', '503') IS NOT NULL, 'a phase that fails');
SELECT is(lines(1), 'phase failed: health|failed|503', 'is not called passed');

-- the end
SELECT throws_ok($$SELECT deploydb.deployment_finish('fine')$$, '22023', 'invalid outcome: "fine"');
SET deploydb.language = zh;
SELECT is(deploydb.deployment_finish('rolled_back', 'the API was down'), 1::bigint, 'closed, with what became of it');
SELECT is(newest_message(), '部署 Week 3 - 词汇 "quoted" 已结束：已回滚。', 'which the team hears in its language');
SELECT ok((SELECT s.until <= clock_timestamp() AND ended_by = session_user FROM deploydb.silence s), 'drift is told again');

SELECT is(lines(1), 'deployment finished|failed|rolled_back: the API was down', 'and nobody asks what was missing');
SET client_min_messages = error;
SELECT deploydb.deployment_start('v2', migrations => '{}') AS opened \gset
BEGIN;
SELECT deploydb.deployment_finish('succeeded', 'at last') \g /dev/null
SELECT ok(lines(1) ~ '^deployment finished\|ok\|succeeded, though no_go: \d+ items missing: at last$',
	'the log says that it succeeded though much was missing');
SELECT is(substring(lines(1) FROM '\d+')::integer, jsonb_array_length(deploydb.go_no_go(:opened, 'after') -> 'missing'), 'and how much');
ROLLBACK;
ALTER FUNCTION deploydb.go_no_go(bigint, text) RENAME TO broken;
SELECT is(deploydb.deployment_finish(), :opened::bigint, 'what cannot be asked stops no end');
SELECT is(lines(1), 'deployment finished|ok|succeeded', 'and nothing is said of it');
ALTER FUNCTION deploydb.broken(bigint, text) RENAME TO go_no_go;
SELECT deploydb.register_migration('20260101_later', 'CREATE TABLE later (id int)') \g /dev/null
SELECT deploydb.deployment_start('v3', migrations => '{later}'), deploydb.phase_start('migration'), deploydb.phase_finish('migration') \g /dev/null
SELECT is(lines(2), E'migration done|ok\nmigration not verified|warning|20260101_later', 'a migration that is done and not there');

-- the log is only ever added to
SELECT throws_ok($$UPDATE deploydb.log_entry SET note = ''$$, '55000', 'cannot update table "deploydb.log_entry"');
SELECT throws_ok($$DELETE FROM deploydb.log_entry$$, '55000', 'cannot delete table "deploydb.log_entry"');
SELECT throws_ok($$TRUNCATE deploydb.log_entry$$, '55000', 'cannot truncate table "deploydb.log_entry"');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_operator;
DROP ROLE deploydb_test_operator;
