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

/* HMAC-SHA-256 (bytea) under the shop's key. */
extern Datum ma_shop_hmac(const void *data, Size length);

/*
 * Locks the contact's addresses of these channels (char *), in the order of the gate.
 * Without `wait` busy ones are passed over.
 */
extern void ma_recipients_lock(const int64 *contact_ids, int n, List *channels, bool wait);

/* ---- columns.c, ledger.c: registration ---- */

extern void ma_consent_columns_init(void);
extern void ma_consent_ledger_init(void);

#endif							/* MA_CONSENT_INTERNAL_H */
