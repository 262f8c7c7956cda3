/*
 * hits.c
 *		marketing.record_open() and record_click(): a message was opened, a link of it
 *		followed.
 *
 * Every hit is kept, with a verdict whether a machine made it: gateways follow all
 * links of a mail before anybody reads it, and mail programs load pictures by
 * themselves.  Machine-made hits are events too, but count nowhere unless a rule names
 * `machine`.  A burst of clicks shows itself only by its later ones, so the verdict on
 * its first ones changes with them.
 *
 * Neither changes a consent, whatever the link; both can be repeated by anybody who
 * has the token, so a message has MAX_HITS at most.
 *
 * A hit stands under the contact that its message stands under, merged or not: so the two
 * stay together, also when the contacts are split again.
 *
 * A hit waits for nobody, since a reader waits for the picture: of somebody who is being erased
 * just now it is not kept, also if the erasure is given up.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent.h"
#include "contacts/contacts.h"
#include "delivery/delivery_internal.h"
#include "delivery/track.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define MAX_HITS 200
#define MAX_AGENT 300			/* octets kept of it */
#define TOO_SOON INT64CONST(2000000)	/* microseconds after it was sent */
#define BURST INT64CONST(10000000)	/* microseconds */
#define BURST_LINKS 3			/* different links within that time */

/* A hit, and what is known of its message. */
typedef struct Hit
{
	const char *text;			/* of the token, as it was given */
	MaHitToken	token;
	int64		owner;			/* the contact that the message's row names */
	const char *agent;			/* these may be NULL */
	const char *method;
	const char *purpose;
	TimestampTz at;
	char	   *channel;
	char	   *template;
	char	   *journey;
	char	   *step;
	int32		topic_id;
	TimestampTz sent_at;		/* DT_NOEND: not said yet */
	int64		hits;			/* before it */
	int64		links;			/* different ones lately, with this one */
	const char *verdict;		/* why it was a machine; NULL: it was a person */
} Hit;

static void read_arguments(FunctionCallInfo fcinfo, Hit *hit);
static void read_token(Hit *hit, char kind);
static char *find_url(int64 link_id);
static bool record(Hit *hit);
static bool find_message(Hit *hit);
static void count_hits(Hit *hit);
static const char *verdict(const Hit *hit);
static bool is_robot(const char *agent);
static void condemn_burst(const Hit *hit);
static void store(const Hit *hit);

MA_FUNCTION(ma_record_open);
MA_FUNCTION(ma_record_click);

/* marketing.record_open(token, user_agent, method, purpose) */
Datum
ma_record_open(PG_FUNCTION_ARGS)
{
	Hit			hit = {0};
	MaCall		call;

	(void) ma_extension_required();
	read_arguments(fcinfo, &hit);
	ma_call_begin(&call);
	read_token(&hit, MA_HIT_OPEN);
	(void) record(&hit);
	ma_call_end(&call);
	PG_RETURN_BOOL(hit.template != NULL && hit.verdict == NULL);
}

/* marketing.record_click(token, user_agent, method, purpose): where it leads */
Datum
ma_record_click(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Hit			hit = {0};
	MaCall		call;
	char	   *url;

	(void) ma_extension_required();
	read_arguments(fcinfo, &hit);
	ma_call_begin(&call);
	read_token(&hit, MA_HIT_CLICK);
	url = find_url(hit.token.link_id);
	if (url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("where this link leads is not known any more"),
				 errhint("Links are stored in marketing_internal.link; restore it from a backup.")));
	url = MemoryContextStrdup(context, url);
	(void) record(&hit);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(url));
}

bool
ma_open_token_valid(const char *token)
{
	MaHitToken	read;

	return ma_hit_token_read(token, MA_HIT_OPEN, &read);
}

bool
ma_click_token_valid(const char *token)
{
	MaHitToken	read;

	return ma_hit_token_read(token, MA_HIT_CLICK, &read) && find_url(read.link_id) != NULL;
}

static void
read_arguments(FunctionCallInfo fcinfo, Hit *hit)
{
	const char **texts[] = {&hit->agent, &hit->method, &hit->purpose};

	hit->text = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	for (int i = 0; i < lengthof(texts); i++)
		if (!PG_ARGISNULL(i + 1))
		{
			char	   *value = text_to_cstring(PG_GETARG_TEXT_PP(i + 1));

			value[pg_mbcliplen(value, strlen(value), MAX_AGENT)] = '\0';
			*texts[i] = value;
		}
}

static void
read_token(Hit *hit, char kind)
{
	if (!ma_hit_token_read(hit->text, kind, &hit->token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this is not a valid token"),
				 errhint("A token is the last part of a link in a message.")));
}

/* NULL: it is not known any more. */
static char *
find_url(int64 link_id)
{
	static MaStatement find = {
		"SELECT url FROM marketing_internal.link WHERE link_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(link_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

/*
 * Keeps the hit and raises its event; false if its message is not known, has too many, or is
 * somebody's who is being erased.
 */
static bool
record(Hit *hit)
{
	hit->at = ma_now();
	ma_hits_partitions_ensure();
	if (!ma_erasure_keep_away(hit->token.contact_id) || !find_message(hit))
		return false;
	count_hits(hit);
	if (hit->hits >= MAX_HITS)
	{
		hit->verdict = "too many";
		return false;
	}
	hit->verdict = verdict(hit);
	store(hit);
	return true;
}

/*
 * The message, under the contact it was made for, or, if it was tried again after a merge,
 * under who that is now.
 */
static bool
find_message(Hit *hit)
{
	static MaStatement find = {
		"SELECT channel, template, journey, step, topic_id, settled_at, contact_id "
		"FROM marketing_internal.message_log WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND message_id OPERATOR(pg_catalog.=) $2 UNION ALL "
		"SELECT channel, template, journey, step, topic_id, NULL, contact_id "
		"FROM marketing_internal.message WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND message_id OPERATOR(pg_catalog.=) $2 LIMIT 1",
		2, {INT8ARRAYOID, INT8OID}
	};
	int64		contacts[2] = {hit->token.contact_id, ma_contact_now(hit->token.contact_id)};
	Datum		values[2];
	MaRows		rows;
	Datum		sent;
	bool		isnull;

	values[0] = ma_int8_array(contacts, contacts[0] == contacts[1] ? 1 : 2);
	values[1] = Int64GetDatum(hit->token.message_id);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return false;
	hit->channel = ma_text(&rows, 0, 1);
	hit->template = ma_text(&rows, 0, 2);
	hit->journey = ma_text(&rows, 0, 3);
	hit->step = ma_text(&rows, 0, 4);
	hit->topic_id = ma_int32(&rows, 0, 5);
	sent = ma_value(&rows, 0, 6, &isnull);
	hit->sent_at = isnull ? DT_NOEND : DatumGetTimestampTz(sent);
	hit->owner = ma_int64(&rows, 0, 7);
	return true;
}

static void
count_hits(Hit *hit)
{
	static MaStatement count = {
		"SELECT pg_catalog.count(*), pg_catalog.count(DISTINCT h.link_id) "
		"FILTER (WHERE h.link_id OPERATOR(pg_catalog.<>) $3 AND h.occurred_at OPERATOR(pg_catalog.>) $4) "
		"FROM marketing_internal.message_hit AS h WHERE h.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND h.message_id OPERATOR(pg_catalog.=) $2",
		4, {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[4];
	MaRows		rows;

	values[0] = Int64GetDatum(hit->owner);
	values[1] = Int64GetDatum(hit->token.message_id);
	values[2] = Int64GetDatum(hit->token.link_id);
	values[3] = TimestampTzGetDatum(hit->at - BURST);
	rows = ma_run(&count, values, NULL, MA_RUN_READ_LATEST);
	hit->hits = ma_int64(&rows, 0, 1);
	hit->links = hit->token.kind == MA_HIT_CLICK ? 1 + ma_int64(&rows, 0, 2) : 0;
}

/* Why it was made by a machine; NULL if nothing says so. */
static const char *
verdict(const Hit *hit)
{
	if (hit->method != NULL && pg_strcasecmp(hit->method, "GET") != 0)
		return "not fetched by GET";
	if (hit->purpose != NULL && *hit->purpose != '\0')
		return "fetched ahead";
	if (hit->agent != NULL && is_robot(hit->agent))
		return "user agent";
	if (hit->sent_at == DT_NOEND || hit->at < hit->sent_at + TOO_SOON)
		return "too soon after sending";
	if (hit->links >= BURST_LINKS)
		return "many links at once";
	return NULL;
}

/*
 * Programs that say what they are, and the bare "Mozilla/5.0" with which Apple's mail
 * privacy loads pictures.  The proxy that Gmail shows pictures through asks when a
 * person looks.
 */
static bool
is_robot(const char *agent)
{
	static const char *const words[] = {
		"bot", "crawl", "spider", "preview", "scan", "headless", "curl/", "wget/", "python",
		"java/", "go-http", "okhttp", "libwww", "httpclient", "barracuda", "proofpoint",
		"mimecast", "safelinks", "symantec", "fortinet", "sophos"
	};
	char	   *lower = pstrdup(agent);

	if (strcmp(agent, "Mozilla/5.0") == 0 || *agent == '\0')
		return true;
	for (char *c = lower; *c; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	for (int i = 0; i < lengthof(words); i++)
		if (strstr(lower, words[i]) != NULL)
			return true;
	return false;
}

/* The clicks before it in the burst were no person's either. */
static void
condemn_burst(const Hit *hit)
{
	static MaStatement condemn = {
		"UPDATE marketing_internal.message_hit SET verdict = $3, machine = true "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND message_id OPERATOR(pg_catalog.=) $2 "
		"AND link_id IS NOT NULL AND NOT machine AND occurred_at OPERATOR(pg_catalog.>) $4",
		4, {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[4];

	values[0] = Int64GetDatum(hit->owner);
	values[1] = Int64GetDatum(hit->token.message_id);
	values[2] = CStringGetTextDatum(hit->verdict);
	values[3] = TimestampTzGetDatum(hit->at - BURST);
	ma_run(&condemn, values, NULL, MA_RUN_WRITE_LATEST);
}

static void
store(const Hit *hit)
{
	static MaStatement add = {
		"WITH new AS (INSERT INTO marketing_internal.message_hit (contact_id, message_id, occurred_at, "
		"channel, template, journey, step, topic_id, link_id, machine, verdict, user_agent) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10 IS NOT NULL, $10, $11) "
		"RETURNING hit_id, link_id, machine) "
		"SELECT n.hit_id, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
		"'template', $5, 'journey', $6, 'step', $7, 'topic', "
		"CASE WHEN $8 OPERATOR(pg_catalog.=) 0 THEN 'transactional' ELSE "
		"(SELECT t.name FROM marketing_internal.topic AS t WHERE t.topic_id OPERATOR(pg_catalog.=) $8) END, "
		"'url', (SELECT l.url FROM marketing_internal.link AS l "
		"WHERE l.link_id OPERATOR(pg_catalog.=) n.link_id), 'machine', n.machine)) FROM new AS n",
		11, {INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT8OID,
		TEXTOID, TEXTOID}
	};
	const char *texts[] = {hit->channel, hit->template, hit->journey, hit->step};
	bool		click = hit->token.kind == MA_HIT_CLICK;
	char	   *name = psprintf("%s_%s", hit->channel, click ? "clicked" : "opened");
	char		nulls[] = "           ";
	Datum		values[11] = {0};
	MaRows		rows;
	bool		isnull;

	if (click && hit->verdict != NULL && hit->links >= BURST_LINKS)
		condemn_burst(hit);
	values[0] = Int64GetDatum(hit->owner);
	values[1] = Int64GetDatum(hit->token.message_id);
	values[2] = TimestampTzGetDatum(hit->at);
	for (int i = 0; i < lengthof(texts); i++)
	{
		nulls[3 + i] = texts[i] ? ' ' : 'n';
		values[3 + i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	values[7] = Int32GetDatum(hit->topic_id);
	values[8] = Int64GetDatum(hit->token.link_id);
	nulls[8] = click ? ' ' : 'n';
	values[9] = hit->verdict ? CStringGetTextDatum(hit->verdict) : (Datum) 0;
	nulls[9] = hit->verdict ? ' ' : 'n';
	values[10] = hit->agent ? CStringGetTextDatum(hit->agent) : (Datum) 0;
	nulls[10] = hit->agent ? ' ' : 'n';
	rows = ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
	if (ma_builtin_columns(name) != NULL)
		ma_raise_event(name, ma_contact_now(hit->owner), ma_int64(&rows, 0, 1), hit->at,
					   PointerGetDatum(PG_DETOAST_DATUM_COPY(ma_value(&rows, 0, 2, &isnull))));
}
