/*
 * locale.c
 *		How languages write numbers, amounts and dates: number, money, and the names that
 *		date shows.
 *
 * The language is that of the text, the locale of the template's variant, since words
 * of one language among those of another would be no help; or one that is given.  A
 * table of the languages that shops write in, not the server's locales, which differ
 * from one machine to the next.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"

#define NBSP "\302\240"

static char *grouped(LiquidRender *render, LiquidValue value, int digits,
					 const LiquidLocale *locale);
static LiquidValue utf8_value(const char *text);

/* The first is for all that are not here. */
static const LiquidLocale locales[] = {
	{"en", ",", ".", LIQUID_SIGN_BEFORE},
	{"tr", ".", ",", LIQUID_SIGN_BEFORE,
		"Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık", NULL,
		"Pazar Pazartesi Salı Çarşamba Perşembe Cuma Cumartesi", "Paz Pzt Sal Çar Per Cum Cmt"},
	{"az", ".", ",", LIQUID_SIGN_BEHIND,
		"yanvar fevral mart aprel may iyun iyul avqust sentyabr oktyabr noyabr dekabr",
		"yan fev mar apr may iyn iyl avq sen okt noy dek",
		"bazar bazar ertəsi çərşənbə axşamı çərşənbə cümə axşamı cümə şənbə",
		"B. B.E. Ç.A. Ç. C.A. C. Ş."},
	{"de-ch", "’", ".", LIQUID_SIGN_BEFORE_BLANK,
		"Januar Februar März April Mai Juni Juli August September Oktober November Dezember", NULL,
		"Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag", "So Mo Di Mi Do Fr Sa"},
	{"de", ".", ",", LIQUID_SIGN_BEHIND,
		"Januar Februar März April Mai Juni Juli August September Oktober November Dezember", NULL,
		"Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag", "So Mo Di Mi Do Fr Sa"},
	{"fr", NBSP, ",", LIQUID_SIGN_BEHIND,
		"janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
		"janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
		"dimanche lundi mardi mercredi "
		"jeudi vendredi samedi", "dim. lun. mar. mer. jeu. ven. sam."},
	{"es", ".", ",", LIQUID_SIGN_BEHIND,
		"enero febrero marzo abril mayo junio julio agosto "
		"septiembre octubre noviembre diciembre", NULL,
		"domingo lunes martes miércoles jueves viernes sábado", "dom lun mar mié jue vie sáb"},
	{"it", ".", ",", LIQUID_SIGN_BEHIND,
		"gennaio febbraio marzo aprile maggio giugno luglio agosto "
		"settembre ottobre novembre dicembre",
		NULL, "domenica lunedì martedì mercoledì giovedì venerdì sabato",
		"dom lun mar mer gio ven sab"},
	{"pt-br", ".", ",", LIQUID_SIGN_BEFORE_BLANK,
		"janeiro fevereiro março abril maio junho julho agosto "
		"setembro outubro novembro dezembro", NULL,
		"domingo segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado",
		"dom seg ter qua qui sex sáb"},
	{"pt", ".", ",", LIQUID_SIGN_BEHIND,
		"janeiro fevereiro março abril maio junho julho agosto "
		"setembro outubro novembro dezembro", NULL,
		"domingo segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado",
		"dom seg ter qua qui sex sáb"},
	{"nl", ".", ",", LIQUID_SIGN_BEFORE_BLANK,
		"januari februari maart april mei juni juli augustus september oktober november december",
		"jan feb mrt apr mei jun jul aug sep okt nov dec",
		"zondag maandag dinsdag woensdag donderdag vrijdag zaterdag", "zo ma di wo do vr za"},
	{"sv", NBSP, ",", LIQUID_SIGN_BEHIND,
		"januari februari mars april maj juni juli augusti "
		"september oktober november december", NULL,
		"söndag måndag tisdag onsdag torsdag fredag lördag", "sön mån tis ons tors fre lör"},
	{"da", ".", ",", LIQUID_SIGN_BEHIND,
		"januar februar marts april maj juni juli august september oktober november december", NULL,
		"søndag mandag tirsdag onsdag torsdag fredag lørdag", "søn man tir ons tor fre lør"},
	{"nb", NBSP, ",", LIQUID_SIGN_BEHIND,
		"januar februar mars april mai juni juli august september oktober november desember", NULL,
		"søndag mandag tirsdag onsdag torsdag fredag lørdag", "søn man tir ons tor fre lør"},
	{"no", NBSP, ",", LIQUID_SIGN_BEHIND,
		"januar februar mars april mai juni juli august september oktober november desember", NULL,
		"søndag mandag tirsdag onsdag torsdag fredag lørdag", "søn man tir ons tor fre lør"},
	{"pl", NBSP, ",", LIQUID_SIGN_BEHIND,
		"stycznia lutego marca kwietnia maja czerwca lipca sierpnia "
		"września października listopada "
		"grudnia", NULL, "niedziela poniedziałek wtorek środa czwartek piątek sobota",
		"niedz. pon. wt. śr. czw. pt. sob."},
	{"ru", NBSP, ",", LIQUID_SIGN_BEHIND,
		"января февраля марта апреля мая июня июля августа сентября октября ноября декабря", NULL,
		"воскресенье понедельник вторник среда четверг пятница суббота", "вс пн вт ср чт пт сб"},
	/* These have the names of English until somebody writes them down. */
	{"fi", NBSP, ",", LIQUID_SIGN_BEHIND}, {"cs", NBSP, ",", LIQUID_SIGN_BEHIND},
	{"sk", NBSP, ",", LIQUID_SIGN_BEHIND}, {"uk", NBSP, ",", LIQUID_SIGN_BEHIND},
	{"hu", NBSP, ",", LIQUID_SIGN_BEHIND}, {"bg", NBSP, ",", LIQUID_SIGN_BEHIND},
	{"el", ".", ",", LIQUID_SIGN_BEHIND}, {"hr", ".", ",", LIQUID_SIGN_BEHIND},
	{"ro", ".", ",", LIQUID_SIGN_BEHIND}, {"vi", ".", ",", LIQUID_SIGN_BEHIND},
	{"id", ".", ",", LIQUID_SIGN_BEFORE_BLANK}
};

const LiquidLocale *
ma_liquid_locale(LiquidRender *render, LiquidValue argument)
{
	char		key[36];
	const char *given = render->globals->locale;
	int			length = 0;

	if (argument.kind == LIQUID_STRING)
		given = ma_liquid_to_cstring(render, argument);
	if (given == NULL)
		return &locales[0];
	/* tr_TR.UTF-8 as tr-tr */
	for (; given[length] && strchr(".@", given[length]) == NULL && length < 35; length++)
		key[length] = given[length] == '_' ? '-' : pg_ascii_tolower((unsigned char) given[length]);
	key[length] = '\0';
	for (;;)
	{
		char	   *dash;

		for (int i = 0; i < lengthof(locales); i++)
			if (strcmp(locales[i].language, key) == 0)
				return &locales[i];
		dash = strrchr(key, '-');
		if (dash == NULL)
			return &locales[0];
		*dash = '\0';
	}
}

const char *
ma_liquid_word(const char *words, int n, int *length)
{
	while (n-- > 0)
		words += strcspn(words, " ") + 1;
	*length = strcspn(words, " ");
	return words;
}

/* The tables are UTF-8, the database may be another encoding. */
static LiquidValue
utf8_value(const char *text)
{
	text = pg_any_to_server(text, strlen(text), PG_UTF8);
	return ma_liquid_string(text, strlen(text));
}

/* The number with `digits` behind the point (below 0: those it has), in UTF-8. */
static char *
grouped(LiquidRender *render, LiquidValue value, int digits, const LiquidLocale *locale)
{
	StringInfoData out;
	int			length;
	char	   *text;
	char	   *dot;
	int			whole;

	if (digits >= 0)
	{
		Datum		number = NumericGetDatum(ma_liquid_numeric(value));

		value.u.numeric = DatumGetNumeric(DirectFunctionCall2(numeric_round, number,
															  Int32GetDatum(digits)));
		value.kind = LIQUID_NUMERIC;
	}
	text = ma_liquid_number_text(value, &length);
	text = pnstrdup(text, length);
	dot = strchr(text, '.');
	whole = dot ? dot - text : length;
	initStringInfo(&out);
	for (int i = 0; i < whole; i++)
	{
		if (i > (*text == '-') && (whole - i) % 3 == 0 && isdigit((unsigned char) text[i]))
			appendStringInfoString(&out, locale->group);
		appendStringInfoChar(&out, text[i]);
	}
	if (dot != NULL)
		appendStringInfo(&out, "%s%s", locale->point, dot + 1);
	return out.data;
}

/* number: digits, "locale" */
static LiquidValue
filter_number(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	const LiquidLocale *locale = ma_liquid_locale(render, arguments[1]);
	int			digits = -1;

	if (arguments[0].kind != LIQUID_UNSET && arguments[0].kind != LIQUID_NIL)
		digits = Max(Min(ma_liquid_to_int(render, arguments[0], "number of digits"), 30), 0);
	return utf8_value(grouped(render, ma_liquid_to_number(input), digits, locale));
}

/* money: "TRY", "locale" */
static LiquidValue
filter_money(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	static const struct
	{
		const char *code;
		const char *sign;
		int			digits;
	}			currencies[] = {
		{"USD", "$", 2}, {"EUR", "€", 2}, {"GBP", "£", 2}, {"TRY", "₺", 2}, {"JPY", "¥", 0},
		{"CNY", "CN¥", 2}, {"INR", "₹", 2}, {"KRW", "₩", 0}, {"BRL", "R$", 2}, {"PLN", "zł", 2},
		{"CZK", "Kč", 2}, {"SEK", "kr", 2}, {"NOK", "kr", 2}, {"DKK", "kr.", 2}, {"HUF", "Ft", 2},
		{"RUB", "₽", 2}, {"UAH", "₴", 2}, {"AZN", "₼", 2}, {"GEL", "₾", 2}, {"KZT", "₸", 2},
		{"ILS", "₪", 2}, {"VND", "₫", 0}, {"CLP", "CLP", 0}, {"ISK", "ISK", 0}, {"KWD", "KWD", 3},
		{"BHD", "BHD", 3}, {"JOD", "JOD", 3}, {"TND", "TND", 3}, {"OMR", "OMR", 3}};
	const LiquidLocale *locale = ma_liquid_locale(render, arguments[1]);
	char	   *code = ma_liquid_to_cstring(render, arguments[0]);
	const char *sign = code;
	const char *minus = "";
	const char *blank;
	char	   *number;
	int			digits = 2;

	for (int i = 0; i < lengthof(currencies); i++)
		if (strcmp(code, currencies[i].code) == 0)
		{
			sign = currencies[i].sign;
			digits = currencies[i].digits;
		}
	number = grouped(render, ma_liquid_to_number(input), digits, locale);
	if (*sign == '\0')
		return utf8_value(number);
	if (locale->sign == LIQUID_SIGN_BEHIND)
		return utf8_value(psprintf("%s" NBSP "%s", number, sign));
	/* A code of letters does not stick to the number. */
	blank = locale->sign == LIQUID_SIGN_BEFORE_BLANK || strcmp(sign, code) == 0 ? NBSP : "";
	if (*number == '-')
	{
		minus = "-";
		number++;
	}
	return utf8_value(psprintf("%s%s%s%s", minus, sign, blank, number));
}

const LiquidFilterType ma_liquid_locale_filters[] = {
	{"number", 0, 2, filter_number},
	{"money", 0, 2, filter_money},
	{NULL}
};
