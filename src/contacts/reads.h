/*
 * reads.h
 *		Exact reads: who may be behind, and a contact as a read sees it; private
 *		to contacts/.
 */
#ifndef MA_CONTACTS_READS_H
#define MA_CONTACTS_READS_H

#include "contacts/contacts_internal.h"

/* Contacts whose stored state may be behind their rows. */
typedef struct MaStale
{
	bool		any;			/* it may be anybody */
	int			n;
	int			nsorted;		/* the first so many are sorted and unique */
	int			space;
	int64	   *ids;
} MaStale;

/* From the dirty log and this transaction's own marks, under the active snapshot. */
extern MaStale *ma_stale_contacts(void);
extern void ma_stale_add(MaStale *stale, int64 contact_id);
extern bool ma_stale_has(const MaStale *stale, int64 contact_id);
extern void ma_stale_sort(MaStale *stale);

/* Contacts with their counting keys, under the active snapshot. */
extern MaContactChange *ma_read_contacts(const int64 *ids, int n);

#endif							/* MA_CONTACTS_READS_H */
