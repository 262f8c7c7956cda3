/*
 * sms.c
 *		How long a text is as SMS, and how many parts it is sent and paid as.
 *
 * A text of the 7-bit alphabet of GSM 03.38 alone has 160 places in one SMS and 153 in
 * each of several; its extension (euro, braces ...) takes two places of the same
 * part.  Any other character makes the whole text UCS-2, with 70 and 67 places; what is
 * beyond the basic plane takes two.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "content/content.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define GSM_ONE 160
#define GSM_PART 153
#define UCS_ONE 70
#define UCS_PART 67

static int	gsm_units(pg_wchar c);
static int	character(const char *text, pg_wchar *c);
static Datum other_characters(const char *text);

MA_FUNCTION(ma_sms_size);

/* Septets of the character, 0 if it is not in the alphabet. */
static int
gsm_units(pg_wchar c)
{
	static const pg_wchar greek_and_latin[] = {
		0xA1, 0xA3, 0xA4, 0xA5, 0xA7, 0xBF, 0xC4, 0xC5, 0xC6, 0xC7, 0xC9, 0xD1, 0xD6, 0xD8, 0xDC,
		0xDF, 0xE0, 0xE4, 0xE5, 0xE6, 0xE8, 0xE9, 0xEC, 0xF1, 0xF2, 0xF6, 0xF8, 0xF9, 0xFC, 0x393,
		0x394, 0x398, 0x39B, 0x39E, 0x3A0, 0x3A3, 0x3A6, 0x3A8, 0x3A9
	};

	if (c == '\n' || c == '\r')
		return 1;
	if (c == 0x20AC || c == '\f' || (c < 0x80 && c != 0 && strchr("^{}\\[~]|", c) != NULL))
		return 2;
	if (c >= ' ' && c < 0x7F)
		return c == '`' ? 0 : 1;
	for (int i = 0; i < lengthof(greek_and_latin); i++)
		if (c == greek_and_latin[i])
			return 1;
	return 0;
}

/* The character that begins here, in Unicode, and its octets. */
static int
character(const char *text, pg_wchar *c)
{
	*c = utf8_to_unicode((const unsigned char *) text);
	return pg_utf_mblen((const unsigned char *) text);
}

void
ma_sms_measure(const char *text, MaSms *sms)
{
	int			length = strlen(text);
	int			limit;
	int			in_part = 0;
	pg_wchar	c;

	sms->gsm = true;
	sms->units = 0;
	for (int i = 0; i < length; i += character(text + i, &c))
	{
		(void) character(text + i, &c);
		sms->gsm = sms->gsm && gsm_units(c) > 0;
	}
	for (int i = 0; i < length; i += character(text + i, &c))
	{
		(void) character(text + i, &c);
		sms->units += sms->gsm ? gsm_units(c) : c > 0xFFFF ? 2 : 1;
	}
	sms->starts = palloc_array(int, sms->units + 2);
	sms->nparts = length > 0 ? 1 : 0;
	sms->starts[0] = 0;
	limit = sms->gsm ? (sms->units <= GSM_ONE ? GSM_ONE : GSM_PART) :
		(sms->units <= UCS_ONE ? UCS_ONE : UCS_PART);
	for (int i = 0; i < length; i += character(text + i, &c))
	{
		int			units;

		(void) character(text + i, &c);
		units = sms->gsm ? gsm_units(c) : c > 0xFFFF ? 2 : 1;
		if (in_part + units > limit)
		{
			sms->starts[sms->nparts++] = i;
			in_part = 0;
		}
		in_part += units;
	}
	sms->starts[sms->nparts] = length;
}

/* marketing.sms_size(text) */
Datum
ma_sms_size(PG_FUNCTION_ARGS)
{
	char	   *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *utf8 = pg_server_to_any(given, strlen(given), PG_UTF8);
	TupleDesc	desc;
	MaSms		sms;
	Datum		values[5];
	bool		nulls[5] = {false};
	Datum	   *parts;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "cannot happen: sms_size() returns a row");
	ma_sms_measure(utf8, &sms);
	parts = palloc_array(Datum, sms.nparts + 1);
	for (int i = 0; i < sms.nparts; i++)
	{
		char	   *part = pnstrdup(utf8 + sms.starts[i], sms.starts[i + 1] - sms.starts[i]);

		parts[i] = CStringGetTextDatum(pg_any_to_server(part, strlen(part), PG_UTF8));
	}
	values[0] = CStringGetTextDatum(sms.gsm ? "GSM-7" : "UCS-2");
	values[1] = Int32GetDatum(sms.units);
	values[2] = Int32GetDatum(sms.nparts);
	values[3] = ma_datum_array(parts, sms.nparts, TEXTOID);
	nulls[4] = sms.gsm;
	values[4] = sms.gsm ? (Datum) 0 : other_characters(utf8);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* The characters, each once, that make the text UCS-2. */
static Datum
other_characters(const char *text)
{
	StringInfoData out;
	pg_wchar	c;
	int			n;

	initStringInfo(&out);
	for (; *text; text += n)
	{
		char		one[8] = {0};

		n = character(text, &c);
		memcpy(one, text, n);
		if (gsm_units(c) == 0 && out.len < 200 && strstr(out.data, one) == NULL)
			appendStringInfoString(&out, one);
	}
	return CStringGetTextDatum(pg_any_to_server(out.data, out.len, PG_UTF8));
}
