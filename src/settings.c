/*
 * settings.c
 *		Every setting (GUC) of deploydb.
 *
 * Locking: none.  Errors: none of its own; the server reports bad values.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "settings.h"

int			deploydb_lock_timeout = 1000;
char	   *deploydb_app_role = NULL;

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

	MarkGUCPrefixReserved("deploydb");
}
