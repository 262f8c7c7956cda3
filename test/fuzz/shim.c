/*
 * shim.c
 *		What our parsers call of PostgreSQL, for programs outside of it.
 *
 * Memory comes from one arena, each piece between octets that AddressSanitizer forbids, and is
 * never given out twice within a run: so a read or write one octet beyond a piece is seen, and
 * one of a piece that was freed, and a run costs little.  ereport(ERROR)
 * ends the run by longjmp, as it ends a call in the server.  Functions of src/common and
 * src/port are the server's own (libpgcommon, libpgport).
 */
#include "postgres.h"

#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <sys/mman.h>

#include "base/base.h"
#include "common/fe_memutils.h"
#include "consent/consent.h"
#include "content/liquid/liquid.h"
#include "fuzz.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#define ARENA ((size_t) 64 * 1024 * 1024)
#define FORBIDDEN 32			/* octets between two pieces; the first of them hold the size */

MemoryContext CurrentMemoryContext = NULL;
volatile sig_atomic_t InterruptPending = false;

static char *arena = NULL;
static size_t used = 0;
static sigjmp_buf end_of_run;
static int	sqlstate;

static void *allocate(size_t size);
static void set_size(size_t *place, size_t size);
static size_t size_of(const size_t *place);

/* ---- memory ---- */

/* These two may touch what is forbidden. */
__attribute__((no_sanitize("address"), noinline)) static void
set_size(size_t *place, size_t size)
{
	*place = size;
}

__attribute__((no_sanitize("address"), noinline)) static size_t
size_of(const size_t *place)
{
	return *place;
}

static void *
allocate(size_t size)
{
	size_t		room = FORBIDDEN + (size + 15) / 16 * 16;
	char	   *piece;

	if (arena == NULL)
	{
		arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (arena == MAP_FAILED)
			abort();
		__asan_poison_memory_region(arena, ARENA);
	}
	if (size > ARENA || room > ARENA - FORBIDDEN - used)
	{
		/* A parser that wants this much for one input is at fault. */
		fprintf(stderr, "too much memory: %zu octets after %zu\n", size, used);
		abort();
	}
	piece = arena + used + FORBIDDEN;
	used += room;
	__asan_unpoison_memory_region(piece, size);
	set_size((size_t *) (piece - FORBIDDEN), size);
	return piece;
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
	void	   *result = palloc(size);

	memcpy(result, pointer, Min(size, size_of((size_t *) ((char *) pointer - FORBIDDEN))));
	pfree(pointer);
	return result;
}

void
pfree(void *pointer)
{
	__asan_poison_memory_region(pointer, size_of((size_t *) ((char *) pointer - FORBIDDEN)));
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return palloc(size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return palloc0(size);
}

void *
MemoryContextAllocZeroAligned(MemoryContext context, Size size)
{
	return palloc0(size);
}

void
MemoryContextDelete(MemoryContext context)
{
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

/* ---- texts as octets ---- */

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

uint64
hex_encode(const char *source, size_t length, char *target)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++)
	{
		*target++ = digits[(unsigned char) source[i] >> 4];
		*target++ = digits[source[i] & 15];
	}
	return length * 2;
}

uint64
hex_decode(const char *source, size_t length, char *target)
{
	for (size_t i = 0; i + 1 < length; i += 2)
	{
		unsigned int octet;

		if (sscanf(source + i, "%2x", &octet) != 1)
			fuzz_fail("hexadecimal digits were looked at before");
		*target++ = (char) octet;
	}
	return length / 2;
}

/* ---- our own, where they need the server ---- */

/* As long as an HMAC; whoever knows it could make tokens. */
Datum
ma_shop_hmac(const void *data, Size length)
{
	bytea	   *result = palloc(VARHDRSZ + 32);
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (Size i = 0; i < length; i++)
		hash = (hash ^ ((const uint8 *) data)[i]) * UINT64CONST(0x100000001b3);
	SET_VARSIZE(result, VARHDRSZ + 32);
	for (int i = 0; i < 4; i++)
	{
		hash = (hash ^ (hash >> 29)) * UINT64CONST(0xbf58476d1ce4e5b9);
		memcpy(VARDATA(result) + 8 * i, &hash, 8);
	}
	return PointerGetDatum(result);
}

/* With one key, which is no other than the shop's. */
void
ma_sign(const MaSignedText *text, uint8 *signature, int length)
{
	int			purpose = strlen(text->purpose);
	char	   *bytes = palloc(purpose + text->length);

	memcpy(bytes, text->purpose, purpose);
	memcpy(bytes + purpose, text->data, text->length);
	memcpy(signature, VARDATA(DatumGetPointer(ma_shop_hmac(bytes, purpose + text->length))), length);
}

bool
ma_signed(const MaSignedText *text, const uint8 *signature, int length)
{
	uint8	   *right = palloc(length);

	ma_sign(text, right, length);
	return memcmp(right, signature, length) == 0;
}

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
	char	   *text = allocate(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	if (sigsetjmp(end_of_run, 0) == 0)
		target(text, size);
	__asan_poison_memory_region(arena, used);
	used = 0;
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
