/*
 * alert_state.h
 *		What an evaluation reads and writes: deploydb.alert_state and
 *		deploydb.alert_event.
 *
 * Gives: a state out of its row, and lists of changes, however long, that
 * are written by a few statements.
 * Needs: evaluation, rule, owner (the scope must be open).
 */
#ifndef DEPLOYDB_ALERT_STATE_H
#define DEPLOYDB_ALERT_STATE_H

#include "alerts/evaluation.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

/* A part of a SELECT from deploydb.alert_state s; in the order of the enum. */
#define STATE_COLUMNS \
	"s.metric, s.status, s.since, s.violations, s.recoveries, s.counted_at," \
	" s.violating_since, s.missing_since, s.started_at, s.recorded, s.told," \
	" s.silenced, s.without_data, s.told_at, s.acknowledged, s.severity, s.fingerprint," \
	" s.value, s.slope, s.window_points"

enum StateColumn
{
	STATE_METRIC, STATE_STATUS, STATE_SINCE, STATE_VIOLATIONS,
	STATE_RECOVERIES, STATE_COUNTED_AT, STATE_VIOLATING_SINCE,
	STATE_MISSING_SINCE, STATE_STARTED_AT, STATE_RECORDED, STATE_TOLD,
	STATE_SILENCED, STATE_WITHOUT_DATA, STATE_TOLD_AT, STATE_ACKNOWLEDGED,
	STATE_SEVERITY, STATE_FINGERPRINT, STATE_VALUE, STATE_SLOPE, STATE_WINDOW_POINTS,
	STATE_COLUMN_COUNT
};

/* One thing to be written; the strings live as long as the list. */
typedef struct AlertChange
{
	const char *rule;
	const char *series;
	const char *metric;
	ItemPointer place;			/* of the state's row, or NULL */
	const AlertState *state;	/* NULL: there is no state any more */
	const AlertEvent *event;	/* NULL for none */
	const char *message;		/* NULL where it stays what it was */
	bool		has_threshold;
	double		threshold;
	const Datum *labels;		/* jsonb, of the rule, or NULL for none */
	const char *runbook;		/* or NULL */
} AlertChange;

/* A window has room for what a trend can need; others have none. */
extern void alert_state_read(const Datum *values, const bool *nulls,
							 bool trend, AlertState *state);
extern void alert_state_init(bool trend, AlertState *state);

/* Writes the list of AlertChange *, in its order. */
extern void alert_changes_write(List *changes, TimestampTz now);

#endif							/* DEPLOYDB_ALERT_STATE_H */
