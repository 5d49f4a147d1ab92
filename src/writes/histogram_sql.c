/*
 * histogram_sql.c
 *		Histograms as SQL sees them: texts.
 *
 * Locking: none.  Errors: a text that is no histogram.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "writes/histogram.h"

PG_FUNCTION_INFO_V1(deploydb_histogram_subtract);
PG_FUNCTION_INFO_V1(deploydb_histogram_sum);
PG_FUNCTION_INFO_V1(deploydb_histogram_quantiles);

static void
add_or_error(uint64 *counts, const char *string)
{
	if (!histogram_add(counts, string))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid histogram: \"%s\"", string)));
}

/*
 * What came since the older one.  Buckets are read while others count, so a
 * bucket never shrinks; what does is of another epoch.
 */
Datum
deploydb_histogram_subtract(PG_FUNCTION_ARGS)
{
	uint64	   *newer = palloc0(HISTOGRAM_BUCKETS * sizeof(uint64));
	uint64	   *older = palloc0(HISTOGRAM_BUCKETS * sizeof(uint64));

	add_or_error(newer, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	add_or_error(older, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		if (older[i] > newer[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the older histogram is not contained in the newer one")));
		newer[i] -= older[i];
	}
	PG_RETURN_TEXT_P(cstring_to_text(histogram_write(newer)));
}

static uint64 *
sum_of_array(ArrayType *array)
{
	uint64	   *counts = palloc0(HISTOGRAM_BUCKETS * sizeof(uint64));
	Datum	   *texts;
	bool	   *is_null;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, 'i', &texts, &is_null, &count);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_null[i])
			add_or_error(counts, TextDatumGetCString(texts[i]));
	}
	return counts;
}

Datum
deploydb_histogram_sum(PG_FUNCTION_ARGS)
{
	uint64	   *counts = sum_of_array(PG_GETARG_ARRAYTYPE_P(0));

	PG_RETURN_TEXT_P(cstring_to_text(histogram_write(counts)));
}

/* The 50th, 95th and 99th percentile of their sum, in milliseconds. */
Datum
deploydb_histogram_quantiles(PG_FUNCTION_ARGS)
{
	static const double wanted[] = {0.5, 0.95, 0.99};
	uint64	   *counts;
	TupleDesc	desc;
	Datum		values[lengthof(wanted)];
	bool		nulls[lengthof(wanted)];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	counts = sum_of_array(PG_GETARG_ARRAYTYPE_P(0));
	for (size_t i = 0; i < lengthof(wanted); i++)
	{
		double		microseconds = histogram_quantile(counts, wanted[i]);

		nulls[i] = isnan(microseconds);
		values[i] = Float8GetDatum(microseconds / 1000);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
