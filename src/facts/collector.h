/*
 * collector.h
 *		What the files that read the catalogs share.
 *
 * Gives: the collector, and one function for each kind of object.
 * Needs: factset, deparse (the scope must be open).  Used inside src/facts
 * only; others use facts.h.
 */
#ifndef DEPLOYDB_COLLECTOR_H
#define DEPLOYDB_COLLECTOR_H

#include "datatype/timestamp.h"
#include "facts/facts.h"
#include "nodes/parsenodes.h"
#include "utils/relcache.h"

typedef struct Collector
{
	Oid			schema;
	FactSet    *facts;
	TimestampTz deadline;		/* for locks on what queries refer to */
	bool		locked_out;		/* something of the root was not to be had */
	bool		changed;		/* or not in the snapshot that it is read by */
} Collector;

/* collect_relation.c: the relation is open and locked. */
extern void collect_relation(Collector *c, Relation rel);
extern const char *relation_kind_name(char relkind);
extern const char *relation_object_type(char relkind);

/* collect_index.c */
extern void collect_indexes(Collector *c, Relation rel);

/* collect_constraint.c */
extern void collect_constraints(Collector *c, Relation rel);
extern char *domain_checks(Collector *c, Oid typid);

/* collect_action.c: triggers, rules, policies */
extern void collect_triggers(Collector *c, Relation rel);
extern void collect_rules(Collector *c, Relation rel);
extern void collect_policies(Collector *c, Relation rel);

/* collect_type.c */
extern void collect_type(Collector *c, const char *name);

/* collect_function.c */
extern void collect_function(Collector *c, const char *object);

/*
 * query_text.c: text of a stored query, of an expression with subqueries, or
 * of a function's body in the SQL standard's form; NULL, with c->locked_out
 * set, if a relation that it refers to is locked.
 */
extern char *query_text(Collector *c, Query *query);
extern char *subquery_expression_text(Collector *c, Node *expr, Relation rel);
extern char *function_body_text(Collector *c, Oid funcid, Node *body);

/* collector.c */

/* Text of an expression over one relation's columns. */
extern char *expression_text(Node *expr, Relation rel);

/* Adds "yes" or "no". */
extern void add_flag(Collector *c, const char *object_type,
					 const char *object, const char *property, bool value);

/* Elements of a text[] datum, comma-separated. */
extern char *text_array_join(Datum array);

/* Comments, in the form in which they stand in facts. */
extern char *comment_of(Oid objid, Oid classid, int32 subid);
extern char **comments_of_columns(Oid relid, int natts);

#endif							/* DEPLOYDB_COLLECTOR_H */
