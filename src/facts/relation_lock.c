/*
 * relation_lock.c
 *		Locks that are never queued for.
 *
 * Locking: see relation_lock.h.  Errors: a cancel request while waiting.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "facts/relation_lock.h"
#include "settings.h"

#define RETRY_MS 5

/* The statement, and its transaction, that waited in vain last. */
static TimestampTz vain_statement = 0;
static TimestampTz vain_transaction = 0;

TimestampTz
relation_lock_deadline(void)
{
	if (vain_statement == GetCurrentStatementStartTimestamp() &&
		vain_transaction == GetCurrentTransactionStartTimestamp())
		return GetCurrentTimestamp();
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   deploydb_lock_timeout);
}

bool
relation_lock_wait(Oid relid, LOCKMODE mode, TimestampTz deadline)
{
	while (!ConditionalLockRelationOid(relid, mode))
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= deadline)
		{
			if (deadline != RELATION_LOCK_NO_WAIT)
			{
				vain_statement = GetCurrentStatementStartTimestamp();
				vain_transaction = GetCurrentTransactionStartTimestamp();
			}
			return false;
		}
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 RETRY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}

	/* Whoever held the lock may have dropped the relation. */
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return true;
	UnlockRelationOid(relid, mode);
	return false;
}

Oid
relation_lock_by_name(Oid schema, const char *name, LOCKMODE mode,
					  TimestampTz deadline, bool *locked_out)
{
	*locked_out = false;
	for (;;)
	{
		Oid			relid = get_relname_relid(name, schema);

		if (!OidIsValid(relid))
			return InvalidOid;
		if (!relation_lock_wait(relid, mode, deadline))
		{
			/* Gone or renamed meanwhile: look the name up again. */
			if (get_relname_relid(name, schema) != relid)
				continue;
			*locked_out = true;
			return InvalidOid;
		}
		if (get_relname_relid(name, schema) == relid)
			return relid;
		UnlockRelationOid(relid, mode);
	}
}
