/*
 * catalog.h
 *		The journeys of this database as the engine uses them: compiled and kept;
 *		private to journeys/.
 */
#ifndef MA_JOURNEYS_CATALOG_H
#define MA_JOURNEYS_CATALOG_H

#include "journeys/program.h"

/* A condition, compiled when it is first used. */
typedef struct MaCompiled
{
	int32		event_id;		/* 0: none of this name any more */
	bool		any_machine;	/* its where names `machine` itself */
	MaRowRule  *where;
	MaRule	   *rule;
	MaRuleSet  *set;
} MaCompiled;

/* One version of a journey that was activated: who entered by it goes on by it. */
typedef struct MaVersion
{
	int32		journey_id;
	int32		version;
	char	   *journey;
	bool		current;		/* takes entries */
	bool		held;			/* paused: its steps are not done */
	char	   *closed;			/* nobody enters: "drained" or "archived"; else NULL */
	char	   *activated_by;	/* role */
	MaJson	   *step_map;		/* for runs that move to it; NULL: none */
	char	   *zone;			/* of the segment it is entered by; NULL: none */
	MaProgram  *program;
	MaCompiled *conditions;		/* by MaCondition.number */
	MaRule	   *filter;
	MaRuleSet  *filter_set;
	bool		has_rules;		/* exits or waits by rule */
	bool		events_known;
	List	   *rule_events;	/* ids of events these rules read */
} MaVersion;

typedef struct MaJourneys
{
	List	   *versions;		/* MaVersion *, activated ones */
	bool		has_dates;		/* somebody may enter by a date of his, */
	bool		has_date_waits; /* or wait for one */
	bool		has_tests;		/* there are steps `test` */
} MaJourneys;

/*
 * The current ones; read anew when any definition has changed.  Valid to the end of
 * the transaction.  Inside ma_call_begin() or an evaluation.
 */
extern MaJourneys *ma_journeys(void);
extern MaVersion *ma_journey_version(MaJourneys *journeys, int32 journey_id, int32 version);
/* A version of this definition, in the current context; what it names is looked up now. */
extern MaVersion *ma_version_make(int32 journey_id, int32 number, const char *journey,
								  Datum definition);
/* The one that takes entries, or NULL. */
extern MaVersion *ma_journey_current(MaJourneys *journeys, int32 journey_id);

/* Compile what is given; errors are those of the rule or condition. */
extern MaRowRule *ma_version_where(MaVersion *version, const MaCondition *condition);
extern MaRule *ma_version_rule(MaVersion *version, const MaCondition *condition);
extern MaRule *ma_version_filter(MaVersion *version);

/* True if a condition other than the entry is this event: runs may exit or wake by it. */
extern bool ma_version_follows(const MaVersion *version, int32 event_id);

/* Ids of events read by rules that end a run or a wait. */
extern List *ma_version_rule_events(MaVersion *version);

/* A row of marketing_internal.journey. */
typedef struct MaJourney
{
	int32		id;
	char	   *name;
	int32		version;		/* 0: none */
	int32		draft;			/* 0: none */
	char	   *paused;			/* "hold", "skip" or NULL */
	char	   *closed;			/* "drained", "archived" or NULL */
} MaJourney;

/* NULL if there is none; or an error MA051 with the nearest names. */
extern MaJourney *ma_journey_find(const char *name);
extern MaJourney *ma_journey_required(const char *name);
extern List *ma_journey_names(void);

#endif							/* MA_JOURNEYS_CATALOG_H */
