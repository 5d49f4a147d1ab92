/*
 * smoke.h
 *		The table that the smoke test writes into.
 *
 * Gives: to smoke.c, what smoke_target.c finds out about the table and the
 * role.
 * Needs: relation_lock, settings, smoke_value.
 */
#ifndef DEPLOYDB_SMOKE_H
#define DEPLOYDB_SMOKE_H

#include "postgres.h"

#include "access/attnum.h"

typedef struct SmokeColumn
{
	const char *name;			/* quoted; NULL for a dropped column */
	Oid			type;
	int32		typmod;
	bool		not_null;
	bool		has_default;	/* identity too */
	bool		generated;
	bool		referencing;	/* part of a foreign key */
	bool		unique;			/* part of a unique index */
	bool		supplied;		/* every INSERT names it */
	bool		in_key;			/* of SmokeTarget.key */
	const char *value;			/* of a supplied one; of the key once written */
} SmokeColumn;

typedef struct SmokeTarget
{
	Oid			relid;
	const char *name;			/* qualified, quoted */
	Oid			role;			/* who writes */
	SmokeColumn *columns;		/* one an attribute */
	int			count;
	const char *key;			/* unique index to go by, quoted, or NULL */
	const char *unmakable;		/* a column whose value cannot be made */
	const char *deferred;		/* constraints, comma-separated, or NULL */
	bool		locked_out;
	bool		written;
} SmokeTarget;

/*
 * Finds, locks and describes the table; schema NULL: on the search_path, else
 * in public.  Gives NULL, or why nothing can be written.
 */
extern const char *smoke_prepare(SmokeTarget *target, const char *schema,
								 const char *name);

/* New values for the supplied columns; but for those of the key, if kept. */
extern void smoke_fill(SmokeTarget *target, bool keep_key);

#endif							/* DEPLOYDB_SMOKE_H */
