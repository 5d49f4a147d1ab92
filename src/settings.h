/*
 * settings.h
 *		Every setting (GUC) of deploydb.
 *
 * Gives: the variables below, what the lists among them hold, and
 * settings_init(), which _PG_init calls once.
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

extern char *deploydb_databases;	/* deploydb.databases, "" for all */
extern bool deploydb_monitor;	/* deploydb.monitor */
extern int	deploydb_metrics_collection_interval;	/* milliseconds */
extern int	deploydb_metric_timeout;	/* deploydb.metric_timeout,
										 * milliseconds */
extern int	deploydb_retention; /* deploydb.retention, seconds */
extern int	deploydb_rollback_retention;	/* deploydb.rollback_retention,
												 * seconds */
extern bool deploydb_capture_statements;	/* deploydb.capture_statements */

typedef enum Language
{
	LANGUAGE_EN,
	LANGUAGE_ZH,
} Language;

extern int	deploydb_language;	/* deploydb.language, a Language */
extern int deploydb_backup_max_age;	/* deploydb.backup_max_age, seconds */
extern bool deploydb_distinct_signers;	/* deploydb.distinct_signers */
extern char *deploydb_environment;	/* deploydb.environment, "" when not set */

extern int	deploydb_webhook_timeout;	/* milliseconds */
extern int	deploydb_webhook_max_per_minute;	/* for each webhook, 0 for no
												 * limit */
extern int	deploydb_webhook_max_attempts;
extern char *deploydb_webhook_proxy;	/* "" for none */
extern char *deploydb_webhook_allow;	/* "" for none */
extern char *deploydb_ca_file;	/* "" for the system's */

/* Is it one of deploydb.databases?  Each is where none is named. */
extern bool database_is_listed(const char *name);

extern void settings_init(void);

#endif							/* DEPLOYDB_SETTINGS_H */
