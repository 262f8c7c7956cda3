/*
 * api.c
 *		What people ask about segments: preview, explanation, proof, and the overview.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "portability/instr_time.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define EXAMPLES 5
#define COST_SAMPLE 50			/* contacts whose evaluation is timed */

typedef struct Preview
{
	MaRule	   *rule;
	List	   *unknowns;		/* MaRuleUnknown */
} Preview;

static void put_line(ReturnSetInfo *result, const char *what, char *value);
static void put_cost(ReturnSetInfo *result, MaRule *rule, const int64 *ids, int n,
					 instr_time start);
static void count_unknowns(const int64 *ids, int n, void *arg);
static void put_explained(ReturnSetInfo *result, const MaRuleLine *line);
static void put_kept(ReturnSetInfo *result, const MaSegment *segment, int64 contact_id);
static void put_next_change(ReturnSetInfo *result, MaSegment *segment, int64 contact_id);
static void put_difference(ReturnSetInfo *result, int64 contact_id, bool stored);
static void put_overview(ReturnSetInfo *result, MaSegment *segment);

MA_FUNCTION(ma_preview_segment);
MA_FUNCTION(ma_segment_rule);
MA_FUNCTION(ma_segment_sql);
MA_FUNCTION(ma_explain_segment);
MA_FUNCTION(ma_verify_segment);
MA_FUNCTION(ma_segment_overview);

/* ---- preview ---- */

static void
put_line(ReturnSetInfo *result, const char *what, char *value)
{
	Datum		values[2] = {CStringGetTextDatum(what), 0};
	bool		nulls[2] = {false, value == NULL};

	if (value != NULL)
		values[1] = CStringGetTextDatum(value);

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Conditions over columns, with the number of contacts of whom they are unknown. */
static void
count_unknowns(const int64 *ids, int n, void *arg)
{
	Preview    *preview = arg;

	preview->unknowns = ma_rule_unknowns(preview->rule, ma_read_contacts(ids, n), n, MA_RUN_READ,
										 preview->unknowns);
}

/* What finding them took, and what a commit will take: for some of them, one by one. */
static void
put_cost(ReturnSetInfo *result, MaRule *rule, const int64 *ids, int n, instr_time start)
{
	MaRuleSet  *set = ma_rule_set_make(&rule, 1);
	int			sample = Min(n, COST_SAMPLE);
	MaContactChange *contacts = ma_read_contacts(ids, sample);
	TimestampTz now = ma_now();
	instr_time	found;
	instr_time	done;
	MaTruth		truth;

	INSTR_TIME_SET_CURRENT(found);
	INSTR_TIME_SUBTRACT(found, start);
	/* The first one pays for the plans. */
	if (sample > 0)
		ma_rule_set_evaluate(set, contacts, 1, &now, MA_RUN_READ, NULL, &truth);
	INSTR_TIME_SET_CURRENT(start);
	for (int i = 0; i < sample; i++)
		ma_rule_set_evaluate(set, &contacts[i], 1, &now, MA_RUN_READ, NULL, &truth);
	INSTR_TIME_SET_CURRENT(done);
	INSTR_TIME_SUBTRACT(done, start);
	put_line(result, "cost", sample == 0 ?
			 psprintf("%.1f ms to find them", INSTR_TIME_GET_MILLISEC(found)) :
			 psprintf("%.1f ms to find them, %.3f ms to evaluate one of them",
					  INSTR_TIME_GET_MILLISEC(found), INSTR_TIME_GET_MILLISEC(done) / sample));
}

/* preview_segment(rule, time_zone) */
Datum
ma_preview_segment(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaRuleScope scope = {"rule"};
	char	   *search_path = pstrdup(namespace_search_path);
	MaCall		call;
	Preview		preview = {0};
	MaRule	   *rule;
	instr_time	start;
	int64	   *ids;
	int			n;
	ListCell   *cell;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rule must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	if (!PG_ARGISNULL(1))
		scope.time_zone = text_to_cstring(PG_GETARG_TEXT_PP(1));
	scope.search_path = search_path;
	ma_call_begin(&call);
	rule = ma_rule_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &scope, call.caller.userid);
	preview.rule = rule;
	put_line(result, "rule", ma_rule_text(rule));
	if (!ma_rule_is_sync(rule))
		put_line(result, "maintenance", ma_rule_recheck(rule) > 0 ?
				 "recheck: sql (...) is asked again from time to time" :
				 "worker: it uses functions that are not built in");
	if (ma_rule_is_plain(rule))
	{
		INSTR_TIME_SET_CURRENT(start);
		ids = ma_oracle_read(rule, ma_now(), &n);
		put_line(result, "contacts", ma_grouped(n));
		put_cost(result, rule, ids, n, start);
		for (int i = 0; i < Min(n, EXAMPLES); i++)
			put_line(result, "example", ma_contact_text(ids[i]));
	}
	ma_contacts_each(0, MA_RUN_READ, count_unknowns, &preview);
	foreach(cell, preview.unknowns)
	{
		MaRuleUnknown *unknown = lfirst(cell);

		if (unknown->n > 0)
			put_line(result, "unknown", psprintf("%s: for %s contacts", unknown->text,
												 ma_grouped(unknown->n)));
	}
	if (ma_rule_true_without_events(rule))
		put_line(result, "note", "also holds for contacts who never had any of its events");
	ma_call_end(&call);
	return (Datum) 0;
}

/* ---- texts ---- */

/* segment_rule(name) */
Datum
ma_segment_rule(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	MaCall		call;
	MaSegment  *segment;
	char	   *answer;

	ma_call_begin(&call);
	segment = ma_segment_get(ma_segments(), name);
	answer = MemoryContextStrdup(context, segment->rule ? ma_rule_text(segment->rule) :
								 segment->text);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* segment_sql(name) */
Datum
ma_segment_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	MaCall		call;
	MaSegment  *segment;
	char	   *answer;

	ma_call_begin(&call);
	segment = ma_segment_get(ma_segments(), name);
	if (segment->rule == NULL)
		segment = ma_segment_get_whole(ma_segments(), name);
	answer = MemoryContextStrdup(context, ma_rule_sql(segment->rule, MA_SCHEMA ".now()"));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* ---- explain ---- */

static void
put_explained(ReturnSetInfo *result, const MaRuleLine *line)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {false, true, true, false, false, true};

	values[0] = CStringGetTextDatum(psprintf("%*s%s", line->depth * 2, "", line->node));
	if (line->value != NULL || line->unknown)
	{
		values[1] = CStringGetTextDatum(line->value ? line->value : "unknown");
		nulls[1] = false;
	}
	if (line->needs != NULL)
	{
		values[2] = CStringGetTextDatum(line->needs);
		nulls[2] = false;
	}
	values[3] = BoolGetDatum(line->truth.truth);
	values[4] = TimestampTzGetDatum(line->truth.until);
	nulls[3] = nulls[4] = line->is_number;
	if (line->because != NULL)
	{
		values[5] = CStringGetTextDatum(line->because);
		nulls[5] = false;
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* What reads say, which was evaluated before, when the worker came to it. */
static void
put_kept(ReturnSetInfo *result, const MaSegment *segment, int64 contact_id)
{
	MaSegmentStates *states = ma_states_read(ma_segments(), &contact_id, 1, MA_RUN_READ);
	int			place = states->all->places[segment->slot];
	Datum		values[6] = {0};
	bool		nulls[6] = {false, true, true, false, false, false};

	values[0] = CStringGetTextDatum("as kept by the worker");
	values[3] = BoolGetDatum(states->bits[place]);
	values[4] = TimestampTzGetDatum(states->wakes[place]);
	values[5] = CStringGetTextDatum(states->wakes[place] == DT_NOEND ?
									"what reads say; evaluated again when a row changes" :
									"what reads say; evaluated again then, or when a row changes");
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The instant of the next entry or exit: what a node is true until is only a lower bound of it. */
static void
put_next_change(ReturnSetInfo *result, MaSegment *segment, int64 contact_id)
{
	bool		enters = false;
	TimestampTz at = segment->sync ? ma_forecast_next(segment, contact_id, &enters) : DT_NOEND;
	Datum		values[6] = {0};
	bool		nulls[6] = {false, true, true, true, false, false};

	if (!segment->sync)
	{
		put_kept(result, segment, contact_id);
		return;
	}
	values[0] = CStringGetTextDatum("next change");
	values[4] = TimestampTzGetDatum(at);
	values[5] = CStringGetTextDatum(at == DT_NOEND ? "none until a row changes" :
									enters ? "enters then, if no row changes" :
									"leaves then, if no row changes");
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* explain_segment(contact, name) */
Datum
ma_explain_segment(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_segment_name_argument(fcinfo, 1);
	MaSegment  *segment;
	MaCall		call;
	int64		contact_id;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	segment = ma_segment_get(ma_segments(), name);
	contact_id = ma_contact_argument(fcinfo, false);
	if (segment->rule == NULL)
		segment = ma_segment_get_whole(ma_segments(), name);
	foreach(cell, ma_rule_explain(segment->rule, ma_read_contacts(&contact_id, 1), ma_now(),
								  MA_RUN_READ))
		put_explained(result, lfirst(cell));
	put_next_change(result, segment, contact_id);
	ma_call_end(&call);
	return (Datum) 0;
}

/* ---- verify ---- */

static void
put_difference(ReturnSetInfo *result, int64 contact_id, bool stored)
{
	char	   *contact = ma_contact_text(contact_id);
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (contact == NULL)
		contact = psprintf("_contact_id " INT64_FORMAT, contact_id);
	values[0] = CStringGetTextDatum(contact);
	values[1] = BoolGetDatum(stored);
	values[2] = BoolGetDatum(!stored);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* verify_segment(name): both sides are ascending. */
Datum
ma_verify_segment(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	MaSegments *all;
	MaSegment  *segment;
	MaMembers  *members;
	MaCall		call;
	int64	   *expected;
	int			n;
	int			i = 0;
	int			j = 0;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	all = ma_segments();
	segment = ma_segment_get_whole(all, name);
	members = ma_members_read(segment, ma_now());
	expected = ma_segment_expected(segment, &n);
	while (i < members->n || j < n)
	{
		if (j == n || (i < members->n && members->ids[i] < expected[j]))
			put_difference(result, members->ids[i++], true);
		else if (i == members->n || expected[j] < members->ids[i])
			put_difference(result, expected[j++], false);
		else
			i++, j++;
	}
	ma_call_end(&call);
	return (Datum) 0;
}

/* ---- overview ---- */

static void
put_overview(ReturnSetInfo *result, MaSegment *segment)
{
	Datum		values[9] = {0};
	bool		nulls[9] = {0};
	TimestampTz evaluated_at = 0;

	values[0] = CStringGetTextDatum(segment->name);
	/* What is stored is not kept up while it is broken, and not complete while it is built. */
	nulls[1] = segment->error != NULL || segment->building;
	if (!nulls[1])
		values[1] = Int64GetDatum(ma_segment_stored_size(segment->name));
	values[2] = CStringGetTextDatum(segment->rule == NULL ? "broken" :
									segment->error != NULL ? "failing" :
									segment->building ? "building" : "live");
	values[3] = CStringGetTextDatum(ma_segment_maintenance(segment->rule));
	values[4] = CStringGetTextDatum(segment->rule ? ma_rule_text(segment->rule) : segment->text);
	values[5] = CStringGetTextDatum(segment->time_zone);
	nulls[6] = segment->description == NULL;
	if (!nulls[6])
		values[6] = CStringGetTextDatum(segment->description);
	nulls[7] = segment->error == NULL;
	if (!nulls[7])
		values[7] = CStringGetTextDatum(segment->error);
	nulls[8] = !ma_segment_evaluated_at(segment, &evaluated_at);
	values[8] = TimestampTzGetDatum(evaluated_at);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* marketing_internal.segment_overview() */
Datum
ma_segment_overview(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaSegments *all;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	all = ma_segments();
	for (int i = 0; i < all->n; i++)
		put_overview(result, all->segments[i]);
	ma_call_end(&call);
	return (Datum) 0;
}
