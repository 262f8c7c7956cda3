/*
 * entries.c
 *		Points that no row of the users' stands for: add_points(), and steps of journeys.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "scoring/sales/sales.h"
#include "utils/builtins.h"

#define MOST_POINTS 1e12			/* sums of these are far from what a score can be */

MA_FUNCTION(ma_add_points);

void
ma_points_add(const char *model_name, const int64 *contact_ids, int n, float8 points,
			  const char *reason)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.score_entry (contact_id, model_id, at, points, reason) "
		"SELECT u.contact_id, $2, $3, $4, $5 FROM pg_catalog.unnest($1) AS u (contact_id)",
		5, {INT8ARRAYOID, INT4OID, TIMESTAMPTZOID, FLOAT8OID, TEXTOID}
	};
	MaScoreModel *model = ma_score_model_required(model_name);
	Datum		values[5];
	char		nulls[] = "     ";

	values[0] = ma_int8_array(contact_ids, n);
	values[1] = Int32GetDatum(model->id);
	values[2] = TimestampTzGetDatum(ma_now());
	values[3] = Float8GetDatum(points);
	values[4] = reason ? CStringGetTextDatum(reason) : (Datum) 0;
	nulls[4] = reason ? ' ' : 'n';
	ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
	/* The first of its model: from now on all read them.  No row of the model's is locked. */
	if (!model->entries && n > 0)
		ma_definitions_changed();
	for (int i = 0; i < n; i++)
		ma_mark_contact(contact_ids[i]);
}

/* marketing.add_points(contact, model, points, reason) */
Datum
ma_add_points(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_score_name(fcinfo, 1, "model");
	float8	   *points = ma_score_number(fcinfo, 2, "points");
	MaContactChange *contacts;
	MaScoreModel *model;
	TimestampTz now = ma_now();
	MaScore		score;
	int64		contact_id;
	MaCall		call;
	Datum		answer;

	(void) ma_extension_required();
	if (points == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("points must not be null")));
	if (fabs(*points) > MOST_POINTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("points must be between %.0f and %.0f", -MOST_POINTS, MOST_POINTS)));
	ma_call_begin(&call);
	(void) ma_score_model_required(name);
	contact_id = ma_contact_argument_locked(fcinfo, false);
	ma_points_add(name, &contact_id, 1, *points, ma_score_text(fcinfo, 3));
	model = ma_score_model_required(name);
	contacts = ma_read_contacts_as(&contact_id, 1, MA_RUN_READ_LATEST);
	ma_scores_compute(model, contacts, 1, &now, MA_RUN_READ_LATEST, &score);
	MemoryContextSwitchTo(context);
	answer = ma_score_numeric(ma_score_at(model, &score, now));
	ma_call_end(&call);
	PG_RETURN_DATUM(answer);
}
