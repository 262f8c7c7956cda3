/*
 * delivery.h
 *		The one public header of delivery/ (layer 3): messages from the moment they
 *		are asked for to their settling, the gate, and why a message was not sent.
 *
 * A message lives in marketing_internal.message as queued, sending, deferred or
 * suspect, and ends in marketing_internal.message_log as sent, failed, skipped or
 * expired; every decision about it stands in message_decision with its reason.
 */
#ifndef MA_DELIVERY_H
#define MA_DELIVERY_H

#include "base/base.h"

/* ---- outbox.c: asking for messages ---- */

typedef struct MaMessageRequest
{
	int64		contact_id;
	int32		template_id;
	int64		enrollment_id;	/* 0: none */
	const char *journey;		/* names for reports and events; may be NULL */
	const char *step;
	Datum		entry;			/* jsonb: {{ entry.x }} of the template; 0: none */
	Datum		data;			/* jsonb: further names of the template; 0: none */
	const char *dedup_key;		/* once per contact and key; NULL: always */
	TimestampTz not_before;		/* DT_NOBEGIN: at once */
	TimestampTz not_after;		/* DT_NOEND: whenever; later it is `expired` */
	int			priority;		/* higher goes first; MA_PRIORITY_DEFAULT: by topic */
} MaMessageRequest;

#define MA_PRIORITY_DEFAULT PG_INT32_MIN

/*
 * Inserts the messages, one statement for the batch, and wakes delivery at the
 * commit.  Sets message_ids[i]; 0 where the dedup_key was used before.  Inside
 * ma_call_begin() (or a worker's tick); takes no locks on contacts.
 */
extern void ma_message_enqueue(const MaMessageRequest *requests, int n, int64 *message_ids);

/*
 * One message about the contact to somebody else, at this address (normalised): it is nobody's,
 * asks for no consent and counts nowhere.  With an enrollment it is a mail to the contact's
 * owner, which the run is told of when it is settled; without one a test, which says so.
 * Returns its number.
 */
extern int64 ma_message_to(const MaMessageRequest *request, const char *address);

/*
 * Settles messages that are not claimed yet (queued, deferred) as skipped, for
 * example when their run has exited; claimed ones go on.  Returns how many.
 */
extern int	ma_messages_skip(const int64 *contact_ids, const int64 *message_ids, int n,
							 const char *reason);

/*
 * Tries at once what the gate has deferred with this reason, of the journey (its name): it
 * has fallen away, and waiting for the next try would be for nothing.
 */
extern void ma_messages_wake(const char *journey, const char *reason);

/* ---- gate.c: may this message go now ---- */

typedef enum MaGateAction
{
	MA_GATE_SKIP,				/* it never goes: settled as skipped with the reason */
	MA_GATE_LEAVE,				/* not now: it stays as it is and is asked for again */
	MA_GATE_DEFER,				/* not now: shown as deferred with the reason */
	MA_GATE_EXPIRE				/* never: settled as expired */
} MaGateAction;

/*
 * One condition of the gate, in the order of registration.  `reason` is SQL of
 * type text: null when the message may go, else why not.  Aliases: m, the message
 * (marketing_internal.message); r, its recipient (address, address_hash, server, waiting);
 * $1, now.  It must not name state or next_at: the second look asks claimed ones.
 * It is part of the claim statement and of the check before the network, both under
 * a new snapshot, so it must be cheap for one message: lookups by key, guarded
 * (e.g. CASE WHEN m.enrollment_id IS NOT NULL THEN ... END).
 */
typedef struct MaGateCheck
{
	const char *name;			/* "consent"; stands in message_decision.gate */
	MaGateAction action;
	const char *reason;
	bool		tests;			/* asked of messages to somebody else, too */
} MaGateCheck;

extern void ma_register_gate_check(const MaGateCheck *check);

/* ---- limits.c: quiet hours of journeys ---- */

/*
 * Quiet hours that a journey has of its own replace the channel's.  `find` returns false
 * if the journey (by name) has none, else sets *until when they end, 0 outside of them.
 */
typedef struct MaOwnQuietHours
{
	bool		(*any) (void);
	bool		(*find) (const char *journey, TimestampTz now, const char *time_zone,
						 TimestampTz *until, char **reason);
} MaOwnQuietHours;

extern void ma_register_own_quiet_hours(const MaOwnQuietHours *hours);

/* ---- settle.c: what became of messages ---- */

typedef enum MaMessageState
{
	MA_MESSAGE_QUEUED,
	MA_MESSAGE_SENDING,
	MA_MESSAGE_DEFERRED,
	MA_MESSAGE_SUSPECT,
	MA_MESSAGE_SENT,
	MA_MESSAGE_FAILED,
	MA_MESSAGE_SKIPPED,
	MA_MESSAGE_EXPIRED
} MaMessageState;

typedef struct MaSettled
{
	int64		message_id;
	int64		contact_id;		/* 0: it was to somebody else */
	int64		about;			/* the contact it is about */
	int32		template_id;
	int64		enrollment_id;	/* 0: none */
	const char *step;			/* may be NULL */
	const char *channel;
	MaMessageState state;		/* an end, or suspect, which for the flow counts as sent */
	const char *reason;			/* NULL for sent */
	TimestampTz at;
} MaSettled;

/*
 * Told in the transaction that settles, once for its whole batch, as our owner
 * inside ma_call_begin(); journeys insert signals there.  A message is told at most
 * twice: as suspect, and when that is resolved.
 */
typedef void (*MaSettleListener) (const MaSettled *messages, int n);
extern void ma_register_settle_listener(MaSettleListener listener);

/* ---- gate/foresee.c: what would become of a message, without one ---- */

/* What is known of one contact, and what was foreseen for him as sent; in the current context. */
typedef struct MaForesight MaForesight;

typedef struct MaForeseen
{
	const char *template;		/* its name */
	TimestampTz not_after;		/* DT_NOEND: whenever */
	bool		own_quiet;		/* its journey has quiet hours of its own: */
	TimestampTz quiet_until;	/* they end then; 0: it is none of them */
	char	   *quiet_reason;

	/* answered: sent, skipped, expired, or deferred to next_try */
	MaMessageState state;
	const char *gate;			/* NULL for sent */
	char	   *reason;
	TimestampTz next_try;
} MaForeseen;

/*
 * Messages that the journey of this name (NULL: none) has sent in truth do not count.
 * Inside ma_call_begin(); writes nothing.
 */
extern MaForesight *ma_foresight(int64 contact_id, const char *time_zone, const char *journey,
								 TimestampTz since);
/* As of an instant, by the ledger of consent and under the caps of now; instants ascend. */
extern void ma_foresee(MaForesight *foresight, MaForeseen *message, TimestampTz at);

/* ---- why.c: why_not_sent(contact, what, at) ---- */

typedef enum MaWhyVerdict
{
	MA_WHY_OK,
	MA_WHY_NO,
	MA_WHY_WAITING,
	MA_WHY_NOT_REACHED,
	MA_WHY_SKIP					/* this gate has nothing to do with the question: no row */
} MaWhyVerdict;

/* What is asked; all names are checked. */
typedef struct MaWhyQuestion
{
	int64		contact_id;
	const char *contact;		/* as it was given */
	const char *what;
	TimestampTz at;				/* what holds at this instant; ma_now() unless given */
	int32		template_id;	/* 0: `what` is no template, and no message is known */
	bool		template_asked; /* `what` is a template */
	const char *journey;		/* `what` if it is a journey, else that of the message */
	const char *broadcast;		/* `what` if it is one; its journey has the same name */
	const char *step;
	int64		enrollment_id;	/* of the message; 0: none */
	int64		message_id;		/* latest message up to `at`; 0: there was none */
} MaWhyQuestion;

typedef struct MaWhyAnswer
{
	MaWhyVerdict verdict;
	TimestampTz since;			/* DT_NOBEGIN: not known */
	char	   *detail;			/* in the current context, as what follows */
	char	   *next;			/* what can be done, or what happens next */
	char	   *sentence;		/* for row 0 when this gate is the answer; NULL: from detail */
} MaWhyAnswer;

/* Gate n of DESIGN §10; asked in the order of n, up to the first that is not ok. */
typedef struct MaWhyGate
{
	int			n;
	const char *gate;
	void		(*answer) (const MaWhyQuestion *question, MaWhyAnswer *answer);
} MaWhyGate;

extern void ma_register_why_gate(const MaWhyGate *gate);

/*
 * Journeys and broadcasts: `recognise` says whether the name is one of theirs and
 * fills what it knows; `names` gives all (char *), for hints.
 */
typedef struct MaWhySubject
{
	const char *kind;			/* "journey" */
	bool		(*recognise) (const char *name, MaWhyQuestion *question);
	List	   *(*names) (void);
	/* The step in whose place that of the question's message was done, or NULL; may be NULL. */
	const char *(*cause) (const MaWhyQuestion *question);
} MaWhySubject;

extern void ma_register_why_subject(const MaWhySubject *subject);

extern void ma_delivery_init(void);

/* ---- shop_settings.c ---- */

/* Where links lead, without a slash at the end; in the current context. */
extern char *ma_public_url(void);

/* ---- hits.c ---- */

/* True if record_open() or record_click() take it: it is ours, and leads somewhere. */
extern bool ma_open_token_valid(const char *token);
extern bool ma_click_token_valid(const char *token);

/* ---- hook_keys.c ---- */

/* Whose signature what is told to the server's hook must bear. */
typedef enum MaHookSigner
{
	MA_HOOK_NOBODY,
	MA_HOOK_SENDGRID,
	MA_HOOK_SNS,
	MA_HOOK_MAILGUN,
	MA_HOOK_WEBHOOK				/* the one that our own webhooks bear */
} MaHookSigner;

typedef struct MaHookKey
{
	MaHookSigner signer;		/* nobody: whoever knows the hook's address is believed */
	char	   *text;			/* of the key's file, without blanks at its end */
	Size		length;
	char	   *topic;			/* of Amazon SNS */
} MaHookKey;

/* What the options of the foreign server say, if there is one of this name. */
extern MaHookKey ma_hook_key(const char *server);
/* Notes a token made in that second (since 1970); false if it was used since `oldest`. */
extern bool ma_hook_token_use(const char *server, const char *token, int64 second, int64 oldest);

#endif							/* MA_DELIVERY_H */
