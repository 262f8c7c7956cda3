/*
 * triggers.c
 *		Attaching a user's table: may it be attached, its number, and the capture
 *		triggers on it and its partitions.
 *
 * The triggers are the caller's objects on the caller's table: they are made with
 * the caller's rights, so that nobody can attach what is not his, and they depend
 * on the extension, so that DROP EXTENSION removes them without CASCADE.  The row
 * trigger is cloned to partitions by PostgreSQL; statement triggers are not, so
 * each partition gets a TRUNCATE trigger of its own.
 *
 * The strong lock that CREATE TRIGGER needs comes last, after every check, and is
 * waited for no longer than two seconds: behind it all other users of the table
 * would queue.
 */
#include "base/base.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "contacts/contacts_internal.h"
#include "contacts/events.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define ROW_TRIGGER "marketing_capture"
#define TRUNCATE_TRIGGER "marketing_truncate"
#define DEFAULT_LOCK_TIMEOUT "2s"

/* What a trigger of ours on a relation is like. */
typedef enum TriggerState
{
	TRIGGER_MISSING,
	TRIGGER_FOREIGN,			/* the name is taken by somebody else's trigger */
	TRIGGER_STALE,				/* ours, but with another number */
	TRIGGER_OFF,				/* disabled, or for replicas only */
	TRIGGER_OTHER_MODE,			/* fires, but not on_replica as wanted */
	TRIGGER_FINE
} TriggerState;

static void refuse(const char *table, const char *detail, const char *hint) pg_attribute_noreturn();
static void check_partitions(Oid relid);
static int32 table_number(Oid relid, bool on_replica);
static void lock_partitions(Oid relid);
static bool ensure_trigger(Oid relid, const char *name, int32 table_id, bool on_replica);
static TriggerState trigger_state(Oid relid, const char *name, int32 table_id, bool on_replica);
static void make_trigger(Oid relid, const char *name, int32 table_id, bool on_replica);
static void enable_trigger(Oid relid, const char *name, bool on_replica);
static void drop_trigger(Oid relid, const char *name);
static char *name_in_sql(Oid relid);
static bool is_used(int32 table_id);

static void
refuse(const char *table, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_MA_NOT_ATTACHABLE),
			 errmsg("table \"%s\" cannot be attached", table),
			 errdetail_internal("%s", detail),
			 hint ? errhint("%s", hint) : 0));
}

/* Checks as the caller, before anything is locked or written; see contacts_internal.h. */
void
ma_table_check_attachable(Oid relid)
{
	Relation	relation;
	char	   *name;

	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	ma_require_ownership(relid);
	relation = relation_open(relid, AccessShareLock);
	name = RelationGetRelationName(relation);
	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		refuse(name, "It is not an ordinary or partitioned table.",
			   "Attach the table that the rows are stored in.");
	if (relation->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		refuse(name, "It is a temporary or unlogged table.", NULL);
	if (IsSystemRelation(relation) ||
		RelationGetNamespace(relation) == ma_extension_required()->internal_schema)
		refuse(name, "It belongs to the system or to this extension.", NULL);
	if (relation->rd_rel->relispartition)
		refuse(name, "It is a partition.", "Attach the partitioned table.");
	if (relation->rd_rel->relforcerowsecurity)
		refuse(name, "Row level security is forced on its owner too, as whom it is read: rows that a policy hides from him would be missing.",
			   psprintf("Use ALTER TABLE %s NO FORCE ROW LEVEL SECURITY.", name_in_sql(relid)));
	check_partitions(relid);
	relation_close(relation, NoLock);
}

/* Partitions must be local tables of the caller; inheritance without partitions is refused. */
static void
check_partitions(Oid relid)
{
	List	   *all = find_all_inheritors(relid, AccessShareLock, NULL);
	bool		partitioned = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;
	ListCell   *cell;

	if (!partitioned && list_length(all) > 1)
		refuse(get_rel_name(relid), "Other tables inherit from it.",
			   "Attach the tables one by one, or use partitions.");
	foreach(cell, all)
	{
		Oid			partition = lfirst_oid(cell);

		if (get_rel_relkind(partition) == RELKIND_FOREIGN_TABLE)
			refuse(get_rel_name(relid),
				   psprintf("Its partition \"%s\" is a foreign table, whose changes cannot be seen.",
							get_rel_name(partition)), NULL);
		ma_require_ownership(partition);
	}
}

bool
ma_table_is_captured(Oid relid, int32 table_id, bool on_replica)
{
	ListCell   *cell;

	if (trigger_state(relid, ROW_TRIGGER, table_id, on_replica) != TRIGGER_FINE)
		return false;
	foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
		if (trigger_state(lfirst_oid(cell), TRUNCATE_TRIGGER, table_id, on_replica) != TRIGGER_FINE)
			return false;
	return true;
}

int32
ma_table_attach(MaCall *call, Oid relid, bool on_replica, bool *unseen)
{
	MaIdentity	ignored;
	MaTable    *known;
	int32		table_id;
	List	   *all;
	ListCell   *cell;

	ma_tables_heal();
	/* By number or, without its triggers, by name; with the name go all its definitions. */
	known = ma_attached_table(ma_definitions(), relid);
	if (known != NULL && !OidIsValid(known->relid))
		ma_require_right_on_lost(known, call->caller.userid);
	known = ma_table_by_relid(ma_definitions(), relid);
	on_replica |= known != NULL && known->on_replica;
	table_id = table_number(relid, on_replica);

	/* From here as the caller: his table, his right to make a trigger. */
	ma_become_back(&call->caller);
	ma_table_lock_writers(relid);
	*unseen = ensure_trigger(relid, ROW_TRIGGER, table_id, on_replica);
	all = find_all_inheritors(relid, NoLock, NULL);
	foreach(cell, all)
		(void) ensure_trigger(lfirst_oid(cell), TRUNCATE_TRIGGER, table_id, on_replica);
	ma_become_owner(&ignored);

	ma_definitions_changed();
	return table_id;
}

/* Finds or makes the row of attached_table; a stale one of this name is taken over. */
static int32
table_number(Oid relid, bool on_replica)
{
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.attached_table AS a "
		"(schema_name, table_name, owner_name, on_replica) VALUES ($1, $2, $3, $4) "
		"ON CONFLICT (schema_name, table_name) DO UPDATE "
		"SET owner_name = EXCLUDED.owner_name, on_replica = EXCLUDED.on_replica "
		"RETURNING a.table_id",
		4, {TEXTOID, TEXTOID, TEXTOID, BOOLOID}
	};
	Datum		values[4];
	MaRows		rows;

	values[0] = CStringGetTextDatum(get_namespace_name(get_rel_namespace(relid)));
	values[1] = CStringGetTextDatum(get_rel_name(relid));
	values[2] = CStringGetTextDatum(GetUserNameFromId(ma_relation_owner(relid), false));
	values[3] = BoolGetDatum(on_replica);
	rows = ma_run(&upsert, values, NULL, MA_RUN_WRITE_LATEST);
	return ma_int32(&rows, 0, 1);
}

/* Locks table and partitions against writers, for at most lock_timeout, else two seconds. */
void
ma_table_lock_writers(Oid relid)
{
	MemoryContext context = CurrentMemoryContext;
	int			nest_level = NewGUCNestLevel();

	if (LockTimeout == 0)
		(void) set_config_option("lock_timeout", DEFAULT_LOCK_TIMEOUT, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		lock_partitions(relid);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table \"%s\" within %d ms",
						get_rel_name(relid), LockTimeout),
				 errdetail("Another transaction uses the table; its writers must end first."),
				 errhint("Try again when the table is less busy, or set lock_timeout to wait longer.")));
	}
	PG_END_TRY();
	AtEOXact_GUC(true, nest_level);
}

static void
lock_partitions(Oid relid)
{
	LockRelationOid(relid, ShareRowExclusiveLock);
	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table was dropped while it was to be locked")));
	(void) find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
}

/* Sees to it that the trigger is there and fires; true if changes went unseen until now. */
static bool
ensure_trigger(Oid relid, const char *name, int32 table_id, bool on_replica)
{
	TriggerState state = trigger_state(relid, name, table_id, on_replica);

	switch (state)
	{
		case TRIGGER_FINE:
			return false;
		case TRIGGER_FOREIGN:
			ereport(ERROR,
					(errcode(ERRCODE_MA_NAME_IN_USE),
					 errmsg("table \"%s\" has a trigger \"%s\" that is not ours",
							get_rel_name(relid), name),
					 errhint("Rename that trigger.")));
			break;
		case TRIGGER_OFF:
		case TRIGGER_OTHER_MODE:
			enable_trigger(relid, name, on_replica);
			return state == TRIGGER_OFF;
		case TRIGGER_STALE:
			drop_trigger(relid, name);
			break;
		case TRIGGER_MISSING:
			break;
	}
	make_trigger(relid, name, table_id, on_replica);
	return true;
}

static TriggerState
trigger_state(Oid relid, const char *name, int32 table_id, bool on_replica)
{
	Relation	relation = table_open(relid, NoLock);
	TriggerState state = TRIGGER_MISSING;
	char		wanted = on_replica ? TRIGGER_FIRES_ALWAYS : TRIGGER_FIRES_ON_ORIGIN;

	for (int i = 0; relation->trigdesc != NULL && i < relation->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &relation->trigdesc->triggers[i];

		if (strcmp(trigger->tgname, name) != 0)
			continue;
		if (trigger->tgfoid != ma_extension_required()->capture_function)
			state = TRIGGER_FOREIGN;
		else if (trigger->tgnargs != 1 ||
				 strcmp(trigger->tgargs[0], psprintf("%d", table_id)) != 0)
			state = TRIGGER_STALE;
		else if (trigger->tgenabled == wanted)
			state = TRIGGER_FINE;
		else if (trigger->tgenabled == TRIGGER_DISABLED ||
				 trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA)
			state = TRIGGER_OFF;
		else
			state = TRIGGER_OTHER_MODE;
	}
	table_close(relation, NoLock);
	return state;
}

static void
make_trigger(Oid relid, const char *name, int32 table_id, bool on_replica)
{
	char	   *table = name_in_sql(relid);
	bool		row = strcmp(name, ROW_TRIGGER) == 0;

	(void) ma_run_once(psprintf("CREATE TRIGGER %s AFTER %s ON %s FOR EACH %s "
								"EXECUTE FUNCTION " MA_SCHEMA ".capture('%d')",
								name, row ? "INSERT OR UPDATE OR DELETE" : "TRUNCATE", table,
								row ? "ROW" : "STATEMENT", table_id),
					   0, NULL, NULL, NULL, MA_RUN_WRITE);
	(void) ma_run_once(psprintf("ALTER TRIGGER %s ON %s DEPENDS ON EXTENSION " MA_EXTENSION,
								name, table),
					   0, NULL, NULL, NULL, MA_RUN_WRITE);
	if (on_replica)
		enable_trigger(relid, name, on_replica);
}

static void
enable_trigger(Oid relid, const char *name, bool on_replica)
{
	(void) ma_run_once(psprintf("ALTER TABLE %s ENABLE %s TRIGGER %s", name_in_sql(relid),
								on_replica ? "ALWAYS" : "", name),
					   0, NULL, NULL, NULL, MA_RUN_WRITE);
}

static void
drop_trigger(Oid relid, const char *name)
{
	(void) ma_run_once(psprintf("DROP TRIGGER %s ON %s", name, name_in_sql(relid)),
					   0, NULL, NULL, NULL, MA_RUN_WRITE);
}

static char *
name_in_sql(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

bool
ma_table_detach_if_unused(MaCall *call, int32 table_id)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.attached_table WHERE table_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	MaTable    *table = ma_table_by_id(ma_definitions(), table_id);
	Oid			relid = table ? table->relid : InvalidOid;
	Datum		value = Int32GetDatum(table_id);

	if (is_used(table_id))
		return false;
	if (OidIsValid(relid))
	{
		static const char *const names[] = {ROW_TRIGGER, TRUNCATE_TRIGGER};
		MaIdentity	ignored;
		ListCell   *cell;

		ma_become_back(&call->caller);
		ma_table_lock_writers(relid);
		foreach(cell, find_all_inheritors(relid, NoLock, NULL))
			for (int i = 0; i < lengthof(names); i++)
			{
				TriggerState state = trigger_state(lfirst_oid(cell), names[i], table_id, false);

				/* A partition's row trigger goes with that of its parent. */
				if (state != TRIGGER_MISSING && state != TRIGGER_FOREIGN &&
					(i == 1 || lfirst_oid(cell) == relid))
					drop_trigger(lfirst_oid(cell), names[i]);
			}
		ma_become_owner(&ignored);
	}
	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return true;
}

/* True while a source or an event refers to the table. */
static bool
is_used(int32 table_id)
{
	static MaStatement used = {
		"SELECT EXISTS (SELECT FROM marketing_internal.contact_source "
		"WHERE table_id OPERATOR(pg_catalog.=) $1) "
		"OR EXISTS (SELECT FROM marketing_internal.event_source "
		"WHERE table_id OPERATOR(pg_catalog.=) $1 OR via_table_id OPERATOR(pg_catalog.=) $1) "
		"OR EXISTS (SELECT FROM marketing_internal.event_lookup "
		"WHERE table_id OPERATOR(pg_catalog.=) $1)",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(table_id);
	MaRows		rows = ma_run(&used, &value, NULL, MA_RUN_READ_LATEST);

	return ma_bool(&rows, 0, 1);
}
