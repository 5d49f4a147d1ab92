/*
 * fix_trigger.c
 *		Fixes of triggers, rules and policies.
 *
 * What nobody expected may still be somebody's: triggers and rules are
 * disabled, which can be taken back, not dropped.  A trigger's definition is the
 * server's text, in which the table's name gets its schema.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "verify/fix_context.h"

/* The expected trigger's definition with the table qualified, or NULL. */
static char *
trigger_definition(const FixContext *fix)
{
	const char *definition = fix_expected(fix, "definition");

	if (definition == NULL)
		return NULL;
	return fix_replace_name(fix_qualify(fix, definition, false), "ON",
							fix->table, fix->qualified_table);
}

static void
create_trigger(FixContext *fix)
{
	char	   *definition = trigger_definition(fix);
	bool		is_new = (strcmp(fix->d->property, PROPERTY_EXISTS) == 0);

	if (definition == NULL)
		fix_advise(fix, "Create it by hand.");
	else if (is_new)
		fix->d->fix = definition;
	else if (strncmp(definition, "CREATE TRIGGER ", 15) == 0)
		fix_set(fix, "CREATE OR REPLACE TRIGGER %s", definition + 15);
	else
		/* A constraint trigger knows no OR REPLACE. */
		fix_advise(fix, "Only a new trigger mends it, in one transaction: DROP TRIGGER %s ON %s; %s",
				   fix->member, fix->qualified_table, definition);
}

/*
 * Only a rule that does nothing is offered: the actions of another name
 * tables of their own.  The fact is "ON event DO INSTEAD|ALSO action".
 */
static void
create_rule(FixContext *fix)
{
	static const char *const plain[] = {
		"ON INSERT DO INSTEAD NOTHING", "ON UPDATE DO INSTEAD NOTHING",
		"ON DELETE DO INSTEAD NOTHING", "ON INSERT DO ALSO NOTHING",
		"ON UPDATE DO ALSO NOTHING", "ON DELETE DO ALSO NOTHING"
	};
	const char *definition = fix_expected(fix, "definition");
	bool		is_new = (strcmp(fix->d->property, PROPERTY_EXISTS) == 0);

	for (int i = 0; definition && i < (int) lengthof(plain); i++)
	{
		if (strcmp(definition, plain[i]) == 0)
			fix_set(fix, "CREATE %sRULE %s AS %.9s TO %s%s",
					is_new ? "" : "OR REPLACE ", fix->member, definition,
					fix->qualified_table, definition + 9);
	}
	if (fix->d->fix == NULL)
		fix_advise(fix, "Run the migration's own CREATE %sRULE for it.",
				   is_new ? "" : "OR REPLACE ");
}

/* object is TRIGGER or RULE. */
static void
fix_enabled(FixContext *fix, const char *object)
{
	const char *expected = fix->d->expected ? fix->d->expected : "origin";
	const char *verb = "ENABLE";

	if (strcmp(expected, "disabled") == 0)
		verb = "DISABLE";
	else if (strcmp(expected, "replica") == 0)
		verb = "ENABLE REPLICA";
	else if (strcmp(expected, "always") == 0)
		verb = "ENABLE ALWAYS";
	fix_set(fix, "ALTER TABLE %s %s %s %s", fix->qualified_table, verb, object,
			fix->member);
}

/* There, but not to be: object is TRIGGER or RULE. */
static void
remove_hook(FixContext *fix, const char *object)
{
	const char *expected = fix_expected(fix, PROPERTY_EXISTS);
	const char *enabled = fix_actual(fix, "enabled");

	if (expected && strcmp(expected, "no") == 0)
		fix_set(fix, "DROP %s %s ON %s", object, fix->member,
				fix->qualified_table);
	else if (enabled && strcmp(enabled, "disabled") == 0)
		fix_advise(fix, "It is disabled. When nobody needs it: DROP %s %s ON %s",
				   object, fix->member, fix->qualified_table);
	else
	{
		fix_set(fix, "ALTER TABLE %s DISABLE %s %s", fix->qualified_table,
				object, fix->member);
		fix_advise(fix, "Make sure first that nobody relies on it. For good: DROP %s %s ON %s",
				   object, fix->member, fix->qualified_table);
	}
}

void
fix_of_trigger(FixContext *fix)
{
	const char *property = fix->d->property;

	if (strcmp(property, PROPERTY_EXISTS) == 0 && !fix_is_yes(fix->d->expected))
		remove_hook(fix, "TRIGGER");
	else if (strcmp(property, "enabled") == 0)
		fix_enabled(fix, "TRIGGER");
	else
		create_trigger(fix);
}

void
fix_of_rule(FixContext *fix)
{
	const char *property = fix->d->property;

	if (strcmp(property, PROPERTY_EXISTS) == 0 && !fix_is_yes(fix->d->expected))
		remove_hook(fix, "RULE");
	else if (strcmp(property, "enabled") == 0)
		fix_enabled(fix, "RULE");
	else
		create_rule(fix);
}

static char *
create_policy(const FixContext *fix)
{
	const char *command = fix_expected(fix, "command");
	const char *permissive = fix_expected(fix, "permissive");
	const char *roles = fix_expected(fix, "roles");
	const char *using = fix_expected(fix, "using");
	const char *check = fix_expected(fix, "check");
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE POLICY %s ON %s AS %s FOR %s TO %s",
					 fix->member, fix->qualified_table,
					 permissive && !fix_is_yes(permissive) ? "RESTRICTIVE" : "PERMISSIVE",
					 command ? command : "ALL", roles ? roles : "PUBLIC");
	if (using)
		appendStringInfo(&sql, " USING (%s)", fix_qualify(fix, using, false));
	if (check)
		appendStringInfo(&sql, " WITH CHECK (%s)",
						 fix_qualify(fix, check, false));
	return sql.data;
}

static void
alter_policy(FixContext *fix)
{
	const char *property = fix->d->property;
	const char *expected = fix->d->expected;
	const char *alter = psprintf("ALTER POLICY %s ON %s", fix->member,
								 fix->qualified_table);

	if (expected && strcmp(property, "roles") == 0)
		fix_set(fix, "%s TO %s", alter, expected);
	else if (expected && strcmp(property, "using") == 0)
		fix_set(fix, "%s USING (%s)", alter, fix_qualify(fix, expected, false));
	else if (expected && strcmp(property, "check") == 0)
		fix_set(fix, "%s WITH CHECK (%s)", alter,
				fix_qualify(fix, expected, false));
	else
		fix_advise(fix, "Only a new policy mends it, in one transaction: DROP POLICY %s ON %s; %s",
				   fix->member, fix->qualified_table, create_policy(fix));
}

void
fix_of_policy(FixContext *fix)
{
	if (strcmp(fix->d->property, PROPERTY_EXISTS) != 0)
		alter_policy(fix);
	else if (fix_is_yes(fix->d->expected))
		fix->d->fix = create_policy(fix);
	else
	{
		fix_set(fix, "DROP POLICY %s ON %s", fix->member, fix->qualified_table);
		fix_advise(fix, "It decides which rows a role may see or write: make sure first that nobody relies on it.");
	}
}
