/*
 * compose.c
 *		What a claimed message says, as the bytes a transport sends.
 *
 * The fault of one message is its own: it ends as failed with the error, one that its
 * template aborts as skipped with the reason, and the others of the batch go on.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"
#include "utils/json.h"

#define DEFAULT_URL "http://localhost"
#define VARIABLES 3

static char *public_url(void);
static MaRenderVariable *variables(const MaMessage *message, const char *url);
static void refuse(MaMessage *message, MaMessageState becomes, const char *gate, char *reason);
static void build_mail(MaMessage *message, const MaRendered *rendered, const char *unsubscribe_url);
static void build_json(MaMessage *message, const MaRendered *rendered);

void
ma_compose(MaMessage *messages, int n)
{
	MaRenderRequest *requests = palloc0_array(MaRenderRequest, n);
	MaRendered *rendered = palloc0_array(MaRendered, n);
	char	   *url = public_url();

	for (int i = 0; i < n; i++)
	{
		requests[i].contact_id = messages[i].contact_id;
		requests[i].template_id = messages[i].template_id;
		requests[i].entry = messages[i].entry;
		requests[i].data = messages[i].data;
		requests[i].nvariables = VARIABLES;
		requests[i].variables = variables(&messages[i], url);
	}
	ma_render_messages(requests, n, rendered);
	for (int i = 0; i < n; i++)
	{
		MaMessage  *message = &messages[i];

		message->version = rendered[i].version;
		message->outgoing.message_id = message->message_id;
		message->outgoing.key = ma_message_key(message->message_id);
		message->outgoing.channel = message->channel;
		message->outgoing.server = message->sender->server;
		message->outgoing.from_address = message->sender->from_address;
		message->outgoing.to_address = message->address;
		if (rendered[i].abort_reason != NULL)
			refuse(message, MA_MESSAGE_SKIPPED, "template",
				   psprintf("its template gave up: %s", rendered[i].abort_reason));
		else if (rendered[i].error != NULL)
			refuse(message, MA_MESSAGE_FAILED, "template", rendered[i].error);
		else if (strcmp(message->channel, "email") == 0)
			build_mail(message, &rendered[i], requests[i].variables[1].value);
		else
			build_json(message, &rendered[i]);
	}
}

static void
refuse(MaMessage *message, MaMessageState becomes, const char *gate, char *reason)
{
	message->becomes = becomes;
	message->gate = gate;
	message->reason = reason;
}

/* Where the links of messages lead. */
static char *
public_url(void)
{
	static MaStatement find = {
		"SELECT value FROM marketing_internal.setting WHERE name OPERATOR(pg_catalog.=) 'public_url'",
		0
	};
	MaRows		rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);
	char	   *url = rows.n > 0 ? ma_text(&rows, 0, 1) : pstrdup(DEFAULT_URL);

	while (url[0] != '\0' && url[strlen(url) - 1] == '/')
		url[strlen(url) - 1] = '\0';
	return url;
}

static MaRenderVariable *
variables(const MaMessage *message, const char *url)
{
	MaRenderVariable *result = palloc_array(MaRenderVariable, VARIABLES);

	result[0].name = "confirm_url";
	result[0].value = psprintf("%s/confirm/%s", url, ma_confirm_token(message->contact_id));
	result[1].name = "unsubscribe_url";
	result[1].value = psprintf("%s/u/%s", url,
							   ma_unsubscribe_token(message->contact_id, message->topic_id,
													message->channel));
	result[2].name = "preferences_url";
	result[2].value = psprintf("%s/p/%s", url, ma_preferences_token(message->contact_id));
	return result;
}

static void
build_mail(MaMessage *message, const MaRendered *rendered, const char *unsubscribe_url)
{
	const MaSender *sender = message->sender;
	MaMimeHeader headers[1];
	MaMimeMessage mail = {0};
	const char *error = NULL;
	char	   *content;

	headers[0].name = "X-MA-Key";
	headers[0].value = message->outgoing.key;
	mail.from_address = sender->from_address;
	mail.from_name = sender->from_name;
	mail.reply_to = sender->reply_to;
	mail.to_address = message->address;
	mail.subject = rendered->subject;
	mail.text = rendered->text;
	mail.html = rendered->html;
	mail.preheader = rendered->preheader;
	mail.message_id = psprintf("%s@%s", headers[0].value, strrchr(sender->from_address, '@') + 1);
	mail.date = timestamptz_to_time_t(ma_now());
	if (message->topic_id != MA_TOPIC_TRANSACTIONAL_ID)
		mail.unsubscribe_url = unsubscribe_url;
	mail.nheaders = lengthof(headers);
	mail.headers = headers;
	content = ma_mime_build(&mail, &message->outgoing.length, &error);
	if (content == NULL)
		refuse(message, MA_MESSAGE_FAILED, "mail", pstrdup(error ? error : "it cannot be built"));
	message->outgoing.content = content;
}

static void
build_json(MaMessage *message, const MaRendered *rendered)
{
	const struct
	{
		const char *name;
		const char *value;
	}			members[] = {
		{"channel", message->channel},
		{"key", message->outgoing.key},
		{"from", message->sender->name ? message->sender->from_address : NULL},
		{"to", message->address},
		{"subject", rendered->subject},
		{"text", rendered->text},
		{"html", rendered->html},
		{"template", message->template_name},
	};
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"message\": " INT64_FORMAT, message->message_id);
	for (int i = 0; i < lengthof(members); i++)
	{
		if (members[i].value == NULL)
			continue;
		appendStringInfo(&json, ", \"%s\": ", members[i].name);
		escape_json(&json, members[i].value);
	}
	appendStringInfoString(&json, "}\n");
	message->outgoing.content = json.data;
	message->outgoing.length = json.len;
}
