/*
 * executor_hooks.c
 *		Attempts to write that pass through the executor.
 *
 * An attempt is told by the relation that its statement names: the nominal
 * relation of each ModifyTable, the partition root or, through a view, the
 * table below it.  A statement that writes to nothing that is tracked costs a
 * comparison, and the client's own ones a look at the clock.
 *
 * Locking: none.  Errors: those of the statement pass on, counted.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"

#include "compat.h"
#include "own_work.h"
#include "settings.h"
#include "writes/attempts.h"
#include "writes/hooks.h"
#include "writes/slow_statements.h"
#include "writes/tracked.h"

int			writes_nesting_level = 0;

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

	writes_nesting_level++;
	PG_TRY();
	{
		result = next_planner(COMPAT_PLANNER_ARGUMENTS);
	}
	PG_FINALLY();
	{
		writes_nesting_level--;
	}
	PG_END_TRY();
	return result;
}

/* Of a ModifyTable; DELETE is no attempt to write a row. */
static void
start_of_plan(QueryDesc *query, Plan *plan)
{
	ModifyTable *modify;
	RangeTblEntry *named;
	WriteTarget target;

	if (plan == NULL || !IsA(plan, ModifyTable))
		return;
	modify = (ModifyTable *) plan;
	if (modify->operation == CMD_DELETE)
		return;
	named = rt_fetch(modify->nominalRelation, query->plannedstmt->rtable);
	if (tracked_find(named->relid, &target))
		attempt_start(query, &target, modify->canSetTag,
					  (int64) query->plannedstmt->queryId);
}

static bool
writes_nothing(const QueryDesc *query)
{
	return query->operation == CMD_SELECT &&
		!query->plannedstmt->hasModifyingCTE;
}

/* True when it is an attempt to write a tracked table. */
static bool
attempt_starts(QueryDesc *query, int eflags)
{
	PlannedStmt *plan = query->plannedstmt;
	ListCell   *lc;

	if (!deploydb_track_writes || own_work_level > 0 ||
		(eflags & EXEC_FLAG_EXPLAIN_ONLY) || IsParallelWorker() ||
		!tracked_refresh())
		return false;
	start_of_plan(query, plan->planTree);
	if (plan->hasModifyingCTE)
		foreach(lc, plan->subplans)
			start_of_plan(query, (Plan *) lfirst(lc));
	return attempt_is_started(query);
}

static void
writes_executor_start(QueryDesc *query, int eflags)
{
	if (writes_nothing(query) || !attempt_starts(query, eflags))
	{
		next_start(query, eflags);
		return;
	}
	PG_TRY();
	{
		next_start(query, eflags);
	}
	PG_CATCH();
	{
		attempts_error_passes();
		attempt_failed(query);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* The error that is being handled ends a call of the executor. */
static void
call_raised(QueryDesc *query, bool own, bool attempt)
{
	writes_nesting_level--;
	if (attempt)
		attempt_failed(query);
	if (!own)
		return;
	attempts_error_passes();
	statement_call_ended(query);
	statement_ended();
}

static void
writes_executor_run(QueryDesc *query, COMPAT_RUN_PARAMETERS)
{
	bool		own = (writes_nesting_level == 0);
	bool		attempt = attempt_is_started(query);

	if (!own && !attempt)
	{
		next_run(query, COMPAT_RUN_ARGUMENTS);
		return;
	}
	writes_nesting_level++;
	PG_TRY();
	{
		next_run(query, COMPAT_RUN_ARGUMENTS);
	}
	PG_CATCH();
	{
		call_raised(query, own, attempt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	writes_nesting_level--;

	/* A cursor may rest now; what writes is finished at once. */
	if (own && query->operation == CMD_SELECT)
		statement_call_ended(query);
}

static void
writes_executor_finish(QueryDesc *query)
{
	bool		own = (writes_nesting_level == 0);
	bool		attempt = attempt_is_started(query);

	/* A plain SELECT has nothing to finish. */
	if (!attempt && (!own || writes_nothing(query)))
	{
		next_finish(query);
		if (own && statement_is_open(query))
			statement_ended();
		return;
	}
	writes_nesting_level++;
	PG_TRY();
	{
		next_finish(query);
	}
	PG_CATCH();
	{
		call_raised(query, own, attempt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	writes_nesting_level--;
	if (attempt)
		attempt_done(query, query->estate->es_processed);
	if (own)
	{
		statement_call_ended(query);
		statement_ended();
	}
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
