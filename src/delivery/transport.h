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

#include "base/base.h"

typedef enum MaOutcome
{
	MA_OUTCOME_NONE,			/* not tried: certainly not sent */
	MA_OUTCOME_SENT,
	MA_OUTCOME_RETRY,			/* certainly not sent, may be tried again */
	MA_OUTCOME_FAILED,			/* certainly not sent, never will be */
	MA_OUTCOME_UNKNOWN			/* nobody knows: suspect */
} MaOutcome;

/* One message as a transport gets it; nothing in it belongs to a transaction. */
typedef struct MaOutgoing
{
	int64		message_id;
	const char *key;			/* the same for each sending of it, of no other message */
	const char *channel;
	const char *server;			/* NULL: the spool */
	const char *from_address;
	const char *to_address;		/* may be NULL */
	const char *content;		/* the whole mail, or JSON */
	Size		length;
	/* set by the transport, in the current context */
	MaOutcome	outcome;
	char	   *answer;			/* path, the server's answer, or the error */
} MaOutgoing;

typedef struct MaTransport
{
	const char *wrapper;		/* foreign-data wrapper of the servers it serves; NULL: spool */

	/*
	 * Sends the messages, with no transaction open: no SQL, no catalog, no ERROR.
	 * Those it does not come to before the process is to end keep MA_OUTCOME_NONE.
	 */
	void		(*send) (MaOutgoing **messages, int n);
} MaTransport;

typedef struct MaDeliveryApi
{
	void		(*run) (void);	/* main loop of the delivery worker */
	void		(*add_transport) (const MaTransport *transport);
} MaDeliveryApi;

#define MA_DELIVERY_RENDEZVOUS "marketing_automation delivery " MA_VERSION

#endif							/* MA_DELIVERY_TRANSPORT_H */
