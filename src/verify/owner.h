/*
 * owner.h
 *		Reading and writing the tables of schema deploydb.
 *
 * Gives: a scope in which SPI runs as the owner of schema deploydb.  Whoever
 * may call a function of ours need not have, and members never get, rights on
 * the tables behind it.
 * Needs: nothing of the other modules.
 *
 * In the scope only our own statements may run: fixed texts with every name
 * and operator qualified, values as parameters.
 * Errors: an abort restores the user id; owner_end() does otherwise.
 */
#ifndef DEPLOYDB_OWNER_H
#define DEPLOYDB_OWNER_H

#include "postgres.h"

#include "executor/spi.h"

typedef struct OwnerScope
{
	Oid			user;
	int			security_context;
} OwnerScope;

/* Also connects to SPI. */
extern void owner_begin(OwnerScope *scope);
extern void owner_end(OwnerScope *scope);

/* The owner of schema deploydb. */
extern Oid	owner_role(void);

/* Can this transaction write at all? */
extern bool owner_can_write(void);

/*
 * Runs a statement whose plan is kept for the session in *plan.  nulls may be
 * NULL.  Raises unless SPI gives the expected code.
 */
extern void owner_execute(SPIPlanPtr *plan, const char *sql, int expected,
						  int nargs, Oid *types, Datum *values,
						  const char *nulls);

/* One value of the result, columns from 1, as text in the current context. */
extern char *owner_text(int row, int column);

#endif							/* DEPLOYDB_OWNER_H */
