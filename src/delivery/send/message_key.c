/*
 * message_key.c
 *		What tells a message from all others anywhere: in its Message-ID, to a provider,
 *		in the name of its file.
 *
 * Half of it is an HMAC of the message's number under the shop's key, the other half
 * the number itself under a mask made of the first half.  So it is the same each time,
 * nobody can guess one or count messages by it, and what comes back in a bounce is read
 * without looking anything up: a key that is not ours is not a key.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"
#include "utils/builtins.h"

#define HALF 8
#define HEX_LENGTH (HALF * 4)

static void make(int64 message_id, uint8 *key);
static void hash(const char *purpose, const uint8 *data, int length, uint8 *half);

/* The first bytes of an HMAC of the purpose and the data. */
static void
hash(const char *purpose, const uint8 *data, int length, uint8 *half)
{
	char		text[64];
	int			size = strlen(purpose);
	Datum		mac;

	Assert(size + length <= (int) sizeof(text));
	memcpy(text, purpose, size);
	memcpy(text + size, data, length);
	mac = ma_shop_hmac(text, size + length);
	memcpy(half, VARDATA_ANY(DatumGetByteaPP(mac)), HALF);
}

static void
make(int64 message_id, uint8 *key)
{
	uint8		number[HALF];
	uint8		mask[HALF];

	for (int i = 0; i < HALF; i++)
		number[i] = (uint8) ((uint64) message_id >> (8 * (HALF - 1 - i)));
	hash("message:", number, HALF, key);
	hash("message mask:", key, HALF, mask);
	for (int i = 0; i < HALF; i++)
		key[HALF + i] = number[i] ^ mask[i];
}

char *
ma_message_key(int64 message_id)
{
	uint8		key[HALF * 2];
	char	   *text = palloc(HEX_LENGTH + 1);

	make(message_id, key);
	(void) hex_encode((const char *) key, HALF * 2, text);
	text[HEX_LENGTH] = '\0';
	return text;
}

int64
ma_message_of_key(const char *text)
{
	uint8		given[HALF * 2];
	uint8		expected[HALF * 2];
	uint8		mask[HALF];
	uint64		number = 0;
	uint8		differs = 0;

	/* A Message-ID is <key@domain>. */
	if (text[0] == '<')
		text++;
	if (strspn(text, "0123456789abcdefABCDEF") != HEX_LENGTH ||
		(text[HEX_LENGTH] != '\0' && text[HEX_LENGTH] != '@'))
		return 0;
	(void) hex_decode(text, HEX_LENGTH, (char *) given);
	hash("message mask:", given, HALF, mask);
	for (int i = 0; i < HALF; i++)
		number = (number << 8) | (given[HALF + i] ^ mask[i]);
	make((int64) number, expected);
	for (int i = 0; i < HALF * 2; i++)
		differs |= given[i] ^ expected[i];
	return differs == 0 ? (int64) number : 0;
}
