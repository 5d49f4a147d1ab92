/*
 * fix_ledger.c
 *		Advice on rows of Prisma's ledger.
 *
 * The ledger is Prisma's: its own command mends it, never a statement.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "verify/fix_context.h"
#include "verify/ledger.h"

static bool
is_state(const char *actual, LedgerState state)
{
	return strcmp(actual, ledger_state_name(state)) == 0;
}

static void
advise_state(FixContext *fix, const char *actual, const char *migration)
{
	if (is_state(actual, LEDGER_ABSENT))
		fix_advise(fix, "npx prisma migrate deploy applies it; where everything of it is there already, npx prisma migrate resolve --applied %s records that.",
				   migration);
	else if (is_state(actual, LEDGER_FAILED))
		fix_advise(fix, "Once everything else is as expected: npx prisma migrate resolve --applied %s. To run it again from nothing: npx prisma migrate resolve --rolled-back %s, then npx prisma migrate deploy.",
				   migration, migration);
	else if (is_state(actual, LEDGER_ROLLED_BACK))
		fix_advise(fix, "npx prisma migrate deploy runs it again; where everything of it is there already, npx prisma migrate resolve --applied %s records that.",
				   migration);
	else if (is_state(actual, LEDGER_CLAIMED))
		fix_advise(fix, "Somebody ran npx prisma migrate resolve --applied %s: Prisma did not run its SQL. Nothing is to be done about the row once everything else is as expected.",
				   migration);
	else if (is_state(actual, LEDGER_RUNNING))
		fix_advise(fix, "Prisma is running it: verify again when it has ended.");
	else if (is_state(actual, LEDGER_LOCK_LEFT_BEHIND))
		fix_advise(fix, "A session holds Prisma's lock though nothing runs, so npx prisma migrate deploy waits for it in vain. Find it and end it: SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objid = 72707369");
}

void
fix_of_ledger(FixContext *fix)
{
	const Deviation *d = fix->d;
	const char *migration = d->migration ? d->migration : d->object;

	if (strcmp(d->property, "checksum") == 0)
		fix_advise(fix, "The migration.sql that Prisma recorded is not the registered one: compare the two. Prisma never runs an edited file again.");
	else if (strcmp(d->property, PROPERTY_EXISTS) == 0)
		advise_state(fix, ledger_state_name(LEDGER_ABSENT), migration);
	else if (d->actual)
		advise_state(fix, d->actual, migration);
}
