/*
 * duty.c
 *		The duty "broadcasts": lets audiences enter, and has tests decided.
 *
 * Each broadcast is done under a guard of its own, so one that cannot go on keeps no other:
 * it rests for a minute.  Audiences enter before anything is decided, which may take long.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define POLL_MS 1000
#define PIECE_MS 30000
#define RETRY_SECONDS 60

/* What is done of one. */
typedef struct Piece
{
	MaBroadcastRow *row;
	bool		more;
} Piece;

static bool tick(void);
static bool turn(void);
static TimestampTz next_due(void);
static void go_on(void *arg);
static bool try_one(const char *name);
static void merged(int64 contact_id, int64 merged_id);
static void erased(Datum contact_ids);

static const MaDuty duty = {"broadcasts", POLL_MS, tick, next_due};
static const MaContactListener listener = {merged, NULL, erased};

void
ma_broadcast_duty_init(void)
{
	ma_worker_register_duty(&duty);
	ma_register_contact_listener(&listener);
}

/* Two who are one get it once. */
static void
merged(int64 contact_id, int64 merged_id)
{
	static MaStatement moves[] = {
		{"UPDATE marketing_internal.broadcast_audience AS a SET contact_id = $1 "
			"WHERE a.contact_id OPERATOR(pg_catalog.=) $2 AND NOT EXISTS ("
			"SELECT FROM marketing_internal.broadcast_audience AS o "
			"WHERE o.contact_id OPERATOR(pg_catalog.=) $1 "
			"AND o.broadcast_id OPERATOR(pg_catalog.=) a.broadcast_id)", 2, {INT8OID, INT8OID}},
		{"DELETE FROM marketing_internal.broadcast_audience AS a "
			"WHERE a.contact_id OPERATOR(pg_catalog.=) $2 AND $1 IS NOT NULL", 2,
		{INT8OID, INT8OID}}
	};
	Datum		values[2];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(merged_id);
	for (int i = 0; i < lengthof(moves); i++)
		ma_run(&moves[i], values, NULL, MA_RUN_WRITE_LATEST);
}

static void
erased(Datum contact_ids)
{
	static MaStatement forget = {
		"DELETE FROM marketing_internal.broadcast_audience AS a "
		"WHERE a.contact_id OPERATOR(pg_catalog.=) ANY ($1)",
		1, {INT8ARRAYOID}
	};

	ma_run(&forget, &contact_ids, NULL, MA_RUN_WRITE_LATEST);
}

/* ---- the turn ---- */

static bool
tick(void)
{
	return ma_drain_turn(turn);
}

static TimestampTz
next_due(void)
{
	static MaStatement first = {
		"SELECT GREATEST(b.decide_at, b.next_at) FROM marketing_internal.broadcast AS b "
		"WHERE b.state OPERATOR(pg_catalog.=) 'testing' AND b.decide_at IS NOT NULL "
		"OR b.entered_to IS NOT NULL AND b.next_at IS NOT NULL ORDER BY 1 LIMIT 1"
	};

	return ma_due_next(&first);
}

static bool
turn(void)
{
	static MaStatement read = {
		"SELECT b.name FROM marketing_internal.broadcast AS b "
		"WHERE (b.state OPERATOR(pg_catalog.=) 'testing' OR b.entered_to IS NOT NULL) "
		"AND (b.next_at IS NULL OR b.next_at OPERATOR(pg_catalog.<=) $1) "
		"ORDER BY b.entered_to IS NULL, b.name",
		1, {TIMESTAMPTZOID}
	};
	Datum		now = TimestampTzGetDatum(ma_now());
	bool		more = false;
	MaRows		rows;

	rows = ma_run(&read, &now, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		more |= try_one(ma_text(&rows, i, 1));
		if (ma_drain_late())
			return true;
	}
	return more;
}

static void
go_on(void *arg)
{
	Piece	   *piece = arg;

	/* Somebody has drained, archived or dropped its journey, which ends the broadcast, too. */
	if (!ma_journey_is_open(piece->row->name))
	{
		(void) ma_broadcast_stop(piece->row->id);
		return;
	}
	if (piece->row->entered_to == MA_ALL_ENTERED)
	{
		piece->more = ma_broadcast_look_at(piece->row);
		return;
	}
	ma_broadcast_enter(piece->row);
	piece->more = true;
}

/* True if there is more to do at once.  Who has it now may be cancelling it: it comes again. */
static bool
try_one(const char *name)
{
	Piece		piece = {NULL, false};
	ErrorData  *error;

	if (!ma_broadcast_lock_if_free(name))
	{
		ma_worker_again_soon();
		return false;
	}
	piece.row = ma_broadcast_find(name);
	if (piece.row == NULL || (piece.row->entered_to == MA_ALL_ENTERED &&
							  strcmp(piece.row->state, "testing") != 0))
		return false;
	error = ma_drain_protect(go_on, &piece, PIECE_MS);
	if (error == NULL)
		return piece.more;
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ma_worker_again_soon();
	else
	{
		ma_count_error(error->sqlerrcode, psprintf("broadcast \"%s\": %s", name,
												   error->message ? error->message : ""));
		ma_broadcast_put_off(piece.row->id, false);
	}
	return false;
}

void
ma_broadcast_put_off(int32 id, bool tried)
{
	static MaStatement set = {
		"UPDATE marketing_internal.broadcast SET next_at = $2, "
		"tries = tries OPERATOR(pg_catalog.+) $3 WHERE broadcast_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, TIMESTAMPTZOID, INT4OID}
	};
	Datum		values[3];

	values[0] = Int32GetDatum(id);
	values[1] = TimestampTzGetDatum(ma_now() + RETRY_SECONDS * USECS_PER_SEC);
	values[2] = Int32GetDatum(tried ? 1 : 0);
	ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST);
}
