/*
 * choose.c
 *		Which messages come to the gate next: those that are due, the most important first.
 *
 * What was asked for some time ago may have changed since: contacts were merged,
 * templates got another topic, channel or sender.  It is followed here.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/gate/gate.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define LOOK_BACK 8				/* messages before one that may be of the same template */
#define PASS_USEC (1000 * 1000) /* a pass over the queue that takes longer begins anew */
#define FULL_PASS_USEC (5 * PASS_USEC)	/* likewise of a lane that is full in between */

/* Where the pass over the queue stands, for each lane and priority. */
typedef struct Place
{
	int32		lane;
	int32		priority;
	TimestampTz next_at;
	int64		message_id;
	bool		done;
	bool		full;			/* its lane could take no more */
	TimestampTz begun;
} Place;

static Place *places = NULL;		/* all there are, none is passed over; urgent ones first */
static int	nplaces = 0;
static bool in_pass = false;
static TimestampTz pass_begun;
static int	left_in_pass = 0;	/* neither claimed nor turned away: it is tried again soon */
static Place chosen;			/* the last place of what was chosen last */
static int32 last_lane = -1;	/* whose turn it was; known when that has been committed */

/* Columns of read_message(); m, the message, and c, its contact. */
#define MESSAGE_COLUMNS \
	"m.message_id, m.contact_id, m.template_id, m.topic_id, m.channel, m.template, " \
	"m.enrollment_id, m.next_at, CASE WHEN m.test_for IS NOT NULL THEN m.address ELSE " \
	"CASE m.channel WHEN 'email' THEN c.email WHEN 'sms' THEN c.phone " \
	"WHEN 'push' THEN c.push_token END END, m.priority, m.not_after, c.time_zone, m.test_for, " \
	"m.journey, m.crashes " \
	"FROM marketing_internal.message AS m LEFT JOIN marketing_internal.contact AS c " \
	"ON c.contact_id OPERATOR(pg_catalog.=) m.contact_id "

static void begin_pass(TimestampTz now);
static MaMessage *look_at(Place *place, int limit, TimestampTz now, int *n);
static MaMessage *choose_from(Place *place, int limit, TimestampTz now, int *n);
static void read_message(const MaRows *rows, uint64 row, MaMessage *message);
static void follow_merges(MaMessage *messages, int n);
static MaTopic *read_template(MaMessage *message);
static bool same_template(const MaMessage *message, const MaMessage *other);
static void follow_templates(MaMessage *messages, int n);

void
ma_gate_restart(void)
{
	in_pass = false;
	for (int i = 0; i < nplaces; i++)
		places[i].full = false;
}

/* After an error, however long the pause it brought about. */
void
ma_gate_resume(void)
{
	pass_begun = GetCurrentTimestamp();
}

/* What has been left stays behind the pass; what made an error is passed over likewise. */
void
ma_gate_pass_over(void)
{
	last_lane = chosen.lane;
	for (int i = 0; i < nplaces; i++)
		if (in_pass && places[i].priority == chosen.priority && places[i].lane == chosen.lane)
			places[i] = chosen;
}

static void
begin_pass(TimestampTz now)
{
	static MaStatement priorities = {
		MA_PRIORITIES_SQL "SELECT lane, priority FROM p ORDER BY priority DESC, lane",
		0
	};
	MaRows		rows = ma_run(&priorities, NULL, NULL, MA_RUN_READ_LATEST);
	Place	   *old = places;
	int			nold = nplaces;

	nplaces = 0;
	places = NULL;
	places = MemoryContextAllocZero(TopMemoryContext, sizeof(Place) * Max(rows.n, 1));
	nplaces = rows.n;
	for (int i = 0; i < nplaces; i++)
	{
		places[i].lane = ma_int32(&rows, i, 1);
		places[i].priority = ma_int32(&rows, i, 2);
		places[i].next_at = DT_NOBEGIN;
		places[i].message_id = 0;
		places[i].done = false;
		places[i].begun = now;
		/* What was looked at in vain in a lane that was full then need not be again. */
		for (int j = 0; j < nold; j++)
			if (old[j].lane == places[i].lane && old[j].priority == places[i].priority &&
				old[j].full && !old[j].done && now - old[j].begun < FULL_PASS_USEC)
				places[i] = old[j];
		places[i].full = false;
	}
	if (old != NULL)
		pfree(old);
	in_pass = true;
	left_in_pass = 0;
	pass_begun = now;
}

/* The most urgent first; of equal ones the lanes in turn: a long one keeps back no other. */
MaMessage *
ma_gate_choose(int limit, TimestampTz now, int *n)
{
	TimestampTz clock = GetCurrentTimestamp();
	int			end;

	*n = 0;
	if (!in_pass || clock - pass_begun > PASS_USEC || clock < pass_begun)
		begin_pass(clock);
	for (int begin = 0; begin < nplaces; begin = end)
	{
		int			first;

		for (end = begin; end < nplaces && places[end].priority == places[begin].priority;)
			end++;
		for (first = begin; first < end && places[first].lane <= last_lane;)
			first++;
		for (int i = 0; i < end - begin; i++)
		{
			Place	   *place = &places[begin + (first - begin + i) % (end - begin)];
			MaMessage  *messages = look_at(place, limit, now, n);

			if (*n > 0)
				return messages;
		}
	}
	in_pass = false;
	if (left_in_pass > 0)
		ma_worker_again_soon();
	return NULL;
}

/* The next ones of a place, if its lane has room; without any it is done for this pass. */
static MaMessage *
look_at(Place *place, int limit, TimestampTz now, int *n)
{
	int			room = place->done ? 0 : ma_lane_room(place->lane);
	MaMessage  *messages;

	place->full |= !place->done && room == 0;
	if (room == 0)
		return NULL;
	messages = choose_from(place, Min(limit, room), now, n);
	place->done = *n == 0;
	if (*n > 0)
	{
		follow_merges(messages, *n);
		follow_templates(messages, *n);
	}
	return messages;
}

static MaMessage *
choose_from(Place *place, int limit, TimestampTz now, int *n)
{
	static MaStatement find = {
		"SELECT " MESSAGE_COLUMNS
		"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
		"AND m.priority OPERATOR(pg_catalog.=) $1 AND m.next_at OPERATOR(pg_catalog.<=) $2 "
		"AND ROW(m.next_at, m.message_id) OPERATOR(pg_catalog.>) ROW($3, $4) "
		"AND m.lane OPERATOR(pg_catalog.=) $6 "
		"ORDER BY m.next_at, m.message_id LIMIT $5",
		6, {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID, INT4OID}
	};
	Datum		values[6];
	MaRows		rows;
	MaMessage  *messages;

	values[0] = Int32GetDatum(place->priority);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(place->next_at);
	values[3] = Int64GetDatum(place->message_id);
	values[4] = Int32GetDatum(limit);
	values[5] = Int32GetDatum(place->lane);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	*n = rows.n;
	if (*n == 0)
		return NULL;
	messages = palloc0_array(MaMessage, *n);
	for (int i = 0; i < *n; i++)
	{
		read_message(&rows, i, &messages[i]);
		messages[i].lane = place->lane;
	}
	chosen = *place;
	chosen.next_at = messages[*n - 1].next_at;
	chosen.message_id = messages[*n - 1].message_id;
	return messages;
}

static void
read_message(const MaRows *rows, uint64 row, MaMessage *message)
{
	bool		isnull;

	message->message_id = ma_int64(rows, row, 1);
	message->contact_id = ma_int64(rows, row, 2);
	message->template_id = ma_int32(rows, row, 3);
	message->topic_id = ma_int32(rows, row, 4);
	message->channel = ma_text(rows, row, 5);
	message->template_name = ma_text(rows, row, 6);
	message->enrollment_id = ma_int64(rows, row, 7);
	message->next_at = DatumGetTimestampTz(ma_value(rows, row, 8, &isnull));
	message->address = ma_text(rows, row, 9);
	message->priority = ma_int32(rows, row, 10);
	message->not_after = DatumGetTimestampTz(ma_value(rows, row, 11, &isnull));
	if (isnull)
		message->not_after = DT_NOEND;
	message->time_zone = ma_text(rows, row, 12);
	message->test_for = ma_int64(rows, row, 13);
	message->journey = ma_text(rows, row, 14);
	message->crashes = ma_int32(rows, row, 15);
}

/* A message of a contact that was merged into another one is that one's. */
static void
follow_merges(MaMessage *messages, int n)
{
	static MaStatement merged = {
		"SELECT u.n, t.merged_id FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) "
		"CROSS JOIN LATERAL (SELECT m.merged_id FROM marketing_internal.contact_merge AS m "
		"WHERE m.merged_id OPERATOR(pg_catalog.=) u.contact_id AND m.split_at IS NULL "
		"AND m.contact_id OPERATOR(pg_catalog.<>) m.merged_id LIMIT 1) AS t",
		1, {INT8ARRAYOID}
	};
	static MaStatement move = {
		"UPDATE marketing_internal.message AS m SET contact_id = $3 "
		"FROM marketing_internal.contact AS c "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $1 AND m.message_id OPERATOR(pg_catalog.=) $2 "
		"AND c.contact_id OPERATOR(pg_catalog.=) $3 "
		"RETURNING CASE m.channel WHEN 'email' THEN c.email WHEN 'sms' THEN c.phone "
		"WHEN 'push' THEN c.push_token END, c.time_zone",
		3, {INT8OID, INT8OID, INT8OID}
	};
	int64	   *ids = palloc_array(int64, n);
	Datum		values[3];
	MaRows		found;

	for (int i = 0; i < n; i++)
		ids[i] = messages[i].contact_id;
	values[0] = ma_int8_array(ids, n);
	found = ma_run(&merged, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < found.n; i++)
	{
		MaMessage  *message = &messages[ma_int64(&found, i, 1) - 1];
		int64		now = ma_contact_now(message->contact_id);
		MaRows		moved;

		values[0] = Int64GetDatum(message->contact_id);
		values[1] = Int64GetDatum(message->message_id);
		values[2] = Int64GetDatum(now);
		moved = ma_run(&move, values, NULL, MA_RUN_WRITE_LATEST);
		if (moved.n == 0)
			continue;
		/* It may have been tried, and shown them, before the merge. */
		ma_coupons_move(message->contact_id, now, message->message_id);
		message->contact_id = now;
		message->address = ma_text(&moved, 0, 1);
		message->time_zone = ma_text(&moved, 0, 2);
	}
}

/* What the template says now: whether it is still one for the message, and who sends it. */
static MaTopic *
read_template(MaMessage *message)
{
	MaTemplate *template = ma_template_by_id(message->template_id);
	MaTopic    *topic = template ? ma_topic_by_name(template->topic) : NULL;

	message->has_template = topic != NULL && strcmp(template->channel, message->channel) == 0;
	message->sender = ma_sender_for(message->channel, template ? template->sender : NULL);
	return topic;
}

/* True if what was read of the template for one message holds for the other. */
static bool
same_template(const MaMessage *message, const MaMessage *other)
{
	return message->template_id == other->template_id && message->topic_id == other->topic_id &&
		message->lane == other->lane && strcmp(message->channel, other->channel) == 0;
}

/* Topic, channel and sender may have been redefined since the messages were asked for. */
static void
follow_templates(MaMessage *messages, int n)
{
	static MaStatement change = {
		"UPDATE marketing_internal.message SET topic_id = $3, lane = $4 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND message_id OPERATOR(pg_catalog.=) $2",
		4, {INT8OID, INT8OID, INT4OID, INT4OID}
	};

	for (int i = 0; i < n; i++)
	{
		MaMessage  *message = &messages[i];
		MaTopic    *topic;
		Datum		values[4];
		int			same = i - 1;

		while (same >= 0 && same >= i - LOOK_BACK && !same_template(message, &messages[same]))
			same--;
		if (same >= 0 && same >= i - LOOK_BACK)
		{
			message->has_template = messages[same].has_template;
			message->sender = messages[same].sender;
			continue;
		}
		topic = read_template(message);
		if (!message->has_template ||
			(topic->id == message->topic_id && message->sender->sender_id == message->lane))
			continue;
		values[0] = Int64GetDatum(message->contact_id);
		values[1] = Int64GetDatum(message->message_id);
		values[2] = Int32GetDatum(topic->id);
		values[3] = Int32GetDatum(message->sender->sender_id);
		(void) ma_run(&change, values, NULL, MA_RUN_WRITE_LATEST);
		message->lane = message->sender->sender_id;
		message->topic_id = topic->id;
	}
}

void
ma_gate_left(int n)
{
	left_in_pass += n;
}

bool
ma_gate_read(int64 contact_id, int64 message_id, MaMessage *message)
{
	static MaStatement find = {
		"SELECT " MESSAGE_COLUMNS
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $1 AND m.message_id OPERATOR(pg_catalog.=) $2",
		2, {INT8OID, INT8OID}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(message_id);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return false;
	memset(message, 0, sizeof(*message));
	read_message(&rows, 0, message);
	(void) read_template(message);
	return true;
}
