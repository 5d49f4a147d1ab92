/*
 * wait_insight.c
 *		Waits until a decision has its insight.
 *
 * Each look has a snapshot of its own, in a REPEATABLE READ transaction too,
 * and the waits between hold none.  The statements run with the caller's
 * rights.
 * Locking: what a SELECT takes.  Errors: those of the statements.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "writes/hooks.h"

/* Between two looks. */
#define LOOK_AGAIN_MS 50

PG_FUNCTION_INFO_V1(deploydb_wait_insight);

/* One value of a statement with a text and a number, in the caller's context. */
static Datum
look(const char *sql, Datum decision_id, bool no_decision, int64 number,
	 MemoryContext caller, bool *isnull)
{
	Oid			types[2] = {TEXTOID, INT8OID};
	Datum		values[2];
	char		nulls[2] = {no_decision ? 'n' : ' ', ' '};
	SPIPlanPtr	plan;
	Snapshot	snapshot;
	Datum		result;
	MemoryContext old;

	values[0] = decision_id;
	values[1] = Int64GetDatum(number);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	plan = SPI_prepare(sql, 2, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\"", sql);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(plan, values, nulls, snapshot, InvalidSnapshot,
							 true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", sql);
	UnregisterSnapshot(snapshot);
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						   isnull);
	old = MemoryContextSwitchTo(caller);
	if (!*isnull)
		result = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
	MemoryContextSwitchTo(old);
	SPI_finish();
	return result;
}

static void
wait_a_moment(int64 milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 (long) milliseconds, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

Datum
deploydb_wait_insight(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	bool		no_decision = PG_ARGISNULL(0);
	Datum		decision_id = no_decision ? (Datum) 0 : PG_GETARG_DATUM(0);
	int64		timeout;
	int64		waited;
	instr_time	start;
	bool		missing;

	if (PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout_ms must be 0 or more")));
	timeout = PG_GETARG_INT32(1);
	INSTR_TIME_SET_CURRENT(start);
	if (no_decision)
		decision_id = look("SELECT deploydb.newest_decision() WHERE $1 IS NULL AND $2 IS NOT NULL",
						   (Datum) 0, true, 0, context, &no_decision);
	for (;;)
	{
		waited = microseconds_since(start) / 1000;
		(void) look("SELECT deploydb.look_for_insight($1) WHERE $2 IS NOT NULL",
					decision_id, no_decision, 0, context, &missing);
		if (!missing || waited >= timeout || no_decision)
			break;
		wait_a_moment(Min(LOOK_AGAIN_MS, timeout - waited));
	}
	PG_RETURN_DATUM(look("SELECT COALESCE(deploydb.look_for_insight($1),"
						 " pg_catalog.jsonb_build_object('decisionId', $1,"
						 " 'stateSnapshot', NULL, 'difficultyFactors', NULL, 'triggers', NULL,"
						 " 'problems', pg_catalog.jsonb_build_array(CASE WHEN $1 IS NULL"
						 "  THEN 'there is no decision' ELSE 'missing' END)))"
						 " OPERATOR(pg_catalog.||)"
						 " pg_catalog.jsonb_build_object('waitedMs', $2)",
						 decision_id, no_decision, waited, context, &missing));
}
