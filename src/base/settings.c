/*
 * settings.c
 *		One pinned set of settings under which expressions are parsed, planned
 *		and evaluated, whoever's session it is.
 *
 * Without it the same rule gives another answer in a user's session than in the
 * worker (TimeZone, DateStyle), kept plans are analysed anew whenever an
 * application changes search_path, and a session that once switched off index
 * scans keeps sequential plans for its life.  Comparing the C variables costs
 * nothing; a setting is changed only where it differs, which is rare.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/rls.h"
#include "utils/xml.h"

#define PINNED_SEARCH_PATH "pg_catalog, pg_temp"

static bool by_key = false;		/* see ma_prefer_keys() */

static void pin(const char *name, const char *value);
static void pin_planner(void);

static void
pin(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

/* Planner switches at their defaults: a kept plan must not inherit a session's. */
static void
pin_planner(void)
{
	struct
	{
		const char *name;
		bool		on;
	}			switches[] = {
		{"enable_indexscan", enable_indexscan},
		{"enable_indexonlyscan", enable_indexonlyscan},
		{"enable_bitmapscan", enable_bitmapscan},
		{"enable_nestloop", enable_nestloop},
		{"enable_hashjoin", enable_hashjoin},
		{"enable_mergejoin", enable_mergejoin},
		{"enable_hashagg", enable_hashagg},
		{"enable_sort", enable_sort},
		{"enable_partition_pruning", enable_partition_pruning},
	};

	for (int i = 0; i < lengthof(switches); i++)
		if (!switches[i].on)
			pin(switches[i].name, "on");
	if (enable_seqscan == by_key)
		pin("enable_seqscan", by_key ? "off" : "on");
	/* A plan that cannot do without must not be compiled for the cost that is put on it. */
	if (by_key && jit_enabled)
		pin("jit", "off");
	if (plan_cache_mode != PLAN_CACHE_MODE_AUTO)
		pin("plan_cache_mode", "auto");
}

int
ma_pin_settings(void)
{
	int			nest_level = NewGUCNestLevel();

	if (strcmp(namespace_search_path, PINNED_SEARCH_PATH) != 0)
		pin("search_path", PINNED_SEARCH_PATH);
	if (DateStyle != USE_ISO_DATES || DateOrder != DATEORDER_YMD)
		pin("DateStyle", "ISO, YMD");
	if (IntervalStyle != INTSTYLE_POSTGRES)
		pin("IntervalStyle", "postgres");
	if (extra_float_digits != 1)
		pin("extra_float_digits", "1");
	if (bytea_output != BYTEA_OUTPUT_HEX)
		pin("bytea_output", "hex");
	if (xmloption != XMLOPTION_CONTENT)
		pin("xmloption", "content");
	if (!Array_nulls)
		pin("array_nulls", "on");
	if (Transform_null_equals)
		pin("transform_null_equals", "off");
	if (!standard_conforming_strings)
		pin("standard_conforming_strings", "on");
	if (row_security)
		pin("row_security", "off");
	pin_planner();
	return nest_level;
}

int
ma_pin_time_zone(const char *zone)
{
	int			nest_level;

	if (zone == NULL || strcmp(pg_get_timezone_name(session_timezone), zone) == 0)
		return -1;
	nest_level = NewGUCNestLevel();
	pin("TimeZone", zone);
	return nest_level;
}

void
ma_prefer_keys(bool prefer)
{
	by_key = prefer;
}

int
ma_pin_index_scans(void)
{
	int			nest_level = NewGUCNestLevel();

	pin("enable_seqscan", "off");
	pin("enable_bitmapscan", "off");
	pin("enable_sort", "off");
	return nest_level;
}

void
ma_unpin_settings(int nest_level)
{
	if (nest_level >= 0)
		AtEOXact_GUC(true, nest_level);
}
