/*
 * presets.c
 *		Providers whose HTTP interface is known: what a request looks like and how the
 *		answer is read.
 *
 * A preset is nothing but options that a server need not say; each can be given all the
 * same and then counts.  Interfaces as their makers documented them in 2026.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"

#define JSON "application/json"
#define FORM "application/x-www-form-urlencoded"

/*
 * What mail needs besides: unsubscribing in one click, and our key.  A blank keeps the brace
 * before a tag from making it an output.
 */
#define MAIL_HEADERS \
	" {% if message.unsubscribe_url %}\"List-Unsubscribe\": {{ message.unsubscribe_url " \
	"| prepend: \"<\" | append: \">\" | json }}, " \
	"\"List-Unsubscribe-Post\": \"List-Unsubscribe=One-Click\", {% endif %}" \
	"{% if message.test %}\"X-MA-Test\": \"yes\", {% endif %}" \
	"{% if message.redirected_from %}\"X-MA-Redirected-From\": " \
	"{{ message.redirected_from | json }}, {% endif %}" \
	"\"X-MA-Key\": {{ message.key | json }}"

/* Each file that the loop's collection has, with a comma between two. */
#define EACH_FILE(collection, file) \
	"{% for file in " collection " %}{% unless forloop.first %}, {% endunless %}" file "{% endfor %}"

#define MAILJET_FILE \
	"{\"Filename\": {{ file.filename | json }}, \"ContentType\": {{ file.type | json }}, " \
	"\"Base64Content\": \"{{ file.content }}\""

/*
 * A form of several parts, one of them the mail.  No line of a mail can be its boundary,
 * since nobody knows the key before the mail is made; a mail's own begin otherwise.
 */
#define FORM_BOUNDARY "form-{{ message.key }}"
#define FORM_PART(names) \
	"\r\n--" FORM_BOUNDARY "\r\nContent-Disposition: form-data; " names "\r\n\r\n"

/* Members of options that a preset cannot do without. */
typedef enum Need
{
	NEED_ACCOUNT = 1,
	NEED_REGION = 2,
	NEED_USER = 4,
	NEED_URL = 8
} Need;

typedef struct Preset
{
	const char *name;
	int			needs;
	const char *url;
	const char *content_type;
	MaAuth		auth;
	const char *auth_header;
	const char *user;
	const char *body;
	const char *response;
	const char *headers;		/* with the body above only */
} Preset;

static const Preset presets[] = {
	{"sendgrid", 0, "https://api.sendgrid.com/v3/mail/send", JSON, MA_AUTH_BEARER, NULL, NULL,
		"{\"personalizations\": [{\"to\": [{\"email\": {{ message.to | json }}}], "
		"\"custom_args\": {\"ma_key\": {{ message.key | json }}}}], "
		"\"from\": {\"email\": {{ message.from | json }}{% if message.from_name %}, "
		"\"name\": {{ message.from_name | json }}{% endif %}}, "
		"{% if message.reply_to %}\"reply_to\": {\"email\": {{ message.reply_to | json }}}, {% endif %}"
		"\"subject\": {{ message.subject | json }}, \"content\": ["
		"{\"type\": \"text/plain\", \"value\": {{ message.text | json }}}{% if message.html %}, "
		"{\"type\": \"text/html\", \"value\": {{ message.html | json }}}{% endif %}], "
		"{% if message.attachments.size > 0 %}\"attachments\": ["
		EACH_FILE("message.attachments", "{\"filename\": {{ file.filename | json }}, "
				  "\"type\": {{ file.type | json }}, \"content\": \"{{ file.content }}\", "
				  "\"disposition\": \"{% if file.inline %}inline\", "
				  "\"content_id\": {{ file.filename | json }}{% else %}attachment\"{% endif %} }")
		"], {% endif %}\"headers\": {" MAIL_HEADERS "}}",
	"{% if status == 202 %}sent {{ headers[\"x-message-id\"] }}{% endif %}"},
	{"ses", NEED_REGION | NEED_USER,
		"https://email.{{ region }}.amazonaws.com/v2/email/outbound-emails", JSON, MA_AUTH_AWS,
		NULL, NULL,
		"{\"FromEmailAddress\": {{ message.from | json }}, "
		"\"Destination\": {\"ToAddresses\": [{{ message.to | json }}]}, "
		"\"Content\": {\"Raw\": {\"Data\": {{ message.mime | base64_encode | json }}}}}",
		"{% if status == 200 %}sent {{ body.MessageId }}"
		"{% elsif status == 400 %}{% case headers[\"x-amzn-errortype\"] %}"
		"{% when \"AccountSuspendedException\", \"SendingPausedException\", "
		"\"MailFromDomainNotVerifiedException\", \"LimitExceededException\" %}server "
	"{{ body.message }}{% else %}failed {{ body.message }}{% endcase %}{% endif %}"},
	{"mailgun", NEED_ACCOUNT,
		"https://api.{% if region == \"eu\" %}eu.{% endif %}mailgun.net/v3/{{ account }}/messages.mime",
		FORM, MA_AUTH_BASIC, NULL, "api",
		FORM_PART("name=\"to\"") "{{ message.to }}" FORM_PART("name=\"v:ma_key\"") "{{ message.key }}"
		FORM_PART("name=\"message\"; filename=\"message.eml\"\r\nContent-Type: message/rfc822")
		"{{ message.mime }}\r\n--" FORM_BOUNDARY "--\r\n",
		"{% if status == 200 %}sent {{ body.id }}{% endif %}",
	"Content-Type: multipart/form-data; boundary=" FORM_BOUNDARY},
	{"postmark", 0, "https://api.postmarkapp.com/email", JSON, MA_AUTH_HEADER,
		"X-Postmark-Server-Token", NULL,
		"{\"From\": {{ message.from_header | json }}, \"To\": {{ message.to | json }}, "
		"\"Subject\": {{ message.subject | json }}, \"TextBody\": {{ message.text | json }}"
		"{% if message.html %}, \"HtmlBody\": {{ message.html | json }}{% endif %}"
		"{% if message.reply_to %}, \"ReplyTo\": {{ message.reply_to | json }}{% endif %}"
		"{% if message.attachments.size > 0 %}, \"Attachments\": ["
		EACH_FILE("message.attachments", "{\"Name\": {{ file.filename | json }}, "
				  "\"ContentType\": {{ file.type | json }}, \"Content\": \"{{ file.content }}\""
				  "{% if file.inline %}, \"ContentID\": {{ file.filename | prepend: \"cid:\" | json }}{% endif %} }")
		"]{% endif %}, \"Metadata\": {\"ma_key\": {{ message.key | json }}}, \"Headers\": ["
		"{% if message.test %}{\"Name\": \"X-MA-Test\", \"Value\": \"yes\"}, {% endif %}"
		"{% if message.redirected_from %}{\"Name\": \"X-MA-Redirected-From\", "
		"\"Value\": {{ message.redirected_from | json }}}, {% endif %}"
		"{% if message.unsubscribe_url %}{\"Name\": \"List-Unsubscribe\", \"Value\": "
		"{{ message.unsubscribe_url | prepend: \"<\" | append: \">\" | json }}}, "
		"{\"Name\": \"List-Unsubscribe-Post\", \"Value\": \"List-Unsubscribe=One-Click\"}, {% endif %}"
	"{\"Name\": \"X-MA-Key\", \"Value\": {{ message.key | json }}}]}",
		"{% if status == 200 and body.ErrorCode == 0 %}sent {{ body.MessageID }}"
		"{% elsif body.ErrorCode == 10 %}server {{ body.Message }}"
	"{% elsif body.ErrorCode == 405 %}server {{ body.Message }}"
	"{% elsif status == 200 or status == 422 %}failed {{ body.Message }}{% endif %}"},
	{"mailjet", NEED_USER, "https://api.mailjet.com/v3.1/send", JSON, MA_AUTH_BASIC, NULL, NULL,
		"{\"Messages\": [{\"From\": {\"Email\": {{ message.from | json }}{% if message.from_name %}, "
		"\"Name\": {{ message.from_name | json }}{% endif %}}, "
		"\"To\": [{\"Email\": {{ message.to | json }}}], "
		"{% if message.reply_to %}\"ReplyTo\": {\"Email\": {{ message.reply_to | json }}}, {% endif %}"
		"\"Subject\": {{ message.subject | json }}, \"TextPart\": {{ message.text | json }}, "
		"{% if message.html %}\"HTMLPart\": {{ message.html | json }}, {% endif %}"
		"{% assign shown = message.attachments | where: \"inline\", true %}"
		"{% assign other = message.attachments | where: \"inline\", false %}"
		"{% if shown.size > 0 %}\"InlinedAttachments\": [" EACH_FILE("shown", MAILJET_FILE
		", \"ContentID\": {{ file.filename | json }} }") "], {% endif %}"
		"{% if other.size > 0 %}\"Attachments\": [" EACH_FILE("other", MAILJET_FILE "}") "], {% endif %}"
	"\"CustomID\": {{ message.key | json }}, \"Headers\": {" MAIL_HEADERS "}}]}",
		"{% assign first = body.Messages[0] %}{% if first.Status == \"success\" %}"
		"sent {{ first.To[0].MessageUUID }}{% elsif first.Errors %}failed "
	"{{ first.Errors[0].ErrorMessage }}{% endif %}"},
	{"twilio", NEED_ACCOUNT,
		"https://api.twilio.com/2010-04-01/Accounts/{{ account }}/Messages.json", FORM,
		MA_AUTH_BASIC, NULL, NULL,
		"To={{ message.to | url_encode }}&From={{ message.from | url_encode }}"
	"&Body={{ message.text | url_encode }}",
		"{% if status == 201 %}sent {{ body.sid }}{% elsif status == 400 %}failed "
	"{{ body.code }} {{ body.message }}{% endif %}"},
	{"vonage", NEED_USER, "https://api.nexmo.com/v1/messages", JSON, MA_AUTH_BASIC, NULL, NULL,
		"{\"message_type\": \"text\", \"channel\": \"sms\", "
		"\"to\": {{ message.to | remove: \"+\" | json }}, "
		"\"from\": {{ message.from | remove: \"+\" | json }}, "
	"\"text\": {{ message.text | json }}, \"client_ref\": {{ message.key | json }}}",
		"{% if status == 202 %}sent {{ body.message_uuid }}{% elsif status == 402 %}server "
	"{{ body.title }}{% elsif status == 422 %}failed {{ body.detail }}{% endif %}"},
	{"netgsm", NEED_USER, "https://api.netgsm.com.tr/sms/rest/v2/send", JSON, MA_AUTH_BASIC, NULL,
		NULL,
		"{\"msgheader\": {{ message.from | json }}, \"encoding\": \"TR\", "
		"\"messages\": [{\"msg\": {{ message.text | json }}, "
	"\"no\": {{ message.to | remove: \"+\" | json }}}]}",
		"{% case body.code %}{% when \"00\", \"01\", \"02\" %}sent {{ body.jobid }}"
		"{% when \"30\", \"40\", \"80\" %}server {{ body.code }} {{ body.description }}"
		"{% when \"20\", \"50\", \"51\", \"70\", \"85\" %}failed {{ body.code }} "
	"{{ body.description }}{% endcase %}"},
	{"fcm", NEED_ACCOUNT, "https://fcm.googleapis.com/v1/projects/{{ account }}/messages:send",
		JSON, MA_AUTH_BEARER, NULL, NULL,
		"{\"message\": {\"token\": {{ message.to | json }}, \"notification\": { "
		"{% if message.subject %}\"title\": {{ message.subject | json }}, {% endif %}"
	"\"body\": {{ message.text | json }}}, \"data\": {\"ma_key\": {{ message.key | json }}}}}",
		"{% if status == 200 %}sent {{ body.name }}{% elsif status == 404 or status == 400 %}failed "
	"{{ body.error.message }}{% endif %}"},
	{"onesignal", NEED_ACCOUNT, "https://api.onesignal.com/notifications", JSON, MA_AUTH_HEADER,
		"Authorization", NULL,
		"{\"app_id\": {{ account | json }}, \"target_channel\": \"push\", "
		"\"include_subscription_ids\": [{{ message.to | json }}], "
		"{% if message.subject %}\"headings\": {\"en\": {{ message.subject | json }}}, {% endif %}"
		"\"contents\": {\"en\": {{ message.text | json }}}, \"idempotency_key\": "
		"\"{{ message.key | slice: 0, 8 }}-{{ message.key | slice: 8, 4 }}-{{ message.key | slice: 12, 4 }}"
	"-{{ message.key | slice: 16, 4 }}-{{ message.key | slice: 20, 12 }}\"}",
		"{% if status == 200 and body.id != \"\" %}sent {{ body.id }}{% elsif status == 200 %}failed "
	"{{ body.errors | json }}{% endif %}"},
	{"slack", NEED_ACCOUNT, "https://slack.com/api/chat.postMessage", JSON "; charset=utf-8",
		MA_AUTH_BEARER, NULL, NULL,
	"{\"channel\": {{ account | json }}, \"text\": {{ message.text | json }}}",
		"{% if body.ok == true %}sent {{ body.ts }}{% elsif body.error == \"ratelimited\" %}server "
		"{{ body.error }}{% elsif body.error == \"msg_too_long\" or body.error == \"no_text\" %}failed "
	"{{ body.error }}{% elsif body.error %}server {{ body.error }}{% endif %}"},
	{"webhook", NEED_URL, NULL, JSON, MA_AUTH_SIGNED, NULL, NULL, NULL, NULL},
};

static const Preset *find_preset(const char *name);
static void require_option(const char *value, const char *option, const char *preset);
static const char *missing(const MaServerOptions *options, const Preset *preset);

static const Preset *
find_preset(const char *name)
{
	for (int i = 0; name != NULL && i < lengthof(presets); i++)
		if (strcmp(presets[i].name, name) == 0)
			return &presets[i];
	return NULL;
}

static void
require_option(const char *value, const char *option, const char *preset)
{
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 preset ? errmsg("preset \"%s\" needs option \"%s\"", preset, option) :
				 errmsg("a server of marketing_http needs option \"%s\" or \"preset\"", option)));
}

/* The first option that the preset cannot do without and that is not there. */
static const char *
missing(const MaServerOptions *options, const Preset *preset)
{
	if ((preset->needs & NEED_ACCOUNT) != 0 && options->account == NULL)
		return "account";
	if ((preset->needs & NEED_REGION) != 0 && options->region == NULL)
		return "region";
	if ((preset->needs & NEED_USER) != 0 && options->user == NULL)
		return "user";
	return NULL;
}

const char *
ma_preset_missing(const MaServerOptions *options)
{
	const Preset *preset = find_preset(options->preset);

	return preset ? missing(options, preset) : NULL;
}

void
ma_preset_check(const MaServerOptions *given)
{
	const Preset *preset = find_preset(given->preset);

	if (given->preset != NULL && preset == NULL)
	{
		List	   *names = NIL;
		char	   *nearest;

		for (int i = 0; i < lengthof(presets); i++)
			names = lappend(names, unconstify(char *, presets[i].name));
		nearest = ma_nearest(given->preset, names);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("there is no preset \"%s\"", given->preset),
				 nearest ? errhint("Did you mean %s?", nearest) :
				 errhint("README.md lists them, chapter \"Options of servers\".")));
	}
	if (preset == NULL || (preset->needs & NEED_URL) != 0)
		require_option(given->url, "url", given->preset);
	if (preset != NULL && missing(given, preset) != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("server cannot be used before it has option \"%s\": preset \"%s\" needs it",
						missing(given, preset), preset->name),
				 errhint("Say ALTER SERVER ... OPTIONS (ADD %s '...').", missing(given, preset))));
	if (given->auth == MA_AUTH_HEADER)
		require_option(given->auth_header, "auth_header", "auth header");
	if (given->url != NULL && pg_strncasecmp(given->url, "https://", 8) != 0 &&
		!(given->allow_http && pg_strncasecmp(given->url, "http://", 7) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("option \"url\" must begin with https://"),
				 errhint("For http:// say allow_http 'true', too: who listens reads everything, passwords included.")));
}

void
ma_preset_fill(MaServerOptions *options)
{
	const Preset *preset = find_preset(options->preset);

	if (preset != NULL && preset->headers != NULL && options->body == NULL)
		options->headers = options->headers == NULL ? pstrdup(preset->headers) :
			psprintf("%s\n%s", preset->headers, options->headers);
	if (preset != NULL)
	{
		const struct
		{
			char	  **place;
			const char *value;
		}			fills[] = {
			{&options->url, preset->url},
			{&options->content_type, preset->content_type},
			{&options->auth_header, preset->auth_header},
			{&options->user, preset->user},
			{&options->body, preset->body},
			{&options->response, preset->response},
		};

		for (int i = 0; i < lengthof(fills); i++)
			if (*fills[i].place == NULL && fills[i].value != NULL)
				*fills[i].place = pstrdup(fills[i].value);
		if (options->auth == MA_AUTH_NONE)
			options->auth = preset->auth;
	}
	if (options->user == NULL && options->auth == MA_AUTH_BASIC && options->account != NULL)
		options->user = pstrdup(options->account);
	if (options->method == NULL)
		options->method = pstrdup("POST");
	if (options->content_type == NULL)
		options->content_type = pstrdup(JSON);
	if (options->body == NULL)
		options->body = pstrdup("{{ message | json }}");
}
