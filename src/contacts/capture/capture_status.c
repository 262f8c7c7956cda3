/*
 * capture_status.c
 *		Rows about capture for marketing.status: attached tables and whether their
 *		triggers still fire, the logs, and what commits left to the worker.
 *
 * Drift is looked for when somebody looks, from the catalogs, so that what is
 * shown is true now and nothing has to remember it.
 */
#include "base/base.h"

#include "access/relation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "contacts/contacts_internal.h"
#include "funcapi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define COUNT_LIMIT 100000		/* rows of a log that are counted */

static void table_rows(ReturnSetInfo *result, MaDefinitions *definitions);
static bool can_look(const MaTable *table);
static char *drift_of(const MaTable *table);
static char *missing_column(MaDefinitions *definitions, const MaTable *table);
static void source_rows(ReturnSetInfo *result, MaDefinitions *definitions);
static void log_rows(ReturnSetInfo *result);
static void figure_rows(ReturnSetInfo *result);

MA_FUNCTION(ma_capture_status);

/* marketing_internal.capture_status() */
Datum
ma_capture_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaDefinitions *definitions;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	definitions = ma_definitions();
	table_rows(result, definitions);
	source_rows(result, definitions);
	log_rows(result);
	figure_rows(result);
	ma_call_end(&call);
	return (Datum) 0;
}

static void
table_rows(ReturnSetInfo *result, MaDefinitions *definitions)
{
	ListCell   *cell;

	foreach(cell, definitions->tables)
	{
		MaTable    *table = lfirst(cell);
		char	   *item = psprintf("table %s",
									quote_qualified_identifier(table->schema, table->name));
		char	   *drift;

		if (!OidIsValid(table->relid))
		{
			ma_status_line(result, item, "error", "not found",
						   "The table or its trigger is gone. Attach it again, or take off what is left of it with marketing.detach().");
			continue;
		}
		if (!can_look(table))
		{
			ma_status_line(result, item, "note", "locked",
						   "Somebody alters it just now, so its triggers were not looked at.");
			continue;
		}
		drift = drift_of(table);
		if (drift == NULL)
			drift = missing_column(definitions, table);
		ma_status_line(result, item, drift ? "error" : "ok", drift ? "drift" : "attached", drift);
	}
}

/* Locks table and partitions for a look, without waiting behind an ALTER TABLE. */
static bool
can_look(const MaTable *table)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(table->relid, NoLock, NULL))
		if (!ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock))
			return false;
	return true;
}

/* What keeps the table's capture trigger from firing, in words; NULL if nothing does. */
static char *
drift_of(const MaTable *table)
{
	char	   *drift = NULL;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(table->relid, NoLock, NULL))
	{
		Relation	relation = try_relation_open(lfirst_oid(cell), AccessShareLock);
		bool		found = false;

		if (relation == NULL)
			continue;
		for (int i = 0; relation->trigdesc && i < relation->trigdesc->numtriggers; i++)
		{
			Trigger    *trigger = &relation->trigdesc->triggers[i];

			if (trigger->tgfoid != ma_extension_required()->capture_function ||
				!TRIGGER_FOR_ROW(trigger->tgtype))
				continue;
			found = true;
			if (trigger->tgenabled == TRIGGER_DISABLED ||
				trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA)
				drift = psprintf("Trigger %s of %s is disabled: its changes are not seen. Enable it, then attach the table again to have its rows read anew.",
								 trigger->tgname, RelationGetRelationName(relation));
			else if (table->on_replica != (trigger->tgenabled == TRIGGER_FIRES_ALWAYS))
				drift = psprintf("Trigger %s of %s fires %s. Attach the table again.",
								 trigger->tgname, RelationGetRelationName(relation),
								 table->on_replica ? "not on replicas" : "on replicas too");
		}
		if (!found)
			drift = psprintf("Partition %s has no capture trigger. Attach the table again.",
							 RelationGetRelationName(relation));
		relation_close(relation, AccessShareLock);
	}
	return drift;
}

/* A column a definition names and the table does not have. */
static char *
missing_column(MaDefinitions *definitions, const MaTable *table)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, definitions->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table == table)
		{
			char	   *fields[] = {source->key_column, source->email_column, source->phone_column,
			source->time_zone_column, source->locale_column};

			for (int i = 0; i < lengthof(fields); i++)
				if (fields[i] != NULL)
					names = lappend(names, fields[i]);
			names = list_concat(names, source->exclude_columns);
		}
	}
	foreach(cell, definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (source->table != table)
			continue;
		names = lappend(names, source->occurred_column);
		names = lappend(names, source->via_table ? source->via_link_column :
						source->contact_column);
		names = list_concat(names, source->condition_columns);
	}
	foreach(cell, names)
		if (get_attnum(table->relid, lfirst(cell)) <= 0)
			return psprintf("Column \"%s\" is gone: changes wait in the dirty log. Attach again with its new name.",
							(char *) lfirst(cell));
	return NULL;
}

/* Tables whose rows are still being read. */
static void
source_rows(ReturnSetInfo *result, MaDefinitions *definitions)
{
	ListCell   *cell;

	foreach(cell, definitions->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->building)
			ma_status_line(result, psprintf("contacts of %s", source->name), "note", "building",
						   "Existing rows are being read by the worker; new and changed ones count already.");
	}
}

/* Lengths of the two logs and their age. */
static void
log_rows(ReturnSetInfo *result)
{
	static MaStatement count = {
		"SELECT 'dirty log', (SELECT pg_catalog.count(*) FROM "
		"(SELECT FROM marketing_internal.dirty LIMIT $1) AS l), "
		"(SELECT pg_catalog.count(*) FROM marketing_internal.dirty AS d WHERE d.error IS NOT NULL) "
		"UNION ALL SELECT 'captured rows', (SELECT pg_catalog.count(*) FROM "
		"(SELECT FROM marketing_internal.capture_row LIMIT $1) AS l), "
		"(SELECT pg_catalog.count(*) FROM marketing_internal.capture_row AS c WHERE c.error IS NOT NULL)",
		1, {INT4OID}
	};
	Datum		limit = Int32GetDatum(COUNT_LIMIT);
	MaRows		rows = ma_run(&count, &limit, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
	{
		int64		n = ma_int64(&rows, i, 2);
		int64		failed = ma_int64(&rows, i, 3);

		const char *detail = n > 0 ? "They wait for the worker, which evaluates them." : NULL;

		if (failed > 0)
			detail = psprintf(INT64_FORMAT " could not be evaluated and rest; see marketing.errors.",
							  failed);
		ma_status_line(result, ma_text(&rows, i, 1), failed > 0 ? "error" : "ok",
					   psprintf(INT64_FORMAT "%s", n, n == COUNT_LIMIT ? " or more" : ""), detail);
	}
}

/* Figures of this database since the server started. */
static void
figure_rows(ReturnSetInfo *result)
{
	char		message[256];
	int			sqlstate;
	TimestampTz at;

	for (int i = 0; i < MA_NUM_COUNTERS; i++)
		ma_status_line(result, ma_counter_name(i), i == MA_COUNT_ERRORS && ma_counter_value(i) > 0 ? "warning" : "ok",
					   psprintf(INT64_FORMAT, ma_counter_value(i)), NULL);
	if (ma_last_error(&sqlstate, message, sizeof(message), &at))
		ma_status_line(result, "last error", "warning", unpack_sql_state(sqlstate),
					   psprintf("%s: %s", timestamptz_to_str(at), message));
}
