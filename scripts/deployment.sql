-- deployment.sql
--		A whole deployment as the checklist has it: staging, a backup, a rehearsal,
--		a migration that fails, a rollback, a deploy again, and a report that three
--		people sign.  Run by psql, by a superuser, who needs no password, with
--		deploydb-dump in the path:  psql -X -d production < scripts/deployment.sql
--		Needs databases production and staging, each after scripts/lib/prisma.sql; in
--		variable receiver a webhook's address, in folder where backup and report go.
\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
\pset null ''
\pset format wrapped
\pset columns 100
\set superuser :USER
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE app LOGIN;
CREATE ROLE lead LOGIN;
CREATE ROLE dbadmin LOGIN;
CREATE ROLE devops LOGIN;
GRANT pg_monitor, pg_read_all_data TO lead, dbadmin, devops;
SELECT deploydb.grant_access(r, 'signer') FROM unnest('{lead,dbadmin,devops}'::text[]) r \g /dev/null
ALTER DATABASE production SET deploydb.app_role = 'app';
-- nothing is fast while all of this is built and told at once
ALTER DATABASE production SET deploydb.slow_query_threshold = '1min';
-- an index of long ago, whose name will be in the way
CREATE TABLE old_insights (created_at timestamp);
CREATE INDEX decision_insights_created_at_idx ON old_insights (created_at);
CREATE PROCEDURE prisma.wait_until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	done boolean;
BEGIN
	FOR look IN 1 .. 6000 LOOP
		COMMIT;
		EXECUTE 'SELECT ' || condition INTO done;
		EXIT WHEN done;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

\echo
\echo '-- A deployment, as the checklist has it. On staging the migration has run;'
\echo '-- what deploydb saw there is a document, which production takes:'
\echo
\connect staging
SET client_min_messages = warning;
\set ECHO queries
CALL prisma.migrate_deploy();
SELECT deploydb_verify_migration();
\set ECHO none
\echo 'SELECT deploydb.staging_evidence() AS document \\gset'
\echo '\\connect production'
\echo 'SELECT deploydb.import_staging(:\'document\');'
SELECT deploydb.staging_evidence() AS document \gset
\connect production
SET client_min_messages = warning;
SELECT deploydb.import_staging(:'document');
\set ECHO queries

\echo '-- Open it. The team is told by its webhook (the indented lines are the receiver''s):'
\echo
SELECT deploydb.add_webhook('team', 'slack', :'receiver');
CALL deploydb.test_webhook('team');
SELECT deploydb.deployment_start('Week 3', 'AMAS Monitoring System', '2025-12-03', 'ops',
	'{add_decision_insights}', 'abc123');
SELECT deploydb.set_contact('technical_lead', 'lead of the API', '#api') AS technical_lead,
	deploydb.set_contact('dba', 'on-call DBA', '#dba') AS dba,
	deploydb.set_contact('devops', 'on-call DevOps', '#ops') AS devops,
	deploydb.set_contact('product_owner', 'owner of the product', '#product') AS product_owner;
SELECT deploydb.phase_start('pre_checks');

\echo '-- CI says what it knows, a line each (psql -c):'
\echo
SELECT count(deploydb.attest(item, true, 'CI job 17')) AS attested
FROM deploydb.checklist() WHERE section LIKE 'pre.%' AND kind <> 'evaluated' AND item <> 'dep.redis';
SELECT deploydb.attest('dep.redis', NULL, 'no Redis here');

\echo '-- May it begin? Not yet:'
\echo
SELECT m ->> 'item' AS item, m ->> 'state' AS state, m ->> 'detail' AS detail
FROM deploydb.go_no_go() AS g, jsonb_array_elements(g -> 'missing') AS m;

\echo '-- A backup, and a restore of it; a rollback, rehearsed:'
\echo
\cd :folder
\echo '$ deploydb-dump -d production'
\! deploydb-dump -d production 2>&1
\echo '$ deploydb-restore-test -d production'
\! deploydb-restore-test -d production 2>&1
\echo
SELECT step, status, detail FROM deploydb.rehearse_rollback('decision_insights');
SELECT deploydb.go_no_go() ->> 'verdict' AS verdict;
SELECT deploydb.phase_finish('pre_checks');

\echo '-- The migration. Prisma fails, and refuses to go on:'
\echo
SELECT deploydb.phase_start('migration');
\set ON_ERROR_STOP off
CALL prisma.migrate_deploy();
CALL prisma.migrate_deploy();
\set ON_ERROR_STOP on
SELECT migration, state, note FROM deploydb.ledger();

\echo '-- There is nothing of it in the database, so a rollback only settles the ledger:'
\echo
SELECT p ->> 'id' AS plan, p -> 'tables' AS tables, p #>> '{ledger,state}' AS ledger, p ->> 'at_start' AS at_start
FROM deploydb.plan_rollback('decision_insights') AS p;
SELECT deploydb.rollback_migration(1, 'P3018: the name of an index was taken');
ALTER INDEX decision_insights_created_at_idx RENAME TO old_insights_created_at_idx;
CALL prisma.migrate_deploy();
SELECT deploydb_verify_migration();
SELECT deploydb.phase_finish('migration');

\echo '-- Now the code. The application writes; but of its requests 7 of 100 fail, as whoever'
\echo '-- counts them pushes, twice. Is there a reason to go back?'
\echo
SELECT deploydb.phase_start('code');
\set ECHO none
GRANT SELECT, INSERT, UPDATE ON decision_insights TO app;
\connect production app
INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
SELECT n, 'decision ' || n, 'user', '{"attention": 0.7, "fatigue": 0.2}',
	'{"length": 1, "accuracy": 0.9, "frequency": 3, "forgetting": 0.2}', '0123456789abcdef', now()
FROM generate_series(1, 140) n;
\connect production :superuser
SET client_min_messages = warning;
\set ECHO queries
SELECT deploydb.push_metric('http.error_rate.5xx', 0.07);
\set ECHO none
CALL prisma.wait_until($$EXISTS (SELECT FROM deploydb.alert_status
	WHERE rule = 'rollback_error_rate' AND status = 'pending')$$);
\set ECHO queries
SELECT deploydb.push_metric('http.error_rate.5xx', 0.07);
\set ECHO none
CALL prisma.wait_until($$EXISTS (SELECT FROM deploydb.notification
	WHERE topic LIKE 'rollback_error_rate/%' AND status = 'firing' AND state = 'delivered')$$);
\set ECHO queries
SELECT trigger, verdict, value FROM deploydb.rollback_advice();

\echo '-- There is; people decide. What would a rollback do?'
\echo
SELECT p ->> 'id' AS plan, p #>> '{tables,0,relation}' AS relation, p #>> '{tables,0,rows}' AS rows,
	p #>> '{tables,0,moved_to}' AS moved_to, p -> 'dependents' AS dependents, p ->> 'backup' AS backup
FROM deploydb.plan_rollback('decision_insights') AS p;
\set ON_ERROR_STOP off
SELECT deploydb.rollback_migration(2, '7 of 100 requests fail');
\set ON_ERROR_STOP on

\echo
\echo '-- The application is stopped; what it wrote in the last minute still counts, so'
\echo '-- this takes force:'
\echo
SELECT deploydb.rollback_migration(2, '7 of 100 requests fail', force => true);
SELECT deploydb.log_issue('7 of 100 requests fail', 'P1', 'no answer');
SELECT to_regclass('decision_insights') AS gone, count(*) AS kept FROM deploydb_backup.decision_insights_2;

\echo '-- The code is mended, and the migration deployed again. The rows were not lost:'
\echo
SELECT deploydb.resolve_issue(1, 'a larger pool');
SELECT deploydb.push_metric('http.error_rate.5xx', 0);
CALL prisma.migrate_deploy();
SELECT deploydb_verify_migration();
INSERT INTO decision_insights SELECT * FROM deploydb_backup.decision_insights_2;
SELECT deploydb.phase_finish('code');

\echo '-- Health, smoke tests, and an insight of the application''s own:'
\echo
SELECT deploydb.phase_start('health');
SELECT deploydb.attest('step3.health', true, 'the API answers');
\set ECHO none
CALL prisma.wait_until($$EXISTS (SELECT FROM deploydb.alert_state
	WHERE rule = 'rollback_error_rate' AND recoveries > 0)$$);
\set ECHO queries
SELECT deploydb.push_metric('http.error_rate.5xx', 0);
\set ECHO none
CALL prisma.wait_until('NOT EXISTS (SELECT FROM deploydb.active_alert)');
\set ECHO queries
SELECT deploydb.health() ->> 'status' AS status;
SELECT deploydb.phase_finish('health');
SELECT deploydb.phase_start('smoke');
\set ECHO none
GRANT SELECT, INSERT, UPDATE ON decision_insights TO app;
\connect production app
INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
VALUES (141, 'decision 141', 'user', '{"attention": 0.7, "fatigue": 0.2}',
	'{"length": 1, "accuracy": 0.9, "frequency": 3, "forgetting": 0.2}', '0123456789abcdef', now());
\connect production :superuser
SET client_min_messages = warning;
\set ECHO queries
SELECT step, status, detail FROM deploydb.smoke_test();
SELECT i ->> 'decisionId' AS decision, i -> 'stateSnapshot' AS snapshot, i -> 'problems' AS problems
FROM deploydb.wait_insight() AS i;
SELECT deploydb.phase_finish('smoke');
SELECT deploydb.phase_start('post');
CALL deploydb.test_webhook('team');
SELECT deploydb.phase_finish('post');

\echo '-- What people did and saw by hand, they say:'
\echo
SELECT count(deploydb.attest(item, true, 'done')) AS attested FROM deploydb.checklist()
WHERE section ~ '^(step|post|rollback.steps)' AND kind <> 'evaluated';
SELECT item, state, evidence FROM deploydb.checklist() WHERE item IN ('post.no_errors', 'alert.history');
SELECT deploydb.attest('alert.history', true, 'seen');
SELECT deploydb.attest('post.no_errors', NULL, 'seen: those of the failed migration, and of the refused rollback');

\echo '-- Three sign, each as themselves:'
\echo
\set ECHO none
\connect production lead
\set ECHO queries
SELECT deploydb.sign_off(NULL, 'technical_lead', person => 'the technical lead');
\set ECHO none
\connect production dbadmin
\set ECHO queries
SELECT deploydb.sign_off(NULL, 'dba', person => 'the DBA');
\set ECHO none
\connect production devops
\set ECHO queries
SELECT deploydb.sign_off(NULL, 'devops', person => 'DevOps');
\set ECHO none
\connect production :superuser
SET client_min_messages = warning;
\set ECHO queries
SELECT g ->> 'verdict' AS verdict, g -> 'missing' AS missing FROM deploydb.go_no_go(stage => 'after') AS g;
SELECT deploydb.deployment_finish();

\echo '-- The log wrote itself, and the monitor seals it:'
\echo
SELECT who, action, status, note FROM deploydb.log_entry ORDER BY id;
\set ECHO none
CALL prisma.wait_until('(SELECT unsealed = 0 FROM deploydb.verify_log())');
CALL prisma.wait_until($$NOT EXISTS (SELECT FROM deploydb.notification WHERE state <> 'delivered')$$);
\set ECHO queries
SELECT intact, sealed, unsealed FROM deploydb.verify_log();

\echo '-- The filled checklist, as Markdown; some of it:'
\echo
\set ECHO none
\pset tuples_only on
\pset format unaligned
\o report.md
SELECT deploydb.deployment_report(lang => 'en');
\o report.zh-CN.md
SELECT deploydb.deployment_report(lang => 'zh');
\o
\! awk '/^##* [A-Z]/ { shown = /^# |Database$|^## (Rollbacks|Sign-offs)/ } /^[*][*]Commands/ { shown = 0 } shown' report.md
\pset tuples_only off
\pset format wrapped
