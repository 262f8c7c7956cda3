/*
 * hook_keys.c
 *		What proves that it is a provider who tells of messages: the key that the options of
 *		its foreign server name, and tokens that are good for once.
 *
 * Which signature is demanded is said with the key and not by who calls: with a key that is
 * public anybody could else make one of the kind that has a secret.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"

#define MOST_OCTETS (64 * 1024)

MaHookKey
ma_hook_key(const char *server)
{
	MaServerOptions *options = ma_server_options(server);
	MaHookKey	key = {MA_HOOK_NOBODY};
	const char *error;

	if (options == NULL || options->hook_signed_by == MA_HOOK_NOBODY)
		return key;
	key.signer = options->hook_signed_by;
	key.topic = options->hook_topic;
	key.text = ma_credential_read(options->hook_key_file, ma_hook_key_is_secret(key.signer),
								  MOST_OCTETS, &key.length, &error);
	if (key.text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the key of the hook of server \"%s\" cannot be had: %s", server, error)));
	while (key.length > 0 && isspace((unsigned char) key.text[key.length - 1]))
		key.text[--key.length] = '\0';
	if (key.length == 0 || strlen(key.text) != key.length)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("file \"%s\" of the credentials holds no key", options->hook_key_file)));
	return key;
}

bool
ma_hook_key_is_secret(MaHookSigner signer)
{
	return signer == MA_HOOK_MAILGUN || signer == MA_HOOK_WEBHOOK;
}

/* They stand among the keys of events that no message is known for. */
bool
ma_hook_token_use(const char *server, const char *token, int64 second, int64 oldest)
{
	static MaStatement forget = {
		"DELETE FROM marketing_internal.delivery_event_key "
		"WHERE contact_id OPERATOR(pg_catalog.=) 0 AND server OPERATOR(pg_catalog.=) $1 "
		"AND dedup_key OPERATOR(pg_catalog.>=) $2 AND dedup_key OPERATOR(pg_catalog.<) $3",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	static MaStatement use = {
		"INSERT INTO marketing_internal.delivery_event_key (contact_id, server, dedup_key, recorded_at) "
		"VALUES (0, $1, $2, $3) ON CONFLICT (contact_id, server, dedup_key) DO NOTHING",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3];

	values[0] = CStringGetTextDatum(server);
	values[1] = CStringGetTextDatum("signature 000000000000");
	values[2] = CStringGetTextDatum(psprintf("signature %012lld", (long long) oldest));
	(void) ma_run(&forget, values, NULL, MA_RUN_WRITE_LATEST);
	values[1] = CStringGetTextDatum(psprintf("signature %012lld %s", (long long) second, token));
	values[2] = TimestampTzGetDatum(ma_now());
	return ma_run(&use, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
}
