/*
 * status.c
 *		Rows of marketing.status about segments: only what somebody should look at.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"

static char *progress_of(const MaSegment *segment);
static void put_drift(ReturnSetInfo *result, const MaSegments *all);

MA_FUNCTION(ma_segment_status);

/* How far a build has come, by the numbers of contacts. */
static char *
progress_of(const MaSegment *segment)
{
	static MaStatement read = {
		"SELECT s.built_to, COALESCE((SELECT pg_catalog.max(c.contact_id) "
		"FROM marketing_internal.contact AS c), 0) FROM marketing_internal.segment AS s "
		"WHERE s.segment_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(segment->id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ);
	int64		last = rows.n == 1 ? ma_int64(&rows, 0, 2) : 0;

	return psprintf("Up to contact %s of %s; until it is live, reads compute its members.",
					ma_grouped(rows.n == 1 ? ma_int64(&rows, 0, 1) : 0), ma_grouped(last));
}

/* What the audit found since the segment was built last. */
static void
put_drift(ReturnSetInfo *result, const MaSegments *all)
{
	static MaStatement read = {
		"SELECT d.segment_id, pg_catalog.count(*), pg_catalog.min(d.contact_id), "
		"(pg_catalog.array_agg(d.expected ORDER BY d.contact_id))[1], pg_catalog.min(d.found_at) "
		"FROM marketing_internal.segment_drift AS d GROUP BY d.segment_id ORDER BY d.segment_id"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
		for (int j = 0; j < all->n; j++)
		{
			int64		n = ma_int64(&rows, i, 2);
			char	   *contact;

			if (all->segments[j]->id != ma_int32(&rows, i, 1))
				continue;
			contact = ma_contact_text(ma_int64(&rows, i, 3));
			ma_status_line(result, psprintf("segment %s", all->segments[j]->name), "error", "drift",
						   psprintf("The audit found %s contact%s stored wrongly, such as %s, who %s in it (first at %s). Look for disabled triggers above; marketing.verify_segment() shows all who are read wrongly, marketing.rebuild_segment() puts it right.",
									ma_grouped(n), n == 1 ? "" : "s", contact ? contact : "one without an id",
									ma_bool(&rows, i, 4) ? "belongs" : "does not belong",
									timestamptz_to_str(ma_int64(&rows, i, 5))));
		}
}

/* marketing_internal.segment_status() */
Datum
ma_segment_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaSegments *all;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	all = ma_segments();
	for (int i = 0; i < all->n; i++)
	{
		MaSegment  *segment = all->segments[i];
		char	   *item = psprintf("segment %s", segment->name);

		if (segment->error != NULL)
			ma_status_line(result, item, "error", segment->rule ? "failing" : "broken",
						   psprintf("%s. It is not maintained and cannot be read. Correct what it reads and run marketing.rebuild_segment(), or define it anew.",
									segment->error));
		else if (segment->building)
			ma_status_line(result, item, "note", "building", progress_of(segment));
	}
	put_drift(result, all);
	ma_call_end(&call);
	return (Datum) 0;
}
