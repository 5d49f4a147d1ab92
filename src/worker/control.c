/*
 * control.c
 *		Starting and stopping a monitor by hand, where nothing is preloaded; and
 *		whether one is to run here.
 *
 * Locking: the monitor's lock, tried.  Errors: where it cannot be done.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "settings.h"
#include "verify/owner.h"
#include "worker/monitor.h"
#include "worker/slots.h"
#include "worker/wake.h"

PG_FUNCTION_INFO_V1(deploydb_start_monitor);
PG_FUNCTION_INFO_V1(deploydb_stop_monitor);
PG_FUNCTION_INFO_V1(deploydb_is_listed);

static void
check_not_preloaded(void)
{
	if (slots_there())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("monitors are started and stopped by deploydb's launcher"),
				 errhint("Set \"deploydb.monitor\" or \"deploydb.databases\", and reload.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("no monitor runs on a standby")));
}

/* False when there is one. */
Datum
deploydb_start_monitor(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	(void) fcinfo;
	check_not_preloaded();
	if (!deploydb_monitor)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"deploydb.monitor\" is off"),
				 errhint("ALTER SYSTEM SET deploydb.monitor = on; SELECT pg_reload_conf(); -- and call it again")));
	if (monitor_is_there())
		PG_RETURN_BOOL(false);
	monitor_worker(&worker, MyDatabaseId, 0);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is left for the monitor"),
				 errhint("Increase \"max_worker_processes\".")));
	if (WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_POSTMASTER_DIED)
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("the postmaster has died")));
	PG_RETURN_BOOL(true);
}

/* It leaves once this transaction has committed.  False when there is none. */
Datum
deploydb_stop_monitor(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;

	(void) fcinfo;
	check_not_preloaded();
	if (!monitor_is_there())
		PG_RETURN_BOOL(false);
	owner_begin(&scope);
	owner_execute(&plan, "UPDATE deploydb.monitor_state SET state = 'stopping'",
				  SPI_OK_UPDATE, 0, NULL, NULL, NULL);
	owner_end(&scope);
	wake_monitor_at_commit();
	PG_RETURN_BOOL(true);
}

/* Is this database one of deploydb.databases? */
Datum
deploydb_is_listed(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(database_is_listed(get_database_name(MyDatabaseId)));
}
