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
 * by whatever path the withdrawal came.  If no transaction at all has ended since the
 * claim began to read but the claim's own, and that has changed nothing behind the claim,
 * there is nothing new to be seen, and only time is looked at.
 *
 * Conditions are SQL (checks.c).  Caps need more than one message at a time
 * (limits.c): where there are any, the batch is asked first, those that pass get
 * places under the locks of their contacts too, and the claim asks again.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "delivery/gate/gate.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Transactions that had ended before the last claim began; 0: the second look is to read. */
static uint64 ended_before = 0;

static int	lock_recipients(MaMessage *messages, int n);
static bool lock_contact(int64 contact_id);
static int	compare_locks(const void *left, const void *right);
static int	compare_ages(const void *left, const void *right);
static void look_for_waiting(MaMessage *messages, int n);
static int	ask(MaMessage **messages, int n);
static List *limit_batch(MaMessage **messages, int *n);
static void claim(MaMessage **messages, int n);
static void read_claimed(const MaRows *rows, uint64 row, MaMessage *message);
static void turn_away(MaMessage *message, const MaGateCheck *check, char *reason);
static bool give_back(MaMessage *messages, int n, MaMessage **asked, int nasked);
static bool nothing_has_changed(const MaMessage *messages, int n);
static void read_verdicts(MaMessage *messages, MaMessage **asked, int n, bool *found);
static int	settle_away(MaMessage *messages, int n, MaMessage **away, int naway,
						List *displaced);

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


/*
 * Those of one contact are claimed by one transaction at a time where caps count them,
 * whatever their channels.  The lock is one of the recipients', under a number of the contact.
 */
static bool
lock_contact(int64 contact_id)
{
	return ma_recipient_try_lock(hash_bytes_extended((const unsigned char *) &contact_id,
													 sizeof(contact_id), 0));
}

/* Puts those whose recipient is locked to the front; returns how many they are. */
static int
lock_recipients(MaMessage *messages, int n)
{
	bool		caps = ma_gate_has_caps();
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

		if (had && (!caps || lock_contact(messages[i].contact_id)))
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

/* Turns away who does not pass the conditions; the others, and only they, are put in front. */
static int
ask(MaMessage **messages, int n)
{
	static MaStatement statement = {NULL, MA_ASKED_ARGS, {MA_ASKED_TYPES}};
	Datum		values[MA_ASKED_ARGS];
	MaRows		rows;
	int			count = 0;

	if (statement.sql == NULL)
		statement.sql = MemoryContextStrdup(TopMemoryContext, psprintf(
			"SELECT r.n, %s FROM %s "
			"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
			"AND m.next_at OPERATOR(pg_catalog.<=) $1 ORDER BY r.n",
			ma_gate_verdict_sql(), ma_gate_asked_sql()));
	ma_gate_asked_values(messages, n, values);
	rows = ma_run(&statement, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaMessage  *message = messages[ma_int64(&rows, i, 1) - 1];
		char	   *verdict = ma_text(&rows, i, 2);
		char	   *reason;

		/* In the order of the batch: a place is never behind the one that is read. */
		if (verdict == NULL)
			messages[count++] = message;
		else
		{
			const MaGateCheck *check = ma_gate_read_verdict(verdict, &reason);

			turn_away(message, check, reason);
		}
	}
	return count;
}

/* By the time they were due, for pointers to messages. */
static int
compare_ages(const void *left, const void *right)
{
	const MaMessage *a = *(MaMessage *const *) left;
	const MaMessage *b = *(MaMessage *const *) right;

	if (a->next_at != b->next_at)
		return a->next_at < b->next_at ? -1 : 1;
	return a->message_id < b->message_id ? -1 : 1;
}

/*
 * Caps and quiet hours: who is left, and who is displaced by them.  The locks were taken
 * in another order than that in which places are given.
 */
static List *
limit_batch(MaMessage **messages, int *n)
{
	List	   *displaced;
	int			count = 0;

	qsort(messages, *n, sizeof(MaMessage *), compare_ages);
	*n = ask(messages, *n);
	displaced = ma_gate_limit(messages, *n, ma_now());
	for (int i = 0; i < *n; i++)
		if (messages[i]->gate == NULL)
			messages[count++] = messages[i];
	*n = count;
	return displaced;
}

/* One statement: all conditions, and the claim of those that meet them. */
static void
claim(MaMessage **messages, int n)
{
	static MaStatement statement = {NULL, MA_ASKED_ARGS, {MA_ASKED_TYPES}};
	Datum		values[MA_ASKED_ARGS];
	MaRows		rows;

	if (statement.sql == NULL)
		statement.sql = MemoryContextStrdup(TopMemoryContext, psprintf(
			"WITH v AS MATERIALIZED (SELECT r.n, m.contact_id, m.message_id, r.address, r.server, "
			"%s AS verdict FROM %s "
			"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
			"AND m.next_at OPERATOR(pg_catalog.<=) $1), "
			"claimed AS (UPDATE marketing_internal.message AS m SET state = 'sending', "
			"reason = NULL, since = $1, address = v.address, server = v.server, "
			"attempts = m.attempts OPERATOR(pg_catalog.+) 1 FROM v "
			"WHERE m.contact_id OPERATOR(pg_catalog.=) v.contact_id "
			"AND m.message_id OPERATOR(pg_catalog.=) v.message_id AND v.verdict IS NULL "
			"AND CASE WHEN m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
			"THEN m.next_at OPERATOR(pg_catalog.<=) $1 END "
			"RETURNING v.n, m.entry, m.data, m.attempts) "
			"SELECT v.n, v.verdict, NULL, NULL, NULL FROM v WHERE v.verdict IS NOT NULL "
			"UNION ALL SELECT c.n, NULL, c.entry, c.data, c.attempts FROM claimed AS c",
			ma_gate_verdict_sql(), ma_gate_asked_sql()));
	ma_gate_asked_values(messages, n, values);
	rows = ma_run(&statement, values, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaMessage  *message = messages[ma_int64(&rows, i, 1) - 1];
		char	   *verdict = ma_text(&rows, i, 2);
		char	   *reason;

		if (verdict != NULL)
		{
			const MaGateCheck *check = ma_gate_read_verdict(verdict, &reason);

			turn_away(message, check, reason);
		}
		else
			read_claimed(&rows, i, message);
	}
	ma_history_claimed(messages, n);
}

static void
read_claimed(const MaRows *rows, uint64 row, MaMessage *message)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, 3, &isnull);

	message->claimed = true;
	message->entry = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	value = ma_value(rows, row, 4, &isnull);
	message->data = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	message->attempts = ma_int32(rows, row, 5);
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

/*
 * Who got a place and could not be claimed after all, since something has changed in
 * between, has taken it from nobody: those without a place are asked again.  True if so.
 */
static bool
give_back(MaMessage *messages, int n, MaMessage **asked, int nasked)
{
	bool		lost = false;

	for (int i = 0; i < nasked; i++)
		lost |= !asked[i]->claimed;
	for (int i = 0; i < n && lost; i++)
		if (messages[i].gate != NULL && strcmp(messages[i].gate, MA_GATE_CAP) == 0)
			messages[i].becomes = MA_MESSAGE_QUEUED;
	return lost;
}

/*
 * Settles those that were turned away for good, or for some time: those in `away` and
 * more of `messages`, and besides who was displaced.  Returns how many the former are.
 */
static int
settle_away(MaMessage *messages, int n, MaMessage **away, int naway, List *displaced)
{
	MaMessage **all = palloc_array(MaMessage *, Max(n + naway + list_length(displaced), 1));
	int			count;
	ListCell   *cell;

	memcpy(all, away, sizeof(MaMessage *) * naway);
	for (int i = 0; i < n; i++)
		if (!messages[i].claimed && messages[i].gate != NULL &&
			messages[i].becomes != MA_MESSAGE_QUEUED)
		{
			all[naway] = palloc_object(MaMessage);
			*all[naway++] = messages[i];
		}
	count = naway;
	foreach(cell, displaced)
		all[count++] = lfirst(cell);
	ma_settle(all, count);
	if (count > 0)
		ma_gate_look_again();
	return naway;
}

MaMessage *
ma_gate_claim(int limit, int *n, bool *more)
{
	MaMessage  *messages;
	MaMessage **asked;
	MaMessage **away;
	List	   *displaced = NIL;
	int			locked;
	int			nasked;
	int			naway = 0;
	int			chosen;
	int			count;

	/* Before anything is read: what ends from now on may have been missed by some of it. */
	ended_before = GetLatestSnapshot()->snapXactCompletionCount;
	ma_lanes_begin();
	messages = ma_gate_choose(limit, ma_now(), &chosen);
	*n = 0;
	*more = chosen > 0;
	if (chosen == 0)
		return NULL;
	away = palloc_array(MaMessage *, chosen);
	count = ma_lanes_route(messages, chosen, away, &naway);
	locked = lock_recipients(messages, count);
	asked = palloc_array(MaMessage *, Max(count, 1));
	for (nasked = 0; nasked < locked; nasked++)
		asked[nasked] = &messages[nasked];
	if (locked > 0)
	{
		look_for_waiting(messages, locked);
		if (ma_gate_has_limits())
			displaced = limit_batch(asked, &nasked);
		if (nasked > 0)
			claim(asked, nasked);
		if (give_back(messages, locked, asked, nasked))
			displaced = NIL;
	}
	naway = settle_away(messages, locked, away, naway, displaced);
	for (int i = 0; i < locked; i++)
		if (messages[i].claimed)
			messages[(*n)++] = messages[i];
	ma_gate_left(chosen - *n - naway);
	return messages;
}

/* ---- the second look ---- */

void
ma_gate_look_again(void)
{
	ended_before = 0;
}

/* True if all is as the claim of these messages saw it. */
static bool
nothing_has_changed(const MaMessage *messages, int n)
{
	TimestampTz now = ma_now();

	if (ended_before == 0 ||
		GetLatestSnapshot()->snapXactCompletionCount != ended_before + 1)
		return false;
	for (int i = 0; i < n; i++)
		if (messages[i].not_after < now)
			return false;
	return true;
}

/* The verdicts of now; what is not found was erased with its contact. */
static void
read_verdicts(MaMessage *messages, MaMessage **asked, int n, bool *found)
{
	static MaStatement statement = {NULL, MA_ASKED_ARGS, {MA_ASKED_TYPES}};
	Datum		values[MA_ASKED_ARGS];
	MaRows		rows;

	look_for_waiting(messages, n);
	if (statement.sql == NULL)
		statement.sql = MemoryContextStrdup(TopMemoryContext, psprintf(
			"SELECT r.n, %s FROM %s",
			ma_gate_verdict_sql(), ma_gate_asked_sql()));
	ma_gate_asked_values(asked, n, values);
	rows = ma_run(&statement, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		int			place = ma_int64(&rows, i, 1) - 1;
		char	   *verdict = ma_text(&rows, i, 2);

		found[place] = true;
		if (verdict != NULL)
			messages[place].gate = ma_gate_read_verdict(verdict, &messages[place].reason)->name;
	}
}

int
ma_gate_recheck(MaMessage *messages, int n)
{
	MaMessage **asked = palloc_array(MaMessage *, Max(n, 1));
	MaMessage **away = palloc_array(MaMessage *, Max(n, 1));
	bool	   *found = palloc0_array(bool, Max(n, 1));
	int			naway = 0;
	int			count = 0;

	for (int i = 0; i < n; i++)
		asked[i] = &messages[i];
	if (nothing_has_changed(messages, n))
		memset(found, true, sizeof(bool) * n);
	else
		read_verdicts(messages, asked, n, found);
	ma_gate_limit_quiet(asked, n, ma_now());
	for (int i = 0; i < n; i++)
	{
		/* It is not sent, and nothing is told. */
		if (!found[i])
			continue;
		if (messages[i].gate == NULL)
		{
			messages[count++] = messages[i];
			continue;
		}
		away[naway] = palloc_object(MaMessage);
		*away[naway] = messages[i];
		/* The next claim decides what becomes of it; this one was no attempt. */
		away[naway]->untried = true;
		away[naway++]->becomes = MA_MESSAGE_QUEUED;
	}
	ma_settle(away, naway);
	return count;
}

/* ---- asked by a person ---- */

MaGateVerdict *
ma_gate_ask(int64 contact_id, int64 message_id)
{
	Oid			types[MA_ASKED_ARGS] = {MA_ASKED_TYPES};
	MaMessage	message;
	MaMessage  *asked[1] = {&message};
	Datum		values[MA_ASKED_ARGS];
	MaRows		rows;
	MaGateVerdict *verdict = palloc0_object(MaGateVerdict);
	const MaGateCheck *check;
	char	   *text;

	if (!ma_gate_read(contact_id, message_id, &message))
		return NULL;
	if (message.sender->nroutes > 0)
		message.server_name = message.sender->routes[0].server;
	if (message.address != NULL)
		message.address_hash = ma_address_hash(message.channel, message.address);
	look_for_waiting(&message, 1);
	ma_gate_asked_values(asked, 1, values);
	rows = ma_run_once(psprintf("SELECT %s FROM %s", ma_gate_verdict_sql(), ma_gate_asked_sql()),
					   MA_ASKED_ARGS, types, values, NULL, MA_RUN_READ_LATEST);
	text = rows.n == 0 ? NULL : ma_text(&rows, 0, 1);
	if (text != NULL)
	{
		check = ma_gate_read_verdict(text, &verdict->reason);
		verdict->gate = check->name;
		verdict->action = check->action;
		return verdict;
	}
	(void) ma_gate_limit(asked, 1, ma_now());
	if (message.gate == NULL)
		return NULL;
	verdict->gate = message.gate;
	verdict->reason = message.reason;
	verdict->action = message.becomes == MA_MESSAGE_SKIPPED ? MA_GATE_SKIP : MA_GATE_DEFER;
	verdict->next_try = message.next_try;
	return verdict;
}
