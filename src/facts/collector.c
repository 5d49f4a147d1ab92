/*
 * collector.c
 *		What the files that read the catalogs share: texts of expressions,
 *		flags, arrays and comments as they stand in facts.
 *
 * Locking: AccessShare on pg_description.  Errors: none of its own.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_description.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "facts/collector.h"
#include "facts/escape.h"

char *
expression_text(Node *expr, Relation rel)
{
	List	   *context = deparse_context_for(RelationGetRelationName(rel),
											  RelationGetRelid(rel));

	return deparse_expression(expr, context, false, false);
}

void
add_flag(Collector *c, const char *object_type, const char *object,
		 const char *property, bool value)
{
	factset_add(c->facts, object_type, object, property, value ? "yes" : "no");
}

char *
text_array_join(Datum array)
{
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;
	StringInfoData joined;

	initStringInfo(&joined);
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (i > 0)
			appendStringInfoString(&joined, ", ");
		if (!nulls[i])
			appendStringInfoString(&joined, TextDatumGetCString(elems[i]));
	}
	return joined.data;
}

char *
comment_of(Oid objid, Oid classid, int32 subid)
{
	char	   *comment = GetComment(objid, classid, subid);

	return comment ? comment_escape(comment) : NULL;
}

/* One scan for a relation's comment [0] and those of its columns [attnum]. */
char	  **
comments_of_columns(Oid relid, int natts)
{
	char	  **comments = palloc0(sizeof(char *) * (natts + 1));
	Relation	descriptions = table_open(DescriptionRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_description_objoid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_description_classoid,
				BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	scan = systable_beginscan(descriptions, DescriptionObjIndexId, true,
							  NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int32		subid = ((Form_pg_description) GETSTRUCT(tuple))->objsubid;
		bool		isnull;
		Datum		comment = heap_getattr(tuple, Anum_pg_description_description,
										   RelationGetDescr(descriptions), &isnull);

		if (!isnull && subid >= 0 && subid <= natts)
			comments[subid] = comment_escape(TextDatumGetCString(comment));
	}
	systable_endscan(scan);
	table_close(descriptions, AccessShareLock);
	return comments;
}
