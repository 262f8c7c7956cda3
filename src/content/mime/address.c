/*
 * address.c
 *		Addresses as they may stand in a header and in an SMTP command, and domains with
 *		letters beyond ASCII as the wire has them.
 *
 * A domain becomes ASCII by Punycode (RFC 3492) over its composed, small letters, so
 * that every server takes it.  What is before the @ has no ASCII form: such an address
 * needs a server with SMTPUTF8, and the caller is told.
 */
#include "base/base.h"

#include "common/unicode_norm.h"
#include "content/content.h"
#include "content/mime/mime.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#define MAX_LABEL 63
#define MAX_CHARACTERS 250

static bool address_ok(const char *address, bool utf8);
static bool domain_ok(const char *domain);
static bool append_label(StringInfo out, const char *label, int length);
static bool punycode(StringInfo out, const pg_wchar *input, int n);
static int	adapt(int delta, int points, bool first);
static bool is_separator(pg_wchar c);
static pg_wchar small_letter(pg_wchar c);

bool
ma_mime_address_ok(const char *address)
{
	return address_ok(address, false);
}

bool
ma_mime_recipient_ok(const char *address)
{
	return address_ok(address, true);
}

/*
 * local@domain: an atom with dots, and a name of labels.  What else the grammar allows
 * (quoted local parts, literals, comments) is what attacks are made of, not people's
 * addresses.
 */
static bool
address_ok(const char *address, bool utf8)
{
	const char *at = strrchr(address, '@');
	int			local = at ? at - address : 0;

	if (local < 1 || local > 64 || strlen(address) > 254)
		return false;
	for (int i = 0; i < local; i++)
	{
		unsigned char c = address[i];

		if (IS_HIGHBIT_SET(c) ? !utf8 :
			c == '.' ? (i == 0 || i == local - 1 || address[i - 1] == '.') :
			!(isalnum(c) || strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL))
			return false;
	}
	/* C1 controls and line separators of Unicode end lines for some programs. */
	for (int i = 0; utf8 && i + 1 < local; i++)
		if (((unsigned char) address[i] == 0xC2 && (unsigned char) address[i + 1] < 0xA1) ||
			strncmp(address + i, "\342\200\250", 3) == 0 ||
			strncmp(address + i, "\342\200\251", 3) == 0)
			return false;
	return domain_ok(at + 1) && (!utf8 || ma_mime_is_utf8(address));
}

static bool
domain_ok(const char *domain)
{
	int			label = 0;

	for (const char *c = domain;; c++)
	{
		if (*c == '.' || *c == '\0')
		{
			if (label == 0 || label > MAX_LABEL || c[-1] == '-')
				return false;
			if (*c == '\0')
				return true;
			label = 0;
			continue;
		}
		if (IS_HIGHBIT_SET(*c) || (!isalnum((unsigned char) *c) && !(*c == '-' && label > 0)))
			return false;
		label++;
	}
}

char *
ma_mime_address(const char *address, bool *smtputf8)
{
	const char *at = strrchr(address, '@');
	StringInfoData out;

	*smtputf8 = false;
	if (at == NULL || strlen(address) > 254 || !ma_mime_is_utf8(address))
		return NULL;
	for (const char *c = address; c < at; c++)
		*smtputf8 |= IS_HIGHBIT_SET(*c);
	initStringInfo(&out);
	appendBinaryStringInfo(&out, address, at + 1 - address);
	for (const char *label = at + 1;; label++)
	{
		int			length = strcspn(label, ".");

		if (!append_label(&out, label, length))
			return NULL;
		label += length;
		if (*label == '\0')
			break;
		appendStringInfoChar(&out, '.');
	}
	return address_ok(out.data, *smtputf8) ? out.data : NULL;
}

/* The label as it is, or with xn-- and its letters coded. */
static bool
append_label(StringInfo out, const char *label, int length)
{
	pg_wchar	letters[MAX_CHARACTERS + 1];
	pg_wchar   *composed;
	int			n = 0;
	bool		ascii = true;

	for (int i = 0; i < length; i += pg_utf_mblen((const unsigned char *) label + i))
	{
		if (n == MAX_CHARACTERS)
			return false;
		letters[n] = utf8_to_unicode((const unsigned char *) label + i);
		if (is_separator(letters[n]))
			return false;
		ascii &= letters[n++] < 0x80;
	}
	if (ascii)
	{
		appendBinaryStringInfo(out, label, length);
		return true;
	}
	letters[n] = 0;
	composed = unicode_normalize(UNICODE_NFC, letters);
	for (n = 0; composed[n] != 0; n++)
		composed[n] = small_letter(composed[n]);
	return punycode(out, composed, n);
}

/* Controls, blanks, marks without width, and what looks like a dot: nothing of a name. */
static bool
is_separator(pg_wchar c)
{
	return (c >= 0x80 && c <= 0xA0) || c == 0xAD || (c >= 0x2000 && c <= 0x206F) || c == 0x3000 ||
		c == 0x3002 || c == 0xFEFF || c == 0xFF0E || c == 0xFF61 || (c >= 0xFFF0 && c <= 0xFFFF) ||
		(c >= 0xE0000 && c <= 0xE0FFF);
}

/* Small forms of Latin, Greek and Cyrillic letters; others have none, or are small. */
static pg_wchar
small_letter(pg_wchar c)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7) ||
		(c >= 0x391 && c <= 0x3A9) || (c >= 0x410 && c <= 0x42F))
		return c + 32;
	if (c >= 0x400 && c <= 0x40F)
		return c + 80;
	if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14A && c <= 0x177) ||
		(c >= 0x460 && c <= 0x481))
		return c | 1;
	if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E))
		return c % 2 == 1 ? c + 1 : c;
	return c;
}

/* RFC 3492, 6.3: what is ASCII first, then each other letter as the way to it. */
static bool
punycode(StringInfo out, const pg_wchar *input, int n)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	int			basic = 0;
	int			done;
	int			bias = 72;
	int64		delta = 0;
	pg_wchar	next = 0x80;

	appendStringInfoString(out, "xn--");
	for (int i = 0; i < n; i++)
		if (input[i] < 0x80)
		{
			appendStringInfoChar(out, (char) input[i]);
			basic++;
		}
	if (basic > 0)
		appendStringInfoChar(out, '-');
	for (done = basic; done < n; delta++, next++)
	{
		pg_wchar	least = 0x110000;

		for (int i = 0; i < n; i++)
			if (input[i] >= next && input[i] < least)
				least = input[i];
		delta += (int64) (least - next) * (done + 1);
		next = least;
		if (delta > PG_INT32_MAX)
			return false;
		for (int i = 0; i < n; i++)
		{
			int64		rest = delta;

			if (input[i] < next)
				delta++;
			if (input[i] != next)
				continue;
			rest = delta;
			for (int k = 36;; k += 36)
			{
				int			t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;

				if (rest < t)
					break;
				appendStringInfoChar(out, digits[t + (rest - t) % (36 - t)]);
				rest = (rest - t) / (36 - t);
			}
			appendStringInfoChar(out, digits[rest]);
			bias = adapt(delta, done + 1, done == basic);
			delta = 0;
			done++;
		}
	}
	return true;
}

static int
adapt(int delta, int points, bool first)
{
	int			k = 0;

	delta = first ? delta / 700 : delta / 2;
	delta += delta / points;
	for (; delta > (36 - 1) * 26 / 2; k += 36)
		delta /= 36 - 1;
	return k + 36 * delta / (delta + 38);
}
