/*
 * register.c
 *		Migrations made known, and forgotten.
 *
 * Locking: ShareRowExclusive on deploydb.registered_migration: the replay
 * must see the migrations that another session is registering.
 * Errors: DDL that fails or is refused; nothing is left of it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "verify/expectation.h"
#include "verify/owner.h"

static void
lock_registry(void)
{
	static SPIPlanPtr plan = NULL;

	owner_execute(&plan,
				  "LOCK TABLE deploydb.registered_migration"
				  " IN SHARE ROW EXCLUSIVE MODE",
				  SPI_OK_UTILITY, 0, NULL, NULL, NULL);
}

/* Lower-case, or an error that says what a checksum is. */
static char *
checksum_arg(const char *checksum)
{
	char	   *lower = pstrdup(checksum);

	for (char *p = lower; *p; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	if (strlen(lower) != 64 || strspn(lower, "0123456789abcdef") != 64)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid checksum: \"%s\"", checksum),
				 errhint("A checksum is the SHA-256 of migration.sql, 64 hexadecimal digits.")));
	return lower;
}

static void
store_migration(Datum *values, const char *nulls)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[5] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};

	owner_execute(&plan,
				  "INSERT INTO deploydb.registered_migration"
				  " (migration, ddl, checksum, rollback_ddl, registered_by)"
				  " VALUES ($1, $2, $3, $4, $5)"
				  " ON CONFLICT (migration) DO UPDATE SET"
				  " ddl = EXCLUDED.ddl, capture = NULL, forgotten = false,"
				  " checksum = EXCLUDED.checksum,"
				  " rollback_ddl = EXCLUDED.rollback_ddl,"
				  " registered_by = EXCLUDED.registered_by,"
				  " registered_at = EXCLUDED.registered_at",
				  SPI_OK_INSERT, 5, types, values, nulls);
}

PG_FUNCTION_INFO_V1(deploydb_register_migration);

Datum
deploydb_register_migration(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *migration;
	Datum		values[5];
	char		nulls[5] = {' ', ' ', ' ', ' ', ' '};
	OwnerScope	scope;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("migration and ddl must not be NULL")));
	migration = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (migration[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("migration must have a name")));

	for (int i = 0; i < 4; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	if (!PG_ARGISNULL(2))
		values[2] = CStringGetTextDatum(checksum_arg(text_to_cstring(PG_GETARG_TEXT_PP(2))));
	values[4] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));

	owner_begin(&scope);
	lock_registry();
	store_migration(values, nulls);
	owner_end(&scope);
	MemoryContextSwitchTo(context);

	expectations_derive();
	PG_RETURN_INT32(expectation_find(expectations_load(), migration)->facts->count);
}

/* A built-in migration is forgotten by a row that says so. */
static void
forget(const char *migration)
{
	static SPIPlanPtr delete_facts = NULL;
	static SPIPlanPtr delete_row = NULL;
	static SPIPlanPtr hide_builtin = NULL;
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];

	values[0] = CStringGetTextDatum(migration);
	values[1] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	owner_execute(&delete_facts,
				  "DELETE FROM deploydb.expectation"
				  " WHERE migration OPERATOR(pg_catalog.=) $1",
				  SPI_OK_DELETE, 1, types, values, NULL);
	owner_execute(&delete_row,
				  "DELETE FROM deploydb.registered_migration"
				  " WHERE migration OPERATOR(pg_catalog.=) $1",
				  SPI_OK_DELETE, 1, types, values, NULL);
	owner_execute(&hide_builtin,
				  "INSERT INTO deploydb.registered_migration"
				  " (migration, forgotten, registered_by)"
				  " SELECT b.migration, true, $2"
				  " FROM deploydb.builtin_migrations() b"
				  " WHERE b.migration OPERATOR(pg_catalog.=) $1",
				  SPI_OK_INSERT, 2, types, values, NULL);
}

static void
forget_context(void *migration)
{
	errcontext("forgetting migration \"%s\"", (const char *) migration);
}

PG_FUNCTION_INFO_V1(deploydb_forget_migration);

Datum
deploydb_forget_migration(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	const char *migration;
	OwnerScope	scope;
	ErrorContextCallback callback;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	migration = migration_resolve(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	owner_begin(&scope);
	lock_registry();
	forget(migration);
	owner_end(&scope);
	MemoryContextSwitchTo(context);

	/* What was built upon it cannot be replayed now, and says so. */
	callback.callback = forget_context;
	callback.arg = unconstify(char *, migration);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	expectations_derive();
	error_context_stack = callback.previous;
	PG_RETURN_BOOL(true);
}

PG_FUNCTION_INFO_V1(deploydb_derive_expectations);

/* For the install script and for whoever wants it now. */
Datum
deploydb_derive_expectations(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	expectations_derive();
	PG_RETURN_BOOL(true);
}

PG_FUNCTION_INFO_V1(deploydb_resolve_migration);

Datum
deploydb_resolve_migration(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(migration_resolve(name)));
}
