/*
 * hits.c
 *		/o/ and /c/: the picture that tells of an opening, and tracked links.
 *
 * A link leads where the message said, which is stored: nothing in the request can lead
 * elsewhere.  Whether a person or a machine made it is judged by what is recorded here.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "web/web_internal.h"

/* One transparent point. */
static const char picture[] =
	"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,"
	"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00;";

static char *location_of(const char *url);
static MaRows record(MaStatement *statement, const MaWebRequest *request);

/* token, user agent, method, purpose */
static MaRows
record(MaStatement *statement, const MaWebRequest *request)
{
	const char *purpose = ma_web_header(request, "sec-purpose");
	const char *texts[4] = {request->rest, ma_web_header(request, "user-agent"), request->method};
	Datum		values[4];
	char		nulls[4];

	texts[3] = purpose ? purpose : ma_web_header(request, "purpose");
	for (int i = 0; i < lengthof(texts); i++)
	{
		nulls[i] = texts[i] ? ' ' : 'n';
		values[i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	return ma_run(statement, values, nulls, MA_RUN_WRITE);
}

void
ma_web_open(const MaWebRequest *request, MaWebAnswer *answer)
{
	static MaStatement open = {
		"SELECT marketing.record_open($1, $2, $3, $4)", 4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};

	if (!ma_open_token_valid(request->rest))
	{
		ma_web_page(answer, MA_WEB_NOT_FOUND, "gone", NULL);
		return;
	}
	(void) record(&open, request);
	answer->status = MA_WEB_OK;
	answer->content_type = "image/gif";
	answer->content = picture;
	answer->content_length = sizeof(picture) - 1;
}

/* As it can stand in a header: what is not ASCII, or ends a line, by its octets in UTF-8. */
static char *
location_of(const char *url)
{
	StringInfoData location;

	initStringInfo(&location);
	url = pg_server_to_any(url, strlen(url), PG_UTF8);
	for (; *url != '\0'; url++)
		if (*url > ' ' && *url <= '~')
			appendStringInfoChar(&location, *url);
		else
			appendStringInfo(&location, "%%%02X", (unsigned char) *url);
	return location.data;
}

void
ma_web_click(const MaWebRequest *request, MaWebAnswer *answer)
{
	static MaStatement click = {
		"SELECT marketing.record_click($1, $2, $3, $4)", 4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	MaRows		rows;

	if (!ma_click_token_valid(request->rest))
	{
		ma_web_page(answer, MA_WEB_NOT_FOUND, "gone", NULL);
		return;
	}
	rows = record(&click, request);
	answer->status = MA_WEB_FOUND;
	answer->content_type = "text/plain; charset=utf-8";
	answer->location = location_of(ma_text(&rows, 0, 1));
	answer->content = "";
}
