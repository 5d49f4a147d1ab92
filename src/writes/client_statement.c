/*
 * client_statement.c
 *		The client's own statement: which is under way, and those that took long.
 *
 * Locking and errors: see client_statement.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "own_work.h"
#include "settings.h"
#include "writes/client_statement.h"
#include "writes/counters.h"

ClientStatement client_statement;

/* Those of a parallel worker are its leader's. */
pg_attribute_hot void
statement_count_if_slow(uint64 microseconds)
{
	microseconds -= Min(client_statement.waited, microseconds);
	client_statement.waited = 0;
	if (deploydb_slow_query_threshold >= 0 &&
		microseconds > (uint64) deploydb_slow_query_threshold * 1000 &&
		own_work_level == 0 && MyBackendType == B_BACKEND)
		counters_add_slow_statement();
}

/*
 * What was running has raised, unless the session is being ended; what was open
 * may be gone.
 */
static void
end_running(void)
{
	if (statement_is_running() && !proc_exit_inprogress)
	{
		statement_call_ended(client_statement.running, GetCurrentTimestamp());
		statement_ended();
	}
	client_statement.running = NULL;
	client_statement.open = NULL;
}

void
statement_transaction_aborted(void)
{
	end_running();
	client_statement.waited = 0;
}

/* One that began before the statement did takes it with it. */
void
statement_subtransaction(SubXactEvent event)
{
	if (event == SUBXACT_EVENT_START_SUB)
		client_statement.subtransactions++;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		client_statement.subtransactions--;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		if (!statement_is_running() || client_statement.subtransactions == 0)
			end_running();
		client_statement.subtransactions--;
	}
}

void
statement_waited(uint64 microseconds)
{
	client_statement.waited += microseconds;
}
