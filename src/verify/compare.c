/*
 * compare.c
 *		Expected facts minus actual facts, and back.
 *
 * Both sets are sorted, so that one walk over them finds the objects that
 * only one of them has, and within an object the properties that differ.
 * What hangs on a missing object is folded into it.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "verify/compare.h"

static Deviation *
add_deviation(Comparison *c, DeviationStatus status, const char *object_type,
			  const char *object, const char *property,
			  const char *expected, const char *actual)
{
	Deviation  *d = palloc0(sizeof(Deviation));

	d->migration = c->migration;
	d->status = status;
	d->object_type = object_type;
	d->object = object;
	d->property = property;
	d->expected = expected;
	d->actual = actual;
	d->severity = deviation_severity(d, c->actual);
	c->deviations = lappend(c->deviations, d);
	return d;
}

/* Do the object's parts before the dot, quoted, name this table? */
static const char *
table_part(const char *object)
{
	bool		quoted = false;

	for (const char *p = object; *p; p++)
	{
		if (*p == '"')
			quoted = !quoted;
		else if (*p == '.' && !quoted)
			return pnstrdup(object, p - object);
	}
	return NULL;
}

const char *
object_table(const FactSet *set, const char *object_type, const char *object)
{
	if (strcmp(object_type, "index") == 0)
		return factset_get(set, object_type, object, "table");
	if (strcmp(object_type, "column") == 0 ||
		strcmp(object_type, "constraint") == 0 ||
		strcmp(object_type, "trigger") == 0 ||
		strcmp(object_type, "rule") == 0 ||
		strcmp(object_type, "policy") == 0)
		return table_part(object);
	return NULL;
}

static bool
has_object(const FactSet *set, const char *object_type, const char *object)
{
	return factset_find_object(set, object_type, object, NULL) >= 0;
}

/*
 * Is there a table or view of that name, and of that kind?  Of another kind
 * of relation in its place nothing but the kind is known.
 */
static bool
table_is_there(const Comparison *c, const char *table)
{
	const char *kind = factset_get(c->actual, "view", table, "kind");
	const char *expected_kind = factset_get(c->expected, "view", table, "kind");

	if (factset_get(c->actual, "table", table, "persistence") != NULL)
		return true;
	return factset_get(c->actual, "view", table, "definition") != NULL &&
		(kind == NULL || expected_kind == NULL || strcmp(kind, expected_kind) == 0);
}

static bool
is_unknown(const Comparison *c, const char *object_type, const char *object)
{
	ListCell   *lc;

	foreach(lc, c->unknown)
	{
		const FactUnknown *unknown = lfirst(lc);

		if (strcmp(unknown->object, object) == 0 &&
			strcmp(unknown->object_type, object_type) == 0)
			return true;
	}
	return false;
}

static bool
expected_gone(const FactSet *set, const char *object_type, const char *object)
{
	const char *exists = factset_get(set, object_type, object, PROPERTY_EXISTS);

	return exists != NULL && strcmp(exists, "no") == 0;
}

/* The objects of the given type in facts [first, end), that is the next one. */
static int
object_end(const FactSet *set, int first)
{
	int			end = first + 1;

	while (end < set->count &&
		   fact_compare_object(&set->facts[first], &set->facts[end]) == 0)
		end++;
	return end;
}

/*
 * Rank of a column among those that are expected and there: a column that is
 * missing before it, or one too many, does not move it.
 */
static int
column_rank(const FactSet *set, const FactSet *other, const char *table,
			int position)
{
	int			rank = 1;

	for (int i = 0; i < set->count; i = object_end(set, i))
	{
		const Fact *fact = &set->facts[i];
		const char *column_table;
		const char *its_position;

		if (strcmp(fact->object_type, "column") != 0)
			continue;
		column_table = table_part(fact->object);
		if (column_table == NULL || strcmp(column_table, table) != 0 ||
			factset_get(other, "column", fact->object, "position") == NULL)
			continue;
		its_position = factset_get(set, "column", fact->object, "position");
		if (its_position != NULL && atoi(its_position) < position)
			rank++;
	}
	return rank;
}

static bool
same_position(const Comparison *c, const char *object,
			  const char *expected, const char *actual)
{
	const char *table = table_part(object);

	return column_rank(c->all_expected, c->actual, table, atoi(expected)) ==
		column_rank(c->actual, c->all_expected, table, atoi(actual));
}

static void
compare_property(Comparison *c, const Fact *key, const char *expected,
				 const char *actual)
{
	DeviationStatus status = DEVIATION_DIFFERENT;

	if (expected != NULL && actual != NULL &&
		(strcmp(expected, actual) == 0 ||
		 (strcmp(key->property, "position") == 0 &&
		  same_position(c, key->object, expected, actual))))
	{
		if (!c->everything)
			return;
		status = DEVIATION_OK;
	}
	else if (actual != NULL && strcmp(actual, "building") == 0 &&
			 strcmp(key->property, "valid") == 0)
		status = DEVIATION_BUILDING;
	add_deviation(c, status, key->object_type, key->object, key->property,
				  expected, actual);
}

/* Both have the object: walk their properties side by side. */
static void
compare_object(Comparison *c, int e, int e_end, int a, int a_end)
{
	const Fact *expected = c->expected->facts;
	const Fact *actual = c->actual->facts;

	/* Something else of that name: its other facts were not collected. */
	if (a_end - a == 1 && strcmp(actual[a].property, "kind") == 0 &&
		e_end - e > 1)
	{
		compare_property(c, &actual[a],
						 factset_get(c->expected, expected[e].object_type,
									 expected[e].object, "kind"),
						 actual[a].value);
		return;
	}

	while (e < e_end || a < a_end)
	{
		int			order = e == e_end ? 1 : a == a_end ? -1 :
			strcmp(expected[e].property, actual[a].property);

		if (order < 0)
		{
			compare_property(c, &expected[e], expected[e].value, NULL);
			e++;
		}
		else if (order > 0)
		{
			compare_property(c, &actual[a], NULL, actual[a].value);
			a++;
		}
		else
		{
			compare_property(c, &expected[e], expected[e].value, actual[a].value);
			e++;
			a++;
		}
	}
}

/*
 * An index that does the expected one's work under another name: the same
 * facts but for a constraint behind it and a comment; NULL if there is none.
 */
static const Fact *
equivalent_index(const Comparison *c, int first, int end)
{
	const FactSet *actual = c->actual;
	static const char *const properties[] = {
		"table", "method", "unique", "nulls_not_distinct", "columns",
		"include", "predicate", "valid"
	};

	for (int a = 0; a < actual->count; a = object_end(actual, a))
	{
		const Fact *candidate = &actual->facts[a];
		bool		same = true;

		if (strcmp(candidate->object_type, "index") != 0 ||
			has_object(c->all_expected, "index", candidate->object))
			continue;
		for (size_t i = 0; i < lengthof(properties) && same; i++)
		{
			const char *x = factset_get(c->expected, "index",
										c->expected->facts[first].object,
										properties[i]);
			const char *y = factset_get(actual, "index", candidate->object,
										properties[i]);

			same = (x == NULL && y == NULL) ||
				(x != NULL && y != NULL && strcmp(x, y) == 0);
		}
		if (same && end > first)
			return candidate;
	}
	return NULL;
}

/* The index that backs a constraint has its name and its schema. */
static const char *
index_of_constraint(const char *object)
{
	const char *table = table_part(object);

	return table ? object + strlen(table) + 1 : object;
}

/* Is the missing object told of by a missing one that it hangs on? */
static bool
is_folded(Comparison *c, const Fact *fact)
{
	const char *table = object_table(c->expected, fact->object_type, fact->object);

	if (table != NULL && !table_is_there(c, table))
	{
		if (is_unknown(c, "table", table) || is_unknown(c, "view", table) ||
			has_object(c->expected, "table", table) ||
			has_object(c->expected, "view", table) ||
			has_object(c->actual, "table", table))
			return true;

		/* The table is another migration's: tell of it once. */
		for (int i = 0; i < list_length(c->deviations); i++)
		{
			Deviation  *d = list_nth(c->deviations, i);

			if (strcmp(d->object_type, "table") == 0 &&
				strcmp(d->object, table) == 0)
				return true;
		}
		add_deviation(c, DEVIATION_MISSING, "table", table, PROPERTY_EXISTS,
					  "yes", "no");
		return true;
	}
	if (strcmp(fact->object_type, "sequence") == 0)
	{
		/* That of a serial column comes and goes with the column. */
		const char *column = factset_get(c->expected, "sequence",
										 fact->object, "owned_by");

		return column != NULL && has_object(c->expected, "column", column) &&
			!has_object(c->actual, "column", column);
	}
	if (strcmp(fact->object_type, "index") == 0 && table != NULL &&
		factset_get(c->expected, "index", fact->object, "constraint") != NULL)
	{
		const char *constraint = psprintf("%s.%s", table, fact->object);

		return has_object(c->expected, "constraint", constraint) &&
			!has_object(c->actual, "constraint", constraint);
	}
	return false;
}

static void
expected_only(Comparison *c, int first, int end)
{
	const Fact *fact = &c->expected->facts[first];
	const Fact *equivalent;

	if (expected_gone(c->expected, fact->object_type, fact->object))
	{
		if (c->everything)
			add_deviation(c, DEVIATION_OK, fact->object_type, fact->object,
						  PROPERTY_EXISTS, "no", "no");
		return;
	}
	if (is_unknown(c, fact->object_type, fact->object) || is_folded(c, fact))
		return;
	equivalent = strcmp(fact->object_type, "index") == 0 ?
		equivalent_index(c, first, end) : NULL;
	if (equivalent != NULL)
		add_deviation(c, DEVIATION_DIFFERENT, fact->object_type, fact->object,
					  "name", fact->object, equivalent->object);
	else
		add_deviation(c, DEVIATION_MISSING, fact->object_type, fact->object,
					  PROPERTY_EXISTS, "yes", "no");
}

/* Is an unexpected index or constraint told of by a row about its twin? */
static bool
is_twin(const Comparison *c, const Fact *fact)
{
	const char *index = fact->object;
	ListCell   *lc;

	if (strcmp(fact->object_type, "constraint") == 0)
	{
		const char *deferrable = factset_get(c->actual, "constraint",
											 fact->object, "deferrable");

		index = index_of_constraint(fact->object);
		if (deferrable != NULL && strcmp(deferrable, "no") != 0)
			return false;
	}
	else if (strcmp(fact->object_type, "index") != 0)
		return false;

	foreach(lc, c->deviations)
	{
		const Deviation *d = lfirst(lc);

		if (strcmp(d->object_type, "index") != 0)
			continue;
		if (strcmp(d->property, "name") == 0 && d->actual != NULL &&
			strcmp(d->actual, index) == 0)
			return true;
		if (strcmp(d->property, "constraint") == 0 && d->expected == NULL &&
			strcmp(d->object, index) == 0)
			return true;
	}
	return false;
}

/* An index that backs an unexpected constraint is told of by that. */
static bool
backs_unexpected_constraint(const Comparison *c, const Fact *fact)
{
	const char *table;

	if (strcmp(fact->object_type, "index") != 0 ||
		factset_get(c->actual, "index", fact->object, "constraint") == NULL)
		return false;
	table = factset_get(c->actual, "index", fact->object, "table");
	return table != NULL &&
		!has_object(c->all_expected, "constraint",
					psprintf("%s.%s", table, fact->object));
}

static void
actual_only(Comparison *c, int first)
{
	const Fact *fact = &c->actual->facts[first];
	const char *table = object_table(c->actual, fact->object_type, fact->object);
	const char *valid;
	bool		building;

	/* Only on a table that is this migration's, and nobody else's object. */
	if (table == NULL ||
		!(has_object(c->expected, "table", table) ||
		  has_object(c->expected, "view", table)) ||
		has_object(c->all_expected, fact->object_type, fact->object) ||
		is_twin(c, fact) || backs_unexpected_constraint(c, fact))
		return;
	valid = factset_get(c->actual, "index", fact->object, "valid");
	building = strcmp(fact->object_type, "index") == 0 && valid != NULL &&
		strcmp(valid, "building") == 0;
	add_deviation(c, building ? DEVIATION_BUILDING : DEVIATION_UNEXPECTED,
				  fact->object_type, fact->object, PROPERTY_EXISTS,
				  "no", "yes");
}

static void
report_unknown(Comparison *c)
{
	ListCell   *lc;

	foreach(lc, c->unknown)
	{
		const FactUnknown *unknown = lfirst(lc);
		Deviation  *d = add_deviation(c, DEVIATION_UNKNOWN, unknown->object_type,
									  unknown->object, PROPERTY_EXISTS,
									  "yes", NULL);

		d->advice = unknown_reason_text(unknown->reason);
	}
}

/* Something is there that a later migration dropped; its table says it all. */
static void
report_not_gone(Comparison *c, const Fact *fact)
{
	const char *table = object_table(c->actual, fact->object_type, fact->object);

	if (table == NULL || !expected_gone(c->expected, "table", table))
		add_deviation(c, DEVIATION_UNEXPECTED, fact->object_type, fact->object,
					  PROPERTY_EXISTS, "no", "yes");
}

/* One walk for one side: objects that both have are compared in the first. */
void
compare_facts(Comparison *c)
{
	const FactSet *expected = c->expected;
	const FactSet *actual = c->actual;

	c->deviations = NIL;
	report_unknown(c);
	for (int e = 0; e < expected->count;)
	{
		const Fact *fact = &expected->facts[e];
		int			end = object_end(expected, e);
		int			count;
		int			a = factset_find_object(actual, fact->object_type,
											fact->object, &count);

		if (a < 0)
			expected_only(c, e, end);
		else if (expected_gone(expected, fact->object_type, fact->object))
			report_not_gone(c, fact);
		else
			compare_object(c, e, end, a, a + count);
		e = end;
	}
	for (int a = 0; a < actual->count; a = object_end(actual, a))
		actual_only(c, a);
}
