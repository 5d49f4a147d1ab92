--
-- Monitoring: the monitor and its tick
--

-- The monitor's own account of itself: one row.
CREATE TABLE deploydb.monitor_state (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	pid integer,
	started_at timestamptz,
	state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'running', 'stopping')),
	interval_ms integer,
	last_tick_at timestamptz,
	last_tick_ms double precision,
	last_evaluation_ms double precision,
	p95_evaluation_ms double precision,
	recent_evaluations text[] NOT NULL DEFAULT '{}',
	ticks bigint NOT NULL DEFAULT 0,
	missed_ticks bigint NOT NULL DEFAULT 0,
	restarts bigint NOT NULL DEFAULT 0,
	last_error text,
	last_error_at timestamptz,
	notified_event bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE deploydb.monitor_state IS
	'Monitoring: what the monitor of this database did last; recent_evaluations are milliseconds, newest first';
GRANT SELECT ON deploydb.monitor_state TO pg_monitor, pg_database_owner;
INSERT INTO deploydb.monitor_state DEFAULT VALUES;

CREATE FUNCTION deploydb.wake_monitor()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_wake_monitor'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.wake_monitor() IS
	'Monitoring: has the monitor tick once this transaction has committed; false when there is none';
REVOKE ALL ON FUNCTION deploydb.wake_monitor() FROM PUBLIC;

CREATE FUNCTION deploydb.start_monitor()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_start_monitor'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.start_monitor() IS
	'Monitoring: starts this database''s monitor where deploydb is not preloaded, until the server''s next start; false when it runs';
REVOKE ALL ON FUNCTION deploydb.start_monitor() FROM PUBLIC;

CREATE FUNCTION deploydb.stop_monitor()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_stop_monitor'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.stop_monitor() IS
	'Monitoring: stops what start_monitor() started, once this transaction has committed; false when none runs';
REVOKE ALL ON FUNCTION deploydb.stop_monitor() FROM PUBLIC;

--
-- The tick
--

-- A part of the tick; in a scope of its own its error is a result.
CREATE FUNCTION deploydb.tick_part(call text, at timestamptz, before timestamptz, scoped boolean DEFAULT true,
	OUT result bigint, OUT error text, OUT ms double precision)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	begun timestamptz := clock_timestamp();
BEGIN
	IF scoped THEN
		BEGIN
			EXECUTE 'SELECT ' || call INTO result USING at, before;
		EXCEPTION WHEN OTHERS THEN
			error := format('%s: %s', split_part(call, '(', 1), SQLERRM);
		END;
	ELSE
		EXECUTE 'SELECT ' || call INTO result USING at, before;
	END IF;
	ms := extract(epoch FROM clock_timestamp() - begun) * 1000;
END
$$;
COMMENT ON FUNCTION deploydb.tick_part(text, timestamptz, timestamptz, boolean) IS
	'Monitoring: calls one part of the tick; in a scope of its own its error is a result';
REVOKE ALL ON FUNCTION deploydb.tick_part(text, timestamptz, timestamptz, boolean) FROM PUBLIC;

-- A role is known by its oid from the first tick on, as another may get its
-- name; and a dump has the name.
CREATE FUNCTION deploydb.refresh_owners()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	renamed record;
	refreshed bigint := 0;
BEGIN
	INSERT INTO deploydb.own_metric_state (name, owner_oid)
	SELECT o.name, r.oid::bigint FROM deploydb.own_metric o JOIN pg_roles r ON r.rolname = o.owner
	WHERE o.query IS NOT NULL AND NOT EXISTS (SELECT FROM deploydb.own_metric_state s WHERE s.name = o.name)
	ON CONFLICT DO NOTHING;
	INSERT INTO deploydb.checklist_item_owner (key, owner_oid)
	SELECT o.key, r.oid::bigint FROM deploydb.own_checklist_item o JOIN pg_roles r ON r.rolname = o.owner
	WHERE o.predicate IS NOT NULL AND NOT EXISTS (SELECT FROM deploydb.checklist_item_owner w WHERE w.key = o.key)
	ON CONFLICT DO NOTHING;
	-- no UPDATE that finds nothing: it would wait for whoever changes a metric
	FOR renamed IN
		SELECT o.name, r.rolname FROM deploydb.own_metric o
			JOIN deploydb.own_metric_state s ON s.name = o.name
			JOIN pg_roles r ON r.oid = s.owner_oid::oid
		WHERE r.rolname <> o.owner
	LOOP
		UPDATE deploydb.own_metric o SET owner = renamed.rolname WHERE o.name = renamed.name;
		refreshed := refreshed + 1;
	END LOOP;
	FOR renamed IN
		SELECT o.key, r.rolname FROM deploydb.own_checklist_item o
			JOIN deploydb.checklist_item_owner w ON w.key = o.key
			JOIN pg_roles r ON r.oid = w.owner_oid::oid
		WHERE r.rolname <> o.owner
	LOOP
		UPDATE deploydb.own_checklist_item o SET owner = renamed.rolname WHERE o.key = renamed.key;
		refreshed := refreshed + 1;
	END LOOP;
	RETURN refreshed;
END
$$;
COMMENT ON FUNCTION deploydb.refresh_owners() IS
	'Monitoring: keeps what the roles are called now that own metrics and predicates, and returns how many were renamed; a part of the tick';
REVOKE ALL ON FUNCTION deploydb.refresh_owners() FROM PUBLIC;

-- A scope that writes takes a transaction id of its own: the monitor tries
-- without any, and again with them where a part fails.
CREATE FUNCTION deploydb.tick(scoped boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	begun timestamptz := clock_timestamp();
	preloaded boolean := deploydb.is_preloaded();	-- which also loads the library
	retention interval := deploydb.setting('retention')::interval;
	tick_interval interval := deploydb.setting('metrics_collection_interval')::interval;
	copied boolean;
	call text;
	part record;
	events bigint := 0;
	evaluation double precision;
	error text;
BEGIN
	PERFORM FROM deploydb.monitor_state FOR UPDATE;
	PERFORM deploydb.bind_installation();
	copied := deploydb.suspended() IS NOT NULL;
	FOREACH call IN ARRAY CASE WHEN preloaded THEN ARRAY['deploydb.take_write_sample()'] ELSE '{}' END
		|| ARRAY['deploydb.collect_metrics($1)', 'deploydb.evaluate_rules($1)', 'deploydb.watch_deployment($1)',
			'deploydb.note_targets($1)', 'deploydb.enqueue_events()', 'deploydb.renew_alerts()', 'deploydb.release_claims()',
			'deploydb.bury_orphans()', 'deploydb.refresh_owners()', 'deploydb.thin_write_samples($1)',
			'deploydb.purge_writes($2, 1000)', 'deploydb.purge_samples($2, 1000)', 'deploydb.purge_changes($2, 1000)',
			'deploydb.purge_events($2, 1000)', 'deploydb.purge_messages($2, 1000)', 'deploydb.seal_log()']
	LOOP
		-- the books are another's, and may just be restored
		CONTINUE WHEN copied AND call IN ('deploydb.watch_deployment($1)', 'deploydb.note_targets($1)', 'deploydb.seal_log()');
		part := deploydb.tick_part(call, begun, begun - retention, scoped);
		error := COALESCE(error, part.error);
		IF call = 'deploydb.evaluate_rules($1)' THEN
			events := COALESCE(part.result, 0);
			evaluation := part.ms;
		END IF;
	END LOOP;

	UPDATE deploydb.monitor_state AS m SET
		interval_ms = extract(epoch FROM tick_interval) * 1000,
		last_tick_at = begun,
		last_tick_ms = extract(epoch FROM clock_timestamp() - begun) * 1000,
		last_evaluation_ms = evaluation,
		recent_evaluations = (evaluation::text || m.recent_evaluations)[1:100],
		p95_evaluation_ms = (SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY e::double precision)
			FROM unnest((evaluation::text || m.recent_evaluations)[1:100]) e),
		ticks = m.ticks + 1,
		missed_ticks = m.missed_ticks + GREATEST(0, COALESCE(floor(extract(epoch FROM begun - m.last_tick_at) * 1000
			/ GREATEST(m.interval_ms, extract(epoch FROM tick_interval) * 1000)) - 1, 0))::bigint,
		last_error = COALESCE(error, m.last_error),
		-- of what is to come where the clock was set back
		last_error_at = CASE WHEN error IS NOT NULL THEN clock_timestamp()
			WHEN m.last_error_at > begun THEN begun - tick_interval ELSE m.last_error_at END;
	RETURN events;
END
$$;
COMMENT ON FUNCTION deploydb.tick(boolean) IS
	'Monitoring: all that the monitor does each interval, in one transaction, each part in a scope of its own or all in one; returns the number of new events';
REVOKE ALL ON FUNCTION deploydb.tick(boolean) FROM PUBLIC;

CREATE FUNCTION deploydb.monitor_begins()
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part record;
BEGIN
	INSERT INTO deploydb.monitor_state DEFAULT VALUES ON CONFLICT DO NOTHING;
	UPDATE deploydb.monitor_state AS m SET
		pid = pg_backend_pid(), started_at = clock_timestamp(), state = 'running',
		restarts = m.restarts + CASE WHEN m.pid IS NULL THEN 0 ELSE 1 END;
	part := deploydb.tick_part('deploydb.release_claims()', now(), now());
	IF part.error IS NOT NULL THEN
		PERFORM deploydb.record_monitor_error(part.error);
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.monitor_begins() IS
	'Monitoring: what the monitor does when it begins';
REVOKE ALL ON FUNCTION deploydb.monitor_begins() FROM PUBLIC;

CREATE FUNCTION deploydb.record_monitor_error(error text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE deploydb.monitor_state AS m SET last_error = error, last_error_at = clock_timestamp();
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.record_monitor_error(text) IS
	'Monitoring: keeps an error of the monitor for worker_status';
REVOKE ALL ON FUNCTION deploydb.record_monitor_error(text) FROM PUBLIC;

-- A metric that ended the monitor would end the next one, too: its failures are
-- counted, so that the third disables it, and a built-in one is left out for a while.
CREATE FUNCTION deploydb.record_end(metric text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	reason text := 'the monitor ended while it was measured';
BEGIN
	PERFORM deploydb.record_monitor_error(format('metric %s: %s', metric, reason));
	IF EXISTS (SELECT FROM deploydb.builtin_metric b WHERE b.name = metric) THEN
		RETURN deploydb.leave_out(metric, reason);
	END IF;
	RETURN deploydb.record_own_metric(metric, NULL, reason,
		EXISTS (SELECT FROM deploydb.own_metric_state s WHERE s.name = metric AND s.failures >= 2));
END
$$;
COMMENT ON FUNCTION deploydb.record_end(text) IS
	'Monitoring: blames a metric, read as somebody else, for the end of the monitor';
REVOKE ALL ON FUNCTION deploydb.record_end(text) FROM PUBLIC;

-- Events are numbered in the order of their commits, as one evaluation runs at
-- a time.
CREATE FUNCTION deploydb.notify_events()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	event bigint;
	notified bigint := 0;
BEGIN
	FOR event IN
		SELECT e.id FROM deploydb.alert_event e
		WHERE e.id > (SELECT m.notified_event FROM deploydb.monitor_state m)
		ORDER BY e.id
	LOOP
		PERFORM pg_notify('deploydb_alert', event::text);
		notified := notified + 1;
	END LOOP;
	IF notified > 0 THEN
		-- once the queue is full, what has been read goes when somebody asks
		PERFORM pg_notification_queue_usage();
		UPDATE deploydb.monitor_state SET notified_event = event;
	END IF;
	RETURN notified;
END
$$;
COMMENT ON FUNCTION deploydb.notify_events() IS
	'Monitoring: NOTIFY deploydb_alert with the id of each new event';
REVOKE ALL ON FUNCTION deploydb.notify_events() FROM PUBLIC;

--
-- What people see
--

-- The monitor has a lock that no SQL can take: a part of the extension.
CREATE VIEW deploydb.worker_status AS
	SELECT current_database()::text AS database, l.pid,
		CASE WHEN pg_is_in_recovery() THEN 'standby'
			WHEN l.pid IS NULL THEN 'stopped'
			WHEN x.extversion <> deploydb.library_version() THEN 'waiting'
			WHEN m.state = 'stopping' THEN 'stopping'
			WHEN deploydb.suspended() IS NOT NULL THEN 'suspended'
			ELSE 'running' END AS state,
		m.started_at, m.last_tick_at, m.last_tick_ms, m.last_evaluation_ms, m.p95_evaluation_ms,
		m.ticks, m.missed_ticks, (SELECT count(*) FROM deploydb.outbox o WHERE o.state IN ('pending', 'sending')) AS backlog, m.restarts, m.last_error, m.last_error_at
	FROM deploydb.monitor_state m
		JOIN pg_extension x ON x.extname = 'deploydb'
		LEFT JOIN LATERAL (
			SELECT k.pid FROM pg_locks k, pg_database d
			WHERE k.locktype = 'object' AND k.granted AND d.datname = current_database() AND k.database = d.oid
				AND k.classid = 'pg_extension'::regclass AND k.objid = x.oid AND k.objsubid = 1
				AND k.mode = 'ExclusiveLock'
			LIMIT 1) l ON true;
COMMENT ON VIEW deploydb.worker_status IS
	'Monitoring: whether the monitor of this database runs, its last tick, and its last error';
GRANT SELECT ON deploydb.worker_status TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.is_listed()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_is_listed'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.is_listed() IS
	'Monitoring: true where deploydb.databases names this database, or none';
REVOKE ALL ON FUNCTION deploydb.is_listed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.is_listed() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.status_of_monitor()
RETURNS TABLE (verdict text, detail text, next_step text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s record;
	late boolean;
	preloaded boolean := deploydb.is_preloaded();	-- which also loads the library
BEGIN
	SELECT w.*, m.interval_ms, m.created_at INTO s FROM deploydb.worker_status w, deploydb.monitor_state m;
	late := s.state IN ('running', 'suspended')
		AND COALESCE(s.last_tick_at, s.started_at) < clock_timestamp() - s.interval_ms * 3 * interval '1 millisecond';
	RETURN QUERY SELECT t.* FROM (VALUES
		(s.state = 'standby', 'ok', deploydb.word('none runs on a standby'), NULL),
		(s.state = 'stopped' AND NOT preloaded, 'warning', deploydb.word('none runs: not preloaded'),
			'SELECT deploydb.start_monitor();'),
		(s.state IN ('stopped', 'stopping') AND deploydb.setting('monitor') = 'off', 'warning', deploydb.word('switched off'),
			'ALTER SYSTEM SET deploydb.monitor = on; SELECT pg_reload_conf();'),
		(s.state IN ('stopped', 'stopping') AND NOT deploydb.is_listed(), 'warning', deploydb.word('not in deploydb.databases'),
			'SHOW deploydb.databases;'),
		(s.state = 'stopped' AND (SELECT d.datistemplate FROM pg_database d WHERE d.datname = current_database()),
			'warning', deploydb.word('none runs in a template'), format('ALTER DATABASE %I IS_TEMPLATE false;', current_database())),
		(s.state = 'stopped' AND s.started_at IS NULL AND GREATEST(s.created_at, pg_postmaster_start_time())
			< clock_timestamp() - deploydb.setting('metrics_collection_interval')::interval * 3,
			'error', deploydb.word('not started: the server''s log says why'), 'SHOW max_worker_processes;'),
		(s.state = 'stopped' AND s.started_at IS NULL, 'ok', deploydb.word('starts'), NULL),
		(s.state IN ('stopped', 'stopping'), 'error', format(deploydb.word('none runs after %s restarts: the server''s log says why'), s.restarts),
			'SELECT * FROM deploydb.worker_status;'),
		(s.state = 'waiting', 'warning', deploydb.word('waits for newer SQL objects'), 'ALTER EXTENSION deploydb UPDATE;'),
		(late, 'error', format(deploydb.word('no tick since %s'), to_char(s.last_tick_at, 'YYYY-MM-DD HH24:MI:SS')),
			'SELECT * FROM deploydb.worker_status;'),
		(s.last_error_at >= s.last_tick_at, 'warning', left(s.last_error, 200), 'SELECT * FROM deploydb.worker_status;'),
		(s.state = 'suspended', 'warning', deploydb.word('a copy: sends nothing'), 'SELECT deploydb.adopt();'),
		(s.last_tick_ms > s.interval_ms, 'warning', format(deploydb.word('the last tick took over %s'), deploydb.setting('metrics_collection_interval')),
			'SELECT * FROM deploydb.worker_status;'),
		(true, 'ok', format(deploydb.word('ticks every %s'), deploydb.setting('metrics_collection_interval')), NULL)
	) AS v (applies, verdict, detail, next_step), LATERAL (SELECT v.verdict, v.detail, v.next_step) AS t
	WHERE v.applies LIMIT 1;
END
$$;
COMMENT ON FUNCTION deploydb.status_of_monitor() IS
	'Monitoring: how the monitor is; a part of deploydb_status()';
REVOKE ALL ON FUNCTION deploydb.status_of_monitor() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.status_of_monitor() TO pg_monitor, pg_database_owner;

-- The launcher starts a monitor when this commits.
SELECT deploydb.wake_monitor();
