/*
 * compose.c
 *		What a claimed message says, as the bytes a transport sends.
 *
 * The fault of one message is its own: it ends as failed with the error, one that its
 * template aborts as skipped with the reason, and the others of the batch go on.  One that
 * crashes the server is found by the journal, which knows which one is being composed, or that
 * something is done for several at once, as a query of templates.  After a crash in that, which
 * may be the fault of any of them, nothing is done for several until no message is left; and it
 * never is for one that has been in the midst of a crash.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "delivery/track.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define VARIABLES 3
#define UNSUBSCRIBE_URL 1		/* its place among them */

/* Whose links, and to what. */
typedef struct Links
{
	int64		contact_id;
	int32		topic_id;
	const char *channel;
	const char *url;			/* where the endpoint is */
} Links;

static MaRenderVariable *variables(int64 contact_id, int32 topic_id, const char *channel,
								   const char *url);
static char *confirm_url(const void *links);
static char *unsubscribe_url(const void *links);
static char *preferences_url(const void *links);
static MaRenderRequest *requests_of(MaMessage *messages, int n, const char *url);
static void note(void *message);
static bool is_refused(MaMessage *message, const MaRendered *rendered);
static char *in_utf8(const char *text);
static void refuse(MaMessage *message, MaMessageState becomes, const char *gate, char *reason);
static void build_mail(MaMessage *message, const MaRendered *rendered, const char *unsubscribe);
static void build_json(MaMessage *message, const MaRendered *rendered);
static void build(MaMessage *message, const MaRendered *rendered, MaRenderVariable *unsubscribe);

int
ma_compose(MaMessage *messages, int n)
{
	MaRendered *rendered = palloc0_array(MaRendered, n);
	char	   *url = ma_public_url();
	MaRenderRequest *requests = requests_of(messages, n, url);
	bool		openings = ma_setting_on(MA_TRACK_OPENS);
	int			nlater = 0;
	bool		redirects = false;
	char	   *redirected = NULL;

	ma_track_begin(url, ma_setting_on(MA_TRACK_LINKS));
	ma_render_messages(requests, n, rendered);
	ma_journal_composing(0, 0);
	ma_track_end();
	for (int i = 0; i < n; i++)
	{
		MaMessage  *message = &messages[i];
		note(message);
		if (i == 0 || strcmp(message->channel, messages[i - 1].channel) != 0)
			redirects = ma_redirect(message->channel, &redirected);
		message->redirected = message->server != NULL && redirects;
		message->version = rendered[i].version;
		message->outgoing.message_id = message->message_id;
		message->outgoing.key = ma_message_key(message->message_id);
		message->outgoing.channel = message->channel;
		message->outgoing.server = message->server_name;
		message->outgoing.options = message->options;
		message->outgoing.from_address = message->sender->from_address;
		message->outgoing.to_address = message->redirected ? redirected : message->address;
		/* Also where a recipient has no address, as in a webhook, the server is the shop's. */
		if (message->redirected && redirected == NULL)
			refuse(message, MA_MESSAGE_DEFERRED, "redirect",
				   psprintf("redirect_to names no address for %s", message->channel));
		else if (is_refused(message, &rendered[i]))
			nlater += rendered[i].later;
		else
		{
			if (openings && message->test_for == 0 && rendered[i].html != NULL &&
				strcmp(message->channel, "email") == 0)
				rendered[i].html = ma_track_opening(rendered[i].html, url, message->message_id,
													message->contact_id);
			build(message, &rendered[i],
				  message->topic_id == MA_TOPIC_TRANSACTIONAL_ID ||
				  ma_message_is_to_owner(message) ? NULL :
				  &requests[i].variables[UNSUBSCRIBE_URL]);
		}
	}
	ma_journal_composing(0, 0);
	return nlater;
}

/* Whose fault it is if the server crashes now; NULL: that of one of several. */
static void
note(void *message)
{
	MaMessage  *one = message;

	if (one == NULL)
		ma_journal_composing(0, MA_SEVERAL);
	else
		ma_journal_composing(one->contact_id, one->message_id);
}

static MaRenderRequest *
requests_of(MaMessage *messages, int n, const char *url)
{
	MaRenderRequest *requests = palloc0_array(MaRenderRequest, n);

	for (int i = 0; i < n; i++)
	{
		bool		test = messages[i].test_for != 0;

		/* Nothing is claimed or counted for a test, and its links stand for nobody. */
		requests[i].contact_id = test ? ma_contact_now(messages[i].test_for) :
			messages[i].contact_id;
		requests[i].message_id = test ? 0 : messages[i].message_id;
		requests[i].template_id = messages[i].template_id;
		requests[i].entry = messages[i].entry;
		requests[i].data = messages[i].data;
		requests[i].alone = ma_journal_several() || messages[i].crashes > 0;
		requests[i].begins = note;
		requests[i].message = &messages[i];
		requests[i].nvariables = VARIABLES;
		requests[i].variables = variables(messages[i].contact_id, messages[i].topic_id,
											messages[i].channel, url);
	}
	return requests;
}

/* What its template says of whether it can go. */
static bool
is_refused(MaMessage *message, const MaRendered *rendered)
{
	if (rendered->later)
	{
		refuse(message, MA_MESSAGE_QUEUED, "size",
			   "others of its batch have large attachments: it goes with the next one");
		message->untried = true;
	}
	else if (rendered->abort_reason != NULL)
		refuse(message, MA_MESSAGE_SKIPPED, "template",
			   psprintf("its template gave up: %s", rendered->abort_reason));
	else if (rendered->waits)
		refuse(message, MA_MESSAGE_DEFERRED, "coupons", rendered->error);
	else if (rendered->error != NULL)
		refuse(message, MA_MESSAGE_FAILED, "template", rendered->error);
	else
		return false;
	return true;
}

static void
refuse(MaMessage *message, MaMessageState becomes, const char *gate, char *reason)
{
	message->becomes = becomes;
	message->gate = gate;
	message->reason = reason;
}

static MaRenderVariable *
variables(int64 contact_id, int32 topic_id, const char *channel, const char *url)
{
	static const struct
	{
		const char *name;
		char	   *(*make) (const void *links);
	}			all[VARIABLES] = {
		{"confirm_url", confirm_url},
		[UNSUBSCRIBE_URL] = {"unsubscribe_url", unsubscribe_url},
		{"preferences_url", preferences_url},
	};
	MaRenderVariable *result = palloc0_array(MaRenderVariable, VARIABLES);
	Links	   *links = palloc_object(Links);

	*links = (Links) {contact_id, topic_id, channel, url};
	for (int i = 0; i < VARIABLES; i++)
	{
		result[i].name = all[i].name;
		result[i].make = all[i].make;
		result[i].of = links;
	}
	return result;
}

static char *
confirm_url(const void *links)
{
	const Links *of = links;

	return psprintf("%s/confirm/%s", of->url, ma_confirm_token(of->contact_id));
}

static char *
unsubscribe_url(const void *links)
{
	const Links *of = links;

	return psprintf("%s/u/%s", of->url,
					ma_unsubscribe_token(of->contact_id, of->topic_id, of->channel));
}

static char *
preferences_url(const void *links)
{
	const Links *of = links;

	return psprintf("%s/p/%s", of->url, ma_preferences_token(of->contact_id));
}

/* The same for a message that is only looked at. */
static MaRenderVariable *
preview_variables(int64 contact_id, const MaTemplate *template, int *n)
{
	*n = VARIABLES;
	return variables(contact_id, ma_topic_required(template->topic)->id, template->channel,
					 ma_public_url());
}

void
ma_compose_init(void)
{
	ma_register_variables(preview_variables);
}

/*
 * The bytes.  A text that is none in UTF-8 is the fault of its message; a server's templates
 * stop nothing but what goes through it.
 */
static void
build(MaMessage *message, const MaRendered *rendered, MaRenderVariable *unsubscribe)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		if (strcmp(message->channel, "email") == 0)
			build_mail(message, rendered, unsubscribe ? ma_render_variable(unsubscribe) : NULL);
		else
			build_json(message, rendered);
		if (message->gate == NULL && message->options != NULL &&
			message->options->kind == MA_SERVER_HTTP)
			ma_request_build(message, rendered, unsubscribe);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		bool		of_text = geterrcode() == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE ||
			geterrcode() == ERRCODE_UNTRANSLATABLE_CHARACTER;

		MemoryContextSwitchTo(context);
		if (geterrcode() == ERRCODE_QUERY_CANCELED || geterrcode() == ERRCODE_OUT_OF_MEMORY ||
			(!of_text && (message->options == NULL || message->options->kind != MA_SERVER_HTTP)))
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		refuse(message, of_text ? MA_MESSAGE_FAILED : MA_MESSAGE_DEFERRED,
			   of_text ? "template" : "server", error->message);
		message->pause = 600;
		message->untried = !of_text;
	}
	PG_END_TRY();
}

/* Mails are UTF-8, whatever the database is. */
static char *
in_utf8(const char *text)
{
	return text ? pg_server_to_any(text, strlen(text), PG_UTF8) : NULL;
}

static void
build_mail(MaMessage *message, const MaRendered *rendered, const char *unsubscribe)
{
	const MaSender *sender = message->sender;
	MaMimeHeader headers[3];
	MaMimeMessage mail = {0};
	const char *error = NULL;
	bool		smtputf8;
	char	   *content;

	headers[0].name = "X-MA-Key";
	headers[0].value = message->outgoing.key;
	mail.from_address = in_utf8(sender->from_address);
	mail.from_name = in_utf8(sender->from_name);
	mail.reply_to = in_utf8(sender->reply_to);
	mail.to_address = ma_mime_address(in_utf8(message->outgoing.to_address), &smtputf8);
	mail.subject = in_utf8(rendered->subject);
	mail.text = in_utf8(rendered->text);
	mail.html = in_utf8(rendered->html);
	mail.preheader = in_utf8(rendered->preheader);
	mail.message_id = psprintf("%s@%s", headers[0].value, strrchr(sender->from_address, '@') + 1);
	mail.date = timestamptz_to_time_t(ma_now());
	mail.unsubscribe_url = unsubscribe;
	mail.nheaders = 1;
	mail.headers = headers;
	if (message->outgoing.to_address != message->address)
	{
		headers[mail.nheaders].name = "X-MA-Redirected-From";
		headers[mail.nheaders++].value = in_utf8(message->address);
	}
	if (ma_message_is_test(message))
	{
		headers[mail.nheaders].name = "X-MA-Test";
		headers[mail.nheaders++].value = "yes";
	}
	mail.nattachments = rendered->nattachments;
	mail.attachments = rendered->attachments;
	for (int i = 0; i < mail.nattachments; i++)
		rendered->attachments[i].filename = in_utf8(rendered->attachments[i].filename);
	if (mail.to_address != NULL)
		message->outgoing.to_address = mail.to_address;
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
		{"to", message->outgoing.to_address},
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
		ma_append_json(&json, members[i].value, strlen(members[i].value));
	}
	if (ma_message_is_test(message))
		appendStringInfoString(&json, ", \"test\": true");
	appendStringInfoString(&json, "}\n");
	/* A file is UTF-8; a program gets it as a text of the database. */
	message->outgoing.content = message->server == NULL ? in_utf8(json.data) : json.data;
	message->outgoing.length = strlen(message->outgoing.content);
}
