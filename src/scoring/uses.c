/*
 * uses.c
 *		What score rules name by comparing with it ("to" = 'customer'), in a condition or in
 *		points, so that it is not dropped under them.
 *
 * What they are compiled to has no names any more: the words they were defined with are
 * analysed again, which is done only when something is dropped.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "rules/rules.h"
#include "scoring/scoring_internal.h"

/* One expression, and what it names. */
typedef struct Reading
{
	const MaEvent *event;
	const char *text;
	Oid			type;
	const char *kind;
	List	   *names;
} Reading;

static List *uses_of(const char *kind, const char *name);
static bool names(const MaEvent *event, const char *text, Oid type, const char *kind,
				  const char *name);
static void read_names(void *arg);
static List *uses_of_score(const char *name);
static List *uses_of_stage(const char *name);
static List *uses_of_topic(const char *name);

void
ma_score_uses_init(void)
{
	ma_register_uses("score model", uses_of_score);
	ma_register_uses("stage", uses_of_stage);
	ma_register_uses("topic", uses_of_topic);
}

/* Rules on events of ours; those of a model go with it. */
static List *
uses_of(const char *kind, const char *name)
{
	static MaStatement read = {
		"SELECT m.name, r.name, r.event_id, r.condition_source, r.points_source "
		"FROM marketing_internal.score_rule AS r JOIN marketing_internal.score_model AS m "
		"ON m.model_id OPERATOR(pg_catalog.=) r.model_id ORDER BY 1, 2"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *model = ma_text(&rows, i, 1);
		const MaEvent *event = ma_event_by_id(ma_definitions(), ma_int32(&rows, i, 3));

		if (event == NULL || !event->builtin ||
			(strcmp(kind, "score model") == 0 && strcmp(model, name) == 0))
			continue;
		if (names(event, ma_text(&rows, i, 4), BOOLOID, kind, name) ||
			names(event, ma_text(&rows, i, 5), FLOAT8OID, kind, name))
			uses = lappend(uses, psprintf("score rule \"%s/%s\"", model, ma_text(&rows, i, 2)));
	}
	return uses;
}

/* True if the expression (NULL: there is none) names it; one that is broken names nothing. */
static bool
names(const MaEvent *event, const char *text, Oid type, const char *kind, const char *name)
{
	Reading		reading = {event, text, type, kind};
	ListCell   *cell;

	if (text == NULL || ma_attempt(read_names, &reading) != NULL)
		return false;
	foreach(cell, reading.names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

static void
read_names(void *arg)
{
	Reading    *reading = arg;

	reading->names = ma_row_sql_names(reading->event, reading->text, reading->type, reading->kind);
}

static List *
uses_of_score(const char *name)
{
	return uses_of("score model", name);
}

static List *
uses_of_stage(const char *name)
{
	return uses_of("stage", name);
}

static List *
uses_of_topic(const char *name)
{
	return uses_of("topic", name);
}
