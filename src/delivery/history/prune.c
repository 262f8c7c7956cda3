/*
 * prune.c
 *		marketing.prune_message_history(): what is kept of messages that ended long ago.
 *
 * The log of messages, decisions about them, hits and what providers told go together,
 * by months, and with them the links that no message made since then has, and the keys that
 * make a second time nothing, for which a time is promised (KEY_DAYS).  What is still
 * counted stays: by caps and by the limit of soft bounces, which would let more through.
 * A rule that looks further back counts less from then on, so everybody is evaluated anew.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent.h"
#include "contacts/contacts.h"
#include "delivery/feedback.h"
#include "utils/builtins.h"

/* A message may come to its end so many days after it was made, with its links. */
#define LINK_DAYS 32
/* A dedup_key is remembered for so many days at least; README says so. */
#define KEY_DAYS 90

static void check_counted(TimestampTz before);
static bool prune_log(const MaPartitioned *log, TimestampTz before, int *months, uint64 *rows);
static uint64 prune_links(TimestampTz before);
static uint64 prune_keys(TimestampTz before);

MA_FUNCTION(ma_prune_message_history);

/* An error while messages from before are counted. */
static void
check_counted(TimestampTz before)
{
	TimestampTz now = ma_now();
	ListCell   *cell;

	foreach(cell, ma_caps())
	{
		const MaCap *cap = lfirst(cell);

		if (ma_cap_look_back(cap, now) < before)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("messages since %s are still counted",
							timestamptz_to_str(ma_cap_look_back(cap, now))),
					 errdetail("They are by %s.", ma_cap_text(cap))));
	}
	if (ma_soft_bounces_since(now) < before)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("messages since %s are still counted",
						timestamptz_to_str(ma_soft_bounces_since(now))),
				 errdetail("Their soft bounces are, as the setting bounce_limit has it.")));
}

/* True if a rule may have read what is gone. */
static bool
prune_log(const MaPartitioned *log, TimestampTz before, int *months, uint64 *rows)
{
	char	   *sql = psprintf("DELETE FROM marketing_internal.%s WHERE %s OPERATOR(pg_catalog.<) $1",
							   log->name, log->column);
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(before);
	int			dropped = ma_partitions_drop(log, before);
	uint64		deleted;

	/* What stands in the default partition. */
	deleted = ma_run_once(sql, 1, &type, &value, NULL, MA_RUN_WRITE_LATEST).n;
	*months += dropped;
	*rows += deleted;
	return (dropped > 0 || deleted > 0) && ma_builtin_read_before(log->name, before);
}

/*
 * Who renders a message takes a link for stored that is there: nobody does so in between.
 */
static uint64
prune_links(TimestampTz before)
{
	static MaStatement lock = {
		"LOCK TABLE marketing_internal.link IN SHARE ROW EXCLUSIVE MODE", 0
	};
	static MaStatement prune = {
		"DELETE FROM marketing_internal.link WHERE last_used OPERATOR(pg_catalog.<) $1",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(before - LINK_DAYS * USECS_PER_DAY);

	ma_run(&lock, NULL, NULL, MA_RUN_WRITE);
	return ma_run(&prune, &value, NULL, MA_RUN_WRITE_LATEST).n;
}

/* The key of a message that is still to come would let a second one through. */
static uint64
prune_keys(TimestampTz before)
{
	static MaStatement of_messages = {
		"DELETE FROM marketing_internal.message_key AS k WHERE k.made_at OPERATOR(pg_catalog.<) $1 "
		"AND NOT EXISTS (SELECT FROM marketing_internal.message AS m "
		"WHERE m.message_id OPERATOR(pg_catalog.=) k.message_id)",
		1, {TIMESTAMPTZOID}
	};
	static MaStatement of_events = {
		"DELETE FROM marketing_internal.delivery_event_key "
		"WHERE recorded_at OPERATOR(pg_catalog.<) $1",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(Min(before, ma_now() - KEY_DAYS * USECS_PER_DAY));

	return ma_run(&of_messages, &value, NULL, MA_RUN_WRITE_LATEST).n +
		ma_run(&of_events, &value, NULL, MA_RUN_WRITE_LATEST).n;
}

/* marketing.prune_message_history(before) */
Datum
ma_prune_message_history(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz before;
	int			months = 0;
	uint64		rows = 0;
	uint64		links;
	uint64		keys;
	bool		read;
	char	   *answer;
	MaCall		call;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("before must not be null")));
	ma_call_begin(&call);
	before = ma_partitions_month(PG_GETARG_TIMESTAMPTZ(0));
	check_counted(before);
	read = prune_log(&ma_delivery_event_log, before, &months, &rows);
	for (int i = 0; i < MA_MESSAGE_LOGS; i++)
		read |= prune_log(&ma_message_logs[i], before, &months, &rows);
	links = prune_links(before);
	keys = prune_keys(before);
	if (read)
		ma_contacts_leave_all();
	answer = psprintf("history of messages begins at %s: %d monthly partition%s, %s single rows, %s links and %s keys dropped%s",
					  timestamptz_to_str(before), months, months == 1 ? "" : "s", ma_grouped(rows),
					  ma_grouped(links), ma_grouped(keys),
					  read ? "; rules count less, so everybody is evaluated anew" : "");
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
