/*
 * reads.c
 *		Who is in a segment, exact whatever the workers do.
 *
 * Stored members count where nothing can have changed since; who is overdue, stands
 * in the dirty log or was changed by the reading transaction itself is evaluated in
 * the read.  Where that may be anybody, the rule's plain SQL answers at once.  All of
 * it is under the active snapshot, so that log, state and rows are of one moment.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"

#define FIRST_SPACE 64

typedef struct Member
{
	int64		id;
	TimestampTz since;
} Member;

/* A read of all members. */
typedef struct Reading
{
	MaSegment  *segment;
	MaMembers  *members;
	TimestampTz now;
} Reading;

/* The members on their way into the result. */
typedef struct Emission
{
	ReturnSetInfo *result;
	const MaMembers *members;
	int			done;
} Emission;

static MaMembers *make_members(void);
static void add_member(MaMembers *members, int64 contact_id, TimestampTz since);
static MaMembers *read_by_oracle(MaSegment *segment, TimestampTz now);
static void read_stored(const MaSegment *segment, const MaStale *stale, MaMembers *members);
static void add_overdue(MaStale *stale, TimestampTz now);
static void add_evaluated(const int64 *ids, int n, void *arg);
static int	compare_members(const void *left, const void *right);
static void sort_members(MaMembers *members);
static void require_history(const MaSegment *segment, TimestampTz at);
static MaMembers *read_history(MaSegment *segment, TimestampTz at);
static void read_overdue(MaStale *overdue, TimestampTz at);
static void emit(const int64 *ids, int n, void *arg);
static bool in_segment_now(MaSegment *segment, int64 contact_id);
static bool is_stored(const MaSegment *segment, int64 contact_id);

MA_FUNCTION(ma_segment_members);
MA_FUNCTION(ma_segment_size);
MA_FUNCTION(ma_in_segment);
MA_FUNCTION(ma_segments_of);

/* All of it in the current context, where it stays as it grows. */
static MaMembers *
make_members(void)
{
	MaMembers  *members = palloc0_object(MaMembers);

	members->space = FIRST_SPACE;
	members->ids = palloc_array(int64, members->space);
	members->since = palloc_array(TimestampTz, members->space);
	return members;
}

static void
add_member(MaMembers *members, int64 contact_id, TimestampTz since)
{
	if (members->n == members->space)
	{
		members->space *= 2;
		members->ids = repalloc_huge(members->ids, mul_size(sizeof(int64), members->space));
		members->since = repalloc_huge(members->since,
									   mul_size(sizeof(TimestampTz), members->space));
	}
	members->ids[members->n] = contact_id;
	members->since[members->n++] = since;
}

static int
compare_members(const void *left, const void *right)
{
	int64		a = ((const Member *) left)->id;
	int64		b = ((const Member *) right)->id;

	return a < b ? -1 : (a > b ? 1 : 0);
}

MaMembers *
ma_members_read(MaSegment *segment, TimestampTz now)
{
	MaMembers  *members = make_members();
	Reading		reading;
	MaStale    *stale;

	stale = ma_stale_contacts();
	/* Capture goes by the stored names until the worker has stored others. */
	if (segment->sync && (segment->building || segment->followed || stale->any))
		return read_by_oracle(segment, now);
	if (!segment->sync)
		memset(stale, 0, sizeof(*stale));
	else
		add_overdue(stale, now);
	reading = (Reading) {segment, members, now};
	read_stored(segment, stale, members);
	ma_contacts_each_of(stale->ids, stale->n, add_evaluated, &reading);
	sort_members(members);
	return members;
}

static void
sort_members(MaMembers *members)
{
	Member	   *sorted = palloc_array(Member, Max(members->n, 1));

	for (int i = 0; i < members->n; i++)
		sorted[i] = (Member) {members->ids[i], members->since[i]};
	qsort(sorted, members->n, sizeof(Member), compare_members);
	for (int i = 0; i < members->n; i++)
	{
		members->ids[i] = sorted[i].id;
		members->since[i] = sorted[i].since;
	}
}

/* Who has passed an instant since he was evaluated. */
static void
add_overdue(MaStale *stale, TimestampTz now)
{
	static MaStatement read = {
		"SELECT s.contact_id FROM marketing_internal.segment_state AS s "
		"WHERE s.next_wake OPERATOR(pg_catalog.<=) $1 "
		"AND s.next_wake OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz",
		1, {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(now);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
		ma_stale_add(stale, ma_int64(&rows, i, 1));
	ma_stale_sort(stale);
}

static void
read_stored(const MaSegment *segment, const MaStale *stale, MaMembers *members)
{
	static MaStatement read = {
		"SELECT m.contact_id, m.since FROM marketing_internal.segment_member AS m "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(segment->id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ);

	for (uint64 i = 0; i < rows.n; i++)
		if (!ma_stale_has(stale, ma_int64(&rows, i, 1)))
			add_member(members, ma_int64(&rows, i, 1), ma_int64(&rows, i, 2));
}

/* Who is a member of those evaluated now, and since when, where he is stored as one. */
static void
add_evaluated(const int64 *ids, int n, void *arg)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4, m.since FROM pg_catalog.unnest($2) WITH ORDINALITY "
		"AS u (contact_id, n) JOIN marketing_internal.segment_member AS m "
		"ON m.segment_id OPERATOR(pg_catalog.=) $1 "
		"AND m.contact_id OPERATOR(pg_catalog.=) u.contact_id",
		2, {INT4OID, INT8ARRAYOID}
	};
	const Reading *reading = arg;
	MaTruth    *truths = palloc_array(MaTruth, n);
	TimestampTz *since = palloc0_array(TimestampTz, n);
	Datum		values[2];
	MaRows		rows;

	ma_rule_evaluate(reading->segment->rule, ma_read_contacts(ids, n), n, reading->now,
					 MA_RUN_READ, truths);
	values[0] = Int32GetDatum(reading->segment->id);
	values[1] = ma_int8_array(ids, n);
	rows = ma_run(&read, values, NULL, MA_RUN_READ);
	for (uint64 i = 0; i < rows.n; i++)
		since[ma_int32(&rows, i, 1) - 1] = ma_int64(&rows, i, 2);
	for (int i = 0; i < n; i++)
		if (truths[i].truth)
			add_member(reading->members, ids[i], since[i]);
}

int64 *
ma_oracle_read(const MaRule *rule, TimestampTz now, int *n)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(now);
	MaIdentity	caller;
	MaRows		rows;
	int64	   *ids;

	ma_become_restricted(&caller, ma_extension_required()->owner);
	rows = ma_run_once(psprintf("SELECT o.contact_id FROM (%s) AS o ORDER BY o.contact_id",
								ma_rule_sql(rule, "$1")),
					   1, &type, &value, NULL, MA_RUN_READ);
	ma_become_back(&caller);
	ids = palloc_array(int64, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	*n = (int) rows.n;
	return ids;
}

static MaMembers *
read_by_oracle(MaSegment *segment, TimestampTz now)
{
	static MaStatement read = {
		"SELECT m.contact_id, m.since FROM marketing_internal.segment_member AS m "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) $1 ORDER BY m.contact_id",
		1, {INT4OID}
	};
	MaMembers  *members = make_members();
	Datum		value = Int32GetDatum(segment->id);
	int			n;
	int64	   *ids = ma_oracle_read(segment->rule, now, &n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ);
	uint64		place = 0;

	for (int i = 0; i < n; i++)
	{
		while (place < rows.n && ma_int64(&rows, place, 1) < ids[i])
			place++;
		add_member(members, ids[i], place < rows.n && ma_int64(&rows, place, 1) == ids[i] ?
				   ma_int64(&rows, place, 2) : 0);
	}
	return members;
}

/* ---- one contact ---- */

/* By its number, not its slot: an old snapshot may hold a bit of another segment there. */
static bool
is_stored(const MaSegment *segment, int64 contact_id)
{
	static MaStatement read = {
		"SELECT FROM marketing_internal.segment_member AS m "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) $1 AND m.contact_id OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT8OID}
	};
	Datum		values[2];

	values[0] = Int32GetDatum(segment->id);
	values[1] = Int64GetDatum(contact_id);
	return ma_run(&read, values, NULL, MA_RUN_READ).n > 0;
}

/* Evaluated in the read, which costs about what finding out whether it must be would. */
static bool
in_segment_now(MaSegment *segment, int64 contact_id)
{
	MaTruth		truth;

	if (!segment->sync)
		return is_stored(segment, contact_id);
	ma_rule_evaluate(segment->rule, ma_read_contacts(&contact_id, 1), 1, ma_now(), MA_RUN_READ,
					 &truth);
	return truth.truth;
}

/* in_segment(contact, name) */
Datum
ma_in_segment(PG_FUNCTION_ARGS)
{
	MaCall		call;
	char	   *name = ma_segment_name_argument(fcinfo, 1);
	MaSegments *all;
	bool		answer;

	ma_call_begin(&call);
	all = ma_segments();
	answer = in_segment_now(ma_segment_get_whole(all, name), ma_contact_argument(fcinfo, false));
	ma_call_end(&call);
	PG_RETURN_BOOL(answer);
}

/* segments_of(contact) */
Datum
ma_segments_of(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT m.segment_id, m.since FROM marketing_internal.segment_member AS m "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaSegments *all;
	MaCall		call;
	MaRows		rows;
	Datum		value;
	int64		contact_id;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	all = ma_segments();
	contact_id = ma_contact_argument(fcinfo, false);
	value = Int64GetDatum(contact_id);
	rows = ma_run(&read, &value, NULL, MA_RUN_READ);
	for (int i = 0; i < all->n; i++)
	{
		Datum		values[2] = {CStringGetTextDatum(all->segments[i]->name), 0};
		bool		nulls[2] = {false, true};

		/* A broken one is left out: he may be in it or not. */
		if (all->segments[i]->error != NULL || !in_segment_now(all->segments[i], contact_id))
			continue;
		for (uint64 j = 0; j < rows.n; j++)
			if (ma_int32(&rows, j, 1) == all->segments[i]->id)
			{
				values[1] = TimestampTzGetDatum(ma_int64(&rows, j, 2));
				nulls[1] = false;
			}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ma_call_end(&call);
	return (Datum) 0;
}

/* ---- all members ---- */

/* An error unless the log tells who was in it then. */
static void
require_history(const MaSegment *segment, TimestampTz at)
{
	if (at > ma_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at must not be in the future"),
				 errhint("marketing.forecast_segment() tells who will enter and leave.")));
	if (at >= segment->known_from)
		return;
	if (segment->known_from == DT_NOEND)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_HISTORY),
				 errmsg("who was in segment \"%s\" is not known yet", segment->name),
				 errdetail("Its members are still being found."),
				 errhint("Its history begins when marketing.segments says it is live.")));
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_HISTORY),
			 errmsg("who was in segment \"%s\" at %s is not known", segment->name,
					timestamptz_to_str(at)),
			 errdetail("The log of its entries and exits begins later."),
			 errhint("Ask for %s or later.", timestamptz_to_str(segment->known_from))));
}

/*
 * Who was in it then: going back from now, who entered since was not in it, and who left
 * since was.  So a log whose older part is gone still tells all of the rest.  Who had
 * passed an instant by then that the worker has not written down yet is evaluated.
 */
static MaMembers *
read_history(MaSegment *segment, TimestampTz at)
{
	static MaStatement read = {
		"WITH later AS (SELECT DISTINCT ON (t.contact_id) t.contact_id, t.entered "
		"FROM marketing_internal.segment_transition AS t "
		"WHERE t.segment_id OPERATOR(pg_catalog.=) $1 AND t.effective_at OPERATOR(pg_catalog.>) $2 "
		"ORDER BY t.contact_id, t.effective_at, t.transition_id) "
		"SELECT m.contact_id, m.since FROM marketing_internal.segment_member AS m "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) $1 AND NOT EXISTS (SELECT FROM later AS l "
		"WHERE l.contact_id OPERATOR(pg_catalog.=) m.contact_id) "
		"UNION ALL SELECT l.contact_id, (SELECT pg_catalog.max(t.effective_at) "
		"FROM marketing_internal.segment_transition AS t "
		"WHERE t.contact_id OPERATOR(pg_catalog.=) l.contact_id AND t.entered "
		"AND t.segment_id OPERATOR(pg_catalog.=) $1 AND t.effective_at OPERATOR(pg_catalog.<=) $2) "
		"FROM later AS l WHERE NOT l.entered",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	MaMembers  *members = make_members();
	Reading		reading = {segment, members, at};
	MaStale    *overdue = palloc0_object(MaStale);
	Datum		values[2];
	MaRows		rows;

	require_history(segment, at);
	if (segment->sync && !segment->building && segment->error == NULL)
		read_overdue(overdue, at);
	values[0] = Int32GetDatum(segment->id);
	values[1] = TimestampTzGetDatum(at);
	rows = ma_run(&read, values, NULL, MA_RUN_READ);
	for (uint64 i = 0; i < rows.n; i++)
	{
		bool		unknown;
		TimestampTz since = DatumGetTimestampTz(ma_value(&rows, i, 2, &unknown));

		if (!ma_stale_has(overdue, ma_int64(&rows, i, 1)))
			add_member(members, ma_int64(&rows, i, 1), unknown ? 0 : since);
	}
	ma_contacts_each_of(overdue->ids, overdue->n, add_evaluated, &reading);
	sort_members(members);
	return members;
}

/*
 * Contacts that only time has changed since they were evaluated, by that instant.  Of
 * whom a row has changed as well it will be written down as of when that is evaluated.
 */
static void
read_overdue(MaStale *overdue, TimestampTz at)
{
	MaStale    *changed = ma_stale_contacts();
	int			n = 0;

	if (changed->any)
		return;
	add_overdue(overdue, at);
	for (int i = 0; i < overdue->n; i++)
		if (!ma_stale_has(changed, overdue->ids[i]))
			overdue->ids[n++] = overdue->ids[i];
	overdue->n = overdue->nsorted = n;
}

/* A portion of the members; in portions, since a contact's text costs a statement. */
static void
emit(const int64 *ids, int n, void *arg)
{
	Emission   *emission = arg;

	for (int i = 0; i < n; i++)
	{
		char	   *contact = ma_contact_text(ids[i]);
		TimestampTz since = emission->members->since[emission->done++];
		Datum		values[2];
		bool		nulls[2] = {contact == NULL, since == 0};

		values[0] = contact ? CStringGetTextDatum(contact) : (Datum) 0;
		values[1] = TimestampTzGetDatum(since);
		tuplestore_putvalues(emission->result->setResult, emission->result->setDesc, values,
							 nulls);
	}
}

/* segment_members(name, at) */
Datum
ma_segment_members(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	MaSegments *all;
	MaSegment  *segment;
	MaMembers  *members;
	Emission	emission;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	all = ma_segments();
	segment = PG_ARGISNULL(1) ? ma_segment_get_whole(all, name) : ma_segment_get(all, name);
	members = PG_ARGISNULL(1) ? ma_members_read(segment, ma_now()) :
		read_history(segment, PG_GETARG_TIMESTAMPTZ(1));
	emission = (Emission) {result, members};
	ma_contacts_each_of(members->ids, members->n, emit, &emission);
	ma_call_end(&call);
	return (Datum) 0;
}

/* segment_size(name) */
Datum
ma_segment_size(PG_FUNCTION_ARGS)
{
	char	   *name = ma_segment_name_argument(fcinfo, 0);
	MaCall		call;
	int			n;

	ma_call_begin(&call);
	(void) ma_segment_contacts(name, &n);
	ma_call_end(&call);
	PG_RETURN_INT64(n);
}

int64 *
ma_segment_contacts(const char *name, int *n)
{
	MaSegments *all = ma_segments();
	MaMembers  *members = ma_members_read(ma_segment_get_whole(all, name), ma_now());

	*n = members->n;
	return members->ids;
}

int64
ma_segment_stored_size(const char *name)
{
	static MaStatement count = {
		"SELECT pg_catalog.count(*) FROM marketing_internal.segment_member AS m "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(ma_segment_get_whole(ma_segments(), name)->id);
	MaRows		rows = ma_run(&count, &value, NULL, MA_RUN_READ);

	return ma_int64(&rows, 0, 1);
}
