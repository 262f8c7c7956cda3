/*
 * build.c
 *		Everybody is looked at by a stage's rule that is new, or says something else now.
 *
 * The worker goes through the contacts in the order of their numbers and notes how far it
 * came.  Whom the definition has not reached yet starts no journey by it: nobody did
 * anything.  Who is busy goes to the dirty log, so that it need not come back, and is on
 * a list until he is looked at.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/stages/stages.h"
#include "worker/worker.h"

static bool build(void);
static bool build_turn(void);
static void pass_over(const int64 *contacts, const bool *busy, int n);
static void forget_passed(void);

void
ma_stage_build_init(void)
{
	static const MaDuty duty = {"build stages", 0, build, NULL};

	ma_worker_register_duty(&duty);
}

static bool
build(void)
{
	return ma_drain_turn(build_turn);
}

/* Those who are busy, for all stages that have not reached them. */
static void
pass_over(const int64 *contacts, const bool *busy, int n)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.stage_passed_over (contact_id, stage_id) "
		"SELECT u.contact_id, s.stage_id FROM pg_catalog.unnest($1) AS u (contact_id) "
		"JOIN marketing_internal.stage AS s ON s.built_upto OPERATOR(pg_catalog.<) u.contact_id",
		1, {INT8ARRAYOID}
	};
	int64	   *ids = palloc_array(int64, n);
	Datum		value;
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (busy[i])
			ids[count++] = contacts[i];
	if (count == 0)
		return;
	value = ma_int8_array(ids, count);
	ma_run(&add, &value, NULL, MA_RUN_WRITE_LATEST);
}

/* The list is empty: from now on nobody asks it. */
static void
forget_passed(void)
{
	static MaStatement read = {
		"SELECT FROM marketing_internal.stage_passed_over LIMIT 1"
	};

	if (ma_stages()->passed_over && ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST).n == 0)
		ma_definitions_changed();
}

/* One batch of contacts, for all stages that are being built. */
static bool
build_turn(void)
{
	static MaStatement from = {
		"SELECT s.built_upto FROM marketing_internal.stage AS s "
		"WHERE s.built_upto IS NOT NULL ORDER BY s.built_upto LIMIT 1"
	};
	static MaStatement next = {
		"SELECT c.contact_id FROM marketing_internal.contact AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.>) $1 ORDER BY c.contact_id LIMIT $2",
		2, {INT8OID, INT4OID}
	};
	static MaStatement progress = {
		"UPDATE marketing_internal.stage SET built_upto = $1 "
		"WHERE built_upto OPERATOR(pg_catalog.<) $1 AND built_upto OPERATOR(pg_catalog.>=) $2",
		2, {INT8OID, INT8OID}
	};
	static MaStatement finish = {
		"UPDATE marketing_internal.stage SET built_upto = NULL "
		"WHERE built_upto OPERATOR(pg_catalog.>=) $1 RETURNING 1",
		1, {INT8OID}
	};
	Datum		values[2];
	int64	   *contacts;
	bool	   *busy;
	MaRows		rows;

	if (!ma_stages()->building)
	{
		forget_passed();
		return false;
	}
	rows = ma_run(&from, NULL, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
		return false;
	values[0] = Int64GetDatum(ma_int64(&rows, 0, 1));
	values[1] = Int32GetDatum(ma_drain_batch_size());
	rows = ma_run(&next, values, NULL, MA_RUN_READ_LATEST);
	if (rows.n == 0)
	{
		if (ma_run(&finish, values, NULL, MA_RUN_WRITE_LATEST).n > 0)
			ma_definitions_changed();
		return false;
	}
	contacts = palloc_array(int64, rows.n);
	for (uint64 i = 0; i < rows.n; i++)
		contacts[i] = ma_int64(&rows, i, 1);
	busy = palloc0_array(bool, rows.n);
	(void) ma_contacts_wake_each(contacts, NULL, (int) rows.n, true, busy);
	pass_over(contacts, busy, (int) rows.n);
	values[1] = values[0];
	values[0] = Int64GetDatum(contacts[rows.n - 1]);
	ma_run(&progress, values, NULL, MA_RUN_WRITE_LATEST);
	return true;
}
