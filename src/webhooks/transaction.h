/*
 * transaction.h
 *		Pieces of work of a background process, each in a transaction of its
 *		own.
 *
 * Gives: in_transaction().
 * Needs: of the SQL functions record_monitor_error().
 */
#ifndef DEPLOYDB_TRANSACTION_H
#define DEPLOYDB_TRANSACTION_H

#include "postgres.h"

typedef void (*Work) (void *argument);

/*
 * Does a piece of work, with SPI and a snapshot.  False when it failed: then
 * the error is logged and shown by worker_status, and nothing of the work has
 * happened; also when the extension is gone.  What an error leaves behind is
 * in the caller's memory context, which is the current one again afterwards.
 */
extern bool in_transaction(const char *activity, Work work, void *argument);

#endif							/* DEPLOYDB_TRANSACTION_H */
