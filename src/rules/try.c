/*
 * try.c
 *		Functions of schema marketing_internal around single rules: canonical text, oracle SQL,
 *		and truth of a rule for contacts at any instant.  For tests and for support.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "rules/rules_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"

static MaRule *parse_argument(FunctionCallInfo fcinfo, MaCall *call);

MA_FUNCTION(ma_rule_text_sql);
MA_FUNCTION(ma_rule_sql_sql);
MA_FUNCTION(ma_rule_truth_sql);

/* Arguments 0 and 1: rule and time zone. */
static MaRule *
parse_argument(FunctionCallInfo fcinfo, MaCall *call)
{
	MaRuleScope scope = {"rule"};
	char	   *source;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rule must not be null")));
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		scope.time_zone = text_to_cstring(PG_GETARG_TEXT_PP(1));
	scope.search_path = pstrdup(namespace_search_path);
	ma_call_begin(call);
	return ma_rule_parse(source, &scope, call->caller.userid);
}

/* marketing_internal.rule_text(rule, time_zone) */
Datum
ma_rule_text_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	MaRule	   *rule = parse_argument(fcinfo, &call);
	char	   *answer = MemoryContextStrdup(context, ma_rule_text(rule));

	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* marketing_internal.rule_sql(rule, time_zone) */
Datum
ma_rule_sql_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	MaRule	   *rule = parse_argument(fcinfo, &call);
	char	   *answer = MemoryContextStrdup(context, ma_rule_sql(rule, MA_SCHEMA ".now()"));

	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* marketing_internal.rule_truth(rule, time_zone, at, contact_ids) */
Datum
ma_rule_truth_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaCall		call;
	MaRule	   *rule;
	Datum	   *ids;
	int64	   *contacts;
	int			n;
	MaTruth    *truths;
	TimestampTz at = PG_ARGISNULL(2) ? ma_now() : PG_GETARG_TIMESTAMPTZ(2);

	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("contact_ids must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ids, NULL, &n);
	contacts = palloc_array(int64, Max(n, 1));
	for (int i = 0; i < n; i++)
		contacts[i] = DatumGetInt64(ids[i]);
	rule = parse_argument(fcinfo, &call);
	truths = palloc_array(MaTruth, Max(n, 1));
	ma_rule_evaluate(rule, ma_read_contacts(contacts, n), n, at, MA_RUN_READ, truths);
	for (int i = 0; i < n; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = Int64GetDatum(contacts[i]);
		values[1] = BoolGetDatum(truths[i].truth);
		values[2] = TimestampTzGetDatum(truths[i].until);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ma_call_end(&call);
	return (Datum) 0;
}
