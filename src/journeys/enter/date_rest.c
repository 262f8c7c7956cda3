/*
 * date_rest.c
 *		Journeys whose dates could not be read, for a while.
 *
 * One that fails keeps no other one: until its rest is over nobody is looked at for it, what is
 * due in it is left out, and signals that tell of it stay where they are.  Only this process
 * remembers it; another one meets the same error and finds it out by itself.
 */
#include "base/base.h"

#include "journeys/engine.h"
#include "journeys/enter/dates.h"
#include "worker/worker.h"

#define REST_MS 60000
#define LOCKED_MS 2000			/* whoever locked a table mostly lets go in a moment */
#define MOST 256

static struct
{
	int32		journey_id;
	int64		until;			/* ma_monotonic_ms() */
}			resting[MOST];
static int	nresting = 0;

void
ma_journey_dates_rest(const MaVersion *version, const ErrorData *error)
{
	bool		locked = error == NULL || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;

	if (!locked)
		ma_count_error(error->sqlerrcode,
					   psprintf("dates of journey \"%s\": %s", version->journey,
								error->message ? error->message : ""));
	if (nresting == MOST)
		memmove(resting, resting + 1, sizeof(resting[0]) * (size_t) --nresting);
	resting[nresting].journey_id = version->journey_id;
	resting[nresting].until = ma_monotonic_ms() + (locked ? LOCKED_MS : REST_MS);
	nresting++;
}

bool
ma_journey_dates_rests(int32 journey_id)
{
	for (int i = 0; i < nresting; i++)
		if (resting[i].journey_id == journey_id)
			return true;
	return false;
}

Datum
ma_journey_dates_resting(void)
{
	int32		ids[MOST];

	for (int i = 0; i < nresting; i++)
		ids[i] = resting[i].journey_id;
	return ma_int4_array(ids, nresting);
}

bool
ma_journey_dates_rest_over(void)
{
	int64		now = ma_monotonic_ms();
	int			n = 0;
	int			before = nresting;

	for (int i = 0; i < before; i++)
		if (resting[i].until > now)
			resting[n++] = resting[i];
	nresting = n;
	return n < before;
}

void
ma_journey_dates_rest_end(void)
{
	nresting = 0;
}
