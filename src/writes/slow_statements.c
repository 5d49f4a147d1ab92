/*
 * slow_statements.c
 *		Statements of clients that took long.
 *
 * Locking and errors: see slow_statements.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "own_work.h"
#include "settings.h"
#include "writes/counters.h"
#include "writes/slow_statements.h"

static const void *open_statement = NULL;
static uint64 open_microseconds = 0;	/* of its calls */
static uint64 waited_microseconds = 0;
static TimestampTz last_call_ended = 0;

/* Since the last call ended, or since the message. */
static uint64
call_took(void)
{
	TimestampTz message = GetCurrentStatementStartTimestamp();
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz begun = Max(message, last_call_ended);

	last_call_ended = now;
	if (now < begun)			/* the clock was set back */
		return 0;
	return (uint64) (now - begun);
}

/* Those of a parallel worker are its leader's. */
static void
count_if_slow(uint64 microseconds)
{
	microseconds -= Min(waited_microseconds, microseconds);
	waited_microseconds = 0;
	if (deploydb_slow_query_threshold >= 0 && own_work_level == 0 &&
		MyBackendType == B_BACKEND &&
		microseconds > (uint64) deploydb_slow_query_threshold * 1000)
		counters_add_slow_statement();
}

void
statement_call_ended(const void *statement)
{
	if (open_statement != statement)
		open_microseconds = 0;
	open_statement = statement;
	open_microseconds += call_took();
}

bool
statement_is_open(const void *statement)
{
	return open_statement == statement;
}

void
statement_ended(void)
{
	uint64		microseconds = open_microseconds;

	open_statement = NULL;		/* another may get its address */
	open_microseconds = 0;
	count_if_slow(microseconds);
}

void
statement_of_one_call_ended(void)
{
	count_if_slow(call_took());
}

void
statements_aborted(void)
{
	open_statement = NULL;
	open_microseconds = 0;
	waited_microseconds = 0;
}

void
statement_waited(uint64 microseconds)
{
	waited_microseconds += microseconds;
}
