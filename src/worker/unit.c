/*
 * unit.c
 *		Units of the monitor's work, each in a transaction of its own.
 *
 * Locking, memory and errors: see unit.h.
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
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "settings.h"
#include "worker/unit.h"

#define SHORTEST_TIMEOUT_MS 10000

static Oid	units_extension = InvalidOid;

void
units_begin(Oid extension)
{
	units_extension = extension;
}

/* False where it has been dropped. */
static bool
lock_extension(void)
{
	LockDatabaseObject(ExtensionRelationId, units_extension, 0,
					   AccessShareLock);
	return get_extension_oid("deploydb", true) == units_extension;
}

static void
begin(const Unit *unit)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, unit->activity);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (!unit->of_user)
		enable_timeout_after(STATEMENT_TIMEOUT,
							 Max(deploydb_metrics_collection_interval,
								 SHORTEST_TIMEOUT_MS));
}

static void
set_lock_timeout(const char *timeout)
{
	if (timeout != NULL)
		(void) set_config_option("lock_timeout", timeout, PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* Keeps what it failed with; true where that is news. */
static bool
keep_failure(Unit *unit, const char *message)
{
	char	   *last = unit->last_failure;

	if (last != NULL && message != NULL && strcmp(last, message) == 0)
		return false;
	unit->last_failure = message ?
		MemoryContextStrdup(TopMemoryContext, message) : NULL;
	if (last != NULL)
		pfree(last);
	return true;
}

static void
end(Unit *unit)
{
	if (!unit->of_user)
		disable_timeout(STATEMENT_TIMEOUT, false);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	(void) keep_failure(unit, NULL);
}

/* Ends the transaction of the error that is being handled. */
static void
fail(Unit *unit, MemoryContext context, UnitError *error)
{
	ErrorData  *data;

	MemoryContextSwitchTo(context);
	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	data = CopyErrorData();
	error->sqlstate = data->sqlerrcode;
	error->message = data->message;
	if (!unit->of_user && keep_failure(unit, data->message))
		EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
	RESUME_INTERRUPTS();
}

bool
unit_try(Unit *unit, UnitWork work, void *argument, UnitError *error)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	memset(error, 0, sizeof(*error));
	PG_TRY();
	{
		begin(unit);
		if (unit->of_user || lock_extension())
		{
			set_lock_timeout(unit->lock_timeout);
			work(argument);
			done = true;
		}
		end(unit);
	}
	PG_CATCH();
	{
		done = false;
		fail(unit, context, error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return done;
}

typedef struct Call
{
	const char *sql;
	const char *text;
} Call;

static void
call(void *argument)
{
	const Call *what = argument;
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(what->text);

	if (SPI_execute_with_args(what->sql, 1, &type, &value, NULL, false, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", what->sql);
}

void
unit_record(const Unit *unit, const UnitError *error)
{
	static Unit recording = {.activity = "recording an error"};
	Call		what = {"SELECT deploydb.record_monitor_error($1)", NULL};
	UnitError	ignored;

	if (error->message == NULL)
		return;
	what.text = psprintf("%s: %s", unit->activity, error->message);
	(void) unit_try(&recording, call, &what, &ignored);
}

bool
unit_run(Unit *unit, UnitWork work, void *argument)
{
	UnitError	error;
	bool		done = unit_try(unit, work, argument, &error);

	unit_record(unit, &error);
	return done;
}

bool
unit_call(Unit *unit, const char *sql, const char *text)
{
	Call		what = {sql, text};

	return unit_run(unit, call, &what);
}
