/*
 * smoke_target.c
 *		The table that the smoke test writes into: which columns it names,
 *		and the unique key by which the row is found again.
 *
 * Locking: RowExclusive on the table, not queued for; kept until the caller's
 * subtransaction ends.
 * Errors: a caller who may not act as the role.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "facts/relation_lock.h"
#include "settings.h"
#include "verify/smoke.h"
#include "verify/smoke_value.h"

static void
describe_columns(SmokeTarget *target, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	ListCell   *lc;

	target->count = desc->natts;
	target->columns = palloc0(sizeof(SmokeColumn) * (size_t) Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		SmokeColumn *column = &target->columns[i];

		if (attr->attisdropped)
			continue;
		column->name = pstrdup(quote_identifier(NameStr(attr->attname)));
		column->type = attr->atttypid;
		column->typmod = attr->atttypmod;
		column->not_null = attr->attnotnull;
		column->generated = attr->attgenerated != '\0';
		column->has_default = attr->atthasdef || attr->attidentity != '\0';
	}

	foreach(lc, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		for (int i = 0; i < fkey->nkeys; i++)
			target->columns[fkey->conkey[i] - 1].referencing = true;
	}
}

/* Names of the constraints that are initially deferred. */
static void
list_deferred(SmokeTarget *target, Relation rel)
{
	const char *schema = get_namespace_name(RelationGetNamespace(rel));
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];
		char	   *name = trigger->tginitdeferred ?
			get_constraint_name(trigger->tgconstraint) : NULL;

		if (name != NULL)
			appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "",
							 quote_qualified_identifier(schema, name));
	}
	if (out.len > 0)
		target->deferred = out.data;
}

/*
 * A column is named where the table makes no value for it itself; json ones
 * always, since their round trip is a step.  A nullable reference stays NULL,
 * as no row to refer to is known.
 */
static void
choose_columns(SmokeTarget *target)
{
	for (int i = 0; i < target->count; i++)
	{
		SmokeColumn *column = &target->columns[i];
		bool		needed = column->not_null && !column->has_default;

		if (column->name == NULL || column->generated)
			continue;
		if (column->has_default && !smoke_type_is_json(column->type))
			continue;
		if (column->referencing && !needed)
			continue;
		column->supplied = smoke_value(column->type, column->typmod, false) != NULL;
		if (needed && !column->supplied && target->unmakable == NULL)
			target->unmakable = column->name;
	}
}

/* Can the row be found again by this index, and a second one be refused? */
static bool
index_is_usable_key(const SmokeTarget *target, HeapTuple tuple)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);

	if (!index->indisunique || !index->indisvalid || !index->indimmediate ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->indkey.values[i];
		const SmokeColumn *column;

		if (attnum <= 0)
			return false;
		column = &target->columns[attnum - 1];
		if (column->generated || (!column->supplied && !column->has_default))
			return false;
	}
	return true;
}

/*
 * The application's own keys come before the primary key: upserts go by them,
 * and a second row with a primary key of its own is refused by them alone.
 */
static void
choose_key(SmokeTarget *target, Relation rel)
{
	Oid			chosen = InvalidOid;
	bool		chosen_primary = true;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID,
											ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		for (int i = 0; i < index->indnkeyatts && index->indisunique; i++)
		{
			if (index->indkey.values[i] > 0)
				target->columns[index->indkey.values[i] - 1].unique = true;
		}
		if ((!OidIsValid(chosen) || (chosen_primary && !index->indisprimary)) &&
			index_is_usable_key(target, tuple))
		{
			for (int i = 0; i < target->count; i++)
				target->columns[i].in_key = false;
			for (int i = 0; i < index->indnkeyatts; i++)
				target->columns[index->indkey.values[i] - 1].in_key = true;
			chosen = index->indexrelid;
			chosen_primary = index->indisprimary;
		}
		ReleaseSysCache(tuple);
	}
	if (OidIsValid(chosen))
		target->key = quote_identifier(get_rel_name(chosen));
}

/* The application's role, else the table's owner; NULL or what is wrong. */
static const char *
choose_role(SmokeTarget *target, Oid owner)
{
	Oid			caller = GetUserId();

	target->role = owner;
	if (deploydb_app_role == NULL || deploydb_app_role[0] == '\0')
		return NULL;
	target->role = get_role_oid(deploydb_app_role, true);
	if (!OidIsValid(target->role))
		return psprintf("role \"%s\", named by deploydb.app_role, does not exist",
						deploydb_app_role);

	/*
	 * Triggers and defaults run as the role.  On a table of the caller's own
	 * they could be anything, and would make him that role.
	 */
	if (has_privs_of_role(caller, owner) && !has_privs_of_role(caller, target->role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write into your own table as role \"%s\"",
						deploydb_app_role),
				 errhint("Grant membership in that role, or call as a superuser.")));
	return NULL;
}

const char *
smoke_prepare(SmokeTarget *target, const char *schema, const char *name)
{
	Oid			namespace;
	const char *problem = NULL;
	Relation	rel;
	char		kind;

	memset(target, 0, sizeof(SmokeTarget));
	if (schema != NULL)
		namespace = get_namespace_oid(schema, true);
	else
	{
		Oid			relid = RelnameGetRelid(name);

		namespace = OidIsValid(relid) ? get_rel_namespace(relid) :
			get_namespace_oid("public", true);
	}
	if (OidIsValid(namespace))
		target->relid = relation_lock_by_name(namespace, name, RowExclusiveLock,
											  relation_lock_deadline(),
											  &target->locked_out);
	if (target->locked_out)
		return psprintf("table %s is locked by another session", name);
	if (!OidIsValid(target->relid))
		return psprintf("42P01: table %s does not exist",
						schema ? quote_qualified_identifier(schema, name) : quote_identifier(name));

	target->name = quote_qualified_identifier(get_namespace_name(namespace), name);
	kind = get_rel_relkind(target->relid);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		return psprintf("42809: %s is not a table", target->name);

	rel = table_open(target->relid, NoLock);
	problem = choose_role(target, rel->rd_rel->relowner);
	if (problem == NULL)
	{
		describe_columns(target, rel);
		choose_columns(target);
		choose_key(target, rel);
		list_deferred(target, rel);
	}
	table_close(rel, NoLock);
	return problem;
}

void
smoke_fill(SmokeTarget *target, bool keep_key)
{
	for (int i = 0; i < target->count; i++)
	{
		SmokeColumn *column = &target->columns[i];

		if (column->supplied && !(keep_key && column->in_key))
			column->value = smoke_value(column->type, column->typmod,
										column->unique);
	}
}
