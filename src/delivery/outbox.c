/*
 * outbox.c
 *		Asking for messages: for journeys in batches, for people with send_message().
 *
 * A message is a row, so it exists if and only if what asked for it commits.  What it
 * says is not decided here: it is rendered when it is claimed.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "worker/worker.h"

#define PRIORITY_LIMIT 1000

static bool is_same(const char *left, const char *right);
static bool is_alike(const MaMessageRequest *left, const MaMessageRequest *right);
static void draw_numbers(const MaMessageRequest *requests, int n, int64 *message_ids);
static void insert(const MaMessageRequest *requests, int n, const int64 *message_ids);
static void set_step(const MaMessageRequest *request, Datum *values, char *nulls);
static int	set_rows(const MaMessageRequest *requests, int n, const int64 *message_ids,
					 Datum *values);
static void send_confirmation(const char *template_name, int64 contact_id);
static TimestampTz time_argument(FunctionCallInfo fcinfo, int n, TimestampTz otherwise);

MA_FUNCTION(ma_send_message);

void
ma_message_wake(void)
{
	ma_worker_helper_at_commit();
}

void
ma_message_enqueue(const MaMessageRequest *requests, int n, int64 *message_ids)
{
	int			end;

	if (n == 0)
		return;
	draw_numbers(requests, n, message_ids);
	for (int begin = 0; begin < n; begin = end)
	{
		for (end = begin + 1; end < n && is_alike(&requests[begin], &requests[end]);)
			end++;
		insert(requests + begin, end - begin, message_ids + begin);
	}
	ma_message_wake();
}

/* True if what is the same for the messages of one step is the same for these. */
static bool
is_alike(const MaMessageRequest *left, const MaMessageRequest *right)
{
	return left->template_id == right->template_id && left->priority == right->priority &&
		is_same(left->journey, right->journey) && is_same(left->step, right->step);
}

static bool
is_same(const char *left, const char *right)
{
	return left == right || (left != NULL && right != NULL && strcmp(left, right) == 0);
}

/*
 * Numbers of the messages.  Keys come first, since a key that is there already, or that another
 * transaction is about to make, means no message: it has the number 0.
 */
static void
draw_numbers(const MaMessageRequest *requests, int n, int64 *message_ids)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.message_key (contact_id, dedup_key, message_id, made_at) "
		"SELECT u.contact_id, u.dedup_key, u.message_id, $4 FROM ROWS FROM (pg_catalog.unnest($1), "
		"pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (contact_id, dedup_key, message_id) "
		"ORDER BY 1, 2 ON CONFLICT (contact_id, dedup_key) DO NOTHING RETURNING message_id",
		4, {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Oid			sequence = ma_own_table("message_message_id_seq");
	int64	   *contacts = palloc_array(int64, n);
	char	  **keys = palloc_array(char *, n);
	int64	   *keyed = palloc_array(int64, n);
	int			nkeyed = 0;
	Datum		values[4];
	MaRows		rows;

	for (int i = 0; i < n; i++)
	{
		message_ids[i] = nextval_internal(sequence, false);
		if (requests[i].dedup_key == NULL)
			continue;
		contacts[nkeyed] = requests[i].contact_id;
		keys[nkeyed] = unconstify(char *, requests[i].dedup_key);
		keyed[nkeyed++] = message_ids[i];
	}
	if (nkeyed == 0)
		return;
	values[0] = ma_int8_array(contacts, nkeyed);
	values[1] = ma_text_array(keys, nkeyed);
	values[2] = ma_int8_array(keyed, nkeyed);
	values[3] = TimestampTzGetDatum(ma_now());
	rows = ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		keyed[i] = ma_int64(&rows, i, 1);
	qsort(keyed, rows.n, sizeof(int64), ma_compare_int64);
	for (int i = 0; i < n; i++)
		if (requests[i].dedup_key != NULL &&
			bsearch(&message_ids[i], keyed, rows.n, sizeof(int64), ma_compare_int64) == NULL)
			message_ids[i] = 0;
}

/* Messages that are alike, but those that have no number. */
static void
insert(const MaMessageRequest *requests, int n, const int64 *message_ids)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.message (contact_id, message_id, since, channel, "
		"topic_id, template_id, template, journey, step, enrollment_id, entry, data, priority, lane, "
		"next_at, not_after, created_at) "
		"SELECT u.contact_id, u.message_id, $1, $2, $3, $4, $5, $6, $7, "
		"NULLIF(u.enrollment_id, 0), u.entry, u.data, $8, $9, "
		"GREATEST(u.not_before, $1), NULLIF(u.not_after, 'infinity'), $1 "
		"FROM ROWS FROM (pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), "
		"pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), "
		"pg_catalog.unnest($16)) "
		"AS u (contact_id, message_id, enrollment_id, entry, data, not_before, not_after)",
		16, {TIMESTAMPTZOID, TEXTOID, INT4OID, INT4OID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID,
		INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, JSONBARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID,
		TIMESTAMPTZARRAYOID}
	};
	Datum		values[16];
	char		nulls[] = "                ";

	if (set_rows(requests, n, message_ids, values + 9) == 0)
		return;
	set_step(requests, values, nulls);
	ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
}

/* What is the same for all of them, as insert()'s statement wants it. */
static void
set_step(const MaMessageRequest *request, Datum *values, char *nulls)
{
	MaTemplate *template = ma_template_by_id(request->template_id);
	MaTopic    *topic;
	int			priority = request->priority;

	if (template == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_TEMPLATE),
				 errmsg("there is no template with number %d", request->template_id),
				 errdetail("It was dropped while the message was being made."),
				 errhint("Define it again with marketing.define_template(), under the name its "
						 "journeys and topics use.")));
	topic = ma_topic_required(template->topic);
	if (priority == MA_PRIORITY_DEFAULT)
		priority = topic->kind == MA_TOPIC_TRANSACTIONAL ? MA_PRIORITY_TRANSACTIONAL : 0;
	values[0] = TimestampTzGetDatum(ma_now());
	values[1] = CStringGetTextDatum(template->channel);
	values[2] = Int32GetDatum(topic->id);
	values[3] = Int32GetDatum(template->id);
	values[4] = CStringGetTextDatum(template->name);
	values[5] = request->journey ? CStringGetTextDatum(request->journey) : (Datum) 0;
	nulls[5] = request->journey ? ' ' : 'n';
	values[6] = request->step ? CStringGetTextDatum(request->step) : (Datum) 0;
	nulls[6] = request->step ? ' ' : 'n';
	values[7] = Int32GetDatum(priority);
	values[8] = Int32GetDatum(ma_sender_for(template->channel, template->sender)->sender_id);
}

/* What each has of its own; returns how many there are. */
static int
set_rows(const MaMessageRequest *requests, int n, const int64 *message_ids, Datum *values)
{
	int64	   *numbers[3];
	Datum	   *datums[4];
	bool	   *nulls[2];
	int			count = 0;

	for (int f = 0; f < lengthof(numbers); f++)
		numbers[f] = palloc_array(int64, n);
	for (int f = 0; f < lengthof(datums); f++)
		datums[f] = palloc_array(Datum, n);
	for (int f = 0; f < lengthof(nulls); f++)
		nulls[f] = palloc_array(bool, n);
	for (int i = 0; i < n; i++)
	{
		const MaMessageRequest *request = &requests[i];

		if (message_ids[i] == 0)
			continue;
		numbers[0][count] = request->contact_id;
		numbers[1][count] = message_ids[i];
		numbers[2][count] = request->enrollment_id;
		datums[0][count] = request->entry;
		nulls[0][count] = request->entry == (Datum) 0;
		datums[1][count] = request->data;
		nulls[1][count] = request->data == (Datum) 0;
		datums[2][count] = TimestampTzGetDatum(request->not_before);
		datums[3][count++] = TimestampTzGetDatum(request->not_after);
	}
	for (int f = 0; f < lengthof(numbers); f++)
		values[f] = ma_int8_array(numbers[f], count);
	for (int f = 0; f < lengthof(nulls); f++)
		values[3 + f] = ma_datum_array_nulls(datums[f], nulls[f], count, JSONBOID);
	values[5] = ma_datum_array(datums[2], count, TIMESTAMPTZOID);
	values[6] = ma_datum_array(datums[3], count, TIMESTAMPTZOID);
	return count;
}

int64
ma_message_to(const MaMessageRequest *request, const char *address)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.message (contact_id, since, channel, topic_id, "
		"template_id, template, entry, data, priority, lane, next_at, created_at, address, "
		"test_for, journey, step, enrollment_id, not_after) VALUES (0, $1, $2, $3, $4, $5, $6, $7, "
		CppAsString2(MA_PRIORITY_TRANSACTIONAL) ", $8, $1, $1, $9, $10, $11, $12, "
		"NULLIF($13, 0), NULLIF($14, 'infinity'::pg_catalog.timestamptz)) RETURNING message_id",
		14, {TIMESTAMPTZOID, TEXTOID, INT4OID, INT4OID, TEXTOID, JSONBOID, JSONBOID, INT4OID,
		TEXTOID, INT8OID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID}
	};
	MaTemplate *template = ma_template_by_id(request->template_id);
	Datum		values[14];
	char		nulls[] = "              ";
	MaRows		rows;

	values[0] = TimestampTzGetDatum(ma_now());
	values[1] = CStringGetTextDatum(template->channel);
	values[2] = Int32GetDatum(ma_topic_required(template->topic)->id);
	values[3] = Int32GetDatum(template->id);
	values[4] = CStringGetTextDatum(template->name);
	values[5] = request->entry;
	nulls[5] = request->entry == (Datum) 0 ? 'n' : ' ';
	values[6] = request->data;
	nulls[6] = request->data == (Datum) 0 ? 'n' : ' ';
	values[7] = Int32GetDatum(ma_sender_for(template->channel, template->sender)->sender_id);
	values[8] = CStringGetTextDatum(address);
	values[9] = Int64GetDatum(request->contact_id);
	values[10] = request->journey ? CStringGetTextDatum(request->journey) : (Datum) 0;
	nulls[10] = request->journey ? ' ' : 'n';
	values[11] = request->step ? CStringGetTextDatum(request->step) : (Datum) 0;
	nulls[11] = request->step ? ' ' : 'n';
	values[12] = Int64GetDatum(request->enrollment_id);
	values[13] = TimestampTzGetDatum(request->not_after);
	rows = ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
	ma_message_wake();
	return ma_int64(&rows, 0, 1);
}

int
ma_messages_skip(const int64 *contact_ids, const int64 *message_ids, int n, const char *reason)
{
	static MaStatement lock = {
		"SELECT m.contact_id, m.message_id FROM ROWS FROM (pg_catalog.unnest($1), "
		"pg_catalog.unnest($2)) AS u (contact_id, message_id) JOIN marketing_internal.message AS m "
		"ON m.contact_id OPERATOR(pg_catalog.=) ANY (ARRAY[u.contact_id, 0]) "
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

/* In the order in which others lock messages. */
void
ma_messages_wake(const char *journey, const char *reason)
{
	static MaStatement wake = {
		"WITH w AS MATERIALIZED (SELECT m.contact_id, m.message_id "
		"FROM marketing_internal.message AS m WHERE m.journey OPERATOR(pg_catalog.=) $1 "
		"AND m.state OPERATOR(pg_catalog.=) 'deferred' AND m.reason OPERATOR(pg_catalog.=) $2 "
		"AND m.next_at OPERATOR(pg_catalog.>) $3 ORDER BY m.message_id FOR UPDATE) "
		"UPDATE marketing_internal.message AS m SET next_at = $3 FROM w "
		"WHERE m.contact_id OPERATOR(pg_catalog.=) w.contact_id "
		"AND m.message_id OPERATOR(pg_catalog.=) w.message_id RETURNING 1",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3];

	values[0] = CStringGetTextDatum(journey);
	values[1] = CStringGetTextDatum(reason);
	values[2] = TimestampTzGetDatum(ma_now());
	if (ma_run(&wake, values, NULL, MA_RUN_WRITE_LATEST).n > 0)
		ma_worker_helper_at_commit();
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
