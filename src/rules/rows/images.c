/*
 * images.c
 *		Images a statement reads rows with: the contact's columns that a condition on
 *		an event compares with, and the row his journey was entered by.
 *
 * A table's rows are read as its owner, who may not read the tables of contacts; so
 * what is needed of them is read before, as their owner, and handed over as jsonb.
 */
#include "base/base.h"

#include "rules/evaluator.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

Datum
ma_contact_image(const Batch *batch, int contact, List *attributes)
{
	JsonbParseState *state = NULL;
	ListCell   *cell;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	foreach(cell, attributes)
	{
		MaAttribute *attribute = lfirst(cell);
		int			place = contact * batch->set->nattributes + attribute->place;
		JsonbValue	key = {.type = jbvString};
		JsonbValue	value = {.type = jbvNull};

		key.val.string.val = attribute->sql;
		key.val.string.len = strlen(attribute->sql);
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		if (!batch->nulls[place])
		{
			value.type = jbvString;
			value.val.string.val = TextDatumGetCString(batch->values[place]);
			value.val.string.len = strlen(value.val.string.val);
		}
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

Datum
ma_entry_image(const Batch *batch, int contact)
{
	JsonbParseState *state = NULL;

	if (batch->entries != NULL && batch->entries[contact] != 0)
		return batch->entries[contact];
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
