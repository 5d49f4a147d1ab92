/*
 * smoke.c
 *		deploydb.smoke_test(): do writes into a table succeed?
 *
 * Rows are written, read and refused as the application would have it, in a
 * subtransaction that is always rolled back, each statement in one of its own
 * within.  It all runs as the application's role where that is set, else as
 * the table's owner, security-restricted and with a pinned search_path.
 *
 * Locking: RowExclusive on the table, not queued for, until the rollback;
 * what the statements wait for is bound by deploydb.lock_timeout.
 * Errors: an error of a statement is a row of the result.  A cancel request, a
 * malformed name, and a caller who may not act as the role raise, after the
 * rollback.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

#include "compat.h"
#include "own_work.h"
#include "facts/escape.h"
#include "settings.h"
#include "verify/message.h"
#include "verify/smoke.h"
#include "verify/smoke_value.h"

PG_FUNCTION_INFO_V1(deploydb_smoke_test);

typedef enum StepStatus
{
	STEP_OK,
	STEP_FAILED,
	STEP_SKIPPED
} StepStatus;

/* What a step has to say; the row of the result. */
typedef struct StepResult
{
	StepStatus	status;
	const char *detail;
} StepResult;

typedef StepResult (*Step) (SmokeTarget *target);

static StepResult step_write(SmokeTarget *target);
static StepResult step_read_back(SmokeTarget *target);
static StepResult step_duplicate(SmokeTarget *target);
static StepResult step_null(SmokeTarget *target);
static StepResult step_json(SmokeTarget *target);

static const struct
{
	const char *name;
	Step		run;
}			steps[] = {
	{"write", step_write},
	{"read back", step_read_back},
	{"duplicate refused", step_duplicate},
	{"NULL refused", step_null},
	{"JSON round trip", step_json}
};

static StepResult
step_result(StepStatus status, const char *detail)
{
	StepResult	result = {status, detail};

	return result;
}

/*
 * Runs one statement in a subtransaction, which is kept only if asked for and
 * the statement succeeds.  Gives the error, or NULL; *first gets the first row
 * as texts, NULL where there is none.  What must end the whole run is raised
 * again.
 */
static ErrorData *
attempt(const char *sql, bool keep, char ***first)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	if (first != NULL)
		*first = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql, false, 0) < 0)
			elog(ERROR, "could not run \"%s\"", sql);
		if (first != NULL && SPI_tuptable != NULL && SPI_processed > 0)
		{
			TupleDesc	desc = SPI_tuptable->tupdesc;

			MemoryContextSwitchTo(context);
			*first = palloc0(sizeof(char *) * (size_t) desc->natts);
			for (int i = 0; i < desc->natts; i++)
				(*first)[i] = SPI_getvalue(SPI_tuptable->vals[0], desc, i + 1);
		}
		SPI_finish();
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error != NULL &&
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		 ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_ADMIN_SHUTDOWN) ||
		 ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_OUT_OF_MEMORY)))
		ReThrowError(error);
	return error;
}

/* The statement that gives the role what it lacks, or NULL where it is not that. */
static const char *
missing_grant(const SmokeTarget *target)
{
	const char *role = quote_identifier(GetUserNameFromId(target->role, false));
	Oid			schema = get_rel_namespace(target->relid);

	if (compat_schema_aclcheck(schema, target->role, ACL_USAGE) != ACLCHECK_OK)
		return psprintf("GRANT USAGE ON SCHEMA %s TO %s",
						quote_identifier(get_namespace_name(schema)), role);
	if (pg_class_aclmask(target->relid, target->role,
						 ACL_SELECT | ACL_INSERT | ACL_UPDATE,
						 ACLMASK_ALL) != (ACL_SELECT | ACL_INSERT | ACL_UPDATE))
		return psprintf("GRANT SELECT, INSERT, UPDATE ON TABLE %s TO %s",
						target->name, role);
	return NULL;
}

static StepResult
error_result(const SmokeTarget *target, const ErrorData *error)
{
	StringInfoData detail;
	const char *grant = NULL;
	const char *message = error->message ? error->message : "";

	initStringInfo(&detail);
	appendStringInfo(&detail, "%s: %s", unpack_sql_state(error->sqlerrcode),
					 message_clip(message, strlen(message)));
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)
		grant = missing_grant(target);
	if (grant != NULL)
		appendStringInfo(&detail, "; run: %s;", grant);
	return step_result(STEP_FAILED, detail.data);
}

/* "a, b" of the columns of the key. */
static char *
key_columns(const SmokeTarget *target)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < target->count; i++)
	{
		if (target->columns[i].in_key)
			appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "",
							 target->columns[i].name);
	}
	return out.data;
}

/*
 * An INSERT of the target's values.  null_column is written as NULL instead,
 * -1 for none; with_key also gives the key's columns that have defaults.
 */
static char *
insert_statement(const SmokeTarget *target, int null_column, bool with_key)
{
	StringInfoData columns;
	StringInfoData values;

	initStringInfo(&columns);
	initStringInfo(&values);
	for (int i = 0; i < target->count; i++)
	{
		const SmokeColumn *column = &target->columns[i];
		const char *separator = columns.len > 0 ? ", " : "";

		if (!column->supplied && !(with_key && column->in_key))
			continue;
		appendStringInfo(&columns, "%s%s", separator, column->name);
		appendStringInfo(&values, "%s%s", separator,
						 i == null_column ? "NULL" : quote_literal_cstr(column->value));
	}
	if (columns.len == 0)
		return psprintf("INSERT INTO %s DEFAULT VALUES", target->name);
	return psprintf("INSERT INTO %s (%s)%s VALUES (%s)", target->name,
					columns.data, with_key ? " OVERRIDING SYSTEM VALUE" : "",
					values.data);
}

/* WHERE of the row that was written. */
static char *
key_condition(const SmokeTarget *target)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < target->count; i++)
	{
		const SmokeColumn *column = &target->columns[i];

		if (column->in_key)
			appendStringInfo(&out, "%s%s OPERATOR(pg_catalog.=) %s",
							 out.len > 0 ? " AND " : "",
							 column->name, quote_literal_cstr(column->value));
	}
	return out.data;
}

/* Asks the INSERT for the key's values that the table makes itself. */
static StepResult
step_write(SmokeTarget *target)
{
	StringInfoData sql;
	const char *separator = " RETURNING ";
	ErrorData  *error;
	char	  **returned;
	int			at = 0;

	if (target->unmakable != NULL)
		return step_result(STEP_SKIPPED,
						   psprintf("column %s needs a value of a type that deploydb cannot make",
									target->unmakable));
	initStringInfo(&sql);
	appendStringInfoString(&sql, insert_statement(target, -1, false));
	for (int i = 0; i < target->count; i++)
	{
		if (target->columns[i].in_key && !target->columns[i].supplied)
		{
			appendStringInfo(&sql, "%s%s", separator, target->columns[i].name);
			separator = ", ";
		}
	}

	error = attempt(sql.data, true, &returned);
	if (error != NULL)
	{
		StepResult	result = error_result(target, error);

		/* The row is made up, so these do not mean that a real one fails. */
		if (error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION ||
			error->sqlerrcode == ERRCODE_CHECK_VIOLATION)
			result.status = STEP_SKIPPED;
		return result;
	}
	for (int i = 0; i < target->count; i++)
	{
		SmokeColumn *column = &target->columns[i];

		if (!column->in_key || column->supplied)
			continue;
		if (returned == NULL || returned[at] == NULL)
			return step_result(STEP_FAILED, "no row was written, and no error raised");
		column->value = returned[at++];
	}
	target->written = true;
	return step_result(STEP_OK, psprintf("as role %s, rolled back at the end",
										 quote_identifier(GetUserNameFromId(target->role, false))));
}

static const char *
why_no_row(const SmokeTarget *target)
{
	if (!target->written)
		return "nothing was written";
	if (target->key == NULL)
		return "the table has no unique key to go by";
	return NULL;
}

static StepResult
step_read_back(SmokeTarget *target)
{
	const char *why = why_no_row(target);
	ErrorData  *error;
	char	  **row;

	if (why != NULL)
		return step_result(STEP_SKIPPED, why);
	error = attempt(psprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s",
							 target->name, key_condition(target)), false, &row);
	if (error != NULL)
		return error_result(target, error);
	if (row == NULL || strcmp(row[0], "1") != 0)
		return step_result(STEP_FAILED,
						   psprintf("%s rows were found by %s, expected 1",
									row ? row[0] : "no", key_columns(target)));
	return step_result(STEP_OK, psprintf("by %s (%s)", target->key,
										 key_columns(target)));
}

static StepResult
step_duplicate(SmokeTarget *target)
{
	const char *why = why_no_row(target);
	ErrorData  *error;

	if (why != NULL)
		return step_result(STEP_SKIPPED, why);
	smoke_fill(target, true);
	error = attempt(insert_statement(target, -1, true), false, NULL);
	if (error == NULL)
		return step_result(STEP_FAILED,
						   psprintf("a second row with the same %s was taken",
									key_columns(target)));
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		return error_result(target, error);
	return step_result(STEP_OK, psprintf("by %s", error->constraint_name ?
										 quote_identifier(error->constraint_name) :
										 target->key));
}

/* Each NOT NULL column by itself. */
static StepResult
step_null(SmokeTarget *target)
{
	SmokeTarget fresh = *target;
	int			refused = 0;

	if (!target->written)
		return step_result(STEP_SKIPPED, "nothing was written");

	/* The row that was written must still be found by its key. */
	fresh.columns = palloc(sizeof(SmokeColumn) * (size_t) Max(target->count, 1));
	memcpy(fresh.columns, target->columns,
		   sizeof(SmokeColumn) * (size_t) target->count);
	smoke_fill(&fresh, false);
	for (int i = 0; i < fresh.count; i++)
	{
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		if (!fresh.columns[i].not_null || !fresh.columns[i].supplied)
			continue;
		error = attempt(insert_statement(&fresh, i, false), false, NULL);
		if (error == NULL)
			return step_result(STEP_FAILED, psprintf("NULL in column %s was taken",
													 fresh.columns[i].name));
		if (error->sqlerrcode != ERRCODE_NOT_NULL_VIOLATION &&
			error->sqlerrcode != ERRCODE_CHECK_VIOLATION)
			return error_result(target, error);
		refused++;
	}
	if (refused == 0)
		return step_result(STEP_SKIPPED, "no column without a default is NOT NULL");
	return step_result(STEP_OK, psprintf("in %d of %d columns", refused, fresh.count));
}

static StepResult
step_json(SmokeTarget *target)
{
	const char *why = why_no_row(target);
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < target->count; i++)
	{
		const SmokeColumn *column = &target->columns[i];
		ErrorData  *error;
		char	  **row;

		if (!column->supplied || !smoke_type_is_json(column->type))
			continue;
		if (why != NULL)
			return step_result(STEP_SKIPPED, why);
		error = attempt(psprintf("SELECT %s::pg_catalog.jsonb OPERATOR(pg_catalog.=) %s::pg_catalog.jsonb FROM %s WHERE %s",
								 column->name, quote_literal_cstr(column->value),
								 target->name, key_condition(target)),
						false, &row);
		if (error != NULL)
			return error_result(target, error);
		if (row == NULL || row[0] == NULL || strcmp(row[0], "t") != 0)
			return step_result(STEP_FAILED,
							   psprintf("column %s came back different", column->name));
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", column->name);
	}
	if (names.len == 0)
		return step_result(STEP_SKIPPED, "the table has no json or jsonb column");
	return step_result(STEP_OK, names.data);
}

static void
put_row(ReturnSetInfo *rsinfo, const char *name, StepResult result, double elapsed)
{
	static const char *const statuses[] = {
		[STEP_OK] = "ok",
		[STEP_FAILED] = "failed",
		[STEP_SKIPPED] = "skipped"
	};
	Datum		values[4];
	bool		nulls[4] = {false, false, result.detail == NULL, false};

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(statuses[result.status]);
	values[2] = result.detail ?
		CStringGetTextDatum(text_for_client(result.detail)) : (Datum) 0;
	values[3] = Float8GetDatum(elapsed);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The first step has this result, and nothing else is tried. */
static void
put_all(ReturnSetInfo *rsinfo, StepStatus status, const char *detail)
{
	for (size_t i = 0; i < lengthof(steps); i++)
	{
		if (i == 0 || status == STEP_SKIPPED)
			put_row(rsinfo, steps[i].name, step_result(status, detail), 0);
		else
			put_row(rsinfo, steps[i].name,
					step_result(STEP_SKIPPED, "nothing was written"), 0);
	}
}

/* In the outer subtransaction: its rollback puts role and settings back. */
static void
run_as_role(Oid role)
{
	char		timeout[32];

	SetUserIdAndSecContext(role, SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	(void) NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	snprintf(timeout, sizeof(timeout), "%d", Max(deploydb_lock_timeout, 1));
	(void) set_config_option("lock_timeout", timeout,
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

static void
run_steps(ReturnSetInfo *rsinfo, const char *schema, const char *name)
{
	SmokeTarget target;
	const char *problem = smoke_prepare(&target, schema, name);

	if (problem != NULL)
	{
		put_all(rsinfo, target.locked_out ? STEP_SKIPPED : STEP_FAILED, problem);
		return;
	}
	run_as_role(target.role);

	/* What is deferred cannot fire in a security-restricted operation. */
	if (target.deferred != NULL)
		(void) attempt(psprintf("SET CONSTRAINTS %s IMMEDIATE", target.deferred),
					   true, NULL);
	smoke_fill(&target, false);
	for (size_t i = 0; i < lengthof(steps); i++)
	{
		instr_time	start;
		instr_time	end;
		StepResult	result;

		INSTR_TIME_SET_CURRENT(start);
		result = steps[i].run(&target);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		put_row(rsinfo, steps[i].name, result, INSTR_TIME_GET_MILLISEC(end));
	}
}

Datum
deploydb_smoke_test(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	List	   *names;

	InitMaterializedSRF(fcinfo, 0);
	names = textToQualifiedNameList(PG_ARGISNULL(0) ?
									cstring_to_text("decision_insights") :
									PG_GETARG_TEXT_PP(0));
	if (list_length(names) > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("a table is named by itself or with its schema")));
	if (RecoveryInProgress() || XactReadOnly)
	{
		put_all(rsinfo, STEP_SKIPPED, RecoveryInProgress() ?
				"this server is a standby" : "this transaction is read-only");
		return (Datum) 0;
	}

	BeginInternalSubTransaction(NULL);
	own_work_level++;
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		run_steps(rsinfo, list_length(names) > 1 ? strVal(linitial(names)) : NULL,
				  strVal(llast(names)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	own_work_level--;
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL)
		ReThrowError(error);
	return (Datum) 0;
}
