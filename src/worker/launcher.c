/*
 * launcher.c
 *		The launcher: which databases there are, which of them have the extension,
 *		one scheduler in each of those, and a helper where there is work for one.
 *
 * It is the only static worker and is connected to no database, so it is in the
 * way of nothing.  It owns every start and restart: probes and schedulers are
 * never restarted by the postmaster, so that a database that is gone, a role
 * that cannot connect or an error at start cannot become a loop; what ends badly
 * is started again after 1 to 60 seconds.
 *
 * All it knows is on the board of registry.c, so one launcher may end and the
 * next adopts the schedulers that run.  pg_database is read at start, after
 * SIGHUP, when told that it has changed, and every five minutes; a database is
 * probed when it is new, when a statement on extensions in it has committed, and
 * at the five-minute pass.
 */
#include "worker/worker_internal.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#define LAUNCHER_RESTART_S 5
#define PASS_MS (5 * 60 * 1000)	/* look everywhere again */
#define NO_SLOT_MS 5000			/* try again when max_worker_processes was used up */
#define START_MS 10000			/* a requested process should be there by then */

static BackgroundWorkerHandle *handles[MA_MAX_DATABASES][MA_NUM_PROCESSES];
static List *unvisited = NIL;	/* databases of this pass without a slot yet (OIDs) */

static int	turn(bool reloaded, int64 *next_pass);
static void list_databases(MemoryContext context, bool full);
static List *read_databases(MemoryContext context);
static bool database_allowed(const char *name, List *allowed, bool all);
static void enter_databases(List *databases, bool full, MemoryContext context);
static void enter_unvisited(void);
static void check_starts(void);
static int	next_to_probe(void);
static bool probe_runs(void);
static bool wants_scheduler(MaSlot *slot);
static bool wants_helper(MaSlot *slot);
static void start(int slot, MaProcessKind kind);
static void no_slot(int slot, MaProcessKind kind, Oid database);
static int	pause_until(int64 next_pass);

/* Registers the launcher with the postmaster; only while preloading. */
void
ma_launcher_register(void)
{
	BackgroundWorker worker = {
		.bgw_name = MA_LAUNCHER_NAME,
		.bgw_type = MA_LAUNCHER_NAME,
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = LAUNCHER_RESTART_S,
		.bgw_library_name = MA_EXTENSION,
		.bgw_function_name = "ma_launcher_main",
	};

	RegisterBackgroundWorker(&worker);
}

void
ma_worker_init(void)
{
	ma_registry_init();
	ma_wake_init();
	ma_dbevents_init();
	ma_launcher_register();
}

void
ma_launcher_main(Datum arg)
{
	MemoryContext context;
	int64		next_pass = 0;

	ma_launcher_attach();
	ma_process_signals(false);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	ma_process_settings(MA_LAUNCHER_NAME);
	context = AllocSetContextCreate(TopMemoryContext, "marketing_automation launcher turn",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		bool		reloaded = ma_process_interrupts();
		int			pause;

		MemoryContextSwitchTo(context);
		pause = turn(reloaded, &next_pass);
		MemoryContextReset(context);
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) pgstat_report_stat(false);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 pause, ma_wait_event());
		ResetLatch(MyLatch);
	}
}

/* One look at everything; returns the milliseconds until the next. */
static int
turn(bool reloaded, int64 *next_pass)
{
	int64		now = ma_monotonic_ms();
	bool		full = reloaded || now >= *next_pass;
	int			slot;

	if (pg_atomic_exchange_u32(&ma_registry->list_wanted, 0) != 0 || full)
		list_databases(CurrentMemoryContext, full);
	if (full)
		*next_pass = now + PASS_MS;

	check_starts();
	if (!probe_runs())
	{
		enter_unvisited();
		slot = next_to_probe();
		if (slot >= 0)
			start(slot, MA_PROCESS_PROBE);
	}
	for (slot = 0; slot < MA_MAX_DATABASES; slot++)
	{
		bool		wanted;
		bool		helper;

		LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
		helper = wants_helper(&ma_registry->slots[slot]);
		wanted = wants_scheduler(&ma_registry->slots[slot]);
		LWLockRelease(ma_registry_lock);
		if (handles[slot][MA_PROCESS_PROBE] != NULL)
			continue;
		if (wanted && handles[slot][MA_PROCESS_SCHEDULER] == NULL)
			start(slot, MA_PROCESS_SCHEDULER);
		if (helper && handles[slot][MA_PROCESS_HELPER] == NULL)
			start(slot, MA_PROCESS_HELPER);
	}
	return pause_until(*next_pass);
}

/* ---- which databases there are ---- */

/* Reads pg_database and enters what may have workers; `full`: look into all again. */
static void
list_databases(MemoryContext context, bool full)
{
	List	   *databases;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "listing databases");
	databases = read_databases(context);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	enter_databases(databases, full, context);
}

/* OIDs, in the given context, of the databases that may have workers. */
static List *
read_databases(MemoryContext context)
{
	static int64 logged = 0;
	List	   *databases = NIL;
	List	   *allowed = NIL;
	char	   *names = pstrdup(ma_guc_databases ? ma_guc_databases : "");
	bool		all = strcmp(names, "*") == 0;
	Relation	catalog;
	TableScanDesc scan;
	HeapTuple	tuple;

	if (!all && !SplitIdentifierString(names, ',', &allowed) && ma_log_allowed(&logged))
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid list of names in parameter \"%s\"",
						"marketing_automation.databases"),
				 errhint("No workers run until it is set to *, or to names separated by commas.")));

	(void) GetTransactionSnapshot();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (database->datallowconn && !database->datistemplate &&
			database->datconnlimit != DATCONNLIMIT_INVALID_DB &&
			database_allowed(NameStr(database->datname), allowed, all))
		{
			MemoryContext previous = MemoryContextSwitchTo(context);

			databases = lappend_oid(databases, database->oid);
			MemoryContextSwitchTo(previous);
		}
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	return databases;
}

static bool
database_allowed(const char *name, List *allowed, bool all)
{
	ListCell   *cell;

	foreach(cell, allowed)
		if (strcmp((char *) lfirst(cell), name) == 0 || strcmp((char *) lfirst(cell), "*") == 0)
			return true;
	return all;
}

/* Brings the slots up to date with the list; a slot that is not on it ends. */
static void
enter_databases(List *databases, bool full, MemoryContext context)
{
	ListCell   *cell;

	list_free(unvisited);
	unvisited = NIL;
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MA_MAX_DATABASES; i++)
		ma_registry->slots[i].listed = false;
	foreach(cell, databases)
	{
		MaSlot	   *slot = ma_slot_find(lfirst_oid(cell));

		if (slot == NULL)
			continue;
		slot->listed = true;
		if (full || slot->state == MA_SLOT_UNKNOWN)
			slot->probe_wanted = true;
	}
	LWLockRelease(ma_registry_lock);

	/* The rest gets slots one by one, as probes make room. */
	MemoryContextSwitchTo(TopMemoryContext);
	foreach(cell, databases)
		if (ma_slot_find(lfirst_oid(cell)) == NULL)
			unvisited = lappend_oid(unvisited, lfirst_oid(cell));
	MemoryContextSwitchTo(context);
}

/* Gives the next database of the list a slot. */
static void
enter_unvisited(void)
{
	static int64 logged = 0;
	MaSlot	   *slot;

	if (unvisited == NIL)
		return;
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	slot = ma_slot_claim(linitial_oid(unvisited));
	if (slot != NULL)
	{
		slot->listed = true;
		slot->probe_wanted = true;
	}
	LWLockRelease(ma_registry_lock);
	if (slot == NULL && ma_log_allowed(&logged))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s runs in at most %d databases of a server",
						MA_EXTENSION, MA_MAX_DATABASES),
				 errhint("Name those that matter in marketing_automation.databases.")));
	unvisited = slot == NULL ? NIL : list_delete_first(unvisited);
}

/* ---- starting and watching ---- */

/*
 * Finds processes that have ended: some did so before they came to our code.  A
 * handle is kept until the postmaster has freed the place of its process, or the
 * next start would find no free one where there is one in a moment.
 */
static void
check_starts(void)
{
	for (int i = 0; i < MA_MAX_DATABASES; i++)
		for (int j = 0; j < MA_NUM_PROCESSES; j++)
		{
			MaSlot	   *slot = &ma_registry->slots[i];
			MaProcess  *process = &slot->process[j];
			pid_t		pid;

			if (handles[i][j] == NULL ||
				GetBackgroundWorkerPid(handles[i][j], &pid) != BGWH_STOPPED)
				continue;
			LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
			if (process->starting)
			{
				process->starting = false;
				slot->failures++;
				slot->next_start = ma_monotonic_ms() + ma_backoff_ms(slot->failures);
			}
			if (j == MA_PROCESS_PROBE && !process->answered)
				slot->probe_wanted = true;
			LWLockRelease(ma_registry_lock);
			pfree(handles[i][j]);
			handles[i][j] = NULL;
		}
}

/* Probes go one at a time. */
static bool
probe_runs(void)
{
	bool		runs = false;

	LWLockAcquire(ma_registry_lock, LW_SHARED);
	for (int i = 0; i < MA_MAX_DATABASES; i++)
	{
		MaProcess  *probe = &ma_registry->slots[i].process[MA_PROCESS_PROBE];

		runs |= probe->pid != 0 || probe->starting || handles[i][MA_PROCESS_PROBE] != NULL;
	}
	LWLockRelease(ma_registry_lock);
	return runs;
}

static int
next_to_probe(void)
{
	int			found = -1;
	int64		now = ma_monotonic_ms();

	LWLockAcquire(ma_registry_lock, LW_SHARED);
	for (int i = 0; i < MA_MAX_DATABASES && found < 0; i++)
	{
		MaSlot	   *slot = &ma_registry->slots[i];

		if (slot->listed && slot->probe_wanted && slot->blocked == 0 && slot->next_start <= now)
			found = i;
	}
	LWLockRelease(ma_registry_lock);
	return found;
}

/*
 * Should a scheduler be started here now?  Not before a probe that is due has
 * answered.  Ends one that should not run, and frees a slot that nobody needs.
 * Called with the lock held.
 */
static bool
wants_scheduler(MaSlot *slot)
{
	MaProcess  *scheduler = &slot->process[MA_PROCESS_SCHEDULER];
	bool		ready = slot->listed && slot->blocked == 0 && slot->state == MA_SLOT_READY;

	if (pg_atomic_read_u32(&slot->database) == InvalidOid)
		return false;
	if (scheduler->pid != 0 || scheduler->starting)
	{
		if ((!ready || scheduler->role != slot->role) && !scheduler->stop)
			ma_process_stop(scheduler);
		return false;
	}
	if (!slot->listed && slot->blocked == 0 && !ma_slot_has_process(slot))
		ma_slot_free(slot);
	return ready && !slot->probe_wanted && slot->next_start <= ma_monotonic_ms();
}

/*
 * Should a helper be started here now?  It is asked for by the scheduler, or by a
 * commit, and ends by itself.  Called with the lock held.
 */
static bool
wants_helper(MaSlot *slot)
{
	MaProcess  *helper = &slot->process[MA_PROCESS_HELPER];
	bool		ready = slot->listed && slot->blocked == 0 && slot->state == MA_SLOT_READY;

	if (pg_atomic_read_u32(&slot->database) == InvalidOid || ma_helper() == NULL)
		return false;
	if (helper->pid != 0 || helper->starting)
	{
		if ((!ready || helper->role != slot->role) && !helper->stop)
			ma_process_stop(helper);
		return false;
	}
	return ready && !slot->probe_wanted && slot->next_start <= ma_monotonic_ms() &&
		pg_atomic_read_u32(&slot->helper_wanted) != 0;
}

/* Requests a process for a slot. */
static void
start(int slot_number, MaProcessKind kind)
{
	MaSlot	   *slot = &ma_registry->slots[slot_number];
	MaProcess  *process = &slot->process[kind];
	bool		is_probe = (kind == MA_PROCESS_PROBE);
	MaLaunch	launch = {.slot = slot_number, .kind = kind};
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = MA_EXTENSION,
		.bgw_notify_pid = MyProcPid,
	};
	MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	process->starting = true;
	process->stop = false;
	process->answered = false;
	process->role = is_probe ? InvalidOid : slot->role;
	if (is_probe)
		slot->probe_wanted = false;
	launch.generation = ++process->generation;
	launch.database = pg_atomic_read_u32(&slot->database);
	launch.role = process->role;
	LWLockRelease(ma_registry_lock);

	if (kind == MA_PROCESS_HELPER)
	{
		pg_atomic_write_u32(&slot->helper_wanted, 0);
		strlcpy(worker.bgw_library_name, ma_helper()->library, BGW_MAXLEN);
	}
	strlcpy(worker.bgw_name, is_probe ? MA_PROBE_NAME :
			kind == MA_PROCESS_HELPER ? ma_helper()->name : MA_SCHEDULER_NAME, BGW_MAXLEN);
	strlcpy(worker.bgw_type, worker.bgw_name, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, is_probe ? "ma_probe_main" :
			kind == MA_PROCESS_HELPER ? ma_helper()->function : "ma_scheduler_main", BGW_MAXLEN);
	StaticAssertStmt(sizeof(MaLaunch) <= BGW_EXTRALEN, "MaLaunch does not fit");
	memcpy(worker.bgw_extra, &launch, sizeof(launch));
	if (RegisterDynamicBackgroundWorker(&worker, &handles[slot_number][kind]))
		slot->no_slot = false;
	else
		no_slot(slot_number, kind, launch.database);
	MemoryContextSwitchTo(context);
}

/* The server has no free worker process: says so once, and tries again later. */
static void
no_slot(int slot_number, MaProcessKind kind, Oid database)
{
	static int64 logged = 0;
	MaSlot	   *slot = &ma_registry->slots[slot_number];
	bool		is_new;

	handles[slot_number][kind] = NULL;
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	slot->process[kind].starting = false;
	is_new = !slot->no_slot;
	slot->no_slot = true;
	slot->next_start = ma_monotonic_ms() + NO_SLOT_MS;
	if (kind == MA_PROCESS_PROBE)
		slot->probe_wanted = true;
	else if (kind == MA_PROCESS_HELPER)
		pg_atomic_write_u32(&slot->helper_wanted, 1);
	LWLockRelease(ma_registry_lock);
	if (!is_new || !ma_log_allowed(&logged))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("%s: no free background worker for the database with OID %u",
					MA_LAUNCHER_NAME, database),
			 errhint("Increase max_worker_processes; it is tried again every %d seconds.",
					 NO_SLOT_MS / 1000)));
}

/* Milliseconds until something falls due; starts and ends of processes wake us. */
static int
pause_until(int64 next_pass)
{
	int64		now = ma_monotonic_ms();
	int64		until = next_pass;

	LWLockAcquire(ma_registry_lock, LW_SHARED);
	for (int i = 0; i < MA_MAX_DATABASES; i++)
	{
		MaSlot	   *slot = &ma_registry->slots[i];
		MaProcess  *scheduler = &slot->process[MA_PROCESS_SCHEDULER];

		if (!slot->listed || slot->blocked > 0)
			continue;
		if (slot->probe_wanted || (slot->state == MA_SLOT_READY && scheduler->pid == 0 &&
								   !scheduler->starting))
			until = Min(until, Max(slot->next_start, now + 100));
		if (scheduler->starting || slot->process[MA_PROCESS_HELPER].starting)
			until = Min(until, now + START_MS);
		if (pg_atomic_read_u32(&slot->helper_wanted) != 0 && slot->state == MA_SLOT_READY &&
			slot->process[MA_PROCESS_HELPER].pid == 0)
			until = Min(until, Max(slot->next_start, now + 100));
	}
	LWLockRelease(ma_registry_lock);
	return (int) Max(until - now, 10);
}
