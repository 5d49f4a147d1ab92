/*
 * replay_filter.c
 *		Which utility statements a migration may run while it is replayed.
 *
 * A statement is run, skipped, or refused.  Run: what makes or changes
 * objects that facts are about, and what migrations need on the way.
 * Skipped: what no fact shows (owners, rights, locks, maintenance), since the
 * roles it names may not exist here.  Refused: all others, and so any
 * statement that is new in a later version of the server.
 *
 * What is not in the statement itself, such as the schema of a new object, is
 * left to replay_guard.c.
 *
 * Locking: AccessShare on what COMMENT is about.
 * Errors: ERRCODE_DEPLOYDB_REPLAY_REFUSED.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "nodes/value.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "facts/replay_guard.h"

#define WHY_WIDER "It acts on more than the migration's own schema."
#define WHY_SCHEMA "A migration is replayed in one schema only."

static void
refuse_statement(Node *statement, const char *why, const char *hint)
{
	replay_refuse(GetCommandTagName(CreateCommandTag(statement)), why, hint);
}

/*
 * With IF EXISTS, a name without a schema must not find an object behind the
 * scratch schema, in the schema of an extension: it is the migration's own or
 * none.  (Without IF EXISTS such an object is refused.)
 */
static void
keep_inside(RangeVar *relation, bool missing_ok, Oid schema)
{
	Oid			relid;

	if (relation == NULL)
		return;
	if (missing_ok && relation->schemaname == NULL)
		relation->schemaname = get_namespace_name(schema);

	/* refused here, before a lock is taken */
	relid = RangeVarGetRelid(relation, NoLock, true);
	if (OidIsValid(relid))
		(void) replay_check_object(RelationRelationId, relid);
}

/* Puts the schema before a name of "length" parts; IF EXISTS only. */
static List *
qualify(DropStmt *drop, List *names, int length, Oid schema)
{
	if (drop->missing_ok && list_length(names) == length)
		names = lcons(makeString(get_namespace_name(schema)), names);
	return names;
}

/* The same for the names of a DROP. */
static void
keep_names_inside(DropStmt *drop, Oid schema)
{
	ListCell   *lc;

	foreach(lc, drop->objects)
	{
		Node	   *object = (Node *) lfirst(lc);

		switch (drop->removeType)
		{
			case OBJECT_TABLE:
			case OBJECT_SEQUENCE:
			case OBJECT_VIEW:
			case OBJECT_MATVIEW:
			case OBJECT_INDEX:
				lfirst(lc) = qualify(drop, (List *) object, 1, schema);
				keep_inside(makeRangeVarFromNameList((List *) lfirst(lc)),
							false, schema);
				break;
			case OBJECT_STATISTIC_EXT:
				lfirst(lc) = qualify(drop, (List *) object, 1, schema);
				break;
			case OBJECT_TRIGGER:
			case OBJECT_RULE:
			case OBJECT_POLICY:
				lfirst(lc) = qualify(drop, (List *) object, 2, schema);
				break;
			case OBJECT_TYPE:
			case OBJECT_DOMAIN:
				{
					TypeName   *type = castNode(TypeName, object);

					type->names = qualify(drop, type->names, 1, schema);
				}
				break;
			case OBJECT_FUNCTION:
			case OBJECT_PROCEDURE:
			case OBJECT_ROUTINE:
			case OBJECT_AGGREGATE:
				{
					ObjectWithArgs *function = castNode(ObjectWithArgs, object);

					function->objname = qualify(drop, function->objname, 1,
												schema);
				}
				break;
			default:
				break;
		}
	}
}

static bool
filter_drop(DropStmt *drop, Oid schema)
{
	/* the transaction block would refuse it, and nobody else is here */
	drop->concurrent = false;
	keep_names_inside(drop, schema);

	switch (drop->removeType)
	{
		case OBJECT_EXTENSION:
		case OBJECT_EVENT_TRIGGER:
		case OBJECT_FDW:
		case OBJECT_FOREIGN_SERVER:
		case OBJECT_PUBLICATION:
			refuse_statement((Node *) drop, WHY_WIDER, NULL);
			break;
		case OBJECT_SCHEMA:
			refuse_statement((Node *) drop, WHY_SCHEMA, NULL);
			break;
		default:
			break;
	}
	return true;
}

static bool
filter_alter_table(AlterTableStmt *alter, Oid schema)
{
	ListCell   *lc;

	keep_inside(alter->relation, alter->missing_ok, schema);

	foreach(lc, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);

		if (command->subtype == AT_ChangeOwner ||
			command->subtype == AT_SetTableSpace)
			alter->cmds = foreach_delete_current(alter->cmds, lc);
		else if (command->subtype == AT_DetachPartition)
			castNode(PartitionCmd, command->def)->concurrent = false;
	}
	return alter->cmds != NIL;
}

static bool
filter_set(VariableSetStmt *set)
{
	/* also what the replay has set for itself, see pin_settings() */
	static const char *const skipped[] = {
		"event_triggers", "session_replication_role",
		"default_tablespace", "default_table_access_method",
		"check_function_bodies", "client_min_messages", "client_encoding",
		"lock_timeout", "standard_conforming_strings", "transform_null_equals"
	};

	if (set->name == NULL)		/* RESET ALL */
		return false;

	if (pg_strcasecmp(set->name, "search_path") == 0)
		replay_refuse("a change of search_path",
					  "The replay needs its own schema at the front.", NULL);
	if (pg_strcasecmp(set->name, "role") == 0 ||
		pg_strcasecmp(set->name, "session_authorization") == 0)
		replay_refuse("a change of role",
					  "A migration is replayed as the role that registered it.",
					  NULL);

	for (size_t i = 0; i < lengthof(skipped); i++)
	{
		if (pg_strcasecmp(set->name, skipped[i]) == 0)
			return false;
	}

	/* the caller's transaction keeps its properties: SET TRANSACTION */
	return set->kind != VAR_SET_MULTI;
}

/* A migration's extension is there, or the migration cannot be replayed. */
static bool
filter_create_extension(CreateExtensionStmt *create)
{
	if (!OidIsValid(get_extension_oid(create->extname, true)))
		replay_refuse(psprintf("CREATE EXTENSION %s",
							   quote_identifier(create->extname)),
					  "The extension is not installed in this database.",
					  psprintf("Install it first: CREATE EXTENSION %s;",
							   quote_identifier(create->extname)));
	return false;
}

/* Prisma's first migration may begin with CREATE SCHEMA IF NOT EXISTS. */
static bool
filter_create_schema(CreateSchemaStmt *create)
{
	if (!create->if_not_exists || create->schemaname == NULL ||
		create->schemaElts != NIL ||
		!OidIsValid(get_namespace_oid(create->schemaname, true)))
		refuse_statement((Node *) create, WHY_SCHEMA, NULL);
	return false;
}

/* COMMENT asks no hook, so the object is looked up here. */
static bool
filter_comment(CommentStmt *comment)
{
	ObjectAddress object;
	Relation	relation = NULL;

	if (comment->objtype == OBJECT_EXTENSION ||
		comment->objtype == OBJECT_SCHEMA)
		return false;

	object = get_object_address(comment->objtype, comment->object, &relation,
								AccessShareLock, false);
	if (relation != NULL)
		relation_close(relation, AccessShareLock);
	(void) replay_check_object(object.classId, object.objectId);
	return true;
}

/* Statements about one relation that they name. */
static void
filter_target(Node *statement, Oid schema)
{
	RangeVar   *target = NULL;
	bool		missing_ok = false;

	if (IsA(statement, AlterPolicyStmt))
		target = ((AlterPolicyStmt *) statement)->table;
	else if (IsA(statement, CreatePolicyStmt))
		target = ((CreatePolicyStmt *) statement)->table;
	else if (IsA(statement, CreateTrigStmt))
		target = ((CreateTrigStmt *) statement)->relation;
	else if (IsA(statement, RuleStmt))
		target = ((RuleStmt *) statement)->relation;
	else if (IsA(statement, AlterSeqStmt))
	{
		target = ((AlterSeqStmt *) statement)->sequence;
		missing_ok = ((AlterSeqStmt *) statement)->missing_ok;
	}
	else if (IsA(statement, RenameStmt))
	{
		target = ((RenameStmt *) statement)->relation;
		missing_ok = ((RenameStmt *) statement)->missing_ok;
	}
	else if (IsA(statement, IndexStmt))
	{
		target = ((IndexStmt *) statement)->relation;
		((IndexStmt *) statement)->concurrent = false;
		((IndexStmt *) statement)->tableSpace = NULL;
	}
	else if (IsA(statement, RefreshMatViewStmt))
	{
		target = ((RefreshMatViewStmt *) statement)->relation;
		((RefreshMatViewStmt *) statement)->concurrent = false;
	}
	keep_inside(target, missing_ok, schema);
}

static const char *
why_refused(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterObjectSchemaStmt:
			return WHY_SCHEMA;
		case T_CopyStmt:
			return "Its data are not in the migration.";
		case T_TransactionStmt:
			return "The replay is one transaction.";
		default:
			return WHY_WIDER;
	}
}

/* Which statements are run; changes what they cannot do here. */
bool
replay_filter(Node *statement, Oid schema)
{
	switch (nodeTag(statement))
	{
		case T_AlterDomainStmt:
		case T_AlterEnumStmt:
		case T_AlterFunctionStmt:
		case T_AlterStatsStmt:
		case T_AlterTypeStmt:
		case T_CallStmt:
		case T_CompositeTypeStmt:
		case T_ConstraintsSetStmt:
		case T_CreateDomainStmt:
		case T_CreateEnumStmt:
		case T_CreateFunctionStmt:
		case T_CreateRangeStmt:
		case T_CreateSeqStmt:
		case T_CreateStatsStmt:
		case T_DoStmt:
		case T_ExplainStmt:
		case T_TruncateStmt:
		case T_VariableShowStmt:
		case T_ViewStmt:
			return true;

		case T_AlterDefaultPrivilegesStmt:
		case T_AlterOwnerStmt:
		case T_GrantRoleStmt:
		case T_GrantStmt:
		case T_LockStmt:
		case T_ReindexStmt:
			return false;

		case T_AlterTableStmt:
			return filter_alter_table((AlterTableStmt *) statement, schema);
		case T_CommentStmt:
			return filter_comment((CommentStmt *) statement);
		case T_CreateExtensionStmt:
			return filter_create_extension((CreateExtensionStmt *) statement);
		case T_CreateSchemaStmt:
			return filter_create_schema((CreateSchemaStmt *) statement);
		case T_DropStmt:
			return filter_drop((DropStmt *) statement, schema);
		case T_VariableSetStmt:
			return filter_set((VariableSetStmt *) statement);

		case T_AlterPolicyStmt:
		case T_AlterSeqStmt:
		case T_CreatePolicyStmt:
		case T_CreateTrigStmt:
		case T_IndexStmt:
		case T_RefreshMatViewStmt:
		case T_RenameStmt:
		case T_RuleStmt:
			filter_target(statement, schema);
			return true;

		case T_CreateStmt:
			/* tablespaces are no facts */
			((CreateStmt *) statement)->tablespacename = NULL;
			return true;
		case T_CreateTableAsStmt:
			((CreateTableAsStmt *) statement)->into->tableSpaceName = NULL;
			return true;

		case T_DefineStmt:
			if (((DefineStmt *) statement)->kind == OBJECT_AGGREGATE)
				return true;
			break;
		case T_VacuumStmt:
			if (!((VacuumStmt *) statement)->is_vacuumcmd)
				return false;	/* ANALYZE */
			break;

		default:
			break;
	}

	refuse_statement(statement, why_refused(statement), NULL);
	return false;
}
