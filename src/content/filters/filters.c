/*
 * filters.c
 *		The filters by name, over the tables of each kind, and those that fit none.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"

static const LiquidFilterType *const tables[] = {
	ma_liquid_string_filters, ma_liquid_number_filters, ma_liquid_array_filters,
	ma_liquid_html_filters, ma_liquid_date_filters, ma_liquid_locale_filters
};

const LiquidFilterType *
ma_liquid_filter(const char *name, int length)
{
	for (int i = 0; i < lengthof(tables); i++)
		for (const LiquidFilterType *filter = tables[i]; filter->name != NULL; filter++)
			if ((int) strlen(filter->name) == length && memcmp(filter->name, name, length) == 0)
				return filter;
	return NULL;
}

List *
ma_liquid_filter_names(void)
{
	List	   *names = NIL;

	for (int i = 0; i < lengthof(tables); i++)
		for (const LiquidFilterType *filter = tables[i]; filter->name != NULL; filter++)
			names = lappend(names, unconstify(char *, filter->name));
	return names;
}
