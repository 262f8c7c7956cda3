/*
 * signing.c
 *		What links of messages and addresses of hooks are signed with, and rotate_key().
 *
 * Keys follow one another: the newest one signs, and all that are not retired are believed,
 * so that a link works as long as somebody may have it in a mail.  A token does not say
 * which key made it: there are few, and a link of an SMS stays short.
 *
 * Only what lets its holder do something is signed here.  Hashes of suppressed addresses,
 * keys of messages and numbers of links are names, not rights; they stand in tables and
 * at providers for ever and keep the shop's first key (channel.c).
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "utils/builtins.h"

#define MAX_KEYS 8
#define DAYS_TO_UNSUBSCRIBE 30

typedef struct Keys
{
	uint64		epoch;			/* of the definitions they were read with; 0: never */
	int			n;
	uint8		keys[MAX_KEYS][MA_KEY_BYTES];	/* the newest first */
} Keys;

static const Keys *read_keys(void);
static void make_key(int number);
static void signature_by(const uint8 *key, const MaSignedText *text, uint8 *signature);
static int	replace_key(int *number);
static void refuse_retiring(int number);

MA_FUNCTION(ma_rotate_key);
MA_FUNCTION(ma_retire_key);

/* The keys that are believed, the newest first. */
static const Keys *
read_keys(void)
{
	static MaStatement read = {
		"SELECT key_no, key FROM marketing_internal.signing_key ORDER BY key_no DESC"
	};
	static Keys keys;
	uint64		epoch = ma_definitions_epoch();
	MaRows		rows;

	if (keys.epoch == epoch)
		return &keys;
	keys.epoch = 0;
	rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	keys.n = (int) Min(rows.n, MAX_KEYS);
	for (int i = 0; i < keys.n; i++)
	{
		bool		isnull;
		bytea	   *key = DatumGetByteaPP(ma_value(&rows, i, 2, &isnull));

		if (VARSIZE_ANY_EXHDR(key) != MA_KEY_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("key %d in marketing_internal.signing_key has %d bytes instead of %d",
							ma_int32(&rows, i, 1), (int) VARSIZE_ANY_EXHDR(key), MA_KEY_BYTES),
					 errhint("Restore it from a backup, or call marketing.rotate_key() and retire it.")));
		memcpy(keys.keys[i], VARDATA_ANY(key), MA_KEY_BYTES);
	}
	keys.epoch = epoch;
	return &keys;
}

/* Another session may be first, whose key then is the one. */
static void
make_key(int number)
{
	static MaStatement make = {
		"INSERT INTO marketing_internal.signing_key (key_no, key, made_at) VALUES ($1, $2, $3) "
		"ON CONFLICT DO NOTHING",
		3, {INT4OID, BYTEAOID, TIMESTAMPTZOID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(number);
	values[1] = ma_fresh_key();
	values[2] = TimestampTzGetDatum(ma_now());
	(void) ma_run(&make, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
}

static void
signature_by(const uint8 *key, const MaSignedText *text, uint8 *signature)
{
	int			purpose = strlen(text->purpose);
	uint8		bytes[MA_SIGNED_BYTES];

	if (purpose + text->length > (int) sizeof(bytes))
		elog(ERROR, "cannot happen: %d bytes to sign", text->length);
	memcpy(bytes, text->purpose, purpose);
	memcpy(bytes + purpose, text->data, text->length);
	ma_hmac(key, bytes, purpose + text->length, signature);
}

void
ma_sign(const MaSignedText *text, uint8 *signature, int length)
{
	uint8		whole[MA_HMAC_BYTES];

	if (read_keys()->n == 0)
		make_key(1);
	signature_by(read_keys()->keys[0], text, whole);
	memcpy(signature, whole, length);
}

bool
ma_signed(const MaSignedText *text, const uint8 *signature, int length)
{
	const Keys *keys = read_keys();
	bool		valid = false;

	for (int i = 0; i < keys->n; i++)
	{
		uint8		whole[MA_HMAC_BYTES];
		uint8		differs = 0;

		signature_by(keys->keys[i], text, whole);
		for (int j = 0; j < length; j++)
			differs |= whole[j] ^ signature[j];
		valid |= differs == 0;
	}
	return valid;
}

/* ---- rotating ---- */

/* The key in use signs no more; its number, and in *number that of the next one. */
static int
replace_key(int *number)
{
	static MaStatement replace = {
		"UPDATE marketing_internal.signing_key SET replaced_at = $1 WHERE replaced_at IS NULL "
		"RETURNING key_no",
		1, {TIMESTAMPTZOID}
	};
	static MaStatement highest = {
		"SELECT COALESCE(pg_catalog.max(key_no), 0), pg_catalog.count(*), "
		"pg_catalog.count(*) FILTER (WHERE replaced_at IS NULL) FROM marketing_internal.signing_key"
	};
	Datum		value = TimestampTzGetDatum(ma_now());
	MaRows		replaced = ma_run(&replace, &value, NULL, MA_RUN_WRITE_LATEST);
	MaRows		rows = ma_run(&highest, NULL, NULL, MA_RUN_READ_LATEST);

	/* Somebody who waits for the row of another rotation finds it replaced, and does it again. */
	if (replaced.n == 0 && ma_int64(&rows, 0, 3) > 0)
		return replace_key(number);
	if (ma_int64(&rows, 0, 2) >= MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are %d keys already", MAX_KEYS),
				 errhint("Retire those that no mail of the last %d days was signed with: SELECT * FROM marketing.signing_keys.",
						 DAYS_TO_UNSUBSCRIBE)));
	*number = ma_int32(&rows, 0, 1) + 1;
	return replaced.n > 0 ? ma_int32(&replaced, 0, 1) : 0;
}

/* marketing.rotate_key() */
Datum
ma_rotate_key(PG_FUNCTION_ARGS)
{
	MaCall		call;
	int			before;
	int			number;

	(void) ma_extension_required();
	ma_call_begin(&call);
	before = replace_key(&number);
	make_key(number);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(before == 0 ? psprintf("key %d: made", number) :
									 psprintf("key %d: made; what key %d has signed works until it is retired",
											  number, before)));
}

/* Says why the key cannot be retired. */
static void
refuse_retiring(int number)
{
	static MaStatement find = {
		"SELECT replaced_at FROM marketing_internal.signing_key WHERE key_no OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(number);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	if (rows.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no key %d", number),
				 errhint("SELECT * FROM marketing.signing_keys lists them.")));
	if (ma_text(&rows, 0, 1) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("key %d is the one that signs", number),
				 errhint("Call marketing.rotate_key() first.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("mails of the last %d days may have links that key %d has signed",
					DAYS_TO_UNSUBSCRIBE, number),
			 errdetail("It must be possible to unsubscribe for %d days after a mail was sent.",
					   DAYS_TO_UNSUBSCRIBE),
			 errhint("Wait for retirable_from in marketing.signing_keys; if somebody else knows the key, say recent => true.")));
}

/* marketing.retire_key(key, recent) */
Datum
ma_retire_key(PG_FUNCTION_ARGS)
{
	static MaStatement retire = {
		"DELETE FROM marketing_internal.signing_key WHERE key_no OPERATOR(pg_catalog.=) $1 "
		"AND replaced_at IS NOT NULL AND ($2 OR replaced_at OPERATOR(pg_catalog.+) "
		"pg_catalog.make_interval(days => $4) OPERATOR(pg_catalog.<=) $3)",
		4, {INT4OID, BOOLOID, TIMESTAMPTZOID, INT4OID}
	};
	MaCall		call;
	Datum		values[4];
	int			number;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the number of the key must not be null")));
	number = PG_GETARG_INT32(0);
	values[0] = Int32GetDatum(number);
	values[1] = BoolGetDatum(!PG_ARGISNULL(1) && PG_GETARG_BOOL(1));
	ma_call_begin(&call);
	values[2] = TimestampTzGetDatum(ma_now());
	values[3] = Int32GetDatum(DAYS_TO_UNSUBSCRIBE);
	if (ma_run(&retire, values, NULL, MA_RUN_WRITE_LATEST).n == 0)
		refuse_retiring(number);
	ma_definitions_changed();
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("key %d: retired; what it has signed is refused",
											  number)));
}
