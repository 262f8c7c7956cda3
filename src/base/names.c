/*
 * names.c
 *		Names of what users define: one rule for all of them, and who uses what.
 *
 * A name is as long as one of PostgreSQL's own, so that it fits wherever one of those
 * stands.  Lower rooms do not know who names their objects: whoever does registers it,
 * and dropping asks them all.
 */
#include "base/base.h"

#include "lib/stringinfo.h"

#define MAX_USES 64
#define MAX_SHOWN 5

static struct
{
	const char *what;
	MaUses		uses;
}			registered[MAX_USES];
static int	nregistered = 0;

void
ma_name_check(const char *name, const char *what)
{
	bool		control = false;

	for (const char *c = name; *c != '\0'; c++)
		control |= (unsigned char) *c < ' ' || *c == 0x7f;
	if (name[0] != '\0' && strlen(name) < NAMEDATALEN && !control)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("\"%s\" cannot be the name of %s %s", name,
					strchr("aeiou", what[0]) ? "an" : "a", what),
			 errdetail("A name has 1 to %d bytes and no control characters.", NAMEDATALEN - 1)));
}

void
ma_register_uses(const char *what, MaUses uses)
{
	if (nregistered == MAX_USES)
		elog(ERROR, "cannot happen: more than %d who use names", MAX_USES);
	registered[nregistered].what = what;
	registered[nregistered++].uses = uses;
}

void
ma_require_unused(const char *what, const char *name)
{
	StringInfoData text;
	int			n = 0;

	initStringInfo(&text);
	for (int i = 0; i < nregistered; i++)
	{
		ListCell   *cell;

		if (strcmp(registered[i].what, what) != 0)
			continue;
		foreach(cell, registered[i].uses(name))
			if (n++ < MAX_SHOWN)
				appendStringInfo(&text, "%s%s", n > 1 ? "; " : "", (char *) lfirst(cell));
	}
	if (n == 0)
		return;
	if (n > MAX_SHOWN)
		appendStringInfo(&text, "; and %d more", n - MAX_SHOWN);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("%s \"%s\" is in use", what, name),
			 errdetail("It is used by %s.", text.data),
			 errhint("Define them without it first, or drop them.")));
}
