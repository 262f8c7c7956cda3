/*
 * consumer.c
 *		Segments as the consumer of changes: who is to be evaluated for what, at commit,
 *		in the worker, and as time passes.
 *
 * A change is looked at only by segments that read its event, and not even by those
 * it cannot move: more rows of an event cannot make "no page_viewed" true, so who
 * is out of it stays out.  What time changes is taken instant by instant, so that a
 * worker that slept emits every entry and exit with the time it took effect.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define MAX_STEPS 100			/* instants of one contact in one evaluation */

/* A build within the call that defines. */
typedef struct Building
{
	MaSegments *all;
	bool	   *which;			/* of the segments */
	TimestampTz now;
} Building;

static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static bool wants_new_contacts(void);
static TimestampTz reads_from(int32 event_id, TimestampTz now);
static void clock_back(void);
static void leave_to_worker(MaSegmentStates *states, MaContactChange *contacts);
static int	choose(MaSegmentStates *states, MaContactChange *contacts, int step, TimestampTz now,
				   int *places, TimestampTz *as_of, bool *wanted);
static bool is_changed(const MaContactChange *contact);
static TimestampTz wake_of(const MaSegmentStates *states, int contact, int segment,
						   TimestampTz now);
static bool moves_any(const MaSegments *all, const MaContactChange *contact, bool known,
					  const bytea *bits);
static bool unmoved(const MaContactChange *contact, TimestampTz now);
static bool wants(const MaSegmentStates *states, const MaContactChange *contact,
				  const uint8 *moves, int place, int segment);
static bool may_move(uint8 moves, bool bit);
static uint8 *moves_of(const MaSegments *all, const MaContactChange *contact);
static uint8 with_sign(uint8 moves, uint8 sign);
static void evaluate_chosen(MaSegmentStates *states, MaContactChange *contacts, const int *places,
							int n, const TimestampTz *as_of, bool *wanted);
static void tell(const MaSegmentStates *states, const char *name, bool entered, TimestampTz now);
static Datum segment_properties(const char *name);
static bool due(void);
static bool due_turn(void);
static TimestampTz next_due(void);
static bool build(void);
static int	next_to_build(int64 **contacts);
static bool build_turn(void);
static void build_part(const int64 *ids, int n, void *arg);

static const MaConsumer consumer = {
	MA_SEGMENT_CONSUMER, evaluate, NULL, wants_new_contacts, unmoved, reads_from
};
static MaDue queue;				/* who is due */

static const MaDuty due_duty = {"due segments", 0, due, next_due};
static const MaDuty build_duty = {"build segments", 0, build, NULL};

void
ma_segment_consumer_init(void)
{
	ma_register_consumer(&consumer);
	ma_register_clock_back(clock_back);
	ma_worker_register_duty(&build_duty);
	ma_worker_register_duty(&due_duty);
}

static bool
wants_new_contacts(void)
{
	return ma_segments()->n > 0;
}

/* Evaluations are as of now, or of an instant that is over and not looked at yet. */
static TimestampTz
reads_from(int32 event_id, TimestampTz now)
{
	static MaStatement first = {
		"SELECT s.next_wake FROM marketing_internal.segment_state AS s "
		"WHERE s.next_wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"ORDER BY s.next_wake LIMIT 1"
	};
	MaRows		rows = ma_run(&first, NULL, NULL, MA_RUN_READ_LATEST);

	if (rows.n > 0)
		now = Min(now, ma_int64(&rows, 0, 1));
	return ma_rule_set_reads_from(ma_segments()->set, event_id, now);
}

/* What is stored is of the future then: everybody is looked at again. */
static void
clock_back(void)
{
	if (ma_segments()->n > 0)
		ma_contacts_leave_all();
}

static bool
is_changed(const MaContactChange *contact)
{
	return contact->identity || contact->nevents > 0;
}

/* ---- evaluation ---- */

static void
evaluate(MaContactChange *contacts, int n, TimestampTz now)
{
	MaSegments *all = ma_segments();
	MaSegmentStates *states;
	int64	   *ids;
	int		   *places;
	TimestampTz *as_of;
	bool	   *wanted;

	/* The worker goes on: what dropped segments left is taken away, or would be due for ever. */
	if (all->n == 0 && !ma_worker_is_active())
		return;
	ma_segments_mark_broken(all);
	ids = palloc_array(int64, Max(n, 1));
	for (int i = 0; i < n; i++)
		ids[i] = contacts[i].contact_id;
	states = ma_states_read(all, ids, n, MA_RUN_READ_LATEST);
	places = palloc_array(int, Max(n, 1));
	as_of = palloc_array(TimestampTz, Max(n, 1));
	wanted = palloc_array(bool, Max(mul_size(n, all->nrules), 1));
	if (!ma_worker_is_active())
		leave_to_worker(states, contacts);
	for (int step = 0; step <= MAX_STEPS; step++)
	{
		int			chosen = choose(states, contacts, step, now, places, as_of, wanted);

		if (chosen == 0)
			break;
		evaluate_chosen(states, contacts, places, chosen, as_of, wanted);
	}
	ma_states_write(states, now);
	tell(states, "segment_entered", true, now);
	tell(states, "segment_left", false, now);
}

/*
 * Who is evaluated in this step: at first whoever changed, as of now; then those who
 * only grew older, each as of his next due instant.  Returns how many, with the rules
 * wanted of each.
 */
static int
choose(MaSegmentStates *states, MaContactChange *contacts, int step, TimestampTz now,
	   int *places, TimestampTz *as_of, bool *wanted)
{
	MaSegments *all = states->all;
	int			chosen = 0;

	for (int i = 0; i < states->n; i++)
	{
		bool		changed = is_changed(&contacts[i]);
		TimestampTz at = changed || step == MAX_STEPS ? now : DT_NOEND;
		bool		any = false;
		uint8	   *moves;

		if (changed && step > 0)
			continue;
		for (int j = 0; j < all->n && !changed && step < MAX_STEPS; j++)
			if (all->segments[j]->place >= 0)
				at = Min(at, all->segments[j]->building && step == 0 ? now :
						 wake_of(states, i, j, now));
		if (at > now)
			continue;
		moves = changed ? moves_of(all, &contacts[i]) : NULL;
		for (int j = 0; j < all->n; j++)
		{
			const MaSegment *segment = all->segments[j];
			bool		want;

			if (segment->place < 0)
				continue;
			want = wake_of(states, i, j, now) <= at || (segment->building && step == 0) ||
				(changed && wants(states, &contacts[i], moves, i, j));
			if (!segment->sync && !ma_worker_is_active())
				want = false;
			wanted[chosen * all->nrules + segment->place] = want;
			any |= want;
		}
		if (!any)
			continue;
		places[chosen] = i;
		as_of[chosen++] = at;
	}
	return chosen;
}

/*
 * When the segment is due.  One that is rechecked reads tables as they are now, so
 * past instants of it are all now.
 */
static TimestampTz
wake_of(const MaSegmentStates *states, int contact, int segment, TimestampTz now)
{
	TimestampTz wake = states->wakes[contact * states->all->n + segment];

	return wake <= now && states->all->segments[segment]->recheck ? now : wake;
}

/* False where the change cannot move the segment, or does not concern it. */
static bool
wants(const MaSegmentStates *states, const MaContactChange *contact, const uint8 *moves, int place,
	  int segment)
{
	return contact->identity ||
		may_move(moves[segment], states->bits[place * states->all->n + segment]);
}

/* What can only become true is true already, or the other way about: then it stays. */
static bool
may_move(uint8 moves, bool bit)
{
	return moves != 0 && !(moves == MA_MOVES_UP && bit) && !(moves == MA_MOVES_DOWN && !bit);
}

/* The ways in which the contact's events may move each segment. */
static uint8 *
moves_of(const MaSegments *all, const MaContactChange *contact)
{
	uint8	   *moves = palloc0_array(uint8, Max(all->n, 1));

	for (int i = 0; i < contact->nevents; i++)
	{
		int			n;
		const MaSegmentReader *readers = ma_segment_readers(all, contact->events[i].event_id, &n);

		for (int j = 0; j < n; j++)
			moves[readers[j].segment] |= with_sign(readers[j].moves, contact->events[i].sign);
	}
	return moves;
}

/* Rows that go move the other way than rows that come. */
static uint8
with_sign(uint8 moves, uint8 sign)
{
	uint8		result = 0;

	if (sign & MA_SIGN_PLUS)
		result |= moves;
	if (sign & MA_SIGN_MINUS)
		result |= (moves & MA_MOVES_UP ? MA_MOVES_DOWN : 0) |
			(moves & MA_MOVES_DOWN ? MA_MOVES_UP : 0);
	return result;
}

/*
 * Whether a segment may be moved: by what is stored, or where that is not known whatever
 * it is.  What several events may do to one together, one of them may do alone.
 */
static bool
moves_any(const MaSegments *all, const MaContactChange *contact, bool known, const bytea *bits)
{
	for (int i = 0; i < contact->nevents; i++)
	{
		int			n;
		const MaSegmentReader *readers = ma_segment_readers(all, contact->events[i].event_id, &n);

		for (int j = 0; j < n; j++)
		{
			uint8		moves = with_sign(readers[j].moves, contact->events[i].sign);
			int			slot = all->segments[readers[j].segment]->slot;
			bool		bit = bits != NULL && ma_state_bit(bits, slot);

			if (may_move(moves, bit) && (known || may_move(moves, !bit)))
				return true;
		}
	}
	return false;
}

/* Who is due is evaluated, so that what time changed bears its time. */
static bool
unmoved(const MaContactChange *contact, TimestampTz now)
{
	const MaSegments *all = ma_segments_current();
	TimestampTz next_wake;
	bytea	   *bits;

	if (all == NULL || all->building || all->unmarked || moves_any(all, contact, false, NULL))
		return false;
	bits = ma_state_bits(contact->contact_id, &next_wake);
	return next_wake > now && !moves_any(all, contact, true, bits);
}

static void
evaluate_chosen(MaSegmentStates *states, MaContactChange *contacts, const int *places, int n,
				const TimestampTz *as_of, bool *wanted)
{
	MaSegments *all = states->all;
	MaContactChange *chosen = palloc_array(MaContactChange, n);
	MaTruth    *truths = palloc_array(MaTruth, mul_size(n, Max(all->nrules, 1)));

	for (int i = 0; i < n; i++)
		chosen[i] = contacts[places[i]];
	ma_segments_evaluate(all, chosen, n, as_of, wanted, truths);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < all->n; j++)
		{
			int			rule = all->segments[j]->place;

			if (rule < 0 || !wanted[i * all->nrules + rule])
				continue;
			states->cause = is_changed(&chosen[i]) ? "row" :
				all->segments[j]->building ? "definition" : "time";
			ma_state_set(states, places[i], j, truths[i * all->nrules + rule], as_of[i]);
		}
}

/* A commit does not run users' functions: who is concerned is for the worker. */
static void
leave_to_worker(MaSegmentStates *states, MaContactChange *contacts)
{
	int64	   *ids = palloc_array(int64, Max(states->n, 1));
	int			n = 0;

	for (int i = 0; i < states->n; i++)
	{
		uint8	   *moves = is_changed(&contacts[i]) ? moves_of(states->all, &contacts[i]) : NULL;

		for (int j = 0; j < states->all->n && moves != NULL; j++)
		{
			const MaSegment *segment = states->all->segments[j];

			if (segment->place < 0 || segment->sync ||
				!wants(states, &contacts[i], moves, i, j))
				continue;
			ids[n++] = contacts[i].contact_id;
			break;
		}
	}
	if (n == 0)
		return;
	ma_contacts_leave(ids, n);
	ma_worker_wake_at_commit();
}

/* ---- events ---- */

static Datum
segment_properties(const char *name)
{
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvString};

	key.val.string.val = "segment";
	key.val.string.len = strlen("segment");
	value.val.string.val = unconstify(char *, name);
	value.val.string.len = strlen(name);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(&state, WJB_KEY, &key);
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Raises the event for who entered or left; a definition that is being built raises none. */
static void
tell(const MaSegmentStates *states, const char *name, bool entered, TimestampTz now)
{
	MaEvent    *event = states->flips == NIL ? NULL : ma_event_by_name(ma_definitions(), name);
	MaRowChange *rows;
	int			n = 0;
	ListCell   *cell;

	if (event == NULL || !event->row_grade)
		return;
	rows = palloc0_array(MaRowChange, list_length(states->flips));
	foreach(cell, states->flips)
	{
		MaSegmentFlip *flip = lfirst(cell);
		const MaSegment *segment = states->all->segments[flip->segment];

		if (flip->entered != entered || segment->building)
			continue;
		rows[n].contact_id = states->contact_ids[flip->contact];
		rows[n].row_key = psprintf("%d:" INT64_FORMAT, segment->id, flip->at);
		rows[n].occurred_at = flip->at;
		rows[n].properties = segment_properties(segment->name);
		rows[n].by_time = strcmp(flip->cause, "row") != 0;
		rows[n++].enroll = ma_guc_enroll;
	}
	ma_tell_events(name, rows, n, now);
}

/* ---- time ---- */

static bool
due(void)
{
	return ma_drain_turn(due_turn);
}

static bool
due_turn(void)
{
	static MaStatement read = {
		"SELECT s.contact_id, s.next_wake FROM marketing_internal.segment_state AS s " MA_JOIN_DIRTY
		"WHERE s.next_wake OPERATOR(pg_catalog.<=) $1 AND s.next_wake OPERATOR(pg_catalog.>=) $3 "
		"AND s.next_wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"AND w.waits IS NULL ORDER BY s.next_wake LIMIT $2",
		3, {TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID}
	};
	MaRows		rows = ma_due_read_from(&read, &queue);

	return rows.n > 0 && ma_due_wake(&rows, &queue);
}

static TimestampTz
next_due(void)
{
	static MaStatement read = {
		"SELECT s.next_wake FROM marketing_internal.segment_state AS s " MA_JOIN_DIRTY
		"WHERE s.next_wake OPERATOR(pg_catalog.>=) $1 "
		"AND s.next_wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"AND w.waits IS NULL ORDER BY s.next_wake LIMIT 1",
		1, {TIMESTAMPTZOID}
	};

	return ma_due_next_from(&read, &queue);
}

/* ---- builds ---- */

/* One portion of contacts: the truth of the segments that are built, as of now. */
static void
build_part(const int64 *ids, int n, void *arg)
{
	const Building *building = arg;
	MaSegments *all = building->all;
	MaContactChange *contacts = ma_read_contacts_as(ids, n, MA_RUN_READ_LATEST);
	MaSegmentStates *states = ma_states_read(all, ids, n, MA_RUN_READ_LATEST);
	TimestampTz *as_of = palloc_array(TimestampTz, n);
	bool	   *wanted = palloc0_array(bool, mul_size(n, Max(all->nrules, 1)));
	MaTruth    *truths = palloc_array(MaTruth, mul_size(n, Max(all->nrules, 1)));

	for (int i = 0; i < n; i++)
	{
		as_of[i] = building->now;
		for (int j = 0; j < all->n; j++)
			if (building->which[j] && all->segments[j]->place >= 0)
				wanted[i * all->nrules + all->segments[j]->place] = true;
	}
	ma_rule_set_evaluate(all->set, contacts, n, as_of, MA_RUN_READ_LATEST, wanted, truths);
	states->cause = "definition";
	for (int i = 0; i < n; i++)
		for (int j = 0; j < all->n; j++)
			if (building->which[j] && all->segments[j]->place >= 0)
				ma_state_set(states, i, j, truths[i * all->nrules + all->segments[j]->place],
							 building->now);
	ma_states_write(states, building->now);
}

void
ma_segments_build(MaSegments *all, List *names, TimestampTz now)
{
	Building	building = {all, palloc0_array(bool, Max(all->n, 1)), now};

	for (int i = 0; i < all->n; i++)
	{
		ListCell   *cell;

		foreach(cell, names)
			building.which[i] |= strcmp(lfirst(cell), all->segments[i]->name) == 0;
	}
	ma_contacts_each(0, MA_RUN_READ_LATEST, build_part, &building);
}

static bool
build(void)
{
	return ma_drain_turn(build_turn);
}

/*
 * The next contacts of those that are built; read by number, and not joined to it, which
 * would begin at the first contact each time.
 */
static int
next_to_build(int64 **contacts)
{
	static MaStatement from = {
		"SELECT pg_catalog.min(s.built_to) FROM marketing_internal.segment AS s "
		"WHERE s.state OPERATOR(pg_catalog.=) 'building' HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0"
	};
	static MaStatement read = {
		"SELECT c.contact_id FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.>) $1 ORDER BY c.contact_id LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	Datum		values[2];
	MaRows		rows = ma_run(&from, NULL, NULL, MA_RUN_READ_LATEST);

	if (rows.n == 0)
		return 0;
	values[0] = Int64GetDatum(ma_int64(&rows, 0, 1));
	values[1] = Int32GetDatum(ma_drain_batch_size());
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	*contacts = palloc_array(int64, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
		(*contacts)[i] = ma_int64(&rows, i, 1);
	return (int) rows.n;
}

/*
 * A segment that is being built is evaluated for whoever is told, so it is enough to
 * wake all contacts in their order.  Who is busy goes to the dirty log.
 */
static bool
build_turn(void)
{
	static MaStatement progress = {
		"UPDATE marketing_internal.segment SET built_to = $1 "
		"WHERE state OPERATOR(pg_catalog.=) 'building' AND built_to OPERATOR(pg_catalog.<) $1",
		1, {INT8OID}
	};
	static MaStatement finish = {
		"UPDATE marketing_internal.segment SET state = 'live', known_from = COALESCE(known_from, $1) "
		"WHERE state OPERATOR(pg_catalog.=) 'building' RETURNING 1",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(ma_now());
	int64	   *contacts;
	int			n;

	if (!ma_segments()->building)
		return false;
	n = next_to_build(&contacts);
	if (n == 0)
	{
		if (ma_run(&finish, &value, NULL, MA_RUN_WRITE_LATEST).n > 0)
			ma_definitions_changed();
		return false;
	}
	(void) ma_contacts_wake(contacts, NULL, n, true);
	value = Int64GetDatum(contacts[n - 1]);
	ma_run(&progress, &value, NULL, MA_RUN_WRITE_LATEST);
	return true;
}
