/*
 * tracked.h
 *		Which relations are tracked.
 *
 * Gives: the slot of a relation's counters, from a cache of this backend's.
 * Needs: counters; the table deploydb.tracked, which is the truth.
 *
 * Tables are tracked by name, whatever relation bears it now.  The cache is
 * rebuilt after any change of deploydb.tracked, of the schemas' names, or of
 * a relation that has, had or gets a tracked name.
 * Locking: AccessShare on deploydb.tracked, by trying: the application never
 * waits for us, and what is cached is good until the next statement.
 */
#ifndef DEPLOYDB_TRACKED_H
#define DEPLOYDB_TRACKED_H

#include "postgres.h"

#include "nodes/primnodes.h"

#include "writes/counters.h"

/* A row of deploydb.tracked that is in force. */
typedef struct TrackedTable
{
	Oid			relid;			/* InvalidOid while there is none */
	bool		counted;		/* false when no slot was free */
	WriteTarget target;			/* what each statement reads is together */
	SlotKey		key;
} TrackedTable;

typedef struct TrackedCache
{
	TrackedTable *tables;		/* in TopMemoryContext */
	int			count;
	bool		valid;
	bool		eviction_due;	/* by the next transaction that may */
	bool		lacking;		/* no slot was free for one of them, or no
								 * place for the database */
	uint32		freed_seen;		/* slots that had been freed by then */
} TrackedCache;

extern TrackedCache tracked_cache;

/* From _PG_init while preloading. */
extern void tracked_init(void);

/*
 * The tracked tables of this database, kept until the next call.  In a
 * transaction, as it may read catalogs.
 */
extern const TrackedTable *tracked_tables(int *count);

/* Of a relation; NULL when the cache, valid or not, has none. */
static inline const TrackedTable *
tracked_cached(Oid relid)
{
	for (int i = 0; i < tracked_cache.count; i++)
		if (tracked_cache.tables[i].relid == relid)
			return &tracked_cache.tables[i];
	return NULL;
}

/* False when it surely is not tracked, which costs next to nothing. */
static inline bool
tracked_may_be(Oid relid)
{
	return !tracked_cache.valid || tracked_cache.eviction_due ||
		tracked_cached(relid) != NULL;
}

/* Frees what nobody needs any more, unless the transaction has written. */
extern void tracked_evict(void);

/* Brings the cache up to date; true when anything is tracked at all. */
extern bool tracked_refresh(void);

/* After tracked_refresh(): is it tracked?  No catalog is read. */
extern bool tracked_find(Oid relid, WriteTarget *target);

/* The same by a name that may be that of no relation, "" being no schema. */
extern bool tracked_find_name(const RangeVar *name, WriteTarget *target);

#endif							/* DEPLOYDB_TRACKED_H */
