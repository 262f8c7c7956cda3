/*
 * merge.c
 *		merge_contacts() and split_contact(): two contacts are one person, or are
 *		not after all.
 *
 * Every joining of keys is a row of contact_merge that holds what is needed to
 * take it back: the keys moved, the row of the contact that ceased, and the
 * contacts whose tracked events moved.  The contact that ceased keeps its row, so
 * that it comes back under its own number.  Merges of merged contacts are undone
 * in reverse, since the log of a key is always looked up at the contact that has
 * the key now.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define MAX_LISTENERS 8

/* Columns of contact_merge. */
#define MERGE_MERGED 3
#define MERGE_SPLIT_AT 10

static const MaContactListener *listeners[MAX_LISTENERS];
static int	nlisteners = 0;

/* A link that split_contact() takes back. */
typedef struct Link
{
	int64		merge_id;
	int64		contact_id;		/* has the key now */
	int64		merged_id;		/* contact that comes back */
	bool		by_match;		/* it never was one: it is made anew */
} Link;

static void lock_both(int64 a, int64 b);
static void unlock_both(int64 a, int64 b);
static void lock_keys(int64 contact_id);
static void find_both(FunctionCallInfo fcinfo, int64 *winner, int64 *loser);
static void log_merge(int64 winner, int64 loser, Oid caller);
static void move_all(int64 winner, int64 loser);
static Link find_link(const MaSource *source, const char *external_id);
static void refuse_split(const MaSource *source, const char *external_id, int64 contact_id)
	pg_attribute_noreturn();
static int64 count_keys(int64 contact_id);
static Link lock_link(FunctionCallInfo fcinfo, MaSource **source, char **external_id);
static int64 split_match(const MaSource *source, const char *external_id);
static int64 split_merge(const Link *link);
static bool has_builtin(const MaContactChange *contact);

MA_FUNCTION(ma_merge_contacts);
MA_FUNCTION(ma_split_contact);

void
ma_register_contact_listener(const MaContactListener *listener)
{
	if (nlisteners == MAX_LISTENERS)
		elog(ERROR, "cannot happen: more than %d listeners", MAX_LISTENERS);
	listeners[nlisteners++] = listener;
}

void
ma_contacts_tell_erased(Datum contact_ids)
{
	for (int i = 0; i < nlisteners; i++)
		if (listeners[i]->erased != NULL)
			listeners[i]->erased(contact_ids);
}

/* marketing.merge_contacts(contact, other) */
Datum
ma_merge_contacts(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	int64		both[2];
	char	   *text;

	(void) ma_extension_required();
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("other must not be null")));
	ma_call_begin(&call);
	find_both(fcinfo, &both[0], &both[1]);
	lock_keys(both[1]);
	log_merge(both[0], both[1], call.caller.userid);
	move_all(both[0], both[1]);
	for (int i = 0; i < nlisteners; i++)
		if (listeners[i]->merged != NULL)
			listeners[i]->merged(both[0], both[1]);
	ma_contacts_recompute(both, 2);
	ma_mark_contact(both[0]);
	ma_mark_contact(both[1]);
	text = ma_contact_answer(both[0], context);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

static void
lock_both(int64 a, int64 b)
{
	ma_contact_lock(Min(a, b));
	ma_contact_lock(Max(a, b));
}

/* Nothing at the first look. */
static void
unlock_both(int64 a, int64 b)
{
	if (a == 0)
		return;
	ma_contact_unlock(a);
	ma_contact_unlock(b);
}

/* Locks the contact's keys in the order in which track() does. */
static void
lock_keys(int64 contact_id)
{
	static MaStatement lock = {
		"SELECT FROM marketing_internal.contact_key WHERE contact_id OPERATOR(pg_catalog.=) $1 "
		"ORDER BY source_id, external_id FOR NO KEY UPDATE",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);

	ma_run(&lock, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* Both contacts, locked; looked up again until they are still those that were locked. */
static void
find_both(FunctionCallInfo fcinfo, int64 *winner, int64 *loser)
{
	char	   *other = ma_contact_text_argument(fcinfo, 1, "other");
	int64		locked[2] = {0, 0};

	for (;;)
	{
		*winner = ma_contact_argument(fcinfo, false);
		*loser = ma_contact_of_text(other, false);
		if (*winner == *loser)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("contact \"%s\" is the same contact already", other),
					 errhint("Name two contacts; look at marketing.contacts.")));
		if (*winner == locked[0] && *loser == locked[1])
			return;
		unlock_both(locked[0], locked[1]);
		lock_both(*winner, *loser);
		locked[0] = *winner;
		locked[1] = *loser;
	}
}

/*
 * Logs the merge before anything moves.  "taken" are the attributes that the
 * winner gets from the loser, so that a split can give them back.
 */
static void
log_merge(int64 winner, int64 loser, Oid caller)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.contact_merge "
		"(contact_id, merged_id, reason, keys, merged, moved, merged_at, merged_by) "
		"SELECT $1, $2, 'merge', "
		"(SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
		"'source', k.source_id, 'id', k.external_id) ORDER BY k.source_id, k.external_id), '[]') "
		"FROM marketing_internal.contact_key AS k WHERE k.contact_id OPERATOR(pg_catalog.=) $2), "
		"pg_catalog.to_jsonb(l) OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('taken', "
		"(SELECT COALESCE(pg_catalog.jsonb_agg(a.name), '[]') "
		"FROM pg_catalog.jsonb_object_keys(l.attributes) AS a (name) "
		"WHERE NOT w.attributes OPERATOR(pg_catalog.?) a.name)), "
		"(SELECT COALESCE(pg_catalog.array_agg(DISTINCT e.tracked_for), '{}') "
		"FROM marketing_internal.event AS e WHERE e.contact_id OPERATOR(pg_catalog.=) $2), "
		"$3, $4 "
		"FROM marketing_internal.contact AS l, marketing_internal.contact AS w "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) $2 AND w.contact_id OPERATOR(pg_catalog.=) $1",
		4, {INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[4];

	values[0] = Int64GetDatum(winner);
	values[1] = Int64GetDatum(loser);
	values[2] = TimestampTzGetDatum(ma_now());
	values[3] = CStringGetTextDatum(GetUserNameFromId(caller, false));
	if (ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST).n != 1)
		elog(ERROR, "cannot happen: a contact to be merged has no row");
}

/* Keys, tracked events and attributes go to the winner, whose own attributes win. */
static void
move_all(int64 winner, int64 loser)
{
	static MaStatement moves[] = {
		{"UPDATE marketing_internal.contact_key SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.event SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		/* Copied: after a split both still know which events they have had. */
		{"INSERT INTO marketing_internal.event_key (contact_id, dedup_key) "
		"SELECT $1, dedup_key FROM marketing_internal.event_key "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2 ON CONFLICT DO NOTHING",
		2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.contact AS w "
		"SET attributes = l.attributes OPERATOR(pg_catalog.||) w.attributes "
		"FROM marketing_internal.contact AS l WHERE w.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND l.contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.contact SET attributes = '{}' "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
	};
	Datum		values[2];

	values[0] = Int64GetDatum(winner);
	values[1] = Int64GetDatum(loser);
	for (int i = 0; i < lengthof(moves); i++)
		ma_run(&moves[i], values, NULL, MA_RUN_WRITE_LATEST);
}

int64
ma_contact_now(int64 contact_id)
{
	static MaStatement follow = {
		"WITH RECURSIVE holder (contact_id, step) AS (SELECT $1, 0 UNION ALL "
		"SELECT m.contact_id, h.step OPERATOR(pg_catalog.+) 1 FROM holder AS h "
		"JOIN marketing_internal.contact_merge AS m "
		"ON m.merged_id OPERATOR(pg_catalog.=) h.contact_id "
		"AND m.contact_id OPERATOR(pg_catalog.<>) h.contact_id AND m.split_at IS NULL "
		"WHERE h.step OPERATOR(pg_catalog.<) 100) "
		"SELECT contact_id FROM holder ORDER BY step DESC LIMIT 1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&follow, &value, NULL, MA_RUN_READ_LATEST);

	return ma_int64(&rows, 0, 1);
}

Datum
ma_contact_with_merged(int64 contact_id)
{
	static MaStatement find = {
		"WITH RECURSIVE who (contact_id) AS (SELECT $1 UNION SELECT m.merged_id "
		"FROM marketing_internal.contact_merge AS m JOIN who "
		"ON m.contact_id OPERATOR(pg_catalog.=) who.contact_id "
		"WHERE m.split_at IS NULL) SELECT contact_id FROM who",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	int64	   *ids = palloc_array(int64, rows.n);

	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	return ma_int8_array(ids, rows.n);
}

/*
 * As ma_contact_with_merged(), by the index alone: commits read what rules say of
 * somebody's messages, and mostly nobody was merged.
 */
int64 *
ma_contact_and_merged(MaIndexRead *read, int64 contact_id, int *n)
{
	int			space = 4;
	int64	   *ids = palloc_array(int64, space);

	ids[0] = contact_id;
	*n = 1;
	for (int i = 0; i < *n; i++)
	{
		Datum		key = Int64GetDatum(ids[i]);
		TupleTableSlot *row;

		ma_index_find(read, &key);
		while ((row = ma_index_next(read)) != NULL)
		{
			bool		isnull;
			int64		merged = DatumGetInt64(slot_getattr(row, MERGE_MERGED, &isnull));
			bool		known = false;

			(void) slot_getattr(row, MERGE_SPLIT_AT, &isnull);
			for (int j = 0; j < *n; j++)
				known |= ids[j] == merged;
			if (known || !isnull)
				continue;
			if (*n == space)
				ids = repalloc(ids, mul_size(sizeof(int64), space *= 2));
			ids[(*n)++] = merged;
		}
	}
	return ids;
}

/* Rows of our own events bear the number of whom they happened to; all others are found by keys. */
static bool
has_builtin(const MaContactChange *contact)
{
	for (int i = 0; i < contact->nevents; i++)
	{
		MaEvent    *event = ma_event_by_id(ma_definitions(), contact->events[i].event_id);

		if (event != NULL && event->builtin)
			return true;
	}
	return false;
}

void
ma_merged_leave(const MaContactChange *contacts, int n)
{
	for (int i = 0; i < n; i++)
	{
		int64		now;

		if (contacts[i].nkeys > 0 || !has_builtin(&contacts[i]))
			continue;
		now = ma_contact_now(contacts[i].contact_id);
		if (now != contacts[i].contact_id)
			ma_contacts_leave(&now, 1);
	}
}

/* marketing.split_contact(contact) */
Datum
ma_split_contact(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	static MaStatement close = {
		"UPDATE marketing_internal.contact_merge SET split_at = $2 "
		"WHERE merge_id OPERATOR(pg_catalog.=) $1",
		2, {INT8OID, TIMESTAMPTZOID}
	};
	MaCall		call;
	MaSource   *source;
	char	   *external_id;
	Link		link;
	int64		both[2];
	Datum		values[2];
	char	   *text;

	(void) ma_extension_required();
	ma_call_begin(&call);
	link = lock_link(fcinfo, &source, &external_id);
	lock_keys(link.contact_id);
	both[0] = link.contact_id;
	both[1] = link.by_match ? split_match(source, external_id) : split_merge(&link);
	values[0] = Int64GetDatum(link.merge_id);
	values[1] = TimestampTzGetDatum(ma_now());
	ma_run(&close, values, NULL, MA_RUN_WRITE_LATEST);
	for (int i = 0; i < nlisteners; i++)
		if (listeners[i]->split != NULL)
			listeners[i]->split(both[0], both[1]);
	ma_contacts_recompute(both, 2);
	ma_mark_contact(both[0]);
	ma_mark_contact(both[1]);
	text = ma_contact_answer(both[1], context);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* The link by which the key came, with both contacts locked. */
static Link
lock_link(FunctionCallInfo fcinfo, MaSource **source, char **external_id)
{
	Link		link = {0};

	for (;;)
	{
		Link		again;

		(void) ma_contact_argument(fcinfo, false);
		*source = ma_key_argument(fcinfo, external_id);
		again = find_link(*source, *external_id);
		if (again.merge_id == link.merge_id && again.contact_id == link.contact_id)
			return link;
		unlock_both(link.contact_id, link.merged_id);
		link = again;
		lock_both(link.contact_id, link.merged_id);
	}
}

/* The last link not yet taken back that brought the key to the contact that has it now. */
static Link
find_link(const MaSource *source, const char *external_id)
{
	static MaStatement find = {
		"SELECT m.merge_id, m.merged_id, m.reason OPERATOR(pg_catalog.=) 'match' "
		"FROM marketing_internal.contact_merge AS m "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $1 AND m.split_at IS NULL "
		"AND m.keys OPERATOR(pg_catalog.@>) pg_catalog.jsonb_build_array("
		"pg_catalog.jsonb_build_object('source', $2, 'id', $3)) "
		"ORDER BY m.merge_id DESC LIMIT 1",
		3, {INT8OID, INT4OID, TEXTOID}
	};
	int64		contact_id = ma_contact_by_key(source->id, external_id);
	Link		link = {0};
	Datum		values[3];
	MaRows		found;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int32GetDatum(source->id);
	values[2] = CStringGetTextDatum(external_id);
	found = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	/* A matched row whose contact has nothing else left is that contact. */
	if (found.n == 0 || (ma_bool(&found, 0, 3) && count_keys(contact_id) == 1))
		refuse_split(source, external_id, contact_id);
	link.contact_id = contact_id;
	link.merge_id = ma_int64(&found, 0, 1);
	link.merged_id = ma_int64(&found, 0, 2);
	link.by_match = ma_bool(&found, 0, 3);
	return link;
}

/* Says why there is nothing to split, and which keys of the contact could be. */
static void
refuse_split(const MaSource *source, const char *external_id, int64 contact_id)
{
	static MaStatement joined = {
		"SELECT k.source_id, k.external_id FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) $1 AND EXISTS ("
		"SELECT FROM marketing_internal.contact_merge AS m "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $1 AND m.split_at IS NULL "
		"AND m.keys OPERATOR(pg_catalog.@>) pg_catalog.jsonb_build_array("
		"pg_catalog.jsonb_build_object('source', k.source_id, 'id', k.external_id))) "
		"ORDER BY k.source_id, k.external_id LIMIT 3",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		keys = ma_run(&joined, &value, NULL, MA_RUN_READ_LATEST);
	bool		only = count_keys(contact_id) == 1;
	char	   *list = NULL;

	for (uint64 i = 0; i < keys.n; i++)
	{
		char	   *key = ma_key_text(ma_source_by_id(ma_definitions(), ma_int32(&keys, i, 1)),
									  ma_text(&keys, i, 2));

		list = list ? psprintf("%s, %s", list, key) : key;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("contact \"%s\" cannot be split", ma_key_text(source, external_id)),
			 only ? errdetail("It is the only id of its contact.") :
			 errdetail("This id did not come to its contact by a match or a merge."),
			 list && !only ? errhint("Name one that did: %s.", list) : 0));
}

static int64
count_keys(int64 contact_id)
{
	static MaStatement count = {
		"SELECT pg_catalog.count(*) FROM marketing_internal.contact_key "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&count, &value, NULL, MA_RUN_READ_LATEST);

	return ma_int64(&rows, 0, 1);
}

/* Makes a contact of its own for a row that was linked by match; returns its number. */
static int64
split_match(const MaSource *source, const char *external_id)
{
	static MaStatement make = {
		"INSERT INTO marketing_internal.contact (created_at) VALUES ($1) RETURNING contact_id",
		1, {TIMESTAMPTZOID}
	};
	static MaStatement move = {
		"UPDATE marketing_internal.contact_key SET contact_id = $3 "
		"WHERE source_id OPERATOR(pg_catalog.=) $1 AND external_id OPERATOR(pg_catalog.=) $2",
		3, {INT4OID, TEXTOID, INT8OID}
	};
	Datum		values[3];
	MaRows		made;
	int64		contact_id;

	values[0] = TimestampTzGetDatum(ma_now());
	made = ma_run(&make, values, NULL, MA_RUN_WRITE_LATEST);
	contact_id = ma_int64(&made, 0, 1);
	ma_contact_lock(contact_id);
	values[0] = Int32GetDatum(source->id);
	values[1] = CStringGetTextDatum(external_id);
	values[2] = Int64GetDatum(contact_id);
	ma_run(&move, values, NULL, MA_RUN_WRITE_LATEST);
	return contact_id;
}

/* Brings back the contact that was merged, with what is still there of its own. */
static int64
split_merge(const Link *link)
{
	static MaStatement moves[] = {
		{"INSERT INTO marketing_internal.contact (contact_id, attributes, created_at) "
		"SELECT m.merged_id, m.merged OPERATOR(pg_catalog.->) 'attributes', "
		"(m.merged OPERATOR(pg_catalog.->>) 'created_at')::pg_catalog.timestamptz "
		"FROM marketing_internal.contact_merge AS m WHERE m.merge_id OPERATOR(pg_catalog.=) $1 "
		"ON CONFLICT (contact_id) DO UPDATE SET attributes = EXCLUDED.attributes",
		1, {INT8OID}},
		{"UPDATE marketing_internal.contact_key AS k SET contact_id = m.merged_id "
		"FROM marketing_internal.contact_merge AS m, "
		"pg_catalog.jsonb_to_recordset(m.keys) AS u (source pg_catalog.int4, id pg_catalog.text) "
		"WHERE m.merge_id OPERATOR(pg_catalog.=) $1 "
		"AND k.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"AND k.source_id OPERATOR(pg_catalog.=) u.source "
		"AND k.external_id OPERATOR(pg_catalog.=) u.id",
		1, {INT8OID}},
		/* Also what was tracked since for a contact that is split off with it. */
		{"UPDATE marketing_internal.event AS e SET contact_id = m.merged_id "
		"FROM marketing_internal.contact_merge AS m "
		"WHERE m.merge_id OPERATOR(pg_catalog.=) $1 "
		"AND e.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"AND (e.tracked_for OPERATOR(pg_catalog.=) ANY (m.moved) "
		"OR e.tracked_for OPERATOR(pg_catalog.=) m.merged_id)",
		1, {INT8OID}},
		/* Attributes taken from it and not changed since leave the winner. */
		{"UPDATE marketing_internal.contact AS w SET attributes = "
		"w.attributes OPERATOR(pg_catalog.-) t.names "
		"FROM marketing_internal.contact_merge AS m, LATERAL ("
		"SELECT pg_catalog.array_agg(a.name) AS names "
		"FROM pg_catalog.jsonb_array_elements_text(m.merged OPERATOR(pg_catalog.->) 'taken') AS a (name) "
		"JOIN marketing_internal.contact AS c ON c.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"WHERE c.attributes OPERATOR(pg_catalog.->) a.name OPERATOR(pg_catalog.=) "
		"((m.merged OPERATOR(pg_catalog.->) 'attributes') OPERATOR(pg_catalog.->) a.name)) AS t "
		"WHERE m.merge_id OPERATOR(pg_catalog.=) $1 AND t.names IS NOT NULL "
		"AND w.contact_id OPERATOR(pg_catalog.=) m.contact_id",
		1, {INT8OID}},
	};
	Datum		value = Int64GetDatum(link->merge_id);

	for (int i = 0; i < lengthof(moves); i++)
		ma_run(&moves[i], &value, NULL, MA_RUN_WRITE_LATEST);
	return link->merged_id;
}
