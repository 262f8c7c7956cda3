/*
 * token.c
 *		Tokens of links, openings, hooks and messages: whatever a text is, it is read
 *		within its bounds, and only as what was made.
 *
 * The input is a text that claims to be each of them; its octets are besides the numbers of
 * which tokens are made, and say which character of them is changed.  The keyed hash is a
 * plain one here (shim.c), so that a fuzzer could find its way past it.
 */
#include "postgres.h"

#include "consent/consent_internal.h"
#include "delivery/delivery_internal.h"
#include "delivery/track.h"
#include "fuzz.h"

#define NUMBERS 28				/* octets of all that a token holds */

static const char consent_kinds[] = {MA_TOKEN_CONFIRM, MA_TOKEN_UNSUBSCRIBE, MA_TOKEN_PREFERENCES};
static const char hit_kinds[] = {MA_HIT_OPEN, MA_HIT_CLICK};

/* Whoever reads it reads what it would be made of again. */
static void
read_as_all(const char *text)
{
	MaToken		token;
	MaHitToken	hit;
	int64		message;

	for (int i = 0; i < lengthof(consent_kinds); i++)
		if (ma_token_try(text, consent_kinds[i], &token) &&
			strcmp(ma_token_make(consent_kinds[i], &token), text) != 0)
			fuzz_fail("a token has one form");
	for (int i = 0; i < lengthof(hit_kinds); i++)
		if (ma_hit_token_read(text, hit_kinds[i], &hit) &&
			strcmp(ma_hit_token_make(&hit), text) != 0)
			fuzz_fail("a token of a link has one form");
	message = ma_message_of_key(text);
	if (message != 0 && pg_strncasecmp(ma_message_key(message), text + (text[0] == '<'), 32) != 0)
		fuzz_fail("a message has one key");
}

/* Changes one character of a token that was made: it must not be taken any more. */
static void
change(char *made, const char *text)
{
	int			place = (unsigned char) text[0] % strlen(made);

	if (text[1] == '\0' || made[place] == text[1])
		return;
	made[place] = text[1];
	read_as_all(made);
}

static void
make_all(const char *text)
{
	MaToken		token;
	MaToken		read;
	MaHitToken	hit = {0};
	MaHitToken	read_hit;
	char	   *made;

	memcpy(&token.contact_id, text, 8);
	memcpy(&token.topic_id, text + 8, 4);
	token.channel = (unsigned char) text[12];
	for (int i = 0; i < lengthof(consent_kinds); i++)
	{
		made = ma_token_make(consent_kinds[i], &token);
		if (!ma_token_try(made, consent_kinds[i], &read) || read.contact_id != token.contact_id ||
			read.topic_id != token.topic_id || read.channel != token.channel)
			fuzz_fail("a token says what it was made of");
		if (ma_token_try(made, consent_kinds[(i + 1) % lengthof(consent_kinds)], &read))
			fuzz_fail("a token is of one kind");
		change(made, text + 13);
	}
	memcpy(&hit.message_id, text + 2, 8);
	memcpy(&hit.contact_id, text + 10, 8);
	/* Small numbers make short tokens. */
	hit.message_id = (uint64) hit.message_id >> (8 * ((unsigned char) text[0] % 8));
	hit.contact_id = (uint64) hit.contact_id >> (8 * ((unsigned char) text[1] % 8));
	for (int i = 0; i < lengthof(hit_kinds); i++)
	{
		hit.kind = hit_kinds[i];
		if (hit.kind == MA_HIT_CLICK)
			memcpy(&hit.link_id, text + 18, 8);
		made = ma_hit_token_make(&hit);
		if (!ma_hit_token_read(made, hit.kind, &read_hit) || read_hit.message_id != hit.message_id ||
			read_hit.contact_id != hit.contact_id || read_hit.link_id != hit.link_id)
			fuzz_fail("a token of a link says what it was made of");
		if (ma_hit_token_read(made, hit_kinds[1 - i], &read_hit))
			fuzz_fail("a token of a link is of one kind");
		change(made, text + 26);
	}
	made = ma_message_key(hit.message_id);
	if (ma_message_of_key(made) != hit.message_id)
		fuzz_fail("a key says which message it is of");
}

static void
target(char *text, int length)
{
	read_as_all(text);
	if (length >= NUMBERS)
		make_all(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_run(target, data, size);
}
