/*
 * verification.c
 *		One migration verified in one schema.
 *
 * Locking: see facts.h.  Errors: a schema that does not exist; what cannot be
 * found out is a row of status unknown or stale, not an error.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "facts/relation_lock.h"
#include "verify/acceptance.h"
#include "verify/compare.h"
#include "verify/fix.h"
#include "verify/verification.h"

const char *
deviation_status_name(DeviationStatus status)
{
	static const char *const names[] = {
		[DEVIATION_OK] = "ok",
		[DEVIATION_MISSING] = "missing",
		[DEVIATION_DIFFERENT] = "different",
		[DEVIATION_UNEXPECTED] = "unexpected",
		[DEVIATION_ACCEPTED] = "accepted",
		[DEVIATION_BUILDING] = "building",
		[DEVIATION_UNKNOWN] = "unknown",
		[DEVIATION_STALE] = "stale",
	};

	return names[status];
}

const char *
deviation_severity_name(DeviationSeverity severity)
{
	return severity == SEVERITY_ERROR ? "error" :
		severity == SEVERITY_WARNING ? "warning" : "info";
}

const char *
outcome_name(Outcome outcome)
{
	return outcome == OUTCOME_VERIFIED ? "verified" :
		outcome == OUTCOME_DEVIATES ? "deviates" : "unknown";
}

VerificationScope *
verification_scope(const char *schema, bool everything)
{
	VerificationScope *scope = palloc0(sizeof(VerificationScope));

	scope->expectations = expectations_load();
	scope->all_expected = expectations_in_force(scope->expectations);
	scope->schema = schema;
	scope->everything = everything;
	scope->deadline = relation_lock_deadline();
	return scope;
}

List *
verification_targets(VerificationScope *scope, const char *migration)
{
	if (migration == NULL)
		return scope->expectations;
	return list_make1(expectation_find(scope->expectations,
									   migration_resolve(migration)));
}

static bool
is_relation_root(const char *object_type)
{
	return strcmp(object_type, "table") == 0 ||
		strcmp(object_type, "view") == 0 ||
		strcmp(object_type, "sequence") == 0 ||
		strcmp(object_type, "index") == 0;
}

static List *
add_root(List *roots, const char *object_type, const char *object)
{
	FactRoot   *root;
	ListCell   *lc;

	foreach(lc, roots)
	{
		root = lfirst(lc);
		if (strcmp(root->object, object) == 0 &&
			strcmp(root->object_type, object_type) == 0)
			return roots;
	}
	root = palloc(sizeof(FactRoot));
	root->object_type = object_type;
	root->object = object;
	return lappend(roots, root);
}

/* What must be looked at to see all that the facts speak of. */
static List *
roots_of_facts(const FactSet *facts)
{
	List	   *roots = NIL;

	for (int i = 0; i < facts->count; i++)
	{
		const Fact *fact = &facts->facts[i];
		const char *table;

		if (i > 0 && fact_compare_object(fact, fact - 1) == 0)
			continue;
		table = object_table(facts, fact->object_type, fact->object);
		if (table == NULL)
			roots = add_root(roots, fact->object_type, fact->object);
		else if (factset_find_object(facts, "view", table, NULL) < 0)
			roots = add_root(roots, "table", table);
	}
	return roots;
}

static bool
schema_has_root(Oid schema, List *roots)
{
	ListCell   *lc;

	foreach(lc, roots)
	{
		const FactRoot *root = lfirst(lc);
		char	   *parts[2];

		if (!is_relation_root(root->object_type))
			continue;
		(void) object_split(root->object, parts);
		if (OidIsValid(get_relname_relid(parts[0], schema)))
			return true;
	}
	return false;
}

/*
 * The schema that the caller names; else the first on the search_path that
 * has one of the relations, else the ledger's, else the current one.  Where
 * the ledger's has none of them, it gives way to the one that they were
 * captured in.
 */
Oid
verification_schema(const char *schema, const char *captured, List *roots)
{
	List	   *path;
	ListCell   *lc;
	Oid			ledger;

	if (schema != NULL)
		return get_namespace_oid(schema, false);

	path = fetch_search_path(false);
	foreach(lc, path)
	{
		if (schema_has_root(lfirst_oid(lc), roots))
			return lfirst_oid(lc);
	}
	ledger = ledger_find(InvalidOid);
	if (captured != NULL &&
		!(OidIsValid(ledger) && schema_has_root(ledger, roots)))
	{
		Oid			origin = get_namespace_oid(captured, true);

		if (OidIsValid(origin))
			return origin;
	}
	if (OidIsValid(ledger))
		return ledger;
	return path != NIL ? linitial_oid(path) : get_namespace_oid("public", true);
}

FactReport *
verification_actual(VerificationScope *scope, const Expectation *expectation,
					Oid *schema)
{
	List	   *roots = roots_of_facts(expectation->in_force);

	*schema = verification_schema(scope->schema,
								  expectation->capture_schema, roots);
	return facts_collect(*schema, roots, scope->deadline);
}

/* Names of other schemas that have a relation of that name, or NULL. */
static char *
schemas_with(const char *name, Oid but_not)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	StringInfoData out;

	initStringInfo(&out);
	ScanKeyInit(&key, Anum_pg_class_relname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(name));
	scan = systable_beginscan(classes, ClassNameNspIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			schema = ((Form_pg_class) GETSTRUCT(tuple))->relnamespace;
		char	   *schema_name = get_namespace_name(schema);

		if (schema != but_not && schema_name != NULL)
			appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "",
							 quote_identifier(schema_name));
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return out.len > 0 ? out.data : NULL;
}

/* Where a missing relation is instead. */
static void
say_where(Deviation *d, Oid schema)
{
	char	   *parts[2];
	char	   *elsewhere;

	if (d->status != DEVIATION_MISSING || !is_relation_root(d->object_type) ||
		strcmp(d->object_type, "index") == 0)
		return;
	(void) object_split(d->object, parts);
	elsewhere = schemas_with(parts[0], schema);
	if (elsewhere != NULL)
		d->advice = psprintf("A relation of that name is in schema %s: name that schema as the second argument, or move what is there with ALTER TABLE ... SET SCHEMA.",
							 elsewhere);
}

/*
 * In the order in which the fixes must run: types before tables, tables
 * before columns; what is in the way goes before what takes its place.
 */
static int
deviation_phase(const Deviation *d)
{
	static const struct
	{
		const char *object_type;
		int			phase;
	}			phases[] =
	{
		{"migration", 0}, {"ledger", 1}, {"enum", 2}, {"composite type", 2},
		{"domain", 3}, {"sequence", 4}, {"function", 5}, {"table", 6},
		{"column", 7}, {"constraint", 9}, {"index", 10}, {"view", 11},
		{"rule", 12}, {"trigger", 13}, {"policy", 14}
	};

	if (strcmp(d->property, "comment") == 0)
		return 20;
	if (d->status == DEVIATION_UNEXPECTED &&
		strcmp(d->object_type, "constraint") == 0)
		return 8;
	for (size_t i = 0; i < lengthof(phases); i++)
	{
		if (strcmp(phases[i].object_type, d->object_type) == 0)
			return phases[i].phase;
	}
	return 15;
}

/* A column's type goes before its default, and that before NOT NULL. */
static int
property_rank(const char *property)
{
	static const char *const order[] = {
		"exists", "kind", "persistence", "type", "collation", "generated",
		"identity", "default", "not_null"
	};

	for (size_t i = 0; i < lengthof(order); i++)
	{
		if (strcmp(order[i], property) == 0)
			return i;
	}
	return lengthof(order);
}

/* Columns in the order of the table, whatever else bytewise. */
static int
column_position(const FactSet *expected, const Deviation *d)
{
	const char *position = strcmp(d->object_type, "column") == 0 ?
		factset_get(expected, "column", d->object, "position") : NULL;

	return position ? atoi(position) : 0;
}

static const FactSet *sort_expected;

static int
compare_deviations(const ListCell *a, const ListCell *b)
{
	const Deviation *x = lfirst(a);
	const Deviation *y = lfirst(b);
	int			order = deviation_phase(x) - deviation_phase(y);

	if (order == 0)
		order = column_position(sort_expected, x) -
			column_position(sort_expected, y);
	if (order == 0)
		order = strcmp(x->object_type, y->object_type);
	if (order == 0)
		order = strcmp(x->object, y->object);
	if (order == 0)
		order = property_rank(x->property) - property_rank(y->property);
	return order != 0 ? order : strcmp(x->property, y->property);
}

static void
count_deviations(Verification *v)
{
	ListCell   *lc;
	bool		blocked = false;

	foreach(lc, v->deviations)
	{
		const Deviation *d = lfirst(lc);

		if (d->status == DEVIATION_OK)
			continue;
		if (d->status == DEVIATION_ACCEPTED)
			v->accepted++;
		else if (d->status == DEVIATION_UNKNOWN || d->status == DEVIATION_STALE)
		{
			v->unknown++;
			blocked |= (d->severity == SEVERITY_ERROR);
		}
		else if (d->severity == SEVERITY_ERROR)
			v->errors++;
		else if (d->severity == SEVERITY_WARNING)
			v->warnings++;
		else
			v->infos++;
	}
	v->outcome = v->errors > 0 ? OUTCOME_DEVIATES :
		blocked ? OUTCOME_UNKNOWN : OUTCOME_VERIFIED;
}

static Deviation *
migration_row(const Expectation *expectation, DeviationStatus status)
{
	Deviation  *d = palloc0(sizeof(Deviation));

	d->migration = expectation->migration;
	d->status = status;
	d->object_type = "migration";
	d->object = expectation->migration;
	d->property = "facts";
	return d;
}

static Verification *
stale_verification(Verification *v)
{
	Deviation  *d = migration_row(v->expectation, DEVIATION_STALE);

	d->severity = SEVERITY_ERROR;
	d->advice = psprintf(v->expectation->captured ?
						 "The expectation is stale: %s; capture it again with deploydb.capture_migration()." :
						 "The expectation is stale: %s.",
						 v->expectation->stale);
	v->deviations = list_make1(d);
	count_deviations(v);
	return v;
}

/* Is one of the migration's tables there, under whatever state? */
static bool
has_a_table(const FactSet *actual)
{
	for (int i = 0; i < actual->count; i++)
	{
		if (strcmp(actual->facts[i].object_type, "table") == 0)
			return true;
	}
	return false;
}

static Deviation *
ledger_deviation(const Expectation *expectation, const char *property,
				 const char *expected, const char *actual,
				 DeviationSeverity severity)
{
	Deviation  *d = palloc0(sizeof(Deviation));

	d->migration = expectation->migration;
	d->status = DEVIATION_DIFFERENT;
	d->severity = severity;
	d->object_type = "ledger";
	d->object = expectation->migration;
	d->property = property;
	d->expected = expected;
	d->actual = actual;
	return d;
}

/* The state's row, or NULL where the ledger says "applied". */
static Deviation *
ledger_state_deviation(const Expectation *expectation, const LedgerRow *row,
					   bool table_there)
{
	LedgerState state = row ? row->state : LEDGER_ABSENT;
	DeviationSeverity severity = SEVERITY_WARNING;
	Deviation  *d;

	if (state == LEDGER_APPLIED)
		return NULL;
	if ((state == LEDGER_FAILED || state == LEDGER_ROLLED_BACK) && table_there)
		severity = SEVERITY_ERROR;
	d = ledger_deviation(expectation, "state", "applied",
						 ledger_state_name(state), severity);
	if (state == LEDGER_RUNNING)
	{
		d->status = DEVIATION_BUILDING;
		d->severity = SEVERITY_INFO;
	}
	return d;
}

/* What Prisma's ledger says of the migration, where there is one. */
static void
compare_ledger(VerificationScope *scope, Verification *v, Oid schema,
			   const FactSet *actual)
{
	const Expectation *expectation = v->expectation;
	Oid			ledger_schema = ledger_find(schema);
	LedgerRow  *row;
	Deviation  *d;

	if (!OidIsValid(ledger_schema))
		return;
	if (scope->ledger == NULL || scope->ledger_schema != ledger_schema)
	{
		scope->ledger = ledger_read(ledger_schema);
		scope->ledger_schema = ledger_schema;
	}
	if (scope->ledger->access == LEDGER_NO_RIGHTS ||
		scope->ledger->access == LEDGER_LOCKED)
	{
		d = ledger_deviation(expectation, "state", "applied", NULL,
							 SEVERITY_WARNING);
		d->status = DEVIATION_UNKNOWN;
		d->advice = scope->ledger->access == LEDGER_LOCKED ?
			"_prisma_migrations is locked by another session." :
			"The current role may not read _prisma_migrations.";
		v->deviations = lappend(v->deviations, d);
	}
	if (scope->ledger->access != LEDGER_READ)
		return;

	row = ledger_row(scope->ledger, expectation->migration);
	d = ledger_state_deviation(expectation, row, has_a_table(actual));
	if (d != NULL)
		v->deviations = lappend(v->deviations, d);
	if (row != NULL)
	{
		const char *verdict = ledger_checksum_verdict(row->checksum,
													  expectation->checksum,
													  expectation->ddl);

		if (strcmp(verdict, "different") == 0)
			v->deviations = lappend(v->deviations,
									ledger_deviation(expectation, "checksum",
													 expectation->checksum ?
													 expectation->checksum :
													 "that of the registered SQL",
													 row->checksum,
													 SEVERITY_WARNING));
	}
}

/* The one row of a clean migration. */
static void
add_summary(Verification *v)
{
	const Expectation *expectation = v->expectation;
	Deviation  *d = migration_row(expectation, DEVIATION_OK);

	d->severity = SEVERITY_INFO;
	d->expected = psprintf("%d facts", expectation->in_force->count);
	d->actual = v->fingerprint;
	d->advice = expectation->capture_note;
	v->deviations = lcons(d, v->deviations);
}

Verification *
verify_migration(VerificationScope *scope, const Expectation *expectation)
{
	Verification *v = palloc0(sizeof(Verification));
	Comparison	comparison = {0};
	FactReport *report;
	Oid			schema;
	ListCell   *lc;

	v->expectation = expectation;
	v->schema = scope->schema;
	if (expectation->facts == NULL)
		return stale_verification(v);

	report = verification_actual(scope, expectation, &schema);
	v->schema = OidIsValid(schema) ? get_namespace_name(schema) : NULL;
	if (report->unknown == NIL)
		v->fingerprint = factset_fingerprint(report->facts);

	comparison.migration = expectation->migration;
	comparison.expected = expectation->in_force;
	comparison.all_expected = scope->all_expected;
	comparison.actual = report->facts;
	comparison.unknown = report->unknown;
	comparison.everything = scope->everything;
	compare_facts(&comparison);
	v->deviations = comparison.deviations;
	compare_ledger(scope, v, schema, report->facts);

	sort_expected = scope->all_expected;
	list_sort(v->deviations, compare_deviations);
	foreach(lc, v->deviations)
		say_where(lfirst(lc), schema);
	foreach(lc, v->deviations)
	{
		Deviation  *d = lfirst(lc);

		/* What is elsewhere is not made anew by pasting. */
		if (d->status == DEVIATION_MISSING && d->advice != NULL)
			continue;
		if (d->status != DEVIATION_OK && d->status != DEVIATION_UNKNOWN)
			deviation_fix(d, scope->all_expected, report->facts,
						  v->schema ? v->schema : "public");
	}
	acceptances_apply(v->deviations, expectation->migration);
	count_deviations(v);
	if (v->errors + v->warnings + v->infos + v->accepted + v->unknown == 0)
		add_summary(v);
	return v;
}
