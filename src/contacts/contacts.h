/*
 * contacts.h
 *		The one public header of contacts/ (layer 2): who is who, which rows are
 *		events, how a change of a row becomes a change set, and how that is
 *		evaluated at commit.
 *
 * Engines (segments, scores, journeys) register as consumers and declare which
 * events they depend on; nothing here knows them.
 */
#ifndef MA_CONTACTS_H
#define MA_CONTACTS_H

#include "base/base.h"
#include "utils/jsonb.h"

/* ---- definitions.c: attached tables, sources and events, compiled and cached ---- */

/* A user's table that carries the capture trigger. */
typedef struct MaTable
{
	int32		id;
	char	   *schema;
	char	   *name;
	char	   *owner;
	Oid			relid;			/* InvalidOid: not found, nothing is read from it */
	char	   *qualified;		/* quoted schema.table, as it is called now */
	bool		on_replica;
} MaTable;

/* Where contacts come from: an attached table, or a prefix (table NULL). */
typedef struct MaSource
{
	int32		id;				/* also the order of attachment */
	char	   *name;
	MaTable    *table;
	char	   *key_column;
	Oid			key_type;		/* base type of the key column */
	char	   *email_column;	/* these four may be NULL */
	char	   *phone_column;
	char	   *time_zone_column;
	char	   *locale_column;
	List	   *mapped;			/* MaMappedColumn *, see mapped.c */
	char	   *match;			/* NULL, "email" or "phone" */
	char	   *exclude;		/* canonical SQL over alias t, or NULL */
	List	   *exclude_columns;
	bool		building;
	List	   *watched;		/* columns (char *) its dependents read */
	MaStatement read;			/* rows by key, see sources.c */
	MaStatement images;			/* whole rows by key, see source_images.c */
} MaSource;

/* An event name. */
typedef struct MaEvent
{
	int32		id;
	char	   *name;
	bool		tracked;		/* its rows are those of track() */
	bool		builtin;		/* one of our own, see builtin.c */
	bool		set_grade;		/* a consumer of counts depends on it */
	bool		row_grade;		/* a consumer of row images depends on it */
	List	   *columns;		/* columns (char *) its dependents read */
	List	   *watchers;		/* consumers of set grade (char *) that depend on it */
	List	   *read_with;		/* events (int) whose rows one dependent reads with it */
	struct MaEventSource *source;	/* its own; NULL: see ma_event_sources() */
} MaEvent;

/* A table whose columns conditions on an event may read: product.category. */
typedef struct MaLookup
{
	char	   *name;
	MaTable    *table;
	char	   *link_column;	/* of the event's table */
	char	   *key_column;		/* of the lookup's, unique there */
} MaLookup;

/* One attached event of a table. */
typedef struct MaEventSource
{
	int32		id;
	MaTable    *table;
	MaEvent    *event;			/* NULL: event_column gives the name */
	char	   *event_column;
	MaSource   *contact_source;
	char	   *contact_column; /* of via_table if there is one */
	Oid			contact_type;	/* its base type */
	char	   *occurred;		/* SQL of type timestamptz over alias t */
	char	   *occurred_column;
	char	   *time_zone;
	char	   *condition;		/* canonical SQL over alias t, or NULL */
	List	   *condition_columns;
	bool		repeat;
	bool		async;
	MaTable    *via_table;		/* NULL: the contact stands in the row */
	char	   *via_link_column;	/* of table */
	char	   *via_key_column; /* of via_table */
	Oid			via_key_type;
	List	   *lookups;		/* MaLookup */
	MaStatement images;			/* row images to facts, see rows.c */
	MaStatement via;			/* contacts of links, see resolve.c */
} MaEventSource;

typedef struct MaDefinitions
{
	uint64		epoch;
	List	   *tables;			/* MaTable * */
	List	   *sources;		/* MaSource *, in order of attachment */
	List	   *events;			/* MaEvent * */
	List	   *event_sources;	/* MaEventSource * */
} MaDefinitions;

/*
 * The current definitions; read anew when any has changed.  The pointer and all
 * in it stay valid to the end of the transaction, though not current.
 */
extern MaDefinitions *ma_definitions(void);

/* ---- kept.c: what upper rooms compile from the definitions ---- */

typedef struct MaKept
{
	const char *name;			/* for pg_backend_memory_contexts */
	void	   *(*load) (void); /* into the current context */
	void		(*leave) (void *value); /* before it is freed: forgets its plans; or NULL */

	/* Set by ma_kept(). */
	void	   *value;
	MemoryContext context;
	uint64		epoch;
} MaKept;

/* The value, loaded anew when any definition has changed; valid as ma_definitions() is. */
extern void *ma_kept(MaKept *kept);
/* The value if nothing has changed since it was loaded, else NULL; runs no statement. */
extern void *ma_kept_current(const MaKept *kept);

/* Frees the context at the end of the transaction, after `leave` if that is not NULL. */
extern void ma_retire(MemoryContext context, void (*leave) (void *value), void *value);

/* ---- definitions.c ---- */

/*
 * SQL of a date, or of a local time (`type`), as a timestamp.  A date may lie beyond the
 * time that timestamps can say, and zones and windows move both: one far away is infinite,
 * or a row with a mistyped year would be an error for all who are read with it.
 */
extern char *ma_local_time_sql(const char *sql, Oid type);

extern MaTable *ma_table_by_id(MaDefinitions *definitions, int32 id);
extern MaTable *ma_table_by_relid(MaDefinitions *definitions, Oid relid);
extern MaSource *ma_source_by_id(MaDefinitions *definitions, int32 id);
extern MaSource *ma_source_by_name(MaDefinitions *definitions, const char *name);
extern MaEvent *ma_event_by_id(MaDefinitions *definitions, int32 id);
extern MaEvent *ma_event_by_name(MaDefinitions *definitions, const char *name);
extern MaEventSource *ma_event_source_by_id(MaDefinitions *definitions, int32 id);

/*
 * Where rows of this event stand (MaEventSource *, NULL for the tracked events):
 * the table attached under its name, else every table whose event_column gives
 * names, and the tracked events once it has been tracked.  NIL for a built-in one.
 */
extern List *ma_event_sources(MaDefinitions *definitions, const MaEvent *event);

/*
 * Event of this name, or an error MA003 with the nearest names.  A built-in event
 * gets its number here, so this runs inside ma_call_begin() and may write.
 */
extern MaEvent *ma_event_required(MaDefinitions *definitions, const char *name);

/* The name of an event of the user's for examples in hints, as in a rule; NULL: he has none. */
extern char *ma_event_example(void);

/* Finds or makes the event name; runs as our owner inside ma_call_begin(). */
extern int32 ma_event_ensure(const char *name);

/* ---- builtin.c: events of our own (names: DESIGN, "Built-in events") ---- */

typedef struct MaBuiltinColumn
{
	const char *name;
	Oid			type;
	const char *kind;			/* of what its values name, as ma_register_uses() has it; or NULL */
} MaBuiltinColumn;

typedef struct MaBuiltinEvent
{
	const char *name;
	const MaBuiltinColumn *columns; /* up to one without a name */
} MaBuiltinEvent;

/* Columns of the built-in event of this name; NULL if it is none. */
extern const MaBuiltinColumn *ma_builtin_columns(const char *name);

/* All names (char *). */
extern List *ma_builtin_names(void);

/*
 * Where rows of a built-in event stand, for conditions on them: `sql` selects contact_id,
 * occurred_at and properties (a jsonb object of the event's columns) from our own tables,
 * first of all `table`.  The room that writes them raises the event, or marks the
 * contact, whenever a row is added; when rows go or change it leaves the contacts.
 */
typedef struct MaBuiltinRows
{
	const char *event;
	const char *table;
	const char *sql;
	bool		points_only;	/* score rules count them, conditions of rules do not see them */
} MaBuiltinRows;

extern void ma_register_builtin_rows(const MaBuiltinRows *rows, int n);
/* NULL: there are none yet. */
extern const MaBuiltinRows *ma_builtin_rows(const char *event);
/* True if a rule may read a row of this table, as one of our own events, from before that. */
extern bool ma_builtin_read_before(const char *table, TimestampTz before);
/* The built-in event of this name; one nothing has named yet gets a number below zero. */
extern MaEvent *ma_builtin_event(MaDefinitions *definitions, const char *name);
/* True if rules read rows of the built-in event. */
extern bool ma_builtin_is_read(const char *name);

/*
 * Raises a built-in event in a call or a worker's transaction (not while contacts
 * are being evaluated): told at the commit, like any event of a user, under the
 * contact's lock.  `row_id` tells its rows apart; `properties` is a jsonb object of
 * the event's columns.  Nothing happens where nothing watches it.
 */
extern void ma_raise_event(const char *name, int64 contact_id, int64 row_id,
						   TimestampTz occurred_at, Datum properties);

struct MaRowChange;

/*
 * The same for a consumer that is evaluating contacts, whose locks are held: told
 * at once, so the consumer has written its own state before.  Sets event_id and
 * kind; the other fields are the caller's, all of this one event.
 */
extern void ma_tell_events(const char *name, struct MaRowChange *rows, int n, TimestampTz now);

/* ---- watch.c: what depends on an event ---- */

/* Both run inside ma_call_begin(); capture heeds them from the commit on. */
extern void ma_watch_event(const char *consumer, const char *object, int32 event_id,
						   bool row_grade, List *columns);
/*
 * The object reads these columns (char *) of the source's rows: a change of one marks
 * the contact as changed himself (MaContactChange.identity).
 */
extern void ma_watch_source(const char *consumer, const char *object, int32 source_id,
							List *columns);
/* Undoes both. */
extern void ma_unwatch_events(const char *consumer, const char *object);

/*
 * Keeps writers of the events' rows (ids as int) out until the commit: none of them
 * may have begun without knowing that something depends on the event now, or write
 * the state of what is being dropped.  The strongest locks of a call, so taken last;
 * waits for lock_timeout, else 2 s.
 */
extern void ma_events_lock_writers(List *event_ids);
/* The same for relations (Oid), attached ones and our own. */
extern void ma_relations_lock_writers(List *relids);

/* ---- contact.c: contacts as arguments and as text ---- */

/* A key of a contact. */
typedef struct MaKey
{
	int32		source_id;
	char	   *external_id;
} MaKey;

/*
 * The contact that argument 0 (text, bigint or uuid) names; error MA001/MA002 if
 * there is none.  With `create`, a prefix of identify/track makes source and
 * contact.  Inside ma_call_begin().
 */
extern int64 ma_contact_argument(FunctionCallInfo fcinfo, bool create);

/* Likewise of a text ("42", "subscribers:42"). */
extern int64 ma_contact_of_text(const char *text, bool create);

/* Likewise, with the contact's lock. */
extern int64 ma_contact_argument_locked(FunctionCallInfo fcinfo, bool create);

/* The contact that argument 0 names, or 0: changes nothing, as ma_contact_argument() may. */
extern int64 ma_contact_look_up(FunctionCallInfo fcinfo);
/* Argument 0 as text. */
extern char *ma_contact_argument_text(FunctionCallInfo fcinfo);
/* Likewise of another argument; `name` is for the error when it is null. */
extern char *ma_contact_text_argument(FunctionCallInfo fcinfo, int number, const char *name);

/* The text form of a contact every function takes ("42", "subscribers:7"); NULL: no id left. */
extern char *ma_contact_text(int64 contact_id);

/* The contact that this one has been merged into, at any remove; else itself. */
extern int64 ma_contact_now(int64 contact_id);
/* False for a number whose contact has been erased. */
extern bool ma_contact_known(int64 contact_id);
/* Some contact has an attribute of this name. */
extern bool ma_attribute_known(const char *name);

/* Attributes as identify() takes them: an error unless they can be; and storing them (locked). */
extern void ma_contact_attributes_check(Datum attributes);
/* What becomes of a contact's own by it. */
extern Datum ma_contact_attributes_over(Datum own, Datum attributes);
extern void ma_contact_attributes_set(const int64 *contact_ids, int n, Datum attributes);

/* ---- changes.c: marks of the running transaction, used by track() and identify() ---- */

/* True if this transaction has changes that are evaluated at its commit, or left to the worker. */
extern bool ma_changes_pending(void);
/* The contact itself changed (attributes, keys). */
extern void ma_mark_contact(int64 contact_id);
/* A tracked event was added for the contact; `row_id` is its event_row_id. */
extern void ma_mark_tracked(int64 contact_id, MaEvent *event, int64 row_id,
							TimestampTz occurred_at, Datum properties);

/* ---- locks.c ---- */

/* Locks the contact for this transaction; waits (API functions and workers). */
extern void ma_contact_lock(int64 contact_id);

/*
 * Gives back what ma_contact_lock() took in the same call: who finds that it was
 * the wrong contact must hold none while he waits for another, or two of them
 * would wait for each other.
 */
extern void ma_contact_unlock(int64 contact_id);
/*
 * For the batches of workers: locks the contact unless somebody else has it or our
 * share of the lock table is used up.
 */
extern bool ma_contact_lock_if_free(int64 contact_id);
/* Locks an address (normalised) so that two transactions do not both make its contact. */
extern void ma_address_lock(const char *address);

/* ---- waiting.c: who is behind ---- */

/*
 * Sets waiting[i] where something committed about the contact has not been evaluated
 * yet, or may not have been: it stands in the dirty log or in the capture log, by
 * his number or by one of his keys; everybody where it cannot be told whose it is.
 * Under the latest snapshot; inside ma_call_begin().
 */
extern void ma_contacts_waiting(const int64 *contact_ids, int n, bool *waiting);

/* ---- address.c ---- */

/* Normalised e-mail address or phone number in the current context, NULL if it is none. */
extern char *ma_normalise_email(const char *email);
extern char *ma_normalise_phone(const char *phone);

/* ---- sources.c: keys and contacts of attached tables ---- */

typedef struct MaBuildCounts
{
	int64		rows;			/* rows read, without excluded ones */
	int64		created;
	int64		linked;			/* by match */
	int64		with_email;
	int64		invalid_email;
	int64		with_phone;
	int64		invalid_phone;
} MaBuildCounts;

/*
 * Reads up to `limit` rows of the source after key `from` (NULL: the first), in
 * key order, makes or links their contacts and leaves linked and known ones to the
 * dirty log; `locked`: nobody writes the table to the end of this transaction.
 * Adds to `counts`; returns the last key read, NULL at the end.
 */
extern char *ma_source_build(MaSource *source, const char *from, int limit, bool locked,
							 MaBuildCounts *counts);

/* Makes the contact of one row that is there but not known yet; 0 if there is no such row. */
extern int64 ma_source_adopt(MaSource *source, const char *external_id);

/* ---- source_images.c ---- */

/*
 * Whole rows of an attached table as jsonb objects, by key, read as the table's owner:
 * images[i] is that of external_ids[i], NULL if there is none.
 */
extern void ma_source_images(MaSource *source, char **external_ids, Jsonb **images, int n);

/* A jsonb object with the columns of the table, all null; NULL if it is not there. */
extern Jsonb *ma_source_no_row(const MaSource *source);

/* Recomputes address fields from rows and attributes; the caller holds the contacts' locks. */
extern void ma_contacts_recompute(const int64 *contact_ids, int n);

/* ---- mapped.c: columns of contact tables that mean something to an upper room ---- */

/* From attach_contacts(consent => {"offers/email": "newsletter_ok"}). */
typedef struct MaMappedColumn
{
	char	   *name;			/* "offers/email" */
	char	   *column;
} MaMappedColumn;

typedef struct MaMappedChange
{
	int64		contact_id;
	const MaSource *source;
	const char *name;
	const char *column;
	const char *old_value;		/* as text; NULL: null, or not seen before */
	const char *new_value;		/* times as UTC */
} MaMappedChange;

typedef struct MaMapping
{
	/* Errors out unless a column can be mapped to this name. */
	void		(*check) (const char *name);

	/*
	 * Values of rows that are new or have changed since they were last seen, once
	 * each; the contacts' locks are held, or this transaction made the contacts.
	 * `evaluating`: contacts are being evaluated, else they are read in bulk.
	 */
	void		(*changed) (MaMappedChange *changes, int n, bool evaluating);

	/* What the answer of attach_contacts() ends with ("0 with consent for any topic"). */
	char	   *(*summary) (const MaSource *source);
} MaMapping;

extern void ma_register_mapping(const MaMapping *mapping);

/* ---- merge.c: who keeps something under a contact's number ---- */

typedef struct MaContactListener
{
	/* Both contacts are locked; keys and events have moved already.  Each may be NULL. */
	void		(*merged) (int64 contact_id, int64 merged_id);
	void		(*split) (int64 contact_id, int64 split_id);
	/* An int8[]: what bears these numbers is deleted after this. */
	void		(*erased) (Datum contact_ids);
} MaContactListener;

/* The contact's number and those merged into it, directly or not (int8[]), for = ANY(). */
extern Datum ma_contact_with_merged(int64 contact_id);

extern void ma_register_contact_listener(const MaContactListener *listener);
extern void ma_contacts_tell_erased(Datum contact_ids);

/* ---- consumers: what is told about changes ---- */

#define MA_SIGN_PLUS 1			/* rows of the event were added */
#define MA_SIGN_MINUS 2			/* rows were taken away; a change of a row is both */

typedef struct MaEventChange
{
	int32		event_id;
	uint8		sign;
} MaEventChange;

/* A row of an attached event that this transaction has added. */
typedef struct MaAddedRow
{
	struct MaAddedRow *next;
	int32		event_id;
	int32		event_source_id;
	Oid			relid;			/* the table itself, not the root of its partitions */
	uint64		epoch;			/* ma_relations_epoch() when it was added */
	TransactionId xid;			/* (sub)transaction that added it */
	HeapTuple	tuple;
} MaAddedRow;

/* A contact to evaluate; its lock is held, or it was made in this transaction. */
typedef struct MaContactChange
{
	int64		contact_id;
	bool		identity;		/* keys or fields changed: everything may differ */
	int			nevents;
	MaEventChange *events;
	int			nkeys;			/* keys that count (not excluded) */
	MaKey	   *keys;

	/*
	 * True if rows were added and nothing else is known to have happened since the contact
	 * was evaluated under this lock; then `added` (MaAddedRow *) are these rows.
	 */
	bool		added_only;
	List	   *added;
} MaContactChange;

typedef enum MaRowKind
{
	MA_ROW_HAPPENED,
	MA_ROW_TAKEN_BACK,
	MA_ROW_CHANGED
} MaRowKind;

/* One event row that happened, was taken back or changed. */
typedef struct MaRowChange
{
	int64		contact_id;
	int32		event_id;
	char	   *row_key;
	MaRowKind	kind;
	TimestampTz occurred_at;
	Datum		properties;		/* jsonb: the row */
	bool		enroll;			/* may start journeys */
	bool		by_time;		/* no row has changed: time has passed */
} MaRowChange;

typedef struct MaConsumer
{
	const char *name;

	/* Evaluates contacts; called for a few at commit, for a batch in the worker. */
	void		(*evaluate) (MaContactChange *contacts, int n, TimestampTz now);

	/* Takes rows of watched events, in the order they happened; may be NULL. */
	void		(*rows) (MaRowChange *rows, int n, TimestampTz now);

	/* True if this consumer keeps state for contacts without any event. */
	bool		(*wants_new_contacts) (void);

	/*
	 * True if the events of this contact, whose lock is held, change nothing for the
	 * consumer; asked at commit before all else.  No SPI is connected, and the contact's
	 * keys are not there.  NULL: never.
	 */
	bool		(*unmoved) (const MaContactChange *contact, TimestampTz now);

	/*
	 * No evaluation from now on reads a row of the event from before this instant; NULL:
	 * it may read all.
	 */
	TimestampTz (*reads_from) (int32 event_id, TimestampTz now);

	/*
	 * Brings the state of a contact up to date to whom rows were only added, if that takes
	 * no more than his state and these rows; false if not, and nothing was done.  Called
	 * where unmoved() is, if nobody else is moved; one consumer has it, NULL: never.
	 */
	bool		(*settle) (const MaContactChange *contact, TimestampTz now);
} MaConsumer;

extern void ma_register_consumer(const MaConsumer *consumer);

/*
 * True where an error of an expression undoes the evaluation and has it done once more: then this
 * is false, and who evaluates several expressions together finds out which of them fails.
 */
extern bool ma_flush_tries_again(void);

/*
 * Told in every call that attaches or detaches, when the new definitions are there:
 * an event may have other tables and columns than when a rule was compiled.
 */
extern void ma_register_attach_listener(void (*listener) (void));

/*
 * SELECT of the event's rows with one key in one of its sources: `key` is SQL, a
 * parameter or a column of an outer relation; `columns` is SQL over alias t, the
 * row, and r.at, the time of the event.  Further conditions may be added with AND.
 * *key_type is the type the key must have.  Runs as the owner of the source's
 * table (source NULL, tracked events: as ours).
 */
extern char *ma_event_select(const MaEvent *event, const MaEventSource *source,
							 const char *columns, const char *key, Oid *key_type);
/* The same; `supposed`: with what is supposed of built-in events, for a simulation alone. */
extern char *ma_event_select_supposed(const MaEvent *event, const MaEventSource *source,
									  const char *columns, const char *key, Oid *key_type,
									  bool supposed);

/*
 * The numbers under which rows of built-in events may stand: the contact's, and those
 * of whoever was merged into him, since ledgers and logs stay as they were written.
 */
extern int	ma_builtin_keys(const MaContactChange *contact, MaRun how, Datum **keys);

/* Keys of the contacts in this source, typed, with whose they are; returns how many. */
extern int	ma_event_keys(const MaEventSource *source, MaContactChange *contacts, int n,
						  int64 **contact_ids, Datum **keys);

/* What is asked of an event's rows, see ma_event_read(). */
typedef struct MaEventQuery
{
	const char *columns;		/* of each row, named, as ma_event_select() takes them */
	const char *conditions;		/* further ones, each with AND before it */
	const char *select;			/* SQL over these columns, alias e */
	const char *end;			/* GROUP BY or ORDER BY; 1 is the place of the key */
	int			nvalues;		/* $2 and so on */
	const Oid  *types;
	const Datum *values;
	MaRun		how;
} MaEventQuery;

/*
 * Rows of the event in one of its sources, of all these contacts at once, with the rights of
 * the table's owner and in the source's time zone (source NULL: as ours).  The first column
 * is the place of the key from 1, of which owners[] says whose it is.
 */
extern MaRows ma_event_read(const MaEvent *event, const MaEventSource *source,
							MaContactChange *contacts, int n, const MaEventQuery *query,
							int64 **owners);

/* Errors out unless the attached table of the source is there, with its column of ids. */
extern void ma_source_require(const MaSource *source);

/* Errors out unless rows of the event can be told apart, to be followed one by one. */
extern void ma_event_require_row_key(MaDefinitions *definitions, const MaEvent *event);

/* ---- supposed.c: what a simulation supposes of the contact it walks through ---- */

/* Points he has got. */
typedef struct MaSupposedPoints
{
	const char *model;
	TimestampTz at;
	double		number;
} MaSupposedPoints;

/* Of one journey, whose own doings in truth do not count then; ended by ma_suppose_end(). */
extern void ma_suppose_begin(const char *journey);
/* The contact is another one, of whom nothing is supposed yet. */
extern void ma_suppose_contact(int64 contact_id);
extern void ma_suppose_end(void);
extern bool ma_supposing(void);

/* "list", "vip": he is on it, or not. */
extern void ma_suppose_fact(const char *word, const char *name, bool truth);
/* A row (jsonb) of a built-in event. */
extern void ma_suppose_row(const char *event, TimestampTz at, Datum properties);
/* A jsonb object; what is null goes. */
extern void ma_suppose_attributes(Datum attributes);
extern void ma_suppose_points(const char *model, TimestampTz at, double number);

/* False if nothing is supposed. */
extern bool ma_supposed_fact(int64 contact_id, const char *word, const char *name, bool *truth);
/* The last name of which the fact is supposed to hold; NULL: of none. */
extern const char *ma_supposed_name(int64 contact_id, const char *word);
extern List *ma_supposed_points(int64 contact_id);
extern Datum ma_supposed_attributes_over(int64 contact_id, Datum attributes);
/* MaBuiltinRows.sql, with the rows that are supposed and without what they stand for. */
extern char *ma_supposed_rows_sql(const MaEvent *event, const char *sql);
/* The built-in event that nothing has named yet; NULL where nothing is supposed. */
extern MaEvent *ma_supposed_event(const char *name);
extern MaEvent *ma_supposed_event_by_id(int32 id);

/* ---- drain.c: turns of workers that take locks on contacts ---- */

/* Puts a duty's locks and their timeout on for `tick`, and off again. */
extern bool ma_drain_turn(bool (*turn) (void));
/* True when this turn should end: what is not tried yet is for the next one. */
extern bool ma_drain_late(void);

/*
 * Does `work` in a subtransaction, within `ms` milliseconds; NULL, or the error that
 * undid it.  Too long is an error like any other; a cancel or shutdown is thrown on.
 */
extern ErrorData *ma_drain_protect(void (*work) (void *arg), void *arg, int ms);

/* How many contacts a batch may lock here. */
extern int	ma_drain_batch_size(void);
/* So many may be locked in one batch, however fast it is: what the lock table has room for. */
extern int	ma_drain_most(void);

/* "=" of the type's btree operator class, schema-qualified. */
extern char *ma_equality_operator(Oid type);

/*
 * The value of a key's type that the text stands for, as the owner of the table; an
 * error of the input function if it stands for none.
 */
extern Datum ma_key_value(Oid relid, Oid type, int32 typmod, const char *text);

/* Column names of the table's primary key, else of a unique index that can serve as one. */
extern List *ma_row_key_columns(Oid relid);

/* ---- reads.c: reads that are exact whatever the workers do ---- */

/* Contacts whose stored state may be behind their rows. */
typedef struct MaStale
{
	bool		any;			/* it may be anybody */
	int			n;
	int			nsorted;		/* the first so many are sorted and unique */
	int			space;
	int64	   *ids;
} MaStale;

/* From the dirty log and this transaction's own marks, under the active snapshot. */
extern MaStale *ma_stale_contacts(void);
extern void ma_stale_add(MaStale *stale, int64 contact_id);
extern bool ma_stale_has(const MaStale *stale, int64 contact_id);
extern void ma_stale_sort(MaStale *stale);

/* Contacts with their counting keys, under the active snapshot. */
extern MaContactChange *ma_read_contacts(const int64 *ids, int n);
/* The same under the snapshot that `how` says. */
extern MaContactChange *ma_read_contacts_as(const int64 *ids, int n, MaRun how);
/* True if they ascend and few others lie between: then a range of numbers is read at once. */
extern bool ma_are_neighbours(const int64 *ids, int n);

/*
 * Hands over all contacts beyond this number, in order and in portions.  What `take`
 * allocates and the rows it reads are freed after each.
 */
typedef void (*MaContactTaker) (const int64 *ids, int n, void *arg);

extern void ma_contacts_each(int64 after, MaRun how, MaContactTaker take, void *arg);

/* Likewise these contacts. */
extern void ma_contacts_each_of(const int64 *ids, int n, MaContactTaker take, void *arg);

/* ---- what is left to the worker, and what falls due ---- */

/* Leaves contacts to the worker (dirty log: the contact itself). */
extern void ma_contacts_leave(const int64 *contact_ids, int n);

/* Leaves everybody: each contact is evaluated anew by the worker. */
extern void ma_contacts_leave_all(void);

/* ---- due.c: who falls due ---- */

/*
 * A duty's turn reads who is due: `read` has a time, now, as $1 and how many may be
 * taken as $2, and follows an index in the order of the times.
 */
extern MaRows ma_due_read(MaStatement *read);

/* When the duty is next due: the time that `read` gives without parameters, if any. */
extern TimestampTz ma_due_next(MaStatement *read);

/* What a duty knows of its queue; static, and all zero at first. */
typedef struct MaDue
{
	TimestampTz from;			/* the last turn looked from here on */
	TimestampTz next;			/* the next one will, ... */
	TransactionId xid;			/* ... if this was committed */
	bool		looked;			/* false: nothing is known */
	int64		whole_at;		/* when all is looked at again */
} MaDue;

/*
 * The same for a queue that is long: the times read begin at $3, and the rows are contact
 * and time.  ma_due_wake() evaluates them, as ma_contacts_wake(); ma_due_next_from() has
 * where to begin as $1.
 */
extern MaRows ma_due_read_from(MaStatement *read, MaDue *due);
extern bool ma_due_wake(const MaRows *rows, MaDue *due);
extern TimestampTz ma_due_next_from(MaStatement *read, const MaDue *due);

/* ---- wake.c: contacts evaluated again by a duty ---- */

/*
 * Evaluates the contacts as if rows of these events had changed (NULL: without any
 * change, for what changes by time alone), under their locks.
 * Who is busy stays as he is (with leave_busy: goes to the dirty log); who fails goes
 * to the dirty log, which knows how to rest.  True if any was done or left so.
 */
extern bool ma_contacts_wake(const int64 *contact_ids, const int32 *event_ids, int n,
							 bool leave_busy);
/* The same; `busy` (all false) tells who stays as he is, or with leave_busy was left so. */
extern bool ma_contacts_wake_each(const int64 *contact_ids, const int32 *event_ids, int n,
								  bool leave_busy, bool *busy);

/* Joins whether the contact of s waits in the dirty log by himself: w.waits, else null. */
#define MA_JOIN_DIRTY \
	"LEFT JOIN LATERAL (SELECT true AS waits FROM marketing_internal.dirty AS d " \
	"WHERE d.table_id IS NULL AND d.contact_id OPERATOR(pg_catalog.=) s.contact_id LIMIT 1) AS w ON true "

extern void ma_contacts_init(void);

#endif							/* MA_CONTACTS_H */
