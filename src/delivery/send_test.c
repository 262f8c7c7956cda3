/*
 * send_test.c
 *		marketing.send_test(): a message as a contact would get it, to somebody who looks
 *		whether it is right.
 *
 * It goes the way of every message, so what arrives is what would; but its row stands for
 * nobody (contact_id 0) and says whom it is rendered for (test_for).  So it counts under no
 * cap and in no rule, and is nothing that happened to the contact; his consent is not asked,
 * and its links change none.  Coupons are not taken, links not counted.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "delivery/delivery_internal.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static void read_data(FunctionCallInfo fcinfo, int n, Datum *data, Datum *entry);

MA_FUNCTION(ma_send_test);

/* marketing.send_test(contact, template, recipient, data) */
Datum
ma_send_test(PG_FUNCTION_ARGS)
{
	MaTemplate *template;
	Datum		data;
	Datum		entry;
	char	   *recipient;
	char	   *address;
	MaMessageRequest request = {.not_after = DT_NOEND, .priority = MA_PRIORITY_DEFAULT};
	int64		message_id;
	MaCall		call;

	(void) ma_extension_required();
	for (int i = 1; i <= 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 1 ? "template" : "recipient")));
	recipient = text_to_cstring(PG_GETARG_TEXT_PP(2));
	read_data(fcinfo, 3, &data, &entry);
	ma_call_begin(&call);
	template = ma_template_required(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	address = ma_channel_field(template->channel) == NULL ? pstrdup(recipient) :
		ma_channel_normalise(template->channel, recipient);
	if (address == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no address for %s", recipient, template->channel),
				 errhint("The template \"%s\" is one for %s.", template->name, template->channel)));
	request.contact_id = ma_contact_argument(fcinfo, false);
	request.template_id = template->id;
	request.entry = entry;
	request.data = data;
	message_id = ma_message_to(&request, address);
	ma_call_end(&call);
	PG_RETURN_INT64(message_id);
}

/* Its member `entry` is what the entry of a journey would be, as in preview_message(). */
static void
read_data(FunctionCallInfo fcinfo, int n, Datum *data, Datum *entry)
{
	JsonbValue	member;

	*data = PG_ARGISNULL(n) ? (Datum) 0 : PG_GETARG_DATUM(n);
	*entry = (Datum) 0;
	if (*data == (Datum) 0)
		return;
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(*data)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data must be a JSON object"),
				 errhint("For example {\"code\": \"1234\"}.")));
	if (getKeyJsonValueFromContainer(&DatumGetJsonbP(*data)->root, "entry", 5, &member) != NULL &&
		member.type == jbvBinary)
		*entry = JsonbPGetDatum(JsonbValueToJsonb(&member));
}
