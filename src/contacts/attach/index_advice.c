/*
 * index_advice.c
 *		Is there an index by which the rows of one contact are found, and if not,
 *		which one to create.
 *
 * Everything that depends on an event reads the newest rows of a few contacts, so
 * contact (with event_column: contact and name, in either order) and time must
 * lead the index.  With the other columns that are read included, the pages of the
 * table, about one for each row, are mostly left alone.  We never create an index on
 * a user's table: it is his to pay for, and CREATE INDEX CONCURRENTLY cannot run
 * inside a function.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define MAX_INCLUDED_WIDTH 64	/* of a text on average, as far as is known */

/* An index that is wanted: its leading columns. */
typedef struct Wanted
{
	Oid			relid;
	int			nfree;			/* the first so many may stand in any order */
	List	   *columns;		/* names (char *) */
	List	   *include;		/* names of columns to include, may be empty */
} Wanted;

static Wanted wanted_for_rows(const MaEventOptions *options);
static List *included(const MaEventOptions *options, const List *columns);
static bool is_short(Oid relid, const char *column);
static char *find_index(const Wanted *wanted);
static bool index_fits(HeapTuple tuple, const Wanted *wanted);
static bool is_btree(Oid index);
static bool named_within(const char *name, const List *columns, int from, int to);
static char *index_columns(Oid relid, const Form_pg_index index, int n);
static void advise(const Wanted *wanted, const char *one);

char *
ma_index_advice(const MaEventOptions *options)
{
	Wanted		rows = wanted_for_rows(options);
	char	   *found = find_index(&rows);
	ListCell   *cell;

	if (found == NULL)
		advise(&rows, "contact");
	if (options->via != NULL)
	{
		/* From a contact to its rows of the via table, and on by the link. */
		Wanted		parents = {options->via->relid, 1, list_make1(options->contact_column), NIL};

		if (find_index(&parents) == NULL)
		{
			advise(&parents, "contact");
			found = NULL;
		}
	}
	/* From a changed row of a lookup table to the events that point to it. */
	foreach(cell, options->lookup)
	{
		Wanted		pointing = {options->relid, 1, list_make1(((MaLink *) lfirst(cell))->column),
		NIL};

		if (find_index(&pointing) == NULL)
			advise(&pointing, psprintf("lookup.%s", ((MaLink *) lfirst(cell))->name));
	}
	return found ? psprintf("index %s found", found) : "no index for it";
}

/* (contact, [event_column], occurred_at) INCLUDE (what else is read); via: the link column. */
static Wanted
wanted_for_rows(const MaEventOptions *options)
{
	Wanted		wanted = {options->relid, 1, NIL, NIL};

	if (options->via != NULL)
	{
		wanted.columns = list_make1(options->via->column);
		return wanted;
	}
	wanted.columns = list_make1(options->contact_column);
	if (options->event_column != NULL)
	{
		wanted.columns = lappend(wanted.columns, options->event_column);
		wanted.nfree = 2;
	}
	wanted.columns = lappend(wanted.columns, options->occurred_column);
	wanted.include = included(options, wanted.columns);
	return wanted;
}

/*
 * The value and what the condition reads, so that the table itself need not be read
 * for each row.  One column missing would make all others useless: then none.
 */
static List *
included(const MaEventOptions *options, const List *columns)
{
	List	   *wanted = options->condition ? list_copy(options->condition->columns) : NIL;
	List	   *result = NIL;
	ListCell   *cell;

	if (options->value_column != NULL)
		wanted = lcons(options->value_column, wanted);
	foreach(cell, options->lookup)
		wanted = lappend(wanted, ((MaLink *) lfirst(cell))->column);
	foreach(cell, wanted)
	{
		if (named_within(lfirst(cell), columns, 0, list_length(columns)) ||
			named_within(lfirst(cell), result, 0, list_length(result)))
			continue;
		if (!is_short(options->relid, lfirst(cell)))
			return NIL;
		result = lappend(result, lfirst(cell));
	}
	return result;
}

/* True for a column that does no harm in an index: a long value there fails its row. */
static bool
is_short(Oid relid, const char *column)
{
	AttrNumber	number = get_attnum(relid, column);
	Oid			type = number > 0 ? getBaseType(get_atttype(relid, number)) : InvalidOid;

	if (!OidIsValid(type))
		return false;
	return get_typlen(type) > 0 || type == NUMERICOID ||
		(TypeCategory(type) == TYPCATEGORY_STRING &&
		 get_attavgwidth(relid, number) <= MAX_INCLUDED_WIDTH);
}

/* "table (column, column)" of an index that fits, or NULL. */
static char *
find_index(const Wanted *wanted)
{
	Relation	relation = relation_open(wanted->relid, AccessShareLock);
	char	   *found = NULL;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(relation))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));

		if (!HeapTupleIsValid(tuple))
			continue;
		if (found == NULL && index_fits(tuple, wanted))
			found = psprintf("%s (%s)", quote_identifier(RelationGetRelationName(relation)),
							 index_columns(wanted->relid, (Form_pg_index) GETSTRUCT(tuple),
										   list_length(wanted->columns)));
		ReleaseSysCache(tuple);
	}
	relation_close(relation, NoLock);
	return found;
}

/* True for a valid btree index over all rows that begins with the wanted columns. */
static bool
index_fits(HeapTuple tuple, const Wanted *wanted)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	int			n = list_length(wanted->columns);

	if (!index->indisvalid || !index->indislive || index->indnkeyatts < n ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL) || !is_btree(index->indexrelid))
		return false;
	for (int i = 0; i < n; i++)
	{
		AttrNumber	number = index->indkey.values[i];
		bool		is_free = i < wanted->nfree;

		if (number <= 0 ||
			!named_within(get_attname(wanted->relid, number, false), wanted->columns,
						  is_free ? 0 : i, is_free ? wanted->nfree : i + 1))
			return false;
	}
	return true;
}

static bool
is_btree(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	bool		btree;

	if (!HeapTupleIsValid(tuple))
		return false;
	btree = ((Form_pg_class) GETSTRUCT(tuple))->relam == BTREE_AM_OID;
	ReleaseSysCache(tuple);
	return btree;
}

/* True if the name is among columns[from .. to - 1]. */
static bool
named_within(const char *name, const List *columns, int from, int to)
{
	for (int i = from; i < to; i++)
		if (strcmp(list_nth(columns, i), name) == 0)
			return true;
	return false;
}

/* The first n columns of an index, as text. */
static char *
index_columns(Oid relid, const Form_pg_index index, int n)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(get_attname(relid, index->indkey.values[i], false)));
	return text.data;
}

/* Says which index to create. */
static void
advise(const Wanted *wanted, const char *one)
{
	bool		partitioned = get_rel_relkind(wanted->relid) == RELKIND_PARTITIONED_TABLE;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE INDEX %sON %s (", partitioned ? "" : "CONCURRENTLY ",
					 ma_relation_name(wanted->relid));
	foreach(cell, wanted->columns)
		appendStringInfo(&sql, "%s%s", cell == list_head(wanted->columns) ? "" : ", ",
						 quote_identifier(lfirst(cell)));
	appendStringInfoChar(&sql, ')');
	foreach(cell, wanted->include)
		appendStringInfo(&sql, "%s%s", cell == list_head(wanted->include) ? " INCLUDE (" : ", ",
						 quote_identifier(lfirst(cell)));
	if (wanted->include != NIL)
		appendStringInfoChar(&sql, ')');
	ereport(NOTICE,
			(errmsg("table \"%s\" has no index to find the rows of one %s",
					get_rel_name(wanted->relid), one),
			 errhint("Create it with: %s;%s", sql.data,
					 partitioned ? " (On large partitions first with CONCURRENTLY on each, then attach.)" : "")));
}
