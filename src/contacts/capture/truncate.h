/*
 * truncate.h
 *		The hook that sees TRUNCATE and partitions; private to contacts/.
 */
#ifndef MA_CONTACTS_TRUNCATE_H
#define MA_CONTACTS_TRUNCATE_H

#include "contacts/contacts.h"

/* Installs the hook; once per process. */
extern void ma_truncate_init(void);

/* True if contacts, or what is kept of events, come from the table. */
extern bool ma_table_is_watched(MaDefinitions *definitions, const MaTable *table);

#endif							/* MA_CONTACTS_TRUNCATE_H */
