/*
 * failure_kinds.c
 *		Failures of one book, by SQLSTATE.
 *
 * Locking and errors: see failure_kinds.h.
 */
#include "postgres.h"

#include "writes/busy.h"
#include "writes/failure_kinds.h"

static const uint32 usual_sqlstates[] = {
	ERRCODE_NOT_NULL_VIOLATION, ERRCODE_FOREIGN_KEY_VIOLATION,
	ERRCODE_UNIQUE_VIOLATION, ERRCODE_CHECK_VIOLATION,
	ERRCODE_EXCLUSION_VIOLATION,
	ERRCODE_STRING_DATA_RIGHT_TRUNCATION, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
	ERRCODE_INVALID_TEXT_REPRESENTATION,
	ERRCODE_READ_ONLY_SQL_TRANSACTION, ERRCODE_IN_FAILED_SQL_TRANSACTION,
	ERRCODE_T_R_SERIALIZATION_FAILURE, ERRCODE_T_R_DEADLOCK_DETECTED,
	ERRCODE_INSUFFICIENT_PRIVILEGE, ERRCODE_SYNTAX_ERROR,
	ERRCODE_UNDEFINED_COLUMN, ERRCODE_UNDEFINED_TABLE,
	ERRCODE_DISK_FULL, ERRCODE_OUT_OF_MEMORY,
	ERRCODE_LOCK_NOT_AVAILABLE,
	ERRCODE_QUERY_CANCELED, ERRCODE_ADMIN_SHUTDOWN,
	ERRCODE_RAISE_EXCEPTION
};

void
failure_kinds_init(FailureKinds *failures)
{
	pg_atomic_init_flag(&failures->busy);
	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
	{
		FailureKind *kind = &failures->kinds[i];

		pg_atomic_init_u32(&kind->sqlstate, i < (int) lengthof(usual_sqlstates) ?
						   usual_sqlstates[i] : 0);
		pg_atomic_init_u64(&kind->attempts, 0);
		pg_atomic_init_u64(&kind->last_at, 0);
		memset(&kind->last, 0, sizeof(WriteFailure));
	}
}

/* The kind of an SQLSTATE, a free one that is taken for it, or the last. */
static FailureKind *
kind_of(FailureKinds *failures, uint32 sqlstate)
{
	int			last = WRITE_FAILURE_KINDS - 1;

	for (int i = 0; i < last; i++)
	{
		FailureKind *kind = &failures->kinds[i];
		uint32		there = pg_atomic_read_u32(&kind->sqlstate);

		if (there == 0 &&
			pg_atomic_compare_exchange_u32(&kind->sqlstate, &there, sqlstate))
			there = sqlstate;
		if (there == sqlstate)
			return kind;
	}
	return &failures->kinds[last];
}

void
failure_kinds_add(FailureKinds *failures, const WriteFailure *failure,
				  bool may_wait)
{
	FailureKind *kind = kind_of(failures, (uint32) failure->sqlstate);

	/* The time first: what has attempts has one. */
	pg_atomic_write_u64(&kind->last_at, (uint64) failure->last_at);
	pg_atomic_fetch_add_u64(&kind->attempts, 1);
	if (busy_try(&failures->busy, may_wait))
	{
		kind->last = *failure;
		pg_atomic_clear_flag(&failures->busy);
	}
}

uint64
failure_kinds_count(FailureKinds *failures,
					int sqlstates[WRITE_FAILURE_KINDS],
					uint64 attempts[WRITE_FAILURE_KINDS])
{
	uint64		sum = 0;

	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
	{
		attempts[i] = pg_atomic_read_u64(&failures->kinds[i].attempts);
		sum += attempts[i];
	}
	pg_read_barrier();			/* what has attempts has its SQLSTATE */
	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
		sqlstates[i] = (int) pg_atomic_read_u32(&failures->kinds[i].sqlstate);
	return sum;
}

uint64
failure_kinds_read(FailureKinds *failures, int i, WriteFailure *last)
{
	FailureKind *kind = &failures->kinds[i];
	uint64		attempts = pg_atomic_read_u64(&kind->attempts);

	memset(last, 0, sizeof(*last));
	if (attempts == 0)
		return 0;
	if (busy_try(&failures->busy, true))
	{
		*last = kind->last;
		pg_atomic_clear_flag(&failures->busy);
	}
	last->sqlstate = (int) pg_atomic_read_u32(&kind->sqlstate);
	last->last_at = (TimestampTz) pg_atomic_read_u64(&kind->last_at);
	return attempts;
}

void
failure_kinds_copy(FailureKinds *to, FailureKinds *from)
{
	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
	{
		FailureKind *source = &from->kinds[i];
		FailureKind *target = &to->kinds[i];

		pg_atomic_write_u32(&target->sqlstate,
							pg_atomic_read_u32(&source->sqlstate));
		pg_atomic_write_u64(&target->attempts,
							pg_atomic_read_u64(&source->attempts));
		pg_atomic_write_u64(&target->last_at,
							pg_atomic_read_u64(&source->last_at));
		target->last = source->last;
	}
}
