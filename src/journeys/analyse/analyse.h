/*
 * analyse.h
 *		What a definition says that nobody can have meant, private to journeys/analyse/.
 */
#ifndef MA_JOURNEYS_ANALYSE_H
#define MA_JOURNEYS_ANALYSE_H

#include "journeys/catalog.h"
#include "journeys/program.h"

/* A program that is looked at. */
typedef struct MaAnalysis
{
	const MaProgram *program;
	const char *name;			/* of the journey */
	Oid			definer;
	List	   *warnings;		/* MaProblem * */
	bool	   *dead;			/* by MaCondition.number: it is never true where it is asked */
	List	   *no_else;		/* MaStep *: branches whose last path is never taken */
	List	   *reached;		/* MaStep * */
} MaAnalysis;

/* ---- truth.c ---- */

/* Finds the conditions that are never true: dead, no_else. */
extern void ma_analyse_truth(MaAnalysis *analysis);

/* ---- ways.c ---- */

/* Steps (MaStep *) that may follow this one. */
extern List *ma_step_successors(const MaAnalysis *analysis, const MaStep *step);
/* Finds what is reached, and warns of the rest and of loops. */
extern void ma_analyse_ways(MaAnalysis *analysis);

/* ---- sends.c ---- */

extern void ma_analyse_sends(MaAnalysis *analysis);

#endif							/* MA_JOURNEYS_ANALYSE_H */
