/*
 * stubs.c
 *		What the functions for SQL call that stand in the same files as what is fuzzed: the
 *		server alone has it, and no target comes to it.
 */
#include <stdlib.h>

#define STUB(name) \
	extern void name(void); \
	void \
	name(void) \
	{ \
		abort(); \
	}

STUB(pg_detoast_datum_packed)
STUB(text_to_cstring)
STUB(cstring_to_text)
STUB(pg_server_to_any)
STUB(pg_any_to_server)
STUB(get_call_result_type)
STUB(ma_datum_array)
STUB(BlessTupleDesc)
STUB(heap_form_tuple)
STUB(HeapTupleHeaderGetDatum)
