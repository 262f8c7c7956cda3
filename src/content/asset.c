/*
 * asset.c
 *		marketing.define_asset(): files that go with mails, as an image in the html or
 *		as an attachment.
 *
 * They stand in a table of ours, so that a dump holds all that a mail is made of.
 * Files made for one message, as an invoice, are rows of a query instead (attach.c).
 */
#include "base/base.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "content/content_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define MAX_OCTETS (10 * 1024 * 1024)

static char *define_asset(const char *name, const char *type, Datum content);

MA_FUNCTION(ma_define_asset);
MA_FUNCTION(ma_drop_asset);

const char *
ma_asset_type(const char *filename)
{
	static const char *const types[][2] = {
		{"png", "image/png"}, {"jpg", "image/jpeg"}, {"jpeg", "image/jpeg"}, {"gif", "image/gif"},
		{"webp", "image/webp"}, {"svg", "image/svg+xml"}, {"pdf", "application/pdf"},
		{"ics", "text/calendar"}, {"csv", "text/csv"}, {"txt", "text/plain"},
		{"html", "text/html"}, {"json", "application/json"}, {"xml", "application/xml"},
		{"zip", "application/zip"}
	};
	const char *dot = strrchr(filename, '.');

	for (int i = 0; dot != NULL && i < lengthof(types); i++)
		if (pg_strcasecmp(dot + 1, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

bool
ma_asset_type_ok(const char *type)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_";
	size_t		first = strspn(type, allowed);
	size_t		second;

	if (first == 0 || type[first] != '/' || pg_strncasecmp(type, "multipart/", 10) == 0 ||
		pg_strncasecmp(type, "message/", 8) == 0)
		return false;
	second = strspn(type + first + 1, allowed);
	return second > 0 && type[first + 1 + second] == '\0' && first + second < 100;
}

/* marketing.define_asset(name, content, type) */
Datum
ma_define_asset(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "asset");
	const char *type = ma_content_argument(fcinfo, 2);
	char	   *answer;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the content of asset \"%s\" must not be null", name)));
	if (toast_raw_datum_size(PG_GETARG_DATUM(1)) - VARHDRSZ > MAX_OCTETS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("asset \"%s\" is larger than %d octets", name, MAX_OCTETS),
				 errhint("Mail programs refuse large mails; send a link instead.")));
	if (type == NULL)
		type = ma_asset_type(name);
	if (!ma_asset_type_ok(type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a type of content", type),
				 errhint("Write, for example, image/png.")));
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, define_asset(name, type, PG_GETARG_DATUM(1)));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static char *
define_asset(const char *name, const char *type, Datum content)
{
	static MaStatement find = {
		"SELECT type OPERATOR(pg_catalog.=) $2 AND content OPERATOR(pg_catalog.=) $3 "
		"FROM marketing_internal.asset WHERE name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		3, {TEXTOID, TEXTOID, BYTEAOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.asset (name, type, content) VALUES ($1, $2, $3) "
		"ON CONFLICT (name) DO UPDATE SET type = excluded.type, content = excluded.content",
		3, {TEXTOID, TEXTOID, BYTEAOID}
	};
	Datum		values[3];
	MaRows		rows;

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(type);
	values[2] = content;
	rows = ma_run(&find, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n > 0 && ma_bool(&rows, 0, 1))
		return psprintf("%s: unchanged", name);
	ma_run(&store, values, NULL, MA_RUN_WRITE_LATEST);
	return psprintf("%s: %s", name, rows.n > 0 ? "replaced" : "created");
}

/* marketing.drop_asset(name) */
Datum
ma_drop_asset(PG_FUNCTION_ARGS)
{
	static MaStatement users = {
		"SELECT pg_catalog.string_agg(t.name, ', ' ORDER BY t.name) "
		"FROM marketing_internal.template_locale AS l "
		"JOIN marketing_internal.template_version AS v "
		"ON v.template_id OPERATOR(pg_catalog.=) l.template_id AND v.version OPERATOR(pg_catalog.=) l.version "
		"JOIN marketing_internal.template AS t ON t.template_id OPERATOR(pg_catalog.=) l.template_id "
		"WHERE v.attachments OPERATOR(pg_catalog.@>) ARRAY[$1]",
		1, {TEXTOID}
	};
	static MaStatement drop = {
		"DELETE FROM marketing_internal.asset WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
	};
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "asset");
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows;
	char	   *names;

	ma_call_begin(&call);
	rows = ma_run(&users, &value, NULL, MA_RUN_READ_LATEST);
	names = ma_text(&rows, 0, 1);
	if (names != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("asset \"%s\" is in use", name),
				 errdetail("Templates that attach it: %s.", names),
				 errhint("Define them without it first, or drop them.")));
	if (ma_run(&drop, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		ma_content_unknown("asset", "asset", name);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}

MaAsset *
ma_asset_find(const char *name)
{
	static MaStatement find = {
		"SELECT name, type, content FROM marketing_internal.asset "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	MaAsset    *asset;
	bool		isnull;

	if (rows.n == 0)
		return NULL;
	asset = palloc_object(MaAsset);
	asset->name = ma_text(&rows, 0, 1);
	asset->type = ma_text(&rows, 0, 2);
	asset->content = DatumGetByteaPCopy(ma_value(&rows, 0, 3, &isnull));
	return asset;
}

void
ma_attachments_check(const char *template_name, const char *names)
{
	static MaStatement unknown = {
		"SELECT n FROM pg_catalog.unnest($1::pg_catalog.text[]) AS n "
		"WHERE NOT EXISTS (SELECT FROM marketing_internal.asset AS a "
		"WHERE a.name OPERATOR(pg_catalog.=) n) "
		"AND NOT EXISTS (SELECT FROM marketing_internal.content_query AS q "
		"WHERE q.name OPERATOR(pg_catalog.=) n) LIMIT 1",
		1, {TEXTOID}
	};
	static MaStatement known = {
		"SELECT name FROM marketing_internal.asset UNION ALL "
		"SELECT name FROM marketing_internal.content_query",
		0
	};
	Datum		value = names ? CStringGetTextDatum(names) : (Datum) 0;
	List	   *list = NIL;
	MaRows		rows;
	char	   *name;
	char	   *near;

	if (names == NULL)
		return;
	rows = ma_run(&unknown, &value, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return;
	name = ma_text(&rows, 0, 1);
	rows = ma_run(&known, NULL, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		list = lappend(list, ma_text(&rows, i, 1));
	near = ma_nearest(name, list);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_TEMPLATE),
			 errmsg("there is no asset and no query \"%s\" for template \"%s\" to attach", name,
					template_name),
			 near ? errhint("Did you mean %s?", near) :
			 errhint("Define it with marketing.define_asset(), or marketing.define_query() for "
					 "files of one message.")));
}
