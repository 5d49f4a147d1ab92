/*
 * prepared.h
 *		Two-phase commit of what the monitor is to be woken for.
 *
 * Gives: prepared_look(), after each statement that begins or ends a transaction.
 * Needs: the slots, wake.
 */
#ifndef DEPLOYDB_PREPARED_H
#define DEPLOYDB_PREPARED_H

#include "postgres.h"

#include "nodes/parsenodes.h"

extern void prepared_look(const TransactionStmt *statement);

#endif							/* DEPLOYDB_PREPARED_H */
