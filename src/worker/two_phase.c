/*
 * two_phase.c
 *		What a prepared transaction has to tell is told once it is committed,
 *		by whatever session.
 *
 * Locking: that of the slots.  Errors: those of a look into the catalogs, in a
 * transaction of COMMIT PREPARED, which has done its work by then.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "common/hashfn.h"
#include "miscadmin.h"

#include "settings.h"
#include "worker/slots.h"
#include "worker/two_phase.h"
#include "worker/wake.h"

TwoPhase
two_phase_read(const Node *statement)
{
	TwoPhase	result = {.kind = TRANS_STMT_BEGIN};

	if (IsA(statement, TransactionStmt))
	{
		const TransactionStmt *transaction = (const TransactionStmt *) statement;

		result.kind = transaction->kind;
		if (transaction->gid != NULL)
			result.transaction = Max(1, hash_bytes((const unsigned char *) transaction->gid,
												   (int) strlen(transaction->gid)));
	}
	return result;
}

/* Of a CREATE EXTENSION whose note is forgotten; the launcher finds out. */
static bool
may_want_monitor(void)
{
	return deploydb_monitor && !slot_runs(MyDatabaseId) &&
		OidIsValid(get_extension_oid("deploydb", true));
}

/*
 * Which transactions have something to tell is noted, so that others wake
 * nobody.
 */
void
two_phase_done(TwoPhase done)
{
	switch (done.kind)
	{
		case TRANS_STMT_PREPARE:
			if (wake_monitor_taken_back())
				slots_note_prepared(MyDatabaseId, done.transaction);
			break;
		case TRANS_STMT_COMMIT_PREPARED:
			if (slots_forget_prepared(MyDatabaseId, done.transaction) ||
				may_want_monitor())
				wake_monitor_at_commit();
			break;
		case TRANS_STMT_ROLLBACK_PREPARED:
			(void) slots_forget_prepared(MyDatabaseId, done.transaction);
			break;
		default:
			break;
	}
}
