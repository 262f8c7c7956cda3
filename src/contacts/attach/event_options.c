/*
 * event_options.c
 *		The arguments of attach_events(), read and checked.
 *
 * All of it happens as the caller and before anything is locked or written: the
 * caller's search path finds the tables and parses the condition, and the
 * caller's rights decide.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Arguments of marketing.attach_events() by position. */
enum
{
	ARG_RELATION, ARG_EVENT, ARG_EVENT_COLUMN, ARG_CONTACT, ARG_CONTACT_SOURCE,
	ARG_OCCURRED_AT, ARG_TIME_ZONE, ARG_CONDITION, ARG_REPEAT, ARG_VALUE, ARG_CURRENCY,
	ARG_LOOKUP, ARG_VIA, ARG_MODE, ARG_ON_REPLICA
};

static char *text_argument(FunctionCallInfo fcinfo, int number);
static char *required_argument(FunctionCallInfo fcinfo, int number, const char *name,
							   const char *hint);
static bool bool_argument(FunctionCallInfo fcinfo, int number);
static void read_name(MaEventOptions *options, FunctionCallInfo fcinfo);
static void read_contact(MaEventOptions *options, FunctionCallInfo fcinfo);
static void read_time(MaEventOptions *options, FunctionCallInfo fcinfo);
static void read_condition(MaEventOptions *options, FunctionCallInfo fcinfo);
static void read_measures(MaEventOptions *options, FunctionCallInfo fcinfo);
static bool read_mode(FunctionCallInfo fcinfo);
static Oid	base_type(Oid relid, const char *column, const char *what);
static void refuse_type(Oid relid, const char *column, const char *what,
						const char *wanted) pg_attribute_noreturn();
static char *checked_zone(const char *zone);

MaEventOptions *
ma_event_options_read(FunctionCallInfo fcinfo)
{
	MaEventOptions *options = palloc0_object(MaEventOptions);
	MaSource   *source;

	(void) ma_extension_required();
	if (PG_ARGISNULL(ARG_RELATION))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
	options->relid = PG_GETARG_OID(ARG_RELATION);
	ma_table_check_attachable(options->relid);
	options->async = read_mode(fcinfo);
	options->repeat = bool_argument(fcinfo, ARG_REPEAT);
	options->on_replica = bool_argument(fcinfo, ARG_ON_REPLICA);
	read_name(options, fcinfo);
	if (!PG_ARGISNULL(ARG_VIA))
	{
		options->via = ma_via_read(PG_GETARG_JSONB_P(ARG_VIA), options->relid);
		ma_table_check_attachable(options->via->relid);
	}
	if (!PG_ARGISNULL(ARG_LOOKUP))
	{
		ListCell   *cell;

		options->lookup = ma_lookup_read(PG_GETARG_JSONB_P(ARG_LOOKUP), options->relid);
		foreach(cell, options->lookup)
			ma_table_check_attachable(((MaLink *) lfirst(cell))->relid);
	}
	read_contact(options, fcinfo);
	read_time(options, fcinfo);
	read_measures(options, fcinfo);
	read_condition(options, fcinfo);
	source = ma_contact_source_for(ma_definitions(), text_argument(fcinfo, ARG_CONTACT_SOURCE),
								   options->via ? options->via->relid : options->relid,
								   options->contact_column);
	options->contact_source_id = source->id;
	return options;
}

char *
ma_relation_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static char *
required_argument(FunctionCallInfo fcinfo, int number, const char *name, const char *hint)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument %s is missing", name),
				 errhint("%s", hint)));
	return text_argument(fcinfo, number);
}

static bool
bool_argument(FunctionCallInfo fcinfo, int number)
{
	return !PG_ARGISNULL(number) && PG_GETARG_BOOL(number);
}

/* True for async. */
static bool
read_mode(FunctionCallInfo fcinfo)
{
	char	   *mode = text_argument(fcinfo, ARG_MODE);

	if (mode == NULL || strcmp(mode, "sync") == 0)
		return false;
	if (strcmp(mode, "async") == 0)
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("mode \"%s\" is neither \"sync\" nor \"async\"", mode),
			 errhint("\"sync\" evaluates at commit, \"async\" in the worker soon after.")));
}

/* The event's name, or the column that gives names. */
static void
read_name(MaEventOptions *options, FunctionCallInfo fcinfo)
{
	Oid			type;

	options->event = text_argument(fcinfo, ARG_EVENT);
	options->event_column = text_argument(fcinfo, ARG_EVENT_COLUMN);
	if ((options->event == NULL) == (options->event_column == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("exactly one of event and event_column must be given"),
				 errhint("Use event => 'order_placed' if all rows are the same event, event_column => 'name' if a column names it.")));
	if (options->event != NULL)
	{
		ma_event_name_check(options->event);
		options->label = options->event;
		return;
	}
	type = base_type(options->relid, options->event_column, "event_column");
	if (type != TEXTOID && type != VARCHAROID)
		refuse_type(options->relid, options->event_column, "event_column", "of type text or varchar");
	options->label = psprintf("%s.%s", quote_identifier(get_rel_name(options->relid)),
							  quote_identifier(options->event_column));
}

/* The column that names the contact: of the table, or of the one it goes via. */
static void
read_contact(MaEventOptions *options, FunctionCallInfo fcinfo)
{
	Oid			relid = options->via ? options->via->relid : options->relid;

	options->contact_column = required_argument(fcinfo, ARG_CONTACT, "contact",
												"Name the column that holds the contact's id.");
	(void) ma_column_required(relid, options->contact_column, "contact");
}

/* The column that says when, and the zone it is read in. */
static void
read_time(MaEventOptions *options, FunctionCallInfo fcinfo)
{
	options->occurred_column = required_argument(fcinfo, ARG_OCCURRED_AT, "occurred_at",
												 "Name the column that says when the event happened.");
	options->occurred_type = base_type(options->relid, options->occurred_column, "occurred_at");
	if (options->occurred_type != TIMESTAMPTZOID && options->occurred_type != TIMESTAMPOID &&
		options->occurred_type != DATEOID)
		refuse_type(options->relid, options->occurred_column, "occurred_at",
					"of type timestamptz, timestamp or date");
	if (!PG_ARGISNULL(ARG_TIME_ZONE))
		options->time_zone = checked_zone(text_argument(fcinfo, ARG_TIME_ZONE));
}

/* The zone's name as the server writes it. */
static char *
checked_zone(const char *zone)
{
	pg_tz	   *found = pg_tzset(zone);

	if (found == NULL || !pg_tz_acceptable(found))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", zone),
				 errhint("View pg_timezone_names lists the names.")));
	return pstrdup(pg_get_timezone_name(found));
}

/* The money columns, for goals and reports. */
static void
read_measures(MaEventOptions *options, FunctionCallInfo fcinfo)
{
	Oid			type;

	options->value_column = text_argument(fcinfo, ARG_VALUE);
	if (options->value_column != NULL)
	{
		type = base_type(options->relid, options->value_column, "value");
		if (type != INT2OID && type != INT4OID && type != INT8OID && type != NUMERICOID &&
			type != FLOAT4OID && type != FLOAT8OID)
			refuse_type(options->relid, options->value_column, "value", "a number");
	}
	options->currency_column = text_argument(fcinfo, ARG_CURRENCY);
	if (options->currency_column != NULL)
	{
		type = base_type(options->relid, options->currency_column, "currency");
		if (type != TEXTOID && type != VARCHAROID && type != BPCHAROID)
			refuse_type(options->relid, options->currency_column, "currency", "of type text, varchar or char");
	}
}

/*
 * The condition.  At commit it runs in every writer's transaction, so only
 * built-in functions may be in it there; on a superuser's table, as whom it would
 * run, nowhere.
 */
static void
read_condition(MaEventOptions *options, FunctionCallInfo fcinfo)
{
	char	   *what = psprintf("condition of event \"%s\"", options->label);

	options->condition_source = text_argument(fcinfo, ARG_CONDITION);
	if (options->condition_source == NULL)
		return;
	options->condition = ma_expression_check(options->condition_source, options->relid,
											 BOOLOID, what);
	if (options->condition->builtin_only)
		return;
	if (superuser_arg(ma_relation_owner(options->relid)))
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s uses a function that is not built in", what),
				 errdetail("Table \"%s\" belongs to a superuser, as whom the function would run.",
						   get_rel_name(options->relid)),
				 errhint("Use built-in functions only, or give the table to an ordinary role.")));
	if (!options->async)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s uses a function that is not built in", what),
				 errdetail("It would run in the commit of everybody who writes to table \"%s\".",
						   get_rel_name(options->relid)),
				 errhint("Use built-in functions only, or mode => 'async', which leaves it to the worker.")));
}

/* Type of a column that must be there, without its domains. */
static Oid
base_type(Oid relid, const char *column, const char *what)
{
	return getBaseType(get_atttype(relid, ma_column_required(relid, column, what)));
}

static void
refuse_type(Oid relid, const char *column, const char *what, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table \"%s\" cannot be %s", column,
					get_rel_name(relid), what),
			 errdetail("It is of type %s.",
					   format_type_be(get_atttype(relid, get_attnum(relid, column)))),
			 errhint("It must be %s.", wanted)));
}
