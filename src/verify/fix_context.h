/*
 * fix_context.h
 *		What the builders of fixes share; private to src/verify/fix*.c.
 *
 * Gives: the deviation together with the sets it came from, names as they
 * stand in statements, and the texts that several builders need.
 * Needs: the sets of facts.
 *
 * Names in facts are quoted already and free of the schema; in a statement
 * they are qualified with "schema", which is quoted here.
 */
#ifndef DEPLOYDB_FIX_CONTEXT_H
#define DEPLOYDB_FIX_CONTEXT_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "facts/factset.h"
#include "verify/deviation.h"

typedef struct FixContext
{
	Deviation  *d;
	const FactSet *expected;
	const FactSet *actual;
	const char *schema_name;	/* raw */
	const char *schema;			/* quoted */

	/* The parts of d->object, for an object of a table's. */
	const char *table;			/* as in a fact */
	const char *qualified_table;
	const char *member;			/* the column, constraint, …, quoted */
} FixContext;

/* fix.c */
extern void fix_set(FixContext *fix, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void fix_advise(FixContext *fix, const char *format,...) __attribute__((format(printf, 2, 3)));
extern const char *fix_expected(const FixContext *fix, const char *property);
extern const char *fix_actual(const FixContext *fix, const char *property);
extern bool fix_differs(const FixContext *fix, const char *property);
extern const char *fix_first_of(const FixContext *fix,
								const char *const *properties);
extern bool fix_has_object(const FactSet *set, const char *object_type,
						   const char *object);
extern const char *fix_next_member(const FactSet *set, int *position,
								   const char *object_type, const char *table);
extern char *fix_qualified(const FixContext *fix, const char *name);
extern bool fix_is_yes(const char *value);
extern void fix_comment(FixContext *fix, const char *target);

/* fix_text.c */
extern char *fix_qualify(const FixContext *fix, const char *text, bool types);
extern char *fix_type(const FixContext *fix, const char *type);
extern char *fix_name_after(const char *text, const char *keyword);
extern char *fix_replace_name(const char *text, const char *after,
							  const char *name, const char *replacement);
extern List *fix_split_list(const char *text);
extern char *fix_strip_semicolon(const char *text);

/* fix_table.c */
extern void fix_of_table(FixContext *fix);

/* fix_column.c */
extern void fix_of_column(FixContext *fix);
extern char *fix_column_definition(const FixContext *fix, const char *column,
								   bool with_not_null);
extern const char *fix_serial_type(const FixContext *fix, const char *column);

/* fix_constraint.c */
extern void fix_of_constraint(FixContext *fix);
extern char *fix_constraint_definition(const FixContext *fix,
									   const char *constraint);
extern bool fix_is_equivalent_unique(const FixContext *fix,
									 const char *index);
extern void fix_advise_equivalent(FixContext *fix, const char *index);

/* fix_index.c */
extern void fix_of_index(FixContext *fix);
extern char *fix_create_index(const FixContext *fix, const char *index,
							  bool concurrently);
extern const char *const fix_index_shape[];

/* fix_trigger.c */
extern void fix_of_trigger(FixContext *fix);
extern void fix_of_rule(FixContext *fix);
extern void fix_of_policy(FixContext *fix);

/* fix_type.c */
extern void fix_of_enum(FixContext *fix);
extern void fix_of_domain(FixContext *fix);
extern void fix_of_composite(FixContext *fix);

/* fix_query.c */
extern void fix_of_view(FixContext *fix);
extern void fix_of_sequence(FixContext *fix);
extern void fix_of_function(FixContext *fix);

/* fix_ledger.c */
extern void fix_of_ledger(FixContext *fix);

#endif							/* DEPLOYDB_FIX_CONTEXT_H */
