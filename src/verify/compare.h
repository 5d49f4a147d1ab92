/*
 * compare.h
 *		Expected facts minus actual facts, and back.
 *
 * Gives: the deviations of one migration, with severities, unsorted and
 * without fixes.
 * Needs: facts.  Pure: reads no catalog and no table.
 *
 * Errors: out of memory.
 */
#ifndef DEPLOYDB_COMPARE_H
#define DEPLOYDB_COMPARE_H

#include "facts/facts.h"
#include "verify/deviation.h"

typedef struct Comparison
{
	const char *migration;
	const FactSet *expected;	/* of this migration, in force */
	const FactSet *all_expected;	/* of every migration, in force */
	const FactSet *actual;
	List	   *unknown;		/* of FactUnknown * */
	bool		everything;		/* also rows for facts that hold */
	List	   *deviations;		/* out: of Deviation * */
} Comparison;

extern void compare_facts(Comparison *comparison);

/* The table that an object hangs on (quoted), or NULL for a root. */
extern const char *object_table(const FactSet *set, const char *object_type,
								const char *object);

/* How much a deviation matters; the rule is written down in docs/severity.md. */
extern DeviationSeverity deviation_severity(const Deviation *d,
											const FactSet *actual);

#endif							/* DEPLOYDB_COMPARE_H */
