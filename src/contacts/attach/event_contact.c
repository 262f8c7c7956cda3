/*
 * event_contact.c
 *		Which attached source the ids in a contact column belong to, and whether
 *		the column's type can hold them.
 *
 * Two sources may use the same numbers for different people, so there is no
 * guess: the foreign key says it, or there is only one source, or the caller does.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "contacts/events.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static MaSource *named_source(MaDefinitions *definitions, const char *name);
static MaSource *default_source(MaDefinitions *definitions, Oid relid, const char *column);
static MaSource *source_of_foreign_key(MaDefinitions *definitions, Oid relid, AttrNumber column);
static bool single_column(HeapTuple tuple, TupleDesc desc, AttrNumber field, AttrNumber *column);
static MaSource *source_of(MaDefinitions *definitions, Oid relid, AttrNumber key);
static char *source_names(List *sources);
static void check_type(const MaSource *source, Oid relid, const char *column);
static bool prints_as(const MaSource *source, Oid relid, const char *column, Oid type);
static char *column_type_text(Oid relid, const char *column);

MaSource *
ma_contact_source_for(MaDefinitions *definitions, const char *name, Oid relid, const char *column)
{
	MaSource   *source = name ? named_source(definitions, name) :
		default_source(definitions, relid, column);

	if (source->table != NULL && !OidIsValid(source->table->relid))
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_SOURCE),
				 errmsg("the table of contact source \"%s\" is not there", source->name),
				 errhint("Attach its table again with marketing.attach_contacts().")));
	check_type(source, relid, column);
	return source;
}

static MaSource *
named_source(MaDefinitions *definitions, const char *name)
{
	MaSource   *source = ma_source_by_name(definitions, name);
	List	   *names = NIL;
	char	   *nearest;
	ListCell   *cell;

	if (source != NULL)
		return source;
	foreach(cell, definitions->sources)
		names = lappend(names, ((MaSource *) lfirst(cell))->name);
	nearest = ma_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SOURCE),
			 errmsg("there is no contact source \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("Attach its table with marketing.attach_contacts().")));
}

/* The source the foreign key points to, else the only one attached. */
static MaSource *
default_source(MaDefinitions *definitions, Oid relid, const char *column)
{
	MaSource   *source = source_of_foreign_key(definitions, relid, get_attnum(relid, column));
	List	   *attached = NIL;
	ListCell   *cell;

	if (source != NULL)
		return source;
	foreach(cell, definitions->sources)
		if (((MaSource *) lfirst(cell))->table != NULL)
			attached = lappend(attached, lfirst(cell));
	if (list_length(attached) == 1)
		return linitial(attached);
	if (attached == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_MA_UNKNOWN_SOURCE),
				 errmsg("no table of contacts is attached"),
				 errhint("Call marketing.attach_contacts() first.")));
	ereport(ERROR,
			(errcode(ERRCODE_MA_UNKNOWN_SOURCE),
			 errmsg("contact_source is needed: column \"%s\" of table \"%s\" has no foreign key to an attached table",
					column, get_rel_name(relid)),
			 errdetail("Attached are %s.", source_names(attached)),
			 errhint("Name the one that the ids belong to with contact_source => '...'.")));
}

/* The source whose key a foreign key on this column alone points to, or NULL. */
static MaSource *
source_of_foreign_key(MaDefinitions *definitions, Oid relid, AttrNumber column)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	MaSource   *found = NULL;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (found == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
		AttrNumber	own;
		AttrNumber	other;

		if (constraint->contype == CONSTRAINT_FOREIGN &&
			single_column(tuple, RelationGetDescr(catalog), Anum_pg_constraint_conkey, &own) &&
			single_column(tuple, RelationGetDescr(catalog), Anum_pg_constraint_confkey, &other) &&
			own == column)
			found = source_of(definitions, constraint->confrelid, other);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* The only column in an array of column numbers. */
static bool
single_column(HeapTuple tuple, TupleDesc desc, AttrNumber field, AttrNumber *column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, field, desc, &isnull);
	ArrayType  *array;

	if (isnull)
		return false;
	array = DatumGetArrayTypeP(value);
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != 1)
		return false;
	*column = ((AttrNumber *) ARR_DATA_PTR(array))[0];
	return true;
}

/* The source attached with this table and key column, or NULL. */
static MaSource *
source_of(MaDefinitions *definitions, Oid relid, AttrNumber key)
{
	ListCell   *cell;

	foreach(cell, definitions->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table != NULL && source->table->relid == relid &&
			get_attnum(relid, source->key_column) == key)
			return source;
	}
	return NULL;
}

static char *
source_names(List *sources)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, sources)
		appendStringInfo(&text, "%s\"%s\"", text.len > 0 ? ", " : "",
						 ((MaSource *) lfirst(cell))->name);
	return text.data;
}

/*
 * The texts of both columns are compared, with no conversion: so the types must
 * be alike, and what is equal must be written alike.  1 and 1.00 of numeric are
 * equal to a foreign key, as are Ann and ann of citext, but would be two contacts.
 */
static void
check_type(const MaSource *source, Oid relid, const char *column)
{
	Oid			type = getBaseType(get_atttype(relid, get_attnum(relid, column)));
	Oid			key_type = source->table ? source->key_type : TEXTOID;

	ma_key_column_check(relid, column);
	if (!ma_key_types_alike(type, key_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" cannot hold contacts of \"%s\"",
						column, get_rel_name(relid), source->name),
				 errdetail("It is of type %s, the contacts' keys are of type %s.",
						   format_type_be(type), format_type_be(key_type)),
				 errhint("Name another column, or the right source with contact_source => '...'.")));
	if (source->table == NULL || prints_as(source, relid, column, type))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table \"%s\" cannot hold contacts of \"%s\"",
					column, get_rel_name(relid), source->name),
			 errdetail("Equal ids can be written differently in columns of type %s and %s.",
					   column_type_text(relid, column),
					   column_type_text(source->table->relid, source->key_column)),
			 errhint("Give both columns a type such as bigint, text or uuid, or the same length or scale.")));
}

/* True if the contact's id in this column is always written as its key is. */
static bool
prints_as(const MaSource *source, Oid relid, const char *column, Oid type)
{
	Oid			source_relid = source->table->relid;

	if (!ma_key_prints_alike(relid, column) ||
		!ma_key_prints_alike(source_relid, source->key_column))
		return false;
	return (type != NUMERICOID && type != BPCHAROID) ||
		ma_key_typmod(relid, column) == ma_key_typmod(source_relid, source->key_column);
}

/* The column's base type with length or scale. */
static char *
column_type_text(Oid relid, const char *column)
{
	return format_type_with_typemod(getBaseType(get_atttype(relid, get_attnum(relid, column))),
									ma_key_typmod(relid, column));
}
