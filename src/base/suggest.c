/*
 * suggest.c
 *		Names that users mistype: the nearest ones for a hint, and a column that
 *		must exist.
 *
 * Names in definitions (events, segments, columns ...) must exist, so a typo is
 * an error at once; the hint makes it one that can be mended without looking
 * anything up.
 */
#include "base/base.h"

#include "access/relation.h"
#include "lib/stringinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#define MAX_SUGGESTIONS 3
#define MAX_LISTED 20

typedef struct Suggestion
{
	const char *name;
	int			distance;
} Suggestion;

static int	far_from(const char *name);
static int	collect(const char *name, List *candidates, Suggestion *best);
static char *column_list(Oid relid);

/* Edits at which another name is still taken for a typo of this one. */
static int
far_from(const char *name)
{
	return Max(2, Min(5, (int) strlen(name) / 3));
}

int
ma_name_distance(const char *name, const char *other, int limit)
{
	return varstr_levenshtein_less_equal(name, strlen(name), other, strlen(other),
										 1, 1, 1, limit, true);
}

char *
ma_nearest(const char *name, List *candidates)
{
	Suggestion	best[MAX_SUGGESTIONS];
	int			n = collect(name, candidates, best);
	StringInfoData text;

	if (n == 0)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s\"%s\"",
						 i == 0 ? "" : i == n - 1 ? " or " : ", ", best[i].name);
	return text.data;
}

/* Keeps the nearest names in order of distance; equal ones in order of the list. */
static int
collect(const char *name, List *candidates, Suggestion *best)
{
	int			n = 0;
	int			limit = far_from(name);
	ListCell   *cell;

	foreach(cell, candidates)
	{
		Suggestion	candidate = {lfirst(cell), 0};
		int			place;

		if (pg_strcasecmp(name, candidate.name) != 0)
			candidate.distance = ma_name_distance(name, candidate.name, limit);
		if (candidate.distance > limit || candidate.distance >= (int) strlen(name))
			continue;
		for (place = n; place > 0 && best[place - 1].distance > candidate.distance; place--)
			if (place < MAX_SUGGESTIONS)
				best[place] = best[place - 1];
		if (place < MAX_SUGGESTIONS)
			best[place] = candidate;
		n = Min(n + 1, MAX_SUGGESTIONS);
	}
	return n;
}

List *
ma_column_names(Oid relid)
{
	Relation	relation = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			names = lappend(names, pstrdup(NameStr(TupleDescAttr(desc, i)->attname)));
	relation_close(relation, NoLock);
	return names;
}

/* The columns' names in words, the first of many. */
static char *
column_list(Oid relid)
{
	List	   *names = ma_column_names(relid);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < Min(list_length(names), MAX_LISTED); i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "", (char *) list_nth(names, i));
	if (list_length(names) > MAX_LISTED)
		appendStringInfo(&text, " and %d more", list_length(names) - MAX_LISTED);
	return text.data;
}

AttrNumber
ma_column_required(Oid relid, const char *column, const char *what)
{
	AttrNumber	number = get_attnum(relid, column);
	char	   *nearest;
	char	   *hint;

	if (number > 0)
	{
		ma_column_require_stored(relid, number);
		return number;
	}
	nearest = ma_nearest(column, ma_column_names(relid));
	/* A column of another name altogether is found in the list. */
	if (nearest == NULL)
		hint = psprintf("Its columns are %s.", column_list(relid));
	else
		hint = psprintf("Did you mean %s?", nearest);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("table \"%s\" has no column \"%s\"", get_rel_name(relid), column),
			 errdetail("It was given as %s.", what),
			 errhint("%s", hint)));
}

void
ma_column_require_stored(Oid relid, AttrNumber number)
{
	if (ma_is_virtual(get_attgenerated(relid, number)))
		ereport(ERROR,
				(errcode(ERRCODE_MA_NOT_ATTACHABLE),
				 errmsg("column \"%s\" of table \"%s\" is a virtual generated column",
						get_attname(relid, number, false), get_rel_name(relid)),
				 errdetail("Its value is not in the row, so its changes cannot be seen."),
				 errhint("Name the columns it is made of, or make it STORED.")));
}
