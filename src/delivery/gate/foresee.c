/*
 * foresee.c
 *		What would become of a message at an instant, of now or of the past, without one:
 *		for simulations and previews.
 *
 * It asks what the gate asks, in its order and in its words: address, consent and
 * suppression as the ledger has them at that instant, quiet hours, caps.  What it says
 * is sent counts under the caps for what follows.  What concerns workers and servers
 * (armed, retries, replies) is left out: here everything that may go goes.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/gate/gate.h"
#include "utils/builtins.h"

struct MaForesight
{
	int64		contact_id;
	const char *time_zone;
	char	   *addresses[3];	/* by the fields below */
	List	   *counted;		/* MaGateCounted *, by time */
};

static const char *const fields[] = {"email", "phone", "push_token"};

static void read_addresses(MaForesight *foresight);
static void read_counted(MaForesight *foresight, const char *journey, TimestampTz since);
static const char *address_of(const MaForesight *foresight, const char *channel);
static char *lacks_address(const MaForesight *foresight, const char *channel);
static char *lacks_consent(const MaForesight *foresight, const MaTemplate *template,
						   int32 topic_id, TimestampTz at);
static bool is_quiet(const MaForesight *foresight, MaForeseen *message,
					 const MaTemplate *template, TimestampTz at);
static bool is_over_caps(MaForesight *foresight, MaForeseen *message,
						 const MaTemplate *template, int32 topic_id, TimestampTz at);
static void answer(MaForeseen *message, MaMessageState state, const char *gate, char *reason);

MaForesight *
ma_foresight(int64 contact_id, const char *time_zone, const char *journey, TimestampTz since)
{
	MaForesight *foresight = palloc0_object(MaForesight);

	foresight->contact_id = contact_id;
	foresight->time_zone = time_zone;
	read_addresses(foresight);
	if (ma_gate_has_caps())
		read_counted(foresight, journey, since);
	return foresight;
}

static void
read_addresses(MaForesight *foresight)
{
	static MaStatement find = {
		"SELECT email, phone, push_token FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(foresight->contact_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ);

	for (int i = 0; i < lengthof(fields) && rows.n > 0; i++)
		foresight->addresses[i] = ma_text(&rows, 0, i + 1);
}

/* What was sent to him and may count still. */
static void
read_counted(MaForesight *foresight, const char *journey, TimestampTz since)
{
	static MaStatement find = {
		"SELECT l.settled_at, l.channel, l.topic_id FROM marketing_internal.message_log AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) $1 AND l.state OPERATOR(pg_catalog.=) 'sent' "
		"AND l.settled_at OPERATOR(pg_catalog.>=) $2 AND l.topic_id OPERATOR(pg_catalog.<>) 0 "
		"AND COALESCE(l.journey OPERATOR(pg_catalog.<>) $3, true) ORDER BY 1",
		3, {INT8OID, TIMESTAMPTZOID, TEXTOID}
	};
	TimestampTz from = since;
	Datum		values[3];
	MaRows		rows;
	ListCell   *cell;

	foreach(cell, ma_caps())
		from = Min(from, ma_cap_look_back(lfirst(cell), since));
	values[0] = Int64GetDatum(foresight->contact_id);
	values[1] = TimestampTzGetDatum(from);
	values[2] = journey ? CStringGetTextDatum(journey) : (Datum) 0;
	rows = ma_run(&find, values, journey ? "   " : "  n", MA_RUN_READ);
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaGateCounted *counted = palloc_object(MaGateCounted);

		counted->at = ma_int64(&rows, i, 1);
		counted->channel = ma_text(&rows, i, 2);
		counted->topic_id = ma_int32(&rows, i, 3);
		foresight->counted = lappend(foresight->counted, counted);
	}
}

static const char *
address_of(const MaForesight *foresight, const char *channel)
{
	const char *field = ma_channel_field(channel);

	for (int i = 0; i < lengthof(fields) && field != NULL; i++)
		if (strcmp(fields[i], field) == 0)
			return foresight->addresses[i];
	return NULL;
}

/* As the gate says it (checks.c). */
static char *
lacks_address(const MaForesight *foresight, const char *channel)
{
	if (ma_channel_field(channel) == NULL || address_of(foresight, channel) != NULL)
		return NULL;
	if (strcmp(channel, "email") == 0)
		return "the contact has no valid e-mail address";
	if (strcmp(channel, "sms") == 0)
		return "the contact has no valid phone number";
	return psprintf("the contact has no address for %s", channel);
}

/* Why consent (its first letter is c) or suppression (s) forbid it at that instant. */
static char *
lacks_consent(const MaForesight *foresight, const MaTemplate *template, int32 topic_id,
			  TimestampTz at)
{
	static MaStatement ask = {NULL, 5, {TIMESTAMPTZOID, INT8OID, INT4OID, TEXTOID, BYTEAOID}};
	const char *address = address_of(foresight, template->channel);
	char		nulls[] = "     ";
	Datum		values[5];
	MaRows		rows;

	if (ask.sql == NULL)
		ask.sql = MemoryContextStrdup(TopMemoryContext, psprintf(
			"SELECT COALESCE('c' OPERATOR(pg_catalog.||) %s, 's' OPERATOR(pg_catalog.||) %s) "
			"FROM (SELECT $2 AS contact_id, $3 AS topic_id, $4 AS channel) AS m "
			"CROSS JOIN (SELECT $5 AS address_hash) AS r",
			ma_consent_reason_then_sql, ma_suppression_reason_then_sql));
	values[0] = TimestampTzGetDatum(at);
	values[1] = Int64GetDatum(foresight->contact_id);
	values[2] = Int32GetDatum(topic_id);
	values[3] = CStringGetTextDatum(template->channel);
	values[4] = address ? ma_address_hash(template->channel, address) : (Datum) 0;
	nulls[4] = address ? ' ' : 'n';
	rows = ma_run(&ask, values, nulls, MA_RUN_READ);
	return ma_text(&rows, 0, 1);
}

static bool
is_quiet(const MaForesight *foresight, MaForeseen *message, const MaTemplate *template,
		 TimestampTz at)
{
	TimestampTz until = message->quiet_until;
	char	   *reason = message->quiet_reason;

	if (message->own_quiet ? until == 0 :
		!ma_quiet_until(template->channel, at, foresight->time_zone, &until, &reason))
		return false;
	answer(message, MA_MESSAGE_DEFERRED, MA_GATE_QUIET, reason);
	message->next_try = until;
	return true;
}

/* One that displaces is foreseen as one that defers: who else would wait is not known. */
static bool
is_over_caps(MaForesight *foresight, MaForeseen *message, const MaTemplate *template,
			 int32 topic_id, TimestampTz at)
{
	MaMessage	asked = {
		.contact_id = foresight->contact_id, .topic_id = topic_id,
		.channel = template->channel, .time_zone = unconstify(char *, foresight->time_zone)
	};
	List	   *before = NIL;
	const MaCap *cap;
	ListCell   *cell;

	foreach(cell, foresight->counted)
		if (((MaGateCounted *) lfirst(cell))->at <= at)
			before = lappend(before, lfirst(cell));
	cap = ma_gate_over(&asked, before, at, &message->next_try);
	if (cap == NULL)
		return false;
	answer(message, cap->when == MA_CAP_SKIP ? MA_MESSAGE_SKIPPED : MA_MESSAGE_DEFERRED,
		   MA_GATE_CAP, ma_cap_text(cap));
	return true;
}

static void
answer(MaForeseen *message, MaMessageState state, const char *gate, char *reason)
{
	message->state = state;
	message->gate = gate;
	message->reason = reason;
}

static int
by_time(const ListCell *a, const ListCell *b)
{
	TimestampTz left = ((MaGateCounted *) lfirst(a))->at;
	TimestampTz right = ((MaGateCounted *) lfirst(b))->at;

	return left < right ? -1 : left > right;
}

void
ma_foresee(MaForesight *foresight, MaForeseen *message, TimestampTz at)
{
	MaTemplate *template = ma_template_required(message->template);
	MaTopic    *topic = ma_topic_required(template->topic);
	MaGateCounted *counted;
	char	   *reason;

	if (message->not_after < at)
		answer(message, MA_MESSAGE_EXPIRED, "not_after", "it came too late");
	else if ((reason = lacks_address(foresight, template->channel)) != NULL)
		answer(message, MA_MESSAGE_SKIPPED, "address", reason);
	else if ((reason = lacks_consent(foresight, template, topic->id, at)) != NULL)
		answer(message, MA_MESSAGE_SKIPPED, reason[0] == 'c' ? "consent" : "suppression",
			   reason + 1);
	else if (topic->id == MA_TOPIC_TRANSACTIONAL_ID)
		answer(message, MA_MESSAGE_SENT, NULL, NULL);
	else if (!is_quiet(foresight, message, template, at) &&
			 !is_over_caps(foresight, message, template, topic->id, at))
	{
		answer(message, MA_MESSAGE_SENT, NULL, NULL);
		counted = palloc_object(MaGateCounted);
		counted->at = at;
		counted->channel = template->channel;
		counted->topic_id = topic->id;
		foresight->counted = lappend(foresight->counted, counted);
		list_sort(foresight->counted, by_time);
	}
	/* A time behind not_after is no next try: it expires before. */
	if (message->state == MA_MESSAGE_DEFERRED && message->not_after < message->next_try)
		message->next_try = message->not_after + 1;
}
