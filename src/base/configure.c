/*
 * configure.c
 *		marketing.configure() and settings(): what a shop sets for all who use its database.
 *
 * Rows, not settings of the server: transactional, dumped with the shop, and seen by the
 * workers at their next transaction.  Which there are and what they may be is registered by
 * the rooms they belong to.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#define MAX_SETTINGS 20

static const MaShopSetting *known[MAX_SETTINGS];
static int	nknown = 0;

static const MaShopSetting *setting_required(const char *name);
static char *set(const MaShopSetting *setting, const char *value);

MA_FUNCTION(ma_configure);
MA_FUNCTION(ma_settings);

void
ma_register_shop_setting(const MaShopSetting *setting)
{
	Assert(nknown < MAX_SETTINGS);
	known[nknown++] = setting;
}

char *
ma_shop_setting(const char *name)
{
	static MaStatement find = {
		"SELECT value FROM marketing_internal.setting WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

static const MaShopSetting *
setting_required(const char *name)
{
	List	   *names = NIL;
	char	   *near;

	for (int i = 0; i < nknown; i++)
	{
		if (strcmp(known[i]->name, name) == 0)
			return known[i];
		names = lappend(names, unconstify(char *, known[i]->name));
	}
	near = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no setting \"%s\"", name),
			 near ? errhint("Did you mean %s?", near) :
			 errhint("SELECT * FROM marketing.settings() lists them.")));
}

/* The answer; NULL takes the setting away. */
static char *
set(const MaShopSetting *setting, const char *value)
{
	static MaStatement put = {
		"INSERT INTO marketing_internal.setting (name, value) VALUES ($1, $2) "
		"ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		2, {TEXTOID, TEXTOID}
	};
	static MaStatement take = {
		"DELETE FROM marketing_internal.setting WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	char	   *before = ma_shop_setting(setting->name);
	char	   *after = value ? setting->check(value) : NULL;
	Datum		values[2];

	if (before == NULL ? after == NULL : after != NULL && strcmp(before, after) == 0)
		return psprintf("%s: unchanged", setting->name);
	values[0] = CStringGetTextDatum(setting->name);
	values[1] = after ? CStringGetTextDatum(after) : (Datum) 0;
	ma_run(after ? &put : &take, values, NULL, MA_RUN_WRITE);
	/* Some is kept with what was compiled: tags of links. */
	ma_definitions_changed();
	return psprintf("%s: %s", setting->name, after ? after : "not set");
}

/* marketing.configure(setting, value) */
Datum
ma_configure(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	const MaShopSetting *setting;
	char	   *value = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of the setting must not be null")));
	setting = setting_required(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	ma_call_begin(&call);
	answer = MemoryContextStrdup(context, set(setting, value));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* marketing.settings() */
Datum
ma_settings(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MaCall		call;

	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	for (int i = 0; i < nknown; i++)
	{
		char	   *value = ma_shop_setting(known[i]->name);
		Datum		values[3];
		bool		nulls[3] = {false, value == NULL, false};

		values[0] = CStringGetTextDatum(known[i]->name);
		values[1] = value ? CStringGetTextDatum(value) : (Datum) 0;
		values[2] = CStringGetTextDatum(known[i]->about);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ma_call_end(&call);
	return (Datum) 0;
}
