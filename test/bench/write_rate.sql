-- write_rate.sql
--		write_success_rate() with 30 days of samples, beside the count over
--		created_at that a runbook would make, on ten million rows.
\ir measure.psql

-- A sample each 30 seconds for 30 days, and an epoch that goes on
INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
SELECT 'x', 'x', 'u', '{}', '{}', '0123456789abcdef', now();
SELECT deploydb.take_write_sample() \g /dev/null
INSERT INTO deploydb.write_sample
SELECT e.target, e.at - n * interval '30 seconds', e.since, 100000 - n, 100, 10, 1, 0, 0, 0, 100000 - n, e.latency
FROM deploydb.write_epoch e, generate_series(1, 86400) AS n;
VACUUM ANALYZE deploydb.write_sample;

-- Wide rows would fill the disk: the count reads the index alone.
CREATE TABLE insight_of_old (created_at timestamp(3) NOT NULL);
INSERT INTO insight_of_old SELECT now() - n * interval '0.26 seconds' FROM generate_series(1, 10000000) AS n;
CREATE INDEX ON insight_of_old (created_at);
VACUUM ANALYZE insight_of_old;

SELECT 'write_success_rate, 24 hours', measure('SELECT deploydb.write_success_rate()'), 'ms',
	'count of 24 of 722 hours', measure($$ SELECT count(*) FROM insight_of_old WHERE created_at > now() - interval '24 hours' $$, 20);
SELECT 'write_success_rate, 30 days', measure($$ SELECT deploydb.write_success_rate('30 days') $$), 'ms',
	'count of 10 million rows', measure($$ SELECT count(*) FROM insight_of_old WHERE created_at > now() - interval '30 days' $$, 5);
SELECT 'write_stats, 24 hours', measure('SELECT count(*) FROM deploydb.write_stats()', 50), 'ms', '', NULL;
