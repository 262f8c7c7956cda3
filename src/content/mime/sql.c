/*
 * sql.c
 *		marketing_internal.mime(): the mail builder from SQL, for tests and for looking
 *		at what would be sent.
 */
#include "base/base.h"

#include "common/base64.h"
#include "content/content.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static char *member(Jsonb *parts, const char *name);
static MaMimeHeader *headers(Jsonb *parts, int *n);
static char *wire_address(char *address);
static char *to_utf8(const char *text, int length);
static MaAttachment *attachments(Jsonb *parts, int *n);

MA_FUNCTION(ma_mime_sql);

/* marketing_internal.mime(message jsonb) */
Datum
ma_mime_sql(PG_FUNCTION_ARGS)
{
	Jsonb	   *parts;
	MaMimeMessage message = {0};
	char	   *date;
	char	   *mail;
	Size		length;
	const char *error;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	parts = PG_GETARG_JSONB_P(0);
	message.from_address = member(parts, "from_address");
	message.from_name = member(parts, "from_name");
	message.to_address = wire_address(member(parts, "to_address"));
	message.to_name = member(parts, "to_name");
	message.reply_to = member(parts, "reply_to");
	message.subject = member(parts, "subject");
	message.text = member(parts, "text");
	message.html = member(parts, "html");
	message.preheader = member(parts, "preheader");
	message.message_id = member(parts, "message_id");
	message.unsubscribe_url = member(parts, "unsubscribe_url");
	message.unsubscribe_mailto = member(parts, "unsubscribe_mailto");
	message.headers = headers(parts, &message.nheaders);
	message.attachments = attachments(parts, &message.nattachments);
	date = member(parts, "date");
	message.date = date ? strtoll(date, NULL, 10) : timestamptz_to_time_t(ma_now());
	mail = ma_mime_build(&message, &length, &error);
	if (mail == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the mail cannot be built: %s", error)));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(mail, length));
}

/* As the delivery worker hands addresses on. */
static char *
wire_address(char *address)
{
	bool		smtputf8;
	char	   *wire = address ? ma_mime_address(address, &smtputf8) : NULL;

	return wire ? wire : address;
}

static char *
to_utf8(const char *text, int length)
{
	char	   *copy = pnstrdup(text, length);

	return pg_server_to_any(copy, length, PG_UTF8);
}

/* A text of the object, or NULL. */
static char *
member(Jsonb *parts, const char *name)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(parts) ||
		getKeyJsonValueFromContainer(&parts->root, name, strlen(name), &value) == NULL)
		return NULL;
	if (value.type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out,
					NumericGetDatum(value.val.numeric)));
	return value.type == jbvString ? to_utf8(value.val.string.val, value.val.string.len) : NULL;
}

/* The array "attachments" of {"filename", "type", "content" in base64, "shown"}. */
static MaAttachment *
attachments(Jsonb *parts, int *n)
{
	JsonbValue	array;
	MaAttachment *files;

	*n = 0;
	if (!JB_ROOT_IS_OBJECT(parts) ||
		getKeyJsonValueFromContainer(&parts->root, "attachments", 11, &array) == NULL ||
		array.type != jbvBinary || !JsonContainerIsArray(array.val.binary.data))
		return NULL;
	*n = JsonContainerSize(array.val.binary.data);
	files = palloc0_array(MaAttachment, *n + 1);
	for (int i = 0; i < *n; i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array.val.binary.data, i);
		Jsonb	   *file = JsonbValueToJsonb(item);
		char	   *content = member(file, "content");
		int			size = content ? strlen(content) : 0;
		char	   *bytes = palloc(size + 1);
		int			length;

		files[i].filename = member(file, "filename");
		files[i].type = member(file, "type");
		files[i].shown = member(file, "shown") != NULL;
		files[i].content = bytes;
		length = pg_b64_decode(content ? content : "", size, (MA_BASE64_BYTE *) bytes, size);
		files[i].length = Max(length, 0);
	}
	return files;
}

/* The members of the object "headers". */
static MaMimeHeader *
headers(Jsonb *parts, int *n)
{
	JsonbValue	object;
	JsonbIterator *iterator;
	JsonbValue	item;
	JsonbIteratorToken token;
	MaMimeHeader *list;

	*n = 0;
	if (!JB_ROOT_IS_OBJECT(parts) ||
		getKeyJsonValueFromContainer(&parts->root, "headers", 7, &object) == NULL ||
		object.type != jbvBinary || !JsonContainerIsObject(object.val.binary.data))
		return NULL;
	list = palloc0_array(MaMimeHeader, JsonContainerSize(object.val.binary.data) + 1);
	iterator = JsonbIteratorInit(object.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			list[*n].name = to_utf8(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE && item.type == jbvString)
			list[(*n)++].value = to_utf8(item.val.string.val, item.val.string.len);
	}
	return list;
}
