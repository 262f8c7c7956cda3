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
#include "contacts/evaluate.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static void resolve_source_links(MaEvaluation *evaluation, MaEventSource *source);
static void prepare_link_statement(MaEventSource *source);
static void resolve_works(MaWork **works, int n);
static MaOwnedKey *find_key(MaEvaluation *evaluation, const MaWork *work);
static int	compare_keys(const void *left, const void *right);
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

/*
 * Keys of works to contacts, by one descent of the index for each, whatever the
 * planner knows of the table.  At commit it is mostly one key, and a set of one costs
 * more than the descent.
 */
static void
resolve_works(MaWork **works, int n)
{
	static MaStatement resolve = {
		"SELECT u.n::pg_catalog.int4, k.contact_id, k.excluded "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
		"WITH ORDINALITY AS u (source_id, external_id, n) CROSS JOIN LATERAL ("
		"SELECT c.contact_id, c.excluded FROM marketing_internal.contact_key AS c "
		"WHERE c.source_id OPERATOR(pg_catalog.=) u.source_id "
		"AND c.external_id OPERATOR(pg_catalog.=) u.external_id LIMIT 1) AS k",
		2, {INT4ARRAYOID, TEXTARRAYOID}
	};
	static MaStatement resolve_one = {
		"SELECT 1::pg_catalog.int4, k.contact_id, k.excluded "
		"FROM marketing_internal.contact_key AS k "
		"WHERE k.source_id OPERATOR(pg_catalog.=) $1 "
		"AND k.external_id OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TEXTOID}
	};
	int32	   *sources = palloc_array(int32, Max(n, 1));
	char	  **keys = palloc_array(char *, Max(n, 1));
	Datum		values[2];
	MaRows		rows;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		works[i]->contact_id = 0;
		works[i]->excluded = false;
		sources[i] = works[i]->source_id;
		keys[i] = works[i]->external_id;
	}
	values[0] = n == 1 ? Int32GetDatum(sources[0]) : ma_int4_array(sources, n);
	values[1] = n == 1 ? CStringGetTextDatum(keys[0]) : ma_text_array(keys, n);
	rows = ma_run(n == 1 ? &resolve_one : &resolve, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaWork	   *work = works[ma_int32(&rows, i, 1) - 1];

		work->contact_id = ma_int64(&rows, i, 2);
		work->excluded = ma_bool(&rows, i, 3);
	}
}

void
ma_resolve_keys(MaEvaluation *evaluation)
{
	MaWork	  **works = palloc_array(MaWork *, Max(evaluation->nworks, 1));
	int			n = 0;

	for (int i = 0; i < evaluation->nworks; i++)
		if (evaluation->works[i].external_id != NULL && !evaluation->works[i].left)
			works[n++] = &evaluation->works[i];
	resolve_works(works, n);
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

		if (work->external_id == NULL || work->left)
			continue;
		key = find_key(evaluation, work);
		if (key != NULL)
			work->excluded = key->excluded;
		else
			works[n++] = work;
	}
	resolve_works(works, n);
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
#define KEYS_SQL "SELECT k.contact_id, k.source_id, k.external_id, k.excluded " \
		"FROM marketing_internal.contact_key AS k WHERE k.contact_id OPERATOR(pg_catalog.=) "
	static MaStatement many = {KEYS_SQL "ANY ($1)", 1, {INT8ARRAYOID}};
	static MaStatement one = {KEYS_SQL "$1", 1, {INT8OID}};
	int			n = evaluation->ncontacts;
	int64	   *ids = palloc_array(int64, Max(n, 1));
	MaRows		rows = {0};
	Datum		value;

	for (int i = 0; i < n; i++)
		ids[i] = evaluation->contacts[i].contact_id;
	value = n == 1 ? Int64GetDatum(ids[0]) : ma_int8_array(ids, n);
	if (n > 0)
		rows = ma_run(n == 1 ? &one : &many, &value, NULL, MA_RUN_READ_LATEST);
	evaluation->nkeys = (int) rows.n;
	evaluation->keys = palloc_array(MaOwnedKey, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaOwnedKey *key = &evaluation->keys[i];

		key->contact_id = ma_int64(&rows, i, 1);
		key->key.source_id = ma_int32(&rows, i, 2);
		key->key.external_id = ma_text(&rows, i, 3);
		key->excluded = ma_bool(&rows, i, 4);
	}
	qsort(evaluation->keys, evaluation->nkeys, sizeof(MaOwnedKey), compare_keys);
	give_keys(evaluation);
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
