/*
 * lexer.c
 *		Tokens of a rule, and places in it for error messages.
 *
 * The words are those of SQL (strings, quoted names, dollar quotes, comments), so
 * that an SQL leaf can be cut out by tokens and never in the middle of a string.
 * Each token knows its bytes: leaves are handed on as written.
 */
#include "base/base.h"

#include "mb/pg_wchar.h"
#include "parser/scansup.h"
#include "rules/rules_internal.h"

#define MAX_RULE 65536

typedef struct Lexer
{
	const char *text;
	int			at;
	MaToken    *tokens;
	int			n;
	int			space;
} Lexer;

static bool skip_blanks(Lexer *lexer);
static void skip_comment(Lexer *lexer);
static void add(Lexer *lexer, MaTokenKind kind, char *text, bool quoted, bool spaced, int start);
static void read_token(Lexer *lexer, bool spaced);
static void read_quoted(Lexer *lexer, char quote, bool escapes, bool spaced, int start);
static bool read_dollar(Lexer *lexer, bool spaced);
static void read_name(Lexer *lexer, bool spaced);
static void read_number(Lexer *lexer, bool spaced);
static bool starts_name(char c);
static bool continues_name(char c);

int
ma_rule_place(const char *text, int at)
{
	internalerrposition(pg_mbstrlen_with_len(text, at) + 1);
	return internalerrquery(text);
}

MaToken *
ma_rule_tokens(const char *text, int *n)
{
	Lexer		lexer = {text, 0, NULL, 0, 64};

	if (strlen(text) > MAX_RULE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a rule has at most %d bytes", MAX_RULE)));
	lexer.tokens = palloc_array(MaToken, lexer.space);
	for (;;)
	{
		bool		spaced = skip_blanks(&lexer);

		if (text[lexer.at] == '\0')
			break;
		read_token(&lexer, spaced);
	}
	add(&lexer, MA_TOKEN_END, "", false, false, lexer.at);
	*n = lexer.n;
	return lexer.tokens;
}

/* Skips white space and comments; true if there were any. */
static bool
skip_blanks(Lexer *lexer)
{
	int			start = lexer->at;

	for (;;)
	{
		const char *here = lexer->text + lexer->at;

		if (*here == ' ' || (*here >= '\t' && *here <= '\r'))
			lexer->at++;
		else if (here[0] == '-' && here[1] == '-')
			lexer->at += strcspn(here, "\r\n");
		else if (here[0] == '/' && here[1] == '*')
			skip_comment(lexer);
		else
			return lexer->at > start;
	}
}

/* Comments nest, as in SQL. */
static void
skip_comment(Lexer *lexer)
{
	int			start = lexer->at;
	int			depth = 0;

	do
	{
		const char *here = lexer->text + lexer->at;

		if (*here == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_MA_INVALID_RULE),
					 errmsg("a comment in the rule does not end"),
					 ma_rule_place(lexer->text, start)));
		if (here[0] == '/' && here[1] == '*')
			depth++, lexer->at += 2;
		else if (here[0] == '*' && here[1] == '/')
			depth--, lexer->at += 2;
		else
			lexer->at++;
	} while (depth > 0);
}

static void
add(Lexer *lexer, MaTokenKind kind, char *text, bool quoted, bool spaced, int start)
{
	MaToken    *token;

	if (lexer->n == lexer->space)
	{
		lexer->space *= 2;
		lexer->tokens = repalloc(lexer->tokens, mul_size(sizeof(MaToken), lexer->space));
	}
	token = &lexer->tokens[lexer->n++];
	token->kind = kind;
	token->text = text;
	token->quoted = quoted;
	token->spaced = spaced;
	token->start = start;
	token->end = lexer->at;
}

static void
read_token(Lexer *lexer, bool spaced)
{
	static const char *const pairs[] = {"<=", ">=", "<>", "!=", "::", "||", "->", "@>", "<@", "=>"};
	const char *here = lexer->text + lexer->at;
	int			start = lexer->at;

	if (*here == '\'')
		read_quoted(lexer, '\'', false, spaced, start);
	else if ((*here == 'E' || *here == 'e') && here[1] == '\'')
	{
		lexer->at++;
		read_quoted(lexer, '\'', true, spaced, start);
	}
	else if (*here == '"')
		read_quoted(lexer, '"', false, spaced, start);
	else if (*here == '$' && read_dollar(lexer, spaced))
		return;
	else if (starts_name(*here))
		read_name(lexer, spaced);
	else if ((*here >= '0' && *here <= '9') || (*here == '.' && here[1] >= '0' && here[1] <= '9'))
		read_number(lexer, spaced);
	else
	{
		int			length = 1;

		for (int i = 0; i < lengthof(pairs); i++)
			if (strncmp(here, pairs[i], 2) == 0)
				length = 2;
		lexer->at += length;
		add(lexer, MA_TOKEN_SYMBOL, pnstrdup(here, length), false, spaced, start);
	}
}

/* 'string' or "name", in which the quote is doubled. */
static void
read_quoted(Lexer *lexer, char quote, bool escapes, bool spaced, int start)
{
	StringInfoData text;

	initStringInfo(&text);
	lexer->at++;
	for (;;)
	{
		char		c = lexer->text[lexer->at];

		if (c == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_MA_INVALID_RULE),
					 errmsg(quote == '"' ? "a quoted name in the rule does not end" :
							"a string in the rule does not end"),
					 ma_rule_place(lexer->text, start)));
		lexer->at++;
		if (c == quote && lexer->text[lexer->at] != quote)
			break;
		if (c == quote || (escapes && c == '\\' && lexer->text[lexer->at] != '\0'))
			c = lexer->text[lexer->at++];
		appendStringInfoChar(&text, c);
	}
	add(lexer, quote == '"' ? MA_TOKEN_NAME : MA_TOKEN_STRING, text.data, quote == '"', spaced,
		start);
}

/* $tag$ ... $tag$; false if it is no dollar quote. */
static bool
read_dollar(Lexer *lexer, bool spaced)
{
	const char *here = lexer->text + lexer->at;
	int			length = 1;
	char	   *tag;
	const char *end;
	int			start = lexer->at;

	while (continues_name(here[length]) && here[length] != '$')
		length++;
	if (here[length] != '$')
		return false;
	tag = pnstrdup(here, length + 1);
	end = strstr(here + length + 1, tag);
	if (end == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_RULE),
				 errmsg("a string in the rule does not end"),
				 ma_rule_place(lexer->text, start)));
	lexer->at += (int) (end - here) + length + 1;
	add(lexer, MA_TOKEN_STRING, pnstrdup(here + length + 1, end - here - length - 1), false,
		spaced, start);
	return true;
}

static void
read_name(Lexer *lexer, bool spaced)
{
	const char *here = lexer->text + lexer->at;
	int			length = 1;
	int			start = lexer->at;

	while (continues_name(here[length]))
		length++;
	lexer->at += length;
	add(lexer, MA_TOKEN_NAME, downcase_truncate_identifier(here, length, false), false, spaced,
		start);
}

/* Digits with at most one point and exponent. */
static void
read_number(Lexer *lexer, bool spaced)
{
	const char *here = lexer->text + lexer->at;
	int			start = lexer->at;
	int			length = strspn(here, "0123456789");

	if (here[length] == '.')
		length += 1 + strspn(here + length + 1, "0123456789");
	if (here[length] == 'e' || here[length] == 'E')
	{
		int			sign = here[length + 1] == '+' || here[length + 1] == '-';
		int			digits = strspn(here + length + 1 + sign, "0123456789");

		if (digits > 0)
			length += 1 + sign + digits;
	}
	lexer->at += length;
	add(lexer, MA_TOKEN_NUMBER, pnstrdup(here, length), false, spaced, start);
}

static bool
starts_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || IS_HIGHBIT_SET(c);
}

static bool
continues_name(char c)
{
	return starts_name(c) || (c >= '0' && c <= '9') || c == '$';
}
