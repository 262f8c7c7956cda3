/*
 * signature.c
 *		Signatures of what providers tell: SendGrid's (ECDSA), Amazon SNS's (RSA), Mailgun's
 *		(HMAC of a token), and of our own webhooks (HMAC), for programs of the shop's.
 *
 * The keys are the operator's, from files: nothing in a request says by which key it is to
 * be judged, and nothing here asks another computer.  SNS names the address of a
 * certificate, which is only told in the log when none of ours fits.
 *
 * OpenSSL is the one the server is linked with: its symbols are there, we link nothing.
 */
#include "base/base.h"

#include "common/base64.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "web/web_internal.h"

#ifdef USE_OPENSSL
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#endif

#define WEBHOOK_SECONDS 300		/* between its making and its coming */
#define MAX_SIGNATURE 2048

typedef struct Signed
{
	const char *text;
	Size		length;
	const uint8 *signature;
	int			signature_length;
	const char *digest;			/* "SHA256" */
	const char *kind;			/* of the key: "EC", "RSA" */
} Signed;

static const char *sendgrid_fault(const MaWebRequest *request, const MaHookKey *key);
static const char *sns_fault(const MaHookKey *key, Jsonb *content);
static const char *mailgun_fault(const MaHookKey *key, Jsonb *content);
static const char *webhook_fault(const MaWebRequest *request, const MaHookKey *key);
static char *sns_text(Jsonb *content);
static char *member(JsonbContainer *object, const char *name);
static bool read_second(const char *text, int64 *second);
static int64 age(int64 second);
static uint8 *base64(const char *text, int length, int *octets);
static void mac(const MaHookKey *key, const char *text, Size length, uint8 *result);
static bool same(const uint8 *a, const uint8 *b, int length);
static bool verified(const MaHookKey *key, const Signed *what);

const char *
ma_web_signature_fault(const MaWebRequest *request, const MaHookKey *key, const char *form,
					   Jsonb *content)
{
	static const char *const forms[] = {
		[MA_HOOK_SENDGRID] = "SendGrid", [MA_HOOK_SNS] = "Amazon SNS",
		[MA_HOOK_MAILGUN] = "Mailgun", [MA_HOOK_WEBHOOK] = "events"
	};

	if (key->signer == MA_HOOK_NOBODY)
		return NULL;
	if (strcmp(forms[key->signer], form) != 0)
		return psprintf("it is not in the form of %s, whose signature is demanded",
						forms[key->signer]);
	/* A text by itself may look like one of their forms. */
	if (key->signer != MA_HOOK_SENDGRID && !JB_ROOT_IS_OBJECT(content))
		return "it is not signed";
	switch (key->signer)
	{
		case MA_HOOK_SENDGRID:
			return sendgrid_fault(request, key);
		case MA_HOOK_SNS:
			return sns_fault(key, content);
		case MA_HOOK_MAILGUN:
			return mailgun_fault(key, content);
		default:
			return webhook_fault(request, key);
	}
}

/* ---- whose signature covers what ---- */

/* Time and content. */
static const char *
sendgrid_fault(const MaWebRequest *request, const MaHookKey *key)
{
	const char *given = ma_web_header(request, "x-twilio-email-event-webhook-signature");
	const char *at = ma_web_header(request, "x-twilio-email-event-webhook-timestamp");
	StringInfoData text;
	Signed		what = {.digest = "SHA256", .kind = "EC"};

	if (given == NULL || at == NULL)
		return "it is not signed";
	initStringInfo(&text);
	appendStringInfoString(&text, at);
	appendBinaryStringInfo(&text, request->content, request->content_length);
	what.text = text.data;
	what.length = text.len;
	what.signature = base64(given, strlen(given), &what.signature_length);
	return what.signature != NULL && verified(key, &what) ? NULL : "its signature is not SendGrid's";
}

/* Some members, each with its name; and it must be of our topic, since all are signed alike. */
static const char *
sns_fault(const MaHookKey *key, Jsonb *content)
{
	char	   *given = member(&content->root, "Signature");
	char	   *version = member(&content->root, "SignatureVersion");
	char	   *topic = member(&content->root, "TopicArn");
	char	   *certificate = member(&content->root, "SigningCertURL");
	Signed		what = {.kind = "RSA"};

	if (given == NULL || version == NULL)
		return "it is not signed";
	if (topic == NULL || strcmp(topic, key->topic) != 0)
		return "it is of another topic of Amazon SNS";
	if (strcmp(version, "1") != 0 && strcmp(version, "2") != 0)
		return "its signature is of a version that is not known";
	what.digest = version[0] == '1' ? "SHA1" : "SHA256";
	what.text = sns_text(content);
	what.length = strlen(what.text);
	what.signature = base64(given, strlen(given), &what.signature_length);
	if (what.signature != NULL && verified(key, &what))
		return NULL;
	if (certificate != NULL && ma_web_is_amazon(certificate))
		return psprintf("no certificate of ours fits its signature; it says that %s does",
						certificate);
	return "its signature is not Amazon's";
}

/* A time and a token, nothing of what is told: good for a while, and for once. */
static const char *
mailgun_fault(const MaHookKey *key, Jsonb *content)
{
	JsonbValue	value;
	uint8		expected[PG_SHA256_DIGEST_LENGTH];
	char		hex[PG_SHA256_DIGEST_LENGTH * 2 + 1];
	char	   *token;
	char	   *text;
	char	   *given;
	int64		second;

	if (getKeyJsonValueFromContainer(&content->root, "signature", 9, &value) == NULL ||
		value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data) ||
		!ma_web_signature_token(key, content, &token, &second))
		return "it is not signed";
	given = member(value.val.binary.data, "signature");
	text = psprintf("%s%s", member(value.val.binary.data, "timestamp"), token);
	mac(key, text, strlen(text), expected);
	(void) hex_encode((const char *) expected, sizeof(expected), hex);
	if (given == NULL || strlen(given) != PG_SHA256_DIGEST_LENGTH * 2 ||
		!same((const uint8 *) hex, (const uint8 *) given, PG_SHA256_DIGEST_LENGTH * 2))
		return "its signature is not Mailgun's";
	return age(second) > MA_WEB_TOKEN_SECONDS ? "its signature is too old" : NULL;
}

bool
ma_web_signature_token(const MaHookKey *key, Jsonb *content, char **token, int64 *second)
{
	JsonbValue	value;
	char	   *at;

	if (key->signer != MA_HOOK_MAILGUN || !JB_ROOT_IS_OBJECT(content) ||
		getKeyJsonValueFromContainer(&content->root, "signature", 9, &value) == NULL ||
		value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
		return false;
	at = member(value.val.binary.data, "timestamp");
	*token = member(value.val.binary.data, "token");
	return at != NULL && read_second(at, second) && *token != NULL && **token != '\0' &&
		strlen(*token) <= 200;
}

/* Identifier, time and content; several signatures while a key is changed for another. */
static const char *
webhook_fault(const MaWebRequest *request, const MaHookKey *key)
{
	const char *id = ma_web_header(request, "webhook-id");
	const char *at = ma_web_header(request, "webhook-timestamp");
	const char *given = ma_web_header(request, "webhook-signature");
	uint8		expected[PG_SHA256_DIGEST_LENGTH];
	StringInfoData text;
	int64		second;
	bool		found = false;

	if (id == NULL || at == NULL || given == NULL || !read_second(at, &second))
		return "it is not signed";
	initStringInfo(&text);
	appendStringInfo(&text, "%s.%s.", id, at);
	appendBinaryStringInfo(&text, request->content, request->content_length);
	mac(key, text.data, text.len, expected);
	while (*given != '\0')
	{
		int			length = strcspn(given, " ");
		int			octets;
		uint8	   *signature = length > 3 && strncmp(given, "v1,", 3) == 0 ?
			base64(given + 3, length - 3, &octets) : NULL;

		if (signature != NULL && octets == sizeof(expected))
			found |= same(signature, expected, octets);
		given += length + (given[length] == ' ');
	}
	if (!found)
		return "its signature is not made with our key";
	return age(second) > WEBHOOK_SECONDS ? "its signature is too old" : NULL;
}

/* As Amazon writes it down for signing: members that are there, by their names. */
static char *
sns_text(Jsonb *content)
{
	static const char *const notification[] = {
		"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type", NULL
	};
	static const char *const confirmation[] = {
		"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type", NULL
	};
	char	   *type = member(&content->root, "Type");
	StringInfoData text;

	initStringInfo(&text);
	for (const char *const *name = type != NULL && strcmp(type, "Notification") == 0 ?
		 notification : confirmation; *name != NULL; name++)
	{
		char	   *value = member(&content->root, *name);

		if (value != NULL)
			appendStringInfo(&text, "%s\n%s\n", *name, value);
	}
	return text.data;
}

bool
ma_web_is_amazon(const char *url)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	static const char shown[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?&=%";
	const char *host = "https://sns.";
	const char *region = url + strlen(host);
	size_t		length;

	if (strncmp(url, host, strlen(host)) != 0 || strlen(url) > 1000 ||
		url[strspn(url, shown)] != '\0')
		return false;
	length = strspn(region, letters);
	return length > 0 && (strncmp(region + length, ".amazonaws.com/", 15) == 0 ||
						  strncmp(region + length, ".amazonaws.com.cn/", 18) == 0);
}

/* ---- what all have in common ---- */

/* A text or number of the object, in UTF-8 as it came; NULL: none. */
static char *
member(JsonbContainer *object, const char *name)
{
	JsonbValue	value;
	char	   *text;

	if (getKeyJsonValueFromContainer(object, name, strlen(name), &value) == NULL)
		return NULL;
	if (value.type == jbvNumeric)
		return numeric_normalize(value.val.numeric);
	if (value.type != jbvString)
		return NULL;
	text = pnstrdup(value.val.string.val, value.val.string.len);
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

static bool
read_second(const char *text, int64 *second)
{
	size_t		length = strspn(text, "0123456789");

	if (length == 0 || length > 12 || text[length] != '\0')
		return false;
	*second = strtoll(text, NULL, 10);
	return true;
}

/* Seconds between then and now, whichever is first: clocks differ. */
static int64
age(int64 second)
{
	int64		now = (int64) timestamptz_to_time_t(ma_now());

	return now > second ? now - second : second - now;
}

/* NULL for what is none. */
static uint8 *
base64(const char *text, int length, int *octets)
{
	uint8	   *bytes;

	if (length > MAX_SIGNATURE)
		return NULL;
	bytes = palloc(pg_b64_dec_len(length) + 1);
	*octets = pg_b64_decode(text, length, (MA_BASE64_BYTE *) bytes, pg_b64_dec_len(length));
	return *octets > 0 ? bytes : NULL;
}

static void
mac(const MaHookKey *key, const char *text, Size length, uint8 *result)
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	bool		made = context != NULL &&
		pg_hmac_init(context, (const uint8 *) key->text, key->length) >= 0 &&
		pg_hmac_update(context, (const uint8 *) text, length) >= 0 &&
		pg_hmac_final(context, result, PG_SHA256_DIGEST_LENGTH) >= 0;

	pg_hmac_free(context);
	if (!made)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a keyed hash")));
}

/* In constant time. */
static bool
same(const uint8 *a, const uint8 *b, int length)
{
	uint8		differs = 0;

	for (int i = 0; i < length; i++)
		differs |= a[i] ^ b[i];
	return differs == 0;
}

/* ---- public keys ---- */

#ifdef USE_OPENSSL

static bool fits(EVP_PKEY *key, const Signed *what);
static EVP_PKEY *next_key(BIO *file, const MaHookKey *key, bool first);

/*
 * True if one of the keys in the file has made the signature.  Nothing here raises an error
 * while OpenSSL holds memory.
 */
static bool
verified(const MaHookKey *key, const Signed *what)
{
	BIO		   *file = BIO_new_mem_buf(key->text, (int) key->length);
	EVP_PKEY   *public;
	bool		found = false;

	for (bool first = true; file != NULL && !found && (public = next_key(file, key, first)) != NULL;
		 first = false)
	{
		found = fits(public, what);
		EVP_PKEY_free(public);
	}
	BIO_free(file);
	ERR_clear_error();
	return found;
}

/*
 * Certificates and public keys in PEM, as many as there are; or, as SendGrid shows it, one
 * key in base64 without a frame.
 */
static EVP_PKEY *
next_key(BIO *file, const MaHookKey *key, bool first)
{
	EVP_PKEY   *found = NULL;
	char	   *name;
	char	   *header;
	unsigned char *data;
	const unsigned char *at;
	long		length;
	int			octets;

	if (first && strstr(key->text, "-----BEGIN ") == NULL)
	{
		at = base64(key->text, (int) key->length, &octets);
		return at != NULL ? d2i_PUBKEY(NULL, &at, octets) : NULL;
	}
	while (found == NULL && PEM_read_bio(file, &name, &header, &data, &length) == 1)
	{
		at = data;
		if (strcmp(name, PEM_STRING_PUBLIC) == 0)
			found = d2i_PUBKEY(NULL, &at, length);
		else if (strcmp(name, PEM_STRING_X509) == 0)
		{
			X509	   *certificate = d2i_X509(NULL, &at, length);

			found = certificate ? X509_get_pubkey(certificate) : NULL;
			X509_free(certificate);
		}
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(data);
	}
	return found;
}

static bool
fits(EVP_PKEY *key, const Signed *what)
{
	int			kind = strcmp(what->kind, "EC") == 0 ? EVP_PKEY_EC : EVP_PKEY_RSA;
	const EVP_MD *digest = EVP_get_digestbyname(what->digest);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool		fitting = context != NULL && digest != NULL && EVP_PKEY_base_id(key) == kind &&
		EVP_DigestVerifyInit(context, NULL, digest, NULL, key) == 1 &&
		EVP_DigestVerify(context, what->signature, what->signature_length,
						 (const unsigned char *) what->text, what->length) == 1;

	EVP_MD_CTX_free(context);
	return fitting;
}

#else

static bool
verified(const MaHookKey *key, const Signed *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("this server was built without OpenSSL, which checks signatures of hooks")));
}

#endif
