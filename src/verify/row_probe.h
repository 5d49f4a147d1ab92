/*
 * row_probe.h
 *		Looks whether a table has rows, and a column NULLs.
 *
 * Gives: answers that decide which statement can mend a column.
 * Needs: the locks of the stage "facts".
 *
 * Looked at are only ordinary tables and materialized views that the caller
 * may SELECT from and that have no row security for him; everything else is
 * "unknown".  Nothing is looked at in a serializable transaction, where a
 * scan would count as a read of the caller's.
 * Locking: AccessShare, tried once and never waited for, released before
 * return.
 */
#ifndef DEPLOYDB_ROW_PROBE_H
#define DEPLOYDB_ROW_PROBE_H

#include "postgres.h"

typedef enum RowProbe
{
	PROBE_UNKNOWN,				/* could not be looked at */
	PROBE_NONE,
	PROBE_SOME
} RowProbe;

/* Rows that are visited at most to count NULLs. */
#define ROW_PROBE_LIMIT 1000000

/* Names are raw.  Stops at the first row. */
extern RowProbe row_probe_rows(const char *schema, const char *table);

/*
 * NULLs among the first ROW_PROBE_LIMIT rows; *whole tells whether these were
 * all.
 */
extern RowProbe row_probe_nulls(const char *schema, const char *table,
								const char *column, int64 *nulls, bool *whole);

#endif							/* DEPLOYDB_ROW_PROBE_H */
