/*
 * ddl.h
 *		DDL that deploydb itself is to know of.
 *
 * Gives: ddl_init(), for _PG_init, preloaded or not.
 * Needs: bookkeeping's note of truncations; the slots and wake.
 */
#ifndef DEPLOYDB_DDL_H
#define DEPLOYDB_DDL_H

extern void ddl_init(void);

#endif							/* DEPLOYDB_DDL_H */
