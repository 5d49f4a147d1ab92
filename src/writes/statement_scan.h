/*
 * statement_scan.h
 *		Which table a statement's text is aimed at.
 *
 * Gives: statement_target(), for statements that never reached the executor.
 * Needs: nothing of the other modules.
 *
 * Safe in the log hook: no allocation, no catalog, nothing raised, nothing
 * read past the text's end.
 */
#ifndef DEPLOYDB_STATEMENT_SCAN_H
#define DEPLOYDB_STATEMENT_SCAN_H

#include "postgres.h"

typedef struct StatementTarget
{
	char		schema[NAMEDATALEN];	/* "" when the text names none */
	char		name[NAMEDATALEN];
} StatementTarget;

/*
 * The target of the statement in which the cursor lies, a position in
 * characters from 1; 0 is known for a text of one statement only.  False when
 * it is no INSERT, UPDATE, MERGE or COPY FROM, or cannot be told.  Standard
 * strings are those in which a backslash is itself.
 */
extern bool statement_target(const char *sql, int cursor, int encoding,
							 bool standard_strings, StatementTarget *target);

#endif							/* DEPLOYDB_STATEMENT_SCAN_H */
