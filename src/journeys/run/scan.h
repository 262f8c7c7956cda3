/*
 * scan.h
 *		How far signals and due hints are read, see scan.c; private to journeys/.
 */
#ifndef MA_JOURNEYS_SCAN_H
#define MA_JOURNEYS_SCAN_H

#include "base/base.h"

/* At the beginning of a turn; `anew`: all is to be read from the start. */
extern void ma_scan_begin(TimestampTz now, bool anew);
/* At its end, when nothing failed. */
extern void ma_scan_end(void);

extern TimestampTz ma_scan_hints_from(void);
/* All hints before this instant are read and taken. */
extern void ma_scan_hints_read(TimestampTz to);

extern int64 ma_scan_signals_after(void);
/* All up to this number are read, whoever commits. */
extern int64 ma_scan_signals_settled(void);
/*
 * Signals up to `last` are read; `all_taken`: none was left for later.  True if a scan
 * from the start of what is not settled should follow.
 */
extern bool ma_scan_signals_read(int64 last, bool found, bool all_taken);

#endif							/* MA_JOURNEYS_SCAN_H */
