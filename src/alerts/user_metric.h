/*
 * user_metric.h
 *		Queries of metrics, run with the rights of whom they belong to.
 *
 * Gives: user_metric_run() for the monitor; user_query() for others who keep
 * queries of users; add_metric() and query_as_owner() in SQL.
 * Needs: settings, owner, units, the slots.
 */
#ifndef DEPLOYDB_USER_METRIC_H
#define DEPLOYDB_USER_METRIC_H

#include "datatype/timestamp.h"

/*
 * Who runs what; search_path is NULL for the one that there is, metric where
 * the query is of none.
 */
typedef struct UserQuery
{
	Oid			role;
	const char *query;
	const char *search_path;
	enum
	{
		USER_QUERY_ANY, USER_QUERY_NUMBER, USER_QUERY_BOOLEAN
	}			gives;
	const char *what;			/* for errors: "the query of a metric" */
	const char *metric;			/* which is blamed where the monitor ends */
} UserQuery;

/*
 * Runs a query, and gives its one value as text in the current context, or
 * NULL.  Raises its errors.
 */
extern char *user_query(const UserQuery *q);

/* Each metric is run once in a round. */
typedef struct MetricRound
{
	TimestampTz begun;
	int			unkept;			/* run, and could not be kept: still due */
} MetricRound;

/*
 * Outside of any transaction: runs the query that is due longest, in a
 * transaction of its own, and keeps what it gave in another.  No error but a
 * FATAL one rises.  True when a query was run, which may have left locks of the
 * session; else the round is over.
 */
extern bool user_metric_run(MetricRound *round);

#endif							/* DEPLOYDB_USER_METRIC_H */
