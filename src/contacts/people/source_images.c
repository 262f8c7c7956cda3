/*
 * source_images.c
 *		Whole rows of attached tables, for what shows columns by name: templates.
 *
 * A batch of keys is one statement, served by the index of the key as in
 * source_rows.c.  Rows are jsonb, so that the reader needs no types of the user's.
 */
#include "base/base.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "contacts/contacts_internal.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static void prepare_images(MaSource *source);

static void
prepare_images(MaSource *source)
{
	source->images.nargs = 1;
	source->images.argtypes[0] = get_array_type(source->key_type);
	source->images.sql = MemoryContextStrdup(GetMemoryChunkContext(source),
											 psprintf("SELECT k.n, r.image FROM pg_catalog.unnest($1) "
													  "WITH ORDINALITY AS k (key, n) CROSS JOIN LATERAL "
													  "(SELECT pg_catalog.to_jsonb(t) AS image FROM %s AS t "
													  "WHERE t.%s %s k.key LIMIT 1) AS r",
													  source->table->qualified,
													  quote_identifier(source->key_column),
													  ma_equality_operator(source->key_type)));
}

void
ma_source_images(MaSource *source, char **external_ids, Jsonb **images, int n)
{
	Datum	   *keys = palloc_array(Datum, Max(n, 1));
	int		   *places = palloc_array(int, Max(n, 1));
	int			nkeys = 0;
	Datum		value;
	MaIdentity	owner;
	MaRows		found;

	for (int i = 0; i < n; i++)
	{
		images[i] = NULL;
		if (source->table == NULL || !OidIsValid(source->table->relid) ||
			!ma_key_holds(source->key_type, external_ids[i]))
			continue;
		places[nkeys] = i;
		keys[nkeys++] = ma_source_key(source, external_ids[i]);
	}
	if (nkeys == 0)
		return;
	value = ma_datum_array(keys, nkeys, source->key_type);
	if (source->images.sql == NULL)
		prepare_images(source);
	ma_become_table_owner(&owner, source->table->relid);
	found = ma_run_sized(&source->images, nkeys, &value, MA_RUN_READ_LATEST);
	ma_become_back(&owner);
	for (uint64 i = 0; i < found.n; i++)
	{
		bool		isnull;
		Datum		image = ma_value(&found, i, 2, &isnull);

		images[places[ma_int64(&found, i, 1) - 1]] = DatumGetJsonbPCopy(image);
	}
}

Jsonb *
ma_source_no_row(const MaSource *source)
{
	JsonbParseState *state = NULL;
	Relation	relation;
	JsonbValue	nothing = {.type = jbvNull};

	if (source->table == NULL || !OidIsValid(source->table->relid))
		return NULL;
	relation = try_table_open(source->table->relid, AccessShareLock);
	if (relation == NULL)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < RelationGetNumberOfAttributes(relation); i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), i);
		JsonbValue	name = {.type = jbvString};

		if (attribute->attisdropped)
			continue;
		name.val.string.val = pstrdup(NameStr(attribute->attname));
		name.val.string.len = strlen(name.val.string.val);
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE, &nothing);
	}
	table_close(relation, NoLock);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
