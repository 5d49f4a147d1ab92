/*
 * evaluation.c
 *		What becomes of a rule.
 *
 * Locking: none.  Errors: none.  Memory: none but the caller's.
 */
#include "postgres.h"

#include <math.h>

#include "alerts/evaluation.h"
#include "common/int.h"
#include "utils/timestamp.h"

#define REPEAT_P0 (INT64CONST(1) * SECS_PER_HOUR * USECS_PER_SEC)
#define REPEAT_OTHERS (INT64CONST(4) * SECS_PER_HOUR * USECS_PER_SEC)

typedef enum Verdict
{
	VERDICT_NONE,				/* nothing to go by */
	VERDICT_HOLDS,
	VERDICT_VIOLATED
} Verdict;

static const char *const status_names[] = {
	"warming", "ok", "pending", "firing", "no_data"
};

static const char *const reason_names[] = {
	"new", "changed", "repeat", "held", "no_data", "resolved"
};

const char *
alert_status_name(AlertStatus status)
{
	return status_names[status];
}

const char *
event_reason_name(EventReason reason)
{
	return reason_names[reason];
}

bool
comparison_holds(Comparison comparison, double value, double threshold)
{
	switch (comparison)
	{
		case COMPARISON_GT:
			return value > threshold;
		case COMPARISON_GE:
			return value >= threshold;
		case COMPARISON_LT:
			return value < threshold;
		case COMPARISON_LE:
			return value <= threshold;
		case COMPARISON_EQ:
			return value == threshold;
		case COMPARISON_NE:
			/* no value is not a different one */
			return value != threshold && !isnan(value);
	}
	return false;
}

double
trend_slope(const TrendPoint *points, int count)
{
	double		mean_x = 0;
	double		mean_y = 0;
	double		covariance = 0;
	double		variance = 0;
	double		slope;

	/* Relative to the first, so that microseconds are not lost. */
	for (int i = 0; i < count; i++)
	{
		mean_x += ((double) points[i].at - (double) points[0].at) / count;
		mean_y += points[i].value / count;
	}
	for (int i = 0; i < count; i++)
	{
		double		x = (double) points[i].at - (double) points[0].at - mean_x;

		covariance += x * (points[i].value - mean_y);
		variance += x * x;
	}
	if (variance <= 0)
		return NAN;
	slope = covariance / variance * SECS_PER_MINUTE * USECS_PER_SEC;
	return isfinite(slope) ? slope : NAN;
}

bool
alert_state_equal(const AlertState *a, const AlertState *b)
{
	return a->status == b->status &&
		a->since == b->since &&
		a->violations == b->violations &&
		a->recoveries == b->recoveries &&
		a->counted_at == b->counted_at &&
		a->violating_since == b->violating_since &&
		a->missing_since == b->missing_since &&
		a->started_at == b->started_at &&
		a->recorded == b->recorded &&
		a->told == b->told &&
		a->silenced == b->silenced &&
		a->without_data == b->without_data &&
		a->acknowledged == b->acknowledged &&
		a->severity == b->severity &&
		strcmp(a->fingerprint, b->fingerprint) == 0 &&
		a->told_at == b->told_at &&
		a->window_used == b->window_used &&
		a->window_end == b->window_end;
}

/* Never overflows, however far apart. */
static int64
elapsed(TimestampTz from, TimestampTz to)
{
	int64		result;

	if (pg_sub_s64_overflow(to, from, &result))
		return to > from ? PG_INT64_MAX : PG_INT64_MIN;
	return result;
}

static void
set_status(AlertState *state, AlertStatus status, TimestampTz now)
{
	if (state->status == status && state->since != 0)
		return;
	state->status = status;
	state->since = now;
}

static void
clear_window(AlertState *state)
{
	state->window_used = 0;
	state->window_end = 0;
	state->has_slope = false;
}

static void
not_after(TimestampTz *time, TimestampTz now)
{
	if (*time != 0)				/* now may be before 2000 */
		*time = Min(*time, now);
}

/* The clock can be set back: nothing that is known happened after now. */
static void
forget_future(AlertState *state, TimestampTz now)
{
	not_after(&state->since, now);
	not_after(&state->violating_since, now);
	not_after(&state->missing_since, now);
	not_after(&state->started_at, now);
	not_after(&state->told_at, now);
}

/* ---- is it violated? ----------------------------------------------------- */

static void
add_point(const Condition *rule, AlertState *state, const Sample *sample)
{
	if (sample->at < state->window_end)
		clear_window(state);
	if (state->window_used > 0 && sample->at == state->window_end)
		return;
	if (state->window_used >= rule->window_samples)
	{
		int			keep = rule->window_samples - 1;

		memmove(state->window, state->window + state->window_used - keep,
				sizeof(TrendPoint) * keep);
		state->window_used = keep;
	}
	state->window[state->window_used].at = sample->at;
	state->window[state->window_used].value = sample->value;
	state->window_used++;
	state->window_end = sample->at;
}

static Verdict
judge_trend(const Condition *rule, AlertState *state, const Sample *sample)
{
	double		slope = NAN;

	if (isfinite(sample->value))
	{
		add_point(rule, state, sample);
		if (state->window_used >= rule->window_samples)
			slope = trend_slope(state->window, state->window_used);
	}
	state->has_slope = !isnan(slope);
	state->slope = slope;
	if (sample->value < rule->floor)
		return VERDICT_HOLDS;	/* whatever the slope is */
	if (!state->has_slope)
		return VERDICT_NONE;
	return (rule->decreasing ? -slope : slope) >= rule->min_slope ?
		VERDICT_VIOLATED : VERDICT_HOLDS;
}

static Verdict
judge(const Condition *rule, AlertState *state, const Sample *sample)
{
	state->has_value = true;
	state->value = sample->value;
	if (rule->trend)
		return judge_trend(rule, state, sample);
	return comparison_holds(rule->comparison, sample->value,
							state->started_at != 0 ?
							rule->resolve_threshold : rule->threshold) ?
		VERDICT_VIOLATED : VERDICT_HOLDS;
}

/* One more in a row, unless the sample has been counted; up to a limit. */
static void
count_sample(AlertState *state, int *count, int limit, TimestampTz at)
{
	if (*count >= limit || (*count > 0 && state->counted_at == at))
		return;
	(*count)++;
	state->counted_at = at;
}

/* A sample violates.  Have there been enough of them, and for long enough? */
static bool
count_violation(const Condition *rule, AlertState *state, const Sample *sample,
				const Circumstances *c)
{
	count_sample(state, &state->violations, rule->consecutive_periods,
				 sample->at);
	if (state->violating_since == 0)
		state->violating_since = Min(sample->at, c->now);
	return state->violations >= rule->consecutive_periods &&
		elapsed(state->violating_since, c->now) >= rule->for_us;
}

static void
forget_violations(AlertState *state)
{
	state->violations = 0;
	state->violating_since = 0;
}

/* ---- who is told? -------------------------------------------------------- */

static bool
make_event(AlertState *state, const Circumstances *c, EventReason reason,
		   const Sample *sample, int severity, AlertEvent *event)
{
	event->resolved = false;
	event->reason = reason;
	event->silenced = c->muted;
	event->severity = severity;
	event->started_at = state->started_at;
	event->has_value = sample->has_value;
	event->value = state->value;
	event->has_slope = state->has_slope && event->has_value;
	event->slope = state->slope;

	state->severity = severity;
	if (sample->has_value)
		state->fingerprint = sample->fingerprint;
	state->recorded = true;
	state->silenced = c->muted;
	state->without_data = (state->status == ALERT_NO_DATA);
	if (!c->muted)
	{
		state->told = true;
		state->told_at = c->now;
	}
	return true;
}

/* There is an alert, which begins with this evaluation where begins says so. */
static bool
tell(const Condition *rule, AlertState *state, const Sample *sample,
	 const Circumstances *c, bool begins, AlertEvent *event)
{
	int			severity = rule->severity;
	bool		cooling = state->told_at != 0 &&
		elapsed(state->told_at, c->now) < rule->cooldown_us;
	bool		news = false;
	EventReason reason;

	if (sample->has_value && sample->severity >= 0)
		severity = sample->severity;

	/* A webhook that takes no lower one would never hear of the end. */
	if (state->told)
		severity = Min(severity, state->severity);
	if (!state->recorded)
	{
		/* who took note of it knows no more than that */
		state->acknowledged = state->acknowledged && severity >= state->severity;
		state->severity = severity;
	}
	if (state->recorded && sample->has_value &&
		state->status == ALERT_FIRING && state->recoveries == 0)
		news = severity < state->severity || state->without_data ||
			strcmp(sample->fingerprint, state->fingerprint) != 0;

	/* What a silence covers is recorded at once, and not again. */
	if (c->muted)
	{
		if (state->recorded && !news)
			return false;
		state->acknowledged = state->acknowledged && !news;
		reason = news ? REASON_CHANGED :
			state->status == ALERT_NO_DATA ? REASON_NO_DATA : REASON_NEW;
		return make_event(state, c, reason, sample, severity, event);
	}
	if (cooling || (state->acknowledged && !news))
		return false;
	if (news)
	{
		state->acknowledged = false;
		reason = state->told ? REASON_CHANGED : REASON_HELD;
	}
	else if (!state->told || state->silenced)
		reason = !begins ? REASON_HELD :
			state->status == ALERT_NO_DATA ? REASON_NO_DATA : REASON_NEW;
	else if (elapsed(state->told_at, c->now) >=
			 (state->severity == 0 ? REPEAT_P0 : REPEAT_OTHERS))
		reason = REASON_REPEAT;
	else
		return false;
	return make_event(state, c, reason, sample, severity, event);
}

static bool
begin_alert(const Condition *rule, AlertState *state, const Sample *sample,
			const Circumstances *c, AlertEvent *event)
{
	state->started_at = c->now;
	state->recoveries = 0;
	return tell(rule, state, sample, c, true, event);
}

/* Who was told of the alert is told of its end, whatever is silenced now. */
static bool
end_alert(AlertState *state, EventReason reason, AlertEvent *event)
{
	bool		recorded = state->recorded;

	event->resolved = true;
	event->reason = reason;
	event->silenced = !state->told;
	event->severity = state->severity;
	event->started_at = state->started_at;
	event->has_value = state->has_value && reason == REASON_RESOLVED;
	event->value = state->value;
	event->has_slope = state->has_slope && event->has_value;
	event->slope = state->slope;

	forget_violations(state);
	state->started_at = 0;
	state->recoveries = 0;
	state->recorded = false;
	state->told = false;
	state->silenced = false;
	state->without_data = false;
	state->acknowledged = false;
	state->severity = NO_SEVERITY;
	state->fingerprint = "";
	return recorded;
}

bool
rule_end(AlertState *state, TimestampTz now, EventReason reason,
		 AlertEvent *event)
{
	forget_future(state, now);
	clear_window(state);
	state->has_value = false;
	forget_violations(state);
	if (state->status != ALERT_WARMING)
		set_status(state, ALERT_NO_DATA, now);
	return state->started_at != 0 && end_alert(state, reason, event);
}

/* ---- what happens -------------------------------------------------------- */

/* For so long an alert outlives its data. */
static int64
patience(const Condition *rule)
{
	switch (rule->no_data)
	{
		case NO_DATA_KEEP:
			return KEEP_WITHOUT_DATA;
		case NO_DATA_ALERT:
			return ALERT_WITHOUT_DATA;
		case NO_DATA_OK:
			break;
	}
	return 0;
}

static bool
without_data(const Condition *rule, AlertState *state, const Sample *sample,
			 const Circumstances *c, AlertEvent *event)
{
	clear_window(state);
	if (state->status == ALERT_WARMING)
		return false;
	forget_violations(state);
	if (state->started_at == 0)
	{
		bool		begins = state->status != ALERT_NO_DATA;

		set_status(state, ALERT_NO_DATA, c->now);
		if (!begins || rule->no_data != NO_DATA_ALERT)
			return false;
		state->missing_since = c->now;
		return begin_alert(rule, state, sample, c, event);
	}

	if (elapsed(state->missing_since, c->now) >= patience(rule))
	{
		set_status(state, ALERT_NO_DATA, c->now);
		return end_alert(state, REASON_NO_DATA, event);
	}
	if (rule->no_data == NO_DATA_ALERT)
		set_status(state, ALERT_NO_DATA, c->now);
	return tell(rule, state, sample, c, false, event);
}

static bool
with_alert(const Condition *rule, AlertState *state, const Sample *sample,
		   const Circumstances *c, Verdict verdict, AlertEvent *event)
{
	Sample		shown = *sample;

	if (verdict == VERDICT_VIOLATED)
	{
		bool		enough = count_violation(rule, state, sample, c);

		state->recoveries = 0;
		if (state->status == ALERT_NO_DATA && enough)
		{
			/* who took note of a lack knows no more, unless he was told */
			if (!state->told || state->silenced)
				state->acknowledged = false;
			set_status(state, ALERT_FIRING, c->now);
		}
	}
	else if (verdict == VERDICT_HOLDS)
	{
		forget_violations(state);
		count_sample(state, &state->recoveries, rule->resolve_periods,
					 sample->at);
		if (state->recoveries >= rule->resolve_periods)
		{
			set_status(state, ALERT_OK, c->now);
			return end_alert(state, REASON_RESOLVED, event);
		}
	}
	else if (sample->has_value &&
			 elapsed(state->missing_since, c->now) >= Max(patience(rule), c->stale_us))
	{
		/* values that a window is not filled by */
		state->missing_since = 0;
		set_status(state, ALERT_WARMING, c->now);
		return end_alert(state, REASON_NO_DATA, event);
	}

	/* A value that is no alert yet is not what this one is of. */
	if (state->status == ALERT_NO_DATA)
		shown.has_value = false;
	return tell(rule, state, &shown, c, false, event);
}

static bool
without_alert(const Condition *rule, AlertState *state, const Sample *sample,
			  const Circumstances *c, Verdict verdict, AlertEvent *event)
{
	if (verdict == VERDICT_NONE)
	{
		if (state->status == ALERT_NO_DATA)
			set_status(state, ALERT_WARMING, c->now);
		return false;
	}
	if (verdict == VERDICT_HOLDS)
	{
		forget_violations(state);
		set_status(state, ALERT_OK, c->now);
		return false;
	}
	if (!count_violation(rule, state, sample, c))
	{
		set_status(state, ALERT_PENDING, c->now);
		return false;
	}
	set_status(state, ALERT_FIRING, c->now);
	return begin_alert(rule, state, sample, c, event);
}

bool
rule_evaluate(const Condition *rule, AlertState *state, const Sample *sample,
			  const Circumstances *now, AlertEvent *event)
{
	Sample		known = *sample;
	Verdict		verdict = VERDICT_NONE;
	bool		measured = sample->has_value && !isnan(sample->value);

	forget_future(state, now->now);
	known.has_value = measured && !TIMESTAMP_NOT_FINITE(sample->at) &&
		elapsed(sample->at, now->now) <= now->stale_us &&
		elapsed(now->now, sample->at) <= now->stale_us;
	if (known.has_value)
		verdict = judge(rule, state, &known);
	else if (state->status == ALERT_WARMING && state->window_used == 0)
		return false;

	/* An alert needs more than values: a verdict. */
	if (verdict != VERDICT_NONE || (known.has_value && state->started_at == 0))
		state->missing_since = 0;
	else if (state->missing_since == 0)
		state->missing_since = now->now;

	/* One that could not be measured may be so again soon. */
	if (!known.has_value &&
		(measured || elapsed(state->missing_since, now->now) >= now->stale_us))
		return without_data(rule, state, &known, now, event);
	if (state->started_at != 0)
		return with_alert(rule, state, &known, now, verdict, event);
	return without_alert(rule, state, &known, now, verdict, event);
}
