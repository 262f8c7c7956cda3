/*
 * bounce.c
 *		What a bounce says about the address: by the enhanced status code (RFC 3463), else
 *		the reply code, else the provider's own word.
 *
 * Hard: the address does not exist or takes no mail any more.  Soft: it may later
 * (a full box, a server that is busy).  Blocked: the fault is the message's, the sender's
 * or the way's, and nothing is learned about the address.  A permanent code is hard only
 * if it is about the address: a refusal for spam says 5.7.1 of everybody.
 */
#include "base/base.h"

#include <ctype.h>

#include "delivery/feedback.h"

/* Subject and detail of an enhanced code; a detail of -1 is any. */
typedef struct Meaning
{
	int			subject;
	int			detail;
	MaBounceClass permanent;	/* what 5.subject.detail means; 4.x.x is never hard */
} Meaning;

static const Meaning meanings[] = {
	{1, 0, MA_BOUNCE_HARD},		/* other status of the address */
	{1, 1, MA_BOUNCE_HARD},		/* no such mailbox */
	{1, 2, MA_BOUNCE_HARD},		/* no such domain */
	{1, 3, MA_BOUNCE_HARD},		/* no valid address */
	{1, 4, MA_BOUNCE_HARD},		/* ambiguous */
	{1, 6, MA_BOUNCE_HARD},		/* moved, no forwarding */
	{1, 9, MA_BOUNCE_HARD},		/* forwarded to a system without such addresses */
	{1, 10, MA_BOUNCE_HARD},	/* the domain takes no mail (RFC 7505) */
	{1, -1, MA_BOUNCE_BLOCKED}, /* the sender's address */
	{2, 0, MA_BOUNCE_SOFT},
	{2, 1, MA_BOUNCE_HARD},		/* switched off */
	{2, 2, MA_BOUNCE_SOFT},		/* full */
	{2, 3, MA_BOUNCE_BLOCKED},	/* message too long */
	{2, -1, MA_BOUNCE_SOFT},
	{3, 4, MA_BOUNCE_BLOCKED},	/* message too big for the system */
	{3, -1, MA_BOUNCE_SOFT},
	{4, 4, MA_BOUNCE_HARD},		/* no way to the domain */
	{4, 1, MA_BOUNCE_SOFT},
	{4, -1, MA_BOUNCE_SOFT},
	{5, -1, MA_BOUNCE_BLOCKED}, /* protocol */
	{6, -1, MA_BOUNCE_BLOCKED}, /* content */
	{7, 13, MA_BOUNCE_HARD},	/* the account is disabled (RFC 5248 list) */
	{7, -1, MA_BOUNCE_BLOCKED}, /* policy */
};

/* Providers' own words. */
static const struct
{
	const char *word;
	MaBounceClass class;
}			words[] = {
	{"hard", MA_BOUNCE_HARD},
	{"permanent", MA_BOUNCE_HARD},
	{"soft", MA_BOUNCE_SOFT},
	{"transient", MA_BOUNCE_SOFT},
	{"temporary", MA_BOUNCE_SOFT},
	{"blocked", MA_BOUNCE_BLOCKED},
	{"undetermined", MA_BOUNCE_SOFT},
};

static const char *const class_names[] = {"hard", "soft", "blocked"};

static bool enhanced_code(const char *text, int *class, int *subject, int *detail);
static bool number(const char **at, int digits, int *value);
static int	reply_code(const char *text);

const char *
ma_bounce_class_name(MaBounceClass class)
{
	return class_names[class];
}

/* Up to so many digits. */
static bool
number(const char **at, int digits, int *value)
{
	const char *begin = *at;

	*value = 0;
	while (isdigit((unsigned char) **at) && *at - begin < digits)
		*value = *value * 10 + *(*at)++ - '0';
	return *at > begin && !isdigit((unsigned char) **at);
}

/* The first x.y.z that stands by itself. */
static bool
enhanced_code(const char *text, int *class, int *subject, int *detail)
{
	for (const char *at = text; *at != '\0'; at++)
	{
		const char *next = at;

		if (at > text && (isalnum((unsigned char) at[-1]) || at[-1] == '.'))
			continue;
		if ((*at == '2' || *at == '4' || *at == '5') && number(&next, 1, class) &&
			*next++ == '.' && number(&next, 3, subject) && *next++ == '.' &&
			number(&next, 3, detail) && *next != '.' && !isalnum((unsigned char) *next))
			return true;
	}
	return false;
}

/* The first three digits from 400 to 599 that stand by themselves; 0: none. */
static int
reply_code(const char *text)
{
	for (const char *at = text; *at != '\0'; at++)
	{
		const char *next = at;
		int			code;

		if (at > text && (isalnum((unsigned char) at[-1]) || at[-1] == '.'))
			continue;
		if (number(&next, 3, &code) && code >= 400 && code < 600 && *next != '.')
			return code;
	}
	return 0;
}

MaBounceClass
ma_bounce_class(const char *status)
{
	int			class;
	int			subject;
	int			detail;
	int			code;

	if (status == NULL)
		return MA_BOUNCE_SOFT;
	if (enhanced_code(status, &class, &subject, &detail))
	{
		for (int i = 0; i < lengthof(meanings); i++)
			if (meanings[i].subject == subject &&
				(meanings[i].detail == detail || meanings[i].detail == -1))
				return class == 4 && meanings[i].permanent == MA_BOUNCE_HARD ? MA_BOUNCE_SOFT :
					meanings[i].permanent;
		return MA_BOUNCE_SOFT;
	}
	code = reply_code(status);
	if (code != 0)
		/* 550 without more is mostly no such mailbox, 551 not local, 553 a wrong name. */
		return code == 550 || code == 551 || code == 553 ? MA_BOUNCE_HARD :
			code == 552 ? MA_BOUNCE_SOFT : code >= 500 ? MA_BOUNCE_BLOCKED : MA_BOUNCE_SOFT;
	for (int i = 0; i < lengthof(words); i++)
		if (pg_strcasecmp(status, words[i].word) == 0)
			return words[i].class;
	return MA_BOUNCE_SOFT;
}
