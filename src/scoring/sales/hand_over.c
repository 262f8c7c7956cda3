/*
 * hand_over.c
 *		The worker's turns that give leads an owner.
 *
 * It is the worker who does so, not the commit that brought the score there: a round
 * robin is one row that all would wait for.  The commit leaves a note, which the worker
 * goes by; it looks at all leads now and then only.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/sales/sales.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "worker/worker.h"

#define LOOK_EVERY_MS 60000
#define BATCH 50
#define ASSIGN_MS 5000			/* for one lead */

/* A lead that nobody has. */
typedef struct Lead
{
	int64		contact_id;
	char	   *assign;
	char	   *role;
	char	   *model;
	char	   *threshold;		/* from which on it is handed over */
} Lead;

static bool waiting_tick(void);
static bool waiting_turn(void);
static bool look_tick(void);
static bool look_turn(void);
static bool hand_over(Lead *lead);
static void assign_lead(void *arg);
static bool is_spent(const Lead *lead);
static char *assign_by(const char *assign, const char *role, int64 contact_id);

void
ma_hand_over_init(void)
{
	static const MaDuty waiting = {.name = "hand-off of leads", .tick = waiting_tick};
	static const MaDuty look = {
		.name = "leads without owner", .every_ms = LOOK_EVERY_MS, .tick = look_tick
	};

	ma_worker_register_duty(&waiting);
	ma_worker_register_duty(&look);
}

/* Hand-offs, models and scores: of leads that are over their threshold and have no owner. */
#define LEADS_SQL \
	"FROM marketing_internal.hand_off AS h " \
	"JOIN marketing_internal.score_model AS m ON m.model_id OPERATOR(pg_catalog.=) h.model_id " \
	"JOIN marketing_internal.score AS s ON s.model_id OPERATOR(pg_catalog.=) h.model_id " \
	"AND s.reached OPERATOR(pg_catalog.<>) '{}'::pg_catalog.text[] " \
	"WHERE h.assign IS NOT NULL " \
	"AND COALESCE(h.threshold OPERATOR(pg_catalog.=) ANY (s.reached), true) " \
	"AND NOT EXISTS (SELECT FROM marketing_internal.contact_owner AS c " \
	"WHERE c.contact_id OPERATOR(pg_catalog.=) s.contact_id) "
#define LEAD_COLUMNS \
	"s.contact_id, h.assign, h.defined_by, m.name, " \
	"COALESCE(h.threshold, s.reached[pg_catalog.array_upper(s.reached, 1)])"

void
ma_hand_off_reached(int32 model_id, const int64 *contact_ids, int n)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.lead_waiting (contact_id, model_id) "
		"SELECT u.contact_id, $2 FROM pg_catalog.unnest($1) AS u (contact_id) ORDER BY 1",
		2, {INT8ARRAYOID, INT4OID}
	};
	Datum		values[2];

	values[0] = ma_int8_array(contact_ids, n);
	values[1] = Int32GetDatum(model_id);
	ma_run(&add, values, NULL, MA_RUN_WRITE_LATEST);
	ma_worker_wake_at_commit();
}

void
ma_hand_off_reach_all(int32 model_id)
{
	static MaStatement add = {
		"INSERT INTO marketing_internal.lead_waiting (contact_id, model_id) "
		"SELECT s.contact_id, s.model_id " LEADS_SQL
		"AND h.model_id OPERATOR(pg_catalog.=) $1 ORDER BY s.reached_at[1], s.contact_id",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(model_id);

	ma_run(&add, &value, NULL, MA_RUN_WRITE_LATEST);
	ma_worker_wake_at_commit();
}

static bool
waiting_tick(void)
{
	return ma_drain_turn(waiting_turn);
}

/*
 * Who has come over a threshold, a batch in each turn, each batch behind the one before:
 * one who is busy keeps nobody waiting.
 */
static bool
waiting_turn(void)
{
	static MaStatement read = {
		"SELECT w.waiting_id, w.contact_id, l.assign, l.defined_by, l.name, l.threshold "
		"FROM marketing_internal.lead_waiting AS w LEFT JOIN LATERAL (SELECT " LEAD_COLUMNS " "
		LEADS_SQL "AND s.contact_id OPERATOR(pg_catalog.=) w.contact_id "
		"AND s.model_id OPERATOR(pg_catalog.=) w.model_id) "
		"AS l (contact_id, assign, defined_by, name, threshold) ON true "
		"WHERE w.waiting_id OPERATOR(pg_catalog.>) $1 ORDER BY w.waiting_id "
		"LIMIT " CppAsString2(BATCH),
		1, {INT8OID}
	};
	static MaStatement done = {
		"DELETE FROM marketing_internal.lead_waiting AS w USING ROWS FROM "
		"(pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (contact_id, waiting_id) "
		"WHERE w.contact_id OPERATOR(pg_catalog.=) u.contact_id "
		"AND w.waiting_id OPERATOR(pg_catalog.=) u.waiting_id",
		2, {INT8ARRAYOID, INT8ARRAYOID}
	};
	static int64 last = 0;
	int64		contacts[BATCH];
	int64		numbers[BATCH];
	Datum		values[2] = {Int64GetDatum(last)};
	MaRows		rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	int			n = 0;

	for (uint64 i = 0; i < rows.n; i++)
	{
		Lead		lead = {ma_int64(&rows, i, 2), ma_text(&rows, i, 3), ma_text(&rows, i, 4),
		ma_text(&rows, i, 5), ma_text(&rows, i, 6)};

		last = ma_int64(&rows, i, 1);
		if (lead.assign != NULL && !hand_over(&lead))
			continue;
		contacts[n] = lead.contact_id;
		numbers[n++] = last;
	}
	if (n > 0)
	{
		values[0] = ma_int8_array(contacts, n);
		values[1] = ma_int8_array(numbers, n);
		ma_run(&done, values, NULL, MA_RUN_WRITE_LATEST);
	}
	if (rows.n == BATCH)
		return true;
	last = 0;
	return false;
}

static bool
look_tick(void)
{
	return ma_drain_turn(look_turn);
}

/*
 * All leads without an owner, now and then: to whom nobody could be given before, and who
 * were rejected and have come back.  Batches as above.
 */
static bool
look_turn(void)
{
	static MaStatement read = {
		"SELECT " LEAD_COLUMNS ", s.reached_at[1], s.model_id " LEADS_SQL
		"AND ROW (s.reached_at[1], s.contact_id, s.model_id) OPERATOR(pg_catalog.>) ROW ($1, $2, $3) "
		"ORDER BY s.reached_at[1], s.contact_id, s.model_id LIMIT " CppAsString2(BATCH),
		3, {TIMESTAMPTZOID, INT8OID, INT4OID}
	};
	static TimestampTz last_at = DT_NOBEGIN;
	static int64 last_contact = 0;
	static int32 last_model = 0;
	Datum		values[3];
	MaRows		rows;

	values[0] = TimestampTzGetDatum(last_at);
	values[1] = Int64GetDatum(last_contact);
	values[2] = Int32GetDatum(last_model);
	rows = ma_run(&read, values, NULL, MA_RUN_READ_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		Lead		lead = {ma_int64(&rows, i, 1), ma_text(&rows, i, 2), ma_text(&rows, i, 3),
		ma_text(&rows, i, 4), ma_text(&rows, i, 5)};

		last_at = ma_int64(&rows, i, 6);
		last_contact = lead.contact_id;
		last_model = ma_int32(&rows, i, 7);
		(void) hand_over(&lead);
	}
	if (rows.n == BATCH)
		return true;
	last_at = DT_NOBEGIN;
	last_contact = last_model = 0;
	return false;
}

/* False if he is busy; one that fails is counted, and stops no other. */
static bool
hand_over(Lead *lead)
{
	ErrorData  *error;

	if (!ma_contact_lock_if_free(lead->contact_id))
		return false;
	error = ma_drain_protect(assign_lead, lead, ASSIGN_MS);
	if (error != NULL)
		ma_count_error(error->sqlerrcode, error->message);
	return true;
}

/* Somebody may have given him an owner before his lock was ours. */
static void
assign_lead(void *arg)
{
	const Lead *lead = arg;
	char	   *assign = lead->assign;
	int32		owner;

	if (ma_owner_of(lead->contact_id) != 0 || is_spent(lead))
		return;
	if (strncmp(assign, MA_ASSIGN_FUNCTION, strlen(MA_ASSIGN_FUNCTION)) == 0)
		assign = assign_by(assign + strlen(MA_ASSIGN_FUNCTION), lead->role, lead->contact_id);
	if (assign != NULL)
		ma_owners_assign(assign, &lead->contact_id, 1, &owner);
}

/* Who is rejected stays as he is, until he comes there by what happened since. */
static bool
is_spent(const Lead *lead)
{
	MaScoreModel *model = ma_score_model_required(lead->model);

	for (int i = 0; i < model->nthresholds; i++)
		if (strcmp(model->thresholds[i].name, lead->threshold) == 0)
			return ma_lead_is_spent(model, &model->thresholds[i], lead->contact_id, ma_now());
	return true;
}

/* Whom the shop's function names, run as the role that defined the hand-off; NULL: nobody. */
static char *
assign_by(const char *function, const char *role, int64 contact_id)
{
	Oid			caller = get_role_oid(role, false);
	Oid			types[1] = {TEXTOID};
	char	   *contact = ma_contact_text(contact_id);
	Datum		value;
	MaIdentity	saved;
	MaRows		rows;
	char	   *owner;
	char	   *sql;

	if (contact == NULL)
		return NULL;
	value = CStringGetTextDatum(contact);
	ma_become_restricted(&saved, caller);
	sql = psprintf("SELECT %s($1)", ma_assign_function(function, caller));
	rows = ma_run_once(sql, 1, types, &value, NULL, MA_RUN_READ_LATEST);
	owner = ma_text(&rows, 0, 1);
	ma_become_back(&saved);
	return owner;
}
