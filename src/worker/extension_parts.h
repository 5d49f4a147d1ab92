/*
 * extension_parts.h
 *		Parts of the extension that are locked by their number.
 *
 * Gives: the numbers, so that no two locks are the same; view worker_status
 * knows the monitor's.
 * Needs: nothing.
 */
#ifndef DEPLOYDB_EXTENSION_PARTS_H
#define DEPLOYDB_EXTENSION_PARTS_H

#define MONITOR_PART 1			/* held by the monitor of the database */
#define EVALUATION_PART 2		/* by who evaluates, to the transaction's end */

#endif							/* DEPLOYDB_EXTENSION_PARTS_H */
