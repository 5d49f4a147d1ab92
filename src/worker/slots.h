/*
 * slots.h
 *		What launcher, monitors and everybody else know of each other: a slot in
 *		shared memory for each database that has a monitor, or should have one.
 *
 * Gives: the slots, and the way from each state to the next.
 * Needs: nothing of the other modules.
 *
 *		(none) -> wanted -> starting -> running -> gone -> (none)
 *
 * wanted: the extension was created; starting: the launcher has registered the
 * worker; running: the monitor has found the extension; gone: its process has
 * ended, which the launcher has yet to learn.  A slot that is held is of a
 * database that no monitor may be in.
 *
 * A monitor notes which metric it runs as somebody else, who could end it.  The
 * next one finds the note, as the slot stays where one was left behind.
 *
 * Without preloading there is no shared memory: slots_there() is false, and
 * nothing else may be called.
 *
 * Locking: one LWLock, held for some comparisons and never while waiting.
 * There are no pointers, and nothing that only one process can use.
 * Errors: none, so that callbacks at a transaction's end may call them.
 */
#ifndef DEPLOYDB_SLOTS_H
#define DEPLOYDB_SLOTS_H

#include "postgres.h"

/* Of a metric's name, which is ASCII. */
#define SLOT_METRIC_SIZE 101

typedef enum MonitorPhase
{
	MONITOR_NONE,
	MONITOR_WANTED,
	MONITOR_STARTING,
	MONITOR_RUNNING,
	MONITOR_GONE
} MonitorPhase;

/* Why a monitor is gone. */
typedef enum MonitorExit
{
	EXIT_FAILED,
	EXIT_LEFT,					/* was asked to, or a setting says so */
	EXIT_NO_EXTENSION
} MonitorExit;

typedef struct MonitorSlot
{
	Oid			database;		/* InvalidOid where the slot is free */
	MonitorPhase phase;
	uint32		ticket;			/* tells one start from another */
	int			pid;			/* of the monitor, or 0 */
	int			holds;			/* how many want no monitor there */
	bool		leave;			/* the monitor is asked to */
	bool		again;			/* was woken since it last looked around */
	MonitorExit exit;
	int64		started_ms;		/* clock_ms() of the start */
	char		metric[SLOT_METRIC_SIZE];	/* that is run as somebody else,
											 * or was at the end; "" for none */
} MonitorSlot;

extern void slots_init(void);
extern bool slots_there(void);

/* ---- for the launcher ----------------------------------------------------- */

/* This process is the launcher now; starts that nobody attends to are void. */
extern void slots_launcher_begins(void);
extern void slots_launcher_ends(void);

/*
 * Woken since it began to look around?  Its latch alone cannot tell, as what
 * waits meanwhile, for a lock or a page, takes what sets it.
 */
extern void slots_launcher_looks(void);
extern bool slots_launcher_woken(void);

/*
 * Copies those in use into slots[], of slots_size() elements, and frees those
 * wanted or gone.  *everything is true when somebody found no free slot to
 * want a monitor in.
 */
extern int	slots_size(void);
extern int	slots_collect(MonitorSlot *slots, bool *everything);

/* For a start.  False where there is a monitor, a hold, or no room. */
extern bool slot_take(Oid database, uint32 *ticket);
extern bool slot_give_up(Oid database, uint32 ticket);	/* nobody came */

/* The pid of a monitor that is to leave, or 0. */
extern int	slot_ask_to_leave(Oid database);

/* The database was dropped. */
extern void slot_forget_metric(Oid database);

/* ---- for a monitor -------------------------------------------------------- */

/*
 * slot_claim() gives false when this start is void, or the database is held.
 * slot_must_leave() is asked before the monitor looks for the extension: who
 * found none while it was woken is started again.
 */
extern bool slot_claim(Oid database, uint32 ticket);
extern bool slot_set_running(Oid database); /* true the first time */
extern bool slot_must_leave(Oid database);
extern void slot_leave(Oid database, MonitorExit why);

/*
 * What it runs as somebody else from now on, "" for nothing more; and what the
 * one before it ran when it ended.  Of no effect in other processes.
 */
extern void slot_note_metric(Oid database, const char *metric);
extern void slot_noted_metric(Oid database, char *metric);

/* ---- for everybody -------------------------------------------------------- */

/* Of the monitor; 0 where there is none. */
extern int	slot_pid(Oid database);

/* Has it found the extension? */
extern bool slot_runs(Oid database);

/*
 * A prepared transaction that has something to tell, by a hash of its name; true
 * where it was noted.  They outlive a monitor, but neither the server nor
 * SLOTS_PREPARED newer ones: what is forgotten is told at the next tick.
 */
#define SLOTS_PREPARED 64
extern void slots_note_prepared(Oid database, uint32 transaction);
extern bool slots_forget_prepared(Oid database, uint32 transaction);

/* The pid of the launcher, whose latch is to be set; or 0. */
extern int	slots_wake_launcher(void);

/* The pid of the monitor to be woken; 0 where one is wanted now. */
extern int	slot_wake(Oid database);

/* *pid is the monitor's, which is asked to leave.  False: no room. */
extern bool slot_hold(Oid database, int *pid);
extern void slot_release(Oid database);

#endif							/* DEPLOYDB_SLOTS_H */
