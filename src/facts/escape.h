/*
 * escape.h
 *		Text that an encoding may not be able to hold.
 *
 * Gives: the ASCII form in which comments stand in facts, and text that can
 * always be sent to the client.
 * Needs: nothing of the other modules.
 */
#ifndef DEPLOYDB_ESCAPE_H
#define DEPLOYDB_ESCAPE_H

#include "postgres.h"

/* Server text -> ASCII: \uXXXX or \UXXXXXXXX, backslash doubled. */
extern char *comment_escape(const char *text);

/*
 * The text again, in the server's encoding.  *lossless tells whether the
 * encoding could hold all of it; if not, the escaped form is returned.
 */
extern char *comment_unescape(const char *value, bool *lossless);

/* Server's encoding -> UTF-8, or NULL where the bytes are of no known one. */
extern char *server_to_utf8(const char *text);

/* UTF-8 -> server's encoding, or NULL where that cannot hold it. */
extern char *utf8_to_server(const char *utf8);

/* The text itself, or escaped where the client's encoding cannot hold it. */
extern const char *text_for_client(const char *text);

#endif							/* DEPLOYDB_ESCAPE_H */
