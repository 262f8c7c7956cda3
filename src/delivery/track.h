/*
 * track.h
 *		Inside delivery/: tokens of tracked links and openings, and what compose.c does
 *		with them.
 */
#ifndef MA_DELIVERY_TRACK_H
#define MA_DELIVERY_TRACK_H

#include "content/content.h"

#define MA_HIT_OPEN 'o'
#define MA_HIT_CLICK 'c'

typedef struct MaHitToken
{
	char		kind;
	int64		message_id;
	int64		contact_id;
	int64		link_id;		/* of a click */
} MaHitToken;

extern char *ma_hit_token_make(const MaHitToken *token);
/* False if it is no token of this kind that we made. */
extern bool ma_hit_token_read(const char *text, char kind, MaHitToken *token);

/* Around the rendering of a batch; `url` is that of the shop's endpoint. */
extern void ma_track_begin(const char *url, bool links);
extern void ma_track_end(void);
extern char *ma_track_opening(const char *html, const char *url, int64 message_id,
							  int64 contact_id);

#endif							/* MA_DELIVERY_TRACK_H */
