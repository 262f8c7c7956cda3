/*
 * consent_internal.h
 *		What the files of consent/ share among themselves.
 */
#ifndef MA_CONSENT_INTERNAL_H
#define MA_CONSENT_INTERNAL_H

#include "consent/consent.h"

/* ---- arguments.c: arguments of SQL functions ---- */

/* Text of argument n, NULL for null; or an error naming it. */
extern char *ma_consent_text(FunctionCallInfo fcinfo, int n);
extern char *ma_consent_required(FunctionCallInfo fcinfo, int n, const char *name);

/* ---- topic.c ---- */

/* All topics in order of their names, without the built-in one. */
extern List *ma_topics(void);

/* ---- channel.c ---- */

/* Place of a channel among all, from 1 and for ever the same; NULL and 0: none. */
extern int	ma_channel_number(const char *channel);
extern const char *ma_channel_by_number(int number);

#define MA_KEY_BYTES 32
#define MA_HMAC_BYTES 32

/* Random bytes (bytea) that can be a key. */
extern Datum ma_fresh_key(void);
/* HMAC-SHA-256 under a key of MA_KEY_BYTES. */
extern void ma_hmac(const uint8 *key, const void *data, Size length, uint8 *result);

/* ---- cap.c ---- */

/* What ma_kept() keeps of a definition table: a list, which may be empty. */
typedef struct MaKeptList
{
	List	   *items;
} MaKeptList;

extern void ma_cap_init(void);

/* ---- token.c ---- */

#define MA_TOKEN_CONFIRM 'c'
#define MA_TOKEN_UNSUBSCRIBE 'u'
#define MA_TOKEN_PREFERENCES 'p'

typedef struct MaToken
{
	int64		contact_id;
	int32		topic_id;
	int			channel;
} MaToken;

extern char *ma_token_make(char kind, const MaToken *token);
/* False for what is not a token of this kind that this shop has made. */
extern bool ma_token_try(const char *text, char kind, MaToken *token);
/* The same as an error. */
extern void ma_token_read(const char *text, char kind, MaToken *token);

/* ---- personal_data.c ---- */

/* Tables of ours with this column, but for what is kept of who is erased. */
extern List *ma_personal_tables(const char *column);

/* ---- columns.c, ledger.c, events.c: registration ---- */

extern void ma_consent_events_init(void);

extern void ma_consent_columns_init(void);
extern void ma_consent_ledger_init(void);

#endif							/* MA_CONSENT_INTERNAL_H */
