/*
 * presets.c
 *		define_standard_segments(): the segments every shop asks for, each only if the
 *		events it reads are given.
 *
 * They are ordinary definitions, to be shown, changed and dropped like any other; what
 * is written here is nothing but their rules.  None is polled: `overdue` and the
 * ratios are evaluated as rows come, and flip at their instants.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "segments/segments_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* What a rule is written with: O, V and C events, A the amount of an order, D a discounted one. */
typedef enum Need
{
	NEED_ORDERS = 1,
	NEED_VISITS = 2,
	NEED_CANCELLED = 4,
	NEED_VALUE = 8,
	NEED_DISCOUNTED = 16
} Need;

typedef struct Preset
{
	const char *name;
	int			needs;
	const char *rule;
	const char *description;
} Preset;

static const Preset presets[] = {
	{"engaged", NEED_VISITS, "count({V}) in 30 days >= 4",
	"four visits or more in 30 days"},
	{"inactive", NEED_VISITS, "any {V} and no {V} in 30 days",
	"visited once, not in 30 days"},
	{"returning_visitor", NEED_VISITS, "any {V} in 7 days and first {V} more than 7 days ago",
	"visited in 7 days, and before"},
	{"cancelled", NEED_CANCELLED, "any {C} in 90 days",
	"cancelled in 90 days"},
	{"new", NEED_ORDERS, "first {O} less than 30 days ago",
	"first order in 30 days"},
	{"at_risk", NEED_ORDERS, "overdue {O} by 2 and last {O} less than 365 days ago",
	"twice his usual time since the last order"},
	{"lost", NEED_ORDERS, "last {O} more than 365 days ago",
	"no order in 365 days"},
	{"premium", NEED_ORDERS | NEED_VALUE, "sum({O}.{A}) in 365 days >= {premium}",
	"orders of much value in 365 days"},
	{"vip", NEED_ORDERS | NEED_VALUE,
		"sum({O}.{A}) in 365 days >= {vip} and count({O}) in 365 days >= 5",
	"orders of very much value, and five or more, in 365 days"},
	{"discount_sensitive", NEED_ORDERS | NEED_DISCOUNTED,
		"count({O}) in 365 days >= 2 and "
		"2 * count({O} where ({D})) in 365 days > count({O}) in 365 days",
	"more than half of his orders of 365 days were discounted"}
};

/* Three bands each of recency, frequency and value; 3 is the best. */
static const char *const recency[] = {
	"last {O} more than 180 days ago",
	"last {O} between 60 days and 180 days ago",
	"last {O} less than 60 days ago"
};
static const char *const frequency[] = {
	"count({O}) <= 1", "count({O}) > 1 and count({O}) < 5", "count({O}) >= 5"
};
static const char *const value[] = {
	"sum({O}.{A}) < {premium}", "sum({O}.{A}) >= {premium} and sum({O}.{A}) < {vip}",
	"sum({O}.{A}) >= {vip}"
};

/* What {x} stands for, by the order of Need; then the two amounts. */
typedef struct Words
{
	char	   *text[7];
} Words;

static const char *const marks[] = {"{O}", "{V}", "{C}", "{A}", "{D}", "{premium}", "{vip}"};

static char *text_argument(FunctionCallInfo fcinfo, int i);
static char *amount_argument(FunctionCallInfo fcinfo, int i, const char *name);
static char *fill(const char *rule, const Words *words);
static void define_cells(const Words *words, const char *prefix, const char *search_path,
						 Oid definer, int *counts);
static void define_one(const char *name, const char *rule, const char *description,
					   const char *search_path, Oid definer, int *counts);

MA_FUNCTION(ma_define_standard_segments);

static char *
text_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

static char *
amount_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	Numeric		amount;

	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	amount = PG_GETARG_NUMERIC(i);
	if (numeric_is_nan(amount) || numeric_is_inf(amount))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a finite number", name)));
	return numeric_normalize(amount);
}

static char *
fill(const char *rule, const Words *words)
{
	StringInfoData text;

	initStringInfo(&text);
	while (*rule != '\0')
	{
		int			mark = 0;

		while (mark < lengthof(marks) && strncmp(rule, marks[mark], strlen(marks[mark])) != 0)
			mark++;
		if (mark == lengthof(marks))
			appendStringInfoChar(&text, *rule++);
		else
		{
			appendStringInfoString(&text, words->text[mark]);
			rule += strlen(marks[mark]);
		}
	}
	return text.data;
}

/* counts: created, replaced, unchanged */
static void
define_one(const char *name, const char *rule, const char *description, const char *search_path,
		   Oid definer, int *counts)
{
	char	   *answer = ma_segment_define(name, rule, description, search_path, definer);
	const char *what = answer + strlen(name) + strlen(": ");

	counts[strncmp(what, "created", strlen("created")) == 0 ? 0 :
		   strncmp(what, "replaced", strlen("replaced")) == 0 ? 1 : 2]++;
}

static void
define_cells(const Words *words, const char *prefix, const char *search_path, Oid definer,
			 int *counts)
{
	for (int r = 0; r < lengthof(recency); r++)
		for (int f = 0; f < lengthof(frequency); f++)
			for (int m = 0; m < lengthof(value); m++)
				define_one(psprintf("%srfm_%d%d%d", prefix, r + 1, f + 1, m + 1),
						   fill(psprintf("%s and %s and %s", recency[r], frequency[f], value[m]),
								words),
						   psprintf("recency %d, frequency %d, value %d of 3", r + 1, f + 1, m + 1),
						   search_path, definer, counts);
}

/*
 * define_standard_segments(orders, visits, cancelled, value, discounted, premium, vip,
 * prefix)
 */
Datum
ma_define_standard_segments(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *search_path = pstrdup(namespace_search_path);
	Words		words = {{0}};
	char	   *prefix = text_argument(fcinfo, 7);
	int			counts[3] = {0, 0, 0};
	int			given = 0;
	MaCall		call;
	char	   *answer;

	for (int i = 0; i < 5; i++)
	{
		words.text[i] = text_argument(fcinfo, i);
		if (words.text[i] != NULL)
		{
			given |= 1 << i;
			/* Names; the last is SQL. */
			if (i < 4)
				words.text[i] = pstrdup(quote_identifier(words.text[i]));
		}
	}
	for (int i = 5; i < 7; i++)
		words.text[i] = amount_argument(fcinfo, i, i == 5 ? "premium" : "vip");
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, PG_GETARG_DATUM(6), PG_GETARG_DATUM(5))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("vip must not be less than premium"),
				 errdetail("vip is %s, premium is %s.", words.text[6], words.text[5])));
	if (prefix == NULL)
		prefix = "";
	if ((given & (NEED_ORDERS | NEED_VISITS | NEED_CANCELLED)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no event is given"),
				 errhint("Give the names of your events, such as that of an order as orders => '...'.")));
	ma_call_begin(&call);
	for (int i = 0; i < lengthof(presets); i++)
		if ((presets[i].needs & ~given) == 0)
			define_one(psprintf("%s%s", prefix, presets[i].name), fill(presets[i].rule, &words),
					   presets[i].description, search_path, call.caller.userid, counts);
	if (((NEED_ORDERS | NEED_VALUE) & ~given) == 0)
		define_cells(&words, prefix, search_path, call.caller.userid, counts);
	answer = MemoryContextStrdup(context,
								 psprintf("standard segments: %d created, %d replaced, %d unchanged",
										  counts[0], counts[1], counts[2]));
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
