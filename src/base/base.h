/*
 * base.h
 *		The one public header of base/ (layer 0): what every other room builds
 *		on, with no knowledge of marketing.
 *
 * extension state, who runs what, pinned settings, kept SQL statements, checked
 * SQL expressions, settings of the server (GUCs), the clock, shared counters.
 */
#ifndef MA_BASE_H
#define MA_BASE_H

#include "postgres.h"

#include "base/compat.h"
#include "base/errors.h"

#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

#define MA_EXTENSION "marketing_automation"
#define MA_SCHEMA "marketing"
#define MA_INTERNAL "marketing_internal"

/* Declares, exports and defines a C function callable from SQL. */
#define MA_FUNCTION(name) \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/* Order of int64 values, for qsort and bsearch. */
static inline int
ma_compare_int64(const void *left, const void *right)
{
	int64		a = *(const int64 *) left;
	int64		b = *(const int64 *) right;

	return a < b ? -1 : a > b;
}

/* ---- guc.c: settings of the server's side, prefix marketing_automation. ---- */

extern bool ma_guc_enroll;		/* per session: may rows start journeys */
extern char *ma_guc_credentials_directory;	/* where files of passwords are */
extern char *ma_guc_databases;	/* where workers run: '*', '' or a list */
extern int	ma_guc_sync_wait;	/* ms a commit may spend on evaluation */
extern int	ma_guc_sync_max_contacts;	/* contact locks per transaction */
extern int	ma_guc_sync_max_rows;	/* row-grade images kept per transaction */
extern int	ma_guc_sync_max_rate;	/* evaluations of one contact a minute and session */
extern bool ma_guc_sync_serializable;	/* evaluate in SERIALIZABLE commits */
extern char *ma_guc_spool_directory; /* where the spool writes messages */
extern bool ma_guc_strict;		/* let evaluation errors fail the commit */
extern int	ma_guc_build_in_call_rows;	/* larger tables are built by the worker */
extern char *ma_guc_worker_role;	/* role the workers connect as */

extern void ma_guc_init(void);

/* ---- extension.c: is the extension here, and who owns it ---- */

/* OIDs that belong to this database's installed extension. */
typedef struct MaExtension
{
	Oid			oid;			/* pg_extension.oid */
	Oid			owner;			/* owner of our tables: our SQL runs as this role */
	Oid			internal_schema;
	Oid			capture_function;	/* marketing.capture() */
	Oid			setting_table;
	Oid			definition_table;	/* invalidated when any definition changes */
} MaExtension;

/* The installed extension, or NULL when this database has none. */
extern const MaExtension *ma_extension(void);

/* A table of ours in marketing_internal, as it is required to be there. */
extern Oid	ma_own_table(const char *name);

/* As ma_extension(), but absence is an error that says what to do. */
extern const MaExtension *ma_extension_required(void);

/* True when pg_extension.extversion is the version this library was built as. */
extern bool ma_extension_version_fits(char **installed);

/*
 * Locks the extension against DROP EXTENSION for this transaction and looks
 * again; false when it is gone (or is being dropped and the lock was not free).
 */
extern bool ma_extension_lock(void);

/* Counts up whenever definitions may have changed; caches compare it. */
extern uint64 ma_definitions_epoch(void);
/* Another one whenever a relation, any, may have changed. */
extern uint64 ma_relations_epoch(void);

/* Makes every backend re-read the definitions at commit (and this one now). */
extern void ma_definitions_changed(void);

/* Makes this backend re-read them; sets a flag only, so fit for invalidation callbacks. */
extern void ma_definitions_expire(void);

extern void ma_extension_init(void);

/* ---- identity.c: who runs what ---- */

typedef struct MaIdentity
{
	Oid			userid;
	int			sec_context;
	bool		read_only;
} MaIdentity;

/* Our own fixed SQL: as the owner of our tables. */
extern void ma_become_owner(MaIdentity *saved);

/*
 * Expressions and fetches on a user's table: as that table's owner, under
 * security-restricted operation and read-only.
 */
extern void ma_become_table_owner(MaIdentity *saved, Oid relid);

/* As above for a role that is known already. */
extern void ma_become_restricted(MaIdentity *saved, Oid role);

/* Goes back; not needed after an error, where the (sub)transaction's end does it. */
extern void ma_become_back(const MaIdentity *saved);

/* Role that owns the relation; InvalidOid if it is gone. */
extern Oid	ma_relation_owner(Oid relid);

/* Errors out unless the current user owns the relation. */
extern void ma_require_ownership(Oid relid);

/* ---- settings.c: one pinned set of settings for parse, plan and evaluation ---- */

/*
 * Sets search_path, output styles and planner switches to fixed values where
 * they differ.  Returns the GUC nest level for ma_unpin_settings(); an abort
 * restores them as well.
 */
extern int	ma_pin_settings(void);
/* Likewise TimeZone, for one source; -1 when it is `zone` already or zone is NULL. */
extern int	ma_pin_time_zone(const char *zone);
extern void ma_unpin_settings(int nest_level);
/*
 * A worker lives long and looks up keys: its plans are kept, and one made while a
 * table was small must not read all of it for each batch when it has grown.
 */
extern void ma_prefer_keys(bool prefer);
/* Likewise for reads of our logs in the order of an index. */
extern int	ma_pin_index_scans(void);

/* ---- call.c: the frame of an API function ---- */

/* What ma_call_begin() changed. */
typedef struct MaCall
{
	MaIdentity	caller;
	int			nest_level;
} MaCall;

/*
 * Pins the settings, connects SPI and runs what follows as our owner; checks of
 * the caller's rights come before it.  Not needed to end after an error.
 */
extern void ma_call_begin(MaCall *call);
extern void ma_call_end(MaCall *call);

/* ---- spi.c: the only code that calls SPI ---- */

#define MA_MAX_PARAMS 20

/* One SQL statement with a plan that is kept for the life of the backend. */
typedef struct MaStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[MA_MAX_PARAMS];
	SPIPlanPtr	plan;
} MaStatement;

typedef enum MaRun
{
	MA_RUN_READ,				/* SELECT, under the given or active snapshot */
	MA_RUN_READ_LATEST,			/* SELECT, own changes and all committed ones */
	MA_RUN_WRITE,				/* any, as an ordinary statement of the caller */
	MA_RUN_WRITE_LATEST			/* any, under a fresh latest snapshot */
} MaRun;

/* Rows a statement gave; valid until ma_spi_end(). */
typedef struct MaRows
{
	uint64		n;
	TupleDesc	desc;
	HeapTuple  *rows;
} MaRows;

extern void ma_spi_begin(void);
extern void ma_spi_end(void);

/* Runs a kept statement.  `nulls` as SPI wants it, or NULL. */
extern MaRows ma_run(MaStatement *statement, Datum *values, const char *nulls, MaRun how);

/* Runs a statement built by us for this call (DDL, set-based builds); not kept. */
extern MaRows ma_run_once(const char *sql, int nargs, Oid *argtypes, Datum *values,
						  const char *nulls, MaRun how);

/*
 * Takes one row of a result.  `slot` is valid for the call only, and so is what its
 * columns point to; what is allocated in it is the caller's of ma_run_each(), for each
 * row.  False: no more rows are wanted, and none is read.
 */
typedef bool (*MaRowTaker) (TupleTableSlot *slot, void *arg);

/*
 * Runs a kept SELECT, no value null, and hands over each row as it is found instead
 * of keeping them all: for reads that may be long or that stop early.  The taker runs
 * in the middle of the statement, with the rights under which that runs, and must run
 * none itself.
 */
extern void ma_run_each(MaStatement *statement, Datum *values, MaRun how,
						MaRowTaker taker, void *arg);

/*
 * The snapshot under which a reading `how` runs, registered; an error unregisters it.
 * See spi.c for what the latest one is.
 */
extern struct SnapshotData *ma_read_snapshot(MaRun how);

/*
 * Reads a table of ours by its index `name`: rows in which the index's first columns
 * equal values.  `equal` are the functions of the operators (F_INT8EQ ...).  begin takes
 * the snapshot that `how`, one of the reading ones, asks for; find says the values, next
 * returns the rows one by one in the order of the index, NULL behind the last; begin and
 * end stand around any number of finds.  A row is valid to the next call; its columns
 * have the numbers they have in CREATE TABLE, to which updates of the extension only add.
 * An error leaves nothing behind.  For the commit of users; elsewhere a statement is
 * easier to read.
 */
typedef struct MaIndexRead MaIndexRead;
extern MaIndexRead *ma_index_begin(const char *name, int ncolumns, const RegProcedure *equal,
								   MaRun how);
extern void ma_index_find(MaIndexRead *read, const Datum *values);
extern TupleTableSlot *ma_index_next(MaIndexRead *read);
/*
 * The same where most looks are followed by an update: the row's page is tidied only when
 * it has less room than this left.
 */
extern TupleTableSlot *ma_index_next_untidied(MaIndexRead *read, Size room);
extern void ma_index_end(MaIndexRead *read);
/* From now on under a new snapshot, and by place only. */
extern void ma_index_renew(MaIndexRead *read, MaRun how);
/* The row at this place; NULL if that version of it is not the valid one any more. */
extern TupleTableSlot *ma_index_at(MaIndexRead *read, ItemPointer place);

/*
 * Writes rows of a table of ours that has no triggers and no constraints but indexes and
 * NOT NULL.  `values` are its `columns` in the order of CREATE TABLE, `nulls` (NULL: none) says
 * which are null; what values point to must stand until ma_write_end(), where the last rows
 * are inserted and all of them become visible.  Update and delete take the place of a row
 * as it was read under the latest snapshot (TupleTableSlot.tts_tid); false: somebody else
 * has changed it.  An error leaves nothing behind.
 */
typedef struct MaRowWrite MaRowWrite;
extern MaRowWrite *ma_write_begin(const char *name, int columns);
/* Likewise the partition for rows of this instant, of a table divided by one column. */
extern MaRowWrite *ma_write_begin_at(const char *name, TimestampTz at, int columns);
extern void ma_write_insert(MaRowWrite *write, const Datum *values, const bool *nulls);
extern bool ma_write_update(MaRowWrite *write, ItemPointer at, const Datum *values,
							const bool *nulls);
extern bool ma_write_delete(MaRowWrite *write, ItemPointer at);
extern void ma_write_end(MaRowWrite *write);

/* Frees a kept plan; the statement prepares itself again when next run. */
extern void ma_statement_forget(MaStatement *statement);

/* Column `column` (from 1) of row `row`. */
extern Datum ma_value(const MaRows *rows, uint64 row, int column, bool *isnull);
extern int64 ma_int64(const MaRows *rows, uint64 row, int column);
extern int32 ma_int32(const MaRows *rows, uint64 row, int column);
extern bool ma_bool(const MaRows *rows, uint64 row, int column);
/* Text of the column in the current context, NULL for null. */
extern char *ma_text(const MaRows *rows, uint64 row, int column);

/* For procedures: commit and go on in a new transaction. */
extern void ma_spi_begin_nonatomic(void);
extern void ma_spi_commit(void);

/* Arrays as parameters. */
extern Datum ma_int8_array(const int64 *values, int n);
extern Datum ma_int4_array(const int32 *values, int n);
extern Datum ma_text_array(char **values, int n);	/* a NULL pointer is a null element */
extern Datum ma_text_list_array(const List *texts); /* of char * */
/* Array of any type, without nulls. */
extern Datum ma_datum_array(Datum *values, int n, Oid type);
extern Datum ma_datum_array_nulls(Datum *values, bool *nulls, int n, Oid type);

/* ---- expression.c: one SQL expression over one row, checked ---- */

typedef struct MaExpression
{
	char	   *text;			/* canonical text, columns written t.column */
	Oid			type;			/* its type */
	List	   *columns;		/* names (char *) of the columns it reads */
	bool		builtin_only;	/* only functions and operators of pg_catalog */
} MaExpression;

/*
 * Parses `source` as one expression over the columns of `relid`, checks that it
 * has no subquery, aggregate, set-returning or volatile function, is not on
 * the list of functions that reach outside the row, and returns its canonical
 * form.  `what` names the argument in errors ("condition of event order_placed").
 * `type` is the wanted type, or InvalidOid for any.
 */
extern MaExpression *ma_expression_check(const char *source, Oid relid, Oid type, const char *what);

/* True if a canonical text over the relation, as alias t, calls only what is built in. */
extern bool ma_expression_is_builtin(const char *text, Oid relid, const char *what);

/*
 * The canonical text over the relation, as alias t, ready to be run on a tuple of it (its
 * scan tuple), in the current context; NULL if it calls what users wrote or depends on
 * more than the tuple.
 */
extern struct ExprState *ma_expression_compile(const char *text, Oid relid, const char *what);

/* Errors that come of an expression of a user's: of a function it calls or a value it reads. */
extern bool ma_error_of_expression(int sqlerrcode);

/*
 * In PG_CATCH: throws the error on as one of the user's expression, without the
 * statement of ours that it stands in.
 */
extern void ma_expression_failed(const char *what, MemoryContext context) pg_attribute_noreturn();

/* ---- scoped_expression.c: one SQL expression over several rows, with names of our own ---- */

/* A row the expression may read. */
typedef struct MaScopeTable
{
	const char *alias;
	Oid			relid;
} MaScopeTable;

typedef struct MaScope
{
	MaScopeTable *tables;
	int			ntables;

	/*
	 * What a name (List of char *) stands for, as a raw tree of PostgreSQL's parser over
	 * the aliases, see ma_scope_column(); it reports unknown names itself.  `location`
	 * is a byte of the source.
	 */
	struct Node *(*resolve) (List *names, int location, void *arg);
	void	   *arg;
	const char *search_path;	/* to look up functions and types by; NULL: the pinned one */
	bool		subqueries;		/* it may hold sub-selects, and marketing.now() */
	const char *clock;			/* then: alias of a row whose occurred_at stands for that */
} MaScope;

/* A column that is read. */
typedef struct MaScopeRead
{
	int			table;			/* in the scope */
	AttrNumber	attnum;
	char	   *column;
} MaScopeRead;

typedef struct MaScopedExpression
{
	char	   *text;			/* SQL that means the same under the pinned search path */
	Oid			type;
	List	   *reads;			/* MaScopeRead */
	List	   *relations;		/* Oid: what its sub-selects read */
	bool		subquery;		/* it holds one */
	bool		builtin_only;
	struct Node *tree;			/* to compare two of the same scope with equal() */
	char	   *run;			/* as text, with the clock's column for marketing.now() */
} MaScopedExpression;

/*
 * As ma_expression_check() with tables and names of the scope.  Places of errors are
 * within `source`, which may begin with blanks in place of the text before it in
 * `whole`; they are reported in `whole`.
 */
extern MaScopedExpression *ma_scoped_expression_check(const char *source, const char *whole,
													  const MaScope *scope, Oid type,
													  const char *what);

/* Raw trees for MaScope.resolve. */
extern struct Node *ma_scope_column(const char *alias, const char *column);
extern struct Node *ma_scope_member(const char *alias, const char *column, const char *member,
									const char *type);
extern struct Node *ma_scope_null(void);

/* ---- partitions.c: monthly partitions of our logs ---- */

typedef struct MaPartitioned
{
	const char *name;			/* table of marketing_internal, partitioned by range */
	const char *column;			/* of type timestamptz */
	const char *key;			/* primary key of each partition */
	const char *index;			/* columns of another index of each, or NULL */
} MaPartitioned;

/* Makes the first partitions if there are none; inside ma_call_begin(). */
extern void ma_partitions_ensure(const MaPartitioned *table);
/* The worker's turn: makes those of the months to come, once there are any. */
extern void ma_partitions_extend(const MaPartitioned *table);
/* The first instant of the month, as partitions have it; an error unless it is past. */
extern TimestampTz ma_partitions_month(TimestampTz before);
/* Drops the partitions of the months before this one; returns how many. */
extern int	ma_partitions_drop(const MaPartitioned *table, TimestampTz month);

/* ---- configure.c: settings of the shop ---- */

typedef struct MaShopSetting
{
	const char *name;
	const char *about;			/* a sentence or two for marketing.settings() */
	/* The value in its one form, or an error (22023). */
	char	   *(*check) (const char *value);
} MaShopSetting;

extern void ma_register_shop_setting(const MaShopSetting *setting);
/* Its value in the current context, NULL: not set.  Inside ma_call_begin() or a worker's tick. */
extern char *ma_shop_setting(const char *name);

/* ---- attempt.c ---- */

/*
 * Runs `work` in a subtransaction; its error, in the current context, or NULL.  A cancel, a
 * shutdown and the lack of memory are nobody's fault and thrown on.
 */
extern ErrorData *ma_attempt(void (*work) (void *arg), void *arg);
/*
 * Does the work in a subtransaction; NULL, or the error of an expression that undid it.
 * Every other one (a cancel, a lock, memory) goes on.
 */
extern ErrorData *ma_expression_guard(void (*work) (void *arg), void *arg);

/* ---- suggest.c: names that users mistype ---- */

/*
 * The names of `candidates` (char *) that `name` may be a typo of, nearest first
 * and as text for a hint ("a", "b" or "c"); NULL if none is near.
 */
extern char *ma_nearest(const char *name, List *candidates);

/* Edit distance of two names; more than `limit` is given as `limit` + 1. */
extern int	ma_name_distance(const char *name, const char *other, int limit);

/*
 * Number of the column, or an error (42703) with the nearest names; `what` says
 * where it was named ("contact", "lookup.product.on").
 */
extern AttrNumber ma_column_required(Oid relid, const char *column, const char *what);

/* Names (char *) of the live columns of a relation, in order. */
extern List *ma_column_names(Oid relid);

/* Errors out for a generated column that is not stored: triggers do not see its value. */
extern void ma_column_require_stored(Oid relid, AttrNumber number);

/* ---- answer.c ---- */

/* A count (not negative) with commas: 52,800. */
extern char *ma_grouped(int64 n);

/* Adds a line of marketing.status; `state` is ok, note, warning or error, detail may be NULL. */
extern void ma_status_line(struct ReturnSetInfo *result, const char *item, const char *state,
						   const char *value, const char *detail);

/* ---- base64url.c: octets as a text that can stand in an address of the web ---- */

/* Without padding, in the current context. */
extern char *ma_base64url(const uint8 *bytes, int length);
/*
 * Returns how many octets the text stands for; -1 if they are more than `size`, or if they
 * are not written like this: what is signed has one form.
 */
extern int	ma_base64url_read(const char *text, uint8 *bytes, int size);

/* ---- names.c ---- */

/* Errors out unless it can be the name of a `what` ("segment"). */
extern void ma_name_check(const char *name, const char *what);

/* Who uses the `what` ("template") of this name: texts (char *) for a sentence; for drop_*(). */
typedef List *(*MaUses) (const char *name);
extern void ma_register_uses(const char *what, MaUses uses);
/* Error 2BP01 that lists them, if there are any. */
extern void ma_require_unused(const char *what, const char *name);

/* ---- clock.c ---- */

/* marketing.now(): the database's set clock, else the statement's time, never backwards. */
extern TimestampTz ma_now(void);
/* As ma_now(), but of this instant instead of the statement's start. */
extern TimestampTz ma_clock(void);
/* The statement goes on for long (CALL marketing.work()): its time is taken anew. */
extern void ma_now_renew(void);
extern bool ma_clock_is_set(void);
/* The zone that ALTER DATABASE set, else that of the session's begin, whatever SET has changed. */
extern char *ma_database_time_zone(void);
/* Calls `back` when the clock is set to an earlier time: what was kept is of the future. */
extern void ma_register_clock_back(void (*back) (void));

/* ---- local_time.c: times on the wall of a zone ---- */

struct pg_tz;

/* The zone of this name; the database's for NULL and for one the server does not know. */
extern struct pg_tz *ma_zone_or_default(const char *name);
/* What the wall shows at this instant. */
extern Timestamp ma_local_of_instant(TimestampTz at, struct pg_tz *zone);
/*
 * The first instant at which the wall shows this time or, where it is skipped, a later one.
 */
extern TimestampTz ma_instant_of_local(Timestamp local, struct pg_tz *zone);

/* ---- authority.c: may this database send to real servers ---- */

/* True when marketing.arm() was called in this very copy of the database. */
extern bool ma_armed(void);

/* ---- shared.c: counters and marks shared by all backends of a database ---- */

typedef enum MaCounter
{
	MA_COUNT_FLUSHES,			/* commits that evaluated */
	MA_COUNT_CONTACTS,			/* contacts evaluated at commit */
	MA_COUNT_SPILL_LOCK,		/* contacts left to the worker: lock not got */
	MA_COUNT_SPILL_BUDGET,		/* ... time budget used up */
	MA_COUNT_SPILL_LIMIT,		/* ... too many contacts or rows, or a busy contact */
	MA_COUNT_SPILL_MODE,		/* ... prepared or serializable transaction, async source */
	MA_COUNT_SPILL_ERROR,		/* ... an error in the evaluation */
	MA_COUNT_ERRORS,			/* errors swallowed in commits */
	MA_COUNT_IGNORED_ROWS,		/* event rows whose contact is unknown */
	MA_COUNT_DRAINED,			/* contacts evaluated by the worker */
	MA_NUM_COUNTERS
} MaCounter;

/* Adds to this database's counter; without preload it counts for this session only. */
extern void ma_count(MaCounter counter, int64 n);
extern int64 ma_counter_value(MaCounter counter);
extern const char *ma_counter_name(MaCounter counter);

/* Copies a text to `size` bytes, cut between two characters where it is too long. */
extern void ma_text_clip(char *to, const char *from, Size size);

/* Remembers the last swallowed error of this database for `status`. */
extern void ma_count_error(int sqlstate, const char *message);
extern bool ma_last_error(int *sqlstate, char *message, Size size, TimestampTz *at);

/*
 * Reserves up to `wanted` contact locks; never more than a quarter of the
 * server's lock table over all sessions.  Returns how many may be taken.
 */
extern int	ma_lock_reserve(int wanted);
extern void ma_lock_release(int n);

/* True when the library was preloaded, so that shared memory and workers exist. */
extern bool ma_preloaded(void);

/*
 * The time to use for `wanted`, a time up to now: not below the high-water mark of
 * this server's clock, which it raises; `current` tells steps.  See clock.c.
 */
extern TimestampTz ma_shared_clock_raise(TimestampTz wanted, TimestampTz current);

extern void ma_shared_init(void);
extern void ma_shared_forget_database(Oid database);

#endif							/* MA_BASE_H */
