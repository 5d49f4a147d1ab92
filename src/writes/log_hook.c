/*
 * log_hook.c
 *		What only the server's log sees: statements that were rejected before
 *		they could be executed, and the log's lines of ERROR and above.
 *
 * The hook may run in the postmaster, without a PGPROC, under out-of-memory
 * or while a lock is held: it takes no lock, allocates nothing, reads no
 * catalog and raises nothing.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/portal.h"

#include "compat.h"
#include "own_work.h"
#include "settings.h"
#include "writes/app_role.h"
#include "writes/attempts.h"
#include "writes/client_statement.h"
#include "writes/counters.h"
#include "writes/hooks.h"
#include "writes/statement_scan.h"

static emit_log_hook_type previous_emit_log = NULL;

/* Our own code must not log, but what it calls might. */
static bool in_hook = false;

/* A portal of this message's that failed got as far as the executor. */
static bool
unnamed_portal_failed(void)
{
	Portal		portal = GetPortalByName("");

	return PortalIsValid(portal) && portal->status == PORTAL_FAILED &&
		portal->creation_time == GetCurrentStatementStartTimestamp();
}

/*
 * The statement that an error ended before it was executed: a function's, or
 * else the client's own, which is said to run until the abort that follows.  One
 * of a table that is not tracked may have run as well, in front of one of that
 * name that is: what raises after it, and nowhere in the text, is its commit.
 */
static bool
rejected_statement(const ErrorData *error, StatementTarget *named)
{
	if (error->internalquery != NULL)
		return statement_target(error->internalquery, error->internalpos,
								GetDatabaseEncoding(),
								compat_standard_strings(), named);
	if (statement_is_running() || debug_query_string == NULL ||
		unnamed_portal_failed() ||
		(error->cursorpos == 0 && statement_has_ended()))
		return false;
	return statement_target(debug_query_string, error->cursorpos,
							GetDatabaseEncoding(), compat_standard_strings(),
							named);
}

static void
look_for_rejected(const ErrorData *error)
{
	StatementTarget named;
	WriteTarget target;

	/*
	 * What ran has been counted, or will be by the abort; but not what a
	 * function of it could not even read.
	 */
	if (error->elevel > FATAL ||
		(attempts_started() && error->internalquery == NULL) ||
		attempts_error_is_counted() || IsParallelWorker() ||
		!deploydb_track_writes || own_work_level > 0 ||
		!rejected_statement(error, &named) ||
		!counters_find_name(MyDatabaseId, named.schema, named.name, &target))
		return;
	target.others = app_role_is_other(false);
	attempt_rejected(&target, error->sqlerrcode, 0);
}

static void
writes_emit_log(ErrorData *error)
{
	if (error->elevel >= ERROR && !in_hook && counters_there())
	{
		in_hook = true;
		counters_add_log_line(MyDatabaseId, error->sqlerrcode,
							  MyProc != NULL ? application_name : NULL);
		if (attempts_started())
			attempts_raised(error->sqlerrcode, error->constraint_name);
		if (MyProc != NULL && OidIsValid(MyDatabaseId))
			look_for_rejected(error);
		in_hook = false;
	}
	if (previous_emit_log)
		previous_emit_log(error);
}

void
log_hook_init(void)
{
	previous_emit_log = emit_log_hook;
	emit_log_hook = writes_emit_log;
}
