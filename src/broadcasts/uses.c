/*
 * uses.c
 *		What broadcasts name, so that it is not dropped before they are sent.
 *
 * The audience is frozen when a broadcast is launched: from then on only the journey of
 * its name uses anything, and the templates of a test that is not decided yet.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "rules/rules.h"
#include "utils/builtins.h"

/* A rule to be read under guard. */
typedef struct Reading
{
	const char *text;
	MaRule	   *rule;
} Reading;

static MaRows rows_in_state(void);
static MaBroadcast *parsed(const MaRows *rows, uint64 row);
static bool names(const char *text, const char *kind, const char *name);
static void read_rule(void *arg);
static List *uses_in_rules(const char *kind, const char *name);
static List *uses_of_template(const char *name);
static List *uses_of_segment(const char *name);
static List *uses_of_list(const char *name);
static List *uses_of_stage(const char *name);
static List *uses_of_score(const char *name);
static List *uses_of_topic(const char *name);
static List *uses_of_event(const char *name);
static List *uses_of_journey(const char *name);

void
ma_broadcast_uses_init(void)
{
	ma_register_uses("template", uses_of_template);
	ma_register_uses("segment", uses_of_segment);
	ma_register_uses("list", uses_of_list);
	ma_register_uses("stage", uses_of_stage);
	ma_register_uses("score model", uses_of_score);
	ma_register_uses("topic", uses_of_topic);
	ma_register_uses("event", uses_of_event);
	ma_register_uses("journey", uses_of_journey);
}

/* Those that have something before them: name, state, definition. */
static MaRows
rows_in_state(void)
{
	static MaStatement read = {
		"SELECT b.name, b.state, b.definition FROM marketing_internal.broadcast AS b "
		"WHERE b.state OPERATOR(pg_catalog.=) ANY ('{draft,testing}') ORDER BY 1"
	};

	return ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
}

static MaBroadcast *
parsed(const MaRows *rows, uint64 row)
{
	List	   *problems = NIL;
	bool		isnull;

	return ma_broadcast_parse(ma_value(rows, row, 3, &isnull), &problems);
}

static void
read_rule(void *arg)
{
	Reading    *reading = arg;
	MaRuleScope scope = {"rule", NULL};

	reading->rule = ma_rule_parse(reading->text, &scope, InvalidOid);
}

/* True if the rule names it; one that is broken names nothing. */
static bool
names(const char *text, const char *kind, const char *name)
{
	Reading		reading = {text};
	ListCell   *cell;

	if (text == NULL || ma_attempt(read_rule, &reading) != NULL)
		return false;
	foreach(cell, ma_rule_uses(reading.rule, kind))
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

static List *
uses_in_rules(const char *kind, const char *name)
{
	MaRows		rows = rows_in_state();
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaBroadcast *broadcast;

		if (strcmp(ma_text(&rows, i, 2), "draft") != 0)
			continue;
		broadcast = parsed(&rows, i);
		if (names(broadcast->audience, kind, name))
			uses = lappend(uses, psprintf("broadcast \"%s\", audience", ma_text(&rows, i, 1)));
		if (names(broadcast->exclude, kind, name))
			uses = lappend(uses, psprintf("broadcast \"%s\", exclude", ma_text(&rows, i, 1)));
	}
	return uses;
}

static List *
uses_of_template(const char *name)
{
	MaRows		rows = rows_in_state();
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
	{
		MaBroadcast *broadcast = parsed(&rows, i);
		ListCell   *cell;

		if (broadcast->send != NULL && strcmp(broadcast->send, name) == 0)
			uses = lappend(uses, psprintf("broadcast \"%s\", send", ma_text(&rows, i, 1)));
		foreach(cell, broadcast->test ? broadcast->test->variants : NIL)
		{
			const MaVariant *variant = lfirst(cell);

			if (strcmp(variant->template, name) == 0)
				uses = lappend(uses, psprintf("broadcast \"%s\", test.variants.%s",
											  ma_text(&rows, i, 1), variant->name));
		}
	}
	return uses;
}

/* What a test measures by, until it is decided. */
static List *
uses_of_event(const char *name)
{
	MaRows		rows = rows_in_state();
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
	{
		const MaBroadcast *broadcast = parsed(&rows, i);

		if (broadcast->test != NULL && broadcast->test->measure != NULL &&
			strcmp(broadcast->test->measure, name) == 0)
			uses = lappend(uses, psprintf("broadcast \"%s\", test.measure", ma_text(&rows, i, 1)));
	}
	return uses;
}

static List *
uses_of_segment(const char *name)
{
	return uses_in_rules("segment", name);
}

static List *
uses_of_list(const char *name)
{
	return uses_in_rules("list", name);
}

static List *
uses_of_stage(const char *name)
{
	return uses_in_rules("stage", name);
}

static List *
uses_of_score(const char *name)
{
	return uses_in_rules("score model", name);
}

static List *
uses_of_topic(const char *name)
{
	return uses_in_rules("topic", name);
}

/* That of a launched broadcast is part of it. */
static List *
uses_of_journey(const char *name)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.broadcast AS b WHERE b.name OPERATOR(pg_catalog.=) $1 "
		"AND b.state OPERATOR(pg_catalog.<>) 'draft'",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	if (ma_run(&find, &value, NULL, MA_RUN_READ_LATEST).n == 0)
		return NIL;
	return list_make1(psprintf("broadcast \"%s\", with which drop_broadcast() drops it", name));
}
