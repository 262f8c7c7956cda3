/*
 * web_internal.h
 *		What the files of web/ share: a request as marketing.web_request() gets it, and
 *		its answer.
 *
 * Layer 4.  Nothing above needs this room, so it has no public header: what it offers is
 * the SQL function, and marketing-web (the program in web/server/) is one caller of it.
 */
#ifndef MA_WEB_INTERNAL_H
#define MA_WEB_INTERNAL_H

#include "base/base.h"

#include "delivery/delivery.h"
#include "utils/jsonb.h"

typedef struct MaWebRequest
{
	const char *method;
	const char *path;
	const char *rest;			/* of the path behind the route: a token, a server's name */
	bool		acts;			/* POST: what changes something happens on these only */
	Jsonb	   *headers;		/* texts by names in lower case */
	const char *content;
	int			content_length;
	Datum		address;		/* inet of the client, 0: not known */
} MaWebRequest;

typedef struct MaWebAnswer
{
	int			status;
	const char *content_type;
	const char *location;		/* NULL: none */
	const char *content;
	int			content_length;
} MaWebAnswer;

#define MA_WEB_OK 200
#define MA_WEB_FOUND 302
#define MA_WEB_BAD_REQUEST 400
#define MA_WEB_FORBIDDEN 403
#define MA_WEB_NOT_FOUND 404
#define MA_WEB_NOT_ALLOWED 405

/* ---- request.c ---- */

/* Text of a header, NULL if there is none; name in lower case. */
extern const char *ma_web_header(const MaWebRequest *request, const char *name);

/* ---- signature.c ---- */

/*
 * What is wrong with the signature that the key demands, for the log; NULL: nothing.  What
 * was told is in the form of that name (hooks.c), `content` as it was parsed.
 */
extern const char *ma_web_signature_fault(const MaWebRequest *request, const MaHookKey *key,
										  const char *form, Jsonb *content);
/* True for an https address of Amazon SNS. */
extern bool ma_web_is_amazon(const char *url);
/* The token and time of a signature that vouches for nothing but these two. */
extern bool ma_web_signature_token(const MaHookKey *key, Jsonb *content, char **token,
								   int64 *second);
/* What such a signature is good for, in seconds. */
#define MA_WEB_TOKEN_SECONDS (12 * 3600)

/* ---- pages.c ---- */

/*
 * Answers with a page of this name: the snippet web_page if there is one, else a plain one
 * of ours.  `data` is a JSON object of its further variables, without the braces, or NULL.
 * A snippet that fails is logged, and ours is shown: what was done stays done.
 */
extern void ma_web_page(MaWebAnswer *answer, int status, const char *page, const char *data);

/* ---- what the routes do ---- */

extern void ma_web_unsubscribe(const MaWebRequest *request, MaWebAnswer *answer);
extern void ma_web_open(const MaWebRequest *request, MaWebAnswer *answer);
extern void ma_web_click(const MaWebRequest *request, MaWebAnswer *answer);
extern void ma_web_hook(const MaWebRequest *request, MaWebAnswer *answer);
extern void ma_web_confirm(const MaWebRequest *request, MaWebAnswer *answer);
extern void ma_web_preferences(const MaWebRequest *request, MaWebAnswer *answer);

#endif							/* MA_WEB_INTERNAL_H */
