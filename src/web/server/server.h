/*
 * server.h
 *		What the files of marketing-web share: one request on its way from a client
 *		through a connection to PostgreSQL and back.
 *
 * The program decides nothing: it keeps hostile clients within bounds, hands each
 * request to marketing.web_request() in a transaction of its own, and answers when that
 * is committed.  It is one thread around one epoll.
 */
#ifndef MA_WEB_SERVER_H
#define MA_WEB_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct MHD_Connection;

/* Milliseconds of the monotonic clock. */
typedef int64_t Milliseconds;

typedef struct Options
{
	struct sockaddr_storage address;	/* where to listen */
	socklen_t	address_length;
	const char *database;		/* a connection string, or NULL for libpq's defaults */
	int			connections;	/* to PostgreSQL */
	int			clients;		/* at once */
	int			per_address;	/* ... of one address; 0: as many as there are */
	int			timeout;		/* seconds for a client's whole request, and for an answer */
	bool		trust_proxy;	/* X-Forwarded-For says who the client is */
	bool		log_requests;
} Options;

/* ---- request.c: one request ---- */

typedef struct Request
{
	struct MHD_Connection *connection;
	const char *method;
	bool		acts;			/* it may change something, and wait for a lock */
	char	   *path;
	char	   *headers;		/* a JSON object of texts, names in lower case */
	char	   *content;
	size_t		content_length;
	size_t		content_limit;
	char	   *address;		/* of the client, NULL if it is not known */
	Milliseconds began;
	bool		complete;		/* all of it is here, and it was given to the pool */
	struct Request *next;		/* in the pool's queue */

	/* The answer; a status of 0: none yet. */
	unsigned int status;
	char	   *content_type;
	char	   *location;
	char	   *page;
	size_t		page_length;
} Request;

extern Request *request_new(struct MHD_Connection *connection, const char *method,
							const char *path);
extern void request_free(Request *request);
/* Fills headers and address from the client's headers. */
extern void request_read_headers(Request *request, const Options *options);
/* False: more than the limit, its own or that of all. */
extern bool request_add_content(Request *request, const char *data, size_t length);
/* Answers without the database. */
extern void request_refuse(Request *request, unsigned int status, const char *text);
extern const char *request_header(const Request *request, const char *name);

/* ---- pool.c: connections to PostgreSQL ---- */

/* Adds its sockets to the epoll; tells `done` of each request that has got its answer. */
extern void pool_start(int epoll, const Options *options, void (*done) (Request *request));
/* Takes the request over until it is done; false: too many are waiting. */
extern bool pool_submit(Request *request);
/* A socket of connection `number` is ready. */
extern void pool_ready(int number);
/* What is due by time; returns how long nothing is, in milliseconds, at most 1000. */
extern int	pool_due(void);
extern int	pool_pending(void);
extern void pool_stop(void);

/* ---- connections.c: clients that are connected ---- */

struct MHD_Daemon;
enum MHD_ConnectionNotificationCode;
extern void connections_notify(void *arg, struct MHD_Connection *connection, void **socket_context,
							   enum MHD_ConnectionNotificationCode code);
/* A request of the client begins; it has got its answer, or is gone. */
extern void connections_asks(struct MHD_Connection *connection);
extern void connections_served(struct MHD_Connection *connection);
/* A request is complete, and the client waits for us; it is the client again that we wait for. */
extern void connections_busy(struct MHD_Connection *connection);
extern void connections_idle(struct MHD_Connection *connection);
/* Shuts the sockets of those that have asked for nothing, and of others when they are served. */
extern void connections_close_idle(void);
/* Shuts the sockets of those that have been at one request for longer than this. */
extern void connections_close_slow(Milliseconds limit);

/* ---- http.c: libmicrohttpd ---- */

/* Listens, or ends the program; returns the file descriptor to wait for. */
extern int	http_start(const Options *options);
/* Reads, answers, accepts. */
extern void http_run(void);
/* How long it needs no call, in milliseconds; -1: until its descriptor is ready. */
extern int	http_wait(void);
extern void http_done(Request *request);
/* No new clients from now on, and each that is served is told that it was the last time. */
extern void http_quiesce(void);
extern int	http_clients(void);
extern void http_stop(void);

/* ---- main.c ---- */

extern Milliseconds now_ms(void);
extern void log_line(const char *format,...) __attribute__((format(printf, 1, 2)));
extern void fail(const char *format,...) __attribute__((format(printf, 1, 2), noreturn));
/* malloc() and the like, which end the program where there is no memory. */
extern void *must_allocate(size_t size);
extern void *must_resize(void *memory, size_t size);
extern char *must_copy(const char *text);

#endif							/* MA_WEB_SERVER_H */
