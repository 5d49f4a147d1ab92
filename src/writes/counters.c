/*
 * counters.c
 *		Counts of writes, failures and log lines in shared memory.
 *
 * Locking and errors: see counters.h.  A slot's generation is odd while its
 * identity changes, so that readers without the LWLock know.
 */
#include "postgres.h"

#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "settings.h"
#include "writes/busy.h"
#include "writes/counters.h"

WritesShared *writes_shared = NULL;

static LWLock *slots_lock = NULL;
static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

static Size
counters_size(void)
{
	return add_size(offsetof(WritesShared, slots),
					mul_size(deploydb_max_tracked, sizeof(WriteSlot)));
}

static void
counters_request(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(counters_size());
	RequestNamedLWLockTranche("deploydb", 1);
}

static void
book_init(WriteBook *book)
{
	for (int i = 0; i < WRITE_COUNTS; i++)
		pg_atomic_init_u64(&book->counts[i], 0);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		pg_atomic_init_u64(&book->latency[i], 0);
	failure_kinds_init(&book->failures);
}

static void
database_init(DatabaseCounters *counters)
{
	pg_atomic_init_u64(&counters->slow_statements, 0);
	for (int i = 0; i < LOG_CLASSES; i++)
	{
		LogClass   *class = &counters->log_classes[i];

		pg_atomic_init_u64(&class->lines, 0);
		pg_atomic_init_u64(&class->last_at, 0);
		pg_atomic_init_flag(&class->busy);
		memset(&class->application, 0, sizeof(NameData));
	}
}

static void
counters_clear(void)
{
	memset(writes_shared, 0, counters_size());
	for (int i = 0; i < COUNTED_DATABASES; i++)
	{
		pg_atomic_init_u32(&writes_shared->databases[i].database, InvalidOid);
		database_init(&writes_shared->databases[i]);
	}
	pg_atomic_init_flag(&writes_shared->ring.busy);
	pg_atomic_init_u32(&writes_shared->slots_freed, 0);
	writes_shared->nslots = deploydb_max_tracked;
	for (int i = 0; i < writes_shared->nslots; i++)
	{
		pg_atomic_init_u32(&writes_shared->slots[i].generation, 0);
		book_init(&writes_shared->slots[i].books[0]);
		book_init(&writes_shared->slots[i].books[1]);
	}
}

/* At a clean end of the postmaster only; a crash leaves no file. */
static void
counters_at_exit(int code, Datum arg)
{
	(void) arg;
	if (code == 0 && writes_shared != NULL)
		counters_save();
}

static void
counters_startup(void)
{
	bool		found;

	if (previous_shmem_startup)
		previous_shmem_startup();

	/* After a crash the postmaster comes here again, with new memory. */
	writes_shared = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	writes_shared = ShmemInitStruct("deploydb", counters_size(), &found);
	slots_lock = &GetNamedLWLockTranche("deploydb")->lock;
	if (!found)
		counters_clear();
	LWLockRelease(AddinShmemInitLock);

	if (!IsUnderPostmaster)
		on_shmem_exit(counters_at_exit, (Datum) 0);
	if (!found)
		counters_load();
}

void
counters_init(void)
{
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = counters_request;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = counters_startup;
}

/* ---- slots ---------------------------------------------------------------- */

static bool
same_key(const SlotKey *a, const SlotKey *b)
{
	return a->database == b->database &&
		a->tracked_at == b->tracked_at &&
		strcmp(NameStr(a->name), NameStr(b->name)) == 0 &&
		strcmp(NameStr(a->schema), NameStr(b->schema)) == 0;
}

static int
slot_of(const SlotKey *key)
{
	for (int i = 0; i < writes_shared->nslots; i++)
		if (same_key(&writes_shared->slots[i].key, key))
			return i;
	return -1;
}

/* With the lock held exclusively; key NULL frees. */
static void
slot_change(WriteSlot *slot, const SlotKey *key)
{
	pg_atomic_fetch_add_u32(&slot->generation, 1);
	pg_write_barrier();
	memset(&slot->key, 0, sizeof(SlotKey));
	if (key != NULL)
	{
		slot->key = *key;
		slot->since = GetCurrentTimestamp();
		book_init(&slot->books[0]);
		book_init(&slot->books[1]);
	}
	else
		pg_atomic_fetch_add_u32(&writes_shared->slots_freed, 1);
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&slot->generation, 1);
}

bool
counters_slot(const SlotKey *key, WriteTarget *target)
{
	int			slot;

	LWLockAcquire(slots_lock, LW_SHARED);
	slot = slot_of(key);
	if (slot < 0)
	{
		SlotKey		free_key = {0};

		LWLockRelease(slots_lock);
		LWLockAcquire(slots_lock, LW_EXCLUSIVE);
		slot = slot_of(key);
		if (slot < 0 && (slot = slot_of(&free_key)) >= 0)
			slot_change(&writes_shared->slots[slot], key);
	}
	if (slot >= 0)
	{
		target->slot = slot;
		target->generation =
			pg_atomic_read_u32(&writes_shared->slots[slot].generation);
	}
	LWLockRelease(slots_lock);
	return slot >= 0;
}

SlotKey *
counters_keys(void)
{
	SlotKey    *keys = palloc(writes_shared->nslots * sizeof(SlotKey));

	LWLockAcquire(slots_lock, LW_SHARED);
	for (int i = 0; i < writes_shared->nslots; i++)
		keys[i] = writes_shared->slots[i].key;
	LWLockRelease(slots_lock);
	return keys;
}

static bool
is_kept(const SlotKey *key, const SlotKey *keep, int nkeep)
{
	if (!OidIsValid(key->database))
		return true;
	if (key->database != MyDatabaseId)
		return SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(key->database));
	for (int i = 0; i < nkeep; i++)
		if (same_key(key, &keep[i]))
			return true;
	return false;
}

/* Nobody is left in a dropped database who might be adding. */
static void
databases_evict(void)
{
	for (int i = 1; i < COUNTED_DATABASES; i++)
	{
		pg_atomic_uint32 *place = &writes_shared->databases[i].database;
		uint32		there = pg_atomic_read_u32(place);

		if (there != InvalidOid &&
			!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(there)) &&
			pg_atomic_compare_exchange_u32(place, &there, InvalidOid))
			pg_atomic_fetch_add_u32(&writes_shared->slots_freed, 1);
	}
}

void
counters_evict(const SlotKey *then, const SlotKey *keep, int nkeep)
{
	for (int i = 0; i < writes_shared->nslots; i++)
	{
		WriteSlot  *slot = &writes_shared->slots[i];

		/* The catalog is not read under the lock. */
		if (is_kept(&then[i], keep, nkeep))
			continue;
		LWLockAcquire(slots_lock, LW_EXCLUSIVE);
		if (same_key(&slot->key, &then[i]))
			slot_change(slot, NULL);
		LWLockRelease(slots_lock);
	}
	databases_evict();
}

/* ---- databases ------------------------------------------------------------ */

DatabaseCounters *
counters_of_database(Oid database)
{
	if (!OidIsValid(database))
		return &writes_shared->databases[0];
	for (int i = 1; i < COUNTED_DATABASES; i++)
		if (pg_atomic_read_u32(&writes_shared->databases[i].database) == database)
			return &writes_shared->databases[i];
	return NULL;
}

static DatabaseCounters *
free_place(void)
{
	for (int i = 1; i < COUNTED_DATABASES; i++)
		if (pg_atomic_read_u32(&writes_shared->databases[i].database) == InvalidOid)
			return &writes_shared->databases[i];
	return NULL;
}

bool
counters_database(void)
{
	DatabaseCounters *counters = counters_of_database(MyDatabaseId);

	if (counters != NULL)
		return true;
	LWLockAcquire(slots_lock, LW_EXCLUSIVE);
	counters = counters_of_database(MyDatabaseId);
	if (counters == NULL && (counters = free_place()) != NULL)
	{
		database_init(counters);
		pg_write_barrier();
		pg_atomic_write_u32(&counters->database, MyDatabaseId);
	}
	LWLockRelease(slots_lock);
	return counters != NULL;
}

/* The newest slot of a name, unless tables of several schemas bear it. */
bool
counters_find_name(Oid database, const char *schema, const char *name,
				   WriteTarget *target)
{
	SlotKey		best = {0};
	bool		found = false;

	for (int i = 0; i < writes_shared->nslots; i++)
	{
		WriteSlot  *slot = &writes_shared->slots[i];
		uint32		generation = pg_atomic_read_u32(&slot->generation);
		SlotKey		key;

		pg_read_barrier();
		key = slot->key;
		pg_read_barrier();
		if (generation % 2 != 0 ||
			generation != pg_atomic_read_u32(&slot->generation) ||
			key.database != database ||
			strcmp(NameStr(key.name), name) != 0 ||
			(schema[0] != '\0' && strcmp(NameStr(key.schema), schema) != 0))
			continue;
		if (found && strcmp(NameStr(key.schema), NameStr(best.schema)) != 0)
			return false;
		if (found && key.tracked_at < best.tracked_at)
			continue;
		found = true;
		best = key;
		target->slot = i;
		target->generation = generation;
	}
	return found;
}

/* ---- adding --------------------------------------------------------------- */

void
counters_add_failure(const WriteTarget *target, WriteCount what,
					 const WriteFailure *failure, Oid role, bool may_wait)
{
	FailureRing *ring = &writes_shared->ring;
	WriteBook  *book = counters_book(target);

	if (book == NULL)
		return;

	/* Its SQLSTATE first: who reads the count finds that, too. */
	failure_kinds_add(&book->failures, failure, may_wait);
	pg_atomic_fetch_add_u64(&book->counts[what], 1);
	if (busy_try(&ring->busy, may_wait))
	{
		RecentFailure *entry =
			&ring->entries[ring->appended % FAILURE_RING_SIZE];

		entry->key = writes_shared->slots[target->slot].key;
		entry->role = role;
		entry->failure = *failure;
		ring->appended++;
		pg_atomic_clear_flag(&ring->busy);
	}
}

void
counters_add_log_line(Oid database, int sqlstate, const char *application)
{
	DatabaseCounters *counters = counters_of_database(database);
	LogClass   *class;

	if (counters == NULL)
		return;
	class = &counters->log_classes[log_class(sqlstate)];
	pg_atomic_write_u64(&class->last_at, (uint64) GetCurrentTimestamp());
	pg_atomic_fetch_add_u64(&class->lines, 1);
	if (busy_try(&class->busy, false))
	{
		strlcpy(NameStr(class->application),
				application ? application : "", NAMEDATALEN);
		pg_atomic_clear_flag(&class->busy);
	}
}

void
counters_add_slow_statement(void)
{
	DatabaseCounters *counters = counters_of_database(MyDatabaseId);

	if (counters != NULL)
		pg_atomic_fetch_add_u64(&counters->slow_statements, 1);
}
