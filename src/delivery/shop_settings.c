/*
 * shop_settings.c
 *		What marketing.configure() sets about messages: where their links lead, and whether
 *		we follow them.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"
#include "utils/builtins.h"

#define PUBLIC_URL "public_url"
#define REDIRECT_TO "redirect_to"
#define DEFAULT_URL "http://localhost"

static char *check_url(const char *value);
static char *check_redirect(const char *value);
static char *address_for(const char *channel, const char *list);
static char *check_switch(const char *value);

static const MaShopSetting settings[] = {
	{
		PUBLIC_URL,
		"Where the links of messages lead: what marketing-web, or your own web server, answers. "
		DEFAULT_URL " as long as it is not set.",
		check_url
	},
	{
		REDIRECT_TO,
		"Addresses that get all messages of real servers instead of their recipients, for a staging system: an e-mail address, a phone number or a push token, with commas between them.",
		check_redirect
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

/* ---- redirect_to ---- */

/* The address of the list that is one of the channel; NULL: none. */
static char *
address_for(const char *channel, const char *list)
{
	while (*list != '\0')
	{
		Size		length = strcspn(list, ",");
		char	   *item = pnstrdup(list, length);
		const char *kind;
		char	   *address;

		while (*item == ' ')
			item++;
		for (Size n = strlen(item); n > 0 && item[n - 1] == ' '; n--)
			item[n - 1] = '\0';
		kind = strchr(item, '@') ? "email" : item[0] == '+' ? "sms" : "push";
		address = ma_channel_normalise(kind, item);
		if (strcmp(kind, channel) == 0 && address != NULL)
			return address;
		list += length + (list[length] == ',' ? 1 : 0);
	}
	return NULL;
}

static char *
check_redirect(const char *value)
{
	if (address_for("email", value) == NULL && address_for("sms", value) == NULL &&
		address_for("push", value) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" names no address", value),
				 errhint("For example qa@example.com, +905321234567.")));
	return pstrdup(value);
}

bool
ma_redirect(const char *channel, char **address)
{
	char	   *value = ma_shop_setting(REDIRECT_TO);

	*address = value ? address_for(channel, value) : NULL;
	return value != NULL;
}
