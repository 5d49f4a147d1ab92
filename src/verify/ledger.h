/*
 * ledger.h
 *		Prisma's ledger: what _prisma_migrations says of a migration.
 *
 * Gives: ledger_find(), ledger_read(), ledger_row() and what compares
 * checksums, for verification and for the SQL function deploydb.ledger().
 * Needs: relation_lock, escape, message.
 *
 * The ledger is a user's table: it is read by a table scan, never by SPI, so
 * that no view, rule, policy or operator of a user's runs.  It must be an
 * ordinary table with the columns of Prisma's, and the caller must have
 * SELECT on it; otherwise it is "not readable", which is not an error.
 * Locking: AccessShare, taken without queueing within the time given, and
 * released before return.
 */
#ifndef DEPLOYDB_LEDGER_H
#define DEPLOYDB_LEDGER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

typedef enum LedgerState
{
	LEDGER_ABSENT,				/* no row */
	LEDGER_APPLIED,
	LEDGER_CLAIMED,				/* finished, but Prisma ran no step of it */
	LEDGER_RUNNING,				/* unfinished, young, and the lock is held */
	LEDGER_FAILED,
	LEDGER_ROLLED_BACK,
	LEDGER_LOCK_LEFT_BEHIND		/* lock held, nothing running */
} LedgerState;

/*
 * The row of a migration that counts: the newest applied one, else the newest
 * unfinished one, else the newest that was rolled back.
 */
typedef struct LedgerRow
{
	const char *migration;
	LedgerState state;
	const char *checksum;
	TimestampTz started_at;
	TimestampTz finished_at;	/* 0 = NULL */
	TimestampTz rolled_back_at; /* 0 = NULL */
	int			steps;
	int			tries;			/* rows of that name */
	const char *error;			/* failed: what the logs say in short, or NULL */
} LedgerRow;

typedef enum LedgerAccess
{
	LEDGER_NONE,				/* there is no such table */
	LEDGER_READ,
	LEDGER_NO_RIGHTS,
	LEDGER_LOCKED,
	LEDGER_NOT_PRISMA			/* a view, or other columns */
} LedgerAccess;

typedef struct Ledger
{
	LedgerAccess access;
	Oid			schema;			/* where it was found, or InvalidOid */
	List	   *rows;			/* of LedgerRow *, one a migration, by name */
	bool		lock_held;		/* asked only where a young row is unfinished */
	int			lock_pid;
} Ledger;

/*
 * The ledger's schema: the preferred one if it has a _prisma_migrations
 * (pass InvalidOid for none), else the first on the caller's search_path,
 * else any; InvalidOid if there is none.
 */
extern Oid	ledger_find(Oid preferred);

extern Ledger *ledger_read(Oid schema);

/* The row of one migration in what was read, or NULL. */
extern LedgerRow *ledger_row(const Ledger *ledger, const char *migration);

/*
 * Does another backend hold the advisory lock that Prisma takes while it
 * migrates?  *pid gets the holder's process, 0 for a prepared transaction.
 */
extern bool ledger_lock_held(int *pid);

extern const char *ledger_state_name(LedgerState state);

/*
 * How the ledger's checksum compares: "exact", "crlf", "lf", "different" or
 * "unknown".  "expected" is the registered checksum or NULL, ddl the
 * registered text or NULL.
 */
extern const char *ledger_checksum_verdict(const char *actual,
										   const char *expected,
										   const char *ddl);

#endif							/* DEPLOYDB_LEDGER_H */
