/*
 * hooks.c
 *		Takes the hooks that a statement passes off, and puts them back, so that
 *		one can measure what they cost within one and the same backend.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "optimizer/planner.h"
#include "parser/analyze.h"
#include "tcop/utility.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(switch_hooks);

static bool on = true;
static planner_hook_type planner;
static post_parse_analyze_hook_type analyze;
static ExecutorStart_hook_type start;
static ExecutorRun_hook_type run;
static ExecutorFinish_hook_type finish;
static ExecutorEnd_hook_type end;
static ProcessUtility_hook_type utility;
static object_access_hook_type object_access;

#define SWITCH(hook, kept) \
	if (wanted) \
		hook = kept; \
	else \
		kept = hook, hook = NULL

/* switch_hooks(on boolean), at top level. */
Datum
switch_hooks(PG_FUNCTION_ARGS)
{
	bool		wanted = PG_GETARG_BOOL(0);

	if (wanted != on)
	{
		SWITCH(planner_hook, planner);
		SWITCH(post_parse_analyze_hook, analyze);
		SWITCH(ExecutorStart_hook, start);
		SWITCH(ExecutorRun_hook, run);
		SWITCH(ExecutorFinish_hook, finish);
		SWITCH(ExecutorEnd_hook, end);
		SWITCH(ProcessUtility_hook, utility);
		SWITCH(object_access_hook, object_access);
	}
	on = wanted;
	PG_RETURN_BOOL(on);
}
