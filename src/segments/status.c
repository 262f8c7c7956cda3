/*
 * status.c
 *		Rows of marketing.status about segments: only what somebody should look at.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"

static void put(ReturnSetInfo *result, const char *item, const char *state, const char *value,
				const char *detail);
static char *progress_of(const MaSegment *segment);

MA_FUNCTION(ma_segment_status);

static void
put(ReturnSetInfo *result, const char *item, const char *state, const char *value,
	const char *detail)
{
	Datum		values[4];
	bool		nulls[4] = {false, false, false, detail == NULL};

	values[0] = CStringGetTextDatum(item);
	values[1] = CStringGetTextDatum(state);
	values[2] = CStringGetTextDatum(value);
	values[3] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

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
			put(result, item, "error", segment->rule ? "failing" : "broken",
				psprintf("%s. It is not maintained and cannot be read. Correct what it reads and run marketing.rebuild_segment(), or define it anew.",
						 segment->error));
		else if (segment->building)
			put(result, item, "note", "building", progress_of(segment));
	}
	ma_call_end(&call);
	return (Datum) 0;
}
