/*
 * acceptance.h
 *		Deviations that somebody has accepted.
 *
 * Gives: acceptances_apply(), which marks them in a list of deviations, and
 * which deviation has a key.
 * Needs: owner (it reads deploydb.acceptance).
 */
#ifndef DEPLOYDB_ACCEPTANCE_H
#define DEPLOYDB_ACCEPTANCE_H

#include "nodes/pg_list.h"
#include "verify/deviation.h"

/* An accepted deviation's advice says who, why and until when. */
extern void acceptances_apply(List *deviations, const char *migration);

/* Is it this key's, and something that can be accepted (or has been)? */
extern bool acceptance_fits(const Deviation *d, const char *object_type,
							const char *object, const char *property);

#endif							/* DEPLOYDB_ACCEPTANCE_H */
