
--
-- Writes: histograms of durations, as texts
--

CREATE FUNCTION deploydb.histogram_subtract(newer text, older text)
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_histogram_subtract'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.histogram_subtract(text, text) IS
	'Writes: the durations that came between two histograms';
REVOKE ALL ON FUNCTION deploydb.histogram_subtract(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.histogram_subtract(text, text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.histogram_quantiles(histograms text[],
	OUT p50_ms double precision, OUT p95_ms double precision,
	OUT p99_ms double precision)
AS 'MODULE_PATHNAME', 'deploydb_histogram_quantiles'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.histogram_quantiles(text[]) IS
	'Writes: percentiles of several histograms together, in milliseconds';
REVOKE ALL ON FUNCTION deploydb.histogram_quantiles(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.histogram_quantiles(text[]) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.histogram_sum(histograms text[])
RETURNS text
AS 'MODULE_PATHNAME', 'deploydb_histogram_sum'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION deploydb.histogram_sum(text[]) IS
	'Writes: several histograms together';
REVOKE ALL ON FUNCTION deploydb.histogram_sum(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.histogram_sum(text[]) TO pg_monitor, pg_database_owner;
