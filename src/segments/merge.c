/*
 * merge.c
 *		Lists when contacts are merged and split: who is on a list stays on it under
 *		the number his contact has now.
 *
 * A row that moves notes for whom it was added, so a split takes back what came with
 * that contact and no more.  Where both were on the list, each keeps his row: that of
 * the contact that ceased counts for nobody until it comes back.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"

static void merged(int64 contact_id, int64 merged_id);
static void split(int64 contact_id, int64 split_id);

static const MaContactListener listener = {merged, split};

void
ma_segment_merge_init(void)
{
	ma_register_contact_listener(&listener);
}

static void
merged(int64 contact_id, int64 merged_id)
{
	static MaStatement move = {
		"UPDATE marketing_internal.list_member AS m SET contact_id = $1, "
		"added_as = COALESCE(m.added_as, m.contact_id) "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $2 AND NOT EXISTS ("
		"SELECT FROM marketing_internal.list_member AS o "
		"WHERE o.list_id OPERATOR(pg_catalog.=) m.list_id "
		"AND o.contact_id OPERATOR(pg_catalog.=) $1)",
		2, {INT8OID, INT8OID}
	};
	Datum		values[2];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(merged_id);
	ma_run(&move, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
split(int64 contact_id, int64 split_id)
{
	static MaStatement move = {
		"UPDATE marketing_internal.list_member AS m SET contact_id = $2, "
		"added_as = NULLIF(m.added_as, $2) "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND m.added_as OPERATOR(pg_catalog.=) ANY ($3) AND NOT EXISTS ("
		"SELECT FROM marketing_internal.list_member AS o "
		"WHERE o.list_id OPERATOR(pg_catalog.=) m.list_id "
		"AND o.contact_id OPERATOR(pg_catalog.=) $2)",
		3, {INT8OID, INT8OID, INT8ARRAYOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(split_id);
	values[2] = ma_contact_with_merged(split_id);
	ma_run(&move, values, NULL, MA_RUN_WRITE_LATEST);
}
