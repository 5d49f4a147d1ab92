/*
 * facts.h
 *		Catalogs -> facts.  What the stage "facts" gives to the others.
 *
 * facts_collect() is the only code that reads the catalogs for facts.  It
 * calls no function of a user's: catalogs are read by syscache and systable
 * scans, expressions are deparsed by the server's own ruleutils under pinned
 * settings (see deparse.h).
 *
 * Locking: AccessShare on each relation, taken without ever queueing (so this
 * can neither deadlock nor stand in anyone's way), for at most
 * deploydb.lock_timeout in all, released before facts_collect() returns.
 * Errors: what cannot be locked or may not be read is not an error but a row
 * in "unknown"; out of memory and cancel requests rise.
 */
#ifndef DEPLOYDB_FACTS_H
#define DEPLOYDB_FACTS_H

#include "datatype/timestamp.h"
#include "facts/factset.h"
#include "nodes/pg_list.h"

/* What to look at: a root object, by type ("table", "enum", …) and object. */
typedef struct FactRoot
{
	const char *object_type;
	const char *object;			/* quoted as in a fact */
} FactRoot;

typedef enum UnknownReason
{
	UNKNOWN_LOCKED,				/* not locked within deploydb.lock_timeout */
	UNKNOWN_CHANGED,			/* a part is not in the transaction's snapshot */
	UNKNOWN_NO_RIGHTS			/* the caller has no right on the relation */
} UnknownReason;

/* The reason as a sentence. */
extern const char *unknown_reason_text(UnknownReason reason);

/* A root that could not be looked at. */
typedef struct FactUnknown
{
	const char *object_type;
	const char *object;
	UnknownReason reason;
} FactUnknown;

typedef struct FactReport
{
	FactSet    *facts;			/* sorted */
	List	   *unknown;		/* of FactUnknown * */
} FactReport;

/*
 * Facts about the given roots (list of FactRoot *) in one schema.  The
 * deadline for locks is the caller's, who may collect more than once:
 * relation_lock_deadline() at the beginning of the SQL function.
 */
extern FactReport *facts_collect(Oid schema, List *roots, TimestampTz deadline);

/* Every root that a schema holds, members of extensions left out. */
extern List *facts_roots_of_schema(Oid schema);

/* A root for each distinct relation name (raw), its type from the catalogs. */
extern List *facts_roots_of_relations(Oid schema, List *names);

/* A root for each type of the schema that columns among the facts have. */
extern List *facts_roots_of_types(Oid schema, const FactSet *facts);

/* Object type that a type has in facts, or NULL where there are none of it. */
extern const char *type_object_type(Oid typid);

/* Object that a function is in facts, or NULL; types as search_path has them. */
extern char *function_object(Oid funcid);

#endif							/* DEPLOYDB_FACTS_H */
