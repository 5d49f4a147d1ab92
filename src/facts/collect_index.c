/*
 * collect_index.c
 *		Facts about the indexes of a relation, by their fields.
 *
 * Locking: the caller holds AccessShare on the relation, which keeps a plain
 * DROP INDEX away but not DROP INDEX CONCURRENTLY: an index that vanishes
 * between two looks is left out.
 * Errors: none of its own.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "facts/collector.h"

/* An index's rows in pg_index and pg_class, taken apart. */
typedef struct IndexForm
{
	HeapTuple	index_tuple;
	HeapTuple	class_tuple;
	Form_pg_index index;
	Form_pg_class class;
	oidvector  *opclasses;
	oidvector  *collations;
	int2vector *options;
	List	   *expressions;
	Node	   *predicate;
	bool		ordered;		/* the method knows ASC and DESC */
} IndexForm;

static Node *
index_node(HeapTuple tuple, AttrNumber attribute)
{
	bool		isnull;
	Datum		node = SysCacheGetAttr(INDEXRELID, tuple, attribute, &isnull);

	return isnull ? NULL : stringToNode(TextDatumGetCString(node));
}

static bool
index_form_get(Oid indexid, IndexForm *form)
{
	bool		isnull;

	form->index_tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	form->class_tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(indexid));
	if (!HeapTupleIsValid(form->index_tuple) ||
		!HeapTupleIsValid(form->class_tuple))
	{
		if (HeapTupleIsValid(form->index_tuple))
			ReleaseSysCache(form->index_tuple);
		if (HeapTupleIsValid(form->class_tuple))
			ReleaseSysCache(form->class_tuple);
		return false;
	}

	form->index = (Form_pg_index) GETSTRUCT(form->index_tuple);
	form->class = (Form_pg_class) GETSTRUCT(form->class_tuple);
	form->opclasses = (oidvector *)
		DatumGetPointer(SysCacheGetAttr(INDEXRELID, form->index_tuple,
										Anum_pg_index_indclass, &isnull));
	form->collations = (oidvector *)
		DatumGetPointer(SysCacheGetAttr(INDEXRELID, form->index_tuple,
										Anum_pg_index_indcollation, &isnull));
	form->options = (int2vector *)
		DatumGetPointer(SysCacheGetAttr(INDEXRELID, form->index_tuple,
										Anum_pg_index_indoption, &isnull));
	form->expressions = (List *) index_node(form->index_tuple,
											Anum_pg_index_indexprs);
	form->predicate = index_node(form->index_tuple, Anum_pg_index_indpred);
	form->ordered = form->class->relam == BTREE_AM_OID;
	return true;
}

static void
index_form_release(IndexForm *form)
{
	ReleaseSysCache(form->index_tuple);
	ReleaseSysCache(form->class_tuple);
}

/*
 * Is it the opclass that the method takes for the type by itself?  Mostly it
 * is for that very type, which one look in the syscache tells; otherwise the
 * server searches all of the method's.
 */
static bool
is_default_opclass(Oid opclass, Oid type, Oid method)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	bool		is_default;

	if (!HeapTupleIsValid(tuple))
		return false;
	is_default = ((Form_pg_opclass) GETSTRUCT(tuple))->opcdefault &&
		((Form_pg_opclass) GETSTRUCT(tuple))->opcintype == type;
	ReleaseSysCache(tuple);
	return is_default || opclass == GetDefaultOpClass(type, method);
}

/* What of a key column's settings is not the default. */
static void
append_key_options(StringInfo out, IndexForm *form, int key,
				   Oid type, Oid collation)
{
	Oid			opclass = form->opclasses->values[key];

	if (OidIsValid(form->collations->values[key]) &&
		form->collations->values[key] != collation)
		appendStringInfo(out, " COLLATE %s",
						 generate_collation_name(form->collations->values[key]));
	if (!is_default_opclass(opclass, type, form->class->relam))
		appendStringInfo(out, " %s", generate_opclass_name(opclass));
	if (form->ordered)
	{
		bool		desc = (form->options->values[key] & INDOPTION_DESC) != 0;
		bool		nulls_first = (form->options->values[key] & INDOPTION_NULLS_FIRST) != 0;

		if (desc)
			appendStringInfoString(out, " DESC");
		if (nulls_first != desc)
			appendStringInfoString(out, nulls_first ? " NULLS FIRST" : " NULLS LAST");
	}
}

/* Columns first to last - 1 of the index, each with what is not default. */
static char *
index_columns(Relation rel, IndexForm *form, int first, int last)
{
	ListCell   *expression = list_head(form->expressions);
	StringInfoData out;

	initStringInfo(&out);
	for (int i = first; i < last; i++)
	{
		AttrNumber	attnum = form->index->indkey.values[i];
		Oid			type;
		Oid			collation;

		if (i > first)
			appendStringInfoString(&out, ", ");
		if (attnum != 0)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

			type = att->atttypid;
			collation = att->attcollation;
			appendStringInfoString(&out, quote_identifier(NameStr(att->attname)));
		}
		else
		{
			Node	   *node = lfirst(expression);

			expression = lnext(form->expressions, expression);
			type = exprType(node);
			collation = exprCollation(node);
			appendStringInfo(&out, "(%s)", expression_text(node, rel));
		}
		if (i < form->index->indnkeyatts)
			append_key_options(&out, form, i, type, collation);
	}
	return out.len > 0 ? out.data : NULL;
}

/* Kind of the constraint that the index stands behind, or NULL. */
static const char *
index_constraint(Oid indexid)
{
	Oid			constraint = get_index_constraint(indexid);
	HeapTuple	tuple;
	char		contype;

	if (!OidIsValid(constraint))
		return NULL;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	contype = ((Form_pg_constraint) GETSTRUCT(tuple))->contype;
	ReleaseSysCache(tuple);
	return contype == CONSTRAINT_PRIMARY ? "primary key" :
		contype == CONSTRAINT_UNIQUE ? "unique" : "exclusion";
}

/*
 * Is CREATE INDEX or REINDEX at work on the table now?  Only progress reports
 * tell a build that goes on from one that died.
 */
static bool
index_is_being_built(Oid relid)
{
	int			backends;

	pgstat_clear_backend_activity_snapshot();
	backends = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= backends; i++)
	{
		PgBackendStatus *status = compat_backend_status(i);

		if (status != NULL && status->st_databaseid == MyDatabaseId &&
			status->st_progress_command == PROGRESS_COMMAND_CREATE_INDEX &&
			status->st_progress_command_target == relid)
			return true;
	}
	return false;
}

static void
collect_index(Collector *c, Relation rel, Oid indexid)
{
	IndexForm	form;
	const char *object;
	FactSet    *facts = c->facts;
	int			nkeys;
	bool		building;

	if (!index_form_get(indexid, &form))
		return;
	object = quote_identifier(NameStr(form.class->relname));
	nkeys = form.index->indnkeyatts;
	building = (!form.index->indisvalid || !form.index->indisready) &&
		index_is_being_built(RelationGetRelid(rel));

	factset_add(facts, "index", object, "table",
				quote_identifier(RelationGetRelationName(rel)));
	factset_add(facts, "index", object, "method",
				get_am_name(form.class->relam));
	add_flag(c, "index", object, "unique", form.index->indisunique);
	if (form.index->indnullsnotdistinct)
		add_flag(c, "index", object, "nulls_not_distinct", true);
	factset_add(facts, "index", object, "columns",
				index_columns(rel, &form, 0, nkeys));
	factset_add(facts, "index", object, "include",
				index_columns(rel, &form, nkeys, form.index->indnatts));
	if (form.predicate != NULL)
		factset_add(facts, "index", object, "predicate",
					expression_text(form.predicate, rel));
	factset_add(facts, "index", object, "valid",
				building ? "building" : form.index->indisvalid ? "yes" : "no");
	factset_add(facts, "index", object, "ready",
				building || form.index->indisready ? "yes" : "no");
	factset_add(facts, "index", object, "constraint",
				index_constraint(indexid));
	factset_add(facts, "index", object, "comment",
				comment_of(indexid, RelationRelationId, 0));
	index_form_release(&form);
}

void
collect_indexes(Collector *c, Relation rel)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
		collect_index(c, rel, lfirst_oid(lc));
}
