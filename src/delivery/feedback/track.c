/*
 * track.c
 *		Links and pictures of messages that tell when they are used.
 *
 * A tracked link leads to {public_url}/c/TOKEN, and the picture that tells of an
 * opening is {public_url}/o/TOKEN.  The token says which message and which link it is, and
 * is signed (consent/keys/signing.c); where the link leads stands in a table, so that
 * nobody can make one that leads elsewhere.  The number of a link is a hash of its
 * URL under the shop's key: known without asking the table while a message is rendered,
 * and stored for the whole batch at once afterwards.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery_internal.h"
#include "delivery/track.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define PURPOSE "hit:"
#define MAC_BYTES 16
#define MAX_BODY (2 + 8 + 8 + 8)
#define NUMBERED 8				/* links whose numbers are kept: those that all messages have */

/* A link of the batch that is being rendered. */
typedef struct Link
{
	int64		id;
	char	   *url;
	int64		contact_id;		/* whose message it is in; 0: of several */
} Link;

static struct
{
	MemoryContext context;
	const char *url;			/* where the shop's endpoint is; NULL: nothing is rendered */
	bool		links;
	List	   *list;			/* Link * */
	Link		numbered[NUMBERED];
	int			nnumbered;		/* so many have been put there, round and round */
} batch;

static char *track(const MaRenderRequest *request, const char *url, const char *tags);
static bool is_own(const char *url);
static int64 link_number(const char *url);
static Link *make_link(const char *url, int64 contact_id);
static int	write_number(uint8 *bytes, uint64 number, bool whole);
static uint64 read_number(const uint8 *bytes, int length);
static int	batch_links(Link *links);
static void set_links(const Link *links, int n, Datum *values);
static int	unknown_links(Link *links, int n, bool *stale);
static int	by_number(const ListCell *left, const ListCell *right);

void
ma_track_init(void)
{
	ma_register_link_tracker(track);
}

/* ---- tokens ---- */

/* The token: kind and lengths, message, contact and link without leading zeros, signature. */
char *
ma_hit_token_make(const MaHitToken *token)
{
	uint8		bytes[MAX_BODY + MAC_BYTES];
	MaSignedText body = {PURPOSE, bytes};
	int			message;
	int			contact;
	int			length = 2;

	length += message = write_number(bytes + length, token->message_id, false);
	length += contact = write_number(bytes + length, token->contact_id, false);
	if (token->kind == MA_HIT_CLICK)
		length += write_number(bytes + length, token->link_id, true);
	bytes[0] = token->kind;
	bytes[1] = (uint8) (message << 4 | contact);
	body.length = length;
	ma_sign(&body, bytes + length, MAC_BYTES);
	return ma_base64url(bytes, length + MAC_BYTES);
}

/* False if it was not made by us. */
bool
ma_hit_token_read(const char *text, char kind, MaHitToken *token)
{
	uint8		bytes[MAX_BODY + MAC_BYTES];
	MaSignedText body = {PURPOSE, bytes};
	int			length = ma_base64url_read(text, bytes, sizeof(bytes));
	int			message;
	int			contact;

	if (length < 2 + MAC_BYTES)
		return false;
	message = bytes[1] >> 4;
	contact = bytes[1] & 15;
	if (bytes[0] != (uint8) kind || message > 8 || contact > 8 ||
		length != 2 + message + contact + (kind == MA_HIT_CLICK ? 8 : 0) + MAC_BYTES)
		return false;
	body.length = length - MAC_BYTES;
	token->kind = kind;
	token->message_id = (int64) read_number(bytes + 2, message);
	token->contact_id = (int64) read_number(bytes + 2 + message, contact);
	token->link_id = kind == MA_HIT_CLICK ?
		(int64) read_number(bytes + 2 + message + contact, 8) : 0;
	return ma_signed(&body, bytes + body.length, MAC_BYTES);
}

/* Most significant octet first; `whole`: all eight. */
static int
write_number(uint8 *bytes, uint64 number, bool whole)
{
	int			length = 0;

	for (int i = 7; i >= 0; i--)
	{
		uint8		octet = (uint8) (number >> (8 * i));

		if (octet != 0 || length > 0 || whole)
			bytes[length++] = octet;
	}
	return length;
}

static uint64
read_number(const uint8 *bytes, int length)
{
	uint64		number = 0;

	for (int i = 0; i < length; i++)
		number = number << 8 | bytes[i];
	return number;
}

/* ---- links of a batch ---- */

/* From here on links of messages are tracked, up to ma_track_end(). */
void
ma_track_begin(const char *url, bool links)
{
	batch.context = CurrentMemoryContext;
	batch.url = url;
	batch.links = links;
	batch.list = NIL;
	batch.nnumbered = 0;
}

/* What leads to our own endpoint is no link to count. */
static bool
is_own(const char *url)
{
	size_t		length = strlen(batch.url);

	return strncmp(url, batch.url, length) == 0 &&
		(url[length] == '/' || url[length] == '?' || url[length] == '\0');
}

static char *
track(const MaRenderRequest *request, const char *url, const char *tags)
{
	char	   *tagged = unconstify(char *, url);
	MaHitToken	token = {MA_HIT_CLICK, request->message_id, request->contact_id};
	MemoryContext before;
	Link	   *link;

	if (batch.url != NULL && is_own(url))
		return NULL;
	if (tags != NULL)
		tagged = ma_url_with_tags(url, tags);
	if (batch.url == NULL || !batch.links || request->message_id == 0)
		return tags != NULL ? tagged : NULL;
	before = MemoryContextSwitchTo(batch.context);
	link = make_link(tagged, request->contact_id);
	batch.list = lappend(batch.list, link);
	MemoryContextSwitchTo(before);
	token.link_id = link->id;
	return psprintf("%s/c/%s", batch.url, ma_hit_token_make(&token));
}

static int64
link_number(const char *url)
{
	char	   *text = psprintf("link:%s", url);
	bytea	   *mac = DatumGetByteaPP(ma_shop_hmac(text, strlen(text)));

	return (int64) read_number((const uint8 *) VARDATA_ANY(mac), 8);
}

/* The link in the batch's memory, with its number. */
static Link *
make_link(const char *url, int64 contact_id)
{
	Link	   *link = palloc0_object(Link);
	Link	   *known = NULL;

	for (int i = 0; i < Min(batch.nnumbered, NUMBERED) && known == NULL; i++)
		if (strcmp(batch.numbered[i].url, url) == 0)
			known = &batch.numbered[i];
	link->contact_id = contact_id;
	link->url = known ? known->url : pstrdup(url);
	link->id = known ? known->id : link_number(url);
	if (known == NULL)
		batch.numbered[batch.nnumbered++ % NUMBERED] = *link;
	return link;
}

static int
by_number(const ListCell *left, const ListCell *right)
{
	return ma_compare_int64(&((Link *) lfirst(left))->id, &((Link *) lfirst(right))->id);
}

/* The links of the batch, each once, ascending; one of several contacts is nobody's. */
static int
batch_links(Link *links)
{
	int			n = 0;
	ListCell   *cell;

	list_sort(batch.list, by_number);
	foreach(cell, batch.list)
	{
		Link	   *link = lfirst(cell);

		if (n > 0 && links[n - 1].id == link->id)
		{
			if (links[n - 1].contact_id != link->contact_id)
				links[n - 1].contact_id = 0;
			continue;
		}
		links[n++] = *link;
	}
	return n;
}

/* As parameters of the statements below. */
static void
set_links(const Link *links, int n, Datum *values)
{
	int64	   *ids = palloc_array(int64, Max(n, 1));
	char	  **urls = palloc_array(char *, Max(n, 1));
	int64	   *contacts = palloc_array(int64, Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		ids[i] = links[i].id;
		urls[i] = links[i].url;
		contacts[i] = links[i].contact_id;
	}
	values[0] = ma_int8_array(ids, n);
	values[1] = ma_text_array(urls, n);
	values[2] = ma_int8_array(contacts, n);
	values[3] = TimestampTzGetDatum(ma_now());
}

#define LINKS_SQL \
	"ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) " \
	"WITH ORDINALITY AS u (link_id, url, contact_id, n)"
#define LINKS_ARGS 4, {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
#define LINK_IS_STALE \
	"(l.last_used OPERATOR(pg_catalog.<) " \
	"($4 OPERATOR(pg_catalog.-) '1 day'::pg_catalog.interval) " \
	"OR l.contact_id OPERATOR(pg_catalog.<>) u.contact_id)"

/*
 * Those that are not there are put in front; returns how many they are.  *stale: of the
 * others some are to be noted as in use.
 */
static int
unknown_links(Link *links, int n, bool *stale)
{
	static MaStatement look = {
		"SELECT u.n, l.url OPERATOR(pg_catalog.<>) u.url, " LINK_IS_STALE " FROM " LINKS_SQL
		/* By its key, however small the table was when this was planned. */
		" CROSS JOIN LATERAL (SELECT * FROM marketing_internal.link AS k "
		"WHERE k.link_id OPERATOR(pg_catalog.=) u.link_id LIMIT 1) AS l",
		LINKS_ARGS
	};
	bool	   *known = palloc0_array(bool, Max(n, 1));
	int			count = 0;
	Datum		values[4];
	MaRows		rows;

	set_links(links, n, values);
	rows = ma_run(&look, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		known[ma_int64(&rows, i, 1) - 1] = true;
		if (ma_bool(&rows, i, 2))
			elog(ERROR, "cannot happen: two addresses of links have the same keyed hash");
		*stale |= ma_bool(&rows, i, 3);
	}
	for (int i = 0; i < n; i++)
		if (!known[i])
			links[count++] = links[i];
	return count;
}

/*
 * Stores where the links lead.  A batch that was not rendered to its end has none.  Of
 * those that are there already it is noted that they are in use, once a day, and when
 * they are somebody else's, too: the row of one that all have stays as it is.
 */
void
ma_track_end(void)
{
	static MaStatement store = {
		"INSERT INTO marketing_internal.link (link_id, url, last_used, contact_id) "
		"SELECT u.link_id, u.url, $4, NULLIF(u.contact_id, 0) FROM " LINKS_SQL
		" ON CONFLICT (link_id) DO NOTHING",
		LINKS_ARGS
	};
	static MaStatement use = {
		"WITH old AS MATERIALIZED (SELECT l.link_id, u.contact_id FROM " LINKS_SQL
		" JOIN marketing_internal.link AS l ON l.link_id OPERATOR(pg_catalog.=) u.link_id "
		"WHERE " LINK_IS_STALE " ORDER BY l.link_id FOR UPDATE OF l) "
		"UPDATE marketing_internal.link AS l SET last_used = $4, "
		"contact_id = CASE WHEN l.contact_id OPERATOR(pg_catalog.=) old.contact_id "
		"THEN l.contact_id END "
		"FROM old WHERE l.link_id OPERATOR(pg_catalog.=) old.link_id",
		LINKS_ARGS
	};
	Link	   *links = palloc_array(Link, Max(list_length(batch.list), 1));
	Link	   *left = palloc_array(Link, Max(list_length(batch.list), 1));
	int			n = batch_links(links);
	int			nleft = n;
	bool		stale = false;
	Datum		values[4];

	batch.url = NULL;
	batch.list = NIL;
	/* Those that are there are not pruned before they are noted as in use. */
	if (n > 0)
		LockRelationOid(ma_own_table("link"), RowExclusiveLock);
	memcpy(left, links, sizeof(Link) * n);
	while (nleft > 0 && (nleft = unknown_links(left, nleft, &stale)) > 0)
	{
		set_links(left, nleft, values);
		/* One that somebody else has stored meanwhile is looked at, too. */
		if (ma_run(&store, values, NULL, MA_RUN_WRITE_LATEST).n == nleft)
			break;
	}
	if (!stale)
		return;
	set_links(links, n, values);
	ma_run(&use, values, NULL, MA_RUN_WRITE_LATEST);
}

/* The html with the picture that tells of an opening, at its end. */
char *
ma_track_opening(const char *html, const char *url, int64 message_id, int64 contact_id)
{
	MaHitToken	token = {MA_HIT_OPEN, message_id, contact_id};
	const char *end = html + strlen(html);

	for (const char *c = html; (c = strchr(c, '<')) != NULL; c++)
		if (pg_strncasecmp(c, "</body", 6) == 0)
			end = c;
	return psprintf("%.*s<img src=\"%s/o/%s\" width=\"1\" height=\"1\" alt=\"\" "
					"style=\"border:0;width:1px;height:1px\">%s", (int) (end - html), html, url,
					ma_hit_token_make(&token), end);
}
