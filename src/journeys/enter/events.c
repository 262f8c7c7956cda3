/*
 * events.c
 *		Rows of journey_entered, journey_exited and goal_reached, as conditions of rules
 *		read them: the enrollments themselves, and the goals they have reached.
 *
 * The scheduler raises the events in the transaction that writes the row
 * (batch_write.c); drop_journey() takes rows away and leaves everybody to be looked at.
 */
#include "base/base.h"

#include "journeys/engine.h"

#define ENROLLMENTS_SQL(at, reason) \
	"SELECT e.contact_id, " at " AS occurred_at, " \
	"pg_catalog.jsonb_build_object('journey', j.name" reason ") AS properties " \
	"FROM marketing_internal.enrollment AS e JOIN marketing_internal.journey AS j " \
	"ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id WHERE " at " IS NOT NULL"

static const MaBuiltinRows rows[] = {
	{"journey_entered", "enrollment", ENROLLMENTS_SQL("e.entered_at", "")},
	{"journey_exited", "enrollment",
		ENROLLMENTS_SQL("e.ended_at", ", 'reason', COALESCE(e.reason, e.state)")},
	{"goal_reached", "enrollment_goal",
		"SELECT g.contact_id, g.at AS occurred_at, "
		"pg_catalog.jsonb_build_object('journey', j.name) AS properties "
		"FROM marketing_internal.enrollment_goal AS g JOIN marketing_internal.journey AS j "
		"ON j.journey_id OPERATOR(pg_catalog.=) g.journey_id WHERE NOT g.milestone"}
};

void
ma_journey_events_init(void)
{
	ma_register_builtin_rows(rows, lengthof(rows));
}

bool
ma_journey_events_read(void)
{
	for (int i = 0; i < lengthof(rows); i++)
		if (ma_builtin_is_read(rows[i].event))
			return true;
	return false;
}
