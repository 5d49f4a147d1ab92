/*
 * collect_action.c
 *		Facts about what acts on a table's rows: triggers, rules, policies.
 *
 * Locking: the caller holds AccessShare on the relation.
 * Errors: none of its own.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteDefine.h"
#include "rewrite/rewriteManip.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "compat.h"
#include "facts/collector.h"

static const char *
enabled_name(char enabled)
{
	switch (enabled)
	{
		case TRIGGER_DISABLED:
			return "disabled";
		case TRIGGER_FIRES_ON_REPLICA:
			return "replica";
		case TRIGGER_FIRES_ALWAYS:
			return "always";
		default:
			return "origin";
	}
}

void
collect_triggers(Collector *c, Relation rel)
{
	/*
	 * A copy: CREATE TRIGGER does not wait for our lock, and an invalidation
	 * while the catalogs are read frees the relation's own.
	 */
	TriggerDesc *triggers = CopyTriggerDesc(rel->trigdesc);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		char	   *object;
		Datum		definition;

		if (trigger->tgisinternal)
			continue;
		object = object_of_table(RelationGetRelationName(rel), trigger->tgname);
		definition = DirectFunctionCall2(pg_get_triggerdef_ext,
										 ObjectIdGetDatum(trigger->tgoid),
										 BoolGetDatum(true));
		factset_add(c->facts, "trigger", object, "definition",
					TextDatumGetCString(definition));
		factset_add(c->facts, "trigger", object, "enabled",
					enabled_name(trigger->tgenabled));
	}
}

static const char *
rule_event_name(CmdType event)
{
	switch (event)
	{
		case CMD_INSERT:
			return "INSERT";
		case CMD_UPDATE:
			return "UPDATE";
		case CMD_DELETE:
			return "DELETE";
		default:
			return "SELECT";
	}
}

/* Where a query was locked out, the collector knows; the text is not used. */
static const char *
null_as_empty(const char *text)
{
	return text ? text : "";
}

/*
 * OLD and NEW of the condition are range table entries of the first action,
 * so it is deparsed as the one column of a query that has these.
 */
static char *
rule_condition(Collector *c, RewriteRule *rule)
{
	Query	   *action = copyObject(linitial_node(Query, rule->actions));
	Query	   *query = makeNode(Query);

	action = getInsertSelectQuery(action, NULL);
	query->commandType = CMD_SELECT;
	query->rtable = action->rtable;
	query->jointree = makeFromExpr(NIL, NULL);
	compat_copy_permissions(query, action);
	query->targetList = list_make1(makeTargetEntry((Expr *) copyObject(rule->qual),
												   1, pstrdup("condition"), false));
	return query_text(c, query);
}

/* Event, condition and actions; not by pg_get_ruledef(), see collect_view(). */
static char *
rule_definition(Collector *c, RewriteRule *rule)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	appendStringInfo(&out, "ON %s DO %s", rule_event_name(rule->event),
					 rule->isInstead ? "INSTEAD" : "ALSO");
	if (rule->qual != NULL)
		appendStringInfo(&out, " WHERE %s",
						 null_as_empty(rule_condition(c, rule)));
	foreach(lc, rule->actions)
	{
		Query	   *query = lfirst_node(Query, lc);

		if (query->commandType == CMD_NOTHING)
			appendStringInfoString(&out, " NOTHING");
		else
			appendStringInfo(&out, " %s;",
							 query->commandType == CMD_UTILITY ? "NOTIFY" :
							 null_as_empty(query_text(c, query)));
	}
	return out.data;
}

/* The rules' names are not in the relcache: they come from pg_rewrite. */
void
collect_rules(Collector *c, Relation rel)
{
	RuleLock   *rules = rel->rd_rules;
	Relation	rewrites;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (rules == NULL)
		return;
	rewrites = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(rewrites, RewriteRelRulenameIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_rewrite form = (Form_pg_rewrite) GETSTRUCT(tuple);
		char	   *object = object_of_table(RelationGetRelationName(rel),
											 NameStr(form->rulename));

		for (int i = 0; i < rules->numLocks; i++)
		{
			RewriteRule *rule = rules->rules[i];

			/* The query of a view is the view's definition. */
			if (rule->ruleId != form->oid || rule->event == CMD_SELECT)
				continue;
			factset_add(c->facts, "rule", object, "definition",
						rule_definition(c, rule));
			factset_add(c->facts, "rule", object, "enabled",
						enabled_name(rule->enabled));
		}
	}
	systable_endscan(scan);
	table_close(rewrites, AccessShareLock);
}

static const char *
policy_command_name(char command)
{
	switch (command)
	{
		case ACL_SELECT_CHR:
			return "SELECT";
		case ACL_INSERT_CHR:
			return "INSERT";
		case ACL_UPDATE_CHR:
			return "UPDATE";
		case ACL_DELETE_CHR:
			return "DELETE";
		default:
			return "ALL";
	}
}

static char *
policy_roles(HeapTuple tuple, Relation policies)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_policy_polroles,
									 RelationGetDescr(policies), &isnull);
	ArrayType  *array;
	Oid		   *roles;
	StringInfoData out;

	if (isnull)
		return NULL;
	array = DatumGetArrayTypeP(datum);
	roles = (Oid *) ARR_DATA_PTR(array);
	initStringInfo(&out);
	for (int i = 0; i < ARR_DIMS(array)[0]; i++)
	{
		char	   *name = OidIsValid(roles[i]) ?
			GetUserNameFromId(roles[i], true) : NULL;

		appendStringInfo(&out, "%s%s", i > 0 ? ", " : "",
						 name ? quote_identifier(name) : "PUBLIC");
	}
	return out.data;
}

static char *
policy_expression(Collector *c, HeapTuple tuple, Relation policies,
				  AttrNumber attribute, Relation rel)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, attribute,
									 RelationGetDescr(policies), &isnull);
	Node	   *expr;

	if (isnull)
		return NULL;
	expr = stringToNode(TextDatumGetCString(datum));

	/* A policy may hold subqueries, whose relations the deparser locks. */
	return checkExprHasSubLink(expr) ?
		subquery_expression_text(c, expr, rel) : expression_text(expr, rel);
}

void
collect_policies(Collector *c, Relation rel)
{
	Relation	policies = table_open(PolicyRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_policy form = (Form_pg_policy) GETSTRUCT(tuple);
		char	   *object = object_of_table(RelationGetRelationName(rel),
											 NameStr(form->polname));

		factset_add(c->facts, "policy", object, "command",
					policy_command_name(form->polcmd));
		add_flag(c, "policy", object, "permissive", form->polpermissive);
		factset_add(c->facts, "policy", object, "roles",
					policy_roles(tuple, policies));
		factset_add(c->facts, "policy", object, "using",
					policy_expression(c, tuple, policies,
									  Anum_pg_policy_polqual, rel));
		factset_add(c->facts, "policy", object, "check",
					policy_expression(c, tuple, policies,
									  Anum_pg_policy_polwithcheck, rel));
	}
	systable_endscan(scan);
	table_close(policies, AccessShareLock);
}
