/*
 * collect_constraint.c
 *		Facts about table constraints, and the checks of domains.
 *
 * NOT NULL is a column's property, also where (from 18 on) it is a constraint
 * too.
 *
 * Locking: the caller holds AccessShare on the relation.
 * Errors: none of its own.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "facts/collector.h"

/* NULL for kinds that are not facts of their own. */
static const char *
constraint_type_name(char contype)
{
	switch (contype)
	{
		case CONSTRAINT_PRIMARY:
			return "primary key";
		case CONSTRAINT_UNIQUE:
			return "unique";
		case CONSTRAINT_CHECK:
			return "check";
		case CONSTRAINT_FOREIGN:
			return "foreign key";
		case CONSTRAINT_EXCLUSION:
			return "exclusion";
		default:
			return NULL;
	}
}

/* The columns of the key, comma-separated, or NULL for one without. */
static char *
constraint_columns(HeapTuple tuple, Relation constraints, Oid relid)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_constraint_conkey,
									 RelationGetDescr(constraints), &isnull);
	ArrayType  *array;
	int16	   *keys;
	StringInfoData out;

	if (isnull)
		return NULL;
	array = DatumGetArrayTypeP(datum);
	keys = (int16 *) ARR_DATA_PTR(array);
	initStringInfo(&out);
	for (int i = 0; i < ARR_DIMS(array)[0]; i++)
	{
		char	   *name = get_attname(relid, keys[i], true);

		appendStringInfo(&out, "%s%s", i > 0 ? ", " : "",
						 name ? quote_identifier(name) : "?");
	}
	return out.data;
}

/* Cuts a suffix off, where it is there. */
static void
cut_suffix(char *text, const char *suffix)
{
	size_t		length = strlen(text);
	size_t		suffix_length = strlen(suffix);

	if (length > suffix_length &&
		strcmp(text + length - suffix_length, suffix) == 0)
		text[length - suffix_length] = '\0';
}

/*
 * The server reads the constraint under the transaction's snapshot, which in
 * REPEATABLE READ may be older than it; then it cannot be told what it says.
 */
static char *
constraint_text(Collector *c, Oid constraint)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		definition;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(constraint);
	fcinfo->args[0].isnull = false;
	definition = pg_get_constraintdef(fcinfo);
	if (!fcinfo->isnull)
		return TextDatumGetCString(definition);
	c->changed = true;
	return NULL;
}

/*
 * As after ADD CONSTRAINT name.  What is a property of its own is cut off, in
 * the reverse of the order in which the server appends it.
 */
static char *
constraint_definition(Collector *c, Oid constraint)
{
	char	   *definition = constraint_text(c, constraint);

	if (definition == NULL)
		return NULL;
	cut_suffix(definition, " NOT VALID");
	cut_suffix(definition, " NOT ENFORCED");
	cut_suffix(definition, " INITIALLY DEFERRED");
	cut_suffix(definition, " DEFERRABLE");
	return definition;
}

static void
collect_constraint(Collector *c, Relation rel, Relation constraints,
				   HeapTuple tuple)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
	const char *type = constraint_type_name(form->contype);
	char	   *object;

	if (type == NULL)
		return;
	object = object_of_table(RelationGetRelationName(rel),
							 NameStr(form->conname));
	factset_add(c->facts, "constraint", object, "type", type);
	factset_add(c->facts, "constraint", object, "columns",
				constraint_columns(tuple, constraints, RelationGetRelid(rel)));
	factset_add(c->facts, "constraint", object, "definition",
				constraint_definition(c, form->oid));
	add_flag(c, "constraint", object, "validated", form->convalidated);
	factset_add(c->facts, "constraint", object, "deferrable",
				!form->condeferrable ? "no" :
				form->condeferred ? "initially deferred" : "deferrable");
	if (!compat_constraint_is_enforced(form))
		factset_add(c->facts, "constraint", object, "enforced", "no");
	factset_add(c->facts, "constraint", object, "comment",
				comment_of(form->oid, ConstraintRelationId, 0));
}

void
collect_constraints(Collector *c, Relation rel)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid,
				BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId,
							  true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		collect_constraint(c, rel, constraints, tuple);
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
}

/* The checks of a domain, sorted by name as the index has them. */
char *
domain_checks(Collector *c, Oid typid)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	StringInfoData out;

	initStringInfo(&out);
	ScanKeyInit(&keys[0], Anum_pg_constraint_conrelid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(InvalidOid));
	ScanKeyInit(&keys[1], Anum_pg_constraint_contypid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(typid));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId,
							  true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
		char	   *check;

		if (form->contype != CONSTRAINT_CHECK)
			continue;
		check = constraint_text(c, form->oid);
		appendStringInfo(&out, "%sCONSTRAINT %s %s", out.len > 0 ? ", " : "",
						 quote_identifier(NameStr(form->conname)),
						 check ? check : "");
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return out.len > 0 ? out.data : NULL;
}
