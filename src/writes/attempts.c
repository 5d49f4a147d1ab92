/*
 * attempts.c
 *		Attempts to write that this backend has under way.
 *
 * Locking: none.  Memory and errors: see attempts.h.  The commit callback runs
 * after the commit record: atomics only.
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "writes/attempts.h"
#include "writes/client_statement.h"

/* Where the stacks begin: more are allocated. */
#define FIRST_ENTRIES 8

/* Larger arrays are given back when their transaction ends. */
#define KEPT_ENTRIES 256

typedef struct Started
{
	const void *execution;
	WriteTarget target;
	SubTransactionId subxact;
	bool		counts_rows;
	int64		query_id;
	TimestampTz began;
} Started;

typedef struct Done
{
	WriteTarget target;
	SubTransactionId subxact;
	uint64		attempts;
	uint64		rows;
} Done;

/*
 * The tables that writes of the present transaction failed on.  Its end forgets
 * them, as the next one in that message begins at the same time; but not its
 * abort, which the client has yet to answer.
 */
#define FAILED_TARGETS 32
static WriteTarget failed_targets[FAILED_TARGETS];
static int	nfailed_targets = 0;
static TimestampTz failed_in = 0;	/* that transaction's start */

static Started first_started[FIRST_ENTRIES];
static Started *started = first_started;
int			attempts_under_way = 0;	/* entries */
static int	started_size = FIRST_ENTRIES;

static Done first_done[FIRST_ENTRIES];
static Done *done = first_done;
static int	ndone = 0;
static int	done_size = FIRST_ENTRIES;

/* The last error that passed since the outermost attempt was started. */
static struct
{
	int			sqlstate;		/* 0 when none has */
	NameData	constraint_name;
}			raised;

static TimestampTz error_counted_in = 0;	/* the client's message, or 0 */

/* False when there is no memory: the attempt goes unaccounted. */
static bool
grow(void **array, const void *first, int *size, Size element)
{
	int			wanted = *size * 2;
	void	   *larger;

	if (!AllocSizeIsValid(wanted * element))
		return false;
	larger = MemoryContextAllocExtended(TopMemoryContext, wanted * element,
										MCXT_ALLOC_NO_OOM);
	if (larger == NULL)
		return false;
	memcpy(larger, *array, *size * element);
	if (*array != first)
		pfree(*array);
	*array = larger;
	*size = wanted;
	return true;
}

static void
shrink(void **array, void *first, int *size)
{
	if (*size <= KEPT_ENTRIES)
		return;
	pfree(*array);
	*array = first;
	*size = FIRST_ENTRIES;
}

static bool
same_target(const WriteTarget *a, const WriteTarget *b)
{
	return a->slot == b->slot && a->generation == b->generation &&
		a->others == b->others;
}

pg_attribute_hot void
attempt_start(const void *execution, const WriteTarget *target,
			  bool counts_rows, int64 query_id)
{
	Started    *entry;

	if (attempts_under_way == started_size &&
		!grow((void **) &started, first_started, &started_size, sizeof(Started)))
	{
		counters_add(target, WRITES_UNACCOUNTED, 1);
		return;
	}
	entry = &started[attempts_under_way++];
	entry->execution = execution;
	entry->target = *target;
	entry->subxact = GetCurrentSubTransactionId();
	entry->counts_rows = counts_rows;
	entry->query_id = query_id;
	if (attempts_under_way == 1)
		raised.sqlstate = 0;
	entry->began = statement_is_clients() ? statement_began() :
		GetCurrentTimestamp();
}

/* The index of its last entry, from the top; those of one are neighbours. */
static int
started_find(const void *execution)
{
	int			i = attempts_under_way - 1;

	while (i >= 0 && started[i].execution != execution)
		i--;
	return i;
}

pg_attribute_hot bool
attempt_find(const void *execution)
{
	return started_find(execution) >= 0;
}

/* Microseconds; none where the clock was set back. */
static uint64
took(const Started *ended, TimestampTz now)
{
	return (uint64) Max(now - ended->began, 0);
}

static void
started_remove(int index)
{
	attempts_under_way--;
	if (index < attempts_under_way)
		memmove(&started[index], &started[index + 1],
				(attempts_under_way - index) * sizeof(Started));
}

/* The entry of a table and a subtransaction, whose entries are on top. */
static pg_attribute_hot Done *
done_entry(const WriteTarget *target, SubTransactionId subxact)
{
	Done	   *entry;

	for (int i = ndone - 1; i >= 0 && done[i].subxact == subxact; i--)
		if (same_target(&done[i].target, target))
			return &done[i];
	if (ndone == done_size &&
		!grow((void **) &done, first_done, &done_size, sizeof(Done)))
		return NULL;
	entry = &done[ndone++];
	entry->target = *target;
	entry->subxact = subxact;
	entry->attempts = 0;
	entry->rows = 0;
	return entry;
}

pg_attribute_hot void
attempt_done(const void *execution, uint64 rows, TimestampTz now)
{
	int			i;

	while ((i = started_find(execution)) >= 0)
	{
		Started		ended = started[i];
		Done	   *entry = done_entry(&ended.target, ended.subxact);

		started_remove(i);
		counters_add_latency(&ended.target, took(&ended, now));
		if (entry == NULL)
		{
			counters_add(&ended.target, WRITES_UNACCOUNTED, 1);
			continue;
		}
		entry->attempts++;
		if (ended.counts_rows)
			entry->rows += rows;
	}
}

/* Of an integrity violation, and whole characters of it. */
static void
copy_constraint_name(NameData *to, int sqlstate, const char *name)
{
	int			length = 0;

	if (name != NULL &&
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		length = pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1);
	if (length > 0)
		memcpy(NameStr(*to), name, length);
	NameStr(*to)[length] = '\0';
}

static void
describe_failure(WriteFailure *failure, int sqlstate,
				 const char *constraint_name, int64 query_id)
{
	memset(failure, 0, sizeof(*failure));
	failure->sqlstate = sqlstate;
	failure->last_at = GetCurrentTimestamp();
	failure->query_id = query_id;
	strlcpy(NameStr(failure->application),
			application_name ? application_name : "", NAMEDATALEN);
	copy_constraint_name(&failure->constraint_name, sqlstate, constraint_name);
}

static void
remember_failed_target(const WriteTarget *target)
{
	TimestampTz transaction = GetCurrentTransactionStartTimestamp();

	if (failed_in != transaction)
		nfailed_targets = 0;
	failed_in = transaction;
	for (int i = 0; i < nfailed_targets; i++)
		if (same_target(&failed_targets[i], target))
			return;
	if (nfailed_targets < FAILED_TARGETS)
		failed_targets[nfailed_targets++] = *target;
}

static void
started_fails(int index, int sqlstate, const char *constraint_name)
{
	Started		ended = started[index];
	WriteFailure failure;

	started_remove(index);
	describe_failure(&failure, sqlstate, constraint_name, ended.query_id);
	counters_add_latency(&ended.target, took(&ended, failure.last_at));
	counters_add_failure(&ended.target, WRITES_FAILED, &failure,
						 GetOuterUserId(), true);
	remember_failed_target(&ended.target);
}

/*
 * The error that is being handled, in memory that goes with what it aborts.
 * NULL when that may be what is short, or must not be asked for.
 */
static ErrorData *
copy_error(void)
{
	MemoryContext old;
	ErrorData  *error;

	if (CritSectionCount > 0 ||
		ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_INSUFFICIENT_RESOURCES)
		return NULL;
	old = MemoryContextSwitchTo(CurTransactionContext);
	error = CopyErrorData();
	MemoryContextSwitchTo(old);
	return error;
}

void
attempt_failed(const void *execution)
{
	int			i = started_find(execution);
	int			sqlstate = geterrcode();
	ErrorData  *error;

	if (i < 0)
		return;
	error = copy_error();
	for (; i >= 0; i = started_find(execution))
		started_fails(i, sqlstate, error ? error->constraint_name : NULL);
	if (error != NULL)
		FreeErrorData(error);
	error_counted_in = GetCurrentStatementStartTimestamp();
}

void
attempts_raised(int sqlstate, const char *constraint_name)
{
	raised.sqlstate = sqlstate;
	copy_constraint_name(&raised.constraint_name, sqlstate, constraint_name);
}

/* Of all messages: those without an SQLSTATE are told at once. */
void
attempts_error_context(void *arg)
{
	int			sqlstate = geterrcode();
	ErrorData  *error;

	(void) arg;
	if (sqlstate == ERRCODE_SUCCESSFUL_COMPLETION)
		return;
	error = copy_error();
	if (error == NULL)
		attempts_raised(sqlstate, NULL);
	else
	{
		if (error->elevel >= ERROR)
			attempts_raised(sqlstate, error->constraint_name);
		FreeErrorData(error);
	}
}

void
attempt_rejected(const WriteTarget *target, int sqlstate, int64 query_id)
{
	WriteFailure failure;

	describe_failure(&failure, sqlstate, NULL, query_id);
	counters_add_failure(target, WRITES_REJECTED, &failure,
						 GetOuterUserId(), false);
	remember_failed_target(target);
}

void
attempts_rolled_back(bool swallowed)
{
	if (swallowed && failed_in == GetCurrentTransactionStartTimestamp())
		for (int i = 0; i < nfailed_targets; i++)
			counters_add(&failed_targets[i], WRITES_SWALLOWED, 1);
	nfailed_targets = 0;
}

bool
attempts_error_is_counted(void)
{
	return error_counted_in != 0 &&
		error_counted_in == GetCurrentStatementStartTimestamp();
}

/*
 * What was started and has not ended: the error that is aborted for passed, or
 * came between two calls of the executor and was logged, or is not known.
 */
static void
settle_started(SubTransactionId subxact)
{
	for (int i = attempts_under_way - 1; i >= 0; i--)
	{
		if (subxact != InvalidSubTransactionId &&
			started[i].subxact != subxact)
			continue;
		if (raised.sqlstate != 0)
			started_fails(i, raised.sqlstate, NameStr(raised.constraint_name));
		else
			started_fails(i, ERRCODE_OPERATOR_INTERVENTION, NULL);
	}
}

static pg_attribute_hot void
settle_done(WriteCount outcome)
{
	for (int i = 0; i < ndone; i++)
	{
		counters_add(&done[i].target, outcome, done[i].attempts);
		if (outcome == WRITES_SUCCEEDED)
			counters_add(&done[i].target, WRITES_ROWS, done[i].rows);
	}
	ndone = 0;
	shrink((void **) &done, first_done, &done_size);
}

static pg_attribute_hot pg_noinline void
settle_transaction(XactEvent event)
{
	WriteCount	outcome;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			outcome = WRITES_SUCCEEDED;
			break;
		case XACT_EVENT_PREPARE:
			outcome = WRITES_PREPARED;
			break;
		case XACT_EVENT_ABORT:
			outcome = WRITES_ROLLED_BACK;
			break;
		default:
			return;
	}
	/* Some are left even so, where an error was caught and nothing undone. */
	if (attempts_under_way > 0)
		settle_started(InvalidSubTransactionId);
	settle_done(outcome);
	if (event == XACT_EVENT_ABORT)
	{
		error_counted_in = 0;
		statement_transaction_aborted();
	}
	else
		nfailed_targets = 0;
	shrink((void **) &started, first_started, &started_size);
}

/* Most transactions have nothing to settle, and pay for no more than to see it. */
static pg_attribute_hot void
transaction_ends(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		statement_transaction_committed();
	if (ndone > 0 || attempts_under_way > 0 || nfailed_targets > 0 ||
		event == XACT_EVENT_ABORT)
		settle_transaction(event);
}

/* Entries of subxact are on top; its parent's are right below them. */
static void
hand_to_parent(SubTransactionId subxact, SubTransactionId parent)
{
	int			first = ndone;
	int			end = ndone;

	for (int i = 0; i < attempts_under_way; i++)
		if (started[i].subxact == subxact)
			started[i].subxact = parent;
	while (first > 0 && done[first - 1].subxact == subxact)
		first--;
	ndone = first;
	for (int i = first; i < end; i++)
	{
		Done		entry = done[i];
		Done	   *merged = done_entry(&entry.target, parent);

		/* There is room: no more entries than before. */
		merged->attempts += entry.attempts;
		merged->rows += entry.rows;
	}
}

static void
undo_subtransaction(SubTransactionId subxact)
{
	settle_started(subxact);
	while (ndone > 0 && done[ndone - 1].subxact == subxact)
	{
		ndone--;
		counters_add(&done[ndone].target, WRITES_ROLLED_BACK,
					 done[ndone].attempts);
	}
	error_counted_in = 0;
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId subxact,
					SubTransactionId parent, void *arg)
{
	(void) arg;
	statement_subtransaction(event);
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		hand_to_parent(subxact, parent);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		undo_subtransaction(subxact);
}

void
attempts_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
}
