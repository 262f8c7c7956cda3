/*
 * suppression.c
 *		marketing.suppress() and unsuppress(): addresses that must get nothing.
 *
 * By keyed hash of the address, not by contact: it holds for whoever has the
 * address, and when the contact has been erased.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"

static Datum checked_hash(FunctionCallInfo fcinfo, char **channel);

MA_FUNCTION(ma_suppress);
MA_FUNCTION(ma_unsuppress);

/* Hash of argument 0, whose channel is argument 1; its lock is taken. */
static Datum
checked_hash(FunctionCallInfo fcinfo, char **channel)
{
	char	   *address = ma_consent_required(fcinfo, 0, "address");
	char	   *normal;
	Datum		hash;

	*channel = ma_consent_required(fcinfo, 1, "channel");
	ma_channel_check(*channel);
	normal = ma_channel_normalise(*channel, address);
	if (normal == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an address of channel %s", address, *channel)));
	hash = ma_address_hash(*channel, normal);
	ma_recipient_lock(ma_recipient_lock_key(hash));
	return hash;
}

bool
ma_suppression_add(const char *channel, Datum address_hash, const char *reason)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.suppression "
		"(address_hash, channel, reason, suppressed_at, suppressed_by) VALUES ($1, $2, $3, $4, $5) "
		"ON CONFLICT (address_hash, channel) DO NOTHING",
		5, {BYTEAOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[5];

	values[0] = address_hash;
	values[1] = CStringGetTextDatum(channel);
	values[2] = CStringGetTextDatum(reason);
	values[3] = TimestampTzGetDatum(ma_now());
	values[4] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	return ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
}

void
ma_suppression_lift(const char *channel, Datum address_hash, const char *reason)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.suppression "
		"WHERE address_hash OPERATOR(pg_catalog.=) $1 AND channel OPERATOR(pg_catalog.=) $2 "
		"AND reason OPERATOR(pg_catalog.=) $3",
		3, {BYTEAOID, TEXTOID, TEXTOID}
	};
	Datum		values[3];

	values[0] = address_hash;
	values[1] = CStringGetTextDatum(channel);
	values[2] = CStringGetTextDatum(reason);
	(void) ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
}

/* marketing.suppress(address, channel, reason) */
Datum
ma_suppress(PG_FUNCTION_ARGS)
{
	MaCall		call;
	char	   *channel;
	char	   *reason = ma_consent_text(fcinfo, 2);
	Datum		hash;
	bool		added;

	(void) ma_extension_required();
	ma_call_begin(&call);
	hash = checked_hash(fcinfo, &channel);
	added = ma_suppression_add(channel, hash, reason ? reason : "manual");
	ma_call_end(&call);
	PG_RETURN_BOOL(added);
}

/* marketing.unsuppress(address, channel) */
Datum
ma_unsuppress(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.suppression "
		"WHERE address_hash OPERATOR(pg_catalog.=) $1 AND channel OPERATOR(pg_catalog.=) $2",
		2, {BYTEAOID, TEXTOID}
	};
	MaCall		call;
	char	   *channel;
	Datum		values[2];
	bool		removed;

	(void) ma_extension_required();
	ma_call_begin(&call);
	values[0] = checked_hash(fcinfo, &channel);
	values[1] = CStringGetTextDatum(channel);
	removed = ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
	ma_call_end(&call);
	PG_RETURN_BOOL(removed);
}
