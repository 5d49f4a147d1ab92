/*
 * history.c
 *		Verifications, kept whenever their outcome changes.
 *
 * Locking: RowExclusive on deploydb.verification where a row is added.
 * Errors: none of its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "verify/history.h"
#include "verify/owner.h"

/*
 * What a caller could not see, for want of a right or a lock, may deviate and
 * may have changed, so it is no news: then only an error that he saw against
 * "verified", and facts against others, are.  Otherwise the history would go
 * to and fro as people of different rights look.  What was before a rollback is
 * not compared with.
 */
static bool
is_new(const Verification *v, const Datum *row, const char *row_nulls)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[5] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID};
	Datum		values[5];
	char		nulls[5];
	bool		isnull;
	Datum		same;

	memcpy(values, row, 4 * sizeof(Datum));
	memcpy(nulls, row_nulls, 4);
	values[4] = BoolGetDatum(v->unknown > 0);
	nulls[4] = ' ';

	owner_execute(&plan,
				  "SELECT (v.outcome OPERATOR(pg_catalog.=) $3"
				  " OR ($5 AND $3 OPERATOR(pg_catalog.=) 'verified'))"
				  " AND COALESCE(v.fingerprint OPERATOR(pg_catalog.=) $4, $4 IS NULL)"
				  " FROM deploydb.verification v"
				  " WHERE v.migration OPERATOR(pg_catalog.=) $1"
				  " AND v.schema OPERATOR(pg_catalog.=) $2"
				  " AND NOT EXISTS (SELECT FROM deploydb.rollback r"
				  "  WHERE r.migration OPERATOR(pg_catalog.=) $1"
				  "  AND r.at OPERATOR(pg_catalog.>=) v.verified_at)"
				  " ORDER BY v.id DESC LIMIT 1",
				  SPI_OK_SELECT, 5, types, values, nulls);
	if (SPI_processed == 0)
		return true;
	same = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull || !DatumGetBool(same);
}

void
history_record(const Verification *v)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[7] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	INT4OID, INT4OID, TEXTOID};
	Datum		values[7];
	char		nulls[7] = {' ', ' ', ' ', ' ', ' ', ' ', ' '};
	OwnerScope	scope;

	/*
	 * A lock, a right that is missing, or an expectation that is stale says
	 * nothing about the migration: it is as it was found last.
	 */
	if (v->outcome == OUTCOME_UNKNOWN ||
		!owner_can_write() || IsolationIsSerializable())
		return;

	values[0] = CStringGetTextDatum(v->expectation->migration);
	values[1] = CStringGetTextDatum(v->schema ? v->schema : "");
	values[2] = CStringGetTextDatum(outcome_name(v->outcome));
	if (v->fingerprint != NULL)
		values[3] = CStringGetTextDatum(v->fingerprint);
	else
	{
		values[3] = (Datum) 0;
		nulls[3] = 'n';
	}
	values[4] = Int32GetDatum(v->errors);
	values[5] = Int32GetDatum(v->warnings);
	values[6] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));

	owner_begin(&scope);
	if (is_new(v, values, nulls))
		owner_execute(&plan,
					  "INSERT INTO deploydb.verification"
					  " (migration, schema, outcome, fingerprint,"
					  " errors, warnings, verified_by)"
					  " VALUES ($1, $2, $3, $4, $5, $6, $7)",
					  SPI_OK_INSERT, 7, types, values, nulls);
	owner_end(&scope);
	MemoryContextSwitchTo(context);
}
