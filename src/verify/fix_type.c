/*
 * fix_type.c
 *		Fixes of enums, domains and composite types.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"

#include "verify/fix_context.h"

static bool
list_has(const List *list, const char *text)
{
	ListCell   *cell;

	foreach(cell, list)
	{
		if (strcmp(lfirst(cell), text) == 0)
			return true;
	}
	return false;
}

/* Are all of few in many, in the same order? */
static bool
is_subsequence(const List *few, const List *many)
{
	int			found = 0;
	ListCell   *cell;

	foreach(cell, many)
	{
		if (found < list_length(few) &&
			strcmp(list_nth(few, found), lfirst(cell)) == 0)
			found++;
	}
	return found == list_length(few);
}

/* One label a statement: the next verification offers the next. */
static void
fix_labels(FixContext *fix, const char *name)
{
	List	   *wanted = fix_split_list(fix->d->expected ? fix->d->expected : "");
	List	   *present = fix_split_list(fix->d->actual ? fix->d->actual : "");
	int			missing = list_length(wanted) - list_length(present);
	int			at = 0;

	if (missing <= 0 || !is_subsequence(present, wanted))
	{
		fix_advise(fix, "Labels can be neither removed nor moved: rename them with ALTER TYPE %s RENAME VALUE, or make a new type and change the columns to it.",
				   name);
		return;
	}
	while (list_has(present, list_nth(wanted, at)))
		at++;
	if (at > 0)
		fix_set(fix, "ALTER TYPE %s ADD VALUE %s AFTER %s", name,
				(char *) list_nth(wanted, at),
				(char *) list_nth(wanted, at - 1));
	else if (present)
		fix_set(fix, "ALTER TYPE %s ADD VALUE %s BEFORE %s", name,
				(char *) list_nth(wanted, at), (char *) linitial(present));
	else
		fix_set(fix, "ALTER TYPE %s ADD VALUE %s", name,
				(char *) list_nth(wanted, at));
	if (missing > 1)
		fix_advise(fix, "%d more label%s missing: verify again, which offers the next.",
				   missing - 1, missing == 2 ? " is" : "s are");
}

void
fix_of_enum(FixContext *fix)
{
	char	   *name = fix_qualified(fix, fix->d->object);
	const char *property = fix->d->property;

	if (strcmp(property, PROPERTY_EXISTS) == 0)
	{
		const char *labels = fix_expected(fix, "labels");

		if (fix_is_yes(fix->d->expected))
			fix_set(fix, "CREATE TYPE %s AS ENUM (%s)", name,
					labels ? labels : "");
		else
			fix_set(fix, "DROP TYPE %s", name);
	}
	else if (strcmp(property, "labels") == 0)
		fix_labels(fix, name);
	else if (strcmp(property, "comment") == 0)
		fix_comment(fix, psprintf("TYPE %s", name));
}

static void
create_domain(FixContext *fix, const char *name)
{
	const char *type = fix_expected(fix, "type");
	const char *collation = fix_expected(fix, "collation");
	const char *value = fix_expected(fix, "default");
	const char *checks = fix_expected(fix, "checks");
	StringInfoData sql;
	ListCell   *cell;

	if (type == NULL)
		return;
	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE DOMAIN %s AS %s", name, fix_type(fix, type));
	if (collation)
		appendStringInfo(&sql, " COLLATE %s", collation);
	if (value)
		appendStringInfo(&sql, " DEFAULT %s", fix_qualify(fix, value, false));
	if (fix_is_yes(fix_expected(fix, "not_null")))
		appendStringInfoString(&sql, " NOT NULL");
	foreach(cell, fix_split_list(checks ? checks : ""))
		appendStringInfo(&sql, " %s", fix_qualify(fix, lfirst(cell), false));
	fix->d->fix = sql.data;
}

/* Name of "CONSTRAINT name CHECK (…)", as it stands there. */
static char *
check_name(const char *check)
{
	const char *name = check + strlen("CONSTRAINT ");
	const char *end = strstr(name, " CHECK ");

	return end ? pnstrdup(name, end - name) : pstrdup(name);
}

/* One check a statement: the wrong ones go before the right ones come. */
static void
fix_checks(FixContext *fix, const char *name)
{
	List	   *wanted = fix_split_list(fix->d->expected ? fix->d->expected : "");
	List	   *present = fix_split_list(fix->d->actual ? fix->d->actual : "");
	ListCell   *cell;

	fix_advise(fix, "Where several checks differ, verify again, which offers the next.");
	foreach(cell, present)
	{
		if (!list_has(wanted, lfirst(cell)))
		{
			fix_set(fix, "ALTER DOMAIN %s DROP CONSTRAINT %s", name,
					check_name(lfirst(cell)));
			return;
		}
	}
	foreach(cell, wanted)
	{
		if (!list_has(present, lfirst(cell)))
		{
			fix_set(fix, "ALTER DOMAIN %s ADD %s", name,
					fix_qualify(fix, lfirst(cell), false));
			return;
		}
	}
}

void
fix_of_domain(FixContext *fix)
{
	char	   *name = fix_qualified(fix, fix->d->object);
	const char *property = fix->d->property;
	const char *expected = fix->d->expected;

	if (strcmp(property, PROPERTY_EXISTS) == 0)
	{
		if (fix_is_yes(expected))
			create_domain(fix, name);
		else
			fix_set(fix, "DROP DOMAIN %s", name);
	}
	else if (strcmp(property, "default") == 0)
		fix_set(fix, "ALTER DOMAIN %s %s%s", name,
				expected ? "SET DEFAULT " : "DROP DEFAULT",
				expected ? fix_qualify(fix, expected, false) : "");
	else if (strcmp(property, "not_null") == 0)
		fix_set(fix, "ALTER DOMAIN %s %s NOT NULL", name,
				fix_is_yes(expected) ? "SET" : "DROP");
	else if (strcmp(property, "checks") == 0)
		fix_checks(fix, name);
	else if (strcmp(property, "comment") == 0)
		fix_comment(fix, psprintf("DOMAIN %s", name));
	else
		fix_advise(fix, "A domain keeps its type: make a new domain and change the columns to it.");
}

static void
fix_attributes(FixContext *fix, const char *name)
{
	List	   *wanted = fix_split_list(fix->d->expected ? fix->d->expected : "");
	List	   *present = fix_split_list(fix->d->actual ? fix->d->actual : "");
	int			at = list_length(present);

	if (at < list_length(wanted) &&
		is_subsequence(present, list_truncate(list_copy(wanted), at)))
		fix_set(fix, "ALTER TYPE %s ADD ATTRIBUTE %s", name,
				fix_type(fix, list_nth(wanted, at)));
	else
		fix_advise(fix, "Change it by hand with ALTER TYPE %s (ADD, DROP, ALTER or RENAME ATTRIBUTE), to: %s",
				   name, fix->d->expected ? fix->d->expected : "");
}

void
fix_of_composite(FixContext *fix)
{
	char	   *name = fix_qualified(fix, fix->d->object);
	const char *columns = fix_expected(fix, "columns");

	if (strcmp(fix->d->property, PROPERTY_EXISTS) != 0)
		fix_attributes(fix, name);
	else if (fix_is_yes(fix->d->expected))
		fix_set(fix, "CREATE TYPE %s AS (%s)", name,
				columns ? fix_type(fix, columns) : "");
	else
		fix_set(fix, "DROP TYPE %s", name);
}
