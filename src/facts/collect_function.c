/*
 * collect_function.c
 *		Facts about functions and procedures.
 *
 * Locking: none beyond the syscache's.  Errors: none of its own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/proclang.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "facts/collector.h"

/* name(argument types), the types as the pinned search_path shows them. */
static char *
function_object_of(HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "%s(", quote_identifier(NameStr(form->proname)));
	for (int i = 0; i < form->pronargs; i++)
		appendStringInfo(&out, "%s%s", i > 0 ? ", " : "",
						 format_type_be(form->proargtypes.values[i]));
	appendStringInfoChar(&out, ')');
	return out.data;
}

char *
function_object(Oid funcid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	char	   *object = NULL;

	if (HeapTupleIsValid(tuple))
	{
		object = function_object_of(tuple);
		ReleaseSysCache(tuple);
	}
	return object;
}

static const char *
function_kind_name(char kind)
{
	switch (kind)
	{
		case PROKIND_PROCEDURE:
			return "procedure";
		case PROKIND_AGGREGATE:
			return "aggregate";
		case PROKIND_WINDOW:
			return "window function";
		default:
			return "function";
	}
}

static char *
call_text(PGFunction function, Oid funcid)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(funcid);
	fcinfo->args[0].isnull = false;
	result = function(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(result);
}

static void
collect_function_facts(Collector *c, HeapTuple tuple, const char *object)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	FactSet    *facts = c->facts;
	bool		isnull;
	Datum		datum;

	factset_add(facts, "function", object, "kind",
				function_kind_name(form->prokind));
	factset_add(facts, "function", object, "arguments",
				call_text(pg_get_function_arguments, form->oid));
	factset_add(facts, "function", object, "result",
				call_text(pg_get_function_result, form->oid));
	factset_add(facts, "function", object, "language",
				get_language_name(form->prolang, true));
	factset_add(facts, "function", object, "volatility",
				form->provolatile == PROVOLATILE_IMMUTABLE ? "immutable" :
				form->provolatile == PROVOLATILE_STABLE ? "stable" : "volatile");
	add_flag(c, "function", object, "strict", form->proisstrict);
	factset_add(facts, "function", object, "security",
				form->prosecdef ? "definer" : "invoker");
	factset_add(facts, "function", object, "parallel",
				form->proparallel == PROPARALLEL_SAFE ? "safe" :
				form->proparallel == PROPARALLEL_RESTRICTED ? "restricted" :
				"unsafe");
	datum = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	if (!isnull)
		factset_add(facts, "function", object, "config", text_array_join(datum));

	/* A body in the SQL standard's form is kept as a parse tree. */
	datum = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (!isnull)
		factset_add(facts, "function", object, "body",
					function_body_text(c, form->oid,
									   stringToNode(TextDatumGetCString(datum))));
	else
	{
		datum = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
		if (!isnull)
			factset_add(facts, "function", object, "body",
						TextDatumGetCString(datum));
	}
	factset_add(facts, "function", object, "comment",
				comment_of(form->oid, ProcedureRelationId, 0));
}

/* Every function of that name is looked at until the whole object matches. */
void
collect_function(Collector *c, const char *object)
{
	char	   *parts[2];
	CatCList   *list;

	(void) object_split(pnstrdup(object, object_name_length(object)), parts);
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(parts[0]));
	for (int i = 0; i < list->n_members; i++)
	{
		HeapTuple	tuple = &list->members[i]->tuple;

		if (((Form_pg_proc) GETSTRUCT(tuple))->pronamespace == c->schema &&
			strcmp(function_object_of(tuple), object) == 0)
			collect_function_facts(c, tuple, object);
	}
	ReleaseSysCacheList(list);
}
