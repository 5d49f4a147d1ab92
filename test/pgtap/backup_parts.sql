-- The parts that backups are made of, each by itself: every function of this
-- area that no other test calls.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
SELECT system_identifier AS here FROM pg_control_system() \gset
SELECT no_plan();

-- What is there

SELECT is(s::text, '(warning,"none is recorded","deploydb-dump, or deploydb.import_backups()")', 'the status of none') FROM deploydb.status_of_backup() s;
SELECT is(deploydb.backup_is_fit(1), false, 'nothing is nothing to go back to');
SELECT throws_ok('SELECT deploydb.backup_or_error(NULL)', '55000', 'no backup is running');
SELECT throws_ok('SELECT deploydb.backup_or_error(1)', '42704', 'backup 1 does not exist');
SELECT deploydb.backup_start('one') AS one \gset
SELECT is(deploydb.backup_or_error(NULL), :one::bigint, 'the only one that runs');
SELECT is(deploydb.running_or_error(:one), true, 'it runs');
SELECT is(deploydb.backup_is_fit(:one), false, 'so there is nothing to go back to');
SELECT deploydb.backup_finish(size_stored => 1) \g /dev/null
SELECT throws_ok(format('SELECT deploydb.running_or_error(%s)', :one), '55000', format('backup %s is not running', :one), 'not any more');
SELECT is(deploydb.backup_is_fit(:one), true, 'now there is');
SELECT is(deploydb.backup_or_error(:one), :one::bigint, 'by its id');
SELECT is((SELECT concat_ws('|', verdict, detail, next_step) FROM deploydb.status_of_backup()),
	'warning|pg_dump: the newest is not verified, none was ever restored|SELECT * FROM deploydb.backup_status();', 'its status');
SELECT throws_ok('SELECT deploydb.backup_moves()', '0A000', NULL, 'a trigger is called by nobody');
SELECT is(deploydb.writes_since(t), NULL, 'writes since no time: ' || COALESCE(t::text, 'NULL'))
FROM (VALUES (NULL::timestamptz), ('infinity'), ('-infinity')) AS v (t);
SELECT is(deploydb.writes_since(now()) IS NULL, NOT deploydb.is_preloaded(), 'writes are known where they are counted');

-- What pgBackRest says

SELECT is(deploydb.wal_file(w.timeline, w.lsn), w.name, w.lsn) FROM (VALUES (1, '0/1000028', '000000010000000000000001'),
	(26, 'AB/CD000000', '0000001A000000AB000000CD'), (NULL, '0/1', NULL)) AS w (timeline, lsn, name)
WHERE current_setting('wal_segment_size') = '16MB';
CREATE TABLE said AS SELECT jsonb_build_array(
	jsonb_build_object('name', 'other', 'db', '[{"id": 1, "system-id": 42, "version": "15"}]'::jsonb, 'backup', '[]'::jsonb, 'status', '{"code": 0}'::jsonb),
	jsonb_build_object('name', 'main', 'db', jsonb_build_array(jsonb_build_object('id', 1, 'system-id', :here, 'version', '9.6')),
		'repo', '[{"key": 1, "cipher": "none", "status": {"code": 0}}, {"key": 2, "status": {"code": 99}}]'::jsonb, 'status', '{"code": 4}'::jsonb,
		'backup', '[{"label": "a", "type": "full", "database": {"id": 1, "repo-key": 1}, "archive": {"start": "000000020000000000000001", "stop": "000000020000000000000002"},
			"timestamp": {"start": 1, "stop": 2}, "lsn": {"start": "0/1", "stop": "0/2"}, "info": {"size": 5, "repository": {"delta": 3}}, "later": {"x": 1}}]'::jsonb)) AS document;
SELECT is((SELECT concat_ws('|', s.stanza ->> 'name', s.stanza ? 'backup', jsonb_array_length(s.backups), s.repositories)
	FROM said, deploydb.pgbackrest_stanzas(document) s), 'main|f|1|{1}', 'the stanza of this cluster, and the repository that was read');
SELECT is((SELECT b - '{label,type,tool,method,database,system_identifier}'::text[] FROM said, deploydb.pgbackrest_stanzas(document) s, deploydb.pgbackrest_backup(s.stanza, s.backups -> 0) b),
	'{"tool_version": null, "server_version": 90600, "timeline": 2, "start_lsn": "0/1", "stop_lsn": "0/2", "start_wal": "000000020000000000000001",
	"stop_wal": "000000020000000000000002", "started_at": "1970-01-01T00:00:01+00:00", "finished_at": "1970-01-01T00:00:02+00:00", "size_raw": 5, "size_stored": 3,
	"encryption": null, "location": "stanza main, repo 1", "status": "done", "error": null, "annotation": null,
	"unknown": {"database": {"id": 1, "repo-key": 1}, "info": {"repository": {"delta": 3}}, "later": {"x": 1}}}', 'its backup');
SELECT is((SELECT deploydb.imported_problem(jsonb_populate_record(NULL::deploydb.backup, deploydb.pgbackrest_backup(s.stanza, s.backups -> 0)))
	FROM said, deploydb.pgbackrest_stanzas(document) s), 'It is of timeline 2, and the server is on 1.', 'what is wrong with it');
SELECT is(deploydb.imported_problem(NULL), 'Its label is blank, or longer than 255 characters.', 'or with nothing');
INSERT INTO deploydb.backup (label, tool, method, system_identifier, server_version, started_at, finished_at, database, location, status, recorded_by, pinned)
SELECT l, 'pgbackrest', 'physical', CASE l WHEN 'elsewhere' THEN '42' ELSE :here::text END, 150000, now(), now(), 'x', p, 'done', 'me', l = 'b'
FROM (VALUES ('a', 'stanza main, repo 1'), ('b', 'stanza main, repo 1'), ('c', 'stanza main, repo 2'), ('elsewhere', 'stanza main, repo 1')) AS v (l, p);
SELECT is((SELECT string_agg(concat_ws(' ', backup, pinned), ', ') FROM deploydb.expire_imported('{"stanza main, repo 1"}', '{a}')), 'b t', 'what is not listed any more has expired');
SELECT is((SELECT string_agg(label, ' ') FROM deploydb.backup WHERE status = 'expired'), 'b', 'and nothing else');

-- What a manifest says

CREATE TABLE manifest AS SELECT jsonb_build_object('PostgreSQL-Backup-Manifest-Version', 2, 'System-Identifier', :here,
	'Files', '[{"Path": "backup_label", "Size": 200, "Last-Modified": "2026-01-02 03:04:05 GMT"}, {"Path": "base/1/1", "Size": 8192, "Last-Modified": "2026-01-02 03:05:00 GMT"}]'::jsonb,
	'WAL-Ranges', '[{"Timeline": 1, "Start-LSN": "0/28", "End-LSN": "0/100"}]'::jsonb, 'Manifest-Checksum', repeat('AB', 32)) AS document;
SELECT is((SELECT f::text FROM manifest, deploydb.manifest_files(document -> 'Files') f), '(8392,"2026-01-02 03:04:05+00","2026-01-02 03:05:00+00",f,)', 'its files');
SELECT is((SELECT f.problem FROM deploydb.manifest_files('[{"Path": "x", "Size": "much"}]') f), 'File "x": Size is no number of bytes', 'or what is wrong with one');
SELECT is((SELECT concat_ws('|', b ->> 'label', b ->> 'size_raw', b ->> 'started_at', b ->> 'manifest_checksum' = repeat('ab', 32), b ->> 'location')
	FROM manifest, deploydb.manifest_backup(document, NULL, 's3://u:p@b/x', NULL) b), '000000010000000000000000.00000028|8392|2026-01-02T03:04:05+00:00|t|s3://b/x', 'all of it');
SELECT is((SELECT deploydb.manifest_to_keep(document, ' ', NULL, NULL, NULL) ->> 'label' FROM manifest), '000000010000000000000000.00000028', 'a blank label is none');
SELECT throws_ok('SELECT deploydb.manifest_to_keep(document, NULL, NULL, NULL, 1) FROM manifest', '22023', 'a full backup has no parent');

SELECT * FROM finish();
