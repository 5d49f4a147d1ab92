/*
 * severity.c
 *		How much a deviation matters.
 *
 * error: breaks the application, its data or its speed.  warning: does the
 * same work in another way, or will surprise somebody later.  info: the rest.
 * docs/severity.md says the same in words; change both together.
 *
 * Locking: none.  Errors: none.
 */
#include "postgres.h"

#include "verify/compare.h"

static bool
is(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

/* A column that nobody expects breaks INSERT where it must be filled in. */
static DeviationSeverity
unexpected_column(const char *object, const FactSet *actual)
{
	bool		must_be_given =
		is(factset_get(actual, "column", object, "not_null"), "yes") &&
		factset_get(actual, "column", object, "default") == NULL &&
		factset_get(actual, "column", object, "identity") == NULL &&
		factset_get(actual, "column", object, "generated") == NULL;

	return must_be_given ? SEVERITY_ERROR : SEVERITY_INFO;
}

static DeviationSeverity
unexpected_severity(const Deviation *d, const FactSet *actual)
{
	if (is(d->object_type, "column"))
		return unexpected_column(d->object, actual);
	if (is(d->object_type, "index"))
		/* A unique one can refuse rows that the application writes. */
		return is(factset_get(actual, "index", d->object, "unique"), "yes") &&
			is(factset_get(actual, "index", d->object, "ready"), "yes") ?
			SEVERITY_ERROR : SEVERITY_WARNING;
	if (is(d->object_type, "trigger") || is(d->object_type, "rule"))
		return is(factset_get(actual, d->object_type, d->object, "enabled"),
				  "disabled") ? SEVERITY_INFO : SEVERITY_ERROR;
	/* Row security itself is a property of the table, and an error there. */
	if (is(d->object_type, "policy"))
		return SEVERITY_WARNING;
	return SEVERITY_ERROR;
}

static DeviationSeverity
different_severity(const Deviation *d)
{
	const char *property = d->property;

	if (is(property, "comment") || is(property, "name"))
		return SEVERITY_WARNING;
	/* A unique constraint in place of a unique index does the same work. */
	if (is(d->object_type, "index") && is(property, "constraint"))
		return SEVERITY_WARNING;
	if (is(property, "position") || is(property, "replica_identity") ||
		is(property, "access_method") || is(property, "inherits") ||
		is(property, "owned_by") || is(property, "cache") ||
		is(property, "arguments") || is(property, "parallel"))
		return SEVERITY_INFO;
	return SEVERITY_ERROR;
}

DeviationSeverity
deviation_severity(const Deviation *d, const FactSet *actual)
{
	switch (d->status)
	{
		case DEVIATION_OK:
			return SEVERITY_INFO;
		case DEVIATION_BUILDING:
			return SEVERITY_WARNING;
		case DEVIATION_UNEXPECTED:
			return unexpected_severity(d, actual);
		case DEVIATION_DIFFERENT:
			return different_severity(d);
		default:
			return SEVERITY_ERROR;
	}
}
