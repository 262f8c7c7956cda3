/*
 * claims.c
 *		Messages that programs outside send: claim_messages(), and what becomes of claims
 *		that nobody settles.
 *
 * A server of marketing_outside has no transport.  A program calls claim_messages(): the
 * gate decides as it does for the worker, and the messages are `sending` under a lease.
 * It commits, sends them and tells with settle_message().  What is not settled when its
 * lease ends is in doubt as after a crash.  The worker looks for that, and notifies
 * channel marketing_messages of servers for which messages are due; a user's transaction
 * never notifies, since it could not be prepared then.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "delivery/delivery_internal.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define MOST 1000				/* messages of one call */
#define LOOK_MS 1000			/* so long without finding one that is free */
#define NOTIFY_CHANNEL "marketing_messages"
#define COLUMNS 7

MA_FUNCTION(ma_claim_messages);

static void check_server(const char *server);
static TimestampTz lease_end(FunctionCallInfo fcinfo);
static int	claim(const char *server, int at_most, TimestampTz until, MaMessage **messages);
static int	claim_some(int limit, MaMessage *messages, bool *more);
static void set_lease(MaMessage *messages, int n, TimestampTz until);
static void return_message(ReturnSetInfo *result, const MaMessage *message, TimestampTz until);

/* marketing.claim_messages(server, at_most, lease) */
Datum
ma_claim_messages(PG_FUNCTION_ARGS)
{
	MaMessage  *messages;
	TimestampTz until;
	char	   *server;
	int			at_most;
	int			n;
	MaCall		call;

	(void) ma_extension_required();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < 3; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "server" : i == 1 ? "at_most" : "lease")));
	server = text_to_cstring(PG_GETARG_TEXT_PP(0));
	at_most = PG_GETARG_INT32(1);
	if (at_most < 1 || at_most > MOST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at_most must be between 1 and %d", MOST)));
	check_server(server);
	until = lease_end(fcinfo);
	/* To the end of the transaction, which is the caller's. */
	ma_delivery_durable();
	ma_call_begin(&call);
	n = claim(server, at_most, until, &messages);
	for (int i = 0; i < n; i++)
		return_message((ReturnSetInfo *) fcinfo->resultinfo, &messages[i], until);
	ma_call_end(&call);
	return (Datum) 0;
}

static void
check_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	AclResult	right;

	if (server == NULL || ma_server_kind(server->fdwid) != MA_SERVER_OUTSIDE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no server \"%s\" of marketing_outside", name),
				 errhint("Create it with CREATE SERVER %s FOREIGN DATA WRAPPER marketing_outside.",
						 quote_identifier(name))));
	right = ma_foreign_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);
	if (right != ACLCHECK_OK)
		aclcheck_error(right, OBJECT_FOREIGN_SERVER, name);
}

static TimestampTz
lease_end(FunctionCallInfo fcinfo)
{
	TimestampTz now = ma_now();
	TimestampTz until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
																TimestampTzGetDatum(now),
																PG_GETARG_DATUM(2)));

	if (until <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease must be longer than nothing")));
	return until;
}

/*
 * Until there are enough or no more; what cannot be composed is settled at once.  Others may
 * hold the recipients of all that are due, and a pass over the queue begins anew after a
 * while: so it is given up where nothing is found.
 */
static int
claim(const char *server, int at_most, TimestampTz until, MaMessage **messages)
{
	volatile int n = 0;

	*messages = palloc_array(MaMessage, at_most);
	ma_delivery_partitions_ensure();
	ma_gate_restart();
	ma_lanes_only(server);
	PG_TRY();
	{
		int64		found = ma_monotonic_ms();
		bool		more = true;

		while (more && n < at_most && ma_monotonic_ms() - found < LOOK_MS)
		{
			int			got = claim_some(at_most - n, *messages + n, &more);

			n += got;
			if (got > 0)
				found = ma_monotonic_ms();
		}
	}
	PG_FINALLY();
	{
		ma_lanes_only(NULL);
		ma_gate_restart();
	}
	PG_END_TRY();
	set_lease(*messages, n, until);
	return n;
}

static int
claim_some(int limit, MaMessage *messages, bool *more)
{
	MaMessage **unfit;
	MaMessage  *claimed;
	int			nclaimed;
	int			nunfit = 0;
	int			n = 0;

	claimed = ma_gate_claim(limit, &nclaimed, more);
	ma_gate_pass_over();
	if (nclaimed == 0)
		return 0;
	/* What does not fit in now is left to the next call. */
	if (ma_compose(claimed, nclaimed) > 0)
		*more = false;
	unfit = palloc_array(MaMessage *, nclaimed);
	for (int i = 0; i < nclaimed; i++)
		if (claimed[i].gate != NULL)
			unfit[nunfit++] = &claimed[i];
		else
			messages[n++] = claimed[i];
	ma_settle(unfit, nunfit);
	return n;
}

static void
set_lease(MaMessage *messages, int n, TimestampTz until)
{
	static MaStatement lease = {
		"UPDATE marketing_internal.message AS m SET leased_until = $3 "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (contact_id, message_id) "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) u.message_id",
		3, {INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
	};
	int64	   *ids[2];
	Datum		values[3];

	if (n == 0)
		return;
	for (int f = 0; f < lengthof(ids); f++)
		ids[f] = palloc_array(int64, n);
	for (int i = 0; i < n; i++)
	{
		ids[0][i] = messages[i].contact_id;
		ids[1][i] = messages[i].message_id;
	}
	values[0] = ma_int8_array(ids[0], n);
	values[1] = ma_int8_array(ids[1], n);
	values[2] = TimestampTzGetDatum(until);
	(void) ma_run(&lease, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
return_message(ReturnSetInfo *result, const MaMessage *message, TimestampTz until)
{
	const MaOutgoing *outgoing = &message->outgoing;
	const char *texts[] = {
		outgoing->key, outgoing->channel, outgoing->from_address, outgoing->to_address,
		outgoing->content
	};
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	values[0] = Int64GetDatum(message->message_id);
	for (int i = 0; i < lengthof(texts); i++)
	{
		nulls[i + 1] = texts[i] == NULL;
		values[i + 1] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	values[COLUMNS - 1] = TimestampTzGetDatum(until);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* ---- the worker's part ---- */

void
ma_claims_look(void)
{
	static MaStatement ended = {
		"SELECT contact_id, message_id, topic_id, attempts, server "
		"FROM marketing_internal.message WHERE state OPERATOR(pg_catalog.=) 'sending' "
		"AND leased_until OPERATOR(pg_catalog.<) $1 ORDER BY message_id LIMIT 500 "
		"FOR UPDATE SKIP LOCKED",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(ma_now());
	MaRows		rows = ma_run(&ended, &value, NULL, MA_RUN_WRITE_LATEST);
	MaMessage **messages = palloc_array(MaMessage *, Max(rows.n, 1));

	for (uint64 i = 0; i < rows.n; i++)
	{
		const char *server = ma_text(&rows, i, 5);

		messages[i] = palloc0_object(MaMessage);
		messages[i]->contact_id = ma_int64(&rows, i, 1);
		messages[i]->message_id = ma_int64(&rows, i, 2);
		messages[i]->topic_id = ma_int32(&rows, i, 3);
		messages[i]->attempts = ma_int32(&rows, i, 4);
		messages[i]->gate = "lease";
		ma_settle_doubt(messages[i], server ? ma_server_options(server) : NULL,
						"its lease has ended and nobody has settled it");
	}
	ma_settle(messages, rows.n);
}

/* Tells programs that wait of what is due; $1 of the statement is now. */
void
ma_claims_notify(void)
{
	static MaStatement due = {
		"SELECT EXISTS (SELECT FROM marketing_internal.message AS m "
		"WHERE m.lane OPERATOR(pg_catalog.=) $2 "
		"AND m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
		"AND m.next_at OPERATOR(pg_catalog.<=) $1)",
		2, {TIMESTAMPTZOID, INT4OID}
	};
	int			n;
	MaSender   *senders = ma_senders(&n);

	for (int i = 0; i < n; i++)
		for (int j = 0; j < senders[i].nroutes; j++)
		{
			ForeignServer *server = GetForeignServerByName(senders[i].routes[j].server, true);
			Datum		values[2];
			MaRows		rows;

			if (server == NULL || ma_server_kind(server->fdwid) != MA_SERVER_OUTSIDE)
				continue;
			values[0] = TimestampTzGetDatum(ma_now());
			values[1] = Int32GetDatum(senders[i].sender_id);
			rows = ma_run(&due, values, NULL, MA_RUN_READ_LATEST);
			if (ma_bool(&rows, 0, 1))
				Async_Notify(NOTIFY_CHANNEL, senders[i].routes[j].server);
		}
}
