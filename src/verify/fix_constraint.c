/*
 * fix_constraint.c
 *		Fixes of constraints.
 *
 * A constraint cannot be changed in most ways; DROP and ADD in one ALTER
 * TABLE is one statement and leaves no moment without it.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/formatting.h"

#include "verify/fix_context.h"

/* What only DROP and ADD changes; sorted by name. */
static const char *const constraint_shape[] = {
	"columns", "deferrable", "definition", "enforced", "type", NULL
};

static bool
is_value(const char *value, const char *wanted)
{
	return value != NULL && strcmp(value, wanted) == 0;
}

static const char *
deferrable_clause(const char *deferrable)
{
	if (is_value(deferrable, "deferrable"))
		return " DEFERRABLE";
	if (is_value(deferrable, "initially deferred"))
		return " DEFERRABLE INITIALLY DEFERRED";
	return "";
}

/* The expected constraint, as it stands after CONSTRAINT. */
char *
fix_constraint_definition(const FixContext *fix, const char *constraint)
{
	const char *definition = factset_get(fix->expected, "constraint",
										 constraint, "definition");
	const char *deferrable = factset_get(fix->expected, "constraint",
										 constraint, "deferrable");
	const char *enforced = factset_get(fix->expected, "constraint",
									   constraint, "enforced");
	char	   *parts[2];

	if (definition == NULL || object_split(constraint, parts) != 2)
		return pstrdup("");
	return psprintf("%s %s%s%s", quote_identifier(parts[1]),
					fix_qualify(fix, definition, false),
					deferrable_clause(deferrable),
					is_value(enforced, "no") ? " NOT ENFORCED" : "");
}

/*
 * Is an index that is there under that name and backs a unique constraint all
 * that a plain unique index was to be?  ON CONFLICT does not take a deferrable
 * one.
 */
bool
fix_is_equivalent_unique(const FixContext *fix, const char *index)
{
	const char *table = factset_get(fix->actual, "index", index, "table");
	const char *deferrable = table == NULL ? NULL :
		factset_get(fix->actual, "constraint",
					psprintf("%s.%s", table, index), "deferrable");

	if (deferrable && strcmp(deferrable, "no") != 0)
		return false;
	if (!fix_has_object(fix->expected, "index", index) ||
		factset_get(fix->expected, "index", index, "constraint") ||
		!is_value(factset_get(fix->actual, "index", index, "constraint"), "unique"))
		return false;
	for (const char *const *p = fix_index_shape; *p; p++)
	{
		const char *wanted = factset_get(fix->expected, "index", index, *p);
		const char *is = factset_get(fix->actual, "index", index, *p);

		if (wanted != is && !(wanted && is && strcmp(wanted, is) == 0))
			return false;
	}
	return true;
}

/* Two ways to go on: leave it so, or have it exactly so. */
void
fix_advise_equivalent(FixContext *fix, const char *index)
{
	const Deviation *d = fix->d;
	const char *table = factset_get(fix->actual, "index", index, "table");

	fix_advise(fix, "The constraint does what the unique index was to do, so it can stay: SELECT deploydb.accept_deviation(%s, %s, %s, %s, 'why'). Or, to have it exactly so, in one transaction: ALTER TABLE %s DROP CONSTRAINT %s; %s",
			   quote_literal_cstr(d->migration ? d->migration : ""),
			   quote_literal_cstr(d->object_type),
			   quote_literal_cstr(d->object),
			   quote_literal_cstr(d->property),
			   fix_qualified(fix, table ? table : ""), index,
			   fix_create_index(fix, index, false));
}

/*
 * An index that has the constraint's name stands in the constraint's way,
 * unless the constraint can take it over.  Returns whether it did either.
 */
static bool
use_index_in_the_way(FixContext *fix)
{
	const char *index = fix->member;
	const char *type = fix_expected(fix, "type");
	const char *table = factset_get(fix->actual, "index", index, "table");
	const char *definition = fix_expected(fix, "definition");
	bool		key = is_value(type, "primary key") || is_value(type, "unique");

	if (table == NULL || factset_get(fix->actual, "index", index, "constraint"))
		return false;
	if (key && strcmp(table, fix->table) == 0 &&
		fix_is_yes(factset_get(fix->actual, "index", index, "unique")) &&
		fix_is_yes(factset_get(fix->actual, "index", index, "valid")) &&
		is_value(factset_get(fix->actual, "index", index, "columns"),
				 fix_expected(fix, "columns")) &&
		!factset_get(fix->actual, "index", index, "predicate") &&
		!factset_get(fix->actual, "index", index, "include") &&
		!factset_get(fix->actual, "index", index, "nulls_not_distinct") &&
		!strstr(definition, " INCLUDE (") &&
		!strstr(definition, " NULLS NOT DISTINCT"))
	{
		fix_set(fix, "ALTER TABLE %s ADD CONSTRAINT %s %s USING INDEX %s%s",
				fix->qualified_table, fix->member,
				asc_toupper(type, strlen(type)), index,
				deferrable_clause(fix_expected(fix, "deferrable")));
		fix_advise(fix, "It takes over the index that is there.");
	}
	else
		fix_advise(fix, "An index of that name stands in the way; drop it first: DROP INDEX CONCURRENTLY %s",
				   fix_qualified(fix, index));
	return true;
}

static void
add_constraint(FixContext *fix)
{
	const char *type = fix_expected(fix, "type");
	char	   *definition;

	if (fix_expected(fix, "definition") == NULL || use_index_in_the_way(fix))
		return;
	definition = fix_constraint_definition(fix, fix->d->object);
	if (is_value(fix_expected(fix, "validated"), "no"))
	{
		fix_set(fix, "ALTER TABLE %s ADD CONSTRAINT %s%s",
				fix->qualified_table, definition,
				fix_expected(fix, "enforced") ? "" : " NOT VALID");
		return;
	}
	fix_set(fix, "ALTER TABLE %s ADD CONSTRAINT %s", fix->qualified_table,
			definition);
	if (is_value(type, "check") || is_value(type, "foreign key"))
		fix_advise(fix, "It reads the whole table under a lock that stops writes. On a large one, end it with NOT VALID and then run ALTER TABLE %s VALIDATE CONSTRAINT %s",
				   fix->qualified_table, fix->member);
	else
		fix_advise(fix, "It builds an index under ACCESS EXCLUSIVE, and fails where rows break the rule.");
}

static void
drop_constraint(FixContext *fix)
{
	if (fix_is_equivalent_unique(fix, fix->member))
	{
		fix_advise_equivalent(fix, fix->member);
		return;
	}
	fix_set(fix, "ALTER TABLE %s DROP CONSTRAINT %s", fix->qualified_table,
			fix->member);
	fix_advise(fix, "Make sure first that nobody relies on it.");
}

static void
alter_deferrable(FixContext *fix)
{
	const char *clause = deferrable_clause(fix->d->expected);

	fix_set(fix, "ALTER TABLE %s ALTER CONSTRAINT %s%s", fix->qualified_table,
			fix->member,
			*clause == '\0' ? " NOT DEFERRABLE" :
			is_value(fix->d->expected, "deferrable") ?
			" DEFERRABLE INITIALLY IMMEDIATE" : clause);
}

static void
replace_constraint(FixContext *fix, const char *carrier)
{
	const char *type = fix_actual(fix, "type");

	if (strcmp(fix->d->property, carrier) != 0)
	{
		fix_advise(fix, "Mended together with its %s.", carrier);
		return;
	}
	if (fix_expected(fix, "definition") == NULL)
		return;
	fix_set(fix, "ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %s%s",
			fix->qualified_table, fix->member,
			fix_constraint_definition(fix, fix->d->object),
			is_value(fix_expected(fix, "validated"), "no") &&
			!fix_expected(fix, "enforced") ? " NOT VALID" : "");
	if (is_value(type, "primary key") || is_value(type, "unique"))
		fix_advise(fix, "It builds an index under ACCESS EXCLUSIVE. Where foreign keys rely on the constraint it fails: drop them first, and add them again.");
	else
		fix_advise(fix, "It reads the whole table under a lock that stops writes, and fails where rows break the rule.");
}

static void
fix_validated(FixContext *fix)
{
	if (fix_is_yes(fix->d->expected))
	{
		fix_set(fix, "ALTER TABLE %s VALIDATE CONSTRAINT %s",
				fix->qualified_table, fix->member);
		fix_advise(fix, "Writes go on meanwhile; it fails where rows break the rule.");
	}
	else
		fix_advise(fix, "It is stricter than expected, which does no harm.");
}

void
fix_of_constraint(FixContext *fix)
{
	const char *property = fix->d->property;
	const char *carrier;

	if (strcmp(property, PROPERTY_EXISTS) == 0)
	{
		if (fix_is_yes(fix->d->expected))
			add_constraint(fix);
		else
			drop_constraint(fix);
		return;
	}
	if (strcmp(property, "comment") == 0)
	{
		fix_comment(fix, psprintf("CONSTRAINT %s ON %s", fix->member,
								  fix->qualified_table));
		return;
	}

	carrier = fix_first_of(fix, constraint_shape);
	if (carrier && strcmp(carrier, "deferrable") == 0 &&
		fix_first_of(fix, constraint_shape + 2) == NULL &&
		is_value(fix_actual(fix, "type"), "foreign key"))
	{
		/* Of a foreign key this can be changed in place. */
		if (strcmp(property, "deferrable") == 0)
			alter_deferrable(fix);
		else
			fix_validated(fix);
	}
	else if (carrier)
		replace_constraint(fix, carrier);
	else if (strcmp(property, "validated") == 0)
		fix_validated(fix);
}
