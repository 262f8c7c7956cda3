/*
 * decide.c
 *		Which variant of a test has won, by what its contacts did up to the horizon.
 *
 * Broadcasts and steps of journeys decide here.  Nobody looks at the figures before the
 * horizon and stops early, which would make chance a winner; and nothing that comes after
 * it counts, whenever the decision is taken.  The share of those to whom a variant was sent
 * and who did what is measured decides, if the difference of the two best is more than
 * chance makes in one case of twenty (two proportions, normal approximation); else it is
 * `no_winner`.
 */
#include "base/base.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "contacts/contacts.h"
#include "journeys/journeys.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#define PORTION 1000
#define SIGNIFICANT 1.959964	/* two-sided, one in twenty */

/* How a variant did. */
typedef struct Score
{
	const MaTestCount *count;
	const MaVariant *variant;
	int64		sent;
	int64		reached;
} Score;

/* Contacts to whom it was sent, and when. */
typedef struct Portion
{
	int64	   *ids;
	TimestampTz *since;
	bool	   *reached;
	int			n;
} Portion;

static void score_variant(Score *score);
static void score_portion(Score *score, const MaRows *rows, uint64 first, int n);
static void count_reached(Score *score, Portion *portion);
static void mark_reached(const Score *score, const MaEvent *event, const MaEventSource *source,
						 MaContactChange *contacts, Portion *portion);
static double distance(const Score *best, const Score *second);
static const MaVariant *choose(const MaTest *test, const Score *scores, int n, char **words);

MaVariant *
ma_test_draw(const MaTest *test, const char *name, const char *what, int64 contact_id)
{
	double		place = ma_share_of(name, what, contact_id);
	int			n = list_length(test->variants);

	if (place >= test->share)
		return NULL;
	return list_nth(test->variants, Min((int) (place / test->share * n), n - 1));
}

void
ma_test_check_measure(const char *name)
{
	MaEvent    *event = ma_event_required(ma_definitions(), name);

	if (event->builtin && ma_builtin_rows(event->name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_JOURNEY),
				 errmsg("nothing is kept of event \"%s\" that could be counted", event->name)));
}

const MaVariant *
ma_test_winner(const MaTestCount *count, char **words)
{
	int			n = list_length(count->test->variants);
	Score	   *scores = palloc0_array(Score, n);

	for (int i = 0; i < n; i++)
	{
		scores[i].count = count;
		scores[i].variant = list_nth(count->test->variants, i);
		score_variant(&scores[i]);
	}
	return choose(count->test, scores, n, words);
}

/* ---- counting ---- */

/* To whom it was sent, and who of them did what is measured since. */
static void
score_variant(Score *score)
{
	static MaStatement read = {
		"SELECT m.contact_id, pg_catalog.min(m.settled_at) FROM marketing_internal.message_log AS m "
		"WHERE m.journey OPERATOR(pg_catalog.=) $1 AND m.step OPERATOR(pg_catalog.=) $2 "
		"AND m.template OPERATOR(pg_catalog.=) $3 AND m.settled_at OPERATOR(pg_catalog.>=) $4 "
		"AND m.settled_at OPERATOR(pg_catalog.<=) $5 "
		"AND m.state OPERATOR(pg_catalog.=) 'sent' AND m.test_for IS NULL GROUP BY 1 ORDER BY 1",
		5, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[5];
	MaRows		rows;

	values[0] = CStringGetTextDatum(score->count->journey);
	values[1] = CStringGetTextDatum(score->variant->step);
	values[2] = CStringGetTextDatum(score->variant->template);
	values[3] = TimestampTzGetDatum(score->count->since);
	values[4] = TimestampTzGetDatum(score->count->until);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 first = 0; first < rows.n; first += PORTION)
	{
		CHECK_FOR_INTERRUPTS();
		score_portion(score, &rows, first, (int) Min(PORTION, rows.n - first));
	}
}

static void
score_portion(Score *score, const MaRows *rows, uint64 first, int n)
{
	const MaTestCount *count = score->count;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "marketing_automation test",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	Portion		portion = {palloc_array(int64, n), palloc_array(TimestampTz, n),
						   palloc0_array(bool, n), 0};

	for (int i = 0; i < n; i++)
	{
		int64		id = ma_int64(rows, first + i, 1);

		if (count->drawn_by != NULL &&
			ma_test_draw(count->test, count->journey, count->drawn_by, id) != score->variant)
			continue;
		portion.ids[portion.n] = id;
		portion.since[portion.n++] = ma_int64(rows, first + i, 2);
	}
	score->sent += portion.n;
	count_reached(score, &portion);
	for (int i = 0; i < portion.n; i++)
		score->reached += portion.reached[i];
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
}

static void
count_reached(Score *score, Portion *portion)
{
	MaEvent    *event = ma_event_required(ma_definitions(), score->count->test->measure);
	MaContactChange *contacts = ma_read_contacts_as(portion->ids, portion->n, MA_RUN_READ_LATEST);
	List	   *sources = event->builtin ? list_make1(NULL) :
		ma_event_sources(ma_definitions(), event);
	ListCell   *cell;

	foreach(cell, sources)
		mark_reached(score, event, lfirst(cell), contacts, portion);
}

/* Of events of messages only those of this message count, and none that a machine made. */
static void
mark_reached(const Score *score, const MaEvent *event, const MaEventSource *source,
			 MaContactChange *contacts, Portion *portion)
{
	static const Oid types[] = {TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		TimestampTzGetDatum(score->count->until),
		CStringGetTextDatum(score->count->journey),
		CStringGetTextDatum(score->variant->step)
	};
	const char *own = event->builtin ?
		"AND COALESCE(t.properties OPERATOR(pg_catalog.->>) 'journey', $3) "
		"OPERATOR(pg_catalog.=) $3 AND COALESCE(t.properties OPERATOR(pg_catalog.->>) 'step', $4) "
		"OPERATOR(pg_catalog.=) $4 AND COALESCE(t.properties OPERATOR(pg_catalog.->>) 'machine', "
		"'false') OPERATOR(pg_catalog.<>) 'true'" : "AND $3 IS NOT NULL AND $4 IS NOT NULL";
	MaEventQuery query = {
		.columns = "r.at AS at",
		.conditions = psprintf("AND r.at OPERATOR(pg_catalog.<=) $2 %s", own),
		.select = "pg_catalog.max(e.at)",
		.end = "GROUP BY 1",
		.nvalues = lengthof(types),
		.types = types,
		.values = values,
		.how = MA_RUN_READ_LATEST
	};
	int64	   *owners;
	MaRows		found = ma_event_read(event, source, contacts, portion->n, &query, &owners);

	for (uint64 i = 0; i < found.n; i++)
	{
		int64		owner = owners[ma_int64(&found, i, 1) - 1];
		const int64 *place = bsearch(&owner, portion->ids, portion->n, sizeof(int64),
									 ma_compare_int64);

		if (place != NULL && ma_int64(&found, i, 2) > portion->since[place - portion->ids])
			portion->reached[place - portion->ids] = true;
	}
}

/* ---- the decision ---- */

static double
rate(const Score *score)
{
	return score->sent == 0 ? 0 : (double) score->reached / score->sent;
}

/* How far apart the two are, in standard deviations of what chance makes. */
static double
distance(const Score *best, const Score *second)
{
	double		all;
	double		spread;

	if (best->sent == 0 || second->sent == 0)
		return 0;
	all = (double) (best->reached + second->reached) / (best->sent + second->sent);
	spread = sqrt(all * (1 - all) * (1.0 / best->sent + 1.0 / second->sent));
	return spread == 0 ? 0 : (rate(best) - rate(second)) / spread;
}

static const MaVariant *
choose(const MaTest *test, const Score *scores, int n, char **words)
{
	const Score *best = &scores[0];
	const Score *second = NULL;
	StringInfoData text;
	double		apart;

	initStringInfo(&text);
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s: " INT64_FORMAT " of " INT64_FORMAT "; ",
						 scores[i].variant->name, scores[i].reached, scores[i].sent);
	for (int i = 1; i < n; i++)
		if (rate(&scores[i]) > rate(best))
			best = &scores[i];
	for (int i = 0; i < n; i++)
		if (&scores[i] != best && (second == NULL || rate(&scores[i]) > rate(second)))
			second = &scores[i];
	apart = distance(best, second);
	if (apart < SIGNIFICANT)
		appendStringInfo(&text, "no winner (z %.2f), so %s", apart, test->no_winner);
	else
		appendStringInfo(&text, "%s wins (z %.2f)", best->variant->name, apart);
	*words = text.data;
	return apart < SIGNIFICANT ? ma_test_variant(test, test->no_winner) : best->variant;
}
