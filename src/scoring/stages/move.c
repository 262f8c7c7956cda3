/*
 * move.c
 *		Contacts come from stage to stage: by rules, by hand, by journeys; and the rows of
 *		event stage_changed.
 *
 * A stage is left for a later one only, unless somebody says so: a rule or a journey
 * that comes late takes nobody back.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "scoring/define.h"
#include "scoring/stages/stages.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"

static int	move_locked(MaStage *to, const int64 *contact_ids, int n, const char *origin,
						bool backwards);
static MaStage **stages_of(const int64 *contact_ids, int n);
static void push_text(JsonbParseState **parse, const char *key, const char *value);
static void merged(int64 contact_id, int64 merged_id);
static void split(int64 contact_id, int64 split_id);
static bool remove_turn(int64 contact_id, int64 change_id, const char *stage);
static void take_back(int64 contact_id, const char *to, const char *name);

MA_FUNCTION(ma_set_stage);
MA_FUNCTION(ma_stage_history);

static const MaBuiltinRows rows[] = {
	{"stage_changed", "stage_change",
		"SELECT h.contact_id, h.at AS occurred_at, pg_catalog.jsonb_build_object("
			"'from', h.from_stage, 'to', h.to_stage) AS properties "
	"FROM marketing_internal.stage_change AS h"}
};

static const MaContactListener listener = {merged, split};

void
ma_stage_move_init(void)
{
	ma_register_builtin_rows(rows, lengthof(rows));
	ma_register_contact_listener(&listener);
}

/* ---- writing ---- */

int
ma_stage_moves_write(MaStageMove *moves, int n)
{
	static MaStatement note = {
		"INSERT INTO marketing_internal.stage_change "
		"(contact_id, at, from_stage, to_stage, origin, merged_id) "
		"VALUES ($1, $2, $3, $4, $5, $6) RETURNING change_id",
		6, {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, INT8OID}
	};
	/* Who drops the stage waits for us, or we for him, and nobody comes to what is gone. */
	static MaStatement set = {
		"INSERT INTO marketing_internal.contact_stage AS c (contact_id, stage_id, since) "
		"SELECT $1, s.stage_id, $3 FROM marketing_internal.stage AS s "
		"WHERE s.stage_id OPERATOR(pg_catalog.=) $2 FOR KEY SHARE ON CONFLICT (contact_id) DO UPDATE "
		"SET stage_id = EXCLUDED.stage_id, since = EXCLUDED.since RETURNING c.contact_id",
		3, {INT8OID, INT4OID, TIMESTAMPTZOID}
	};
	int			done = 0;

	for (int i = 0; i < n; i++)
	{
		Datum		values[6];
		char		nulls[] = "      ";
		MaRows		rows;

		values[0] = Int64GetDatum(moves[i].contact_id);
		values[1] = Int32GetDatum(moves[i].to->id);
		values[2] = TimestampTzGetDatum(moves[i].at);
		if (ma_run(&set, values, NULL, MA_RUN_WRITE_LATEST).n == 0)
			continue;
		values[0] = Int64GetDatum(moves[i].contact_id);
		values[1] = TimestampTzGetDatum(moves[i].at);
		values[2] = moves[i].from ? CStringGetTextDatum(moves[i].from->name) : (Datum) 0;
		nulls[2] = moves[i].from ? ' ' : 'n';
		values[3] = CStringGetTextDatum(moves[i].to->name);
		values[4] = CStringGetTextDatum(moves[i].origin);
		values[5] = Int64GetDatum(moves[i].merged_id);
		nulls[5] = moves[i].merged_id != 0 ? ' ' : 'n';
		rows = ma_run(&note, values, nulls, MA_RUN_WRITE_LATEST);
		moves[i].change_id = ma_int64(&rows, 0, 1);
		moves[done++] = moves[i];
	}
	return done;
}

static void
push_text(JsonbParseState **parse, const char *key, const char *value)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = unconstify(char *, key);
	item.val.string.len = (int) strlen(key);
	pushJsonbValue(parse, WJB_KEY, &item);
	item.type = value ? jbvString : jbvNull;
	item.val.string.val = unconstify(char *, value);
	item.val.string.len = value ? (int) strlen(value) : 0;
	pushJsonbValue(parse, WJB_VALUE, &item);
}

Datum
ma_stage_properties(const MaStageMove *move)
{
	JsonbParseState *parse = NULL;

	pushJsonbValue(&parse, WJB_BEGIN_OBJECT, NULL);
	push_text(&parse, "from", move->from ? move->from->name : NULL);
	push_text(&parse, "to", move->to->name);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&parse, WJB_END_OBJECT, NULL)));
}

/* ---- by hand and by journeys ---- */

/* The stage of each contact, NULL: none. */
static MaStage **
stages_of(const int64 *contact_ids, int n)
{
	static MaStatement read = {
		"SELECT u.n::pg_catalog.int4, c.stage_id FROM pg_catalog.unnest($1) WITH ORDINALITY "
		"AS u (contact_id, n) JOIN marketing_internal.contact_stage AS c "
		"ON c.contact_id OPERATOR(pg_catalog.=) u.contact_id WHERE c.stage_id IS NOT NULL",
		1, {INT8ARRAYOID}
	};
	MaStage   **stages = palloc0_array(MaStage *, Max(n, 1));
	Datum		value = ma_int8_array(contact_ids, n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);

	/* Who had them before us may have brought them to a stage that is news to us. */
	AcceptInvalidationMessages();
	for (uint64 i = 0; i < rows.n; i++)
		stages[ma_int32(&rows, i, 1) - 1] = ma_stage_by_id(ma_int32(&rows, i, 2));
	return stages;
}

/* Who is not there yet; how many were moved. */
static int
move_locked(MaStage *to, const int64 *contact_ids, int n, const char *origin, bool backwards)
{
	MaStage   **from = stages_of(contact_ids, n);
	MaStageMove *moves = palloc0_array(MaStageMove, Max(n, 1));
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (from[i] == NULL || from[i]->place < to->place || (backwards && from[i] != to))
			moves[count++] = (MaStageMove) {contact_ids[i], from[i], to, ma_now(), origin};
	count = ma_stage_moves_write(moves, count);
	for (int i = 0; i < count; i++)
	{
		ma_mark_contact(moves[i].contact_id);
		ma_raise_event("stage_changed", moves[i].contact_id, moves[i].change_id, moves[i].at,
					   ma_stage_properties(&moves[i]));
	}
	return count;
}

const char *
ma_stage_of(int64 contact_id)
{
	MaStage    *stage = stages_of(&contact_id, 1)[0];

	return stage ? stage->name : NULL;
}

bool
ma_stage_is_ahead(const char *name, const char *from)
{
	return from == NULL || ma_stage_get(from)->place < ma_stage_get(name)->place;
}

int
ma_stage_move(const char *name, const int64 *contact_ids, int n, const char *origin)
{
	return move_locked(ma_stage_get(name), contact_ids, n, origin, false);
}

/* marketing.set_stage(contact, stage, backwards) */
Datum
ma_set_stage(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = ma_score_name(fcinfo, 1, "stage");
	bool		backwards = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	MaStage    *to;
	MaStage    *from;
	int64		contact_id;
	MaCall		call;
	char	   *answer;

	(void) ma_extension_required();
	ma_call_begin(&call);
	to = ma_stage_get(name);
	contact_id = ma_contact_argument_locked(fcinfo, false);
	from = *stages_of(&contact_id, 1);
	if (from != NULL && from->place > to->place && !backwards)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("contact %s is further on, in stage \"%s\"", ma_contact_text(contact_id),
						from->name),
				 errhint("Add backwards => true to move the contact back.")));
	if (move_locked(to, &contact_id, 1, "set_stage", backwards) == 0 && from != to)
	{
		/* Dropped while we waited: who drops it has committed. */
		AcceptInvalidationMessages();
		to = ma_stage_get(name);
	}
	answer = psprintf("%s: %s%s", ma_contact_text(contact_id), to->name,
					  from == to ? " (unchanged)" : from ? psprintf(", from %s", from->name) : "");
	answer = MemoryContextStrdup(context, answer);
	ma_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

/* ---- two contacts that are one ---- */

/* The one further on counts. */
static void
merged(int64 contact_id, int64 merged_id)
{
	int64		ids[2] = {contact_id, merged_id};
	MaStage   **stages = stages_of(ids, 2);
	MaStageMove move = {contact_id, stages[0], stages[1], ma_now(), "merge", merged_id};

	if (stages[1] != NULL && (stages[0] == NULL || stages[0]->place < stages[1]->place))
		(void) ma_stage_moves_write(&move, 1);
}

/*
 * He keeps what he had himself; what the contact who stays had from him is taken back: the
 * change is gone, and the one after it begins where it began, or is none any more if it
 * led back there.
 */
static void
split(int64 contact_id, int64 split_id)
{
	static MaStatement remove = {
		"WITH gone AS (DELETE FROM marketing_internal.stage_change AS h "
		"WHERE h.contact_id OPERATOR(pg_catalog.=) $1 AND h.merged_id OPERATOR(pg_catalog.=) $2 "
		"RETURNING h.change_id, h.from_stage, h.to_stage) "
		"SELECT g.from_stage, g.to_stage, (SELECT n.change_id FROM marketing_internal.stage_change AS n "
		"WHERE n.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND n.change_id OPERATOR(pg_catalog.>) g.change_id ORDER BY n.change_id LIMIT 1) "
		"FROM gone AS g ORDER BY g.change_id DESC",
		2, {INT8OID, INT8OID}
	};
	static MaStatement join = {
		"UPDATE marketing_internal.stage_change AS h SET from_stage = $3 "
		"WHERE h.contact_id OPERATOR(pg_catalog.=) $1 AND h.change_id OPERATOR(pg_catalog.=) $2",
		3, {INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[3];
	MaRows		rows;

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(split_id);
	rows = ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST);
	for (uint64 i = 0; i < rows.n; i++)
	{
		char	   *from = ma_text(&rows, i, 1);
		int64		after = ma_int64(&rows, i, 3);

		if (after == 0)
		{
			take_back(contact_id, ma_text(&rows, i, 2), from);
			continue;
		}
		if (from != NULL && remove_turn(contact_id, after, from))
		{
			take_back(contact_id, from, from);
			continue;
		}
		values[1] = Int64GetDatum(after);
		values[2] = from ? CStringGetTextDatum(from) : (Datum) 0;
		ma_run(&join, values, from ? NULL : "  n", MA_RUN_WRITE_LATEST);
	}
}

/* The change, if it is one to this stage; the one after it begins there already. */
static bool
remove_turn(int64 contact_id, int64 change_id, const char *stage)
{
	static MaStatement remove = {
		"DELETE FROM marketing_internal.stage_change AS h "
		"WHERE h.contact_id OPERATOR(pg_catalog.=) $1 AND h.change_id OPERATOR(pg_catalog.=) $2 "
		"AND h.to_stage OPERATOR(pg_catalog.=) $3",
		3, {INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = Int64GetDatum(change_id);
	values[2] = CStringGetTextDatum(stage);
	return ma_run(&remove, values, NULL, MA_RUN_WRITE_LATEST).n > 0;
}

/* From the stage he is in, unless it is another one by now, to this one (NULL: none). */
static void
take_back(int64 contact_id, const char *to, const char *name)
{
	static MaStatement set = {
		"UPDATE marketing_internal.contact_stage AS c SET stage_id = $3, since = "
		"(SELECT h.at FROM marketing_internal.stage_change AS h "
		"WHERE h.contact_id OPERATOR(pg_catalog.=) $1 ORDER BY h.change_id DESC LIMIT 1) "
		"FROM marketing_internal.stage AS s WHERE c.contact_id OPERATOR(pg_catalog.=) $1 "
		"AND s.stage_id OPERATOR(pg_catalog.=) c.stage_id AND s.name OPERATOR(pg_catalog.=) $2",
		3, {INT8OID, TEXTOID, INT4OID}
	};
	MaStage    *stage = name ? ma_stage_by_name(name) : NULL;
	Datum		values[3];

	values[0] = Int64GetDatum(contact_id);
	values[1] = CStringGetTextDatum(to);
	values[2] = Int32GetDatum(stage ? stage->id : 0);
	ma_run(&set, values, stage ? NULL : "  n", MA_RUN_WRITE_LATEST);
}

/* ---- history ---- */

/* marketing.stage_history(contact) */
Datum
ma_stage_history(PG_FUNCTION_ARGS)
{
	static MaStatement read = {
		"SELECT h.to_stage, h.at, h.until, COALESCE(h.until, $2) OPERATOR(pg_catalog.-) h.at, h.origin "
		"FROM (SELECT h.change_id, h.to_stage, h.at, h.origin, "
		"pg_catalog.lead(h.at) OVER (ORDER BY h.change_id) AS until "
		"FROM marketing_internal.stage_change AS h "
		"WHERE h.contact_id OPERATOR(pg_catalog.=) $1) AS h ORDER BY h.change_id DESC",
		2, {INT8OID, TIMESTAMPTZOID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		arguments[2];
	MaCall		call;
	MaRows		found;

	(void) ma_extension_required();
	InitMaterializedSRF(fcinfo, 0);
	ma_call_begin(&call);
	arguments[0] = Int64GetDatum(ma_contact_argument(fcinfo, false));
	arguments[1] = TimestampTzGetDatum(ma_now());
	found = ma_run(&read, arguments, NULL, MA_RUN_READ);
	for (uint64 i = 0; i < found.n; i++)
	{
		Datum		values[5];
		bool		nulls[5];

		for (int j = 0; j < 5; j++)
			values[j] = ma_value(&found, i, j + 1, &nulls[j]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ma_call_end(&call);
	return (Datum) 0;
}
