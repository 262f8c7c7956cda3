/*
 * launch.c
 *		launch_broadcast() and cancel_broadcast().
 *
 * Launching freezes the audience in broadcast_audience: who is in it gets the broadcast,
 * whatever becomes of the rule; who comes later does not.  The scheduler lets them into the
 * broadcast's journey (enter.c): all of them, or with a test first those of the test, and
 * the rest when it is decided (test.c); who is in the test is a hash of name and contact, so
 * it is the same whenever it is asked.
 *
 * The journey bears the broadcast's name, so everything that is asked of journeys can be asked
 * of it.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "worker/worker.h"

/* The audience on its way into the journey. */
typedef struct Launch
{
	const MaBroadcastRow *row;
	int64		contacts;
	int64		tested;
} Launch;

static void require_future(const MaBroadcastRow *row);
static void take_portion(const int64 *ids, int n, void *arg);
static void keep(int32 broadcast_id, const int64 *ids, const bool *tested, int n);
static void note_role(int32 id, Oid role);
static char *launch(MaBroadcastRow *row, const MaCall *call);

MA_FUNCTION(ma_launch_broadcast);
MA_FUNCTION(ma_cancel_broadcast);

TimestampTz
ma_broadcast_instant(const MaBroadcast *broadcast, const char *zone, TimestampTz now)
{
	if (broadcast->at == NULL)
		return now;
	return Max(now, ma_instant_of_local(broadcast->wall,
										ma_zone_or_default(broadcast->by_contact ? zone : NULL)));
}

/* By the clock of the database: for contacts who live ahead of it the hour may be over. */
static void
require_future(const MaBroadcastRow *row)
{
	TimestampTz now = ma_now();

	if (row->parsed->at != NULL &&
		ma_instant_of_local(row->parsed->wall, ma_zone_or_default(NULL)) < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"at\" of broadcast \"%s\" is past: %s", row->name, row->parsed->at),
				 errhint("Define it with another one; without \"at\" it goes at once.")));
}

void
ma_broadcast_state_set(int32 id, const char *state)
{
	static MaStatement set = {
		"UPDATE marketing_internal.broadcast SET state = $2, "
		"launched_at = COALESCE(launched_at, $3) WHERE broadcast_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(id);
	values[1] = CStringGetTextDatum(state);
	values[2] = TimestampTzGetDatum(ma_now());
	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
take_portion(const int64 *ids, int n, void *arg)
{
	Launch	   *launched = arg;
	const MaTest *test = launched->row->parsed->test;
	bool	   *tested = palloc0_array(bool, n);

	for (int i = 0; i < n; i++)
	{
		tested[i] = test != NULL &&
			ma_share_of(launched->row->name, "in the test", ids[i]) < test->share;
		launched->tested += tested[i];
	}
	launched->contacts += n;
	keep(launched->row->id, ids, tested, n);
}

static void
keep(int32 broadcast_id, const int64 *ids, const bool *tested, int n)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.broadcast_audience (broadcast_id, contact_id, tested) "
		"SELECT $1, u.contact_id, u.tested FROM ROWS FROM (pg_catalog.unnest($2), "
		"pg_catalog.unnest($3)) AS u (contact_id, tested)",
		3, {INT4OID, INT8ARRAYOID, BOOLARRAYOID}
	};
	Datum	   *datums = palloc_array(Datum, n);
	Datum		values[3];

	for (int i = 0; i < n; i++)
		datums[i] = BoolGetDatum(tested[i]);
	values[0] = Int32GetDatum(broadcast_id);
	values[1] = ma_int8_array(ids, n);
	values[2] = ma_datum_array(datums, n, BOOLOID);
	ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST);
}

/* The journey is his, also the version that the winner makes. */
static void
note_role(int32 id, Oid role)
{
	static MaStatement set = {
		"UPDATE marketing_internal.broadcast SET launched_by = $2 "
		"WHERE broadcast_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, TEXTOID}
	};
	Datum		values[2];

	values[0] = Int32GetDatum(id);
	values[1] = CStringGetTextDatum(GetUserNameFromId(role, false));
	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
}

static char *
launch(MaBroadcastRow *row, const MaCall *call)
{
	static MaStatement taken = {
		"SELECT FROM marketing_internal.journey WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Launch		launched = {row, 0, 0};
	Datum		value = CStringGetTextDatum(row->name);

	if (ma_run(&taken, &value, NULL, MA_RUN_READ_LATEST).n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is a journey \"%s\"", row->name),
				 errhint("A broadcast becomes a journey of its name: define it under another one.")));
	/* What takes long comes first: making the journey keeps all others from being changed. */
	ma_audience_each(row->parsed, call->caller.userid, take_portion, &launched);
	ma_journey_make(row->name, ma_broadcast_journey(row->parsed), call->caller.userid);
	ma_broadcast_state_set(row->id, row->parsed->test != NULL ? "testing" : "sending");
	ma_broadcast_entered_set(row->id, 0);
	note_role(row->id, call->caller.userid);
	ma_worker_wake_at_commit();
	if (row->parsed->test == NULL)
		return psprintf("%s: launched to %s contacts", row->name, ma_grouped(launched.contacts));
	return psprintf("%s: launched to %s contacts; %s of them are in the test", row->name,
					ma_grouped(launched.contacts), ma_grouped(launched.tested));
}

/* launch_broadcast(name) */
Datum
ma_launch_broadcast(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_broadcast_name_argument(fcinfo);
	MaBroadcastRow *row;
	MaCall		call;
	char	   *answer;

	ma_call_begin(&call);
	ma_broadcast_lock(name);
	row = ma_broadcast_required(name);
	if (strcmp(row->state, "draft") != 0)
		answer = psprintf("%s: unchanged: it has been launched", name);
	else
	{
		require_future(row);
		answer = launch(row, &call);
	}
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

int64
ma_broadcast_stop(int32 id)
{
	static MaStatement forget = {
		"DELETE FROM marketing_internal.broadcast_audience "
		"WHERE broadcast_id OPERATOR(pg_catalog.=) $1 AND NOT entered RETURNING 1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(id);
	uint64		kept = ma_run(&forget, &value, NULL, MA_RUN_WRITE_LATEST).n;

	ma_broadcast_state_set(id, "cancelled");
	ma_broadcast_entered_set(id, MA_ALL_ENTERED);
	return (int64) kept;
}

/* cancel_broadcast(name) */
Datum
ma_cancel_broadcast(PG_FUNCTION_ARGS)
{
	static MaStatement archive = {
		"SELECT marketing.archive_journey(j.name) FROM marketing_internal.journey AS j "
		"WHERE j.name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_broadcast_name_argument(fcinfo);
	MaBroadcastRow *row;
	MaCall		call;
	char	   *answer;
	Datum		value;

	ma_call_begin(&call);
	ma_broadcast_lock(name);
	row = ma_broadcast_required(name);
	if (strcmp(row->state, "draft") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("broadcast \"%s\" has not been launched", name)));
	if (strcmp(row->state, "cancelled") == 0)
		answer = psprintf("%s: unchanged: it is cancelled", name);
	else
	{
		MaRows		rows;
		int64		kept;

		value = CStringGetTextDatum(name);
		rows = ma_run(&archive, &value, NULL, MA_RUN_WRITE_LATEST);
		answer = rows.n > 0 ? strstr(ma_text(&rows, 0, 1), "; ") : NULL;
		kept = ma_broadcast_stop(row->id);
		answer = psprintf("%s: cancelled%s%s", name, answer ? answer : "", kept == 0 ? "" :
						  psprintf("; contacts who had yet to enter: %s",
								   ma_grouped(kept)));
	}
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
