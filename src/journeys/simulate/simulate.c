/*
 * simulate.c
 *		simulate_journey(): what a journey would have done, as of history.
 *
 * Design.  The step machine works on a batch in memory: batch_read.c fills it, and
 * batch_write.c stores what became of it.  A simulation fills it from history instead
 * (facts.c), moves the batch's clock from one instant to the next (walk.c), and stores
 * nothing: the story goes to the caller.  So it is the same machine, statement for
 * statement, and nobody else is touched: it takes no lock that a reader does not take,
 * writes no row, and reads under the caller's snapshot.  (The other way, running the real
 * duty in a transaction that is undone, would hold the scheduler's lock and those of the
 * contacts for as long as it lasts, and leave gaps in sequences and dead rows.)
 *
 * Contacts do not meet in a journey, so each is walked through his whole time by himself,
 * and memory holds one portion of contacts at a time.
 *
 * What the steps change is supposed of the contact (effects.c), so that later rules see it.
 * How many may enter all contacts share: see limits.c.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "journeys/define/define.h"
#include "journeys/simulate/simulate.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* What is simulated, before it is compiled. */
typedef struct Subject
{
	const char *name;
	int32		journey_id;		/* -1: there is none of this name */
	int32		version;
	Datum		definition;
	bool		given;			/* by the caller: not checked yet */
} Subject;

/* What is asked for. */
typedef struct Request
{
	FunctionCallInfo fcinfo;
	Subject		subject;
	Oid			caller;
} Request;

static void read_subject(Request *request);
static void subject_of_journey(Subject *subject, const char *name);
static Datum definition_of(const char *text);
static void times_of(FunctionCallInfo fcinfo, MaSimulation *simulation);
static int64 *contacts_of(FunctionCallInfo fcinfo, int *n);
static void simulate(Request *request);
static void simulate_portion(const int64 *ids, int n, void *arg);
static char *zone_of(const MaRows *rows, int64 contact_id);

MA_FUNCTION(ma_simulate_journey);

/* simulate_journey(name or definition, since, until, contacts, journey) */
Datum
ma_simulate_journey(PG_FUNCTION_ARGS)
{
	Request		request = {fcinfo};
	MaCall		call;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("what to simulate must not be null")));
	/* What is supposed is one for the session; asked here, so that the outer one goes on. */
	if (ma_supposing())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a simulation is at work in this session"),
				 errhint("A function that is called by a rule cannot simulate a journey.")));
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	request.caller = call.caller.userid;
	ma_suppose_begin("");
	PG_TRY();
	{
		read_subject(&request);
		ma_suppose_begin(request.subject.name);
		simulate(&request);
	}
	PG_FINALLY();
	{
		ma_suppose_end();
	}
	PG_END_TRY();
	ma_call_end(&call);
	return (Datum) 0;
}

/* ---- what is simulated ---- */

static void
read_subject(Request *request)
{
	FunctionCallInfo fcinfo = request->fcinfo;
	Subject    *subject = &request->subject;
	bool		is_json = get_fn_expr_argtype(fcinfo->flinfo, 0) == JSONBOID;
	char	   *what = is_json ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *as = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	MaJourney  *journey;

	if (!is_json && what[strspn(what, " \t\r\n")] != '{')
	{
		subject_of_journey(subject, what);
		if (as != NULL)
			subject->name = as;
		return;
	}
	journey = as ? ma_journey_find(as) : NULL;
	subject->given = true;
	subject->definition = is_json ? PG_GETARG_DATUM(0) : definition_of(what);
	subject->name = as ? as : "simulation";
	subject->journey_id = journey ? journey->id : -1;
}

static Datum
definition_of(const char *text)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/* The newest version: the draft if there is one. */
static void
subject_of_journey(Subject *subject, const char *name)
{
	static MaStatement read = {
		"SELECT v.definition, v.activated_at IS NULL FROM marketing_internal.journey_version AS v "
		"WHERE v.journey_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, INT4OID}
	};
	MaJourney  *journey = ma_journey_required(name);
	Datum		values[2];
	MaRows		rows;
	bool		isnull;

	subject->name = journey->name;
	subject->journey_id = journey->id;
	subject->version = journey->draft ? journey->draft : journey->version;
	values[0] = Int32GetDatum(journey->id);
	values[1] = Int32GetDatum(subject->version);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	subject->definition = PointerGetDatum(PG_DETOAST_DATUM_COPY(ma_value(&rows, 0, 1, &isnull)));
	/* What a draft names may have gone since it was defined. */
	subject->given = ma_bool(&rows, 0, 2);
}

static void
times_of(FunctionCallInfo fcinfo, MaSimulation *simulation)
{
	TimestampTz now = ma_now();
	Interval	month = {.day = 30};

	simulation->until = PG_ARGISNULL(2) ? now : PG_GETARG_TIMESTAMPTZ(2);
	simulation->since = !PG_ARGISNULL(1) ? PG_GETARG_TIMESTAMPTZ(1) :
		DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
												TimestampTzGetDatum(simulation->until),
												IntervalPGetDatum(&month)));
	if (TIMESTAMP_NOT_FINITE(simulation->since) || TIMESTAMP_NOT_FINITE(simulation->until) ||
		simulation->since >= simulation->until)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must lie before until, and neither may be infinite")));
	/* What lies ahead has not happened. */
	simulation->until = Min(simulation->until, now);
}

/* NULL: everybody. */
static int64 *
contacts_of(FunctionCallInfo fcinfo, int *n)
{
	ArrayType  *array;
	Datum	   *texts;
	bool	   *nulls;
	int64	   *ids;

	*n = 0;
	if (PG_ARGISNULL(3))
		return NULL;
	array = PG_GETARG_ARRAYTYPE_P(3);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls,
					  n);
	ids = palloc_array(int64, Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a contact must not be null")));
		ids[i] = ma_contact_of_text(TextDatumGetCString(texts[i]), false);
	}
	qsort(ids, *n, sizeof(int64), ma_compare_int64);
	return ids;
}

/* ---- the run ---- */

static void
simulate(Request *request)
{
	const Subject *subject = &request->subject;
	MaSimulation simulation = {0};
	int			n;
	int64	   *ids;

	times_of(request->fcinfo, &simulation);
	if (subject->given)
		(void) ma_program_checked(subject->name, subject->definition, request->caller, false);
	simulation.result = (ReturnSetInfo *) request->fcinfo->resultinfo;
	simulation.version = ma_version_make(subject->journey_id, Max(subject->version, 1),
										 subject->name, subject->definition);
	simulation.version->current = true;
	simulation.version->activated_by = GetUserNameFromId(request->caller, false);
	simulation.journeys.versions = list_make1(simulation.version);
	ids = contacts_of(request->fcinfo, &n);
	if (simulation.since >= simulation.until)
		return;
	simulation.by_hand = simulation.version->program->entry == NULL &&
		simulation.version->program->date == NULL &&
		simulation.version->program->schedule == NULL;
	if (simulation.by_hand && ids == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nobody enters journey \"%s\" by himself", subject->name),
				 errhint("Say who enters it at the beginning: contacts => '{42}'.")));
	ma_limits_begin(&simulation);
	do
	{
		if (ids != NULL)
			ma_contacts_each_of(ids, n, simulate_portion, &simulation);
		else
			ma_contacts_each(0, MA_RUN_READ, simulate_portion, &simulation);
	} while (ma_limits_again(&simulation));
}

/* Contacts that are known at once, each then by himself. */
static void
simulate_portion(const int64 *ids, int n, void *arg)
{
	static MaStatement zones = {
		"SELECT contact_id, time_zone FROM marketing_internal.contact "
		"WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) AND time_zone IS NOT NULL ORDER BY 1",
		1, {INT8ARRAYOID}
	};
	MaSimulation *simulation = arg;
	MaContactChange *contacts = ma_read_contacts_as(ids, n, MA_RUN_READ);
	Datum		value = ma_int8_array(ids, n);
	MaRows		rows = ma_run(&zones, &value, NULL, MA_RUN_READ);
	List	   *facts = ma_facts_read(simulation, contacts, n);
	MaFactSeen **own = palloc_array(MaFactSeen *, Max(list_length(facts), 1));
	int			place = 0;

	for (int i = 0; i < n; i++)
	{
		int			nown = 0;

		while (place < list_length(facts) &&
			   ((MaFactSeen *) list_nth(facts, place))->contact_id == contacts[i].contact_id)
			own[nown++] = list_nth(facts, place++);
		if (nown == 0 || contacts[i].nkeys == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		ma_spi_begin();
		ma_simulate_contact(simulation, &contacts[i], zone_of(&rows, contacts[i].contact_id), own,
							nown);
		ma_spi_end();
	}
}

static char *
zone_of(const MaRows *rows, int64 contact_id)
{
	for (uint64 i = 0; i < rows->n; i++)
		if (ma_int64(rows, i, 1) == contact_id)
			return ma_text(rows, i, 2);
	return NULL;
}
