/*
 * lanes.c
 *		Servers as the delivery worker sees them: how much of a sender's queue may be
 *		claimed now, and which server each message goes through.
 *
 * A lane is the queue of one sender.  What limits it (connections, rates, a warm-up, a
 * server that does not answer) is known before anything is claimed, so a lane that can
 * take nothing is not even looked at, however long it is, and the others do not notice.
 *
 * A server whose faults are its own (no connection, no password, 554 in its greeting)
 * is left alone for 2 s, 4 s ... 15 min, with a part left to chance; then one message
 * tries it, and twice as many after each success.  That state is a row, since the
 * worker ends when it is idle.  Rates are kept in memory only: at most a second's worth
 * of messages may go at once after a pause.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "delivery/delivery_internal.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"

#define PAUSE_MIN 2				/* seconds of rest after a fault, doubled each time */
#define PAUSE_MAX 900
#define PAUSE_SPREAD 0.2		/* of it, either way */
#define MANY 32					/* at least so many may wait for a connection */
#define AHEAD_MS 150			/* ... and what a server has taken in this time */
#define AHEAD_MOST 1000
#define CATCH_UP 2.0			/* messages, for one of weight 1 */
#define ONLY_MANY 1000
#define DOMAINS_MAX 10000		/* with more the table is begun anew */
#define DOMAIN_LENGTH 64
#define LOOK_AGAIN_MS 1000

typedef struct Bucket
{
	TimestampTz next;			/* the theoretical time of the next message */
	TimestampTz last_slot;		/* the latest that was given to one that had to wait */
} Bucket;

struct MaServer
{
	char		name[NAMEDATALEN];
	MaServerOptions *options;	/* NULL: there is no such server of ours */
	uint64		version;
	int			under_way;		/* messages claimed for it and not settled ... */
	int			leaving;		/* ... of which the tick that goes on settles so many */
	int			planned;		/* likewise by the claim that goes on */
	int			ramp;			/* so many may be under way, after a fault */
	bool		works;			/* it has done its work since its last fault */
	TimestampTz counted_from;	/* since then it has taken ... */
	int			counted;
	int			pace;			/* so many in AHEAD_MS */
	double		share;			/* what it has had, by its weight */
	Bucket		bucket;
	int			failures;		/* in a row; this and what follows is stored */
	TimestampTz open_until;		/* nothing is sent to it before */
	char		reason[256];
	int32		day;			/* of sent_today, days since 2000 */
	int64		sent_today;
	bool		changed;
};

typedef struct DomainKey
{
	char		server[NAMEDATALEN];
	char		domain[DOMAIN_LENGTH];
} DomainKey;

typedef struct Domain
{
	DomainKey	key;
	Bucket		bucket;
} Domain;

static MaServer **servers = NULL;	/* all that a sender has named since this process began */
static int	nservers = 0;
static int	servers_size = 0;
static HTAB *domains = NULL;
static MaSender *senders = NULL;	/* of the claim that goes on */
static int	nsenders = 0;
static bool armed = false;
static TimestampTz claimed_at;
static const char *only = NULL;	/* the claim is one for this server alone */
static bool wanted = false;		/* messages wait for room in a lane */
static bool unserved = false;	/* ... or for a process that has the transport */
static TimestampTz starved_until = DT_NOEND;	/* a rate, not a message, is what is waited for */

static MaServer *find_server(const char *name);
static void renew_options(MaServer *server);
static void load_state(MaServer *server);
static int64 interval_of(const MaRate *rate);
static int	bucket_room(Bucket *bucket, const MaRate *rate);
static void bucket_take(Bucket *bucket, const MaRate *rate);
static int	warm_up_room(const MaServer *server);
static int	capacity(const MaServer *server);
static void count_pace(MaServer *server);
static int	room_of(MaServer *server);
static MaServer *choose_server(const MaMessage *message);
static bool domain_waits(MaServer *server, MaMessage *message);
static void wait_for_server(MaMessage *message, const char *name);

/* ---- servers ---- */

static MaServer *
find_server(const char *name)
{
	MaServer   *server;

	for (int i = 0; i < nservers; i++)
		if (strcmp(servers[i]->name, name) == 0)
			return servers[i];
	if (nservers == servers_size)
	{
		int			size = Max(servers_size * 2, 16);

		servers = servers ? repalloc(servers, sizeof(MaServer *) * size) :
			MemoryContextAlloc(TopMemoryContext, sizeof(MaServer *) * size);
		servers_size = size;
	}
	server = MemoryContextAllocZero(TopMemoryContext, sizeof(MaServer));
	strlcpy(server->name, name, NAMEDATALEN);
	load_state(server);
	servers[nservers++] = server;
	return server;
}

/* A pause longer than any was begun before the clock was set back, and is none. */
bool
ma_server_resting(TimestampTz open_until, TimestampTz now)
{
	return open_until > now &&
		open_until - now <= (int64) (PAUSE_MAX * (1 + PAUSE_SPREAD)) * USECS_PER_SEC;
}

/* What CREATE SERVER says now; in a transaction. */
static void
renew_options(MaServer *server)
{
	uint64		version = ma_server_version(server->name);
	MaServerOptions *options;

	bool		changed = server->version != 0 && version != server->version;

	if (version == server->version && version != 0 && server->options != NULL)
		return;
	options = version == 0 ? NULL : ma_server_options(server->name);
	if (options != NULL)
	{
		options->version = version;
		MemoryContextSetParent(options->context, TopMemoryContext);
	}
	ma_options_release(server->options);
	server->options = options;
	server->version = version;
	/* Whoever changes a server that failed wants to see whether it works now. */
	if (server->failures > 0 && changed)
		server->open_until = DT_NOBEGIN;
	server->changed |= server->failures > 0;
}

static void
load_state(MaServer *server)
{
	static MaStatement find = {
		"SELECT failures, open_until, reason, day, sent_today, COALESCE(version, 0) "
		"FROM marketing_internal.server_state "
		"WHERE server OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(server->name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	bool		isnull;

	server->open_until = DT_NOBEGIN;
	server->ramp = PG_INT32_MAX;
	if (rows.n == 0)
		return;
	server->failures = ma_int32(&rows, 0, 1);
	value = ma_value(&rows, 0, 2, &isnull);
	if (!isnull)
		server->open_until = DatumGetTimestampTz(value);
	if (ma_text(&rows, 0, 3) != NULL)
		ma_text_clip(server->reason, ma_text(&rows, 0, 3), sizeof(server->reason));
	server->day = ma_int32(&rows, 0, 4);
	server->sent_today = ma_int64(&rows, 0, 5);
	server->version = (uint64) ma_int64(&rows, 0, 6);
	if (server->failures > 0)
		server->ramp = 1;
}

void
ma_lanes_store(void)
{
	static MaStatement store = {
		"INSERT INTO marketing_internal.server_state AS s "
		"(server, failures, open_until, reason, day, sent_today, changed_at, version) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (server) DO UPDATE SET "
		"failures = excluded.failures, open_until = excluded.open_until, "
		"reason = excluded.reason, day = excluded.day, sent_today = excluded.sent_today, "
		"changed_at = excluded.changed_at, version = excluded.version",
		8, {TEXTOID, INT4OID, TIMESTAMPTZOID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, INT8OID}
	};

	for (int i = 0; i < nservers; i++)
	{
		MaServer   *server = servers[i];
		Datum		values[8];
		char		nulls[] = "        ";

		if (!server->changed)
			continue;
		values[0] = CStringGetTextDatum(server->name);
		values[1] = Int32GetDatum(server->failures);
		values[2] = TimestampTzGetDatum(server->open_until);
		nulls[2] = server->failures == 0 ? 'n' : ' ';
		values[3] = CStringGetTextDatum(server->reason);
		nulls[3] = server->failures == 0 ? 'n' : ' ';
		values[4] = Int32GetDatum(server->day);
		values[5] = Int64GetDatum(server->sent_today);
		values[6] = TimestampTzGetDatum(ma_now());
		values[7] = Int64GetDatum((int64) server->version);
		(void) ma_run(&store, values, nulls, MA_RUN_WRITE_LATEST);
	}
}

/* After the commit of ma_lanes_store(). */
void
ma_lanes_stored(void)
{
	for (int i = 0; i < nservers; i++)
		servers[i]->changed = false;
}

/* ---- rates ---- */

static int64
interval_of(const MaRate *rate)
{
	return (int64) rate->seconds * USECS_PER_SEC / rate->count;
}

/* How many may go now; one at least when the last one is an interval ago. */
static int
bucket_room(Bucket *bucket, const MaRate *rate)
{
	int64		interval = Max(interval_of(rate), 1);
	TimestampTz now = claimed_at;

	/* More than an interval ahead it has been only since the clock was set back. */
	if (bucket->next > now + interval)
		memset(bucket, 0, sizeof(*bucket));
	bucket->next = Max(bucket->next, now - Max(interval, USECS_PER_SEC));
	return bucket->next > now ? 0 : (int) Min((now - bucket->next) / interval, PG_INT32_MAX / 2);
}

static void
bucket_take(Bucket *bucket, const MaRate *rate)
{
	bucket->next += Max(interval_of(rate), 1);
}

/* What is left of today's share while a server is new to the world: twice as much each day. */
static int
warm_up_room(const MaServer *server)
{
	int32		today = (int32) (claimed_at / USECS_PER_DAY);
	Datum		from = CStringGetDatum(server->options->warm_up_from);
	int32		first = DatumGetDateADT(DirectFunctionCall1(date_in, from));
	int			days = Max(today - first, 0);
	double		share = (double) server->options->warm_up *
		(days > 40 ? 1e12 : (double) (INT64CONST(1) << days));
	double		left = share - (server->day == today ? server->sent_today : 0) - server->under_way -
		server->planned;

	return left <= 0 ? 0 : (int) Min(left, PG_INT32_MAX / 2);
}

/*
 * A claim costs as much for one message as for many, so a fast server gets many at once; one
 * that takes a second for each gets few, since what is claimed waits after its second
 * look, and is in doubt after a crash if there is no journal.
 */
static int
capacity(const MaServer *server)
{
	int			many = Max(server->options->max_connections * 4, MANY);

	if (ma_journal_is_open())
		many = Max(many, Min(server->pace * 2, AHEAD_MOST));
	return Min(many, server->ramp);
}

static void
count_pace(MaServer *server)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		passed = now - server->counted_from;

	server->counted++;
	if (passed < AHEAD_MS * 1000)
		return;
	/* After a pause it begins anew. */
	server->pace = passed > AHEAD_MS * 10000 ? 0 :
		(int) (server->counted * INT64CONST(1000) * AHEAD_MS / passed);
	server->counted_from = now;
	server->counted = 0;
}

/* Messages that may be claimed for the server now. */
static int
room_of(MaServer *server)
{
	int			room;

	if (server->options == NULL)
		return only == NULL ? MANY : 0; /* to be told that it is not there */
	if (only != NULL)
		return strcmp(server->name, only) == 0 ? ONLY_MANY : 0;
	if (!armed)
		return MANY;			/* the gate defers them */
	if (!ma_transport_serves(server->options->kind))
	{
		unserved |= server->options->kind != MA_SERVER_OUTSIDE;
		return 0;
	}
	if (ma_server_resting(server->open_until, claimed_at))
		return 0;
	room = capacity(server) - server->under_way + server->leaving - server->planned;
	if (room > 0 && server->options->rate.count > 0)
	{
		int			allowed = bucket_room(&server->bucket, &server->options->rate);

		if (allowed == 0)
			starved_until = Min(starved_until, server->bucket.next +
								interval_of(&server->options->rate));
		room = Min(room, allowed);
	}
	if (room > 0 && server->options->warm_up > 0)
		room = Min(room, warm_up_room(server));
	return Max(room, 0);
}

/* ---- the claim ---- */

void
ma_lanes_begin(void)
{
	senders = ma_senders(&nsenders);
	armed = ma_armed();
	claimed_at = GetCurrentTimestamp();
	starved_until = DT_NOEND;
	wanted = unserved = false;
	for (int i = 0; i < nservers; i++)
		servers[i]->planned = 0;
	for (int i = 0; i < nsenders; i++)
		for (int j = 0; j < senders[i].nroutes; j++)
			renew_options(find_server(senders[i].routes[j].server));
}

int
ma_lane_room(int32 lane)
{
	for (int i = 0; i < nsenders; i++)
	{
		int			room = 0;

		if (senders[i].sender_id != lane)
			continue;
		if (senders[i].nroutes == 0)
			return only == NULL ? PG_INT32_MAX : 0;
		for (int j = 0; j < senders[i].nroutes; j++)
			room += Min(room_of(find_server(senders[i].routes[j].server)), PG_INT32_MAX / 64);
		wanted |= room == 0;
		return room;
	}
	/* The spool, or a sender that is gone: its messages get another one. */
	return only == NULL ? PG_INT32_MAX : 0;
}

bool
ma_lanes_unserved(void)
{
	return unserved;
}

/* The claims that follow are for this server alone; NULL: for all again. */
void
ma_lanes_only(const char *server)
{
	only = server;
}

/*
 * By weight, as long as all can keep up: the one that has had least of its share.  Those of
 * weight 0 only when no other one can be used.
 */
static MaServer *
choose_server(const MaMessage *message)
{
	const MaSender *sender = message->sender;
	MaServer   *best = NULL;
	int			weight = 0;
	double		most = 0;

	for (int j = 0; j < sender->nroutes; j++)
	{
		MaServer   *server = find_server(sender->routes[j].server);

		most = Max(most, server->share);
		if (room_of(server) == 0 || (best != NULL && sender->routes[j].weight == 0) ||
			(best != NULL && weight > 0 && best->share <= server->share))
			continue;
		best = server;
		weight = sender->routes[j].weight;
	}
	/* One that was away does not catch up with all of it. */
	if (best != NULL && sender->nroutes > 1)
		best->share = Max(best->share, most - CATCH_UP) + (weight > 0 ? 1.0 / weight : 0);
	return best;
}

/* True if the domain of the recipient has had enough for now; the message gets its time. */
static bool
domain_waits(MaServer *server, MaMessage *message)
{
	const char *at = message->address ? strrchr(message->address, '@') : NULL;
	const MaRate *rate = &server->options->domain_rate;
	DomainKey	key;
	Domain	   *domain;
	bool		found;

	if (rate->count == 0 || at == NULL)
		return false;
	if (domains != NULL && hash_get_num_entries(domains) > DOMAINS_MAX)
	{
		hash_destroy(domains);
		domains = NULL;
	}
	if (domains == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(DomainKey), .entrysize = sizeof(Domain)};

		domains = hash_create("marketing_automation domains", 256, &control,
							  HASH_ELEM | HASH_BLOBS);
	}
	memset(&key, 0, sizeof(key));
	strlcpy(key.server, server->name, sizeof(key.server));
	strlcpy(key.domain, at + 1, sizeof(key.domain));
	for (char *p = key.domain; *p != '\0'; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	domain = hash_search(domains, &key, HASH_ENTER, &found);
	if (!found)
		memset(&domain->bucket, 0, sizeof(Bucket));
	if (bucket_room(&domain->bucket, rate) > 0)
	{
		bucket_take(&domain->bucket, rate);
		return false;
	}
	domain->bucket.last_slot = Max(domain->bucket.last_slot, domain->bucket.next) +
		interval_of(rate);
	message->becomes = MA_MESSAGE_DEFERRED;
	message->gate = "rate";
	message->reason = psprintf("%s gets at most %d messages in %d seconds", key.domain,
							   rate->count, rate->seconds);
	message->pause = (domain->bucket.last_slot - claimed_at) / USECS_PER_SEC + 1;
	return true;
}

static void
wait_for_server(MaMessage *message, const char *name)
{
	message->becomes = MA_MESSAGE_DEFERRED;
	message->gate = "server";
	message->reason = psprintf("there is no server \"%s\" of marketing_smtp, marketing_http or marketing_outside",
							   name);
	message->pause = 600;
}

int
ma_lanes_route(MaMessage *messages, int n, MaMessage **away, int *naway)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		MaMessage  *message = &messages[i];
		MaServer   *server = NULL;

		if (message->sender->nroutes > 0)
		{
			server = choose_server(message);
			if (server == NULL)
				continue;
			message->server = server;
			message->server_name = server->name;
			if (armed && server->options == NULL)
				wait_for_server(message, server->name);
			if (armed && server->options != NULL && domain_waits(server, message))
				server->planned++;
			if (message->gate != NULL)
			{
				away[*naway] = palloc_object(MaMessage);
				*away[(*naway)++] = *message;
				continue;
			}
			message->options = server->options;
			server->planned++;
			if (server->options != NULL && server->options->rate.count > 0)
				bucket_take(&server->bucket, &server->options->rate);
		}
		messages[count++] = *message;
	}
	return count;
}

long
ma_lanes_pause(void)
{
	int64		left = starved_until == DT_NOEND ? PG_INT64_MAX :
		(starved_until - GetCurrentTimestamp()) / 1000;

	return left > LOOK_AGAIN_MS ? -1 : Max((long) left, 5);
}

bool
ma_lanes_starved(void)
{
	if (starved_until > GetCurrentTimestamp())
		return false;
	starved_until = DT_NOEND;
	return true;
}

/* ---- what became of messages ---- */

void
ma_lane_started(MaMessage *message)
{
	if (message->server != NULL)
		message->server->under_way++;
	if (message->options != NULL)
		ma_options_hold(message->options);
}

/* The tick settles it: a claim in it may have its place.  NULL: what was said so is over. */
void
ma_lane_leaving(const MaMessage *message)
{
	for (int i = 0; i < nservers && message == NULL; i++)
		servers[i]->leaving = 0;
	if (message != NULL && message->server != NULL)
		message->server->leaving++;
}

void
ma_lane_ended(MaMessage *message)
{
	if (message->server != NULL)
		message->server->under_way--;
	ma_options_release(message->options);
	message->options = NULL;
}

bool
ma_lanes_have_room(void)
{
	for (int i = 0; i < nservers && wanted; i++)
		if (servers[i]->options != NULL &&
			!ma_server_resting(servers[i]->open_until, GetCurrentTimestamp()) &&
			servers[i]->under_way * 2 <= capacity(servers[i]))
			return true;
	return false;
}

void
ma_lane_worked(MaServer *server)
{
	int32		today = (int32) (GetCurrentTimestamp() / USECS_PER_DAY);

	if (server == NULL)
		return;
	server->works = true;
	count_pace(server);
	if (server->ramp < PG_INT32_MAX)
		server->ramp = server->ramp > 1000 ? PG_INT32_MAX : server->ramp * 2;
	if (server->failures > 0)
	{
		server->failures = 0;
		server->open_until = DT_NOBEGIN;
		server->changed = true;
	}
	if (server->options == NULL || server->options->warm_up == 0)
		return;
	if (server->day != today)
		server->sent_today = 0;
	server->day = today;
	server->sent_today++;
	server->changed = true;
}

/*
 * One fault, however many messages met it: those of one settling count once.  True if the
 * server worked for others right before: then it may be this message that it refuses.
 */
bool
ma_lane_failed(MaServer *server, const char *reason)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		worked = server != NULL && server->works;
	double		pause;

	if (server == NULL || ma_server_resting(server->open_until, now))
		return false;
	server->works = false;
	server->failures = Min(server->failures + 1, 1000);
	pause = Min(PAUSE_MIN * (double) (1 << Min(server->failures - 1, 20)), PAUSE_MAX);
	pause *= 1 - PAUSE_SPREAD + 2 * PAUSE_SPREAD * pg_prng_double(&pg_global_prng_state);
	server->open_until = now + (int64) (pause * USECS_PER_SEC);
	server->ramp = 1;
	ma_text_clip(server->reason, reason ? reason : "", sizeof(server->reason));
	server->changed = true;
	return worked;
}

int64
ma_lane_rest(const MaServer *server)
{
	TimestampTz now = GetCurrentTimestamp();

	return server == NULL || !ma_server_resting(server->open_until, now) ? 1 :
		(server->open_until - now) / USECS_PER_SEC + 1;
}
