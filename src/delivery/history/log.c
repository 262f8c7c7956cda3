/*
 * log.c
 *		What is kept of messages: every decision about them, and those that have ended.
 *
 * Each message adds two decisions and a line of the log, more rows than it has otherwise, so
 * they are written without statements, a batch at a time (base/row_write.c).  Nothing else
 * but pruning and erasing ever touches them.  A batch has one instant, by which its
 * partition is chosen: the clock may be set meanwhile.
 */
#include "base/base.h"

#include "commands/sequence.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"

#define DECISION_COLUMNS 7
#define LOG_COLUMNS 19

static MaRowWrite *begin_decisions(Oid *sequence, TimestampTz now);
static void add_decision(MaRowWrite *write, Oid sequence, TimestampTz now, const MaMessage *message,
						 const char *decision, const char *gate, const char *reason);
static void set_text(const char *text, Datum *value, bool *isnull);

static void
set_text(const char *text, Datum *value, bool *isnull)
{
	*isnull = text == NULL;
	*value = *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

static MaRowWrite *
begin_decisions(Oid *sequence, TimestampTz now)
{
	*sequence = ma_own_table("message_decision_decision_id_seq");
	return ma_write_begin_at("message_decision", now, DECISION_COLUMNS);
}

static void
add_decision(MaRowWrite *write, Oid sequence, TimestampTz now, const MaMessage *message,
			 const char *decision, const char *gate, const char *reason)
{
	Datum		values[DECISION_COLUMNS];
	bool		nulls[DECISION_COLUMNS] = {false};

	values[0] = Int64GetDatum(message->contact_id);
	values[1] = Int64GetDatum(message->message_id);
	values[2] = Int64GetDatum(nextval_internal(sequence, false));
	values[3] = TimestampTzGetDatum(now);
	values[4] = CStringGetTextDatum(decision);
	set_text(gate, &values[5], &nulls[5]);
	set_text(reason, &values[6], &nulls[6]);
	ma_write_insert(write, values, nulls);
}

/* Those of them that were claimed: all gates were open. */
void
ma_history_claimed(MaMessage **messages, int n)
{
	TimestampTz now = ma_now();
	Oid			sequence;
	MaRowWrite *write = begin_decisions(&sequence, now);

	for (int i = 0; i < n; i++)
		if (messages[i]->claimed)
			add_decision(write, sequence, now, messages[i], "claimed", NULL, NULL);
	ma_write_end(write);
}

/*
 * Messages that have ended, by what they became; `row` of each is the place in `rows` of what
 * its own row held, in the order of MA_HISTORY_COLUMNS, or -1: it was not there any more.
 */
void
ma_history_ended(MaMessage **messages, int n, const MaRows *rows, const int *row)
{
	static const int places[] = {MA_HISTORY_PLACES};
	TimestampTz now = ma_now();
	Oid			sequence;
	MaRowWrite *decisions = begin_decisions(&sequence, now);
	MaRowWrite *log = ma_write_begin_at("message_log", now, LOG_COLUMNS);

	for (int i = 0; i < n; i++)
	{
		const MaMessage *message = messages[i];
		const char *state = ma_message_state_name(message->becomes);
		Datum		values[LOG_COLUMNS];
		bool		nulls[LOG_COLUMNS] = {false};

		if (row[i] < 0)
			continue;
		for (int c = 0; c < lengthof(places); c++)
			values[places[c]] = ma_value(rows, row[i], c + 1, &nulls[places[c]]);
		values[0] = Int64GetDatum(message->contact_id);
		values[1] = Int64GetDatum(message->message_id);
		set_text(state, &values[2], &nulls[2]);
		set_text(message->reason, &values[3], &nulls[3]);
		set_text(message->detail, &values[4], &nulls[4]);
		values[5] = TimestampTzGetDatum(now);
		values[10] = Int32GetDatum(message->version);
		if (message->address != NULL)
			set_text(message->address, &values[14], &nulls[14]);
		ma_write_insert(log, values, nulls);
		add_decision(decisions, sequence, now, message, state, message->gate, message->reason);
	}
	ma_write_end(log);
	ma_write_end(decisions);
}
