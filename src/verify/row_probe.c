/*
 * row_probe.c
 *		Bounded scans of a user's table.
 *
 * Locking: see row_probe.h.  Errors: what a scan can raise (a damaged page),
 * and cancel requests; the lock is then released with the transaction.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "facts/relation_lock.h"
#include "verify/row_probe.h"

/* Any column's right is enough to see whether there are rows. */
static bool
may_read(Oid relid, AttrNumber column)
{
	char		kind = get_rel_relkind(relid);

	if (kind != RELKIND_RELATION && kind != RELKIND_MATVIEW)
		return false;
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		return false;
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return true;
	if (column != InvalidAttrNumber)
		return pg_attribute_aclcheck(relid, column, GetUserId(),
									 ACL_SELECT) == ACLCHECK_OK;
	return pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT,
									 ACLMASK_ANY) == ACLCHECK_OK;
}

/*
 * Visits rows until the limit; returns how many, and in *nulls how many of
 * them have a NULL in the column (if one is given).
 */
static int64
scan_rows(Oid relid, AttrNumber column, int64 limit, int64 *nulls)
{
	Relation	rel = table_open(relid, NoLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = compat_table_beginscan(rel, snapshot);
	int64		visited = 0;

	while (visited < limit &&
		   table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		visited++;
		if (column != InvalidAttrNumber && slot_attisnull(slot, column))
			(*nulls)++;
	}

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return visited;
}

/* column NULL: no column is asked about.  False: could not be looked at. */
static bool
probe(const char *schema, const char *table, const char *column, int64 limit,
	  int64 *visited, int64 *nulls)
{
	Oid			namespace = get_namespace_oid(schema, true);
	AttrNumber	attnum = InvalidAttrNumber;
	bool		locked_out;
	bool		readable;
	Oid			relid;

	if (!OidIsValid(namespace) || IsolationIsSerializable() ||
		IsInParallelMode())
		return false;
	relid = relation_lock_by_name(namespace, table, AccessShareLock,
								  RELATION_LOCK_NO_WAIT,
								  &locked_out);
	if (!OidIsValid(relid))
		return false;

	if (column)
		attnum = get_attnum(relid, column);
	readable = may_read(relid, attnum) &&
		(column == NULL || AttributeNumberIsValid(attnum));
	if (readable)
		*visited = scan_rows(relid, attnum, limit, nulls);
	UnlockRelationOid(relid, AccessShareLock);
	return readable;
}

RowProbe
row_probe_rows(const char *schema, const char *table)
{
	int64		visited = 0;
	int64		nulls = 0;

	if (!probe(schema, table, NULL, 1, &visited, &nulls))
		return PROBE_UNKNOWN;
	return visited > 0 ? PROBE_SOME : PROBE_NONE;
}

RowProbe
row_probe_nulls(const char *schema, const char *table, const char *column,
				int64 *nulls, bool *whole)
{
	int64		visited = 0;

	*nulls = 0;
	*whole = false;
	if (!probe(schema, table, column, ROW_PROBE_LIMIT, &visited, nulls))
		return PROBE_UNKNOWN;
	*whole = visited < ROW_PROBE_LIMIT;
	return *nulls > 0 ? PROBE_SOME : PROBE_NONE;
}
