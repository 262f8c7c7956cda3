/*
 * event_properties.c
 *		Types of the properties of tracked events: declared, and checked when an
 *		event is tracked.
 *
 * A rule reads a declared property as (properties->>'plan')::type, so what
 * track() lets in must pass that cast: a value that does not is refused where it
 * comes from, instead of failing every rule that meets it.  The types are a list
 * of built-in ones, by the names SQL knows, so that neither a search path nor a
 * type of somebody's own decides.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

typedef struct PropertyType
{
	const char *name;
	Oid			type;
} PropertyType;

/* The first name of a type is the one stored. */
static const PropertyType property_types[] = {
	{"text", TEXTOID}, {"varchar", TEXTOID}, {"character varying", TEXTOID},
	{"numeric", NUMERICOID}, {"decimal", NUMERICOID},
	{"integer", INT4OID}, {"int", INT4OID}, {"int4", INT4OID},
	{"bigint", INT8OID}, {"int8", INT8OID},
	{"smallint", INT2OID}, {"int2", INT2OID},
	{"double precision", FLOAT8OID}, {"float8", FLOAT8OID}, {"float", FLOAT8OID},
	{"real", FLOAT4OID}, {"float4", FLOAT4OID},
	{"boolean", BOOLOID}, {"bool", BOOLOID},
	{"timestamptz", TIMESTAMPTZOID}, {"timestamp with time zone", TIMESTAMPTZOID},
	{"timestamp", TIMESTAMPOID}, {"timestamp without time zone", TIMESTAMPOID},
	{"date", DATEOID}, {"time", TIMEOID}, {"interval", INTERVALOID},
	{"uuid", UUIDOID}, {"inet", INETOID}, {"jsonb", JSONBOID}, {"json", JSONBOID}
};

static const PropertyType *find_type(const char *name);
static const char *checked_type(const char *property, const JsonbValue *value);
static void check_value(const char *event, const char *property, Oid type, JsonbValue *value);
static char *value_text(JsonbValue *value);

Jsonb *
ma_property_types_read(Jsonb *declared)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	key = {0};
	JsonbValue	name;

	if (!JB_ROOT_IS_OBJECT(declared))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("properties must be a JSON object of names and types"),
				 errhint("For example {\"plan\": \"text\", \"seats\": \"integer\"}.")));
	iterator = JsonbIteratorInit(&declared->root);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = value;
			(void) pushJsonbValue(&state, WJB_KEY, &key);
		}
		else if (token == WJB_VALUE)
		{
			name.type = jbvString;
			name.val.string.val = unconstify(char *,
											 checked_type(pnstrdup(key.val.string.val,
																   key.val.string.len), &value));
			name.val.string.len = strlen(name.val.string.val);
			(void) pushJsonbValue(&state, WJB_VALUE, &name);
		}
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The stored name of the type that a property is declared with. */
static const char *
checked_type(const char *property, const JsonbValue *value)
{
	const PropertyType *type;
	List	   *names = NIL;
	char	   *given;
	char	   *nearest;

	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("properties.%s must be the name of a type", property)));
	given = pnstrdup(value->val.string.val, value->val.string.len);
	type = find_type(given);
	if (type != NULL)
		return type->name;
	for (int i = 0; i < lengthof(property_types); i++)
		names = lappend(names, unconstify(char *, property_types[i].name));
	nearest = ma_nearest(given, names);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("properties.%s: type \"%s\" is not one a property can have", property, given),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Use text, numeric, integer, bigint, double precision, boolean, timestamptz, date, uuid, jsonb or the like, without length or precision.")));
}

/* The first entry of the type with this name, in any case; NULL if there is none. */
static const PropertyType *
find_type(const char *name)
{
	for (int i = 0; i < lengthof(property_types); i++)
		if (pg_strcasecmp(property_types[i].name, name) == 0)
			for (int j = 0; j <= i; j++)
				if (property_types[j].type == property_types[i].type)
					return &property_types[j];
	return NULL;
}

void
ma_properties_check(const char *event, Jsonb *properties, Jsonb *types)
{
	JsonbIterator *iterator = JsonbIteratorInit(&types->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	key = {0};

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = item;
		else if (token == WJB_VALUE)
		{
			JsonbValue	value;
			const PropertyType *type = find_type(pnstrdup(item.val.string.val,
														  item.val.string.len));

			if (type != NULL &&
				getKeyJsonValueFromContainer(&properties->root, key.val.string.val,
											 key.val.string.len, &value) != NULL &&
				value.type != jbvNull)
				check_value(event, pnstrdup(key.val.string.val, key.val.string.len),
							type->type, &value);
		}
	}
}

/* Reads the value with the type's input function; a failure names the place. */
static void
check_value(const char *event, const char *property, Oid type, JsonbValue *value)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *text = value_text(value);
	Oid			input;
	Oid			parameter;

	getTypeInputInfo(type, &input, &parameter);
	PG_TRY();
	{
		(void) OidInputFunctionCall(input, text, parameter, -1);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("properties.%s of event \"%s\" is not of its declared type",
						property, event),
				 errdetail("The type is %s: %s.", format_type_be(type), error->message),
				 errhint("Correct the value, or change the type with marketing.declare_event().")));
	}
	PG_END_TRY();
}

/* What ->> gives for the value. */
static char *
value_text(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
			elog(ERROR, "cannot happen: kind %d of a jsonb value", (int) value->type);
	}
}
