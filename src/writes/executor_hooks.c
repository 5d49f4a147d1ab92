/*
 * executor_hooks.c
 *		Attempts to write that pass through the executor.
 *
 * An attempt is told by the relation that its statement names: the nominal
 * relation of each ModifyTable, the partition root or, through a view, the
 * table below it.  A statement that writes to nothing that is tracked costs a
 * comparison, and the client's own ones two looks at the clock.
 *
 * Locking: none.  Errors: those of the statement pass on, counted.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "portability/instr_time.h"

#include "compat.h"
#include "own_work.h"
#include "settings.h"
#include "writes/attempts.h"
#include "writes/counters.h"
#include "writes/hooks.h"
#include "writes/tracked.h"

int			writes_nesting_level = 0;

static planner_hook_type previous_planner = NULL;
static ExecutorStart_hook_type previous_start = NULL;
static ExecutorRun_hook_type previous_run = NULL;
static ExecutorFinish_hook_type previous_finish = NULL;

/* Time of the client's own statement so far. */
static const QueryDesc *own_query = NULL;
static uint64 own_microseconds = 0;

/* ExecutorFinish follows at once: it needs no look at the clock of its own. */
static const QueryDesc *last_run = NULL;
static instr_time last_run_ended;

static uint64 own_waited = 0;

void
slow_statement_check(uint64 microseconds)
{
	microseconds -= Min(own_waited, microseconds);
	own_waited = 0;
	if (deploydb_slow_query_threshold >= 0 && own_work_level == 0 &&
		microseconds > (uint64) deploydb_slow_query_threshold * 1000)
		counters_add_slow_statement();
}

void
slow_statement_waited(uint64 microseconds)
{
	own_waited += microseconds;
}

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
		if (previous_planner)
			result = previous_planner(COMPAT_PLANNER_ARGUMENTS);
		else
			result = standard_planner(COMPAT_PLANNER_ARGUMENTS);
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

/* True when it is an attempt to write a tracked table. */
static bool
attempt_starts(QueryDesc *query, int eflags)
{
	PlannedStmt *plan = query->plannedstmt;
	ListCell   *lc;

	if (!deploydb_track_writes || own_work_level > 0 ||
		(eflags & EXEC_FLAG_EXPLAIN_ONLY) || IsParallelWorker() ||
		(query->operation == CMD_SELECT && !plan->hasModifyingCTE) ||
		!tracked_refresh())
		return false;
	start_of_plan(query, plan->planTree);
	if (plan->hasModifyingCTE)
		foreach(lc, plan->subplans)
			start_of_plan(query, (Plan *) lfirst(lc));
	return attempt_is_started(query);
}

static void
call_start(QueryDesc *query, int eflags)
{
	if (previous_start)
		previous_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
writes_executor_start(QueryDesc *query, int eflags)
{
	if (!attempt_starts(query, eflags))
	{
		call_start(query, eflags);
		return;
	}
	PG_TRY();
	{
		call_start(query, eflags);
	}
	PG_CATCH();
	{
		attempts_error_passes();
		attempt_failed(query);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
call_run(QueryDesc *query, COMPAT_RUN_PARAMETERS)
{
	if (previous_run)
		previous_run(query, COMPAT_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(query, COMPAT_RUN_ARGUMENTS);
}

static void
call_finish(QueryDesc *query)
{
	if (previous_finish)
		previous_finish(query);
	else
		standard_ExecutorFinish(query);
}

/* A call of the executor took so long; error is true when it raised. */
static void
call_took(QueryDesc *query, bool own, bool attempt, uint64 microseconds)
{
	if (attempt)
		attempt_took(query, microseconds);
	if (!own)
		return;
	if (own_query != query)
		own_microseconds = 0;
	own_query = query;
	own_microseconds += microseconds;
}

/* The client's own statement has come to its end. */
static void
own_ended(void)
{
	slow_statement_check(own_microseconds);
	own_query = NULL;			/* another may get its address */
}

/* The error that is being handled ends a call of the executor. */
static void
call_raised(QueryDesc *query, bool own, bool attempt)
{
	if (attempt)
		attempt_failed(query);
	if (!own)
		return;
	attempts_error_passes();
	own_ended();
}

static void
writes_executor_run(QueryDesc *query, COMPAT_RUN_PARAMETERS)
{
	bool		own = (writes_nesting_level == 0);
	bool		attempt = attempts_started() && attempt_is_started(query);
	instr_time	start;

	if (!own && !attempt)
	{
		call_run(query, COMPAT_RUN_ARGUMENTS);
		return;
	}
	INSTR_TIME_SET_CURRENT(start);
	writes_nesting_level++;
	PG_TRY();
	{
		call_run(query, COMPAT_RUN_ARGUMENTS);
	}
	PG_CATCH();
	{
		writes_nesting_level--;
		call_took(query, own, attempt, microseconds_since(start));
		call_raised(query, own, attempt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	writes_nesting_level--;
	INSTR_TIME_SET_CURRENT(last_run_ended);
	last_run = query;
	call_took(query, own, attempt, microseconds_between(start, last_run_ended));
}

static void
writes_executor_finish(QueryDesc *query)
{
	bool		own = (writes_nesting_level == 0);
	bool		attempt = attempts_started() && attempt_is_started(query);
	instr_time	start;

	/* A plain SELECT has nothing to finish. */
	if (!attempt && (!own || query->operation == CMD_SELECT))
	{
		call_finish(query);
		if (own && own_query == query)
			own_ended();
		return;
	}
	if (last_run == query)
		start = last_run_ended;
	else
		INSTR_TIME_SET_CURRENT(start);
	last_run = NULL;
	writes_nesting_level++;
	PG_TRY();
	{
		call_finish(query);
	}
	PG_CATCH();
	{
		writes_nesting_level--;
		call_took(query, own, attempt, microseconds_since(start));
		call_raised(query, own, attempt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	writes_nesting_level--;
	call_took(query, own, attempt, microseconds_since(start));
	if (attempt)
		attempt_done(query, query->estate->es_processed);
	if (own)
		own_ended();
}

void
executor_hooks_init(void)
{
	previous_planner = planner_hook;
	planner_hook = writes_planner;
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = writes_executor_start;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = writes_executor_run;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = writes_executor_finish;
}
