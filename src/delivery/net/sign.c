/*
 * sign.c
 *		Headers that prove who sends a request: webhooks by HMAC over identifier, time and
 *		body, Amazon's interfaces by Signature Version 4.
 *
 * HMAC and SHA-256 are the server's own.
 */
#include "delivery/net/http.h"

#include <time.h>

#include "common/base64.h"
#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "utils/resowner.h"

static bool mac(const void *key, Size key_length, const char *text, Size length, uint8 *result);
static ResourceOwner own_resources(void);
static void give_resources_back(ResourceOwner previous);
static bool hash_hex(const char *text, Size length, char *hex);
static void to_hex(const uint8 *octets, char *hex);
static bool split_url(const char *url, char **host, char **path);

/*
 * The server's functions keep what they hold with the owner of resources of the
 * transaction; while messages are under way there is none.
 */
static ResourceOwner
own_resources(void)
{
	ResourceOwner previous = CurrentResourceOwner;

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "marketing_automation signature");
	return previous;
}

static void
give_resources_back(ResourceOwner previous)
{
	ResourceOwner own = CurrentResourceOwner;

	CurrentResourceOwner = previous;
	ResourceOwnerRelease(own, RESOURCE_RELEASE_BEFORE_LOCKS, false, true);
	ResourceOwnerDelete(own);
}

static bool
mac(const void *key, Size key_length, const char *text, Size length, uint8 *result)
{
	ResourceOwner previous = own_resources();
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	bool		made = context != NULL && pg_hmac_init(context, key, key_length) >= 0 &&
		pg_hmac_update(context, (const uint8 *) text, length) >= 0 &&
		pg_hmac_final(context, result, PG_SHA256_DIGEST_LENGTH) >= 0;

	pg_hmac_free(context);
	give_resources_back(previous);
	return made;
}

static void
to_hex(const uint8 *octets, char *hex)
{
	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		snprintf(hex + 2 * i, 3, "%02x", octets[i]);
}

static bool
hash_hex(const char *text, Size length, char *hex)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	ResourceOwner previous = own_resources();
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	bool		made = context != NULL && pg_cryptohash_init(context) >= 0 &&
		pg_cryptohash_update(context, (const uint8 *) text, length) >= 0 &&
		pg_cryptohash_final(context, digest, sizeof(digest)) >= 0;

	pg_cryptohash_free(context);
	give_resources_back(previous);
	to_hex(digest, hex);
	return made;
}

/* The receiver computes the same from what it gets; the identifier stays the same at each try. */
int
http_sign_webhook(const MaOutgoing *message, const char *secret, HttpHeader *headers)
{
	StringInfoData text;
	uint8		signature[PG_SHA256_DIGEST_LENGTH];
	MA_BASE64_BYTE bytes[PG_SHA256_DIGEST_LENGTH];
	char		encoded[64];
	char	   *now = psprintf(INT64_FORMAT, (int64) time(NULL));
	int			length;

	initStringInfo(&text);
	appendStringInfo(&text, "%s.%s.", message->key, now);
	appendBinaryStringInfo(&text, message->content, message->length);
	if (!mac(secret, strlen(secret), text.data, text.len, signature))
		return 0;
	memcpy(bytes, signature, sizeof(bytes));
	length = pg_b64_encode(bytes, sizeof(bytes), encoded, sizeof(encoded) - 1);
	if (length < 0)
		return 0;
	encoded[length] = '\0';
	headers[0] = (HttpHeader) {"webhook-id", message->key};
	headers[1] = (HttpHeader) {"webhook-timestamp", now};
	headers[2] = (HttpHeader) {"webhook-signature", psprintf("v1,%s", encoded)};
	return 3;
}

/* https://host/path, without a query. */
static bool
split_url(const char *url, char **host, char **path)
{
	const char *begin = strstr(url, "://");
	const char *slash;

	if (begin == NULL || strpbrk(url, "?#@") != NULL)
		return false;
	begin += 3;
	slash = begin + strcspn(begin, "/");
	*host = pnstrdup(begin, slash - begin);
	*path = pstrdup(*slash ? slash : "/");
	return true;
}

int
http_sign_aws(const MaOutgoing *message, const char *secret, HttpHeader *headers)
{
	const MaServerOptions *options = message->options;
	const char *region = options->region ? options->region : "";
	time_t		now = time(NULL);
	struct tm	utc;
	char		stamp[32];
	char		day[16];
	char		hash[PG_SHA256_DIGEST_LENGTH * 2 + 1];
	char		signature[PG_SHA256_DIGEST_LENGTH * 2 + 1];
	uint8		key[PG_SHA256_DIGEST_LENGTH];
	char	   *host;
	char	   *path;
	char	   *request;
	char	   *text;
	char	   *first = psprintf("AWS4%s", secret);
	const char *parts[4];
	bool		made;

	gmtime_r(&now, &utc);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
	strftime(day, sizeof(day), "%Y%m%d", &utc);
	if (options->user == NULL || !split_url(message->url, &host, &path) ||
		!hash_hex(message->content, message->length, hash))
		return 0;
	request = psprintf("%s\n%s\n\ncontent-type:%s\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n"
					   "content-type;host;x-amz-content-sha256;x-amz-date\n%s",
					   options->method, path, options->content_type, host, hash, stamp, hash);
	headers[0] = (HttpHeader) {"x-amz-content-sha256", pstrdup(hash)};
	headers[1] = (HttpHeader) {"x-amz-date", pstrdup(stamp)};
	if (!hash_hex(request, strlen(request), hash))
		return 0;
	text = psprintf("AWS4-HMAC-SHA256\n%s\n%s/%s/ses/aws4_request\n%s", stamp, day, region, hash);
	parts[0] = region;
	parts[1] = "ses";
	parts[2] = "aws4_request";
	parts[3] = text;
	made = mac(first, strlen(first), day, strlen(day), key);
	explicit_bzero(first, strlen(first));
	for (int i = 0; i < lengthof(parts); i++)
		made = made && mac(key, sizeof(key), parts[i], strlen(parts[i]), key);
	to_hex(key, signature);
	explicit_bzero(key, sizeof(key));
	headers[2] = (HttpHeader) {"Authorization", psprintf(
		"AWS4-HMAC-SHA256 Credential=%s/%s/%s/ses/aws4_request, "
		"SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date, Signature=%s",
		options->user, day, region, signature)};
	return made ? 3 : 0;
}
