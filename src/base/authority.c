/*
 * authority.c
 *		"Armed": may this very database send to real servers?
 *
 * A copy of a shop's database holds the same customers and the same queue, and
 * must not send to them a second time.  So real delivery needs an act of a human,
 * marketing.arm(), which is bound to this one copy by a fingerprint of where its
 * data lies: the server's system identifier, the OID of the database, the path of
 * the data directory, and the inode numbers of that directory, of its `global` and
 * of its `base` directory.  A restored dump, a copy by CREATE DATABASE ... TEMPLATE,
 * a base backup or standby, and a file-level copy differ in at least one of them
 * and are disarmed until somebody arms them.  So is a cluster after pg_upgrade,
 * which has a new system identifier, and one whose files have been moved.
 *
 * The limit: a snapshot of a whole machine or volume that runs elsewhere under
 * the same path is equal in all of these and cannot be told apart from here.
 *
 * The row is not dumped: a dump restored into the very database it came from is
 * an older state of its queue, and sending that again is what this prevents.
 *
 * A set clock and an armed database exclude each other, and a clock that got set
 * all the same disarms.
 */
#include "base/base.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/fmgrprotos.h"

#define SHA256_BYTES 32

MA_FUNCTION(ma_arm);
MA_FUNCTION(ma_disarm);

static const char *fingerprint(void);
static void append_inode(StringInfo into, const char *path);
static void require_owner(const char *function);
static text *describe(const char *state);

/*
 * Hexadecimal SHA-256 of where this database's data lies.  Nothing of it can
 * change while the server runs, so it is taken once.
 */
static const char *
fingerprint(void)
{
	static char result[SHA256_BYTES * 2 + 1] = "";
	char		path[PATH_MAX];
	StringInfoData facts;
	Datum		input;
	bytea	   *digest;

	if (result[0] != '\0')
		return result;
	if (realpath(DataDir, path) == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not resolve the path of the data directory \"%s\": %m", DataDir)));
	initStringInfo(&facts);
	appendStringInfo(&facts, UINT64_FORMAT " %u %s", GetSystemIdentifier(), MyDatabaseId, path);
	append_inode(&facts, ".");
	append_inode(&facts, "global");
	append_inode(&facts, "base");
	input = PointerGetDatum(cstring_to_text_with_len(facts.data, facts.len));
	digest = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, input));
	Assert(VARSIZE_ANY_EXHDR(digest) == SHA256_BYTES);
	(void) hex_encode(VARDATA_ANY(digest), SHA256_BYTES, result);
	result[SHA256_BYTES * 2] = '\0';
	return result;
}

/* The inode number of a path below the data directory, which is where we are. */
static void
append_inode(StringInfo into, const char *path)
{
	struct stat status;

	if (stat(path, &status) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not look at \"%s\" in the data directory: %m", path)));
	appendStringInfo(into, " " UINT64_FORMAT, (uint64) status.st_ino);
}

bool
ma_armed(void)
{
	static MaStatement statement = {
		"SELECT fingerprint FROM marketing_internal.authority",
		0
	};
	MaIdentity	caller;
	MaRows		rows;
	bool		armed;

	if (ma_extension() == NULL || ma_clock_is_set())
		return false;
	ma_spi_begin();
	ma_become_owner(&caller);
	rows = ma_run(&statement, NULL, NULL, MA_RUN_READ_LATEST);
	armed = rows.n == 1 && strcmp(ma_text(&rows, 0, 1), fingerprint()) == 0;
	ma_become_back(&caller);
	ma_spi_end();
	return armed;
}

static void
require_owner(const char *function)
{
	if (!has_privs_of_role(GetUserId(), ma_extension_required()->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for marketing.%s()", function),
				 errdetail("Only the owner of the extension decides whether real messages are sent.")));
}

/* marketing.arm() */
Datum
ma_arm(PG_FUNCTION_ARGS)
{
	static MaStatement statement = {
		"INSERT INTO marketing_internal.authority AS a (armed_at, armed_by, fingerprint)"
		" VALUES (pg_catalog.now(), $1, $2)"
		" ON CONFLICT (only_row) DO UPDATE SET armed_at = excluded.armed_at,"
		" armed_by = excluded.armed_by, fingerprint = excluded.fingerprint",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2];
	MaCall		call;

	require_owner("arm");
	if (ma_clock_is_set())
		ereport(ERROR,
				(errcode(ERRCODE_MA_ARMED),
				 errmsg("delivery cannot be armed while a test clock is set"),
				 errhint("Run SELECT marketing.set_clock(NULL) first.")));
	values[0] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	values[1] = CStringGetTextDatum(fingerprint());
	ma_call_begin(&call);
	(void) ma_run(&statement, values, NULL, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(describe("armed"));
}

/* marketing.disarm() */
Datum
ma_disarm(PG_FUNCTION_ARGS)
{
	static MaStatement statement = {"DELETE FROM marketing_internal.authority", 0};
	MaCall		call;

	require_owner("disarm");
	ma_call_begin(&call);
	(void) ma_run(&statement, NULL, NULL, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(describe("disarmed"));
}

/* "armed: database shop on host db1", for the human who has to be sure. */
static text *
describe(const char *state)
{
	char		host[256];

	if (gethostname(host, sizeof(host)) != 0)
		strlcpy(host, "unknown", sizeof(host));
	host[sizeof(host) - 1] = '\0';
	return cstring_to_text(psprintf("%s: database \"%s\" on host \"%s\", data directory \"%s\"",
									state, get_database_name(MyDatabaseId), host, DataDir));
}
