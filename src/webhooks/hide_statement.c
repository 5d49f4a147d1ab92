/*
 * hide_statement.c
 *		Statements that carry a webhook's address or key stay out of the log,
 *		of pg_stat_activity and of pg_stat_statements.
 *
 * Where the library is not preloaded it is loaded by the first of its
 * functions that is called: so the functions that take a secret call one
 * first, and only what fails before, while parsed, is not hidden.
 *
 * Locking: none.  Errors: none but out of memory; the hook may run in any
 * process, at any time, so it takes hardly any.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "webhooks/hide_statement.h"
#include "webhooks/secret_signs.h"

PG_FUNCTION_INFO_V1(deploydb_hide_statement);

static emit_log_hook_type previous_hook = NULL;
static post_parse_analyze_hook_type next_analyze = NULL;
static ExecutorRun_hook_type next_run = NULL;
static ProcessUtility_hook_type next_utility = NULL;

/* Has a message of this session told?  Before, none is asked when it is run. */
static bool told = false;

/*
 * Start of the statement in which one of the functions was called, and of the
 * transaction: auto_explain logs a plan when its portal ends, in a later one.
 */
static TimestampTz telling_since = 0;
static TimestampTz telling_transaction = 0;

static const char not_shown[] = "It is not shown, as it may hold a secret.";

/* Other sessions see it no longer. */
static void
hide_activity(void)
{
	pgstat_report_activity(STATE_RUNNING, "deploydb: address or secret of a webhook");
}

static bool
begins(const char *text, const char *with)
{
	return text != NULL && strncmp(text, with, strlen(with)) == 0;
}

static bool
is_plan(const char *message)
{
	return begins(message, "duration: ") && strstr(message, " plan:\n") != NULL;
}

/* A statement's own function, or EXECUTE, has told. */
static bool
has_told(const ErrorData *edata)
{
	return telling_since != 0 &&
		(telling_since == GetCurrentStatementStartTimestamp() ||
		 (telling_transaction == GetCurrentTransactionStartTimestamp() &&
		  is_plan(edata->message)));
}

/* Of a row of ours, through whatever view or function. */
static bool
is_of_table(const ErrorData *edata)
{
	return edata->schema_name != NULL && strcmp(edata->schema_name, "deploydb") == 0;
}

/*
 * A prepared statement's text is in the detail of what logs its EXECUTE, that of
 * a statement within another one is in the message, and values are in context
 * and detail: of these together it is asked.  Between messages there is no text
 * of the client's, as in a process without a client, such as the monitor, whose
 * own messages are left alone.
 */
static int
line_signs(const ErrorData *edata)
{
	bool		of_client = debug_query_string != NULL;
	bool		of_table = is_of_table(edata);
	int			signs = signs_of(edata->internalquery);

	if (has_told(edata))
		signs |= SIGN_FUNCTION | SIGN_SCHEMA;
	if (of_table)
		signs |= SIGN_SCHEMA;
	if (tells_by_itself(signs_of(edata->context)))
		signs |= SIGN_FUNCTION;
	if (of_client)
		signs |= signs_of_message() | (signs_of(edata->context) & SIGN_VALUE);
	if (of_client || of_table)
		signs |= signs_of(edata->detail);
	if (of_client || is_plan(edata->message) || begins(edata->message, "AUDIT: ") ||
		begins(edata->message, "level: "))
		signs |= signs_of(edata->message);
	return signs;
}

/* Has such an error something of the statement in its own text? */
static bool
quotes_statement(const ErrorData *edata, int signs)
{
	if (signs_of(edata->message) & SIGN_VALUE)
		return true;
	switch (edata->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_OBJECT:
			/* by the parser; our functions say that there is no such webhook */
			if (edata->cursorpos <= 0 && edata->internalpos <= 0)
				return false;
			/* FALLTHROUGH */
		case ERRCODE_SYNTAX_ERROR:
		case ERRCODE_INVALID_TEXT_REPRESENTATION:
		case ERRCODE_INVALID_DATETIME_FORMAT:
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_INVALID_SCHEMA_NAME:
		case ERRCODE_NAME_TOO_LONG:
			/* a name alone may be that of an application's function */
			return (signs & (SIGN_SCHEMA | SIGN_VALUE)) ||
				path_names_schema() ||
				(edata->message && strchr(edata->message, '\''));
		default:
			return false;
	}
}

/* Has the detail the row, or a value?  That of a LOG has parameters, or statistics. */
static bool
detail_quotes(const ErrorData *edata)
{
	return (edata->elevel == LOG && !begins(edata->detail, "! ")) ||
		edata->sqlerrcode == ERRCODE_CHECK_VIOLATION ||
		edata->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION ||
		is_of_table(edata) ||
		(signs_of(edata->detail) & SIGN_VALUE);
}

static void
cut(char *text, const char *from)
{
	char	   *found = text && from ? strstr(text, from) : NULL;

	if (found)
		*found = '\0';
}

/*
 * log_statement, log_min_duration_statement and auto_explain have the statement
 * in the message, plans in the lines below it, and parameters in the detail;
 * pg_log_backend_memory_contexts() has the beginning of each prepared one after
 * its sizes; pgaudit has statement and parameters after seven fields of its own.
 */
static void
cut_message(char *message)
{
	cut(message, debug_query_string);
	if (message == NULL)
		return;
	if (is_plan(message))
		cut(message, "\n");
	else if (begins(message, "level: "))
		cut(message, " used: ");
	else if (begins(message, "AUDIT: "))
	{
		int			fields = 0;

		/* an object's name may have a comma, and has quotes around it then */
		while (*message && *message != '"' && (*message != ',' || ++fields < 7))
			message++;
		*message = '\0';
	}
}

static void
drop(char **text)
{
	if (*text != NULL)
		pfree(*text);
	*text = NULL;
}

/*
 * The client loses the query of a function, too.  A truncated identifier is a
 * NOTICE; what people raise below ERROR is meant to be seen.
 */
static void
hide_parts(ErrorData *edata, int signs)
{
	if (edata->elevel >= ERROR)
		hide_activity();		/* it may have come before the call */
	else
		cut_message(edata->message);
	if ((edata->elevel >= ERROR || edata->sqlerrcode == ERRCODE_NAME_TOO_LONG) &&
		quotes_statement(edata, signs))
	{
		edata->output_to_server = false;
		return;
	}
	edata->hide_stmt = true;
	edata->hide_ctx = true;
	drop(&edata->internalquery);
	if (edata->detail != NULL && detail_quotes(edata))
	{
		drop(&edata->detail_log);
		edata->detail_log = MemoryContextStrdup(edata->assoc_context, not_shown);
	}
}

static void
hide_statement(ErrorData *edata)
{
	int			signs = line_signs(edata);

	/* a statement within another one's function */
	if (tells(signs_of(edata->context)))
		edata->hide_ctx = true;
	/* of a deadlock: also that of other sessions */
	if (tells(signs_of(edata->detail_log)))
		drop(&edata->detail_log);
	/* what a process that crashed was running */
	if (MyProcPid == PostmasterPid && tells(signs_of(edata->detail)))
		drop(&edata->detail);
	if (tells(signs))
		hide_parts(edata, signs);
	if (previous_hook)
		previous_hook(edata);
}

/* What it runs by EXECUTE, also within EXPLAIN or CREATE TABLE AS; NULL for none. */
static const char *
executed_name(Node *statement)
{
	while (statement != NULL)
	{
		switch (nodeTag(statement))
		{
			case T_ExecuteStmt:
				return ((ExecuteStmt *) statement)->name;
			case T_ExplainStmt:
				statement = ((ExplainStmt *) statement)->query;
				break;
			case T_CreateTableAsStmt:
				statement = ((CreateTableAsStmt *) statement)->query;
				break;
			case T_Query:
				statement = ((Query *) statement)->utilityStmt;
				break;
			default:
				return NULL;
		}
	}
	return NULL;
}

static void
statement_tells(void)
{
	telling_since = GetCurrentStatementStartTimestamp();
	telling_transaction = GetCurrentTransactionStartTimestamp();
	hide_activity();
}

static void
hide_utility(const char *text, Query *query)
{
	int			signs = signs_of_statement(text, query->stmt_location, query->stmt_len);
	const char *executed = executed_name(query->utilityStmt);

	if (executed != NULL && tells(signs | signs_of_executed(executed)))
		statement_tells();
	else if (tells(signs))
		hide_activity();
	else
		return;
	query->queryId = 0;
}

/*
 * What may never call the function, as EXPLAIN or PREPARE does, is hidden from
 * other sessions here, and from the postmaster, who all know but the beginning of
 * a text, and not its search_path; and pg_stat_statements, which keeps the text of
 * a utility command as it is, keeps none without an id.  An extension's script,
 * whose statements all have the whole of it as their text, has no secret.
 */
static void
statement_parsed(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (next_analyze)
		next_analyze(pstate, query, jumble);
	note_path();
	if (tells(signs_of_message()))
	{
		told = true;
		hide_activity();
	}
	if (query->utilityStmt != NULL && !creating_extension)
		hide_utility(pstate->p_sourcetext, query);
}

/*
 * The extended protocol shows the text again each time that it is run, and a
 * parallel worker, which has parsed nothing, when it begins.
 */
static inline void
hide_shown_again(void)
{
	if ((told || IsParallelWorker()) && tells(signs_of_message()))
		hide_activity();
}

static void
run_hidden(QueryDesc *query, COMPAT_RUN_PARAMETERS)
{
	hide_shown_again();
	next_run(query, COMPAT_RUN_ARGUMENTS);
}

static void
run_utility_hidden(PlannedStmt *statement, const char *text, bool read_only,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *environment, DestReceiver *receiver,
				   QueryCompletion *completion)
{
	hide_shown_again();
	next_utility(statement, text, read_only, context, params, environment,
				 receiver, completion);
}

void
hide_statement_init(void)
{
	secret_signs_init();
	previous_hook = emit_log_hook;
	emit_log_hook = hide_statement;
	next_analyze = post_parse_analyze_hook;
	/* whose last argument is const on some majors */
	post_parse_analyze_hook = (post_parse_analyze_hook_type) statement_parsed;
	next_run = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = run_hidden;
	next_utility = ProcessUtility_hook ? ProcessUtility_hook :
		standard_ProcessUtility;
	ProcessUtility_hook = run_utility_hidden;
}

/*
 * The statement that calls it is hidden, under whatever name it came here;
 * pg_stat_activity shows it no longer.  True.
 */
Datum
deploydb_hide_statement(PG_FUNCTION_ARGS pg_attribute_unused())
{
	statement_tells();
	PG_RETURN_BOOL(true);
}
