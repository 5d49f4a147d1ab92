/*
 * tracked.c
 *		Which relations are tracked.
 *
 * Memory: the cache is one array in TopMemoryContext.
 * Locking and errors: see tracked.h; reading a catalog may raise what it may.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "writes/app_role.h"
#include "writes/tracked.h"

/* Columns of deploydb.tracked, in their order. */
enum
{
	TRACKED_SCHEMA = 1,
	TRACKED_NAME,
	TRACKED_BUILT_IN,
	TRACKED_ENABLED,
	TRACKED_AT
};

/* A row as it was read; those of users stand over those built in. */
typedef struct TrackedRow
{
	TrackedTable table;
	bool		built_in;
	bool		enabled;
} TrackedRow;

TrackedCache tracked_cache;

static int	tables_size = 0;
static uint64 changes = 0;		/* counts invalidations */

/* What else the cache depends on, as of its making. */
static Oid	truth_relid = InvalidOid;
static uint32 *name_hashes = NULL;	/* parallel to the tables */

static void
forget(void)
{
	tracked_cache.valid = false;
	changes++;
}

static void
relation_changed(Datum arg, Oid relid)
{
	(void) arg;
	if (!OidIsValid(relid) || relid == truth_relid)
	{
		forget();
		return;
	}
	for (int i = 0; i < tracked_cache.count; i++)
		if (tracked_cache.tables[i].relid == relid)
			forget();
}

/* A relation of a tracked name came, went, or was renamed. */
static void
name_changed(Datum arg, compat_syscache_id cache, uint32 hash)
{
	(void) arg;
	(void) cache;
	for (int i = 0; i < tracked_cache.count; i++)
		if (hash == 0 || name_hashes[i] == hash)
			forget();
}

/* A schema of a tracked name, or a database that had slots. */
static void
schema_or_database_changed(Datum arg, compat_syscache_id cache, uint32 hash)
{
	(void) arg;
	(void) cache;
	(void) hash;
	forget();
}

void
tracked_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(RELNAMENSP, name_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACENAME, schema_or_database_changed,
								  (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, schema_or_database_changed,
								  (Datum) 0);
}

static void
row_read(TupleTableSlot *slot, TrackedRow *row)
{
	bool		isnull;

	memset(row, 0, sizeof(*row));
	row->table.key.database = MyDatabaseId;
	namestrcpy(&row->table.key.schema,
			   TextDatumGetCString(slot_getattr(slot, TRACKED_SCHEMA, &isnull)));
	namestrcpy(&row->table.key.name,
			   TextDatumGetCString(slot_getattr(slot, TRACKED_NAME, &isnull)));
	row->built_in = DatumGetBool(slot_getattr(slot, TRACKED_BUILT_IN, &isnull));
	row->enabled = DatumGetBool(slot_getattr(slot, TRACKED_ENABLED, &isnull));
	row->table.key.tracked_at =
		DatumGetTimestampTz(slot_getattr(slot, TRACKED_AT, &isnull));
}

static TrackedRow *
rows_read(Relation truth, Snapshot snapshot, int *count)
{
	TableScanDesc scan = compat_table_beginscan(truth, snapshot);
	TupleTableSlot *slot = table_slot_create(truth, NULL);
	TrackedRow *rows = palloc(sizeof(TrackedRow));
	int			size = 1;

	*count = 0;
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		if (*count == size)
			rows = repalloc(rows, (size *= 2) * sizeof(TrackedRow));
		row_read(slot, &rows[(*count)++]);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	return rows;
}

/* Not enabled, or built in with a user's row over it. */
static bool
row_is_in_force(const TrackedRow *rows, int count, const TrackedRow *row)
{
	if (row->built_in)
		for (int i = 0; i < count; i++)
			if (!rows[i].built_in &&
				strcmp(NameStr(rows[i].table.key.schema),
					   NameStr(row->table.key.schema)) == 0 &&
				strcmp(NameStr(rows[i].table.key.name),
					   NameStr(row->table.key.name)) == 0)
				return false;
	return row->enabled;
}

static void
tables_resize(int size)
{
	if (size <= tables_size)
		return;
	if (tracked_cache.tables == NULL)
	{
		tracked_cache.tables =
			MemoryContextAlloc(TopMemoryContext, size * sizeof(TrackedTable));
		name_hashes = MemoryContextAlloc(TopMemoryContext,
										 size * sizeof(uint32));
	}
	else
	{
		tracked_cache.tables =
			repalloc(tracked_cache.tables, size * sizeof(TrackedTable));
		name_hashes = repalloc(name_hashes, size * sizeof(uint32));
	}
	tables_size = size;
}

/* Only tables are counted, whatever bears the name. */
static Oid
table_of_name(const char *name, Oid schema)
{
	Oid			relid = get_relname_relid(name, schema);
	char		kind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE ?
		relid : InvalidOid;
}

/* Relation and slot of a table.  Lookups may bring invalidations in. */
static void
table_resolve(TrackedTable *table, uint32 *name_hash)
{
	Oid			schema = get_namespace_oid(NameStr(table->key.schema), true);

	*name_hash = GetSysCacheHashValue2(RELNAMENSP,
									   CStringGetDatum(NameStr(table->key.name)),
									   ObjectIdGetDatum(schema));
	table->relid = OidIsValid(schema) ?
		table_of_name(NameStr(table->key.name), schema) : InvalidOid;
	table->counted = counters_slot(&table->key, &table->target);
}

/*
 * Slots that nobody needs any more are freed by whoever reads the table, but
 * not by a transaction that may have changed it itself and may roll back.
 */
static bool
may_evict(void)
{
	return !TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/* Is somebody just creating the extension?  Its table cannot be read yet. */
static bool
extension_may_come(void)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	SnapshotData dirty;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("deploydb"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, &dirty, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

/*
 * All slots but those of the tables in the cache, and of those that somebody
 * may just be tracking: what is in force by rows that are not committed yet.
 * They are read after the slots, as a slot is made after its row.
 */
static void
evict_others(Relation truth)
{
	SnapshotData dirty;
	SlotKey    *then;
	SlotKey    *keep;
	TrackedRow *rows = NULL;
	int			count = 0;
	int			kept = 0;

	tracked_cache.eviction_due = !may_evict();
	if (tracked_cache.eviction_due)
		return;
	then = counters_keys();
	if (truth == NULL && extension_may_come())
		return;
	if (truth != NULL)
	{
		InitDirtySnapshot(dirty);
		rows = rows_read(truth, &dirty, &count);
	}
	keep = palloc(Max(tracked_cache.count + count, 1) * sizeof(SlotKey));
	for (int i = 0; i < tracked_cache.count; i++)
		keep[kept++] = tracked_cache.tables[i].key;
	for (int i = 0; i < count; i++)
		if (row_is_in_force(rows, count, &rows[i]))
			keep[kept++] = rows[i].table.key;
	counters_evict(then, keep, kept);
}

/* Own changes are seen too, so that track() works within a transaction. */
static void
tables_fill(Relation truth)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			count;
	TrackedRow *rows = rows_read(truth, snapshot, &count);

	UnregisterSnapshot(snapshot);
	tracked_cache.count = 0;
	tables_resize(count);
	for (int i = 0; i < count; i++)
	{
		if (!row_is_in_force(rows, count, &rows[i]))
			continue;
		tracked_cache.tables[tracked_cache.count] = rows[i].table;
		name_hashes[tracked_cache.count] = 0;
		tracked_cache.count++;
	}
	evict_others(truth);
	tracked_cache.lacking = !counters_database();
	tracked_cache.freed_seen = pg_atomic_read_u32(&writes_shared->slots_freed);
	for (int i = 0; i < tracked_cache.count; i++)
	{
		table_resolve(&tracked_cache.tables[i], &name_hashes[i]);
		if (!tracked_cache.tables[i].counted)
			tracked_cache.lacking = true;
	}
}

/* The extension's own, not what somebody has given its name. */
static Oid
truth_find(void)
{
	Oid			schema = get_namespace_oid("deploydb", true);
	Oid			relid = OidIsValid(schema) ?
		get_relname_relid("tracked", schema) : InvalidOid;
	Oid			extension = OidIsValid(relid) ?
		get_extension_oid("deploydb", true) : InvalidOid;

	return OidIsValid(extension) &&
		getExtensionOfObject(RelationRelationId, relid) == extension ?
		relid : InvalidOid;
}

static pg_noinline void
cache_build(void)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "deploydb tracked tables",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	uint64		changes_before = changes;
	Oid			relid = truth_find();

	truth_relid = relid;
	if (!OidIsValid(relid))
	{
		tracked_cache.count = 0;
		tracked_cache.lacking = false;
		evict_others(NULL);
	}
	else if (ConditionalLockRelationOid(relid, AccessShareLock))
	{
		Relation	truth = try_relation_open(relid, NoLock);

		if (truth != NULL)
		{
			tables_fill(truth);
			relation_close(truth, NoLock);
		}
		UnlockRelationOid(relid, AccessShareLock);
	}
	else
		changes_before--;		/* what was cached is tried again */

	/*
	 * Something may have changed while we looked; and CREATE EXTENSION goes
	 * on, and makes the table.
	 */
	tracked_cache.valid = changes == changes_before &&
		(OidIsValid(relid) || !creating_extension);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

pg_attribute_hot bool
tracked_refresh(void)
{
	if ((!tracked_cache.valid || (tracked_cache.eviction_due && may_evict()) ||
		 (tracked_cache.lacking &&
		  tracked_cache.freed_seen != pg_atomic_read_u32(&writes_shared->slots_freed))) &&
		!IsInParallelMode())	/* which takes no snapshot, nor writes */
		cache_build();
	return tracked_cache.count > 0;
}

void
tracked_evict(void)
{
	forget();
	(void) tracked_refresh();
}

const TrackedTable *
tracked_tables(int *count)
{
	(void) tracked_refresh();
	*count = tracked_cache.count;
	return tracked_cache.tables;
}

static WriteTarget
with_book(WriteTarget target)
{
	target.others = app_role_is_other(true);
	return target;
}

pg_attribute_hot bool
tracked_find(Oid relid, WriteTarget *target)
{
	const TrackedTable *table = tracked_cached(relid);

	if (table == NULL || !table->counted)
		return false;
	*target = with_book(table->target);
	if (counters_book(target) != NULL)
		return true;
	forget();					/* freed since the cache was made */
	return false;
}

bool
tracked_find_name(const RangeVar *name, WriteTarget *target)
{
	Oid			relid = RangeVarGetRelid(name, NoLock, true);

	if (OidIsValid(relid))
		return tracked_find(relid, target);
	for (int i = 0; i < tracked_cache.count; i++)
	{
		const TrackedTable *table = &tracked_cache.tables[i];

		if (OidIsValid(table->relid) || !table->counted ||
			strcmp(NameStr(table->key.name), name->relname) != 0 ||
			(name->schemaname != NULL &&
			 strcmp(NameStr(table->key.schema), name->schemaname) != 0))
			continue;
		*target = with_book(table->target);
		return true;
	}
	return false;
}
