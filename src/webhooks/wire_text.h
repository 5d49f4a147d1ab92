/*
 * wire_text.h
 *		Texts as they go over the network: UTF-8, whatever the database's
 *		encoding.
 *
 * Gives: both directions; SQL function ascii_text().
 * Needs: nothing of the other modules.
 *
 * What cannot be converted becomes "?", so that a message is never held up by
 * a character, nor its record by an answer's garbage.  Within a transaction;
 * results are in the current memory context.
 */
#ifndef DEPLOYDB_WIRE_TEXT_H
#define DEPLOYDB_WIRE_TEXT_H

#include "postgres.h"

extern char *text_to_wire(const char *text);

/* Of any bytes; control characters but for line ends and tabs become blanks. */
extern char *text_from_wire(const char *bytes, size_t size);

#endif							/* DEPLOYDB_WIRE_TEXT_H */
