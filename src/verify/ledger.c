/*
 * ledger.c
 *		Prisma's ledger: what _prisma_migrations says of a migration.
 *
 * Locking: AccessShare on the ledger, never queued for, released before
 * ledger_read() returns.
 * Errors: what cannot be read is an access of its own, not an error; a cancel
 * request and damaged storage raise.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "facts/relation_lock.h"
#include "verify/ledger.h"
#include "verify/message.h"

#define LEDGER_TABLE "_prisma_migrations"

/* What Prisma passes to pg_advisory_lock(bigint) while it migrates. */
#define PRISMA_LOCK_KEY 72707369

/* A row that stays unfinished for longer is not being worked on. */
#define YOUNG_USECS (10 * USECS_PER_MINUTE)

typedef enum LedgerColumn
{
	COLUMN_NAME,
	COLUMN_CHECKSUM,
	COLUMN_STARTED,
	COLUMN_FINISHED,
	COLUMN_ROLLED_BACK,
	COLUMN_STEPS,
	COLUMN_LOGS,
	COLUMN_COUNT
} LedgerColumn;

static const struct
{
	const char *name;
	Oid			type;			/* TEXTOID stands for varchar too */
}			ledger_columns[COLUMN_COUNT] = {
	[COLUMN_NAME] = {"migration_name", TEXTOID},
	[COLUMN_CHECKSUM] = {"checksum", TEXTOID},
	[COLUMN_STARTED] = {"started_at", TIMESTAMPTZOID},
	[COLUMN_FINISHED] = {"finished_at", TIMESTAMPTZOID},
	[COLUMN_ROLLED_BACK] = {"rolled_back_at", TIMESTAMPTZOID},
	[COLUMN_STEPS] = {"applied_steps_count", INT4OID},
	[COLUMN_LOGS] = {"logs", TEXTOID}
};

/* The first table of that name in any schema but temporary ones. */
static Oid
find_anywhere(void)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			schema = InvalidOid;

	ScanKeyInit(&key, Anum_pg_class_relname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(LEDGER_TABLE));
	scan = systable_beginscan(pg_class, ClassNameNspIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind == RELKIND_RELATION &&
			!isAnyTempNamespace(form->relnamespace))
		{
			schema = form->relnamespace;
			break;
		}
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return schema;
}

Oid
ledger_find(Oid preferred)
{
	List	   *path;
	ListCell   *lc;
	Oid			schema = InvalidOid;

	if (OidIsValid(preferred) &&
		OidIsValid(get_relname_relid(LEDGER_TABLE, preferred)))
		return preferred;

	path = fetch_search_path(false);
	foreach(lc, path)
	{
		if (OidIsValid(get_relname_relid(LEDGER_TABLE, lfirst_oid(lc))))
		{
			schema = lfirst_oid(lc);
			break;
		}
	}
	list_free(path);
	return OidIsValid(schema) ? schema : find_anywhere();
}

/* May the caller read it, all of its rows, as SELECT would let him? */
static bool
caller_may_read(Oid schema, Oid relid)
{
	Oid			caller = GetUserId();

	if (compat_schema_aclcheck(schema, caller, ACL_USAGE) != ACLCHECK_OK)
		return false;
	if (pg_class_aclcheck(relid, caller, ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, caller, ACL_SELECT,
								  ACLMASK_ALL) != ACLCHECK_OK)
		return false;
	return check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED;
}

/* Finds Prisma's columns by name and type; false if one is not there. */
static bool
find_columns(TupleDesc desc, AttrNumber *attnums)
{
	for (int column = 0; column < COLUMN_COUNT; column++)
	{
		attnums[column] = InvalidAttrNumber;
		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute attr = TupleDescAttr(desc, i);
			Oid			type = attr->atttypid == VARCHAROID ? TEXTOID : attr->atttypid;

			if (!attr->attisdropped && type == ledger_columns[column].type &&
				namestrcmp(&attr->attname, ledger_columns[column].name) == 0)
				attnums[column] = attr->attnum;
		}
		if (attnums[column] == InvalidAttrNumber)
			return false;
	}
	return true;
}

/* An ordinary table with a storage that this session can scan. */
static bool
is_scannable(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		!RELATION_IS_OTHER_TEMP(rel) &&
		(RelationIsPermanent(rel) || !RecoveryInProgress());
}

static char *
slot_text(TupleTableSlot *slot, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attnum, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static TimestampTz
slot_timestamp(TupleTableSlot *slot, AttrNumber attnum)
{
	bool		isnull;
	TimestampTz value = DatumGetTimestampTz(slot_getattr(slot, attnum, &isnull));

	if (isnull)
		return 0;
	return value == 0 ? 1 : value;	/* 0 stands for NULL */
}

/*
 * What Prisma's logs say in short: the server's message where there is one,
 * else the first line that is not one of the headings around it.
 */
static const char *
logs_in_short(const char *logs)
{
	static const char *const headings[] = {
		"A migration failed to apply.", "Migration name:",
		"Database error code:", "Database error:"
	};
	const char *message = strstr(logs, "ERROR:");

	if (message != NULL)
		return message_clip(message, strlen(message));
	for (const char *line = logs; *line;)
	{
		size_t		length = strcspn(line, "\n");
		char	   *text = message_clip(line, length);
		bool		says_something = strspn(text, " ") < strlen(text);

		for (size_t i = 0; i < lengthof(headings) && says_something; i++)
			says_something = strncmp(text, headings[i], strlen(headings[i])) != 0;
		if (says_something)
			return text;
		pfree(text);
		line += length;
		if (*line)
			line++;
	}
	return NULL;
}

/* Rows without a name say nothing and give NULL. */
static LedgerRow *
row_from_slot(TupleTableSlot *slot, const AttrNumber *attnums)
{
	char	   *name = slot_text(slot, attnums[COLUMN_NAME]);
	LedgerRow  *row;
	bool		isnull;
	Datum		steps = slot_getattr(slot, attnums[COLUMN_STEPS], &isnull);

	if (name == NULL)
		return NULL;
	row = palloc0(sizeof(LedgerRow));
	row->migration = name;
	row->checksum = slot_text(slot, attnums[COLUMN_CHECKSUM]);
	row->started_at = slot_timestamp(slot, attnums[COLUMN_STARTED]);
	row->finished_at = slot_timestamp(slot, attnums[COLUMN_FINISHED]);
	row->rolled_back_at = slot_timestamp(slot, attnums[COLUMN_ROLLED_BACK]);
	row->steps = isnull ? 0 : DatumGetInt32(steps);
	row->tries = 1;
	if (row->rolled_back_at != 0)
		row->state = LEDGER_ROLLED_BACK;
	else if (row->finished_at != 0)
		row->state = row->steps == 0 ? LEDGER_CLAIMED : LEDGER_APPLIED;
	else
	{
		char	   *logs = slot_text(slot, attnums[COLUMN_LOGS]);

		row->state = LEDGER_FAILED;
		if (logs != NULL)
		{
			row->error = logs_in_short(logs);
			pfree(logs);
		}
	}
	return row;
}

static int
state_rank(LedgerState state)
{
	return state == LEDGER_ROLLED_BACK ? 2 : state == LEDGER_FAILED ? 1 : 0;
}

/* By name, and of one name the row that counts first. */
static int
compare_rows(const ListCell *a, const ListCell *b)
{
	const LedgerRow *x = lfirst(a);
	const LedgerRow *y = lfirst(b);
	int			order = strcmp(x->migration, y->migration);

	if (order == 0)
		order = state_rank(x->state) - state_rank(y->state);
	if (order == 0 && x->started_at != y->started_at)
		order = x->started_at > y->started_at ? -1 : 1;
	return order;
}

/* Every row of the ledger, as this transaction sees it. */
static List *
scan_rows(Relation rel, const AttrNumber *attnums)
{
	Snapshot	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = compat_table_beginscan(rel, snapshot);
	List	   *rows = NIL;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		LedgerRow  *row = row_from_slot(slot, attnums);

		CHECK_FOR_INTERRUPTS();
		if (row != NULL)
			rows = lappend(rows, row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return rows;
}

/* Leaves the row that counts of each migration, and settles what is running. */
static void
settle_rows(Ledger *ledger, List *all)
{
	TimestampTz young = GetCurrentTimestamp() - YOUNG_USECS;
	LedgerRow  *last = NULL;
	bool		lock_looked_at = false;
	ListCell   *lc;

	list_sort(all, compare_rows);
	foreach(lc, all)
	{
		LedgerRow  *row = lfirst(lc);

		if (last != NULL && strcmp(last->migration, row->migration) == 0)
		{
			last->tries++;
			continue;
		}
		last = row;
		ledger->rows = lappend(ledger->rows, row);
		if (row->state != LEDGER_FAILED || row->started_at <= young)
			continue;
		if (!lock_looked_at)
			ledger->lock_held = ledger_lock_held(&ledger->lock_pid);
		lock_looked_at = true;
		if (ledger->lock_held)
			row->state = LEDGER_RUNNING;
	}
}

Ledger *
ledger_read(Oid schema)
{
	Ledger	   *ledger = palloc0(sizeof(Ledger));
	AttrNumber	attnums[COLUMN_COUNT];
	bool		locked_out = false;
	Oid			relid = InvalidOid;
	Relation	rel;

	ledger->schema = schema;
	if (OidIsValid(schema))
		relid = relation_lock_by_name(schema, LEDGER_TABLE, AccessShareLock,
									  relation_lock_deadline(), &locked_out);
	if (!OidIsValid(relid))
	{
		ledger->access = locked_out ? LEDGER_LOCKED : LEDGER_NONE;
		return ledger;
	}

	if (get_rel_relkind(relid) != RELKIND_RELATION)
		ledger->access = LEDGER_NOT_PRISMA;
	else if (!caller_may_read(schema, relid))
		ledger->access = LEDGER_NO_RIGHTS;
	else
	{
		rel = table_open(relid, NoLock);
		if (is_scannable(rel) && find_columns(RelationGetDescr(rel), attnums))
		{
			ledger->access = LEDGER_READ;
			settle_rows(ledger, scan_rows(rel, attnums));
		}
		else
			ledger->access = LEDGER_NOT_PRISMA;
		table_close(rel, NoLock);
	}
	UnlockRelationOid(relid, AccessShareLock);
	return ledger;
}

LedgerRow *
ledger_row(const Ledger *ledger, const char *migration)
{
	ListCell   *lc;

	foreach(lc, ledger->rows)
	{
		LedgerRow  *row = lfirst(lc);

		if (strcmp(row->migration, migration) == 0)
			return row;
	}
	return NULL;
}

/*
 * The lock is looked for in the lock table, and not taken on trial, which
 * could make Prisma wait; and not asked for by its conflicts, which leave out
 * a session that is idle between two transactions, as Prisma's mostly is.
 */
bool
ledger_lock_held(int *pid)
{
	LockData   *locks = GetLockStatusData();
	LOCKTAG		tag;
	bool		held = false;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, PRISMA_LOCK_KEY, 1);
	*pid = 0;
	for (int i = 0; i < locks->nelements && !held; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (lock->holdMask != 0 && lock->pid != MyProcPid &&
			memcmp(&lock->locktag, &tag, sizeof(LOCKTAG)) == 0)
		{
			*pid = lock->pid;
			held = true;
		}
	}
	pfree(locks->locks);
	pfree(locks);
	return held;
}

const char *
ledger_state_name(LedgerState state)
{
	switch (state)
	{
		case LEDGER_ABSENT:
			return "absent";
		case LEDGER_APPLIED:
			return "applied";
		case LEDGER_CLAIMED:
			return "claimed";
		case LEDGER_RUNNING:
			return "running";
		case LEDGER_FAILED:
			return "failed";
		case LEDGER_ROLLED_BACK:
			return "rolled_back";
		case LEDGER_LOCK_LEFT_BEHIND:
			return "lock_left_behind";
	}
	return "unknown";
}
