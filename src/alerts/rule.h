/*
 * rule.h
 *		Rules as rows, made ready for evaluation.
 *
 * Gives: the columns of deploydb.alert_rule that an evaluation needs, and a
 * Rule of them.
 * Needs: evaluation, settings.
 */
#ifndef DEPLOYDB_RULE_H
#define DEPLOYDB_RULE_H

#include "alerts/evaluation.h"

/* Rules with the metrics they are about. */
#define RULE_TABLES \
	"deploydb.alert_rule r LEFT JOIN deploydb.metric m ON m.name = r.metric"

/* A part of a SELECT from these; in the order of the enum. */
#define RULE_COLUMNS \
	"r.id, r.metric, r.kind, r.severity, r.comparison, r.threshold," \
	" r.direction, r.min_slope, r.window_samples, r.floor," \
	" r.consecutive_periods, r.for_seconds, r.cooldown_seconds," \
	" r.resolve_threshold, r.resolve_periods, r.no_data, r.parent," \
	" r.labels, r.message_en, r.message_zh, r.runbook," \
	" r.enabled AND r.fault IS NULL, m.stale_after_seconds"

enum RuleColumn
{
	RULE_ID, RULE_METRIC, RULE_KIND, RULE_SEVERITY, RULE_COMPARISON,
	RULE_THRESHOLD, RULE_DIRECTION, RULE_MIN_SLOPE, RULE_WINDOW_SAMPLES,
	RULE_FLOOR, RULE_CONSECUTIVE_PERIODS, RULE_FOR_SECONDS,
	RULE_COOLDOWN_SECONDS, RULE_RESOLVE_THRESHOLD, RULE_RESOLVE_PERIODS,
	RULE_NO_DATA, RULE_PARENT, RULE_LABELS, RULE_MESSAGE_EN, RULE_MESSAGE_ZH,
	RULE_RUNBOOK, RULE_ENABLED, RULE_STALE_AFTER_SECONDS,
	RULE_COLUMN_COUNT
};

/*
 * Fills condition; or gives why the row, which evaded its table's
 * constraints, cannot be evaluated.
 */
extern const char *rule_condition(const Datum *values, const bool *nulls,
								  Condition *condition);

/* A value that is older is none: the metric says so, or some intervals. */
extern int64 rule_stale_us(const Datum *values, const bool *nulls);

/* Position of a text among names, or -1. */
extern int	text_position(Datum text, const char *const *names, int count);

/* "P0" to "P3" */
extern const char *severity_name(int severity);
extern int	severity_number(Datum text);

/* The operator as it is written in a rule. */
extern const char *comparison_name(Comparison comparison);

/* In builtin_messages.c: UTF-8, or NULL. */
extern const char *builtin_message_zh(const char *rule);

#endif							/* DEPLOYDB_RULE_H */
