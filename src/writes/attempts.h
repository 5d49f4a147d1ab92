/*
 * attempts.h
 *		Attempts to write that this backend has under way.
 *
 * Gives: an attempt's life, from its start to the end of its transaction.
 * Needs: counters, tracked, the client's statement.
 *
 *		started ──► failed									counted at once
 *		   └──────► done ──► subtransaction or transaction
 *							 aborts: rolled back			counted at once
 *							 commits: the parent's, at the top: succeeded
 *							 is prepared: prepared
 *
 * Both are stacks, as executions and subtransactions nest: those started, one
 * entry for each table of an execution, and those done, one for each table
 * and subtransaction with a number.
 * Memory: static arrays, or larger ones in TopMemoryContext, grown at statement
 * time only.
 * Time is the wall clock's, as the client's statement looks at it: an attempt
 * during which it is set is taken for shorter or longer.
 * Errors: none in what the callbacks of transactions call; the copy of an error,
 * for its constraint's name, may raise that memory is short.
 */
#ifndef DEPLOYDB_ATTEMPTS_H
#define DEPLOYDB_ATTEMPTS_H

#include "postgres.h"

#include "writes/counters.h"

/* From _PG_init while preloading. */
extern void attempts_init(void);

/* An execution, known by any pointer, starts to write that table. */
extern void attempt_start(const void *execution, const WriteTarget *target,
						  bool counts_rows, int64 query_id);

/* How many are under way; in attempts.c. */
extern int	attempts_under_way;

extern bool attempt_find(const void *execution);

/* Is any execution under way, and this one? */
static inline bool
attempts_started(void)
{
	return attempts_under_way > 0;
}

static inline bool
attempt_is_started(const void *execution)
{
	return attempts_under_way > 0 && attempt_find(execution);
}

/* It ran to its end now; rows go to the table that counts them. */
extern void attempt_done(const void *execution, uint64 rows, TimestampTz now);

/* It raised the error that is being handled; in a PG_CATCH block. */
extern void attempt_failed(const void *execution);

/* Has attempt_failed() counted the error that is being handled? */
extern bool attempts_error_is_counted(void);

/*
 * An error passes: what no PG_CATCH counts has failed of it, once the abort
 * comes that follows.
 */
extern void attempts_raised(int sqlstate, const char *constraint_name);

/* Calls that for an error; an error context callback, that gives no context. */
extern void attempts_error_context(void *arg);

/* An attempt that never started. */
extern void attempt_rejected(const WriteTarget *target, int sqlstate,
							 int64 query_id);

/*
 * The client's block is rolled back: by ROLLBACK, or, where failures are
 * swallowed, as COMMIT or PREPARE TRANSACTION came after an error.
 */
extern void attempts_rolled_back(bool swallowed);

#endif							/* DEPLOYDB_ATTEMPTS_H */
