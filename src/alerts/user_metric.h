/*
 * user_metric.h
 *		Queries of metrics, run with the rights of whom they belong to.
 *
 * Gives: user_metrics_run() for the monitor; add_metric() and
 * query_as_owner() in SQL.
 * Needs: settings, owner.
 */
#ifndef DEPLOYDB_USER_METRIC_H
#define DEPLOYDB_USER_METRIC_H

/*
 * Outside of any transaction: runs what is due, each query in a transaction
 * of its own, and keeps what they gave in one more.  No error but a FATAL one
 * rises.  True when a query was run, which may have left locks of the session.
 */
extern bool user_metrics_run(void);

#endif							/* DEPLOYDB_USER_METRIC_H */
