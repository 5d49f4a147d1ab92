/*
 * worker.c
 *		Everything that the monitors register with the server, once, while it
 *		is preloading.
 */
#include "postgres.h"

#include "worker/guard.h"
#include "worker/launcher.h"
#include "worker/slots.h"
#include "worker/worker.h"

void
worker_init(void)
{
	slots_init();
	guard_init();
	launcher_init();
}
