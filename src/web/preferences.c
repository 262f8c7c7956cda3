/*
 * preferences.c
 *		/p/: what somebody gets, as a form: GET shows it, POST saves it.
 *
 * The form says which of its boxes were shown and which are wanted, so that a topic
 * that came since the page was fetched is not taken for one that was unticked.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "web/web_internal.h"

#define MAX_FIELDS 1000

static int	hex_digit(char c);
static char *decode(const char *text, int length);
static void read_form(const MaWebRequest *request, List **shown, List **wanted);
static bool has(const List *texts, const char *text);
static void save(const MaWebRequest *request);

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Of application/x-www-form-urlencoded, in UTF-8 as the page was; NULL for what is no text. */
static char *
decode(const char *text, int length)
{
	char	   *decoded = palloc(length + 1);
	int			n = 0;

	for (int i = 0; i < length; i++)
	{
		char		c = text[i] == '+' ? ' ' : text[i];

		if (c == '%' && i + 2 < length && hex_digit(text[i + 1]) >= 0 &&
			hex_digit(text[i + 2]) >= 0)
		{
			c = (char) (hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
			i += 2;
		}
		decoded[n++] = c;
	}
	decoded[n] = '\0';
	return strlen(decoded) == n ? decoded : NULL;
}

/* The values of its fields `shown` and `wanted`. */
static void
read_form(const MaWebRequest *request, List **shown, List **wanted)
{
	const char *at = request->content;
	const char *end = at + request->content_length;

	*shown = *wanted = NIL;
	for (int fields = 0; at < end && fields < MAX_FIELDS; fields++)
	{
		const char *stop = memchr(at, '&', end - at);
		int			length = (stop ? stop : end) - at;
		List	  **list = length > 6 && strncmp(at, "shown=", 6) == 0 ? shown :
			length > 7 && strncmp(at, "wanted=", 7) == 0 ? wanted : NULL;
		int			name = list == shown ? 6 : 7;
		char	   *value = list ? decode(at + name, length - name) : NULL;

		if (value != NULL)
			*list = lappend(*list, value);
		at += length + 1;
	}
}

static bool
has(const List *texts, const char *text)
{
	ListCell   *cell;

	foreach(cell, texts)
		if (strcmp(lfirst(cell), text) == 0)
			return true;
	return false;
}

/* What was shown and is another way now; what is not there any more is passed over. */
static void
save(const MaWebRequest *request)
{
	static MaStatement current = {
		"SELECT pg_catalog.concat(p.topic, '/', p.channel), p.gets "
		"FROM marketing.preferences_by_token($1) AS p", 1, {TEXTOID}
	};
	static MaStatement set = {
		"SELECT marketing.set_preferences_by_token($1, $2::pg_catalog.jsonb, "
		"'{\"page\": \"preferences\"}')", 2, {TEXTOID, TEXTOID}
	};
	Datum		values[2];
	StringInfoData changes;
	List	   *shown;
	List	   *wanted;
	MaRows		rows;

	read_form(request, &shown, &wanted);
	values[0] = CStringGetTextDatum(request->rest);
	rows = ma_run(&current, values, NULL, MA_RUN_READ_LATEST);
	initStringInfo(&changes);
	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *key = ma_text(&rows, i, 1);
		const char *utf8 = pg_server_to_any(key, strlen(key), PG_UTF8);

		if (!has(shown, utf8) || has(wanted, utf8) == ma_bool(&rows, i, 2))
			continue;
		appendStringInfoString(&changes, changes.len > 0 ? ", " : "{");
		escape_json(&changes, key);
		appendStringInfo(&changes, ": %s", ma_bool(&rows, i, 2) ? "false" : "true");
	}
	if (changes.len == 0)
		return;
	appendStringInfoChar(&changes, '}');
	values[1] = CStringGetTextDatum(changes.data);
	(void) ma_run(&set, values, NULL, MA_RUN_WRITE);
}

void
ma_web_preferences(const MaWebRequest *request, MaWebAnswer *answer)
{
	static MaStatement show = {
		"SELECT pg_catalog.concat('\"preferences\": ', COALESCE(pg_catalog.jsonb_agg("
		"pg_catalog.jsonb_build_object('key', pg_catalog.concat(p.topic, '/', p.channel), "
		"'topic', p.topic, 'description', COALESCE(p.description, p.topic), 'channel', p.channel, "
		"'state', p.state, 'gets', p.gets)), '[]')) FROM marketing.preferences_by_token($1) AS p",
		1, {TEXTOID}
	};
	Datum		token = CStringGetTextDatum(request->rest);
	MaRows		rows;

	if (!ma_preferences_token_valid(request->rest))
	{
		ma_web_page(answer, MA_WEB_NOT_FOUND, "gone", NULL);
		return;
	}
	if (request->acts)
		save(request);
	rows = ma_run(&show, &token, NULL, MA_RUN_READ_LATEST);
	ma_web_page(answer, MA_WEB_OK, request->acts ? "preferences_saved" : "preferences",
				ma_text(&rows, 0, 1));
}
