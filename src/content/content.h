/*
 * content.h
 *		The one public header of content/ (layer 2): templates in Liquid, what a
 *		message says for one contact, and its form as a MIME message.
 *
 * Nothing here sends or decides: delivery/ asks for the rendered parts of a batch
 * of messages when it has claimed them, and for the bytes of one mail.  What lies
 * above (topics, tracked links) registers itself.
 */
#ifndef MA_CONTENT_H
#define MA_CONTENT_H

#include "base/base.h"

#include "lib/stringinfo.h"

/* ---- liquid.c: the language alone, no tables ---- */

/* How output is escaped where the template does not say `raw`. */
typedef enum MaEscape
{
	MA_ESCAPE_NONE,				/* text parts, subjects, SMS */
	MA_ESCAPE_HTML				/* by the place in the HTML: text, attribute, URL, script, style */
} MaEscape;

typedef struct MaLiquid MaLiquid;	/* a compiled template */

/*
 * Compiles `source` in the current memory context.  `what` names the text in errors
 * ("template \"welcome\", html"); they have SQLSTATE MA030, line and column, and a
 * hint.  Snippets it names must exist only when it is rendered.
 */
extern MaLiquid *ma_liquid_compile(const char *source, int length, MaEscape escape,
								   const char *what);

/*
 * Renders with the members of the jsonb object `data` as variables, in the current
 * memory context.  A fault is an error MA031 with place; {% abort "reason" %} gives
 * NULL and the reason in *abort_reason.  Dates are in `zone` (NULL: the session's).
 */
extern char *ma_liquid_render(MaLiquid *liquid, Datum data, const char *zone,
							  char **abort_reason);

/* As ma_liquid_render(), of {{ contact }} and {{ entry }} (jsonb, 0: none); reads the contact. */
extern char *ma_liquid_render_contact(MaLiquid *liquid, int64 contact_id, Datum entry,
								  char **abort_reason);

/* As ma_liquid_render(), for a request that carries a mail with its files. */
extern char *ma_liquid_render_large(MaLiquid *liquid, Datum data, char **abort_reason);

/* True if the text shows this member of the variable `message`, or all of it. */
extern bool ma_liquid_shows(const MaLiquid *liquid, const char *member);

/*
 * The snippet of this name, compiled for HTML; NULL if there is none.  Valid to the end of the
 * transaction.  Inside ma_call_begin().
 */
extern MaLiquid *ma_snippet_html(const char *name);

/* ---- template.c: what is defined ---- */

typedef struct MaTemplate
{
	int32		id;
	char	   *name;
	char	   *topic;
	char	   *channel;		/* email, sms, push, webhook ... */
	char	   *sender;			/* NULL: the channel's first one */
} MaTemplate;

/*
 * The template of this name, or an error MA032 with the nearest names; or by id, NULL
 * if there is none.  Valid to the end of the transaction.  Inside ma_call_begin().
 */
extern MaTemplate *ma_template_required(const char *name);
extern MaTemplate *ma_template_by_id(int32 template_id);
/* Likewise by name. */
extern MaTemplate *ma_template_by_name(const char *name);

/* Topics belong to consent/: it registers the check that raises an error if there is none. */
extern void ma_register_channel_check(void (*check) (const char *channel));
extern void ma_register_topic_check(void (*check) (const char *topic));
/* Likewise senders, for who has defined them; sender is not NULL. */
extern void ma_register_sender_check(void (*check) (const char *sender, const char *channel));

/* ---- message.c: messages of a batch ---- */

/*
 * A further variable of one message at the top level of its templates, as confirm_url; made
 * when the first one asks for it.
 */
typedef struct MaRenderVariable
{
	const char *name;
	const char *value;			/* NULL: not made yet */
	char	   *(*make) (const void *of);
	const void *of;
} MaRenderVariable;

/* Its value, which stands as long as the variable. */
extern const char *ma_render_variable(MaRenderVariable *variable);

typedef struct MaRenderRequest
{
	int64		contact_id;
	int64		message_id;		/* 0: none, it is only looked at: nothing is claimed for it */
	int32		template_id;
	int32		version;		/* 0: the current one of the contact's locale */
	Datum		entry;			/* jsonb object; {{ entry.x }}; 0: a member of data */
	Datum		data;			/* jsonb object, 0: none; {{ data.x }}, and {{ x }} */
	int			nvariables;
	MaRenderVariable *variables;
	bool		check;			/* note what is wrong with it: problems */
	bool		alone;			/* queries run for it apart from the others */

	/*
	 * Called before it is rendered with `message`, and with NULL before what is done for
	 * several of them at once; NULL: nothing.
	 */
	void		(*begins) (void *message);
	void	   *message;
} MaRenderRequest;

/* What a reader of the message would miss. */
typedef struct MaTextFault
{
	const char *part;			/* "html"; NULL: all of it */
	char	   *text;
} MaTextFault;

/* Something that goes with a mail. */
typedef struct MaAttachment
{
	const char *filename;
	const char *type;			/* "image/png" */
	const char *content;
	Size		length;
	bool		shown;			/* an image in the html, named there by cid:filename */
} MaAttachment;

/*
 * Of the parts only those are set that the template has; text is derived from html
 * where the template has none.  With abort_reason ({% abort %}) or error (a fault of
 * this message) the parts are NULL; if it `waits`, what is missing may come: no fault.
 */
typedef struct MaRendered
{
	char	   *subject;
	char	   *html;
	char	   *text;
	char	   *preheader;
	char	   *abort_reason;
	char	   *error;
	bool		waits;
	bool		later;			/* its files are too much for this batch, with those of others */
	int32		version;		/* the version of the template that was rendered */
	int			nattachments;
	MaAttachment *attachments;
	List	   *problems;		/* MaTextFault, if they were asked for */
} MaRendered;

/*
 * Renders a batch in the current memory context.  Contacts' rows are read once for all
 * of it, and each declared query that is used is run once.  The fault of one message
 * is in its `error`; only what stops the batch (cancel, out of memory) is thrown.
 * Inside ma_call_begin().
 */
extern void ma_render_messages(const MaRenderRequest *requests, int n, MaRendered *rendered);

/*
 * Links of the html, and {{ url | track }} elsewhere: delivery/ registers what makes a
 * tracked link of a URL for the message.  `tags` (may be NULL) are those its template
 * has for links, see ma_url_with_tags().  NULL: the URL stays as it is.
 */
typedef char *(*MaLinkTracker) (const MaRenderRequest *request, const char *url, const char *tags);
extern void ma_register_link_tracker(MaLinkTracker tracker);

/* The variables that delivery/ adds to messages, for who only looks at one. */
typedef MaRenderVariable *(*MaVariableMaker) (int64 contact_id, const MaTemplate *template, int *n);
extern void ma_register_variables(MaVariableMaker maker);
extern MaRenderVariable *ma_render_variables(int64 contact_id, const MaTemplate *template, int *n);

/* What is to stand for the URL, not escaped; NULL: it stays. */
typedef char *(*MaLinkChange) (void *argument, char *url);

/*
 * The html with the addresses of its links (a, area) changed, but for those with the
 * attribute data-no-track.
 */
extern char *ma_html_links(const char *html, MaLinkChange change, void *argument);

/* The URL with tags ("utm_source=shop&utm_medium=email") that its query does not have yet. */
extern char *ma_url_with_tags(const char *url, const char *tags);

/* ---- coupon.c ---- */

/* The message is another contact's now, by a merge: it keeps its codes. */
extern void ma_coupons_move(int64 from, int64 to, int64 message_id);
/* Codes that these messages hold are free again: they were not sent, and never will be. */
extern void ma_coupons_return(const int64 *contact_ids, const int64 *message_ids, int n);

/* ---- json_text.c ---- */

/* Appends the text as one of JSON, in quotes. */
extern void ma_append_json(StringInfo out, const char *text, int length);

/* ---- sms.c ---- */

/* How a text goes by SMS. */
typedef struct MaSms
{
	bool		gsm;			/* 7-bit alphabet; else UCS-2 */
	int			units;			/* septets, or 16-bit units */
	int			nparts;
	int		   *starts;			/* offset of each part, and the text's length */
} MaSms;

extern void ma_sms_measure(const char *text, MaSms *sms);

/* Text of an HTML part, for mail programs that show none; lines are not wrapped. */
extern char *ma_html_to_text(const char *html);

/* ---- mime.c, mime/address.c: the bytes of one mail (no catalog access, palloc only) ---- */

typedef struct MaMimeHeader
{
	const char *name;
	const char *value;			/* UTF-8 text; encoded as needed */
} MaMimeHeader;

typedef struct MaMimeMessage
{
	const char *from_address;	/* required: local@domain in ASCII */
	const char *from_name;		/* these may be NULL; names are UTF-8 */
	const char *to_address;		/* required */
	const char *to_name;
	const char *reply_to;
	const char *subject;
	const char *text;			/* at least one of text and html */
	const char *html;
	const char *preheader;		/* goes hidden to the start of the html */
	const char *message_id;		/* required: unique@domain, without brackets */
	pg_time_t	date;			/* seconds since 1970 */
	const char *unsubscribe_url;	/* List-Unsubscribe, one-click if https */
	const char *unsubscribe_mailto; /* address, without mailto: */
	int			nattachments;
	const MaAttachment *attachments;
	int			nheaders;		/* further ones: X-..., List-Id, Feedback-ID, Precedence ... */
	const MaMimeHeader *headers;
} MaMimeMessage;

/*
 * The message by RFC 5322 and 2045-2047: CRLF line ends, 7-bit (but for a recipient that is
 * not, see ma_mime_recipient_ok()), lines of at most 998
 * octets (78 where possible); *length is its length, it ends with NUL besides.  NULL
 * with *error (English, for a log) if a part is not allowed: addresses and header
 * names are checked, CR, LF and NUL are in no header.  The same input gives the same
 * bytes.
 */
extern char *ma_mime_build(const MaMimeMessage *message, Size *length, const char **error);

/* The html with the preheader (may be NULL) at its start, not seen in it. */
extern char *ma_html_with_preheader(const char *html, const char *preheader);

/* True if the address can stand in a header and in an SMTP command as it is (ASCII only). */
extern bool ma_mime_address_ok(const char *address);
/* Likewise with UTF-8 before the @, which the server must take (SMTPUTF8, RFC 6531). */
extern bool ma_mime_recipient_ok(const char *address);

/*
 * The address as it goes over the wire, in the current context: the domain in ASCII
 * (RFC 5890).  *smtputf8: what is before the @ is not ASCII.  NULL if it is none.
 */
extern char *ma_mime_address(const char *address, bool *smtputf8);

/* Registers what templates use, for those who drop it. */
extern void ma_content_init(void);

#endif							/* MA_CONTENT_H */
