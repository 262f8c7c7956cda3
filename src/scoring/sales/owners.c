/*
 * owners.c
 *		Who works on leads: define_owner(), drop_owner(), assign_owner(), and whose turn
 *		it is.
 *
 * A round robin goes by numbers of turns: whoever has the lowest of his team is next, and
 * gets one above all others.  The rows of the team are locked before it is read whose turn
 * it is, so that two at a time get two owners.  Whoever gives somebody a contact or a task
 * keeps his row from being dropped, and holds up nothing else.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "scoring/sales/sales.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

static bool same(const char *a, const char *b);
static void check_leaves(const char *name);
static bool team_exists(const char *team, List **teams);
static bool set_owner(int64 contact_id, int32 owner_id);
static int32 next_of_team(const char *team);
static bool is_of_team(int32 owner_id, const char *team);
static void merged(int64 contact_id, int64 merged_id);
static void split(int64 contact_id, int64 split_id);

MA_FUNCTION(ma_define_owner);
MA_FUNCTION(ma_drop_owner);
MA_FUNCTION(ma_assign_owner);

void
ma_sales_init(void)
{
	static const MaContactListener listener = {merged, split};

	ma_register_contact_listener(&listener);
	ma_leads_init();
	ma_tasks_init();
	ma_hand_off_init();
	ma_hand_over_init();
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* ---- definitions ---- */

/* marketing.define_owner(name, email, team) */
Datum
ma_define_owner(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT o.email, o.team FROM marketing_internal.owner AS o "
		"WHERE o.name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	static MaStatement upsert = {
		"INSERT INTO marketing_internal.owner (name, email, team) VALUES ($1, $2, $3) "
		"ON CONFLICT (name) DO UPDATE SET email = EXCLUDED.email, team = EXCLUDED.team",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_score_name(fcinfo, 0, "owner");
	char	   *email = ma_score_text(fcinfo, 1);
	char	   *team = ma_score_text(fcinfo, 2);
	char	   *address = email ? ma_normalise_email(email) : NULL;
	const char *what = "created";
	Datum		values[3];
	char		nulls[] = "   ";
	MaCall		call;
	MaRows		rows;

	(void) ma_extension_required();
	if (email != NULL && address == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no e-mail address", email)));
	if (strcmp(name, "owner") == 0 || strncmp(name, MA_ROUND_ROBIN, strlen(MA_ROUND_ROBIN)) == 0 ||
		strncmp(name, MA_ASSIGN_FUNCTION, strlen(MA_ASSIGN_FUNCTION)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of an owner", name),
				 errdetail("Where owners are assigned it means something else.")));
	if (team != NULL)
		ma_name_check(team, "team");
	ma_call_begin(&call);
	/* Against whoever defines what goes through a team. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	values[0] = CStringGetTextDatum(name);
	rows = ma_run(&read, values, NULL, MA_RUN_WRITE_LATEST);
	if (rows.n > 0)
	{
		bool		mail = !same(ma_text(&rows, 0, 1), address);
		bool		other = !same(ma_text(&rows, 0, 2), team);

		if (other)
			check_leaves(name);
		what = mail && other ? "replaced (email, team)" : mail ? "replaced (email)" :
			other ? "replaced (team)" : "unchanged";
	}
	values[1] = address ? CStringGetTextDatum(address) : (Datum) 0;
	values[2] = team ? CStringGetTextDatum(team) : (Datum) 0;
	nulls[1] = address ? ' ' : 'n';
	nulls[2] = team ? ' ' : 'n';
	if (strcmp(what, "unchanged") != 0)
		ma_run(&upsert, values, nulls, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	MemoryContextSwitchTo(context);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: %s", name, what)));
}

/* Errors out if nobody else is of his team, and something goes through it. */
static void
check_leaves(const char *name)
{
	static MaStatement read = {
		"SELECT o.team FROM marketing_internal.owner AS o WHERE o.name OPERATOR(pg_catalog.=) $1 "
		"AND NOT EXISTS (SELECT FROM marketing_internal.owner AS a "
		"WHERE a.team OPERATOR(pg_catalog.=) o.team AND a.name OPERATOR(pg_catalog.<>) o.name)",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	char	   *team = rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;

	if (team != NULL)
		ma_require_unused("team", team);
}

/* marketing.drop_owner(name) */
Datum
ma_drop_owner(PG_FUNCTION_ARGS)
{
	/* First of all the row that who gives him contacts has locked. */
	static MaStatement removes[] = {
		{"SELECT FROM marketing_internal.owner WHERE owner_id OPERATOR(pg_catalog.=) $1 FOR UPDATE",
		1, {INT4OID}},
		{"UPDATE marketing_internal.task SET owner_id = NULL "
		"WHERE owner_id OPERATOR(pg_catalog.=) $1 AND done_at IS NULL", 1, {INT4OID}},
		{"DELETE FROM marketing_internal.contact_owner WHERE owner_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}},
		{"DELETE FROM marketing_internal.owner WHERE owner_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}}
	};
	char	   *name = ma_score_name(fcinfo, 0, "owner");
	Datum		value;
	MaCall		call;

	(void) ma_extension_required();
	ma_call_begin(&call);
	/* Against whoever defines what gives somebody leads or tasks by name. */
	LockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);
	value = Int32GetDatum(ma_owner_required(name));
	ma_require_unused("owner", name);
	check_leaves(name);
	for (int i = 0; i < lengthof(removes); i++)
		ma_run(&removes[i], &value, NULL, MA_RUN_WRITE_LATEST);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: dropped", name)));
}

int32
ma_owner_required(const char *name)
{
	static MaStatement read = {
		"SELECT o.name, o.owner_id FROM marketing_internal.owner AS o ORDER BY 1"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	List	   *names = NIL;
	char	   *nearest;

	for (uint64 i = 0; i < rows.n; i++)
	{
		names = lappend(names, ma_text(&rows, i, 1));
		if (strcmp(llast(names), name) == 0)
			return ma_int32(&rows, i, 2);
	}
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_OWNER),
			 errmsg("there is no owner \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Make one with marketing.define_owner().")));
}

char *
ma_owner_name(int32 owner_id)
{
	static MaStatement read = {
		"SELECT o.name FROM marketing_internal.owner AS o WHERE o.owner_id OPERATOR(pg_catalog.=) $1",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(owner_id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

/* ---- whose a contact is ---- */

int32
ma_owner_of(int64 contact_id)
{
	static MaStatement read = {
		"SELECT c.owner_id FROM marketing_internal.contact_owner AS c "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	return rows.n > 0 ? ma_int32(&rows, 0, 1) : 0;
}

/* He is the contact's owner from now on; false if he was dropped meanwhile. */
static bool
set_owner(int64 contact_id, int32 owner_id)
{
	/* Who is just being dropped gets nobody: who drops him waits for us, or we for him. */
	static MaStatement set = {
		"INSERT INTO marketing_internal.contact_owner AS c (contact_id, owner_id, since) "
		"SELECT $1, o.owner_id, $3 FROM marketing_internal.owner AS o "
		"WHERE o.owner_id OPERATOR(pg_catalog.=) $2 FOR KEY SHARE ON CONFLICT (contact_id) DO UPDATE "
		"SET owner_id = EXCLUDED.owner_id, since = CASE WHEN c.owner_id OPERATOR(pg_catalog.<>) "
		"EXCLUDED.owner_id THEN EXCLUDED.since ELSE c.since END RETURNING 1",
		3, {INT8OID, INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int32GetDatum(owner_id);
	values[2] = TimestampTzGetDatum(ma_now());
	return ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
}

int32
ma_owner_give(int64 contact_id, const char *name)
{
	int32		owner;

	/* One of the same name may have been defined when he is gone. */
	do
		owner = ma_owner_required(name);
	while (!set_owner(contact_id, owner));
	return owner;
}

char *
ma_owner_email(int64 contact_id)
{
	static MaStatement read = {
		"SELECT o.email FROM marketing_internal.contact_owner AS c "
		"JOIN marketing_internal.owner AS o ON o.owner_id OPERATOR(pg_catalog.=) c.owner_id "
		"WHERE c.contact_id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	};
	Datum		value = Int64GetDatum(contact_id);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	return rows.n > 0 ? ma_text(&rows, 0, 1) : NULL;
}

/* ---- assignment ---- */

static bool
team_exists(const char *team, List **teams)
{
	static MaStatement read = {
		"SELECT DISTINCT o.team FROM marketing_internal.owner AS o WHERE o.team IS NOT NULL ORDER BY 1"
	};
	MaRows		rows = ma_run(&read, NULL, NULL, MA_RUN_READ_LATEST);
	bool		found = false;

	for (uint64 i = 0; i < rows.n; i++)
	{
		*teams = lappend(*teams, ma_text(&rows, i, 1));
		found |= strcmp(llast(*teams), team) == 0;
	}
	return found;
}

void
ma_assignment_check(const char *assign)
{
	List	   *teams = NIL;
	const char *team = assign + strlen(MA_ROUND_ROBIN);
	char	   *nearest;

	if (strcmp(assign, "owner") == 0)
		return;
	if (strncmp(assign, MA_ROUND_ROBIN, strlen(MA_ROUND_ROBIN)) != 0)
	{
		(void) ma_owner_required(assign);
		return;
	}
	if (team_exists(team, &teams))
		return;
	nearest = ma_nearest(team, teams);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_OWNER),
			 errmsg("no owner is of team \"%s\"", team),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Make one with marketing.define_owner(..., team => '%s').", team)));
}

/* The next of the team, whose turn it was; 0: nobody is of the team. */
static int32
next_of_team(const char *team)
{
	static MaStatement lock = {
		"SELECT FROM marketing_internal.owner AS o WHERE o.team OPERATOR(pg_catalog.=) $1 "
		"ORDER BY o.owner_id FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	static MaStatement next = {
		"UPDATE marketing_internal.owner AS o SET turn = 1 OPERATOR(pg_catalog.+) "
		"(SELECT pg_catalog.max(a.turn) FROM marketing_internal.owner AS a) "
		"WHERE o.owner_id OPERATOR(pg_catalog.=) (SELECT n.owner_id FROM marketing_internal.owner AS n "
		"WHERE n.team OPERATOR(pg_catalog.=) $1 ORDER BY n.turn, n.name LIMIT 1) "
		"RETURNING o.owner_id",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(team);
	MaRows		rows;

	ma_run(&lock, &value, NULL, MA_RUN_WRITE_LATEST);
	rows = ma_run(&next, &value, NULL, MA_RUN_WRITE_LATEST);
	return rows.n > 0 ? ma_int32(&rows, 0, 1) : 0;
}

static bool
is_of_team(int32 owner_id, const char *team)
{
	static MaStatement read = {
		"SELECT FROM marketing_internal.owner AS o WHERE o.owner_id OPERATOR(pg_catalog.=) $1 "
		"AND o.team OPERATOR(pg_catalog.=) $2",
		2, {INT4OID, TEXTOID}
	};
	Datum		values[2];

	values[0] = Int32GetDatum(owner_id);
	values[1] = CStringGetTextDatum(team);
	return owner_id != 0 && ma_run(&read, values, NULL, MA_RUN_READ_LATEST).n > 0;
}

void
ma_owners_assign(const char *assign, const int64 *contact_ids, int n, int32 *owners)
{
	bool		robin = strncmp(assign, MA_ROUND_ROBIN, strlen(MA_ROUND_ROBIN)) == 0;
	const char *team = assign + (robin ? strlen(MA_ROUND_ROBIN) : 0);

	for (int i = 0; i < n; i++)
	{
		owners[i] = ma_owner_of(contact_ids[i]);
		if (strcmp(assign, "owner") == 0 || (robin && is_of_team(owners[i], team)))
			continue;
		owners[i] = robin ? next_of_team(team) : ma_owner_give(contact_ids[i], assign);
		/* His row is ours: he is there. */
		if (robin && owners[i] != 0)
			(void) set_owner(contact_ids[i], owners[i]);
	}
}

/* marketing.assign_owner(contact, assign) */
Datum
ma_assign_owner(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *assign = ma_score_text(fcinfo, 1);
	int64		contact_id;
	int32		owner;
	char	   *name;
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	if (assign == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("assign must not be null")));
	ma_call_begin(&call);
	ma_assignment_check(assign);
	contact_id = ma_contact_argument_locked(fcinfo, false);
	ma_owners_assign(assign, &contact_id, 1, &owner);
	name = ma_owner_name(owner);
	answer = psprintf("%s: %s", ma_contact_text(contact_id), name ? name : "nobody's");
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* Who had no owner has the other's, and tasks go along; answers stand as they were given. */
static void
merged(int64 contact_id, int64 merged_id)
{
	static MaStatement moves[] = {
		{"INSERT INTO marketing_internal.contact_owner (contact_id, owner_id, since) "
			"SELECT $1, c.owner_id, c.since FROM marketing_internal.contact_owner AS c "
			"WHERE c.contact_id OPERATOR(pg_catalog.=) $2 ON CONFLICT (contact_id) DO NOTHING",
		2, {INT8OID, INT8OID}},
		{"UPDATE marketing_internal.task SET contact_id = $1, merged_id = COALESCE(merged_id, $2) "
			"WHERE contact_id OPERATOR(pg_catalog.=) $2 AND done_at IS NULL",
		2, {INT8OID, INT8OID}}
	};
	Datum		values[2];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(merged_id);
	for (int i = 0; i < lengthof(moves); i++)
		ma_run(&moves[i], values, NULL, MA_RUN_WRITE_LATEST);
}

/* Tasks that came with him go back; one of somebody who was merged into him before stays his. */
static void
split(int64 contact_id, int64 split_id)
{
	static MaStatement back = {
		"UPDATE marketing_internal.task SET contact_id = $2, "
		"merged_id = NULLIF(merged_id, $2) WHERE contact_id OPERATOR(pg_catalog.=) $1 "
		"AND merged_id OPERATOR(pg_catalog.=) ANY ($3)",
		3, {INT8OID, INT8OID, INT8ARRAYOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(split_id);
	values[2] = ma_contact_with_merged(split_id);
	ma_run(&back, values, NULL, MA_RUN_WRITE_LATEST);
}
