/*
 * evaluate_rules.c
 *		Every rule evaluated, as the tick does it.
 *
 * One statement loads the rules, the newest value of each of their series and
 * what is known of these; evaluation.c decides; what changed is written, all
 * of it at once.  A rule that fires silences those whose parent
 * it is, so that parents are evaluated first.
 *
 * Locking: a part of the extension, from before an evaluation to the end of its
 * transaction; see alert_state.h.
 * Errors: those of the statements.  A rule that cannot be evaluated is
 * disabled with a reason and a WARNING, and the others go on.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "alerts/alert_message.h"
#include "alerts/alert_state.h"
#include "alerts/rule.h"
#include "compat.h"
#include "verify/owner.h"
#include "worker/extension_parts.h"
#include "worker/wake.h"

PG_FUNCTION_INFO_V1(deploydb_evaluate_rules);
PG_FUNCTION_INFO_V1(deploydb_evaluate_alerts);
PG_FUNCTION_INFO_V1(deploydb_take_evaluation_turn);

/* The columns of the statement that loads; the rule's and state's follow. */
enum LoadColumn
{
	LOAD_RULE, LOAD_SERIES, LOAD_PLACE, LOAD_SILENCED, LOAD_AT, LOAD_VALUE,
	LOAD_FINGERPRINT, LOAD_SEVERITY, LOAD_NOTE,
	LOAD_RULE_COLUMNS,
	LOAD_STATE_COLUMNS = LOAD_RULE_COLUMNS + RULE_COLUMN_COUNT,
	LOAD_COLUMN_COUNT = LOAD_STATE_COLUMNS + STATE_COLUMN_COUNT
};

typedef struct SeriesRow
{
	Datum		values[LOAD_COLUMN_COUNT];
	bool		nulls[LOAD_COLUMN_COUNT];
} SeriesRow;

/* Above a rule, each of which takes some of the stack. */
#define MAX_PARENTS 100

/*
 * The rows of one rule, which follow each other: one for each series of its
 * metric, or one without a series; and one for each series that only a state
 * knows, or a rule that is no more.
 */
typedef struct RuleRows
{
	struct RuleRows *parent;	/* NULL: there is none, or it does not matter */
	const char *id;
	const SeriesRow **rows;
	int			count;
	const Datum *values;		/* of the rule itself; NULL: it is no more */
	const bool *nulls;
	bool		done;
	bool		fires;			/* known once done */
	const char *fault;			/* found in this evaluation */
} RuleRows;

typedef struct Evaluation
{
	Circumstances circumstances;
	RuleRows   *rules;			/* by id */
	int			count;
	List	   *changes;		/* of AlertChange * */
	int64		events;
} Evaluation;

static void
load(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TIMESTAMPTZOID};
	Datum		values[1] = {TimestampTzGetDatum(now)};

	owner_execute(&plan,
				  "SELECT COALESCE(r.id, s.rule), COALESCE(l.series, s.series), s.ctid,"
				  " q.all_rules OR r.id = ANY (q.rules),"
				  " l.at, l.value, l.fingerprint, l.severity, l.note, " RULE_COLUMNS ", " STATE_COLUMNS
				  " FROM " RULE_TABLES
				  " LEFT JOIN deploydb.metric_latest l ON l.metric = r.metric AND r.enabled AND r.fault IS NULL"
				  "  AND l.metric <> ALL (ARRAY(SELECT o.name FROM deploydb.own_metric o WHERE NOT o.enabled))"
				  " FULL JOIN deploydb.alert_state s ON s.rule = r.id AND s.series = l.series"
				  " CROSS JOIN (SELECT COALESCE(bool_or(n.rule IS NULL), false) AS all_rules,"
				  "   COALESCE(array_agg(n.rule) FILTER (WHERE n.rule IS NOT NULL), '{}') AS rules"
				  "   FROM deploydb.silence n WHERE n.until > $1) q",
				  SPI_OK_SELECT, 1, types, values, NULL);
}

/* As collation "C" has it; what is not there comes last. */
static int
compare_column(const SeriesRow *a, const SeriesRow *b, int column)
{
	const struct varlena *x;
	const struct varlena *y;
	int			order;

	if (a->nulls[column] || b->nulls[column])
		return (int) a->nulls[column] - (int) b->nulls[column];
	x = (const struct varlena *) DatumGetPointer(a->values[column]);
	y = (const struct varlena *) DatumGetPointer(b->values[column]);
	order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y),
				   Min(VARSIZE_ANY_EXHDR(x), VARSIZE_ANY_EXHDR(y)));
	return order != 0 ? order :
		(int) VARSIZE_ANY_EXHDR(x) - (int) VARSIZE_ANY_EXHDR(y);
}

static int
compare_rows(const void *a, const void *b)
{
	const SeriesRow *x = *(const SeriesRow *const *) a;
	const SeriesRow *y = *(const SeriesRow *const *) b;
	int			order = compare_column(x, y, LOAD_RULE);

	return order != 0 ? order : compare_column(x, y, LOAD_SERIES);
}

static void
detoast_column(SeriesRow *row, int column)
{
	if (!row->nulls[column])
		row->values[column] =
			PointerGetDatum(PG_DETOAST_DATUM_PACKED(row->values[column]));
}

/*
 * The rows of the last statement, by rule and series.  Sorted here, as an
 * ORDER BY would make two more copies of each of these wide rows.
 */
static const SeriesRow **
sorted_rows(int count)
{
	SeriesRow  *rows = palloc(sizeof(SeriesRow) * Max(count, 1));
	const SeriesRow **sorted = palloc(sizeof(SeriesRow *) * Max(count, 1));

	for (int i = 0; i < count; i++)
	{
		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
						  rows[i].values, rows[i].nulls);
		detoast_column(&rows[i], LOAD_RULE);
		detoast_column(&rows[i], LOAD_SERIES);
		sorted[i] = &rows[i];
	}
	qsort(sorted, count, sizeof(SeriesRow *), compare_rows);
	return sorted;
}

static void
group_rows(Evaluation *e)
{
	int			count = (int) SPI_processed;
	const SeriesRow **rows = sorted_rows(count);
	RuleRows   *last = NULL;

	e->rules = palloc(sizeof(RuleRows) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		if (last == NULL ||
			compare_column(last->rows[0], rows[i], LOAD_RULE) != 0)
		{
			last = &e->rules[e->count++];
			memset(last, 0, sizeof(*last));
			last->id = TextDatumGetCString(rows[i]->values[LOAD_RULE]);
			last->rows = &rows[i];
		}
		last->count++;
		if (!rows[i]->nulls[LOAD_RULE_COLUMNS + RULE_ID])
		{
			last->values = rows[i]->values + LOAD_RULE_COLUMNS;
			last->nulls = rows[i]->nulls + LOAD_RULE_COLUMNS;
		}
	}
}

static RuleRows *
find_rule(Evaluation *e, const char *id)
{
	int			low = 0;
	int			high = e->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = strcmp(id, e->rules[middle].id);

		if (order == 0)
			return &e->rules[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static const char *
text_or(const SeriesRow *row, int column, const char *otherwise)
{
	return row->nulls[column] ? otherwise :
		TextDatumGetCString(row->values[column]);
}

static const char *
rule_text_or(const RuleRows *rule, int column, const char *otherwise)
{
	return rule->values == NULL || rule->nulls[column] ? otherwise :
		TextDatumGetCString(rule->values[column]);
}

/* Something happened to a row: keeps it for later. */
static void
add_change(Evaluation *e, const RuleRows *rule, const SeriesRow *row,
		   const Condition *condition, const AlertState *state,
		   const AlertEvent *event)
{
	AlertChange *change = palloc0(sizeof(AlertChange));
	AlertText	text;

	change->rule = rule->id;
	change->series = text_or(row, LOAD_SERIES, "");

	/* What ends is of the metric that it began with. */
	change->metric = condition != NULL ?
		rule_text_or(rule, RULE_METRIC, "") :
		text_or(row, LOAD_STATE_COLUMNS + STATE_METRIC, "");
	change->place = row->nulls[LOAD_PLACE] ? NULL :
		(ItemPointer) DatumGetPointer(row->values[LOAD_PLACE]);
	change->state = state;
	e->changes = lappend(e->changes, change);
	if (event == NULL)
		return;

	text.rule = change->rule;
	text.metric = change->metric;
	text.series = change->series;
	text.note = text_or(row, LOAD_NOTE, "");
	text.template_en = rule_text_or(rule, RULE_MESSAGE_EN, NULL);
	text.template_zh = rule_text_or(rule, RULE_MESSAGE_ZH, NULL);
	text.condition = condition;
	change->message = alert_message(&text, event, e->circumstances.now);
	if (condition != NULL && !condition->trend)
	{
		change->has_threshold = true;
		change->threshold = condition->threshold;
	}
	if (rule->values != NULL && !rule->nulls[RULE_LABELS] &&
		JB_ROOT_COUNT(DatumGetJsonbP(rule->values[RULE_LABELS])) > 0)
		change->labels = &rule->values[RULE_LABELS];
	change->runbook = rule_text_or(rule, RULE_RUNBOOK, NULL);
}

static void
add_event(Evaluation *e, const RuleRows *rule, const SeriesRow *row,
		  const Condition *condition, const AlertState *state,
		  const AlertEvent *event)
{
	AlertEvent *kept = palloc(sizeof(AlertEvent));

	*kept = *event;
	add_change(e, rule, row, condition, state, kept);
	((AlertChange *) llast(e->changes))->event = kept;
	e->events++;
}

/* The rule is no more, is disabled, or goes by another metric now. */
static void
end_row(Evaluation *e, const RuleRows *rule, const SeriesRow *row)
{
	AlertState	state;
	AlertEvent	event;

	alert_state_read(row->values + LOAD_STATE_COLUMNS,
					 row->nulls + LOAD_STATE_COLUMNS, false, &state);
	if (rule_end(&state, e->circumstances.now, REASON_RESOLVED, &event))
		add_event(e, rule, row, NULL, NULL, &event);
	else
		add_change(e, rule, row, NULL, NULL, NULL);
}

static void
sample_of(const SeriesRow *row, Sample *sample)
{
	memset(sample, 0, sizeof(*sample));
	sample->at = DatumGetTimestampTz(row->values[LOAD_AT]);
	sample->has_value = !row->nulls[LOAD_VALUE];
	if (sample->has_value)
		sample->value = DatumGetFloat8(row->values[LOAD_VALUE]);
	sample->severity = row->nulls[LOAD_SEVERITY] ? -1 :
		severity_number(row->values[LOAD_SEVERITY]);
	sample->fingerprint = text_or(row, LOAD_FINGERPRINT, "");
}

/* The change of a state that is worth keeping. */
static void
keep_row(Evaluation *e, const RuleRows *rule, const SeriesRow *row,
		 const Condition *condition, const AlertState *before,
		 const AlertState *after, bool has_event, const AlertEvent *event)
{
	AlertState *kept;
	AlertEvent	held;

	if (!has_event && alert_state_equal(before, after))
		return;
	kept = palloc(sizeof(AlertState));
	*kept = *after;
	if (has_event)
		add_event(e, rule, row, condition, kept, event);
	else if (after->started_at != 0 &&
			 (before->started_at == 0 || before->status != after->status))
	{
		/* Nobody is told yet; view active_alert shows what is. */
		memset(&held, 0, sizeof(held));
		held.reason = after->status == ALERT_NO_DATA ? REASON_NO_DATA : REASON_NEW;
		held.severity = after->severity;
		held.started_at = after->started_at;
		held.has_value = after->has_value && after->status != ALERT_NO_DATA;
		held.value = after->value;
		held.has_slope = after->has_slope && held.has_value;
		held.slope = after->slope;
		add_change(e, rule, row, condition, kept, &held);
	}
	else
		add_change(e, rule, row, condition, kept, NULL);
}

static void
evaluate_row(Evaluation *e, RuleRows *rule, const SeriesRow *row,
			 const Condition *condition, bool parent_fires)
{
	Circumstances circumstances = e->circumstances;
	AlertState	before;
	AlertState	state;
	AlertEvent	event;
	bool		has_event;

	alert_state_read(row->values + LOAD_STATE_COLUMNS,
					 row->nulls + LOAD_STATE_COLUMNS, condition->trend, &state);
	before = state;
	if (row->nulls[LOAD_AT])
		has_event = rule_end(&state, circumstances.now, REASON_NO_DATA, &event);
	else
	{
		Sample		sample;

		sample_of(row, &sample);
		circumstances.stale_us = rule_stale_us(rule->values, rule->nulls);
		circumstances.muted = parent_fires ||
			(!row->nulls[LOAD_SILENCED] &&
			 DatumGetBool(row->values[LOAD_SILENCED]));
		has_event = rule_evaluate(condition, &state, &sample, &circumstances,
								  &event);
	}
	if (state.started_at != 0)
		rule->fires = true;
	keep_row(e, rule, row, condition, &before, &state, has_event, &event);
}

/* Has this state begun with a metric that is no more the rule's? */
static bool
is_of_other_metric(const RuleRows *rule, const SeriesRow *row)
{
	Datum		now = rule->values[RULE_METRIC];
	Datum		then = row->values[LOAD_STATE_COLUMNS + STATE_METRIC];

	return !row->nulls[LOAD_STATE_COLUMNS + STATE_METRIC] &&
		!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, now, then));
}

static bool
is_enabled(const RuleRows *rule)
{
	return rule->values != NULL && !rule->nulls[RULE_ENABLED] &&
		DatumGetBool(rule->values[RULE_ENABLED]);
}

/* As far as it matters; -1 where the rule is among them. */
static int
count_parents(const RuleRows *rule)
{
	int			count = 0;

	for (const RuleRows *p = rule->parent; p != NULL && count <= MAX_PARENTS; p = p->parent)
	{
		if (p == rule)
			return -1;
		count++;
	}
	return count;
}

static void
find_parents(Evaluation *e)
{
	for (int i = 0; i < e->count; i++)
	{
		RuleRows   *rule = &e->rules[i];

		if (is_enabled(rule) && !rule->nulls[RULE_PARENT])
			rule->parent = find_rule(e, TextDatumGetCString(rule->values[RULE_PARENT]));
	}

	/* A circle is broken by its first rule, and the others are none. */
	for (int i = 0; i < e->count; i++)
		if (count_parents(&e->rules[i]) < 0)
		{
			e->rules[i].fault = "its parents form a circle";
			e->rules[i].parent = NULL;
		}
	for (int i = 0; i < e->count; i++)
		if (count_parents(&e->rules[i]) > MAX_PARENTS)
			e->rules[i].fault = psprintf("it has more than %d parents above it", MAX_PARENTS);
}

static void
evaluate_rule(Evaluation *e, RuleRows *rule)
{
	bool		enabled = is_enabled(rule);
	bool		parent_fires = false;
	Condition	condition;

	if (rule->done)
		return;
	CHECK_FOR_INTERRUPTS();
	rule->done = true;
	if (enabled && rule->fault == NULL)
		rule->fault = rule_condition(rule->values, rule->nulls, &condition);
	if (rule->fault != NULL)
		return;
	if (rule->parent != NULL)
	{
		evaluate_rule(e, rule->parent);
		parent_fires = rule->parent->fires;
	}
	for (int i = 0; i < rule->count; i++)
	{
		const SeriesRow *row = rule->rows[i];

		if (row->nulls[LOAD_SERIES])
			continue;
		if (!enabled || is_of_other_metric(rule, row))
			end_row(e, rule, row);
		else
			evaluate_row(e, rule, row, &condition, parent_fires);
	}
}

static void
disable_faulty(const Evaluation *e)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {TEXTOID, TIMESTAMPTZOID, TEXTOID};

	for (int i = 0; i < e->count; i++)
	{
		const RuleRows *rule = &e->rules[i];
		Datum		values[3];

		if (rule->fault == NULL)
			continue;
		values[0] = CStringGetTextDatum(rule->id);
		values[1] = TimestampTzGetDatum(e->circumstances.now);
		values[2] = CStringGetTextDatum(rule->fault);
		owner_execute(&plan,
					  "INSERT INTO deploydb.rule_fault (rule, at, reason) VALUES ($1, $2, $3)",
					  SPI_OK_INSERT, 3, types, values, NULL);
		ereport(WARNING,
				(errmsg("alert rule \"%s\" cannot be evaluated, and is disabled",
						rule->id),
				 errdetail("Reason: %s.", rule->fault),
				 errhint("Mend it with deploydb.set_rule().")));
	}
}

/*
 * Events are numbered in the order of their commits.  The lock takes no
 * transaction id, as an evaluation that changes nothing needs none.
 */
static void
take_turn(void)
{
	PreventCommandIfReadOnly("an evaluation of alert rules");
	PreventCommandDuringRecovery("an evaluation of alert rules");
	LockDatabaseObject(ExtensionRelationId, get_extension_oid("deploydb", false),
					   EVALUATION_PART, ExclusiveLock);
}

/* In an open scope of the owner. */
static int64
evaluate_all(TimestampTz now)
{
	Evaluation	e = {0};

	e.circumstances.now = now;
	load(now);
	group_rows(&e);
	find_parents(&e);
	for (int i = 0; i < e.count; i++)
		evaluate_rule(&e, &e.rules[i]);
	disable_faulty(&e);
	alert_changes_write(e.changes, now);
	return e.events;
}

Datum
deploydb_evaluate_rules(PG_FUNCTION_ARGS)
{
	OwnerScope	scope;
	int64		events;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("at must not be NULL")));
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(0)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at must be finite")));
	take_turn();
	owner_begin(&scope);
	events = evaluate_all(PG_GETARG_TIMESTAMPTZ(0));
	owner_end(&scope);
	PG_RETURN_INT64(events);
}

Datum
deploydb_evaluate_alerts(PG_FUNCTION_ARGS)
{
	OwnerScope	scope;
	int64		events;

	(void) fcinfo;
	take_turn();
	owner_begin(&scope);
	events = evaluate_all(GetCurrentTimestamp());
	owner_end(&scope);
	wake_monitor_at_commit();
	PG_RETURN_INT64(events);
}

/* For what changes a state by itself. */
Datum
deploydb_take_evaluation_turn(PG_FUNCTION_ARGS pg_attribute_unused())
{
	take_turn();
	PG_RETURN_BOOL(true);
}
