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

extern bool deploydb_track_writes;	/* deploydb.track_writes */
extern int	deploydb_max_tracked;	/* deploydb.max_tracked, tables a cluster */
#define MAX_MAX_TRACKED 10000
extern int	deploydb_slow_query_threshold;	/* deploydb.slow_query_threshold,
											 * milliseconds, -1 for never */
extern double deploydb_write_success_target;	/* deploydb.write_success_target,
												 * 0..1 */

extern void settings_init(void);

#endif							/* DEPLOYDB_SETTINGS_H */
