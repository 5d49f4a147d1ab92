/*
 * guard.h
 *		Makes a monitor leave where it would be in the way, and come back.
 *
 * Gives: guard_init(), once while preloading.
 * Needs: the slots, wake.
 */
#ifndef DEPLOYDB_GUARD_H
#define DEPLOYDB_GUARD_H

extern void guard_init(void);

#endif							/* DEPLOYDB_GUARD_H */
