/*
 * truncate.c
 *		Sees TRUNCATE of attached tables by the object access hook.
 *
 * Statement triggers are not cloned to partitions, so a TRUNCATE of a partition
 * that was made after attaching fires no trigger of ours.  The hook sees every
 * TRUNCATE in every session that has the library loaded, which preloading
 * guarantees; the triggers remain for the others.  Both only mark.
 */
#include "base/base.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "contacts/changes.h"
#include "contacts/truncate.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

static object_access_hook_type previous_hook = NULL;

static void access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
						void *arg);
static void truncated(Oid relid);

void
ma_truncate_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = access_hook;
}

static void
access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (previous_hook)
		previous_hook(access, class_id, object_id, sub_id, arg);
	if (access == OAT_TRUNCATE && class_id == RelationRelationId && IsTransactionState() &&
		ma_extension() != NULL)
		truncated(object_id);
}

/* Marks the attached table of which this is the root or a partition. */
static void
truncated(Oid relid)
{
	MaDefinitions *definitions;
	ListCell   *cell;
	List	   *roots = list_make1_oid(relid);

	if (relid == ma_extension()->definition_table)
		return;
	definitions = ma_definitions();
	if (get_rel_relispartition(relid))
		roots = list_concat(roots, get_partition_ancestors(relid));
	foreach(cell, roots)
	{
		MaTable    *table = ma_table_by_relid(definitions, lfirst_oid(cell));

		if (table != NULL)
			ma_mark_table(table->id);
	}
}
