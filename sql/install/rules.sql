
--
-- Alerts: rules
--

-- Each constraint's comment is what people are told who break it.
CREATE TABLE deploydb.builtin_rule (
	id text COLLATE "C" PRIMARY KEY,
	metric text COLLATE "C" NOT NULL,
	kind text NOT NULL DEFAULT 'threshold',
	severity text NOT NULL DEFAULT 'P2',
	comparison text,
	threshold double precision,
	direction text,
	min_slope double precision,
	window_samples integer,
	floor double precision,
	consecutive_periods integer NOT NULL DEFAULT 1,
	for_seconds integer NOT NULL DEFAULT 0,
	cooldown_seconds integer NOT NULL DEFAULT 300,
	resolve_threshold double precision,
	resolve_periods integer NOT NULL DEFAULT 1,
	no_data text NOT NULL DEFAULT 'keep',
	parent text COLLATE "C",
	labels jsonb NOT NULL DEFAULT '{}',
	message_en text,
	message_zh text,
	runbook text,
	enabled boolean NOT NULL DEFAULT true,
	CONSTRAINT rule_id CHECK (id ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$'),
	CONSTRAINT rule_metric CHECK (metric ~ E'[^\\x01-\\x20]' AND length(metric) <= 200),
	CONSTRAINT rule_kind CHECK (kind IN ('threshold', 'trend')),
	CONSTRAINT rule_severity CHECK (severity IN ('P0', 'P1', 'P2', 'P3')),
	CONSTRAINT rule_threshold CHECK (CASE kind WHEN 'threshold'
		THEN comparison IS NOT NULL AND comparison IN ('>', '>=', '<', '<=', '==', '!=')
			AND threshold IS NOT NULL AND threshold > '-infinity' AND threshold < 'infinity'
			AND direction IS NULL AND min_slope IS NULL AND window_samples IS NULL AND floor IS NULL
		ELSE true END),
	CONSTRAINT rule_trend CHECK (CASE kind WHEN 'trend'
		THEN direction IS NOT NULL AND direction IN ('increasing', 'decreasing')
			AND min_slope IS NOT NULL AND min_slope > 0 AND min_slope < 'infinity'
			AND window_samples IS NOT NULL AND window_samples BETWEEN 2 AND 100
			AND (floor IS NULL OR (floor > '-infinity' AND floor < 'infinity'))
			AND comparison IS NULL AND threshold IS NULL AND resolve_threshold IS NULL
		ELSE true END),
	CONSTRAINT rule_resolve_threshold CHECK (resolve_threshold IS NULL OR COALESCE(CASE
		WHEN comparison IN ('>', '>=') THEN resolve_threshold > '-infinity' AND resolve_threshold <= threshold
		WHEN comparison IN ('<', '<=') THEN resolve_threshold < 'infinity' AND resolve_threshold >= threshold
		END, false)),
	CONSTRAINT rule_periods CHECK (consecutive_periods BETWEEN 1 AND 10000 AND resolve_periods BETWEEN 1 AND 10000),
	CONSTRAINT rule_seconds CHECK (for_seconds BETWEEN 0 AND 604800 AND cooldown_seconds BETWEEN 0 AND 604800),
	CONSTRAINT rule_no_data CHECK (no_data IN ('keep', 'alert', 'ok')),
	CONSTRAINT rule_parent CHECK (parent <> id),
	CONSTRAINT rule_labels CHECK (jsonb_typeof(labels) = 'object'
		AND NOT jsonb_path_exists(labels, 'strict $.* ? (@.type() != "string")')),
	CONSTRAINT rule_texts CHECK (octet_length(labels::text) <= 8000 AND length(message_en) <= 2000
		AND length(message_zh) <= 2000 AND length(runbook) <= 2000
		AND message_en ~ E'[^\\x01-\\x20]' AND message_zh ~ E'[^\\x01-\\x20]' AND runbook ~ E'[^\\x01-\\x20]')
);
COMMENT ON TABLE deploydb.builtin_rule IS
	'Alerts: the rules that deploydb ships; view alert_rule has them with people''s changes';
COMMENT ON CONSTRAINT rule_id ON deploydb.builtin_rule IS
	'A rule''s id is of 1 to 100 letters, digits and _ . - and does not begin with . or -.';
COMMENT ON CONSTRAINT rule_metric ON deploydb.builtin_rule IS
	'A rule names a metric, in at most 200 characters.';
COMMENT ON CONSTRAINT rule_kind ON deploydb.builtin_rule IS
	'The kind is threshold or trend.';
COMMENT ON CONSTRAINT rule_severity ON deploydb.builtin_rule IS
	'The severity is P0, P1, P2 or P3.';
COMMENT ON CONSTRAINT rule_threshold ON deploydb.builtin_rule IS
	'A threshold rule has a comparison (>, >=, <, <=, ==, !=) and a threshold that is a number, and nothing of a trend rule.';
COMMENT ON CONSTRAINT rule_trend ON deploydb.builtin_rule IS
	'A trend rule has a direction (increasing, decreasing), a min_slope above 0, window_samples from 2 to 100, and nothing of a threshold rule.';
COMMENT ON CONSTRAINT rule_resolve_threshold ON deploydb.builtin_rule IS
	'A resolve_threshold is not above the threshold of > and >=, not below that of < and <=, and there is none for == and !=.';
COMMENT ON CONSTRAINT rule_periods ON deploydb.builtin_rule IS
	'Periods are 1 to 10000.';
COMMENT ON CONSTRAINT rule_seconds ON deploydb.builtin_rule IS
	'Seconds are 0 to 604800, a week.';
COMMENT ON CONSTRAINT rule_no_data ON deploydb.builtin_rule IS
	'What happens without data is keep, alert or ok.';
COMMENT ON CONSTRAINT rule_parent ON deploydb.builtin_rule IS
	'A rule is not its own parent.';
COMMENT ON CONSTRAINT rule_labels ON deploydb.builtin_rule IS
	'Labels are a JSON object whose values are strings.';
COMMENT ON CONSTRAINT rule_texts ON deploydb.builtin_rule IS
	'Messages and the runbook have 1 to 2000 characters each that are not all blanks, the labels at most 8000 bytes.';
GRANT SELECT ON deploydb.builtin_rule TO pg_monitor, pg_database_owner;

-- What people add and change; a row stands over the built-in one of its id, so
-- that a restore never clashes with what CREATE EXTENSION makes.
CREATE TABLE deploydb.own_rule (
	LIKE deploydb.builtin_rule INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS,
	changed_at timestamptz NOT NULL,
	changed_by text NOT NULL,
	PRIMARY KEY (id)
);
COMMENT ON TABLE deploydb.own_rule IS
	'Alerts: rules that people added, and built-in ones as they changed them';
GRANT SELECT ON deploydb.own_rule TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.own_rule', '');

-- A rule that was found not to be evaluable all the same, its constraints
-- having been evaded; any change of the rules lets it try again.
CREATE TABLE deploydb.rule_fault (
	rule text COLLATE "C" PRIMARY KEY,
	at timestamptz NOT NULL,
	reason text NOT NULL
);
COMMENT ON TABLE deploydb.rule_fault IS
	'Alerts: rules that the monitor disabled, since they cannot be evaluated';
GRANT SELECT ON deploydb.rule_fault TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.builtin_message_zh(rule text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_builtin_message_zh'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.builtin_message_zh(text) IS
	'Alerts: the Chinese message of a built-in rule; NULL where this database''s encoding cannot hold it';
REVOKE ALL ON FUNCTION deploydb.builtin_message_zh(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.builtin_message_zh(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.word(english text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_word'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.word(text) IS
	'Alerts: a word or sentence of messages and notes in deploydb.language';
REVOKE ALL ON FUNCTION deploydb.word(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.word(text) TO pg_monitor, pg_database_owner;

-- Of the operations page in people's language, where it is about a built-in rule.
CREATE FUNCTION deploydb.runbook_link(runbook text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN deploydb.word('Runbook') = 'Runbook' THEN runbook
		ELSE regexp_replace(runbook, '^docs/operations[.]md(?=#)', 'docs/operations.zh-CN.md') END
$$;
COMMENT ON FUNCTION deploydb.runbook_link(text) IS
	'Alerts: a rule''s runbook as people are shown it, in deploydb.language';
REVOKE ALL ON FUNCTION deploydb.runbook_link(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.runbook_link(text) TO pg_monitor, pg_database_owner;

-- The application's own
INSERT INTO deploydb.builtin_rule
	(id, severity, metric, comparison, threshold, consecutive_periods, cooldown_seconds, message_en)
VALUES
	('http_latency_p95_p0', 'P0', 'http.request.duration.p95', '>', 1.0, 2, 300,
		'Slow HTTP: one request in twenty takes {value} s or longer (limit {threshold} s)'),
	('db_slow_queries_rate_p0', 'P0', 'db.slow_queries.per_min', '>', 10, 1, 300,
		'Slow statements: {value} a minute (limit {threshold})'),
	('http_5xx_rate_p1', 'P1', 'http.error_rate.5xx', '>', 0.01, 2, 180,
		'HTTP errors: {value%} of the requests fail with 5xx (limit {threshold%})'),
	('decision_confidence_low_p1', 'P1', 'decision.confidence.p50', '<', 0.5, 2, 180,
		'Decisions are unsure: the median confidence is {value} (limit {threshold})');
INSERT INTO deploydb.builtin_rule
	(id, severity, metric, kind, direction, min_slope, window_samples, floor, cooldown_seconds, message_en)
VALUES
	('http_5xx_rate_trend_p1', 'P1', 'http.error_rate.5xx', 'trend', 'increasing', 0.002, 3, 0.0025, 300,
		'HTTP errors grow: {value%} of the requests fail with 5xx, {slope} more a minute'),
	('db_errors_rising', 'P2', 'db.errors.per_min', 'trend', 'increasing', 2, 5, 20, 600,
		'Errors in the server''s log grow: {value} a minute, {slope} more each minute');

-- The migration, its writes, and what is around them
INSERT INTO deploydb.builtin_rule
	(id, severity, metric, comparison, threshold, consecutive_periods, for_seconds, cooldown_seconds,
		resolve_threshold, resolve_periods, no_data, parent, message_en)
VALUES
	-- each change is told, so that there is nothing to cool down
	('migration_drift', 'P0', 'migration.deviations', '>', 0, 1, 0, 0, NULL, 1, 'keep', NULL,
		'Migration {series} deviates ({value}): {note}'),
	('insight_write_success_low', 'P0', 'insight.write.success_rate', '<', 0.99, 2, 0, 300, NULL, 2, 'ok', NULL,
		'Writes into decision_insights fail: only {value%} succeed (target {threshold%}): {note}'),
	('insight_write_burn', 'P1', 'insight.write.burn', '>=', 1, 1, 0, 900, NULL, 2, 'ok', NULL,
		'The error budget of decision_insights burns too fast ({series}): {note}'),
	('insight_missing', 'P1', 'insight.coverage', '<', 0.99, 3, 0, 900, NULL, 2, 'ok', 'insight_write_success_low',
		'Decisions lack their insights: only {value%} have one (target {threshold%}): {note}'),
	('rollback_error_rate', 'P0', 'rollback.error_rate', '>', 0.05, 2, 0, 300, NULL, 2, 'ok', NULL,
		'Roll back: the error rate of {series} is {value%} (limit {threshold%}): {note}'),
	('api_down', 'P0', 'api.up', '<', 1, 1, 300, 300, NULL, 1, 'alert', NULL,
		'The API has been down for 5 minutes; if a deployment is the cause, roll back: {note}'),
	('webhook_backlog', 'P2', 'webhook.backlog', '>', 100, 1, 300, 900, 50, 1, 'ok', NULL,
		'Messages pile up: {value} are not delivered yet (limit {threshold}): {note}'),
	('backup_too_old', 'P1', 'backup.age_seconds', '>', 90000, 1, 0, 3600, NULL, 1, 'keep', NULL,
		'No good backup for {value_time} (limit {threshold_time}): {note}');
UPDATE deploydb.builtin_rule
SET message_zh = deploydb.builtin_message_zh(id), runbook = 'docs/operations.md#' || id;

CREATE VIEW deploydb.alert_rule AS
	SELECT r.*, f.reason AS fault
	FROM (
		SELECT o.id, o.metric, o.kind, o.severity, o.comparison, o.threshold, o.direction, o.min_slope,
			o.window_samples, o.floor, o.consecutive_periods, o.for_seconds, o.cooldown_seconds,
			o.resolve_threshold, o.resolve_periods, o.no_data, o.parent, o.labels, o.message_en, o.message_zh,
			o.runbook, o.enabled, false AS built_in, o.changed_at, o.changed_by
		FROM deploydb.own_rule o
		UNION ALL
		SELECT b.id, b.metric, b.kind, b.severity, b.comparison, b.threshold, b.direction, b.min_slope,
			b.window_samples, b.floor, b.consecutive_periods, b.for_seconds, b.cooldown_seconds,
			b.resolve_threshold, b.resolve_periods, b.no_data, b.parent, b.labels, b.message_en, b.message_zh,
			b.runbook, b.enabled, true, NULL, NULL
		FROM deploydb.builtin_rule b
		WHERE NOT EXISTS (SELECT FROM deploydb.own_rule o WHERE o.id = b.id)
	) r
	LEFT JOIN deploydb.rule_fault f ON f.rule = r.id;
COMMENT ON VIEW deploydb.alert_rule IS
	'Alerts: every rule as it is evaluated; INSERT, UPDATE and DELETE of rows change people''s rules, and a changed built-in one comes back by DELETE';
GRANT SELECT ON deploydb.alert_rule TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.idle_rule AS
	SELECT r.id AS rule, r.metric, r.fault
	FROM deploydb.alert_rule r
	WHERE r.enabled AND (r.fault IS NOT NULL OR NOT EXISTS (SELECT FROM deploydb.metric m WHERE m.name = r.metric));
COMMENT ON VIEW deploydb.idle_rule IS
	'Alerts: enabled rules that are not evaluated: for a fault, or as their metric does not exist';
GRANT SELECT ON deploydb.idle_rule TO pg_monitor, pg_database_owner;

-- Of a rule that was changed, or is no more.
CREATE FUNCTION deploydb.check_parents(rule text)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	parent text;
	known boolean;
	children text;
	wrong text;
BEGIN
	SELECT r.parent INTO parent FROM deploydb.alert_rule r WHERE r.id = rule;
	known := FOUND;
	IF known AND parent IS NULL THEN
		RETURN true;
	END IF;
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_transaction_state',
			MESSAGE = 'this is done at isolation level READ COMMITTED only',
			DETAIL = 'A snapshot from before the lock would hide what others changed of the parents of rules.',
			HINT = 'Call it outside of a transaction block, or after BEGIN ISOLATION LEVEL READ COMMITTED.';
	END IF;
	IF NOT known THEN
		SELECT string_agg(r.id, ', ' ORDER BY r.id) INTO children FROM deploydb.alert_rule r WHERE r.parent = rule;
		IF children IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'dependent_objects_still_exist',
				MESSAGE = format('rule "%s" is a parent', rule),
				DETAIL = format('Its children: %s.', children),
				HINT = 'deploydb.set_rule() gives them another parent, or clears it.';
		END IF;
		RETURN true;
	END IF;
	IF NOT EXISTS (SELECT FROM deploydb.alert_rule r WHERE r.id = parent) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('rule "%s" does not exist', parent),
			HINT = 'It would be the parent. View deploydb.alert_rule has the rules.';
	END IF;
	-- what gets too deep below this rule an evaluation disables
	wrong := (
		WITH RECURSIVE ancestor AS (
			SELECT r.parent AS id FROM deploydb.alert_rule r WHERE r.id = rule
			UNION
			SELECT r.parent FROM ancestor a JOIN deploydb.alert_rule r ON r.id = a.id)
		SELECT CASE WHEN bool_or(a.id = rule) THEN 'It would be among its own parent''s parents.'
			WHEN count(a.id) > 100 THEN 'It would have more than 100 parents above it.' END
		FROM ancestor a);
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('rule "%s" cannot have the parent "%s"', rule, parent),
			DETAIL = wrong;
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_parents(text) IS
	'Alerts: raises an error where a rule''s parent does not exist, is below it or has too many above it, or where the rule is gone and is a parent';
REVOKE ALL ON FUNCTION deploydb.check_parents(text) FROM PUBLIC;

-- Rows are written as they are: what a restore brings goes to own_rule itself.
CREATE FUNCTION deploydb.alert_rule_changed()
RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	broken text;
BEGIN
	-- two changes could make a circle of parents together
	LOCK TABLE deploydb.own_rule IN SHARE ROW EXCLUSIVE MODE;
	IF TG_OP = 'UPDATE' THEN
		PERFORM deploydb.check_update('rule', to_jsonb(OLD), to_jsonb(NEW), '{id,built_in,changed_by}',
			(SELECT r.changed_at FROM deploydb.alert_rule r WHERE r.id = OLD.id));
	END IF;
	-- a rule that was disabled for a fault may do now, another's change too
	DELETE FROM deploydb.rule_fault;

	IF TG_OP = 'DELETE' THEN
		DELETE FROM deploydb.own_rule o WHERE o.id = OLD.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('rule "%s" is built in', OLD.id),
				DETAIL = 'It has not been changed, either.',
				HINT = format('Disable it: SELECT deploydb.set_rule(%L, enabled => false);', OLD.id);
		END IF;
		PERFORM deploydb.check_parents(OLD.id);
		RETURN OLD;
	END IF;

	IF TG_OP = 'INSERT' THEN
		IF EXISTS (SELECT FROM deploydb.alert_rule r WHERE r.id = NEW.id) THEN
			RAISE EXCEPTION USING
				ERRCODE = 'duplicate_object',
				MESSAGE = format('rule "%s" already exists', NEW.id);
		END IF;
	END IF;

	BEGIN
		INSERT INTO deploydb.own_rule AS o (id, metric, kind, severity, comparison, threshold, direction, min_slope,
			window_samples, floor, consecutive_periods, for_seconds, cooldown_seconds, resolve_threshold,
			resolve_periods, no_data, parent, labels, message_en, message_zh, runbook, enabled, changed_at, changed_by)
		VALUES (NEW.id, NEW.metric, COALESCE(NEW.kind, 'threshold'), COALESCE(NEW.severity, 'P2'), NEW.comparison,
			NEW.threshold, NEW.direction, NEW.min_slope, NEW.window_samples, NEW.floor,
			COALESCE(NEW.consecutive_periods, 1), COALESCE(NEW.for_seconds, 0), COALESCE(NEW.cooldown_seconds, 300),
			NEW.resolve_threshold, COALESCE(NEW.resolve_periods, 1), COALESCE(NEW.no_data, 'keep'), NEW.parent,
			COALESCE(NEW.labels, '{}'), NEW.message_en, NEW.message_zh, NEW.runbook, COALESCE(NEW.enabled, true),
			clock_timestamp(), session_user)
		ON CONFLICT ON CONSTRAINT own_rule_pkey DO UPDATE SET
			metric = EXCLUDED.metric, kind = EXCLUDED.kind, severity = EXCLUDED.severity,
			comparison = EXCLUDED.comparison, threshold = EXCLUDED.threshold, direction = EXCLUDED.direction,
			min_slope = EXCLUDED.min_slope, window_samples = EXCLUDED.window_samples, floor = EXCLUDED.floor,
			consecutive_periods = EXCLUDED.consecutive_periods, for_seconds = EXCLUDED.for_seconds,
			cooldown_seconds = EXCLUDED.cooldown_seconds, resolve_threshold = EXCLUDED.resolve_threshold,
			resolve_periods = EXCLUDED.resolve_periods, no_data = EXCLUDED.no_data, parent = EXCLUDED.parent,
			labels = EXCLUDED.labels, message_en = EXCLUDED.message_en, message_zh = EXCLUDED.message_zh,
			runbook = EXCLUDED.runbook, enabled = EXCLUDED.enabled, changed_at = EXCLUDED.changed_at,
			changed_by = EXCLUDED.changed_by;
	EXCEPTION WHEN check_violation OR not_null_violation THEN
		GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('rule "%s" could not be evaluated', NEW.id),
			DETAIL = COALESCE(deploydb.constraint_comment('deploydb.own_rule', broken), 'A rule has an id and a metric.'),
			HINT = 'Nothing was changed.';
	END;
	PERFORM deploydb.check_parents(NEW.id);
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION deploydb.alert_rule_changed() IS
	'Alerts: keeps a change of view alert_rule in own_rule; its trigger';
REVOKE ALL ON FUNCTION deploydb.alert_rule_changed() FROM PUBLIC;
CREATE TRIGGER alert_rule_changed INSTEAD OF INSERT OR UPDATE OR DELETE ON deploydb.alert_rule
	FOR EACH ROW EXECUTE FUNCTION deploydb.alert_rule_changed();

-- What is NULL stays as it is; clear names what becomes NULL.
CREATE FUNCTION deploydb.set_rule(rule text, metric text DEFAULT NULL, kind text DEFAULT NULL,
	severity text DEFAULT NULL, comparison text DEFAULT NULL, threshold double precision DEFAULT NULL,
	direction text DEFAULT NULL, min_slope double precision DEFAULT NULL, window_samples integer DEFAULT NULL,
	floor double precision DEFAULT NULL, consecutive_periods integer DEFAULT NULL, for_seconds integer DEFAULT NULL,
	cooldown_seconds integer DEFAULT NULL, resolve_threshold double precision DEFAULT NULL,
	resolve_periods integer DEFAULT NULL, no_data text DEFAULT NULL, parent text DEFAULT NULL,
	labels jsonb DEFAULT NULL, message_en text DEFAULT NULL, message_zh text DEFAULT NULL,
	runbook text DEFAULT NULL, enabled boolean DEFAULT NULL, clear text[] DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
AS $$
#variable_conflict use_variable
DECLARE
	changed deploydb.alert_rule;
	is_new boolean;
	clearable text[] := '{comparison,threshold,direction,min_slope,window_samples,floor,resolve_threshold,parent,message_en,message_zh,runbook}';
BEGIN
	IF rule IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'rule must not be NULL';
	END IF;
	IF NOT COALESCE(clear, '{}') <@ clearable THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('cannot clear "%s"',
				(SELECT c FROM unnest(clear) c WHERE c IS NULL OR c <> ALL (clearable) LIMIT 1)),
			HINT = format('Clear one of: %s.', array_to_string(clearable, ', '));
	END IF;
	-- what is read is what another's change leaves
	LOCK TABLE deploydb.own_rule IN SHARE ROW EXCLUSIVE MODE;
	SELECT r.* INTO changed FROM deploydb.alert_rule r WHERE r.id = rule;
	is_new := NOT FOUND;
	IF is_new AND metric IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('rule "%s" does not exist', rule),
			HINT = 'View deploydb.alert_rule has the rules. A new one needs a metric.';
	END IF;

	changed := jsonb_populate_record(changed,
		(SELECT COALESCE(jsonb_object_agg(c, NULL), '{}') FROM unnest(clear) c)
		|| jsonb_build_object('id', rule)
		|| jsonb_strip_nulls(jsonb_build_object('metric', metric, 'kind', kind, 'severity', severity,
			'comparison', comparison, 'threshold', threshold, 'direction', direction, 'min_slope', min_slope,
			'window_samples', window_samples, 'floor', floor, 'consecutive_periods', consecutive_periods,
			'for_seconds', for_seconds, 'cooldown_seconds', cooldown_seconds, 'resolve_threshold', resolve_threshold,
			'resolve_periods', resolve_periods, 'no_data', no_data, 'parent', parent, 'message_en', message_en,
			'message_zh', message_zh, 'runbook', runbook, 'enabled', enabled)));
	-- not in JSON, which has no other null than its own
	changed.labels := COALESCE(labels, changed.labels);
	IF is_new THEN
		INSERT INTO deploydb.alert_rule VALUES (changed.*);
	ELSE
		UPDATE deploydb.alert_rule r
		SET metric = changed.metric, kind = changed.kind, severity = changed.severity,
			comparison = changed.comparison, threshold = changed.threshold, direction = changed.direction,
			min_slope = changed.min_slope, window_samples = changed.window_samples, floor = changed.floor,
			consecutive_periods = changed.consecutive_periods, for_seconds = changed.for_seconds,
			cooldown_seconds = changed.cooldown_seconds, resolve_threshold = changed.resolve_threshold,
			resolve_periods = changed.resolve_periods, no_data = changed.no_data, parent = changed.parent,
			labels = changed.labels, message_en = changed.message_en, message_zh = changed.message_zh,
			runbook = changed.runbook, enabled = changed.enabled
		WHERE r.id = rule;
	END IF;
	-- no error, as rules may be made before their metrics
	IF changed.enabled IS NOT false AND NOT EXISTS (SELECT FROM deploydb.metric m WHERE m.name = changed.metric) THEN
		RAISE WARNING USING
			MESSAGE = format('metric "%s" does not exist', changed.metric),
			DETAIL = format('Rule "%s" has no values until there is one.', rule),
			HINT = 'deploydb.add_metric() declares one; view deploydb.metric has all of them.';
	END IF;
	RETURN is_new;
END
$$;
COMMENT ON FUNCTION deploydb.set_rule(text, text, text, text, text, double precision, text, double precision, integer,
	double precision, integer, integer, integer, double precision, integer, text, text, jsonb, text, text, text,
	boolean, text[]) IS
	'Alerts: changes what is given of a rule, or makes one; true when it is new';
REVOKE ALL ON FUNCTION deploydb.set_rule(text, text, text, text, text, double precision, text, double precision,
	integer, double precision, integer, integer, integer, double precision, integer, text, text, jsonb, text, text,
	text, boolean, text[]) FROM PUBLIC;

CREATE FUNCTION deploydb.reset_rule(rule text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF NOT EXISTS (SELECT FROM deploydb.alert_rule r WHERE r.id = rule) THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE WHEN rule IS NULL THEN 'null_value_not_allowed' ELSE 'undefined_object' END,
			MESSAGE = CASE WHEN rule IS NULL THEN 'rule must not be NULL'
				ELSE format('rule "%s" does not exist', rule) END,
			HINT = 'View deploydb.alert_rule has the rules.';
	END IF;
	DELETE FROM deploydb.rule_fault;
	DELETE FROM deploydb.alert_rule r WHERE r.id = rule AND NOT r.built_in;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.reset_rule(text) IS
	'Alerts: makes a built-in rule what it was, and forgets any other; false when there was nothing to undo';
REVOKE ALL ON FUNCTION deploydb.reset_rule(text) FROM PUBLIC;
