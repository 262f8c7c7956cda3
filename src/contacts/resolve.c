/*
 * resolve.c
 *		From marks to contacts: links through their via table to keys, keys to
 *		contacts, contacts to all their keys.
 *
 * Every read is under the latest snapshot.  Keys are resolved once to learn whom
 * to lock and again under the lock: who was merged or re-keyed in between is
 * left to the worker.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/evaluate.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static void resolve_source_links(MaEvaluation *evaluation, MaEventSource *source);
static void prepare_link_statement(MaEventSource *source);

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

/* By one descent of the index for each key, whatever the planner knows of the table. */
void
ma_resolve_keys(MaEvaluation *evaluation)
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
	int32	   *sources = palloc_array(int32, Max(evaluation->nworks, 1));
	char	  **keys = palloc_array(char *, Max(evaluation->nworks, 1));
	MaWork	  **works = palloc_array(MaWork *, Max(evaluation->nworks, 1));
	int			n = 0;
	Datum		values[2];
	MaRows		rows;

	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];

		if (work->external_id == NULL || work->left)
			continue;
		work->contact_id = 0;
		work->excluded = false;
		sources[n] = work->source_id;
		keys[n] = work->external_id;
		works[n++] = work;
	}
	if (n == 0)
		return;
	values[0] = ma_int4_array(sources, n);
	values[1] = ma_text_array(keys, n);
	rows = ma_run(&resolve, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaWork	   *work = works[ma_int32(&rows, i, 1) - 1];

		work->contact_id = ma_int64(&rows, i, 2);
		work->excluded = ma_bool(&rows, i, 3);
	}
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
	static MaStatement keys = {
		"SELECT k.contact_id, k.source_id, k.external_id "
		"FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) ANY ($1) AND NOT k.excluded "
		"ORDER BY 1, 2, 3",
		1, {INT8ARRAYOID}
	};
	int64	   *ids = palloc_array(int64, Max(evaluation->ncontacts, 1));
	MaKey	   *all;
	MaRows		rows;
	Datum		value;

	for (int i = 0; i < evaluation->ncontacts; i++)
	{
		ids[i] = evaluation->contacts[i].contact_id;
		evaluation->contacts[i].nkeys = 0;
	}
	value = ma_int8_array(ids, evaluation->ncontacts);
	rows = ma_run(&keys, &value, NULL, MA_RUN_READ_LATEST);
	all = palloc_array(MaKey, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaContactChange *contact = ma_find_contact(evaluation, ma_int64(&rows, i, 1));

		all[i].source_id = ma_int32(&rows, i, 2);
		all[i].external_id = ma_text(&rows, i, 3);
		/* Rows come in the order of contacts: a contact's keys are neighbours. */
		if (contact->nkeys++ == 0)
			contact->keys = &all[i];
	}
}
