/*
 * truncate.c
 *		Sees by the object access hook what changes many rows of an attached table
 *		without a trigger: TRUNCATE, and partitions that come or go with their rows.
 *
 * Statement triggers are not cloned to partitions, so a TRUNCATE of a partition
 * that was made after attaching fires no trigger of ours.  The hook sees every
 * TRUNCATE in every session that has the library loaded, which preloading
 * guarantees; the triggers remain for the others.  All only mark, and whether
 * anything depends on the table is seen at the commit.
 */
#include "base/base.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "contacts/capture/changes.h"
#include "contacts/contacts_internal.h"
#include "contacts/capture/truncate.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static object_access_hook_type previous_hook = NULL;

static void access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
						void *arg);
static void dropped(Oid relid);
static bool pruned(Oid relid);
static bool has_rows(Oid relid);
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
	/* Cheap tests first: the hook sees each use of a function or schema as well. */
	if ((access != OAT_TRUNCATE && access != OAT_DROP && access != OAT_POST_ALTER) ||
		(class_id != RelationRelationId && class_id != InheritsRelationId) ||
		!IsTransactionState() || ma_extension() == NULL)
		return;
	if (access == OAT_TRUNCATE && class_id == RelationRelationId)
		truncated(object_id);
	else if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0)
		dropped(object_id);
	else if (access == OAT_POST_ALTER && class_id == InheritsRelationId && arg != NULL)
	{
		/* ATTACH and DETACH PARTITION relay the parent's OID. */
		Oid			parent = ((ObjectAccessPostAlter *) arg)->auxiliary_id;

		if (get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE && has_rows(object_id) &&
			!pruned(object_id))
			truncated(parent);
	}
}

/*
 * A partition goes with its rows.  Our tables may be going in the same command, so
 * nothing of ours is read now; the commit looks whose partition it was.
 */
static void
dropped(Oid relid)
{
	ListCell   *cell;

	if (!get_rel_relispartition(relid) || get_rel_relkind(relid) != RELKIND_RELATION ||
		get_rel_namespace(relid) == ma_extension()->internal_schema || !has_rows(relid))
		return;
	if (pruned(relid))
		return;
	foreach(cell, get_partition_ancestors(relid))
		ma_mark_relation(lfirst_oid(cell));
}

/*
 * True if it is known how old the rows of the partition are that goes; one that is being
 * attached has no bound yet.
 */
static bool
pruned(Oid relid)
{
	TimestampTz before;
	char	   *column;
	ListCell   *cell;

	if (!ma_partition_bound(relid, &column, &before))
		return false;
	foreach(cell, get_partition_ancestors(relid))
		ma_mark_pruned(lfirst_oid(cell), column, before);
	return true;
}

/* Whether the table or any of its partitions takes up space; a new partition is empty. */
static bool
has_rows(Oid relid)
{
	ListCell   *cell;
	bool		result = false;

	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	relation = try_relation_open(lfirst_oid(cell), AccessShareLock);

		if (relation == NULL)
			continue;
		if (RELKIND_HAS_STORAGE(relation->rd_rel->relkind))
			result |= RelationGetNumberOfBlocks(relation) > 0;
		relation_close(relation, NoLock);
	}
	return result;
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

bool
ma_table_is_watched(MaDefinitions *definitions, const MaTable *table)
{
	ListCell   *cell;
	ListCell   *inner;

	if (!OidIsValid(table->relid))
		return false;
	foreach(cell, definitions->sources)
		if (((MaSource *) lfirst(cell))->table == table)
			return true;
	foreach(cell, definitions->events)
	{
		MaEvent    *event = lfirst(cell);

		foreach(inner, event->set_grade ? ma_event_sources(definitions, event) : NIL)
		{
			MaEventSource *source = lfirst(inner);

			if (source != NULL && (source->table == table || source->via_table == table ||
								   ma_source_looks_up(source, table)))
				return true;
		}
	}
	return false;
}
