/*
 * capture.c
 *		What is here as an expectation for another database.
 *
 * Locking: see facts.h.  Errors: a relation that is missing, locked or not
 * the caller's to see; half an expectation would be worse than none.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "facts/relation_lock.h"
#include "verify/verification.h"

static void
append_member(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, "%s\"%s\": ", json->len > 1 ? ", " : "", name);
	if (value != NULL)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

static void
append_facts(StringInfo json, const FactSet *facts)
{
	appendStringInfoString(json, ", \"facts\": [");
	for (int i = 0; i < facts->count; i++)
	{
		const Fact *fact = &facts->facts[i];
		const char *fields[4] = {fact->object_type, fact->object,
		fact->property, fact->value};

		appendStringInfoString(json, i > 0 ? ", [" : "[");
		for (int f = 0; f < 4; f++)
		{
			if (f > 0)
				appendStringInfoString(json, ", ");
			escape_json(json, fields[f]);
		}
		appendStringInfoChar(json, ']');
	}
	appendStringInfoChar(json, ']');
}

/* The outcome here, where the migration is known here too. */
static const char *
verdict_here(const char *migration, const char *schema, const char **checksum)
{
	VerificationScope *scope = verification_scope(schema, false);
	Expectation *expectation = expectation_find(scope->expectations, migration);

	*checksum = expectation ? expectation->checksum : NULL;
	return expectation == NULL ? NULL :
		outcome_name(verify_migration(scope, expectation)->outcome);
}

/* What could not be looked at would be taken for absent elsewhere. */
static FactSet *
known_facts(Oid schema, List *roots)
{
	FactReport *report = facts_collect(schema, roots, relation_lock_deadline());
	ListCell   *lc;

	foreach(lc, report->unknown)
	{
		const FactUnknown *unknown = lfirst(lc);

		ereport(ERROR,
				(errcode(unknown->reason == UNKNOWN_LOCKED ?
						 ERRCODE_LOCK_NOT_AVAILABLE :
						 unknown->reason == UNKNOWN_CHANGED ?
						 ERRCODE_T_R_SERIALIZATION_FAILURE :
						 ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s %s could not be looked at",
						unknown->object_type, unknown->object),
				 errdetail("%s", unknown_reason_text(unknown->reason))));
	}
	return report->facts;
}

/* Facts about relations all of which must be there, and about their types. */
static FactSet *
capture_facts(Oid schema, List *names)
{
	List	   *roots = facts_roots_of_relations(schema, names);
	FactSet    *facts = known_facts(schema, roots);
	FactSet    *types;
	ListCell   *lc;

	foreach(lc, roots)
	{
		const FactRoot *root = lfirst(lc);

		if (factset_find_object(facts, root->object_type,
								root->object, NULL) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation %s does not exist in schema \"%s\"",
							root->object,
							OidIsValid(schema) ? get_namespace_name(schema) : "")));
	}

	types = known_facts(schema, facts_roots_of_types(schema, facts));
	for (int i = 0; i < types->count; i++)
		factset_append(facts, &types->facts[i]);
	factset_sort(facts);
	return facts;
}

static List *
relation_names(ArrayType *array)
{
	List	   *names = NIL;
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (!nulls[i])
			names = lappend(names, TextDatumGetCString(elems[i]));
	}
	if (list_length(names) != nelems || names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relations must be named, and at least one")));
	return names;
}

PG_FUNCTION_INFO_V1(deploydb_capture_migration);

Datum
deploydb_capture_migration(PG_FUNCTION_ARGS)
{
	const char *migration;
	const char *schema_name = PG_ARGISNULL(2) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(2));
	const char *verdict;
	const char *checksum;
	List	   *names;
	Oid			schema;
	FactSet    *facts;
	StringInfoData json;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("migration and relations must not be NULL")));
	migration = migration_resolve_if_known(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (migration[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("migration must have a name")));
	names = relation_names(PG_GETARG_ARRAYTYPE_P(1));
	schema = verification_schema(schema_name, NULL,
								 facts_roots_of_relations(InvalidOid, names));
	facts = capture_facts(schema, names);
	verdict = verdict_here(migration, schema_name, &checksum);

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_member(&json, "format", "deploydb capture");
	append_member(&json, "migration", migration);
	append_member(&json, "checksum", checksum);
	append_member(&json, "verdict", verdict);
	append_member(&json, "fingerprint", factset_fingerprint(facts));
	/* A temporary schema's name means another session's elsewhere. */
	append_member(&json, "schema", isAnyTempNamespace(schema) ?
				  NULL : get_namespace_name(schema));
	append_member(&json, "database", get_database_name(MyDatabaseId));
	append_member(&json, "cluster_name", cluster_name);
	append_member(&json, "server_name", cluster_name[0] ?
				  cluster_name : get_database_name(MyDatabaseId));
	append_member(&json, "server_version", PG_VERSION);
	append_member(&json, "captured_at",
				  timestamptz_to_str(GetCurrentTimestamp()));
	append_member(&json, "captured_by",
				  GetUserNameFromId(GetSessionUserId(), false));
	appendStringInfo(&json, ", \"server_version_num\": %d, \"fact_format\": %d",
					 DEPLOYDB_SERVER_VERSION, FACT_FORMAT);
	append_facts(&json, facts);
	appendStringInfoChar(&json, '}');

	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

PG_FUNCTION_INFO_V1(deploydb_fact_format);

Datum
deploydb_fact_format(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(FACT_FORMAT);
}
