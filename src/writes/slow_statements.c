/*
 * slow_statements.c
 *		Statements of clients that took long.
 *
 * Locking and errors: see slow_statements.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "own_work.h"
#include "settings.h"
#include "writes/counters.h"
#include "writes/slow_statements.h"

static const void *open_statement = NULL;
static uint64 open_microseconds = 0;	/* of its calls */
static uint64 waited_microseconds = 0;
static TimestampTz last_call_ended = 0;

void
statement_call_ended(const void *statement)
{
	TimestampTz message = GetCurrentStatementStartTimestamp();
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz begun = Max(message, last_call_ended);

	if (open_statement != statement)
		open_microseconds = 0;
	open_statement = statement;
	if (begun > now)			/* the clock was set back */
		begun = now;
	open_microseconds += (uint64) (now - begun);
	last_call_ended = now;
}

bool
statement_is_open(const void *statement)
{
	return open_statement == statement;
}

void
statement_ended(void)
{
	uint64		took = open_microseconds - Min(waited_microseconds, open_microseconds);

	open_statement = NULL;		/* another may get its address */
	open_microseconds = 0;
	waited_microseconds = 0;
	if (deploydb_slow_query_threshold >= 0 && own_work_level == 0 &&
		took > (uint64) deploydb_slow_query_threshold * 1000)
		counters_add_slow_statement();
}

void
statement_waited(uint64 microseconds)
{
	waited_microseconds += microseconds;
}
