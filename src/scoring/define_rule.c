/*
 * define_rule.c
 *		define_score_rule() and drop_score_rule().
 *
 * Condition and points are SQL over the event's row and those it looks up.  They are
 * checked as the caller, whose search path and rights count, against every table that
 * has rows of the event; they run in the commits of all who write to these tables, so
 * built-in functions only.  A tracked event's row is one of marketing_internal.event:
 * properties->>'x'.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "rules/rules.h"
#include "scoring/define.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "worker/worker.h"

/* Arguments of define_score_rule() by position. */
enum
{
	ARG_MODEL, ARG_NAME, ARG_EVENT, ARG_POINTS, ARG_CONDITION, ARG_AT_MOST, ARG_PER, ARG_ONCE,
	ARG_EXPIRES, ARG_SEGMENT
};

/* Columns of score_rule besides its key. */
enum
{
	FIELD_EVENT, FIELD_POINTS, FIELD_CONDITION, FIELD_AT_MOST, FIELD_PER, FIELD_EXPIRES,
	FIELD_SEGMENT, FIELD_CONSTANT, FIELD_CONDITION_SOURCE, FIELD_POINTS_SOURCE, FIELD_COLUMNS,
	NUM_FIELDS
};

#define NUM_COMPARED FIELD_CONSTANT
static const char *const fields[NUM_COMPARED] = {
	"event", "points", "condition", "at_most", "per", "expires", "segment"
};

/* What a rule is made of, checked. */
typedef struct RuleOptions
{
	char	   *model;
	char	   *name;
	char	   *label;			/* for errors */
	char	   *event;
	char	   *segment;		/* NULL: none */
	Datum		values[NUM_FIELDS];
	bool		nulls[NUM_FIELDS];
	List	   *columns;
} RuleOptions;

/* An expression on one of the event's tables. */
typedef struct Check
{
	const MaEvent *event;
	const MaEventSource *part;
	const char *source;
	Oid			type;
	const char *what;
	MaExpression *checked;
} Check;

static void set_text(RuleOptions *options, int field, const char *text);
static void read_limits(RuleOptions *options, FunctionCallInfo fcinfo);
static void read_segment(RuleOptions *options, FunctionCallInfo fcinfo);
static void check_segment(const RuleOptions *options);
static void read_points(RuleOptions *options, FunctionCallInfo fcinfo, bool expression);
static char *check_expression(RuleOptions *options, const char *source, Oid type, const char *what);
static void check_part(void *arg);
static void require_rows(const char *builtin);
static List *parts_of_event(const char *event_name, MaEvent **event);
static MaExpression *check_on(const MaEvent *event, const MaEventSource *part, const char *source,
							  Oid type, const char *what);
static void check_rights(Oid relid, List *columns);
static void add_columns(RuleOptions *options, List *columns);
static char *define(RuleOptions *options);
static bool stored_texts(int32 model_id, const char *name, char **texts);
static void write_rule(int32 model_id, const RuleOptions *options);
static Datum define_rule(FunctionCallInfo fcinfo, bool expression);
static MaScoreRule *rule_required(MaScoreModel *model, const char *name);

MA_FUNCTION(ma_define_score_rule);
MA_FUNCTION(ma_define_score_rule_sql);
MA_FUNCTION(ma_drop_score_rule);

/* marketing.define_score_rule(..., points numeric, ...) */
Datum
ma_define_score_rule(PG_FUNCTION_ARGS)
{
	return define_rule(fcinfo, false);
}

/* marketing.define_score_rule(..., points text, ...): SQL over the row */
Datum
ma_define_score_rule_sql(PG_FUNCTION_ARGS)
{
	return define_rule(fcinfo, true);
}

static Datum
define_rule(FunctionCallInfo fcinfo, bool expression)
{
	MemoryContext context = CurrentMemoryContext;
	RuleOptions *options = palloc0_object(RuleOptions);
	char	   *condition;
	char	   *answer;
	MaCall		call;

	(void) ma_extension_required();
	options->model = ma_score_name(fcinfo, ARG_MODEL, "model");
	options->name = ma_score_name(fcinfo, ARG_NAME, "name");
	options->event = ma_score_name(fcinfo, ARG_EVENT, "event");
	options->label = psprintf("%s/%s", options->model, options->name);
	for (int i = 0; i < NUM_FIELDS; i++)
		options->nulls[i] = true;
	read_limits(options, fcinfo);
	read_segment(options, fcinfo);
	condition = ma_score_text(fcinfo, ARG_CONDITION);
	if (condition != NULL)
	{
		set_text(options, FIELD_CONDITION_SOURCE, condition);
		set_text(options, FIELD_CONDITION,
				 check_expression(options, condition, BOOLOID,
								  psprintf("condition of score rule \"%s\"", options->label)));
	}
	read_points(options, fcinfo, expression);

	ma_call_begin(&call);
	/* Against whoever drops the segment, or has it read this score. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_score_definitions_lock();
	answer = MemoryContextStrdup(context, define(options));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

static void
set_text(RuleOptions *options, int field, const char *text)
{
	options->values[field] = text ? CStringGetTextDatum(text) : (Datum) 0;
	options->nulls[field] = text == NULL;
}

/* at_most, per, once, expires */
static void
read_limits(RuleOptions *options, FunctionCallInfo fcinfo)
{
	char	   *per = ma_score_text(fcinfo, ARG_PER);
	bool		once = !PG_ARGISNULL(ARG_ONCE) && PG_GETARG_BOOL(ARG_ONCE);

	if (once && (!PG_ARGISNULL(ARG_AT_MOST) || per != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("once and at_most exclude each other in score rule \"%s\"", options->label),
				 errdetail("once is at_most => 1 without per.")));
	if (!PG_ARGISNULL(ARG_AT_MOST) && PG_GETARG_INT32(ARG_AT_MOST) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at_most of score rule \"%s\" must be 1 or more", options->label)));
	if (per != NULL && PG_ARGISNULL(ARG_AT_MOST))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("per without at_most in score rule \"%s\"", options->label),
				 errhint("Say how many rows count, as in at_most => 10, per => 'day'.")));
	if (per != NULL && strcmp(per, "day") != 0 && strcmp(per, "week") != 0 &&
		strcmp(per, "month") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("per of score rule \"%s\" is \"%s\"", options->label, per),
				 errhint("Use 'day', 'week' or 'month'.")));
	set_text(options, FIELD_PER, per);
	options->nulls[FIELD_AT_MOST] = PG_ARGISNULL(ARG_AT_MOST) && !once;
	options->values[FIELD_AT_MOST] = once ? Int32GetDatum(1) : PG_GETARG_DATUM(ARG_AT_MOST);
	if (!PG_ARGISNULL(ARG_EXPIRES))
	{
		ma_score_check_time(PG_GETARG_INTERVAL_P(ARG_EXPIRES),
							psprintf("expires of score rule \"%s\"", options->label), false);
		options->values[FIELD_EXPIRES] = PG_GETARG_DATUM(ARG_EXPIRES);
		options->nulls[FIELD_EXPIRES] = false;
	}
}

/* The events of segments are those of one, by its name. */
static void
read_segment(RuleOptions *options, FunctionCallInfo fcinfo)
{
	bool		flips = strcmp(options->event, "segment_entered") == 0 ||
		strcmp(options->event, "segment_left") == 0;

	options->segment = ma_score_text(fcinfo, ARG_SEGMENT);
	if (flips && options->segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("score rule \"%s\" does not say of which segment", options->label),
				 errhint("Add segment => 'its name'.")));
	if (!flips && options->segment != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("segment of score rule \"%s\" goes with event segment_entered or segment_left",
						options->label)));
	set_text(options, FIELD_SEGMENT, options->segment);
}

/* The segment must be there, and not depend on the score itself. */
static void
check_segment(const RuleOptions *options)
{
	MaRuleScope scope = {psprintf("segment of score rule \"%s\"", options->label)};
	MaRule	   *rule;
	char	   *path;

	if (options->segment == NULL)
		return;
	rule = ma_rule_parse(psprintf("in segment %s", quote_identifier(options->segment)), &scope,
						 InvalidOid);
	path = ma_rule_path(rule, "score", options->model);
	if (path != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_RULE_CYCLE),
				 errmsg("score model \"%s\" would depend on itself", options->model),
				 errdetail("score %s%s", options->model, path)));
}

static void
read_points(RuleOptions *options, FunctionCallInfo fcinfo, bool expression)
{
	char	   *what = psprintf("points of score rule \"%s\"", options->label);

	if (PG_ARGISNULL(ARG_POINTS))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what),
				 errhint("Give a number, or SQL over the row as text.")));
	if (expression)
	{
		char	   *source = ma_score_text(fcinfo, ARG_POINTS);

		set_text(options, FIELD_POINTS_SOURCE, source);
		set_text(options, FIELD_POINTS, check_expression(options, source, FLOAT8OID, what));
	}
	else
	{
		float8	   *number = ma_score_number(fcinfo, ARG_POINTS, what);
		Datum		text = DirectFunctionCall1(float8out, Float8GetDatum(*number));

		options->values[FIELD_CONSTANT] = Float8GetDatum(*number);
		options->nulls[FIELD_CONSTANT] = false;
		set_text(options, FIELD_POINTS, DatumGetCString(text));
		set_text(options, FIELD_POINTS_SOURCE, DatumGetCString(text));
	}
}

/*
 * Checks SQL over the row on all tables of the event; returns its canonical text.  A
 * table that lacks a column has no row that fits, as long as another one has it.
 */
static char *
check_expression(RuleOptions *options, const char *source, Oid type, const char *what)
{
	char	   *text = NULL;
	ErrorData  *missing = NULL;
	MaEvent    *event;
	ListCell   *cell;

	foreach(cell, parts_of_event(options->event, &event))
	{
		Check		check = {event, lfirst(cell), source, type, what};
		ErrorData  *error = ma_attempt(check_part, &check);
		MaExpression *checked = check.checked;

		/* The latter of a lookup's name where there is none of it. */
		if (error != NULL && error->sqlerrcode != ERRCODE_UNDEFINED_COLUMN &&
			error->sqlerrcode != ERRCODE_UNDEFINED_TABLE)
			ReThrowError(error);
		if (error != NULL)
		{
			missing = missing ? missing : error;
			continue;
		}
		if (text != NULL && strcmp(text, checked->text) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s does not mean the same in all tables of event \"%s\"",
							what, options->event),
					 errdetail("Columns of the same name are of different types: %s, and %s.",
							   text, checked->text),
					 errhint("Give the columns one type.")));
		text = checked->text;
		add_columns(options, checked->columns);
	}
	if (text == NULL && missing == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of event \"%s\" is gone", options->event),
				 errhint("Look at marketing.status, and attach the event again or detach it.")));
	if (text == NULL)
		ReThrowError(missing);
	return text;
}

static void
check_part(void *arg)
{
	Check	   *check = arg;

	check->checked = check_on(check->event, check->part, check->source, check->type, check->what);
}

/* Points are computed from rows: those of a built-in event must stand somewhere. */
static void
require_rows(const char *builtin)
{
	if (ma_builtin_rows(builtin) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("event \"%s\" cannot give points", builtin),
				 errdetail("Rows of this built-in event are not kept.")));
}

/*
 * Where rows of the event may stand (MaEventSource): the table attached under its name,
 * else all whose rows name their event, and (NULL) that of tracked events.
 */
static List *
parts_of_event(const char *event_name, MaEvent **event)
{
	MaDefinitions *definitions = ma_definitions();
	List	   *parts = NIL;
	ListCell   *cell;

	if (ma_builtin_columns(event_name) != NULL)
	{
		require_rows(event_name);
		*event = ma_builtin_event(definitions, event_name);
		return list_make1(NULL);
	}
	*event = ma_event_by_name(definitions, event_name);
	if (*event == NULL)
	{
		MaCall		call;

		ma_call_begin(&call);
		(void) ma_event_required(definitions, event_name);
		ma_call_end(&call);
	}
	else
		foreach(cell, ma_event_sources(definitions, *event))
		{
			MaEventSource *source = lfirst(cell);

			if (source != NULL && OidIsValid(source->table->relid))
				parts = lappend(parts, source);
		}
	if (*event == NULL || (*event)->source == NULL)
		parts = lappend(parts, NULL);
	return parts;
}

static MaExpression *
check_on(const MaEvent *event, const MaEventSource *part, const char *source, Oid type,
		 const char *what)
{
	MaExpression *checked = part == NULL || part->lookups != NIL ?
		ma_row_sql_check(event, part, source, type, what, GetUserId()) :
		ma_expression_check(source, part->table->relid, type, what);

	if (!checked->builtin_only)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s uses a function that is not built in", what),
				 part == NULL ? errdetail("It would run as the owner of the extension.") :
				 errdetail("It would run in the commit of everybody who writes to table \"%s\".",
						   get_rel_name(part->table->relid)),
				 errhint("Use built-in functions only.")));
	if (part != NULL)
		check_rights(part->table->relid, checked->columns);
	return checked;
}

/* The caller must be allowed to read what decides over scores. */
static void
check_rights(Oid relid, List *columns)
{
	ListCell   *cell;

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	/* Those of lookups, which the table lacks, were checked with what else is of them. */
	foreach(cell, columns)
		if (get_attnum(relid, lfirst(cell)) != InvalidAttrNumber &&
			pg_attribute_aclcheck(relid, get_attnum(relid, lfirst(cell)), GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
}

static void
add_columns(RuleOptions *options, List *columns)
{
	ListCell   *cell;
	ListCell   *seen;

	foreach(cell, columns)
	{
		bool		known = false;

		foreach(seen, options->columns)
			known |= strcmp(lfirst(seen), lfirst(cell)) == 0;
		if (!known)
			options->columns = lappend(options->columns, lfirst(cell));
	}
}

/* Stores the rule; returns the answer. */
static char *
define(RuleOptions *options)
{
	MaScoreModel *model = ma_score_model_required(options->model);
	MaEvent    *event = ma_event_required(ma_definitions(), options->event);
	char	   *before[NUM_COMPARED];
	char	   *after[NUM_COMPARED];
	char	   *changes = NULL;
	bool		known;

	if (event->builtin)
		require_rows(event->name);
	check_segment(options);
	options->values[FIELD_EVENT] = Int32GetDatum(event->id);
	options->nulls[FIELD_EVENT] = false;
	ma_tell_named("score", options->model, false);
	known = stored_texts(model->id, options->name, before);
	write_rule(model->id, options);
	(void) stored_texts(model->id, options->name, after);
	if (known)
	{
		changes = ma_score_changes(before, after, fields, NUM_COMPARED);
		if (changes == NULL && ma_score_view_fits(rule_required(model, options->name)))
			return psprintf("%s: unchanged", options->label);
		changes = changes ? changes : "it was broken";
		/* Its columns are those of the rule as it was. */
		ma_score_view_drop(rule_required(model, options->name));
	}
	model = ma_score_model_changed(model);
	ma_score_view_set(rule_required(model, options->name));
	ma_definitions_changed();
	ma_tell_named("score", options->model, true);
	return known ? psprintf("%s: replaced (%s)", options->label, changes) :
		psprintf("%s: created", options->label);
}

static bool
stored_texts(int32 model_id, const char *name, char **texts)
{
	static MaStatement read = {
		"SELECT event_id, points, condition, at_most, per, "
		"pg_catalog.justify_hours(expires), segment FROM marketing_internal.score_rule "
		"WHERE model_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TEXTOID}
	};
	Datum		arguments[2];
	MaRows		rows;

	arguments[0] = Int32GetDatum(model_id);
	arguments[1] = CStringGetTextDatum(name);
	rows = ma_run(&read, arguments, NULL, MA_RUN_READ_LATEST);
	for (int i = 0; i < NUM_COMPARED && rows.n > 0; i++)
		texts[i] = ma_text(&rows, 0, i + 1);
	return rows.n > 0;
}

static void
write_rule(int32 model_id, const RuleOptions *options)
{
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.score_rule (model_id, name, event_id, points, condition, "
		"at_most, per, expires, segment, constant, condition_source, points_source, columns) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
		"ON CONFLICT (model_id, name) DO UPDATE SET event_id = EXCLUDED.event_id, "
		"points = EXCLUDED.points, condition = EXCLUDED.condition, at_most = EXCLUDED.at_most, "
		"per = EXCLUDED.per, expires = EXCLUDED.expires, segment = EXCLUDED.segment, constant = EXCLUDED.constant, "
		"condition_source = EXCLUDED.condition_source, points_source = EXCLUDED.points_source, "
		"columns = EXCLUDED.columns",
		13, {INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, INT4OID, TEXTOID, INTERVALOID, TEXTOID,
		FLOAT8OID, TEXTOID, TEXTOID, TEXTARRAYOID}
	};
	Datum		values[2 + NUM_FIELDS];
	char		nulls[3 + NUM_FIELDS] = {0};

	values[0] = Int32GetDatum(model_id);
	values[1] = CStringGetTextDatum(options->name);
	nulls[0] = nulls[1] = ' ';
	for (int i = 0; i < NUM_FIELDS; i++)
	{
		values[2 + i] = options->values[i];
		nulls[2 + i] = options->nulls[i] ? 'n' : ' ';
	}
	values[2 + FIELD_COLUMNS] = ma_text_list_array(options->columns);
	nulls[2 + FIELD_COLUMNS] = ' ';
	ma_run(&upsert, values, nulls, MA_RUN_WRITE_LATEST);
}

/* The model's rule of this name, or an error with the nearest names. */
static MaScoreRule *
rule_required(MaScoreModel *model, const char *name)
{
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;

	foreach(cell, model->rules)
	{
		MaScoreRule *rule = lfirst(cell);

		if (strcmp(rule->name, name) == 0)
			return rule;
		names = lappend(names, rule->name);
	}
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SCORE),
			 errmsg("score model \"%s\" has no rule \"%s\"", model->name, name),
			 nearest ? errhint("Did you mean %s?", nearest) : 0));
}

/* marketing.drop_score_rule(model, name) */
Datum
ma_drop_score_rule(PG_FUNCTION_ARGS)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.score_rule WHERE model_id OPERATOR(pg_catalog.=) $1 "
		"AND name OPERATOR(pg_catalog.=) $2 RETURNING 1",
		2, {INT4OID, TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name;
	char	   *model_name;
	MaScoreModel *model;
	Datum		arguments[2];
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	model_name = ma_score_name(fcinfo, 0, "model");
	name = ma_score_name(fcinfo, 1, "name");
	ma_call_begin(&call);
	ma_score_definitions_lock();
	model = ma_score_model_required(model_name);
	ma_tell_named("score", model_name, false);
	ma_score_view_drop(rule_required(model, name));
	arguments[0] = Int32GetDatum(model->id);
	arguments[1] = CStringGetTextDatum(name);
	ma_run(&remove, arguments, NULL, MA_RUN_WRITE_LATEST);
	(void) ma_score_model_changed(model);
	ma_tell_named("score", model_name, true);
	MemoryContextSwitchTo(context);
	answer = psprintf("%s/%s: dropped", model_name, name);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
