/*
 * share.c
 *		Stable chance: which path of a split, and who is held out.
 *
 * A hash of names and the contact's number, so that somebody takes the same path
 * whenever he comes by, in every version of the journey, and splits are independent
 * of each other.  The bytes are hashed as text, so that it is the same on all machines.
 */
#include "base/base.h"

#include "journeys/program.h"

#define FNV_BASIS UINT64CONST(0xcbf29ce484222325)
#define FNV_PRIME UINT64CONST(0x100000001b3)

/* Mixes so that texts which differ in one digit are as far apart as any two. */
static uint64
mixed(uint64 hash)
{
	hash ^= hash >> 33;
	hash *= UINT64CONST(0xff51afd7ed558ccd);
	hash ^= hash >> 33;
	hash *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return hash ^ (hash >> 33);
}

double
ma_share_of(const char *journey, const char *what, int64 contact_id)
{
	char	   *text = psprintf("%s/%s/" INT64_FORMAT, journey, what, contact_id);
	uint64		hash = FNV_BASIS;

	for (const char *at = text; *at != '\0'; at++)
		hash = (hash ^ (unsigned char) *at) * FNV_PRIME;
	pfree(text);
	return (mixed(hash) >> 11) / (double) (UINT64CONST(1) << 53);
}
