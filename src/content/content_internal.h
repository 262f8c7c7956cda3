/*
 * content_internal.h
 *		Inside content/: stored definitions, compiled and cached, and what a batch of
 *		messages shares.
 */
#ifndef MA_CONTENT_INTERNAL_H
#define MA_CONTENT_INTERNAL_H

#include "content/liquid/liquid.h"

/* ---- compiled.c: the cache of compiled texts ---- */

/* Parts of one version of a template; NULL: it has none. */
typedef struct MaVersion
{
	int32		template_id;
	int32		version;
	char	   *locale;
	MaLiquid   *subject;
	MaLiquid   *html;
	MaLiquid   *text;
	MaLiquid   *preheader;
	MaLiquid   *layout_html;
	MaLiquid   *layout_text;
	char	   *channel;
	char	   *tags;			/* utm_source=...&utm_medium=... for its links; NULL: none */
	int			nattachments;
	char	  **attachments;	/* names of assets or queries */
	bool		strict;			/* a variable without a value is a fault */
} MaVersion;

/*
 * Both are valid to the end of the transaction.  The version that holds for a locale
 * ("de-CH", then "de", then the one for everybody), or version `version` if it is not 0;
 * NULL if there is none.  Inside ma_call_begin().
 */
extern MaVersion *ma_version_find(int32 template_id, const char *locale, int32 version);

/* The snippet of this name, compiled for the kind of escaping; NULL if there is none. */
extern MaLiquid *ma_snippet_find(const char *name, int length, MaEscape escape);

/* "de_CH.UTF-8" as "de-ch": how locales are compared. */
extern char *ma_locale_key(const char *locale);

/* ---- definitions of content: names, answers ---- */

/* Text of an argument, NULL for null. */
extern char *ma_content_argument(FunctionCallInfo fcinfo, int number);

/* The name of `what` that is argument `number`: 1 to 63 octets without control characters. */
extern char *ma_content_name(FunctionCallInfo fcinfo, int number, const char *what);

/* A NOTICE for each of these snippets that is not there; own_name (may be NULL) is. */
extern void ma_snippets_notice(const char *who, const char *own_name, List *names);
/* Likewise for names of {{ contact.name }} that nothing has and that are near to one that is. */
extern void ma_members_notice(const char *who, List *names);
/* Error MA032 for a template, layout, snippet or query that is not there; with the nearest. */
extern void ma_content_unknown(const char *what, const char *table, const char *name)
	pg_attribute_noreturn();

/* True for the same text, or null both times. */
extern bool ma_content_same(const char *left, const char *right);

/* ---- utm.c ---- */

extern void ma_utm_init(void);

/* ---- coupon.c ---- */

extern void ma_coupons_init(void);
/* Members of utm, up to NULL. */
extern const char *const ma_utm_members[];
/* The tags of a version: utm (0: not given) over what the shop, channel and template say. */
extern char *ma_utm_tags(Datum utm, const char *channel, const char *template_name);

/* ---- asset.c ---- */

/* Error MA032 unless each name of the array (as text, may be NULL) is an asset or a query. */
extern void ma_attachments_check(const char *template_name, const char *names);

typedef struct MaAsset
{
	char	   *name;
	char	   *type;
	bytea	   *content;
} MaAsset;

/* The asset of the name, in the current context; NULL if there is none. */
extern MaAsset *ma_asset_find(const char *name);
/* The type that files of such a name have. */
extern const char *ma_asset_type(const char *filename);
/* A type as image/png, without parameters. */
extern bool ma_asset_type_ok(const char *type);

/* ---- attach.c: what goes with one message ---- */

/* The rows of a query for the message, as lazy variables come; UNSET: there is none. */
typedef LiquidValue (*MaQueryRows) (void *argument, const LiquidName *name);

/*
 * Finds what `version` attaches and what the html shows by cid:, in the current context.
 * Faults of the message are errors MA031.
 */
extern MaAttachment *ma_attachments_read(const MaVersion *version, const char *html,
										 MaQueryRows rows, void *argument, int *n);

/* ---- coupon.c ---- */

/*
 * A code of the pool for the message, the one it holds already or the next free one;
 * NULL: none is left.  An unknown pool is an error MA031.
 */
extern char *ma_coupon_claim(int64 contact_id, int64 message_id, const char *pool);

/* ---- contact_view.c: {{ contact }} ---- */

typedef struct MaContactView
{
	int64		contact_id;
	char	   *locale;
	char	   *time_zone;
	LiquidValue value;			/* layers */
} MaContactView;

/*
 * Reads the contacts (ids without duplicates, ascending) and their rows in the attached
 * tables, as the owners of these, in the current context.  One that is gone has an
 * empty view.
 */
extern MaContactView *ma_contact_views(const int64 *contact_ids, int n);

/* ---- query.c: rows of declared queries ---- */

typedef struct MaQuery
{
	char	   *name;
	char	   *sql;
	char	   *role;
	int			nparams;
	char	  **params;		/* paths */
	char	  **types;		/* of $1, $2 ..., qualified */
} MaQuery;

/* The queries there are (MaQuery *), cached.  Inside ma_call_begin(). */
extern List *ma_queries(void);

/*
 * Runs the query for n messages at once; params[i * nparams + j] is text or NULL.
 * rows[i] becomes a jsonb array, or errors[i] says what is wrong.
 */
extern void ma_query_run(const MaQuery *query, char **params, int n, Datum *rows, char **errors);

#endif							/* MA_CONTENT_INTERNAL_H */
