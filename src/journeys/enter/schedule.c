/*
 * schedule.c
 *		Entries by a schedule: pg_cron calls enter_scheduled(), which lets the audience ask
 *		to enter.
 *
 * The job is made in cron.c.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/catalog.h"
#include "journeys/engine.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

/* Those of a portion whom the filter lets in. */
typedef struct Audience
{
	MaVersion  *version;
	Datum		row;
	int64		n;
} Audience;

static void take_fitting(const int64 *ids, int n, void *arg);
static void ask(Audience *audience, const int64 *ids, int n);

MA_FUNCTION(ma_enter_scheduled);

/* enter_scheduled(name) */
Datum
ma_enter_scheduled(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Audience	audience = {0};
	MaJourney  *journey;
	StringInfoData row;
	char	   *name;
	char	   *answer;
	MaCall		call;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ma_call_begin(&call);
	journey = ma_journey_required(name);
	audience.version = ma_journey_current(ma_journeys(), journey->id);
	if (audience.version == NULL || audience.version->program->schedule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_JOURNEY_NOT_ACTIVE),
				 errmsg("journey \"%s\" has no active entry by a schedule", name)));
	initStringInfo(&row);
	appendStringInfoString(&row, "{\"schedule\": ");
	escape_json(&row, audience.version->program->schedule);
	appendStringInfoChar(&row, '}');
	audience.row = DirectFunctionCall1(jsonb_in, CStringGetDatum(row.data));
	if (journey->closed != NULL)
		answer = psprintf("%s: unchanged: it is %s", name, journey->closed);
	else
	{
		if (audience.version->program->scheduled != NULL)
		{
			int			n;
			int64	   *ids = ma_segment_members_now(audience.version->program->scheduled, &n);

			ask(&audience, ids, n);
		}
		else
			ma_contacts_each(0, MA_RUN_READ_LATEST, take_fitting, &audience);
		answer = psprintf("%s: contacts that ask to enter: " INT64_FORMAT, name, audience.n);
	}
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* The filter is asked again when they enter; this is for those it would only refuse. */
static void
take_fitting(const int64 *ids, int n, void *arg)
{
	Audience   *audience = arg;
	MaContactChange *contacts = ma_read_contacts_as(ids, n, MA_RUN_READ_LATEST);
	MaTruth    *truth = palloc0_array(MaTruth, n);
	int64	   *fitting = palloc_array(int64, n);
	int			count = 0;

	ma_rule_evaluate(ma_version_filter(audience->version), contacts, n, ma_now(),
					 MA_RUN_READ_LATEST, truth);
	for (int i = 0; i < n; i++)
		if (truth[i].truth)
			fitting[count++] = ids[i];
	ask(audience, fitting, count);
}

static void
ask(Audience *audience, const int64 *ids, int n)
{
	Datum	   *rows = palloc_array(Datum, Max(n, 1));

	for (int i = 0; i < n; i++)
		rows[i] = audience->row;
	ma_journey_enroll(audience->version->journey_id, ids, n, rows);
	audience->n += n;
}
