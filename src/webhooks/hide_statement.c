/*
 * hide_statement.c
 *		Statements that carry a webhook's address or key stay out of the log.
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
#include "fmgr.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "webhooks/hide_statement.h"

PG_FUNCTION_INFO_V1(deploydb_hide_statement);

static emit_log_hook_type previous_hook = NULL;

/* Start of the statement in which one of the functions was called. */
static TimestampTz telling_since = 0;

/* What takes or holds a secret. */
static const char *const telling[] = {
	"add_webhook", "set_webhook_url", "set_webhook_secret", "webhook_secret"
};

static bool
contains(const char *statement, const char *name)
{
	size_t		length = strlen(name);

	for (; *statement; statement++)
		if (pg_strncasecmp(statement, name, length) == 0)
			return true;
	return false;
}

static bool
is_telling(const char *statement)
{
	if (telling_since != 0 && telling_since == GetCurrentStatementStartTimestamp())
		return true;
	for (size_t i = 0; i < lengthof(telling); i++)
	{
		if (contains(statement, telling[i]))
			return true;
	}
	return false;
}

static void
hide_statement(ErrorData *edata)
{
	if (debug_query_string != NULL && is_telling(debug_query_string))
	{
		edata->hide_stmt = true;
		edata->hide_ctx = true;
		/* "at or near" may quote it */
		if (edata->sqlerrcode == ERRCODE_SYNTAX_ERROR)
			edata->output_to_server = false;

		/*
		 * log_statement, log_min_duration_statement and auto_explain have it
		 * in the message, and parameters in the detail: cut in place.
		 */
		if (edata->elevel == LOG && edata->message)
		{
			char	   *statement = strstr(edata->message, debug_query_string);

			if (statement)
				*statement = '\0';
			if (edata->detail)
				*edata->detail = '\0';
		}
	}
	if (previous_hook)
		previous_hook(edata);
}

void
hide_statement_init(void)
{
	previous_hook = emit_log_hook;
	emit_log_hook = hide_statement;
}

/*
 * The statement that calls it is hidden, under whatever name it came here;
 * pg_stat_activity shows it no longer.  True.
 */
Datum
deploydb_hide_statement(PG_FUNCTION_ARGS pg_attribute_unused())
{
	telling_since = GetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, "deploydb: address or secret of a webhook");
	PG_RETURN_BOOL(true);
}
