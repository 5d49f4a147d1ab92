/*
 * collect_type.c
 *		Facts about enums, domains and composite types.
 *
 * Locking: AccessShare on the catalogs.  Errors: none of its own.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "facts/collector.h"
#include "facts/relation_lock.h"

/* Under which object type a type's facts stand; NULL for one without any. */
const char *
type_object_type(Oid typid)
{
	switch (get_typtype(typid))
	{
		case TYPTYPE_ENUM:
			return "enum";
		case TYPTYPE_DOMAIN:
			return "domain";
		case TYPTYPE_COMPOSITE:
			return get_rel_relkind(get_typ_typrelid(typid)) == RELKIND_COMPOSITE_TYPE ?
				"composite type" : NULL;
		default:
			return NULL;
	}
}

static char *
enum_labels(Oid typid)
{
	Relation	enums = table_open(EnumRelationId, AccessShareLock);
	Relation	index = index_open(EnumTypIdSortOrderIndexId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	StringInfoData out;

	initStringInfo(&out);
	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(typid));
	scan = systable_beginscan_ordered(enums, index, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		Form_pg_enum form = (Form_pg_enum) GETSTRUCT(tuple);

		appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "",
						 quote_literal_cstr(NameStr(form->enumlabel)));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(enums, AccessShareLock);
	return out.data;
}

static void
collect_domain(Collector *c, HeapTuple tuple, const char *object)
{
	Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);
	bool		isnull;
	Datum		datum;

	factset_add(c->facts, "domain", object, "type",
				format_type_with_typemod(form->typbasetype, form->typtypmod));
	add_flag(c, "domain", object, "not_null", form->typnotnull);
	datum = SysCacheGetAttr(TYPEOID, tuple, Anum_pg_type_typdefaultbin, &isnull);
	if (!isnull)
		factset_add(c->facts, "domain", object, "default",
					deparse_expression(stringToNode(TextDatumGetCString(datum)),
									   NIL, false, false));
	if (OidIsValid(form->typcollation) &&
		form->typcollation != get_typcollation(form->typbasetype))
		factset_add(c->facts, "domain", object, "collation",
					generate_collation_name(form->typcollation));
	factset_add(c->facts, "domain", object, "checks", domain_checks(c, form->oid));
}

static char *
composite_columns(Collector *c, Oid relid)
{
	Relation	rel;
	StringInfoData out;

	/* ALTER TYPE may hold it, and is not waited for past the deadline. */
	if (!relation_lock_wait(relid, AccessShareLock, c->deadline))
	{
		c->locked_out = true;
		return NULL;
	}
	rel = relation_open(relid, NoLock);
	initStringInfo(&out);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (att->attisdropped)
			continue;
		appendStringInfo(&out, "%s%s %s", out.len > 0 ? ", " : "",
						 quote_identifier(NameStr(att->attname)),
						 format_type_with_typemod(att->atttypid, att->atttypmod));
	}
	relation_close(rel, AccessShareLock);
	return out.data;
}

void
collect_type(Collector *c, const char *name)
{
	HeapTuple	tuple = SearchSysCache2(TYPENAMENSP,
										CStringGetDatum(name),
										ObjectIdGetDatum(c->schema));
	const char *object = quote_identifier(name);
	const char *object_type;
	Form_pg_type form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_type) GETSTRUCT(tuple);
	object_type = type_object_type(form->oid);
	if (object_type != NULL)
	{
		if (strcmp(object_type, "enum") == 0)
			factset_add(c->facts, object_type, object, "labels",
						enum_labels(form->oid));
		else if (strcmp(object_type, "domain") == 0)
			collect_domain(c, tuple, object);
		else
			factset_add(c->facts, object_type, object, "columns",
						composite_columns(c, form->typrelid));
		factset_add(c->facts, object_type, object, "comment",
					comment_of(form->oid, TypeRelationId, 0));
	}
	ReleaseSysCache(tuple);
}
