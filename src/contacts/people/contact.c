/*
 * contact.c
 *		Contacts as people write them: 42, 'subscribers:42', 'web:anon-9f'; and
 *		identify().
 *
 * A contact is named by the id its row has in the user's own table, never by a
 * number of ours.  Bare, it is an id of the table attached first; with a prefix,
 * of the source of that name.  The text goes through the type of the key column
 * once and is printed back, so that '042' and 42 are one contact.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#define MAX_ID_BYTES 1000		/* of a contact without a table; an index entry holds no 2704 */

static char *argument_text(FunctionCallInfo fcinfo);
static MaSource *first_attached(MaDefinitions *definitions);
static MaSource *source_of_text(const char *text, const char **id, bool create);
static bool is_prefix(const char *name, size_t length);
static MaSource *make_prefix(const char *name);
static char *nearest_source(const char *name);
static void unknown_source(const char *name, bool create) pg_attribute_noreturn();
static void unknown_contact(const MaSource *source, const char *id) pg_attribute_noreturn();
static int64 make_contact(MaSource *source, const char *id, bool create);
static Datum contact_text_answer(FunctionCallInfo fcinfo, bool now);
static char *contact_text(int64 contact_id, MaRun how);
static Datum checked_attributes(Jsonb *attributes, List **removed);
static void check_field(const char *name, JsonbValue *value);
static bool store_attributes(int64 contact_id, Datum added, List *removed);

MA_FUNCTION(ma_identify);
MA_FUNCTION(ma_contact_text_sql);
MA_FUNCTION(ma_contact_text_now_sql);

/* A contact as text, whichever of the three overloads was called. */
char *
ma_contact_text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, number);
	Oid			output;
	bool		varlena;

	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	if (type != TEXTOID && type != INT8OID && type != UUIDOID)
		elog(ERROR, "cannot happen: contact of type %u", type);
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, PG_GETARG_DATUM(number));
}

static char *
argument_text(FunctionCallInfo fcinfo)
{
	return ma_contact_text_argument(fcinfo, 0, "contact");
}

static MaSource *
first_attached(MaDefinitions *definitions)
{
	ListCell   *cell;

	foreach(cell, definitions->sources)
		if (((MaSource *) lfirst(cell))->table != NULL)
			return lfirst(cell);
	return NULL;
}

/* Splits the text into source and id; with `create`, a new prefix becomes a source. */
static MaSource *
source_of_text(const char *text, const char **id, bool create)
{
	MaDefinitions *definitions = ma_definitions();
	const char *colon = strchr(text, ':');
	MaSource   *source;
	char	   *name;

	if (colon == NULL)
	{
		*id = text;
		source = first_attached(definitions);
		if (source == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_MA_UNKNOWN_SOURCE),
					 errmsg("no table of contacts is attached, so contact \"%s\" is not known",
							text),
					 errhint("Attach one with marketing.attach_contacts().")));
		return source;
	}
	name = pnstrdup(text, colon - text);
	*id = colon + 1;
	source = ma_source_by_name(definitions, name);
	if (source != NULL)
		return source;
	if (!create || !is_prefix(name, strlen(name)))
		unknown_source(name, create);
	return make_prefix(name);
}

/* Letters, digits and underscores in lower case, as for an unquoted identifier. */
static bool
is_prefix(const char *name, size_t length)
{
	if (length == 0 || length >= NAMEDATALEN || (name[0] >= '0' && name[0] <= '9'))
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

/* Names of sources that this may be a typo of, as text; NULL if there is none. */
static char *
nearest_source(const char *name)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, ma_definitions()->sources)
		names = lappend(names, ((MaSource *) lfirst(cell))->name);
	return ma_nearest(name, names);
}

static void
unknown_source(const char *name, bool create)
{
	char	   *nearest = nearest_source(name);

	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SOURCE),
			 errmsg("no source of contacts is called \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 create ? errhint("A new prefix consists of lower-case letters, digits and underscores "
									  "and does not begin with a digit.") :
			 errhint("Attach a table with marketing.attach_contacts(), or bring the prefix "
					 "with marketing.identify() or marketing.track().")));
}

/* A source without a table, made at the first contact of this prefix. */
static MaSource *
make_prefix(const char *name)
{
	static MaStatement insert = {
		"INSERT INTO marketing_internal.contact_source (name) VALUES ($1) ON CONFLICT DO NOTHING",
		1, {TEXTOID}
	};
	char	   *nearest = nearest_source(name);
	Datum		value = CStringGetTextDatum(name);

	ma_address_lock(psprintf("source %s", name));
	ma_run(&insert, &value, NULL, MA_RUN_WRITE_LATEST);
	if (nearest != NULL)
		ereport(NOTICE,
				(errmsg("\"%s\" is a new prefix of contacts", name),
				 errhint("If it is a mistake: did you mean %s?", nearest)));
	ma_definitions_changed();
	return ma_source_by_name(ma_definitions(), name);
}

static void
unknown_contact(const MaSource *source, const char *id)
{
	bool		attached = source->table != NULL;

	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_CONTACT),
			 errmsg("source \"%s\" has no contact \"%s\"", source->name, id),
			 attached ? errdetail("Its table has no row with this id that counts.") :
			 errdetail("It has no table; contacts come to it by identify() and track()."),
			 id[0] == '\0' ? errhint("Give an id: this one is empty.") :
			 attached ? errhint("Insert the row first.") :
			 errhint("Name the contact in marketing.identify() or marketing.track() first.")));
}

MaSource *
ma_key_of_text(const char *text, bool create, char **external_id)
{
	const char *id;
	MaSource   *source = source_of_text(text, &id, create);

	if (id[0] == '\0')
		unknown_contact(source, id);
	*external_id = ma_source_key_text(source, id);
	return source;
}

MaSource *
ma_key_argument(FunctionCallInfo fcinfo, char **external_id)
{
	return ma_key_of_text(argument_text(fcinfo), false, external_id);
}

int64
ma_contact_of_text(const char *text, bool create)
{
	char	   *id;
	MaSource   *source = ma_key_of_text(text, create, &id);
	int64		contact_id = ma_contact_of_key(source->id, id);

	return contact_id != 0 ? contact_id : make_contact(source, id, create);
}

int64
ma_contact_look_up(FunctionCallInfo fcinfo)
{
	char	   *id;
	MaSource   *source = ma_key_argument(fcinfo, &id);

	return ma_contact_by_key(source->id, id);
}

char *
ma_contact_argument_text(FunctionCallInfo fcinfo)
{
	return argument_text(fcinfo);
}

int64
ma_contact_argument(FunctionCallInfo fcinfo, bool create)
{
	return ma_contact_of_text(argument_text(fcinfo), create);
}

/* Between looking up and locking the contact may have been merged away: look again. */
int64
ma_contact_argument_locked(FunctionCallInfo fcinfo, bool create)
{
	char	   *text = argument_text(fcinfo);
	int64		contact_id = ma_contact_of_text(text, create);

	for (;;)
	{
		int64		again;

		ma_contact_lock(contact_id);
		again = ma_contact_of_text(text, create);
		if (again == contact_id)
			return contact_id;
		ma_contact_unlock(contact_id);
		contact_id = again;
	}
}

/* The contact of a key that is not known yet: a row not come across so far, or a new prefix's. */
static int64
make_contact(MaSource *source, const char *id, bool create)
{
	int64		contact_id;

	if (source->table == NULL && !create)
		unknown_contact(source, id);
	ma_address_lock(psprintf("key %d %s", source->id, id));
	contact_id = ma_contact_of_key(source->id, id);
	if (contact_id != 0)
		return contact_id;
	if (source->table != NULL)
		contact_id = ma_source_adopt(source, id);
	else
	{
		MaSourceRow row;

		if (strlen(id) > MAX_ID_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("an id of source \"%s\" is too long", source->name),
					 errdetail("It has %zu bytes.", strlen(id)),
					 errhint("An id has 1 to %d bytes.", MAX_ID_BYTES)));
		ma_source_row_init(&row, pstrdup(id));
		ma_contacts_make(source, &row, 1);
		contact_id = row.contact_id;
	}
	if (contact_id == 0)
		unknown_contact(source, id);
	ma_mark_contact(contact_id);
	return contact_id;
}

char *
ma_contact_text(int64 contact_id)
{
	return contact_text(contact_id, MA_RUN_READ_LATEST);
}

/* A detached table takes its keys with it without the contacts' locks. */
char *
ma_contact_answer(int64 contact_id, MemoryContext context)
{
	char	   *text = ma_contact_text(contact_id);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_CONTACT),
				 errmsg("the contact has no id any more"),
				 errdetail("Its table was detached in this moment.")));
	return MemoryContextStrdup(context, text);
}

/* The key of the source attached first, bare if it is that of the first of all. */
static char *
contact_text(int64 contact_id, MaRun how)
{
	static MaStatement lowest = {
		"SELECT source_id, external_id FROM marketing_internal.contact_key "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 "
		"ORDER BY excluded, source_id, external_id LIMIT 1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&lowest, &value, NULL, how);
	MaSource   *source;
	char	   *id;

	if (rows.n == 0)
		return NULL;
	source = ma_source_by_id(ma_definitions(), ma_int32(&rows, 0, 1));
	if (source == NULL)
		return NULL;
	id = ma_text(&rows, 0, 2);
	return ma_key_text(source, id);
}

char *
ma_key_text(const MaSource *source, const char *external_id)
{
	/* Bare, an id with a colon would be read as source and id. */
	if (source == first_attached(ma_definitions()) && strchr(external_id, ':') == NULL)
		return pstrdup(external_id);
	return psprintf("%s:%s", source->name, external_id);
}

bool
ma_contact_known(int64 contact_id)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.contact WHERE contact_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);

	return ma_run(&find, &value, NULL, MA_RUN_READ_LATEST).n > 0;
}

bool
ma_attribute_known(const char *name)
{
	static MaStatement find = {
		"SELECT FROM marketing_internal.contact AS c "
		"WHERE c.attributes OPERATOR(pg_catalog.?) $1 LIMIT 1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	return ma_run(&find, &value, NULL, MA_RUN_READ_LATEST).n > 0;
}

static Datum
contact_text_answer(FunctionCallInfo fcinfo, bool now)
{
	MemoryContext context = CurrentMemoryContext;
	int64		contact_id = PG_GETARG_INT64(0);
	MaCall		call;
	char	   *text;

	ma_call_begin(&call);
	text = contact_text(now ? ma_contact_now(contact_id) : contact_id, MA_RUN_READ);
	if (text != NULL)
		text = MemoryContextStrdup(context, text);
	ma_call_end(&call);
	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* marketing_internal.contact_text(contact_id) */
Datum
ma_contact_text_sql(PG_FUNCTION_ARGS)
{
	return contact_text_answer(fcinfo, false);
}

/* marketing_internal.contact_text_now(contact_id) */
Datum
ma_contact_text_now_sql(PG_FUNCTION_ARGS)
{
	return contact_text_answer(fcinfo, true);
}

/* marketing.identify(contact, attributes) */
Datum
ma_identify(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	int64		contact_id;
	List	   *removed = NIL;
	Datum		added = 0;
	char	   *text;

	(void) ma_extension_required();
	if (!PG_ARGISNULL(1))
		added = checked_attributes(PG_GETARG_JSONB_P(1), &removed);
	ma_call_begin(&call);
	contact_id = ma_contact_argument_locked(fcinfo, true);
	if (added != 0 && store_attributes(contact_id, added, removed))
	{
		ma_contacts_recompute(&contact_id, 1);
		ma_mark_contact(contact_id);
	}
	text = ma_contact_answer(contact_id, context);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

void
ma_contact_attributes_check(Datum attributes)
{
	List	   *removed = NIL;

	(void) checked_attributes(DatumGetJsonbP(attributes), &removed);
}

Datum
ma_contact_attributes_over(Datum own, Datum attributes)
{
	List	   *removed = NIL;
	Datum		added = checked_attributes(DatumGetJsonbP(attributes), &removed);
	ListCell   *cell;

	own = DirectFunctionCall2(jsonb_concat, own, added);
	foreach(cell, removed)
		own = DirectFunctionCall2(jsonb_delete, own, CStringGetTextDatum(lfirst(cell)));
	return own;
}

void
ma_contact_attributes_set(const int64 *contact_ids, int n, Datum attributes)
{
	List	   *removed = NIL;
	Datum		added = checked_attributes(DatumGetJsonbP(attributes), &removed);

	for (int i = 0; i < n; i++)
		if (store_attributes(contact_ids[i], added, removed))
		{
			ma_contacts_recompute(&contact_ids[i], 1);
			ma_mark_contact(contact_ids[i]);
		}
}

/*
 * The attributes that have a value, those that feed fields of the contact
 * normalised; the names of those that are null go to `removed`.
 */
static Datum
checked_attributes(Jsonb *attributes, List **removed)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(attributes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("attributes must be a JSON object"),
				 errhint("Write them as {\"name\": value}.")));
	iterator = JsonbIteratorInit(&attributes->root);
	(void) JsonbIteratorNext(&iterator, &value, true);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_KEY)
	{
		JsonbValue	key = value;
		char	   *name = pnstrdup(key.val.string.val, key.val.string.len);

		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type == jbvNull)
		{
			*removed = lappend(*removed, name);
			continue;
		}
		check_field(name, &value);
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* If the attribute feeds a field of the contact: its value normalised, or an error. */
static void
check_field(const char *name, JsonbValue *value)
{
	static const struct
	{
		const char *name;
		const char *what;
		char	   *(*normalise) (const char *text);
		const char *hint;
	}			fields[] = {
		{"email", "e-mail address", ma_normalise_email,
		"Give it as name@example.com, or null to remove it."},
		{"phone", "phone number", ma_normalise_phone,
		"Give it with its country code, as +908505550100, or null to remove it."},
		{"time_zone", "time zone", ma_known_time_zone,
		"Use a name of pg_timezone_names, such as Europe/Istanbul, or null to remove it."},
		{"locale", "locale", NULL, "Give it as text, such as tr-TR, or null to remove it."},
		{"push_token", "push token", NULL, "Give it as text, or null to remove it."},
	};

	for (int i = 0; i < lengthof(fields); i++)
	{
		char	   *text = NULL;

		if (strcmp(name, fields[i].name) != 0)
			continue;
		if (value->type == jbvString)
			text = pnstrdup(value->val.string.val, value->val.string.len);
		if (text != NULL && fields[i].normalise != NULL)
			text = fields[i].normalise(text);
		if (text == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("attribute \"%s\" is not a valid %s", name, fields[i].what),
					 errhint("%s", fields[i].hint)));
		value->val.string.val = text;
		value->val.string.len = strlen(text);
	}
}

/* Merges into the contact's attributes; true if that changed them. */
static bool
store_attributes(int64 contact_id, Datum added, List *removed)
{
	static MaStatement update = {
		"UPDATE marketing_internal.contact SET attributes = "
		"(attributes OPERATOR(pg_catalog.||) $2) OPERATOR(pg_catalog.-) $3 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND attributes OPERATOR(pg_catalog.<>) "
		"((attributes OPERATOR(pg_catalog.||) $2) OPERATOR(pg_catalog.-) $3)",
		3, {INT8OID, JSONBOID, TEXTARRAYOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = added;
	values[2] = ma_text_list_array(removed);
	return ma_run(&update, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
}
