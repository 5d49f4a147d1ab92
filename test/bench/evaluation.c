/*
 * evaluation.c
 *		Nanoseconds of one pure evaluation, of a threshold and of a trend over a
 *		window of 10.
 */
#include "postgres.h"

#include <math.h>

#include "alerts/evaluation.h"
#include "portability/instr_time.h"

#define EVALUATIONS 5000000
#define PERIOD (30 * USECS_PER_SEC)

static double
measure(const Condition *rule)
{
	static TrendPoint window[MAX_WINDOW_SAMPLES];
	Circumstances c = {PERIOD, 10 * PERIOD, false};
	AlertState	state = {0};
	AlertEvent	event;
	instr_time	start;
	instr_time	end;
	int			events = 0;

	state.fingerprint = "";
	state.window = window;
	INSTR_TIME_SET_CURRENT(start);
	for (int i = 0; i < EVALUATIONS; i++)
	{
		Sample		sample = {true, c.now, i % 7, -1, ""};

		events += rule_evaluate(rule, &state, &sample, &c, &event);
		c.now += PERIOD;
	}
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	if (events == 0)
		printf("nothing happened\n");
	return INSTR_TIME_GET_DOUBLE(end) / EVALUATIONS * 1e6;
}

int
main(void)
{
	Condition	rule = {0};

	rule.consecutive_periods = 2;
	rule.resolve_periods = 1;
	rule.comparison = COMPARISON_GT;
	rule.threshold = rule.resolve_threshold = 3;
	rule.floor = -INFINITY;
	printf("pure evaluation, threshold|%.4f|us|target|1\n", measure(&rule));
	rule.trend = true;
	rule.window_samples = 10;
	rule.min_slope = 0.1;
	rule.consecutive_periods = 1;
	printf("pure evaluation, trend of 10|%.4f|us|target|1\n", measure(&rule));
	return 0;
}
