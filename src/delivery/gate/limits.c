/*
 * limits.c
 *		Caps and quiet hours at the gate: who gets one of the places that are left.
 *
 * What counts is what was sent and what is under way (sending, suspect), of the contact
 * and of those merged into him.  It is read under the locks of the contacts, and what is
 * under way counts from its claim on, so two workers never give away the same place.
 * Within a batch places are given in its order.  A message comes here only when it
 * has passed all other conditions, so that a place goes to none that is not sent.
 *
 * With `displace` at most as many messages wait as the cap has places; a more important
 * one takes the place of the least important, which is skipped.  Who waits for a cap
 * is told by the reason it is deferred with.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/gate/gate.h"

/* One that a cap has deferred. */
typedef struct Waiting
{
	int64		contact_id;
	int64		message_id;
	int32		priority;
	char	   *channel;
	char	   *reason;
	bool		gone;			/* displaced just now */
} Waiting;

typedef struct Person
{
	int64		contact_id;
	List	   *counted;		/* MaGateCounted *, by time */
	List	   *waiting;		/* Waiting * */
} Person;

/* What the caps that a message is over say. */
typedef struct Over
{
	const MaCap *cap;			/* that decides */
	TimestampTz frees;			/* when there is a place under all of them */
} Over;

static Person *read_persons(MaMessage **messages, int n, TimestampTz now, int *npersons);
static void read_counted(Person *persons, int n, TimestampTz since);
static void read_waiting(Person *persons, int n);
static Person *person_of(Person *persons, int n, int64 contact_id);
static bool over_caps(const MaMessage *message, const Person *person, TimestampTz now, Over *over);
static bool over_cap(const MaCap *cap, const MaMessage *message, const Person *person,
					 TimestampTz now, TimestampTz *frees);
static void send_away(MaMessage *message, const char *gate, MaMessageState becomes, char *reason,
					  TimestampTz next_try);
static MaMessage *displace(MaMessage *message, Person *person, const Over *over);
static int	compare_importance(const Waiting *waiting, const MaMessage *message);
static MaMessage *displaced_by(Waiting *waiting, const MaMessage *message, const MaCap *cap);
static bool has_quiet_hours(void);
static bool is_quiet(const MaMessage *message, TimestampTz now, TimestampTz *until, char **reason);

static const MaOwnQuietHours *own_quiet_hours = NULL;

bool
ma_gate_has_caps(void)
{
	return ma_caps() != NIL;
}

bool
ma_gate_has_limits(void)
{
	return ma_gate_has_caps() || has_quiet_hours();
}

void
ma_register_own_quiet_hours(const MaOwnQuietHours *hours)
{
	own_quiet_hours = hours;
}

static bool
has_quiet_hours(void)
{
	return ma_quiet_any() || (own_quiet_hours != NULL && own_quiet_hours->any());
}

/* True within the quiet hours that hold for the message: its journey's, else its channel's. */
static bool
is_quiet(const MaMessage *message, TimestampTz now, TimestampTz *until, char **reason)
{
	if (message->topic_id == MA_TOPIC_TRANSACTIONAL_ID || message->test_for != 0)
		return false;
	if (message->journey != NULL && own_quiet_hours != NULL &&
		own_quiet_hours->find(message->journey, now, message->time_zone, until, reason))
		return *until != 0;
	return ma_quiet_until(message->channel, now, message->time_zone, until, reason);
}

/* A time that lies behind not_after is no next try: it expires before. */
static void
send_away(MaMessage *message, const char *gate, MaMessageState becomes, char *reason,
		  TimestampTz next_try)
{
	message->gate = gate;
	message->becomes = becomes;
	message->reason = reason;
	message->next_try = next_try;
	if (message->not_after < next_try)
		message->next_try = message->not_after + 1;
}

void
ma_gate_limit_quiet(MaMessage **messages, int n, TimestampTz now)
{
	TimestampTz until;
	char	   *reason;

	if (!has_quiet_hours())
		return;
	for (int i = 0; i < n; i++)
		if (is_quiet(messages[i], now, &until, &reason))
			send_away(messages[i], MA_GATE_QUIET, MA_MESSAGE_DEFERRED, reason, until);
}

List *
ma_gate_limit(MaMessage **messages, int n, TimestampTz now)
{
	Person	   *persons;
	List	   *displaced = NIL;
	int			npersons;

	ma_gate_limit_quiet(messages, n, now);
	if (!ma_gate_has_caps() || n == 0)
		return NIL;
	persons = read_persons(messages, n, now, &npersons);
	for (int i = 0; i < n; i++)
	{
		MaMessage  *message = messages[i];
		Person	   *person;
		Over		over;

		if (message->gate != NULL || message->topic_id == MA_TOPIC_TRANSACTIONAL_ID ||
			message->test_for != 0)
			continue;
		person = person_of(persons, npersons, message->contact_id);
		if (!over_caps(message, person, now, &over))
		{
			MaGateCounted *counted = palloc_object(MaGateCounted);

			counted->at = now;
			counted->channel = message->channel;
			counted->topic_id = message->topic_id;
			person->counted = lappend(person->counted, counted);
			continue;
		}
		if (over.cap->when == MA_CAP_SKIP)
		{
			send_away(message, MA_GATE_CAP, MA_MESSAGE_SKIPPED, ma_cap_text(over.cap), 0);
			continue;
		}
		send_away(message, MA_GATE_CAP, MA_MESSAGE_DEFERRED, ma_cap_text(over.cap), over.frees);
		if (over.cap->when == MA_CAP_DISPLACE)
		{
			MaMessage  *other = displace(message, person, &over);

			if (other != NULL)
				displaced = lappend(displaced, other);
		}
	}
	return displaced;
}

/* ---- what counts ---- */

/* The contacts of the batch, in the order of their numbers. */
static Person *
read_persons(MaMessage **messages, int n, TimestampTz now, int *npersons)
{
	int64	   *ids = palloc_array(int64, n);
	Person	   *persons = palloc0_array(Person, n);
	TimestampTz since = now;
	ListCell   *cell;

	for (int i = 0; i < n; i++)
		ids[i] = messages[i]->contact_id;
	qsort(ids, n, sizeof(int64), ma_compare_int64);
	*npersons = 0;
	for (int i = 0; i < n; i++)
		if (i == 0 || ids[i] != ids[i - 1])
			persons[(*npersons)++].contact_id = ids[i];
	foreach(cell, ma_caps())
		since = Min(since, ma_cap_look_back(lfirst(cell), now));
	read_counted(persons, *npersons, since);
	read_waiting(persons, *npersons);
	return persons;
}

static Person *
person_of(Person *persons, int n, int64 contact_id)
{
	int			low = 0;

	while (persons[low].contact_id != contact_id)
	{
		low++;
		Assert(low < n);
	}
	return &persons[low];
}

#define WITH_MERGED \
	"WITH RECURSIVE who (n, contact_id) AS (SELECT u.n, u.contact_id " \
	"FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (contact_id, n) UNION " \
	"SELECT w.n, g.merged_id FROM who AS w JOIN marketing_internal.contact_merge AS g " \
	"ON g.contact_id OPERATOR(pg_catalog.=) w.contact_id WHERE g.split_at IS NULL) "

static Datum
ids_of(const Person *persons, int n)
{
	int64	   *ids = palloc_array(int64, n);

	for (int i = 0; i < n; i++)
		ids[i] = persons[i].contact_id;
	return ma_int8_array(ids, n);
}

static void
read_counted(Person *persons, int n, TimestampTz since)
{
	static MaStatement find = {
		WITH_MERGED "SELECT x.n, x.at, x.channel, x.topic_id FROM ("
		"SELECT w.n, l.settled_at AS at, l.channel, l.topic_id FROM who AS w "
		"JOIN marketing_internal.message_log AS l ON l.contact_id OPERATOR(pg_catalog.=) w.contact_id "
		"WHERE l.state OPERATOR(pg_catalog.=) 'sent' AND l.settled_at OPERATOR(pg_catalog.>=) $2 "
		"AND l.topic_id OPERATOR(pg_catalog.<>) 0 UNION ALL "
		"SELECT w.n, m.since, m.channel, m.topic_id FROM who AS w "
		"JOIN marketing_internal.message AS m ON m.contact_id OPERATOR(pg_catalog.=) w.contact_id "
		"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{sending,suspect}') "
		"AND m.topic_id OPERATOR(pg_catalog.<>) 0) AS x ORDER BY x.n, x.at",
		2, {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[2];
	MaRows		rows;
	bool		isnull;

	values[0] = ids_of(persons, n);
	values[1] = TimestampTzGetDatum(since);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Person	   *person = &persons[ma_int64(&rows, i, 1) - 1];
		MaGateCounted *counted = palloc_object(MaGateCounted);

		counted->at = DatumGetTimestampTz(ma_value(&rows, i, 2, &isnull));
		counted->channel = ma_text(&rows, i, 3);
		counted->topic_id = ma_int32(&rows, i, 4);
		person->counted = lappend(person->counted, counted);
	}
}

/* Only caps that displace ask who waits. */
static void
read_waiting(Person *persons, int n)
{
	static MaStatement find = {
		WITH_MERGED "SELECT w.n, m.contact_id, m.message_id, m.priority, m.channel, m.reason "
		"FROM who AS w JOIN marketing_internal.message AS m "
		"ON m.contact_id OPERATOR(pg_catalog.=) w.contact_id "
		"WHERE m.state OPERATOR(pg_catalog.=) 'deferred' "
		"AND pg_catalog.starts_with(m.reason, 'cap ')",
		1, {INT8ARRAYOID}
	};
	Datum		value;
	MaRows		rows;
	bool		wanted = false;
	ListCell   *cell;

	foreach(cell, ma_caps())
		wanted |= ((MaCap *) lfirst(cell))->when == MA_CAP_DISPLACE;
	if (!wanted)
		return;
	value = ids_of(persons, n);
	rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Person	   *person = &persons[ma_int64(&rows, i, 1) - 1];
		Waiting    *waiting = palloc0_object(Waiting);

		waiting->contact_id = ma_int64(&rows, i, 2);
		waiting->message_id = ma_int64(&rows, i, 3);
		waiting->priority = ma_int32(&rows, i, 4);
		waiting->channel = ma_text(&rows, i, 5);
		waiting->reason = ma_text(&rows, i, 6);
		person->waiting = lappend(person->waiting, waiting);
	}
}

/* ---- caps ---- */

/*
 * True if there is no place under some cap.  One that skips decides before the others,
 * then one that displaces; it goes when there is a place under all of them.
 */
static bool
over_caps(const MaMessage *message, const Person *person, TimestampTz now, Over *over)
{
	ListCell   *cell;

	over->cap = NULL;
	over->frees = DT_NOBEGIN;
	foreach(cell, ma_caps())
	{
		const MaCap *cap = lfirst(cell);
		TimestampTz frees = now;

		if (!ma_cap_counts(cap, message->channel, message->topic_id) ||
			!over_cap(cap, message, person, now, &frees))
			continue;
		over->frees = Max(over->frees, frees);
		if (over->cap == NULL ||
			(over->cap->when != MA_CAP_SKIP && cap->when == MA_CAP_SKIP) ||
			(over->cap->when == MA_CAP_DEFER && cap->when == MA_CAP_DISPLACE))
			over->cap = cap;
	}
	return over->cap != NULL;
}

/* The place is free when so many of those that count have ceased to that one is left. */
static bool
over_cap(const MaCap *cap, const MaMessage *message, const Person *person, TimestampTz now,
		 TimestampTz *frees)
{
	TimestampTz *ends = palloc_array(TimestampTz, Max(list_length(person->counted), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, person->counted)
	{
		const MaGateCounted *counted = lfirst(cell);

		if (!ma_cap_counts(cap, counted->channel, counted->topic_id))
			continue;
		ends[n] = ma_cap_frees(cap, counted->at, message->time_zone);
		if (ends[n] > now)
			n++;
	}
	/* They are in the order of their times, and so are their ends. */
	if (n >= cap->at_most)
		*frees = ends[n - cap->at_most];
	pfree(ends);
	return n >= cap->at_most;
}

const MaCap *
ma_gate_over(const MaMessage *message, List *counted, TimestampTz now, TimestampTz *frees)
{
	Person		person = {message->contact_id, counted, NIL};
	Over		over;

	if (!over_caps(message, &person, now, &over))
		return NULL;
	*frees = over.frees;
	return over.cap;
}

/* ---- who waits for a place ---- */

/* Above 0: the waiting one is more important. */
static int
compare_importance(const Waiting *waiting, const MaMessage *message)
{
	return waiting->priority != message->priority ?
		(waiting->priority > message->priority ? 1 : -1) :
		waiting->message_id < message->message_id ? 1 : -1;
}

/*
 * The message is to wait for its cap: where too many do, the least important of them is
 * skipped, be it the message itself.  Returns the other one that is, or NULL.
 */
static MaMessage *
displace(MaMessage *message, Person *person, const Over *over)
{
	char	   *reason = ma_cap_text(over->cap);
	Waiting    *least = NULL;
	Waiting    *self;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, person->waiting)
	{
		Waiting    *waiting = lfirst(cell);
		MaMessage	other = {.priority = waiting->priority, .message_id = waiting->message_id};

		if (waiting->gone || waiting->message_id == message->message_id ||
			strcmp(waiting->reason, reason) != 0)
			continue;
		count++;
		if (least == NULL || compare_importance(least, &other) > 0)
			least = waiting;
	}
	if (count >= over->cap->at_most && compare_importance(least, message) > 0)
	{
		send_away(message, MA_GATE_CAP, MA_MESSAGE_SKIPPED,
				  psprintf("cap \"%s\": more important messages wait for it", over->cap->name), 0);
		return NULL;
	}
	self = palloc0_object(Waiting);
	self->contact_id = message->contact_id;
	self->message_id = message->message_id;
	self->priority = message->priority;
	self->channel = message->channel;
	self->reason = reason;
	person->waiting = lappend(person->waiting, self);
	return count >= over->cap->at_most ? displaced_by(least, message, over->cap) : NULL;
}

static MaMessage *
displaced_by(Waiting *waiting, const MaMessage *message, const MaCap *cap)
{
	MaMessage  *other = palloc0_object(MaMessage);

	waiting->gone = true;
	other->contact_id = waiting->contact_id;
	other->message_id = waiting->message_id;
	other->channel = waiting->channel;
	other->gate = MA_GATE_CAP;
	other->becomes = MA_MESSAGE_SKIPPED;
	other->reason = psprintf("cap \"%s\": displaced by message " INT64_FORMAT, cap->name,
							 message->message_id);
	return other;
}
