/*
 * fix.h
 *		The SQL that mends a deviation.
 *
 * Gives: for one deviation a single statement that can be pasted, or NULL,
 * and advice in words for what a statement cannot do.  Nothing here is run.
 * Needs: the sets of facts, expected and actual.
 */
#ifndef DEPLOYDB_FIX_H
#define DEPLOYDB_FIX_H

#include "facts/factset.h"
#include "verify/deviation.h"

/*
 * Fills d->fix and d->advice (d->advice only where it is still NULL).
 * "expected" is every expected fact of the migrations in force, "actual" what
 * is there; schema is the raw name of the schema that is being verified.
 */
extern void deviation_fix(Deviation *d, const FactSet *expected,
						  const FactSet *actual, const char *schema);

#endif							/* DEPLOYDB_FIX_H */
