/*
 * user_metric.c
 *		Queries of metrics, run with the rights of whom they belong to.
 *
 * A query is a single SELECT.  It runs read-only and security-restricted in a
 * subtransaction that is always rolled back, so that it leaves neither locks
 * nor settings, under a timeout of its own whoever runs it.
 *
 * Locking: what the SELECT takes, given back with the subtransaction.
 * Errors: those of the query; one that takes too long raises
 * program_limit_exceeded, as a cancel request is something else.  It cannot
 * catch that: whatever of it is caught is raised again.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "alerts/user_metric.h"
#include "compat.h"
#include "settings.h"
#include "verify/owner.h"
#include "worker/slots.h"
#include "worker/unit.h"

PG_FUNCTION_INFO_V1(deploydb_add_metric);
PG_FUNCTION_INFO_V1(deploydb_query_as_owner);

#define QUERY_OF_METRIC "the query of a metric"

typedef struct DueMetric
{
	MemoryContext context;		/* of all of this */
	const MetricRound *round;
	char	   *name;			/* NULL where none is due */
	UserQuery	query;
	char	   *value;			/* NULL for none */
	char	   *error;			/* NULL for none */
	bool		hopeless;		/* the next time it fails again */
} DueMetric;

/* ---- one query ------------------------------------------------------------ */

static void
check_is_select(const UserQuery *q)
{
	List	   *statements = pg_parse_query(q->query);

	if (list_length(statements) != 1 ||
		!IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s must be one SELECT", q->what)));
}

static void
check_is_boolean(const UserQuery *q, Oid type)
{
	if (getBaseType(type) != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s gives type %s, not boolean", q->what,
						format_type_be(type))));
}

static void
check_is_number(const UserQuery *q, Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("%s gives type %s, not a number", q->what,
							format_type_be(type))));
	}
}

/* The value as text in the given context, or NULL. */
static char *
single_value(const UserQuery *q, MemoryContext context)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *value;

	if (desc->natts != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s gives %d columns, not one", q->what,
						desc->natts)));
	if (q->gives == USER_QUERY_NUMBER)
		check_is_number(q, TupleDescAttr(desc, 0)->atttypid);
	else if (q->gives == USER_QUERY_BOOLEAN)
		check_is_boolean(q, TupleDescAttr(desc, 0)->atttypid);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg(SPI_processed == 0 ? "%s gives no row, not one" :
						"%s gives more than one row", q->what)));
	value = SPI_getvalue(SPI_tuptable->vals[0], desc, 1);
	if (value == NULL)
		return NULL;
	if (q->gives == USER_QUERY_NUMBER)
	{
		double		number = DatumGetFloat8(DirectFunctionCall1(float8in, CStringGetDatum(value)));

		if (isnan(number) || isinf(number))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("%s gives %s, not a finite number", q->what, value)));
	}
	return MemoryContextStrdup(context, value);
}

/* In the subtransaction, whose end undoes all that is set here. */
static char *
execute_restricted(const UserQuery *q, MemoryContext context)
{
	Oid			user;
	int			security_context;
	char	   *value;

	GetUserIdAndSecContext(&user, &security_context);
	(void) set_config_option("lock_timeout", SHORT_LOCK_TIMEOUT, PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (q->search_path != NULL)
		(void) set_config_option("search_path", q->search_path, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SetUserIdAndSecContext(q->role,
						   security_context | SECURITY_RESTRICTED_OPERATION);
	XactReadOnly = true;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	check_is_select(q);
	if (SPI_execute(q->query, false, 2) != SPI_OK_SELECT)
		elog(ERROR, "%s gave no rows", q->what);
	value = single_value(q, context);
	SPI_finish();
	return value;
}

/* A FATAL error, which a query can have any of its own become, tells nobody else. */
static void
note_metric(const char *metric)
{
	if (slots_there())
		slot_note_metric(MyDatabaseId, metric);
}

/* When the query that runs is to have ended; 0 where none does. */
static TimestampTz query_ends_at = 0;

/* An exception handler's subtransaction, too, ends so. */
static void
cancel_again(SubXactEvent event, SubTransactionId mySubid,
			 SubTransactionId parentSubid, void *arg)
{
	(void) mySubid;
	(void) parentSubid;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB && query_ends_at != 0 &&
		GetCurrentTimestamp() >= query_ends_at)
	{
		QueryCancelPending = true;
		InterruptPending = true;
	}
}

/* Has the query end at that time; gives what was to end the statement. */
static TimestampTz
arm_timeout(TimestampTz deadline)
{
	static bool registered = false;
	TimestampTz outer = get_timeout_active(STATEMENT_TIMEOUT) ?
		get_timeout_finish_time(STATEMENT_TIMEOUT) : 0;

	if (!registered)
		RegisterSubXactCallback(cancel_again, NULL);
	registered = true;
	query_ends_at = outer == 0 ? deadline : Min(deadline, outer);
	enable_timeout_at(STATEMENT_TIMEOUT, query_ends_at);
	return outer;
}

static void
disarm_timeout(TimestampTz outer)
{
	disable_timeout(STATEMENT_TIMEOUT, true);
	if (outer != 0)
		enable_timeout_at(STATEMENT_TIMEOUT, outer);
}

char *
user_query(const UserQuery *q)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   deploydb_metric_timeout);
	TimestampTz caller_ends_at = query_ends_at;
	volatile TimestampTz outer;
	char	   *volatile value = NULL;
	ErrorData  *volatile error = NULL;

	if (q->metric != NULL)
		note_metric(q->metric);
	BeginInternalSubTransaction(NULL);
	outer = arm_timeout(deadline);
	PG_TRY();
	{
		value = execute_restricted(q, context);
		disable_timeout(STATEMENT_TIMEOUT, true);

		/* A timeout that came at the last moment is the query's, too. */
		CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		bool		late = GetCurrentTimestamp() >= query_ends_at;

		disable_timeout(STATEMENT_TIMEOUT, true);

		/* What was caught on the way has been raised. */
		if (late)
			QueryCancelPending = false;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	query_ends_at = caller_ends_at;
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	disarm_timeout(outer);
	if (q->metric != NULL)
		note_metric("");

	if (error == NULL)
		return value;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		(outer == 0 || deadline < outer) && GetCurrentTimestamp() >= deadline)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s took longer than %d ms", q->what,
						deploydb_metric_timeout),
				 errhint("Setting deploydb.metric_timeout says how long it may take.")));
	ReThrowError(error);
	return NULL;				/* not reached */
}

/* ---- in SQL --------------------------------------------------------------- */

static Datum
text_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be NULL", name)));
	return PG_GETARG_DATUM(n);
}

Datum
deploydb_add_metric(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[6] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[6];
	char		nulls[6] = {' ', ' ', ' ', ' ', ' ', ' '};
	OwnerScope	scope;

	values[0] = text_argument(fcinfo, 0, "name");
	values[1] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	nulls[1] = PG_ARGISNULL(1) ? 'n' : ' ';
	values[2] = text_argument(fcinfo, 2, "unit");
	values[3] = text_argument(fcinfo, 3, "help");
	values[4] = CStringGetTextDatum(namespace_search_path);
	values[5] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	if (!PG_ARGISNULL(1))
	{
		UserQuery	query = {GetUserId(), TextDatumGetCString(values[1]), NULL,
		USER_QUERY_NUMBER, QUERY_OF_METRIC, NULL};

		(void) user_query(&query);
	}

	owner_begin(&scope);
	owner_execute(&plan,
				  "INSERT INTO deploydb.metric (name, query, unit, help, search_path, owner)"
				  " VALUES ($1, $2, $3, $4, $5, $6)",
				  SPI_OK_INSERT, 6, types, values, nulls);
	owner_end(&scope);
	PG_RETURN_BOOL(true);
}

Datum
deploydb_query_as_owner(PG_FUNCTION_ARGS)
{
	UserQuery	query = {InvalidOid, NULL, NULL, USER_QUERY_ANY, QUERY_OF_METRIC, NULL};
	HeapTuple	tuple;
	char	   *value;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum((Oid) PG_GETARG_INT64(1)));
	if (!HeapTupleIsValid(tuple))
		PG_RETURN_NULL();
	query.role = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	query.metric = text_to_cstring(PG_GETARG_TEXT_PP(0));
	query.query = text_to_cstring(PG_GETARG_TEXT_PP(2));
	value = user_query(&query);
	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(value));
}

/* ---- in the monitor ------------------------------------------------------- */

/* Into its memory context. */
static void
load_due(void *argument)
{
	DueMetric  *metric = argument;
	Oid			types[2] = {TIMESTAMPTZOID, INT4OID};
	Datum		values[2] = {TimestampTzGetDatum(metric->round->begun), Int32GetDatum(metric->round->unkept)};
	MemoryContext before;
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;
	Datum		role;

	if (SPI_execute_with_args("SELECT name, query, search_path, owner_oid"
							  " FROM deploydb.due_metric($1) LIMIT 1 OFFSET $2",
							  2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look which metrics are due");
	if (SPI_processed == 0)
		return;
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	role = SPI_getbinval(tuple, desc, 4, &isnull);
	before = MemoryContextSwitchTo(metric->context);
	metric->name = SPI_getvalue(tuple, desc, 1);
	metric->query.query = SPI_getvalue(tuple, desc, 2);
	metric->query.search_path = SPI_getvalue(tuple, desc, 3);
	metric->query.role = isnull ? InvalidOid : (Oid) DatumGetInt64(role);
	metric->query.gives = USER_QUERY_NUMBER;
	metric->query.what = QUERY_OF_METRIC;
	metric->query.metric = metric->name;
	MemoryContextSwitchTo(before);
}

static void
measure(void *argument)
{
	DueMetric  *metric = argument;
	char	   *value = user_query(&metric->query);

	metric->value = value ? MemoryContextStrdup(metric->context, value) : NULL;
}

static void
run_due(DueMetric *metric)
{
	static Unit measuring = {
		.activity = "measuring",
		.of_user = true
	};
	UnitError	error;

	metric->hopeless = !OidIsValid(metric->query.role);
	if (metric->hopeless)
		metric->error = "the role that owns the metric was dropped";
	else if (!unit_try(&measuring, measure, metric, &error))
		metric->error = error.message;
}

static void
record_due(void *argument)
{
	const DueMetric *metric = argument;
	Oid			types[4] = {TEXTOID, TEXTOID, TEXTOID, BOOLOID};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};

	values[0] = CStringGetTextDatum(metric->name);
	values[1] = metric->value ? CStringGetTextDatum(metric->value) : (Datum) 0;
	nulls[1] = metric->value ? ' ' : 'n';
	values[2] = metric->error ? CStringGetTextDatum(metric->error) : (Datum) 0;
	nulls[2] = metric->error ? ' ' : 'n';
	values[3] = BoolGetDatum(metric->hopeless);
	if (SPI_execute_with_args("SELECT deploydb.record_own_metric($1, $2::pg_catalog.float8, $3, $4)",
							  4, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not keep a metric's value");
}

bool
user_metric_run(MetricRound *round)
{
	static Unit looking = {.activity = "looking for metrics"};

	/* Somebody may just be dropping it, and have not committed. */
	static Unit keeping = {
		.activity = "keeping a metric",
		.lock_timeout = SHORT_LOCK_TIMEOUT
	};
	MemoryContext caller = CurrentMemoryContext;
	DueMetric	due = {.round = round};
	bool		ran;

	due.context = AllocSetContextCreate(TopMemoryContext, "deploydb metric",
										ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(due.context);
	ran = unit_run(&looking, load_due, &due) && due.name != NULL;
	if (ran)
	{
		run_due(&due);
		if (!unit_run(&keeping, record_due, &due))
			round->unkept++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(due.context);
	return ran;
}
