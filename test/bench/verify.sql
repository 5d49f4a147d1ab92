-- One migration, verified warm, against the same assertions in pgTAP.
\ir measure.psql

SELECT measure('SELECT deploydb_verify_migration()') AS verify \gset

\if :have_pgtap
CREATE EXTENSION pgtap;

-- Every fact of the migration, as somebody who tests with pgTAP writes it.
CREATE FUNCTION assert_by_pgtap() RETURNS bigint LANGUAGE sql
AS $$
	SELECT count(result) FROM (
		SELECT has_table('public', 'decision_insights', 'table') AS result
		UNION ALL SELECT columns_are('public', 'decision_insights', ARRAY['id', 'decision_id', 'user_id', 'state_snapshot',
			'difficulty_factors', 'triggers', 'feature_vector_hash', 'created_at', 'updated_at'])
		UNION ALL SELECT has_column('public', 'decision_insights', c, 'column') FROM unnest(ARRAY['id', 'decision_id', 'user_id',
			'state_snapshot', 'difficulty_factors', 'triggers', 'feature_vector_hash', 'created_at', 'updated_at']::name[]) AS c
		UNION ALL SELECT col_type_is('public', 'decision_insights', c, t, 'type') FROM (VALUES
			('id'::name, 'text'), ('decision_id', 'text'), ('user_id', 'text'), ('state_snapshot', 'jsonb'),
			('difficulty_factors', 'jsonb'), ('triggers', 'text[]'), ('feature_vector_hash', 'text'),
			('created_at', 'timestamp(3) without time zone'), ('updated_at', 'timestamp(3) without time zone')) AS v(c, t)
		UNION ALL SELECT col_not_null('public', 'decision_insights', c, 'not null') FROM unnest(ARRAY['id', 'decision_id',
			'user_id', 'state_snapshot', 'difficulty_factors', 'feature_vector_hash', 'created_at', 'updated_at']::name[]) AS c
		UNION ALL SELECT col_is_null('public', 'decision_insights', 'triggers', 'null')
		UNION ALL SELECT col_default_is('public', 'decision_insights', 'triggers', '{}'::text[], 'default')
		UNION ALL SELECT col_has_default('public', 'decision_insights', 'created_at', 'default')
		UNION ALL SELECT col_hasnt_default('public', 'decision_insights', c, 'no default') FROM unnest(ARRAY['id', 'decision_id',
			'user_id', 'state_snapshot', 'difficulty_factors', 'feature_vector_hash', 'updated_at']::name[]) AS c
		UNION ALL SELECT col_is_pk('public', 'decision_insights', 'id', 'primary key')
		UNION ALL SELECT indexes_are('public', 'decision_insights', ARRAY['decision_insights_pkey',
			'decision_insights_decision_id_key', 'decision_insights_user_id_decision_id_idx',
			'decision_insights_feature_vector_hash_idx', 'decision_insights_created_at_idx'])
		UNION ALL SELECT has_index('public', 'decision_insights', i, c, 'index') FROM (VALUES
			('decision_insights_decision_id_key'::name, ARRAY['decision_id']::name[]),
			('decision_insights_user_id_decision_id_idx', ARRAY['user_id', 'decision_id']),
			('decision_insights_feature_vector_hash_idx', ARRAY['feature_vector_hash']),
			('decision_insights_created_at_idx', ARRAY['created_at'])) AS v(i, c)
		UNION ALL SELECT index_is_type('public', 'decision_insights', i, 'btree', 'method') FROM unnest(ARRAY[
			'decision_insights_pkey', 'decision_insights_decision_id_key', 'decision_insights_user_id_decision_id_idx',
			'decision_insights_feature_vector_hash_idx', 'decision_insights_created_at_idx']::name[]) AS i
		UNION ALL SELECT index_is_unique('public', 'decision_insights', 'decision_insights_decision_id_key', 'unique')
		UNION ALL SELECT triggers_are('public', 'decision_insights', '{}'::name[])
	) AS assertions
$$;

CREATE TEMP TABLE baseline AS SELECT NULL::double precision AS ms;
BEGIN;
SELECT no_plan() \g /dev/null
UPDATE baseline SET ms = measure('SELECT assert_by_pgtap()', 200);
SELECT num_failed() = 0 AS assertions_hold \gset
SELECT ms AS pgtap FROM baseline \gset
ROLLBACK;
\if :assertions_hold
SELECT 'verify, warm', :verify, 'ms', 'the same in pgTAP', :pgtap;
\else
\warn 'the pgTAP assertions do not hold'
\quit 3
\endif
\else
SELECT 'verify, warm', :verify, 'ms', 'the same in pgTAP', NULL;
\endif
