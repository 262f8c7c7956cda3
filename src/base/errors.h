/*
 * errors.h
 *		SQLSTATE class MA: the conditions a caller may want to branch on.
 *
 * A code of our own stands here only where no standard code says it; wrong
 * types, missing privileges and the like keep PostgreSQL's codes.  The table in
 * README.md ("Error codes") repeats this list, and a test compares the two.
 */
#ifndef MA_BASE_ERRORS_H
#define MA_BASE_ERRORS_H

#include "utils/elog.h"

/* MA001 unknown_contact: no contact under this id. */
#define ERRCODE_MA_UNKNOWN_CONTACT MAKE_SQLSTATE('M', 'A', '0', '0', '1')
/* MA002 unknown_source: no attached table or prefix of this name. */
#define ERRCODE_MA_UNKNOWN_SOURCE MAKE_SQLSTATE('M', 'A', '0', '0', '2')
/* MA003 unknown_event: the event is neither attached, declared nor built in. */
#define ERRCODE_MA_UNKNOWN_EVENT MAKE_SQLSTATE('M', 'A', '0', '0', '3')
/* MA004 not_attachable: the table lacks what attaching needs. */
#define ERRCODE_MA_NOT_ATTACHABLE MAKE_SQLSTATE('M', 'A', '0', '0', '4')
/* MA005 invalid_expression: an SQL expression is not allowed here. */
#define ERRCODE_MA_INVALID_EXPRESSION MAKE_SQLSTATE('M', 'A', '0', '0', '5')
/* MA006 name_in_use: the name belongs to another definition or is reserved. */
#define ERRCODE_MA_NAME_IN_USE MAKE_SQLSTATE('M', 'A', '0', '0', '6')
/* MA007 not_ready: library and installed extension do not fit together. */
#define ERRCODE_MA_NOT_READY MAKE_SQLSTATE('M', 'A', '0', '0', '7')
/* MA008 armed: real delivery and a set clock exclude each other. */
#define ERRCODE_MA_ARMED MAKE_SQLSTATE('M', 'A', '0', '0', '8')
/* MA009 still_building: the table's existing rows are still being read. */
#define ERRCODE_MA_STILL_BUILDING MAKE_SQLSTATE('M', 'A', '0', '0', '9')
/* MA010 state_changed: a guarded write met a state it did not expect. */
#define ERRCODE_MA_STATE_CHANGED MAKE_SQLSTATE('M', 'A', '0', '1', '0')
/* MA050 invalid_journey: the definition of a journey has errors, all listed with their places. */
#define ERRCODE_MA_INVALID_JOURNEY MAKE_SQLSTATE('M', 'A', '0', '5', '0')
/* MA051 unknown_journey: there is no journey of this name. */
#define ERRCODE_MA_UNKNOWN_JOURNEY MAKE_SQLSTATE('M', 'A', '0', '5', '1')
/* MA052 journey_not_active: the journey is a draft, drained or archived. */
#define ERRCODE_MA_JOURNEY_NOT_ACTIVE MAKE_SQLSTATE('M', 'A', '0', '5', '2')
/* MA040 unknown_topic: no topic of this name. */
#define ERRCODE_MA_UNKNOWN_TOPIC MAKE_SQLSTATE('M', 'A', '0', '4', '0')
/* MA041 unknown_message: no message under this number, or not in a state for it. */
#define ERRCODE_MA_UNKNOWN_MESSAGE MAKE_SQLSTATE('M', 'A', '0', '4', '1')
/* MA042 unknown_sender: no sender of this name. */
#define ERRCODE_MA_UNKNOWN_SENDER MAKE_SQLSTATE('M', 'A', '0', '4', '2')
/* MA043 unknown_cap: no cap of this name. */
#define ERRCODE_MA_UNKNOWN_CAP MAKE_SQLSTATE('M', 'A', '0', '4', '3')
/* MA020 invalid_rule: the text is not a rule. */
#define ERRCODE_MA_INVALID_RULE MAKE_SQLSTATE('M', 'A', '0', '2', '0')
/* MA021 unknown_segment: no segment, list, topic or stage of this name. */
#define ERRCODE_MA_UNKNOWN_SEGMENT MAKE_SQLSTATE('M', 'A', '0', '2', '1')
/* MA022 rule_cycle: segments would depend on each other in a circle. */
#define ERRCODE_MA_RULE_CYCLE MAKE_SQLSTATE('M', 'A', '0', '2', '2')
/* MA023 rule_broken: what the rule reads is gone, or it raised an error when evaluated. */
#define ERRCODE_MA_RULE_BROKEN MAKE_SQLSTATE('M', 'A', '0', '2', '3')
/* MA024 unknown_history: who was in the segment at that instant is not known (any more). */
#define ERRCODE_MA_UNKNOWN_HISTORY MAKE_SQLSTATE('M', 'A', '0', '2', '4')
/* MA030 invalid_template: a template's text is wrong. */
#define ERRCODE_MA_INVALID_TEMPLATE MAKE_SQLSTATE('M', 'A', '0', '3', '0')
/* MA031 render_failed: a template could not be rendered with these data. */
#define ERRCODE_MA_RENDER_FAILED MAKE_SQLSTATE('M', 'A', '0', '3', '1')
/* MA032 unknown_template: no template, layout, snippet or query of this name. */
#define ERRCODE_MA_UNKNOWN_TEMPLATE MAKE_SQLSTATE('M', 'A', '0', '3', '2')
/* MA033 no_coupon: a coupon pool has no code left. */
#define ERRCODE_MA_NO_COUPON MAKE_SQLSTATE('M', 'A', '0', '3', '3')
/* MA045 unknown_score: no score model or rule of this name. */
#define ERRCODE_MA_UNKNOWN_SCORE MAKE_SQLSTATE('M', 'A', '0', '4', '5')
/* MA046 unknown_owner: no owner of this name, or no task under this number. */
#define ERRCODE_MA_UNKNOWN_OWNER MAKE_SQLSTATE('M', 'A', '0', '4', '6')

#endif							/* MA_BASE_ERRORS_H */
