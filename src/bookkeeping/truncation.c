/*
 * truncation.c
 *		Notes who truncates a watched table.
 *
 * No event trigger fires for TRUNCATE.  The object access hook tells each
 * relation of one, those that CASCADE reaches and partitions, too; once the
 * statement is done, deploydb.note_truncation() decides what is noted.
 *
 * Locking: RowExclusive on deploydb.definition_change.
 * Errors: none of its own; what cannot be noted fails no statement.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "tcop/utility.h"

#include "bookkeeping/acting.h"
#include "compat.h"
#include "own_work.h"
#include "verify/owner.h"

/* More of one statement than that are not noted. */
#define MAX_TRUNCATED 64

static Oid	truncated[MAX_TRUNCATED];
static int	truncated_count = 0;

static object_access_hook_type next_object_access = NULL;
static ProcessUtility_hook_type next_utility = NULL;

static void
truncation_object_access(ObjectAccessType access, Oid classId, Oid objectId,
						 int subId, void *arg)
{
	if (access == OAT_TRUNCATE && truncated_count < MAX_TRUNCATED)
		truncated[truncated_count++] = objectId;
	if (next_object_access)
		next_object_access(access, classId, objectId, subId, arg);
}

static bool
can_be_noted(void)
{
	return own_work_level == 0 &&
		OidIsValid(get_extension_oid("deploydb", true));
}

/*
 * As the owner, as whoever truncates may have no right on the schema.  The
 * function is missing where the extension is of an older version.
 */
static void
note_truncated(Oid relation)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {INT8OID};
	Datum		values[1];
	List	   *name = lappend(list_make1(makeString("deploydb")), makeString("note_truncation"));
	OwnerScope	scope;

	values[0] = Int64GetDatum((int64) relation);
	owner_begin(&scope);
	if (OidIsValid(LookupFuncName(name, 1, types, true)))
		owner_execute(&plan, "SELECT deploydb.note_truncation($1)",
					  SPI_OK_SELECT, 1, types, values, NULL);
	owner_end(&scope);
}

static void
truncation_utility(PlannedStmt *pstmt, const char *queryString,
				   bool readOnlyTree, ProcessUtilityContext context,
				   ParamListInfo params, QueryEnvironment *queryEnv,
				   DestReceiver *dest, QueryCompletion *qc)
{
	bool		truncates = IsA(pstmt->utilityStmt, TruncateStmt);

	if (truncates)
		truncated_count = 0;
	next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv,
				 dest, qc);
	if (truncates && truncated_count > 0 && can_be_noted())
	{
		Oid			done[MAX_TRUNCATED];
		int			count = truncated_count;

		/* a trigger may have truncated as well */
		memcpy(done, truncated, sizeof(done));
		for (int i = 0; i < count; i++)
		{
			bool		again = false;

			for (int j = 0; j < i; j++)
				again |= done[j] == done[i];
			if (!again)
				note_truncated(done[i]);
		}
	}
}

void
truncation_init(void)
{
	next_object_access = object_access_hook;
	object_access_hook = truncation_object_access;
	next_utility = ProcessUtility_hook ? ProcessUtility_hook :
		standard_ProcessUtility;
	ProcessUtility_hook = truncation_utility;
}
