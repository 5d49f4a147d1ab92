-- Backups that pgBackRest and pg_basebackup say: what is taken from their
-- documents, what becomes of it later, and what is refused.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_operator;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') \g /dev/null
SELECT system_identifier AS here FROM pg_control_system() \gset
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

-- documents as the tools write them
CREATE FUNCTION backup(label text, minutes_ago integer, change jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('archive', '{"start": "000000010000000000000001", "stop": "000000010000000000000001"}'::jsonb,
		'backrest', '{"format": 5, "version": "2.45"}'::jsonb, 'database', '{"id": 1, "repo-key": 1}'::jsonb, 'error', false,
		'info', '{"delta": 20000, "repository": {"delta": 3000, "size": 4000}, "size": 20000}'::jsonb, 'label', label,
		'lsn', '{"start": "0/28", "stop": "0/100"}'::jsonb, 'prior', NULL, 'reference', NULL,
		'timestamp', jsonb_build_object('start', floor(extract(epoch FROM now())) - 60 * minutes_ago - 30,
			'stop', floor(extract(epoch FROM now())) - 60 * minutes_ago),
		'type', CASE right(label, 1) WHEN 'F' THEN 'full' WHEN 'D' THEN 'diff' ELSE 'incr' END) || change $$;
CREATE FUNCTION stanza(backups jsonb, change jsonb DEFAULT '{}', name text DEFAULT 'main') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('archive', '[]'::jsonb, 'backup', backups, 'cipher', 'none', 'db', jsonb_build_array(
			jsonb_build_object('id', 1, 'repo-key', 1, 'system-id', system_identifier, 'version', '15')), 'name', name,
		'repo', '[{"cipher": "aes-256-cbc", "key": 1, "status": {"code": 0, "message": "ok"}}]'::jsonb,
		'status', '{"code": 0, "lock": {"backup": {"held": false}}, "message": "ok"}'::jsonb) || change FROM pg_control_system() $$;
CREATE FUNCTION brought(document jsonb, expire boolean DEFAULT true) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', id, backup, status, outcome, '(' || detail || ')'), E'\n')
	FROM deploydb.import_backups('pgbackrest', document, expire => expire) $$;
CREATE FUNCTION refused(backup jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT detail_of(format('SELECT deploydb.import_backups(''pgbackrest'', %L)', jsonb_build_array(stanza(jsonb_build_array(backup))))) $$;
CREATE FUNCTION manifest(change jsonb DEFAULT '{}', file jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('PostgreSQL-Backup-Manifest-Version', 2, 'System-Identifier', system_identifier, 'Files', jsonb_build_array(
			jsonb_build_object('Path', 'backup_label', 'Size', 225, 'Last-Modified', to_char(now() - interval '20 minutes', 'YYYY-MM-DD HH24:MI:SS "GMT"'),
				'Checksum-Algorithm', 'CRC32C', 'Checksum', 'c8aa635e') || file,
			jsonb_build_object('Encoded-Path', '62617365ff', 'Size', 8192, 'Last-Modified', to_char(now() - interval '15 minutes', 'YYYY-MM-DD HH24:MI:SS "GMT"'),
				'Checksum-Algorithm', 'SHA256', 'Checksum', repeat('0', 64)),
			'{"Path": "base/1/1255", "Size": 0, "Last-Modified": "2020-01-01 00:00:00 GMT"}'::jsonb),
		'WAL-Ranges', '[{"Timeline": 1, "Start-LSN": "0/1000028", "End-LSN": "0/1000100"}]'::jsonb, 'Manifest-Checksum', repeat('ab', 32)) || change
	FROM pg_control_system() $$;
CREATE FUNCTION taken(document jsonb, more text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	taken text;
BEGIN
	EXECUTE format('SELECT concat_ws('' '', id, backup, status, outcome, ''('' || detail || '')'') FROM deploydb.import_backups(''pg_basebackup'', %L%s)',
		document, more) INTO taken;
	RETURN taken;
END $$;
CREATE FUNCTION spoilt(document jsonb, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT detail_of(format('SELECT deploydb.import_backups(''pg_basebackup'', %L%s)', document, more)) $$;

SELECT plan(116);

-- who, and what at all
SELECT throws_ok($$SELECT deploydb.import_backups(NULL, '[]')$$, '22004', 'tool, document and expire must not be NULL');
SELECT throws_ok($$SELECT deploydb.import_backups('pgbackrest', NULL)$$, '22004', 'tool, document and expire must not be NULL');
SELECT throws_ok($$SELECT deploydb.import_backups('barman', '[]')$$, '22023', 'unrecognized tool: "barman"');
SELECT throws_ok($$SELECT deploydb.import_backups('pgbackrest', '[]', 'a label')$$, '22023', 'as_label, location, finished_at and parent_id are for manifests');
SET ROLE deploydb_test_operator;
SELECT throws_ok($$SELECT deploydb.keep_imported('{}')$$, '42501', NULL, 'an operator keeps nothing unchecked');
RESET ROLE;

-- what is no document of pgBackRest's
SELECT throws_ok(format('SELECT deploydb.import_backups(''pgbackrest'', %L)', d), '22023', 'this is not what pgBackRest says of its backups', d)
FROM unnest(ARRAY['null', '5', '"x"', '{}', '[5]', '[null]', '[{}]', '[{"name": "m", "db": [], "backup": {}, "status": {"code": 0}}]',
	'[{"name": "m", "db": [], "backup": [5], "status": {"code": 0}}]', '[{"name": "m", "db": [], "backup": [{}], "status": {"code": 0}}]',
	'[{"name": "m", "db": [], "backup": [{"label": 5}], "status": {"code": 0}}]', '[{"name": "m", "db": [], "backup": [], "status": "ok"}]',
	'[{"name": {}, "db": [], "backup": [], "status": {"code": 0}}]'] || ARRAY(SELECT jsonb_build_array(stanza(jsonb_build_array(backup('20260101-000000F', 60, part)))) #>> '{}'
		FROM unnest(ARRAY['{"timestamp": [1]}', '{"info": {"repository": [1]}}', '{"lsn": [1]}']::jsonb[]) part)) d;
SELECT is(detail_of($$SELECT deploydb.import_backups('pgbackrest', '[]')$$),
	format('22023 the document has no stanza of this cluster | This is system %s; the document has none.', :here), 'no stanza at all');
SELECT is(detail_of($$SELECT deploydb.import_backups('pgbackrest', jsonb_build_array(stanza('[]', '{"db": [{"id": 1, "system-id": 42}]}', 'other "1"'),
		stanza('[]', '{"db": [], "status": {"code": 1, "message": "missing stanza path"}}')))$$),
	format('22023 the document has no stanza of this cluster | This is system %s; the document has stanza "other "1"" (system 42), stanza "main" (missing stanza path).', :here),
	'another cluster''s');
SELECT is((SELECT count(*) FROM deploydb.backup), 0::bigint, 'nothing was kept of that');

-- two backups, by an operator
SELECT jsonb_build_array(stanza(jsonb_build_array(backup('20261128-113145F', 30), backup('20261128-113145F_20261128-113157I', 20,
	'{"prior": "20261128-113145F", "annotation": {"for": "上线"}, "newest": {"key": [1]}}')))) AS two \gset
SET ROLE deploydb_test_operator;
SELECT id AS full_id FROM deploydb.import_backups('pgbackrest', :'two') ORDER BY id LIMIT 1 \gset
RESET ROLE;
SELECT is((SELECT concat_ws('|', id = :full_id, label, tool, tool_version, method, type, parent_id, system_identifier = :'here', server_version, timeline,
		start_lsn::pg_lsn, stop_lsn::pg_lsn, start_wal, stop_wal, finished_at - started_at, size_raw, size_stored, encryption, location, status, recorded_by = session_user)
	FROM deploydb.backup WHERE id = :full_id), 't|20261128-113145F|pgbackrest|2.45|physical|full|t|150000|1|' || '0/28'::pg_lsn || '|' || '0/100'::pg_lsn
	|| '|000000010000000000000001|000000010000000000000001|00:00:30|20000|4000|aes-256-cbc|stanza main, repo 1|done|t', 'a full backup');
SELECT is((SELECT concat_ws('|', type, parent_id = :full_id, status, annotation) FROM deploydb.backup WHERE id <> :full_id), 'incr|t|done|{"for": "上线"}', 'and one based on it');
SELECT is((SELECT unknown FROM deploydb.backup WHERE id <> :full_id), '{"info": {"delta": 20000, "repository": {"delta": 3000}}, "prior": "20261128-113145F",
	"newest": {"key": [1]}, "backrest": {"format": 5}, "database": {"id": 1, "repo-key": 1}}'::jsonb, 'with what is unknown here');
SELECT is((SELECT note FROM deploydb.log_entry WHERE action = 'backups imported'), 'pgbackrest: 2 added', 'the log has it');
SELECT is((SELECT label FROM deploydb.backup WHERE id = deploydb.fit_backup()), '20261128-113145F_20261128-113157I', 'something to go back to');
SELECT max(id) AS incr_id FROM deploydb.backup \gset
CREATE TABLE before AS SELECT * FROM deploydb.backup;
SELECT is(brought(:'two'), format(E'%s 20261128-113145F done unchanged\n%s 20261128-113145F_20261128-113157I done unchanged', :full_id, :incr_id), 'the same again');
SELECT results_eq('SELECT * FROM deploydb.backup ORDER BY id', 'SELECT * FROM before ORDER BY id', 'gives the same rows');
SELECT is((SELECT count(*) FROM deploydb.log_entry WHERE action = 'backups imported'), 1::bigint, 'and no line in the log');

-- what becomes of them
SELECT is(brought(jsonb_set(:'two', '{0,backup,1,annotation}', '{"for": "nothing"}')) ~ 'F done unchanged\n.*I done updated$', true, 'annotated');
SELECT is((SELECT annotation FROM deploydb.backup WHERE id = :incr_id), '{"for": "nothing"}', 'is known');
SELECT is(brought(:'two' #- '{0,backup,1,annotation}') ~ 'I done updated$', true, 'no more');
SELECT is((SELECT annotation FROM deploydb.backup WHERE id = :incr_id), NULL, 'either');
SELECT is(deploydb.backup_verified(:full_id, method => 'pgbackrest verify'), true, 'verified here');
SELECT is(brought(:'two') ~ 'F verified unchanged\n.*I done updated$', true, 'stays verified');
SELECT is(brought(jsonb_set(:'two', '{0,backup,0}', backup('20261128-113145F', 30, '{"error": true, "error-list": ["pg_data/base/1/2"]}'))) ~
	'F corrupt updated \(pages with wrong checksums: pg_data/base/1/2\)\n', true, 'before pgBackRest finds an error');
SELECT is((SELECT concat_ws('|', status, error) FROM deploydb.backup WHERE id = :full_id), 'corrupt|pages with wrong checksums: pg_data/base/1/2', 'which is kept');
SELECT is((SELECT status FROM deploydb.log_entry ORDER BY id DESC LIMIT 1), 'warning', 'and logged');
SELECT is(brought(:'two') ~ 'F corrupt updated', true, 'without the error it is as corrupt');
SELECT is((SELECT status FROM deploydb.backup WHERE id = :full_id), 'corrupt', 'as it was');

-- those that are gone
SELECT jsonb_build_array(stanza(jsonb_build_array(backup('20261129-000000F', 5)))) AS third \gset
SELECT deploydb.backup_pin(:incr_id) \g /dev/null
SELECT is(brought(jsonb_set(:'third', '{0,repo,0,status,code}', '99')) ~ '^\d+ 20261129-000000F done added$', true, 'a repository that could not be read');
SELECT is(brought(jsonb_set(:'third', '{0,repo,0,key}', '2')) ~ 'F done unchanged$', true, 'another repository');
SELECT is(brought(jsonb_set(:'third', '{0,backup,0,database-ref}', '[]')) ~ 'F done updated$', true, 'one backup (info --set)');
SELECT is(brought(:'third', expire => false) ~ 'F done updated$', true, 'or what is said to be a selection');
SELECT is((SELECT count(*) FROM deploydb.backup WHERE status = 'expired'), 0::bigint, 'expire nothing');
SELECT is(brought(:'third'), format(E'%s 20261129-000000F done unchanged\n%s 20261128-113145F expired expired (the document has it no more)\n'
	'%s 20261128-113145F_20261128-113157I expired expired (the document has it no more; it was pinned)', :incr_id + 1, :full_id, :incr_id), 'all of a repository that was read do');
SELECT is((SELECT concat_ws('|', status, note) FROM deploydb.log_entry ORDER BY id DESC LIMIT 1), 'warning|pgbackrest: 2 expired, 1 unchanged', 'the log has it');
SELECT is(brought(:'third') ~ '^\d+ 20261129-000000F done unchanged$', true, 'once');
SELECT is((SELECT string_agg(concat_ws(' ', type, outcome, i.status, detail), ', ' ORDER BY b.id) FROM deploydb.import_backups('pgbackrest', :'two') i
	JOIN deploydb.backup b USING (id)), 'full unchanged expired it is expired here, incr unchanged expired it is expired here, full expired expired the document has it no more',
	'what has expired stays so');
SELECT deploydb.backup_start('running one', 'pgbackrest', 'physical') AS running \gset
SELECT is(brought(jsonb_build_array(stanza(jsonb_build_array(backup('running one', 1, '{"type": "full"}'))))), format('%s running one done updated', :running), 'what was started here is finished');
SELECT deploydb.backup_start('wrong one', 'pgbackrest', 'physical') AS wrong \gset
SELECT is(brought(jsonb_build_array(stanza(jsonb_build_array(backup('wrong one', 1, '{"type": "full", "error": true}')))), false),
	format('%s wrong one corrupt updated (pages with wrong checksums)', :wrong), 'or finished and corrupt');
SELECT deploydb.backup_start('failed one', 'pgbackrest', 'physical') AS failed \gset
SELECT deploydb.backup_fail(:failed, 'no space') \g /dev/null
SELECT is(brought(jsonb_build_array(stanza(jsonb_build_array(backup('failed one', 1, '{"type": "full", "lsn": {}}')))), false) ~ 'failed one failed (updated|unchanged) \(it is failed here\)$', true, 'what failed here stays failed');

-- histories, stanzas, repositories
SELECT is(brought(jsonb_build_array(stanza(jsonb_build_array(backup('20200101-000000F', 9), backup('20261130-000000F', 4, '{"database": {"id": 2, "repo-key": 1}}'),
		backup('20261130-000000F', 4, '{"database": {"id": 2, "repo-key": 2}}')),
	jsonb_build_object('db', jsonb_build_array('{"id": 1, "repo-key": 1, "system-id": 42, "version": "9.6"}'::jsonb, jsonb_build_object('id', 2, 'repo-key', 1, 'system-id', :here, 'version', '17'),
		jsonb_build_object('id', 2, 'repo-key', 2, 'system-id', :here, 'version', '17')))),
	stanza(jsonb_build_array(backup('20250101-000000F', 4)), '{"db": [{"id": 1, "repo-key": 1, "system-id": 43, "version": "15"}]}', 'other')), false) ~
	E'^20200101-000000F skipped \\(it is of system 42, before the stanza was upgraded\\)\n\\d+ 20261130-000000F done added\n20261130-000000F skipped \\(it is listed more than once\\)$',
	true, 'what is of another system, or listed twice, is skipped');
SELECT is((SELECT server_version FROM deploydb.backup WHERE label = '20261130-000000F'), 170000, 'the version of its database');
SELECT is(brought(jsonb_build_array(stanza(jsonb_build_array(backup('20261130-000000F_20261130-000001I', 3, '{"prior": "20261129-999999F"}')),
	'{"repo": null, "cipher": "aes-256-cbc"}')), false) ~ 'done added \(what it is based on is not recorded\)$', true, 'an increment of nothing that is known');
SELECT is((SELECT encryption FROM deploydb.backup WHERE label = '20261130-000000F_20261130-000001I'), 'aes-256-cbc', 'before there were several repositories');
SELECT is(brought(jsonb_build_array(stanza(jsonb_build_array(backup('20261130-000009F', 3, '{"archive": {"start": null, "stop": null}, "lsn": null,
	"info": {"size": 5, "repository": {"delta": 3}}}'))))::jsonb, false) ~ 'done added$', true, 'one that was taken offline');

-- what cannot be; of many nothing is kept
CREATE TABLE kept AS SELECT * FROM deploydb.backup;
SELECT is(detail_of(format('SELECT deploydb.import_backups(''pgbackrest'', %L)', jsonb_build_array(stanza(jsonb_build_array(backup('20261201-000000F', 2),
		backup('20261201-000001F', 2, '{"lsn": {"start": "0/28", "stop": "FFFFFFFF/0"}}')))))) ~
	'^22023 backup "20261201-000001F" cannot be as the document has it | It stops at FFFFFFFF/0+, and the server is at', true, 'an LSN ahead of the server');
SELECT is(refused(backup('aF', 2, change)), format('22023 backup "aF" cannot be as the document has it | %s', said), said) FROM (VALUES
	('{"lsn": {"start": "0/200", "stop": "0/100"}}'::jsonb, format('It stops at %s, and starts at %s.', '0/100'::pg_lsn, '0/200'::pg_lsn)),
	('{"lsn": {"start": "far", "stop": "0/100"}}', 'invalid input syntax for type pg_lsn: "far"'),
	('{"info": {"size": 0, "repository": {"size": 0}}}', 'It is empty: zero bytes.'),
	('{"info": 5}', 'Its size is missing: size_stored, in bytes.'),
	('{"info": {"size": 1e40, "repository": {"size": 1}}}', format('value "1%s" is out of range for type bigint', repeat('0', 40))),
	('{"info": {"size": "big", "repository": {"size": 1}}}', 'invalid input syntax for type bigint: "big"'),
	('{"timestamp": null}', 'When it started or stopped is missing, or no time.'),
	('{"timestamp": {"start": 1e300, "stop": "now"}}', 'When it started or stopped is missing, or no time.'),
	('{"timestamp": {"start": 2, "stop": 1}}', 'It stops at 1970-01-01 00:00:01+00, and starts at 1970-01-01 00:00:02+00.'),
	('{"timestamp": {"start": 1, "stop": 32503680000}}', 'It stops at 3000-01-01 00:00:00+00, which is yet to come.'),
	('{"archive": {"start": "000000020000000000000001", "stop": "000000020000000000000001"}}', 'It is of timeline 2, and the server is on 1.'),
	('{"archive": {"start": "x", "stop": "y"}}', 'The names of its WAL files are none.'),
	('{"database": {"id": 7}}', 'System identifier or version of its database are missing.'),
	('{"database": null}', 'System identifier or version of its database are missing.'),
	('{"type": "odd"}', 'Its type is odd, not full, diff or incr.'),
	('{"type": null}', 'Its type is missing, not full, diff or incr.'),
	('{"annotation": "x"}', 'Its annotation is no object.')) AS c (change, said);
SELECT is(refused(backup('aF', 2, jsonb_build_object('new', repeat('x', 70000)))) ~ '64 kB', true, 'more unknown keys than are kept');
SELECT is(refused(backup(' ', 2)) ~ 'Its label is blank', true, 'no label');
SELECT is(refused(backup(repeat('x', 300), 2)) ~ 'longer than 255', true, 'a long one');
SELECT is(refused(backup('20261129-000000F', 5, '{"lsn": {"start": "0/28", "stop": "0/101"}}')), format('42710 another backup "20261129-000000F" by pgbackrest is recorded already | '
	'Of backup %s stop_lsn is %s, and %s in the document.', :incr_id + 1, '0/100'::pg_lsn, '0/101'::pg_lsn), 'another one of the same label');
SELECT is(detail_of($$SELECT deploydb.import_backups('pgbackrest', jsonb_build_array(stanza((SELECT jsonb_agg('{"label": "x"}'::jsonb) FROM generate_series(1, 10001)))))$$),
	'54000 the document has more than 10000 backups | ', 'too many');
SELECT results_eq('SELECT * FROM deploydb.backup ORDER BY id', 'SELECT * FROM kept ORDER BY id', 'nothing was kept of these');

-- a manifest
SELECT is(taken(manifest('{"New-Key": 1}')) ~ '^\d+ 000000010000000000000001[.]00000028 done added$', true, 'a manifest, by the name of its history file');
SELECT is((SELECT concat_ws('|', tool, tool_version, method, type, system_identifier = :'here', server_version = current_setting('server_version_num')::integer, timeline,
		start_lsn::pg_lsn - '0/0', stop_lsn::pg_lsn - '0/0', start_wal, stop_wal, finished_at - started_at, size_raw, size_stored, manifest_checksum = repeat('ab', 32), unknown)
	FROM deploydb.backup WHERE tool = 'pg_basebackup'), 'pg_basebackup|physical|full|t|t|1|16777256|16777472|000000010000000000000001|000000010000000000000001|00:05:00|8417|8417|t|{"New-Key": 1}',
	'what it says');
SELECT is(taken(manifest('{"New-Key": 1}')) ~ 'done unchanged$', true, 'twice');
SELECT is(taken(manifest('{"New-Key": 1}'), ', location => ''s3://u:p@b/x''') ~ 'done updated$', true, 'with its place');
SELECT is((SELECT location FROM deploydb.backup WHERE tool = 'pg_basebackup'), 's3://b/x', 'without credentials');
SELECT is(taken(manifest('{"New-Key": 1}'), ', finished_at => now() - interval ''1 minute''') ~ 'done updated$', true, 'and the time of its end');
SELECT is(taken(manifest('{"New-Key": 1}')) ~ 'done unchanged$', true, 'which stays');
UPDATE deploydb.backup SET server_version = 150001, database = 'of old' WHERE tool = 'pg_basebackup';
SELECT is(taken(manifest('{"New-Key": 1}')) ~ 'done unchanged$', true, 'as does what the server was then');
SELECT is(spoilt(manifest(), ', as_label => ''again'''), '42710 the manifest is recorded already, as backup "000000010000000000000001.00000028" | ', 'one backup has one label');
SELECT is(taken(manifest('{"Manifest-Checksum": "ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAC"}'), ', as_label => ''nightly "2"''') ~ 'nightly "2" done added$', true, 'a label of one''s own');
SELECT is(taken(manifest('{"PostgreSQL-Backup-Manifest-Version": 1, "Manifest-Checksum": "abababababababababababababababababababababababababababababababad"}') - 'System-Identifier',
	', as_label => ''old''') ~ 'old done added$', true, 'version 1 does not name a system');
SELECT is(taken(manifest('{"Manifest-Checksum": "abababababababababababababababababababababababababababababababae"}', '{"Path": "base/1/INCREMENTAL.1255"}'), ', as_label => ''i1''') ~
	'i1 done added \(what it is based on is not recorded\)$', true, 'an increment');
SELECT is(taken(manifest('{"Manifest-Checksum": "abababababababababababababababababababababababababababababababae"}', '{"Path": "base/1/INCREMENTAL.1255"}'),
	format(', parent_id => %s', (SELECT id FROM deploydb.backup WHERE label = 'old'))) ~ 'i1 done updated$', true, 'of another one');
SELECT is(spoilt(manifest(), ', parent_id => 1'), '22023 a full backup has no parent | A parent is a backup that is finished and good.', 'a full one is based on nothing');

-- what cannot be one
SELECT is(spoilt(change), '22023 this is no backup manifest | ' || said, said) FROM (VALUES
	('[]'::jsonb, 'What each has is missing, or is something else.'),
	('5', 'What each has is missing, or is something else.'),
	(manifest('{"PostgreSQL-Backup-Manifest-Version": 3}'), 'Its version is 3; known are 1 and 2.'),
	(manifest('{"WAL-Ranges": []}'), 'What each has is missing, or is something else.'),
	(manifest('{"Files": {}}'), 'What each has is missing, or is something else.'),
	(manifest() - 'System-Identifier', 'What each has is missing, or is something else.'),
	(manifest('{"WAL-Ranges": [{"Timeline": "x", "Start-LSN": "0/1", "End-LSN": "0/2"}]}'), 'invalid input syntax for type integer: "x"'),
	(manifest('{}', '{"Size": -1}'), 'File "backup_label": Size is no number of bytes.'),
	(manifest('{}', '{"Last-Modified": "infinity"}'), 'File "backup_label": Last-Modified is no time.'),
	(manifest('{}', '{"Last-Modified": "2026-99-99 00:00:00 GMT"}'), 'date/time field value out of range: "2026-99-99 00:00:00 GMT"'),
	(manifest('{}', '{"Checksum": "abc"}'), 'File "backup_label": a checksum by CRC32C has 8 hexadecimal digits, this one 3.'),
	(manifest('{}', '{"Checksum-Algorithm": "ROT13"}'), 'File "backup_label": Checksum-Algorithm is unknown.'),
	(manifest('{}', '{"Path": null}'), 'File "": it has no name.')) AS c (change, said);
SELECT is(spoilt(manifest(change)), '22023 backup "000000010000000000000001.00000028" cannot be as the document has it | ' || said, said) FROM (VALUES
	('{"System-Identifier": 42}'::jsonb, format('It is of system 42, and this one is %s.', :'here')),
	('{"Manifest-Checksum": "abc"}', 'A manifest''s checksum has 64 hexadecimal digits, this one 3.'),
	('{"Files": []}', 'When it started or stopped is missing, or no time.'),
	('{"WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/1000028", "End-LSN": "0/1000000"}]}', format('It stops at %s, and starts at %s.', '0/1000000'::pg_lsn, '0/1000028'::pg_lsn))) AS c (change, said);
SELECT is(spoilt(manifest('{"Manifest-Checksum": "abababababababababababababababababababababababababababababababaf"}')) ~
	'^42710 another backup "000000010000000000000001.00000028" by pg_basebackup is recorded already | Of backup \d+ manifest_checksum is', true, 'another one of the same label');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_operator;
DROP ROLE deploydb_test_operator;
