/*
 * tracking.c
 *		Which tables are tracked, as their operators say it.
 *
 * Names are data: a table need not exist to be tracked.
 * Locking: none on the table.  Errors: what cannot be tracked is refused.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/scansup.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "settings.h"
#include "verify/owner.h"
#include "worker/wake.h"
#include "writes/counters.h"
#include "writes/preloaded.h"
#include "writes/tracked.h"

PG_FUNCTION_INFO_V1(deploydb_track);
PG_FUNCTION_INFO_V1(deploydb_untrack);
PG_FUNCTION_INFO_V1(deploydb_tracked_changed);

typedef struct TableName
{
	char	   *schema;
	char	   *name;
} TableName;

static void
check_kind(Oid relid, const RangeVar *range)
{
	char		kind = get_rel_relkind(relid);
	char		persistence = get_rel_persistence(relid);

	if (pg_class_aclmask(relid, GetUserId(), ACL_ALL_RIGHTS_RELATION,
						 ACLMASK_ANY) == 0)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(kind),
					   range->relname);
	if ((kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) ||
		persistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot be tracked", range->relname),
				 errdetail("Tables and partitioned tables can be tracked; views, foreign tables, temporary tables and the like cannot.")));
}

/* Whether the table is there or not. */
static void
check_schema(const TableName *table)
{
	if (strncmp(table->schema, "pg_", 3) == 0 ||
		strcmp(table->schema, "deploydb") == 0 ||
		strcmp(table->schema, "information_schema") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("\"%s\" cannot be tracked", table->name),
				 errdetail("It is a table of schema \"%s\".", table->schema)));
}

static char *
name_part(Datum part)
{
	char	   *name = TextDatumGetCString(part);

	truncate_identifier(name, strlen(name), false);
	return name;
}

/* As tracked_as() reads a name, by parse_ident(), or what is tracked is not found. */
static RangeVar *
read_name(Datum relation)
{
	Datum		names = DirectFunctionCall2(parse_ident, relation,
											BoolGetDatum(true));
	Datum	   *parts;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false,
					  TYPALIGN_INT, &parts, NULL, &count);
	if (count > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a table is named by itself or with its schema")));
	return makeRangeVar(count == 2 ? name_part(parts[0]) : NULL,
						name_part(parts[count - 1]), -1);
}

/*
 * What a name means now: of the search_path, or what it is to be in public
 * when no table has it yet.
 */
static TableName
table_name(Datum relation, bool must_be_trackable)
{
	RangeVar   *range = read_name(relation);
	Oid			relid = RangeVarGetRelid(range, NoLock, true);
	TableName	result;

	if (OidIsValid(relid) && must_be_trackable)
		check_kind(relid, range);
	result.name = range->relname;
	if (OidIsValid(relid))
		result.schema = get_namespace_name(get_rel_namespace(relid));
	else
		result.schema = range->schemaname ? range->schemaname : "public";
	if (result.schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", range->relname)));
	if (must_be_trackable)
		check_schema(&result);
	if (must_be_trackable && !OidIsValid(relid))
		ereport(NOTICE,
				(errmsg("table \"%s.%s\" does not exist yet", result.schema, result.name),
				 errdetail("Its writes are counted once it does.")));
	return result;
}

/* The error of all that act, which says where to go. */
static void
primary_or_error(void)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;

	owner_begin(&scope);
	owner_execute(&plan, "SELECT deploydb.primary_or_error()",
				  SPI_OK_SELECT, 0, NULL, NULL, NULL);
	owner_end(&scope);
}

/* Runs a statement over (schema, name, who); true when it changed a row. */
static bool
change(SPIPlanPtr *plan, const char *sql, int expected, TableName table)
{
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];
	OwnerScope	scope;
	bool		changed;

	values[0] = CStringGetTextDatum(table.schema);
	values[1] = CStringGetTextDatum(table.name);
	values[2] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	owner_begin(&scope);
	owner_execute(plan, sql, expected, 3, types, values, NULL);
	changed = SPI_processed > 0;
	owner_end(&scope);
	return changed;
}

static void
check_room(void)
{
	int			count;
	const TrackedTable *tables = tracked_tables(&count);

	for (int i = 0; i < count; i++)
		if (!tables[i].counted)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("too many tables are tracked"),
					 errdetail("All databases of the cluster together can track %d.",
							   deploydb_max_tracked),
					 errhint("Untrack another table, or raise \"deploydb.max_tracked\" and restart the server.")));
}

/* A crash before the first sample is to be seen. */
static void
begin_first_epoch(TableName table)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];
	OwnerScope	scope;

	values[0] = CStringGetTextDatum(table.schema);
	values[1] = CStringGetTextDatum(table.name);
	owner_begin(&scope);
	owner_execute(&plan, "SELECT deploydb.begin_first_epoch($1, $2)",
				  SPI_OK_SELECT, 2, types, values, NULL);
	owner_end(&scope);
}

static Datum
relation_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be NULL")));
	return PG_GETARG_DATUM(0);
}

/* True unless it was tracked already. */
Datum
deploydb_track(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	TableName	table = table_name(relation_argument(fcinfo), true);
	bool		changed;

	primary_or_error();
	if (counters_there())
		tracked_evict();
	changed = change(&plan,
					 "INSERT INTO deploydb.tracked AS t (schema, name, built_in, enabled, tracked_at, tracked_by)"
					 " SELECT $1, $2, false, true, pg_catalog.clock_timestamp(), $3"
					 " WHERE NOT EXISTS (SELECT FROM deploydb.tracked_table e"
					 "  WHERE e.schema OPERATOR(pg_catalog.=) $1 AND e.name OPERATOR(pg_catalog.=) $2)"
					 " ON CONFLICT (schema, name, built_in) DO UPDATE"
					 " SET enabled = true, tracked_at = EXCLUDED.tracked_at, tracked_by = EXCLUDED.tracked_by",
					 SPI_OK_INSERT, table);
	CommandCounterIncrement();
	if (counters_there())
	{
		check_room();
		if (changed)
			begin_first_epoch(table);
	}
	else
		ereport(NOTICE,
				(errmsg("writes are not counted before deploydb is preloaded"),
				 errhint("Run: %s -- then restart the server.",
						 preload_statement())));
	PG_RETURN_BOOL(changed);
}

/* What was counted so far is kept. */
static void
sample_last(void)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;

	owner_begin(&scope);
	owner_execute(&plan, "SELECT deploydb.take_write_sample()",
				  SPI_OK_SELECT, 0, NULL, NULL, NULL);
	owner_end(&scope);
}

/* True when it was tracked.  What is built in is switched off by a row. */
Datum
deploydb_untrack(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr switch_off = NULL;
	static SPIPlanPtr remove = NULL;
	TableName	table = table_name(relation_argument(fcinfo), false);
	bool		changed;

	primary_or_error();
	if (counters_there())
		sample_last();
	changed = change(&switch_off,
					 "INSERT INTO deploydb.tracked AS t (schema, name, built_in, enabled, tracked_at, tracked_by)"
					 " SELECT $1, $2, false, false, pg_catalog.clock_timestamp(), $3"
					 " FROM deploydb.tracked_table e"
					 " WHERE e.schema OPERATOR(pg_catalog.=) $1 AND e.name OPERATOR(pg_catalog.=) $2"
					 " ON CONFLICT (schema, name, built_in) DO UPDATE"
					 " SET enabled = false, tracked_at = EXCLUDED.tracked_at, tracked_by = EXCLUDED.tracked_by",
					 SPI_OK_INSERT, table);
	(void) change(&remove,
				  "DELETE FROM deploydb.tracked t"
				  " WHERE t.schema OPERATOR(pg_catalog.=) $1 AND t.name OPERATOR(pg_catalog.=) $2"
				  " AND $3 IS NOT NULL AND NOT t.built_in AND NOT t.enabled AND NOT EXISTS"
				  " (SELECT FROM deploydb.tracked b WHERE b.built_in"
				  "  AND b.schema OPERATOR(pg_catalog.=) $1 AND b.name OPERATOR(pg_catalog.=) $2)",
				  SPI_OK_DELETE, table);
	PG_RETURN_BOOL(changed);
}

/*
 * Whatever changes deploydb.tracked, every backend reads it again; and the
 * monitor takes a first sample of what a restore has tracked.
 */
Datum
deploydb_tracked_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("deploydb.tracked_changed() is for a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	if (counters_there())
		wake_monitor_at_commit();
	PG_RETURN_POINTER(NULL);
}
