/*
 * truncation.h
 *		Notes who truncates a watched table.
 *
 * Gives: a list of what a TRUNCATE truncates, by the object access hook: each
 * relation, those that CASCADE reaches and partitions, too; once it is done,
 * deploydb.note_truncation() decides of which a note is made.
 * Needs: verify (owner).
 *
 * Locking: RowExclusive on deploydb.definition_change.
 * Errors: those of making the note; before it the list is as it was.
 */
#ifndef DEPLOYDB_TRUNCATION_H
#define DEPLOYDB_TRUNCATION_H

#include "postgres.h"

/* Where the list of this statement begins. */
extern int	truncation_begin(void);

extern void truncation_add(Oid relation);

/* After the statement, and after its error. */
extern void truncation_end(int first);
extern void truncation_forget(int first);

#endif							/* DEPLOYDB_TRUNCATION_H */
