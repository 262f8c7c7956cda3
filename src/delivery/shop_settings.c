/*
 * shop_settings.c
 *		What marketing.configure() sets about messages: where their links lead, and whether
 *		we follow them.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"
#include "utils/builtins.h"

#define PUBLIC_URL "public_url"
#define DEFAULT_URL "http://localhost"

static char *check_url(const char *value);
static char *check_switch(const char *value);

static const MaShopSetting settings[] = {
	{
		PUBLIC_URL,
		"Where the links of messages lead: what marketing-web, or your own web server, answers. "
		DEFAULT_URL " as long as it is not set.",
		check_url
	},
	{
		MA_TRACK_LINKS,
		"Whether links of messages lead over public_url, so that clicks are known; on as long as it is not set.",
		check_switch
	},
	{
		MA_TRACK_OPENS,
		"Whether mails hold a picture that tells of their opening; on as long as it is not set.",
		check_switch
	},
};

void
ma_shop_settings_init(void)
{
	for (int i = 0; i < lengthof(settings); i++)
		ma_register_shop_setting(&settings[i]);
}

static char *
check_switch(const char *value)
{
	bool		on;

	if (!parse_bool(value, &on))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is neither on nor off", value)));
	return pstrdup(on ? "on" : "off");
}

bool
ma_setting_on(const char *setting)
{
	char	   *value = ma_shop_setting(setting);

	return value == NULL || strcmp(value, "off") != 0;
}

/* An address of the web without what would end or change the paths put behind it. */
static char *
check_url(const char *value)
{
	const char *host = strncmp(value, "https://", 8) == 0 ? value + 8 :
		strncmp(value, "http://", 7) == 0 ? value + 7 : NULL;
	size_t		length = host ? strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
									   "0123456789-._~:[]/%") : 0;
	char	   *url = pstrdup(value);

	if (host == NULL || length == 0 || host[length] != '\0' || strchr("/:.%", host[0]) != NULL ||
		strlen(value) > 500)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("public_url cannot be \"%s\"", value),
				 errhint("Give scheme, host and perhaps a folder, in ASCII, as in https://m.shop.example.")));
	while (url[strlen(url) - 1] == '/')
		url[strlen(url) - 1] = '\0';
	if (host - value == 7 && strncmp(host, "localhost", 9) != 0 && strncmp(host, "127.", 4) != 0)
		ereport(NOTICE,
				(errmsg("links of messages will not be encrypted"),
				 errhint("Mail programs offer one-click unsubscribing for https only.")));
	return url;
}

char *
ma_public_url(void)
{
	char	   *url = ma_shop_setting(PUBLIC_URL);

	return url ? url : pstrdup(DEFAULT_URL);
}
