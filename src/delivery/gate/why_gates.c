/*
 * why_gates.c
 *		The gates of why_not_sent() that delivery itself can tell of.
 *
 * Of an ended message they repeat what was decided then; of a live one, and of one that
 * never was, they say how things stand now (consent: at the instant asked about).
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/gate/why.h"
#include "utils/builtins.h"

static bool decided(const char *gate, MaWhyAnswer *answer);
static bool past(const char *gate);
static void channel_and_topic(const MaWhyQuestion *question, const char **channel,
							  int32 *topic_id);
static void contact(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void address(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void source(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void created(const MaWhyQuestion *question, MaWhyAnswer *answer);
static char *consent_column(int64 contact_id, const char *name);
static void consent(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void suppression(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void cap(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void quiet_hours(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void limit(const char *gate, MaWhyAnswer *answer);
static void not_after(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void run(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void armed(const MaWhyQuestion *question, MaWhyAnswer *answer);
static char *server_words(const MaWhyQuestion *question);
static void delivery(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void bounce(const MaWhyQuestion *question, MaWhyAnswer *answer);

static const MaWhyGate gates[] = {
	{1, "contact", contact}, {2, "address", address}, {3, "source", source},
	{12, "message", created}, {13, "topic consent", consent}, {14, "suppression", suppression},
	{15, "cap", cap}, {16, "quiet hours", quiet_hours}, {17, "not_after", not_after},
	{18, "run", run}, {19, "armed", armed}, {20, "delivery", delivery},
	{21, "bounce", bounce}
};

void
ma_why_gates_init(void)
{
	for (int i = 0; i < lengthof(gates); i++)
		ma_register_why_gate(&gates[i]);
}

/* True if this gate of delivery is the one that is, or was, shut. */
static bool
decided(const char *gate, MaWhyAnswer *answer)
{
	if (ma_why_message.gate == NULL || strcmp(ma_why_message.gate, gate) != 0)
		return false;
	answer->verdict = MA_WHY_NO;
	answer->detail = ma_why_message.reason;
	if (!ma_why_message.live)
		answer->since = ma_why_message.at;
	return true;
}

/* True if the message went past this gate, since another one decided. */
static bool
past(const char *gate)
{
	return ma_why_message.state != NULL && !ma_why_message.live &&
		(ma_why_message.gate == NULL || strcmp(ma_why_message.gate, gate) != 0);
}

static void
channel_and_topic(const MaWhyQuestion *question, const char **channel, int32 *topic_id)
{
	MaTemplate *template = question->template_id ? ma_template_by_id(question->template_id) : NULL;
	MaTopic    *topic = template ? ma_topic_by_name(template->topic) : NULL;

	*channel = template ? template->channel : ma_why_message.channel;
	*topic_id = topic ? topic->id : ma_why_message.topic_id;
}

static void
contact(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	if (question->contact_id == 0)
	{
		answer->verdict = MA_WHY_NO;
		answer->detail = psprintf("there is no contact \"%s\"", question->contact);
		answer->next = "insert the row, or attach its table with marketing.attach_contacts()";
		return;
	}
	if (decided("contact", answer))
		return;
	answer->verdict = MA_WHY_OK;
	answer->detail = ma_contact_text(question->contact_id);
}

static void
address(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	static MaStatement find = {
		"SELECT email, phone, push_token FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	static const char *const fields[] = {"email", "phone", "push_token"};
	Datum		value = Int64GetDatum(question->contact_id);
	const char *channel;
	int32		topic_id;
	const char *field;
	MaRows		rows;

	answer->verdict = MA_WHY_SKIP;
	channel_and_topic(question, &channel, &topic_id);
	field = channel ? ma_channel_field(channel) : NULL;
	if (field == NULL)
		return;
	answer->next = "give the contact an address: in the attached row, or with marketing.identify()";
	if (decided("address", answer))
		return;
	answer->verdict = MA_WHY_OK;
	answer->next = NULL;
	if (past("address") && ma_why_message.address != NULL)
	{
		answer->detail = ma_why_message.address;
		return;
	}
	rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	for (int i = 0; i < lengthof(fields) && rows.n > 0; i++)
		if (strcmp(fields[i], field) == 0)
			answer->detail = ma_text(&rows, 0, i + 1);
	if (answer->detail != NULL)
		return;
	answer->verdict = MA_WHY_NO;
	answer->detail = psprintf("the contact has no valid address for %s", channel);
	answer->next = "give the contact an address: in the attached row, or with marketing.identify()";
}

/* The tables the contact's ids come from: attached, there, and followed. */
static void
source(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	static MaStatement find = {
		"SELECT DISTINCT k.source_id FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) $1 ORDER BY k.source_id",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(question->contact_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	StringInfoData names;

	initStringInfo(&names);
	answer->verdict = MA_WHY_OK;
	for (uint64 i = 0; i < rows.n; i++)
	{
		MaSource   *from = ma_source_by_id(ma_definitions(), ma_int32(&rows, i, 1));

		if (from == NULL)
			continue;
		if (from->table != NULL && !OidIsValid(from->table->relid))
		{
			answer->verdict = MA_WHY_NO;
			answer->detail = psprintf("the table of source \"%s\", or its trigger, is gone",
									  from->name);
			answer->next = "attach it again with marketing.attach_contacts()";
			return;
		}
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", from->name);
	}
	answer->detail = names.data;
}

static void
created(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	if (question->message_id == 0)
	{
		answer->verdict = MA_WHY_NO;
		answer->detail = psprintf("no message of \"%s\" was asked for", question->what);
		answer->next = "marketing.send_message(), or a step of a journey";
		return;
	}
	answer->verdict = MA_WHY_OK;
	answer->detail = psprintf("message " INT64_FORMAT, question->message_id);
}

/* The column of the contact's table that says it ("offers/email"); NULL: there is none. */
static char *
consent_column(int64 contact_id, const char *name)
{
	static MaStatement find = {
		"SELECT DISTINCT k.source_id FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) $1 ORDER BY k.source_id",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	ListCell   *cell;

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaSource   *from = ma_source_by_id(ma_definitions(), ma_int32(&rows, i, 1));

		foreach(cell, from ? from->mapped : NIL)
			if (strcmp(((MaMappedColumn *) lfirst(cell))->name, name) == 0)
				return ((MaMappedColumn *) lfirst(cell))->column;
	}
	return NULL;
}

static void
consent(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	static MaStatement find = {
		"SELECT e.state, e.recorded_at, e.origin FROM marketing_internal.consent_entry AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) $1 AND e.topic_id OPERATOR(pg_catalog.=) $2 "
		"AND e.channel OPERATOR(pg_catalog.=) $3 AND e.recorded_at OPERATOR(pg_catalog.<=) $4 "
		"ORDER BY e.entry_no DESC LIMIT 1",
		4, {INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID}
	};
	const char *channel;
	int32		topic_id;
	MaTopic    *topic;
	Datum		values[4];
	MaRows		rows;
	char	   *name;
	char	   *column;
	bool		isnull;

	channel_and_topic(question, &channel, &topic_id);
	topic = channel ? ma_topic_by_id(topic_id) : NULL;
	answer->verdict = topic == NULL ? MA_WHY_SKIP : MA_WHY_OK;
	if (topic == NULL)
		return;
	name = psprintf("%s/%s", topic->name, channel);
	column = consent_column(question->contact_id, name);
	if (decided("consent", answer))
	{
		/* The reason is the answer; here stands what it rests on. */
		answer->sentence = psprintf("%s: %s", ma_why_message.live ? "not sent" :
									ma_why_message.state, ma_why_message.reason);
		answer->next = column ? psprintf("marketing.subscribe(), or the column %s", column) :
			"marketing.subscribe()";
	}
	if (topic_id == MA_TOPIC_TRANSACTIONAL_ID)
	{
		answer->detail = "transactional messages need none";
		return;
	}
	values[0] = Int64GetDatum(question->contact_id);
	values[1] = Int32GetDatum(topic_id);
	values[2] = CStringGetTextDatum(channel);
	values[3] = TimestampTzGetDatum(question->message_id != 0 && !ma_why_message.live ?
									ma_why_message.at : question->at);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	/* A column that was emptied says nothing, as if it had never said anything. */
	if (rows.n == 0 || strcmp(ma_text(&rows, 0, 1), "none") == 0)
	{
		answer->detail = column == NULL ? psprintf("%s unknown", name) :
			psprintf("%s unknown (%s is null)", name, column);
		return;
	}
	answer->detail = psprintf("%s %s (%s)", name, ma_text(&rows, 0, 1), ma_text(&rows, 0, 3));
	answer->since = DatumGetTimestampTz(ma_value(&rows, 0, 2, &isnull));
}

static void
suppression(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	answer->verdict = MA_WHY_OK;
	answer->next = "marketing.unsuppress(), if it was a mistake";
	if (decided("suppression", answer))
		return;
	answer->next = NULL;
}

/* A limit that holds the message back, until a time that is known, or has ended it. */
static void
limit(const char *gate, MaWhyAnswer *answer)
{
	if (!decided(gate, answer) || !ma_why_message.live || ma_why_message.next_try == 0)
		return;
	answer->verdict = MA_WHY_WAITING;
	answer->next = psprintf("it is tried %s", timestamptz_to_str(ma_why_message.next_try));
}

/* A row where a cap counts such messages. */
static void
cap(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	const char *channel;
	int32		topic_id;
	ListCell   *cell;

	channel_and_topic(question, &channel, &topic_id);
	answer->verdict = MA_WHY_SKIP;
	foreach(cell, ma_caps())
	{
		if (channel == NULL || !ma_cap_counts(lfirst(cell), channel, topic_id))
			continue;
		answer->verdict = MA_WHY_OK;
		answer->detail = answer->detail == NULL ? ma_cap_text(lfirst(cell)) :
			psprintf("%s; %s", answer->detail, ma_cap_text(lfirst(cell)));
	}
	limit("cap", answer);
}

/* The next four have a row only where they are what decided. */
static void
quiet_hours(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	answer->verdict = MA_WHY_SKIP;
	limit("quiet hours", answer);
}

static void
not_after(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	if (!decided("not_after", answer))
		answer->verdict = MA_WHY_SKIP;
}

static void
run(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	if (!decided("journey", answer))
		answer->verdict = MA_WHY_SKIP;
	else if (ma_why_message.live)
		answer->next = psprintf("marketing.resume_journey('%s')", question->journey);
}

static void
armed(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	answer->verdict = MA_WHY_SKIP;
	answer->next = "marketing.configure('public_url', ...)";
	if (decided("public_url", answer))
		return;
	answer->next = NULL;
	if (!decided("armed", answer))
		return;
	answer->detail = "this database is disarmed: nothing leaves through real servers";
	answer->next = "marketing.arm()";
}

/* Why no server takes it now, of those its sender has; NULL: one may. */
static char *
server_words(const MaWhyQuestion *question)
{
	MaTemplate *template = ma_template_by_id(question->template_id);
	MaSender   *sender = ma_sender_for(ma_why_message.channel, template ? template->sender : NULL);
	char	   *words = NULL;

	for (int i = 0; i < sender->nroutes; i++)
	{
		const char *word;
		char	   *detail;

		(void) ma_server_condition(sender->routes[i].server, &word, &detail);
		if (detail == NULL)
			detail = ma_server_rate(sender->routes[i].server);
		if (detail == NULL)
			return NULL;
		words = words ? psprintf("%s; %s", words, detail) : detail;
	}
	return words;
}

/* What became of it, when no gate before is shut. */
static void
delivery(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	const MaWhyMessage *message = &ma_why_message;

	answer->since = message->at;
	if (strcmp(message->state, "sent") == 0)
	{
		answer->verdict = MA_WHY_OK;
		answer->detail = message->detail;
		return;
	}
	answer->detail = message->reason;
	if (!message->live)
	{
		answer->verdict = MA_WHY_NO;
		return;
	}
	answer->verdict = MA_WHY_WAITING;
	if (strcmp(message->state, "suspect") == 0)
	{
		answer->next = psprintf("find out and call marketing.settle_message(" INT64_FORMAT ", ...)",
								question->message_id);
		return;
	}
	if (answer->detail == NULL)
		answer->detail = server_words(question);
	if (answer->detail == NULL)
		answer->detail = psprintf("it is %s", message->state);
	answer->next = message->next_at > ma_now() ?
		psprintf("next try %s", timestamptz_to_str(message->next_at)) :
		"it goes with the next turn of the delivery worker, or CALL marketing.work()";
}

/* What came back of a message that was sent: the most telling of what is known. */
static void
bounce(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	static MaStatement find = {
		"SELECT e.kind, e.class, COALESCE(e.status, e.detail), e.occurred_at "
		"FROM marketing_internal.delivery_event AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND e.message_id OPERATOR(pg_catalog.=) $2 "
		"AND e.kind OPERATOR(pg_catalog.<>) 'unsubscribed' "
		"ORDER BY CASE e.kind WHEN 'complained' THEN 1 WHEN 'delivered' THEN 3 ELSE "
		"CASE e.class WHEN 'hard' THEN 2 ELSE 4 END END, e.occurred_at DESC LIMIT 1",
		2, {INT8ARRAYOID, INT8OID}
	};
	Datum		values[2];
	MaRows		rows;
	char	   *kind;
	char	   *said;
	bool		isnull;

	answer->verdict = MA_WHY_SKIP;
	if (ma_why_message.state == NULL || strcmp(ma_why_message.state, "sent") != 0)
		return;
	values[0] = ma_contact_with_merged(question->contact_id);
	values[1] = Int64GetDatum(question->message_id);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return;
	kind = ma_text(&rows, 0, 1);
	said = ma_text(&rows, 0, 3);
	answer->since = DatumGetTimestampTz(ma_value(&rows, 0, 4, &isnull));
	answer->verdict = strcmp(kind, "bounced") == 0 ? MA_WHY_NO : MA_WHY_OK;
	answer->detail = psprintf("%s%s%s", kind, said ? ": " : "", said ? said : "");
	answer->sentence = answer->verdict == MA_WHY_NO ? psprintf("sent, and %s", answer->detail) :
		answer->detail;
	if (answer->verdict == MA_WHY_NO && strcmp(ma_text(&rows, 0, 2), "hard") == 0)
		answer->next = "the address is none: get another one";
}
