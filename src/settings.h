/*
 * settings.h
 *		Every setting (GUC) of deploydb.
 *
 * Gives: the variables below, and settings_init(), which _PG_init calls once.
 * Needs: nothing of the other modules.
 */
#ifndef DEPLOYDB_SETTINGS_H
#define DEPLOYDB_SETTINGS_H

extern int	deploydb_lock_timeout;	/* deploydb.lock_timeout, milliseconds */
extern char *deploydb_app_role; /* deploydb.app_role, "" when not set */

extern void settings_init(void);

#endif							/* DEPLOYDB_SETTINGS_H */
