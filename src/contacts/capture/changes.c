/*
 * changes.c
 *		The change set of the running transaction: which contacts, keys and rows
 *		are to be looked at when it commits.
 *
 * It lives in TopTransactionContext and is never emptied before the top-level
 * end.  Marks are a superset: those made in a savepoint that is rolled back stay,
 * since a contact evaluated once too often is only a little work.  Row images
 * are not: an order that was rolled back must start no journey.  Each image
 * carries the id of its (sub)transaction, and at the commit only those of it and
 * of its committed subtransactions count; so no subtransaction callback is needed.
 *
 * Rows that were added are kept beside the mark of their key as long as they are all that
 * happened there and few: who keeps a sum needs them alone, not all rows of the contact.
 * They, too, count only if their subtransaction does.
 *
 * Memory is bounded: beyond a number of marks (as many as work_mem holds) or images in
 * all, those that belong to the current (sub)transaction are written to the dirty or
 * capture log at once, from then on each as it comes.  Rolled back they vanish with the
 * rows they tell of; those of outer levels stay in memory, since an inner rollback would
 * lose them, and no more join them.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "contacts/capture/changes.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Marks in memory: as many as work_mem holds, within these bounds. */
#define MARK_BYTES 200
#define MIN_MARKS 10000
#define MAX_MARKS 200000

/* Added rows in memory: of one key, and of all. */
#define MAX_ADDED 16
#define MAX_ADDED_BYTES (1024 * 1024)

static MaChanges *current = NULL;
static SubTransactionId level_subid = InvalidSubTransactionId;
static List *level_marks = NIL; /* MaMark *, made in this level since it began to mark */

static uint32 mark_hash(const void *key, Size size);
static int	mark_compare(const void *left, const void *right, Size size);
static MaMark *find_mark(MaMarkTag *tag);
static void track_level(void);
static void bound_marks(void);
static void spill_marks_of_level(void);
static void lose_added(MaMark *mark);
static void remove_mark(MaMark *mark);
static void spill_images_of_level(void);
static int	images_outside_level(void);
static void forget_dead_images(void);
static void free_image(MaImage *image);

MaChanges *
ma_changes_current(void)
{
	return current;
}

bool
ma_changes_pending(void)
{
	return current != NULL;
}

void
ma_changes_forget(void)
{
	current = NULL;
}

bool
ma_changes_live(TransactionId xid)
{
	return TransactionIdIsCurrentTransactionId(xid);
}

/* The change set, made at the first mark of the transaction. */
MaChanges *
ma_changes_make(void)
{
	HASHCTL		control = {0};
	MemoryContext context;
	MaChanges  *made;

	if (current != NULL)
		return current;
	context = AllocSetContextCreate(TopTransactionContext, "marketing_automation changes",
									ALLOCSET_SMALL_SIZES);
	made = MemoryContextAllocZero(context, sizeof(MaChanges));
	made->context = context;
	control.keysize = sizeof(MaMarkTag);
	control.entrysize = sizeof(MaMark);
	control.hash = mark_hash;
	control.match = mark_compare;
	control.hcxt = context;
	made->marks = hash_create("marketing_automation marks", 32, &control,
							  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	level_subid = InvalidSubTransactionId;
	level_marks = NIL;
	/* Last: out of memory half way, a savepoint later it would be found without marks. */
	current = made;
	return current;
}

static uint32
mark_hash(const void *key, Size size)
{
	const MaMarkTag *tag = key;
	uint32		hash = hash_combine(murmurhash32((uint32) tag->kind),
									murmurhash32((uint32) tag->id));

	hash = hash_combine(hash, murmurhash32((uint32) tag->contact_id));
	if (tag->text != NULL)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) tag->text,
											 strlen(tag->text)));
	return hash;
}

static int
mark_compare(const void *left, const void *right, Size size)
{
	const MaMarkTag *a = left;
	const MaMarkTag *b = right;

	if (a->kind != b->kind || a->id != b->id || a->contact_id != b->contact_id)
		return 1;
	if (a->text == NULL || b->text == NULL)
		return a->text != b->text;
	return strcmp(a->text, b->text);
}

/* The mark of the tag, made if it is not there. */
static MaMark *
find_mark(MaMarkTag *tag)
{
	MaChanges  *set = ma_changes_make();
	bool		found;
	MaMark	   *mark;
	MemoryContext previous;

	track_level();
	mark = hash_search(set->marks, tag, HASH_ENTER, &found);
	if (found)
	{
		mark->touched = true;
		return mark;
	}
	if (tag->text != NULL)
		mark->tag.text = MemoryContextStrdup(set->context, tag->text);
	mark->subid = level_subid;
	mark->identity = false;
	mark->nevents = 0;
	mark->space = MA_MARK_EVENTS;
	mark->events = mark->own;
	mark->added = NULL;
	mark->nadded = 0;
	mark->added_lost = false;
	ItemPointerSetInvalid(&mark->ctid);
	mark->previous = NULL;
	mark->done = false;
	mark->touched = true;
	mark->contact_id = 0;
	previous = MemoryContextSwitchTo(set->context);
	level_marks = lappend(level_marks, mark);
	MemoryContextSwitchTo(previous);
	return mark;
}

void
ma_mark_add_event(MaMark *mark, int32 event_id, uint8 sign)
{
	for (int i = 0; i < mark->nevents; i++)
		if (mark->events[i].event_id == event_id)
		{
			mark->events[i].sign |= sign;
			return;
		}
	if (mark->nevents == mark->space)
	{
		MemoryContext context = current ? current->context : CurrentMemoryContext;
		MaEventChange *more = MemoryContextAlloc(context,
												 mul_size(sizeof(MaEventChange), mark->space * 2));

		memcpy(more, mark->events, sizeof(MaEventChange) * mark->nevents);
		mark->events = more;
		mark->space *= 2;
	}
	mark->events[mark->nevents].event_id = event_id;
	mark->events[mark->nevents].sign = sign;
	mark->nevents++;
}

/*
 * To be called when a mark is complete, so that it can go, too: in a savepoint for
 * each row it is the only one of its level, and stays in memory if it is not written now.
 */
static void
bound_marks(void)
{
	long		space = Min(Max(work_mem * 1024L / MARK_BYTES, MIN_MARKS), MAX_MARKS);

	if (hash_get_num_entries(current->marks) > space)
		spill_marks_of_level();
}

void
ma_mark(MaMarkKind kind, int32 id, const char *text, bool identity,
		int32 event_id, uint8 sign)
{
	MaMarkTag	tag = {kind, id, 0, unconstify(char *, text)};
	MaMark	   *mark = find_mark(&tag);

	mark->identity |= identity;
	lose_added(mark);
	if (event_id != 0)
		ma_mark_add_event(mark, event_id, sign);
	bound_marks();
}

/*
 * A row is kept where it is one of few.  What is stored elsewhere of it would need a
 * snapshot to be read.
 */
void
ma_mark_added(int32 source_id, const char *text, MaAddedRow row)
{
	MaMarkTag	tag = {MA_MARK_KEY, source_id, 0, unconstify(char *, text)};
	MaMark	   *mark = find_mark(&tag);
	MaAddedRow *kept;
	MemoryContext previous;

	ma_mark_add_event(mark, row.event_id, MA_SIGN_PLUS);
	if (mark->nadded == MAX_ADDED || HeapTupleHasExternal(row.tuple) ||
		current->added_bytes + row.tuple->t_len > MAX_ADDED_BYTES)
		lose_added(mark);
	if (!mark->added_lost)
	{
		previous = MemoryContextSwitchTo(current->context);
		kept = palloc_object(MaAddedRow);
		*kept = row;
		kept->tuple = heap_copytuple(row.tuple);
		kept->xid = GetCurrentTransactionId();
		kept->epoch = ma_relations_epoch();
		kept->next = mark->added;
		mark->added = kept;
		mark->nadded++;
		current->added_bytes += row.tuple->t_len;
		MemoryContextSwitchTo(previous);
	}
	bound_marks();
}

/* Something else happened under the key than rows that were added and are kept. */
static void
lose_added(MaMark *mark)
{
	while (mark->added != NULL)
	{
		MaAddedRow *row = mark->added;

		mark->added = row->next;
		current->added_bytes -= row->tuple->t_len;
		heap_freetuple(row->tuple);
		pfree(row);
	}
	mark->nadded = 0;
	mark->added_lost = true;
}

void
ma_changes_note_evaluation(void)
{
	if (current != NULL)
		current->evaluated = true;
}

void
ma_mark_contact(int64 contact_id)
{
	MaMarkTag	tag = {MA_MARK_CONTACT, 0, contact_id, NULL};

	find_mark(&tag)->identity = true;
	bound_marks();
}

void
ma_mark_tracked(int64 contact_id, MaEvent *event, int64 row_id,
				TimestampTz occurred_at, Datum properties)
{
	MaMarkTag	tag = {MA_MARK_CONTACT, 0, contact_id, NULL};

	if (event->set_grade || event->row_grade)
	{
		ma_mark_add_event(find_mark(&tag), event->id, MA_SIGN_PLUS);
		bound_marks();
	}
	if (event->row_grade)
	{
		MaImage		image = {0};

		image.event_id = event->id;
		image.contact_id = contact_id;
		image.row_key = psprintf(INT64_FORMAT, row_id);
		image.new_row = properties;
		image.occurred_at = occurred_at;
		ma_mark_image(&image);
	}
}

void
ma_mark_table(int32 table_id)
{
	MaChanges  *set = ma_changes_make();
	MemoryContext previous = MemoryContextSwitchTo(set->context);

	set->tables = list_append_unique_int(set->tables, table_id);
	MemoryContextSwitchTo(previous);
}

/* As ma_mark_table(), where the definitions cannot be read just now. */
void
ma_mark_relation(Oid relid)
{
	MaChanges  *set = ma_changes_make();
	MemoryContext previous = MemoryContextSwitchTo(set->context);

	set->relations = list_append_unique_oid(set->relations, relid);
	MemoryContextSwitchTo(previous);
}

void
ma_mark_pruned(Oid relid, const char *column, TimestampTz before)
{
	MaChanges  *set = ma_changes_make();
	MemoryContext previous = MemoryContextSwitchTo(set->context);
	MaPruned   *pruned = palloc0_object(MaPruned);

	pruned->relid = relid;
	pruned->column = pstrdup(column);
	pruned->before = before;
	set->pruned = lappend(set->pruned, pruned);
	MemoryContextSwitchTo(previous);
}

/* Keeps a copy of the image; its rows must be complete (nothing toasted elsewhere). */
void
ma_mark_image(const MaImage *image)
{
	MaChanges  *set = ma_changes_make();
	MemoryContext previous = MemoryContextSwitchTo(set->context);
	MaImage    *copy = palloc_object(MaImage);

	*copy = *image;
	copy->xid = GetCurrentTransactionId();
	copy->enroll = ma_guc_enroll;
	copy->row_key = pstrdup(image->row_key);
	if (image->contact_column != NULL)
		copy->contact_column = pstrdup(image->contact_column);
	if (image->old_contact != NULL)
		copy->old_contact = pstrdup(image->old_contact);
	if (image->new_contact != NULL)
		copy->new_contact = pstrdup(image->new_contact);
	if (image->old_row != 0)
		copy->old_row = PointerGetDatum(PG_DETOAST_DATUM_COPY(image->old_row));
	if (image->new_row != 0)
		copy->new_row = PointerGetDatum(PG_DETOAST_DATUM_COPY(image->new_row));
	set->images = lappend(set->images, copy);
	MemoryContextSwitchTo(previous);
	if (list_length(set->images) > ma_guc_sync_max_rows)
		spill_images_of_level();
}

/* Begins anew when another (sub)transaction begins to mark. */
static void
track_level(void)
{
	SubTransactionId now = GetCurrentSubTransactionId();

	if (now == level_subid)
		return;
	level_subid = now;
	list_free(level_marks);
	level_marks = NIL;
}

/* Writes to the dirty log what this level may: at the top level everything. */
static void
spill_marks_of_level(void)
{
	bool		top = GetCurrentTransactionNestLevel() == 1;
	long		n = top ? hash_get_num_entries(current->marks) : list_length(level_marks);
	MaMark	  **marks = palloc_array(MaMark *, Max(n, 1));
	int			count = 0;
	HASH_SEQ_STATUS scan;
	MaMark	   *mark;

	if (top)
	{
		hash_seq_init(&scan, current->marks);
		while ((mark = hash_seq_search(&scan)) != NULL)
			marks[count++] = mark;
	}
	else
		while (count < n)
		{
			marks[count] = list_nth(level_marks, count);
			count++;
		}
	ma_spill_marks(marks, count);
	ma_count(MA_COUNT_SPILL_LIMIT, count);
	for (int i = 0; i < count; i++)
		remove_mark(marks[i]);
	pfree(marks);
	list_free(level_marks);
	level_marks = NIL;
}

static void
remove_mark(MaMark *mark)
{
	char	   *text = mark->tag.text;

	lose_added(mark);
	if (mark->events != mark->own)
		pfree(mark->events);
	hash_search(current->marks, &mark->tag, HASH_REMOVE, NULL);
	if (text != NULL)
		pfree(text);
}

/*
 * Writes to the capture log the images of this level: the last ones of the list.
 * Those before them are written later but were earlier, and the log is read in the
 * order of numbers: so they have theirs from the first time on.
 */
static void
spill_images_of_level(void)
{
	List	   *spilled = NIL;
	int			kept = images_outside_level();

	if (kept == 0 || ((MaImage *) list_nth(current->images, kept - 1))->capture_row_id == 0)
	{
		forget_dead_images();
		if (list_length(current->images) <= ma_guc_sync_max_rows)
			return;
		ma_number_images(current->images);
		kept = images_outside_level();
	}
	for (int i = kept; i < list_length(current->images); i++)
		spilled = lappend(spilled, list_nth(current->images, i));
	if (spilled == NIL)
		return;
	ma_spill_images(spilled);
	current->images_spilled = true;
	current->images = list_truncate(current->images, kept);
	for (int i = 0; i < list_length(spilled); i++)
		free_image(list_nth(spilled, i));
	list_free(spilled);
}

/* How many images, from the first, are not this level's own; at the top level all are. */
static int
images_outside_level(void)
{
	TransactionId xid = GetCurrentTransactionId();
	int			n = list_length(current->images);

	if (GetCurrentTransactionNestLevel() == 1)
		return 0;
	while (n > 0 && ((MaImage *) list_nth(current->images, n - 1))->xid == xid)
		n--;
	return n;
}

/* Forgets images whose subtransaction has been rolled back. */
static void
forget_dead_images(void)
{
	MemoryContext previous = MemoryContextSwitchTo(current->context);
	List	   *live = NIL;
	ListCell   *cell;

	foreach(cell, current->images)
	{
		MaImage    *image = lfirst(cell);

		if (ma_changes_live(image->xid))
			live = lappend(live, image);
		else
			free_image(image);
	}
	list_free(current->images);
	current->images = live;
	MemoryContextSwitchTo(previous);
}

static void
free_image(MaImage *image)
{
	if (image->old_row != 0)
		pfree(DatumGetPointer(image->old_row));
	if (image->new_row != 0)
		pfree(DatumGetPointer(image->new_row));
	pfree(image->row_key);
	if (image->contact_column != NULL)
		pfree(image->contact_column);
	if (image->old_contact != NULL)
		pfree(image->old_contact);
	if (image->new_contact != NULL)
		pfree(image->new_contact);
	pfree(image);
}
