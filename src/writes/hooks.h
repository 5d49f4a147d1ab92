/*
 * hooks.h
 *		The server's hooks that see attempts to write.
 *
 * Gives: writes_init(), for _PG_init while preloading.
 * Needs: attempts, tracked, counters, the client's statement, the statement scanner.
 */
#ifndef DEPLOYDB_HOOKS_H
#define DEPLOYDB_HOOKS_H

#include "postgres.h"

extern void writes_init(void);

extern void executor_hooks_init(void);
extern void utility_hook_init(void);
extern void log_hook_init(void);

#endif							/* DEPLOYDB_HOOKS_H */
