/*
 * histogram.c
 *		A log-linear histogram of durations.
 *
 * The text form is a list of numbers in base 32, the least digit first, each
 * digit a character of 64, of which the upper half says that another follows.
 * A number is a bucket's count; 0 is followed by how many buckets are empty.
 *
 * Locking: none.  Errors: see histogram.h.
 */
#include "postgres.h"

#include <math.h>

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

double
histogram_quantile(const uint64 *counts, double q)
{
	uint64		total = 0;
	uint64		rank;
	uint64		seen = 0;

	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		total += counts[i];
	if (total == 0)
		return NAN;
	rank = (uint64) Max(ceil(q * (double) total), 1.0);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		seen += counts[i];
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

/* False at the text's end, at what is no digit, and past 60 bits. */
static bool
get_number(const char **text, uint64 *number)
{
	*number = 0;
	for (int shift = 0; shift < 60; shift += 5)
	{
		const char *found = **text ? strchr(digits, **text) : NULL;
		int			digit;

		if (found == NULL)
			return false;
		(*text)++;
		digit = found - digits;
		*number |= (uint64) (digit % 32) << shift;
		if (digit < 32)
			return true;
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
			if (!get_number(&text, &number) || number == 0 ||
				number >= HISTOGRAM_BUCKETS)
				return false;
			bucket += number;
		}
		else if (bucket < HISTOGRAM_BUCKETS)
			counts[bucket++] += number;
		else
			return false;
	}
	return true;
}
