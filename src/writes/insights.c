/*
 * insights.c
 *		Do decisions have their insights?  Over a period, and of one decision.
 *
 * What is looked at, and how, is in SQL (sql/install/coverage.sql),
 * whose functions pin the search_path; here is what they cannot do: see the
 * caller's search_path, and look again and again.
 * Everything runs with the caller's rights.
 * Locking: what a SELECT takes.  wait_insight() gives its looks' locks and
 * snapshots back, so that a migration need not wait for it; the snapshot of the
 * statement that calls it stays, for which CREATE INDEX CONCURRENTLY waits.
 * Errors: those of the statements.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "clock.h"
#include "compat.h"
#include "writes/client_statement.h"

/* Between two looks. */
#define LOOK_AGAIN_MS 50

PG_FUNCTION_INFO_V1(deploydb_insight_coverage);
PG_FUNCTION_INFO_V1(deploydb_wait_insight);

/*
 * The first schema on the search_path that has the application's tables:
 * decision_insights, or where none has it, decision_records.
 */
static Datum
schema_on_search_path(char *null)
{
	static const char *const tables[] = {"decision_insights", "decision_records"};
	List	   *path = fetch_search_path(false);

	*null = ' ';
	for (size_t i = 0; i < lengthof(tables); i++)
	{
		ListCell   *lc;

		foreach(lc, path)
		{
			Oid			relid = get_relname_relid(tables[i], lfirst_oid(lc));
			char		kind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';
			char	   *schema;

			if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
				continue;
			schema = get_namespace_name(lfirst_oid(lc));
			if (schema != NULL)
				return CStringGetTextDatum(schema);
		}
	}
	*null = 'n';
	return (Datum) 0;
}

Datum
deploydb_insight_coverage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];
	char		nulls[3];

	InitMaterializedSRF(fcinfo, 0);
	values[0] = schema_on_search_path(&nulls[0]);
	for (int i = 0; i < 2; i++)
	{
		values[i + 1] = PG_GETARG_DATUM(i);
		nulls[i + 1] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("SELECT * FROM deploydb.insight_coverage_in($1, $2, $3)",
							  3, types, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not ask for the coverage");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	return (Datum) 0;
}

/* Parameters of a look. */
typedef struct Look
{
	Datum		values[3];		/* schema, decision, milliseconds waited */
	char		nulls[3];
} Look;

/* A statement's one value, or NULL, in the context. */
static Datum
look_now(const char *sql, Look *args, MemoryContext context, bool *isnull)
{
	Oid			types[3] = {TEXTOID, TEXTOID, INT8OID};
	SPIPlanPtr	plan;
	Snapshot	snapshot;
	Datum		result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	plan = SPI_prepare(sql, 3, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\"", sql);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(plan, args->values, args->nulls, snapshot,
							 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", sql);
	UnregisterSnapshot(snapshot);
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						   isnull);
	MemoryContextSwitchTo(context);
	if (!*isnull)
		result = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
	SPI_finish();
	return result;
}

/*
 * The same with a snapshot of its own, in a REPEATABLE READ transaction too,
 * and in a subtransaction whose end gives the locks back.
 */
static Datum
look(const char *sql, Look *args, bool *isnull)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile Datum result = (Datum) 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		result = look_now(sql, args, context, isnull);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL)
		ReThrowError(error);
	return result;
}

static void
wait_a_moment(int64 milliseconds)
{
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 (long) milliseconds, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	statement_waited(microseconds_since(start));
	CHECK_FOR_INTERRUPTS();
}

Datum
deploydb_wait_insight(PG_FUNCTION_ARGS)
{
	Look		args;
	int64		timeout;
	int64		waited;
	instr_time	start;
	Datum		result;
	bool		isnull = PG_ARGISNULL(0);

	if (PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout_ms must be 0 or more"),
				 errdetail("With 0 there is one look and no wait.")));
	timeout = PG_GETARG_INT32(1);
	INSTR_TIME_SET_CURRENT(start);
	memset(&args, 0, sizeof(args));
	memset(args.nulls, ' ', sizeof(args.nulls));
	args.values[0] = schema_on_search_path(&args.nulls[0]);
	args.values[1] = PG_GETARG_DATUM(0);
	if (isnull)
	{
		args.nulls[1] = 'n';
		args.values[1] = look("SELECT deploydb.newest_decision($1) WHERE $2 IS NULL AND $3 IS NOT NULL",
							  &args, &isnull);
		args.nulls[1] = isnull ? 'n' : ' ';
	}
	for (;;)
	{
		waited = microseconds_since(start) / 1000;
		args.values[2] = Int64GetDatum(waited);
		result = look("SELECT deploydb.look_for_insight($1, $2, $3)", &args,
					  &isnull);
		if (!isnull)
			PG_RETURN_DATUM(result);
		if (waited >= timeout || args.nulls[1] == 'n')
			break;
		wait_a_moment(Min(LOOK_AGAIN_MS, timeout - waited));
	}
	PG_RETURN_DATUM(look("SELECT deploydb.no_insight($2, $3) WHERE $1 IS NULL OR true",
						 &args, &isnull));
}
