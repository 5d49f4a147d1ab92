/*
 * expectation.h
 *		What the known migrations expect.
 *
 * Gives: the known migrations (built in and registered, in the order of their
 * names), each with the facts about the objects that it made, changed or
 * dropped; which of these facts are in force; names by suffix.
 * Needs: facts (replay), owner.
 *
 * Expected facts are kept in table deploydb.expectation, a cache of what the
 * replay gave on this major version: after a restore or an upgrade it is
 * derived again where the transaction can write, and "stale" where not.
 */
#ifndef DEPLOYDB_EXPECTATION_H
#define DEPLOYDB_EXPECTATION_H

#include "facts/factset.h"
#include "nodes/pg_list.h"

typedef struct Expectation
{
	const char *migration;
	const char *ddl;			/* NULL where captured */
	const char *checksum;		/* NULL where not known */
	const char *registered_by;	/* NULL where built in */
	bool		captured;
	const char *capture_note;	/* of a captured one: its origin's word */
	const char *capture_schema; /* where it was there, or NULL */
	FactSet    *facts;			/* NULL where stale */
	FactSet    *in_force;		/* those that no later migration touches */
	const char *stale;			/* why there are no facts, or NULL */
	bool		derivable;		/* facts can be had again from what is kept */
} Expectation;

/* Every known migration, sorted by name; derives what is missing. */
extern List *expectations_load(void);

/*
 * The known migration that a name or a unique suffix of one means.  Raises
 * undefined_object, or ambiguous_parameter, with the known names.
 */
extern const char *migration_resolve(const char *name);

/* The same, but a name that no known one ends in stays as it is. */
extern const char *migration_resolve_if_known(const char *name);
extern Expectation *expectation_find(List *expectations, const char *name);

/* Every fact in force, of all migrations; sorted. */
extern FactSet *expectations_in_force(List *expectations);

/*
 * A ReplayStep for each known migration with DDL, in the order of names, up to
 * one, or with NULL for all.
 */
extern List *expectations_replay_steps(const char *last);

/* Replays every known migration with DDL, and stores the facts. */
extern void expectations_derive(void);

#endif							/* DEPLOYDB_EXPECTATION_H */
