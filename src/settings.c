/*
 * settings.c
 *		Every setting (GUC) of deploydb.
 *
 * Locking: none.  Errors: none of its own; the server reports bad values.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "settings.h"

int			deploydb_lock_timeout = 1000;
char	   *deploydb_app_role = NULL;
bool		deploydb_track_writes = true;
int			deploydb_max_tracked = 32;
int			deploydb_slow_query_threshold = 200;
double		deploydb_write_success_target = 0.99;

void
settings_init(void)
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

	MarkGUCPrefixReserved("deploydb");
}
