/*
 * launcher.c
 *		Finds the databases that have the extension, and sees to it that each
 *		has a monitor.
 *
 * The launcher is in no database and reads pg_database alone.  Whether a
 * database has the extension a monitor finds out, of which one at a time is
 * started; a database that has none is left alone until CREATE EXTENSION there
 * commits.  What the launcher knows is lost with it, and found out again; the
 * monitors that run go on.
 *
 * Locking: that of the slots.  Errors: the launcher ends, and the postmaster
 * starts it again after RESTART_SECONDS.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "compat.h"
#include "settings.h"
#include "worker/launcher.h"
#include "worker/monitor.h"
#include "worker/slots.h"
#include "worker/wake.h"

#define RESTART_SECONDS 5
#define LOOK_AROUND_MS 60000	/* for what nobody tells us */
#define PROBE_MS 10000			/* then others need not wait for it */
#define BACKOFF_MS 1000			/* doubling */
#define LONGEST_BACKOFF_MS 60000
#define HEALTHY_MS 60000		/* after so long, failures are forgotten */
#define NO_WORKER_MS 5000

/* datconnlimit of a database that DROP DATABASE left half done */
#define INVALID_DATABASE_LIMIT (-2)

typedef struct Database
{
	Oid			oid;			/* the key */
	NameData	name;
	bool		eligible;
	bool		seen;			/* in pg_database */
	bool		no_extension;
	bool		busy;			/* has a monitor, or a hold, or is starting */
	bool		held;			/* its monitor may come back when that ends */
	bool		had_monitor;	/* that had found the extension */
	int			failures;
	int64		not_before_ms;
} Database;

extern PGDLLEXPORT void deploydb_launcher_main(Datum arg);

static HTAB *databases = NULL;
static MonitorSlot *slots = NULL;

/* The start that is under way, if one is. */
static BackgroundWorkerHandle *start_handle = NULL;
static Oid	start_database = InvalidOid;
static uint32 start_ticket;
static int64 start_until_ms;

/* No worker is left, which the log has; none is tried before. */
static bool out_of_workers = false;
static int64 no_worker_until_ms = 0;

void
launcher_init(void)
{
	BackgroundWorker worker = {0};

	if (IsBinaryUpgrade)
		return;
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "deploydb", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "deploydb_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "deploydb launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "deploydb launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* ---- what there is -------------------------------------------------------- */

static Database *
database_entry(Oid oid)
{
	bool		found;
	Database   *database = hash_search(databases, &oid, HASH_ENTER, &found);

	if (!found)
	{
		memset(database, 0, sizeof(*database));
		database->oid = oid;
	}
	return database;
}

static void
read_databases(void)
{
	Relation	relation;
	SysScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		Database   *database = database_entry(form->oid);

		database->seen = true;
		database->name = form->datname;
		database->eligible = deploydb_monitor &&
			form->datallowconn && !form->datistemplate &&
			form->datconnlimit != INVALID_DATABASE_LIMIT &&
			database_is_listed(NameStr(form->datname));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
}

/* A monitor has ended. */
static void
monitor_is_gone(Database *database, const MonitorSlot *slot)
{
	int64		now = clock_ms();
	int64		delay = BACKOFF_MS;

	if (slot->exit == EXIT_NO_EXTENSION)
	{
		database->no_extension = true;
		database->had_monitor = false;
	}
	if (slot->exit != EXIT_FAILED)
	{
		database->failures = 0;
		return;
	}
	if (now - slot->started_ms > HEALTHY_MS)
		database->failures = 0;
	for (int i = 0; i < database->failures && delay < LONGEST_BACKOFF_MS; i++)
		delay *= 2;
	database->not_before_ms = now + Min(delay, LONGEST_BACKOFF_MS);
	database->failures++;
}

/* Whoever has begun since, or never will, is no start under way. */
static void
start_is_over(void)
{
	if (start_handle != NULL)
		pfree(start_handle);
	start_handle = NULL;
	start_database = InvalidOid;
}

static void
read_slots(void)
{
	bool		everything;
	bool		starting = false;
	int			count = slots_collect(slots, &everything);
	HASH_SEQ_STATUS status;
	Database   *database;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
	{
		database->busy = false;
		database->held = false;
		if (everything)
			database->no_extension = false;
	}
	for (int i = 0; i < count; i++)
	{
		MonitorSlot *slot = &slots[i];

		database = database_entry(slot->database);
		database->busy = slot->holds > 0 ||
			slot->phase == MONITOR_STARTING || slot->phase == MONITOR_RUNNING;
		database->held = slot->holds > 0;
		if (slot->phase == MONITOR_RUNNING)
			database->had_monitor = true;
		if (slot->phase == MONITOR_WANTED)
			database->no_extension = false;
		else if (slot->phase == MONITOR_GONE)
			monitor_is_gone(database, slot);
		else if (slot->phase == MONITOR_STARTING &&
				 slot->database == start_database &&
				 slot->ticket == start_ticket)
			starting = true;
	}
	if (!starting)
		start_is_over();
}

static void
forget_dropped(void)
{
	HASH_SEQ_STATUS status;
	Database   *database;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
	{
		if (!database->seen && !database->busy)
		{
			slot_forget_metric(database->oid);
			(void) hash_search(databases, &database->oid, HASH_REMOVE, NULL);
			continue;
		}
		if (!database->seen)
			database->eligible = false;
		database->seen = false;
	}
}

/* ---- what to do about it -------------------------------------------------- */

static void
end_unwanted(const Database *database)
{
	int			pid = slot_ask_to_leave(database->oid);

	if (pid != 0)
		wake_monitor_now(database->oid, pid);
}

static void
no_worker(const Database *database)
{
	if (!out_of_workers)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("deploydb has no background worker left for the monitor of database \"%s\"",
						NameStr(database->name)),
				 errdetail("Those of other databases may lack one, too."),
				 errhint("Increase \"max_worker_processes\", or list fewer databases in \"deploydb.databases\".")));
	out_of_workers = true;
	no_worker_until_ms = clock_ms() + NO_WORKER_MS;
}

static void
start_monitor(Database *database)
{
	BackgroundWorker worker;

	if (!slot_take(database->oid, &start_ticket))
	{
		/* Somebody has just begun to hold it. */
		database->not_before_ms = clock_ms() + NO_WORKER_MS;
		return;
	}
	monitor_worker(&worker, database->oid, start_ticket);
	if (!RegisterDynamicBackgroundWorker(&worker, &start_handle))
	{
		start_handle = NULL;
		(void) slot_give_up(database->oid, start_ticket);
		no_worker(database);
		return;
	}
	if (out_of_workers)
		ereport(LOG, (errmsg("deploydb has background workers again")));
	out_of_workers = false;
	database->busy = true;
	start_database = database->oid;
	start_until_ms = clock_ms() + PROBE_MS;
}

/* One that ended before it came to its slot. */
static void
check_start(void)
{
	pid_t		pid;

	if (start_handle != NULL &&
		GetBackgroundWorkerPid(start_handle, &pid) == BGWH_STOPPED &&
		slot_give_up(start_database, start_ticket))
	{
		MonitorSlot failed = {.exit = EXIT_FAILED,.started_ms = clock_ms()};

		monitor_is_gone(database_entry(start_database), &failed);
		start_is_over();
	}
}

/*
 * Where workers are scarce, a database that has just been made, such as a copy,
 * waits for those that were watched.
 */
static bool
comes_before(const Database *database, const Database *other)
{
	return other == NULL || (database->had_monitor && !other->had_monitor);
}

/* Milliseconds until there is something to do, if nobody calls before. */
static long
start_those_due(void)
{
	int64		now = clock_ms();
	int64		next = now + LOOK_AROUND_MS;
	HASH_SEQ_STATUS status;
	Database   *database;
	Database   *due = NULL;
	Database   *awaited = NULL;

	if (OidIsValid(start_database) && now >= start_until_ms)
		start_is_over();
	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
	{
		int64		not_before = Max(database->not_before_ms, no_worker_until_ms);

		if (!database->eligible && database->busy)
			end_unwanted(database);
		if (database->eligible && database->held && !database->no_extension &&
			comes_before(database, awaited))
			awaited = database;
		if (!database->eligible || database->busy || database->no_extension)
			continue;
		if (OidIsValid(start_database))
			next = Min(next, start_until_ms);
		else if (now < not_before)
			next = Min(next, not_before);
		else if (comes_before(database, due))
			due = database;
	}
	/* Whoever ends the hold wakes us. */
	if (due != NULL && !(out_of_workers && awaited != NULL && comes_before(awaited, due)))
	{
		start_monitor(due);
		next = Min(next, OidIsValid(start_database) ? start_until_ms :
				   Max(due->not_before_ms, no_worker_until_ms));
	}
	return (long) Max(next - now, 1);
}

static void
launcher_ends(int code, Datum arg)
{
	(void) code;
	(void) arg;
	slots_launcher_ends();
}

void
deploydb_launcher_main(Datum arg)
{
	HASHCTL		control = {.keysize = sizeof(Oid),.entrysize = sizeof(Database)};

	(void) arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	if (!slots_there())
		proc_exit(0);
	before_shmem_exit(launcher_ends, (Datum) 0);
	slots_launcher_begins();

	MemoryContextSwitchTo(TopMemoryContext);
	databases = hash_create("deploydb databases", 64, &control,
							HASH_ELEM | HASH_BLOBS);
	slots = palloc(slots_size() * sizeof(MonitorSlot));

	for (;;)
	{
		long		timeout;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		slots_launcher_looks();
		check_start();
		read_slots();
		read_databases();
		forget_dropped();
		MemoryContextSwitchTo(TopMemoryContext);
		timeout = start_those_due();
		if (slots_launcher_woken() || ConfigReloadPending)
			timeout = 0;
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, compat_wait_event("DeploydbLauncher"));
		ResetLatch(MyLatch);
	}
}
