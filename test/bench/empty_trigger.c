/*
 * empty_trigger.c
 *		A trigger that does nothing: what the server itself takes for any row trigger in C,
 *		beside which the bench sets ours on a table on which nothing depends.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(empty_trigger);

Datum
empty_trigger(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}
