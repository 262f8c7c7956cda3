/*
 * evaluate.c
 *		One evaluation of marks, for the flush at commit and for the worker.
 *
 * The order is what makes it right: lock relations, learn the contacts, lock
 * them, and only then read what is decided by, under a snapshot taken after the
 * lock.  Each transaction that touches a contact evaluates it under its lock,
 * held to the transaction's end, so the last evaluation has seen every row.
 *
 * Errors are not caught here: flush.c and drain.c run this in a subtransaction.
 */
#include "base/base.h"

#include "contacts/flush/evaluate.h"
#include "miscadmin.h"

static void begin_call(MaEvaluation *evaluation);
static void make_works(MaEvaluation *evaluation);
static void rename_keys(MaEvaluation *evaluation);
static void leave_changed(MaEvaluation *evaluation);
static void add_created(MaEvaluation *evaluation);
static void collect_added(MaContactChange *contact, const MaWork *work);
static void add_event(MaContactChange *contact, const MaEventChange *event);
static void recompute(MaEvaluation *evaluation);
static void tell_consumers(MaEvaluation *evaluation);
static bool is_added(const MaMark *mark);
static bool is_ignored(const MaEvaluation *evaluation, int place);
static void wait_for_build(MaEvaluation *evaluation);
static void finish(MaEvaluation *evaluation);
static bool apply_refresh(MaEvaluation *evaluation);

void
ma_evaluate(MaEvaluation *evaluation)
{
	Assert(evaluation->nmarks <= MA_MAX_MARKS);
	INSTR_TIME_SET_CURRENT(evaluation->start);
	ma_changes_note_evaluation();
	make_works(evaluation);
	evaluation->rows_only = ma_is_rows_only(evaluation);
	if (!evaluation->rows_only)
		begin_call(evaluation);
	if (!ma_lock_relations(evaluation))
	{
		evaluation->left_lock += evaluation->nmarks;
		evaluation->failed_images = evaluation->images;
		return;
	}
	if (!ma_lock_rekeyed(evaluation))
	{
		/* Without the new names nothing can be told apart. */
		evaluation->failed_images = evaluation->images;
		return;
	}
	rename_keys(evaluation);
	ma_lock_links(evaluation);
	ma_resolve_links(evaluation);
	ma_unite_links(evaluation);
	ma_resolve_keys(evaluation);
	ma_refresh_decide(evaluation);
	ma_lock_contacts(evaluation);
	ma_lock_unknown_keys(evaluation);
	if (evaluation->rows_only && ma_settle_unmoved(evaluation))
	{
		finish(evaluation);
		return;
	}
	begin_call(evaluation);
	ma_load_keys(evaluation);
	leave_changed(evaluation);
	ma_refresh_check(evaluation);
	ma_leave_renamed(evaluation);
	if (apply_refresh(evaluation))
	{
		add_created(evaluation);
		ma_load_keys(evaluation);
	}
	wait_for_build(evaluation);
	ma_collect_changes(evaluation);
	recompute(evaluation);
	evaluation->now = ma_clock();
	ma_merged_leave(evaluation->contacts, evaluation->ncontacts);
	tell_consumers(evaluation);
	ma_evaluate_images(evaluation);
	finish(evaluation);
}

/* From here on statements may be run. */
static void
begin_call(MaEvaluation *evaluation)
{
	MemoryContext context = CurrentMemoryContext;

	if (evaluation->call == NULL || evaluation->called)
		return;
	ma_call_begin(evaluation->call);
	MemoryContextSwitchTo(context);
	evaluation->called = true;
}

static void
make_works(MaEvaluation *evaluation)
{
	evaluation->works = palloc0_array(MaWork, Max(evaluation->nmarks, 1));
	for (int i = 0; i < evaluation->nmarks; i++)
	{
		MaMark	   *mark = evaluation->marks[i];
		MaWork	   *work = &evaluation->works[evaluation->nworks++];

		work->mark = mark;
		if (mark->tag.kind == MA_MARK_KEY)
		{
			work->source_id = mark->tag.id;
			work->external_id = mark->tag.text;
		}
		else if (mark->tag.kind == MA_MARK_CONTACT)
			work->contact_id = mark->tag.contact_id;
	}
}

/* Gives re-keyed rows' keys their new names. */
static void
rename_keys(MaEvaluation *evaluation)
{
	ListCell   *cell;

	foreach(cell, ma_rekeys_order(evaluation->rekeys))
		ma_rekey_apply(lfirst(cell));
	foreach(cell, evaluation->rekeys)
		((MaRekey *) lfirst(cell))->done = true;
}

/* Looks at the keys again under the locks; who is somebody else now is left. */
static void
leave_changed(MaEvaluation *evaluation)
{
	int64	   *before = palloc_array(int64, Max(evaluation->nworks, 1));

	for (int i = 0; i < evaluation->nworks; i++)
		before[i] = evaluation->works[i].action == MA_ACTION_LINK ?
			0 : evaluation->works[i].contact_id;
	ma_resolve_again(evaluation);
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];

		if (work->left || work->external_id == NULL)
			continue;
		if (work->contact_id != before[i])
		{
			evaluation->left_lock++;
			work->left = true;
		}
		if (work->action == MA_ACTION_LINK)
			work->contact_id = work->row->contact_id;
	}
}

static bool
apply_refresh(MaEvaluation *evaluation)
{
	bool		changed = ma_refresh_apply(evaluation);

	/* Events of contacts made just now were marked by key: find them. */
	if (changed)
		for (int i = 0; i < evaluation->nworks; i++)
		{
			MaWork	   *work = &evaluation->works[i];

			if (work->external_id == NULL)
				continue;
			for (int j = 0; j < evaluation->nworks && work->contact_id == 0; j++)
				if (evaluation->works[j].contact_id != 0 &&
					evaluation->works[j].external_id != NULL &&
					evaluation->works[j].source_id == work->source_id &&
					strcmp(evaluation->works[j].external_id, work->external_id) == 0)
					work->contact_id = evaluation->works[j].contact_id;
		}
	return changed;
}

/* Adds contacts made in this evaluation; nobody else can see them, so no lock. */
static void
add_created(MaEvaluation *evaluation)
{
	int			n = evaluation->ncontacts;
	MaContactChange *contacts = palloc0_array(MaContactChange, n + evaluation->nworks);

	memcpy(contacts, evaluation->contacts, sizeof(MaContactChange) * n);
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];
		bool		known = work->left || work->contact_id == 0;

		for (int j = 0; j < n && !known; j++)
			known = contacts[j].contact_id == work->contact_id;
		if (!known)
			contacts[n++].contact_id = work->contact_id;
	}
	qsort(contacts, n, sizeof(MaContactChange), ma_contact_change_compare);
	evaluation->contacts = contacts;
	evaluation->ncontacts = n;
}

void
ma_collect_changes(MaEvaluation *evaluation)
{
	for (int i = 0; i < evaluation->ncontacts; i++)
	{
		evaluation->contacts[i].added_only = evaluation->adds;
		evaluation->contacts[i].added = NIL;
	}
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];
		MaContactChange *contact;

		if (work->left || work->contact_id == 0)
			continue;
		contact = ma_find_contact(evaluation, work->contact_id);
		if (contact == NULL)
			continue;
		contact->identity |= work->mark->identity;
		collect_added(contact, work);
		for (int j = 0; j < work->mark->nevents; j++)
			add_event(contact, &work->mark->events[j]);
	}
}

/* Rows that were added under one key of the contact, without those that were rolled back. */
static void
collect_added(MaContactChange *contact, const MaWork *work)
{
	const MaMark *mark = work->mark;

	if (mark->tag.kind != MA_MARK_KEY || mark->identity || mark->added_lost || work->excluded)
		contact->added_only = false;
	for (MaAddedRow *row = mark->added; row != NULL && contact->added_only; row = row->next)
		if (ma_changes_live(row->xid))
			contact->added = lappend(contact->added, row);
}

static void
add_event(MaContactChange *contact, const MaEventChange *event)
{
	for (int i = 0; i < contact->nevents; i++)
		if (contact->events[i].event_id == event->event_id)
		{
			contact->events[i].sign |= event->sign;
			return;
		}
	contact->events = contact->events == NULL ? palloc_object(MaEventChange) :
		repalloc(contact->events, mul_size(sizeof(MaEventChange), contact->nevents + 1));
	contact->events[contact->nevents++] = *event;
}

/* Address fields of contacts whose rows or keys changed. */
static void
recompute(MaEvaluation *evaluation)
{
	int64	   *ids = palloc_array(int64, Max(evaluation->ncontacts, 1));
	int			n = 0;

	for (int i = 0; i < evaluation->ncontacts; i++)
		if (evaluation->contacts[i].identity)
			ids[n++] = evaluation->contacts[i].contact_id;
	if (n > 0)
		ma_contacts_recompute(ids, n);
}

/*
 * At commit one contact at a time, within the budget; in the worker all together.
 * Who is left by then and whose keys changed is left as a contact, too: the key that
 * was marked may be gone by now, and nothing but the contact's number leads to him.
 */
static void
tell_consumers(MaEvaluation *evaluation)
{
	int64	   *late = palloc_array(int64, Max(evaluation->ncontacts, 1));
	int			nlate = 0;

	if (evaluation->worker)
	{
		ma_consumers_evaluate(evaluation->contacts, evaluation->ncontacts, evaluation->now);
		evaluation->evaluated = evaluation->ncontacts;
		return;
	}
	for (int i = 0; i < evaluation->ncontacts; i++)
	{
		MaContactChange *contact = &evaluation->contacts[i];

		CHECK_FOR_INTERRUPTS();
		if (i > 0 && ma_evaluation_late(evaluation))
		{
			evaluation->left_budget++;
			if (contact->identity)
				late[nlate++] = contact->contact_id;
			for (int j = 0; j < evaluation->nworks; j++)
				if (evaluation->works[j].contact_id == contact->contact_id)
					evaluation->works[j].left = true;
			continue;
		}
		ma_consumers_evaluate_one(evaluation->definitions, contact, evaluation->now);
		evaluation->evaluated++;
	}
	if (nlate > 0)
		ma_contacts_leave(late, nlate);
}

/* True if rows of an event were added. */
static bool
is_added(const MaMark *mark)
{
	for (int i = 0; i < mark->nevents; i++)
		if (mark->events[i].sign & MA_SIGN_PLUS)
			return true;
	return false;
}

/*
 * True if rows of an event came to a key of nobody; each key counts once, whether it
 * is marked itself or by a link, and not where the worker will count it.
 */
static bool
is_ignored(const MaEvaluation *evaluation, int place)
{
	const MaWork *work = &evaluation->works[place];

	if (work->contact_id != 0 || work->left || !is_added(work->mark))
		return false;
	for (int i = 0; i < evaluation->nworks; i++)
	{
		const MaWork *other = &evaluation->works[i];

		if (other->contact_id == 0 && (i < place || other->image_left) &&
			other->source_id == work->source_id && is_added(other->mark) &&
			other->external_id != NULL && work->external_id != NULL &&
			strcmp(other->external_id, work->external_id) == 0)
			return false;
	}
	return !work->image_left;
}

/* While a large table is being read, the contact of a key that is not known may come yet. */
static void
wait_for_build(MaEvaluation *evaluation)
{
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];
		MaSource   *source = ma_source_by_id(evaluation->definitions, work->source_id);

		if (work->contact_id == 0 && source != NULL && source->building)
			work->left = true;
	}
}

/* Says which marks are done; an event of nobody we know is counted, and done. */
static void
finish(MaEvaluation *evaluation)
{
	int			ignored = 0;

	/* Once more: the transaction's first change may have come meanwhile, of a user's trigger. */
	ma_changes_note_evaluation();
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];

		ignored += is_ignored(evaluation, i);
		work->mark->done = !work->left;
		work->mark->contact_id = work->contact_id;
	}
	ma_count(MA_COUNT_IGNORED_ROWS, ignored);
}
