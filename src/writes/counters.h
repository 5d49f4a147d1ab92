/*
 * counters.h
 *		Counts of writes, failures and log lines in shared memory.
 *
 * Gives: a slot for each tracked table of each database, adding to it, reading
 * it, the ring of recent failures; and for each database that has the extension
 * log lines by SQLSTATE class, and slow statements.
 * Needs: settings, the histogram, the failures by SQLSTATE, the log's classes.
 *
 * Without preloading there is no shared memory: counters_there() is false, no
 * slot is ever found, and nothing below may be called but that.
 *
 * Locking: a slot's identity changes under an LWLock; a reference that a
 * backend holds carries the slot's generation, and what is added through an
 * outdated reference is dropped.  Counters are atomics.  Evidence of failures
 * is under flags that the log hook only tries to take.
 * Errors: none, so that commit callbacks and the log hook may add.
 */
#ifndef DEPLOYDB_COUNTERS_H
#define DEPLOYDB_COUNTERS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "writes/failure_kinds.h"
#include "writes/histogram.h"
#include "writes/log_class.h"

/* What became of attempts, and the rows that those which succeeded wrote. */
typedef enum WriteCount
{
	WRITES_SUCCEEDED,
	WRITES_FAILED,
	WRITES_ROLLED_BACK,
	WRITES_REJECTED,
	WRITES_SWALLOWED,
	WRITES_PREPARED,
	WRITES_UNACCOUNTED,
	WRITES_ROWS
} WriteCount;

#define WRITE_COUNTS (WRITES_ROWS + 1)

#define FAILURE_RING_SIZE 64
#define COUNTED_DATABASES 64

/* Attempts of the application, or those of everybody else. */
typedef struct WriteBook
{
	pg_atomic_uint64 counts[WRITE_COUNTS];
	pg_atomic_uint64 latency[HISTOGRAM_BUCKETS];
	FailureKinds failures;
} WriteBook;

/* One of a tracked table's books, as long as its slot stays the same. */
typedef struct WriteTarget
{
	int			slot;
	uint32		generation;
	bool		others;			/* not of deploydb.app_role, which is set */
} WriteTarget;

/* What identifies a slot: one time of tracking a name in a database. */
typedef struct SlotKey
{
	Oid			database;
	TimestampTz tracked_at;
	NameData	schema;
	NameData	name;
} SlotKey;

typedef struct WriteSlot
{
	pg_atomic_uint32 generation;	/* odd while the rest changes */
	SlotKey		key;			/* database is 0 when free */
	TimestampTz since;			/* began to count: an epoch */
	WriteBook	books[2];		/* the application's, others' */
} WriteSlot;

/* An entry of the ring. */
typedef struct RecentFailure
{
	SlotKey		key;
	Oid			role;
	WriteFailure failure;
} RecentFailure;

typedef struct FailureRing
{
	pg_atomic_flag busy;
	uint64		appended;		/* the next goes to appended % its size */
	RecentFailure entries[FAILURE_RING_SIZE];
} FailureRing;

/* Log lines of ERROR and above of a class of SQLSTATEs. */
typedef struct LogClass
{
	pg_atomic_uint64 lines;
	pg_atomic_uint64 last_at;
	pg_atomic_flag busy;
	NameData	application;
} LogClass;

/* A place of its own for all that its sessions can do, so that none lacks one. */
typedef struct DatabaseCounters
{
	pg_atomic_uint32 database;	/* 0 when free, and of the first */
	pg_atomic_uint64 slow_statements;
	LogClass	log_classes[LOG_CLASSES];
} DatabaseCounters;

typedef struct WritesShared
{
	DatabaseCounters databases[COUNTED_DATABASES];	/* the first is of
													 * processes without one */
	FailureRing ring;
	pg_atomic_uint32 slots_freed;	/* so often: there may be room again */
	int			nslots;
	WriteSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} WritesShared;

/* NULL without preloading; in counters.c. */
extern WritesShared *writes_shared;

static inline bool
counters_there(void)
{
	return writes_shared != NULL;
}

/* From _PG_init while preloading: reserves the memory. */
extern void counters_init(void);

/* Finds or makes a slot; false when all are taken.  May take the LWLock. */
extern bool counters_slot(const SlotKey *key, WriteTarget *target);

/* Finds or makes this database's place; false when all are taken.  Likewise. */
extern bool counters_database(void);

/* NULL where it has none; InvalidOid is of processes without a database. */
extern DatabaseCounters *counters_of_database(Oid database);

/* The slots as they are now, nslots of them, in the current memory context. */
extern SlotKey *counters_keys(void);

/*
 * Of slots as they were then, frees those of this database that are none of
 * the keys to keep, and those, and the places, of databases that are no more.
 * Reads a catalog: in a transaction only.
 */
extern void counters_evict(const SlotKey *then, const SlotKey *keep, int nkeep);

/* The book, or NULL when the slot is another's by now. */
static inline WriteBook *
counters_book(const WriteTarget *target)
{
	WriteSlot  *slot = &writes_shared->slots[target->slot];

	if (pg_atomic_read_u32(&slot->generation) != target->generation)
		return NULL;
	return &slot->books[target->others ? 1 : 0];
}

static inline void
counters_add(const WriteTarget *target, WriteCount what, uint64 n)
{
	WriteBook  *book = counters_book(target);

	if (book != NULL && n > 0)
		pg_atomic_fetch_add_u64(&book->counts[what], n);
}

static inline void
counters_add_latency(const WriteTarget *target, uint64 microseconds)
{
	WriteBook  *book = counters_book(target);

	if (book != NULL)
		pg_atomic_fetch_add_u64(&book->latency[histogram_bucket(microseconds)], 1);
}

/*
 * One failed or rejected attempt with its evidence.  With may_wait false, as
 * in the log hook, the evidence (never a count) is given up at once where
 * another backend is busy with it, else after some tries.
 */
extern void counters_add_failure(const WriteTarget *target, WriteCount what,
								 const WriteFailure *failure, Oid role,
								 bool may_wait);

/* For the log hook: the only table of that name, schema "" being any. */
extern bool counters_find_name(Oid database, const char *schema,
							   const char *name, WriteTarget *target);

extern void counters_add_log_line(Oid database, int sqlstate,
								  const char *application);
extern void counters_add_slow_statement(void);

/* Writes all to a file, and reads it back and removes it; counters_file.c. */
extern void counters_save(void);
extern void counters_load(void);

#endif							/* DEPLOYDB_COUNTERS_H */
