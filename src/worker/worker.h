/*
 * worker.h
 *		The launcher, the monitors, and what makes room for DROP DATABASE.
 *
 * Gives: worker_init(), for _PG_init while preloading.
 * Needs: settings; the SQL functions that a tick calls.
 */
#ifndef DEPLOYDB_WORKER_H
#define DEPLOYDB_WORKER_H

extern void worker_init(void);

#endif							/* DEPLOYDB_WORKER_H */
