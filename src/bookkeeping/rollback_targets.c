/*
 * rollback_targets.c
 *		deploydb.rollback_targets(): what a rollback script is about.
 *
 * The script is parsed by the server's parser.  Each thing that it drops is a
 * row; a statement that cannot be checked is a row that says why.
 *
 * Locking: none; what is found by name can be gone by the time that it is
 * locked, so the caller looks again then.
 * Errors: a script that the parser does not understand.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "facts/escape.h"
#include "facts/facts.h"

PG_FUNCTION_INFO_V1(deploydb_rollback_targets);

#define TARGET_COLUMNS 8

#define WHY_UNKNOWN_KIND "What it does cannot be checked beforehand."
#define WHY_CASCADE "With CASCADE it would drop what is not the migration's, too."

typedef struct Target
{
	const char *object_type;	/* as in a fact; NULL where refused */
	const char *object;
	Oid			class_id;
	Oid			object_id;		/* InvalidOid where it is not there */
	int			sub_id;
	const char *refused;		/* a sentence, or NULL */
} Target;

/* Where the rows go, and what they have in common. */
typedef struct TargetSink
{
	ReturnSetInfo *rsinfo;
	Oid			schema;
	int			statement;
	const char *source;
} TargetSink;

static void
put_target(const TargetSink *sink, const Target *target)
{
	Datum		values[TARGET_COLUMNS] = {0};
	bool		nulls[TARGET_COLUMNS] = {false};
	bool		there = OidIsValid(target->object_id);

	values[0] = Int32GetDatum(sink->statement);
	values[1] = CStringGetTextDatum(sink->source);
	nulls[2] = target->object_type == NULL;
	if (!nulls[2])
		values[2] = CStringGetTextDatum(target->object_type);
	nulls[3] = target->object == NULL;
	if (!nulls[3])
		values[3] = CStringGetTextDatum(target->object);
	nulls[4] = nulls[5] = nulls[6] = !there;
	values[4] = Int64GetDatum(target->class_id);
	values[5] = Int64GetDatum(target->object_id);
	values[6] = Int32GetDatum(target->sub_id);
	nulls[7] = target->refused == NULL;
	if (!nulls[7])
		values[7] = CStringGetTextDatum(target->refused);
	tuplestore_putvalues(sink->rsinfo->setResult, sink->rsinfo->setDesc,
						 values, nulls);
}

static void
refuse(const TargetSink *sink, const char *why)
{
	Target		target = {.refused = why};

	put_target(sink, &target);
}

/* The type of object that a relation of that kind is in facts. */
static const char *
type_of_relkind(char relkind)
{
	switch (relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
			return "table";
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
			return "view";
		case RELKIND_SEQUENCE:
			return "sequence";
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			return "index";
		default:
			return "relation";
	}
}

/*
 * A relation of the schema.  False: it was refused, as it is of another kind,
 * or elsewhere.
 */
static bool
find_relation(const TargetSink *sink, RangeVar *name, const char *object_type,
			  Target *target)
{
	target->object_type = object_type;
	target->object = quote_identifier(name->relname);
	target->class_id = RelationRelationId;
	target->object_id = RangeVarGetRelid(name, NoLock, true);
	if (!OidIsValid(target->object_id))
		return true;
	if (get_rel_namespace(target->object_id) != sink->schema)
	{
		refuse(sink, psprintf("%s %s is outside of the migration's schema.",
							  object_type, target->object));
		return false;
	}
	if (strcmp(type_of_relkind(get_rel_relkind(target->object_id)), object_type) != 0)
	{
		refuse(sink, psprintf("%s is no %s.", target->object, object_type));
		return false;
	}
	return true;
}

/* Something of a table: a trigger, a constraint, a column. */
static void
put_part(const TargetSink *sink, RangeVar *table, const char *object_type,
		 const char *name)
{
	Target		target = {0};
	Oid			relid;

	if (!find_relation(sink, table, "table", &target))
		return;
	relid = target.object_id;
	target.object_type = object_type;
	target.object = object_of_table(table->relname, name);
	target.object_id = InvalidOid;
	if (OidIsValid(relid) && strcmp(object_type, "trigger") == 0)
	{
		target.class_id = TriggerRelationId;
		target.object_id = get_trigger_oid(relid, name, true);
	}
	else if (OidIsValid(relid) && strcmp(object_type, "constraint") == 0)
	{
		target.class_id = ConstraintRelationId;
		target.object_id = get_relation_constraint_oid(relid, name, true);
	}
	else if (OidIsValid(relid))
	{
		target.sub_id = get_attnum(relid, name);
		if (target.sub_id > 0)
			target.object_id = relid;
	}
	put_target(sink, &target);
}

static Oid
schema_of_type(Oid typid)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	Oid			schema = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		schema = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
		ReleaseSysCache(tuple);
	}
	return schema;
}

static void
put_type(const TargetSink *sink, TypeName *name)
{
	Target		target = {.class_id = TypeRelationId};
	const char *object_type = NULL;

	target.object = quote_identifier(strVal(llast(name->names)));
	target.object_type = "type";
	target.object_id = LookupTypeNameOid(NULL, name, true);
	if (OidIsValid(target.object_id))
	{
		object_type = type_object_type(target.object_id);
		if (schema_of_type(target.object_id) != sink->schema)
		{
			refuse(sink, psprintf("type %s is outside of the migration's schema.", target.object));
			return;
		}
		if (object_type == NULL)
		{
			refuse(sink, psprintf("type %s is of a kind that is not compared.", target.object));
			return;
		}
		target.object_type = object_type;
	}
	put_target(sink, &target);
}

static void
put_function(const TargetSink *sink, ObjectType type, ObjectWithArgs *function)
{
	Target		target = {.object_type = "function",.class_id = ProcedureRelationId};

	target.object_id = LookupFuncWithArgs(type, function, true);
	if (!OidIsValid(target.object_id))
		target.object = quote_identifier(strVal(llast(function->objname)));
	else if (get_func_namespace(target.object_id) != sink->schema)
	{
		refuse(sink, psprintf("function %s is outside of the migration's schema.",
							  NameListToString(function->objname)));
		return;
	}
	else
		target.object = function_object(target.object_id);
	put_target(sink, &target);
}

static void
put_trigger(const TargetSink *sink, List *names)
{
	List	   *table = list_copy_head(names, list_length(names) - 1);

	put_part(sink, makeRangeVarFromNameList(table), "trigger", strVal(llast(names)));
}

static void
put_drop(const TargetSink *sink, DropStmt *drop)
{
	ListCell   *lc;

	foreach(lc, drop->objects)
	{
		Node	   *object = (Node *) lfirst(lc);
		const char *object_type = drop->removeType == OBJECT_TABLE ||
			drop->removeType == OBJECT_FOREIGN_TABLE ? "table" :
			drop->removeType == OBJECT_INDEX ? "index" :
			drop->removeType == OBJECT_SEQUENCE ? "sequence" : "view";
		Target		target = {0};

		switch (drop->removeType)
		{
			case OBJECT_TABLE:
			case OBJECT_FOREIGN_TABLE:
			case OBJECT_INDEX:
			case OBJECT_SEQUENCE:
			case OBJECT_VIEW:
			case OBJECT_MATVIEW:
				if (find_relation(sink, makeRangeVarFromNameList((List *) object),
								  object_type, &target))
					put_target(sink, &target);
				break;
			case OBJECT_TYPE:
			case OBJECT_DOMAIN:
				put_type(sink, castNode(TypeName, object));
				break;
			case OBJECT_FUNCTION:
			case OBJECT_PROCEDURE:
			case OBJECT_ROUTINE:
				put_function(sink, drop->removeType, castNode(ObjectWithArgs, object));
				break;
			case OBJECT_TRIGGER:
				put_trigger(sink, (List *) object);
				break;
			default:
				refuse(sink, WHY_UNKNOWN_KIND);
				return;
		}
	}
}

static void
put_alter_table(const TargetSink *sink, AlterTableStmt *alter)
{
	ListCell   *lc;

	if (alter->objtype != OBJECT_TABLE)
	{
		refuse(sink, WHY_UNKNOWN_KIND);
		return;
	}
	foreach(lc, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);

		if (command->subtype != AT_DropColumn && command->subtype != AT_DropConstraint)
			refuse(sink, WHY_UNKNOWN_KIND);
		else if (command->behavior == DROP_CASCADE)
			refuse(sink, WHY_CASCADE);
		else
			put_part(sink, alter->relation,
					 command->subtype == AT_DropColumn ? "column" : "constraint",
					 command->name);
	}
}

/* What frames the statements: a rollback has its own. */
static bool
is_frame(Node *statement)
{
	if (IsA(statement, TransactionStmt))
	{
		TransactionStmtKind kind = ((TransactionStmt *) statement)->kind;

		return kind == TRANS_STMT_BEGIN || kind == TRANS_STMT_START ||
			kind == TRANS_STMT_COMMIT;
	}
	if (IsA(statement, VariableSetStmt))
	{
		const char *name = ((VariableSetStmt *) statement)->name;

		return name != NULL && (pg_strcasecmp(name, "lock_timeout") == 0 ||
								pg_strcasecmp(name, "statement_timeout") == 0 ||
								pg_strcasecmp(name, "client_min_messages") == 0);
	}
	return false;
}

static void
put_statement(const TargetSink *sink, Node *statement)
{
	if (IsA(statement, DropStmt))
	{
		if (((DropStmt *) statement)->behavior == DROP_CASCADE)
			refuse(sink, WHY_CASCADE);
		else
			put_drop(sink, (DropStmt *) statement);
	}
	else if (IsA(statement, AlterTableStmt))
		put_alter_table(sink, (AlterTableStmt *) statement);
	else
		refuse(sink, WHY_UNKNOWN_KIND);
}

/* A statement's text, without what stands around it. */
static char *
source_of(const char *script, const RawStmt *raw)
{
	const char *start = script + Max(raw->stmt_location, 0);
	const char *end = raw->stmt_len > 0 ? start + raw->stmt_len : start + strlen(start);

	while (start < end && isspace((unsigned char) *start))
		start++;
	while (end > start && isspace((unsigned char) end[-1]))
		end--;
	return pnstrdup(start, end - start);
}

/* A position would be taken for one in the client's own statement. */
static void
script_context(void *arg)
{
	(void) arg;
	if (geterrposition() > 0)
	{
		errcontext("rollback script, character %d", geterrposition());
		errposition(0);
	}
}

/* Names without a schema are the migration's own. */
static int
look_in(const char *schema)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("search_path",
							 psprintf("%s, pg_catalog, pg_temp", quote_identifier(schema)),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

Datum
deploydb_rollback_targets(PG_FUNCTION_ARGS)
{
	char	   *script = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *schema = text_to_cstring(PG_GETARG_TEXT_PP(1));
	TargetSink	sink = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	ErrorContextCallback callback = {
		.callback = script_context,
		.previous = error_context_stack
	};
	int			level;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	sink.schema = get_namespace_oid(schema, true);
	level = look_in(schema);
	error_context_stack = &callback;
	foreach(lc, pg_parse_query(script))
	{
		RawStmt    *raw = lfirst_node(RawStmt, lc);

		CHECK_FOR_INTERRUPTS();
		if (is_frame(raw->stmt))
			continue;
		sink.statement++;
		sink.source = source_of(script, raw);
		put_statement(&sink, raw->stmt);
	}
	error_context_stack = callback.previous;
	AtEOXact_GUC(true, level);
	return (Datum) 0;
}
