/*
 * gate.h
 *		What the files of the gate share: the conditions, what comes next, caps and
 *		quiet hours.
 */
#ifndef MA_DELIVERY_GATE_H
#define MA_DELIVERY_GATE_H

#include "delivery/delivery_internal.h"

/* ---- checks.c: conditions in SQL ---- */

/* The first reason as "number of the condition:reason"; null: it may go. */
extern char *ma_gate_verdict_sql(void);
/* Splits it. */
extern const MaGateCheck *ma_gate_read_verdict(const char *verdict, char **reason);

/* What is asked about, as relation r; its parameters are of ma_gate_asked_values(). */
extern const char *ma_gate_asked_sql(void);
extern void ma_gate_asked_values(MaMessage **messages, int n, Datum *values);

#define MA_ASKED_ARGS 9
#define MA_ASKED_TYPES TIMESTAMPTZOID, BOOLOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, \
	BYTEAARRAYOID, TEXTARRAYOID, BOOLARRAYOID, BOOLARRAYOID

/* ---- choose.c: which messages come next ---- */

/* The next due messages of the pass, as they stand now; NULL: there is none. */
extern MaMessage *ma_gate_choose(int limit, TimestampTz now, int *n);
/* So many of them were neither claimed nor turned away: they are tried again soon. */
extern void ma_gate_left(int n);
/* A live message, however far it is from being due; false if there is none. */
extern bool ma_gate_read(int64 contact_id, int64 message_id, MaMessage *message);

/* ---- limits.c: caps and quiet hours ---- */

/* Their names among the gates. */
#define MA_GATE_CAP "cap"
#define MA_GATE_QUIET "quiet hours"

/* True if caps are defined, which need a lock of the contact besides the recipient's. */
extern bool ma_gate_has_caps(void);
/* True if caps or quiet hours are defined. */
extern bool ma_gate_has_limits(void);

/*
 * Gives places under the caps to messages that have passed all other conditions, and
 * sends away (gate, reason, becomes, next_try) who gets none or comes in quiet hours.
 * Returns messages (MaMessage *) that are displaced by them, to be settled as well.
 */
extern List *ma_gate_limit(MaMessage **messages, int n, TimestampTz now);

/* Only the quiet hours, for the second look. */
extern void ma_gate_limit_quiet(MaMessage **messages, int n, TimestampTz now);

/* A message that was sent or is under way. */
typedef struct MaGateCounted
{
	TimestampTz at;
	char	   *channel;
	int32		topic_id;
} MaGateCounted;

/*
 * The cap that a message would be over, where these count, in the order of their times, and
 * when a place is free; NULL: under all of them.
 */
extern const MaCap *ma_gate_over(const MaMessage *message, List *counted, TimestampTz now,
								 TimestampTz *frees);

#endif							/* MA_DELIVERY_GATE_H */
