/*
 * alone.c
 *		A monitor without a launcher, as deploydb is not preloaded.
 *
 * The postmaster starts it again after any exit but that with code 0.
 *
 * Locking: it tries the database's lock, and waits for none.  Errors: none.
 */
#include "postgres.h"

#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"

#include "worker/alone.h"

static emit_log_hook_type next_emit_log = NULL;
static int	fatal_sqlstate = 0;

static void
note_fatal(ErrorData *edata)
{
	if (edata->elevel == FATAL)
		fatal_sqlstate = edata->sqlerrcode;
	if (next_emit_log)
		next_emit_log(edata);
}

static void
end_without_database(int code, Datum arg)
{
	(void) arg;
	if (code != 0 && fatal_sqlstate == ERRCODE_UNDEFINED_DATABASE)
		proc_exit(0);
}

void
alone_begin(void)
{
	next_emit_log = emit_log_hook;
	emit_log_hook = note_fatal;
	before_shmem_exit(end_without_database, 0);
}

/* Such a command has the lock that a new session would wait for. */
bool
alone_in_the_way(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	return LockAcquire(&tag, RowExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL;
}
