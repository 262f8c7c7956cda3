/*
 * stages.h
 *		What the files about stages of the life cycle share; private to scoring/.
 */
#ifndef MA_SCORING_STAGES_H
#define MA_SCORING_STAGES_H

#include "rules/rules.h"
#include "scoring/scoring.h"

#define MA_STAGE_CONSUMER "stages"
#define MA_STAGE_VIEW "stage"	/* kind of the views of rules */

typedef struct MaStage
{
	int32		id;
	char	   *name;
	int			place;			/* in the order of the life cycle */
	char	   *text;			/* canonical rule, with the names of now; NULL: none */
	bool		followed;		/* text is not what is stored: names were renamed since */
	char	   *time_zone;
	char	   *signature;		/* what the rule said when it was last looked at for all */
	MaRule	   *rule;			/* NULL: none, or it is broken */
	const char *error;			/* why it is broken */
	bool		building;		/* everybody is being looked at, see build.c */
	int			number;			/* of the rule in the set */
} MaStage;

typedef struct MaStages
{
	int			n;
	MaStage   **stages;			/* in their order */
	int			nrules;
	MaRuleSet  *set;			/* of those that have a rule */
	bool		building;		/* some stage is being built, */
	bool		passed_over;	/* or was while somebody was busy, who is to be looked at yet */
} MaStages;

/* All stages; valid to the end of the transaction. */
extern MaStages *ma_stages(void);
extern MaStage *ma_stage_by_name(const char *name);
extern MaStage *ma_stage_by_id(int32 id);
/* Or an error with the nearest names. */
extern MaStage *ma_stage_get(const char *name);

/* What the rule says with all that it names, as a number. */
extern char *ma_stage_signature(const MaRule *rule);
/* True if the stage's rule says something else now, which is to be noticed yet; in the worker. */
extern bool ma_stage_is_stale(const MaStage *stage);

/* ---- move.c: from stage to stage ---- */

/* A contact that comes to a stage. */
typedef struct MaStageMove
{
	int64		contact_id;
	MaStage    *from;			/* NULL: none */
	MaStage    *to;
	TimestampTz at;
	const char *origin;
	int64		merged_id;		/* who became one with him and was there; else 0 */
	int64		change_id;		/* set when it is written */
} MaStageMove;

/*
 * Writes the changes, whose contacts are locked, and the stages of the contacts.  Moves to a
 * stage that has been dropped meanwhile are not done; returns how many are, which come first.
 */
extern int	ma_stage_moves_write(MaStageMove *moves, int n);
/* Columns of the event. */
extern Datum ma_stage_properties(const MaStageMove *move);

/* ---- the files' inits ---- */

extern void ma_stage_consumer_init(void);
extern void ma_stage_move_init(void);
extern void ma_stage_define_init(void);
extern void ma_stage_build_init(void);

#endif							/* MA_SCORING_STAGES_H */
