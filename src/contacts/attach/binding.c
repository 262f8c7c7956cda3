/*
 * binding.c
 *		What ties a definition to its table: the capture trigger, whose argument
 *		is the number of the row in attached_table.
 *
 * Names change and OIDs do not survive a dump; a trigger's argument is renamed,
 * dumped and restored with the table.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "contacts/contacts_internal.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static bool is_capture_trigger(HeapTuple tuple, TupleDesc desc, int32 table_id);
static HeapTuple scan_triggers(AttrNumber column, Oid value, Oid index, int32 table_id);

/* True for a row-level trigger of ours whose first argument is the number. */
static bool
is_capture_trigger(HeapTuple tuple, TupleDesc desc, int32 table_id)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	char		wanted[16];
	bool		isnull;
	Datum		arguments;
	bytea	   *bytes;
	bool		matches;

	if (trigger->tgfoid != ma_extension_required()->capture_function ||
		trigger->tgnargs < 1 || !TRIGGER_FOR_ROW(trigger->tgtype))
		return false;
	arguments = heap_getattr(tuple, Anum_pg_trigger_tgargs, desc, &isnull);
	if (isnull)
		return false;
	/* Arguments are stored one after the other, each with its closing zero byte. */
	bytes = DatumGetByteaPP(arguments);
	snprintf(wanted, sizeof(wanted), "%d", table_id);
	matches = VARSIZE_ANY_EXHDR(bytes) >= strlen(wanted) + 1 &&
		memcmp(VARDATA_ANY(bytes), wanted, strlen(wanted) + 1) == 0;
	return matches;
}

/* The first trigger with column = value that is_capture_trigger(); a copy, or NULL. */
static HeapTuple
scan_triggers(AttrNumber column, Oid value, Oid index, int32 table_id)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	HeapTuple	found = NULL;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
	scan = systable_beginscan(catalog, index, true, NULL, 1, &key);
	while (found == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (is_capture_trigger(tuple, RelationGetDescr(catalog), table_id))
			found = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

Oid
ma_capture_trigger(Oid relid, int32 table_id)
{
	HeapTuple	tuple = scan_triggers(Anum_pg_trigger_tgrelid, relid,
									  TriggerRelidNameIndexId, table_id);

	return tuple ? ((Form_pg_trigger) GETSTRUCT(tuple))->oid : InvalidOid;
}

Oid
ma_trigger_table(Oid trigger, int32 table_id)
{
	HeapTuple	tuple = scan_triggers(Anum_pg_trigger_oid, trigger,
									  TriggerOidIndexId, table_id);

	if (tuple == NULL || OidIsValid(((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid))
		return InvalidOid;
	return ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
}
