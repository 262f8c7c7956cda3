/*
 * dbevents.c
 *		Statements that workers must make way for, or hear of.
 *
 * DROP DATABASE, ALTER DATABASE ... RENAME or SET TABLESPACE, and CREATE DATABASE
 * with a database as template fail while anybody is connected to it.  So before
 * such a statement runs, our workers there are asked to end and are kept out
 * until the statement's transaction ends, whichever way (wake.c).  This works
 * from any session of the server, whether or not its database has the extension,
 * because the library is preloaded.
 *
 * DROP and ALTER EXTENSION would only have to wait for the tick under way, but
 * that may be a long one, and an update should not meet old code at work.  So
 * they have the scheduler end in the same way.
 *
 * Only statements that can succeed stop workers: a top-level one, outside a
 * transaction block (but for those that may be in one), of the owner; otherwise
 * anybody could stop another's workers by statements that fail.
 *
 * Changes of extensions are seen by the object access hook, which also sees
 * those that come by CASCADE or DROP OWNED.  They are rare; any of them makes the
 * launcher look into the database again after the commit.
 */
#include "worker/worker_internal.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"

#define STOP_WAIT_MS 5000		/* the statement itself waits five more seconds */
#define STOP_NUDGE_MS 500		/* then a worker gets SIGTERM */
#define STOP_POLL_MS 10

static ProcessUtility_hook_type previous_utility_hook = NULL;
static object_access_hook_type previous_access_hook = NULL;

static void utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc);
static void before_statement(Node *statement);
static void before_alter_database(AlterDatabaseStmt *statement);
static void before_create_database(CreatedbStmt *statement);
static void before_commit_prepared(void);
static const char *option_text(List *options, const char *name);
static void before_extension(const char *name);
static bool drops_extension(DropStmt *statement);
static void make_way_by_name(const char *name, bool dropped);
static void make_way(Oid database, bool dropped);
static bool block(Oid database, pid_t *pids);
static void await(Oid database, const pid_t *pids);
static bool still_there(Oid database, const pid_t *pids);
static void nudge(Oid database);
static void object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg);

/* Chains the hooks; only while preloading. */
void
ma_dbevents_init(void)
{
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	previous_access_hook = object_access_hook;
	object_access_hook = object_access;
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc)
{
	if (context == PROCESS_UTILITY_TOPLEVEL)
		before_statement(pstmt->utilityStmt);
	if (previous_utility_hook)
		previous_utility_hook(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment,
								dest, qc);
}

/* Acts on the few kinds of statement that matter to workers. */
static void
before_statement(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			if (!IsTransactionBlock())
				make_way_by_name(((DropdbStmt *) statement)->dbname, true);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				make_way_by_name(((RenameStmt *) statement)->subname, false);
			break;
		case T_AlterDatabaseStmt:
			before_alter_database((AlterDatabaseStmt *) statement);
			break;
		case T_CreatedbStmt:
			before_create_database((CreatedbStmt *) statement);
			break;
		case T_DropStmt:
			if (drops_extension((DropStmt *) statement))
				before_extension(MA_EXTENSION);
			break;
		case T_AlterExtensionStmt:
			before_extension(((AlterExtensionStmt *) statement)->extname);
			break;
		case T_TransactionStmt:
			if (((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED)
				before_commit_prepared();
			break;
		default:
			break;
	}
}

/* SET TABLESPACE needs the database empty; ALLOW_CONNECTIONS and others the launcher's eye. */
static void
before_alter_database(AlterDatabaseStmt *statement)
{
	if (option_text(statement->options, "tablespace") == NULL)
		ma_wake_list();
	else if (!IsTransactionBlock())
		make_way_by_name(statement->dbname, false);
}

/* The template must be empty; and there will be one more database. */
static void
before_create_database(CreatedbStmt *statement)
{
	const char *source = option_text(statement->options, "template");

	if (!IsTransactionBlock())
		make_way_by_name(source ? source : "template1", false);
	ma_wake_list();
}

/* What the prepared transaction would have told our workers at its commit. */
static void
before_commit_prepared(void)
{
	MaSlot	   *slot = ma_slot_of_database();

	ma_worker_wake_at_commit();
	if (slot == NULL || slot->state != MA_SLOT_READY)
		ma_wake_probe();
}

/* The text of an option, NULL when it is not given or DEFAULT. */
static const char *
option_text(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* DROP or ALTER EXTENSION, if it is ours and the user's. */
static void
before_extension(const char *name)
{
	Oid			extension;

	if (strcmp(name, MA_EXTENSION) != 0)
		return;
	extension = get_extension_oid(name, true);
	if (OidIsValid(extension) && object_ownercheck(ExtensionRelationId, extension, GetUserId()))
		make_way(MyDatabaseId, false);
}

static bool
drops_extension(DropStmt *statement)
{
	ListCell   *cell;

	if (statement->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, statement->objects)
		if (strcmp(strVal(lfirst(cell)), MA_EXTENSION) == 0)
			return true;
	return false;
}

static void
make_way_by_name(const char *name, bool dropped)
{
	Oid			database = name ? get_database_oid(name, true) : InvalidOid;

	if (OidIsValid(database) && object_ownercheck(DatabaseRelationId, database, GetUserId()))
		make_way(database, dropped && database != MyDatabaseId);
}

/* Empties a database of our workers for the rest of this transaction. */
static void
make_way(Oid database, bool dropped)
{
	pid_t		pids[MA_NUM_PROCESSES];

	if (ma_wake_unblock(database, dropped) && block(database, pids))
		await(database, pids);
}

/*
 * Keeps new workers out of the database and asks those that are there to end;
 * false when there is nothing to wait for.  Fills in their process ids.
 */
static bool
block(Oid database, pid_t *pids)
{
	MaSlot	   *slot;
	bool		any = false;

	memset(pids, 0, sizeof(pid_t) * MA_NUM_PROCESSES);
	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	slot = ma_slot_claim(database);
	if (slot != NULL)
	{
		slot->blocked++;
		for (int i = 0; i < MA_NUM_PROCESSES; i++)
		{
			MaProcess  *process = &slot->process[i];

			pids[i] = process->pid;
			any |= process->pid != 0;
			if (process->pid != 0)
				ma_process_stop(process);
		}
	}
	LWLockRelease(ma_registry_lock);
	return any;
}

/*
 * Waits until they are gone; after half a second they get SIGTERM, which also
 * ends a tick.  If they are still there in the end, the statement says so.
 */
static void
await(Oid database, const pid_t *pids)
{
	int64		begun = ma_monotonic_ms();
	bool		nudged = false;

	while (still_there(database, pids) && ma_monotonic_ms() - begun < STOP_WAIT_MS)
	{
		if (!nudged && ma_monotonic_ms() - begun >= STOP_NUDGE_MS)
		{
			nudge(database);
			nudged = true;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 STOP_POLL_MS, ma_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * A worker leaves the board a little before it stops counting as connected, and
 * may be on the board before it does: so both are asked.
 */
static bool
still_there(Oid database, const pid_t *pids)
{
	MaSlot	   *slot;
	bool		there = false;

	LWLockAcquire(ma_registry_lock, LW_SHARED);
	slot = ma_slot_find(database);
	for (int i = 0; slot != NULL && i < MA_NUM_PROCESSES; i++)
		there |= slot->process[i].pid != 0;
	LWLockRelease(ma_registry_lock);
	for (int i = 0; i < MA_NUM_PROCESSES && !there; i++)
	{
		PGPROC	   *proc = pids[i] != 0 ? BackendPidGetProc(pids[i]) : NULL;

		there = proc != NULL && proc->databaseId == database;
	}
	return there;
}

/* SIGTERM to the workers; the lock keeps their process ids from being reused. */
static void
nudge(Oid database)
{
	MaSlot	   *slot;

	LWLockAcquire(ma_registry_lock, LW_EXCLUSIVE);
	slot = ma_slot_find(database);
	for (int i = 0; slot != NULL && i < MA_NUM_PROCESSES; i++)
		if (slot->process[i].pid != 0)
			(void) kill(slot->process[i].pid, SIGTERM);
	LWLockRelease(ma_registry_lock);
}

/* Any change of any extension: have this database looked into at commit. */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (previous_access_hook)
		previous_access_hook(access, class, object, sub, arg);
	if (class == ExtensionRelationId &&
		(access == OAT_POST_CREATE || access == OAT_POST_ALTER || access == OAT_DROP))
		ma_wake_probe();
}
