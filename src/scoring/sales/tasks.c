/*
 * tasks.c
 *		What owners are to do: tasks of journeys, complete_task(), and the rows of event
 *		task_done.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/sales/sales.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static int64 contact_of_task(int64 task_id);

MA_FUNCTION(ma_complete_task);

static const MaBuiltinRows rows[] = {
	{"task_done", "task",
		"SELECT d.contact_id, d.done_at AS occurred_at, pg_catalog.jsonb_build_object("
		"'task', d.title, 'by', d.done_by, 'result', d.result) AS properties "
	"FROM marketing_internal.task AS d WHERE d.done_at IS NOT NULL"}
};

void
ma_tasks_init(void)
{
	ma_register_builtin_rows(rows, lengthof(rows));
}

void
ma_tasks_add(const MaTaskRequest *requests, int n, int64 *task_ids)
{
	/* Nobody's if its owner is just being dropped: who drops him waits for us, or we for him. */
	static MaStatement add = {
		"INSERT INTO marketing_internal.task (contact_id, title, owner_id, created_at, due_at, "
		"journey, step) VALUES ($1, $2, (SELECT o.owner_id FROM marketing_internal.owner AS o "
		"WHERE o.owner_id OPERATOR(pg_catalog.=) $3 FOR KEY SHARE), $4, $5, $6, $7) RETURNING task_id",
		7, {INT8OID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};

	for (int i = 0; i < n; i++)
	{
		const MaTaskRequest *request = &requests[i];
		Datum		values[7];
		char		nulls[] = "       ";
		MaRows		found;

		values[0] = Int64GetDatum(request->contact_id);
		values[1] = CStringGetTextDatum(request->title);
		values[2] = Int32GetDatum(request->owner_id);
		nulls[2] = request->owner_id != 0 ? ' ' : 'n';
		values[3] = TimestampTzGetDatum(ma_now());
		values[4] = TimestampTzGetDatum(request->due_at);
		nulls[4] = request->due_at != DT_NOEND ? ' ' : 'n';
		values[5] = request->journey ? CStringGetTextDatum(request->journey) : (Datum) 0;
		nulls[5] = request->journey ? ' ' : 'n';
		values[6] = request->step ? CStringGetTextDatum(request->step) : (Datum) 0;
		nulls[6] = request->step ? ' ' : 'n';
		found = ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
		task_ids[i] = ma_int64(&found, 0, 1);
	}
}

Datum
ma_sales_properties(const char *const *names, const char *const *values, int n)
{
	JsonbParseState *parse = NULL;

	pushJsonbValue(&parse, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue	item;

		item.type = jbvString;
		item.val.string.val = unconstify(char *, names[i]);
		item.val.string.len = (int) strlen(names[i]);
		pushJsonbValue(&parse, WJB_KEY, &item);
		item.type = values[i] ? jbvString : jbvNull;
		item.val.string.val = unconstify(char *, values[i]);
		item.val.string.len = values[i] ? (int) strlen(values[i]) : 0;
		pushJsonbValue(&parse, WJB_VALUE, &item);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&parse, WJB_END_OBJECT, NULL)));
}

/* The task's contact, or an error. */
static int64
contact_of_task(int64 task_id)
{
	static MaStatement read = {
		"SELECT t.contact_id FROM marketing_internal.task AS t "
		"WHERE t.task_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(task_id);
	MaRows		found = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	if (found.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_OWNER),
				 errmsg("there is no task " INT64_FORMAT, task_id),
				 errhint("Look at marketing.tasks.")));
	return ma_int64(&found, 0, 1);
}

/* The same, with his lock: the task may move to another contact, by a merge, before it is ours. */
static int64
lock_contact_of_task(int64 task_id)
{
	int64		contact_id = contact_of_task(task_id);

	for (;;)
	{
		int64		again;

		ma_contact_lock(contact_id);
		again = contact_of_task(task_id);
		if (again == contact_id)
			return contact_id;
		ma_contact_unlock(contact_id);
		contact_id = again;
	}
}

/* marketing.complete_task(id, result, by) */
Datum
ma_complete_task(PG_FUNCTION_ARGS)
{
	static MaStatement done = {
		"UPDATE marketing_internal.task AS t SET done_at = $2, result = $3, done_by = COALESCE($4, "
		"(SELECT o.name FROM marketing_internal.owner AS o "
		"WHERE o.owner_id OPERATOR(pg_catalog.=) t.owner_id)) "
		"WHERE t.task_id OPERATOR(pg_catalog.=) $1 AND t.done_at IS NULL "
		"RETURNING t.contact_id, t.title, t.done_by",
		4, {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};
	static const char *const names[] = {"task", "by", "result"};
	const char *properties[3];
	char	   *result = ma_score_text(fcinfo, 1);
	char	   *by = ma_score_text(fcinfo, 2);
	int64		id;
	int64		contact_id;
	Datum		values[4];
	char		nulls[] = "    ";
	MaCall		call;
	MaRows		found;
	bool		left;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("id must not be null")));
	id = PG_GETARG_INT64(0);
	ma_call_begin(&call);
	if (by != NULL)
		(void) ma_owner_required(by);
	contact_id = lock_contact_of_task(id);
	values[0] = Int64GetDatum(id);
	values[1] = TimestampTzGetDatum(ma_now());
	values[2] = result ? CStringGetTextDatum(result) : (Datum) 0;
	values[3] = by ? CStringGetTextDatum(by) : (Datum) 0;
	nulls[2] = result ? ' ' : 'n';
	nulls[3] = by ? ' ' : 'n';
	found = ma_run(&done, values, nulls, MA_RUN_WRITE_LATEST);
	left = found.n == 0;
	if (!left)
	{
		properties[0] = ma_text(&found, 0, 2);
		properties[1] = ma_text(&found, 0, 3);
		properties[2] = result;
		ma_mark_contact(contact_id);
		ma_raise_event("task_done", contact_id, id, ma_now(),
					   ma_sales_properties(names, properties, lengthof(names)));
	}
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("task " INT64_FORMAT ": %s", id,
											  left ? "unchanged, it was done before" : "done")));
}
