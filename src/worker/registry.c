/*
 * registry.c
 *		The notice board in shared memory: one slot a database, and which of our
 *		processes live there.
 *
 * One lock guards it all: it is taken a few times a second by the launcher and
 * by processes that come and go.  The path that runs at users' commits, waking
 * a scheduler, takes no lock: it reads the slot's atomics and sets a latch found
 * by the number of a PGPROC.  PGPROCs are never freed, so a number that has
 * become stale wakes a stranger once, which is harmless, and the scheduler's own
 * poll makes good for the missed wake.
 *
 * A process enters its pid only if the request it was started by is still the
 * latest one, and its exit callback, registered before it does so, removes it:
 * a worker whose start was delayed past a stop request ends without connecting.
 */
#include "worker/worker_internal.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#define RAN_WELL_MS 60000		/* a scheduler that lived this long starts afresh */

MaRegistry *ma_registry = NULL;
LWLock	   *ma_registry_lock = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* What this process is, if the launcher or the postmaster started it. */
static MaProcess *own_process = NULL;
static MaSlot *own_slot = NULL;
static uint32 own_generation = 0;

static void request_memory(void);
static void start_memory(void);
static void slot_init(MaSlot *slot);
static void process_set_latch(const MaProcess *process);
static void process_enter(MaProcess *process);
static void process_detach(int code, Datum arg);

/* Installs the shared memory hooks; only while preloading. */
void
ma_registry_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(MaRegistry)));
	RequestNamedLWLockTranche(MA_EXTENSION, 1);
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ma_registry = ShmemInitStruct("marketing_automation workers", sizeof(MaRegistry), &found);
	ma_registry_lock = &GetNamedLWLockTranche(MA_EXTENSION)->lock;
	if (!found)
	{
		memset(ma_registry, 0, sizeof(MaRegistry));
		pg_atomic_init_u32(&ma_registry->list_wanted, 0);
		for (int i = 0; i < MA_MAX_DATABASES; i++)
		{
			pg_atomic_init_u32(&ma_registry->slots[i].database, InvalidOid);
			pg_atomic_init_u32(&ma_registry->slots[i].wake, 0);
			pg_atomic_init_u32(&ma_registry->slots[i].wake_helper, 0);
			pg_atomic_init_u32(&ma_registry->slots[i].helper_wanted, 0);
			pg_atomic_init_u64(&ma_registry->slots[i].turns, 0);
			slot_init(&ma_registry->slots[i]);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Milliseconds of a clock that is never set; comparable between processes. */
int64
ma_monotonic_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now) / 1000;
}

/* Pause after so many failures in a row: 1, 2, 4 ... 60 seconds. */
int
ma_backoff_ms(int failures)
{
	int64		pause = (int64) MA_BACKOFF_MIN_MS << Min(Max(failures - 1, 0), 10);

	return (int) Min(pause, MA_BACKOFF_MAX_MS);
}

bool
ma_log_allowed(int64 *mark)
{
	int64		now = ma_monotonic_ms();

	if (*mark != 0 && now - *mark < MA_LOG_EVERY_MS)
		return false;
	*mark = now;
	return true;
}

/* ---- slots ---- */

/* Everything but the database and the generations, which go on counting. */
static void
slot_init(MaSlot *slot)
{
	slot->state = MA_SLOT_UNKNOWN;
	slot->listed = false;
	slot->probe_wanted = false;
	slot->no_slot = false;
	slot->version_misfit = false;
	slot->blocked = 0;
	slot->role = InvalidOid;
	slot->failures = 0;
	slot->next_start = 0;
	slot->last_turn = 0;
	slot->reason[0] = '\0';
	pg_atomic_write_u32(&slot->wake, 0);
	pg_atomic_write_u32(&slot->wake_helper, 0);
	pg_atomic_write_u32(&slot->helper_wanted, 0);
	pg_atomic_write_u64(&slot->turns, 0);
	memset(slot->duties, 0, sizeof(slot->duties));
}

MaSlot *
ma_slot_find(Oid database)
{
	for (int i = 0; i < MA_MAX_DATABASES; i++)
		if (pg_atomic_read_u32(&ma_registry->slots[i].database) == database)
			return &ma_registry->slots[i];
	return NULL;
}

bool
ma_slot_has_process(const MaSlot *slot)
{
	for (int i = 0; i < MA_NUM_PROCESSES; i++)
		if (slot->process[i].pid != 0 || slot->process[i].starting)
			return true;
	return false;
}

/* The database's slot, or a free one, or one of a database without the extension. */
MaSlot *
ma_slot_claim(Oid database)
{
	MaSlot	   *slot = ma_slot_find(database);

	if (slot == NULL)
		slot = ma_slot_find(InvalidOid);
	for (int i = 0; slot == NULL && i < MA_MAX_DATABASES; i++)
	{
		MaSlot	   *other = &ma_registry->slots[i];

		if (other->state == MA_SLOT_ABSENT && !other->probe_wanted && other->blocked == 0 &&
			!ma_slot_has_process(other))
			slot = other;
	}
	if (slot != NULL && pg_atomic_read_u32(&slot->database) != database)
	{
		slot_init(slot);
		pg_atomic_write_u32(&slot->database, database);
	}
	return slot;
}

void
ma_slot_free(MaSlot *slot)
{
	Assert(!ma_slot_has_process(slot));
	pg_atomic_write_u32(&slot->database, InvalidOid);
	slot_init(slot);
}

/*
 * This database's slot, or NULL; found again only when it has changed hands.
 * Takes no lock, since it is called at commits.
 */
MaSlot *
ma_slot_of_database(void)
{
	static MaSlot *known = NULL;

	if (ma_registry == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	if (known == NULL || pg_atomic_read_u32(&known->database) != MyDatabaseId)
		known = ma_slot_find(MyDatabaseId);
	return known;
}

/* ---- waking and asking ---- */

static void
process_set_latch(const MaProcess *process)
{
	int			number = process->proc_number;

	if (process->pid != 0 && number >= 0 && number < (int) ProcGlobal->allProcCount)
		SetLatch(&GetPGProcByNumber(number)->procLatch);
}

/* Asks a process to end; it does so at its next look around. */
void
ma_process_stop(MaProcess *process)
{
	process->stop = true;
	process_set_latch(process);
}

/* Wakes the launcher; `list` when databases may have come or gone. */
void
ma_launcher_wake(bool list)
{
	if (ma_registry == NULL)
		return;
	if (list)
		pg_atomic_write_u32(&ma_registry->list_wanted, 1);
	pg_memory_barrier();
	process_set_latch(&ma_registry->launcher);
}

/* Wakes a database's scheduler, unless it has been told already. */
void
ma_scheduler_wake(Oid database)
{
	MaSlot	   *slot;

	if (ma_registry == NULL)
		return;
	slot = database == MyDatabaseId ? ma_slot_of_database() : ma_slot_find(database);
	if (slot != NULL && pg_atomic_exchange_u32(&slot->wake, 1) == 0)
		process_set_latch(&slot->process[MA_PROCESS_SCHEDULER]);
}

bool
ma_worker_is_preloaded(void)
{
	return ma_registry != NULL;
}

/* Wakes a database's helper, or has one started; takes no lock. */
void
ma_helper_wake(Oid database)
{
	MaSlot	   *slot;

	if (ma_registry == NULL)
		return;
	slot = database == MyDatabaseId ? ma_slot_of_database() : ma_slot_find(database);
	if (slot == NULL)
		return;
	if (slot->process[MA_PROCESS_HELPER].pid != 0)
	{
		if (pg_atomic_exchange_u32(&slot->wake_helper, 1) == 0)
			process_set_latch(&slot->process[MA_PROCESS_HELPER]);
		if (slot->process[MA_PROCESS_HELPER].pid != 0)
			return;
		/* It has ended between the two looks, and may not have seen it. */
	}
	if (pg_atomic_exchange_u32(&slot->helper_wanted, 1) == 0)
		ma_launcher_wake(false);
}

/* Asks the launcher to look into a database again, without regard to past failures. */
void
ma_probe_request(Oid database)
{
	MaSlot	   *slot;

	if (ma_registry == NULL)
		return;
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	slot = ma_slot_claim(database);
	if (slot != NULL)
	{
		slot->probe_wanted = true;
		slot->failures = 0;
		slot->next_start = 0;
	}
	LWLockRelease(ma_registry_lock);
	ma_launcher_wake(slot == NULL || !slot->listed);
}

/* ---- processes ---- */

static void
process_enter(MaProcess *process)
{
	process->proc_number = ma_my_proc_number();
	process->pid = MyProcPid;
	process->starting = false;
	process->started_at = ma_monotonic_ms();
	own_process = process;
}

/* Enters the launcher; what an earlier one had asked for is void. */
void
ma_launcher_attach(void)
{
	before_shmem_exit(process_detach, (Datum) 0);
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	process_enter(&ma_registry->launcher);
	for (int i = 0; i < MA_MAX_DATABASES; i++)
		for (int j = 0; j < MA_NUM_PROCESSES; j++)
		{
			MaProcess  *process = &ma_registry->slots[i].process[j];

			if (process->starting)
			{
				process->starting = false;
				process->generation++;
			}
		}
	LWLockRelease(ma_registry_lock);
}

/*
 * Enters this process as the one its launch describes; false when it is no
 * longer wanted, and then it must end without connecting.
 */
bool
ma_process_attach(MaLaunch *launch)
{
	MaSlot	   *slot;
	MaProcess  *process;
	bool		wanted;

	memcpy(launch, MyBgworkerEntry->bgw_extra, sizeof(MaLaunch));
	slot = &ma_registry->slots[launch->slot];
	process = &slot->process[launch->kind];

	before_shmem_exit(process_detach, (Datum) 0);
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	wanted = process->starting && process->generation == launch->generation;
	if (wanted && (process->stop || slot->blocked > 0 ||
				   pg_atomic_read_u32(&slot->database) != launch->database))
	{
		process->starting = false;
		wanted = false;
	}
	if (wanted)
	{
		process_enter(process);
		own_slot = slot;
		own_generation = launch->generation;
	}
	LWLockRelease(ma_registry_lock);
	if (!wanted)
		ma_launcher_wake(false);
	return wanted;
}

MaSlot *
ma_process_slot(void)
{
	return own_slot;
}

/* Read without the lock: a flag that only goes from false to true while we live. */
bool
ma_process_should_stop(void)
{
	return own_process != NULL &&
		(own_process->stop || (own_slot != NULL && own_slot->blocked > 0));
}

/* Exit callback: takes this process off the board, and notes how it ended. */
static void
process_detach(int code, Datum arg)
{
	MaProcess  *process = own_process;

	if (process == NULL)
		return;
	own_process = NULL;
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	if (process->pid == MyProcPid)
	{
		process->pid = 0;
		pg_memory_barrier();
		/* A helper that has just found itself idle was told to look: another one does. */
		if (own_slot != NULL && process == &own_slot->process[MA_PROCESS_HELPER] &&
			pg_atomic_exchange_u32(&own_slot->wake_helper, 0) != 0)
			pg_atomic_write_u32(&own_slot->helper_wanted, 1);
		if (own_slot != NULL && process->generation == own_generation)
		{
			bool		asked = process->stop || own_slot->blocked > 0;
			int64		now = ma_monotonic_ms();

			if (now - process->started_at >= RAN_WELL_MS)
				own_slot->failures = 0;
			if (code != 0 && !asked)
			{
				own_slot->failures++;
				own_slot->next_start = now + ma_backoff_ms(own_slot->failures);
			}
		}
	}
	LWLockRelease(ma_registry_lock);
	ma_launcher_wake(false);
}
