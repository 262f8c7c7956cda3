/*
 * admin.h
 *		The one public header of admin/ (layer 5): what helps a person at psql.
 */
#ifndef MA_ADMIN_H
#define MA_ADMIN_H

#include "base/base.h"

/* ---- help_topics.c: the table of contents of marketing.help() ---- */

typedef struct MaHelpTopic
{
	const char *name;
	const char *about;			/* one line */
	const char *const *names;	/* functions and views of schema marketing, up to NULL */
	const char *const *example; /* lines, up to NULL */
} MaHelpTopic;

extern const MaHelpTopic *const ma_help_topics;
extern const int ma_help_ntopics;

#endif							/* MA_ADMIN_H */
