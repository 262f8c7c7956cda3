/*
 * rate.h
 *		How often a contact is evaluated; private to contacts/.
 */
#ifndef MA_CONTACTS_RATE_H
#define MA_CONTACTS_RATE_H

#include "base/base.h"

/* Counts one evaluation at commit; false once the contact has had its share this minute. */
extern bool ma_rate_allows(uint64 contact_id);

#endif							/* MA_CONTACTS_RATE_H */
