/*
 * transaction.c
 *		Pieces of work of a background process, each in a transaction of its
 *		own.
 *
 * Locking: the extension, so that it cannot be dropped meanwhile.  Errors: see
 * transaction.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "webhooks/transaction.h"

/*
 * Keeps the extension from being dropped for the rest of the transaction; false
 * when it has been.
 */
static bool
lock_extension(void)
{
	Oid			extension = get_extension_oid("deploydb", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	return get_extension_oid("deploydb", true) == extension;
}

/* Logs the error that is being handled, and ends its transaction; its message. */
static char *
end_failed_transaction(MemoryContext before)
{
	ErrorData  *error;

	MemoryContextSwitchTo(before);
	HOLD_INTERRUPTS();
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
	RESUME_INTERRUPTS();
	return error->message;
}

/* The error's message in the caller's memory context, where there was one. */
static bool
try_in_transaction(const char *activity, Work work, void *argument, char **error)
{
	MemoryContext before = CurrentMemoryContext;
	volatile bool done = false;

	pgstat_report_activity(STATE_RUNNING, activity);
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (lock_extension())
		{
			work(argument);
			done = true;
		}
		SPI_finish();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		done = false;
		*error = end_failed_transaction(before);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return done;
}

/* For people who look at worker_status. */
static void
record_error(void *argument)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum((const char *) argument);

	SPI_execute_with_args("SELECT deploydb.record_monitor_error($1)", 1, &type, &value, NULL, false, 1);
}

bool
in_transaction(const char *activity, Work work, void *argument)
{
	char	   *error = NULL;
	char	   *ignored = NULL;
	bool		done = try_in_transaction(activity, work, argument, &error);

	if (error)
		(void) try_in_transaction("recording an error", record_error,
								  psprintf("%s: %s", activity, error), &ignored);
	return done;
}
