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

#include "access/tableam.h"
#include "access/tupdesc.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_database.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "parser/parser.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * We are built with hidden visibility.  From 16 on, the server's macros mark
 * what must be seen; before, they are redefined here, so that every file that
 * has SQL-callable functions or the magic block includes this one.
 */
#if PG_VERSION_NUM < 160000 && defined(__GNUC__)
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#undef PG_FUNCTION_INFO_V1
#define PG_FUNCTION_INFO_V1(funcname) \
extern PGDLLEXPORT Datum funcname(PG_FUNCTION_ARGS); \
extern PGDLLEXPORT const Pg_finfo_record *CppConcat(pg_finfo_,funcname)(void); \
const Pg_finfo_record * \
CppConcat(pg_finfo_,funcname) (void) \
{ \
	static const Pg_finfo_record my_finfo = { 1 }; \
	return &my_finfo; \
} \
extern int no_such_variable
#endif

/* The server's major version, as kept beside each expectation. */
#define DEPLOYDB_SERVER_VERSION PG_VERSION_NUM
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

/* From 19 on CLUSTER is a kind of REPACK. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_T_ClusterStmt T_RepackStmt
#else
#define COMPAT_T_ClusterStmt T_ClusterStmt
#endif

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

/* A whole-table scan; from 19 on with flags. */
static inline TableScanDesc
compat_table_beginscan(Relation rel, Snapshot snapshot)
{
#if PG_VERSION_NUM >= 190000
	return table_beginscan(rel, snapshot, 0, NULL, 0);
#else
	return table_beginscan(rel, snapshot, 0, NULL);
#endif
}

/* From 16 on one check for every class. */
static inline AclResult
compat_schema_aclcheck(Oid schema, Oid roleid, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, roleid, mode);
#else
	return pg_namespace_aclcheck(schema, roleid, mode);
#endif
}

/*
 * A setting under which no event trigger fires: one for just that from 17 on,
 * before that the role of a replica (which fires those enabled so, or always).
 */
#if PG_VERSION_NUM >= 170000
#define COMPAT_NO_EVENT_TRIGGERS "event_triggers", "off"
#else
#define COMPAT_NO_EVENT_TRIGGERS "session_replication_role", "replica"
#endif

/* Range table indexes of what a plan writes; a set of them from 19 on. */
static inline Bitmapset *
compat_result_relations(PlannedStmt *plan)
{
#if PG_VERSION_NUM >= 190000
	return plan->resultRelationRelids;
#else
	Bitmapset  *result = NULL;
	ListCell   *lc;

	foreach(lc, plan->resultRelations)
		result = bms_add_member(result, lfirst_int(lc));
	return result;
#endif
}

/* planner_hook knows of EXPLAIN from 19 on. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_PLANNER_PARAMETERS \
	Query *parse, const char *query_string, int cursor_options, \
	ParamListInfo bound_params, ExplainState *es
#define COMPAT_PLANNER_ARGUMENTS \
	parse, query_string, cursor_options, bound_params, es
#else
#define COMPAT_PLANNER_PARAMETERS \
	Query *parse, const char *query_string, int cursor_options, \
	ParamListInfo bound_params
#define COMPAT_PLANNER_ARGUMENTS \
	parse, query_string, cursor_options, bound_params
#endif

/* Renamed in 15. */
static inline List *
compat_analyze_and_rewrite(RawStmt *statement, const char *source)
{
#if PG_VERSION_NUM >= 150000
	return pg_analyze_and_rewrite_fixedparams(statement, source, NULL, 0, NULL);
#else
	return pg_analyze_and_rewrite(statement, source, NULL, 0, NULL);
#endif
}

/* Runs to the end; 18 has no flag "execute once" any more. */
static inline void
compat_executor_run(QueryDesc *query)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(query, ForwardScanDirection, 0);
#else
	ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

/* ExecutorRun() has no flag "execute once" any more from 18 on. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_RUN_PARAMETERS ScanDirection direction, uint64 count
#define COMPAT_RUN_ARGUMENTS direction, count
#define COMPAT_NO_RUN_ARGUMENTS NoMovementScanDirection, 0
#else
#define COMPAT_RUN_PARAMETERS \
	ScanDirection direction, uint64 count, bool execute_once
#define COMPAT_RUN_ARGUMENTS direction, count, execute_once
#define COMPAT_NO_RUN_ARGUMENTS NoMovementScanDirection, 0, false
#endif

/* A backslash in a plain string is itself, always from 19 on. */
static inline bool
compat_standard_strings(void)
{
#if PG_VERSION_NUM >= 190000
	return true;
#else
	return standard_conforming_strings;
#endif
}

/* One check for every class from 16 on. */
static inline bool
compat_database_ownercheck(Oid database, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, roleid);
#else
	return pg_database_ownercheck(database, roleid);
#endif
}

/* What a callback of the system caches is told; a type of its own from 19 on. */
#if PG_VERSION_NUM >= 190000
typedef SysCacheIdentifier compat_syscache_id;
#else
typedef int compat_syscache_id;
#endif

/* A set of nobody's; from 17 on one can belong to a resource owner. */
static inline WaitEventSet *
compat_create_wait_event_set(int events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, events);
#else
	return CreateWaitEventSet(CurrentMemoryContext, events);
#endif
}

/* A session's transactions may take their time: from 17 on a setting limits it. */
static inline void
compat_no_transaction_timeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* A wait event by its name, which pg_stat_activity shows from 17 on. */
static inline uint32
compat_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

#endif							/* DEPLOYDB_COMPAT_H */
