/*
 * audience.c
 *		Who gets a broadcast: a rule, less another one, or those who got an earlier one and
 *		did not open it.
 *
 * The rules are evaluated for everybody as of now, exactly, as segments are.  An opening
 * or click counts only if a person made it.
 */
#include "base/base.h"

#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "rules/rules.h"
#include "utils/builtins.h"

typedef struct Audience
{
	MaRuleSet  *set;			/* NULL: no rules */
	int			nrules;
	bool		has_audience;
	MaContactTaker take;
	void	   *arg;
} Audience;

static int64 *not_opened(const char *broadcast, int *n);
static void take_portion(const int64 *ids, int n, void *arg);

/* The rules, read with the rights of the definer. */
static Audience
begin(const MaBroadcast *broadcast, Oid definer, MaContactTaker take, void *arg)
{
	Audience	audience = {NULL, 0, broadcast->audience != NULL, take, arg};
	MaRuleScope scopes[2] = {{"audience", NULL}, {"exclude", NULL}};
	const char *texts[2] = {broadcast->audience, broadcast->exclude};
	MaRule	   *rules[2];

	for (int i = 0; i < lengthof(texts); i++)
		if (texts[i] != NULL)
			rules[audience.nrules++] = ma_rule_parse(texts[i], &scopes[i], definer);
	if (audience.nrules > 0)
		audience.set = ma_rule_set_make(rules, audience.nrules);
	return audience;
}

void
ma_audience_each(const MaBroadcast *broadcast, Oid definer, MaContactTaker take, void *arg)
{
	Audience	audience = begin(broadcast, definer, take, arg);
	int64	   *ids;
	int			n;

	if (broadcast->resend_of == NULL)
	{
		ma_contacts_each(0, MA_RUN_READ_LATEST, take_portion, &audience);
		return;
	}
	ids = not_opened(broadcast->resend_of, &n);
	ma_contacts_each_of(ids, n, take_portion, &audience);
}

void
ma_audience_of(const MaBroadcast *broadcast, Oid definer, int64 contact_id, MaContactTaker take,
			   void *arg)
{
	Audience	audience = begin(broadcast, definer, take, arg);

	take_portion(&contact_id, 1, &audience);
}

/* Contacts to whom its message was sent and who have not opened it. */
static int64 *
not_opened(const char *broadcast, int *n)
{
	static MaStatement read = {
		"SELECT DISTINCT m.contact_id FROM marketing_internal.message_log AS m "
		"WHERE m.journey OPERATOR(pg_catalog.=) $1 AND m.state OPERATOR(pg_catalog.=) 'sent' "
		"AND m.test_for IS NULL AND NOT EXISTS (SELECT FROM marketing_internal.message_hit AS h "
		"WHERE h.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"AND h.message_id OPERATOR(pg_catalog.=) m.message_id AND NOT h.machine) ORDER BY 1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(broadcast);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	int64	   *ids = palloc_extended(mul_size(sizeof(int64), Max(rows.n, 1)), MCXT_ALLOC_HUGE);

	for (uint64 i = 0; i < rows.n; i++)
		ids[i] = ma_int64(&rows, i, 1);
	*n = (int) rows.n;
	return ids;
}

/* Hands on those for whom the first rule is true, and the second is not. */
static void
take_portion(const int64 *ids, int n, void *arg)
{
	Audience   *audience = arg;
	MaContactChange *contacts = ma_read_contacts_as(ids, n, MA_RUN_READ_LATEST);
	MaTruth    *truth = palloc0_array(MaTruth, mul_size(n, Max(audience->nrules, 1)));
	TimestampTz *as_of = palloc_array(TimestampTz, n);
	int64	   *taken = palloc_array(int64, n);
	int			ntaken = 0;
	TimestampTz now = ma_now();

	for (int i = 0; i < n; i++)
		as_of[i] = now;
	if (audience->set != NULL)
		ma_rule_set_evaluate(audience->set, contacts, n, as_of, MA_RUN_READ_LATEST, NULL, truth);
	for (int i = 0; i < n; i++)
	{
		const MaTruth *own = &truth[i * audience->nrules];
		bool		excluded = audience->nrules > (audience->has_audience ? 1 : 0) &&
			own[audience->nrules - 1].truth;

		if (contacts[i].nkeys > 0 && !excluded && (!audience->has_audience || own[0].truth))
			taken[ntaken++] = ids[i];
	}
	if (ntaken > 0)
		audience->take(taken, ntaken, audience->arg);
}
