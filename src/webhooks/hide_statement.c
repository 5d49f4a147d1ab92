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

#include <ctype.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "webhooks/hide_statement.h"

PG_FUNCTION_INFO_V1(deploydb_hide_statement);

static emit_log_hook_type previous_hook = NULL;
static post_parse_analyze_hook_type next_analyze = NULL;

/*
 * Start of the statement in which one of the functions was called, and of the
 * transaction: auto_explain logs a plan when its portal ends, in a later one.
 */
static TimestampTz telling_since = 0;
static TimestampTz telling_transaction = 0;

static const char not_shown[] = "It is not shown, as it may hold a secret.";

/*
 * What tells that a text has a secret, or could have one: one of the functions
 * that take a secret; or, beside the schema, what is named like a secret or looks
 * like an address or a key, as the function may be misspelled or another one.
 * Without the schema that is an application's own, and stays in the log.
 */
#define SIGN_FUNCTION	0x01
#define SIGN_SCHEMA		0x02
#define SIGN_SECRET		0x04
#define SIGN_VALUE		0x08
#define SIGN_EXECUTE	0x10
#define ANY_SIGN		0xff

typedef struct Mark
{
	const char *text;
	bool		whole_word;
	int			sign;
} Mark;

static const Mark marks[] = {
	{"add_webhook", true, SIGN_FUNCTION},
	{"set_webhook_url", true, SIGN_FUNCTION},
	{"set_webhook_secret", true, SIGN_FUNCTION},
	{"deploydb", true, SIGN_SCHEMA},
	{"secret", false, SIGN_SECRET},
	{"://", false, SIGN_VALUE},
	{"whsec_", false, SIGN_VALUE},
	{"execute", true, SIGN_EXECUTE}
};

/* The signs whose marks begin with this character. */
static uint8 begun_by[256];

/* Those of the session's prepared statements, which EXECUTE runs by name. */
static int	prepared_signs = 0;

/*
 * Start of the statement at whose parsing search_path named the schema: the
 * functions that it calls have another one.
 */
static TimestampTz named_by_path_since = 0;

static bool
is_word(char c)
{
	return IS_HIGHBIT_SET(c) || isalnum((unsigned char) c) || c == '_' || c == '$';
}

static bool
is_marked(const char *text, size_t length, size_t at, const Mark *mark)
{
	size_t		end = at + strlen(mark->text);

	return end <= length &&
		pg_strncasecmp(text + at, mark->text, end - at) == 0 &&
		(!mark->whole_word ||
		 ((at == 0 || !is_word(text[at - 1])) &&
		  (end == length || !is_word(text[end]))));
}

/* Of those that are wanted, in one pass. */
static int
find_signs(const char *text, size_t length, int wanted)
{
	int			signs = 0;

	for (size_t at = 0; at < length; at++)
	{
		int			possible = begun_by[(unsigned char) text[at]] & wanted & ~signs;

		for (size_t i = 0; possible != 0 && i < lengthof(marks); i++)
		{
			if ((marks[i].sign & possible) &&
				is_marked(text, length, at, &marks[i]))
				signs |= marks[i].sign;
		}
	}
	return signs & SIGN_EXECUTE ? signs | prepared_signs : signs;
}

static int
signs_of(const char *text)
{
	return text != NULL ? find_signs(text, strlen(text), ANY_SIGN) : 0;
}

/*
 * Of the client's message, all of which others see while any statement of it
 * runs.  Looked for once in each, as it may have thousands of statements, or of
 * lines to be logged.
 */
static int
message_signs(void)
{
	static const char *message = NULL;
	static TimestampTz came = 0;
	static int	signs = 0;

	if (message != debug_query_string ||
		came != GetCurrentStatementStartTimestamp())
		signs = signs_of(debug_query_string);
	message = debug_query_string;
	came = GetCurrentStatementStartTimestamp();
	return signs;
}

/* What "$user" stands for in search_path: looked up when the role has changed. */
static bool
role_names_schema(void)
{
	static Oid	looked_up = InvalidOid;
	static bool names = false;
	Oid			role;
	int			unused;

	GetUserIdAndSecContext(&role, &unused);
	if (role != looked_up)
	{
		const char *name = GetConfigOption("role", true, false);

		if (name == NULL || strcmp(name, "none") == 0)
			name = GetConfigOption("session_authorization", true, false);
		names = name != NULL && strcmp(name, "deploydb") == 0;
		looked_up = role;
	}
	return names;
}

/*
 * No look into the catalogs: an error may have ended the transaction.  Asked at
 * each parsing, so what most paths lack is looked for first.
 */
static bool
path_names_schema(void)
{
	const char *path = namespace_search_path ? namespace_search_path : "";

	return (strpbrk(path, "dD") != NULL &&
			find_signs(path, strlen(path), SIGN_SCHEMA)) ||
		(strstr(path, "$user") != NULL && role_names_schema()) ||
		(named_by_path_since != 0 &&
		 named_by_path_since == GetCurrentStatementStartTimestamp());
}

static bool
tells(int signs)
{
	return (signs & SIGN_FUNCTION) ||
		((signs & (SIGN_SECRET | SIGN_VALUE)) &&
		 ((signs & SIGN_SCHEMA) || path_names_schema()));
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
 * A prepared statement's text is in the detail of what logs its EXECUTE, that of
 * a statement within another one is in the message, and values are in context
 * and detail: of these together it is asked.  Between messages there is no text
 * of the client's, as in a process without a client, such as the monitor.
 */
static int
line_signs(const ErrorData *edata)
{
	int			signs = signs_of(edata->message);

	if (telling_since != 0 &&
		(telling_since == GetCurrentStatementStartTimestamp() ||
		 (begins(edata->message, "duration: ") &&
		  telling_transaction == GetCurrentTransactionStartTimestamp())))
		signs |= SIGN_FUNCTION | SIGN_SCHEMA;
	if (debug_query_string == NULL)
		return begins(edata->message, "duration: ") ||
			begins(edata->message, "AUDIT: ") ? signs : 0;
	return signs | message_signs() | signs_of(edata->detail) |
		signs_of(edata->internalquery) |
		(signs_of(edata->context) & SIGN_VALUE);
}

/* Has such an error something of the statement in its own text? */
static bool
quotes_statement(const ErrorData *edata, int signs)
{
	if (signs_of(edata->message) & SIGN_VALUE)
		return true;
	switch (edata->sqlerrcode)
	{
		case ERRCODE_SYNTAX_ERROR:
		case ERRCODE_INVALID_TEXT_REPRESENTATION:
		case ERRCODE_INVALID_DATETIME_FORMAT:
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_NAME_TOO_LONG:
			/* a name alone may be that of an application's function */
			return (signs & (SIGN_SCHEMA | SIGN_VALUE)) ||
				path_names_schema() ||
				(edata->message && strchr(edata->message, '\''));
		default:
			return false;
	}
}

/* Has the detail the row, or a value? */
static bool
detail_quotes(const ErrorData *edata)
{
	return edata->elevel == LOG ||
		edata->sqlerrcode == ERRCODE_CHECK_VIOLATION ||
		edata->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION ||
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
	if (edata->elevel == ERROR)
		hide_activity();		/* it may have come before the call */
	else if (edata->elevel < ERROR)
		cut_message(edata->message);
	if ((edata->elevel == ERROR || edata->sqlerrcode == ERRCODE_NAME_TOO_LONG) &&
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

/*
 * Of the statement itself: its text may be one of thousands, in a string that a
 * function executes or in that function's body.
 */
static int
query_signs(const char *text, const Query *query)
{
	if (text == NULL)
		return 0;
	if (text == debug_query_string)
		return message_signs();
	if (query->stmt_location > 0)
		text += query->stmt_location;
	if (query->stmt_location < 0 || query->stmt_len <= 0)
		return signs_of(text);
	return find_signs(text, query->stmt_len, ANY_SIGN);
}

static void
hide_utility(const char *text, Query *query)
{
	int			signs = query_signs(text, query);

	if (IsA(query->utilityStmt, PrepareStmt))
		prepared_signs |= (signs & (SIGN_FUNCTION | SIGN_SCHEMA | SIGN_SECRET)) |
			(path_names_schema() ? SIGN_SCHEMA : 0);
	if (tells(signs))
	{
		query->queryId = 0;
		hide_activity();
	}
}

/*
 * What may never call the function, as EXPLAIN or PREPARE does, is hidden from
 * other sessions here; and pg_stat_statements, which keeps the text of a
 * utility command as it is, keeps none without an id.  An extension's script,
 * whose statements all have the whole of it as their text, has no secret.
 */
static void
statement_parsed(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (next_analyze)
		next_analyze(pstate, query, jumble);
	if (path_names_schema())
	{
		named_by_path_since = GetCurrentStatementStartTimestamp();
		/* other sessions, and the postmaster, do not know this path */
		if (tells(message_signs()))
			hide_activity();
	}
	if (query->utilityStmt != NULL && !creating_extension)
		hide_utility(pstate->p_sourcetext, query);
}

void
hide_statement_init(void)
{
	for (size_t i = 0; i < lengthof(marks); i++)
	{
		unsigned char first = (unsigned char) marks[i].text[0];

		begun_by[first] |= marks[i].sign;
		begun_by[pg_ascii_toupper(first)] |= marks[i].sign;
	}
	previous_hook = emit_log_hook;
	emit_log_hook = hide_statement;
	next_analyze = post_parse_analyze_hook;
	/* whose last argument is const on some majors */
	post_parse_analyze_hook = (post_parse_analyze_hook_type) statement_parsed;
}

/*
 * The statement that calls it is hidden, under whatever name it came here;
 * pg_stat_activity shows it no longer.  True.
 */
Datum
deploydb_hide_statement(PG_FUNCTION_ARGS pg_attribute_unused())
{
	telling_since = GetCurrentStatementStartTimestamp();
	telling_transaction = GetCurrentTransactionStartTimestamp();
	hide_activity();
	PG_RETURN_BOOL(true);
}
