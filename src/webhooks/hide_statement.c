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

#include "fmgr.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"

#include "compat.h"
#include "webhooks/hide_statement.h"

PG_FUNCTION_INFO_V1(deploydb_hide_statement);

static emit_log_hook_type previous_hook = NULL;

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

static void
hide_statement(ErrorData *edata)
{
	if (debug_query_string != NULL)
	{
		for (size_t i = 0; i < lengthof(telling); i++)
		{
			if (contains(debug_query_string, telling[i]))
			{
				edata->hide_stmt = true;
				edata->hide_ctx = true;
				/* "at or near" may quote it */
				if (edata->sqlerrcode == ERRCODE_SYNTAX_ERROR)
					edata->output_to_server = false;
				break;
			}
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

/* True: the library is loaded, and with it the hook. */
Datum
deploydb_hide_statement(PG_FUNCTION_ARGS pg_attribute_unused())
{
	PG_RETURN_BOOL(true);
}
