/*
 * identity.c
 *		Who runs what.
 *
 * Two kinds of switch, both by SetUserIdAndSecContext as referential integrity
 * does it: our fixed SQL runs as the owner of our tables, so that users need no
 * right on them; a user's expression or a read of a user's table runs as the
 * owner of that table, under SECURITY_RESTRICTED_OPERATION and read-only, so
 * that nothing in it can change roles, queue triggers, leave state behind or
 * write.  Row security: our tables have none, and a source is read with
 * row_security off as its owner (settings.c), who is exempt unless it is FORCEd,
 * which attaching refuses.
 *
 * An abort of the (sub)transaction restores user and read-only flag by itself;
 * ma_become_back() is for the normal path.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static void save_identity(MaIdentity *saved);

static void
save_identity(MaIdentity *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	saved->read_only = XactReadOnly;
}

void
ma_become_owner(MaIdentity *saved)
{
	Oid			owner = ma_extension_required()->owner;

	save_identity(saved);
	SetUserIdAndSecContext(owner, saved->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
}

void
ma_become_restricted(MaIdentity *saved, Oid role)
{
	save_identity(saved);
	SetUserIdAndSecContext(role, saved->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	XactReadOnly = true;
}

void
ma_become_table_owner(MaIdentity *saved, Oid relid)
{
	Oid			owner = ma_relation_owner(relid);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("an attached table no longer exists"),
				 errdetail("Its OID was %u.", relid),
				 errhint("Look at marketing.status, and detach it.")));
	ma_become_restricted(saved, owner);
}

Oid
ma_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

void
ma_become_back(const MaIdentity *saved)
{
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
	XactReadOnly = saved->read_only;
}

void
ma_require_ownership(Oid relid)
{
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}
