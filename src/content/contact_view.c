/*
 * contact_view.c
 *		What {{ contact }} is: fields of the contact, columns of its rows in the attached
 *		tables in order of attachment, attributes of identify(), each over the next.
 *
 * Read once for a batch of messages: one statement for the contacts and their keys,
 * one for each attached table.  A contact without a row in a table has its columns,
 * all nil, as in rules: the column is that of the first table that has one.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "contacts/contacts.h"
#include "content/content_internal.h"
#include "utils/builtins.h"

/* A key of one of the contacts of the batch. */
typedef struct ViewKey
{
	int			place;			/* of the contact */
	int32		source_id;
	char	   *external_id;
} ViewKey;

static Jsonb **read_contacts(MaContactView *views, const int64 *contact_ids, int n);
static ViewKey *read_keys(const int64 *contact_ids, int n, int *nkeys);
static void add_layer(MaContactView *view, Jsonb *layer);
static void add_source(MaContactView *views, int n, MaSource *source, const ViewKey *keys,
			int nkeys);
static int	place_of(const int64 *contact_ids, int n, int64 contact_id);

MaContactView *
ma_contact_views(const int64 *contact_ids, int n)
{
	MaContactView *views = palloc0_array(MaContactView, Max(n, 1));
	Jsonb	  **attributes;
	ViewKey    *keys;
	int			nkeys;
	ListCell   *cell;
	int			nsources = list_length(ma_definitions()->sources);

	for (int i = 0; i < n; i++)
	{
		views[i].contact_id = contact_ids[i];
		views[i].value.kind = LIQUID_LAYERS;
		views[i].value.u.layers = palloc0_object(LiquidLayers);
		views[i].value.u.layers->layers = palloc_array(JsonbContainer *, nsources + 2);
	}
	attributes = read_contacts(views, contact_ids, n);
	keys = read_keys(contact_ids, n, &nkeys);
	foreach(cell, ma_definitions()->sources)
		add_source(views, n, lfirst(cell), keys, nkeys);
	for (int i = 0; i < n; i++)
		add_layer(&views[i], attributes[i]);
	return views;
}

/*
 * Attributes of identify() may have any name, so one that is not known is no fault; but
 * one that is nearly that of a column is likely a slip.
 */
void
ma_members_notice(const char *who, List *names)
{
	static const char *const fields[] = {"email", "phone", "time_zone", "locale"};
	List	   *known = NIL;
	List	   *told = NIL;
	ListCell   *cell;
	ListCell   *inner;

	for (int i = 0; i < lengthof(fields); i++)
		known = lappend(known, unconstify(char *, fields[i]));
	foreach(cell, ma_definitions()->sources)
	{
		MaSource   *source = lfirst(cell);

		if (source->table != NULL && OidIsValid(source->table->relid))
			known = list_concat(known, ma_column_names(source->table->relid));
	}
	foreach(cell, names)
	{
		char	   *name = (char *) lfirst(cell) + strlen("contact.");
		int			limit = strlen(name) < 6 ? 1 : 2;
		const char *near = NULL;
		bool		found = strncmp(lfirst(cell), "contact.", 8) != 0 || strcmp(name, "*") == 0;

		foreach(inner, told)
			found |= strcmp(lfirst(inner), name) == 0;
		foreach(inner, known)
		{
			found |= strcmp(lfirst(inner), name) == 0;
			if (near == NULL && ma_name_distance(name, lfirst(inner), limit) <= limit)
				near = lfirst(inner);
		}
		if (found || near == NULL)
			continue;
		told = lappend(told, name);
		ereport(NOTICE,
				(errmsg("%s shows contact.%s, which no attached table has", who, name),
				 errhint("Did you mean \"%s\"?", near)));
	}
}

static void
add_layer(MaContactView *view, Jsonb *layer)
{
	LiquidLayers *layers = view->value.u.layers;

	if (layer != NULL && JB_ROOT_IS_OBJECT(layer))
		layers->layers[layers->n++] = &layer->root;
}

static int
place_of(const int64 *contact_ids, int n, int64 contact_id)
{
	int			low = 0;

	while (n > 0)
	{
		int			half = n / 2;

		if (contact_ids[low + half] < contact_id)
		{
			low += half + 1;
			n -= half + 1;
		}
		else
			n = half;
	}
	return low;
}

/* The contacts' own fields; their attributes come last, so they are given back. */
static Jsonb **
read_contacts(MaContactView *views, const int64 *contact_ids, int n)
{
	static MaStatement read = {
		"SELECT c.contact_id, pg_catalog.jsonb_build_object('email', c.email, 'phone', c.phone, "
		"'time_zone', c.time_zone, 'locale', c.locale), c.attributes, c.time_zone, c.locale "
		"FROM pg_catalog.unnest($1) AS i (contact_id) "
		"JOIN marketing_internal.contact AS c ON c.contact_id OPERATOR(pg_catalog.=) i.contact_id",
		1, {INT8ARRAYOID}
	};
	Datum		value = ma_int8_array(contact_ids, n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	Jsonb	  **attributes = palloc0_array(Jsonb *, Max(n, 1));

	for (uint64 i = 0; i < rows.n; i++)
	{
		int			place = place_of(contact_ids, n, ma_int64(&rows, i, 1));
		bool		isnull;

		add_layer(&views[place], DatumGetJsonbPCopy(ma_value(&rows, i, 2, &isnull)));
		attributes[place] = DatumGetJsonbPCopy(ma_value(&rows, i, 3, &isnull));
		views[place].time_zone = ma_text(&rows, i, 4);
		views[place].locale = ma_text(&rows, i, 5);
	}
	return attributes;
}

static ViewKey *
read_keys(const int64 *contact_ids, int n, int *nkeys)
{
	/* Of several keys in one source the least one is it. */
	static MaStatement read = {
		"SELECT DISTINCT ON (k.contact_id, k.source_id) k.contact_id, k.source_id, k.external_id "
		"FROM pg_catalog.unnest($1) AS i (contact_id) "
		"JOIN marketing_internal.contact_key AS k ON k.contact_id OPERATOR(pg_catalog.=) i.contact_id "
		"WHERE NOT k.excluded ORDER BY k.contact_id, k.source_id, k.external_id",
		1, {INT8ARRAYOID}
	};
	Datum		value = ma_int8_array(contact_ids, n);
	MaRows		rows = ma_run(&read, &value, NULL, MA_RUN_READ_LATEST);
	ViewKey    *keys = palloc_array(ViewKey, Max(rows.n, 1));

	*nkeys = rows.n;
	for (uint64 i = 0; i < rows.n; i++)
	{
		keys[i].place = place_of(contact_ids, n, ma_int64(&rows, i, 1));
		keys[i].source_id = ma_int32(&rows, i, 2);
		keys[i].external_id = ma_text(&rows, i, 3);
	}
	return keys;
}

/* The rows of one attached table, or its columns without values. */
static void
add_source(MaContactView *views, int n, MaSource *source, const ViewKey *keys, int nkeys)
{
	char	  **ids = palloc_array(char *, Max(nkeys, 1));
	int		   *places = palloc_array(int, Max(nkeys, 1));
	Jsonb	  **images = palloc_array(Jsonb *, Max(nkeys, 1));
	Jsonb	  **of_contact = palloc0_array(Jsonb *, Max(n, 1));
	Jsonb	   *none;
	int			count = 0;

	if (source->table == NULL)
		return;
	none = ma_source_no_row(source);
	for (int i = 0; i < nkeys; i++)
		if (keys[i].source_id == source->id)
		{
			places[count] = keys[i].place;
			ids[count++] = keys[i].external_id;
		}
	ma_source_images(source, ids, images, count);
	for (int i = 0; i < count; i++)
		of_contact[places[i]] = images[i];
	for (int i = 0; i < n; i++)
		add_layer(&views[i], of_contact[i] != NULL ? of_contact[i] : none);
}
