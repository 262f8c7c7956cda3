/*
 * hmac.c
 *		Keyed hashes, by PostgreSQL's own functions.
 *
 * A mail has six of them or more, all under two keys.  Most of what one costs is to begin with
 * its key; OpenSSL goes on with what it has made of it when a context is begun anew without
 * one, at a sixth of that.  PostgreSQL's code for servers without OpenSSL would take it for
 * an empty key: so a context is tried with the first text that is hashed with it, and if that
 * comes out otherwise, none is kept.
 */
#include "base/base.h"

#include "common/hmac.h"
#include "consent/consent_internal.h"
#include "utils/resowner.h"

#define KEPT_KEYS 2				/* the shop's, and the one that signs */

typedef struct Kept
{
	uint8		key[MA_KEY_BYTES];
	pg_hmac_ctx *context;
} Kept;

static bool hmac_once(const uint8 *key, const void *data, Size length, uint8 *result);
static bool hmac_kept(const uint8 *key, const void *data, Size length, uint8 *result);
static bool hash(pg_hmac_ctx *context, const uint8 *key, const void *data, Size length,
				 uint8 *result);

/* Without a key by the one that the context was begun with before. */
static bool
hash(pg_hmac_ctx *context, const uint8 *key, const void *data, Size length, uint8 *result)
{
	return context != NULL && pg_hmac_init(context, key, key ? MA_KEY_BYTES : 0) >= 0 &&
		pg_hmac_update(context, data, length) >= 0 &&
		pg_hmac_final(context, result, MA_HMAC_BYTES) >= 0;
}

static bool
hmac_once(const uint8 *key, const void *data, Size length, uint8 *result)
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	bool		done = hash(context, key, data, length, result);

	if (context != NULL)
		pg_hmac_free(context);
	return done;
}

/* False if it cannot be had so, or at all. */
static bool
hmac_kept(const uint8 *key, const void *data, Size length, uint8 *result)
{
	static Kept kept[KEPT_KEYS];
	static int	nkept = 0;		/* so many have been kept, round and round */
	static bool works = true;
	static ResourceOwner owner = NULL;	/* the process's, since they outlive transactions */
	ResourceOwner previous = CurrentResourceOwner;
	uint8		wanted[MA_HMAC_BYTES];
	Kept	   *next = &kept[nkept % KEPT_KEYS];

	for (int i = 0; i < Min(nkept, KEPT_KEYS) && works; i++)
		if (memcmp(kept[i].key, key, MA_KEY_BYTES) == 0)
			return hash(kept[i].context, NULL, data, length, result);
	if (!works)
		return false;
	if (owner == NULL)
		owner = ResourceOwnerCreate(NULL, "marketing_automation keys");
	CurrentResourceOwner = owner;
	if (next->context == NULL)
		next->context = pg_hmac_create(PG_SHA256);
	CurrentResourceOwner = previous;
	works = hash(next->context, key, data, length, wanted) &&
		hash(next->context, NULL, data, length, result) &&
		memcmp(result, wanted, MA_HMAC_BYTES) == 0;
	memcpy(next->key, key, MA_KEY_BYTES);
	nkept++;
	return works;
}

void
ma_hmac(const uint8 *key, const void *data, Size length, uint8 *result)
{
	if (!hmac_kept(key, data, length, result) && !hmac_once(key, data, length, result))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a keyed hash")));
}
