/*
 * api.c
 *		What people and rooms ask of journeys for one contact: enroll, exit, retry.
 *
 * Each only leaves a signal, under the contact's lock, so that it has its place among
 * the contact's commits; the scheduler acts on it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "utils/builtins.h"
#include "worker/worker.h"

static char *journey_argument(FunctionCallInfo fcinfo);
static MaJourney *begin(FunctionCallInfo fcinfo, MaCall *call, int64 *contact_id);
static char *signal_for(FunctionCallInfo fcinfo, MaSignalKind kind, char *reason,
		const char *answer);
static int	runs_in(int64 contact_id, int32 journey_id, bool parked);

MA_FUNCTION(ma_enroll);
MA_FUNCTION(ma_exit_journey);
MA_FUNCTION(ma_retry_enrollment);

void
ma_journey_enroll(int32 journey_id, const int64 *contact_ids, int n, const Datum *entries)
{
	MaSignal   *signals = palloc0_array(MaSignal, Max(n, 1));
	bool	   *always = palloc_array(bool, Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		signals[i].contact_id = contact_ids[i];
		signals[i].kind = MA_SIGNAL_ENTER;
		signals[i].at = ma_now();
		signals[i].journey_id = journey_id;
		signals[i].row = entries ? entries[i] : 0;
		always[i] = true;
	}
	ma_signals_insert(signals, always, n);
}

static char *
journey_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("journey must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(1));
}

/* The journey, and the contact, locked: looked up again until it is the one that was. */
static MaJourney *
begin(FunctionCallInfo fcinfo, MaCall *call, int64 *contact_id)
{
	char	   *name = journey_argument(fcinfo);
	int64		locked = 0;
	MaJourney  *journey;

	ma_call_begin(call);
	journey = ma_journey_required(name);
	for (;;)
	{
		*contact_id = ma_contact_argument(fcinfo, false);
		if (*contact_id == locked)
			return journey;
		if (locked != 0)
			ma_contact_unlock(locked);
		ma_contact_lock(*contact_id);
		locked = *contact_id;
	}
}

Datum
ma_enroll(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	int64		contact_id;
	MaJourney  *journey = begin(fcinfo, &call, &contact_id);
	char	   *answer;

	if (journey->version == 0 || journey->closed != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_JOURNEY_NOT_ACTIVE),
				 errmsg("journey \"%s\" is %s", journey->name,
						journey->closed ? journey->closed : "a draft"),
				 errhint("Activate it with marketing.activate_journey('%s').", journey->name)));
	ma_journey_enroll(journey->id, &contact_id, 1, NULL);
	answer = MemoryContextStrdup(context, psprintf("%s: %s enters with the next turn",
			journey->name,
												   ma_contact_text(contact_id)));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/*
 * How many runs of the contact in the journey go on, entries that wait for the next turn
 * among them, or are parked.  An exit that waits ends the runs there are and the entries
 * before it, so only those after it count.
 */
static int
runs_in(int64 contact_id, int32 journey_id, bool parked)
{
	static MaStatement count = {
		"WITH s AS (SELECT s.signal_id, s.kind FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) $1 AND s.journey_id OPERATOR(pg_catalog.=) $2), "
		"x AS (SELECT pg_catalog.max(s.signal_id) AS ends FROM s "
		"WHERE s.kind OPERATOR(pg_catalog.=) 'exit') "
		"SELECT (CASE WHEN $3 THEN 0 ELSE (SELECT pg_catalog.count(*) FROM s, x "
		"WHERE s.kind OPERATOR(pg_catalog.=) 'enter' "
		"AND (x.ends IS NULL OR s.signal_id OPERATOR(pg_catalog.>) x.ends)) END "
		"OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) "
		"FROM marketing_internal.enrollment AS e, x "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) $1 AND e.journey_id OPERATOR(pg_catalog.=) $2 "
		"AND (CASE WHEN $3 THEN e.state OPERATOR(pg_catalog.=) 'parked' ELSE x.ends IS NULL "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') END)))::pg_catalog.int4",
		3, {INT8OID, INT4OID, BOOLOID}
	};
	Datum		values[3];
	MaRows		rows;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int32GetDatum(journey_id);
	values[2] = BoolGetDatum(parked);
	rows = ma_run(&count, values, NULL, MA_RUN_READ_LATEST);
	return ma_int32(&rows, 0, 1);
}

/* True if such a signal, with nothing after it that would enter, waits for the next turn. */
static bool
is_asked_for(int64 contact_id, int32 journey_id, MaSignalKind kind)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) $1 AND s.journey_id OPERATOR(pg_catalog.=) $2 "
		"AND s.kind OPERATOR(pg_catalog.=) $3 "
		"AND NOT EXISTS (SELECT FROM marketing_internal.enrollment_signal AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) $1 AND l.journey_id OPERATOR(pg_catalog.=) $2 "
		"AND l.kind OPERATOR(pg_catalog.=) 'enter' "
		"AND l.signal_id OPERATOR(pg_catalog.>) s.signal_id) LIMIT 1",
		3, {INT8OID, INT4OID, TEXTOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int32GetDatum(journey_id);
	values[2] = CStringGetTextDatum(ma_signal_kind_name(kind));
	return ma_run(&find, values, NULL, MA_RUN_READ_LATEST).n > 0;
}

/* Leaves the signal; the answer says for how many runs. */
static char *
signal_for(FunctionCallInfo fcinfo, MaSignalKind kind, char *reason, const char *answer)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	int64		contact_id;
	MaJourney  *journey = begin(fcinfo, &call, &contact_id);
	MaSignal	signal = {0};
	int			n = runs_in(contact_id, journey->id, kind == MA_SIGNAL_RETRY);
	char	   *text;

	signal.contact_id = contact_id;
	signal.kind = kind;
	signal.at = ma_now();
	signal.journey_id = journey->id;
	signal.reason = reason;
	if (is_asked_for(contact_id, journey->id, kind))
		text = psprintf("%s: unchanged: %s is asked for already", journey->name,
						kind == MA_SIGNAL_EXIT ? "the exit" : "a retry");
	else if (n == 0)
		text = psprintf("%s: unchanged: %s %s", journey->name, ma_contact_text(contact_id),
						kind == MA_SIGNAL_EXIT ? "is not inside" : "has no run that is parked");
	else
	{
		ma_signals_insert(&signal, NULL, 1);
		text = psprintf("%s: %d %s %s", journey->name, n, n == 1 ? "run" : "runs", answer);
	}
	text = MemoryContextStrdup(context, text);
	ma_call_end(&call);
	return text;
}

Datum
ma_exit_journey(PG_FUNCTION_ARGS)
{
	char	   *reason = PG_ARGISNULL(2) ? "by hand" : text_to_cstring(PG_GETARG_TEXT_PP(2));

	PG_RETURN_TEXT_P(cstring_to_text(signal_for(fcinfo, MA_SIGNAL_EXIT, reason,
												psprintf("exited: %s", reason))));
}

Datum
ma_retry_enrollment(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(signal_for(fcinfo, MA_SIGNAL_RETRY, NULL, "tried again")));
}
