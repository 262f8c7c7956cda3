/*
 * analyse.c
 *		What is wrong with a definition, and what is odd: check_journey(), and the
 *		notices of define_journey().
 *
 * Errors are those with which a definition is refused.  Warnings are what can be proved
 * from the text (and from templates and caps as they are): they refuse nothing.
 */
#include "base/base.h"

#include "funcapi.h"
#include "journeys/analyse/analyse.h"
#include "utils/builtins.h"

static void emit(ReturnSetInfo *result, const char *kind, const List *problems);

MA_FUNCTION(ma_check_journey);

List *
ma_program_warnings(const MaProgram *program, const char *name, Oid definer)
{
	MaAnalysis	analysis = {program, name, definer};

	analysis.dead = palloc0_array(bool, Max(list_length(program->conditions), 1));
	ma_analyse_truth(&analysis);
	ma_analyse_ways(&analysis);
	ma_analyse_sends(&analysis);
	return analysis.warnings;
}

void
ma_program_notice(const MaProgram *program, const char *name, Oid definer)
{
	ListCell   *cell;

	foreach(cell, ma_program_warnings(program, name, definer))
	{
		MaProblem  *warning = lfirst(cell);

		ereport(NOTICE,
				(errmsg("journey \"%s\": %s: %s", name, warning->path, warning->message),
				 warning->hint ? errhint("%s", warning->hint) : 0));
	}
}

/* check_journey(definition, name) */
Datum
ma_check_journey(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *name = PG_ARGISNULL(1) ? "checked" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	List	   *form = NIL;
	List	   *names = NIL;
	MaProgram  *program;
	MaCall		call;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("definition must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	program = ma_program_parse(PG_GETARG_DATUM(0), &form);
	ma_program_check(program, name, call.caller.userid, &names);
	if (form == NIL && names == NIL)
		ma_ring_check(name, program, false, &names);
	emit(result, "form", form);
	emit(result, "name", names);
	if (form == NIL && names == NIL)
		emit(result, "warning", ma_program_warnings(program, name, call.caller.userid));
	ma_call_end(&call);
	return (Datum) 0;
}

static void
emit(ReturnSetInfo *result, const char *kind, const List *problems)
{
	ListCell   *cell;

	foreach(cell, problems)
	{
		const MaProblem *problem = lfirst(cell);
		Datum		values[4] = {0};
		bool		nulls[4] = {false, false, false, problem->hint == NULL};

		values[0] = CStringGetTextDatum(kind);
		values[1] = CStringGetTextDatum(problem->path);
		values[2] = CStringGetTextDatum(problem->message);
		if (problem->hint != NULL)
			values[3] = CStringGetTextDatum(problem->hint);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
