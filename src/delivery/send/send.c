/*
 * send.c
 *		Messages outside of the database: handed to a transport, under way, and what
 *		became of them.
 *
 * The spool is done when it returns.  What goes over a network is under way for as long
 * as its server takes, so it only begins here; the delivery worker's wait looks at the
 * sockets (MaPump), and a tick comes to settle what has finished: 20 ms after the first
 * one or when there are 32; where there is a journal, which knows of them if the process dies,
 * half of what is under way.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"
#include "worker/worker.h"

#define MAX_TRANSPORTS 8
#define MAX_ATTEMPTS 12
#define RETRY_MIN 60			/* seconds, doubled each time */
#define RETRY_MAX (6 * 3600)
#define SETTLE_MS 20			/* so long a finished message waits for others */
#define SETTLE_MANY 32
#define SETTLE_JOURNAL_MS 100
#define ASK_MS 100				/* a tick that could not come is asked for again */
#define END_MS 3000				/* after that what is in the midst of something is in doubt */

/* The memory of messages that were claimed together. */
typedef struct Claimed
{
	MemoryContext context;
	int			holders;
} Claimed;

static const MaTransport *transports[MAX_TRANSPORTS];
static int	ntransports = 0;
static const MaNetwork *network = NULL;
static MaMessage **flying = NULL;	/* under way or finished, not settled */
static int	nflying = 0;
static int	flying_size = 0;
static int	nfinished = 0;
static int	nstuck = 0;			/* of them, could not be settled: they are with the next poll */
static bool settles = false;	/* the tick that goes on does */
static int64 finished_at = 0;	/* the first of the others */
static int64 ending_at = 0;
static int64 asked_at = 0;		/* when a tick was asked for; 0: it has come */

static const MaTransport *transport_for(const MaMessage *message);
static void add_flying(MaMessage *message, Claimed *claimed);
static void write_down(const MaOutgoing *message);
static void judge(MaMessage *message);
static int	pump_file(void);
static int	settle_many(void);
static int	settle_ms(void);
static bool settling_is_due(void);
static long pump_timeout(void);
static bool pump_run(void);

static const MaPump pump = {pump_file, pump_timeout, pump_run};

void
ma_transport_add(const MaTransport *transport)
{
	if (ntransports == MAX_TRANSPORTS)
		elog(ERROR, "cannot happen: more than %d transports", MAX_TRANSPORTS);
	transports[ntransports++] = transport;
}

void
ma_network_set(const MaNetwork *what)
{
	network = what;
	ma_worker_set_pump(&pump);
}

bool
ma_transport_serves(int kind)
{
	for (int i = 0; i < ntransports; i++)
		if (transports[i]->kind == kind)
			return true;
	return false;
}

static const MaTransport *
transport_for(const MaMessage *message)
{
	int			kind = message->server == NULL ? -1 : (int) message->options->kind;

	for (int i = 0; i < ntransports; i++)
		if (transports[i]->kind == kind)
			return transports[i];
	return NULL;
}

static void
add_flying(MaMessage *message, Claimed *claimed)
{
	if (nflying == flying_size)
	{
		flying_size = Max(flying_size * 2, 64);
		flying = flying == NULL ?
			MemoryContextAlloc(TopMemoryContext, sizeof(MaMessage *) * flying_size) :
			repalloc(flying, sizeof(MaMessage *) * flying_size);
	}
	message->claimed_with = claimed;
	message->outgoing.context = claimed->context;
	claimed->holders++;
	flying[nflying++] = message;
	ma_lane_started(message);
}

/* No transaction is open here. */
void
ma_send(MemoryContext context, MaMessage *messages, int n)
{
	MemoryContext previous = MemoryContextSwitchTo(context);
	Claimed    *claimed = palloc0_object(Claimed);
	int			first = nflying;

	claimed->context = context;
	for (int i = 0; i < n; i++)
		add_flying(&messages[i], claimed);
	for (int t = 0; t < ntransports; t++)
	{
		MaOutgoing **mine = palloc_array(MaOutgoing *, n);
		int			count = 0;

		for (int i = first; i < first + n; i++)
			if (transport_for(flying[i]) == transports[t])
				mine[count++] = &flying[i]->outgoing;
		if (count > 0 && transports[t]->send != NULL)
		{
			transports[t]->send(mine, count);
			for (int i = 0; i < count; i++)
				ma_message_finished(mine[i]);
		}
		for (int i = 0; i < count && transports[t]->begin != NULL; i++)
			transports[t]->begin(mine[i]);
	}
	for (int i = first; i < first + n; i++)
		if (transport_for(flying[i]) == NULL)
			ma_message_finished(&flying[i]->outgoing);
	MemoryContextSwitchTo(previous);
}

/*
 * What is known is known also to who takes over, unless a template has yet to say what
 * the answer means.
 */
static void
write_down(const MaOutgoing *message)
{
	if (message->outcome == MA_OUTCOME_UNKNOWN ||
		(message->status != 0 && message->options->response != NULL))
		return;
	if (message->outcome == MA_OUTCOME_SENT)
		ma_journal_set(message->message_id, MA_PHASE_SENT, message->answer);
	else
		ma_journal_set(message->message_id, MA_PHASE_CLAIMED, NULL);
}

void
ma_message_begun(MaOutgoing *message)
{
	ma_journal_set(message->message_id, MA_PHASE_BEGUN, NULL);
}

void
ma_message_handed(MaOutgoing *message)
{
	ma_journal_set(message->message_id, MA_PHASE_HANDED, NULL);
}

void
ma_message_finished(MaOutgoing *message)
{
	if (message->finished)
		return;
	message->finished = true;
	write_down(message);
	if (nfinished++ == nstuck)
		finished_at = ma_monotonic_ms();
}

bool
ma_send_busy(void)
{
	return nflying > 0;
}

/*
 * In a transaction: those that can be settled, with what becomes of them.  A few wait for
 * others, also when a tick comes for another reason.
 */
int
ma_send_finished(MaMessage ***messages)
{
	int			n = 0;

	ma_lane_leaving(NULL);
	*messages = palloc_array(MaMessage *, Max(nfinished, 1));
	settles = settling_is_due() || nstuck > 0 || network == NULL || ma_worker_is_ending();
	if (!settles)
		return 0;
	for (int i = 0; i < nflying && n < nfinished; i++)
		if (flying[i]->outgoing.finished)
		{
			MemoryContext previous = MemoryContextSwitchTo(flying[i]->outgoing.context);

			judge(flying[i]);
			MemoryContextSwitchTo(previous);
			flying[i]->settling = true;
			ma_lane_leaving(flying[i]);
			(*messages)[n++] = flying[i];
		}
	return n;
}

/* After the commit of that transaction: they are forgotten. */
void
ma_send_settled(void)
{
	int			count = 0;

	if (settles)
	{
		nstuck = 0;
		finished_at = ma_monotonic_ms();
	}
	for (int i = 0; i < nflying; i++)
	{
		MaMessage  *message = flying[i];
		Claimed    *claimed = message->claimed_with;

		if (!message->settling)
		{
			flying[count++] = message;
			nstuck += settles && message->outgoing.finished ? 1 : 0;
			continue;
		}
		nfinished--;
		ma_lane_ended(message);
		if (--claimed->holders == 0)
			MemoryContextDelete(claimed->context);
	}
	nflying = count;
	ma_lane_leaving(NULL);
	asked_at = 0;
}

/* Some could not be settled the last time. */
bool
ma_send_stuck(void)
{
	return nstuck > 0;
}

/* ... or after an error in it. */
void
ma_send_not_settled(void)
{
	for (int i = 0; i < nflying; i++)
		flying[i]->settling = false;
	ma_lane_leaving(NULL);
}

/* ---- what became of a message ---- */

/* What becomes of a message by the outcome of its sending. */
static void
judge(MaMessage *message)
{
	MaOutgoing *outgoing = &message->outgoing;
	bool		again = message->judged;

	message->judged = true;
	message->gate = "transport";
	if (outgoing->status != 0)
		ma_response_read(message);
	message->reason = outgoing->answer;
	switch (outgoing->outcome)
	{
		case MA_OUTCOME_SENT:
			message->becomes = MA_MESSAGE_SENT;
			message->gate = NULL;
			message->reason = NULL;
			message->detail = outgoing->answer;
			break;
		case MA_OUTCOME_NONE:
			message->becomes = MA_MESSAGE_QUEUED;
			message->reason = "there was no time to send it";
			message->untried = true;
			return;
		case MA_OUTCOME_RETRY:
			ma_send_retry(message);
			return;
		case MA_OUTCOME_FAILED:
			message->becomes = MA_MESSAGE_FAILED;
			break;
		case MA_OUTCOME_SERVER:
			if (!again)
				message->suspected = ma_lane_failed(message->server, outgoing->answer);
			message->becomes = MA_MESSAGE_DEFERRED;
			message->gate = "server";
			message->reason = psprintf("server %s: %s", message->server_name,
									   outgoing->answer ? outgoing->answer : "it does not work");
			message->pause = ma_lane_rest(message->server) + message->message_id % 5;
			message->untried = !message->suspected;
			/* Else one message that a server always refuses would rest it for ever. */
			if (message->suspected)
				ma_send_retry(message);
			return;
		case MA_OUTCOME_UNKNOWN:
			/* Each further message would be in doubt, too. */
			if (!again)
				(void) ma_lane_failed(message->server, outgoing->answer);
			ma_settle_doubt(message, message->options,
							outgoing->answer ? outgoing->answer : "the connection was lost");
			if (message->becomes == MA_MESSAGE_QUEUED)
				ma_send_retry(message);
			return;
	}
	if (!again)
		ma_lane_worked(message->server);
}

/* Later and later, and not for ever. */
void
ma_send_retry(MaMessage *message)
{
	int64		pause = RETRY_MIN;

	for (int i = 1; i < message->attempts && pause < RETRY_MAX; i++)
		pause *= 2;
	message->becomes = message->attempts >= MAX_ATTEMPTS ? MA_MESSAGE_FAILED : MA_MESSAGE_DEFERRED;
	message->pause = Min(pause, RETRY_MAX) + message->message_id % RETRY_MIN;
}

/* ---- the worker's wait ---- */

static int
pump_file(void)
{
	return network->file();
}

static long
pump_timeout(void)
{
	long		timeout = network->timeout();
	long		starved = ma_lanes_pause();

	if (nfinished > nstuck)
	{
		int64		due = asked_at != 0 ? asked_at + ASK_MS : finished_at + settle_ms();
		long		left = (long) Max(due - ma_monotonic_ms(), 0);

		timeout = timeout < 0 ? left : Min(timeout, left);
	}
	return starved < 0 ? timeout : timeout < 0 ? starved : Min(timeout, starved);
}

static int
settle_many(void)
{
	return ma_journal_is_open() ? Max(nflying / 2, SETTLE_MANY) : SETTLE_MANY;
}

static int
settle_ms(void)
{
	return ma_journal_is_open() ? SETTLE_JOURNAL_MS : SETTLE_MS;
}

static bool
settling_is_due(void)
{
	return nfinished > nstuck &&
		(nfinished - nstuck >= settle_many() || nfinished == nflying ||
		 ma_monotonic_ms() - finished_at >= settle_ms());
}

/* True when there is something for the next tick. */
static bool
pump_run(void)
{
	network->run();
	if (ma_worker_is_ending())
	{
		if (ending_at == 0)
			ending_at = ma_monotonic_ms();
		network->end(ma_monotonic_ms() - ending_at > END_MS);
	}
	if (asked_at != 0 && ma_monotonic_ms() - asked_at < ASK_MS)
		return false;
	if (settling_is_due() || ma_lanes_starved() || ma_lanes_have_room())
	{
		asked_at = ma_monotonic_ms();
		return true;
	}
	return false;
}
