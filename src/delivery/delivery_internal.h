/*
 * delivery_internal.h
 *		What the files of delivery/ share among themselves.
 */
#ifndef MA_DELIVERY_INTERNAL_H
#define MA_DELIVERY_INTERNAL_H

#include "consent/consent.h"
#include "contacts/contacts.h"
#include "delivery/delivery.h"
#include "delivery/transport.h"

/* ---- sender.c: who messages come from ---- */

typedef struct MaSender
{
	char	   *name;			/* NULL: the built-in one */
	char	   *server;			/* NULL: the spool */
	char	   *from_address;
	char	   *from_name;		/* these two may be NULL */
	char	   *reply_to;
} MaSender;

/* The sender of this name, NULL: the channel's first one, else the built-in one. */
extern MaSender *ma_sender_for(const char *channel, const char *name);

/* Errors out (MA042) unless there is a sender of this name for the channel. */
extern void ma_sender_check(const char *name, const char *channel);

/* ---- one message on its way through the gate ---- */

typedef struct MaMessage
{
	/* chosen */
	int64		message_id;
	int64		contact_id;
	int32		template_id;
	int32		topic_id;
	char	   *channel;
	char	   *template_name;
	int64		enrollment_id;
	TimestampTz next_at;
	TimestampTz not_after;		/* DT_NOEND: none */
	int32		priority;
	char	   *time_zone;		/* the contact's; NULL: not known */
	bool		has_template;
	char	   *address;		/* NULL: the contact has none */
	Datum		address_hash;	/* 0 with it */
	uint64		lock_key;
	const MaSender *sender;
	bool		waiting;		/* something of the contact has not been evaluated yet */

	/* claimed */
	bool		claimed;
	Datum		entry;			/* jsonb; 0: none */
	Datum		data;
	int			attempts;
	int32		version;

	/* composed, for the transport */
	MaOutgoing	outgoing;

	/* settled: what it becomes */
	MaMessageState becomes;
	const char *gate;
	char	   *reason;
	char	   *detail;
	int64		pause;			/* of deferred: seconds to the next try; 0: a minute */
	TimestampTz next_try;		/* of deferred, if it is known; 0: after the pause */
} MaMessage;

/* ---- gate.c ---- */

/*
 * Chooses up to `limit` due messages, locks their recipients, and claims those that
 * may go; settles or defers those that may not.  Returns the claimed ones in the
 * current context.  *more: others are due.  In a transaction of its own; see the
 * file's head.
 */
extern MaMessage *ma_gate_claim(int limit, int *n, bool *more);

/*
 * The second look, in a transaction after the claim's commit: what may not go any
 * more goes back to `queued` and out of the array; returns how many are left.
 */
extern int	ma_gate_recheck(MaMessage *messages, int n);

/* The next choice begins with what is most urgent again. */
extern void ma_gate_restart(void);
/* After a commit, or an error of one alone: those chosen last are passed over until then. */
extern void ma_gate_pass_over(void);
/* The next choice goes on where the last one stood, not at what is most urgent. */
extern void ma_gate_resume(void);

/* Verdict of the gate on a live message now, for why_not_sent(): NULL if it may go. */
typedef struct MaGateVerdict
{
	const char *gate;
	MaGateAction action;
	char	   *reason;
	TimestampTz next_try;		/* of MA_GATE_DEFER, if it is known; else 0 */
} MaGateVerdict;

extern MaGateVerdict *ma_gate_ask(int64 contact_id, int64 message_id);

/* SQL of the registered check of this name over m and r; NULL if there is none. */
extern const char *ma_gate_sql(const char *name);

/* ---- message_key.c ---- */

/* What tells a message from all others anywhere: hexadecimal, the same each time. */
extern char *ma_message_key(int64 message_id);
/* The message of a key, or of a Message-ID; 0: it is not ours. */
extern int64 ma_message_of_key(const char *text);

/* ---- compose.c: what a message says, as bytes ---- */

/* Renders and builds claimed messages; what cannot be gets becomes and reason. */
extern void ma_compose(MaMessage *messages, int n);

/* ---- settle.c ---- */

/* Ends messages, defers or requeues them, as their `becomes` says; tells of it. */
extern void ma_settle(MaMessage **messages, int n);

/* What a process that has died left behind as `sending`; in a transaction of its own. */
extern void ma_settle_abandoned(void);

/* Names of states, as they are stored. */
extern const char *ma_message_state_name(MaMessageState state);

/* The priorities there are, as p, by a few probes of the index. */
#define MA_PRIORITIES_SQL \
	"WITH RECURSIVE p (priority) AS ((SELECT m.priority FROM marketing_internal.message AS m " \
	"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') " \
	"ORDER BY m.priority DESC LIMIT 1) UNION ALL " \
	"SELECT (SELECT m.priority FROM marketing_internal.message AS m " \
	"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') " \
	"AND m.priority OPERATOR(pg_catalog.<) p.priority ORDER BY m.priority DESC LIMIT 1) " \
	"FROM p WHERE p.priority IS NOT NULL) "

/* ---- partitions.c ---- */

extern void ma_delivery_partitions_ensure(void);
extern void ma_delivery_partitions_init(void);

/* ---- events.c ---- */

extern void ma_delivery_events_init(void);

/* ---- feedback.c ---- */

extern void ma_feedback_init(void);

/* ---- outbox.c ---- */

extern void ma_outbox_init(void);
/* Wakes delivery when this transaction commits. */
extern void ma_message_wake(void);

/* ---- deliver.c ---- */

extern void ma_transport_add(const MaTransport *transport);

/* ---- spool.c: the built-in transport ---- */

extern const MaTransport ma_spool;

/*
 * True if the message's file is there; *path in the current context.  Half a file of
 * it is removed: called for messages whose process died.
 */
extern bool ma_spool_has(int64 message_id, const char *key, const char *channel, char **path);

/* ---- what delivery/ registers ---- */

extern void ma_deliver_init(void);
extern void ma_net_api_init(void);
extern void ma_why_gates_init(void);
extern void ma_gate_init(void);

#endif							/* MA_DELIVERY_INTERNAL_H */
