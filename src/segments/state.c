/*
 * state.c
 *		What is stored of a contact: a bit for each segment, and from when on it is to
 *		be looked at again.
 *
 * One row per contact, whatever the number of segments; it is written only when a
 * bit changes or a wake moves earlier, so a contact that changes nothing costs
 * nothing.  Every write must meet exactly the state it was computed from: anything
 * else means that somebody evaluated without the contact's lock, and is an error.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "port/pg_bswap.h"
#include "segments/segments_internal.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"

/* Columns of marketing_internal.segment_state; none is ever null. */
#define STATE_NEXT_WAKE 2
#define STATE_BITS 3
#define STATE_WAKES 4

#define WAKE_BYTES 10			/* slot and instant, most significant byte first */

static void read_stored(MaSegmentStates *states, MaRun how);
static void unpack(MaSegmentStates *states, int contact, Datum bits, Datum wakes);
static Datum pack_bits(const MaSegmentStates *states, int contact);
static Datum pack_wakes(const MaSegmentStates *states, int contact, TimestampTz *next);
static void write_members(MaSegmentStates *states);
static void write_transitions(MaSegmentStates *states, TimestampTz now);
static void write_states(MaSegmentStates *states);
static void require_current(const MaSegments *all);
static bool anything_changed(const MaSegmentStates *states);
static void run_guarded(MaStatement *statement, Datum *values, int n);

MaSegmentStates *
ma_states_read(MaSegments *all, const int64 *contact_ids, int n, MaRun how)
{
	MaSegmentStates *states = palloc0_object(MaSegmentStates);
	Size		cells = Max(mul_size(n, all->n), 1);

	states->all = all;
	states->n = n;
	states->contact_ids = contact_ids;
	states->stored = palloc0_array(bool, Max(n, 1));
	states->changed = palloc0_array(bool, Max(n, 1));
	states->old_bits = palloc0_array(Datum, Max(n, 1));
	states->old_wakes = palloc0_array(Datum, Max(n, 1));
	states->bits = palloc0_array(bool, cells);
	states->before = palloc0_array(bool, cells);
	states->done = palloc0_array(bool, cells);
	states->wakes = palloc_array(TimestampTz, cells);
	for (Size i = 0; i < cells; i++)
		states->wakes[i] = DT_NOEND;
	if (n > 0)
		read_stored(states, how);
	memcpy(states->before, states->bits, cells * sizeof(bool));
	return states;
}

static void
read_stored(MaSegmentStates *states, MaRun how)
{
	static const RegProcedure equal[] = {F_INT8EQ};
	MaIndexRead *read = ma_index_begin("segment_state_pkey", lengthof(equal), equal, how);

	for (int i = 0; i < states->n; i++)
	{
		Datum		contact = Int64GetDatum(states->contact_ids[i]);
		TupleTableSlot *row;
		bool		isnull;

		ma_index_find(read, &contact);
		row = ma_index_next(read);
		if (row == NULL)
			continue;
		states->stored[i] = true;
		unpack(states, i, slot_getattr(row, STATE_BITS, &isnull),
			   slot_getattr(row, STATE_WAKES, &isnull));
	}
	ma_index_end(read);
}

/* Bits and wakes of slots that no segment has any more are left out, and taken away. */
static void
unpack(MaSegmentStates *states, int contact, Datum bits, Datum wakes)
{
	MaSegments *all = states->all;
	bytea	   *bytes = DatumGetByteaPCopy(bits);
	unsigned char *data = (unsigned char *) VARDATA(bytes);
	int			length = VARSIZE(bytes) - VARHDRSZ;

	states->old_bits[contact] = PointerGetDatum(bytes);
	for (int i = 0; i < all->n; i++)
		if (ma_state_bit(bytes, all->segments[i]->slot))
			states->bits[contact * all->n + i] = true;
	/* Of segments that are gone: their slots are given to others when they are clear. */
	for (int i = 0; i < length; i++)
		if (data[i] & ~(i <= all->nslots / 8 ? all->known[i] : 0))
			states->changed[contact] = true;
	bytes = DatumGetByteaPCopy(wakes);
	data = (unsigned char *) VARDATA(bytes);
	length = VARSIZE(bytes) - VARHDRSZ;
	states->old_wakes[contact] = PointerGetDatum(bytes);
	for (int i = 0; i + WAKE_BYTES <= length; i += WAKE_BYTES)
	{
		uint16		slot;
		uint64		at;

		memcpy(&slot, data + i, sizeof(slot));
		memcpy(&at, data + i + sizeof(slot), sizeof(at));
		slot = pg_ntoh16(slot);
		if (slot < all->nslots && all->places[slot] >= 0 &&
			all->segments[all->places[slot]]->place >= 0)
			states->wakes[contact * all->n + all->places[slot]] = (TimestampTz) pg_ntoh64(at);
		else
			states->changed[contact] = true;	/* of a segment that is gone or broken */
	}
}

bool
ma_state_bit(const bytea *bits, int slot)
{
	const unsigned char *data = (const unsigned char *) VARDATA(bits);

	return slot / 8 < VARSIZE(bits) - VARHDRSZ && ((data[slot / 8] >> (slot % 8)) & 1);
}

bytea *
ma_state_bits(int64 contact_id, TimestampTz *next_wake)
{
	static const RegProcedure equal[] = {F_INT8EQ};
	MaIndexRead *read = ma_index_begin("segment_state_pkey", lengthof(equal), equal,
						  MA_RUN_READ_LATEST);
	Datum		contact = Int64GetDatum(contact_id);
	TupleTableSlot *row;
	bytea	   *bits = NULL;
	bool		isnull;

	ma_index_find(read, &contact);
	row = ma_index_next(read);
	*next_wake = DT_NOEND;
	if (row != NULL)
	{
		*next_wake = DatumGetTimestampTz(slot_getattr(row, STATE_NEXT_WAKE, &isnull));
		bits = DatumGetByteaPCopy(slot_getattr(row, STATE_BITS, &isnull));
	}
	ma_index_end(read);
	return bits;
}

static Datum
pack_bits(const MaSegmentStates *states, int contact)
{
	const MaSegments *all = states->all;
	int			length = 0;
	bytea	   *bytes = palloc0(VARHDRSZ + all->nslots / 8 + 1);
	char	   *data = VARDATA(bytes);

	for (int i = 0; i < all->n; i++)
	{
		int			slot = all->segments[i]->slot;

		if (!states->bits[contact * all->n + i])
			continue;
		data[slot / 8] |= 1 << (slot % 8);
		length = Max(length, slot / 8 + 1);
	}
	SET_VARSIZE(bytes, VARHDRSZ + length);
	return PointerGetDatum(bytes);
}

static Datum
pack_wakes(const MaSegmentStates *states, int contact, TimestampTz *next)
{
	const MaSegments *all = states->all;
	bytea	   *bytes = palloc0(VARHDRSZ + (Size) all->n * WAKE_BYTES);
	char	   *data = VARDATA(bytes);

	*next = DT_NOEND;
	for (int i = 0; i < all->n; i++)
	{
		TimestampTz wake = states->wakes[contact * all->n + i];
		uint16		slot = pg_hton16((uint16) all->segments[i]->slot);
		uint64		at = pg_hton64((uint64) wake);

		if (wake == DT_NOEND)
			continue;
		*next = Min(*next, wake);
		memcpy(data, &slot, sizeof(slot));
		memcpy(data + sizeof(slot), &at, sizeof(at));
		data += WAKE_BYTES;
	}
	SET_VARSIZE(bytes, data - (char *) bytes);
	return PointerGetDatum(bytes);
}

void
ma_state_set(MaSegmentStates *states, int contact, int segment, MaTruth truth, TimestampTz at)
{
	int			cell = contact * states->all->n + segment;

	if (truth.truth != states->bits[cell])
	{
		MaSegmentFlip *flip = palloc_object(MaSegmentFlip);

		flip->segment = segment;
		flip->contact = contact;
		flip->entered = truth.truth;
		flip->at = at;
		flip->cause = states->cause;
		states->flips = lappend(states->flips, flip);
		states->bits[cell] = truth.truth;
		states->changed[contact] = true;
	}
	/* A wake that comes sooner than needed is left: it costs one look, moving it a write. */
	if (states->wakes[cell] <= at || truth.until < states->wakes[cell])
	{
		states->changed[contact] |= states->wakes[cell] != truth.until;
		states->wakes[cell] = truth.until;
	}
}

/* Contacts that are changed must meet their one row. */
static void
run_guarded(MaStatement *statement, Datum *values, int n)
{
	MaRows		rows = ma_run(statement, values, NULL, MA_RUN_WRITE_LATEST);

	if (rows.n != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_MA_STATE_CHANGED),
				 errmsg("state of segments was changed by somebody else"),
				 errdetail("The write met %d rows instead of %d.", (int) rows.n, n)));
}

/*
 * Whoever changes segments keeps writers of the state out.  So with our lock on it, what
 * we evaluated are the segments of now, or it is all to be done again.
 */
static void
require_current(const MaSegments *all)
{
	const MaSegments *now;
	bool		same;

	LockRelationOid(ma_own_table("segment_state"), RowExclusiveLock);
	now = ma_segments();
	if (now == all)
		return;
	same = now->n == all->n;
	for (int i = 0; same && i < all->n; i++)
		same = now->segments[i]->id == all->segments[i]->id &&
			strcmp(now->segments[i]->text, all->segments[i]->text) == 0 &&
			strcmp(now->segments[i]->time_zone, all->segments[i]->time_zone) == 0;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_MA_STATE_CHANGED),
				 errmsg("segments were defined or dropped while contacts were evaluated")));
}

static bool
anything_changed(const MaSegmentStates *states)
{
	for (int i = 0; i < states->n; i++)
		if (states->changed[i])
			return true;
	return states->flips != NIL;
}

void
ma_states_write(MaSegmentStates *states, TimestampTz now)
{
	if (!anything_changed(states))
		return;
	require_current(states->all);
	if (states->flips != NIL)
	{
		write_members(states);
		write_transitions(states, now);
	}
	write_states(states);
}

/* Who came, went, or went and came again, taken over all flips of the batch. */
static void
write_members(MaSegmentStates *states)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.segment_member (segment_id, contact_id, since) "
		"SELECT u.segment_id, u.contact_id, u.since FROM ROWS FROM (pg_catalog.unnest($1), "
		"pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (segment_id, contact_id, since) "
		"RETURNING 1",
		3, {INT4ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	static MaStatement remove = {
		"DELETE FROM marketing_internal.segment_member AS m USING ROWS FROM "
		"(pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (segment_id, contact_id) "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) u.segment_id "
		"AND m.contact_id OPERATOR(pg_catalog.=) u.contact_id RETURNING 1",
		2, {INT4ARRAYOID, INT8ARRAYOID}
	};
	static MaStatement again = {
		"UPDATE marketing_internal.segment_member AS m SET since = u.since FROM ROWS FROM "
		"(pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) "
		"AS u (segment_id, contact_id, since) "
		"WHERE m.segment_id OPERATOR(pg_catalog.=) u.segment_id "
		"AND m.contact_id OPERATOR(pg_catalog.=) u.contact_id RETURNING 1",
		3, {INT4ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	};
	MaStatement *statements[] = {&remove, &add, &again};
	MaSegments *all = states->all;
	int			most = list_length(states->flips);

	for (int kind = 0; kind < lengthof(statements); kind++)
	{
		int32	   *segments = palloc_array(int32, most);
		int64	   *contacts = palloc_array(int64, most);
		Datum	   *since = palloc_array(Datum, most);
		Datum		values[3];
		int			first = most;
		int			n;

		/* The last flip of each says since when; what is written keeps their order. */
		for (int i = most - 1; i >= 0; i--)
		{
			MaSegmentFlip *flip = list_nth(states->flips, i);
			int			place = flip->contact * all->n + flip->segment;

			if (states->done[place] || states->bits[place] != (kind > 0) ||
				states->before[place] != (kind != 1))
				continue;
			states->done[place] = true;
			segments[--first] = all->segments[flip->segment]->id;
			contacts[first] = states->contact_ids[flip->contact];
			since[first] = TimestampTzGetDatum(flip->at);
		}
		n = most - first;
		if (n == 0)
			continue;
		values[0] = ma_int4_array(segments + first, n);
		values[1] = ma_int8_array(contacts + first, n);
		values[2] = ma_datum_array(since + first, n, TIMESTAMPTZOID);
		run_guarded(statements[kind], values, n);
	}
}

static void
write_transitions(MaSegmentStates *states, TimestampTz now)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.segment_transition "
		"(contact_id, segment_id, entered, effective_at, recorded_at, cause) "
		"SELECT u.contact_id, u.segment_id, u.entered, u.at, $6, u.cause FROM ROWS FROM "
		"(pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5)) AS u (contact_id, segment_id, entered, at, cause)",
		6, {INT8ARRAYOID, INT4ARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZOID}
	};
	int			n = list_length(states->flips);
	int64	   *contacts = palloc_array(int64, n);
	int32	   *segments = palloc_array(int32, n);
	Datum	   *entered = palloc_array(Datum, n);
	Datum	   *at = palloc_array(Datum, n);
	char	  **causes = palloc_array(char *, n);
	Datum		values[6];
	ListCell   *cell;

	foreach(cell, states->flips)
	{
		MaSegmentFlip *flip = lfirst(cell);
		int			i = foreach_current_index(cell);

		contacts[i] = states->contact_ids[flip->contact];
		segments[i] = states->all->segments[flip->segment]->id;
		entered[i] = BoolGetDatum(flip->entered);
		at[i] = TimestampTzGetDatum(flip->at);
		causes[i] = unconstify(char *, flip->cause);
	}
	values[0] = ma_int8_array(contacts, n);
	values[1] = ma_int4_array(segments, n);
	values[2] = ma_datum_array(entered, n, BOOLOID);
	values[3] = ma_datum_array(at, n, TIMESTAMPTZOID);
	values[4] = ma_text_array(causes, n);
	values[5] = TimestampTzGetDatum(now);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
}

/* Rows of contacts in no segment and without a wake go. */
static void
write_states(MaSegmentStates *states)
{
#define ROWS_SQL "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), " \
		"pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), " \
		"pg_catalog.unnest($6)) " \
		"AS u (contact_id, next_wake, bits, wakes, old_bits, old_wakes) "
#define SAME_SQL "s.contact_id OPERATOR(pg_catalog.=) u.contact_id " \
		"AND s.bits OPERATOR(pg_catalog.=) u.old_bits AND s.wakes OPERATOR(pg_catalog.=) u.old_wakes "
#define ROWS_TYPES 6, {INT8ARRAYOID, TIMESTAMPTZARRAYOID, BYTEAARRAYOID, BYTEAARRAYOID, \
		BYTEAARRAYOID, BYTEAARRAYOID}
	static MaStatement statements[] = {
		{"INSERT INTO marketing_internal.segment_state (contact_id, next_wake, bits, wakes) "
		"SELECT u.contact_id, u.next_wake, u.bits, u.wakes FROM " ROWS_SQL "RETURNING 1",
		ROWS_TYPES},
		{"UPDATE marketing_internal.segment_state AS s SET next_wake = u.next_wake, bits = u.bits, "
		"wakes = u.wakes FROM " ROWS_SQL "WHERE " SAME_SQL "RETURNING 1", ROWS_TYPES},
		{"DELETE FROM marketing_internal.segment_state AS s USING " ROWS_SQL "WHERE " SAME_SQL
		"RETURNING 1", ROWS_TYPES}
	};
	Datum		empty = PointerGetDatum(palloc0(VARHDRSZ));

	SET_VARSIZE(DatumGetPointer(empty), VARHDRSZ);
	for (int kind = 0; kind < lengthof(statements); kind++)
	{
		int64	   *contacts = palloc_array(int64, states->n);
		Datum	   *columns[5];
		Datum		values[6];
		int			n = 0;

		for (int i = 0; i < lengthof(columns); i++)
			columns[i] = palloc_array(Datum, states->n);
		for (int i = 0; i < states->n; i++)
		{
			TimestampTz next;
			Datum		bits;
			Datum		wakes;
			bool		nothing;

			if (!states->changed[i] || states->stored[i] != (kind > 0))
				continue;
			bits = pack_bits(states, i);
			wakes = pack_wakes(states, i, &next);
			nothing = VARSIZE(DatumGetPointer(bits)) == VARHDRSZ && next == DT_NOEND;
			if (nothing != (kind == 2) && kind > 0)
				continue;
			if (nothing && kind == 0)
				continue;
			contacts[n] = states->contact_ids[i];
			columns[0][n] = TimestampTzGetDatum(next);
			columns[1][n] = bits;
			columns[2][n] = wakes;
			columns[3][n] = states->stored[i] ? states->old_bits[i] : empty;
			columns[4][n++] = states->stored[i] ? states->old_wakes[i] : empty;
		}
		if (n == 0)
			continue;
		values[0] = ma_int8_array(contacts, n);
		values[1] = ma_datum_array(columns[0], n, TIMESTAMPTZOID);
		for (int i = 1; i < lengthof(columns); i++)
			values[i + 1] = ma_datum_array(columns[i], n, BYTEAOID);
		run_guarded(&statements[kind], values, n);
	}
}
