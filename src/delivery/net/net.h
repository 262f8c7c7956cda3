/*
 * net.h
 *		What the files of the delivery worker's own object share: one epoll file that
 *		the worker's wait watches, one multi handle of libcurl, and the secrets.
 *
 * libcurl is called with all signals blocked, since its threads inherit the mask and a
 * signal that one of them gets does not wake the worker; its callbacks neither allocate
 * server memory nor raise errors.
 */
#ifndef MA_DELIVERY_NET_H
#define MA_DELIVERY_NET_H

#include "delivery/transport.h"

#include <curl/curl.h>
#include <signal.h>

#define NET_SECRET 4096			/* octets of a password or key */
#define NET_ANSWER 500			/* of an answer that is kept */
#define NET_IDLE_MS 10000		/* what a server has left unused for so long is closed and freed */

extern MaDeliveryApi *net_api;
extern CURLM *net_multi;

/* Around each call of libcurl; the outermost pair blocks signals and allows them again. */
extern void net_enter(void);
extern void net_leave(void);

/* Milliseconds of a clock that is never set. */
extern int64 net_now(void);

/* What is waited for: a socket of ours, or a transfer that libcurl drives. */
typedef struct NetWatch
{
	void		(*ready) (struct NetWatch *watch, bool readable, bool writable);
	int			file;
	bool		writing;		/* wants to know when it can write */
} NetWatch;

extern void net_watch(NetWatch *watch);
extern void net_watch_change(NetWatch *watch, bool writing);
extern void net_unwatch(NetWatch *watch);

/* CURLOPT_PRIVATE of each easy handle in the multi handle points to one. */
typedef struct NetTransfer
{
	void		(*done) (struct NetTransfer *transfer, CURLcode result);
} NetTransfer;

/* The password of a server; false and an English reason if it cannot be had. */
extern bool net_secret(const MaServerOptions *options, char *secret, const char **error);
/* What all transfers have in common. */
extern void net_prepare(CURL *easy, const MaServerOptions *options, NetTransfer *transfer);

/* Printable ASCII of an answer, in the message's memory. */
extern char *net_text(MemoryContext context, const char *text, Size length);

extern void net_finish(MaOutgoing *message, MaOutcome outcome, const char *answer);

/* ---- smtp.c ---- */

extern void net_smtp_begin(MaOutgoing *message);
extern long net_smtp_timeout(void);
extern void net_smtp_run(void);
extern void net_smtp_end(bool now);

/* ---- http.c ---- */

extern void net_http_begin(MaOutgoing *message);
extern long net_http_timeout(void);
extern void net_http_run(void);
extern void net_http_end(bool now);

#endif							/* MA_DELIVERY_NET_H */
