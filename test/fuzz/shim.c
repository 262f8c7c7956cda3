/*
 * shim.c
 *		What our parsers call of PostgreSQL, for programs outside of it.
 *
 * Memory comes from malloc, each piece by itself, so that AddressSanitizer sees a read or
 * write one octet beyond it; fuzz_end() frees what a run has left.  ereport(ERROR)
 * ends the run by longjmp, as it ends a call in the server.  Functions of src/common and
 * src/port are the server's own (libpgcommon, libpgport).
 */
#include "postgres.h"

#include <setjmp.h>

#include "base/base.h"
#include "common/fe_memutils.h"
#include "content/liquid/liquid.h"
#include "fuzz.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#define MAX_PIECES 200000
#define MAX_OCTETS (64 * 1024 * 1024)

MemoryContext CurrentMemoryContext = NULL;
volatile sig_atomic_t InterruptPending = false;

static void *pieces[MAX_PIECES];
static int	npieces = 0;
static size_t octets = 0;
static sigjmp_buf end_of_run;
static int	sqlstate;

/* ---- memory ---- */

/* A piece with room for its place in the list in front of it. */
static void *
allocate(size_t size)
{
	size_t	   *piece;

	octets += size;
	if (npieces == MAX_PIECES || octets > MAX_OCTETS)
	{
		/* A parser that wants this much for one input is at fault. */
		fprintf(stderr, "too much memory: %zu octets in %d pieces\n", octets, npieces);
		abort();
	}
	piece = malloc(sizeof(size_t) * 2 + size);
	if (piece == NULL)
		abort();
	piece[0] = npieces;
	piece[1] = size;
	pieces[npieces++] = piece;
	return piece + 2;
}

void *
palloc(Size size)
{
	void	   *result = allocate(size);

	/* What was not written must not be read: the sanitizer for that would need all of libc. */
	memset(result, 0x7F, size);
	return result;
}

void *
palloc0(Size size)
{
	return memset(allocate(size), 0, size);
}

void *
palloc_extended(Size size, int flags)
{
	return flags & MCXT_ALLOC_ZERO ? palloc0(size) : palloc(size);
}

void *
repalloc(void *pointer, Size size)
{
	size_t	   *piece = (size_t *) pointer - 2;
	void	   *result = palloc(size);

	memcpy(result, pointer, Min(size, piece[1]));
	pfree(pointer);
	return result;
}

void
pfree(void *pointer)
{
	size_t	   *piece = (size_t *) pointer - 2;

	pieces[piece[0]] = NULL;
	free(piece);
}

char *
pnstrdup(const char *text, Size length)
{
	char	   *result;

	length = strnlen(text, length);
	result = palloc(length + 1);
	memcpy(result, text, length);
	result[length] = '\0';
	return result;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

void *
pg_malloc(size_t size)
{
	return palloc(size);
}

void *
pg_malloc0(size_t size)
{
	return palloc0(size);
}

void *
pg_malloc_extended(size_t size, int flags)
{
	return palloc_extended(size, flags);
}

void *
pg_realloc(void *pointer, size_t size)
{
	return repalloc(pointer, size);
}

char *
pg_strdup(const char *text)
{
	return pstrdup(text);
}

void
pg_free(void *pointer)
{
	pfree(pointer);
}

Size
add_size(Size a, Size b)
{
	return a + b;
}

Size
mul_size(Size a, Size b)
{
	Size		result;

	if (__builtin_mul_overflow(a, b, &result))
		abort();
	return result;
}

/* Newer minor releases have arrays allocated by these. */
extern void *palloc_mul(Size a, Size b);
extern void *palloc0_mul(Size a, Size b);
extern void *palloc_mul_extended(Size a, Size b, int flags);
extern void *repalloc_mul(void *pointer, Size a, Size b);

void *
palloc_mul(Size a, Size b)
{
	return palloc(mul_size(a, b));
}

void *
palloc0_mul(Size a, Size b)
{
	return palloc0(mul_size(a, b));
}

void *
palloc_mul_extended(Size a, Size b, int flags)
{
	return palloc_extended(mul_size(a, b), flags);
}

void *
repalloc_mul(void *pointer, Size a, Size b)
{
	return repalloc(pointer, mul_size(a, b));
}

/* ---- errors ---- */

bool
errstart(int elevel, const char *domain)
{
	sqlstate = 0;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int code)
{
	return sqlstate = code;
}

/* Formats as the server does: a wrong argument would be found. */
static int
format_away(const char *format, va_list arguments)
{
	char		text[2000];

	vsnprintf(text, sizeof(text), format, arguments);
	return text[0] == '\0';
}

#define FORMATS(name) \
	int \
	name(const char *format, ...) \
	{ \
		va_list		arguments; \
		int			result; \
		va_start(arguments, format); \
		result = format_away(format, arguments); \
		va_end(arguments); \
		return result; \
	}

FORMATS(errmsg)
FORMATS(errmsg_internal)
FORMATS(errdetail)
FORMATS(errhint)

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	/* elog(ERROR) is for what cannot happen. */
	if (sqlstate == 0)
	{
		fprintf(stderr, "an internal error at %s:%d\n", filename, lineno);
		abort();
	}
	siglongjmp(end_of_run, 1);
}

void
ProcessInterrupts(void)
{
}

void
check_stack_depth(void)
{
}

/* ---- lists ---- */

List *
lappend(List *list, void *item)
{
	if (list == NIL)
	{
		list = palloc0(sizeof(List));
		list->type = T_List;
	}
	if (list->length == list->max_length)
	{
		ListCell   *elements = palloc(sizeof(ListCell) * (list->length * 2 + 8));

		if (list->length > 0)
			memcpy(elements, list->elements, sizeof(ListCell) * list->length);
		list->elements = elements;
		list->max_length = list->length * 2 + 8;
	}
	list->elements[list->length++].ptr_value = item;
	return list;
}

/* ---- texts: the database is UTF-8 ---- */

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

int
pg_mblen(const char *text)
{
	return pg_utf_mblen((const unsigned char *) text);
}

int
pg_mbstrlen_with_len(const char *text, int limit)
{
	int			n = 0;

	for (int i = 0; i < limit && text[i] != '\0'; i += pg_mblen(text + i))
		n++;
	return n;
}

int
pg_mbcliplen(const char *text, int length, int limit)
{
	int			n = 0;

	while (n < length && n + pg_mblen(text + n) <= limit)
		n += pg_mblen(text + n);
	return n;
}

bool
pg_verifymbstr(const char *text, int length, bool no_error)
{
	return pg_encoding_verifymbstr(PG_UTF8, text, length) == length;
}

struct pg_tm *
pg_gmtime(const pg_time_t *at)
{
	static struct pg_tm result;
	time_t		seconds = *at;
	struct tm  *tm = gmtime(&seconds);

	result.tm_year = tm->tm_year;
	result.tm_mon = tm->tm_mon;
	result.tm_mday = tm->tm_mday;
	result.tm_wday = tm->tm_wday;
	result.tm_hour = tm->tm_hour;
	result.tm_min = tm->tm_min;
	result.tm_sec = tm->tm_sec;
	return &result;
}

/* ---- our own, where they need the server ---- */

char *
ma_nearest(const char *name, List *candidates)
{
	return strlen(name) % 2 == 0 ? NULL : pstrdup(name);
}

/* Numbers of templates become numeric in the server. */
LiquidValue
ma_liquid_number(const char *text, int length)
{
	return ma_liquid_int(length > 0 && text[length - 1] >= '0' ? text[0] : 0);
}

static LiquidValue
no_filter(LiquidRender *render, LiquidValue input, LiquidValue *arguments)
{
	return input;
}

const LiquidFilterType *
ma_liquid_filter(const char *name, int length)
{
	static const LiquidFilterType types[] = {
		{"upcase", 0, 0, no_filter}, {"append", 1, 1, no_filter}, {"slice", 1, 2, no_filter},
		{"default", 0, 1, no_filter, "allow_false"}
	};

	for (int i = 0; i < lengthof(types); i++)
		if ((int) strlen(types[i].name) == length && memcmp(types[i].name, name, length) == 0)
			return &types[i];
	return NULL;
}

List *
ma_liquid_filter_names(void)
{
	return lappend(NIL, pstrdup("upcase"));
}

/* ---- a run ---- */

/* Runs the target on a text that ends with NUL; an error ends it as it should. */
int
fuzz_run(void (*target) (char *text, int length), const uint8_t *data, size_t size)
{
	char	   *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	if (sigsetjmp(end_of_run, 0) == 0)
		target(text, size);
	for (int i = 0; i < npieces; i++)
		free(pieces[i]);
	npieces = 0;
	octets = 0;
	free(text);
	return 0;
}

/* True for what a text of the database can be: UTF-8 without NUL. */
bool
fuzz_is_text(const char *text, int length)
{
	return pg_encoding_verifymbstr(PG_UTF8, text, length) == length &&
		memchr(text, '\0', length) == NULL;
}

/* Something that must hold does not. */
void
fuzz_fail(const char *what)
{
	fprintf(stderr, "violated: %s\n", what);
	abort();
}
