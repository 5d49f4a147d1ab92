/*
 * factset.c
 *		A set of facts: a growing array of strings, sorted once it is full.
 *
 * Locking: none.  Memory: the context current at factset_create().
 * Errors: out of memory, and a stored array of the wrong shape.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "facts/factset.h"

#define FIELDS_PER_FACT 4

FactSet *
factset_create(void)
{
	FactSet    *set = palloc0(sizeof(FactSet));

	set->context = CurrentMemoryContext;
	set->allocated = 64;
	set->facts = palloc(set->allocated * sizeof(Fact));
	return set;
}

/* A slot for one more fact, its strings still to be filled in. */
static Fact *
factset_next(FactSet *set)
{
	if (set->count == set->allocated)
	{
		set->allocated *= 2;
		set->facts = repalloc(set->facts, set->allocated * sizeof(Fact));
	}
	return &set->facts[set->count++];
}

void
factset_add(FactSet *set, const char *object_type, const char *object,
			const char *property, const char *value)
{
	Fact	   *fact;

	if (value == NULL)
		return;
	fact = factset_next(set);
	fact->object_type = MemoryContextStrdup(set->context, object_type);
	fact->object = MemoryContextStrdup(set->context, object);
	fact->property = MemoryContextStrdup(set->context, property);
	fact->value = MemoryContextStrdup(set->context, value);
}

void
factset_append(FactSet *set, const Fact *fact)
{
	*factset_next(set) = *fact;
}

int
fact_compare_object(const Fact *a, const Fact *b)
{
	int			order = strcmp(a->object_type, b->object_type);

	return order != 0 ? order : strcmp(a->object, b->object);
}

int
fact_compare(const Fact *a, const Fact *b)
{
	int			order = fact_compare_object(a, b);

	return order != 0 ? order : strcmp(a->property, b->property);
}

static int
fact_compare_qsort(const void *a, const void *b)
{
	return fact_compare((const Fact *) a, (const Fact *) b);
}

void
factset_sort(FactSet *set)
{
	qsort(set->facts, set->count, sizeof(Fact), fact_compare_qsort);
}

int
factset_find_object(const FactSet *set, const char *object_type,
					const char *object, int *count)
{
	Fact		key = {.object_type = object_type,.object = object};
	int			low = 0;
	int			high = set->count;
	int			end;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (fact_compare_object(&set->facts[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}

	end = low;
	while (end < set->count &&
		   fact_compare_object(&set->facts[end], &key) == 0)
		end++;
	if (count)
		*count = end - low;
	return end > low ? low : -1;
}

const char *
factset_get(const FactSet *set, const char *object_type, const char *object,
			const char *property)
{
	int			count;
	int			first = factset_find_object(set, object_type, object, &count);

	for (int i = 0; i < count; i++)
	{
		if (strcmp(set->facts[first + i].property, property) == 0)
			return set->facts[first + i].value;
	}
	return NULL;
}

ArrayType *
factset_to_array(const FactSet *set)
{
	int			nelems = set->count * FIELDS_PER_FACT;
	Datum	   *elems = palloc(sizeof(Datum) * Max(nelems, 1));

	for (int i = 0; i < set->count; i++)
	{
		Datum	   *e = &elems[i * FIELDS_PER_FACT];

		e[0] = CStringGetTextDatum(set->facts[i].object_type);
		e[1] = CStringGetTextDatum(set->facts[i].object);
		e[2] = CStringGetTextDatum(set->facts[i].property);
		e[3] = CStringGetTextDatum(set->facts[i].value);
	}
	return construct_array(elems, nelems, TEXTOID, -1, false, TYPALIGN_INT);
}

FactSet *
factset_from_array(ArrayType *array)
{
	FactSet    *set = factset_create();
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &nelems);
	if (nelems % FIELDS_PER_FACT != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stored facts are damaged"),
				 errdetail("The array has %d elements, which is not a multiple of %d.",
						   nelems, FIELDS_PER_FACT)));

	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("stored facts are damaged"),
					 errdetail("Element %d of the array is NULL.", i + 1)));
	}
	for (int i = 0; i < nelems; i += FIELDS_PER_FACT)
	{
		Fact	   *fact = factset_next(set);

		fact->object_type = TextDatumGetCString(elems[i]);
		fact->object = TextDatumGetCString(elems[i + 1]);
		fact->property = TextDatumGetCString(elems[i + 2]);
		fact->value = TextDatumGetCString(elems[i + 3]);
	}
	return set;
}

/*
 * Feeds one string with its terminating NUL, which cannot occur in text, so
 * that no two sets give the same bytes.  A SQL_ASCII database has no known
 * encoding; its bytes are taken as they are.
 */
static void
hash_string(pg_cryptohash_ctx *hash, const char *string)
{
	const char *utf8 = string;

	if (GetDatabaseEncoding() != PG_UTF8 &&
		GetDatabaseEncoding() != PG_SQL_ASCII)
		utf8 = pg_server_to_any(string, strlen(string), PG_UTF8);
	if (pg_cryptohash_update(hash, (const uint8 *) utf8, strlen(utf8) + 1) < 0)
		elog(ERROR, "could not update SHA-256");
}

char *
factset_fingerprint(const FactSet *set)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	StringInfoData result;

	if (hash == NULL || pg_cryptohash_init(hash) < 0)
		elog(ERROR, "could not initialize SHA-256");
	PG_TRY();
	{
		for (int i = 0; i < set->count; i++)
		{
			const Fact *fact = &set->facts[i];

			hash_string(hash, fact->object_type);
			hash_string(hash, fact->object);
			hash_string(hash, fact->property);
			hash_string(hash, fact->value);
		}
		if (pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
			elog(ERROR, "could not finalize SHA-256");
	}
	PG_FINALLY();
	{
		pg_cryptohash_free(hash);
	}
	PG_END_TRY();

	initStringInfo(&result);
	appendStringInfo(&result, "deploydb:%d:%d:sha256:",
					 FACT_FORMAT, DEPLOYDB_SERVER_MAJOR);
	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		appendStringInfo(&result, "%02x", digest[i]);
	return result.data;
}

char *
object_of_table(const char *table, const char *name)
{
	return quote_qualified_identifier(table, name);
}

int
object_split(const char *object, char *parts[2])
{
	int			count = 0;
	const char *p = object;

	parts[0] = parts[1] = NULL;
	while (count < 2)
	{
		StringInfoData part;
		bool		quoted = false;

		initStringInfo(&part);
		for (; *p; p++)
		{
			if (*p == '"')
			{
				if (quoted && p[1] == '"')
					appendStringInfoChar(&part, *p++);
				else
					quoted = !quoted;
			}
			else if (*p == '.' && !quoted && count == 0)
				break;
			else
				appendStringInfoChar(&part, *p);
		}
		parts[count++] = part.data;
		if (*p++ != '.')
			break;
	}
	return count;
}

int
object_name_length(const char *object)
{
	const char *p = object + 1;

	if (*object != '"')
		return strcspn(object, " (");
	while (*p && (*p != '"' || *++p == '"'))
		p++;
	return p - object;
}
