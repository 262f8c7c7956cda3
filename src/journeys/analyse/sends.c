/*
 * sends.c
 *		Messages against what they need: variables of their templates that no entry
 *		sets, and caps that a journey is over by itself.
 *
 * Each way through the journey is followed with the least time it may take: a wait_until
 * may be over at once, its timeout not.  There are as many ways as branches multiply to,
 * so a bound ends the search; what it has not seen is no warning.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent.h"
#include "content/content.h"
#include "journeys/analyse/analyse.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#define MAX_LOOKS 20000
#define MAX_DEPTH 1000			/* steps of one way */
#define MAX_ROUNDS 20			/* of a goto that are followed */

/* A message on a way. */
typedef struct Sent
{
	TimestampTz at;				/* since the entry */
	const char *channel;
	int32		topic_id;
} Sent;

typedef struct Way
{
	MaAnalysis *analysis;
	List	   *sent;			/* Sent * */
	List	   *gotos;			/* MaStep *, one for each time it was taken */
	List	   *told;			/* char *: cap and step */
	int			looks;
	int			depth;			/* steps of the way up to here */
} Way;

static List *entry_columns(const MaAnalysis *analysis, bool *known);
static void look_at_template(MaAnalysis *analysis, const MaStep *step, const char *template,
							 List *columns);
static void look_at_text(MaAnalysis *analysis, const MaStep *step, const char *template,
						 const char *source, List *columns, List **told);
static void follow(Way *way, MaStep *step, TimestampTz at);
static void follow_on(Way *way, MaStep *step, TimestampTz at);
static void follow_wait_until(Way *way, MaStep *step, TimestampTz at);
static void send_on(Way *way, MaStep *step, TimestampTz at);
static void count_under(Way *way, const MaStep *step, const MaCap *cap, const Sent *sent);

/* ---- variables ---- */

/* Names (char *) of what entry.x may be; *known: nothing else can be. */
static List *
entry_columns(const MaAnalysis *analysis, bool *known)
{
	MaEvent    *event = ma_program_entry_event(analysis->program);
	const MaBuiltinColumn *columns = event ? ma_builtin_columns(event->name) : NULL;
	List	   *names = NIL;
	ListCell   *cell;

	*known = true;
	if (analysis->program->date != NULL)
		names = lappend(names, "date");
	for (; columns != NULL && columns->name != NULL; columns++)
		names = lappend(names, unconstify(char *, columns->name));
	foreach(cell, event && !event->builtin ? ma_event_sources(ma_definitions(), event) : NIL)
	{
		MaEventSource *source = lfirst(cell);

		if (source == NULL || !OidIsValid(source->table->relid))
			*known = false;
		else
			names = list_concat(names, ma_column_names(source->table->relid));
	}
	/* An event that nobody has attached yet may have any column. */
	*known &= event == NULL || names != NIL;
	/* Who is enrolled by another journey has what that one was entered by. */
	*known &= analysis->program->entry != NULL || analysis->program->date != NULL;
	return names;
}

static void
look_at_template(MaAnalysis *analysis, const MaStep *step, const char *template, List *columns)
{
	static MaStatement read = {
		"SELECT pg_catalog.concat_ws(' ', v.subject, v.preheader, v.html, v.body) "
		"FROM marketing_internal.template_locale AS l "
		"JOIN marketing_internal.template_version AS v "
		"ON v.template_id OPERATOR(pg_catalog.=) l.template_id "
		"AND v.version OPERATOR(pg_catalog.=) l.version "
		"WHERE l.template_id OPERATOR(pg_catalog.=) $1 ORDER BY l.locale",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(ma_template_required(template)->id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	List	   *told = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		look_at_text(analysis, step, template, ma_text(&rows, i, 1), columns, &told);
}

static bool
is_word(char c)
{
	return isalnum((unsigned char) c) || c == '_';
}

static bool
is_among(const char *name, List *names)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* entry.x within tags and outputs of the template, outside of their quoted texts. */
static void
look_at_text(MaAnalysis *analysis, const MaStep *step, const char *template, const char *source,
			 List *columns, List **told)
{
	const char *end = NULL;		/* what closes the tag we are in */
	char		quote = '\0';

	for (const char *at = source; *at != '\0'; at++)
	{
		const char *name = at + strlen("entry.");
		int			length = 0;
		char	   *column;

		if (end == NULL)
		{
			if (at[0] == '{' && (at[1] == '{' || at[1] == '%'))
				end = at[1] == '{' ? "}}" : "%}";
			continue;
		}
		if (quote != '\0' || *at == '"' || *at == '\'')
		{
			quote = quote == '\0' ? *at : *at == quote ? '\0' : quote;
			continue;
		}
		if (strncmp(at, end, 2) == 0)
			end = NULL;
		if (strncmp(at, "entry.", strlen("entry.")) != 0 || (at > source && (is_word(at[-1]) ||
				at[-1] == '.')))
			continue;
		while (is_word(name[length]))
			length++;
		column = pnstrdup(name, length);
		if (length == 0 || is_among(column, columns) || is_among(column, *told))
			continue;
		*told = lappend(*told, column);
		ma_problem(&analysis->warnings, psprintf("%s.%s", step->path, step->word),
				   ma_nearest(column, columns) ?
				   psprintf("Did you mean %s?", ma_nearest(column, columns)) : NULL,
				   "template \"%s\" shows entry.%s, which the entry never sets", template,
				   column);
	}
}

/* ---- caps ---- */

static void
count_under(Way *way, const MaStep *step, const MaCap *cap, const Sent *sent)
{
	int64		within = cap->window != 0 ? cap->window :
		USECS_PER_DAY * (cap->period == MA_CAP_DAY ? 1 : cap->period == MA_CAP_WEEK ? 7 : 31);
	char	   *key = psprintf("%s/%s", cap->name, step->id);
	int			count = 1;
	ListCell   *cell;

	if (!ma_cap_counts(cap, sent->channel, sent->topic_id) || is_among(key, way->told))
		return;
	foreach(cell, way->sent)
	{
		const Sent *other = lfirst(cell);

		count += ma_cap_counts(cap, other->channel, other->topic_id) &&
			other->at > sent->at - within;
	}
	if (count <= cap->at_most)
		return;
	way->told = lappend(way->told, key);
	ma_problem(&way->analysis->warnings, psprintf("%s.%s", step->path, step->word), NULL,
			   "may be message %d of this journey to a contact, of %d that %s lets through", count,
			   cap->at_most, ma_cap_text(cap));
}

static void
send_on(Way *way, MaStep *step, TimestampTz at)
{
	/* Of a test, by its first variant: they mostly differ in words. */
	MaTemplate *template = ma_template_required(linitial(ma_step_templates(step)));
	MaTopic    *topic = ma_topic_by_name(template->topic);
	List	   *before = way->sent;
	Sent		sent = {at, template->channel, topic ? topic->id : MA_TOPIC_TRANSACTIONAL_ID};
	ListCell   *cell;

	if (!step->nowait && step->otherwise != NIL)
		follow(way, step->other, at);
	if (sent.topic_id != MA_TOPIC_TRANSACTIONAL_ID)
	{
		foreach(cell, ma_caps())
			count_under(way, step, lfirst(cell), &sent);
		way->sent = lappend(list_copy(before), &sent);
	}
	follow(way, step->next, at);
	way->sent = before;
}

/* Times are counted from an instant that is none: only the differences matter. */
static void
follow_wait_until(Way *way, MaStep *step, TimestampTz at)
{
	ListCell   *cell;

	foreach(cell, step->conditions)
		if (!way->analysis->dead[((MaCondition *) lfirst(cell))->number])
			follow(way, ((MaCondition *) lfirst(cell))->then, at);
	if (step->timeout != NULL)
		follow(way, step->other, ma_duration_add(at, step->timeout, "UTC"));
	else if (list_member_ptr(ma_step_successors(way->analysis, step), step->other))
		follow(way, step->other, at);
}

static void
follow_on(Way *way, MaStep *step, TimestampTz at)
{
	List	   *before = way->gotos;
	int			rounds = 0;
	ListCell   *cell;

	foreach(cell, way->gotos)
		rounds += lfirst(cell) == step;
	if (step->kind == MA_STEP_GOTO && rounds < Min(step->at_most, MAX_ROUNDS))
	{
		way->gotos = lappend(list_copy(before), step);
		follow(way, step->target, at);
		way->gotos = before;
		return;
	}
	if (step->kind == MA_STEP_GOTO)
		follow(way, step->next, at);
	else
		foreach(cell, ma_step_successors(way->analysis, step))
			follow(way, lfirst(cell), at);
}

static void
follow(Way *way, MaStep *step, TimestampTz at)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (step == NULL || way->looks++ > MAX_LOOKS || way->depth == MAX_DEPTH)
		return;
	way->depth++;
	if (ma_step_sends(step))
		send_on(way, step, at);
	else if (step->kind == MA_STEP_WAIT)
		follow(way, step->next, ma_duration_add(at, step->text, "UTC"));
	else if (step->kind == MA_STEP_WAIT_UNTIL)
		follow_wait_until(way, step, at);
	else
		follow_on(way, step, at);
	way->depth--;
}

void
ma_analyse_sends(MaAnalysis *analysis)
{
	const MaProgram *program = analysis->program;
	Way			way = {analysis};
	bool		known;
	List	   *columns = entry_columns(analysis, &known);
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, known ? program->all : NIL)
		foreach(inner, ma_step_templates(lfirst(cell)))
			look_at_template(analysis, lfirst(cell), lfirst(inner), columns);
	if (ma_caps() != NIL)
		follow(&way, program->steps ? linitial(program->steps) : NULL, 0);
}
