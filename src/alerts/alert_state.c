/*
 * alert_state.c
 *		What an evaluation reads and writes.
 *
 * Locking: what an INSERT takes; who evaluates holds the tick's lock, so that
 * nobody else writes these rows but those who acknowledge.
 * Errors: those of the statements.  A row that makes no sense is read as one
 * of which nothing is known.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alerts/alert_state.h"
#include "alerts/rule.h"
#include "verify/owner.h"

/* Arrays that become the parameters of one statement. */
typedef struct Column
{
	Oid			type;
	Datum	   *values;
	bool	   *nulls;
	int			count;
} Column;

#define STATE_PARAMETERS 21

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
	state->told_at = time_or_none(values, nulls, STATE_TOLD_AT);
	state->acknowledged = DatumGetBool(values[STATE_ACKNOWLEDGED]);
	state->severity = Max(severity_number(values[STATE_SEVERITY]), 0);
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

static Column *
make_columns(const Oid *types, int count, int rows)
{
	Column	   *columns = palloc(sizeof(Column) * count);

	for (int i = 0; i < count; i++)
	{
		columns[i].type = types[i];
		columns[i].values = palloc(sizeof(Datum) * rows);
		columns[i].nulls = palloc(sizeof(bool) * rows);
		columns[i].count = 0;
	}
	return columns;
}

static void
put(Column *column, bool known, Datum value)
{
	column->values[column->count] = value;
	column->nulls[column->count++] = !known;
}

static void
put_text(Column *column, const char *text)
{
	put(column, text != NULL, text ? CStringGetTextDatum(text) : (Datum) 0);
}

static void
put_time(Column *column, TimestampTz time)
{
	put(column, time != 0, TimestampTzGetDatum(time));
}

static void
put_number(Column *column, bool known, double number)
{
	put(column, known, known ? Float8GetDatum(number) : (Datum) 0);
}

static Datum
column_array(const Column *column, Oid *type)
{
	int			dimension = column->count;
	int			bound = 1;
	bool		by_value = true;
	int16		length;
	char		align;

	switch (column->type)
	{
		case TEXTOID:
			*type = TEXTARRAYOID;
			length = -1;
			align = TYPALIGN_INT;
			by_value = false;
			break;
		case BOOLOID:
			*type = BOOLARRAYOID;
			length = sizeof(bool);
			align = TYPALIGN_CHAR;
			break;
		case INT4OID:
			*type = INT4ARRAYOID;
			length = sizeof(int32);
			align = TYPALIGN_INT;
			break;
		case FLOAT8OID:
			*type = FLOAT8ARRAYOID;
			length = sizeof(float8);
			align = TYPALIGN_DOUBLE;
			by_value = FLOAT8PASSBYVAL;
			break;
		default:
			*type = TIMESTAMPTZARRAYOID;
			length = sizeof(TimestampTz);
			align = TYPALIGN_DOUBLE;
			by_value = FLOAT8PASSBYVAL;
			break;
	}
	return PointerGetDatum(construct_md_array(column->values, column->nulls, 1,
											  &dimension, &bound, column->type,
											  length, by_value, align));
}

static void
execute_with_columns(SPIPlanPtr *plan, const char *sql, int expected,
					 const Column *columns, int count)
{
	Oid			types[STATE_PARAMETERS];
	Datum		values[STATE_PARAMETERS];

	Assert(count <= STATE_PARAMETERS);
	for (int i = 0; i < count; i++)
		values[i] = column_array(&columns[i], &types[i]);
	owner_execute(plan, sql, expected, count, types, values, NULL);
}

static void
put_state(Column *column, const AlertChange *change)
{
	const AlertState *s = change->state;

	put_text(column++, change->rule);
	put_text(column++, change->series);
	put_text(column++, change->metric);
	put_text(column++, alert_status_name(s->status));
	put_time(column++, s->since);
	put(column++, true, Int32GetDatum(s->violations));
	put(column++, true, Int32GetDatum(s->recoveries));
	put_time(column++, s->counted_at);
	put_time(column++, s->violating_since);
	put_time(column++, s->missing_since);
	put_time(column++, s->started_at);
	put(column++, true, BoolGetDatum(s->recorded));
	put(column++, true, BoolGetDatum(s->told));
	put_time(column++, s->told_at);
	put(column++, true, BoolGetDatum(s->acknowledged));
	put_text(column++, severity_name(s->severity));
	put_text(column++, s->fingerprint);
	put_number(column++, s->has_value, s->value);
	put_number(column++, s->has_slope, s->slope);
	put_text(column++, s->window_used > 0 ? window_text(s) : "");
	put_text(column++, change->message);
}

static void
write_states(List *changes)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[STATE_PARAMETERS] = {TEXTOID, TEXTOID, TEXTOID,
		TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID, TIMESTAMPTZOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, BOOLOID,
		TIMESTAMPTZOID, BOOLOID, TEXTOID, TEXTOID, FLOAT8OID, FLOAT8OID,
		TEXTOID, TEXTOID
	};
	Column	   *columns = make_columns(types, STATE_PARAMETERS,
									   list_length(changes));
	ListCell   *lc;

	foreach(lc, changes)
	{
		const AlertChange *change = lfirst(lc);

		if (change->state != NULL)
			put_state(columns, change);
	}
	if (columns[0].count == 0)
		return;
	execute_with_columns(&plan,
						 "INSERT INTO deploydb.alert_state AS s (rule, series, metric, status, since,"
						 " violations, recoveries, counted_at, violating_since, missing_since,"
						 " started_at, recorded, told, told_at, acknowledged, severity, fingerprint,"
						 " value, slope, window_points, message)"
						 " SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
						 " $13, $14, $15, $16, $17, $18, $19, $20, $21)"
						 " ON CONFLICT ON CONSTRAINT alert_state_pkey DO UPDATE SET"
						 " metric = EXCLUDED.metric, status = EXCLUDED.status,"
						 " since = EXCLUDED.since, violations = EXCLUDED.violations,"
						 " recoveries = EXCLUDED.recoveries, counted_at = EXCLUDED.counted_at,"
						 " violating_since = EXCLUDED.violating_since,"
						 " missing_since = EXCLUDED.missing_since,"
						 " started_at = EXCLUDED.started_at, recorded = EXCLUDED.recorded,"
						 " told = EXCLUDED.told, told_at = EXCLUDED.told_at,"
						 " acknowledged = EXCLUDED.acknowledged, severity = EXCLUDED.severity,"
						 " fingerprint = EXCLUDED.fingerprint, value = EXCLUDED.value,"
						 " slope = EXCLUDED.slope, window_points = EXCLUDED.window_points,"
						 " message = COALESCE(EXCLUDED.message, s.message)",
						 SPI_OK_INSERT, columns, STATE_PARAMETERS);
}

static void
delete_states(List *changes)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[2] = {TEXTOID, TEXTOID};
	Column	   *columns = make_columns(types, 2, list_length(changes));
	ListCell   *lc;

	foreach(lc, changes)
	{
		const AlertChange *change = lfirst(lc);

		if (change->state != NULL)
			continue;
		put_text(&columns[0], change->rule);
		put_text(&columns[1], change->series);
	}
	if (columns[0].count == 0)
		return;
	execute_with_columns(&plan,
						 "DELETE FROM deploydb.alert_state s USING unnest($1, $2) AS gone (rule, series)"
						 " WHERE s.rule = gone.rule AND s.series = gone.series",
						 SPI_OK_DELETE, columns, 2);
}

static void
put_event(Column *column, const AlertChange *change, TimestampTz now)
{
	const AlertEvent *e = change->event;

	put_text(column++, change->rule);
	put_text(column++, change->series);
	put_text(column++, change->metric);
	put_text(column++, severity_name(e->severity));
	put_text(column++, e->resolved ? "resolved" : "firing");
	put_text(column++, event_reason_name(e->reason));
	put_number(column++, e->has_value, e->value);
	put_number(column++, change->has_threshold, change->threshold);
	put_number(column++, e->has_slope, e->slope);
	put_text(column++, change->message);
	put_text(column++, change->labels);
	put_text(column++, change->runbook);
	put_time(column++, e->started_at);
	put_time(column++, now);
	put(column++, true, BoolGetDatum(e->silenced));
}

static void
write_events(List *changes, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		TEXTOID, FLOAT8OID, FLOAT8OID, FLOAT8OID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID};
	Column	   *columns = make_columns(types, lengthof(types),
									   list_length(changes));
	ListCell   *lc;

	foreach(lc, changes)
	{
		const AlertChange *change = lfirst(lc);

		if (change->event != NULL)
			put_event(columns, change, now);
	}
	if (columns[0].count == 0)
		return;
	execute_with_columns(&plan,
						 "INSERT INTO deploydb.alert_event (rule, series, metric, severity, status,"
						 " reason, value, threshold, trend_slope, message, labels, runbook,"
						 " started_at, occurred_at, silenced)"
						 " SELECT e.rule, e.series, e.metric, e.severity, e.status, e.reason,"
						 " e.value, e.threshold, e.trend_slope, e.message, e.labels::jsonb"
						 " || CASE WHEN e.series = '' THEN '{}' ELSE jsonb_build_object('series', e.series) END"
						 " || c.labels, e.runbook, e.started_at, e.occurred_at, e.silenced"
						 " FROM (SELECT deploydb.common_labels() AS labels OFFSET 0) c,"
						 " unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
						 " WITH ORDINALITY AS e (rule, series, metric, severity, status, reason,"
						 " value, threshold, trend_slope, message, labels, runbook, started_at,"
						 " occurred_at, silenced, position)"
						 " ORDER BY e.position",
						 SPI_OK_INSERT, columns, lengthof(types));
}

void
alert_changes_write(List *changes, TimestampTz now)
{
	if (changes == NIL)
		return;
	delete_states(changes);
	write_states(changes);
	write_events(changes, now);
}
