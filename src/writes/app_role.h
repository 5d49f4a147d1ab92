/*
 * app_role.h
 *		Whether this session is the application's.
 *
 * Gives: whose attempts these are, where deploydb.app_role is set.
 * Needs: settings.
 * Errors: looking up a role reads a catalog; the log hook may not.
 */
#ifndef DEPLOYDB_APP_ROLE_H
#define DEPLOYDB_APP_ROLE_H

#include "postgres.h"

/* From _PG_init while preloading. */
extern void app_role_init(void);

/*
 * True when deploydb.app_role is set and the session, or what it did SET ROLE
 * to, is another role.  Without may_look, what is not cached is taken for the
 * application.
 */
extern bool app_role_is_other(bool may_look);

#endif							/* DEPLOYDB_APP_ROLE_H */
