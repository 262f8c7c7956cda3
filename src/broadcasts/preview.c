/*
 * preview.c
 *		preview_broadcast(): how many would get it, and why the others would not.
 *
 * Each contact of the audience is asked about at the gate (delivery's foresight), at the
 * instant at which it would go to him, as everything is now.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What the gate says to so many. */
typedef struct Verdict
{
	const char *verdict;
	char	   *reason;			/* NULL: none */
	int64		contacts;
} Verdict;

typedef struct Preview
{
	const MaBroadcastRow *row;
	const char *template;
	TimestampTz now;
	MemoryContext context;		/* of the verdicts */
	List	   *verdicts;		/* Verdict * */
} Preview;

static void take_portion(const int64 *ids, int n, void *arg);
static void count(Preview *preview, const MaForeseen *message);
static int	compare(const ListCell *a, const ListCell *b);

MA_FUNCTION(ma_preview_broadcast);

static void
take_portion(const int64 *ids, int n, void *arg)
{
	static MaStatement zones = {
		"SELECT u.n, c.time_zone FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"JOIN marketing_internal.contact AS c ON c.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"WHERE c.time_zone IS NOT NULL",
		1, {INT8ARRAYOID}
	};
	Preview    *preview = arg;
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows = ma_run(&zones, &value, NULL, MA_RUN_READ);
	char	  **zone = palloc0_array(char *, n);

	for (uint64 i = 0; i < rows.n; i++)
		zone[ma_int64(&rows, i, 1) - 1] = ma_text(&rows, i, 2);
	for (int i = 0; i < n; i++)
	{
		TimestampTz at = ma_broadcast_instant(preview->row->parsed, zone[i], preview->now);
		MaForeseen	message = {.template = preview->template, .not_after = DT_NOEND};

		CHECK_FOR_INTERRUPTS();
		ma_spi_begin();
		ma_foresee(ma_foresight(ids[i], zone[i], NULL, at), &message, at);
		count(preview, &message);
		ma_spi_end();
	}
}

static void
count(Preview *preview, const MaForeseen *message)
{
	const char *verdict = message->state == MA_MESSAGE_SENT ? "gets it" :
		message->state == MA_MESSAGE_DEFERRED ? "later" : "does not get it";
	MemoryContext previous;
	Verdict    *added;
	ListCell   *cell;

	foreach(cell, preview->verdicts)
	{
		Verdict    *known = lfirst(cell);

		if (strcmp(known->verdict, verdict) == 0 &&
			(known->reason && message->reason ? strcmp(known->reason, message->reason) == 0 :
			 known->reason == message->reason))
		{
			known->contacts++;
			return;
		}
	}
	previous = MemoryContextSwitchTo(preview->context);
	added = palloc_object(Verdict);
	added->verdict = verdict;
	added->reason = message->reason ? pstrdup(message->reason) : NULL;
	added->contacts = 1;
	preview->verdicts = lappend(preview->verdicts, added);
	MemoryContextSwitchTo(previous);
}

/* Who gets it first, then the most frequent reasons. */
static int
compare(const ListCell *a, const ListCell *b)
{
	const Verdict *left = lfirst(a);
	const Verdict *right = lfirst(b);

	if ((left->reason == NULL) != (right->reason == NULL))
		return left->reason == NULL ? -1 : 1;
	if (left->contacts != right->contacts)
		return left->contacts > right->contacts ? -1 : 1;
	return left->reason == NULL ? 0 : strcmp(left->reason, right->reason);
}

/* preview_broadcast(name) */
Datum
ma_preview_broadcast(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_broadcast_name_argument(fcinfo);
	Preview		preview = {0};
	MaCall		call;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	preview.row = ma_broadcast_required(name);
	preview.template = preview.row->parsed->send ? preview.row->parsed->send :
		((MaVariant *) linitial(preview.row->parsed->test->variants))->template;
	preview.now = ma_now();
	preview.context = CurrentMemoryContext;
	ma_audience_each(preview.row->parsed, call.caller.userid, take_portion, &preview);
	list_sort(preview.verdicts, compare);
	foreach(cell, preview.verdicts)
	{
		const Verdict *verdict = lfirst(cell);
		Datum		values[3] = {0};
		bool		nulls[3] = {false, verdict->reason == NULL, false};

		values[0] = CStringGetTextDatum(verdict->verdict);
		if (verdict->reason != NULL)
			values[1] = CStringGetTextDatum(verdict->reason);
		values[2] = Int64GetDatum(verdict->contacts);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ma_call_end(&call);
	return (Datum) 0;
}
