/*
 * ledger.c
 *		The ledger of consent and the present state.
 *
 * Entries are only ever added.  Each holds the hash of the entry before it for the
 * same contact, topic and channel, so that one changed or taken out later does not
 * fit; the present state holds the last one, so that the end cannot be cut off
 * unseen either.  Whoever appends holds the contact's lock: a chain has no forks,
 * and the primary key would refuse one.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

static const char *const state_names[] = {"none", "pending", "opted_in", "opted_out"};

/* What the hash covers; h is an alias that has these columns. */
#define HASH_SQL(h, previous) \
	"pg_catalog.sha256(" previous " OPERATOR(pg_catalog.||) " \
	"pg_catalog.convert_to(pg_catalog.jsonb_build_array(" h ".contact_id, " h ".topic_id, " \
	h ".channel, " h ".entry_no, " h ".state, " h ".origin, " \
	"pg_catalog.encode(" h ".proof_hash, 'hex'), " \
	"EXTRACT(epoch FROM " h ".recorded_at), " h ".recorded_by)::pg_catalog.text, 'UTF8'))"

/*
 * What it covers of a proof.  The salt goes when the person is erased, and the proof with it:
 * nobody can find out then by trying what it was.
 */
#define PROOF_HASH_SQL(h) \
	"pg_catalog.sha256(" h ".proof_salt OPERATOR(pg_catalog.||) " \
	"pg_catalog.convert_to(" h ".proof::pg_catalog.text, 'UTF8'))"
#define SALT_BYTES 16

/* A change, and the statement of a batch that appends it. */
typedef struct Place
{
	const MaConsentChange *change;
	int			round;
} Place;

static int	compare(const void *left, const void *right);
static bool same_chain(const MaConsentChange *a, const MaConsentChange *b);
static int	append(MaConsentChange *changes, int n, bool evaluating);
static void set_columns(const MaConsentChange *changes, int n, Datum *values);
static void raise_events(const MaConsentChange *change, int64 entry_id, bool evaluating);
static Datum random_salt(void);
static Datum event_properties(const MaConsentChange *change);
static void merged(int64 contact_id, int64 merged_id);
static void split(int64 contact_id, int64 split_id);

MA_FUNCTION(ma_verify_consent);

static const MaContactListener listener = {merged, split};

void
ma_consent_ledger_init(void)
{
	ma_register_contact_listener(&listener);
}

const char *
ma_consent_state_name(MaConsentState state)
{
	return state_names[state];
}

/* By chain, and in a chain in the order in which they were given. */
static int
compare(const void *left, const void *right)
{
	const Place *a = left;
	const Place *b = right;
	int			order = 0;

	if (a->change->contact_id != b->change->contact_id)
		return a->change->contact_id < b->change->contact_id ? -1 : 1;
	if (a->change->topic_id != b->change->topic_id)
		return a->change->topic_id < b->change->topic_id ? -1 : 1;
	order = strcmp(a->change->channel, b->change->channel);
	return order != 0 ? order : a->change - b->change;
}

static bool
same_chain(const MaConsentChange *a, const MaConsentChange *b)
{
	return a->contact_id == b->contact_id && a->topic_id == b->topic_id &&
		strcmp(a->channel, b->channel) == 0;
}

/* In rounds: a statement appends one entry to a chain. */
int
ma_consent_append(MaConsentChange *changes, int n, bool evaluating)
{
	MaConsentChange *round = palloc_array(MaConsentChange, Max(n, 1));
	Place	   *places = palloc_array(Place, Max(n, 1));
	int			left = n;
	int			appended = 0;

	/* The links of a test message stand for nobody. */
	if (n > 0 && changes[0].contact_id == 0)
		return 0;
	for (int i = 0; i < n; i++)
		places[i].change = &changes[i];
	qsort(places, n, sizeof(Place), compare);
	for (int i = 0; i < n; i++)
		places[i].round = i > 0 && same_chain(places[i].change, places[i - 1].change) ?
			places[i - 1].round + 1 : 0;
	for (int number = 0; left > 0; number++)
	{
		int			count = 0;

		for (int i = 0; i < n; i++)
			if (places[i].round == number)
				round[count++] = *places[i].change;
		appended += append(round, count, evaluating);
		left -= count;
	}
	return appended;
}

/* One statement; no two of the changes are of one chain. */
static int
append(MaConsentChange *changes, int n, bool evaluating)
{
	static MaStatement insert = {
		"WITH new AS (SELECT u.n, u.contact_id, u.topic_id, u.channel, u.state, u.origin, u.proof, "
		"u.proof_salt, " PROOF_HASH_SQL("u") " AS proof_hash, u.quiet, $7 AS recorded_at, $8 AS recorded_by, "
		"COALESCE(c.entry_no, 0) OPERATOR(pg_catalog.+) 1 AS entry_no, "
		"COALESCE(c.hash, '') AS previous "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
		"pg_catalog.unnest($9), pg_catalog.unnest($10)) WITH ORDINALITY "
		"AS u (contact_id, topic_id, channel, state, origin, proof, quiet, proof_salt, n) "
		"LEFT JOIN LATERAL (SELECT * FROM marketing_internal.consent AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND s.topic_id OPERATOR(pg_catalog.=) u.topic_id "
		"AND s.channel OPERATOR(pg_catalog.=) u.channel LIMIT 1) AS c ON true "
		"WHERE COALESCE(c.state, 'none') OPERATOR(pg_catalog.<>) u.state "
		"AND (u.state OPERATOR(pg_catalog.<>) 'none' "
		"OR c.origin OPERATOR(pg_catalog.~) '^((merge|split): )*column ')), "
		"hashed AS (SELECT new.*, " HASH_SQL("new", "new.previous") " AS hash FROM new), "
		"logged AS (INSERT INTO marketing_internal.consent_entry (contact_id, topic_id, channel, "
		"entry_no, state, origin, proof, proof_salt, proof_hash, recorded_at, recorded_by, hash, quiet) "
		"SELECT contact_id, topic_id, channel, entry_no, state, origin, proof, proof_salt, proof_hash, "
		"recorded_at, recorded_by, hash, quiet FROM hashed ORDER BY n "
		"RETURNING contact_id, topic_id, channel, entry_id), "
		"kept AS (INSERT INTO marketing_internal.consent AS s (contact_id, topic_id, channel, "
		"state, since, origin, entry_no, hash) "
		"SELECT contact_id, topic_id, channel, state, recorded_at, origin, entry_no, hash "
		"FROM hashed ON CONFLICT (contact_id, topic_id, channel) DO UPDATE SET "
		"state = excluded.state, since = excluded.since, origin = excluded.origin, "
		"entry_no = excluded.entry_no, hash = excluded.hash) "
		"SELECT h.n, l.entry_id FROM hashed AS h JOIN logged AS l "
		"ON l.contact_id OPERATOR(pg_catalog.=) h.contact_id "
		"AND l.topic_id OPERATOR(pg_catalog.=) h.topic_id "
		"AND l.channel OPERATOR(pg_catalog.=) h.channel ORDER BY h.n",
		10, {INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
		TIMESTAMPTZOID, TEXTOID, BOOLARRAYOID, BYTEAARRAYOID}
	};
	Datum		values[10];
	MaRows		rows;

	set_columns(changes, n, values);
	values[6] = TimestampTzGetDatum(ma_now());
	values[7] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	rows = ma_run(&insert, values, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		const MaConsentChange *change = &changes[ma_int64(&rows, i, 1) - 1];

		/* Rules may ask who is subscribed; who is being evaluated is so after this. */
		if (!evaluating)
			ma_mark_contact(change->contact_id);
		raise_events(change, ma_int64(&rows, i, 2), evaluating);
	}
	return rows.n;
}

/* The changes as arrays: parameters of append()'s statement. */
static void
set_columns(const MaConsentChange *changes, int n, Datum *values)
{
	int64	   *contacts = palloc_array(int64, n);
	int32	   *topics = palloc_array(int32, n);
	char	  **texts[3];
	Datum	   *proofs = palloc_array(Datum, n);
	bool	   *nulls = palloc_array(bool, n);
	Datum	   *quiet = palloc_array(Datum, n);
	Datum	   *salts = palloc_array(Datum, n);

	for (int f = 0; f < lengthof(texts); f++)
		texts[f] = palloc_array(char *, n);
	for (int i = 0; i < n; i++)
	{
		contacts[i] = changes[i].contact_id;
		topics[i] = changes[i].topic_id;
		texts[0][i] = unconstify(char *, changes[i].channel);
		texts[1][i] = unconstify(char *, ma_consent_state_name(changes[i].state));
		texts[2][i] = unconstify(char *, changes[i].origin);
		proofs[i] = changes[i].proof;
		nulls[i] = changes[i].proof == (Datum) 0;
		quiet[i] = BoolGetDatum(changes[i].quiet);
		salts[i] = nulls[i] ? (Datum) 0 : random_salt();
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int4_array(topics, n);
	for (int f = 0; f < lengthof(texts); f++)
		values[f + 2] = ma_text_array(texts[f], n);
	values[5] = ma_datum_array_nulls(proofs, nulls, n, JSONBOID);
	values[8] = ma_datum_array(quiet, n, BOOLOID);
	values[9] = ma_datum_array_nulls(salts, nulls, n, BYTEAOID);
}

static Datum
random_salt(void)
{
	bytea	   *salt = palloc(VARHDRSZ + SALT_BYTES);

	SET_VARSIZE(salt, VARHDRSZ + SALT_BYTES);
	if (!pg_strong_random(VARDATA(salt), SALT_BYTES))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	return PointerGetDatum(salt);
}

static Datum
event_properties(const MaConsentChange *change)
{
	static MaStatement build = {
		"SELECT pg_catalog.jsonb_build_object('topic', t.name, 'channel', $2, 'source', $3) "
		"FROM marketing_internal.topic AS t WHERE t.topic_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[3];
	MaRows		rows;
	bool		isnull;

	values[0] = Int32GetDatum(change->topic_id);
	values[1] = CStringGetTextDatum(change->channel);
	values[2] = CStringGetTextDatum(change->origin);
	rows = ma_run(&build, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return JsonbPGetDatum(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))));
	return PointerGetDatum(PG_DETOAST_DATUM_COPY(ma_value(&rows, 0, 1, &isnull)));
}

/* What the change means to journeys. */
static void
raise_events(const MaConsentChange *change, int64 entry_id, bool evaluating)
{
	const char *names[2] = {NULL, NULL};
	Datum		properties;

	if (change->quiet)
		return;
	if (change->requested)
		names[0] = "subscription_requested";
	if (change->state == MA_CONSENT_OPTED_IN)
		names[1] = "subscription_confirmed";
	else if (change->state == MA_CONSENT_OPTED_OUT)
		names[1] = "unsubscribed";
	if (names[0] == NULL && names[1] == NULL)
		return;
	properties = event_properties(change);
	for (int i = 0; i < lengthof(names); i++)
	{
		if (names[i] == NULL)
			continue;
		if (!evaluating)
			ma_raise_event(names[i], change->contact_id, entry_id, ma_now(), properties);
		else
		{
			MaRowChange row = {
				.contact_id = change->contact_id,
				.row_key = psprintf(INT64_FORMAT, entry_id),
				.occurred_at = ma_now(),
				.properties = properties,
				.enroll = change->enroll,
			};

			ma_tell_events(names[i], &row, 1, ma_clock());
		}
	}
}

/*
 * The contact gets what the other one said later than he, so that nobody is written
 * to who has withdrawn under one of his numbers.  The other's own ledger stays, for
 * the case that they are split again.
 */
static void
merged(int64 contact_id, int64 merged_id)
{
	static MaStatement find = {
		"SELECT o.topic_id, o.channel, o.state, o.origin FROM marketing_internal.consent AS o "
		"LEFT JOIN marketing_internal.consent AS c ON c.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND c.topic_id OPERATOR(pg_catalog.=) o.topic_id "
		"AND c.channel OPERATOR(pg_catalog.=) o.channel "
		"WHERE o.contact_id OPERATOR(pg_catalog.=) $2 AND (c.since IS NULL "
		"OR o.since OPERATOR(pg_catalog.>) c.since "
		"OR (o.since OPERATOR(pg_catalog.=) c.since "
		"AND o.state OPERATOR(pg_catalog.=) 'opted_out')) "
		"ORDER BY o.topic_id, o.channel",
		2, {INT8OID, INT8OID}
	};
	Datum		values[2];
	MaRows		rows;
	MaConsentChange *changes;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(merged_id);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	changes = palloc0_array(MaConsentChange, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		const char *state = ma_text(&rows, i, 3);

		changes[i].contact_id = contact_id;
		changes[i].topic_id = ma_int32(&rows, i, 1);
		changes[i].channel = ma_text(&rows, i, 2);
		for (int s = 0; s < lengthof(state_names); s++)
			if (strcmp(state, state_names[s]) == 0)
				changes[i].state = s;
		changes[i].origin = psprintf("merge: %s", ma_text(&rows, i, 4));
		changes[i].quiet = true;
	}
	(void) ma_consent_append(changes, rows.n, false);
}

/*
 * What was withdrawn while the two were one holds for both, since nobody knows which of
 * them it was; what a column said only for the one whose row says so.
 */
static void
split(int64 contact_id, int64 split_id)
{
	static MaStatement find = {
		"SELECT c.topic_id, c.channel, c.origin FROM marketing_internal.consent AS c "
		"JOIN marketing_internal.topic AS t ON t.topic_id OPERATOR(pg_catalog.=) c.topic_id "
		"LEFT JOIN marketing_internal.consent AS o ON o.contact_id OPERATOR(pg_catalog.=) $2 "
		"AND o.topic_id OPERATOR(pg_catalog.=) c.topic_id "
		"AND o.channel OPERATOR(pg_catalog.=) c.channel "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND c.state OPERATOR(pg_catalog.=) 'opted_out' "
		"AND NOT pg_catalog.starts_with(c.origin, 'merge: ') "
		"AND (o.since IS NULL OR o.since OPERATOR(pg_catalog.<=) c.since) "
		"AND c.since OPERATOR(pg_catalog.>=) COALESCE((SELECT pg_catalog.max(m.merged_at) "
		"FROM marketing_internal.contact_merge AS m "
		"WHERE m.merged_id OPERATOR(pg_catalog.=) $2 "
		"AND m.contact_id OPERATOR(pg_catalog.=) $1), '-infinity') "
		"AND (NOT pg_catalog.starts_with(c.origin, 'column ') OR EXISTS ("
		"SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) $2 AND k.mapped OPERATOR(pg_catalog.->>) "
		"pg_catalog.concat(t.name, '/', c.channel) OPERATOR(pg_catalog.=) 'false')) "
		"ORDER BY c.topic_id, c.channel",
		2, {INT8OID, INT8OID}
	};
	Datum		values[2];
	MaRows		rows;
	MaConsentChange *changes;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(split_id);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	changes = palloc0_array(MaConsentChange, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		changes[i].contact_id = split_id;
		changes[i].topic_id = ma_int32(&rows, i, 1);
		changes[i].channel = ma_text(&rows, i, 2);
		changes[i].state = MA_CONSENT_OPTED_OUT;
		changes[i].origin = psprintf("split: %s", ma_text(&rows, i, 3));
		changes[i].quiet = true;
	}
	(void) ma_consent_append(changes, rows.n, false);
}

/* marketing.verify_consent(): entries that do not fit their chain. */
Datum
ma_verify_consent(PG_FUNCTION_ARGS)
{
	static MaStatement check = {
		"WITH chain AS (SELECT e.*, pg_catalog.lag(e.hash) OVER w AS previous, "
		"pg_catalog.lag(e.entry_no) OVER w AS previous_no, pg_catalog.lead(e.entry_no) OVER w AS next_no "
		"FROM marketing_internal.consent_entry AS e WINDOW w AS "
		"(PARTITION BY e.contact_id, e.topic_id, e.channel ORDER BY e.entry_no)), "
		"bad AS (SELECT c.contact_id, c.topic_id, c.channel, c.entry_no, CASE "
		"WHEN COALESCE(c.previous_no, 0) OPERATOR(pg_catalog.<>) "
		"(c.entry_no OPERATOR(pg_catalog.-) 1) THEN 'an entry before it is missing' "
		"WHEN c.hash OPERATOR(pg_catalog.<>) " HASH_SQL("c", "COALESCE(c.previous, '')")
		" OR (c.proof IS NOT NULL AND " PROOF_HASH_SQL("c") " IS DISTINCT FROM c.proof_hash) "
		"THEN 'it does not fit its hash' "
		"WHEN c.proof IS NULL AND c.proof_hash IS NOT NULL AND EXISTS ("
		"SELECT FROM marketing_internal.contact AS p "
		"WHERE p.contact_id OPERATOR(pg_catalog.=) c.contact_id) THEN 'its proof is missing' "
		"WHEN c.next_no IS NULL AND s.hash IS NULL THEN 'there is no present state' "
		"WHEN c.next_no IS NULL AND (s.hash OPERATOR(pg_catalog.<>) c.hash "
		"OR s.state OPERATOR(pg_catalog.<>) c.state) "
		"THEN 'the present state is another one' END AS problem "
		"FROM chain AS c LEFT JOIN marketing_internal.consent AS s "
		"ON s.contact_id OPERATOR(pg_catalog.=) c.contact_id "
		"AND s.topic_id OPERATOR(pg_catalog.=) c.topic_id "
		"AND s.channel OPERATOR(pg_catalog.=) c.channel "
		"UNION ALL SELECT s.contact_id, s.topic_id, s.channel, s.entry_no, "
		"'its entry is missing' FROM marketing_internal.consent AS s WHERE NOT EXISTS ("
		"SELECT FROM marketing_internal.consent_entry AS e "
		"WHERE e.contact_id OPERATOR(pg_catalog.=) s.contact_id "
		"AND e.topic_id OPERATOR(pg_catalog.=) s.topic_id "
		"AND e.channel OPERATOR(pg_catalog.=) s.channel "
		"AND e.entry_no OPERATOR(pg_catalog.=) s.entry_no)) "
		"SELECT marketing_internal.contact_text(b.contact_id), t.name, b.channel, b.entry_no, b.problem "
		"FROM bad AS b LEFT JOIN marketing_internal.topic AS t "
		"ON t.topic_id OPERATOR(pg_catalog.=) b.topic_id WHERE b.problem IS NOT NULL "
		"ORDER BY b.contact_id, b.topic_id, b.channel, b.entry_no",
		0
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaCall		call;
	MaRows		rows;

	(void) ma_extension_required();
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	rows = ma_run(&check, NULL, NULL, MA_RUN_READ);
	for (uint64 i = 0; i < rows.n; i++)
		tuplestore_puttuple(result->setResult, rows.rows[i]);
	ma_call_end(&call);
	return (Datum) 0;
}
