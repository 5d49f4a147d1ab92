/*
 * guard.c
 *		Makes a monitor leave where it would be in the way, and come back.
 *
 * DROP DATABASE, ALTER DATABASE RENAME and SET TABLESPACE, and CREATE DATABASE
 * from a template, need a database that nobody is in.  They hold its slot until
 * their transaction has ended, however it does, or their subtransaction failed.
 * Whoever has no right to do what he asks for disturbs nobody.
 *
 * Locking: that of the slots.  Errors: the hold is given back at the abort.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "clock.h"
#include "compat.h"
#include "worker/guard.h"
#include "worker/slots.h"
#include "worker/two_phase.h"
#include "worker/wake.h"

#define FIRST_HOLDS 8			/* then twice as many, and so on */
#define POLL_MS 5
#define POLITE_MS 100			/* then a tick that runs is ended */
#define PATIENCE_MS 3000		/* then the server's own check may fail */

static ProcessUtility_hook_type next_utility = NULL;

/* Of this transaction; those of a subtransaction are the last ones. */
typedef struct Hold
{
	Oid			database;
	SubTransactionId subtransaction;
} Hold;

static Hold *holds = NULL;
static int	nholds = 0;
static int	room_for_holds = 0;

/* ---- who may do what ------------------------------------------------------ */

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return may;
}

static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return result;
}

/* ---- which database ------------------------------------------------------- */

static const char *
option_text(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, name) == 0)
			return option->arg != NULL ? defGetString(option) : NULL;
	}
	return NULL;
}

/* That must be empty for the statement, if the caller may run it. */
static Oid
database_to_empty(Node *statement)
{
	const char *name = NULL;
	bool		copies = false;
	Oid			database;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			name = ((DropdbStmt *) statement)->dbname;
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				name = ((RenameStmt *) statement)->subname;
			break;
		case T_AlterDatabaseStmt:
			if (option_text(((AlterDatabaseStmt *) statement)->options, "tablespace"))
				name = ((AlterDatabaseStmt *) statement)->dbname;
			break;
		case T_CreatedbStmt:
			name = option_text(((CreatedbStmt *) statement)->options, "template");
			if (name == NULL)
				name = "template1";
			copies = true;
			break;
		default:
			break;
	}
	database = name != NULL ? get_database_oid(name, true) : InvalidOid;
	/* One's own can be copied, and nothing else of these. */
	if (!OidIsValid(database) || (database == MyDatabaseId && !copies))
		return InvalidOid;
	if (copies && may_create_databases() && is_template(database))
		return database;
	if (!compat_database_ownercheck(database, GetUserId()) ||
		((copies || IsA(statement, RenameStmt)) && !may_create_databases()))
		return InvalidOid;
	return database;
}

/* ---- holding it ----------------------------------------------------------- */

/* An idle monitor leaves by itself; one at work is ended after a while. */
static void
wait_until_gone(Oid database, int pid)
{
	int64		begun = clock_ms();
	bool		ended = false;

	while (is_in_database(pid, database))
	{
		int64		waited = clock_ms() - begun;

		if (waited > PATIENCE_MS)
			return;
		if (waited > POLITE_MS && !ended)
		{
			(void) kill(pid, SIGTERM);
			ended = true;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 POLL_MS, compat_wait_event("DeploydbMonitorExit"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
release_last(void)
{
	slot_release(holds[--nholds].database);
}

/* Runs where no error may be raised. */
static void
transaction_ended(ResourceReleasePhase phase, bool isCommit, bool isTopLevel,
				  void *arg)
{
	(void) isCommit;
	(void) arg;
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !isTopLevel || nholds == 0)
		return;
	while (nholds > 0)
		release_last();
	wake_launcher();
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId mySubid,
					 SubTransactionId parentSubid, void *arg)
{
	int			before = nholds;

	(void) arg;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nholds - 1; i >= 0 && holds[i].subtransaction == mySubid; i--)
			holds[i].subtransaction = parentSubid;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nholds > 0 && holds[nholds - 1].subtransaction == mySubid)
			release_last();
		if (nholds < before)
			wake_launcher();
	}
}

static void
make_room(void)
{
	int			room = room_for_holds == 0 ? FIRST_HOLDS : 2 * room_for_holds;

	if (holds == NULL)
	{
		holds = MemoryContextAlloc(TopMemoryContext, room * sizeof(Hold));
		RegisterResourceReleaseCallback(transaction_ended, NULL);
		RegisterSubXactCallback(subtransaction_ended, NULL);
	}
	else
		holds = repalloc(holds, room * sizeof(Hold));
	room_for_holds = room;
}

static void
hold(Oid database)
{
	int			pid;

	if (nholds == room_for_holds)
		make_room();
	if (!slot_hold(database, &pid))
		return;
	holds[nholds].database = database;
	holds[nholds++].subtransaction = GetCurrentSubTransactionId();
	if (pid == 0)
		return;
	wake_monitor_now(database, pid);
	wait_until_gone(database, pid);
}

/* ---- hooks ---------------------------------------------------------------- */

static void
guard_utility(PlannedStmt *pstmt, const char *queryString,
			  bool readOnlyTree, ProcessUtilityContext context,
			  ParamListInfo params, QueryEnvironment *queryEnv,
			  DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	TwoPhase	two_phase = two_phase_read(statement);

	if (IsA(statement, DropdbStmt) || IsA(statement, CreatedbStmt) ||
		IsA(statement, AlterDatabaseStmt) ||
		(IsA(statement, RenameStmt) &&
		 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE))
	{
		Oid			database = database_to_empty(statement);

		wake_launcher_at_end();
		if (OidIsValid(database))
			hold(database);
	}
	next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv,
				 dest, qc);
	two_phase_done(two_phase);
}

void
guard_init(void)
{
	next_utility = ProcessUtility_hook ? ProcessUtility_hook :
		standard_ProcessUtility;
	ProcessUtility_hook = guard_utility;
}
