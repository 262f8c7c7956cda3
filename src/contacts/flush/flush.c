/*
 * flush.c
 *		Evaluates the change set just before the transaction commits.
 *
 * One transaction callback at PRE_COMMIT and PRE_PREPARE, not a deferred trigger:
 * that would fail under security-restricted operations and lose evaluations with
 * savepoints.  The work is done in an internal subtransaction, so that no error
 * of ours breaks the user's statement: what could not be evaluated goes to the
 * dirty log by the one statement outside the subtransaction, and the worker does
 * it.  statement_timeout does not guard COMMIT, so there is a budget of our own,
 * and LockTimeout is the net under every lock our SQL might wait for.
 *
 * A prepared transaction must hold no lock of ours and a SERIALIZABLE one would
 * get serialization failures by our reads: both leave everything to the worker.
 */
#include "base/base.h"

#include "access/xact.h"
#include "contacts/flush/evaluate.h"
#include "contacts/flush/flush.h"
#include "contacts/capture/truncate.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "worker/worker.h"

/*
 * A server with assertions takes a subtransaction that is rolled back directly under
 * COMMIT for a fault of its own (RollbackAndReleaseCurrentSubTransaction() leaves out
 * the state TBLOCK_END; a PL/pgSQL EXCEPTION block in a deferred trigger shows it
 * too).  There one more stands between; other servers do not mind and do not pay.
 */
#ifdef USE_ASSERT_CHECKING
#define BEGIN_BETWEEN() BeginInternalSubTransaction(NULL)
#define RELEASE_BETWEEN() ReleaseCurrentSubTransaction()
#else
#define BEGIN_BETWEEN() ((void) 0)
#define RELEASE_BETWEEN() ((void) 0)
#endif

static void xact_callback(XactEvent event, void *arg);
static void flush_at_end(bool prepare);
static bool adds_only(const MaChanges *changes);
static void start(MaEvaluation *evaluation, MaChanges *changes);
static void try_evaluate(MaEvaluation *evaluation);
static bool try_once(MaEvaluation *evaluation);
static void run_inside(MaEvaluation *evaluation);
static void swallow(MaEvaluation *evaluation, ErrorData *error);
static void spill(MaEvaluation *evaluation, MaChanges *changes);
static List *pruned_tables(MaChanges *changes);
static List *changed_tables(MaChanges *changes);
static void count(MaEvaluation *evaluation);
static bool is_async(const MaEvaluation *evaluation, const MaMark *mark);
static void forget_evaluated(MaEvaluation *evaluation);
static int	compare_tags(const void *left, const void *right);
static void leave_rekeyed(MaEvaluation *evaluation);

static bool tries_again = false;	/* an error of an expression is not the end */

MA_FUNCTION(ma_flush);

void
ma_flush_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}

/* At COMMIT, ABORT and PREPARE only pointers are forgotten: an error there is a PANIC. */
static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			flush_at_end(false);
			break;
		case XACT_EVENT_PRE_PREPARE:
			flush_at_end(true);
			ma_locks_release_all();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			ma_changes_forget();
			ma_locks_forget();
			ma_locks_forget_taken();
			break;
		default:
			break;
	}
}

/* Evaluates or spills all marks. */
static void
flush_at_end(bool prepare)
{
	MaChanges  *changes = ma_changes_current();
	MemoryContext previous;
	MemoryContext work;
	MaEvaluation evaluation = {0};

	if (changes == NULL || ma_extension() == NULL)
		return;
	work = AllocSetContextCreate(TopTransactionContext, "marketing_automation flush",
								 ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(work);
	start(&evaluation, changes);
	ma_rekey_images(evaluation.images, evaluation.rekeys);
	if (prepare || (IsolationIsSerializable() && !ma_guc_sync_serializable))
	{
		ma_count(MA_COUNT_SPILL_MODE, evaluation.nmarks);
		evaluation.failed_images = evaluation.images;
	}
	else if (evaluation.nmarks > ma_guc_sync_max_contacts || changes->images_spilled)
	{
		ma_count(MA_COUNT_SPILL_LIMIT, evaluation.nmarks);
		evaluation.failed_images = evaluation.images;
	}
	else
	{
		evaluation.adds = adds_only(changes);
		try_evaluate(&evaluation);
	}
	spill(&evaluation, changes);
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(work);
}

/* True if no state has what this transaction did, and it did nothing to tables as a whole. */
static bool
adds_only(const MaChanges *changes)
{
	return !changes->evaluated && changes->rekeys == NIL && changes->tables == NIL &&
		changes->relations == NIL && changes->lookups == NIL && changes->pruned == NIL;
}

/* Collects marks, and the images and re-keyings that were not rolled back. */
static void
start(MaEvaluation *evaluation, MaChanges *changes)
{
	HASH_SEQ_STATUS scan;
	MaMark	   *mark;
	ListCell   *cell;

	evaluation->marks = palloc_array(MaMark *, Max(hash_get_num_entries(changes->marks), 1));
	hash_seq_init(&scan, changes->marks);
	while ((mark = hash_seq_search(&scan)) != NULL)
	{
		mark->done = mark->touched = false;
		evaluation->marks[evaluation->nmarks++] = mark;
	}
	foreach(cell, changes->images)
		if (ma_changes_live(((MaImage *) lfirst(cell))->xid))
			evaluation->images = lappend(evaluation->images, lfirst(cell));
	evaluation->rekeys = ma_rekeys_compose(changes->rekeys);
	evaluation->wait_ms = ma_guc_sync_wait;
	evaluation->max_locks = ma_guc_sync_max_contacts;
}

/* True for a mark whose events are all of sources attached with mode => 'async'. */
static bool
is_async(const MaEvaluation *evaluation, const MaMark *mark)
{
	if (mark->identity || mark->nevents == 0)
		return false;
	for (int i = 0; i < mark->nevents; i++)
	{
		MaEvent    *event = ma_event_by_id(evaluation->definitions, mark->events[i].event_id);
		ListCell   *cell;
		bool		async = false;

		foreach(cell, event ? ma_event_sources(evaluation->definitions, event) : NIL)
			async |= lfirst(cell) != NULL && ((MaEventSource *) lfirst(cell))->async;
		if (!async)
			return false;
	}
	return true;
}

bool
ma_flush_tries_again(void)
{
	return tries_again;
}

/*
 * On return every mark that is not done is to be spilled.  Expressions fail seldom, so at
 * first nobody guards against one that does; then all is done again by those who do.
 */
static void
try_evaluate(MaEvaluation *evaluation)
{
	MaEvaluation first = *evaluation;

	tries_again = true;
	if (try_once(evaluation))
		return;
	forget_evaluated(evaluation);
	*evaluation = first;
	evaluation->adds = false;
	(void) try_once(evaluation);
}

/*
 * Evaluates in a subtransaction; false if it is to be done again.  The work context is
 * outside it, so the list survives its abort.
 */
static bool
try_once(MaEvaluation *evaluation)
{
	volatile bool again = false;
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			lock_timeout = LockTimeout;

	BEGIN_BETWEEN();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		XactReadOnly = false;
		/* We give up before the deadlock check runs, which might choose a user who waits for us. */
		LockTimeout = Max(Min(evaluation->wait_ms, DeadlockTimeout / 2), 1);
		run_inside(evaluation);
		ReleaseCurrentSubTransaction();
		RELEASE_BETWEEN();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		LockTimeout = lock_timeout;
		tries_again = false;
		count(evaluation);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		RELEASE_BETWEEN();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		LockTimeout = lock_timeout;
		again = tries_again && ma_error_of_expression(error->sqlerrcode);
		tries_again = false;
		if (again)
			FreeErrorData(error);
		else
			swallow(evaluation, error);
	}
	PG_END_TRY();
	return !again;
}

/* Evaluates what is not asynchronous, as our owner. */
static void
run_inside(MaEvaluation *evaluation)
{
	MaMark	  **all = evaluation->marks;
	int			nall = evaluation->nmarks;
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;

	evaluation->definitions = ma_definitions();
	evaluation->marks = palloc_array(MaMark *, Max(nall, 1));
	evaluation->nmarks = 0;
	for (int i = 0; i < nall; i++)
		if (!is_async(evaluation, all[i]))
			evaluation->marks[evaluation->nmarks++] = all[i];
	ma_count(MA_COUNT_SPILL_MODE, nall - evaluation->nmarks);
	if (evaluation->nmarks > 0)
	{
		evaluation->call = &call;
		ma_evaluate(evaluation);
		if (evaluation->called)
			ma_call_end(&call);
	}
	else
		evaluation->failed_images = evaluation->images;
	MemoryContextSwitchTo(context);
}

/*
 * A user's cancel and a shutdown go on (a statement timeout too: it has been
 * consumed); everything else is counted, and all marks are left to the worker.
 */
static void
swallow(MaEvaluation *evaluation, ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		error->sqlerrcode == ERRCODE_CRASH_SHUTDOWN ||
		ma_guc_strict)
		ReThrowError(error);
	ma_count_error(error->sqlerrcode, error->message);
	ma_count(MA_COUNT_SPILL_ERROR, evaluation->nmarks);
	ereport(DEBUG1,
			(errmsg_internal("marketing_automation left %d changes to the worker: %s",
							 evaluation->nmarks, error->message)));
	forget_evaluated(evaluation);
	FreeErrorData(error);
}

/* What a rolled back evaluation did is undone. */
static void
forget_evaluated(MaEvaluation *evaluation)
{
	ListCell   *cell;

	evaluation->evaluated = 0;
	for (int i = 0; i < evaluation->nmarks; i++)
		evaluation->marks[i]->done = false;
	foreach(cell, evaluation->rekeys)
		((MaRekey *) lfirst(cell))->done = false;
	/* What was read of them went with it, or was not read before the error. */
	foreach(cell, evaluation->images)
		((MaImage *) lfirst(cell))->read = false;
	/* Those that wait behind the log were taken out of the images already. */
	evaluation->failed_images = list_union_ptr(evaluation->failed_images, evaluation->images);
}

static void
count(MaEvaluation *evaluation)
{
	ma_count(MA_COUNT_FLUSHES, 1);
	ma_count(MA_COUNT_CONTACTS, evaluation->evaluated);
	ma_count(MA_COUNT_SPILL_LOCK, evaluation->left_lock);
	ma_count(MA_COUNT_SPILL_BUDGET, evaluation->left_budget);
	ma_count(MA_COUNT_SPILL_LIMIT, evaluation->left_limit);
}

/*
 * Leaves to the worker what is not done, and what was marked while it was being
 * done (a user's trigger on our tables); an error here reaches the user.
 */
static void
spill(MaEvaluation *evaluation, MaChanges *changes)
{
	MaMark	  **left = palloc_array(MaMark *, Max(hash_get_num_entries(changes->marks), 1));
	int			n = 0;
	HASH_SEQ_STATUS scan;
	MaMark	   *mark;

	hash_seq_init(&scan, changes->marks);
	while ((mark = hash_seq_search(&scan)) != NULL)
		if ((!mark->done || mark->touched) && (mark->identity || mark->nevents > 0))
			left[n++] = mark;
	ma_spill_rekeys(evaluation->rekeys);
	ma_spill_marks(left, n);
	ma_spill_images(evaluation->failed_images);
	ma_spill_tables(changed_tables(changes));
	ma_spill_lookups(changes->lookups);
	ma_spill_pruned(pruned_tables(changes));
}

/*
 * Tables that are to be looked at as a whole: those on which something depends.  With
 * the others, staging tables often, all contacts would be looked at for nothing.
 */
static List *
changed_tables(MaChanges *changes)
{
	MaDefinitions *definitions;
	List	   *result = NIL;
	ListCell   *cell;

	if (changes->tables == NIL && changes->relations == NIL)
		return NIL;
	definitions = ma_definitions();
	foreach(cell, definitions->tables)
	{
		MaTable    *table = lfirst(cell);

		if ((list_member_int(changes->tables, table->id) ||
			 list_member_oid(changes->relations, table->relid)) &&
			ma_table_is_watched(definitions, table))
			result = lappend_int(result, table->id);
	}
	return result;
}

/* Likewise those of which old partitions are gone. */
static List *
pruned_tables(MaChanges *changes)
{
	MaDefinitions *definitions = changes->pruned == NIL ? NULL : ma_definitions();
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, changes->pruned)
	{
		MaPruned   *pruned = lfirst(cell);
		MaTable    *table = ma_table_by_relid(definitions, pruned->relid);

		if (table == NULL || !ma_table_is_watched(definitions, table))
			continue;
		pruned->table_id = table->id;
		result = lappend(result, pruned);
	}
	return result;
}

/*
 * marketing.flush(): evaluates now.  The marks stay, and the commit evaluates
 * all of them again, since this may happen in a savepoint that is rolled back;
 * row images are left to the commit, since they must take effect once.
 */
Datum
ma_flush(PG_FUNCTION_ARGS)
{
	MaChanges  *changes = ma_changes_current();
	MemoryContext previous;
	MemoryContext work;
	MaEvaluation evaluation = {0};

	(void) ma_extension_required();
	if (changes == NULL)
		PG_RETURN_INT64(0);
	work = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation early flush",
								 ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(work);
	start(&evaluation, changes);
	evaluation.images = NIL;
	leave_rekeyed(&evaluation);
	if (evaluation.nmarks <= ma_guc_sync_max_contacts)
		try_evaluate(&evaluation);
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(work);
	PG_RETURN_INT64(evaluation.evaluated);
}

/* By source and text, as ids of rows are. */
static int
compare_tags(const void *left, const void *right)
{
	const MaMarkTag *a = left;
	const MaMarkTag *b = right;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return strcmp(a->text, b->text);
}

/*
 * Leaves out rows that were re-keyed: a key can be renamed only once.  One command may
 * re-key all rows of a table, so their keys are searched and not gone through.
 */
static void
leave_rekeyed(MaEvaluation *evaluation)
{
	int			n = 0;
	int			kept = 0;
	MaMarkTag  *rekeyed = palloc_extended(mul_size(2 * sizeof(MaMarkTag),
												   Max(list_length(evaluation->rekeys), 1)),
										  MCXT_ALLOC_HUGE);
	ListCell   *cell;

	foreach(cell, evaluation->rekeys)
	{
		MaRekey    *rekey = lfirst(cell);

		rekeyed[n++] = (MaMarkTag) {MA_MARK_KEY, rekey->source_id, 0, rekey->old_key};
		rekeyed[n++] = (MaMarkTag) {MA_MARK_KEY, rekey->source_id, 0, rekey->new_key};
	}
	qsort(rekeyed, n, sizeof(MaMarkTag), compare_tags);
	for (int i = 0; i < evaluation->nmarks; i++)
	{
		MaMarkTag  *tag = &evaluation->marks[i]->tag;

		if (tag->kind != MA_MARK_KEY ||
			bsearch(tag, rekeyed, n, sizeof(MaMarkTag), compare_tags) == NULL)
			evaluation->marks[kept++] = evaluation->marks[i];
	}
	evaluation->nmarks = kept;
	evaluation->rekeys = NIL;
}
