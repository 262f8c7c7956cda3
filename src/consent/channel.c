/*
 * channel.c
 *		Channels, addresses as the suppression list keeps them, and the lock of a
 *		recipient.
 *
 * The list must outlive the erasure of a person, so it holds no address but an HMAC
 * under a key of this shop: without the key nobody can try addresses against it.
 * The key is a row that is dumped with the list, which is worth nothing without it.
 */
#include "base/base.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#define LOCK_CLASS_RECIPIENT 6	/* of advisory locks; SQL's functions use 1 and 2 */
#define LOCK_CLASS_ERASURE 8

static const struct
{
	const char *name;
	const char *field;			/* of contact; NULL: no address of the contact's */
}			channels[] = {
	/* Tokens hold places: append only. */
	{"email", "email"},
	{"sms", "phone"},
	{"push", "push_token"},
	{"webhook", NULL},
};

static int	find_channel(const char *channel);
static const uint8 *shop_key(void);
static int	compare_keys(const void *left, const void *right);

/* -1 if there is none of this name. */
static int
find_channel(const char *channel)
{
	for (int i = 0; i < lengthof(channels); i++)
		if (strcmp(channel, channels[i].name) == 0)
			return i;
	return -1;
}

void
ma_channel_check(const char *channel)
{
	List	   *names = NIL;
	char	   *nearest;

	if (find_channel(channel) >= 0)
		return;
	for (int i = 0; i < lengthof(channels); i++)
		names = lappend(names, unconstify(char *, channels[i].name));
	nearest = ma_nearest(channel, names);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no channel \"%s\"", channel),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Channels are email, sms, push and webhook.")));
}

int
ma_channel_number(const char *channel)
{
	return find_channel(channel) + 1;
}

const char *
ma_channel_by_number(int number)
{
	return number < 1 || number > (int) lengthof(channels) ? NULL : channels[number - 1].name;
}

const char *
ma_channel_field(const char *channel)
{
	int			i = find_channel(channel);

	return i < 0 ? NULL : channels[i].field;
}

char *
ma_channel_normalise(const char *channel, const char *address)
{
	const char *field = ma_channel_field(channel);

	if (field == NULL || address == NULL)
		return NULL;
	if (strcmp(field, "email") == 0)
		return ma_normalise_email(address);
	if (strcmp(field, "phone") == 0)
		return ma_normalise_phone(address);
	return address[0] == '\0' ? NULL : pstrdup(address);
}

/*
 * The key, made when first needed; remembered as long as no definition changes, but not
 * by the transaction that makes it, whose end may be a rollback.
 */
static const uint8 *
shop_key(void)
{
	static MaStatement make = {
		"INSERT INTO marketing_internal.shop_key (name, key) VALUES ('address', $1) "
		"ON CONFLICT (name) DO NOTHING",
		1, {BYTEAOID}
	};
	static MaStatement find = {
		"SELECT key FROM marketing_internal.shop_key WHERE name OPERATOR(pg_catalog.=) 'address'",
		0
	};
	static uint8 key[MA_KEY_BYTES];
	static uint64 epoch = 0;
	static TransactionId made_in = InvalidTransactionId;
	MaRows		rows;
	bool		isnull;
	bytea	   *value;

	if (epoch != 0 && epoch == ma_definitions_epoch())
		return key;
	rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
	{
		Datum		fresh = ma_fresh_key();

		(void) ma_run(&make, &fresh, NULL, MA_RUN_WRITE_LATEST);
		/* Somebody may have been first; and ours may yet be rolled back: not remembered. */
		rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);
		made_in = GetTopTransactionId();
	}
	epoch = GetTopTransactionIdIfAny() == made_in && TransactionIdIsValid(made_in) ? 0 :
		ma_definitions_epoch();
	value = DatumGetByteaPP(ma_value(&rows, 0, 1, &isnull));
	if (VARSIZE_ANY_EXHDR(value) != MA_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the key in marketing_internal.shop_key has %d bytes instead of %d",
						(int) VARSIZE_ANY_EXHDR(value), MA_KEY_BYTES),
				 errhint("Restore the row named \"address\" from a backup: suppressed addresses and "
						 "messages that were sent are known only by this key.")));
	memcpy(key, VARDATA_ANY(value), MA_KEY_BYTES);
	return key;
}

Datum
ma_fresh_key(void)
{
	bytea	   *key = palloc(VARHDRSZ + MA_KEY_BYTES);

	SET_VARSIZE(key, VARHDRSZ + MA_KEY_BYTES);
	if (!pg_strong_random(VARDATA(key), MA_KEY_BYTES))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random key")));
	return PointerGetDatum(key);
}

Datum
ma_shop_hmac(const void *data, Size length)
{
	bytea	   *result = palloc(VARHDRSZ + MA_HMAC_BYTES);

	SET_VARSIZE(result, VARHDRSZ + MA_HMAC_BYTES);
	ma_hmac(shop_key(), data, length, (uint8 *) VARDATA(result));
	return PointerGetDatum(result);
}

/* By the kind of address, so that a number suppressed for sms is one however it is used. */
Datum
ma_address_hash(const char *channel, const char *address)
{
	const char *field = ma_channel_field(channel);
	char	   *text = psprintf("address:%s:%s", field ? field : channel, address);

	return ma_shop_hmac(text, strlen(text));
}

uint64
ma_recipient_lock_key(Datum address_hash)
{
	uint64		key;

	memcpy(&key, VARDATA_ANY(DatumGetByteaPP(address_hash)), sizeof(key));
	return key;
}

bool
ma_recipient_try_lock(uint64 key)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key,
						 LOCK_CLASS_RECIPIENT);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
ma_recipient_lock(uint64 key)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key,
						 LOCK_CLASS_RECIPIENT);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static LOCKTAG
erasure_tag(int64 contact_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((uint64) contact_id >> 32),
						 (uint32) contact_id, LOCK_CLASS_ERASURE);
	return tag;
}

void
ma_erasure_lock(int64 contact_id)
{
	LOCKTAG		tag = erasure_tag(contact_id);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

bool
ma_erasure_keep_away(int64 contact_id)
{
	LOCKTAG		tag = erasure_tag(contact_id);

	return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static int
compare_keys(const void *left, const void *right)
{
	uint64		a = *(const uint64 *) left;
	uint64		b = *(const uint64 *) right;

	return a < b ? -1 : a > b ? 1 : 0;
}

void
ma_recipients_lock(const int64 *contact_ids, int n, List *wanted, bool wait)
{
	static MaStatement find = {
		"SELECT email, phone, push_token FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1)",
		1, {INT8ARRAYOID}
	};
	static const char *const fields[] = {"email", "phone", "push_token"};
	Datum		value = ma_int8_array(contact_ids, n);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	uint64	   *keys = palloc_array(uint64, Max(rows.n * lengthof(fields), 1));
	int			count = 0;

	for (int f = 0; f < lengthof(fields); f++)
	{
		const char *channel = NULL;
		ListCell   *cell;

		foreach(cell, wanted)
		{
			const char *field = ma_channel_field(lfirst(cell));

			if (field != NULL && strcmp(field, fields[f]) == 0)
				channel = lfirst(cell);
		}
		for (uint64 i = 0; channel != NULL && i < rows.n; i++)
		{
			char	   *address = ma_text(&rows, i, f + 1);

			if (address != NULL)
				keys[count++] = ma_recipient_lock_key(ma_address_hash(channel, address));
		}
	}
	qsort(keys, count, sizeof(uint64), compare_keys);
	for (int i = 0; i < count; i++)
		if (wait)
			ma_recipient_lock(keys[i]);
		else
			(void) ma_recipient_try_lock(keys[i]);
}
