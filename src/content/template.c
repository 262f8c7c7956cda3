/*
 * template.c
 *		marketing.define_template(), drop_template(), and templates for other rooms.
 *
 * Every part is compiled before anything is stored, so a wrong text never gets into a
 * table.  A change of a text is a new version; topic, channel and sender are the
 * template's own and hold for all of its versions.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content_internal.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* What define_template() was given. */
typedef struct Definition
{
	char	   *name;
	char	   *topic;
	char	   *channel;
	char	   *subject;
	char	   *html;
	char	   *text;
	char	   *preheader;
	char	   *layout;
	char	   *sender;
	char	   *locale;
	char	   *utm;			/* jsonb as text */
	char	   *attachments;	/* text[] as text */
	char	   *strict;			/* true, or NULL */
} Definition;

/* What stands there of it; version 0: nothing for this locale. */
typedef struct Stored
{
	int32		template_id;
	bool		created;
	int32		last_version;
	int32		version;
	Definition	is;
} Stored;

static void (*channel_check) (const char *channel);
static void (*topic_check) (const char *topic);
static void (*sender_check) (const char *sender, const char *channel);

static void read_definition(FunctionCallInfo fcinfo, Definition *definition);
static void check_channel(const Definition *definition);
static char *check_utm(Datum utm);
static char *check_attachments(ArrayType *names);
static char *check_locale(const char *locale);
static void check_part(const Definition *definition, const char *source, MaEscape escape,
					   const char *part);
static void check_names(const Definition *definition);
static void notice_names(const Definition *definition);
static char *define(const Definition *definition);
static Stored read_stored(const Definition *definition);
static bool note(StringInfo what, const char *name, const char *left, const char *right);
static void store_version(const Definition *definition, Stored *stored);
static void store_template(const Definition *definition, const Stored *stored);
static char *drop(const char *name, const char *locale);
static List *uses_of(const char *column, const char *name);
static List *uses_of_topic(const char *name);
static List *uses_of_sender(const char *name);

void
ma_register_channel_check(void (*check) (const char *channel))
{
	channel_check = check;
}

void
ma_register_topic_check(void (*check) (const char *topic))
{
	topic_check = check;
}

void
ma_register_sender_check(void (*check) (const char *sender, const char *channel))
{
	sender_check = check;
}

MA_FUNCTION(ma_define_template);
MA_FUNCTION(ma_drop_template);

/*
 * marketing.define_template(name, topic, channel, subject, html, text, preheader, layout,
 * sender, locale, utm, attachments, strict)
 */
Datum
ma_define_template(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Definition	definition;
	MaCall		call;
	char	   *answer;

	read_definition(fcinfo, &definition);
	check_channel(&definition);
	check_part(&definition, definition.subject, MA_ESCAPE_NONE, "subject");
	check_part(&definition, definition.html, MA_ESCAPE_HTML, "html");
	check_part(&definition, definition.text, MA_ESCAPE_NONE, "text");
	check_part(&definition, definition.preheader, MA_ESCAPE_NONE, "preheader");
	ma_call_begin(&call);
	/* What it names is not dropped meanwhile. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	check_names(&definition);
	notice_names(&definition);
	answer = MemoryContextStrdup(context, define(&definition));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static void
read_definition(FunctionCallInfo fcinfo, Definition *definition)
{
	definition->name = ma_content_name(fcinfo, 0, "template");
	definition->topic = ma_content_name(fcinfo, 1, "topic");
	definition->channel = PG_ARGISNULL(2) ? pstrdup("email") : ma_content_name(fcinfo, 2, "channel");
	definition->subject = ma_content_argument(fcinfo, 3);
	definition->html = ma_content_argument(fcinfo, 4);
	definition->text = ma_content_argument(fcinfo, 5);
	definition->preheader = ma_content_argument(fcinfo, 6);
	definition->layout = ma_content_argument(fcinfo, 7);
	definition->sender = ma_content_argument(fcinfo, 8);
	definition->locale = check_locale(ma_content_argument(fcinfo, 9));
	definition->utm = PG_ARGISNULL(10) ? NULL : check_utm(PG_GETARG_DATUM(10));
	definition->attachments = PG_ARGISNULL(11) ? NULL :
		check_attachments(PG_GETARG_ARRAYTYPE_P(11));
	definition->strict = !PG_ARGISNULL(12) && PG_GETARG_BOOL(12) ? pstrdup("true") : NULL;
}

/* Which parts a channel needs, and which it cannot show. */
static void
check_channel(const Definition *definition)
{
	bool		email = strcmp(definition->channel, "email") == 0;

	if (channel_check != NULL)
		channel_check(definition->channel);
	if (email && definition->subject == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("template \"%s\" has no subject", definition->name),
				 errhint("A template of channel email needs a subject, and html or text.")));
	if (definition->html == NULL && definition->text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("template \"%s\" has no %s", definition->name, email ? "html and no text" : "text"),
				 errhint("Give it %s.", email ? "html, text or both" : "a text")));
	if (!email && definition->text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("template \"%s\" of channel %s has no text", definition->name,
						definition->channel),
				 errhint("html is for channel email.")));
	if (!email && definition->attachments != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("template \"%s\" of channel %s cannot have attachments", definition->name,
						definition->channel),
				 errhint("Attachments are for channel email.")));
}

/* Members of utm, each a text or null; returned as text. */
static char *
check_utm(Datum utm)
{
	Jsonb	   *jsonb = DatumGetJsonbP(utm);
	JsonbIterator *iterator = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *known = NIL;

	for (int i = 0; ma_utm_members[i] != NULL; i++)
		known = lappend(known, unconstify(char *, ma_utm_members[i]));
	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("utm must be an object"),
				 errhint("Write, for example, '{\"source\": \"newsletter\"}'.")));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *name;
		bool		found = false;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		for (int i = 0; ma_utm_members[i] != NULL; i++)
			found |= strcmp(name, ma_utm_members[i]) == 0;
		if (!found)
		{
			char	   *near = ma_nearest(name, known);

			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("utm has no member \"%s\"", name),
					 near ? errhint("Did you mean %s?", near) :
					 errhint("Its members are source, medium, campaign, term, content and id.")));
		}
		token = JsonbIteratorNext(&iterator, &value, true);
		if (token != WJB_VALUE || (value.type != jbvString && value.type != jbvNull))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("member \"%s\" of utm is not a text", name),
					 errhint("A null leaves it out.")));
	}
	return JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
}

/* Names of assets or queries; returned as text, NULL for none. */
static char *
check_attachments(ArrayType *names)
{
	Oid			output;
	bool		varlena;

	if (ARR_NDIM(names) > 1 || array_contains_nulls(names))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("attachments must be a list of names without nulls")));
	if (ARR_NDIM(names) == 0)
		return NULL;
	getTypeOutputInfo(TEXTARRAYOID, &output, &varlena);
	return OidOutputFunctionCall(output, PointerGetDatum(names));
}

/* The canonical form of a locale, "" for none. */
static char *
check_locale(const char *locale)
{
	char	   *key;

	if (locale == NULL)
		return pstrdup("");
	key = ma_locale_key(locale);
	if (strlen(key) < 2 || strlen(key) > 35 ||
		strspn(key, "abcdefghijklmnopqrstuvwxyz") < 2 ||
		strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a locale", locale),
				 errhint("Write a language, or a language and a country, as in de or de-CH.")));
	return key;
}

/* Compiles the part, only for its errors. */
static void
check_part(const Definition *definition, const char *source, MaEscape escape, const char *part)
{
	MemoryContext work;
	MemoryContext before;

	if (source == NULL)
		return;
	work = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation template check",
								 ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(work);
	(void) ma_liquid_compile(source, strlen(source), escape,
							 psprintf("%s of template \"%s\"", part, definition->name));
	MemoryContextSwitchTo(before);
	MemoryContextDelete(work);
}

/* A NOTICE for snippets that are not there, and for names of the contact that look mistyped. */
static void
notice_names(const Definition *definition)
{
	const struct
	{
		const char *source;
		MaEscape	escape;
	}			parts[] = {
		{definition->html, MA_ESCAPE_HTML},
		{definition->text, MA_ESCAPE_NONE},
		{definition->subject, MA_ESCAPE_NONE},
		{definition->preheader, MA_ESCAPE_NONE},
	};
	const char *who = psprintf("template \"%s\"", definition->name);
	List	   *snippets = NIL;
	List	   *members = NIL;

	for (int i = 0; i < lengthof(parts); i++)
	{
		MaLiquid   *liquid;

		if (parts[i].source == NULL)
			continue;
		liquid = ma_liquid_compile(parts[i].source, strlen(parts[i].source), parts[i].escape, "");
		snippets = list_concat(snippets, liquid->snippets);
		members = list_concat(members, liquid->members);
	}
	ma_snippets_notice(who, NULL, snippets);
	ma_members_notice(who, members);
}

/* Topic, sender and layout must be there. */
static void
check_names(const Definition *definition)
{
	static MaStatement find = {
		"SELECT 1 FROM marketing_internal.layout WHERE name OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
		1, {TEXTOID}
	};
	Datum		value;

	if (topic_check != NULL && strcmp(definition->topic, "transactional") != 0)
		topic_check(definition->topic);
	if (sender_check != NULL && definition->sender != NULL)
		sender_check(definition->sender, definition->channel);
	ma_attachments_check(definition->name, definition->attachments);
	if (definition->layout == NULL)
		return;
	value = CStringGetTextDatum(definition->layout);
	if (ma_run(&find, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		ma_content_unknown("layout", "layout", definition->layout);
}

static char *
define(const Definition *definition)
{
	Stored		stored = read_stored(definition);
	StringInfoData what;
	bool		texts = false;
	bool		other = false;

	initStringInfo(&what);
	if (stored.version > 0)
	{
		texts |= note(&what, "subject", stored.is.subject, definition->subject);
		texts |= note(&what, "html", stored.is.html, definition->html);
		texts |= note(&what, "text", stored.is.text, definition->text);
		texts |= note(&what, "preheader", stored.is.preheader, definition->preheader);
		texts |= note(&what, "layout", stored.is.layout, definition->layout);
		texts |= note(&what, "utm", stored.is.utm, definition->utm);
		texts |= note(&what, "attachments", stored.is.attachments, definition->attachments);
		texts |= note(&what, "strict", stored.is.strict, definition->strict);
	}
	if (!stored.created)
	{
		other |= note(&what, "topic", stored.is.topic, definition->topic);
		other |= note(&what, "channel", stored.is.channel, definition->channel);
		other |= note(&what, "sender", stored.is.sender, definition->sender);
	}
	if (stored.version > 0 && !texts && !other)
		return psprintf("%s: unchanged, version %d", definition->name, stored.version);
	if (other)
		store_template(definition, &stored);
	if (texts || stored.version == 0)
		store_version(definition, &stored);
	ma_definitions_changed();
	if (stored.created)
		return psprintf("%s: created, version %d", definition->name, stored.version);
	if (what.len == 0)
		return psprintf("%s: locale %s added, version %d", definition->name,
						*definition->locale ? definition->locale : "for all others",
									stored.version);
	return psprintf("%s: replaced (%s), version %d", definition->name, what.data, stored.version);
}

/* Finds or makes the template, locked, and reads what holds for the locale. */
static Stored
read_stored(const Definition *definition)
{
	static MaStatement ensure = {
		"INSERT INTO marketing_internal.template AS t (name, topic, channel, sender, last_version) "
		"VALUES ($1, $2, $3, $4, 0) ON CONFLICT (name) DO UPDATE SET name = t.name "
		"RETURNING template_id, topic, channel, sender, last_version",
		4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	static MaStatement find = {
		"SELECT v.version, v.subject, v.html, v.body, v.preheader, v.layout, v.utm, "
		"v.attachments, NULLIF(v.strict, false) "
		"FROM marketing_internal.template_locale AS l "
		"JOIN marketing_internal.template_version AS v "
		"ON v.template_id OPERATOR(pg_catalog.=) l.template_id AND v.version OPERATOR(pg_catalog.=) l.version "
		"WHERE l.template_id OPERATOR(pg_catalog.=) $1 AND l.locale OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TEXTOID}
	};
	Stored		stored = {0};
	Datum		values[4];
	MaRows		rows;

	values[0] = CStringGetTextDatum(definition->name);
	values[1] = CStringGetTextDatum(definition->topic);
	values[2] = CStringGetTextDatum(definition->channel);
	values[3] = definition->sender ? CStringGetTextDatum(definition->sender) : (Datum) 0;
	rows = ma_run(&ensure, values, definition->sender ? NULL : "   n", MA_RUN_WRITE_LATEST);
	stored.template_id = ma_int32(&rows, 0, 1);
	stored.is.topic = ma_text(&rows, 0, 2);
	stored.is.channel = ma_text(&rows, 0, 3);
	stored.is.sender = ma_text(&rows, 0, 4);
	stored.last_version = ma_int32(&rows, 0, 5);
	stored.created = (stored.last_version == 0);
	values[0] = Int32GetDatum(stored.template_id);
	values[1] = CStringGetTextDatum(definition->locale);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return stored;
	stored.version = ma_int32(&rows, 0, 1);
	stored.is.subject = ma_text(&rows, 0, 2);
	stored.is.html = ma_text(&rows, 0, 3);
	stored.is.text = ma_text(&rows, 0, 4);
	stored.is.preheader = ma_text(&rows, 0, 5);
	stored.is.layout = ma_text(&rows, 0, 6);
	stored.is.utm = ma_text(&rows, 0, 7);
	stored.is.attachments = ma_text(&rows, 0, 8);
	stored.is.strict = ma_text(&rows, 0, 9) != NULL ? pstrdup("true") : NULL;
	return stored;
}

/* Notes the part if it differs. */
static bool
note(StringInfo what, const char *name, const char *left, const char *right)
{
	if (ma_content_same(left, right))
		return false;
	appendStringInfo(what, "%s%s", what->len > 0 ? ", " : "", name);
	return true;
}

static void
store_template(const Definition *definition, const Stored *stored)
{
	static MaStatement change = {
		"UPDATE marketing_internal.template SET topic = $2, channel = $3, sender = $4 "
		"WHERE template_id OPERATOR(pg_catalog.=) $1",
		4, {INT4OID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[4];

	values[0] = Int32GetDatum(stored->template_id);
	values[1] = CStringGetTextDatum(definition->topic);
	values[2] = CStringGetTextDatum(definition->channel);
	values[3] = definition->sender ? CStringGetTextDatum(definition->sender) : (Datum) 0;
	ma_run(&change, values, definition->sender ? NULL : "   n", MA_RUN_WRITE_LATEST);
}

/* Adds a version, which holds for the locale from now on. */
static void
store_version(const Definition *definition, Stored *stored)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.template_version "
		"(template_id, version, locale, subject, html, body, preheader, layout, utm, attachments, "
		"strict, defined_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::pg_catalog.jsonb, "
		"$10::pg_catalog.text[], $11 IS NOT NULL, $12)",
		12, {INT4OID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	static MaStatement hold = {
		"INSERT INTO marketing_internal.template_locale (template_id, locale, version) "
		"VALUES ($1, $2, $3) ON CONFLICT (template_id, locale) DO UPDATE SET version = excluded.version",
		3, {INT4OID, TEXTOID, INT4OID}
	};
	static MaStatement count = {
		"UPDATE marketing_internal.template SET last_version = $2 "
		"WHERE template_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, INT4OID}
	};
	const char *parts[] = {definition->subject, definition->html, definition->text,
		definition->preheader, definition->layout, definition->utm, definition->attachments,
		definition->strict};
	Datum		values[12];
	char		nulls[] = "            ";

	stored->version = stored->last_version + 1;
	values[0] = Int32GetDatum(stored->template_id);
	values[1] = Int32GetDatum(stored->version);
	values[2] = CStringGetTextDatum(definition->locale);
	for (int i = 0; i < lengthof(parts); i++)
	{
		values[3 + i] = parts[i] ? CStringGetTextDatum(parts[i]) : (Datum) 0;
		nulls[3 + i] = parts[i] ? ' ' : 'n';
	}
	values[11] = TimestampTzGetDatum(ma_now());
	ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
	ma_run(&count, values, NULL, MA_RUN_WRITE_LATEST);
	values[1] = values[2];
	values[2] = Int32GetDatum(stored->version);
	ma_run(&hold, values, NULL, MA_RUN_WRITE_LATEST);
}

/* marketing.drop_template(name, locale) */
Datum
ma_drop_template(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "template");
	char	   *locale = PG_ARGISNULL(1) ? NULL : check_locale(ma_content_argument(fcinfo, 1));
	char	   *answer;

	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, drop(name, locale));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
drop(const char *name, const char *locale)
{
	static MaStatement drop_locales = {
		"DELETE FROM marketing_internal.template_locale WHERE template_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	static MaStatement drop_one = {
		"DELETE FROM marketing_internal.template_locale "
		"WHERE template_id OPERATOR(pg_catalog.=) $1 AND locale OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TEXTOID}
	};
	static MaStatement drop_all = {
		"DELETE FROM marketing_internal.template WHERE template_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	MaTemplate *found;
	Datum		values[2];

	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	found = ma_template_required(name);
	if (locale == NULL)
		ma_require_unused("template", name);
	values[0] = Int32GetDatum(found->id);
	if (locale == NULL)
	{
		ma_run(&drop_locales, values, NULL, MA_RUN_WRITE_LATEST);
		ma_run(&drop_all, values, NULL, MA_RUN_WRITE_LATEST);
		ma_definitions_changed();
		return psprintf("%s: dropped", name);
	}
	values[1] = CStringGetTextDatum(locale);
	ma_run(&drop_one, values, NULL, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return psprintf("%s: locale %s dropped", name, locale);
}

/* Templates of the topic or sender of this name. */
static List *
uses_of(const char *column, const char *name)
{
	Oid			types[1] = {TEXTOID};
	Datum		value = CStringGetTextDatum(name);
	char	   *sql = psprintf("SELECT t.name FROM marketing_internal.template AS t "
							   "WHERE t.%s OPERATOR(pg_catalog.=) $1 ORDER BY 1", column);
	MaRows		rows = ma_run_once(sql, 1, types, &value, NULL, MA_RUN_READ_LATEST);
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		uses = lappend(uses, psprintf("template \"%s\"", ma_text(&rows, i, 1)));
	return uses;
}

static List *
uses_of_topic(const char *name)
{
	return uses_of("topic", name);
}

static List *
uses_of_sender(const char *name)
{
	return uses_of("sender", name);
}

void
ma_content_init(void)
{
	ma_register_uses("topic", uses_of_topic);
	ma_register_uses("sender", uses_of_sender);
	ma_utm_init();
	ma_coupons_init();
}

static MaTemplate *
template_of(const MaRows *rows)
{
	MaTemplate *template = palloc0_object(MaTemplate);

	template->id = ma_int32(rows, 0, 1);
	template->name = ma_text(rows, 0, 2);
	template->topic = ma_text(rows, 0, 3);
	template->channel = ma_text(rows, 0, 4);
	template->sender = ma_text(rows, 0, 5);
	return template;
}

MaTemplate *
ma_template_required(const char *name)
{
	MaTemplate *found = ma_template_by_name(name);

	if (found == NULL)
		ma_content_unknown("template", "template", name);
	return found;
}

MaTemplate *
ma_template_by_name(const char *name)
{
	static MaStatement find = {
		"SELECT template_id, name, topic, channel, sender FROM marketing_internal.template "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	return rows.n == 0 ? NULL : template_of(&rows);
}

MaTemplate *
ma_template_by_id(int32 template_id)
{
	static MaStatement find = {
		"SELECT template_id, name, topic, channel, sender FROM marketing_internal.template "
		"WHERE template_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(template_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	return rows.n == 0 ? NULL : template_of(&rows);
}
