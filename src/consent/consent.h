/*
 * consent.h
 *		The one public header of consent/ (layer 2): topics, who may be written to
 *		about what, and addresses that must not be written to at all.
 *
 * delivery/ asks with the SQL conditions given here; nothing here knows messages.
 */
#ifndef MA_CONSENT_H
#define MA_CONSENT_H

#include "base/base.h"
#include "contacts/contacts.h"

/* ---- topic.c: what messages are about ---- */

typedef enum MaConsentKind
{
	MA_TOPIC_TRANSACTIONAL,		/* built in: free of consent; suppression holds */
	MA_TOPIC_OPT_IN,
	MA_TOPIC_DOUBLE_OPT_IN,
	MA_TOPIC_OPT_OUT			/* unknown counts as yes */
} MaConsentKind;

#define MA_TOPIC_TRANSACTIONAL_NAME "transactional"
#define MA_TOPIC_TRANSACTIONAL_ID 0	/* no row: a built-in one would not survive a dump */

typedef struct MaTopic
{
	int32		id;				/* does not change as long as the topic lives */
	char	   *name;
	MaConsentKind kind;
	char	   *confirm;		/* template that asks for the confirmation, or NULL */
	List	   *channels;		/* names (char *) */
	char	   *description;	/* in words for people, or NULL */
} MaTopic;

/* In the current context; the topic of the name, or an error with the nearest names. */
extern MaTopic *ma_topic_required(const char *name);
/* NULL when there is none. */
extern MaTopic *ma_topic_by_name(const char *name);
extern MaTopic *ma_topic_by_id(int32 id);
extern bool ma_topic_has_channel(const MaTopic *topic, const char *channel);

/* ---- channel.c: ways to a contact, and addresses ---- */

/* Errors out (22023) unless the name is email, sms, push or webhook. */
extern void ma_channel_check(const char *channel);

/*
 * The field of marketing_internal.contact that holds a contact's address of the
 * channel ("email", "phone", "push_token"); NULL for a channel without addresses.
 */
extern const char *ma_channel_field(const char *channel);

/* The address as the channel writes it, NULL if it is not valid; in the current context. */
extern char *ma_channel_normalise(const char *channel, const char *address);

/*
 * HMAC-SHA-256 (bytea) of a normalised address under this shop's own key: what the
 * suppression list holds, so that it survives the erasure of the person.
 */
extern Datum ma_address_hash(const char *channel, const char *address);

/*
 * HMAC-SHA-256 (bytea) under the same key, which stays for ever: for names that nobody can
 * guess.  `data` begins with what it is for.
 */
extern Datum ma_shop_hmac(const void *data, Size length);

/*
 * The lock of a recipient, by the hash of his address; held to the end of the
 * transaction.  The gate takes those of a batch in ascending order and passes over
 * busy ones; suppress(), unsubscribe() and the like wait for theirs.  After the
 * contacts' locks, before our rows.
 */
extern uint64 ma_recipient_lock_key(Datum address_hash);
extern bool ma_recipient_try_lock(uint64 key);
extern void ma_recipient_lock(uint64 key);

/*
 * Who erases a contact takes this, before the contact's lock.  Who writes about him without
 * that lock, as hits do, keeps erasures away before he looks whether there still is something
 * of him; false: one goes on or waits, and he leaves it.  Both to the end of the transaction.
 */
extern void ma_erasure_lock(int64 contact_id);
extern bool ma_erasure_keep_away(int64 contact_id);

/* ---- ledger.c: the ledger and the present state ---- */

typedef enum MaConsentState
{
	MA_CONSENT_NONE,
	MA_CONSENT_PENDING,			/* asked for, to be confirmed by the contact */
	MA_CONSENT_OPTED_IN,
	MA_CONSENT_OPTED_OUT
} MaConsentState;

extern const char *ma_consent_state_name(MaConsentState state);

typedef struct MaConsentChange
{
	int64		contact_id;
	int32		topic_id;
	const char *channel;
	MaConsentState state;
	const char *origin;			/* "subscribe", "column customers.newsletter_ok", ... */
	Datum		proof;			/* jsonb, or 0 */
	bool		requested;		/* by subscribe(): subscription_requested besides */
	bool		quiet;			/* no events: known before, as at a merge or attachment */
	bool		enroll;			/* its events may start journeys, if raised while evaluating */
} MaConsentChange;

/*
 * Appends an entry for each change that changes the state, set-based, and raises
 * the events subscription_requested, subscription_confirmed and unsubscribed;
 * returns how many there were.  Inside ma_call_begin(), with the contacts' locks
 * held or the contacts made by this transaction; `evaluating`: while contacts are
 * evaluated, so that events are told at once.
 */
extern int	ma_consent_append(MaConsentChange *changes, int n, bool evaluating);

/* ---- subscribe.c ---- */

/* The contact that this one is now, with his lock; who was merged meanwhile is another. */
extern int64 ma_consent_lock_contact(int64 contact_id);

/*
 * Locks the contact's addresses of these channels (char *), in the order of the gate.
 * Without `wait` busy ones are passed over.
 */
extern void ma_recipients_lock(const int64 *contact_ids, int n, List *channels, bool wait);

/* ---- suppression.c: addresses that get nothing ---- */

/* The caller holds the recipient's lock.  False: it was suppressed already. */
extern bool ma_suppression_add(const char *channel, Datum address_hash, const char *reason);
/* Takes it off again if it is there for this reason. */
extern void ma_suppression_lift(const char *channel, Datum address_hash, const char *reason);

/* ---- signing.c: keys of links, which can be replaced ---- */

#define MA_SIGNED_BYTES 128		/* of a purpose and its data, at most */

typedef struct MaSignedText
{
	const char *purpose;		/* what it is for: a signature is worth nothing for another one */
	const void *data;
	int			length;
} MaSignedText;

/* The first `length` bytes (at most 32) of its signature by the newest key. */
extern void ma_sign(const MaSignedText *text, uint8 *signature, int length);
/* True if a key that is not retired made it; compared in constant time. */
extern bool ma_signed(const MaSignedText *text, const uint8 *signature, int length);

/* ---- token.c ---- */

/* The last part of {{ confirm_url }}: confirms all the contact has pending. */
extern char *ma_confirm_token(int64 contact_id);
/* ... of {{ preferences_url }}: shows and changes what he gets. */
extern char *ma_preferences_token(int64 contact_id);
/*
 * True for such a token and for an unsubscribe token, which opens the preferences as well;
 * false if who it was for has been erased.
 */
extern bool ma_preferences_token_valid(const char *token);
/* ... of {{ unsubscribe_url }}: for this topic and channel. */
extern char *ma_unsubscribe_token(int64 contact_id, int32 topic_id, const char *channel);
/*
 * What an unsubscribe token takes back; NULL if it is not ours, or there is nothing to take back
 * (any more).
 */
extern MaTopic *ma_unsubscribe_token_topic(const char *token, const char **channel);
/* False for what is not a token of a confirm_url of ours, or of somebody who was erased. */
extern bool ma_confirm_token_valid(const char *token);

/* ---- cap.c: how many messages a contact gets within a period ---- */

typedef enum MaCapPeriod
{
	MA_CAP_ROLLING,
	MA_CAP_DAY,
	MA_CAP_WEEK,
	MA_CAP_MONTH
} MaCapPeriod;

typedef enum MaCapWhen
{
	MA_CAP_SKIP,				/* who is over it is skipped */
	MA_CAP_DEFER,				/* waits until a place is free */
	MA_CAP_DISPLACE				/* likewise, but only the most important at_most of them */
} MaCapWhen;

typedef struct MaCap
{
	char	   *name;
	int			at_most;
	char	   *per;			/* "7 days", "week" */
	int64		window;			/* of a rolling one, in microseconds; else 0 */
	MaCapPeriod period;
	char	   *channel;		/* NULL: all */
	int32		topic_id;		/* 0: all but transactional */
	MaCapWhen	when;
} MaCap;

/* All (MaCap *), in order of their names; valid as ma_definitions() is. */
extern List *ma_caps(void);
/* True if the cap counts messages of the channel and topic. */
extern bool ma_cap_counts(const MaCap *cap, const char *channel, int32 topic_id);
/* The instant from which a message sent at `counted` counts no more. */
extern TimestampTz ma_cap_frees(const MaCap *cap, TimestampTz counted, const char *time_zone);
/* What was sent before this counts no more, wherever the contact lives. */
extern TimestampTz ma_cap_look_back(const MaCap *cap, TimestampTz now);
/* "cap "weekly": at most 2 in 7 days" */
extern char *ma_cap_text(const MaCap *cap);

/* ---- quiet.c: when nobody gets messages by a channel ---- */

/* True if any are set. */
extern bool ma_quiet_any(void);
/* True if it is within them for somebody of this zone: until when, and a reason. */
extern bool ma_quiet_until(const char *channel, TimestampTz now, const char *time_zone,
						   TimestampTz *until, char **reason);

/* ---- gate.c: what delivery asks ---- */

/*
 * SQL expressions of type text over aliases of the caller's: null when the message
 * may go, else the reason why not.  `m` has contact_id, topic_id and channel; `r` has
 * address_hash.  Evaluated under the caller's snapshot.
 */
extern const char *const ma_consent_reason_sql;
extern const char *const ma_suppression_reason_sql;
/*
 * The same as things stood at the instant $1, by the ledger.  Of an address that was taken off
 * the list since, nothing is known.
 */
extern const char *const ma_consent_reason_then_sql;
extern const char *const ma_suppression_reason_then_sql;

/* Told when contacts become pending on a topic with `confirm`; delivery sends that template. */
typedef void (*MaConfirmationSender) (const char *template_name, int64 contact_id);
extern void ma_consent_set_confirmation_sender(MaConfirmationSender sender);

extern void ma_consent_init(void);

#endif							/* MA_CONSENT_H */
