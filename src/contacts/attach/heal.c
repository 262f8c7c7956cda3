/*
 * heal.c
 *		Keeps the stored names of attached tables and of their owners true.
 *
 * A table is bound by its trigger (binding.c), so a RENAME or a new owner breaks
 * nothing at once; but a table that changed both since we last looked could not
 * be told from a forged one, so we look every minute and at every attach.  Of a
 * table that is not found no message tells when it is back; that is looked for here
 * too.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"

static bool heal(void);
static bool look_for_lost(void);
static int	count_lost(MaDefinitions *definitions);
static List *changed_tables(void);
static void put_aside(MaDefinitions *definitions, const char *schema, const char *name);
static MaTable *stored_as(MaDefinitions *definitions, const char *schema, const char *name);
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
	bool		back = look_for_lost();
	MaDefinitions *definitions = ma_definitions();
	List	   *changed = changed_tables();
	ListCell   *cell;

	if (changed == NIL && !back)
		return;
	foreach(cell, changed)
	{
		Oid			relid = ((MaTable *) lfirst(cell))->relid;

		put_aside(definitions, get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	}
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

/*
 * Looks again for tables that were not found; true if that has changed, so that
 * other sessions are to look, too.
 */
static bool
look_for_lost(void)
{
	int			lost = count_lost(ma_definitions());

	if (lost == 0)
		return false;
	ma_definitions_expire();
	return count_lost(ma_definitions()) != lost;
}

static int
count_lost(MaDefinitions *definitions)
{
	int			lost = 0;
	ListCell   *cell;

	foreach(cell, definitions->tables)
		lost += !OidIsValid(((MaTable *) lfirst(cell))->relid);
	return lost;
}

/*
 * Gives a table that is not found and is stored under this name, which another has
 * now, the next free one like "orders (3)", so that its definitions can still be told.
 */
static void
put_aside(MaDefinitions *definitions, const char *schema, const char *name)
{
	MaTable    *table = stored_as(definitions, schema, name);

	if (table == NULL || OidIsValid(table->relid))
		return;
	do
		name = psprintf("%s (%d)", name, table->id);
	while (stored_as(definitions, schema, name) != NULL);
	store(table, schema, name, table->owner);
}

/* The table that is stored under this name, or NULL. */
static MaTable *
stored_as(MaDefinitions *definitions, const char *schema, const char *name)
{
	ListCell   *cell;

	foreach(cell, definitions->tables)
	{
		MaTable    *table = lfirst(cell);

		if (strcmp(table->schema, schema) == 0 && strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
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
