-- Alerts: what became of the rules.

CREATE TABLE deploydb.alert_event (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	rule text NOT NULL,
	series text NOT NULL DEFAULT '',
	metric text NOT NULL,
	severity text NOT NULL CHECK (severity OPERATOR(pg_catalog.=) ANY (ARRAY['P0', 'P1', 'P2', 'P3'])),
	status text NOT NULL CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['firing', 'resolved'])),
	reason text NOT NULL CHECK (reason OPERATOR(pg_catalog.=) ANY (ARRAY['new', 'changed', 'repeat', 'held',
		'no_data', 'resolved'])),
	value double precision,
	threshold double precision,
	trend_slope double precision,
	message text NOT NULL,
	labels jsonb NOT NULL DEFAULT '{}',
	runbook text,
	started_at timestamptz NOT NULL,
	occurred_at timestamptz NOT NULL,
	silenced boolean NOT NULL DEFAULT false
);

CREATE INDEX alert_event_occurred_at_idx ON deploydb.alert_event (occurred_at);

COMMENT ON TABLE deploydb.alert_event IS
'Alerts: each change of a rule''s state that is worth a message; started_at is when it began to fire, silenced that nobody is told';

REVOKE ALL ON deploydb.alert_event FROM PUBLIC;
GRANT SELECT ON deploydb.alert_event TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.alert_event_id_seq TO pg_monitor, pg_database_owner;
