/*
 * words.h
 *		What deploydb says to people, in deploydb.language.
 *
 * Gives: the words and sentences of messages, of metrics' notes and of the
 * status.  Errors, and the names of states, stay English.
 * Needs: settings.
 * Errors: none; what has no Chinese, or none that the database's encoding can
 * hold, stays English.  Memory: the current context, or static.
 */
#ifndef DEPLOYDB_WORDS_H
#define DEPLOYDB_WORDS_H

#include "postgres.h"

/* A format has the same places in the same order in both languages. */
extern const char *word(const char *english) pg_attribute_format_arg(1);

#endif							/* DEPLOYDB_WORDS_H */
