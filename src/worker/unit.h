/*
 * unit.h
 *		Units of the monitor's work, each in a transaction of its own.
 *
 * Gives: running one, and recording what it failed with.
 * Needs: settings; of the SQL functions record_monitor_error().
 *
 * A unit has SPI and a snapshot.  Unless it is of a user it also has a timeout,
 * and a lock that keeps the extension from being dropped.
 *
 * Memory: work runs in SPI's context; the caller's is the current one again
 * afterwards.
 * Errors: one ends the unit, of which nothing has happened then, and no more;
 * the log has it once, as long as the unit fails with the same.
 */
#ifndef DEPLOYDB_UNIT_H
#define DEPLOYDB_UNIT_H

#include "postgres.h"

/* For locks that others may hold for long, who are not to hold up all the rest. */
#define SHORT_LOCK_TIMEOUT "50ms"

typedef struct Unit
{
	const char *activity;		/* as pg_stat_activity shows it */
	bool		of_user;		/* no timeout, lock or log line of ours */
	const char *lock_timeout;	/* NULL for the session's */
	char	   *last_failure;	/* NULL where the last time went well */
} Unit;

typedef struct UnitError
{
	int			sqlstate;
	char	   *message;		/* in the caller's memory context; NULL where
								 * there was no error */
} UnitError;

typedef void (*UnitWork) (void *argument);

/* The extension that the units are of. */
extern void units_begin(Oid extension);

/* False when it failed, or the extension is gone. */
extern bool unit_try(Unit *unit, UnitWork work, void *argument,
					 UnitError *error);

/* For those who look at worker_status; in a unit of its own. */
extern void unit_record(const Unit *unit, const UnitError *error);

/* Both: an error is recorded. */
extern bool unit_run(Unit *unit, UnitWork work, void *argument);

/* Likewise a SELECT, with the text as $1. */
extern bool unit_call(Unit *unit, const char *sql, const char *text);

#endif							/* DEPLOYDB_UNIT_H */
