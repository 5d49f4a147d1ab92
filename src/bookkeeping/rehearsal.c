/*
 * rehearsal.c
 *		deploydb.replay_rollback(): a migration, its rollback, and the
 *		migration again, in a scratch schema.
 *
 * It is one replay of all migrations up to the one in question, with the
 * rollback script and the migration once more behind it; what the schema holds
 * after each of them is compared.
 *
 * Locking and errors: see replay.h.  The real tables are at most read.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "bookkeeping/acting.h"
#include "compat.h"
#include "facts/escape.h"
#include "facts/replay.h"
#include "verify/expectation.h"

PG_FUNCTION_INFO_V1(deploydb_replay_rollback);

/* Objects that are named at most. */
#define MAX_NAMED 10

static void
put_step(ReturnSetInfo *rsinfo, const char *step, const char *problem,
		 const char *detail)
{
	Datum		values[3];
	bool		nulls[3] = {false};

	values[0] = CStringGetTextDatum(step);
	values[1] = CStringGetTextDatum(problem != NULL ? "failed" : "ok");
	if (problem != NULL)
		detail = problem;
	nulls[2] = detail == NULL;
	values[2] = detail != NULL ? CStringGetTextDatum(text_for_client(detail)) : (Datum) 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static ReplayStep *
make_step(const char *name, const char *ddl, Oid role)
{
	ReplayStep *step = palloc0(sizeof(ReplayStep));

	step->migration = name;
	step->ddl = ddl;
	step->registrant = role;
	step->keep_state = true;
	return step;
}

/* Each object once, "table t: what". */
static void
name_object(StringInfo out, int *named, const Fact *fact, const char *what)
{
	if (++*named <= MAX_NAMED)
		appendStringInfo(out, "%s%s %s: %s", out->len > 0 ? "; " : "",
						 fact->object_type, fact->object, what);
	else if (*named == MAX_NAMED + 1)
		appendStringInfoString(out, "; and more");
}

/* Index behind the facts of one object. */
static int
object_end(const FactSet *set, int start)
{
	int			end = start + 1;

	while (end < set->count &&
		   fact_compare_object(&set->facts[start], &set->facts[end]) == 0)
		end++;
	return end;
}

static bool
same_object(const FactSet *a, int a_start, int a_end,
			const FactSet *b, int b_start, int b_end)
{
	if (a_end - a_start != b_end - b_start)
		return false;
	for (int i = 0; i < a_end - a_start; i++)
	{
		const Fact *x = &a->facts[a_start + i];
		const Fact *y = &b->facts[b_start + i];

		if (fact_compare(x, y) != 0 || strcmp(x->value, y->value) != 0)
			return false;
	}
	return true;
}

/* How what is there differs from what should be, or NULL. */
static char *
differences(const FactSet *wanted, const FactSet *there)
{
	StringInfoData out;
	int			named = 0;
	int			w = 0;
	int			t = 0;

	initStringInfo(&out);
	while (w < wanted->count || t < there->count)
	{
		int			order = w >= wanted->count ? 1 : t >= there->count ? -1 :
			fact_compare_object(&wanted->facts[w], &there->facts[t]);
		int			w_end = order <= 0 ? object_end(wanted, w) : w;
		int			t_end = order >= 0 ? object_end(there, t) : t;

		if (order < 0)
			name_object(&out, &named, &wanted->facts[w], "missing");
		else if (order > 0)
			name_object(&out, &named, &there->facts[t], "left over");
		else if (!same_object(wanted, w, w_end, there, t, t_end))
			name_object(&out, &named, &there->facts[t], "different");
		w = w_end;
		t = t_end;
	}
	return out.len > 0 ? out.data : NULL;
}

Datum
deploydb_replay_rollback(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *script = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const char *sample = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Expectation *expectation = expectation_find(expectations_load(), name);
	List	   *steps = expectations_replay_steps(name);
	ReplayStep *before = NULL;
	ReplayStep *migrated = steps != NIL ? llast(steps) : NULL;
	ReplayStep *undone = make_step(psprintf("rollback of %s", name), script, acting_user());
	ReplayStep *again;

	if (migrated == NULL || strcmp(migrated->migration, name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migration \"%s\" cannot be replayed", name)));
	if (list_length(steps) > 1)
	{
		before = list_nth(steps, list_length(steps) - 2);
		before->keep_state = true;
	}
	migrated->keep_state = true;
	again = make_step(psprintf("repetition of %s", name), migrated->ddl, migrated->registrant);
	if (sample[0] != '\0')
		steps = lappend(steps, make_step(psprintf("sample of %s", name), sample, acting_user()));
	steps = lappend(lappend(steps, undone), again);

	InitMaterializedSRF(fcinfo, 0);
	replay_migrations(steps);
	put_step(rsinfo, "migrate", NULL, psprintf("%d facts", migrated->facts->count));
	put_step(rsinfo, "verify", expectation->facts == NULL ? expectation->stale :
			 differences(expectation->facts, migrated->facts), "as expected");
	put_step(rsinfo, "roll back", NULL, NULL);
	put_step(rsinfo, "nothing is left",
			 differences(before != NULL ? before->state : factset_create(), undone->state),
			 "as before the migration");
	put_step(rsinfo, "migrate again", NULL, psprintf("%d facts", again->facts->count));
	put_step(rsinfo, "verify again", differences(migrated->state, again->state),
			 "as the first time");
	return (Datum) 0;
}
