/*
 * absent.c
 *		What the functions for SQL call that stand in the same files as what is fuzzed: the
 *		server alone has it, and no target comes to it.
 */
#include <stdlib.h>

#define ABSENT(name) \
	extern void name(void); \
	void \
	name(void) \
	{ \
		abort(); \
	}

ABSENT(text_to_cstring)
ABSENT(cstring_to_text)
ABSENT(pg_server_to_any)
ABSENT(pg_any_to_server)
ABSENT(get_call_result_type)
ABSENT(ma_datum_array)
ABSENT(BlessTupleDesc)
ABSENT(heap_form_tuple)
ABSENT(HeapTupleHeaderGetDatum)
