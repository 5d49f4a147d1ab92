-- Checklist: what is known of writes, alerts and messages.

-- Why nothing is known from the monitor; NULL while it ticks.  On a standby
-- that is the primary's.
CREATE FUNCTION deploydb.monitor_silent()
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT CASE
			WHEN m.last_tick_at >= clock_timestamp() - 3 * make_interval(secs => m.interval_ms / 1000.0) THEN NULL
			WHEN m.last_tick_at IS NULL THEN deploydb.phrase('no monitor runs here')
			ELSE format(deploydb.phrase('the monitor has not ticked since %s'),
				to_char(m.last_tick_at, 'YYYY-MM-DD HH24:MI:SS TZ')) END
		FROM deploydb.monitor_state m);
END
$$;
COMMENT ON FUNCTION deploydb.monitor_silent() IS
	'Checklist: why nothing is known from the monitor; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.monitor_silent() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.monitor_silent() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_monitoring(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s deploydb.monitor_state;
	problem text;
BEGIN
	state := 'not_measured';
	evidence := deploydb.monitor_silent();
	IF evidence IS NOT NULL THEN
		RETURN;
	END IF;
	SELECT m.* INTO s FROM deploydb.monitor_state m;
	at := s.last_tick_at;
	SELECT string_agg(p.problem, '; ' ORDER BY p.problem) INTO problem
	FROM (SELECT format(deploydb.phrase('rule %s cannot be evaluated: %s'), r.rule,
				COALESCE(r.fault, format(deploydb.phrase('metric %s does not exist'), r.metric)))
			FROM deploydb.idle_rule r WHERE item = 'post.alert_engine'
		UNION ALL
		SELECT format(deploydb.phrase('metric %s cannot be measured: %s'), l.metric, l.error)
			FROM deploydb.metric_latest l JOIN deploydb.metric m ON m.name = l.metric AND m.enabled
			WHERE l.error IS NOT NULL AND item = 'post.metrics'
		UNION ALL
		SELECT s.last_error WHERE s.last_error_at >= s.last_tick_at) AS p (problem);
	state := CASE WHEN problem IS NULL THEN 'met' ELSE 'unmet' END;
	evidence := COALESCE(problem, CASE item
		WHEN 'post.alert_engine' THEN format(deploydb.phrase('the last evaluation took %s ms'),
			round(s.last_evaluation_ms::numeric, 1))
		WHEN 'post.metrics' THEN format(deploydb.phrase('%s values are known'),
			(SELECT count(*) FROM deploydb.metric_latest l WHERE l.value IS NOT NULL))
		ELSE format(deploydb.phrase('the monitor ticks every %s s'), s.interval_ms / 1000.0::double precision) END);
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_monitoring(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: whether the monitor measures and evaluates; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_monitoring(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_monitoring(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_alerts(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	alerts bigint;
BEGIN
	state := 'not_measured';
	evidence := deploydb.monitor_silent();
	IF evidence IS NOT NULL THEN
		RETURN;
	END IF;
	at := (SELECT m.last_tick_at FROM deploydb.monitor_state m);
	IF item = 'alert.history' THEN
		SELECT count(*), max(e.occurred_at) INTO alerts, at FROM deploydb.alert_event e WHERE e.occurred_at >= since;
		state := CASE alerts WHEN 0 THEN 'met' ELSE 'not_measured' END;
		evidence := CASE alerts WHEN 0 THEN deploydb.phrase('no event since the deployment began')
			ELSE format(deploydb.phrase('%s events since the deployment began: somebody must look at them'), alerts) END;
		RETURN;
	END IF;
	SELECT count(*), string_agg(concat_ws(' ', a.severity, a.rule, NULLIF(a.series, '')), ', ' ORDER BY a.severity, a.rule)
	INTO alerts, evidence FROM deploydb.active_alert a;
	state := CASE WHEN alerts = 0 OR item = 'step3.alerts' THEN 'met' ELSE 'unmet' END;
	evidence := COALESCE(evidence, '[]');
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_alerts(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: what fires, and what has fired; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_alerts(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_alerts(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_webhooks(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	hooks text;
	untested text;
BEGIN
	-- of all that are kept, or of those since the deployment began
	SELECT string_agg(w.name, ', ' ORDER BY w.name) FILTER (WHERE t.delivered_at IS NULL),
		string_agg(w.name, ', ' ORDER BY w.name), min(t.delivered_at)
	INTO untested, hooks, at
	FROM deploydb.webhook w
		CROSS JOIN LATERAL (SELECT max(o.finished_at) AS delivered_at FROM deploydb.outbox o
			WHERE o.webhook = w.name AND o.kind = 'test' AND o.state = 'delivered'
				AND (item = 'env.webhooks' OR o.finished_at >= since)) AS t
	WHERE w.enabled AND w.format <> 'heartbeat';
	state := CASE WHEN hooks IS NULL THEN 'waiting' WHEN untested IS NULL THEN 'met'
		WHEN deploydb.monitor_silent() IS NOT NULL THEN 'not_measured' ELSE 'waiting' END;
	evidence := CASE WHEN hooks IS NULL THEN deploydb.phrase('there is no webhook; where none is wanted, attest that it does not apply')
		WHEN untested IS NULL THEN format(deploydb.phrase('delivered: %s'), hooks)
		WHEN state = 'not_measured' THEN deploydb.monitor_silent()
		ELSE format(deploydb.phrase('no test message was delivered: %s'), untested) END;
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_webhooks(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: whether test messages were delivered; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_webhooks(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_webhooks(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

-- What the server's log had before a deployment.
CREATE TABLE deploydb.checklist_baseline (
	deployment bigint NOT NULL,
	sqlstate_class text NOT NULL,
	errors bigint NOT NULL,
	noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (deployment, sqlstate_class)
);
COMMENT ON TABLE deploydb.checklist_baseline IS
	'Checklist: classes of errors that the server''s log had before a deployment';
GRANT SELECT ON deploydb.checklist_baseline TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.checklist_baseline', '');

-- deployment_start() calls this.
CREATE FUNCTION deploydb.note_baseline(deployment bigint)
RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	classes integer := 0;
BEGIN
	IF deploydb.is_preloaded() THEN
		INSERT INTO deploydb.checklist_baseline AS b (deployment, sqlstate_class, errors)
		SELECT deployment, c.sqlstate_class, sum(c.count)::bigint FROM deploydb.log_error_counters() c
		WHERE c.count > 0 GROUP BY c.sqlstate_class
		ON CONFLICT ON CONSTRAINT checklist_baseline_pkey DO NOTHING;
		GET DIAGNOSTICS classes = ROW_COUNT;
	END IF;
	RETURN classes;
END
$$;
COMMENT ON FUNCTION deploydb.note_baseline(bigint) IS
	'Checklist: keeps which classes of errors the server''s log has before a deployment; a part of deployment_start()';
REVOKE ALL ON FUNCTION deploydb.note_baseline(bigint) FROM PUBLIC;

CREATE FUNCTION deploydb.evidence_of_errors(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT deploydb.is_preloaded() OR pg_is_in_recovery() THEN
		state := 'not_measured';
		evidence := deploydb.phrase(CASE WHEN pg_is_in_recovery() THEN 'the primary counts, and this is a standby'
			ELSE 'errors are not counted: deploydb is not preloaded' END);
		RETURN;
	END IF;
	SELECT string_agg(format('%s (%s)', c.sqlstate_class, c.errors), ', ' ORDER BY c.sqlstate_class), max(c.last_at)
	INTO evidence, at
	FROM (SELECT e.sqlstate_class, sum(e.count) AS errors, max(e.last_at) AS last_at
		FROM deploydb.log_error_counters() e GROUP BY 1) AS c
	WHERE c.last_at >= since AND NOT EXISTS (SELECT FROM deploydb.checklist_baseline b
		WHERE b.deployment = evidence_of_errors.deployment AND b.sqlstate_class = c.sqlstate_class);
	state := CASE WHEN evidence IS NULL THEN 'met' ELSE 'unmet' END;
	evidence := CASE WHEN evidence IS NULL THEN deploydb.phrase('no new class of errors since the deployment began')
		ELSE format(deploydb.phrase('new classes of errors: %s'), evidence) END;
	at := COALESCE(at, clock_timestamp());
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_errors(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: classes of errors that are new in the server''s log; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_errors(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_errors(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_insights(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	app_role text := NULLIF(deploydb.setting('app_role'), '');
	period text;
	found jsonb;
	problems text;
	coverage record;
BEGIN
	state := 'waiting';
	IF began IS NULL THEN
		evidence := deploydb.phrase('the migration has not begun');
		RETURN;
	END IF;
	period := GREATEST(1, ceil(extract(epoch FROM clock_timestamp() - began))) || ' seconds';
	at := clock_timestamp();
	IF item = 'post.insight_write' THEN
		IF NOT deploydb.is_preloaded() OR pg_is_in_recovery() THEN
			state := 'not_measured';
			evidence := deploydb.phrase(CASE WHEN pg_is_in_recovery() THEN 'the primary counts, and this is a standby'
				ELSE 'writes are not counted: deploydb is not preloaded' END);
		ELSIF app_role IS NULL THEN
			state := 'not_measured';
			evidence := deploydb.phrase('deploydb.app_role is not set, and anybody may have written');
		ELSE
			SELECT format(deploydb.phrase('%s of %s writes by %s succeeded'), sum(s.succeeded), sum(s.attempts), app_role),
				CASE WHEN sum(s.succeeded) > 0 THEN 'met' ELSE 'waiting' END
			INTO evidence, state
			FROM deploydb.write_stats(period) s
				JOIN deploydb.tracked_table t ON t.name = 'decision_insights' AND s.relation = format('%I.%I', t.schema, t.name);
		END IF;
		RETURN;
	END IF;
	found := deploydb.wait_insight(NULL, 0);
	SELECT string_agg(p, ', ') INTO problems FROM jsonb_array_elements_text(found -> 'problems') p;
	SELECT c.* INTO coverage FROM deploydb.insight_coverage(period) c;
	SELECT v.state, v.evidence INTO state, evidence
	FROM (VALUES
		(found ->> 'decisionId' IS NULL, 'waiting', deploydb.phrase('there is no decision yet')),
		(problems = 'missing', 'waiting', format(deploydb.phrase('decision %s: %s'), found ->> 'decisionId', problems)),
		(problems <> '', 'unmet', format(deploydb.phrase('decision %s: %s'), found ->> 'decisionId', problems)),
		(coverage.decisions IS NULL, 'met',
			format(deploydb.phrase('decision %s was read back; without decision_records their coverage is not measured'), found ->> 'decisionId')),
		(coverage.decisions = 0, 'waiting', deploydb.phrase('there is no decision since the migration yet')),
		(coverage.coverage < deploydb.setting('write_success_target')::double precision, 'unmet',
			format(deploydb.phrase('%s of %s decisions since the migration have no insight'), coverage.missing, coverage.decisions)),
		(true, 'met', format(deploydb.phrase('decision %s was read back; %s of %s decisions since the migration have their insight'),
			found ->> 'decisionId', coverage.with_insight, coverage.decisions))
	) AS v (applies, state, evidence)
	WHERE v.applies LIMIT 1;
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_insights(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: whether insights are written, read back and complete; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_insights(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_insights(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_targets(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT CASE WHEN t.verdict IN ('met', 'unmet', 'waiting') THEN t.verdict ELSE 'not_measured' END,
		format(deploydb.phrase(CASE WHEN t.actual IS NULL THEN 'no samples since %3$s' ELSE '%s of %s samples since %s' END),
			t.actual, t.samples, to_char(t.since, 'YYYY-MM-DD HH24:MI:SS TZ')), clock_timestamp()
	INTO state, evidence, at
	FROM deploydb.targets(deployment) t
	WHERE t.metric = substr(item, length('target.') + 1);
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_targets(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: a target of the first 24 hours; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_targets(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_targets(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.evidence_of_rollbacks(item text, deployment bigint, migrations text[], since timestamptz,
	began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF item IN ('rollback.error_rate', 'rollback.api_down', 'rollback.data_lost') THEN
		-- as with the reasons themselves, met is a reason to roll back
		SELECT CASE a.verdict WHEN 'met' THEN 'met' WHEN 'not_met' THEN 'unmet' ELSE 'not_measured' END,
			(SELECT string_agg(deploydb.phrase(s.part), '; ' ORDER BY s.n) FROM string_to_table(a.value, '; ') WITH ORDINALITY AS s (part, n)),
			COALESCE(a.since, clock_timestamp())
		INTO state, evidence, at
		FROM deploydb.rollback_advice() a
		WHERE a.trigger = substr(item, length('rollback.') + 1);
	ELSIF item <> 'rollback.users' THEN
		SELECT max(r.at), string_agg(format('%s: %s', r.migration, deploydb.phrase(r.state)), ', ' ORDER BY r.id) INTO at, evidence
		FROM deploydb.rollback r WHERE r.deployment = evidence_of_rollbacks.deployment;
		state := CASE WHEN evidence IS NULL THEN 'not_applicable' WHEN item = 'rollback.database' THEN 'met' END;
		evidence := CASE WHEN evidence IS NULL THEN deploydb.phrase('nothing has been rolled back')
			WHEN item = 'rollback.database' THEN evidence END;
	END IF;
END
$$;
COMMENT ON FUNCTION deploydb.evidence_of_rollbacks(text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: reasons to roll back, and what was rolled back; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evidence_of_rollbacks(text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evidence_of_rollbacks(text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;
