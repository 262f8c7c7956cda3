/*
 * request.c
 *		marketing.web_request(): what a request to the links of messages does and gets.
 *
 * One function for all of them, so that the program before it needs one right, an
 * application that has a web server of its own makes one call, and tests need no socket.
 * GET and HEAD change nobody's consent, whoever fetches the link; a request that is not
 * ours is answered like one that is forged.
 */
#include "base/base.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "web/web_internal.h"

typedef struct Route
{
	const char *begins;
	bool		posts;			/* takes POST */
	bool		gets;			/* takes GET and HEAD */
	void		(*answer) (const MaWebRequest *request, MaWebAnswer *answer);
} Route;

static void health(const MaWebRequest *request, MaWebAnswer *answer);
static void answer_request(MaWebRequest *request, MaWebAnswer *answer);
static char *text_argument(FunctionCallInfo fcinfo, int number, const char *name);
static Datum answer_row(FunctionCallInfo fcinfo, const MaWebAnswer *answer);

MA_FUNCTION(ma_web_request);

static const Route routes[] = {
	{"/o/", false, true, ma_web_open},
	{"/c/", false, true, ma_web_click},
	{"/u/", true, true, ma_web_unsubscribe},
	{"/confirm/", true, true, ma_web_confirm},
	{"/p/", true, true, ma_web_preferences},
	{"/hook/", true, false, ma_web_hook},
	{"/health", false, true, health},
};

/* For those who watch the endpoint: it and the database answer. */
static void
health(const MaWebRequest *request, MaWebAnswer *answer)
{
	if (request->rest[0] != '\0')
	{
		ma_web_page(answer, MA_WEB_NOT_FOUND, "gone", NULL);
		return;
	}
	answer->status = MA_WEB_OK;
	answer->content_type = "text/plain; charset=utf-8";
	answer->content = "ok\n";
	answer->content_length = strlen(answer->content);
}

const char *
ma_web_header(const MaWebRequest *request, const char *name)
{
	JsonbValue	found;

	if (getKeyJsonValueFromContainer(&request->headers->root, name, strlen(name), &found) == NULL ||
		found.type != jbvString)
		return NULL;
	return pnstrdup(found.val.string.val, found.val.string.len);
}

static void
answer_request(MaWebRequest *request, MaWebAnswer *answer)
{
	bool		get = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;

	request->acts = strcmp(request->method, "POST") == 0;
	for (int i = 0; i < lengthof(routes); i++)
	{
		const Route *route = &routes[i];

		if (strncmp(request->path, route->begins, strlen(route->begins)) != 0)
			continue;
		if (!(get && route->gets) && !(request->acts && route->posts))
		{
			ma_web_page(answer, MA_WEB_NOT_ALLOWED, "gone", NULL);
			return;
		}
		request->rest = request->path + strlen(route->begins);
		route->answer(request, answer);
		return;
	}
	ma_web_page(answer, MA_WEB_NOT_FOUND, "gone", NULL);
}

static char *
text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/* marketing.web_request(method, path, headers, content, address) */
Datum
ma_web_request(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *method = text_argument(fcinfo, 0, "method");
	MaWebRequest request = {method, text_argument(fcinfo, 1, "path")};
	MaWebAnswer answer = {0};
	MaCall		call;
	Datum		row;

	(void) ma_extension_required();
	request.headers = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	if (request.headers == NULL || !JB_ROOT_IS_OBJECT(request.headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be an object"),
				 errhint("Give the headers' texts by their names in lower case, as in {\"user-agent\": \"...\"}.")));
	if (!PG_ARGISNULL(3))
	{
		bytea	   *content = PG_GETARG_BYTEA_PP(3);

		request.content = VARDATA_ANY(content);
		request.content_length = VARSIZE_ANY_EXHDR(content);
	}
	request.address = PG_ARGISNULL(4) ? (Datum) 0 : PG_GETARG_DATUM(4);
	ma_call_begin(&call);
	answer_request(&request, &answer);
	MemoryContextSwitchTo(context);
	row = answer_row(fcinfo, &answer);
	ma_call_end(&call);
	return row;
}

static Datum
answer_row(FunctionCallInfo fcinfo, const MaWebAnswer *answer)
{
	bytea	   *content = palloc(VARHDRSZ + answer->content_length);
	Datum		values[4];
	bool		nulls[4] = {false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "cannot happen: web_request() has no row type");
	SET_VARSIZE(content, VARHDRSZ + answer->content_length);
	memcpy(VARDATA(content), answer->content, answer->content_length);
	values[0] = Int32GetDatum(answer->status);
	values[1] = CStringGetTextDatum(answer->content_type);
	nulls[2] = answer->location == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(answer->location);
	values[3] = PointerGetDatum(content);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
