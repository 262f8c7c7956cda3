/*
 * json_read.c
 *		The text of a rule from its JSON.
 *
 * Only the shape is checked here; what comes out is parsed like any other rule, so
 * names, types and rights have one place where they are checked.  SQL that stands in
 * the JSON must be whole: it may not close the parenthesis it is put into.
 */
#include "base/base.h"

#include "miscadmin.h"
#include "rules/rules_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* An object of the JSON while its members are taken. */
typedef struct Object
{
	JsonbContainer *container;
	const char *path;
	const char *what;
	List	   *taken;			/* keys (char *) */
} Object;

static void refuse(const char *what, const char *path, const char *message,
				   const char *hint) pg_attribute_noreturn();
static Object object_of(const JsonbValue *value, const char *what, const char *path);
static JsonbValue *take(Object *object, const char *key);
static void check_taken(const Object *object);
static char *path_of(const Object *object, const char *key);
static char *text_of(const Object *object, const char *key, const JsonbValue *value);
static char *take_text(Object *object, const char *key);
static char *sql_of(const Object *object, const char *key, const char *text);
static char *words_of(const Object *object, const char *key, const char *text, int most);
static char *take_words(Object *object, const char *key, int most);
static char *column_of(const Object *object, const char *key, const char *text);
static char *condition(Object *object);
static char *list(Object *object, const JsonbValue *value, const char *word);
static char *atom(Object *object);
static char *source(Object *object, const char *key, const JsonbValue *value, const char *measure);
static char *exists(Object *object, const char *word, const JsonbValue *value);
static char *last_rows(Object *object, const char *word, const JsonbValue *value);
static char *ends(Object *object, const char *word, const JsonbValue *value);
static char *fact(Object *object, const char *key, const char *words, const JsonbValue *value);
static char *date(Object *object, const JsonbValue *value, bool anniversary);
static char *durations(Object *object, const char *key, const JsonbValue *value);
static char *window(Object *object);
static char *number(const Object *object, const char *key, const JsonbValue *value);
static char *aggregate(Object *object, const char *function, const JsonbValue *value);

static void
refuse(const char *what, const char *path, const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_MA_INVALID_RULE),
			 errmsg("%s: %s", what, message),
			 errdetail("In its JSON, at %s.", path),
			 hint ? errhint("%s", hint) : 0));
}

/* ---- members ---- */

static Object
object_of(const JsonbValue *value, const char *what, const char *path)
{
	Object		object = {NULL, path, what, NIL};

	check_stack_depth();
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse(what, path, "an object is expected", NULL);
	object.container = value->val.binary.data;
	return object;
}

static JsonbValue *
take(Object *object, const char *key)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object->container, key, strlen(key), NULL);

	if (value != NULL)
		object->taken = lappend(object->taken, unconstify(char *, key));
	return value;
}

/* No member is left over. */
static void
check_taken(const Object *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object->container);
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		bool		known = token != WJB_KEY;
		ListCell   *cell;

		foreach(cell, object->taken)
			known |= !known && strlen(lfirst(cell)) == value.val.string.len &&
				strncmp(lfirst(cell), value.val.string.val, value.val.string.len) == 0;
		if (!known)
			refuse(object->what, object->path,
				   psprintf("\"%s\" has no meaning here",
							pnstrdup(value.val.string.val, value.val.string.len)), NULL);
	}
}

static char *
path_of(const Object *object, const char *key)
{
	return psprintf("%s.%s", object->path, key);
}

static char *
text_of(const Object *object, const char *key, const JsonbValue *value)
{
	if (value->type != jbvString)
		refuse(object->what, path_of(object, key), "a text is expected", NULL);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* NULL if it is not there. */
static char *
take_text(Object *object, const char *key)
{
	JsonbValue *value = take(object, key);

	return value == NULL ? NULL : text_of(object, key, value);
}

/* SQL to stand between parentheses; the line's end is for a comment in it. */
static char *
sql_of(const Object *object, const char *key, const char *text)
{
	int			n;
	MaToken    *tokens = ma_rule_tokens(text, &n);
	int			depth = 0;

	for (int i = 0; i < n - 1; i++)
	{
		depth += ma_is_symbol(&tokens[i], "(");
		depth -= ma_is_symbol(&tokens[i], ")");
		if (depth < 0)
			break;
	}
	if (depth != 0 || n == 1)
		refuse(object->what, path_of(object, key), "one SQL expression is expected",
			   "Its parentheses must match.");
	return psprintf("%s\n", text);
}

/* A few words or numbers, as of a duration or a period: nothing that could go on otherwise. */
static char *
words_of(const Object *object, const char *key, const char *text, int most)
{
	int			n;
	MaToken    *tokens = ma_rule_tokens(text, &n);

	for (int i = 0; i < n - 1; i++)
		if (n - 1 > most || (tokens[i].kind != MA_TOKEN_NAME && tokens[i].kind != MA_TOKEN_NUMBER))
			refuse(object->what, path_of(object, key),
				   psprintf("\"%s\" is not expected", text), NULL);
	return pstrdup(text);
}

/* NULL if it is not there. */
static char *
take_words(Object *object, const char *key, int most)
{
	char	   *text = take_text(object, key);

	return text == NULL ? NULL : words_of(object, key, text, most);
}

static char *
column_of(const Object *object, const char *key, const char *text)
{
	int			n;
	MaToken    *tokens = ma_rule_tokens(text, &n);

	if ((n != 2 && n != 4) || tokens[0].kind != MA_TOKEN_NAME ||
		(n == 4 && (!ma_is_symbol(&tokens[1], ".") || tokens[2].kind != MA_TOKEN_NAME)))
		refuse(object->what, path_of(object, key), "the name of a column is expected", NULL);
	return pstrdup(text);
}

/* ---- conditions ---- */

char *
ma_rule_from_json(Jsonb *json, const char *what)
{
	JsonbValue	value = {.type = jbvBinary};
	Object		object;

	value.val.binary.data = &json->root;
	value.val.binary.len = VARSIZE(json) - VARHDRSZ;
	object = object_of(&value, what, "$");
	return condition(&object);
}

static char *
condition(Object *object)
{
	JsonbValue *value;
	char	   *text;

	if ((value = take(object, "and")) != NULL)
		text = list(object, value, " and ");
	else if ((value = take(object, "or")) != NULL)
		text = list(object, value, " or ");
	else if ((value = take(object, "not")) != NULL)
	{
		Object		child = object_of(value, object->what, path_of(object, "not"));

		text = psprintf("not (%s)", condition(&child));
	}
	else
		text = atom(object);
	check_taken(object);
	return text;
}

static char *
list(Object *object, const JsonbValue *value, const char *word)
{
	StringInfoData text;
	const char *key = word[1] == 'a' ? "and" : "or";
	int			n;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		(n = JsonContainerSize(value->val.binary.data)) == 0)
		refuse(object->what, path_of(object, key), "a list of conditions is expected", NULL);
	initStringInfo(&text);
	for (int i = 0; i < n; i++)
	{
		Object		child = object_of(getIthJsonbValueFromContainer(value->val.binary.data, i),
									  object->what, psprintf("%s.%s[%d]", object->path, key, i));

		appendStringInfo(&text, "%s(%s)", i > 0 ? word : "", condition(&child));
	}
	return text.data;
}

/* By the key that says what it is. */
static char *
atom(Object *object)
{
	static const char *const quantities[] = {"any", "no"};
	static const char *const rows[] = {"any_of_last", "none_of_last", "all_of_last"};
	static const char *const sides[] = {"first", "last"};
	static const char *const facts[][2] = {{"in_segment", "in segment"}, {"in_list", "in list"},
	{"subscribed", "subscribed"}, {"stage", "stage"}};
	JsonbValue *value;
	char	   *text;

	for (int i = 0; i < lengthof(quantities); i++)
		if ((value = take(object, quantities[i])) != NULL)
			return exists(object, quantities[i], value);
	for (int i = 0; i < lengthof(rows); i++)
		if ((value = take(object, rows[i])) != NULL)
			return last_rows(object, rows[i], value);
	for (int i = 0; i < lengthof(sides); i++)
		if ((value = take(object, sides[i])) != NULL)
			return ends(object, sides[i], value);
	for (int i = 0; i < lengthof(facts); i++)
		if ((value = take(object, facts[i][0])) != NULL)
			return fact(object, facts[i][0], facts[i][1], value);
	if ((value = take(object, "overdue")) != NULL)
	{
		text = source(object, "overdue", value, NULL);
		value = take(object, "by");
		if (value == NULL || value->type != jbvNumeric)
			refuse(object->what, path_of(object, "by"), "a number is expected", NULL);
		return psprintf("overdue %s by %s", text, number(object, "by", value));
	}
	if ((text = take_text(object, "condition")) != NULL)
		return sql_of(object, "condition", text);
	if ((text = take_text(object, "sql")) != NULL)
	{
		char	   *every = take_words(object, "recheck", 2);

		if (every == NULL)
			refuse(object->what, object->path, "\"recheck\" is missing",
				   "A condition without it is {\"condition\": \"...\"}.");
		return psprintf("sql (%s) recheck every %s", sql_of(object, "sql", text), every);
	}
	if ((value = take(object, "date")) != NULL)
		return date(object, value, false);
	if ((value = take(object, "anniversary")) != NULL)
		return date(object, value, true);
	if ((value = take(object, "compare")) != NULL)
	{
		char	   *left = number(object, "compare", value);
		char	   *operator = take_text(object, "is");

		if (operator != NULL && (operator[0] == '\0' || strlen(operator) > 2 ||
								 strspn(operator, "<>=!") != strlen(operator)))
			refuse(object->what, path_of(object, "is"), "a comparison is expected",
				   "Use =, <>, <, <=, > or >=.");
		value = take(object, "to");
		if (operator == NULL || value == NULL)
			refuse(object->what, object->path, "\"is\" or \"to\" is missing",
				   "For example {\"compare\": ..., \"is\": \">=\", \"to\": 3}.");
		return psprintf("%s %s %s", left, operator, number(object, "to", value));
	}
	refuse(object->what, object->path, "no condition is named here",
		   "Its first key is and, or, not, any, no, first, last, overdue, any_of_last, all_of_last, none_of_last, in_segment, in_list, subscribed, stage, date, anniversary, compare, condition or sql.");
}

/* A name, or an object with a condition; with the measure of an aggregate after the name. */
static char *
source(Object *object, const char *key, const JsonbValue *value, const char *measure)
{
	Object		child;
	char	   *event;
	char	   *where;

	measure = measure ? psprintf(".(%s)", measure) : "";
	if (value->type == jbvString)
		return psprintf("%s%s", quote_identifier(text_of(object, key, value)), measure);
	child = object_of(value, object->what, path_of(object, key));
	event = take_text(&child, "event");
	where = take_text(&child, "where");
	check_taken(&child);
	if (event == NULL)
		refuse(object->what, child.path, "\"event\" is missing", NULL);
	return psprintf("%s%s%s", quote_identifier(event), measure,
					where ? psprintf(" where (%s)", sql_of(&child, "where", where)) : "");
}

static char *
exists(Object *object, const char *word, const JsonbValue *value)
{
	char	   *text = psprintf("%s %s%s", word, source(object, word, value, NULL),
								window(object));
	JsonbValue *follower = take(object, "followed_by");
	const char *key = "followed_by";
	char	   *within;

	if (follower == NULL)
	{
		key = "not_followed_by";
		follower = take(object, key);
	}
	if (follower == NULL)
		return text;
	within = take_words(object, "within", 2);
	if (within == NULL)
		refuse(object->what, object->path, "\"within\" is missing",
			   "For example \"within\": \"2 hours\".");
	return psprintf("%s %sfollowed by %s within %s", text, key[0] == 'n' ? "not " : "",
					source(object, key, follower, NULL), within);
}

static char *
last_rows(Object *object, const char *word, const JsonbValue *value)
{
	JsonbValue *rows = take(object, "rows");
	char	   *matching = take_text(object, "matching");
	char	   *quantity = pnstrdup(word, strchr(word, '_') - word);

	if (value->type != jbvNumeric)
		refuse(object->what, path_of(object, word), "a number of rows is expected", NULL);
	if (rows == NULL || matching == NULL)
		refuse(object->what, object->path, "\"rows\" or \"matching\" is missing", NULL);
	return psprintf("%s of last %s %s matching (%s)", quantity, number(object, word, value),
					source(object, "rows", rows, NULL), sql_of(object, "matching", matching));
}

static char *
ends(Object *object, const char *word, const JsonbValue *value)
{
	char	   *rows = source(object, word, value, NULL);
	JsonbValue *between = take(object, "between");
	char	   *text;

	if (between != NULL)
		return psprintf("%s %s %s ago", word, rows, durations(object, "between", between));
	if ((text = take_text(object, "matching")) != NULL)
		return psprintf("%s %s matching (%s)", word, rows, sql_of(object, "matching", text));
	if ((text = take_words(object, "more_than", 2)) != NULL)
		return psprintf("%s %s more than %s ago", word, rows, text);
	if ((text = take_words(object, "less_than", 2)) != NULL)
		return psprintf("%s %s less than %s ago", word, rows, text);
	refuse(object->what, object->path, "more_than, less_than, between or matching is missing",
		   NULL);
}

static char *
fact(Object *object, const char *key, const char *words, const JsonbValue *value)
{
	char	   *by = take_text(object, "by");

	return psprintf("%s %s%s", words, quote_identifier(text_of(object, key, value)),
					by ? psprintf(" by %s", quote_identifier(by)) : "");
}

static char *
date(Object *object, const JsonbValue *value, bool anniversary)
{
	const char *key = anniversary ? "anniversary" : "date";
	char	   *column = column_of(object, key, text_of(object, key, value));
	char	   *text;

	if (anniversary)
		column = psprintf("anniversary(%s)", column);
	if ((text = take_words(object, "is", 2)) != NULL)
		return psprintf("%s is %s", column, text);
	if ((text = take_words(object, "within", 2)) != NULL)
		return psprintf("%s %s %s", column, anniversary ? "is within" : "within next", text);
	if (!anniversary && (text = take_words(object, "more_than", 2)) != NULL)
		return psprintf("%s more than %s ago", column, text);
	if (!anniversary && (text = take_words(object, "less_than", 2)) != NULL)
		return psprintf("%s less than %s ago", column, text);
	refuse(object->what, object->path,
		   anniversary ? "is or within is missing" : "is, within, more_than or less_than is missing",
		   NULL);
}

/* ---- windows ---- */

/* ["1 day", "2 days"] */
static char *
durations(Object *object, const char *key, const JsonbValue *value)
{
	char	   *parts[2];

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		JsonContainerSize(value->val.binary.data) != 2)
		refuse(object->what, path_of(object, key), "two durations are expected",
			   "For example [\"1 day\", \"7 days\"].");
	for (int i = 0; i < 2; i++)
		parts[i] = words_of(object, key,
							text_of(object, key,
									getIthJsonbValueFromContainer(value->val.binary.data, i)), 2);
	return psprintf("between %s and %s", parts[0], parts[1]);
}

/* With a blank before it; empty for all time. */
static char *
window(Object *object)
{
	JsonbValue *value = take(object, "window");
	Object		child;
	JsonbValue *between;
	char	   *text;

	if (value == NULL)
		return "";
	if (value->type == jbvString)
		return psprintf(" %s", words_of(object, "window",
										 text_of(object, "window", value), 2));
	child = object_of(value, object->what, path_of(object, "window"));
	if ((between = take(&child, "between")) != NULL)
		text = psprintf(" %s ago", durations(&child, "between", between));
	else if ((text = take_words(&child, "in", 2)) != NULL)
		text = psprintf(" in %s", text);
	else if ((text = take_text(&child, "since")) != NULL)
		text = psprintf(" since %s", quote_literal_cstr(text));
	else if ((text = take_text(&child, "since_column")) != NULL)
		text = psprintf(" since %s", column_of(&child, "since_column", text));
	else
		refuse(object->what, child.path, "in, between, since or since_column is missing",
			   "A period of the calendar is a text: \"today\", \"this week\", \"last month\".");
	check_taken(&child);
	return text;
}

/* ---- numbers ---- */

static char *
number(const Object *object, const char *key, const JsonbValue *value)
{
	static const char *const functions[] = {"count", "sum", "avg", "min", "max"};
	static const char *const operators[] = {"+", "-", "*", "/"};
	Object		child;
	JsonbValue *inner;
	char	   *text = NULL;

	if (value->type == jbvNumeric)
	{
		text = numeric_normalize(value->val.numeric);
		return text[0] == '-' ? psprintf("(- %s)", text + 1) : text;
	}
	child = object_of(value, object->what, path_of(object, key));
	for (int i = 0; i < lengthof(functions) && text == NULL; i++)
		if ((inner = take(&child, functions[i])) != NULL)
			text = aggregate(&child, functions[i], inner);
	for (int i = 0; i < lengthof(operators) && text == NULL; i++)
	{
		JsonbContainer *pair;

		if ((inner = take(&child, operators[i])) == NULL)
			continue;
		pair = inner->type == jbvBinary ? inner->val.binary.data : NULL;
		if (pair == NULL || !JsonContainerIsArray(pair) || JsonContainerSize(pair) != 2)
			refuse(child.what, path_of(&child, operators[i]), "two numbers are expected", NULL);
		text = psprintf("(%s %s %s)",
						number(&child, operators[i], getIthJsonbValueFromContainer(pair, 0)),
						operators[i],
						number(&child, operators[i], getIthJsonbValueFromContainer(pair, 1)));
	}
	if (text == NULL && (inner = take(&child, "negative")) != NULL)
		text = psprintf("(- %s)", number(&child, "negative", inner));
	if (text == NULL && (text = take_text(&child, "column")) != NULL)
		text = column_of(&child, "column", text);
	if (text == NULL && (text = take_text(&child, "score")) != NULL)
		text = psprintf("score(%s)", quote_identifier(text));
	if (text == NULL)
		refuse(child.what, child.path, "no number is named here",
			   "Use a number, or an object with count, sum, avg, min, max, score, column, negative, +, -, * or /.");
	check_taken(&child);
	return text;
}

static char *
aggregate(Object *object, const char *function, const JsonbValue *value)
{
	char	   *of = take_text(object, "of");
	JsonbValue *distinct = take(object, "distinct");

	if (distinct != NULL && distinct->type != jbvBool)
		refuse(object->what, path_of(object, "distinct"), "true or false is expected", NULL);
	return psprintf("%s(%s%s)%s", function,
					distinct != NULL && distinct->val.boolean ? "distinct " : "",
					source(object, function, value, of ? sql_of(object, "of", of) : NULL),
					window(object));
}
