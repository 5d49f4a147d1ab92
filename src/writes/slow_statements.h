/*
 * slow_statements.h
 *		Statements of clients that took long.
 *
 * Gives: a note of each call that a client's own statement makes, and of its
 * end; waiting that is not to be counted.
 * Needs: counters, settings, own_work.
 *
 * The time begins when the client's message came, or at the end of the
 * statement before in that message: one look at the clock for a statement.
 * The message's time is the wall clock's; where that is set, what is under way
 * is measured wrong.
 * Locking: none.  Errors: none.
 */
#ifndef DEPLOYDB_SLOW_STATEMENTS_H
#define DEPLOYDB_SLOW_STATEMENTS_H

#include "postgres.h"

/* A call of a statement, known by any pointer, has ended; it may have more. */
extern void statement_call_ended(const void *statement);

/* The statement has come to its end. */
extern void statement_ended(void);

/* Another one, that is done at once, leaves one that rests as it is. */
extern void statement_of_one_call_ended(void);

/* The transaction aborts: nothing rests any more. */
extern void statements_aborted(void);

/* True between the two. */
extern bool statement_is_open(const void *statement);

/* So much of it was waiting for what the client wanted to wait for. */
extern void statement_waited(uint64 microseconds);

#endif							/* DEPLOYDB_SLOW_STATEMENTS_H */
