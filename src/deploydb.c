/*
 * deploydb.c
 *		Entry point of the library: settings and hooks, and nothing else.
 *
 * The library loads quietly with or without shared_preload_libraries; what
 * needs preloading says so when it is called.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "compat.h"
#include "ddl.h"
#include "own_work.h"
#include "settings.h"
#include "webhooks/hide_statement.h"
#include "worker/worker.h"
#include "writes/hooks.h"

PG_MODULE_MAGIC;

int			own_work_level = 0;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	settings_init();
	hide_statement_init();
	ddl_init();
	if (process_shared_preload_libraries_in_progress)
	{
		writes_init();
		worker_init();
	}
}
