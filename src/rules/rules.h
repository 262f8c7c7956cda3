/*
 * rules.h
 *		The one public header of rules/ (layer 2): the rule language.
 *
 * One language for segments, filters and conditions of journeys: a text is parsed
 * and checked once, printed in canonical form, evaluated for contacts as of an
 * instant, and compiled to plain SQL that serves as its oracle.  Every evaluation
 * says until when it holds if no row changes: nothing polls.
 *
 * What lies above layer 2 (segments, lists, topics, stages) registers how names of
 * it are resolved, see MaRuleFact.
 */
#ifndef MA_RULES_H
#define MA_RULES_H

#include "contacts/contacts.h"

/* ---- Truth, and until when it holds ---- */

/* `truth` holds at every instant of [as of, until) while the rows stay as they are. */
typedef struct MaTruth
{
	bool		truth;
	TimestampTz until;			/* DT_NOEND: until a row changes */
} MaTruth;

/* ---- Rules ---- */

typedef struct MaRule MaRule;

/* Where a rule stands. */
typedef struct MaRuleScope
{
	const char *what;			/* names it in errors: "rule of segment \"vip\"" */
	const char *time_zone;		/* of contacts without one; NULL: the session's */
	const char *search_path;	/* for functions in SQL; NULL: pg_catalog only */
	const MaEvent *entry_event; /* of a journey: entry.x is its row; NULL: there is none */
} MaRuleScope;

/*
 * Parses and checks a rule; runs inside ma_call_begin(), as `definer`, whose rights
 * on what it reads are checked (InvalidOid: not).  Errors carry a caret into `text`.
 * The rule lives in the current memory context, and no longer than the definitions:
 * compile it anew when ma_definitions_epoch() has changed.  A text that begins with
 * "{" is the rule's JSON.
 */
extern MaRule *ma_rule_parse(const char *text, const MaRuleScope *scope, Oid definer);

/* The canonical text; parsing it gives the same rule. */
extern char *ma_rule_text(const MaRule *rule);

/* The rule as JSON (jsonb). */
extern Datum ma_rule_json(const MaRule *rule);

/* False if it uses what only a worker may run (functions that are not built in, sql (...)). */
extern bool ma_rule_is_sync(const MaRule *rule);
/* False if its SQL runs what users wrote: not with the rights of the extension's owner. */
extern bool ma_rule_is_plain(const MaRule *rule);
/* Usecs between two looks at its slowest sql (...) recheck every DUR; 0: it has none. */
extern int64 ma_rule_recheck(const MaRule *rule);

/* The time zone it is evaluated in where a contact has none. */
extern const char *ma_rule_time_zone(const MaRule *rule);

/*
 * Plain SQL that gives contact_id of every contact for whom the rule is true at `now`,
 * an SQL expression ("marketing.now()").  It names tables as they are called now.
 */
extern char *ma_rule_sql(const MaRule *rule, const char *now);
/* The same for a rule with entry.x: `entry` is SQL, a jsonb. */
extern char *ma_rule_sql_entered(const MaRule *rule, const char *now, const char *entry);

/*
 * How rows of an event move a rule, by MA_SIGN_PLUS and MA_SIGN_MINUS: MA_MOVES_UP,
 * adding rows can only make it true; MA_MOVES_DOWN, only false; both: anything.
 */
#define MA_MOVES_UP 1
#define MA_MOVES_DOWN 2

typedef struct MaRuleEvent
{
	int32		event_id;		/* below zero: a built-in one that nothing has named yet */
	const char *name;
	uint8		moves;
	List	   *columns;		/* columns (char *) of the row it reads */
} MaRuleEvent;

/* The events it reads (MaRuleEvent *), also through segments it names. */
extern List *ma_rule_events(const MaRule *rule);

/* Tables (Oid) whose rows it reads, ours among them, also through segments; ascending. */
extern List *ma_rule_relations(const MaRule *rule);

/* Names (char *) after this word ("segment", "list") in it, directly. */
extern List *ma_rule_names(const MaRule *rule, const char *word);
/*
 * Names (char *) of this kind, as ma_register_uses() has it, that it would miss: those after
 * the word, and those that columns of events of ours are compared with ("model = 'lead'").
 */
extern List *ma_rule_uses(const MaRule *rule, const char *kind);

/*
 * How the rule leads to this "segment" or "score", by segments it names and scores they are
 * part of: " -> score lead -> segment vip"; NULL: it does not.
 */
extern char *ma_rule_path(const MaRule *rule, const char *word, const char *name);

/* Watches all it reads; undone by ma_unwatch_events() with the same two names. */
extern void ma_rule_watch(const char *consumer, const char *object, const MaRule *rule);

/* ---- Evaluation ---- */

/* Rules that are evaluated together and share what they read of a contact. */
typedef struct MaRuleSet MaRuleSet;

/* Lives in the current memory context, whose reset frees its kept plans. */
extern MaRuleSet *ma_rule_set_make(MaRule **rules, int nrules);

/*
 * Evaluates rules for contacts as of each contact's instant: out[c * nrules + r],
 * where wanted[c * nrules + r] (NULL: all).  A contact without keys fits no rule.
 * `how`: MA_RUN_READ or MA_RUN_READ_LATEST, the snapshot rows are read under.
 */
extern void ma_rule_set_evaluate(MaRuleSet *set, MaContactChange *contacts, int n,
								 const TimestampTz *as_of, MaRun how,
								 const bool *wanted, MaTruth *out);

/* Rows of the event from before this instant are not read by an evaluation as of `at`. */
extern TimestampTz ma_rule_set_reads_from(const MaRuleSet *set, int32 event_id, TimestampTz at);

/*
 * The same for rules of a journey: entries[c] is the row (jsonb) the run of contacts[c]
 * was entered by, 0 if there is none; a contact may be there once for each of his runs.
 */
extern void ma_rule_set_evaluate_entered(MaRuleSet *set, MaContactChange *contacts, int n,
										 const TimestampTz *as_of, const Datum *entries,
										 MaRun how, const bool *wanted, MaTruth *out);

/*
 * True if a contact who never had any of its events may fit the rule because of that
 * ("no order_placed in 30 days" holds for yesterday's sign-up).
 */
extern bool ma_rule_true_without_events(const MaRule *rule);

/* One rule for contacts, all as of one instant. */
extern void ma_rule_evaluate(MaRule *rule, MaContactChange *contacts, int n,
							 TimestampTz as_of, MaRun how, MaTruth *out);

/*
 * A line of the explanation of a rule for one contact, in the order they are shown.
 * `truth.until` is when the answer changes if no row does, not a lower bound of it; of
 * a row until when it counts (DT_NOBEGIN: it does not, or time does not decide it).
 */
typedef struct MaRuleLine
{
	int			depth;
	char	   *node;			/* "count(order_placed) in 365 days" */
	char	   *value;			/* may be NULL */
	char	   *needs;			/* ">= 5"; may be NULL */
	MaTruth		truth;
	bool		unknown;		/* counts as false */
	bool		is_number;		/* a value within arithmetic: no truth of its own */
	bool		is_row;			/* a row the line above rests on: no truth either */
	TimestampTz at;				/* of the row */
	char	   *because;
} MaRuleLine;

extern List *ma_rule_explain(MaRule *rule, MaContactChange *contact, TimestampTz as_of,
							 MaRun how);

/* A condition over columns, and for how many of the contacts it is unknown. */
typedef struct MaRuleUnknown
{
	char	   *text;
	int64		n;
} MaRuleUnknown;

/*
 * Adds what is unknown of these contacts to the list (NIL at first) of MaRuleUnknown,
 * which lives as long as the rule.
 */
extern List *ma_rule_unknowns(MaRule *rule, MaContactChange *contacts, int n, MaRun how,
							  List *unknowns);

/* ---- Rule views: PostgreSQL's own dependencies (schema marketing_rule) ---- */

/*
 * Makes or replaces the view marketing_rule.<kind>_<object> of the rule; it follows
 * renames and keeps what it reads from being dropped.  Inside ma_call_begin().
 */
extern void ma_rule_view_set(const char *kind, const char *object, const MaRule *rule);
/* The same of any SQL, as long as its columns stay the same. */
extern void ma_rule_view_set_sql(const char *kind, const char *object, const char *sql);
extern void ma_rule_view_drop(const char *kind, const char *object);
/* The view; InvalidOid when somebody has dropped it with CASCADE: the rule is broken. */
extern Oid	ma_rule_view_relid(const char *kind, const char *object);
extern bool ma_rule_view_exists(const char *kind, const char *object);

/* ---- follow.c: rules from their stored texts, as what they read is called now ---- */

/* Why a rule is broken that columns of each other's names would read. */
#define MA_RULE_RENAMED "columns it reads were renamed, and its text would mean others now"

typedef struct MaRuleStored
{
	MaRule	   *rule;			/* NULL: broken, it cannot be compiled */
	char	   *text;			/* as stored, or what that stands for now */
	const char *error;			/* why it is broken */
	bool		followed;		/* text is not what is stored: names were renamed since */
	bool		altered;		/* a column its view reads was altered since that was made */
	bool		misses_column;	/* broken for want of one, which may come back */
} MaRuleStored;

/* A round of compilations begins: looks at which views a column was altered. */
extern void ma_rule_views_look(void);
/* The rule of this text, which has the view of ma_rule_view_set(). */
extern void ma_rule_compile_stored(MaRuleStored *stored, const char *kind, const char *object,
								   const char *text, const MaRuleScope *scope);
/* True if the view says something else than the rule. */
extern bool ma_rule_view_differs(const char *kind, const char *object, const MaRule *rule);
/* Columns of users' tables that the view reads, as texts to compare. */
extern List *ma_rule_view_reads(const char *kind, const char *object);

/* ---- What stands in upper layers: `in segment x`, `in list x`, `subscribed x`, `stage x` ---- */

typedef struct MaRuleFact
{
	const char *word;			/* "segment", "list", "subscribed", "stage" */

	/* True if there is one of this name; else *candidates (char *) for the hint. */
	bool		(*find) (const char *name, const char *by, List **candidates);

	/* Either: text and time zone of the rule it stands for (segments) ... */
	char	   *(*rule) (const char *name, char **time_zone);

	/* ... or who it holds for, and the same as an SQL condition on c.contact_id. */
	void		(*test) (const char *name, const char *by, const int64 *contact_ids, int n,
						 TimestampTz as_of, MaRun how, MaTruth *out);
	char	   *(*sql) (const char *name, const char *by, const char *now);
} MaRuleFact;

extern void ma_register_rule_fact(const MaRuleFact *fact);

/*
 * The test() of a fact that stands in rows: `read` gives the places, from 1 on, of those of
 * the contacts ($1) for whom it holds under its name ($2).
 */
extern void ma_rule_fact_in_rows(MaStatement *read, const char *name, const int64 *contact_ids,
								 int n, MaRun how, MaTruth *out);

/* ---- What keeps scores: `score(model)`; all by the model's name, which is there ---- */

/* A score is a multiple of 1 / MA_RULE_SCORE_STEPS. */
#define MA_RULE_SCORE_STEPS 10000

/* A contact's score: `raw` at the instant, from there on it only fades up to `until`. */
typedef struct MaRuleScore
{
	float8		raw;
	TimestampTz instant;
	TimestampTz until;
} MaRuleScore;

typedef struct MaRuleScores
{
	/* True if there is one of this name; else *candidates (char *) for the hint. */
	bool		(*find) (const char *model, List **candidates);

	/* Scores of different contacts, each as of its instant. */
	void		(*compute) (const char *model, MaContactChange *contacts, int n,
							const TimestampTz *as_of, MaRun how, MaRuleScore *scores);

	/* The score at an instant before `until`, rounded. */
	float8		(*value) (const char *model, const MaRuleScore *score, TimestampTz at);

	/* When "score >= bound" is first another one than at `at`, or `until`. */
	TimestampTz (*holds) (const char *model, const MaRuleScore *score, TimestampTz at,
						  float8 bound);

	/* From when on, not before `at`, the score does not change any more up to `until`. */
	TimestampTz (*settled) (const char *model, const MaRuleScore *score, TimestampTz at);

	/* What it reads: events (MaRuleEvent *), tables (Oid), entries of segments (char *). */
	List	   *(*events) (const char *model);
	List	   *(*relations) (const char *model);
	List	   *(*segments) (const char *model);
	TimestampTz (*reads_from) (const char *model, int32 event_id, TimestampTz at);

	/* SELECT of contact_id and score (numeric) of all contacts with points at `now`. */
	char	   *(*sql) (const char *model, const char *now);
} MaRuleScores;

extern void ma_register_rule_scores(const MaRuleScores *scores);

/*
 * A score model or segment ("score", "segment") changes, and with it what rules that name
 * it read and say: told within the call that changes it, before, and when the new one is
 * there (changed).
 */
typedef void (*MaNamedListener) (const char *word, const char *name, bool changed);
extern void ma_register_named_listener(MaNamedListener listener);
extern void ma_tell_named(const char *word, const char *name, bool changed);

/* ---- `where (...)` over one event row held as jsonb: entries, exits and waits ---- */

typedef struct MaRowRule MaRowRule;

/*
 * An SQL boolean over the row of `event` (bare names), columns of its lookups,
 * `contact.x`, and `entry.x`, the row of entry_event (NULL: not allowed).  `what`,
 * `definer` and the caret as for ma_rule_parse().
 */
extern MaRowRule *ma_row_rule_parse(const MaEvent *event, const char *text,
									const MaEvent *entry_event, const char *what, Oid definer);
extern char *ma_row_rule_text(const MaRowRule *rule);
/* Columns (char *) of the event's row it reads, for ma_watch_event(). */
extern List *ma_row_rule_columns(const MaRowRule *rule);
/* Names (char *) of this kind, as ma_register_uses() has it, that columns are compared with. */
extern List *ma_row_rule_names(const MaRowRule *rule, const char *kind);
/* rows, entries: jsonb images (MaRowChange.properties); unknown counts as false. */
extern void ma_row_rule_test(MaRowRule *rule, Datum *rows, Datum *entries,
							 MaContactChange *contacts, int n, MaRun how, bool *out);

/* ---- SQL over one row of an event, where it stands in its table: score rules ---- */

/*
 * Where rows of the event may stand (MaEventSource *; NULL: tracked), whether or not one was
 * tracked yet: SQL that is kept names these.
 */
extern List *ma_event_parts(MaDefinitions *definitions, const MaEvent *event);
/*
 * Checks an expression of `type` (boolean or a number) as ma_expression_check() does; it may
 * also read columns of the source's lookups.  `definer` is whose rights on those are
 * checked.  Its columns hold them as "product.category".  Without a source, of a tracked or
 * a built-in event, names are properties.
 */
extern MaExpression *ma_row_sql_check(const MaEvent *event, const MaEventSource *source,
									  const char *text, Oid type, const char *what, Oid definer);
/* What it names of this kind, as ma_row_rule_names(), of a built-in event. */
extern List *ma_row_sql_names(const MaEvent *event, const char *text, Oid type, const char *kind);
/* True if the source (NULL: tracked events) is there still, with all the columns. */
extern bool ma_row_sql_fits(const MaEventSource *source, List *columns);
/* The checked text as SQL over the source's row, as alias t, in parentheses. */
extern char *ma_row_sql(const MaEventSource *source, const char *expression, List *columns);
/*
 * SQL over a row of a built-in event that leaves out what a machine did; NULL where nothing
 * tells that, or the condition (may be NULL) names `machine` itself.
 */
extern const char *ma_row_sql_people(const MaEvent *event, const char *condition);

extern void ma_rules_init(void);

#endif							/* MA_RULES_H */
