/*
 * session.c
 *		The monitor's session: whose it is, and what it was given.
 *
 * Locking: none.  Errors: the monitor ends, and is started again.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "compat.h"
#include "own_work.h"
#include "worker/monitor.h"
#include "worker/session.h"

typedef struct SessionSetting
{
	const char *name;
	const char *value;
} SessionSetting;

/*
 * What a database or a role can be given and would stop or change the
 * monitor's work.  A commit that waits for a standby would tell nobody that
 * the standby is gone.
 */
static const SessionSetting session_settings[] = {
	{"application_name", MONITOR_TYPE},
	{"search_path", "pg_catalog, pg_temp"},
	{"synchronous_commit", "local"},
	{"lock_timeout", "2s"},		/* longer than deadlock_timeout, which cancels
								 * autovacuum */
	{"statement_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},
	{"session_replication_role", "origin"},
	{"role", "none"},
	{"row_security", "off"},
	{"exit_on_error", "off"},
	{"extra_float_digits", "1"},
	{"jit", "off"},
};

void
session_begin(void)
{
	own_work_level++;
	SetSessionAuthorization(BOOTSTRAP_SUPERUSERID, true);	/* has no fixed name */
	for (size_t i = 0; i < lengthof(session_settings); i++)
		SetConfigOption(session_settings[i].name, session_settings[i].value,
						PGC_SUSET, PGC_S_OVERRIDE);
	compat_no_transaction_timeout();
}
