/*
 * replay_guard.c
 *		Keeps the replay of a migration inside its scratch schema.
 *
 * Three nets, each of which also holds in functions, DO blocks and triggers
 * that a migration runs:
 *	- the utility hook passes each statement through replay_filter.c, and runs
 *	  it as a part of a larger command, so that no event trigger fires for it;
 *	- the object access hook looks at what is created, altered, dropped or
 *	  truncated, and at functions whose effect a rollback does not undo;
 *	- the planner's and the executor's hooks look at the tables that are
 *	  written, and at the sequences that are advanced or set.
 *
 * Locking: AccessShare on catalogs.
 * Errors: ERRCODE_DEPLOYDB_REPLAY_REFUSED.  The guard must be ended by the
 * caller after an error, too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "facts/replay.h"
#include "facts/replay_guard.h"

/* How to get from an object to what it is in, or hangs on. */
typedef struct ObjectHome
{
	Oid			class_id;
	AttrNumber	oid_column;
	AttrNumber	home_column;
	Oid			home_class;
} ObjectHome;

static const ObjectHome object_homes[] = {
	{RelationRelationId, Anum_pg_class_oid,
	Anum_pg_class_relnamespace, NamespaceRelationId},
	{TypeRelationId, Anum_pg_type_oid,
	Anum_pg_type_typnamespace, NamespaceRelationId},
	{ProcedureRelationId, Anum_pg_proc_oid,
	Anum_pg_proc_pronamespace, NamespaceRelationId},
	{ConstraintRelationId, Anum_pg_constraint_oid,
	Anum_pg_constraint_connamespace, NamespaceRelationId},
	{StatisticExtRelationId, Anum_pg_statistic_ext_oid,
	Anum_pg_statistic_ext_stxnamespace, NamespaceRelationId},
	{TriggerRelationId, Anum_pg_trigger_oid,
	Anum_pg_trigger_tgrelid, RelationRelationId},
	{RewriteRelationId, Anum_pg_rewrite_oid,
	Anum_pg_rewrite_ev_class, RelationRelationId},
	{PolicyRelationId, Anum_pg_policy_oid,
	Anum_pg_policy_polrelid, RelationRelationId},
	/* of a range to its multirange: CREATE TYPE makes it */
	{CastRelationId, Anum_pg_cast_oid,
	Anum_pg_cast_castsource, TypeRelationId},
};

/* The scratch schema while a replay is active, else InvalidOid. */
static Oid	guard_schema = InvalidOid;

/* Objects whose place could not be seen yet: ObjectAddress *. */
static List *guard_unseen = NIL;
static MemoryContext guard_context = NULL;

static ProcessUtility_hook_type previous_utility = NULL;
static object_access_hook_type previous_object_access = NULL;
static ExecutorStart_hook_type previous_executor_start = NULL;
static planner_hook_type previous_planner = NULL;

void
replay_refuse(const char *what, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPLOYDB_REPLAY_REFUSED),
			 errmsg("%s cannot be replayed", what),
			 errdetail("%s", why),
			 hint != NULL ? errhint("%s", hint) :
			 errhint("Run the migration on a copy of the database, call deploydb.capture_migration() there and give its result to deploydb.import_migration() here.")));
}

/*
 * One step from an object towards its schema.  False: there is no such
 * object, or it is not visible yet.
 */
static bool
object_home(const ObjectHome *home, Oid object_id, Oid *home_id)
{
	Relation	catalog = table_open(home->class_id, AccessShareLock);
	HeapTuple	tuple = get_catalog_object_by_oid(catalog, home->oid_column,
												  object_id);

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		*home_id = DatumGetObjectId(heap_getattr(tuple, home->home_column,
												 RelationGetDescr(catalog),
												 &isnull));
	}
	table_close(catalog, AccessShareLock);

	return HeapTupleIsValid(tuple);
}

static void
refuse_object(const ObjectAddress *object)
{
	char	   *type = getObjectTypeDescription(object, true);
	char	   *identity = getObjectIdentity(object, true);

	replay_refuse(psprintf("a change of %s %s",
						   type != NULL ? type : "object",
						   identity != NULL ? identity : ""),
				  "It is outside of the migration's schema.", NULL);
}

bool
replay_check_object(Oid class_id, Oid object_id)
{
	ObjectAddress object;
	Oid			home_id = InvalidOid;
	Oid			home_class = class_id;

	ObjectAddressSet(object, class_id, object_id);
	while (home_class != NamespaceRelationId)
	{
		const ObjectHome *home = NULL;

		for (size_t i = 0; i < lengthof(object_homes); i++)
		{
			if (object_homes[i].class_id == object.classId)
				home = &object_homes[i];
		}

		/* what can be in no schema is never the migration's own */
		if (home == NULL)
		{
			refuse_object(&object);
			return true;
		}
		if (!object_home(home, object.objectId, &home_id))
			return false;

		/* a trigger is shown as its table, which tells more */
		home_class = home->home_class;
		if (home_class != NamespaceRelationId)
			ObjectAddressSet(object, home_class, home_id);
	}

	/* toast tables and temporary ones come and go with their owner */
	if (class_id == NamespaceRelationId ||
		(home_id != guard_schema && home_id != PG_TOAST_NAMESPACE &&
		 !isTempOrTempToastNamespace(home_id)))
		refuse_object(&object);

	return true;
}

static void
remember_object(Oid class_id, Oid object_id)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(guard_context);
	ObjectAddress *object = palloc(sizeof(ObjectAddress));

	ObjectAddressSet(*object, class_id, object_id);
	/* a relation comes before its row type, for the message */
	guard_unseen = class_id == RelationRelationId ?
		lcons(object, guard_unseen) : lappend(guard_unseen, object);
	MemoryContextSwitchTo(oldcontext);
}

static bool
depends_on_row(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) || IsA(node, Param) || IsA(node, SubLink))
		return true;
	return expression_tree_walker(node, depends_on_row, context);
}

/*
 * The sequence that a call of nextval() or setval() is about; InvalidOid for
 * NULL.  It must be known before the call, since neither is ever rolled back.
 */
static Oid
sequence_of_call(FuncExpr *call)
{
	Node	   *argument = linitial(call->args);
	EState	   *estate;
	Datum		value;
	bool		isnull;

	if (IsA(argument, Const))
		return ((Const *) argument)->constisnull ? InvalidOid :
			DatumGetObjectId(((Const *) argument)->constvalue);

	if (depends_on_row(argument, NULL) || contain_volatile_functions(argument))
		replay_refuse(psprintf("this call of %s()", get_func_name(call->funcid)),
					  "Which sequence it changes cannot be known beforehand, and it cannot be rolled back.",
					  NULL);

	/* as in setval(pg_get_serial_sequence('t', 'id'), 1) */
	estate = CreateExecutorState();
	value = ExecEvalExprSwitchContext(ExecPrepareExpr((Expr *) argument, estate),
									  GetPerTupleExprContext(estate), &isnull);
	FreeExecutorState(estate);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

static bool
check_sequences(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_sequences, context, 0);
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;

		if (call->funcid == F_NEXTVAL ||
			call->funcid == F_SETVAL_REGCLASS_INT8 ||
			call->funcid == F_SETVAL_REGCLASS_INT8_BOOL)
		{
			Oid			sequence = sequence_of_call(call);

			if (OidIsValid(sequence))
				(void) replay_check_object(RelationRelationId, sequence);
		}
	}
	return expression_tree_walker(node, check_sequences, context);
}

/*
 * ALTER TABLE evaluates a new default without a plan, so the sequences in it
 * are looked at when one of the functions is about to be called.
 */
static void
check_new_defaults(void)
{
	ListCell   *lc;

	foreach(lc, guard_unseen)
	{
		ObjectAddress *object = (ObjectAddress *) lfirst(lc);
		Relation	relation;
		TupleConstr *constr;

		if (object->classId != RelationRelationId)
			continue;
		relation = RelationIdGetRelation(object->objectId);
		if (relation == NULL)
			continue;
		constr = RelationGetDescr(relation)->constr;
		for (int i = 0; constr != NULL && i < constr->num_defval; i++)
			(void) check_sequences(stringToNode(constr->defval[i].adbin), NULL);
		RelationClose(relation);
	}
}

/* Functions whose effect would outlive the rollback. */
static void
check_function(Oid function)
{
	switch (function)
	{
		case F_NEXTVAL:
		case F_SETVAL_REGCLASS_INT8:
		case F_SETVAL_REGCLASS_INT8_BOOL:
			check_new_defaults();
			break;
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_UNLOCK_INT8:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_ALL:
		case F_PG_CANCEL_BACKEND:
		case F_PG_TERMINATE_BACKEND:
		case F_PG_RELOAD_CONF:
			replay_refuse(psprintf("a call of %s()", get_func_name(function)),
						  "Its effect cannot be rolled back.", NULL);
			break;
		default:
			break;
	}
}

static void
guard_object_access(ObjectAccessType access, Oid classId, Oid objectId,
					int subId, void *arg)
{
	if (previous_object_access)
		previous_object_access(access, classId, objectId, subId, arg);

	if (!OidIsValid(guard_schema))
		return;

	switch (access)
	{
		case OAT_POST_CREATE:
			/* of a column's default the table's OID is given */
			if (classId == AttrDefaultRelationId)
				classId = RelationRelationId;
			remember_object(classId, objectId);
			break;

		case OAT_POST_ALTER:
			/* a table that gets a child or a partition is changed as well */
			if (classId == InheritsRelationId)
			{
				ObjectAccessPostAlter *alter = (ObjectAccessPostAlter *) arg;

				if (alter != NULL && OidIsValid(alter->auxiliary_id))
					(void) replay_check_object(RelationRelationId,
											   alter->auxiliary_id);
			}
			/* both name the relation */
			if (classId == InheritsRelationId || classId == IndexRelationId)
				classId = RelationRelationId;
			if (!replay_check_object(classId, objectId))
				remember_object(classId, objectId);
			break;

		case OAT_DROP:
			/* a default goes only with a column or with ALTER TABLE */
			if (classId != AttrDefaultRelationId)
				(void) replay_check_object(classId, objectId);
			break;

		case OAT_TRUNCATE:
			(void) replay_check_object(RelationRelationId, objectId);
			break;

		case OAT_FUNCTION_EXECUTE:
			check_function(objectId);
			break;

		case OAT_NAMESPACE_SEARCH:
			break;
	}
}

static void
guard_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest,
			  QueryCompletion *qc)
{
	if (OidIsValid(guard_schema))
	{
		if (readOnlyTree)
			pstmt = copyObject(pstmt);
		readOnlyTree = false;
		if (!replay_filter(pstmt->utilityStmt, guard_schema))
			return;

		/*
		 * A part of a larger command fires no event trigger, not even one
		 * that is enabled always, which a setting does not keep from firing.
		 */
		context = PROCESS_UTILITY_SUBCOMMAND;
	}

	if (previous_utility)
		previous_utility(pstmt, queryString, readOnlyTree, context, params,
						 queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
}

static void
guard_executor_start(QueryDesc *queryDesc, int eflags)
{
	if (OidIsValid(guard_schema) && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
	{
		PlannedStmt *plan = queryDesc->plannedstmt;
		Bitmapset  *written = compat_result_relations(plan);
		int			index = -1;

		while ((index = bms_next_member(written, index)) >= 0)
			(void) replay_check_object(RelationRelationId,
									   rt_fetch(index, plan->rtable)->relid);
	}

	if (previous_executor_start)
		previous_executor_start(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

static PlannedStmt *
guard_planner(COMPAT_PLANNER_PARAMETERS)
{
	if (OidIsValid(guard_schema))
		(void) check_sequences((Node *) parse, NULL);

	if (previous_planner)
		return previous_planner(COMPAT_PLANNER_ARGUMENTS);
	return standard_planner(COMPAT_PLANNER_ARGUMENTS);
}

/*
 * At the first replay of a session: the hooks then stay, and cost nothing to
 * the sessions that replay nothing.
 */
static void
install_hooks(void)
{
	static bool installed = false;

	if (installed)
		return;
	installed = true;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = guard_utility;
	previous_object_access = object_access_hook;
	object_access_hook = guard_object_access;
	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = guard_executor_start;
	previous_planner = planner_hook;
	planner_hook = guard_planner;
}

void
replay_guard_begin(Oid schema)
{
	install_hooks();
	guard_context = AllocSetContextCreate(CurrentMemoryContext,
										  "deploydb replay guard",
										  ALLOCSET_SMALL_SIZES);
	guard_unseen = NIL;
	guard_schema = schema;
}

void
replay_guard_end(void)
{
	guard_schema = InvalidOid;
	guard_unseen = NIL;
	guard_context = NULL;
}

bool
replay_guard_active(void)
{
	return OidIsValid(guard_schema);
}

void
replay_guard_after_statement(void)
{
	List	   *path = fetch_search_path(false);
	ListCell   *lc;

	foreach(lc, guard_unseen)
	{
		ObjectAddress *object = (ObjectAddress *) lfirst(lc);

		/* what cannot be seen now is gone again */
		(void) replay_check_object(object->classId, object->objectId);
	}
	guard_unseen = NIL;
	MemoryContextReset(guard_context);

	/* a function such as set_config() can change it as well as SET can */
	if (path == NIL || linitial_oid(path) != guard_schema)
		replay_refuse("a change of search_path",
					  "The replay needs its own schema at the front.", NULL);
	list_free(path);
}
