/*
 * compiled.c
 *		The cache of compiled texts: versions of templates, layouts, snippets.
 *
 * Compiling costs a hundred times what rendering does, so each backend keeps what it
 * has compiled until a definition changes (ma_definitions_epoch()).  What was cached
 * then stays to the end of the transaction: a rendering that runs may still use it.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define MAX_ENTRIES 1000

typedef struct TextKey
{
	char		name[NAMEDATALEN];
	int32		kind;			/* snippet or layout, and escaping */
} TextKey;

typedef struct TextEntry
{
	TextKey		key;
	MaLiquid   *liquid;			/* NULL: there is none of this name */
} TextEntry;

typedef struct VersionKey
{
	int32		template_id;
	int32		version;
} VersionKey;

typedef struct VersionEntry
{
	VersionKey	key;
	MaVersion  *version;
} VersionEntry;

typedef struct LocaleKey
{
	int32		template_id;
	char		locale[36];
} LocaleKey;

typedef struct LocaleEntry
{
	LocaleKey	key;
	int32		version;		/* 0: none */
} LocaleEntry;

static MemoryContext cache_context;
static uint64 cache_epoch;
static HTAB *texts;
static HTAB *versions;
static HTAB *locales;

static void cache_ready(void);
static HTAB *make_table(const char *name, Size key, Size entry);
static int32 current_version(int32 template_id, const char *locale);
static int32 lookup_version(int32 template_id, const char *locale);
static MaVersion *load_version(int32 template_id, int32 version);
static void load_attachments(MaVersion *version, const MaRows *rows);
static MaLiquid *compile_part(const MaRows *rows, int column, MaEscape escape, const char *part);
static MaLiquid *find_text(const char *name, int length, int kind);
static MaLiquid *load_text(const char *name, int kind);

#define KIND_SNIPPET_PLAIN 0
#define KIND_SNIPPET_HTML 1
#define KIND_LAYOUT_TEXT 2
#define KIND_LAYOUT_HTML 3

/* Empties the cache when definitions have changed, or when it has become large. */
static void
cache_ready(void)
{
	uint64		epoch = ma_definitions_epoch();
	long		entries = 0;

	if (cache_context != NULL)
		entries = hash_get_num_entries(texts) + hash_get_num_entries(versions) +
			hash_get_num_entries(locales);
	if (cache_context != NULL && cache_epoch == epoch && entries < MAX_ENTRIES)
		return;
	if (cache_context != NULL)
		MemoryContextSetParent(cache_context, TopTransactionContext);
	cache_context = AllocSetContextCreate(CacheMemoryContext, "marketing_automation templates",
										  ALLOCSET_DEFAULT_SIZES);
	texts = make_table("marketing_automation texts", sizeof(TextKey), sizeof(TextEntry));
	versions = make_table("marketing_automation versions", sizeof(VersionKey),
				sizeof(VersionEntry));
	locales = make_table("marketing_automation locales", sizeof(LocaleKey), sizeof(LocaleEntry));
	cache_epoch = epoch;
}

static HTAB *
make_table(const char *name, Size key, Size entry)
{
	HASHCTL		control = {0};

	control.keysize = key;
	control.entrysize = entry;
	control.hcxt = cache_context;
	return hash_create(name, 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

char *
ma_locale_key(const char *locale)
{
	char	   *key = pstrdup(locale);

	for (char *c = key; *c; c++)
	{
		if (*c == '.' || *c == '@')
		{
			*c = '\0';
			break;
		}
		*c = *c == '_' ? '-' : pg_tolower((unsigned char) *c);
	}
	return key;
}

MaVersion *
ma_version_find(int32 template_id, const char *locale, int32 version)
{
	VersionKey	key;
	VersionEntry *entry;
	bool		found;
	MaVersion  *loaded;

	cache_ready();
	if (version == 0)
		version = current_version(template_id, locale);
	if (version == 0)
		return NULL;
	key.template_id = template_id;
	key.version = version;
	entry = hash_search(versions, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->version;
	loaded = load_version(template_id, version);
	if (loaded == NULL)
		return NULL;
	entry = hash_search(versions, &key, HASH_ENTER, &found);
	entry->version = loaded;
	return loaded;
}

/* The version for the locale, for its language, or for everybody. */
static int32
current_version(int32 template_id, const char *locale)
{
	char	   *key = locale != NULL ? ma_locale_key(locale) : pstrdup("");

	for (;;)
	{
		int32		version = lookup_version(template_id, key);
		char	   *dash;

		if (version != 0 || *key == '\0')
			return version;
		dash = strrchr(key, '-');
		*(dash != NULL ? dash : key) = '\0';
	}
}

static int32
lookup_version(int32 template_id, const char *locale)
{
	static MaStatement find = {
		"SELECT version FROM marketing_internal.template_locale "
		"WHERE template_id OPERATOR(pg_catalog.=) $1 AND locale OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TEXTOID}
	};
	LocaleKey	key;
	LocaleEntry *entry;
	Datum		values[2];
	MaRows		rows;
	bool		found;
	int32		version;

	memset(&key, 0, sizeof(key));
	key.template_id = template_id;
	if (strlen(locale) >= sizeof(key.locale))
		return 0;
	strlcpy(key.locale, locale, sizeof(key.locale));
	entry = hash_search(locales, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->version;
	values[0] = Int32GetDatum(template_id);
	values[1] = CStringGetTextDatum(locale);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	version = rows.n > 0 ? ma_int32(&rows, 0, 1) : 0;
	entry = hash_search(locales, &key, HASH_ENTER, &found);
	entry->version = version;
	return version;
}

static MaVersion *
load_version(int32 template_id, int32 version)
{
	static MaStatement read = {
		"SELECT v.locale, v.subject, v.html, v.body, v.preheader, v.layout, t.name, v.utm, "
		"v.attachments, v.strict, t.channel "
		"FROM marketing_internal.template_version AS v "
		"JOIN marketing_internal.template AS t ON t.template_id OPERATOR(pg_catalog.=) v.template_id "
		"WHERE v.template_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(template_id), Int32GetDatum(version)};
	MaRows		rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	MemoryContext before;
	MaVersion  *loaded;
	char	   *layout;
	Datum		utm;
	bool		isnull;

	if (rows.n == 0)
		return NULL;
	before = MemoryContextSwitchTo(cache_context);
	loaded = palloc0_object(MaVersion);
	loaded->template_id = template_id;
	loaded->version = version;
	loaded->locale = ma_text(&rows, 0, 1);
	loaded->subject = compile_part(&rows, 2, MA_ESCAPE_NONE, "subject");
	loaded->html = compile_part(&rows, 3, MA_ESCAPE_HTML, "html");
	loaded->text = compile_part(&rows, 4, MA_ESCAPE_NONE, "text");
	loaded->preheader = compile_part(&rows, 5, MA_ESCAPE_NONE, "preheader");
	loaded->strict = ma_bool(&rows, 0, 10);
	load_attachments(loaded, &rows);
	layout = ma_text(&rows, 0, 6);
	utm = ma_value(&rows, 0, 8, &isnull);
	loaded->channel = ma_text(&rows, 0, 11);
	loaded->tags = ma_utm_tags(isnull ? (Datum) 0 : utm, loaded->channel, ma_text(&rows, 0, 7));
	MemoryContextSwitchTo(before);
	if (layout != NULL)
	{
		loaded->layout_html = find_text(layout, strlen(layout), KIND_LAYOUT_HTML);
		loaded->layout_text = find_text(layout, strlen(layout), KIND_LAYOUT_TEXT);
	}
	return loaded;
}

static void
load_attachments(MaVersion *version, const MaRows *rows)
{
	bool		isnull;
	Datum		value = ma_value(rows, 0, 9, &isnull);
	Datum	   *names;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL,
					  &version->nattachments);
	version->attachments = palloc_array(char *, version->nattachments);
	for (int i = 0; i < version->nattachments; i++)
		version->attachments[i] = TextDatumGetCString(names[i]);
}

static MaLiquid *
compile_part(const MaRows *rows, int column, MaEscape escape, const char *part)
{
	char	   *source = ma_text(rows, 0, column);
	MaLiquid   *liquid;

	if (source == NULL)
		return NULL;
	liquid = ma_liquid_compile(source, strlen(source), escape,
							   psprintf("%s of template \"%s\"", part, ma_text(rows, 0, 7)));
	pfree(source);
	return liquid;
}

MaLiquid *
ma_snippet_find(const char *name, int length, MaEscape escape)
{
	cache_ready();
	return find_text(name, length,
				escape == MA_ESCAPE_HTML ? KIND_SNIPPET_HTML : KIND_SNIPPET_PLAIN);
}

MaLiquid *
ma_snippet_html(const char *name)
{
	return ma_snippet_find(name, strlen(name), MA_ESCAPE_HTML);
}

static MaLiquid *
find_text(const char *name, int length, int kind)
{
	TextKey		key;
	TextEntry  *entry;
	bool		found;
	MaLiquid   *liquid;

	if (length >= NAMEDATALEN)
		return NULL;
	memset(&key, 0, sizeof(key));
	memcpy(key.name, name, length);
	key.kind = kind;
	entry = hash_search(texts, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->liquid;
	liquid = load_text(key.name, kind);
	entry = hash_search(texts, &key, HASH_ENTER, &found);
	entry->liquid = liquid;
	return liquid;
}

static MaLiquid *
load_text(const char *name, int kind)
{
	static MaStatement snippet = {
		"SELECT source FROM marketing_internal.snippet WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	static MaStatement layout = {
		"SELECT html, body FROM marketing_internal.layout WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	bool		is_snippet = (kind == KIND_SNIPPET_PLAIN || kind == KIND_SNIPPET_HTML);
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(is_snippet ? &snippet : &layout, &value, NULL, MA_RUN_READ_LATEST);
	bool		html = (kind == KIND_SNIPPET_HTML || kind == KIND_LAYOUT_HTML);
	MemoryContext before;
	MaLiquid   *liquid = NULL;
	char	   *source = rows.n == 0 ? NULL : ma_text(&rows, 0, kind == KIND_LAYOUT_TEXT ? 2 : 1);

	if (source == NULL)
		return NULL;
	before = MemoryContextSwitchTo(cache_context);
	liquid = ma_liquid_compile(source, strlen(source), html ? MA_ESCAPE_HTML : MA_ESCAPE_NONE,
							   is_snippet ? psprintf("snippet \"%s\"", name) :
							   psprintf("%s of layout \"%s\"", html ? "html" : "text", name));
	MemoryContextSwitchTo(before);
	return liquid;
}
