/*
 * topic.c
 *		Topics: what messages are about, and what consent each needs.
 *
 * They are few and read by key from their table whenever asked for; the built-in
 * topic `transactional` has no row, since one made by the install script would meet
 * that of a dump.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

static const struct
{
	const char *name;
	MaConsentKind kind;
}			kinds[] = {
	{"opt_in", MA_TOPIC_OPT_IN},
	{"double_opt_in", MA_TOPIC_DOUBLE_OPT_IN},
	{"opt_out", MA_TOPIC_OPT_OUT},
};

#define COLUMNS "topic_id, name, consent, confirm, " \
	"pg_catalog.array_to_string(channels, ','), description"

static MaTopic *transactional(void);
static MaTopic *from_row(const MaRows *rows, uint64 row);
static MaConsentKind kind_of(const char *name);
static List *split(const char *text);
static void check_name(const char *name);
static List *read_channels(ArrayType *array);
static void check_kind(const char *consent);
static char *define(const char *name, const char *description, List *channels,
					const char *consent, const char *confirm);

MA_FUNCTION(ma_define_topic);
MA_FUNCTION(ma_drop_topic);

static MaTopic *
transactional(void)
{
	MaTopic    *topic = palloc0_object(MaTopic);

	topic->id = MA_TOPIC_TRANSACTIONAL_ID;
	topic->name = MA_TOPIC_TRANSACTIONAL_NAME;
	topic->kind = MA_TOPIC_TRANSACTIONAL;
	topic->channels = list_make4("email", "sms", "push", "webhook");
	return topic;
}

static MaConsentKind
kind_of(const char *name)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].kind;
	/* A CHECK of marketing_internal.topic allows no other. */
	elog(ERROR, "cannot happen: a topic's consent is \"%s\"", name);
}

/* Names separated by commas. */
static List *
split(const char *text)
{
	List	   *names = NIL;

	while (*text != '\0')
	{
		size_t		length = strcspn(text, ",");

		names = lappend(names, pnstrdup(text, length));
		text += length + (text[length] == ',');
	}
	return names;
}

static MaTopic *
from_row(const MaRows *rows, uint64 row)
{
	MaTopic    *topic = palloc0_object(MaTopic);

	topic->id = ma_int32(rows, row, 1);
	topic->name = ma_text(rows, row, 2);
	topic->kind = kind_of(ma_text(rows, row, 3));
	topic->confirm = ma_text(rows, row, 4);
	topic->channels = split(ma_text(rows, row, 5));
	topic->description = ma_text(rows, row, 6);
	return topic;
}

MaTopic *
ma_topic_by_name(const char *name)
{
	static MaStatement find = {
		"SELECT " COLUMNS " FROM marketing_internal.topic WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows;

	if (strcmp(name, MA_TOPIC_TRANSACTIONAL_NAME) == 0)
		return transactional();
	rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	return rows.n == 0 ? NULL : from_row(&rows, 0);
}

MaTopic *
ma_topic_by_id(int32 id)
{
	static MaStatement find = {
		"SELECT " COLUMNS " FROM marketing_internal.topic "
		"WHERE topic_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(id);
	MaRows		rows;

	if (id == MA_TOPIC_TRANSACTIONAL_ID)
		return transactional();
	rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);
	return rows.n == 0 ? NULL : from_row(&rows, 0);
}

List *
ma_topics(void)
{
	static MaStatement all = {
		"SELECT " COLUMNS " FROM marketing_internal.topic ORDER BY name", 0
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *topics = NIL;

	for (uint64 i = 0; i < rows.n; i++)
		topics = lappend(topics, from_row(&rows, i));
	return topics;
}

MaTopic *
ma_topic_required(const char *name)
{
	MaTopic    *topic = ma_topic_by_name(name);
	List	   *names = list_make1(MA_TOPIC_TRANSACTIONAL_NAME);
	char	   *nearest;
	ListCell   *cell;

	if (topic != NULL)
		return topic;
	foreach(cell, ma_topics())
		names = lappend(names, ((MaTopic *) lfirst(cell))->name);
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_TOPIC),
			 errmsg("there is no topic \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Define it with marketing.define_topic().")));
}

bool
ma_topic_has_channel(const MaTopic *topic, const char *channel)
{
	ListCell   *cell;

	foreach(cell, topic->channels)
		if (strcmp(lfirst(cell), channel) == 0)
			return true;
	return false;
}

/* marketing.define_topic(name, description, channels, consent, confirm) */
Datum
ma_define_topic(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_consent_required(fcinfo, 0, "name");
	char	   *description = ma_consent_text(fcinfo, 1);
	List	   *channels;
	char	   *consent = ma_consent_required(fcinfo, 3, "consent");
	char	   *confirm = ma_consent_text(fcinfo, 4);
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("channels must not be null")));
	channels = read_channels(PG_GETARG_ARRAYTYPE_P(2));
	check_name(name);
	check_kind(consent);
	if (confirm != NULL && strcmp(consent, "double_opt_in") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("confirm is for topics with consent => 'double_opt_in'"),
				 errdetail("Topic \"%s\" has consent => '%s'.", name, consent)));
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, define(name, description, channels, consent, confirm));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* It stands in "topic/channel" of attach_contacts(). */
static void
check_name(const char *name)
{
	if (strcmp(name, MA_TOPIC_TRANSACTIONAL_NAME) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_NAME_IN_USE),
				 errmsg("topic \"%s\" is built in", name),
				 errdetail("It is free of consent and cannot be changed.")));
	ma_name_check(name, "topic");
	if (strpbrk(name, "/,:\"'") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of a topic", name),
				 errhint("Use letters, digits, blanks and underscores.")));
}

static List *
read_channels(ArrayType *array)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	List	   *channels = NIL;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *channel = nulls[i] ? pstrdup("null") : TextDatumGetCString(values[i]);
		bool		known = false;
		ListCell   *cell;

		ma_channel_check(channel);
		foreach(cell, channels)
			known |= strcmp(lfirst(cell), channel) == 0;
		if (!known)
			channels = lappend(channels, channel);
	}
	if (channels == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a topic needs at least one channel"),
				 errhint("For example channels => '{email}'.")));
	return channels;
}

static void
check_kind(const char *consent)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(consent, kinds[i].name) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for consent: \"%s\"", consent),
			 errhint("Use opt_in, double_opt_in or opt_out.")));
}

/* Stores it if it differs; says what it did. */
static char *
define(const char *name, const char *description, List *channels, const char *consent,
	   const char *confirm)
{
	static MaStatement find = {
		"SELECT topic_id, description IS NOT DISTINCT FROM $2, "
		"channels OPERATOR(pg_catalog.=) $3, consent OPERATOR(pg_catalog.=) $4, "
		"confirm IS NOT DISTINCT FROM $5 "
		"FROM marketing_internal.topic WHERE name OPERATOR(pg_catalog.=) $1",
		5, {TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.topic (name, description, channels, consent, confirm) "
		"VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE SET "
		"description = excluded.description, channels = excluded.channels, "
		"consent = excluded.consent, confirm = excluded.confirm",
		5, {TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID}
	};
	static const char *const parts[] = {"description", "channels", "consent", "confirm"};
	Datum		values[5];
	char		nulls[] = "     ";
	MaRows		found;
	StringInfoData changed;

	values[0] = CStringGetTextDatum(name);
	values[1] = description ? CStringGetTextDatum(description) : (Datum) 0;
	values[2] = ma_text_list_array(channels);
	values[3] = CStringGetTextDatum(consent);
	values[4] = confirm ? CStringGetTextDatum(confirm) : (Datum) 0;
	nulls[1] = description ? ' ' : 'n';
	nulls[4] = confirm ? ' ' : 'n';
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	found = ma_run(&find, values, nulls, MA_RUN_READ_LATEST);
	initStringInfo(&changed);
	for (int i = 0; i < lengthof(parts) && found.n > 0; i++)
		if (!ma_bool(&found, 0, i + 2))
			appendStringInfo(&changed, "%s%s", changed.len > 0 ? ", " : "", parts[i]);
	if (found.n > 0 && changed.len == 0)
		return psprintf("%s: unchanged", name);
	(void) ma_run(&store, values, nulls, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	/* Who is subscribed may be somebody else now. */
	if (found.n > 0 && (!ma_bool(&found, 0, 3) || !ma_bool(&found, 0, 4)))
		ma_contacts_leave_all();
	return found.n == 0 ? psprintf("%s: created", name) :
		psprintf("%s: replaced (%s)", name, changed.data);
}

/* marketing.drop_topic(name) */
Datum
ma_drop_topic(PG_FUNCTION_ARGS)
{
	static MaStatement drop = {
		"DELETE FROM marketing_internal.topic WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_consent_required(fcinfo, 0, "name");
	Datum		value = CStringGetTextDatum(name);
	MaCall		call;

	(void) ma_extension_required();
	if (strcmp(name, MA_TOPIC_TRANSACTIONAL_NAME) == 0)
		check_name(name);
	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	(void) ma_topic_required(name);
	ma_require_unused("topic", name);
	(void) ma_run(&drop, &value, NULL, MA_RUN_WRITE_LATEST);
	/* Consents and messages of it have no topic from now on, which rules may read. */
	ma_contacts_leave_all();
	ma_definitions_changed();
	ma_call_end(&call);
	MemoryContextSwitchTo(context);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}
