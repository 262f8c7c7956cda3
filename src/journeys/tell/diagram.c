/*
 * diagram.c
 *		journey_diagram(): a journey as a picture's source, in Mermaid or in DOT, with how
 *		many runs are at each step now.
 *
 * Nodes are the steps, edges the ways the engine may take; both languages get the same.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define MAX_LABEL 60			/* bytes of a rule or where that are shown */

typedef struct Picture
{
	StringInfoData text;
	bool		dot;
	const MaProgram *program;
	MaRows		inside;			/* step, runs */
} Picture;

static MaProgram *program_of(const MaJourney *journey);
static int64 inside_of(const Picture *picture, const char *step);
static char *escaped(const Picture *picture, const char *label);
static char *shortened(const char *text);
static char *name_of(const Picture *picture, const MaStep *step);
static void put_node(Picture *picture, const char *name, const char *label, bool round);
static void put_edge(Picture *picture, const char *from, const char *to, const char *label);
static void put_step(Picture *picture, const MaStep *step);
static void put_edges(Picture *picture, const MaStep *step);
static char *condition_label(const MaStep *step, const MaCondition *condition);
static char *entry_label(const MaProgram *program);
static void put_ends(Picture *picture, const MaJourney *journey);

MA_FUNCTION(ma_journey_diagram);

/* The version that takes entries, else the draft. */
static MaProgram *
program_of(const MaJourney *journey)
{
	static MaStatement read = {
		"SELECT v.definition FROM marketing_internal.journey_version AS v "
		"WHERE v.journey_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT4OID}
	};
	List	   *problems = NIL;
	Datum		values[2];
	MaRows		rows;
	bool		isnull;

	values[0] = Int32GetDatum(journey->id);
	values[1] = Int32GetDatum(journey->version ? journey->version : journey->draft);
	rows = ma_run(&read, values, NULL, MA_RUN_READ);
	return ma_program_parse(ma_value(&rows, 0, 1, &isnull), &problems);
}

static int64
inside_of(const Picture *picture, const char *step)
{
	for (uint64 i = 0; i < picture->inside.n; i++)
		if (strcmp(ma_text(&picture->inside, i, 1), step) == 0)
			return ma_int64(&picture->inside, i, 2);
	return 0;
}

/* What stands between quotes in the language; a line feed is a new line of the label. */
static char *
escaped(const Picture *picture, const char *label)
{
	StringInfoData text;

	initStringInfo(&text);
	for (const char *at = label; *at != '\0'; at++)
	{
		if (*at == '\n')
			appendStringInfoString(&text, picture->dot ? "\\n" : "<br/>");
		else if (picture->dot && (*at == '"' || *at == '\\'))
			appendStringInfo(&text, "\\%c", *at);
		else if (!picture->dot && strchr("\"#<>&;|", *at) != NULL)
			appendStringInfo(&text, "#%d;", *at);
		else
			appendStringInfoChar(&text, (unsigned char) *at < ' ' ? ' ' : *at);
	}
	return text.data;
}

static char *
shortened(const char *text)
{
	int			length = (int) strlen(text);

	if (length <= MAX_LABEL)
		return pstrdup(text);
	return psprintf("%.*s...", pg_mbcliplen(text, length, MAX_LABEL - 3), text);
}

static char *
name_of(const Picture *picture, const MaStep *step)
{
	ListCell   *cell;

	foreach(cell, picture->program->all)
		if (lfirst(cell) == step)
			return psprintf("s%d", foreach_current_index(cell));
	return "done";
}

static void
put_node(Picture *picture, const char *name, const char *label, bool round)
{
	char	   *text = escaped(picture, label);

	if (picture->dot)
		appendStringInfo(&picture->text, "  %s [label=\"%s\"%s];\n", name, text,
						 round ? ", shape=ellipse" : "");
	else
		appendStringInfo(&picture->text, round ? "  %s([\"%s\"])\n" : "  %s[\"%s\"]\n", name, text);
}

static void
put_edge(Picture *picture, const char *from, const char *to, const char *label)
{
	appendStringInfo(&picture->text, picture->dot ? "  %s -> %s" : "  %s -->", from, to);
	if (picture->dot)
		appendStringInfo(&picture->text, label ? " [label=\"%s\"];\n" : ";\n",
						 label ? escaped(picture, label) : "");
	else if (label != NULL)
		appendStringInfo(&picture->text, "|\"%s\"| %s\n", escaped(picture, label), to);
	else
		appendStringInfo(&picture->text, " %s\n", to);
}

/* "send welcome", "3 inside". */
static void
put_step(Picture *picture, const MaStep *step)
{
	int64		inside = inside_of(picture, step->id);
	StringInfoData label;
	ListCell   *cell;

	initStringInfo(&label);
	appendStringInfoString(&label, step->word);
	if (step->text != NULL)
		appendStringInfo(&label, " %s", shortened(step->text));
	if (step->kind == MA_STEP_WAIT_UNTIL && step->timeout != NULL)
		appendStringInfo(&label, "\nat most %s", step->timeout);
	foreach(cell, step->kind == MA_STEP_TEST ? step->test->variants : NIL)
	{
		const MaVariant *variant = lfirst(cell);

		appendStringInfo(&label, "\n%s: %s", variant->name, variant->template);
	}
	if (inside > 0)
		appendStringInfo(&label, "\n" INT64_FORMAT " inside", inside);
	put_node(picture, name_of(picture, step), label.data, false);
}

static char *
condition_label(const MaStep *step, const MaCondition *condition)
{
	if (step->kind == MA_STEP_SPLIT)
		return psprintf("%s%s%g %%", condition->name ? condition->name : "",
						condition->name ? ": " : "", condition->share * 100);
	if (condition->rule != NULL)
		return psprintf("if %s", shortened(condition->rule));
	return psprintf("%s%s%s", condition->event, condition->step ? " of " : "",
					condition->step ? condition->step : "");
}

/* The ways out of a step, as run/steps.c and run/moves.c take them. */
static void
put_edges(Picture *picture, const MaStep *step)
{
	char	   *from = name_of(picture, step);
	ListCell   *cell;

	foreach(cell, step->conditions)
	{
		MaCondition *condition = lfirst(cell);

		put_edge(picture, from, name_of(picture, condition->then),
				 condition_label(step, condition));
	}
	switch (step->kind)
	{
		case MA_STEP_EXIT:
			break;
		case MA_STEP_WAIT_UNTIL:
			put_edge(picture, from, name_of(picture, step->other),
					 step->timeout ? "timed out" : "else");
			break;
		case MA_STEP_BRANCH:
		case MA_STEP_SPLIT:
			put_edge(picture, from, name_of(picture, step->other), "else");
			break;
		case MA_STEP_GOTO:
			put_edge(picture, from, name_of(picture, step->target),
					 psprintf("at most %d times", step->at_most));
			put_edge(picture, from, name_of(picture, step->next), NULL);
			break;
		default:
			put_edge(picture, from, name_of(picture, step->next), NULL);
			if (step->otherwise != NIL)
				put_edge(picture, from, name_of(picture, step->other), "not sent");
			break;
	}
}

static char *
entry_label(const MaProgram *program)
{
	const MaCondition *entry = program->entry;

	if (program->date != NULL)
		return psprintf("%s %s", program->date->anniversary ? "anniversary" : "date",
						program->date->column);
	if (entry == NULL)
		return "enroll()";
	if (entry->segment != NULL)
		return psprintf("%s %s", entry->event, entry->segment);
	return psprintf("%s%s%s", entry->event, entry->where ? "\nwhere " : "",
					entry->where ? shortened(entry->where) : "");
}

/* Where runs have come to: the end, and the reasons of those that exited. */
static void
put_ends(Picture *picture, const MaJourney *journey)
{
	static MaStatement count = {
		"SELECT e.state, COALESCE(e.reason, ''), pg_catalog.count(*) "
		"FROM marketing_internal.enrollment AS e WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{completed,exited}') GROUP BY 1, 2 ORDER BY 1, 2",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(journey->id);
	MaRows		rows = ma_run(&count, &value, NULL, MA_RUN_READ);
	StringInfoData label;

	initStringInfo(&label);
	appendStringInfoString(&label, "the end");
	for (uint64 i = 0; i < rows.n; i++)
		appendStringInfo(&label, "\n%s%s%s: " INT64_FORMAT, ma_text(&rows, i, 1),
						 ma_text(&rows, i, 2)[0] ? ", " : "", shortened(ma_text(&rows, i, 2)),
						 ma_int64(&rows, i, 3));
	put_node(picture, "done", label.data, true);
}

/* journey_diagram(name, format) */
Datum
ma_journey_diagram(PG_FUNCTION_ARGS)
{
	static MaStatement inside = {
		"SELECT COALESCE(e.step, ''), pg_catalog.count(*) FROM marketing_internal.enrollment AS e "
		"WHERE e.journey_id OPERATOR(pg_catalog.=) $1 "
		"AND e.state OPERATOR(pg_catalog.=) ANY ('{due,waiting,parked}') GROUP BY 1",
		1, {INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Picture		picture = {{0}};
	MaJourney  *journey;
	MaCall		call;
	Datum		value;
	char	   *format;
	char	   *answer;
	ListCell   *cell;

	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "name" : "format")));
	format = text_to_cstring(PG_GETARG_TEXT_PP(1));
	picture.dot = strcmp(format, "dot") == 0;
	if (!picture.dot && strcmp(format, "mermaid") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("format must be mermaid or dot, not \"%s\"", format)));
	ma_call_begin(&call);
	journey = ma_journey_required(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	picture.program = program_of(journey);
	value = Int32GetDatum(journey->id);
	picture.inside = ma_run(&inside, &value, NULL, MA_RUN_READ);
	initStringInfo(&picture.text);
	appendStringInfoString(&picture.text, picture.dot ?
						   "digraph journey {\n  node [shape=box];\n" : "flowchart TD\n");
	put_node(&picture, "entry", entry_label(picture.program), true);
	foreach(cell, picture.program->all)
		put_step(&picture, lfirst(cell));
	put_ends(&picture, journey);
	put_edge(&picture, "entry", name_of(&picture, picture.program->steps ?
										linitial(picture.program->steps) : NULL), NULL);
	foreach(cell, picture.program->all)
		put_edges(&picture, lfirst(cell));
	if (picture.dot)
		appendStringInfoString(&picture.text, "}\n");
	answer = MemoryContextStrdup(context, picture.text.data);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
