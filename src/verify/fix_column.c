/*
 * fix_column.c
 *		Fixes of columns.
 *
 * Whether NOT NULL can be had depends on the rows, so the table is looked at
 * (row_probe.h).  Where that cannot be done, rows are taken to be there.
 *
 * Locking: that of row_probe.c.  Errors: out of memory, cancel requests.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "verify/fix_context.h"
#include "verify/row_probe.h"

static const char *
expected_of(const FixContext *fix, const char *column, const char *property)
{
	return factset_get(fix->expected, "column", column, property);
}

/*
 * The pseudo-type that gives the column's expected default together with its
 * sequence, or NULL: for a missing column that owns a sequence of the standard
 * name that is missing too.
 */
const char *
fix_serial_type(const FixContext *fix, const char *column)
{
	const char *type = expected_of(fix, column, "type");
	const char *value = expected_of(fix, column, "default");
	const char *serial;
	const char *sequence;
	const char *owner;
	char	   *parts[2];

	if (type == NULL || value == NULL || object_split(column, parts) != 2 ||
		fix_has_object(fix->actual, "column", column))
		return NULL;
	if (strcmp(type, "integer") == 0)
		serial = "serial";
	else if (strcmp(type, "bigint") == 0)
		serial = "bigserial";
	else if (strcmp(type, "smallint") == 0)
		serial = "smallserial";
	else
		return NULL;

	sequence = quote_identifier(makeObjectName(parts[0], parts[1], "seq"));
	owner = factset_get(fix->expected, "sequence", sequence, "owned_by");
	if (owner == NULL || strcmp(owner, column) != 0 ||
		fix_has_object(fix->actual, "sequence", sequence) ||
		strcmp(value, psprintf("nextval(%s::regclass)",
							   quote_literal_cstr(sequence))) != 0)
		return NULL;
	return serial;
}

/* Of "stored (a + b)": the clause that makes the column generated. */
static char *
generated_clause(const FixContext *fix, const char *generated)
{
	const char *space = strchr(generated, ' ');

	if (space == NULL)
		return pstrdup("");
	return psprintf(" GENERATED ALWAYS AS (%s) %.*s",
					fix_qualify(fix, space + 1, false),
					(int) (space - generated),
					asc_toupper(generated, strlen(generated)));
}

static char *
collate_clause(const char *collation)
{
	return collation ? psprintf(" COLLATE %s", collation) : pstrdup("");
}

/* What follows ADD COLUMN, or stands in CREATE TABLE. */
char *
fix_column_definition(const FixContext *fix, const char *column,
					  bool with_not_null)
{
	const char *type = expected_of(fix, column, "type");
	const char *value = expected_of(fix, column, "default");
	const char *identity = expected_of(fix, column, "identity");
	const char *generated = expected_of(fix, column, "generated");
	const char *serial = fix_serial_type(fix, column);
	StringInfoData sql;
	char	   *parts[2];

	initStringInfo(&sql);
	if (object_split(column, parts) != 2 || type == NULL)
		return sql.data;

	appendStringInfo(&sql, "%s %s%s", quote_identifier(parts[1]),
					 serial ? serial : fix_type(fix, type),
					 collate_clause(expected_of(fix, column, "collation")));
	if (generated)
		appendStringInfoString(&sql, generated_clause(fix, generated));
	else if (identity)
		appendStringInfo(&sql, " GENERATED %s AS IDENTITY",
						 asc_toupper(identity, strlen(identity)));
	else if (value && serial == NULL)
		appendStringInfo(&sql, " DEFAULT %s", fix_qualify(fix, value, false));
	if (with_not_null && fix_is_yes(expected_of(fix, column, "not_null")))
		appendStringInfoString(&sql, " NOT NULL");
	return sql.data;
}

static RowProbe
table_has_rows(const FixContext *fix)
{
	char	   *parts[2];

	if (object_split(fix->d->object, parts) != 2)
		return PROBE_UNKNOWN;
	return row_probe_rows(fix->schema_name, parts[0]);
}

static void
add_column(FixContext *fix)
{
	bool		fills_itself = fix_expected(fix, "default") ||
		fix_expected(fix, "identity") || fix_expected(fix, "generated");
	bool		not_null = fix_is_yes(fix_expected(fix, "not_null"));
	RowProbe	rows = not_null && !fills_itself ? table_has_rows(fix) : PROBE_NONE;

	if (fix_expected(fix, "type") == NULL)
		return;
	fix_set(fix, "ALTER TABLE %s ADD COLUMN %s", fix->qualified_table,
			fix_column_definition(fix, fix->d->object, rows == PROBE_NONE));
	if (rows != PROBE_NONE)
		fix_advise(fix, "%s, so the column is added without NOT NULL: fill it, then verify again, which offers SET NOT NULL.",
				   rows == PROBE_SOME ? "The table has rows" :
				   "Whether the table has rows could not be seen");
}

/* A column that nothing asked for. */
static void
fix_unexpected_column(FixContext *fix)
{
	bool		breaks_inserts = fix_is_yes(fix_actual(fix, "not_null")) &&
		!fix_actual(fix, "default") && !fix_actual(fix, "identity") &&
		!fix_actual(fix, "generated");

	if (breaks_inserts)
		fix_set(fix, "ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL",
				fix->qualified_table, fix->member);
	fix_advise(fix, "%s: ALTER TABLE %s DROP COLUMN %s",
			   breaks_inserts ?
			   "With NOT NULL and no default it makes every INSERT that does not name it fail. When nobody needs its data" :
			   "It may hold data, so nothing is offered to paste. When nobody needs it",
			   fix->qualified_table, fix->member);
}

/*
 * "character varying(10)" -> "character varying"; for the question whether
 * only a modifier goes away.
 */
static char *
without_modifier(const char *type)
{
	const char *open = strchr(type, '(');
	const char *close = open ? strchr(open, ')') : NULL;

	if (close == NULL)
		return pstrdup(type);
	return psprintf("%.*s%s", (int) (open - type), type, close + 1);
}

static bool
type_change_rewrites(const char *actual, const char *expected)
{
	const char *from = without_modifier(actual);

	if (strchr(expected, '('))
		return true;
	if (strcmp(from, expected) == 0)
		return false;
	return !((strcmp(from, "character varying") == 0 &&
			  strcmp(expected, "text") == 0) ||
			 (strcmp(from, "text") == 0 &&
			  strcmp(expected, "character varying") == 0));
}

/* An enum, or an array of one: no other type but text has a cast to it. */
static bool
is_enum(const FixContext *fix, const char *type)
{
	size_t		length = strlen(type);

	if (length > 2 && strcmp(type + length - 2, "[]") == 0)
		length -= 2;
	return factset_find_object(fix->expected, "enum", pnstrdup(type, length),
							   NULL) >= 0;
}

/*
 * Type and collation are one statement.  A default of the old type may not
 * have a cast to the new one, so it goes first, and the expected one comes
 * last; ALTER TABLE runs its parts in this order whatever their places.
 */
static void
fix_column_type(FixContext *fix)
{
	const char *type = fix_expected(fix, "type");
	const char *from = fix_actual(fix, "type");
	const char *value = fix_expected(fix, "default");
	StringInfoData sql;

	if (type == NULL || from == NULL)
		return;
	if (strcmp(fix->d->property, "type") == 0 && fix_differs(fix, "collation"))
	{
		fix_advise(fix, "Mended together with its collation.");
		return;
	}

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s ", fix->qualified_table);
	if (fix_actual(fix, "default"))
		appendStringInfo(&sql, "ALTER COLUMN %s DROP DEFAULT, ", fix->member);
	appendStringInfo(&sql, "ALTER COLUMN %s TYPE %s%s", fix->member,
					 fix_type(fix, type),
					 collate_clause(fix_expected(fix, "collation")));
	if (!fix_actual(fix, "generated"))
		appendStringInfo(&sql, " USING %s%s::%s", fix->member,
						 is_enum(fix, type) ? "::text" : "",
						 fix_type(fix, type));
	if (value && !fix_actual(fix, "generated"))
		appendStringInfo(&sql, ", ALTER COLUMN %s SET DEFAULT %s", fix->member,
						 fix_qualify(fix, value, false));
	fix->d->fix = sql.data;

	if (strcmp(type, from) == 0)
		fix_advise(fix, "Indexes on the column are rebuilt under ACCESS EXCLUSIVE.");
	else if (type_change_rewrites(from, type))
		fix_advise(fix, "It rewrites the table under ACCESS EXCLUSIVE. A value that cannot be cast makes it fail, and a longer one may be cut or rounded.");
}

static void
set_not_null(FixContext *fix)
{
	char	   *statement = psprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
									 fix->qualified_table, fix->member);
	char	   *finder = psprintf("SELECT * FROM %s WHERE %s IS NULL",
								  fix->qualified_table, fix->member);
	int64		nulls = 0;
	bool		whole = false;
	RowProbe	found = PROBE_UNKNOWN;
	char	   *parts[2];

	if (object_split(fix->d->object, parts) == 2)
		found = row_probe_nulls(fix->schema_name, parts[0], parts[1],
								&nulls, &whole);
	if (found == PROBE_SOME)
	{
		fix_advise(fix, "%s%lld row%s NULL there (%s). Fill in a value, then run %s",
				   whole ? "" : "At least ", (long long) nulls,
				   nulls == 1 ? " has" : "s have", finder, statement);
		return;
	}

	fix->d->fix = statement;
	if (found == PROBE_UNKNOWN)
		fix_advise(fix, "It fails where the column has NULLs; they are found by %s",
				   finder);
	else if (!whole)
		fix_advise(fix, "No NULL is among the first %d rows; it scans the table under ACCESS EXCLUSIVE, and fails if it finds one (%s).",
				   ROW_PROBE_LIMIT, finder);
}

static void
fix_not_null(FixContext *fix)
{
	const char *expected = fix->d->expected;

	if (fix_is_yes(expected))
		set_not_null(fix);
	else if (expected == NULL || strcmp(expected, "no") == 0)
		fix_set(fix, "ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL",
				fix->qualified_table, fix->member);
	else if (fix_is_yes(fix->d->actual))
		fix_advise(fix, "It is stricter than expected, which does no harm.");
	else
		fix_set(fix, "ALTER TABLE %s ADD NOT NULL %s NOT VALID",
				fix->qualified_table, fix->member);
}

static void
fix_default(FixContext *fix)
{
	/* The expected default need not fit the type that is there. */
	if ((fix_differs(fix, "type") || fix_differs(fix, "collation")) &&
		!fix_actual(fix, "generated"))
		fix_advise(fix, "Mended together with its %s.",
				   fix_differs(fix, "collation") ? "collation" : "type");
	else if (fix_expected(fix, "identity") && fix_differs(fix, "identity"))
		fix_advise(fix, "Mended together with its identity.");
	else if (fix->d->expected)
		fix_set(fix, "ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s",
				fix->qualified_table, fix->member,
				fix_qualify(fix, fix->d->expected, false));
	else
		fix_set(fix, "ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT",
				fix->qualified_table, fix->member);
}

static void
fix_identity(FixContext *fix)
{
	const char *expected = fix->d->expected;
	const char *kind = expected ? asc_toupper(expected, strlen(expected)) : NULL;

	if (kind == NULL)
		fix_set(fix, "ALTER TABLE %s ALTER COLUMN %s DROP IDENTITY",
				fix->qualified_table, fix->member);
	else if (fix->d->actual)
		fix_set(fix, "ALTER TABLE %s ALTER COLUMN %s SET GENERATED %s",
				fix->qualified_table, fix->member, kind);
	else
	{
		fix_set(fix, "ALTER TABLE %s %s%sALTER COLUMN %s SET NOT NULL, ALTER COLUMN %s ADD GENERATED %s AS IDENTITY",
				fix->qualified_table,
				fix_actual(fix, "default") ?
				psprintf("ALTER COLUMN %s DROP DEFAULT", fix->member) : "",
				fix_actual(fix, "default") ? ", " : "",
				fix->member, fix->member, kind);
		fix_advise(fix, "The sequence begins at 1: where rows are there, set it past the highest value of the column with setval() and pg_get_serial_sequence().");
	}
}

static void
fix_generated(FixContext *fix)
{
	if (fix->d->expected == NULL && fix->d->actual &&
		strncmp(fix->d->actual, "stored", 6) == 0)
		fix_set(fix, "ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION",
				fix->qualified_table, fix->member);
	else
		fix_advise(fix, "Only a new column mends it, in one transaction: ALTER TABLE %s DROP COLUMN %s, ADD COLUMN %s",
				   fix->qualified_table, fix->member,
				   fix_column_definition(fix, fix->d->object, true));
}

void
fix_of_column(FixContext *fix)
{
	const char *property = fix->d->property;

	if (strcmp(property, "comment") == 0)
		fix_comment(fix, psprintf("COLUMN %s.%s", fix->qualified_table,
								  fix->member));
	else if (fix_has_object(fix->expected, "view", fix->table))
		fix_advise(fix, "Mended with the definition of the view.");
	else if (strcmp(property, PROPERTY_EXISTS) == 0)
	{
		if (fix_is_yes(fix->d->expected))
			add_column(fix);
		else
			fix_unexpected_column(fix);
	}
	else if (strcmp(property, "type") == 0 ||
			 strcmp(property, "collation") == 0)
		fix_column_type(fix);
	else if (strcmp(property, "not_null") == 0)
		fix_not_null(fix);
	else if (strcmp(property, "default") == 0)
		fix_default(fix);
	else if (strcmp(property, "identity") == 0)
		fix_identity(fix);
	else if (strcmp(property, "generated") == 0)
		fix_generated(fix);
	else if (strcmp(property, "position") == 0)
		fix_advise(fix, "Harmless, unless a statement relies on the order of columns; only a rebuild of the table changes it.");
}
