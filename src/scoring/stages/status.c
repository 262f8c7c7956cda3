/*
 * status.c
 *		Rows of marketing.status about stages: only what somebody should look at.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "scoring/stages/stages.h"

static char *progress_of(const MaStage *stage);

MA_FUNCTION(ma_stage_status);

/* How far the look at everybody has come, by the numbers of contacts. */
static char *
progress_of(const MaStage *stage)
{
	static MaStatement read = {
		"SELECT COALESCE(s.built_upto, 0), COALESCE((SELECT pg_catalog.max(c.contact_id) "
		"FROM marketing_internal.contact AS c), 0) FROM marketing_internal.stage AS s "
		"WHERE s.stage_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(stage->id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ);

	return psprintf("Up to contact %s of %s; whom it reaches moves, and starts no journey by that.",
					ma_grouped(rows.n == 1 ? ma_int64(&rows, 0, 1) : 0),
					ma_grouped(rows.n == 1 ? ma_int64(&rows, 0, 2) : 0));
}

/* marketing_internal.stage_status() */
Datum
ma_stage_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaStages   *all;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	all = ma_stages();
	for (int i = 0; i < all->n; i++)
	{
		const MaStage *stage = all->stages[i];
		char	   *item = psprintf("stage %s", stage->name);

		if (stage->error != NULL)
			ma_status_line(result, item, "error", "broken",
						   psprintf("%s. Its rule moves nobody. Define it anew with marketing.define_stage().",
									stage->error));
		else if (stage->building)
			ma_status_line(result, item, "note", "building", progress_of(stage));
	}
	ma_call_end(&call);
	return (Datum) 0;
}
