-- The parts that deployments, the checklist and the report are made of, each by
-- itself: every function of these areas that no other test calls.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SELECT no_plan();

-- Texts

SELECT is(deploydb.setting('language'), 'en', 'a setting');
SELECT throws_ok($$SELECT deploydb.setting('no_such')$$, '42704');
SELECT is(deploydb.phrase('met') || ' ' || deploydb.phrase('no such phrase'), 'met no such phrase', 'English stays as it is');
SELECT is(deploydb.label('rolled_back') || ', ' || deploydb.label('dba'), 'rolled back, DBA', 'labels');
SET deploydb.language = zh;
SELECT is(deploydb.phrase('met') || ' ' || deploydb.phrase('no such phrase'), '✅ no such phrase', 'and in Chinese');
SELECT is(deploydb.label('rolled_back') || ', ' || deploydb.label('dba'), '已回滚, DBA', 'labels, too');
SELECT is(deploydb.md_head('{Time,no such}'), E'| 时间 | no such |\n|---|---|\n', 'the head of a table');
SELECT is_empty($$SELECT a.action FROM pg_proc p, LATERAL (SELECT m[1] AS action FROM regexp_matches(p.prosrc, 'add_log_line\((?!NULL)\w[^'']*, ''([-a-z0-9 ]+)''', 'g') m) a
	WHERE p.pronamespace = 'deploydb'::regnamespace AND deploydb.phrase(a.action) = a.action$$, 'whatever the log of a deployment says');
RESET deploydb.language;
SELECT is(deploydb.from_utf8('\xe280a6'), '…', 'a text from its bytes');
SELECT is(deploydb.text_hash('x'), encode(sha256('x'), 'hex'), 'the hash of a text');
SELECT is(deploydb.md_text(v.given), v.wanted, 'in a line: ' || v.given) FROM (VALUES
	('plain', 'plain'), (E'two\nlines\tand\u0001more', 'two lines and more'), ('a | b', 'a \| b'), ('`x` *y* ~z~ [l](u)', '\`x\` \*y\* \~z\~ \[l\](u)'),
	('<b>&amp;', '&lt;b>&amp;amp;'), ('add_decision_insights', 'add_decision_insights'), ('_it_', '\_it\_'), ('\|', '\\\|')) AS v (given, wanted);
SELECT is(deploydb.md_block('sql', E'SELECT 1;\n\n'), E'```sql\nSELECT 1;\n```\n', 'a block');
SELECT is(deploydb.md_block('', E'```\n````'), E'`````\n```\n````\n`````\n', 'whose fence is longer than what is inside');
SELECT is(deploydb.md_row('{a,NULL,"b | c"}'), E'| a |  | b \\| c |\n', 'a row');
SELECT is(deploydb.md_time('2026-01-02 03:04:05.6+00'), '2026-01-02 03:04:05', 'a time');

-- What a deployment is given

SELECT is(deploydb.check_deployment('v', '3 Dec 2025', '{}'), '2025-12-03', 'a date');
SELECT throws_ok($$SELECT deploydb.check_deployment('v', 'infinity', NULL)$$, '22023', 'invalid target date: "infinity"');
SELECT is((SELECT string_agg(concat_ws(' ', t.phase, t.minutes), ', ' ORDER BY t.position) FROM deploydb.timetable() t),
	'pre_checks 30, code 10, migration 5, health 5, smoke 10, post 30', 'the timetable');
SELECT is(deploydb.signing_role('dba'), 'dba', 'a role that signs');
SELECT is(deploydb.primary_or_error(), true, 'a primary');
SELECT throws_ok('SELECT deploydb.open_deployment_or_error()', '55000', 'no deployment is open');
SELECT throws_ok('SELECT deploydb.lock_open_deployment()', '55000', 'no deployment is open');
SELECT is(deploydb.tell_team('nobody is there', 'P3'), 0::bigint, 'nobody is told');
SELECT is(deploydb.signed_state(1), NULL, 'there is nothing to sign');
SELECT is(deploydb.checklist_hash(NULL), NULL, 'nor a checklist');

SELECT deploydb.deployment_start('v1', 'first', migrations => '{insights}') AS id \gset
SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/hook') \g /dev/null
SELECT is(deploydb.tell_team('somebody is', 'P3'), 1::bigint, 'somebody is told');
SELECT is(deploydb.deployment_name(:id), 'v1 - first', 'its name');
SELECT is(deploydb.open_deployment_or_error(), :id::bigint, 'the open one');
SELECT is(deploydb.lock_open_deployment(), :id::bigint, 'locked');
SELECT is(deploydb.phase_or_error('code'), :id::bigint, 'its phase');
SELECT is(deploydb.missing_migrations(:id), '{20251203071615_add_decision_insights}', 'its migration is missing');
SELECT is(deploydb.current_stage(:id), 'before', 'its stage');
SELECT is(deploydb.phase_due(:id, 'migration') - started_at, interval '45 minutes', 'when its migration is to be over') FROM deploydb.deployment;
SELECT is((SELECT concat_ws(' ', s.migrations, s.since = d.started_at, s.began) FROM deploydb.checklist_scope(:id) s, deploydb.deployment d),
	'{20251203071615_add_decision_insights} t', 'what its checklist is about');
SELECT cmp_ok(deploydb.add_log_line(:id, 'a', 'ok', NULL), '>', 0::bigint, 'a line');
SELECT is((SELECT string_agg(m.item, ' ') FROM deploydb.missing_to_go(:id, 'before') m WHERE m.item ~ '^db'), 'db.staging db.backup db.rollback_script',
	'what is missing to go');

-- Items

SELECT is(deploydb.checklist_item_or_error('db.backup'), 'evaluated', 'the kind of an item');
SELECT is(deploydb.checklist_item_problem('a.b', 's', 't', NULL, 'attested', NULL, NULL, NULL, NULL), NULL, 'this can be one');
SELECT alike(deploydb.checklist_item_problem('A', 's', 't', NULL, 'attested', NULL, NULL, NULL, NULL), 'A key is of%', 'this cannot');
SELECT ok(deploydb.keep_checklist_item('team.one', 'Ours', 'One', NULL, 'evaluated', 'SELECT true', NULL, NULL, NULL, '', session_user::text), 'one is kept');
SELECT is(deploydb.run_predicate('team.one'), true, 'its predicate');
SELECT is(deploydb.run_predicate('code.tests'), NULL, 'others have none');
SELECT is((SELECT concat_ws(', ', e.state, e.evidence) FROM deploydb.evaluate_item('team.one', NULL, 'SELECT true', :id, '{}', now(), now()) e),
	'met, the predicate is t', 'evaluated');
SELECT is((SELECT concat_ws(', ', e.state, e.evidence) FROM deploydb.evaluate_item('x', 'no_such_evaluator', NULL, :id, '{}', now(), now()) e),
	'not_measured, function deploydb.no_such_evaluator(text, bigint, text[], timestamp with time zone, timestamp with time zone) does not exist',
	'an error is not measured');
SELECT is((SELECT count(*) FROM deploydb.items_of(:id)), (SELECT count(*) FROM deploydb.checklist_item), 'the items of a deployment');
SELECT is(deploydb.checklist_in(:id, l.lang) #>> '{code.review,evidence}', l.wanted, 'how they are: ' || l.lang)
	FROM (VALUES ('en', 'nobody has attested it'), ('zh', '尚无人确认')) AS l (lang, wanted);
SELECT is(deploydb.setting('language'), 'en', 'the language is as it was');

SELECT is((SELECT array_agg(i.key ORDER BY i.key) FROM jsonb_each(deploydb.checklist_in(:id, 'en')) i
		JOIN jsonb_each(deploydb.checklist_in(:id, 'zh')) j ON j.key = i.key
	WHERE i.value ->> 'evidence' = j.value ->> 'evidence' AND i.value ->> 'evidence' !~ '^(\[\]|function .* does not exist|PostgreSQL .*|nobody has said: .*)$'),
	NULL, 'evidence is in both languages');

-- Evidence: what is known of one migration, and of an item

CREATE FUNCTION known(evaluator text, item text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	known record;
BEGIN
	EXECUTE format('SELECT * FROM deploydb.%I($1, $2, $3, now(), now())', evaluator) INTO known
	USING item, deploydb.current_deployment(), ARRAY['20251203071615_add_decision_insights'];
	RETURN concat_ws(': ', known.state, known.evidence);
END $$;
SELECT is(deploydb.known_checksum('20251203071615_add_decision_insights'), checksum, 'the checksum of its file') FROM deploydb.builtin_migrations();
SELECT is(deploydb.migration_verdict('20251203071615_add_decision_insights'), false, 'it is not there');
SELECT alike((SELECT concat_ws(': ', e.state, e.evidence) FROM deploydb.evidence_of_file('x') e), 'waiting: x: not registered here', 'no file');
SELECT alike((SELECT concat_ws(': ', e.state, e.evidence) FROM deploydb.evidence_of_staging('x') e), 'waiting: x: nothing is imported from staging', 'no staging');
SELECT alike((SELECT concat_ws(': ', e.state, e.evidence) FROM deploydb.evidence_of_ledger('x') e), 'waiting: x: not deployed yet', 'not in the ledger');
SELECT alike((SELECT concat_ws(': ', e.state, e.evidence) FROM deploydb.evidence_of_verification('x') e), 'not_measured: x: not registered here', 'not verified');
SELECT alike((SELECT concat_ws(': ', e.state, e.evidence) FROM deploydb.evidence_of_rehearsal('20251203071615_add_decision_insights') e),
	'waiting: %: its rollback was not rehearsed', 'not rehearsed');
SELECT is(known('evidence_of_migrations', 'db.staging'), 'waiting: 20251203071615_add_decision_insights: nothing is imported from staging', 'of all migrations');
SELECT is(known('evidence_of_backups', 'db.backup'), 'waiting: there is no backup that finished before the migration began, and is young enough', 'backups');
SELECT is(known('evidence_of_problems', 'code.bugs'), '', 'problems');
SELECT alike(known('evidence_of_server', 'dep.postgresql'), 'met: PostgreSQL %', 'the server');
SELECT alike(deploydb.monitor_silent(), 'no monitor runs here', 'no monitor');
SELECT is(known(e, i), 'not_measured: no monitor runs here', i) FROM (VALUES ('evidence_of_monitoring', 'env.sampling'),
	('evidence_of_alerts', 'alert.active'), ('evidence_of_webhooks', 'env.webhooks')) AS v (e, i);
SELECT ok(known('evidence_of_errors', 'post.no_errors') ~ '^(met|unmet|not_measured): ', 'errors');
SELECT alike(known('evidence_of_targets', 'target.api_p95'), 'not_measured: no samples since %', 'targets');
SELECT is(known('evidence_of_rollbacks', 'rollback.database'), 'not_applicable: nothing has been rolled back', 'rollbacks');
SELECT ok(deploydb.note_baseline(:id) >= 0, 'errors of before');
SELECT is((SELECT string_agg(t.metric || ' ' || t.verdict, ', ') FROM deploydb.measured_targets(now(), now()) t),
	'api_p95 not_measured, api_p99 not_measured, error_rate not_measured, alert_evaluation not_measured', 'targets about metrics');
SELECT is((SELECT t.metric || ' ' || t.verdict FROM deploydb.write_target(now()) t), 'insight_write not_measured', 'the one about writes');
SELECT is((SELECT t.metric || ' ' || t.verdict FROM deploydb.alert_target() t), 'active_alerts not_measured', 'the one about alerts');
SELECT throws_ok($$SELECT known('evidence_of_insights', 'post.insight_read')$$, '42P01', NULL, 'without the table there is an error, which is not measured');

-- The log

SELECT is(deploydb.entry_hash(l), deploydb.entry_hash(l), 'an entry has a hash') FROM deploydb.log_entry l ORDER BY id LIMIT 1;
SELECT isnt(deploydb.seal_hash('a', '2026-01-01', 1, '{1}', '{x}'), deploydb.seal_hash('b', '2026-01-01', 1, '{1}', '{x}'), 'a seal depends on the one before');
SELECT isnt(deploydb.seal_hash('a', '2026-01-01', 1, '{1}', '{x}'), deploydb.seal_hash('a', '2026-01-02', 1, '{1}', '{x}'), 'on its time');
SELECT isnt(deploydb.seal_hash('a', '2026-01-01', 1, '{1}', '{x}'), deploydb.seal_hash('a', '2026-01-01', 1, '{1}', '{y}'), 'and on the entries');
SELECT is_empty('SELECT * FROM deploydb.broken_seals()', 'no seal is broken');
SELECT is((SELECT string_agg(DISTINCT tgrelid::regclass::text, ' ' ORDER BY tgrelid::regclass::text) FROM pg_trigger
	WHERE tgfoid = 'deploydb.only_added()'::regprocedure), 'deploydb.attestation deploydb.log_entry deploydb.log_seal', 'rows that are only ever added');
SELECT throws_ok('SELECT deploydb.only_added()', '0A000', NULL, 'by a trigger');

-- The report, and its parts

SELECT matches(deploydb.report_head(:id), E'^# v1 - first\n\n\\*\\*Version\\*\\*: v1\n', 'head');
SELECT matches(deploydb.report_items(:id), E'\n- \\[ \\] waiting All tests pass \\(code.tests\\)\n', 'items');
SELECT matches(deploydb.report_targets(:id), E'\n\\| API response time \\(P95\\) \\| &lt; 200 ms \\|  \\| 0 \\| not measured \\| Prometheus \\|\n', 'targets');
SELECT matches(deploydb.report_rollback(:id), E'```sql\nDROP TABLE IF EXISTS "decision_insights";\n```', 'rollback plan');
SELECT is(deploydb.report_rollbacks(:id), '', 'rollbacks: none');
SELECT matches(deploydb.report_timetable(:id), E'\n\\| migration \\| 5 minutes \\(2-5\\) \\| \\w+ \\|  \\|  \\|\n', 'timetable');
SELECT matches(deploydb.report_contacts(:id), E'\n\\| DBA \\|  \\|  \\|\n', 'contacts');
SELECT matches(deploydb.report_log(:id), E'\n\\| [-0-9]+ [:0-9]+ \\| deployment started \\| ok \\| v1 - first \\(\\w+\\) \\|\n', 'log');
SELECT matches(deploydb.report_appendix(:id), E'- SHA-256: cc49202aa411.*\n```sql\nCREATE TABLE "decision_insights"', 'appendix');
SELECT matches(deploydb.report_signatures(:id), E'\n- \\[ \\] DBA: ____________ Date: ______\n', 'signatures');
SELECT matches(deploydb.report_foot(:id), E'\\*Items and attestations: [0-9a-f]{64}\\*  \n\\*Head of the log: not sealed yet\\*\n', 'foot');
SELECT is((SELECT count(*) FROM regexp_matches(deploydb.deployment_report(:id), '^## ', 'gn')), 10::bigint, 'the whole report has its chapters');
SELECT throws_ok('SELECT deploydb.deployment_report(7)', '42704', 'deployment 7 does not exist');

-- The end

SELECT throws_ok(format('SELECT deploydb.keep_checklist(%s)', :id), '55000', 'nobody is acted for', 'a checklist is kept for whoever ends the deployment');
SELECT throws_ok($$SELECT deploydb.deployment_finish_definer('aborted', NULL)$$, '55000', 'nobody is acted for', 'and that by its other half');
SELECT is(deploydb.deployment_finish('aborted'), :id::bigint, 'so');
SELECT is((SELECT count(*) FROM deploydb.checklist_result), (SELECT count(*) FROM deploydb.checklist_item), 'with each item');

SELECT * FROM finish();
