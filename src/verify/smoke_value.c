/*
 * smoke_value.c
 *		Values for the row that the smoke test writes.
 *
 * Locking: AccessShare on pg_enum.  Errors: none but out of memory.
 * No input function is called here: the INSERT does that, as the application's
 * would.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "facts/escape.h"
#include "verify/smoke_value.h"

#define RANDOM_BYTES 16

/* Room for random hexadecimal digits and their zero byte. */
typedef char RandomHex[RANDOM_BYTES * 2 + 1];

static void
random_bytes(uint8 *bytes)
{
	if (!pg_strong_random(bytes, RANDOM_BYTES))
		elog(ERROR, "could not generate random values");
}

static char *
random_hex(RandomHex hex)
{
	uint8		bytes[RANDOM_BYTES];

	random_bytes(bytes);
	for (int i = 0; i < RANDOM_BYTES; i++)
		snprintf(hex + i * 2, 3, "%02x", bytes[i]);
	return hex;
}

static uint32
random_below(uint32 limit)
{
	uint8		bytes[RANDOM_BYTES];
	uint32		value;

	random_bytes(bytes);
	memcpy(&value, bytes, sizeof(value));
	return value % limit;
}

/* Says what it is where there is room, and else is as random as it can be. */
static char *
text_value(Oid type, int32 typmod)
{
	const char *prefix = "deploydb-smoke-";
	RandomHex	hex;
	size_t		room = type == CHAROID ? 1 : NAMEDATALEN - 1;

	if (typmod >= (int32) VARHDRSZ)
		room = (size_t) typmod - VARHDRSZ;
	random_hex(hex);
	if (room >= strlen(prefix) + strlen(hex))
		return psprintf("%s%s", prefix, hex);
	return pnstrdup(hex, Min(room, strlen(hex)));
}

static char *
number_value(Oid type, int32 typmod, bool distinct)
{
	uint32		limit = 1000000000;

	if (!distinct)
		return pstrdup("0");
	if (type == INT2OID)
		limit = PG_INT16_MAX;
	else if (type == NUMERICOID && typmod >= (int32) VARHDRSZ)
	{
		int			precision = ((typmod - (int32) VARHDRSZ) >> 16) & 0xffff;
		int			scale = (((typmod - (int32) VARHDRSZ) & 0x7ff) ^ 1024) - 1024;

		limit = 1;
		for (int digits = precision - scale; digits > 0 && limit < 1000000000; digits--)
			limit *= 10;
	}
	return psprintf("%u", random_below(limit));
}

/* Whole seconds, in UTC as Prisma writes them, whatever the precision. */
static char *
time_value(void)
{
	pg_time_t	now = timestamptz_to_time_t(GetCurrentTimestamp());
	struct pg_tm *tm = pg_gmtime(&now);

	return psprintf("%04d-%02d-%02d %02d:%02d:%02d+00",
					tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday,
					tm->tm_hour, tm->tm_min, tm->tm_sec);
}

static char *
uuid_value(void)
{
	RandomHex	hex;

	random_hex(hex);
	hex[12] = '4';				/* version */
	hex[16] = '8';				/* variant */
	return psprintf("%.8s-%.4s-%.4s-%.4s-%.12s",
					hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* With a character beyond ASCII where the server's encoding has it. */
static char *
json_value(void)
{
	bool		has_character = GetDatabaseEncoding() != PG_SQL_ASCII &&
		utf8_to_server("\xe6\xb3\xa8") != NULL;

	return psprintf("{\"deploydb\": \"smoke\", \"text\": \"%s\", "
					"\"nested\": {\"list\": [1, 2.5, -3e2, true, null, {\"a\": []}]}}",
					has_character ? "\\u6ce8" : "plain");
}

static char *
bits_value(Oid type, int32 typmod)
{
	int			length = type == BITOID ? Max(typmod, 1) : 1;
	char	   *bits = palloc((Size) length + 1);

	memset(bits, '0', (size_t) length);
	bits[length] = '\0';
	return bits;
}

/* The first label in the enum's order, or NULL where it has none. */
static char *
enum_value(Oid type)
{
	Relation	pg_enum = table_open(EnumRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	float4		lowest = 0;
	char	   *label = NULL;

	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan(pg_enum, EnumTypIdLabelIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_enum form = (Form_pg_enum) GETSTRUCT(tuple);

		if (label == NULL || form->enumsortorder < lowest)
		{
			lowest = form->enumsortorder;
			label = pstrdup(NameStr(form->enumlabel));
		}
	}
	systable_endscan(scan);
	table_close(pg_enum, AccessShareLock);
	return label;
}

/* Base types that their category does not settle. */
static char *
base_value(Oid type, int32 typmod, bool distinct)
{
	RandomHex	hex;
	char		category;
	bool		preferred;

	switch (type)
	{
		case JSONOID:
		case JSONBOID:
			return json_value();
		case UUIDOID:
			return uuid_value();
		case CHAROID:
			return text_value(type, typmod);
		case BYTEAOID:
			return psprintf("\\x%s", random_hex(hex));
		case TSVECTOROID:
			return pstrdup("");
		default:
			break;
	}

	get_type_category_preferred(type, &category, &preferred);
	switch (category)
	{
		case TYPCATEGORY_STRING:
			return text_value(type, typmod);
		case TYPCATEGORY_NUMERIC:
			return number_value(type, typmod, distinct);
		case TYPCATEGORY_BOOLEAN:
			return pstrdup("true");
		case TYPCATEGORY_DATETIME:
			return time_value();
		case TYPCATEGORY_TIMESPAN:
			return pstrdup("1 second");
		case TYPCATEGORY_NETWORK:
			return pstrdup("127.0.0.1");
		case TYPCATEGORY_BITSTRING:
			return bits_value(type, typmod);
		default:
			return NULL;
	}
}

char *
smoke_value(Oid type, int32 typmod, bool distinct)
{
	Oid			base = getBaseTypeAndTypmod(type, &typmod);

	if (OidIsValid(get_element_type(base)))
		return pstrdup("{}");
	switch (get_typtype(base))
	{
		case TYPTYPE_BASE:
			return base_value(base, typmod, distinct);
		case TYPTYPE_ENUM:
			return enum_value(base);
		case TYPTYPE_RANGE:
			return pstrdup("empty");
		case TYPTYPE_MULTIRANGE:
			return pstrdup("{}");
		default:
			return NULL;
	}
}

bool
smoke_type_is_json(Oid type)
{
	Oid			base = getBaseType(type);

	return base == JSONOID || base == JSONBOID;
}
