/*
 * rename.c
 *		Gives the keys of re-keyed rows their new names, one after the other.
 *
 * Commit and worker do the same steps in the order of ma_rekeys_order(), under
 * three locks each: that of the contact who moves, that of the contact who has the
 * new key still (his row is gone), and that of a key nobody has, so that no
 * transaction that is not over yet has taken either key for somebody else's.
 *
 * What waits in the log takes part in the order.  A commit leaves its own
 * re-keyings to the worker when one of the keys is named there, and nobody makes
 * or forgets a contact under such a key: it may be another's already.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/flush/evaluate.h"
#include "utils/builtins.h"

static bool *named_in_log(const int32 *sources, char **keys, int n);
static void vacate(const MaRekey *rekey);
static int64 contact_before(int32 source_id, const char *key);
static bool must_wait(const MaEvaluation *evaluation, const MaWork *work);

/* Which of these keys a waiting re-keying names; two descents of an index for each. */
static bool *
named_in_log(const int32 *sources, char **keys, int n)
{
	static MaStatement look_up = {
		"SELECT u.n::pg_catalog.int4 "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
		"WITH ORDINALITY AS u (source_id, key, n) CROSS JOIN LATERAL ("
		"SELECT FROM marketing_internal.dirty AS r WHERE r.previous_id IS NOT NULL "
		"AND r.source_id OPERATOR(pg_catalog.=) u.source_id "
		"AND r.external_id OPERATOR(pg_catalog.=) u.key "
		"UNION ALL SELECT FROM marketing_internal.dirty AS r WHERE r.previous_id IS NOT NULL "
		"AND r.source_id OPERATOR(pg_catalog.=) u.source_id "
		"AND r.previous_id OPERATOR(pg_catalog.=) u.key LIMIT 1) AS w",
		2, {INT4ARRAYOID, TEXTARRAYOID}
	};
	bool	   *named = palloc0_array(bool, Max(n, 1));
	Datum		values[2];
	MaRows		rows;
	int			nest_level;

	values[0] = ma_int4_array(sources, n);
	values[1] = ma_text_array(keys, n);
	nest_level = ma_pin_index_scans();
	rows = ma_run(&look_up, values, NULL, MA_RUN_READ_LATEST);
	ma_unpin_settings(nest_level);
	for (uint64 i = 0; i < rows.n; i++)
		named[ma_int32(&rows, i, 1) - 1] = true;
	return named;
}

bool
ma_rekeys_wait(const List *rekeys)
{
	int			n = list_length(rekeys);
	int32	   *sources = palloc_array(int32, Max(2 * n, 1));
	char	  **keys = palloc_array(char *, Max(2 * n, 1));
	bool	   *named;

	for (int i = 0; i < n; i++)
	{
		MaRekey    *rekey = list_nth(rekeys, i);

		sources[2 * i] = sources[2 * i + 1] = rekey->source_id;
		keys[2 * i] = rekey->old_key;
		keys[2 * i + 1] = rekey->new_key;
	}
	named = named_in_log(sources, keys, 2 * n);
	for (int i = 0; i < 2 * n; i++)
		if (named[i])
			return true;
	return false;
}

/*
 * A commit looks only where it would make, link or forget a contact, or tell of
 * a row: whoever is evaluated under a key that is to be renamed is in the log
 * and evaluated again.  The worker takes such marks out of the log, so it leaves
 * them all until the key is renamed.
 */
static bool
must_wait(const MaEvaluation *evaluation, const MaWork *work)
{
	if (work->left || work->external_id == NULL)
		return false;
	return evaluation->worker || evaluation->images != NIL || work->action == MA_ACTION_CREATE ||
		work->action == MA_ACTION_LINK || work->action == MA_ACTION_DELETE;
}

void
ma_leave_renamed(MaEvaluation *evaluation)
{
	int32	   *sources = palloc_array(int32, Max(evaluation->nworks, 1));
	char	  **keys = palloc_array(char *, Max(evaluation->nworks, 1));
	MaWork	  **works = palloc_array(MaWork *, Max(evaluation->nworks, 1));
	bool	   *named;
	int			n = 0;

	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];

		if (!must_wait(evaluation, work))
			continue;
		sources[n] = work->source_id;
		keys[n] = work->external_id;
		works[n++] = work;
	}
	if (n == 0)
		return;
	named = named_in_log(sources, keys, n);
	for (int i = 0; i < n; i++)
		if (named[i])
		{
			evaluation->left_lock++;
			works[i]->left = true;
		}
}

void
ma_rekey_apply(const MaRekey *rekey)
{
	MaSourceRow row;

	if (ma_contact_by_key(rekey->source_id, rekey->old_key) == 0)
		return;
	vacate(rekey);
	(void) ma_key_rename(rekey->source_id, rekey->old_key, rekey->new_key);
	if (!ma_rekey_is_aside(rekey->new_key))
		return;
	/* No row has such a key: it must not be read by; its row's mark takes it in again. */
	ma_source_row_init(&row, rekey->new_key);
	row.excluded = true;
	ma_keys_exclude(rekey->source_id, &row, 1);
}

/* Takes the new key from the contact of a row that was deleted to make room. */
static void
vacate(const MaRekey *rekey)
{
	int64		contact_id = ma_contact_by_key(rekey->source_id, rekey->new_key);
	MaSourceRow row;

	if (contact_id == 0)
		return;
	ma_source_row_init(&row, rekey->new_key);
	ma_keys_delete(rekey->source_id, &row, 1);
	ma_contacts_leave(&contact_id, 1);
}

int64
ma_contact_of_key(int32 source_id, const char *key)
{
	MaChanges  *changes = ma_changes_current();
	ListCell   *cell;
	int64		contact_id;

	foreach(cell, changes ? ma_rekeys_compose(changes->rekeys) : NIL)
	{
		MaRekey    *rekey = lfirst(cell);

		if (rekey->source_id == source_id && strcmp(rekey->new_key, key) == 0)
		{
			key = rekey->old_key;
			break;
		}
	}
	contact_id = ma_contact_by_key(source_id, key);
	return contact_id != 0 ? contact_id : contact_before(source_id, key);
}

/* The contact whose key becomes this one by what waits in the log, or 0. */
static int64
contact_before(int32 source_id, const char *key)
{
	static MaStatement look_up = {
		"SELECT r.previous_id, r.dirty_id, r.step FROM marketing_internal.dirty AS r "
		"WHERE r.previous_id IS NOT NULL AND r.source_id OPERATOR(pg_catalog.=) $1 "
		"AND r.external_id OPERATOR(pg_catalog.=) $2 "
		"AND ROW(r.dirty_id, r.step) OPERATOR(pg_catalog.<) ROW($3, $4) "
		/* who got the key and gave it away again has it no more */
		"AND NOT EXISTS (SELECT FROM marketing_internal.dirty AS o WHERE o.previous_id IS NOT NULL "
		"AND o.source_id OPERATOR(pg_catalog.=) $1 AND o.previous_id OPERATOR(pg_catalog.=) $2 "
		"AND ROW(o.dirty_id, o.step) OPERATOR(pg_catalog.>) ROW(r.dirty_id, r.step) "
		"AND ROW(o.dirty_id, o.step) OPERATOR(pg_catalog.<) ROW($3, $4)) "
		"ORDER BY r.dirty_id DESC, r.step DESC LIMIT 1",
		4, {INT4OID, TEXTOID, INT8OID, INT4OID}
	};
	Datum		values[4];
	int64		number = PG_INT64_MAX;
	int32		step = PG_INT32_MAX;
	bool		found = false;

	for (;;)
	{
		MaRows		rows;

		values[0] = Int32GetDatum(source_id);
		values[1] = CStringGetTextDatum(key);
		values[2] = Int64GetDatum(number);
		values[3] = Int32GetDatum(step);
		rows = ma_run(&look_up, values, NULL, MA_RUN_READ_LATEST);
		if (rows.n == 0)
			return found ? ma_contact_by_key(source_id, key) : 0;
		key = ma_text(&rows, 0, 1);
		number = ma_int64(&rows, 0, 2);
		step = ma_int32(&rows, 0, 3);
		found = true;
	}
}
