/*
 * monitor.c
 *		The monitor: one background worker for each database.
 *
 * It ticks each interval, and when somebody wakes it, by units that have a
 * transaction each.  While it waits it is in none, so that whoever asks it to
 * leave need not wait.
 *
 * Locking: the monitor's own lock as long as it runs; a tick keeps the
 * extension from being dropped.  Errors: those before the loop end it, and those
 * of a look for the extension; the launcher starts it again.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "alerts/user_metric.h"
#include "clock.h"
#include "compat.h"
#include "settings.h"
#include "webhooks/sender.h"
#include "worker/alone.h"
#include "worker/extension_parts.h"
#include "worker/monitor.h"
#include "worker/session.h"
#include "worker/slots.h"
#include "worker/unit.h"
#include "worker/wake.h"

#define RESTART_SECONDS 5		/* where no launcher restarts it */
#define GAP_MS 200				/* after each tick, for messages */
#define LOOK_AGAIN_MS 1000		/* after a tick that somebody asked for */

extern PGDLLEXPORT void deploydb_monitor_main(Datum arg);

typedef enum ExtensionState
{
	EXTENSION_MISSING,
	EXTENSION_OTHER_VERSION,
	EXTENSION_READY
} ExtensionState;

static volatile sig_atomic_t woken = false;

static MonitorExit exit_reason = EXIT_FAILED;
static Oid	extension = InvalidOid; /* as it was when we began */
static MemoryContext unit_context = NULL;

/* When the monitor ticks; times are those of clock_ms(). */
static struct
{
	int64		next_ms;
	int64		last_ms;		/* 0 before the first */
	int64		ended_ms;
	double		stretch;		/* of the interval */
	bool		asked;			/* somebody waits for the next one */
}			ticks = {.stretch = 1.0};

/* The round of people's metrics. */
static struct
{
	bool		under_way;
	int64		begun_ms;
	int64		waits_since_ms; /* for the answers to requests */
	MetricRound round;
}			metrics;

void
monitor_worker(BackgroundWorker *worker, Oid database, uint32 ticket)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = ticket != 0 ? BGW_NEVER_RESTART : RESTART_SECONDS;
	strlcpy(worker->bgw_library_name, "deploydb", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "deploydb_monitor_main", BGW_MAXLEN);
	strlcpy(worker->bgw_name, MONITOR_TYPE, BGW_MAXLEN);
	strlcpy(worker->bgw_type, MONITOR_TYPE, BGW_MAXLEN);
	worker->bgw_main_arg = ObjectIdGetDatum(database);
	memcpy(worker->bgw_extra, &ticket, sizeof(ticket));
	worker->bgw_notify_pid = MyProcPid;
}

/* ---- the lock ------------------------------------------------------------- */

static LOCKTAG
lock_tag(Oid extension_oid)
{
	LOCKTAG		tag;

	/* A user's lock is kept at an abort, and released when the process ends. */
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension_oid,
					   MONITOR_PART);
	tag.locktag_lockmethodid = USER_LOCKMETHOD;
	return tag;
}

static bool
monitor_lock(Oid extension_oid, bool for_session)
{
	LOCKTAG		tag = lock_tag(extension_oid);

	return LockAcquire(&tag, ExclusiveLock, for_session, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Advisory locks are a session's, too: what a query of people's took is given
 * back, and ours is taken again, as it may have released all there are.
 */
static void
monitor_lock_alone(void)
{
	LockReleaseSession(USER_LOCKMETHOD);
	if (!monitor_lock(extension, true))
	{
		exit_reason = EXIT_FAILED;
		proc_exit(1);
	}
}

bool
monitor_is_there(void)
{
	Oid			oid = get_extension_oid("deploydb", false);
	LOCKTAG		tag = lock_tag(oid);

	if (!monitor_lock(oid, false))
		return true;
	(void) LockRelease(&tag, ExclusiveLock, false);
	return false;
}

/* ---- units of work -------------------------------------------------------- */

static void
execute(void *sql)
{
	int			code = SPI_execute(sql, false, 0);

	if (code < 0)
		elog(ERROR, "\"%s\" gave %s", (char *) sql, SPI_result_code_string(code));
}

static bool
try_sql(Unit *unit, const char *sql, UnitError *error)
{
	return unit_try(unit, execute, unconstify(char *, sql), error);
}

static bool
run_sql(Unit *unit, const char *sql)
{
	return unit_run(unit, execute, unconstify(char *, sql));
}

/* ---- the extension -------------------------------------------------------- */

/*
 * The extension and the version of its SQL objects, InvalidOid and NULL where
 * there is none: by one look, as it may be dropped and created between two.
 */
static Oid
extension_read(char **version)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	Oid			oid = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	*version = NULL;
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("deploydb"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		oid = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*version = TextDatumGetCString(heap_getattr(tuple, Anum_pg_extension_extversion,
													RelationGetDescr(relation), &isnull));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return oid;
}

/* The first time, it also takes the monitor's lock. */
static ExtensionState
extension_look(void)
{
	ExtensionState state = EXTENSION_MISSING;
	char	   *version;
	Oid			oid;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	if (!slots_there() && alone_in_the_way())
		proc_exit(1);			/* and come back, if the database is there */
	oid = extension_read(&version);
	if (OidIsValid(oid) && !OidIsValid(extension))
	{
		if (!monitor_lock(oid, true))
		{
			/* Another one is here, or on its way out. */
			exit_reason = EXIT_FAILED;
			proc_exit(0);
		}
		extension = oid;
		units_begin(oid);
	}
	if (OidIsValid(oid) && oid == extension)
		state = strcmp(version, DEPLOYDB_VERSION) == 0 ? EXTENSION_READY :
			EXTENSION_OTHER_VERSION;
	else if (OidIsValid(oid))
	{
		/* Dropped and created again: we have the other's lock. */
		exit_reason = EXIT_LEFT;
		proc_exit(slots_there() ? 0 : 1);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(unit_context);
	return state;
}

static void
look_whether_to_stop(void *stop)
{
	if (SPI_execute("SELECT FROM deploydb.monitor_state"
					" WHERE state OPERATOR(pg_catalog.=) 'stopping'",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the monitor's state");
	*(bool *) stop = SPI_processed > 0;
}

/* Where no launcher tells, a row does. */
static bool
must_leave(void)
{
	static Unit looking = {.activity = "looking whether to stop"};
	UnitError	error;
	bool		stop = false;

	if (slots_there())
		return slot_must_leave(MyDatabaseId);
	if (!deploydb_monitor)
		return true;
	return OidIsValid(extension) &&
		unit_try(&looking, look_whether_to_stop, &stop, &error) && stop;
}

/* ---- the loop ------------------------------------------------------------- */

static void
handle_wake(SIGNAL_ARGS)
{
	int			save_errno = errno;

	(void) postgres_signal_arg;
	woken = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
tick(void)
{
	static Unit whole = {.activity = "tick"};
	static Unit in_scopes = {.activity = "tick"};

	/* Whoever commits a NOTIFY and waits for a standby has the lock for that. */
	static Unit notifying = {
		.activity = "notifying",
		.lock_timeout = SHORT_LOCK_TIMEOUT
	};
	UnitError	error;
	bool		committed;

	/* Scopes take transaction ids: there are none unless something fails. */
	committed = try_sql(&whole, "SELECT deploydb.tick(false)", &error);
	if (error.sqlstate == ERRCODE_QUERY_CANCELED)
		unit_record(&whole, &error);	/* another try would take as long */
	else if (error.message != NULL)
		committed = run_sql(&in_scopes, "SELECT deploydb.tick()");

	(void) run_sql(&notifying, "SELECT deploydb.notify_events()");
	sender_tick(committed);
}

/*
 * A tick leaves free memory behind, most of it where plans were made anew: the
 * C library would keep it until the next one.
 */
static void
give_back_memory(void)
{
#ifdef __GLIBC__
	(void) malloc_trim(0);
#endif
}

/*
 * Whoever asked for a tick waits for messages, and the next tick is near; but
 * where somebody asks all the time, each interval has its round.
 */
static void
round_may_begin(int64 now)
{
	if (metrics.under_way ||
		(ticks.asked && now < metrics.begun_ms + deploydb_metrics_collection_interval))
		return;
	metrics.under_way = true;
	metrics.begun_ms = now;
	metrics.waits_since_ms = clock_ms();
	metrics.round.begun = GetCurrentTimestamp();
	metrics.round.unkept = 0;
}

/*
 * One query at a time, as messages wait meanwhile; and those that are under way
 * come first, as nobody would read their answers in time.
 */
static void
round_goes_on(void)
{
	if (sender_has_requests() &&
		clock_ms() < metrics.waits_since_ms + deploydb_webhook_timeout)
		return;
	metrics.under_way = user_metric_run(&metrics.round);
	if (metrics.under_way)
	{
		monitor_lock_alone();
		metrics.waits_since_ms = clock_ms();
	}
	else
		give_back_memory();
}

/* A tenth more or less, so that databases do not tick all at once. */
static double
next_stretch(void)
{
	return 0.9 + 0.2 * pg_prng_double(&pg_global_prng_state);
}

static int64
interval_ms(void)
{
	return (int64) (deploydb_metrics_collection_interval * ticks.stretch);
}

static bool
tick_is_due(int64 now)
{
	/* The interval may have become shorter. */
	if (ticks.last_ms != 0)
		ticks.next_ms = Min(ticks.next_ms, ticks.last_ms + interval_ms());
	if (ticks.asked)
		ticks.next_ms = Min(ticks.next_ms, now);
	ticks.next_ms = Max(ticks.next_ms, ticks.ended_ms + GAP_MS);
	return now >= ticks.next_ms;
}

static void
tick_at(int64 now)
{
	ticks.last_ms = now;
	tick();
	ticks.ended_ms = clock_ms();
	round_may_begin(now);
	pgstat_report_stat(true);
	give_back_memory();
	ticks.stretch = next_stretch();
	ticks.next_ms = Max(now + (ticks.asked ? LOOK_AGAIN_MS : interval_ms()),
						ticks.ended_ms + GAP_MS);
	ticks.asked = false;
}

/* Until it is recorded, the note of what the one before us ran stays. */
static bool
begin_work(void)
{
	static Unit beginning = {.activity = "beginning"};
	static Unit recording = {.activity = "recording an end"};
	char		metric[SLOT_METRIC_SIZE] = "";

	if (slots_there())
		slot_noted_metric(MyDatabaseId, metric);
	if (!run_sql(&beginning, "SELECT deploydb.monitor_begins()"))
		return false;
	if (metric[0] == '\0')
		return true;
	if (!unit_call(&recording, "SELECT deploydb.record_end($1)", metric))
		return false;
	slot_note_metric(MyDatabaseId, "");
	return true;
}

/* Everything that is due; gives the milliseconds until more is. */
static long
work(bool *begun, bool was_woken)
{
	int64		now = clock_ms();
	int64		left_ms;

	ticks.asked = ticks.asked || was_woken;
	if (!*begun)
	{
		*begun = begin_work();
		metrics.under_way = false;
		ticks.next_ms = now;
	}
	if (!*begun)
		return (long) interval_ms();
	if (tick_is_due(now))
		tick_at(now);
	else if (metrics.under_way)
		round_goes_on();
	left_ms = ticks.next_ms - clock_ms();
	if (metrics.under_way)
		left_ms = Min(left_ms, sender_has_requests() ? GAP_MS : 0);
	return (long) Max(left_ms, 0);
}

static bool
interrupted(void)
{
	return woken || ConfigReloadPending || InterruptPending;
}

static void
loop(void)
{
	bool		begun = false;
	bool		waiting = false;

	for (;;)
	{
		long		timeout = deploydb_metrics_collection_interval;
		bool		was_woken = false;

		if (woken)
		{
			woken = false;
			was_woken = true;
		}
		MemoryContextReset(unit_context);
		QueryCancelPending = false; /* there is nothing to cancel */
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (must_leave())
		{
			exit_reason = EXIT_LEFT;
			return;
		}
		switch (extension_look())
		{
			case EXTENSION_MISSING:
				exit_reason = EXIT_NO_EXTENSION;
				return;
			case EXTENSION_OTHER_VERSION:
				if (!waiting)
					ereport(LOG,
							(errmsg("the monitor of deploydb waits, as its SQL objects are not of version %s",
									DEPLOYDB_VERSION),
							 errhint("Run: ALTER EXTENSION deploydb UPDATE;")));
				waiting = true;
				begun = false;
				break;
			case EXTENSION_READY:
				waiting = false;
				timeout = work(&begun, was_woken);
				break;
		}
		if (slots_there() && slot_set_running(MyDatabaseId))
			wake_launcher();
		if (!slots_there())
			timeout = Min(timeout, ALONE_LOOK_MS);
		if (begun)
			sender_run(timeout, interrupted);
		else if (!interrupted())
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 timeout, compat_wait_event("DeploydbMonitor"));
			ResetLatch(MyLatch);
		}
	}
}

static void
monitor_ends(int code, Datum arg)
{
	(void) code;
	slot_leave(DatumGetObjectId(arg), exit_reason);
	wake_launcher();
}

void
deploydb_monitor_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);
	uint32		ticket;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGUSR2, handle_wake);
	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	if (slots_there())
	{
		if (!slot_claim(database, ticket))
		{
			wake_launcher();
			proc_exit(0);
		}
		before_shmem_exit(monitor_ends, arg);
	}
	else
		alone_begin();
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	session_begin();
	unit_context = AllocSetContextCreate(TopMemoryContext, "deploydb monitor",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(unit_context);
	loop();
	proc_exit(0);
}
