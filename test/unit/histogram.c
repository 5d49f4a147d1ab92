/*
 * histogram.c
 *		Properties of the histogram: quantiles within 5 % of the exact ones
 *		from 10 microseconds to 100 seconds, and texts that are read back.
 *
 * Prints a line for what is wrong, and nothing when all is well.
 */
#include "postgres.h"

#include <math.h>

#include "writes/histogram.h"

#define SAMPLES 5000
#define ROUNDS 300

static uint64 state = 88172645463325252ULL;

static uint64
next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static double
next_share(void)
{
	return (double) (next_random() >> 11) / (double) (1ULL << 53);
}

static int
compare(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* Durations spread evenly over a random span of orders of magnitude. */
static void
check_quantiles(void)
{
	static uint64 durations[SAMPLES];
	static const double quantiles[] = {0.001, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
	uint64		counts[HISTOGRAM_BUCKETS] = {0};
	double		low = log(10) + next_share() * (log(1e8) - log(10));
	double		high = low + next_share() * (log(1e8) - low);
	int			samples = 1 + (int) (next_random() % SAMPLES);

	for (int i = 0; i < samples; i++)
	{
		durations[i] = (uint64) exp(low + next_share() * (high - low));
		counts[histogram_bucket(durations[i])]++;
	}
	qsort(durations, samples, sizeof(uint64), compare);
	for (size_t q = 0; q < lengthof(quantiles); q++)
	{
		int			rank = Max((int) ceil(quantiles[q] * samples), 1);
		double		exact = (double) durations[rank - 1];
		double		given = histogram_quantile(counts, quantiles[q]);

		if (fabs(given - exact) > 0.05 * exact)
			printf("quantile %g of %d is %g, exactly %g\n",
				   quantiles[q], samples, given, exact);
	}
}

static void
check_text(void)
{
	uint64		counts[HISTOGRAM_BUCKETS] = {0};
	uint64		back[HISTOGRAM_BUCKETS] = {0};
	int			filled = (int) (next_random() % HISTOGRAM_BUCKETS);
	char	   *text;

	for (int i = 0; i < filled; i++)
		counts[next_random() % HISTOGRAM_BUCKETS] =
			next_random() >> (8 + next_random() % 56);
	text = histogram_write(counts);
	if (!histogram_add(back, text) || memcmp(counts, back, sizeof(counts)) != 0)
		printf("\"%s\" is not read as it was written\n", text);
	pfree(text);
}

/* Anything may come; nothing may be written outside. */
static void
check_garbage(void)
{
	struct
	{
		uint64		before;
		uint64		counts[HISTOGRAM_BUCKETS];
		uint64		behind;
	}			guarded = {0};
	char		text[64];
	int			length = (int) (next_random() % sizeof(text));

	for (int i = 0; i < length; i++)
		text[i] = next_random() % 2 ? (char) next_random() :
			"ABCgh09+/"[next_random() % 9];
	text[length > 0 ? length - 1 : 0] = '\0';
	(void) histogram_add(guarded.counts, text);
	if (guarded.before != 0 || guarded.behind != 0)
		printf("written outside by \"%s\"\n", text);
}

int
main(void)
{
	uint64		empty[HISTOGRAM_BUCKETS] = {0};
	int			last = -1;

	if (!isnan(histogram_quantile(empty, 0.5)))
		printf("an empty histogram has a median\n");
	for (uint64 us = 0; us < UINT64CONST(1) << 40; us += us / 64 + 1)
	{
		int			bucket = histogram_bucket(us);

		if (bucket < last || bucket >= HISTOGRAM_BUCKETS)
			printf("%llu us are in bucket %d, after %d\n",
				   (unsigned long long) us, bucket, last);
		last = bucket;
	}
	for (int round = 0; round < ROUNDS; round++)
	{
		check_quantiles();
		check_text();
		for (int i = 0; i < 1000; i++)
			check_garbage();
	}
	return 0;
}
