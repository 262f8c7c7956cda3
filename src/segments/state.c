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

#include "commands/sequence.h"
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
#define STATE_COLUMNS 4
#define MEMBER_COLUMNS 3
#define TRANSITION_COLUMNS 7

/* States that are read in the order of their contacts. */
typedef struct StateReading
{
	MaSegmentStates *states;
	int			place;
} StateReading;

#define WAKE_BYTES 10			/* slot and instant, most significant byte first */

static void read_stored(MaSegmentStates *states, MaRun how);
static void read_range(MaSegmentStates *states, MaRun how);
static bool take_state(TupleTableSlot *row, void *arg);
static void unpack(MaSegmentStates *states, int contact, Datum bits, Datum wakes);
static Datum pack_bits(const MaSegmentStates *states, int contact);
static Datum pack_wakes(const MaSegmentStates *states, int contact, TimestampTz *next);
static void write_members(MaSegmentStates *states);
static void write_member(MaRowWrite *write, MaIndexRead *read, const Datum *values, bool stays);
static void write_transitions(MaSegmentStates *states, TimestampTz now);
static void write_states(MaSegmentStates *states);
static bool is_as_read(const MaSegmentStates *states, int contact, TupleTableSlot *row);
static bool same_bytes(Datum left, Datum right);
static void write_state(const MaSegmentStates *states, int contact, MaRowWrite *write,
						TupleTableSlot *row);
static void require_current(const MaSegments *all);
static bool anything_changed(const MaSegmentStates *states);
static void state_changed(int64 contact_id) pg_attribute_noreturn();

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
	states->at = palloc0_array(ItemPointerData, Max(n, 1));
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
	MaIndexRead *read;

	if (ma_are_neighbours(states->contact_ids, states->n))
	{
		read_range(states, how);
		return;
	}
	read = ma_index_begin("segment_state_pkey", lengthof(equal), equal, how);
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
		states->at[i] = row->tts_tid;
		unpack(states, i, slot_getattr(row, STATE_BITS, &isnull),
			   slot_getattr(row, STATE_WAKES, &isnull));
	}
	ma_index_end(read);
}

static void
read_range(MaSegmentStates *states, MaRun how)
{
	static MaStatement range = {
		"SELECT s.contact_id, s.ctid, s.bits, s.wakes FROM marketing_internal.segment_state AS s "
		"WHERE s.contact_id OPERATOR(pg_catalog.>=) $1 AND s.contact_id OPERATOR(pg_catalog.<=) $2 "
		"ORDER BY s.contact_id",
		2, {INT8OID, INT8OID}
	};
	StateReading reading = {states, 0};
	Datum		values[2];
	int			nest_level;

	values[0] = Int64GetDatum(states->contact_ids[0]);
	values[1] = Int64GetDatum(states->contact_ids[states->n - 1]);
	nest_level = ma_pin_index_scans();
	ma_run_each(&range, values, how, take_state, &reading);
	ma_unpin_settings(nest_level);
}

static bool
take_state(TupleTableSlot *row, void *arg)
{
	StateReading *reading = arg;
	MaSegmentStates *states = reading->states;
	bool		isnull;
	int64		whose = DatumGetInt64(slot_getattr(row, 1, &isnull));

	while (reading->place < states->n && states->contact_ids[reading->place] < whose)
		reading->place++;
	if (reading->place >= states->n || states->contact_ids[reading->place] != whose)
		return true;
	states->stored[reading->place] = true;
	states->at[reading->place] = *(ItemPointer) DatumGetPointer(slot_getattr(row, 2, &isnull));
	unpack(states, reading->place, slot_getattr(row, 3, &isnull), slot_getattr(row, 4, &isnull));
	return true;
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
	const unsigned char *data = (const unsigned char *) VARDATA_ANY(bits);

	return slot / 8 < VARSIZE_ANY_EXHDR(bits) && ((data[slot / 8] >> (slot % 8)) & 1);
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

/* Somebody has evaluated without the contact's lock. */
static void
state_changed(int64 contact_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_MA_STATE_CHANGED),
			 errmsg("state of segments was changed by somebody else"),
			 errdetail("It is that of contact %lld.", (long long) contact_id)));
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
	static const RegProcedure equal[] = {F_INT4EQ, F_INT8EQ};
	MaRowWrite *write = ma_write_begin("segment_member", MEMBER_COLUMNS);
	MaIndexRead *read = NULL;
	MaSegments *all = states->all;
	ListCell   *cell;

	/* The last flip of each says since when; those before it are done with it. */
	for (int i = list_length(states->flips) - 1; i >= 0; i--)
	{
		MaSegmentFlip *flip = list_nth(states->flips, i);
		int			place = flip->contact * all->n + flip->segment;

		flip->last = !states->done[place];
		states->done[place] = true;
	}
	foreach(cell, states->flips)
	{
		MaSegmentFlip *flip = lfirst(cell);
		int			place = flip->contact * all->n + flip->segment;
		Datum		values[MEMBER_COLUMNS];

		if (!flip->last || (!states->before[place] && !states->bits[place]))
			continue;
		values[0] = Int32GetDatum(all->segments[flip->segment]->id);
		values[1] = Int64GetDatum(states->contact_ids[flip->contact]);
		values[2] = TimestampTzGetDatum(flip->at);
		if (!states->before[place])
		{
			ma_write_insert(write, values, NULL);
			continue;
		}
		if (read == NULL)
			read = ma_index_begin("segment_member_pkey", lengthof(equal), equal,
								  MA_RUN_READ_LATEST);
		write_member(write, read, values, states->bits[place]);
	}
	if (read != NULL)
		ma_index_end(read);
	ma_write_end(write);
}

/* He who was a member goes, or is one since another time. */
static void
write_member(MaRowWrite *write, MaIndexRead *read, const Datum *values, bool stays)
{
	TupleTableSlot *row;

	ma_index_find(read, values);
	row = ma_index_next(read);
	if (row == NULL || !(stays ? ma_write_update(write, &row->tts_tid, values, NULL) :
						 ma_write_delete(write, &row->tts_tid)))
		state_changed(DatumGetInt64(values[1]));
}

static void
write_transitions(MaSegmentStates *states, TimestampTz now)
{
	MaRowWrite *write = ma_write_begin_at("segment_transition", now, TRANSITION_COLUMNS);
	Oid			sequence = ma_own_table("segment_transition_transition_id_seq");
	Datum		causes[2] = {0};
	const char *texts[2] = {NULL};
	ListCell   *cell;

	foreach(cell, states->flips)
	{
		MaSegmentFlip *flip = lfirst(cell);
		int			i = texts[0] == flip->cause ? 0 : 1;
		Datum		values[TRANSITION_COLUMNS];

		/* A batch has one cause mostly, and a constant stands for it. */
		if (texts[i] != flip->cause)
		{
			i = texts[0] == NULL ? 0 : 1;
			texts[i] = flip->cause;
			causes[i] = CStringGetTextDatum(flip->cause);
		}
		values[0] = Int64GetDatum(states->contact_ids[flip->contact]);
		values[1] = Int64GetDatum(nextval_internal(sequence, false));
		values[2] = Int32GetDatum(states->all->segments[flip->segment]->id);
		values[3] = BoolGetDatum(flip->entered);
		values[4] = TimestampTzGetDatum(flip->at);
		values[5] = TimestampTzGetDatum(now);
		values[6] = causes[i];
		ma_write_insert(write, values, NULL);
	}
	ma_write_end(write);
}

/* The rows of those who are changed, as they must be still. */
static void
write_states(MaSegmentStates *states)
{
	static const RegProcedure equal[] = {F_INT8EQ};
	MaRowWrite *write = ma_write_begin("segment_state", STATE_COLUMNS);
	MaIndexRead *read = NULL;

	for (int i = 0; i < states->n; i++)
	{
		TupleTableSlot *row = NULL;

		if (!states->changed[i])
			continue;
		if (states->stored[i])
		{
			if (read == NULL)
				read = ma_index_begin("segment_state_pkey", lengthof(equal), equal,
									  MA_RUN_READ_LATEST);
			row = ma_index_at(read, &states->at[i]);
			if (row == NULL || !is_as_read(states, i, row))
				state_changed(states->contact_ids[i]);
		}
		write_state(states, i, write, row);
	}
	if (read != NULL)
		ma_index_end(read);
	ma_write_end(write);
}

/* The place may have been given to another row since. */
static bool
is_as_read(const MaSegmentStates *states, int contact, TupleTableSlot *row)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(row, 1, &isnull)) == states->contact_ids[contact] &&
		same_bytes(slot_getattr(row, STATE_BITS, &isnull), states->old_bits[contact]) &&
		same_bytes(slot_getattr(row, STATE_WAKES, &isnull), states->old_wakes[contact]);
}

static bool
same_bytes(Datum left, Datum right)
{
	return DatumGetBool(DirectFunctionCall2(byteaeq, left, right));
}

/* A contact in no segment and without a wake has no row. */
static void
write_state(const MaSegmentStates *states, int contact, MaRowWrite *write, TupleTableSlot *row)
{
	TimestampTz next;
	Datum		values[4];
	bool		nothing;
	bool		met = true;

	values[0] = Int64GetDatum(states->contact_ids[contact]);
	values[STATE_BITS - 1] = pack_bits(states, contact);
	values[STATE_WAKES - 1] = pack_wakes(states, contact, &next);
	values[STATE_NEXT_WAKE - 1] = TimestampTzGetDatum(next);
	nothing = next == DT_NOEND &&
		VARSIZE(DatumGetPointer(values[STATE_BITS - 1])) == VARHDRSZ;
	if (row == NULL && !nothing)
		ma_write_insert(write, values, NULL);
	else if (row != NULL)
		met = nothing ? ma_write_delete(write, &row->tts_tid) :
			ma_write_update(write, &row->tts_tid, values, NULL);
	if (!met)
		state_changed(states->contact_ids[contact]);
}
