/*
 * wrapped_plans.c
 *		Puts a node of its own around what writes, as TimescaleDB does for its
 *		hypertables: for the tests.
 *
 * Only what gives no rows: the node has no target list.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/extensible.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"

#include "compat.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static planner_hook_type next_planner = NULL;

static void
begin_wrapped(CustomScanState *node, EState *estate, int eflags)
{
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;

	node->custom_ps = list_make1(ExecInitNode(linitial(plan->custom_plans), estate, eflags));
}

static TupleTableSlot *
execute_wrapped(CustomScanState *node)
{
	return ExecProcNode(linitial(node->custom_ps));
}

static void
end_wrapped(CustomScanState *node)
{
	ExecEndNode(linitial(node->custom_ps));
}

static void
rescan_wrapped(CustomScanState *node)
{
	ExecReScan(linitial(node->custom_ps));
}

static const CustomExecMethods execution = {
	.CustomName = "Wrapped",
	.BeginCustomScan = begin_wrapped,
	.ExecCustomScan = execute_wrapped,
	.EndCustomScan = end_wrapped,
	.ReScanCustomScan = rescan_wrapped,
};

static Node *
create_state(CustomScan *plan)
{
	CustomScanState *state = makeNode(CustomScanState);

	(void) plan;
	state->methods = &execution;
	return (Node *) state;
}

static const CustomScanMethods scan = {
	.CustomName = "Wrapped",
	.CreateCustomScanState = create_state,
};

static Plan *
wrap(Plan *plan)
{
	CustomScan *wrapped;

	if (plan == NULL || !IsA(plan, ModifyTable) || plan->targetlist != NIL)
		return plan;
	wrapped = makeNode(CustomScan);
	wrapped->methods = &scan;
	wrapped->custom_plans = list_make1(plan);
	wrapped->scan.plan.plan_rows = plan->plan_rows;
	wrapped->scan.plan.plan_node_id = plan->plan_node_id;
	wrapped->scan.plan.extParam = plan->extParam;
	wrapped->scan.plan.allParam = plan->allParam;
	return &wrapped->scan.plan;
}

static PlannedStmt *
wrapping_planner(COMPAT_PLANNER_PARAMETERS)
{
	PlannedStmt *planned = next_planner(COMPAT_PLANNER_ARGUMENTS);
	ListCell   *lc;

	planned->planTree = wrap(planned->planTree);
	foreach(lc, planned->subplans)
		lfirst(lc) = wrap(lfirst(lc));
	return planned;
}

void
_PG_init(void)
{
	RegisterCustomScanMethods(&scan);
	next_planner = planner_hook ? planner_hook : standard_planner;
	planner_hook = wrapping_planner;
}
