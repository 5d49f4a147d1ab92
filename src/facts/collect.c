/*
 * collect.c
 *		Catalogs -> facts: finds the roots, locks them, hands them on.
 *
 * Locking and errors: see facts.h.  Relations are locked one at a time, and
 * each is unlocked before the next is looked at.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "facts/collector.h"
#include "facts/deparse.h"
#include "facts/relation_lock.h"

#define ACL_ANY_RELATION \
	(ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE | \
	 ACL_REFERENCES | ACL_TRIGGER)
#define ACL_ANY_COLUMN (ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_REFERENCES)

/* Has the caller any right on the relation, or on one of its columns? */
static bool
caller_may_see(Oid relid)
{
	Oid			caller = GetUserId();

	return pg_class_aclmask(relid, caller, ACL_ANY_RELATION, ACLMASK_ANY) != 0 ||
		compat_relation_ownercheck(relid, caller) ||
		pg_attribute_aclcheck_all(relid, caller, ACL_ANY_COLUMN,
								  ACLMASK_ANY) == ACLCHECK_OK;
}

const char *
unknown_reason_text(UnknownReason reason)
{
	switch (reason)
	{
		case UNKNOWN_LOCKED:
			return "It is locked by another session, and stayed so for deploydb.lock_timeout.";
		case UNKNOWN_CHANGED:
			return "Another session changed it after this transaction took its snapshot; look again in a new transaction.";
		case UNKNOWN_NO_RIGHTS:
			return "The current role has no right on it; any right on the relation will do.";
	}
	return NULL;
}

static void
add_unknown(FactReport *report, const FactRoot *root, UnknownReason reason)
{
	FactUnknown *unknown = palloc(sizeof(FactUnknown));

	unknown->object_type = pstrdup(root->object_type);
	unknown->object = pstrdup(root->object);
	unknown->reason = reason;
	report->unknown = lappend(report->unknown, unknown);
}

static void
collect_locked_relation(Collector *c, FactReport *report, const FactRoot *root,
						Oid relid)
{
	Relation	rel;
	char		relkind = get_rel_relkind(relid);

	if (!caller_may_see(relid))
	{
		add_unknown(report, root, UNKNOWN_NO_RIGHTS);
		return;
	}

	/*
	 * Something else may stand where the root is expected; its kind is then
	 * the one fact, under the expected object type, that tells so.
	 */
	if (relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX ||
		relkind == RELKIND_COMPOSITE_TYPE || relkind == RELKIND_TOASTVALUE ||
		strcmp(relation_object_type(relkind), root->object_type) != 0)
	{
		factset_add(c->facts, root->object_type, root->object, "kind",
					relation_kind_name(relkind));
		return;
	}
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return;
	collect_relation(c, rel);
	relation_close(rel, NoLock);
}

static void
collect_relation_root(Collector *c, FactReport *report, const FactRoot *root)
{
	char	   *parts[2];
	Oid			relid;

	(void) object_split(root->object, parts);
	relid = relation_lock_by_name(c->schema, parts[0], AccessShareLock,
								  c->deadline, &c->locked_out);
	if (!OidIsValid(relid))
		return;
	collect_locked_relation(c, report, root, relid);
	UnlockRelationOid(relid, AccessShareLock);
}

FactReport *
facts_collect(Oid schema, List *roots, TimestampTz deadline)
{
	FactReport *report = palloc0(sizeof(FactReport));
	Collector	c;
	int			nest_level;
	ListCell   *lc;

	report->facts = factset_create();
	c.schema = schema;
	c.facts = report->facts;
	c.deadline = deadline;

	nest_level = deparse_begin(schema);
	foreach(lc, roots)
	{
		const FactRoot *root = lfirst(lc);
		int			count = report->facts->count;

		CHECK_FOR_INTERRUPTS();
		c.locked_out = false;
		c.changed = false;
		if (strcmp(root->object_type, "function") == 0)
			collect_function(&c, root->object);
		else if (strcmp(root->object_type, "enum") == 0 ||
				 strcmp(root->object_type, "domain") == 0 ||
				 strcmp(root->object_type, "composite type") == 0)
		{
			char	   *parts[2];

			(void) object_split(root->object, parts);
			collect_type(&c, parts[0]);
		}
		else
			collect_relation_root(&c, report, root);
		if (c.locked_out || c.changed)
		{
			/* Half its facts would look like a deviation. */
			report->facts->count = count;
			add_unknown(report, root,
						c.locked_out ? UNKNOWN_LOCKED : UNKNOWN_CHANGED);
		}
	}
	deparse_end(nest_level);

	factset_sort(report->facts);
	return report;
}

static List *
add_root(List *roots, const char *object_type, const char *object)
{
	FactRoot   *root = palloc(sizeof(FactRoot));

	root->object_type = pstrdup(object_type);
	root->object = pstrdup(object);
	return lappend(roots, root);
}

/* Indexes, TOAST tables and row types are no roots: they hang on one. */
static List *
add_relation_root(List *roots, HeapTuple tuple)
{
	Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
	Oid			table;
	int32		column;

	if (strchr("rpfvmS", form->relkind) == NULL)
		return roots;
	/* An identity column's sequence is a part of the column. */
	if (form->relkind == RELKIND_SEQUENCE &&
		sequenceIsOwned(form->oid, DEPENDENCY_INTERNAL, &table, &column))
		return roots;
	return add_root(roots, relation_object_type(form->relkind),
					quote_identifier(NameStr(form->relname)));
}

static List *
add_type_root(List *roots, HeapTuple tuple)
{
	Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);
	const char *object_type = type_object_type(form->oid);

	return object_type == NULL ? roots :
		add_root(roots, object_type, quote_identifier(NameStr(form->typname)));
}

static List *
add_function_root(List *roots, HeapTuple tuple)
{
	return add_root(roots, "function",
					function_object(((Form_pg_proc) GETSTRUCT(tuple))->oid));
}

typedef List *(*AddRoot) (List *roots, HeapTuple tuple);

/* Every row of a catalog that is in the schema and belongs to no extension. */
static List *
scan_schema(List *roots, Oid catalog, AttrNumber namespace_attribute,
			Oid schema, AddRoot add)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, namespace_attribute, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		/* The OID is the first column of each of these catalogs. */
		Oid			oid = *(Oid *) GETSTRUCT(tuple);

		if (!OidIsValid(getExtensionOfObject(catalog, oid)))
			roots = add(roots, tuple);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return roots;
}

List *
facts_roots_of_schema(Oid schema)
{
	int			nest_level = deparse_begin(schema);
	List	   *roots = NIL;

	roots = scan_schema(roots, RelationRelationId, Anum_pg_class_relnamespace,
						schema, add_relation_root);
	roots = scan_schema(roots, TypeRelationId, Anum_pg_type_typnamespace,
						schema, add_type_root);
	roots = scan_schema(roots, ProcedureRelationId, Anum_pg_proc_pronamespace,
						schema, add_function_root);
	deparse_end(nest_level);
	return roots;
}

List *
facts_roots_of_relations(Oid schema, List *names)
{
	int			nest_level = deparse_begin(schema);
	List	   *roots = NIL;
	List	   *seen = NIL;
	ListCell   *lc;

	foreach(lc, names)
	{
		char	   *name = lfirst(lc);
		Oid			relid = get_relname_relid(name, schema);
		char		relkind = OidIsValid(relid) ?
			get_rel_relkind(relid) : RELKIND_RELATION;

		if (!list_member(seen, makeString(name)))
			roots = add_root(roots, relation_object_type(relkind),
							 quote_identifier(name));
		seen = lappend(seen, makeString(name));
	}
	deparse_end(nest_level);
	return roots;
}

/*
 * The type and those that it is made of, as far as they are in the schema: an
 * array's elements, a domain's base, a composite type's columns.
 */
static void
add_types(Oid schema, Oid typid, List **seen, List **roots)
{
	HeapTuple	tuple;
	Form_pg_type form;
	const char *object_type;

	check_stack_depth();
	while (OidIsValid(get_element_type(typid)))
		typid = get_element_type(typid);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_type) GETSTRUCT(tuple);
	object_type = type_object_type(typid);
	if (form->typnamespace == schema && object_type != NULL &&
		!list_member_oid(*seen, typid))
	{
		*seen = lappend_oid(*seen, typid);
		*roots = add_root(*roots, object_type,
						  quote_identifier(NameStr(form->typname)));
		if (OidIsValid(form->typbasetype))
			add_types(schema, form->typbasetype, seen, roots);
		if (OidIsValid(form->typrelid))
			for (AttrNumber attnum = 1;; attnum++)
			{
				HeapTuple	att = SearchSysCache2(ATTNUM,
												  ObjectIdGetDatum(form->typrelid),
												  Int16GetDatum(attnum));
				Oid			member;

				if (!HeapTupleIsValid(att))
					break;
				member = ((Form_pg_attribute) GETSTRUCT(att))->atttypid;
				ReleaseSysCache(att);
				add_types(schema, member, seen, roots);	/* 0 where dropped */
			}
	}
	ReleaseSysCache(tuple);
}

List *
facts_roots_of_types(Oid schema, const FactSet *facts)
{
	List	   *roots = NIL;
	List	   *seen = NIL;

	for (int i = 0; i < facts->count; i++)
	{
		const Fact *fact = &facts->facts[i];
		char	   *parts[2];

		if (strcmp(fact->object_type, "column") != 0 ||
			strcmp(fact->property, "type") != 0 ||
			object_split(fact->value, parts) != 1)
			continue;
		/* An array; brackets inside the quotes are the name's own. */
		if (fact->value[strlen(fact->value) - 1] == ']')
			parts[0][strlen(parts[0]) - 2] = '\0';
		add_types(schema, GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										  CStringGetDatum(parts[0]),
										  ObjectIdGetDatum(schema)),
				  &seen, &roots);
	}
	return roots;
}
