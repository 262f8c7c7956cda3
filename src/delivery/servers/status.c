/*
 * status.c
 *		Rows of marketing.status about the servers that senders name: which cannot be used,
 *		which rest after a fault, and which are behind; the same in words for why_not_sent().
 *
 * Rates and what is under way are known to the delivery worker alone, so it is told from the
 * queue: messages that are due and wait.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery_internal.h"
#include "funcapi.h"
#include "utils/builtins.h"

#define COUNTED "10000"			/* messages that wait are counted up to this */

static const char *const kind_names[] = {"smtp", "http", "outside"};

static int64 due_in(int32 lane);
static char *fault_of(const char *name, TimestampTz now, TimestampTz *until);

MA_FUNCTION(ma_delivery_status);

static int64
due_in(int32 lane)
{
	static MaStatement count = {
		"SELECT pg_catalog.count(*) FROM (SELECT FROM marketing_internal.message AS m "
		"WHERE m.lane OPERATOR(pg_catalog.=) $1 "
		"AND m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
		"AND m.next_at OPERATOR(pg_catalog.<=) $2 LIMIT " COUNTED ") AS d",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = Int32GetDatum(lane);
	values[1] = TimestampTzGetDatum(ma_now());
	rows = ma_run(&count, values, NULL, MA_RUN_READ_LATEST);
	return ma_int64(&rows, 0, 1);
}

/* Its last fault, if it has not worked since, and until when it is left alone for that. */
static char *
fault_of(const char *name, TimestampTz now, TimestampTz *until)
{
	static MaStatement find = {
		"SELECT failures, open_until, reason FROM marketing_internal.server_state "
		"WHERE server OPERATOR(pg_catalog.=) $1 AND failures OPERATOR(pg_catalog.>) 0",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	int			failures;
	bool		isnull;

	if (rows.n == 0)
		return NULL;
	failures = ma_int32(&rows, 0, 1);
	value = ma_value(&rows, 0, 2, &isnull);
	*until = isnull || !ma_server_resting(DatumGetTimestampTz(value), now) ? DT_NOBEGIN :
		DatumGetTimestampTz(value);
	return psprintf("%s (%d %s in a row)", ma_text(&rows, 0, 3), failures,
					failures == 1 ? "fault" : "faults");
}

const char *
ma_server_condition(const char *name, const char **word, char **detail)
{
	TimestampTz now = GetCurrentTimestamp();
	MaServerOptions *options = ma_server_options(name);
	TimestampTz until;
	char	   *fault;

	*detail = NULL;
	if (options == NULL)
	{
		*word = "missing";
		*detail = psprintf("there is no server \"%s\" of ours", name);
		return "error";
	}
	*word = kind_names[options->kind];
	if (ma_preset_missing(options) != NULL)
	{
		*word = "incomplete";
		*detail = psprintf("server \"%s\" needs option \"%s\"", name, ma_preset_missing(options));
		return "error";
	}
	fault = fault_of(name, now, &until);
	if (fault == NULL)
		return "ok";
	*word = until == DT_NOBEGIN ? "failing" : "resting";
	*detail = until == DT_NOBEGIN ?
		psprintf("server \"%s\" is being tried again after a fault: %s", name, fault) :
		psprintf("server \"%s\" is left alone until %s: %s", name, timestamptz_to_str(until),
				 fault);
	return "warning";
}

char *
ma_server_rate(const char *name)
{
	MaServerOptions *options = ma_server_options(name);

	if (options == NULL || options->rate.count == 0)
		return NULL;
	return psprintf("server \"%s\" takes at most %d messages a %s", name, options->rate.count,
					options->rate.seconds == 1 ? "second" : options->rate.seconds == 60 ? "minute" :
					options->rate.seconds == 3600 ? "hour" : "day");
}

/* marketing_internal.delivery_status(): a row for each server, with what waits for it. */
Datum
ma_delivery_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaSender   *senders;
	MaCall		call;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	senders = ma_senders(&n);
	for (int i = 0; i < n; i++)
	{
		int64		due = senders[i].nroutes > 0 ? due_in(senders[i].sender_id) : 0;

		for (int j = 0; j < senders[i].nroutes; j++)
		{
			const char *name = senders[i].routes[j].server;
			char	   *item = psprintf("server %s of sender %s", name, senders[i].name);
			const char *word;
			char	   *detail;
			const char *state = ma_server_condition(name, &word, &detail);
			char	   *rate = ma_server_rate(name);

			if (due > 0 && detail == NULL && rate != NULL)
			{
				state = "note";
				word = "rate";
				detail = rate;
			}
			if (due > 0)
				detail = psprintf("%s%s%s due", detail ? detail : "", detail ? "; " : "",
								  ma_grouped(due));
			ma_status_line(result, item, state, word, detail);
		}
	}
	ma_call_end(&call);
	return (Datum) 0;
}
