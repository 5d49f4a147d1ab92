/*
 * factset.h
 *		A set of facts, and the texts that stand in them.
 *
 * Gives: the container that every later stage reads.  A fact is (object type,
 * object, property, value), all text in the server's encoding, free of the
 * schema's name.  Facts of one object stand together; sorted bytewise by
 * (object type, object, property).
 * Needs: nothing of the other modules.
 *
 * Object types and the shape of "object" (each part quoted by itself):
 *		table, view, sequence, index, enum, domain, composite type: name
 *		column, constraint, trigger, rule, policy: table.name
 *		function: name(argument types)
 *
 * All memory is in the context that was current at factset_create(); nothing
 * is freed one by one.
 */
#ifndef DEPLOYDB_FACTSET_H
#define DEPLOYDB_FACTSET_H

#include "postgres.h"

#include "utils/array.h"

/* Raised whenever the meaning of a stored fact changes. */
#define FACT_FORMAT 1

typedef struct Fact
{
	const char *object_type;
	const char *object;
	const char *property;
	const char *value;			/* never NULL: an absent property is no fact */
} Fact;

typedef struct FactSet
{
	Fact	   *facts;
	int			count;
	int			allocated;
	MemoryContext context;
} FactSet;

extern FactSet *factset_create(void);

/* The strings are copied into the set's context; value NULL adds nothing. */
extern void factset_add(FactSet *set, const char *object_type,
						const char *object, const char *property,
						const char *value);

/* The strings are shared with the set that the fact is from. */
extern void factset_append(FactSet *set, const Fact *fact);

/* Sorts; every function below needs a sorted set. */
extern void factset_sort(FactSet *set);

/* Bytewise order of (object type, object, property). */
extern int	fact_compare(const Fact *a, const Fact *b);

/* Bytewise order of (object type, object) alone. */
extern int	fact_compare_object(const Fact *a, const Fact *b);

/* Value of one fact, or NULL. */
extern const char *factset_get(const FactSet *set, const char *object_type,
							   const char *object, const char *property);

/*
 * Index of the first fact of an object, or -1; *count gets the number of its
 * facts, which follow each other.
 */
extern int	factset_find_object(const FactSet *set, const char *object_type,
								const char *object, int *count);

/* Flat text[]: four elements a fact.  The form in which sets are stored. */
extern ArrayType *factset_to_array(const FactSet *set);
extern FactSet *factset_from_array(ArrayType *array);

/* "deploydb:1:15:sha256:<hex>" over the sorted facts, in UTF-8. */
extern char *factset_fingerprint(const FactSet *set);

/* table.name of two raw names, each quoted where needed. */
extern char *object_of_table(const char *table, const char *name);

/*
 * Splits a dotted, quoted object into its unquoted parts; returns how many
 * (at most 2; what follows the first dot outside quotes is the second).
 */
extern int	object_split(const char *object, char *parts[2]);

/* Length of the quoted name that a text begins with: of name(types), say. */
extern int	object_name_length(const char *object);

#endif							/* DEPLOYDB_FACTSET_H */
