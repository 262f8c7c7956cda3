/*
 * key_type.c
 *		Which types ids may be of, and the way from their text to a value.
 *
 * Keys are stored as text and cast by the input function of the user's type.
 * That of a composite type, a range or an array runs what it is made of, so the
 * CHECK of a domain, which is code of whoever made the domain.  So ids are of
 * base types and enums only, whose input functions are C functions that a
 * superuser has made known, and of those only such as print alike in all sessions;
 * of a domain over one we use the base type and never evaluate the domain.  All
 * the same the cast runs as the table's owner, restricted and read-only, as
 * everything does that comes from a user.
 */
#include "base/base.h"

#include "access/nbtree.h"
#include "access/relation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static Oid	family(Oid type);

bool
ma_key_type_fits(Oid type)
{
	char		kind = OidIsValid(type) ? get_typtype(type) : '\0';

	/* These two print by settings of the session. */
	if (type == TIMESTAMPTZOID || type == CASHOID)
		return false;
	return kind == TYPTYPE_ENUM || (kind == TYPTYPE_BASE && !OidIsValid(get_element_type(type)));
}

void
ma_key_column_check(Oid relid, const char *column)
{
	Oid			type = get_atttype(relid, get_attnum(relid, column));

	if (!ma_key_type_fits(getBaseType(type)))
		ereport(ERROR,
				(errcode(ERRCODE_MA_NOT_ATTACHABLE),
				 errmsg("column \"%s\" of table \"%s\" cannot hold ids", column,
						get_rel_name(relid)),
				 errdetail("It is of type %s.", format_type_be(type)),
				 errhint(MA_KEY_TYPES)));
}

Datum
ma_key_value(Oid relid, Oid type, int32 typmod, const char *text)
{
	MaIdentity	caller;
	Oid			input;
	Oid			parameter;
	Datum		value;

	/* The column may have got another type since it was attached. */
	if (!ma_key_type_fits(type))
		ereport(ERROR,
				(errcode(ERRCODE_MA_NOT_ATTACHABLE),
				 errmsg("ids of type %s cannot be read", format_type_be(type)),
				 errhint(MA_KEY_TYPES)));
	getTypeInputInfo(type, &input, &parameter);
	ma_become_table_owner(&caller, relid);
	value = OidInputFunctionCall(input, unconstify(char *, text), parameter, typmod);
	ma_become_back(&caller);
	return value;
}

char *
ma_key_value_text(Oid relid, Oid type, Datum value)
{
	MaIdentity	caller;
	Oid			output;
	bool		varlena;
	char	   *text;

	getTypeOutputInfo(type, &output, &varlena);
	ma_become_table_owner(&caller, relid);
	text = OidOutputFunctionCall(output, value);
	ma_become_back(&caller);
	return text;
}

bool
ma_key_holds(Oid type, const char *text)
{
	int64		value;
	char	   *end;

	if (get_typtype(type) == TYPTYPE_ENUM)
		return strlen(text) < NAMEDATALEN &&
			SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(type), CStringGetDatum(text));
	if (type != INT2OID && type != INT4OID && type != INT8OID)
		return true;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0)
		return false;
	return type == INT8OID || (type == INT4OID ? value == (int32) value : value == (int16) value);
}

bool
ma_key_types_alike(Oid left, Oid right)
{
	return family(left) == family(right);
}

/* Types whose values print alike and compare with each other are one family. */
static Oid
family(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
			return INT8OID;
		case VARCHAROID:
			return TEXTOID;
		default:
			return type;
	}
}

/*
 * The btree classes know it, for deduplication ("equal image").  Of numeric they
 * do not, since 1 and 1.0 are equal, nor of char, but all of one scale or length print
 * alike; of interval they say so wrongly up to PostgreSQL 16.
 */
bool
ma_key_prints_alike(Oid relid, const char *column)
{
	Oid			type;
	int32		typmod;
	Oid			collation;
	TypeCacheEntry *entry;
	Oid			equal_image;

	get_atttypetypmodcoll(relid, get_attnum(relid, column), &type, &typmod, &collation);
	type = getBaseTypeAndTypmod(type, &typmod);
	if (type == NUMERICOID)
		return typmod >= 0;
	if (type == BPCHAROID)
		return typmod >= 0 && get_collation_isdeterministic(collation);
	if (type == INTERVALOID)
		return false;
	entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	equal_image = !OidIsValid(entry->btree_opf) ? InvalidOid :
		get_opfamily_proc(entry->btree_opf, entry->btree_opintype, entry->btree_opintype,
						  BTEQUALIMAGE_PROC);
	return OidIsValid(equal_image) &&
		DatumGetBool(OidFunctionCall1Coll(equal_image, collation,
										  ObjectIdGetDatum(entry->btree_opintype)));
}

int32
ma_key_typmod(Oid relid, const char *column)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(relid, get_attnum(relid, column), &type, &typmod, &collation);
	(void) getBaseTypeAndTypmod(type, &typmod);
	return typmod;
}

bool
ma_column_is_unique(Oid relid, AttrNumber column, bool immediate)
{
	Relation	relation = relation_open(relid, AccessShareLock);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(relation))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		found |= index->indisunique && index->indisvalid && (index->indimmediate || !immediate) &&
			index->indnkeyatts == 1 && index->indkey.values[0] == column &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
		ReleaseSysCache(tuple);
	}
	relation_close(relation, NoLock);
	return found;
}
