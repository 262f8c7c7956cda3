/*
 * message_sql.c
 *		marketing_internal.render_messages(): a batch of messages from SQL, for tests
 *		and for looking at what the delivery worker would get.
 */
#include "base/base.h"

#include "content/content_internal.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

static void read_request(JsonbValue *item, MaRenderRequest *request);
static Datum object_member(JsonbContainer *object, const char *name);
static void append_member(StringInfo out, const char *name, const char *value);

MA_FUNCTION(ma_render_messages_sql);

/* marketing_internal.render_messages([{"contact_id", "template_id", "entry", "data"} ...]) */
Datum
ma_render_messages_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *list = PG_GETARG_JSONB_P(0);
	MaRenderRequest *requests = palloc0_array(MaRenderRequest, JB_ROOT_COUNT(list) + 1);
	MaRendered *rendered = palloc0_array(MaRendered, JB_ROOT_COUNT(list) + 1);
	JsonbIterator *iterator = JsonbIteratorInit(&list->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	StringInfoData out;
	MaCall		call;
	int			n = 0;

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM && item.type == jbvBinary)
			read_request(&item, &requests[n++]);
	ma_call_begin(&call);
	MemoryContextSwitchTo(context);
	ma_render_messages(requests, n, rendered);
	ma_call_end(&call);
	MemoryContextSwitchTo(context);
	initStringInfo(&out);
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&out, "%s{\"version\": %d", i > 0 ? ", " : "[", rendered[i].version);
		append_member(&out, "subject", rendered[i].subject);
		append_member(&out, "html", rendered[i].html);
		append_member(&out, "text", rendered[i].text);
		append_member(&out, "preheader", rendered[i].preheader);
		append_member(&out, "abort_reason", rendered[i].abort_reason);
		append_member(&out, "error", rendered[i].error);
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoString(&out, n > 0 ? "]" : "[]");
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

static void
read_request(JsonbValue *item, MaRenderRequest *request)
{
	LiquidValue value;

	if (!JsonContainerIsObject(item->val.binary.data))
		return;
	if (ma_liquid_object_get(item->val.binary.data, "contact_id", 10, &value) &&
		value.kind == LIQUID_INT)
		request->contact_id = value.u.integer;
	if (ma_liquid_object_get(item->val.binary.data, "template_id", 11, &value) &&
		value.kind == LIQUID_INT)
		request->template_id = value.u.integer;
	request->entry = object_member(item->val.binary.data, "entry");
	request->data = object_member(item->val.binary.data, "data");
}

/* A member as a jsonb datum of its own, 0 if it is none. */
static Datum
object_member(JsonbContainer *object, const char *name)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(object, name, strlen(name), &value) == NULL ||
		value.type != jbvBinary)
		return (Datum) 0;
	return JsonbPGetDatum(JsonbValueToJsonb(&value));
}

static void
append_member(StringInfo out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(out, ", \"%s\": ", name);
	escape_json(out, value);
}
