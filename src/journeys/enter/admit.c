/*
 * admit.c
 *		Who may enter: filter, re-entry, what happens to a second entry of the same
 *		key, and how many runs one contact may have at once.
 *
 * Entries are taken one after the other in the order of their commits, under the
 * contact's lock and against what the ones before led to, so two commits at the same
 * time cannot both be the first.  A refused entry is logged with its reason.
 */
#include "base/base.h"

#include "journeys/engine.h"

#define MAX_LOCKED 3			/* entries whose filters wait for a lock in vain, each alone */

/* The filter of one version for those who want to enter by it. */
typedef struct Filter
{
	MaVersion  *version;
	MaSignal  **signals;
	MaContactChange *contacts;
	TimestampTz now;
	int			n;
} Filter;

static void evaluate_filter(void *arg);
static void filter_or_each(Filter *filter);
static MaJourneyRun *same_run(MaPerson *person, MaVersion *version, const MaSignal *signal);
static bool repeat(MaTurnBatch *batch, MaJourneyRun *run, MaVersion *version, MaSignal *signal);
static const char *refusal(MaPerson *person, MaVersion *version, const MaSignal *signal);
static const char *refusal_by_history(MaPerson *person, MaVersion *version, const MaSignal *signal);
static const char *refusal_by_ring(MaPerson *person, MaVersion *version, const MaSignal *signal);
static void log_refusal(MaTurnBatch *batch, MaPerson *person, MaVersion *version,
						const MaSignal *signal, const char *reason);
static void log_entry(MaTurnBatch *batch, MaPerson *person, MaVersion *version,
					  const MaSignal *signal, const char *what, const char *reason);
static void enter(MaTurnBatch *batch, MaPerson *person, MaVersion *version, MaSignal *signal);

static MaPerson *
person_of(MaTurnBatch *batch, int64 contact_id)
{
	for (int i = 0; i < batch->n; i++)
		if (batch->persons[i].contact_id == contact_id)
			return &batch->persons[i];
	elog(ERROR, "cannot happen: contact " INT64_FORMAT " is not in the batch", contact_id);
}

/* Filters of all who want to enter, each filter once for all of them. */
void
ma_filters_evaluate(MaTurnBatch *batch)
{
	int			total = list_length(batch->signals);
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, batch->journeys->versions)
	{
		MaVersion  *version = lfirst(cell);
		Filter		filter = {0};

		if (!version->current || version->program->filter == NULL)
			continue;
		filter.version = version;
		filter.now = batch->now;
		filter.signals = palloc_array(MaSignal *, Max(total, 1));
		filter.contacts = palloc_array(MaContactChange, Max(total, 1));
		foreach(inner, batch->signals)
		{
			MaSignal   *signal = lfirst(inner);

			if (signal->kind != MA_SIGNAL_ENTER || signal->journey_id != version->journey_id)
				continue;
			filter.signals[filter.n] = signal;
			filter.contacts[filter.n++] = *person_of(batch, signal->contact_id)->contact;
		}
		if (filter.n > 0)
			filter_or_each(&filter);
	}
}

static void
evaluate_filter(void *arg)
{
	Filter	   *filter = arg;
	MaTruth    *truth = palloc0_array(MaTruth, filter->n);
	TimestampTz *as_of = palloc_array(TimestampTz, filter->n);
	Datum	   *entries = palloc_array(Datum, filter->n);

	(void) ma_version_filter(filter->version);
	for (int i = 0; i < filter->n; i++)
	{
		as_of[i] = filter->now;
		entries[i] = filter->signals[i]->row;
	}
	ma_rule_set_evaluate_entered(filter->version->filter_set, filter->contacts, filter->n, as_of,
								 entries, MA_RUN_READ_LATEST, NULL, truth);
	for (int i = 0; i < filter->n; i++)
	{
		filter->signals[i]->filter_known = true;
		filter->signals[i]->filter_true = truth[i].truth;
	}
}

/*
 * When it fails for all, for each alone: whose fault it is does not enter.  Somebody's lock is
 * nobody's fault, and the entry is looked at again.
 */
static void
filter_or_each(Filter *filter)
{
	ErrorData  *error = ma_drain_protect(evaluate_filter, filter, 5000);
	int			locked = 0;

	if (error == NULL)
		return;
	if (filter->n == 1 && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && !ma_supposing())
	{
		filter->signals[0]->filter_locked = true;
		return;
	}
	if (filter->n == 1)
	{
		filter->signals[0]->filter_known = true;
		filter->signals[0]->filter_error = psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
													error->message);
		ma_engine_error(error->sqlerrcode, error->message);
		return;
	}
	for (int i = 0; i < filter->n; i++)
	{
		Filter		single = *filter;

		single.signals = &filter->signals[i];
		single.contacts = &filter->contacts[i];
		single.n = 1;
		/* What blocks several mostly is a table, and all of them would wait for it. */
		if (locked >= MAX_LOCKED)
			filter->signals[i]->filter_locked = true;
		else
			filter_or_each(&single);
		locked += filter->signals[i]->filter_locked;
	}
}

/*
 * True if a run of the contact has steps to do that fell due before the entry: a scheduler
 * that was away comes to the same as one that was there.
 */
static bool
is_behind(const MaTurnBatch *batch, const MaPerson *person, const MaVersion *version,
		  const MaSignal *signal)
{
	ListCell   *cell;

	if (batch->simulation != NULL)
		return false;
	foreach(cell, person->runs)
	{
		const MaJourneyRun *run = lfirst(cell);

		if (run->version->journey_id == version->journey_id && run->state <= MA_STATE_WAITING &&
			!run->version->held && run->due_at < signal->at && run->due_at <= batch->now)
			return true;
	}
	return false;
}

bool
ma_admit(MaTurnBatch *batch, MaPerson *person, MaSignal *signal)
{
	MaVersion  *version = ma_journey_current(batch->journeys, signal->journey_id);
	MaJourneyRun *same;
	const char *reason;

	/* The journey, or the contact, may have gone since. */
	if (version == NULL)
		return true;
	if (signal->filter_locked || is_behind(batch, person, version, signal))
		return false;
	if (person->contact->nkeys == 0)
		reason = "the contact was deleted";
	else if (version->closed != NULL)
		reason = psprintf("the journey is %s", version->closed);
	else if (signal->reason != NULL)
		reason = signal->reason;
	else if (signal->filter_error != NULL)
		reason = psprintf("filter: %s", signal->filter_error);
	else if (signal->filter_known && !signal->filter_true)
		reason = psprintf("filter: %s", version->program->filter);
	else
	{
		same = same_run(person, version, signal);
		if (same != NULL && repeat(batch, same, version, signal))
			return true;
		reason = refusal(person, version, signal);
		if (reason == NULL)
			reason = ma_intake_refusal(batch, version, signal->at);
		if (reason == NULL && ma_intake_holds(batch, version, signal))
		{
			log_entry(batch, person, version, signal, "held", "surge_limit: too many came by time");
			return true;
		}
	}
	if (reason != NULL)
		log_refusal(batch, person, version, signal, reason);
	else
		enter(batch, person, version, signal);
	return true;
}

/* The run that this is a repeated entry of: of the same key, or the only one he may have. */
static MaJourneyRun *
same_run(MaPerson *person, MaVersion *version, const MaSignal *signal)
{
	ListCell   *cell;

	foreach(cell, person->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		if (!ma_run_is_live(run) || run->version->journey_id != version->journey_id)
			continue;
		if (version->program->entry && version->program->entry->key)
		{
			if (run->key && signal->key && strcmp(run->key, signal->key) == 0)
				return run;
		}
		else if (version->program->reentry != MA_REENTRY_ALWAYS)
			return run;
	}
	return NULL;
}

/* on_repeat; false when it is an entry like any other (which is refused, or not). */
static bool
repeat(MaTurnBatch *batch, MaJourneyRun *run, MaVersion *version, MaSignal *signal)
{
	/* By hand there is no row to go on with. */
	if (signal->row == 0)
		return false;
	switch (version->program->on_repeat)
	{
		case MA_REPEAT_IGNORE:
			/* One that is entered by enroll() and steps alone has no entry. */
			if (version->program->entry == NULL || version->program->entry->key == NULL)
				return false;
			log_refusal(batch, run->person, version, signal, "is inside with the same key");
			return true;
		case MA_REPEAT_REFRESH:
			run->entry = signal->row;
			run->looked_at = 0;
			run->changed = true;
			ma_run_log(batch, run, signal->at, "refreshed", NULL);
			return true;
		case MA_REPEAT_RESTART:
			ma_run_finish(batch, run, MA_STATE_EXITED, signal->at, "restarted");
			enter(batch, run->person, version, signal);
			return true;
	}
	return false;
}

/* Why the entry is refused; NULL if it is not. */
static const char *
refusal(MaPerson *person, MaVersion *version, const MaSignal *signal)
{
	int			live = 0;
	const char *reason;
	ListCell   *cell;

	foreach(cell, person->runs)
	{
		MaJourneyRun *run = lfirst(cell);

		live += ma_run_is_live(run) && run->version->journey_id == version->journey_id;
	}
	if (version->program->max_live > 0 && live >= version->program->max_live)
		return psprintf("max_live: is inside %d times", live);
	if (live > 0 && version->program->reentry == MA_REENTRY_AFTER_EXIT)
		return "reentry after_exit: is inside";
	reason = refusal_by_ring(person, version, signal);
	return reason ? reason : refusal_by_history(person, version, signal);
}

/*
 * The net under ring.c: what is entered by what journeys do (or by hand), and not by a
 * row of somebody's table, is entered so often only if it leads back into itself.
 */
static const char *
refusal_by_ring(MaPerson *person, MaVersion *version, const MaSignal *signal)
{
	MaEvent    *event = signal->event_id ? ma_event_by_id(ma_definitions(), signal->event_id) :
		NULL;
	int			recent = 0;
	char	   *reason;
	ListCell   *cell;

	if (event != NULL && ma_builtin_columns(event->name) == NULL)
		return NULL;
	foreach(cell, person->history)
	{
		MaHistory  *history = lfirst(cell);

		if (history->journey_id == version->journey_id)
			recent += history->recent;
	}
	if (recent < MA_ENTRIES_PER_HOUR)
		return NULL;
	reason = psprintf("has entered %d times within an hour: it leads back into itself", recent);
	ma_engine_error(ERRCODE_MA_INVALID_JOURNEY,
					psprintf("journey \"%s\": a contact %s", version->journey, reason));
	return reason;
}

static const char *
refusal_by_history(MaPerson *person, MaVersion *version, const MaSignal *signal)
{
	MaProgram  *program = version->program;
	ListCell   *cell;

	foreach(cell, person->history)
	{
		MaHistory  *history = lfirst(cell);

		if (history->journey_id != version->journey_id)
			continue;
		/* Another version, or zone, may tell another instant of the same day. */
		if (program->date != NULL && program->reentry != MA_REENTRY_ALWAYS && history->key &&
			signal->key && strcmp(history->key, signal->key) == 0)
			return psprintf("has entered for %s before", signal->key);
		if (program->reentry == MA_REENTRY_ONCE)
			return "reentry once: has entered before";
		if (program->reentry == MA_REENTRY_PER_KEY &&
			(history->key && signal->key ? strcmp(history->key, signal->key) == 0 :
			 history->key == signal->key))
			return psprintf("reentry per_key: has entered with key %s before",
							signal->key ? signal->key : "null");
		if (program->reentry == MA_REENTRY_EVERY &&
			ma_duration_add(history->last_entry, program->every,
							person->zone ? person->zone : version->zone) > signal->at)
			return psprintf("reentry every %s: has entered within that time", program->every);
	}
	return NULL;
}

static void
log_refusal(MaTurnBatch *batch, MaPerson *person, MaVersion *version, const MaSignal *signal,
			const char *reason)
{
	log_entry(batch, person, version, signal, "refused", reason);
}

static void
log_entry(MaTurnBatch *batch, MaPerson *person, MaVersion *version, const MaSignal *signal,
		  const char *what, const char *reason)
{
	MaLogEntry *entry = palloc0_object(MaLogEntry);

	entry->contact_id = person->contact_id;
	entry->journey_id = version->journey_id;
	entry->version = version->version;
	entry->at = signal->at;
	entry->what = what;
	entry->detail = reason;
	batch->log = lappend(batch->log, entry);
}

static void
enter(MaTurnBatch *batch, MaPerson *person, MaVersion *version, MaSignal *signal)
{
	MaJourneyRun *run = palloc0_object(MaJourneyRun);
	MaHistory  *history = palloc0_object(MaHistory);
	List	   *steps = version->program->steps;
	MaEvent    *event = signal->event_id ? ma_event_by_id(ma_definitions(),
			signal->event_id) : NULL;
	const char *by = event ? event->name :
		version->program->date && signal->key ? version->program->date->column :
		version->program->schedule && signal->row ? "schedule" : "by hand";

	ma_intake_count(batch, version, signal);
	run->enrollment_id = ma_turn_new_id(batch);
	run->version = version;
	run->person = person;
	run->key = signal->key;
	run->entry = signal->row;
	run->entered_at = signal->at;
	run->due_at = run->check_at = run->stored_due = run->stored_check = DT_NOEND;
	run->is_new = run->changed = true;
	ma_run_check(run, signal->at);
	run->last_signal = signal->signal_id;
	person->runs = lappend(person->runs, run);
	batch->runs = lappend(batch->runs, run);
	history->journey_id = version->journey_id;
	history->key = signal->key;
	history->last_entry = signal->at;
	history->recent = 1;
	person->history = lappend(person->history, history);
	ma_run_log(batch, run, signal->at, "entered",
			   signal->key ? psprintf("%s, key %s", by, signal->key) : by);
	ma_run_arrive(batch, run, steps ? linitial(steps) : NULL, signal->at);
}
