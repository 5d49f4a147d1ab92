/*
 * environment.c
 *		What deploydb.check_environment() cannot learn from SQL.
 *
 * Locking: none.  Errors: none.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(deploydb_library_version);

Datum
deploydb_library_version(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(DEPLOYDB_VERSION));
}
