/*
 * settings.c
 *		Every setting (GUC) of deploydb.
 *
 * Locking: none.  Errors: none of its own; the server reports bad values, and
 * settings that are none.
 */
#include "postgres.h"

#include <limits.h>

#include "common/shortest_dec.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "compat.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(deploydb_setting);

int			deploydb_lock_timeout = 1000;
char	   *deploydb_app_role = NULL;
bool		deploydb_track_writes = true;
int			deploydb_max_tracked = 32;
int			deploydb_slow_query_threshold = 200;
double		deploydb_write_success_target = 0.99;
char	   *deploydb_databases = NULL;
bool		deploydb_monitor = true;
int			deploydb_metrics_collection_interval = 30000;
int			deploydb_metric_timeout = 1000;
int			deploydb_retention = 30 * 24 * 3600;
bool		deploydb_capture_statements = false;
int			deploydb_language = LANGUAGE_EN;
char	   *deploydb_environment = NULL;
bool		deploydb_distinct_signers = true;
int			deploydb_rollback_retention = 7 * 24 * 3600;
int			deploydb_backup_max_age = 24 * 60 * 60;
int			deploydb_webhook_timeout = 2500;
int			deploydb_webhook_max_per_minute = 12;
int			deploydb_webhook_max_attempts = 20;
char	   *deploydb_webhook_proxy = NULL;
char	   *deploydb_webhook_allow = NULL;
char	   *deploydb_ca_file = NULL;

static const struct config_enum_entry languages[] = {
	{"en", LANGUAGE_EN, false},
	{"zh", LANGUAGE_ZH, false},
	{NULL, 0, false}
};

/* A list that cannot be read names nobody, and one that names nobody all. */
static bool
check_names(char **value, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*value);
	List	   *names;
	bool		valid = SplitIdentifierString(copy, ',', &names);

	(void) extra;
	(void) source;
	if (!valid)
		GUC_check_errdetail("It is no list of names.");
	list_free(names);
	pfree(copy);
	return valid;
}

bool
database_is_listed(const char *name)
{
	char	   *copy = pstrdup(deploydb_databases);
	List	   *names;
	bool		listed;

	(void) SplitIdentifierString(copy, ',', &names);
	listed = names == NIL;
	for (int i = 0; i < list_length(names) && !listed; i++)
		listed = strcmp(list_nth(names, i), name) == 0;
	list_free(names);
	pfree(copy);
	return listed;
}

static void
define_of_monitor(void)
{
	DefineCustomStringVariable("deploydb.databases",
							   "Databases that are monitored, separated by commas.",
							   "Empty: each that has the extension.",
							   &deploydb_databases,
							   "",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_names, NULL, NULL);

	DefineCustomBoolVariable("deploydb.monitor",
							 "Runs the monitors.",
							 NULL,
							 &deploydb_monitor,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.metrics_collection_interval",
							"Time between two ticks of a monitor.",
							NULL,
							&deploydb_metrics_collection_interval,
							30000, 1000, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.metric_timeout",
							"Longest time that the query of a metric may take.",
							NULL,
							&deploydb_metric_timeout,
							1000, 1, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.retention",
							"Time for which samples, events and finished messages are kept.",
							NULL,
							&deploydb_retention,
							30 * 24 * 3600, 3600, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.rollback_retention",
							"Time for which what was rolled back cannot be discarded.",
							NULL,
							&deploydb_rollback_retention,
							7 * 24 * 3600, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("deploydb.capture_statements",
							 "Keeps the text of the statements that change a watched table's definition.",
							 NULL,
							 &deploydb_capture_statements,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("deploydb.language",
							 "Language of messages, of the status and of reports.",
							 "Errors are in English.",
							 &deploydb_language,
							 LANGUAGE_EN, languages,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("deploydb.environment",
							   "Name of the environment, such as production; part of every message.",
							   NULL,
							   &deploydb_environment,
							   "",
							   PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
}

static void
define_of_bookkeeping(void)
{
	DefineCustomBoolVariable("deploydb.distinct_signers",
							 "Has each role of a deployment signed for by another session user.",
							 NULL,
							 &deploydb_distinct_signers,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.backup_max_age",
							"Age from which on a backup is too old to go back to.",
							NULL,
							&deploydb_backup_max_age,
							24 * 60 * 60, 60, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
}

static void
define_of_webhooks(void)
{
	DefineCustomIntVariable("deploydb.webhook_timeout",
							"Longest time that sending a message may take.",
							NULL,
							&deploydb_webhook_timeout,
							2500, 100, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.webhook_max_per_minute",
							"Messages a minute for each webhook; what exceeds it becomes one digest, or one request to Alertmanager.",
							"0 sets no limit.",
							&deploydb_webhook_max_per_minute,
							12, 0, 1000000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.webhook_max_attempts",
							"Number of times that a message is sent before it is a dead letter.",
							NULL,
							&deploydb_webhook_max_attempts,
							20, 1, 1000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomStringVariable("deploydb.webhook_proxy",
							   "Proxy by which messages are sent.",
							   "Empty: none; the environment's is never used.",
							   &deploydb_webhook_proxy,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("deploydb.webhook_allow",
							   "Hosts and networks that may be sent to by http, or at private addresses.",
							   "Host names, addresses and networks, each with :port or without, separated by commas.",
							   &deploydb_webhook_allow,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("deploydb.ca_file",
							   "File of the certificate authorities that sign receivers' certificates.",
							   "Empty: the system's.",
							   &deploydb_ca_file,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
}

static void
define_of_verification(void)
{
	DefineCustomIntVariable("deploydb.lock_timeout",
							"Longest time that a verification waits for its locks, in all.",
							"What cannot be locked in that time is reported as unknown.",
							&deploydb_lock_timeout,
							1000, 0, 600000,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomStringVariable("deploydb.app_role",
							   "Role that the application connects as.",
							   "Its rights are checked, and the smoke test writes as this role.",
							   &deploydb_app_role,
							   "",
							   PGC_SUSET, 0,
							   NULL, NULL, NULL);
}

static void
define_of_writes(void)
{
	DefineCustomBoolVariable("deploydb.track_writes",
							 "Counts the attempts to write tracked tables.",
							 NULL,
							 &deploydb_track_writes,
							 true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("deploydb.slow_query_threshold",
							"Statements of clients that take longer are counted as slow.",
							"-1 counts none.",
							&deploydb_slow_query_threshold,
							200, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomRealVariable("deploydb.write_success_target",
							 "Share of writes that must succeed, from 0 to 1.",
							 NULL,
							 &deploydb_write_success_target,
							 0.99, 0, 1,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	/* Shared memory is as large as it was at the start. */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("deploydb.max_tracked",
								"Number of tables that can be tracked, in all databases.",
								NULL,
								&deploydb_max_tracked,
								32, 1, MAX_MAX_TRACKED,
								PGC_POSTMASTER, 0,
								NULL, NULL, NULL);
}

void
settings_init(void)
{
	define_of_verification();
	define_of_writes();
	define_of_monitor();
	define_of_bookkeeping();
	define_of_webhooks();

	MarkGUCPrefixReserved("deploydb");
}

/*
 * A setting by its name without prefix, also where this loads the library.  A
 * number of more than six digits is to be read, not shown.
 */
Datum
deploydb_setting(PG_FUNCTION_ARGS)
{
	char	   *name = psprintf("deploydb.%s", text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (strcmp(name, "deploydb.write_success_target") == 0)
		PG_RETURN_TEXT_P(cstring_to_text(double_to_shortest_decimal(deploydb_write_success_target)));
	PG_RETURN_TEXT_P(cstring_to_text(GetConfigOptionByName(name, NULL, false)));
}
