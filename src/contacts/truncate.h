/*
 * truncate.h
 *		The hook that sees TRUNCATE; private to contacts/.
 */
#ifndef MA_CONTACTS_TRUNCATE_H
#define MA_CONTACTS_TRUNCATE_H

/* Installs the hook; once per process. */
extern void ma_truncate_init(void);

#endif							/* MA_CONTACTS_TRUNCATE_H */
