/*
 * recompute.c
 *		The address fields of contacts, derived anew from their rows.
 *
 * A field is that of the first counting row that has one, in the order in which
 * the sources were attached, else what identify() said.  It is always derived
 * from all rows, never patched from the row that changed: so a later change of
 * an earlier source, a split or an exclusion needs no thought.  The contact's row
 * is locked before its rows are read, so that of two that derive it the later one
 * has read what the earlier one's transaction wrote.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"

typedef enum Field
{
	FIELD_EMAIL,
	FIELD_PHONE,
	FIELD_TIME_ZONE,
	FIELD_LOCALE,
	FIELD_PUSH_TOKEN,			/* from identify() only */
	NUM_FIELDS
} Field;

typedef struct Fields
{
	int64		contact_id;
	char	   *stored[NUM_FIELDS];
	char	   *derived[NUM_FIELDS];
	char	   *said[NUM_FIELDS];	/* by identify() */
} Fields;

static Fields *lock_contacts(const int64 *contact_ids, int n, int *found);
static void derive_from_rows(Fields *contacts, int n);
static void derive_from_source(MaSource *source, Fields *contacts, int n,
							   MaSourceRow *rows, int nrows);
static void derive_from_attributes(Fields *contact);
static void take(char **field, char *value);
static bool is_changed(const Fields *contact);
static bool is_same(const char *a, const char *b);
static int	compare_contact(const void *a, const void *b);
static void store(Fields *contacts, int n);

void
ma_contacts_recompute(const int64 *contact_ids, int n)
{
	Fields	   *contacts;
	int			changed = 0;

	if (n == 0)
		return;
	contacts = lock_contacts(contact_ids, n, &n);
	derive_from_rows(contacts, n);
	for (int i = 0; i < n; i++)
	{
		derive_from_attributes(&contacts[i]);
		if (is_changed(&contacts[i]))
			contacts[changed++] = contacts[i];
	}
	if (changed > 0)
		store(contacts, changed);
}

/* Locks and reads the contacts' rows, in order of contact_id. */
static Fields *
lock_contacts(const int64 *contact_ids, int n, int *found)
{
	static MaStatement lock = {
		"SELECT c.contact_id, c.email, c.phone, c.time_zone, c.locale, c.push_token, "
		"c.attributes OPERATOR(pg_catalog.->>) 'email', "
		"c.attributes OPERATOR(pg_catalog.->>) 'phone', "
		"c.attributes OPERATOR(pg_catalog.->>) 'time_zone', "
		"c.attributes OPERATOR(pg_catalog.->>) 'locale', "
		"c.attributes OPERATOR(pg_catalog.->>) 'push_token' "
		"FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"ORDER BY c.contact_id FOR NO KEY UPDATE",
		1, {INT8ARRAYOID}
	};
	Datum		value = ma_int8_array(contact_ids, n);
	MaRows		rows = ma_run_sized(&lock, n, &value, MA_RUN_WRITE_LATEST);
	Fields	   *contacts = palloc0_array(Fields, Max(rows.n, 1));

	for (uint64 i = 0; i < rows.n; i++)
	{
		contacts[i].contact_id = ma_int64(&rows, i, 1);
		for (int f = 0; f < NUM_FIELDS; f++)
		{
			contacts[i].stored[f] = ma_text(&rows, i, 2 + f);
			contacts[i].said[f] = ma_text(&rows, i, 2 + NUM_FIELDS + f);
		}
	}
	*found = rows.n;
	return contacts;
}

/* Reads the rows of the contacts' keys, source by source in order of attachment. */
static void
derive_from_rows(Fields *contacts, int n)
{
	static MaStatement keys = {
		"SELECT source_id, external_id, contact_id FROM marketing_internal.contact_key "
		"WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) AND NOT excluded "
		"ORDER BY source_id, external_id",
		1, {INT8ARRAYOID}
	};
	MaDefinitions *definitions = ma_definitions();
	int64	   *ids = palloc_array(int64, Max(n, 1));
	Datum		value;
	MaRows		found;

	for (int i = 0; i < n; i++)
		ids[i] = contacts[i].contact_id;
	value = ma_int8_array(ids, n);
	found = ma_run_sized(&keys, n, &value, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < found.n;)
	{
		int32		source_id = ma_int32(&found, i, 1);
		MaSource   *source = ma_source_by_id(definitions, source_id);
		MaSourceRow *rows = palloc_array(MaSourceRow, found.n - i);
		int			nrows = 0;

		for (; i < found.n && ma_int32(&found, i, 1) == source_id; i++)
		{
			ma_source_row_init(&rows[nrows], ma_text(&found, i, 2));
			rows[nrows++].contact_id = ma_int64(&found, i, 3);
		}
		if (source != NULL && source->table != NULL &&
			(source->email_column || source->phone_column ||
			 source->time_zone_column || source->locale_column))
			derive_from_source(source, contacts, n, rows, nrows);
	}
}

static void
derive_from_source(MaSource *source, Fields *contacts, int n, MaSourceRow *rows, int nrows)
{
	ma_source_read(source, rows, nrows);
	for (int i = 0; i < nrows; i++)
	{
		Fields		wanted = {rows[i].contact_id};
		Fields	   *contact = bsearch(&wanted, contacts, n, sizeof(Fields), compare_contact);

		if (contact == NULL || !rows[i].present || rows[i].excluded)
			continue;
		take(&contact->derived[FIELD_EMAIL], rows[i].email);
		take(&contact->derived[FIELD_PHONE], rows[i].phone);
		take(&contact->derived[FIELD_TIME_ZONE], rows[i].time_zone);
		take(&contact->derived[FIELD_LOCALE], rows[i].locale);
	}
}

static void
derive_from_attributes(Fields *contact)
{
	char	  **said = contact->said;

	take(&contact->derived[FIELD_EMAIL],
		 said[FIELD_EMAIL] ? ma_normalise_email(said[FIELD_EMAIL]) : NULL);
	take(&contact->derived[FIELD_PHONE],
		 said[FIELD_PHONE] ? ma_normalise_phone(said[FIELD_PHONE]) : NULL);
	take(&contact->derived[FIELD_TIME_ZONE], ma_known_time_zone(said[FIELD_TIME_ZONE]));
	take(&contact->derived[FIELD_LOCALE], said[FIELD_LOCALE]);
	take(&contact->derived[FIELD_PUSH_TOKEN], said[FIELD_PUSH_TOKEN]);
}

/* The first value stays. */
static void
take(char **field, char *value)
{
	if (*field == NULL)
		*field = value;
}

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
is_changed(const Fields *contact)
{
	for (int f = 0; f < NUM_FIELDS; f++)
		if (!is_same(contact->stored[f], contact->derived[f]))
			return true;
	return false;
}

static int
compare_contact(const void *a, const void *b)
{
	int64		left = ((const Fields *) a)->contact_id;
	int64		right = ((const Fields *) b)->contact_id;

	return left < right ? -1 : left > right;
}

static void
store(Fields *contacts, int n)
{
	static MaStatement update = {
		"UPDATE marketing_internal.contact AS c SET email = u.email, phone = u.phone, "
		"time_zone = u.time_zone, locale = u.locale, push_token = u.push_token "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) "
		"AS u (contact_id, email, phone, time_zone, locale, push_token) "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND c.contact_id OPERATOR(pg_catalog.=) ANY ($1)",
		6, {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	int64	   *ids = palloc_array(int64, n);
	char	  **texts = palloc_array(char *, n);
	Datum		values[1 + NUM_FIELDS];

	for (int i = 0; i < n; i++)
		ids[i] = contacts[i].contact_id;
	values[0] = ma_int8_array(ids, n);
	for (int f = 0; f < NUM_FIELDS; f++)
	{
		for (int i = 0; i < n; i++)
			texts[i] = contacts[i].derived[f];
		values[1 + f] = ma_text_array(texts, n);
	}
	ma_run_sized(&update, n, values, MA_RUN_WRITE_LATEST);
}
