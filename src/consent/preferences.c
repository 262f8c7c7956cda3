/*
 * preferences.c
 *		What a page of preferences needs: what somebody gets, and changing it, for who
 *		holds the token of a link in a message.
 *
 * The token of an unsubscribe_url opens it as well: who got the message may see and change
 * what he gets.  Nothing is told about the person, not even the address.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static void put_preferences(ReturnSetInfo *result, int64 contact_id);
static int64 contact_of_token(FunctionCallInfo fcinfo);
static int	read_wanted(Jsonb *wanted, MaConsentChange *changes, int64 contact_id, List **channels);
static bool read_pair(const char *key, MaTopic **topic, char **channel);

MA_FUNCTION(ma_preferences);
MA_FUNCTION(ma_preferences_by_token);
MA_FUNCTION(ma_set_preferences_by_token);

/* All topics by channel, with what the contact has said. */
static void
put_preferences(ReturnSetInfo *result, int64 contact_id)
{
	static MaStatement find = {
		"SELECT t.name, t.description, h.channel, COALESCE(c.state, 'none'), "
		"COALESCE(c.state, 'none') OPERATOR(pg_catalog.=) 'opted_in' "
		"OR (t.consent OPERATOR(pg_catalog.=) 'opt_out' "
		"AND COALESCE(c.state, 'none') OPERATOR(pg_catalog.=) 'none'), c.since "
		"FROM marketing_internal.topic AS t "
		"CROSS JOIN LATERAL pg_catalog.unnest(t.channels) WITH ORDINALITY AS h (channel, n) "
		"LEFT JOIN marketing_internal.consent AS c ON c.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND c.topic_id OPERATOR(pg_catalog.=) t.topic_id "
		"AND c.channel OPERATOR(pg_catalog.=) h.channel ORDER BY t.name, h.n",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
		tuplestore_puttuple(result->setResult, rows.rows[i]);
}

/* marketing.preferences(contact) */
Datum
ma_preferences(PG_FUNCTION_ARGS)
{
	MaCall		call;

	(void) ma_extension_required();
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	put_preferences((ReturnSetInfo *) fcinfo->resultinfo, ma_contact_argument(fcinfo, false));
	ma_call_end(&call);
	return (Datum) 0;
}

/* Of the link of the preferences, or of one that unsubscribes. */
static int64
contact_of_token(FunctionCallInfo fcinfo)
{
	char	   *token = ma_consent_required(fcinfo, 0, "token");
	MaToken		read;

	if (!ma_token_try(token, MA_TOKEN_UNSUBSCRIBE, &read))
		ma_token_read(token, MA_TOKEN_PREFERENCES, &read);
	return read.contact_id;
}

/* marketing.preferences_by_token(token) */
Datum
ma_preferences_by_token(PG_FUNCTION_ARGS)
{
	MaCall		call;
	int64		contact_id;

	(void) ma_extension_required();
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	contact_id = ma_contact_now(contact_of_token(fcinfo));
	if (ma_contact_known(contact_id))
		put_preferences((ReturnSetInfo *) fcinfo->resultinfo, contact_id);
	ma_call_end(&call);
	return (Datum) 0;
}

/* "offers/email" */
static bool
read_pair(const char *key, MaTopic **topic, char **channel)
{
	const char *slash = strrchr(key, '/');

	*topic = slash ? ma_topic_by_name(pnstrdup(key, slash - key)) : NULL;
	*channel = slash ? pstrdup(slash + 1) : NULL;
	return *topic != NULL && (*topic)->kind != MA_TOPIC_TRANSACTIONAL &&
		ma_topic_has_channel(*topic, *channel);
}

/* {"offers/email": true}: the changes that makes; an error for what is not of that form. */
static int
read_wanted(Jsonb *wanted, MaConsentChange *changes, int64 contact_id, List **channels)
{
	JsonbIterator *iterator = JsonbIteratorInit(&wanted->root);
	JsonbValue	value;
	int			n = 0;

	(void) JsonbIteratorNext(&iterator, &value, true);
	while (JsonbIteratorNext(&iterator, &value, true) == WJB_KEY)
	{
		char	   *key = pnstrdup(value.val.string.val, value.val.string.len);
		MaTopic    *topic;
		char	   *channel;

		(void) JsonbIteratorNext(&iterator, &value, true);
		if (!read_pair(key, &topic, &channel) || value.type != jbvBool)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 value.type != jbvBool ?
					 errmsg("the value of \"%s\" must be true or false", key) :
					 errmsg("there is no topic and channel \"%s\"", key),
					 errhint("For example {\"offers/email\": false}.")));
		changes[n].contact_id = contact_id;
		changes[n].topic_id = topic->id;
		changes[n].channel = channel;
		changes[n].state = value.val.boolean ? MA_CONSENT_OPTED_IN : MA_CONSENT_OPTED_OUT;
		/* The link came by mail: what he asks for by that channel is confirmed by it. */
		if (value.val.boolean && topic->kind == MA_TOPIC_DOUBLE_OPT_IN &&
			strcmp(channel, "email") != 0)
			changes[n].state = MA_CONSENT_PENDING;
		changes[n].origin = "preferences";
		changes[n].requested = value.val.boolean;
		*channels = lappend(*channels, channel);
		n++;
	}
	return n;
}

/* marketing.set_preferences_by_token(token, wanted, proof) */
Datum
ma_set_preferences_by_token(PG_FUNCTION_ARGS)
{
	Jsonb	   *wanted = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	Datum		proof = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	List	   *channels = NIL;
	MaConsentChange *changes;
	int64		contact_id;
	MaCall		call;
	int			n;

	(void) ma_extension_required();
	if (wanted == NULL || !JB_ROOT_IS_OBJECT(wanted))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wanted must be a JSON object"),
				 errhint("For example {\"offers/email\": false}.")));
	ma_call_begin(&call);
	contact_id = ma_consent_lock_contact(contact_of_token(fcinfo));
	changes = palloc0_array(MaConsentChange, JB_ROOT_COUNT(wanted) + 1);
	n = read_wanted(wanted, changes, contact_id, &channels);
	for (int i = 0; i < n; i++)
		changes[i].proof = proof;
	ma_recipients_lock(&contact_id, 1, channels, true);
	n = ma_contact_known(contact_id) ? ma_consent_append(changes, n, false) : 0;
	ma_call_end(&call);
	PG_RETURN_INT32(n);
}

bool
ma_preferences_token_valid(const char *token)
{
	MaToken		read;

	return (ma_token_try(token, MA_TOKEN_UNSUBSCRIBE, &read) ||
			ma_token_try(token, MA_TOKEN_PREFERENCES, &read)) &&
		ma_contact_known(ma_contact_now(read.contact_id));
}
