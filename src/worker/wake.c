/*
 * wake.c
 *		Waking the launcher and the monitor of this database.
 *
 * A monitor is woken by SIGUSR2, which its handler tells from all else that
 * sets its latch.
 *
 * Locking and errors: see wake.h.
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/resowner.h"

#include "compat.h"
#include "verify/owner.h"
#include "worker/monitor.h"
#include "worker/slots.h"
#include "worker/wake.h"

PG_FUNCTION_INFO_V1(deploydb_wake_monitor);

static bool monitor_at_commit = false;
static bool launcher_at_end = false;
static int	monitor_pid = 0;	/* where there are no slots */

bool
is_in_database(int pid, Oid database)
{
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	return proc != NULL && proc->databaseId == database;
}

/* To some other process the signal means something else. */
void
wake_monitor_now(Oid database, int pid)
{
	const char *type;

	if (pid == MyProcPid || !is_in_database(pid, database))
		return;
	type = GetBackgroundWorkerTypeByPid(pid);
	if (type != NULL && strcmp(type, MONITOR_TYPE) == 0)
		(void) kill(pid, SIGUSR2);
}

void
wake_launcher(void)
{
	int			pid = slots_wake_launcher();
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

static void
wake_monitor_or_launcher(void)
{
	int			pid;

	if (!slots_there())
	{
		wake_monitor_now(MyDatabaseId, monitor_pid);
		return;
	}
	pid = slot_wake(MyDatabaseId);
	if (pid != 0)
		wake_monitor_now(MyDatabaseId, pid);
	else
		wake_launcher();
}

static void
wake_at_end(bool committed)
{
	bool		monitor = monitor_at_commit && committed;
	bool		launcher = launcher_at_end;

	monitor_at_commit = false;
	launcher_at_end = false;
	if (monitor)
		wake_monitor_or_launcher();
	if (launcher)
		wake_launcher();
}

/* Runs where no error may be raised, thrice in each transaction. */
static void
transaction_ended(ResourceReleasePhase phase, bool isCommit, bool isTopLevel,
				  void *arg)
{
	(void) arg;
	if (phase == RESOURCE_RELEASE_AFTER_LOCKS && isTopLevel &&
		(monitor_at_commit || launcher_at_end))
		wake_at_end(isCommit);
}

/* Sessions that wake nobody have no callback. */
static void
call_at_end(void)
{
	static bool registered = false;

	if (!registered)
		RegisterResourceReleaseCallback(transaction_ended, NULL);
	registered = true;
}

/* What the monitor last said of itself; it may be gone. */
static int
read_monitor_pid(void)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	char	   *text;
	int			pid = 0;

	owner_begin(&scope);
	owner_execute(&plan, "SELECT pid FROM deploydb.monitor_state",
				  SPI_OK_SELECT, 0, NULL, NULL, NULL);
	if (SPI_processed > 0 && (text = owner_text(0, 1)) != NULL)
		pid = atoi(text);
	owner_end(&scope);
	return pid;
}

void
wake_monitor_at_commit(void)
{
	if (!slots_there())
		monitor_pid = read_monitor_pid();
	call_at_end();
	monitor_at_commit = true;
}

bool
wake_monitor_taken_back(void)
{
	bool		result = monitor_at_commit;

	monitor_at_commit = false;
	return result;
}

void
wake_launcher_at_end(void)
{
	call_at_end();
	launcher_at_end = true;
}

/* True where there is a monitor to wake. */
Datum
deploydb_wake_monitor(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	wake_monitor_at_commit();
	PG_RETURN_BOOL(is_in_database(slots_there() ? slot_pid(MyDatabaseId) :
								  monitor_pid, MyDatabaseId));
}
