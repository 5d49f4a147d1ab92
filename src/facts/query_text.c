/*
 * query_text.c
 *		Text of stored queries.
 *
 * The server's deparser locks every relation that a query refers to, waits
 * for the locks, and keeps them to the end of the transaction.  Here they are
 * had beforehand, without queueing, and all of it happens in a subtransaction
 * that is rolled back, which gives every lock back.
 *
 * Locking: AccessShare on what the query refers to, until return.
 * Errors: those of the deparser rise after the rollback.
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/ruleutils.h"

#include "facts/collector.h"
#include "facts/relation_lock.h"

/* Stops, with true, at the first relation that is not to be had. */
static bool
lock_walker(Node *node, void *context)
{
	TimestampTz deadline = *(TimestampTz *) context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		return rte->rtekind == RTE_RELATION &&
			!relation_lock_wait(rte->relid, AccessShareLock, deadline);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, lock_walker, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, lock_walker, context);
}

static char *
function_body(Oid funcid)
{
	return TextDatumGetCString(DirectFunctionCall1(pg_get_function_sqlbody,
												   ObjectIdGetDatum(funcid)));
}

/*
 * The text of the query, or of the expression over the relation, or, with
 * neither, of the function's body.
 */
static char *
locked_text(Collector *c, Node *node, Query *query, Relation rel, Oid funcid)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile text = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		if (lock_walker(node, &c->deadline))
			c->locked_out = true;
		else
			text = query != NULL ?
				pg_get_querydef(copyObject(query), false) :
				rel != NULL ? expression_text(node, rel) :
				function_body(funcid);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return text;
}

char *
query_text(Collector *c, Query *query)
{
	return locked_text(c, (Node *) query, query, NULL, InvalidOid);
}

char *
subquery_expression_text(Collector *c, Node *expr, Relation rel)
{
	return locked_text(c, expr, NULL, rel, InvalidOid);
}

char *
function_body_text(Collector *c, Oid funcid, Node *body)
{
	return locked_text(c, body, NULL, NULL, funcid);
}
