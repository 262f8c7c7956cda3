/*
 * coupon.c
 *		Pools of codes, each of which one message gets and no other.
 *
 * A code belongs to a message from the transaction that claims it: a message that is
 * sent again shows the same one, and one that is not sent gives it back.  Claims of
 * several processes pass over each other's rows instead of waiting for them.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts.h"
#include "content/content_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define MAX_CODE 200			/* octets */

static int32 pool_required(const char *name);
static void forget_holders(Datum contact_ids);
static void check_codes(ArrayType *codes);

MA_FUNCTION(ma_define_coupon_pool);
MA_FUNCTION(ma_drop_coupon_pool);
MA_FUNCTION(ma_add_coupons);
MA_FUNCTION(ma_claim_coupon_sql);

static const MaContactListener listener = {.erased = forget_holders};

void
ma_coupons_init(void)
{
	ma_register_contact_listener(&listener);
}

/* marketing.define_coupon_pool(name) */
Datum
ma_define_coupon_pool(PG_FUNCTION_ARGS)
{
	static MaStatement make = {
		"INSERT INTO marketing_internal.coupon_pool (name) VALUES ($1) "
		"ON CONFLICT (name) DO NOTHING",
		1, {TEXTOID}
	};
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "coupon pool");
	Datum		value = CStringGetTextDatum(name);
	bool		made;

	ma_call_begin(&call);
	made = ma_run(&make, &value, NULL, MA_RUN_WRITE_LATEST).n > 0;
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: %s", name, made ? "created" : "unchanged")));
}

/* marketing.drop_coupon_pool(name) */
Datum
ma_drop_coupon_pool(PG_FUNCTION_ARGS)
{
	static MaStatement drop_codes = {
		"DELETE FROM marketing_internal.coupon WHERE pool_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	static MaStatement drop_pool = {
		"DELETE FROM marketing_internal.coupon_pool WHERE pool_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "coupon pool");
	Datum		value;

	ma_call_begin(&call);
	value = Int32GetDatum(pool_required(name));
	ma_run(&drop_codes, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_run(&drop_pool, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}

/* Number of the pool, or an error with the nearest names. */
static int32
pool_required(const char *name)
{
	static MaStatement find = {
		"SELECT pool_id FROM marketing_internal.coupon_pool WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&find, &value, NULL, MA_RUN_READ_LATEST);

	if (rows.n == 0)
		ma_content_unknown("coupon pool", "coupon_pool", name);
	return ma_int32(&rows, 0, 1);
}

/* marketing.add_coupons(pool, codes): those that are there already stay as they are. */
Datum
ma_add_coupons(PG_FUNCTION_ARGS)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.coupon (pool_id, code) "
		"SELECT $1, c.code FROM pg_catalog.unnest($2) WITH ORDINALITY AS c (code, n) "
		"ORDER BY c.n ON CONFLICT (pool_id, code) DO NOTHING",
		2, {INT4OID, TEXTARRAYOID}
	};
	MaCall		call;
	char	   *name = ma_content_name(fcinfo, 0, "coupon pool");
	Datum		values[2];
	uint64		added;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("codes must not be null")));
	check_codes(PG_GETARG_ARRAYTYPE_P(1));
	ma_call_begin(&call);
	values[0] = Int32GetDatum(pool_required(name));
	values[1] = PG_GETARG_DATUM(1);
	added = ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST).n;
	ma_call_end(&call);
	PG_RETURN_INT64(added);
}

static void
check_codes(ArrayType *codes)
{
	Datum	   *texts;
	bool	   *nulls;
	int			n;

	deconstruct_array(codes, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *code = nulls[i] ? NULL : TextDatumGetCString(texts[i]);

		if (code == NULL || *code == '\0' || strlen(code) > MAX_CODE ||
			strpbrk(code, "\r\n") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("code %d is null, empty, longer than %d octets or has several lines",
							i + 1, MAX_CODE)));
	}
}

char *
ma_coupon_claim(int64 contact_id, int64 message_id, const char *pool)
{
	static MaStatement held = {
		"SELECT p.pool_id, c.code FROM marketing_internal.coupon_pool AS p "
		"LEFT JOIN marketing_internal.coupon AS c ON c.pool_id OPERATOR(pg_catalog.=) p.pool_id "
		"AND c.contact_id OPERATOR(pg_catalog.=) $2 AND c.message_id OPERATOR(pg_catalog.=) $3 "
		"WHERE p.name OPERATOR(pg_catalog.=) $1",
		3, {TEXTOID, INT8OID, INT8OID}
	};
	static MaStatement claim = {
		/* Materialized: as a subquery of the join it could be run for each row, and lock more. */
		"WITH f AS MATERIALIZED (SELECT f.coupon_id FROM marketing_internal.coupon AS f "
		"WHERE f.pool_id OPERATOR(pg_catalog.=) $1 AND f.message_id IS NULL "
		"ORDER BY f.coupon_id LIMIT 1 FOR UPDATE SKIP LOCKED) "
		"UPDATE marketing_internal.coupon AS c SET contact_id = $2, message_id = $3, claimed_at = $4 "
		"FROM f WHERE c.pool_id OPERATOR(pg_catalog.=) $1 AND c.coupon_id OPERATOR(pg_catalog.=) f.coupon_id "
		"AND c.message_id IS NULL RETURNING c.code",
		4, {INT4OID, INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[4];
	MaRows		rows;
	char	   *code;

	values[0] = CStringGetTextDatum(pool);
	values[1] = Int64GetDatum(contact_id);
	values[2] = Int64GetDatum(message_id);
	values[3] = TimestampTzGetDatum(ma_now());
	rows = ma_run(&held, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_RENDER_FAILED),
				 errmsg("there is no coupon pool \"%s\"", pool)));
	code = ma_text(&rows, 0, 2);
	if (code != NULL)
		return code;
	values[0] = Int32GetDatum(ma_int32(&rows, 0, 1));
	rows = ma_run(&claim, values, NULL, MA_RUN_WRITE_LATEST);
	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

void
ma_coupons_move(int64 from, int64 to, int64 message_id)
{
	static MaStatement move = {
		"UPDATE marketing_internal.coupon SET contact_id = $2 "
		"WHERE contact_id OPERATOR(pg_catalog.=) $1 AND message_id OPERATOR(pg_catalog.=) $3",
		3, {INT8OID, INT8OID, INT8OID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(from);
	values[1] = Int64GetDatum(to);
	values[2] = Int64GetDatum(message_id);
	ma_run(&move, values, NULL, MA_RUN_WRITE_LATEST);
}

/* Who has them is forgotten, but not that somebody has: nobody else may get them. */
static void
forget_holders(Datum contact_ids)
{
	static MaStatement forget = {
		"UPDATE marketing_internal.coupon SET contact_id = NULL "
		"WHERE contact_id OPERATOR(pg_catalog.=) ANY ($1) AND message_id IS NOT NULL",
		1, {INT8ARRAYOID}
	};

	ma_run(&forget, &contact_ids, NULL, MA_RUN_WRITE_LATEST);
}

void
ma_coupons_return(const int64 *contact_ids, const int64 *message_ids, int n)
{
	static MaStatement give_back = {
		"UPDATE marketing_internal.coupon AS c SET contact_id = NULL, message_id = NULL, "
		"claimed_at = NULL FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
		"AS m (contact_id, message_id) WHERE c.contact_id OPERATOR(pg_catalog.=) m.contact_id "
		"AND c.message_id OPERATOR(pg_catalog.=) m.message_id",
		2, {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[2];

	values[0] = ma_int8_array(contact_ids, n);
	values[1] = ma_int8_array(message_ids, n);
	ma_run(&give_back, values, NULL, MA_RUN_WRITE_LATEST);
}

/* marketing_internal.claim_coupon(contact_id, message_id, pool) */
Datum
ma_claim_coupon_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	MaCall		call;
	char	   *code;

	ma_call_begin(&call);
	code = ma_coupon_claim(PG_GETARG_INT64(0), PG_GETARG_INT64(1),
						   text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (code != NULL)
		code = MemoryContextStrdup(context, code);
	ma_call_end(&call);
	if (code == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(code));
}
