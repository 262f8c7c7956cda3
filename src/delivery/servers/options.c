/*
 * options.c
 *		What may stand in CREATE SERVER ... OPTIONS (...) of our foreign-data wrappers,
 *		and what it means.
 *
 * One table says it all: the validators check against it, the worker reads by it, and
 * a typo is answered with the nearest name.  Passwords are not options of a server,
 * which everybody who can connect may read: they are files in a directory of the
 * server's user, or options of a user mapping.
 */
#include "base/base.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "content/content.h"
#include "delivery/delivery_internal.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define SMTP (1 << MA_SERVER_SMTP)
#define HTTP (1 << MA_SERVER_HTTP)
#define OUTSIDE (1 << MA_SERVER_OUTSIDE)
#define MAX_FILE_NAME 63
#define KEY_LENGTH 33			/* of a message, and what stands before it */
#define LOCAL_PART 64			/* of an address (RFC 5321) */
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

typedef enum Form
{
	FORM_TEXT,					/* no line break in it */
	FORM_HOST,
	FORM_ADDRESS,
	FORM_NUMBER,
	FORM_BOOL,
	FORM_CHOICE,
	FORM_RATE,
	FORM_FILE,					/* a name in the directory of credentials */
	FORM_DAY,
	FORM_TEMPLATE
} Form;

typedef struct Option
{
	const char *name;
	int			kinds;			/* SMTP | HTTP | OUTSIDE */
	Form		form;
	Size		offset;			/* of its place in MaServerOptions */
	int			least;			/* of a number */
	int			most;
	int			usual;			/* number or choice without the option */
	const char *const *choices;
	bool		of_user;		/* of a user mapping, not of the server */
} Option;

static const char *const tls_choices[] = {"none", "require", "implicit", NULL};
static const char *const auth_choices[] = {
	"none", "basic", "bearer", "header", "aws", "signed", NULL
};
static const char *const signer_choices[] = {
	"nobody", "sendgrid", "sns", "mailgun", "webhook", NULL
};
static const char *const in_doubt_choices[] = {"by_topic", "hold", "resend", NULL};

#define AT(field) offsetof(MaServerOptions, field)

static const Option options[] = {
	{"host", SMTP, FORM_HOST, AT(host)},
	{"port", SMTP, FORM_NUMBER, AT(port), 1, 65535, 0},
	{"tls", SMTP, FORM_CHOICE, AT(tls), 0, 0, MA_TLS_START, tls_choices},
	{"helo", SMTP, FORM_HOST, AT(helo)},
	{"return_path", SMTP, FORM_ADDRESS, AT(return_path)},
	{"verp", SMTP, FORM_BOOL, AT(verp)},
	{"messages_per_connection", SMTP, FORM_NUMBER, AT(messages_per_connection), 1, 100000, 100},
	{"preset", HTTP, FORM_TEXT, AT(preset)},
	{"url", HTTP, FORM_TEMPLATE, AT(url)},
	{"method", HTTP, FORM_TEXT, AT(method)},
	{"headers", HTTP, FORM_TEMPLATE, AT(headers)},
	{"body", HTTP, FORM_TEMPLATE, AT(body)},
	{"content_type", HTTP, FORM_TEXT, AT(content_type)},
	{"response", HTTP, FORM_TEMPLATE, AT(response)},
	{"auth", HTTP, FORM_CHOICE, AT(auth), 0, 0, MA_AUTH_NONE, auth_choices},
	{"auth_header", HTTP, FORM_HOST, AT(auth_header)},
	{"account", HTTP, FORM_HOST, AT(account)},
	{"region", HTTP, FORM_HOST, AT(region)},
	{"allow_private", HTTP, FORM_BOOL, AT(allow_private)},
	{"allow_http", HTTP, FORM_BOOL, AT(allow_http)},
	{"user", SMTP | HTTP, FORM_TEXT, AT(user)},
	{"password_file", SMTP | HTTP, FORM_FILE, AT(password_file)},
	{"ca_file", SMTP | HTTP, FORM_FILE, AT(ca_file)},
	{"connect_timeout", SMTP | HTTP, FORM_NUMBER, AT(connect_timeout), 1, 300, 30},
	{"timeout", SMTP | HTTP, FORM_NUMBER, AT(timeout), 1, 3600, 0},
	{"max_connections", SMTP | HTTP, FORM_NUMBER, AT(max_connections), 1, 100, 4},
	{"rate", SMTP | HTTP, FORM_RATE, AT(rate)},
	{"domain_rate", SMTP | HTTP, FORM_RATE, AT(domain_rate)},
	{"warm_up", SMTP | HTTP, FORM_NUMBER, AT(warm_up), 1, 100000000, 0},
	{"warm_up_from", SMTP | HTTP, FORM_DAY, AT(warm_up_from)},
	{"in_doubt", SMTP | HTTP | OUTSIDE, FORM_CHOICE, AT(in_doubt), 0, 0, MA_IN_DOUBT_BY_TOPIC,
	in_doubt_choices},
	{"hook_signed_by", SMTP | HTTP | OUTSIDE, FORM_CHOICE, AT(hook_signed_by), 0, 0, MA_HOOK_NOBODY,
	signer_choices},
	{"hook_key_file", SMTP | HTTP | OUTSIDE, FORM_FILE, AT(hook_key_file)},
	{"hook_topic", SMTP | HTTP | OUTSIDE, FORM_TEXT, AT(hook_topic)},
	{"password", SMTP | HTTP, FORM_TEXT, AT(password), .of_user = true},
	{"allow_inline_secret", SMTP | HTTP, FORM_BOOL, 0, .of_user = true},
};

static const char *const wrapper_names[] = {
	"marketing_smtp", "marketing_http", "marketing_outside"
};

static const Option *find_option(const char *name, MaServerKind kind, bool of_user);
static void refuse_option(const char *name, MaServerKind kind, Oid catalog) pg_attribute_noreturn();
static void check_option(const Option *option, DefElem *element);
static const char *fault_of(const Option *option, const char *value, const char **hint);
static bool read_rate(const char *value, MaRate *rate);
static bool read_number(const char *value, int *number);
static int	choice_of(const Option *option, const char *value);
static char *choice_list(const Option *option);
static void check_together(List *given, MaServerKind kind);
static void set_option(MaServerOptions *into, const Option *option, const char *value);
static List *user_options(Oid server);
static Datum validate(FunctionCallInfo fcinfo, MaServerKind kind);

MA_FUNCTION(ma_smtp_validator);
MA_FUNCTION(ma_http_validator);
MA_FUNCTION(ma_outside_validator);

/* ---- checking ---- */

Datum
ma_smtp_validator(PG_FUNCTION_ARGS)
{
	return validate(fcinfo, MA_SERVER_SMTP);
}

Datum
ma_http_validator(PG_FUNCTION_ARGS)
{
	return validate(fcinfo, MA_SERVER_HTTP);
}

Datum
ma_outside_validator(PG_FUNCTION_ARGS)
{
	return validate(fcinfo, MA_SERVER_OUTSIDE);
}

/*
 * Called with what the object will have in the end, also by ALTER ... OPTIONS.  No
 * message shows a value that may be a secret.
 */
static Datum
validate(FunctionCallInfo fcinfo, MaServerKind kind)
{
	List	   *given = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	bool		inline_allowed = false;
	bool		has_password = false;
	ListCell   *cell;

	foreach(cell, given)
	{
		DefElem    *element = lfirst_node(DefElem, cell);
		const Option *option = NULL;

		if (catalog == ForeignServerRelationId || catalog == UserMappingRelationId)
			option = find_option(element->defname, kind, catalog == UserMappingRelationId);
		if (option == NULL)
			refuse_option(element->defname, kind, catalog);
		check_option(option, element);
		if (strcmp(option->name, "allow_inline_secret") == 0)
			inline_allowed = defGetBoolean(element);
		has_password |= strcmp(option->name, "password") == 0;
	}
	if (has_password && !inline_allowed)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("a password stands in the dumps of this database, and in the server's log if it logs statements"),
				 errhint("Write it to a file of the directory marketing_automation.credentials_directory and name that in password_file; or say allow_inline_secret 'true', too.")));
	if (catalog == ForeignServerRelationId)
		check_together(given, kind);
	PG_RETURN_VOID();
}

static const Option *
find_option(const char *name, MaServerKind kind, bool of_user)
{
	for (int i = 0; i < lengthof(options); i++)
		if ((options[i].kinds & (1 << kind)) != 0 && options[i].of_user == of_user &&
			strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}

static void
refuse_option(const char *name, MaServerKind kind, Oid catalog)
{
	List	   *names = NIL;
	char	   *nearest;
	bool		of_user = catalog == UserMappingRelationId;

	if (find_option(name, kind, !of_user) != NULL &&
		(of_user || catalog == ForeignServerRelationId))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" belongs to the %s", name, of_user ? "server" : "user mapping"),
				 of_user ? 0 : errdetail("Everybody who can connect may read the options of a server."),
				 of_user ? errhint("Use ALTER SERVER.") :
				 errhint("Better, name a file in the server's option password_file; else CREATE USER MAPPING FOR PUBLIC ... OPTIONS (password '...', allow_inline_secret 'true').")));
	for (int i = 0; i < lengthof(options); i++)
		if ((options[i].kinds & (1 << kind)) != 0 && options[i].of_user == of_user &&
			catalog != ForeignDataWrapperRelationId)
			names = lappend(names, unconstify(char *, options[i].name));
	nearest = ma_nearest(name, names);
	if (catalog != ForeignServerRelationId && !of_user)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("foreign-data wrapper %s has no options of its own", wrapper_names[kind]),
				 errhint("Options belong to CREATE SERVER.")));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("%s of %s has no option \"%s\"", of_user ? "a user mapping" : "a server",
					wrapper_names[kind], name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("README.md lists them, chapter \"Options of servers\".")));
}

static void
check_option(const Option *option, DefElem *element)
{
	const char *value = defGetString(element);
	const char *hint = NULL;
	const char *fault = fault_of(option, value, &hint);

	if (fault == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("option \"%s\": %s", option->name, fault),
			 hint ? errhint("%s", hint) : 0));
}

/* What is wrong with the value; NULL: nothing. */
static const char *
fault_of(const Option *option, const char *value, const char **hint)
{
	MaRate		rate;
	int			number;
	bool		flag;

	for (const char *p = value; *p != '\0'; p++)
		if ((unsigned char) *p < ' ' && !(option->form == FORM_TEMPLATE && *p == '\n'))
			return "it must not contain a line break or another control character";
	if (value[0] == '\0' && option->form != FORM_TEMPLATE)
		return "it must not be empty";
	switch (option->form)
	{
		case FORM_TEXT:
			return NULL;
		case FORM_HOST:
			*hint = "Letters, digits, dots, hyphens and underlines.";
			if (value[0] != '-' && value[strspn(value, LETTERS "0123456789.-_:")] == '\0')
				return NULL;
			return psprintf("\"%s\" is not a name", value);
		case FORM_ADDRESS:
			return ma_mime_address_ok(value) ? NULL :
				psprintf("\"%s\" is not an e-mail address", value);
		case FORM_NUMBER:
			if (read_number(value, &number) && number >= option->least && number <= option->most)
				return NULL;
			return psprintf("\"%s\" is not a whole number from %d to %d", value, option->least,
							option->most);
		case FORM_BOOL:
			return parse_bool(value, &flag) ? NULL :
				psprintf("\"%s\" is neither true nor false", value);
		case FORM_CHOICE:
			*hint = psprintf("Use %s.", choice_list(option));
			return choice_of(option, value) >= 0 ? NULL : psprintf("there is no \"%s\"", value);
		case FORM_RATE:
			*hint = "For example 14/second, 300/minute, 10000/hour or 50000/day.";
			return read_rate(value, &rate) ? NULL : psprintf("\"%s\" is not a rate", value);
		case FORM_FILE:
			*hint = "It is looked for in marketing_automation.credentials_directory: small letters, digits, underlines, dots and hyphens, no path.";
			return strlen(value) <= MAX_FILE_NAME && value[0] != '.' &&
				value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0' ? NULL :
				"it is not the name of a file of credentials";
		case FORM_DAY:
			/* No other form means the same to everybody, and some mean another day each day. */
			if (strlen(value) != 10 || strspn(value, "0123456789-") != 10 || value[4] != '-')
				return psprintf("\"%s\" is not a day as in 2026-11-01", value);
			(void) DirectFunctionCall1(date_in, CStringGetDatum(value));
			return NULL;
		case FORM_TEMPLATE:
			(void) ma_liquid_compile(value, strlen(value), MA_ESCAPE_NONE,
									 psprintf("option \"%s\"", option->name));
			return NULL;
	}
	return NULL;
}

static bool
read_number(const char *value, int *number)
{
	char	   *end;
	long		n;

	errno = 0;
	n = strtol(value, &end, 10);
	*number = (int) n;
	return errno == 0 && *end == '\0' && end != value && n >= PG_INT32_MIN && n <= PG_INT32_MAX;
}

static bool
read_rate(const char *value, MaRate *rate)
{
	static const struct
	{
		const char *name;
		int			seconds;
	}			units[] = {
		{"second", 1},
		{"minute", 60},
		{"hour", 3600},
		{"day", 86400},
	};
	const char *slash = strchr(value, '/');

	if (slash == NULL || slash - value > 9 ||
		!read_number(pnstrdup(value, slash - value), &rate->count) || rate->count < 1)
		return false;
	for (int i = 0; i < lengthof(units); i++)
		if (strcmp(slash + 1, units[i].name) == 0)
		{
			rate->seconds = units[i].seconds;
			return true;
		}
	return false;
}

static int
choice_of(const Option *option, const char *value)
{
	for (int i = 0; option->choices[i] != NULL; i++)
		if (strcmp(option->choices[i], value) == 0)
			return i;
	return -1;
}

static char *
choice_list(const Option *option)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; option->choices[i] != NULL; i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : option->choices[i + 1] ? ", " : " or ",
						 option->choices[i]);
	return list.data;
}

/* What must stand together, and what must be there. */
static void
check_together(List *given, MaServerKind kind)
{
	MaServerOptions *all = palloc0_object(MaServerOptions);
	ListCell   *cell;

	foreach(cell, given)
	{
		DefElem    *element = lfirst_node(DefElem, cell);

		set_option(all, find_option(element->defname, kind, false), defGetString(element));
	}
	if (kind == MA_SERVER_SMTP && all->host == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("a server of marketing_smtp needs option \"host\"")));
	if (kind == MA_SERVER_SMTP && all->user != NULL && all->tls == MA_TLS_NONE &&
		list_length(given) > 0)
	{
		/* tls is 0 when it was not given, too. */
		foreach(cell, given)
			if (strcmp(lfirst_node(DefElem, cell)->defname, "tls") == 0)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
						 errmsg("a password is not sent without TLS"),
						 errhint("Use tls 'require' or 'implicit', or leave out user.")));
	}
	if (all->verp && all->return_path == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"verp\" needs option \"return_path\"")));
	if (all->verp && strcspn(all->return_path, "@") + KEY_LENGTH > LOCAL_PART)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("option \"return_path\" is too long for \"verp\""),
				 errdetail("\"+\" and the key of a message, %d octets, are added before the @, where an address has %d at most.",
						   KEY_LENGTH, LOCAL_PART)));
	if ((all->warm_up > 0) != (all->warm_up_from != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("options \"warm_up\" and \"warm_up_from\" belong together")));
	if ((all->hook_signed_by != MA_HOOK_NOBODY) != (all->hook_key_file != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("options \"hook_signed_by\" and \"hook_key_file\" belong together")));
	/* Whoever has an account there can have Amazon sign a topic of his own. */
	if ((all->hook_signed_by == MA_HOOK_SNS) != (all->hook_topic != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"hook_topic\" belongs to hook_signed_by 'sns'"),
				 errhint("It is the ARN of the topic, as in arn:aws:sns:eu-west-1:123456789012:bounces.")));
	if (kind == MA_SERVER_HTTP)
		ma_preset_check(all);
}

/* ---- reading ---- */

static void
set_option(MaServerOptions *into, const Option *option, const char *value)
{
	void	   *place = (char *) into + option->offset;

	switch (option->form)
	{
		case FORM_NUMBER:
			(void) read_number(value, place);
			break;
		case FORM_BOOL:
			if (option->offset != 0)
				(void) parse_bool(value, place);
			break;
		case FORM_CHOICE:
			*(int *) place = choice_of(option, value);
			break;
		case FORM_RATE:
			(void) read_rate(value, place);
			break;
		default:
			*(char **) place = pstrdup(value);
	}
}

/* Options of the user mapping that holds for our owner: his own, or that of PUBLIC. */
static List *
user_options(Oid server)
{
	Oid			users[] = {ma_extension_required()->owner, InvalidOid};

	for (int i = 0; i < lengthof(users); i++)
	{
		HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(users[i]),
											ObjectIdGetDatum(server));
		Datum		value;
		bool		isnull;
		List	   *found;

		if (!HeapTupleIsValid(tuple))
			continue;
		value = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
								Anum_pg_user_mapping_umoptions, &isnull);
		found = isnull ? NIL : untransformRelOptions(value);
		ReleaseSysCache(tuple);
		return found;
	}
	return NIL;
}

int
ma_server_kind(Oid wrapper)
{
	const char *name = GetForeignDataWrapper(wrapper)->fdwname;

	for (int i = 0; i < lengthof(wrapper_names); i++)
		if (strcmp(name, wrapper_names[i]) == 0)
			return i;
	return -1;
}

MaServerOptions *
ma_server_options(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	int			kind = server ? ma_server_kind(server->fdwid) : -1;
	MemoryContext context;
	MemoryContext previous;
	MaServerOptions *result;
	List	   *given;
	ListCell   *cell;

	if (kind < 0)
		return NULL;
	given = list_concat(list_copy(server->options), user_options(server->serverid));
	context = AllocSetContextCreate(CurrentMemoryContext, "marketing_automation server",
									ALLOCSET_SMALL_SIZES);
	previous = MemoryContextSwitchTo(context);
	result = palloc0_object(MaServerOptions);
	result->context = context;
	result->holders = 1;
	result->kind = kind;
	result->name = pstrdup(name);
	for (int i = 0; i < lengthof(options); i++)
		if (options[i].usual != 0)
			*(int *) ((char *) result + options[i].offset) = options[i].usual;
	foreach(cell, given)
	{
		DefElem    *element = lfirst_node(DefElem, cell);
		const Option *option = find_option(element->defname, kind, false);

		if (option == NULL)
			option = find_option(element->defname, kind, true);
		if (option != NULL)
			set_option(result, option, defGetString(element));
	}
	if (kind == MA_SERVER_SMTP && result->port == 0)
		result->port = result->tls == MA_TLS_START ? 587 : result->tls == MA_TLS_NONE ? 25 : 465;
	if (result->timeout == 0)
		result->timeout = kind == MA_SERVER_SMTP ? 300 : 60;
	if (kind == MA_SERVER_HTTP)
		ma_preset_fill(result);
	MemoryContextSwitchTo(previous);
	return result;
}

/* What tells one reading from another: all options as one text, secrets as they are. */
uint64
ma_server_version(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	StringInfoData all;
	ListCell   *cell;

	if (server == NULL)
		return 0;
	initStringInfo(&all);
	appendStringInfo(&all, "%u", server->fdwid);
	foreach(cell, list_concat(list_copy(server->options), user_options(server->serverid)))
	{
		DefElem    *element = lfirst_node(DefElem, cell);

		appendStringInfo(&all, "\n%s=%s", element->defname, defGetString(element));
	}
	return DatumGetUInt64(hash_any_extended((unsigned char *) all.data, all.len, 0)) | 1;
}
