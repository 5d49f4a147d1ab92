/*
 * acting.h
 *		Functions that keep books as the owner and act as their caller.
 *
 * Gives: acting_user(); the SQL functions that are declared with
 * deploydb_as_owner, deploydb_as_caller and deploydb_migration_schema.
 * Needs: verify (owner, verification).
 *
 * A function NAME that is declared with deploydb_as_owner calls
 * deploydb.NAME_definer() with its own arguments, as the owner of schema
 * deploydb.  Only in there deploydb.as_caller() runs a statement, with the
 * rights of whoever called NAME: never with the owner's, nor with those of
 * the session where that is somebody else.
 */
#ifndef DEPLOYDB_ACTING_H
#define DEPLOYDB_ACTING_H

#include "postgres.h"

/* Whom is acted for, or else the current user. */
extern Oid	acting_user(void);

#endif							/* DEPLOYDB_ACTING_H */
