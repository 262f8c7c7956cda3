/*
 * mime.h
 *		Inside content/: what mime.c and encode.c share.
 */
#ifndef MA_CONTENT_MIME_H
#define MA_CONTENT_MIME_H

#include "content/content.h"
#include "lib/stringinfo.h"

#define MIME_LINE 76			/* octets of a line, without its end */
#define MIME_MAX_TEXT 10000		/* octets of a name, subject or header */

/* "Name: text" with its line end, folded, in encoded words if it needs them. */
extern void ma_mime_write_text(StringInfo out, const char *name, const char *text);

/* A display name; `line` and the result are the octets of the current line. */
extern int	ma_mime_write_phrase(StringInfo out, const char *phrase, int line);

/* 7bit, quoted-printable or base64, whatever is safe and shortest. */
extern const char *ma_mime_encoding(const char *body);
extern void ma_mime_write_encoded(StringInfo out, const char *body, const char *encoding);

/* Base64, in lines. */
extern void ma_mime_write_file(StringInfo out, const char *bytes, Size length);

extern bool ma_mime_is_utf8(const char *text);

#endif							/* MA_CONTENT_MIME_H */
