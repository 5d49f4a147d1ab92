/*
 * app_role.c
 *		Whether this session is the application's.
 *
 * Locking: none.  Errors: see app_role.h.  A function that is SECURITY DEFINER
 * does not make its caller another: the outer user counts.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "compat.h"
#include "writes/app_role.h"

static NameData cached_name;
static Oid	cached_role = InvalidOid;
static bool cached = false;

static void
role_changed(Datum arg, compat_syscache_id cache, uint32 hash)
{
	(void) arg;
	(void) cache;
	(void) hash;
	cached = false;
}

void
app_role_init(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
}

/* Without a catalog: the roles' names as they were when they were set. */
static bool
is_set_to(const char *setting, const char *name)
{
	const char *value = GetConfigOption(setting, true, false);

	return value != NULL && strcmp(value, name) == 0;
}

/* SET ROLE makes others the application, and not the application others. */
bool
session_is_not_app_role(bool may_look)
{
	const char *name = deploydb_app_role;

	if (!cached || strcmp(NameStr(cached_name), name) != 0)
	{
		if (!may_look)
			return !is_set_to("session_authorization", name) &&
				!is_set_to("role", name);
		cached_role = get_role_oid(name, true);
		strlcpy(NameStr(cached_name), name, NAMEDATALEN);
		cached = true;
	}
	return GetSessionUserId() != cached_role && GetOuterUserId() != cached_role;
}
