/*
 * rate.c
 *		A contact with very many events a minute goes straight to the dirty log.
 *
 * A shop's system account or a load test can make one contact the meeting point
 * of all sessions; each commit would wait for the one before.  The counts are
 * per session, in a small table by hash: a contact is busy when one session
 * alone brings it more than its share, which needs no shared memory and no lock.
 */
#include "base/base.h"

#include "common/hashfn.h"
#include "contacts/capture/rate.h"

#define BUCKETS 256

typedef struct Bucket
{
	uint64		contact_id;
	int64		minute;
	int			count;
} Bucket;

static Bucket buckets[BUCKETS];

bool
ma_rate_allows(uint64 contact_id)
{
	Bucket	   *bucket = &buckets[murmurhash32((uint32) contact_id) % BUCKETS];
	int64		minute = GetCurrentTimestamp() / (INT64CONST(60) * USECS_PER_SEC);

	if (bucket->contact_id != contact_id || bucket->minute != minute)
	{
		bucket->contact_id = contact_id;
		bucket->minute = minute;
		bucket->count = 0;
	}
	return ++bucket->count <= ma_guc_sync_max_rate;
}
