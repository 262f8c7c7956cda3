/*
 * broadcasts.h
 *		The one public header of broadcasts/ (layer 4): one message to many, once.
 *
 * A broadcast is a journey over an audience that is frozen when it is launched; this
 * room makes the journey, and decides which variant of a test has won.
 */
#ifndef MA_BROADCASTS_H
#define MA_BROADCASTS_H

#include "base/base.h"

extern void ma_broadcasts_init(void);

#endif							/* MA_BROADCASTS_H */
