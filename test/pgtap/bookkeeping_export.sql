-- The bookkeeping as a document: that all of it is there, comes back as it
-- was, and nothing that was changed or does not fit.
\set QUIET on
SET client_min_messages = error;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_operator;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') \g /dev/null
CREATE FUNCTION detail_of(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, '|', detail);
END $$;
-- changed by somebody who can compute a hash
CREATE FUNCTION rehashed(document jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT document || jsonb_build_object('hash', deploydb.text_hash((document - 'hash')::text)) $$;
CREATE FUNCTION refused(document jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT detail_of(format('SELECT deploydb.import_bookkeeping(%L)', document)) $$;
CREATE FUNCTION content() RETURNS jsonb LANGUAGE sql AS $$ SELECT deploydb.export_bookkeeping() -> 'tables' $$;

SELECT plan(56);

-- as the monitor does; others' transactions can hold it up for a moment
CREATE PROCEDURE seal() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 10000 LOOP
		PERFORM deploydb.seal_log();
		COMMIT;
		EXIT WHEN (SELECT unsealed = 0 FROM deploydb.verify_log());
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;

-- which tables: whatever is dumped and no setting
CREATE VIEW settings AS SELECT unnest('{acceptance,installation,own_checklist_item,own_metric,own_rule,registered_migration,tracked,webhook}'::text[]) AS name;
SELECT set_eq('SELECT jsonb_object_keys(content())', $$SELECT c.relname::text FROM pg_extension e, unnest(e.extconfig) t JOIN pg_class c ON c.oid = t
	WHERE e.extname = 'deploydb' AND c.relkind = 'r' AND c.relname NOT IN (SELECT name FROM settings)$$, 'every table that a dump has, but settings');
SELECT is_empty($$SELECT name FROM settings EXCEPT SELECT c.relname::text FROM pg_extension e, unnest(e.extconfig) t JOIN pg_class c ON c.oid = t WHERE e.extname = 'deploydb'$$, 'which are there');
SELECT is_empty($$SELECT * FROM deploydb.bookkeeping_tables() WHERE key = '{}' OR columns @> '{id}' AND sequence IS NULL$$, 'each has a key, and each id a sequence');
SELECT is(refused(deploydb.export_bookkeeping()), 'no error', 'nothing is a document, too');
SELECT is((SELECT count(*) FROM deploydb.log_entry), 0::bigint, 'which is not worth a line in the log');

-- a row of each, with what is hard to carry
SELECT deploydb.deployment_start('v1 "quoted"', '上线 ''1''', migrations => '{add_decision_insights}', links => '{"a": [1.50, null, "\\u4e0a"]}') \g /dev/null
SELECT deploydb.phase_start('pre_checks') \g /dev/null
SELECT deploydb.backup_start(E'line\nbreak', location => 's3://me:secret@bucket/x', relations => '{public.t,"a,b"}', annotation => '{"n": 12345678901234567890.1}') \g /dev/null
SELECT deploydb.backup_finish(size_stored => 9007199254740993, rows => '{"t": 3}') \g /dev/null
SELECT deploydb.backup_verified(1, method => 'sha256sum') \g /dev/null
SELECT deploydb.backup_restore_tested(1, rows => '{"t": 3}', seconds => 0.1) \g /dev/null
SELECT deploydb.log_issue('slow', 'P2', 'login') \g /dev/null
SELECT deploydb.set_contact('dba', 'A. B.', 'phone') \g /dev/null
SELECT deploydb.attest('code.review', true, 'two people') \g /dev/null
SELECT deploydb.sign_off(NULL, 'dba', person => '某人') \g /dev/null
SELECT deploydb.deployment_finish('aborted', 'tried') \g /dev/null
SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/hook/s3cr3t') \g /dev/null
INSERT INTO deploydb.staging (migration, server_major, fact_format, source, measured_at) VALUES ('m', 15, 1, 'staging', 'infinity');
INSERT INTO deploydb.rollback_plan (migration, rewind_ledger, schema, hash, plan, planned_by) VALUES ('m', true, 'public', 'h', '{"id": 1}', 'me');
INSERT INTO deploydb.rollback (migration, plan_id, who, reason, forced, tables, moved, undo) VALUES ('m', 1, 'me', 'why', false, '{t}', '[]', '["x"]');
INSERT INTO deploydb.rehearsal (migration, plan_hash, passed, steps, who) VALUES ('m', 'h', true, '[]', 'me');
INSERT INTO deploydb.deployment_target (deployment, metric, target, actual, samples, verdict) VALUES (1, 'x', '> 1', NULL, 0, 'not_measured');
INSERT INTO deploydb.checklist_baseline (deployment, sqlstate_class, errors) VALUES (1, '23', 4) ON CONFLICT DO NOTHING;
INSERT INTO deploydb.verification (migration, schema, outcome, errors, warnings, verified_by) VALUES ('m', 'public', 'verified', 0, 0, 'me');
CALL seal();
SELECT deploydb.log_line('after the seal') \g /dev/null
SELECT is_empty('SELECT key FROM jsonb_each(content()) WHERE value = ''[]''', 'no table is empty here, so none is left untested');
SELECT ok((SELECT intact AND sealed > 5 AND unsealed = 1 FROM deploydb.verify_log()), 'most of the log is sealed');

SELECT deploydb.export_bookkeeping() AS document \gset
SELECT is(:'document'::jsonb ->> 'hash', encode(sha256(convert_to((:'document'::jsonb - 'hash')::text, 'UTF8')), 'hex'), 'the hash is that of the rest');
SELECT ok(:'document' !~ 's3cr3t|secret', 'no secret is in it');
SELECT is(:'document'::jsonb #>> '{log,intact}', 'true', 'what is known of the log is');
SET timezone = 'Asia/Shanghai';
SET extra_float_digits = -5;
SET datestyle = 'German';
SELECT is((deploydb.export_bookkeeping() -> 'tables')::text, (:'document'::jsonb -> 'tables')::text, 'the same in any session');
SET ROLE pg_monitor;
SELECT lives_ok('SELECT deploydb.export_bookkeeping()', 'whoever reads can export');
SET ROLE deploydb_test_operator;
SELECT lives_ok('SELECT deploydb.export_bookkeeping()', 'an operator, too');
SELECT throws_ok($$SELECT deploydb.import_bookkeeping('{}')$$, '42501', NULL, 'but does not import, as that could be in others'' names');
SELECT throws_ok($$SELECT deploydb.merge_rows('contact', '[]')$$, '42501', NULL, 'nor any rows');
RESET ROLE;

-- again, where all is there
SELECT results_eq($$SELECT sum(rows) > 20, sum(added) FROM deploydb.import_bookkeeping(deploydb.export_bookkeeping())$$, $$VALUES (true, 0::numeric)$$, 'importing what is there');
SELECT is(content(), :'document'::jsonb -> 'tables', 'changes nothing');

-- where nothing is
SELECT deploydb.export_bookkeeping() #>> '{tables,log_seal,0,hash}' AS head \gset
DROP EXTENSION deploydb;
CREATE EXTENSION deploydb;
SELECT set_eq(format('SELECT name, rows = added, added FROM deploydb.import_bookkeeping(%L)', :'document'),
	format('SELECT key, true, jsonb_array_length(value)::bigint FROM jsonb_each(%L)', :'document'::jsonb -> 'tables'), 'every row is added');
SELECT is(content() - 'log_entry', (:'document'::jsonb -> 'tables') - 'log_entry', 'and as it was');
SELECT is((content() -> 'log_entry') - -1, :'document'::jsonb #> '{tables,log_entry}', 'the log, too');
SELECT is((SELECT concat_ws('|', action, status, note) FROM deploydb.log_entry ORDER BY id DESC LIMIT 1), format('bookkeeping imported|ok|%s rows of database %s of system %s',
	(SELECT sum(jsonb_array_length(value)) FROM jsonb_each(:'document'::jsonb -> 'tables')), current_database(), (SELECT system_identifier FROM pg_control_system())),
	'which says where it comes from');
SELECT ok((SELECT intact AND sealed > 5 AND unsealed = 2 AND head = :'head' FROM deploydb.verify_log()), 'its seals hold');
CALL seal();
SELECT ok((SELECT intact AND unsealed = 0 FROM deploydb.verify_log()), 'and it is sealed on');
SELECT is((SELECT sum(added) FROM deploydb.import_bookkeeping(:'document')), 0::numeric, 'a second import adds nothing');
SELECT is((SELECT count(*) FROM deploydb.log_entry WHERE action = 'bookkeeping imported'), 1::bigint, 'nor a line');
SELECT is_empty($$SELECT b.name FROM deploydb.bookkeeping_tables() b WHERE b.sequence IS NOT NULL
	AND nextval(b.sequence) <= (SELECT max((r ->> 'id')::bigint) FROM jsonb_array_elements(content() -> b.name) r)$$, 'what comes next has new ids');
SELECT is(deploydb.backup_start('next') > 1, true, 'a backup');
SELECT is((SELECT sum(added) FROM deploydb.import_bookkeeping(:'document')), 0::numeric, 'what has been added since is in nobody''s way');
SELECT is(deploydb.deployment_start('v2') > 1, true, 'a deployment');
-- which notes in the row of the first what that one's signatures were about
SELECT deploydb.export_bookkeeping() AS document \gset
SELECT throws_ok($$UPDATE deploydb.backup SET status = 'done'$$, '55000', NULL, 'and what came back is held to the same rules');

-- what was changed, or is none
SELECT is(refused(d), '22023 this is not what deploydb.export_bookkeeping() gives | ', d::text)
FROM unnest(ARRAY['null', '5', '[]', '{}', '{"format": "deploydb bookkeeping", "version": 2, "hash": "", "tables": {}, "log": {"intact": true}}',
	'{"format": "deploydb bookkeeping", "version": 1, "hash": "", "tables": [], "log": {"intact": true}}']::jsonb[]) d;
SELECT is(refused(NULL), '22023 this is not what deploydb.export_bookkeeping() gives | ', 'NULL');
SELECT ok(refused(jsonb_set(:'document', '{tables,sign_off,0,person}', '"another"')) ~ '^22023 the document was changed after its export | Its hash is [0-9a-f]{64}, and that', 'a changed one');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,sign_off,0,person}', '"another"'))),
	'42710 table "sign_off" has another row with the same key | Its id is 1.', 'with a right hash, a row that is there and differs');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,checklist_baseline,0,errors}', '5'))) ~
	'^42710 table "checklist_baseline" has another row with the same key | Its deployment is 1, sqlstate_class is \w+.$', true, 'or by another key');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,later}', '[{"id": 1}]'))),
	'0A000 the document has what there is no place for here | It is table "later".', 'a table of a later version');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,webhook}', '[{"id": 1}]'))),
	'0A000 the document has what there is no place for here | It is table "webhook".', 'a setting');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,contact,0,later}', '1'))),
	'0A000 the document has what there is no place for here | It is column "later" of table "contact".', 'a column of a later version');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,contact}', '{}'))), '22023 table "contact" of the document is no array of rows | ', 'no rows');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,contact}', '[5]'))), '22023 table "contact" of the document is no array of rows | ', 'or others');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,contact}', '[{"name": "x"}]'))), '22023 rows of table "contact" in the document lack columns | ', 'without a key');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,staging,0,id}', '"x"'))),
	'22023 rows of table "staging" in the document cannot be kept | invalid input syntax for type bigint: "x"', 'a value that is none');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,problem,0}', :'document'::jsonb #> '{tables,problem,0}' || '{"id": 77, "severity": "P9"}'))),
	'22023 rows of table "problem" in the document cannot be kept | new row for relation "problem" violates check constraint "problem_severity_check"', 'a constraint');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,deployment,0}', :'document'::jsonb #> '{tables,deployment,0}' || '{"id": 77, "finished_at": null, "outcome": null}'))),
	'22023 rows of table "deployment" in the document cannot be kept | duplicate key value violates unique constraint "deployment_open_idx"', 'a second open deployment');

-- of an earlier version: what it has not is as if it were new
SELECT is(refused(rehashed(:'document'::jsonb #- '{tables,rehearsal}' #- '{tables,problem,0,impact}')), 'no error', 'fewer tables and columns');
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,staging}', jsonb_build_array((:'document'::jsonb #> '{tables,staging,0}') - 'imported_at' || '{"id": 70}')))), 'no error',
	'a column with a default');
SELECT ok((SELECT imported_at IS NOT NULL FROM deploydb.staging WHERE id = 70), 'which is filled');

-- a log that was tampered with is no less worth keeping, and another one's does not mix
SELECT is(refused(rehashed(jsonb_set(:'document', '{tables,log_entry}', (:'document'::jsonb #> '{tables,log_entry}') || jsonb_build_array(
	(:'document'::jsonb #> '{tables,log_entry,0}') || '{"id": -5}')))), '42710 the log of the document and the one that is here do not fit together | Entry -5 would be put in between.', 'a line between sealed ones');
DROP EXTENSION deploydb;
CREATE EXTENSION deploydb;
ALTER TABLE deploydb.log_entry DISABLE TRIGGER only_added;
SELECT count(*) FROM deploydb.import_bookkeeping(:'document') \g /dev/null
DELETE FROM deploydb.log_entry WHERE id = 2;
SELECT deploydb.export_bookkeeping() AS tampered \gset
DROP EXTENSION deploydb;
CREATE EXTENSION deploydb;
SELECT is(refused(:'tampered'), 'no error', 'a log with a line removed');
SELECT is((SELECT concat_ws(' ', intact, entry, problem) FROM deploydb.verify_log()), 'f 2 removed', 'shows it as before');
SELECT is((SELECT status FROM deploydb.log_entry ORDER BY id DESC LIMIT 1), 'warning', 'and says so');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_operator;
DROP ROLE deploydb_test_operator;
