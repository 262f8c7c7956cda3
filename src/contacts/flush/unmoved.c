/*
 * unmoved.c
 *		The usual commit: rows of events that by their sign can change nothing.
 *
 * More visits do not bring a visitor back among the inactive.  That is decided under
 * the contact's lock by his state alone: without his keys and without a statement, and
 * so without SPI, another user and pinned settings, which cost more than the look.  What
 * only adds rows to what it knows (a score) is settled likewise, by the state and these
 * rows.  Who may be moved otherwise is evaluated as always.
 */
#include "base/base.h"

#include "contacts/flush/evaluate.h"

static bool keys_stand(MaEvaluation *evaluation, int64 contact_id);

bool
ma_is_rows_only(const MaEvaluation *evaluation)
{
	if (evaluation->worker || evaluation->rekeys != NIL || evaluation->images != NIL)
		return false;
	for (int i = 0; i < evaluation->nmarks; i++)
		if (evaluation->marks[i]->tag.kind != MA_MARK_KEY || evaluation->marks[i]->identity)
			return false;
	return true;
}

bool
ma_settle_unmoved(MaEvaluation *evaluation)
{
	int			kept = 0;
	bool		renewed = false;
	bool		all = true;

	if (evaluation->keys_read == NULL)
		return false;
	evaluation->now = ma_clock();
	ma_collect_changes(evaluation);
	for (int i = 0; i < evaluation->ncontacts; i++)
	{
		MaContactChange contact = evaluation->contacts[i];
		bool		unmoved = ma_consumers_unmoved(evaluation->definitions, &contact,
												   evaluation->now);

		if (unmoved && !renewed)
		{
			ma_index_renew(evaluation->keys_read, MA_RUN_READ_LATEST);
			renewed = true;
		}
		if (!unmoved || !keys_stand(evaluation, contact.contact_id))
		{
			evaluation->contacts[kept++] = contact;
			continue;
		}
		if (!ma_consumers_settle(evaluation->definitions, &contact, evaluation->now))
		{
			evaluation->contacts[kept++] = contact;
			continue;
		}
		evaluation->evaluated++;
		for (int j = 0; j < evaluation->nworks; j++)
			if (evaluation->works[j].contact_id == contact.contact_id)
				evaluation->works[j].settled = true;
	}
	ma_index_end(evaluation->keys_read);
	evaluation->ncontacts = kept;
	for (int i = 0; i < evaluation->nworks; i++)
		all &= evaluation->works[i].settled || evaluation->works[i].left;
	return all;
}

/* Whether the marked keys were the contact's still when he was locked. */
static bool
keys_stand(MaEvaluation *evaluation, int64 contact_id)
{
	for (int i = 0; i < evaluation->nworks; i++)
		if (evaluation->works[i].contact_id == contact_id && !evaluation->works[i].left &&
			!ma_key_stands(evaluation, &evaluation->works[i]))
			return false;
	return true;
}
