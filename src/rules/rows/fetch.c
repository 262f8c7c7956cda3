/*
 * fetch.c
 *		Reads what a set of rules needs of a batch of contacts: values of their rows
 *		in attached tables, facts of upper layers, and rows of events.
 *
 * Rows are read through the user's own index, as the owner of the table, one
 * statement for each event and table whatever the number of rules; a contact's keys
 * are cast once, in C.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "rules/evaluator.h"
#include "rules/leaf.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Fields of a contact: email, phone, time_zone, locale, attributes. */
#define NUM_FIELDS 5
#define FIELD_TIME_ZONE 2
#define FIELD_ATTRIBUTES 4		/* jsonb; the others are texts */

/* Their columns in marketing_internal.contact. */
static const AttrNumber field_columns[NUM_FIELDS] = {2, 3, 4, 5, 7};

/* Where the rows of a statement go. */
typedef struct Reading
{
	Batch	   *batch;
	const EventFetch *fetch;
	const int  *owners;			/* place in the batch of each key */
} Reading;

static void prepare_contacts(ContactFetch *fetch);
static void prepare_rows(EventFetch *fetch, bool with_keys);
static char *row_columns(const EventFetch *fetch, const char *place, bool with_keys,
						 char **filter);
static char *key_column(const EventFetch *fetch);
static const MaStreamPart *part_of(const MaStream *stream, const MaEventSource *source);
static void read_fields(Batch *batch);
static void read_values(Batch *batch, ContactFetch *fetch);
static Datum contact_key(const MaContactChange *contact, const MaSource *source, bool *isnull);
static void value_arguments(Batch *batch, const ContactFetch *fetch, const int32 *places, int n,
							Datum *arguments);
static void read_facts(Batch *batch, const Bitmapset *places);
static void read_event(Batch *batch, EventFetch *fetch, MaContactChange *contacts, int n,
					   const int *places);
static int	event_keys(const EventFetch *fetch, const Batch *batch, MaContactChange *contacts,
					   int n, const int *places, Datum **keys, int **owners);
static void add_images(Batch *batch, const EventFetch *fetch, const int *owners, int n,
					   Datum *arguments);
static bool is_needed(const Batch *batch, const bool *wanted, int contact, int fetch);
static void read_scores(Batch *batch, const bool *wanted);
static bool take_row(TupleTableSlot *slot, void *arg);
static char *key_text(TupleTableSlot *slot, int column);
static RowList *space_for_row(RowList *list);
static void sort_rows(RowList *list, MaValueType type);
static int	compare_rows(const void *left, const void *right);
static int	compare_matching(const void *left, const void *right);

/* ---- statements ---- */

/* Makes the statements at first use, where the set itself lives. */
void
ma_fetch_prepare(MaRuleSet *set)
{
	MemoryContext previous = MemoryContextSwitchTo(GetMemoryChunkContext(set));
	ListCell   *cell;

	ma_rule_set_place(set);
	foreach(cell, set->contact_fetches)
		if (((ContactFetch *) lfirst(cell))->statement.sql == NULL)
			prepare_contacts(lfirst(cell));
	foreach(cell, set->event_fetches)
		if (((EventFetch *) lfirst(cell))->many.sql == NULL)
			prepare_rows(lfirst(cell), set->with_keys);
	MemoryContextSwitchTo(previous);
}

void
ma_fetch_forget(MaRuleSet *set)
{
	ListCell   *cell;

	foreach(cell, set->contact_fetches)
		ma_statement_forget(&((ContactFetch *) lfirst(cell))->statement);
	foreach(cell, set->event_fetches)
	{
		ma_statement_forget(&((EventFetch *) lfirst(cell))->one);
		ma_statement_forget(&((EventFetch *) lfirst(cell))->many);
	}
}

/*
 * Values of attributes, a row for each contact: $1 places, $2 keys (or contact_ids),
 * then the contact's fields where an attribute needs them beside the table's, and the
 * row of the entry.
 */
static void
prepare_contacts(ContactFetch *fetch)
{
	StringInfoData sql;
	MaStatement *statement = &fetch->statement;
	MaSource   *source = fetch->source;
	Oid			key_type = source ? source->key_type : INT8OID;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT k.n");
	foreach(cell, fetch->attributes)
		appendStringInfo(&sql, ", %s", ((MaAttribute *) lfirst(cell))->sql);
	statement->nargs = 2;
	statement->argtypes[0] = INT4ARRAYOID;
	statement->argtypes[1] = get_array_type(key_type);
	appendStringInfoString(&sql, " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)");
	for (int i = 0; fetch->mixed && i < NUM_FIELDS; i++)
	{
		statement->argtypes[statement->nargs++] = TEXTARRAYOID;
		appendStringInfo(&sql, ", pg_catalog.unnest($%d)", statement->nargs);
	}
	if (fetch->entry)
	{
		statement->argtypes[statement->nargs++] = JSONBARRAYOID;
		appendStringInfo(&sql, ", pg_catalog.unnest($%d)", statement->nargs);
	}
	if (fetch->clock)
	{
		statement->argtypes[statement->nargs++] = TIMESTAMPTZARRAYOID;
		appendStringInfo(&sql, ", pg_catalog.unnest($%d)", statement->nargs);
	}
	appendStringInfo(&sql, ") AS k (n, key%s%s%s) ",
					 fetch->mixed ? ", email, phone, time_zone, locale, attributes" : "",
					 fetch->entry ? ", entry" : "", fetch->clock ? ", occurred_at" : "");
	if (fetch->mixed)
		appendStringInfoString(&sql, "CROSS JOIN LATERAL (SELECT k.email, k.phone, k.time_zone, k.locale, "
							   "k.attributes::pg_catalog.jsonb AS attributes) AS contact ");
	if (fetch->entry)
		appendStringInfoString(&sql, "CROSS JOIN LATERAL (SELECT k.entry AS properties) AS "
							   MA_ENTRY_ALIAS " ");
	if (fetch->clock)
		appendStringInfoString(&sql, "CROSS JOIN LATERAL (SELECT k.occurred_at) AS "
							   MA_CLOCK_ALIAS " ");
	if (source == NULL && ma_supposing())
		appendStringInfoString(&sql, "JOIN LATERAL (SELECT c.contact_id, c.email, c.phone, c.time_zone, "
							   "c.locale, marketing_internal.supposed_attributes(c.contact_id, "
							   "c.attributes) AS attributes FROM marketing_internal.contact AS c "
							   "WHERE c.contact_id OPERATOR(pg_catalog.=) k.key) AS contact ON true");
	else if (source == NULL)
		appendStringInfoString(&sql, "JOIN marketing_internal.contact AS contact "
							   "ON contact.contact_id OPERATOR(pg_catalog.=) k.key");
	else
	{
		ma_source_require(source);
		appendStringInfo(&sql, "LEFT JOIN %s AS %s ON %s.%s %s k.key", source->table->qualified,
						 quote_identifier(ma_source_alias(source)),
						 quote_identifier(ma_source_alias(source)),
						 quote_identifier(source->key_column),
						 ma_equality_operator(key_type));
	}
	statement->sql = sql.data;
}

static const MaStreamPart *
part_of(const MaStream *stream, const MaEventSource *source)
{
	ListCell   *cell;

	foreach(cell, stream->parts)
		if (((MaStreamPart *) lfirst(cell))->source == source)
			return lfirst(cell);
	elog(ERROR, "cannot happen: a stream does not know its source");
}

/*
 * Place and time, then for each stream whether the row belongs to it (null: it does)
 * and its value; at last its key, if asked for.  *filter: rows that belong to none need
 * not be read; NULL: all do.
 */
static char *
row_columns(const EventFetch *fetch, const char *place, bool with_keys, char **filter)
{
	StringInfoData columns;
	StringInfoData any;
	bool		all = false;
	ListCell   *cell;

	initStringInfo(&columns);
	initStringInfo(&any);
	appendStringInfo(&columns, "%s, r.at", place);
	foreach(cell, fetch->streams)
	{
		const MaStreamPart *part = part_of(lfirst(cell), fetch->source);

		appendStringInfo(&columns, ", %s, %s", part->filter ? part->filter : "true",
						 part->measure ? part->measure : "NULL");
		all |= part->filter == NULL;
		appendStringInfo(&any, "%s(%s)", any.len > 0 ? " OR " : "",
						 part->filter ? part->filter : "true");
	}
	if (with_keys)
		appendStringInfo(&columns, ", %s", key_column(fetch));
	*filter = all ? NULL : any.data;
	return columns.data;
}

/* SQL of what names the row for people: its table and key. */
static char *
key_column(const EventFetch *fetch)
{
	StringInfoData sql;
	ListCell   *cell;

	/* Rows of ours have no key that means anything to others. */
	if (fetch->source == NULL && fetch->event->builtin)
		return psprintf("pg_catalog.concat(%s, t.properties)",
						quote_literal_cstr(psprintf("%s ", fetch->event->name)));
	if (fetch->source == NULL)
		return "pg_catalog.concat('tracked event ', t.event_row_id)";
	initStringInfo(&sql);
	appendStringInfo(&sql, "pg_catalog.concat(%s", quote_literal_cstr(fetch->source->table->name));
	foreach(cell, ma_row_key_columns(fetch->source->table->relid))
	{
		const char *column = quote_identifier(lfirst(cell));

		appendStringInfo(&sql, ", %s, t.%s",
						 quote_literal_cstr(psprintf("%s%s = ", foreach_current_index(cell) == 0 ?
													 " " : ", ", column)), column);
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

static void
prepare_rows(EventFetch *fetch, bool with_keys)
{
	char	   *filter;
	char	   *where;
	char	   *columns = row_columns(fetch, "k.n", with_keys, &filter);

	where = psprintf("AND r.at OPERATOR(pg_catalog.>=) $2%s",
					 filter ? psprintf(" AND (%s)", filter) : "");
	fetch->many.sql = psprintf("SELECT e.* FROM %sCROSS JOIN LATERAL (%s %s) AS e",
							   fetch->images ?
							   "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($3), "
							   "pg_catalog.unnest($4)) WITH ORDINALITY AS k (key, contact, entry, n) "
							   "CROSS JOIN LATERAL (SELECT k.contact AS properties) AS "
							   MA_PERSON_ALIAS " CROSS JOIN LATERAL (SELECT k.entry AS properties) AS "
							   MA_ENTRY_ALIAS " " :
							   "pg_catalog.unnest($1) WITH ORDINALITY AS k (key, n) ",
							   ma_event_select_supposed(fetch->event, fetch->source, columns,
														"k.key", &fetch->key_type,
														ma_supposing()), where);
	if (fetch->images)
	{
		fetch->many.nargs = 4;
		fetch->many.argtypes[0] = get_array_type(fetch->key_type);
		fetch->many.argtypes[1] = TIMESTAMPTZOID;
		fetch->many.argtypes[2] = fetch->many.argtypes[3] = JSONBARRAYOID;
		return;
	}
	columns = row_columns(fetch, "1::pg_catalog.int8", with_keys, &filter);
	fetch->one.nargs = fetch->many.nargs = 2;
	fetch->one.argtypes[1] = fetch->many.argtypes[1] = TIMESTAMPTZOID;
	fetch->one.argtypes[0] = fetch->key_type;
	fetch->many.argtypes[0] = get_array_type(fetch->key_type);
	fetch->one.sql = psprintf("%s %s", ma_event_select_supposed(fetch->event, fetch->source,
																columns, "$1", &fetch->key_type,
																ma_supposing()), where);
}

/* ---- contacts ---- */

void
ma_fetch_contacts(Batch *batch, const bool *wanted)
{
	MaRuleSet  *set = batch->set;
	Bitmapset  *fetches = NULL;
	Bitmapset  *facts = NULL;
	ListCell   *cell;

	for (int i = 0; i < set->nrules && (set->contact_fetches != NIL || set->nfacts > 0); i++)
	{
		bool		any = wanted == NULL;

		for (int j = 0; j < batch->n && !any; j++)
			any = wanted[j * set->nrules + i];
		if (!any)
			continue;
		fetches = bms_add_members(fetches, set->needs[i].contacts);
		facts = bms_add_members(facts, set->needs[i].facts);
	}
	batch->values = palloc0_array(Datum, Max(mul_size(batch->n, set->nattributes), 1));
	batch->nulls = palloc_array(bool, Max(mul_size(batch->n, set->nattributes), 1));
	memset(batch->nulls, true, mul_size(batch->n, set->nattributes));
	read_fields(batch);
	foreach(cell, set->contact_fetches)
		if (bms_is_member(foreach_current_index(cell), fetches))
			read_values(batch, lfirst(cell));
	read_facts(batch, facts);
}

/* Zones of the contacts, and what mixed attributes need; by the index, since it is one or a few. */
static void
read_fields(Batch *batch)
{
	static const RegProcedure equal[] = {F_INT8EQ};
	MaIndexRead *read;

	batch->zones = palloc0_array(pg_tz *, batch->n);
	for (int i = 0; i < NUM_FIELDS; i++)
		batch->fields[i] = palloc0_array(char *, batch->n);
	if (!batch->set->needs_fields)
		return;
	read = ma_index_begin("contact_pkey", lengthof(equal), equal, batch->how);
	for (int i = 0; i < batch->n; i++)
	{
		Datum		id = Int64GetDatum(batch->contacts[i].contact_id);
		TupleTableSlot *row;

		ma_index_find(read, &id);
		row = ma_index_next(read);
		for (int j = 0; row != NULL && j < NUM_FIELDS; j++)
		{
			bool		isnull;
			Datum		value = slot_getattr(row, field_columns[j], &isnull);

			if (!isnull)
				batch->fields[j][i] = j == FIELD_ATTRIBUTES ?
					DatumGetCString(DirectFunctionCall1(jsonb_out, ma_supposed_attributes_over(
									batch->contacts[i].contact_id, value))) :
					TextDatumGetCString(value);
		}
		if (batch->fields[FIELD_TIME_ZONE][i] != NULL)
			batch->zones[i] = ma_zone(batch->fields[FIELD_TIME_ZONE][i]);
	}
	ma_index_end(read);
}

/* The contact's first key in the source, in the order of the keys' text. */
static Datum
contact_key(const MaContactChange *contact, const MaSource *source, bool *isnull)
{
	const char *first = NULL;

	for (int j = 0; j < contact->nkeys; j++)
		if (contact->keys[j].source_id == source->id &&
			(first == NULL || strcmp(contact->keys[j].external_id, first) < 0))
			first = contact->keys[j].external_id;
	*isnull = first == NULL;
	return first == NULL ? (Datum) 0 :
		ma_key_value(source->table->relid, source->key_type, -1, first);
}

/* What the statement is given, for these places of the batch. */
static void
value_arguments(Batch *batch, const ContactFetch *fetch, const int32 *places, int n,
				Datum *arguments)
{
	Datum	   *values = palloc_array(Datum, n);
	bool	   *nulls = palloc0_array(bool, n);
	char	  **texts = palloc_array(char *, n);
	int			last = 2;

	arguments[0] = ma_int4_array(places, n);
	for (int i = 0; i < n; i++)
		values[i] = fetch->source == NULL ? Int64GetDatum(batch->contacts[places[i]].contact_id) :
			contact_key(&batch->contacts[places[i]], fetch->source, &nulls[i]);
	arguments[1] = ma_datum_array_nulls(values, nulls, n,
										fetch->source ? fetch->source->key_type : INT8OID);
	for (int j = 0; fetch->mixed && j < NUM_FIELDS; j++)
	{
		for (int i = 0; i < n; i++)
			texts[i] = batch->fields[j][places[i]];
		arguments[last++] = ma_text_array(texts, n);
	}
	if (fetch->entry)
	{
		for (int i = 0; i < n; i++)
			values[i] = ma_entry_image(batch, places[i]);
		arguments[last++] = ma_datum_array(values, n, JSONBOID);
	}
	if (fetch->clock)
	{
		for (int i = 0; i < n; i++)
			values[i] = TimestampTzGetDatum(batch->as_of[places[i]]);
		arguments[last] = ma_datum_array(values, n, TIMESTAMPTZOID);
	}
}

/* Contacts without a row in the table are there as well, with nulls. */
static void
read_values(Batch *batch, ContactFetch *fetch)
{
	Datum		arguments[9];
	MemoryContext context = CurrentMemoryContext;
	int32	   *places = palloc_array(int32, batch->n);
	int			n = 0;
	MaIdentity	caller;
	MaRows		rows;

	for (int i = 0; i < batch->n; i++)
		if (!fetch->worker || batch->worker == NULL || batch->worker[i])
			places[n++] = i;
	if (n == 0)
		return;
	value_arguments(batch, fetch, places, n, arguments);
	if (fetch->source != NULL)
		ma_become_table_owner(&caller, fetch->source->table->relid);
	else
		ma_become_restricted(&caller, ma_extension_required()->owner);
	PG_TRY();
	{
		rows = ma_run(&fetch->statement, arguments, NULL, batch->how);
	}
	PG_CATCH();
	{
		ma_fetch_failed(batch->set, NULL, fetch, context);
	}
	PG_END_TRY();
	ma_become_back(&caller);
	for (uint64 i = 0; i < rows.n; i++)
	{
		int			place = ma_int32(&rows, i, 1) * batch->set->nattributes;
		ListCell   *cell;

		foreach(cell, fetch->attributes)
		{
			MaAttribute *attribute = lfirst(cell);
			int			column = foreach_current_index(cell) + 2;

			batch->values[place + attribute->place] =
				ma_value(&rows, i, column, &batch->nulls[place + attribute->place]);
			if (attribute->type == MA_VALUE_NUMBER && !batch->nulls[place + attribute->place])
				batch->values[place + attribute->place] =
					NumericGetDatum(DatumGetNumericCopy(batch->values[place + attribute->place]));
		}
	}
}

static void
read_facts(Batch *batch, const Bitmapset *places)
{
	int			nfacts = batch->set->nfacts;
	int64	   *ids = palloc_array(int64, batch->n);
	MaTruth    *truths = palloc_array(MaTruth, batch->n);
	ListCell   *cell;

	batch->facts = palloc0_array(MaTruth, Max(mul_size(batch->n, nfacts), 1));
	for (int i = 0; i < batch->n; i++)
		ids[i] = batch->contacts[i].contact_id;
	foreach(cell, batch->set->facts)
	{
		MaNode	   *node = lfirst(cell);

		if (!bms_is_member(node->place, places))
			continue;
		node->fact->test(node->name, node->by, ids, batch->n, batch->as_of[0], batch->how, truths);
		for (int i = 0; i < batch->n; i++)
		{
			if (ma_supposed_fact(ids[i], node->fact->word, node->name, &truths[i].truth))
				truths[i].until = DT_NOEND;
			batch->facts[i * nfacts + node->place] = truths[i];
		}
	}
}

/* ---- rows of events ---- */

void
ma_fetch_rows(Batch *batch, const bool *wanted)
{
	int			nstreams = batch->set->nstreams;
	MaContactChange *contacts = palloc_array(MaContactChange, batch->n);
	int		   *places = palloc_array(int, batch->n);
	ListCell   *cell;

	batch->rows = palloc0_array(RowList, Max(mul_size(batch->n, nstreams), 1));
	foreach(cell, batch->set->event_fetches)
	{
		EventFetch *fetch = lfirst(cell);
		int			n = 0;
		ListCell   *inner;

		for (int i = 0; i < batch->n; i++)
			if (is_needed(batch, wanted, i, foreach_current_index(cell)))
			{
				contacts[n] = batch->contacts[i];
				places[n++] = i;
			}
		if (n == 0)
			continue;
		read_event(batch, fetch, contacts, n, places);
		foreach(inner, fetch->streams)
		{
			MaStream   *stream = lfirst(inner);

			for (int i = 0; i < n; i++)
				sort_rows(&batch->rows[places[i] * nstreams + stream->place], stream->type);
		}
	}
	if (batch->set->nscores > 0)
		read_scores(batch, wanted);
}

static void
read_scores(Batch *batch, const bool *wanted)
{
	const MaRuleSet *set = batch->set;
	int		   *places = palloc_array(int, Max(batch->n, 1));
	ListCell   *cell;

	batch->scores = palloc0_array(MaRuleScore, Max(mul_size(batch->n, set->nscores), 1));
	foreach(cell, set->scores)
	{
		int			n = 0;

		for (int i = 0; i < batch->n; i++)
		{
			bool		needed = wanted == NULL;

			for (int j = 0; j < set->nrules && !needed; j++)
				needed = wanted[i * set->nrules + j] &&
					bms_is_member(foreach_current_index(cell), set->needs[j].scores);
			if (needed)
				places[n++] = i;
		}
		ma_fetch_scores(batch, lfirst(cell), places, n);
	}
}

/* Whether a rule that is wanted of the contact reads the event. */
static bool
is_needed(const Batch *batch, const bool *wanted, int contact, int fetch)
{
	const MaRuleSet *set = batch->set;

	if (wanted == NULL)
		return true;
	for (int i = 0; i < set->nrules; i++)
		if (wanted[contact * set->nrules + i] && bms_is_member(fetch, set->needs[i].events))
			return true;
	return false;
}

/*
 * An index gives the oldest first: mostly they are only to be turned.  Which of an instant's
 * rows comes first matters only where rows match or do not.
 */
static void
sort_rows(RowList *list, MaValueType type)
{
	int			ascending = 1;

	while (ascending < list->n &&
		   (list->rows[ascending - 1].at < list->rows[ascending].at ||
			(type != MA_VALUE_BOOL && list->rows[ascending - 1].at == list->rows[ascending].at)))
		ascending++;
	if (ascending < list->n)
	{
		qsort(list->rows, list->n, sizeof(Row),
			  type == MA_VALUE_BOOL ? compare_matching : compare_rows);
		return;
	}
	for (int i = 0, j = list->n - 1; i < j; i++, j--)
	{
		Row			row = list->rows[i];

		list->rows[i] = list->rows[j];
		list->rows[j] = row;
	}
}

/* The newest first. */
static int
compare_rows(const void *left, const void *right)
{
	TimestampTz a = ((const Row *) left)->at;
	TimestampTz b = ((const Row *) right)->at;

	return a > b ? -1 : (a < b ? 1 : 0);
}

/* Of the same instant those that match first. */
static int
compare_matching(const void *left, const void *right)
{
	const Row  *a = left;
	const Row  *b = right;
	int			order = compare_rows(left, right);

	if (order != 0)
		return order;
	return (!b->isnull && DatumGetBool(b->value)) - (!a->isnull && DatumGetBool(a->value));
}

/* Keys of the contacts in the event's source, and of which place of the batch each is. */
static int
event_keys(const EventFetch *fetch, const Batch *batch, MaContactChange *contacts, int n,
		   const int *places, Datum **keys, int **owners)
{
	const bool *worker = batch->worker;
	bool		builtin = fetch->source == NULL && fetch->event->builtin;
	int			total = 0;
	int			space = 0;
	int			nkeys = 0;

	for (int i = 0; i < n; i++)
		space += Max(contacts[i].nkeys, 1);
	*keys = palloc_array(Datum, Max(space, 1));
	*owners = palloc_array(int, Max(space, 1));
	/* Contact by contact: one may be there several times, with another entry each time. */
	for (int i = 0; i < n; i++)
	{
		int64	   *ids;
		Datum	   *own;

		if (fetch->worker && worker != NULL && !worker[places[i]])
			continue;
		nkeys = builtin ? ma_builtin_keys(&contacts[i], batch->how, &own) :
			ma_event_keys(fetch->source, &contacts[i], 1, &ids, &own);
		if (total + nkeys > space)
		{
			space = (total + nkeys) * 2;
			*keys = repalloc(*keys, mul_size(sizeof(Datum), space));
			*owners = repalloc(*owners, mul_size(sizeof(int), space));
		}
		for (int j = 0; j < nkeys; j++)
		{
			(*keys)[total] = own[j];
			(*owners)[total++] = places[i];
		}
	}
	return total;
}

/* Images of contact and entry for each key. */
static void
add_images(Batch *batch, const EventFetch *fetch, const int *owners, int n, Datum *arguments)
{
	Datum	   *persons = palloc_array(Datum, n);
	Datum	   *entries = palloc_array(Datum, n);

	for (int i = 0; i < n; i++)
	{
		persons[i] = i > 0 && owners[i] == owners[i - 1] ? persons[i - 1] :
			ma_contact_image(batch, owners[i], fetch->outer);
		entries[i] = ma_entry_image(batch, owners[i]);
	}
	arguments[2] = ma_datum_array(persons, n, JSONBOID);
	arguments[3] = ma_datum_array(entries, n, JSONBOID);
}

static void
read_event(Batch *batch, EventFetch *fetch, MaContactChange *contacts, int n, const int *places)
{
	int		   *owners;
	Datum	   *keys;
	int			nkeys = event_keys(fetch, batch, contacts, n, places, &keys, &owners);
	Datum		arguments[4];
	MemoryContext context = CurrentMemoryContext;
	Reading		reading = {batch, fetch, owners};
	TimestampTz after = DT_NOEND;
	MaIdentity	caller;
	int			zone = -1;
	bool		single = nkeys == 1 && !fetch->images;

	if (nkeys == 0)
		return;
	for (int i = 0; i < n; i++)
		after = Min(after, batch->as_of[places[i]]);
	after = fetch->ever || batch->set->with_keys ? DT_NOBEGIN :
		Min(after - fetch->reach, fetch->since);
	arguments[0] = single ? keys[0] : ma_datum_array(keys, nkeys, fetch->key_type);
	arguments[1] = TimestampTzGetDatum(after);
	if (fetch->images)
		add_images(batch, fetch, owners, nkeys, arguments);
	if (fetch->source != NULL)
	{
		zone = ma_pin_time_zone(fetch->source->time_zone);
		ma_become_table_owner(&caller, fetch->source->table->relid);
	}
	else
		ma_become_restricted(&caller, ma_extension_required()->owner);
	PG_TRY();
	{
		ma_run_each(single ? &fetch->one : &fetch->many, arguments, batch->how, take_row, &reading);
	}
	PG_CATCH();
	{
		ma_fetch_failed(batch->set, fetch, NULL, context);
	}
	PG_END_TRY();
	ma_become_back(&caller);
	ma_unpin_settings(zone);
}

/* Adds the row to the streams it belongs to. */
static bool
take_row(TupleTableSlot *slot, void *arg)
{
	const Reading *reading = arg;
	Batch	   *batch = reading->batch;
	bool		isnull;
	int			contact = reading->owners[DatumGetInt64(slot_getattr(slot, 1, &isnull)) - 1];
	TimestampTz at = DatumGetTimestampTz(slot_getattr(slot, 2, &isnull));
	int			column = 3;
	ListCell   *cell;

	if (batch->set->with_keys)
		batch->keys = lappend(batch->keys,
							  key_text(slot, 3 + 2 * list_length(reading->fetch->streams)));
	foreach(cell, reading->fetch->streams)
	{
		MaStream   *stream = lfirst(cell);
		RowList    *list = &batch->rows[contact * batch->set->nstreams + stream->place];
		bool		belongs = DatumGetBool(slot_getattr(slot, column, &isnull)) && !isnull;
		Row		   *row;

		column += 2;
		if (!belongs)
			continue;
		row = &space_for_row(list)->rows[list->n++];
		row->at = at;
		row->value = (Datum) 0;
		row->isnull = true;
		row->key = list_length(batch->keys) - 1;
		if (stream->type != MA_VALUE_NONE)
			row->value = slot_getattr(slot, column - 1, &row->isnull);
		if (!row->isnull && stream->type == MA_VALUE_NUMBER)
			row->value = NumericGetDatum(DatumGetNumericCopy(row->value));
		else if (!row->isnull && stream->type == MA_VALUE_TEXT)
			row->value = PointerGetDatum(DatumGetTextPCopy(row->value));
	}
	return true;
}

/* The row's key as it is shown; NULL: it has none. */
static char *
key_text(TupleTableSlot *slot, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static RowList *
space_for_row(RowList *list)
{
	if (list->n < list->space)
		return list;
	list->space = Max(16, list->space * 2);
	list->rows = list->rows == NULL ? palloc_array(Row, list->space) :
		repalloc_huge(list->rows, mul_size(sizeof(Row), list->space));
	return list;
}
