-- alerts.sql
--		An evaluation of all rules, committed: with nothing to tell, with a
--		tenth of the rules changing their state, and with all of them doing so.
--		Durable, so with fsync.
\ir measure.psql

ALTER SYSTEM SET fsync = on;
SELECT pg_reload_conf() \g /dev/null

CREATE TABLE result (name text, ms double precision);

-- Milliseconds of an evaluation and its commit, the median of many; before
-- each, so many of the metrics change sides.
CREATE PROCEDURE measure_evaluation(what text, changing integer, calls integer) LANGUAGE plpgsql
AS $$
DECLARE
	times double precision[] := '{}';
	start timestamptz;
BEGIN
	FOR i IN -10 .. calls LOOP
		UPDATE deploydb.metric_latest l
		SET at = clock_timestamp(), value = CASE WHEN split_part(l.metric, '.', 2)::integer <= changing THEN 1 - l.value ELSE l.value END;
		COMMIT;
		start := clock_timestamp();
		PERFORM deploydb.evaluate_rules(start);
		COMMIT;
		IF i > 0 THEN
			times := times || extract(epoch FROM clock_timestamp() - start)::double precision * 1000;
		END IF;
		DELETE FROM deploydb.alert_event;
		COMMIT;
	END LOOP;
	INSERT INTO result
	VALUES (what, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t) FROM unnest(times) AS t));
	COMMIT;
END $$;

CREATE PROCEDURE make_rules(number integer) LANGUAGE sql
AS $$
	DELETE FROM deploydb.alert_rule WHERE NOT built_in;
	DELETE FROM deploydb.alert_state;
	DELETE FROM deploydb.metric_latest;
	UPDATE deploydb.builtin_rule SET enabled = false;
	INSERT INTO deploydb.alert_rule (id, metric, comparison, threshold, cooldown_seconds, message_en)
	SELECT 'rule_' || n, 'metric.' || n, '>', 0.5, 0, 'It is {value} (limit {threshold})'
	FROM generate_series(1, number) AS n;
	INSERT INTO deploydb.metric_latest (metric, at, value)
	SELECT 'metric.' || n, clock_timestamp(), 0 FROM generate_series(1, number) AS n;
$$;

CALL make_rules(5);
VACUUM ANALYZE;
CALL measure_evaluation('5 rules', 0, 400);
CALL measure_evaluation('5 rules, all change', 5, 400);
CALL make_rules(1000);
VACUUM ANALYZE;
CALL measure_evaluation('1,000 rules', 0, 100);
CALL measure_evaluation('1,000 rules, 100 change', 100, 100);
CALL measure_evaluation('1,000 rules, all change', 1000, 50);

SELECT 'evaluation, ' || name, ms, 'ms', 'target', CASE WHEN name LIKE '5 rules%' THEN 1 ELSE 10 END FROM result;

ALTER SYSTEM RESET fsync;
SELECT pg_reload_conf() \g /dev/null
