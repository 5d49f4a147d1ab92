-- Backups: what is kept of them, what is refused, and what the status says.
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_operator;
SELECT deploydb.grant_access('deploydb_test_operator', 'operator') \g /dev/null
SELECT repeat('a', 64) AS sum \gset
CREATE FUNCTION detail_of(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END $$;
CREATE FUNCTION status_of(backup bigint) RETURNS text LANGUAGE sql AS 'SELECT status FROM deploydb.backup WHERE id = $1';
CREATE FUNCTION verdict() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', tool, verdict, NULLIF(array_to_string(reasons, ', '), '')), '; ' ORDER BY tool) FROM deploydb.backup_status() $$;

-- what is said of the age, and the hours since the start of the first one
CREATE FUNCTION oldness() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s h', m.note, trunc(m.value / 3600)) FROM deploydb.measure_backup(clock_timestamp()) m $$;

SELECT plan(115);

-- nothing yet
SELECT is(deploydb.fit_backup(), NULL, 'nothing to go back to');
SELECT is(verdict(), NULL, 'no tool');
SELECT is((SELECT concat_ws('|', verdict, detail) FROM deploydb_status() WHERE area = 'backup'), 'warning|none is recorded', 'which the status says');
SELECT is_empty($$SELECT * FROM deploydb.measure_backup(now())$$, 'and no age');
SELECT throws_ok($$SELECT deploydb.backup_finish()$$, '55000', 'no backup is running', 'no finish without a start');
SELECT throws_ok($$SELECT deploydb.backup_finish(7)$$, '42704', 'backup 7 does not exist');
SELECT throws_ok($$SELECT deploydb.backup_start(tool => NULL)$$, '22004', 'a backup needs tool, method and type');
SELECT throws_ok($$SELECT deploydb.backup_start(method => 'tar')$$, '22023', 'invalid method or type: "tar", "full"');
SELECT throws_ok($$SELECT deploydb.backup_start(type => 'incr')$$, '22023', 'a backup of type incr needs a parent');
SELECT throws_ok($$SELECT deploydb.backup_start(type => 'incr', parent_id => 3)$$, '22023', 'backup 3 cannot be a parent');
SELECT throws_ok(format('SELECT deploydb.backup_start(annotation => jsonb_build_array(%L))', repeat('x', 70000)), '54000', 'annotation is longer than 64 kB');

-- from start to finish, by an operator
SET ROLE deploydb_test_operator;
SELECT deploydb.backup_start('nightly "1"', location => 's3://me:secret@bucket/dir?token=abc&x=1') AS id \gset
RESET ROLE;
SELECT is((SELECT concat_ws('|', label, tool, method, type, status, system_identifier = (SELECT c.system_identifier::text FROM pg_control_system() c),
		server_version = current_setting('server_version_num')::integer, timeline, start_lsn::pg_lsn <= pg_current_wal_insert_lsn(),
		database = current_database(), recorded_by = session_user) FROM deploydb.backup WHERE id = :id),
	'nightly "1"|pg_dump|pg_dump|full|running|t|t|1|t|t|t', 'what the server knows it notes itself');
SELECT is((SELECT location FROM deploydb.backup), 's3://bucket/dir?token=...&x=1', 'where it is, without credentials');
SELECT is(deploydb.without_credentials(t.given), t.kept, t.given) FROM (VALUES
	('postgres://u:p@ss@h/x', 'postgres://h/x'), ('host=h password=''a b'' user=u', 'host=h password=... user=u'),
	('password = a\''b x=1', 'password=... x=1'), ('sslpassword=''it\''s a'' x', 'sslpassword=... x'), ('/backups/a@b', '/backups/a@b')) AS t (given, kept);
SELECT is(oldness(), 'none is finished and good 0 h', 'the first one is not too old while it runs');
SELECT throws_ok($$SELECT deploydb.backup_start('nightly "1"')$$, '42710', 'backup "nightly "1"" by pg_dump is recorded already');
SELECT is(verdict(), 'pg_dump error none is finished and good', 'running is not enough');
SELECT throws_ok($$SELECT deploydb.backup_verified(1)$$, '55000', 'backup 1 cannot become verified', 'nor can it be verified');
SELECT throws_ok($$SELECT deploydb.backup_restore_tested(1)$$, '55000', 'backup 1 cannot become restore_tested', 'or restored');
SELECT throws_ok($$SELECT deploydb.backup_expire(1)$$, '55000', 'backup 1 cannot become expired', 'or expire');

-- what cannot be
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 0)$$), '22023 It is empty: zero bytes.', 'zero bytes');
SELECT is(detail_of($$SELECT deploydb.backup_finish()$$), '22023 Its size is missing: size_stored, in bytes.', 'no size');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, checksum => 'abc')$$),
	'22023 A checksum by sha256 has 64 hexadecimal digits, this one 3.', 'a checksum of a wrong length');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, checksum => repeat('g', 64))$$),
	'22023 A checksum by sha256 has 64 hexadecimal digits, this one 64.', 'or with other letters');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, checksum => 'abc', checksum_alg => 'rot13')$$),
	'22023 Checksums are md5, sha1, sha224, sha256, sha384, sha512 or crc32c, not rot13.', 'or of another kind');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, stop_lsn => '0/1')$$) ~ '^22023 It stops at 0/0?0?0?0?0?0?0?1, and starts at ', true, 'stop before start');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, finished_at => '2001-01-01')$$) ~ '^22023 It stops at 2001-01-01', true, 'in time, too');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, finished_at => now() + interval '1 day')$$) ~ 'which is yet to come\.$', true, 'or in the future');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, stop_lsn => 'FFFFFFFF/0')$$) ~ 'and the server is at', true, 'an LSN ahead of the server');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, system_identifier => '42')$$) ~ '^22023 It is of system 42', true, 'another cluster');
SELECT throws_ok($$SELECT deploydb.backup_finish(size_stored => 1, stop_lsn => 'far')$$, '22P02', NULL, 'an LSN that is none');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, manifest_checksum => 'abc')$$),
	'22023 A manifest''s checksum has 64 hexadecimal digits, this one 3.', 'a manifest''s checksum, too');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, rows => '[3]')$$),
	'22023 rows and content_hash are objects, of tables and what each has.', 'counts of nothing');
SELECT is(detail_of($$SELECT deploydb.backup_finish(size_stored => 1, content_hash => '3')$$),
	'22023 rows and content_hash are objects, of tables and what each has.', 'or hashes');
SELECT is(status_of(1), 'running', 'it runs on after each of these');
SELECT is((SELECT deploydb.backup_problem(jsonb_populate_record(b, '{"timeline": 2, "size_stored": 1}')) FROM deploydb.backup b),
	'It is of timeline 2, and the server is on 1.', 'a timeline that the server has not reached');
SELECT is((SELECT deploydb.backup_problem(jsonb_populate_record(b, '{"timeline": 0, "size_stored": 1, "stop_lsn": "FFFFFFFF/0"}')) FROM deploydb.backup b),
	NULL, 'one that it has left can be ahead of it');

SELECT is(deploydb.backup_finish(size_stored => 1000, checksum => upper(:'sum'), size_raw => 5000, rows => '{"t": 3}',
	content_hash => '{"t": "1:2"}', compression => 'gzip'), 1::bigint, 'finished, without its id');
SELECT throws_ok($$SELECT deploydb.backup_finish(1, size_stored => 1000)$$, '55000', 'backup 1 is not running', 'once');
SELECT is((SELECT concat_ws('|', status, size_stored, checksum_alg, checksum = :'sum', finished_at >= started_at, stop_lsn::pg_lsn >= start_lsn::pg_lsn)
	FROM deploydb.backup), 'done|1000|sha256|t|t|t', 'with what is known of it');
SELECT is(deploydb.fit_backup(), 1::bigint, 'something to go back to');
SELECT is(deploydb.fit_backup(now() - interval '1 hour'), NULL, 'but not from before');
SELECT is(verdict(), 'pg_dump warning the newest is not verified, none was ever restored', 'what is missing');
SELECT ok((SELECT value BETWEEN 0 AND 60 AND note LIKE 'nightly%' FROM deploydb.measure_backup(now())), 'its age is measured');
SELECT ok((SELECT count(*) = 2 FROM deploydb.log_entry WHERE action LIKE 'backup %'), 'the log has both');

-- verified, restored
SELECT is(deploydb.backup_verified(1, method => 'sha256sum'), true, 'verified');
SELECT is(status_of(1), 'verified', 'is its status');
SELECT is(verdict(), 'pg_dump warning none was ever restored', 'one thing less');
SELECT is(detail_of($$SELECT deploydb.backup_restore_tested(1)$$), '22004 Backup 1 has rows and content_hash.', 'restored, and nothing compared');
SELECT is(detail_of($$SELECT deploydb.backup_restore_tested(1, rows => '{"t": 3}')$$), '22004 Backup 1 has rows and content_hash.', 'or not all');
SELECT throws_ok($$SELECT deploydb.backup_restore_tested(1, rows => '[3]', content_hash => '{"t": "1:2"}')$$, '22023', 'rows and content_hash must be objects', 'or something else');
SELECT is(status_of(1), 'verified', 'is no restore test');
SELECT is(deploydb.backup_restore_tested(1, rows => '{"t": 3, "other": 1}', content_hash => '{"t": "1:2"}', seconds => 1.5), true, 'restored, the same');
SELECT is(verdict(), 'pg_dump ok', 'all is well');
SELECT is(deploydb.backup_verified(1), true, 'verified once more');
SELECT is(status_of(1), 'restore_tested', 'is nothing less');
SELECT is((SELECT concat_ws('|', verdict, detail LIKE 'pg_dump: finished %') FROM deploydb_status() WHERE area = 'backup'), 'ok|t', 'the status, too');

-- increments, pins
SELECT deploydb.backup_start('inc', type => 'incr', parent_id => 1) AS child \gset
SELECT throws_ok($$SELECT deploydb.backup_expire(1)$$, '2BP01', 'other backups need backup 1', 'its parent has to stay');
SELECT is(deploydb.backup_fail(error => 'no space at https://u:p@h/x'), :child::bigint, 'which fails');
SELECT is((SELECT error FROM deploydb.backup WHERE id = :child), 'no space at https://h/x', 'with its reason');
SELECT is(verdict(), 'pg_dump warning the last one went wrong', 'and the status says so');
SELECT throws_ok(format('SELECT deploydb.backup_fail(%s, ''again'')', :child), '55000', format('backup %s is not running', :child), 'once');
SELECT throws_ok($$SELECT deploydb.backup_fail(1, 'late')$$, '55000', 'backup 1 is not running', 'what is finished cannot fail');
SELECT throws_ok(format('SELECT deploydb.backup_finish(%s, 1)', :child), '55000', format('backup %s is not running', :child), 'what has failed cannot be finished');
SELECT throws_ok(format('SELECT deploydb.backup_verified(%s)', :child), '55000', format('backup %s cannot become verified', :child), 'nor verified');
SELECT is(deploydb.backup_expire(:child, 'moved to https://u:p@h/x'), true, 'but removed');
SELECT is((SELECT error FROM deploydb.backup WHERE id = :child), 'moved to https://h/x', 'with its reason');
SELECT throws_ok(format('SELECT deploydb.backup_expire(%s)', :child), '55000', format('backup %s is expired already', :child), 'once');
SELECT is(deploydb.backup_pin(1), true, 'pinned');
SELECT throws_ok($$SELECT deploydb.backup_expire(1)$$, '55006', 'backup 1 is pinned');
SELECT is(deploydb.backup_pin(1, false), false, 'no more');

-- an increment is as good as what it is based on
SELECT deploydb.backup_start('chain 1') AS id \gset one_
SELECT deploydb.backup_finish(:one_id, 1000) \g /dev/null
SELECT deploydb.backup_start('chain 2', type => 'diff', parent_id => :one_id) AS id \gset two_
SELECT deploydb.backup_finish(:two_id, 1000) \g /dev/null
SELECT deploydb.backup_start('chain 3', type => 'incr', parent_id => :two_id) AS id \gset three_
SELECT deploydb.backup_finish(:three_id, 1000) \g /dev/null
SELECT is(deploydb.fit_backup(), :three_id::bigint, 'an increment of a difference');
SELECT is(deploydb.backup_verified(:one_id, false), false, 'whose full backup is broken');
SELECT is(deploydb.fit_backup(), 1::bigint, 'is nothing to go back to');
UPDATE deploydb.backup SET parent_id = NULL WHERE id = :three_id;
SELECT is(deploydb.fit_backup(), 1::bigint, 'nor one of an unknown');
SELECT is((SELECT newest_done FROM deploydb.backup_status()), 1::bigint, 'the status knows it, too');
DELETE FROM deploydb.backup WHERE label LIKE 'chain%';

-- what one cannot go back to says nothing of what there is
SELECT deploydb.backup_start('one table', relations => '{public.t}') AS id \gset part_
SELECT deploydb.backup_finish(:part_id, 10) \g /dev/null
SELECT deploydb.backup_restore_tested(:part_id) \g /dev/null
SELECT deploydb.backup_start('kept for a moment', expires_at => clock_timestamp()) AS id \gset short_
SELECT deploydb.backup_finish(:short_id, 1000) \g /dev/null
SELECT is((SELECT concat_ws(' ', newest_done, newest_verified, newest_restore_tested) FROM deploydb.backup_status()), '1 1 1', 'neither a table nor what has expired counts');
SELECT alike((SELECT note FROM deploydb.measure_backup(now())), 'nightly%', 'nor for the age');
SELECT is(deploydb.backup_expire(:part_id), true, 'a tested one can expire');
UPDATE deploydb.restore_test SET backup = :part_id;
SELECT ok(verdict() !~ 'none was ever restored', 'and was tested all the same');
UPDATE deploydb.restore_test SET backup = 1;
DELETE FROM deploydb.backup WHERE id IN (:part_id, :short_id);

-- a restore that differs
SELECT deploydb.backup_start('second') AS id \gset second_
SELECT deploydb.backup_start('third', tool => 'other') AS id \gset third_
SELECT throws_ok($$SELECT deploydb.backup_finish(size_stored => 1)$$, '55000', 'several backups are running', 'which one?');
SELECT is(deploydb.backup_finish(:second_id, 400, rows => '{"t": 3}', content_hash => '{"t": "1:2"}'), :second_id::bigint, 'this one');
SELECT ok(verdict() ~ 'the newest is less than half as big', 'half of it is missing');
SELECT is(deploydb.backup_restore_tested(:second_id, rows => '{"t": 2}', content_hash => '{"t": "1:2"}'), false, 'and it does not come back whole');
SELECT is(status_of(:second_id), 'corrupt', 'so it is corrupt');
SELECT is((SELECT detail FROM deploydb.restore_test WHERE backup = :second_id), 't has 2, expected 3', 'and why');
SELECT is(deploydb.fit_backup(), 1::bigint, 'the one before is what there is');
SELECT is(deploydb.backup_finish(size_stored => 10), :third_id::bigint, 'another one');
SELECT is(deploydb.backup_verified(:third_id, page_errors => 2), false, 'with broken pages');
SELECT is(status_of(:third_id), 'corrupt', 'is corrupt');
SELECT throws_ok(format('SELECT deploydb.backup_verified(%s)', :third_id), '55000', format('backup %s cannot become verified', :third_id), 'and stays it');

-- interrupted, too old
SELECT deploydb.backup_start('fourth') AS id \gset fourth_
SELECT is(deploydb.note_interrupted(), 0::bigint, 'running is running');
UPDATE deploydb.backup SET recorded_at = now() - interval '3 days' WHERE id = :fourth_id;
SELECT is(deploydb.note_interrupted(), 1::bigint, 'but not for days');
SELECT is(status_of(:fourth_id), 'interrupted', 'nor across a restart');
UPDATE deploydb.backup SET started_at = started_at - interval '2 days', finished_at = finished_at - interval '2 days' WHERE id = 1;
SELECT is(deploydb.fit_backup(), NULL, 'too old to go back to');
SELECT ok(verdict() ~ 'error the newest is 2 days', 'which is an error');

-- a day has 24 hours, also where the clocks are changed
UPDATE deploydb.backup SET started_at = '2026-10-24 10:00Z', finished_at = '2026-10-24 10:30Z' WHERE id = 1;
SET timezone = 'Europe/Berlin';
SELECT is(deploydb.fit_backup('2026-10-25 11:00Z'), NULL, 'too old by half an hour');
SELECT is(deploydb.fit_backup('2026-10-25 10:00Z'), 1::bigint, 'and not yet');
SET timezone = 'UTC';

-- where none is good any more, the age is counted from the first one on, and the alert goes on
UPDATE deploydb.backup SET started_at = now() - interval '3 days', finished_at = now() - interval '2 days' WHERE id = 1;
SELECT is(oldness(), 'nightly "1" by pg_dump 48 h', 'too old');
UPDATE deploydb.backup SET expires_at = clock_timestamp() WHERE id = 1;
SELECT is(oldness(), 'none is finished and good 72 h', 'it is not kept any longer');
UPDATE deploydb.backup SET expires_at = NULL WHERE id = 1;
SELECT deploydb.backup_verified(1, false) \g /dev/null
SELECT is(oldness(), 'none is finished and good 72 h', 'or broken');
SELECT deploydb.backup_expire(1) \g /dev/null
SELECT is(oldness(), 'none is finished and good 72 h', 'or gone');
SELECT deploydb.tick() \g /dev/null
SELECT is((SELECT concat_ws(' ', status, message) FROM deploydb.active_alert WHERE rule = 'backup_too_old'),
	'firing No good backup for 3 d (limit 25 h): none is finished and good', 'which is an alert');
UPDATE deploydb.backup SET system_identifier = 'x' || system_identifier;
SELECT is(oldness(), NULL, 'but not by those of another server');
UPDATE deploydb.backup SET system_identifier = substr(system_identifier, 2), method = 'table_copy';
SELECT is(oldness(), NULL, 'nor by copies of tables');
UPDATE deploydb.backup SET method = 'pg_dump';
SELECT deploydb.backup_start('fifth') AS id \gset fifth_
SELECT deploydb.backup_finish(:fifth_id, 1000) \g /dev/null
SELECT is(oldness(), 'fifth by pg_dump 0 h', 'until there is a good one');

-- contents do not depend on the order of rows
CREATE TABLE "One ""T" AS SELECT n AS "r", n::text || '学' AS "ROW", now() AS at FROM generate_series(1, 100) n;
CREATE TABLE other AS SELECT * FROM "One ""T" ORDER BY random();
SELECT is((SELECT c::text FROM deploydb.table_content('"One ""T"') c), (SELECT c::text FROM deploydb.table_content('other') c), 'the same rows');
SET timezone = 'Asia/Shanghai';
SELECT is((SELECT c::text FROM deploydb.table_content('"One ""T"') c), (SELECT c::text FROM deploydb.table_content('other') c), 'in any session');
UPDATE other SET r = 0 WHERE r = 50;
SELECT isnt((SELECT c.hash FROM deploydb.table_content('"One ""T"') c), (SELECT c.hash FROM deploydb.table_content('other') c), 'one row differs');
SELECT is((SELECT c::text FROM deploydb.table_content('other', false) c), '(100,)', 'or only counted');
SELECT is((SELECT c::text FROM deploydb.table_content('other') c WHERE rows = 0), NULL, 'rows are counted');

SELECT * FROM finish();
DROP OWNED BY deploydb_test_operator;
DROP ROLE deploydb_test_operator;
