/*
 * alert_state.c
 *		What an evaluation reads and writes.
 *
 * Locking: what an INSERT takes; who evaluates, and who acknowledges, has the
 * turn to evaluate, so that nobody else writes these rows.
 * Errors: those of the statements.  A row that makes no sense is read as one
 * of which nothing is known.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "alerts/alert_state.h"
#include "alerts/rule.h"
#include "verify/owner.h"

#define ROW_COLUMNS_MAX 24

typedef struct RowColumn
{
	const char *name;
	Oid			type;
} RowColumn;

/* Rows that statements read as if they were a table of that name. */
typedef struct RowSet
{
	EphemeralNamedRelationData relation;
	Tuplestorestate *store;

	/* the row that is being filled */
	int			filled;
	Datum		values[ROW_COLUMNS_MAX];
	bool		nulls[ROW_COLUMNS_MAX];
} RowSet;

static const RowColumn state_columns[] = {
	{"place", TIDOID}, {"rule", TEXTOID}, {"series", TEXTOID},
	{"metric", TEXTOID}, {"status", TEXTOID}, {"since", TIMESTAMPTZOID},
	{"violations", INT4OID}, {"recoveries", INT4OID},
	{"counted_at", TIMESTAMPTZOID}, {"violating_since", TIMESTAMPTZOID},
	{"missing_since", TIMESTAMPTZOID}, {"started_at", TIMESTAMPTZOID},
	{"recorded", BOOLOID}, {"told", BOOLOID}, {"silenced", BOOLOID},
	{"without_data", BOOLOID}, {"told_at", TIMESTAMPTZOID},
	{"acknowledged", BOOLOID}, {"severity", TEXTOID}, {"fingerprint", TEXTOID},
	{"value", FLOAT8OID}, {"slope", FLOAT8OID}, {"window_points", TEXTOID},
	{"message", TEXTOID}
};

static const RowColumn event_columns[] = {
	{"rule", TEXTOID}, {"series", TEXTOID}, {"metric", TEXTOID},
	{"severity", TEXTOID}, {"status", TEXTOID}, {"reason", TEXTOID},
	{"value", FLOAT8OID}, {"threshold", FLOAT8OID}, {"trend_slope", FLOAT8OID},
	{"message", TEXTOID}, {"labels", JSONBOID}, {"runbook", TEXTOID},
	{"started_at", TIMESTAMPTZOID}, {"occurred_at", TIMESTAMPTZOID},
	{"silenced", BOOLOID}
};

static TimestampTz
time_or_none(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? 0 : DatumGetTimestampTz(values[column]);
}

/* "microseconds value" of each point, separated by commas */
static void
read_window(const char *text, AlertState *state)
{
	while (*text && state->window_used < MAX_WINDOW_SAMPLES)
	{
		TrendPoint *point = &state->window[state->window_used];
		char	   *end;

		point->at = strtoi64(text, &end, 10);
		if (end == text || *end != ' ')
			break;
		text = end + 1;
		point->value = strtod(text, &end);
		if (end == text || (*end != ',' && *end != '\0') ||
			(state->window_used > 0 && point->at <= state->window_end))
			break;
		text = *end ? end + 1 : end;
		state->window_used++;
		state->window_end = point->at;
	}
}

static char *
window_text(const AlertState *state)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < state->window_used; i++)
	{
		char		value[DOUBLE_SHORTEST_DECIMAL_LEN];

		double_to_shortest_decimal_buf(state->window[i].value, value);
		appendStringInfo(&out, "%s" INT64_FORMAT " %s", i > 0 ? "," : "",
						 state->window[i].at, value);
	}
	return out.data;
}

void
alert_state_init(bool trend, AlertState *state)
{
	memset(state, 0, sizeof(*state));
	state->severity = NO_SEVERITY;
	state->fingerprint = "";
	if (trend)
		state->window = palloc(sizeof(TrendPoint) * MAX_WINDOW_SAMPLES);
}

void
alert_state_read(const Datum *values, const bool *nulls, bool trend,
				 AlertState *state)
{
	const char *names[ALERT_NO_DATA + 1];
	int			status;

	for (int i = 0; i <= ALERT_NO_DATA; i++)
		names[i] = alert_status_name((AlertStatus) i);
	alert_state_init(trend, state);
	if (nulls[STATE_STATUS])
		return;
	status = text_position(values[STATE_STATUS], names, lengthof(names));
	state->status = status < 0 ? ALERT_WARMING : (AlertStatus) status;
	state->since = time_or_none(values, nulls, STATE_SINCE);
	state->violations = DatumGetInt32(values[STATE_VIOLATIONS]);
	state->recoveries = DatumGetInt32(values[STATE_RECOVERIES]);
	state->counted_at = time_or_none(values, nulls, STATE_COUNTED_AT);
	state->violating_since = time_or_none(values, nulls, STATE_VIOLATING_SINCE);
	state->missing_since = time_or_none(values, nulls, STATE_MISSING_SINCE);
	state->started_at = time_or_none(values, nulls, STATE_STARTED_AT);
	state->recorded = DatumGetBool(values[STATE_RECORDED]);
	state->told = DatumGetBool(values[STATE_TOLD]);
	state->silenced = DatumGetBool(values[STATE_SILENCED]);
	state->without_data = DatumGetBool(values[STATE_WITHOUT_DATA]);
	state->told_at = time_or_none(values, nulls, STATE_TOLD_AT);
	state->acknowledged = DatumGetBool(values[STATE_ACKNOWLEDGED]);
	if (!nulls[STATE_SEVERITY])
		state->severity = severity_number(values[STATE_SEVERITY]);
	if (VARSIZE_ANY_EXHDR(DatumGetPointer(values[STATE_FINGERPRINT])) > 0)
		state->fingerprint = TextDatumGetCString(values[STATE_FINGERPRINT]);
	state->has_value = !nulls[STATE_VALUE];
	if (state->has_value)
		state->value = DatumGetFloat8(values[STATE_VALUE]);
	state->has_slope = !nulls[STATE_SLOPE];
	if (state->has_slope)
		state->slope = DatumGetFloat8(values[STATE_SLOPE]);
	if (trend)
		read_window(TextDatumGetCString(values[STATE_WINDOW_POINTS]), state);
}

/* ---- writing --------------------------------------------------------------- */

static RowSet *
rows_begin(const char *name, const RowColumn *columns, int count)
{
	RowSet	   *rows = palloc0(sizeof(RowSet));
	List	   *names = NIL;
	List	   *types = NIL;
	List	   *typmods = NIL;
	List	   *collations = NIL;

	Assert(count <= ROW_COLUMNS_MAX);
	for (int i = 0; i < count; i++)
	{
		names = lappend(names, makeString(pstrdup(columns[i].name)));
		types = lappend_oid(types, columns[i].type);
		typmods = lappend_int(typmods, -1);
		collations = lappend_oid(collations, get_typcollation(columns[i].type));
	}
	rows->store = tuplestore_begin_heap(false, false, work_mem);
	rows->relation.md.name = pstrdup(name);
	rows->relation.md.tupdesc = BuildDescFromLists(names, types, typmods, collations);
	rows->relation.md.enrtype = ENR_NAMED_TUPLESTORE;
	rows->relation.md.enrtuples = 10;
	rows->relation.reldata = rows->store;
	return rows;
}

static void
rows_add(RowSet *rows)
{
	Assert(rows->filled == rows->relation.md.tupdesc->natts);
	tuplestore_putvalues(rows->store, rows->relation.md.tupdesc, rows->values,
						 rows->nulls);
	rows->filled = 0;
}

static void
rows_register(RowSet *rows)
{
	int			code = SPI_register_relation(&rows->relation);

	if (code != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register \"%s\": %s", rows->relation.md.name,
			 SPI_result_code_string(code));
}

static void
rows_end(RowSet *rows)
{
	SPI_unregister_relation(rows->relation.md.name);
	tuplestore_end(rows->store);
}

static void
put(RowSet *rows, bool known, Datum value)
{
	rows->values[rows->filled] = value;
	rows->nulls[rows->filled++] = !known;
}

static void
put_text(RowSet *rows, const char *text)
{
	put(rows, text != NULL, text ? CStringGetTextDatum(text) : (Datum) 0);
}

static void
put_time(RowSet *rows, TimestampTz time)
{
	put(rows, time != 0, TimestampTzGetDatum(time));
}

static void
put_number(RowSet *rows, bool known, double number)
{
	put(rows, known, known ? Float8GetDatum(number) : (Datum) 0);
}

/* What has no status is deleted. */
static void
put_state(RowSet *rows, const AlertChange *change)
{
	AlertState	none = {0};
	const AlertState *s = change->state ? change->state : &none;

	alert_state_init(false, &none);
	put(rows, change->place != NULL, PointerGetDatum(change->place));
	put_text(rows, change->rule);
	put_text(rows, change->series);
	put_text(rows, change->metric);
	put_text(rows, change->state ? alert_status_name(s->status) : NULL);
	put_time(rows, s->since);
	put(rows, true, Int32GetDatum(s->violations));
	put(rows, true, Int32GetDatum(s->recoveries));
	put_time(rows, s->counted_at);
	put_time(rows, s->violating_since);
	put_time(rows, s->missing_since);
	put_time(rows, s->started_at);
	put(rows, true, BoolGetDatum(s->recorded));
	put(rows, true, BoolGetDatum(s->told));
	put(rows, true, BoolGetDatum(s->silenced));
	put(rows, true, BoolGetDatum(s->without_data));
	put_time(rows, s->told_at);
	put(rows, true, BoolGetDatum(s->acknowledged));
	put_text(rows, s->severity < NO_SEVERITY ? severity_name(s->severity) : NULL);
	put_text(rows, s->fingerprint);
	put_number(rows, s->has_value, s->value);
	put_number(rows, s->has_slope, s->slope);
	put_text(rows, s->window_used > 0 ? window_text(s) : "");
	put_text(rows, change->message);
	rows_add(rows);
}

/* Rows are where they were read, as nobody else writes them meanwhile. */
static void
change_rows(SPIPlanPtr *plan, const char *sql, int expected, int count)
{
	if (count == 0)
		return;
	owner_execute(plan, sql, expected, 0, NULL, NULL, NULL);
	if (SPI_processed != (uint64) count)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not keep the states of alerts, as somebody else changed them")));
}

static void
write_states(List *changes)
{
	static SPIPlanPtr delete_plan = NULL;
	static SPIPlanPtr update_plan = NULL;
	static SPIPlanPtr insert_plan = NULL;
	RowSet	   *rows = rows_begin("changed_state", state_columns,
								  lengthof(state_columns));
	int			deleted = 0;
	int			updated = 0;
	int			inserted = 0;
	ListCell   *lc;

	foreach(lc, changes)
	{
		const AlertChange *change = lfirst(lc);

		put_state(rows, change);
		if (change->state == NULL)
			deleted++;
		else if (change->place != NULL)
			updated++;
		else
			inserted++;
	}
	rows_register(rows);
	change_rows(&delete_plan,
				"DELETE FROM deploydb.alert_state s USING changed_state c"
				" WHERE s.ctid = c.place AND c.status IS NULL",
				SPI_OK_DELETE, deleted);
	change_rows(&update_plan,
				"UPDATE deploydb.alert_state s SET metric = c.metric, status = c.status,"
				" since = c.since, violations = c.violations, recoveries = c.recoveries,"
				" counted_at = c.counted_at, violating_since = c.violating_since,"
				" missing_since = c.missing_since, started_at = c.started_at,"
				" recorded = c.recorded, told = c.told, silenced = c.silenced,"
				" without_data = c.without_data, told_at = c.told_at,"
				" acknowledged = c.acknowledged, severity = c.severity,"
				" fingerprint = c.fingerprint, value = c.value, slope = c.slope,"
				" window_points = c.window_points, message = COALESCE(c.message, s.message)"
				" FROM changed_state c WHERE s.ctid = c.place AND c.status IS NOT NULL",
				SPI_OK_UPDATE, updated);
	change_rows(&insert_plan,
				"INSERT INTO deploydb.alert_state (rule, series, metric, status, since,"
				" violations, recoveries, counted_at, violating_since, missing_since,"
				" started_at, recorded, told, silenced, without_data, told_at, acknowledged,"
				" severity, fingerprint, value, slope, window_points, message)"
				" SELECT c.rule, c.series, c.metric, c.status, c.since, c.violations,"
				" c.recoveries, c.counted_at, c.violating_since, c.missing_since,"
				" c.started_at, c.recorded, c.told, c.silenced, c.without_data, c.told_at,"
				" c.acknowledged, c.severity, c.fingerprint, c.value, c.slope, c.window_points, c.message"
				" FROM changed_state c WHERE c.place IS NULL",
				SPI_OK_INSERT, inserted);
	rows_end(rows);
}

static void
put_event(RowSet *rows, const AlertChange *change, TimestampTz now)
{
	const AlertEvent *e = change->event;

	put_text(rows, change->rule);
	put_text(rows, change->series);
	put_text(rows, change->metric);
	put_text(rows, severity_name(e->severity));
	put_text(rows, e->resolved ? "resolved" : "firing");
	put_text(rows, event_reason_name(e->reason));
	put_number(rows, e->has_value, e->value);
	put_number(rows, change->has_threshold, change->threshold);
	put_number(rows, e->has_slope, e->slope);
	put_text(rows, change->message);
	put(rows, change->labels != NULL, change->labels ? *change->labels : (Datum) 0);
	put_text(rows, change->runbook);
	put_time(rows, e->started_at);
	put_time(rows, now);
	put(rows, true, BoolGetDatum(e->silenced));
	rows_add(rows);
}

static void
write_events(List *changes, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	RowSet	   *rows = rows_begin("new_event", event_columns,
								  lengthof(event_columns));
	bool		any = false;
	ListCell   *lc;

	foreach(lc, changes)
	{
		const AlertChange *change = lfirst(lc);

		if (change->event == NULL)
			continue;
		put_event(rows, change, now);
		any = true;
	}
	rows_register(rows);
	if (any)
		owner_execute(&plan,
					  "INSERT INTO deploydb.alert_event (rule, series, metric, severity, status,"
					  " reason, value, threshold, trend_slope, message, labels, runbook,"
					  " started_at, occurred_at, silenced)"
					  " SELECT e.rule, e.series, e.metric, e.severity, e.status, e.reason,"
					  " e.value, e.threshold, e.trend_slope, e.message,"
					  " CASE WHEN e.labels IS NULL AND e.series = '' THEN c.labels"
					  "   WHEN e.series = '' THEN e.labels || c.labels"
					  "   ELSE COALESCE(e.labels, '{}') || jsonb_build_object('series', e.series) || c.labels END,"
					  " deploydb.runbook_link(e.runbook), e.started_at, e.occurred_at, e.silenced"
					  " FROM new_event e, (SELECT deploydb.common_labels() AS labels OFFSET 0) c",
					  SPI_OK_INSERT, 0, NULL, NULL, NULL);
	rows_end(rows);
}

void
alert_changes_write(List *changes, TimestampTz now)
{
	if (changes == NIL)
		return;
	write_states(changes);
	write_events(changes, now);
}
