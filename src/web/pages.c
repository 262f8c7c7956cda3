/*
 * pages.c
 *		The pages people see behind the links of messages.
 *
 * A shop that wants its own look and language defines the snippet web_page, which gets
 * the same variables as ours. Both are Liquid with escaping by place, so that no text of
 * a topic's can become markup.
 */
#include "base/base.h"

#include "access/xact.h"
#include "content/content.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "web/web_internal.h"

#define SNIPPET "web_page"

static const char built_in[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
	"<title>{% case page %}{% when 'unsubscribe', 'unsubscribed' %}Unsubscribe"
	"{% when 'confirm', 'confirmed' %}Confirm"
	"{% when 'preferences', 'preferences_saved' %}Preferences{% else %}Not found{% endcase %}</title>"
	"<style>body{font:18px/1.5 sans-serif;max-width:32em;margin:4em auto;padding:0 1em}"
	"button{font:inherit;padding:.5em 1.5em}</style></head><body>\n"
	"{%- case page %}"
	"{% when 'unsubscribe' %}<h1>Unsubscribe</h1>"
	"<p>No more {% if channel == 'email' %}e-mails{% else %}messages{% endif %} about "
	"<strong>{{ topic.description }}</strong>?</p>"
	"<form method=\"post\"><button>Unsubscribe</button></form>"
	"{% when 'unsubscribed' %}<h1>Unsubscribed</h1>"
	"<p>You get no more {% if channel == 'email' %}e-mails{% else %}messages{% endif %} about "
	"<strong>{{ topic.description }}</strong>.</p>"
	"{% when 'confirm' %}<h1>Confirm</h1>"
	"<p>Press the button to confirm what you have signed up for.</p>"
	"<form method=\"post\"><button>Confirm</button></form>"
	"{% when 'confirmed' %}<h1>Thank you</h1><p>Your subscription is confirmed.</p>"
	"{% when 'preferences', 'preferences_saved' %}<h1>What you get</h1>"
	"{% if page == 'preferences_saved' %}<p>Your choice is saved.</p>{% endif %}"
	"<form method=\"post\">{% for p in preferences %}<p>"
	"<input type=\"hidden\" name=\"shown\" value=\"{{ p.key }}\">"
	"<label><input type=\"checkbox\" name=\"wanted\" value=\"{{ p.key }}\""
	"{% if p.gets %} checked{% endif %}> {{ p.description }} ({{ p.channel }})"
	"{% if p.state == 'pending' %}, not confirmed yet{% endif %}</label></p>{% endfor %}"
	"<button>Save</button></form>"
	"{% else %}<h1>Not found</h1><p>This link is not valid, or not any more.</p>"
	"{% endcase %}\n</body></html>\n";

typedef struct Rendering
{
	MaLiquid   *liquid;
	Datum		data;
	char	   *page;
} Rendering;

static MaLiquid *compiled_page(void);
static void render(void *arg);

/* Ours, compiled once. */
static MaLiquid *
compiled_page(void)
{
	static MaLiquid *page = NULL;
	MemoryContext before;

	if (page != NULL)
		return page;
	before = MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "marketing_automation pages",
														 ALLOCSET_SMALL_SIZES));
	page = ma_liquid_compile(built_in, strlen(built_in), MA_ESCAPE_HTML, "page");
	MemoryContextSwitchTo(before);
	return page;
}

static void
render(void *arg)
{
	Rendering  *rendering = arg;
	char	   *reason;
	MaLiquid   *snippet = ma_snippet_html(SNIPPET);

	if (snippet != NULL)
		rendering->page = ma_liquid_render(snippet, rendering->data, NULL, &reason);
}

void
ma_web_page(MaWebAnswer *answer, int status, const char *page, const char *data)
{
	char	   *json = psprintf("{\"page\": \"%s\"%s%s}", page, data ? ", " : "", data ? data : "");
	Rendering	rendering = {0};
	ErrorData  *error;
	char	   *reason;

	rendering.data = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	error = ma_attempt(render, &rendering);
	if (error != NULL)
	{
		rendering.page = NULL;
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("snippet \"%s\" failed: %s", SNIPPET, error->message)));
	}
	/* An error of the snippet's, {% abort %}, or no snippet. */
	if (rendering.page == NULL)
		rendering.page = ma_liquid_render(compiled_page(), rendering.data, NULL, &reason);
	answer->status = status;
	answer->content_type = "text/html; charset=utf-8";
	/* It says so itself, whatever the database is in. */
	answer->content = pg_server_to_any(rendering.page, strlen(rendering.page), PG_UTF8);
	answer->content_length = strlen(answer->content);
}
