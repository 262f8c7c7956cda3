/*
 * supposed.c
 *		What a simulation supposes of the contact it walks through, and no table knows:
 *		facts that hold or do not (lists, stages), attributes, rows of built-in events,
 *		points.
 *
 * Whoever reads such things for rules asks here besides, and only while something is
 * supposed; it is this backend's alone, and nothing is written.  Rows and attributes are read
 * within statements, by two functions of SQL; since a statement that reads them is prepared
 * as one that does, what is kept beyond a simulation must be prepared outside of it.
 *
 * A built-in event that nothing has named yet gets a number below zero here, so that what
 * is simulated may name it without a write.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#define FIRST_ID (-100000)		/* of events nobody has named */

typedef struct Fact
{
	const char *word;
	const char *name;
	bool		truth;
} Fact;

typedef struct Row
{
	const char *event;
	TimestampTz at;
	Datum		properties;
} Row;

static MemoryContext kept = NULL;	/* NULL: nothing is supposed */
static MemoryContext person = NULL;
static const char *journey;
static List *events;			/* MaEvent * */
static int64 contact_id;
static List *facts;				/* Fact *, the last of a name counts */
static List *rows;				/* Row * */
static List *attributes;		/* Datum *, jsonb objects in their order */
static List *points;			/* MaSupposedPoints * */

MA_FUNCTION(ma_supposed_rows);
MA_FUNCTION(ma_supposed_attributes);

bool
ma_supposing(void)
{
	return kept != NULL;
}

void
ma_suppose_begin(const char *of_journey)
{
	ma_suppose_end();
	kept = AllocSetContextCreate(TopMemoryContext, "marketing_automation supposed",
								 ALLOCSET_DEFAULT_SIZES);
	person = AllocSetContextCreate(kept, "marketing_automation supposed of a contact",
								   ALLOCSET_SMALL_SIZES);
	journey = MemoryContextStrdup(kept, of_journey);
	events = NIL;
	ma_suppose_contact(0);
}

void
ma_suppose_contact(int64 id)
{
	MemoryContextReset(person);
	contact_id = id;
	facts = rows = attributes = points = NIL;
}

void
ma_suppose_end(void)
{
	if (kept != NULL)
		MemoryContextDelete(kept);
	kept = person = NULL;
}

/* ---- what is supposed ---- */

void
ma_suppose_fact(const char *word, const char *name, bool truth)
{
	MemoryContext previous = MemoryContextSwitchTo(person);
	Fact	   *fact = palloc_object(Fact);

	*fact = (Fact) {pstrdup(word), pstrdup(name), truth};
	facts = lcons(fact, facts);
	MemoryContextSwitchTo(previous);
}

void
ma_suppose_row(const char *event, TimestampTz at, Datum properties)
{
	MemoryContext previous = MemoryContextSwitchTo(person);
	Row		   *row = palloc_object(Row);

	*row = (Row) {pstrdup(event), at, PointerGetDatum(PG_DETOAST_DATUM_COPY(properties))};
	rows = lappend(rows, row);
	MemoryContextSwitchTo(previous);
}

void
ma_suppose_attributes(Datum added)
{
	MemoryContext previous = MemoryContextSwitchTo(person);
	Datum	   *one = palloc_object(Datum);

	*one = PointerGetDatum(PG_DETOAST_DATUM_COPY(added));
	attributes = lappend(attributes, one);
	MemoryContextSwitchTo(previous);
}

void
ma_suppose_points(const char *model, TimestampTz at, double number)
{
	MemoryContext previous = MemoryContextSwitchTo(person);
	MaSupposedPoints *one = palloc_object(MaSupposedPoints);

	*one = (MaSupposedPoints) {pstrdup(model), at, number};
	points = lappend(points, one);
	MemoryContextSwitchTo(previous);
}

/* ---- as it is read ---- */

bool
ma_supposed_fact(int64 id, const char *word, const char *name, bool *truth)
{
	ListCell   *cell;

	if (kept == NULL || id != contact_id)
		return false;
	foreach(cell, facts)
	{
		const Fact *fact = lfirst(cell);

		if (strcmp(fact->word, word) == 0 && strcmp(fact->name, name) == 0)
		{
			*truth = fact->truth;
			return true;
		}
	}
	return false;
}

const char *
ma_supposed_name(int64 id, const char *word)
{
	ListCell   *cell;

	foreach(cell, kept != NULL && id == contact_id ? facts : NIL)
	{
		const Fact *fact = lfirst(cell);

		if (fact->truth && strcmp(fact->word, word) == 0)
			return fact->name;
	}
	return NULL;
}

List *
ma_supposed_points(int64 id)
{
	return kept != NULL && id == contact_id ? points : NIL;
}

/* As identify() would change them: what is null goes. */
Datum
ma_supposed_attributes_over(int64 id, Datum own)
{
	ListCell   *cell;

	if (kept == NULL || id != contact_id)
		return own;
	foreach(cell, attributes)
		own = ma_contact_attributes_over(own, *(Datum *) lfirst(cell));
	return own;
}

/*
 * What the journey itself did in truth does not count: that is simulated.  What people did
 * with its messages does.
 */
char *
ma_supposed_rows_sql(const MaEvent *event, const char *sql)
{
	static const char *const own[] = {"_sent", "_skipped", "_failed"};
	size_t		length = strlen(event->name);
	bool		hides = strncmp(event->name, "journey_", 8) == 0 ||
		strcmp(event->name, "goal_reached") == 0;

	for (int i = 0; i < lengthof(own); i++)
		hides |= length > strlen(own[i]) &&
			strcmp(event->name + length - strlen(own[i]), own[i]) == 0;
	return psprintf("SELECT o.contact_id, o.occurred_at, o.properties FROM (%s) AS o%s%s "
					"UNION ALL SELECT s.contact_id, s.occurred_at, s.properties "
					"FROM marketing_internal.supposed_rows(%s) AS s", sql,
					hides ? " WHERE COALESCE((o.properties OPERATOR(pg_catalog.->>) 'journey') "
					"OPERATOR(pg_catalog.<>) " : "",
					hides ? psprintf("%s, true)", quote_literal_cstr(journey)) : "",
					quote_literal_cstr(event->name));
}

MaEvent *
ma_supposed_event(const char *name)
{
	MemoryContext previous;
	MaEvent    *event;
	ListCell   *cell;

	if (kept == NULL || ma_builtin_columns(name) == NULL)
		return NULL;
	foreach(cell, events)
		if (strcmp(((MaEvent *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	previous = MemoryContextSwitchTo(kept);
	event = palloc0_object(MaEvent);
	event->id = FIRST_ID - list_length(events);
	event->name = pstrdup(name);
	event->builtin = true;
	events = lappend(events, event);
	MemoryContextSwitchTo(previous);
	return event;
}

MaEvent *
ma_supposed_event_by_id(int32 id)
{
	ListCell   *cell;

	foreach(cell, kept != NULL && id <= FIRST_ID ? events : NIL)
		if (((MaEvent *) lfirst(cell))->id == id)
			return lfirst(cell);
	return NULL;
}

/* ---- within statements ---- */

/* supposed_rows(event) */
Datum
ma_supposed_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *event = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, kept != NULL ? rows : NIL)
	{
		const Row  *row = lfirst(cell);
		Datum		values[3] = {Int64GetDatum(contact_id), TimestampTzGetDatum(row->at),
		row->properties};
		bool		nulls[3] = {false};

		if (strcmp(row->event, event) == 0)
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* supposed_attributes(contact_id, attributes) */
Datum
ma_supposed_attributes(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(ma_supposed_attributes_over(PG_GETARG_INT64(0), PG_GETARG_DATUM(1)));
}
