/*
 * fix_index.c
 *		Fixes of indexes.
 *
 * Nothing here stops writes: indexes are built, built again and dropped
 * CONCURRENTLY, but for those of a partitioned table, where the server cannot.
 * An index that backs a constraint is mended through the constraint.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "verify/fix_context.h"

/* What only a new index changes; sorted by name. */
const char *const fix_index_shape[] = {
	"columns", "include", "method", "nulls_not_distinct", "predicate",
	"table", "unique", NULL
};

/* What only building it again changes; sorted by name. */
static const char *const index_state[] = {"ready", "valid", NULL};

static bool
is_partitioned(const FixContext *fix, const char *table)
{
	const char *kind = table ?
		factset_get(fix->actual, "table", table, "kind") : NULL;

	return kind != NULL && strcmp(kind, "partitioned table") == 0;
}

static const char *
concurrently_on(const FixContext *fix, const char *table)
{
	return is_partitioned(fix, table) ? "" : " CONCURRENTLY";
}

/* CREATE INDEX for an expected index. */
char *
fix_create_index(const FixContext *fix, const char *index, bool concurrently)
{
	const FactSet *set = fix->expected;
	const char *table = factset_get(set, "index", index, "table");
	const char *method = factset_get(set, "index", index, "method");
	const char *columns = factset_get(set, "index", index, "columns");
	const char *include = factset_get(set, "index", index, "include");
	const char *predicate = factset_get(set, "index", index, "predicate");
	StringInfoData sql;

	initStringInfo(&sql);
	if (table == NULL || method == NULL || columns == NULL)
		return sql.data;
	appendStringInfo(&sql, "CREATE %sINDEX%s %s ON %s USING %s (%s)",
					 fix_is_yes(factset_get(set, "index", index, "unique")) ? "UNIQUE " : "",
					 concurrently ? concurrently_on(fix, table) : "",
					 index, fix_qualified(fix, table), method,
					 fix_qualify(fix, columns, false));
	if (include)
		appendStringInfo(&sql, " INCLUDE (%s)", include);
	if (fix_is_yes(factset_get(set, "index", index, "nulls_not_distinct")))
		appendStringInfoString(&sql, " NULLS NOT DISTINCT");
	if (predicate)
		appendStringInfo(&sql, " WHERE %s", fix_qualify(fix, predicate, false));
	return sql.data;
}

static void
create_index(FixContext *fix)
{
	const char *table = fix_expected(fix, "table");
	char	   *statement;

	if (fix_expected(fix, "constraint"))
	{
		fix_advise(fix, "It comes with the constraint of that name.");
		return;
	}
	statement = fix_create_index(fix, fix->d->object, true);
	if (*statement == '\0')
		return;
	fix->d->fix = statement;
	if (is_partitioned(fix, table))
		fix_advise(fix, "A partitioned table cannot have it built CONCURRENTLY: writes wait meanwhile.");
	else if (fix_is_yes(fix_expected(fix, "unique")))
		fix_advise(fix, "Cannot run in a transaction block. Where rows are there twice it fails and leaves an INVALID index, which the next verify shows.");
	else
		fix_advise(fix, "Cannot run in a transaction block.");
}

static void
drop_index(FixContext *fix)
{
	const char *valid = fix_actual(fix, "valid");

	if (valid && strcmp(valid, "building") == 0)
		fix_advise(fix, "It is being built right now; wait for that to end.");
	else if (fix_actual(fix, "constraint"))
		fix_advise(fix, "It goes with the constraint of that name.");
	else
	{
		fix_set(fix, "DROP INDEX%s %s",
				concurrently_on(fix, fix_actual(fix, "table")),
				fix_qualified(fix, fix->d->object));
		if (valid && strcmp(valid, "no") == 0)
			fix_advise(fix, "A build that failed left it behind; it costs every write and serves no query.");
		else
			fix_advise(fix, "Look first whether it is in use: pg_stat_user_indexes, idx_scan.");
	}
}

/*
 * The index has another shape: it has to go before the right one can come.
 * One that backs a constraint goes with that, which has a row of its own
 * only where the constraint is expected.
 */
static void
replace_index(FixContext *fix, const char *carrier)
{
	const char *table = fix_actual(fix, "table");
	bool		backs = fix_actual(fix, "constraint") != NULL;

	if (fix_expected(fix, "constraint"))
		fix_advise(fix, "Mended with the constraint of that name.");
	else if (strcmp(fix->d->property, carrier) != 0)
		fix_advise(fix, "Mended together with its %s.", carrier);
	else
	{
		if (backs)
			fix_set(fix, "ALTER TABLE %s DROP CONSTRAINT %s",
					fix_qualified(fix, table ? table : ""), fix->d->object);
		else
			fix_set(fix, "DROP INDEX%s %s", concurrently_on(fix, table),
					fix_qualified(fix, fix->d->object));
		fix_advise(fix, "Then verify again, which offers CREATE INDEX. To have no time without an index, build the new one under another name before, and rename it afterwards.");
	}
}

static void
rebuild_index(FixContext *fix, const char *carrier)
{
	const char *constraint = fix_actual(fix, "constraint");
	bool		exclusion = constraint && strcmp(constraint, "exclusion") == 0;

	if (fix_actual(fix, "valid") &&
		strcmp(fix_actual(fix, "valid"), "building") == 0)
		fix_advise(fix, "It is being built right now; wait for that to end.");
	else if (fix->d->expected && !fix_is_yes(fix->d->expected))
		fix_advise(fix, "The expectation was taken from an index that was not built to its end: take it again.");
	else if (strcmp(fix->d->property, carrier) != 0)
		fix_advise(fix, "Mended together with its property %s.", carrier);
	else if (is_partitioned(fix, fix_actual(fix, "table")))
		fix_advise(fix, "It becomes valid when each partition has an index that is attached to it (ALTER INDEX %s ATTACH PARTITION).",
				   fix_qualified(fix, fix->d->object));
	else
	{
		fix_set(fix, "REINDEX INDEX%s %s", exclusion ? "" : " CONCURRENTLY",
				fix_qualified(fix, fix->d->object));
		if (fix_is_yes(fix_actual(fix, "unique")))
			fix_advise(fix, "Cannot run in a transaction block. Where rows are there twice it fails: remove these first, and the index ending in _ccnew that it leaves.");
		else
			fix_advise(fix, "Cannot run in a transaction block.");
	}
}

/* The index backs a constraint that it should not, or none where it should. */
static void
fix_backing(FixContext *fix, const char *carrier)
{
	if (fix_is_equivalent_unique(fix, fix->d->object))
		fix_advise_equivalent(fix, fix->d->object);
	else if (carrier && fix->d->expected == NULL)
		fix_advise(fix, "Mended together with its %s.", carrier);
	else
		fix_advise(fix, "Mended with the constraint of that name.");
}

/* The expected index is there under another name. */
static void
rename_index(FixContext *fix)
{
	if (fix->d->actual && fix->d->expected)
		fix_set(fix, "ALTER INDEX %s RENAME TO %s",
				fix_qualified(fix, fix->d->actual), fix->d->expected);
	if (fix->d->actual &&
		factset_get(fix->actual, "index", fix->d->actual, "constraint"))
		fix_advise(fix, "The constraint that it backs is renamed with it.");
}

void
fix_of_index(FixContext *fix)
{
	const char *property = fix->d->property;
	const char *carrier = fix_first_of(fix, fix_index_shape);

	if (strcmp(property, PROPERTY_EXISTS) == 0)
	{
		if (fix_is_yes(fix->d->expected))
			create_index(fix);
		else
			drop_index(fix);
	}
	else if (strcmp(property, "comment") == 0)
		fix_comment(fix, psprintf("INDEX %s",
								  fix_qualified(fix, fix->d->object)));
	else if (strcmp(property, "constraint") == 0)
		fix_backing(fix, carrier);
	else if (strcmp(property, "name") == 0)
		rename_index(fix);
	else if (carrier)
		replace_index(fix, carrier);
	else if ((carrier = fix_first_of(fix, index_state)) != NULL)
		rebuild_index(fix, carrier);
}
