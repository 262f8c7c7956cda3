/*
 * process.c
 *		What launcher, probe and scheduler have in common: signals, settings, and
 *		what is looked at after each wait.
 *
 * SIGTERM has die() as handler: a process of ours stands in SQL most of the time,
 * and only die() ends a statement or a lock wait.  Where a process is idle it
 * looks at the flag itself and ends without a FATAL line in the log.  The exit
 * code is 1 in both cases: the postmaster then restarts the launcher, and the
 * launcher restarts a scheduler; at a shutdown neither happens.
 *
 * The helper is different: between what it has claimed and what has become of it a
 * statement must not be interrupted, so there SIGTERM only sets a flag, which is
 * looked at where nothing is under way; its statements are short.
 *
 * SIGUSR1 keeps the handler of a connected background worker: it takes part in
 * barriers and sets the latch.
 */
#include "worker/worker_internal.h"

#include <signal.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"

static bool session_ends = false;	/* its user has cancelled CALL work() */
static bool is_gentle = false;	/* a helper: a cancel costs a tick and ends nothing */

void
ma_process_signals(bool gently)
{
	is_gentle = gently;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, gently ? SignalHandlerForShutdownRequest : die);
	BackgroundWorkerUnblockSignals();
}

/*
 * Settings of a database or role are meant for its users, not for us: what could
 * stop or slow a worker is pinned.  statement_timeout is not armed in background
 * workers; the scheduler arms a bound of its own.
 */
void
ma_process_settings(const char *name)
{
	static const char *const pinned[][2] = {
		{"jit", "off"},
		{"max_parallel_workers_per_gather", "0"},
		{"max_parallel_maintenance_workers", "0"},
		{"statement_timeout", "0"},
		{"transaction_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"lock_timeout", "1s"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"search_path", "pg_catalog, pg_temp"},
	};

	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_OVERRIDE);
	for (int i = 0; i < lengthof(pinned); i++)
		if (GetConfigOption(pinned[i][0], true, false) != NULL)
			SetConfigOption(pinned[i][0], pinned[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

void
ma_exit_with_server(void)
{
	if (!PostmasterIsAlive())
		proc_exit(1);
}

/*
 * To be called where nothing is under way: acts on SIGTERM, barriers, SIGHUP and
 * a stop request.  A cancel request has nothing to cancel here.  Returns true when
 * the configuration has been read again.
 */
bool
ma_process_interrupts(void)
{
	bool		reloaded;

	if (ProcDiePending || ShutdownRequestPending)
		proc_exit(1);
	reloaded = ma_process_reload();
	if (ma_process_should_stop())
		proc_exit(0);
	return reloaded;
}

bool
ma_process_reload(void)
{
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

bool
ma_worker_is_ending(void)
{
	return ProcDiePending || (QueryCancelPending && !is_gentle) || session_ends ||
		ShutdownRequestPending || ma_process_should_stop();
}

void
ma_session_set_ending(bool ending)
{
	session_ends = ending;
}

uint32
ma_wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = ma_wait_event_new("MarketingAutomationWait");
	return event;
}
