/*
 * erase.c
 *		marketing.erase_contact(): forgets a person.
 *
 * Everything about him goes, and about those who were merged into him, from all our
 * tables.  What stays bears a number that stands for nobody: the ledger of consent,
 * without its proofs, so that it still shows what was said and when and its chains
 * still hold (the hash of a proof is salted, and the salt goes with it); and keyed hashes
 * of his addresses, by which the shop, if somebody gives it an address, can find that
 * number, and which stay suppressed if so asked.
 *
 * The contact's lock keeps evaluations and the scheduler away, that of his erasure hits, the
 * recipients' locks the gate: a claim that has committed before is found by nobody when it is
 * looked at again before the network, so it is not sent.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

typedef struct Addresses
{
	int			n;
	char	  **channels;
	Datum	   *hashes;
} Addresses;

static int64 lock_erased(FunctionCallInfo fcinfo, Datum *ids);
static void lock_numbers(Datum ids);
static Addresses read_addresses(Datum contact_ids);
static void keep_hashes(int64 contact_id, const Addresses *addresses, bool suppress);
static Datum key_texts(Datum contact_ids);
static void anonymise_ledger(Datum contact_ids);
static int64 forget(const char *column, Oid type, Datum values, int *ntables);

MA_FUNCTION(ma_erase_contact);

/*
 * The contact, locked, and all his numbers.  Those who write about him without his lock
 * are kept away first, in the order in which they take these locks.
 */
static int64
lock_erased(FunctionCallInfo fcinfo, Datum *ids)
{
	int64		contact_id = ma_contact_argument(fcinfo, false);

	lock_numbers(ma_contact_with_merged(contact_id));
	contact_id = ma_contact_argument_locked(fcinfo, false);
	*ids = ma_contact_with_merged(contact_id);
	/* Merged meanwhile: mostly there is nothing more to take. */
	lock_numbers(*ids);
	return contact_id;
}

static void
lock_numbers(Datum ids)
{
	ArrayType  *array = DatumGetArrayTypeP(ids);
	const int64 *numbers = (const int64 *) ARR_DATA_PTR(array);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	for (int i = 0; i < n; i++)
		ma_erasure_lock(numbers[i]);
}

/* All he has, and all that messages to him went to. */
static Addresses
read_addresses(Datum contact_ids)
{
	static MaStatement find = {
		"SELECT 'email', c.email FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) ANY ($1) UNION "
		"SELECT 'sms', c.phone FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) ANY ($1) UNION "
		"SELECT 'push', c.push_token FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) ANY ($1) UNION "
		"SELECT m.channel, m.address FROM marketing_internal.message AS m "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) ANY ($1) UNION "
		"SELECT l.channel, l.address FROM marketing_internal.message_log AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY 1, 2",
		1, {INT8ARRAYOID}
	};
	MaRows		rows = ma_run(&find, &contact_ids, NULL, MA_RUN_READ_LATEST);
	Addresses	addresses = {0};

	addresses.channels = palloc_array(char *, Max(rows.n, 1));
	addresses.hashes = palloc_array(Datum, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *channel = ma_text(&rows, i, 1);
		char	   *address = ma_text(&rows, i, 2);

		if (address == NULL || ma_channel_field(channel) == NULL)
			continue;
		addresses.channels[addresses.n] = channel;
		addresses.hashes[addresses.n++] = ma_address_hash(channel, address);
	}
	return addresses;
}

/* What can be found again by who has the address. */
static void
keep_hashes(int64 contact_id, const Addresses *addresses, bool suppress)
{
	static MaStatement keep = {
		"INSERT INTO marketing_internal.erasure (contact_id, channel, address_hash, erased_at, erased_by) "
		"SELECT $1, u.channel, u.hash, $4, $5 "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (channel, hash)",
		5, {INT8OID, TEXTARRAYOID, BYTEAARRAYOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[5];

	values[0] = Int64GetDatum(contact_id);
	values[1] = ma_text_array(addresses->channels, addresses->n);
	values[2] = ma_datum_array(addresses->hashes, addresses->n, BYTEAOID);
	values[3] = TimestampTzGetDatum(ma_now());
	values[4] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	(void) ma_run(&keep, values, NULL, MA_RUN_WRITE_LATEST);
	for (int i = 0; i < addresses->n && suppress; i++)
		(void) ma_suppression_add(addresses->channels[i], addresses->hashes[i], "erased");
}

/* The texts by which somebody may have named him, and that we noted: a row that was refused. */
static Datum
key_texts(Datum contact_ids)
{
	static MaStatement find = {
		"SELECT pg_catalog.concat(s.name, ':', k.external_id), k.external_id "
		"FROM marketing_internal.contact_key AS k JOIN marketing_internal.contact_source AS s "
		"ON s.source_id OPERATOR(pg_catalog.=) k.source_id "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) ANY ($1)",
		1, {INT8ARRAYOID}
	};
	MaRows		rows = ma_run(&find, &contact_ids, NULL, MA_RUN_READ_LATEST);
	char	  **texts = palloc_array(char *, Max(rows.n * 2, 1));

	for (uint64 i = 0; i < rows.n; i++)
	{
		texts[2 * i] = ma_text(&rows, i, 1);
		texts[2 * i + 1] = ma_text(&rows, i, 2);
	}
	return ma_text_array(texts, rows.n * 2);
}

static void
anonymise_ledger(Datum contact_ids)
{
	static MaStatement anonymise = {
		"UPDATE marketing_internal.consent_entry SET proof = NULL, proof_salt = NULL "
		"WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) AND proof IS NOT NULL",
		1, {INT8ARRAYOID}
	};

	(void) ma_run(&anonymise, &contact_ids, NULL, MA_RUN_WRITE_LATEST);
}

/* Deletes the rows of all tables with this column; returns how many. */
static int64
forget(const char *column, Oid type, Datum values, int *ntables)
{
	int64		count = 0;
	ListCell   *cell;

	foreach(cell, ma_personal_tables(column))
	{
		char	   *sql = psprintf("DELETE FROM marketing_internal.%s WHERE %s "
								   "OPERATOR(pg_catalog.=) ANY ($1)",
								   quote_identifier(lfirst(cell)), quote_identifier(column));
		MaRows		rows = ma_run_once(sql, 1, &type, &values, NULL, MA_RUN_WRITE_LATEST);

		count += rows.n;
		*ntables += rows.n > 0;
	}
	return count;
}

/* marketing.erase_contact(contact, suppress) */
Datum
ma_erase_contact(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	bool		suppress = PG_ARGISNULL(1) || PG_GETARG_BOOL(1);
	List	   *channels = list_make3("email", "sms", "push");
	Addresses	addresses;
	int64		contact_id;
	int64		count;
	int			ntables = 0;
	Datum		ids;
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	ma_call_begin(&call);
	contact_id = lock_erased(fcinfo, &ids);
	answer = ma_contact_argument_text(fcinfo);
	ma_recipients_lock(&contact_id, 1, channels, true);
	addresses = read_addresses(ids);
	keep_hashes(contact_id, &addresses, suppress);
	anonymise_ledger(ids);
	ma_contacts_tell_erased(ids);
	count = forget("contact", TEXTARRAYOID, key_texts(ids), &ntables);
	count += forget("merged_id", INT8ARRAYOID, ids, &ntables);
	count += forget("contact_id", INT8ARRAYOID, ids, &ntables);
	if (addresses.n > 0)
		count += forget("address_hash", BYTEAARRAYOID,
						ma_datum_array(addresses.hashes, addresses.n, BYTEAOID), &ntables);
	answer = MemoryContextStrdup(context, psprintf("%s: erased, %s rows in %d tables%s", answer,
												   ma_grouped(count), ntables,
												   addresses.n == 0 ? "" : suppress ?
												   "; the addresses stay suppressed" :
												   "; the addresses are not suppressed"));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
