/*
 * scan.c
 *		The words within one output or tag.
 *
 * One word is looked at ahead, which is all that Liquid needs.  Every character
 * that begins no word is an error with its place: a template that is wrong must be
 * refused when it is defined, not when it is sent.
 */
#include "base/base.h"

#include "content/liquid/liquid.h"
#include "mb/pg_wchar.h"

static void scan_string(LiquidScanner *scanner, char quote);
static void scan_number(LiquidScanner *scanner);
static void scan_name(LiquidScanner *scanner);
static bool scan_comparison(LiquidScanner *scanner);

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || IS_HIGHBIT_SET(c);
}

/* Begins at `start`; the first word is there at once. */
void
ma_liquid_scan_begin(LiquidScanner *scanner, MaLiquid *liquid, int start, int end)
{
	memset(scanner, 0, sizeof(LiquidScanner));
	scanner->liquid = liquid;
	scanner->position = start;
	scanner->end = end;
	ma_liquid_scan_next(scanner);
}

void
ma_liquid_scan_next(LiquidScanner *scanner)
{
	const char *source = scanner->liquid->source;
	char		c;

	while (scanner->position < scanner->end &&
		   (source[scanner->position] == ' ' ||
			(source[scanner->position] >= '\t' && source[scanner->position] <= '\r')))
		scanner->position++;
	scanner->at = scanner->position;
	scanner->text = source + scanner->position;
	scanner->length = 0;
	if (scanner->position >= scanner->end)
	{
		scanner->kind = LIQUID_WORD_END;
		return;
	}
	c = *scanner->text;
	if (c == '"' || c == '\'')
		scan_string(scanner, c);
	else if (is_digit(c) || (c == '-' && scanner->position + 1 < scanner->end &&
							 is_digit(scanner->text[1])))
		scan_number(scanner);
	else if (is_name_start(c))
		scan_name(scanner);
	else if (!scan_comparison(scanner))
	{
		if (strchr("|:,.()[]=", c) == NULL)
			ma_liquid_syntax_error(scanner->liquid, scanner->at,
								   "Liquid has filters, as in {{ a | plus: 1 }}, where other languages have operators.",
								   "unexpected character \"%.*s\"", pg_mblen(scanner->text),
								   scanner->text);
		scanner->kind = LIQUID_WORD_CHARACTER;
		scanner->length = 1;
		if (c == '.' && scanner->position + 1 < scanner->end && scanner->text[1] == '.')
		{
			scanner->kind = LIQUID_WORD_DOTS;
			scanner->length = 2;
		}
		scanner->position += scanner->length;
	}
}

/* Text between quotes; there is no way to write the same quote inside. */
static void
scan_string(LiquidScanner *scanner, char quote)
{
	const char *close = memchr(scanner->text + 1, quote, scanner->end - scanner->position - 1);

	if (close == NULL)
		ma_liquid_syntax_error(scanner->liquid, scanner->at, "Close the text with the quote it began with.",
							   "text is not closed");
	scanner->kind = LIQUID_WORD_STRING;
	scanner->text++;
	scanner->length = close - scanner->text;
	scanner->position += scanner->length + 2;
}

static void
scan_number(LiquidScanner *scanner)
{
	const char *source = scanner->liquid->source;
	int			i = scanner->position + 1;

	scanner->kind = LIQUID_WORD_INTEGER;
	while (i < scanner->end && is_digit(source[i]))
		i++;
	if (i + 1 < scanner->end && source[i] == '.' && is_digit(source[i + 1]))
	{
		scanner->kind = LIQUID_WORD_DECIMAL;
		i++;
		while (i < scanner->end && is_digit(source[i]))
			i++;
	}
	if (i - scanner->position > 100)
		ma_liquid_syntax_error(scanner->liquid, scanner->at, "A number has at most 100 digits.",
							   "number is too long");
	scanner->length = i - scanner->position;
	scanner->position = i;
}

/* A name has letters, digits, _ and -, and may end with a question mark. */
static void
scan_name(LiquidScanner *scanner)
{
	const char *source = scanner->liquid->source;
	int			i = scanner->position;

	while (i < scanner->end && (is_name_start(source[i]) || is_digit(source[i]) ||
				source[i] == '-'))
		i++;
	if (i < scanner->end && source[i] == '?')
		i++;
	scanner->kind = LIQUID_WORD_NAME;
	scanner->length = i - scanner->position;
	scanner->position = i;
}

static bool
scan_comparison(LiquidScanner *scanner)
{
	static const char *const operators[] = {"==", "!=", "<>", "<=", ">=", "<", ">"};

	for (int i = 0; i < lengthof(operators); i++)
	{
		int			length = strlen(operators[i]);

		if (scanner->end - scanner->position >= length &&
			memcmp(scanner->text, operators[i], length) == 0)
		{
			scanner->kind = LIQUID_WORD_COMPARISON;
			scanner->length = length;
			scanner->position += length;
			return true;
		}
	}
	return false;
}

/* True if the current word is this name or character. */
bool
ma_liquid_scan_is(const LiquidScanner *scanner, const char *word)
{
	return (scanner->kind == LIQUID_WORD_NAME || scanner->kind == LIQUID_WORD_CHARACTER ||
			scanner->kind == LIQUID_WORD_DOTS) &&
		scanner->length == (int) strlen(word) && memcmp(scanner->text, word, scanner->length) == 0;
}

/* Goes on if the current word is `word`. */
bool
ma_liquid_scan_take(LiquidScanner *scanner, const char *word)
{
	if (!ma_liquid_scan_is(scanner, word))
		return false;
	ma_liquid_scan_next(scanner);
	return true;
}

void
ma_liquid_scan_expect(LiquidScanner *scanner, const char *word)
{
	if (!ma_liquid_scan_take(scanner, word))
		ma_liquid_scan_unexpected(scanner, psprintf("\"%s\"", word));
}

void
ma_liquid_scan_finish(LiquidScanner *scanner)
{
	if (scanner->kind != LIQUID_WORD_END)
		ma_liquid_scan_unexpected(scanner, "the end");
}

void
ma_liquid_scan_unexpected(LiquidScanner *scanner, const char *expected)
{
	const char *hint = psprintf("Expected %s here.", expected);

	if (scanner->kind == LIQUID_WORD_END)
		ma_liquid_syntax_error(scanner->liquid, scanner->at, hint, "something is missing");
	ma_liquid_syntax_error(scanner->liquid, scanner->at, hint, "unexpected \"%.*s\"",
						   scanner->length, scanner->text);
}
