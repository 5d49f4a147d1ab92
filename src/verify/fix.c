/*
 * fix.c
 *		The SQL that mends a deviation: dispatch, and what all builders share.
 *
 * A fix is text alone; nothing here runs SQL.  A statement that could lose
 * data is never a fix: it stands in the advice, where nobody pastes it
 * without having read it.  Where several properties of one object are mended
 * by one statement, the first of them (in the order of the report, by name)
 * carries it and the others say so; pasting a whole report therefore runs
 * every statement once.
 *
 * Locking: none but that of row_probe.c.  Errors: out of memory, cancel
 * requests.  Memory: the current context.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"

#include "facts/escape.h"
#include "verify/fix.h"
#include "verify/fix_context.h"

typedef struct FixBuilder
{
	const char *object_type;
	void		(*build) (FixContext *fix);
} FixBuilder;

static const FixBuilder fix_builders[] = {
	{"table", fix_of_table},
	{"column", fix_of_column},
	{"constraint", fix_of_constraint},
	{"index", fix_of_index},
	{"trigger", fix_of_trigger},
	{"rule", fix_of_rule},
	{"policy", fix_of_policy},
	{"enum", fix_of_enum},
	{"domain", fix_of_domain},
	{"composite type", fix_of_composite},
	{"view", fix_of_view},
	{"sequence", fix_of_sequence},
	{"function", fix_of_function},
	{"ledger", fix_of_ledger},
};

/* Objects whose name is table.name. */
static bool
is_member_type(const char *object_type)
{
	static const char *const types[] = {"column", "constraint", "trigger",
	"rule", "policy"};

	for (int i = 0; i < (int) lengthof(types); i++)
	{
		if (strcmp(types[i], object_type) == 0)
			return true;
	}
	return false;
}

void
deviation_fix(Deviation *d, const FactSet *expected, const FactSet *actual,
			  const char *schema)
{
	FixContext	fix = {
		.d = d,.expected = expected,.actual = actual,
		.schema_name = schema,.schema = quote_identifier(schema)
	};

	if (d->status != DEVIATION_MISSING && d->status != DEVIATION_DIFFERENT &&
		d->status != DEVIATION_UNEXPECTED && d->status != DEVIATION_BUILDING)
		return;

	if (is_member_type(d->object_type))
	{
		char	   *parts[2];

		if (object_split(d->object, parts) != 2)
			return;
		fix.table = pstrdup(quote_identifier(parts[0]));
		fix.qualified_table = fix_qualified(&fix, fix.table);
		fix.member = pstrdup(quote_identifier(parts[1]));
	}

	for (int i = 0; i < (int) lengthof(fix_builders); i++)
	{
		if (strcmp(fix_builders[i].object_type, d->object_type) == 0)
		{
			fix_builders[i].build(&fix);
			return;
		}
	}
}

static char *format_text(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static char *
format_text(const char *format, va_list args)
{
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		copy;
		int			needed;

		va_copy(copy, args);
		needed = appendStringInfoVA(&text, format, copy);
		va_end(copy);
		if (needed == 0)
			return text.data;
		enlargeStringInfo(&text, needed);
	}
}

void
fix_set(FixContext *fix, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fix->d->fix = format_text(format, args);
	va_end(args);
}

/* What the comparison has to say goes first. */
void
fix_advise(FixContext *fix, const char *format,...)
{
	va_list		args;

	if (fix->d->advice != NULL)
		return;
	va_start(args, format);
	fix->d->advice = format_text(format, args);
	va_end(args);
}

/* Another property of the same object. */
const char *
fix_expected(const FixContext *fix, const char *property)
{
	return factset_get(fix->expected, fix->d->object_type, fix->d->object,
					   property);
}

const char *
fix_actual(const FixContext *fix, const char *property)
{
	return factset_get(fix->actual, fix->d->object_type, fix->d->object,
					   property);
}

static bool
is_same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool
fix_differs(const FixContext *fix, const char *property)
{
	return !is_same(fix_expected(fix, property), fix_actual(fix, property));
}

/* The first of the properties (sorted, ends with NULL) that differs. */
const char *
fix_first_of(const FixContext *fix, const char *const *properties)
{
	for (; *properties; properties++)
	{
		if (fix_differs(fix, *properties))
			return *properties;
	}
	return NULL;
}

/* An object that is expected to be gone is not one of the set's. */
bool
fix_has_object(const FactSet *set, const char *object_type,
			   const char *object)
{
	const char *exists;

	if (factset_find_object(set, object_type, object, NULL) < 0)
		return false;
	exists = factset_get(set, object_type, object, PROPERTY_EXISTS);
	return exists == NULL || strcmp(exists, "no") != 0;
}

/*
 * The next object of a table's, as it stands in the facts; *position starts
 * at 0.  NULL after the last.
 */
const char *
fix_next_member(const FactSet *set, int *position, const char *object_type,
				const char *table)
{
	size_t		length = strlen(table);

	for (int i = *position; i < set->count; i++)
	{
		const Fact *fact = &set->facts[i];

		if (strcmp(fact->object_type, object_type) != 0 ||
			strncmp(fact->object, table, length) != 0 ||
			fact->object[length] != '.' ||
			strcmp(fact->property, PROPERTY_EXISTS) == 0 ||
			(i > 0 && fact_compare_object(fact, &set->facts[i - 1]) == 0))
			continue;
		*position = i + 1;
		return fact->object;
	}
	return NULL;
}

/* "name" is quoted, as in a fact. */
char *
fix_qualified(const FixContext *fix, const char *name)
{
	return psprintf("%s.%s", fix->schema, name);
}

bool
fix_is_yes(const char *value)
{
	return value != NULL && strcmp(value, "yes") == 0;
}

/* target is what follows COMMENT ON. */
void
fix_comment(FixContext *fix, const char *target)
{
	bool		lossless = true;
	char	   *text;

	if (fix->d->expected == NULL)
	{
		fix_set(fix, "COMMENT ON %s IS NULL", target);
		return;
	}
	text = comment_unescape(fix->d->expected, &lossless);
	if (lossless)
		fix_set(fix, "COMMENT ON %s IS %s", target, quote_literal_cstr(text));
	else
		fix_advise(fix, "The encoding of this database cannot hold the comment.");
}
