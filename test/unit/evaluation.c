/*
 * evaluation.c
 *		Properties of the evaluation of rules: what holds for any rule and any
 *		samples, and courses of events as they are meant.
 *
 * Prints a line for what is wrong, and nothing when all is well.
 */
#include "postgres.h"

#include <math.h>

#include "alerts/evaluation.h"

#define ROUNDS 3000
#define STEPS 400
#define SECOND USECS_PER_SEC
#define MINUTE (SECS_PER_MINUTE * USECS_PER_SEC)
#define HOUR (INT64CONST(1) * SECS_PER_HOUR * USECS_PER_SEC)
#define START (INT64CONST(800000000) * USECS_PER_SEC)
#define STALE (5 * MINUTE)

static uint64 random_state = 88172645463325252ULL;

static uint64
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int
below(int limit)
{
	return (int) (next_random() % (uint64) limit);
}

/* ---- comparisons and slopes ------------------------------------------------- */

static void
check_comparisons(void)
{
	static const double values[] = {-INFINITY, -1, -0.0, 0, 1, INFINITY, NAN};
	static const char *const names[] = {">", ">=", "<", "<=", "==", "!="};

	for (int c = COMPARISON_GT; c <= COMPARISON_NE; c++)
		for (size_t i = 0; i < lengthof(values); i++)
			for (size_t j = 0; j < lengthof(values); j++)
			{
				double		v = values[i];
				double		t = values[j];
				bool		known = !isnan(v) && !isnan(t);
				int			order = v < t ? -1 : v > t;
				bool		expected;

				if (isnan(t))
					continue;	/* a rule's threshold is finite */
				expected = known &&
					(c == COMPARISON_GT ? order > 0 : c == COMPARISON_GE ? order >= 0 :
					 c == COMPARISON_LT ? order < 0 : c == COMPARISON_LE ? order <= 0 :
					 c == COMPARISON_EQ ? order == 0 : order != 0);
				if (comparison_holds((Comparison) c, v, t) != expected)
					printf("%g %s %g is %d\n", v, names[c], t, !expected);
			}
}

static void
check_slopes(void)
{
	TrendPoint	points[MAX_WINDOW_SAMPLES];

	for (int round = 0; round < ROUNDS; round++)
	{
		int			count = 2 + below(MAX_WINDOW_SAMPLES - 1);
		double		slope = (below(2001) - 1000) / 100.0;
		double		level = below(1000);
		TimestampTz at = START;
		double		found;
		long double sx = 0;
		long double sy = 0;
		long double sxx = 0;
		long double sxy = 0;
		long double exact;

		/* On a line, whatever the distances in time are. */
		for (int i = 0; i < count; i++)
		{
			at += 1 + below(120) * SECOND;
			points[i].at = at;
			points[i].value = level + slope * (double) (at - START) / MINUTE;
		}
		found = trend_slope(points, count);
		if (fabs(found - slope) > 1e-6)
			printf("a line that rises by %g has the slope %g\n", slope, found);

		/* Scattered: as the normal equations say. */
		for (int i = 0; i < count; i++)
		{
			long double x = (long double) (points[i].at - START) / MINUTE;

			points[i].value += below(1000);
			sx += x;
			sy += points[i].value;
			sxx += x * x;
			sxy += x * points[i].value;
		}
		exact = (count * sxy - sx * sy) / (count * sxx - sx * sx);
		found = trend_slope(points, count);
		if (fabsl(found - exact) > 1e-6L * Max(1, fabsl(exact)))
			printf("the slope is %g, not %Lg\n", found, exact);
	}
	points[0].at = points[1].at = START;
	if (!isnan(trend_slope(points, 2)) || !isnan(trend_slope(points, 1)))
		printf("a moment has a slope\n");
	points[1].at = START + 1;
	points[0].value = -1e308;
	points[1].value = 1e308;
	if (!isnan(trend_slope(points, 2)))
		printf("a slope is beyond all numbers\n");
}

/* ---- courses of events -------------------------------------------------------- */

static TrendPoint window[MAX_WINDOW_SAMPLES];
static TrendPoint window_before[MAX_WINDOW_SAMPLES];

static void
new_state(AlertState *state)
{
	memset(state, 0, sizeof(*state));
	state->severity = NO_SEVERITY;
	state->fingerprint = "";
	state->window = window;
}

static Condition
threshold_rule(Comparison comparison, double threshold)
{
	Condition	rule = {0};

	rule.severity = 1;
	rule.consecutive_periods = 1;
	rule.resolve_periods = 1;
	rule.comparison = comparison;
	rule.threshold = threshold;
	rule.resolve_threshold = threshold;
	rule.floor = -INFINITY;
	return rule;
}

/*
 * Runs samples, one each period, and compares the letters of what comes out:
 * the status (w, o, p, f, d) and after it, in upper case, the reason of an
 * event (N, C, R, H, D, E for an end), "-" behind one that is silenced.
 * Samples are numbers separated by blanks; "x" is none, "m" and "u" mute and
 * unmute, "a" acknowledges, "+" waits for an hour, "'" changes the
 * fingerprint, "=" looks at the last sample again.
 */
static void
check_course(const char *what, const Condition *rule, int64 period,
			 const char *samples, const char *expected)
{
	AlertState	state;
	Circumstances c = {START, STALE, false};
	Sample		sample = {false, START, 0, -1, ""};
	char		found[1000] = "";
	char		fingerprint[2] = "";
	char	   *out = found;

	new_state(&state);
	for (const char *p = samples; *p;)
	{
		AlertEvent	event;
		char	   *end;

		switch (*p)
		{
			case ' ':
				p++;
				continue;
			case 'm':
			case 'u':
				c.muted = (*p++ == 'm');
				continue;
			case 'a':
				state.acknowledged = true;
				p++;
				continue;
			case '+':
				c.now += HOUR;
				p++;
				continue;
			case '\'':
				fingerprint[0] = fingerprint[0] == 'a' ? 'b' : 'a';
				state.fingerprint = strdup(state.fingerprint);
				sample.fingerprint = strdup(fingerprint);
				p++;
				continue;
			case '=':
				c.now += period;
				p++;
				break;
			case 'x':
				c.now += period;
				sample.has_value = false;
				sample.at = c.now;
				p++;
				break;
			default:
				c.now += period;
				sample.has_value = true;
				sample.at = c.now;
				sample.value = strtod(p, &end);
				p = end;
				break;
		}
		if (rule_evaluate(rule, &state, &sample, &c, &event))
		{
			*out++ = "wopfd"[state.status];
			*out++ = event.resolved && event.reason == REASON_RESOLVED ? 'E' : "NCRHDE"[event.reason];
			if (event.silenced)
				*out++ = '-';
		}
		else
			*out++ = "wopfd"[state.status];
		*out++ = ' ';
	}
	if (out > found)
		out[-1] = '\0';
	if (strcmp(found, expected) != 0)
		printf("%s: \"%s\" gives\n\t%s, not\n\t%s\n", what, samples, found, expected);
}

static void
check_thresholds(void)
{
	Condition	rule = threshold_rule(COMPARISON_GT, 1);

	check_course("one period", &rule, MINUTE, "1 2 2 1 1", "o fN f oE o");
	rule.consecutive_periods = 3;
	check_course("three periods", &rule, MINUTE, "2 2 1 2 2 2 1", "p p o p p fN oE");
	check_course("a sample counts once", &rule, MINUTE, "2 = = 2 = 2 1", "p p p p p fN oE");
	check_course("no value is none", &rule, MINUTE, "2 2 x 2 1", "p p p fN oE");
	check_course("NaN neither", &rule, MINUTE, "2 2 nan 2 1", "p p p fN oE");
	check_course("infinite is a number", &rule, MINUTE, "inf inf inf -inf", "p p fN oE");
	rule.consecutive_periods = 1;
	rule.for_us = 150 * SECOND;
	check_course("for some time", &rule, MINUTE, "2 2 2 2 1 2 1", "p p p fN oE p o");
	check_course("time passes without samples", &rule, MINUTE, "2 = = = 1", "p p p fN oE");
	rule.for_us = 0;
	rule.resolve_threshold = 0.5;
	rule.resolve_periods = 2;
	check_course("hysteresis", &rule, MINUTE, "0.7 2 0.7 0.4 0.7 0.4 0.4 0.7",
				 "o fN f f f f oE o");
	check_course("a recovery counts once", &rule, MINUTE, "2 0 = = 0", "fN f f f oE");
}

static void
check_messages(void)
{
	Condition	rule = threshold_rule(COMPARISON_GT, 1);

	rule.cooldown_us = 5 * MINUTE;
	check_course("the cooldown survives a resolve", &rule, MINUTE,
				 "2 1 2 1 2 2 2", "fN oE f o f fH f");
	check_course("what it held back is told only if it fires", &rule, MINUTE,
				 "2 1 2 1 1 1 1 1 2", "fN oE f o o o o o fN");
	check_course("a change waits, too", &rule, MINUTE, "'2 '2 2 2 2 2", "fN f f f f fC");
	check_course("a change that is undone is none", &rule, MINUTE, "'2 '2 '2 2 2 2 2", "fN f f f f f f");
	rule.cooldown_us = 0;
	check_course("a change", &rule, MINUTE, "'2 2 '2 2 1", "fN f fC f oE");
	check_course("repeats", &rule, MINUTE, "2 +2 +2 +2 +2 2 +2", "fN f f f fR f f");
	rule.severity = 0;
	check_course("worse ones sooner", &rule, MINUTE, "2 +2 2 +2 = 1", "fN fR f fR f oE");
	check_course("acknowledged", &rule, MINUTE, "2 a +2 +2 1 2 +2", "fN f f oE fN fR");
	check_course("what changes is told all the same", &rule, MINUTE, "2 a +2 '2 +2", "fN f fC fR");

	check_course("silenced", &rule, MINUTE, "m 2 2 1", "fN- f oE-");
	check_course("silenced, and then not", &rule, MINUTE, "m 2 u 2 2 1", "fN- fH f oE");
	check_course("who was told learns of the end", &rule, MINUTE, "2 m + 2 + 2 1", "fN f f oE");
	check_course("silenced changes are recorded", &rule, MINUTE, "m '2 '2 2 u 2", "fN- fC- f fH");
}

static void
check_missing(void)
{
	Condition	rule = threshold_rule(COMPARISON_GT, 1);

	check_course("never seen", &rule, MINUTE, "x x + x x", "w w w w");
	check_course("kept for a while", &rule, MINUTE, "2 x x x x x x x", "fN f f f f f f f");
	check_course("not for ever", &rule, MINUTE, "2 x + x", "fN f dD");
	check_course("an old value is none", &rule, MINUTE, "2 + = + =", "fN f dD");
	check_course("and comes back", &rule, MINUTE, "2 + = + = 2 1", "fN f dD fN oE");
	check_course("pending", &rule, MINUTE, "1 x x x x x x 1", "o o o o o o d o");
	rule.no_data = NO_DATA_OK;
	check_course("no data is well", &rule, MINUTE, "2 x x x x x x 2", "fN f f f f f dD fN");
	rule.no_data = NO_DATA_ALERT;
	check_course("no data is an alert", &rule, MINUTE, "1 x x x x x x x 1", "o o o o o o dD d oE");
	check_course("which is told again", &rule, MINUTE, "1 + = + = + = + = + = = + =", "o dD d d d dR d d");
	check_course("and ends some day", &rule, MINUTE,
				 "1 + = ++++++++++++ = ++++++++++++ =", "o dD dR dD");
	check_course("it fires, and has no data", &rule, MINUTE, "2 + = 2 1", "fN d f oE");
	check_course("what fires after a lack of data is told", &rule, MINUTE, "1 + = 2 2 1", "o dD fC f oE");
	check_course("whoever acknowledged that lack", &rule, MINUTE, "1 + = a 2 2", "o dD fC f");
	check_course("once", &rule, MINUTE, "1 + = 2 + = 2 + = 2", "o dD fC d f d f");
	check_course("unless the lack was told again", &rule, MINUTE, "1 + = 2 ++++ = 2 2", "o dD fC dR fC f");
	check_course("silenced", &rule, MINUTE, "1 + = m 2 2 u 2 2", "o dD fC- f fH f");
	check_course("acknowledged within the silence", &rule, MINUTE, "1 + m = a 2 u 2", "o dD- fC- fH");
	check_course("with what it fires for", &rule, MINUTE, "1 m + = 2 a u 2", "o dD- fC- f");
	check_course("of nothing but the lack", &rule, MINUTE, "m 2 + = a 2 u 2", "fN- d f fH");
	rule.consecutive_periods = 2;
	check_course("one value is no outage after a lack either", &rule, MINUTE, "1 + = 2 1 1", "o dD d oE o");
	check_course("two are", &rule, MINUTE, "1 + = 2 2 1", "o dD d fC oE");
	check_course("other than one twice", &rule, MINUTE, "1 + = 2 = 2 2", "o dD d d fC f");
	check_course("or with another lack between", &rule, MINUTE, "1 + = 2 + = 2 2", "o dD d d d fC");
	check_course("whoever acknowledged the lack", &rule, MINUTE, "1 + = a 2 2 2", "o dD d fC f");
	check_course("acknowledged while they are counted", &rule, MINUTE, "1 + = 2 a 2 2", "o dD d fC f");
	check_course("within a silence", &rule, MINUTE, "1 + m = 2 2 u 2", "o dD- d fC- fH");
	check_course("what fired before goes on", &rule, MINUTE, "2 2 + = 2 2 2 1", "p fN d d f f oE");
	rule.resolve_periods = 2;
	check_course("they are in a row", &rule, MINUTE, "1 + = 2 1 2 2", "o dD d d d fC");
	rule.resolve_periods = 1;
	rule.consecutive_periods = 1;
	rule.for_us = 3 * MINUTE;
	check_course("nor does it fire before its time", &rule, MINUTE, "1 + = 2 2 2 2 2", "o dD d d d fC f");
	rule.for_us = 2 * HOUR;
	check_course("told again meanwhile, it is a lack", &rule, MINUTE, "1 + = +++ 2 + 2 + 2 2", "o dD d dR fC f");
	rule.for_us = 0;
	rule.resolve_periods = 2;
	check_course("what recovers does not fire", &rule, MINUTE, "1 + = 1 2 1 1", "o dD d fC f oE");
	rule.cooldown_us = 5 * MINUTE;
	check_course("after the cooldown", &rule, MINUTE, "1 + = a 2 2 2 2 2 2", "o dD f f f f fC f");
	check_course("with a value", &rule, MINUTE, "1 + = 2 2 2 2 x 2", "o dD f f f f f fC");
	check_course("not if it is over", &rule, MINUTE, "1 + = 2 2 2 1 1", "o dD f f f f oE");
	rule.resolve_periods = 1;
	rule.cooldown_us = 3 * HOUR;
	check_course("a lack that was held back", &rule, MINUTE, "2 1 ++= a 2 + 2", "fN oE d f fH");
}

static void
check_trends(void)
{
	Condition	rule = threshold_rule(COMPARISON_GT, 0);

	rule.trend = true;
	rule.window_samples = 3;
	rule.min_slope = 1;
	check_course("a trend", &rule, MINUTE, "0 1 2 3 3 3", "w w fN f oE o");
	check_course("only new samples", &rule, MINUTE, "0 1 = = = 9", "w w w w w fN");
	check_course("infinite is no point", &rule, MINUTE, "0 1 inf 3 2", "w w w fN oE");
	rule.floor = 5;
	check_course("a floor", &rule, MINUTE, "0 1 2 3 4 5 6", "o o o o o fN f");
	check_course("what is below it ends, whatever the window holds", &rule, MINUTE,
				 "4 5 6 x x x x x x 0 x x x x x x 0", "o o fN f f f f f f oE o o o o o d o");
	rule.resolve_periods = 2;
	check_course("as often as it must", &rule, MINUTE,
				 "4 5 6 x x x x x x 0 x x x x x x 0", "o o fN f f f f f f f f f f f f f oE");
	rule.resolve_periods = 1;
	check_course("what is above it ends when its window does not fill", &rule, 10 * MINUTE,
				 "5 = 6 = 7 = 8 =", "w w w w w w w w");
	check_course("as it does without data", &rule, MINUTE,
				 "4 5 6 x x x x x x 9 x x x x x x 9 ++= 9 9", "o o fN f f f f f f f f f f f f f f dD w w");
	rule.no_data = NO_DATA_OK;
	check_course("an infinite one, too", &rule, MINUTE, "4 5 6 inf inf inf inf inf inf 99", "o o fN f f f f f wD fN");
	check_course("but not at once", &rule, MINUTE, "4 5 6 inf inf inf inf inf 99", "o o fN f f f f f f");
	rule.no_data = NO_DATA_KEEP;
	rule.floor = -INFINITY;
	rule.decreasing = true;
	check_course("downwards", &rule, MINUTE, "0 1 2 1 0 -1", "w w o o fN f");
	check_course("a gap begins anew", &rule, MINUTE, "0 -1 -2 + = + -9 -9 -9",
				 "w w fN f wD w o");
	check_course("while it is kept", &rule, MINUTE, "0 -1 -2 x x x x x x -9 -9 -9",
				 "w w fN f f f f f f f f oE");
}

/* ---- any rule, any samples ------------------------------------------------------- */

static Condition
random_rule(void)
{
	Condition	rule = threshold_rule((Comparison) below(6), below(5));

	rule.trend = (below(3) == 0);
	rule.severity = below(4);
	rule.consecutive_periods = 1 + below(4);
	rule.resolve_periods = 1 + below(4);
	rule.for_us = below(2) * below(300) * SECOND;
	rule.cooldown_us = below(2) * below(1800) * SECOND;
	rule.no_data = (NoDataPolicy) below(3);
	if (rule.comparison <= COMPARISON_GE)
		rule.resolve_threshold = rule.threshold - below(3);
	else if (rule.comparison <= COMPARISON_LE)
		rule.resolve_threshold = rule.threshold + below(3);
	rule.decreasing = (below(2) == 0);
	rule.min_slope = (1 + below(100)) / 50.0;
	rule.window_samples = 2 + below(below(10) == 0 ? MAX_WINDOW_SAMPLES - 1 : 6);
	if (below(2) == 0)
		rule.floor = below(5);
	return rule;
}

static void
random_sample(Sample *sample, TimestampTz now)
{
	static const double odd[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, 0};
	static const char *const fingerprints[] = {"", "a", "b"};

	if (below(4) == 0)
		return;					/* the last one, which grows old */
	sample->has_value = (below(10) > 0);
	sample->at = now - below(2) * below(30) * SECOND;
	if (below(200) == 0)
		sample->at = below(2) ? DT_NOBEGIN : DT_NOEND;
	sample->value = below(50) == 0 ? odd[below(lengthof(odd))] : below(8);
	sample->severity = below(20) == 0 ? below(4) : -1;
	if (below(20) == 0)
		sample->fingerprint = fingerprints[below(lengthof(fingerprints))];
}

static void
copy_state(AlertState *copy, const AlertState *state)
{
	*copy = *state;
	copy->window = window_before;
	memcpy(window_before, window, sizeof(window));
}

/* What must hold of one step. */
static void
check_step(const Condition *rule, const AlertState *before,
		   const AlertState *after, const Sample *sample,
		   const Circumstances *c, bool has_event, const AlertEvent *event)
{
	int64		repeat = (has_event && before->severity == 0) ? HOUR : 4 * HOUR;

	if (after->told && !after->recorded)
		printf("somebody was told of what is not recorded\n");
	if ((after->recorded || after->acknowledged) && after->started_at == 0)
		printf("something is left of an alert that has ended\n");
	if ((after->status == ALERT_FIRING) != (after->started_at != 0) &&
		after->status != ALERT_NO_DATA)
		printf("%s, and an alert is %d\n", alert_status_name(after->status),
			   after->started_at != 0);
	if (after->started_at != 0 && after->missing_since != 0 &&
		c->now - after->missing_since >
		(rule->no_data == NO_DATA_ALERT ? ALERT_WITHOUT_DATA :
		 rule->no_data == NO_DATA_KEEP ? KEEP_WITHOUT_DATA : STALE))
		printf("an alert has no data for ever\n");
	if (after->started_at != 0 && rule->trend && !after->has_slope &&
		after->missing_since == 0 && after->value >= rule->floor)
		printf("a trend fires without a slope, and no time runs\n");
	if (after->window_used > rule->window_samples)
		printf("a window has %d points of %d\n", after->window_used, rule->window_samples);
	for (int i = 1; i < after->window_used; i++)
		if (after->window[i].at <= after->window[i - 1].at)
			printf("a window's points are not in the order of their times\n");
	if (!has_event)
	{
		if (before->told && before->started_at != 0 && after->started_at == 0)
			printf("an alert ended, and who was told of it does not learn\n");
		return;
	}

	if (event->resolved)
	{
		if (!before->recorded || after->started_at != 0)
			printf("an end of nothing\n");
		if (event->silenced == before->told)
			printf("who was told learns of no end, or others do\n");
		return;
	}
	if (after->started_at == 0 || event->silenced != c->muted)
		printf("an event of no alert, or one that should be silent\n");
	if (!c->muted && before->told_at != 0 && before->told_at <= c->now &&
		c->now - before->told_at < rule->cooldown_us)
		printf("the cooldown does not hold\n");
	if (event->reason == REASON_REPEAT &&
		(before->acknowledged || !before->told ||
		 c->now - Min(before->told_at, c->now) < repeat))
		printf("a message is repeated too soon\n");
	if (event->reason == REASON_NEW && before->recorded)
		printf("what was told is new\n");
	if (event->reason == REASON_CHANGED && sample->severity < 0 &&
		strcmp(before->fingerprint, sample->fingerprint) == 0 &&
		before->severity <= rule->severity && !before->without_data)
		printf("nothing has changed\n");
	if (after->without_data != (after->status == ALERT_NO_DATA))
		printf("what was told is not what is remembered\n");
}

typedef enum Knowledge
{
	NOTHING, LACK_OF_DATA, THAT_IT_FIRES
} Knowledge;

static Knowledge
knowledge_of(const AlertState *state)
{
	return state->started_at == 0 ? NOTHING :
		state->status == ALERT_NO_DATA ? LACK_OF_DATA : THAT_IT_FIRES;
}

/* Where nothing keeps the message back, who is told learns that it fires. */
static void
check_knowledge(Knowledge *known, const Condition *rule,
				const AlertState *before, const AlertState *after,
				const Sample *sample, const Circumstances *c,
				bool has_event, const AlertEvent *event)
{
	bool		cooling = before->told_at != 0 &&
		Max(c->now - before->told_at, 0) < rule->cooldown_us;
	bool		violated = !rule->trend && sample->has_value &&
		!TIMESTAMP_NOT_FINITE(sample->at) &&
		c->now - sample->at <= STALE && sample->at - c->now <= STALE &&
		comparison_holds(rule->comparison, sample->value, rule->resolve_threshold);

	if (after->started_at == 0)
		*known = NOTHING;
	else if (has_event && !event->silenced)
		*known = knowledge_of(after);
	if (after->status == ALERT_FIRING && violated && !c->muted && !cooling &&
		*known != THAT_IT_FIRES)
		printf("it fires, and nobody learns of that\n");
}

static void
check_any(void)
{
	Condition	rule = random_rule();
	Circumstances c = {START, STALE, false};
	Sample		sample = {false, START, 0, -1, ""};
	AlertState	state;
	AlertState	before;
	AlertEvent	event;
	Knowledge	known = NOTHING;

	new_state(&state);
	for (int step = 0; step < STEPS; step++)
	{
		bool		has_event;

		c.now += below(50) == 0 ? below(30) * HOUR : below(90) * SECOND;
		if (below(300) == 0)
			c.now -= below(100) * HOUR; /* the clock is set back */
		if (below(40) == 0)
			c.muted = !c.muted;
		if (below(40) == 0)
		{
			state.acknowledged = (state.started_at != 0);
			known = Max(known, knowledge_of(&state));
		}
		random_sample(&sample, c.now);
		copy_state(&before, &state);
		memset(&event, 0xaa, sizeof(event));
		has_event = rule_evaluate(&rule, &state, &sample, &c, &event);
		check_step(&rule, &before, &state, &sample, &c, has_event, &event);
		check_knowledge(&known, &rule, &before, &state, &sample, &c, has_event, &event);

		/* Looked at again, nothing is new. */
		copy_state(&before, &state);
		has_event = rule_evaluate(&rule, &state, &sample, &c, &event);
		check_knowledge(&known, &rule, &before, &state, &sample, &c, has_event, &event);
		if (has_event && rule.for_us == 0)
			printf("the same sample at the same time has an event, %s\n",
				   event_reason_name(event.reason));
		if (!alert_state_equal(&before, &state) && rule.for_us == 0)
			printf("the same sample at the same time changes the state\n");
	}
	if (rule_end(&state, c.now, REASON_NO_DATA, &event) &&
		!(event.resolved && before.recorded))
		printf("the end of a series is none\n");
	if (state.started_at != 0 || state.window_used > 0)
		printf("a series has ended, and its alert has not\n");
}

/* Times at the ends of what there is are no undefined behaviour. */
static void
check_extremes(void)
{
	static const TimestampTz times[] = {
		MIN_TIMESTAMP, 1, START, END_TIMESTAMP - 1, DT_NOBEGIN, DT_NOEND
	};
	Condition	rule = threshold_rule(COMPARISON_GT, 1);

	rule.trend = true;
	rule.window_samples = 2;
	rule.min_slope = 1;
	for (int round = 0; round < ROUNDS; round++)
	{
		AlertState	state;
		AlertEvent	event;

		new_state(&state);
		rule.trend = !rule.trend;
		for (int i = 0; i < 10; i++)
		{
			Circumstances c = {times[below(4)], STALE, false};
			Sample		sample = {true, times[below(lengthof(times))], below(4), -1, ""};

			rule_evaluate(&rule, &state, &sample, &c, &event);
		}
	}
}

int
main(void)
{
	check_comparisons();
	check_slopes();
	check_thresholds();
	check_messages();
	check_missing();
	check_trends();
	for (int round = 0; round < ROUNDS; round++)
		check_any();
	check_extremes();
	return 0;
}
