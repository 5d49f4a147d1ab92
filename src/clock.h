/*
 * clock.h
 *		A clock that nobody sets.
 *
 * Gives: milliseconds since some time in the past, the same for all processes
 * of the server; how long something took.
 * Needs: nothing.
 */
#ifndef DEPLOYDB_CLOCK_H
#define DEPLOYDB_CLOCK_H

#include "postgres.h"

#include "portability/instr_time.h"

static inline int64
clock_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

static inline uint64
microseconds_since(instr_time start)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_MICROSEC(now);
}

#endif							/* DEPLOYDB_CLOCK_H */
