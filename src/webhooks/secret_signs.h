/*
 * secret_signs.h
 *		What tells that a text has a webhook's address or key in it.
 *
 * Gives: the signs of a text, of the client's message and of what EXECUTE runs;
 * and whether such signs tell.
 * Needs: nothing of the other modules.
 *
 * It tells that a text has one of the functions that take a secret; or, beside
 * the schema, what is named like a secret or looks like an address or a key, as
 * the function may be misspelled or another one.  Without the schema that is an
 * application's own.
 */
#ifndef DEPLOYDB_SECRET_SIGNS_H
#define DEPLOYDB_SECRET_SIGNS_H

#define SIGN_FUNCTION	0x01
#define SIGN_SCHEMA		0x02
#define SIGN_SECRET		0x04
#define SIGN_VALUE		0x08

extern void secret_signs_init(void);

/* No look into the catalogs, so that errors may be asked about, too. */
extern int	signs_of(const char *text);
extern int	signs_of_statement(const char *text, int location, int length);
extern int	signs_of_message(void);

/* The first may know the schema by search_path, the second by itself alone. */
extern bool tells(int signs);
extern bool tells_by_itself(int signs);
extern bool path_names_schema(void);

/*
 * For each statement that has been parsed, in a transaction: the role and the
 * search_path that it was parsed with; and the signs of what an EXECUTE runs.
 */
extern void note_path(void);
extern int	signs_of_executed(const char *name);

#endif							/* DEPLOYDB_SECRET_SIGNS_H */
