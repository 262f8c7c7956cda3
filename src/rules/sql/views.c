/*
 * views.c
 *		Rule views: each live rule owns an ordinary view of its oracle SQL in schema
 *		marketing_rule, so that what it reads is known to PostgreSQL.
 *
 * A renamed table or column is followed, a dropped one refused with the names, and
 * pg_dump writes tables and views in the right order.  A view may not be a member of
 * the extension (it would not be dumped), so it is made to go with it: a dependency
 * that SQL has a form for with triggers but not with views.  A dump knows nothing of
 * it; the trigger on the list of views, which fires as its rows are restored, makes
 * it again.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "rules/rules_internal.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define RULE_SCHEMA MA_RULE_SCHEMA

static char *view_name(const char *kind, const char *object);
static void ensure_schema(void);
static void bind_object(Oid class, Oid object);
static bool is_bound(Oid class, Oid object, Oid extension);
static void bind_all(void);

MA_FUNCTION(ma_rule_views_bind);

/* Kind and object, cut to what a name may have; long ones end in a hash. */
static char *
view_name(const char *kind, const char *object)
{
	char	   *name = psprintf("%s_%s", kind, object);

	if (strlen(name) >= NAMEDATALEN)
		name = psprintf("%.*s_%08x", pg_mbcliplen(name, strlen(name), NAMEDATALEN - 10), name,
						DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name))));
	return name;
}

static void
ensure_schema(void)
{
	Oid			schema = get_namespace_oid(RULE_SCHEMA, true);

	if (!OidIsValid(schema))
	{
		ma_run_once("CREATE SCHEMA " RULE_SCHEMA, 0, NULL, NULL, NULL, MA_RUN_WRITE);
		ma_run_once("COMMENT ON SCHEMA " RULE_SCHEMA " IS "
					"'Views of marketing_automation: what each rule says, in SQL. Made and dropped with the rules.'",
					0, NULL, NULL, NULL, MA_RUN_WRITE);
		CommandCounterIncrement();
		schema = get_namespace_oid(RULE_SCHEMA, false);
	}
	bind_object(NamespaceRelationId, schema);
}

/* True if the object goes with the extension already. */
static bool
is_bound(Oid class, Oid object, Oid extension)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(class));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		found = row->refclassid == ExtensionRelationId && row->refobjid == extension;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

static void
bind_object(Oid class, Oid object)
{
	const MaExtension *extension = ma_extension_required();
	ObjectAddress depender;
	ObjectAddress referenced;

	if (is_bound(class, object, extension->oid))
		return;
	ObjectAddressSet(depender, class, object);
	ObjectAddressSet(referenced, ExtensionRelationId, extension->oid);
	recordDependencyOn(&depender, &referenced, DEPENDENCY_AUTO_EXTENSION);
	CommandCounterIncrement();
}

void
ma_rule_view_set(const char *kind, const char *object, const MaRule *rule)
{
	ma_rule_view_set_sql(kind, object, ma_rule_sql(rule, MA_SCHEMA ".now()"));
}

void
ma_rule_view_set_sql(const char *kind, const char *object, const char *sql)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.rule_view (view_name, kind, object) VALUES ($1, $2, $3) "
		"ON CONFLICT (view_name) DO NOTHING",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	char	   *name = view_name(kind, object);
	Datum		values[3];

	ensure_schema();
	ma_run_once(psprintf("CREATE OR REPLACE VIEW " RULE_SCHEMA ".%s AS %s", quote_identifier(name),
						 sql),
				0, NULL, NULL, NULL, MA_RUN_WRITE);
	CommandCounterIncrement();
	bind_object(RelationRelationId, get_relname_relid(name, get_namespace_oid(RULE_SCHEMA, false)));
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(kind);
	values[2] = CStringGetTextDatum(object);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_rule_view_drop(const char *kind, const char *object)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.rule_view WHERE view_name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	char	   *name = view_name(kind, object);
	Datum		value = CStringGetTextDatum(name);

	if (ma_rule_view_exists(kind, object))
		ma_run_once(psprintf("DROP VIEW " RULE_SCHEMA ".%s", quote_identifier(name)),
					0, NULL, NULL, NULL, MA_RUN_WRITE);
	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
}

Oid
ma_rule_view_relid(const char *kind, const char *object)
{
	Oid			schema = get_namespace_oid(RULE_SCHEMA, true);

	return OidIsValid(schema) ? get_relname_relid(view_name(kind, object), schema) : InvalidOid;
}

bool
ma_rule_view_exists(const char *kind, const char *object)
{
	return OidIsValid(ma_rule_view_relid(kind, object));
}

/* Binds the schema and every view on the list that is there. */
static void
bind_all(void)
{
	static MaStatement list = {"SELECT view_name FROM marketing_internal.rule_view"};
	Oid			schema = get_namespace_oid(RULE_SCHEMA, true);
	MaRows		rows;

	if (!OidIsValid(schema))
		return;
	bind_object(NamespaceRelationId, schema);
	rows = ma_run(&list, NULL, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Oid			view = get_relname_relid(ma_text(&rows, i, 1), schema);

		if (OidIsValid(view))
			bind_object(RelationRelationId, view);
	}
}

/* Trigger of marketing_internal.rule_view, after each statement that inserts. */
Datum
ma_rule_views_bind(PG_FUNCTION_ARGS)
{
	MaCall		call;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function is a trigger")));
	ma_call_begin(&call);
	bind_all();
	ma_call_end(&call);
	return PointerGetDatum(NULL);
}
