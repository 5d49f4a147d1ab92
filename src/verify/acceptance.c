/*
 * acceptance.c
 *		Deviations that somebody has accepted.
 *
 * Locking: AccessShare on deploydb.acceptance.  Errors: none of its own.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "verify/acceptance.h"
#include "verify/owner.h"

bool
acceptance_fits(const Deviation *d, const char *object_type,
				const char *object, const char *property)
{
	return d->status != DEVIATION_OK && d->status != DEVIATION_UNKNOWN &&
		d->status != DEVIATION_STALE &&
		strcmp(d->object_type, object_type) == 0 &&
		strcmp(d->object, object) == 0 &&
		strcmp(d->property, property) == 0;
}

static void
accept_row(List *deviations, int row, MemoryContext context)
{
	const char *object_type = owner_text(row, 1);
	const char *object = owner_text(row, 2);
	const char *property = owner_text(row, 3);
	const char *note = owner_text(row, 4);
	ListCell   *lc;

	foreach(lc, deviations)
	{
		Deviation  *d = lfirst(lc);

		if (!acceptance_fits(d, object_type, object, property))
			continue;
		d->status = DEVIATION_ACCEPTED;
		d->advice = note ? MemoryContextStrdup(context, note) : NULL;
	}
}

void
acceptances_apply(List *deviations, const char *migration)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	OwnerScope	scope;

	if (deviations == NIL)
		return;
	values[0] = CStringGetTextDatum(migration);
	owner_begin(&scope);
	owner_execute(&plan,
				  "SELECT object_type, object, property, note"
				  " FROM deploydb.acceptance_in_force"
				  " WHERE migration OPERATOR(pg_catalog.=) $1",
				  SPI_OK_SELECT, 1, types, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		accept_row(deviations, (int) row, context);
	owner_end(&scope);
	MemoryContextSwitchTo(context);
}
