/*
 * fix_query.c
 *		Fixes of views, sequences and functions.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "verify/fix_context.h"

static bool
is_materialized(const FixContext *fix)
{
	const char *kind = fix_expected(fix, "kind");

	return kind != NULL && strcmp(kind, "materialized view") == 0;
}

/* verb: CREATE or CREATE OR REPLACE. */
static char *
view_statement(const FixContext *fix, const char *verb, const char *name)
{
	const char *definition = fix_expected(fix, "definition");
	const char *options = fix_expected(fix, "options");

	if (definition == NULL)
		return NULL;
	return psprintf("%s %sVIEW %s%s AS %s", verb,
					is_materialized(fix) ? "MATERIALIZED " : "", name,
					options ? psprintf(" WITH (%s)", options) : "",
					fix_strip_semicolon(fix_qualify(fix, definition, false)));
}

/* Is an option of that name, which "=" ends, in the list? */
static bool
has_option(const List *options, const char *name, int length)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		const char *option = lfirst(cell);

		if ((int) strcspn(option, "=") == length &&
			strncmp(option, name, length) == 0)
			return true;
	}
	return false;
}

/* Options that are too many go first; then the rest are as they should be. */
static void
fix_view_options(FixContext *fix, const char *view)
{
	const char *expected = fix->d->expected ? fix->d->expected : "";
	List	   *wanted = fix_split_list(expected);
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, fix_split_list(fix->d->actual ? fix->d->actual : ""))
	{
		const char *option = lfirst(cell);
		int			length = strcspn(option, "=");

		if (!has_option(wanted, option, length))
			appendStringInfo(&names, "%s%.*s", names.len > 0 ? ", " : "",
							 length, option);
	}
	if (names.len == 0)
		fix_set(fix, "ALTER %s SET (%s)", view, expected);
	else
	{
		fix_set(fix, "ALTER %s RESET (%s)", view, names.data);
		fix_advise(fix, "Where another option differs as well, verify again, which offers the next statement.");
	}
}

void
fix_of_view(FixContext *fix)
{
	char	   *name = fix_qualified(fix, fix->d->object);
	const char *property = fix->d->property;
	const char *kind = fix_actual(fix, "kind");
	char	   *view = psprintf("%sVIEW %s",
								(kind ? strcmp(kind, "materialized view") == 0 :
								 is_materialized(fix)) ? "MATERIALIZED " : "",
								name);

	if (strcmp(property, PROPERTY_EXISTS) == 0)
	{
		if (!fix_is_yes(fix->d->expected))
			fix_set(fix, "DROP %s", view);
		else
		{
			fix->d->fix = view_statement(fix, "CREATE", name);
			fix_advise(fix, "Run it with search_path beginning with %s.",
					   fix->schema);
		}
	}
	else if (strcmp(property, "comment") == 0)
		fix_comment(fix, view);
	else if (strcmp(property, "options") == 0)
		fix_view_options(fix, view);
	else if (strcmp(property, "definition") == 0 && !is_materialized(fix))
	{
		fix->d->fix = view_statement(fix, "CREATE OR REPLACE", name);
		fix_advise(fix, "Run it with search_path beginning with %s. Where columns were removed, renamed or changed, drop the view first.",
				   fix->schema);
	}
	else
		fix_advise(fix, "Only a new one mends it: DROP %s, then verify again, which offers the statement that creates it.",
				   view);
}

/* Sorted by property. */
static const struct
{
	const char *property;
	const char *clause;
}			sequence_clauses[] = {
	{"cache", "CACHE"}, {"increment", "INCREMENT BY"}, {"max", "MAXVALUE"},
	{"min", "MINVALUE"}, {"start", "START WITH"}, {"type", "AS"}
};

/* " CACHE 1 …": all expected properties, or only those that differ. */
static char *
sequence_options(const FixContext *fix, bool only_differing)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < (int) lengthof(sequence_clauses); i++)
	{
		const char *property = sequence_clauses[i].property;
		const char *value = fix_expected(fix, property);

		if (value && (!only_differing || fix_differs(fix, property)))
			appendStringInfo(&sql, " %s %s", sequence_clauses[i].clause, value);
	}
	if (!only_differing || fix_differs(fix, "cycle"))
		appendStringInfoString(&sql, fix_is_yes(fix_expected(fix, "cycle")) ?
							   " CYCLE" : " NO CYCLE");
	return sql.data;
}

static void
create_sequence(FixContext *fix, const char *name)
{
	const char *owner = fix_expected(fix, "owned_by");
	char	   *options;

	/* Whoever creates the column has the sequence with it. */
	if (owner && fix_serial_type(fix, owner))
	{
		fix_advise(fix, "It comes with the column %s.", owner);
		return;
	}
	options = sequence_options(fix, false);
	if (owner && fix_has_object(fix->actual, "column", owner))
	{
		fix_set(fix, "CREATE SEQUENCE %s%s OWNED BY %s", name, options,
				fix_qualified(fix, owner));
		fix_advise(fix, "Where rows are there, set it past the highest value of %s with setval().",
				   owner);
	}
	else
		fix_set(fix, "CREATE SEQUENCE %s%s", name, options);
}

/* The limits hang together, so all that differs is one statement. */
static void
alter_sequence(FixContext *fix, const char *name)
{
	static const char *const options[] = {
		"cache", "cycle", "increment", "max", "min", "start", "type", NULL
	};
	const char *carrier = fix_first_of(fix, options);

	if (carrier == NULL)
		return;
	if (strcmp(carrier, fix->d->property) != 0)
	{
		fix_advise(fix, "Mended together with its %s.", carrier);
		return;
	}
	fix_set(fix, "ALTER SEQUENCE %s%s", name, sequence_options(fix, true));
	if (fix_differs(fix, "min") || fix_differs(fix, "max"))
		fix_advise(fix, "Where its last value lies outside the new limits it fails: end it with RESTART WITH and the value to go on with.");
}

void
fix_of_sequence(FixContext *fix)
{
	char	   *name = fix_qualified(fix, fix->d->object);
	const char *property = fix->d->property;
	const char *expected = fix->d->expected;

	if (strcmp(property, PROPERTY_EXISTS) == 0)
	{
		if (fix_is_yes(expected))
			create_sequence(fix, name);
		else
			fix_set(fix, "DROP SEQUENCE %s", name);
	}
	else if (strcmp(property, "comment") == 0)
		fix_comment(fix, psprintf("SEQUENCE %s", name));
	else if (strcmp(property, "owned_by") == 0)
		fix_set(fix, "ALTER SEQUENCE %s OWNED BY %s", name,
				expected ? fix_qualified(fix, expected) : "NONE");
	else
		alter_sequence(fix, name);
}

/* A tag that the body does not hold. */
static char *
dollar_quoted(const char *body)
{
	char	   *tag = pstrdup("$body$");

	for (int i = 1; strstr(body, psprintf("%.*s", (int) strlen(tag) - 1, tag)); i++)
		tag = psprintf("$body%d$", i);
	return psprintf("%s%s%s", tag, body, tag);
}

/* "a=b, search_path=x, y" -> " SET a TO 'b' SET search_path TO x, y" */
static char *
config_clauses(const char *config)
{
	StringInfoData sql;
	bool		in_list = false;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, fix_split_list(config))
	{
		const char *item = lfirst(cell);
		const char *equals = item[0] == '"' ? NULL : strchr(item, '=');

		if (equals == NULL && in_list)
			appendStringInfo(&sql, ", %s", item);
		else if (equals != NULL)
		{
			/* What stands in it are names, quoted where needed. */
			in_list = strncmp(item, "search_path=", 12) == 0;
			appendStringInfo(&sql, " SET %.*s TO %s", (int) (equals - item), item,
							 in_list ? (equals[1] ? equals + 1 : "''") :
							 quote_literal_cstr(equals + 1));
		}
	}
	return sql.data;
}

/* The whole function again, or NULL where facts do not say all of it. */
static char *
function_statement(const FixContext *fix, const char *verb)
{
	const char *kind = fix_expected(fix, "kind");
	const char *language = fix_expected(fix, "language");
	const char *arguments = fix_expected(fix, "arguments");
	const char *result = fix_expected(fix, "result");
	const char *volatility = fix_expected(fix, "volatility");
	const char *parallel = fix_expected(fix, "parallel");
	const char *security = fix_expected(fix, "security");
	const char *config = fix_expected(fix, "config");
	const char *body = fix_expected(fix, "body");
	bool		procedure = kind && strcmp(kind, "procedure") == 0;
	StringInfoData sql;

	if (kind == NULL || language == NULL || body == NULL ||
		(!procedure && (strcmp(kind, "function") != 0 || result == NULL)) ||
		strcmp(language, "c") == 0 || strcmp(language, "internal") == 0 ||
		pg_strncasecmp(body, "BEGIN ATOMIC", 12) == 0 ||
		(strcmp(language, "sql") == 0 && pg_strncasecmp(body, "RETURN ", 7) == 0))
		return NULL;

	initStringInfo(&sql);
	appendStringInfo(&sql, "%s %s %s.%.*s(%s)", verb,
					 procedure ? "PROCEDURE" : "FUNCTION", fix->schema,
					 object_name_length(fix->d->object), fix->d->object,
					 arguments ? fix_type(fix, arguments) : "");
	if (!procedure)
		appendStringInfo(&sql, " RETURNS %s", fix_type(fix, result));
	appendStringInfo(&sql, " LANGUAGE %s", quote_identifier(language));
	if (!procedure)
	{
		if (volatility)
			appendStringInfo(&sql, " %s",
							 asc_toupper(volatility, strlen(volatility)));
		if (fix_is_yes(fix_expected(fix, "strict")))
			appendStringInfoString(&sql, " STRICT");
		if (parallel)
			appendStringInfo(&sql, " PARALLEL %s",
							 asc_toupper(parallel, strlen(parallel)));
	}
	if (security && strcmp(security, "definer") == 0)
		appendStringInfoString(&sql, " SECURITY DEFINER");
	if (config)
		appendStringInfoString(&sql, config_clauses(config));
	appendStringInfo(&sql, " AS %s", dollar_quoted(body));
	return sql.data;
}

/* The object with its argument types qualified: schema.name(types) */
static char *
function_signature(const FixContext *fix)
{
	const char *object = fix->d->object;
	int			name = object_name_length(object);

	return psprintf("%s.%.*s%s", fix->schema, name, object,
					fix_type(fix, object + name));
}

void
fix_of_function(FixContext *fix)
{
	static const char *const shape[] = {
		"arguments", "body", "config", "language", "parallel", "result",
		"security", "strict", "volatility", NULL
	};
	const char *property = fix->d->property;
	const char *kind = fix_actual(fix, "kind");
	const char *routine = kind && strcmp(kind, "window function") == 0 ? "FUNCTION" :
		kind ? asc_toupper(kind, strlen(kind)) : "FUNCTION";
	const char *carrier = fix_first_of(fix, shape);
	bool		exists = strcmp(property, PROPERTY_EXISTS) == 0;

	if (exists && !fix_is_yes(fix->d->expected))
		fix_set(fix, "DROP %s %s", routine, function_signature(fix));
	else if (strcmp(property, "comment") == 0)
		fix_comment(fix, psprintf("%s %s", routine, function_signature(fix)));
	else if (!exists && fix_differs(fix, "kind"))
		fix_advise(fix, "Drop it first: DROP %s %s", routine,
				   function_signature(fix));
	else if (!exists && carrier && strcmp(carrier, property) != 0)
		fix_advise(fix, "Mended together with its %s.", carrier);
	else
	{
		fix->d->fix = function_statement(fix, exists ? "CREATE" : "CREATE OR REPLACE");
		if (fix->d->fix == NULL)
			fix_advise(fix, "Run the migration's own statement that creates it.");
		else if (!exists && fix_differs(fix, "result"))
			fix_advise(fix, "Another result type needs the function dropped first.");
	}
}
