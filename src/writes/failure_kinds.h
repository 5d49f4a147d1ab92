/*
 * failure_kinds.h
 *		Failures of one book, by SQLSTATE.
 *
 * Gives: adding a failure, and reading what there is.
 * Needs: busy.h.
 *
 * Locking: SQLSTATE, number and time are atomics, so that none is ever missed;
 * a kind, once taken, stays.  The evidence of the last failure is behind a flag
 * and is given up where another backend is busy with it: then that of an
 * earlier failure stays.
 * Errors: none, so that the log hook may add.
 */
#ifndef DEPLOYDB_FAILURE_KINDS_H
#define DEPLOYDB_FAILURE_KINDS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

/*
 * SQLSTATEs told apart; more go into the last, as 0.  The usual ones have a kind
 * from the beginning: anybody can be rejected with any SQLSTATE, and must not
 * take their room.
 */
#define WRITE_FAILURE_KINDS 32

typedef struct WriteFailure
{
	int			sqlstate;		/* as elog.h packs it, 0 when of several kinds */
	TimestampTz last_at;
	int64		query_id;		/* 0 where the server computes none */
	NameData	constraint_name;
	NameData	application;
} WriteFailure;

typedef struct FailureKind
{
	pg_atomic_uint32 sqlstate;	/* 0 when free, and of the last */
	pg_atomic_uint64 attempts;
	pg_atomic_uint64 last_at;
	WriteFailure last;			/* under the flag */
} FailureKind;

typedef struct FailureKinds
{
	pg_atomic_flag busy;
	FailureKind kinds[WRITE_FAILURE_KINDS];
} FailureKinds;

extern void failure_kinds_init(FailureKinds *failures);
extern void failure_kinds_add(FailureKinds *failures,
							  const WriteFailure *failure, bool may_wait);

/* SQLSTATE, as above, and attempts of each kind; returns the sum of these. */
extern uint64 failure_kinds_count(FailureKinds *failures,
								  int sqlstates[WRITE_FAILURE_KINDS],
								  uint64 attempts[WRITE_FAILURE_KINDS]);

/* The attempts of a kind, 0 when it is free, and its last failure. */
extern uint64 failure_kinds_read(FailureKinds *failures, int kind,
								 WriteFailure *last);

/* From a copy that nobody changes into one that nobody reads yet. */
extern void failure_kinds_copy(FailureKinds *to, FailureKinds *from);

#endif							/* DEPLOYDB_FAILURE_KINDS_H */
