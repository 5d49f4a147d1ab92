/*
 * monitor.h
 *		The monitor: one background worker for each database.
 *
 * Gives: how to register one, and whether there is one in this database.
 * Needs: settings, the slots, deploydb.tick().
 */
#ifndef DEPLOYDB_MONITOR_H
#define DEPLOYDB_MONITOR_H

#include "postgres.h"

#include "postmaster/bgworker.h"

#define MONITOR_TYPE "deploydb monitor"

/* Fills in what registers the monitor of a database; ticket 0: no launcher. */
extern void monitor_worker(BackgroundWorker *worker, Oid database,
						   uint32 ticket);

/*
 * A monitor has a lock as long as it runs, on a part of the extension that
 * nobody else locks and that no SQL can.  This tries it.
 */
extern bool monitor_is_there(void);

#endif							/* DEPLOYDB_MONITOR_H */
