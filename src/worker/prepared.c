/*
 * prepared.c
 *		Two-phase commit: what a prepared transaction has to tell is told once
 *		it is committed, by whatever session.
 *
 * Locking: that of the slots.  Errors: those of a look into the catalogs, in a
 * transaction of COMMIT PREPARED, which has done its work by then.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "common/hashfn.h"
#include "miscadmin.h"

#include "worker/prepared.h"
#include "worker/slots.h"
#include "worker/wake.h"

static uint32
hash_of(const char *gid)
{
	return gid ? hash_bytes((const unsigned char *) gid, (int) strlen(gid)) : 0;
}

/*
 * Which transactions have something to tell is kept by their names, so that
 * others wake nobody.  Where no monitor keeps it, there may be one from now on.
 */
void
prepared_look(const TransactionStmt *statement)
{
	switch (statement->kind)
	{
		case TRANS_STMT_PREPARE:
			if (slot_pid(MyDatabaseId) != 0 && wake_monitor_taken_back())
				slot_note_prepared(MyDatabaseId, hash_of(statement->gid));
			break;
		case TRANS_STMT_COMMIT_PREPARED:
			if (slot_pid(MyDatabaseId) != 0 ?
				slot_forget_prepared(MyDatabaseId, hash_of(statement->gid)) :
				OidIsValid(get_extension_oid("deploydb", true)))
				wake_monitor_at_commit();
			break;
		case TRANS_STMT_ROLLBACK_PREPARED:
			(void) slot_forget_prepared(MyDatabaseId, hash_of(statement->gid));
			break;
		default:
			break;
	}
}
