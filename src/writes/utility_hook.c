/*
 * utility_hook.c
 *		Attempts to write that pass through ProcessUtility: COPY FROM, and
 *		COMMIT where an earlier error lets nothing commit.
 *
 * Locking: none.  Errors: those of the statement pass on, counted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "own_work.h"
#include "settings.h"
#include "writes/attempts.h"
#include "writes/client_statement.h"
#include "writes/hooks.h"
#include "writes/tracked.h"

/* The next one's, or the server's own. */
static ProcessUtility_hook_type next_utility = NULL;

/* True when it is an attempt to write a tracked table. */
static bool
copy_starts(PlannedStmt *statement)
{
	CopyStmt   *copy = (CopyStmt *) statement->utilityStmt;
	WriteTarget target;

	if (!deploydb_track_writes || own_work_level > 0 ||
		!IsA(copy, CopyStmt) || !copy->is_from ||
		!tracked_refresh() || !tracked_find_name(copy->relation, &target))
		return false;
	attempt_start(statement, &target, true, (int64) statement->queryId);
	return attempt_is_started(statement);
}

/*
 * What COPY TO gives takes as long as its client reads, as pg_dump does, and
 * maintenance as long as the table is big.
 */
static bool
may_be_slow(PlannedStmt *statement)
{
	switch (nodeTag(statement->utilityStmt))
	{
		case T_CopyStmt:
			return ((CopyStmt *) statement->utilityStmt)->is_from;
		case T_VacuumStmt:		/* and ANALYZE */
		case T_ReindexStmt:
		case T_IndexStmt:
		case COMPAT_T_ClusterStmt:
			return false;
		default:
			return true;
	}
}

/* BEGIN, COMMIT, SAVEPOINT and the like execute nothing. */
static void
transaction_statement(TransactionStmt *statement)
{
	bool		swallows = (statement->kind == TRANS_STMT_COMMIT ||
							statement->kind == TRANS_STMT_PREPARE) &&
		IsAbortedTransactionBlockState();

	if (swallows || statement->kind == TRANS_STMT_ROLLBACK)
		attempts_rolled_back(swallows);
}

/* Within an attempt, or around the client's own statement, or both. */
static void
watched_utility(PlannedStmt *pstmt, const char *queryString,
				bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc,
				bool own, bool attempt)
{
	const bool	counts = own && may_be_slow(pstmt);
	TimestampTz now;

	statement_nests();
	PG_TRY();
	{
		next_utility(pstmt, queryString, readOnlyTree, context, params,
					 queryEnv, dest, qc);
	}
	PG_CATCH();
	{
		statement_unnests();
		if (counts)
			statement_call_begins(pstmt);	/* until the abort */
		else if (own)
			statement_count_if_slow(0);
		if (attempt)
			attempt_failed(pstmt);
		PG_RE_THROW();
	}
	PG_END_TRY();

	/* The statement may be freed by now: its address is all that is used. */
	statement_unnests();
	now = GetCurrentTimestamp();
	if (attempt)
		attempt_done(pstmt, qc->nprocessed, now);
	if (own)
	{
		uint64		took = statement_call_took(now);

		statement_count_if_slow(counts ? took : 0);
	}
}

static void
writes_utility(PlannedStmt *pstmt, const char *queryString,
			   bool readOnlyTree, ProcessUtilityContext context,
			   ParamListInfo params, QueryEnvironment *queryEnv,
			   DestReceiver *dest, QueryCompletion *qc)
{
	bool		transaction = IsA(pstmt->utilityStmt, TransactionStmt);
	bool		own = !transaction && statement_is_clients();
	bool		attempt = !transaction && copy_starts(pstmt);
	QueryCompletion completion = {0};

	if (transaction)
		transaction_statement((TransactionStmt *) pstmt->utilityStmt);
	if (own || attempt)
		/* The number of rows is ours to know, even where nobody asks. */
		watched_utility(pstmt, queryString, readOnlyTree, context, params,
						queryEnv, dest, qc != NULL ? qc : &completion,
						own, attempt);
	else
		next_utility(pstmt, queryString, readOnlyTree, context, params,
					 queryEnv, dest, qc);
}

void
utility_hook_init(void)
{
	next_utility = ProcessUtility_hook ? ProcessUtility_hook :
		standard_ProcessUtility;
	ProcessUtility_hook = writes_utility;
}
