/*
 * mime.c
 *		Mails: whatever their parts are, the bytes are legal, and headers are only those
 *		that were meant.
 *
 * The input is the parts, divided by octets of value 0.
 */
#include "postgres.h"

#include "content/content.h"
#include "fuzz.h"

#define PARTS 12

static void check(const char *mail, Size length, bool utf8);

static void
target(char *text, int length)
{
	const char *parts[PARTS] = {NULL};
	MaMimeMessage message = {0};
	MaMimeHeader header;
	MaAttachment file = {0};
	const char *error = NULL;
	char	   *mail;
	Size		size = 0;
	int			n = 0;

	for (char *at = text; at <= text + length && n < PARTS; at += strlen(at) + 1)
		parts[n++] = at;
	if (n < 2)
		return;
	message.subject = parts[0];
	message.text = parts[1];
	message.html = parts[2];
	message.from_name = parts[3];
	message.to_name = parts[4];
	message.preheader = parts[5];
	message.to_address = parts[6] && *parts[6] ? parts[6] : "ada@example.com";
	message.from_address = "hello@shop.example";
	message.message_id = parts[7] && *parts[7] ? parts[7] : "1@shop.example";
	message.unsubscribe_url = parts[8] && *parts[8] ? parts[8] : NULL;
	header.name = "X-Campaign";
	header.value = parts[9];
	message.headers = &header;
	message.nheaders = parts[9] != NULL;
	file.filename = parts[10];
	file.type = "image/png";
	file.content = parts[1];
	file.length = strlen(parts[1]);
	file.shown = length % 2 == 0;
	message.attachments = &file;
	message.nattachments = parts[10] != NULL;
	message.date = length * INT64CONST(100000000);
	mail = ma_mime_build(&message, &size, &error);
	if (mail == NULL && error == NULL)
		fuzz_fail("a mail that is not built has a reason");
	if (mail != NULL)
		check(mail, size, !ma_mime_address_ok(message.to_address));
}

/* CR LF only, lines of at most 998 octets, ASCII, no header but ours, an end of the headers. */
static void
check(const char *mail, Size length, bool utf8)
{
	static const char *const names[] = {
		"From:", "To:", "Subject:", "Date:", "Message-ID:", "List-Unsubscribe:", "X-Campaign:",
		"List-Unsubscribe-Post:", "MIME-Version:", "Content-Type:", "Content-Transfer-Encoding:"
	};
	Size		line = 0;
	bool		headers = true;

	if (strlen(mail) != length)
		fuzz_fail("a mail holds no NUL");
	for (Size i = 0; i < length; i++)
	{
		if ((unsigned char) mail[i] >= 0x80 && !utf8)
			fuzz_fail("a mail is ASCII");
		if ((mail[i] == '\n') != (i > 0 && mail[i - 1] == '\r'))
			fuzz_fail("lines end with CR LF");
		if (mail[i] != '\n')
			continue;
		if (i - line - 1 > 998)
			fuzz_fail("a line has at most 998 octets");
		if (i - line == 1)
			headers = false;
		else if (headers && mail[line] != ' ' && mail[line] != '\t')
		{
			bool		known = false;

			for (int j = 0; j < lengthof(names); j++)
				known |= strncmp(mail + line, names[j], strlen(names[j])) == 0;
			if (!known)
				fuzz_fail("headers are those that were meant");
		}
		else if (!headers && mail[line] == '.')
			fuzz_fail("no line of a body begins with a dot");
		line = i + 1;
	}
	if (headers)
		fuzz_fail("headers end");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_run(target, data, size);
}
