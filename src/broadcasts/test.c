/*
 * test.c
 *		When the test of a broadcast is over, and which variant has won.
 *
 * The horizon is fixed: `after` the last message of the test was settled.  Who has won is
 * decided as for the step `test` of a journey (journeys/variants/decide.c), and what cannot
 * be counted is tried again as there.
 *
 * The winner's message is a second version of the broadcast's journey, by which the rest
 * enters; those of the test are never in it.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#define DECISION_MS 15000
#define TRIES 10				/* to count; then it is no_winner */

/* What is counted under guard. */
typedef struct Decision
{
	MaTestCount count;
	const MaVariant *winner;
	char	   *words;
} Decision;

static bool is_over(const MaBroadcastRow *row, TimestampTz *last);
static void note_end(const MaBroadcastRow *row, TimestampTz at);
static void count(void *arg);
static bool could_count(const MaBroadcastRow *row, Decision *decision);
static bool decide(MaBroadcastRow *row, TimestampTz at);

bool
ma_broadcast_look_at(MaBroadcastRow *row)
{
	TimestampTz decide_at = row->decide_at;
	TimestampTz last;

	if (decide_at == DT_NOEND)
	{
		if (!is_over(row, &last))
			return false;
		decide_at = ma_duration_add(last, row->parsed->test->after, NULL);
		note_end(row, decide_at);
	}
	return decide_at <= ma_now() && decide(row, decide_at);
}

/* True when none of the test's messages is to come any more; *last: when the last one was. */
static bool
is_over(const MaBroadcastRow *row, TimestampTz *last)
{
	static MaStatement live = {
		"SELECT FROM marketing_internal.broadcast_audience AS a "
		"CROSS JOIN marketing_internal.journey AS j "
		"WHERE a.broadcast_id OPERATOR(pg_catalog.=) $1 AND a.tested "
		"AND j.name OPERATOR(pg_catalog.=) $2 AND (EXISTS ("
		"SELECT FROM marketing_internal.enrollment AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) a.contact_id "
		"AND e.journey_id OPERATOR(pg_catalog.=) j.journey_id "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting}')) OR EXISTS ("
		"SELECT FROM marketing_internal.enrollment_signal AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) a.contact_id "
		"AND s.journey_id OPERATOR(pg_catalog.=) j.journey_id)) LIMIT 1",
		2, {INT4OID, TEXTOID}
	};
	static MaStatement settled = {
		"SELECT COALESCE(pg_catalog.max(m.settled_at), $2) FROM marketing_internal.message_log AS m "
		"WHERE m.journey OPERATOR(pg_catalog.=) $1 AND m.test_for IS NULL",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = Int32GetDatum(row->id);
	values[1] = CStringGetTextDatum(row->name);
	if (ma_run(&live, values, NULL, MA_RUN_READ_LATEST).n > 0)
		return false;
	values[0] = values[1];
	values[1] = TimestampTzGetDatum(ma_now());
	rows = ma_run(&settled, values, NULL, MA_RUN_READ_LATEST);
	*last = ma_int64(&rows, 0, 1);
	return true;
}

static void
note_end(const MaBroadcastRow *row, TimestampTz at)
{
	static MaStatement set = {
		"UPDATE marketing_internal.broadcast SET decide_at = $2 "
		"WHERE broadcast_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(row->id), TimestampTzGetDatum(at)};

	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
}

/* ---- the decision ---- */

static void
count(void *arg)
{
	Decision   *decision = arg;

	decision->winner = ma_test_winner(&decision->count, &decision->words);
}

/* False: it is tried again later.  After so many errors it is the one who was named. */
static bool
could_count(const MaBroadcastRow *row, Decision *decision)
{
	ErrorData  *error = ma_drain_protect(count, decision, DECISION_MS);

	if (error == NULL)
		return true;
	ma_count_error(error->sqlerrcode, psprintf("test of broadcast \"%s\": %s", row->name,
											   error->message ? error->message : ""));
	if (row->tries + 1 < TRIES)
	{
		ma_broadcast_put_off(row->id, true);
		return false;
	}
	decision->winner = ma_test_variant(row->parsed->test, row->parsed->test->no_winner);
	decision->words = psprintf("could not be counted (%s: %s), so %s",
							   unpack_sql_state(error->sqlerrcode), error->message,
							   decision->winner->name);
	return true;
}

/*
 * False if it could not be done now.  The winner's version is of who has launched it, and of
 * nobody else: an error while there is no such role.
 */
static bool
decide(MaBroadcastRow *row, TimestampTz at)
{
	static MaStatement set = {
		"UPDATE marketing_internal.broadcast SET state = 'sending', winner = $2, decided = $3, "
		"next_at = NULL WHERE broadcast_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, TEXTOID, TEXTOID}
	};
	Decision	decision = {
		.count = {
			.test = row->parsed->test, .journey = row->name, .since = DT_NOBEGIN, .until = at
		}
	};
	Oid			role = get_role_oid(row->launched_by, false);
	Datum		values[3];

	if (!could_count(row, &decision))
		return false;
	if (!ma_journey_make_again(row->name, ma_broadcast_winner_journey(row->parsed, decision.winner),
							   role))
	{
		(void) ma_broadcast_stop(row->id);
		return true;
	}
	values[0] = Int32GetDatum(row->id);
	values[1] = CStringGetTextDatum(decision.winner->name);
	values[2] = CStringGetTextDatum(decision.words);
	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
	ma_broadcast_entered_set(row->id, 0);
	return true;
}
