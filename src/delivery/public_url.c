/*
 * public_url.c
 *		The setting public_url: where the links of messages lead.
 */
#include "base/base.h"

#include "delivery/delivery_internal.h"

#define NAME "public_url"
#define DEFAULT_URL "http://localhost"

static char *check(const char *value);

static const MaShopSetting setting = {
	NAME,
	"Where the links of messages lead: what marketing-web, or your own web server, answers. "
	DEFAULT_URL " as long as it is not set.",
	check
};

void
ma_public_url_init(void)
{
	ma_register_shop_setting(&setting);
}

/* An address of the web without what would end or change the paths put behind it. */
static char *
check(const char *value)
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
	char	   *url = ma_shop_setting(NAME);

	return url ? url : pstrdup(DEFAULT_URL);
}
