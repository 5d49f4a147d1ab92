/*
 * owner.c
 *		Reading and writing the tables of schema deploydb.
 *
 * Locking: what the statements take.  Errors and security: see owner.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/syscache.h"

#include "verify/owner.h"

Oid
owner_role(void)
{
	Oid			schema = get_namespace_oid("deploydb", false);
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
owner_begin(OwnerScope *scope)
{
	Oid			owner = owner_role();

	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(owner,
						   scope->security_context |
						   SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

void
owner_end(OwnerScope *scope)
{
	SPI_finish();
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

bool
owner_can_write(void)
{
	return !XactReadOnly && !RecoveryInProgress();
}

void
owner_execute(SPIPlanPtr *plan, const char *sql, int expected,
			  int nargs, Oid *types, Datum *values, const char *nulls)
{
	bool		read_only = (expected == SPI_OK_SELECT);
	int			code;

	if (*plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare(sql, nargs, types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", sql,
				 SPI_result_code_string(SPI_result));
		*plan = prepared;
	}

	/*
	 * Reads see this transaction's own snapshot; a migration registered
	 * earlier in the same statement must be seen as well, so that only
	 * writing transactions take a new one.
	 */
	code = SPI_execute_plan(*plan, values, nulls,
							read_only && !owner_can_write(), 0);
	if (code != expected)
		elog(ERROR, "\"%s\" gave %s", sql, SPI_result_code_string(code));
}

char *
owner_text(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}
