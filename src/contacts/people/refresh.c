/*
 * refresh.c
 *		Contacts of changed source rows: made, linked, refreshed, excluded or
 *		forgotten by what the row is now, whatever happened to it on the way.
 *
 * Deciding by the present row makes the work repeatable: a commit and the worker
 * may both do it, in any order.  Only a re-keyed row needs its history, since
 * the row alone does not tell whose it was (evaluate.c renames the key first).
 */
#include "base/base.h"

#include "contacts/flush/evaluate.h"

/* Identity works of one source. */
typedef struct SourceWorks
{
	MaSource   *source;
	MaSourceRow *rows;
	MaWork	  **works;
	int			n;
} SourceWorks;

static SourceWorks collect(MaEvaluation *evaluation, MaSource *source);
static void decide(SourceWorks *group);
static bool is_same_row(const MaSourceRow *a, const MaSourceRow *b);
static bool is_same_text(const char *a, const char *b);
static void check_links(MaEvaluation *evaluation, SourceWorks *group);
static void make(MaEvaluation *evaluation, SourceWorks *part);
static void follow_mapped(SourceWorks *group);
static bool apply(MaEvaluation *evaluation, SourceWorks *group);
static SourceWorks with_action(const SourceWorks *group, MaAction action);

/*
 * The identity works of the source that are not left, with their rows side by side;
 * the worker's links to keys of the source are some of them.
 */
static SourceWorks
collect(MaEvaluation *evaluation, MaSource *source)
{
	SourceWorks group = {source, NULL, NULL, 0};

	group.rows = palloc0_array(MaSourceRow, Max(evaluation->nworks, 1));
	group.works = palloc_array(MaWork *, Max(evaluation->nworks, 1));
	for (int i = 0; i < evaluation->nworks; i++)
	{
		MaWork	   *work = &evaluation->works[i];

		if (!work->mark->identity || work->external_id == NULL || work->same != NULL ||
			work->source_id != source->id || work->left)
			continue;
		if (work->row != NULL)
			group.rows[group.n] = *work->row;
		else
			ma_source_row_init(&group.rows[group.n], work->external_id);
		group.works[group.n++] = work;
	}
	return group;
}

void
ma_refresh_decide(MaEvaluation *evaluation)
{
	ListCell   *cell;

	foreach(cell, evaluation->definitions->sources)
	{
		SourceWorks group = collect(evaluation, lfirst(cell));

		if (group.n == 0 || group.source->table == NULL)
			continue;
		ma_source_read(group.source, group.rows, group.n);
		decide(&group);
	}
}

/* Sets action and contact of each work from its row and its key. */
static void
decide(SourceWorks *group)
{
	SourceWorks makers;

	for (int i = 0; i < group->n; i++)
	{
		MaSourceRow *row = &group->rows[i];
		MaWork	   *work = group->works[i];

		row->known = work->contact_id != 0;
		row->contact_id = work->contact_id;
		row->key_excluded = work->excluded;
		if (row->known)
			work->action = !row->present ? MA_ACTION_DELETE :
				row->excluded == row->key_excluded ? MA_ACTION_REFRESH :
				row->excluded ? MA_ACTION_EXCLUDE : MA_ACTION_INCLUDE;
		else
			work->action = row->present && !row->excluded ? MA_ACTION_CREATE : MA_ACTION_NONE;
		work->row = palloc_object(MaSourceRow);
		*work->row = *row;
	}
	makers = with_action(group, MA_ACTION_CREATE);
	ma_match_lock_rows(group->source, makers.rows, makers.n);
	ma_contacts_match(group->source, makers.rows, makers.n);
	for (int i = 0; i < makers.n; i++)
		if (makers.rows[i].contact_id != 0)
		{
			makers.works[i]->action = MA_ACTION_LINK;
			makers.works[i]->contact_id = makers.rows[i].contact_id;
			makers.works[i]->row->contact_id = makers.rows[i].contact_id;
		}
}

/* The works of the group with this action. */
static SourceWorks
with_action(const SourceWorks *group, MaAction action)
{
	SourceWorks part = {group->source, NULL, NULL, 0};

	part.rows = palloc_array(MaSourceRow, Max(group->n, 1));
	part.works = palloc_array(MaWork *, Max(group->n, 1));
	for (int i = 0; i < group->n; i++)
		if (group->works[i]->action == action)
		{
			part.rows[part.n] = group->rows[i];
			part.works[part.n++] = group->works[i];
		}
	return part;
}

/*
 * The rows were read to learn whom to lock; somebody may have written them before
 * the locks were had, and have found nothing to do since we had not done it yet.
 */
void
ma_refresh_check(MaEvaluation *evaluation)
{
	ListCell   *cell;

	foreach(cell, evaluation->definitions->sources)
	{
		SourceWorks group = collect(evaluation, lfirst(cell));

		if (group.n == 0 || group.source->table == NULL)
			continue;
		for (int i = 0; i < group.n; i++)
			ma_source_row_init(&group.rows[i], group.works[i]->external_id);
		ma_source_read(group.source, group.rows, group.n);
		for (int i = 0; i < group.n; i++)
			if (!is_same_row(&group.rows[i], group.works[i]->row))
			{
				evaluation->left_lock++;
				group.works[i]->left = true;
			}
			else
				group.works[i]->row->mapped = group.rows[i].mapped;
		check_links(evaluation, &group);
	}
}

/* Before its lock was had, the contact may have been merged, or have lost its address. */
static void
check_links(MaEvaluation *evaluation, SourceWorks *group)
{
	SourceWorks links = with_action(group, MA_ACTION_LINK);

	ma_contacts_match(group->source, links.rows, links.n);
	for (int i = 0; i < links.n; i++)
		if (!links.works[i]->left && links.rows[i].contact_id != links.works[i]->contact_id)
		{
			evaluation->left_lock++;
			links.works[i]->left = true;
		}
}

/* True if both readings of a row ask for the same. */
static bool
is_same_row(const MaSourceRow *a, const MaSourceRow *b)
{
	return a->present == b->present && a->excluded == b->excluded &&
		is_same_text(a->email, b->email) && is_same_text(a->phone, b->phone);
}

static bool
is_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool
ma_refresh_apply(MaEvaluation *evaluation)
{
	bool		changed = false;
	ListCell   *cell;

	foreach(cell, evaluation->definitions->sources)
	{
		SourceWorks group = collect(evaluation, lfirst(cell));

		if (group.n > 0 && group.source->table != NULL)
			changed |= apply(evaluation, &group);
	}
	return changed;
}

/*
 * Makes the contacts or links of these works.  Whoever has a contact after it that was
 * neither locked nor made here is left: somebody else was first with the key.
 */
static void
make(MaEvaluation *evaluation, SourceWorks *part)
{
	ma_contacts_make(part->source, part->rows, part->n);
	for (int i = 0; i < part->n; i++)
	{
		MaSourceRow *row = &part->rows[i];
		MaWork	   *work = part->works[i];
		bool		ours = row->follows >= 0 ? row->linked && part->rows[row->follows].created :
			row->created || (row->linked && work->action == MA_ACTION_LINK);

		if (ours)
			work->contact_id = row->contact_id;
		else
		{
			evaluation->left_lock++;
			work->left = true;
		}
	}
}

/* Tells of mapped columns of rows that are there and count, now that each has its contact. */
static void
follow_mapped(SourceWorks *group)
{
	MaSourceRow *rows = palloc_array(MaSourceRow, Max(group->n, 1));
	int			n = 0;

	if (group->source->mapped == NIL)
		return;
	for (int i = 0; i < group->n; i++)
	{
		MaWork	   *work = group->works[i];

		if (work->left || work->contact_id == 0 || !work->row->present || work->row->excluded)
			continue;
		rows[n++] = *work->row;
	}
	ma_mapped_follow(group->source, rows, n, true);
}

static bool
apply(MaEvaluation *evaluation, SourceWorks *group)
{
	SourceWorks part = with_action(group, MA_ACTION_LINK);
	bool		changed = part.n > 0;

	make(evaluation, &part);

	/* Rows of one address that are new together share the contact of the first. */
	part = with_action(group, MA_ACTION_CREATE);
	ma_contacts_match(group->source, part.rows, part.n);
	/* One that somebody has made since is not locked: the worker links to it. */
	for (int i = 0; i < part.n; i++)
		part.rows[i].known = part.rows[i].contact_id != 0;
	make(evaluation, &part);
	changed |= part.n > 0;

	part = with_action(group, MA_ACTION_DELETE);
	ma_keys_delete(group->source->id, part.rows, part.n);
	changed |= part.n > 0;

	part = with_action(group, MA_ACTION_EXCLUDE);
	ma_keys_exclude(group->source->id, part.rows, part.n);
	changed |= part.n > 0;

	part = with_action(group, MA_ACTION_INCLUDE);
	ma_keys_exclude(group->source->id, part.rows, part.n);
	follow_mapped(group);
	return changed || part.n > 0;
}
