/*
 * capture.c
 *		marketing.capture(): the one trigger of all attached tables.
 *
 * It runs no expression and no SQL and writes nothing: it compares the bytes of
 * the columns that matter and marks the transaction's change set.  Whether a row
 * is the event (its condition) is decided at commit, where an error harms
 * nobody.  A table on whose events nothing depends costs one hash lookup a row.
 *
 * EXECUTE belongs to PUBLIC, since application roles make partitions, so anybody
 * may put this trigger on a table of his own: it does nothing unless the table's
 * root is the one that the trigger's argument stands for (definitions.c).
 */
#include "base/base.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "contacts/capture/capture_plan.h"
#include "contacts/capture/changes.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* One row change as the trigger sees it. */
typedef struct RowChange
{
	CapturePlan *plan;
	TupleDesc	desc;
	HeapTuple	old;			/* NULL for INSERT */
	HeapTuple	new;			/* NULL for DELETE */
} RowChange;

static void capture_row(TriggerData *trigger, CapturePlan *plan);
static bool columns_changed(const RowChange *row, const AttrNumber *columns, int n);
static char *column_text(const RowChange *row, HeapTuple tuple, const CaptureColumn *column);
static bool column_is_null(const RowChange *row, HeapTuple tuple, AttrNumber attnum);
static void mark_source(const RowChange *row);
static void mark_event(const RowChange *row, CaptureEvent *event);
static void mark_event_side(const RowChange *row, CaptureEvent *event, HeapTuple tuple, uint8 sign);
static void mark_via(const RowChange *row, CaptureVia *via);
static void mark_via_events(const CaptureVia *via, MaMarkKind kind, int32 id, const char *text,
							uint8 sign);
static void mark_lookup(const RowChange *row, const CaptureLookup *lookup);
static CaptureName *event_of_row(const RowChange *row, CaptureEvent *event, HeapTuple tuple);
static bool may_be_event(const RowChange *row, CaptureEvent *event, HeapTuple tuple);
static void keep_image(const RowChange *row, CaptureEvent *event);
static char *row_key(const RowChange *row, HeapTuple tuple);
static Datum row_image(const RowChange *row, HeapTuple tuple);

MA_FUNCTION(ma_capture);

Datum
ma_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger;
	CapturePlan *plan;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function %s must be called as a trigger", "marketing.capture()")));
	trigger = (TriggerData *) fcinfo->context;
	if (!TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function %s must be called as an AFTER trigger", "marketing.capture()")));

	plan = ma_capture_plan(trigger->tg_relation, trigger->tg_trigger);
	if (plan == NULL || plan->idle)
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		ma_mark_table(plan->table_id);
	else if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		capture_row(trigger, plan);
	return PointerGetDatum(NULL);
}

static void
capture_row(TriggerData *trigger, CapturePlan *plan)
{
	RowChange	row = {plan, RelationGetDescr(trigger->tg_relation), NULL, NULL};

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		row.new = trigger->tg_trigtuple;
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		row.old = trigger->tg_trigtuple;
	else
	{
		row.old = trigger->tg_trigtuple;
		row.new = trigger->tg_newtuple;
	}
	if (plan->source_id != 0)
		mark_source(&row);
	for (int i = 0; i < plan->nevents; i++)
		mark_event(&row, &plan->events[i]);
	for (int i = 0; i < plan->nvias; i++)
		mark_via(&row, &plan->vias[i]);
	for (int i = 0; i < plan->nlookups; i++)
		mark_lookup(&row, &plan->lookups[i]);
}

/* True unless both tuples are there and the columns hold the same bytes. */
static bool
columns_changed(const RowChange *row, const AttrNumber *columns, int n)
{
	if (row->old == NULL || row->new == NULL)
		return true;
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(row->desc, columns[i] - 1);
		bool		old_null;
		bool		new_null;
		Datum		old = heap_getattr(row->old, columns[i], row->desc, &old_null);
		Datum		new = heap_getattr(row->new, columns[i], row->desc, &new_null);

		if (old_null != new_null ||
			(!old_null && !datumIsEqual(old, new, attribute->attbyval, attribute->attlen)))
			return true;
	}
	return false;
}

static bool
column_is_null(const RowChange *row, HeapTuple tuple, AttrNumber attnum)
{
	return attnum > 0 && heap_attisnull(tuple, attnum, row->desc);
}

/* The column as its type prints it, NULL for null or a column that is not there. */
static char *
column_text(const RowChange *row, HeapTuple tuple, const CaptureColumn *column)
{
	bool		isnull;
	Datum		value;

	if (column->attnum <= 0)
		return NULL;
	value = heap_getattr(tuple, column->attnum, row->desc, &isnull);
	return isnull ? NULL : ma_capture_text(column, value);
}

/* A row of a contact source: its key is looked at again, and re-keyed if it changed. */
static void
mark_source(const RowChange *row)
{
	CapturePlan *plan = row->plan;
	char	   *old_key = NULL;
	char	   *new_key = NULL;

	if (!columns_changed(row, plan->source_columns, plan->nsource_columns))
		return;
	if (row->old != NULL)
		old_key = column_text(row, row->old, &plan->source_key);
	if (row->new != NULL)
		new_key = column_text(row, row->new, &plan->source_key);
	/* Not the raw field: that is another once a trigger of the user's has updated the row again. */
	if (old_key != NULL && new_key != NULL && strcmp(old_key, new_key) != 0)
		ma_mark_rekey(plan->source_id, old_key, new_key, HeapTupleHeaderGetCmin(row->new->t_data));
	if (old_key != NULL)
		ma_mark(MA_MARK_KEY, plan->source_id, old_key, true, 0, 0);
	if (new_key != NULL && (old_key == NULL || strcmp(old_key, new_key) != 0))
		ma_mark(MA_MARK_KEY, plan->source_id, new_key, true, 0, 0);
}

static void
mark_event(const RowChange *row, CaptureEvent *event)
{
	if (!columns_changed(row, event->columns, event->ncolumns))
		return;
	if (row->old != NULL)
		mark_event_side(row, event, row->old, MA_SIGN_MINUS);
	if (row->new != NULL)
		mark_event_side(row, event, row->new, MA_SIGN_PLUS);
	if (event->row_grade)
		keep_image(row, event);
}

/* Marks the contact of one side; a row without a time is not the event. */
static void
mark_event_side(const RowChange *row, CaptureEvent *event, HeapTuple tuple, uint8 sign)
{
	CaptureName *name = event_of_row(row, event, tuple);
	char	   *contact;

	if (name == NULL || column_is_null(row, tuple, event->occurred))
		return;
	contact = column_text(row, tuple, &event->contact);
	if (contact == NULL)
	{
		ma_count(MA_COUNT_IGNORED_ROWS, sign == MA_SIGN_PLUS ? 1 : 0);
		return;
	}
	if (name->adds && row->old == NULL)
	{
		MaAddedRow	added = {NULL, name->event_id, event->event_source_id, row->plan->relid};

		added.tuple = tuple;
		ma_mark_added(event->contact_source_id, contact, added);
		return;
	}
	/* With row grade the contact is looked at as well: its lock orders the rows. */
	ma_mark(event->by_link ? MA_MARK_LINK : MA_MARK_KEY,
			event->by_link ? event->event_source_id : event->contact_source_id,
			contact, false, name->event_id, sign);
}

/* The watched event this row is; NULL if nothing depends on it. */
static CaptureName *
event_of_row(const RowChange *row, CaptureEvent *event, HeapTuple tuple)
{
	char	   *value;

	if (event->name.attnum <= 0)
		return &event->names[0];
	value = column_text(row, tuple, &event->name);
	for (int i = 0; value != NULL && i < event->nnames; i++)
		if (strcmp(event->names[i].name, value) == 0)
			return &event->names[i];
	return NULL;
}

/* A row of a via table: the events of its links move when its contact does. */
static void
mark_via(const RowChange *row, CaptureVia *via)
{
	if (!columns_changed(row, via->columns, via->ncolumns))
		return;
	if (row->old != NULL)
	{
		/* The link leads to the contact of now: who it was is marked as well. */
		mark_via_events(via, MA_MARK_KEY, via->contact_source_id,
						column_text(row, row->old, &via->contact), MA_SIGN_MINUS);
		mark_via_events(via, MA_MARK_LINK, via->event_source_id,
						column_text(row, row->old, &via->key), MA_SIGN_MINUS);
	}
	if (row->new != NULL)
		mark_via_events(via, MA_MARK_LINK, via->event_source_id,
						column_text(row, row->new, &via->key), MA_SIGN_PLUS);
}

/*
 * The link is marked, not only the contact, so that its lock puts this transaction
 * and one that changes rows of the link in an order, though their contacts differ.
 */
static void
mark_via_events(const CaptureVia *via, MaMarkKind kind, int32 id, const char *text, uint8 sign)
{
	for (int i = 0; i < via->nnames && text != NULL; i++)
		ma_mark(kind, id, text, false, via->names[i].event_id, sign);
}

/* A row of a lookup table: whose events point to it is found by its key later. */
static void
mark_lookup(const RowChange *row, const CaptureLookup *lookup)
{
	HeapTuple	sides[] = {row->old, row->new};

	if (!columns_changed(row, lookup->columns, lookup->ncolumns))
		return;
	for (int i = 0; i < lengthof(sides); i++)
	{
		char	   *key = sides[i] == NULL ? NULL : column_text(row, sides[i], &lookup->key);

		if (key != NULL)
			ma_mark_lookup(lookup->event_source_id, row->plan->table_id, key);
	}
}

/* Whether this side is somebody's event of row grade if its condition holds. */
static bool
may_be_event(const RowChange *row, CaptureEvent *event, HeapTuple tuple)
{
	CaptureName *name;

	if (tuple == NULL || column_is_null(row, tuple, event->occurred) ||
		column_is_null(row, tuple, event->contact.attnum))
		return false;
	name = event_of_row(row, event, tuple);
	return name != NULL && name->row_grade;
}

/* Keeps OLD and NEW of a row that is, or was, a watched event of row grade. */
static void
keep_image(const RowChange *row, CaptureEvent *event)
{
	MaImage		image = {0};

	if (!may_be_event(row, event, row->old) && !may_be_event(row, event, row->new))
		return;
	image.event_source_id = event->event_source_id;
	if (!event->by_link)
	{
		image.key_source_id = event->contact_source_id;
		image.contact_column = event->contact.name;
		image.old_contact = row->old ? column_text(row, row->old, &event->contact) : NULL;
		image.new_contact = row->new ? column_text(row, row->new, &event->contact) : NULL;
	}
	if (row->old != NULL && row->new != NULL)
	{
		char	   *old_key = row_key(row, row->old);
		char	   *new_key = row_key(row, row->new);

		if (strcmp(old_key, new_key) != 0)
		{
			/* Another key is another event: the old one is taken back. */
			image.row_key = old_key;
			image.old_row = row_image(row, row->old);
			ma_mark_image(&image);
			image.row_key = new_key;
			image.old_row = 0;
			image.new_row = row_image(row, row->new);
			ma_mark_image(&image);
			return;
		}
	}
	image.row_key = row_key(row, row->new ? row->new : row->old);
	image.old_row = row->old ? row_image(row, row->old) : 0;
	image.new_row = row->new ? row_image(row, row->new) : 0;
	ma_mark_image(&image);
}

/* The row's unique key: the text of its one column, or a JSON array of several or of a null. */
static char *
row_key(const RowChange *row, HeapTuple tuple)
{
	CapturePlan *plan = row->plan;
	StringInfoData text;
	char	   *only = plan->nkey == 1 ? column_text(row, tuple, &plan->key[0]) : NULL;

	if (only != NULL)
		return only;
	initStringInfo(&text);
	for (int i = 0; i < plan->nkey; i++)
	{
		char	   *value = column_text(row, tuple, &plan->key[i]);

		appendStringInfoString(&text, i == 0 ? "[" : ", ");
		if (value == NULL)
			appendStringInfoString(&text, "null");
		else
			escape_json(&text, value);
	}
	appendStringInfoChar(&text, ']');
	return text.data;
}

/* The whole row as a jsonb object of texts, independent of the table's later shape. */
static Datum
row_image(const RowChange *row, HeapTuple tuple)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < row->plan->ncolumns; i++)
	{
		CaptureColumn *column = &row->plan->columns[i];
		char	   *text = column_text(row, tuple, column);
		JsonbValue	item;

		item.type = jbvString;
		item.val.string.val = column->name;
		item.val.string.len = strlen(column->name);
		pushJsonbValue(&state, WJB_KEY, &item);
		if (text == NULL)
			item.type = jbvNull;
		else
		{
			item.val.string.val = text;
			item.val.string.len = strlen(text);
		}
		pushJsonbValue(&state, WJB_VALUE, &item);
	}
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(result));
}
