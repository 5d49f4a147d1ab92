-- deploydb.check_environment(): each item, with the statement that mends it,
-- and the answer to a role without rights.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;
CREATE ROLE deploydb_test_app;
CREATE ROLE deploydb_test_owner LOGIN;
CREATE ROLE "deploydb_test Reader" LOGIN;

CREATE FUNCTION item(item text) RETURNS TABLE (status text, actual text, required text, hint text) LANGUAGE sql
AS $$ SELECT e.status, e.actual, e.required, e.hint FROM deploydb.check_environment() e WHERE e.item = item.item $$;
-- status and hint
CREATE FUNCTION told(item text) RETURNS text LANGUAGE sql
AS $$ SELECT concat_ws(' ', i.status, i.hint) FROM item(told.item) i $$;

SELECT plan(76);

SELECT is(array_agg(DISTINCT e.status) <@ '{ok,warning,error,not_measured,unknown}', true, 'known statuses only')
FROM deploydb.check_environment() e;
SELECT is(count(*), count(DISTINCT e.item), 'no item comes twice') FROM deploydb.check_environment() e;
SELECT is(count(*), 0::bigint, 'what is not ok has a hint')
FROM deploydb.check_environment() e WHERE e.status IN ('warning', 'error', 'unknown') AND e.hint IS NULL;

--
-- Software
--
SELECT is(i.status || ' ' || i.actual, 'ok ' || current_setting('server_version'), 'version') FROM item('postgresql') i;
SELECT is(i.status || ' ' || i.required, 'ok recommended', 'TimescaleDB') FROM item('timescaledb') i;
SELECT is(i.actual, current_setting('server_encoding'), 'encoding') FROM item('encoding') i;
SELECT is(i.status, CASE current_setting('server_encoding') WHEN 'UTF8' THEN 'ok' ELSE 'warning' END, 'and whether it will do') FROM item('encoding') i;
SELECT is(deploydb.library_version(), (SELECT extversion FROM pg_extension WHERE extname = 'deploydb'), 'the library is of the SQL objects'' version');
SELECT is(told('deploydb'), 'ok', 'which is an item');
UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'deploydb';
SELECT matches(told('deploydb'), '^warning ALTER EXTENSION deploydb UPDATE;', 'an older SQL side is told');
UPDATE pg_extension SET extversion = deploydb.library_version() WHERE extname = 'deploydb';

SELECT is(i.status, CASE WHEN current_setting('shared_preload_libraries') ~ 'deploydb' THEN 'ok' ELSE 'warning' END, 'preloaded or not')
FROM item('shared_preload_libraries') i;
SELECT is(deploydb.preload_statement(v.libraries), 'ALTER SYSTEM SET shared_preload_libraries = ' || v.expected || ';', 'preload: ' || v.libraries)
FROM (VALUES ('', $$'deploydb'$$),
	('pg_stat_statements', $$'pg_stat_statements', 'deploydb'$$),
	('timescaledb,pg_stat_statements', $$'timescaledb', 'pg_stat_statements', 'deploydb'$$),
	(' a ,  b ', $$'a', 'b', 'deploydb'$$),
	('"$libdir/odd, name", b', $$'$libdir/odd, name', 'b', 'deploydb'$$),
	('"with ""quotes""",it''s', $$'with "quotes"', 'it''s', 'deploydb'$$),
	('a, deploydb, b', $$'a', 'b', 'deploydb'$$)) AS v (libraries, expected);
SELECT is(deploydb.preload_statement(NULL), $$ALTER SYSTEM SET shared_preload_libraries = 'deploydb';$$, 'preload: NULL');

--
-- TimeZone: the role's in this database, the role's, the database's, the server's
--
SELECT matches(i.actual, '\(server\)$', 'TimeZone of the server') FROM item('TimeZone') i;
SELECT format('ALTER DATABASE %I SET TimeZone = ''Asia/Shanghai''', current_database()) \gexec
SELECT is(i.status || ' ' || i.actual, 'warning Asia/Shanghai (database)', 'TimeZone of the database') FROM item('TimeZone') i;
SELECT matches(i.hint, format('^ALTER DATABASE %I SET TimeZone = ''UTC''; -- ', current_database()), 'with the statement') FROM item('TimeZone') i;
SELECT format('ALTER DATABASE %I SET TimeZone = ''Etc/UTC''', current_database()) \gexec
SELECT is(told('TimeZone'), 'ok', 'UTC by another name will do');
ALTER ROLE "deploydb_test Reader" SET TimeZone = 'Asia/Shanghai';
SELECT is(told('TimeZone'), 'ok', 'another role''s does not matter');
SET deploydb.app_role = 'deploydb_test Reader';
SELECT is(i.status || ' ' || i.actual, 'warning Asia/Shanghai (role "deploydb_test Reader")', 'the application''s role''s does') FROM item('TimeZone') i;
SELECT matches(i.hint, format('^ALTER ROLE "deploydb_test Reader" IN DATABASE %I SET TimeZone = ''UTC''; -- ', current_database()), 'with the statement') FROM item('TimeZone') i;
SELECT format('ALTER ROLE "deploydb_test Reader" IN DATABASE %I SET TimeZone = ''UTC''', current_database()) \gexec
SELECT is(told('TimeZone'), 'ok', 'which mends it');
RESET deploydb.app_role;

--
-- Settings
--
SELECT is(i.status || ' ' || i.actual, CASE current_setting('fsync') WHEN 'on' THEN 'ok on' ELSE 'error off' END, 'fsync') FROM item('fsync') i;
SELECT is(i.status || ' ' || i.actual, CASE current_setting('full_page_writes') WHEN 'on' THEN 'ok on' ELSE 'error off' END, 'full_page_writes') FROM item('full_page_writes') i;
SELECT is(i.status || ' ' || i.actual, CASE current_setting('data_checksums') WHEN 'on' THEN 'ok on' ELSE 'warning off' END, 'data_checksums') FROM item('data_checksums') i;
SELECT is(i.status, CASE current_setting('archive_mode') WHEN 'off' THEN 'warning' ELSE 'ok' END, 'archiving') FROM item('archiving') i;
SELECT matches(i.actual, format('^\d+ of %s free$', current_setting('max_worker_processes')), 'worker slots') FROM item('worker slots') i;

--
-- The application's role
--
SELECT matches(told('app_role'), '^not_measured ALTER DATABASE \S+ SET deploydb\.app_role = ''', 'not set: a statement');
CREATE TABLE owned (id serial PRIMARY KEY);
ALTER TABLE owned OWNER TO deploydb_test_owner;
SELECT ok('deploydb_test_owner' = ANY (deploydb.app_role_candidates()), 'who owns a table looks like it');
SELECT ok(NOT 'deploydb_test_app' = ANY (deploydb.app_role_candidates()), 'who cannot log in does not');
SELECT ok(NOT 'deploydb_test Reader' = ANY (deploydb.app_role_candidates()), 'nor who can do nothing here');
GRANT INSERT ON owned TO "deploydb_test Reader";
SELECT ok('deploydb_test Reader' = ANY (deploydb.app_role_candidates()), 'until he can');
REVOKE INSERT ON owned FROM "deploydb_test Reader";
GRANT deploydb_test_owner TO "deploydb_test Reader";
SELECT ok('deploydb_test Reader' = ANY (deploydb.app_role_candidates()), 'or is a member of who can');
REVOKE deploydb_test_owner FROM "deploydb_test Reader";
SET deploydb.app_role = 'no one';
SELECT is(told('app_role'), 'error CREATE ROLE "no one" LOGIN;', 'a role that is not there');
SET deploydb.app_role = 'deploydb_test_app';
SELECT is(told('app_role login'), 'error ALTER ROLE deploydb_test_app LOGIN;', 'it cannot log in');
ALTER ROLE deploydb_test_app LOGIN VALID UNTIL '2020-01-01';
SELECT is(told('app_role login'), 'error ALTER ROLE deploydb_test_app VALID UNTIL ''infinity'';', 'its password has expired');
ALTER ROLE deploydb_test_app VALID UNTIL 'infinity';
SELECT is(told('app_role login'), 'ok', 'it can log in');
SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT is(told('app_role CONNECT'), format('error GRANT CONNECT ON DATABASE %I TO deploydb_test_app;', current_database()), 'it may not connect');
SELECT i.hint FROM item('app_role CONNECT') i \gexec
SELECT is(told('app_role CONNECT'), 'ok', 'it may');
ALTER ROLE deploydb_test_app CONNECTION LIMIT 0;
SELECT is(told('app_role connection limit'), 'error ALTER ROLE deploydb_test_app CONNECTION LIMIT -1;', 'no connection is left');
ALTER ROLE deploydb_test_app CONNECTION LIMIT 10;
SELECT is(i.status || ' ' || i.actual, 'ok 0 of 10', 'connections are left') FROM item('app_role connection limit') i;
SELECT is(i.status || ' ' || i.actual, 'not_measured no migrated table is here', 'no table to have rights on') FROM item('app_role on tables') i;

SELECT k.ddl FROM deploydb.known_migration k WHERE k.built_in \gexec
ALTER TABLE decision_insights ADD n serial;
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
SELECT is(told('app_role on schema public'), 'error GRANT USAGE ON SCHEMA public TO deploydb_test_app;', 'no USAGE');
SELECT is(told('app_role on public.decision_insights'), 'error GRANT SELECT, INSERT, UPDATE ON TABLE public.decision_insights TO deploydb_test_app;', 'no rights on the table');
SELECT is(told('app_role on sequence public.decision_insights_n_seq'), 'error GRANT USAGE ON SEQUENCE public.decision_insights_n_seq TO deploydb_test_app;', 'nor on its sequence');
SELECT e.hint FROM deploydb.check_environment() e WHERE e.item LIKE 'app_role on %' \gexec
SELECT is(array_agg(DISTINCT e.status), '{ok}', 'the statements mend it') FROM deploydb.check_environment() e WHERE e.item LIKE 'app_role%';
SET quote_all_identifiers = on;
SELECT is(array_agg(DISTINCT e.status), '{ok}', 'also where all identifiers are quoted') FROM deploydb.check_environment() e WHERE e.item LIKE 'app_role%';
SELECT isnt(i.status, NULL, 'and the table is found') FROM item('app_role on public.decision_insights') i;
RESET quote_all_identifiers;
RESET deploydb.app_role;

--
-- Who could not dump
--
SELECT matches(i.status || ' ' || i.actual || ' ' || i.hint,
	'^warning refused: deploydb\.\w+, deploydb\.\w+, deploydb\.\w+ and \d+ more GRANT pg_read_all_data TO deploydb_test_owner;$',
	'an owner of a table who may not read the others') FROM item('pg_dump by deploydb_test_owner') i;
SELECT i.hint FROM item('pg_dump by deploydb_test_owner') i \gexec
SELECT is(count(*), 0::bigint, 'the statement mends it') FROM item('pg_dump by deploydb_test_owner');
SELECT is(i.status || ' ' || i.actual, 'ok 1 roles, and superusers', 'and he counts as one who can') FROM item('pg_dump by owners of tables') i;
ALTER TABLE decision_insights ENABLE ROW LEVEL SECURITY;
SELECT matches(told('pg_dump by deploydb_test_owner'), '^warning ALTER ROLE deploydb_test_owner BYPASSRLS;', 'row security would hide rows from him');

--
-- A role without rights
--
GRANT USAGE ON SCHEMA public, deploydb TO "deploydb_test Reader";
GRANT EXECUTE ON FUNCTION deploydb.check_environment() TO "deploydb_test Reader";
SET ROLE "deploydb_test Reader";
SELECT lives_ok('SELECT * FROM deploydb.check_environment()', 'it does not raise without rights');
SELECT is(array_agg(DISTINCT i.status), '{unknown}', 'what cannot be read is unknown') FROM item('software') i;
RESET ROLE;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA deploydb TO "deploydb_test Reader";
SET ROLE "deploydb_test Reader";
SELECT is(string_agg(e.item, ', ' ORDER BY e.item COLLATE "C"), 'app_rights, shared_preload_libraries, worker slots', 'and nothing else is')
FROM deploydb.check_environment() e WHERE e.status = 'unknown';
SELECT is(i.status, 'ok', 'the rest is told') FROM item('deploydb') i;
RESET ROLE;
GRANT pg_monitor TO "deploydb_test Reader";
SET ROLE "deploydb_test Reader";
SELECT is(count(*), 0::bigint, 'a monitor reads all') FROM deploydb.check_environment() e WHERE e.status = 'unknown' AND e.item <> 'TimeZone';
RESET ROLE;
BEGIN READ ONLY;
SELECT lives_ok('SELECT * FROM deploydb.check_environment()', 'it works in a read-only transaction');
COMMIT;

-- the overview in both languages: states and statements stay as they are
SET deploydb.language = zh;
SELECT results_eq($$SELECT area, verdict, regexp_replace(detail, E'\\s+', ' ', 'g') FROM deploydb_status()
	WHERE area IN ('migration', 'ledger', 'backup')$$, $$VALUES
	('migration', 'error', 'add_decision_insights：1 个错误，0 个警告'), ('ledger', 'ok', '此处没有 _prisma_migrations'),
	('backup', 'warning', '没有备份记录')$$, 'the status in Chinese');
SELECT is((SELECT count(*) FROM deploydb_status() WHERE detail !~ '[一-龥]'), 0::bigint, 'all of it');
BEGIN;
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
	finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
	rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
	applied_steps_count integer NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, logs, rolled_back_at, applied_steps_count)
VALUES ('1', '', '1_a', now(), NULL, NULL, 1), ('2', '', '2_b', now(), NULL, NULL, 1), ('3', '', '3_c', now(), NULL, NULL, 0),
	('4', '', '4_d', NULL, 'ERROR', NULL, 0), ('5', '', '5_e', NULL, 'ERROR', now(), 0);
SELECT is(regexp_replace(detail, E'\\s+', ' ', 'g'), '2 个已执行，1 个手工标记为已执行，1 个失败，1 个已回滚', 'the ledger, too') FROM deploydb_status() WHERE area = 'ledger';
SET LOCAL deploydb.language = en;
SELECT is(regexp_replace(detail, E'\\s+', ' ', 'g'), '2 applied, 1 claimed, 1 failed, 1 rolled_back', 'or in English') FROM deploydb_status() WHERE area = 'ledger';
ROLLBACK;
SET deploydb.language = en;
SELECT is((SELECT count(*) FROM deploydb_status() WHERE detail ~ '[一-龥]'), 0::bigint, 'none of it in English');

-- errors stay English, of SQL and of C
CREATE FUNCTION error_in(language text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text;
BEGIN
	PERFORM set_config('deploydb.language', language, true);
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RETURN concat_ws('|', m, d, h);
END $$;
SELECT is(error_in('zh', s), e, s) FROM (VALUES
	($$SELECT deploydb.set_rule('nothing')$$, 'rule "nothing" does not exist||View deploydb.alert_rule has the rules. A new one needs a metric.'),
	($$SELECT deploydb.push_metric('db.xid_age', 1)$$, 'metric "db.xid_age" is not pushed|The monitor measures it.|deploydb.add_metric() without a query declares one that is.'),
	($$SELECT deploydb.notify('x', 'P9')$$, 'invalid severity: "P9"||Severities are P0, P1, P2 and P3.'),
	($$SELECT deploydb.queue_test('nobody')$$, 'webhook "nobody" does not exist||View deploydb.webhook_health has those that do.'),
	($$SELECT deploydb.silence('api_down', '1 hour', '')$$, 'a reason is needed||Say in a few words what others will want to know.'),
	($$SELECT deploydb.backup_finish()$$, 'no backup is running|Without an id the one that is running is meant.|Name it by its id: table deploydb.backup has them.'),
	($$SELECT deploydb.test_rule('nothing', '[]')$$, 'rule "nothing" does not exist||View deploydb.alert_rule has the rules.'),
	($$SELECT deploydb_verify_migration('nothing')$$, 'migration "nothing" is not known|Known migrations: 20251203071615_add_decision_insights.|Register it with deploydb.register_migration(), or import what deploydb.capture_migration() gave elsewhere.')
) AS v (s, e);

DROP OWNED BY deploydb_test_app, deploydb_test_owner, "deploydb_test Reader" CASCADE;
DROP ROLE deploydb_test_app, deploydb_test_owner, "deploydb_test Reader";
SELECT * FROM finish();
