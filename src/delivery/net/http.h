/*
 * http.h
 *		Inside net/: what the files about HTTP share.
 */
#ifndef MA_DELIVERY_NET_HTTP_H
#define MA_DELIVERY_NET_HTTP_H

#include "delivery/net/net.h"

#include <sys/socket.h>

#define HTTP_ANSWER 65536		/* octets of an answer that are read */
#define HTTP_HEADERS 8192		/* likewise of its headers */
#define HTTP_SIGN_HEADERS 4

typedef struct HttpHeader
{
	const char *name;
	const char *value;
} HttpHeader;

/* ---- address.c ---- */

/* True if the address is one of the public Internet. */
extern bool http_address_public(const struct sockaddr *address);

/* ---- sign.c: headers that prove who sends a request; 0: it cannot be signed ---- */

extern int	http_sign_webhook(const MaOutgoing *message, const char *secret, HttpHeader *headers);
extern int	http_sign_aws(const MaOutgoing *message, const char *secret, HttpHeader *headers);

#endif							/* MA_DELIVERY_NET_HTTP_H */
