/*
 * capture_plan.h
 *		What the capture trigger does for one relation; private to contacts/.
 */
#ifndef MA_CAPTURE_PLAN_H
#define MA_CAPTURE_PLAN_H

#include "contacts/capture/changes.h"
#include "utils/reltrigger.h"
#include "utils/relcache.h"

/* A column by its number in this relation (partitions differ), with its output function. */
typedef struct CaptureColumn
{
	AttrNumber	attnum;			/* 0: not there */
	char	   *name;
	FmgrInfo	output;
	bool		pinned;			/* output depends on settings */
} CaptureColumn;

/* An event name something depends on. */
typedef struct CaptureName
{
	int32		event_id;
	char	   *name;
	bool		row_grade;
	bool		adds;			/* somebody adds new rows to what he knows */
} CaptureName;

/* An event of this relation. */
typedef struct CaptureEvent
{
	int32		event_source_id;
	int32		contact_source_id;
	bool		by_link;		/* contact is a link to a via table */
	bool		row_grade;
	CaptureColumn contact;		/* contact column, or link column */
	CaptureColumn name;			/* event column, attnum 0 if the name is fixed */
	AttrNumber	occurred;
	int			nnames;
	CaptureName *names;
	int			ncolumns;		/* a change of none of these changes nothing */
	AttrNumber *columns;
} CaptureEvent;

/* This relation is the via table of an event. */
typedef struct CaptureVia
{
	int32		event_source_id;
	int32		contact_source_id;
	CaptureColumn key;			/* what the event's link column refers to */
	CaptureColumn contact;
	int			nnames;
	CaptureName *names;
	int			ncolumns;
	AttrNumber	columns[2];
} CaptureVia;

/* This relation is a lookup table of an event, and something reads its columns. */
typedef struct CaptureLookup
{
	int32		event_source_id;
	CaptureColumn key;
	int			ncolumns;		/* the key and what is read */
	AttrNumber *columns;
} CaptureLookup;

typedef struct CapturePlan
{
	Oid			relid;			/* hash key */
	bool		valid;
	bool		expired;		/* a message came in since its making began */
	uint64		epoch;			/* of the definitions it was made from */
	MemoryContext context;
	bool		idle;			/* nothing depends on this relation */
	int32		table_id;
	int32		source_id;		/* 0: no contact source */
	CaptureColumn source_key;
	int			nsource_columns;
	AttrNumber *source_columns;
	int			nevents;
	CaptureEvent *events;
	int			nvias;
	CaptureVia *vias;
	int			nlookups;
	CaptureLookup *lookups;
	int			nkey;			/* unique key, for row grade */
	CaptureColumn *key;
	int			ncolumns;		/* all columns, for row grade */
	CaptureColumn *columns;
} CapturePlan;

/* The plan of this relation under this trigger; NULL when it is not attached. */
extern CapturePlan *ma_capture_plan(Relation relation, Trigger *trigger);

/* A value as its type prints it under pinned settings, in UTC, in the current context. */
extern char *ma_capture_text(const CaptureColumn *column, Datum value);

extern void ma_capture_plan_init(void);

#endif							/* MA_CAPTURE_PLAN_H */
