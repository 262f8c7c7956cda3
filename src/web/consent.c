/*
 * consent.c
 *		/u/ and /confirm/: GET shows what the link is for and a button, POST does it.
 *
 * Scanners of mail fetch every link, so that a GET that acted would unsubscribe people
 * who never clicked.  The one-click of RFC 8058 is a POST of the mail program's.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "web/web_internal.h"

static char *topic_data(const MaTopic *topic, const char *channel);

/* "topic": {...}, "channel": "email" */
static char *
topic_data(const MaTopic *topic, const char *channel)
{
	StringInfoData data;

	initStringInfo(&data);
	appendStringInfoString(&data, "\"topic\": {\"name\": ");
	escape_json(&data, topic->name);
	appendStringInfoString(&data, ", \"description\": ");
	escape_json(&data, topic->description ? topic->description : topic->name);
	appendStringInfo(&data, "}, \"channel\": \"%s\"", channel);
	return data.data;
}

void
ma_web_unsubscribe(const MaWebRequest *request, MaWebAnswer *answer)
{
	static MaStatement unsubscribe = {
		"SELECT marketing.unsubscribe_by_token($1)", 1, {TEXTOID}
	};
	const char *channel;
	MaTopic    *topic = ma_unsubscribe_token_topic(request->rest, &channel);
	Datum		token = CStringGetTextDatum(request->rest);

	if (topic == NULL)
	{
		ma_web_page(answer, MA_WEB_NOT_FOUND, "gone", NULL);
		return;
	}
	if (request->acts)
		ma_run(&unsubscribe, &token, NULL, MA_RUN_WRITE);
	ma_web_page(answer, MA_WEB_OK, request->acts ? "unsubscribed" : "unsubscribe",
				topic_data(topic, channel));
}

void
ma_web_confirm(const MaWebRequest *request, MaWebAnswer *answer)
{
	static MaStatement confirm = {
		"SELECT marketing.confirm($1)", 1, {TEXTOID}
	};
	Datum		token = CStringGetTextDatum(request->rest);

	if (!ma_confirm_token_valid(request->rest))
	{
		ma_web_page(answer, MA_WEB_NOT_FOUND, "gone", NULL);
		return;
	}
	if (request->acts)
		ma_run(&confirm, &token, NULL, MA_RUN_WRITE);
	ma_web_page(answer, MA_WEB_OK, request->acts ? "confirmed" : "confirm", NULL);
}
