/*
 * gate.c
 *		The gate: may this message go now?  The one way by which anything is sent.
 *
 * One transaction, three statements (DESIGN §12):
 *
 * 1. choose: due messages and their recipients;
 * 2. lock the recipients by the hash of their address, ascending and without
 *    waiting: a busy one is passed over;
 * 3. claim, under a new snapshot, with every condition of the gate.
 *
 * Who withdraws or suppresses takes the same lock before he writes.  So when the
 * claim has the lock, a withdrawal has either committed and its snapshot sees it, or
 * waits and commits after the claim.  What cannot wait for the lock (a consent column
 * or an exit in a user's own transaction) is found by the second look: after the
 * claim's commit, before the network, the same conditions are read under a new
 * snapshot, which sees all that committed before the claim.  So commit order decides,
 * by whatever path the withdrawal came.
 *
 * A condition is SQL that gives the reason why not; they are asked in order and
 * the first reason is the verdict.  Rooms above register theirs.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker.h"

#define MAX_CHECKS 24
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

static const MaGateCheck *checks[MAX_CHECKS];
static int	nchecks = 0;

static Place *places = NULL;		/* all there are, none is passed over; urgent ones first */
static int	nplaces = 0;
static bool in_pass = false;
static TimestampTz pass_begun;
static int	left_in_pass = 0;	/* neither claimed nor turned away: it is tried again soon */
static Place chosen;			/* the last place of what was chosen last */

static void begin_pass(TimestampTz now);
static MaMessage *choose(int limit, TimestampTz now, int *n);
static MaMessage *choose_from(Place *place, int limit, TimestampTz now, int *n);
static void read_message(const MaRows *rows, uint64 row, MaMessage *message);
static void follow_merges(MaMessage *messages, int n);
static MaTopic *read_template(MaMessage *message);
static bool same_template(const MaMessage *message, const MaMessage *other);
static void follow_templates(MaMessage *messages, int n);
static int	lock_recipients(MaMessage *messages, int n);
static int	compare_locks(const void *left, const void *right);
static void look_for_waiting(MaMessage *messages, int n);
static char *verdict_sql(void);
static char *asked_sql(void);
static int	asked_values(MaMessage *messages, int n, Datum *values);
static const MaGateCheck *read_verdict(const char *verdict, char **reason);
static void claim(MaMessage *messages, int n);
static void read_claimed(const MaRows *rows, uint64 row, MaMessage *message);
static void turn_away(MaMessage *message, const MaGateCheck *check, char *reason);

/* ---- conditions ---- */

void
ma_register_gate_check(const MaGateCheck *check)
{
	if (nchecks == MAX_CHECKS)
		elog(ERROR, "cannot happen: more than %d conditions of the gate", MAX_CHECKS);
	checks[nchecks++] = check;
}

const char *
ma_gate_sql(const char *name)
{
	for (int i = 0; i < nchecks; i++)
		if (strcmp(checks[i]->name, name) == 0)
			return checks[i]->reason;
	return NULL;
}

/* Conditions of delivery itself and of consent; others follow by registration. */
void
ma_gate_init(void)
{
	static MaGateCheck own[] = {
		{"not_after", MA_GATE_EXPIRE,
		"CASE WHEN m.not_after OPERATOR(pg_catalog.<) $1 THEN 'it came too late' END"},
		/* Merged after this claim looked for that: the next one finds the other contact. */
		{"merged", MA_GATE_LEAVE,
		"CASE WHEN NOT EXISTS (SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) m.contact_id AND NOT k.excluded) "
		"AND EXISTS (SELECT FROM marketing_internal.contact_merge AS g "
		"JOIN marketing_internal.contact AS c "
		"ON c.contact_id OPERATOR(pg_catalog.=) g.contact_id "
		"WHERE g.merged_id OPERATOR(pg_catalog.=) m.contact_id AND g.split_at IS NULL "
		"AND g.contact_id OPERATOR(pg_catalog.<>) g.merged_id) "
		"THEN 'the contact has just been merged into another one' END"},
		{"contact", MA_GATE_SKIP,
		"CASE WHEN NOT EXISTS (SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) m.contact_id AND NOT k.excluded) "
		"THEN 'the contact is not there any more' END"},
		{"template", MA_GATE_SKIP,
		"CASE WHEN NOT r.has_template THEN COALESCE((SELECT 'its template is now one for ' "
		"OPERATOR(pg_catalog.||) t.channel FROM marketing_internal.template AS t "
		"WHERE t.template_id OPERATOR(pg_catalog.=) m.template_id "
		"AND t.channel OPERATOR(pg_catalog.<>) m.channel), "
		"'its template does not exist any more') END"},
		{"waiting", MA_GATE_LEAVE,
		"CASE WHEN r.waiting AND (m.topic_id OPERATOR(pg_catalog.<>) 0 "
		"OR m.enrollment_id IS NOT NULL) "
		"THEN 'changes of the contact are still being evaluated' END"},
		{"address changed", MA_GATE_LEAVE,
		"(SELECT 'the address is changing' FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"AND CASE m.channel WHEN 'email' THEN c.email WHEN 'sms' THEN c.phone "
		"WHEN 'push' THEN c.push_token END IS DISTINCT FROM r.address)"},
		{"address", MA_GATE_SKIP,
		"CASE WHEN r.address IS NULL AND m.channel OPERATOR(pg_catalog.<>) 'webhook' "
		"THEN CASE m.channel WHEN 'email' THEN 'the contact has no valid e-mail address' "
		"WHEN 'sms' THEN 'the contact has no valid phone number' "
		"ELSE 'the contact has no address for ' OPERATOR(pg_catalog.||) m.channel END END"},
		{"consent", MA_GATE_SKIP, NULL},
		{"suppression", MA_GATE_SKIP, NULL},
		{"armed", MA_GATE_DEFER,
		"CASE WHEN r.server IS NOT NULL AND NOT $2 THEN 'disarmed' END"},
	};

	for (int i = 0; i < lengthof(own); i++)
	{
		if (strcmp(own[i].name, "consent") == 0)
			own[i].reason = ma_consent_reason_sql;
		else if (strcmp(own[i].name, "suppression") == 0)
			own[i].reason = ma_suppression_reason_sql;
		ma_register_gate_check(&own[i]);
	}
}

/* The first reason as "number of the condition:reason"; null: it may go. */
static char *
verdict_sql(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "COALESCE(");
	for (int i = 0; i < nchecks; i++)
		appendStringInfo(&sql, "%s'%d:' OPERATOR(pg_catalog.||) (%s)", i > 0 ? ", " : "", i,
						 checks[i]->reason);
	appendStringInfoString(&sql, ")");
	return sql.data;
}

/* Splits it. */
static const MaGateCheck *
read_verdict(const char *verdict, char **reason)
{
	*reason = pstrdup(strchr(verdict, ':') + 1);
	return checks[atoi(verdict)];
}

/* ---- 1. choose ---- */

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

/* The next due messages of the pass, the highest priority first; full lanes are passed over. */
static MaMessage *
choose(int limit, TimestampTz now, int *n)
{
	TimestampTz clock = GetCurrentTimestamp();

	*n = 0;
	if (!in_pass || clock - pass_begun > PASS_USEC || clock < pass_begun)
		begin_pass(clock);
	for (int i = 0; i < nplaces; i++)
	{
		MaMessage  *messages;
		int			room = places[i].done ? 0 : ma_lane_room(places[i].lane);

		places[i].full |= !places[i].done && room == 0;
		if (room == 0)
			continue;
		messages = choose_from(&places[i], Min(limit, room), now, n);
		if (*n > 0)
			return messages;
		places[i].done = true;
	}
	in_pass = false;
	if (left_in_pass > 0)
		ma_worker_again_soon();
	return NULL;
}

static MaMessage *
choose_from(Place *place, int limit, TimestampTz now, int *n)
{
	static MaStatement find = {
		"SELECT m.message_id, m.contact_id, m.template_id, m.topic_id, m.channel, m.template, "
		"m.enrollment_id, m.next_at, "
		"CASE m.channel WHEN 'email' THEN c.email WHEN 'sms' THEN c.phone "
		"WHEN 'push' THEN c.push_token END "
		"FROM marketing_internal.message AS m LEFT JOIN marketing_internal.contact AS c "
		"ON c.contact_id OPERATOR(pg_catalog.=) m.contact_id "
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
		"WHEN 'push' THEN c.push_token END",
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
		message->contact_id = now;
		message->address = ma_text(&moved, 0, 1);
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
		message->lane == other->lane &&
		strcmp(message->channel, other->channel) == 0;
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

/* ---- 2. lock ---- */

static int
compare_locks(const void *left, const void *right)
{
	const MaMessage *a = left;
	const MaMessage *b = right;

	if (a->lock_key != b->lock_key)
		return a->lock_key < b->lock_key ? -1 : 1;
	return a->next_at != b->next_at ? (a->next_at < b->next_at ? -1 : 1) :
		a->message_id < b->message_id ? -1 : 1;
}

/* Puts those whose recipient is locked to the front; returns how many they are. */
static int
lock_recipients(MaMessage *messages, int n)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		if (messages[i].address == NULL)
			continue;
		messages[i].address_hash = ma_address_hash(messages[i].channel, messages[i].address);
		messages[i].lock_key = ma_recipient_lock_key(messages[i].address_hash);
	}
	qsort(messages, n, sizeof(MaMessage), compare_locks);
	for (int i = 0; i < n; i++)
	{
		bool		had = messages[i].address == NULL ||
			(count > 0 && messages[count - 1].address != NULL &&
			 messages[count - 1].lock_key == messages[i].lock_key) ||
			ma_recipient_try_lock(messages[i].lock_key);

		if (had)
			messages[count++] = messages[i];
	}
	return count;
}

/* ---- 3. claim ---- */

static void
look_for_waiting(MaMessage *messages, int n)
{
	int64	   *ids = palloc_array(int64, Max(n, 1));
	bool	   *waiting = palloc_array(bool, Max(n, 1));

	for (int i = 0; i < n; i++)
		ids[i] = messages[i].contact_id;
	ma_contacts_waiting(ids, n, waiting);
	for (int i = 0; i < n; i++)
		messages[i].waiting = waiting[i];
}

/* What is asked about, as relation r; with asked_values(). */
static char *
asked_sql(void)
{
	return "ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
		"pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), "
		"pg_catalog.unnest($9)) WITH ORDINALITY AS r (contact_id, message_id, address, "
		"address_hash, server, has_template, waiting, n)";
}

#define ASKED_ARGS 9
#define ASKED_TYPES TIMESTAMPTZOID, BOOLOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, \
	BYTEAARRAYOID, TEXTARRAYOID, BOOLARRAYOID, BOOLARRAYOID

/* Fills `values`; returns ASKED_ARGS. */
static int
asked_values(MaMessage *messages, int n, Datum *values)
{
	int64	   *contacts = palloc_array(int64, n);
	int64	   *ids = palloc_array(int64, n);
	char	  **addresses = palloc_array(char *, n);
	char	  **servers = palloc_array(char *, n);
	Datum	   *datums[3];
	bool	   *nulls = palloc_array(bool, n);

	for (int i = 0; i < lengthof(datums); i++)
		datums[i] = palloc_array(Datum, n);
	for (int i = 0; i < n; i++)
	{
		contacts[i] = messages[i].contact_id;
		ids[i] = messages[i].message_id;
		addresses[i] = messages[i].address;
		servers[i] = unconstify(char *, messages[i].server_name);
		datums[0][i] = messages[i].address_hash;
		nulls[i] = messages[i].address == NULL;
		datums[1][i] = BoolGetDatum(messages[i].has_template);
		datums[2][i] = BoolGetDatum(messages[i].waiting);
	}
	values[0] = TimestampTzGetDatum(ma_now());
	values[1] = BoolGetDatum(ma_armed());
	values[2] = ma_int8_array(contacts, n);
	values[3] = ma_int8_array(ids, n);
	values[4] = ma_text_array(addresses, n);
	values[5] = ma_datum_array_nulls(datums[0], nulls, n, BYTEAOID);
	values[6] = ma_text_array(servers, n);
	values[7] = ma_datum_array(datums[1], n, BOOLOID);
	values[8] = ma_datum_array(datums[2], n, BOOLOID);
	return ASKED_ARGS;
}

/* One statement: all conditions, and the claim of those that meet them. */
static void
claim(MaMessage *messages, int n)
{
	static MaStatement statement = {NULL, ASKED_ARGS, {ASKED_TYPES}};
	Datum		values[ASKED_ARGS];
	MaRows		rows;

	if (statement.sql == NULL)
		statement.sql = MemoryContextStrdup(TopMemoryContext, psprintf(
			"WITH v AS MATERIALIZED (SELECT r.n, m.contact_id, m.message_id, r.address, r.server, "
			"%s AS verdict FROM %s JOIN marketing_internal.message AS m "
			"ON m.contact_id OPERATOR(pg_catalog.=) r.contact_id "
			"AND m.message_id OPERATOR(pg_catalog.=) r.message_id "
			"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
			"AND m.next_at OPERATOR(pg_catalog.<=) $1), "
			"claimed AS (UPDATE marketing_internal.message AS m SET state = 'sending', "
			"reason = NULL, since = $1, address = v.address, server = v.server, "
			"attempts = m.attempts OPERATOR(pg_catalog.+) 1 FROM v "
			"WHERE m.contact_id OPERATOR(pg_catalog.=) v.contact_id "
			"AND m.message_id OPERATOR(pg_catalog.=) v.message_id AND v.verdict IS NULL "
			"AND m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
			"AND m.next_at OPERATOR(pg_catalog.<=) $1 "
			"RETURNING m.contact_id, m.message_id, m.entry, m.data, m.attempts), "
			"noted AS (INSERT INTO marketing_internal.message_decision "
			"(contact_id, message_id, decided_at, decision) "
			"SELECT contact_id, message_id, $1, 'claimed' FROM claimed) "
			"SELECT v.n, v.verdict, c.message_id IS NOT NULL, c.entry, c.data, c.attempts "
			"FROM v LEFT JOIN claimed AS c ON c.message_id OPERATOR(pg_catalog.=) v.message_id",
			verdict_sql(), asked_sql()));
	(void) asked_values(messages, n, values);
	rows = ma_run(&statement, values, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaMessage  *message = &messages[ma_int64(&rows, i, 1) - 1];
		char	   *verdict = ma_text(&rows, i, 2);
		char	   *reason;

		if (verdict != NULL)
		{
			const MaGateCheck *check = read_verdict(verdict, &reason);

			turn_away(message, check, reason);
		}
		else if (ma_bool(&rows, i, 3))
			read_claimed(&rows, i, message);
	}
}

static void
read_claimed(const MaRows *rows, uint64 row, MaMessage *message)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, 4, &isnull);

	message->claimed = true;
	message->entry = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	value = ma_value(rows, row, 5, &isnull);
	message->data = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	message->attempts = ma_int32(rows, row, 6);
}

/* What becomes of a message that may not go; one that is left stays as it is. */
static void
turn_away(MaMessage *message, const MaGateCheck *check, char *reason)
{
	message->gate = check->name;
	message->reason = reason;
	switch (check->action)
	{
		case MA_GATE_SKIP:
			message->becomes = MA_MESSAGE_SKIPPED;
			break;
		case MA_GATE_EXPIRE:
			message->becomes = MA_MESSAGE_EXPIRED;
			break;
		case MA_GATE_DEFER:
			message->becomes = MA_MESSAGE_DEFERRED;
			break;
		case MA_GATE_LEAVE:
			message->becomes = MA_MESSAGE_QUEUED;
			break;
	}
}

MaMessage *
ma_gate_claim(int limit, int *n, bool *more)
{
	MaMessage  *messages;
	MaMessage **away;
	int			locked;
	int			naway = 0;
	int			count;
	int			chosen_now;

	ma_lanes_begin();
	messages = choose(limit, ma_now(), &count);
	*n = 0;
	*more = count > 0;
	if (count == 0)
		return NULL;
	away = palloc_array(MaMessage *, count);
	follow_merges(messages, count);
	follow_templates(messages, count);
	chosen_now = count;
	count = ma_lanes_route(messages, count, away, &naway);
	locked = lock_recipients(messages, count);
	if (locked > 0)
	{
		look_for_waiting(messages, locked);
		claim(messages, locked);
	}
	for (int i = 0; i < locked; i++)
		if (!messages[i].claimed && messages[i].gate != NULL &&
			messages[i].becomes != MA_MESSAGE_QUEUED)
		{
			away[naway] = palloc_object(MaMessage);
			*away[naway++] = messages[i];
		}
	ma_settle(away, naway);
	for (int i = 0; i < locked; i++)
		if (messages[i].claimed)
			messages[(*n)++] = messages[i];
	left_in_pass += chosen_now - *n - naway;
	return messages;
}

/* ---- the second look ---- */

int
ma_gate_recheck(MaMessage *messages, int n)
{
	static MaStatement statement = {NULL, ASKED_ARGS, {ASKED_TYPES}};
	MaMessage **away = palloc_array(MaMessage *, Max(n, 1));
	bool	   *out = palloc0_array(bool, Max(n, 1));
	Datum		values[ASKED_ARGS];
	MaRows		rows;
	int			naway = 0;
	int			count = 0;

	if (n == 0)
		return 0;
	look_for_waiting(messages, n);
	if (statement.sql == NULL)
		statement.sql = MemoryContextStrdup(TopMemoryContext, psprintf(
			"SELECT v.n, v.verdict FROM (SELECT r.n, %s AS verdict FROM %s "
			"JOIN marketing_internal.message AS m "
			"ON m.contact_id OPERATOR(pg_catalog.=) r.contact_id "
			"AND m.message_id OPERATOR(pg_catalog.=) r.message_id) AS v "
			"WHERE v.verdict IS NOT NULL", verdict_sql(), asked_sql()));
	(void) asked_values(messages, n, values);
	rows = ma_run(&statement, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		int			place = ma_int64(&rows, i, 1) - 1;
		MaMessage  *message = palloc_object(MaMessage);
		char	   *reason;
		const MaGateCheck *check = read_verdict(ma_text(&rows, i, 2), &reason);

		*message = messages[place];
		message->gate = check->name;
		message->reason = reason;
		/* The next claim decides what becomes of it. */
		message->becomes = MA_MESSAGE_QUEUED;
		out[place] = true;
		away[naway++] = message;
	}
	ma_settle(away, naway);
	for (int i = 0; i < n; i++)
		if (!out[i])
			messages[count++] = messages[i];
	return count;
}

/* ---- asked by a person ---- */

MaGateVerdict *
ma_gate_ask(int64 contact_id, int64 message_id)
{
	static MaStatement find = {
		"SELECT m.message_id, m.contact_id, m.template_id, m.topic_id, m.channel, m.template, "
		"m.enrollment_id, m.next_at, CASE m.channel WHEN 'email' THEN c.email "
		"WHEN 'sms' THEN c.phone WHEN 'push' THEN c.push_token END "
		"FROM marketing_internal.message AS m LEFT JOIN marketing_internal.contact AS c "
		"ON c.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $1 AND m.message_id OPERATOR(pg_catalog.=) $2",
		2, {INT8OID, INT8OID}
	};
	Oid			types[ASKED_ARGS] = {ASKED_TYPES};
	MaMessage	message = {0};
	Datum		values[ASKED_ARGS];
	MaRows		rows;
	MaGateVerdict *verdict = palloc0_object(MaGateVerdict);
	const MaGateCheck *check;
	char	   *text;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(message_id);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return NULL;
	read_message(&rows, 0, &message);
	(void) read_template(&message);
	if (message.sender->nroutes > 0)
		message.server_name = message.sender->routes[0].server;
	if (message.address != NULL)
		message.address_hash = ma_address_hash(message.channel, message.address);
	look_for_waiting(&message, 1);
	(void) asked_values(&message, 1, values);
	rows = ma_run_once(psprintf("SELECT %s FROM %s JOIN marketing_internal.message AS m "
								"ON m.contact_id OPERATOR(pg_catalog.=) r.contact_id "
								"AND m.message_id OPERATOR(pg_catalog.=) r.message_id",
								verdict_sql(), asked_sql()),
					   ASKED_ARGS, types, values, NULL, MA_RUN_READ_LATEST);
	text = rows.n == 0 ? NULL : ma_text(&rows, 0, 1);
	if (text == NULL)
		return NULL;
	check = read_verdict(text, &verdict->reason);
	verdict->gate = check->name;
	verdict->action = check->action;
	return verdict;
}
