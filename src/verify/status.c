/*
 * status.c
 *		deploydb_status(): the overview in one call.
 *
 * Each area is a function that adds its rows; each runs in a subtransaction
 * of its own, so that an area that cannot be looked at is a row that says so
 * and never an error.  A later stage adds its area to the table at the end.
 *
 * Locking: see facts.h.  Errors: only a cancel request rises.
 *
 * The result is read in a terminal of 100 columns: a detail is wrapped, and a
 * next step is a short statement.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "facts/escape.h"
#include "verify/message.h"
#include "verify/verification.h"
#include "words.h"

#define DETAIL_WIDTH 31
#define MAX_MIGRATION_ROWS 8

typedef struct StatusRow
{
	const char *area;
	const char *verdict;		/* ok, warning, error, unknown */
	const char *detail;
	const char *next_step;		/* a statement, or NULL */
} StatusRow;

static List *
add_row(List *rows, const char *area, const char *verdict,
		const char *detail, const char *next_step)
{
	StatusRow  *row = palloc(sizeof(StatusRow));

	row->area = area;
	row->verdict = verdict;
	row->detail = detail;
	row->next_step = next_step;
	return lappend(rows, row);
}

/* Broken at spaces where a line would be longer than DETAIL_WIDTH. */
static char *
wrap(const char *text)
{
	char	   *wrapped = pstrdup(text);
	char	   *line = wrapped;
	char	   *space = NULL;

	for (char *p = wrapped; *p; p++)
	{
		if (*p == ' ')
			space = p;
		if (p - line >= DETAIL_WIDTH && space != NULL)
		{
			*space = '\n';
			line = space + 1;
			space = NULL;
		}
	}
	return wrapped;
}

static List *
area_extension(List *rows)
{
	bool		same;
	char	   *installed;

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute("SELECT extversion FROM pg_catalog.pg_extension"
					" WHERE extname OPERATOR(pg_catalog.=) 'deploydb'",
					true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "extension deploydb is not in pg_extension");
	installed = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	installed = strcpy(SPI_palloc(strlen(installed) + 1), installed);
	SPI_finish();

	same = strcmp(installed, DEPLOYDB_VERSION) == 0;
	return add_row(rows, "extension", same ? "ok" : "warning",
				   same ? psprintf(word("version %s"), installed) :
				   psprintf(word("library %s, SQL objects %s"),
							DEPLOYDB_VERSION, installed),
				   same ? NULL : "ALTER EXTENSION deploydb UPDATE;");
}

/* What stands behind the timestamp, which people leave out. */
static const char *
short_name(const char *migration)
{
	size_t		digits = strspn(migration, "0123456789");

	return migration[digits] == '_' && digits > 0 ?
		migration + digits + 1 : migration;
}

static char *
count_of_errors(int count)
{
	return psprintf(word(count == 1 ? "%d error" : "%d errors"), count);
}

static char *
count_of_warnings(int count)
{
	return psprintf(word(count == 1 ? "%d warning" : "%d warnings"), count);
}

static char *
migration_detail(const Verification *v)
{
	const char *name = short_name(v->expectation->migration);

	if (v->expectation->stale != NULL)
		return psprintf(word("%s: stale"), name);
	if (v->errors + v->warnings + v->infos + v->unknown == 0)
		return psprintf(word("%s: as expected"), name);
	if (v->errors == 0 && v->unknown > 0)
		return psprintf(word("%s: %d not found out"), name, v->unknown);
	if (v->errors == 0)
		return psprintf(word("%s: %s"), name, v->warnings > 0 ?
						count_of_warnings(v->warnings) :
						psprintf(word(v->infos == 1 ? "%d info" : "%d infos"), v->infos));
	return psprintf(word("%s: %s, %s"), name, count_of_errors(v->errors),
					count_of_warnings(v->warnings));
}

static List *
area_migrations(List *rows)
{
	VerificationScope *scope = verification_scope(NULL, false);
	List	   *expectations = scope->expectations;
	int			shown = 0;
	int			hidden = 0;
	ListCell   *lc;

	foreach(lc, expectations)
	{
		Verification *v = verify_migration(scope, lfirst(lc));
		bool		clean = v->outcome == OUTCOME_VERIFIED && v->warnings == 0;

		/* Many migrations: only what somebody must look at. */
		if ((list_length(expectations) > MAX_MIGRATION_ROWS && clean) ||
			shown == MAX_MIGRATION_ROWS - 1)
		{
			hidden++;
			continue;
		}
		rows = add_row(rows, "migration",
					   v->outcome == OUTCOME_DEVIATES ? "error" :
					   v->outcome == OUTCOME_UNKNOWN ? "unknown" :
					   clean ? "ok" : "warning",
					   migration_detail(v),
					   clean ? NULL : "SELECT deploydb_verify_migration();");
		shown++;
	}
	if (hidden > 0)
		rows = add_row(rows, "migration", shown == MAX_MIGRATION_ROWS - 1 ? "unknown" : "ok",
					   shown == MAX_MIGRATION_ROWS - 1 ?
					   psprintf(word("%d more"), hidden) :
					   psprintf(word("%d others as expected"), hidden),
					   shown == MAX_MIGRATION_ROWS - 1 ?
					   "SELECT * FROM deploydb.migration_report();" : NULL);
	if (expectations == NIL)
		rows = add_row(rows, "migration", "unknown", word("none is registered"), NULL);
	return rows;
}

static List *
area_ledger(List *rows)
{
	Oid			schema = ledger_find(InvalidOid);
	Ledger	   *ledger;
	int			counts[LEDGER_LOCK_LEFT_BEHIND + 1] = {0};
	StringInfoData detail;
	ListCell   *lc;
	int			holder;
	bool		doubtful;

	if (!OidIsValid(schema))
		return add_row(rows, "ledger", "ok", word("no _prisma_migrations here"), NULL);
	ledger = ledger_read(schema);
	if (ledger->access != LEDGER_READ)
		return add_row(rows, "ledger", "unknown",
					   ledger->access == LEDGER_LOCKED ? word("it is locked") :
					   ledger->access == LEDGER_NO_RIGHTS ? word("no right to read it") :
					   word("not a table of Prisma's"), NULL);

	foreach(lc, ledger->rows)
		counts[((LedgerRow *) lfirst(lc))->state]++;
	initStringInfo(&detail);
	for (int state = 0; state <= LEDGER_LOCK_LEFT_BEHIND; state++)
	{
		if (counts[state] == 0)
			continue;
		if (detail.len > 0)
			appendStringInfoString(&detail, word(", "));
		appendStringInfo(&detail, word("%d %s"), counts[state],
						 word(ledger_state_name(state)));
	}
	if (counts[LEDGER_RUNNING] == 0 && ledger_lock_held(&holder))
	{
		if (detail.len > 0)
			appendStringInfoString(&detail, word(", "));
		appendStringInfoString(&detail,
							   word(ledger_state_name(LEDGER_LOCK_LEFT_BEHIND)));
		counts[LEDGER_LOCK_LEFT_BEHIND]++;
	}
	doubtful = counts[LEDGER_CLAIMED] + counts[LEDGER_LOCK_LEFT_BEHIND] > 0;
	return add_row(rows, "ledger",
				   counts[LEDGER_FAILED] > 0 ? "error" : doubtful ? "warning" : "ok",
				   detail.len > 0 ? detail.data : word("empty"),
				   counts[LEDGER_FAILED] > 0 || doubtful ?
				   "SELECT * FROM deploydb.ledger();" : NULL);
}

static List *
area_server(List *rows)
{
	int64		errors;
	int64		warnings;
	bool		isnull;

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute("SELECT pg_catalog.count(*) FILTER (WHERE c.status OPERATOR(pg_catalog.=) 'error'),"
					" pg_catalog.count(*) FILTER (WHERE c.status OPERATOR(pg_catalog.=) 'warning')"
					" FROM deploydb.check_environment() c",
					true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "deploydb.check_environment() gave nothing");
	errors = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	warnings = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										   SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	if (errors + warnings == 0)
		return add_row(rows, "server", "ok", word("fit for deploydb"), NULL);
	return add_row(rows, "server", errors > 0 ? "error" : "warning",
				   psprintf(word("%s, %s"), count_of_errors((int) errors),
							count_of_warnings((int) warnings)),
				   "SELECT * FROM deploydb.check_environment();");
}

/* Later stages know themselves how they are: a function gives their rows. */
static List *
rows_of_function(List *rows, const char *area, const char *function)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *sql = psprintf("SELECT s.verdict, s.detail, s.next_step FROM deploydb.%s() AS s",
							   function);

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" failed", sql);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
		rows = add_row(rows, area,
					   SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
					   SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2),
					   SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3));
	SPI_finish();
	return rows;
}

/* An area is asked here, or by an SQL function. */
typedef struct StatusArea
{
	const char *name;
	List	   *(*add) (List *rows);
	const char *function;
} StatusArea;

static const StatusArea areas[] = {
	{"extension", area_extension, NULL},
	{"migration", area_migrations, NULL},
	{"ledger", area_ledger, NULL},
	{"server", area_server, NULL},
	{"writes", NULL, "status_of_writes"},
	{"monitor", NULL, "status_of_monitor"},
	{"metrics", NULL, "status_of_metrics"},
	{"alerts", NULL, "status_of_alerts"},
	{"webhooks", NULL, "status_of_webhooks"},
	{"backup", NULL, "status_of_backup"},
	{"rollback", NULL, "status_of_rollback"},
	{"deployment", NULL, "status_of_deployment"},
};

/* One area, in a subtransaction; an error becomes its row. */
static List *
add_area(List *rows, int area)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	List	   *volatile result = NIL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (areas[area].add != NULL)
			result = areas[area].add(NIL);
		else
			result = rows_of_function(NIL, areas[area].name, areas[area].function);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		result = add_row(NIL, areas[area].name, "unknown",
						 pstrdup(error->message), NULL);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return list_concat(rows, result);
}

PG_FUNCTION_INFO_V1(deploydb_status);

Datum
deploydb_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *rows = NIL;
	ListCell   *lc;

	for (size_t area = 0; area < lengthof(areas); area++)
		rows = add_area(rows, area);

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, rows)
	{
		const StatusRow *row = lfirst(lc);
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(row->area);
		values[1] = CStringGetTextDatum(row->verdict);
		values[2] = CStringGetTextDatum(text_for_client(wrap(row->detail)));
		nulls[3] = (row->next_step == NULL);
		values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(row->next_step);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
