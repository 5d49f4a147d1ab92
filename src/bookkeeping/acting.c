/*
 * acting.c
 *		Functions that keep books as the owner and act as their caller.
 *
 * Locking: what the statements take.
 * Errors: those of the statements.  Who acts for whom is put back on an error,
 * too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "bookkeeping/acting.h"
#include "compat.h"
#include "own_work.h"
#include "verify/owner.h"
#include "verify/verification.h"

PG_FUNCTION_INFO_V1(deploydb_as_owner);
PG_FUNCTION_INFO_V1(deploydb_as_caller);
PG_FUNCTION_INFO_V1(deploydb_migration_schema);

/* Whom is acted for, or NULL. */
typedef struct Acting
{
	Oid			user;
	int			security_context;
	const char *search_path;
} Acting;

static const Acting *acting = NULL;

Oid
acting_user(void)
{
	return acting != NULL ? acting->user : GetUserId();
}

/* "SELECT a.* FROM deploydb.NAME_definer($1, $2) AS a" */
static char *
call_as_owner(Oid function, int nargs)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT a.* FROM deploydb.%s(",
					 quote_identifier(psprintf("%s_definer", get_func_name(function))));
	for (int i = 1; i <= nargs; i++)
		appendStringInfo(&sql, "%s$%d", i > 1 ? ", " : "", i);
	appendStringInfoString(&sql, ") AS a");
	return sql.data;
}

/* Rows of the result to the caller's tuplestore. */
static void
put_rows(ReturnSetInfo *rsinfo)
{
	int			natts = rsinfo->setDesc->natts;
	Datum	   *values = palloc(sizeof(Datum) * (Size) natts);
	bool	   *nulls = palloc(sizeof(bool) * (Size) natts);

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						  values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* Runs the twin of the called function; one value, or rows. */
static Datum
run_as_owner(FunctionCallInfo fcinfo, MemoryContext context)
{
	Oid			function = fcinfo->flinfo->fn_oid;
	int			nargs;
	Oid		   *types;
	Datum		values[FUNC_MAX_ARGS];
	char		nulls[FUNC_MAX_ARGS];
	OwnerScope	scope;
	Datum		result = (Datum) 0;

	(void) get_func_signature(function, &types, &nargs);
	for (int i = 0; i < nargs; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}

	owner_begin(&scope);
	if (SPI_execute_with_args(call_as_owner(function, nargs), nargs, types,
							  values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" did not give a result", get_func_name(function));
	if (fcinfo->flinfo->fn_retset)
		put_rows((ReturnSetInfo *) fcinfo->resultinfo);
	else if (SPI_processed > 0)
	{
		int16		length;
		bool		by_value;
		MemoryContext oldcontext;

		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
							   &fcinfo->isnull);
		get_typlenbyval(SPI_gettypeid(SPI_tuptable->tupdesc, 1), &length, &by_value);
		oldcontext = MemoryContextSwitchTo(context);
		if (!fcinfo->isnull)
			result = datumCopy(result, by_value, length);
		MemoryContextSwitchTo(oldcontext);
	}
	else
		fcinfo->isnull = true;
	owner_end(&scope);
	return result;
}

Datum
deploydb_as_owner(PG_FUNCTION_ARGS)
{
	const Acting *outer = acting;
	Acting		mine;
	Datum		result = (Datum) 0;

	if (fcinfo->flinfo->fn_retset)
		InitMaterializedSRF(fcinfo, 0);
	GetUserIdAndSecContext(&mine.user, &mine.security_context);
	mine.search_path = pstrdup(namespace_search_path);

	PG_TRY();
	{
		acting = &mine;
		result = run_as_owner(fcinfo, CurrentMemoryContext);
	}
	PG_FINALLY();
	{
		acting = outer;
	}
	PG_END_TRY();
	return result;
}

/*
 * The statement's first value as text, or where it gives no rows their number.
 * While another user's rights are borrowed, no SET ROLE leads out of them.
 */
static text *
run_as_caller(const char *statement, MemoryContext context)
{
	char	   *value;
	text	   *result = NULL;
	MemoryContext oldcontext;
	int			code;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	code = SPI_execute(statement, false, 0);
	if (code < 0)
		elog(ERROR, "\"%s\" gave %s", statement, SPI_result_code_string(code));
	if (SPI_tuptable == NULL)
		value = psprintf(UINT64_FORMAT, SPI_processed);
	else
		value = SPI_processed > 0 ?
			SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
	oldcontext = MemoryContextSwitchTo(context);
	if (value != NULL)
		result = cstring_to_text(value);
	MemoryContextSwitchTo(oldcontext);
	SPI_finish();
	return result;
}

/*
 * A table's owner, where the caller has his rights anyway: what he put on the
 * table runs with no more than them.  Otherwise the caller.
 */
static Oid
owner_or_caller(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return has_privs_of_role(acting->user, owner) ? owner : acting->user;
}

Datum
deploydb_as_caller(PG_FUNCTION_ARGS)
{
	char	   *statement;
	Oid			role;
	Oid			user;
	int			security_context;
	int			level;
	text	   *result = NULL;

	if (acting == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nobody is acted for"),
				 errdetail("This function is a part of others, such as deploydb.rollback_migration().")));
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("statement must not be NULL")));
	statement = text_to_cstring(PG_GETARG_TEXT_PP(0));

	/*
	 * An error that is caught sets user and settings back by itself.  A
	 * trigger's SET search_path must not outlive the statement: operators of
	 * the owner's functions would be looked up there.
	 */
	level = NewGUCNestLevel();
	GetUserIdAndSecContext(&user, &security_context);
	role = PG_ARGISNULL(1) ? acting->user : owner_or_caller(PG_GETARG_OID(1));
	SetUserIdAndSecContext(role,
						   acting->security_context | SECURITY_LOCAL_USERID_CHANGE |
						   (role != acting->user ? SECURITY_RESTRICTED_OPERATION : 0));
	own_work_level++;
	PG_TRY();
	{
		result = run_as_caller(statement, CurrentMemoryContext);
	}
	PG_FINALLY();
	{
		own_work_level--;
	}
	PG_END_TRY();
	SetUserIdAndSecContext(user, security_context);
	AtEOXact_GUC(false, level);

	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/*
 * Where verification looks for a migration, by the search_path of whom is
 * acted for.
 */
Datum
deploydb_migration_schema(PG_FUNCTION_ARGS)
{
	const char *migration = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			level = NewGUCNestLevel();
	VerificationScope *scope;
	Expectation *expectation;
	Oid			schema = InvalidOid;
	char	   *name;

	if (acting != NULL)
		(void) set_config_option("search_path", acting->search_path, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	scope = verification_scope(NULL, false);
	expectation = linitial(verification_targets(scope, migration));
	if (expectation->facts != NULL)
		(void) verification_actual(scope, expectation, &schema);
	AtEOXact_GUC(true, level);

	name = OidIsValid(schema) ? get_namespace_name(schema) : NULL;
	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}
