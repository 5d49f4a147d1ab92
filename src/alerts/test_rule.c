/*
 * test_rule.c
 *		What a rule would make of samples.
 *
 * The code is the tick's; the state is nowhere but here.
 *
 * Locking: what a SELECT takes.  Errors: an unknown rule, and samples that are
 * none.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "alerts/alert_message.h"
#include "alerts/alert_state.h"
#include "alerts/rule.h"
#include "compat.h"
#include "verify/owner.h"

PG_FUNCTION_INFO_V1(deploydb_test_rule);

enum SampleColumn
{
	SAMPLE_AT, SAMPLE_VALUE, SAMPLE_SEVERITY, SAMPLE_FINGERPRINT, SAMPLE_NOTE,
	SAMPLE_COLUMN_COUNT
};

typedef struct RuleTest
{
	Condition	condition;
	int64		stale_us;
	AlertText	text;
	AlertState	state;
} RuleTest;

static void
load_rule(Datum id, RuleTest *test)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TEXTOID};
	Datum		values[RULE_COLUMN_COUNT];
	bool		nulls[RULE_COLUMN_COUNT];
	const char *fault;

	owner_execute(&plan,
				  "SELECT " RULE_COLUMNS " FROM " RULE_TABLES " WHERE r.id = $1",
				  SPI_OK_SELECT, 1, types, &id, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("rule \"%s\" does not exist", TextDatumGetCString(id)),
				 errhint("View deploydb.alert_rule has the rules.")));
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	fault = rule_condition(values, nulls, &test->condition);
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rule \"%s\" cannot be evaluated", TextDatumGetCString(id)),
				 errdetail("Reason: %s.", fault)));
	test->stale_us = rule_stale_us(values, nulls);
	test->text.rule = TextDatumGetCString(values[RULE_ID]);
	test->text.metric = TextDatumGetCString(values[RULE_METRIC]);
	test->text.series = "";
	if (!nulls[RULE_MESSAGE_EN])
		test->text.template_en = TextDatumGetCString(values[RULE_MESSAGE_EN]);
	if (!nulls[RULE_MESSAGE_ZH])
		test->text.template_zh = TextDatumGetCString(values[RULE_MESSAGE_ZH]);
	test->text.condition = &test->condition;
	alert_state_init(test->condition.trend, &test->state);
}

static bool
is_array_of_objects(Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbValue	value;
	JsonbIteratorToken token = JsonbIteratorNext(&it, &value, true);

	if (token != WJB_BEGIN_ARRAY || value.val.array.rawScalar)
		return false;
	while ((token = JsonbIteratorNext(&it, &value, true)) == WJB_ELEM)
	{
		if (value.type != jbvBinary ||
			!JsonContainerIsObject(value.val.binary.data))
			return false;
	}
	return true;
}

static void
load_samples(Jsonb *samples)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {JSONBOID};
	Datum		values[1] = {JsonbPGetDatum(samples)};

	if (!is_array_of_objects(samples))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("samples must be a JSON array of objects"),
				 errhint("Such as: [{\"at\": \"2026-01-01 00:00Z\", \"value\": 0.5}]")));
	owner_execute(&plan,
				  "SELECT x.at, x.value, x.severity, x.fingerprint, x.note"
				  " FROM jsonb_to_recordset($1) AS x (at timestamptz, value double precision,"
				  " severity text, fingerprint text, note text) ORDER BY x.at",
				  SPI_OK_SELECT, 1, types, values, NULL);
}

static void
put_transition(Tuplestorestate *store, TupleDesc desc, RuleTest *test,
			   TimestampTz at, const Datum *values, const bool *nulls,
			   const AlertEvent *event)
{
	Datum		result[5];
	bool		isnull[5] = {0};

	result[0] = TimestampTzGetDatum(at);
	result[1] = values[SAMPLE_VALUE];
	isnull[1] = nulls[SAMPLE_VALUE];
	result[2] = CStringGetTextDatum(alert_status_name(test->state.status));
	isnull[3] = isnull[4] = (event == NULL);
	if (event != NULL)
	{
		test->text.note = nulls[SAMPLE_NOTE] ? "" :
			TextDatumGetCString(values[SAMPLE_NOTE]);
		result[3] = CStringGetTextDatum(event_reason_name(event->reason));
		result[4] = CStringGetTextDatum(alert_message(&test->text, event, at));
	}
	tuplestore_putvalues(store, desc, result, isnull);
}

static void
run_sample(RuleTest *test, ReturnSetInfo *rsinfo, const Datum *values,
		   const bool *nulls)
{
	Circumstances circumstances = {0};
	AlertStatus before = test->state.status;
	Sample		sample = {0};
	AlertEvent	event;
	bool		has_event;

	if (nulls[SAMPLE_AT] ||
		TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(values[SAMPLE_AT])))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("each sample needs a finite time \"at\"")));
	sample.at = DatumGetTimestampTz(values[SAMPLE_AT]);
	sample.has_value = !nulls[SAMPLE_VALUE];
	if (sample.has_value)
		sample.value = DatumGetFloat8(values[SAMPLE_VALUE]);
	sample.severity = nulls[SAMPLE_SEVERITY] ? -1 :
		severity_number(values[SAMPLE_SEVERITY]);
	if (!nulls[SAMPLE_SEVERITY] && sample.severity < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid severity: \"%s\"",
						TextDatumGetCString(values[SAMPLE_SEVERITY])),
				 errhint("Severities are P0, P1, P2 and P3.")));
	sample.fingerprint = nulls[SAMPLE_FINGERPRINT] ? "" :
		TextDatumGetCString(values[SAMPLE_FINGERPRINT]);
	circumstances.now = sample.at;
	circumstances.stale_us = test->stale_us;
	has_event = rule_evaluate(&test->condition, &test->state, &sample,
							  &circumstances, &event);
	if (has_event || test->state.status != before)
		put_transition(rsinfo->setResult, rsinfo->setDesc, test, sample.at,
					   values, nulls, has_event ? &event : NULL);
}

Datum
deploydb_test_rule(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	RuleTest	test = {0};
	OwnerScope	scope;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rule and samples must not be NULL")));
	owner_begin(&scope);
	load_rule(PG_GETARG_DATUM(0), &test);
	load_samples(PG_GETARG_JSONB_P(1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[SAMPLE_COLUMN_COUNT];
		bool		nulls[SAMPLE_COLUMN_COUNT];

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
						  values, nulls);
		run_sample(&test, rsinfo, values, nulls);
	}
	owner_end(&scope);
	return (Datum) 0;
}
