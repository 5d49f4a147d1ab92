/*
 * busy.h
 *		A flag that is held for some copying, where no lock may be taken.
 *
 * Gives: taking it for a while, or trying once; it is given back by
 * pg_atomic_clear_flag().
 * Needs: nothing of the other modules.
 * Errors: none.  A backend that ends while it holds a flag leaves it held, so
 * nothing may hang on getting it.
 */
#ifndef DEPLOYDB_BUSY_H
#define DEPLOYDB_BUSY_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/s_lock.h"

/* How often a flag is tried that somebody holds for some copying. */
#define BUSY_TRIES 10000

static inline bool
busy_try(pg_atomic_flag *busy, bool may_wait)
{
	for (int tries = may_wait ? BUSY_TRIES : 1; tries > 0; tries--)
	{
		if (pg_atomic_test_set_flag(busy))
			return true;
		SPIN_DELAY();
	}
	return false;
}

#endif							/* DEPLOYDB_BUSY_H */
