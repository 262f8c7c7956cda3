/*
 * html.c
 *		HTML of a message: its text part, its links, and how an SMS is cut.
 *
 * Unchanged links leave every octet as it was; parts of an SMS are the text.
 */
#include "postgres.h"

#include "content/content.h"
#include "fuzz.h"

static char *
leave(void *argument, char *url)
{
	return NULL;
}

static char *
change(void *argument, char *url)
{
	return ma_url_with_tags(url, "utm_source=a&utm_medium=b");
}

static void
target(char *text, int length)
{
	MaSms		sms;

	if (!fuzz_is_text(text, length))
		return;
	(void) ma_html_to_text(text);
	if (strcmp(ma_html_links(text, leave, NULL), text) != 0)
		fuzz_fail("a html without changed links is the same");
	if (!fuzz_is_text(ma_html_links(text, change, NULL), strlen(ma_html_links(text, change, NULL))))
		fuzz_fail("changed links leave a text");
	ma_sms_measure(text, &sms);
	if (sms.starts[sms.nparts] != length)
		fuzz_fail("the parts of an SMS are all of it");
	for (int i = 1; i <= sms.nparts; i++)
		if (sms.starts[i] <= sms.starts[i - 1] || (text[sms.starts[i]] & 0xC0) == 0x80)
			fuzz_fail("a part of an SMS begins with a character, and none is empty");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_run(target, data, size);
}
