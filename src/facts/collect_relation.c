/*
 * collect_relation.c
 *		Facts about a table, view or sequence, and about columns.
 *
 * Locking: the caller holds AccessShare on the relation.
 * Errors: none of its own.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_sequence.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "facts/collector.h"

const char *
relation_kind_name(char relkind)
{
	switch (relkind)
	{
		case RELKIND_RELATION:
			return "table";
		case RELKIND_PARTITIONED_TABLE:
			return "partitioned table";
		case RELKIND_FOREIGN_TABLE:
			return "foreign table";
		case RELKIND_VIEW:
			return "view";
		case RELKIND_MATVIEW:
			return "materialized view";
		case RELKIND_SEQUENCE:
			return "sequence";
		case RELKIND_COMPOSITE_TYPE:
			return "composite type";
		default:
			return "index";
	}
}

/* Under which object type a relation's facts stand. */
const char *
relation_object_type(char relkind)
{
	switch (relkind)
	{
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
			return "view";
		case RELKIND_SEQUENCE:
			return "sequence";
		default:
			return "table";
	}
}

/* Name of a relation, with its schema where that is another one. */
static char *
relation_name(Collector *c, Oid relid)
{
	char	   *name = get_rel_name(relid);
	Oid			schema = get_rel_namespace(relid);

	if (name == NULL)
		return NULL;
	return quote_qualified_identifier(schema == c->schema ? NULL :
									  get_namespace_name(schema), name);
}

/* The parents of a table, comma-separated, in order of inheritance. */
static char *
inheritance_parents(Collector *c, Oid relid)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	StringInfoData parents;

	initStringInfo(&parents);
	ScanKeyInit(&key, Anum_pg_inherits_inhrelid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		char	   *parent = relation_name(c, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);

		if (parent == NULL)
			continue;
		if (parents.len > 0)
			appendStringInfoString(&parents, ", ");
		appendStringInfoString(&parents, parent);
	}
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return parents.len > 0 ? parents.data : NULL;
}

/* "parent FOR VALUES …" of a partition. */
static char *
partition_of(Collector *c, Relation rel)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	Datum		bound;
	bool		isnull;
	char	   *parent;
	char	   *result = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	bound = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	parent = isnull ? NULL :
		inheritance_parents(c, RelationGetRelid(rel));
	if (parent != NULL)
	{
		Node	   *node = stringToNode(TextDatumGetCString(bound));

		result = psprintf("%s %s", parent, expression_text(node, rel));
	}
	ReleaseSysCache(tuple);
	return result;
}

static char *
replica_identity(Relation rel)
{
	Oid			index;

	switch (rel->rd_rel->relreplident)
	{
		case REPLICA_IDENTITY_NOTHING:
			return "nothing";
		case REPLICA_IDENTITY_FULL:
			return "full";
		case REPLICA_IDENTITY_INDEX:
			index = RelationGetReplicaIndex(rel);
			return OidIsValid(index) && get_rel_name(index) ?
				psprintf("index %s", quote_identifier(get_rel_name(index))) :
				"nothing";
		default:
			return "default";
	}
}

static void
collect_table(Collector *c, Relation rel, const char *object)
{
	Form_pg_class form = rel->rd_rel;

	factset_add(c->facts, "table", object, "persistence",
				form->relpersistence == RELPERSISTENCE_PERMANENT ? "permanent" :
				form->relpersistence == RELPERSISTENCE_UNLOGGED ? "unlogged" :
				"temporary");
	if (OidIsValid(form->relam))
		factset_add(c->facts, "table", object, "access_method",
					get_am_name(form->relam));
	factset_add(c->facts, "table", object, "row_security",
				!form->relrowsecurity ? "off" :
				form->relforcerowsecurity ? "forced" : "on");
	if (form->relkind != RELKIND_FOREIGN_TABLE)
		factset_add(c->facts, "table", object, "replica_identity",
					replica_identity(rel));
	else
		factset_add(c->facts, "table", object, "server",
					GetForeignServer(GetForeignTable(RelationGetRelid(rel))->serverid)->servername);
	if (form->relispartition)
		factset_add(c->facts, "table", object, "partition_of",
					partition_of(c, rel));
	else
		factset_add(c->facts, "table", object, "inherits",
					inheritance_parents(c, RelationGetRelid(rel)));
	if (form->relkind == RELKIND_PARTITIONED_TABLE)
	{
		Datum		key = DirectFunctionCall1(pg_get_partkeydef,
											  ObjectIdGetDatum(RelationGetRelid(rel)));

		factset_add(c->facts, "table", object, "partition_by",
					TextDatumGetCString(key));
	}
}

/* The column's default expression, also that of a generated column. */
static char *
default_expression(Relation rel, AttrNumber attnum)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_defval; i++)
	{
		if (constr->defval[i].adnum == attnum)
			return expression_text(stringToNode(constr->defval[i].adbin), rel);
	}
	return NULL;
}

static void
collect_column(Collector *c, Relation rel, Form_pg_attribute att,
			   const char *object, int position)
{
	char	   *expression = att->atthasdef ?
		default_expression(rel, att->attnum) : NULL;

	factset_add(c->facts, "column", object, "position",
				psprintf("%d", position));
	factset_add(c->facts, "column", object, "type",
				format_type_with_typemod(att->atttypid, att->atttypmod));
	factset_add(c->facts, "column", object, "not_null",
				!att->attnotnull ? "no" :
				compat_not_null_is_valid(RelationGetDescr(rel), att->attnum) ?
				"yes" : "not valid");
	if (att->attgenerated != '\0' && expression != NULL)
		factset_add(c->facts, "column", object, "generated",
					psprintf("%s (%s)",
							 att->attgenerated == ATTRIBUTE_GENERATED_STORED ?
							 "stored" : "virtual", expression));
	else
		factset_add(c->facts, "column", object, "default", expression);
	if (att->attidentity != '\0')
		factset_add(c->facts, "column", object, "identity",
					att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ?
					"always" : "by default");
	if (OidIsValid(att->attcollation) &&
		att->attcollation != get_typcollation(att->atttypid))
		factset_add(c->facts, "column", object, "collation",
					generate_collation_name(att->attcollation));
}

static void
collect_columns(Collector *c, Relation rel, char **comments)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			position = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char	   *object;

		if (att->attisdropped)
			continue;
		object = object_of_table(RelationGetRelationName(rel),
								 NameStr(att->attname));
		collect_column(c, rel, att, object, ++position);
		factset_add(c->facts, "column", object, "comment",
					comments[att->attnum]);
	}
}

static void
collect_sequence(Collector *c, Relation rel, const char *object)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(RelationGetRelid(rel)));
	Form_pg_sequence form;
	Oid			table;
	int32		column;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_sequence) GETSTRUCT(tuple);
	factset_add(c->facts, "sequence", object, "type",
				format_type_be(form->seqtypid));
	factset_add(c->facts, "sequence", object, "start",
				psprintf(INT64_FORMAT, form->seqstart));
	factset_add(c->facts, "sequence", object, "min",
				psprintf(INT64_FORMAT, form->seqmin));
	factset_add(c->facts, "sequence", object, "max",
				psprintf(INT64_FORMAT, form->seqmax));
	factset_add(c->facts, "sequence", object, "increment",
				psprintf(INT64_FORMAT, form->seqincrement));
	factset_add(c->facts, "sequence", object, "cache",
				psprintf(INT64_FORMAT, form->seqcache));
	add_flag(c, "sequence", object, "cycle", form->seqcycle);
	ReleaseSysCache(tuple);

	if (sequenceIsOwned(RelationGetRelid(rel), DEPENDENCY_AUTO, &table, &column) &&
		get_rel_name(table) != NULL)
		factset_add(c->facts, "sequence", object, "owned_by",
					object_of_table(get_rel_name(table),
									get_attname(table, column, false)));
}

/*
 * The query comes from the relcache's rule, not from pg_get_viewdef(): that
 * runs a query of its own through SPI, whose operators a hostile schema on
 * the pinned search_path could replace.
 */
static void
collect_view(Collector *c, Relation rel, const char *object)
{
	RuleLock   *rules = rel->rd_rules;
	HeapTuple	tuple;

	for (int i = 0; rules != NULL && i < rules->numLocks; i++)
	{
		RewriteRule *rule = rules->rules[i];

		if (rule->event == CMD_SELECT && rule->isInstead &&
			list_length(rule->actions) == 1)
			factset_add(c->facts, "view", object, "definition",
						query_text(c, linitial_node(Query, rule->actions)));
	}

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		options = SysCacheGetAttr(RELOID, tuple,
											  Anum_pg_class_reloptions, &isnull);

		if (!isnull)
			factset_add(c->facts, "view", object, "options",
						text_array_join(options));
		ReleaseSysCache(tuple);
	}
}

void
collect_relation(Collector *c, Relation rel)
{
	char		relkind = rel->rd_rel->relkind;
	const char *object = quote_identifier(RelationGetRelationName(rel));
	const char *object_type = relation_object_type(relkind);
	char	  **comments = comments_of_columns(RelationGetRelid(rel),
											   RelationGetDescr(rel)->natts);

	factset_add(c->facts, object_type, object, "kind",
				relation_kind_name(relkind));
	factset_add(c->facts, object_type, object, "comment", comments[0]);

	if (relkind == RELKIND_SEQUENCE)
	{
		collect_sequence(c, rel, object);
		return;
	}
	if (relkind == RELKIND_VIEW || relkind == RELKIND_MATVIEW)
		collect_view(c, rel, object);
	else
	{
		collect_table(c, rel, object);
		collect_columns(c, rel, comments);
		collect_constraints(c, rel);
		collect_policies(c, rel);
	}
	if (relkind != RELKIND_VIEW && rel->rd_rel->relhasindex)
		collect_indexes(c, rel);
	collect_triggers(c, rel);
	collect_rules(c, rel);
}
