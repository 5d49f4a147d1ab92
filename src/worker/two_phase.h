/*
 * two_phase.h
 *		Two-phase commit of what the monitor is to be woken for.
 *
 * Gives: what a statement does with a prepared transaction, which is read before
 * it is executed, as it may be freed then; and what follows once it has been.
 * Needs: settings, the slots, wake.
 */
#ifndef DEPLOYDB_TWO_PHASE_H
#define DEPLOYDB_TWO_PHASE_H

#include "postgres.h"

#include "nodes/parsenodes.h"

typedef struct TwoPhase
{
	TransactionStmtKind kind;
	uint32		transaction;	/* a hash of its name; 0: it has none */
} TwoPhase;

extern TwoPhase two_phase_read(const Node *statement);
extern void two_phase_done(TwoPhase done);

#endif							/* DEPLOYDB_TWO_PHASE_H */
