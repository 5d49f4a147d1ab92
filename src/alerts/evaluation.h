/*
 * evaluation.h
 *		What becomes of a rule: (rule, state, sample, time) -> (state, event or
 *		none).
 *
 * Gives: rule_evaluate(), which the tick and deploydb.test_rule() share.
 * Needs: nothing of the other modules, no catalog, no memory, no clock.
 *
 * What happens when:
 *		warming		no value was seen yet, or a trend's window is not full, and
 *					the value not below its floor
 *		ok			the last value does not violate the rule
 *		pending		it does, not yet often or long enough
 *		firing		it did often and long enough, and has not ceased to
 *		no_data		there were values, and there are none now
 *
 * An alert begins when a rule begins to fire (or to lack data, where its
 * policy is to alert on that), and ends with one event "resolved", provided
 * that anything was recorded of it.  In between: a message that the cooldown
 * or a silence kept back goes out when that ends, unless somebody has
 * acknowledged it since; a changed fingerprint, a raised severity, and a value
 * that violates where a lack of data was told, are news, and what nobody
 * acknowledged is repeated.  That what fires has no data any more is no news.
 * The cooldown counts from the last firing message; a resolve does not end it.
 *
 * A sample counts once, however often it is looked at.  NaN is no value; an
 * infinite value compares as the number it is, but is no point of a trend.  A
 * trend that fires has no data for as long as its window is not full, unless
 * the value is below its floor.
 */
#ifndef DEPLOYDB_EVALUATION_H
#define DEPLOYDB_EVALUATION_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define MAX_WINDOW_SAMPLES 100

/* For so long at most an alert outlives its data, by the rule's policy. */
#define KEEP_WITHOUT_DATA (INT64CONST(1) * SECS_PER_HOUR * USECS_PER_SEC)
#define ALERT_WITHOUT_DATA (INT64CONST(1) * SECS_PER_DAY * USECS_PER_SEC)

typedef enum Comparison
{
	COMPARISON_GT,
	COMPARISON_GE,
	COMPARISON_LT,
	COMPARISON_LE,
	COMPARISON_EQ,
	COMPARISON_NE
} Comparison;

typedef enum NoDataPolicy
{
	NO_DATA_KEEP,				/* what fires goes on for a while */
	NO_DATA_ALERT,				/* that there is no data is an alert */
	NO_DATA_OK					/* what fires is over */
} NoDataPolicy;

typedef enum AlertStatus
{
	ALERT_WARMING,
	ALERT_OK,
	ALERT_PENDING,
	ALERT_FIRING,
	ALERT_NO_DATA
} AlertStatus;

typedef enum EventReason
{
	REASON_NEW,
	REASON_CHANGED,
	REASON_REPEAT,
	REASON_HELD,
	REASON_NO_DATA,
	REASON_RESOLVED
} EventReason;

/* Of what was never told: below P3. */
#define NO_SEVERITY 4

typedef struct Condition
{
	bool		trend;
	int			severity;		/* 0 for P0 to 3 */
	int			consecutive_periods;
	int			resolve_periods;
	int64		for_us;
	int64		cooldown_us;
	NoDataPolicy no_data;

	/* threshold */
	Comparison	comparison;
	double		threshold;
	double		resolve_threshold;	/* the threshold where there is none */

	/* trend */
	bool		decreasing;
	double		min_slope;		/* per minute */
	int			window_samples;
	double		floor;			/* -Infinity where there is none */
} Condition;

typedef struct TrendPoint
{
	TimestampTz at;
	double		value;
} TrendPoint;

/*
 * Nothing is known yet where all is zero and the fingerprint empty.  Times are
 * 0 where they do not apply.
 */
typedef struct AlertState
{
	AlertStatus status;
	TimestampTz since;			/* in this status */
	int			violations;		/* samples in a row, up to what is needed */
	int			recoveries;
	TimestampTz counted_at;		/* of the sample that was counted last */
	TimestampTz violating_since;
	TimestampTz missing_since;	/* no value to go by, or an old one */

	TimestampTz started_at;		/* the alert began; 0: there is none */
	bool		recorded;		/* an event of it was made */
	bool		told;			/* one that was not silenced */
	bool		silenced;		/* the last one was */
	bool		without_data;	/* the last one was of a lack of data */
	bool		acknowledged;
	int			severity;		/* of its last event, or NO_SEVERITY */
	const char *fingerprint;	/* likewise, "" for none */
	TimestampTz told_at;		/* last firing message, of any alert */

	/* Not a change that is worth keeping by itself. */
	bool		has_value;
	double		value;
	bool		has_slope;
	double		slope;

	/* The caller's, with room for MAX_WINDOW_SAMPLES; only of a trend. */
	TrendPoint *window;
	int			window_used;
	TimestampTz window_end;		/* of the newest point */
} AlertState;

typedef struct Sample
{
	bool		has_value;		/* false: it could not be measured */
	TimestampTz at;
	double		value;
	int			severity;		/* instead of the rule's, or -1 */
	const char *fingerprint;	/* "" for none */
} Sample;

typedef struct Circumstances
{
	TimestampTz now;
	int64		stale_us;		/* an older value is none */
	bool		muted;			/* silenced, or the parent fires */
} Circumstances;

typedef struct AlertEvent
{
	bool		resolved;		/* else firing */
	EventReason reason;
	bool		silenced;
	int			severity;
	TimestampTz started_at;
	bool		has_value;		/* there was one this time */
	double		value;
	bool		has_slope;
	double		slope;
} AlertEvent;

/* True where there is an event. */
extern bool rule_evaluate(const Condition *rule, AlertState *state,
						  const Sample *sample, const Circumstances *now,
						  AlertEvent *event);

/*
 * The series is there no more (REASON_NO_DATA), or the rule (REASON_RESOLVED).
 * True where there is an event.
 */
extern bool rule_end(AlertState *state, TimestampTz now, EventReason reason,
					 AlertEvent *event);

/* Is there nothing that would have to be kept? */
extern bool alert_state_equal(const AlertState *a, const AlertState *b);

extern bool comparison_holds(Comparison comparison, double value,
							 double threshold);

/* Change per minute, by least squares; NaN where that is no finite number. */
extern double trend_slope(const TrendPoint *points, int count);

extern const char *alert_status_name(AlertStatus status);
extern const char *event_reason_name(EventReason reason);

#endif							/* DEPLOYDB_EVALUATION_H */
