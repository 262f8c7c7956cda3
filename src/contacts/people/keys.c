/*
 * keys.c
 *		Contacts and their keys: found, made, linked by match, excluded, forgotten.
 *
 * All are set-based over arrays, so that a build of five thousand rows and the
 * flush of one row are the same code; each is written so that no estimate can lead
 * to another plan than one descent of an index for each element.  Two transactions
 * that make the same key meet at its primary key: the second waits for the first
 * and then takes its contact.  Two that make contacts of one address meet at the
 * address's lock, which only sources with match take.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "contacts/contacts_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#define MANY_ROWS 200			/* from here on a statement is planned for its arrays */
#define ADDRESS_LOCKS 64		/* per kind of address */

/* First row of a call with an address. */
typedef struct Leader
{
	char	   *address;		/* hash key */
	int			row;
} Leader;

static const char *address_of(const MaSource *source, const MaSourceRow *row);
static int	lock_number(const char *address);
static void lock_number_of_kind(const char *kind, int number);
static void match_existing(const MaSource *source, MaSourceRow *rows, int n);
static void match_each_other(const MaSource *source, MaSourceRow *rows, int n);
static uint32 leader_hash(const void *key, Size size);
static int	leader_compare(const void *left, const void *right, Size size);
static bool is_to_create(const MaSourceRow *row);
static bool is_to_link(const MaSourceRow *row);
static void make_where(const MaSource *source, MaSourceRow *rows, int n,
					   bool (*wanted) (const MaSourceRow *row),
					   void (*make) (const MaSource *source, MaSourceRow *rows, int n));
static void create(const MaSource *source, MaSourceRow *rows, int n);
static void link_rows(const MaSource *source, MaSourceRow *rows, int n);
static void take_over_keys(int32 source_id, MaSourceRow *rows, int n);
static void rename_in_log(int32 source_id, const char *old_id, const char *new_id);
static Datum id_array(const MaSourceRow *rows, int n);
static MaRows run_for_ids(MaStatement *statement, int32 source_id, const MaSourceRow *rows, int n,
						  MaRun how);

/* A kept plan was made for few rows, maybe when our tables were still empty. */
MaRows
ma_run_sized(MaStatement *statement, int n, Datum *values, MaRun how)
{
	if (n < MANY_ROWS)
		return ma_run(statement, values, NULL, how);
	return ma_run_once(statement->sql, statement->nargs, statement->argtypes, values, NULL, how);
}

static Datum
id_array(const MaSourceRow *rows, int n)
{
	char	  **ids = palloc_array(char *, Max(n, 1));

	for (int i = 0; i < n; i++)
		ids[i] = rows[i].external_id;
	return ma_text_array(ids, n);
}

/* Runs a statement of a source ($1) and ids of it ($2); none, no rows. */
static MaRows
run_for_ids(MaStatement *statement, int32 source_id, const MaSourceRow *rows, int n, MaRun how)
{
	Datum		values[2];

	if (n == 0)
		return (MaRows) {0};
	values[0] = Int32GetDatum(source_id);
	values[1] = id_array(rows, n);
	return ma_run_sized(statement, n, values, how);
}

void
ma_keys_look_up(int32 source_id, MaSourceRow *rows, int n)
{
	static MaStatement look_up = {
		"SELECT u.n, k.contact_id, k.excluded "
		"FROM pg_catalog.unnest($2) WITH ORDINALITY AS u (external_id, n) CROSS JOIN LATERAL ("
		"SELECT c.contact_id, c.excluded FROM marketing_internal.contact_key AS c "
		"WHERE c.source_id OPERATOR(pg_catalog.=) $1 "
		"AND c.external_id OPERATOR(pg_catalog.=) u.external_id LIMIT 1) AS k",
		2, {INT4OID, TEXTARRAYOID}
	};
	MaRows		found = run_for_ids(&look_up, source_id, rows, n, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < found.n; i++)
	{
		MaSourceRow *row = &rows[ma_int64(&found, i, 1) - 1];

		row->contact_id = ma_int64(&found, i, 2);
		row->known = true;
		row->key_excluded = ma_bool(&found, i, 3);
	}
}

int64
ma_contact_by_key(int32 source_id, const char *external_id)
{
	static MaStatement look_up = {
		"SELECT contact_id FROM marketing_internal.contact_key "
		"WHERE source_id OPERATOR(pg_catalog.=) $1 AND external_id OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TEXTOID}
	};
	Datum		values[2];
	MaRows		found;

	values[0] = Int32GetDatum(source_id);
	values[1] = CStringGetTextDatum(external_id);
	found = ma_run(&look_up, values, NULL, MA_RUN_READ_LATEST);
	return found.n > 0 ? ma_int64(&found, 0, 1) : 0;
}

/* The address by which the source matches, or NULL. */
static const char *
address_of(const MaSource *source, const MaSourceRow *row)
{
	if (source->match == NULL)
		return NULL;
	return strcmp(source->match, "email") == 0 ? row->email : row->phone;
}

static int
lock_number(const char *address)
{
	return hash_bytes((const unsigned char *) address, strlen(address)) % ADDRESS_LOCKS;
}

static void
lock_number_of_kind(const char *kind, int number)
{
	ma_address_lock(psprintf("match %s %d", kind, number));
}

void
ma_match_lock(const char *kind, const char *address)
{
	if (address != NULL)
		lock_number_of_kind(kind, lock_number(address));
	else
		for (int i = 0; i < ADDRESS_LOCKS; i++)
			lock_number_of_kind(kind, i);
}

void
ma_match_lock_rows(const MaSource *source, const MaSourceRow *rows, int n)
{
	bool		wanted[ADDRESS_LOCKS] = {false};

	for (int i = 0; i < n; i++)
	{
		const char *address = address_of(source, &rows[i]);

		if (address != NULL && !rows[i].known)
			wanted[lock_number(address)] = true;
	}
	for (int i = 0; i < ADDRESS_LOCKS; i++)
		if (wanted[i])
			lock_number_of_kind(source->match, i);
}

void
ma_contacts_match(const MaSource *source, MaSourceRow *rows, int n)
{
	if (source->match == NULL || n == 0)
		return;
	match_existing(source, rows, n);
	if (n > 1)
		match_each_other(source, rows, n);
}

/*
 * Sets contact_id of rows whose address another contact has.  The + 0 keeps the
 * planner from walking the primary key up to the first contact of that address.
 */
static void
match_existing(const MaSource *source, MaSourceRow *rows, int n)
{
#define MATCH_SQL(column) \
		"SELECT a.n, (SELECT pg_catalog.min(c.contact_id OPERATOR(pg_catalog.+) 0) " \
		"FROM marketing_internal.contact AS c " \
		"WHERE c." column " OPERATOR(pg_catalog.=) a.address " \
		"AND EXISTS (SELECT FROM marketing_internal.contact_key AS k " \
		"WHERE k.contact_id OPERATOR(pg_catalog.=) c.contact_id AND NOT k.excluded)) " \
		"FROM pg_catalog.unnest($1) WITH ORDINALITY AS a (address, n) " \
		"WHERE a.address IS NOT NULL"
	static MaStatement by_email = {MATCH_SQL("email"), 1, {TEXTARRAYOID}};
	static MaStatement by_phone = {MATCH_SQL("phone"), 1, {TEXTARRAYOID}};
	char	  **addresses = palloc_array(char *, n);
	bool		any = false;
	Datum		value;
	MaRows		found;

	for (int i = 0; i < n; i++)
	{
		addresses[i] = rows[i].contact_id == 0 ?
			unconstify(char *, address_of(source, &rows[i])) : NULL;
		any |= addresses[i] != NULL;
	}
	if (!any)
		return;
	value = ma_text_array(addresses, n);
	found = ma_run_sized(strcmp(source->match, "email") == 0 ? &by_email : &by_phone,
						 n, &value, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < found.n; i++)
		rows[ma_int64(&found, i, 1) - 1].contact_id = ma_int64(&found, i, 2);
}

/* Sets follows of rows whose address an earlier row of the call has. */
static void
match_each_other(const MaSource *source, MaSourceRow *rows, int n)
{
	HASHCTL		control = {0};
	HTAB	   *leaders;

	control.keysize = sizeof(char *);
	control.entrysize = sizeof(Leader);
	control.hash = leader_hash;
	control.match = leader_compare;
	control.hcxt = CurrentMemoryContext;
	leaders = hash_create("marketing_automation addresses", n, &control,
						  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	for (int i = 0; i < n; i++)
	{
		const char *address = address_of(source, &rows[i]);
		Leader	   *leader;
		bool		found;

		if (address == NULL || rows[i].contact_id != 0)
			continue;
		leader = hash_search(leaders, &address, HASH_ENTER, &found);
		if (found)
			rows[i].follows = leader->row;
		else
			leader->row = i;
	}
	hash_destroy(leaders);
}

static uint32
leader_hash(const void *key, Size size)
{
	const char *address = *(char *const *) key;

	return hash_bytes((const unsigned char *) address, strlen(address));
}

static int
leader_compare(const void *left, const void *right, Size size)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

void
ma_contacts_make(const MaSource *source, MaSourceRow *rows, int n)
{
	make_where(source, rows, n, is_to_create, create);
	for (int i = 0; i < n; i++)
		if (rows[i].follows >= 0 && !rows[i].known)
			rows[i].contact_id = rows[rows[i].follows].contact_id;
	make_where(source, rows, n, is_to_link, link_rows);
}

static bool
is_to_create(const MaSourceRow *row)
{
	return !row->known && row->contact_id == 0 && row->follows < 0;
}

static bool
is_to_link(const MaSourceRow *row)
{
	return !row->known && row->contact_id != 0;
}

/* Hands the rows that are wanted to `make`, together. */
static void
make_where(const MaSource *source, MaSourceRow *rows, int n,
		   bool (*wanted) (const MaSourceRow *row),
		   void (*make) (const MaSource *source, MaSourceRow *rows, int n))
{
	MaSourceRow *part = palloc_array(MaSourceRow, Max(n, 1));
	int		   *place = palloc_array(int, Max(n, 1));
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (wanted(&rows[i]))
		{
			place[count] = i;
			part[count++] = rows[i];
		}
	if (count > 0)
		make(source, part, count);
	for (int i = 0; i < count; i++)
		rows[place[i]] = part[i];
	pfree(part);
	pfree(place);
}

/* Makes a contact and its key for each row. */
static void
create(const MaSource *source, MaSourceRow *rows, int n)
{
	static MaStatement insert = {
		"WITH new AS (SELECT pg_catalog.nextval("
		"'marketing_internal.contact_contact_id_seq'::pg_catalog.regclass) AS contact_id, "
		"u.n, u.external_id, u.email, u.phone, u.time_zone, u.locale "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
		"pg_catalog.unnest($5), pg_catalog.unnest($6)) WITH ORDINALITY "
		"AS u (external_id, email, phone, time_zone, locale, n)), "
		"keyed AS (INSERT INTO marketing_internal.contact_key (source_id, external_id, contact_id) "
		"SELECT $1, external_id, contact_id FROM new ON CONFLICT DO NOTHING RETURNING contact_id), "
		"made AS (INSERT INTO marketing_internal.contact "
		"(contact_id, email, phone, time_zone, locale, created_at) "
		"SELECT new.contact_id, new.email, new.phone, new.time_zone, new.locale, $7 "
		"FROM new JOIN keyed ON keyed.contact_id OPERATOR(pg_catalog.=) new.contact_id) "
		"SELECT new.n, new.contact_id "
		"FROM new JOIN keyed ON keyed.contact_id OPERATOR(pg_catalog.=) new.contact_id",
		7, {INT4OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZOID}
	};
	char	  **fields[4];
	Datum		values[7];
	MaRows		made;

	for (int f = 0; f < 4; f++)
		fields[f] = palloc_array(char *, n);
	for (int i = 0; i < n; i++)
	{
		fields[0][i] = rows[i].email;
		fields[1][i] = rows[i].phone;
		fields[2][i] = rows[i].time_zone;
		fields[3][i] = rows[i].locale;
	}
	values[0] = Int32GetDatum(source->id);
	values[1] = id_array(rows, n);
	for (int f = 0; f < 4; f++)
		values[f + 2] = ma_text_array(fields[f], n);
	values[6] = TimestampTzGetDatum(ma_now());
	made = ma_run_sized(&insert, n, values, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < made.n; i++)
	{
		MaSourceRow *row = &rows[ma_int64(&made, i, 1) - 1];

		row->contact_id = ma_int64(&made, i, 2);
		row->known = row->created = true;
	}
	if (made.n < (uint64) n)
		take_over_keys(source->id, rows, n);
}

/* Adds keys to the contacts that match found, and logs the links. */
static void
link_rows(const MaSource *source, MaSourceRow *rows, int n)
{
	static MaStatement insert = {
		"WITH keyed AS (INSERT INTO marketing_internal.contact_key (source_id, external_id, contact_id) "
		"SELECT $1, u.external_id, u.contact_id FROM ROWS FROM (pg_catalog.unnest($2), "
		"pg_catalog.unnest($3)) AS u (external_id, contact_id) "
		"ON CONFLICT DO NOTHING RETURNING external_id, contact_id), "
		"logged AS (INSERT INTO marketing_internal.contact_merge "
		"(contact_id, merged_id, reason, keys, merged_at, merged_by) "
		"SELECT contact_id, contact_id, 'match', pg_catalog.jsonb_build_array("
		"pg_catalog.jsonb_build_object('source', $1, 'id', external_id)), $4, $5 FROM keyed) "
		"SELECT u.n FROM pg_catalog.unnest($2) WITH ORDINALITY AS u (external_id, n) "
		"JOIN keyed ON keyed.external_id OPERATOR(pg_catalog.=) u.external_id",
		5, {INT4OID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, TEXTOID}
	};
	int64	   *contacts = palloc_array(int64, n);
	Datum		values[5];
	MaRows		linked;

	for (int i = 0; i < n; i++)
		contacts[i] = rows[i].contact_id;
	values[0] = Int32GetDatum(source->id);
	values[1] = id_array(rows, n);
	values[2] = ma_int8_array(contacts, n);
	values[3] = TimestampTzGetDatum(ma_now());
	values[4] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	linked = ma_run_sized(&insert, n, values, MA_RUN_WRITE_LATEST);
	if (linked.n == (uint64) n)
	{
		for (int i = 0; i < n; i++)
			rows[i].known = rows[i].linked = true;
		return;
	}
	/* Somebody else was first with some of the keys: take what is there. */
	for (uint64 i = 0; i < linked.n; i++)
	{
		MaSourceRow *row = &rows[ma_int64(&linked, i, 1) - 1];

		row->known = row->linked = true;
	}
	take_over_keys(source->id, rows, n);
}

/* Looks up the contacts of rows whose key another transaction has made. */
static void
take_over_keys(int32 source_id, MaSourceRow *rows, int n)
{
	for (int i = 0; i < n; i++)
		if (!rows[i].known)
		{
			rows[i].contact_id = 0;
			ma_keys_look_up(source_id, &rows[i], 1);
		}
}

void
ma_keys_exclude(int32 source_id, const MaSourceRow *rows, int n)
{
	static MaStatement update = {
		"UPDATE marketing_internal.contact_key SET excluded = $3 "
		"WHERE source_id OPERATOR(pg_catalog.=) $1 "
		"AND external_id OPERATOR(pg_catalog.=) ANY ($2) "
		"AND excluded OPERATOR(pg_catalog.<>) $3",
		3, {INT4OID, TEXTARRAYOID, BOOLOID}
	};
	char	  **ids = palloc_array(char *, Max(n, 1));

	for (int excluded = 0; excluded <= 1; excluded++)
	{
		int			count = 0;
		Datum		values[3];

		for (int i = 0; i < n; i++)
			if (rows[i].excluded == (excluded == 1))
				ids[count++] = rows[i].external_id;
		if (count == 0)
			continue;
		values[0] = Int32GetDatum(source_id);
		values[1] = ma_text_array(ids, count);
		values[2] = BoolGetDatum(excluded == 1);
		ma_run_sized(&update, count, values, MA_RUN_WRITE_LATEST);
	}
}

void
ma_keys_delete(int32 source_id, const MaSourceRow *rows, int n)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.contact_key "
		"WHERE source_id OPERATOR(pg_catalog.=) $1 AND external_id OPERATOR(pg_catalog.=) ANY ($2)",
		2, {INT4OID, TEXTARRAYOID}
	};

	(void) run_for_ids(&remove, source_id, rows, n, MA_RUN_WRITE_LATEST);
}

bool
ma_key_rename(int32 source_id, const char *old_id, const char *new_id)
{
	static MaStatement rename = {
		"UPDATE marketing_internal.contact_key AS k SET external_id = $3 "
		"WHERE k.source_id OPERATOR(pg_catalog.=) $1 AND k.external_id OPERATOR(pg_catalog.=) $2 "
		"AND NOT EXISTS (SELECT FROM marketing_internal.contact_key AS n "
		"WHERE n.source_id OPERATOR(pg_catalog.=) $1 AND n.external_id OPERATOR(pg_catalog.=) $3)",
		3, {INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(source_id);
	values[1] = CStringGetTextDatum(old_id);
	values[2] = CStringGetTextDatum(new_id);
	if (ma_run(&rename, values, NULL, MA_RUN_WRITE_LATEST).n == 0)
		return false;
	rename_in_log(source_id, old_id, new_id);
	return true;
}

/*
 * Renames the key in the log of links as well, so that they can still be taken
 * back: in that of the contact and in those of contacts merged into it.
 */
static void
rename_in_log(int32 source_id, const char *old_id, const char *new_id)
{
	static MaStatement rename = {
		"WITH RECURSIVE holder (contact_id) AS ("
		"SELECT k.contact_id FROM marketing_internal.contact_key AS k "
		"WHERE k.source_id OPERATOR(pg_catalog.=) $1 AND k.external_id OPERATOR(pg_catalog.=) $3 "
		"UNION SELECT m.merged_id FROM holder "
		"JOIN marketing_internal.contact_merge AS m "
		"ON m.contact_id OPERATOR(pg_catalog.=) holder.contact_id AND m.split_at IS NULL) "
		"UPDATE marketing_internal.contact_merge AS m SET keys = ("
		"SELECT pg_catalog.jsonb_agg(CASE WHEN u.key OPERATOR(pg_catalog.=) "
		"pg_catalog.jsonb_build_object('source', $1, 'id', $2) "
		"THEN pg_catalog.jsonb_build_object('source', $1, 'id', $3) ELSE u.key END) "
		"FROM pg_catalog.jsonb_array_elements(m.keys) AS u (key)) "
		"FROM holder WHERE m.contact_id OPERATOR(pg_catalog.=) holder.contact_id "
		"AND m.split_at IS NULL AND m.keys OPERATOR(pg_catalog.@>) "
		"pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('source', $1, 'id', $2))",
		3, {INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(source_id);
	values[1] = CStringGetTextDatum(old_id);
	values[2] = CStringGetTextDatum(new_id);
	ma_run(&rename, values, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_contacts_leave(const int64 *contact_ids, int n)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.dirty (xid, contact_id) "
		"SELECT pg_catalog.pg_current_xact_id(), u.contact_id "
		"FROM pg_catalog.unnest($1) AS u (contact_id)",
		1, {INT8ARRAYOID}
	};
	Datum		value;

	if (n == 0)
		return;
	value = ma_int8_array(contact_ids, n);
	ma_run(&insert, &value, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_contacts_lock_rows(const int64 *contact_ids, int n)
{
	static MaStatement lock = {
		"SELECT FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY contact_id FOR NO KEY UPDATE",
		1, {INT8ARRAYOID}
	};
	Datum		value = ma_int8_array(contact_ids, n);

	ma_run_sized(&lock, n, &value, MA_RUN_WRITE_LATEST);
}

void
ma_keys_leave(int32 source_id, const MaSourceRow *rows, int n)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.dirty (xid, source_id, external_id) "
		"SELECT pg_catalog.pg_current_xact_id(), $1, u.external_id "
		"FROM pg_catalog.unnest($2) AS u (external_id)",
		2, {INT4OID, TEXTARRAYOID}
	};

	(void) run_for_ids(&insert, source_id, rows, n, MA_RUN_WRITE_LATEST);
}
