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

static bool
is_new(Datum *values, const char *nulls)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	bool		isnull;
	Datum		same;

	owner_execute(&plan,
				  "SELECT v.outcome OPERATOR(pg_catalog.=) $3 AND"
				  " COALESCE(v.fingerprint, '') OPERATOR(pg_catalog.=) COALESCE($4, '')"
				  " FROM deploydb.verification v"
				  " WHERE v.migration OPERATOR(pg_catalog.=) $1"
				  " AND v.schema OPERATOR(pg_catalog.=) $2"
				  " ORDER BY v.id DESC LIMIT 1",
				  SPI_OK_SELECT, 4, types, values, nulls);
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

	/* What could not be found out says nothing about the migration. */
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
	if (is_new(values, nulls))
		owner_execute(&plan,
					  "INSERT INTO deploydb.verification"
					  " (migration, schema, outcome, fingerprint,"
					  " errors, warnings, verified_by)"
					  " VALUES ($1, $2, $3, $4, $5, $6, $7)",
					  SPI_OK_INSERT, 7, types, values, nulls);
	owner_end(&scope);
	MemoryContextSwitchTo(context);
}
