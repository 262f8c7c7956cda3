/*
 * attach.c
 *		What goes with one mail: attachments of its template, and images that its html
 *		names by cid:.
 *
 * A name of `attachments` is an asset, the same file for everybody, or a query: its
 * rows, with filename, content (bytea) and if wanted type, are files of this message.
 * An image that the html shows as <img src="cid:logo.png"> is one of these, or the
 * asset of that name.
 */
#include "base/base.h"

#include "content/content_internal.h"
#include "utils/builtins.h"

#define MAX_OCTETS (20 * 1024 * 1024)	/* of all in one mail */
#define MAX_FILES 100

typedef struct Files
{
	int			n;
	MaAttachment *files;
	Size		octets;
} Files;

static void add(Files *files, const char *filename, const char *type, const char *content,
				Size length);
static void add_asset(Files *files, const MaAsset *asset);
static void add_rows(Files *files, const char *query, LiquidValue rows);
static char *text_member(JsonbContainer *object, const char *name);
static char *bytes_of(const char *query, const char *text, Size *length);
static void show_images(Files *files, const char *html);
static bool is_address(const char *html, const char *at);
static bool show(Files *files, const char *filename);
static void fail(const char *message) pg_attribute_noreturn();

MaAttachment *
ma_attachments_read(const MaVersion *version, const char *html, MaQueryRows rows, void *argument,
					int *n)
{
	Files		files = {0};

	files.files = palloc0_array(MaAttachment, MAX_FILES);
	for (int i = 0; i < version->nattachments; i++)
	{
		const char *name = version->attachments[i];
		MaAsset    *asset = ma_asset_find(name);
		LiquidName	query = ma_liquid_name(name, strlen(name));
		LiquidValue value;

		if (asset != NULL)
		{
			add_asset(&files, asset);
			continue;
		}
		value = rows(argument, &query);
		if (value.kind != LIQUID_JSON_ARRAY)
			fail(psprintf("there is no asset and no query \"%s\" to attach", name));
		add_rows(&files, name, value);
	}
	if (html != NULL)
		show_images(&files, html);
	*n = files.n;
	return files.files;
}

static void
fail(const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_MA_RENDER_FAILED),
			 errmsg("%s", message)));
}

static void
add(Files *files, const char *filename, const char *type, const char *content, Size length)
{
	MaAttachment *file;

	if (files->n == MAX_FILES)
		fail(psprintf("the mail has more than %d attachments", MAX_FILES));
	files->octets += length;
	if (files->octets > MAX_OCTETS)
		fail(psprintf("the attachments have more than %d octets", MAX_OCTETS));
	file = &files->files[files->n++];
	file->filename = filename;
	file->type = type;
	file->content = content;
	file->length = length;
}

static void
add_asset(Files *files, const MaAsset *asset)
{
	add(files, asset->name, asset->type, VARDATA_ANY(asset->content),
		VARSIZE_ANY_EXHDR(asset->content));
}

/* Each row is a file. */
static void
add_rows(Files *files, const char *query, LiquidValue rows)
{
	for (int i = 0; i < (int) JsonContainerSize(rows.u.json); i++)
	{
		JsonbValue *row = getIthJsonbValueFromContainer(rows.u.json, i);
		char	   *filename;
		char	   *content;
		char	   *type;
		char	   *bytes;
		Size		length;

		if (row == NULL || row->type != jbvBinary || !JsonContainerIsObject(row->val.binary.data))
			fail(psprintf("query \"%s\" has no columns filename and content", query));
		filename = text_member(row->val.binary.data, "filename");
		content = text_member(row->val.binary.data, "content");
		type = text_member(row->val.binary.data, "type");
		if (filename == NULL || *filename == '\0' || content == NULL)
			fail(psprintf("a row of query \"%s\" has no filename or no content", query));
		if (type != NULL && !ma_asset_type_ok(type))
			fail(psprintf("\"%s\" of query \"%s\" is not a type of content", type, query));
		bytes = bytes_of(query, content, &length);
		add(files, filename, type ? type : ma_asset_type(filename), bytes, length);
	}
}

static char *
text_member(JsonbContainer *object, const char *name)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(object, name, strlen(name), &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* A bytea stands in JSON as \x and hexadecimal digits; another text is itself the file. */
static char *
bytes_of(const char *query, const char *text, Size *length)
{
	Size		digits = strlen(text);
	char	   *bytes;

	*length = digits;
	if (strncmp(text, "\\x", 2) != 0)
		return unconstify(char *, text);
	if (digits % 2 != 0 || strspn(text + 2, "0123456789abcdefABCDEF") != digits - 2)
		fail(psprintf("the content of a row of query \"%s\" is no bytea", query));
	bytes = palloc(digits / 2 + 1);
	*length = hex_decode(text + 2, digits - 2, bytes);
	return bytes;
}

/* Each cid: of the html is the file of that name. */
static void
show_images(Files *files, const char *html)
{
	for (const char *at = strstr(html, "cid:"); at != NULL; at = strstr(at, "cid:"))
	{
		bool		begins = is_address(html, at);
		int			length;
		char	   *name;
		MaAsset    *asset;

		at += 4;
		length = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
		if (!begins || length == 0 || length >= NAMEDATALEN)
			continue;
		name = pnstrdup(at, length);
		at += length;
		if (show(files, name))
			continue;
		asset = ma_asset_find(name);
		if (asset == NULL)
			fail(psprintf("the html shows cid:%s, but there is no asset \"%s\"", name, name));
		add_asset(files, asset);
		files->files[files->n - 1].shown = true;
	}
}

/* True behind src=, background= or url( : what else begins with cid: is only text. */
static bool
is_address(const char *html, const char *at)
{
	static const char *const before[] = {"src=", "background=", "url("};

	while (at > html && (isspace((unsigned char) at[-1]) || at[-1] == '"' || at[-1] == '\''))
		at--;
	for (int i = 0; i < lengthof(before); i++)
	{
		int			length = strlen(before[i]);

		if (at - html >= length && pg_strncasecmp(at - length, before[i], length) == 0)
			return true;
	}
	return false;
}

static bool
show(Files *files, const char *filename)
{
	for (int i = 0; i < files->n; i++)
		if (strcmp(files->files[i].filename, filename) == 0)
			return files->files[i].shown = true;
	return false;
}
