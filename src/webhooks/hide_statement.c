/*
 * hide_statement.c
 *		Statements that carry a webhook's address or key stay out of the log,
 *		of pg_stat_activity and of pg_stat_statements.
 *
 * Where the library is not preloaded it is loaded by the first of its
 * functions that is called: so the functions that take a secret call one
 * first, and only what fails before, while parsed, is not hidden.
 *
 * Locking: none.  Errors: none; the hook may run in any process, at any time,
 * so it takes no memory.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "webhooks/hide_statement.h"

PG_FUNCTION_INFO_V1(deploydb_hide_statement);

static emit_log_hook_type previous_hook = NULL;
static post_parse_analyze_hook_type next_analyze = NULL;

/* Start of the statement in which one of the functions was called. */
static TimestampTz telling_since = 0;

/* The functions that take a secret. */
static const char *const telling[] = {
	"add_webhook", "set_webhook_url", "set_webhook_secret"
};

/* Each of them has this in it, and few texts do: mostly one pass tells. */
static const char telling_all[] = "_webhook";

/*
 * One that is misspelled, the table that holds the secrets, or one that is given
 * to something else, is told by these.  But only beside the schema, or where
 * search_path names that: an application has webhooks and secrets of its own,
 * which stay in the log.
 */
static const char *const secret_parts[] = {"webhook_secret", "://", "whsec_"};
static const char schema[] = "deploydb";

/*
 * Start of the statement at whose parsing search_path named the schema: the
 * functions that it calls have another one.
 */
static TimestampTz named_by_path_since = 0;

static bool
contains(const char *text, size_t length, const char *name)
{
	size_t		name_length = strlen(name);
	char		lower = *name;
	char		upper = (char) pg_ascii_toupper((unsigned char) *name);

	for (; length >= name_length; text++, length--)
		if ((*text == lower || *text == upper) &&
			pg_strncasecmp(text, name, name_length) == 0)
			return true;
	return false;
}

static bool
contains_any(const char *text, size_t length, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (contains(text, length, names[i]))
			return true;
	}
	return false;
}

static bool
path_names_schema(void)
{
	const char *path = namespace_search_path ? namespace_search_path : "";

	return contains(path, strlen(path), schema) ||
		(named_by_path_since != 0 &&
		 named_by_path_since == GetCurrentStatementStartTimestamp());
}

static bool
part_names_secret(const char *text, size_t length)
{
	if (contains(text, length, telling_all) &&
		contains_any(text, length, telling, lengthof(telling)))
		return true;
	return (contains(text, length, schema) || path_names_schema()) &&
		contains_any(text, length, secret_parts, lengthof(secret_parts));
}

static bool
names_secret(const char *text)
{
	return text != NULL && part_names_secret(text, strlen(text));
}

/*
 * Does the client's message, all of which others see while any statement of it
 * runs, name a secret?  Looked for once in each, as it may have thousands of
 * statements, or of lines to be logged.
 */
static bool
message_names_secret(void)
{
	static const char *message = NULL;
	static TimestampTz came = 0;
	static bool names = false;

	if (message != debug_query_string ||
		came != GetCurrentStatementStartTimestamp())
		names = names_secret(debug_query_string);
	message = debug_query_string;
	came = GetCurrentStatementStartTimestamp();
	return names;
}

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

/*
 * A prepared statement's text is in the detail of what logs its EXECUTE, and
 * that of a statement within another one is in the message.  A process without a
 * client, as the monitor, has none of its own.
 */
static bool
is_telling(const ErrorData *edata)
{
	if (debug_query_string == NULL)
		return (begins(edata->message, "duration: ") || begins(edata->message, "AUDIT: ")) &&
			names_secret(edata->message);
	if (telling_since != 0 && telling_since == GetCurrentStatementStartTimestamp())
		return true;
	return message_names_secret() || names_secret(edata->detail) ||
		names_secret(edata->message) || names_secret(edata->internalquery);
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
 * pgaudit has statement and parameters after seven fields of its own.
 */
static void
cut_message(char *message)
{
	cut(message, debug_query_string);
	if (message == NULL)
		return;
	if (begins(message, "duration: "))
		cut(message, "\n");
	else if (begins(message, "AUDIT: "))
	{
		int			fields = 0;

		/* an object's name may have a comma, and has quotes around it then */
		while (*message && *message != '"' && (*message != ',' || ++fields < 7))
			message++;
		*message = '\0';
	}
}

/* What is cut is cut in place. */
static void
hide_statement(ErrorData *edata)
{
	if (is_telling(edata))
	{
		edata->hide_stmt = true;
		edata->hide_ctx = true;
		if (edata->internalquery)
			*edata->internalquery = '\0';
		/* "at or near", or the value that is no number, may quote it */
		if (edata->sqlerrcode == ERRCODE_SYNTAX_ERROR ||
			edata->sqlerrcode == ERRCODE_INVALID_TEXT_REPRESENTATION)
			edata->output_to_server = false;

		if (edata->elevel < ERROR)
		{
			cut_message(edata->message);
			if (edata->elevel == LOG && edata->detail)
				*edata->detail = '\0';
		}
		/* an error that came before the call */
		else if (edata->elevel == ERROR)
			hide_activity();
	}
	if (previous_hook)
		previous_hook(edata);
}

/*
 * Does the statement itself name one?  Its text may be one of thousands, in a
 * string that a function executes or in that function's body.
 */
static bool
query_names_secret(const char *text, const Query *query)
{
	if (text == NULL)
		return false;
	if (query->stmt_location > 0)
		text += query->stmt_location;
	if (query->stmt_location < 0 || query->stmt_len <= 0)
		return names_secret(text);
	return part_names_secret(text, query->stmt_len);
}

/*
 * What may never call the function, as EXPLAIN or PREPARE does, is hidden from
 * other sessions here; and pg_stat_statements, which keeps the text of a
 * utility command as it is, keeps none without an id.  An extension's script,
 * whose statements all have the whole of it as their text, has no secret.
 */
static void
hide_utility(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (next_analyze)
		next_analyze(pstate, query, jumble);
	if (path_names_schema())
		named_by_path_since = GetCurrentStatementStartTimestamp();
	if (query->utilityStmt != NULL && !creating_extension &&
		(pstate->p_sourcetext == debug_query_string ?
		 message_names_secret() :
		 query_names_secret(pstate->p_sourcetext, query)))
	{
		query->queryId = 0;
		hide_activity();
	}
}

void
hide_statement_init(void)
{
	previous_hook = emit_log_hook;
	emit_log_hook = hide_statement;
	next_analyze = post_parse_analyze_hook;
	/* whose last argument is const on some majors */
	post_parse_analyze_hook = (post_parse_analyze_hook_type) hide_utility;
}

/*
 * The statement that calls it is hidden, under whatever name it came here;
 * pg_stat_activity shows it no longer.  True.
 */
Datum
deploydb_hide_statement(PG_FUNCTION_ARGS pg_attribute_unused())
{
	telling_since = GetCurrentStatementStartTimestamp();
	hide_activity();
	PG_RETURN_BOOL(true);
}
