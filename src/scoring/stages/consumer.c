/*
 * consumer.c
 *		Rules of stages as a consumer of changes: who comes to a stage at a commit, in the
 *		worker, and as time passes.
 *
 * Only stages further on are asked, and what is true once has its effect for good; so
 * of each contact the next instant at which any of their rules may become true is all
 * that is kept.  A wake that has passed is followed instant by instant, so that each
 * move bears its time.
 *
 * Segments that name a stage are evaluated before this, so who moves is left to the
 * worker for one more look, and computed by reads until then.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/stages/stages.h"
#include "worker/worker.h"

#define MAX_STEPS 50			/* instants of one contact in one evaluation */
#define REST_US (USECS_PER_HOUR)	/* after an error, unless something changes before */

/* A contact on his way. */
typedef struct Traveller
{
	int64		contact_id;
	MaStage    *stage;			/* NULL: none */
	TimestampTz wake;
	TimestampTz stored;			/* the wake as it is stored; 0: there is no row */
	TimestampTz as_of;
	bool		active;
} Traveller;

/* What is done under guard. */
typedef struct Journey
{
	MaStages   *all;
	MaContactChange *contacts;
	Traveller  *travellers;
	int			n;
	TimestampTz now;
	List	   *moves;			/* MaStageMove * */
	MaRows		passed;			/* contacts and stages whose build found them busy */
} Journey;

static void evaluate(MaContactChange *contacts, int n, TimestampTz now);
static bool wants_new_contacts(void);
static Traveller *read_travellers(const MaContactChange *contacts, int n, TimestampTz now);
static void try_travel(Journey *journey);
static void each_alone(Journey *journey, const Traveller *start);
static void travel(void *arg);
static void step(Journey *journey, int place, const MaTruth *truths, bool last);
static void write_wakes(const Traveller *travellers, int n);
static void take_passed(Journey *journey);
static void tell(const Journey *journey);
static bool is_quiet(const Journey *journey, const MaStageMove *move);
static bool due(void);
static bool due_turn(void);
static TimestampTz next_due(void);

static const MaConsumer consumer = {
	MA_STAGE_CONSUMER, evaluate, NULL, wants_new_contacts
};
static const MaDuty due_duty = {"due stages", 0, due, next_due};

void
ma_stage_consumer_init(void)
{
	ma_register_consumer(&consumer);
	ma_worker_register_duty(&due_duty);
}

static bool
wants_new_contacts(void)
{
	return ma_stages()->nrules > 0;
}

/* Without any rule the worker goes on: it takes away the wakes that rules have left. */
static void
evaluate(MaContactChange *contacts, int n, TimestampTz now)
{
	Journey		journey = {ma_stages(), contacts};

	if (journey.all->nrules == 0 && !ma_worker_is_active())
		return;
	journey.n = n;
	journey.now = now;
	journey.travellers = read_travellers(contacts, n, now);
	if (journey.all->nrules > 0)
		try_travel(&journey);
	else
		for (int i = 0; i < n; i++)
			journey.travellers[i].wake = DT_NOEND;
	write_wakes(journey.travellers, n);
	if (journey.all->building || journey.all->passed_over)
		take_passed(&journey);
	if (journey.moves != NIL)
		tell(&journey);
}

/* Those among them whom a build has passed over, and that they are looked at now. */
static void
take_passed(Journey *journey)
{
	static MaStatement take = {
		"DELETE FROM marketing_internal.stage_passed_over AS p "
		"WHERE p.contact_id OPERATOR(pg_catalog.=) ANY ($1) RETURNING p.contact_id, p.stage_id",
		1, {INT8ARRAYOID}
	};
	int64	   *ids = palloc_array(int64, Max(journey->n, 1));
	Datum		value;

	for (int i = 0; i < journey->n; i++)
		ids[i] = journey->contacts[i].contact_id;
	value = ma_int8_array(ids, journey->n);
	journey->passed = ma_run(&take, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* All together; after an error of a rule each contact by itself. */
static void
try_travel(Journey *journey)
{
	Traveller  *start = palloc_array(Traveller, Max(journey->n, 1));

	memcpy(start, journey->travellers, sizeof(Traveller) * journey->n);
	if (ma_flush_tries_again())
		travel(journey);
	else if (ma_expression_guard(travel, journey) != NULL)
		each_alone(journey, start);
}

/*
 * Who fails stays where he was and rests: he is asked again when something of his
 * changes, or after the rest, lest he be due for ever.
 */
static void
each_alone(Journey *journey, const Traveller *start)
{
	journey->moves = NIL;
	for (int i = 0; i < journey->n; i++)
	{
		Journey		alone = {journey->all, &journey->contacts[i], &journey->travellers[i], 1,
		journey->now};
		ErrorData  *error;

		journey->travellers[i] = start[i];
		error = ma_expression_guard(travel, &alone);
		if (error == NULL)
		{
			journey->moves = list_concat(journey->moves, alone.moves);
			continue;
		}
		ma_count_error(error->sqlerrcode, error->message);
		journey->travellers[i] = start[i];
		journey->travellers[i].wake = journey->now + REST_US;
	}
}

static Traveller *
read_travellers(const MaContactChange *contacts, int n, TimestampTz now)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4, c.stage_id, c.wake FROM pg_catalog.unnest($1) "
		"WITH ORDINALITY AS u (contact_id, n) JOIN marketing_internal.contact_stage AS c "
		"ON c.contact_id OPERATOR(pg_catalog.=) u.contact_id",
		1, {INT8ARRAYOID}
	};
	Traveller  *travellers = palloc0_array(Traveller, Max(n, 1));
	int64	   *ids = palloc_array(int64, Max(n, 1));
	Datum		value;
	MaRows		rows;

	for (int i = 0; i < n; i++)
	{
		ids[i] = travellers[i].contact_id = contacts[i].contact_id;
		travellers[i].as_of = now;
		travellers[i].active = true;
	}
	value = ma_int8_array(ids, n);
	rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Traveller  *traveller = &travellers[ma_int32(&rows, i, 1) - 1];
		bool		isnull;

		(void) ma_value(&rows, i, 2, &isnull);
		traveller->stage = isnull ? NULL : ma_stage_by_id(ma_int32(&rows, i, 2));
		traveller->stored = ma_int64(&rows, i, 3);
		traveller->as_of = Min(traveller->stored, now);
	}
	return travellers;
}

/* From instant to instant up to now, all contacts together. */
static void
travel(void *arg)
{
	Journey    *journey = arg;
	int			nrules = journey->all->nrules;
	MaTruth    *truths = palloc_array(MaTruth, mul_size(Max(journey->n, 1), nrules));
	bool	   *wanted = palloc_array(bool, mul_size(Max(journey->n, 1), nrules));
	TimestampTz *as_of = palloc_array(TimestampTz, Max(journey->n, 1));
	bool		more = true;

	for (int round = 0; more; round++)
	{
		more = false;
		memset(wanted, false, mul_size(journey->n, nrules));
		for (int i = 0; i < journey->n; i++)
		{
			Traveller  *traveller = &journey->travellers[i];

			as_of[i] = traveller->as_of;
			for (int j = 0; j < journey->all->n && traveller->active; j++)
			{
				MaStage    *stage = journey->all->stages[j];

				wanted[i * nrules + stage->number] |= stage->rule != NULL &&
					(traveller->stage == NULL || traveller->stage->place < stage->place);
			}
		}
		ma_rule_set_evaluate(journey->all->set, journey->contacts, journey->n, as_of,
							 MA_RUN_READ_LATEST, wanted, truths);
		for (int i = 0; i < journey->n; i++)
			if (journey->travellers[i].active)
			{
				step(journey, i, &truths[i * nrules], round >= MAX_STEPS);
				more |= journey->travellers[i].active;
			}
	}
}

/* To the furthest stage whose rule is true; and when to look again. */
static void
step(Journey *journey, int place, const MaTruth *truths, bool last)
{
	Traveller  *traveller = &journey->travellers[place];
	MaStage    *from = traveller->stage;

	traveller->wake = DT_NOEND;
	for (int j = journey->all->n - 1; j >= 0; j--)
	{
		MaStage    *stage = journey->all->stages[j];

		if (from != NULL && stage->place <= from->place)
			break;
		if (stage->rule == NULL)
			continue;
		if (!truths[stage->number].truth)
		{
			traveller->wake = Min(traveller->wake, truths[stage->number].until);
			continue;
		}
		traveller->stage = stage;
		break;
	}
	if (traveller->stage != from)
	{
		MaStageMove *move = palloc0_object(MaStageMove);

		move->contact_id = traveller->contact_id;
		move->from = from;
		move->to = traveller->stage;
		move->at = traveller->as_of;
		move->origin = "rule";
		journey->moves = lappend(journey->moves, move);
	}
	traveller->active = traveller->wake <= journey->now;
	traveller->as_of = last ? journey->now : traveller->wake;
	if (last)
		traveller->active = false;
}

static void
write_wakes(const Traveller *travellers, int n)
{
	static MaStatement set = {
		"INSERT INTO marketing_internal.contact_stage AS c (contact_id, wake) "
		"SELECT u.contact_id, u.wake FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
		"AS u (contact_id, wake) ON CONFLICT (contact_id) DO UPDATE SET wake = EXCLUDED.wake",
		2, {INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	int64	   *ids = palloc_array(int64, Max(n, 1));
	Datum	   *wakes = palloc_array(Datum, Max(n, 1));
	Datum		values[2];
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		const Traveller *traveller = &travellers[i];

		if (traveller->stored == traveller->wake ||
			(traveller->stored == 0 && traveller->wake == DT_NOEND))
			continue;
		ids[count] = traveller->contact_id;
		wakes[count++] = TimestampTzGetDatum(traveller->wake);
	}
	if (count == 0)
		return;
	values[0] = ma_int8_array(ids, count);
	values[1] = ma_datum_array(wakes, count, TIMESTAMPTZOID);
	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
tell(const Journey *journey)
{
	int			n = list_length(journey->moves);
	MaStageMove *all = palloc_array(MaStageMove, n);
	MaRowChange *rows = palloc0_array(MaRowChange, n);
	int64	   *ids = palloc_array(int64, n);

	for (int i = 0; i < n; i++)
		all[i] = *(MaStageMove *) list_nth(journey->moves, i);
	n = ma_stage_moves_write(all, n);
	for (int i = 0; i < n; i++)
	{
		ids[i] = rows[i].contact_id = all[i].contact_id;
		rows[i].row_key = psprintf(INT64_FORMAT, all[i].change_id);
		rows[i].occurred_at = all[i].at;
		rows[i].properties = ma_stage_properties(&all[i]);
		rows[i].enroll = ma_guc_enroll && !is_quiet(journey, &all[i]);
	}
	ma_tell_events("stage_changed", rows, n, journey->now);
	ma_contacts_leave(ids, n);
	ma_worker_wake_at_commit();
}

/*
 * True while it is the rule that has changed, and not the contact: until the definition
 * has reached him.
 */
static bool
is_quiet(const Journey *journey, const MaStageMove *move)
{
	static MaStatement read = {
		"SELECT COALESCE(s.built_upto OPERATOR(pg_catalog.<) $2, false) "
		"FROM marketing_internal.stage AS s WHERE s.stage_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, INT8OID}
	};
	Datum		values[2];
	MaRows		rows;

	if (ma_worker_is_active() && ma_stage_is_stale(move->to))
		return true;
	for (uint64 i = 0; i < journey->passed.n; i++)
		if (ma_int64(&journey->passed, i, 1) == move->contact_id &&
			ma_int32(&journey->passed, i, 2) == move->to->id)
			return true;
	if (!move->to->building)
		return false;
	values[0] = Int32GetDatum(move->to->id);
	values[1] = Int64GetDatum(move->contact_id);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	return rows.n > 0 && ma_bool(&rows, 0, 1);
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
		"SELECT s.contact_id FROM marketing_internal.contact_stage AS s " MA_JOIN_DIRTY
		"WHERE s.wake OPERATOR(pg_catalog.<=) $1 AND w.waits IS NULL ORDER BY s.wake LIMIT $2",
		2, {TIMESTAMPTZOID, INT4OID}
	};
	MaRows		rows = ma_due_read(&read);
	int64	   *contacts = palloc_array(int64, Max(rows.n, 1));

	for (uint64 i = 0; i < rows.n; i++)
		contacts[i] = ma_int64(&rows, i, 1);
	return rows.n > 0 && ma_contacts_wake(contacts, NULL, (int) rows.n, false);
}

static TimestampTz
next_due(void)
{
	static MaStatement read = {
		"SELECT s.wake FROM marketing_internal.contact_stage AS s " MA_JOIN_DIRTY
		"WHERE s.wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
		"AND w.waits IS NULL ORDER BY s.wake LIMIT 1"
	};

	return ma_due_next(&read);
}
