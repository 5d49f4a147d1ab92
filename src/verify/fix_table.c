/*
 * fix_table.c
 *		Fixes of tables as such.
 *
 * A missing table is one CREATE TABLE with its columns and constraints; its
 * indexes, triggers and comments are statements of their own, which the next
 * verification offers.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "compat.h"
#include "verify/fix_context.h"

typedef struct OrderedColumn
{
	const char *object;
	int			position;
} OrderedColumn;

static int
compare_positions(const ListCell *a, const ListCell *b)
{
	const OrderedColumn *left = lfirst(a);
	const OrderedColumn *right = lfirst(b);

	return left->position - right->position;
}

/* Expected columns (OrderedColumn *) of a table, in their order. */
static List *
ordered_columns(const FixContext *fix, const char *table)
{
	List	   *columns = NIL;
	int			at = 0;
	const char *object;

	while ((object = fix_next_member(fix->expected, &at, "column", table)))
	{
		OrderedColumn *column = palloc(sizeof(OrderedColumn));
		const char *position = factset_get(fix->expected, "column", object,
										   "position");

		column->object = object;
		column->position = position ? atoi(position) : 0;
		columns = lappend(columns, column);
	}
	list_sort(columns, compare_positions);
	return columns;
}

/* A foreign key to a table that is missing too has to wait for it. */
static bool
can_be_added(const FixContext *fix, const char *constraint)
{
	const char *definition = factset_get(fix->expected, "constraint",
										 constraint, "definition");
	char	   *target;

	if (definition == NULL)
		return false;
	target = fix_name_after(definition, "REFERENCES");
	return target == NULL || strcmp(target, fix->d->object) == 0 ||
		!fix_has_object(fix->expected, "table", target) ||
		fix_has_object(fix->actual, "table", target);
}

/* (columns and constraints) */
static char *
table_body(const FixContext *fix, const char *table)
{
	StringInfoData body;
	const char *separator = "";
	ListCell   *cell;
	int			at = 0;
	const char *object;

	initStringInfo(&body);
	foreach(cell, ordered_columns(fix, table))
	{
		const OrderedColumn *column = lfirst(cell);

		appendStringInfo(&body, "%s%s", separator,
						 fix_column_definition(fix, column->object, true));
		separator = ", ";
	}
	while ((object = fix_next_member(fix->expected, &at, "constraint", table)))
	{
		if (!can_be_added(fix, object))
			continue;
		appendStringInfo(&body, "%sCONSTRAINT %s", separator,
						 fix_constraint_definition(fix, object));
		separator = ", ";
	}
	return body.data;
}

/* The parents of INHERITS, qualified. */
static char *
qualified_parents(const FixContext *fix, const char *parents)
{
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, fix_split_list(parents))
	{
		char	   *parts[2];
		const char *parent = lfirst(cell);

		appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
						 object_split(parent, parts) == 1 ?
						 fix_qualified(fix, parent) : parent);
	}
	return list.data;
}

/* How many facts of indexes and comments wait for the table. */
static void
count_followers(const FixContext *fix, const char *table, int *indexes,
				int *comments, int *others)
{
	size_t		length = strlen(table);

	*indexes = *comments = *others = 0;
	for (int i = 0; i < fix->expected->count; i++)
	{
		const Fact *fact = &fix->expected->facts[i];
		bool		member = strncmp(fact->object, table, length) == 0 &&
			fact->object[length] == '.';

		if (strcmp(fact->object_type, "index") == 0)
		{
			if (strcmp(fact->property, "table") == 0 &&
				strcmp(fact->value, table) == 0 &&
				!factset_get(fix->expected, "index", fact->object, "constraint"))
				(*indexes)++;
		}
		else if (strcmp(fact->property, "comment") == 0)
		{
			if (member || (strcmp(fact->object_type, "table") == 0 &&
						   strcmp(fact->object, table) == 0))
				(*comments)++;
		}
		else if (member && (strcmp(fact->property, "enabled") == 0 ||
							strcmp(fact->property, "command") == 0))
			(*others)++;
	}
}

static void
advise_followers(FixContext *fix, const char *table)
{
	StringInfoData text;
	int			indexes;
	int			comments;
	int			others;

	count_followers(fix, table, &indexes, &comments, &others);
	if (indexes + comments + others == 0)
		return;

	initStringInfo(&text);
	if (indexes > 0)
		appendStringInfo(&text, "%d index%s", indexes,
						 indexes == 1 ? "" : "es");
	if (comments > 0)
		appendStringInfo(&text, "%s%d comment%s", text.len > 0 ? ", " : "",
						 comments, comments == 1 ? "" : "s");
	if (others > 0)
		appendStringInfo(&text, "%s%d trigger%s, rules or policies",
						 text.len > 0 ? ", " : "", others,
						 others == 1 ? "" : "s");
	fix_advise(fix, "Then verify again: its %s follow.", text.data);
}

static void
create_table(FixContext *fix)
{
	const char *table = fix->d->object;
	const char *persistence = fix_expected(fix, "persistence");
	const char *method = fix_expected(fix, "access_method");
	const char *parents = fix_expected(fix, "inherits");
	const char *partition_of = fix_expected(fix, "partition_of");
	const char *partition_by = fix_expected(fix, "partition_by");
	StringInfoData sql;

	if (fix_expected(fix, "server") || fix_expected(fix, "persistence") == NULL)
	{
		fix_advise(fix, "Create it by hand: its options are not part of the expectation.");
		return;
	}

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE %s",
					 strcmp(persistence, "unlogged") == 0 ? "UNLOGGED " : "",
					 fix_qualified(fix, table));
	if (partition_of)
		appendStringInfo(&sql, " PARTITION OF %s",
						 fix_qualified(fix, fix_qualify(fix, partition_of, false)));
	else
		appendStringInfo(&sql, " (%s)", table_body(fix, table));
	if (parents)
		appendStringInfo(&sql, " INHERITS (%s)", qualified_parents(fix, parents));
	if (partition_by)
		appendStringInfo(&sql, " PARTITION BY %s",
						 fix_qualify(fix, partition_by, false));
	if (method && strcmp(method, "heap") != 0)
		appendStringInfo(&sql, " USING %s", method);
	fix->d->fix = sql.data;
	advise_followers(fix, table);
}

/* The command's word for a relation of that kind. */
static const char *
kind_keyword(const char *kind)
{
	if (kind == NULL || strcmp(kind, "table") == 0 ||
		strcmp(kind, "partitioned table") == 0)
		return "TABLE";
	if (strcmp(kind, "composite type") == 0)
		return "TYPE";
	return asc_toupper(kind, strlen(kind));
}

static void
fix_kind(FixContext *fix)
{
	char	   *parts[2];

	if (object_split(fix->d->object, parts) != 1)
		return;
	fix_advise(fix, "Rename what stands in the way (ALTER %s %s RENAME TO %s), then verify again, which offers the statement that creates the %s.",
			   kind_keyword(fix->d->actual),
			   fix_qualified(fix, fix->d->object),
			   quote_identifier(psprintf("%s_old", parts[0])),
			   fix->d->expected ? fix->d->expected : "table");
}

static void
fix_row_security(FixContext *fix, const char *table)
{
	const char *expected = fix->d->expected ? fix->d->expected : "off";
	const char *actual = fix->d->actual ? fix->d->actual : "off";
	bool		to_force = strcmp(expected, "forced") == 0;
	bool		forced = strcmp(actual, "forced") == 0;
	StringInfoData sql;

	initStringInfo(&sql);
	if ((strcmp(expected, "off") == 0) != (strcmp(actual, "off") == 0))
		appendStringInfo(&sql, "%s ROW LEVEL SECURITY",
						 strcmp(expected, "off") == 0 ? "DISABLE" : "ENABLE");
	if (to_force != forced)
		appendStringInfo(&sql, "%s%s ROW LEVEL SECURITY",
						 sql.len > 0 ? ", " : "",
						 to_force ? "FORCE" : "NO FORCE");
	fix_set(fix, "ALTER TABLE %s %s", table, sql.data);
	if (strcmp(expected, "off") == 0)
		fix_advise(fix, "Every role with rights on the table then sees all of its rows.");
}

static void
fix_persistence(FixContext *fix, const char *table)
{
	const char *expected = fix->d->expected;

	if (expected == NULL || strcmp(expected, "temporary") == 0 ||
		(fix->d->actual && strcmp(fix->d->actual, "temporary") == 0))
	{
		fix_advise(fix, "A temporary table cannot be made permanent, nor the other way round: create it anew.");
		return;
	}
	fix_set(fix, "ALTER TABLE %s SET %s", table,
			strcmp(expected, "unlogged") == 0 ? "UNLOGGED" : "LOGGED");
	fix_advise(fix, "It rewrites the table under ACCESS EXCLUSIVE.");
}

static void
fix_replica_identity(FixContext *fix, const char *table)
{
	const char *expected = fix->d->expected;

	if (expected == NULL)
		expected = "default";
	if (strncmp(expected, "index ", 6) == 0)
		fix_set(fix, "ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", table,
				expected + 6);
	else
		fix_set(fix, "ALTER TABLE %s REPLICA IDENTITY %s", table,
				asc_toupper(expected, strlen(expected)));
}

static void
fix_access_method(FixContext *fix, const char *table)
{
	if (fix->d->expected == NULL || DEPLOYDB_SERVER_MAJOR < 15)
	{
		fix_advise(fix, "Only a rebuild of the table changes its access method.");
		return;
	}
	fix_set(fix, "ALTER TABLE %s SET ACCESS METHOD %s", table,
			fix->d->expected);
	fix_advise(fix, "It rewrites the table under ACCESS EXCLUSIVE.");
}

/* Where rows leave or change a parent, that is for somebody to decide. */
static void
fix_partition_of(FixContext *fix, const char *table)
{
	const char *expected = fix->d->expected;
	const char *actual = fix->d->actual;
	char	   *detach = NULL;
	char	   *attach = NULL;

	if (actual)
		detach = psprintf("ALTER TABLE %s DETACH PARTITION %s",
						  fix_qualified(fix, pnstrdup(actual, object_name_length(actual))),
						  table);
	if (expected)
		attach = psprintf("ALTER TABLE %s ATTACH PARTITION %s%s",
						  fix_qualified(fix, pnstrdup(expected, object_name_length(expected))),
						  table,
						  fix_qualify(fix, expected + object_name_length(expected), false));
	if (attach && detach)
		fix_advise(fix, "Only both mend it, in one transaction: %s; %s",
				   detach, attach);
	else if (attach)
		fix->d->fix = attach;
	else if (detach)
		fix_advise(fix, "Its rows are the parent's, too. When nobody reads them there: %s",
				   detach);
}

static void
fix_table_existence(FixContext *fix, const char *table)
{
	if (fix_is_yes(fix->d->expected))
		create_table(fix);
	else
		fix_advise(fix, "It holds data, so nothing is offered to paste. When nobody needs it: DROP TABLE %s",
				   table);
}

void
fix_of_table(FixContext *fix)
{
	char	   *table = fix_qualified(fix, fix->d->object);
	const char *property = fix->d->property;
	const char *kind = fix_actual(fix, "kind");

	if (strcmp(property, PROPERTY_EXISTS) == 0)
		fix_table_existence(fix, table);
	else if (strcmp(property, "kind") == 0)
		fix_kind(fix);
	else if (strcmp(property, "persistence") == 0)
		fix_persistence(fix, table);
	else if (strcmp(property, "access_method") == 0)
		fix_access_method(fix, table);
	else if (strcmp(property, "row_security") == 0)
		fix_row_security(fix, table);
	else if (strcmp(property, "replica_identity") == 0)
		fix_replica_identity(fix, table);
	else if (strcmp(property, "partition_of") == 0)
		fix_partition_of(fix, table);
	else if (strcmp(property, "comment") == 0)
		fix_comment(fix, psprintf("%s %s",
								  kind && strcmp(kind, "foreign table") == 0 ?
								  "FOREIGN TABLE" : "TABLE", table));
	else
		fix_advise(fix, "No single statement changes it: the table has to be rebuilt by hand.");
}
