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

/* Each bucket begins where the one before ends, and its middle is near. */
static void
check_buckets(void)
{
	int			last = -1;

	for (uint64 us = 0; us < UINT64CONST(1) << 27; us += us / 4096 + 1)
	{
		int			bucket = histogram_bucket(us);
		double		off = fabs(histogram_value(bucket) - (double) us);

		if (bucket < last || bucket > last + 1 || bucket >= HISTOGRAM_BUCKETS - 1)
			printf("%llu us are in bucket %d, after %d\n",
				   (unsigned long long) us, bucket, last);
		if (off > (us < 16 ? 0 : (double) us / 32))
			printf("%llu us are taken for %g\n",
				   (unsigned long long) us, histogram_value(bucket));
		last = bucket;
	}
	for (int bit = 27; bit < 64; bit++)
		if (last != HISTOGRAM_BUCKETS - 2 ||
			histogram_bucket(UINT64CONST(1) << bit) != HISTOGRAM_BUCKETS - 1)
			printf("2^%d us are not in the last bucket\n", bit);
	if (histogram_bucket(PG_UINT64_MAX) != HISTOGRAM_BUCKETS - 1)
		printf("the longest duration is not in the last bucket\n");
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
			next_random() >> next_random() % 64;
	text = histogram_write(counts);
	for (const char *c = text; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~')
			printf("\"%s\" is not printable\n", text);
	if (!histogram_add(back, text) || memcmp(counts, back, sizeof(counts)) != 0)
		printf("\"%s\" is not read as it was written\n", text);
	pfree(text);
}

/* Sums of which no uint64 holds all. */
static void
check_large(void)
{
	uint64		counts[HISTOGRAM_BUCKETS] = {0};
	char	   *text;

	counts[10] = counts[200] = counts[300] = PG_UINT64_MAX;
	if (histogram_quantile(counts, 0.1) != histogram_value(10) ||
		histogram_quantile(counts, 0.5) != histogram_value(200) ||
		histogram_quantile(counts, 1) != histogram_value(300))
		printf("quantiles of large counts are wrong\n");
	text = histogram_write(counts);
	if (histogram_add(counts, text))
		printf("a count that grows too large is added\n");
	pfree(text);
}

static void
check_invalid(void)
{
	/* 2^64, runs to the end, a run of none, two runs, a needless digit */
	static const char *const invalid[] = {"ggggggggggggQ", "g", "gggggggggggggB",
	"AB", "AgM", "AhMB", "AAB", "ABABB", "hA", "gA", "B B", "B=", "B\xff"};

	for (size_t i = 0; i < lengthof(invalid); i++)
	{
		uint64		counts[HISTOGRAM_BUCKETS] = {0};

		if (histogram_add(counts, invalid[i]))
			printf("\"%s\" is taken for a histogram\n", invalid[i]);
	}
}

/* Anything may come; what is taken is what is written, and nothing outside. */
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
	int			wild = next_random() % 2 ? 2 : 1000;

	for (int i = 0; i < length; i++)
		text[i] = next_random() % wild == 0 ? (char) next_random() :
			"ABCMfgh09+/"[next_random() % 11];
	text[length] = '\0';
	if (histogram_add(guarded.counts, text))
	{
		char	   *back = histogram_write(guarded.counts);

		if (strcmp(back, text) != 0)
			printf("\"%s\" is written as \"%s\"\n", text, back);
		pfree(back);
	}
	if (guarded.before != 0 || guarded.behind != 0)
		printf("written outside by \"%s\"\n", text);
}

int
main(void)
{
	uint64		empty[HISTOGRAM_BUCKETS] = {0};
	char	   *text = histogram_write(empty);

	if (!isnan(histogram_quantile(empty, 0.5)) || *text != '\0')
		printf("an empty histogram has a median or a text\n");
	pfree(text);
	check_buckets();
	check_large();
	check_invalid();
	for (int round = 0; round < ROUNDS; round++)
	{
		check_quantiles();
		check_text();
		for (int i = 0; i < 1000; i++)
			check_garbage();
	}
	return 0;
}
