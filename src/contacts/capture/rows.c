/*
 * rows.c
 *		From images of rows to happenings: an event happened, was taken back, or
 *		its row changed.
 *
 * The row is the event while its condition is true and its time is not null.
 * What counts is the step from before the transaction to its end, so the images
 * of one row are collapsed to the first OLD and the last NEW.  False to true is
 * the event happening; true to false takes it back; a changed time happens again
 * only where the source says repeat.
 *
 * Images are objects of texts, so that a table altered after the row was written
 * cannot be read with the wrong types; conditions run on them as the table's
 * owner, restricted, like any expression of a user.  Each text goes through its
 * type's input function; a column of json or jsonb is read as text first and then
 * cast, since there a JSON string would be taken for the value itself.
 */
#include "base/base.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "contacts/flush/evaluate.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

static void read_source(MaDefinitions *definitions, MaEventSource *source, List *images);
static void prepare_statement(MaEventSource *source);
static char *row_of_image(Oid relid);
static void set_fact(MaDefinitions *definitions, MaEventSource *source, MaRows *rows,
					 uint64 row, MaFact *fact);
static uint32 row_hash(const void *key, Size size);
static int	row_compare(const void *left, const void *right, Size size);
static List *collapse(List *images);
static List *without_waiting(MaEvaluation *evaluation);
static MaWork *work_of(MaEvaluation *evaluation, const MaImage *image, const MaFact *fact);
static bool is_excluded(const MaWork *work);
static bool may_come(MaEvaluation *evaluation, const MaWork *work);
static int64 contact_of(MaEvaluation *evaluation, const MaImage *image, const MaFact *fact,
						bool *left);
static int	to_changes(MaEvaluation *evaluation, MaImage *image, MaRowChange *changes);
static MaRowChange change_of(const MaImage *image, const MaFact *fact, int64 contact_id,
							 MaRowKind kind);

/* Statement: array of images to (n, contact, time, is the event, name, row). */
static void
prepare_statement(MaEventSource *source)
{
	MemoryContext previous;

	if (source->images.sql != NULL)
		return;
	if (!OidIsValid(source->table->relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("attached table \"%s\" is gone", source->table->name)));
	previous = MemoryContextSwitchTo(GetMemoryChunkContext(source));
	source->images.sql =
		psprintf("SELECT u.n::pg_catalog.int4, t.%s, %s, "
				 "t.%s IS NOT NULL AND (%s) IS TRUE, %s, pg_catalog.to_jsonb(t) "
				 "FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (image, n) "
				 "%s",
				 quote_identifier(source->via_table ? source->via_link_column :
								  source->contact_column),
				 source->occurred, quote_identifier(source->occurred_column),
				 source->condition ? source->condition : "true",
				 source->event_column ?
				 psprintf("t.%s::pg_catalog.text", quote_identifier(source->event_column)) :
				 "NULL::pg_catalog.text",
				 row_of_image(source->table->relid));
	MemoryContextSwitchTo(previous);
	source->images.nargs = 1;
	source->images.argtypes[0] = JSONBARRAYOID;
}

/* FROM items that make t, the row with its types, of u.image. */
static char *
row_of_image(Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	StringInfoData types;
	StringInfoData columns;

	initStringInfo(&types);
	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		const char *name = quote_identifier(NameStr(column->attname));
		const char *separator = types.len == 0 ? "" : ", ";
		Oid			base;
		bool		json;
		char	   *type;

		/* What is not stored is not in the image either. */
		if (column->attisdropped || ma_is_virtual(column->attgenerated))
			continue;
		base = getBaseType(column->atttypid);
		json = base == JSONOID || base == JSONBOID;
		type = format_type_extended(column->atttypid, column->atttypmod,
									FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
		appendStringInfo(&types, "%s%s %s", separator, name, json ? "pg_catalog.text" : type);
		appendStringInfo(&columns, "%sp.%s", separator, name);
		if (json)
			appendStringInfo(&columns, "::%s", type);
		if (column->attcollation != get_typcollation(column->atttypid))
			appendStringInfo(&columns, " COLLATE %s",
							 generate_collation_name(column->attcollation));
		appendStringInfo(&columns, " AS %s", name);
	}
	table_close(relation, NoLock);
	return psprintf("CROSS JOIN LATERAL pg_catalog.jsonb_to_record(u.image) AS p (%s) "
					"CROSS JOIN LATERAL (SELECT %s) AS t", types.data, columns.data);
}

void
ma_images_read(MaDefinitions *definitions, List *images)
{
	ListCell   *cell;

	foreach(cell, definitions->event_sources)
		read_source(definitions, lfirst(cell), images);
	foreach(cell, images)
	{
		MaImage    *image = lfirst(cell);

		if (image->event_source_id != 0 || image->read)
			continue;
		/* A tracked event is what it is. */
		image->new_fact.is_event = true;
		image->new_fact.event_id = image->event_id;
		image->new_fact.at = image->occurred_at;
		image->new_fact.properties = image->new_row;
		image->read = true;
	}
}

/* Reads both sides of the images of one source in one statement. */
static void
read_source(MaDefinitions *definitions, MaEventSource *source, List *images)
{
	Datum	   *rows = palloc_array(Datum, Max(2 * list_length(images), 1));
	MaFact	  **facts = palloc_array(MaFact *, Max(2 * list_length(images), 1));
	int			n = 0;
	int			zone;
	MaIdentity	caller;
	MaRows		result;
	Datum		value;
	ListCell   *cell;

	foreach(cell, images)
	{
		MaImage    *image = lfirst(cell);

		if (image->event_source_id != source->id || image->read)
			continue;
		image->read = true;
		if (image->old_row != 0)
		{
			facts[n] = &image->old_fact;
			rows[n++] = image->old_row;
		}
		if (image->new_row != 0)
		{
			facts[n] = &image->new_fact;
			rows[n++] = image->new_row;
		}
	}
	if (n == 0)
		return;
	prepare_statement(source);
	value = ma_datum_array(rows, n, JSONBOID);
	zone = ma_pin_time_zone(source->time_zone);
	ma_become_table_owner(&caller, source->table->relid);
	result = ma_run(&source->images, &value, NULL, MA_RUN_READ_LATEST);
	ma_become_back(&caller);
	ma_unpin_settings(zone);
	for (uint64 i = 0; i < result.n; i++)
		set_fact(definitions, source, &result, i, facts[ma_int32(&result, i, 1) - 1]);
}

static void
set_fact(MaDefinitions *definitions, MaEventSource *source, MaRows *rows,
		 uint64 row, MaFact *fact)
{
	MaEvent    *event = source->event;
	bool		isnull;
	Datum		at = ma_value(rows, row, 3, &isnull);
	Datum		properties;

	/* As its type prints it, like the captured text: a cast trims char, and writes t as true. */
	fact->contact = ma_text(rows, row, 2);
	fact->at = isnull ? 0 : DatumGetTimestampTz(at);
	if (event == NULL)
	{
		char	   *name = ma_text(rows, row, 5);

		event = name ? ma_event_by_name(definitions, name) : NULL;
		if (event != NULL && !list_member_ptr(ma_event_sources(definitions, event), source))
			event = NULL;
	}
	fact->event_id = event ? event->id : 0;
	fact->is_event = ma_bool(rows, row, 4) && event != NULL && event->row_grade;
	properties = ma_value(rows, row, 6, &isnull);
	fact->properties = isnull ? 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(properties));
}

/* Hash and comparison of images by their row. */
static uint32
row_hash(const void *key, Size size)
{
	const MaImage *image = *(MaImage *const *) key;

	return hash_combine(murmurhash32((uint32) image->event_source_id),
						hash_bytes((const unsigned char *) image->row_key,
								   strlen(image->row_key)));
}

static int
row_compare(const void *left, const void *right, Size size)
{
	const MaImage *a = *(MaImage *const *) left;
	const MaImage *b = *(MaImage *const *) right;

	return a->event_source_id != b->event_source_id || strcmp(a->row_key, b->row_key) != 0;
}

/* One image per row: the first OLD, the last NEW. */
static List *
collapse(List *images)
{
	HASHCTL		control = {0};
	HTAB	   *rows;
	List	   *result = NIL;
	ListCell   *cell;

	control.keysize = control.entrysize = sizeof(MaImage *);
	control.hash = row_hash;
	control.match = row_compare;
	control.hcxt = CurrentMemoryContext;
	rows = hash_create("marketing_automation rows", Max(list_length(images), 1), &control,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	foreach(cell, images)
	{
		MaImage    *image = lfirst(cell);
		MaImage    *whole = palloc_object(MaImage);
		MaImage   **entry;
		bool		found = false;

		*whole = *image;
		whole->left = false;
		/* The hash keeps the pointer; a tracked event is a row of its own. */
		entry = image->event_source_id == 0 ? &whole :
			hash_search(rows, &whole, HASH_ENTER, &found);
		image->whole = *entry;
		if (!found)
		{
			result = lappend(result, whole);
			continue;
		}
		image->whole->new_row = image->new_row;
		image->whole->new_fact = image->new_fact;
		image->whole->enroll = image->enroll;
	}
	hash_destroy(rows);
	return result;
}

/*
 * Rows of which earlier images wait in the capture log wait behind them; returns
 * the other images.  evaluation->images stays: after an error all of them are left.
 */
static List *
without_waiting(MaEvaluation *evaluation)
{
	static MaStatement waiting = {
		"SELECT u.n::pg_catalog.int4 "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
		"WITH ORDINALITY AS u (event_source_id, row_key, n) "
		"WHERE EXISTS (SELECT FROM marketing_internal.capture_row AS c "
		"WHERE c.event_source_id OPERATOR(pg_catalog.=) u.event_source_id "
		"AND c.row_key OPERATOR(pg_catalog.=) u.row_key) ORDER BY u.n",
		2, {INT4ARRAYOID, TEXTARRAYOID}
	};
	int			n = list_length(evaluation->images);
	int32	   *sources = palloc_array(int32, Max(n, 1));
	char	  **keys = palloc_array(char *, Max(n, 1));
	List	   *others = NIL;
	uint64		next = 0;
	MaRows		rows;
	Datum		values[2];

	for (int i = 0; i < n; i++)
	{
		MaImage    *image = list_nth(evaluation->images, i);

		sources[i] = image->event_source_id;
		keys[i] = image->row_key;
	}
	values[0] = ma_int4_array(sources, n);
	values[1] = ma_text_array(keys, n);
	rows = ma_run(&waiting, values, NULL, MA_RUN_READ_LATEST);
	for (int i = 0; i < n; i++)
	{
		void	   *image = list_nth(evaluation->images, i);

		if (next < rows.n && ma_int32(&rows, next, 1) == i + 1)
		{
			evaluation->failed_images = lappend(evaluation->failed_images, image);
			next++;
		}
		else
			others = lappend(others, image);
	}
	return others;
}

void
ma_evaluate_images(MaEvaluation *evaluation)
{
	MaRowChange *changes;
	List	   *images = evaluation->images;
	List	   *rows;
	int			n = 0;
	ListCell   *cell;

	if (images == NIL)
		return;
	if (!evaluation->worker)
		images = without_waiting(evaluation);
	ma_images_read(evaluation->definitions, images);
	rows = collapse(images);
	changes = palloc_array(MaRowChange, Max(2 * list_length(rows), 1));
	foreach(cell, rows)
	{
		MaImage    *whole = lfirst(cell);
		int			added = to_changes(evaluation, whole, changes + n);

		whole->left = added < 0;
		n += Max(added, 0);
	}
	/* All images of a row that is left are left. */
	foreach(cell, images)
		if (((MaImage *) lfirst(cell))->whole->left)
			evaluation->failed_images = lappend(evaluation->failed_images, lfirst(cell));
	ma_consumers_rows(changes, n, evaluation->now);
}

/* Rows of an excluded contact do not count, like those of nobody; what counts is the row now. */
static bool
is_excluded(const MaWork *work)
{
	return work->row != NULL && work->row->present ? work->row->excluded : work->excluded;
}

/* The work of the mark of this side; NULL if there is none. */
static MaWork *
work_of(MaEvaluation *evaluation, const MaImage *image, const MaFact *fact)
{
	MaEventSource *source = ma_event_source_by_id(evaluation->definitions, image->event_source_id);

	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];
		MaMarkTag  *tag = &work->mark->tag;

		if (source == NULL)
		{
			if (tag->kind == MA_MARK_CONTACT && tag->contact_id == image->contact_id)
				return work;
		}
		else if (fact->contact != NULL &&
				 tag->kind == (source->via_table ? MA_MARK_LINK : MA_MARK_KEY) &&
				 tag->id == (source->via_table ? source->id : source->contact_source->id) &&
				 strcmp(tag->text, fact->contact) == 0)
			return work;
	}
	return NULL;
}

/*
 * True while the log holds keys of the work's source: its contact may be among
 * those that a commit left to be made or counted again, so its row waits behind.
 * In the worker the row itself is looked at.
 */
static bool
may_come(MaEvaluation *evaluation, const MaWork *work)
{
	static MaStatement waiting = {
		"SELECT FROM marketing_internal.dirty AS d "
		"WHERE d.source_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
		1, {INT4OID}
	};
	MaSource   *source = ma_source_by_id(evaluation->definitions, work->source_id);
	Datum		value = Int32GetDatum(work->source_id);

	if (evaluation->worker || work->external_id == NULL || work->row != NULL ||
		(work->contact_id != 0 && !work->excluded) ||
		source == NULL || source->table == NULL)
		return false;
	return source->building || ma_run(&waiting, &value, NULL, MA_RUN_READ_LATEST).n > 0;
}

/*
 * Contact of one side, from the marks; *left if that contact was left to the worker,
 * as also are those whose marks are not evaluated here: of events that are
 * evaluated later, or written to the dirty log when there were too many.
 */
static int64
contact_of(MaEvaluation *evaluation, const MaImage *image, const MaFact *fact, bool *left)
{
	MaWork	   *work = work_of(evaluation, image, fact);
	MaWork	   *looked_at = work && work->same ? work->same : work;

	if (work == NULL)
	{
		*left |= image->event_source_id == 0 || fact->contact != NULL;
		return 0;
	}
	if (may_come(evaluation, work))
		work->image_left = *left = true;
	*left |= work->left || looked_at->left;
	if (evaluation->worker && !*left && work->contact_id == 0 && fact == &image->new_fact)
		ma_count(MA_COUNT_IGNORED_ROWS, 1);
	return is_excluded(looked_at) ? 0 : work->contact_id;
}

/* The happenings of one row, at most two; -1 if it is left to the worker. */
static int
to_changes(MaEvaluation *evaluation, MaImage *image, MaRowChange *changes)
{
	MaEventSource *source = ma_event_source_by_id(evaluation->definitions, image->event_source_id);
	MaFact	   *old = &image->old_fact;
	MaFact	   *new = &image->new_fact;
	bool		left = false;
	int64		old_contact = old->is_event ? contact_of(evaluation, image, old, &left) : 0;
	int64		new_contact = new->is_event ? contact_of(evaluation, image, new, &left) : 0;
	bool		was = old->is_event && old_contact != 0;
	bool		is = new->is_event && new_contact != 0;
	int			n = 0;

	if (left)
		return -1;
	if (was && is && old_contact == new_contact && old->event_id == new->event_id)
	{
		bool		again = old->at != new->at && source != NULL && source->repeat;

		changes[n++] = change_of(image, new, new_contact,
								 again ? MA_ROW_HAPPENED : MA_ROW_CHANGED);
		return n;
	}
	if (was)
		changes[n++] = change_of(image, old, old_contact, MA_ROW_TAKEN_BACK);
	if (is)
		changes[n++] = change_of(image, new, new_contact, MA_ROW_HAPPENED);
	return n;
}

static MaRowChange
change_of(const MaImage *image, const MaFact *fact, int64 contact_id, MaRowKind kind)
{
	MaRowChange change = {0};

	change.contact_id = contact_id;
	change.event_id = fact->event_id;
	change.row_key = image->row_key;
	change.kind = kind;
	change.occurred_at = fact->at;
	change.properties = fact->properties;
	change.enroll = image->enroll;
	return change;
}
