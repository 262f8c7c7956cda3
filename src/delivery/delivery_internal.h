/*
 * delivery_internal.h
 *		What the files of delivery/ share among themselves.
 */
#ifndef MA_DELIVERY_INTERNAL_H
#define MA_DELIVERY_INTERNAL_H

#include "consent/consent.h"
#include "contacts/contacts.h"
#include "content/content.h"
#include "delivery/delivery.h"
#include "delivery/transport.h"

/* ---- sender.c: who messages come from ---- */

/* One of the servers a sender's messages leave through. */
typedef struct MaRoute
{
	char	   *server;
	int			weight;			/* 0: only when no other one can be used */
} MaRoute;

typedef struct MaSender
{
	int32		sender_id;		/* 0: the built-in one; the lane of its messages */
	char	   *name;			/* NULL: the built-in one */
	char	   *channel;
	int			nroutes;		/* 0: the spool */
	MaRoute    *routes;
	char	   *from_address;
	char	   *from_name;		/* these two may be NULL */
	char	   *reply_to;
} MaSender;

/* The sender of this name, NULL: the channel's first one, else the built-in one. */
extern MaSender *ma_sender_for(const char *channel, const char *name);

/* All of them, in the order of definition. */
extern MaSender *ma_senders(int *n);

/* Errors out (MA042) unless there is a sender of this name for the channel. */
extern void ma_sender_check(const char *name, const char *channel);

/* ---- options.c, presets.c: servers as they are defined ---- */

/* MaServerKind of a foreign-data wrapper; -1: none of ours. */
extern int	ma_server_kind(Oid wrapper);
/* What the server of this name says, in a context of its own below the current one; or NULL. */
extern MaServerOptions *ma_server_options(const char *name);
/* Another number whenever it says something else; 0: there is none. */
extern uint64 ma_server_version(const char *name);
/* Errors out unless url, preset and what they need fit together. */
extern void ma_preset_check(const MaServerOptions *given);
/* Name of an option without which a request cannot be made; NULL: none. */
extern const char *ma_preset_missing(const MaServerOptions *options);
/* Sets what is not given as the preset has it. */
extern void ma_preset_fill(MaServerOptions *options);

/* ---- credentials.c ---- */

/*
 * A file of marketing_automation.credentials_directory, in the current context with a NUL
 * behind it; NULL and an English reason: it cannot be had.  What is secret must be readable
 * by the server's user alone.
 */
extern char *ma_credential_read(const char *name, bool is_secret, Size most, Size *length,
								const char **error);

/* ---- hook_keys.c ---- */

extern bool ma_hook_key_is_secret(MaHookSigner signer);

/* ---- one message on its way through the gate ---- */

typedef struct MaServer MaServer;	/* see lanes.c */

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
	char	   *journey;		/* NULL: it is no journey's */
	bool		has_template;
	char	   *address;		/* NULL: the contact has none */
	Datum		address_hash;	/* 0 with it */
	uint64		lock_key;
	int32		lane;
	const MaSender *sender;
	MaServer   *server;			/* NULL: the spool */
	const char *server_name;
	MaServerOptions *options;
	int			crashes;		/* of the server in the midst of it, see settle.c */
	bool		waiting;		/* something of the contact has not been evaluated yet */
	int64		test_for;		/* to somebody else: the contact it is about; else 0 */

	/* claimed */
	bool		claimed;
	Datum		entry;			/* jsonb; 0: none */
	Datum		data;
	int			attempts;
	int32		version;

	/* composed, for the transport */
	bool		redirected;		/* to somebody of the shop's own */
	MaOutgoing	outgoing;

	/* settled: what it becomes */
	MaMessageState becomes;
	const char *gate;
	char	   *reason;
	char	   *detail;
	int64		pause;			/* of deferred: seconds to the next try; 0: a minute */
	TimestampTz next_try;		/* of deferred, if it is known; 0: after the pause */
	bool		untried;		/* this claim was no attempt */
	bool		crashed;		/* ... and the server crashed in the midst of it */

	/* while it is under way, see send.c */
	void	   *claimed_with;
	bool		judged;
	bool		suspected;		/* it failed by a server that works for others */
	bool		settling;
} MaMessage;

/* To somebody else than the contact it is about: to his owner for a journey, or as a test. */
static inline bool
ma_message_is_to_owner(const MaMessage *message)
{
	return message->test_for != 0 && message->enrollment_id != 0;
}

static inline bool
ma_message_is_test(const MaMessage *message)
{
	return message->test_for != 0 && message->enrollment_id == 0;
}

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
/* The transaction of the claim has told of other messages: the second look must read. */
extern void ma_gate_look_again(void);

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

/* ---- history.c: decisions, and messages that have ended ---- */

/* What the log has of a message's own row m, and where it stands there. */
#define MA_HISTORY_COLUMNS \
	"m.channel, m.topic_id, m.template_id, m.template, m.journey, m.step, m.enrollment_id, " \
	"m.address, m.server, m.attempts, m.created_at, m.test_for"
#define MA_HISTORY_PLACES 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18

extern void ma_history_claimed(MaMessage **messages, int n);
extern void ma_history_ended(MaMessage **messages, int n, const MaRows *rows, const int *row);

/* ---- journal.c: how far messages had come, for who takes over from a process that died ---- */

typedef enum MaPhase
{
	MA_PHASE_UNKNOWN,
	MA_PHASE_CLAIMED,			/* certainly not sent, and nobody has begun with it */
	MA_PHASE_BEGUN,				/* certainly not sent, but a crash may be its fault */
	MA_PHASE_HANDED,			/* it may have been sent */
	MA_PHASE_SENT
} MaPhase;

extern void ma_journal_open(void);
/* Who delivers ends; if something is under way, somebody will ask for it. */
extern void ma_journal_rest(bool under_way);
extern bool ma_journal_is_open(void);
/* Before the commit of its claim, whose time is its `since`. */
extern void ma_journal_claimed(int64 message_id, TimestampTz claimed_at);
/* `answer` may be NULL. */
extern void ma_journal_set(int64 message_id, MaPhase phase, const char *answer);
/* *answer in the current context, or NULL. */
extern MaPhase ma_journal_find(int64 message_id, TimestampTz claimed_at, char **answer);
/* The message that is being composed; 0: none, MA_SEVERAL: something is done for several. */
#define MA_SEVERAL (-1)
extern void ma_journal_composing(int64 contact_id, int64 message_id);
/* The one that was when the process before died; false: none. */
extern bool ma_journal_composed(int64 *contact_id, int64 *message_id);
/* ... or that something was done for several: true from that question on until we rest. */
extern bool ma_journal_several(void);

/* ---- message_key.c ---- */

/* What tells a message from all others anywhere: hexadecimal, the same each time. */
extern char *ma_message_key(int64 message_id);
/* The message of a key, or of a Message-ID; 0: it is not ours. */
extern int64 ma_message_of_key(const char *text);

/* ---- compose.c: what a message says, as bytes ---- */

/*
 * Renders and builds claimed messages; what cannot be gets becomes and reason.  Returns
 * how many go back to `queued` since the batch has grown too large.
 */
extern int	ma_compose(MaMessage *messages, int n);

/* ---- settle.c ---- */

/* Ends messages, defers or requeues them, as their `becomes` says; tells of it. */
extern void ma_settle(MaMessage **messages, int n);

/*
 * The same one by one, after an error: a message that cannot be settled just now stays as it
 * is and holds up no other; returns how many were.
 */
extern int	ma_settle_each(MaMessage **messages, int n);

/* It may have been sent or not, by the fault of `what`: says what becomes of it. */
extern void ma_settle_doubt(MaMessage *message, const MaServerOptions *options, const char *what);

/*
 * What a process that has died left behind as `sending`, or was composing; returns how many
 * were settled: then in a transaction of its own, which no fault of the next claim takes back.
 */
extern int	ma_settle_abandoned(void);

/* Names of states, as they are stored. */
extern const char *ma_message_state_name(MaMessageState state);

/* The lanes and priorities there are, as p, by a few probes of the index. */
#define MA_PRIORITIES_SQL \
	"WITH RECURSIVE p (lane, priority) AS ((SELECT m.lane, m.priority " \
	"FROM marketing_internal.message AS m " \
	"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') " \
	"ORDER BY m.lane DESC, m.priority DESC LIMIT 1) UNION ALL " \
	"SELECT n.lane, n.priority FROM p CROSS JOIN LATERAL (SELECT m.lane, m.priority " \
	"FROM marketing_internal.message AS m " \
	"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') " \
	"AND ROW(m.lane, m.priority) OPERATOR(pg_catalog.<) ROW(p.lane, p.priority) " \
	"ORDER BY m.lane DESC, m.priority DESC LIMIT 1) AS n) "

/* ---- partitions.c ---- */

#define MA_MESSAGE_LOGS 3
extern const MaPartitioned ma_message_logs[MA_MESSAGE_LOGS];

extern void ma_delivery_partitions_ensure(void);
extern void ma_hits_partitions_ensure(void);
extern void ma_delivery_partitions_init(void);

/* ---- events.c ---- */

extern void ma_delivery_events_init(void);

/* ---- feedback.c ---- */

extern void ma_feedback_init(void);

/* ---- outbox.c ---- */

#define MA_PRIORITY_TRANSACTIONAL 100

extern void ma_outbox_init(void);
/* Wakes delivery when this transaction commits. */
extern void ma_message_wake(void);

/* ---- lanes.c: what each server can take ---- */

/* A claim begins: senders, servers and their limits are looked at anew. */
extern void ma_lanes_begin(void);
extern void ma_lanes_only(const char *server);
/* Messages of this lane that may be claimed now. */
extern int	ma_lane_room(int32 lane);
/*
 * Says which server each message goes through; those that can go through none now are
 * left out, those that have to wait for a time that is known go to `away`.  Returns
 * how many are left.
 */
extern int	ma_lanes_route(MaMessage *messages, int n, MaMessage **away, int *naway);
/* Milliseconds until a rate allows what it has held back; -1: nothing soon. */
extern long ma_lanes_pause(void);
extern bool ma_lanes_starved(void);
/* A message is under way through its server; it is settled. */
extern void ma_lane_started(MaMessage *message);
extern void ma_lane_leaving(const MaMessage *message);
extern void ma_lane_ended(MaMessage *message);
/* Some server could do with new ones. */
extern bool ma_lanes_have_room(void);
/* The server did its work; it did not, by a fault of its own. */
extern void ma_lane_worked(MaServer *server);
extern bool ma_lane_failed(MaServer *server, const char *reason);
/* Seconds until it is tried again. */
extern int64 ma_lane_rest(const MaServer *server);
/* The last claim left messages that only the delivery worker can send. */
extern bool ma_lanes_unserved(void);
extern bool ma_server_resting(TimestampTz open_until, TimestampTz now);
extern void ma_lanes_store(void);
extern void ma_lanes_stored(void);

/* ---- status.c ---- */

/*
 * State of a server for marketing.status ("ok", "warning", "error"), a word for it, and what
 * is wrong, NULL: nothing; in the current context.
 */
extern const char *ma_server_condition(const char *name, const char **word, char **detail);
/* What its rate is, in words; NULL: it has none. */
extern char *ma_server_rate(const char *name);

/* ---- shop_settings.c: configure('redirect_to', ...) ---- */

/* True if it is set; *address is who gets messages of the channel then, or NULL: nobody. */
extern bool ma_redirect(const char *channel, char **address);

/* ---- deliver.c ---- */

/* The commit of this transaction, which claims messages, waits for its record to be on disk. */
extern void ma_delivery_durable(void);

/* ---- claims.c: programs that send messages themselves ---- */

/* Leases that have ended; in a transaction of a worker. */
extern void ma_claims_look(void);
extern void ma_claims_notify(void);

/* ---- send.c: messages outside of the database ---- */

extern void ma_transport_add(const MaTransport *transport);
extern void ma_network_set(const MaNetwork *what);
/* Sends the messages or has them under way; the context they are in is send.c's from now on. */
extern void ma_send(MemoryContext context, MaMessage *messages, int n);
/* A transport begins with it: if the server crashes now, it may be by this message. */
extern void ma_message_begun(MaOutgoing *message);
/* From here on it may have been sent, until it is finished. */
extern void ma_message_handed(MaOutgoing *message);
extern void ma_message_finished(MaOutgoing *message);
/* It is to be tried again: when, or that it has been often enough. */
extern void ma_send_retry(MaMessage *message);
/* Some are under way, or finished and not settled. */
extern bool ma_send_busy(void);
extern int	ma_send_finished(MaMessage ***messages);
extern void ma_send_settled(void);
extern void ma_send_not_settled(void);
extern bool ma_send_stuck(void);

/* ---- request.c: HTTP requests and answers by the templates of a server ---- */

/*
 * Sets url, headers and content of a message that goes through an HTTP server; `unsubscribe`
 * is NULL where there is nothing to unsubscribe from.
 */
extern void ma_request_build(MaMessage *message, const MaRendered *rendered,
							 MaRenderVariable *unsubscribe);
/* Sets outcome and answer by what the server's option `response` makes of it. */
extern void ma_response_read(MaMessage *message);

/* Does this process have a transport for servers of this kind? */
extern bool ma_transport_serves(int kind);

/* ---- spool.c: the built-in transport ---- */

extern const MaTransport ma_spool;

/*
 * True if the message's file is there; *path in the current context.  Half a file of
 * it is removed: called for messages whose process died.
 */
extern bool ma_spool_has(int64 message_id, const char *key, const char *channel, char **path);

/* ---- what delivery/ registers ---- */

extern void ma_compose_init(void);
extern void ma_track_init(void);
extern void ma_deliver_init(void);
extern void ma_net_api_init(void);

/* ---- shop_settings.c ---- */

#define MA_TRACK_LINKS "track_links"
#define MA_TRACK_OPENS "track_opens"

extern void ma_shop_settings_init(void);
/* One of the switches above. */
extern bool ma_setting_on(const char *setting);

extern void ma_why_gates_init(void);
extern void ma_gate_init(void);

#endif							/* MA_DELIVERY_INTERNAL_H */
