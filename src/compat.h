/*
 * compat.h
 *		Every difference between the PostgreSQL majors, as static inline
 *		wrappers with one name.
 *
 * No other file of the project looks at PG_VERSION_NUM.
 */
#ifndef DEPLOYDB_COMPAT_H
#define DEPLOYDB_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 140000
#error "deploydb needs PostgreSQL 14 or later"
#endif
#if PG_VERSION_NUM >= 200000
#error "deploydb has not been tried with this major version of PostgreSQL"
#endif

#include "utils/guc.h"

/* The server's major version, as kept beside each expectation. */
#define DEPLOYDB_SERVER_MAJOR (PG_VERSION_NUM / 10000)

/* 14 knows only the warning, 15 reserves the prefix. */
static inline void
compat_reserve_guc_prefix(const char *prefix)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved(prefix);
#else
	EmitWarningsOnPlaceholders(prefix);
#endif
}

#endif							/* DEPLOYDB_COMPAT_H */
