/*
 * define.c
 *		define_broadcast() and drop_broadcast(), and the rows they write.
 */
#include "base/base.h"

#include "broadcasts/broadcasts.h"
#include "broadcasts/broadcasts_internal.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "content/content.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rules/rules.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define LOCK_CLASS_BROADCAST 21	/* of advisory locks */

/* What one check needs. */
typedef struct Check
{
	const char *text;
	Oid			definer;
} Check;

static bool lock(const char *name, bool wait);
static void attempt(Check *check, const char *path, const char *text, void (*work) (void *arg),
					List **problems);
static void check_rule(void *arg);
static void check_template(void *arg);
static void check_measure(void *arg);
static void check_earlier(void *arg);
static void check_names(const MaBroadcast *broadcast, Oid definer, List **problems);
static void refuse(const char *name, const List *problems) pg_attribute_noreturn();
static char *define(const char *name, Datum definition);

MA_FUNCTION(ma_define_broadcast);
MA_FUNCTION(ma_drop_broadcast);

void
ma_broadcasts_init(void)
{
	ma_broadcast_uses_init();
	ma_broadcast_duty_init();
	ma_broadcast_why_init();
}

/* ---- rows ---- */

/* By its name, which need not be defined yet; held to the end of the transaction. */
static bool
lock(const char *name, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0,
						 hash_bytes((const unsigned char *) name, (int) strlen(name)),
						 LOCK_CLASS_BROADCAST);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
ma_broadcast_lock(const char *name)
{
	(void) lock(name, true);
}

bool
ma_broadcast_lock_if_free(const char *name)
{
	return lock(name, false);
}

MaBroadcastRow *
ma_broadcast_find(const char *name)
{
	static MaStatement find = {
		"SELECT broadcast_id, definition, state, launched_by, COALESCE(entered_to, -1), "
		"launched_at, COALESCE(decide_at, 'infinity'), tries "
		"FROM marketing_internal.broadcast "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	List	   *problems = NIL;
	MaBroadcastRow *row;
	bool		isnull;

	if (rows.n == 0)
		return NULL;
	row = palloc0_object(MaBroadcastRow);
	row->id = ma_int32(&rows, 0, 1);
	row->name = pstrdup(name);
	row->definition = PointerGetDatum(PG_DETOAST_DATUM_COPY(ma_value(&rows, 0, 2, &isnull)));
	row->state = ma_text(&rows, 0, 3);
	row->launched_by = ma_text(&rows, 0, 4);
	row->entered_to = ma_int64(&rows, 0, 5);
	row->launched_at = ma_int64(&rows, 0, 6);
	row->decide_at = ma_int64(&rows, 0, 7);
	row->tries = ma_int32(&rows, 0, 8);
	row->parsed = ma_broadcast_parse(row->definition, &problems);
	return row;
}

MaBroadcastRow *
ma_broadcast_required(const char *name)
{
	static MaStatement all = {"SELECT name FROM marketing_internal.broadcast ORDER BY 1"};
	MaBroadcastRow *row = ma_broadcast_find(name);
	List	   *names = NIL;
	char	   *nearest;
	MaRows		rows;

	if (row != NULL)
		return row;
	rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
		names = lappend(names, ma_text(&rows, i, 1));
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_JOURNEY),
			 errmsg("there is no broadcast \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Look at marketing.broadcasts.")));
}

char *
ma_broadcast_name_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/* ---- what it names ---- */

static void
check_rule(void *arg)
{
	Check	   *check = arg;
	MaRuleScope scope = {"rule", NULL};

	(void) ma_rule_parse(check->text, &scope, check->definer);
}

static void
check_template(void *arg)
{
	(void) ma_template_required(((Check *) arg)->text);
}

static void
check_measure(void *arg)
{
	ma_test_check_measure(((Check *) arg)->text);
}

static void
check_earlier(void *arg)
{
	(void) ma_broadcast_required(((Check *) arg)->text);
}

/* What it throws is a problem at this place. */
static void
attempt(Check *check, const char *path, const char *text, void (*work) (void *arg),
		List **problems)
{
	ErrorData  *error;

	if (text == NULL)
		return;
	check->text = text;
	error = ma_attempt(work, check);
	if (error != NULL)
		ma_problem(problems, path, error->hint ? error->hint : error->detail, "%s",
				   error->message);
}

static void
check_names(const MaBroadcast *broadcast, Oid definer, List **problems)
{
	Check		check = {NULL, definer};
	ListCell   *cell;

	attempt(&check, "audience", broadcast->audience, check_rule, problems);
	attempt(&check, "exclude", broadcast->exclude, check_rule, problems);
	attempt(&check, "resend_of", broadcast->resend_of, check_earlier, problems);
	attempt(&check, "send", broadcast->send, check_template, problems);
	if (broadcast->test == NULL)
		return;
	attempt(&check, "test.measure.event", broadcast->test->measure, check_measure, problems);
	foreach(cell, broadcast->test->variants)
	{
		MaVariant  *variant = lfirst(cell);

		attempt(&check, psprintf("test.variants.%s", variant->name), variant->template,
				check_template, problems);
	}
}

/* One line for each problem, with its place. */
static void
refuse(const char *name, const List *problems)
{
	StringInfoData lines;
	ListCell   *cell;

	initStringInfo(&lines);
	foreach(cell, problems)
	{
		MaProblem  *problem = lfirst(cell);

		appendStringInfo(&lines, "%s%s%s%s%s%s", lines.len > 0 ? "\n" : "", problem->path,
						 problem->path[0] ? ": " : "", problem->message,
						 problem->hint ? ". " : "", problem->hint ? problem->hint : "");
	}
	ereport(ERROR,
			(errcode(ERRCODE_MA_INVALID_JOURNEY),
			 list_length(problems) == 1 ?
			 errmsg("the definition of broadcast \"%s\" has an error", name) :
			 errmsg("the definition of broadcast \"%s\" has %d errors", name,
					list_length(problems)),
			 errdetail_internal("%s", lines.data)));
}

/* ---- calls ---- */

/* define_broadcast(name, definition) */
Datum
ma_define_broadcast(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_broadcast_name_argument(fcinfo);
	List	   *problems = NIL;
	MaBroadcast *broadcast;
	MaCall		call;
	char	   *answer;

	ma_name_check(name, "broadcast");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("definition must not be null")));
	ma_call_begin(&call);
	ma_broadcast_lock(name);
	broadcast = ma_broadcast_parse(PG_GETARG_DATUM(1), &problems);
	check_names(broadcast, call.caller.userid, &problems);
	if (problems != NIL)
		refuse(name, problems);
	answer = MemoryContextStrdup(context, define(name, PG_GETARG_DATUM(1)));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Stores what differs; returns the answer. */
static char *
define(const char *name, Datum definition)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.broadcast (name, definition, state, created_at) "
		"VALUES ($1, $2, 'draft', $3)",
		3, {TEXTOID, JSONBOID, TIMESTAMPTZOID}
	};
	static MaStatement replace = {
		"UPDATE marketing_internal.broadcast SET definition = $2, created_at = $3 "
		"WHERE name OPERATOR(pg_catalog.=) $1 AND definition OPERATOR(pg_catalog.<>) $2 "
		"AND state OPERATOR(pg_catalog.=) 'draft' RETURNING 1",
		3, {TEXTOID, JSONBOID, TIMESTAMPTZOID}
	};
	static MaStatement same = {
		"SELECT FROM marketing_internal.broadcast WHERE name OPERATOR(pg_catalog.=) $1 "
		"AND definition OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, JSONBOID}
	};
	MaBroadcastRow *row = ma_broadcast_find(name);
	Datum		values[3];

	values[0] = CStringGetTextDatum(name);
	values[1] = definition;
	values[2] = TimestampTzGetDatum(ma_now());
	if (row == NULL)
	{
		ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
		return psprintf("%s: created", name);
	}
	if (ma_run(&same, values, NULL, MA_RUN_READ_LATEST).n > 0)
		return psprintf("%s: unchanged", name);
	if (ma_run(&replace, values, NULL, MA_RUN_WRITE_LATEST).n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("broadcast \"%s\" has been launched", name),
				 errhint("Define another one, under another name.")));
	return psprintf("%s: replaced", name);
}

/* drop_broadcast(name) */
Datum
ma_drop_broadcast(PG_FUNCTION_ARGS)
{
	static MaStatement removes[] = {
		{"DELETE FROM marketing_internal.broadcast_audience "
			"WHERE broadcast_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.broadcast WHERE broadcast_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_broadcast_name_argument(fcinfo);
	Oid			type = TEXTOID;
	MaBroadcastRow *row;
	MaCall		call;
	Datum		value;
	char	   *answer;

	ma_call_begin(&call);
	ma_broadcast_lock(name);
	row = ma_broadcast_required(name);
	value = Int32GetDatum(row->id);
	for (int i = 0; i < lengthof(removes); i++)
		ma_run(&removes[i], &value, NULL, MA_RUN_WRITE_LATEST);
	/* Its journey, which nothing keeps from now on. */
	value = CStringGetTextDatum(name);
	if (strcmp(row->state, "draft") != 0)
		ma_run_once("SELECT marketing.drop_journey(j.name) FROM marketing_internal.journey AS j "
					"WHERE j.name OPERATOR(pg_catalog.=) $1", 1, &type, &value, NULL,
					MA_RUN_WRITE_LATEST);
	answer = MemoryContextStrdup(context, psprintf("%s: dropped", name));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
