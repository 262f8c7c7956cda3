/*
 * base64url.c
 *		Octets as a text that can stand in an address of the web, and back.
 *
 * A signed text must have one form: who could write it in two ways would have two tokens
 * where one was given out.  Base64 allows padding, blanks and other last characters for the
 * same octets; so what was read is written again, and only that very text is taken.
 */
#include "base/base.h"

#include "common/base64.h"

char *
ma_base64url(const uint8 *bytes, int length)
{
	int			size = pg_b64_enc_len(length);
	char	   *text = palloc0(size + 1);
	int			n = pg_b64_encode((const MA_BASE64_BYTE *) bytes, length, text, size);

	if (n < 0)
		elog(ERROR, "cannot happen: %d octets in base64 are more than %d characters", length, size);
	for (int i = 0; i < n; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	while (n > 0 && text[n - 1] == '=')
		text[--n] = '\0';
	return text;
}

int
ma_base64url_read(const char *text, uint8 *bytes, int size)
{
	int			length = strlen(text);
	char	   *padded;
	int			n;

	if (length > pg_b64_enc_len(size))
		return -1;
	padded = palloc(length + 4);
	for (int i = 0; i < length; i++)
		padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	while (length % 4 != 0)
		padded[length++] = '=';
	n = pg_b64_decode(padded, length, (MA_BASE64_BYTE *) bytes, size);
	return n >= 0 && strcmp(ma_base64url(bytes, n), text) == 0 ? n : -1;
}
