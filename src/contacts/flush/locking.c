/*
 * locking.c
 *		Takes the locks of an evaluation within its time: relations, contacts in
 *		ascending order, keys of contacts that do not exist yet.
 *
 * Nothing here waits in the lock queue: it tries, pauses a moment and tries again
 * until the time is used up, then goes through the rest without waiting.  Who
 * does not get a contact leaves that contact alone to the worker.  So an
 * evaluation can be neither victim nor cause of a deadlock.
 *
 * A key lock settles the race of a contact being made and an event being
 * recorded for it: one of the two transactions sees the other's row.  So does a
 * link lock for a row that gets another contact (an order) and one that comes to it
 * by its link (an item), whose transactions may have no contact in common.
 */
#include "base/base.h"

#include "contacts/flush/evaluate.h"
#include "contacts/capture/rate.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/typcache.h"
#include "worker/worker.h"

#define PAUSE_MS 1

static int	reserved = 0;		/* locks this transaction has reserved */
static int	reserved_links = 0; /* of these, for links: they have a limit of their own */
static int	reserved_batch = 0; /* besides, for the batch of a worker */

static bool lock_relation(MaEvaluation *evaluation, Oid relid);
static List *relations_of_events(MaEvaluation *evaluation, int32 event_id, List *relids);
static List *relations_of_event(MaEvaluation *evaluation, int32 event_id, List *relids);
static List *relations_of_identity(MaEvaluation *evaluation, List *relids);
static List *add_table(List *relids, const MaTable *table);
static bool lock_contact(MaEvaluation *evaluation, int64 contact_id);
static bool lock_key(MaEvaluation *evaluation, int32 source_id, const char *external_id);
static bool reserve(MaEvaluation *evaluation);
static bool reserve_link(MaEvaluation *evaluation);
static char *link_name(const MaEventSource *source, char *text);
static bool lock_name(MaEvaluation *evaluation, const char *name);
static void leave_contact(MaEvaluation *evaluation, int64 contact_id);

bool
ma_evaluation_late(const MaEvaluation *evaluation)
{
	instr_time	passed;

	INSTR_TIME_SET_CURRENT(passed);
	INSTR_TIME_SUBTRACT(passed, evaluation->start);
	return INSTR_TIME_GET_MILLISEC(passed) >= evaluation->wait_ms;
}

/* Gives back what this transaction reserved; at its end, must not fail. */
void
ma_locks_forget(void)
{
	ma_lock_release(reserved + reserved_batch);
	reserved = reserved_links = reserved_batch = 0;
}

static bool
reserve(MaEvaluation *evaluation)
{
	if (reserved - reserved_links >= evaluation->max_locks || ma_lock_reserve(1) == 0)
		return false;
	reserved++;
	return true;
}

static bool
reserve_link(MaEvaluation *evaluation)
{
	if (reserved_links >= evaluation->max_locks || ma_lock_reserve(1) == 0)
		return false;
	reserved++;
	reserved_links++;
	return true;
}

bool
ma_contact_lock_if_free(int64 contact_id)
{
	MaLockResult result;

	if (ma_lock_reserve(1) == 0)
		return false;
	result = ma_contact_try_lock(contact_id);
	if (result == MA_LOCK_NEW)
		reserved_batch++;
	else
		ma_lock_release(1);
	return result != MA_LOCK_BUSY;
}

/*
 * Locks every relation the evaluation will read; false if one is not to be had,
 * for example because of an ALTER TABLE.
 */
bool
ma_lock_relations(MaEvaluation *evaluation)
{
	List	   *relids = NIL;
	ListCell   *cell;

	for (int i = 0; i < evaluation->nmarks; i++)
	{
		MaMark	   *mark = evaluation->marks[i];

		if (mark->identity)
			relids = relations_of_identity(evaluation, relids);
		for (int j = 0; j < mark->nevents; j++)
			relids = relations_of_events(evaluation, mark->events[j].event_id, relids);
	}
	list_sort(relids, list_oid_cmp);
	foreach(cell, relids)
		if (!lock_relation(evaluation, lfirst_oid(cell)))
			return false;
	return true;
}

/*
 * A relation this transaction has written is locked well enough; asking for one
 * more lock on it conditionally would fail behind a waiting ALTER TABLE.
 */
static bool
lock_relation(MaEvaluation *evaluation, Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	if (ma_lock_held_by_me(&tag, RowExclusiveLock))
		return true;
	while (!ConditionalLockRelationOid(relid, AccessShareLock))
	{
		if (ma_evaluation_late(evaluation))
			return false;
		ma_worker_pause(PAUSE_MS);
	}
	return true;
}

/* Of the event, and of those that are read when it changes. */
static List *
relations_of_events(MaEvaluation *evaluation, int32 event_id, List *relids)
{
	MaEvent    *event = ma_event_by_id(evaluation->definitions, event_id);
	ListCell   *cell;

	relids = relations_of_event(evaluation, event_id, relids);
	if (event != NULL)
		foreach(cell, event->read_with)
			relids = relations_of_event(evaluation, lfirst_int(cell), relids);
	return relids;
}

static List *
relations_of_event(MaEvaluation *evaluation, int32 event_id, List *relids)
{
	MaEvent    *event = ma_event_by_id(evaluation->definitions, event_id);
	ListCell   *cell;
	ListCell   *inner;

	if (event == NULL)
		return relids;
	foreach(cell, ma_event_sources(evaluation->definitions, event))
	{
		MaEventSource *source = lfirst(cell);

		if (source == NULL)
			continue;
		relids = add_table(relids, source->table);
		relids = add_table(relids, source->via_table);
		foreach(inner, source->lookups)
			relids = add_table(relids, ((MaLookup *) lfirst(inner))->table);
	}
	return relids;
}

/* A contact whose keys or fields change may be read from every source and watched event. */
static List *
relations_of_identity(MaEvaluation *evaluation, List *relids)
{
	ListCell   *cell;

	foreach(cell, evaluation->definitions->sources)
		relids = add_table(relids, ((MaSource *) lfirst(cell))->table);
	foreach(cell, evaluation->definitions->events)
	{
		MaEvent    *event = lfirst(cell);

		if (event->set_grade)
			relids = relations_of_event(evaluation, event->id, relids);
	}
	return relids;
}

static List *
add_table(List *relids, const MaTable *table)
{
	if (table == NULL || !OidIsValid(table->relid))
		return relids;
	return list_append_unique_oid(relids, table->relid);
}

int
ma_contact_change_compare(const void *left, const void *right)
{
	int64		a = ((const MaContactChange *) left)->contact_id;
	int64		b = ((const MaContactChange *) right)->contact_id;

	return a < b ? -1 : (a > b ? 1 : 0);
}

/* Locks the contacts of all works, ascending, and fills evaluation->contacts. */
void
ma_lock_contacts(MaEvaluation *evaluation)
{
	MaContactChange *contacts = palloc0_array(MaContactChange, Max(evaluation->nworks, 1));
	int			n = 0;
	int			kept = 0;

	for (int i = 0; i < evaluation->nworks; i++)
		if (evaluation->works[i].contact_id != 0 && !evaluation->works[i].left)
			contacts[n++].contact_id = evaluation->works[i].contact_id;
	qsort(contacts, n, sizeof(MaContactChange), ma_contact_change_compare);
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && contacts[i].contact_id == contacts[i - 1].contact_id)
			continue;
		if (lock_contact(evaluation, contacts[i].contact_id))
			contacts[kept++].contact_id = contacts[i].contact_id;
		else
			leave_contact(evaluation, contacts[i].contact_id);
	}
	evaluation->contacts = contacts;
	evaluation->ncontacts = kept;
}

/* True if the lock is ours; counts why not. */
static bool
lock_contact(MaEvaluation *evaluation, int64 contact_id)
{
	if (!evaluation->worker && !ma_rate_allows((uint64) contact_id))
	{
		evaluation->left_limit++;
		return false;
	}
	if (!reserve(evaluation))
	{
		evaluation->left_limit++;
		return false;
	}
	for (;;)
	{
		switch (ma_contact_try_lock(contact_id))
		{
			case MA_LOCK_NEW:
				return true;
			case MA_LOCK_HELD:
				reserved--;
				ma_lock_release(1);
				return true;
			case MA_LOCK_BUSY:
				break;
		}
		if (ma_evaluation_late(evaluation))
		{
			reserved--;
			ma_lock_release(1);
			evaluation->left_lock++;
			return false;
		}
		ma_worker_pause(PAUSE_MS);
	}
}

bool
ma_lock_rekeyed(MaEvaluation *evaluation)
{
	List	   *steps = ma_rekeys_order(evaluation->rekeys);
	ListCell   *cell;

	if (steps == NIL)
		return true;
	if (list_length(steps) > evaluation->max_locks)
	{
		evaluation->left_limit += evaluation->nmarks;
		return false;
	}
	if (ma_rekeys_wait(steps))
	{
		evaluation->left_lock += evaluation->nmarks;
		return false;
	}
	foreach(cell, steps)
		if (!ma_lock_rekey(evaluation, lfirst(cell)))
			return false;
	return true;
}

/*
 * A key that nobody has is locked like that of any unknown contact: somebody may
 * be making its contact, or recording an event that will be the moving one's.
 */
bool
ma_lock_rekey(MaEvaluation *evaluation, const MaRekey *rekey)
{
	int64		from = ma_contact_by_key(rekey->source_id, rekey->old_key);
	int64		to = ma_contact_by_key(rekey->source_id, rekey->new_key);

	if (!(from != 0 ? lock_contact(evaluation, from) :
		  lock_key(evaluation, rekey->source_id, rekey->old_key)))
		return false;
	if (!(to != 0 ? lock_contact(evaluation, to) :
		  lock_key(evaluation, rekey->source_id, rekey->new_key)))
		return false;
	return ma_contact_by_key(rekey->source_id, rekey->old_key) == from &&
		ma_contact_by_key(rekey->source_id, rekey->new_key) == to;
}

static void
leave_contact(MaEvaluation *evaluation, int64 contact_id)
{
	for (int i = 0; i < evaluation->nworks; i++)
		if (evaluation->works[i].contact_id == contact_id)
			evaluation->works[i].left = true;
}

void
ma_lock_unknown_keys(MaEvaluation *evaluation)
{
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];

		if ((work->contact_id != 0 && work->action != MA_ACTION_LINK) ||
			work->external_id == NULL || work->left)
			continue;
		work->left = !lock_key(evaluation, work->source_id, work->external_id);
	}
}

void
ma_lock_links(MaEvaluation *evaluation)
{
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];
		MaMarkTag  *tag = &work->mark->tag;
		MaEventSource *source;

		if (tag->kind != MA_MARK_LINK)
			continue;
		source = ma_event_source_by_id(evaluation->definitions, tag->id);
		if (source == NULL || !OidIsValid(source->via_key_type) ||
			!OidIsValid(source->via_table->relid) ||
			!ma_key_holds(source->via_key_type, tag->text))
			continue;
		if (!reserve_link(evaluation))
		{
			evaluation->left_limit++;
			work->left = true;
		}
		else
			work->left = !lock_name(evaluation, link_name(source, tag->text));
	}
}

/*
 * The link by its value, since the two columns may print it differently (3 and 3.00);
 * equal values have equal hashes.
 */
static char *
link_name(const MaEventSource *source, char *text)
{
	TypeCacheEntry *type = lookup_type_cache(source->via_key_type,
											 TYPECACHE_HASH_EXTENDED_PROC_FINFO);
	Datum		value;

	if (!OidIsValid(type->hash_extended_proc_finfo.fn_oid))
		return psprintf("link %d", source->id);
	value = ma_key_value(source->via_table->relid, type->type_id, -1, text);
	value = FunctionCall2Coll(&type->hash_extended_proc_finfo, type->typcollation, value,
							  Int64GetDatum(0));
	return psprintf("link %d " UINT64_FORMAT, source->id, DatumGetUInt64(value));
}

/* True if the lock of a key nobody has is ours; counts why not. */
static bool
lock_key(MaEvaluation *evaluation, int32 source_id, const char *external_id)
{
	if (!reserve(evaluation))
	{
		evaluation->left_limit++;
		return false;
	}
	return lock_name(evaluation, psprintf("key %d %s", source_id, external_id));
}

/* True if the lock of the name is ours; counts why not. */
static bool
lock_name(MaEvaluation *evaluation, const char *name)
{
	while (!ma_address_try_lock(name))
	{
		if (ma_evaluation_late(evaluation))
		{
			evaluation->left_lock++;
			return false;
		}
		ma_worker_pause(PAUSE_MS);
	}
	return true;
}
