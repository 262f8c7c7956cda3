/*
 * parse_date.c
 *		Dates of contacts as definitions name them: {"date": "trial_ends", "offset": "-3 days",
 *		"at": "09:00"}, and anniversaries of them.
 */
#include "base/base.h"

#include "journeys/parse/parse.h"

static void parse_offset(MaDateRule *rule, const MaJson *json, List **problems);

MaDateRule *
ma_read_date(const MaJson *json, const char *key, List **problems)
{
	MaDateRule *rule = palloc0_object(MaDateRule);
	MaJson	   *member = ma_json_member(json, key);

	rule->path = member->path;
	rule->column = ma_json_text(member, problems);
	rule->anniversary = strcmp(key, "anniversary") == 0;
	if ((member = ma_json_member(json, "offset")) != NULL)
		parse_offset(rule, member, problems);
	if ((member = ma_json_member(json, "at")) != NULL)
	{
		rule->has_at = true;
		rule->at = ma_read_clock(member, false, problems);
	}
	if ((member = ma_json_member(json, "leap")) == NULL || ma_json_text(member, problems) == NULL)
		return rule;
	rule->leap_march = strcmp(member->text, "mar1") == 0;
	if (!rule->anniversary)
		ma_problem(problems, member->path, NULL, "\"leap\" belongs to \"anniversary\"");
	else if (!rule->leap_march && strcmp(member->text, "feb28") != 0)
		ma_problem(problems, member->path, NULL, "must be \"feb28\" or \"mar1\"");
	return rule;
}

/* A duration with a sign: "-3 days" is before, "3 days" and "+3 days" after. */
static void
parse_offset(MaDateRule *rule, const MaJson *json, List **problems)
{
	char	   *text = ma_json_text(json, problems);

	if (text == NULL)
		return;
	rule->before = text[0] == '-';
	rule->offset = text + (text[0] == '-' || text[0] == '+' ? 1 : 0);
	if (!ma_duration_valid(rule->offset))
		ma_problem(problems, json->path, "For example \"-3 days\" or \"2 weeks\".",
				   "\"%s\" is not a duration", text);
	else if (ma_duration_is_zero(rule->offset))
		rule->offset = NULL;
}
