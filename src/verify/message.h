/*
 * message.h
 *		Other people's messages, made fit for one column of a result.
 *
 * Gives: message_clip(), and message_count() for our own.
 * Needs: nothing of the other modules.
 */
#ifndef DEPLOYDB_MESSAGE_H
#define DEPLOYDB_MESSAGE_H

#include "postgres.h"

/*
 * Text up to the end of its first line, without control characters, cut to
 * 200 characters.  The text need not end in a zero byte.
 */
extern char *message_clip(const char *text, size_t length);

/* "1 error", "2 errors" */
extern char *message_count(int count, const char *noun);

#endif							/* DEPLOYDB_MESSAGE_H */
