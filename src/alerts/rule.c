/*
 * rule.c
 *		Rules as rows, made ready for evaluation.
 *
 * The constraints of the tables hold already what is checked here; who evades
 * them shall not crash the monitor.
 *
 * Locking: none.  Errors: none; what cannot be is said.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"

#include "alerts/rule.h"
#include "compat.h"
#include "settings.h"

/* Of a metric that nobody declared. */
#define STALE_AFTER_SECONDS (5 * SECS_PER_MINUTE)
#define STALE_INTERVALS 3

static const char *const kinds[] = {"threshold", "trend"};
static const char *const severities[] = {"P0", "P1", "P2", "P3"};
static const char *const comparisons[] = {">", ">=", "<", "<=", "==", "!="};
static const char *const directions[] = {"increasing", "decreasing"};
static const char *const policies[] = {"keep", "alert", "ok"};

int64
rule_stale_us(const Datum *values, const bool *nulls)
{
	int64		seconds = nulls[RULE_STALE_AFTER_SECONDS] ? STALE_AFTER_SECONDS :
		DatumGetInt32(values[RULE_STALE_AFTER_SECONDS]);

	return Max(seconds * USECS_PER_SEC, STALE_INTERVALS * INT64CONST(1000) *
			   deploydb_metrics_collection_interval);
}

int
text_position(Datum text, const char *const *names, int count)
{
	const struct varlena *value = PG_DETOAST_DATUM_PACKED(text);
	size_t		length = VARSIZE_ANY_EXHDR(value);

	for (int i = 0; i < count; i++)
		if (length == strlen(names[i]) &&
			memcmp(VARDATA_ANY(value), names[i], length) == 0)
			return i;
	return -1;
}

const char *
severity_name(int severity)
{
	return severities[severity];
}

int
severity_number(Datum text)
{
	return text_position(text, severities, lengthof(severities));
}

const char *
comparison_name(Comparison comparison)
{
	return comparisons[comparison];
}

static const char *
threshold_condition(const Datum *values, const bool *nulls, Condition *c)
{
	int			comparison;

	if (nulls[RULE_COMPARISON] || nulls[RULE_THRESHOLD])
		return "a threshold rule needs a comparison and a threshold";
	comparison = text_position(values[RULE_COMPARISON], comparisons,
							   lengthof(comparisons));
	if (comparison < 0)
		return "the comparison is unknown";
	c->comparison = (Comparison) comparison;
	c->threshold = DatumGetFloat8(values[RULE_THRESHOLD]);
	c->resolve_threshold = nulls[RULE_RESOLVE_THRESHOLD] ? c->threshold :
		DatumGetFloat8(values[RULE_RESOLVE_THRESHOLD]);
	if (!isfinite(c->threshold) || !isfinite(c->resolve_threshold))
		return "the threshold is not a finite number";
	return NULL;
}

static const char *
trend_condition(const Datum *values, const bool *nulls, Condition *c)
{
	int			direction;

	if (nulls[RULE_DIRECTION] || nulls[RULE_MIN_SLOPE] ||
		nulls[RULE_WINDOW_SAMPLES])
		return "a trend rule needs a direction, a min_slope and window_samples";
	direction = text_position(values[RULE_DIRECTION], directions,
							  lengthof(directions));
	if (direction < 0)
		return "the direction is unknown";
	c->decreasing = (direction == 1);
	c->min_slope = DatumGetFloat8(values[RULE_MIN_SLOPE]);
	c->window_samples = DatumGetInt32(values[RULE_WINDOW_SAMPLES]);
	c->floor = nulls[RULE_FLOOR] ? -INFINITY : DatumGetFloat8(values[RULE_FLOOR]);
	if (!isfinite(c->min_slope) || isnan(c->floor))
		return "the slope or the floor is not a number";
	if (c->window_samples < 2 || c->window_samples > MAX_WINDOW_SAMPLES)
		return "window_samples is not from 2 to 100";
	return NULL;
}

const char *
rule_condition(const Datum *values, const bool *nulls, Condition *c)
{
	int			kind;
	int			policy;

	memset(c, 0, sizeof(*c));
	for (int i = RULE_CONSECUTIVE_PERIODS; i <= RULE_COOLDOWN_SECONDS; i++)
		if (nulls[i])
			return "a number of periods or seconds is missing";
	if (nulls[RULE_METRIC] || nulls[RULE_KIND] || nulls[RULE_SEVERITY] ||
		nulls[RULE_RESOLVE_PERIODS] || nulls[RULE_NO_DATA])
		return "metric, kind, severity, resolve_periods or no_data is missing";

	kind = text_position(values[RULE_KIND], kinds, lengthof(kinds));
	c->severity = severity_number(values[RULE_SEVERITY]);
	policy = text_position(values[RULE_NO_DATA], policies, lengthof(policies));
	if (kind < 0 || c->severity < 0 || policy < 0)
		return "the kind, severity or policy without data is unknown";
	c->trend = (kind == 1);
	c->no_data = (NoDataPolicy) policy;
	c->consecutive_periods = DatumGetInt32(values[RULE_CONSECUTIVE_PERIODS]);
	c->resolve_periods = DatumGetInt32(values[RULE_RESOLVE_PERIODS]);
	c->for_us = DatumGetInt32(values[RULE_FOR_SECONDS]) * USECS_PER_SEC;
	c->cooldown_us = DatumGetInt32(values[RULE_COOLDOWN_SECONDS]) * USECS_PER_SEC;
	if (c->consecutive_periods < 1 || c->resolve_periods < 1 ||
		c->for_us < 0 || c->cooldown_us < 0)
		return "a number of periods is below 1, or one of seconds below 0";
	return c->trend ? trend_condition(values, nulls, c) :
		threshold_condition(values, nulls, c);
}
