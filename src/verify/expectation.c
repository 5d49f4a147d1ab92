/*
 * expectation.c
 *		What the known migrations expect.
 *
 * Locking: RowExclusive on deploydb.expectation while deriving; two sessions
 * that derive at the same time write the same rows, the second waits.
 * Errors: loading raises only on damaged rows; where deriving fails, the
 * expectation is stale and says why.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "compat.h"
#include "facts/replay.h"
#include "verify/expectation.h"
#include "verify/owner.h"

static int
column_int(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static bool
registrant_is_gone(const Expectation *expectation)
{
	return expectation->registered_by != NULL &&
		!OidIsValid(get_role_oid(expectation->registered_by, true));
}

/* One row of the query in read_rows(), copied to the caller's context. */
static Expectation *
read_row(int row)
{
	Expectation *expectation = palloc0(sizeof(Expectation));
	int			server_major = column_int(row, 7);
	int			fact_format = column_int(row, 8);
	bool		isnull;
	Datum		facts;

	expectation->migration = owner_text(row, 1);
	expectation->ddl = owner_text(row, 2);
	expectation->checksum = owner_text(row, 3);
	expectation->registered_by = owner_text(row, 4);
	expectation->capture_note = owner_text(row, 5);
	expectation->capture_schema = owner_text(row, 6);
	expectation->captured = (expectation->ddl == NULL);
	facts = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						  9, &isnull);
	expectation->derivable = (isnull || !expectation->captured) &&
		(expectation->captured || !registrant_is_gone(expectation));
	if (isnull && !expectation->derivable)
		expectation->stale = psprintf("role \"%s\", which registered it, does not exist any more; register it again",
									  expectation->registered_by);
	else if (isnull)
		expectation->stale = "it has not been derived in this database yet";
	else if (server_major != DEPLOYDB_SERVER_MAJOR)
		expectation->stale = psprintf("it was made on PostgreSQL %d, and this is %d",
									  server_major, DEPLOYDB_SERVER_MAJOR);
	else if (fact_format != FACT_FORMAT)
		expectation->stale = psprintf("its facts have format %d, and this version reads %d",
									  fact_format, FACT_FORMAT);
	else
		expectation->facts = factset_from_array(DatumGetArrayTypeP(facts));
	return expectation;
}

static List *
read_rows(void)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	List	   *expectations = NIL;

	owner_begin(&scope);
	owner_execute(&plan,
				  "SELECT k.migration, k.ddl, k.checksum, k.registered_by,"
				  " k.capture_note, k.capture_schema,"
				  " e.server_major, e.fact_format, e.facts"
				  " FROM deploydb.known_migration k"
				  " LEFT JOIN deploydb.expectation e"
				  " ON e.migration OPERATOR(pg_catalog.=) k.migration"
				  " ORDER BY k.migration COLLATE \"C\"",
				  SPI_OK_SELECT, 0, NULL, NULL, NULL);
	MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
		expectations = lappend(expectations, read_row((int) row));
	SPI_freetuptable(SPI_tuptable);
	owner_end(&scope);
	MemoryContextSwitchTo(context);
	return expectations;
}

/* Objects by (object type, object); the key is a pointer to any of its facts. */
static uint32
object_hash(const void *key, Size keysize)
{
	const Fact *fact = *(const Fact *const *) key;

	(void) keysize;
	return hash_combine(string_hash(fact->object_type, SIZE_MAX),
						string_hash(fact->object, SIZE_MAX));
}

static int
object_match(const void *key1, const void *key2, Size keysize)
{
	(void) keysize;
	return fact_compare_object(*(const Fact *const *) key1,
							   *(const Fact *const *) key2);
}

/* Facts of one migration about objects that no later one has touched. */
static FactSet *
facts_not_touched(FactSet *facts, HTAB *touched)
{
	FactSet    *in_force = factset_create();
	bool		superseded = false;

	for (int i = 0; i < facts->count; i++)
	{
		Fact	   *fact = &facts->facts[i];

		if (i == 0 || fact_compare_object(fact, fact - 1) != 0)
			(void) hash_search(touched, &fact, HASH_ENTER, &superseded);
		if (!superseded)
			factset_append(in_force, fact);
	}
	return in_force;
}

/* From the last migration to the first: the last one to touch an object wins. */
static void
set_in_force(List *expectations)
{
	HASHCTL		control = {
		.keysize = sizeof(Fact *),
		.entrysize = sizeof(Fact *),
		.hash = object_hash,
		.match = object_match,
		.hcxt = CurrentMemoryContext,
	};
	HTAB	   *touched;

	if (list_length(expectations) == 1)
	{
		Expectation *only = linitial(expectations);

		only->in_force = only->facts;
		return;
	}
	touched = hash_create("deploydb touched objects", 1024, &control,
						  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	for (int i = list_length(expectations) - 1; i >= 0; i--)
	{
		Expectation *expectation = list_nth(expectations, i);

		if (expectation->facts != NULL)
			expectation->in_force = facts_not_touched(expectation->facts, touched);
	}
	hash_destroy(touched);
}

static bool
needs_deriving(List *expectations)
{
	ListCell   *lc;

	foreach(lc, expectations)
	{
		Expectation *expectation = lfirst(lc);

		if (expectation->stale != NULL && expectation->derivable)
			return true;
	}
	return false;
}

/* Derives in a subtransaction; the reason where it failed, else NULL. */
static char *
try_to_derive(void)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile reason = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		expectations_derive();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		/* why a replay was refused says more than that it was */
		reason = error->sqlerrcode == ERRCODE_DEPLOYDB_REPLAY_REFUSED && error->detail != NULL ?
			psprintf("%s (%s)", error->message, error->detail) :
			pstrdup(error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return reason;
}

List *
expectations_load(void)
{
	List	   *expectations = read_rows();
	ListCell   *lc;

	if (needs_deriving(expectations) && owner_can_write())
	{
		char	   *reason = try_to_derive();

		expectations = read_rows();
		foreach(lc, expectations)
		{
			Expectation *expectation = lfirst(lc);

			if (reason != NULL && expectation->stale != NULL &&
				expectation->derivable)
				expectation->stale = psprintf("it could not be derived again: %s", reason);
		}
	}
	set_in_force(expectations);
	return expectations;
}

FactSet *
expectations_in_force(List *expectations)
{
	FactSet    *all;
	ListCell   *lc;

	/* One migration alone is the common case and needs no copy. */
	if (list_length(expectations) == 1 &&
		((Expectation *) linitial(expectations))->in_force != NULL)
		return ((Expectation *) linitial(expectations))->in_force;

	all = factset_create();
	foreach(lc, expectations)
	{
		FactSet    *facts = ((Expectation *) lfirst(lc))->in_force;

		for (int i = 0; facts != NULL && i < facts->count; i++)
			factset_append(all, &facts->facts[i]);
	}
	factset_sort(all);
	return all;
}

Expectation *
expectation_find(List *expectations, const char *name)
{
	ListCell   *lc;

	foreach(lc, expectations)
	{
		Expectation *expectation = lfirst(lc);

		if (strcmp(expectation->migration, name) == 0)
			return expectation;
	}
	return NULL;
}

/* "a, b and so on", for an error's detail. */
static char *
names_of(List *names)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, names)
	{
		if (out.len > 0)
			appendStringInfoString(&out, ", ");
		appendStringInfoString(&out, (char *) lfirst(lc));
	}
	return out.data;
}

static List *
known_names(void)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	List	   *names = NIL;

	owner_begin(&scope);
	owner_execute(&plan,
				  "SELECT migration FROM deploydb.known_migration"
				  " ORDER BY migration COLLATE \"C\"",
				  SPI_OK_SELECT, 0, NULL, NULL, NULL);
	MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
		names = lappend(names, owner_text((int) row, 1));
	owner_end(&scope);
	MemoryContextSwitchTo(context);
	return names;
}

/* NULL when no known name has it at its end. */
static const char *
resolve_among(List *known, const char *name)
{
	List	   *matches = NIL;
	size_t		length = strlen(name);
	ListCell   *lc;

	foreach(lc, known)
	{
		const char *candidate = lfirst(lc);
		size_t		candidate_length = strlen(candidate);

		if (strcmp(candidate, name) == 0)
			return candidate;
		if (length > 0 && candidate_length > length &&
			strcmp(candidate + candidate_length - length, name) == 0)
			matches = lappend(matches, lfirst(lc));
	}

	if (list_length(matches) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("migration name \"%s\" is not unique", name),
				 errdetail("It could mean: %s.", names_of(matches))));
	return matches != NIL ? linitial(matches) : NULL;
}

const char *
migration_resolve_if_known(const char *name)
{
	const char *resolved = resolve_among(known_names(), name);

	return resolved != NULL ? resolved : name;
}

const char *
migration_resolve(const char *name)
{
	List	   *known = known_names();
	const char *resolved = resolve_among(known, name);

	if (resolved != NULL)
		return resolved;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("migration \"%s\" is not known", name),
			 known == NIL ? errdetail("No migration is registered.") :
			 errdetail("Known migrations: %s.", names_of(known)),
			 errhint("Register it with deploydb.register_migration(), or import what deploydb.capture_migration() gave elsewhere.")));
}

/*
 * A step for each known migration with DDL, in the order of names.  One whose
 * registrant is gone can run as nobody: it is left out, and keeps the facts
 * that it has.
 */
List *
expectations_replay_steps(const char *last)
{
	List	   *steps = NIL;
	List	   *rows = read_rows();
	Oid			owner = owner_role();
	ListCell   *lc;

	foreach(lc, rows)
	{
		Expectation *row = lfirst(lc);
		ReplayStep *step;

		if (last != NULL && strcmp(row->migration, last) > 0)
			break;
		if (row->ddl == NULL)
			continue;
		if (registrant_is_gone(row))
		{
			ereport(NOTICE,
					(errmsg("migration \"%s\" is left out of the replay", row->migration),
					 errdetail("Role \"%s\", which registered it, does not exist any more.",
							   row->registered_by),
					 errhint("Register the migration again with deploydb.register_migration().")));
			continue;
		}
		step = palloc0(sizeof(ReplayStep));
		step->migration = row->migration;
		step->ddl = row->ddl;
		step->registrant = row->registered_by == NULL ? owner :
			get_role_oid(row->registered_by, false);
		steps = lappend(steps, step);
	}
	return steps;
}

static void
store_expectation(const ReplayStep *step)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {TEXTOID, INT4OID, INT4OID, TEXTARRAYOID};
	Datum		values[4];

	values[0] = CStringGetTextDatum(step->migration);
	values[1] = Int32GetDatum(DEPLOYDB_SERVER_MAJOR);
	values[2] = Int32GetDatum(FACT_FORMAT);
	values[3] = PointerGetDatum(factset_to_array(step->facts));
	owner_execute(&plan,
				  "INSERT INTO deploydb.expectation"
				  " (migration, server_major, fact_format, facts)"
				  " VALUES ($1, $2, $3, $4)"
				  " ON CONFLICT (migration) DO UPDATE SET"
				  " server_major = EXCLUDED.server_major,"
				  " fact_format = EXCLUDED.fact_format,"
				  " facts = EXCLUDED.facts,"
				  " derived_at = EXCLUDED.derived_at",
				  SPI_OK_INSERT, 4, types, values, NULL);
}

/* A restore brings captures, and not what was made of them. */
static void
store_captured(void)
{
	static SPIPlanPtr plan = NULL;

	owner_execute(&plan,
				  "INSERT INTO deploydb.expectation"
				  " (migration, server_major, fact_format, facts)"
				  " SELECT r.migration, c.server_major, c.fact_format, c.facts"
				  " FROM deploydb.registered_migration r,"
				  " deploydb.captured_expectation(r.capture) c"
				  " WHERE r.capture IS NOT NULL"
				  " ON CONFLICT (migration) DO NOTHING",
				  SPI_OK_INSERT, 0, NULL, NULL, NULL);
}

void
expectations_derive(void)
{
	List	   *steps = expectations_replay_steps(NULL);
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	ListCell   *lc;

	replay_migrations(steps);

	owner_begin(&scope);
	foreach(lc, steps)
		store_expectation(lfirst(lc));
	store_captured();
	owner_end(&scope);
	MemoryContextSwitchTo(context);
}
