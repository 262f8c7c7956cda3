/*
 * truth.c
 *		Conditions that are never true, or always, whatever the contact: the same one
 *		twice, one behind another that takes everybody, one that contradicts itself.
 *
 * A rule is looked at as a formula over its atoms, which are taken as independent: two
 * atoms are the same if their canonical JSON is, and nothing is known of what they mean
 * but for true and false.  Every atom of the language is two-valued, so a formula that no
 * row of its truth table makes true is one that nobody fits.  What cannot be proved so is
 * no warning.
 */
#include "base/base.h"

#include "journeys/analyse/analyse.h"
#include "miscadmin.h"

#define MAX_ATOMS 12			/* 4096 rows of a truth table */

/* Atoms (char *) of the formulas that are looked at together. */
typedef struct Atoms
{
	List	   *texts;
	bool		too_many;
} Atoms;

static MaJson *formula_of(const MaAnalysis *analysis, const char *rule);
static void collect(const MaJson *formula, Atoms *atoms);
static int	atom_place(const MaJson *formula, Atoms *atoms, bool *negated);
static bool value_of(const MaJson *formula, Atoms *atoms, uint32 row);
static bool is_possible(List *formulas, const MaJson *last);
static void look_at_branch(MaAnalysis *analysis, MaStep *step);
static void look_alone(MaAnalysis *analysis, const MaCondition *condition, const char *never,
					   const char *always);

static MaJson *
formula_of(const MaAnalysis *analysis, const char *rule)
{
	MaRuleScope scope = {"rule", NULL};

	scope.entry_event = ma_program_entry_event(analysis->program);
	return ma_json_tree(ma_rule_json(ma_rule_parse(rule, &scope, analysis->definer)));
}

/* The member of an object that says what it is: its operands, or it alone. */
static const MaJson *
operands(const MaJson *formula, const char *word)
{
	return formula->type == MA_JSON_OBJECT ? ma_json_member(formula, word) : NULL;
}

static bool
is_word(char c)
{
	return isalnum((unsigned char) c) || c == '_' || IS_HIGHBIT_SET(c);
}

/* SQL without the blanks that separate no words, and in lower case, but for what is quoted. */
static char *
plain_sql(const char *sql)
{
	char	   *plain = palloc(strlen(sql) + 1);
	char	   *to = plain;
	char		quote = '\0';

	for (const char *at = sql; *at != '\0'; at++)
	{
		if (quote != '\0' || *at == '\'' || *at == '"')
			quote = quote == '\0' ? *at : *at == quote ? '\0' : quote;
		else if (*at == ' ' && (to == plain || !is_word(to[-1]) || !is_word(at[1])))
			continue;
		*to++ = quote == '\0' ? pg_ascii_tolower((unsigned char) *at) : *at;
	}
	*to = '\0';
	return plain;
}

/*
 * Place of the atom among the atoms, -1: it is none but a constant.  `no x` is `any x`
 * negated.
 */
static int
atom_place(const MaJson *formula, Atoms *atoms, bool *negated)
{
	const MaJson *condition = operands(formula, "condition");
	const MaJson *no = operands(formula, "no");
	char	   *print = condition && condition->type == MA_JSON_TEXT ?
		plain_sql(condition->text) : ma_json_print(formula);
	ListCell   *cell;

	*negated = false;
	if (condition != NULL && condition->type == MA_JSON_TEXT &&
		(strcmp(condition->text, "true") == 0 || strcmp(condition->text, "false") == 0))
	{
		*negated = strcmp(condition->text, "false") == 0;
		return -1;
	}
	if (no != NULL)
	{
		MaJson		any = *formula;
		List	   *members = NIL;

		foreach(cell, formula->items)
		{
			MaJson	   *member = palloc_object(MaJson);

			*member = *(MaJson *) lfirst(cell);
			if (strcmp(member->key, "no") == 0)
				member->key = "any";
			members = lappend(members, member);
		}
		any.items = members;
		print = ma_json_print(&any);
		*negated = true;
	}
	foreach(cell, atoms->texts)
		if (strcmp(lfirst(cell), print) == 0)
			return foreach_current_index(cell);
	atoms->texts = lappend(atoms->texts, print);
	return list_length(atoms->texts) - 1;
}

static void
collect(const MaJson *formula, Atoms *atoms)
{
	static const char *const words[] = {"and", "or"};
	const MaJson *not = operands(formula, "not");
	bool		negated;
	ListCell   *cell;

	check_stack_depth();
	for (int i = 0; i < lengthof(words); i++)
	{
		const MaJson *list = operands(formula, words[i]);

		foreach(cell, list ? list->items : NIL)
			collect(lfirst(cell), atoms);
		if (list != NULL)
			return;
	}
	if (not != NULL)
		collect(not, atoms);
	else
		(void) atom_place(formula, atoms, &negated);
	atoms->too_many |= list_length(atoms->texts) > MAX_ATOMS;
}

/* Its truth in one row of the table. */
static bool
value_of(const MaJson *formula, Atoms *atoms, uint32 row)
{
	const MaJson *and = operands(formula, "and");
	const MaJson *or = operands(formula, "or");
	const MaJson *not = operands(formula, "not");
	bool		negated;
	int			place;
	ListCell   *cell;

	if (not != NULL)
		return !value_of(not, atoms, row);
	foreach(cell, and ? and->items : NIL)
		if (!value_of(lfirst(cell), atoms, row))
			return false;
	foreach(cell, or ? or->items : NIL)
		if (value_of(lfirst(cell), atoms, row))
			return true;
	if (and != NULL || or != NULL)
		return and != NULL;
	place = atom_place(formula, atoms, &negated);
	return (place < 0 || (row & (UINT32_C(1) << place)) != 0) != negated;
}

/* True if it may be that none of the formulas is true, and `last` (NULL: nothing) is. */
static bool
is_possible(List *formulas, const MaJson *last)
{
	Atoms		atoms = {NIL, false};
	ListCell   *cell;

	foreach(cell, formulas)
		collect(lfirst(cell), &atoms);
	if (last != NULL)
		collect(last, &atoms);
	if (atoms.too_many)
		return true;
	for (uint32 row = 0; row < UINT32_C(1) << list_length(atoms.texts); row++)
	{
		bool		fits = last == NULL || value_of(last, &atoms, row);

		foreach(cell, fits ? formulas : NIL)
			fits &= !value_of(lfirst(cell), &atoms, row);
		if (fits)
			return true;
	}
	return false;
}

static void
look_at_branch(MaAnalysis *analysis, MaStep *step)
{
	List	   *before = NIL;
	ListCell   *cell;

	foreach(cell, step->conditions)
	{
		MaCondition *condition = lfirst(cell);
		MaJson	   *formula = formula_of(analysis, condition->rule);

		CHECK_FOR_INTERRUPTS();
		if (!is_possible(before, formula))
		{
			analysis->dead[condition->number] = true;
			ma_problem(&analysis->warnings, psprintf("%s.if", condition->path), NULL,
					   is_possible(NIL, formula) ?
					   "is never taken: the paths before it take everybody for whom it is true" :
					   "is never taken: it contradicts itself");
		}
		before = lappend(before, formula);
	}
	if (is_possible(before, NULL))
		return;
	analysis->no_else = lappend(analysis->no_else, step);
	if (step->otherwise != NIL)
		ma_problem(&analysis->warnings, ((MaStep *) linitial(step->otherwise))->path, NULL,
				   "is never reached: the paths before \"else\" take everybody");
}

/* A rule that stands for itself; `always` may be NULL. */
static void
look_alone(MaAnalysis *analysis, const MaCondition *condition, const char *never,
		   const char *always)
{
	MaJson	   *formula = formula_of(analysis, condition->rule);

	analysis->dead[condition->number] = !is_possible(NIL, formula);
	if (analysis->dead[condition->number])
		ma_problem(&analysis->warnings, psprintf("%s.if", condition->path), NULL, "%s", never);
	else if (always != NULL && !is_possible(list_make1(formula), NULL))
		ma_problem(&analysis->warnings, psprintf("%s.if", condition->path), NULL, "%s", always);
}

void
ma_analyse_truth(MaAnalysis *analysis)
{
	const MaProgram *program = analysis->program;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, program->exits)
		if (((MaCondition *) lfirst(cell))->rule != NULL)
			look_alone(analysis, lfirst(cell), "never ends a run: it contradicts itself",
					   "is always true: every run ends when it begins");
	foreach(cell, program->all)
	{
		MaStep	   *step = lfirst(cell);

		if (step->kind == MA_STEP_BRANCH)
			look_at_branch(analysis, step);
		foreach(inner, step->kind == MA_STEP_WAIT_UNTIL ? step->conditions : NIL)
			if (((MaCondition *) lfirst(inner))->rule != NULL)
				look_alone(analysis, lfirst(inner), "never comes true: it contradicts itself",
						   "is always true: the wait is over when it begins");
	}
}
