/*
 * hooks.h
 *		The server's hooks that see attempts to write.
 *
 * Gives: writes_init(), for _PG_init while preloading.
 * Needs: attempts, tracked, counters, the statement scanner.
 */
#ifndef DEPLOYDB_HOOKS_H
#define DEPLOYDB_HOOKS_H

#include "postgres.h"

#include "portability/instr_time.h"

extern void writes_init(void);

extern void executor_hooks_init(void);
extern void utility_hook_init(void);
extern void log_hook_init(void);

/*
 * How many executor or utility calls this one is in.  At 0 a statement is the
 * client's own.  The hooks put it back when an error passes.
 */
extern int	writes_nesting_level;

static inline uint64
microseconds_between(instr_time start, instr_time end)
{
	INSTR_TIME_SUBTRACT(end, start);
	return INSTR_TIME_GET_MICROSEC(end);
}

static inline uint64
microseconds_since(instr_time start)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return microseconds_between(start, now);
}

/* A client's own statement took that long. */
extern void slow_statement_check(uint64 microseconds);

/* So much of it was waiting for what the client wanted to wait for. */
extern void slow_statement_waited(uint64 microseconds);

#endif							/* DEPLOYDB_HOOKS_H */
