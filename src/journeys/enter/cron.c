/*
 * cron.c
 *		The jobs of pg_cron that call enter_scheduled().
 *
 * The calendar is pg_cron's; it calls with the rights of who activates the journey, and in
 * the zone of its setting cron.timezone.  Nothing of it is kept here: the job has the
 * journey's name, so that activating again replaces it, whoever does.
 *
 * pg_cron shows and gives each role its own jobs alone, and our own may be another role's,
 * or the owner of the extension may have no right on the schema.  So ours are taken away as
 * the superuser: fixed SQL, and only jobs with our names and our command.  When the
 * extension is dropped the object access hook does it, since nothing of ours is left then
 * that an event trigger could call.
 */
#include "base/base.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "journeys/engine.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define PREFIX "marketing journey "
#define COMMAND "SELECT marketing.enter_scheduled("

static object_access_hook_type previous_hook = NULL;

static bool is_there(void);
static char *job_name(const char *journey);
static void unschedule(void *name);
static void access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
						void *arg);

void
ma_journey_cron_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = access_hook;
}

/* Its table may have gone before it, in the same command. */
static bool
is_there(void)
{
	Oid			schema = get_namespace_oid("cron", true);

	return OidIsValid(get_extension_oid("pg_cron", true)) && OidIsValid(schema) &&
		OidIsValid(get_relname_relid("job", schema));
}

static char *
job_name(const char *journey)
{
	return psprintf(PREFIX "%s", journey);
}

/* The job of this name (char *); NULL: all of ours. */
static void
unschedule(void *name)
{
	static const char *const sql =
		"SELECT cron.unschedule(j.jobid) FROM cron.job AS j "
		"WHERE j.database::pg_catalog.text OPERATOR(pg_catalog.=) pg_catalog.current_database()::pg_catalog.text "
		"AND pg_catalog.starts_with(j.command, '" COMMAND "') "
		"AND CASE WHEN $1 IS NULL THEN pg_catalog.starts_with(j.jobname::pg_catalog.text, '" PREFIX "') "
		"ELSE j.jobname::pg_catalog.text OPERATOR(pg_catalog.=) $1 END";
	Oid			type = TEXTOID;
	Datum		value = name ? CStringGetTextDatum(name) : (Datum) 0;
	int			nest_level = ma_pin_settings();
	MaIdentity	caller;

	ma_spi_begin();
	ma_become_restricted(&caller, BOOTSTRAP_SUPERUSERID);
	XactReadOnly = caller.read_only;
	ma_run_once(sql, 1, &type, &value, name ? NULL : "n", MA_RUN_WRITE_LATEST);
	ma_become_back(&caller);
	ma_spi_end();
	ma_unpin_settings(nest_level);
}

void
ma_journey_schedule(const char *journey, const char *schedule, const MaCall *call)
{
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];
	MaIdentity	us;

	if (is_there())
		unschedule(job_name(journey));
	else if (schedule != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the entry of journey \"%s\" needs pg_cron, which this database does not have",
						journey),
				 errhint("Install postgresql-15-cron, add pg_cron to shared_preload_libraries, set cron.database_name to this database, restart, and CREATE EXTENSION pg_cron.")));
	if (schedule == NULL)
		return;
	ma_become_owner(&us);
	ma_become_back(&call->caller);
	values[0] = CStringGetTextDatum(job_name(journey));
	values[1] = CStringGetTextDatum(schedule);
	values[2] = CStringGetTextDatum(psprintf(COMMAND "%s)", quote_literal_cstr(journey)));
	ma_run_once("SELECT cron.schedule($1, $2, $3)", lengthof(types), types, values, NULL,
				MA_RUN_WRITE_LATEST);
	ma_become_back(&us);
}

/* With the extension its jobs go; what cannot be done must not keep it here. */
static void
access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	ErrorData  *error;
	char	   *name;

	if (previous_hook)
		previous_hook(access, class_id, object_id, sub_id, arg);
	if (access != OAT_DROP || class_id != ExtensionRelationId || !IsTransactionState())
		return;
	name = get_extension_name(object_id);
	if (name == NULL || strcmp(name, MA_EXTENSION) != 0 || !is_there())
		return;
	error = ma_attempt(unschedule, NULL);
	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("the jobs of pg_cron that call marketing.enter_scheduled() are still there: %s",
						error->message),
				 errhint("Remove them: SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname LIKE '%s%%'.",
						 PREFIX)));
}
