/*
 * smoke_value.h
 *		Values for the row that the smoke test writes.
 *
 * Gives: a literal for a column's type, as text.
 * Needs: escape.
 */
#ifndef DEPLOYDB_SMOKE_VALUE_H
#define DEPLOYDB_SMOKE_VALUE_H

#include "postgres.h"

/*
 * Text that the type's input function takes, or NULL where none is known for
 * the type.  "distinct" asks for another value at every call, where the type
 * has room for it.
 */
extern char *smoke_value(Oid type, int32 typmod, bool distinct);

/* json or jsonb, or a domain over one? */
extern bool smoke_type_is_json(Oid type);

#endif							/* DEPLOYDB_SMOKE_VALUE_H */
