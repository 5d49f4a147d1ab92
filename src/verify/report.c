/*
 * report.c
 *		The SQL functions that verify and tell.
 *
 * Locking: see facts.h.  Errors: an unknown migration or schema; a deviation
 * is one only in assert_migration().
 *
 * Every text that goes out passes text_for_client(): a name or a comment that
 * the client's encoding cannot hold must not turn an answer into an error.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "facts/escape.h"
#include "facts/relation_lock.h"
#include "verify/history.h"
#include "verify/message.h"
#include "verify/verification.h"

#define MAX_WARNINGS 20
#define MAX_VALUE_SHOWN 200

#define ERRCODE_DEPLOYDB_DEVIATION MAKE_SQLSTATE('Z','D','0','0','1')
#define ERRCODE_DEPLOYDB_UNKNOWN MAKE_SQLSTATE('Z','D','0','0','2')

static const char *
text_arg_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* A value as it stands in a sentence; bodies of functions are cut short. */
static const char *
shown(const char *value)
{
	const char *text;
	int			length;

	if (value == NULL)
		return "none";
	text = text_for_client(value);
	length = strlen(text);
	if (length <= MAX_VALUE_SHOWN)
		return text;
	return psprintf("%.*s...", pg_mbcliplen(text, length, MAX_VALUE_SHOWN), text);
}

/* A comment is kept escaped; whoever can read it shall see it as it is. */
static const char *
value_shown(const Deviation *d, const char *value)
{
	if (value != NULL && strcmp(d->property, "comment") == 0)
		return text_for_client(comment_unescape(value, NULL));
	return text_for_client(value);
}

static char *
deviation_message(const Deviation *d)
{
	const char *object = text_for_client(d->object);

	switch (d->status)
	{
		case DEVIATION_MISSING:
			return psprintf("%s %s is missing", d->object_type, object);
		case DEVIATION_UNEXPECTED:
			return psprintf("%s %s is unexpected", d->object_type, object);
		case DEVIATION_BUILDING:
			return psprintf(strcmp(d->object_type, "ledger") == 0 ?
							"%s %s: the migration is running now" :
							"%s %s is being built now", d->object_type, object);
		case DEVIATION_UNKNOWN:
			return psprintf("%s %s could not be looked at", d->object_type, object);
		case DEVIATION_STALE:
			return psprintf("%s %s could not be verified", d->object_type, object);
		default:
			return psprintf("%s %s: %s is %s, expected %s", d->object_type,
							object, d->property,
							shown(value_shown(d, d->actual)),
							shown(value_shown(d, d->expected)));
	}
}

static bool
is_deviation(const Deviation *d)
{
	return d->status != DEVIATION_OK && d->status != DEVIATION_ACCEPTED;
}

static void
warn_of(const Deviation *d)
{
	ereport(d->severity == SEVERITY_INFO ? NOTICE : WARNING,
			(errmsg("%s", deviation_message(d)),
			 d->fix ? errhint("%s;", text_for_client(d->fix)) :
			 d->advice ? errhint("%s", text_for_client(d->advice)) : 0));
}

/* The call that shows the whole report. */
static char *
report_call(const char *migration, const char *schema)
{
	StringInfoData call;

	initStringInfo(&call);
	appendStringInfoString(&call, "SELECT * FROM deploydb.migration_report(");
	if (migration != NULL)
		appendStringInfoString(&call, quote_literal_cstr(migration));
	if (schema != NULL)
		appendStringInfo(&call, "%s%s", migration ? ", " : "schema => ",
						 quote_literal_cstr(schema));
	appendStringInfoString(&call, ");");
	return call.data;
}

typedef struct Totals
{
	int			shown;
	int			errors;
	int			warnings;
	int			infos;
	int			accepted;
	int			unknown;
	int			migrations;
	Outcome		outcome;
} Totals;

static void
add_to_totals(Totals *totals, const Verification *v)
{
	totals->migrations++;
	totals->errors += v->errors;
	totals->warnings += v->warnings;
	totals->infos += v->infos;
	totals->accepted += v->accepted;
	totals->unknown += v->unknown;
	if (v->outcome == OUTCOME_DEVIATES)
		totals->outcome = OUTCOME_DEVIATES;
	else if (v->outcome == OUTCOME_UNKNOWN &&
			 totals->outcome == OUTCOME_VERIFIED)
		totals->outcome = OUTCOME_UNKNOWN;
}

static char *
totals_text(const Totals *totals)
{
	StringInfoData text;
	int			deviations = totals->errors + totals->warnings +
		totals->infos + totals->unknown;

	initStringInfo(&text);
	appendStringInfo(&text, "%s, %s", message_count(totals->errors, "error"),
					 message_count(totals->warnings, "warning"));
	if (totals->infos > 0)
		appendStringInfo(&text, ", %s", message_count(totals->infos, "info"));
	if (totals->unknown > 0)
		appendStringInfo(&text, ", %d not found out", totals->unknown);
	if (totals->accepted > 0)
		appendStringInfo(&text, ", %d accepted", totals->accepted);
	if (totals->shown < deviations)
		appendStringInfo(&text, " (%d not shown)", deviations - totals->shown);
	return text.data;
}

static void
close_warnings(const Totals *totals, const char *migration, const char *schema)
{
	if (totals->migrations == 0)
		ereport(WARNING,
				(errmsg("no migration is registered"),
				 errhint("Register one with deploydb.register_migration().")));
	else if (totals->errors + totals->warnings + totals->infos +
			 totals->unknown > 0)
		ereport(totals->errors + totals->warnings + totals->unknown > 0 ?
				WARNING : NOTICE,
				(errmsg("%s: %s", migration ? text_for_client(migration) :
						psprintf("%d migrations", totals->migrations),
						totals_text(totals)),
				 errhint("%s", text_for_client(report_call(migration, schema)))));
}

PG_FUNCTION_INFO_V1(deploydb_verify_migration);

Datum
deploydb_verify_migration(PG_FUNCTION_ARGS)
{
	const char *migration = text_arg_or_null(fcinfo, 0);
	const char *schema = text_arg_or_null(fcinfo, 1);
	VerificationScope *scope = verification_scope(schema, false);
	List	   *targets = verification_targets(scope, migration);
	Totals		totals = {.outcome = OUTCOME_VERIFIED};
	ListCell   *lc;

	foreach(lc, targets)
	{
		const Expectation *expectation = lfirst(lc);
		Verification *v = verify_migration(scope, expectation);

		for (int i = 0; i < list_length(v->deviations); i++)
		{
			const Deviation *d = list_nth(v->deviations, i);

			if (!is_deviation(d) || totals.shown == MAX_WARNINGS)
				continue;
			warn_of(d);
			totals.shown++;
		}
		add_to_totals(&totals, v);
		history_record(v);
		if (list_length(targets) == 1)
			migration = expectation->migration;
	}
	close_warnings(&totals, migration, schema);

	if (totals.outcome == OUTCOME_UNKNOWN || totals.migrations == 0)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(totals.outcome == OUTCOME_VERIFIED);
}

PG_FUNCTION_INFO_V1(deploydb_assert_migration);

Datum
deploydb_assert_migration(PG_FUNCTION_ARGS)
{
	const char *migration = text_arg_or_null(fcinfo, 0);
	const char *schema = text_arg_or_null(fcinfo, 1);
	VerificationScope *scope = verification_scope(schema, false);
	Totals		totals = {.outcome = OUTCOME_VERIFIED};
	StringInfoData detail;
	ListCell   *lc;

	initStringInfo(&detail);
	foreach(lc, verification_targets(scope, migration))
	{
		Verification *v = verify_migration(scope, lfirst(lc));

		for (int i = 0; i < list_length(v->deviations); i++)
		{
			const Deviation *d = list_nth(v->deviations, i);

			if (!is_deviation(d) || totals.shown == MAX_WARNINGS)
				continue;
			appendStringInfo(&detail, "%s%s", detail.len > 0 ? "\n" : "",
							 deviation_message(d));
			totals.shown++;
		}
		add_to_totals(&totals, v);
		history_record(v);
	}

	if (totals.migrations == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPLOYDB_UNKNOWN),
				 errmsg("no migration is registered"),
				 errhint("Register one with deploydb.register_migration().")));
	if (totals.outcome != OUTCOME_VERIFIED)
		ereport(ERROR,
				(errcode(totals.outcome == OUTCOME_DEVIATES ?
						 ERRCODE_DEPLOYDB_DEVIATION : ERRCODE_DEPLOYDB_UNKNOWN),
				 errmsg(totals.outcome == OUTCOME_DEVIATES ?
						"migration is not as expected: %s" :
						"migration could not be verified: %s",
						totals_text(&totals)),
				 errdetail("%s", detail.data),
				 errhint("%s", text_for_client(report_call(migration, schema)))));
	PG_RETURN_BOOL(true);
}

/* Sets one column of a row; NULL for a NULL text. */
static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = (text == NULL);
	values[column] = text ? CStringGetTextDatum(text_for_client(text)) : (Datum) 0;
}

PG_FUNCTION_INFO_V1(deploydb_migration_report);

Datum
deploydb_migration_report(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *migration = text_arg_or_null(fcinfo, 0);
	const char *schema = text_arg_or_null(fcinfo, 1);
	bool		everything = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	VerificationScope *scope = verification_scope(schema, everything);
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, verification_targets(scope, migration))
	{
		Verification *v = verify_migration(scope, lfirst(lc));

		for (int i = 0; i < list_length(v->deviations); i++)
		{
			const Deviation *d = list_nth(v->deviations, i);
			Datum		values[10];
			bool		nulls[10];

			set_text(values, nulls, 0, d->migration);
			set_text(values, nulls, 1, deviation_status_name(d->status));
			set_text(values, nulls, 2, deviation_severity_name(d->severity));
			set_text(values, nulls, 3, d->object_type);
			set_text(values, nulls, 4, d->object);
			set_text(values, nulls, 5, d->property);
			set_text(values, nulls, 6, value_shown(d, d->expected));
			set_text(values, nulls, 7, value_shown(d, d->actual));
			set_text(values, nulls, 8, d->fix);
			set_text(values, nulls, 9, d->advice);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
								 values, nulls);
		}
	}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(deploydb_migration_fingerprint);

Datum
deploydb_migration_fingerprint(PG_FUNCTION_ARGS)
{
	VerificationScope *scope;
	Expectation *expectation;
	FactReport *report;
	Oid			schema;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	scope = verification_scope(text_arg_or_null(fcinfo, 1), false);
	expectation = linitial(verification_targets(scope, text_arg_or_null(fcinfo, 0)));
	if (expectation->facts == NULL)
		PG_RETURN_NULL();
	report = verification_actual(scope, expectation, &schema);
	if (report->unknown != NIL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(factset_fingerprint(report->facts)));
}

/* The elements of a text[] argument as a list of C strings. */
static List *
names_arg(FunctionCallInfo fcinfo, int n)
{
	List	   *names = NIL;
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relations must not be NULL")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name of a relation must not be NULL")));
		names = lappend(names, TextDatumGetCString(elems[i]));
	}
	return names;
}

PG_FUNCTION_INFO_V1(deploydb_facts);

Datum
deploydb_facts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *schema = text_arg_or_null(fcinfo, 1);
	List	   *names = names_arg(fcinfo, 0);
	Oid			schema_oid;
	FactReport *report;
	ListCell   *lc;

	schema_oid = verification_schema(schema, NULL,
									 facts_roots_of_relations(InvalidOid, names));
	report = facts_collect(schema_oid,
						   facts_roots_of_relations(schema_oid, names),
						   relation_lock_deadline());
	foreach(lc, report->unknown)
	{
		const FactUnknown *unknown = lfirst(lc);

		ereport(WARNING,
				(errmsg("%s %s could not be looked at", unknown->object_type,
						text_for_client(unknown->object)),
				 errdetail("%s", unknown_reason_text(unknown->reason))));
	}

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < report->facts->count; i++)
	{
		const Fact *fact = &report->facts->facts[i];
		Datum		values[4];
		bool		nulls[4];

		set_text(values, nulls, 0, fact->object_type);
		set_text(values, nulls, 1, fact->object);
		set_text(values, nulls, 2, fact->property);
		set_text(values, nulls, 3, fact->value);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
