/*
 * history.h
 *		Verifications, kept whenever their outcome changes.
 *
 * Gives: history_record().
 * Needs: verification, owner.
 */
#ifndef DEPLOYDB_HISTORY_H
#define DEPLOYDB_HISTORY_H

#include "verify/verification.h"

/*
 * Adds a row to deploydb.verification if outcome or fingerprint differ from
 * the last one of this migration and schema since it was last rolled back, as
 * far as they were found out: what is unknown or stale is no news.  Where the
 * transaction cannot write nothing happens; neither in a serializable
 * transaction, which the row of a check could make fail.
 */
extern void history_record(const Verification *verification);

#endif							/* DEPLOYDB_HISTORY_H */
