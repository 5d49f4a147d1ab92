-- deploydb.ledger(): every state, every verdict on a checksum, and every way
-- in which the ledger cannot be read.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION dblink;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_reader IN ROLE pg_monitor;

CREATE FUNCTION hex(bytes bytea) RETURNS text LANGUAGE sql
AS $$ SELECT encode(sha256(bytes), 'hex') $$;

-- Another session, as Prisma or a pooler is one.
SELECT dblink_connect('other', format('host=%s port=%s dbname=%s user=%s application_name=prisma-deploy',
	split_part(current_setting('unix_socket_directories'), ',', 1),
	current_setting('port'), current_database(), current_user)) AS connected
\gset

SELECT plan(69);

--
-- No ledger
--
SELECT results_eq(
	$$ SELECT migration, state, checksum, note FROM deploydb.ledger() $$,
	$$ VALUES ('20251203071615_add_decision_insights', 'absent', NULL::text, 'no _prisma_migrations here') $$,
	'without a ledger the known migration is absent');
SELECT results_eq(
	$$ SELECT state FROM deploydb.ledger(NULL, 'public') $$, $$ VALUES ('absent') $$,
	'so it is in a schema without one');
SELECT throws_ok($$ SELECT * FROM deploydb.ledger(NULL, 'no_such') $$, '3F000', NULL,
	'a schema that does not exist is an error');

CREATE TABLE _prisma_migrations (
	id varchar(36) PRIMARY KEY DEFAULT gen_random_uuid(),
	checksum varchar(64) NOT NULL,
	finished_at timestamptz,
	migration_name varchar(255) NOT NULL,
	logs text,
	rolled_back_at timestamptz,
	started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0);

SELECT results_eq(
	$$ SELECT state, note FROM deploydb.ledger('add_decision_insights') $$,
	$$ VALUES ('absent', NULL::text) $$, 'in an empty ledger it is absent, without a note');

--
-- States
--
INSERT INTO _prisma_migrations (migration_name, checksum, started_at, finished_at, rolled_back_at, applied_steps_count, logs)
VALUES
	('20251203071615_add_decision_insights', 'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203',
	 '2026-01-01 10:00+00', '2026-01-01 10:01+00', NULL, 1, NULL),
	('a_claimed', 'x', '2026-01-01', '2026-01-01', NULL, 0, ''),
	('b_failed_old', 'x', now() - interval '11 minutes', NULL, NULL, 0,
	 E'A migration failed to apply. New migrations cannot be applied.\n\nMigration name: b_failed_old\n\nDatabase error code: 42P07\n\nDatabase error:\nERROR: relation "decision_insights" already exists\n\nDbError { severity: "ERROR" }\n   0: schema_core::commands'),
	('c_failed_young', 'x', now() - interval '1 minute', NULL, NULL, 0, E'\n \n\x01\x1bthe engine\tdied\x7f \u6ce8\nmore'),
	('d_rolled_back', 'x', '2026-01-01', NULL, '2026-01-02', 0, 'ERROR: gone'),
	('e_resolved', 'x', '2026-01-01', NULL, '2026-01-02', 0, 'ERROR: gone'),
	('e_resolved', 'x', '2026-01-02', '2026-01-02', NULL, 0, ''),
	('f_again', 'old', '2026-01-01', NULL, '2026-01-02', 0, 'ERROR: gone'),
	('f_again', 'new', '2026-01-03', '2026-01-03', NULL, 1, NULL),
	('g_two_applied', 'x', '2026-01-05', '2026-01-05', NULL, 3, NULL),
	('g_two_applied', 'x', '2026-01-04', '2026-01-04', NULL, 2, NULL),
	('h_unfinished_beside_applied', 'x', '2026-01-01', '2026-01-01', NULL, 1, NULL),
	('h_unfinished_beside_applied', 'x', now(), NULL, NULL, 0, NULL),
	('i_two_rolled_back', 'x', '2026-01-01', NULL, '2026-01-03', 0, NULL),
	('i_two_rolled_back', 'x', '2026-01-02', NULL, '2026-01-04', 0, NULL),
	('j_long_error', 'x', '2026-01-01', NULL, NULL, 0, repeat('ä', 500)),
	('k_headings_only', 'x', '2026-01-01', NULL, NULL, 0, E'Migration name: k\n\nDatabase error:\n'),
	('l_no_logs', 'x', '2026-01-01', NULL, NULL, 0, NULL),
	('m_future', 'x', now() + interval '1 hour', NULL, NULL, 0, NULL);

SELECT results_eq(
	$$ SELECT migration, state, started_at, finished_at, rolled_back_at, steps, note
	   FROM deploydb.ledger('add_decision_insights') $$,
	$$ VALUES ('20251203071615_add_decision_insights', 'applied', '2026-01-01 10:00+00'::timestamptz,
		'2026-01-01 10:01+00'::timestamptz, NULL::timestamptz, 1, NULL::text) $$,
	'applied, with its times and steps');
SELECT is(l.checksum, 'exact', 'checksum of the built-in migration') FROM deploydb.ledger('add_decision_insights') l;
SELECT is(l.state, 'claimed', 'finished with no step: claimed') FROM deploydb.ledger('a_claimed') l;
SELECT is(l.note, 'marked as applied by hand, Prisma ran nothing of it', 'claimed says so') FROM deploydb.ledger('a_claimed') l;
SELECT is(l.state, 'failed', 'unfinished and old: failed') FROM deploydb.ledger('b_failed_old') l;
SELECT is(l.note, 'ERROR: relation "decision_insights" already exists', 'the server''s message is picked from the logs') FROM deploydb.ledger('b_failed_old') l;
SELECT is(l.state, 'failed', 'unfinished and young, but nobody holds the lock: failed') FROM deploydb.ledger('c_failed_young') l;
SELECT is(l.note, U&'the engine died \6ce8', 'control characters are stripped') FROM deploydb.ledger('c_failed_young') l;
SET client_encoding = 'LATIN1';
SELECT is(l.note, 'the engine died \u6ce8', 'a client whose encoding lacks a character gets it escaped') FROM deploydb.ledger('c_failed_young') l;
RESET client_encoding;
SELECT is(l.state, 'rolled_back', 'rolled back') FROM deploydb.ledger('d_rolled_back') l;
SELECT is(l.rolled_back_at, '2026-01-02'::timestamptz, 'and when') FROM deploydb.ledger('d_rolled_back') l;
SELECT is(l.state, 'claimed', 'resolve --applied after a failure: claimed') FROM deploydb.ledger('e_resolved') l;
SELECT matches(l.note, '; 2 tries$', 'several tries are told') FROM deploydb.ledger('e_resolved') l;
SELECT is(l.state, 'applied', 'deployed again after a rollback: applied') FROM deploydb.ledger('f_again') l;
SELECT is(l.steps, 3, 'of two applied rows the newest counts') FROM deploydb.ledger('g_two_applied') l;
SELECT is(l.state, 'applied', 'an applied row counts before an unfinished one') FROM deploydb.ledger('h_unfinished_beside_applied') l;
SELECT is(l.rolled_back_at, '2026-01-04'::timestamptz, 'of two rolled back rows the newest counts') FROM deploydb.ledger('i_two_rolled_back') l;
SELECT is(l.note, repeat('ä', 200), 'a long message is cut to 200 characters') FROM deploydb.ledger('j_long_error') l;
SELECT is(l.note, NULL, 'logs that say nothing give no note') FROM deploydb.ledger('k_headings_only') l;
SELECT is(l.note, NULL, 'no logs give no note') FROM deploydb.ledger('l_no_logs') l;
SELECT is(l.checksum, 'unknown', 'checksum of a migration that is not known') FROM deploydb.ledger('a_claimed') l;
SELECT is(array_agg(l.migration), array_agg(l.migration ORDER BY l.migration COLLATE "C"), 'rows come by name')
FROM deploydb.ledger() l;
SELECT is(count(*), 14::bigint, 'one row a migration') FROM deploydb.ledger();

--
-- Names
--
SELECT is(l.migration, 'b_failed_old', 'a suffix names one') FROM deploydb.ledger('failed_old') l;
SELECT throws_ok($$ SELECT * FROM deploydb.ledger('no_such') $$, '42704', NULL, 'an unknown name is an error');
SELECT throws_ok($$ SELECT * FROM deploydb.ledger('_back') $$, '42704', NULL, 'a suffix that means several is one, too');
SELECT throws_ok($$ SELECT * FROM deploydb.ledger('') $$, '42704', NULL, 'so is the empty name');

--
-- The lock
--
SELECT dblink_exec('other', 'DO $d$ BEGIN PERFORM pg_advisory_lock(72707369); END $d$') AS locked \gset
SELECT pid FROM pg_stat_activity WHERE application_name = 'prisma-deploy' \gset
SELECT is(l.state, 'running', 'young and unfinished while the lock is held: running') FROM deploydb.ledger('c_failed_young') l;
SELECT matches(l.note, format('^lock held by process %s, user %s; unfinished for 6\d s$', :'pid', current_user), 'running tells holder and age')
FROM deploydb.ledger('c_failed_young') l;
SELECT is(l.state, 'running', 'a client''s clock may be ahead') FROM deploydb.ledger('m_future') l;
SELECT is(l.state, 'failed', 'old and unfinished stays failed') FROM deploydb.ledger('b_failed_old') l;
SELECT is(count(*), 0::bigint, 'a lock in use is not left behind') FROM deploydb.ledger() l WHERE l.state = 'lock_left_behind';
UPDATE _prisma_migrations SET started_at = now() - interval '10 minutes 1 second' WHERE migration_name IN ('c_failed_young', 'm_future');
SELECT is(l.migration, NULL, 'a lock that nobody migrates under is a row without a migration') FROM deploydb.ledger() l WHERE l.state = 'lock_left_behind';
SELECT matches(l.note, format('^Prisma''s lock is held by process %s, user %s, application prisma-deploy, idle since 20', :'pid', current_user), 'it tells who holds it')
FROM deploydb.ledger() l WHERE l.state = 'lock_left_behind';
SELECT is(count(*), 0::bigint, 'asked for one migration, the lock is no row') FROM deploydb.ledger('a_claimed') l WHERE l.state = 'lock_left_behind';
SELECT dblink_exec('other', 'DO $d$ BEGIN PERFORM pg_advisory_unlock(72707369); PERFORM pg_advisory_lock(1, 72707369); PERFORM pg_advisory_lock(72707370); END $d$') AS unlocked \gset
SELECT is(count(*), 0::bigint, 'other advisory locks are not Prisma''s') FROM deploydb.ledger() l WHERE l.state = 'lock_left_behind';
SELECT pg_advisory_lock(72707369) AS own \gset
SELECT is(count(*), 0::bigint, 'nor is the caller''s own') FROM deploydb.ledger() l WHERE l.state = 'lock_left_behind';
SELECT pg_advisory_unlock(72707369) AS own \gset

--
-- Checksums
--
TRUNCATE _prisma_migrations;
CREATE TABLE variant (name text, registered text, applied text, verdict text);
INSERT INTO variant VALUES
	('same', E'CREATE TABLE s1 (\n\tid text);\n', E'CREATE TABLE s1 (\n\tid text);\n', 'exact'),
	('newline stripped', E'CREATE TABLE s2 (\n\tid text);', E'CREATE TABLE s2 (\n\tid text);\n', 'exact'),
	('newline added', E'CREATE TABLE s3 (\n\tid text);\n', E'CREATE TABLE s3 (\n\tid text);', 'exact'),
	('crlf', E'CREATE TABLE s4 (\n\tid text);\n', E'CREATE TABLE s4 (\r\n\tid text);\r\n', 'crlf'),
	('crlf, newline stripped', E'CREATE TABLE s5 (\n\tid text);', E'CREATE TABLE s5 (\r\n\tid text);\r\n', 'crlf'),
	('crlf, newline added', E'CREATE TABLE s6 (\n\tid text);\n', E'CREATE TABLE s6 (\r\n\tid text);', 'crlf'),
	('lf', E'CREATE TABLE s7 (\r\n\tid text);\r\n', E'CREATE TABLE s7 (\n\tid text);\n', 'lf'),
	('lf, newline stripped', E'CREATE TABLE s8 (\r\n\tid text);\r', E'CREATE TABLE s8 (\n\tid text);\n', 'lf'),
	('crlf on both sides, newline stripped', E'CREATE TABLE s9 (\r\n\tid text);\r', E'CREATE TABLE s9 (\r\n\tid text);\r\n', 'exact'),
	('beyond ASCII', E'CREATE TABLE s10 (id text); -- 决策\n', E'CREATE TABLE s10 (id text); -- 决策\r\n', 'exact'),
	('edited', E'CREATE TABLE s11 (id text);\n', E'CREATE TABLE s11 (id  text);\n', 'different'),
	('two newlines, one stripped', E'CREATE TABLE s12 (id text);\n', E'CREATE TABLE s12 (id text);\n\n', 'exact'),
	('two newlines more', E'CREATE TABLE s13 (id text);\n', E'CREATE TABLE s13 (id text);\n\n\n', 'different');
UPDATE variant SET applied = E'CREATE TABLE s10 (id text); -- 决策\n' WHERE name = 'beyond ASCII';
SELECT sum(deploydb.register_migration('v ' || name, registered)) > 0 AS registered FROM variant \gset
INSERT INTO _prisma_migrations (migration_name, checksum, finished_at, applied_steps_count)
SELECT 'v ' || name, hex(convert_to(applied, 'UTF8')), now(), 1 FROM variant;
SELECT is(l.checksum, v.verdict, 'checksum: ' || v.name)
FROM variant v JOIN deploydb.ledger() l ON l.migration = 'v ' || v.name
ORDER BY v.name;

UPDATE _prisma_migrations SET checksum = (
	SELECT string_agg(ltrim(substr(checksum, i, 1), '0') || substr(checksum, i + 1, 1), '' ORDER BY i)
	FROM generate_series(1, 63, 2) AS i)
WHERE migration_name = 'v crlf';
SELECT cmp_ok((SELECT length(checksum) FROM _prisma_migrations WHERE migration_name = 'v crlf'), '<', 64, 'a checksum without zero padding is shorter');
SELECT is(l.checksum, 'crlf', 'and compares as it did with it') FROM deploydb.ledger('v crlf') l;
UPDATE _prisma_migrations SET checksum = '' WHERE migration_name = 'v same';
SELECT is(l.checksum, 'unknown', 'an empty checksum says nothing') FROM deploydb.ledger('v same') l;

--
-- What cannot be read
--
SET ROLE deploydb_test_reader;
SELECT results_eq(
	$$ SELECT state, checksum, note FROM deploydb.ledger('v same') $$,
	$$ VALUES (NULL::text, NULL::text, 'no right to read all of public._prisma_migrations') $$,
	'without SELECT the state is not known');
RESET ROLE;
GRANT SELECT ON _prisma_migrations TO deploydb_test_reader;
SET ROLE deploydb_test_reader;
SELECT is(l.state, 'applied', 'with SELECT it is') FROM deploydb.ledger('v same') l;
RESET ROLE;
ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON _prisma_migrations USING (1 / 0 = 1);
SET ROLE deploydb_test_reader;
SELECT is(l.note, 'no right to read all of public._prisma_migrations', 'row security hides rows, so it is not read') FROM deploydb.ledger('v same') l;
RESET ROLE;
SELECT is(l.state, 'applied', 'who bypasses row security reads') FROM deploydb.ledger('v same') l;

SELECT dblink_exec('other', 'BEGIN; LOCK TABLE _prisma_migrations IN ACCESS EXCLUSIVE MODE') AS locked \gset
SET deploydb.lock_timeout = '20ms';
SELECT is(l.note, 'public._prisma_migrations is locked by another session', 'a locked ledger does not hang')
FROM deploydb.ledger('v same') l;
SELECT dblink_exec('other', 'ROLLBACK') AS unlocked \gset
RESET deploydb.lock_timeout;

ALTER TABLE _prisma_migrations RENAME TO renamed;
CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'the view was run'; END $$;
CREATE VIEW _prisma_migrations AS SELECT trap() AS migration_name, r.checksum FROM renamed r;
SELECT is(l.note, 'public._prisma_migrations is not a table as Prisma makes it', 'a view in its place is not run')
FROM deploydb.ledger('v same') l;
DROP VIEW _prisma_migrations;
CREATE TABLE _prisma_migrations (LIKE renamed);
ALTER TABLE _prisma_migrations ALTER started_at TYPE timestamp;
SELECT is(l.note, 'public._prisma_migrations is not a table as Prisma makes it', 'nor is a table with other types')
FROM deploydb.ledger('v same') l;
DROP TABLE _prisma_migrations;

-- Nothing crashes on NULL.
CREATE TABLE _prisma_migrations AS SELECT * FROM renamed LIMIT 0;
INSERT INTO _prisma_migrations DEFAULT VALUES;
INSERT INTO _prisma_migrations (migration_name) VALUES ('v same');
SELECT results_eq(
	$$ SELECT state, checksum, started_at, steps FROM deploydb.ledger('v same') $$,
	$$ VALUES ('failed', 'unknown', NULL::timestamptz, 0) $$, 'rows of NULLs are read');

-- Other schemas.
CREATE SCHEMA elsewhere;
ALTER TABLE _prisma_migrations SET SCHEMA elsewhere;
SELECT is(l.state, 'failed', 'found in any schema') FROM deploydb.ledger('v same') l;
CREATE TABLE _prisma_migrations (LIKE renamed);
SELECT is(l.state, 'absent', 'the search_path comes first') FROM deploydb.ledger('v same') l;
SELECT is(l.state, 'failed', 'a schema can be named') FROM deploydb.ledger('v same', 'elsewhere') l;

-- Prisma 8.
CREATE SCHEMA prisma_contract;
CREATE TABLE prisma_contract.marker (space text PRIMARY KEY);
SELECT is(count(*), 1::bigint, 'the contract marker of Prisma 8 is told')
FROM deploydb.ledger() l WHERE l.migration IS NULL AND l.state = 'absent' AND l.note LIKE '%Prisma 8%';

SELECT dblink_disconnect('other') AS disconnected \gset
DROP OWNED BY deploydb_test_reader;
DROP ROLE deploydb_test_reader;
SELECT * FROM finish();
