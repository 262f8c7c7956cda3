/*
 * smtp.h
 *		Inside net/: what the files about SMTP share.
 */
#ifndef MA_DELIVERY_NET_SMTP_H
#define MA_DELIVERY_NET_SMTP_H

#include "delivery/net/net.h"

#define SMTP_MAX_CONNECTIONS 100
#define SMTP_LINE 2048			/* of a reply; RFC 5321 allows 512 */
#define SMTP_MAX_LINES 200
#define SMTP_MAX_LINE 65536		/* a longer one never ends */

/* Where a dialogue stands: what the next reply answers. */
typedef enum SmtpStage
{
	SMTP_CONNECT,				/* up to EHLO, STARTTLS, AUTH: libcurl's part */
	SMTP_IDLE,
	SMTP_RSET,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_DOT
} SmtpStage;

typedef struct SmtpPool SmtpPool;

typedef struct SmtpConnection
{
	NetWatch	watch;			/* first: it is what an event gives */
	NetTransfer transfer;
	SmtpPool   *pool;
	CURL	   *easy;
	bool		watched;
	SmtpStage	stage;
	int64		deadline;		/* of the stage */
	int			carried;		/* messages so far */
	bool		retire;			/* close it after this message */

	/* what the server says of itself at EHLO */
	bool		pipelining;
	bool		smtputf8;
	bool		size;

	/* libcurl's part: the last line, and how much there was */
	char		line[SMTP_LINE];
	int			line_length;
	int			lines;
	char		error[CURL_ERROR_SIZE];

	/* a reply of which the end is not there yet */
	char		reply[NET_ANSWER];
	int			reply_length;
	bool		line_begun;
	Size		line_octets;	/* with those that were passed over */

	/* the message */
	MaOutgoing *message;
	char	   *out;			/* to be written, in the message's memory */
	Size		out_length;
	Size		out_done;
	char	   *body;			/* dots doubled; behind it, the one that ends it */
	Size		body_length;
	bool		body_done;		/* all of it is written */
	bool		dot_begun;		/* from here on it may have been sent, whatever is heard */
	bool		empty;			/* nobody is to get it: only the dot follows */
	MaOutcome	outcome;		/* what the first refusal says; NONE: there was none */
	char		answer[NET_ANSWER + 64];
	bool		need_reset;		/* the next message begins with RSET */
} SmtpConnection;

struct SmtpPool
{
	SmtpPool   *next;			/* in the list of all */
	MaServerOptions *options;
	SmtpConnection *connections[SMTP_MAX_CONNECTIONS];
	int			n;
	int			limit;			/* so many the server has let in, see limited_until */
	int64		limited_until;
	MaOutgoing **queue;			/* a ring */
	int			queue_size;
	int			queue_first;
	int			queued;
};

/* ---- smtp.c: pools and connections ---- */

extern void smtp_close(SmtpConnection *connection, bool politely);
extern void smtp_dispatch(SmtpPool *pool);
extern void smtp_requeue(SmtpPool *pool, MaOutgoing *message);

/* ---- smtp_dialogue.c: a message over a connection ---- */

extern void smtp_start(SmtpConnection *connection, MaOutgoing *message);
extern void smtp_ready(NetWatch *watch, bool readable, bool writable);
/* The connection is lost or too slow; `what` says which. */
extern void smtp_lost(SmtpConnection *connection, const char *what);

/* ---- smtp_reply.c: what a reply means ---- */

/* True if the dialogue goes on; else *outcome. */
extern bool smtp_judge(SmtpStage stage, int code, MaOutcome *outcome);
extern const char *smtp_stage_name(SmtpStage stage);

#endif							/* MA_DELIVERY_NET_SMTP_H */
