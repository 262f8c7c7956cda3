/*
 * blame.c
 *		Errors of PostgreSQL within a rule ("division by zero") get the rule's name.
 *
 * Without it nobody could tell which of fifty segments a worker failed on.  Rules of a
 * set share statements, so several are named where any of them may have been it.
 */
#include "base/base.h"

#include "rules/evaluator.h"

#define MAX_NAMED 3

static void add_suspects(List **suspects, const MaRule *rule, const EventFetch *rows,
						 const ContactFetch *values);
static char *suspects_text(List *suspects);

void
ma_rule_failed(const char *what, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (ma_error_of_expression(error->sqlerrcode) &&
		strncmp(error->message, what, strlen(what)) != 0)
		error->message = psprintf("%s: %s", what, error->message);
	FlushErrorState();
	ReThrowError(error);
}

/* A rule with an expression over what the fetch reads, itself or by a segment it names. */
static void
add_suspects(List **suspects, const MaRule *rule, const EventFetch *rows,
			 const ContactFetch *values)
{
	bool		suspect = false;
	ListCell   *cell;

	foreach(cell, rows != NULL ? rule->streams : NIL)
	{
		MaStream   *stream = lfirst(cell);

		suspect |= stream->event->id == rows->event->id &&
			(stream->where != NULL || stream->measure != NULL);
	}
	foreach(cell, values != NULL ? rule->attributes : NIL)
		suspect |= ((MaAttribute *) lfirst(cell))->source == values->source;
	if (suspect)
		*suspects = list_append_unique_ptr(*suspects, unconstify(MaRule *, rule));
	foreach(cell, rule->segments)
		add_suspects(suspects, ((MaNode *) lfirst(cell))->rule, rows, values);
}

static char *
suspects_text(List *suspects)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, suspects)
	{
		int			place = foreach_current_index(cell);

		if (place == MAX_NAMED)
		{
			appendStringInfo(&text, " or %d more", list_length(suspects) - place);
			break;
		}
		appendStringInfo(&text, "%s%s", place > 0 ? ", " : "", ((MaRule *) lfirst(cell))->what);
	}
	return text.len > 0 ? text.data : "a rule";
}

void
ma_fetch_failed(const MaRuleSet *set, const EventFetch *rows, const ContactFetch *values,
				MemoryContext context)
{
	List	   *suspects = NIL;

	MemoryContextSwitchTo(context);
	for (int i = 0; i < set->nrules; i++)
		add_suspects(&suspects, set->rules[i], rows, values);
	ma_rule_failed(suspects_text(suspects), context);
}
