/*
 * walk.c
 *		The time of one contact, from one instant at which something happens to the
 *		next: the engine's own turn is done at each of them.
 *
 * Nothing here knows what a step does.  A turn is the engine's: signals are applied,
 * rules checked, steps done (apply.c, admit.c, rules.c, steps.c, moves.c), on a batch of
 * this one contact, whose runs live in memory between the turns instead of in
 * enrollment.  What reaches outside (messages, lists, functions, enrollments) the engine
 * leaves out when its batch is of a simulation; what would become of a message is asked
 * of the gate's foresight, and comes back as the signal that settling it sends.
 *
 * The clock is the batch's.  Rules are evaluated as of its instant, so rows that came
 * later are not seen; their `until` tells when the next of them counts.
 */
#include "base/base.h"

#include "consent/consent.h"
#include "content/content.h"
#include "journeys/simulate/simulate.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#define MAX_TURNS_OF_INSTANT 1000

/* A walk through the time of one contact. */
typedef struct Walk
{
	MaSimulation *simulation;
	MaPerson	person;
	MaForesight *foresight;
	MaFactSeen **facts;
	int			nfacts;
	int			seen;			/* facts that are taken */
	List	   *settled;		/* MaSignal *: of messages and goals, for the next turn */
	int64		last_signal;
	char	   *contact;		/* as text */
} Walk;

static TimestampTz next_instant(const Walk *walk);
static bool is_followed(const Walk *walk);
static void take_facts(Walk *walk, TimestampTz now);
static void add_signal(Walk *walk, const MaSignal *signal);
static void add_entry(Walk *walk, const MaFactSeen *fact);
static void do_turn(Walk *walk, TimestampTz now);
static void begin_turn(MaTurnBatch *batch, Walk *walk, TimestampTz now);
static void deliver(Walk *walk, TimestampTz now);
static void foresee_quiet(const Walk *walk, MaForeseen *foreseen, TimestampTz now);
static void settle(Walk *walk, MaPendingMessage *message, TimestampTz now);
static void look_again(Walk *walk, TimestampTz now);
static void tell_goals(Walk *walk, const List *hits);
static void tell_settled(Walk *walk, const MaPendingMessage *message, TimestampTz now);
static void tell_event(Walk *walk, const char *name, const char *const *names,
					   const char *const *values, int n, TimestampTz at);
static void emit(const Walk *walk, int64 run, TimestampTz at, const char *step,
				 const char *what, const char *detail);
static void emit_inside(const Walk *walk);

/* The engine asks for messages: they wait until delivery has its turn. */
void
ma_simulate_send(MaTurnBatch *batch, const MaMessageRequest *requests, MaJourneyRun **runs, int n,
				 int64 *ids)
{
	MaSimulation *simulation = batch->simulation;

	for (int i = 0; i < n; i++)
	{
		MaPendingMessage *message = palloc0_object(MaPendingMessage);

		ids[i] = message->message_id = ++simulation->last_message;
		message->run = runs[i];
		message->step = requests[i].step;
		message->foreseen.template = ma_template_by_id(requests[i].template_id)->name;
		message->foreseen.not_after = requests[i].not_after;
		message->nowait = runs[i]->step->nowait;
		message->next_try = batch->now;
		simulation->pending = lappend(simulation->pending, message);
	}
}

int64
ma_simulate_run_id(MaTurnBatch *batch)
{
	return ++batch->simulation->last_run;
}

void
ma_simulate_contact(MaSimulation *simulation, MaContactChange *contact, const char *zone,
					MaFactSeen **facts, int n)
{
	Walk		walk = {simulation, {0}};
	TimestampTz now = DT_NOBEGIN;
	TimestampTz next;
	int			turns = 0;

	walk.person.contact_id = contact->contact_id;
	walk.person.contact = contact;
	walk.person.zone = unconstify(char *, zone);
	walk.person.locked = true;
	walk.facts = facts;
	walk.nfacts = n;
	walk.contact = ma_contact_text(contact->contact_id);
	ma_suppose_contact(contact->contact_id);
	walk.foresight = ma_foresight(contact->contact_id, zone, simulation->version->journey,
								  simulation->since);
	simulation->last_run = simulation->last_message = 0;
	simulation->pending = NIL;
	while ((next = next_instant(&walk)) <= simulation->until)
	{
		CHECK_FOR_INTERRUPTS();
		turns = next <= now ? turns + 1 : 0;
		if (turns > MAX_TURNS_OF_INSTANT)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the journey goes round without end at %s for contact %s",
							timestamptz_to_str(now), walk.contact)));
		now = Max(next, now);
		do_turn(&walk, now);
		deliver(&walk, now);
	}
	emit_inside(&walk);
}

/* What comes first: a fact, what a run waits for by time, a message's next try. */
static TimestampTz
next_instant(const Walk *walk)
{
	TimestampTz next = walk->settled != NIL ? DT_NOBEGIN :
		walk->seen < walk->nfacts ? walk->facts[walk->seen]->at : DT_NOEND;
	ListCell   *cell;

	foreach(cell, walk->person.runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (ma_run_is_live(run))
			next = Min(next, Min(run->due_at, run->check_at));
	}
	foreach(cell, walk->simulation->pending)
		next = Min(next, ((MaPendingMessage *) lfirst(cell))->next_try);
	return next;
}

/* True if events may concern him: a run goes on, or is over and may still reach its goal. */
static bool
is_followed(const Walk *walk)
{
	return walk->person.runs != NIL || walk->person.over != NIL;
}

/* ---- signals ---- */

static void
add_signal(Walk *walk, const MaSignal *signal)
{
	MaSignal   *added = palloc_object(MaSignal);

	*added = *signal;
	added->contact_id = walk->person.contact_id;
	added->signal_id = ++walk->last_signal;
	walk->person.signals = lappend(walk->person.signals, added);
}

/* What a commit would tell of the facts of this instant; see take_rows() of listen.c. */
static void
take_facts(Walk *walk, TimestampTz now)
{
	for (; walk->seen < walk->nfacts && walk->facts[walk->seen]->at <= now; walk->seen++)
	{
		const MaFactSeen *fact = walk->facts[walk->seen];

		if (fact->followed && (is_followed(walk) || walk->person.signals != NIL))
		{
			MaSignal	signal = {
				.kind = MA_SIGNAL_EVENT, .at = fact->at, .event_id = fact->event_id,
				.row = fact->row
			};

			add_signal(walk, &signal);
		}
		if (fact->enters)
			add_entry(walk, fact);
	}
}

static void
add_entry(Walk *walk, const MaFactSeen *fact)
{
	MaVersion  *version = walk->simulation->version;
	MaSignal	signal = {
		.kind = MA_SIGNAL_ENTER, .at = fact->at, .journey_id = version->journey_id,
		.event_id = fact->event_id, .row = fact->row, .key = fact->key, .by_time = fact->by_time
	};
	MaRowChange row = {
		.contact_id = fact->contact_id, .event_id = fact->event_id, .kind = MA_ROW_HAPPENED,
		.occurred_at = fact->at, .properties = fact->row, .enroll = true
	};

	if (fact->event_id != 0 && !ma_entry_fits(version, &row, &signal.reason))
		return;
	if (version->program->entry != NULL && version->program->entry->key != NULL && fact->row != 0)
		signal.key = ma_row_text(fact->row, version->program->entry->key);
	add_signal(walk, &signal);
}

/* ---- a turn ---- */

/* The batch that batch_read.c would read: runs as they were written, with what is due. */
static void
begin_turn(MaTurnBatch *batch, Walk *walk, TimestampTz now)
{
	MaPerson   *person = &walk->person;
	List	   *live = NIL;
	ListCell   *cell;

	foreach(cell, person->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (!ma_run_is_live(run))
		{
			run->over = true;
			person->over = lappend(person->over, run);
			continue;
		}
		run->is_new = run->changed = run->marks_changed = run->check = run->moved = false;
		run->as_of = run->looked_at = 0;
		run->steps = 0;
		run->last_signal = 0;
		if (run->check_at <= now)
			ma_run_check(run, run->check_at);
		live = lappend(live, run);
	}
	person->runs = live;
	/* Of who has come to his end only what may still reach a goal is read. */
	foreach(cell, person->over)
		if (ma_goals_until(lfirst(cell)) < now)
			person->over = foreach_delete_current(person->over, cell);
	foreach(cell, person->history)
	{
		MaHistory  *entry = lfirst(cell);

		entry->recent = entry->last_entry > now - USECS_PER_HOUR ? 1 : 0;
	}
	person->until = 0;
	batch->now = now;
	batch->simulation = walk->simulation;
	batch->journeys = &walk->simulation->journeys;
	batch->persons = person;
	batch->n = 1;
	batch->signals = list_copy(person->signals);
	batch->runs = list_copy(live);
}

static void
do_turn(Walk *walk, TimestampTz now)
{
	MaTurnBatch batch = {0};
	List	   *told;
	ListCell   *cell;

	walk->person.signals = NIL;
	foreach(cell, walk->settled)
		add_signal(walk, lfirst(cell));
	walk->settled = NIL;
	take_facts(walk, now);
	if (walk->person.signals == NIL && !is_followed(walk))
		return;
	begin_turn(&batch, walk, now);
	told = walk->person.signals;
	ma_signals_apply(&batch);
	/* Those that are put off come again. */
	foreach(cell, told)
		if (!list_member_ptr(batch.signals, lfirst(cell)))
			walk->settled = lappend(walk->settled, lfirst(cell));
	do
		ma_rules_check(&batch);
	while (ma_steps_do(&batch));
	foreach(cell, batch.log)
	{
		MaLogEntry *entry = lfirst(cell);

		emit(walk, entry->enrollment_id, entry->at, entry->step, entry->what, entry->detail);
	}
	walk->person.signals = NIL;
	ma_simulate_rows_of_log(walk->simulation, batch.log);
	tell_goals(walk, batch.hits);
	look_again(walk, now);
}

/* In truth what has changed of a contact has his rules looked at again. */
static void
look_again(Walk *walk, TimestampTz now)
{
	MaSignal   *signal;

	if (walk->simulation->changed && walk->simulation->version->has_rules)
	{
		signal = palloc0_object(MaSignal);
		signal->kind = MA_SIGNAL_CHECK;
		signal->at = now;
		walk->settled = lappend(walk->settled, signal);
	}
	walk->simulation->changed = false;
}

/* goal_reached, which a wait of the journey may be for. */
static void
tell_goals(Walk *walk, const List *hits)
{
	const char *names[] = {"journey"};
	const char *values[] = {walk->simulation->version->journey};
	ListCell   *cell;

	foreach(cell, hits)
		if (!((MaGoalHit *) lfirst(cell))->goal->milestone)
			tell_event(walk, "goal_reached", names, values, lengthof(names),
					   ((MaGoalHit *) lfirst(cell))->at);
}

/* ---- messages ---- */

/* What delivery does with what is due: it goes, it never goes, or it waits. */
static void
deliver(Walk *walk, TimestampTz now)
{
	List	   *pending = walk->simulation->pending;
	List	   *waiting = NIL;
	ListCell   *cell;

	foreach(cell, pending)
	{
		MaPendingMessage *message = lfirst(cell);

		if (message->run->state == MA_STATE_EXITED)
		{
			emit(walk, message->run->enrollment_id, message->run->ended_at, message->step,
				 "not sent", "exited");
			continue;
		}
		if (message->next_try > now)
		{
			waiting = lappend(waiting, message);
			continue;
		}
		foresee_quiet(walk, &message->foreseen, now);
		ma_foresee(walk->foresight, &message->foreseen, now);
		if (message->foreseen.state != MA_MESSAGE_DEFERRED)
		{
			settle(walk, message, now);
			continue;
		}
		/* Its next instant lies ahead, or it would be asked about for ever. */
		message->next_try = Max(message->foreseen.next_try, now + 1);
		emit(walk, message->run->enrollment_id, now, message->step, "deferred",
			 message->foreseen.reason);
		waiting = lappend(waiting, message);
	}
	walk->simulation->pending = waiting;
	look_again(walk, now);
}

/* Quiet hours of the journey's own, as quiet.c has them for a version that is active. */
static void
foresee_quiet(const Walk *walk, MaForeseen *foreseen, TimestampTz now)
{
	const MaVersion *version = walk->simulation->version;
	const MaWindow *quiet = version->program->quiet;
	const char *zone = walk->person.zone ? walk->person.zone : version->zone;

	foreseen->own_quiet = quiet != NULL;
	if (quiet == NULL)
		return;
	if (!ma_window_within(quiet, now, zone, &foreseen->quiet_until))
		foreseen->quiet_until = 0;
	foreseen->quiet_reason = ma_quiet_reason(version->journey, quiet);
}

static void
settle(Walk *walk, MaPendingMessage *message, TimestampTz now)
{
	MaSignal   *signal = palloc0_object(MaSignal);

	if (message->nowait)
		emit(walk, message->run->enrollment_id, now, message->step,
			 message->foreseen.reason ? "not sent" : "sent",
			 message->foreseen.reason ? message->foreseen.reason : message->foreseen.template);
	signal->kind = MA_SIGNAL_SETTLED;
	signal->at = now;
	signal->enrollment_id = message->run->enrollment_id;
	signal->message_id = message->message_id;
	signal->reason = message->foreseen.reason;
	walk->settled = lappend(walk->settled, signal);
	tell_settled(walk, message, now);
}

/* email_sent and the like. */
static void
tell_settled(Walk *walk, const MaPendingMessage *message, TimestampTz now)
{
	MaTemplate *template = ma_template_required(message->foreseen.template);
	const char *verb = message->foreseen.state == MA_MESSAGE_SENT ? "sent" : "skipped";
	const char *names[] = {"template", "journey", "step", "topic"};
	const char *values[] = {
		template->name, walk->simulation->version->journey, message->step, template->topic
	};

	tell_event(walk, psprintf("%s_%s", template->channel, verb), names, values, lengthof(names),
			   now);
}

/* An event of our own, for the next turn of this instant and for rules from then on. */
static void
tell_event(Walk *walk, const char *name, const char *const *names, const char *const *values,
		   int n, TimestampTz at)
{
	MaEvent    *event = ma_event_by_name(ma_definitions(), name);
	Datum		row = ma_simulate_row(walk->simulation, name, names, values, n, at);
	MaSignal   *signal;

	if (event == NULL)
		return;
	signal = palloc0_object(MaSignal);
	signal->kind = MA_SIGNAL_EVENT;
	signal->at = at;
	signal->event_id = event->id;
	signal->row = row;
	walk->settled = lappend(walk->settled, signal);
}

/* ---- what comes out ---- */

static void
emit(const Walk *walk, int64 run, TimestampTz at, const char *step, const char *what,
	 const char *detail)
{
	ReturnSetInfo *result = walk->simulation->result;
	Datum		values[6] = {0};
	bool		nulls[6] = {walk->contact == NULL, run == 0, false, step == NULL, false,
	detail == NULL};

	if (walk->simulation->silent)
		return;
	if (walk->contact != NULL)
		values[0] = CStringGetTextDatum(walk->contact);
	values[1] = Int64GetDatum(run);
	values[2] = TimestampTzGetDatum(at);
	if (step != NULL)
		values[3] = CStringGetTextDatum(step);
	values[4] = CStringGetTextDatum(what);
	if (detail != NULL)
		values[5] = CStringGetTextDatum(detail);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Who has not come to the end by then. */
static void
emit_inside(const Walk *walk)
{
	ListCell   *cell;

	foreach(cell, walk->person.runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (ma_run_is_live(run) && run->step != NULL)
			emit(walk, run->enrollment_id, walk->simulation->until, run->step->id, "inside",
				 run->state == MA_STATE_PARKED ? "parked" :
				 run->message_id != 0 ? "waits for its message" :
				 TIMESTAMP_NOT_FINITE(run->due_at) ? "waits for an event" :
				 psprintf("waits until %s", timestamptz_to_str(run->due_at)));
	}
}
