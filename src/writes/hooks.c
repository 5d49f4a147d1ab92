/*
 * hooks.c
 *		Everything that counting writes registers with the server, once, while
 *		it is preloading.
 */
#include "postgres.h"

#include "writes/app_role.h"
#include "writes/attempts.h"
#include "writes/counters.h"
#include "writes/hooks.h"
#include "writes/tracked.h"

void
writes_init(void)
{
	counters_init();
	tracked_init();
	app_role_init();
	attempts_init();
	executor_hooks_init();
	utility_hook_init();
	log_hook_init();
}
