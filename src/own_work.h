/*
 * own_work.h
 *		The extension's own statements.
 *
 * Gives: a level that is raised while the smoke test, a replay or the like
 * execute statements; their writes are no attempts of anybody's.
 * Needs: nothing.
 *
 * Whoever raises it lowers it again, on an error too.
 */
#ifndef DEPLOYDB_OWN_WORK_H
#define DEPLOYDB_OWN_WORK_H

extern int	own_work_level;

#endif							/* DEPLOYDB_OWN_WORK_H */
