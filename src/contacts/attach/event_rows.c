/*
 * event_rows.c
 *		Events and the rows they are: lookup by name, the SQL that reads the rows of
 *		a contact through the user's own index, and the reading of many contacts' at once.
 *
 * A contact's keys are cast to the column's type once, in C, and handed over as
 * an array of that type; the user's column is never cast, so his index serves,
 * and no key of another source is ever cast to a type it does not fit.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static void require_source(const MaEventSource *source);

List *
ma_event_sources(MaDefinitions *definitions, const MaEvent *event)
{
	List	   *sources = NIL;
	ListCell   *cell;

	/* A user's row that bears its name is not that event. */
	if (event->builtin)
		return NIL;
	if (event->source != NULL)
		return list_make1(event->source);
	foreach(cell, definitions->event_sources)
		if (((MaEventSource *) lfirst(cell))->event_column != NULL)
			sources = lappend(sources, lfirst(cell));
	if (event->tracked)
		sources = lappend(sources, NULL);
	return sources;
}

/* "=" of the type's btree class, qualified. */
char *
ma_equality_operator(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	Form_pg_operator operator;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_MA_NOT_ATTACHABLE),
				 errmsg("type %s has no equality operator", format_type_be(type))));
	operator = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(operator->oprnamespace)),
					NameStr(operator->oprname));
	ReleaseSysCache(tuple);
	return text;
}

/* Errors out unless the tables and columns are there by which its rows are found. */
static void
require_source(const MaEventSource *source)
{
	const char *table = source->via_table ? source->via_table->name : source->table->name;
	const char *column = !OidIsValid(source->contact_type) ? source->contact_column :
		source->via_table && !OidIsValid(source->via_key_type) ? source->via_key_column : NULL;

	if (!OidIsValid(source->table->relid) ||
		(source->via_table != NULL && !OidIsValid(source->via_table->relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("attached table \"%s\" is gone", source->table->name),
				 errhint("Call marketing.detach() for it, or restore it and attach it again.")));
	if (column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of attached table \"%s\" is gone", column, table),
				 errhint("Attach the event again with the column's new name.")));
}

char *
ma_event_from(const MaEventSource *source, char **contact)
{
	require_source(source);
	if (source->via_table == NULL)
	{
		*contact = psprintf("t.%s", quote_identifier(source->contact_column));
		return psprintf("%s AS t", source->table->qualified);
	}
	*contact = psprintf("v.%s", quote_identifier(source->contact_column));
	return psprintf("%s AS v JOIN %s AS t ON t.%s %s v.%s",
					source->via_table->qualified, source->table->qualified,
					quote_identifier(source->via_link_column),
					ma_equality_operator(source->via_key_type),
					quote_identifier(source->via_key_column));
}

char *
ma_event_select(const MaEvent *event, const MaEventSource *source,
				const char *columns, const char *key, Oid *key_type)
{
	return ma_event_select_supposed(event, source, columns, key, key_type, false);
}

char *
ma_event_select_supposed(const MaEvent *event, const MaEventSource *source,
						 const char *columns, const char *key, Oid *key_type, bool supposed)
{
	StringInfoData sql;
	char	   *from;
	char	   *contact;

	initStringInfo(&sql);
	if (source == NULL && event->builtin)
	{
		const MaBuiltinRows *rows = ma_builtin_rows(event->name);

		if (rows == NULL)
			elog(ERROR, "cannot happen: built-in event \"%s\" without rows", event->name);
		*key_type = INT8OID;
		appendStringInfo(&sql, "SELECT %s FROM (%s) AS t "
						 "CROSS JOIN LATERAL (SELECT t.occurred_at) AS r (at) "
						 "WHERE t.contact_id OPERATOR(pg_catalog.=) %s", columns,
						 supposed ? ma_supposed_rows_sql(event, rows->sql) : rows->sql, key);
		return sql.data;
	}
	if (source == NULL)
	{
		*key_type = INT8OID;
		appendStringInfo(&sql, "SELECT %s FROM marketing_internal.event AS t "
						 "CROSS JOIN LATERAL (SELECT t.occurred_at) AS r (at) "
						 "WHERE t.contact_id OPERATOR(pg_catalog.=) %s "
						 "AND t.event_id OPERATOR(pg_catalog.=) %d", columns, key, event->id);
		return sql.data;
	}
	from = ma_event_from(source, &contact);
	*key_type = source->contact_type;
	/* The time stands beside the row: a column of the table may have any name. */
	appendStringInfo(&sql, "SELECT %s FROM %s CROSS JOIN LATERAL (SELECT %s) AS r (at) "
					 "WHERE %s %s %s", columns, from, source->occurred, contact,
					 ma_equality_operator(*key_type), key);
	if (source->event_column != NULL)
		appendStringInfo(&sql, " AND t.%s::pg_catalog.text OPERATOR(pg_catalog.=) %s",
						 quote_identifier(source->event_column), quote_literal_cstr(event->name));
	if (source->condition != NULL)
		appendStringInfo(&sql, " AND (%s)", source->condition);
	appendStringInfo(&sql, " AND t.%s IS NOT NULL",
					 quote_identifier(source->occurred_column));
	return sql.data;
}

int
ma_event_keys(const MaEventSource *source, MaContactChange *contacts, int n,
			  int64 **contact_ids, Datum **keys)
{
	Oid			type = source ? source->contact_type : INT8OID;
	Oid			relid = InvalidOid;
	int64	   *ids;
	Datum	   *typed;
	int			total = 0;

	if (source != NULL)
	{
		require_source(source);
		relid = source->via_table ? source->via_table->relid : source->table->relid;
	}
	for (int i = 0; i < n; i++)
		total += Max(contacts[i].nkeys, 1);
	ids = palloc_array(int64, Max(total, 1));
	typed = palloc_array(Datum, Max(total, 1));
	total = 0;
	for (int i = 0; i < n; i++)
	{
		if (source == NULL)
		{
			ids[total] = contacts[i].contact_id;
			typed[total++] = Int64GetDatum(contacts[i].contact_id);
			continue;
		}
		for (int j = 0; j < contacts[i].nkeys; j++)
			if (contacts[i].keys[j].source_id == source->contact_source->id &&
				ma_key_holds(type, contacts[i].keys[j].external_id))
			{
				ids[total] = contacts[i].contact_id;
				typed[total++] = ma_key_value(relid, type, -1, contacts[i].keys[j].external_id);
			}
	}
	*contact_ids = ids;
	*keys = typed;
	return total;
}

MaRows
ma_event_read(const MaEvent *event, const MaEventSource *source, MaContactChange *contacts, int n,
			  const MaEventQuery *query, int64 **owners)
{
	Oid		   *types = palloc_array(Oid, 1 + query->nvalues);
	Datum	   *values = palloc_array(Datum, 1 + query->nvalues);
	char	   *rows = ma_event_select(event, source, query->columns, "k.key", &types[0]);
	Datum	   *keys;
	int			nkeys = ma_event_keys(source, contacts, n, owners, &keys);
	int			zone = -1;
	MaIdentity	caller;
	MaRows		found = {0};

	if (nkeys == 0)
		return found;
	values[0] = ma_datum_array(keys, nkeys, types[0]);
	types[0] = get_array_type(types[0]);
	for (int i = 0; i < query->nvalues; i++)
	{
		types[1 + i] = query->types[i];
		values[1 + i] = query->values[i];
	}
	if (source != NULL)
	{
		zone = ma_pin_time_zone(source->time_zone);
		ma_become_table_owner(&caller, source->table->relid);
	}
	else
		ma_become_restricted(&caller, ma_extension_required()->owner);
	found = ma_run_once(psprintf("SELECT k.n, %s FROM pg_catalog.unnest($1) WITH ORDINALITY "
								 "AS k (key, n) CROSS JOIN LATERAL (%s %s) AS e %s",
								 query->select, rows, query->conditions, query->end),
						1 + query->nvalues, types, values, NULL, query->how);
	ma_become_back(&caller);
	ma_unpin_settings(zone);
	return found;
}

int
ma_builtin_keys(const MaContactChange *contact, MaRun how, Datum **keys)
{
	static const RegProcedure equal[] = {F_INT8EQ};
	MaIndexRead *read;
	int			n;
	int64	   *ids;

	/* His keys went with him, and so did what has happened to him. */
	if (contact->nkeys == 0 && ma_contact_now(contact->contact_id) != contact->contact_id)
	{
		*keys = NULL;
		return 0;
	}
	read = ma_index_begin("contact_merge_contact_idx", lengthof(equal), equal, how);
	ids = ma_contact_and_merged(read, contact->contact_id, &n);
	ma_index_end(read);
	*keys = palloc_array(Datum, n);
	for (int i = 0; i < n; i++)
		(*keys)[i] = Int64GetDatum(ids[i]);
	return n;
}
