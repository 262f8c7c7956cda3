/*
 * check_template.c
 *		marketing.check_template(): a template rendered for a whole audience, and what
 *		the readers would miss.
 *
 * The audience is read in batches as contacts are, each batch rendered at once, so a
 * million contacts need no more memory than one batch; nothing is claimed, sent or
 * recorded.  What is told of a contact is what his message would say wrong: variables
 * without a value, links without an address, an SMS of several parts, a fault.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "contacts/contacts.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "funcapi.h"
#include "rules/rules.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* What holds for all batches. */
typedef struct Check
{
	MaTemplate *template;
	MaRule	   *rule;			/* NULL: every contact */
	Datum		data;
	ReturnSetInfo *result;
} Check;

static void check_batch(const int64 *ids, int n, void *arg);
static int	choose(const Check *check, const int64 *ids, int n, int64 *chosen);
static void put_problems(const Check *check, int64 contact_id, List *problems);

MA_FUNCTION(ma_check_template);

/* marketing.check_template(template, rule, data) */
Datum
ma_check_template(PG_FUNCTION_ARGS)
{
	MaRuleScope scope = {"rule"};
	Check		check = {0};
	MaCall		call;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("template must not be null")));
	scope.search_path = pstrdup(namespace_search_path);
	InitMaterializedSRF(fcinfo, 0);
	check.result = (ReturnSetInfo *) fcinfo->resultinfo;
	if (!PG_ARGISNULL(2))
	{
		check.data = PG_GETARG_DATUM(2);
		if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(check.data)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("data must be an object")));
	}
	ma_call_begin(&call);
	check.template = ma_template_required(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (!PG_ARGISNULL(1))
		check.rule = ma_rule_parse(text_to_cstring(PG_GETARG_TEXT_PP(1)), &scope,
								   call.caller.userid);
	ma_contacts_each(0, MA_RUN_READ, check_batch, &check);
	ma_call_end(&call);
	return (Datum) 0;
}

static void
check_batch(const int64 *ids, int n, void *arg)
{
	Check	   *check = arg;
	int64	   *chosen = palloc_array(int64, Max(n, 1));
	int			count = choose(check, ids, n, chosen);
	MaRenderRequest *requests = palloc0_array(MaRenderRequest, Max(count, 1));
	MaRendered *rendered = palloc0_array(MaRendered, Max(count, 1));

	for (int i = 0; i < count; i++)
	{
		requests[i].contact_id = chosen[i];
		requests[i].template_id = check->template->id;
		requests[i].data = check->data;
		requests[i].check = true;
		requests[i].variables = ma_render_variables(chosen[i], check->template,
													&requests[i].nvariables);
	}
	ma_render_messages(requests, count, rendered);
	for (int i = 0; i < count; i++)
		put_problems(check, chosen[i], rendered[i].problems);
}

/* Those of the batch for whom the rule is true. */
static int
choose(const Check *check, const int64 *ids, int n, int64 *chosen)
{
	MaContactChange *contacts;
	MaTruth    *truths;
	int			count = 0;

	if (check->rule == NULL)
	{
		memcpy(chosen, ids, sizeof(int64) * n);
		return n;
	}
	contacts = ma_read_contacts(ids, n);
	truths = palloc_array(MaTruth, Max(n, 1));
	ma_rule_evaluate(check->rule, contacts, n, ma_now(), MA_RUN_READ, truths);
	for (int i = 0; i < n; i++)
		if (truths[i].truth)
			chosen[count++] = contacts[i].contact_id;
	return count;
}

static void
put_problems(const Check *check, int64 contact_id, List *problems)
{
	char	   *contact = problems != NIL ? ma_contact_text(contact_id) : NULL;
	ListCell   *cell;

	foreach(cell, problems)
	{
		MaTextFault  *problem = lfirst(cell);
		Datum		values[3] = {0};
		bool		nulls[3] = {contact == NULL, problem->part == NULL, false};

		if (contact != NULL)
			values[0] = CStringGetTextDatum(contact);
		if (problem->part != NULL)
			values[1] = CStringGetTextDatum(problem->part);
		values[2] = CStringGetTextDatum(problem->text);
		tuplestore_putvalues(check->result->setResult, check->result->setDesc, values, nulls);
	}
}
