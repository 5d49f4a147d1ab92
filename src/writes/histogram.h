/*
 * histogram.h
 *		A log-linear histogram of durations.
 *
 * Gives: the bucket of a duration, quantiles, and a short text form.
 * Needs: nothing of the other modules.
 *
 * Durations are in microseconds.  Below 16 each has a bucket of its own; from
 * there on each octave is cut into 16 equal parts, so that the middle of a
 * bucket is at most 1/32 off.  The last bucket takes what is longer than two
 * minutes.
 * Errors: none; a text that is no histogram gives false.
 */
#ifndef DEPLOYDB_HISTOGRAM_H
#define DEPLOYDB_HISTOGRAM_H

#include "postgres.h"

#include "port/pg_bitutils.h"

#define HISTOGRAM_PARTS_LOG2 4
#define HISTOGRAM_PARTS (1 << HISTOGRAM_PARTS_LOG2)
#define HISTOGRAM_OCTAVES 23	/* from 16 us to 134 s */
#define HISTOGRAM_BUCKETS (HISTOGRAM_PARTS * (HISTOGRAM_OCTAVES + 1) + 1)

static inline int
histogram_bucket(uint64 microseconds)
{
	int			octave;

	if (microseconds < HISTOGRAM_PARTS)
		return (int) microseconds;
	octave = pg_leftmost_one_pos64(microseconds) - HISTOGRAM_PARTS_LOG2;
	if (octave >= HISTOGRAM_OCTAVES)
		return HISTOGRAM_BUCKETS - 1;
	return HISTOGRAM_PARTS * octave + (int) (microseconds >> octave);
}

/* The middle of a bucket. */
extern double histogram_value(int bucket);

/* The nearest rank; NaN of an empty one. */
extern double histogram_quantile(const uint64 *counts, double q);

/* In the current memory context; "" for an empty one. */
extern char *histogram_write(const uint64 *counts);

/*
 * Adds a text's counts.  False, with some added maybe, when histogram_write()
 * gives no such text, or a count grows too large.
 */
extern bool histogram_add(uint64 *counts, const char *text);

#endif							/* DEPLOYDB_HISTOGRAM_H */
