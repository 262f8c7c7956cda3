/*
 * hand_off.c
 *		define_hand_off(): from which threshold on leads go to sales, to whom, and within
 *		what time an answer is due.  The worker gives them owners, see hand_over.c.
 */
#include "base/base.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "scoring/sales/sales.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "worker/worker.h"

static void check_threshold(const MaScoreModel *model, const char *threshold);
static void check_assign(const char *assign, Oid role);
static bool same(const MaRows *rows, int column, const char *text);
static List *uses_of_owner(const char *name);
static List *uses_of_team(const char *name);

MA_FUNCTION(ma_define_hand_off);
MA_FUNCTION(ma_drop_hand_off);

void
ma_hand_off_init(void)
{
	ma_register_uses("owner", uses_of_owner);
	ma_register_uses("team", uses_of_team);
}

/* Hand-offs that give leads to the owner by name. */
static List *
uses_of_owner(const char *name)
{
	static MaStatement read = {
		"SELECT m.name FROM marketing_internal.hand_off AS h "
		"JOIN marketing_internal.score_model AS m ON m.model_id OPERATOR(pg_catalog.=) h.model_id "
		"WHERE h.assign OPERATOR(pg_catalog.=) $1 ORDER BY 1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	List	   *uses = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		uses = lappend(uses, psprintf("hand-off of \"%s\"", ma_text(&rows, i, 1)));
	return uses;
}

static void
check_threshold(const MaScoreModel *model, const char *threshold)
{
	List	   *names = NIL;
	char	   *nearest;

	for (int i = 0; i < model->nthresholds; i++)
	{
		names = lappend(names, model->thresholds[i].name);
		if (threshold == NULL || strcmp(threshold, model->thresholds[i].name) == 0)
			return;
	}
	nearest = threshold ? ma_nearest(threshold, names) : NULL;
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SCORE),
			 threshold ?
			 errmsg("score model \"%s\" has no threshold \"%s\"", model->name, threshold) :
			 errmsg("score model \"%s\" has no threshold", model->name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Give it one with marketing.define_score_model(..., thresholds => '{\"hot\": 50}').")));
}

/* Without it no lead would ever be handed over, and each of the others would be one. */
void
ma_hand_off_check_model(const char *name, Datum thresholds)
{
	static MaStatement read = {
		"SELECT h.threshold FROM marketing_internal.hand_off AS h "
		"JOIN marketing_internal.score_model AS m ON m.model_id OPERATOR(pg_catalog.=) h.model_id "
		"WHERE m.name OPERATOR(pg_catalog.=) $1 AND NOT $2 OPERATOR(pg_catalog.?) h.threshold",
		2, {TEXTOID, JSONBOID}
	};
	Datum		values[2];
	MaRows		rows;

	values[0] = CStringGetTextDatum(name);
	values[1] = thresholds;
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("score model \"%s\" needs threshold \"%s\"", name, ma_text(&rows, 0, 1)),
				 errdetail("Leads are handed over from it on."),
				 errhint("Say another one first with marketing.define_hand_off().")));
}

char *
ma_assign_function(const char *name, Oid role)
{
	static const Oid types[] = {TEXTOID};
	List	   *names = ma_qualified_names(name);
	Oid			function = LookupFuncName(names, lengthof(types), types, true);

	if (list_length(names) < 2 || !OidIsValid(function) ||
		get_func_prokind(function) != PROKIND_FUNCTION || get_func_retset(function) ||
		get_func_rettype(function) != TEXTOID)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("there is no function %s(contact text) that returns a text", name),
				 errhint("Write it with its schema, as function:public.territory.")));
	if (ma_function_aclcheck(function, role, ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not call function %s", GetUserNameFromId(role, false),
						name)));
	return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									  get_func_name(function));
}

/* A name, a team or a function that the role may call. */
static void
check_assign(const char *assign, Oid role)
{
	if (strcmp(assign, "owner") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("assign of a hand-off cannot be \"owner\""),
				 errdetail("It is for leads that have none."),
				 errhint("Use a name, round_robin:TEAM or function:SCHEMA.NAME.")));
	if (strncmp(assign, MA_ASSIGN_FUNCTION, strlen(MA_ASSIGN_FUNCTION)) == 0)
		(void) ma_assign_function(assign + strlen(MA_ASSIGN_FUNCTION), role);
	else
		ma_assignment_check(assign);
}

static bool
same(const MaRows *rows, int column, const char *text)
{
	char	   *stored = ma_text(rows, 0, column);

	return (stored == NULL) == (text == NULL) && (text == NULL || strcmp(stored, text) == 0);
}

/* Hand-offs that give leads to the team in turn. */
static List *
uses_of_team(const char *name)
{
	return uses_of_owner(psprintf(MA_ROUND_ROBIN "%s", name));
}

/* marketing.define_hand_off(model, threshold, assign, within) */
Datum
ma_define_hand_off(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT h.threshold, h.assign, h.within::pg_catalog.text, h.defined_by, $2::pg_catalog.text "
		"FROM marketing_internal.hand_off AS h WHERE h.model_id OPERATOR(pg_catalog.=) $1",
		2, {INT4OID, INTERVALOID}
	};
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.hand_off (model_id, threshold, assign, within, defined_by) "
		"VALUES ($1, $2, $3, $4, $5) ON CONFLICT (model_id) DO UPDATE SET "
		"threshold = EXCLUDED.threshold, assign = EXCLUDED.assign, within = EXCLUDED.within, "
		"defined_by = EXCLUDED.defined_by",
		5, {INT4OID, TEXTOID, TEXTOID, INTERVALOID, TEXTOID}
	};
	char	   *name = ma_score_name(fcinfo, 0, "model");
	char	   *threshold = ma_score_text(fcinfo, 1);
	char	   *assign = ma_score_text(fcinfo, 2);
	const char *what = "created";
	MaScoreModel *model;
	Datum		values[5];
	Datum		asked[2];
	char		nulls[] = "     ";
	MaCall		call;
	MaRows		rows;
	char	   *role;

	(void) ma_extension_required();
	if (!PG_ARGISNULL(3))
		ma_score_check_time(PG_GETARG_INTERVAL_P(3), psprintf("within of score model \"%s\"", name),
							true);
	ma_call_begin(&call);
	/* Against drop_owner(). */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_score_definitions_lock();
	role = GetUserNameFromId(call.caller.userid, false);
	model = ma_score_model_required(name);
	check_threshold(model, threshold);
	if (assign != NULL)
		check_assign(assign, call.caller.userid);
	values[0] = asked[0] = Int32GetDatum(model->id);
	values[1] = threshold ? CStringGetTextDatum(threshold) : (Datum) 0;
	values[2] = assign ? CStringGetTextDatum(assign) : (Datum) 0;
	values[3] = asked[1] = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	values[4] = CStringGetTextDatum(role);
	nulls[1] = threshold ? ' ' : 'n';
	nulls[2] = assign ? ' ' : 'n';
	nulls[3] = PG_ARGISNULL(3) ? 'n' : ' ';
	rows = ma_run(&read, asked, PG_ARGISNULL(3) ? " n" : "  ", MA_RUN_READ_LATEST);
	if (rows.n > 0)
		what = same(&rows, 1, threshold) && same(&rows, 2, assign) && same(&rows, 4, role) &&
			same(&rows, 3, ma_text(&rows, 0, 5)) ? "unchanged" : "replaced";
	if (strcmp(what, "unchanged") != 0)
	{
		ma_run(&upsert, values, nulls, MA_RUN_WRITE_LATEST);
		ma_definitions_changed();
		ma_hand_off_reach_all(model->id);
	}
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("hand-off of %s: %s", name, what)));
}

/* marketing.drop_hand_off(model) */
Datum
ma_drop_hand_off(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.hand_off WHERE model_id OPERATOR(pg_catalog.=) $1 RETURNING 1",
		1, {INT4OID}
	};
	char	   *name = ma_score_name(fcinfo, 0, "model");
	Datum		value;
	MaCall		call;

	(void) ma_extension_required();
	ma_call_begin(&call);
	value = Int32GetDatum(ma_score_model_required(name)->id);
	if (ma_run(&remove, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_SCORE),
				 errmsg("nothing is said of the hand-off of score model \"%s\"", name)));
	ma_definitions_changed();
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("hand-off of %s: dropped", name)));
}
