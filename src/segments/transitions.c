/*
 * transitions.c
 *		The partitions of the log of entries and exits: with the first segment, a month
 *		ahead by the worker, and prune_segment_history(), which drops the old ones.
 *
 * History is told backwards from now (reads.c), so what is left of the log tells all
 * from its beginning on; where that is stands with the segments.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define DUTY_EVERY_MS (10 * 60 * 1000)

static bool duty_tick(void);

MA_FUNCTION(ma_prune_segment_history);

static const MaPartitioned transitions = {
	.name = "segment_transition",
	.column = "recorded_at",
	.key = "contact_id, transition_id",
	.index = "segment_id, effective_at"
};

/*
 * Entries and exits as rows of our own events.  Those that a definition brought about are
 * nobody's doing.
 */
#define FLIPS_SQL(entered) \
	"SELECT f.contact_id, f.effective_at AS occurred_at, " \
	"pg_catalog.jsonb_build_object('segment', g.name) AS properties " \
	"FROM marketing_internal.segment_transition AS f JOIN marketing_internal.segment AS g " \
	"ON g.segment_id OPERATOR(pg_catalog.=) f.segment_id " \
	"WHERE f.cause OPERATOR(pg_catalog.<>) 'definition' AND " entered "f.entered"

static const MaBuiltinRows rows[] = {
	{"segment_entered", "segment_transition", FLIPS_SQL(""), true},
	{"segment_left", "segment_transition", FLIPS_SQL("NOT "), true}
};

void
ma_transitions_init(void)
{
	static const MaDuty duty = {
		.name = "segment partitions", .every_ms = DUTY_EVERY_MS, .tick = duty_tick
	};

	ma_worker_register_duty(&duty);
	ma_register_builtin_rows(rows, lengthof(rows));
}

/* The worker's turn: nothing until the first segment was defined. */
static bool
duty_tick(void)
{
	ma_partitions_extend(&transitions);
	return false;
}

void
ma_transitions_ensure(void)
{
	ma_partitions_ensure(&transitions);
}

/* ---- pruning ---- */

/* prune_segment_history(before) */
Datum
ma_prune_segment_history(PG_FUNCTION_ARGS)
{
	static MaStatement rest = {
		"WITH gone AS (DELETE FROM marketing_internal.segment_transition AS t "
		"WHERE t.recorded_at OPERATOR(pg_catalog.<) $1 RETURNING 1), "
		"known AS (UPDATE marketing_internal.segment AS s SET known_from = $1 "
		"WHERE s.known_from OPERATOR(pg_catalog.<) $1) SELECT pg_catalog.count(*) FROM gone",
		1, {TIMESTAMPTZOID}
	};
	MemoryContext context = CurrentMemoryContext;
	TimestampTz before;
	char	   *answer;
	MaCall		call;
	Datum		value;
	MaRows		rows;
	int			months;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("before must not be null")));
	ma_call_begin(&call);
	before = ma_partitions_month(PG_GETARG_TIMESTAMPTZ(0));
	ma_segments_lock();
	months = ma_partitions_drop(&transitions, before);
	/* What stands in the default partition. */
	value = TimestampTzGetDatum(before);
	rows = ma_run(&rest, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	if (ma_builtin_read_before("segment_transition", before))
		ma_contacts_leave_all();
	answer = psprintf("history of segments begins at %s: %d month%s and %s single rows dropped",
					  timestamptz_to_str(before), months, months == 1 ? "" : "s",
					  ma_grouped(ma_int64(&rows, 0, 1)));
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
