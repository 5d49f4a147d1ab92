/*
 * executor_hooks.c
 *		Attempts to write that pass through the executor.
 *
 * An attempt is told by the relation that its statement names: the nominal
 * relation of each ModifyTable, the partition root or, through a view, the
 * table below it.  A statement that writes to nothing that is tracked costs a
 * comparison, and the client's own ones a look at the clock.
 *
 * What is marked hot, here and in what it calls, is passed by each statement or
 * each attempt: together it takes two pages of memory, and not six.  What only an
 * attempt passes is not inlined, so that others save no registers for it.
 *
 * Locking: none.  Errors: those of the statement pass on, counted at once or by
 * the abort that follows.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "own_work.h"
#include "settings.h"
#include "writes/attempts.h"
#include "writes/client_statement.h"
#include "writes/hooks.h"
#include "writes/tracked.h"

/* The next ones, or the server's own. */
static planner_hook_type next_planner = NULL;
static ExecutorStart_hook_type next_start = NULL;
static ExecutorRun_hook_type next_run = NULL;
static ExecutorFinish_hook_type next_finish = NULL;

/*
 * A function that is called while a statement is planned executes others:
 * they are not the client's own.
 */
static PlannedStmt *
writes_planner(COMPAT_PLANNER_PARAMETERS)
{
	PlannedStmt *volatile result = NULL;

	statement_nests();
	PG_TRY();
	{
		result = next_planner(COMPAT_PLANNER_ARGUMENTS);
	}
	PG_FINALLY();
	{
		statement_unnests();
	}
	PG_END_TRY();
	return result;
}

/*
 * What writes, or NULL; DELETE is no attempt to write a row.  Another extension
 * may have its own node around it, as TimescaleDB for a hypertable.
 */
static pg_attribute_hot const ModifyTable *
what_writes(const Plan *plan)
{
	if (plan != NULL && IsA(plan, CustomScan) &&
		list_length(((const CustomScan *) plan)->custom_plans) == 1)
		plan = linitial(((const CustomScan *) plan)->custom_plans);
	if (plan == NULL || !IsA(plan, ModifyTable) ||
		((const ModifyTable *) plan)->operation == CMD_DELETE)
		return NULL;
	return (const ModifyTable *) plan;
}

static pg_attribute_hot Oid
table_written(const PlannedStmt *statement, const ModifyTable *modify)
{
	return modify == NULL ? InvalidOid :
		rt_fetch(modify->nominalRelation, statement->rtable)->relid;
}

static pg_attribute_hot void
start_of_plan(QueryDesc *query, const Plan *plan)
{
	const ModifyTable *modify = what_writes(plan);
	Oid			relid = table_written(query->plannedstmt, modify);
	WriteTarget target;

	if (OidIsValid(relid) && tracked_find(relid, &target))
		attempt_start(query, &target, modify->canSetTag,
					  (int64) query->plannedstmt->queryId);
}

static pg_attribute_hot bool
writes_nothing(const QueryDesc *query)
{
	return query->operation == CMD_SELECT &&
		!query->plannedstmt->hasModifyingCTE;
}

/* Most statements write to nothing that is tracked: to be told at once. */
static pg_attribute_hot bool
may_be_attempt(const QueryDesc *query)
{
	const PlannedStmt *plan = query->plannedstmt;
	Oid			relid;

	if (writes_nothing(query))
		return false;
	relid = table_written(plan, what_writes(plan->planTree));
	return plan->hasModifyingCTE ||
		(OidIsValid(relid) && tracked_may_be(relid));
}

/* True when it is an attempt to write a tracked table. */
static pg_attribute_hot pg_noinline bool
attempt_starts(QueryDesc *query, int eflags)
{
	PlannedStmt *plan = query->plannedstmt;
	ListCell   *lc;

	if (!deploydb_track_writes || own_work_level > 0 ||
		(eflags & EXEC_FLAG_EXPLAIN_ONLY) || !tracked_refresh())
		return false;
	start_of_plan(query, plan->planTree);
	if (plan->hasModifyingCTE)
		foreach(lc, plan->subplans)
			start_of_plan(query, (Plan *) lfirst(lc));
	return attempt_is_started(query);
}

typedef enum AttemptCall
{
	ATTEMPT_STARTS, ATTEMPT_RUNS, ATTEMPT_FINISHES
} AttemptCall;

static inline void
call_next(AttemptCall call, QueryDesc *query, int eflags,
		  COMPAT_RUN_PARAMETERS)
{
	switch (call)
	{
		case ATTEMPT_STARTS:
			next_start(query, eflags);
			break;
		case ATTEMPT_RUNS:
			next_run(query, COMPAT_RUN_ARGUMENTS);
			break;
		case ATTEMPT_FINISHES:
			next_finish(query);
			break;
	}
}

/* What raises within a function may be caught there, and thrown on later. */
static pg_noinline void
call_within_function(AttemptCall call, QueryDesc *query, int eflags,
					 COMPAT_RUN_PARAMETERS)
{
	PG_TRY();
	{
		call_next(call, query, eflags, COMPAT_RUN_ARGUMENTS);
	}
	PG_CATCH();
	{
		attempt_failed(query);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * An attempt fails if one of its calls raises.  An error of the client's own
 * statement is logged and aborts: the abort counts it, so that no PG_TRY is paid
 * for by each.  The callback is for where the log takes no errors.
 */
static pg_attribute_hot pg_noinline void
call_for_attempt(AttemptCall call, bool own, QueryDesc *query, int eflags,
				 COMPAT_RUN_PARAMETERS)
{
	ErrorContextCallback watch;

	if (!own)
	{
		call_within_function(call, query, eflags, COMPAT_RUN_ARGUMENTS);
		return;
	}
	watch.callback = attempts_error_context;
	watch.arg = NULL;
	watch.previous = error_context_stack;
	error_context_stack = &watch;
	call_next(call, query, eflags, COMPAT_RUN_ARGUMENTS);
	error_context_stack = watch.previous;
}

static pg_attribute_hot void
writes_executor_start(QueryDesc *query, int eflags)
{
	if (may_be_attempt(query) && attempt_starts(query, eflags))
		call_for_attempt(ATTEMPT_STARTS, statement_is_clients(), query, eflags,
						 COMPAT_NO_RUN_ARGUMENTS);
	else
		next_start(query, eflags);
}

static pg_attribute_hot void
writes_executor_run(QueryDesc *query, COMPAT_RUN_PARAMETERS)
{
	bool		own = statement_is_clients();

	if (own)
		statement_call_begins(query);
	if (attempt_is_started(query))
		call_for_attempt(ATTEMPT_RUNS, own, query, 0, COMPAT_RUN_ARGUMENTS);
	else
		next_run(query, COMPAT_RUN_ARGUMENTS);

	/* A cursor may rest now; what writes is finished at once. */
	if (own && writes_nothing(query))
		statement_call_ended(query, GetCurrentTimestamp());
}

/* One look at the clock is for both, the attempt and the client's statement. */
static pg_attribute_hot void
writes_executor_finish(QueryDesc *query)
{
	bool		attempt = attempt_is_started(query);
	bool		running = running_statement_is(query);

	if (attempt)
		call_for_attempt(ATTEMPT_FINISHES, running, query, 0,
						 COMPAT_NO_RUN_ARGUMENTS);
	else
		next_finish(query);
	if (attempt || running)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (attempt)
			attempt_done(query, query->estate->es_processed, now);
		if (running)
			statement_call_ended(query, now);
	}
	if (open_statement_is(query))
		statement_ended();
}

void
executor_hooks_init(void)
{
	next_planner = planner_hook ? planner_hook : standard_planner;
	planner_hook = writes_planner;
	next_start = ExecutorStart_hook ? ExecutorStart_hook : standard_ExecutorStart;
	ExecutorStart_hook = writes_executor_start;
	next_run = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = writes_executor_run;
	next_finish = ExecutorFinish_hook ? ExecutorFinish_hook : standard_ExecutorFinish;
	ExecutorFinish_hook = writes_executor_finish;
}
