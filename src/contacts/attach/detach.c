/*
 * detach.c
 *		marketing.detach() and marketing.detach_all(): a table is the user's alone
 *		again.
 *
 * Nothing is taken away that something else still reads: an event that a segment,
 * score or journey depends on, or a source of contacts whose ids another table's
 * events name.  The triggers go with the last definition that needs them, made
 * and dropped as the caller, whose table it is.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"
#include "worker/worker.h"

/* What is to go, by number and by name: definitions are read anew on the way. */
typedef struct Removal
{
	List	   *event_sources;	/* int */
	List	   *tables;			/* int: tables that may be unused afterwards */
	List	   *names;			/* char *: for the answer */
	int32		source_id;		/* contact source, or 0 */
} Removal;

static char *detach(MaCall *call, Oid relid, const char *event);
static char *detach_table(MaCall *call, MaTable *table, const char *event);
static int32 gone_table(const RangeVar *name);
static char *detach_gone(MaCall *call, int32 table_id, const char *event);
static char *detach_all(MaCall *call);
static void require_all_tables(void);
static void choose(Removal *removal, MaDefinitions *definitions, MaTable *table, const char *event);
static const char *name_of(const MaEventSource *source);
static void no_such_event(MaDefinitions *definitions, MaTable *table,
						  const char *event) pg_attribute_noreturn();
static void refuse_if_watched(MaDefinitions *definitions, const MaEventSource *source);
static void refuse_if_referenced(MaDefinitions *definitions, const Removal *removal);
static void remove_event_sources(List *ids);
static void remove_contact_source(int32 source_id);
static bool drop_unused(MaCall *call, List *table_ids, int32 table_id);
static void drop_strays(MaCall *call);
static char *joined(List *names);

MA_FUNCTION(ma_detach);
MA_FUNCTION(ma_detach_by_name);
MA_FUNCTION(ma_detach_all);

/* marketing.detach(relation, event) */
Datum
ma_detach(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	Oid			relid;
	char	   *event = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *answer;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
	relid = PG_GETARG_OID(0);
	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("A table that was dropped is detached by its name.")));
	ma_require_ownership(relid);
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, detach(&call, relid, event));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/*
 * marketing.detach(relation, event), the table by its name: also one that was
 * dropped, of which nothing but the definitions is left.
 */
Datum
ma_detach_by_name(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	RangeVar   *name;
	Oid			relid;
	int32		gone = 0;
	char	   *event = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *answer;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
	name = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	relid = RangeVarGetRelid(name, NoLock, true);
	if (OidIsValid(relid))
		ma_require_ownership(relid);
	else
		gone = gone_table(name);
	ma_call_begin(&call);
	if (OidIsValid(relid))
		answer = detach(&call, relid, event);
	else
		answer = detach_gone(&call, gone, event);
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Number of the attached table of this name that is not there any more and was the caller's. */
static int32
gone_table(const RangeVar *name)
{
	MaTable    *found = NULL;
	ListCell   *cell;

	foreach(cell, ma_definitions()->tables)
	{
		MaTable    *table = lfirst(cell);

		if (OidIsValid(table->relid) || strcmp(table->name, name->relname) != 0 ||
			(name->schemaname != NULL && strcmp(table->schema, name->schemaname) != 0))
			continue;
		if (found != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_ALIAS),
					 errmsg("attached tables called \"%s\" are gone from several schemas",
							name->relname),
					 errhint("Name the schema, such as %s.",
							 quote_qualified_identifier(table->schema, table->name))));
		found = table;
	}
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist, and none of this name was attached",
						name->schemaname ? psprintf("%s.%s", name->schemaname, name->relname) :
						name->relname)));
	ma_require_right_on_lost(found, GetUserId());
	return found->id;
}

static char *
detach_gone(MaCall *call, int32 table_id, const char *event)
{
	MaTable    *table;

	ma_event_definitions_lock();
	table = ma_table_by_id(ma_definitions(), table_id);
	if (table == NULL || OidIsValid(table->relid))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the table was attached or detached meanwhile"),
				 errhint("Try again.")));
	return detach_table(call, table, event);
}

void
ma_require_right_on_lost(const MaTable *table, Oid role)
{
	Oid			owner = get_role_oid(table->owner, true);

	if ((OidIsValid(owner) && has_privs_of_role(role, owner)) ||
		has_privs_of_role(role, ma_extension_required()->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("attached table %s is not there",
					quote_qualified_identifier(table->schema, table->name)),
			 errdetail("What was defined on it stays that of the role it belonged to."),
			 errhint("Only its owner and the owner of the extension may remove its definitions or attach another table in its place.")));
}

/* marketing.detach_all() */
Datum
ma_detach_all(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	require_all_tables();
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, detach_all(&call));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* One event, or all events and the contacts of a table; returns the answer. */
static char *
detach(MaCall *call, Oid relid, const char *event)
{
	MaTable    *table;

	ma_event_definitions_lock();
	table = ma_attached_table(ma_definitions(), relid);
	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not attached", get_rel_name(relid)),
				 get_rel_relispartition(relid) ?
				 errhint("It is a partition: detach the partitioned table.") : 0));
	if (!OidIsValid(table->relid))
		ma_require_right_on_lost(table, call->caller.userid);
	return detach_table(call, table, event);
}

static char *
detach_table(MaCall *call, MaTable *table, const char *event)
{
	MaDefinitions *definitions = ma_definitions();
	const char *name = OidIsValid(table->relid) ? get_rel_name(table->relid) : table->name;
	Removal		removal = {0};
	int32		table_id;
	bool		dropped;

	choose(&removal, definitions, table, event);
	table_id = table->id;
	refuse_if_referenced(definitions, &removal);

	remove_event_sources(removal.event_sources);
	remove_contact_source(removal.source_id);
	ma_definitions_changed();
	ma_tell_attached();
	dropped = drop_unused(call, removal.tables, table_id);
	if (removal.names == NIL)
		return psprintf("table %s stays attached: events of other tables need it",
						quote_identifier(name));
	return psprintf("detached %s of table %s%s", joined(removal.names), quote_identifier(name),
					dropped ? "" : ", which stays attached");
}

static char *
detach_all(MaCall *call)
{
	MaDefinitions *definitions;
	Removal		removal = {0};
	List	   *sources = NIL;
	ListCell   *cell;

	ma_event_definitions_lock();
	definitions = ma_definitions();
	foreach(cell, definitions->tables)
	{
		MaTable    *table = lfirst(cell);

		removal.source_id = 0;
		choose(&removal, definitions, table, NULL);
		removal.tables = list_append_unique_int(removal.tables, table->id);
		if (removal.source_id != 0)
			sources = lappend_int(sources, removal.source_id);
	}
	remove_event_sources(removal.event_sources);
	foreach(cell, sources)
		remove_contact_source(lfirst_int(cell));
	ma_definitions_changed();
	(void) drop_unused(call, removal.tables, 0);
	drop_strays(call);
	return psprintf("detached %d table%s", list_length(removal.tables),
					list_length(removal.tables) == 1 ? "" : "s");
}

/* The caller must own every attached table, and must have owned those that are gone. */
static void
require_all_tables(void)
{
	ListCell   *cell;

	foreach(cell, ma_definitions()->tables)
	{
		MaTable    *table = lfirst(cell);

		if (OidIsValid(table->relid))
			ma_require_ownership(table->relid);
		else
			ma_require_right_on_lost(table, GetUserId());
	}
}

/* Adds to the removal what of this table is to go; refuses what is in use. */
static void
choose(Removal *removal, MaDefinitions *definitions, MaTable *table, const char *event)
{
	bool		found = false;
	ListCell   *cell;
	ListCell   *lookup;

	removal->tables = list_append_unique_int(removal->tables, table->id);
	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (source->table != table || (event != NULL && strcmp(event, name_of(source)) != 0))
			continue;
		found = true;
		refuse_if_watched(definitions, source);
		removal->event_sources = lappend_int(removal->event_sources, source->id);
		removal->names = lappend(removal->names, pstrdup(name_of(source)));
		if (source->via_table != NULL)
			removal->tables = list_append_unique_int(removal->tables, source->via_table->id);
		foreach(lookup, source->lookups)
			removal->tables = list_append_unique_int(removal->tables,
													 ((MaLookup *) lfirst(lookup))->table->id);
	}
	if (event != NULL)
	{
		if (!found)
			no_such_event(definitions, table, event);
		return;
	}
	foreach(cell, definitions->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table != table)
			continue;
		removal->source_id = source->id;
		removal->names = lappend(removal->names, psprintf("contacts \"%s\"", source->name));
	}
}

/* The event's name, or for event_column that of the column. */
static const char *
name_of(const MaEventSource *source)
{
	return source->event ? source->event->name : source->event_column;
}

static void
no_such_event(MaDefinitions *definitions, MaTable *table, const char *event)
{
	List	   *names = NIL;
	ListCell   *cell;
	char	   *nearest;

	foreach(cell, definitions->event_sources)
		if (((MaEventSource *) lfirst(cell))->table == table)
			names = lappend(names, (char *) name_of(lfirst(cell)));
	nearest = ma_nearest(event, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_EVENT),
			 errmsg("event \"%s\" is not attached to table \"%s\"", event, table->name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 names ? errhint("Attached are %s.", joined(names)) : 0));
}

/* Refuses to remove the rows of an event that something depends on. */
static void
refuse_if_watched(MaDefinitions *definitions, const MaEventSource *source)
{
	ListCell   *cell;

	foreach(cell, definitions->events)
	{
		MaEvent    *event = lfirst(cell);
		char	   *watchers;

		if (!list_member_ptr(ma_event_sources(definitions, event), source))
			continue;
		ma_require_unused("event", event->name);
		watchers = event->set_grade || event->row_grade ? ma_event_watchers(event->id) : NULL;
		if (watchers != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("event \"%s\" of table \"%s\" is in use", event->name,
							source->table->name),
					 errdetail("Depending on it: %s.", watchers),
					 errhint("Drop or change what depends on it first.")));
	}
}

/* Refuses to remove contacts whose ids the events of another table name. */
static void
refuse_if_referenced(MaDefinitions *definitions, const Removal *removal)
{
	List	   *names = NIL;
	ListCell   *cell;

	if (removal->source_id == 0)
		return;
	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (source->contact_source != NULL && source->contact_source->id == removal->source_id &&
			!list_member_int(removal->event_sources, source->id))
			names = lappend(names, psprintf("\"%s\" of table \"%s\"", name_of(source),
											source->table->name));
	}
	if (names != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("contacts \"%s\" are in use",
						ma_source_by_id(definitions, removal->source_id)->name),
				 errdetail("Events that name them: %s.", joined(names)),
				 errhint("Detach those first.")));
}

static void
remove_event_sources(List *ids)
{
	static MaStatement remove = {
		"WITH lookups AS (DELETE FROM marketing_internal.event_lookup "
		"WHERE event_source_id OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM marketing_internal.event_source "
		"WHERE event_source_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	ListCell   *cell;

	foreach(cell, ids)
	{
		Datum		value = Int32GetDatum(lfirst_int(cell));

		ma_run(&remove, &value, NULL, MA_RUN_WRITE);
	}
}

/* Removes the source and its keys; its contacts are left to the worker. */
static void
remove_contact_source(int32 source_id)
{
	static MaStatement remove_keys = {
		"WITH gone AS (DELETE FROM marketing_internal.contact_key "
		"WHERE source_id OPERATOR(pg_catalog.=) $1 RETURNING contact_id) "
		"INSERT INTO marketing_internal.dirty (xid, contact_id) "
		"SELECT DISTINCT pg_catalog.pg_current_xact_id(), contact_id FROM gone",
		1, {INT4OID}
	};
	static MaStatement remove_source = {
		"DELETE FROM marketing_internal.contact_source "
		"WHERE source_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(source_id);

	if (source_id == 0)
		return;
	if (ma_run(&remove_keys, &value, NULL, MA_RUN_WRITE_LATEST).n > 0)
		ma_worker_wake_at_commit();
	ma_run(&remove_source, &value, NULL, MA_RUN_WRITE);
}

/* Drops the triggers of tables that nothing needs any more; true if table_id was one. */
static bool
drop_unused(MaCall *call, List *table_ids, int32 table_id)
{
	bool		dropped = false;
	ListCell   *cell;

	foreach(cell, table_ids)
		if (ma_table_detach_if_unused(call, lfirst_int(cell)) && lfirst_int(cell) == table_id)
			dropped = true;
	return dropped;
}

/*
 * Drops capture triggers that no definition knew of: of a table that got another
 * name and another owner at once, or of a copy of a table.  Others' tables are
 * left alone; a trigger there does nothing.
 */
static void
drop_strays(MaCall *call)
{
	static MaStatement strays = {
		"SELECT tgrelid, tgname FROM pg_catalog.pg_trigger "
		"WHERE tgfoid OPERATOR(pg_catalog.=) $1 AND tgparentid OPERATOR(pg_catalog.=) 0 "
		"ORDER BY tgrelid, tgname",
		1, {OIDOID}
	};
	Datum		value = ObjectIdGetDatum(ma_extension_required()->capture_function);
	MaRows		rows = ma_run(&strays, &value, NULL, MA_RUN_READ_LATEST);
	MaIdentity	ignored;

	ma_become_back(&call->caller);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Oid			relid = (Oid) ma_int32(&rows, i, 1);

		if (object_ownercheck(RelationRelationId, relid, GetUserId()))
			ma_run_once(psprintf("DROP TRIGGER %s ON %s", quote_identifier(ma_text(&rows, i, 2)),
								 ma_relation_name(relid)),
						0, NULL, NULL, NULL, MA_RUN_WRITE);
	}
	ma_become_owner(&ignored);
}

static char *
joined(List *names)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, names)
		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", (char *) lfirst(cell));
	return text.data;
}
