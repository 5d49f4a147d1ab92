/*
 * condition_name.h
 *		Names of SQLSTATEs.
 *
 * Gives: condition_name(), such as "unique_violation" for "23505".
 * Needs: errcodes.txt, which every server has in its share directory.
 */
#ifndef DEPLOYDB_CONDITION_NAME_H
#define DEPLOYDB_CONDITION_NAME_H

/* In the current memory context; NULL when it is not known. */
extern char *condition_name(const char *sqlstate);

#endif							/* DEPLOYDB_CONDITION_NAME_H */
