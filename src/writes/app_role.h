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

#include "settings.h"

/* From _PG_init while preloading. */
extern void app_role_init(void);

/* The rest of app_role_is_other(), where the setting is set. */
extern bool session_is_not_app_role(bool may_look);

/*
 * True when deploydb.app_role is set and neither the session's role nor what
 * it did SET ROLE to is that one.  Without may_look no catalog is read.
 */
static inline bool
app_role_is_other(bool may_look)
{
	return deploydb_app_role != NULL && deploydb_app_role[0] != '\0' &&
		session_is_not_app_role(may_look);
}

#endif							/* DEPLOYDB_APP_ROLE_H */
