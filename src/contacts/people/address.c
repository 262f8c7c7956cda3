/*
 * address.c
 *		One normal form of e-mail addresses and phone numbers, or none.
 *
 * Two rows are the same person for match => only if their addresses are equal
 * byte by byte, consent and suppression are kept by address, and what is stored
 * here is handed to a mail server later.  So the grammar is strict: nothing that
 * could end a header line or begin another address ever passes.
 */
#include "base/base.h"

#include "contacts/contacts.h"
#include "mb/pg_wchar.h"

#define MAX_LOCAL 64
#define MAX_EMAIL 254
#define MAX_LABEL 63
#define MIN_DIGITS 7
#define MAX_DIGITS 15

static const char *trimmed(const char *text, int *length);
static bool local_is_valid(const char *local, int length);
static bool domain_is_valid(const char *domain, int length);
static bool label_is_valid(const char *label, int length);
static bool has_invisible(const char *text, int length);

/* Start and length of the text without blanks around it. */
static const char *
trimmed(const char *text, int *length)
{
	const char *end;

	while (*text == ' ' || (*text >= '\t' && *text <= '\r'))
		text++;
	end = text + strlen(text);
	while (end > text && (end[-1] == ' ' || (end[-1] >= '\t' && end[-1] <= '\r')))
		end--;
	*length = end - text;
	return text;
}

char *
ma_normalise_email(const char *email)
{
	int			length;
	const char *at;
	char	   *result;

	email = trimmed(email, &length);
	if (length == 0 || length > MAX_EMAIL)
		return NULL;
	at = memchr(email, '@', length);
	if (at == NULL ||
		!local_is_valid(email, at - email) ||
		!domain_is_valid(at + 1, email + length - at - 1) ||
		has_invisible(email, length))
		return NULL;

	result = pnstrdup(email, length);
	for (char *c = result; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	return result;
}

/* A dot-atom of RFC 5322, letters beyond ASCII included. */
static bool
local_is_valid(const char *local, int length)
{
	if (length < 1 || length > MAX_LOCAL || local[0] == '.' || local[length - 1] == '.')
		return false;
	for (int i = 0; i < length; i++)
	{
		unsigned char c = local[i];

		if (c <= ' ' || c == 0x7f || strchr("()<>[]:;@\\,\"", c) != NULL)
			return false;
		if (c == '.' && local[i + 1] == '.')
			return false;
	}
	return true;
}

/* Two labels at least, the last of them not a number. */
static bool
domain_is_valid(const char *domain, int length)
{
	const char *end = domain + length;
	int			labels = 0;
	bool		number = false;

	for (const char *label = domain; label <= end;)
	{
		const char *dot = memchr(label, '.', end - label);
		int			size = (dot ? dot : end) - label;

		if (!label_is_valid(label, size))
			return false;
		number = strspn(label, "0123456789") >= (size_t) size;
		labels++;
		label += size + 1;
	}
	return labels >= 2 && !number;
}

static bool
label_is_valid(const char *label, int length)
{
	if (length < 1 || length > MAX_LABEL || label[0] == '-' || label[length - 1] == '-')
		return false;
	for (int i = 0; i < length; i++)
	{
		unsigned char c = label[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  c == '-' || IS_HIGHBIT_SET(c)))
			return false;
	}
	return true;
}

/* Controls and blanks beyond ASCII, as pasted from documents; known in UTF-8 only. */
static bool
has_invisible(const char *text, int length)
{
	const unsigned char *c = (const unsigned char *) text;
	const unsigned char *end = c + length;

	if (GetDatabaseEncoding() != PG_UTF8)
		return false;
	while (c < end)
	{
		pg_wchar	code = utf8_to_unicode(c);

		if ((code >= 0x80 && code <= 0xa0) || code == 0xad || code == 0x1680 ||
			(code >= 0x2000 && code <= 0x200f) || (code >= 0x2028 && code <= 0x202f) ||
			(code >= 0x205f && code <= 0x206f) || code == 0x3000 || code == 0xfeff)
			return true;
		c += pg_utf_mblen(c);
	}
	return false;
}

char *
ma_normalise_phone(const char *phone)
{
	int			length;
	int			n = 0;
	char	   *digits;

	phone = trimmed(phone, &length);
	digits = palloc(length + 2);
	for (int i = 0; i < length; i++)
		if (strchr(" .-()/", phone[i]) == NULL)
			digits[n++] = phone[i];
	digits[n] = '\0';
	if (n > 2 && digits[0] == '0' && digits[1] == '0')
	{
		digits++;
		digits[0] = '+';
		n--;
	}
	if (digits[0] != '+' || digits[1] == '0' || n - 1 < MIN_DIGITS || n - 1 > MAX_DIGITS ||
		strspn(digits + 1, "0123456789") != (size_t) (n - 1))
		return NULL;
	return pstrdup(digits);
}
