/*
 * heartbeats.c
 *		Webhooks that are called after each tick.
 *
 * Locking: those of the SQL functions, for the caller's transaction.
 * Errors: the log has a heartbeat that fails, and that arrives again, once.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "webhooks/heartbeats.h"
#include "webhooks/wire_text.h"

/* A webhook that is called, as far as we know of it. */
typedef struct Heartbeat
{
	char	   *webhook;
	bool		under_way;
	bool		failing;		/* has been logged */
	int64		version;		/* of the address that was called */
	int			status;
	const char *stage;			/* of the last one, until it is recorded */
	char		error[256];
} Heartbeat;

/* For as long as the process lives; an id is -1 - (place in the list). */
static List *heartbeats = NIL;

bool
is_heartbeat(int64 id)
{
	return id < 0;
}

static Heartbeat *
heartbeat_of(int64 id)
{
	return list_nth(heartbeats, (int) (-1 - id));
}

static int64
heartbeat_id(const char *webhook)
{
	MemoryContext before;
	Heartbeat  *heartbeat;
	ListCell   *lc;

	foreach(lc, heartbeats)
	{
		heartbeat = lfirst(lc);
		if (strcmp(heartbeat->webhook, webhook) == 0)
			return -1 - foreach_current_index(lc);
	}
	before = MemoryContextSwitchTo(TopMemoryContext);
	heartbeat = palloc0(sizeof(Heartbeat));
	heartbeat->webhook = pstrdup(webhook);
	heartbeats = lappend(heartbeats, heartbeat);
	MemoryContextSwitchTo(before);
	return -list_length(heartbeats);
}

static void
record_heartbeats(void)
{
	Oid			types[] = {TEXTOID, INT8OID, INT4OID, TEXTOID, TEXTOID};
	ListCell   *lc;

	foreach(lc, heartbeats)
	{
		Heartbeat  *heartbeat = lfirst(lc);
		Datum		values[5];

		if (heartbeat->stage == NULL)
			continue;
		values[0] = CStringGetTextDatum(heartbeat->webhook);
		values[1] = Int64GetDatum(heartbeat->version);
		values[2] = Int32GetDatum(heartbeat->status);
		values[3] = CStringGetTextDatum(heartbeat->stage);
		values[4] = CStringGetTextDatum(text_from_wire(heartbeat->error, strlen(heartbeat->error)));
		if (SPI_execute_with_args("SELECT deploydb.record_heartbeat($1, $2, $3, $4, $5)", lengthof(types),
								  types, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not call record_heartbeat()");
		heartbeat->stage = NULL;
	}
}

List *
heartbeats_to_send(MemoryContext context)
{
	MemoryContext before;
	List	   *requests = NIL;

	record_heartbeats();
	if (SPI_execute("SELECT webhook, version, url FROM deploydb.heartbeats()", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call heartbeats()");
	before = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		int64		id = heartbeat_id(SPI_getvalue(row, SPI_tuptable->tupdesc, 1));
		HttpRequest *request;
		bool		isnull;

		if (heartbeat_of(id)->under_way)
			continue;
		request = palloc0(sizeof(HttpRequest));
		request->id = id;
		request->version = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		request->method = "GET";
		request->url = text_to_wire(SPI_getvalue(row, SPI_tuptable->tupdesc, 3));
		request->body = "";
		requests = lappend(requests, request);
	}
	MemoryContextSwitchTo(before);
	return requests;
}

void
heartbeat_begins(int64 id)
{
	heartbeat_of(id)->under_way = true;
}

void
heartbeat_ends(const HttpResult *result)
{
	Heartbeat  *heartbeat = heartbeat_of(result->id);
	bool		fails = result->status < 200 || result->status > 299;

	heartbeat->under_way = false;
	heartbeat->version = result->version;
	heartbeat->status = result->status;
	heartbeat->stage = result->stage;
	strlcpy(heartbeat->error, result->error ? result->error : "", sizeof(heartbeat->error));
	if (fails && !heartbeat->failing)
		ereport(LOG,
				(errmsg("heartbeat of webhook \"%s\" fails", heartbeat->webhook),
				 result->status > 0 ? errdetail("Its answer has the status %d.", result->status)
				 : errdetail("It came as far as \"%s\": %s.", result->stage, result->error)));
	else if (!fails && heartbeat->failing)
		ereport(LOG,
				(errmsg("heartbeat of webhook \"%s\" arrives again", heartbeat->webhook)));
	heartbeat->failing = fails;
}
