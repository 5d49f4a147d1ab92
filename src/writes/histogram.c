/*
 * histogram.c
 *		A log-linear histogram of durations.
 *
 * The text form is a list of numbers in base 32, the least digit first, each
 * digit a character of 64, of which the upper half says that another follows.
 * A number is a bucket's count; 0 is followed by how many buckets are empty
 * before the next count.
 *
 * Locking: none.  Errors: see histogram.h.
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "lib/stringinfo.h"

#include "writes/histogram.h"

static const char digits[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

double
histogram_value(int bucket)
{
	int			octave = bucket / HISTOGRAM_PARTS - 1;

	if (octave < 0)
		return bucket;
	return ldexp(bucket % HISTOGRAM_PARTS + HISTOGRAM_PARTS + 0.5, octave);
}

/* In doubles, as the sum of counts from texts may be any. */
double
histogram_quantile(const uint64 *counts, double q)
{
	double		total = 0;
	double		rank;
	double		seen = 0;

	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		total += (double) counts[i];
	if (total == 0)
		return NAN;
	rank = Max(ceil(q * total), 1.0);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		seen += (double) counts[i];
		if (seen >= rank)
			return histogram_value(i);
	}
	return histogram_value(HISTOGRAM_BUCKETS - 1);
}

static void
put_number(StringInfo text, uint64 number)
{
	while (number >= 32)
	{
		appendStringInfoChar(text, digits[32 + number % 32]);
		number /= 32;
	}
	appendStringInfoChar(text, digits[number]);
}

char *
histogram_write(const uint64 *counts)
{
	StringInfoData text;
	int			empty = 0;

	initStringInfo(&text);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		if (counts[i] == 0)
		{
			empty++;
			continue;
		}
		if (empty > 0)
		{
			put_number(&text, 0);
			put_number(&text, empty);
			empty = 0;
		}
		put_number(&text, counts[i]);
	}
	return text.data;
}

/* False at the text's end, and at what put_number() does not write. */
static bool
get_number(const char **text, uint64 *number)
{
	*number = 0;
	for (int shift = 0; shift < 64; shift += 5)
	{
		const char *found = **text ? strchr(digits, **text) : NULL;
		uint64		digit;

		if (found == NULL)
			return false;
		(*text)++;
		digit = found - digits;
		if ((digit % 32) << shift >> shift != digit % 32)
			return false;		/* too large */
		*number |= (digit % 32) << shift;
		if (digit < 32)
			return digit > 0 || shift == 0;
	}
	return false;
}

bool
histogram_add(uint64 *counts, const char *text)
{
	uint64		bucket = 0;

	while (*text != '\0')
	{
		uint64		number;

		if (!get_number(&text, &number))
			return false;
		if (number == 0)
		{
			uint64		empty;

			if (!get_number(&text, &empty) || empty == 0 ||
				empty >= HISTOGRAM_BUCKETS - bucket ||
				!get_number(&text, &number) || number == 0)
				return false;
			bucket += empty;
		}
		if (bucket >= HISTOGRAM_BUCKETS ||
			pg_add_u64_overflow(counts[bucket], number, &counts[bucket]))
			return false;
		bucket++;
	}
	return true;
}
