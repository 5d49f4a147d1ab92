/*
 * ledger_sql.c
 *		deploydb.ledger(): the ledger's migrations beside the known ones.
 *
 * Locking: see ledger.h.
 * Errors: a schema that does not exist, a migration that neither the ledger
 * nor deploydb knows.  A ledger that cannot be read is not an error: the known
 * migrations come with a state of NULL, and the reason as their note.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "facts/escape.h"
#include "verify/expectation.h"
#include "verify/ledger.h"
#include "verify/owner.h"

#define LEDGER_COLUMNS 8

/* One migration: what is known of it, and its row in the ledger, if any. */
typedef struct Entry
{
	const char *migration;
	const char *known_checksum;
	const char *known_ddl;
	const LedgerRow *row;
} Entry;

PG_FUNCTION_INFO_V1(deploydb_ledger);

static int
compare_entries(const ListCell *a, const ListCell *b)
{
	return strcmp(((Entry *) lfirst(a))->migration,
				  ((Entry *) lfirst(b))->migration);
}

/* The known migrations, each with its row of the ledger where it has one. */
static List *
known_entries(const Ledger *ledger)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	List	   *entries = NIL;

	owner_begin(&scope);
	owner_execute(&plan,
				  "SELECT migration, checksum, ddl FROM deploydb.known_migration",
				  SPI_OK_SELECT, 0, NULL, NULL, NULL);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Entry	   *entry = palloc0(sizeof(Entry));

		entry->migration = owner_text((int) i, 1);
		entry->known_checksum = owner_text((int) i, 2);
		entry->known_ddl = owner_text((int) i, 3);
		entry->row = ledger_row(ledger, entry->migration);
		entries = lappend(entries, entry);
	}
	owner_end(&scope);
	MemoryContextSwitchTo(context);
	return entries;
}

static Entry *
find_entry(List *entries, const char *migration)
{
	ListCell   *lc;

	foreach(lc, entries)
	{
		Entry	   *entry = lfirst(lc);

		if (strcmp(entry->migration, migration) == 0)
			return entry;
	}
	return NULL;
}

/* Known migrations and those that only the ledger has, by name. */
static List *
all_entries(const Ledger *ledger)
{
	List	   *known = known_entries(ledger);
	List	   *entries = list_copy(known);
	ListCell   *lc;

	foreach(lc, ledger->rows)
	{
		LedgerRow  *row = lfirst(lc);
		Entry	   *entry;

		if (find_entry(known, row->migration) != NULL)
			continue;
		entry = palloc0(sizeof(Entry));
		entry->migration = row->migration;
		entry->row = row;
		entries = lappend(entries, entry);
	}
	list_sort(entries, compare_entries);
	return entries;
}

/* The one entry that a name or a suffix means, here or among the known ones. */
static Entry *
resolve_entry(List *entries, const char *name)
{
	Entry	   *match = find_entry(entries, name);
	size_t		length = strlen(name);
	int			matches = 0;
	ListCell   *lc;

	if (match != NULL)
		return match;
	foreach(lc, entries)
	{
		Entry	   *entry = lfirst(lc);
		size_t		entry_length = strlen(entry->migration);

		if (length > 0 && entry_length > length &&
			strcmp(entry->migration + entry_length - length, name) == 0)
		{
			match = entry;
			matches++;
		}
	}
	if (matches == 1)
		return match;
	return find_entry(entries, migration_resolve(name));
}

/*
 * Appends who holds Prisma's lock.  What it does at the moment is left out
 * where the server does not show it to the caller.
 */
static void
append_holder(StringInfo note, int pid, bool with_activity)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1];
	MemoryContext context = CurrentMemoryContext;

	if (pid == 0)
	{
		appendStringInfoString(note, "held by a prepared transaction");
		return;
	}
	appendStringInfo(note, "held by process %d", pid);

	values[0] = Int32GetDatum(pid);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("SELECT usename, application_name, state, state_change"
							  " FROM pg_catalog.pg_stat_activity"
							  " WHERE pid OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_stat_activity");
	MemoryContextSwitchTo(context);
	if (SPI_processed == 1)
	{
		char	   *user = owner_text(0, 1);
		char	   *application = owner_text(0, 2);
		char	   *state = owner_text(0, 3);
		char	   *since = owner_text(0, 4);

		if (user != NULL)
			appendStringInfo(note, ", user %s", user);
		if (with_activity && application != NULL && application[0] != '\0')
			appendStringInfo(note, ", application %s", application);
		if (with_activity && state != NULL && since != NULL)
			appendStringInfo(note, ", %s since %s", state, since);
	}
	SPI_finish();
	MemoryContextSwitchTo(context);
}

static void
append_clause(StringInfo note, const char *text)
{
	if (note->len > 0)
		appendStringInfoString(note, "; ");
	appendStringInfoString(note, text);
}

/* What there is to say about a row besides its columns, or NULL. */
static const char *
row_note(const Ledger *ledger, const LedgerRow *row)
{
	StringInfoData note;

	initStringInfo(&note);
	switch (row->state)
	{
		case LEDGER_RUNNING:
			appendStringInfoString(&note, "lock ");
			append_holder(&note, ledger->lock_pid, false);
			append_clause(&note, psprintf("unfinished for " INT64_FORMAT " s",
										  Max(0, (GetCurrentTimestamp() - row->started_at) / USECS_PER_SEC)));
			break;
		case LEDGER_CLAIMED:
			append_clause(&note, "marked as applied by hand, Prisma ran nothing of it");
			break;
		case LEDGER_FAILED:
			if (row->error != NULL)
				append_clause(&note, row->error);
			break;
		default:
			break;
	}
	if (row->tries > 1)
		append_clause(&note, psprintf("%d tries", row->tries));
	return note.len > 0 ? note.data : NULL;
}

/* Why nothing can be said about a known migration that has no row here. */
static const char *
access_note(const Ledger *ledger)
{
	const char *name = OidIsValid(ledger->schema) ?
		quote_qualified_identifier(get_namespace_name(ledger->schema),
								   "_prisma_migrations") : "_prisma_migrations";

	switch (ledger->access)
	{
		case LEDGER_NONE:
			return "no _prisma_migrations here";
		case LEDGER_NO_RIGHTS:
			return psprintf("no right to read all of %s", name);
		case LEDGER_LOCKED:
			return psprintf("%s is locked by another session", name);
		case LEDGER_NOT_PRISMA:
			return psprintf("%s is not a table as Prisma makes it", name);
		case LEDGER_READ:
			break;
	}
	return NULL;
}

static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = (text == NULL);
	if (text != NULL)
		values[column] = CStringGetTextDatum(text_for_client(text));
}

static void
set_timestamp(Datum *values, bool *nulls, int column, TimestampTz value)
{
	nulls[column] = (value == 0);
	values[column] = TimestampTzGetDatum(value);
}

static void
put_row(ReturnSetInfo *rsinfo, const char *migration, const char *state,
		const char *checksum, const LedgerRow *row, const char *note)
{
	Datum		values[LEDGER_COLUMNS] = {0};
	bool		nulls[LEDGER_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	set_text(values, nulls, 0, migration);
	set_text(values, nulls, 1, state);
	set_text(values, nulls, 2, checksum);
	if (row != NULL)
	{
		set_timestamp(values, nulls, 3, row->started_at);
		set_timestamp(values, nulls, 4, row->finished_at);
		set_timestamp(values, nulls, 5, row->rolled_back_at);
		nulls[6] = false;
		values[6] = Int32GetDatum(row->steps);
	}
	set_text(values, nulls, 7, note);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_entry(ReturnSetInfo *rsinfo, const Ledger *ledger, const Entry *entry)
{
	const LedgerRow *row = entry->row;
	bool		readable = ledger->access == LEDGER_READ ||
		ledger->access == LEDGER_NONE;

	if (row == NULL)
		put_row(rsinfo, entry->migration,
				readable ? ledger_state_name(LEDGER_ABSENT) : NULL,
				NULL, NULL, access_note(ledger));
	else
		put_row(rsinfo, entry->migration, ledger_state_name(row->state),
				ledger_checksum_verdict(row->checksum, entry->known_checksum,
										entry->known_ddl),
				row, row_note(ledger, row));
}

/* A lock that nobody who migrates holds makes every later deploy wait in vain. */
static void
put_lock_left_behind(ReturnSetInfo *rsinfo, const Ledger *ledger)
{
	StringInfoData note;
	ListCell   *lc;
	int			pid;

	if (ledger->access != LEDGER_READ && ledger->access != LEDGER_NONE)
		return;
	foreach(lc, ledger->rows)
	{
		if (((LedgerRow *) lfirst(lc))->state == LEDGER_RUNNING)
			return;
	}
	if (!ledger_lock_held(&pid))
		return;
	initStringInfo(&note);
	appendStringInfoString(&note, "Prisma's lock is ");
	append_holder(&note, pid, true);
	put_row(rsinfo, NULL, ledger_state_name(LEDGER_LOCK_LEFT_BEHIND),
			NULL, NULL, note.data);
}

/* Prisma 8 keeps a contract marker and no migrations. */
static void
put_contract_marker(ReturnSetInfo *rsinfo)
{
	Oid			schema = get_namespace_oid("prisma_contract", true);

	if (OidIsValid(schema) && OidIsValid(get_relname_relid("marker", schema)))
		put_row(rsinfo, NULL, ledger_state_name(LEDGER_ABSENT), NULL, NULL,
				"a contract marker of Prisma 8 is here, prisma_contract.marker, which names no migrations");
}

Datum
deploydb_ledger(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			schema;
	Ledger	   *ledger;
	List	   *entries;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	schema = PG_ARGISNULL(1) ? ledger_find(InvalidOid) :
		get_namespace_oid(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	ledger = ledger_read(schema);
	entries = all_entries(ledger);

	if (!PG_ARGISNULL(0))
	{
		Entry	   *entry = resolve_entry(entries,
										  text_to_cstring(PG_GETARG_TEXT_PP(0)));

		if (entry != NULL)
			put_entry(rsinfo, ledger, entry);
		return (Datum) 0;
	}

	foreach(lc, entries)
		put_entry(rsinfo, ledger, lfirst(lc));
	put_lock_left_behind(rsinfo, ledger);
	put_contract_marker(rsinfo);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(deploydb_ledger_schema);

/* Where the ledger of a schema's migrations is, or NULL. */
Datum
deploydb_ledger_schema(PG_FUNCTION_ARGS)
{
	Oid			schema = ledger_find(get_namespace_oid(text_to_cstring(PG_GETARG_TEXT_PP(0)), true));

	if (!OidIsValid(schema))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(get_namespace_name(schema)));
}
