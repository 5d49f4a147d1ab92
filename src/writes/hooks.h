/*
 * hooks.h
 *		The server's hooks that see attempts to write.
 *
 * Gives: writes_init(), for _PG_init while preloading.
 * Needs: attempts, tracked, counters, the statement scanner.
 */
#ifndef DEPLOYDB_HOOKS_H
#define DEPLOYDB_HOOKS_H

#include "postgres.h"

extern void writes_init(void);

extern void executor_hooks_init(void);
extern void utility_hook_init(void);
extern void log_hook_init(void);

/*
 * How many executor or utility calls this one is in.  At 0 a statement is the
 * client's own.  The hooks put it back when an error passes.
 */
extern int	writes_nesting_level;

#endif							/* DEPLOYDB_HOOKS_H */
