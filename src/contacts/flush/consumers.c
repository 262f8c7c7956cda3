/*
 * consumers.c
 *		The engines that are told about changes: registration and dispatch.
 *
 * Higher layers register at load time; nothing here knows who they are.
 */
#include "base/base.h"

#include "contacts/flush/evaluate.h"

#define MAX_CONSUMERS 16
#define MAX_LISTENERS 8

static const MaConsumer *consumers[MAX_CONSUMERS];
static int	nconsumers = 0;
static const MaConsumer *settler = NULL;	/* the one that settles */
static void (*listeners[MAX_LISTENERS]) (void);
static int	nlisteners = 0;

static bool is_watched_by(MaDefinitions *definitions, const MaContactChange *contact,
						  const char *consumer);
static bool event_is_watched_by(const MaEvent *event, const char *consumer);
static bool may_settle(const MaConsumer *consumer, const MaContactChange *contact);

void
ma_register_consumer(const MaConsumer *consumer)
{
	if (nconsumers == MAX_CONSUMERS)
		elog(ERROR, "cannot happen: more than %d consumers", MAX_CONSUMERS);
	consumers[nconsumers++] = consumer;
	if (consumer->settle == NULL)
		return;
	/* With two, one might have added the rows when the other cannot. */
	if (settler != NULL)
		elog(ERROR, "cannot happen: two consumers that settle");
	settler = consumer;
}

void
ma_consumers_evaluate(MaContactChange *contacts, int n, TimestampTz now)
{
	for (int i = 0; i < nconsumers; i++)
		if (consumers[i]->evaluate != NULL)
			consumers[i]->evaluate(contacts, n, now);
}

/* Whether one of the contact's events is of those the consumer depends on. */
static bool
is_watched_by(MaDefinitions *definitions, const MaContactChange *contact, const char *consumer)
{
	for (int i = 0; i < contact->nevents; i++)
	{
		MaEvent    *event = ma_event_by_id(definitions, contact->events[i].event_id);

		if (event != NULL && event_is_watched_by(event, consumer))
			return true;
	}
	return false;
}

static bool
event_is_watched_by(const MaEvent *event, const char *consumer)
{
	ListCell   *cell;

	foreach(cell, event->watchers)
		if (strcmp(lfirst(cell), consumer) == 0)
			return true;
	return false;
}

void
ma_consumers_evaluate_one(MaDefinitions *definitions, MaContactChange *contact, TimestampTz now)
{
	for (int i = 0; i < nconsumers; i++)
		if (consumers[i]->evaluate != NULL &&
			(contact->identity || is_watched_by(definitions, contact, consumers[i]->name)))
			consumers[i]->evaluate(contact, 1, now);
}

bool
ma_consumers_unmoved(MaDefinitions *definitions, const MaContactChange *contact, TimestampTz now)
{
	for (int i = 0; i < nconsumers; i++)
		if (consumers[i]->evaluate != NULL &&
			is_watched_by(definitions, contact, consumers[i]->name) &&
			!may_settle(consumers[i], contact) &&
			(consumers[i]->unmoved == NULL || !consumers[i]->unmoved(contact, now)))
			return false;
	return true;
}

static bool
may_settle(const MaConsumer *consumer, const MaContactChange *contact)
{
	return contact->added_only && consumer == settler;
}

bool
ma_consumers_settle(MaDefinitions *definitions, const MaContactChange *contact, TimestampTz now)
{
	return settler == NULL || !is_watched_by(definitions, contact, settler->name) ||
		!may_settle(settler, contact) || settler->settle(contact, now);
}

bool
ma_consumers_add(const MaEvent *event)
{
	return settler != NULL && event_is_watched_by(event, settler->name);
}

void
ma_consumers_rows(MaRowChange *rows, int n, TimestampTz now)
{
	for (int i = 0; i < nconsumers && n > 0; i++)
		if (consumers[i]->rows != NULL)
			consumers[i]->rows(rows, n, now);
}

/* Of a consumer that is not known all rows may matter. */
TimestampTz
ma_consumer_reads_from(const char *name, int32 event_id)
{
	for (int i = 0; i < nconsumers; i++)
		if (strcmp(consumers[i]->name, name) == 0 && consumers[i]->reads_from != NULL)
			return consumers[i]->reads_from(event_id, ma_now());
	return DT_NOBEGIN;
}

bool
ma_consumers_want_new_contacts(void)
{
	for (int i = 0; i < nconsumers; i++)
		if (consumers[i]->wants_new_contacts != NULL && consumers[i]->wants_new_contacts())
			return true;
	return false;
}

void
ma_register_attach_listener(void (*listener) (void))
{
	if (nlisteners == MAX_LISTENERS)
		elog(ERROR, "cannot happen: more than %d listeners", MAX_LISTENERS);
	listeners[nlisteners++] = listener;
}

void
ma_tell_attached(void)
{
	for (int i = 0; i < nlisteners; i++)
		listeners[i] ();
}
