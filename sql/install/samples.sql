
--
-- Writes: samples of the counters
--

-- Whose attempts: a table's by the application, or by others.
CREATE TABLE deploydb.write_target (
	target integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	schema text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	others boolean NOT NULL,
	reset_at timestamptz,
	thinned_until timestamptz NOT NULL DEFAULT '-infinity',
	UNIQUE (schema, name, others)
);
COMMENT ON TABLE deploydb.write_target IS
	'Writes: tables of which there are samples; nothing before reset_at is counted, and of samples before thinned_until there is one in five minutes';
GRANT SELECT ON deploydb.write_target TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.write_target_target_seq TO pg_monitor, pg_database_owner;

-- From the time at which the counters began at zero to their last sample.
CREATE TABLE deploydb.write_epoch (
	target integer NOT NULL REFERENCES deploydb.write_target ON DELETE CASCADE,
	since timestamptz NOT NULL,
	at timestamptz NOT NULL,
	succeeded bigint NOT NULL,
	failed bigint NOT NULL,
	rolled_back bigint NOT NULL,
	rejected bigint NOT NULL,
	swallowed bigint NOT NULL,
	prepared bigint NOT NULL,
	unaccounted bigint NOT NULL,
	rows_written bigint NOT NULL,
	latency text NOT NULL,
	failures jsonb,
	database_oid bigint NOT NULL,
	tracked_at timestamptz NOT NULL,
	PRIMARY KEY (target, since)
);
COMMENT ON TABLE deploydb.write_epoch IS
	'Writes: the last sample of each epoch, with all that was counted in it; database_oid and tracked_at are of the counters';
GRANT SELECT ON deploydb.write_epoch TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.write_failure (
	target integer NOT NULL,
	since timestamptz NOT NULL,
	sqlstate text NOT NULL,
	last_at timestamptz NOT NULL,
	last_constraint text,
	last_application text,
	last_query_id bigint,
	PRIMARY KEY (target, since, sqlstate),
	FOREIGN KEY (target, since) REFERENCES deploydb.write_epoch ON DELETE CASCADE
);
COMMENT ON TABLE deploydb.write_failure IS
	'Writes: the last failure of each SQLSTATE in each epoch; sqlstate is empty for those that had no room';
GRANT SELECT ON deploydb.write_failure TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.write_sample (
	target integer NOT NULL REFERENCES deploydb.write_target ON DELETE CASCADE,
	at timestamptz NOT NULL,
	since timestamptz NOT NULL,
	succeeded bigint NOT NULL,
	failed bigint NOT NULL,
	rolled_back bigint NOT NULL,
	rejected bigint NOT NULL,
	swallowed bigint NOT NULL,
	prepared bigint NOT NULL,
	unaccounted bigint NOT NULL,
	rows_written bigint NOT NULL,
	latency text NOT NULL,
	failures jsonb,
	PRIMARY KEY (target, at)
);
COMMENT ON TABLE deploydb.write_sample IS
	'Writes: what had been counted in the epoch by then, where that changed, failures by SQLSTATE; latency is what came since the sample before';
GRANT SELECT ON deploydb.write_sample TO pg_monitor, pg_database_owner;

CREATE TABLE deploydb.write_gap (
	schema text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	at timestamptz NOT NULL,
	until timestamptz NOT NULL,
	kind text NOT NULL CHECK (kind IN ('lost', 'untracked', 'reset')),
	marked_by text NOT NULL
);
CREATE INDEX write_gap_at_idx ON deploydb.write_gap (at);
COMMENT ON TABLE deploydb.write_gap IS
	'Writes: what was not counted: between the last sample before a crash or a promotion and the counters'' new beginning, or their first sample then (lost), while a table was not tracked; and where somebody reset the counters';
GRANT SELECT ON deploydb.write_gap TO pg_monitor, pg_database_owner;

-- The row of a target, made where it is missing.
CREATE FUNCTION deploydb.write_target_of(schema text, name text, others boolean)
RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	found integer;
BEGIN
	SELECT t.target INTO found FROM deploydb.write_target t
	WHERE t.schema = schema AND t.name = name AND t.others = others;
	IF found IS NULL THEN
		INSERT INTO deploydb.write_target AS t (schema, name, others)
		VALUES (schema, name, others)
		RETURNING t.target INTO found;
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION deploydb.write_target_of(text, text, boolean) IS
	'Writes: the number of a table''s samples; a part of take_write_sample()';
REVOKE ALL ON FUNCTION deploydb.write_target_of(text, text, boolean) FROM PUBLIC;

-- Where counting begins, and there is no sample to tell what a crash took.
CREATE FUNCTION deploydb.begin_first_epoch(schema text, name text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	INSERT INTO deploydb.write_epoch
	SELECT deploydb.write_target_of(schema, name, false), c.since, clock_timestamp(), 0, 0, 0, 0, 0, 0, 0, 0, '', NULL,
		deploydb.own_database_oid(), d.tracked_at
	FROM deploydb.write_counters_if_preloaded() c
		JOIN deploydb.tracked_table d ON d.schema = c.schema AND d.name = c.name
	WHERE c.schema = schema AND c.name = name AND NOT c.others
		AND NOT EXISTS (SELECT FROM deploydb.write_target t
			JOIN deploydb.write_epoch e ON e.target = t.target
			WHERE t.schema = schema AND t.name = name AND NOT t.others);
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.begin_first_epoch(text, text) IS
	'Writes: notes that counting began, where there is no sample yet; a part of track()';
REVOKE ALL ON FUNCTION deploydb.begin_first_epoch(text, text) FROM PUBLIC;

-- Counters that began again, and not with the same beginning: something is lost,
-- unless they are of another database or of another time of tracking, for which
-- only a beginning was noted: a copy, or a restore that has the table tracked.
CREATE FUNCTION deploydb.is_gap(last deploydb.write_epoch, since timestamptz, database_oid bigint, tracked_at timestamptz)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT last.since <> since
		AND (last.database_oid = database_oid AND last.tracked_at = tracked_at
			OR last.succeeded + last.failed + last.rolled_back + last.rejected + last.swallowed + last.prepared + last.unaccounted > 0
			OR EXISTS (SELECT FROM deploydb.write_epoch e WHERE e.target = last.target AND e.since <> last.since))
$$;
COMMENT ON FUNCTION deploydb.is_gap(deploydb.write_epoch, timestamptz, bigint, timestamptz) IS
	'Writes: whether something may have been counted since an epoch''s last sample that is lost; a part of take_write_sample()';
REVOKE ALL ON FUNCTION deploydb.is_gap(deploydb.write_epoch, timestamptz, bigint, timestamptz) FROM PUBLIC;

CREATE FUNCTION deploydb.keep_last_failures()
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO deploydb.write_failure AS f
	SELECT e.target, e.since, COALESCE(l.sqlstate, ''), l.last_at, l.last_constraint, l.last_application, l.last_query_id
	FROM deploydb.write_failure_counters() l
		JOIN deploydb.write_target t ON t.schema = l.schema AND t.name = l.name AND NOT t.others
		JOIN deploydb.write_epoch e ON e.target = t.target AND e.since = l.since
		LEFT JOIN deploydb.write_failure k
			ON k.target = e.target AND k.since = e.since AND k.sqlstate = COALESCE(l.sqlstate, '')
	WHERE NOT l.others
		-- what would not change is not to be locked, either
		AND (k.last_at, k.last_constraint, k.last_application, k.last_query_id)
			IS DISTINCT FROM (l.last_at, l.last_constraint, l.last_application, l.last_query_id)
	ON CONFLICT ON CONSTRAINT write_failure_pkey DO UPDATE
		SET last_at = EXCLUDED.last_at, last_constraint = EXCLUDED.last_constraint,
			last_application = EXCLUDED.last_application, last_query_id = EXCLUDED.last_query_id;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION deploydb.keep_last_failures() IS
	'Writes: keeps in write_failure what the counters show now; a part of take_write_sample()';
REVOKE ALL ON FUNCTION deploydb.keep_last_failures() FROM PUBLIC;

CREATE FUNCTION deploydb.take_write_sample()
RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	live record;
	last deploydb.write_epoch;
	number integer;
	latency_before text;
	taken integer := 0;
	moment timestamptz;
	database_oid CONSTANT bigint := deploydb.own_database_oid();
BEGIN
	PERFORM deploydb.primary_or_error();
	-- one at a time, in the order of their times whatever the clock does; not
	-- behind a migration that tracks a table and takes long
	LOCK TABLE deploydb.write_sample IN SHARE ROW EXCLUSIVE MODE;
	moment := GREATEST(clock_timestamp(),
		(SELECT max(e.at) + interval '1 microsecond' FROM deploydb.write_epoch e));
	-- others' failures are not told by SQLSTATE
	FOR live IN
		SELECT c.*, CASE WHEN NOT c.others THEN c.failures END AS by_sqlstate, t.target, d.tracked_at
		FROM deploydb.write_counters() c
			JOIN deploydb.tracked_table d ON d.schema = c.schema AND d.name = c.name
			LEFT JOIN deploydb.write_target t
				ON t.schema = c.schema AND t.name = c.name AND t.others = c.others
	LOOP
		-- not the one that began last: a standby's began while the primary's went on
		SELECT e.* INTO last FROM deploydb.write_epoch e
		WHERE e.target = live.target ORDER BY e.at DESC LIMIT 1;
		IF deploydb.is_gap(last, live.since, database_oid, live.tracked_at) AND NOT live.others THEN
			INSERT INTO deploydb.write_gap (schema, name, at, until, kind, marked_by)
			-- another server's ended some time before now, if this one's began before
			VALUES (live.schema, live.name, last.at, CASE WHEN live.since > last.at THEN live.since ELSE moment END,
				CASE WHEN live.tracked_at > last.at THEN 'untracked' ELSE 'lost' END, session_user);
		END IF;
		CONTINUE WHEN last.since = live.since
			AND (last.succeeded, last.failed, last.rolled_back, last.rejected, last.swallowed,
				last.prepared, last.unaccounted, last.rows_written, last.latency)
			= (live.succeeded, live.failed, live.rolled_back, live.rejected, live.swallowed,
				live.prepared, live.unaccounted, live.rows_written, live.latency);
		number := deploydb.write_target_of(live.schema, live.name, live.others);
		-- of the same counters, which another server's may have come between
		latency_before := COALESCE((SELECT e.latency FROM deploydb.write_epoch e WHERE e.target = number AND e.since = live.since), '');
		INSERT INTO deploydb.write_epoch AS e
		VALUES (number, live.since, moment, live.succeeded, live.failed, live.rolled_back, live.rejected,
			live.swallowed, live.prepared, live.unaccounted, live.rows_written, live.latency, live.by_sqlstate,
			database_oid, live.tracked_at)
		ON CONFLICT ON CONSTRAINT write_epoch_pkey DO UPDATE
			SET at = EXCLUDED.at, succeeded = EXCLUDED.succeeded, failed = EXCLUDED.failed,
				rolled_back = EXCLUDED.rolled_back, rejected = EXCLUDED.rejected,
				swallowed = EXCLUDED.swallowed, prepared = EXCLUDED.prepared,
				unaccounted = EXCLUDED.unaccounted, rows_written = EXCLUDED.rows_written,
				latency = EXCLUDED.latency, failures = EXCLUDED.failures;

		-- counters that begin at zero are an epoch, and no sample
		CONTINUE WHEN last.since IS DISTINCT FROM live.since AND live.latency = ''
			AND live.succeeded + live.failed + live.rolled_back + live.rejected
				+ live.swallowed + live.prepared + live.unaccounted = 0;
		INSERT INTO deploydb.write_sample
		VALUES (number, moment, live.since, live.succeeded, live.failed, live.rolled_back, live.rejected,
			live.swallowed, live.prepared, live.unaccounted, live.rows_written,
			deploydb.histogram_subtract(live.latency, latency_before), live.by_sqlstate);
		taken := taken + 1;
	END LOOP;
	IF taken > 0 THEN
		PERFORM deploydb.keep_last_failures();
	END IF;
	RETURN taken;
END
$$;
COMMENT ON FUNCTION deploydb.take_write_sample() IS
	'Writes: keeps what the counters show now, where it changed, and returns the number of rows';
REVOKE ALL ON FUNCTION deploydb.take_write_sample() FROM PUBLIC;

-- Of the hour that comes next, the last sample in each five minutes; its
-- latency takes those of the others.  What was counted is cumulative, so that
-- no attempt is lost: a period may begin up to five minutes earlier.
CREATE FUNCTION deploydb.thin_write_sample(target integer, start timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	width interval := '5 minutes';
	until timestamptz := start + interval '1 hour';
	thinned bigint;
BEGIN
	WITH bins AS MATERIALIZED (
		SELECT s.since, min(s.at) AS first, max(s.at) AS last,
			deploydb.histogram_sum(array_agg(s.latency)) AS latency
		FROM deploydb.write_sample s
		WHERE s.target = target AND s.at >= start AND s.at < until
		GROUP BY s.since, date_bin(width, s.at, start)
		HAVING count(*) > 1
	), kept AS (
		UPDATE deploydb.write_sample s SET latency = b.latency
		FROM bins b
		WHERE s.target = target AND s.at = b.last
	)
	DELETE FROM deploydb.write_sample s
	USING bins b
	WHERE s.target = target AND s.since = b.since AND s.at >= b.first AND s.at < b.last;
	GET DIAGNOSTICS thinned = ROW_COUNT;
	UPDATE deploydb.write_target t SET thinned_until = until WHERE t.target = target;
	RETURN thinned;
END
$$;
COMMENT ON FUNCTION deploydb.thin_write_sample(integer, timestamptz) IS
	'Writes: keeps one sample of a table in five minutes for an hour; a part of thin_write_samples()';
REVOKE ALL ON FUNCTION deploydb.thin_write_sample(integer, timestamptz) FROM PUBLIC;

-- An hour of each table in a call, once all of it is older than an hour.
CREATE FUNCTION deploydb.thin_write_samples(at timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	due record;
	thinned bigint := 0;
BEGIN
	FOR due IN
		SELECT t.target, GREATEST(date_trunc('hour', n.at, 'UTC'), t.thinned_until) AS start
		FROM deploydb.write_target t
			CROSS JOIN LATERAL (
				SELECT s.at FROM deploydb.write_sample s
				WHERE s.target = t.target AND s.at >= t.thinned_until
				ORDER BY s.at LIMIT 1) AS n
		WHERE n.at < thin_write_samples.at - interval '2 hours'
	LOOP
		thinned := thinned + deploydb.thin_write_sample(due.target, due.start);
	END LOOP;
	RETURN thinned;
END
$$;
COMMENT ON FUNCTION deploydb.thin_write_samples(timestamptz) IS
	'Writes: keeps one sample of each table in five minutes, of an hour at a time that has gone an hour before, and returns the number of rows that went';
REVOKE ALL ON FUNCTION deploydb.thin_write_samples(timestamptz) FROM PUBLIC;

-- Of what is older, an epoch that goes on keeps its last sample: periods begin
-- there.  Any of the last 16 may: that of a server which was the primary before
-- goes on when it is again.
CREATE FUNCTION deploydb.purge_writes(before timestamptz, max_rows integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	purged bigint := 0;
	gone bigint;
BEGIN
	DELETE FROM deploydb.write_epoch e
	WHERE e.at < before
		AND e.at < (SELECT n.at FROM deploydb.write_epoch n WHERE n.target = e.target ORDER BY n.at DESC OFFSET 15 LIMIT 1);
	DELETE FROM deploydb.write_sample s
	WHERE s.ctid = ANY (ARRAY(
		SELECT o.ctid FROM deploydb.write_target t
			CROSS JOIN LATERAL (
				SELECT s.ctid FROM deploydb.write_sample s
				WHERE s.target = t.target AND s.at < before
					AND (EXISTS (SELECT FROM deploydb.write_sample n
							WHERE n.target = s.target AND n.since = s.since AND n.at > s.at AND n.at <= before)
						OR NOT EXISTS (SELECT FROM deploydb.write_epoch e
							WHERE e.target = s.target AND e.since = s.since))
				ORDER BY s.at LIMIT max_rows) AS o
		LIMIT max_rows));
	GET DIAGNOSTICS gone = ROW_COUNT;
	purged := purged + gone;
	DELETE FROM deploydb.write_gap g
	WHERE g.ctid = ANY (ARRAY(
		SELECT g.ctid FROM deploydb.write_gap g WHERE g.until < before LIMIT max_rows));
	GET DIAGNOSTICS gone = ROW_COUNT;
	purged := purged + gone;
	DELETE FROM deploydb.client_failure f
	WHERE f.ctid = ANY (ARRAY(
		SELECT f.ctid FROM deploydb.client_failure f WHERE f.reported_at < before LIMIT max_rows));
	GET DIAGNOSTICS gone = ROW_COUNT;
	RETURN purged + gone;
END
$$;
COMMENT ON FUNCTION deploydb.purge_writes(timestamptz, integer) IS
	'Writes: removes samples, gaps and reports that are older, as many rows of each at most, and returns their number';
REVOKE ALL ON FUNCTION deploydb.purge_writes(timestamptz, integer) FROM PUBLIC;

-- What CREATE EXTENSION tracks.
DO $$
BEGIN
	PERFORM deploydb.begin_first_epoch(t.schema, t.name) FROM deploydb.tracked_table t;
END
$$;
