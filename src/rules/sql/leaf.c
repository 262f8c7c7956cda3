/*
 * leaf.c
 *		SQL leaves of a rule: the text as it is shown and read again, the analysis by
 *		PostgreSQL's parser, and the rights of who defines it.
 *
 * A leaf is kept twice: as it is read again and shown (the user's words, blanks
 * made even, the table put before a bare column) and as SQL that PostgreSQL printed
 * from the analysed tree.  Where the user's words mean something else without his
 * search path, the printed SQL takes their place.
 */
#include "base/base.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "rules/leaf.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A table's name that goes before a bare column. */
typedef struct Insertion
{
	int			token;
	const char *text;
} Insertion;

static char *leaf_source(const MaLeaf *leaf);
static char *leaf_text(const MaLeaf *leaf);
static void check_rights(MaLeaf *leaf, const MaScopedExpression *checked);
static MaScopedExpression *check(MaLeaf *leaf, const MaScope *scope, Oid type);

/* ---- texts ---- */

/*
 * The leaf alone, behind as many blanks as the rule has characters before it: so the
 * places PostgreSQL's parser reports are those in the rule.
 */
static char *
leaf_source(const MaLeaf *leaf)
{
	const MaParser *parser = leaf->parser;
	int			start;

	if (leaf->source != NULL)
		return leaf->source;
	start = parser->tokens[leaf->first].start;
	return psprintf("%*s%.*s", leaf->blanks, "", parser->tokens[leaf->end - 1].end - start,
					parser->text + start);
}

/* The user's words with even blanks, without comments, with the tables of bare columns. */
static char *
leaf_text(const MaLeaf *leaf)
{
	StringInfoData text;
	ListCell   *cell;

	if (leaf->source != NULL)
		return pstrdup(leaf->source + leaf->blanks);
	initStringInfo(&text);
	for (int i = leaf->first; i < leaf->end; i++)
	{
		MaToken    *token = &leaf->parser->tokens[i];

		if (i > leaf->first && token->spaced)
			appendStringInfoChar(&text, ' ');
		foreach(cell, leaf->insertions)
			if (((Insertion *) lfirst(cell))->token == i)
				appendStringInfo(&text, "%s.",
								 quote_identifier(((Insertion *) lfirst(cell))->text));
		appendBinaryStringInfo(&text, leaf->parser->text + token->start, token->end - token->start);
	}
	return text.data;
}

void
ma_leaf_insert(MaLeaf *leaf, int token, const char *text)
{
	Insertion  *insertion;
	ListCell   *cell;

	foreach(cell, leaf->insertions)
		if (((Insertion *) lfirst(cell))->token == token)
			return;				/* BETWEEN asks for its operand twice */
	insertion = palloc_object(Insertion);
	insertion->token = token;
	insertion->text = text;
	leaf->insertions = lappend(leaf->insertions, insertion);
}

int
ma_leaf_byte(const MaLeaf *leaf, int location)
{
	return leaf->start + location - leaf->blanks;
}

/* ---- analysis ---- */

MaScopedExpression *
ma_leaf_analyse(MaLeaf *leaf, Oid type, MaLeafResolve resolve, char **text)
{
	MaParser   *parser = leaf->parser;
	MaScope		scope = {leaf->tables, leaf->ntables, resolve, leaf, parser->search_path,
	leaf->recheck, leaf->recheck ? MA_CLOCK_ALIAS : NULL};
	MemoryContext context = CurrentMemoryContext;
	MaScopedExpression *checked;
	MaScopedExpression *again;

	if (leaf->source == NULL)
	{
		if (leaf->first == leaf->end)
			ma_parse_failed(parser, leaf->end, "an SQL expression is expected here", NULL);
		leaf->start = parser->tokens[leaf->first].start;
		leaf->blanks = pg_mbstrlen_with_len(parser->text, leaf->start);
	}
	leaf->insertions = NIL;
	checked = check(leaf, &scope, type);
	check_rights(leaf, checked);
	*text = leaf_text(leaf);
	/* The names of a sub-select's tables are PostgreSQL's to print. */
	if (checked->subquery && leaf->recheck)
		*text = checked->text;
	if (parser->search_path == NULL || (checked->subquery && leaf->recheck))
		return checked;
	scope.search_path = NULL;
	PG_TRY();
	{
		again = ma_scoped_expression_check(leaf_source(leaf), parser->text, &scope, type,
										   parser->what);
	}
	PG_CATCH();
	{
		/* An error leaves us in a context that the flush empties. */
		MemoryContextSwitchTo(context);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
			PG_RE_THROW();
		FlushErrorState();
		again = NULL;
	}
	PG_END_TRY();
	if (again == NULL || !equal(again->tree, checked->tree))
	{
		if (leaf->lookups != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_MA_INVALID_RULE),
					 errmsg("%s: a condition with columns of a lookup must not depend on the search_path",
							parser->what),
					 errhint("Write its functions, operators and types with their schema."),
					 ma_rule_place(parser->text, leaf->start)));
		*text = IsA(checked->tree, BoolExpr) ? psprintf("(%s) is true", checked->text) :
			checked->text;
	}
	return checked;
}

/* An error of PostgreSQL's parser does not say whose rule it is in. */
static MaScopedExpression *
check(MaLeaf *leaf, const MaScope *scope, Oid type)
{
	MaParser   *parser = leaf->parser;
	MemoryContext context = CurrentMemoryContext;
	MaScopedExpression *checked = NULL;

	PG_TRY();
	{
		checked = ma_scoped_expression_check(leaf_source(leaf), parser->text, scope, type,
											 parser->what);
	}
	PG_CATCH();
	{
		ma_rule_failed(parser->what, context);
	}
	PG_END_TRY();
	return checked;
}

/* Who defines a rule must be allowed to read what it reads, but for tables of ours. */
static void
check_rights(MaLeaf *leaf, const MaScopedExpression *checked)
{
	Oid			definer = leaf->parser->definer;
	ListCell   *cell;

	if (!OidIsValid(definer))
		return;
	foreach(cell, checked->reads)
	{
		MaScopeRead *read = lfirst(cell);
		Oid			relid = leaf->tables[read->table].relid;

		if (get_rel_namespace(relid) == ma_extension_required()->internal_schema)
			continue;
		if (pg_class_aclcheck(relid, definer, ACL_SELECT) != ACLCHECK_OK &&
			pg_attribute_aclcheck(relid, read->attnum, definer, ACL_SELECT) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("%s: permission denied for column \"%s\" of table \"%s\"",
							leaf->parser->what, read->column, get_rel_name(relid)),
					 errhint("Who defines a rule needs SELECT on what it reads.")));
	}
}

/* ---- names ---- */

void
ma_leaf_unknown_column(MaLeaf *leaf, const char *name, int location, List *candidates)
{
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;

	foreach(cell, candidates)
		names = list_append_unique(names, makeString(lfirst(cell)));
	candidates = NIL;
	foreach(cell, names)
		candidates = lappend(candidates, strVal(lfirst(cell)));
	nearest = ma_nearest(name, candidates);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: there is no column \"%s\"", leaf->parser->what, name),
			 leaf->event != NULL ?
			 errdetail("Bare names are columns of event \"%s\" here; contact.x is one of the contact.",
					   leaf->event->name) :
			 errdetail("It is neither a field of contacts, nor a column of an attached table, nor an attribute of identify()."),
			 nearest ? errhint("Did you mean %s?", nearest) : 0,
			 ma_rule_place(leaf->parser->text, ma_leaf_byte(leaf, location))));
}

Node *
ma_leaf_entry_member(MaLeaf *leaf, List *names, int location)
{
	MaParser   *parser = leaf->parser;
	MaEvent    *event = parser->rule->entry_event;
	MaMemberType found;

	if (event == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_RULE),
				 errmsg("%s: \"entry\" is not known here", parser->what),
				 errdetail("entry.x is the row a journey was entered by, in the rules and conditions of that journey."),
				 ma_rule_place(parser->text, ma_leaf_byte(leaf, location))));
	if (list_length(names) != 2)
		ma_leaf_unknown_column(leaf, llast(names), location, NIL);
	found = ma_event_member(parser->definitions, event, llast(names));
	if (!found.known)
	{
		char	   *nearest = ma_nearest(llast(names), found.candidates);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s: there is no column \"%s\"", parser->what, (char *) llast(names)),
				 errdetail("entry.x is the row of event \"%s\".", event->name),
				 nearest ? errhint("Did you mean %s?", nearest) : 0,
				 ma_rule_place(parser->text, ma_leaf_byte(leaf, location))));
	}
	if (found.unfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: column \"%s\" is of type %s, which cannot be used here", parser->what,
						(char *) llast(names), found.unfit),
				 ma_rule_place(parser->text, ma_leaf_byte(leaf, location))));
	leaf->reads_entry = true;
	return ma_scope_member(MA_ENTRY_ALIAS, "properties", llast(names), found.type);
}
