/*
 * compat.h
 *		Every difference between the PostgreSQL majors, as static inline
 *		wrappers with one name.
 *
 * No other file of the project looks at PG_VERSION_NUM.
 */
#ifndef DEPLOYDB_COMPAT_H
#define DEPLOYDB_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "deploydb needs PostgreSQL 15 or later"
#endif
#if PG_VERSION_NUM >= 200000
#error "deploydb has not been tried with this major version of PostgreSQL"
#endif

#include "access/tupdesc.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/backend_status.h"

/* The server's major version, as kept beside each expectation. */
#define DEPLOYDB_SERVER_MAJOR (PG_VERSION_NUM / 10000)

/* From 18 on a NOT NULL can be NOT VALID. */
static inline bool
compat_not_null_is_valid(TupleDesc desc, AttrNumber attnum)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescCompactAttr(desc, attnum - 1)->attnullability !=
		ATTNULLABLE_INVALID;
#else
	(void) desc;
	(void) attnum;
	return true;
#endif
}

/* From 18 on CHECK and foreign keys can be NOT ENFORCED. */
static inline bool
compat_constraint_is_enforced(Form_pg_constraint form)
{
#if PG_VERSION_NUM >= 180000
	return form->conenforced;
#else
	(void) form;
	return true;
#endif
}

/* From 16 on a query's permissions stand beside its range table. */
static inline void
compat_copy_permissions(Query *to, Query *from)
{
#if PG_VERSION_NUM >= 160000
	to->rteperminfos = from->rteperminfos;
#else
	(void) to;
	(void) from;
#endif
}

/* One check for every class from 16 on. */
static inline bool
compat_relation_ownercheck(Oid relid, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, roleid);
#else
	return pg_class_ownercheck(relid, roleid);
#endif
}

/* Backend number 1 to pgstat_fetch_stat_numbackends(). */
static inline PgBackendStatus *
compat_backend_status(int number)
{
	LocalPgBackendStatus *local;

#if PG_VERSION_NUM >= 160000
	local = pgstat_get_local_beentry_by_index(number);
#else
	local = pgstat_fetch_stat_local_beentry(number);
#endif
	return local ? &local->backendStatus : NULL;
}

#endif							/* DEPLOYDB_COMPAT_H */
