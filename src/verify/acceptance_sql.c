/*
 * acceptance_sql.c
 *		deploydb.accept_deviation().
 *
 * Whether the named key deviates now is looked up as the caller, with his
 * search_path: run as the owner it would tell him of relations on which he
 * has no right.
 *
 * Locking: RowExclusive on deploydb.acceptance; see facts.h.
 * Errors: arguments that make no acceptance; an unknown migration.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "facts/escape.h"
#include "verify/acceptance.h"
#include "verify/owner.h"
#include "verify/verification.h"

enum AcceptArg
{
	ARG_MIGRATION, ARG_OBJECT_TYPE, ARG_OBJECT, ARG_PROPERTY, ARG_REASON, ARG_UNTIL
};

/* Before anything is looked up or stored: the table's own checks speak of rows. */
static void
check_args(FunctionCallInfo fcinfo)
{
	char	   *reason;

	for (int i = ARG_MIGRATION; i <= ARG_REASON; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("migration, object_type, object, property and reason must not be NULL")));
	}
	reason = text_to_cstring(PG_GETARG_TEXT_PP(ARG_REASON));
	if (reason[strspn(reason, " \t\n\r\f\v")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an acceptance needs a reason"),
				 errhint("Say who decided it and why: the report shows it.")));
	if (!PG_ARGISNULL(ARG_UNTIL) &&
		PG_GETARG_TIMESTAMPTZ(ARG_UNTIL) <= GetCurrentTransactionStartTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an acceptance must end in the future"),
				 errdetail("It would have ended at %s.",
						   timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(ARG_UNTIL)))));
}

static void
store_acceptance(FunctionCallInfo fcinfo, const char *migration)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[7] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, TEXTOID};
	Datum		values[7];
	char		nulls[7] = {' ', ' ', ' ', ' ', ' ', ' ', ' '};
	OwnerScope	scope;

	values[0] = CStringGetTextDatum(migration);
	for (int i = ARG_OBJECT_TYPE; i <= ARG_UNTIL; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	values[6] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));

	owner_begin(&scope);
	owner_execute(&plan,
				  "INSERT INTO deploydb.acceptance"
				  " (migration, object_type, object, property, reason, until, accepted_by)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7)"
				  " ON CONFLICT ON CONSTRAINT acceptance_pkey DO UPDATE SET"
				  " reason = EXCLUDED.reason, until = EXCLUDED.until,"
				  " accepted_by = EXCLUDED.accepted_by,"
				  " accepted_at = EXCLUDED.accepted_at",
				  SPI_OK_INSERT, 7, types, values, nulls);
	owner_end(&scope);
	MemoryContextSwitchTo(context);
}

/*
 * One may accept ahead, so it is no error that nothing has the key now; but
 * it is how a slip of the pen looks.
 */
static void
warn_unless_deviating(const Verification *v, const char *object_type,
					  const char *object, const char *property)
{
	const char *migration = v->expectation->migration;
	ListCell   *lc;

	foreach(lc, v->deviations)
	{
		if (acceptance_fits(lfirst(lc), object_type, object, property))
			return;
	}
	ereport(WARNING,
			(errmsg("migration \"%s\" has no such deviation now: %s %s, property \"%s\"",
					text_for_client(migration), object_type, object, property),
			 v->unknown > 0 ?
			 errdetail("Not everything could be looked at.  The acceptance is kept, and holds where there is one.") :
			 errdetail("The acceptance is kept, and holds once there is one."),
			 errhint("Compare the key with: SELECT object_type, object, property FROM deploydb.migration_report(%s);",
					 text_for_client(quote_literal_cstr(migration)))));
}

PG_FUNCTION_INFO_V1(deploydb_accept_deviation);

Datum
deploydb_accept_deviation(PG_FUNCTION_ARGS)
{
	VerificationScope *scope;
	const Expectation *expectation;
	const Verification *v;

	check_args(fcinfo);
	scope = verification_scope(NULL, false);
	expectation = linitial(verification_targets(scope,
												text_to_cstring(PG_GETARG_TEXT_PP(ARG_MIGRATION))));
	v = verify_migration(scope, expectation);
	store_acceptance(fcinfo, expectation->migration);
	warn_unless_deviating(v, text_to_cstring(PG_GETARG_TEXT_PP(ARG_OBJECT_TYPE)),
						  text_to_cstring(PG_GETARG_TEXT_PP(ARG_OBJECT)),
						  text_to_cstring(PG_GETARG_TEXT_PP(ARG_PROPERTY)));
	PG_RETURN_BOOL(true);
}
