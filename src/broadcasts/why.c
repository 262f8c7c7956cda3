/*
 * why.c
 *		What broadcasts tell why_not_sent(): whether one was launched, and whether the contact
 *		was in its audience.
 *
 * Who has entered the broadcast's journey was in the audience, and all gates behind that
 * are the journey's.  Of others the frozen audience says who is to enter; who is not in it
 * was not in it then, and what its rules say of him now is told besides.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "rules/rules.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* How the contact stands to the frozen audience. */
typedef struct Membership
{
	bool		known;			/* in broadcast_audience */
	bool		tested;
	bool		asked;			/* enters the journey with the next turn */
	bool		inside;			/* has entered it, or was refused */
} Membership;

static bool recognise(const char *name, MaWhyQuestion *question);
static List *names(void);
static void launched(const MaWhyQuestion *question, MaWhyAnswer *answer);
static void audience(const MaWhyQuestion *question, MaWhyAnswer *answer);
static Membership membership_of(const MaBroadcastRow *row, int64 contact_id);
static char *rules_now(const MaBroadcastRow *row, int64 contact_id);
static void take(const int64 *ids, int n, void *arg);

static const MaWhySubject subject = {"broadcast", recognise, names};
static const MaWhyGate gates[] = {{4, "launch", launched}, {6, "audience", audience}};

void
ma_broadcast_why_init(void)
{
	ma_register_why_subject(&subject);
	for (int i = 0; i < lengthof(gates); i++)
		ma_register_why_gate(&gates[i]);
}

static bool
recognise(const char *name, MaWhyQuestion *question)
{
	MaBroadcastRow *row = ma_broadcast_find(name);

	if (row == NULL)
		return false;
	question->broadcast = row->name;
	if (question->journey == NULL)
		question->journey = row->name;
	return true;
}

static List *
names(void)
{
	static MaStatement all = {"SELECT name FROM marketing_internal.broadcast ORDER BY 1"};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *list = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		list = lappend(list, ma_text(&rows, i, 1));
	return list;
}

static void
launched(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaBroadcastRow *row = question->broadcast ? ma_broadcast_find(question->broadcast) : NULL;

	answer->verdict = MA_WHY_SKIP;
	/* Who has entered has the gate of the entry. */
	if (row == NULL || question->contact_id == 0 ||
		membership_of(row, question->contact_id).inside)
		return;
	answer->verdict = MA_WHY_OK;
	if (strcmp(row->state, "draft") == 0 || row->launched_at > question->at)
	{
		answer->verdict = MA_WHY_NO;
		answer->detail = psprintf("broadcast \"%s\" has not been launched", row->name);
		answer->next = psprintf("marketing.launch_broadcast('%s')", row->name);
		return;
	}
	answer->since = row->launched_at;
	answer->detail = psprintf("launched by %s", row->launched_by);
}

/* Who has not entered: is he to, or was he not meant? */
static void
audience(const MaWhyQuestion *question, MaWhyAnswer *answer)
{
	MaBroadcastRow *row = question->broadcast ? ma_broadcast_find(question->broadcast) : NULL;
	Membership	member;

	answer->verdict = MA_WHY_SKIP;
	if (row == NULL || question->contact_id == 0)
		return;
	member = membership_of(row, question->contact_id);
	answer->verdict = MA_WHY_OK;
	if (member.inside || question->message_id != 0)
		return;
	answer->since = row->launched_at;
	if (member.known && !member.tested && strcmp(row->state, "testing") == 0)
	{
		answer->verdict = MA_WHY_WAITING;
		answer->detail = "is not in the test, and gets the winner";
		answer->next = row->decide_at == DT_NOEND ?
			psprintf("decided %s after the last message of the test", row->parsed->test->after) :
			psprintf("decided at %s", timestamptz_to_str(row->decide_at));
	}
	else if (member.known || member.asked)
	{
		answer->verdict = MA_WHY_WAITING;
		answer->detail = "is in the audience, and yet to enter";
		answer->next = "the next turns of the scheduler, or CALL marketing.work()";
	}
	else
	{
		answer->verdict = MA_WHY_NO;
		answer->detail = psprintf("%s; %s", strcmp(row->state, "cancelled") == 0 ?
								  "had not entered when it was cancelled, or was not meant" :
								  "was not in the audience when it was frozen",
								  rules_now(row, question->contact_id));
	}
}

static Membership
membership_of(const MaBroadcastRow *row, int64 contact_id)
{
	static MaStatement find = {
		"SELECT a.tested, EXISTS (SELECT FROM marketing_internal.enrollment AS e "
		"JOIN marketing_internal.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id "
		"AND j.name OPERATOR(pg_catalog.=) $3 WHERE e.contact_id OPERATOR(pg_catalog.=) $2) "
		"OR EXISTS (SELECT FROM marketing_internal.enrollment_log AS l "
		"JOIN marketing_internal.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) l.journey_id "
		"AND j.name OPERATOR(pg_catalog.=) $3 WHERE l.contact_id OPERATOR(pg_catalog.=) $2), "
		"EXISTS (SELECT FROM marketing_internal.enrollment_signal AS s "
		"JOIN marketing_internal.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) s.journey_id "
		"AND j.name OPERATOR(pg_catalog.=) $3 WHERE s.contact_id OPERATOR(pg_catalog.=) $2 "
		"AND s.kind OPERATOR(pg_catalog.=) 'enter') "
		"FROM (SELECT) AS one LEFT JOIN marketing_internal.broadcast_audience AS a "
		"ON a.contact_id OPERATOR(pg_catalog.=) $2 AND a.broadcast_id OPERATOR(pg_catalog.=) $1",
		3, {INT4OID, INT8OID, TEXTOID}
	};
	Membership	member = {false};
	Datum		values[3];
	MaRows		rows;
	bool		isnull;

	values[0] = Int32GetDatum(row->id);
	values[1] = Int64GetDatum(contact_id);
	values[2] = CStringGetTextDatum(row->name);
	rows = ma_run(&find, values, NULL, MA_RUN_READ_LATEST);
	member.tested = DatumGetBool(ma_value(&rows, 0, 1, &isnull)) && !isnull;
	member.known = !isnull;
	member.inside = ma_bool(&rows, 0, 2);
	member.asked = ma_bool(&rows, 0, 3);
	return member;
}

/*
 * What the rules say of him now, with the rights of who launched it: they may have said
 * something else then.
 */
static char *
rules_now(const MaBroadcastRow *row, int64 contact_id)
{
	MaBroadcast without = *row->parsed;
	bool		with_exclude = false;
	bool		in_audience = false;
	Oid			definer = row->launched_by ? get_role_oid(row->launched_by, true) : InvalidOid;

	if (row->parsed->resend_of != NULL)
		return psprintf("it went to those who got \"%s\" and did not open it",
						row->parsed->resend_of);
	if (!OidIsValid(definer))
		return "nobody knows what its rules say now: the role that launched it is gone";
	without.exclude = NULL;
	ma_audience_of(row->parsed, definer, contact_id, take, &with_exclude);
	if (with_exclude)
		return "he would be in it now";
	ma_audience_of(&without, definer, contact_id, take, &in_audience);
	if (in_audience)
		return psprintf("now \"exclude\" is true for him: %s", row->parsed->exclude);
	if (row->parsed->audience == NULL)
		return "he is no contact any more";
	return psprintf("now \"audience\" is not true for him: %s", row->parsed->audience);
}

static void
take(const int64 *ids, int n, void *arg)
{
	*(bool *) arg = n > 0;
}
