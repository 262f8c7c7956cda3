/*
 * kept.c
 *		What upper rooms compile from the definitions: kept per backend until any of
 *		them changes.
 *
 * It is loaded into a context of its own, which becomes the kept one only when it is
 * complete: after an error half way the earlier value stands, and is still out of
 * date.  The earlier one goes at the end of the transaction, not now, since an
 * evaluation may be going through it.
 */
#include "base/base.h"

#include "contacts/contacts.h"
#include "utils/memutils.h"

void *
ma_kept(MaKept *kept)
{
	MemoryContext context;
	MemoryContext previous;
	uint64		epoch;
	void	   *loaded;

	loaded = ma_kept_current(kept);
	if (loaded != NULL)
		return loaded;
	/* That of what it is made from: definitions that are out of date already make it so, too. */
	epoch = ma_definitions()->epoch;
	context = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation compiled",
									ALLOCSET_START_SMALL_SIZES);
	MemoryContextSetIdentifier(context, kept->name);
	previous = MemoryContextSwitchTo(context);
	loaded = kept->load();
	MemoryContextSwitchTo(previous);

	if (kept->context != NULL)
		ma_retire(kept->context, kept->leave, kept->value);
	MemoryContextSetParent(context, CacheMemoryContext);
	kept->value = loaded;
	kept->context = context;
	kept->epoch = epoch;
	return loaded;
}

void *
ma_kept_current(const MaKept *kept)
{
	return kept->context != NULL && kept->epoch == ma_definitions_epoch() ? kept->value : NULL;
}

void
ma_retire(MemoryContext context, void (*leave) (void *value), void *value)
{
	if (leave != NULL)
	{
		MemoryContextCallback *callback = MemoryContextAllocZero(context,
																 sizeof(MemoryContextCallback));

		callback->func = leave;
		callback->arg = value;
		MemoryContextRegisterResetCallback(context, callback);
	}
	MemoryContextSetParent(context, TopTransactionContext);
}
