/*
 * transport.h
 *		What delivery and a transport have in common, and how the second shared object
 *		(net/) reaches the main one.
 *
 * marketing_automation_net.so links what must not be loaded into every backend, and
 * the main object exports nothing to it: at load it leaves a pointer to MaDeliveryApi
 * in a rendezvous variable, whose name holds the version, so that two objects of
 * different versions never meet.
 */
#ifndef MA_DELIVERY_TRANSPORT_H
#define MA_DELIVERY_TRANSPORT_H

#include "delivery/delivery.h"

#include "utils/memutils.h"

/* ---- servers ---- */

typedef enum MaServerKind
{
	MA_SERVER_SMTP,				/* wrapper marketing_smtp */
	MA_SERVER_HTTP,				/* marketing_http */
	MA_SERVER_OUTSIDE			/* marketing_outside: programs that claim messages themselves */
} MaServerKind;

typedef enum MaTls
{
	MA_TLS_NONE,
	MA_TLS_START,				/* STARTTLS, and nothing without it */
	MA_TLS_FROM_START
} MaTls;

typedef enum MaAuth
{
	MA_AUTH_NONE,
	MA_AUTH_BASIC,				/* user and secret */
	MA_AUTH_BEARER,				/* Authorization: Bearer secret */
	MA_AUTH_HEADER,				/* auth_header: secret */
	MA_AUTH_AWS,				/* Signature Version 4; user is the key's id */
	MA_AUTH_SIGNED				/* webhook-id, webhook-timestamp, webhook-signature */
} MaAuth;

typedef enum MaInDoubt
{
	MA_IN_DOUBT_BY_TOPIC,		/* transactional messages are sent again, others held */
	MA_IN_DOUBT_HOLD,
	MA_IN_DOUBT_RESEND
} MaInDoubt;

/* count in so many seconds; count 0: no limit */
typedef struct MaRate
{
	int			count;
	int			seconds;
} MaRate;

/*
 * What CREATE SERVER and CREATE USER MAPPING say, in a context of its own that lives
 * as long as somebody holds it; texts may be NULL.
 */
typedef struct MaServerOptions
{
	MemoryContext context;
	int			holders;
	uint64		version;		/* another one whenever an option has changed */
	MaServerKind kind;
	char	   *name;
	/* both */
	char	   *user;
	char	   *password;		/* inline */
	char	   *password_file;	/* in the directory of credentials */
	char	   *ca_file;		/* likewise */
	int			connect_timeout;	/* seconds */
	int			timeout;
	int			max_connections;
	MaRate		rate;
	MaRate		domain_rate;
	int			warm_up;		/* messages of the first day; 0: no warm-up */
	char	   *warm_up_from;	/* that day */
	MaInDoubt	in_doubt;
	MaHookSigner hook_signed_by;
	char	   *hook_key_file;
	char	   *hook_topic;
	/* SMTP */
	char	   *host;
	int			port;
	MaTls		tls;
	char	   *helo;
	char	   *return_path;
	bool		verp;
	int			messages_per_connection;
	/* HTTP; the first four are templates, with what a preset gives */
	char	   *url;
	char	   *headers;
	char	   *body;
	char	   *response;
	char	   *method;
	char	   *content_type;
	MaAuth		auth;
	char	   *auth_header;
	char	   *preset;
	char	   *account;
	char	   *region;
	bool		allow_private;
	bool		allow_http;
	void	   *compiled[4];	/* of the four templates, see request.c */
	char	   *rendered_url;	/* of `url`; NULL: not yet */
} MaServerOptions;

static inline void
ma_options_hold(MaServerOptions *options)
{
	options->holders++;
}

static inline void
ma_options_release(MaServerOptions *options)
{
	if (options != NULL && --options->holders == 0)
		MemoryContextDelete(options->context);
}

/* ---- messages ---- */

typedef enum MaOutcome
{
	MA_OUTCOME_NONE,			/* not tried: certainly not sent */
	MA_OUTCOME_SENT,
	MA_OUTCOME_RETRY,			/* certainly not sent, may be tried again */
	MA_OUTCOME_FAILED,			/* certainly not sent, never will be */
	MA_OUTCOME_SERVER,			/* certainly not sent, by the server's fault, not its own */
	MA_OUTCOME_UNKNOWN			/* nobody knows: suspect */
} MaOutcome;

/* One message as a transport gets it; nothing in it belongs to a transaction. */
typedef struct MaOutgoing
{
	int64		message_id;
	const char *key;			/* the same for each sending of it, of no other message */
	const char *channel;
	const char *server;			/* NULL: the spool */
	MaServerOptions *options;	/* of the server; NULL with it */
	const char *from_address;
	const char *to_address;		/* may be NULL */
	const char *content;		/* the whole mail, JSON, or the body of a request */
	Size		length;
	const char *url;			/* of a request: as its templates gave them */
	const char *headers;		/* lines "Name: value" */
	MemoryContext context;		/* for what the transport sets; lives until it is settled */
	/* set by the transport, in that context */
	MaOutcome	outcome;
	char	   *answer;			/* path, the server's answer, or the error */
	int			status;			/* of an HTTP answer; 0: there was none */
	char	   *body;			/* of it, as much as was read; ends with NUL besides */
	Size		body_length;
	char	   *answer_headers;	/* with its first line */
	bool		finished;		/* set by who has finished it: ma_message_finished() */
} MaOutgoing;

typedef struct MaTransport
{
	int			kind;			/* MaServerKind of the servers it serves; -1: the spool */

	/*
	 * Sends the messages, with no transaction open: no SQL, no catalog, no ERROR.
	 * Those it does not come to before the process is to end keep MA_OUTCOME_NONE.
	 */
	void		(*send) (MaOutgoing **messages, int n);

	/*
	 * Or instead: takes one that is under way until its `finished` is called, which may
	 * be at once; what has to be done meanwhile is run() of the network.
	 */
	void		(*begin) (MaOutgoing *message);
} MaTransport;

/* What is under way on sockets, of all transports of the second object. */
typedef struct MaNetwork
{
	int			(*file) (void); /* becomes readable when there is something to do */
	long		(*timeout) (void);	/* milliseconds until run() is due anyway; -1: never */
	void		(*run) (void);
	void		(*end) (bool now);	/* the process is to end: what is not in doubt is given back */
} MaNetwork;

typedef struct MaDeliveryApi
{
	void		(*run) (void);	/* main loop of the delivery worker */
	void		(*add_transport) (const MaTransport *transport);
	void		(*set_network) (const MaNetwork *network);
	void		(*begun) (MaOutgoing *message); /* from now on a crash may be its fault */
	void		(*handed) (MaOutgoing *message);	/* before what completes it is given away */
	void		(*finished) (MaOutgoing *message);
	char	   *(*read_credential) (const char *name, bool is_secret, Size most, Size *length,
									const char **error);
} MaDeliveryApi;

#define MA_DELIVERY_RENDEZVOUS "marketing_automation delivery " MA_VERSION

#endif							/* MA_DELIVERY_TRANSPORT_H */
