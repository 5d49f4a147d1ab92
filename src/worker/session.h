/*
 * session.h
 *		The monitor's session.
 *
 * Gives: session_begin(), once the monitor has connected: it is the bootstrap
 * superuser's, and no setting of the database or a role changes its work.
 * Needs: compat, own_work.
 */
#ifndef DEPLOYDB_SESSION_H
#define DEPLOYDB_SESSION_H

extern void session_begin(void);

#endif							/* DEPLOYDB_SESSION_H */
