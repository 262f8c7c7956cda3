/*
 * shared.c
 *		Figures shared by all backends of a database, the share of the lock table
 *		we hold, and the clock's high-water mark.
 *
 * Only atomics and plain offsets live in shared memory, never pointers, and
 * nothing in it is a truth: after a crash it starts from zero.  Without preload
 * there is no shared memory; then counters are the session's own and each
 * session gets a fixed small share of the lock table.
 */
#include "base/base.h"

#include "access/twophase.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#define MAX_DATABASES 128
#define LOCK_SHARE 4			/* ours is at most 1/4 of the lock table */
#define UNSHARED_SESSIONS 16	/* without shared memory: sessions we allow for */
#define STAND_STILL (INT64CONST(5) * 60 * USECS_PER_SEC)
#define ERROR_TEXT 200

typedef struct DatabaseFigures
{
	pg_atomic_uint32 database;	/* OID, 0 = free */
	pg_atomic_uint64 counters[MA_NUM_COUNTERS];
	slock_t		mutex;			/* guards the fields below */
	int			error_state;
	TimestampTz error_at;
	char		error_text[ERROR_TEXT];
} DatabaseFigures;

typedef struct SharedState
{
	pg_atomic_uint32 locks_held;
	pg_atomic_uint64 clock_high;
	DatabaseFigures databases[MAX_DATABASES];
} SharedState;

static SharedState *shared = NULL;
static DatabaseFigures *own = NULL; /* this database's, or the session's own */
static DatabaseFigures session_figures;
static uint64 session_clock_high = 0;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static const char *const counter_names[MA_NUM_COUNTERS] = {
	"commits evaluated",
	"contacts evaluated at commit",
	"contacts left to the worker: lock not free",
	"contacts left to the worker: out of time",
	"contacts left to the worker: too many",
	"contacts left to the worker: by mode of transaction or source",
	"contacts left to the worker: error",
	"errors swallowed at commit",
	"event rows without a contact",
	"contacts evaluated by the worker",
};

static void request_memory(void);
static void start_memory(void);
static void init_figures(DatabaseFigures *figures);
static DatabaseFigures *figures_of_database(void);

/* Installs the shared memory hooks; only while preloading. */
void
ma_shared_init(void)
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
	RequestAddinShmemSpace(MAXALIGN(sizeof(SharedState)));
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("marketing_automation figures", sizeof(SharedState), &found);
	if (!found)
	{
		pg_atomic_init_u32(&shared->locks_held, 0);
		pg_atomic_init_u64(&shared->clock_high, 0);
		for (int i = 0; i < MAX_DATABASES; i++)
			init_figures(&shared->databases[i]);
	}
	LWLockRelease(AddinShmemInitLock);
}

static void
init_figures(DatabaseFigures *figures)
{
	pg_atomic_init_u32(&figures->database, InvalidOid);
	for (int i = 0; i < MA_NUM_COUNTERS; i++)
		pg_atomic_init_u64(&figures->counters[i], 0);
	SpinLockInit(&figures->mutex);
	figures->error_at = 0;
}

bool
ma_preloaded(void)
{
	return shared != NULL;
}

/* Finds or claims this database's slot; with all in use, the session's own. */
static DatabaseFigures *
figures_of_database(void)
{
	if (own != NULL)
		return own;
	if (shared != NULL && OidIsValid(MyDatabaseId))
	{
		for (int pass = 0; pass < 2; pass++)
			for (int i = 0; i < MAX_DATABASES; i++)
			{
				uint32		expected = InvalidOid;
				DatabaseFigures *figures = &shared->databases[i];

				if (pg_atomic_read_u32(&figures->database) == MyDatabaseId ||
					(pass == 1 &&
					 (pg_atomic_compare_exchange_u32(&figures->database, &expected, MyDatabaseId) ||
					  expected == MyDatabaseId)))
					return own = figures;
			}
	}
	init_figures(&session_figures);
	return own = &session_figures;
}

void
ma_shared_forget_database(Oid database)
{
	if (shared == NULL)
		return;
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseFigures *figures = &shared->databases[i];

		if (pg_atomic_read_u32(&figures->database) != database)
			continue;
		for (int j = 0; j < MA_NUM_COUNTERS; j++)
			pg_atomic_write_u64(&figures->counters[j], 0);
		SpinLockAcquire(&figures->mutex);
		figures->error_at = 0;
		SpinLockRelease(&figures->mutex);
		pg_atomic_write_u32(&figures->database, InvalidOid);
	}
}

void
ma_count(MaCounter counter, int64 n)
{
	if (n != 0)
		pg_atomic_fetch_add_u64(&figures_of_database()->counters[counter], n);
}

int64
ma_counter_value(MaCounter counter)
{
	return (int64) pg_atomic_read_u64(&figures_of_database()->counters[counter]);
}

const char *
ma_counter_name(MaCounter counter)
{
	return counter_names[counter];
}

/* Not in the middle of a character: who reads a view of it would get an error. */
void
ma_text_clip(char *to, const char *from, Size size)
{
	int			length = pg_mbcliplen(from, strlen(from), size - 1);

	memcpy(to, from, length);
	memset(to + length, 0, size - length);
}

void
ma_count_error(int sqlstate, const char *message)
{
	DatabaseFigures *figures = figures_of_database();
	TimestampTz now = GetCurrentTimestamp();
	char		text[ERROR_TEXT];

	ma_text_clip(text, message ? message : "", sizeof(text));
	ma_count(MA_COUNT_ERRORS, 1);
	SpinLockAcquire(&figures->mutex);
	figures->error_state = sqlstate;
	figures->error_at = now;
	memcpy(figures->error_text, text, sizeof(text));
	SpinLockRelease(&figures->mutex);
}

bool
ma_last_error(int *sqlstate, char *message, Size size, TimestampTz *at)
{
	DatabaseFigures *figures = figures_of_database();
	char		text[ERROR_TEXT];

	SpinLockAcquire(&figures->mutex);
	*sqlstate = figures->error_state;
	*at = figures->error_at;
	memcpy(text, figures->error_text, sizeof(text));
	SpinLockRelease(&figures->mutex);
	strlcpy(message, text, size);
	return *at != 0;
}

int
ma_lock_reserve(int wanted)
{
	int			table = max_locks_per_xact * (MaxBackends + max_prepared_xacts);
	uint32		held;

	if (shared == NULL)
		return Min(wanted, Max(table / LOCK_SHARE / UNSHARED_SESSIONS, 1));

	held = pg_atomic_read_u32(&shared->locks_held);
	for (;;)
	{
		int			granted = Min(wanted, table / LOCK_SHARE - (int) held);

		if (granted <= 0)
			return 0;
		if (pg_atomic_compare_exchange_u32(&shared->locks_held, &held, held + granted))
			return granted;
	}
}

void
ma_lock_release(int n)
{
	if (shared != NULL && n > 0)
		pg_atomic_fetch_sub_u32(&shared->locks_held, n);
}

TimestampTz
ma_shared_clock_raise(TimestampTz wanted, TimestampTz current)
{
	uint64		high = shared ? pg_atomic_read_u64(&shared->clock_high) : session_clock_high;

	/* A statement that started before a step back has no time of its own. */
	wanted = Min(wanted, current);
	for (;;)
	{
		bool		stepped = (TimestampTz) high - current > STAND_STILL;

		if (!stepped && wanted <= (TimestampTz) high)
			return (TimestampTz) high;
		if (stepped)
			wanted = current;
		if (shared == NULL)
			session_clock_high = (uint64) wanted;
		else if (!pg_atomic_compare_exchange_u64(&shared->clock_high, &high, (uint64) wanted))
			continue;
		if (stepped)
			ereport(LOG,
					(errmsg("the system clock stepped back by more than five minutes; marketing.now() follows it")));
		return wanted;
	}
}
