/*
 * mime.c
 *		The bytes of one mail.
 *
 * Built by us to the letter of the RFCs, since what a library makes of List-Unsubscribe
 * (encoded words in it) takes one-click unsubscribing away.  Every part is checked
 * before it gets into a header, every line ends with CRLF, every octet is ASCII: so the
 * message passes any relay as it is, and a signature over it holds.
 *
 * Pure functions over palloc: no catalog, no setting, no clock.
 */
#include "base/base.h"

#include "common/hashfn.h"
#include "content/mime.h"
#include "pgtime.h"

/* What a date of a mail can say, in seconds since 1970; of larger ones no calendar knows. */
#define FIRST_DATE INT64CONST(-62135596800)
#define LAST_DATE INT64CONST(253402300799)

static const char *check_message(const MaMimeMessage *message);
static const char *check_header(const MaMimeHeader *header);
static bool visible(const char *text, const char *except);
static void write_headers(StringInfo out, const MaMimeMessage *message);
static void write_mailbox(StringInfo out, const char *header, const char *name,
			const char *address);
static void write_date(StringInfo out, pg_time_t date);
static void write_unsubscribe(StringInfo out, const MaMimeMessage *message);
static void write_body(StringInfo out, const MaMimeMessage *message);
static void write_part(StringInfo out, const char *type, const char *body, const char *boundary);
static char *make_boundary(const MaMimeMessage *message);
static char *with_preheader(const char *html, const char *preheader);

char *
ma_mime_build(const MaMimeMessage *message, Size *length, const char **error)
{
	StringInfoData out;

	*error = check_message(message);
	if (*error != NULL)
		return NULL;
	initStringInfo(&out);
	write_headers(&out, message);
	write_body(&out, message);
	*length = out.len;
	return out.data;
}

/* ---- checks ---- */

/* What is wrong with the message, NULL if nothing is. */
static const char *
check_message(const MaMimeMessage *message)
{
	const char *texts[] = {message->from_name, message->to_name, message->subject};

	if (message->from_address == NULL || !ma_mime_address_ok(message->from_address))
		return "the sender's address is not valid";
	if (message->to_address == NULL || !ma_mime_address_ok(message->to_address))
		return "the recipient's address is not valid";
	if (message->reply_to != NULL && !ma_mime_address_ok(message->reply_to))
		return "the address for replies is not valid";
	for (int i = 0; i < lengthof(texts); i++)
	{
		if (texts[i] != NULL && strpbrk(texts[i], "\r\n") != NULL)
			return "a name or the subject holds a line end";
		if (texts[i] != NULL && strlen(texts[i]) > MIME_MAX_TEXT)
			return "a name or the subject is too long";
		if (texts[i] != NULL && !ma_mime_is_utf8(texts[i]))
			return "a name or the subject is not UTF-8";
	}
	if (message->message_id == NULL || !visible(message->message_id, "<>") ||
		strlen(message->message_id) > 900 || strchr(message->message_id, '@') == NULL ||
		strchr(message->message_id, '@') != strrchr(message->message_id, '@') ||
		message->message_id[0] == '@' ||
		message->message_id[strlen(message->message_id) - 1] == '@')
		return "the message id is not valid";
	if (message->unsubscribe_url != NULL &&
		(!visible(message->unsubscribe_url, "<>\"\\") || strlen(message->unsubscribe_url) > 900 ||
		 (strncmp(message->unsubscribe_url, "https://", 8) != 0 &&
		  strncmp(message->unsubscribe_url, "http://", 7) != 0)))
		return "the address for unsubscribing is not a URL";
	if (message->unsubscribe_mailto != NULL && !ma_mime_address_ok(message->unsubscribe_mailto))
		return "the mail address for unsubscribing is not valid";
	if (message->date < FIRST_DATE || message->date > LAST_DATE)
		return "the date is not of the years 1 to 9999";
	if (message->text == NULL && message->html == NULL)
		return "the message has no text and no html";
	if ((message->text != NULL && !ma_mime_is_utf8(message->text)) ||
		(message->html != NULL && !ma_mime_is_utf8(message->html)))
		return "the text or html is not UTF-8";
	for (int i = 0; i < message->nheaders; i++)
	{
		const char *fault = check_header(&message->headers[i]);

		if (fault != NULL)
			return fault;
	}
	return NULL;
}

/* A further header must not be one that we write, nor end early. */
static const char *
check_header(const MaMimeHeader *header)
{
	static const char *const ours[] = {
		"from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id",
		"mime-version", "return-path", "received", "list-unsubscribe", "list-unsubscribe-post",
		"dkim-signature"
	};

	if (header->name == NULL || header->value == NULL)
		return "a header has no name or no value";
	if (!visible(header->name, ":") || strlen(header->name) > 60)
		return "the name of a header is not valid";
	if (pg_strncasecmp(header->name, "content-", 8) == 0 ||
		pg_strncasecmp(header->name, "resent-", 7) == 0)
		return "a header of this name is not allowed";
	for (int i = 0; i < lengthof(ours); i++)
		if (pg_strcasecmp(header->name, ours[i]) == 0)
			return "a header of this name is not allowed";
	if (strpbrk(header->value, "\r\n") != NULL)
		return "the value of a header holds a line end";
	if (strlen(header->value) > MIME_MAX_TEXT)
		return "the value of a header is too long";
	if (!ma_mime_is_utf8(header->value))
		return "the value of a header is not UTF-8";
	return NULL;
}

/* True for one or more visible ASCII characters, none of them in `except`. */
static bool
visible(const char *text, const char *except)
{
	if (*text == '\0')
		return false;
	for (; *text; text++)
		if (*text <= ' ' || *text >= 0x7F || strchr(except, *text) != NULL)
			return false;
	return true;
}

/*
 * local@domain: an atom with dots, and a name of labels.  What else the grammar allows
 * (quoted local parts, literals, comments) is what attacks are made of, not people's
 * addresses.
 */
bool
ma_mime_address_ok(const char *address)
{
	const char *at = strrchr(address, '@');
	int			local = at ? at - address : 0;
	int			label = 0;

	if (local < 1 || local > 64 || strlen(address) > 254)
		return false;
	for (int i = 0; i < local; i++)
	{
		unsigned char c = address[i];

		if (c == '.' ? (i == 0 || i == local - 1 || address[i - 1] == '.') :
			!((c < 0x80 && isalnum(c)) || strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL))
			return false;
	}
	for (const char *c = at + 1;; c++)
	{
		if (*c == '.' || *c == '\0')
		{
			if (label == 0 || label > 63 || c[-1] == '-')
				return false;
			if (*c == '\0')
				return true;
			label = 0;
			continue;
		}
		if (!((unsigned char) *c < 0x80 && isalnum((unsigned char) *c)) && !(*c == '-' &&
					label > 0))
			return false;
		label++;
	}
}

/* ---- headers ---- */

static void
write_headers(StringInfo out, const MaMimeMessage *message)
{
	write_mailbox(out, "From", message->from_name, message->from_address);
	write_mailbox(out, "To", message->to_name, message->to_address);
	if (message->reply_to != NULL)
		write_mailbox(out, "Reply-To", NULL, message->reply_to);
	ma_mime_write_text(out, "Subject", message->subject ? message->subject : "");
	write_date(out, message->date);
	appendStringInfo(out, "Message-ID: <%s>\r\n", message->message_id);
	write_unsubscribe(out, message);
	for (int i = 0; i < message->nheaders; i++)
		ma_mime_write_text(out, message->headers[i].name, message->headers[i].value);
	appendStringInfoString(out, "MIME-Version: 1.0\r\n");
}

/* Header: name <address> */
static void
write_mailbox(StringInfo out, const char *header, const char *name, const char *address)
{
	int			start = out->len;
	int			line;

	appendStringInfo(out, "%s: ", header);
	if (name == NULL || *name == '\0')
	{
		appendStringInfo(out, "%s\r\n", address);
		return;
	}
	line = ma_mime_write_phrase(out, name, out->len - start);
	/* The address goes to a line of its own if it would make this one too long. */
	if (line + strlen(address) + 3 > MIME_LINE)
		appendStringInfoString(out, "\r\n");
	appendStringInfo(out, " <%s>\r\n", address);
}

static void
write_date(StringInfo out, pg_time_t date)
{
	static const char *const day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec"};
	struct pg_tm *tm = pg_gmtime(&date);

	appendStringInfo(out, "Date: %s, %02d %s %04d %02d:%02d:%02d +0000\r\n", day_names[tm->tm_wday],
					 tm->tm_mday, month_names[tm->tm_mon], tm->tm_year + 1900, tm->tm_hour,
					 tm->tm_min, tm->tm_sec);
}

/* RFC 2369 and 8058: never encoded, and folded only between the two. */
static void
write_unsubscribe(StringInfo out, const MaMimeMessage *message)
{
	const char *url = message->unsubscribe_url;
	const char *mailto = message->unsubscribe_mailto;

	if (url == NULL && mailto == NULL)
		return;
	appendStringInfoString(out, "List-Unsubscribe: ");
	if (url != NULL)
		appendStringInfo(out, "<%s>", url);
	if (mailto != NULL)
		appendStringInfo(out, "%s<mailto:%s>", url != NULL ? ",\r\n " : "", mailto);
	appendStringInfoString(out, "\r\n");
	if (url != NULL && strncmp(url, "https://", 8) == 0)
		appendStringInfoString(out, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
}

/* ---- body ---- */

static void
write_body(StringInfo out, const MaMimeMessage *message)
{
	char	   *html = message->html ? with_preheader(message->html, message->preheader) : NULL;
	char	   *boundary = make_boundary(message);

	/* An empty text beside html would be shown by those who prefer text. */
	if (html == NULL)
		write_part(out, "text/plain", message->text, boundary);
	else if (message->text == NULL || *message->text == '\0')
		write_part(out, "text/html", html, boundary);
	else
	{
		appendStringInfo(out, "Content-Type: multipart/alternative;\r\n boundary=\"%s\"\r\n\r\n--%s\r\n",
						 boundary, boundary);
		write_part(out, "text/plain", message->text, boundary);
		appendStringInfo(out, "\r\n--%s\r\n", boundary);
		write_part(out, "text/html", html, boundary);
		appendStringInfo(out, "\r\n--%s--\r\n", boundary);
	}
}

static void
write_part(StringInfo out, const char *type, const char *body, const char *boundary)
{
	const char *encoding = ma_mime_encoding(body);

	/* A line of plain text could be the boundary's; of the other two none can. */
	if (strcmp(encoding, "7bit") == 0 && strstr(body, boundary) != NULL)
		encoding = "quoted-printable";
	appendStringInfo(out, "Content-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: %s\r\n\r\n",
					 type, encoding);
	ma_mime_write_encoded(out, body, encoding);
}

/* The same for the same message, so that a message sent again is the same bytes. */
static char *
make_boundary(const MaMimeMessage *message)
{
	const unsigned char *id = (const unsigned char *) message->message_id;
	uint64		high = hash_bytes_extended(id, strlen(message->message_id), 1);
	uint64		low = hash_bytes_extended(id, strlen(message->message_id), 2);

	return psprintf("=_%08x%08x%08x%08x", (uint32) (high >> 32), (uint32) high,
					(uint32) (low >> 32), (uint32) low);
}

/* What a list of mails shows behind the subject: at the start of the html, not seen in it. */
static char *
with_preheader(const char *html, const char *preheader)
{
	StringInfoData out;
	const char *body = html;

	if (preheader == NULL || *preheader == '\0')
		return pstrdup(html);
	for (const char *c = html; *c; c++)
		if (pg_strncasecmp(c, "<body", 5) == 0 && !isalnum((unsigned char) c[5]))
		{
			const char *end = strchr(c, '>');

			if (end != NULL)
				body = end + 1;
			break;
		}
	initStringInfo(&out);
	appendBinaryStringInfo(&out, html, body - html);
	appendStringInfoString(&out, "<div style=\"display:none;max-height:0;overflow:hidden;mso-hide:all\">");
	for (const char *c = preheader; *c; c++)
	{
		if (*c == '&')
			appendStringInfoString(&out, "&amp;");
		else if (*c == '<')
			appendStringInfoString(&out, "&lt;");
		else if (*c == '>')
			appendStringInfoString(&out, "&gt;");
		else
			appendStringInfoChar(&out, *c);
	}
	appendStringInfoString(&out, "</div>");
	appendStringInfoString(&out, body);
	return out.data;
}
