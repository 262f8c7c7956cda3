/*
 * guc.c
 *		All settings of the server's side, in alphabetical order.
 *
 * What belongs to the shop is a row (marketing.configure); a setting stands here
 * only because it protects the server or belongs to one session.  Those that a
 * user could use to get more of the server than his share are SUSET.
 */
#include "base/base.h"

#include <limits.h>

#include "utils/guc.h"

bool		ma_guc_enroll = true;
char	   *ma_guc_credentials_directory = NULL;
char	   *ma_guc_databases = NULL;
int			ma_guc_sync_wait = 50;
int			ma_guc_sync_max_contacts = 64;
int			ma_guc_sync_max_rows = 1000;
int			ma_guc_sync_max_rate = 6000;
bool		ma_guc_sync_serializable = false;
char	   *ma_guc_spool_directory = NULL;
bool		ma_guc_strict = false;
int			ma_guc_build_in_call_rows = 1000000;
char	   *ma_guc_worker_role = NULL;

/* Settings of the server and of whoever writes, by name. */
static void
define_general(void)
{
	DefineCustomIntVariable("marketing_automation.build_in_call_rows",
							"Largest table that attach_contacts reads in the call itself.",
							"The rows of a larger table are read by the worker, batch by batch.",
							&ma_guc_build_in_call_rows, 1000000, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("marketing_automation.credentials_directory",
							   "Directory of the files that option password_file of a server names.",
							   "An absolute path that only the server's user can read; empty: there is none.",
							   &ma_guc_credentials_directory, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("marketing_automation.databases",
							   "Databases in which background workers run.",
							   "A comma-separated list of names; * for all, empty for none.",
							   &ma_guc_databases, "*",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("marketing_automation.enroll",
							 "Whether rows written by this session may start journeys.",
							 "Set to off to load history.",
							 &ma_guc_enroll, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("marketing_automation.spool_directory",
							   "Directory in which the spool writes messages, one folder a database.",
							   "Empty: marketing_automation_spool in the data directory. Relative paths are below that.",
							   &ma_guc_spool_directory, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomBoolVariable("marketing_automation.strict",
							 "Whether an error in the evaluation at commit fails the commit.",
							 "Normally the change is left to the worker and the commit stands.",
							 &ma_guc_strict, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("marketing_automation.worker_role",
							   "Role that background workers connect as.",
							   "Empty: the owner of the extension.",
							   &ma_guc_worker_role, "",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* What a commit may do at most before the rest is left to the worker, by name. */
static void
define_sync(void)
{
	DefineCustomIntVariable("marketing_automation.sync_max_contacts",
							"Contacts that one transaction evaluates at commit at most.",
							"Those of a larger transaction are evaluated by the worker.",
							&ma_guc_sync_max_contacts, 64, 0, 1000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("marketing_automation.sync_max_rate",
							"Evaluations of one contact a minute that a session does at commit at most.",
							"Further changes of that contact in the minute are evaluated by the worker.",
							&ma_guc_sync_max_rate, 6000, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("marketing_automation.sync_max_rows",
							"Row images that one transaction keeps for journeys at most.",
							"Further ones are written to the capture log and read by the worker.",
							&ma_guc_sync_max_rows, 1000, 0, 100000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("marketing_automation.sync_serializable",
							 "Whether SERIALIZABLE transactions evaluate at commit.",
							 "Off by default: the reads would cause serialization failures.",
							 &ma_guc_sync_serializable, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("marketing_automation.sync_wait",
							"Time a commit may spend on locks and evaluation in all.",
							"What is not done by then is left to the worker.",
							&ma_guc_sync_wait, 50, 0, 10000,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* Defines every setting; called once per process from _PG_init. */
void
ma_guc_init(void)
{
	define_general();
	define_sync();
	MarkGUCPrefixReserved("marketing_automation");
}
