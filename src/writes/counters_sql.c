/*
 * counters_sql.c
 *		The counters as rows of this database.
 *
 * Locking: flags are taken for some copying; what others are adding to is waited
 * for, some milliseconds at most.  Errors: without preloading there is nothing
 * to read, and the error names the statement to run.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "writes/busy.h"
#include "writes/condition_name.h"
#include "writes/counters.h"
#include "writes/preloaded.h"
#include "writes/tracked.h"

PG_FUNCTION_INFO_V1(deploydb_write_counters);
PG_FUNCTION_INFO_V1(deploydb_write_failure_counters);
PG_FUNCTION_INFO_V1(deploydb_recent_failures);
PG_FUNCTION_INFO_V1(deploydb_log_error_counters);
PG_FUNCTION_INFO_V1(deploydb_slow_queries);

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = (value == NULL || value[0] == '\0');
	return *isnull ? (Datum) 0 : CStringGetTextDatum(value);
}

static Datum
count_datum(pg_atomic_uint64 *count)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(count));
}

/* The identity of a book: schema, name, others, since. */
static void
book_identity(Datum *values, const TrackedTable *table, bool others)
{
	values[0] = CStringGetTextDatum(NameStr(table->key.schema));
	values[1] = CStringGetTextDatum(NameStr(table->key.name));
	values[2] = BoolGetDatum(others);
	values[3] = TimestampTzGetDatum(writes_shared->slots[table->target.slot].since);
}

static bool
book_is_empty(WriteBook *book)
{
	for (int i = 0; i < WRITE_COUNTS; i++)
		if (pg_atomic_read_u64(&book->counts[i]) != 0)
			return false;
	return true;
}

/* {"23505": 2}, or NULL where nothing failed. */
static Datum
failures_datum(const int *sqlstates, const uint64 *attempts, bool *isnull)
{
	StringInfoData json;
	const char *separator = "{";

	initStringInfo(&json);
	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
	{
		if (attempts[i] == 0)
			continue;
		appendStringInfo(&json, "%s\"%s\": " UINT64_FORMAT, separator,
						 sqlstates[i] ? unpack_sql_state(sqlstates[i]) : "",
						 attempts[i]);
		separator = ", ";
	}
	*isnull = (json.len == 0);
	if (*isnull)
		return (Datum) 0;
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * The counts, and the failures by SQLSTATE that they are the sum of: read again
 * while there are more of these, as others have added one and not the other yet,
 * and may have lost their processor there; but not for ever.
 */
#define READ_AGAIN 100
#define READ_AGAIN_LATER 20		/* a millisecond later each time */

static void
book_read(WriteBook *book, uint64 counts[WRITE_COUNTS],
		  int sqlstates[WRITE_FAILURE_KINDS],
		  uint64 attempts[WRITE_FAILURE_KINDS])
{
	for (int tries = 0; tries < READ_AGAIN + READ_AGAIN_LATER; tries++)
	{
		if (tries >= READ_AGAIN)
			pg_usleep(1000);
		for (int i = 0; i < WRITE_COUNTS; i++)
			counts[i] = pg_atomic_read_u64(&book->counts[i]);
		pg_read_barrier();
		if (failure_kinds_count(&book->failures, sqlstates, attempts) <=
			counts[WRITES_FAILED] + counts[WRITES_REJECTED])
			break;
	}
}

static void
put_book(ReturnSetInfo *rsinfo, const TrackedTable *table, bool others,
		 WriteBook *book)
{
	Datum		values[4 + WRITE_COUNTS + 2];
	bool		nulls[lengthof(values)] = {0};
	uint64		counts[WRITE_COUNTS];
	int			sqlstates[WRITE_FAILURE_KINDS];
	uint64		attempts[WRITE_FAILURE_KINDS];
	uint64	   *latency = palloc(HISTOGRAM_BUCKETS * sizeof(uint64));

	book_identity(values, table, others);
	book_read(book, counts, sqlstates, attempts);
	for (int i = 0; i < WRITE_COUNTS; i++)
		values[4 + i] = Int64GetDatum((int64) counts[i]);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		latency[i] = pg_atomic_read_u64(&book->latency[i]);
	values[4 + WRITE_COUNTS] = CStringGetTextDatum(histogram_write(latency));
	values[5 + WRITE_COUNTS] = failures_datum(sqlstates, attempts,
											  &nulls[5 + WRITE_COUNTS]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The second book of a table is shown where there is something in it. */
Datum
deploydb_write_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const TrackedTable *tables;
	int			count;

	preloaded_or_error();
	InitMaterializedSRF(fcinfo, 0);
	tables = tracked_tables(&count);
	for (int i = 0; i < count; i++)
	{
		WriteTarget target = tables[i].target;

		if (!tables[i].counted)
			continue;
		for (int others = 0; others <= 1; others++)
		{
			WriteBook  *book;

			target.others = others;
			book = counters_book(&target);
			if (book != NULL && (!others || !book_is_empty(book)))
				put_book(rsinfo, &tables[i], others, book);
		}
	}
	return (Datum) 0;
}

/* Evidence in the order of the SQL functions' columns, from that one on. */
static void
put_evidence(Datum *values, bool *nulls, uint64 attempts,
			 const WriteFailure *failure)
{
	values[0] = Int64GetDatum((int64) attempts);
	values[1] = TimestampTzGetDatum(failure->last_at);
	values[2] = text_or_null(NameStr(failure->constraint_name), &nulls[2]);
	values[3] = text_or_null(NameStr(failure->application), &nulls[3]);
	values[4] = Int64GetDatum(failure->query_id);
	nulls[4] = (failure->query_id == 0);
}

static void
put_failures(ReturnSetInfo *rsinfo, const TrackedTable *table, bool others,
			 WriteBook *book)
{
	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
	{
		Datum		values[10];
		bool		nulls[10] = {0};
		WriteFailure last;
		uint64		attempts = failure_kinds_read(&book->failures, i, &last);

		if (attempts == 0)
			continue;
		book_identity(values, table, others);
		values[4] = text_or_null(last.sqlstate ? unpack_sql_state(last.sqlstate) : NULL,
								 &nulls[4]);
		put_evidence(values + 5, nulls + 5, attempts, &last);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

Datum
deploydb_write_failure_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const TrackedTable *tables;
	int			count;

	preloaded_or_error();
	InitMaterializedSRF(fcinfo, 0);
	tables = tracked_tables(&count);
	for (int i = 0; i < count; i++)
	{
		WriteTarget target = tables[i].target;

		if (!tables[i].counted)
			continue;
		for (int others = 0; others <= 1; others++)
		{
			WriteBook  *book;

			target.others = others;
			book = counters_book(&target);
			if (book != NULL)
				put_failures(rsinfo, &tables[i], others, book);
		}
	}
	return (Datum) 0;
}

static void
put_recent(ReturnSetInfo *rsinfo, const RecentFailure *recent)
{
	Datum		values[9];
	bool		nulls[9] = {0};
	const char *sqlstate = unpack_sql_state(recent->failure.sqlstate);

	values[0] = CStringGetTextDatum(sqlstate);
	values[1] = text_or_null(condition_name(sqlstate), &nulls[1]);
	put_evidence(values + 2, nulls + 2, 1, &recent->failure);
	values[7] = text_or_null(GetUserNameFromId(recent->role, true), &nulls[7]);
	values[8] = CStringGetTextDatum(quote_qualified_identifier(NameStr(recent->key.schema),
															   NameStr(recent->key.name)));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The ring is the cluster's; what is of another database is left out. */
Datum
deploydb_recent_failures(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FailureRing *ring;
	uint64		oldest;
	int			wanted;

	preloaded_or_error();
	if (PG_ARGISNULL(0) || PG_GETARG_INT32(0) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be 0 or more"),
				 PG_ARGISNULL(0) ? errdetail("It is NULL.") :
				 errdetail("It is %d.", PG_GETARG_INT32(0))));
	wanted = PG_GETARG_INT32(0);
	InitMaterializedSRF(fcinfo, 0);

	ring = palloc(sizeof(FailureRing));
	if (!busy_try(&writes_shared->ring.busy, true))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not read the recent failures"),
				 errhint("Try again.")));
	memcpy(ring, &writes_shared->ring, sizeof(FailureRing));
	pg_atomic_clear_flag(&writes_shared->ring.busy);

	oldest = ring->appended > FAILURE_RING_SIZE ?
		ring->appended - FAILURE_RING_SIZE : 0;
	for (uint64 i = ring->appended; i > oldest && wanted > 0; i--)
	{
		RecentFailure *recent = &ring->entries[(i - 1) % FAILURE_RING_SIZE];

		if (recent->key.database != MyDatabaseId)
			continue;
		put_recent(rsinfo, recent);
		wanted--;
	}
	return (Datum) 0;
}

/* NULL where all places are taken, or nobody knows yet that this one is due. */
static DatabaseCounters *
own_database(void)
{
	preloaded_or_error();
	(void) tracked_refresh();
	return counters_of_database(MyDatabaseId);
}

static void
put_log_classes(ReturnSetInfo *rsinfo, DatabaseCounters *counters,
				bool in_database)
{
	for (int i = 0; i < LOG_CLASSES; i++)
	{
		LogClass   *class = &counters->log_classes[i];
		NameData	application = {0};
		Datum		values[5];
		bool		nulls[5] = {0};

		if (pg_atomic_read_u64(&class->lines) == 0)
			continue;
		if (busy_try(&class->busy, true))
		{
			application = class->application;
			pg_atomic_clear_flag(&class->busy);
		}
		values[0] = CStringGetTextDatum(log_class_name(i));
		values[1] = BoolGetDatum(in_database);
		values[2] = count_datum(&class->lines);
		values[3] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&class->last_at));
		values[4] = text_or_null(NameStr(application), &nulls[4]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* Lines of this database, and of processes that are of none. */
Datum
deploydb_log_error_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DatabaseCounters *own = own_database();

	InitMaterializedSRF(fcinfo, 0);
	if (own != NULL)
		put_log_classes(rsinfo, own, true);
	put_log_classes(rsinfo, counters_of_database(InvalidOid), false);
	return (Datum) 0;
}

Datum
deploydb_slow_queries(PG_FUNCTION_ARGS)
{
	DatabaseCounters *own = own_database();

	if (own == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(count_datum(&own->slow_statements));
}
