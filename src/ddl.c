/*
 * ddl.c
 *		DDL that deploydb itself is to know of: TRUNCATE, for which no event
 *		trigger fires, and what becomes of the extension.
 *
 * The object access hook is called for each function of each statement that
 * anybody executes.  So where the library is preloaded a session gets it by its
 * first statement that can need it, and most never do.  Elsewhere DROP EXTENSION
 * may be what loads the library, and is past the utility hook by then.
 *
 * Locking: none of its own.  Errors: those of the statement.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "bookkeeping/truncation.h"
#include "ddl.h"
#include "worker/slots.h"
#include "worker/wake.h"

static object_access_hook_type next_object_access = NULL;
static ProcessUtility_hook_type next_utility = NULL;

/* What was rolled back outlives the extension; somebody should know of it. */
static void
tell_what_stays(void)
{
	if (OidIsValid(get_namespace_oid("deploydb_backup", true)))
		ereport(NOTICE,
				(errmsg("schema deploydb_backup stays, with what was rolled back"),
				 errhint("Once nobody wants it any more: DROP SCHEMA deploydb_backup CASCADE;")));
}

static void
ddl_object_access(ObjectAccessType access, Oid classId, Oid objectId,
				  int subId, void *arg)
{
	if (access == OAT_TRUNCATE)
		truncation_add(objectId);
	else if (classId == ExtensionRelationId &&
			 (access == OAT_DROP || access == OAT_POST_ALTER) &&
			 objectId == get_extension_oid("deploydb", true))
	{
		/* The monitor is to know of DROP and of UPDATE. */
		if (slots_there())
			wake_monitor_at_commit();
		if (access == OAT_DROP)
			tell_what_stays();
	}
	if (next_object_access)
		next_object_access(access, classId, objectId, subId, arg);
}

/* Those by which a table is truncated, or the extension dropped or updated. */
static bool
needs_object_access(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_TruncateStmt:
		case T_DropStmt:
		case T_DropOwnedStmt:
		case T_AlterExtensionStmt:
			return true;
		default:
			return false;
	}
}

static void
install_object_access(void)
{
	static bool installed = false;

	if (installed)
		return;
	installed = true;
	next_object_access = object_access_hook;
	object_access_hook = ddl_object_access;
}

static void
ddl_utility(PlannedStmt *pstmt, const char *queryString,
			bool readOnlyTree, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *queryEnv,
			DestReceiver *dest, QueryCompletion *qc)
{
	bool		truncates = IsA(pstmt->utilityStmt, TruncateStmt);
	int			first;

	if (needs_object_access(pstmt->utilityStmt))
		install_object_access();
	if (!truncates)
	{
		next_utility(pstmt, queryString, readOnlyTree, context, params,
					 queryEnv, dest, qc);
		return;
	}
	first = truncation_begin();
	PG_TRY();
	{
		next_utility(pstmt, queryString, readOnlyTree, context, params,
					 queryEnv, dest, qc);
	}
	PG_CATCH();
	{
		truncation_forget(first);
		PG_RE_THROW();
	}
	PG_END_TRY();
	truncation_end(first);
}

void
ddl_init(void)
{
	next_utility = ProcessUtility_hook ? ProcessUtility_hook :
		standard_ProcessUtility;
	ProcessUtility_hook = ddl_utility;
	if (!process_shared_preload_libraries_in_progress)
		install_object_access();
}
