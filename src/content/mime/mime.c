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
#include "content/mime/mime.h"
#include "pgtime.h"

/* What a date of a mail can say, in seconds since 1970; of larger ones no calendar knows. */
#define FIRST_DATE INT64CONST(-62135596800)
#define LAST_DATE INT64CONST(253402300799)
#define CID_CHARACTERS \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static const char *check_message(const MaMimeMessage *message);
static const char *check_header(const MaMimeHeader *header);
static bool visible(const char *text, const char *except);
static void write_headers(StringInfo out, const MaMimeMessage *message);
static void write_mailbox(StringInfo out, const char *header, const char *name,
			const char *address);
static void write_date(StringInfo out, pg_time_t date);
static void write_unsubscribe(StringInfo out, const MaMimeMessage *message);
static void write_body(StringInfo out, const MaMimeMessage *message);
static void write_texts(StringInfo out, const MaMimeMessage *message, const char *html);
static void write_related(StringInfo out, const MaMimeMessage *message, const char *html);
static void write_part(StringInfo out, const char *type, const char *body, const char *boundary);
static void write_file(StringInfo out, const MaMimeMessage *message, const MaAttachment *file);
static void write_filename(StringInfo out, const char *filename);
static int	count_files(const MaMimeMessage *message, bool shown);
static char *with_content_ids(const char *html, const MaMimeMessage *message);
static char *make_boundary(const MaMimeMessage *message, int level);

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
	if (message->to_address == NULL || !ma_mime_recipient_ok(message->to_address))
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
	for (int i = 0; i < message->nattachments; i++)
	{
		const MaAttachment *file = &message->attachments[i];

		if (file->filename == NULL || *file->filename == '\0' || strlen(file->filename) > 250 ||
			!ma_mime_is_utf8(file->filename) ||
			(file->shown && strspn(file->filename, CID_CHARACTERS) != strlen(file->filename)))
			return "the name of an attachment is not valid";
		for (const char *c = file->filename; *c; c++)
			if ((unsigned char) *c < ' ' || *c == 0x7F || *c == '/' || *c == '\\')
				return "the name of an attachment is not valid";
		if (!visible(file->type, "\";") || strlen(file->type) > 200)
			return "the type of an attachment is not valid";
	}
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

/* multipart/mixed of the texts and the files, where there are any. */
static void
write_body(StringInfo out, const MaMimeMessage *message)
{
	char	   *html = message->html ?
		ma_html_with_preheader(message->html, message->preheader) : NULL;
	char	   *boundary = make_boundary(message, 1);

	if (html != NULL)
		html = with_content_ids(html, message);
	if (count_files(message, false) == 0)
	{
		write_texts(out, message, html);
		return;
	}
	appendStringInfo(out, "Content-Type: multipart/mixed;\r\n boundary=\"%s\"\r\n\r\n--%s\r\n",
					 boundary, boundary);
	write_texts(out, message, html);
	for (int i = 0; i < message->nattachments; i++)
	{
		if (message->attachments[i].shown)
			continue;
		appendStringInfo(out, "\r\n--%s\r\n", boundary);
		write_file(out, message, &message->attachments[i]);
	}
	appendStringInfo(out, "\r\n--%s--\r\n", boundary);
}

/* Text, html or multipart/alternative of both. */
static void
write_texts(StringInfo out, const MaMimeMessage *message, const char *html)
{
	char	   *boundary = make_boundary(message, 0);

	/* An empty text beside html would be shown by those who prefer text. */
	if (html == NULL)
		write_part(out, "text/plain", message->text, boundary);
	else if (message->text == NULL || *message->text == '\0')
		write_related(out, message, html);
	else
	{
		appendStringInfo(out, "Content-Type: multipart/alternative;\r\n boundary=\"%s\"\r\n\r\n--%s\r\n",
						 boundary, boundary);
		write_part(out, "text/plain", message->text, boundary);
		appendStringInfo(out, "\r\n--%s\r\n", boundary);
		write_related(out, message, html);
		appendStringInfo(out, "\r\n--%s--\r\n", boundary);
	}
}

/* The html, in a multipart/related with the images it shows. */
static void
write_related(StringInfo out, const MaMimeMessage *message, const char *html)
{
	char	   *boundary = make_boundary(message, 2);

	if (count_files(message, true) == 0)
	{
		write_part(out, "text/html", html, boundary);
		return;
	}
	appendStringInfo(out, "Content-Type: multipart/related; type=\"text/html\";\r\n boundary=\"%s\"\r\n\r\n--%s\r\n",
					 boundary, boundary);
	write_part(out, "text/html", html, boundary);
	for (int i = 0; i < message->nattachments; i++)
	{
		if (!message->attachments[i].shown)
			continue;
		appendStringInfo(out, "\r\n--%s\r\n", boundary);
		write_file(out, message, &message->attachments[i]);
	}
	appendStringInfo(out, "\r\n--%s--\r\n", boundary);
}

static int
count_files(const MaMimeMessage *message, bool shown)
{
	int			n = 0;

	for (int i = 0; i < message->nattachments; i++)
		n += message->attachments[i].shown == shown;
	return n;
}

/* A file in base64; one that the html shows has the number by which it does. */
static void
write_file(StringInfo out, const MaMimeMessage *message, const MaAttachment *file)
{
	appendStringInfo(out, "Content-Type: %s\r\nContent-Transfer-Encoding: base64\r\n", file->type);
	if (file->shown)
		appendStringInfo(out, "Content-ID: <%s%s>\r\n", file->filename,
						 strchr(message->message_id, '@'));
	appendStringInfo(out, "Content-Disposition: %s", file->shown ? "inline" : "attachment");
	write_filename(out, file->filename);
	appendStringInfoString(out, "\r\n\r\n");
	ma_mime_write_file(out, file->content, file->length);
}

/* RFC 2231: as it is, or in UTF-8 with percent signs, in pieces that fit on a line. */
static void
write_filename(StringInfo out, const char *filename)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	int			line = 0;
	int			piece = 0;

	if (strspn(filename, plain) == strlen(filename) && strlen(filename) <= 50)
	{
		appendStringInfo(out, ";\r\n filename=\"%s\"", filename);
		return;
	}
	for (const char *c = filename; *c; c++)
	{
		if (line == 0)
			appendStringInfo(out, ";\r\n filename*%d*=%s", piece, piece == 0 ? "UTF-8''" : "");
		if (strchr(plain, *c) != NULL)
			appendStringInfoChar(out, *c);
		else
			appendStringInfo(out, "%%%02X", (unsigned char) *c);
		line += strchr(plain, *c) != NULL ? 1 : 3;
		if (line > 45)
		{
			line = 0;
			piece++;
		}
	}
}

/* cid:logo.png as cid:logo.png@domain, as the part of that name is called. */
static char *
with_content_ids(const char *html, const MaMimeMessage *message)
{
	StringInfoData out;
	const char *done = html;

	if (count_files(message, true) == 0)
		return unconstify(char *, html);
	initStringInfo(&out);
	for (const char *at = strstr(html, "cid:"); at != NULL; at = strstr(at + 4, "cid:"))
	{
		int			length = strspn(at + 4, CID_CHARACTERS);

		for (int i = 0; i < message->nattachments; i++)
		{
			const MaAttachment *file = &message->attachments[i];

			if (!file->shown || (int) strlen(file->filename) != length ||
				strncmp(file->filename, at + 4, length) != 0)
				continue;
			appendBinaryStringInfo(&out, done, at + 4 + length - done);
			appendStringInfoString(&out, strchr(message->message_id, '@'));
			done = at + 4 + length;
			break;
		}
	}
	appendStringInfoString(&out, done);
	return out.data;
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

/* One a level of parts; the same for the same message, so that sent again it is the same bytes. */
static char *
make_boundary(const MaMimeMessage *message, int level)
{
	const unsigned char *id = (const unsigned char *) message->message_id;
	uint64		high = hash_bytes_extended(id, strlen(message->message_id), 1 + 2 * level);
	uint64		low = hash_bytes_extended(id, strlen(message->message_id), 2 + 2 * level);

	return psprintf("=_%08x%08x%08x%08x", (uint32) (high >> 32), (uint32) high,
					(uint32) (low >> 32), (uint32) low);
}

/* What a list of mails shows behind the subject: at the start of the html, not seen in it. */
char *
ma_html_with_preheader(const char *html, const char *preheader)
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
