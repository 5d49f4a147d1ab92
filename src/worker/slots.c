/*
 * slots.c
 *		Slots of the monitors in shared memory.
 *
 * Locking and errors: see slots.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "clock.h"
#include "worker/slots.h"

typedef struct Prepared
{
	Oid			database;		/* InvalidOid where the place is free */
	uint32		transaction;
} Prepared;

typedef struct WorkerShared
{
	int			launcher_pid;
	bool		launcher_woken;	/* since it last began to look around */
	uint32		last_ticket;
	bool		everything;		/* monitors are wanted, slots do not say where */
	Prepared	prepared[SLOTS_PREPARED];	/* the newest first */
	int			nslots;
	MonitorSlot slots[FLEXIBLE_ARRAY_MEMBER];
} WorkerShared;

static WorkerShared *shared = NULL;
static LWLock *lock = NULL;
static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

/* Each monitor is a worker; some more for holds where there is none. */
int
slots_size(void)
{
	return max_worker_processes + 16;
}

static Size
shared_size(void)
{
	return add_size(offsetof(WorkerShared, slots),
					mul_size(slots_size(), sizeof(MonitorSlot)));
}

static void
slots_request(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("deploydb_worker", 1);
}

static void
slots_startup(void)
{
	bool		found;

	if (previous_shmem_startup)
		previous_shmem_startup();

	/* After a crash the postmaster comes here again, with new memory. */
	shared = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("deploydb_worker", shared_size(), &found);
	lock = &GetNamedLWLockTranche("deploydb_worker")->lock;
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->nslots = slots_size();
	}
	LWLockRelease(AddinShmemInitLock);
}

void
slots_init(void)
{
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = slots_request;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = slots_startup;
}

bool
slots_there(void)
{
	return shared != NULL;
}

/* ---- with the lock held --------------------------------------------------- */

static MonitorSlot *
slot_find(Oid database)
{
	for (int i = 0; i < shared->nslots; i++)
		if (shared->slots[i].database == database)
			return &shared->slots[i];
	return NULL;
}

/* NULL where there is no room. */
static MonitorSlot *
slot_find_or_make(Oid database)
{
	MonitorSlot *slot = slot_find(database);

	if (slot == NULL && (slot = slot_find(InvalidOid)) != NULL)
	{
		memset(slot, 0, sizeof(*slot));
		slot->database = database;
	}
	return slot;
}

static void
slot_set(MonitorSlot *slot, MonitorPhase phase)
{
	slot->phase = phase;
	if (phase == MONITOR_NONE && slot->holds == 0 && slot->metric[0] == '\0')
		slot->database = InvalidOid;
}

/* ---- the launcher --------------------------------------------------------- */

void
slots_launcher_begins(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher_pid = MyProcPid;
	for (int i = 0; i < shared->nslots; i++)
		if (shared->slots[i].phase == MONITOR_STARTING &&
			shared->slots[i].pid == 0)
			slot_set(&shared->slots[i], MONITOR_NONE);
	LWLockRelease(lock);
}

void
slots_launcher_ends(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->launcher_pid == MyProcPid)
		shared->launcher_pid = 0;
	LWLockRelease(lock);
}

void
slots_launcher_looks(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher_woken = false;
	LWLockRelease(lock);
}

bool
slots_launcher_woken(void)
{
	bool		called;

	LWLockAcquire(lock, LW_SHARED);
	called = shared->launcher_woken;
	LWLockRelease(lock);
	return called;
}

int
slots_collect(MonitorSlot *slots, bool *everything)
{
	int			count = 0;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	*everything = shared->everything;
	shared->everything = false;
	for (int i = 0; i < shared->nslots; i++)
	{
		MonitorSlot *slot = &shared->slots[i];

		if (!OidIsValid(slot->database))
			continue;
		slots[count++] = *slot;
		if (slot->phase == MONITOR_WANTED || slot->phase == MONITOR_GONE)
			slot_set(slot, MONITOR_NONE);
	}
	LWLockRelease(lock);
	return count;
}

bool
slot_take(Oid database, uint32 *ticket)
{
	MonitorSlot *slot;
	bool		taken = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find_or_make(database);
	if (slot != NULL && slot->holds == 0 &&
		(slot->phase == MONITOR_NONE || slot->phase == MONITOR_WANTED))
	{
		slot->phase = MONITOR_STARTING;
		slot->ticket = *ticket = ++shared->last_ticket;
		slot->pid = 0;
		slot->leave = false;
		slot->again = false;
		slot->started_ms = clock_ms();
		taken = true;
	}
	LWLockRelease(lock);
	return taken;
}

bool
slot_give_up(Oid database, uint32 ticket)
{
	MonitorSlot *slot;
	bool		given_up = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL && slot->phase == MONITOR_STARTING &&
		slot->ticket == ticket && slot->pid == 0)
	{
		slot_set(slot, MONITOR_NONE);
		given_up = true;
	}
	LWLockRelease(lock);
	return given_up;
}

int
slot_ask_to_leave(Oid database)
{
	MonitorSlot *slot;
	int			pid = 0;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL)
	{
		slot->leave = true;
		pid = slot->pid;
	}
	LWLockRelease(lock);
	return pid;
}

void
slot_forget_metric(Oid database)
{
	MonitorSlot *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL)
	{
		slot->metric[0] = '\0';
		slot_set(slot, slot->phase);
	}
	LWLockRelease(lock);
}

/* ---- a monitor ------------------------------------------------------------ */

bool
slot_claim(Oid database, uint32 ticket)
{
	MonitorSlot *slot;
	bool		claimed = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL && slot->phase == MONITOR_STARTING &&
		slot->ticket == ticket && slot->pid == 0)
	{
		if (slot->holds == 0 && !slot->leave)
		{
			slot->pid = MyProcPid;
			claimed = true;
		}
		else
		{
			slot->exit = EXIT_LEFT;
			slot_set(slot, MONITOR_GONE);
		}
	}
	LWLockRelease(lock);
	return claimed;
}

bool
slot_set_running(Oid database)
{
	MonitorSlot *slot;
	bool		first = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL && slot->pid == MyProcPid)
	{
		first = slot->phase != MONITOR_RUNNING;
		slot->phase = MONITOR_RUNNING;
	}
	LWLockRelease(lock);
	return first;
}

bool
slot_must_leave(Oid database)
{
	MonitorSlot *slot;
	bool		leave;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	leave = slot == NULL || slot->pid != MyProcPid || slot->leave;
	if (!leave)
		slot->again = false;
	LWLockRelease(lock);
	return leave;
}

void
slot_leave(Oid database, MonitorExit why)
{
	MonitorSlot *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL && slot->pid == MyProcPid)
	{
		slot->pid = 0;
		slot->exit = slot->leave ? EXIT_LEFT : why;
		if (why == EXIT_NO_EXTENSION && slot->again)
			slot->exit = EXIT_LEFT;
		if (slot->exit != EXIT_FAILED)
			slot->metric[0] = '\0';
		slot_set(slot, MONITOR_GONE);
	}
	LWLockRelease(lock);
}

void
slot_note_metric(Oid database, const char *metric)
{
	MonitorSlot *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL && slot->pid == MyProcPid)
		strlcpy(slot->metric, metric, SLOT_METRIC_SIZE);
	LWLockRelease(lock);
}

void
slot_noted_metric(Oid database, char *metric)
{
	MonitorSlot *slot;

	metric[0] = '\0';
	LWLockAcquire(lock, LW_SHARED);
	slot = slot_find(database);
	if (slot != NULL && slot->pid == MyProcPid)
		strlcpy(metric, slot->metric, SLOT_METRIC_SIZE);
	LWLockRelease(lock);
}

/* ---- everybody ------------------------------------------------------------ */

int
slot_pid(Oid database)
{
	MonitorSlot *slot;
	int			pid;

	LWLockAcquire(lock, LW_SHARED);
	slot = slot_find(database);
	pid = slot != NULL ? slot->pid : 0;
	LWLockRelease(lock);
	return pid;
}

bool
slot_runs(Oid database)
{
	MonitorSlot *slot;
	bool		runs;

	LWLockAcquire(lock, LW_SHARED);
	slot = slot_find(database);
	runs = slot != NULL && slot->phase == MONITOR_RUNNING;
	LWLockRelease(lock);
	return runs;
}

void
slots_note_prepared(Oid database, uint32 transaction)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	memmove(&shared->prepared[1], &shared->prepared[0],
			(SLOTS_PREPARED - 1) * sizeof(Prepared));
	shared->prepared[0].database = database;
	shared->prepared[0].transaction = transaction;
	LWLockRelease(lock);
}

bool
slots_forget_prepared(Oid database, uint32 transaction)
{
	bool		noted = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < SLOTS_PREPARED && !noted; i++)
	{
		Prepared   *prepared = &shared->prepared[i];

		noted = prepared->database == database &&
			prepared->transaction == transaction;
		if (noted)
			prepared->database = InvalidOid;
	}
	LWLockRelease(lock);
	return noted;
}

int
slots_wake_launcher(void)
{
	int			pid;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher_woken = true;
	pid = shared->launcher_pid;
	LWLockRelease(lock);
	return pid;
}

int
slot_wake(Oid database)
{
	MonitorSlot *slot;
	int			pid = 0;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find_or_make(database);
	if (slot == NULL)
		shared->everything = true;
	else if (slot->phase == MONITOR_NONE)
		slot->phase = MONITOR_WANTED;
	else
	{
		slot->again = true;
		pid = slot->pid;
		/* Gone, as there was no extension; the launcher has yet to learn. */
		if (slot->phase == MONITOR_GONE && slot->exit == EXIT_NO_EXTENSION)
			slot->exit = EXIT_LEFT;
	}
	LWLockRelease(lock);
	return pid;
}

bool
slot_hold(Oid database, int *pid)
{
	MonitorSlot *slot;

	*pid = 0;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find_or_make(database);
	if (slot != NULL)
	{
		slot->holds++;
		slot->leave = true;
		*pid = slot->pid;
	}
	LWLockRelease(lock);
	return slot != NULL;
}

void
slot_release(Oid database)
{
	MonitorSlot *slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot != NULL && slot->holds > 0)
	{
		slot->holds--;
		slot_set(slot, slot->phase);
	}
	LWLockRelease(lock);
}
