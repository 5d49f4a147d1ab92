/*
 * wake.h
 *		Waking the launcher and the monitor of this database.
 *
 * Gives: a wake-up for once this transaction has committed and released its
 * locks, so that the monitor sees what was done and waits for nothing.
 * Needs: the slots; deploydb.monitor_state where there are none.
 *
 * Locking: none that is kept.  Errors: those of reading monitor_state.
 */
#ifndef DEPLOYDB_WAKE_H
#define DEPLOYDB_WAKE_H

#include "postgres.h"

/*
 * The monitor ticks as soon as this transaction has committed.  Where there is
 * none, the launcher looks whether there should be one.
 */
extern void wake_monitor_at_commit(void);

/*
 * Is that so?  It is taken back: the caller, who prepares the transaction, sees to
 * it once that is committed.
 */
extern bool wake_monitor_taken_back(void);

/* The launcher looks around once this transaction has ended, either way. */
extern void wake_launcher_at_end(void);

/* At once, from anywhere but a signal handler. */
extern void wake_launcher(void);
extern void wake_monitor_now(Oid database, int pid);

/* True while a process of that id is in the database. */
extern bool is_in_database(int pid, Oid database);

#endif							/* DEPLOYDB_WAKE_H */
