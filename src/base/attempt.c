/*
 * attempt.c
 *		Work that may fail alone: in a subtransaction of its own, with the error as a result.
 */
#include "base/base.h"

#include "access/xact.h"
#include "utils/resowner.h"

ErrorData *
ma_attempt(void (*work) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
			error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

ErrorData *
ma_expression_guard(void (*work) (void *arg), void *arg)
{
	ErrorData  *error;

	/* Where no subtransaction can begin the error is the caller's. */
	if (IsInParallelMode())
	{
		work(arg);
		return NULL;
	}
	error = ma_attempt(work, arg);
	if (error != NULL && !ma_error_of_expression(error->sqlerrcode))
		ReThrowError(error);
	return error;
}
