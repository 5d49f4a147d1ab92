/*
 * client_statement.h
 *		The client's own statement: which is under way, and those that took long.
 *
 * Gives: a note of where the calls for it, the executor's or a utility's, begin
 * and end; waiting that is not to be counted.
 * Needs: counters, settings, own_work.
 *
 * No PG_TRY is for this in the executor's calls, as each statement would pay for
 * it: one that raises is found when its transaction or subtransaction aborts.
 *
 * The time begins when the client's message came, or at the end of the
 * statement before in that message: one look at the clock for a statement.
 * The message's time is the wall clock's; where that is set, what is under way
 * is measured wrong.
 * Locking: none.  Errors: none.
 */
#ifndef DEPLOYDB_CLIENT_STATEMENT_H
#define DEPLOYDB_CLIENT_STATEMENT_H

#include "postgres.h"

#include "access/xact.h"
#include "datatype/timestamp.h"
#include "tcop/pquery.h"
#include "utils/portal.h"

/* Statements are known by any pointer.  Together, for the cache's sake. */
typedef struct ClientStatement
{
	const void *running;		/* a call is under way, or failed and no abort
								 * has come yet */
	int			subtransactions;	/* that are open in that call */
	int			nesting_level;	/* calls of the planner and of utilities that
								 * this one is in; they put it back when an
								 * error passes */
	const void *open;			/* a call has ended, and there may be more */
	uint64		microseconds;	/* of its calls that have ended */
	uint64		waited;			/* for what the client waits for */
	TimestampTz last_call_ended;
} ClientStatement;

extern ClientStatement client_statement;

static inline bool
statement_is_running(void)
{
	return client_statement.running != NULL;
}

/*
 * Would one that begins now be the client's own?  What no portal executes, or a
 * loop's of PL/pgSQL, is not: deferred triggers of a COMMIT, a function called
 * without SQL, a background worker's.
 */
static inline bool
statement_is_clients(void)
{
	return client_statement.nesting_level == 0 && !statement_is_running() &&
		ActivePortal != NULL && !ActivePortal->portalPinned;
}

static inline void
statement_call_begins(const void *statement)
{
	client_statement.running = statement;
	client_statement.subtransactions = 0;
}

/* When one that begins now in that message of the client's began for him. */
static inline TimestampTz
statement_began(TimestampTz message)
{
	return Max(message, client_statement.last_call_ended);
}

/* Microseconds since the last call ended, or since the message. */
static inline uint64
statement_call_took(TimestampTz now)
{
	TimestampTz began = statement_began(GetCurrentStatementStartTimestamp());

	client_statement.last_call_ended = now;
	return (uint64) Max(now - began, 0);	/* the clock may be set back */
}

/* The statement may have more of them. */
static inline void
statement_call_ended(const void *statement, TimestampTz now)
{
	if (client_statement.open != statement)
		client_statement.microseconds = 0;
	client_statement.running = NULL;
	client_statement.open = statement;
	client_statement.microseconds += statement_call_took(now);
}

/* Counts a statement that took so long, if it is slow. */
extern void statement_took(uint64 microseconds);

/* The open one has come to its end. */
static inline void
statement_ended(void)
{
	client_statement.open = NULL;	/* another may get its address */
	statement_took(client_statement.microseconds);
}

/* Another one, that is done at once, leaves one that rests as it is. */
static inline void
statement_of_one_call_ended(TimestampTz now)
{
	statement_took(statement_call_took(now));
}

/* From the callbacks of transactions and subtransactions. */
static inline void
statement_transaction_committed(void)
{
	client_statement.running = NULL;	/* whoever caught what it raised */
}

extern void statement_transaction_aborted(void);
extern void statement_subtransaction(SubXactEvent event);

/* So much of it was waiting for what the client wanted to wait for. */
extern void statement_waited(uint64 microseconds);

#endif							/* DEPLOYDB_CLIENT_STATEMENT_H */
