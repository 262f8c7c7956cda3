/*
 * views.c
 *		Views of score rules in schema marketing_rule, and the names that the columns
 *		they read have now.
 *
 * A rule's text names columns, its view holds them by their numbers: PostgreSQL keeps
 * it true when one is renamed, refuses to drop one, and dumps it.  Beside the points
 * of each row the view has the columns in the order of score_rule.columns, so what an
 * old name stands for now is read off, not guessed.  The text stays as it was defined;
 * where it is used, each table's own names are put into it.
 *
 * Where there is no view of a table that the rule needs one for, the view was dropped
 * with what it reads, and the rule has no rows there.
 */
#include "base/base.h"

#include "access/attnum.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rules/rules.h"
#include "scoring/define.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"

#define KIND "score"
#define ROW_ALIAS "t"
#define LOOKUP_ALIAS "lookup_"
#define RENEW_EVERY_MS 60000

static char *object_of(const MaScoreRule *rule);
static char *escaped(const char *name);
static char *view_sql(const MaScoreRule *rule);
static char *part_sql(const MaScoreRule *rule, const MaEventSource *source);
static char *column_sql(const MaEventSource *source, const char *column);
static char *joins_sql(const MaScoreRule *rule, const MaEventSource *source);
static const MaLookup *lookup_of(const MaEventSource *source, const char *column);
static void read_view(MaScoreRule *rule, const char *action);
static void read_part(MaScoreRule *rule, Query *query);
static char *name_of(const Query *query, Node *element);
static const MaScoreReads *reads_of(const MaScoreRule *rule, const MaEventSource *source);
static bool same_names(const List *left, const List *right);
static char *renamed(const MaScoreRule *rule, const MaEventSource *source,
					 const MaScoreReads *reads, const char *text);
static int	word_end(const char *text, int start);
static bool misses_names(const MaScoreModel *model);
static bool is_read(const MaEvent *event, const char *column);
static void attached(void);
static bool duty_tick(void);

void
ma_score_views_init(void)
{
	static const MaDuty duty = {
		.name = "names of scores", .every_ms = RENEW_EVERY_MS, .tick = duty_tick
	};

	ma_worker_register_duty(&duty);
	ma_register_attach_listener(attached);
	ma_score_uses_init();
}

/* ---- the views ---- */

/* model/rule, unlike those of any other two names. */
static char *
object_of(const MaScoreRule *rule)
{
	return psprintf("%s/%s", escaped(rule->model->name), escaped(rule->name));
}

static char *
escaped(const char *name)
{
	StringInfoData text;

	initStringInfo(&text);
	for (; *name != '\0'; name++)
	{
		if (*name == '/')
			appendStringInfoChar(&text, '/');
		appendStringInfoChar(&text, *name);
	}
	return text.data;
}

void
ma_score_view_set(const MaScoreRule *rule)
{
	char	   *sql = view_sql(rule);

	if (sql != NULL)
		ma_rule_view_set_sql(KIND, object_of(rule), sql);
	else
		ma_score_view_drop(rule);
}

void
ma_score_view_drop(const MaScoreRule *rule)
{
	ma_rule_view_drop(KIND, object_of(rule));
}

/* Points and columns of all rows that fit; NULL where no column of a table is read. */
static char *
view_sql(const MaScoreRule *rule)
{
	MaEvent    *event = ma_event_by_id(ma_definitions(), rule->event_id);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	if (event == NULL || rule->columns == NIL)
		return NULL;
	foreach(cell, ma_score_sources(event))
	{
		MaEventSource *source = lfirst(cell);
		MaScoreRule *own;

		if (source == NULL || !OidIsValid(source->table->relid))
			continue;
		own = ma_score_rule_as_named(rule, source);
		if (ma_row_sql_fits(source, own->columns))
			appendStringInfo(&sql, "%s%s", sql.len > 0 ? " UNION ALL " : "",
							 part_sql(own, source));
	}
	return sql.len > 0 ? sql.data : NULL;
}

static char *
part_sql(const MaScoreRule *rule, const MaEventSource *source)
{
	StringInfoData columns;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, rule->columns)
		appendStringInfo(&columns, "%s%s::pg_catalog.text", columns.len > 0 ? ", " : "",
						 column_sql(source, lfirst(cell)));
	return psprintf("SELECT (%s)::pg_catalog.float8 AS points, ARRAY[%s] AS reads "
					"FROM %s AS " ROW_ALIAS "%s WHERE %s",
					rule->points, columns.data, source->table->qualified,
					joins_sql(rule, source), rule->condition ? rule->condition : "true");
}

/* The lookup whose column this is by its name ("product.price"); NULL: it is the row's own. */
static const MaLookup *
lookup_of(const MaEventSource *source, const char *column)
{
	ListCell   *cell;

	if (get_attnum(source->table->relid, column) != InvalidAttrNumber)
		return NULL;
	foreach(cell, source->lookups)
	{
		const MaLookup *lookup = lfirst(cell);
		size_t		length = strlen(lookup->name);

		if (strncmp(column, lookup->name, length) == 0 && column[length] == '.')
			return lookup;
	}
	return NULL;
}

static char *
column_sql(const MaEventSource *source, const char *column)
{
	const MaLookup *lookup = lookup_of(source, column);

	if (lookup == NULL)
		return psprintf(ROW_ALIAS ".%s", quote_identifier(column));
	return psprintf("%s.%s", quote_identifier(psprintf(LOOKUP_ALIAS "%s", lookup->name)),
					quote_identifier(column + strlen(lookup->name) + 1));
}

/* The lookups it reads, each once. */
static char *
joins_sql(const MaScoreRule *rule, const MaEventSource *source)
{
	List	   *joined = NIL;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, rule->columns)
	{
		const MaLookup *lookup = lookup_of(source, lfirst(cell));
		const char *alias;

		if (lookup == NULL || list_member_ptr(joined, lookup))
			continue;
		joined = lappend(joined, unconstify(MaLookup *, lookup));
		alias = quote_identifier(psprintf(LOOKUP_ALIAS "%s", lookup->name));
		appendStringInfo(&sql, " LEFT JOIN %s AS %s ON %s.%s::pg_catalog.text OPERATOR(pg_catalog.=) "
						 ROW_ALIAS ".%s::pg_catalog.text", lookup->table->qualified, alias, alias,
						 quote_identifier(lookup->key_column),
						 quote_identifier(lookup->link_column));
	}
	return sql.data;
}

/* ---- what they say ---- */

void
ma_score_views_load(MaScoreModels *models)
{
	static MaStatement read = {
		"SELECT v.object, w.ev_action::pg_catalog.text FROM marketing_internal.rule_view AS v "
		"JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) 'marketing_rule' "
		"JOIN pg_catalog.pg_class AS c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid "
		"AND c.relname OPERATOR(pg_catalog.=) v.view_name::pg_catalog.name "
		"JOIN pg_catalog.pg_rewrite AS w ON w.ev_class OPERATOR(pg_catalog.=) c.oid "
		"WHERE v.kind OPERATOR(pg_catalog.=) '" KIND "'"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	ListCell   *outer;
	ListCell   *cell;

	foreach(outer, models->models)
	{
		MaScoreModel *model = lfirst(outer);

		foreach(cell, model->rules)
		{
			MaScoreRule *rule = lfirst(cell);
			char	   *object = object_of(rule);

			for (uint64 i = 0; i < rows.n && rule->columns != NIL; i++)
				if (strcmp(ma_text(&rows, i, 1), object) == 0)
					read_view(rule, ma_text(&rows, i, 2));
		}
		/* Capture goes by stored names: what is stored of contacts may have missed changes. */
		if (misses_names(model))
		{
			model->version++;
			model->built = false;
			model->built_upto = 0;
			model->renamed = true;
		}
	}
}

static void
read_view(MaScoreRule *rule, const char *action)
{
	Query	   *query = linitial_node(Query, castNode(List, stringToNode(action)));
	ListCell   *cell;

	if (query->setOperations == NULL)
	{
		read_part(rule, query);
		return;
	}
	foreach(cell, query->rtable)
	{
		RangeTblEntry *part = lfirst_node(RangeTblEntry, cell);

		if (part->rtekind == RTE_SUBQUERY)
			read_part(rule, part->subquery);
	}
}

/* One table of the view; its columns are the elements of the array. */
static void
read_part(MaScoreRule *rule, Query *query)
{
	MaScoreReads *reads = palloc0_object(MaScoreReads);
	TargetEntry *columns = llast_node(TargetEntry, query->targetList);
	ListCell   *cell;

	if (!IsA(columns->expr, ArrayExpr) ||
		list_length(castNode(ArrayExpr, columns->expr)->elements) != list_length(rule->columns))
		return;
	foreach(cell, query->rtable)
	{
		RangeTblEntry *table = lfirst_node(RangeTblEntry, cell);

		if (table->rtekind == RTE_RELATION && strcmp(table->eref->aliasname, ROW_ALIAS) == 0)
			reads->relid = table->relid;
	}
	foreach(cell, castNode(ArrayExpr, columns->expr)->elements)
		reads->columns = lappend(reads->columns, name_of(query, lfirst(cell)));
	rule->reads = lappend(rule->reads, reads);
}

/* The column's name now, as in score_rule.columns; "" if it is gone. */
static char *
name_of(const Query *query, Node *element)
{
	List	   *vars = pull_var_clause(element, 0);
	RangeTblEntry *table;
	char	   *name;
	Var		   *var;

	if (vars == NIL)
		return "";
	var = linitial_node(Var, vars);
	table = rt_fetch(var->varno, query->rtable);
	name = get_attname(table->relid, var->varattno, true);
	if (name == NULL)
		return "";
	return strcmp(table->eref->aliasname, ROW_ALIAS) == 0 ? name :
		psprintf("%s.%s", table->eref->aliasname + strlen(LOOKUP_ALIAS), name);
}

/* ---- a rule with the names of one table ---- */

static const MaScoreReads *
reads_of(const MaScoreRule *rule, const MaEventSource *source)
{
	ListCell   *cell;

	foreach(cell, rule->reads)
		if (source != NULL && ((MaScoreReads *) lfirst(cell))->relid == source->table->relid)
			return lfirst(cell);
	return NULL;
}

MaScoreRule *
ma_score_rule_as_named(const MaScoreRule *rule, const MaEventSource *source)
{
	const MaScoreReads *reads = reads_of(rule, source);
	MaScoreRule *own;

	if (reads == NULL || same_names(reads->columns, rule->columns))
		return unconstify(MaScoreRule *, rule);
	own = palloc_object(MaScoreRule);
	*own = *rule;
	own->columns = reads->columns;
	own->condition = rule->condition ? renamed(rule, source, reads, rule->condition) : NULL;
	own->points = renamed(rule, source, reads, rule->points);
	return own;
}

MaScoreRule *
ma_score_rule_for(const MaScoreRule *rule, const MaEventSource *source)
{
	MaScoreRule *own;

	if (source != NULL && rule->columns != NIL && reads_of(rule, source) == NULL)
		return NULL;
	own = ma_score_rule_as_named(rule, source);
	return ma_row_sql_fits(source, own->columns) ? own : NULL;
}

static bool
same_names(const List *left, const List *right)
{
	ListCell   *a;
	ListCell   *b;

	forboth(a, left, b, right)
		if (strcmp(lfirst(a), lfirst(b)) != 0)
			return false;
	return true;
}

/*
 * The text with the names of now.  It is as PostgreSQL prints it: each column stands
 * with its alias, and strings are the only place where a name could be none.
 */
static char *
renamed(const MaScoreRule *rule, const MaEventSource *source, const MaScoreReads *reads,
		const char *text)
{
	StringInfoData result;

	initStringInfo(&result);
	for (int at = 0; text[at] != '\0';)
	{
		int			end = word_end(text, at);
		char	   *word = pnstrdup(text + at, end - at);
		ListCell   *before;
		ListCell   *now;

		forboth(before, rule->columns, now, reads->columns)
			if (strcmp(word, column_sql(source, lfirst(before))) == 0 &&
				*(char *) lfirst(now) != '\0')
			{
				word = column_sql(source, lfirst(now));
				break;
			}
		appendStringInfoString(&result, word);
		at = end;
	}
	return result.data;
}

/* Behind the string, the name with what it is qualified by, or the single sign at the start. */
static int
word_end(const char *text, int start)
{
	int			at = start;

	if (text[at] == '\'')
	{
		for (at++; text[at] != '\0'; at++)
			if (text[at] == '\'' && text[++at] != '\'')
				return at;
		return at;
	}
	for (;;)
	{
		if (text[at] == '"')
		{
			for (at++; text[at] != '\0' && (text[at] != '"' || text[++at] == '"'); at++)
				;
		}
		else
			while (isalnum((unsigned char) text[at]) || text[at] == '_' || text[at] == '$' ||
				   IS_HIGHBIT_SET(text[at]))
				at++;
		if (at == start || text[at] != '.')
			return Max(at, start + 1);
		at++;
	}
}

/* ---- what depends on names: capture, and tables that come and go ---- */

/* True if capture does not watch all columns that the rules read, as they are called now. */
static bool
misses_names(const MaScoreModel *model)
{
	ListCell   *cell;
	ListCell   *part;
	ListCell   *name;

	foreach(cell, model->rules)
	{
		const MaScoreRule *rule = lfirst(cell);
		const MaEvent *event = ma_event_by_id(ma_definitions(), rule->event_id);

		foreach(part, rule->reads)
			foreach(name, ((MaScoreReads *) lfirst(part))->columns)
				if (*(char *) lfirst(name) != '\0' && !is_read(event, lfirst(name)))
					return true;
	}
	return false;
}

static bool
is_read(const MaEvent *event, const char *column)
{
	ListCell   *cell;

	foreach(cell, event ? event->columns : NIL)
		if (strcmp(lfirst(cell), column) == 0)
			return true;
	return event == NULL;
}

bool
ma_score_view_fits(const MaScoreRule *rule)
{
	MaEvent    *event = ma_event_by_id(ma_definitions(), rule->event_id);
	int			n = 0;
	ListCell   *cell;

	if (event == NULL || rule->columns == NIL)
		return rule->reads == NIL;
	foreach(cell, ma_score_sources(event))
	{
		MaEventSource *source = lfirst(cell);

		if (source == NULL || !OidIsValid(source->table->relid) ||
			!ma_row_sql_fits(source, ma_score_rule_as_named(rule, source)->columns))
			continue;
		n++;
		if (reads_of(rule, source) == NULL)
			return false;
	}
	return n == list_length(rule->reads);
}

/* Something was attached or detached: the event may have other tables now. */
static void
attached(void)
{
	MaScoreModels *models = ma_score_models();
	bool		changed = false;
	ListCell   *outer;
	ListCell   *cell;

	foreach(outer, models->models)
		foreach(cell, ((MaScoreModel *) lfirst(outer))->rules)
			if (!ma_score_view_fits(lfirst(cell)))
			{
				ma_score_view_set(lfirst(cell));
				changed = true;
			}
	if (changed)
		ma_definitions_changed();
}

/* The worker's turn: has capture watch the names of now, and all contacts computed again. */
static bool
duty_tick(void)
{
	static uint64 seen = 0;
	List	   *names = NIL;
	MaCall		call;
	ListCell   *cell;

	if (ma_extension() == NULL || seen == ma_definitions_epoch())
		return false;
	ma_call_begin(&call);
	foreach(cell, ma_score_models()->models)
		if (((MaScoreModel *) lfirst(cell))->renamed)
			names = lappend(names, pstrdup(((MaScoreModel *) lfirst(cell))->name));
	foreach(cell, names)
	{
		if (cell == list_head(names))
			ma_score_definitions_lock();
		ma_tell_named("score", lfirst(cell), false);
		(void) ma_score_model_changed(ma_score_model_required(lfirst(cell)));
		ma_tell_named("score", lfirst(cell), true);
	}
	seen = ma_definitions_epoch();
	ma_call_end(&call);
	return false;
}
