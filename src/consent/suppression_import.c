/*
 * suppression_import.c
 *		marketing.import_suppressions(): the lists of another system, in one statement.
 *
 * Without a lock of each recipient, of which there may be millions: what commits before a
 * claim is found by the look that is taken again before the network.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define PORTION 10000

static int64 add(Datum *hashes, int n, const char *channel, const char *reason);

MA_FUNCTION(ma_import_suppressions);

static int64
add(Datum *hashes, int n, const char *channel, const char *reason)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.suppression "
		"(address_hash, channel, reason, suppressed_at, suppressed_by) "
		"SELECT DISTINCT u.hash, $2, $3, $4, $5 FROM pg_catalog.unnest($1) AS u (hash) "
		"ON CONFLICT (address_hash, channel) DO NOTHING",
		5, {BYTEAARRAYOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[5];

	if (n == 0)
		return 0;
	values[0] = ma_datum_array(hashes, n, BYTEAOID);
	values[1] = CStringGetTextDatum(channel);
	values[2] = CStringGetTextDatum(reason);
	values[3] = TimestampTzGetDatum(ma_now());
	values[4] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	return ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST).n;
}

/* marketing.import_suppressions(addresses, channel, reason) */
Datum
ma_import_suppressions(PG_FUNCTION_ARGS)
{
	char	   *channel = ma_consent_required(fcinfo, 1, "channel");
	char	   *reason = ma_consent_text(fcinfo, 2);
	ReturnSetInfo *result;
	MemoryContext portion;
	Datum	   *given;
	bool	   *nulls;
	Datum	   *hashes;
	Datum		counts[3];
	bool		none[3] = {false, false, false};
	int64		added = 0;
	int64		invalid = 0;
	int			n;
	MaCall		call;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("addresses must not be null")));
	ma_channel_check(channel);
	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &given, &nulls,
					  &n);
	ma_call_begin(&call);
	portion = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation suppressions",
									ALLOCSET_DEFAULT_SIZES);
	for (int begin = 0; begin < n; begin += PORTION)
	{
		MemoryContext previous = MemoryContextSwitchTo(portion);
		int			count = 0;

		hashes = palloc_array(Datum, PORTION);
		for (int i = begin; i < Min(n, begin + PORTION); i++)
		{
			char	   *address = nulls[i] ? NULL :
				ma_channel_normalise(channel, TextDatumGetCString(given[i]));

			if (address != NULL)
				hashes[count++] = ma_address_hash(channel, address);
			else
				invalid++;
		}
		added += add(hashes, count, channel, reason ? reason : "imported");
		MemoryContextSwitchTo(previous);
		MemoryContextReset(portion);
		CHECK_FOR_INTERRUPTS();
	}
	counts[0] = Int64GetDatum(added);
	counts[1] = Int64GetDatum(n - added - invalid);
	counts[2] = Int64GetDatum(invalid);
	tuplestore_putvalues(result->setResult, result->setDesc, counts, none);
	ma_call_end(&call);
	return (Datum) 0;
}
