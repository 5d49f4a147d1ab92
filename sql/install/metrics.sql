--
-- Metrics: what is measured, and what was measured last
--

-- What deploydb measures itself has a collector: a function of
-- sql/install/collect.sql.  The others are pushed.
CREATE TABLE deploydb.builtin_metric (
	name text COLLATE "C" PRIMARY KEY,
	unit text NOT NULL,
	help text NOT NULL,
	collector text,
	every_seconds integer NOT NULL DEFAULT 0,
	needs_preload boolean NOT NULL DEFAULT false,
	stale_after_seconds integer NOT NULL DEFAULT 300
);
COMMENT ON TABLE deploydb.builtin_metric IS
	'Monitoring: the metrics that deploydb ships; view metric has them with people''s changes';
GRANT SELECT ON deploydb.builtin_metric TO pg_monitor, pg_database_owner;

INSERT INTO deploydb.builtin_metric (name, unit, help, collector, every_seconds, needs_preload) VALUES
	('migration.deviations', 'deviations', 'Errors of a migration that verified before, or that Prisma''s ledger says is applied', 'measure_migrations', 0, false),
	('insight.write.success_rate', 'ratio', 'Share of the writes into decision_insights in 15 minutes that were committed, where there are enough to tell', 'measure_writes', 0, true),
	('insight.write.p99_seconds', 'seconds', 'Longest time that a write into decision_insights took in 15 minutes, but for one in a hundred', 'measure_writes', 0, true),
	('insight.write.burn', 'boolean', '1 while the error budget of decision_insights is spent too fast in both windows', 'measure_burn', 0, true),
	('rollback.error_rate', 'ratio', 'Share of HTTP requests, and of writes into decision_insights in 5 minutes, that failed', 'measure_rollback', 0, false),
	('insight.coverage', 'ratio', 'Share of the decisions of the last hour, 10000 at most, that have an insight', 'measure_coverage', 0, false),
	('decision.confidence.p50', 'ratio', 'Median confidence of the decisions of the last 5 minutes, 10000 at most', 'measure_confidence', 0, false),
	('db.slow_queries.per_min', 'per minute', 'Statements a minute that took longer than deploydb.slow_query_threshold', 'measure_slow_queries', 0, true),
	('db.errors.per_min', 'per minute', 'Lines of ERROR and above a minute in the server''s log, of this database and of processes without one', 'measure_errors', 0, true),
	('db.connections.used_ratio', 'ratio', 'Share of the connections of ordinary roles that is in use', 'measure_server', 0, false),
	('db.xid_age', 'transactions', 'Age of the oldest transaction id that is not frozen', 'measure_server', 0, false),
	('db.replication_lag_seconds', 'seconds', 'How far the slowest standby is behind', 'measure_server', 0, false),
	('db.size_bytes', 'bytes', 'Size of the database', 'measure_size', 240, false),
	('archive.failed', 'boolean', '1 while the last attempt to archive a WAL file failed', 'measure_archive', 0, false),
	('archive.age_seconds', 'seconds', 'How long the oldest finished WAL file has been waiting for the archive', 'measure_archive', 0, false),
	('worker.tick_seconds', 'seconds', 'How long the tick before this one took', 'measure_monitor', 0, false),
	('alert.evaluation_ms', 'ms', 'How long the evaluation of all rules took in the tick before this one', 'measure_monitor', 0, false),
	('backup.age_seconds', 'seconds', 'How long ago the last good backup was finished, or the first one began where none is good', 'measure_backup', 0, false),
	('webhook.backlog', 'messages', 'Messages that are not delivered yet', 'measure_backlog', 0, false);
INSERT INTO deploydb.builtin_metric (name, unit, help) VALUES
	('api.up', 'boolean', '1 while the API answers'),
	('http.request.duration.p95', 'seconds', 'Longest time that an HTTP request took, but for one in twenty'),
	('http.request.duration.p99', 'seconds', 'Longest time that an HTTP request took, but for one in a hundred'),
	('http.error_rate.5xx', 'ratio', 'Share of the HTTP requests that were answered with 5xx');

-- Prometheus knows no dots in names, and wants base units.
CREATE FUNCTION deploydb.exported_name(name text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT regexp_replace(replace(name, '.', '_'), '_(ms|milliseconds)$', '_seconds')
$$;
COMMENT ON FUNCTION deploydb.exported_name(text) IS
	'Monitoring: what a metric is called in prometheus_metrics(), without the prefix';
REVOKE ALL ON FUNCTION deploydb.exported_name(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.exported_name(text) TO pg_monitor, pg_database_owner;

-- What people add and change; a row stands over the built-in one of its name,
-- so that a restore never clashes with what CREATE EXTENSION makes.
CREATE TABLE deploydb.own_metric (
	name text COLLATE "C" PRIMARY KEY,
	unit text NOT NULL,
	help text NOT NULL,
	query text,
	search_path text NOT NULL,
	owner text NOT NULL,
	stale_after_seconds integer NOT NULL,
	enabled boolean NOT NULL,
	changed_at timestamptz NOT NULL,
	changed_by text NOT NULL,
	CONSTRAINT metric_name CHECK (name ~ '^[a-z][a-z0-9_]*([.][a-z0-9_]+)*$' AND length(name) <= 100
		AND deploydb.exported_name(name) <> ALL ('{alert_state,worker_last_tick_timestamp_seconds}')),
	CONSTRAINT metric_texts CHECK (length(unit) <= 100 AND length(help) <= 1000 AND length(query) <= 100000
		AND query ~ E'[^\\x01-\\x20]'),
	CONSTRAINT metric_stale_after CHECK (stale_after_seconds BETWEEN 1 AND 604800)
);
CREATE UNIQUE INDEX own_metric_exported_idx ON deploydb.own_metric (deploydb.exported_name(name));
COMMENT ON TABLE deploydb.own_metric IS
	'Monitoring: metrics that people added, and built-in ones as they changed them; without a query a metric is pushed';
COMMENT ON CONSTRAINT metric_name ON deploydb.own_metric IS
	'A name is of at most 100 small letters, digits, _ and dots, each part not empty, and begins with a letter; to Prometheus it is neither alert_state nor worker_last_tick_timestamp_seconds.';
COMMENT ON CONSTRAINT metric_texts ON deploydb.own_metric IS
	'A unit has at most 100 characters, a help 1000, a query 100000.';
COMMENT ON CONSTRAINT metric_stale_after ON deploydb.own_metric IS
	'A value is good for 1 to 604800 seconds.';
GRANT SELECT ON deploydb.own_metric TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.own_metric', '');

-- The owner by oid, which a rename does not change and a dump cannot hold; and
-- how often the query failed in a row.  Disabled is what no time will mend.
CREATE TABLE deploydb.own_metric_state (
	name text COLLATE "C" PRIMARY KEY,
	owner_oid bigint,
	failures integer NOT NULL DEFAULT 0,
	last_error text,
	disabled_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE deploydb.own_metric_state IS
	'Monitoring: what the monitor knows of metrics with a query; it does not run those that are disabled';
GRANT SELECT ON deploydb.own_metric_state TO pg_monitor, pg_database_owner;

CREATE VIEW deploydb.metric AS
	SELECT COALESCE(o.name, b.name) AS name, CASE WHEN b.name IS NULL THEN 'untyped' ELSE 'gauge' END AS type, COALESCE(o.unit, b.unit) AS unit,
		COALESCE(o.help, b.help) AS help,
		CASE WHEN b.collector IS NOT NULL THEN 'collected' WHEN o.query IS NOT NULL THEN 'query' ELSE 'pushed' END AS source,
		o.query, o.search_path,
		COALESCE((SELECT r.rolname::text FROM pg_roles r WHERE r.oid = s.owner_oid::oid), o.owner) AS owner,
		COALESCE(o.stale_after_seconds, b.stale_after_seconds) AS stale_after_seconds,
		COALESCE(o.enabled, true) AS enabled, o.name IS NULL AS built_in,
		CASE WHEN s.disabled_at IS NOT NULL OR s.failures >= 3 THEN s.last_error END AS fault, o.changed_at, o.changed_by
	FROM deploydb.builtin_metric b
		FULL JOIN deploydb.own_metric o ON o.name = b.name
		LEFT JOIN deploydb.own_metric_state s ON s.name = o.name;
COMMENT ON VIEW deploydb.metric IS
	'Monitoring: every metric; INSERT, UPDATE and DELETE of rows change people''s metrics, and a changed built-in one comes back by DELETE';
GRANT SELECT ON deploydb.metric TO pg_monitor, pg_database_owner;

-- The newest value of each series.  A metric that knows but one has the series
-- ''.  A NULL value says that there is none, and error or note why.
CREATE TABLE deploydb.metric_latest (
	metric text COLLATE "C" NOT NULL,
	series text COLLATE "C" NOT NULL DEFAULT '',
	at timestamptz NOT NULL,
	value double precision,
	fingerprint text,
	note text,
	severity text CHECK (severity IN ('P0', 'P1', 'P2', 'P3')),
	error text,
	sampled_at timestamptz,
	readings jsonb,
	PRIMARY KEY (metric, series)
) WITH (fillfactor = 50);
COMMENT ON TABLE deploydb.metric_latest IS
	'Monitoring: the newest value of each metric and series; a changed fingerprint is news though the value is the same';
GRANT SELECT ON deploydb.metric_latest TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.metric_sample (
	at timestamptz NOT NULL,
	value double precision,
	metric text COLLATE "C" NOT NULL,
	series text COLLATE "C" NOT NULL
);
CREATE INDEX metric_sample_metric_idx ON deploydb.metric_sample (metric, series, at);
CREATE INDEX metric_sample_at_idx ON deploydb.metric_sample (at);
COMMENT ON TABLE deploydb.metric_sample IS
	'Monitoring: values of each metric and series; one is kept where it differs from the one before, and every five minutes';
GRANT SELECT ON deploydb.metric_sample TO pg_monitor, pg_database_owner;

-- What is known already is no other value.  An older value than the newest goes
-- to the samples alone, unless the clock was set back, or the newest could not
-- be measured.
CREATE FUNCTION deploydb.record_metric(metric text, series text, at timestamptz, value double precision,
	fingerprint text DEFAULT NULL, note text DEFAULT NULL, severity text DEFAULT NULL, error text DEFAULT NULL,
	readings jsonb DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last_sample timestamptz;
BEGIN
	IF num_nulls(metric, series, at) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'metric, series and at must not be NULL';
	END IF;
	IF severity NOT IN ('P0', 'P1', 'P2', 'P3') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('unrecognized severity: "%s"', severity);
	END IF;
	-- as long as an index can take
	series := left(series, 500);
	IF EXISTS (SELECT FROM deploydb.metric_latest l
		WHERE l.metric = metric AND l.series = series AND l.at = at AND l.value = value)
	THEN
		RETURN true;
	END IF;
	INSERT INTO deploydb.metric_latest AS l
		(metric, series, at, value, fingerprint, note, severity, error, sampled_at, readings)
	VALUES (metric, series, at, value, left(fingerprint, 500), left(note, 2000), severity, left(error, 2000), at, readings)
	ON CONFLICT ON CONSTRAINT metric_latest_pkey DO UPDATE SET
		at = EXCLUDED.at, value = EXCLUDED.value, fingerprint = EXCLUDED.fingerprint, note = EXCLUDED.note,
		severity = EXCLUDED.severity, error = EXCLUDED.error, readings = EXCLUDED.readings,
		sampled_at = CASE WHEN EXCLUDED.value IS DISTINCT FROM l.value OR l.sampled_at > EXCLUDED.at
				OR EXCLUDED.value IS NOT NULL AND EXCLUDED.at >= l.sampled_at + interval '5 minutes'
			THEN EXCLUDED.at ELSE l.sampled_at END
		WHERE EXCLUDED.at >= l.at OR l.at > clock_timestamp() OR l.error IS NOT NULL
	RETURNING l.sampled_at INTO last_sample;
	IF last_sample IS NULL OR last_sample = at THEN
		INSERT INTO deploydb.metric_sample (metric, series, at, value) VALUES (metric, series, at, value);
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.record_metric(text, text, timestamptz, double precision, text, text, text, text, jsonb) IS
	'Monitoring: keeps a value of a metric';
REVOKE ALL ON FUNCTION deploydb.record_metric(text, text, timestamptz, double precision, text, text, text, text, jsonb)
	FROM PUBLIC;

CREATE TABLE deploydb.metric_thinning (
	thinned_until timestamptz NOT NULL
);
COMMENT ON TABLE deploydb.metric_thinning IS
	'Monitoring: of samples before this time there is one in five minutes';
GRANT SELECT ON deploydb.metric_thinning TO pg_monitor, pg_database_owner;
INSERT INTO deploydb.metric_thinning VALUES ('-infinity');

-- An hour in a call, once all of it is older than two hours: of each series the
-- last value in each five minutes stays.
CREATE FUNCTION deploydb.thin_samples(at timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	width interval := '5 minutes';
	oldest timestamptz;
	start timestamptz;
	until timestamptz;
	thinned bigint;
BEGIN
	SELECT t.thinned_until INTO start FROM deploydb.metric_thinning t;
	SELECT min(s.at) INTO oldest FROM deploydb.metric_sample s WHERE s.at >= start;
	IF oldest >= at - interval '3 hours' OR oldest IS NULL THEN
		RETURN 0;
	END IF;
	start := date_trunc('hour', oldest, 'UTC');
	until := start + interval '1 hour';
	DELETE FROM deploydb.metric_sample s
	USING (SELECT o.ctid AS place, lead(o.at) OVER (PARTITION BY o.metric, o.series ORDER BY o.at) AS next
		FROM deploydb.metric_sample o WHERE o.at >= start AND o.at < until) AS l
	WHERE s.ctid = l.place AND l.next < date_bin(width, s.at, start) + width;
	GET DIAGNOSTICS thinned = ROW_COUNT;
	UPDATE deploydb.metric_thinning SET thinned_until = until;
	RETURN thinned;
END
$$;
COMMENT ON FUNCTION deploydb.thin_samples(timestamptz) IS
	'Monitoring: keeps one value of each series in five minutes, of an hour at a time that has gone two hours before, and returns the number of rows that went';
REVOKE ALL ON FUNCTION deploydb.thin_samples(timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.purge_samples(before timestamptz, max_rows integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	purged bigint;
BEGIN
	IF max_rows < 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'max_rows must be 0 or more';
	END IF;
	DELETE FROM deploydb.metric_sample s
	WHERE s.ctid = ANY (ARRAY(
		SELECT o.ctid FROM deploydb.metric_sample o WHERE o.at < before ORDER BY o.at LIMIT max_rows));
	GET DIAGNOSTICS purged = ROW_COUNT;
	DELETE FROM deploydb.metric_latest l
	WHERE l.at < before AND NOT EXISTS (SELECT FROM deploydb.metric m WHERE m.name = l.metric);
	RETURN purged;
END
$$;
COMMENT ON FUNCTION deploydb.purge_samples(timestamptz, integer) IS
	'Monitoring: forgets values of metrics from before a time, the oldest first, up to a number of rows; returns how many';
REVOKE ALL ON FUNCTION deploydb.purge_samples(timestamptz, integer) FROM PUBLIC;

CREATE FUNCTION deploydb.metric_or_error(name text)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF name IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'name must not be NULL';
	END IF;
	IF NOT EXISTS (SELECT FROM deploydb.metric m WHERE m.name = name) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('metric "%s" does not exist', name),
			DETAIL = (SELECT format('Pushed are: %s.', string_agg(m.name, ', ' ORDER BY m.name))
				FROM deploydb.metric m WHERE m.source = 'pushed'),
			HINT = 'deploydb.add_metric() declares another; view deploydb.metric has all of them.';
	END IF;
	RETURN name;
END
$$;
COMMENT ON FUNCTION deploydb.metric_or_error(text) IS
	'Monitoring: the name of a metric that there is';
REVOKE ALL ON FUNCTION deploydb.metric_or_error(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.metric_or_error(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.push_metric(name text, value double precision, at timestamptz DEFAULT now())
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM deploydb.metric_or_error(name);
	IF (SELECT m.source FROM deploydb.metric m WHERE m.name = name) <> 'pushed' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('metric "%s" is not pushed', name),
			DETAIL = 'The monitor measures it.',
			HINT = 'deploydb.add_metric() without a query declares one that is.';
	END IF;
	IF num_nulls(value, at) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'value and at must not be NULL';
	END IF;
	IF value IN ('NaN', 'Infinity', '-Infinity') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'numeric_value_out_of_range',
			MESSAGE = format('value of metric "%s" must be a finite number', name);
	END IF;
	IF value NOT BETWEEN 0 AND 1 AND (SELECT m.unit FROM deploydb.metric m WHERE m.name = name) = 'ratio' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'numeric_value_out_of_range',
			MESSAGE = format('value of metric "%s" must be between 0 and 1', name),
			DETAIL = format('It is a ratio, and the value is %s.', value),
			HINT = '7 % is 0.07.';
	END IF;
	-- a clock elsewhere may be a little fast
	IF at > clock_timestamp() + interval '1 minute' OR at < clock_timestamp() - interval '1 day' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datetime_field_overflow',
			MESSAGE = format('value of metric "%s" is of the future, or older than a day', name),
			DETAIL = format('It is of %s, and now is %s.', at, clock_timestamp());
	END IF;
	IF NOT (SELECT m.enabled FROM deploydb.metric m WHERE m.name = name) THEN
		RETURN false;
	END IF;
	RETURN deploydb.record_metric(name, '', LEAST(at, clock_timestamp()), value);
END
$$;
COMMENT ON FUNCTION deploydb.push_metric(text, double precision, timestamptz) IS
	'Monitoring: keeps a value that was measured elsewhere; false while the metric is switched off';
REVOKE ALL ON FUNCTION deploydb.push_metric(text, double precision, timestamptz) FROM PUBLIC;

-- Rows are written as they are: what a restore brings goes to own_metric
-- itself.
CREATE FUNCTION deploydb.metric_changed()
RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	built_in boolean;
	same text;
	broken text;
BEGIN
	LOCK TABLE deploydb.own_metric IN SHARE ROW EXCLUSIVE MODE;
	IF TG_OP = 'UPDATE' THEN
		PERFORM deploydb.check_update('metric', to_jsonb(OLD), to_jsonb(NEW), '{name,type,source,built_in,changed_by}',
			(SELECT m.changed_at FROM deploydb.metric m WHERE m.name = OLD.name));
	END IF;
	IF TG_OP = 'DELETE' THEN
		DELETE FROM deploydb.own_metric_state s WHERE s.name = OLD.name;
		DELETE FROM deploydb.own_metric o WHERE o.name = OLD.name;
		IF NOT FOUND THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('metric "%s" is built in', OLD.name),
				DETAIL = 'It has not been changed, either.',
				HINT = format('Disable it: UPDATE deploydb.metric SET enabled = false WHERE name = %L;', OLD.name);
		END IF;
		RETURN OLD;
	END IF;

	built_in := EXISTS (SELECT FROM deploydb.builtin_metric b WHERE b.name = NEW.name);
	IF TG_OP = 'INSERT' THEN
		SELECT m.name INTO same FROM deploydb.metric m WHERE deploydb.exported_name(m.name) = deploydb.exported_name(NEW.name);
		IF FOUND THEN
			RAISE EXCEPTION USING
				ERRCODE = 'duplicate_object',
				MESSAGE = format('metric "%s" already exists', same),
				DETAIL = 'A dot and _ are the same to Prometheus, and milliseconds are seconds.',
				HINT = 'Change it in view deploydb.metric, or drop it first: deploydb.drop_metric().';
		END IF;
	END IF;
	IF built_in AND NEW.query IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('metric "%s" is built in', NEW.name),
			DETAIL = 'It has no query of one''s own.';
	END IF;
	-- a new one is its caller's, and current_user the extension's owner
	IF TG_OP = 'UPDATE' AND NEW.owner IS DISTINCT FROM OLD.owner AND NOT pg_has_role(NEW.owner::name, 'MEMBER') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('must be member of role "%s"', NEW.owner);
	END IF;

	BEGIN
		INSERT INTO deploydb.own_metric AS o (name, unit, help, query, search_path, owner, stale_after_seconds,
			enabled, changed_at, changed_by)
		VALUES (NEW.name, COALESCE(NEW.unit, ''), COALESCE(NEW.help, ''), NEW.query,
			COALESCE(NEW.search_path, '"$user", public'), COALESCE(NEW.owner, current_user),
			COALESCE(NEW.stale_after_seconds, 300), COALESCE(NEW.enabled, true), clock_timestamp(), session_user)
		ON CONFLICT ON CONSTRAINT own_metric_pkey DO UPDATE SET
			unit = EXCLUDED.unit, help = EXCLUDED.help, query = EXCLUDED.query, search_path = EXCLUDED.search_path,
			owner = EXCLUDED.owner, stale_after_seconds = EXCLUDED.stale_after_seconds, enabled = EXCLUDED.enabled,
			changed_at = EXCLUDED.changed_at, changed_by = EXCLUDED.changed_by;
	EXCEPTION WHEN check_violation THEN
		GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('metric "%s" could not be measured', NEW.name),
			DETAIL = deploydb.constraint_comment('deploydb.own_metric', broken);
	END;

	-- whatever was wrong with it may be mended
	UPDATE deploydb.metric_latest l SET readings = NULL WHERE l.metric = NEW.name AND l.readings ? 'left_out_until';
	INSERT INTO deploydb.own_metric_state AS s (name, owner_oid)
	SELECT o.name, r.oid::bigint FROM deploydb.own_metric o LEFT JOIN pg_roles r ON r.rolname = o.owner
	WHERE o.name = NEW.name AND o.query IS NOT NULL
	ON CONFLICT ON CONSTRAINT own_metric_state_pkey DO UPDATE SET
		owner_oid = COALESCE(CASE WHEN NEW.owner = OLD.owner THEN s.owner_oid END, EXCLUDED.owner_oid),
		failures = 0, last_error = NULL, disabled_at = NULL;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION deploydb.metric_changed() IS
	'Monitoring: keeps a change of view metric in own_metric; its trigger';
REVOKE ALL ON FUNCTION deploydb.metric_changed() FROM PUBLIC;
CREATE TRIGGER metric_changed INSTEAD OF INSERT OR UPDATE OR DELETE ON deploydb.metric
	FOR EACH ROW EXECUTE FUNCTION deploydb.metric_changed();

CREATE FUNCTION deploydb.add_metric(name text, query text, unit text DEFAULT '', help text DEFAULT '')
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_add_metric'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.add_metric(text, text, text, text) IS
	'Monitoring: has the monitor measure the one number that a query gives, as the current role; without a query the metric is pushed';
REVOKE ALL ON FUNCTION deploydb.add_metric(text, text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.drop_metric(name text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	rules text;
BEGIN
	PERFORM deploydb.metric_or_error(name);
	DELETE FROM deploydb.metric m WHERE m.name = name;
	DELETE FROM deploydb.metric_latest l
	WHERE l.metric = name AND NOT EXISTS (SELECT FROM deploydb.builtin_metric b WHERE b.name = name);
	SELECT string_agg(r.id, ', ' ORDER BY r.id) INTO rules FROM deploydb.alert_rule r
	WHERE r.metric = name AND r.enabled AND NOT EXISTS (SELECT FROM deploydb.builtin_metric b WHERE b.name = name);
	IF rules IS NOT NULL THEN
		RAISE WARNING USING
			MESSAGE = format('rules name metric "%s", which is dropped', name),
			DETAIL = format('Without values from now on: %s.', rules),
			HINT = 'deploydb.set_rule() gives a rule another metric or disables it, deploydb.reset_rule() forgets it.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.drop_metric(text) IS
	'Monitoring: forgets a metric that people added, and makes a built-in one what it was';
REVOKE ALL ON FUNCTION deploydb.drop_metric(text) FROM PUBLIC;

--
-- Metrics with a query, which the monitor runs
--

-- Each once in an interval, though a tick can come in between.
CREATE FUNCTION deploydb.due_metric(round_begun timestamptz)
RETURNS TABLE (name text, query text, search_path text, owner_oid bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT o.name, o.query, o.search_path, r.oid::bigint
	FROM deploydb.own_metric o
		LEFT JOIN deploydb.own_metric_state s ON s.name = o.name
		LEFT JOIN deploydb.metric_latest l ON l.metric = o.name AND l.series = ''
		LEFT JOIN pg_roles r ON CASE WHEN s.owner_oid IS NULL THEN r.rolname = o.owner ELSE r.oid::bigint = s.owner_oid END
	WHERE o.query IS NOT NULL AND o.enabled AND s.disabled_at IS NULL
		AND ((l.readings ->> 'left_out_until')::timestamptz BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 hour') IS NOT TRUE
		AND (l.at IS NULL OR l.at > clock_timestamp()
			OR l.at <= LEAST(round_begun, clock_timestamp()) - deploydb.setting('metrics_collection_interval')::interval / 2)
	ORDER BY l.at NULLS FIRST, o.name
$$;
COMMENT ON FUNCTION deploydb.due_metric(timestamptz) IS
	'Monitoring: the queries of metrics that are to be run in the round that began then; owner_oid is NULL where the role was dropped';
REVOKE ALL ON FUNCTION deploydb.due_metric(timestamptz) FROM PUBLIC;

-- What fails again and again, or does harm, is not tried at once.
CREATE FUNCTION deploydb.leave_out(metric text, reason text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	until CONSTANT timestamptz := clock_timestamp() + interval '1 hour';
BEGIN
	RETURN deploydb.record_metric(metric, '', clock_timestamp(), NULL,
		error => format('%s; left out until %s', reason, to_char(until, 'HH24:MI:SS TZ')),
		readings => jsonb_build_object('left_out_until', until));
END
$$;
COMMENT ON FUNCTION deploydb.leave_out(text, text) IS
	'Monitoring: has a metric measured again in an hour';
REVOKE ALL ON FUNCTION deploydb.leave_out(text, text) FROM PUBLIC;

-- From the third failure in a row on, each leaves the metric out for an hour.
CREATE FUNCTION deploydb.record_own_metric(name text, value double precision, error text, hopeless boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	failed integer;
BEGIN
	IF name IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'name must not be NULL';
	END IF;
	-- dropped or switched off meanwhile
	PERFORM FROM deploydb.own_metric o WHERE o.name = name AND o.enabled FOR KEY SHARE;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	failed := COALESCE((SELECT s.failures FROM deploydb.own_metric_state s WHERE s.name = name), 0) + 1;
	IF error IS NOT NULL AND NOT hopeless AND failed >= 3 THEN
		PERFORM deploydb.leave_out(name, error);
	ELSE
		PERFORM deploydb.record_metric(name, '', clock_timestamp(), value, error => error);
	END IF;
	IF error IS NULL THEN
		UPDATE deploydb.own_metric_state s SET failures = 0, last_error = NULL
		WHERE s.name = name AND s.failures > 0;
		RETURN true;
	END IF;
	INSERT INTO deploydb.own_metric_state AS s (name, failures, last_error, disabled_at)
	VALUES (name, failed, error, CASE WHEN hopeless THEN clock_timestamp() END)
	ON CONFLICT ON CONSTRAINT own_metric_state_pkey DO UPDATE SET
		failures = EXCLUDED.failures, last_error = EXCLUDED.last_error, disabled_at = EXCLUDED.disabled_at;
	IF hopeless OR failed >= 3 THEN
		RAISE WARNING USING
			MESSAGE = format(CASE WHEN hopeless THEN 'metric "%s" is disabled' ELSE 'metric "%s" is left out for an hour' END, name),
			DETAIL = error,
			HINT = format('Mend it, then: UPDATE deploydb.metric SET enabled = true WHERE name = %L;', name);
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.record_own_metric(text, double precision, text, boolean) IS
	'Monitoring: keeps what a metric''s query gave, and leaves it out where it fails again and again; hopeless: until somebody mends it';
REVOKE ALL ON FUNCTION deploydb.record_own_metric(text, double precision, text, boolean) FROM PUBLIC;

CREATE FUNCTION deploydb.query_as_owner(metric text, relation bigint, query text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_query_as_owner'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.query_as_owner(text, bigint, text) IS
	'Monitoring: the one value that the query of a built-in metric gives, as text, run as the owner of a relation; a part of collect_metrics()';
REVOKE ALL ON FUNCTION deploydb.query_as_owner(text, bigint, text) FROM PUBLIC;
