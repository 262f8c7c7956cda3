/* zz_missing.c not committed */
#include "base/base.h"
#include "content/content.h"
#include "delivery/delivery.h"
MaTemplate *ma_template_required(const char *name){ MaTemplate *t = palloc0_object(MaTemplate); t->id=1; t->name=pstrdup(name);
 if (strncmp(name,"no_",3)==0) ereport(ERROR,(errcode(ERRCODE_UNDEFINED_OBJECT),errmsg("there is no template \"%s\"",name))); return t;}
static int64 next=100;
void ma_message_enqueue(const MaMessageRequest *r, int n, int64 *ids){ for(int i=0;i<n;i++) ids[i]=next++; }
int ma_messages_skip(const int64 *c, const int64 *m, int n, const char *reason){return 0;}
void ma_register_gate_check(const MaGateCheck *c){}
void ma_register_settle_listener(MaSettleListener l){}
