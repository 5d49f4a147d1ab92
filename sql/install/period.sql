
--
-- Writes: periods, as texts that interval takes
--

CREATE FUNCTION deploydb.period_start(period text)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET intervalstyle = postgres
AS $$
DECLARE
	now timestamptz := clock_timestamp();
	start timestamptz;
BEGIN
	BEGIN
		start := now - period::interval;
	EXCEPTION WHEN data_exception THEN
		start := NULL;
	END;
	IF start IS NULL OR NOT isfinite(start) OR start >= now THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN period IS NULL THEN 'period must not be NULL'
				ELSE format('invalid period: "%s"', period) END,
			DETAIL = 'A period is longer than nothing, and begins when there were dates.',
			HINT = 'Write it as an interval, such as ''24 hours'' or ''7 days''.';
	END IF;
	RETURN start;
END
$$;
COMMENT ON FUNCTION deploydb.period_start(text) IS
	'Writes: when a period that ends now began';
REVOKE ALL ON FUNCTION deploydb.period_start(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.period_start(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.grace_start(grace text)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET intervalstyle = postgres
AS $$
DECLARE
	now timestamptz := clock_timestamp();
	start timestamptz;
BEGIN
	BEGIN
		start := now - grace::interval;
	EXCEPTION WHEN data_exception THEN
		start := NULL;
	END;
	IF start IS NULL OR NOT isfinite(start) OR start > now THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN grace IS NULL THEN 'grace must not be NULL'
				ELSE format('invalid grace: "%s"', grace) END,
			DETAIL = 'It is nothing or longer, and begins when there were dates.',
			HINT = 'Write it as an interval, such as ''3 seconds''.';
	END IF;
	RETURN start;
END
$$;
COMMENT ON FUNCTION deploydb.grace_start(text) IS
	'Writes: when what may still be under way began';
REVOKE ALL ON FUNCTION deploydb.grace_start(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.grace_start(text) TO pg_monitor, pg_database_owner;

-- A month is of no fixed length, so that buckets are at most of weeks.
CREATE FUNCTION deploydb.bucket_seconds(bucket text)
RETURNS double precision
LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET intervalstyle = postgres
AS $$
DECLARE
	seconds double precision;
BEGIN
	BEGIN
		IF extract(year FROM bucket::interval) = 0 AND extract(month FROM bucket::interval) = 0 THEN
			seconds := extract(epoch FROM bucket::interval);
		END IF;
	EXCEPTION WHEN data_exception THEN
		seconds := NULL;
	END;
	IF seconds IS NULL OR seconds < 1 OR seconds > 36525 * 86400.0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN bucket IS NULL THEN 'bucket must not be NULL'
				ELSE format('invalid bucket: "%s"', bucket) END,
			DETAIL = 'A bucket is of one second to 36525 days, without months and years.',
			HINT = 'Write it as an interval, such as ''1 hour'' or ''5 minutes''.';
	END IF;
	RETURN seconds;
END
$$;
COMMENT ON FUNCTION deploydb.bucket_seconds(text) IS
	'Writes: the length of a bucket of time';
REVOKE ALL ON FUNCTION deploydb.bucket_seconds(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.bucket_seconds(text) TO pg_monitor, pg_database_owner;
