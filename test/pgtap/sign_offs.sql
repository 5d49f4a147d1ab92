-- What belongs to a deployment besides its phases: problems, contacts, targets,
-- sign-offs, whether to go on, and the seals of the log.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_lead;
CREATE ROLE deploydb_test_dba;
CREATE ROLE deploydb_test_ops;
SELECT deploydb.grant_access(r, 'signer') FROM unnest('{deploydb_test_lead,deploydb_test_dba,deploydb_test_ops}'::text[]) r \g /dev/null
SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/hook') \g /dev/null
SELECT ddl AS migration, migration AS name, checksum FROM deploydb.builtin_migrations() \gset
:migration
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
	migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations (id, migration_name, checksum, started_at, finished_at, applied_steps_count)
VALUES ('5a0a3c1e-90f5-4a35-9d5e-0d2f8f1c7a52', :'name', :'checksum', '2026-01-01', '2026-01-01 00:00:01', 1);
CREATE FUNCTION states() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', role, state), ', ' ORDER BY id) FROM deploydb.sign_off_status $$;
CREATE FUNCTION missing(stage text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(m ->> 'item', ' ') FROM jsonb_array_elements(deploydb.go_no_go(NULL, stage) -> 'missing') m $$;

SELECT plan(94);

-- problems
SELECT throws_ok($$SELECT deploydb.go_no_go()$$, '42704', 'there is no deployment yet');
SELECT isnt(deploydb.deployment_start('v1', 'first'), NULL, 'a deployment');
SELECT throws_ok($$SELECT deploydb.log_issue('a', 'P4')$$, '22023', 'invalid severity: "P4"');
SELECT throws_ok($$SELECT deploydb.log_issue(' ', 'P1')$$, '22023', 'title must not be empty');
SELECT throws_ok($$SELECT deploydb.log_issue(NULL, 'P1')$$, '22004', 'title and severity must not be NULL');
SELECT is(deploydb.log_issue('logins fail', 'P1', '一半用户'), 1::bigint, 'a problem');
SELECT is((SELECT concat_ws('|', deployment, title, severity, impact, opened_by = session_user, resolved_at) FROM deploydb.problem),
	'1|logins fail|P1|一半用户|t', 'as it was told');
SELECT ok(missing('before') ~ 'problem\.1', 'stands in the way');
SELECT ok(missing('before') ~ 'code\.bugs', 'and the checklist knows of it');
SELECT throws_ok($$SELECT deploydb.resolve_issue(1, '')$$, '22023', 'a solution is needed');
SELECT throws_ok($$SELECT deploydb.resolve_issue(1, NULL)$$, '22004', 'a solution is needed');
SELECT throws_ok($$SELECT deploydb.resolve_issue(7, 'x')$$, '42704', 'problem 7 does not exist');
SELECT throws_ok($$SELECT deploydb.resolve_issue(NULL, 'x')$$, '22004', 'id must not be NULL');
SELECT is(deploydb.resolve_issue(1, 'restarted'), true, 'solved');
SELECT throws_ok($$SELECT deploydb.resolve_issue(1, 'again')$$, '55000', 'problem 1 is resolved', 'once');
SELECT ok(missing('before') !~ 'problem\.1', 'and out of the way');

-- contacts
SELECT throws_ok($$SELECT deploydb.set_contact('cto', 'a', 'b')$$, '22023', 'invalid role: "cto"');
SELECT throws_ok($$SELECT deploydb.set_contact(NULL, 'a', 'b')$$, '22004', 'role must not be NULL');
SELECT is(deploydb.set_contact('dba', '王', '@wang'), true, 'whom to call');
SELECT is(deploydb.set_contact('dba', '李', '@li'), true, 'another one');
SELECT is((SELECT string_agg(concat_ws(' ', role, name, how), ', ') FROM deploydb.contact), 'dba 李 @li', 'takes the place');
SELECT is(deploydb.set_contact('dba', NULL, ' '), true, 'nobody');
SELECT is_empty('SELECT * FROM deploydb.contact', 'is called any more');

-- targets
SELECT is((SELECT string_agg(concat_ws(' ', metric, target, verdict), ', ') FROM deploydb.targets()),
	'api_p95 < 200 ms not_measured, api_p99 < 500 ms not_measured, error_rate < 1 % not_measured, insight_write > 99 % not_measured, '
	'alert_evaluation < 10 ms not_measured, active_alerts 0 not_measured', 'nothing was measured yet');
SELECT deploydb.push_metric('http.request.duration.p95', 0.15) \g /dev/null
SELECT deploydb.push_metric('http.request.duration.p99', 0.7) \g /dev/null
SELECT deploydb.push_metric('http.error_rate.5xx', 0.001) \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', metric, actual, samples, verdict), ', ') FROM deploydb.targets() WHERE verdict <> 'not_measured'),
	'api_p95 150.00 ms 1 met, api_p99 700.00 ms 1 unmet, error_rate 0.10 % 1 met', 'what was pushed is held against its target');
SELECT is((SELECT count(*) FROM deploydb.targets() t, deploydb.deployment d WHERE t.due = d.started_at + interval '24 hours'
	AND t.since = d.started_at), 6::bigint, 'of 24 hours from the start');
SELECT is(deploydb.note_targets(now()), 0::bigint, 'not before these are over');
SELECT is(deploydb.note_targets(now() + interval '25 hours'), 1::bigint, 'then they are noted');
SELECT is(deploydb.note_targets(now() + interval '26 hours'), 0::bigint, 'once');
SELECT is((SELECT concat_ws('|', action, status) FROM deploydb.log_entry ORDER BY id DESC LIMIT 1), 'targets after 24 hours|failed', 'logged');
SELECT ok((SELECT body::jsonb ->> 'message' FROM deploydb.outbox ORDER BY id DESC LIMIT 1)
	LIKE 'Deployment v1 - first after 24 hours: %api_p99 700.00 ms unmet%', 'and told');
DELETE FROM deploydb.deployment_target;
SET deploydb.language = zh;
SELECT is(deploydb.note_targets(now() + interval '25 hours'), 1::bigint, 'in Chinese');
RESET deploydb.language;
SELECT is((SELECT body::jsonb ->> 'message' FROM deploydb.outbox ORDER BY id DESC LIMIT 1),
	'部署 v1 - first 24 小时后：API响应时间 (P99) 700.00 ms ❌, Decision insights写入成功率 ❔ 未测量, Alert engine评估时间 ❔ 未测量, 无active alerts ❔ 未测量。', 'which the message is, too');
SELECT deploydb.push_metric('http.request.duration.p99', 0.2, now() + interval '1 second') \g /dev/null
SELECT is((SELECT verdict FROM deploydb.targets() WHERE metric = 'api_p99'), 'unmet', 'what came later changes nothing');

-- sign-offs
SET SESSION AUTHORIZATION deploydb_test_lead;
SELECT throws_ok($$SELECT deploydb.sign_off(NULL, 'ceo')$$, '22023', 'invalid role: "ceo"');
SELECT throws_ok($$SELECT deploydb.sign_off(NULL, NULL)$$, '22004', 'role must not be NULL');
SELECT throws_ok($$SELECT deploydb.sign_off(7, 'dba')$$, '42704', 'deployment 7 does not exist');
SELECT throws_ok($$SELECT deploydb.deployment_start('v2')$$, '42501', NULL, 'a signer opens nothing');
SELECT throws_ok($$INSERT INTO deploydb.sign_off (deployment, role, signed_by, distinct_signers, bound_to) VALUES (1, 'dba', 'x', true, '')$$,
	'42501', NULL, 'nor can a signature be written by hand');
SELECT isnt(deploydb.sign_off(NULL, 'technical_lead', 'looks good', '张'), NULL, 'the lead signs');
SELECT throws_ok($$SELECT deploydb.sign_off(NULL, 'technical_lead')$$, '55000', 'technical_lead has signed', 'once');
SELECT throws_ok($$SELECT deploydb.sign_off(1, 'dba')$$, '55000', 'deploydb_test_lead signs for one role', 'and for one role');
SET SESSION AUTHORIZATION deploydb_test_dba;
SELECT isnt(deploydb.sign_off(1, 'dba'), NULL, 'the DBA signs');
RESET SESSION AUTHORIZATION;
SELECT is(states(), 'technical_lead signed, dba signed', 'both are good');
SELECT is((SELECT string_agg(concat_ws('|', person, signed_by, note), ', ' ORDER BY id) FROM deploydb.sign_off_status),
	'张|deploydb_test_lead|looks good, deploydb_test_dba|deploydb_test_dba', 'who signed, and for whom');
SELECT ok(missing('after') ~ 'sign_off\.devops$' AND missing('after') !~ 'sign_off\.dba', 'one is missing');
SELECT ok(missing('before') !~ 'sign_off', 'but not before the migration');
SELECT is(deploydb.go_no_go() ->> 'verdict', 'no_go', 'no go');
SELECT is(deploydb.go_no_go() ->> 'stage', 'before', 'the stage');

-- void when what was signed changes
DROP INDEX decision_insights_created_at_idx;
SELECT is(states(), 'technical_lead void, dba void', 'void without an index');
SELECT ok(missing('after') ~ 'sign_off\.dba', 'and missing again');
CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at);
SELECT is(states(), 'technical_lead signed, dba signed', 'what is as it was is signed');
SELECT deploydb.add_checklist_item('team.one', 'Ours', 'One more') \g /dev/null
SELECT is(states(), 'technical_lead void, dba void', 'void with another item');
SELECT deploydb.drop_checklist_item('team.one') \g /dev/null
SELECT is(states(), 'technical_lead signed, dba signed', 'and signed without');
UPDATE _prisma_migrations SET rolled_back_at = now();
SELECT is(states(), 'technical_lead void, dba void', 'void when the ledger changes');
UPDATE _prisma_migrations SET rolled_back_at = NULL;
SELECT isnt(deploydb.attest('code.review', true, 'two eyes'), NULL, 'something is attested');
SELECT is(states(), 'technical_lead void, dba void', 'void after an attestation');
SET SESSION AUTHORIZATION deploydb_test_lead;
SELECT isnt(deploydb.sign_off(1, 'technical_lead'), NULL, 'the lead signs what is there now');
RESET SESSION AUTHORIZATION;
SELECT is(states(), 'technical_lead superseded, dba void, technical_lead signed', 'the newest counts');

-- taken back
SELECT throws_ok($$SELECT deploydb.revoke_sign_off(1, 'technical_lead', ' ')$$, '22023', 'a reason is needed');
SELECT throws_ok($$SELECT deploydb.revoke_sign_off(1, 'technical_lead', NULL)$$, '22004', 'a reason is needed');
SELECT throws_ok($$SELECT deploydb.revoke_sign_off(1, 'devops', 'x')$$, '55000', 'devops has not signed');
SELECT is(deploydb.revoke_sign_off(1, 'technical_lead', 'too early'), true, 'taken back');
SELECT is((SELECT concat_ws('|', state, revoked_by = session_user, revoke_reason) FROM deploydb.sign_off_status ORDER BY id DESC LIMIT 1),
	'revoked|t|too early', 'with a trace');

-- a setting loosens it, and that stays to be seen
SET SESSION AUTHORIZATION deploydb_test_lead;
SELECT throws_ok($$SET deploydb.distinct_signers = off$$, '55P02', NULL, 'not for a signer to set');
SELECT isnt(deploydb.sign_off(1, 'devops'), NULL, 'who took a signature back can sign for another role');
SELECT throws_ok($$SELECT deploydb.sign_off(1, 'dba')$$, '55000', 'deploydb_test_lead signs for one role', 'for one');
RESET SESSION AUTHORIZATION;
SELECT ok((SELECT bool_and(distinct_signers) FROM deploydb.sign_off), 'each says what held');

-- an older deployment stays as it was signed
SELECT isnt(deploydb.deployment_finish(), NULL, 'the end');
SELECT is(states(), 'technical_lead revoked, dba void, technical_lead revoked, devops signed', 'as it was signed');
SELECT isnt(deploydb.deployment_start('v2', migrations => '{}'), NULL, 'the next one');
DROP INDEX decision_insights_created_at_idx;
SELECT is(states(), 'technical_lead revoked, dba void, technical_lead revoked, devops signed', 'later changes are not its own, and what was void is');
SELECT is((SELECT string_agg(role, ',') FROM deploydb.sign_off_status WHERE valid), 'devops', 'one is good');
SELECT throws_ok($$SELECT deploydb.sign_off(1, 'dba')$$, '55000', 'deployment 1 is not the current one', 'what is gone is not signed');
SELECT ok((SELECT detail LIKE 'v2: open since %' FROM deploydb_status() WHERE area = 'deployment'), 'the status has it');

-- seals
SELECT is((SELECT concat_ws('|', intact, sealed, unsealed > 10, entry, head) FROM deploydb.verify_log()), 't|0|t', 'nothing is sealed yet');
SELECT is(deploydb.seal_log(), 0::bigint, 'seen');
SELECT is(deploydb.seal_log(), 0::bigint, 'no more of these can come once what runs has ended');
SELECT cmp_ok(deploydb.seal_log(), '>', 10::bigint, 'sealed');
SELECT is((SELECT concat_ws('|', intact, unsealed, length(head)) FROM deploydb.verify_log()), 't|0|64', 'and good');
SELECT deploydb.log_line('one more') \g /dev/null
SELECT is((SELECT sum(deploydb.seal_log()) FROM generate_series(1, 5)), 0::numeric, 'not within one transaction');
SELECT deploydb.seal_log() \g /dev/null
SELECT deploydb.seal_log() \g /dev/null
SELECT is((SELECT count(*) FROM deploydb.log_seal), 2::bigint, 'a second seal');
ALTER TABLE deploydb.log_entry DISABLE TRIGGER only_added;
ALTER TABLE deploydb.log_seal DISABLE TRIGGER only_added;
BEGIN;
UPDATE deploydb.log_entry SET note = 'forged' WHERE id = 3;
SELECT is((SELECT concat_ws('|', intact, entry, problem) FROM deploydb.verify_log()), 'f|3|changed', 'changed');
SELECT is((SELECT verdict FROM deploydb_status() WHERE area = 'deployment'), 'error', 'which the status says');
ROLLBACK;
BEGIN;
DELETE FROM deploydb.log_entry WHERE id IN (2, 5);
SELECT is((SELECT concat_ws('|', intact, entry, problem) FROM deploydb.verify_log()), 'f|2|removed', 'removed');
INSERT INTO deploydb.log_entry (id, who, application, action, status) OVERRIDING SYSTEM VALUE VALUES (2, 'x', '', 'x', 'ok');
SELECT is((SELECT concat_ws('|', intact, entry, problem) FROM deploydb.verify_log()), 'f|2|changed', 'put in its place');
ROLLBACK;
BEGIN;
INSERT INTO deploydb.log_entry (id, who, application, action, status) OVERRIDING SYSTEM VALUE VALUES (-1, 'x', '', 'x', 'ok');
SELECT is((SELECT concat_ws('|', intact, entry, problem) FROM deploydb.verify_log()), 'f|-1|put in between', 'put before all of it');
ROLLBACK;
BEGIN;
DELETE FROM deploydb.log_seal WHERE id = 1;
SELECT ok(NOT intact, 'a seal removed') FROM deploydb.verify_log();
SELECT is((SELECT detail FROM deploydb.status_of_deployment()), 'the log: the seal was changed, or one before it removed',
	'which the status says as well');
ROLLBACK;
BEGIN;
DELETE FROM deploydb.log_entry WHERE id > (SELECT min(last_entry) FROM deploydb.log_seal);
DELETE FROM deploydb.log_seal WHERE id = (SELECT max(id) FROM deploydb.log_seal);
SELECT is((SELECT concat_ws('|', intact, entry, problem) FROM deploydb.verify_log()), 'f|the newest seal was removed', 'the newest one removed, with what it sealed');
SELECT is((SELECT sum(deploydb.seal_log()) FROM generate_series(1, 5)), 0::numeric, 'and nothing is sealed over that');
DELETE FROM deploydb.log_seal;
SELECT is((SELECT concat_ws('|', intact, entry, problem) FROM deploydb.verify_log()), 'f|the newest seal was removed', 'or all of them');
ROLLBACK;
BEGIN;
UPDATE deploydb.log_seal SET at = at - interval '1 hour' WHERE id = 2;
SELECT ok(NOT intact, 'a seal of another time') FROM deploydb.verify_log();
ROLLBACK;
SELECT ok(intact, 'as it was') FROM deploydb.verify_log();

SELECT * FROM finish();
DROP OWNED BY deploydb_test_lead, deploydb_test_dba, deploydb_test_ops;
DROP ROLE deploydb_test_lead, deploydb_test_dba, deploydb_test_ops;
