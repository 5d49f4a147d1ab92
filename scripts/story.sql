-- story.sql
--		How a migration is in Prisma's ledger and not in the database, and how
--		deploydb finds and mends that.  Run by psql, by a superuser, in a fresh
--		database:  psql -X -d vocabulary < scripts/story.sql
\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
\pset null ''
\pset format wrapped
\pset columns 100
SET client_min_messages = warning;

\echo '-- Years ago somebody made decision_insights by hand:'
\echo
\set ECHO queries
CREATE TABLE decision_insights (
    id                  text PRIMARY KEY,
    decision_id         text UNIQUE,
    user_id             text,
    state_snapshot      jsonb,
    difficulty_factors  jsonb,
    triggers            text,
    feature_vector_hash text,
    created_at          timestamp
);
\set ECHO none

\echo
\echo '-- prisma migrate deploy then failed: relation "decision_insights" already exists.'
\echo '-- The table looked right, so somebody ran prisma migrate resolve --applied.'
\echo '-- Since then Prisma says "Database schema is up to date!", as its ledger does:'
\echo

CREATE TABLE _prisma_migrations (
    id                  varchar(36) PRIMARY KEY,
    checksum            varchar(64) NOT NULL,
    finished_at         timestamptz,
    migration_name      varchar(255) NOT NULL,
    logs                text,
    rolled_back_at      timestamptz,
    started_at          timestamptz NOT NULL DEFAULT now(),
    applied_steps_count integer NOT NULL DEFAULT 0
);
INSERT INTO _prisma_migrations
    (id, migration_name, checksum, started_at, finished_at, rolled_back_at, applied_steps_count, logs)
VALUES
    ('0b6bb7f4-6d4f-4f0e-8f5c-5f7d5c0a4c11', '20251203071615_add_decision_insights',
     'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203',
     '2025-12-03 08:00:00+00', NULL, '2025-12-03 08:20:00+00', 0,
     E'A migration failed to apply.\n\nDatabase error code: 42P07\n\n'
     'Database error:\nERROR: relation "decision_insights" already exists'),
    ('5a0a3c1e-90f5-4a35-9d5e-0d2f8f1c7a52', '20251203071615_add_decision_insights',
     'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203',
     '2025-12-03 08:20:00+00', '2025-12-03 08:20:00+00', NULL, 0, '');

\set ECHO queries
SELECT migration_name, finished_at IS NOT NULL AS finished, rolled_back_at IS NOT NULL AS rolled_back
FROM _prisma_migrations ORDER BY started_at;

\echo '-- What does the database itself say?'
\echo
CREATE EXTENSION deploydb;
SELECT deploydb_verify_migration();

\echo '-- It does not agree. The errors as a table:'
\echo
SELECT object, property, expected, actual
FROM deploydb.migration_report() WHERE severity = 'error';

\echo '-- Each comes with the statement that mends it. The table is empty, so'
\echo '-- nothing stands in the way of applying them all (psql: \\gexec):'
\echo
SELECT fix FROM deploydb.migration_report() WHERE fix IS NOT NULL \gexec

\echo
\echo '-- And now?'
\echo
SELECT deploydb_verify_migration();

\echo '-- The application begins to write: 400 decisions, of which some come twice,'
\echo '-- one has no snapshot, and one is taken back. What share of it succeeds?'
\echo
\set ECHO none
\set QUIET on
DO $$
BEGIN
	FOR n IN 1 .. 400 LOOP
		BEGIN
			INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors,
				feature_vector_hash, updated_at)
			VALUES (n, 'decision ' || n % 395, 'user',
				CASE WHEN n <> 17 THEN '{"attention": 0.7, "fatigue": 0.2}'::jsonb END,
				'{"length": 1, "accuracy": 0.9, "frequency": 3, "forgetting": 0.2}', '0123456789abcdef', now());
		EXCEPTION WHEN integrity_constraint_violation THEN
			NULL;
		END;
	END LOOP;
END $$;
BEGIN;
UPDATE decision_insights SET user_id = 'nobody' WHERE decision_id = 'decision 1';
ROLLBACK;
\set QUIET off
\set ECHO queries
SELECT attempts, succeeded, failed, rolled_back, round(success_rate::numeric, 4) AS success_rate, verdict
FROM deploydb.write_stats();
SELECT sqlstate, condition, attempts, last_constraint FROM deploydb.write_failures();

\echo '-- All of it in one call:'
\echo
\set ECHO none
\set QUIET on
-- until the monitor has looked, and the last message has arrived
CREATE PROCEDURE pg_temp.wait_until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	done boolean;
BEGIN
	FOR look IN 1 .. 1000 LOOP
		COMMIT;
		EXECUTE 'SELECT ' || condition INTO done;
		EXIT WHEN done;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT clock_timestamp() AS now \gset
CALL pg_temp.wait_until(format($$EXISTS (SELECT FROM deploydb.monitor_state WHERE last_tick_at > %L)
	AND NOT EXISTS (SELECT FROM deploydb.active_alert WHERE rule = 'migration_drift')$$, :'now'));
\set QUIET off
\set ECHO queries
SELECT area, verdict, detail, next_step FROM deploydb_status();

\echo '-- Nobody wants to look each day. The monitor watches, and tells a webhook;'
\echo '-- here that is a small HTTP server, which shows what it gets. The failures'
\echo '-- above are known by now, so they are not told for an hour:'
\echo
SELECT rule, deploydb.silence(rule, '1 hour', 'known') > now() AS silenced
FROM unnest('{insight_write_success_low,insight_write_burn}'::text[]) AS rule;
SELECT deploydb.add_webhook('terminal', 'slack', :'receiver');
CALL deploydb.test_webhook('terminal');

\echo '-- At night somebody drops an index. (The indented lines are the receiver''s.)'
\echo
SELECT clock_timestamp()::time(3) AS now;
DROP INDEX decision_insights_created_at_idx;
\set ECHO none
\set QUIET on
CALL pg_temp.wait_until($$EXISTS (SELECT FROM deploydb.notification
	WHERE topic LIKE 'migration_drift/%' AND status = 'firing' AND state = 'delivered')$$);
\set QUIET off
\echo
\echo '-- It is built again, without a lock that writers would notice:'
\echo
\set ECHO queries
SELECT clock_timestamp()::time(3) AS now;
CREATE INDEX CONCURRENTLY decision_insights_created_at_idx ON decision_insights (created_at);
\set ECHO none
\set QUIET on
CALL pg_temp.wait_until($$EXISTS (SELECT FROM deploydb.notification
	WHERE topic LIKE 'migration_drift/%' AND status = 'resolved' AND state = 'delivered')$$);
\set QUIET off
\echo
\echo '-- What became of the messages, and who changed what:'
\echo
\set ECHO queries
SELECT topic, status, state, attempts FROM deploydb.notification WHERE kind = 'alert' ORDER BY id;
SELECT session_role, command, object FROM deploydb.definition_change ORDER BY id DESC LIMIT 2;
SELECT deploydb.drop_webhook('terminal');
