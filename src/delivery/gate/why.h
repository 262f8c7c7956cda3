/*
 * why.h
 *		What why.c finds out about the message in question, for the gates of delivery.
 */
#ifndef MA_DELIVERY_WHY_H
#define MA_DELIVERY_WHY_H

#include "delivery/delivery_internal.h"

typedef struct MaWhyMessage
{
	char	   *state;			/* NULL: there is no message */
	bool		live;
	char	   *gate;			/* that decided last, or is shut now; NULL: none is */
	char	   *reason;
	TimestampTz at;				/* of the state */
	TimestampTz next_at;		/* of a live one */
	TimestampTz next_try;		/* that the gate says now; 0: none */
	char	   *address;
	char	   *detail;
	char	   *channel;
	int32		topic_id;
} MaWhyMessage;

/* Of the question that is being answered. */
extern MaWhyMessage ma_why_message;

#endif							/* MA_DELIVERY_WHY_H */
