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
#include "mb/pg_wchar.h"
#include "utils/jsonb.h"

#define SOURCE "utm_source"

const char *const ma_utm_members[] = {
	"source", "medium", "campaign", "term", "content", "id", NULL
};

static char *check_source(const char *value);
static void append_tag(StringInfo out, const char *name, const char *value, int length);

static const MaShopSetting setting = {
	SOURCE,
	"The shop's name in the tags that links of all messages get (utm_source); without it only templates "
	"with utm have tags.",
	check_source
};

void
ma_utm_init(void)
{
	ma_register_shop_setting(&setting);
}

static char *
check_source(const char *value)
{
	if (*value == '\0' || strlen(value) > 100)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("utm_source must have 1 to 100 octets")));
	return pstrdup(value);
}

char *
ma_utm_tags(Datum utm, const char *channel, const char *template_name)
{
	Jsonb	   *given = DatumGetPointer(utm) != NULL ? DatumGetJsonbP(utm) : NULL;
	char	   *source = ma_shop_setting(SOURCE);
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

static void
append_tag(StringInfo out, const char *name, const char *value, int length)
{
	char	   *utf8 = pg_server_to_any(pnstrdup(value, length), length, PG_UTF8);

	appendStringInfo(out, "%sutm_%s=", out->len > 0 ? "&" : "", name);
	for (; *utf8 != '\0'; utf8++)
	{
		unsigned char c = *utf8;

		if ((c < 0x80 && isalnum(c)) || strchr("-._~", c) != NULL)
			appendStringInfoChar(out, c);
		else
			appendStringInfo(out, "%%%02X", c);
	}
}
