/*
 * unpreloaded.c
 *		What CREATE EXTENSION says on a server that did not preload the library.
 *
 * The server silences notices while an extension's script runs, so the script
 * only asks for the notice, and it is given when the transaction commits: by then
 * the session's own client_min_messages is back, which pg_restore sets higher.
 */
#include "base/base.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "worker/worker_internal.h"

static bool asked = false;		/* in this transaction */

static void tell_at_commit(XactEvent event, void *arg);

MA_FUNCTION(ma_tell_unpreloaded);

/* Called by the last part of the script. */
Datum
ma_tell_unpreloaded(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!registered && ma_registry == NULL)
		RegisterXactCallback(tell_at_commit, NULL);
	registered = true;
	asked = ma_registry == NULL;
	PG_RETURN_VOID();
}

/* Not where a savepoint has taken the extension back, and once only. */
static void
tell_at_commit(XactEvent event, void *arg)
{
	bool		tell = asked && (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE);
	const char *others = shared_preload_libraries_string;

	asked = false;
	if (!tell || ma_extension() == NULL)
		return;
	if (others == NULL)
		others = "";
	ereport(NOTICE,
			(errmsg("extension \"%s\" runs no workers, since its library is not preloaded",
					MA_EXTENSION),
			 errdetail("All else works: changes are seen as they are committed, and CALL marketing.work() does what workers would do."),
			 errhint("For workers set shared_preload_libraries = '%s%s%s' and restart the server.",
					 others, others[0] != '\0' ? ", " : "", MA_EXTENSION)));
}
