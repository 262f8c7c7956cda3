/*
 * list_import.c
 *		Lists from files: COPY marketing.list_members (list, contact) FROM ... puts
 *		each row's contact on its list.
 *
 * COPY may fill a view with an INSTEAD OF trigger, which is this one, so any client can
 * do it and no file format is ours.  A row that cannot be taken must not undo a
 * million others: it goes to list_reject with the reason, and the rest goes on.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* One row of the file. */
typedef struct ListRow
{
	char	   *list;
	char	   *contact;
} ListRow;

static char *column(TriggerData *trigger, AttrNumber number);
static void take(void *arg);
static int64 contact_of(const char *text);
static int64 contact_of_address(const char *address);
static void reject(const ListRow *row, const ErrorData *error);

MA_FUNCTION(ma_list_member_insert);
MA_FUNCTION(ma_forget_list_rejects);

/* A column of the new row, which are texts; NULL: null. */
static char *
column(TriggerData *trigger, AttrNumber number)
{
	bool		isnull;
	Datum		value = heap_getattr(trigger->tg_trigtuple, number,
									 RelationGetDescr(trigger->tg_relation), &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* INSTEAD OF INSERT trigger of marketing.list_members */
Datum
ma_list_member_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	ListRow		row;
	ErrorData  *error;
	MaCall		call;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function is a trigger")));
	row.list = column(trigger, 1);
	row.contact = column(trigger, 2);
	ma_call_begin(&call);
	error = ma_segment_guard(take, &row);
	if (error != NULL)
		reject(&row, error);
	ma_call_end(&call);
	return PointerGetDatum(trigger->tg_trigtuple);
}

static void
take(void *arg)
{
	ListRow    *row = arg;
	int64		contact_id;

	if (row->list == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("list must not be null")));
	if (row->contact == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("contact must not be null")));
	contact_id = contact_of(row->contact);
	(void) ma_list_add(row->list, &contact_id, 1);
}

/* By e-mail address where it is one; else, and with a source before it, as everywhere. */
static int64
contact_of(const char *text)
{
	if (strchr(text, '@') == NULL || strchr(text, ':') != NULL)
		return ma_contact_of_text(text, false);
	return contact_of_address(text);
}

static int64
contact_of_address(const char *address)
{
	static MaStatement read = {
		"SELECT c.contact_id FROM marketing_internal.contact AS c "
		"WHERE c.email OPERATOR(pg_catalog.=) $1 LIMIT 2",
		1, {TEXTOID}
	};
	char	   *normal = ma_normalise_email(address);
	Datum		value;
	MaRows		rows;

	if (normal == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_CONTACT),
				 errmsg("\"%s\" is no e-mail address", address)));
	value = CStringGetTextDatum(normal);
	rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	if (rows.n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_CONTACT),
				 errmsg("%s the address \"%s\"", rows.n == 0 ? "no contact has" :
						"several contacts have", normal),
				 errhint("Name the contact by its id.")));
	return ma_int64(&rows, 0, 1);
}

static void
reject(const ListRow *row, const ErrorData *error)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.list_reject (list, contact, error_state, error, rejected_at) "
		"VALUES ($1, $2, $3, $4, $5)",
		5, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[5] = {0};
	char		nulls[] = "     ";

	nulls[0] = row->list ? ' ' : 'n';
	nulls[1] = row->contact ? ' ' : 'n';
	if (row->list != NULL)
		values[0] = CStringGetTextDatum(row->list);
	if (row->contact != NULL)
		values[1] = CStringGetTextDatum(row->contact);
	values[2] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[3] = CStringGetTextDatum(error->message);
	values[4] = TimestampTzGetDatum(ma_now());
	ma_run(&add, values, nulls, MA_RUN_WRITE_LATEST);
}

/* forget_list_rejects(list): of all lists if null. */
Datum
ma_forget_list_rejects(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.list_reject AS r "
		"WHERE $1 IS NULL OR r.list OPERATOR(pg_catalog.=) $1 RETURNING 1",
		1, {TEXTOID}
	};
	Datum		value = PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0);
	MaCall		call;
	MaRows		rows;
	int64		n;

	ma_call_begin(&call);
	rows = ma_run(&remove, &value, PG_ARGISNULL(0) ? "n" : NULL, MA_RUN_WRITE_LATEST);
	n = (int64) rows.n;
	ma_call_end(&call);
	PG_RETURN_INT64(n);
}
