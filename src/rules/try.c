/*
 * try.c
 *		Functions around single rules: canonical text and JSON; and in schema
 *		marketing_internal, for tests and for support, oracle SQL and truth of a rule for
 *		contacts at any instant.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "rules/rules_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static MaRule *parse_argument(FunctionCallInfo fcinfo, MaCall *call, int entry_event);

MA_FUNCTION(ma_rule_text_sql);
MA_FUNCTION(ma_rule_sql_sql);
MA_FUNCTION(ma_rule_truth_sql);
MA_FUNCTION(ma_rule_json_sql);
MA_FUNCTION(ma_rule_text_from_json);

static MaRule *parse_for_caller(const char *source, MaCall *call);

/* Arguments 0 and 1: rule and time zone; entry_event: the number of that argument. */
static MaRule *
parse_argument(FunctionCallInfo fcinfo, MaCall *call, int entry_event)
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
	if (!PG_ARGISNULL(entry_event))
		scope.entry_event =
			ma_event_required(ma_definitions(),
							  text_to_cstring(PG_GETARG_TEXT_PP(entry_event)));
	return ma_rule_parse(source, &scope, call->caller.userid);
}

/* marketing_internal.rule_text(rule, time_zone, entry_event) */
Datum
ma_rule_text_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	MaRule	   *rule = parse_argument(fcinfo, &call, 2);
	char	   *answer = MemoryContextStrdup(context, ma_rule_text(rule));

	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* marketing_internal.rule_sql(rule, time_zone, entry_event, entry) */
Datum
ma_rule_sql_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	MaRule	   *rule = parse_argument(fcinfo, &call, 2);
	char	   *entry = "{}";
	char	   *answer;

	if (!PG_ARGISNULL(3))
		entry = JsonbToCString(NULL, &PG_GETARG_JSONB_P(3)->root, -1);
	answer = ma_rule_sql_entered(rule, MA_SCHEMA ".now()",
								 psprintf("%s::pg_catalog.jsonb", quote_literal_cstr(entry)));
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* marketing_internal.rule_truth(rule, time_zone, at, contact_ids, entry_event, entry) */
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
	Datum	   *entries;
	TimestampTz *as_of;
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
	rule = parse_argument(fcinfo, &call, 4);
	truths = palloc_array(MaTruth, Max(n, 1));
	entries = palloc0_array(Datum, Max(n, 1));
	as_of = palloc_array(TimestampTz, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		as_of[i] = at;
		entries[i] = PG_ARGISNULL(5) ? (Datum) 0 : PG_GETARG_DATUM(5);
	}
	ma_rule_set_evaluate_entered(ma_rule_set_make(&rule, 1), ma_read_contacts(contacts, n), n,
								 as_of, entries, MA_RUN_READ, NULL, truths);
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

/* ---- text and JSON ---- */

static MaRule *
parse_for_caller(const char *source, MaCall *call)
{
	MaRuleScope scope = {"rule"};

	scope.search_path = pstrdup(namespace_search_path);
	ma_call_begin(call);
	return ma_rule_parse(source, &scope, call->caller.userid);
}

/* marketing.rule_json(rule) */
Datum
ma_rule_json_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *rule;
	Datum		answer;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	rule = text_to_cstring(PG_GETARG_TEXT_PP(0));
	answer = ma_rule_json(parse_for_caller(rule, &call));
	MemoryContextSwitchTo(context);
	answer = JsonbPGetDatum(DatumGetJsonbPCopy(answer));
	ma_call_end(&call);
	PG_RETURN_DATUM(answer);
}

/* marketing.rule_text(rule) */
Datum
ma_rule_text_from_json(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *rule;
	char	   *answer;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	rule = ma_rule_from_json(PG_GETARG_JSONB_P(0), "rule");
	answer = MemoryContextStrdup(context, ma_rule_text(parse_for_caller(rule, &call)));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
