/*
 * rekey.c
 *		Rows of a contact source that got another key in this transaction.
 *
 * The pairs of one command are simultaneous (UPDATE ... SET id = id + 1 moves 1
 * to 2 and 2 to 3, and nobody from 1 to 3); those of different commands follow
 * one another.  What counts at the commit is the net mapping.
 */
#include "base/base.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "contacts/capture/changes.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* A net re-keying by the source and key the row has now. */
typedef struct NetKey
{
	int32		source_id;		/* hash key: both */
	char	   *key;
} NetKey;

typedef struct Net
{
	NetKey		now;
	char	   *before;
} Net;

/* A re-keying of a mapping by the key before it. */
typedef struct Place
{
	NetKey		before;
	MaRekey    *rekey;
	bool		visited;
} Place;

#define ASIDE '\001'			/* begins a key that was moved aside */

static uint32 net_hash(const void *key, Size size);
static int	net_compare(const void *left, const void *right, Size size);
static HTAB *make_table(Size entry, int n);
static HTAB *places_of(List *rekeys);
static MaRekey *make_step(const MaRekey *rekey, char *old_key, char *new_key);
static List *order_from(HTAB *table, Place *start, List *steps);
static void move_images(List *images, const MaImage *moved);
static bool is_same_row(const MaImage *a, const MaImage *b);
static MaImage *first_of_row(List *images, MaImage *image);
static void set_contact(MaImage *image, Datum *row, char **contact, const char *now);
static void apply_command(HTAB *nets, List *rekeys, int first, int end);

void
ma_mark_rekey(int32 source_id, const char *old_key, const char *new_key, CommandId command)
{
	MaChanges  *changes = ma_changes_make();
	MemoryContext previous = MemoryContextSwitchTo(changes->context);
	MaRekey    *rekey = palloc0_object(MaRekey);

	rekey->source_id = source_id;
	rekey->old_key = pstrdup(old_key);
	rekey->new_key = pstrdup(new_key);
	rekey->xid = GetCurrentTransactionId();
	rekey->command = command;
	changes->rekeys = lappend(changes->rekeys, rekey);
	MemoryContextSwitchTo(previous);
}

static uint32
net_hash(const void *key, Size size)
{
	const NetKey *net = key;

	return hash_combine(murmurhash32((uint32) net->source_id),
						hash_bytes((const unsigned char *) net->key, strlen(net->key)));
}

static int
net_compare(const void *left, const void *right, Size size)
{
	const NetKey *a = left;
	const NetKey *b = right;

	return a->source_id != b->source_id || strcmp(a->key, b->key) != 0;
}

static HTAB *
make_table(Size entry, int n)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(NetKey);
	control.entrysize = entry;
	control.hash = net_hash;
	control.match = net_compare;
	control.hcxt = CurrentMemoryContext;
	return hash_create("marketing_automation re-keyings", n, &control,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

List *
ma_rekeys_compose(List *rekeys)
{
	HTAB	   *nets;
	HASH_SEQ_STATUS scan;
	Net		   *net;
	List	   *live = NIL;
	List	   *result = NIL;
	ListCell   *cell;
	int			n;

	foreach(cell, rekeys)
		if (ma_changes_live(((MaRekey *) lfirst(cell))->xid))
			live = lappend(live, lfirst(cell));
	n = list_length(live);
	if (n == 0)
		return NIL;
	nets = make_table(sizeof(Net), n);
	for (int first = 0; first < n;)
	{
		MaRekey    *rekey = list_nth(live, first);
		int			end = first;

		while (end < n && ((MaRekey *) list_nth(live, end))->command == rekey->command &&
			   ((MaRekey *) list_nth(live, end))->xid == rekey->xid)
			end++;
		apply_command(nets, live, first, end);
		first = end;
	}
	hash_seq_init(&scan, nets);
	while ((net = hash_seq_search(&scan)) != NULL)
	{
		MaRekey    *rekey = palloc0_object(MaRekey);

		rekey->source_id = net->now.source_id;
		rekey->old_key = net->before;
		rekey->new_key = net->now.key;
		if (strcmp(rekey->old_key, rekey->new_key) != 0)
			result = lappend(result, rekey);
	}
	return result;
}

/* Moves all pairs of one command at once. */
static void
apply_command(HTAB *nets, List *rekeys, int first, int end)
{
	char	  **before = palloc_array(char *, end - first);

	for (int i = first; i < end; i++)
	{
		MaRekey    *rekey = list_nth(rekeys, i);
		NetKey		key = {rekey->source_id, rekey->old_key};
		Net		   *net = hash_search(nets, &key, HASH_FIND, NULL);

		before[i - first] = net ? net->before : rekey->old_key;
		if (net != NULL)
			hash_search(nets, &key, HASH_REMOVE, NULL);
	}
	for (int i = first; i < end; i++)
	{
		MaRekey    *rekey = list_nth(rekeys, i);
		NetKey		key = {rekey->source_id, rekey->new_key};
		bool		found;
		Net		   *net = hash_search(nets, &key, HASH_ENTER, &found);

		net->before = before[i - first];
	}
}

bool
ma_rekey_is_aside(const char *key)
{
	return key[0] == ASIDE;
}

static MaRekey *
make_step(const MaRekey *rekey, char *old_key, char *new_key)
{
	MaRekey    *step = palloc0_object(MaRekey);

	step->source_id = rekey->source_id;
	step->old_key = old_key;
	step->new_key = new_key;
	return step;
}

/* The re-keyings not done yet by the key before; in a mapping there is one for each. */
static HTAB *
places_of(List *rekeys)
{
	HTAB	   *table = make_table(sizeof(Place), Max(list_length(rekeys), 1));
	ListCell   *cell;

	foreach(cell, rekeys)
	{
		MaRekey    *rekey = lfirst(cell);
		NetKey		key = {rekey->source_id, rekey->old_key};
		Place	   *place;
		bool		found;

		if (rekey->done)
			continue;
		place = hash_search(table, &key, HASH_ENTER, &found);
		place->rekey = rekey;
		place->visited = false;
	}
	return table;
}

List *
ma_rekeys_order(List *rekeys)
{
	HTAB	   *table;
	List	   *steps = NIL;
	ListCell   *cell;

	if (rekeys == NIL)
		return NIL;
	table = places_of(rekeys);
	foreach(cell, rekeys)
	{
		MaRekey    *rekey = lfirst(cell);
		NetKey		key = {rekey->source_id, rekey->old_key};
		Place	   *place = hash_search(table, &key, HASH_FIND, NULL);

		if (place != NULL && !place->visited)
			steps = order_from(table, place, steps);
	}
	return steps;
}

/* Adds the steps of the chain or ring that begins here, the last one first. */
static List *
order_from(HTAB *table, Place *start, List *steps)
{
	List	   *chain = NIL;
	Place	   *place = start;
	char	   *aside = NULL;

	while (place != NULL && !place->visited)
	{
		NetKey		next = {place->rekey->source_id, place->rekey->new_key};

		place->visited = true;
		chain = lappend(chain, place->rekey);
		place = hash_search(table, &next, HASH_FIND, NULL);
	}
	if (place == start)
	{
		aside = psprintf("%c%s", ASIDE, start->rekey->new_key);
		steps = lappend(steps, make_step(start->rekey, start->rekey->old_key, aside));
	}
	for (int i = list_length(chain) - 1; i > 0; i--)
		steps = lappend(steps, list_nth(chain, i));
	return lappend(steps, aside == NULL ? start->rekey :
				   make_step(start->rekey, aside, start->rekey->new_key));
}

/* The row's first image is compared with each of its images: re-keying may go in steps. */
void
ma_rekey_images(List *images, List *rekeys)
{
	HTAB	   *table;
	ListCell   *cell;

	if (images == NIL || rekeys == NIL)
		return;
	table = places_of(rekeys);
	foreach(cell, images)
	{
		MaImage    *image = lfirst(cell);
		MaImage    *first = first_of_row(images, image);
		NetKey		key = {image->key_source_id, first->old_contact};
		Place	   *place;

		if (image->key_source_id == 0 || first->old_contact == NULL || image->new_contact == NULL)
			continue;
		place = hash_search(table, &key, HASH_FIND, NULL);
		if (place != NULL && strcmp(place->rekey->new_key, image->new_contact) == 0)
			move_images(images, image);
	}
	hash_destroy(table);
}

static bool
is_same_row(const MaImage *a, const MaImage *b)
{
	return a->event_source_id == b->event_source_id && strcmp(a->row_key, b->row_key) == 0;
}

static MaImage *
first_of_row(List *images, MaImage *image)
{
	ListCell   *cell;

	foreach(cell, images)
		if (is_same_row(lfirst(cell), image))
			return lfirst(cell);
	return image;
}

/* Gives the images of the moved row, up to this one, the contact it has now. */
static void
move_images(List *images, const MaImage *moved)
{
	ListCell   *cell;

	foreach(cell, images)
	{
		MaImage    *image = lfirst(cell);

		if (is_same_row(image, moved))
		{
			set_contact(image, &image->old_row, &image->old_contact, moved->new_contact);
			set_contact(image, &image->new_row, &image->new_contact, moved->new_contact);
		}
		if (image == moved)
			return;
	}
}

/* Gives one side of the image another contact, in the image's memory. */
static void
set_contact(MaImage *image, Datum *row, char **contact, const char *now)
{
	MemoryContext previous;
	JsonbValue	value;

	if (*contact == NULL || strcmp(*contact, now) == 0)
		return;
	previous = MemoryContextSwitchTo(GetMemoryChunkContext(image));
	*contact = pstrdup(now);
	value.type = jbvString;
	value.val.string.val = *contact;
	value.val.string.len = strlen(now);
	*row = DirectFunctionCall4(jsonb_set, *row, ma_text_array(&image->contact_column, 1),
							   JsonbPGetDatum(JsonbValueToJsonb(&value)), BoolGetDatum(false));
	MemoryContextSwitchTo(previous);
}
