-- Checklist: items, a team's own ones, attestations, evidence, staging.
\set QUIET on
SET client_min_messages = error;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SET search_path = public, deploydb;
SELECT plan(137);

CREATE FUNCTION state(key text) RETURNS text
LANGUAGE sql AS $$ SELECT c.state FROM deploydb.checklist() c WHERE c.item = key $$;
CREATE FUNCTION evidence(key text) RETURNS text
LANGUAGE sql AS $$ SELECT c.evidence FROM deploydb.checklist() c WHERE c.item = key $$;

-- Without a deployment

SELECT is((SELECT count(*) FROM checklist()), (SELECT count(*) FROM builtin_checklist_item), 'each built-in item is there');
SELECT is((SELECT array_agg(DISTINCT state) FROM checklist()), '{waiting}', 'without a deployment all wait');
SELECT is(evidence('db.backup'), 'there is no deployment yet', 'and say why');
SELECT is((SELECT count(*) FROM checklist_item i WHERE i.title_zh IS NULL OR i.title_en !~ '^[ -~]+$'), 0::bigint,
	'each has a title in English and Chinese');
SELECT is((SELECT array_agg(key) FROM checklist_item i WHERE command IS NOT NULL AND expected IS NULL), NULL, 'what each command should print');
SELECT is((SELECT string_agg(key, ' ' ORDER BY place) FROM checklist_item i),
	'code.tests code.review code.bugs code.typecheck code.lint db.migration_file db.staging db.backup db.rollback_script '
	'env.database_url env.webhooks env.sampling dep.node dep.postgresql dep.redis dep.npm '
	'step1.checkout step1.install step1.build step1.restart step2.backup step2.migrate step2.verify step3.health step3.metrics step3.alerts '
	'step4.smoke step4.session post.insight_write post.insight_read post.alert_engine post.metrics post.no_errors '
	'target.api_p95 target.api_p99 target.error_rate target.insight_write target.alert_evaluation target.active_alerts '
	'log.app alert.active alert.history alert.webhook rollback.error_rate rollback.api_down rollback.data_lost rollback.users '
	'rollback.code rollback.database rollback.verify rollback.notify', 'keys stay as they are');
SELECT is((SELECT array_agg(key) FROM checklist_item i WHERE kind = 'evaluated' AND to_regprocedure(format('deploydb.%I(text,bigint,text[],timestamptz,timestamptz)', COALESCE(evaluator, ''))) IS NULL),
	NULL, 'each that is evaluated has its function');
SELECT throws_ok('SELECT attest(''code.tests'', true)', '55000', 'no deployment is open', 'nothing is attested without a deployment');
SELECT throws_ok('SELECT * FROM checklist(4711)', '42704', 'deployment 4711 does not exist');

-- Attestations

SELECT deployment_start('Week 3', migrations => '{insights}') AS deployment \gset
SELECT cmp_ok(attest('code.tests', true, '13 of 13'), '>', 0::bigint, 'CI attests');
SELECT is(state('code.tests'), 'met', 'and the item is met');
SELECT is(evidence('code.tests'), format('attested by %s: 13 of 13', session_user), 'with who and what');
SELECT attest('code.tests', false) \g /dev/null
SELECT is(state('code.tests'), 'unmet', 'the newest counts');
SELECT is((SELECT count(*) FROM attestation WHERE item = 'code.tests'), 2::bigint, 'both are kept');
SELECT throws_ok('SELECT attest(''dep.redis'', NULL)', '22023', 'a reason is needed why checklist item "dep.redis" does not apply');
SELECT throws_ok('SELECT attest(''dep.redis'', NULL, E'' \t\n'')', '22023', NULL, 'blanks are none');
SELECT attest('dep.redis', NULL, 'no Redis here') \g /dev/null
SELECT is(state('dep.redis'), 'not_applicable', 'an item does not apply, for a reason');
SELECT throws_ok('SELECT attest(''code.test'', true)', '42704', 'checklist item "code.test" does not exist');
SELECT throws_ok('SELECT attest(NULL, true)', '22004');
SELECT throws_ok('SELECT attest(''code.lint'', true, repeat(''x'', 10001))', '22023');
SELECT throws_ok('UPDATE attestation SET met = true', '55000', NULL, 'what was said is not changed');
SELECT throws_ok('DELETE FROM attestation', '55000', NULL, 'nor removed');
SELECT throws_ok('TRUNCATE attestation', '55000', NULL, 'nor all of it');

-- Due

SELECT is((SELECT c.due - d.started_at FROM checklist() c, deployment d WHERE c.item = 'code.lint' AND d.id = :deployment),
	interval '30 minutes', 'an item is due when its phase is to be over');
SELECT is((SELECT c.due - d.started_at FROM checklist() c, deployment d WHERE c.item = 'log.app' AND d.id = :deployment),
	interval '90 minutes', 'the last ones at the end of the timetable');
SELECT is((SELECT c.due - d.started_at FROM checklist() c, deployment d WHERE c.item = 'target.api_p95' AND d.id = :deployment),
	interval '24 hours', 'targets after a day');
SELECT is((SELECT c.due FROM checklist() c WHERE c.item = 'rollback.code'), NULL, 'a rollback never');
SELECT is(state('code.lint'), 'waiting', 'before it is due an item waits');
UPDATE deployment SET started_at = started_at - interval '31 minutes';
SELECT is(state('code.lint'), 'unmet', 'then it is unmet');
SELECT is(state('step1.build'), 'waiting', 'the next phase''s wait');
UPDATE deployment_phase SET started_at = clock_timestamp(), started_by = 'x' WHERE phase = 'code';
SELECT ok((SELECT c.due > clock_timestamp() + interval '9 minutes' FROM checklist() c WHERE c.item = 'step1.build'),
	'a phase that began late is over later');
SELECT ok((SELECT c.due > clock_timestamp() + interval '59 minutes' FROM checklist() c WHERE c.item = 'log.app'),
	'and so are those after it');

-- The migration

SELECT is(state('db.migration_file'), 'met', 'the file of a known migration is there');
SELECT is(state('step2.migrate'), 'not_measured', 'without a ledger nobody knows whether it is applied');
SELECT is(state('step2.verify'), 'waiting', 'it is not there yet');
SELECT is(evidence('post.insight_write'), 'the migration has not begun', 'no insight before the migration');
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
	migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
SELECT is(state('step2.migrate'), 'waiting', 'an empty ledger lacks it');
SELECT is(state('step2.verify'), 'waiting', 'so that it is not yet there');
SELECT ddl FROM builtin_migrations() \gexec
SELECT is(state('step2.verify'), 'met', 'it is there, exactly');
INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
	SELECT '1', checksum, migration, clock_timestamp(), 1 FROM builtin_migrations();
SELECT is(state('step2.migrate'), 'met', 'the ledger has it as applied');
SELECT alike(evidence('db.migration_file'), '%: the ledger has its checksum', 'with the checksum of the file');
UPDATE _prisma_migrations SET checksum = repeat('0', 64);
SELECT is(state('db.migration_file'), 'unmet', 'another checksum is another file''s');
UPDATE _prisma_migrations SET finished_at = NULL, checksum = (SELECT checksum FROM builtin_migrations());
SELECT is(state('step2.migrate'), 'unmet', 'a failed one is not applied');
UPDATE _prisma_migrations SET finished_at = clock_timestamp();
DROP INDEX decision_insights_decision_id_key;
SELECT is(state('step2.verify'), 'unmet', 'an index is missing');
CREATE UNIQUE INDEX decision_insights_decision_id_key ON decision_insights (decision_id);
SELECT is(state('step2.verify'), 'met', 'and there again');

-- Staging

SELECT is(state('db.staging'), 'unmet', 'nothing is imported from staging in time');
SELECT throws_ok('SELECT import_staging(staging_evidence())', '22023', 'the evidence is of this very database');
SELECT set_config('test.staging', (staging_evidence('{insights}') || '{"system_identifier": "1", "source": "staging"}')::text, false) \g /dev/null
SELECT is(jsonb_array_length(current_setting('test.staging')::jsonb -> 'migrations'), 1, 'evidence of one migration');
SELECT is(import_staging(current_setting('test.staging')::jsonb), 1, 'is imported');
SELECT is(state('db.staging'), 'met', 'and staging has the same fingerprint');
CREATE FUNCTION state_after(path text[], value jsonb) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM import_staging(jsonb_set(current_setting('test.staging')::jsonb, '{migrations,0}'::text[] || path, value));
	RETURN state('db.staging');
END $$;
SELECT is(state_after(v.path::text[], v.value::jsonb), v.expected, format('on staging %s is %s', v.path, v.value))
	FROM (VALUES ('{verdict}', 'false', 'unmet'), ('{verdict}', 'null', 'not_measured'), ('{fingerprint}', '"other"', 'unmet'),
		('{checksum}', '"other"', 'unmet'), ('{ledger}', '"failed"', 'unmet')) AS v (path, value, expected);
SELECT import_staging(current_setting('test.staging')::jsonb || '{"server_version_num": 140001}') \g /dev/null
SELECT is(state('db.staging'), 'not_measured', 'another major version is not comparable');
SELECT throws_ok(format('SELECT import_staging(%L)', d), '22023', NULL, 'is no evidence: ' || d)
	FROM unnest(ARRAY['null', '[]', '{}', '"x"', '{"format": "deploydb staging evidence"}',
		(current_setting('test.staging')::jsonb || '{"migrations": [1]}')::text,
		(current_setting('test.staging')::jsonb || '{"migrations": [{"migration": "m", "verdict": 1}]}')::text,
		(current_setting('test.staging')::jsonb || '{"measured_at": "yesterday week"}')::text]) d;
SELECT throws_ok(format('SELECT import_staging(%L)', current_setting('test.staging')::jsonb || '{"measured_at": "2999-01-01"}'), '22008');

-- Backups, and the way back; the migration began a while ago

UPDATE _prisma_migrations SET started_at = clock_timestamp() - interval '20 minutes';
SELECT is(state('db.backup'), 'unmet', 'there is no backup in time');
SELECT backup_start('first') AS backup \gset
SELECT backup_finish(:backup, 1000, repeat('a', 64)) \g /dev/null
SELECT is(evidence('db.backup'), 'there is no backup that finished before the migration began, and is young enough', 'one that came later is none');
UPDATE backup SET started_at = clock_timestamp() - interval '23 minutes', finished_at = clock_timestamp() - interval '21 minutes';
SELECT is(state('db.backup'), 'met', 'one that finished before is');
SELECT alike(evidence('db.backup'), format('backup %s by pg_dump, finished at %%', :backup), 'and named');
SELECT is(state('step2.backup'), 'met', 'within the deployment');
UPDATE backup SET started_at = started_at - interval '1 hour', finished_at = finished_at - interval '1 hour';
SELECT is(state('db.backup') || ' ' || state('step2.backup'), 'met waiting', 'or before it');
UPDATE backup SET started_at = started_at - interval '24 hours', finished_at = finished_at - interval '24 hours';
SELECT is(state('db.backup'), 'unmet', 'too old a one is none');
UPDATE backup SET started_at = started_at + interval '25 hours', finished_at = finished_at + interval '25 hours';
SELECT is(state('db.rollback_script'), 'unmet', 'a rollback that nobody rehearsed is not ready');
SELECT count(*) FROM rehearse_rollback('insights') \g /dev/null
SELECT is(state('db.rollback_script'), 'met', 'rehearsed');
UPDATE rehearsal SET plan_hash = '';
SELECT alike(evidence('db.rollback_script'), '%: what was rehearsed is not what would be rolled back now', 'as another one');
UPDATE rehearsal SET passed = false;
SELECT alike(evidence('db.rollback_script'), '%: the rehearsal of its rollback failed', 'without success');

-- What the server knows counts

SELECT attest('step2.verify', false, 'I do not believe it') \g /dev/null
SELECT is(state('step2.verify'), 'met', 'what is evaluated is not attested away');
SELECT attest('env.sampling', true, 'looked at the configuration') \g /dev/null
SELECT is(state('env.sampling'), 'met', 'what is not measured is attested');
SELECT attest('step2.verify', NULL, 'not ours') \g /dev/null
SELECT is(state('step2.verify'), 'not_applicable', 'what does not apply is for people to say');
SELECT attest('code.bugs', true) \g /dev/null
SELECT is(state('code.bugs'), 'met', 'no bugs are known');
SELECT log_issue('slow', 'P2', 'a little') \g /dev/null
SELECT is(state('code.bugs'), 'met', 'but small ones');
SELECT log_issue('broken', 'P1', 'all') AS issue \gset
SELECT is(state('code.bugs'), 'unmet', 'an open problem of severity P1');
SELECT is(evidence('code.bugs'), 'P1 broken', 'says which');
SELECT attest('code.bugs', NULL, 'nobody cares') \g /dev/null
SELECT is(state('code.bugs'), 'unmet', 'which is not said away');
SELECT attest('code.bugs', true) \g /dev/null
SELECT is(state('code.bugs'), 'unmet', 'either way');
SELECT resolve_issue(:issue, 'mended') \g /dev/null
SELECT is(state('code.bugs'), 'met', 'until it is solved');
SELECT is(state('dep.postgresql'), 'met', 'the server''s version is known');
SELECT is(state('env.webhooks'), 'unmet', 'webhooks are optional only where somebody says so');

SELECT add_webhook('chat', 'generic', 'https://chat.example/hook') \g /dev/null
SELECT is(state('env.webhooks'), 'not_measured', 'without a monitor nothing is delivered');
INSERT INTO outbox (webhook, kind, topic, severity, status, body, state, finished_at)
	VALUES ('chat', 'test', 'test/1', 'P3', 'notice', '{}', 'delivered', clock_timestamp() - interval '1 day');
SELECT is(state('env.webhooks'), 'met', 'a test message was delivered once');
SELECT is(state('alert.webhook'), 'not_measured', 'and not in this deployment');
UPDATE outbox SET finished_at = clock_timestamp();
SELECT is(state('alert.webhook'), 'met', 'and now it was');

-- Insights of the application

CREATE FUNCTION insight_of(decision text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO public.decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
	VALUES (decision, decision, 'u', '{"a": 1}', '{"length": 1, "accuracy": 1, "frequency": 1, "forgetting": 1}', '0123456789abcdef', now()) $$;
SELECT is(evidence('post.insight_read'), 'there is no decision yet', 'nothing to read back');
SELECT insight_of('d1') \g /dev/null
SELECT is(state('post.insight_read'), 'met', 'an insight is read back');
SELECT is(evidence('post.insight_read'), 'decision d1 was read back; without decision_records their coverage is not measured', 'which is not all');
CREATE TABLE decision_records ("decisionId" text, "timestamp" timestamp(3), "ingestionStatus" text, "isSimulation" boolean);
INSERT INTO decision_records VALUES ('d1', (now() - interval '1 day') AT TIME ZONE 'UTC', 'SUCCESS', false);
SELECT is(evidence('post.insight_read'), 'there is no decision since the migration yet', 'older decisions prove nothing');
INSERT INTO decision_records VALUES ('d2', (now() - interval '10 seconds') AT TIME ZONE 'UTC', 'SUCCESS', false);
SELECT is(evidence('post.insight_read'), 'decision d2: missing', 'a decision without an insight');
SELECT insight_of('d2') \g /dev/null
SELECT is(evidence('post.insight_read'), 'decision d2 was read back; 1 of 1 decisions since the migration have their insight', 'covered');
INSERT INTO decision_records VALUES ('d3', (now() - interval '1 minute') AT TIME ZONE 'UTC', 'SUCCESS', false);
SELECT is(state('post.insight_read') || ', ' || evidence('post.insight_read'), 'unmet, 1 of 2 decisions since the migration have no insight', 'or not');
UPDATE decision_insights SET difficulty_factors = '{}';
SELECT is(evidence('post.insight_read'), 'decision d2: difficultyFactors is empty', 'nor well formed');
DROP TABLE decision_records;
DELETE FROM decision_insights;

-- A team's own

SELECT ok(add_checklist_item('team.rows', 'Ours', 'Rows are few', kind => 'evaluated',
	predicate => 'SELECT count(*) < 3 FROM decision_insights'), 'an item of one''s own');
SELECT is(state('team.rows'), 'met', 'is evaluated');
INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
	SELECT n, n, 'u', '{}', '{}', '0123456789abcdef', now() FROM generate_series(1, 3) n;
SELECT is(state('team.rows'), 'waiting', 'or waits for what can still come');
SELECT ok(add_checklist_item('team.hand', 'step1', 'By hand'), 'one by hand');
SELECT is((SELECT c.due FROM checklist() c WHERE c.item = 'team.hand'), (SELECT c.due FROM checklist() c WHERE c.item = 'step1.build'),
	'is due as its section is');
SELECT throws_ok(format('SELECT add_checklist_item(%s)', a), s, NULL, 'no item: ' || a)
	FROM (VALUES ('''team.hand'', ''x'', ''y''', '42710'), ('''code.tests'', ''x'', ''y''', '42710'),
		('NULL, ''x'', ''y''', '22004'), ('''Team'', ''x'', ''y''', '22023'), ('''t'', '' '', ''y''', '22023'),
		('''t'', ''x'', ''y'', kind => ''guessed''', '22023'), ('''t'', ''x'', ''y'', kind => ''evaluated''', '22023'),
		('''t'', ''x'', ''y'', predicate => ''SELECT true''', '22023'), ('''t'', ''x'', ''y'', phase => ''lunch''', '22023'),
		('''t'', ''x'', ''y'', kind => ''evaluated'', predicate => ''SELECT 1''', '42804'),
		('''t'', ''x'', ''y'', kind => ''evaluated'', predicate => ''DELETE FROM decision_insights RETURNING true''', '42601'),
		('''t'', ''x'', ''y'', kind => ''evaluated'', predicate => ''SELECT pg_catalog.setval(''''deployment_id_seq'''', 1) > 0''', '25006'))
		AS v (a, s);
SELECT checklist_hash(:deployment) AS hash \gset
SELECT ok(:'hash' ~ '^[0-9a-f]{64}$', 'items and attestations have a hash');
SELECT ok(drop_checklist_item('team.hand'), 'an own item is dropped');
SELECT isnt(checklist_hash(:deployment), :'hash', 'which changes it');
SELECT checklist_hash(:deployment) AS hash \gset
SELECT attest('code.lint', true) \g /dev/null
SELECT isnt(checklist_hash(:deployment), :'hash', 'and so does what people say');
SELECT throws_ok('SELECT drop_checklist_item(''code.lint'')', '55000', 'checklist item "code.lint" is built in');
SELECT throws_ok('SELECT drop_checklist_item(''nothing'')', '42704');

-- A predicate is its owner's

CREATE ROLE deploydb_test_teammate;
CREATE ROLE deploydb_test_reader IN ROLE pg_monitor;
GRANT SELECT ON decision_insights TO deploydb_test_teammate;
SELECT grant_access('deploydb_test_teammate', 'operator') \g /dev/null
SET ROLE deploydb_test_teammate;
SELECT add_checklist_item('team.user', 'Ours', 'Run as', kind => 'evaluated',
	predicate => 'SELECT current_user = ''deploydb_test_teammate'' AND count(*) = 3 FROM decision_insights') \g /dev/null
SET ROLE deploydb_test_reader;
SELECT is(state('team.user'), 'met', 'whoever reads the checklist has it run as its owner');
SELECT throws_ok('SELECT attest(''code.tests'', true)', '42501', NULL, 'a reader attests nothing');
RESET ROLE;
ALTER ROLE deploydb_test_teammate RENAME TO deploydb_test_renamed;
SELECT is(state('team.user'), 'waiting', 'though it is renamed');
REVOKE ALL ON decision_insights FROM deploydb_test_renamed;
SELECT alike(evidence('team.user'), 'permission denied%', 'a predicate that fails is not measured');
DROP OWNED BY deploydb_test_renamed;
DROP ROLE deploydb_test_renamed, deploydb_test_reader;
SELECT is(evidence('team.user'), 'the role that owns checklist item "team.user" was dropped', 'nor is that of a role that is gone');

-- At the end

SELECT deployment_finish() \g /dev/null
SELECT checklist_hash(:deployment) AS hash \gset
SELECT set_config('test.items', (SELECT count(*) FROM checklist())::text, false) \g /dev/null
SELECT add_checklist_item('team.late', 'Ours', 'For the next time') \g /dev/null
SELECT drop_checklist_item('team.rows') \g /dev/null
SELECT is(checklist_hash(:deployment), :'hash', 'items that come and go are nothing to a deployment that is finished');
SELECT is((SELECT count(*) FROM checklist()), current_setting('test.items')::bigint, 'which has its own');
SELECT is(state('step2.migrate'), 'met', 'at the end the migration is applied');
UPDATE _prisma_migrations SET rolled_back_at = now();
SELECT is(state('step2.migrate'), 'met', 'which stays so in the checklist of that deployment');
SELECT deployment_start('Week 4', migrations => '{insights}') \g /dev/null
SELECT is(state('step2.migrate'), 'unmet', 'and not in that of the next');

-- In Chinese

SET deploydb.language = 'zh';
SELECT is((SELECT title FROM checklist() WHERE item = 'code.tests'), '所有测试通过', 'the checklist''s own words');
SELECT is(evidence('code.review'), '尚无人确认', 'and the evidence');
SELECT is((SELECT evidence FROM checklist(:deployment) WHERE item = 'code.review'), '尚无人确认', 'also of what is finished');
SELECT is((SELECT count(*) FROM checklist_item i WHERE i.expected ~ '[a-z] [a-z]' AND phrase(i.expected) = i.expected), 0::bigint,
	'and what is expected');
RESET deploydb.language;
SELECT * FROM finish();
