/*
 * replay.h
 *		DDL -> facts: replays migrations in a scratch schema, inside a
 *		subtransaction that is always rolled back.
 *
 * Gives: for each migration of an ordered list the set of facts about the
 * objects that it created or changed (all properties of such an object), and
 * for each object that it dropped the one fact (type, object, 'exists', 'no').
 * Needs: facts_collect().
 *
 * Errors: a statement that fails or is refused raises, after the
 * subtransaction has been rolled back, with the migration's name in the
 * error's context; nothing is left behind.
 */
#ifndef DEPLOYDB_REPLAY_H
#define DEPLOYDB_REPLAY_H

#include "facts/factset.h"
#include "nodes/pg_list.h"

typedef struct ReplayStep
{
	const char *migration;		/* in: name, for messages */
	const char *ddl;			/* in: statements, in the server's encoding */
	Oid			registrant;		/* in: role that it runs as */
	bool		keep_state;		/* in: all facts behind it are wanted */
	FactSet    *facts;			/* out: in the context of the call, sorted */
	FactSet    *state;			/* out: likewise, all of the scratch schema */
} ReplayStep;

/* SQLSTATE of a refused statement: replay_refused. */
#define ERRCODE_DEPLOYDB_REPLAY_REFUSED MAKE_SQLSTATE('Z','D','0','0','3')

/* Steps are replayed in the order given. */
extern void replay_migrations(List *steps);

#endif							/* DEPLOYDB_REPLAY_H */
