/*
 * limits.c
 *		max_entries and surge_limit in a simulation: what all contacts share, although each
 *		is walked through by himself.
 *
 * Up to the instant at which a limit is reached nobody is refused by it, so who enters up to
 * then is found by going through all contacts without it.  From there on the limit holds,
 * as a bar: an interval of time in which it refuses or holds back whoever comes behind the last
 * it let in.  With the bar all are gone through again, and the next limit that is reached
 * is found, until none is.  Each time one more bar stands, and what came before it is
 * settled; only then the story is told.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/simulate/simulate.h"
#include "miscadmin.h"

#define SURGE_US USECS_PER_DAY	/* as in intake.c */

/* Who has entered. */
typedef struct Entry
{
	TimestampTz at;
	int64		contact_id;
	bool		by_time;
} Entry;

/* Entries after this one, up to an instant, are refused or held back. */
typedef struct Bar
{
	Entry		last;
	TimestampTz until;
	bool		surge;
} Bar;

typedef struct MaLimits
{
	List	   *bars;			/* Bar * */
	Entry	   *entries;
	int64		n;
	int64		space;
	int64		before;			/* entered in truth before the simulation begins */
	int64		before_in_period;
	int64		surge_most;
	MemoryContext context;
} MaLimits;

static void read_before(MaSimulation *simulation);
static const Bar *bar_before(const MaTurnBatch *batch, TimestampTz at, bool surge);
static int	compare_entries(const void *left, const void *right);
static bool most_reached(const MaSimulation *simulation, Bar *bar);
static bool surge_reached(const MaLimits *limits, Bar *bar);
static TimestampTz end_of_period(const MaProgram *program, TimestampTz at);

void
ma_limits_begin(MaSimulation *simulation)
{
	const MaProgram *program = simulation->version->program;
	bool		by_segment = program->entry != NULL && program->entry->segment != NULL;
	int64		most = by_segment ? ma_surge_most(program) : PG_INT64_MAX;

	if (program->max_entries == 0 && most == PG_INT64_MAX)
		return;
	simulation->limits = palloc0_object(MaLimits);
	simulation->limits->surge_most = most;
	simulation->limits->context = CurrentMemoryContext;
	simulation->silent = true;
	if (program->max_entries > 0)
		read_before(simulation);
}

/* Who entered the journey before the simulation begins counts; who did since is simulated. */
static void
read_before(MaSimulation *simulation)
{
	static MaStatement read = {
		"SELECT e.entered_at FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 AND e.entered_at OPERATOR(pg_catalog.<) $2",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	const MaProgram *program = simulation->version->program;
	MaLimits   *limits = simulation->limits;
	Datum		values[2] = {Int32GetDatum(simulation->version->journey_id),
	TimestampTzGetDatum(simulation->since)};
	MaRows		rows = ma_run(&read, values, NULL, MA_RUN_READ);

	limits->before = (int64) rows.n;
	for (uint64 i = 0; program->entries_per != 0 && i < rows.n; i++)
		limits->before_in_period += ma_intake_period(program, ma_int64(&rows, i, 1)) ==
			ma_intake_period(program, simulation->since);
}

bool
ma_limits_by_time(const MaSimulation *simulation)
{
	return simulation->limits != NULL && simulation->limits->surge_most != PG_INT64_MAX;
}

/* ---- while contacts are gone through ---- */

static int
compare_entries(const void *left, const void *right)
{
	const Entry *a = left;
	const Entry *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->contact_id < b->contact_id ? -1 : a->contact_id > b->contact_id;
}

static const Bar *
bar_before(const MaTurnBatch *batch, TimestampTz at, bool surge)
{
	const MaLimits *limits = batch->simulation->limits;
	Entry		entry = {at, batch->persons[0].contact_id, surge};
	ListCell   *cell;

	foreach(cell, limits ? limits->bars : NIL)
	{
		const Bar  *bar = lfirst(cell);

		if (bar->surge == surge && compare_entries(&bar->last, &entry) < 0 && at < bar->until)
			return bar;
	}
	return NULL;
}

const char *
ma_simulate_refusal(MaTurnBatch *batch, TimestampTz at)
{
	if (bar_before(batch, at, false) == NULL)
		return NULL;
	return ma_intake_reason(batch->simulation->version->program);
}

bool
ma_simulate_holds(MaTurnBatch *batch, const MaSignal *signal)
{
	return bar_before(batch, signal->at, true) != NULL;
}

void
ma_simulate_entry(MaTurnBatch *batch, const MaSignal *signal)
{
	MaLimits   *limits = batch->simulation->limits;

	if (limits == NULL || !batch->simulation->silent)
		return;
	if (limits->n == limits->space)
	{
		MemoryContext previous = MemoryContextSwitchTo(limits->context);

		limits->space = Max(1024, limits->space * 2);
		limits->entries = limits->entries == NULL ? palloc_array(Entry, limits->space) :
			repalloc_huge(limits->entries, mul_size(sizeof(Entry), limits->space));
		MemoryContextSwitchTo(previous);
	}
	limits->entries[limits->n++] = (Entry) {signal->at, batch->persons[0].contact_id,
	signal->by_time};
}

/* ---- after all contacts ---- */

bool
ma_limits_again(MaSimulation *simulation)
{
	MaLimits   *limits = simulation->limits;
	Bar			most = {.until = DT_NOBEGIN};
	Bar			surge = {.until = DT_NOBEGIN};
	Bar		   *bar;
	bool		any;

	if (limits == NULL || !simulation->silent)
		return false;
	CHECK_FOR_INTERRUPTS();
	if (limits->n > 0)
		qsort(limits->entries, limits->n, sizeof(Entry), compare_entries);
	any = most_reached(simulation, &most);
	if (surge_reached(limits, &surge) &&
		(!any || compare_entries(&surge.last, &most.last) < 0))
	{
		most = surge;
		any = true;
	}
	simulation->silent = any;
	limits->n = 0;
	if (any)
	{
		bar = palloc_object(Bar);
		*bar = most;
		limits->bars = lappend(limits->bars, bar);
	}
	return true;
}

/* The first entry that is one too many, by a limit that no bar stands for yet. */
static bool
most_reached(const MaSimulation *simulation, Bar *bar)
{
	const MaProgram *program = simulation->version->program;
	const MaLimits *limits = simulation->limits;
	int64		count = program->entries_per == 0 ? limits->before : limits->before_in_period;
	Entry		last = {simulation->since, 0, false};
	int32		period = ma_intake_period(program, simulation->since);

	for (int64 i = 0; program->max_entries > 0 && i < limits->n; i++)
	{
		const Entry *entry = &limits->entries[i];

		if (program->entries_per != 0 && ma_intake_period(program, entry->at) != period)
		{
			period = ma_intake_period(program, entry->at);
			count = 0;
		}
		if (count >= program->max_entries)
		{
			*bar = (Bar) {last, end_of_period(program, entry->at), false};
			return true;
		}
		count++;
		last = *entry;
	}
	return false;
}

/* The first instant at which the period of this one is over. */
static TimestampTz
end_of_period(const MaProgram *program, TimestampTz at)
{
	TimestampTz low = at;
	TimestampTz high = at + 32 * USECS_PER_DAY;
	int32		period = ma_intake_period(program, at);

	if (program->entries_per == 0)
		return DT_NOEND;
	while (high - low > 1)
	{
		TimestampTz middle = low + (high - low) / 2;

		if (ma_intake_period(program, middle) == period)
			low = middle;
		else
			high = middle;
	}
	return high;
}

static bool
surge_reached(const MaLimits *limits, Bar *bar)
{
	TimestampTz from = DT_NOBEGIN;
	Entry		last = {0};
	int64		count = 0;

	for (int64 i = 0; limits->surge_most != PG_INT64_MAX && i < limits->n; i++)
	{
		const Entry *entry = &limits->entries[i];

		if (!entry->by_time)
			continue;
		if (from == DT_NOBEGIN || entry->at - from >= SURGE_US)
		{
			from = entry->at;
			count = 0;
		}
		if (count >= limits->surge_most)
		{
			*bar = (Bar) {last, from + SURGE_US, true};
			return true;
		}
		count++;
		last = *entry;
	}
	return false;
}
