-- Metrics: what was measured last.

-- The newest value of each series.  A metric that knows but one has the series
-- ''.  A NULL value says that it could not be measured, and error why.
CREATE TABLE deploydb.metric_latest (
	metric text NOT NULL,
	series text NOT NULL DEFAULT '',
	at timestamptz NOT NULL,
	value double precision,
	fingerprint text,
	note text,
	severity text CHECK (severity OPERATOR(pg_catalog.=) ANY (ARRAY['P0', 'P1', 'P2', 'P3'])),
	error text,
	PRIMARY KEY (metric, series)
) WITH (fillfactor = 50);

COMMENT ON TABLE deploydb.metric_latest IS
'Monitoring: the newest value of each metric and series; a changed fingerprint is news though the value is the same';

REVOKE ALL ON deploydb.metric_latest FROM PUBLIC;
GRANT SELECT ON deploydb.metric_latest TO pg_monitor, pg_database_owner;
