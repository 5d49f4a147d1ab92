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
	const void *running;		/* one of its calls is under way, or has
								 * failed and the abort is still to come */
	int			subtransactions;	/* that began in that call and are open */
	int			nesting_level;	/* calls of the planner and of utilities that
								 * are under way; each puts it back, when it
								 * raises too */
	const void *open;			/* its last call has ended, and more may come */
	uint64		microseconds;	/* that its calls took */
	uint64		waited;			/* of these, on the client's own wish */
	TimestampTz last_call_ended;
} ClientStatement;

extern ClientStatement client_statement;

static inline bool
statement_is_running(void)
{
	return client_statement.running != NULL;
}

static inline bool
running_statement_is(const void *statement)
{
	return client_statement.running == statement;
}

static inline bool
open_statement_is(const void *statement)
{
	return client_statement.open == statement;
}

/* Around each call of the planner and of a utility. */
static inline void
statement_nests(void)
{
	client_statement.nesting_level++;
}

static inline void
statement_unnests(void)
{
	client_statement.nesting_level--;
}

/*
 * Is a statement that begins now the client's own?  None is that runs outside a
 * portal (deferred triggers at COMMIT, functions called without SQL, background
 * workers), nor that of a FOR loop in PL/pgSQL, which pins its portal.
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

/* When a statement that begins now began for the client. */
static inline TimestampTz
statement_began(void)
{
	TimestampTz message = GetCurrentStatementStartTimestamp();

	return Max(message, client_statement.last_call_ended);
}

/* Has any ended since the client's message came? */
static inline bool
statement_has_ended(void)
{
	return client_statement.last_call_ended > GetCurrentStatementStartTimestamp();
}

/* Microseconds since the last call ended, or since the message. */
static inline uint64
statement_call_took(TimestampTz now)
{
	TimestampTz began = statement_began();

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

/*
 * Counts a statement that took as long, if that is slow, and forgets what it
 * waited for; a cursor that is open stays so.
 */
extern void statement_count_if_slow(uint64 microseconds);

/* The open one has ended. */
static inline void
statement_ended(void)
{
	client_statement.open = NULL;	/* another may get its address */
	statement_count_if_slow(client_statement.microseconds);
}

/* From the callbacks of transactions and subtransactions. */
static inline void
statement_transaction_committed(void)
{
	client_statement.running = NULL;	/* if it raised, that was caught */
}

extern void statement_transaction_aborted(void);
extern void statement_subtransaction(SubXactEvent event);

/* It waited as long because the client asked it to. */
extern void statement_waited(uint64 microseconds);

#endif							/* DEPLOYDB_CLIENT_STATEMENT_H */
