/*
 * events.h
 *		What the files of contacts/ that define events share: names, options of
 *		attach_events(), links to other tables, index advice, partitions.
 */
#ifndef MA_CONTACTS_EVENTS_H
#define MA_CONTACTS_EVENTS_H

#include "contacts/contacts_internal.h"
#include "utils/jsonb.h"

/* ---- event_names.c ---- */

/* Errors out on a name that is empty, too long, unprintable or reserved. */
extern void ma_event_name_check(const char *name);

/* Names (char *) of all known events. */
extern List *ma_event_names(MaDefinitions *definitions);

/* Consumers and objects that watch the event, as text for an error; NULL if none does. */
extern char *ma_event_watchers(int32 event_id);

/* ---- event_links.c: "lookup" and "via" ---- */

/* A column of the attached table that holds a key of another table. */
typedef struct MaLink
{
	char	   *name;			/* NULL for via */
	Oid			relid;			/* the other table */
	char	   *column;			/* of the attached table */
	char	   *key;			/* of the other table, unique there */
} MaLink;

extern List *ma_lookup_read(Jsonb *lookup, Oid relid);
extern MaLink *ma_via_read(Jsonb *via, Oid relid);

/* lookups.c: stores the links (MaLink) of an event source with their tables (int). */
extern void ma_lookups_store(int32 event_source_id, List *links, List *table_ids);

/* Canonical jsonb, tables qualified; via has a single link. */
extern Datum ma_lookup_jsonb(List *links);
extern Datum ma_via_jsonb(const MaLink *link);

/* ---- event_options.c ---- */

/* What attach_events() was asked for, checked. */
typedef struct MaEventOptions
{
	Oid			relid;
	char	   *event;			/* one of these two is NULL */
	char	   *event_column;
	char	   *label;			/* as the answer names it */
	char	   *contact_column;
	int32		contact_source_id;
	char	   *occurred_column;
	Oid			occurred_type;
	char	   *time_zone;		/* NULL: not given */
	MaExpression *condition;	/* NULL: every row */
	char	   *condition_source;
	bool		repeat;
	char	   *value_column;
	char	   *currency_column;
	List	   *lookup;			/* MaLink * */
	MaLink	   *via;
	bool		async;
	bool		on_replica;
} MaEventOptions;

/* Reads and checks the arguments of attach_events(), as the caller. */
extern MaEventOptions *ma_event_options_read(FunctionCallInfo fcinfo);

/* A name (SQL) of the relation that is right under any search path. */
extern char *ma_relation_name(Oid relid);

/* ---- event_contact.c: whose contact a column names ---- */

/* The source that contact ids in this column belong to; errors out if none fits. */
extern MaSource *ma_contact_source_for(MaDefinitions *definitions, const char *name,
									   Oid relid, const char *column);

/* ---- index_advice.c ---- */

/*
 * Looks for the index by which the rows of one contact are found.  Returns what
 * the answer says about it; without one, tells in a NOTICE which to create.
 */
extern char *ma_index_advice(const MaEventOptions *options);

/* ---- event_summary.c ---- */

/* How many rows the event has and since when, in words. */
extern char *ma_event_summary(const MaEventOptions *options, const char *time_zone);

/* Tells in a NOTICE how many of the first rows name no contact of the source. */
extern void ma_event_tell_strangers(const MaEventOptions *options, const char *time_zone,
									const MaSource *source);

/* ---- attach_events.c ---- */

/* Lets one transaction at a time change event sources. */
extern void ma_event_definitions_lock(void);

/* The attached table, also when its trigger is gone but its name is the same; or NULL. */
extern MaTable *ma_attached_table(MaDefinitions *definitions, Oid relid);

/* ---- event_properties.c: types of the properties of tracked events ---- */

/* {"plan": "varchar"} checked, with the names of types as they are stored. */
extern Jsonb *ma_property_types_read(Jsonb *declared);

/* Errors out on a property that is not of its declared type. */
extern void ma_properties_check(const char *event, Jsonb *properties, Jsonb *types);

/* ---- partitions.c ---- */

/* Makes the first partitions of tracked events; runs inside ma_call_begin(). */
extern void ma_event_partitions_ensure(void);

/* ---- init ---- */

/* Registers the duties of the events half. */
extern void ma_events_init(void);

#endif							/* MA_CONTACTS_EVENTS_H */
