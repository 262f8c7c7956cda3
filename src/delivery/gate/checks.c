/*
 * checks.c
 *		The conditions of the gate: their registration, and the SQL that asks all of
 *		them about a batch of messages.
 *
 * A condition is SQL that gives the reason why not; they are asked in order and
 * the first reason is the verdict.  Rooms above register theirs.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/gate/gate.h"

#define MAX_CHECKS 24

static const MaGateCheck *checks[MAX_CHECKS];
static int	nchecks = 0;

static void append_checks(StringInfo sql, bool tests);

void
ma_register_gate_check(const MaGateCheck *check)
{
	if (nchecks == MAX_CHECKS)
		elog(ERROR, "cannot happen: more than %d conditions of the gate", MAX_CHECKS);
	checks[nchecks++] = check;
}

const char *
ma_gate_sql(const char *name)
{
	for (int i = 0; i < nchecks; i++)
		if (strcmp(checks[i]->name, name) == 0)
			return checks[i]->reason;
	return NULL;
}

/* Conditions of delivery itself and of consent; others follow by registration. */
void
ma_gate_init(void)
{
	static MaGateCheck own[] = {
		{"not_after", MA_GATE_EXPIRE,
		"CASE WHEN m.not_after OPERATOR(pg_catalog.<) $1 THEN 'it came too late' END", true},
		/* Merged after this claim looked for that: the next one finds the other contact. */
		{"merged", MA_GATE_LEAVE,
		"CASE WHEN NOT EXISTS (SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) m.contact_id AND NOT k.excluded) "
		"AND EXISTS (SELECT FROM marketing_internal.contact_merge AS g "
		"JOIN marketing_internal.contact AS c "
		"ON c.contact_id OPERATOR(pg_catalog.=) g.contact_id "
		"WHERE g.merged_id OPERATOR(pg_catalog.=) m.contact_id AND g.split_at IS NULL "
		"AND g.contact_id OPERATOR(pg_catalog.<>) g.merged_id) "
		"THEN 'the contact has just been merged into another one' END"},
		{"contact", MA_GATE_SKIP,
		"CASE WHEN NOT EXISTS (SELECT FROM marketing_internal.contact_key AS k "
		"WHERE k.contact_id OPERATOR(pg_catalog.=) COALESCE(m.test_for, m.contact_id) "
		"AND NOT k.excluded) THEN 'the contact is not there any more' END", true},
		{"template", MA_GATE_SKIP,
		"CASE WHEN NOT r.has_template THEN COALESCE((SELECT 'its template is now one for ' "
		"OPERATOR(pg_catalog.||) t.channel FROM marketing_internal.template AS t "
		"WHERE t.template_id OPERATOR(pg_catalog.=) m.template_id "
		"AND t.channel OPERATOR(pg_catalog.<>) m.channel), "
		"'its template does not exist any more') END", true},
		{"waiting", MA_GATE_LEAVE,
		"CASE WHEN r.waiting AND (m.topic_id OPERATOR(pg_catalog.<>) 0 "
		"OR m.enrollment_id IS NOT NULL) "
		"THEN 'changes of the contact are still being evaluated' END"},
		{"address changed", MA_GATE_LEAVE,
		"(SELECT 'the address is changing' FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"AND CASE m.channel WHEN 'email' THEN c.email WHEN 'sms' THEN c.phone "
		"WHEN 'push' THEN c.push_token END IS DISTINCT FROM r.address)"},
		{"address", MA_GATE_SKIP,
		"CASE WHEN r.address IS NULL AND m.channel OPERATOR(pg_catalog.<>) 'webhook' "
		"THEN CASE m.channel WHEN 'email' THEN 'the contact has no valid e-mail address' "
		"WHEN 'sms' THEN 'the contact has no valid phone number' "
		"ELSE 'the contact has no address for ' OPERATOR(pg_catalog.||) m.channel END END"},
		{"consent", MA_GATE_SKIP, NULL},
		{"suppression", MA_GATE_SKIP, NULL, true},
		{"armed", MA_GATE_DEFER,
		"CASE WHEN r.server IS NOT NULL AND NOT $2 THEN 'disarmed' END", true},
		/* Nobody could unsubscribe. */
		{"public_url", MA_GATE_DEFER,
		"CASE WHEN r.server IS NOT NULL AND m.topic_id OPERATOR(pg_catalog.<>) 0 "
		"AND NOT EXISTS (SELECT FROM marketing_internal.setting AS s "
		"WHERE s.name OPERATOR(pg_catalog.=) 'public_url') "
		"THEN 'public_url is not set, and links would lead nowhere' END"},
	};

	for (int i = 0; i < lengthof(own); i++)
	{
		if (strcmp(own[i].name, "consent") == 0)
			own[i].reason = ma_consent_reason_sql;
		else if (strcmp(own[i].name, "suppression") == 0)
			own[i].reason = ma_suppression_reason_sql;
		ma_register_gate_check(&own[i]);
	}
}

char *
ma_gate_verdict_sql(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "CASE WHEN m.test_for IS NULL THEN ");
	append_checks(&sql, false);
	appendStringInfoString(&sql, " ELSE ");
	append_checks(&sql, true);
	appendStringInfoString(&sql, " END");
	return sql.data;
}

/* The first reason of all conditions, or of those that hold for tests. */
static void
append_checks(StringInfo sql, bool tests)
{
	const char *before = "COALESCE(";

	for (int i = 0; i < nchecks; i++)
		if (checks[i]->tests || !tests)
		{
			appendStringInfo(sql, "%s'%d:' OPERATOR(pg_catalog.||) (%s)", before, i,
							 checks[i]->reason);
			before = ", ";
		}
	appendStringInfoChar(sql, ')');
}

const MaGateCheck *
ma_gate_read_verdict(const char *verdict, char **reason)
{
	*reason = pstrdup(strchr(verdict, ':') + 1);
	return checks[atoi(verdict)];
}

/*
 * Each message is found by its key, whatever the planner thinks of the table: there is an
 * index of all that are due, which may be millions.
 */
const char *
ma_gate_asked_sql(void)
{
	return "ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
		"pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), "
		"pg_catalog.unnest($9)) WITH ORDINALITY AS r (contact_id, message_id, address, "
		"address_hash, server, has_template, waiting, n) CROSS JOIN LATERAL ("
		"SELECT * FROM marketing_internal.message AS x "
		"WHERE x.contact_id OPERATOR(pg_catalog.=) r.contact_id "
		"AND x.message_id OPERATOR(pg_catalog.=) r.message_id LIMIT 1) AS m";
}

void
ma_gate_asked_values(MaMessage **messages, int n, Datum *values)
{
	int64	   *contacts = palloc_array(int64, n);
	int64	   *ids = palloc_array(int64, n);
	char	  **addresses = palloc_array(char *, n);
	char	  **servers = palloc_array(char *, n);
	Datum	   *datums[3];
	bool	   *nulls = palloc_array(bool, n);

	for (int i = 0; i < lengthof(datums); i++)
		datums[i] = palloc_array(Datum, n);
	for (int i = 0; i < n; i++)
	{
		contacts[i] = messages[i]->contact_id;
		ids[i] = messages[i]->message_id;
		addresses[i] = messages[i]->address;
		servers[i] = unconstify(char *, messages[i]->server_name);
		datums[0][i] = messages[i]->address_hash;
		nulls[i] = messages[i]->address == NULL;
		datums[1][i] = BoolGetDatum(messages[i]->has_template);
		datums[2][i] = BoolGetDatum(messages[i]->waiting);
	}
	values[0] = TimestampTzGetDatum(ma_now());
	values[1] = BoolGetDatum(ma_armed());
	values[2] = ma_int8_array(contacts, n);
	values[3] = ma_int8_array(ids, n);
	values[4] = ma_text_array(addresses, n);
	values[5] = ma_datum_array_nulls(datums[0], nulls, n, BYTEAOID);
	values[6] = ma_text_array(servers, n);
	values[7] = ma_datum_array(datums[1], n, BOOLOID);
	values[8] = ma_datum_array(datums[2], n, BOOLOID);
}
