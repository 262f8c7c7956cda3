/*
 * json.c
 *		A definition as a tree in which each value knows its place, and the
 *		problems found in it.
 *
 * A user who has made three mistakes is told of all three: nothing here throws,
 * problems are collected with their places, and what cannot be read is left out.
 */
#include "base/base.h"

#include "journeys/program.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

static MaJson *read_value(JsonbIterator **iterator, JsonbIteratorToken token, JsonbValue *value,
						  const char *path);
static void read_items(JsonbIterator **iterator, MaJson *json);
static void read_scalar(MaJson *json, const JsonbValue *value);
static void wrong_type(const MaJson *value, const char *wanted, List **problems);

MaJson *
ma_json_tree(Datum definition)
{
	Jsonb	   *jsonb = DatumGetJsonbP(definition);
	JsonbIterator *iterator = JsonbIteratorInit(&jsonb->root);
	JsonbValue	value;
	JsonbIteratorToken token = JsonbIteratorNext(&iterator, &value, false);
	MaJson	   *tree = read_value(&iterator, token, &value, "");

	/* A bare scalar is wrapped in an array of jsonb's own. */
	if (JB_ROOT_IS_SCALAR(jsonb))
	{
		tree = linitial(tree->items);
		tree->path = "";
	}
	return tree;
}

static MaJson *
read_value(JsonbIterator **iterator, JsonbIteratorToken token, JsonbValue *value, const char *path)
{
	MaJson	   *json = palloc0_object(MaJson);

	check_stack_depth();
	json->path = path;
	switch (token)
	{
		case WJB_BEGIN_ARRAY:
			json->type = MA_JSON_ARRAY;
			read_items(iterator, json);
			break;
		case WJB_BEGIN_OBJECT:
			json->type = MA_JSON_OBJECT;
			read_items(iterator, json);
			break;
		default:
			read_scalar(json, value);
			break;
	}
	return json;
}

/* Items of an array, or members of an object. */
static void
read_items(JsonbIterator **iterator, MaJson *json)
{
	char	   *key = NULL;

	for (;;)
	{
		JsonbValue	value;
		JsonbIteratorToken token = JsonbIteratorNext(iterator, &value, false);
		MaJson	   *item;
		char	   *path;

		if (token == WJB_END_ARRAY || token == WJB_END_OBJECT)
			return;
		if (token == WJB_KEY)
		{
			key = pnstrdup(value.val.string.val, value.val.string.len);
			continue;
		}
		if (json->type == MA_JSON_ARRAY)
			path = psprintf("%s[%d]", json->path, list_length(json->items));
		else
			path = json->path[0] ? psprintf("%s.%s", json->path, key) : key;
		item = read_value(iterator, token, &value, path);
		item->key = json->type == MA_JSON_OBJECT ? key : NULL;
		json->items = lappend(json->items, item);
	}
}

static void
read_scalar(MaJson *json, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvBool:
			json->type = MA_JSON_BOOL;
			json->truth = value->val.boolean;
			break;
		case jbvNumeric:
			json->type = MA_JSON_NUMBER;
			json->text = DatumGetCString(DirectFunctionCall1(numeric_out,
															 NumericGetDatum(value->val.numeric)));
			break;
		case jbvString:
			json->type = MA_JSON_TEXT;
			json->text = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		default:
			json->type = MA_JSON_NULL;
			break;
	}
}

MaJson *
ma_json_member(const MaJson *object, const char *key)
{
	ListCell   *cell;

	foreach(cell, object->type == MA_JSON_OBJECT ? object->items : NIL)
		if (strcmp(((MaJson *) lfirst(cell))->key, key) == 0)
			return lfirst(cell);
	return NULL;
}

void
ma_problem(List **problems, const char *path, const char *hint, const char *message,...)
{
	MaProblem  *problem = palloc0_object(MaProblem);
	StringInfoData text;
	va_list		args;
	int			needed;

	initStringInfo(&text);
	for (;;)
	{
		va_start(args, message);
		needed = appendStringInfoVA(&text, message, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	problem->path = path;
	problem->message = text.data;
	problem->hint = hint ? pstrdup(hint) : NULL;
	*problems = lappend(*problems, problem);
}

static void
wrong_type(const MaJson *value, const char *wanted, List **problems)
{
	static const char *const names[] = {"null", "a boolean", "a number", "a text", "an array",
			"an object"};

	ma_problem(problems, value->path, NULL, "must be %s, not %s", wanted, names[value->type]);
}

char *
ma_json_text(const MaJson *value, List **problems)
{
	if (value->type == MA_JSON_TEXT && value->text[0] != '\0')
		return value->text;
	if (value->type == MA_JSON_TEXT)
		ma_problem(problems, value->path, NULL, "must not be empty");
	else
		wrong_type(value, "a text", problems);
	return NULL;
}

int
ma_json_number(const MaJson *value, int least, int most, List **problems)
{
	char	   *end;
	long		number;

	if (value->type != MA_JSON_NUMBER)
	{
		wrong_type(value, "a number", problems);
		return 0;
	}
	errno = 0;
	number = strtol(value->text, &end, 10);
	if (errno != 0 || *end != '\0' || number < least || number > most)
	{
		ma_problem(problems, value->path, NULL, "must be a whole number from %d to %d", least,
				most);
		return 0;
	}
	return (int) number;
}

/* More than 0, at most 1; 0 with a problem. */
double
ma_json_share(const MaJson *value, List **problems)
{
	double		share;

	if (value->type != MA_JSON_NUMBER)
	{
		wrong_type(value, "a number", problems);
		return 0;
	}
	share = strtod(value->text, NULL);
	if (share > 0 && share <= 1)
		return share;
	ma_problem(problems, value->path, "0.2 is one in five.", "must be more than 0 and at most 1");
	return 0;
}

static void
print(StringInfo text, const MaJson *value)
{
	bool		first = true;
	ListCell   *cell;

	check_stack_depth();
	switch (value->type)
	{
		case MA_JSON_NULL:
			appendStringInfoString(text, "null");
			return;
		case MA_JSON_BOOL:
			appendStringInfoString(text, value->truth ? "true" : "false");
			return;
		case MA_JSON_NUMBER:
			appendStringInfoString(text, value->text);
			return;
		case MA_JSON_TEXT:
			escape_json(text, value->text);
			return;
		default:
			break;
	}
	appendStringInfoChar(text, value->type == MA_JSON_ARRAY ? '[' : '{');
	foreach(cell, value->items)
	{
		MaJson	   *item = lfirst(cell);

		if (!first)
			appendStringInfoString(text, ", ");
		first = false;
		if (value->type == MA_JSON_OBJECT)
		{
			escape_json(text, item->key);
			appendStringInfoString(text, ": ");
		}
		print(text, item);
	}
	appendStringInfoChar(text, value->type == MA_JSON_ARRAY ? ']' : '}');
}

char *
ma_json_print(const MaJson *value)
{
	StringInfoData text;

	initStringInfo(&text);
	print(&text, value);
	return text.data;
}

bool
ma_json_bool(const MaJson *value, List **problems)
{
	if (value->type != MA_JSON_BOOL)
		wrong_type(value, "true or false", problems);
	return value->truth;
}

List *
ma_json_array(const MaJson *value, List **problems)
{
	if (value->type != MA_JSON_ARRAY)
		wrong_type(value, "an array", problems);
	return value->type == MA_JSON_ARRAY ? value->items : NIL;
}

bool
ma_json_is_object(const MaJson *value, List **problems)
{
	if (value->type != MA_JSON_OBJECT)
		wrong_type(value, "an object", problems);
	return value->type == MA_JSON_OBJECT;
}

void
ma_json_known_keys(const MaJson *object, const char *const *keys, List **problems)
{
	List	   *known = NIL;
	ListCell   *cell;

	for (int i = 0; keys[i] != NULL; i++)
		known = lappend(known, unconstify(char *, keys[i]));
	foreach(cell, object->type == MA_JSON_OBJECT ? object->items : NIL)
	{
		MaJson	   *member = lfirst(cell);
		bool		found = false;
		char	   *nearest;

		for (int i = 0; keys[i] != NULL; i++)
			found |= strcmp(member->key, keys[i]) == 0;
		if (found)
			continue;
		nearest = ma_nearest(member->key, known);
		ma_problem(problems, member->path, nearest ? psprintf("Did you mean %s?", nearest) : NULL,
				   "there is no key \"%s\" here", member->key);
	}
}
