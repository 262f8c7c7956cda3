/*
 * effects.c
 *		What steps do besides sending: lists, attributes, functions of the shop's,
 *		notifications.
 *
 * All of it is in the transaction that moves the run on, so it takes effect once; what
 * listens to a notification hears it when that has committed.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "journeys/engine.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "segments/segments.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* The contacts' locks are held by the batch. */
void
ma_effect_list(const char *list, bool add, MaJourneyRun **runs, int n)
{
	int64	   *contacts = palloc_array(int64, n);

	for (int i = 0; i < n; i++)
		contacts[i] = runs[i]->person->contact_id;
	if (add)
		(void) ma_list_add(list, contacts, n);
	else
		(void) ma_list_remove(list, contacts, n);
}

void
ma_effect_update(const char *attributes, MaJourneyRun **runs, int n)
{
	int64	   *contacts = palloc_array(int64, n);

	for (int i = 0; i < n; i++)
		contacts[i] = runs[i]->person->contact_id;
	ma_contact_attributes_set(contacts, n, DirectFunctionCall1(jsonb_in,
															   CStringGetDatum(attributes)));
}

static Oid
function_owner(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cannot happen: function %u was there just now", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* The function(contact text, entry jsonb), as it is called now. */
Oid
ma_step_function(const char *name, Oid role)
{
	static const Oid types[] = {TEXTOID, JSONBOID};
	List	   *names = ma_qualified_names(name);
	Oid			function = LookupFuncName(names, lengthof(types), types, true);
	Oid			owner;

	if (list_length(names) < 2 || !OidIsValid(function) || get_func_retset(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("there is no function %s(contact text, entry jsonb)", name),
				 errhint("Write it with its schema, as \"public.note_churn\"; it must return no set.")));
	if (ma_function_aclcheck(function, role, ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not call function %s",
						GetUserNameFromId(role, false), name)));
	/* Its owner can change what it does, and it does that with the role's rights. */
	owner = function_owner(function);
	if (!superuser_arg(owner) && !has_privs_of_role(owner, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s would run with the rights of role \"%s\"", name,
						GetUserNameFromId(role, false)),
				 errdetail("Its owner is \"%s\", who may change it.",
						   GetUserNameFromId(owner, false)),
				 errhint("Activate the journey as its owner, or give the function to \"%s\".",
						 GetUserNameFromId(role, false))));
	return function;
}

/*
 * As the role that activated the version, which may do in it what it may do by itself:
 * other than an expression a step may write.
 */
void
ma_effect_sql(const char *function, MaJourneyRun **runs, int n)
{
	Oid			role = get_role_oid(runs[0]->version->activated_by, false);
	Oid			types[2] = {TEXTARRAYOID, JSONBARRAYOID};
	char	  **contacts = palloc_array(char *, n);
	Datum	   *entries = palloc_array(Datum, n);
	bool	   *none = palloc_array(bool, n);
	Datum		values[2];
	MaIdentity	caller;
	char	   *name;
	Oid			id;

	for (int i = 0; i < n; i++)
	{
		contacts[i] = ma_contact_text(runs[i]->person->contact_id);
		entries[i] = runs[i]->entry;
		none[i] = entries[i] == 0;
	}
	values[0] = ma_text_array(contacts, n);
	values[1] = ma_datum_array_nulls(entries, none, n, JSONBOID);
	ma_become_restricted(&caller, role);
	XactReadOnly = caller.read_only;
	id = ma_step_function(function, role);
	name = quote_qualified_identifier(get_namespace_name(get_func_namespace(id)),
									  get_func_name(id));
	(void) ma_run_once(psprintf("SELECT %s(u.contact, u.entry) FROM ROWS FROM "
								"(pg_catalog.unnest($1), pg_catalog.unnest($2)) "
								"AS u (contact, entry)", name),
					   2, types, values, NULL, MA_RUN_WRITE_LATEST);
	ma_become_back(&caller);
}

/* {"contact": "42", "journey": "winback", "step": "tell", "run": 7} */
void
ma_effect_notify(const char *channel, MaJourneyRun **runs, int n)
{
	static MaStatement notify = {
		"SELECT pg_catalog.pg_notify($1, u.payload) FROM pg_catalog.unnest($2) AS u (payload)",
		2, {TEXTOID, TEXTARRAYOID}
	};
	char	  **payloads = palloc_array(char *, n);
	Datum		values[2];

	for (int i = 0; i < n; i++)
	{
		char	   *contact = ma_contact_text(runs[i]->person->contact_id);
		StringInfoData text;

		initStringInfo(&text);
		appendStringInfoString(&text, "{\"contact\": ");
		escape_json(&text, contact ? contact : "");
		appendStringInfoString(&text, ", \"journey\": ");
		escape_json(&text, runs[i]->version->journey);
		appendStringInfoString(&text, ", \"step\": ");
		escape_json(&text, runs[i]->step->id);
		appendStringInfo(&text, ", \"run\": " INT64_FORMAT "}", runs[i]->enrollment_id);
		payloads[i] = text.data;
	}
	values[0] = CStringGetTextDatum(channel);
	values[1] = ma_text_array(payloads, n);
	ma_run(&notify, values, NULL, MA_RUN_WRITE_LATEST);
}

int64 *
ma_segment_members_now(const char *segment, int *n)
{
	return ma_segment_contacts(segment, n);
}
