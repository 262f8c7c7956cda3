/*
 * resolve.c
 *		From marks to contacts: links through their via table to keys, keys to
 *		contacts, contacts to all their keys.
 *
 * Every read is under the latest snapshot.  Keys are resolved once to learn whom
 * to lock.  Under the locks all keys of the contacts are read, which serves twice:
 * to see that those marked are theirs still (who was merged or re-keyed in between
 * is left to the worker), and for the consumers, who read rows by them.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/flush/evaluate.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Columns of marketing_internal.contact_key. */
typedef enum KeyColumn
{
	KEY_SOURCE = 1,
	KEY_EXTERNAL,
	KEY_CONTACT,
	KEY_EXCLUDED
} KeyColumn;

static void resolve_source_links(MaEvaluation *evaluation, MaEventSource *source);
static void prepare_link_statement(MaEventSource *source);
static MaIndexRead *resolve_works(MaWork **works, int n, bool keep);
static MaOwnedKey *find_key(MaEvaluation *evaluation, const MaWork *work);
static int	compare_keys(const void *left, const void *right);
static MaOwnedKey owned_key(TupleTableSlot *row);
static Datum column(TupleTableSlot *row, KeyColumn number);
static void give_keys(MaEvaluation *evaluation);

void
ma_resolve_links(MaEvaluation *evaluation)
{
	ListCell   *cell;

	foreach(cell, evaluation->definitions->event_sources)
	{
		MaEventSource *source = lfirst(cell);

		if (source->via_table != NULL)
			resolve_source_links(evaluation, source);
	}
}

/* Statement: ($1 link keys) to (n, contact key, which prints as it was captured). */
static void
prepare_link_statement(MaEventSource *source)
{
	MemoryContext previous;

	if (source->via.sql != NULL)
		return;
	if (!OidIsValid(source->via_table->relid) || !OidIsValid(source->via_key_type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table or column behind \"via\" of attached table \"%s\" is gone",
						source->table->name),
				 errhint("Attach the event again.")));
	previous = MemoryContextSwitchTo(GetMemoryChunkContext(source));
	source->via.sql = psprintf("SELECT u.n::pg_catalog.int4, v.%s "
							   "FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (key, n) "
							   "JOIN %s AS v ON v.%s %s u.key",
							   quote_identifier(source->contact_column),
							   source->via_table->qualified,
							   quote_identifier(source->via_key_column),
							   ma_equality_operator(source->via_key_type));
	MemoryContextSwitchTo(previous);
	source->via.nargs = 1;
	source->via.argtypes[0] = get_array_type(source->via_key_type);
}

/* Fills the key of each link mark of this source; a link whose row is gone has none. */
static void
resolve_source_links(MaEvaluation *evaluation, MaEventSource *source)
{
	Datum	   *keys = palloc_array(Datum, Max(evaluation->nworks, 1));
	int		   *places = palloc_array(int, Max(evaluation->nworks, 1));
	int			n = 0;
	MaRows		rows;
	Datum		value;
	MaIdentity	caller;

	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaMarkTag  *tag = &evaluation->works[i].mark->tag;

		if (tag->kind != MA_MARK_LINK || tag->id != source->id || evaluation->works[i].left)
			continue;
		prepare_link_statement(source);
		evaluation->works[i].source_id = source->contact_source->id;
		if (!ma_key_holds(source->via_key_type, tag->text))
			continue;
		places[n] = i;
		keys[n++] = ma_key_value(source->via_table->relid, source->via_key_type, -1, tag->text);
	}
	if (n == 0)
		return;
	value = ma_datum_array(keys, n, source->via_key_type);
	ma_become_table_owner(&caller, source->via_table->relid);
	rows = ma_run(&source->via, &value, NULL, MA_RUN_READ_LATEST);
	ma_become_back(&caller);
	for (uint64 i = 0; i < rows.n; i++)
		evaluation->works[places[ma_int32(&rows, i, 1) - 1]].external_id = ma_text(&rows, i, 2);
}

void
ma_unite_links(MaEvaluation *evaluation)
{
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];

		if (work->mark->tag.kind != MA_MARK_LINK || !work->mark->identity ||
			work->external_id == NULL)
			continue;
		for (int j = 0; j < evaluation->nworks && work->same == NULL; j++)
		{
			MaWork	   *other = &evaluation->works[j];

			if (other->mark->identity && other->external_id != NULL && other->same == NULL &&
				(other->mark->tag.kind == MA_MARK_KEY || j < i) &&
				other->source_id == work->source_id &&
				strcmp(other->external_id, work->external_id) == 0)
				work->same = other;
		}
	}
}

/* Keys of works to contacts; 0 of a key that nobody has.  With `keep` the read is left open. */
static MaIndexRead *
resolve_works(MaWork **works, int n, bool keep)
{
	static const RegProcedure equal[] = {F_INT4EQ, F_TEXTEQ};
	MaIndexRead *read;

	if (n == 0)
		return NULL;
	read = ma_index_begin("contact_key_pkey", lengthof(equal), equal,
						  MA_RUN_READ_LATEST);
	for (int i = 0; i < n; i++)
	{
		MaWork	   *work = works[i];
		TupleTableSlot *row;
		Datum		key[2];

		key[0] = Int32GetDatum(work->source_id);
		key[1] = CStringGetTextDatum(work->external_id);
		ma_index_find(read, key);
		row = ma_index_next(read);
		work->contact_id = row != NULL ? DatumGetInt64(column(row, KEY_CONTACT)) : 0;
		work->excluded = row != NULL && DatumGetBool(column(row, KEY_EXCLUDED));
		if (row != NULL)
			work->key_at = row->tts_tid;
	}
	if (keep)
		return read;
	ma_index_end(read);
	return NULL;
}

void
ma_resolve_keys(MaEvaluation *evaluation)
{
	MaWork	  **works = palloc_array(MaWork *, Max(evaluation->nworks, 1));
	int			n = 0;

	for (int i = 0; i < evaluation->nworks; i++)
		if (evaluation->works[i].external_id != NULL && !evaluation->works[i].left)
			works[n++] = &evaluation->works[i];
	evaluation->keys_read = resolve_works(works, n, evaluation->rows_only);
}

/*
 * Whose key it is tells the contact's lock, once had: he has it still, or it is
 * somebody else's, or nobody's, which only the key itself tells.
 */
void
ma_resolve_again(MaEvaluation *evaluation)
{
	MaWork	  **works = palloc_array(MaWork *, Max(evaluation->nworks, 1));
	int			n = 0;

	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];
		MaOwnedKey *key;

		if (work->external_id == NULL || work->left || work->settled)
			continue;
		key = find_key(evaluation, work);
		if (key != NULL)
			work->excluded = key->excluded;
		else
			works[n++] = work;
	}
	(void) resolve_works(works, n, false);
}

bool
ma_key_stands(MaEvaluation *evaluation, MaWork *work)
{
	TupleTableSlot *row = ma_index_at(evaluation->keys_read, &work->key_at);
	MaOwnedKey	key;

	/* Room that is free again may be another key's by now. */
	if (row == NULL)
		return false;
	key = owned_key(row);
	return key.contact_id == work->contact_id && !key.excluded &&
		key.key.source_id == work->source_id && strcmp(key.key.external_id, work->external_id) == 0;
}

/* The key of the work among those of its contact, or NULL. */
static MaOwnedKey *
find_key(MaEvaluation *evaluation, const MaWork *work)
{
	MaOwnedKey	wanted = {work->contact_id, {work->source_id, work->external_id}, false};

	if (evaluation->nkeys == 0)
		return NULL;
	return bsearch(&wanted, evaluation->keys, evaluation->nkeys, sizeof(MaOwnedKey), compare_keys);
}

static int
compare_keys(const void *left, const void *right)
{
	const MaOwnedKey *a = left;
	const MaOwnedKey *b = right;

	if (a->contact_id != b->contact_id)
		return a->contact_id < b->contact_id ? -1 : 1;
	if (a->key.source_id != b->key.source_id)
		return a->key.source_id < b->key.source_id ? -1 : 1;
	return strcmp(a->key.external_id, b->key.external_id);
}

MaContactChange *
ma_find_contact(MaEvaluation *evaluation, int64 contact_id)
{
	int			low = 0;
	int			high = evaluation->ncontacts - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (evaluation->contacts[middle].contact_id == contact_id)
			return &evaluation->contacts[middle];
		if (evaluation->contacts[middle].contact_id < contact_id)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

void
ma_load_keys(MaEvaluation *evaluation)
{
	static const RegProcedure equal[] = {F_INT8EQ};
	MaIndexRead *read;
	int			room = evaluation->ncontacts + 8;

	evaluation->nkeys = 0;
	evaluation->keys = palloc_array(MaOwnedKey, room);
	if (evaluation->ncontacts == 0)
		return;
	read = ma_index_begin("contact_key_contact_idx", lengthof(equal), equal,
						  MA_RUN_READ_LATEST);
	for (int i = 0; i < evaluation->ncontacts; i++)
	{
		Datum		contact = Int64GetDatum(evaluation->contacts[i].contact_id);
		TupleTableSlot *row;

		ma_index_find(read, &contact);
		while ((row = ma_index_next(read)) != NULL)
		{
			if (evaluation->nkeys == room)
				evaluation->keys = repalloc(evaluation->keys, (room *= 2) * sizeof(MaOwnedKey));
			evaluation->keys[evaluation->nkeys++] = owned_key(row);
		}
	}
	ma_index_end(read);
	qsort(evaluation->keys, evaluation->nkeys, sizeof(MaOwnedKey), compare_keys);
	give_keys(evaluation);
}

static MaOwnedKey
owned_key(TupleTableSlot *row)
{
	MaOwnedKey	key;

	key.contact_id = DatumGetInt64(column(row, KEY_CONTACT));
	key.key.source_id = DatumGetInt32(column(row, KEY_SOURCE));
	key.key.external_id = TextDatumGetCString(column(row, KEY_EXTERNAL));
	key.excluded = DatumGetBool(column(row, KEY_EXCLUDED));
	return key;
}

/* None of those read here is ever null. */
static Datum
column(TupleTableSlot *row, KeyColumn number)
{
	bool		isnull;

	return slot_getattr(row, number, &isnull);
}

/* Gives each contact the keys that count; sorted, a contact's keys are neighbours. */
static void
give_keys(MaEvaluation *evaluation)
{
	MaKey	   *counting = palloc_array(MaKey, Max(evaluation->nkeys, 1));
	int			n = 0;

	for (int i = 0; i < evaluation->ncontacts; i++)
		evaluation->contacts[i].nkeys = 0;
	for (int i = 0; i < evaluation->nkeys; i++)
	{
		MaOwnedKey *key = &evaluation->keys[i];
		MaContactChange *contact = ma_find_contact(evaluation, key->contact_id);

		if (key->excluded)
			continue;
		counting[n] = key->key;
		if (contact->nkeys++ == 0)
			contact->keys = &counting[n];
		n++;
	}
}
