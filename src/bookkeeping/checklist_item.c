/*
 * checklist_item.c
 *		Checklist items of a team's own, with a predicate in SQL.
 *
 * A predicate is run as the role that added the item, as the query of a
 * metric is: read-only, security-restricted, under deploydb.metric_timeout.
 * Whoever may read the checklist has it run, and cannot change what is run.
 *
 * Locking: what the predicate takes, given back with its subtransaction.
 * Errors: those of the predicate; a role that is no more.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "alerts/user_metric.h"
#include "compat.h"
#include "facts/escape.h"
#include "verify/owner.h"

PG_FUNCTION_INFO_V1(deploydb_add_checklist_item);
PG_FUNCTION_INFO_V1(deploydb_run_predicate);

#define PREDICATE "the predicate of a checklist item"

enum AddArg
{
	ARG_KEY, ARG_SECTION, ARG_TITLE_EN, ARG_TITLE_ZH, ARG_KIND, ARG_PREDICATE,
	ARG_COMMAND, ARG_EXPECTED, ARG_PHASE
};

#define ADD_ARGS 9

Datum
deploydb_add_checklist_item(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[ADD_ARGS + 2];
	Datum		values[ADD_ARGS + 2];
	char		nulls[ADD_ARGS + 2];
	OwnerScope	scope;

	for (int i = 0; i < ADD_ARGS + 2; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = ' ';
		if (i < ADD_ARGS && PG_ARGISNULL(i))
			nulls[i] = 'n';
		else if (i < ADD_ARGS)
			values[i] = PG_GETARG_DATUM(i);
	}
	values[ADD_ARGS] = CStringGetTextDatum(namespace_search_path);
	values[ADD_ARGS + 1] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	if (!PG_ARGISNULL(ARG_PREDICATE))
	{
		UserQuery	query = {GetUserId(), TextDatumGetCString(values[ARG_PREDICATE]),
		NULL, USER_QUERY_BOOLEAN, PREDICATE, NULL};

		(void) user_query(&query);
	}

	owner_begin(&scope);
	owner_execute(&plan,
				  "SELECT deploydb.keep_checklist_item($1, $2, $3, $4, $5, $6,"
				  " $7, $8, $9, $10, $11)",
				  SPI_OK_SELECT, ADD_ARGS + 2, types, values, nulls);
	owner_end(&scope);
	PG_RETURN_BOOL(true);
}

/* An item's predicate, and whose it is; false where there is none. */
static bool
load_predicate(Datum key, UserQuery *query)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	char	   *role;
	OwnerScope	scope;
	bool		found;

	values[0] = key;
	owner_begin(&scope);
	owner_execute(&plan,
				  "SELECT p.predicate, p.search_path, p.owner_oid::pg_catalog.text"
				  " FROM deploydb.checklist_predicate AS p"
				  " WHERE p.key OPERATOR(pg_catalog.=) $1",
				  SPI_OK_SELECT, 1, types, values, NULL);
	found = SPI_processed == 1;
	if (found)
	{
		MemoryContextSwitchTo(context);
		query->query = owner_text(0, 1);
		query->search_path = owner_text(0, 2);
		role = owner_text(0, 3);
		query->role = role ? (Oid) strtoul(role, NULL, 10) : InvalidOid;
	}
	owner_end(&scope);
	MemoryContextSwitchTo(context);
	return found;
}

Datum
deploydb_run_predicate(PG_FUNCTION_ARGS)
{
	UserQuery	query = {InvalidOid, NULL, NULL, USER_QUERY_BOOLEAN, PREDICATE, NULL};
	char	   *value;

	if (PG_ARGISNULL(0) || !load_predicate(PG_GETARG_DATUM(0), &query))
		PG_RETURN_NULL();
	if (!OidIsValid(query.role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that owns checklist item \"%s\" was dropped",
						text_for_client(TextDatumGetCString(PG_GETARG_DATUM(0))))));
	value = user_query(&query);
	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(value[0] == 't');
}
