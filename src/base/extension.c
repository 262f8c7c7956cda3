/*
 * extension.c
 *		Is the extension installed in this database, who owns it, and have its
 *		definitions changed?
 *
 * The library may be loaded (preloaded, or by a capture trigger) in a database
 * where the extension does not exist, is being created or is being dropped, and
 * a schema of our name may belong to somebody else.  So the state is looked up
 * by extension, never by schema name, is kept until a relcache message says it
 * may be stale, and workers lock the extension before they trust it.
 *
 * The table attached_table serves as proxy for all definitions: whoever changes
 * one sends an invalidation for it, and every cache compares an epoch.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "access/xact.h"

static MaExtension state;
static bool state_known = false;	/* state has been looked up and is not stale */
static bool state_present = false;	/* the extension exists */
static uint64 messages = 0;		/* invalidations heeded, to notice those during a lookup */
static uint64 definitions_epoch = 1;
static uint64 relations_epoch = 1;	/* messages of any relation */

static void look_up(void);
static bool find_objects(MaExtension *found);
static void relcache_callback(Datum arg, Oid relid);
static Oid	extension_field_owner(Oid extension, char **version);

/* Registers the callback; called once per process. */
void
ma_extension_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/* Flags only: a lookup is not allowed while messages are being processed. */
static void
relcache_callback(Datum arg, Oid relid)
{
	relations_epoch++;
	if (!OidIsValid(relid) || !state_known || !state_present ||
		relid == state.definition_table || relid == state.setting_table)
	{
		state_known = false;
		messages++;
		definitions_epoch++;
	}
}

const MaExtension *
ma_extension(void)
{
	if (!state_known)
		look_up();
	return state_present ? &state : NULL;
}

const MaExtension *
ma_extension_required(void)
{
	const MaExtension *extension = ma_extension();

	if (extension == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_NOT_READY),
				 errmsg("extension \"%s\" is not installed in this database", MA_EXTENSION),
				 errhint("Run CREATE EXTENSION %s.", MA_EXTENSION)));
	return extension;
}

Oid
ma_own_table(const char *name)
{
	return get_relname_relid(name, ma_extension_required()->internal_schema);
}

/*
 * Fills `state`, at the end: an error on the way (a lock that is not to be had, a
 * cancel) must not leave a session that takes the extension for absent.  A message
 * that came in while we looked makes the answer good for this once only.
 */
static void
look_up(void)
{
	MaExtension found = {0};
	uint64		before = messages;
	bool		present = find_objects(&found);

	state = found;
	state_present = present;
	state_known = messages == before;
}

/* True if the extension is there; only a complete set of objects counts. */
static bool
find_objects(MaExtension *found)
{
	Oid			schema;

	found->oid = get_extension_oid(MA_EXTENSION, true);
	if (!OidIsValid(found->oid))
		return false;
	found->internal_schema = get_namespace_oid(MA_INTERNAL, true);
	if (!OidIsValid(found->internal_schema))
		return false;
	found->definition_table = get_relname_relid("attached_table", found->internal_schema);
	found->setting_table = get_relname_relid("setting", found->internal_schema);
	/* By the cache: whoever fires our trigger may have no right on the schema. */
	schema = get_namespace_oid(MA_SCHEMA, true);
	found->capture_function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
											  CStringGetDatum("capture"),
											  PointerGetDatum(buildoidvector(NULL, 0)),
											  ObjectIdGetDatum(schema));
	if (!OidIsValid(found->definition_table) || !OidIsValid(found->setting_table) ||
		!OidIsValid(found->capture_function))
		return false;
	found->owner = ma_relation_owner(found->definition_table);
	return OidIsValid(found->owner);
}

/* Owner and version of pg_extension's row; InvalidOid when it is gone. */
static Oid
extension_field_owner(Oid extension, char **version)
{
	Relation	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(catalog, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(catalog), &isnull);

		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		if (version != NULL && !isnull)
			*version = TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return owner;
}

bool
ma_extension_version_fits(char **installed)
{
	const MaExtension *extension = ma_extension();
	char	   *version = NULL;

	if (extension == NULL ||
		!OidIsValid(extension_field_owner(extension->oid, &version)) || version == NULL)
		return false;
	if (installed != NULL)
		*installed = version;
	return strcmp(version, MA_VERSION) == 0;
}

bool
ma_extension_lock(void)
{
	const MaExtension *extension = ma_extension();
	LOCKTAG		tag;

	if (extension == NULL)
		return false;

	/*
	 * DROP EXTENSION holds this lock exclusively to its end.  Not waiting for
	 * it keeps a worker out of the way: its turn is simply over.
	 */
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension->oid, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	extension = ma_extension();
	return extension != NULL && OidIsValid(extension_field_owner(extension->oid, NULL));
}

uint64
ma_relations_epoch(void)
{
	return relations_epoch;
}

uint64
ma_definitions_epoch(void)
{
	return definitions_epoch;
}

void
ma_definitions_expire(void)
{
	definitions_epoch++;
}

void
ma_definitions_changed(void)
{
	const MaExtension *extension = ma_extension_required();

	CacheInvalidateRelcacheByRelid(extension->definition_table);
	CommandCounterIncrement();
	definitions_epoch++;
}
