/*
 * tap.c
 *		The report as TAP, for pg_prove.
 *
 * An error is "not ok"; what is no error is a TODO, which is shown and does
 * not fail the run.
 *
 * Locking and errors: see verification.h.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "facts/escape.h"
#include "verify/history.h"
#include "verify/verification.h"

static void
put_line(ReturnSetInfo *rsinfo, const char *line)
{
	Datum		value = CStringGetTextDatum(text_for_client(line));
	bool		isnull = false;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
}

/* One line of a diagnostic for each line of the text. */
static void
put_diagnostic(ReturnSetInfo *rsinfo, const char *text)
{
	StringInfoData line;

	initStringInfo(&line);
	appendStringInfoString(&line, "# ");
	for (const char *p = text; *p; p++)
	{
		if (*p != '\n')
		{
			appendStringInfoChar(&line, *p);
			continue;
		}
		put_line(rsinfo, line.data);
		resetStringInfo(&line);
		appendStringInfoString(&line, "# ");
	}
	put_line(rsinfo, line.data);
}

/* In TAP, '#' begins a directive and a newline ends the test. */
static void
append_description(StringInfo out, const char *text)
{
	for (const char *p = text; *p; p++)
	{
		if (*p == '#' || *p == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *p == '\n' ? ' ' : *p);
	}
}

static void
put_test(ReturnSetInfo *rsinfo, int number, const Deviation *d)
{
	bool		holds = d->status == DEVIATION_OK ||
		d->status == DEVIATION_ACCEPTED;
	StringInfoData line;

	initStringInfo(&line);
	appendStringInfo(&line, "%sok %d - %s ", holds ? "" : "not ", number,
					 d->object_type);
	append_description(&line, d->object);
	appendStringInfo(&line, " %s", d->property);
	if (!holds && d->severity != SEVERITY_ERROR)
		appendStringInfo(&line, " # TODO %s",
						 deviation_severity_name(d->severity));
	put_line(rsinfo, line.data);
	if (d->status == DEVIATION_OK)
		return;

	put_diagnostic(rsinfo, psprintf("%s: is %s, expected %s",
									deviation_status_name(d->status),
									d->actual ? d->actual : "none",
									d->expected ? d->expected : "none"));
	if (d->fix != NULL)
		put_diagnostic(rsinfo, psprintf("%s;", d->fix));
	if (d->advice != NULL)
		put_diagnostic(rsinfo, d->advice);
}

PG_FUNCTION_INFO_V1(deploydb_migration_tap);

Datum
deploydb_migration_tap(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *migration = PG_ARGISNULL(0) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *schema = PG_ARGISNULL(1) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(1));
	VerificationScope *scope = verification_scope(schema, true);
	List	   *deviations = NIL;
	ListCell   *lc;
	int			number = 0;

	foreach(lc, verification_targets(scope, migration))
	{
		Verification *v = verify_migration(scope, lfirst(lc));

		history_record(v);
		deviations = list_concat(deviations, v->deviations);
	}

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	put_line(rsinfo, psprintf("1..%d", list_length(deviations)));
	foreach(lc, deviations)
		put_test(rsinfo, ++number, lfirst(lc));
	return (Datum) 0;
}
