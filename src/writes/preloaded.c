/*
 * preloaded.c
 *		What needs the hooks says so where they are not.
 *
 * Locking: none.  Errors: see preloaded.h.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "verify/owner.h"
#include "writes/counters.h"
#include "writes/preloaded.h"

PG_FUNCTION_INFO_V1(deploydb_is_preloaded);

char *
preload_statement(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	MemoryContext caller = CurrentMemoryContext;
	OwnerScope	scope;
	char	   *statement;

	values[0] = CStringGetTextDatum(GetConfigOption("shared_preload_libraries",
													false, false));
	owner_begin(&scope);
	owner_execute(&plan, "SELECT deploydb.preload_statement($1)",
				  SPI_OK_SELECT, 1, types, values, NULL);
	statement = MemoryContextStrdup(caller, owner_text(0, 1));
	owner_end(&scope);
	return statement;
}

void
preloaded_or_error(void)
{
	if (!counters_there())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("writes are not counted: deploydb is not in shared_preload_libraries"),
				 errhint("Run: %s -- then restart the server.",
						 preload_statement())));
}

Datum
deploydb_is_preloaded(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(counters_there());
}
