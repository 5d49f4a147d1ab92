-- A table of 2 million rows rolled back, against a copy of it with its indexes
-- and the DROP TABLE that others do; and restored.
\ir measure.psql

CREATE FUNCTION once(statement text) RETURNS double precision LANGUAGE plpgsql
AS $$
DECLARE
	start timestamptz := clock_timestamp();
BEGIN
	EXECUTE statement;
	RETURN extract(epoch FROM clock_timestamp() - start) * 1000;
END $$;
SET client_min_messages = error;
INSERT INTO decision_insights
SELECT md5(g::text), md5((-g)::text), 'user ' || g % 1000, '{"attention": 0.5, "fatigue": 0.25}', '{"load": 0.125}', '{a}',
	left(md5((g / 10)::text), 16), now(), now()
FROM generate_series(1, 2000000) g;
VACUUM ANALYZE decision_insights;

SELECT once('CREATE TABLE copy (LIKE decision_insights INCLUDING DEFAULTS); INSERT INTO copy SELECT * FROM decision_insights;
	ALTER TABLE copy ADD PRIMARY KEY (id); CREATE UNIQUE INDEX ON copy (decision_id); CREATE INDEX ON copy (user_id, decision_id);
	CREATE INDEX ON copy (feature_vector_hash); CREATE INDEX ON copy (created_at)') AS copy \gset
SELECT deploydb.plan_rollback('decision_insights') ->> 'id' AS plan \gset
SELECT once(format('SELECT deploydb.rollback_migration(%s, ''measured'')', :plan)) AS rollback \gset
SELECT once('SELECT deploydb.restore_rolled_back(1)') AS restore \gset
SELECT must_be_clean() \g /dev/null
SELECT 'rollback of 2 million rows', :rollback, 'ms', 'a copy with its indexes', :copy;
SELECT 'restore of 2 million rows', :restore, 'ms', 'a copy with its indexes', :copy;
