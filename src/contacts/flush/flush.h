/*
 * flush.h
 *		The flush at commit; private to contacts/.
 */
#ifndef MA_CONTACTS_FLUSH_H
#define MA_CONTACTS_FLUSH_H

/* Registers the transaction callback; once per process. */
extern void ma_flush_init(void);

#endif							/* MA_CONTACTS_FLUSH_H */
