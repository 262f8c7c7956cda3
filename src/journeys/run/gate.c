/*
 * gate.c
 *		Where journeys and messages meet: the gate asks whether a run has exited,
 *		settled messages become signals; and merging contacts takes runs along.
 *
 * The scheduler marks a run as exited a moment after the exit was committed.  In
 * between, the unread signal keeps its messages from being claimed: so no message is
 * claimed after the commit of what makes its run exit.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "journeys/engine.h"

static void settled(const MaSettled *messages, int n);
static void merged(int64 contact_id, int64 merged_id);
static void split(int64 contact_id, int64 split_id);
static void renew_hints(int64 contact_id);

/*
 * A run that is gone, with its journey, sends nothing any more: these ask of messages to the
 * contact's owner too (test_for), which like tests are nobody's.
 */
static const MaGateCheck exited = {
	"journey", MA_GATE_SKIP,
	"CASE WHEN m.enrollment_id IS NOT NULL AND NOT EXISTS ("
	"SELECT FROM marketing_internal.enrollment AS e "
	"WHERE e.contact_id OPERATOR(pg_catalog.=) COALESCE(m.test_for, m.contact_id) "
	"AND e.enrollment_id OPERATOR(pg_catalog.=) m.enrollment_id "
	"AND e.state OPERATOR(pg_catalog.<>) 'exited') THEN 'exited' END", true
};

#define PAUSED(mode, reason) \
	"CASE WHEN m.enrollment_id IS NOT NULL THEN (SELECT '" reason "' " \
	"FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j " \
	"ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id " \
	"WHERE e.contact_id OPERATOR(pg_catalog.=) COALESCE(m.test_for, m.contact_id) " \
	"AND e.enrollment_id OPERATOR(pg_catalog.=) m.enrollment_id " \
	"AND j.paused OPERATOR(pg_catalog.=) '" mode "') END"

static const MaGateCheck held = {
	"journey", MA_GATE_DEFER, PAUSED("hold", MA_PAUSED), true
};
static const MaGateCheck skipped = {"journey", MA_GATE_SKIP, PAUSED("skip", "paused"), true};

/* One whose run is over, but was held until the journey was archived. */
static const MaGateCheck archived = {
	"journey", MA_GATE_SKIP,
	"CASE WHEN m.enrollment_id IS NOT NULL THEN (SELECT 'archived' "
	"FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j "
	"ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id "
	"WHERE e.contact_id OPERATOR(pg_catalog.=) COALESCE(m.test_for, m.contact_id) "
	"AND e.enrollment_id OPERATOR(pg_catalog.=) m.enrollment_id "
	"AND j.closed OPERATOR(pg_catalog.=) 'archived') END", true
};

static const MaGateCheck signalled = {
	"journey", MA_GATE_LEAVE,
	"CASE WHEN m.enrollment_id IS NOT NULL AND EXISTS ("
	"SELECT FROM marketing_internal.enrollment_signal AS s "
	"WHERE s.contact_id OPERATOR(pg_catalog.=) m.contact_id "
	"AND s.kind OPERATOR(pg_catalog.=) ANY ('{event,check,exit}')) "
	"THEN 'what happened to the contact is being taken into account' END"
};

static const MaContactListener listener = {merged, split};

void
ma_journey_gate_init(void)
{
	ma_register_gate_check(&exited);
	ma_register_gate_check(&archived);
	ma_register_gate_check(&skipped);
	ma_register_gate_check(&held);
	ma_register_gate_check(&signalled);
	ma_register_settle_listener(settled);
	ma_register_contact_listener(&listener);
}

/* One signal for each message of a run, in the transaction that settles. */
static void
settled(const MaSettled *messages, int n)
{
	MaSignal   *signals = palloc0_array(MaSignal, Max(n, 1));
	bool	   *always = palloc0_array(bool, Max(n, 1));
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		bool		sent = messages[i].state == MA_MESSAGE_SENT ||
				messages[i].state == MA_MESSAGE_SUSPECT;

		if (messages[i].enrollment_id == 0)
			continue;
		signals[count].contact_id = messages[i].about;
		signals[count].kind = MA_SIGNAL_SETTLED;
		signals[count].at = messages[i].at;
		signals[count].enrollment_id = messages[i].enrollment_id;
		signals[count].message_id = messages[i].message_id;
		signals[count].reason = sent ? NULL :
			unconstify(char *, messages[i].reason ? messages[i].reason : "not sent");
		always[count++] = true;
	}
	ma_signals_insert(signals, always, count);
}

/*
 * Both contacts are locked.  What was one person's is the other's now: runs, what is
 * waiting for them, and their log.
 */
static void
merged(int64 contact_id, int64 merged_id)
{
	static MaStatement moves[] = {
		{"UPDATE marketing_internal.enrollment SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.enrollment_signal SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.enrollment_log SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.enrollment_parked SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.enrollment_held SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.enrollment_goal SET contact_id = $1 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $2", 2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.message SET test_for = $1 "
			"WHERE contact_id OPERATOR(pg_catalog.=) 0 AND test_for OPERATOR(pg_catalog.=) $2",
		2, {INT8OID, INT8OID}},
	};
	/* Dates of both are read anew: they have changed.  But what was due is due. */
	static MaStatement dates[] = {
		{"DELETE FROM marketing_internal.journey_date AS d "
			"WHERE d.contact_id OPERATOR(pg_catalog.=) $1 AND d.at OPERATOR(pg_catalog.>) $3 "
			"AND EXISTS (SELECT FROM marketing_internal.journey_date AS o "
			"WHERE o.contact_id OPERATOR(pg_catalog.=) $2 "
			"AND o.journey_id OPERATOR(pg_catalog.=) d.journey_id "
		"AND o.at OPERATOR(pg_catalog.<=) $3)", 3, {INT8OID, INT8OID, TIMESTAMPTZOID}},
		{"DELETE FROM marketing_internal.journey_date AS d "
			"WHERE d.contact_id OPERATOR(pg_catalog.=) $2 AND (d.at OPERATOR(pg_catalog.>) $3 "
			"OR EXISTS (SELECT FROM marketing_internal.journey_date AS o "
			"WHERE o.contact_id OPERATOR(pg_catalog.=) $1 "
			"AND o.journey_id OPERATOR(pg_catalog.=) d.journey_id))",
		3, {INT8OID, INT8OID, TIMESTAMPTZOID}},
		{"UPDATE marketing_internal.journey_date SET contact_id = $1 "
			"WHERE contact_id OPERATOR(pg_catalog.=) $2 "
		"AND at OPERATOR(pg_catalog.<=) $3", 3, {INT8OID, INT8OID, TIMESTAMPTZOID}}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(merged_id);
	values[2] = TimestampTzGetDatum(ma_now());
	for (int i = 0; i < lengthof(dates); i++)
		ma_run(&dates[i], values, NULL, MA_RUN_WRITE_LATEST);
	for (int i = 0; i < lengthof(moves); i++)
		ma_run(&moves[i], values, NULL, MA_RUN_WRITE_LATEST);
	renew_hints(contact_id);
}

#define THEIRS \
	"WITH RECURSIVE who (contact_id) AS (SELECT $2 UNION SELECT m.merged_id " \
	"FROM marketing_internal.contact_merge AS m, who " \
	"WHERE m.contact_id OPERATOR(pg_catalog.=) who.contact_id AND m.split_at IS NULL) "
#define RUNS "FROM marketing_internal.enrollment AS e, who "
#define OF_THEIR_RUN(alias) \
	"WHERE " alias ".contact_id OPERATOR(pg_catalog.=) $1 " \
	"AND e.contact_id OPERATOR(pg_catalog.=) $1 " \
	"AND " alias ".enrollment_id OPERATOR(pg_catalog.=) e.enrollment_id " \
	"AND e.enrolled_as OPERATOR(pg_catalog.=) who.contact_id "

/*
 * Runs go back with who entered them, or whom he had taken in by then.  Their messages go
 * first: from then on none of them is claimed any more.  If none is being sent then, no
 * signal of them comes after those that go along.
 */
static void
split(int64 contact_id, int64 split_id)
{
	static MaStatement messages = {
		THEIRS "UPDATE marketing_internal.message AS m SET contact_id = $2 " RUNS OF_THEIR_RUN("m")
		"AND m.state OPERATOR(pg_catalog.<>) 'sending'", 2, {INT8OID, INT8OID}
	};
	static MaStatement to_owners = {
		THEIRS "UPDATE marketing_internal.message AS m SET test_for = $2 " RUNS
		"WHERE m.contact_id OPERATOR(pg_catalog.=) 0 AND m.test_for OPERATOR(pg_catalog.=) $1 "
		"AND e.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND m.enrollment_id OPERATOR(pg_catalog.=) e.enrollment_id "
		"AND e.enrolled_as OPERATOR(pg_catalog.=) who.contact_id", 2, {INT8OID, INT8OID}
	};
	static MaStatement sending = {
		THEIRS "SELECT m.message_id " RUNS ", marketing_internal.message AS m "
		OF_THEIR_RUN("m") "LIMIT 1", 2, {INT8OID, INT8OID}
	};
	static MaStatement moves[] = {
		{THEIRS "UPDATE marketing_internal.enrollment_log AS l SET contact_id = $2 "
			RUNS OF_THEIR_RUN("l"), 2, {INT8OID, INT8OID}},
		{THEIRS "UPDATE marketing_internal.enrollment_parked AS p SET contact_id = $2 "
			RUNS OF_THEIR_RUN("p"), 2, {INT8OID, INT8OID}},
		{THEIRS "UPDATE marketing_internal.enrollment_goal AS g SET contact_id = $2 "
			RUNS OF_THEIR_RUN("g"), 2, {INT8OID, INT8OID}},
		{THEIRS "UPDATE marketing_internal.enrollment_signal AS s SET contact_id = $2 "
			RUNS OF_THEIR_RUN("s"), 2, {INT8OID, INT8OID}},
		{THEIRS "UPDATE marketing_internal.enrollment AS e SET contact_id = $2 FROM who "
			"WHERE e.contact_id OPERATOR(pg_catalog.=) $1 "
			"AND e.enrolled_as OPERATOR(pg_catalog.=) who.contact_id", 2, {INT8OID, INT8OID}}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(split_id);
	ma_run(&messages, values, NULL, MA_RUN_WRITE_LATEST);
	ma_run(&to_owners, values, NULL, MA_RUN_WRITE_LATEST);
	rows = ma_run(&sending, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("message " INT64_FORMAT " to the contact is being sent",
						ma_int64(&rows, 0, 1)),
				 errhint("Try again when it is on its way; without workers, CALL marketing.work() first.")));
	for (int i = 0; i < lengthof(moves); i++)
		ma_run(&moves[i], values, NULL, MA_RUN_WRITE_LATEST);
	renew_hints(split_id);
}

/*
 * Hints name the contact; those under its old number are dropped when they are read.  What
 * is due already may lie before what the scheduler has read of them, but the change of
 * ids is a signal too (listen.c), and whom a signal names is looked at whole.
 */
static void
renew_hints(int64 contact_id)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.enrollment_due (due_at, contact_id, enrollment_id) "
		"SELECT GREATEST(t.at, $2), $1, e.enrollment_id FROM marketing_internal.enrollment AS e "
		"CROSS JOIN LATERAL (VALUES (e.due_at), (e.check_at)) AS t (at) "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting}') "
		"AND t.at OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz",
		2, {INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[2];

	values[0] = Int64GetDatum(contact_id);
	values[1] = TimestampTzGetDatum(ma_now());
	ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST);
}
