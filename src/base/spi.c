/*
 * spi.c
 *		The only code that calls SPI.
 *
 * Statements of ours are static MaStatement structs whose plan is prepared at
 * first use and kept.  They are planned generically: the flush at commit runs
 * them thousands of times a second with one or a few keys, and a session's
 * plan_cache_mode must not change that (settings.c pins it).
 *
 * "Latest" means GetLatestSnapshot() taken after a CommandCounterIncrement():
 * in REPEATABLE READ the transaction's own snapshot would be too old to decide
 * by, and without the increment our last command is invisible.  Both are
 * silently wrong if forgotten, so they happen here, for every such statement.
 * While a parallel query runs, where a function of ours may be called in the leader,
 * both are refused; see latest_snapshot().
 *
 * Wrong SQL throws an error of its own.  A result of SPI that is no error thrown is a
 * mistake in our code: no SPI_connect() before, COPY or a transaction command as the
 * statement, parameters left out.  None of them depends on data or on what users write,
 * whose SQL comes to us only as a part of a SELECT; so they "cannot happen".
 *
 * Every SPI call leaves the context of its own procedure current; the running
 * functions put back the caller's, so that what is allocated between two
 * statements lives as long as the caller thinks.
 */
#include "base/base.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* Hands over rows to a taker; see ma_run_each(). */
typedef struct Handing
{
	DestReceiver receiver;		/* must be first */
	MemoryContext context;		/* of who takes them */
	MaRowTaker	taker;
	void	   *arg;
} Handing;

static SPIPlanPtr prepare(const char *sql, int nargs, Oid *argtypes);
static SPIPlanPtr kept_plan(MaStatement *statement);
static ParamListInfo make_params(const MaStatement *statement, Datum *values);
static bool hand_over(TupleTableSlot *slot, DestReceiver *receiver);
static void start_handing(DestReceiver *receiver, int operation, TupleDesc desc);
static void end_handing(DestReceiver *receiver);
static Snapshot latest_snapshot(void);
static MaRows execute(SPIPlanPtr plan, Datum *values, const char *nulls, MaRun how);
static Datum make_array(Datum *datums, bool *nulls, int n, Oid type);

void
ma_spi_begin(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "cannot happen: SPI_connect failed");
}

void
ma_spi_end(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "cannot happen: SPI_finish failed");
}

void
ma_spi_begin_nonatomic(void)
{
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "cannot happen: SPI_connect_ext failed");
}

void
ma_spi_commit(void)
{
	SPI_commit();
}

static SPIPlanPtr
prepare(const char *sql, int nargs, Oid *argtypes)
{
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, nargs, argtypes, CURSOR_OPT_GENERIC_PLAN);

	MemoryContextSwitchTo(context);
	if (plan == NULL)
		elog(ERROR, "cannot happen: SPI_prepare gave %s for: %s",
			 SPI_result_code_string(SPI_result), sql);
	return plan;
}

/* The statement's plan, prepared at first use. */
static SPIPlanPtr
kept_plan(MaStatement *statement)
{
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = prepare(statement->sql, statement->nargs, statement->argtypes);

		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "cannot happen: SPI_keepplan failed");
		statement->plan = plan;
	}
	return statement->plan;
}

MaRows
ma_run(MaStatement *statement, Datum *values, const char *nulls, MaRun how)
{
	return execute(kept_plan(statement), values, nulls, how);
}

/* A read-only statement of SPI runs under the active snapshot: the latest is made that. */
void
ma_run_each(MaStatement *statement, Datum *values, MaRun how, MaRowTaker taker, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	SPIExecuteOptions options = {0};
	Handing		handing = {{hand_over, start_handing, end_handing, end_handing, DestNone},
	context, taker, arg};
	SPIPlanPtr	plan = kept_plan(statement);
	int			result;

	Assert(how == MA_RUN_READ || how == MA_RUN_READ_LATEST);
	options.params = make_params(statement, values);
	options.read_only = true;
	options.dest = &handing.receiver;
	if (how == MA_RUN_READ_LATEST)
		PushActiveSnapshot(latest_snapshot());
	result = SPI_execute_plan_extended(plan, &options);
	if (how == MA_RUN_READ_LATEST)
		PopActiveSnapshot();
	MemoryContextSwitchTo(context);
	if (result < 0)
		elog(ERROR, "cannot happen: SPI gave %s", SPI_result_code_string(result));
}

/* Values as the executor wants them; none is null. */
static ParamListInfo
make_params(const MaStatement *statement, Datum *values)
{
	ParamListInfo params = makeParamList(statement->nargs);

	for (int i = 0; i < statement->nargs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = statement->argtypes[i];
	}
	return params;
}

static bool
hand_over(TupleTableSlot *slot, DestReceiver *receiver)
{
	Handing    *handing = (Handing *) receiver;
	MemoryContext previous = MemoryContextSwitchTo(handing->context);
	bool		more = handing->taker(slot, handing->arg);

	MemoryContextSwitchTo(previous);
	return more;
}

static void
start_handing(DestReceiver *receiver, int operation, TupleDesc desc)
{
}

static void
end_handing(DestReceiver *receiver)
{
}

MaRows
ma_run_once(const char *sql, int nargs, Oid *argtypes, Datum *values,
			const char *nulls, MaRun how)
{
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan = SPI_prepare(sql, nargs, argtypes);
	MaRows		rows;

	MemoryContextSwitchTo(context);
	if (plan == NULL)
		elog(ERROR, "cannot happen: SPI_prepare gave %s for: %s",
			 SPI_result_code_string(SPI_result), sql);
	rows = execute(plan, values, nulls, how);
	SPI_freeplan(plan);
	MemoryContextSwitchTo(context);
	return rows;
}

void
ma_statement_forget(MaStatement *statement)
{
	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;
}

/*
 * A snapshot of this instant that sees our last command.  In a parallel query there
 * is no command of ours to be seen, and the active snapshot will not do: what is
 * read into our caches outlives it.  The snapshot for catalogs is allowed there, and
 * for a relation that is no catalog it is taken anew.
 */
static Snapshot
latest_snapshot(void)
{
	if (IsInParallelMode())
		return GetCatalogSnapshot(InvalidOid);
	CommandCounterIncrement();
	return GetLatestSnapshot();
}

Snapshot
ma_read_snapshot(MaRun how)
{
	Assert(how == MA_RUN_READ || how == MA_RUN_READ_LATEST);
	return RegisterSnapshot(how == MA_RUN_READ ? GetActiveSnapshot() : latest_snapshot());
}

/*
 * Executes under the snapshot that `how` asks for; errors leave SPI to the abort.
 * SPI leaves its own memory context current; the caller's comes back here, so
 * that what he allocates next is where he means it to be.
 */
static MaRows
execute(SPIPlanPtr plan, Datum *values, const char *nulls, MaRun how)
{
	MemoryContext context = CurrentMemoryContext;
	MaRows		rows = {0};
	int			result;
	bool		read_only = (how == MA_RUN_READ || how == MA_RUN_READ_LATEST);

	if (how == MA_RUN_READ_LATEST || how == MA_RUN_WRITE_LATEST)
	{
		Snapshot	snapshot;

		snapshot = RegisterSnapshot(latest_snapshot());
		result = SPI_execute_snapshot(plan, values, nulls, snapshot, InvalidSnapshot,
									  read_only, true, 0);
		UnregisterSnapshot(snapshot);
	}
	else
		result = SPI_execute_plan(plan, values, nulls, read_only, 0);
	MemoryContextSwitchTo(context);
	if (result < 0)
		elog(ERROR, "cannot happen: SPI gave %s", SPI_result_code_string(result));

	rows.n = SPI_processed;
	if (SPI_tuptable != NULL)
	{
		rows.desc = SPI_tuptable->tupdesc;
		rows.rows = SPI_tuptable->vals;
	}
	return rows;
}

Datum
ma_value(const MaRows *rows, uint64 row, int column, bool *isnull)
{
	Assert(row < rows->n);
	return SPI_getbinval(rows->rows[row], rows->desc, column, isnull);
}

int64
ma_int64(const MaRows *rows, uint64 row, int column)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

int32
ma_int32(const MaRows *rows, uint64 row, int column)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

bool
ma_bool(const MaRows *rows, uint64 row, int column)
{
	bool		isnull;
	Datum		value = ma_value(rows, row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

char *
ma_text(const MaRows *rows, uint64 row, int column)
{
	Assert(row < rows->n);
	return SPI_getvalue(rows->rows[row], rows->desc, column);
}

static Datum
make_array(Datum *datums, bool *nulls, int n, Oid type)
{
	int16		length;
	bool		byval;
	char		align;
	int			dims[1] = {n};
	int			lower[1] = {1};

	get_typlenbyvalalign(type, &length, &byval, &align);
	if (n == 0)
		return PointerGetDatum(construct_empty_array(type));
	return PointerGetDatum(construct_md_array(datums, nulls, 1, dims, lower, type,
											  length, byval, align));
}

Datum
ma_int8_array(const int64 *values, int n)
{
	Datum	   *datums = palloc_array(Datum, Max(n, 1));

	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(values[i]);
	return make_array(datums, NULL, n, INT8OID);
}

Datum
ma_int4_array(const int32 *values, int n)
{
	Datum	   *datums = palloc_array(Datum, Max(n, 1));

	for (int i = 0; i < n; i++)
		datums[i] = Int32GetDatum(values[i]);
	return make_array(datums, NULL, n, INT4OID);
}

Datum
ma_text_array(char **values, int n)
{
	Datum	   *datums = palloc_array(Datum, Max(n, 1));
	bool	   *nulls = palloc_array(bool, Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		nulls[i] = (values[i] == NULL);
		datums[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(values[i]);
	}
	return make_array(datums, nulls, n, TEXTOID);
}

Datum
ma_text_list_array(const List *texts)
{
	char	  **values = palloc_array(char *, Max(list_length(texts), 1));
	ListCell   *cell;

	foreach(cell, texts)
		values[foreach_current_index(cell)] = lfirst(cell);
	return ma_text_array(values, list_length(texts));
}

Datum
ma_datum_array(Datum *values, int n, Oid type)
{
	return make_array(values, NULL, n, type);
}

Datum
ma_datum_array_nulls(Datum *values, bool *nulls, int n, Oid type)
{
	return make_array(values, nulls, n, type);
}
