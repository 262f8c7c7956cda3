/*
 * subscribe.c
 *		marketing.subscribe(), unsubscribe() and confirm(): what people say.
 *
 * Order of locks: the contact, his addresses, then rows.  The lock of an address is
 * the gate's: who withdraws waits for a claim under way and is known to the next
 * one, so commit order decides.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

static MaConfirmationSender confirmation_sender = NULL;

static List *channels_of(const MaTopic *topic, const char *channel, const char *function,
						 bool all);
static MaConsentState state_after(int64 contact_id, const MaTopic *topic, const char *channel);
static char *describe(const MaTopic *topic, const char *channel, MaConsentState state,
					  bool changed);

MA_FUNCTION(ma_subscribe);
MA_FUNCTION(ma_unsubscribe);
MA_FUNCTION(ma_confirm);
MA_FUNCTION(ma_unsubscribe_by_token);

void
ma_consent_set_confirmation_sender(MaConfirmationSender sender)
{
	confirmation_sender = sender;
}

/* "email, sms" */
static char *
channel_names(const MaTopic *topic)
{
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, topic->channels)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", (char *) lfirst(cell));
	return names.data;
}

/* The channel that is meant; without one: the topic's only one, or with `all` every one. */
static List *
channels_of(const MaTopic *topic, const char *channel, const char *function, bool all)
{
	if (channel != NULL)
	{
		ma_channel_check(channel);
		if (!ma_topic_has_channel(topic, channel))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("topic \"%s\" has no channel \"%s\"", topic->name, channel),
					 errhint("It has %s; marketing.define_topic() changes that.",
							 channel_names(topic))));
		return list_make1(unconstify(char *, channel));
	}
	if (!all && list_length(topic->channels) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" has several channels: name one", topic->name),
				 errdetail("Consent is given for each channel by itself."),
				 errhint("For example marketing.%s(42, '%s', '%s').", function, topic->name,
						 (char *) linitial(topic->channels))));
	return topic->channels;
}

/* What subscribing makes of it: who has confirmed once need not do so again. */
static MaConsentState
state_after(int64 contact_id, const MaTopic *topic, const char *channel)
{
	static MaStatement find = {
		"SELECT state FROM marketing_internal.consent "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND topic_id OPERATOR(pg_catalog.=) $2 "
		"AND channel OPERATOR(pg_catalog.=) $3",
		3, {INT8OID, INT4OID, TEXTOID}
	};
	Datum		values[3];
	MaRows		rows;

	if (topic->kind != MA_TOPIC_DOUBLE_OPT_IN)
		return MA_CONSENT_OPTED_IN;
	values[0] = Int64GetDatum(contact_id);
	values[1] = Int32GetDatum(topic->id);
	values[2] = CStringGetTextDatum(channel);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	return rows.n > 0 && strcmp(ma_text(&rows, 0, 1), "opted_in") == 0 ?
		MA_CONSENT_OPTED_IN : MA_CONSENT_PENDING;
}

/* "newsletter/email: pending" */
static char *
describe(const MaTopic *topic, const char *channel, MaConsentState state, bool changed)
{
	return psprintf("%s/%s: %s%s", topic->name, channel, ma_consent_state_name(state),
					changed ? "" : " (unchanged)");
}

/* marketing.subscribe(contact, topic, channel, proof) */
Datum
ma_subscribe(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_consent_required(fcinfo, 1, "topic");
	char	   *channel = ma_consent_text(fcinfo, 2);
	MaConsentChange change = {0};
	MaTopic    *topic;
	MaCall		call;
	char	   *answer;
	bool		changed;

	(void) ma_extension_required();
	ma_call_begin(&call);
	topic = ma_topic_required(name);
	if (topic->kind == MA_TOPIC_TRANSACTIONAL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" needs no consent", topic->name)));
	channel = linitial(channels_of(topic, channel, "subscribe", false));
	change.contact_id = ma_contact_argument_locked(fcinfo, false);
	ma_recipients_lock(&change.contact_id, 1, list_make1(channel), true);
	change.topic_id = topic->id;
	change.channel = channel;
	change.state = state_after(change.contact_id, topic, channel);
	change.origin = "subscribe";
	change.proof = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	change.requested = true;
	changed = ma_consent_append(&change, 1, false) > 0;
	if (changed && change.state == MA_CONSENT_PENDING && topic->confirm != NULL &&
		confirmation_sender != NULL)
		confirmation_sender(topic->confirm, change.contact_id);
	answer = MemoryContextStrdup(context, describe(topic, channel, change.state, changed));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* marketing.unsubscribe(contact, topic, channel, proof); without a topic: from everything. */
Datum
ma_unsubscribe(PG_FUNCTION_ARGS)
{
	char	   *name = ma_consent_text(fcinfo, 1);
	char	   *channel = ma_consent_text(fcinfo, 2);
	Datum		proof = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	MaConsentChange *changes;
	List	   *topics;
	List	   *locked = NIL;
	int64		contact_id;
	int			n = 0;
	MaCall		call;
	ListCell   *outer;
	ListCell   *cell;

	(void) ma_extension_required();
	ma_call_begin(&call);
	if (channel != NULL)
		ma_channel_check(channel);
	if (name != NULL && strcmp(name, MA_TOPIC_TRANSACTIONAL_NAME) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nobody can unsubscribe from topic \"%s\"", name),
				 errhint("Use marketing.suppress() for an address that must get nothing at all.")));
	topics = name ? list_make1(ma_topic_required(name)) : ma_topics();
	contact_id = ma_contact_argument_locked(fcinfo, false);
	changes = palloc0_array(MaConsentChange, list_length(topics) * 4 + 1);
	foreach(outer, topics)
	{
		MaTopic    *topic = lfirst(outer);

		if (name == NULL && channel != NULL && !ma_topic_has_channel(topic, channel))
			continue;
		foreach(cell, channels_of(topic, channel, "unsubscribe", true))
		{
			changes[n].contact_id = contact_id;
			changes[n].topic_id = topic->id;
			changes[n].channel = lfirst(cell);
			changes[n].state = MA_CONSENT_OPTED_OUT;
			changes[n].origin = "unsubscribe";
			changes[n].proof = proof;
			locked = lappend(locked, lfirst(cell));
			n++;
		}
	}
	ma_recipients_lock(&contact_id, 1, locked, true);
	n = ma_consent_append(changes, n, false);
	ma_call_end(&call);
	PG_RETURN_INT32(n);
}

int64
ma_consent_lock_contact(int64 given)
{
	int64		contact_id = ma_contact_now(given);

	for (;;)
	{
		int64		again;

		ma_contact_lock(contact_id);
		again = ma_contact_now(given);
		if (again == contact_id)
			return contact_id;
		ma_contact_unlock(contact_id);
		contact_id = again;
	}
}

/* marketing.confirm(token): all the contact has pending. */
Datum
ma_confirm(PG_FUNCTION_ARGS)
{
	static MaStatement pending = {
		"SELECT topic_id, channel FROM marketing_internal.consent "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND state OPERATOR(pg_catalog.=) 'pending' "
		"ORDER BY topic_id, channel",
		1, {INT8OID}
	};
	char	   *token = ma_consent_required(fcinfo, 0, "token");
	MaToken		read;
	MaConsentChange *changes;
	MaCall		call;
	int64		contact_id;
	Datum		value;
	MaRows		rows;
	List	   *channels = NIL;
	int			n;

	(void) ma_extension_required();
	ma_call_begin(&call);
	ma_token_read(token, MA_TOKEN_CONFIRM, &read);
	contact_id = ma_consent_lock_contact(read.contact_id);
	value = Int64GetDatum(contact_id);
	rows = ma_run(&pending, &value, NULL, MA_RUN_READ_LATEST);
	/* What an erased one had pending stays that way in the ledger. */
	if (rows.n > 0 && !ma_contact_known(contact_id))
		rows.n = 0;
	changes = palloc0_array(MaConsentChange, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		changes[i].contact_id = contact_id;
		changes[i].topic_id = ma_int32(&rows, i, 1);
		changes[i].channel = ma_text(&rows, i, 2);
		changes[i].state = MA_CONSENT_OPTED_IN;
		changes[i].origin = "confirm";
		channels = lappend(channels, unconstify(char *, changes[i].channel));
	}
	n = rows.n;
	ma_recipients_lock(&contact_id, 1, channels, true);
	n = ma_consent_append(changes, n, false);
	ma_call_end(&call);
	PG_RETURN_INT32(n);
}

/*
 * marketing.unsubscribe_by_token(token): what the link in a mail does.  A topic that
 * was dropped since cannot be written about any more.
 */
Datum
ma_unsubscribe_by_token(PG_FUNCTION_ARGS)
{
	char	   *token = ma_consent_required(fcinfo, 0, "token");
	MaConsentChange change = {0};
	MaToken		read;
	MaCall		call;
	int			n = 0;

	(void) ma_extension_required();
	ma_call_begin(&call);
	ma_token_read(token, MA_TOKEN_UNSUBSCRIBE, &read);
	change.topic_id = read.topic_id;
	change.channel = ma_channel_by_number(read.channel);
	change.state = MA_CONSENT_OPTED_OUT;
	change.origin = "link";
	if (change.channel != NULL && change.topic_id != MA_TOPIC_TRANSACTIONAL_ID &&
		ma_topic_by_id(change.topic_id) != NULL)
	{
		change.contact_id = ma_consent_lock_contact(read.contact_id);
		ma_recipients_lock(&change.contact_id, 1, list_make1(unconstify(char *, change.channel)),
						   true);
		/* The mails of who was erased are still in his mailbox; nobody writes to him. */
		if (ma_contact_known(change.contact_id))
			n = ma_consent_append(&change, 1, false);
	}
	ma_call_end(&call);
	PG_RETURN_INT32(n);
}
