/*
 * probe.c
 *		A short-lived process that looks whether a database has the extension.
 *
 * The launcher is connected to no database and cannot see pg_extension, so it
 * sends one probe after the other.  A probe connects as the bootstrap superuser,
 * looks by the extension's name (a schema called marketing proves nothing), says
 * which role a scheduler should connect as and whether that role can, and ends.
 * Finding this out beforehand spares the log a FATAL line for each vain try.
 */
#include "worker/worker_internal.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* What a probe found out. */
typedef struct Finding
{
	MaSlotState state;
	Oid			role;
	char		reason[MA_REASON];
	char		database[NAMEDATALEN];
} Finding;

static void look(Finding *finding);
static void judge_role(const MaRows *rows, Finding *finding);
static void report(const Finding *finding);

void
ma_probe_main(Datum arg)
{
	MaLaunch	launch;
	Finding		finding = {MA_SLOT_ABSENT, InvalidOid, "", ""};

	if (!ma_process_attach(&launch))
		proc_exit(0);
	ma_process_signals(false);
	BackgroundWorkerInitializeConnectionByOid(launch.database, InvalidOid, 0);
	ma_process_settings(MA_PROBE_NAME);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	look(&finding);
	PopActiveSnapshot();
	CommitTransactionCommand();
	report(&finding);
	proc_exit(0);
}

/* Reads the extension's row and the role the workers are to use. */
static void
look(Finding *finding)
{
	static MaStatement statement = {
		"SELECT r.oid, r.rolname, r.rolcanlogin,"
		" pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')"
		" FROM pg_catalog.pg_extension AS e"
		" JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()"
		" LEFT JOIN pg_catalog.pg_authid AS r"
		" ON CASE WHEN $1 = '' THEN r.oid = e.extowner ELSE r.rolname = $1 END"
		" WHERE e.extname = '" MA_EXTENSION "'",
		1, {TEXTOID}
	};
	Datum		values[1];
	MaRows		rows;

	strlcpy(finding->database, get_database_name(MyDatabaseId), NAMEDATALEN);
	values[0] = CStringGetTextDatum(ma_guc_worker_role ? ma_guc_worker_role : "");
	ma_spi_begin();
	rows = ma_run(&statement, values, NULL, MA_RUN_READ);
	if (rows.n > 0)
		judge_role(&rows, finding);
	ma_spi_end();
}

static void
judge_role(const MaRows *rows, Finding *finding)
{
	bool		isnull;
	Datum		role = ma_value(rows, 0, 1, &isnull);

	finding->state = MA_SLOT_NOT_ACCESSIBLE;
	if (isnull)
		snprintf(finding->reason, MA_REASON,
				 "role \"%s\" of marketing_automation.worker_role does not exist",
				 ma_guc_worker_role);
	else if (MA_WORKER_NEEDS_LOGIN && !ma_bool(rows, 0, 3))
		snprintf(finding->reason, MA_REASON, "role \"%s\" may not log in", ma_text(rows, 0, 2));
	else if (!ma_bool(rows, 0, 4))
		snprintf(finding->reason, MA_REASON, "role \"%s\" has no CONNECT privilege here",
				 ma_text(rows, 0, 2));
	else
	{
		finding->state = MA_SLOT_READY;
		finding->role = DatumGetObjectId(role);
	}
}

/* Writes the finding into the slot; a reason that is new is logged, once. */
static void
report(const Finding *finding)
{
	MaSlot	   *slot = ma_process_slot();
	bool		is_new;

	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	is_new = finding->reason[0] != '\0' && strcmp(slot->reason, finding->reason) != 0;
	slot->state = finding->state;
	slot->role = finding->role;
	slot->failures = 0;
	slot->process[MA_PROCESS_PROBE].answered = true;
	memcpy(slot->reason, finding->reason, MA_REASON);
	LWLockRelease(ma_registry_lock);
	if (is_new)
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("no scheduler of %s can run in database \"%s\": %s", MA_EXTENSION,
						finding->database, finding->reason),
				 errhint("Set marketing_automation.worker_role to a role that can connect.")));
}
