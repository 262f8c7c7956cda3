/*
 * utm.c
 *		Tags of a campaign for the links of a template: utm_source=shop&utm_medium=email.
 *
 * A template says them itself, or the shop's setting utm_source says that all mails
 * have them; what is not said is known: the channel is the medium, the template's
 * name the campaign.  They are made once for each version, when it is loaded.
 */
#include "base/base.h"

#include "content/content_internal.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

const char *const ma_utm_members[] = {
	"source", "medium", "campaign", "term", "content", "id", NULL
};

static char *shop_source(void);
static void append_tag(StringInfo out, const char *name, const char *value, int length);

char *
ma_utm_tags(Datum utm, const char *channel, const char *template_name)
{
	Jsonb	   *given = DatumGetPointer(utm) != NULL ? DatumGetJsonbP(utm) : NULL;
	char	   *source = shop_source();
	StringInfoData out;

	if (given == NULL ? source == NULL : JB_ROOT_COUNT(given) == 0)
		return NULL;
	initStringInfo(&out);
	for (int i = 0; ma_utm_members[i] != NULL; i++)
	{
		const char *name = ma_utm_members[i];
		const char *value = strcmp(name, "source") == 0 ? source :
			strcmp(name, "medium") == 0 ? channel :
			strcmp(name, "campaign") == 0 ? template_name : NULL;
		JsonbValue	own;

		own.type = jbvNull;
		if (given != NULL &&
			getKeyJsonValueFromContainer(&given->root, name, strlen(name), &own) != NULL)
		{
			if (own.type == jbvString)
				append_tag(&out, name, own.val.string.val, own.val.string.len);
		}
		else if (value != NULL)
			append_tag(&out, name, value, strlen(value));
	}
	return out.len > 0 ? out.data : NULL;
}

/* The shop's name in the tags, NULL: it has none. */
static char *
shop_source(void)
{
	static MaStatement find = {
		"SELECT value FROM marketing_internal.setting WHERE name OPERATOR(pg_catalog.=) 'utm_source'",
		0
	};
	MaRows		rows = ma_run(&find, NULL, NULL, MA_RUN_READ_LATEST);

	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

static void
append_tag(StringInfo out, const char *name, const char *value, int length)
{
	appendStringInfo(out, "%sutm_%s=", out->len > 0 ? "&" : "", name);
	for (int i = 0; i < length; i++)
	{
		unsigned char c = value[i];

		if ((c < 0x80 && isalnum(c)) || (c != '\0' && strchr("-._~", c) != NULL))
			appendStringInfoChar(out, c);
		else
			appendStringInfo(out, "%%%02X", c);
	}
}
