/*
 * drain_rows.c
 *		The worker's duty that reads the capture log: row images that commits left.
 *
 * The images of one row must take effect in order, so only one process at a time
 * does this, oldest first, and a row whose earlier image rests after an error
 * waits behind it.  Like the dirty log's marks they wait until their key is
 * renamed (rename.c): before that a row under a new key looks like a new contact's.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/flush/drain.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define BATCH 200

/* Images tried together, and those that took effect. */
typedef struct Attempt
{
	List	   *images;
	List	   *done;
} Attempt;

static bool drain_rows(void);
static bool turn(void);
static List *read_images(const MaRows *rows);
static void add_marks(MaDefinitions *definitions, MaDrainBatch *batch, const MaImage *image);
static void add_mark(MaDefinitions *definitions, MaDrainBatch *batch, const MaImage *image,
					 const MaFact *fact);
static void evaluate(void *arg);
static bool drain_images(List *images);
static void delete_images(const List *images);
static void rest(const List *images);
static Datum image_ids(const List *images);
static void park(const MaImage *image, const ErrorData *error);

static const MaDuty rows_duty = {"captured rows", 0, drain_rows, NULL};

void
ma_drain_rows_init(void)
{
	ma_worker_register_duty(&rows_duty);
}

static bool
drain_rows(void)
{
	return ma_drain_turn(turn);
}

static bool
turn(void)
{
	static MaStatement read = {
		"SELECT c.capture_row_id, c.event_source_id, c.event_id, c.contact_id, c.row_key, "
		"c.old_row, c.new_row, c.occurred_at, c.enroll "
		"FROM marketing_internal.capture_row AS c "
		"WHERE (c.retry_at IS NULL OR c.retry_at OPERATOR(pg_catalog.<=) $2) "
		"AND NOT EXISTS (SELECT FROM marketing_internal.capture_row AS e "
		"WHERE e.event_source_id OPERATOR(pg_catalog.=) c.event_source_id "
		"AND e.row_key OPERATOR(pg_catalog.=) c.row_key "
		"AND e.capture_row_id OPERATOR(pg_catalog.<) c.capture_row_id "
		"AND e.retry_at OPERATOR(pg_catalog.>) $2) "
		"ORDER BY c.capture_row_id LIMIT $1",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2];
	MaRows		rows;
	List	   *images;

	if (!ma_address_try_lock("duty captured rows"))
		return false;
	values[0] = Int32GetDatum(BATCH);
	/* One time for all: an image whose rest ends while we read must hold up later ones. */
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return false;
	images = read_images(&rows);
	return drain_images(images) && rows.n == BATCH;
}

static List *
read_images(const MaRows *rows)
{
	List	   *images = NIL;

	for (uint64 i = 0; i < rows->n; i++)
	{
		MaImage    *image = palloc0_object(MaImage);
		bool		isnull;
		Datum		value;

		image->capture_row_id = ma_int64(rows, i, 1);
		image->event_source_id = ma_int32(rows, i, 2);
		image->event_id = ma_int32(rows, i, 3);
		image->contact_id = ma_int64(rows, i, 4);
		image->row_key = ma_text(rows, i, 5);
		value = ma_value(rows, i, 6, &isnull);
		image->old_row = isnull ? 0 : value;
		value = ma_value(rows, i, 7, &isnull);
		image->new_row = isnull ? 0 : value;
		image->occurred_at = ma_int64(rows, i, 8);
		image->enroll = ma_bool(rows, i, 9);
		images = lappend(images, image);
	}
	return images;
}

/* Reads the images, evaluates their contacts and tells the consumers. */
static void
evaluate(void *arg)
{
	Attempt    *attempt = arg;
	MaDefinitions *definitions = ma_definitions();
	MaDrainBatch batch = {NIL};
	MaEvaluation evaluation;
	ListCell   *cell;

	ma_images_read(definitions, attempt->images);
	foreach(cell, attempt->images)
		add_marks(definitions, &batch, lfirst(cell));
	ma_drain_start(&evaluation, &batch);
	evaluation.images = attempt->images;
	ma_evaluate(&evaluation);
	attempt->done = list_difference_ptr(attempt->images, evaluation.failed_images);
}

/*
 * Tells the consumers of these images; those left rest a moment.  After an error each
 * row is tried alone: its oldest image, behind which the others wait.
 */
static bool
drain_images(List *images)
{
	Attempt		attempt = {images, NIL};
	ErrorData  *error = ma_drain_protect(evaluate, &attempt, list_length(images) > 1 ?
										 MA_DRAIN_BATCH_MS : MA_DRAIN_ALONE_MS);

	if (error == NULL)
	{
		delete_images(attempt.done);
		rest(list_difference_ptr(images, attempt.done));
		return true;
	}
	if (list_length(images) == 1)
	{
		park(linitial(images), error);
		return true;
	}
	while (images != NIL && !ma_drain_late())
	{
		MaImage    *first = linitial(images);
		List	   *same = NIL;
		ListCell   *cell;

		foreach(cell, images)
		{
			MaImage    *image = lfirst(cell);

			if (image->event_source_id == first->event_source_id &&
				strcmp(image->row_key, first->row_key) == 0)
				same = lappend(same, image);
		}
		images = list_difference_ptr(images, same);
		first->read = false;
		(void) drain_images(list_make1(first));
	}
	return true;
}

/* Contacts of both sides of the image. */
static void
add_marks(MaDefinitions *definitions, MaDrainBatch *batch, const MaImage *image)
{
	if (image->event_source_id == 0)
		(void) ma_drain_mark(batch, MA_MARK_CONTACT, 0, image->contact_id, NULL, 0);
	else
	{
		add_mark(definitions, batch, image, &image->old_fact);
		add_mark(definitions, batch, image, &image->new_fact);
	}
}

/* The contact may be new as well, so its row is looked at. */
static void
add_mark(MaDefinitions *definitions, MaDrainBatch *batch, const MaImage *image,
		 const MaFact *fact)
{
	MaEventSource *source = ma_event_source_by_id(definitions, image->event_source_id);

	if (fact->contact == NULL || source == NULL)
		return;
	if (source->via_table != NULL)
		ma_drain_mark(batch, MA_MARK_LINK, source->id, 0, fact->contact, 0)->identity = true;
	else
	{
		int32		id = source->contact_source->id;

		ma_drain_mark(batch, MA_MARK_KEY, id, 0, fact->contact, 0)->identity = true;
	}
}

static void
delete_images(const List *images)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.capture_row "
		"WHERE capture_row_id OPERATOR(pg_catalog.=) ANY ($1)",
		1, {INT8ARRAYOID}
	};
	Datum		value = image_ids(images);

	ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* Lets images whose contact is busy or not there yet rest, so that they do not fill each batch. */
static void
rest(const List *images)
{
	static MaStatement update = {
		"UPDATE marketing_internal.capture_row SET retry_at = pg_catalog.clock_timestamp() "
		"OPERATOR(pg_catalog.+) '200 ms'::pg_catalog.interval "
		"WHERE capture_row_id OPERATOR(pg_catalog.=) ANY ($1)",
		1, {INT8ARRAYOID}
	};
	Datum		value = image_ids(images);

	if (images != NIL)
		ma_run(&update, &value, NULL, MA_RUN_WRITE_LATEST);
}

static Datum
image_ids(const List *images)
{
	int64	   *ids = palloc_array(int64, Max(list_length(images), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, images)
		ids[n++] = ((MaImage *) lfirst(cell))->capture_row_id;
	return ma_int8_array(ids, n);
}

static void
park(const MaImage *image, const ErrorData *error)
{
	static MaStatement update = {
		"UPDATE marketing_internal.capture_row SET attempts = attempts OPERATOR(pg_catalog.+) 1, "
		"retry_at = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) "
		"pg_catalog.make_interval(secs => LEAST(3600, pg_catalog.power(2, LEAST(attempts, 12)))), "
		"error_state = $2, error = $3 "
		"WHERE capture_row_id OPERATOR(pg_catalog.=) $1",
		3, {INT8OID, TEXTOID, TEXTOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(image->capture_row_id);
	values[1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[2] = CStringGetTextDatum(error->message);
	ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST);
	ma_count_error(error->sqlerrcode, error->message);
}
