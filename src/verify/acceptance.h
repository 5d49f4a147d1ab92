/*
 * acceptance.h
 *		Deviations that somebody has accepted.
 *
 * Gives: acceptances_apply(), which marks them in a list of deviations.
 * Needs: owner (it reads deploydb.acceptance).
 */
#ifndef DEPLOYDB_ACCEPTANCE_H
#define DEPLOYDB_ACCEPTANCE_H

#include "nodes/pg_list.h"
#include "verify/deviation.h"

/* An accepted deviation's advice says who, why and until when. */
extern void acceptances_apply(List *deviations, const char *migration);

#endif							/* DEPLOYDB_ACCEPTANCE_H */
