/*
 * sender.c
 *		Takes messages out of the outbox, sends them, and records what became
 *		of them.
 *
 * A message is claimed in a transaction, which has counted the attempt when
 * it commits; then it is sent; then the attempt is recorded in another one.
 * What a monitor leaves behind that dies in between is claimed again, under
 * the same id.  How many messages of one webhook are under way at once is
 * claim_messages()'s to limit, so that one that hangs delays no other.
 *
 * Locking: no transaction, snapshot or lock is held while something is under
 * way.
 *
 * Errors: what fails is logged and tried again later; an attempt that cannot
 * be recorded is kept until it can be, and holds up no other.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "http/http.h"
#include "settings.h"
#include "webhooks/heartbeats.h"
#include "webhooks/sender.h"
#include "webhooks/wire_text.h"
#include "worker/unit.h"

/* Messages under way at once. */
#define MAX_UNDER_WAY 64

/* Waits after an error: doubled each time, to about a minute. */
#define MIN_PAUSE_MS 1000
#define MAX_PAUSE_DOUBLED 6

/* What became of a message. */
typedef struct Attempt
{
	HttpResult	result;			/* its texts are ours */
	char	   *answer;
	int			failures;		/* to record it */
	TimestampTz record_at;		/* not before */
} Attempt;

static const HttpInterface *http = NULL;
static HttpClient *client = NULL;
static int	under_way = 0;		/* requests without a result yet */

static MemoryContext sender_context = NULL; /* what is kept */
static MemoryContext work_context = NULL;	/* reset each turn */

static List *unrecorded = NIL;	/* of Attempt */

static TimestampTz claim_at = DT_NOBEGIN;	/* when to look next */
static int	claim_failures = 0;
static List *claimed = NIL;		/* of HttpRequest, by the piece of work */

/* ---- small things -------------------------------------------------------- */

/* Makes work_context the current one; the caller's is given back. */
static MemoryContext
enter(void)
{
	if (sender_context == NULL)
	{
		sender_context = AllocSetContextCreate(TopMemoryContext, "deploydb sender",
											   ALLOCSET_DEFAULT_SIZES);
		work_context = AllocSetContextCreate(sender_context, "deploydb sender's work",
											 ALLOCSET_DEFAULT_SIZES);
	}
	return MemoryContextSwitchTo(work_context);
}

static void
leave(MemoryContext before)
{
	MemoryContextSwitchTo(before);
	MemoryContextReset(work_context);
}

/* When to try again what has failed so many times in a row. */
static TimestampTz
after_pause(int failures)
{
	int			pause_ms = MIN_PAUSE_MS << Min(failures, MAX_PAUSE_DOUBLED);

	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause_ms);
}

/* A text of SPI's row in the current memory context, or NULL. */
static char *
column_text(HeapTuple row, int column)
{
	return SPI_getvalue(row, SPI_tuptable->tupdesc, column);
}

/* ---- libcurl ------------------------------------------------------------- */

/* Loads the module; an error where it or libcurl is missing. */
static void
load_http(void)
{
	HttpInterfaceFunction function;
	const HttpInterface *loaded;

	if (http)
		return;
	function = (HttpInterfaceFunction) load_external_function(HTTP_LIBRARY, HTTP_INTERFACE_FUNCTION,
															  true, NULL);
	loaded = function();
	if (loaded == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not initialize libcurl")));
	if (strcmp(loaded->version, DEPLOYDB_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("deploydb_http is of version %s, but deploydb of version %s",
						loaded->version, DEPLOYDB_VERSION),
				 errhint("Restart the server, so that it loads the version that is installed.")));
	http = loaded;
}

/* What is begun from now on goes by the current settings. */
static void
ready_client(void)
{
	HttpSettings settings = {
		.timeout_ms = deploydb_webhook_timeout,
		.proxy = deploydb_webhook_proxy,
		.ca_file = deploydb_ca_file,
		.allow = deploydb_webhook_allow,
	};

	load_http();
	if (client == NULL)
		client = http->create();
	if (client == NULL || !http->configure(client, &settings))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/* ---- recording ----------------------------------------------------------- */

static void
record_attempt(void *argument)
{
	static SPIPlanPtr plan = NULL;
	const Attempt *attempt = argument;
	const HttpResult *result = &attempt->result;
	Datum		values[8];
	char		nulls[8];

	if (plan == NULL)
	{
		Oid			types[] = {INT8OID, INT8OID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID};
		SPIPlanPtr	prepared;

		prepared = SPI_prepare("SELECT deploydb.record_attempt($1, $2, $3, $4, $5, $6, $7, $8)",
							   lengthof(types), types);
		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare record_attempt()");
		plan = prepared;
	}
	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(result->id);
	values[1] = Int64GetDatum(result->version);
	values[2] = Int32GetDatum(result->status);
	if (result->retry_after)
		values[3] = CStringGetTextDatum(text_from_wire(result->retry_after, strlen(result->retry_after)));
	else
		nulls[3] = 'n';
	values[4] = CStringGetTextDatum(text_from_wire(attempt->answer, result->answer_size));
	values[5] = CStringGetTextDatum(result->stage);
	if (result->error[0])
		values[6] = CStringGetTextDatum(text_from_wire(result->error, strlen(result->error)));
	else
		nulls[6] = 'n';
	values[7] = Float8GetDatum(result->milliseconds);
	if (SPI_execute_plan(plan, values, nulls, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not call record_attempt()");
}

static void
keep_attempt(const HttpResult *result)
{
	MemoryContext before = MemoryContextSwitchTo(sender_context);
	Attempt    *attempt = palloc0(sizeof(Attempt));

	attempt->result = *result;
	attempt->result.error = pstrdup(result->error);
	attempt->result.retry_after = result->retry_after ? pstrdup(result->retry_after) : NULL;
	attempt->answer = palloc(result->answer_size + 1);
	memcpy(attempt->answer, result->answer, result->answer_size);
	attempt->record_at = DT_NOBEGIN;
	unrecorded = lappend(unrecorded, attempt);
	MemoryContextSwitchTo(before);
}

static void
free_attempt(Attempt *attempt)
{
	pfree(unconstify(char *, attempt->result.error));
	if (attempt->result.retry_after)
		pfree(unconstify(char *, attempt->result.retry_after));
	pfree(attempt->answer);
	pfree(attempt);
}

static void
take_results(void)
{
	HttpResult	result;

	while (client && http->next_result(client, &result))
	{
		under_way--;
		if (is_heartbeat(result.id))
			heartbeat_ends(&result);
		else
			keep_attempt(&result);
	}
}

/* Each in a transaction of its own; those that fail stay in the list. */
static void
record_attempts(void)
{
	static Unit recording = {.activity = "recording an attempt to send"};
	ListCell   *lc;

	foreach(lc, unrecorded)
	{
		Attempt    *attempt = lfirst(lc);

		if (GetCurrentTimestamp() < attempt->record_at)
			continue;
		if (unit_run(&recording, record_attempt, attempt))
		{
			unrecorded = foreach_delete_current(unrecorded, lc);
			free_attempt(attempt);
			claim_at = DT_NOBEGIN;	/* its webhook may have another one */
		}
		else
			attempt->record_at = after_pause(attempt->failures++);
	}
}

/* When there is one to record; DT_NOEND for never. */
static TimestampTz
next_record(void)
{
	TimestampTz result = DT_NOEND;
	ListCell   *lc;

	foreach(lc, unrecorded)
		result = Min(result, ((Attempt *) lfirst(lc))->record_at);
	return result;
}

/* ---- claiming ------------------------------------------------------------ */

static void
read_headers(HttpRequest *request, Datum headers, bool isnull)
{
	Datum	   *elements = NULL;
	bool	   *nulls = NULL;
	int			count = 0;
	const char **texts;

	if (!isnull)
		deconstruct_array(DatumGetArrayTypeP(headers), TEXTOID, -1, false, TYPALIGN_INT,
						  &elements, &nulls, &count);
	texts = palloc(Max(count, 1) * sizeof(char *));
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			texts[request->header_count++] = text_to_wire(TextDatumGetCString(elements[i]));
	}
	request->headers = texts;
}

/* id, version, method, url, headers, body */
static HttpRequest *
read_message(HeapTuple row)
{
	HttpRequest *request = palloc0(sizeof(HttpRequest));
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *body = column_text(row, 6);
	bool		isnull;

	request->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	request->version = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
	request->method = column_text(row, 3);
	request->url = text_to_wire(column_text(row, 4));
	read_headers(request, SPI_getbinval(row, desc, 5, &isnull), isnull);
	request->body = body ? text_to_wire(body) : "";
	return request;
}

/* When there is something to claim; DT_NOEND for never. */
static TimestampTz
next_claim(void)
{
	bool		isnull;
	Datum		value;

	if (SPI_execute("SELECT deploydb.next_claim_at()", false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not call next_claim_at()");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

static void
claim_messages(void *argument)
{
	static SPIPlanPtr plan = NULL;
	Datum		room = Int32GetDatum(MAX_UNDER_WAY - under_way - list_length(unrecorded));
	MemoryContext before;

	(void) argument;
	claim_at = next_claim();
	if (claim_at > GetCurrentTransactionStartTimestamp())
		return;
	ready_client();
	if (plan == NULL)
	{
		Oid			types[] = {INT4OID};
		SPIPlanPtr	prepared;

		prepared = SPI_prepare("SELECT id, version, method, url, headers, body FROM deploydb.claim_messages($1)",
							   lengthof(types), types);
		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare claim_messages()");
		plan = prepared;
	}
	if (SPI_execute_plan(plan, &room, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call claim_messages()");

	before = MemoryContextSwitchTo(work_context);
	for (uint64 i = 0; i < SPI_processed; i++)
		claimed = lappend(claimed, read_message(SPI_tuptable->vals[i]));
	MemoryContextSwitchTo(before);

	/*
	 * Where nothing could be claimed of what is due, its webhooks have enough
	 * under way; a record will have us look again, or time.
	 */
	claim_at = claimed ? DT_NOBEGIN :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MIN_PAUSE_MS);
}

/* Tells the outbox of a request that could not even begin. */
static void
start_message(const HttpRequest *request)
{
	if (http->start(client, request))
		under_way++;
	else
	{
		HttpResult	result = {
			.id = request->id,
			.version = request->version,
			.stage = "policy",
			.error = "Out of memory, or of file descriptors",
			.answer = "",
		};

		keep_attempt(&result);
	}
}

static void
claim(void)
{
	static Unit claiming = {.activity = "claiming messages"};
	ListCell   *lc;

	if (under_way + list_length(unrecorded) >= MAX_UNDER_WAY ||
		GetCurrentTimestamp() < claim_at)
		return;
	claimed = NIL;
	if (unit_run(&claiming, claim_messages, NULL))
	{
		foreach(lc, claimed)
			start_message(lfirst(lc));
		claim_failures = 0;
	}
	else
		claim_at = after_pause(claim_failures++);
	claimed = NIL;
}

/* ---- heartbeats ---------------------------------------------------------- */

static void
find_heartbeats(void *argument)
{
	(void) argument;
	claimed = heartbeats_to_send(work_context);
	if (claimed)
		ready_client();
}

static void
send_heartbeats(void)
{
	static Unit looking = {.activity = "looking for heartbeats"};
	MemoryContext before = enter();
	ListCell   *lc;

	claimed = NIL;
	if (unit_run(&looking, find_heartbeats, NULL))
	{
		foreach(lc, claimed)
		{
			HttpRequest *request = lfirst(lc);

			if (http->start(client, request))
			{
				heartbeat_begins(request->id);
				under_way++;
			}
		}
	}
	claimed = NIL;
	leave(before);
}

void
sender_tick(bool committed)
{
	claim_at = DT_NOBEGIN;
	if (committed)
		send_heartbeats();
}

/* ---- the loop ------------------------------------------------------------ */

/*
 * Records what has been answered, claims, and begins to send.  Gives the
 * milliseconds until there is something to do, whatever happens; -1 for never.
 */
static long
step(void)
{
	MemoryContext before = enter();
	TimestampTz next;

	take_results();
	record_attempts();
	claim();
	leave(before);

	next = under_way + list_length(unrecorded) < MAX_UNDER_WAY ? claim_at : DT_NOEND;
	next = Min(next, next_record());
	if (next == DT_NOEND)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
}

/* True when the latch is set. */
static bool
wait_for_anything(long timeout_ms)
{
	uint32		wait_event = compat_wait_event("DeploydbMonitor");

	if (under_way > 0)
		return http->wait(client, timeout_ms, wait_event);
	return (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					  timeout_ms, wait_event) & WL_LATCH_SET) != 0;
}

void
sender_run(long timeout_ms, bool (*interrupted) (void))
{
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	for (;;)
	{
		long		wanted = step();
		instr_time	spent;
		long		left;

		INSTR_TIME_SET_CURRENT(spent);
		INSTR_TIME_SUBTRACT(spent, start);
		left = timeout_ms - (long) INSTR_TIME_GET_MILLISEC(spent);
		if (left <= 0)
			return;
		if (interrupted() || wait_for_anything(wanted < 0 ? left : Min(wanted, left)))
			break;
	}
	ResetLatch(MyLatch);
	claim_at = DT_NOBEGIN;
}

bool
sender_has_requests(void)
{
	return under_way > 0;
}
