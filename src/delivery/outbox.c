/*
 * outbox.c
 *		Asking for messages: for journeys in batches, for people with send_message().
 *
 * A message is a row, so it exists if and only if what asked for it commits.  What it
 * says is not decided here: it is rendered when it is claimed.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

#define PRIORITY_LIMIT 1000

static void fill(const MaMessageRequest *request, MaTemplate **template, MaTopic **topic,
				 int32 *lane);
static void append_request(StringInfo json, int n, const MaMessageRequest *request,
						   const MaTemplate *template, const MaTopic *topic, int32 lane);
static void insert(const MaMessageRequest *requests, int n, int64 *message_ids);
static void set_columns(const MaMessageRequest *requests, int n, Datum *values);
static void send_confirmation(const char *template_name, int64 contact_id);
static TimestampTz time_argument(FunctionCallInfo fcinfo, int n, TimestampTz otherwise);

MA_FUNCTION(ma_send_message);

void
ma_message_wake(void)
{
	ma_worker_helper_at_commit();
}

/* Template, topic and lane of a request; those of the one before mostly serve. */
static void
fill(const MaMessageRequest *request, MaTemplate **template, MaTopic **topic, int32 *lane)
{
	if (*template != NULL && (*template)->id == request->template_id)
		return;
	*template = ma_template_by_id(request->template_id);
	if (*template == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_TEMPLATE),
				 errmsg("there is no template with number %d", request->template_id),
				 errdetail("It was dropped while the message was being made."),
				 errhint("Define it again with marketing.define_template(), under the name its "
						 "journeys and topics use.")));
	*topic = ma_topic_required((*template)->topic);
	*lane = ma_sender_for((*template)->channel, (*template)->sender)->sender_id;
}

void
ma_message_enqueue(const MaMessageRequest *requests, int n, int64 *message_ids)
{
	if (n == 0)
		return;
	insert(requests, n, message_ids);
	ma_message_wake();
}

/* What is told as JSON: numbers and texts that may be missing. */
static void
append_request(StringInfo json, int n, const MaMessageRequest *request,
			   const MaTemplate *template, const MaTopic *topic, int32 lane)
{
	const struct
	{
		const char *name;
		const char *value;
	}			texts[] = {
		{"channel", template->channel},
		{"template", template->name},
		{"journey", request->journey},
		{"step", request->step},
		{"dedup_key", request->dedup_key},
	};
	int			priority = request->priority;

	if (priority == MA_PRIORITY_DEFAULT)
		priority = topic->kind == MA_TOPIC_TRANSACTIONAL ? MA_PRIORITY_TRANSACTIONAL : 0;
	appendStringInfo(json, "%s{\"n\":%d,\"contact_id\":" INT64_FORMAT ",\"topic_id\":%d,"
					 "\"template_id\":%d,\"priority\":%d,\"lane\":%d", n > 1 ? "," : "", n,
					 request->contact_id, topic->id, template->id, priority, lane);
	if (request->enrollment_id != 0)
		appendStringInfo(json, ",\"enrollment_id\":" INT64_FORMAT, request->enrollment_id);
	for (int i = 0; i < lengthof(texts); i++)
		if (texts[i].value != NULL)
		{
			appendStringInfo(json, ",\"%s\":", texts[i].name);
			escape_json(json, texts[i].value);
		}
	appendStringInfoChar(json, '}');
}

/*
 * One statement: the keys first, since a key that is there already, or that another
 * transaction is about to make, means no message.
 */
static void
insert(const MaMessageRequest *requests, int n, int64 *message_ids)
{
	static MaStatement add = {
		"WITH r AS MATERIALIZED (SELECT u.*, pg_catalog.nextval("
		"'marketing_internal.message_message_id_seq'::pg_catalog.regclass) AS message_id "
		"FROM pg_catalog.jsonb_to_recordset($1) AS u (n pg_catalog.int4, "
		"contact_id pg_catalog.int8, channel pg_catalog.text, topic_id pg_catalog.int4, "
		"template_id pg_catalog.int4, template pg_catalog.text, journey pg_catalog.text, "
		"step pg_catalog.text, enrollment_id pg_catalog.int8, dedup_key pg_catalog.text, "
		"priority pg_catalog.int4, lane pg_catalog.int4)), "
		"keyed AS (INSERT INTO marketing_internal.message_key (contact_id, dedup_key, message_id) "
		"SELECT contact_id, dedup_key, message_id FROM r WHERE dedup_key IS NOT NULL ORDER BY 1, 2 "
		"ON CONFLICT (contact_id, dedup_key) DO NOTHING RETURNING message_id), "
		"made AS (INSERT INTO marketing_internal.message (contact_id, message_id, since, channel, "
		"topic_id, template_id, template, journey, step, enrollment_id, entry, data, priority, lane, "
		"next_at, not_after, created_at) "
		"SELECT r.contact_id, r.message_id, $2, r.channel, r.topic_id, r.template_id, r.template, "
		"r.journey, r.step, r.enrollment_id, j.entry, j.data, r.priority, r.lane, "
		"GREATEST(j.not_before, $2), NULLIF(j.not_after, 'infinity'), $2 "
		"FROM r JOIN ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), "
		"pg_catalog.unnest($5), pg_catalog.unnest($6)) WITH ORDINALITY "
		"AS j (entry, data, not_before, not_after, n) ON j.n OPERATOR(pg_catalog.=) r.n "
		"WHERE r.dedup_key IS NULL OR EXISTS (SELECT FROM keyed AS k "
		"WHERE k.message_id OPERATOR(pg_catalog.=) r.message_id) RETURNING message_id) "
		"SELECT r.n, r.message_id FROM r JOIN made AS d "
		"ON d.message_id OPERATOR(pg_catalog.=) r.message_id",
		6, {JSONBOID, TIMESTAMPTZOID, JSONBARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID,
		TIMESTAMPTZARRAYOID}
	};
	Datum		values[6];
	MaRows		rows;

	set_columns(requests, n, values);
	rows = ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	memset(message_ids, 0, sizeof(int64) * n);
	for (uint64 i = 0; i < rows.n; i++)
		message_ids[ma_int32(&rows, i, 1) - 1] = ma_int64(&rows, i, 2);
}

/* The requests as insert()'s statement wants them: one JSON, and what JSON would lose. */
static void
set_columns(const MaMessageRequest *requests, int n, Datum *values)
{
	Datum	   *datums[4];
	bool	   *nulls[2];
	StringInfoData rows_text;
	MaTemplate *template = NULL;
	MaTopic    *topic = NULL;
	int32		lane = 0;

	for (int f = 0; f < lengthof(datums); f++)
		datums[f] = palloc_array(Datum, n);
	for (int f = 0; f < lengthof(nulls); f++)
		nulls[f] = palloc_array(bool, n);
	initStringInfo(&rows_text);
	appendStringInfoChar(&rows_text, '[');
	for (int i = 0; i < n; i++)
	{
		const MaMessageRequest *request = &requests[i];

		fill(request, &template, &topic, &lane);
		append_request(&rows_text, i + 1, request, template, topic, lane);
		datums[0][i] = request->entry;
		nulls[0][i] = request->entry == (Datum) 0;
		datums[1][i] = request->data;
		nulls[1][i] = request->data == (Datum) 0;
		datums[2][i] = TimestampTzGetDatum(request->not_before);
		datums[3][i] = TimestampTzGetDatum(request->not_after);
	}
	appendStringInfoChar(&rows_text, ']');
	values[0] = DirectFunctionCall1(jsonb_in, CStringGetDatum(rows_text.data));
	values[1] = TimestampTzGetDatum(ma_now());
	values[2] = ma_datum_array_nulls(datums[0], nulls[0], n, JSONBOID);
	values[3] = ma_datum_array_nulls(datums[1], nulls[1], n, JSONBOID);
	values[4] = ma_datum_array(datums[2], n, TIMESTAMPTZOID);
	values[5] = ma_datum_array(datums[3], n, TIMESTAMPTZOID);
}

int
ma_messages_skip(const int64 *contact_ids, const int64 *message_ids, int n, const char *reason)
{
	static MaStatement lock = {
		"SELECT m.contact_id, m.message_id FROM ROWS FROM (pg_catalog.unnest($1), "
		"pg_catalog.unnest($2)) AS u (contact_id, message_id) JOIN marketing_internal.message AS m "
		"ON m.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) u.message_id "
		"WHERE m.state OPERATOR(pg_catalog.=) ANY ('{queued,deferred}') "
		"ORDER BY m.message_id FOR UPDATE OF m",
		2, {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[2];
	MaRows		rows;
	MaMessage **messages;

	if (n == 0)
		return 0;
	values[0] = ma_int8_array(contact_ids, n);
	values[1] = ma_int8_array(message_ids, n);
	rows = ma_run(&lock, values, NULL, MA_RUN_WRITE_LATEST);
	messages = palloc_array(MaMessage *, Max(rows.n, 1));
	for (uint64 i = 0; i < rows.n; i++)
	{
		messages[i] = palloc0_object(MaMessage);
		messages[i]->contact_id = ma_int64(&rows, i, 1);
		messages[i]->message_id = ma_int64(&rows, i, 2);
		messages[i]->becomes = MA_MESSAGE_SKIPPED;
		messages[i]->gate = "journey";
		messages[i]->reason = pstrdup(reason);
	}
	ma_settle(messages, rows.n);
	return rows.n;
}

/* The template of define_topic(confirm =>), for consent/. */
static void
send_confirmation(const char *template_name, int64 contact_id)
{
	MaMessageRequest request = {
		.contact_id = contact_id,
		.template_id = ma_template_required(template_name)->id,
		.not_before = DT_NOBEGIN,
		.not_after = DT_NOEND,
		.priority = MA_PRIORITY_DEFAULT,
	};
	int64		message_id;

	ma_message_enqueue(&request, 1, &message_id);
}

void
ma_outbox_init(void)
{
	ma_consent_set_confirmation_sender(send_confirmation);
}

static TimestampTz
time_argument(FunctionCallInfo fcinfo, int n, TimestampTz otherwise)
{
	return PG_ARGISNULL(n) ? otherwise : PG_GETARG_TIMESTAMPTZ(n);
}

/* marketing.send_message(contact, template, data, dedup_key, not_before, not_after, priority) */
Datum
ma_send_message(PG_FUNCTION_ARGS)
{
	MaMessageRequest request = {0};
	MaTemplate *template;
	MaCall		call;
	int64		message_id;
	char	   *name;

	(void) ma_extension_required();
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("template must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	request.data = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	if (request.data != (Datum) 0 && !JB_ROOT_IS_OBJECT(DatumGetJsonbP(request.data)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data must be a JSON object"),
				 errhint("For example {\"code\": \"1234\"}.")));
	request.dedup_key = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	request.not_before = time_argument(fcinfo, 4, DT_NOBEGIN);
	request.not_after = time_argument(fcinfo, 5, DT_NOEND);
	request.priority = PG_ARGISNULL(6) ? MA_PRIORITY_DEFAULT : PG_GETARG_INT32(6);
	if (request.not_before >= request.not_after)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not_after must be later than not_before")));
	if (request.priority != MA_PRIORITY_DEFAULT &&
		(request.priority < -PRIORITY_LIMIT || request.priority > PRIORITY_LIMIT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("priority must be between %d and %d", -PRIORITY_LIMIT, PRIORITY_LIMIT)));
	ma_call_begin(&call);
	template = ma_template_required(name);
	request.template_id = template->id;
	request.contact_id = ma_contact_argument(fcinfo, false);
	ma_message_enqueue(&request, 1, &message_id);
	ma_call_end(&call);
	if (message_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(message_id);
}
