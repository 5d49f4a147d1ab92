/*
 * relation_lock.h
 *		Locks that are never queued for.
 *
 * Gives: AccessShare and the like on a user's relation, tried again every few
 * milliseconds until a deadline.  A waiter that does not stand in the lock's
 * queue can neither deadlock nor hold up a migration that wants the table.
 * Needs: settings (deploydb.lock_timeout).
 */
#ifndef DEPLOYDB_RELATION_LOCK_H
#define DEPLOYDB_RELATION_LOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/lockdefs.h"

/* A deadline that lies in the past. */
#define RELATION_LOCK_NO_WAIT ((TimestampTz) 0)

/*
 * Now plus deploydb.lock_timeout; or now, where this statement has already
 * waited for a lock in vain: so long it waits in all, however many tables are
 * locked and whatever it calls.
 */
extern TimestampTz relation_lock_deadline(void);

/* False when not had by then, or when the relation is gone. */
extern bool relation_lock_wait(Oid relid, LOCKMODE mode, TimestampTz deadline);

/*
 * Looks up and locks.  InvalidOid with *locked_out false: there is no such
 * relation; with *locked_out true: it could not be locked in time.  The
 * caller unlocks with UnlockRelationOid().
 */
extern Oid	relation_lock_by_name(Oid schema, const char *name, LOCKMODE mode,
								  TimestampTz deadline, bool *locked_out);

#endif							/* DEPLOYDB_RELATION_LOCK_H */
