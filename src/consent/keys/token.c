/*
 * token.c
 *		Signed tokens of the links in messages: what a link may do, for whom.
 *
 * A token is a kind, the number of the contact, topic and channel, and half of an HMAC
 * over all of them (signing.c), in the base64 of URLs.  It says nothing about the person,
 * and cannot be made or changed without the key.
 */
#include "base/base.h"

#include "consent/consent_internal.h"

#define PURPOSE "token:"
#define MAC_BYTES 16
#define BODY_BYTES (1 + 8 + 4 + 1)
#define TOKEN_BYTES (BODY_BYTES + MAC_BYTES)

static void write_body(char kind, const MaToken *token, uint8 *body);

static void
write_body(char kind, const MaToken *token, uint8 *body)
{
	body[0] = kind;
	for (int i = 0; i < 8; i++)
		body[1 + i] = (uint8) ((uint64) token->contact_id >> (8 * (7 - i)));
	for (int i = 0; i < 4; i++)
		body[9 + i] = (uint8) ((uint32) token->topic_id >> (8 * (3 - i)));
	body[13] = (uint8) token->channel;
}

/* Body and signature. */
char *
ma_token_make(char kind, const MaToken *token)
{
	uint8		bytes[TOKEN_BYTES];
	MaSignedText body = {PURPOSE, bytes, BODY_BYTES};

	write_body(kind, token, bytes);
	ma_sign(&body, bytes + BODY_BYTES, MAC_BYTES);
	return ma_base64url(bytes, TOKEN_BYTES);
}

bool
ma_token_try(const char *text, char kind, MaToken *token)
{
	uint8		given[TOKEN_BYTES];
	MaSignedText body = {PURPOSE, given, BODY_BYTES};

	if (ma_base64url_read(text, given, TOKEN_BYTES) != TOKEN_BYTES || given[0] != (uint8) kind)
		return false;
	token->contact_id = 0;
	token->topic_id = 0;
	for (int i = 0; i < 8; i++)
		token->contact_id = (int64) (((uint64) token->contact_id << 8) | given[1 + i]);
	for (int i = 0; i < 4; i++)
		token->topic_id = (int32) (((uint32) token->topic_id << 8) | given[9 + i]);
	token->channel = given[13];
	return ma_signed(&body, given + BODY_BYTES, MAC_BYTES);
}

void
ma_token_read(const char *text, char kind, MaToken *token)
{
	if (!ma_token_try(text, kind, token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this is not a valid token"),
				 errhint("A token is the last part of a link in a message.")));
}

char *
ma_confirm_token(int64 contact_id)
{
	MaToken		token = {contact_id, 0, 0};

	return ma_token_make(MA_TOKEN_CONFIRM, &token);
}

char *
ma_unsubscribe_token(int64 contact_id, int32 topic_id, const char *channel)
{
	MaToken		token = {contact_id, topic_id, ma_channel_number(channel)};

	return ma_token_make(MA_TOKEN_UNSUBSCRIBE, &token);
}

MaTopic *
ma_unsubscribe_token_topic(const char *token, const char **channel)
{
	MaToken		read;

	if (!ma_token_try(token, MA_TOKEN_UNSUBSCRIBE, &read) ||
		read.topic_id == MA_TOPIC_TRANSACTIONAL_ID)
		return NULL;
	*channel = ma_channel_by_number(read.channel);
	return *channel ? ma_topic_by_id(read.topic_id) : NULL;
}

bool
ma_confirm_token_valid(const char *token)
{
	MaToken		read;

	return ma_token_try(token, MA_TOKEN_CONFIRM, &read) &&
		ma_contact_known(ma_contact_now(read.contact_id));
}

char *
ma_preferences_token(int64 contact_id)
{
	MaToken		token = {contact_id, 0, 0};

	return ma_token_make(MA_TOKEN_PREFERENCES, &token);
}
