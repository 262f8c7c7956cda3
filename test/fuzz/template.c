/*
 * template.c
 *		Templates: lexer, parser, the place in the HTML, caret of errors.
 */
#include "postgres.h"

#include "content/content.h"
#include "fuzz.h"

static void
target(char *text, int length)
{
	if (!fuzz_is_text(text, length))
		return;
	(void) ma_liquid_compile(text, length, length % 2 == 0 ? MA_ESCAPE_HTML : MA_ESCAPE_NONE, "fuzz");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_run(target, data, size);
}
