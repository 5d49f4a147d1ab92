/*
 * truncation.c
 *		Notes who truncates a watched table.
 *
 * The list is a stack, as a trigger may truncate while a table is.
 *
 * Locking and errors: see truncation.h.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/lsyscache.h"

#include "bookkeeping/truncation.h"
#include "compat.h"
#include "own_work.h"
#include "verify/owner.h"

/* More at once than that are not noted. */
#define MAX_TRUNCATED 64

static Oid	truncated[MAX_TRUNCATED];
static int	truncated_count = 0;

int
truncation_begin(void)
{
	return truncated_count;
}

/* Sessions truncate tables of their own often. */
void
truncation_add(Oid relation)
{
	if (truncated_count < MAX_TRUNCATED &&
		get_rel_persistence(relation) != RELPERSISTENCE_TEMP)
		truncated[truncated_count++] = relation;
}

static bool
can_be_noted(void)
{
	return own_work_level == 0 &&
		OidIsValid(get_extension_oid("deploydb", true));
}

/*
 * As the owner, as whoever truncates may have no right on the schema.  The
 * function is missing where the extension is of an older version.
 */
static void
note_truncated(Oid relation)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {INT8OID};
	Datum		values[1];
	List	   *name = lappend(list_make1(makeString("deploydb")), makeString("note_truncation"));
	OwnerScope	scope;

	values[0] = Int64GetDatum((int64) relation);
	owner_begin(&scope);
	if (OidIsValid(LookupFuncName(name, 1, types, true)))
		owner_execute(&plan, "SELECT deploydb.note_truncation($1)",
					  SPI_OK_SELECT, 1, types, values, NULL);
	owner_end(&scope);
}

void
truncation_forget(int first)
{
	truncated_count = first;
}

void
truncation_end(int first)
{
	Oid			done[MAX_TRUNCATED];
	int			count = truncated_count - first;

	memcpy(done, truncated + first, count * sizeof(Oid));
	truncation_forget(first);
	if (count == 0 || !can_be_noted())
		return;
	for (int i = 0; i < count; i++)
	{
		bool		again = false;

		for (int j = 0; j < i; j++)
			again |= done[j] == done[i];
		if (!again)
			note_truncated(done[i]);
	}
}
