/*
 * replay_guard.h
 *		What a migration may do while it is replayed.
 *
 * Gives: a guard that is active between replay_guard_begin() and
 * replay_guard_end().  While it is, every utility statement at every level
 * passes replay_filter.c, and whatever is created, altered, dropped,
 * truncated or written must be in the scratch schema, or hang on something in
 * it.
 * Needs: nothing of the other modules.
 *
 * Errors: what is not allowed raises ERRCODE_DEPLOYDB_REPLAY_REFUSED.
 */
#ifndef DEPLOYDB_REPLAY_GUARD_H
#define DEPLOYDB_REPLAY_GUARD_H

#include "catalog/objectaddress.h"
#include "nodes/parsenodes.h"

extern void replay_guard_begin(Oid schema);
extern void replay_guard_end(void);
extern bool replay_guard_active(void);

/*
 * To be called after each statement of a migration and a
 * CommandCounterIncrement(): only now can it be seen where the objects are
 * that the statement has made.
 */
extern void replay_guard_after_statement(void);

/*
 * Refuses an object outside of the scratch schema.  False: not visible yet,
 * so nothing is known about it.
 */
extern bool replay_check_object(Oid class_id, Oid object_id);

/* "what cannot be replayed"; why is a sentence, hint NULL names capture. */
extern void replay_refuse(const char *what, const char *why,
						  const char *hint);

/*
 * In replay_filter.c.  Looks at one utility statement, and makes of it what
 * the replay runs: the tree may be changed.  False: it is to be skipped,
 * since it has no effect on facts.
 */
extern bool replay_filter(Node *statement, Oid schema);

#endif							/* DEPLOYDB_REPLAY_GUARD_H */
