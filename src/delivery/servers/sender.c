/*
 * sender.c
 *		marketing.define_sender(): who messages come from, and what they leave through.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#define BUILT_IN_ADDRESS "marketing@localhost.localdomain"

enum
{
	ARG_NAME, ARG_CHANNEL, ARG_SERVER, ARG_FROM_ADDRESS, ARG_FROM_NAME, ARG_REPLY_TO,
	ARG_SERVERS, NUM_ARGS
};

static const char *const argument_names[NUM_ARGS] = {
	"name", "channel", "server", "from_address", "from_name", "reply_to", "servers"
};

static void read_sender(const MaRows *rows, uint64 row, MaSender *sender);
static void read_routes(Jsonb *servers, MaSender *sender);
static void check_addresses(char **values);
static void check_server(const char *server);
static void check_servers(Jsonb *servers);
static bool weight_fits(Numeric weight);
static char *define(char **values);
static void unknown(const char *name) pg_attribute_noreturn();

MA_FUNCTION(ma_define_sender);
MA_FUNCTION(ma_drop_sender);

MaSender *
ma_sender_for(const char *channel, const char *name)
{
	static MaStatement find = {
		"SELECT sender_id, name, channel, server, servers, from_address, from_name, reply_to "
		"FROM marketing_internal.sender "
		"WHERE channel OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR name OPERATOR(pg_catalog.=) $2) "
		"ORDER BY sender_id LIMIT 1",
		2, {TEXTOID, TEXTOID}
	};
	MaSender   *sender = palloc0_object(MaSender);
	Datum		values[2];
	MaRows		rows;

	values[0] = CStringGetTextDatum(channel);
	values[1] = name ? CStringGetTextDatum(name) : (Datum) 0;
	rows = ma_run(&find, values, name ? NULL : " n", MA_RUN_READ_LATEST);
	sender->from_address = BUILT_IN_ADDRESS;
	if (rows.n == 0)
		return sender;
	read_sender(&rows, 0, sender);
	return sender;
}

static void
read_sender(const MaRows *rows, uint64 row, MaSender *sender)
{
	bool		isnull;
	Datum		servers = ma_value(rows, row, 5, &isnull);

	sender->sender_id = ma_int32(rows, row, 1);
	sender->name = ma_text(rows, row, 2);
	sender->channel = ma_text(rows, row, 3);
	sender->from_address = ma_text(rows, row, 6);
	if (sender->from_address == NULL)
		sender->from_address = BUILT_IN_ADDRESS;
	sender->from_name = ma_text(rows, row, 7);
	sender->reply_to = ma_text(rows, row, 8);
	if (!isnull)
		read_routes(DatumGetJsonbP(servers), sender);
	else if (ma_text(rows, row, 4) != NULL)
	{
		sender->nroutes = 1;
		sender->routes = palloc0_object(MaRoute);
		sender->routes[0].server = ma_text(rows, row, 4);
		sender->routes[0].weight = 1;
	}
}

/* {"ses": 70, "sendgrid": 30, "relay": 0}, checked by check_servers(). */
static void
read_routes(Jsonb *servers, MaSender *sender)
{
	JsonbIterator *iterator = JsonbIteratorInit(&servers->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	sender->routes = palloc0_array(MaRoute, Max(JB_ROOT_COUNT(servers), 1));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			sender->routes[sender->nroutes].server = pnstrdup(value.val.string.val,
															  value.val.string.len);
		else if (token == WJB_VALUE)
			sender->routes[sender->nroutes++].weight = value.type != jbvNumeric ? 0 :
				DatumGetInt32(DirectFunctionCall1(numeric_int4,
												  NumericGetDatum(value.val.numeric)));
	}
}

MaSender *
ma_senders(int *n)
{
	static MaStatement all = {
		"SELECT sender_id, name, channel, server, servers, from_address, from_name, reply_to "
		"FROM marketing_internal.sender ORDER BY sender_id",
		0
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	MaSender   *result = palloc0_array(MaSender, Max(rows.n, 1));

	for (uint64 i = 0; i < rows.n; i++)
		read_sender(&rows, i, &result[i]);
	*n = rows.n;
	return result;
}

void
ma_sender_check(const char *name, const char *channel)
{
	static MaStatement all = {
		"SELECT name, channel FROM marketing_internal.sender ORDER BY name", 0
	};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);

	for (uint64 i = 0; i < rows.n; i++)
	{
		if (strcmp(ma_text(&rows, i, 1), name) != 0)
			continue;
		if (strcmp(ma_text(&rows, i, 2), channel) == 0)
			return;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sender \"%s\" is for channel %s, not %s", name,
						ma_text(&rows, i, 2), channel)));
	}
	unknown(name);
}

/* The error that suggests the nearest. */
static void
unknown(const char *name)
{
	static MaStatement all = {"SELECT name FROM marketing_internal.sender ORDER BY name", 0};
	MaRows		rows = ma_run(&all, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *names = NIL;
	char	   *nearest;

	for (uint64 i = 0; i < rows.n; i++)
		names = lappend(names, ma_text(&rows, i, 1));
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SENDER),
			 errmsg("there is no sender \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Define it with marketing.define_sender().")));
}

/* marketing.define_sender(name, channel, server, from_address, from_name, reply_to, servers) */
Datum
ma_define_sender(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *values[NUM_ARGS];
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	for (int i = 0; i < ARG_SERVERS; i++)
		values[i] = PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
	values[ARG_SERVERS] = PG_ARGISNULL(ARG_SERVERS) ? NULL :
		JsonbToCString(NULL, &PG_GETARG_JSONB_P(ARG_SERVERS)->root, 0);
	for (int i = ARG_NAME; i <= ARG_CHANNEL; i++)
		if (values[i] == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", argument_names[i])));
	ma_name_check(values[ARG_NAME], "sender");
	ma_channel_check(values[ARG_CHANNEL]);
	check_addresses(values);
	if (values[ARG_SERVER] != NULL)
		check_server(values[ARG_SERVER]);
	if (values[ARG_SERVER] != NULL && values[ARG_SERVERS] != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("give either server or servers, not both")));
	if (values[ARG_SERVERS] != NULL)
		check_servers(PG_GETARG_JSONB_P(ARG_SERVERS));
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, define(values));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* They stand in headers: nothing that could end one passes. */
static void
check_addresses(char **values)
{
	bool		mail = strcmp(values[ARG_CHANNEL], "email") == 0;

	for (int i = ARG_FROM_ADDRESS; i <= ARG_REPLY_TO; i++)
	{
		if (values[i] == NULL)
			continue;
		if (strpbrk(values[i], "\r\n") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not contain a line break", argument_names[i])));
		if (mail && i != ARG_FROM_NAME && !ma_mime_address_ok(values[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s \"%s\" is not an e-mail address", argument_names[i], values[i]),
					 errhint("Give it as name@example.com.")));
	}
	if (mail && values[ARG_FROM_ADDRESS] == NULL &&
		(values[ARG_SERVER] != NULL || values[ARG_SERVERS] != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a sender of mail through a server needs a from_address")));
}

/* It is there, it is one of ours, and who names it may use it and so its password. */
static void
check_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	AclResult	right;

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no server \"%s\"", name),
				 errhint("Create it with CREATE SERVER, or leave server out: the spool writes messages to files.")));
	if (ma_server_kind(server->fdwid) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not one that messages leave through", name),
				 errhint("Create one with CREATE SERVER ... FOREIGN DATA WRAPPER marketing_smtp, marketing_http or marketing_outside.")));
	right = ma_foreign_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);
	if (right != ACLCHECK_OK)
		aclcheck_error(right, OBJECT_FOREIGN_SERVER, name);
}

static void
check_servers(Jsonb *servers)
{
	JsonbIterator *iterator = JsonbIteratorInit(&servers->root);
	JsonbValue	value;
	JsonbIteratorToken token;
	bool		fits = JB_ROOT_IS_OBJECT(servers) && JB_ROOT_COUNT(servers) > 0;

	while (fits && (token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			check_server(pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
			fits = value.type == jbvNumeric && !numeric_is_nan(value.val.numeric) &&
				!numeric_is_inf(value.val.numeric) && weight_fits(value.val.numeric);
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("servers must be an object of servers and their weights, whole numbers from 0 to 1000"),
				 errhint("For example {\"ses\": 70, \"sendgrid\": 30, \"relay\": 0}: one of weight 0 is used only when no other one can be.")));
}

static bool
weight_fits(Numeric weight)
{
	Datum		value = NumericGetDatum(weight);
	float8		number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));

	return number >= 0 && number <= 1000 && number == (int) number;
}

static char *
define(char **given)
{
	static MaStatement find = {
		"SELECT true, channel IS NOT DISTINCT FROM $2, server IS NOT DISTINCT FROM $3, "
		"from_address IS NOT DISTINCT FROM $4, from_name IS NOT DISTINCT FROM $5, "
		"reply_to IS NOT DISTINCT FROM $6, servers IS NOT DISTINCT FROM $7 "
		"FROM marketing_internal.sender WHERE name OPERATOR(pg_catalog.=) $1",
		7, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID}
	};
	static MaStatement store = {
		"INSERT INTO marketing_internal.sender "
		"(name, channel, server, from_address, from_name, reply_to, servers) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET "
		"channel = excluded.channel, server = excluded.server, "
		"from_address = excluded.from_address, from_name = excluded.from_name, "
		"reply_to = excluded.reply_to, servers = excluded.servers",
		7, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID}
	};
	Datum		values[NUM_ARGS];
	char		nulls[NUM_ARGS];
	MaRows		found;
	StringInfoData changed;

	for (int i = 0; i < NUM_ARGS; i++)
	{
		values[i] = given[i] == NULL ? (Datum) 0 : i == ARG_SERVERS ?
			DirectFunctionCall1(jsonb_in, CStringGetDatum(given[i])) :
			CStringGetTextDatum(given[i]);
		nulls[i] = given[i] ? ' ' : 'n';
	}
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	found = ma_run(&find, values, nulls, MA_RUN_READ_LATEST);
	initStringInfo(&changed);
	for (int i = 1; i < NUM_ARGS && found.n > 0; i++)
		if (!ma_bool(&found, 0, i + 1))
			appendStringInfo(&changed, "%s%s", changed.len > 0 ? ", " : "", argument_names[i]);
	if (found.n > 0 && changed.len == 0)
		return psprintf("%s: unchanged", given[ARG_NAME]);
	(void) ma_run(&store, values, nulls, MA_RUN_WRITE_LATEST);
	ma_definitions_changed();
	return found.n == 0 ? psprintf("%s: created", given[ARG_NAME]) :
		psprintf("%s: replaced (%s)", given[ARG_NAME], changed.data);
}

/* marketing.drop_sender(name) */
Datum
ma_drop_sender(PG_FUNCTION_ARGS)
{
	static MaStatement drop = {
		"DELETE FROM marketing_internal.sender WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	char	   *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum		value;
	MaCall		call;

	(void) ma_extension_required();
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	value = CStringGetTextDatum(name);
	ma_call_begin(&call);
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	ma_require_unused("sender", name);
	if (ma_run(&drop, &value, NULL, MA_RUN_WRITE_LATEST).n == 0)
		unknown(name);
	ma_definitions_changed();
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}
