/*
 * absent.c
 *		What the functions for SQL call that stand in the same files as what is fuzzed: the
 *		server alone has it, and no target comes to it.
 */
#include <stdlib.h>

#define ABSENT(name) \
	extern void name(void); \
	__attribute__((weak)) void \
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
ABSENT(ma_topic_by_id)
ABSENT(ma_contact_now)
ABSENT(ma_contact_known)
ABSENT(ma_int8_array)
ABSENT(ma_text_array)
ABSENT(ma_now)
ABSENT(ma_own_table)
ABSENT(LockRelationOid)
ABSENT(ma_run)
ABSENT(ma_int64)
ABSENT(ma_text)
ABSENT(ma_bool)
ABSENT(ma_channel_number)
ABSENT(ma_channel_by_number)
ABSENT(ma_register_link_tracker)
ABSENT(list_sort)
ABSENT(escape_json)
ABSENT(ma_web_page)
ABSENT(ma_preferences_token_valid)
ABSENT(MHD_run)
ABSENT(MHD_get_timeout)
ABSENT(MHD_quiesce_daemon)
ABSENT(MHD_stop_daemon)
ABSENT(ma_url_with_tags)
