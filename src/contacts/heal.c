/*
 * heal.c
 *		Keeps the stored names of attached tables and of their owners true.
 *
 * A table is bound by its trigger (binding.c), so a RENAME or a new owner breaks
 * nothing at once; but a table that changed both since we last looked could not
 * be told from a forged one, so we look every minute and at every attach.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"

static bool heal(void);
static List *changed_tables(void);
static void store(const MaTable *table, const char *schema, const char *name, const char *owner);

static const MaDuty heal_duty = {"names of tables", 60000, heal, NULL};

void
ma_heal_init(void)
{
	ma_worker_register_duty(&heal_duty);
}

static bool
heal(void)
{
	MaCall		call;

	ma_call_begin(&call);
	ma_tables_heal();
	ma_call_end(&call);
	return false;
}

void
ma_tables_heal(void)
{
	List	   *changed = changed_tables();
	ListCell   *cell;

	if (changed == NIL)
		return;
	/* Two tables may have swapped names: all move out of the way first. */
	foreach(cell, changed)
	{
		MaTable    *table = lfirst(cell);

		store(table, "", psprintf("%d", table->id), table->owner);
	}
	foreach(cell, changed)
	{
		MaTable    *table = lfirst(cell);

		store(table, get_namespace_name(get_rel_namespace(table->relid)),
			  get_rel_name(table->relid),
			  GetUserNameFromId(ma_relation_owner(table->relid), false));
	}
	ma_definitions_changed();
}

/* Tables that are called or owned otherwise than stored. */
static List *
changed_tables(void)
{
	List	   *changed = NIL;
	ListCell   *cell;

	foreach(cell, ma_definitions()->tables)
	{
		MaTable    *table = lfirst(cell);
		char	   *owner;

		if (!OidIsValid(table->relid))
			continue;
		owner = GetUserNameFromId(ma_relation_owner(table->relid), true);
		if (owner != NULL &&
			(strcmp(owner, table->owner) != 0 ||
			 strcmp(get_rel_name(table->relid), table->name) != 0 ||
			 strcmp(get_namespace_name(get_rel_namespace(table->relid)), table->schema) != 0))
			changed = lappend(changed, table);
	}
	return changed;
}

static void
store(const MaTable *table, const char *schema, const char *name, const char *owner)
{
	static MaStatement update = {
		"UPDATE marketing_internal.attached_table "
		"SET schema_name = $2, table_name = $3, owner_name = $4 "
		"WHERE table_id OPERATOR(pg_catalog.=) $1",
		4, {INT4OID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[4];

	values[0] = Int32GetDatum(table->id);
	values[1] = CStringGetTextDatum(schema);
	values[2] = CStringGetTextDatum(name);
	values[3] = CStringGetTextDatum(owner);
	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
}
