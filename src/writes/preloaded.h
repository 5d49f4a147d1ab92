/*
 * preloaded.h
 *		What needs the hooks says so where they are not.
 *
 * Gives: preloaded_or_error(), deploydb_is_preloaded() in SQL.
 * Needs: counters; deploydb.preload_statement().
 */
#ifndef DEPLOYDB_PRELOADED_H
#define DEPLOYDB_PRELOADED_H

/*
 * Raises object_not_in_prerequisite_state, with the statement to run, unless
 * the library was preloaded.
 */
extern void preloaded_or_error(void);

/* That statement, in the current memory context. */
extern char *preload_statement(void);

#endif							/* DEPLOYDB_PRELOADED_H */
